"""
Where the data threads come together for a job: it runs between two batches of all of them, so that bindings never change under a batch
and the counters agree with the interface's.

Who comes waits for the others, but not for ever: if one of them does not come, because a driver does not return, the others read on, and
come again when it has. So a thread that hangs delays jobs, as it does when it is the only one, and stops the others once, for a moment.

Next: `miniport/data_thread.py`, who comes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE, MOST_PATIENCE = 0.02, 1.0
"""Seconds that who has come waits for the others. It is doubled each time that it was too short: slow drivers on two threads would miss
each other again and again."""


class Meeting:
    """
    The jobs that wait, and who has come to them.

    Args:
        wake: of each thread, by its number, what wakes it: it comes when its batch is over.
    """

    def __init__(self, wake: Sequence[Callable[[], None]]) -> None:
        self._wake = wake
        self._awaited = set(range(len(wake)))
        self._here: set[int] = set()
        self._came: set[int] = set()
        self._runner: int | None = None
        self._round = 0
        self._patience = PATIENCE
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()

    def call(self, job: Callable[[], T]) -> Future[T]:
        """
        Have a job done, on one of the threads, from any other.

        Returns:
            Its result to come; cancelled, if all threads have left.
        """
        future: Future[T] = Future()
        with self._changed:
            if not self._awaited:
                future.cancel()
                return future
            first = not self._jobs
            self._jobs.append((job, future))
            # behind another job they have been woken already; who has gone again comes back with the one who is missing
            for number in self._awaited if first else ():
                self._wake[number]()
        return future

    def come(self, number: int) -> None:
        """On a thread that was woken: if there is a job, wait for the others, and do it if this is the last one to come."""
        with self._changed:
            if not self._jobs:
                return
            self._here.add(number)
            self._came.add(number)
            for other in self._awaited - self._here:
                self._wake[other]()
            if not self._is_to_do_them(number):
                return
            self._runner = number
        self._do_jobs()
        with self._changed:
            self._runner = None
            self._round += 1
            self._patience = PATIENCE
            self._here.clear()
            self._came.clear()
            self._changed.notify_all()

    def leave(self, number: int) -> None:
        """On a thread that ends: nobody waits for it any more. With the last one, jobs that are left are cancelled."""
        with self._changed:
            self._awaited.discard(number)
            self._here.discard(number)
            self._changed.notify_all()
            while self._jobs and not self._awaited:
                self._jobs.popleft()[1].cancel()

    def missing(self) -> list[int]:
        """Those without whom the job that waits is not done: who have not come, or the one that does it now; none if none waits."""
        with self._changed:
            if self._runner is not None:
                return [self._runner]
            return sorted(self._awaited - self._came) if self._jobs else []

    def _is_to_do_them(self, number: int) -> bool:
        """Wait until all are here, or the jobs are done, or for as long as patience lasts."""
        now, end = self._round, time.monotonic() + self._patience
        while self._round == now:
            if self._runner is not None:
                # however long that takes: nothing may be read meanwhile
                self._changed.wait()
            elif self._here >= self._awaited:
                return True
            elif (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            else:
                self._here.discard(number)
                self._patience = min(2 * self._patience, MOST_PATIENCE)
                return False
        return False

    def _do_jobs(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    return
                job, future = self._jobs.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
            # what a job refers to must not stay until the next one
            del job, future
