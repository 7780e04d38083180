"""
Frames on a descriptor: one by one, or many in one loop without the GIL; whole, or in several pieces.

A frame in several pieces needs no memory of its own. Up to 8 KiB its pieces are copied together on the stack, because a TAP takes 0.1 us
longer for `writev` than for `write`, and the copy takes less; a larger one goes by `writev`.

Next: `vnic/send.py`, which says what is to be written.
"""

from __future__ import annotations

import errno as errors
import os
from typing import TYPE_CHECKING

from vnic.buffer import Buffer
from vnic.packet import Packet
from vnic.virtio import HEADER

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.libc.stdlib import free as c_free
    from cython.cimports.libc.stdlib import malloc as c_malloc

FRAMES = 128
"""Frames in a burst."""
MOST_PIECES = 16
"""Pieces of one frame; one with more is gathered."""
ROOM = 512
VIRTIO_SIZE = HEADER


def put(fd: cython.int, packet: Packet, headed: cython.bint) -> cython.int:
    """
    Write the frame of a packet; answers 0, or the errno. The GIL is kept: the descriptor never blocks, and giving it up costs more.

    Headed: the virtio header of the packet stands before the frame.
    """
    count: cython.int
    if cython.compiled:
        pieces: iovec[17]
        if not packet._scattered and not headed:
            return vnic_write(fd, packet._shared, packet._length)
    else:
        pieces = []
    count = spread(packet, pieces, headed)
    if cython.compiled:
        return vnic_write(fd, packet._shared, packet._length) if count == 1 else vnic_write_pieces(fd, pieces, count)
    else:
        return write(fd, pieces)


def spread(packet: Packet, pieces: cython.pointer[iovec], headed: cython.bint) -> cython.int:
    """Find where the frame of a packet is, and its header; answers the number of pieces. Too many are gathered."""
    one: Buffer = packet._chain.head if packet._scattered else None
    before: cython.int = 0
    count: cython.int
    if headed:
        before = 1
        if cython.compiled:
            vnic_piece(pieces, cython.address(packet._virtio), VIRTIO_SIZE)
        else:
            pieces.append(bytes(packet._virtio))
    count = before
    while one is not None and count >= 0:
        if one.length and count - before == MOST_PIECES:
            packet._gather()
            count = -1
        elif one.length:
            if cython.compiled:
                vnic_piece(pieces + count, one._shared, one.length)
            else:
                pieces.append(one._inner())
            count += 1
        one = one.following
    if count > before:
        return count
    if cython.compiled:
        vnic_piece(pieces + before, packet._shared, packet._length)
    else:
        pieces[before:] = [packet._shared[: packet._length]]
    return before + 1


class Burst:
    """Frames to be written in order. Their packets are lent to whoever has it, and it must not outlive that."""

    def __init__(self, headed: cython.bint) -> None:
        self._headed = headed
        self._kept = None
        self._written = False
        if cython.compiled:
            if not self._burst:
                self._burst = cython.cast(cython.pointer[vnic_burst], c_malloc(cython.sizeof(vnic_burst)))
            if not self._burst:
                raise MemoryError
            self._burst.frames = self._burst.used = self._burst.failed = 0
        else:
            self._frames = []
            self._failures = []

    if cython.compiled:

        def __dealloc__(self):
            c_free(self._burst)

    def add(self, packet: Packet) -> None:
        """Take the frame of one packet more; there are 128 at most."""
        if packet._scattered and packet._chain.head.packet is not packet:
            # buffers that are another packet's, whose owner may take them apart, against the rules, while they are written
            self._kept = (self._kept, packet._chain.used())
        if cython.compiled:
            position: cython.int = self._burst.frames
            # two pieces for each that follows, the header and the frame
            if packet._scattered and self._burst.used + 1 + MOST_PIECES > ROOM - 2 * (FRAMES - position):
                packet._gather()
            count: cython.int = spread(packet, cython.address(self._burst.pieces[self._burst.used]), self._headed)
            self._burst.counts[position] = count
            self._burst.used += count
            self._burst.frames = position + 1
        else:
            pieces = []
            spread(packet, pieces, self._headed)
            self._frames.append(pieces)

    def write(self, fd: cython.int) -> None:
        """Write until there is no room below. Other threads run meanwhile."""
        self._written = True
        if cython.compiled:
            with cython.nogil:
                vnic_write_burst(fd, self._burst)
        else:
            failure = 0
            for pieces in self._frames:
                failure = failure if failure == errors.EAGAIN else write(fd, pieces)
                self._failures.append(failure)

    def complete(self) -> cython.bint:
        """Whether all frames have been written."""
        if cython.compiled:
            return self._written and not self._burst.failed
        else:
            return self._written and not any(self._failures)

    if not cython.compiled:
        # compiled, it stands in the .pxd file, where its caller has it for its own

        def failure(self, position: int) -> int:
            """The errno of a frame, or 0; EAGAIN of the first without room, and of all behind it; EIO if there was no descriptor."""
            return self._failures[position] if self._written else errors.EIO


def write(fd: int, pieces: list[memoryview]) -> int:
    """Write a frame, uncompiled; answers 0, or the errno."""
    try:
        os.writev(fd, pieces)
    except OSError as error:
        return error.errno
    return 0
