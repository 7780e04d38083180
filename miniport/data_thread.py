"""
The data thread: waits on the TAP, reads batches, writes what waits. Nothing else runs on it, except jobs between two batches.

A link that is down is silent, and a link that was deleted shows as an error and not as something to read; both end in a sleep
here, never in a spin.

Next: `miniport/daemon.py`, which starts it and gives it jobs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from vnic import Adapter
from vnic.waiting import POLLIN, POLLOUT, WOKEN, Waiter

if TYPE_CHECKING:
    from vnic.uring import Uring

T = TypeVar("T")


class DataThread:
    """
    Reads one adapter's descriptor until it is told to stop or the interface is gone.

    Args:
        adapter: what to read.
        budget: frames in one batch; a job waits for one batch at most.
        busy_poll_us: how long after a frame the next one is asked for without sleeping; 0: not at all.
        on_gone: called on this thread when it cannot read on: with an OSError if the interface was deleted, with anything else if
            the library itself failed.

    Attributes:
        waiter: what it sleeps in.
    """

    def __init__(self, adapter: Adapter, budget: int, on_gone: Callable[[BaseException], None], busy_poll_us: int = 0) -> None:
        self.adapter = adapter
        self.budget = budget
        self.busy_poll_us = busy_poll_us
        self.on_gone = on_gone
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.waiter = Waiter(self._wake)
        self._reading = False
        self._ending = self._ended = self._abandoned = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="vnic-data", daemon=True)

    def start(self, fd: int, ring: Uring | None = None) -> None:
        """Attach the adapter to its descriptor, and the ring to read it through if there is one, and begin to read."""
        self._fd = fd
        self.adapter.attach(fd, self._nudge, ring)
        self._reading = True
        self._thread.start()

    def call(self, job: Callable[[], T]) -> Future[T]:
        """
        Run a function on the data thread, between two batches.

        Returns:
            Its result to come; never, while a driver does not return; cancelled, if the thread has ended.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._ended:
                future.cancel()
                return future
            self._jobs.append((job, future))
            os.eventfd_write(self._wake, 1)
        return future

    def stop_reading(self) -> None:
        """Leave the frames that come from now on where they are; jobs and waiting sends go on. To be called as a job."""
        self._reading = False

    def end(self, timeout: float) -> bool:
        """
        End the thread.

        Returns:
            False if it has not ended in time: a driver does not return.
        """
        self._ending = self.waiter.leave = True
        self._nudge()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        with self._lock:
            # the number of a closed descriptor is soon somebody else's
            self._ended = True
            os.close(self._wake)
        return True

    @property
    def ident(self) -> int | None:
        """The thread's number; None before it runs."""
        return self._thread.ident

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended

    def abandon(self) -> None:
        """In a forked child, which has this thread and no other: read nothing, and end."""
        self._ending = self._abandoned = self.waiter.leave = True
        self._reading = False

    def stack(self) -> FrameType | None:
        """Where the thread is now, for whoever has to name a driver that does not return."""
        return sys._current_frames().get(self._thread.ident or 0)

    def _nudge(self) -> None:
        with self._lock:
            if not self._ended:
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._ending:
            try:
                self._serve()
            except BaseException as error:
                # a driver can break what is under us: the descriptor, or this thread by a trace function; jobs must still be done
                self._reading = False
                self.on_gone(error)

    def _serve(self) -> None:
        """Read until there is something else to do, and do that."""
        adapter = self.adapter
        try:
            if self._reading and not adapter.send_blocked:
                ready = self.waiter.serve(adapter, self._fd, self.budget, self.busy_poll_us)
            else:
                ready = self._serve_blocked()
        except OSError:
            adapter.flush()
            raise
        # the parent's wake-up is not the child's to take
        if ready & WOKEN and not self._abandoned:
            os.eventfd_read(self._wake)
            self._do_jobs()

    def _serve_blocked(self) -> int:
        """Wait once, for room below too if sends wait for it: a TAP is nearly always ready for output otherwise."""
        adapter = self.adapter
        wanted = (POLLIN if self._reading else 0) | (POLLOUT if adapter.send_blocked else 0)
        ready = self.waiter.wait(self._fd if wanted else -1, wanted)
        if adapter.send_blocked:
            adapter.flush()
        if self._reading and ready != WOKEN:
            adapter.receive_batch(self.budget)
        return ready

    def _do_jobs(self) -> None:
        while self._jobs:
            job, future = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
            # what a job refers to must not stay until the next one
            del job, future
