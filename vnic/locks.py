"""
Interrupt levels, spin locks and interlocked operations: what drivers synchronise their own data with.

User space has no interrupt level, so each thread carries a virtual one: the library runs handlers `at_irql`, a spin lock raises it.
It lets calls be checked that are legal at some levels only. Under the CE profile there is no such level: `current_irql` is
always PASSIVE, the Dpr forms are the plain forms, and no level is checked.

What would deadlock or corrupt a lock is refused always. What is only bad practice is counted in `counted`, and refused from
verifier level 2 on (`checks`).

NDIS: SYN-01 to SYN-10, SYN-19, SYN-20.

Next: `vnic/timers.py`, what runs later.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, IntEnum
from threading import get_ident
from typing import Any, Generic, NamedTuple, Self, TypeVar
from weakref import WeakSet

from vnic.context import here
from vnic.steps import Step, cpu_ns, now_ns, step
from vnic.verifier import rules
from vnic.verifier.actions import action_of
from vnic.verifier.leftovers import LOCKS, owner_now
from vnic.verifier.refusal import refused, told_with

T = TypeVar("T")

CALLER = "the caller"
"""The culprit of these rules: a lock does not know whose code runs."""

HELD_WARN_NS, HELD_MOST_NS, WAITED_NS = 1_000_000, 10_000_000, 250_000_000
"""For how long a lock may be held before that is told of, as a warning and as an error, and from when on also if the thread did not run."""

checks = 1
"""The verifier level of this process: below 2, what `flag` is told of is only counted."""

counted: collections.Counter[str] = collections.Counter()
"""How often `flag` was told of each rule, by the rule's id."""


class Irql(IntEnum):
    """The levels of the contract; a higher one is not interrupted by a lower one."""

    PASSIVE = 0
    DISPATCH = 2
    DIRQL = 5


class Profile(Enum):
    """Whose contract holds: that of the desktop, or that of Windows CE, which has no DPC level."""

    NT = "nt"
    CE = "ce"


class LockState(Enum):
    """The life of a spin lock."""

    NOT_INITIALISED = "not initialised"
    INITIALISED = "initialised"
    FREED = "freed"


_guard = threading.Lock()
_profile = Profile.NT


def checked() -> int:
    """The verifier level here: that of the driver whose handler runs on this thread, or else the process's."""
    binding = here().binding
    return checks if binding is None else binding.verifier_level


def count(rule: rules.Rule) -> None:
    """Count a broken rule in `counted`."""
    with _guard:
        counted[rule.id] += 1


def flag(rule: rules.Rule, detail: str, more: dict[str, Any] | None = None) -> None:
    """
    Count a broken rule, and refuse from verifier level 2 on; `more` are further keys of the record.

    Raises:
        ContractViolation: the verifier level is 2 or higher.
    """
    count(rule)
    if checked() < 2:
        return
    broken = told_with(rule, CALLER, detail, more or {})
    if action_of(rule) == "raise":
        raise broken


def current_profile() -> Profile:
    """Tell whose contract holds in this process."""
    return _profile


def set_profile(profile: Profile) -> None:
    """Choose whose contract holds in this process, before any lock is acquired."""
    global _profile  # noqa: PLW0603 - it is the process that has a profile
    _profile = profile


@contextmanager
def in_profile(profile: Profile) -> Iterator[None]:
    """Choose a profile for the length of a block."""
    before = _profile
    set_profile(profile)
    try:
        yield
    finally:
        set_profile(before)


def current_irql() -> Irql:
    """Tell the level of this thread; always PASSIVE under the CE profile."""
    return Irql(here().irql) if _profile is Profile.NT else Irql.PASSIVE


def raise_irql(level: Irql) -> Irql:
    """
    Raise the level of this thread.

    Returns:
        The level before, for `lower_irql`.
    """
    if _profile is Profile.CE:
        return Irql.PASSIVE
    before = Irql(here().irql)
    if level < before:
        flag(rules.IRQL_NOT_RESTORED, f"raise_irql from {before.name} down to {level.name}")
    here().irql = level
    return before


def lower_irql(level: Irql) -> None:
    """Lower the level of this thread to what `raise_irql` answered."""
    if _profile is Profile.CE:
        return
    before = Irql(here().irql)
    if level > before:
        flag(rules.IRQL_NOT_RESTORED, f"lower_irql from {before.name} up to {level.name}")
    here().irql = level


