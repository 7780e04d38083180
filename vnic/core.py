"""
The data path: packets from one pool, shown to every binding, counted, and taken back.

A frame's way through this file, top to bottom:

    Packet      a descriptor, its slot of bytes, its state, who owes a return of it
    PacketPool  the packets, their memory (one memfd, mapped twice: drivers see it read-only), the last-in first-out free stack
    Ledger      the counter block, and what every change of ownership goes through
    Binding     one driver on one adapter: its filter, what it promised, its sends
    Adapter     read a batch, indicate it, complete it; put sends on the wire

This file is plain Python, and compiled as it is by Cython in pure-Python mode. `if cython.compiled:` marks the few places
where C calls replace Python ones; everything else is one text with one meaning. Critical sections cost nothing when compiled
under the GIL, because no Python code runs inside them.

Next: `miniport/adapter.py`, which gives an `Adapter` a TAP.
"""

from __future__ import annotations

import errno as errors
import mmap
import os
from collections import deque
from threading import get_ident
from time import time_ns
from typing import TYPE_CHECKING

from vnic import driver as contract
from vnic.counters import COUNTED
from vnic.filters import PacketFilter
from vnic.states import BROKEN, LEGAL, Event, PacketState
from vnic.status import ContractViolation, OwnershipError, Status, VnicError
from vnic.verifier import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    import cython

    from vnic.driver import MiniportDriver, ProtocolDriver
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.errno import EAGAIN, EINTR, errno
    from cython.cimports.libc.stdlib import free as c_free
    from cython.cimports.libc.stdlib import malloc as c_malloc
    from cython.cimports.libc.string import memcpy
    from cython.cimports.posix.unistd import read as c_read
    from cython.cimports.posix.unistd import write as c_write

COMPILED = bool(cython.compiled)
PROTOCOL_RESERVED_SIZE_IN_PACKET = 32
"""Four pointers on a 64-bit system. NDIS: PROTOCOL_RESERVED_SIZE_IN_PACKET; PKT-04."""
MAX_PACKETS = 0xFFFF
MAX_BINDINGS = 128
"""Bindings open at one time in a process; each packet has one promised/returned pair for each."""
MAX_BUDGET = 256
LOOPBACK = 0x100
"""Flag of a frame that is one of the adapter's own sends, shown to an ALL_LOCAL binding. NDIS: HDR flag 0x100; PKT-35."""
HEADER_SIZE = 14
VLAN_SIZE = 4

# what the hot path reads, as C integers; the tables they come from are vnic/states.py, vnic/filters.py and vnic/counters.py
FREE = cython.declare(cython.int, PacketState.FREE)
OWNED = cython.declare(cython.int, PacketState.OWNED)
INDICATED = cython.declare(cython.int, PacketState.INDICATED)
LENT = cython.declare(cython.int, PacketState.LENT)
SENDING = cython.declare(cython.int, PacketState.SENDING)
QUARANTINED = cython.declare(cython.int, PacketState.QUARANTINED)
DO_ALLOCATE = cython.declare(cython.int, Event.ALLOCATE)
DO_FREE = cython.declare(cython.int, Event.FREE)
DO_QUARANTINE = cython.declare(cython.int, Event.QUARANTINE)
DO_RELEASE = cython.declare(cython.int, Event.RELEASE)
DO_INDICATE = cython.declare(cython.int, Event.INDICATE)
DO_LEND = cython.declare(cython.int, Event.LEND)
DO_RECLAIM = cython.declare(cython.int, Event.RECLAIM)
DO_SEND = cython.declare(cython.int, Event.SEND)
DO_COMPLETE = cython.declare(cython.int, Event.COMPLETE)
EVENTS = cython.declare(cython.int, len(Event))
ILLEGAL = cython.declare(cython.int, 255)
DIRECTED = cython.declare(cython.int, PacketFilter.DIRECTED)
MULTICAST = cython.declare(cython.int, PacketFilter.MULTICAST)
ALL_MULTICAST = cython.declare(cython.int, PacketFilter.ALL_MULTICAST)
BROADCAST = cython.declare(cython.int, PacketFilter.BROADCAST)
EVERYTHING = cython.declare(cython.int, PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL)
ALL_LOCAL = cython.declare(cython.int, PacketFilter.ALL_LOCAL)
BROADCAST_ADDRESS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFF)
GROUP_BIT = cython.declare(cython.ulonglong, 1 << 40)

NEXT = bytes(LEGAL.get((state, event), 255) for state in PacketState for event in Event)
"""`vnic.states.LEGAL` flattened: the state after `event` in `state` is at state * EVENTS + event."""
if cython.compiled:
    NEXT_STATE = cython.declare(cython.uchar[64])
    for _i in range(len(NEXT)):
        NEXT_STATE[_i] = NEXT[_i]
else:
    NEXT_STATE = NEXT

_COLUMN = {row.name: index for index, row in enumerate(COUNTED)}
RX_FRAMES = cython.declare(cython.int, _COLUMN["rx_frames"])
RX_BYTES = cython.declare(cython.int, _COLUMN["rx_bytes"])
RX_DELIVERED = cython.declare(cython.int, _COLUMN["rx_delivered"])
RX_FILTERED = cython.declare(cython.int, _COLUMN["rx_filtered"])
RX_DROPPED_RUNT = cython.declare(cython.int, _COLUMN["rx_dropped_runt"])
RX_DROPPED_TRUNCATED = cython.declare(cython.int, _COLUMN["rx_dropped_truncated"])
RX_DROPPED_NO_PACKET = cython.declare(cython.int, _COLUMN["rx_dropped_no_packet"])
RX_DROPPED_NO_DRIVER = cython.declare(cython.int, _COLUMN["rx_dropped_no_driver"])
RX_RESOURCES = cython.declare(cython.int, _COLUMN["rx_resources"])
RX_BATCHES = cython.declare(cython.int, _COLUMN["rx_batches"])
INDICATED_COUNT = cython.declare(cython.int, _COLUMN["indicated"])
RETURNED_COUNT = cython.declare(cython.int, _COLUMN["returned"])
TX_SUBMITTED = cython.declare(cython.int, _COLUMN["tx_submitted"])
TX_FRAMES = cython.declare(cython.int, _COLUMN["tx_frames"])
TX_BYTES = cython.declare(cython.int, _COLUMN["tx_bytes"])
TX_QUEUED = cython.declare(cython.int, _COLUMN["tx_queued"])
TX_LOOPED = cython.declare(cython.int, _COLUMN["tx_looped"])
TX_DROPPED_LENGTH = cython.declare(cython.int, _COLUMN["tx_dropped_length"])
TX_DROPPED_LINK_DOWN = cython.declare(cython.int, _COLUMN["tx_dropped_link_down"])
TX_DROPPED_QUEUE_FULL = cython.declare(cython.int, _COLUMN["tx_dropped_queue_full"])
TX_DROPPED_HALTED = cython.declare(cython.int, _COLUMN["tx_dropped_halted"])
TX_DROPPED_ERROR = cython.declare(cython.int, _COLUMN["tx_dropped_error"])
DRIVER_ERRORS = cython.declare(cython.int, _COLUMN["driver_errors"])
VIOLATIONS = cython.declare(cython.int, _COLUMN["violations"])
ENTRIES = cython.declare(cython.int, len(COUNTED))

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES


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


