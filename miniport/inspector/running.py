"""
Views of what runs: `threads`, `locks`.

Next: `miniport/inspector/doctor.py`, which draws conclusions.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from miniport.drivers import file_of
from miniport.log import escape
from vnic.context import contexts
from vnic.locks import Irql, SpinLock

if TYPE_CHECKING:
    from types import FrameType

    from miniport.inspector.subject import Subject
    from vnic.context import Context

STUCK_S = 0.5
DEEPEST = 8
MAX_THREADS = 200


def threads(subject: Subject) -> dict[str, Any]:
    """Each thread: whose handler it runs, since when, and its stack if it is stuck there."""
    known = {context.ident: context for context in contexts()}
    frames = sys._current_frames()
    rows = [row_of(subject, thread, known.get(thread.ident or 0), frames.get(thread.ident or 0)) for thread in threading.enumerate()]
    rows.sort(key=lambda row: (not row["stuck"], row["handler"] is None, row["thread"]))
    return {"name": subject.name, "answers": subject.answers, "threads": rows[:MAX_THREADS], "more": max(0, len(rows) - MAX_THREADS)}


def row_of(subject: Subject, thread: threading.Thread, context: Context | None, frame: FrameType | None) -> dict[str, Any]:
    """One thread."""
    data_thread = thread.ident in subject.data_threads
    busy = context is not None and context.handler is not None
    elapsed = elapsed_of(subject, context)
    stuck = thread.ident in subject.late or elapsed >= STUCK_S
    binding = context.binding if context is not None else None
    return {
        "thread": thread.name,
        "ident": thread.ident,
        "data_thread": data_thread,
        "irql": Irql(context.irql).name if context is not None else "PASSIVE",
        "driver": binding.name if binding is not None else None,
        "handler": context.handler if context is not None and busy else None,
        "calls": context.calls if context is not None else 0,
        "elapsed_s": round(elapsed, 3),
        "locks": [str(lock.name) for lock in context.held] if context is not None else [],
        "where": line_of_driver(subject, frame) if busy or stuck else "",
        "stuck": stuck,
        "stack": stack_of(frame) if stuck else [],
    }


def elapsed_of(subject: Subject, context: Context | None) -> float:
    """For how long a thread has been seen in one and the same call of a handler."""
    if context is None or context.handler is None:
        return 0.0
    calls, since = subject.seen.get(context.ident, (-1, 0.0))
    seen = max(0.0, time.monotonic() - since) if calls == context.calls else 0.0
    return max(seen, subject.hanging.get(context.ident, 0) / 1e9)


def line_of_driver(subject: Subject, frame: FrameType | None) -> str:
    """The innermost line of a bound driver's file on a stack, "file:line"; empty if there is none."""
    files = {file_of(type(binding.driver)) for binding in subject.stack.bindings}
    while frame is not None:
        if frame.f_code.co_filename in files:
            return f"{escape(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def stack_of(frame: FrameType | None) -> list[str]:
    """The innermost frames of a stack, "file:line function", the innermost first."""
    lines: list[str] = []
    while frame is not None and len(lines) < DEEPEST:
        lines.append(f"{escape(frame.f_code.co_filename)}:{frame.f_lineno} {escape(frame.f_code.co_name)}")
        frame = frame.f_back
    return lines


def locks(subject: Subject) -> dict[str, Any]:
    """Every lock that a thread holds, and which locks have been acquired after which."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    rows, order = [], set()
    for context in contexts():
        for place, lock in enumerate(context.held):
            rows.append(
                {
                    "lock": str(lock.name),
                    "kind": type(lock).__name__,
                    "thread": names.get(context.ident, str(context.ident)),
                    "driver": context.binding.name if context.binding is not None else None,
                    "irql": Irql(context.irql).name,
                    "after": [str(earlier.name) for earlier in context.held[:place]],
                }
            )
            if isinstance(lock, SpinLock):
                order |= {(str(lock.name), str(later.name)) for later in list(lock._later)}
    return {"name": subject.name, "level": subject.stack.adapter.verifier_level, "locks": rows, "order": sorted(order)}
