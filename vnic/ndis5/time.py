"""
Time, events, timers, work items, interrupts.

Next: `receive.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vnic import timers
from vnic.locks import Irql, require_irql
from vnic.ndis5.constants import NDIS_EVENT, NDIS_MINIPORT_INTERRUPT, NDIS_TIMER, NDIS_WORK_ITEM
from vnic.status import Status


def NdisGetCurrentSystemTime() -> int:
    return timers.current_system_time()


def NdisStallExecution(MicrosecondsToStall: int) -> None:
    timers.stall_execution(MicrosecondsToStall)


def NdisMSleep(MicrosecondsToSleep: int) -> None:
    require_irql(maximum=Irql.PASSIVE, what="NdisMSleep")
    time.sleep(MicrosecondsToSleep / 1_000_000)


def NdisInitializeEvent() -> NDIS_EVENT:
    return NDIS_EVENT()


def NdisSetEvent(Event: NDIS_EVENT) -> None:
    Event.set()


def NdisResetEvent(Event: NDIS_EVENT) -> None:
    Event.reset()


def NdisWaitEvent(Event: NDIS_EVENT, MsToWait: int) -> bool:
    return Event.wait(MsToWait)


def NdisInitializeTimer(TimerFunction: Callable[[Any, Any, Any, Any], object], FunctionContext: Any) -> NDIS_TIMER:
    """The function is called as in C: with `FunctionContext` second, and nothing in the system's three places."""

    def run(context: Any) -> None:
        TimerFunction(None, context, None, None)

    return NDIS_TIMER(run, FunctionContext)


def NdisSetTimer(Timer: NDIS_TIMER, MillisecondsToDelay: int) -> None:
    Timer.set(MillisecondsToDelay)


def NdisCancelTimer(Timer: NDIS_TIMER) -> bool:
    return Timer.cancel()


def NdisInitializeWorkItem(Routine: Callable[[NDIS_WORK_ITEM, Any], None], Context: Any) -> NDIS_WORK_ITEM:
    return NDIS_WORK_ITEM(Routine, Context)


def NdisScheduleWorkItem(WorkItem: NDIS_WORK_ITEM) -> Status:
    return WorkItem.schedule()


def NdisMSynchronizeWithInterrupt(
    Interrupt: NDIS_MINIPORT_INTERRUPT, SynchronizeFunction: Callable[[Any], object], SynchronizeContext: Any
) -> bool:
    return Interrupt.synchronize(SynchronizeFunction, SynchronizeContext)


def NdisMDeregisterInterrupt(Interrupt: NDIS_MINIPORT_INTERRUPT) -> None:
    Interrupt.deregister()