@cython.final
@cython.cclass
class Packet:
    """
    A descriptor and its slot: lent upward with a frame in it, or downward to be sent.

    Whoever does not own it sees it read-only. `memoryview(packet)`, which is what `data` gives, is counted: a packet freed
    while such a view (or a slice of one, at any depth) is alive is withheld until the last of them is gone, so that a forgotten
    view never reads the next frame. Before Python 3.12 the uncompiled core cannot count views.

    NDIS: NDIS_PACKET; PKT-17 to PKT-45.

    Attributes:
        pool: the pool that it is from and goes back to.
        index: its place in the pool.
        generation: how often it has been allocated.
        references: returns still owed, the library's own guard included while drivers are being asked.
        views: live views.
        flags: LOOPBACK, or what a sender put there.
        time_received: nanoseconds since 1970 of the batch that brought it.
    """

    pool = cython.declare(object, visibility="readonly")
    index = cython.declare(cython.int, visibility="readonly")
    generation = cython.declare(cython.uint, visibility="readonly")
    references = cython.declare(cython.int, visibility="readonly")
    views = cython.declare(cython.int, visibility="readonly")
    flags = cython.declare(cython.uint, visibility="public")
    time_received = cython.declare(cython.longlong, visibility="readonly")
    _state = cython.declare(cython.int)
    _status = cython.declare(cython.uint)
    _length = cython.declare(cython.int)
    _slot_size = cython.declare(cython.int)
    _asked = cython.declare(cython.int)
    _sender = cython.declare(object)
    if cython.compiled:
        _bytes = cython.declare(cython.p_uchar)
        _shared = cython.declare(cython.p_uchar)
        _promised = cython.declare(cython.ushort[128])
        _returned = cython.declare(cython.ushort[128])

    def __init__(self, pool: PacketPool, index: int) -> None:
        self.pool = pool
        self.index = index
        self.generation = 0
        self.references = 0
        self.views = 0
        self.flags = 0
        self.time_received = 0
        self._state = FREE
        self._status = 0
        self._length = 0
        self._slot_size = pool.slot_size
        self._asked = -1
        self._sender = None
        if not cython.compiled:
            self._bytes = pool._bytes[index * pool.slot_size : (index + 1) * pool.slot_size]
            self._shared = pool._shared[index * pool.slot_size : (index + 1) * pool.slot_size]
            self._promised = [0] * MAX_BINDINGS
            self._returned = [0] * MAX_BINDINGS

    @property
    def state(self) -> PacketState:
        """Where the packet is."""
        return PacketState(self._state)

    @property
    def length(self) -> int:
        """
        Bytes of the frame in the slot. The owner may set it, from 0 to the slot's size.

        Raises:
            OwnershipError: the packet is set by somebody who does not own it.
            ValueError: the slot is smaller.
        """
        return self._length

    @length.setter
    def length(self, value: int) -> None:
        self._require_owned("its length is set")
        if not 0 <= value <= self._slot_size:
            raise ValueError(f"length {value} is outside 0..{self._slot_size}, the slot of {self!r}")
        self._length = value

    @property
    def status(self) -> Status:
        """
        SUCCESS: drivers may keep the packet. RESOURCES: they must copy it during the call. The miniport sets it before indicating.

        NDIS: NDIS_GET_PACKET_STATUS, NDIS_SET_PACKET_STATUS; RX-06, RX-20.
        """
        return RESOURCES if self._status else SUCCESS

    @status.setter
    def status(self, value: Status) -> None:
        self._require_owned("its status is set")
        if value not in (SUCCESS, RESOURCES):
            raise ValueError(f"status {value!r} of a packet to indicate: SUCCESS or RESOURCES")
        self._status = 0 if value == SUCCESS else 1

    @property
    def data(self) -> memoryview:
        """
        The frame, as a view: writable for the packet's owner, read-only for everybody else.

        Raises:
            OwnershipError: the packet is back in its pool (rule 07).
        """
        if COUNTS_VIEWS:
            return memoryview(self)
        return self._view()

    @property
    def ethertype(self) -> int:
        """Bytes 12 and 13 as a number: the EtherType, or the outer VLAN tag's; 0 if the frame is too short."""
        if self._length < HEADER_SIZE:
            return 0
        return (self._bytes[12] << 8) | self._bytes[13]

    def write(self, frame: bytes) -> None:
        """
        Copy a frame into the slot and set `length`. The packet must be the caller's own.

        Args:
            frame: anything with the buffer protocol, at most a slot long.

        Raises:
            OwnershipError: the caller does not own the packet.
            ValueError: the slot is smaller.
        """
        self._require_owned("it is written")
        if cython.compiled:
            view: cython.Py_buffer
            PyObject_GetBuffer(frame, cython.address(view), PyBUF_SIMPLE)
            size: cython.Py_ssize_t = view.len
            if size <= self._slot_size:
                memcpy(self._bytes, view.buf, size)
            PyBuffer_Release(cython.address(view))
        else:
            size = memoryview(frame).nbytes
            if size <= self._slot_size:
                self._bytes[:size] = memoryview(frame).cast("B")
        if size > self._slot_size:
            raise ValueError(f"a frame of {size} bytes does not fit the slot of {self._slot_size}")
        self._length = size

    def __repr__(self) -> str:
        return f"<Packet {self.pool.name}[{self.index}].{self.generation} {self.state.name} {self._length} bytes>"

    @cython.cfunc
    @cython.inline
    def _change(self, event: cython.int) -> cython.bint:
        """Take one edge of the state table; False, and nothing changed, if there is no such edge."""
        after: cython.int = NEXT_STATE[self._state * EVENTS + event]
        if after == ILLEGAL:
            return False
        self._state = after
        return True

    @cython.cfunc
    def _require_owned(self, what: str) -> object:
        if self._state == OWNED:
            return None
        rule = rules.PENDING_TOUCHED if self._state == SENDING else rules.USE_AFTER_RETURN if self._state == FREE else rules.FREE_WHILE_INDICATED
        raise OwnershipError(rule, self.pool.name, f"{self!r} is not the caller's own, but {what}", history_of(self))

    def _view(self) -> memoryview:
        if self._state == FREE or self._state == QUARANTINED:
            raise OwnershipError(rules.USE_AFTER_RETURN, "the caller", f"{self!r} is looked at", history_of(self))
        return (self._bytes if self._state == OWNED else self._shared)[: self._length]

    if cython.compiled:

        def __getbuffer__(self, buffer: cython.pointer[cython.Py_buffer], flags: cython.int):
            if self._state == FREE or self._state == QUARANTINED:
                raise OwnershipError(rules.USE_AFTER_RETURN, "the caller", f"{self!r} is looked at", history_of(self))
            if self._state == OWNED:
                PyBuffer_FillInfo(buffer, self, self._bytes, self._length, 0, flags)
            else:
                PyBuffer_FillInfo(buffer, self, self._shared, self._length, 1, flags)
            self.views += 1

        def __releasebuffer__(self, buffer: cython.pointer[cython.Py_buffer]):
            self.views -= 1
            if self._state == QUARANTINED and self.views == 0:
                self.pool._release(self)

    else:

        def __buffer__(self, flags: int, /) -> memoryview:
            view = self._view()
            self.views += 1
            return view

        def __release_buffer__(self, view: memoryview, /) -> None:
            self.views -= 1
            view.release()
            if self._state == QUARANTINED and self.views == 0:
                self.pool._release(self)


