"""
A queue: one descriptor that an adapter reads, and what the thread that reads it needs for a batch.

Each frame is read straight into a free packet, many at a time, without the GIL; with offload into a large buffer first, four at a time.

Next: `vnic/receive.py`, what becomes of each.
"""

from __future__ import annotations

import errno as errors
import os
from typing import TYPE_CHECKING

from vnic.context import Context
from vnic.counters import COLUMN
from vnic.lane import Lane
from vnic.large import LARGE, STRIDE, LargeBuffers
from vnic.ledger import Ledger
from vnic.packet import Packet
from vnic.pool import PacketPool
from vnic.receive import Receiving
from vnic.states import Event, PacketState
from vnic.steps import Step
from vnic.superframes import Superframes
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.virtio import HEADER, Headers, Virtio

if TYPE_CHECKING:
    import cython

    from vnic.uring import Uring
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.steps import _cpu, _now, _step, _wall

MAX_BUDGET = 256
MAX_QUEUES = 256
AT_ONCE = 4
"""Frames that are read into large buffers before they are shown: few, whose buffers are in the nearest caches again and again."""
LENT_BELOW = 4
"""Large buffers for each queue that drivers may not keep: with fewer free ones a superframe is lent."""
MOST_LARGE = 8
"""Large buffers that drivers may keep of one batch; then it ends, and they are told of its end."""
FEWEST = 4
"""Packets that a read takes, at least, when frames may be superframes."""
LARGE_SIZE, LARGE_STRIDE = LARGE, STRIDE
READY = AT_ONCE
NOTHING_LEFT = errors.EAGAIN
DO_RECLAIM = int(Event.RECLAIM)
OWNED = int(PacketState.OWNED)
RX_FRAMES = COLUMN["rx_frames"]
RX_BYTES = COLUMN["rx_bytes"]
RX_DROPPED_NO_PACKET = COLUMN["rx_dropped_no_packet"]
RX_DROPPED_FAULT = COLUMN["rx_dropped_fault"]
RX_DROPPED_TRUNCATED = COLUMN["rx_dropped_truncated"]
RX_BATCHES = COLUMN["rx_batches"]


