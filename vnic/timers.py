"""
What runs later, or waits: events, work items, timers, and the time.

Timer functions run at DISPATCH on one thread, which lives while a timer is queued; work items run at PASSIVE on another one. A test
gives the timers a `VirtualClock` and moves it itself: then there is no timer thread, and nothing is left to chance.

NDIS: SYN-12, SYN-14 to SYN-18.

Next: `vnic/interrupt.py`, what makes a miniport run at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

from vnic.locks import Irql, at_irql, flag, require_irql
from vnic.status import Status
from vnic.verifier import rules
from vnic.verifier.refusal import refused

NS_PER_MS = 1_000_000
EPOCH_1601 = 116_444_736_000_000_000
"""From 1601 to 1970, in units of 100 ns."""
LONGEST_STALL_US = 50
LONGEST_WAIT_NS = 3_600_000_000_000
"""Then the timer thread looks again: a wait of many years is none that a condition takes."""

log = logging.getLogger("vnic")


def current_system_time() -> int:
    """Tell the time of day, in units of 100 ns since 1601, UTC. NDIS: NdisGetCurrentSystemTime."""
    return time.time_ns() // 100 + EPOCH_1601


def stall_execution(us: int) -> None:
    """
    Wait without giving up the processor, at any level. NDIS: NdisStallExecution.

    Raises:
        ContractViolation: at verifier level 2, if it is for more than 50 microseconds.
    """
    end = time.monotonic_ns() + us * 1000
    if us > LONGEST_STALL_US:
        flag(rules.STALL_TOO_LONG, f"a stall of {us} us")
    while time.monotonic_ns() < end:
        pass


class Event:
    """
    What one thread waits for and another one signals; it stays signalled until it is reset. Not signalled at first.

    NDIS: NDIS_EVENT; SYN-17.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Signal: let every waiting thread go on. NDIS: NdisSetEvent."""
        require_irql(maximum=Irql.DISPATCH, what="Event.set")
        self._event.set()

    def reset(self) -> None:
        """Take the signal back. NDIS: NdisResetEvent."""
        require_irql(maximum=Irql.DISPATCH, what="Event.reset")
        self._event.clear()

    def wait(self, ms: int = 0) -> bool:
        """
        Wait for the signal; PASSIVE only. NDIS: NdisWaitEvent.

        Args:
            ms: how long at most; 0 is for ever.

        Returns:
            Whether it is signalled.
        """
        require_irql(maximum=Irql.PASSIVE, what="Event.wait")
        return self._event.wait(ms / 1000 if ms else None)


_context = threading.local()


@contextmanager
def serialized_miniport() -> Iterator[None]:
    """Run a handler of a serialized miniport, which must not schedule work items: it could not synchronise with them."""
    before = getattr(_context, "serialized", False)
    _context.serialized = True
    try:
        yield
    finally:
        _context.serialized = before


class WorkItem:
    """
    Work that needs PASSIVE: its routine runs once for each `schedule`, on the thread for work items.

    The library forgets the item before it calls the routine. So the routine may drop it, or schedule it again.

    Args:
        routine: called with the item and the context.
        context: whatever the routine needs.

    NDIS: NDIS_WORK_ITEM; SYN-18.
    """

    def __init__(self, routine: Callable[[WorkItem, Any], None], context: Any = None) -> None:
        self.routine = routine
        self.context = context

    def schedule(self) -> Status:
        """
        Queue the item; while it is queued, once is enough. NDIS: NdisScheduleWorkItem.

        Returns:
            SUCCESS, always.
        """
        require_irql(maximum=Irql.DISPATCH, what="WorkItem.schedule")
        if getattr(_context, "serialized", False):
            raise refused(rules.SERIALIZED_WORK_ITEM, "the miniport", f"work item {self.routine!r} is scheduled")
        work_items.put(self)
        return Status.SUCCESS


class WorkItemThread:
    """
    The one thread that runs work items, in the order in which they came; it lives while there are any.

    Attributes:
        errors: exceptions that came out of routines.
    """

    def __init__(self) -> None:
        self.errors = 0
        self._queue: deque[WorkItem] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def queued(self) -> tuple[WorkItem, ...]:
        """The items whose routine has not begun."""
        with self._changed:
            return tuple(self._queue)

    def put(self, item: WorkItem) -> None:
        """Queue an item, unless it is queued."""
        with self._changed:
            if item not in self._queue:
                self._queue.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="vnic work items", daemon=True)
                self._thread.start()

    def drain(self, timeout_ms: int) -> bool:
        """Wait until every item has run; answer whether that is so. Not from a work item."""
        require_irql(maximum=Irql.PASSIVE, what="WorkItemThread.drain")
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout_ms / 1000)

    def _work(self) -> None:
        while (item := self._next()) is not None:
            try:
                with at_irql(Irql.PASSIVE):
                    item.routine(item, item.context)
            except BaseException:
                # whatever it was: the thread has others to serve, and halting waits for its end
                self.errors += 1
                log.exception("a work item raised")
            del item  # it is the routine that decides how long the item lives

    def _next(self) -> WorkItem | None:
        with self._changed:
            if self._queue:
                return self._queue.popleft()
            self._thread = None
            self._changed.notify_all()
            return None


work_items = WorkItemThread()


class Clock:
    """The time that timers go by: that of the machine, which never goes back."""

    runs = True

    def now_ns(self) -> int:
        """Tell the time, from an arbitrary start."""
        return time.monotonic_ns()


class VirtualClock(Clock):
    """A clock that stands still until it is moved; timer functions run on the thread that moves it."""

    runs = False

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        """Tell the time, from 0."""
        return self._now_ns

    def advance(self, ms: int, timers: TimerThread) -> int:
        """
        Move the clock on, and run every function that falls due on the way, at its time.

        Returns:
            How many ran.
        """
        end = self._now_ns + ms * NS_PER_MS
        ran = 0
        while (due_ns := timers.next_due_ns()) is not None and due_ns <= max(end, self._now_ns):
            self._now_ns = max(self._now_ns, due_ns)
            ran_now = timers.run_due()
            if not ran_now:  # this is a timer function itself: the others wait for its end
                break
            ran += ran_now
        self._now_ns = max(end, self._now_ns)
        return ran


class Setting(NamedTuple):
    """When a queued timer is due, and after how long again; 0 is never."""

    due_ns: int
    period_ns: int


class TimerThread:
    """
    The one thread on which an owner's timer functions run; it lives while a timer is queued.

    Attributes:
        errors: exceptions that came out of timer functions.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.errors = 0
        self._queue: dict[Timer, Setting] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._runner: int | None = None
        self._stopping = self._ended = False

    @property
    def queued(self) -> tuple[Timer, ...]:
        """The timers that are set and not due yet: none may be left when a miniport has halted."""
        with self._changed:
            return tuple(self._queue)

    def next_due_ns(self) -> int | None:
        """Tell when the next timer is due; None if none is queued."""
        with self._changed:
            return min((setting.due_ns for setting in self._queue.values()), default=None)

    def run_due(self) -> int:
        """Run every function that is due now, on this thread; answer how many. The timer thread does this by itself."""
        ran = 0
        while (timer := self._begin()) is not None:
            try:
                with at_irql(Irql.DISPATCH):
                    timer.function(timer.context)
            except BaseException:
                self.errors += 1
                log.exception("a timer function raised")
            finally:
                ran += 1
                with self._changed:
                    self._runner = None
                    self._changed.notify_all()
        return ran

    def stop_all(self) -> tuple[Timer, ...]:
        """
        Cancel every timer, wait until a running function and the thread have ended; what is set meanwhile is not queued.

        Returns:
            The timers that were still queued: their owner forgot to cancel them.
        """
        me = get_ident()
        with self._changed:
            left = tuple(self._queue)
            self._queue.clear()
            self._stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._runner == me or (self._runner is None and self._thread is None))
            self._stopping = False
        return left

    def end(self) -> tuple[Timer, ...]:
        """
        Do the same for good: the owner has halted, and no timer of its can be set any more.

        Returns:
            As `stop_all`.
        """
        with self._changed:
            self._ended = True
            return self.stop_all()

    def put(self, timer: Timer, ms: int, *, periodic: bool) -> None:
        """
        Queue a timer, or change what it is set to; one millisecond is the shortest time.

        Raises:
            ContractViolation: the owner has halted (rule 66).
        """
        ns = max(ms, 1) * NS_PER_MS
        with self._changed:
            if self._stopping:
                return
            if self._ended:
                raise refused(rules.DEAD_DRIVER, "the miniport", f"timer {timer.function!r} is set after halt")
            self._queue[timer] = Setting(self.clock.now_ns() + ns, ns if periodic else 0)
            self._changed.notify_all()
            if self._thread is None and self.clock.runs:
                self._thread = threading.Thread(target=self._serve, name="vnic timers", daemon=True)
                self._thread.start()

    def take(self, timer: Timer) -> bool:
        """Take a timer off the queue; answer whether it was there."""
        with self._changed:
            taken = self._queue.pop(timer, None) is not None
            self._changed.notify_all()
            return taken

    def _begin(self) -> Timer | None:
        """The timer that is due first; if it is periodic, it stays queued; one late run makes up for all turns that were missed."""
        with self._changed:
            timer = min(self._queue, key=lambda timer: self._queue[timer].due_ns, default=None)
            now = self.clock.now_ns()
            if timer is None or self._runner is not None or self._queue[timer].due_ns > now:
                return None
            due_ns, period_ns = self._queue.pop(timer)
            if period_ns:
                self._queue[timer] = Setting(now + period_ns - (now - due_ns) % period_ns, period_ns)
            self._runner = get_ident()
            return timer

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._thread = None
                    self._changed.notify_all()
                    return
                wait_ns = min(setting.due_ns for setting in self._queue.values()) - self.clock.now_ns()
                if wait_ns > 0:
                    self._changed.wait(min(wait_ns, LONGEST_WAIT_NS) / 1e9)
            self.run_due()


