"""
Events, work items, timers and the time.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vnic import ContractViolation, Status, locks
from vnic.locks import Irql, Profile, SpinLock, at_irql, current_irql, in_profile
from vnic.timers import (
    Clock,
    Event,
    Timer,
    TimerThread,
    VirtualClock,
    WorkItem,
    WorkItemThread,
    current_system_time,
    serialized_miniport,
    stall_execution,
    system_timers,
    work_items,
)

PASSIVE, DISPATCH, DIRQL = Irql.PASSIVE, Irql.DISPATCH, Irql.DIRQL
LONG = 10_000


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves work, a timer or a thread behind."""
    locks.counted.clear()
    yield
    assert work_items.drain(LONG)
    assert system_timers.stop_all() == ()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("vnic timers")] == []


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier level 2."""
    monkeypatch.setattr(locks, "checks", 2)


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still."""
    return VirtualClock()


@pytest.fixture
def timers(clock: VirtualClock) -> TimerThread:
    """Timers by that clock."""
    return TimerThread(clock)


def nothing(*_: Any) -> None:
    """A function for timers and work items."""


def broken_by(call: Callable[[], object]) -> str:
    """The rule for which a call is refused."""
    with pytest.raises(ContractViolation) as caught:
        call()
    return caught.value.rule.id


# The time


def test_the_system_time_counts_100_ns_since_1601() -> None:
    before = time.time()
    told = current_system_time() / 1e7 - 11_644_473_600
    assert before - 0.001 <= told <= time.time() + 0.001


def test_a_stall_lasts_as_long_as_it_says_at_any_level() -> None:
    for level in Irql:
        with at_irql(level):
            begin = time.monotonic_ns()
            stall_execution(50)
            assert time.monotonic_ns() - begin >= 50_000
    assert locks.counted == {}


def test_a_stall_of_more_than_50_us_is_refused_at_level_2_and_counted_below(monkeypatch: pytest.MonkeyPatch) -> None:
    stall_execution(51)
    assert locks.counted == {"83": 1}
    monkeypatch.setattr(locks, "checks", 2)
    assert broken_by(lambda: stall_execution(51)) == "83"


# Events


def test_an_event_stays_signalled_until_it_is_reset() -> None:
    event = Event()
    assert not event.wait(1)
    event.set()
    assert [event.wait(1), event.wait(1), event.wait()] == [True, True, True]
    event.reset()
    assert not event.wait(1)


def test_waiting_for_ever_ends_with_the_signal() -> None:
    event, waiting = Event(), threading.Event()
    seen: list[bool] = []

    def wait() -> None:
        waiting.set()
        seen.append(event.wait(0))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert waiting.wait(10)
    assert seen == []
    event.set()
    thread.join(10)
    assert seen == [True]


def test_an_event_is_waited_for_at_passive_and_set_up_to_dispatch(strict: None) -> None:
    event = Event()
    with at_irql(DISPATCH):
        event.set()
        event.reset()
        assert broken_by(lambda: event.wait(1)) == "70"
    with at_irql(DIRQL):
        assert [broken_by(event.set), broken_by(event.reset)] == ["70", "70"]


# Work items


def test_a_work_item_runs_once_at_passive_on_another_thread() -> None:
    ran: list[object] = []
    here = threading.get_ident()
    item = WorkItem(lambda item, context: ran.append((item, context, current_irql(), threading.get_ident() == here)), "context")
    with at_irql(DISPATCH):
        assert item.schedule() is Status.SUCCESS
    assert work_items.drain(LONG)
    assert ran == [(item, "context", PASSIVE, False)]


def test_work_items_run_in_order_on_one_thread_and_once_for_each_time_in_the_queue() -> None:
    ran: list[int] = []
    seen: set[int] = set()
    go = threading.Event()

    def routine(_: WorkItem, number: int) -> None:
        assert go.wait(10)
        ran.append(number)
        seen.add(threading.get_ident())

    blocker, *items = [WorkItem(routine, number) for number in range(50)]
    blocker.schedule()
    for item in items * 2:
        item.schedule()
    assert set(items) <= {*work_items.queued}
    go.set()
    assert work_items.drain(LONG)
    assert (ran, len(seen), work_items.queued) == ([*range(50)], 1, ())


def test_a_routine_may_schedule_its_item_again() -> None:
    ran: list[int] = []

    def routine(item: WorkItem, _: Any) -> None:
        ran.append(len(ran))
        if len(ran) < 3:
            item.schedule()

    WorkItem(routine).schedule()
    assert work_items.drain(LONG)
    assert ran == [0, 1, 2]


