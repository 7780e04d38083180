"""
A handler that may answer PENDING: its answer and its completion are one answer, whichever of the two comes first.

Next: `vnic/lifecycle.py`, which calls such handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from vnic.status import Status
from vnic.steps import now_ns
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.core import Binding
    from vnic.ledger import Ledger

IDLE, RUNNING, PENDING = range(3)


class PendingCall:
    """
    One handler of one driver, called again and again, but never twice at a time.

    A completion that overtakes the answer, from inside the handler or from another thread, becomes the answer: whoever called sees
    no PENDING then. The lock is never held while a driver runs.

    Args:
        handler: the handler's name.
        ledger: where a completion out of place is counted and reported.
        binding: whose handler it is; None: the miniport's.

    Attributes:
        since_ns: when it was last called, on the monotonic clock.
        over: called with each answer that is not PENDING, before anybody else learns of it; it must not raise.
    """

    def __init__(self, handler: str, ledger: Ledger, binding: Binding | None) -> None:
        self.handler = handler
        self._ledger = ledger
        self._binding = binding
        self._lock = Lock()
        self._state = IDLE
        self._early: Any = None
        self.since_ns = 0
        self.over: Callable[[Any], None] | None = None

    @property
    def pending(self) -> bool:
        """Whether a completion has to come."""
        return self._state == PENDING

    def run(self, call: Callable[[], Any]) -> Any:
        """
        Call the handler.

        Returns:
            What it answered, or what it was completed with meanwhile; PENDING: `complete` has to come.
        """
        with self._lock:
            self._state, self._early = RUNNING, None
            self.since_ns = now_ns()
        answer: Any = Status.FAILURE
        try:
            answer = call()
        finally:
            with self._lock:
                early = self._early
                self._state = state = PENDING if answer == Status.PENDING and early is None else IDLE
            if state == IDLE and self.over is not None:
                self.over(answer if early is None else early)
        if early is None:
            return answer
        if answer != Status.PENDING:
            self._violation("it was completed, and then did not answer PENDING")
        return early

    def complete(self, answer: Any) -> bool:
        """
        Take the completion.

        Returns:
            Whether the caller is to end the matter now; otherwise `run` will.

        Raises:
            ContractViolation: nothing is pending (rule 65); nothing has changed then.
        """
        with self._lock:
            was = self._state
            if was == RUNNING and self._early is None:
                self._early = answer
                return False
            if was == PENDING:
                self._state = IDLE
        if was != PENDING:
            raise self._violation("it is completed, and is not pending")
        if self.over is not None:
            self.over(answer)
        return True

    def _violation(self, what: str) -> Exception:
        return self._ledger.violation(rules.ILLEGAL_TRANSITION, self._binding, f"{self.handler}: {what}")
