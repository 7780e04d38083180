"""
An adapter: reads batches of frames into packets, shows them to its bindings, and has them back.

Who its bindings are, and when it starts and stops, is in `vnic/lifecycle.py`.

Next: `miniport/adapter.py`, which gives it a TAP.
"""

from __future__ import annotations

import errno as errors
import os
from time import time_ns
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.binding import Binding
from vnic.context import Context
from vnic.counters import COLUMN, COUNTED
from vnic.filters import PacketFilter
from vnic.ledger import Ledger, report_to_logging
from vnic.lifecycle import Lifecycle
from vnic.packet import HEADER_SIZE, Packet
from vnic.pool import PacketPool, slot_size_for
from vnic.send import SendPath
from vnic.states import BROKEN, Event, PacketState
from vnic.status import Status, VnicError
from vnic.steps import Step
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import cython

    from vnic.driver import MiniportDriver
    from vnic.oids import NicValues
    from vnic.timers import Clock
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.batch import show_batches
    from vnic.context import _here
    from vnic.guard import keep
    from vnic.steps import _cpu, _step

PENDING = Status.PENDING
MAX_BUDGET = 256
SHORTEST = HEADER_SIZE
OWNED = int(PacketState.OWNED)
LENT = int(PacketState.LENT)
ALL_LOCAL = int(PacketFilter.ALL_LOCAL)
PROMISCUOUS = int(PacketFilter.PROMISCUOUS)
DO_INDICATE = int(Event.INDICATE)
DO_LEND = int(Event.LEND)
DO_RECLAIM = int(Event.RECLAIM)
DO_TRANSFER = int(Event.TRANSFER)
DO_TRANSFERRED = int(Event.TRANSFERRED)
TRANSFERRING = int(PacketState.TRANSFERRING)
KEPT = int(Status.PENDING)
RX_FRAMES = COLUMN["rx_frames"]
RX_BYTES = COLUMN["rx_bytes"]
RX_DELIVERED = COLUMN["rx_delivered"]
RX_FILTERED = COLUMN["rx_filtered"]
RX_DROPPED_RUNT = COLUMN["rx_dropped_runt"]
RX_DROPPED_TRUNCATED = COLUMN["rx_dropped_truncated"]
RX_DROPPED_NO_PACKET = COLUMN["rx_dropped_no_packet"]
RX_DROPPED_NO_DRIVER = COLUMN["rx_dropped_no_driver"]
RX_DROPPED_NO_RECEIVE = COLUMN["rx_dropped_no_receive"]
RX_DROPPED_FAULT = COLUMN["rx_dropped_fault"]
RX_RESOURCES = COLUMN["rx_resources"]
RX_BATCHES = COLUMN["rx_batches"]
INDICATED = COLUMN["indicated"]
RETURNED = COLUMN["returned"]


