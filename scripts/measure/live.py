"""
Frames that come while they are read: a C sender on the other core that does not wait, and readers that ask again and again.

Next: `peers.py`, other people's readers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

from contest import Found, Setting, judge
from drains import kinds
from readers import Reader
from taps import Tap

WINDOW_NS = 200_000_000
ReadFor = Callable[[int], int]
"""Reads for so many nanoseconds; answers how many frames there were."""


class Sender:
    """A process that sends out of a TAP's other end on one core, between `go` and `pause`."""

    def __init__(self, tap: Tap, core: int) -> None:
        parent = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            os.sched_setaffinity(0, {core})
            os.kill(os.getpid(), signal.SIGSTOP)
            while os.getppid() == parent:
                tap.floor.send_for(tap.sender.fileno(), tap.index, tap.frame, len(tap.frame), WINDOW_NS)
            os._exit(0)
        os.waitpid(self.child, os.WUNTRACED)

    def go(self) -> None:
        os.kill(self.child, signal.SIGCONT)

    def pause(self) -> None:
        os.kill(self.child, signal.SIGSTOP)
        os.waitpid(self.child, os.WUNTRACED)

    def close(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


def take_turns(floor: ReadFor, others: Mapping[str, ReadFor], rounds: int, tolerance: float) -> dict[str, Found]:
    """Windows of the C loop and of the others, in turn, by the time that passes."""

    def cost(read: ReadFor) -> float:
        start = time.monotonic_ns()
        frames = read(WINDOW_NS)
        return (time.monotonic_ns() - start) / max(1, frames)

    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in others}
    for _ in range(rounds):
        before = cost(floor)
        for name, read in others.items():
            found = cost(read)
            after = cost(floor)
            turns[name].append((before, found, after))
            before = after
    return {name: judge(name, each, tolerance, max(3, rounds // 3)) for name, each in turns.items()}


def with_sender(sender: Sender, read: ReadFor) -> ReadFor:
    """Read while it sends; what is left in the queue is read by the next."""

    def both(ns: int) -> int:
        sender.go()
        try:
            return read(ns)
        finally:
            sender.pause()

    return both


def measure(setting: Setting) -> list[Found]:
    """The drivers of `drains.py`, against the C loop on the same live frames."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return [Found("live 64 B", why="one core: a sender would take it from the reader")]
    tap = Tap(64, 1000)
    readers = {name: Reader(tap.fd, make()) for name, make in kinds().items()}
    sender = Sender(tap, cores[1])
    os.sched_setaffinity(0, {cores[0]})
    try:
        found = take_turns(
            with_sender(sender, lambda ns: int(tap.floor.drain_for(tap.fd, ns))),
            {name: with_sender(sender, reader.drain_for) for name, reader in readers.items()},
            2 * setting.rounds,
            setting.tolerance,
        )
    finally:
        sender.close()
        os.sched_setaffinity(0, set(cores))
    for reader in readers.values():
        reader.close()
    tap.close()
    for name, figure in found.items():
        figure.name = f"live 64 B, {name}"
    return list(found.values())
