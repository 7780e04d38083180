"""
Levels, spin locks, read-write locks and interlocked operations.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from vnic import ContractViolation, locks
from vnic.locks import (
    Access,
    Interlocked,
    InterlockedList,
    Irql,
    LockState,
    Profile,
    ReadWriteLock,
    SpinLock,
    at_irql,
    current_irql,
    current_profile,
    held_locks,
    in_profile,
    interlocked_add,
    interlocked_decrement,
    interlocked_increment,
    lower_irql,
    raise_irql,
    require_irql,
    require_no_locks,
    set_profile,
)

PASSIVE, DISPATCH, DIRQL = Irql.PASSIVE, Irql.DISPATCH, Irql.DIRQL


@pytest.fixture(autouse=True)
def level_and_locks_are_as_before() -> Iterator[None]:
    """No test leaves a level, a lock or a profile behind."""
    locks.counted.clear()
    yield
    assert (current_irql(), held_locks(), current_profile()) == (PASSIVE, (), Profile.NT)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier level 2."""
    monkeypatch.setattr(locks, "checks", 2)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads overtake each other as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def race(count: int, work: Callable[[int], object]) -> None:
    """Run the same work on several threads; every one must end, and none may raise."""
    errors: list[BaseException] = []
    ready = threading.Barrier(count)

    def run(index: int) -> None:
        try:
            ready.wait(10)
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    assert errors == []


def broken_by(call: Callable[[], object]) -> str:
    """The rule for which a call is refused."""
    with pytest.raises(ContractViolation) as caught:
        call()
    return caught.value.rule.id


# Levels


def test_a_thread_begins_at_passive_and_has_a_level_of_its_own() -> None:
    seen: list[Irql] = []
    with at_irql(DISPATCH):
        race(1, lambda _: seen.append(current_irql()))
        assert current_irql() is DISPATCH
    assert seen == [PASSIVE]


def test_at_irql_restores_the_level_also_after_an_exception() -> None:
    def handler() -> None:
        with at_irql(DIRQL):
            assert current_irql() is DIRQL
            raise KeyError

    with at_irql(DISPATCH):
        with pytest.raises(KeyError):
            handler()
        assert current_irql() is DISPATCH


def test_raise_irql_answers_the_level_that_lower_irql_takes() -> None:
    first = raise_irql(DISPATCH)
    second = raise_irql(DIRQL)
    assert (first, second, current_irql()) == (PASSIVE, DISPATCH, DIRQL)
    lower_irql(second)
    assert current_irql() is DISPATCH
    lower_irql(first)


def test_a_raise_that_lowers_and_a_lower_that_raises_are_refused_at_level_2(strict: None) -> None:
    with at_irql(DISPATCH):
        assert broken_by(lambda: raise_irql(PASSIVE)) == "71"
        assert broken_by(lambda: lower_irql(DIRQL)) == "71"
        assert current_irql() is DISPATCH


def test_a_handler_that_ends_at_another_level_is_refused_at_level_2(strict: None) -> None:
    def handler() -> None:
        with at_irql(PASSIVE):
            raise_irql(DISPATCH)

    assert broken_by(handler) == "71"
    assert current_irql() is PASSIVE


def test_a_handler_that_ends_with_a_lock_is_refused_at_level_2_and_one_that_began_with_it_is_not(strict: None) -> None:
    lock, other = SpinLock("mine"), SpinLock("other")

    def handler() -> None:
        with at_irql(DISPATCH):
            other.acquire()

    with lock:
        with at_irql(DISPATCH):
            pass
        assert broken_by(handler) == "75"
        other.release()


@pytest.mark.parametrize(("level", "refused"), [(PASSIVE, False), (DISPATCH, False), (DIRQL, True)])
def test_a_call_above_its_highest_level_is_refused_at_verifier_level_2(strict: None, level: Irql, refused: bool) -> None:
    with at_irql(level):
        if refused:
            assert broken_by(lambda: require_irql(maximum=DISPATCH, what="it")) == "70"
        else:
            require_irql(maximum=DISPATCH, what="it")
    assert locks.counted == ({"70": 1} if refused else {})


