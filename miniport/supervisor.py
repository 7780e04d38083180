"""
What passes between the daemon and whoever started it: signals, the ready descriptor, and the messages of a service manager.

Next: `miniport/daemon.py`, which says what each signal does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from miniport.errors import Exit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

ENDING = (signal.SIGTERM, signal.SIGINT)
ASKING = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_EARLY: list[int] = []
"""Those of the asking ones that came before they could be obeyed."""


class StopSignals:
    """
    SIGTERM and SIGINT: the first one asks politely, the second one ends the process at once.

    Attributes:
        first: the name of the first one; empty before it.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.first = ""
        self._stop = stop

    def __call__(self, number: signal.Signals) -> None:
        """Obey one signal."""
        if self.first:
            os._exit(Exit.KILLED_INT if number == signal.SIGINT else Exit.KILLED_TERM)
        self.first = number.name
        self._stop()


def keep_early_signals() -> None:
    """
    Keep what asks for something until `watch_signals`, or it would end the process.

    It is not blocked: the programs that a driver starts would inherit that.
    """
    for number in ASKING:
        signal.signal(number, lambda early, _: _EARLY.append(early))


def watch_signals(
    loop: asyncio.AbstractEventLoop,
    *,
    stop: Callable[[signal.Signals], None],
    reload: Callable[[], None],
    show: Callable[[], None],
    rotate: Callable[[], None],
) -> None:
    """Have signals obeyed on the main thread's loop, also if they came too early, or were blocked when the process was started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, *ASKING))
    for number in ENDING:
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGUSR1, show)
    loop.add_signal_handler(signal.SIGUSR2, rotate)
    for early in dict.fromkeys(_EARLY):
        signal.raise_signal(early)
    _EARLY.clear()


def forget_signals() -> None:
    """In a forked child: the daemon's signals are none of its own."""
    signal.set_wakeup_fd(-1)
    for number in (*ENDING, *ASKING):
        signal.signal(number, signal.SIG_DFL)


def tell_ready(ready_fd: int | None) -> None:
    """Say that frames flow: to a descriptor, which is closed, and to a service manager."""
    if ready_fd is not None:
        with contextlib.suppress(OSError):
            os.set_blocking(ready_fd, False)
            os.write(ready_fd, b"READY=1\n")
        if ready_fd > 2:
            # a standard stream stays: its number would become the next file's that is opened
            os.close(ready_fd)
    notify_manager(f"READY=1\nMAINPID={os.getpid()}")


def notify_manager(message: str) -> None:
    """Tell a service manager, if there is one, how things stand (the datagram protocol of NOTIFY_SOCKET)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + path[1:] if path.startswith("@") else path)
        manager.send(message.encode())