@cython.final
@cython.cclass
class PacketPool:
    """
    A fixed number of packets over one block of memory; whoever made the pool owns them all.

    Everything is allocated here, once. The memory is a memfd mapped twice: the owner writes through one mapping, everybody else
    sees the other, which the processor itself keeps read-only. The free stack is last in, first out, so that the next frame
    lands in a slot that is still in the cache.

    NDIS: NdisAllocatePacketPool; PKT-01 to PKT-25.

    Args:
        capacity: packets, 1 to 65,535.
        slot_size: bytes of each packet's slot; see `slot_size_for`.
        reserved_size: bytes of `binding.reserved(packet)`.
        name: shown wherever the pool or a packet of it is named.

    Raises:
        ContractViolation: capacity is out of range (rule 46).
        OSError: the memory cannot be had.
    """

    name = cython.declare(object, visibility="readonly")
    capacity = cython.declare(cython.int, visibility="readonly")
    slot_size = cython.declare(cython.int, visibility="readonly")
    reserved_size = cython.declare(cython.int, visibility="readonly")
    low_water = cython.declare(cython.int, visibility="readonly")
    allocations = cython.declare(cython.ulonglong, visibility="readonly")
    exhausted = cython.declare(cython.ulonglong, visibility="readonly")
    _packets = cython.declare(list)
    _top = cython.declare(cython.int)
    _open = cython.declare(cython.bint)
    _writable = cython.declare(object)
    _readable = cython.declare(object)
    _reserved = cython.declare(dict)
    if cython.compiled:
        _stack = cython.declare(cython.p_int)
        _bytes = cython.declare(cython.p_uchar)
        _write_view = cython.declare(cython.Py_buffer)
        _read_view = cython.declare(cython.Py_buffer)

    def __init__(
        self,
        capacity: int,
        slot_size: int = 1600,
        *,
        reserved_size: int = PROTOCOL_RESERVED_SIZE_IN_PACKET,
        name: str = "pool",
    ) -> None:
        self._open = False
        if not 0 < capacity <= MAX_PACKETS:
            raise ContractViolation(rules.POOL_LIMIT, name, f"a pool of {capacity} packets was asked for")
        if slot_size <= HEADER_SIZE or reserved_size < 0:
            raise ValueError(f"a slot of {slot_size} bytes with {reserved_size} reserved cannot hold a frame")
        self.name = name
        self.capacity = self.low_water = self._top = capacity
        self.slot_size = slot_size
        self.reserved_size = reserved_size
        self.allocations = self.exhausted = 0
        self._reserved = {}
        self._map((capacity + 1) * slot_size)
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
                packet._shared = shared + packet.index * size
        else:
            self._stack = [0] * capacity
        for index in range(capacity):
            self._stack[index] = capacity - 1 - index
        self._open = True

    def _map(self, size: int) -> None:
        descriptor = os.memfd_create(f"vnic-{self.name}"[:200], os.MFD_CLOEXEC)
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
            PyBuffer_Release(cython.address(self._write_view))
            PyBuffer_Release(cython.address(self._read_view))

    @property
    def available(self) -> int:
        """Packets on the free stack."""
        return self._top

    @property
    def usage(self) -> int:
        """Packets that are out. NDIS: NdisPacketPoolUsage; PKT-16."""
        return self.capacity - self._top

    def packets(self) -> tuple[Packet, ...]:
        """Every packet of the pool, to look at; nothing changes hands."""
        return tuple(self._packets)

    def allocate(self) -> Packet | None:
        """
        Take a packet out of the pool: it is the caller's own, with no frame and no flags.

        Returns:
            The packet; None if all are out, which is normal.

        Raises:
            ContractViolation: the pool is closed (rule 40).

        NDIS: NdisAllocatePacket; PKT-03, PKT-17.
        """
        self._require_open()
        with cython.critical_section(self):
            if self._top == 0:
                self.exhausted += 1
                return None
            self._top -= 1
            if self._top < self.low_water:
                self.low_water = self._top
            packet: Packet = self._packets[self._stack[self._top]]
            self._fresh(packet)
        return packet

    def free(self, packet: Packet) -> None:
        """
        Give a packet back to the pool; it must not be touched any more.

        A packet of which a view is still alive is quarantined: it comes back to the pool by itself when the last view dies.

        Raises:
            OwnershipError: it is not the caller's to free (rules 30, 34, 56), or from another pool (rule 35).

        NDIS: NdisFreePacket; PKT-19, PKT-20.
        """
        self._require_open()
        if packet.pool is not self:
            raise OwnershipError(rules.FOREIGN_POOL, self.name, f"{packet!r} is freed to pool {self.name}", history_of(packet))
        with cython.critical_section(self):
            if packet._state == OWNED:
                self._put_back(packet)
                return
        raise OwnershipError(BROKEN[packet.state, Event.FREE], self.name, f"{packet!r} is freed", history_of(packet))

    def audit(self) -> dict[PacketState, int]:
        """
        Count the packets in each state by looking at every one of them; the free ones by the height of the stack.

        Returns:
            A number for each state; their sum is the capacity, unless something is badly wrong.
        """
        found = [0] * len(PacketState)
        packet: Packet
        with cython.critical_section(self):
            for packet in self._packets:
                found[packet._state] += 1
            found[FREE] = self._top
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
        if self._top != self.capacity:
            raise ContractViolation(rules.POOL_OUTSTANDING, self.name, f"{self.usage} of {self.capacity} packets are out")
        self._open = False
        if cython.compiled:
            PyBuffer_Release(cython.address(self._write_view))
            PyBuffer_Release(cython.address(self._read_view))
        else:
            for packet in self._packets:
                packet._bytes.release()
                packet._shared.release()
            self._bytes.release()
            self._shared.release()
        self._writable.close()
        self._readable.close()

    def __repr__(self) -> str:
        return f"<PacketPool {self.name}: {self._top} of {self.capacity} free>"

    @cython.cfunc
    def _require_open(self) -> object:
        if not self._open:
            raise ContractViolation(rules.POOL_AFTER_CLOSE, self.name, f"pool {self.name} is closed")
        return None

    @cython.cfunc
    @cython.inline
    def _fresh(self, packet: Packet) -> cython.void:
        packet._change(DO_ALLOCATE)
        packet.generation += 1
        packet.flags = 0
        packet._status = 0
        packet._length = 0
        self.allocations += 1

    @cython.cfunc
    @cython.inline
    def _put_back(self, packet: Packet) -> cython.void:
        """Free an OWNED packet; the caller holds the critical section."""
        if packet.views:
            packet._change(DO_QUARANTINE)
            return
        packet._change(DO_FREE)
        self._stack[self._top] = packet.index
        self._top += 1

    def _release(self, packet: Packet) -> None:
        with cython.critical_section(self):
            packet._change(DO_RELEASE)
            self._stack[self._top] = packet.index
            self._top += 1

    def _reserved_area(self, slot: int) -> bytearray:
        if slot not in self._reserved:
            self._reserved[slot] = bytearray(self.capacity * self.reserved_size)
        return self._reserved[slot]


COUNTS_VIEWS = cython.declare(cython.bint, cython.compiled or hasattr(memoryview, "__buffer__"))


def history_of(packet: Packet) -> str:
    """Tell what is known of a packet, for a violation: state, references, and who promised and returned how often."""
    holders = [
        f"{BINDING_NAMES[slot]} returned {packet._returned[slot]} of {packet._promised[slot]}"
        for slot in range(MAX_BINDINGS)
        if packet._promised[slot] and BINDING_NAMES[slot]
    ]
    return f"{packet.state.name}, references {packet.references}, views {packet.views}" + "".join(f", {line}" for line in holders)


BINDING_NAMES: list[str | None] = [None] * MAX_BINDINGS
"""Which binding uses which column of every packet's promised/returned pairs."""