class Queue:
    """
    Reads one descriptor, which stays its owner's, into the packets of an adapter's pool.

    One thread at a time calls `receive_batch`.

    Args:
        adapter: whose frames they are.
        lane: what it has for itself, if there are others.

    Attributes:
        number: the first is 0.
        several: the adapter has other queues, too.
        fd: the descriptor; -1 before there is one.
        reading: a batch is being read, or shown.
    """

    def __init__(self, adapter: Receiving, lane: Lane) -> None:
        if getattr(self, "adapter", None) is not None:
            raise TypeError("queues are made by adapters, once")
        self.adapter = adapter
        self.lane = lane
        self.number = lane.number
        self.fd = -1
        self.reading = self.several = self._low = False
        self._uring = None
        self._superframes = None
        self._headers = Headers()
        self._failure = self._taken = 0
        self._wanted = FEWEST
        if not cython.compiled:
            self._virtio = [None] * MAX_BUDGET
            self._numbers = [0] * MAX_BUDGET
            self._large = [0] * 64
            self._indices = [0] * MAX_BUDGET
            self._lengths = [0] * MAX_BUDGET

    def _attach(self, fd: cython.int, ring: Uring | None, superframes: Superframes | None) -> None:
        """Read from a descriptor, through a ring or with virtio headers if that is so; `Adapter.attach` has looked at all of them."""
        self._uring = ring
        self._superframes = superframes
        if cython.compiled:
            self._ring = cython.NULL if ring is None else cython.address(cython.cast(Uring, ring)._ring)
        self.fd = fd

    @property
    def reader(self) -> str:
        """How frames are read: "io_uring", or "read"."""
        return "read" if self._uring is None or self._uring.broken else "io_uring"

    @property
    def frames(self) -> int:
        """Frames that were read through it, those that were read away included."""
        return self.lane.frames

    @property
    def batches(self) -> int:
        """Batches in which they were shown."""
        return self.lane.batches

    def receive_batch(self, budget: cython.int) -> cython.int:
        """What `Adapter.receive_batch` does; there it is documented."""
        adapter: Receiving = self.adapter
        here: Context
        before: Lane
        if not self.several:
            return self._receive_batch(budget)
        here = _here()
        before = here.lane
        if before is not None and before.sends is adapter._sends:
            raise adapter._ledger._violation(rules.REENTERED, here.binding, None, "receive_batch is running already")
        here.lane = self.lane
        # other threads read, too: whoever ends everything has to wait for this one
        adapter._ledger._begin()
        try:
            return self._receive_batch(budget)
        finally:
            here.lane = before
            adapter._end_indication()

    def _receive_batch(self, budget: cython.int) -> cython.int:
        adapter: Receiving = self.adapter
        with cython.critical_section(self):
            running: cython.bint = self.reading
            self.reading = True
        if running:
            raise adapter._ledger._violation(rules.REENTERED, _here().binding, None, "receive_batch is running already")
        try:
            if adapter._serial is None:
                return self._read_and_indicate(budget)
            with adapter._serial.gate.held():
                return self._read_and_indicate(budget)
        finally:
            self.reading = False

    def _read_and_indicate(self, budget: cython.int) -> cython.int:
        adapter: Receiving = self.adapter
        count: cython.int
        superframes: Superframes = self._superframes
        free: cython.int = 0
        if superframes is None:
            count = self._read(budget, True)
        else:
            free = superframes.large._top
            count = self._read(min(budget, self._wanted), True)
        if count:
            adapter._ledger._begin()
            try:
                with cython.critical_section(adapter._ledger):
                    adapter._ledger._counts[RX_BATCHES] += 1
                self.lane.batches += 1
                now: cython.longlong = _wall()
                level: cython.int = adapter.pool._level
                step: Step = _step("receive", adapter.name, level, 0) if level else None
                here: Context = _here()
                if adapter._timed():
                    here._batch_begins(_now() - _cpu())
                self._indicate_batch(count, now, step, here)
                if superframes is not None:
                    count += self._go_on(budget - count, free, now, step, here)
                adapter._end_batch(here)
            finally:
                adapter._end_indication()
        elif self._taken == 0:
            count = self._discard(budget)
        if self._failure and self._failure != NOTHING_LEFT:
            raise OSError(self._failure, os.strerror(self._failure), adapter.name)
        return count

    def _go_on(
        self, budget: cython.int, free: cython.int, now: cython.longlong, step: Step | None, here: Context
    ) -> cython.int:
        """
        Read and show more of a batch with superframes, a few at a time: what nobody keeps is read into the same large buffers again, which
        are in the cache. The batch is over when drivers have kept eight of those that were free.
        """
        superframes: Superframes = self._superframes
        total: cython.int = 0
        count: cython.int
        while total < budget and not self._failure and free - superframes.large._top < MOST_LARGE:
            # a few microseconds: with the GIL, unless another queue waits for it
            count = self._read(min(budget - total, self._wanted), self.several)
            if count == 0:
                break
            self._indicate_batch(count, now, step, here)
            total += count
        return total

    def _read(self, budget: cython.int, release: cython.bint) -> cython.int:
        """
        Take free packets, and read frames into them until none is left; packets without one go back.

        Args:
            budget: packets at most.
            release: the GIL, while superframes are read; else it always is.
        """
        adapter: Receiving = self.adapter
        pool: PacketPool = adapter.pool
        taken: cython.int = 0
        count: cython.int = 0
        failure: cython.int = 0
        position: cython.int
        top: cython.int
        fd: cython.int = self.fd
        # in variables of their own, so that the compiler need not write them down for each packet
        stack: cython.p_int = pool._stack
        indices: cython.p_int = self._indices
        if pool._top <= pool._reserve:
            pool.release_withheld()
        if self.several:
            taken = pool._take(self.lane, self._indices, budget)
        else:
            with cython.critical_section(pool):
                top = pool._top
                taken = max(0, min(budget, top - pool._reserve))
                for position in range(taken):
                    indices[position] = stack[top - 1 - position]
                pool._top = top - taken
                pool._unread = taken
        if pool._level >= 3:
            for position in range(taken):
                pool._look_for_poison(pool._packets[self._indices[position]])
        if self._superframes is not None:
            count = self._read_superframes(fd, taken, release)
            failure = self._failure
        elif cython.compiled:
            with cython.nogil:
                count = vnic_fill(
                    self._ring, fd, pool._bytes, pool.slot_size, self._indices, self._lengths, taken, cython.address(failure)
                )
        else:
            while count < taken:
                try:
                    self._lengths[count] = os.readv(fd, [pool._packets[self._indices[count]]._bytes])
                except OSError as error:
                    failure = error.errno
                    break
                count += 1
        if self.several:
            pool._untake(self.lane, self._indices, count, taken)
        else:
            with cython.critical_section(pool):
                top = pool._top
                for position in range(taken - 1, count - 1, -1):
                    stack[top] = indices[position]
                    top += 1
                pool._top = top
                pool._unread = count
        self._taken = taken
        self._failure = failure
        return count

    def _indicate_batch(self, count: cython.int, now: cython.longlong, step: Step | None, here: Context) -> None:
        """Show the frames of one read."""
        adapter: Receiving = self.adapter
        pool: PacketPool = adapter.pool
        packet: Packet
        position: cython.int
        lane: Lane = self.lane
        several: cython.bint = self.several
        superframes: Superframes = self._superframes
        slot_size: cython.int = pool.slot_size
        low: cython.bint = False
        level: cython.int = pool._level
        lane.frames += count
        together: list = [None] * count if adapter._batched else None
        cut: cython.bint
        first: cython.int = 0
        done: cython.int = 0
        try:
            for position in range(count):
                packet = cython.cast(Packet, pool._packets[self._indices[position]])
                with cython.critical_section(pool):
                    if several:
                        lane.unread = lane.unread - 1
                    else:
                        pool._unread = pool._unread - 1
                    pool._fresh(packet)
                packet._length = self._lengths[position]
                if packet._length >= slot_size and superframes is None:
                    # a read that fills the whole slot is that of a longer frame
                    packet._ordinary = False
                    packet._fault = RX_DROPPED_TRUNCATED
                packet.time_received = now
                if step is not None:
                    with cython.critical_section(packet):
                        packet.made = packet.shown = step
                    # another thread may have changed the level since the batch began
                    if not packet._ordinary and packet._history is not None:
                        packet._history.append(step)
                if pool._top <= adapter.low_water and not low:
                    low = self._runs_low(count - position)
                packet._status = low
                if level >= 4 and not low and FAULTS.lends(pool.name):
                    packet._status = 1
                cut = superframes is not None and self._prepare(packet, position)
                if cut and together is not None:
                    # what came before is shown before
                    before: cython.int = first
                    first = position + 1
                    self._show_before(together, before, position, here)
                if cut:
                    cython.cast(Superframes, superframes)._show(packet, here, step)
                elif together is not None:
                    together[position] = packet
                elif adapter._receive(packet, here, False):
                    with cython.critical_section(pool):
                        pool._put_back(packet)
                done = position + 1
        finally:
            if done < count:
                self._give_up(packet, done, count)
            if together is not None:
                self._show_before(together, first, done, here)
        if pool._top < pool.low_water:
            pool._note_low_water()
        if low and not self._low:
            adapter._name_the_holder()
        self._low = low

    def _runs_low(self, rest: cython.int) -> cython.bint:
        """Whether so few packets are free, or have frames that are shown next - the rest of this batch -, that they must be copied."""
        adapter: Receiving = self.adapter
        pool: PacketPool = adapter.pool
        if not self.several:
            return pool._top + rest <= adapter.low_water
        # those that other threads are about to read into, or to give back, are not out either
        with cython.critical_section(pool):
            # two sums, and no packet may go from one to the other in between
            low: cython.bint = pool._available() + pool._reading() < adapter.low_water
        return low

    def _show_before(self, together: list, first: cython.int, end: cython.int, here: Context) -> None:
        """Show a part of a batch in batches."""
        adapter: Receiving = self.adapter
        if end > first:
            adapter._receive_together(together if end - first == len(together) else together[first:end], here, None, True, False)

    def _prepare(self, packet: Packet, position: cython.int) -> cython.bint:
        """Let a packet have what was read elsewhere; answers whether its frame is a superframe that is shown by itself."""
        superframes: Superframes = self._superframes
        number: cython.int = self._numbers[position]
        if number < 0 and packet._length < packet._slot_size and not (self._virtio[position].flags or self._virtio[position].kind):
            return False
        packet._ordinary = False
        packet._virtio = self._virtio[position]
        if number >= 0:
            self._numbers[position] = -1
            if superframes.large._top < superframes.reserve:
                # the last ones have to come back at once
                packet._status = 1
        return superframes._prepare(packet, number, self._headers)

    def _read_superframes(self, fd: cython.int, taken: cython.int, release: cython.bint) -> cython.int:
        """
        Read frames with virtio headers, each into a large buffer. A short one is copied into the slot of its packet, and the large buffer
        serves the next: that is quicker than to read into several pieces.

        This ends when four are used, so that they are in the cache when they are shown. Without a large buffer a superframe is cut.
        """
        superframes: Superframes = self._superframes
        large: LargeBuffers = superframes.large
        pool: PacketPool = self.adapter.pool
        count: cython.int = 0
        ready: cython.int = 0
        position: cython.int
        self._failure = 0
        with cython.critical_section(pool):
            while ready < READY and large._top:
                large._top -= 1
                self._large[ready] = large._stack[large._top]
                ready += 1
        if cython.compiled:
            count = vnic_fill_superframes(
                fd, pool._bytes, pool.slot_size, self._indices, self._lengths, taken, cython.address(self._failure),
                self._virtio, self._numbers, large._bytes, LARGE_STRIDE, LARGE_SIZE, self._large, cython.address(ready), release,
            )  # fmt: skip
        else:
            begun = ready
            while count < taken and (ready or not begun):
                slot = pool._packets[self._indices[count]]._bytes
                number = self._large[ready - 1] if ready else -1
                into = large._bytes[number * STRIDE :][:LARGE] if ready else bytearray(HEADER)
                try:
                    length = os.readv(fd, [into] if ready else [into, slot]) - HEADER
                except OSError as error:
                    self._failure = error.errno
                    break
                self._virtio[count] = Virtio(bytes(into[:HEADER]) if length >= 0 else bytes(HEADER))
                self._lengths[count] = length = max(0, length)
                used = ready > 0 and length >= pool.slot_size
                if ready and not used:
                    slot[:length] = into[HEADER : HEADER + length]
                self._numbers[count] = number if used else -1
                ready -= used
                count += 1
        with cython.critical_section(pool):
            for position in range(ready - 1, -1, -1):
                large._give_back(self._large[position])
        # a few packets for superframes, as many as can be for short frames; some are left for segments
        most: cython.int = max(1, pool.capacity // 4)
        self._wanted = min(most, max(FEWEST, 2 * count))
        return count

    def _give_up(self, packet: Packet, done: cython.int, count: cython.int) -> None:
        """The library itself has failed in mid-batch: the frame at hand and those behind it are lost, and counted so."""
        ledger: Ledger = self.adapter._ledger
        pool: PacketPool = self.adapter.pool
        position: cython.int
        with cython.critical_section(pool, ledger):
            for position in range(count - 1, done - 1, -1):
                ledger._counts[RX_FRAMES] += 1
                ledger._counts[RX_BYTES] += self._lengths[position]
                ledger._counts[RX_DROPPED_FAULT] += 1
                if self._superframes is not None and self._numbers[position] >= 0:
                    cython.cast(Superframes, self._superframes).large._give_back(self._numbers[position])
                if position > done:
                    pool._stack[pool._top] = self._indices[position]
                    pool._top += 1
                    if self.several:
                        self.lane.unread -= 1
                    else:
                        pool._unread -= 1
        packet._asked = -1
        if packet._state != OWNED:
            packet.references -= 1
            if not packet._status:
                if packet.references == 0:
                    ledger._home(packet, None)
                return
            packet._change(DO_RECLAIM)
        with cython.critical_section(pool):
            pool._put_back(packet)

    def _discard(self, budget: cython.int) -> cython.int:
        """No packet at all is free: read frames away and count them, so that the loss has a name."""
        adapter: Receiving = self.adapter
        ledger: Ledger = adapter._ledger
        header: cython.int = 0 if self._superframes is None else HEADER
        count: cython.int = 0
        while count < budget:
            try:
                frame = os.read(self.fd, adapter.pool.slot_size + header)
            except BlockingIOError:
                break
            count += 1
            self.lane.frames += 1
            with cython.critical_section(ledger):
                ledger._counts[RX_FRAMES] += 1
                ledger._counts[RX_BYTES] += max(0, len(frame) - header)
                ledger._counts[RX_DROPPED_NO_PACKET] += 1
        return count
