"""
What each level of the verifier costs: frames drained from a TAP at levels 1 to 3, against level 0 in the same run.

The drivers are those of `drain.py`: two in Python, one of which keeps and returns every packet. Levels alternate, each run has level 0
directly before and after it, and a round in which that has moved by more than 3 % is not judged.
"""

from __future__ import annotations

import argparse
import json
import sys

from contest import Drain, Found, Setting, contest
from readers import Counter, Keeper, Reader
from taps import Tap, enter_namespace

LEVELS = (1, 2, 3)
MOST_COST = {1: 0.10, 2: 0.20, 3: 0.50}
"""What a level may cost of the frame rate."""


def measure(setting: Setting, size: int = 64) -> list[Found]:
    """Each level, cold, as a ratio to level 0."""
    from vnic.verifier.levels import LEVELS as PRESENT
    from vnic.verifier.levels import set_level

    tap = Tap(size, setting.frames, clock=setting.clock)
    reader = Reader(tap.fd, [Counter(), Keeper()], clock=setting.clock)
    before = PRESENT.process

    def at(level: int) -> Drain:
        def drain(count: int) -> int:
            set_level(level)
            return reader.drain(count)

        return drain

    found = contest(
        tap,
        at(0),
        {str(level): at(level) for level in LEVELS},
        rounds=setting.rounds,
        frames=setting.frames,
        burst=setting.frames,
        tolerance=setting.tolerance,
    )
    set_level(before)
    reader.close()
    tap.close()
    for level, figure in found.items():
        figure.name = f"verifier level {level}"
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="bytes of a frame (64)")
    parser.add_argument("--frames", type=int, default=20_000, help="frames queued for each run (20000)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to judge (9)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    enter_namespace()
    found = measure(Setting(rounds=options.rounds, frames=options.frames), options.size)
    ratios = {level: figure.ratio for level, figure in zip(LEVELS, found, strict=True)}
    within = {level: ratio is not None and ratio >= 1 - MOST_COST[level] for level, ratio in ratios.items()}
    judged = all(figure.judged for figure in found)
    why = next((figure.why for figure in found if not figure.judged), "")
    if options.json:
        answer = {"judged": judged, "ratios": ratios, "within": within} if judged else {"judged": judged, "why": why}
        print(json.dumps(answer | {"size": options.size, "levels": [figure.as_dict() for figure in found]}))
        return 0
    print(f"drain at the levels of the verifier, {options.size}-byte frames, against level 0 in the same run")
    if not judged:
        print(f"not judged: {why}")
        return 1
    for level, ratio in ratios.items():
        bound = f"at least {1 - MOST_COST[level]:.2f} {'kept' if within[level] else 'MISSED'}"
        print(f"  level {level}  {ratio:.3f} of the frame rate of level 0  ({bound})")
    print(f"  medians of {min(figure.rounds for figure in found)} rounds, {max(figure.discarded for figure in found)} discarded for noise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