@cython.final
@cython.cclass
class Ledger:
    """
    The counter block of one adapter, and what every change of ownership goes through.

    It knows how often each binding promised to return a packet and how often it did, when a packet has no holder left, and how
    a broken rule is counted and reported.
    """

    _report = cython.declare(object)
    _reclaim = cython.declare(object)
    _thread = cython.declare(cython.ulonglong)
    if cython.compiled:
        _counts = cython.declare(cython.ulonglong[64])

    def __init__(self, report: Callable[[str, dict[str, Any]], None], reclaim: Callable[[Packet], None] | None) -> None:
        self._report = report
        self._reclaim = reclaim
        self._thread = 0
        if not cython.compiled:
            self._counts = [0] * ENTRIES

    def snapshot(self) -> dict[str, int]:
        """Copy the counter block, by name."""
        return {row.name: self._counts[index] for index, row in enumerate(COUNTED)}

    @cython.cfunc
    def _promise(self, binding: Binding, packet: Packet, count: cython.int) -> cython.void:
        """Write down that a binding will return a packet `count` times."""
        with cython.critical_section(packet):
            packet._promised[binding.slot] = count
            packet._returned[binding.slot] = 0
            packet.references += count
            binding.promised += count

    @cython.cfunc
    def _take_back(self, binding: Binding, packet: Packet) -> object:
        """Count one return; the packet goes home with the last. Answers the violation, nothing changed, if none is owed."""
        last: cython.bint = False
        owed: cython.bint
        with cython.critical_section(packet):
            owed = packet._state == INDICATED and packet._returned[binding.slot] < packet._promised[binding.slot]
            if owed:
                packet._returned[binding.slot] += 1
                packet.references -= 1
                binding.returned += 1
                last = packet.references == 0
        if not owed:
            return self._violation(self._broken_return(binding, packet), binding, packet, f"{packet!r} is returned")
        if last:
            self._home(packet, binding)
        return None

    @cython.cfunc
    def _broken_return(self, binding: Binding, packet: Packet) -> object:
        if packet._asked == binding.slot:
            return rules.RETURN_INSIDE_HANDLER if get_ident() == self._thread else rules.RETURN_BEFORE_ANSWER
        if packet._state != INDICATED:
            return rules.OVER_RETURN
        return rules.DOUBLE_RETURN if packet._promised[binding.slot] else rules.WRONG_BINDING

    @cython.cfunc
    def _home(self, packet: Packet, binding: Binding | None) -> cython.void:
        """Nobody holds the packet any more: hand it to the miniport, once."""
        packet._change(DO_RECLAIM)
        self._counts[RETURNED_COUNT] += 1
        if packet.views:
            self._violation(rules.RETAINED_VIEW, binding, packet, f"{packet.views} views of {packet!r} are alive at its last return")
        if self._reclaim is None:
            pool: PacketPool = packet.pool
            with cython.critical_section(pool):
                pool._put_back(packet)
            return
        try:
            self._reclaim(packet)
        except BaseException as error:
            self._failed(None, "return_packet", error)

    @cython.cfunc
    def _violation(self, rule: object, binding: Binding | None, packet: Packet | None, detail: str) -> object:
        """Count and report a broken rule; answers the exception for the culprit."""
        self._counts[VIOLATIONS] += 1
        culprit: str = "the miniport" if binding is None else binding.name
        if binding is not None:
            binding.violations += 1
        error = OwnershipError(rule, culprit, detail, "" if packet is None else history_of(packet))
        error.reported = True
        self._tell("violation", {"binding": binding, "error": error, "packet": packet})
        return error

    @cython.cfunc
    def _failed(self, binding: Binding | None, handler: str, error: BaseException) -> cython.void:
        """Count and report an exception that came out of a driver."""
        self._counts[DRIVER_ERRORS] += 1
        if binding is not None:
            binding.errors += 1
        if isinstance(error, ContractViolation) and not error.reported:
            self._counts[VIOLATIONS] += 1
            error.reported = True
            self._tell("violation", {"binding": binding, "error": error, "packet": None})
        self._tell("driver_error", {"binding": binding, "handler": handler, "error": error})

    @cython.cfunc
    def _tell(self, event: str, fields: dict) -> cython.void:
        try:
            self._report(event, fields)
        except Exception as error:
            report_to_logging("report_failed", {"event": event, "error": error})


def report_to_logging(event: str, fields: dict[str, Any]) -> None:
    """Report to the standard `logging` module, under the name `vnic`: what an adapter does unless it is given another way."""
    import logging

    logging.getLogger("vnic").error("%s %s", event, fields, exc_info=fields.get("error"))


