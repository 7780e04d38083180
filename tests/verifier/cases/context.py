"""
Rules of levels, locks and time: where a driver may wait, and what it may hold then.
"""

from __future__ import annotations

import threading
import time

from verifier.bench import (
    Case,
    busy_second,
    filled,
    frame,
    frame_and_reconfigure,
    frame_that_hangs,
    interrupt,
    reconfigure,
    work_then_unbound,
)

from vnic import MiniportDriver, ProtocolDriver
from vnic.locks import Irql, SpinLock, lower_irql, raise_irql
from vnic.timers import Event, WorkItem, serialized_miniport, stall_execution
from vnic.verifier import rules


class WaitsAtDispatch(ProtocolDriver):
    lock, event = SpinLock(), Event()

    def pnp_event(self, event):
        with self.lock:
            self.event.wait(1)  # here


class WaitsAtPassive(ProtocolDriver):
    lock, event = SpinLock(), Event()

    def pnp_event(self, event):
        with self.lock:
            self.event.set()
        self.event.wait(1)


class LowersUpward(ProtocolDriver):
    def pnp_event(self, event):
        lower_irql(Irql.DISPATCH)  # here


class LowersToWhereItWas(ProtocolDriver):
    def pnp_event(self, event):
        before = raise_irql(Irql.DISPATCH)
        lower_irql(before)