def test_a_finished_item_is_kept_by_nobody_but_its_owner() -> None:
    item = WorkItem(nothing)
    gone = weakref.ref(item)
    item.schedule()
    del item
    assert work_items.drain(LONG)
    gc.collect()
    assert gone() is None


def test_a_routine_that_raises_is_counted_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    thread, ran = WorkItemThread(), threading.Event()
    thread.put(WorkItem(lambda _, context: context["missing"], {}))
    thread.put(WorkItem(lambda *_: ran.set()))
    assert thread.drain(LONG)
    assert (ran.is_set(), thread.errors) == (True, 1)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("vnic", "a work item raised")]


def test_waiting_for_work_ends_after_its_time() -> None:
    go = threading.Event()

    def routine(_: WorkItem, context: Any) -> None:
        assert go.wait(10)

    WorkItem(routine).schedule()
    assert not work_items.drain(1)
    go.set()


def test_a_serialized_miniport_is_refused_a_work_item() -> None:
    item = WorkItem(nothing)
    with serialized_miniport():
        with serialized_miniport():
            pass
        assert broken_by(item.schedule) == "86b"
    assert work_items.queued == ()
    assert item.schedule() is Status.SUCCESS


def test_scheduling_at_dirql_is_refused_at_level_2(strict: None) -> None:
    with at_irql(DIRQL):
        assert broken_by(WorkItem(nothing).schedule) == "70"


# Timers by a clock that the test moves


def test_a_timer_runs_once_at_its_time_and_at_dispatch(clock: VirtualClock, timers: TimerThread) -> None:
    ran: list[object] = []
    timer = Timer(lambda context: ran.append((context, current_irql(), clock.now_ns())), "context", timers)
    timer.set(10)
    assert timer in timers.queued
    assert (clock.advance(9, timers), ran) == (0, [])
    assert clock.advance(1, timers) == 1
    assert ran == [("context", DISPATCH, 10_000_000)]
    assert not timers.queued
    assert clock.advance(1000, timers) == 0


def test_under_ce_a_timer_runs_too_and_sees_passive(clock: VirtualClock, timers: TimerThread) -> None:
    seen: list[Irql] = []
    with in_profile(Profile.CE):
        Timer(lambda _: seen.append(current_irql()), timers=timers).set(1)
        clock.advance(1, timers)
    assert seen == [PASSIVE]


