"""
Who and where: names of classes, lines of code, and every packet that is out, with the line that has it.

Next: `vnic/ledger.py`, who holds what.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, cast

from vnic.ledger import Holding, holdings, where
from vnic.states import PacketState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from miniport.inspector.subject import Subject
    from vnic import Binding, Packet

UNKNOWN = "unknown"
"""The line of a step that no code outside the library made."""
OUT = (PacketState.SENDING, PacketState.TRANSFERRING)


class Out(NamedTuple):
    """
    One packet that somebody has.

    Attributes:
        by: who has it, by name.
        driver: the driver that is to bring it back; the one that sent it, of a send.
        owed: returns owed; 0 if it is not held by a binding.
        age_s: since when, in seconds; None if that is not known.
        binding: the binding that holds it, if one does.
    """

    packet: Packet
    by: str
    driver: str
    owed: int
    age_s: float | None
    binding: Binding | None = None

    @property
    def gone(self) -> bool:
        """Whether its binding is going, or has gone."""
        return self.binding is not None and bool(self.binding.closing or self.binding.dead)

    @property
    def kept_at(self) -> str:
        """The line that has it. To look that up takes longer than all the rest, so it is done for what is shown only."""
        if self.binding is not None:
            return kept_at(self.binding, self.packet)
        last = self.packet.last
        return last.where if last is not None else ""


def spelled(cls: type) -> str:
    """A class by its module and name; one of a file by the file's name."""
    try:
        module, name = str(cls.__module__), str(cls.__qualname__)
    except BaseException:
        # a class of a class of its own can raise anything
        return "unknown"
    return f"{module.rpartition('/')[2]}:{name}" if module.endswith(".py") else f"{module}.{name}"


def line_of(driver: object, handler: str = "receive_packet") -> str:
    """Where a driver's handler is defined, "file:line"."""
    return where(driver, handler)


def holdings_of(subject: Subject) -> list[Holding]:
    """Every packet that is held on any adapter, the oldest first; found once for each subject."""
    if "holdings" not in subject.memo:
        found = [holding for adapter in subject.stack.adapters if subject.counters[adapter.name]["held"] for holding in holdings(adapter)]
        subject.memo["holdings"] = sorted(found, key=lambda holding: -holding.age_ns)
    known: list[Holding] = subject.memo["holdings"]
    return known


def held(subject: Subject) -> list[Out]:
    """Every packet that a binding holds, the oldest first."""
    return [
        Out(cast("Packet", packet), binding.name, binding.name, owed, round(age_ns / 1e9, 3), binding)
        for binding, packet, owed, age_ns in holdings_of(subject)
    ]


def sending(subject: Subject) -> list[Out]:
    """Every packet of a pool that is known which waits in a send or a transfer, the oldest first."""
    found = [Out(packet, f"send of {owner}", owner, 0, age_of(packet)) for packet, owner in packets_in(subject, OUT)]
    return sorted(found, key=lambda out: -(out.age_s or 0.0))


def withheld(subject: Subject) -> list[Out]:
    """Every packet that cannot be used again because a view of it lives."""
    found = packets_in(subject, (PacketState.QUARANTINED,))
    return [
        Out(packet, "views of it", str(packet.last.by) if packet.last is not None else owner, 0, age_of(packet)) for packet, owner in found
    ]


def age_of(packet: Packet) -> float | None:
    """Seconds since something was done to a packet; None if nobody remembers."""
    return round((time.monotonic_ns() - packet.last.ns) / 1e9, 3) if packet.last is not None else None


def packets_in(subject: Subject, states: tuple[PacketState, ...]) -> Iterator[tuple[Packet, str]]:
    """Every packet in one of some states, with the name of whose pool it is."""
    for pool, owner, _ in subject.pools():
        census = pool.audit()
        if any(census[state] for state in states):
            for packet in pool.packets():
                if packet.state in states:
                    yield packet, owner.partition(" ")[2] or pool.name


def kept_at(binding: Binding, packet: Packet) -> str:
    """The line at which a binding came to hold a packet, as well as it is known: its answer's, or that of its handler."""
    for step in (*reversed(packet.history), packet.last):
        if step is not None and step.by == binding.name and step.what == "answer" and step.where != UNKNOWN:
            return str(step.where)
    return line_of(binding.driver)
