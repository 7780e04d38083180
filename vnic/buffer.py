"""
A buffer: a descriptor of some bytes, to be chained to packets. It owns no memory; freeing it frees none.

A packet from a pool with slots has one buffer already, its slot's, and needs none of this. Chains are for drivers that bring their
own memory, put a header in front of somebody else's payload, or share a chain between two packets.

Next: `vnic/packet.py`, which chains them.
"""

from __future__ import annotations

import errno as errors
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.leftovers import BUFFER_POOLS, owner_now
from vnic.verifier.levels import LEVELS
from vnic.verifier.refusal import refused

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, they come with the C types
    from vnic.steps import _step

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_READ, PyBuffer_FillInfo
    from cython.cimports.cpython.memoryview import PyMemoryView_FromMemory, PyMemoryView_GET_BUFFER


class Viewed:
    """What views of bytes are counted on: a packet. While one of them is alive, nothing else comes to be where it looks."""

    def _begin_view(self) -> object:
        """Somebody makes a view; raises if he may not."""

    def _drop_view(self) -> object:
        """A view is gone."""


EXPORTS = bool(cython.compiled) or hasattr(memoryview, "__buffer__")


class Buffer:
    """
    A range of memory, `length` bytes of which are in use.

    A view of a buffer that a packet has of itself (its slot's, or one of a superframe's) is read-only, and counted like a
    view of the packet.

    NDIS: NDIS_BUFFER; BUF-05 to BUF-17.

    Attributes:
        pool: the buffer pool that it is from; None for one that a packet has of itself.
        size: bytes of the range.
        length: bytes in use, set by `adjust`.
        following: the next buffer of the chain, or None.
        packet: the packet that it is chained to, or None.
    """

    def __init__(self, pool: BufferPool | None, memory: memoryview) -> None:
        if getattr(self, "size", 0):
            raise TypeError("a buffer is made once")
        # in one piece, or there is no address that the rest could be found from
        memory = memoryview(memory).cast("B")
        self.pool = pool
        self._memory = memory
        self._source = None
        self._of = None
        self._at = 0
        self.following = None
        self.packet = None
        self._freed = False
        # a view of its own, so that nobody can release the memory while the address is in use; an export of `memory` itself would
        # do that too, but the collector of garbage stumbles over a memoryview that is exported
        self._held = memoryview(memory)
        if cython.compiled:
            self._bytes = self._shared = cython.cast(cython.p_uchar, PyMemoryView_GET_BUFFER(self._held).buf)
        else:
            self._bytes = self._shared = self._held
        # last, so that half a buffer is an empty one
        self.size = self.length = memory.nbytes

    def adjust(self, length: int) -> None:
        """
        Say how many bytes are in use. The totals of the packet that the buffer is chained to are recomputed when next asked for.

        Raises:
            OwnershipError: it is chained to a packet that is not the caller's own.
            ValueError: it is more than the range has.

        NDIS: NdisAdjustBufferLength; BUF-16, BUF-17, AMB-13.
        """
        if not 0 <= length <= self.size:
            raise ValueError(f"length {length} is outside 0..{self.size}, the range of the buffer")
        if self.packet is not None:
            self.packet.recalculate_counts()
        self.length = length

    @property
    def memory(self) -> memoryview:
        """
        The whole range ("virtual address"), writable if the memory is. Of a buffer that a packet has of itself, the bytes in use.

        NDIS: NdisBufferVirtualAddress.
        """
        if self._source is not None:
            return self._source.data[self._at : self._at + self.size]
        if self.pool is not None:
            return self._memory
        if EXPORTS:
            return memoryview(self)
        self._begin_view()
        self._of._drop_view()
        return self._shared[: self.length].toreadonly()

    @property
    def data(self) -> memoryview:
        """The bytes in use, as a view like `memory`."""
        return self.memory[: self.length]

    def _begin_view(self) -> object:
        """Somebody makes a view of a buffer that a packet has of itself: it is counted there."""
        if self.pool is not None or self._source is not None:
            raise BufferError("a view of a buffer is its memory, or its data")
        if self.packet is None or self._of is None:
            raise refused(rules.USE_AFTER_RETURN, "the caller", f"{self!r} of a packet that is back in its pool is looked at")
        self._of._begin_view()
        return None

    def _inner(self) -> memoryview:
        """The bytes in use, for the library itself, which keeps no view of them."""
        if cython.compiled:
            return PyMemoryView_FromMemory(cython.cast(cython.p_char, self._shared), self.length, PyBUF_READ)
        else:
            return self._memory[: self.length]

    if cython.compiled:

        def __getbuffer__(self, buffer: cython.pointer[cython.Py_buffer], flags: cython.int):
            self._begin_view()
            PyBuffer_FillInfo(buffer, self, self._shared, self.length, 1, flags)

        def __releasebuffer__(self, buffer: cython.pointer[cython.Py_buffer]):
            # as of a packet, the collector of garbage may have been here
            if self._of is not None:
                self._of._drop_view()

    else:

        def __buffer__(self, flags: int, /) -> memoryview:
            self._begin_view()
            return self._shared[: self.length].toreadonly()

        def __release_buffer__(self, view: memoryview, /) -> None:
            view.release()
            if self.__dict__ and self._of is not None:
                self._of._drop_view()

    def __repr__(self) -> str:
        return f"<Buffer {self.length} of {self.size} bytes{' chained' if self.packet is not None else ''}>"


