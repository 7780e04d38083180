"""
The two sides of every rule: one driver that breaks it is named, with its line, and changes nothing; one that just does not stays unnoticed.
"""

from __future__ import annotations

import json
import re
import select
import time
from collections import Counter

import pytest
from verifier.bench import COUNTS_VIEWS, Bench, Case, Here, Keeper, frame, look, run
from verifier.cases.table import CASES, LIBRARYS_OWN
from verifier.good_run import Run

from vnic import COMPILED, Packet, ProtocolDriver
from vnic.status import ContractViolation
from vnic.verifier.records import RECORDS
from vnic.verifier.rules import DOUBLE_RETURN, HANDLER_SLOW, RULES

every_case = pytest.mark.parametrize("case", CASES, ids=repr)


def require_views(case: Case) -> None:
    """Skip what cannot be seen here."""
    if case.views and not COUNTS_VIEWS:
        pytest.skip("views are counted by the compiled core, or from Python 3.12 on")


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert sorted([*(case.rule.id for case in CASES), *LIBRARYS_OWN]) == sorted(rule.id for rule in RULES)


@every_case
def test_the_bad_driver_is_named_with_its_line(case: Case) -> None:
    require_views(case)
    seen = run(case, case.bad)
    here = Here.of(case.bad)
    told = [(record["id"], record["driver"], record["where"]) for record in seen.records if record["id"] not in case.also]
    assert told == [(case.rule.id, case.culprit, f"{here.file}:{here.line}")]
    assert {error.rule.id for error in seen.errors if isinstance(error, ContractViolation)} <= {case.rule.id}
    assert seen.sums == []


@every_case
def test_the_first_record_is_enough(case: Case) -> None:
    """Whose fault, which line, what to do, where the packet came from; bounded, and printable."""
    require_views(case)
    record = next(record for record in run(case, case.bad).records if record["id"] == case.rule.id)
    text = json.dumps(record, ensure_ascii=False)
    assert len(text) <= 4096
    assert text.isascii()
    assert text.isprintable()
    assert {"rule", "class", "action", "severity", "driver", "detail", "where", "thread", "t_wall", "remedy"} <= record.keys()
    if "packet" in record:
        assert record["pool"]["name"]
        assert re.search(r"\.py:\d+$", record["alloc"]["site"])


@pytest.mark.parametrize("case", [case for case in CASES if case.rule.id in ("01", "05", "07")], ids=repr)
def test_a_return_too_many_names_the_return_before(case: Case) -> None:
    (record,) = run(case, case.bad).records
    here = Here.of(case.bad)
    assert record["last"]["op"] == "return"
    assert record["last"]["site"] == f"{here.file}:{here.line - 1}"


@pytest.mark.parametrize("case", [case for case in CASES if case.refuses], ids=repr)
@pytest.mark.parametrize("level", [0, None, 3], ids=["level 0", "own level", "level 3"])
def test_a_refused_call_changes_nothing(case: Case, level: int | None) -> None:
    seen = run(case, case.bad, level)
    assert seen.before is not None
    assert seen.after is not None
    assert seen.after == seen.before
    assert bool(seen.records) is (level != 0)


@pytest.mark.parametrize("case", [case for case in CASES if case.level > 1], ids=repr)
def test_what_is_looked_for_from_a_level_on_is_not_told_below_it(case: Case) -> None:
    assert case.rule.id not in [record["id"] for record in run(case, case.bad, case.level - 1).records]


@every_case
@pytest.mark.parametrize("level", [None, 3], ids=["own level", "level 3"])
def test_the_good_driver_stays_unnoticed(case: Case, level: int | None) -> None:
    seen = run(case, case.good, level)
    assert [record for record in seen.records if record["id"] not in case.also] == []
    assert seen.errors == []
    assert seen.missing == []
    assert seen.sums == []


def test_no_driver_stands_on_both_sides() -> None:
    assert {case.bad for case in CASES} & {case.good for case in CASES} == set()
    assert Counter(case.rule.id for case in CASES).most_common(1)[0][1] == 1


def test_a_hundred_thousand_frames_for_all_good_receivers_leave_no_record() -> None:
    """
    Uncompiled, a tenth of that; ten million by `scripts/long good`.

    A virtual machine may stand still for 10 milliseconds, and count them as the thread's: whoever is being asked then is called slow. That
    hits another one each time, so that all frames are given anew then, and none may be told of for anything.
    """
    frames = 100_000 if COMPILED else 10_000
    slow: list[str] = []
    done = Run(frames)
    while done.slow and len(done.slow) == len(done.records) and len(slow) < 3 and set(done.slow).isdisjoint(slow):
        slow += done.slow
        done = Run(frames)
    assert (done.records, slow if done.records else []) == ([], [])
    assert done.wrong == []
    assert done.counters["rx_delivered"] == frames


class ReturnsInAnyOrder(Keeper):
    """Promises two returns of each packet, and makes them late, backwards, in one call."""

    hold_limit = 60.0

    def receive_packet(self, packet: Packet) -> int:
        self.kept += [packet, packet]
        return 2

    def receive_complete(self) -> None:
        if len(self.kept) == 8:
            self.kept.reverse()
            super().receive_complete()


def test_what_is_no_rule_is_never_told() -> None:
    """Another order, several at once, more than one promise, a long hold within the limit, one driver on two adapters."""
    case = Case(DOUBLE_RETURN, ReturnsInAnyOrder, ReturnsInAnyOrder, frame, level=3)
    with Bench(case, ReturnsInAnyOrder) as one, Bench(case, ReturnsInAnyOrder) as other:
        for bench in (one, other):
            bench.bind()
            bench.give(3)
        look(50)
        for bench in (one, other):
            bench.give(1)
        assert (one.records, one.errors, other.errors) == ([], [], [])
        assert (one.pool.usage, other.pool.usage) == (0, 0)
        one.end()
        other.end()


class Works(ProtocolDriver):
    """Works for each frame, measured by the processor; it is slow if that is more than 10 milliseconds."""

    work_s = 0.006

    def receive_packet(self, packet: Packet) -> int:
        end = time.thread_time() + self.work_s
        while time.thread_time() < end:
            pass
        return 0


class WorksLong(Works):
    work_s = 0.03


class IsKeptFromRunning(ProtocolDriver):
    """Does next to nothing, and that takes long: as on a machine that has other things to do."""

    def receive_complete(self) -> None:
        select.select([], [], [], 0.03)


def slow() -> set[tuple[str, str]]:
    """Whose handlers were said to be slow, and how bad that is."""
    return {(record["driver"], record["severity"]) for record in RECORDS.all() if record["id"] == HANDLER_SLOW.id}


def test_a_driver_that_is_kept_from_running_is_not_slow_whatever_the_others_did_before() -> None:
    case = Case(HANDLER_SLOW, Works, Works, frame, level=2, others=(IsKeptFromRunning,))
    with Bench(case, Works) as bench:
        bench.bind()
        bench.give(4)
        assert (slow(), bench.errors) == (set(), [])
        bench.end()


def test_a_driver_that_works_long_is_slow_also_behind_others() -> None:
    """Unless the machine kept the thread from running before, in the same batch: then nobody can tell, and another batch is looked at."""
    case = Case(HANDLER_SLOW, WorksLong, WorksLong, frame, level=2, others=(Works, IsKeptFromRunning))
    with Bench(case, WorksLong) as bench:
        bench.bind()
        for _ in range(50):
            bench.give()
            if slow():
                break
        assert slow() == {("driver", "warning")}
        bench.end()
