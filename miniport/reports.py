"""
From what an adapter reports to lines in the log: who, which rule or exception, which line of code, and not too often.

Next: `miniport/log.py`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

from miniport.drivers import file_of
from miniport.log import EventLog, escape, exception_fields
from vnic import Binding, ContractViolation
from vnic.ledger import where
from vnic.verifier.throttle import Throttle

LONGEST_OUTPUT = 65536


class Reports:
    """
    Writes the events `violation` and `driver_error`.

    Called on the thread where it happened, often the data thread: what is too frequent costs a dictionary look-up there, and the
    rest is written by whoever `post` hands it to.

    Args:
        log: where to.
        post: runs a function soon, on a thread that may wait for the log.
    """

    def __init__(self, log: EventLog, post: Callable[[Callable[[], None]], None]) -> None:
        self.log = log
        self.post = post
        self._throttle = Throttle()

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        binding, error = fields.get("binding"), fields["error"]
        driver = binding.name if binding is not None else fields.get("driver", "miniport")
        key = (event, driver, error.rule.id if event == "violation" else (fields.get("handler"), type(error).__name__))
        suppressed = self._throttle.allow(key)
        if suppressed is None:
            return
        told = describe_violation(binding, error, fields.get("packet")) if event == "violation" else describe_error(binding, error, fields)
        if suppressed:
            told["suppressed"] = suppressed
        level = "warning" if event == "violation" and error.rule.cls == "A1" else "error"
        self.post(lambda: self.log.event(event, level, driver=driver, **told))

    def stray(self, handler: str, error: BaseException | None) -> None:
        """Tell of an exception of which only the place is known."""
        if error is not None:
            self("driver_error", {"driver": "unknown", "handler": handler, "error": error})

    def drain(self) -> None:
        """Tell what was suppressed and not yet told."""
        for (event, driver, what), suppressed in self._throttle.drain():
            self.log.event(event, "warning", driver=driver, rule_or_error=str(what), suppressed=suppressed)


class Output(io.TextIOBase):
    """
    What drivers print on the standard error stream: each line an `output` event, so that the log stays one JSON object per line.

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


def describe_violation(binding: Binding | None, error: ContractViolation, packet: object) -> dict[str, Any]:
    """The facts of a broken rule, for one line."""
    told: dict[str, Any] = {"rule": error.rule.id, "name": error.rule.name, "class": error.rule.cls, "detail": error.detail}
    if packet is not None:
        told["history"] = error.history
    if binding is not None:
        told["where"] = where(binding.driver)
    return told | {"remedy": error.rule.remedy}


def describe_error(binding: Binding | None, error: BaseException, fields: dict[str, Any]) -> dict[str, Any]:
    """The facts of an exception that came out of a driver, for one line."""
    return {"handler": fields.get("handler")} | exception_fields(error, file_of(type(binding.driver)) if binding is not None else None)
