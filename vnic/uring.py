"""
Reading many frames in one system call: io_uring, with the pool's memory registered.

Each call hands the kernel up to 32 reads that may not wait. All of them are over when it returns: no packet is ever in the kernel's hands
between two batches, a descriptor that breaks or moves shows as it does with `read`, and the memory may go at any time. Order is kept,
since the kernel does them one after the other.

Whether that is quicker than `read` depends on what a system call costs on the machine, which `race` measures. Where the kernel has no
io_uring, or refuses it, there is `read`. Uncompiled there is nothing but that.

Next: `miniport/reader.py`, which chooses.
"""

from __future__ import annotations

import errno as errors
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

ROUNDS, CALLS = 15, 4
"""How often reading is timed, in turn, and with how many calls of 32 reads each time: about a millisecond together."""


class Uring:
    """
    A ring for reading frames into the packets of a pool; no packet is taken here. To be given to `Adapter.attach`.

    Args:
        fd: the descriptor; it stays the caller's to close.
        pool: whose memory is read into.

    Raises:
        OSError: the kernel has no io_uring (ENOSYS), refuses it (EPERM), or may not keep so much memory in place (ENOMEM).
    """

    def __init__(self, fd: int, pool: PacketPool) -> None:
        if getattr(self, "pool", None) is not None:
            raise TypeError("a ring is made once")
        self.fd = fd
        if cython.compiled:
            self._ring.fd = -1
            if not pool._open or not pool.slot_size:
                raise ValueError(f"pool {pool.name} has no memory to read into")
            size: cython.size_t = pool.slot_size
            error: cython.int = vnic_ring_open(cython.address(self._ring), fd, pool._bytes, size * pool.capacity)
            if error:
                vnic_ring_free(cython.address(self._ring))
                raise OSError(-error, os.strerror(-error), "io_uring")
            self.pool = pool
        else:
            raise OSError(errors.ENOSYS, "the core is not compiled", "io_uring")

    if cython.compiled:

        def __cinit__(self):
            self._ring.fd = -1

        def __dealloc__(self):
            vnic_ring_free(cython.address(self._ring))

    @property
    def calls(self) -> int:
        """System calls that have read through it."""
        return self._ring.calls if cython.compiled else 0

    @property
    def reads(self) -> int:
        """Reads that those have done, with those that found nothing."""
        return self._ring.reads if cython.compiled else 0

    @property
    def broken(self) -> int:
        """Why it is not used: an errno; 0 while it is, EBADF when it is closed."""
        if cython.compiled:
            return errors.EBADF if self._ring.fd < 0 else self._ring.broken
        return errors.EBADF

    def close(self, *, shared: bool = False) -> None:
        """
        Let the memory go; who still reads does so by `read`.

        Args:
            shared: this is a forked child, and the parent's ring is to go on.
        """
        if cython.compiled:
            vnic_ring_close(cython.address(self._ring), shared)


def can_wait_for_none(ring: Uring) -> int:
    """
    Ask whether a TAP can be read without waiting, by a read of nothing, which takes no frame from a TAP. Of a socket it would take one.

    Returns:
        0, or the errno.
    """
    if cython.compiled:
        uring: Uring = ring
        result: cython.int = 0
        error: cython.int = vnic_ring_read(cython.address(uring._ring), uring.pool._bytes, 0, 0, cython.NULL, cython.address(result), 1)
        return -error if error else -result if result != -errors.EAGAIN else 0
    return errors.ENOSYS


def race() -> tuple[float, float]:
    """
    Measure what a read costs by itself, and through a ring: of an eventfd, where there is nothing to copy. No packet changes hands.

    Returns:
        Nanoseconds by `read`, and through a ring: the medians.

    Raises:
        OSError: there is no io_uring here, or it is refused.
    """
    if cython.compiled:
        ring: vnic_ring
        memory: cython.uchar[64]
        alone: cython.longlong = 0
        together: cython.longlong = 0
        one: cython.longlong
        other: cython.longlong
        by_read, by_ring = [], []
        fd: cython.int = os.eventfd(1 << 30, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        error: cython.int = vnic_ring_open(cython.address(ring), fd, memory, 64)
        for _ in range(0 if error else ROUNDS):
            error = vnic_ring_race(cython.address(ring), fd, memory, CALLS, cython.address(alone), cython.address(together))
            if error:
                break
            one, other = alone, together
            by_read.append(one / (CALLS * VNIC_RING_READS))
            by_ring.append(other / (CALLS * VNIC_RING_READS))
        vnic_ring_free(cython.address(ring))
        os.close(fd)
        if error:
            raise OSError(-error, os.strerror(-error), "io_uring")
        return sorted(by_read)[ROUNDS // 2], sorted(by_ring)[ROUNDS // 2]
    raise OSError(errors.ENOSYS, "the core is not compiled", "io_uring")
