"""
A pool: a fixed number of packets over one block of memory, and the stack of those that are free.

Next: `vnic/ledger.py`, what happens to a packet that is out.
"""

from __future__ import annotations

import errno as errors
import mmap
import os
from collections import Counter
from sys import getrefcount
from typing import TYPE_CHECKING

from vnic.context import Context
from vnic.guard import overrun
from vnic.lane import MOST_AT_HAND, Lane
from vnic.packet import HEADER_SIZE, Packet
from vnic.states import BROKEN, Event, PacketState
from vnic.text import escape
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS
from vnic.verifier.refusal import refused, told_later, told_with

if TYPE_CHECKING:
    import cython

    from vnic.locks import SpinLock
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.context import _here
    from vnic.guard import poison, spoiled
    from vnic.steps import _step
    from vnic.virtio import Virtio

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.stdlib import free as c_free
    from cython.cimports.libc.stdlib import malloc as c_malloc
    from cython.cimports.libc.string import memmove, memset

PROTOCOL_RESERVED_SIZE_IN_PACKET = 32
"""Four pointers on a 64-bit system. NDIS: PROTOCOL_RESERVED_SIZE_IN_PACKET; PKT-04."""
MAX_PACKETS = 0xFFFF
MAX_PROTOCOL_ID = 15
VLAN_SIZE = 4
AT_HAND_BELOW = 3
"""From this verifier level on lanes have no packets at hand: which one is used next is looked at, or provoked."""

OWNED = int(PacketState.OWNED)
FREE = int(PacketState.FREE)
STATES = len(PacketState)
DO_ALLOCATE = int(Event.ALLOCATE)
DO_FREE = int(Event.FREE)
DO_QUARANTINE = int(Event.QUARANTINE)
DO_RELEASE = int(Event.RELEASE)
QUARANTINED = int(PacketState.QUARANTINED)


def slot_size_for(mtu: int) -> int:
    """
    Size a slot so that the largest frame of an MTU, two VLAN tags included, leaves at least one byte free.

    A read that fills a whole slot is therefore a cut frame. The size is an odd number of cache lines, so that the headers of
    neighbouring slots do not compete for the same cache sets.

    Args:
        mtu: largest payload of a frame, in bytes.

    Returns:
        Bytes, a multiple of 64.
    """
    lines = (mtu + HEADER_SIZE + 2 * VLAN_SIZE) // 64 + 1
    return 64 * (lines | 1)


