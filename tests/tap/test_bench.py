"""
The bench runs on a real TAP, prints its table, writes what it found, and does not judge on a machine that is too noisy for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = Path(__file__).parents[2] / "scripts/measure"
SHORT = ("--rounds", "3", "--frames", "400", "--warm", "100", "--cold", "400")

pytestmark = pytest.mark.tap


def bench(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, MEASURE / program, *options], capture_output=True, text=True, timeout=110)


def test_the_bench_measures_drivers_of_each_kind_against_the_c_loop(tmp_path: Path) -> None:
    only = ("--only", "drain", "--only", "verifier", "--only", "memory")
    done = bench("figures.py", *SHORT, "--tolerance", "1000", *only, "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    figures = {row["name"]: row for row in json.loads((tmp_path / "figures.json").read_text())["figures"]}
    for heat in ("warm", "cold"):
        for size in (64, 1514):
            row = figures[f"drain {size} B {heat}, compiled counter"]
            assert row["judged"]
            assert row["rounds"] >= 3
            assert 0 < row["ratio"] < 100
    assert figures["verifier level 1"]["reference"] == "level 0"
    assert figures["memory per million frames"]["more"]["bytes"] == 0
    assert done.stdout.count("drain 64 B") == 2 * done.stdout.count("drain 64 B warm") > 0


def test_what_cannot_be_judged_is_not_and_the_exit_status_says_so() -> None:
    done = bench("figures.py", *SHORT, "--tolerance", "-1", "--only", "pools")
    assert done.returncode == 1, done.stderr
    assert "not judged: 1 of 1" in done.stdout
    assert "the reference moved by more than -100% in 12 of 12 rounds" in done.stdout


def test_the_cost_of_a_binding_is_found_between_1_and_64() -> None:
    done = bench("figures.py", *SHORT, "--tolerance", "1000", "--only", "bindings", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["figures"]
    assert list(row["more"]["us"]) == ["1", "2", "4", "8", "16", "32", "64"]
    assert row["more"]["us"]["64"] > row["more"]["us"]["1"]


def test_other_readers_are_measured_or_it_is_said_that_they_are_not_installed() -> None:
    done = bench("figures.py", *SHORT, "--tolerance", "1000", "--only", "peers", "--json")
    figures = {row["name"]: row for row in json.loads(done.stdout)["figures"]}
    assert figures["against os.read in a Python loop"]["ratio"] > 0
    assert figures["against scapy TunTapInterface, raw"]["ratio"] > 0
    assert all(row["judged"] or row["why"].startswith("not installed: ") for row in figures.values())


def test_the_bench_of_the_verifier_prints_each_level() -> None:
    done = bench("verifier.py", "--rounds", "3", "--frames", "400")
    assert done.returncode in (0, 1), done.stderr
    assert "of the frame rate of level 0" in done.stdout or "not judged: " in done.stdout


def test_the_instructions_of_a_frame_are_those_of_its_parts() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind: apt install valgrind")
    done = bench("instructions.py", "--only", "compiled", "--json")
    assert done.returncode in (0, 1), done.stderr
    parts = json.loads(done.stdout)["per_frame"]["compiled"]
    assert parts.pop("all") == pytest.approx(sum(parts.values()), abs=0.5)
    assert all(count > 0 for count in parts.values())
