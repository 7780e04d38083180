"""
Waiting: until a descriptor can be read or written, or somebody has the waiting thread woken; and reading until somebody has.

The GIL is released once for the whole of a wait, busy polling included: whoever else has Python to run, runs it meanwhile.

Next: `miniport/data_thread.py`, which waits.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

if not cython.compiled:
    # compiled, it comes with the C types
    from vnic.steps import _now

if cython.compiled:
    from cython.cimports.libc.errno import EINTR, errno

POLLIN = select.POLLIN
POLLOUT = select.POLLOUT
WOKEN = 1 << 16
"""Set in an answer when the waiting thread was woken; the low bits are those of poll(2), for the descriptor."""
BUSY_POLL_US_MAX = 10_000
"""Longest that it may be polled for without sleeping: a second is a hundred times as long."""


class Waiter:
    """
    Waits for one descriptor, and to be woken. No packet changes hands here.

    Args:
        wake: a descriptor that can be read when the waiting thread is wanted, as an eventfd; it stays the caller's to read and close.

    Attributes:
        busy_polls: how often it was asked for something without sleeping.
        leave: set by whoever wants `serve` to be over when the batch at hand is.
    """

    def __init__(self, wake: int) -> None:
        self.wake = wake
        self.busy_polls = 0
        self.leave = False

    def serve(self, adapter: Adapter, fd: int, budget: int, busy_us: int = 0, queue: int = 0) -> int:
        """
        Read a queue of an adapter, batch by batch, until this thread is woken.

        Args:
            adapter: whose `receive_batch` is called when there is something to read.
            fd: its descriptor.
            budget: frames in one batch.
            busy_us: after a batch with a frame, look for the next one for so long before going to sleep.
            queue: the number of the queue.

        Returns:
            What `wait` has answered at last.

        Raises:
            OSError: the descriptor is broken; see `Adapter.receive_batch`.
        """
        reader: Adapter = adapter
        ready: cython.int
        took: cython.int = 0
        busy_us = max(0, min(busy_us, BUSY_POLL_US_MAX))
        while True:
            # who has just sent a frame may soon send the next one
            ready = self._wait(fd, POLLIN, busy_us if took else 0)
            took = 0
            if ready != WOKEN:
                took = reader._receive_from(queue, budget)
            if ready & WOKEN or self.leave:
                return ready

    def wait(self, fd: int, wanted: int, busy_us: int = 0) -> int:
        """
        Wait until one of the two is ready, for ever if neither is.

        Args:
            fd: the descriptor; -1 if only a wake-up is waited for.
            wanted: `POLLIN`, `POLLOUT` or both of them.
            busy_us: ask again and again for so long before going to sleep; at most `BUSY_POLL_US_MAX`.

        Returns:
            What the descriptor is ready for, as poll(2) says it, errors included, and `WOKEN`.

        Raises:
            OSError: the system cannot poll.
        """
        busy_us = max(0, min(busy_us, BUSY_POLL_US_MAX))
        return self._wait(fd, wanted, busy_us)

    def _wait(self, fd: cython.int, wanted: cython.int, busy_us: cython.longlong) -> cython.int:
        if cython.compiled:
            pair: pollfd[2]
            ready: cython.int = 0
            failure: cython.int = 0
            polls: cython.int = 0
            end: cython.longlong
            pair[0].fd, pair[0].events, pair[0].revents = self.wake, POLLIN, 0
            pair[1].fd, pair[1].events, pair[1].revents = fd, wanted, 0
            with cython.nogil:
                if busy_us:
                    end = _now() + 1000 * busy_us
                    while ready == 0 and _now() < end:
                        ready = c_poll(pair, 2, 0)
                        polls += 1
                while ready <= 0:
                    ready = c_poll(pair, 2, -1)
                    if ready < 0:
                        failure = errno
                        if failure != EINTR:
                            break
            self.busy_polls += polls
            if ready < 0:
                raise OSError(failure, "the system cannot poll")
            return pair[1].revents | (WOKEN if pair[0].revents else 0)
        else:
            poll = select.poll()
            poll.register(self.wake, POLLIN)
            if fd >= 0:
                poll.register(fd, wanted)
            found: list[tuple[int, int]] = []
            if busy_us:
                end = _now() + 1000 * busy_us
                while not found and _now() < end:
                    found = poll.poll(0)
                    self.busy_polls += 1
            ready = 0
            for descriptor, events in found or poll.poll():
                ready |= WOKEN if descriptor == self.wake else events
            return ready