@contextmanager
def at_irql(level: Irql, told: Callable[[rules.Rule, str], None] = flag) -> Iterator[None]:
    """
    Run a handler at a level; afterwards this thread is back at its own, whatever the handler did.

    Args:
        level: the level.
        told: what a broken rule is told to, where not whoever runs the handler is to blame.

    Raises:
        ContractViolation: at verifier level 2, after a handler that ends at another level, or with a lock that it acquired.
    """
    context = here()
    before, held = context.irql, len(context.held)
    context.irql = level
    try:
        yield
    finally:
        after, context.irql = context.irql, before
    if len(context.held) > held:
        told(rules.LOCK_HELD_AT_EXIT, f"a handler ends and holds {', '.join(repr(lock) for lock in context.held[held:])}")
    if after != level and _profile is Profile.NT:
        told(rules.IRQL_NOT_RESTORED, f"a handler began at {level.name} and ended at {Irql(after).name}")


def require_irql(*, maximum: Irql | None = None, exactly: Irql | None = None, what: str) -> None:
    """
    Check the level of this thread; nothing is checked under the CE profile.

    Args:
        maximum: the highest level allowed.
        exactly: the only level allowed.
        what: the call that asks, for the message.

    Raises:
        ContractViolation: at verifier level 2, if the level is not allowed.
    """
    if _profile is Profile.CE:
        return
    level = Irql(here().irql)
    if maximum is not None and level > maximum:
        flag(rules.IRQL_TOO_HIGH, f"{what} at {level.name}, allowed up to {maximum.name}")
    if exactly is not None and level != exactly:
        flag(rules.DPR_AT_WRONG_LEVEL, f"{what} at {level.name}, allowed only at {exactly.name}")


def _raise_to_dispatch() -> None:
    if _profile is Profile.NT and here().irql < Irql.DISPATCH:
        here().irql = Irql.DISPATCH


def held_locks() -> tuple[SpinLock | ReadWriteLock, ...]:
    """List the locks that this thread holds, in the order in which it acquired them."""
    return tuple(here().held)


def require_no_locks(what: str) -> None:
    """
    Check that this thread holds no lock: a call out of the driver that takes another lock may deadlock.

    Raises:
        ContractViolation: at verifier level 2, if it holds one.
    """
    if here().held:
        flag(rules.LOCK_ACROSS_CALL, f"{what} with {', '.join(repr(lock) for lock in here().held)} held")


