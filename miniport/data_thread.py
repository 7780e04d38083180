"""
The data threads: one for each queue of the interface waits on it, reads batches, writes what waits. Nothing else runs on them, except
jobs between two batches.

A link that is down is silent, and a link that was deleted shows as an error and not as something to read; both end in a sleep
here, never in a spin.

Next: `miniport/meeting.py`, how several of them come to a job, and `miniport/daemon.py`, which starts them and gives them jobs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from miniport.meeting import Meeting
from vnic import Adapter
from vnic.waiting import POLLIN, POLLOUT, WOKEN, Waiter

if TYPE_CHECKING:
    from vnic.uring import Uring

T = TypeVar("T")


class DataThread:
    """
    Reads one queue of an adapter until it is told to stop or the interface is gone.

    Args:
        threads: all of them.
        queue: its number, and that of the queue.

    Attributes:
        waiter: what it sleeps in.
    """

    def __init__(self, threads: DataThreads, queue: int, name: str) -> None:
        self.threads = threads
        self.queue = queue
        self.fd = -1
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.waiter = Waiter(self.wake)
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def ident(self) -> int | None:
        """The thread's number; None before it runs."""
        return self.thread.ident

    def stack(self) -> FrameType | None:
        """Where it is now, for whoever has to name a driver that does not return."""
        return sys._current_frames().get(self.ident or 0)

    def nudge(self) -> None:
        """Wake it."""
        os.eventfd_write(self.wake, 1)

    def _run(self) -> None:
        threads = self.threads
        while not threads.ending:
            try:
                self._serve()
            except BaseException as error:
                # a driver can break what is under us: the descriptor, or this thread by a trace function; jobs must still be done
                threads.give_up(error)
        if not threads.abandoned:
            threads.meeting.leave(self.queue)

    def _serve(self) -> None:
        """Read until there is something else to do, and do that."""
        threads, adapter = self.threads, self.threads.adapter
        try:
            if threads.reading and not adapter.sends_waiting(self.queue):
                ready = self.waiter.serve(adapter, self.fd, threads.budget, threads.busy_poll_us, self.queue)
            else:
                ready = self._serve_blocked()
        except OSError:
            adapter.flush()
            raise
        # the parent's wake-up is not the child's to take
        if ready & WOKEN and not threads.abandoned:
            os.eventfd_read(self.wake)
            threads.meeting.come(self.queue)

    def _serve_blocked(self) -> int:
        """Wait once, for room below too if sends wait for it: a TAP is nearly always ready for output otherwise."""
        threads, adapter = self.threads, self.threads.adapter
        blocked = adapter.sends_waiting(self.queue) > 0
        wanted = (POLLIN if threads.reading else 0) | (POLLOUT if blocked else 0)
        ready = self.waiter.wait(self.fd if wanted else -1, wanted)
        if blocked:
            adapter.flush(self.queue)
        if threads.reading and ready != WOKEN:
            adapter.receive_batch(threads.budget, self.queue)
        return ready


class DataThreads:
    """
    Read all queues of one adapter, each by a thread of its own.

    Args:
        adapter: what to read.
        budget: frames in one batch; a job waits for one batch of each thread at most.
        on_gone: called, once, on the thread that cannot read on: with an OSError if the interface was deleted, with anything else if
            the library itself failed.
        busy_poll_us: how long after a frame the next one is asked for without sleeping; 0: not at all.
        queues: how many.

    Attributes:
        each: the threads.
        meeting: where they come together for a job.
        reading: whether frames are read.
        ending, abandoned: they are to end; in a forked child.
    """

    def __init__(
        self, adapter: Adapter, budget: int, on_gone: Callable[[BaseException], None], busy_poll_us: int = 0, queues: int = 1
    ) -> None:
        self.adapter = adapter
        self.budget = budget
        self.busy_poll_us = busy_poll_us
        self.reading = self.ending = self.abandoned = False
        self._on_gone = on_gone
        self._gone = False
        self._ended = False
        self._lock = threading.Lock()
        self.each = [DataThread(self, queue, f"vnic-data-{queue}" if queues > 1 else "vnic-data") for queue in range(queues)]
        self.meeting = Meeting([one.nudge for one in self.each])

    def start(self, fds: Sequence[int], rings: Sequence[Uring | None] = ()) -> None:
        """
        Attach the adapter to the descriptors of its queues, with the rings to read them through if there are any, and begin to read.

        Args:
            fds: as many as there are queues.
            rings: one for each of them, or none.
        """
        rings = rings or [None] * len(fds)
        for one, fd, ring in zip(self.each, fds, rings, strict=True):
            one.fd = fd
            if one.queue == 0:
                self.adapter.attach(fd, self.nudge, ring)
            else:
                self.adapter.attach_queue(fd, ring)
        self.reading = True
        for one in self.each:
            one.thread.start()

    def call(self, job: Callable[[], T]) -> Future[T]:
        """
        Run a function on one of the threads, between two batches of all of them.

        Returns:
            Its result to come; never, while a driver does not return; cancelled, if the threads have ended.
        """
        return self.meeting.call(job)

    def stop_reading(self) -> None:
        """Leave the frames that come from now on where they are; jobs and waiting sends go on. To be called as a job."""
        self.reading = False

    def end(self, timeout: float) -> bool:
        """
        End the threads.

        Returns:
            False if they have not ended in time: a driver does not return.
        """
        self.ending = True
        for one in self.each:
            one.waiter.leave = True
        self.nudge()
        deadline = time.monotonic() + timeout
        for one in self.each:
            one.thread.join(max(0, deadline - time.monotonic()))
        if self.alive():
            return False
        with self._lock:
            # the number of a closed descriptor is soon somebody else's
            self._ended = True
            for one in self.each:
                os.close(one.wake)
        return True

    def alive(self) -> list[DataThread]:
        """Those that have begun and not ended."""
        return [one for one in self.each if one.thread.is_alive()]

    def idents(self) -> list[int]:
        """The numbers of the threads that have begun."""
        return [one.ident for one in self.each if one.ident is not None]

    def late(self) -> list[int]:
        """The numbers of those that have not come to the job that waits now."""
        return [ident for queue in self.meeting.missing() if (ident := self.each[queue].ident) is not None]

    @property
    def ended(self) -> bool:
        """Whether they have ended."""
        return self._ended

    def abandon(self) -> None:
        """In a forked child, which has one thread at most: read nothing, and end."""
        self.ending = self.abandoned = True
        self.reading = False
        for one in self.each:
            one.waiter.leave = True

    def stacks(self) -> Iterable[FrameType]:
        """Where those that live are now, for whoever has to name a driver that does not return."""
        return [frame for one in self.alive() if (frame := one.stack()) is not None]

    def nudge(self) -> None:
        """Wake all of them, unless they have ended."""
        with self._lock:
            if not self._ended:
                for one in self.each:
                    one.nudge()

    def give_up(self, error: BaseException) -> None:
        """On one of the threads: it cannot go on, and so none of them reads on. That is told once."""
        self.reading = False
        if self.abandoned:
            return
        with self._lock:
            told, self._gone = self._gone, True
        if not told:
            self._on_gone(error)