class PacketPool:
    """
    A fixed number of packets over one block of memory; whoever made the pool owns them all.

    Everything is allocated here, once. The memory is a memfd mapped twice: the owner writes through one mapping, everybody else
    sees the other, which the processor itself keeps read-only. The free stack is last in, first out, so that the next frame
    lands in a slot that is still in the cache.

    NDIS: NdisAllocatePacketPool, NdisAllocatePacketPoolEx; PKT-01 to PKT-25.

    Args:
        capacity: packets, 1 to 65,535.
        slot_size: bytes of each packet's slot; see `slot_size_for`. 0: the packets are descriptors only, to chain buffers to.
        reserved_size: bytes of `packet.protocol_reserved` and of `binding.reserved(packet)`.
        name: shown wherever the pool or a packet of it is named; one without is told of (rule 45).
        overflow: further packets, made one by one while all others are out; only for packets without a slot. Together with
            `capacity` at most 65,535 count.
        lock: the spin lock that the driver holds around `allocate_unlocked` and `free_unlocked`.

    Attributes:
        unloading: while it is True, packets may be freed by either kind of call (rule 36 is silent).
        mixed: packets freed by the other kind of call than they were allocated by (rule 36).
        put_behind: packets that became free behind all others, while they are used late on purpose; see `vnic/verifier/faults.py`.
        made: who made the pool, where and when.

    Raises:
        ContractViolation: capacity is out of range (rule 46).
        OSError: the memory cannot be had.
    """

    def __init__(
        self,
        capacity: int,
        slot_size: int = 1600,
        *,
        reserved_size: int = PROTOCOL_RESERVED_SIZE_IN_PACKET,
        name: str = "",
        overflow: int = 0,
        lock: SpinLock | None = None,
    ) -> None:
        if getattr(self, "capacity", 0):
            raise TypeError("a pool is made once")
        self._open = False
        unnamed = not name
        name = str(name) or "pool"
        if not 0 < capacity <= MAX_PACKETS:
            raise refused(rules.POOL_LIMIT, name, f"a pool of {capacity} packets was asked for")
        if 0 < slot_size <= HEADER_SIZE or slot_size < 0 or reserved_size < 0:
            raise ValueError(f"a slot of {slot_size} bytes with {reserved_size} reserved cannot hold a frame")
        if overflow < 0 or (overflow and slot_size):
            raise ValueError(f"an overflow of {overflow} packets: only packets without a slot can overflow")
        context: Context = _here()
        self.owner = context.binding
        if LEVELS.of_owned(name, self.owner) >= 4 and FAULTS.fails("pool", name, self.owner):
            raise OSError(errors.ENOMEM, os.strerror(errors.ENOMEM), name)
        self.name = name
        self.slot_size = slot_size
        self.reserved_size = reserved_size
        self.allocations = self.exhausted = self.put_behind = 0
        self.lock = lock
        self.unloading = False
        self.mixed = 0
        self._protocol_id = 0
        self._spare = list(range(capacity + min(overflow, MAX_PACKETS - capacity) - 1, capacity - 1, -1))
        self._extra = {}
        self._unread = self._top = 0
        self._lanes: list[Lane] | None = None
        self._claimed = False
        self._writable = self._readable = None
        self._reserved = {}
        self._withholding = 0
        self._shadow_ready = False
        self._users = self._locks = None
        self._level = self._reserve = 0
        self._particular = False
        # one slot more than packets, so that there is something to map even if packets have none
        self._map((capacity + 1) * max(slot_size, 1))
        self.capacity = self.low_water = capacity
        self._packets = [Packet(self, index) for index in range(capacity)]
        if cython.compiled:
            self._stack = cython.cast(cython.p_int, c_malloc(capacity * cython.sizeof(cython.int)))
            if not self._stack:
                raise MemoryError
            size: cython.Py_ssize_t = slot_size
            shared: cython.p_uchar = cython.cast(cython.p_uchar, self._read_view.buf)
            packet: Packet
            for packet in self._packets:
                packet._bytes = self._bytes + packet.index * size
                packet._shared = packet._slot_shared = shared + packet.index * size
        else:
            self._stack = [0] * capacity
            for packet in self._packets:
                start = packet.index * slot_size
                packet._bytes = self._bytes[start : start + slot_size]
                packet._shared = packet._slot_shared = self._shared[start : start + slot_size]
        for index in range(capacity):
            self._stack[index] = capacity - 1 - index
        self._top = capacity
        # the loops above refer to the last one
        packet = None
        self._alone = self._referred_to(self._packets, 0)
        self._open = True
        self.made = _step("make", self._whose(context), 1, 0)
        self.verifier_level = LEVELS.of_owned(self.name, self.owner)
        LEVELS.add_pool(self)
        if unnamed and self._level:
            refused(rules.NO_NAME, self.name, f"a pool of {capacity} packets is made without a name")

    def _map(self, size: int) -> None:
        if self._writable is not None:
            raise TypeError("a pool is mapped once")
        descriptor = os.memfd_create(f"vnic-{escape(self.name)}"[:200], os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            # faulted in now, so that the data path never is
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            self._writable = mmap.mmap(descriptor, size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
            self._readable = mmap.mmap(descriptor, size, flags, mmap.PROT_READ)
        finally:
            os.close(descriptor)
        if cython.compiled:
            PyObject_GetBuffer(self._writable, cython.address(self._write_view), PyBUF_WRITABLE)
            PyObject_GetBuffer(self._readable, cython.address(self._read_view), PyBUF_SIMPLE)
            self._bytes = cython.cast(cython.p_uchar, self._write_view.buf)
        else:
            self._bytes = memoryview(self._writable)
            self._shared = memoryview(self._readable)

    if cython.compiled:

        def __dealloc__(self):
            c_free(self._stack)
            c_free(self._shadow)
            PyBuffer_Release(cython.address(self._write_view))
            PyBuffer_Release(cython.address(self._read_view))

    @property
    def verifier_level(self) -> int:
        """How much is watched of the packets of this pool; see `vnic.verifier.levels`. It may be set while packets are out."""
        return self._level

    @verifier_level.setter
    def verifier_level(self, level: int) -> None:
        packet: Packet
        if level >= 3 and not self._shadow_ready and self.slot_size and self._open:
            if cython.compiled:
                size: cython.Py_ssize_t = self.capacity
                self._shadow = cython.cast(cython.p_uchar, c_malloc(size * self.slot_size))
                if not self._shadow:
                    raise MemoryError
                # faulted in now, so that the data path never is
                memset(self._shadow, 0, size * self.slot_size)
            else:
                self._shadow = memoryview(bytearray(self.capacity * self.slot_size))
            self._shadow_ready = True
            for packet in self._packets:
                packet._shadow = self._shadow_of(packet.index)
                packet._shadowed = True
        if (level >= 3) != (self._level >= 3):
            for packet in self.packets():
                packet._remember(level >= 3)
        self._reserve = FAULTS.reserve_of(self) if level >= 4 and self._open else 0
        self._level = level
        self._look_at_ways()
        if level >= AT_HAND_BELOW:
            self._recall()

    def _look_at_ways(self) -> None:
        """Something has changed on which it depends what becomes of a packet that is freed."""
        self._particular = self._level >= 3 or self._reserve != 0 or self._lanes is not None

    def _shadow_of(self, index: cython.Py_ssize_t) -> cython.p_uchar:
        if cython.compiled:
            return self._shadow + index * self.slot_size
        else:
            return self._shadow[index * self.slot_size : (index + 1) * self.slot_size]

    @property
    def available(self) -> int:
        """Packets on the free stack, and at hand in lanes."""
        return self._available()

    @property
    def usage(self) -> int:
        """Packets that are out. NDIS: NdisPacketPoolUsage; PKT-16."""
        return self.capacity - self._available() + len(self._extra) if self._open else 0

    @property
    def protocol_id(self) -> int:
        """
        The number of a protocol, 0 to 15, with which the flags of every packet begin; to be set before the first is allocated.

        Raises:
            ValueError: the number is set too late, or is too large.

        NDIS: NdisSetPacketPoolProtocolId; PKT-13.
        """
        return self._protocol_id

    @protocol_id.setter
    def protocol_id(self, value: int) -> None:
        if self.allocations or not 0 <= value <= MAX_PROTOCOL_ID:
            raise ValueError(f"protocol id {value}: 0 to {MAX_PROTOCOL_ID}, before the first packet of pool {self.name} is allocated")
        self._protocol_id = value

    def packets(self) -> tuple[Packet, ...]:
        """Every packet of the pool, to look at; nothing changes hands."""
        return (*self._packets, *self._extra.values())

    def allocate(self) -> Packet | None:
        """
        Take a packet out of the pool: it is the caller's own, with no frame and no flags.

        Returns:
            The packet; None if all are out, which is normal.

        Raises:
            ContractViolation: the pool is closed (rule 40).

        NDIS: NdisAllocatePacket; PKT-03, PKT-17.
        """
        return self._allocate(False)

    def allocate_unlocked(self) -> Packet | None:
        """
        Take a packet out of the pool; the caller synchronises every access to the pool itself, and holds `lock` if the pool has one.

        Raises:
            ContractViolation: the pool's lock is not held by this thread (rule 37), or the pool is closed (rule 40).

        NDIS: NdisDprAllocatePacketNonInterlocked; PKT-21, PKT-23.
        """
        self._require_lock("allocated from")
        return self._allocate(True)

    def _allocate(self, unlocked: cython.bint) -> Packet | None:
        packet: Packet
        context: Context
        self._require_open()
        if self._level >= 2:
            if not unlocked:
                self._require_no_locks("allocated from")
            if self._level >= 4 and self._provoked("packet"):
                return self._no_packet()
        if self._top <= self._reserve and self._lanes is not None:
            self._recall()
        if self._top <= self._reserve and not self._spare and not self.release_withheld():
            return self._no_packet()
        with cython.critical_section(self):
            if self._top <= self._reserve and not self._spare:
                return self._no_packet()
            if self._top <= self._reserve:
                packet = self._overflow()
            else:
                self._top -= 1
                if self._top < self.low_water:
                    self._note_low_water()
                packet = self._packets[self._stack[self._top]]
            self._fresh(packet)
            packet._unlocked = unlocked
        if self._level:
            context = _here()
            made: Step = _step("allocate", self.name if context._slot() < 0 else self._whose(context), self._level, 0)
            with cython.critical_section(packet):
                packet.made = made
                packet.shown = None
            if self._level >= 3:
                self._look_for_poison(packet)
            if packet._history is not None:
                packet._history.append(made)
        return packet

    def _whose(self, context: Context) -> str:
        """The name of the driver whose handler is running; the pool's own if none is, or if it has ended its binding meanwhile."""
        binding = context.binding
        return self.name if binding is None else binding.name

    def _no_packet(self) -> None:
        """Every packet is out; the handler that asked is expected to notice."""
        self.exhausted += 1
        context: Context = _here()
        context.unmet = self.name

    def _provoked(self, what: str) -> cython.bint:
        """At verifier level 4: a call may be delayed, and an allocation may fail, on purpose."""
        FAULTS.delay(self.owner)
        return what != "" and FAULTS.fails(what, self.name, self.owner)

    def _look_for_poison(self, packet: Packet) -> None:
        """A packet is taken into use: has anybody written to its slot while it was free?"""
        found = spoiled(packet)
        if found is not None:
            culprit: str = self.name if packet.last is None else packet.last.by
            detail = f"the slot of {packet!r} was written to while it was free, at offset {found.runs[0][0]}; {culprit} had it last"
            told_later(rules.USE_AFTER_RETURN, culprit, detail, packet, found)

    def free(self, packet: Packet) -> None:
        """
        Give a packet back to the pool; it must not be touched any more.

        A packet of which a view is still alive is quarantined: it comes back to the pool by itself when the last view dies.

        Raises:
            OwnershipError: it is not the caller's to free (rules 30, 34, 56), or from another pool (rule 35).

        NDIS: NdisFreePacket; PKT-19, PKT-20.
        """
        self._free(packet, False)

    def free_unlocked(self, packet: Packet) -> None:
        """
        Give a packet back to the pool; the caller synchronises every access to the pool itself, as with `allocate_unlocked`.

        Raises:
            ContractViolation: as `free` does, and if the pool's lock is not held by this thread (rule 37).

        NDIS: NdisDprFreePacketNonInterlocked; PKT-21.
        """
        self._require_lock("freed to")
        self._free(packet, True)

    def _free(self, packet: Packet, unlocked: cython.bint) -> None:
        self._require_open()
        if packet.pool is not self:
            raise refused(rules.FOREIGN_POOL, self.name, f"{packet!r} is freed to pool {self.name}", packet)
        if packet._state == OWNED:
            packet._require_bare(rules.FREE_CHAINED, "freed")
            if packet._unlocked != unlocked and not self.unloading:
                self._tell_of_mixing(packet)
            if self._level:
                self._before_free(packet)
                if self._level >= 2 and not unlocked:
                    self._require_no_locks("freed to")
                if self._level >= 4:
                    self._provoked("")
        with cython.critical_section(self):
            if packet._state == OWNED:
                self._put_back(packet)
                return
        raise refused(BROKEN[packet.state, Event.FREE], self.name, f"{packet!r} is freed", packet)

    def _before_free(self, packet: Packet) -> None:
        """Note who frees a packet; from level 3 on, look whether its reserved area was overrun."""
        context: Context = _here()
        packet._mark(_step("free", self.name if context._slot() < 0 else self._whose(context), self._level, 0))
        if self._level >= 3 and packet._reserved is not None:
            self._look_behind_reserved(packet)

    def _look_behind_reserved(self, packet: Packet) -> None:
        found = overrun(packet._reserved, self.reserved_size)
        if found is not None:
            detail = f"{found.runs[0][0]} bytes behind the {self.reserved_size} reserved ones of {packet!r} something was written"
            told_later(rules.RESERVED_OVERRUN, packet.last.by, detail, packet, found)

    def _require_no_locks(self, what: str) -> None:
        """Rule 38, which is told of and not refused: pages differ on whether a lock may be held. AMB-9."""
        context: Context = _here()
        if context.held:
            refused(rules.CALL_WITH_LOCK, self.name, f"pool {self.name} is {what} with {context.held[0]!r} held")

    def _tell_of_mixing(self, packet: Packet) -> None:
        """Rule 36: counted always, refused from level 2 on."""
        self.mixed += 1
        kind = "allocate_unlocked" if packet._unlocked else "allocate"
        if self._level:
            error = refused(rules.MIXED_FORMS, self.name, f"{packet!r}, which {kind} gave, is freed by the other kind of call", packet)
            if self._level >= 2:
                raise error

    def audit(self) -> dict[PacketState, int]:
        """
        Count the packets in each state by looking at every one of them; the free ones by the height of the stack.

        Returns:
            A number for each state; their sum is the capacity, unless something is badly wrong.
        """
        found = [0] * STATES
        with cython.critical_section(self):
            self._census(found)
        return {state: found[state] for state in PacketState}

    def close(self) -> None:
        """
        Give the memory back.

        Raises:
            ContractViolation: packets are still out (rule 39); the pool stays open.

        NDIS: NdisFreePacketPool; PKT-14.
        """
        if not self._open:
            return
        if self._level >= 2:
            self._require_no_locks("closed")
        self._release_all_withheld()
        self._recall()
        if self._top != self.capacity or self._extra:
            detail = f"{self.usage} of {self.capacity} packets are out"
            raise told_with(rules.POOL_OUTSTANDING, self.name, detail, {"outstanding": self._outstanding()})
        self._open = False
        # an adapter that still reads finds no packet, and not the memory that is gone
        self._top = 0
        if cython.compiled:
            PyBuffer_Release(cython.address(self._write_view))
            PyBuffer_Release(cython.address(self._read_view))
        # what a buffer of a slot still shows stays mapped until that is gone
        self._packets = []
        self._writable = self._readable = None
        if not cython.compiled:
            self._bytes = self._shared = None

    def _outstanding(self) -> list[dict[str, object]]:
        """The packets that are out, by the line that allocated them: the lines with the most first, sixteen at most."""
        packet: Packet
        sites = Counter()
        for packet in self.packets():
            if packet._state != FREE:
                sites["unknown" if packet.made is None else packet.made.where] += 1
        return [{"site": escape(site), "count": count} for site, count in sites.most_common(16)]

    def __repr__(self) -> str:
        return f"<PacketPool {self.name}: {self._available()} of {self.capacity} free>"

    def _census(self, found: object) -> None:
        """Add the packets of each state to a list of counts; the caller holds the critical section, and nothing here runs Python code."""
        packet: Packet
        for packet in self._packets:
            if packet._state != FREE:
                found[packet._state] += 1
        for packet in self._extra.values():
            if packet._state != FREE:
                found[packet._state] += 1
        found[FREE] += self._available()
        found[OWNED] += self._reading()

    def _require_open(self) -> object:
        if not self._open:
            raise refused(rules.POOL_AFTER_CLOSE, self.name, f"pool {self.name} is closed")
        return None

    def _clear(self, packet: Packet) -> None:
        """Take from a packet that begins anew what it had of the last time."""
        if packet._chain is not None:
            packet._unlink()
        packet._oob = None
        packet._info = None
        packet._reserved = None
        packet._suspect = None
        packet._stale = packet._sent = packet._kept = packet._segment = False
        packet._fault = 0
        if cython.compiled:
            memset(cython.address(packet._virtio), 0, cython.sizeof(packet._virtio))
        else:
            packet._virtio = Virtio()
        packet._ordinary = packet._history is None and not packet._withheld

    if not cython.compiled:
        # compiled, they stand in the .pxd file, where each caller has them for its own

        def _fresh(self, packet: Packet) -> None:
            """A FREE packet begins anew."""
            packet._change(DO_ALLOCATE)
            packet.generation += 1
            packet.time_received = 0
            packet._flags = self._protocol_id
            packet._length = 0
            packet._status = 0
            if not packet._ordinary:
                self._clear(packet)
            self.allocations += 1

        def _free_plain(self, packet: Packet) -> bool:
            """Free an OWNED packet, if nothing about it or its pool is out of the ordinary; answers whether that was so."""
            if self._particular or packet.views or not packet._ordinary or packet.index >= self.capacity:
                return False
            if not packet._change(DO_FREE):
                return False
            self._stack[self._top] = packet.index
            self._top += 1
            return True

    def _put_back(self, packet: Packet) -> None:
        """Free an OWNED packet; the caller holds the critical section."""
        if self._lanes is not None:
            # the first time on a thread this makes something, and so may let others run: now, and not when the packet is nowhere
            _here()
        if packet.views or packet._withheld:
            packet._change(DO_QUARANTINE)
            return
        if not packet._change(DO_FREE):
            return
        self._on_stack(packet)

    def _on_stack(self, packet: Packet) -> None:
        """The packet is FREE now."""
        if packet._lender is not None:
            packet._lender._take_back(packet)
        if self._level >= 3:
            poison(packet)
        if packet.index >= self.capacity:
            self._discard(packet)
            return
        if self._lanes is not None and self._level < AT_HAND_BELOW and self._to_lane(packet.index):
            return
        if self._reserve:
            # behind all others that are free
            if cython.compiled:
                memmove(self._stack + 1, self._stack, self._top * cython.sizeof(cython.int))
            else:
                self._stack[1 : self._top + 1] = self._stack[: self._top]
            self._stack[0] = packet.index
            self.put_behind += 1
        else:
            self._stack[self._top] = packet.index
        self._top += 1

    # lanes: an adapter with several queues reads into the pool

    def _available(self) -> cython.int:
        """How many packets are free, wherever they are."""
        lane: Lane
        found: cython.int = self._top
        if self._lanes is not None:
            for lane in self._lanes:
                found += lane.at_hand
        return found

    def _reading(self) -> cython.int:
        """How many packets were taken to be read into, and have no frame yet."""
        lane: Lane
        found: cython.int = self._unread
        if self._lanes is not None:
            for lane in self._lanes:
                found += lane.unread
        return found

    def _note_low_water(self) -> None:
        found: cython.int = self._available()
        if found < self.low_water:
            self.low_water = found

    def _share(self, lanes: list) -> None:
        """Let lanes have packets at hand: together a quarter of the pool at most. Nothing is being read."""
        lane: Lane
        self._recall()
        self._lanes = lanes if len(lanes) > 1 else None
        self._look_at_ways()
        for lane in lanes:
            lane.limit = min(MOST_AT_HAND, self.capacity // (4 * len(lanes)))

    def _recall(self) -> None:
        """Take back to the stack what lanes have at hand."""
        lane: Lane
        if self._lanes is None:
            return
        for lane in self._lanes:
            with cython.critical_section(self):
                self._spill(lane, lane.at_hand)

    def _spill(self, lane: Lane, count: cython.int) -> None:
        """Put packets of a lane on the stack, the last of which is used first; the caller holds the critical section."""
        position: cython.int
        for position in range(count):
            self._stack[self._top] = lane._free[position]
            self._top += 1
        for position in range(count, lane.at_hand):
            lane._free[position - count] = lane._free[position]
        lane.at_hand -= count

    def _to_lane(self, index: cython.int) -> cython.bint:
        """
        Keep a packet that is free at hand of the lane whose queue this thread reads; half of a full one goes to the stack.

        The caller holds the critical section. One within it would let others in between: a thread that waits for the inner one leaves
        the outer one too.
        """
        lane: Lane = _here().lane
        if lane is None or lane.pool is not self or lane.limit == 0:
            return False
        if lane.at_hand == lane.limit:
            self._spill(lane, (lane.limit + 1) // 2)
        lane._free[lane.at_hand] = index
        lane.at_hand += 1
        return True

    def _take(self, lane: Lane, into: cython.p_int, wanted: cython.int) -> cython.int:
        """
        Take free packets to read into: first those at hand, then from the stack, then what other lanes have.

        When there are few, the others are left their share: who reads a frame or two must not keep what they could have used meanwhile.
        """
        taken: cython.int = 0
        position: cython.int
        few: cython.int
        # in variables of their own, so that the compiler need not write them down for each packet
        free: cython.p_int = lane._free
        stack: cython.p_int = self._stack
        spare: cython.int = self._available() - self._reserve
        if spare < wanted * len(self._lanes):
            wanted = max(1, spare // len(self._lanes))
        if lane.at_hand == 0 and self._top <= self._reserve:
            self._recall()
        with cython.critical_section(self):
            few = min(wanted, lane.at_hand)
            lane.at_hand -= few
            for position in range(few):
                into[position] = free[lane.at_hand + few - 1 - position]
            taken = few
            few = max(0, min(wanted - taken, self._top - self._reserve))
            self._top -= few
            for position in range(few):
                into[taken + position] = stack[self._top + few - 1 - position]
            taken += few
            lane.unread += taken
        return taken

    def _untake(self, lane: Lane, indices: cython.p_int, first: cython.int, behind: cython.int) -> None:
        """Give packets back that were taken, and not read into."""
        position: cython.int
        with cython.critical_section(self):
            for position in range(behind - 1, first - 1, -1):
                if lane.at_hand < lane.limit and self._level < AT_HAND_BELOW:
                    lane._free[lane.at_hand] = indices[position]
                    lane.at_hand += 1
                else:
                    self._stack[self._top] = indices[position]
                    self._top += 1
                lane.unread -= 1

    def _release(self, packet: Packet) -> None:
        if self._lanes is not None:
            # as above
            _here()
        with cython.critical_section(self):
            if packet.pool is not self or packet.views or packet._withheld or not packet._change(DO_RELEASE):
                return
            self._on_stack(packet)

    def withhold(self, packet: Packet) -> None:
        """
        Keep a packet from reuse when it is freed: it is quarantined until nobody refers to it any more.

        Whoever looks at it then breaks a rule, instead of reading the next frame.
        """
        if not packet._withheld:
            packet._ordinary = False
            packet._withheld = True
            self._withholding += 1

    def release_withheld(self) -> int:
        """
        Free those withheld packets that nobody refers to any more.

        Returns:
            How many.
        """
        released = 0
        if not self._withholding:
            # it is asked whenever nothing is left
            return 0
        for position in range(len(self._packets)):
            released += self._release_alone(self._packets, position)
        for index in list(self._extra):
            released += self._release_alone(self._extra, index)
        return released

    def _release_alone(self, packets: object, key: object) -> cython.bint:
        """Free a withheld packet that nobody refers to but the pool; answers whether it was one."""
        packet: Packet = packets[key]
        if not packet._withheld or packet._state != QUARANTINED or packet.views:
            return False
        with cython.critical_section(self):
            # buffers and the chain of its last frame refer to it, too, and nobody may look through them any more
            if packet._lender is not None:
                packet._lender._take_back(packet)
            if packet._chain is not None or packet._slot_buffer is not None:
                packet._unlink()
                packet._slot_buffer = None
        packet = None
        if self._referred_to(packets, key) > self._alone:
            return False
        packet = packets[key]
        self._withhold_no_more(packet)
        return True

    def _release_all_withheld(self) -> None:
        """The memory goes: whoever still refers to a withheld packet finds it free, and may not look at it."""
        packet: Packet
        for packet in self.packets():
            if packet._withheld and packet._state == QUARANTINED:
                self._withhold_no_more(packet)

    def _withhold_no_more(self, packet: Packet) -> None:
        packet._withheld = False
        self._withholding -= 1
        self._release(packet)

    def _referred_to(self, packets: object, key: object) -> int:
        """How many references there are to a packet, by one way of counting that is always the same."""
        return getrefcount(packets[key])

    def _overflow(self) -> Packet:
        """Make a packet more than the pool has."""
        index = self._spare.pop()
        packet: Packet = Packet(self, index)
        if not cython.compiled:
            # no slot, no bytes
            packet._bytes, packet._shared = self._bytes[:0], self._shared[:0]
            packet._slot_shared = packet._shared
        self._extra[index] = packet
        return packet

    def _discard(self, packet: Packet) -> None:
        """Give an overflow packet back to the system."""
        del self._extra[packet.index]
        self._spare.append(packet.index)

    def _slot_view(self, index: int) -> memoryview:
        return memoryview(self._readable)[index * self.slot_size : (index + 1) * self.slot_size]

    def _require_lock(self, what: str) -> object:
        if self.lock is not None and not self.lock.held:
            detail = f"pool {self.name} is {what} without lock by a thread that does not hold the pool's"
            raise refused(rules.UNSYNCHRONISED, self.name, detail)
        if self._level >= 2:
            self._look_at_locks(what)
        return None

    def _look_at_locks(self, what: str) -> object:
        """Rule 37 without a registered lock: if several threads come here, one lock at least must be held by each of them, always."""
        context: Context = _here()
        held = set(map(id, context.held))
        self._users = {context.ident} if self._users is None else self._users | {context.ident}
        self._locks = held if self._locks is None else self._locks & held
        if len(self._users) > 1 and not self._locks and not self.unloading:
            detail = f"pool {self.name} is {what} without lock by {len(self._users)} threads, which hold no lock in common"
            # told of once
            self._users, self._locks = None, None
            raise refused(rules.UNSYNCHRONISED, self.name, detail)
        return None

    def _forget_reserved(self, slot: int) -> None:
        self._reserved.pop(slot, None)

    def _reserved_area(self, slot: int) -> bytearray:
        if slot not in self._reserved:
            packets = self.capacity + len(self._spare) + len(self._extra)
            self._reserved[slot] = bytearray(packets * self.reserved_size)
        return self._reserved[slot]