@cython.final
@cython.cclass
class Binding:
    """
    One driver on one adapter: what it wants to see, what it owes, what it sent.

    NDIS: a binding handle, from NdisOpenAdapter.

    Attributes:
        name: names the driver wherever it is reported.
        slot: its column in every packet's promised/returned pairs.
        delivered: frames shown to it.
        resources: those of them with status RESOURCES.
        promised: returns it promised, over all packets.
        returned: returns it made.
        errors: exceptions that came out of it.
        violations: rules it broke.
        sends_pending: sends it still owes a completion for.
        closing: nothing is indicated to it any more, sends answer CLOSING.
        closed: it is gone; any use raises (rule 98).
    """

    adapter = cython.declare(object, visibility="readonly")
    driver = cython.declare(object, visibility="readonly")
    name = cython.declare(object, visibility="readonly")
    slot = cython.declare(cython.int, visibility="readonly")
    delivered = cython.declare(cython.ulonglong, visibility="readonly")
    resources = cython.declare(cython.ulonglong, visibility="readonly")
    promised = cython.declare(cython.ulonglong, visibility="readonly")
    returned = cython.declare(cython.ulonglong, visibility="readonly")
    errors = cython.declare(cython.ulonglong, visibility="readonly")
    violations = cython.declare(cython.ulonglong, visibility="readonly")
    sends_pending = cython.declare(cython.int, visibility="readonly")
    closing = cython.declare(cython.bint, visibility="readonly")
    closed = cython.declare(cython.bint, visibility="readonly")
    _ledger = cython.declare(Ledger)
    _filter = cython.declare(cython.int)
    _filter_set = cython.declare(cython.bint)
    _multicast = cython.declare(frozenset)
    _seen = cython.declare(cython.bint)
    _receive_packet = cython.declare(object)
    _receive = cython.declare(object)
    _receive_complete = cython.declare(object)
    _send_complete = cython.declare(object)
    _status = cython.declare(object)

    def __init__(self, adapter: Adapter, driver: ProtocolDriver, name: str, slot: int, ledger: Ledger) -> None:
        self.adapter = adapter
        self.driver = driver
        self.name = name
        self.slot = slot
        self.delivered = self.resources = self.promised = self.returned = self.errors = self.violations = 0
        self.sends_pending = 0
        self.closing = self.closed = False
        self._ledger = ledger
        self._filter = 0
        self._filter_set = False
        self._multicast = frozenset()
        self._seen = False
        self._receive_packet = driver.receive_packet
        self._receive = contract.handler(driver, contract.ProtocolDriver, "receive")
        self._receive_complete = contract.handler(driver, contract.ProtocolDriver, "receive_complete")
        self._send_complete = contract.handler(driver, contract.ProtocolDriver, "send_complete")
        self._status = contract.handler(driver, contract.ProtocolDriver, "status")

    @property
    def held(self) -> int:
        """Returns that the binding still owes, over all packets."""
        return self.promised - self.returned

    @property
    def address(self) -> bytes:
        """The adapter's 6-byte station address. NDIS: OID_802_3_CURRENT_ADDRESS."""
        return self.adapter.address

    @property
    def mtu(self) -> int:
        """Largest payload of a frame, in bytes. NDIS: OID_GEN_MAXIMUM_FRAME_SIZE."""
        return self.adapter.mtu

    @property
    def network_addresses(self) -> tuple[str, ...]:
        """The layer-3 addresses ("10.0.0.2/24") that the adapter was configured to answer for."""
        return self.adapter.network_addresses

    @property
    def packet_filter(self) -> PacketFilter:
        """
        Which frames are shown to the binding; setting it replaces it, and a value other than NONE starts indications.

        NDIS: OID_GEN_CURRENT_PACKET_FILTER; RX-56, RX-57.
        """
        return PacketFilter(self._filter)

    @packet_filter.setter
    def packet_filter(self, value: PacketFilter) -> None:
        self._require_open("its packet filter is set")
        self._filter = int(value)
        self._filter_set = True
        self.adapter._reorder()

    @property
    def multicast_list(self) -> tuple[bytes, ...]:
        """
        The group addresses that MULTICAST accepts; setting it replaces the list.

        Raises:
            ValueError: an address is not 6 bytes long, or no group address.

        NDIS: OID_802_3_MULTICAST_LIST; RX-59.
        """
        return tuple(sorted(value.to_bytes(6, "big") for value in self._multicast))

    @multicast_list.setter
    def multicast_list(self, addresses: Iterable[bytes]) -> None:
        self._require_open("its multicast list is set")
        listed = [bytes(address) for address in addresses]
        for address in listed:
            if len(address) != 6 or not address[0] & 1:
                raise ValueError(f"{address.hex(':') or 'nothing'} is no 6-byte group address")
        self._multicast = frozenset(int.from_bytes(address, "big") for address in listed)

    def owed(self, packet: Packet) -> int:
        """How often the binding still has to return this packet."""
        return packet._promised[self.slot] - packet._returned[self.slot] if packet._state == INDICATED else 0

    def reserved(self, packet: Packet) -> memoryview:
        """
        The binding's own scratch bytes in a packet that it holds, or that it is being shown.

        Each binding has its own area of each packet; it is not cleared between frames.

        Returns:
            A writable view of `packet.pool.reserved_size` bytes.

        Raises:
            OwnershipError: the binding does not hold the packet (rule 15).

        NDIS: NDIS_PACKET.ProtocolReserved of a received packet; PKT-34, AMB-14.
        """
        if packet._asked != self.slot and not self.owed(packet):
            raise self._ledger._violation(rules.RESERVED_TRESPASS, self, packet, f"its area of {packet!r} is touched")
        pool: PacketPool = packet.pool
        start = packet.index * pool.reserved_size
        return memoryview(pool._reserved_area(self.slot))[start : start + pool.reserved_size]

    def return_packets(self, packets: Iterable[Packet]) -> None:
        """
        Give up one reference of each packet; a packet whose last reference this was goes back to the miniport at once.

        The same packet may stand in `packets` several times. Every legal return is made, even if another one is refused.

        Raises:
            OwnershipError: nothing is owed for a packet (rules 01 to 05); the first such is named, its state is untouched.

        NDIS: NdisReturnPackets; RX-27 to RX-33.
        """
        if self.closed:
            self._require_open("it returns packets")
        first: object = None
        packet: Packet
        for packet in packets:
            refused = self._ledger._take_back(self, packet)
            if refused is not None and first is None:
                first = refused
        if first is not None:
            raise first

    def send(self, packet: Packet) -> Status:
        """
        Lend a packet of the driver's own downward.

        SUCCESS or an error: it is the driver's again, and that was all. PENDING: it comes back through `send_complete`, once.
        May be called from any thread.

        Returns:
            SUCCESS, PENDING, INVALID_PACKET (shorter than 14 bytes or longer than MTU + 18), NO_CABLE (link down), RESOURCES (the
            send queue is full), CLOSING, ADAPTER_REMOVED, or FAILURE.

        Raises:
            OwnershipError: the packet is not the driver's to send (rules 55, 58), or the binding is closed (rule 57).

        NDIS: NdisSend; TX-01 to TX-05.
        """
        if self.closed:
            raise self._ledger._violation(rules.SEND_ON_CLOSED, self, packet, f"{packet!r} is sent after close")
        return self.adapter._send(self, packet)

    def send_packets(self, packets: Iterable[Packet]) -> None:
        """
        Lend several packets downward, in order; each comes back through `send_complete`, exactly once, whatever became of it.

        Raises:
            OwnershipError: a packet is not the driver's to send; the others are sent, this one gets no completion.

        NDIS: NdisSendPackets; TX-06 to TX-10.
        """
        if self.closed:
            raise self._ledger._violation(rules.SEND_ON_CLOSED, self, None, "packets are sent after close")
        self.adapter._send_packets(self, list(packets))

    def __repr__(self) -> str:
        return f"<Binding {self.name} of {self.adapter.name}: holds {self.held}>"

    def _require_open(self, what: str) -> None:
        if self.closed:
            raise self._ledger._violation(rules.CLOSED_BINDING, self, None, f"{what} after close")


DROP_OF: dict[Status, int] = {
    Status.INVALID_PACKET: TX_DROPPED_LENGTH,
    Status.NO_CABLE: TX_DROPPED_LINK_DOWN,
    Status.RESOURCES: TX_DROPPED_QUEUE_FULL,
    Status.CLOSING: TX_DROPPED_HALTED,
    Status.REQUEST_ABORTED: TX_DROPPED_HALTED,
}
"""Under which reason a send that ended with a status is counted; every other status is an error."""
STATUS_OF: dict[int, Status] = {errors.EIO: Status.NO_CABLE, errors.EBADFD: Status.ADAPTER_REMOVED, errors.ENODEV: Status.ADAPTER_REMOVED}
"""What a failed write to a TAP means: EIO, it is down; EBADFD, it was deleted."""


