"""
Superframes on their way up and back: whole for those who have asked, and for all others as the segments that they stand for.

So are checksums that were left to the NIC: they are completed before anybody sees the frame who has not asked. No segment is lost: when
packets run low they are lent, to be copied at once, and the last resort is a packet that nobody can keep.

Next: `vnic/queue.py`, which reads them.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from vnic.binding import Binding
from vnic.context import Context
from vnic.counters import COLUMN
from vnic.filters import PacketFilter
from vnic.large import LargeBuffers
from vnic.ledger import Ledger
from vnic.offload import Offload
from vnic.packet import LOOPBACK, Packet
from vnic.pool import PacketPool
from vnic.receive import Receiving
from vnic.segment import Cut
from vnic.states import Event
from vnic.steps import Step
from vnic.verifier.levels import LEVELS
from vnic.virtio import Headers

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.guard import keep
    from vnic.virtio import CHECKED, ECN, NEEDS_CHECKSUM, NO_SUPERFRAME, RIGHT, checked, complete

if cython.compiled:
    from cython.cimports.libc.string import memcpy

SPARE = 32
"""Packets that are lent only: for segments when all others are out, and for what is sent and shown as it goes on the wire."""
TOGETHER = 64
EVERYTHING = int(PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL)
SEGMENTATION = int(Offload.SEGMENTATION)
AS_LOOPED = LOOPBACK
DO_LEND = int(Event.LEND)
DO_RECLAIM = int(Event.RECLAIM)
RX_DELIVERED = COLUMN["rx_delivered"]
RX_FILTERED = COLUMN["rx_filtered"]
RX_SUPERFRAMES = COLUMN["rx_superframes"]
RX_SEGMENTS = COLUMN["rx_segments"]
RX_SEGMENTS_LOST = COLUMN["rx_segments_lost"]
RX_CHECKSUMS = COLUMN["rx_checksums"]
RX_DROPPED_TRUNCATED = COLUMN["rx_dropped_truncated"]
RX_DROPPED_HEADER = COLUMN["rx_dropped_header"]
RX_DROPPED_NO_LARGE = COLUMN["rx_dropped_no_large"]
TX_LOOPED = COLUMN["tx_looped"]
TX_NOT_LOOPED = COLUMN["tx_not_looped"]


class Superframes:
    """
    What an adapter has for offload: large buffers, and a few packets more.

    Args:
        adapter: whose frames they are.
        count: large buffers.

    Attributes:
        large: the large buffers.
        reserve: with fewer of them free, who is shown one has to copy.

    Raises:
        OSError: the memory cannot be had.
    """

    def __init__(self, adapter: Receiving, count: int, reserve: int) -> None:
        if getattr(self, "adapter", None) is not None:
            raise TypeError("an adapter's superframes are made once")
        self.large = LargeBuffers(count, adapter.name, adapter.pool.slot_size)
        self._spare = PacketPool(SPARE, adapter.pool.slot_size, name=f"{adapter.name} segments")
        self._spare._claimed = True
        self.reserve = reserve
        self.adapter = adapter

    def _prepare(self, packet: Packet, number: cython.int, headers: Headers) -> cython.bint:
        """
        Look at a frame that has just been read, and at its virtio header.

        Args:
            packet: OWNED, its length and its virtio header set.
            number: the large buffer that the frame is in, or -1.
            headers: to look for its headers with; the queue's, so that none is made for a frame.

        Returns:
            Whether `_show` is to show it: somebody may have to be shown its segments. If something is wrong with it, the packet says so.
        """
        adapter: Receiving = self.adapter
        ledger: Ledger = adapter._ledger
        length: cython.Py_ssize_t = packet._length
        flags: cython.uint = packet._virtio.flags
        kind: cython.int = packet._virtio.kind
        if number >= 0:
            self.large._attach(packet, number)
        if cython.compiled:
            right: cython.bint = checked(cython.address(packet._virtio), length) == RIGHT
        else:
            right = checked(packet._virtio, length) == RIGHT
        if kind == NO_SUPERFRAME:
            if length >= packet._slot_size:
                packet._fault = RX_DROPPED_TRUNCATED
            elif not right:
                packet._fault = RX_DROPPED_HEADER
            elif flags & NEEDS_CHECKSUM and adapter._unchecked:
                complete(packet._bytes, length, packet._virtio.start, packet._virtio.offset)
                packet._virtio.flags = CHECKED
                with cython.critical_section(ledger):
                    ledger._counts[RX_CHECKSUMS] += 1
            return False
        with cython.critical_section(ledger):
            ledger._counts[RX_SUPERFRAMES] += 1
        if length >= packet._slot_size and number < 0:
            packet._fault = RX_DROPPED_NO_LARGE
        elif not (right and self._is_superframe(packet, kind, headers)):
            packet._fault = RX_DROPPED_HEADER
        else:
            # what somebody asks for may change between two drivers of a frame
            return not adapter._batched or len(adapter._plain) > 0
        return False

    def _is_superframe(self, packet: Packet, kind: cython.int, headers: Headers) -> cython.bint:
        """Whether a superframe is what its virtio header says, and makes segments that are frames here."""
        length: cython.Py_ssize_t = packet._length
        if not headers.find(packet._shared, length, length) or headers.end != length:
            return False
        if headers.kind() != kind & ~ECN or packet._virtio.start != headers.transport or packet._virtio.offset != headers.offset():
            return False
        return headers.payload < length and headers.payload + packet._virtio.size < packet._slot_size

    def _show(self, packet: Packet, here: Context, step: Step | None) -> None:
        """Show a superframe: whole to those who have asked, in segments to the others. Then it is over, or kept."""
        adapter: Receiving = self.adapter
        binding: Binding
        bindings: list
        # as in `Receiving._receive`
        with cython.critical_section(adapter):
            bindings = adapter._bindings
        position: cython.Py_ssize_t
        lent: cython.bint = packet._status != 0
        cut: cython.bint = False
        outcome: cython.int = adapter._begin_frame(packet)
        if outcome == RX_FILTERED:
            destination: cython.ulonglong = packet._destination()
            kind: cython.int = adapter._sends._kind(destination)
            for position in range(len(bindings)):
                binding = cython.cast(Binding, bindings[position])
                if not binding._filter & (kind | EVERYTHING) and not binding._accepts(kind, destination):
                    continue
                outcome = RX_DELIVERED
                if not binding._offload & SEGMENTATION:
                    if not cut:
                        # in the place of the first of them, so that who watches sees them before an answer
                        cut = True
                        self._show_segments(packet, here, step)
                elif lent:
                    binding._show_and_copy(packet, here)
                else:
                    binding._show(packet, here)
        if outcome >= 0 and adapter._end_frame(packet, outcome, lent):
            pool: PacketPool = packet.pool
            with cython.critical_section(pool):
                pool._put_back(packet)

    def _show_segments(self, packet: Packet, here: Context, step: Step | None) -> None:
        """Cut a superframe, and show the segments one after another, or in batches to those who want that."""
        adapter: Receiving = self.adapter
        ledger: Ledger = adapter._ledger
        pool: PacketPool
        segment: Packet
        nth: cython.Py_ssize_t
        cut: Cut = Cut()
        together: list = []
        if not self._begin(cut, packet):
            return
        for nth in range(cut.count):
            segment = self._take(packet, step)
            if segment is None:
                with cython.critical_section(ledger):
                    ledger._counts[RX_SEGMENTS_LOST] += 1
                continue
            segment._length = cut.write(nth, segment._bytes)
            with cython.critical_section(ledger):
                ledger._counts[RX_SEGMENTS] += 1
            pool = segment.pool
            if not adapter._batched:
                if adapter._receive(segment, here, True):
                    with cython.critical_section(pool):
                        pool._put_back(segment)
                continue
            together.append(segment)
            if len(together) == TOGETHER or pool is self._spare:
                adapter._receive_together(together, here, None, True, True)
                together = []
        if together:
            adapter._receive_together(together, here, None, True, True)

    def _begin(self, cut: Cut, packet: Packet) -> cython.bint:
        """Begin to cut what a packet has."""
        length: cython.Py_ssize_t = packet._length
        if packet._scattered:
            packet._gather()
        if cython.compiled:
            return cut.begin(cython.address(packet._virtio), packet._shared, length, length)
        else:
            return cut.begin(packet._virtio, packet._shared, length, length)

    def _take(self, packet: Packet, step: Step | None) -> Packet | None:
        """A packet for a segment: of the adapter's pool, lent if those run low, else one of the last resort."""
        segment: Packet = None
        pool: PacketPool = self.adapter.pool
        if pool._lanes is not None and pool._top <= self.adapter.low_water:
            # what queues have at hand is free, too
            pool._recall()
        if pool._top <= pool._reserve:
            pool.release_withheld()
        with cython.critical_section(pool):
            if pool._top > pool._reserve:
                pool._top -= 1
                segment = pool._packets[pool._stack[pool._top]]
                pool._fresh(segment)
                if pool._top <= self.adapter.low_water:
                    # those that are read into now, or wait for their turn in a batch, are not out either
                    segment._status = pool._available() + pool._reading() <= self.adapter.low_water
        if segment is None:
            segment = self._take_spare()
        elif pool._level >= 3:
            pool._look_for_poison(segment)
        if segment is not None:
            segment._ordinary = False
            segment._segment = True
            segment.time_received = packet.time_received
            self._note(segment, step)
        return segment

    def _take_spare(self) -> Packet | None:
        """A packet that is lent only; None if all of them are looked at, against the rules, or within each other."""
        segment: Packet
        pool: PacketPool = self._spare
        with cython.critical_section(pool):
            if pool._top == 0:
                return None
            pool._top -= 1
            segment = pool._packets[pool._stack[pool._top]]
            pool._fresh(segment)
            segment._status = 1
        return segment

    def _note(self, segment: Packet, step: Step | None) -> None:
        if step is not None:
            with cython.critical_section(segment):
                segment.made = segment.shown = step
            if segment._history is not None:
                segment._history.append(step)

    def _loop_plain(self, packet: Packet, bindings: list, here: Context) -> None:
        """Show a send that was left to the adapter in part as it goes on the wire, to those who have not asked. They copy."""
        ledger: Ledger = self.adapter._ledger
        binding: Binding
        segment: Packet
        nth: cython.Py_ssize_t
        count: cython.Py_ssize_t = 1
        cut: Cut = None
        pool: PacketPool = self._spare
        if packet._scattered:
            packet._gather()
        if packet._virtio.kind != NO_SUPERFRAME:
            cut = Cut()
            count = cut.count if self._begin(cut, packet) else 0
        for nth in range(count):
            segment = self._take_spare()
            if segment is None:
                with cython.critical_section(ledger):
                    ledger._counts[TX_NOT_LOOPED] += 1
                return
            self._fill(segment, packet, cut, nth)
            for binding in bindings:
                if not binding._enter_open():
                    continue
                binding._show_and_copy(segment, here)
                if nth == 0:
                    with cython.critical_section(ledger):
                        ledger._counts[TX_LOOPED] += 1
                binding._leave()
            segment._kept = False
            segment._change(DO_RECLAIM)
            with cython.critical_section(pool):
                pool._put_back(segment)

    def _fill(self, segment: Packet, packet: Packet, cut: Cut | None, nth: cython.Py_ssize_t) -> None:
        """Write what goes on the wire of a send into a packet that is lent: a segment of it, or all of it with its checksum."""
        length: cython.Py_ssize_t = packet._length
        if cut is not None:
            length = cut.write(nth, segment._bytes)
        else:
            if cython.compiled:
                memcpy(segment._bytes, packet._shared, length)
            else:
                segment._bytes[:length] = packet._shared[:length]
            complete(segment._bytes, length, packet._virtio.start, packet._virtio.offset)
        segment._length = length
        segment._flags |= AS_LOOPED
        segment.time_received = time_ns()
        self._note(segment, packet.last)
        segment._change(DO_LEND)
        if segment._history is not None:
            keep(segment)

    def _follow(self, level: cython.int) -> None:
        """The verifier level of the adapter has changed."""
        self._spare.verifier_level = LEVELS.of_pool(self._spare.name, level)
