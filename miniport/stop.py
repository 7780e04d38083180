"""
The end: unbind from top to bottom, wait for what is held, name who hangs, and say whether everything is accounted for.

Next: `vnic/counters.py`, the sums that must come out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from miniport.drivers import file_of
from miniport.inspector.text import count
from miniport.log import escape
from vnic.counters import broken_sums
from vnic.verifier import rules
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from types import FrameType

    from miniport.data_thread import DataThreads
    from miniport.log import EventLog
    from miniport.stack import Stack

T = TypeVar("T")
AGAIN = 0.005
"""Seconds between two looks at drivers that still hold packets."""


async def unbind_all(stack: Stack, threads: DataThreads, drain_timeout: float, before_force: Callable[[], None]) -> None:
    """
    Stop reading and close every binding; what is not home after `drain_timeout` seconds is taken back by force, after `before_force`.

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
            if not overdue:
                before_force()
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


def unaccounted(log: EventLog, name: str, counters: Mapping[str, int]) -> list[str]:
    """What of an adapter is not accounted for, in words: frames, operations that were refused, packets that are not home."""
    for broken in broken_sums(counters):
        rule = rules.CONSERVATION
        told = {"rule": rule.name, "id": rule.id, "class": rule.cls, "detail": f"{escape(name)}: {broken}"}
        log.event("violation", "error", driver="vnic", **told)
        return [f"the counters of {escape(name)} do not add up: {broken}"]
    found = []
    if refused := counters["violations_refused"]:
        found.append(f"{count(refused, 'call was', 'calls were')} refused by a rule on {escape(name)}{_last_refused(name)}")
    if missing := counters["pool_capacity"] - counters["pool_free"]:
        states = (("indicated", "held"), ("sending", "being sent"), ("quarantined", "still referred to"))
        where = [f"{number} {word}" for state, word in states if (number := counters[f"pool_{state}"])]
        found.append(f"{count(missing, 'packet', 'packets')} of {escape(name)} not home: {', '.join(where) or 'owned'}")
    return found


def _last_refused(name: str) -> str:
    for record in reversed(RECORDS.all()):
        if record["class"] == "A0" and record.get("adapter") == escape(name):
            return f", last {record['id']} {record['rule']} of {record['driver']} at {record['where']}"
    return ""


def taken_back(number: int) -> str:
    """Say of packets that were taken back by force who had them, as far as it was written down."""
    rule = rules.LEAKED_AT_UNBIND
    holders = dict.fromkeys(record["driver"] for record in RECORDS.all() if record["id"] == rule.id)
    held = f", held by {', '.join(holders)} (rule {rule.id})" if holders else ""
    return f"{count(number, 'packet was', 'packets were')} not home and taken back by force{held}"
