"""
What the daemon shows of itself in the log: counters, bindings, and who holds which packet.

Next: `vnic/counters.py`, what each counter means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vnic.ledger import holdings

if TYPE_CHECKING:
    from miniport.log import EventLog
    from miniport.stack import Stack

MAX_HOLDERS_SHOWN = 20


def show_counters(log: EventLog, adapter: Mapping[str, int], virtual: Mapping[str, Mapping[str, int]]) -> None:
    """
    Log a line for the interface's adapter, and one for each virtual one.

    Args:
        log: where to.
        adapter: the counters of the interface's adapter.
        virtual: those of the virtual adapters, by name.
    """
    log.event("counters", **dict[str, Any](adapter))
    for name, values in virtual.items():
        log.event("virtual_counters", adapter=name, **dict[str, Any](values))


def show_bindings(log: EventLog, stack: Stack) -> None:
    """Log a line for each binding, from the bottom to the top."""
    for binding in stack.bindings:
        log.event(
            "binding",
            driver=binding.name,
            adapter=binding.adapter.name,
            delivered=binding.delivered,
            resources=binding.resources,
            promised=binding.promised,
            returned=binding.returned,
            held=binding.held,
            errors=binding.errors,
            violations=binding.violations,
            sends_pending=binding.sends_pending,
        )


def show_holders(log: EventLog, stack: Stack) -> None:
    """Log who holds what since when: the oldest packets, and how many more there are."""
    held = [holding for adapter in stack.adapters for holding in holdings(adapter)]
    held.sort(key=lambda holding: -holding.age_ns)
    for holding in held[:MAX_HOLDERS_SHOWN]:
        log.event(
            "holder",
            driver=holding.binding.name,
            adapter=holding.binding.adapter.name,
            packet=holding.packet.index,
            generation=holding.packet.generation,
            owed=holding.owed,
            age_ms=round(holding.age_ns / 1e6, 3),
            bytes=holding.packet.length,
        )
    if len(held) > MAX_HOLDERS_SHOWN:
        log.event("holder", more=len(held) - MAX_HOLDERS_SHOWN)