@pytest.mark.parametrize(("level", "refused"), [(PASSIVE, True), (DISPATCH, False), (DIRQL, True)])
def test_a_call_at_another_level_than_its_only_one_is_refused_at_verifier_level_2(strict: None, level: Irql, refused: bool) -> None:
    with at_irql(level):
        if refused:
            assert broken_by(lambda: require_irql(exactly=DISPATCH, what="it")) == "100"
        else:
            require_irql(exactly=DISPATCH, what="it")


def test_below_verifier_level_2_a_wrong_level_is_only_counted() -> None:
    with at_irql(DIRQL):
        require_irql(maximum=PASSIVE, what="it")
        require_irql(exactly=DISPATCH, what="it")
        require_irql(exactly=DISPATCH, what="it")
    assert locks.counted == {"70": 1, "100": 2}


def test_the_message_says_which_call_at_which_level_and_what_is_allowed(strict: None) -> None:
    with at_irql(DISPATCH), pytest.raises(ContractViolation, match=r"Event\.wait at DISPATCH, allowed up to PASSIVE"):
        require_irql(maximum=PASSIVE, what="Event.wait")


# Profiles


def test_the_profile_is_nt_until_another_is_chosen_and_a_block_restores_it() -> None:
    assert current_profile() is Profile.NT
    with in_profile(Profile.CE):
        assert current_profile() is Profile.CE
        with in_profile(Profile.NT):
            assert current_profile() is Profile.NT
        assert current_profile() is Profile.CE
    set_profile(Profile.CE)
    assert current_profile() is Profile.CE
    set_profile(Profile.NT)


def test_under_ce_no_level_is_checked(strict: None) -> None:
    with in_profile(Profile.CE), at_irql(DIRQL):
        require_irql(maximum=PASSIVE, what="it")
        require_irql(exactly=DISPATCH, what="it")
        before = raise_irql(PASSIVE)
        lower_irql(DISPATCH)
        lower_irql(before)
    assert locks.counted == {}


# Spin locks


@pytest.mark.parametrize("profile", Profile)
def test_sixteen_threads_that_take_a_lock_ten_thousand_times_never_meet_inside(profile: Profile, eager_switches: None) -> None:
    lock = SpinLock()
    inside, done, met = [0], [0], [0]

    def work(_: int) -> None:
        for _ in range(10_000):
            lock.acquire()
            inside[0] += 1
            met[0] += inside[0] != 1
            count = done[0]
            current_irql()  # a call is where the interpreter may switch threads
            done[0] = count + 1
            inside[0] -= 1
            lock.release()

    with in_profile(profile):
        race(16, work)
    assert (done[0], met[0]) == (160_000, 0)


def test_a_lock_raises_to_dispatch_and_restores_the_level_that_it_found() -> None:
    lock = SpinLock()
    for level in (PASSIVE, DISPATCH):
        with at_irql(level):
            with lock:
                assert (current_irql(), lock.held, held_locks()) == (DISPATCH, True, (lock,))
            assert (current_irql(), lock.held, held_locks()) == (level, False, ())


def test_the_dpr_form_leaves_the_level_alone() -> None:
    lock = SpinLock()
    with at_irql(DISPATCH):
        lock.dpr_acquire()
        assert (current_irql(), held_locks()) == (DISPATCH, (lock,))
        lock.dpr_release()
        assert (current_irql(), held_locks()) == (DISPATCH, ())


def test_a_lock_is_released_when_its_block_raises() -> None:
    lock = SpinLock()

    def work() -> None:
        with lock:
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert not lock.held
    lock.free()  # refused if it were held


