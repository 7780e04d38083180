"""
The programs that measure packets run and print what they say; only counts are looked at, never a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from vnic import COMPILED

MEASURE = Path(__file__).parents[2] / "scripts/measure"
SHORT = ("--count", "128", "--rounds", "3", "--tolerance", "100000")


def run(program: str, *options: str) -> str:
    """Run a program; answers what it prints."""
    done = subprocess.run([sys.executable, MEASURE / program, *options], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def hold(low_water: int) -> list[dict[str, Any]]:
    """What the pool and both drivers came to, longer and longer delays in order."""
    return [row for row in json.loads(run("hold.py", "--frames", "800", "--json")) if row["low_water"] == low_water]


def column(rows: list[dict[str, Any]], name: str) -> list[int]:
    return [row[name] for row in rows]


def test_the_bench_of_packets_prints_a_table_of_each_kind() -> None:
    lines = run("packets.py", *SHORT).splitlines()
    assert lines[0].startswith(f"packets, {'compiled' if COMPILED else 'uncompiled'} core")
    assert sum(line.startswith("  medians of 3 rounds, ") for line in lines) == 7
    for statement in ("S002-24", "S004-11", "S004-13"):
        assert any(statement in line for line in lines)


def test_the_bench_of_packets_says_when_the_machine_is_too_noisy() -> None:
    done = subprocess.run(
        [sys.executable, MEASURE / "packets.py", "--count", "128", "--rounds", "3", "--tolerance", "-1"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.count("not judged: the machine was not the same to -1% in 18 of 18 rounds") == 7


def test_what_is_kept_is_not_allocated_again() -> None:
    found = json.loads(run("packets.py", *SHORT, "--json"))["allocated"]
    assert list(found["free and allocate everything"].values()) == [1000, 1000, 1000]
    assert list(found["keep all, reinitialise"].values()) == [0, 0, 0]


def test_s003_06_delay_takes_first_the_headroom_of_the_pool_and_then_frames_that_could_be_kept() -> None:
    rows = hold(low_water=8)
    free, lent = column(rows, "fewest_free"), column(rows, "resources")
    assert free == sorted(free, reverse=True)
    assert free[0] > free[-1] == 8
    assert lent == sorted(lent)
    assert (lent[0], column(rows, "rcv_no_buffer")) == (0, [0] * len(rows))
    assert lent[-1] > 0
    assert column(rows, "other_saw") == [800] * len(rows)


def test_s003_06_without_packets_for_copying_delay_loses_frames_for_every_driver() -> None:
    rows = hold(low_water=0)
    lost = column(rows, "rcv_no_buffer")
    assert lost == sorted(lost)
    assert (lost[0], column(rows, "resources")) == (0, [0] * len(rows))
    assert lost[-1] > 0
    assert [row["other_saw"] + row["rcv_no_buffer"] for row in rows] == [800] * len(rows)
