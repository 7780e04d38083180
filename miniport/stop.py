"""
The end: unbind from top to bottom, wait for what is held, name who hangs, and say whether everything is accounted for.

Next: `vnic/counters.py`, the sums that must come out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from miniport.drivers import file_of
from miniport.log import escape
from vnic.counters import broken_sums
from vnic.verifier import rules

if TYPE_CHECKING:
    from types import FrameType

    from miniport.data_thread import DataThreads
    from miniport.log import EventLog
    from miniport.stack import Stack

T = TypeVar("T")
AGAIN = 0.005
"""Seconds between two looks at drivers that still hold packets."""


async def unbind_all(stack: Stack, threads: DataThreads, drain_timeout: float) -> None:
    """
    Stop reading and close every binding; what is not home after `drain_timeout` seconds is taken back by force.

    Returns early if the data threads do not answer, because a driver does not return.
    """

    def unbind() -> bool:
        threads.stop_reading()
        return stack.close()

    deadline = time.monotonic() + drain_timeout
    overdue = 0
    # each time that something is taken back by force, what is below it may go
    while overdue <= len(stack.bindings):
        closed = await _wait_for(threads.call(unbind), max(deadline - time.monotonic(), 0) + 1)
        if closed or closed is None:
            return
        if time.monotonic() >= deadline:
            overdue += 1
            await _wait_for(threads.call(stack.reclaim), 1)
        await asyncio.sleep(AGAIN)


async def _wait_for(future: Future[T], seconds: float) -> T | None:
    """Wait for the data threads, with the loop running; None if they did not answer in time."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
    except TimeoutError:
        return None


def name_the_hanging(log: EventLog, stack: Stack, threads: DataThreads) -> None:
    """Say in which line of which driver each data thread is; a filter is also on the stack while a driver above it is called."""
    files = {file_of(type(binding.driver)): binding.name for binding in stack.bindings}
    found: FrameType | None
    for frame in threads.stacks():
        found = frame
        while found is not None and found.f_code.co_filename not in files:
            found = found.f_back
        if found is not None:
            file = found.f_code.co_filename
            told = {"handler": "unknown", "type": "Hang", "message": "does not return", "where": f"{file}:{found.f_lineno}"}
            log.event("driver_error", "error", driver=files[file], **told)


def accounted_for(log: EventLog, name: str, counters: Mapping[str, int]) -> bool:
    """Whether every frame and packet of an adapter is accounted for, all packets are home, and no operation was refused."""
    for broken in broken_sums(counters):
        rule = rules.CONSERVATION
        told = {"rule": rule.name, "id": rule.id, "class": rule.cls, "detail": f"{escape(name)}: {broken}"}
        log.event("violation", "error", driver="vnic", **told)
        return False
    return not counters["violations_refused"] and counters["pool_free"] == counters["pool_capacity"]
