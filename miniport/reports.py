"""
From what an adapter reports to lines in the log: who, which rule or exception, which line of code, and not too often.

Next: `miniport/log.py`.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from miniport.drivers import file_of
from miniport.inspector.subject import Raised
from miniport.log import EventLog, escape, exception_fields
from vnic import Binding, ContractViolation, OwnershipError
from vnic.verifier.records import RECORDS, Record
from vnic.verifier.rules import Rule
from vnic.verifier.throttle import Throttle

LONGEST_OUTPUT = 65536
DONE_ELSEWHERE = ("unbind", "stop")
"""The actions that a library cannot take, for it does not know what is around it."""


class Reports:
    """
    Writes the events `violation` and `driver_error`.

    Called on the thread where it happened, often the data thread: what is too frequent costs a dictionary look-up there, and the
    rest is written by whoever `post` hands it to.

    Args:
        log: where to.
        post: runs a function soon, on a thread that may wait for the log.
        act: does what follows from a broken rule, if that is more than to tell: the action, the culprit, and the rule.
    """

    def __init__(
        self,
        log: EventLog,
        post: Callable[[Callable[[], None]], None],
        act: Callable[[str, Binding | None, Rule], None] | None = None,
    ) -> None:
        self.log = log
        self.post = post
        self.act = act
        self._throttle = Throttle()
        self._early: list[Record] | None = []
        self._lock = threading.Lock()
        self._raised: Counter[int] = Counter()
        self._strays, self._last_stray = 0, ""

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        if event == "violation":
            self._violation(fields)
            return
        binding, error = fields.get("binding"), fields["error"]
        driver = binding.name if binding is not None else fields.get("driver", "miniport")
        # what is a refusal is counted as a broken rule
        if binding is not None and type(error) not in (ContractViolation, OwnershipError):
            with self._lock:
                self._raised[id(binding)] += 1
        suppressed = self._throttle.allow((event, driver, (fields.get("handler"), type(error).__name__)))
        if suppressed is None:
            return
        told = describe_error(binding, error, fields)
        if suppressed:
            told["suppressed"] = suppressed
        self.post(lambda: self.log.event(event, "error", driver=driver, **told))

    def _violation(self, fields: dict[str, Any]) -> None:
        """A rule was broken where an adapter saw it; what follows follows each time, what is written was limited already."""
        if fields["action"] in DONE_ELSEWHERE and self.act is not None:
            self.act(fields["action"], fields["binding"], fields["error"].rule)
        if fields["record"] is not None:
            self.recorded(fields["record"])

    def listen(self) -> None:
        """The daemon has started: write what was recorded until now, and from now on. If it fails to start, one line says why."""
        early, self._early = self._early, None
        RECORDS.listener = self.recorded
        for record in early or ():
            self.recorded(record)

    def recorded(self, record: Record) -> None:
        """Write a record into the log."""
        if self._early is not None:
            self._early.append(record)
            return
        self.post(lambda: self.log.event("violation", record["severity"], **record))

    def raised(self) -> Raised:
        """What came out of the bindings and out of nobody's handlers until now."""
        with self._lock:
            return Raised(dict(self._raised), self._strays, self._last_stray)

    def forget(self, kept: Iterable[Binding]) -> None:
        """Count no more what came out of bindings that are not bound any more: a new one may get the number of an old one."""
        numbers = [id(binding) for binding in kept]
        with self._lock:
            self._raised = Counter({number: self._raised[number] for number in numbers if number in self._raised})

    def stray(self, handler: str, error: BaseException | None) -> None:
        """Tell of an exception of which only the place is known."""
        if error is not None:
            told = exception_fields(error)
            with self._lock:
                self._strays += 1
                self._last_stray = f"{told['type']} at {told['where']}, in {escape(handler)[:80]}"
            self("driver_error", {"driver": "unknown", "handler": handler, "error": error})

    def drain(self) -> None:
        """Tell what was suppressed and not yet told."""
        for (event, driver, what), suppressed in self._throttle.drain():
            self.log.event(event, "warning", driver=driver, error=str(what), suppressed=suppressed)
        for (rule, driver), suppressed in RECORDS.drain().items():
            self.log.event("violation", "warning", driver=escape(driver), id=rule, suppressed=suppressed)


class Output(io.TextIOBase):
    """
    What drivers print on the standard error stream: each line an `output` event, so that the log stays one event a line, and escaped.

    Args:
        log: where to.
        post: as for `Reports`.
    """

    def __init__(self, log: EventLog, post: Callable[[Callable[[], None]], None]) -> None:
        self.log = log
        self.post = post
        self._begun = ""
        self._throttle = Throttle()

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text; lines are told of when they are complete, at most 10 a second."""
        *lines, self._begun = (self._begun + text)[-LONGEST_OUTPUT:].split("\n")
        for line in lines:
            suppressed = self._throttle.allow("output")
            if suppressed is not None:
                more = {"suppressed": suppressed} if suppressed else {}
                self.post(partial(self.log.event, "output", "warning", text=escape(line[:200]), **more))
        return len(text)

    def drain(self) -> None:
        """Tell the line that was begun and not completed, and what was suppressed and not yet told."""
        if self._begun:
            self.write("\n")
        for _, suppressed in self._throttle.drain():
            self.post(partial(self.log.event, "output", "warning", suppressed=suppressed))


def describe_error(binding: Binding | None, error: BaseException, fields: dict[str, Any]) -> dict[str, Any]:
    """The facts of an exception that came out of a driver, for one line."""
    return {"handler": fields.get("handler")} | exception_fields(error, file_of(type(binding.driver)) if binding is not None else None)
