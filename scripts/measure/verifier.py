"""
What each level of the verifier costs: frames drained from a TAP at levels 1 to 3, against level 0 in the same run.

The drivers are those of `drain.py`: two in Python, one of which keeps and returns every packet. Levels alternate, each run has level 0
directly before it, and a round in which the bare C loop has moved by more than 3 % is not judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

from drain import NOISE, Bench, enter_namespace

LEVELS = (1, 2, 3)
MOST_COST = {1: 0.10, 2: 0.20, 3: 0.50}
"""What a level may cost of the frame rate."""


def measure(bench: Bench, rounds: int) -> dict[str, object]:
    """Interleave; answer the median of the ratios of each level, and whether it is within its bound."""
    from vnic.verifier.levels import set_level

    ratios: dict[int, list[float]] = {level: [] for level in LEVELS}
    bench.run_c(), bench.run_vnic()
    tried, before = 0, bench.run_c()
    while min(map(len, ratios.values())) < rounds and tried < 6 * rounds:
        tried += 1
        found = {}
        for level in LEVELS:
            set_level(0)
            base = bench.run_vnic()
            set_level(level)
            found[level] = base / bench.run_vnic()
        after = bench.run_c()
        if abs(after - before) <= NOISE * min(after, before):
            for level, ratio in found.items():
                ratios[level].append(ratio)
        before = after
    judged = min(map(len, ratios.values()))
    if judged < max(3, rounds // 3):
        return {"judged": False, "why": f"the floor moved by more than 3 % in {tried - judged} of {tried} rounds"}
    medians = {level: round(statistics.median(found), 3) for level, found in ratios.items()}
    within = {level: medians[level] >= 1 - MOST_COST[level] for level in LEVELS}
    return {"judged": True, "rounds": judged, "discarded": tried - judged, "ratios": medians, "within": within}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="bytes of a frame (64)")
    parser.add_argument("--frames", type=int, default=20_000, help="frames queued for each run (20000)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to judge (9)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    enter_namespace()
    result = measure(Bench(options.size, options.frames), options.rounds)
    if options.json:
        print(json.dumps(result | {"size": options.size}))
        return 0
    print(f"drain at the levels of the verifier, {options.size}-byte frames, against level 0 in the same run")
    if not result["judged"]:
        print(f"not judged: {result['why']}")
        return 1
    ratios, within = result["ratios"], result["within"]
    assert isinstance(ratios, dict)
    assert isinstance(within, dict)
    for level, ratio in ratios.items():
        bound = f"at least {1 - MOST_COST[level]:.2f} {'kept' if within[level] else 'MISSED'}"
        print(f"  level {level}  {ratio:.3f} of the frame rate of level 0  ({bound})")
    print(f"  medians of {result['rounds']} rounds, {result['discarded']} discarded for noise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
