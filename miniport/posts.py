"""
Jobs for the main thread, from any other: its loop is woken once for all that wait.

A loop's signals come through the same socket as its wake-ups. There is room for some 280 of both, and a signal that finds none is lost:
32 drivers that break rules have as many lines to write, within a moment in which the loop does not run.

Next: `miniport/daemon.py`, whose loop it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Posts:
    """
    The jobs that wait for a loop, in the order in which they were posted.

    Args:
        on_error: told of what a job raises.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._on_error = on_error
        self._waiting: deque[Callable[[], None]] = deque()
        self._woken = False

    def __call__(self, job: Callable[[], None]) -> None:
        """Run a job on the loop's thread soon, or at once while there is no loop, or when it is over."""
        # no lock: a finaliser may come by while this thread is here. Appended before it is looked, so that whoever is woken finds it
        self._waiting.append(job)
        if self._woken:
            return
        self._woken = True
        try:
            if self.loop is not None:
                self.loop.call_soon_threadsafe(self.do)
                return
        except RuntimeError:
            # the loop is closed
            pass
        self.do()

    def do(self) -> None:
        """Do what waits now; what is posted meanwhile comes later."""
        self._woken = False
        for _ in range(len(self._waiting)):
            try:
                job = self._waiting.popleft()
            except IndexError:
                # without a loop, another thread was faster
                return
            try:
                job()
            except Exception as error:
                self._on_error(error)