def test_held_locks_are_those_of_this_thread_in_the_order_of_acquiring() -> None:
    first, second = SpinLock("first"), SpinLock("second")
    elsewhere: list[object] = []
    with first, second:
        race(1, lambda _: elsewhere.append((held_locks(), first.held)))
        assert held_locks() == (first, second)
    assert elsewhere == [((), False)]


def test_acquiring_a_lock_twice_is_refused_instead_of_deadlocking() -> None:
    lock = SpinLock("mine")
    with lock:
        with pytest.raises(ContractViolation, match=r"73 SpinLockRecursion broken by the caller: <mine, initialised> is acquired by"):
            lock.acquire()
        assert (lock.held, held_locks()) == (True, (lock,))
        with at_irql(DISPATCH):
            assert broken_by(lock.dpr_acquire) == "73"


def test_releasing_a_lock_that_is_not_held_or_held_by_another_thread_is_refused() -> None:
    lock = SpinLock()
    refused: list[str] = []
    assert broken_by(lock.release) == "74"
    with lock:
        race(1, lambda _: refused.append(broken_by(lock.release)))
        assert lock.held
    assert refused == ["74"]
    assert broken_by(lock.release) == "74"


@pytest.mark.parametrize("form", ["plain", "dpr"])
def test_releasing_with_the_other_form_is_refused_and_the_lock_stays_held(form: str) -> None:
    lock = SpinLock()
    acquire, right, wrong = (
        (lock.acquire, lock.release, lock.dpr_release) if form == "plain" else (lock.dpr_acquire, lock.dpr_release, lock.release)
    )
    with at_irql(DISPATCH):
        acquire()
        assert broken_by(wrong) == "74b"
        assert lock.held
        right()


def test_a_lock_that_was_never_initialised_is_refused() -> None:
    class Forgetful(SpinLock):
        def __init__(self) -> None:
            pass

    lock = Forgetful()
    assert (lock.state, lock.held) == (LockState.NOT_INITIALISED, False)
    with at_irql(DISPATCH):
        calls = (lock.acquire, lock.release, lock.dpr_acquire, lock.dpr_release, lock.free)
        assert [broken_by(call) for call in calls] == ["76"] * 5
    lock.allocate()
    with lock:
        assert lock.held


def test_initialising_a_lock_twice_is_refused_and_does_not_open_it() -> None:
    lock = SpinLock()
    with lock:
        assert broken_by(lock.allocate) == "76"
        assert lock.held


def test_freeing_a_held_lock_is_refused() -> None:
    lock = SpinLock()
    refused: list[str] = []
    with lock:
        assert broken_by(lock.free) == "76"
        race(1, lambda _: refused.append(broken_by(lock.free)))
    assert refused == ["76"]
    assert lock.state is LockState.INITIALISED


def test_a_freed_lock_is_refused_until_it_is_initialised_again() -> None:
    lock = SpinLock()
    lock.free()
    assert lock.state is LockState.FREED
    assert [broken_by(call) for call in (lock.acquire, lock.release, lock.free)] == ["76"] * 3
    lock.allocate()
    with lock:
        assert lock.held


def test_freeing_a_lock_above_passive_is_refused_at_level_2(strict: None) -> None:
    lock = SpinLock()
    with at_irql(DISPATCH):
        assert broken_by(lock.free) == "70"
    lock.free()


def test_the_order_of_locks_is_watched_from_level_2_over_any_number_of_steps(strict: None) -> None:
    one, two, three = SpinLock("one"), SpinLock("two"), SpinLock("three")
    with one, two:
        pass
    with two, three:
        pass
    with one, three:
        pass
    with three:
        with pytest.raises(ContractViolation, match=r"<one, initialised> is acquired after <three, initialised>") as caught:
            one.acquire()
        assert held_locks() == (three,)
    assert caught.value.rule.id == "78"


