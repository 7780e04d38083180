"""
The two sides of every rule: one driver that breaks it is named, with its line, and changes nothing; one that just does not stays unnoticed.
"""

from __future__ import annotations

from collections import Counter

import pytest
from verifier.bench import COUNTS_VIEWS, Bench, Case, Here, Keeper, frame, look, run
from verifier.cases.table import CASES, LIBRARYS_OWN
from verifier.good_run import Run

from vnic import COMPILED, Packet
from vnic.status import ContractViolation
from vnic.verifier.rules import DOUBLE_RETURN, RULES

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
    """Uncompiled, a tenth of that; ten million by `scripts/long good`."""
    frames = 100_000 if COMPILED else 10_000
    done = Run(frames)
    assert done.records == []
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
