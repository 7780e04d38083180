"""
Views of the whole: `show`, `stats`, `pools`, `bindings`.

Next: `miniport/inspector/held.py`, the packets that are out.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from miniport.inspector.doctor import alerts
from miniport.inspector.parameters import chosen
from miniport.inspector.places import holdings_of, line_of, spelled
from miniport.inspector.subject import attribute
from vnic.counters import RX_DROPS, TX_DROPS, broken_sums
from vnic.driver import ProtocolDriver
from vnic.filters import PacketFilter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from miniport.inspector.subject import Subject
    from vnic import Adapter, Binding

HANDLERS = tuple(name for name, value in vars(ProtocolDriver).items() if callable(value) and not name.startswith("_"))
"""The handlers that a driver can define, in the order of the contract."""


def show(subject: Subject) -> dict[str, Any]:
    """The tree of adapters, bindings and drivers, how much passes, and what is wrong."""
    oldest = {name: ages[0] for name, ages in ages_of(subject).items()}
    return {
        "name": subject.name,
        **subject.about,
        "answers": subject.answers,
        "adapters": [adapter_of(subject, adapter, oldest) for adapter in subject.stack.adapters],
        "alerts": alerts(subject),
    }


def stats(subject: Subject) -> dict[str, Any]:
    """Every counter of every adapter, and of every binding."""
    return {
        "name": subject.name,
        **subject.about,
        "answers": subject.answers,
        "adapters": {name: dict(values) for name, values in subject.counters.items()},
        "rates": {name: dict(values) for name, values in subject.rates.items()},
        "bindings": {name: figures(binding) for name, binding in subject.bindings().items()},
        "held_oldest_s": {name: ages[0] for name, ages in ages_of(subject).items()},
        "broken_sums": [f"{name}: {line}" for name, values in subject.counters.items() for line in broken_sums(values)],
    }


def pools(subject: Subject) -> dict[str, Any]:
    """How many packets of each pool are in each state; the sum of them is checked."""
    found = []
    for pool, owner, adapter in subject.pools():
        states = {state.name.lower(): count for state, count in pool.audit().items()}
        found.append(
            {
                "name": pool.name,
                "owner": owner,
                "capacity": pool.capacity,
                "states": states,
                "sum_is_right": sum(states.values()) == len(pool.packets()),
                "low_water": pool.low_water,
                "resources_below": adapter.low_water if adapter is not None else 0,
                "allocations": pool.allocations,
                "exhausted": pool.exhausted,
                "slot_bytes": pool.slot_size,
                "reserved_bytes": pool.reserved_size,
                "bytes": pool.slot_size * pool.capacity,
                "level": pool.verifier_level,
            }
        )
    return {"name": subject.name, "pools": found}


def bindings(subject: Subject, *, binding: str | None = None) -> dict[str, Any]:
    """
    Each binding in a line; with a name, all about that one.

    Raises:
        Failure: there is no binding of that name.
    """
    known = subject.bindings()
    listed = [chosen("driver", binding, known)] if binding is not None else list(known.values())
    ages = ages_of(subject)
    rows = [binding_of(one, ages.get(one.name, [])) for one in listed]
    if binding is not None:
        rows[0] |= details(listed[0])
    return {"name": subject.name, "detail": binding is not None, "bindings": rows}


def adapter_of(subject: Subject, adapter: Adapter, oldest: Mapping[str, float]) -> dict[str, Any]:
    """One adapter with its bindings."""
    values = subject.counters[adapter.name]
    return {
        "name": adapter.name,
        "link": "halted" if adapter.halted else "up" if adapter.link_up else "down",
        "mtu": adapter.mtu,
        "mac": adapter.address.hex(":"),
        "addresses": list(adapter.network_addresses),
        "level": adapter.verifier_level,
        "serialized": adapter.serialized,
        "rates": dict(subject.rates.get(adapter.name, {})),
        "rx_frames": values["rx_frames"],
        "rx_delivered": values["rx_delivered"],
        "rx_filtered": values["rx_filtered"],
        "rx_resources": values["rx_resources"],
        "rx_dropped": {name.removeprefix("rx_dropped_"): values[name] for name in RX_DROPS if values[name]},
        "queue_dropped": values.get("if_tx_dropped", 0),
        "tx_submitted": values["tx_submitted"],
        "tx_frames": values["tx_frames"],
        "tx_pending": values["tx_pending"],
        "tx_dropped": {name.removeprefix("tx_dropped_"): values[name] for name in TX_DROPS if values[name]},
        "driver_errors": values["driver_errors"],
        "violations": values["violations"],
        "queues": queues_of(subject, adapter),
        "pool": {name.removeprefix("pool_"): value for name, value in values.items() if name.startswith("pool_")},
        "bindings": [
            {
                "name": binding.name,
                "driver": spelled(type(binding.driver)),
                "state": state_of(binding),
                "delivered": binding.delivered,
                "held": binding.held,
                "oldest_s": oldest.get(binding.name, 0.0),
                "sends_pending": binding.sends_pending,
                "errors": binding.errors,
                "violations": binding.violations,
                "adapters": [above.name for above in attribute(binding.driver, "adapters", ()) if above.name != adapter.name],
            }
            for binding in subject.stack.bindings
            if binding.adapter is adapter
        ],
    }


def queues_of(subject: Subject, adapter: Adapter) -> list[dict[str, Any]]:
    """The queues of an adapter that reads some: how each is read, by which thread, and how much came through it."""
    if adapter.fd < 0:
        return []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads = [names.get(ident) for ident in subject.data_threads] if adapter is subject.stack.adapter else []
    return [
        {
            "number": queue.number,
            "thread": threads[queue.number] if queue.number < len(threads) else None,
            "reader": queue.reader,
            "frames": queue.frames,
            "batches": queue.batches,
        }
        for queue in adapter.queues
    ]


def binding_of(binding: Binding, ages: list[float]) -> dict[str, Any]:
    """One binding: the figures, its state, and how long it holds."""
    return {
        "name": binding.name,
        "adapter": binding.adapter.name,
        "driver": spelled(type(binding.driver)),
        "where": line_of(binding.driver),
        "state": state_of(binding),
        "filter": str(PacketFilter(binding.packet_filter).name or "NONE").lower(),
        **figures(binding),
        "oldest_s": ages[0] if ages else 0.0,
        "quota": binding.quota,
        "over_quota": binding.over_quota,
        "busy_s": round(binding.busy_ns / 1e9, 6),
        "level": binding.verifier_level,
    }


def details(binding: Binding) -> dict[str, Any]:
    """What only the question about one binding shows: its handlers, where each is defined, and its settings."""
    cls = type(binding.driver)
    handlers = {}
    for name in HANDLERS:
        function = getattr(cls, name, None)
        code = getattr(function, "__code__", None)
        own = function is not getattr(ProtocolDriver, name)
        handlers[name] = (f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "compiled") if own else None
    return {
        "handlers": handlers,
        "multicast": [address.hex(":") for address in binding.multicast_list],
        "no_loopback": bool(binding.no_loopback),
        "transfers_pending": binding.transfers_pending,
        "pending_io": binding.pending_io,
        "bases": [spelled(base) for base in cls.__mro__[1:-1]],
    }


def figures(binding: Binding) -> dict[str, int]:
    """What a binding counts."""
    names = ("delivered", "resources", "promised", "returned", "held", "errors", "violations", "sends_pending")
    return {name: getattr(binding, name) for name in names}


def state_of(binding: Binding) -> str:
    """Where a binding is in its life, in one word."""
    for state in ("closed", "closing", "dead", "opening"):
        if getattr(binding, state):
            return state
    return "open"


def ages_of(subject: Subject) -> dict[str, list[float]]:
    """Of each binding that holds packets, how long each has been held in seconds, the oldest first."""
    found: dict[str, list[float]] = {}
    for holding in holdings_of(subject):
        found.setdefault(holding.binding.name, []).append(round(holding.age_ns / 1e9, 3))
    return found