class SpinLock:
    """
    A lock of a driver; whoever holds it is at DISPATCH.

    The level before is kept in the lock itself, as in NDIS, so locks must be released in the reverse order. Not recursive.

    NDIS: NDIS_SPIN_LOCK; SYN-06, SYN-07.

    Attributes:
        owner: the binding in whose handler it was made, or None.
        made: where and when it was made.
        taken: where and when it was last acquired, from verifier level 2 on.
    """

    state = LockState.NOT_INITIALISED
    name = "spin lock"

    def __init__(self, name: str = "spin lock") -> None:
        self.name = name
        self.allocate()

    def __repr__(self) -> str:
        return f"<{self.name}, {self.state.value}>"

    @property
    def held(self) -> bool:
        """Whether this thread holds the lock."""
        return self.state is LockState.INITIALISED and self._owner == get_ident()

    @property
    def is_held(self) -> bool:
        """Whether any thread holds the lock."""
        return self.state is LockState.INITIALISED and self._owner is not None

    @property
    def holder(self) -> int | None:
        """The number of the thread that holds the lock; None if none does."""
        return self._owner

    @property
    def after_this(self) -> tuple[SpinLock, ...]:
        """The locks that were acquired while this one was held, from verifier level 2 on."""
        return tuple(self._later)

    def allocate(self) -> None:
        """Initialise the lock: done once by the constructor, and again only after `free`. NDIS: NdisAllocateSpinLock."""
        if self.state is LockState.INITIALISED:
            raise refused(rules.LOCK_LIFE, CALLER, f"{self!r} is initialised again")
        if self.state is LockState.NOT_INITIALISED:
            self._mutex = threading.Lock()
        self.owner, self.made = owner_now(), step("make", self.name)
        self.taken: Step | None = None
        LOCKS.add(self)
        self._owner: int | None = None
        self._dpr = False
        self._level = Irql.PASSIVE
        self._later: WeakSet[SpinLock] = WeakSet()
        self.state = LockState.INITIALISED

    def free(self) -> None:
        """End the life of the lock; `allocate` begins another. PASSIVE only. NDIS: NdisFreeSpinLock."""
        require_irql(maximum=Irql.PASSIVE, what="SpinLock.free")
        self._require_initialised("freed")
        if not self._mutex.acquire(blocking=False):
            raise refused(rules.LOCK_LIFE, CALLER, f"{self!r} is freed while a thread holds it")
        self.state = LockState.FREED
        self._mutex.release()

    def acquire(self) -> None:
        """Wait for the lock, and raise the level to DISPATCH. NDIS: NdisAcquireSpinLock."""
        require_irql(maximum=Irql.DISPATCH, what="SpinLock.acquire")
        self._acquire(dpr=False)

    def release(self) -> None:
        """Give the lock back, and go to the level that `acquire` found. NDIS: NdisReleaseSpinLock."""
        self._release(dpr=False)

    def dpr_acquire(self) -> None:
        """Wait for the lock at DISPATCH, and leave the level alone. NDIS: NdisDprAcquireSpinLock."""
        require_irql(exactly=Irql.DISPATCH, what="SpinLock.dpr_acquire")
        self._acquire(dpr=_profile is Profile.NT)

    def dpr_release(self) -> None:
        """Give the lock back at DISPATCH, and leave the level alone. NDIS: NdisDprReleaseSpinLock."""
        require_irql(exactly=Irql.DISPATCH, what="SpinLock.dpr_release")
        self._release(dpr=_profile is Profile.NT)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _acquire(self, *, dpr: bool) -> None:
        self._require_initialised("acquired")
        if self._owner == get_ident():
            raise refused(rules.LOCK_RECURSION, CALLER, f"{self!r} is acquired by the thread that holds it")
        level = checked()
        if level >= 2:
            self._note_order()
        self._mutex.acquire()
        if self.state is not LockState.INITIALISED:  # it was freed while this thread waited
            self._mutex.release()
            self._require_initialised("acquired")
        self._owner = get_ident()
        self._dpr = dpr
        self.taken = step("acquire", self.name) if level >= 2 else None
        self._taken_cpu_ns = cpu_ns() if level >= 2 else 0
        self._level = Irql(here().irql)
        if not dpr:
            _raise_to_dispatch()
        here().hold(self)

    def _release(self, *, dpr: bool) -> None:
        self._require_initialised("released")
        if self._owner != get_ident():
            raise refused(rules.LOCK_NOT_OWNED, CALLER, f"{self!r} is released by a thread that does not hold it")
        if self._dpr is not dpr:
            crossed = "dpr_acquire and release" if self._dpr else "acquire and dpr_release"
            raise refused(rules.LOCK_FORMS_CROSSED, CALLER, f"{crossed} of {self!r}")
        if not dpr and here().held[-1] is not self and _profile is Profile.NT:
            flag(rules.LOCK_RELEASE_ORDER, f"{self!r} is released before {here().held[-1]!r}")
        here().let_go(self)
        if not dpr:
            here().irql = self._level
        self._owner = None
        taken = self.taken
        self._mutex.release()
        if taken is not None and now_ns() - taken.ns > HELD_WARN_NS:
            self._tell_of_time(taken, cpu_ns() - self._taken_cpu_ns)

    def _tell_of_time(self, taken: Step, ran_ns: int) -> None:
        """Rule 79, unless the thread only had to wait for the processor: then no lock was held longer than its lines take."""
        paused_ns = here().paused_since(taken.ns)
        ns, ran_ns = now_ns() - taken.ns - paused_ns, ran_ns - paused_ns
        if ran_ns <= HELD_WARN_NS and ns <= WAITED_NS:
            return
        broken = f"{self!r} was held for {ns / 1e6:.1f} ms, since {taken.where}"
        told_with(rules.LOCK_HELD_TOO_LONG, CALLER, broken, {"severity": "error" if ns > HELD_MOST_NS else "warning", "held_ns": ns})

    def _require_initialised(self, done: str) -> None:
        if self.state is not LockState.INITIALISED:
            raise refused(rules.LOCK_LIFE, CALLER, f"{self!r} is {done}")

    def _note_order(self) -> None:
        """Remember that this lock comes after those held; flag it if one of them has come after this one before."""
        for earlier in here().held:
            if not isinstance(earlier, SpinLock):
                continue
            with _guard:
                inverted = self._leads_to(earlier)
                if not inverted:
                    earlier._later.add(self)
            if inverted:
                flag(rules.LOCK_ORDER, f"{self!r} is acquired after {earlier!r}, and was acquired before it elsewhere")

    def _leads_to(self, other: SpinLock) -> bool:
        seen: set[SpinLock] = set()
        todo = [self]
        while todo:
            lock = todo.pop()
            if lock is other:
                return True
            if lock not in seen:
                seen.add(lock)
                todo.extend(lock._later)
        return False