class BufferPool:
    """
    A limited number of buffer descriptors.

    NDIS: NdisAllocateBufferPool; BUF-01 to BUF-04, AMB-11.

    Args:
        count: buffers that may be out at one time.
        name: shown wherever the pool is named; one without is told of (rule 45).

    Attributes:
        owner: the binding in whose handler it was made, or None.
        made: who made the pool, where and when.
        verifier_level: how much is watched of it; see `vnic.verifier.levels`.

    Raises:
        OSError: the memory cannot be had.
    """

    def __init__(self, count: int, name: str = "") -> None:
        if count < 1:
            raise ValueError(f"a pool of {count} buffers was asked for")
        self.owner = owner_now()
        self.name = name or "buffers"
        self.verifier_level = LEVELS.of_owned(self.name, self.owner)
        if self.verifier_level >= 4 and FAULTS.fails("buffer pool", self.name, self.owner):
            raise OSError(errors.ENOMEM, os.strerror(errors.ENOMEM), self.name)
        self.count = count
        self.usage = 0
        self._open = True
        self.made = _step("make", self.name, 1, 0)
        BUFFER_POOLS.add(self)
        if not name and LEVELS.process:
            refused(rules.NO_NAME, self.name, f"a pool of {count} buffers is made without a name")

    def allocate(self, memory: bytes | bytearray | memoryview, length: int | None = None) -> Buffer | None:
        """
        Describe memory of the caller's; it stays the caller's.

        Args:
            memory: anything with the buffer protocol, in one piece.
            length: bytes of it to describe; all of them by default.

        Returns:
            The buffer; None if as many as the pool allows are out.

        Raises:
            ContractViolation: the pool is closed (rule 40).
            ValueError: there is less memory than that.

        NDIS: NdisAllocateBuffer; BUF-05.
        """
        self._require_open()
        view = memoryview(memory).cast("B")
        if length is not None:
            if not 0 <= length <= view.nbytes:
                raise ValueError(f"length {length} is outside 0..{view.nbytes}, the memory to describe")
            view = view[:length]
        if self.usage >= self.count or (self.verifier_level >= 4 and self._provoked()):
            return None
        self.usage += 1
        return Buffer(self, view)

    def _provoked(self) -> cython.bint:
        """At verifier level 4: the call may be delayed, and may fail, on purpose."""
        FAULTS.delay(self.owner)
        return FAULTS.fails("buffer", self.name, self.owner)

    def copy(self, source: Buffer, offset: int, length: int) -> Buffer | None:
        """
        Describe a part of what a buffer, and the chain behind it, describes. No byte is copied.

        Returns:
            The first buffer of the new chain, one buffer for each that the range touches; None if the pool has not enough.

        Raises:
            ValueError: the range is not inside the source.

        NDIS: NdisCopyBuffer; BUF-09.
        """
        parts = list(pieces(source, offset, length))
        if sum(part.nbytes for part in parts) != length or not parts:
            raise ValueError(f"{length} bytes at {offset} are not inside the source")
        self._require_open()
        if self.usage + len(parts) > self.count or (self.verifier_level >= 4 and self._provoked()):
            return None
        first: Buffer | None = None
        made: Buffer
        for part in reversed(parts):
            self.usage += 1
            made = Buffer(self, part)
            made.following = first
            first = made
        return first

    def free(self, buffer: Buffer) -> None:
        """
        Give one descriptor back; the memory stays the caller's.

        Raises:
            OwnershipError: it is not from this pool (rule 35), free already (rule 30), or chained (rule 42).

        NDIS: NdisFreeBuffer; BUF-07, BUF-08.
        """
        if buffer.pool is not self:
            raise refused(rules.FOREIGN_POOL, self.name, f"{buffer!r} is freed to buffer pool {self.name}")
        if buffer._freed:
            raise refused(rules.DOUBLE_FREE, self.name, f"{buffer!r} is freed")
        if buffer.packet is not None:
            raise refused(rules.BUFFER_CHAINED, self.name, f"{buffer!r} is freed while it is chained to {buffer.packet!r}")
        buffer._freed = True
        buffer.following = None
        self.usage -= 1

    def close(self) -> None:
        """
        Give the pool up.

        Raises:
            ContractViolation: buffers are still out (rule 39); the pool stays open.

        NDIS: NdisFreeBufferPool; BUF-04.
        """
        if self.usage:
            raise refused(rules.POOL_OUTSTANDING, self.name, f"{self.usage} of {self.count} buffers are out")
        self._open = False

    def _require_open(self) -> None:
        if not self._open:
            raise refused(rules.POOL_AFTER_CLOSE, self.name, f"buffer pool {self.name} is closed")


def chain_of(first: Buffer | None) -> list[Buffer]:
    """List a chain, from its first buffer on. NDIS: NdisGetNextBuffer."""
    found = []
    while first is not None:
        found.append(first)
        first = first.following
    return found


def pieces(first: Buffer | None, offset: int, length: int) -> Iterator[memoryview]:
    """The views, one for each buffer that is touched, of a range of a chain; less than `length` in all if the chain ends before."""
    for buffer in chain_of(first):
        if length <= 0:
            return
        if offset >= buffer.length:
            offset -= buffer.length
            continue
        part = buffer.data[offset : offset + length]
        yield part
        offset = 0
        length -= part.nbytes
