"""
Large buffers: where a frame lies that does not fit the slot of its packet.

Each belongs to no packet while it is free, and to one from the read that needed it until that packet is free again. Buffers and chains are
made once, here; nothing is allocated for a frame.

Next: `vnic/queue.py`, which reads into them.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from vnic.buffer import Buffer
from vnic.chain import Chain
from vnic.packet import Lender, Packet
from vnic.text import escape
from vnic.virtio import HEADER

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.cpython.memoryview import PyMemoryView_GET_BUFFER
    from cython.cimports.libc.stdlib import free as c_free
    from cython.cimports.libc.stdlib import malloc as c_malloc

LINE = 64
STRIDE = 1027 * LINE
"""From one to the next: the longest superframe and its virtio header; an odd number of cache lines."""
BEGIN = -(HEADER + 14 + 20 + 32) % LINE
"""Where in a line each begins: behind headers of Ethernet, IPv4 and TCP with timestamps a line begins, as it may in the kernel."""
LARGE = STRIDE - LINE
"""Bytes of each."""
MAX_LARGE = 4096
FIRST, DISTANCE, VIRTIO_SIZE = BEGIN, STRIDE, HEADER


class LargeBuffers(Lender):
    """
    A fixed number of buffers of 64 KiB over one block of memory, mapped twice like that of a pool: receivers cannot write.

    Args:
        count: 1 to 4,096.
        name: of whose they are.
        slot_size: bytes of the first buffer of a frame in one; the rest is in a second.

    Raises:
        OSError: the memory cannot be had.

    Attributes:
        count: how many there are.
        available: how many no packet has.
    """

    def __init__(self, count: int, name: str, slot_size: int) -> None:
        if getattr(self, "count", 0):
            raise TypeError("large buffers are made once")
        if not 1 <= count <= MAX_LARGE:
            raise ValueError(f"{count} large buffers: 1 to {MAX_LARGE}")
        if slot_size > LARGE - HEADER:
            raise ValueError(f"a pool with slots of {slot_size} bytes for offload: {LARGE - HEADER} at most")
        descriptor = os.memfd_create(f"vnic-large-{escape(name)}"[:200], os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, count * STRIDE)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            writable = mmap.mmap(descriptor, count * STRIDE, flags, mmap.PROT_READ | mmap.PROT_WRITE)
            readable = mmap.mmap(descriptor, count * STRIDE, flags, mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._writable, self._readable = memoryview(writable), memoryview(readable)
        begins = range(BEGIN + HEADER, count * STRIDE, STRIDE)
        frames = [self._readable[begin : begin + LARGE - HEADER] for begin in begins]
        self._heads = [Buffer(None, frame[:slot_size]) for frame in frames]
        self._rests = [Buffer(None, frame[slot_size:]) for frame in frames]
        self._chains = [Chain(None) for _ in range(count)]
        if cython.compiled:
            self._bytes = cython.cast(cython.p_uchar, PyMemoryView_GET_BUFFER(self._writable).buf) + FIRST
            self._shared = cython.cast(cython.p_uchar, PyMemoryView_GET_BUFFER(self._readable).buf) + FIRST
            self._stack = cython.cast(cython.p_int, c_malloc(count * cython.sizeof(cython.int)))
            if not self._stack:
                raise MemoryError
        else:
            self._bytes = self._writable[BEGIN:]
            self._frames = frames
            self._stack = [0] * count
        for number in range(count):
            self._stack[number] = count - 1 - number
        self._top = count
        self.count = count

    if cython.compiled:

        def __dealloc__(self):
            c_free(self._stack)

    @property
    def available(self) -> int:
        """How many no packet has."""
        return self._top

    def _attach(self, packet: Packet, number: cython.int) -> None:
        """Let an OWNED packet have a large buffer, in which its frame is. It has no chain until somebody asks for that: most only count."""
        packet._ordinary = False
        packet._lender = self
        packet._large = number
        if cython.compiled:
            packet._shared = self._shared + cython.cast(cython.Py_ssize_t, number) * DISTANCE + VIRTIO_SIZE
        else:
            packet._shared = self._frames[number]

    def _chained(self, packet: Packet) -> Chain:
        """Somebody asks for the buffers of a packet that has a large one: two, which lie one behind the other."""
        head: Buffer = self._heads[packet._large]
        rest: Buffer = self._rests[packet._large]
        chain: Chain = self._chains[packet._large]
        head.packet = head._of = rest.packet = rest._of = packet
        head.following = rest
        head.length = packet._slot_size
        rest.length = packet._length - packet._slot_size
        chain.packet = packet
        chain.head = head
        chain.valid = True
        packet._chain = chain
        return chain

    def _take_back(self, packet: Packet) -> None:
        """The packet is free: so is its large buffer. The caller holds the critical section of the pool; nothing here runs a driver."""
        if packet._in_large():
            packet._shared = packet._slot_shared
            packet._length = 0
        else:
            self._unchain(packet)
        self._give_back(packet._large)
        packet._lender = None
        packet._large = -1

    def _unchain(self, packet: Packet) -> None:
        """Whoever still refers to its buffers may not look at the next frame in them."""
        head: Buffer = self._heads[packet._large]
        rest: Buffer = self._rests[packet._large]
        chain: Chain = self._chains[packet._large]
        packet._unlink()
        chain.packet = chain.head = None
        head.packet = head.following = head._of = rest.packet = rest.following = rest._of = None

    def _give_back(self, number: cython.int) -> None:
        """It is free; the caller holds the critical section of the pool."""
        self._stack[self._top] = number
        self._top += 1