@cython.final
@cython.cclass
class Adapter:
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
        report: called, on the thread where it happened, with "violation" or "driver_error" and its facts: `binding` (None: the
            miniport), `error` (the exception), and `packet` or `handler`.
    """

    name = cython.declare(object, visibility="public")
    pool = cython.declare(PacketPool, visibility="readonly")
    miniport = cython.declare(object, visibility="readonly")
    address = cython.declare(object, visibility="readonly")
    mtu = cython.declare(cython.int, visibility="readonly")
    low_water = cython.declare(cython.int, visibility="readonly")
    network_addresses = cython.declare(tuple, visibility="readonly")
    link_up = cython.declare(cython.bint, visibility="readonly")
    halted = cython.declare(cython.bint, visibility="readonly")
    fd = cython.declare(cython.int, visibility="readonly")
    _ledger = cython.declare(Ledger)
    _station = cython.declare(cython.ulonglong)
    _opened = cython.declare(list)
    _bindings = cython.declare(list)
    _reading = cython.declare(cython.bint)
    _low = cython.declare(cython.bint)
    _queue = cython.declare(object)
    _queue_limit = cython.declare(cython.int)
    _pending = cython.declare(cython.longlong)
    _on_blocked = cython.declare(object)
    _miniport_send = cython.declare(object)
    if cython.compiled:
        _indices = cython.declare(cython.int[256])
        _lengths = cython.declare(cython.int[256])

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
        report: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        if pool.slot_size < slot_size_for(mtu):
            raise ValueError(f"slots of {pool.slot_size} bytes are too small for MTU {mtu}: {slot_size_for(mtu)} are needed")
        if len(address) != 6 or address[0] & 1:
            raise ValueError(f"{address.hex(':')} is no 6-byte station address")
        self.name = name
        self.pool = pool
        self.miniport = miniport
        self.address = bytes(address)
        self.mtu = mtu
        self.low_water = min(64, pool.capacity // 8) if low_water is None else low_water
        self.network_addresses = tuple(network_addresses)
        self.link_up = True
        self.halted = False
        self.fd = -1
        base = contract.MiniportDriver
        self._ledger = Ledger(report or report_to_logging, contract.handler(miniport, base, "return_packet"))
        self._station = int.from_bytes(address, "big")
        self._opened = []
        self._bindings = []
        self._reading = self._low = False
        self._queue = deque()
        self._queue_limit = send_queue
        self._pending = 0
        self._on_blocked = None
        self._miniport_send = contract.handler(miniport, base, "send")
        if not cython.compiled:
            self._indices = [0] * MAX_BUDGET
            self._lengths = [0] * MAX_BUDGET

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The open bindings, in the order in which they were opened."""
        return tuple(self._opened)

    @property
    def send_blocked(self) -> bool:
        """Whether sends wait for room below: poll the descriptor for output, then `flush`."""
        return bool(self._queue)

    def attach(self, fd: int, on_blocked: Callable[[], None] | None = None) -> None:
        """
        Read from and write to a non-blocking descriptor, one frame a call. The descriptor stays the caller's to close.

        Args:
            fd: a TAP, or a packet socket.
            on_blocked: called, from the sending thread, when a send has to wait.
        """
        self.fd = fd
        self._on_blocked = on_blocked

    # bindings

    def open(self, driver: ProtocolDriver, name: str) -> Binding:
        """
        Bind a driver: `driver.binding` is set, `bind_adapter` is called, and then its packet filter, which starts indications.

        Returns:
            The binding.

        Raises:
            VnicError: the driver declined, or no binding is free.
            Exception: whatever `bind_adapter` raised; nothing is left of the binding then.

        NDIS: ProtocolBindAdapter, NdisOpenAdapter; LC-24 to LC-26.
        """
        if None not in BINDING_NAMES:
            raise VnicError(f"{MAX_BINDINGS} bindings are open, no more fit")
        slot = BINDING_NAMES.index(None)
        binding = Binding(self, driver, name, slot, self._ledger)
        BINDING_NAMES[slot] = name
        driver.binding = binding
        try:
            status = driver.bind_adapter()
            if status is not None and status != SUCCESS:
                raise VnicError(f"driver {name} declined: {Status(status).name}")
        except BaseException:
            binding.closed = binding.closing = True
            BINDING_NAMES[slot] = None
            raise
        self._opened.append(binding)
        if not binding._filter_set:
            binding._filter = int(driver.packet_filter)
        self._reorder()
        return binding

    def close(self, binding: Binding) -> Status:
        """
        Unbind a driver: nothing is indicated to it any more, its waiting sends are aborted, `unbind_adapter` is called.

        Returns:
            SUCCESS; PENDING while it still holds packets: call again when they are back, or `reclaim` them.

        NDIS: ProtocolUnbindAdapter, NdisCloseAdapter; LC-28 to LC-31, AMB-17.
        """
        if binding.closed:
            return SUCCESS
        if not binding.closing:
            binding.closing = True
            binding._filter = 0
            self._reorder()
            self._abort(binding)
            try:
                binding.driver.unbind_adapter()
            except BaseException as error:
                self._ledger._failed(binding, "unbind_adapter", error)
        if binding.promised != binding.returned:
            return PENDING
        self._forget(binding)
        return SUCCESS

    def reclaim(self, binding: Binding) -> int:
        """
        Take back, by force, every packet that a closing binding still holds. It is reported (rule 60); the other holders keep theirs.

        Returns:
            How many packets were taken back.
        """
        taken = 0
        packet: Packet
        for packet in self.pool.packets():
            owed = binding.owed(packet)
            if not owed:
                continue
            if not taken:
                self._ledger._violation(rules.LEAKED_AT_UNBIND, binding, packet, f"it closes with {binding.held} returns owed, this packet's among them")
            taken += 1
            for _ in range(owed):
                self._ledger._take_back(binding, packet)
        self._forget(binding)
        return taken

    def _forget(self, binding: Binding) -> None:
        packet: Packet
        for packet in self.pool.packets():
            packet._promised[binding.slot] = packet._returned[binding.slot] = 0
        binding.closed = True
        self._opened.remove(binding)
        self._reorder()
        BINDING_NAMES[binding.slot] = None

    def _reorder(self) -> None:
        """Those who watch everything come first, so that they see a frame before its answer."""
        binding: Binding
        shown = [binding for binding in self._opened if not binding.closing]
        self._bindings = sorted(shown, key=lambda binding: not binding.packet_filter & PacketFilter.ALL_LOCAL)

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
        if self._reading:
            raise VnicError("receive_batch is running already: one thread reads an adapter")
        self._reading = True
        try:
            return self._read_and_indicate(max(1, min(budget, MAX_BUDGET)))
        finally:
            self._reading = False

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _read_and_indicate(self, budget: cython.int) -> cython.int:
        pool: PacketPool = self.pool
        taken: cython.int = 0
        count: cython.int = 0
        failure: cython.int = 0
        position: cython.int
        self._ledger._thread = get_ident()
        with cython.critical_section(pool):
            while taken < budget and pool._top > 0:
                pool._top -= 1
                self._indices[taken] = pool._stack[pool._top]
                taken += 1
        if cython.compiled:
            size: cython.Py_ssize_t = pool.slot_size
            length: cython.Py_ssize_t
            with cython.nogil:
                while count < taken:
                    length = c_read(self.fd, pool._bytes + self._indices[count] * size, size)
                    if length < 0:
                        failure = errno
                        if failure == EINTR:
                            continue
                        break
                    self._lengths[count] = cython.cast(cython.int, length)
                    count += 1
        else:
            while count < taken:
                try:
                    self._lengths[count] = os.readv(self.fd, [pool._packets[self._indices[count]]._bytes])
                except OSError as error:
                    failure = error.errno
                    break
                count += 1
        with cython.critical_section(pool):
            for position in range(taken - 1, count - 1, -1):
                pool._stack[pool._top] = self._indices[position]
                pool._top += 1
        if count:
            self._indicate_batch(count)
        elif taken == 0:
            count = self._discard(budget)
        if failure and failure != errors.EAGAIN:
            raise OSError(failure, os.strerror(failure), self.name)
        return count

    @cython.cfunc
    def _indicate_batch(self, count: cython.int) -> cython.void:
        pool: PacketPool = self.pool
        packet: Packet
        position: cython.int
        low: cython.bint = False
        now: cython.longlong = time_ns()
        self._ledger._counts[RX_BATCHES] += 1
        for position in range(count):
            packet = pool._packets[self._indices[position]]
            pool._fresh(packet)
            packet._length = self._lengths[position]
            packet.time_received = now
            low = low or pool._top + (count - position) <= self.low_water
            packet._status = low
            self._receive(packet)
            if low:
                with cython.critical_section(pool):
                    pool._put_back(packet)
        self._complete()
        if pool._top < pool.low_water:
            pool.low_water = pool._top
        if low and not self._low:
            self._name_the_holder()
        self._low = low

    @cython.cfunc
    def _receive(self, packet: Packet) -> cython.void:
        """Show one OWNED packet to every binding that accepts it; account for its frame; take the library's guard off."""
        ledger: Ledger = self._ledger
        bindings: list = self._bindings
        binding: Binding
        outcome: cython.int = RX_FILTERED
        lent: cython.bint = packet._status != 0
        last: cython.bint
        length: cython.int = packet._length
        packet.references = 1
        if lent:
            packet._change(DO_LEND)
        else:
            packet._change(DO_INDICATE)
            ledger._counts[INDICATED_COUNT] += 1
        if length < HEADER_SIZE:
            outcome = RX_DROPPED_RUNT
        elif length >= packet._slot_size:
            outcome = RX_DROPPED_TRUNCATED
        elif not bindings:
            outcome = RX_DROPPED_NO_DRIVER
        else:
            destination: cython.ulonglong = self._destination(packet)
            kind: cython.int = self._kind(destination)
            for binding in bindings:
                if not binding._filter & (kind | EVERYTHING) and not (
                    binding._filter & MULTICAST and kind == ALL_MULTICAST and destination in binding._multicast
                ):
                    continue
                outcome = RX_DELIVERED
                binding.delivered += 1
                binding._seen = True
                if lent:
                    self._show_and_copy(binding, packet)
                else:
                    self._show(binding, packet)
        ledger._counts[RX_FRAMES] += 1
        ledger._counts[RX_BYTES] += length
        ledger._counts[outcome] += 1
        with cython.critical_section(packet):
            packet.references -= 1
            last = packet.references == 0
        if lent:
            packet._change(DO_RECLAIM)
            if outcome == RX_DELIVERED:
                ledger._counts[RX_RESOURCES] += 1
        elif last:
            ledger._home(packet, None)

    @cython.cfunc
    @cython.inline
    def _destination(self, packet: Packet) -> cython.ulonglong:
        if cython.compiled:
            p: cython.p_uchar = packet._bytes
            high: cython.ulonglong = (p[0] << 8) | p[1]
            low: cython.ulonglong = (cython.cast(cython.ulonglong, p[2]) << 24) | (p[3] << 16) | (p[4] << 8) | p[5]
            return (high << 32) | low
        return int.from_bytes(packet._bytes[:6], "big")

    @cython.cfunc
    @cython.inline
    def _kind(self, destination: cython.ulonglong) -> cython.int:
        """The filter bit that a destination needs; 0 for another station's."""
        if destination & GROUP_BIT:
            return BROADCAST if destination == BROADCAST_ADDRESS else ALL_MULTICAST
        return DIRECTED if destination == self._station else 0

    @cython.cfunc
    def _show(self, binding: Binding, packet: Packet) -> cython.void:
        """Ask one driver how many references it keeps, and write its promise down."""
        if packet._promised[binding.slot]:
            packet._promised[binding.slot] = packet._returned[binding.slot] = 0
        packet._asked = binding.slot
        try:
            answer = binding._receive_packet(packet)
        except BaseException as error:
            self._ledger._failed(binding, "receive_packet", error)
            answer = 0
        if type(answer) is not int or not 0 <= answer <= 0xFFFF:
            self._ledger._violation(rules.ILLEGAL_ANSWER, binding, packet, f"receive_packet answered {answer!r:.100}")
        elif answer:
            self._ledger._promise(binding, packet, answer)
        elif packet.views and packet.references == 1:
            self._ledger._violation(rules.RETAIN_UNDECLARED, binding, packet, f"it answered 0 and keeps {packet.views} views")
        packet._asked = -1

    @cython.cfunc
    def _show_and_copy(self, binding: Binding, packet: Packet) -> cython.void:
        """Show a packet that nobody may keep: through `receive` if the driver has it, else through `receive_packet`."""
        views: cython.int = packet.views
        answer: object = 0
        binding.resources += 1
        packet._asked = binding.slot
        try:
            if binding._receive is not None:
                show_lookahead(binding._receive, packet)
            else:
                answer = binding._receive_packet(packet)
        except BaseException as error:
            self._ledger._failed(binding, "receive" if binding._receive is not None else "receive_packet", error)
        packet._asked = -1
        if answer != 0:
            self._ledger._violation(rules.RETAIN_ON_RESOURCES, binding, packet, f"receive_packet answered {answer!r:.100} to status RESOURCES")
        elif packet.views > views:
            self._ledger._violation(rules.RETAIN_ON_RESOURCES, binding, packet, f"it keeps {packet.views - views} views")

    @cython.cfunc
    def _complete(self) -> cython.void:
        """End a batch: each binding that saw a frame of it gets `receive_complete`, once."""
        bindings: list = self._bindings
        binding: Binding
        for binding in bindings:
            if not binding._seen:
                continue
            binding._seen = False
            if binding._receive_complete is None:
                continue
            try:
                binding._receive_complete()
            except BaseException as error:
                self._ledger._failed(binding, "receive_complete", error)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _discard(self, budget: cython.int) -> cython.int:
        """No packet at all is free: read frames away and count them, so that the loss has a name."""
        count: cython.int = 0
        while count < budget:
            try:
                frame = os.read(self.fd, self.pool.slot_size)
            except BlockingIOError:
                break
            count += 1
            self._ledger._counts[RX_FRAMES] += 1
            self._ledger._counts[RX_BYTES] += len(frame)
            self._ledger._counts[RX_DROPPED_NO_PACKET] += 1
        return count

    def _name_the_holder(self) -> None:
        """Packets have just run low: name the binding that holds more than half of them, if there is one."""
        binding: Binding
        for binding in self._opened:
            if 2 * binding.held > self.pool.capacity:
                self._ledger._violation(
                    rules.POOL_STARVED, binding, None, f"it holds {binding.held} of {self.pool.capacity} packets, {self.pool.available} are free"
                )

    def indicate(self, packets: Sequence[Packet]) -> None:
        """
        Show packets to every binding whose filter accepts them. The caller must own them and have set `status` on each.

        A SUCCESS packet comes back through the miniport's `return_packet`, possibly before this returns. A RESOURCES packet is
        the caller's own again when this returns; every packet after one is shown like it.

        Raises:
            OwnershipError: a packet is not the caller's to indicate (rule 17); none of them is shown then.
            ValueError: a packet is from another pool than the adapter's.

        NDIS: NdisMIndicateReceivePacket; RX-01 to RX-19, AMB-1.
        """
        packet: Packet
        for packet in packets:
            if packet.pool is not self.pool:
                raise ValueError(f"{packet!r} is not from the adapter's pool {self.pool.name}")
            if packet._state != OWNED:
                raise self._ledger._violation(BROKEN[packet.state, Event.INDICATE], None, packet, f"{packet!r} is indicated")
        low: cython.bint = False
        self._ledger._thread = get_ident()
        for packet in packets:
            if packet._status:
                low = True
            elif low:
                self._receive_copied(packet)
                continue
            packet.time_received = time_ns()
            self._receive(packet)
        self._complete()

    @cython.cfunc
    def _receive_copied(self, packet: Packet) -> cython.void:
        """A SUCCESS packet behind a RESOURCES one: delivery is by copy, but by its own status it goes home through return_packet."""
        packet._status = 1
        packet.time_received = time_ns()
        self._receive(packet)
        packet._status = 0
        packet._change(DO_INDICATE)
        self._ledger._counts[INDICATED_COUNT] += 1
        self._ledger._home(packet, None)

    # send

    def _send(self, binding: Binding, packet: Packet) -> Status:
        refused = self._lend_down(binding, packet)
        if refused is not None:
            raise refused
        status = self._put(packet)
        if status is not PENDING:
            self._finish(packet, status)
        return status

    def _send_packets(self, binding: Binding, packets: list[Packet]) -> None:
        first: object = None
        packet: Packet
        for packet in packets:
            refused = self._lend_down(binding, packet)
            if refused is not None:
                first = first or refused
                continue
            status = self._put(packet)
            if status is not PENDING:
                self._give_back(packet, status)
        if first is not None:
            raise first

    @cython.cfunc
    def _lend_down(self, binding: Binding, packet: Packet) -> object:
        """Take a packet from its driver for a send; answers the violation if it is not the driver's to give."""
        legal: cython.bint
        with cython.critical_section(packet):
            legal = packet._change(DO_SEND)
            if legal:
                packet._sender = binding
                binding.sends_pending += 1
                self._pending += 1
                self._ledger._counts[TX_SUBMITTED] += 1
        if legal:
            return None
        return self._ledger._violation(BROKEN[packet.state, Event.SEND], binding, packet, f"{packet!r} is sent")

    @cython.cfunc
    def _refusal(self, packet: Packet) -> object:
        """Why a packet cannot be written now: a status, or None if it can. PENDING means that it was queued behind others."""
        sender: Binding = packet._sender
        if self.halted or sender.closing:
            return Status.CLOSING
        if packet._length < HEADER_SIZE or packet._length > self.mtu + HEADER_SIZE + VLAN_SIZE:
            return Status.INVALID_PACKET
        if not self.link_up:
            return Status.NO_CABLE
        if self._queue:
            return self._enqueue(packet)
        return None

    @cython.cfunc
    def _put(self, packet: Packet) -> object:
        """Put one packet on the wire, or in the queue; answers its status."""
        refusal = self._refusal(packet)
        if refusal is not None:
            return refusal
        if self._miniport_send is not None:
            try:
                return self._outcome_above(packet, Status(self._miniport_send(packet)))
            except BaseException as error:
                self._ledger._failed(None, "send", error)
                return Status.FAILURE
        return self._outcome(packet, self._write(packet))

    @cython.cfunc
    def _write(self, packet: Packet) -> cython.int:
        """Write one frame; answers 0, or the errno. The GIL is kept: the descriptor never blocks, and giving it up costs more."""
        if self.fd < 0:
            return errors.ENODEV
        if cython.compiled:
            while c_write(self.fd, packet._bytes, packet._length) < 0:
                if errno != EINTR:
                    return errno
            return 0
        try:
            os.write(self.fd, packet._bytes[: packet._length])
        except OSError as error:
            return error.errno
        return 0

    @cython.cfunc
    def _outcome(self, packet: Packet, failure: cython.int) -> object:
        if failure == 0:
            self._loop_back(packet)
            return SUCCESS
        if failure == errors.EAGAIN:
            return self._enqueue(packet)
        return STATUS_OF.get(failure, Status.FAILURE)

    @cython.cfunc
    def _outcome_above(self, packet: Packet, status: object) -> object:
        """What a miniport's own `send` answered; if it has completed the packet already, that was the completion."""
        if packet._sender is None:
            if status is not PENDING:
                self._ledger._violation(rules.COMPLETED_TWICE, None, packet, f"send answered {status.name} after send_complete")
            return PENDING
        if status is SUCCESS:
            self._loop_back(packet)
        return status

    @cython.cfunc
    def _enqueue(self, packet: Packet) -> object:
        if len(self._queue) >= self._queue_limit:
            return RESOURCES
        self._queue.append(packet)
        self._ledger._counts[TX_QUEUED] += 1
        if self._on_blocked is not None and len(self._queue) == 1:
            self._on_blocked()
        return PENDING

    @cython.cfunc
    def _finish(self, packet: Packet, status: object) -> cython.void:
        """A send is over: count how it ended, and let the driver have its packet again."""
        sender: Binding = packet._sender
        column: cython.int
        if status is SUCCESS:
            self._ledger._counts[TX_BYTES] += packet._length
            column = TX_FRAMES
        else:
            column = DROP_OF.get(status, TX_DROPPED_ERROR)
        with cython.critical_section(packet):
            self._ledger._counts[column] += 1
            self._pending -= 1
            sender.sends_pending -= 1
            packet._change(DO_COMPLETE)
        packet._sender = None

    @cython.cfunc
    def _give_back(self, packet: Packet, status: object) -> cython.void:
        """Complete a send through `send_complete`; a driver without that handler gets its packet freed."""
        sender: Binding = packet._sender
        self._finish(packet, status)
        try:
            if sender._send_complete is None:
                packet.pool.free(packet)
            else:
                sender._send_complete(packet, status)
        except BaseException as error:
            self._ledger._failed(sender, "send_complete", error)

    @cython.cfunc
    def _loop_back(self, packet: Packet) -> cython.void:
        """Show a sent frame to the bindings that watch everything; they copy, the packet stays the sender's."""
        bindings: list = self._bindings
        binding: Binding
        flags: cython.uint = packet.flags
        for binding in bindings:
            if not binding._filter & ALL_LOCAL:
                break
            packet.flags = flags | LOOPBACK
            packet._status = 1
            self._show_and_copy(binding, packet)
            packet._status = 0
            packet.flags = flags
            self._ledger._counts[TX_LOOPED] += 1

    def send_complete(self, packet: Packet, status: Status) -> None:
        """
        Give a packet back to its sender, whose send the miniport had answered with PENDING.

        Raises:
            OwnershipError: no send of this packet is pending (rule 50).

        NDIS: NdisMSendComplete; TX-21, TX-22.
        """
        if packet._state != SENDING or packet._sender is None:
            raise self._ledger._violation(BROKEN[packet.state, Event.COMPLETE], None, packet, f"{packet!r} is completed")
        status = Status(status)
        if status is SUCCESS:
            self._loop_back(packet)
        self._give_back(packet, Status.FAILURE if status is PENDING else status)

    def flush(self) -> int:
        """
        Write waiting sends, in order, until the descriptor takes no more; each completes through `send_complete`.

        Returns:
            How many still wait.
        """
        packet: Packet
        failure: cython.int
        while self._queue:
            packet = self._queue[0]
            failure = self._write(packet)
            if failure == errors.EAGAIN:
                break
            self._queue.popleft()
            if failure == 0:
                self._loop_back(packet)
            self._give_back(packet, SUCCESS if failure == 0 else STATUS_OF.get(failure, Status.FAILURE))
        return len(self._queue)

    def _abort(self, binding: Binding | None) -> None:
        """Give waiting sends back, aborted: one binding's, or all."""
        packet: Packet
        waiting = list(self._queue)
        self._queue = deque(packet for packet in waiting if binding is not None and packet._sender is not binding)
        for packet in waiting:
            if binding is None or packet._sender is binding:
                self._give_back(packet, Status.REQUEST_ABORTED)

    # state

    def indicate_status(self, status: Status) -> None:
        """
        Tell every driver that the link came up (MEDIA_CONNECT) or went down (MEDIA_DISCONNECT: sends answer NO_CABLE until it is up).

        NDIS: NdisMIndicateStatus; LC-32, LC-33.
        """
        if status in (Status.MEDIA_CONNECT, Status.MEDIA_DISCONNECT):
            self.link_up = status == Status.MEDIA_CONNECT
            if not self.link_up:
                self.flush()
        binding: Binding
        for binding in self.bindings:
            if binding._status is None or binding.closing:
                continue
            try:
                binding._status(status)
            except BaseException as error:
                self._ledger._failed(binding, "status", error)

    def halt(self) -> None:
        """
        Stop: waiting sends are aborted, new ones answer CLOSING. Bindings are closed by the caller before this, packets come home after.

        NDIS: MiniportHalt; LC-18 to LC-21.
        """
        self.halted = True
        self._abort(None)

    def counters(self) -> dict[str, int]:
        """
        Take a snapshot of every counter and gauge of `vnic.counters`, save those of the interface itself.

        The gauges are found by looking at every packet, not by adding and subtracting, so that the sums in
        `vnic.counters.broken_sums` compare two independent ways of counting.
        """
        with cython.critical_section(self.pool):
            found = self.pool.audit()
            values = self._ledger.snapshot()
            pending = self._pending
        values["held"] = found[PacketState.INDICATED]
        values["tx_pending"] = pending
        values["pool_capacity"] = self.pool.capacity
        values["pool_free"] = found[PacketState.FREE]
        values["pool_low_water"] = self.pool.low_water
        values["pool_owned"] = found[PacketState.OWNED] + found[PacketState.LENT]
        values["pool_indicated"] = found[PacketState.INDICATED]
        values["pool_sending"] = found[PacketState.SENDING]
        values["pool_quarantined"] = found[PacketState.QUARANTINED]
        return values

    def __repr__(self) -> str:
        return f"<Adapter {self.name}: {len(self._opened)} bindings>"


@cython.cfunc
def show_lookahead(receive: Callable[..., Any], packet: Packet) -> object:
    """Call a `receive` handler with views that are closed when it returns, whatever it does."""
    frame = packet.data
    header = frame[:HEADER_SIZE]
    lookahead = frame[HEADER_SIZE:]
    try:
        receive(packet, header, lookahead, len(lookahead))
    finally:
        for view in (header, lookahead, frame):
            try:
                view.release()
            except BufferError:
                # the driver made something else of it that is still alive: the count of views tells
                pass
    return None
