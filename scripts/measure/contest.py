"""
Readers of one TAP take turns, and each is compared with a reference directly before and after it.

Only ratios mean anything on a machine that changes its speed. When the reference itself has moved by more than 3 % around a turn, that
turn is not judged; when too few turns are left, nothing is.

Next: `readers.py`, the readers that are vnic.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from taps import NOISE, Tap

Drain = Callable[[int], int]
"""Takes so many frames that are queued already; answers the nanoseconds it took."""
IN_A_ROW = 10
"""Bursts between two changes of the reader: few, so that all meet the same machine; several, so that each has its code in the cache."""


@dataclass(frozen=True)
class Setting:
    """
    How much is measured.

    Attributes:
        rounds: how many turns of each are to be judged.
        frames: frames of one turn, at least.
        warm: frames in flight at a time, when they are to be in the cache still.
        cold: and when they are not to be.
        sizes: bytes of a frame.
        tolerance: how far the reference may move.
        clock: what is timed by: the processor time of this thread, because other programs count less in it.
    """

    rounds: int = 9
    frames: int = 20_000
    warm: int = 400
    cold: int = 50_000
    sizes: tuple[int, ...] = (64, 1514)
    tolerance: float = NOISE
    clock: int = time.CLOCK_THREAD_CPUTIME_ID


@dataclass
class Found:
    """
    One figure, or why there is none.

    Attributes:
        name: whose it is.
        judged: whether it was measured at all.
        ratio: how many times as fast as the reference.
        us: microseconds per frame.
        reference_us: the reference's, around it.
        rounds: how many were judged.
        discarded: how many were not, because the reference moved.
        noise: by how much the reference moved around a turn, the median of all.
        why: why nothing was judged, or what else there is to say.
        more: further numbers.
    """

    name: str
    judged: bool = False
    ratio: float | None = None
    us: float | None = None
    reference_us: float | None = None
    rounds: int = 0
    discarded: int = 0
    noise: float | None = None
    why: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What is known, for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "", {})}


def judge(name: str, turns: list[tuple[float, float, float]], tolerance: float, least: int) -> Found:
    """
    Make one figure of many turns.

    Args:
        name: whose.
        turns: the reference's cost before, the cost, and the reference's after; nanoseconds per frame.
        tolerance: how far the reference may move.
        least: with fewer turns left, nothing is judged.
    """
    moved = [abs(after - before) / min(after, before) for before, _, after in turns]
    kept = [turn for turn, noise in zip(turns, moved, strict=True) if noise <= tolerance]
    found = Found(name, rounds=len(kept), discarded=len(turns) - len(kept), noise=round(statistics.median(moved), 4) if moved else None)
    if len(kept) < least:
        found.why = f"the reference moved by more than {tolerance:.0%} in {found.discarded} of {len(turns)} rounds"
        return found
    found.judged = True
    found.ratio = round(statistics.median((before + after) / 2 / cost for before, cost, after in kept), 3)
    found.us = round(statistics.median(cost for _, cost, _ in kept) / 1000, 3)
    found.reference_us = round(statistics.median((before + after) / 2 for before, _, after in kept) / 1000, 3)
    return found


def contest(
    tap: Tap,
    reference: Drain,
    others: Mapping[str, Drain],
    *,
    rounds: int,
    frames: int,
    burst: int,
    tolerance: float = NOISE,
    patience: int = 4,
) -> dict[str, Found]:
    """
    Let them take turns: reference, one, reference, another, ..., reference.

    Args:
        tap: whose queue is filled before each turn.
        reference: with whom they are compared.
        others: who is compared.
        rounds: how many turns of each are to be judged.
        frames: frames of one turn.
        burst: frames in flight at a time. A turn of many bursts is interleaved with the others, some bursts at a time.
        tolerance: how far the reference may move.
        patience: how many times as many rounds are tried, when some cannot be judged.

    Returns:
        A figure for each of the others.
    """
    line: list[tuple[str, Drain]] = []
    for name, drain in others.items():
        line += [("", reference), (name, drain)]
    line.append(("", reference))
    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in others}

    def play() -> list[float]:
        taken = [0] * len(line)
        played = 0
        while played < frames:
            for position, (_, drain) in enumerate(line):
                for _ in range(IN_A_ROW if burst < frames else 1):
                    sent = tap.fill(burst)
                    if sent != burst:
                        raise SystemExit(f"bench: the queue of {tap.name} took {sent} of {burst} frames")
                    taken[position] += drain(sent)
            played += burst * (IN_A_ROW if burst < frames else 1)
        return [each / played for each in taken]

    def quiet(name: str) -> int:
        return sum(abs(after - before) <= tolerance * min(after, before) for before, _, after in turns[name])

    play()
    for _ in range(patience * rounds):
        found = play()
        for position, (name, _) in enumerate(line):
            if name:
                turns[name].append((found[position - 1], found[position], found[position + 1]))
        if all(quiet(name) >= rounds for name in turns):
            break
    return {name: judge(name, turns[name], tolerance, max(3, rounds // 3)) for name in others}
