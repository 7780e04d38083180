"""
A miniport's own indication: packets that it has filled itself, shown like those that were read.

Next: `vnic/receive.py`, what becomes of each.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from vnic.context import Context
from vnic.packet import HEADER_SIZE, Packet
from vnic.receive import Receiving
from vnic.states import BROKEN, Event, PacketState
from vnic.status import VnicError
from vnic.steps import Step
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import cython

    from vnic.pool import PacketPool
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.binding import is_packet
    from vnic.context import _here
    from vnic.steps import _cpu, _now, _step

OWNED = int(PacketState.OWNED)


class Indicating(Receiving):
    """The part of an adapter that takes packets from its miniport; `Adapter` says what the rest is."""

    def indicate(self, packets: Sequence[Packet]) -> None:
        """
        Show packets to every binding whose filter accepts them. The caller must own them and have set `status` on each.

        A SUCCESS packet comes back through the miniport's `return_packet`, possibly before this returns. A RESOURCES packet is
        the caller's own again when this returns; every packet after one is shown like it. To a serialized miniport each packet
        says so itself when this returns: its status is PENDING if it comes back later, SUCCESS if it has.

        Raises:
            OwnershipError: a packet is not the caller's to indicate (rule 17); none of them is shown then.
            TypeError: one of them is no packet; none is shown then, as with the next two.
            ValueError: a packet is from another pool than the adapter's, or its chain is too long.
            VnicError: a transfer is pending; it must be completed first.

        NDIS: NdisMIndicateReceivePacket; RX-01 to RX-19, RX-53, AMB-1.
        """
        packet: Packet
        packets = list(packets)
        for given in packets:
            if not is_packet(given):
                raise TypeError(f"a {type(given).__name__} is indicated, and not a packet")
        self._may_indicate()
        if self._ledger._level >= 2:
            self._ledger._require_no_locks(None, "indicate")
            if self._ledger._level >= 4:
                FAULTS.delay(None)
        if self._batch_open:
            self._end_lookaheads("it indicates packets")
        if len(set(packets)) != len(packets):
            raise self._ledger._violation(rules.INDICATED_IN_USE, None, None, "a packet stands twice in one indication")
        for packet in packets:
            if packet.pool is not self.pool:
                self._join(packet.pool)
            if packet._state != OWNED:
                raise self._ledger._violation(BROKEN[packet.state, Event.INDICATE], None, packet, f"{packet!r} is indicated")
            if packet._oob is not None or packet._chain is not None:
                self._look_at_header(packet)
        if self._transfers:
            raise VnicError("a transfer is pending: complete it before the next frame is indicated")
        self._call_below(self._indicate_all, packets)

    def _look_at_header(self, packet: Packet) -> None:
        """Rule 92: what a miniport says of the header must be so. RX-05."""
        if packet._oob is not None and packet._oob.header_size == 0:
            detail = f"{packet!r} is indicated with a header of 0 bytes"
            self._ledger._violation(rules.INDICATE_ILLEGAL, None, packet, detail)
        if packet._chain is None:
            return
        packet._chain.total()
        used = packet._chain.used()
        if used and used[0].length < HEADER_SIZE:
            detail = f"{packet!r} is indicated with {used[0].length} bytes in its first buffer"
            self._ledger._violation(rules.INDICATE_ILLEGAL, None, packet, detail)

    def _indicate_all(self, packets: list) -> None:
        packet: Packet
        low: cython.bint = False
        here: Context = _here()
        level: cython.int = self._ledger._level
        step: Step = _step("indicate", self.name, level, 0) if level else None
        if self._timed():
            here._batch_begins(_now() - _cpu())
        together: cython.bint = self._batched
        copied: set = None
        self._ledger._begin()
        try:
            for packet in packets:
                packet._serial = self._serial is not None
                if step is not None:
                    with cython.critical_section(packet):
                        packet.shown = step
                    if packet._history is not None:
                        packet._history.append(step)
                if packet._status:
                    low = True
                elif low or (level >= 4 and FAULTS.lends(packet.pool.name)):
                    low = True
                    if not together:
                        self._receive_copied(packet, here)
                        continue
                    copied = copied or set()
                    copied.add(packet)
                    packet._status = 1
                packet.time_received = time_ns()
                if not together:
                    self._receive(packet, here, False)
            if together:
                self._receive_together(packets, here, copied, False, False)
            self._end_batch(here)
        finally:
            self._end_indication()

    def _join(self, pool: PacketPool) -> None:
        """Take a pool of the miniport's own for one of the adapter's."""
        if pool in self._pools:
            return
        if pool._claimed or not self._joins_pools:
            raise ValueError(f"a packet of {pool.name} is not from the adapter's pool {self.pool.name}")
        pool._claimed = True
        self._pools.append(pool)

    def _receive_copied(self, packet: Packet, here: Context) -> None:
        """A SUCCESS packet behind a RESOURCES one: delivery is by copy, but by its own status it goes home through return_packet."""
        if packet._state == OWNED:
            packet._status = 1
        packet.time_received = time_ns()
        if self._receive(packet, here, False):
            self._end_copied(packet)
