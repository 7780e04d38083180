"""
A step: what was done to packets, by whom, in which line of code, when.

A step is made for a whole call - a batch that is read, an array that is returned - and each packet of the call points to it. So it
costs one look at the stack for each call, and one store for each packet. The line is looked up only when somebody asks.

Next: `vnic/packet.py`, which points to its steps.
"""

from __future__ import annotations

import os.path
import sys
import time
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

    import cython
else:
    from vnic import _cython as cython

if cython.compiled:
    from cython.cimports.posix.time import clock_gettime, timespec

LIBRARY = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 - compared with names of files, which are text
"""Where the library itself is: its lines are not those of a culprit."""
MONOTONIC, REALTIME, THREAD = time.CLOCK_MONOTONIC, time.CLOCK_REALTIME, time.CLOCK_THREAD_CPUTIME_ID
DEEPEST = 16
HISTORY = 16
"""Steps that a packet remembers from verifier level 3 on."""


class Step:
    """
    What was done, by whom, where, when. Nothing changes hands here.

    Attributes:
        what: "receive", "allocate", "indicate", "answer", "return", "free", "send", "complete", "transfer", "reclaim" or "reinitialize".
        by: who did it: a binding's name, an adapter's or a pool's.
        count: of an answer, the references kept; else 0.
        ns: when, on the monotonic clock.
        thread: on which thread.
    """

    def __init__(self, what: str, by: object, count: int = 0) -> None:
        self._begin(what, by, count)

    def _begin(self, what: str, by: object, count: cython.int) -> None:
        self.what = what
        self.by = by
        self.count = count
        self.ns = _now()
        self.thread = 0
        self._code: CodeType | None = None
        self._at = 0
        self._deeper: list[tuple[CodeType, int]] | None = None

    @property
    def where(self) -> str:
        """The line of code outside the library: "file:line"; "unknown" if there was none."""
        return site(self._code, self._at)

    @property
    def stack(self) -> tuple[str, ...]:
        """The lines that called it, the innermost first; at verifier level 4 only."""
        return () if self._deeper is None else tuple([site(code, at) for code, at in self._deeper])

    def __repr__(self) -> str:
        return f"<Step {self.what} by {self.by} at {self.where}>"


def now_ns() -> int:
    """The monotonic clock, in nanoseconds."""
    return _now()


def _clock(which: cython.int) -> cython.longlong:
    """What a clock shows, in nanoseconds."""
    if cython.compiled:
        moment: timespec
        clock_gettime(which, cython.address(moment))
        return cython.cast(cython.longlong, moment.tv_sec) * 1000000000 + moment.tv_nsec
    else:
        return time.clock_gettime_ns(which)


def _now() -> cython.longlong:
    return _clock(MONOTONIC)


def _wall() -> cython.longlong:
    """The time of day, in nanoseconds."""
    return _clock(REALTIME)


def cpu_ns() -> int:
    """The time that this thread has run, in nanoseconds: what a busy machine takes away is not in it."""
    return _cpu()


def _cpu() -> cython.longlong:
    return _clock(THREAD)


def step(what: str, by: str, level: int = 1, count: int = 0) -> Step:
    """
    Note what is being done now, by the code that called the library.

    Args:
        what: what is done.
        by: who does it.
        level: the verifier level; from 4 on the whole stack is noted.
        count: of an answer, the references kept.
    """
    return _step(what, by, level, count)


def _step(what: str, by: object, level: cython.int, count: cython.int) -> Step:
    # not through __init__, whose arguments would have to be packed
    made: Step = Step.__new__(Step)
    made._begin(what, by, count)
    if cython.compiled:
        made.thread = PyThread_get_thread_ident()
        made._code = vnic_caller(_PREFIX, _PREFIX_SIZE, cython.address(made._at))
    else:
        made.thread = get_ident()
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(LIBRARY):
            frame = frame.f_back
        made._code, made._at = frame.f_code, frame.f_lasti
    if level >= 4:
        made._deeper = deeper()
    return made


def answer_of(by: object, code: CodeType | None, count: cython.int) -> Step:
    """A step that has just ended: a handler has answered how many references it keeps. Its line is the handler's first."""
    made: Step = Step("answer", by, count)
    made.thread = get_ident()
    made._code = code
    return made


def deeper() -> list[tuple[CodeType, int]]:
    """The stack of this thread, the innermost frame first, without the library's own; sixteen frames at most."""
    found = []
    frame = sys._getframe(0)
    while frame is not None and len(found) < DEEPEST:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found


def site(code: CodeType | None, at: int) -> str:
    """Name a place in the code: "file:line"."""
    if code is None:
        return "unknown"
    for first, behind, line in code.co_lines():
        if first <= at < behind and line is not None:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"


if cython.compiled:
    _LIBRARY_BYTES = LIBRARY.encode()
    _PREFIX = _LIBRARY_BYTES
    _PREFIX_SIZE = len(_LIBRARY_BYTES)