def test_the_order_of_locks_is_not_watched_below_level_2() -> None:
    one, two = SpinLock(), SpinLock()
    with one, two:
        pass
    with two, one:
        pass
    assert locks.counted == {}


def test_a_call_out_of_the_driver_with_a_lock_held_is_refused_at_level_2(strict: None) -> None:
    require_no_locks("indicate")
    with SpinLock("mine"), pytest.raises(ContractViolation, match=r"indicate with <mine, initialised> held") as caught:
        require_no_locks("indicate")
    assert caught.value.rule.id == "80"


# Read-write locks


def test_readers_share_a_lock_and_a_writer_has_it_alone(eager_switches: None) -> None:
    lock = ReadWriteLock()
    together, inside, wrong = threading.Barrier(4), [0], [0]

    def read(_: int) -> None:
        access = lock.acquire(write=False)
        together.wait(10)  # breaks if they do not share
        lock.release(access)

    def mix(index: int) -> None:
        for turn in range(200):
            write = (turn + index) % 4 == 0
            access = lock.acquire(write=write)
            if write:
                inside[0] += 1
                current_irql()
                wrong[0] += inside[0] != 1
                inside[0] -= 1
            else:
                wrong[0] += inside[0]
            lock.release(access)

    race(4, read)
    race(4, mix)
    assert wrong == [0]


def test_a_read_write_lock_raises_to_dispatch_and_a_reader_may_read_again() -> None:
    lock = ReadWriteLock()
    first = lock.acquire(write=False)
    second = lock.acquire(write=False)
    assert (first, second) == (Access(False, PASSIVE), Access(False, DISPATCH))
    assert held_locks() == (lock, lock)
    lock.release(second)
    assert current_irql() is DISPATCH
    lock.release(first)
    assert current_irql() is PASSIVE


def test_what_would_make_a_read_write_lock_wait_for_its_own_thread_is_refused() -> None:
    lock = ReadWriteLock()
    reading = lock.acquire(write=False)
    assert broken_by(lambda: lock.acquire(write=True)) == "73"
    lock.release(reading)
    writing = lock.acquire(write=True)
    assert [broken_by(lambda write=write: lock.acquire(write=write)) for write in (False, True)] == ["73", "73"]  # type: ignore[misc]
    lock.release(writing)
    assert [broken_by(lambda access=access: lock.release(access)) for access in (reading, writing)] == ["74", "74"]  # type: ignore[misc]


# Interlocked operations


def test_interlocked_counting_loses_nothing(eager_switches: None) -> None:
    counter = Interlocked()

    def work(index: int) -> None:
        for _ in range(5_000):
            (interlocked_increment if index % 4 else interlocked_decrement)(counter)

    race(8, work)
    assert counter.value == 5_000 * (6 - 2)


def test_interlocked_counting_answers_the_new_value_and_wraps_as_a_signed_number() -> None:
    counter = Interlocked((1 << 31) - 2)
    assert [interlocked_increment(counter) for _ in range(2)] == [(1 << 31) - 1, -(1 << 31)]
    assert interlocked_decrement(counter) == (1 << 31) - 1


def test_interlocked_add_takes_the_lock_and_wraps_as_an_unsigned_number() -> None:
    counter, lock = Interlocked((1 << 32) - 1), SpinLock()
    interlocked_add(counter, 3, lock)
    assert counter.value == 2
    with lock:
        assert broken_by(lambda: interlocked_add(counter, 1, lock)) == "73"


def test_an_insert_answers_the_neighbour_and_remove_takes_from_the_head() -> None:
    lock = SpinLock()
    entries: InterlockedList[str] = InterlockedList()
    assert entries.remove_head(lock) is None
    assert entries.insert_tail("b", lock) is None
    assert entries.insert_head("a", lock) == "b"
    assert entries.insert_tail("c", lock) == "b"
    assert [entries.remove_head(lock) for _ in range(4)] == ["a", "b", "c", None]
    assert entries.insert_head("d", lock) is None