class AcquiresTwice(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        with self.lock:
            self.lock.acquire()  # here


class AcquiresTwo(ProtocolDriver):
    lock, other = SpinLock(), SpinLock()

    def pnp_event(self, event):
        with self.lock, self.other:
            pass


class ReleasesTwice(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        self.lock.acquire()
        self.lock.release()
        self.lock.release()  # here


class ReleasesOnce(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        self.lock.acquire()
        self.lock.release()


class CrossesForms(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        with self.lock:
            self.lock.dpr_release()  # here


class PairsForms(ProtocolDriver):
    lock, other = SpinLock(), SpinLock()

    def pnp_event(self, event):
        with self.lock:
            self.other.dpr_acquire()
            self.other.dpr_release()


class UsesAFreedLock(ProtocolDriver):
    def pnp_event(self, event):
        lock = SpinLock()
        lock.free()
        lock.acquire()  # here


class FreesALastUsedLock(ProtocolDriver):
    def pnp_event(self, event):
        lock = SpinLock()
        lock.acquire()
        lock.release()
        lock.free()


class EndsWithALock(ProtocolDriver):
    lock = SpinLock()

    def receive_packet(self, packet):  # here
        self.lock.acquire()
        return 0


class EndsWithoutALock(ProtocolDriver):
    lock = SpinLock()

    def receive_packet(self, packet):
        self.lock.acquire()
        self.lock.release()
        return 0


class TakesLocksInBothOrders(ProtocolDriver):
    def pnp_event(self, event):
        first, second = SpinLock("first"), SpinLock("second")
        with first, second:
            pass
        with second:
            first.acquire()  # here


class TakesLocksInOneOrder(ProtocolDriver):
    def pnp_event(self, event):
        first, second = SpinLock("first"), SpinLock("second")
        for _ in range(2):
            with first, second:
                pass


class ReleasesTheFirstFirst(ProtocolDriver):
    first, second = SpinLock("first"), SpinLock("second")

    def pnp_event(self, event):
        with self.first, self.second:
            self.first.release()  # here


class ReleasesTheLastFirst(ProtocolDriver):
    first, second = SpinLock("first"), SpinLock("second")

    def pnp_event(self, event):
        with self.first:
            with self.second:
                pass


class IndicatesUnderALock(MiniportDriver):
    lock = SpinLock()

    def handle_interrupt(self):
        self.packet = filled(self.pool)
        with self.lock:
            self.adapter.indicate([self.packet])  # here


class IndicatesAfterRelease(MiniportDriver):
    lock = SpinLock()

    def handle_interrupt(self):
        packet = filled(self.pool)
        with self.lock:
            self.packet = packet
        self.adapter.indicate([packet])


class StallsLong(ProtocolDriver):
    def pnp_event(self, event):
        stall_execution(51)  # here


class StallsShortly(ProtocolDriver):
    def pnp_event(self, event):
        stall_execution(50)


class SchedulesWork(MiniportDriver):
    def handle_interrupt(self):
        with serialized_miniport():
            WorkItem(print).schedule()  # here


class SetsATimer(MiniportDriver):
    def handle_interrupt(self):
        with serialized_miniport():
            self.event = Event()
            self.event.set()


class TakesTheDprForm(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        self.lock.dpr_acquire()  # here


class TakesTheDprFormAtDispatch(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        before = raise_irql(Irql.DISPATCH)
        self.lock.dpr_acquire()
        self.lock.dpr_release()
        lower_irql(before)


class Listens(ProtocolDriver):
    """Is there to be shown frames."""


class SleepsInAHandler(ProtocolDriver):
    def receive_packet(self, packet):
        time.sleep(0.001)  # here
        return 0


class SleepsWhereItMay(ProtocolDriver):
    def pnp_event(self, event):
        time.sleep(0.001)
        open("/dev/null").close()


class IsUnboundWithALock(ProtocolDriver):
    def bind_adapter(self):
        self.lock = SpinLock()  # here

    def work(self):
        self.lock.acquire()


class ReleasesBeforeItIsUnbound(ProtocolDriver):
    def bind_adapter(self):
        self.lock = SpinLock()

    def work(self):
        with self.lock:
            pass


class HoldsALockLong(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        self.lock.acquire()
        for _ in range(210):
            stall_execution(50)
        self.lock.release()  # here


class HoldsALockShortly(ProtocolDriver):
    lock = SpinLock()

    def pnp_event(self, event):
        with self.lock:
            stall_execution(50)


class TakesItsTime(ProtocolDriver):
    def receive_packet(self, packet):  # here
        for _ in range(10_100):
            stall_execution(50)
        return 0


class TakesLittleTime(ProtocolDriver):
    def receive_packet(self, packet):
        stall_execution(50)
        return 0


class Waits(ProtocolDriver):
    """Says when a frame has come, `self.entered`, and can be told to go on, `self.released`."""

    def bind_adapter(self):
        self.entered, self.released = threading.Event(), threading.Event()


class NeverReturns(Waits):
    def receive_packet(self, packet):
        self.entered.set()
        self.released.wait()  # here
        return 0


class Returns(Waits):
    def receive_packet(self, packet):
        self.entered.set()
        self.released.wait(0)
        return 0


CASES = (
    Case(rules.IRQL_TOO_HIGH, WaitsAtDispatch, WaitsAtPassive, reconfigure, level=2),
    Case(rules.IRQL_NOT_RESTORED, LowersUpward, LowersToWhereItWas, reconfigure, level=2),
    Case(rules.LOCK_RECURSION, AcquiresTwice, AcquiresTwo, reconfigure),
    Case(rules.LOCK_NOT_OWNED, ReleasesTwice, ReleasesOnce, reconfigure),
    Case(rules.LOCK_FORMS_CROSSED, CrossesForms, PairsForms, reconfigure),
    Case(rules.LOCK_HELD_AT_EXIT, EndsWithALock, EndsWithoutALock, frame, level=2),
    Case(rules.LOCK_LIFE, UsesAFreedLock, FreesALastUsedLock, reconfigure),
    Case(rules.BLOCKING_CALL, SleepsInAHandler, SleepsWhereItMay, frame_and_reconfigure, level=2),
    Case(rules.LOCK_UNBALANCED, IsUnboundWithALock, ReleasesBeforeItIsUnbound, work_then_unbound, level=2),
    Case(rules.LOCK_HELD_TOO_LONG, HoldsALockLong, HoldsALockShortly, reconfigure, level=2),
    Case(rules.HANDLER_SLOW, TakesItsTime, TakesLittleTime, frame, level=2),
    Case(rules.LOCK_ORDER, TakesLocksInBothOrders, TakesLocksInOneOrder, reconfigure, level=2),
    Case(rules.LOCK_RELEASE_ORDER, ReleasesTheFirstFirst, ReleasesTheLastFirst, reconfigure, level=2),
    Case(rules.LOCK_ACROSS_CALL, IndicatesUnderALock, IndicatesAfterRelease, interrupt, level=2, others=(Listens,)),
    Case(rules.HANDLERS_GREEDY, TakesItsTime, TakesLittleTime, busy_second, level=2, also=("81",)),
    Case(rules.HANDLER_HANGS, NeverReturns, Returns, frame_that_hangs),
    Case(rules.STALL_TOO_LONG, StallsLong, StallsShortly, reconfigure, level=2),
    Case(rules.SERIALIZED_WORK_ITEM, SchedulesWork, SetsATimer, interrupt),
    Case(rules.DPR_AT_WRONG_LEVEL, TakesTheDprForm, TakesTheDprFormAtDispatch, reconfigure, level=2),
)