class Access(NamedTuple):
    """How a thread holds a read-write lock: given by `acquire`, taken by `release`. NDIS: LOCK_STATE."""

    write: bool
    level: Irql


class ReadWriteLock:
    """
    A lock that one writer holds, or any number of readers; whoever holds it is at DISPATCH.

    A reader may read again. Holding it and asking to write, or writing and asking for anything, would wait for oneself: refused.

    NDIS: NDIS_RW_LOCK; SYN-20.
    """

    def __init__(self, name: str = "read-write lock") -> None:
        self.name = name
        self._changed = threading.Condition()
        self._readers: list[int] = []
        self._writer: int | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def acquire(self, *, write: bool) -> Access:
        """Wait for the lock, and raise the level to DISPATCH. NDIS: NdisAcquireReadWriteLock."""
        require_irql(maximum=Irql.DISPATCH, what="ReadWriteLock.acquire")
        me = get_ident()
        with self._changed:
            if self._writer == me or (write and me in self._readers):
                raise refused(rules.LOCK_RECURSION, CALLER, f"{self!r} is acquired by the thread that holds it")
            self._changed.wait_for(lambda: self._writer is None and not (write and self._readers))
            if write:
                self._writer = me
            else:
                self._readers.append(me)
        access = Access(write, Irql(here().irql))
        _raise_to_dispatch()
        here().hold(self)
        return access

    def release(self, access: Access) -> None:
        """Give the lock back, and go to the level that `acquire` found. NDIS: NdisReleaseReadWriteLock."""
        me = get_ident()
        with self._changed:
            if me != self._writer if access.write else me not in self._readers:
                raise refused(rules.LOCK_NOT_OWNED, CALLER, f"{self!r} is released by a thread that does not hold it")
            if access.write:
                self._writer = None
            else:
                self._readers.remove(me)
            self._changed.notify_all()
        here().let_go(self)
        here().irql = access.level


class Interlocked:
    """A 32-bit number that threads change without losing a change."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._mutex = threading.Lock()


def interlocked_increment(counter: Interlocked) -> int:
    """
    Add one, as to a signed number; any level.

    Returns:
        The new value.
    """
    with counter._mutex:
        counter.value = (counter.value + 1 + (1 << 31)) % (1 << 32) - (1 << 31)
        return counter.value


def interlocked_decrement(counter: Interlocked) -> int:
    """
    Subtract one, as from a signed number; any level.

    Returns:
        The new value.
    """
    with counter._mutex:
        counter.value = (counter.value - 1 + (1 << 31)) % (1 << 32) - (1 << 31)
        return counter.value


def interlocked_add(counter: Interlocked, increment: int, lock: SpinLock) -> None:
    """Add to an unsigned number under a driver's lock, which whoever else touches it must hold. NDIS: NdisInterlockedAddUlong."""
    with lock:
        counter.value = (counter.value + increment) % (1 << 32)


class InterlockedList(Generic[T]):
    """
    A list with two ends; each operation takes the driver's lock that is named with it, always the same.

    NDIS: LIST_ENTRY; SYN-19.
    """

    def __init__(self) -> None:
        self.entries: collections.deque[T] = collections.deque()

    def insert_head(self, entry: T, lock: SpinLock) -> T | None:
        """Put an entry first; answer the one that was first, or None. NDIS: NdisInterlockedInsertHeadList."""
        with lock:
            first = self.entries[0] if self.entries else None
            self.entries.appendleft(entry)
            return first

    def insert_tail(self, entry: T, lock: SpinLock) -> T | None:
        """Put an entry last; answer the one that was last, or None. NDIS: NdisInterlockedInsertTailList."""
        with lock:
            last = self.entries[-1] if self.entries else None
            self.entries.append(entry)
            return last

    def remove_head(self, lock: SpinLock) -> T | None:
        """Take the first entry, or None. NDIS: NdisInterlockedRemoveHeadList."""
        with lock:
            return self.entries.popleft() if self.entries else None
