"""
Drivers that do strange things to the process: fork, print, trace, block signals, leave threads behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

from vnic import Packet, ProtocolDriver

LONGEST_S = 60.0


class Strange(ProtocolDriver):
    """Do it once, at the first frame."""

    done = False

    def receive_packet(self, packet: Packet) -> int:
        if not self.done:
            self.done = True
            self.act()
        return 0

    def act(self) -> None:
        """What is strange."""


class Forks(Strange):
    """Leave a child that waits, and write its pid to a file."""

    def __init__(self, *, file: str) -> None:
        self.file = file

    def act(self) -> None:
        child = os.fork()
        if child == 0:
            time.sleep(LONGEST_S)
            os._exit(0)
        Path(self.file).write_text(str(child))


class ForksAndReturns(Strange):
    """Leave a child that goes on as if it were the daemon."""

    def act(self) -> None:
        os.fork()


class HasChild(Strange):
    """Leave a child of the standard library's making."""

    def act(self) -> None:
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONGEST_S,)).start()


class Prints(Strange):
    """Print terminal escapes, a broken line and a long one."""

    def act(self) -> None:
        print("\x1b[31mred\x1b[0m", "two\nlines", "x" * 1000, file=sys.stderr)
        sys.stderr.write("no end of line")


class Traces(Strange):
    """Break the data thread with a trace function that raises."""

    def act(self) -> None:
        sys.settrace(lambda *_: 1 / 0)  # type: ignore[arg-type]


class LeavesThread(Strange):
    """Leave a thread behind that the interpreter would wait for."""

    def act(self) -> None:
        threading.Thread(target=time.sleep, args=(LONGEST_S,), name="left behind", daemon=False).start()


class BlocksSignals(Strange):
    """Block the signals that stop the daemon, before it starts."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


class ClosesTap(Strange):
    """Close the descriptor that the daemon reads."""

    def act(self) -> None:
        os.close(self.binding.adapter.fd)