class Adapter(Lifecycle):
    """
    A virtual NIC: one pool, one miniport, up to 128 bindings, and a file descriptor that carries frames.

    `receive_batch` is called by one thread, the data thread; sends and returns may come from any. The adapter does not wait: who
    polls the descriptor is the caller's business.

    NDIS: a miniport adapter handle.

    Args:
        pool: the packets to receive into; the adapter lends them out, and the miniport gets them back.
        miniport: its handlers; each that it leaves alone is done here.
        name: the interface's name.
        address: the 6-byte station address.
        mtu: largest payload of a frame.
        low_water: with this many packets free or fewer, frames are shown with status RESOURCES; by default an eighth of the pool,
            at most 64.
        send_queue: sends that may wait for room below, in order.
        network_addresses: what `binding.network_addresses` answers.
        serialized: one handler of the miniport runs at a time, sends are queued for it, and `indicate` tells by `packet.status` whether
            a packet is the miniport's again; see `vnic/serialized.py`.
        verifier_level: how much is watched; see `vnic.verifier.levels`. By default the level of the process. It may be changed later.
        joins_pools: packets of other pools may be indicated too, if the pool is no other adapter's: it joins with its first packet.
        nic: what the adapter answers to queries and does not know of itself, as its link speed.
        clock: what its timers go by; a test gives a `VirtualClock`.
        report: called, on the thread where it happened, with "violation" or "driver_error" and its facts: `binding` (None: the
            miniport), `error` (the exception), and `handler`, or `packet`, `record` (None if too many alike were written already)
            and `action` (from `vnic.verifier.actions`; what is not "raise" is left to whoever is told).
    """

    def __init__(
        self,
        pool: PacketPool,
        miniport: MiniportDriver,
        *,
        name: str = "vnic0",
        address: bytes = b"\x02\0\0\0\0\x02",
        mtu: int = 1500,
        low_water: int | None = None,
        send_queue: int = 1024,
        network_addresses: Sequence[str] = (),
        serialized: bool = False,
        verifier_level: int | None = None,
        joins_pools: bool = False,
        nic: NicValues | None = None,
        clock: Clock | None = None,
        report: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        if getattr(self, "pool", None) is not None:
            raise TypeError("an adapter is made once")
        if 0 < pool.slot_size < slot_size_for(mtu):
            raise ValueError(f"slots of {pool.slot_size} bytes are too small for MTU {mtu}: {slot_size_for(mtu)} are needed")
        if len(address) != 6 or address[0] & 1:
            raise ValueError(f"{address.hex(':')} is no 6-byte station address")
        if pool._claimed:
            raise ValueError(f"pool {pool.name} is another adapter's: an adapter needs a pool of its own")
        pool._claimed = True
        ledger = Ledger(name, report or report_to_logging, contract.handler(miniport, contract.MiniportDriver, "return_packet"))
        ledger._miniport = miniport
        ledger._level = LEVELS.process if verifier_level is None else verifier_level
        sends = SendPath(ledger, miniport, mtu, send_queue)
        sends.station = int.from_bytes(address, "big")
        Lifecycle.__init__(self, pool, miniport, ledger, sends, nic, clock)
        if serialized:
            self._serialize()
        self.name = name
        self._joins_pools = joins_pools
        self.address = bytes(address)
        self.mtu = mtu
        self.low_water = min(64, pool.capacity // 8) if low_water is None else low_water
        self.network_addresses = tuple(network_addresses)
        self._transfer_data = contract.handler(miniport, contract.MiniportDriver, "transfer_data")
        self._transfers = 0
        self._reading = self._low = False
        self._uring = None
        if not cython.compiled:
            self._indices = [0] * MAX_BUDGET
            self._lengths = [0] * MAX_BUDGET
        pool.verifier_level = LEVELS.of_pool(pool.name, ledger._level)
        LEVELS.add_adapter(self)

    @property
    def send_blocked(self) -> bool:
        """Whether sends wait for room below: poll the descriptor for output, then `flush`."""
        return self._sends.waiting() > 0

    @property
    def fd(self) -> int:
        """The descriptor that was attached; -1 before."""
        return self._sends.fd

    @property
    def serialized(self) -> bool:
        """Whether one handler of the miniport runs at a time."""
        return self._serial is not None

    @property
    def report(self) -> Callable[[str, dict[str, Any]], None]:
        """What broken rules and failing drivers are reported to; an adapter above this one reports to the same."""
        return self._ledger._report

    @property
    def verifier_level(self) -> int:
        """How much is told of broken rules; see the argument of the same name."""
        return self._ledger._level

    @verifier_level.setter
    def verifier_level(self, level: int) -> None:
        binding: Binding
        pool: PacketPool
        self._ledger._level = level
        LEVELS.timed = LEVELS.timed or level >= 2
        for pool in self._pools:
            pool.verifier_level = LEVELS.of_pool(pool.name, level)
        for binding in self._opened:
            binding.verifier_level = LEVELS.of_driver(binding.name, level)

    def attach(self, fd: int, on_blocked: Callable[[], None] | None = None, ring: Uring | None = None) -> None:
        """
        Read from and write to a non-blocking descriptor, one frame a call. The descriptor stays the caller's to close.

        Args:
            fd: a TAP, or a packet socket.
            on_blocked: called, from the sending thread, when a send has to wait.
            ring: reads many frames in one call; it was made for this descriptor and the adapter's pool, and stays the caller's to close.

        Raises:
            VnicError: a batch is being read; no driver can exchange the wire under its adapter.
            ValueError: the ring is another descriptor's or another pool's.
        """
        if self._reading:
            raise VnicError("the adapter is reading: attach from outside a handler")
        if ring is not None and (ring.fd != fd or ring.pool is not self.pool):
            raise ValueError(f"a ring for descriptor {ring.fd} and pool {ring.pool.name} is attached to {self.name}, descriptor {fd}")
        self._uring = ring
        if cython.compiled:
            self._ring = cython.NULL if ring is None else cython.address(cython.cast(Uring, ring)._ring)
        self._sends.fd = fd
        self._sends.on_blocked = on_blocked

    @property
    def reader(self) -> str:
        """How frames are read: "io_uring", or "read"."""
        return "read" if self._uring is None or self._uring.broken else "io_uring"

    # receive

    def receive_batch(self, budget: int = 64) -> int:
        """
        Read frames until none is left or the budget is used, and indicate them.

        Each frame is read straight into a free packet. When packets run low, the rest of the batch is shown with status RESOURCES:
        drivers copy, and the packets stay here. With no packet at all a frame is read and counted as dropped; the reader never
        stops. The GIL is released once for the whole batch.

        Args:
            budget: frames at most, 1 to 256.

        Returns:
            Frames taken from the descriptor; 0 if there were none.

        Raises:
            OSError: the descriptor is broken (EBADFD: the interface was deleted). Frames read before are indicated first.
            VnicError: it is called by two threads at once, or from inside a handler.
        """
        with cython.critical_section(self):
            running: cython.bint = self._reading
            self._reading = True
        if running:
            raise self._ledger._violation(rules.REENTERED, _here().binding, None, "receive_batch is running already")
        try:
            if self._serial is None:
                return self._read_and_indicate(max(1, min(budget, MAX_BUDGET)))
            with self._serial.gate.held():
                return self._read_and_indicate(max(1, min(budget, MAX_BUDGET)))
        finally:
            self._reading = False

    def _read_and_indicate(self, budget: cython.int) -> cython.int:
        pool: PacketPool = self.pool
        taken: cython.int = 0
        count: cython.int = 0
        failure: cython.int = 0
        position: cython.int
        fd: cython.int = self._sends.fd
        if pool._top <= pool._reserve:
            pool.release_withheld()
        with cython.critical_section(pool):
            while taken < budget and pool._top > pool._reserve:
                pool._top -= 1
                self._indices[taken] = pool._stack[pool._top]
                taken += 1
            pool._unread = taken
        if pool._level >= 3:
            for position in range(taken):
                pool._look_for_poison(pool._packets[self._indices[position]])
        if cython.compiled:
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
        with cython.critical_section(pool):
            for position in range(taken - 1, count - 1, -1):
                pool._stack[pool._top] = self._indices[position]
                pool._top += 1
            pool._unread = count
        if count:
            self._ledger._begin()
            try:
                self._indicate_batch(count)
            finally:
                self._end_indication()
        elif taken == 0:
            count = self._discard(budget)
        if failure and failure != errors.EAGAIN:
            raise OSError(failure, os.strerror(failure), self.name)
        return count

    def _indicate_batch(self, count: cython.int) -> None:
        pool: PacketPool = self.pool
        packet: Packet
        position: cython.int
        low: cython.bint = False
        now: cython.longlong = time_ns()
        here: Context = _here()
        level: cython.int = pool._level
        if LEVELS.timed:
            here.batch_cpu_ns = _cpu()
        step: Step = _step("receive", self.name, level, 0) if level else None
        self._ledger._counts[RX_BATCHES] += 1
        together: list = [None] * count if self._batched else None
        done: cython.int = 0
        try:
            for position in range(count):
                packet = pool._packets[self._indices[position]]
                with cython.critical_section(pool):
                    pool._unread -= 1
                    pool._fresh(packet)
                packet._length = self._lengths[position]
                packet.time_received = now
                if step is not None:
                    packet.made = packet.shown = step
                    # another thread may have changed the level since the batch began
                    if packet._history is not None:
                        packet._history.append(step)
                low = low or pool._top + (count - position) <= self.low_water
                packet._status = low
                if level >= 4 and not low and FAULTS.lends(pool.name):
                    packet._status = 1
                if together is not None:
                    # it was fresh, and so it is lent now
                    self._begin_together(packet)
                    together[position] = packet
                elif self._receive(packet, here):
                    with cython.critical_section(pool):
                        pool._put_back(packet)
                done = position + 1
        finally:
            if done < count:
                self._give_up(packet, done, count)
            if together is not None:
                del together[done:]
                self._receive_together(together, here, None, True)
        self._end_batch()
        if pool._top < pool.low_water:
            pool.low_water = pool._top
        if low and not self._low:
            self._name_the_holder()
        self._low = low

    def _give_up(self, packet: Packet, done: cython.int, count: cython.int) -> None:
        """The library itself has failed in mid-batch: the frame at hand and those behind it are lost, and counted so."""
        pool: PacketPool = self.pool
        position: cython.int
        with cython.critical_section(pool):
            for position in range(count - 1, done - 1, -1):
                self._ledger._counts[RX_FRAMES] += 1
                self._ledger._counts[RX_BYTES] += self._lengths[position]
                self._ledger._counts[RX_DROPPED_FAULT] += 1
                if position > done:
                    pool._stack[pool._top] = self._indices[position]
                    pool._top += 1
                    pool._unread -= 1
        packet._asked = -1
        packet.references -= 1
        if packet._status:
            packet._change(DO_RECLAIM)
            pool._put_back(packet)
        elif packet.references == 0:
            self._ledger._home(packet, None)

    def _receive(self, packet: Packet, here: Context) -> cython.bint:
        """
        Show one OWNED packet to every binding that accepts it; account for its frame; take the library's guard off.

        Answers whether it is the miniport's again already: it was lent, or the miniport is serialized and nobody keeps it.
        """
        bindings: list = self._bindings
        binding: Binding
        lent: cython.bint = packet._status != 0
        outcome: cython.int = self._begin_frame(packet)
        if outcome == RX_FILTERED:
            destination: cython.ulonglong = packet._destination()
            kind: cython.int = self._sends._kind(destination)
            for binding in bindings:
                if not binding._accepts(kind, destination):
                    continue
                outcome = RX_DELIVERED
                if lent:
                    binding._show_and_copy(packet, here)
                else:
                    binding._show(packet, here)
        return outcome >= 0 and self._end_frame(packet, outcome, lent)

    def _begin_frame(self, packet: Packet) -> cython.int:
        """Lend an OWNED packet upward, with a guard of the library's own. Answers what its frame counts as if nobody is shown it."""
        ledger: Ledger = self._ledger
        lent: cython.bint = packet._status != 0
        legal: cython.bint = packet._state == OWNED
        if not legal:
            # a handler has indicated, freed or sent it since the whole array was looked at
            ledger._violation(BROKEN[packet.state, Event.INDICATE], None, packet, f"{packet!r} is indicated")
            return -1
        if packet._chain is not None:
            packet._seal()
        length: cython.int = packet._length
        if packet._promises:
            packet._forget_promises()
        packet.references = 1
        packet._told = packet.views
        packet._suspect = None
        with cython.critical_section(packet):
            packet._change(DO_LEND if lent else DO_INDICATE)
            if not lent:
                ledger._counts[INDICATED] += 1
        if packet._history is not None:
            keep(packet)
        if length < SHORTEST:
            return RX_DROPPED_RUNT
        if length >= packet._slot_size and packet._chain is None:
            return RX_DROPPED_TRUNCATED
        return RX_FILTERED if self._bindings else RX_DROPPED_NO_DRIVER

    def _end_frame(self, packet: Packet, outcome: cython.int, lent: cython.bint) -> cython.bint:
        """Every driver has answered: account for the frame and take the guard off. Answers what `_receive` does."""
        ledger: Ledger = self._ledger
        last: cython.bint
        with cython.critical_section(packet):
            ledger._counts[RX_FRAMES] += 1
            ledger._counts[RX_BYTES] += packet._length
            ledger._counts[outcome] += 1
            packet.references -= 1
            last = packet.references == 0
            if self._serial is not None:
                # what a serialized miniport reads when the call has returned
                packet._status = 0 if lent or last else KEPT
        if lent:
            packet._kept = False
            packet._change(DO_RECLAIM)
            if outcome == RX_DELIVERED:
                ledger._counts[RX_RESOURCES] += 1
            return True
        if last and self._serial is not None:
            return ledger._reclaimed(packet, None)
        if not last:
            return False
        if ledger._reclaim is not None or ledger._level >= 4 or packet.views or packet._kept:
            ledger._home(packet, None)
            return False
        # nobody looks at it, and nobody is to be told: the short way home
        pool: PacketPool = packet.pool
        with cython.critical_section(pool):
            packet._change(DO_RECLAIM)
            ledger._counts[RETURNED] += 1
            pool._put_back(packet)
        return False

    def _begin_together(self, packet: Packet) -> cython.bint:
        """Lend a packet upward that is shown later, with others; answers whether that is legal."""
        packet._outcome = self._begin_frame(packet)
        if packet._outcome == RX_FILTERED:
            packet._kind = self._sends._kind(packet._destination())
        return packet._outcome >= 0

    def _receive_together(self, packets: list, here: Context, copied: set | None, read: cython.bint) -> None:
        """
        Show packets of one indication, where a driver wants them in batches; then account for their frames.

        First the batches of those who watch everything, so that they see each frame before its answer; then frame by frame all drivers
        that are asked for each; then the other batches. The guards come off when all have answered. Who is bound meanwhile has to wait
        for the next indication.

        Args:
            packets: begun.
            here: this thread.
            copied: those that are the miniport's only after a `return_packet`, although they are lent; or None.
            read: the others that are lent are the pool's again, and not a miniport's.
        """
        binding: Binding
        packet: Packet
        pool: PacketPool = self.pool
        early: list = []
        late: list = []
        lent: cython.bint
        kinds: cython.int = 0
        for binding in self._bindings:
            if binding._receive_packets is not None:
                (early if binding._filter & ALL_LOCAL else late).append(binding)
        for packet in packets:
            if packet._outcome != RX_FILTERED or packet._status:
                kinds = -1
                break
            # one for another station needs this bit
            kinds |= packet._kind or PROMISCUOUS
        try:
            for binding in early:
                show_batches(self, binding, packets, kinds, here)
            if len(self._bindings) > len(early) + len(late):
                for packet in packets:
                    self._show_to_each(packet, here)
            for binding in late:
                show_batches(self, binding, packets, kinds, here)
        finally:
            for packet in packets:
                lent = packet._state == LENT
                if not self._end_frame(packet, packet._outcome, lent):
                    continue
                if read:
                    with cython.critical_section(pool):
                        pool._put_back(packet)
                elif copied is not None and packet in copied:
                    self._end_copied(packet)

    def _show_to_each(self, packet: Packet, here: Context) -> None:
        """Show one packet to every binding that accepts it and is not shown batches."""
        binding: Binding
        bindings: list = self._bindings
        if packet._outcome == RX_FILTERED and not bindings:
            packet._outcome = RX_DROPPED_NO_DRIVER
        if packet._outcome != RX_FILTERED and packet._outcome != RX_DELIVERED:
            return
        destination: cython.ulonglong = packet._destination()
        for binding in bindings:
            if binding._receive_packets is not None or not binding._accepts(packet._kind, destination):
                continue
            packet._outcome = RX_DELIVERED
            if packet._status:
                binding._show_and_copy(packet, here)
            else:
                binding._show(packet, here)

    def _end_batch(self) -> None:
        binding: Binding
        bindings: list = self._bindings
        for binding in bindings:
            binding._end_batch()

    def _discard(self, budget: cython.int) -> cython.int:
        """No packet at all is free: read frames away and count them, so that the loss has a name."""
        count: cython.int = 0
        while count < budget:
            try:
                frame = os.read(self.fd, self.pool.slot_size)
            except BlockingIOError:
                break
            count += 1
            with cython.critical_section(self):
                self._ledger._counts[RX_FRAMES] += 1
                self._ledger._counts[RX_BYTES] += len(frame)
                self._ledger._counts[RX_DROPPED_NO_PACKET] += 1
        return count

    def _name_the_holder(self) -> None:
        """Packets have just run low: name the binding that holds more than half of them, if there is one."""
        binding: Binding
        for binding in self._opened:
            if 2 * binding.held > self.pool.capacity:
                detail = f"it holds {binding.held} of {self.pool.capacity} packets, {self.pool.available} are free"
                self._ledger._violation(rules.POOL_STARVED, binding, None, detail)

    def indicate(self, packets: Sequence[Packet]) -> None:
        """
        Show packets to every binding whose filter accepts them. The caller must own them and have set `status` on each.

        A SUCCESS packet comes back through the miniport's `return_packet`, possibly before this returns. A RESOURCES packet is
        the caller's own again when this returns; every packet after one is shown like it. To a serialized miniport each packet
        says so itself when this returns: its status is PENDING if it comes back later, SUCCESS if it has.

        Raises:
            OwnershipError: a packet is not the caller's to indicate (rule 17); none of them is shown then.
            ValueError: a packet is from another pool than the adapter's.

        NDIS: NdisMIndicateReceivePacket; RX-01 to RX-19, AMB-1.
        """
        packet: Packet
        self._may_indicate()
        if self._ledger._level >= 2:
            self._ledger._require_no_locks(None, "indicate")
            if self._ledger._level >= 4:
                FAULTS.delay(None)
        if self._batch_open:
            self._end_lookaheads("it indicates packets")
        packets = list(packets)
        if len(set(packets)) != len(packets):
            raise self._ledger._violation(rules.INDICATED_IN_USE, None, None, "a packet stands twice in one indication")
        for packet in packets:
            if packet.pool is not self.pool:
                self._join(packet.pool)
            if packet._state != OWNED:
                raise self._ledger._violation(BROKEN[packet.state, Event.INDICATE], None, packet, f"{packet!r} is indicated")
            if packet._oob is not None or packet._chain is not None:
                self._look_at_header(packet)
        self._call_below(self._indicate_all, packets)

    def _look_at_header(self, packet: Packet) -> None:
        """Rule 92: what a miniport says of the header must be so. RX-05."""
        if packet._oob is not None and packet._oob.header_size == 0:
            detail = f"{packet!r} is indicated with a header of 0 bytes"
            self._ledger._violation(rules.INDICATE_ILLEGAL, None, packet, detail)
        if packet._chain is None:
            return
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
        if LEVELS.timed:
            here.batch_cpu_ns = _cpu()
        together: list = [] if self._batched else None
        copied: set = None
        self._ledger._begin()
        try:
            for packet in packets:
                packet._serial = self._serial is not None
                if step is not None:
                    packet.shown = step
                    if packet._history is not None:
                        packet._history.append(step)
                if packet._status:
                    low = True
                elif low or (level >= 4 and FAULTS.lends(packet.pool.name)):
                    low = True
                    if together is None:
                        self._receive_copied(packet, here)
                        continue
                    copied = copied or set()
                    copied.add(packet)
                    packet._status = 1
                packet.time_received = time_ns()
                if together is None:
                    self._receive(packet, here)
                elif self._begin_together(packet):
                    together.append(packet)
            if together is not None:
                self._receive_together(together, here, copied, False)
            self._end_batch()
        finally:
            self._end_indication()

    def _end_indication(self) -> None:
        """An indication is over. A driver that ended everything from inside it had to wait for that."""
        self._ledger._end()
        self._end_halt()

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
        if self._receive(packet, here):
            self._end_copied(packet)

    def _end_copied(self, packet: Packet) -> None:
        """Such a packet was lent and is OWNED again: send it home."""
        packet._status = 0
        if self._serial is not None:
            return
        with cython.critical_section(packet):
            packet._change(DO_INDICATE)
            self._ledger._counts[INDICATED] += 1
        self._ledger._home(packet, None)

    # lookahead

    def indicate_lookahead(self, context: object, header: object, lookahead: object, packet_size: int) -> None:
        """
        Show the beginning of a frame that is in no packet to every binding whose filter accepts it, through its `receive`.

        Nothing is kept: drivers copy, and ask for the rest by `binding.transfer_data`, which the miniport's `transfer_data` answers.
        A batch of these ends with `indicate_lookahead_complete`.

        Args:
            context: the miniport's name for the frame.
            header: the 14 bytes of the Ethernet header.
            lookahead: the bytes after it, or the first of them.
            packet_size: bytes of the frame after the header.

        Raises:
            VnicError: a transfer is pending; it must be completed first.
            ValueError: the frame has fewer bytes than the lookahead.

        NDIS: NdisMEthIndicateReceive; RX-39 to RX-43, RX-53.
        """
        self._may_indicate()
        if self._transfers:
            raise VnicError("a transfer is pending: complete it before the next frame is indicated")
        header, lookahead = bytes(header), bytes(lookahead)
        if packet_size < len(lookahead):
            raise ValueError(f"a lookahead of {len(lookahead)} bytes in a frame of {packet_size}")
        self._call_below(self._indicate_lookahead, context, header, lookahead, packet_size)

    def _indicate_lookahead(self, context: object, header: bytes, lookahead: bytes, packet_size: object) -> None:
        ledger: Ledger = self._ledger
        outcome: cython.int
        ledger._begin()
        try:
            outcome = self._look_ahead(context, header, lookahead, packet_size)
            self._batch_open = True
        finally:
            self._end_indication()
        with cython.critical_section(self):
            ledger._counts[RX_FRAMES] += 1
            ledger._counts[RX_BYTES] += len(header) + packet_size
            ledger._counts[outcome] += 1

    def _look_ahead(self, context: object, header: bytes, lookahead: bytes, packet_size: object) -> cython.int:
        """Show a frame's beginning; answers the counter that says what became of it."""
        binding: Binding
        bindings: list = self._bindings
        outcome: cython.int = RX_FILTERED
        if len(header) != HEADER_SIZE:
            return RX_DROPPED_RUNT
        if not bindings:
            return RX_DROPPED_NO_DRIVER
        destination: cython.ulonglong = int.from_bytes(header[:6], "big")
        kind: cython.int = self._sends._kind(destination)
        for binding in bindings:
            if not binding._accepts(kind, destination):
                continue
            if binding._receive is not None:
                outcome = RX_DELIVERED
                binding._look_ahead(context, header, lookahead, packet_size)
            elif outcome != RX_DELIVERED:
                outcome = RX_DROPPED_NO_RECEIVE
        return outcome

    def indicate_lookahead_complete(self) -> None:
        """
        End a batch: every binding that was shown a frame of it is told by `receive_complete`.

        NDIS: NdisMEthIndicateReceiveComplete; RX-44.
        """
        self._batch_open = False
        self._end_batch()

    def _transfer(self, binding: Binding, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        """Have the miniport fill a packet of a driver's; what `Binding.transfer_data` does for a frame in no packet."""
        if self._transfer_data is None:
            return Status.FAILURE, 0
        with cython.critical_section(packet):
            packet._change(DO_TRANSFER)
            packet._sender = binding
            binding.transfers_pending += 1
            self._transfers += 1
        try:
            status, moved = self._call_below(self._transfer_data, packet, context, offset, length)
            status, moved = Status(status), int(moved)
        except BaseException as error:
            self._ledger._failed(None, "transfer_data", error)
            status, moved = Status.FAILURE, 0
        if status is PENDING:
            return PENDING, 0
        if not self._end_transfer(packet):
            detail = f"transfer_data answered {status.name} after transfer_data_complete"
            self._ledger._violation(rules.WRONG_CHANNEL, None, packet, detail, self._ledger.place("transfer_data"))
            return PENDING, 0
        binding._came_back()
        return status, moved

    def _end_transfer(self, packet: Packet) -> cython.bint:
        binding: Binding = packet._sender
        with cython.critical_section(packet):
            if not packet._change(DO_TRANSFERRED):
                return False
            packet._sender = None
            binding.transfers_pending -= 1
            self._transfers -= 1
        return True

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        """
        Give a packet back that the miniport was asked to fill, and had answered PENDING.

        Raises:
            OwnershipError: no transfer into this packet is pending (rule 50).

        NDIS: NdisMTransferDataComplete; RX-51, RX-53.
        """
        status = Status(status)
        binding: Binding = packet._sender
        if binding is not None and binding.adapter is self:
            binding._enter()
        else:
            binding = None
        if binding is None or packet._state != TRANSFERRING or not self._end_transfer(packet):
            if binding is not None:
                binding._leave()
            raise self._ledger._violation(rules.COMPLETED_TWICE, None, packet, f"a transfer into {packet!r} is completed")
        self._ask(binding, "transfer_data_complete", packet, Status.FAILURE if status is PENDING else status, transferred)
        binding._leave()

    # send

    def send_complete(self, packet: Packet, status: Status) -> None:
        """
        Give a packet back to its sender, whose send the miniport had answered with PENDING.

        Raises:
            OwnershipError: no send of this packet is pending (rule 50).

        NDIS: NdisMSendComplete; TX-21, TX-22.
        """
        if self._ledger._level >= 2:
            self._ledger._require_no_locks(None, "send_complete")
            if self._ledger._level >= 4:
                FAULTS.delay(None)
        self._sends.complete(packet, status)

    def send_resources_available(self) -> None:
        """
        A serialized miniport that has answered RESOURCES can take sends again: those that wait are shown to it, in order.

        NDIS: NdisMSendResourcesAvailable; TX-25.
        """
        if self._serial is None:
            self._ledger._violation(rules.RESOURCES_FROM_DESERIALIZED, None, None, "send_resources_available is called")
        else:
            self._serial.resources_available()

    def _serialize(self) -> None:
        """Put a gate before the miniport's handlers."""
        from vnic.serialized import Serialized

        self._serial = Serialized(self._sends, self._ledger, self._ledger._reclaim)
        if self._sends._below is not None or self._sends._below_many is not None:
            self._sends._serial = self._serial
        if self._ledger._reclaim is not None:
            self._ledger._reclaim = self._serial.return_packet

    def cancel_sends(self, binding: Binding, cancel_id: object) -> int:
        """
        Abort the sends of a binding that carry a cancel id and wait for room below; a miniport's own `cancel_sends` is called too.

        Returns:
            How many were aborted here.

        NDIS: NdisCancelSendPackets; TX-28 to TX-30.
        """
        return self._sends.cancel(binding, cancel_id)

    def flush(self) -> int:
        """
        Write waiting sends, in order, until the descriptor takes no more; each completes through `send_complete`.

        Returns:
            How many still wait.
        """
        return self._sends.flush()

    # figures

    def failed(self, binding: Binding | None, handler: str, error: BaseException) -> None:
        """Count and report an exception that came out of a driver (None: the miniport) which a module above the core had called."""
        self._ledger._failed(binding, handler, error)

    def counters(self) -> dict[str, int]:
        """
        Take a snapshot of every counter and gauge of `vnic.counters`, save those of the interface itself.

        The gauges are found by looking at every packet, not by adding and subtracting, so that the sums in
        `vnic.counters.broken_sums` compare two independent ways of counting.
        """
        pool: PacketPool = self.pool
        capacity: cython.int = 0
        found = [0] * len(PacketState)
        counts = [0] * len(COUNTED)
        # these three belong together: no Python code may run between them, not even the collector of garbage
        with cython.critical_section(pool):
            for pool in self._pools:
                pool._census(found)
                # a pool that was closed has no packets any more
                capacity += len(pool._packets) + len(pool._extra)
            pool = self.pool
            self._ledger._copy(counts)
            pending = self._sends.pending
        values = {row.name: count for row, count in zip(COUNTED, counts, strict=True)}
        values["held"] = found[PacketState.INDICATED]
        values["tx_pending"] = pending
        values["pool_capacity"] = capacity
        values["pool_free"] = found[PacketState.FREE]
        values["pool_low_water"] = pool.low_water
        values["pool_owned"] = found[PacketState.OWNED] + found[PacketState.LENT]
        values["pool_indicated"] = found[PacketState.INDICATED]
        values["pool_sending"] = found[PacketState.SENDING] + found[PacketState.TRANSFERRING]
        values["pool_quarantined"] = found[PacketState.QUARANTINED]
        return values

    def __repr__(self) -> str:
        return f"<Adapter {self.name}: {len(self._opened)} bindings>"
