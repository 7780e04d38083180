"""
Large buffers: where the part of a superframe lies that does not fit the slot of its packet.

Each belongs to no packet while it is free, and to one from the read that reached into it until that packet is free again. Buffers and
chains are made once, here; nothing is allocated for a frame.

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

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.cpython.memoryview import PyMemoryView_GET_BUFFER
    from cython.cimports.libc.stdlib import free as c_free
    from cython.cimports.libc.stdlib import malloc as c_malloc

LARGE = 65536 + 64
"""Bytes of each: the longest superframe, which is in the slot partly, and an odd number of cache lines."""
MAX_LARGE = 4096


class LargeBuffers(Lender):
    """
    A fixed number of buffers of 64 KiB over one block of memory, mapped twice like that of a pool: receivers cannot write.

    Args:
        count: 1 to 4,096.
        name: of whose they are.

    Raises:
        OSError: the memory cannot be had.

    Attributes:
        count: how many there are.
        available: how many no packet has.
    """

    def __init__(self, count: int, name: str) -> None:
        if getattr(self, "count", 0):
            raise TypeError("large buffers are made once")
        if not 1 <= count <= MAX_LARGE:
            raise ValueError(f"{count} large buffers: 1 to {MAX_LARGE}")
        descriptor = os.memfd_create(f"vnic-large-{escape(name)}"[:200], os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, count * LARGE)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            writable = mmap.mmap(descriptor, count * LARGE, flags, mmap.PROT_READ | mmap.PROT_WRITE)
            readable = mmap.mmap(descriptor, count * LARGE, flags, mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._writable = memoryview(writable)
        shared = memoryview(readable)
        self._buffers = [Buffer(None, shared[start : start + LARGE]) for start in range(0, count * LARGE, LARGE)]
        self._chains = [Chain(None) for _ in range(count)]
        if cython.compiled:
            self._bytes = cython.cast(cython.p_uchar, PyMemoryView_GET_BUFFER(self._writable).buf)
            self._stack = cython.cast(cython.p_int, c_malloc(count * cython.sizeof(cython.int)))
            if not self._stack:
                raise MemoryError
        else:
            self._bytes = self._writable
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
        """Chain a large buffer behind the slot of an OWNED packet, whose frame reaches into it."""
        slot: Buffer = packet._open_slot()
        rest: Buffer = self._buffers[number]
        chain: Chain = self._chains[number]
        slot.length = packet._slot_size
        slot.packet = rest.packet = rest._of = packet
        slot.following = rest
        rest.following = None
        rest.length = packet._length - packet._slot_size
        chain.packet = packet
        chain.head = slot
        chain.valid = True
        packet._ordinary = False
        packet._chain = chain
        packet._scattered = True
        packet._lender = self
        packet._large = number

    def _take_back(self, packet: Packet) -> None:
        """The packet is free: so is its large buffer. The caller holds the critical section of the pool; nothing here runs a driver."""
        rest: Buffer = self._buffers[packet._large]
        chain: Chain = self._chains[packet._large]
        packet._unlink()
        chain.packet = chain.head = None
        # whoever still refers to it may not look at the next frame in it
        rest.packet = rest.following = rest._of = None
        self._give_back(packet._large)
        packet._lender = None
        packet._large = -1

    def _give_back(self, number: cython.int) -> None:
        """It is free; the caller holds the critical section of the pool."""
        self._stack[self._top] = number
        self._top += 1
