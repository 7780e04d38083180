"""
Look at everything at once: every packet, every sum.

What it finds can only be a fault of the library, or of code that writes where it may not: no driver can break these through the library.

Next: `vnic/verifier/throttle.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.counters import broken_sums
from vnic.facts import holders_of
from vnic.states import PacketState
from vnic.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vnic.core import Adapter, Packet, PacketPool

AT_REST = (PacketState.FREE, PacketState.OWNED, PacketState.SENDING, PacketState.TRANSFERRING)
"""The states in which nobody above owes a return of a packet."""


def audit(adapter: Adapter) -> list[str]:
    """
    Walk over an adapter and its pools. Nothing changes hands.

    To be called between two batches: a packet that is being shown has one reference more than its holders owe.

    Returns:
        A line for each thing that is wrong; none if everything is as it must be.
    """
    found = [f"{escape(adapter.name)}: {line}" for line in broken_sums(adapter.counters())]
    for pool in adapter.pools:
        found += [f"pool {escape(pool.name)}: {line}" for line in wrong_in(pool)]
    for binding in adapter.bindings:
        owed = sum(binding.owed(packet) for packet in adapter.packets())
        if owed != binding.held:
            found.append(f"{escape(binding.name)} owes {binding.held} returns by its own count, {owed} by that of the packets")
    return found


def wrong_in(pool: PacketPool) -> Iterator[str]:
    """What is wrong in a pool, a line each."""
    states = dict.fromkeys(PacketState, 0)
    for packet in pool.packets():
        states[packet.state] += 1
        wrong = wrong_with(packet)
        if wrong is not None:
            yield f"packet {packet.index}.{packet.generation} is {packet.state.name} and {wrong}"
    if states[PacketState.FREE] != pool.available:
        yield f"{states[PacketState.FREE]} packets are FREE, {pool.available} are on the free stack"


def wrong_with(packet: Packet) -> str | None:
    """What is wrong with a packet; None if nothing is."""
    owed = sum(count for _, count in holders_of(packet))
    if packet.state is PacketState.INDICATED and packet.references != owed:
        return f"has {packet.references} references, {owed} are owed"
    if packet.state in AT_REST and packet.references:
        return f"has {packet.references} references"
    if packet.state is PacketState.FREE and packet.views:
        return f"has {packet.views} views"
    return None