def test_a_periodic_timer_runs_again_and_again_until_cancelled(clock: VirtualClock, timers: TimerThread) -> None:
    times: list[int] = []
    timer = Timer(lambda _: times.append(clock.now_ns() // 1_000_000), timers=timers)
    timer.set_periodic(10)
    assert clock.advance(35, timers) == 3
    assert times == [10, 20, 30]
    assert timer.cancel()
    assert clock.advance(100, timers) == 0


def test_turns_that_a_periodic_timer_missed_are_made_up_by_one_late_run(clock: VirtualClock, timers: TimerThread) -> None:
    times: list[int] = []

    def slow(_: Any) -> None:
        times.append(clock.now_ns() // 1_000_000)
        if len(times) == 1:
            clock.advance(25, timers)  # it runs for 25 ms: nothing else runs meanwhile

    Timer(slow, timers=timers).set_periodic(10)
    clock.advance(10, timers)
    clock.advance(30, timers)
    assert times == [10, 35, 40, 50, 60]


def test_setting_a_queued_timer_again_replaces_the_setting(clock: VirtualClock, timers: TimerThread) -> None:
    ran: list[int] = []
    timer = Timer(lambda _: ran.append(clock.now_ns() // 1_000_000), timers=timers)
    timer.set(10)
    timer.set(50)
    assert timers.queued == (timer,)
    clock.advance(100, timers)
    assert ran == [50]
    timer.set_periodic(10)
    timer.set(20)
    clock.advance(100, timers)
    assert ran == [50, 120]


def test_cancel_tells_whether_the_timer_was_queued(clock: VirtualClock, timers: TimerThread) -> None:
    timer = Timer(nothing, timers=timers)
    assert not timer.cancel()
    timer.set(5)
    assert [timer.cancel(), timer.cancel()] == [True, False]
    timer.set(5)
    clock.advance(5, timers)
    assert not timer.cancel()


def test_timers_run_in_the_order_in_which_they_are_due(clock: VirtualClock, timers: TimerThread) -> None:
    ran: list[int] = []
    for ms in (30, 10, 20, 10):
        Timer(ran.append, ms, timers).set(ms)
    assert clock.advance(30, timers) == 4
    assert ran == [10, 10, 20, 30]


def test_a_timer_that_sets_itself_to_nothing_still_lets_time_pass(clock: VirtualClock, timers: TimerThread) -> None:
    timer = Timer(lambda _: timer.set(0), timers=timers)
    timer.set(0)
    assert clock.advance(5, timers) == 5
    assert timers.stop_all() == (timer,)


def test_a_function_that_raises_is_counted_and_the_next_one_runs(
    clock: VirtualClock, timers: TimerThread, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    Timer(lambda context: context["missing"], {}, timers).set(1)
    Timer(ran.append, 1, timers).set(2)
    clock.advance(2, timers)
    assert (ran, timers.errors) == ([1], 1)
    assert [record.getMessage() for record in caplog.records] == ["a timer function raised"]


def test_a_function_that_keeps_a_lock_is_an_error_at_level_2(clock: VirtualClock, timers: TimerThread, strict: None) -> None:
    lock = SpinLock()
    Timer(lambda _: lock.acquire(), timers=timers).set(1)
    clock.advance(1, timers)
    with at_irql(DISPATCH):
        lock.release()
    assert (timers.errors, locks.counted["75"]) == (1, 1)


def test_timers_are_set_and_cancelled_up_to_dispatch(timers: TimerThread, strict: None) -> None:
    timer = Timer(nothing, timers=timers)
    with at_irql(DISPATCH):
        timer.set(1)
        timer.set_periodic(1)
        assert timer.cancel()
    with at_irql(DIRQL):
        assert [broken_by(lambda: timer.set(1)), broken_by(lambda: timer.set_periodic(1)), broken_by(timer.cancel)] == ["70"] * 3


def test_stopping_cancels_all_and_names_what_was_left(clock: VirtualClock, timers: TimerThread) -> None:
    once, often = Timer(nothing, timers=timers), Timer(nothing, timers=timers)
    once.set(5)
    often.set_periodic(5)
    assert timers.stop_all() == (once, often)
    assert (timers.queued, timers.stop_all(), clock.advance(100, timers)) == ((), (), 0)
    once.set(5)
    assert timers.stop_all() == (once,)


# Timers by the machine's clock, on their thread


def test_all_timers_of_an_owner_run_on_one_thread_which_ends_with_them() -> None:
    timers, seen, done = TimerThread(Clock()), set[int](), threading.Semaphore(0)

    def function(_: Any) -> None:
        seen.add(threading.get_ident())
        done.release()

    for ms in range(5):
        Timer(function, timers=timers).set(ms)
    assert all(done.acquire(timeout=10) for _ in range(5))
    assert timers.stop_all() == ()
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_an_earlier_timer_does_not_wait_for_a_later_one() -> None:
    timers, ran = TimerThread(), threading.Event()
    later = Timer(nothing, timers=timers)
    later.set(3_600_000)
    Timer(lambda _: ran.set(), timers=timers).set(1)
    assert ran.wait(10)
    assert timers.stop_all() == (later,)


def test_stopping_waits_for_a_running_function_and_what_it_sets_is_not_queued() -> None:
    timers, running, go = TimerThread(), threading.Event(), threading.Event()
    ended: list[bool] = []

    def function(_: Any) -> None:
        running.set()
        assert go.wait(10)
        timer.set(1)
        ended.append(True)

    timer = Timer(function, timers=timers)
    timer.set(1)
    assert running.wait(10)
    assert not timer.cancel()
    stopped: list[object] = []
    stopping = threading.Thread(target=lambda: stopped.append((timers.stop_all(), ended[:])), daemon=True)
    stopping.start()
    while not timers._stopping:
        assert stopping.is_alive()
    assert stopped == []
    go.set()
    stopping.join(10)
    assert stopped == [((), [True])]
    assert timers.queued == ()


def test_a_function_may_stop_its_own_timers() -> None:
    timers, left = TimerThread(), list[tuple[Timer, ...]]()
    done = threading.Event()

    def function(_: Any) -> None:
        left.append(timers.stop_all())
        done.set()

    timer = Timer(function, timers=timers)
    timer.set_periodic(1)
    assert done.wait(10)
    assert timers.stop_all() == ()
    assert left == [(timer,)]
