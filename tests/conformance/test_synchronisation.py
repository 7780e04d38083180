"""
Synchronisation, statement by statement: levels, spin locks, interrupts, timers, events, work items, interlocked operations.

Each test has the id of its statement in its name. Where a statement holds for the desktop and for Windows CE, it is run for both.
"""

# ruff: noqa: N802 - the ids are written as they are everywhere else

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from vnic import ContractViolation, Packet, PacketPool, Status, locks
from vnic.interrupt import Interrupt, Phase
from vnic.locks import (
    Interlocked,
    InterlockedList,
    Irql,
    Profile,
    ReadWriteLock,
    SpinLock,
    at_irql,
    current_irql,
    held_locks,
    in_profile,
    interlocked_add,
    interlocked_decrement,
    interlocked_increment,
    require_irql,
    require_no_locks,
)
from vnic.timers import Event, Timer, TimerThread, VirtualClock, WorkItem, serialized_miniport, work_items

PASSIVE, DISPATCH, DIRQL = Irql.PASSIVE, Irql.DISPATCH, Irql.DIRQL


@pytest.fixture(autouse=True)
def level_and_locks_are_as_before() -> Iterator[None]:
    """No test leaves a level or a lock behind."""
    locks.counted.clear()
    yield
    assert (current_irql(), held_locks()) == (PASSIVE, ())


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier level 2."""
    monkeypatch.setattr(locks, "checks", 2)


@pytest.fixture(params=Profile, ids=lambda profile: profile.value)
def profile(request: pytest.FixtureRequest) -> Iterator[Profile]:
    """Both profiles."""
    with in_profile(request.param):
        yield request.param


@pytest.fixture
def ce() -> Iterator[None]:
    """The CE profile."""
    with in_profile(Profile.CE):
        yield


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads overtake each other as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def broken_by(call: Callable[[], object]) -> str:
    """The rule for which a call is refused; empty if it is not."""
    try:
        call()
    except ContractViolation as error:
        return error.rule.id
    return ""


def race(count: int, work: Callable[[], object]) -> None:
    """Run the same work on several threads; every one must end, and none may raise."""
    errors: list[BaseException] = []
    ready = threading.Barrier(count)

    def run() -> None:
        try:
            ready.wait(10)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    assert errors == []


class Card:
    """A miniport that notes which handler was called at which level."""

    def __init__(self) -> None:
        self.answer = (True, True)
        self.calls: list[tuple[str, Irql]] = []

    def isr(self) -> tuple[bool, bool]:
        self.calls.append(("isr", current_irql()))
        return self.answer

    def handle_interrupt(self) -> None:
        self.calls.append(("handle", current_irql()))


class MaskedCard(Card):
    """One that can mask its interrupt."""

    def disable_interrupt(self) -> None:
        self.calls.append(("disable", current_irql()))

    def enable_interrupt(self) -> None:
        self.calls.append(("enable", current_irql()))


def running(card: Card, *, request_isr: bool = False) -> Interrupt:
    """The interrupt of a card whose initialize has returned."""
    interrupt = Interrupt(card, request_isr=request_isr)
    interrupt.phase = Phase.RUNNING
    return interrupt


# 3.1 Levels


def test_SYN_01_passive_is_below_dispatch_and_dispatch_below_dirql() -> None:
    assert PASSIVE < DISPATCH < DIRQL


@pytest.mark.parametrize("level", Irql)
def test_SYN_02_a_handler_runs_at_the_level_of_its_kind_and_the_caller_is_back_at_its_own(level: Irql) -> None:
    with at_irql(level):
        assert current_irql() is level
    assert current_irql() is PASSIVE


def test_SYN_02_a_passive_only_call_in_a_dispatch_handler_is_refused(strict: None) -> None:
    with at_irql(DISPATCH):
        assert broken_by(lambda: Event().wait(1)) == "70"
        assert broken_by(SpinLock().free) == "70"
        assert broken_by(lambda: Interrupt(Card())) == "70"


def test_SYN_03_calls_up_to_dispatch_are_allowed_at_passive_and_dispatch_and_refused_at_dirql(strict: None) -> None:
    lock, event, timer = SpinLock(), Event(), Timer(lambda _: None, timers=TimerThread(VirtualClock()))
    calls = (lock.acquire, event.set, event.reset, lambda: timer.set(1), timer.cancel, WorkItem(lambda *_: None).schedule)
    for level, refused in ((PASSIVE, ""), (DISPATCH, ""), (DIRQL, "70")):
        for call in calls:
            with at_irql(level):
                assert broken_by(call) == refused
                if lock.held:
                    lock.release()
    assert work_items.drain(10_000)


def test_SYN_04_under_ce_the_isr_and_synchronize_exclude_each_other_at_no_level(ce: None) -> None:
    card = Card()
    interrupt = running(card, request_isr=True)
    seen: list[object] = []
    assert interrupt.fire()
    assert interrupt.run_deferred()

    def function(_: None) -> bool:
        seen.append((current_irql(), broken_by(interrupt.fire)))
        return True

    assert interrupt.synchronize(function, None)
    assert card.calls == [("isr", PASSIVE), ("handle", PASSIVE)]
    assert seen == [(PASSIVE, "73")]


def test_SYN_05_the_level_belongs_to_the_thread(profile: Profile) -> None:
    seen: list[Irql] = []
    with at_irql(DISPATCH):
        race(1, lambda: seen.append(current_irql()))
        assert current_irql() is (DISPATCH if profile is Profile.NT else PASSIVE)
    assert seen == [PASSIVE]


def test_SYN_05_a_dpr_form_at_passive_is_refused_on_the_desktop_and_not_under_ce(profile: Profile, strict: None) -> None:
    lock = SpinLock()
    refused = "100" if profile is Profile.NT else ""
    assert broken_by(lock.dpr_acquire) == refused
    assert lock.held is (profile is Profile.CE)
    if lock.held:
        lock.dpr_release()


def test_S000_04_under_ce_the_level_is_constant(ce: None) -> None:
    seen = {current_irql()}
    for level in Irql:
        with at_irql(level):
            seen.add(current_irql())
    with SpinLock():
        seen.add(current_irql())
    running(Card()).synchronize(lambda _: seen.add(current_irql()), None)
    assert seen == {PASSIVE}


@pytest.mark.parametrize("order", ["plain", "dpr", "acquire, dpr_release", "dpr_acquire, release"])
def test_S000_05_S001_02_under_ce_the_dpr_forms_do_what_the_plain_forms_do(order: str, ce: None, strict: None) -> None:
    lock, other = SpinLock(), SpinLock()
    acquire = lock.acquire if order in ("plain", "acquire, dpr_release") else lock.dpr_acquire
    release = lock.release if order in ("plain", "dpr_acquire, release") else lock.dpr_release
    trace: list[object] = [broken_by(release)]
    for level in (PASSIVE, DISPATCH):
        with at_irql(level):
            acquire()
            other.acquire()
            trace += [current_irql(), len(held_locks()), broken_by(acquire), broken_by(lock.free)]
            release()
            trace += [current_irql(), len(held_locks()), broken_by(release)]
            other.release()
    assert trace == ["74", *[PASSIVE, 2, "73", "76", PASSIVE, 1, "74"] * 2]
    assert locks.counted == {}


# 3.2 Spin locks


def test_SYN_06_acquire_raises_to_dispatch_and_release_restores_the_level_before(strict: None) -> None:
    lock = SpinLock()
    for level in (PASSIVE, DISPATCH):
        with at_irql(level):
            lock.acquire()
            assert current_irql() is DISPATCH
            lock.release()
            assert current_irql() is level


def test_SYN_06_a_lock_is_initialised_before_any_use_and_again_after_free(profile: Profile) -> None:
    lock = SpinLock()
    lock.free()
    assert broken_by(lock.acquire) == "76"
    lock.allocate()
    assert broken_by(lock.allocate) == "76"
    with lock:
        assert broken_by(lock.free) == "76"


def test_SYN_06_the_two_forms_are_never_crossed(strict: None) -> None:
    lock = SpinLock()
    with at_irql(DISPATCH):
        lock.acquire()
        assert broken_by(lock.dpr_release) == "74b"
        lock.release()
        lock.dpr_acquire()
        assert broken_by(lock.release) == "74b"
        lock.dpr_release()


def test_SYN_06_a_lock_is_not_recursive(profile: Profile) -> None:
    lock = SpinLock()
    with lock:
        assert broken_by(lock.acquire) == "73"


def test_SYN_06_while_a_release_is_missing_nobody_else_gets_the_lock(profile: Profile) -> None:
    lock, asked = SpinLock(), threading.Event()
    got: list[bool] = []

    def wait() -> None:
        asked.set()
        with lock:
            got.append(lock.held)

    lock.acquire()
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert asked.wait(10)
    waiting.join(0.01)
    assert (waiting.is_alive(), got) == (True, [])
    lock.release()
    waiting.join(10)
    assert got == [True]


@pytest.mark.parametrize("form", ["plain", "dpr"])
def test_SYN_06_one_lock_keeps_a_free_list_whole_that_has_no_lock_of_its_own(
    profile: Profile, form: str, eager_switches: None
) -> None:
    lock, size = SpinLock(), 4
    acquire, release = (lock.acquire, lock.release) if form == "plain" else (lock.dpr_acquire, lock.dpr_release)
    free, out = list(range(size)), set[int]()
    bad: list[object] = []

    def change(work: Callable[[], int | None]) -> int | None:
        acquire()
        entry = work()
        if len(free) + len(out) != size or not lock.held:
            bad.append((free[:], set(out), lock.held))
        release()
        return entry

    def take() -> int | None:
        if not free:
            return None
        entry = free[-1]
        current_irql()  # a call is where the interpreter may switch threads
        free.pop()
        out.add(entry)
        return entry

    def put(entry: int) -> None:
        out.remove(entry)
        current_irql()
        free.append(entry)

    def work() -> None:
        with at_irql(DISPATCH):
            for _ in range(1_500):
                entry = change(take)
                if entry is not None:
                    change(lambda entry=entry: put(entry))  # type: ignore[misc]

    race(8, work)
    assert bad == []
    assert sorted(free) == [*range(size)]


def test_SYN_07_out_of_order_the_level_drops_while_a_lock_is_held_and_stays_up_at_the_end() -> None:
    first, second = SpinLock("first"), SpinLock("second")
    with at_irql(PASSIVE):
        levels = []
        for step in (first.acquire, second.acquire, first.release, second.release):
            step()
            levels.append(current_irql())
        assert levels == [DISPATCH, DISPATCH, PASSIVE, DISPATCH]
        assert locks.counted == {"79b": 1}
    assert locks.counted == {"79b": 1, "71": 1}


def test_SYN_07_out_of_order_is_refused_at_level_2_and_the_reverse_order_is_not(strict: None) -> None:
    first, second = SpinLock("first"), SpinLock("second")
    first.acquire()
    second.acquire()
    assert broken_by(first.release) == "79b"
    assert (current_irql(), held_locks()) == (DISPATCH, (first, second))
    second.release()
    first.release()


def test_SYN_07_under_ce_there_is_no_level_to_drop(ce: None, strict: None) -> None:
    first, second = SpinLock("first"), SpinLock("second")
    for step in (first.acquire, second.acquire, first.release, second.release):
        step()
    assert locks.counted == {}


def test_SYN_08_two_locks_in_both_orders_are_refused_before_they_deadlock(profile: Profile, strict: None) -> None:
    first, second = SpinLock("first"), SpinLock("second")
    with first, second:
        pass
    with second:
        assert broken_by(first.acquire) == "78"
        assert held_locks() == (second,)


def test_SYN_09_no_lock_is_held_over_a_call_out_of_the_driver(profile: Profile, strict: None) -> None:
    lock, table = SpinLock(), ReadWriteLock()
    assert broken_by(lambda: require_no_locks("indicate")) == ""
    with lock:
        assert broken_by(lambda: require_no_locks("indicate")) == "80"
    access = table.acquire(write=False)
    assert broken_by(lambda: require_no_locks("indicate")) == "80"
    table.release(access)
    assert broken_by(lambda: require_no_locks("indicate")) == ""


def test_SYN_10_a_spin_lock_in_the_isr_is_refused(strict: None) -> None:
    lock = SpinLock()

    class Wrong(Card):
        def isr(self) -> tuple[bool, bool]:
            with lock:
                return True, True

    assert broken_by(running(Wrong(), request_isr=True).fire) == "70"


@pytest.mark.parametrize("level", [PASSIVE, DISPATCH])
def test_S000_17_S000_18_S001_21_S001_22_the_pool_synchronises_for_who_does_not(
    level: Irql, profile: Profile, eager_switches: None
) -> None:
    pool = PacketPool(8, 64)
    out: dict[int, int] = {}
    bad: list[Packet] = []

    def work() -> None:
        me = threading.get_ident()
        with at_irql(level):
            for _ in range(2_000):
                packet = pool.allocate()
                if packet is None:
                    continue
                if out.setdefault(packet.index, me) != me:
                    bad.append(packet)
                current_irql()
                if out.pop(packet.index, None) != me:
                    bad.append(packet)
                pool.free(packet)

    race(12, work)
    assert bad == []
    assert (pool.usage, pool.available, sum(pool.audit().values())) == (0, 8, 8)
    pool.close()


@pytest.mark.parametrize(("level", "refused"), [(PASSIVE, ""), (DISPATCH, ""), (DIRQL, "70")])
def test_S002_29_S003_25_the_check_behind_a_call_up_to_dispatch(level: Irql, refused: str, strict: None) -> None:
    with at_irql(level):
        assert broken_by(lambda: require_irql(maximum=DISPATCH, what="return_packets")) == refused


# 3.3 Interrupts


def test_SYN_10_synchronize_shares_data_with_the_isr_at_dirql_and_answers(profile: Profile) -> None:
    interrupt = running(Card())
    levels: list[Irql] = []

    def function(answer: int) -> int:
        levels.append(current_irql())
        return answer

    with at_irql(DISPATCH):
        assert interrupt.synchronize(function, 5) is True
        assert interrupt.synchronize(function, 0) is False
        assert current_irql() is (DISPATCH if profile is Profile.NT else PASSIVE)
    assert levels == [DIRQL if profile is Profile.NT else PASSIVE] * 2


def test_SYN_10_the_handler_is_not_queued_while_initialize_runs() -> None:
    card = Card()
    interrupt = Interrupt(card)
    assert (interrupt.fire(), interrupt.run_deferred()) == (True, False)
    interrupt.phase = Phase.RUNNING
    assert (interrupt.fire(), interrupt.run_deferred()) == (True, True)
    assert [name for name, _ in card.calls] == ["isr", "handle"]


def test_SYN_10_one_handler_call_does_the_work_of_several_interrupts(profile: Profile) -> None:
    card = Card()
    interrupt = running(card, request_isr=True)
    assert [interrupt.fire() for _ in range(3)] == [True] * 3
    assert [interrupt.run_deferred() for _ in range(2)] == [True, False]
    assert [name for name, _ in card.calls] == ["isr", "isr", "isr", "handle"]


def test_SYN_11_in_low_power_the_isr_neither_claims_nor_queues() -> None:
    interrupt = running(Card(), request_isr=True)
    interrupt.low_power = True
    assert (interrupt.fire(), interrupt.queued) == (False, False)
    assert locks.counted == {"93b": 1}


def test_SYN_12_an_adapter_without_an_interrupt_polls_by_a_timer() -> None:
    clock = VirtualClock()
    timers = TimerThread(clock)
    frames, taken = list(range(5)), []

    def poll(_: object) -> None:
        taken.append((clock.now_ns() // 1_000_000, frames.pop(0)))
        if not frames:
            timer.cancel()

    timer = Timer(poll, timers=timers)
    timer.set_periodic(10)
    clock.advance(1_000, timers)
    assert taken == [(10, 0), (20, 1), (30, 2), (40, 3), (50, 4)]


def test_SYN_13_a_readable_descriptor_is_an_interrupt_and_a_masked_one_leaves_the_poller(profile: Profile) -> None:
    poller = select.poll()
    near, far = os.pipe()
    os.set_blocking(near, False)
    frames: list[bytes] = []

    class Tap(Card):
        def disable_interrupt(self) -> None:
            poller.unregister(near)

        def handle_interrupt(self) -> None:
            frames.extend(os.read(near, 1) for _ in range(3))

        def enable_interrupt(self) -> None:
            poller.register(near, select.POLLIN)

    interrupt = running(Tap())
    interrupt.enable()
    assert poller.poll(0) == []
    os.write(far, b"abcd")
    assert poller.poll(0) == [(near, select.POLLIN)]
    assert interrupt.fire()
    assert (poller.poll(0), interrupt.fire()) == ([], False)
    assert interrupt.run_deferred()
    assert frames == [b"a", b"b", b"c"]
    assert poller.poll(0) == [(near, select.POLLIN)]
    interrupt.deregister()
    os.close(near)
    os.close(far)


# 3.4 Timers


def test_SYN_14_a_timer_runs_at_dispatch_and_setting_it_again_replaces_the_setting(profile: Profile) -> None:
    clock = VirtualClock()
    timers = TimerThread(clock)
    ran: list[tuple[int, Irql]] = []
    timer = Timer(lambda _: ran.append((clock.now_ns() // 1_000_000, current_irql())), timers=timers)
    timer.set(10)
    timer.set(30)
    assert timers.queued == (timer,)
    clock.advance(100, timers)
    assert ran == [(30, DISPATCH if profile is Profile.NT else PASSIVE)]


def test_SYN_15_cancel_answers_false_for_a_running_function_and_the_halt_waits_for_its_end() -> None:
    timers, inside, go = TimerThread(), threading.Event(), threading.Event()
    ended: list[str] = []

    def function(_: object) -> None:
        inside.set()
        assert go.wait(10)
        ended.append("function")

    timer = Timer(function, timers=timers)
    timer.set(1)
    assert inside.wait(10)
    assert not timer.cancel()
    halting = threading.Thread(target=lambda: ended.append(f"halt {timers.stop_all()}"), daemon=True)
    halting.start()
    while not timers._stopping:
        assert halting.is_alive()
    assert ended == []
    go.set()
    halting.join(10)
    assert ended == ["function", "halt ()"]


def test_SYN_16_the_timers_that_were_not_cancelled_are_known_at_the_halt() -> None:
    timers = TimerThread()
    good, forgotten = Timer(lambda _: None, timers=timers), Timer(lambda _: None, timers=timers)
    for timer in (good, forgotten):
        timer.set_periodic(3_600_000)
    assert good.cancel()
    assert timers.stop_all() == (forgotten,)
    assert not timers.queued
    assert not any(thread.name == "vnic timers" for thread in threading.enumerate())


# 3.5 Events, work items, interlocked operations


def test_SYN_17_an_event_is_reset_by_hand_and_waited_for_at_passive_only(profile: Profile, strict: None) -> None:
    event = Event()
    assert not event.wait(1)
    with at_irql(DISPATCH):
        event.set()
    assert [event.wait(1), event.wait(0)] == [True, True]
    event.reset()
    assert not event.wait(1)
    with at_irql(DISPATCH):
        assert broken_by(lambda: event.wait(1)) == ("70" if profile is Profile.NT else "")


def test_SYN_18_a_work_item_is_always_accepted_and_runs_once_at_passive(profile: Profile) -> None:
    ran: list[tuple[object, object, Irql]] = []
    item = WorkItem(lambda *given: ran.append((*given, current_irql())), "context")
    with at_irql(DISPATCH):
        assert item.schedule() is Status.SUCCESS
    assert work_items.drain(10_000)
    assert ran == [(item, "context", PASSIVE)]


def test_SYN_18_a_serialized_miniport_must_not_use_work_items(profile: Profile) -> None:
    with serialized_miniport(), at_irql(DISPATCH):
        assert broken_by(WorkItem(lambda *_: None).schedule) == "86b"


@pytest.mark.parametrize("level", Irql)
def test_SYN_19_interlocked_counting_works_at_any_level_and_answers_the_new_value(level: Irql, strict: None) -> None:
    counter = Interlocked(5)
    with at_irql(level):
        assert [interlocked_increment(counter), interlocked_decrement(counter), interlocked_decrement(counter)] == [6, 5, 4]


def test_SYN_19_list_operations_take_the_drivers_lock_and_inserts_answer_the_neighbour(profile: Profile, strict: None) -> None:
    lock, counter = SpinLock(), Interlocked()
    entries: InterlockedList[str] = InterlockedList()
    found = [entries.insert_head("b", lock), entries.insert_head("a", lock), entries.insert_tail("c", lock)]
    assert found == [None, "b", "b"]
    assert [entries.remove_head(lock) for _ in range(4)] == ["a", "b", "c", None]
    calls = (
        lambda: interlocked_add(counter, 1, lock),
        lambda: entries.insert_head("x", lock),
        lambda: entries.insert_tail("x", lock),
        lambda: entries.remove_head(lock),
    )
    with lock:
        assert [broken_by(call) for call in calls] == ["73"] * 4
    with at_irql(DIRQL):
        assert [broken_by(call) for call in calls] == ["70" if profile is Profile.NT else ""] * 4


def test_SYN_20_readers_share_and_a_writer_is_alone(profile: Profile, eager_switches: None) -> None:
    lock, together = ReadWriteLock(), threading.Barrier(4)
    inside, wrong = [0], [0]

    def work() -> None:
        reading = lock.acquire(write=False)
        together.wait(10)  # breaks if readers do not share
        lock.release(reading)
        for _ in range(200):
            writing = lock.acquire(write=True)
            inside[0] += 1
            current_irql()
            wrong[0] += inside[0] != 1
            inside[0] -= 1
            lock.release(writing)

    race(4, work)
    assert wrong == [0]
