"""
The bench: what it makes of the times that it took, of what callgrind writes, and of a machine that is too noisy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "measure"))

import figures
import instructions
import speed_page
from contest import Found, judge

# one of its programs has the name of a folder of tests
MEASURE = Path(sys.path.pop(0))
STILL = [(100.0, 200.0, 102.0), (100.0, 125.0, 100.0), (100.0, 250.0, 99.0)]
MOVED = (100.0, 1000.0, 104.0)

CALLGRIND = """
ob=(1) /site/vnic/adapter.so
fl=(1) /nowhere/adapter.c
fn=(1) __pyx_f_receive
10 6400
+2 3200
fi=(2) object.h
537 3200
fe=(1)
* 3200
cob=(2) /lib/libpython3.11.so
cfi=(3) call.c
cfn=(2) PyObject_Call
calls=3200 40
* 99999999
-1 3200

fn=(3) __pyx_f_show
20 3200

ob=(2)
fl=(3)
fn=(2)
40 32000

ob=(4) /lib/libc.so.6
fl=(4) read.c
fn=(4) read
7 640
"""


def test_the_figure_is_the_median_of_the_ratios_to_the_reference_around_each_turn() -> None:
    found = judge("x", STILL, tolerance=0.03, least=3)
    assert (found.judged, found.ratio, found.rounds, found.discarded) == (True, 0.505, 3, 0)
    assert (found.us, found.reference_us) == (0.2, 0.1)


def test_a_turn_around_which_the_reference_has_moved_does_not_count() -> None:
    found = judge("x", [*STILL, MOVED], tolerance=0.03, least=3)
    assert (found.judged, found.ratio, found.rounds, found.discarded) == (True, 0.505, 3, 1)


def test_with_too_few_turns_left_nothing_is_judged_and_it_says_why() -> None:
    found = judge("x", [*STILL[:2], MOVED], tolerance=0.03, least=3)
    assert (found.judged, found.ratio, found.us) == (False, None, None)
    assert found.why == "the reference moved by more than 3% in 1 of 3 rounds"
    assert figures.verdict(found) == "not judged"


@pytest.mark.parametrize(("ratio", "word"), [(1.05, "aim"), (1.04, "kept"), (0.9, "kept"), (0.899, "MISSED")])
def test_a_figure_is_compared_with_what_is_asked_of_it(ratio: float, word: str) -> None:
    assert figures.verdict(Found("drain 64 B warm, compiled counter", judged=True, ratio=ratio)) == word


def test_of_several_processes_the_one_in_the_middle_counts() -> None:
    def found(ratio: float | None, rounds: int = 9) -> Found:
        return Found("x", judged=ratio is not None, ratio=ratio, us=ratio, rounds=rounds, discarded=1, why="" if ratio else "noise")

    def middle(*ratios: float | None) -> Found:
        (answer,) = figures.median_of([[found(ratio)] for ratio in ratios])
        return answer

    one = middle(0.9, 0.8, 0.85)
    assert (one.ratio, one.us, one.rounds, one.discarded, one.more) == (0.85, 0.85, 27, 3, {"ratios": [0.8, 0.85, 0.9]})
    assert (middle(0.9, None, 0.8).ratio, middle(0.9, 0.8).ratio, middle(0.7).ratio) == (0.8, 0.8, 0.7)
    for unsure in (middle(None, 0.9, None), middle(None, 0.9), middle(None)):
        assert (unsure.judged, unsure.why) == (False, "noise")


def test_of_memory_no_byte_may_be_left() -> None:
    words = [figures.verdict(Found(figures.MEMORY, judged=True, more={"bytes": count})) for count in (-16, 0, 1)]
    assert words == ["kept", "kept", "MISSED"]


def test_the_table_names_what_was_asked_and_not_measured_and_what_was_not_judged() -> None:
    noisy = Found("verifier level 1", rounds=1, discarded=8, noise=0.5, why="the reference moved")
    machine = {"core": "compiled", "python": "3", "kernel": "6", "processor": "any", "load": 0}
    text = figures.table(figures.Report([noisy], ["echo 64 B"], machine))
    assert "not judged: 1 of 1" in text
    assert "    echo 64 B" in text.splitlines()
    assert "    the reference moved" in text.splitlines()


def test_every_measure_that_is_there_is_a_function_of_its_module() -> None:
    for place in (figures.MEASURES | figures.AGAINST).values():
        module, _, function = place.partition(":")
        source = MEASURE / f"{module}.py"
        assert not source.exists() or f"\ndef {function}(setting: Setting" in source.read_text()


def test_instructions_count_for_the_library_that_has_them_and_not_for_who_calls() -> None:
    costs = list(instructions.parse(CALLGRIND))
    assert instructions.BATCH * instructions.BATCHES == 6400
    assert instructions.per_frame(costs) == {"all": 8.6, "vnic": 3.5, "driver": 0.0, "python": 5.0, "libc": 0.1}


def test_what_is_inlined_from_a_header_counts_for_the_line_before_it() -> None:
    found: dict[tuple[str, int], int] = {}
    for cost in instructions.parse(CALLGRIND):
        found[cost.function, cost.line] = found.get((cost.function, cost.line), 0) + cost.count
    assert found["__pyx_f_receive", 12] == 3200 + 3200
    assert found["__pyx_f_show", 20] == 3200


@pytest.mark.parametrize(("more", "grown"), [(1.0, 0), (1.012, 1), (0.5, 0)])
def test_a_figure_that_has_grown_is_named(more: float, grown: int) -> None:
    stored = {"toolchain": instructions.toolchain(), "per_frame": {"two": {"all": 2000.0, "vnic": 100.0}}}
    lines = instructions.compare({"two": {"all": 2000.0 * more, "vnic": 100.0}}, stored)
    assert len(lines) == grown
    assert all(line.startswith("two Python drivers, nothing kept: all 2024 ") for line in lines)


def test_another_compiler_may_need_a_tenth_more() -> None:
    stored = {"toolchain": {"python": "2.7"}, "per_frame": {"two": {"all": 1000.0, "vnic": 100.0}}}
    assert instructions.compare({"two": {"all": 1099.0, "vnic": 100.0}}, stored) == []
    assert len(instructions.compare({"two": {"all": 1109.0, "vnic": 100.0}}, stored)) == 1


def test_the_tables_of_the_page_on_speed_are_those_of_what_is_stored() -> None:
    page = speed_page.PAGE.read_text()
    assert page.splitlines() == speed_page.renewed(page).splitlines()