system_timers = TimerThread()
"""For protocol drivers; an adapter has its own, which it stops when it halts."""


class Timer:
    """
    A function that runs at DISPATCH after some time, once or again and again. A timer is queued once at most.

    Args:
        function: called with the context; it must not wait.
        context: whatever the function needs.
        timers: the owner's timer thread.

    NDIS: NDIS_TIMER, NDIS_MINIPORT_TIMER; SYN-14 to SYN-16.
    """

    def __init__(self, function: Callable[[Any], None], context: Any = None, timers: TimerThread = system_timers) -> None:
        self.function = function
        self.context = context
        self.timers = timers

    def set(self, ms: int) -> None:
        """Run once, after so many milliseconds; what was set before is forgotten. NDIS: NdisMSetTimer."""
        require_irql(maximum=Irql.DISPATCH, what="Timer.set")
        self.timers.put(self, ms, periodic=False)

    def set_periodic(self, ms: int) -> None:
        """Run every so many milliseconds; what was set before is forgotten. NDIS: NdisMSetPeriodicTimer."""
        require_irql(maximum=Irql.DISPATCH, what="Timer.set_periodic")
        self.timers.put(self, ms, periodic=True)

    def cancel(self) -> bool:
        """
        Take the timer off the queue. A run that has begun goes on. NDIS: NdisMCancelTimer.

        Returns:
            Whether it was queued; if not, its function may be running now: `TimerThread.stop_all` waits for that.
        """
        require_irql(maximum=Irql.DISPATCH, what="Timer.cancel")
        return self.timers.take(self)
