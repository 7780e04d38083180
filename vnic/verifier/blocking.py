"""
Calls that wait, made from a handler: rule 72. The interpreter tells of them by its audit events.

From verifier level 2 on, and only once asked for: an audit hook stays for as long as the process lives.

Next: `vnic/verifier/rules.py`.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import Any, SupportsIndex

from vnic.context import DISPATCH, here
from vnic.steps import now_ns
from vnic.verifier import rules

BLOCKING: dict[str, str] = {
    "time.sleep": "sleeps",
    "open": "opens a file",
    "socket.connect": "connects a socket",
    "socket.bind": "binds a socket",
    "socket.getaddrinfo": "looks a name up",
    "socket.gethostbyname": "looks a name up",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.fork": "starts a process",
    "shutil.copyfile": "copies a file",
}
"""The audit events that are told of, and in which words."""

_telling = threading.local()
_watching = False


def watch_blocking_calls() -> None:
    """
    Begin to listen, once and for all.

    Before Python 3.13 `time.sleep` tells nobody: then it is replaced by one that does. A module that took it by name before sleeps unseen.
    """
    global _watching  # noqa: PLW0603 - a process has its hook or has it not
    if _watching:
        return
    _watching = True
    sys.addaudithook(_heard)
    gc.callbacks.append(_collected)
    if sys.version_info < (3, 13):
        quiet = time.sleep

        def sleep(seconds: float | SupportsIndex, /) -> None:
            sys.audit("time.sleep", seconds)
            quiet(seconds)

        time.sleep = sleep


def _collected(phase: str, info: dict[str, int]) -> None:
    """The collector of garbage looks at everything: it takes the thread that happens to be there, and no driver is slow for that."""
    if info["generation"] < 2:
        return
    context = here()
    if phase == "start":
        context.pause_began_ns = now_ns()
    else:
        context.pauses.append((context.pause_began_ns, now_ns()))


def _heard(event: str, _arguments: tuple[Any, ...]) -> None:
    what = BLOCKING.get(event)
    if what is None:
        return
    context = here()
    if context.irql < DISPATCH or context.handler is None or getattr(_telling, "now", False):
        return
    binding = context.binding
    if binding is None or binding.verifier_level < 2:
        return
    if sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
        # a module that is needed for the first time, perhaps by the library
        return
    # telling of it may open files itself
    _telling.now = True
    try:
        binding.broke(rules.BLOCKING_CALL, f"{context.handler} {what} ({event})", None)
    finally:
        _telling.now = False
