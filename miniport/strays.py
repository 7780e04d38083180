"""
What drivers leave lying about: exceptions that nobody caught, output, threads and children.

Next: `miniport/reports.py`, which makes lines of them.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from miniport.reports import Output

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from miniport.log import EventLog
    from miniport.reports import Reports


def catch_strays(loop: asyncio.AbstractEventLoop, log: EventLog, reports: Reports, post: Callable[[Callable[[], None]], None]) -> Output:
    """
    Make a line in the log of an exception that nobody caught, in a driver's thread or finaliser, and of what drivers print.

    Returns:
        What the drivers print to.
    """
    threading.excepthook = lambda args: reports.stray(f"thread {args.thread.name if args.thread else 'unknown'}", args.exc_value)
    sys.unraisablehook = lambda args: reports.stray("finaliser", args.exc_value)
    loop.set_exception_handler(lambda _, context: reports.stray("control", context.get("exception")))
    output = sys.stderr = Output(log, post)
    return output


def left_behind() -> list[str]:
    """Name the threads and children of drivers that the interpreter would wait for."""
    mine = (threading.main_thread(), threading.current_thread())
    left = [thread.name for thread in threading.enumerate() if thread not in mine and not thread.daemon]
    children = sys.modules.get("multiprocessing.process")
    return left + ([child.name for child in children.active_children()] if children is not None else [])
