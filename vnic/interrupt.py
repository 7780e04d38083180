"""
The interrupt of an adapter: a readable descriptor stands for the line of the card.

    poller finds the descriptor readable -> interrupt.fire()           the ISR, at DIRQL, under the interrupt lock
    data thread                          -> interrupt.run_deferred()   handle_interrupt, at DISPATCH, for all that fired till then

Several interrupts may end in one handle_interrupt. A masked interrupt does not fire; the descriptor stays readable, so it fires
again once it is enabled. Under the CE profile all of it runs at PASSIVE, in the order above.

NDIS: SYN-04, SYN-10, SYN-11, SYN-13.

Next: `vnic/indicate.py`, the batch that a deferred handler takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from threading import get_ident
from typing import Protocol, TypeVar

from vnic.context import here
from vnic.ledger import where
from vnic.locks import CALLER, Irql, at_irql, flag, require_irql
from vnic.verifier import rules
from vnic.verifier.refusal import refused

T = TypeVar("T")


class InterruptHandlers(Protocol):
    """
    What a miniport with an interrupt has.

    It may also have `disable_interrupt()` (at DIRQL: mask the card) and `enable_interrupt()` (up to DISPATCH: unmask it).
    """

    def isr(self) -> tuple[bool, bool]:
        """Do the least at DIRQL; answer whether it is ours, and whether to run handle_interrupt. NDIS: MiniportISR."""

    def handle_interrupt(self) -> None:
        """Do the work of one interrupt or several, up to DISPATCH, perhaps while the ISR runs. NDIS: MiniportHandleInterrupt."""


class Phase(Enum):
    """Where the adapter is in its life, as far as its interrupt is concerned."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    HALTING = "halting"
    DEREGISTERED = "deregistered"


class Interrupt:
    """
    The registered interrupt of a miniport; it may fire from here on.

    Args:
        miniport: whose handlers are called.
        request_isr: call the ISR for each interrupt; otherwise the card is masked and handle_interrupt is queued.
        shared: others use the same line, so the ISR is always asked and the library never masks the card.

    Attributes:
        phase: set by the adapter when initialize has returned and when halt begins. handle_interrupt is not queued before.
        low_power: set by the adapter; while it is true no interrupt is ours.
        masked: whether the interrupt is disabled.

    NDIS: NdisMRegisterInterrupt.
    """

    def __init__(self, miniport: InterruptHandlers, *, request_isr: bool = False, shared: bool = False) -> None:
        require_irql(maximum=Irql.PASSIVE, what="Interrupt")
        self.phase = Phase.INITIALIZING
        self.low_power = False
        self.masked = False
        self._asks_isr = request_isr or shared
        self._shared = shared
        self._isr = miniport.isr
        self._handle = miniport.handle_interrupt
        self._disable: Callable[[], None] | None = getattr(miniport, "disable_interrupt", None)
        self._enable: Callable[[], None] | None = getattr(miniport, "enable_interrupt", None)
        self._changed = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._queued = False
        self._handling: list[int] = []

    @property
    def queued(self) -> bool:
        """Whether handle_interrupt waits for `run_deferred`."""
        return self._queued

    def fire(self) -> bool:
        """
        Take an interrupt: the poller found the descriptor readable.

        Returns:
            Whether it was ours.
        """
        with self._locked():
            if self.phase is Phase.DEREGISTERED or self.masked:
                return False
            recognized, queue_handler = self._ask()
            if recognized and queue_handler and self.phase is not Phase.INITIALIZING:
                self._queued = True
            return recognized

    def run_deferred(self) -> bool:
        """
        Run handle_interrupt, if it is queued, for all interrupts up to now; then enable the interrupt, if the miniport lets us.

        Returns:
            Whether it ran.

        Raises:
            ContractViolation: the ISR runs on this thread, or a synchronized function (rule 73).
        """
        require_irql(maximum=Irql.DISPATCH, what="Interrupt.run_deferred")
        self._require_unlocked()
        with self._changed:
            if not self._queued:
                return False
            self._queued = False
            self._handling.append(get_ident())
        try:
            with _in_miniport(), at_irql(Irql.DISPATCH):
                self._handle()
        finally:
            try:
                if self._enable is not None and not self._shared and self.phase is not Phase.DEREGISTERED:
                    self._unmask()
            finally:
                with self._changed:
                    self._handling.remove(get_ident())
                    self._changed.notify_all()
        return True

    def synchronize(self, function: Callable[[T], object], context: T) -> bool:
        """
        Run a function at DIRQL under the interrupt lock: it never runs together with the ISR. NDIS: NdisMSynchronizeWithInterrupt.

        Returns:
            Whether the function answered something true.
        """
        with self._locked():
            self._require_registered("synchronized with")
            return bool(function(context))

    def disable(self) -> None:
        """Mask the interrupt: it does not fire until `enable`. NDIS: MiniportDisableInterrupt."""
        with self._locked():
            self._require_registered("disabled")
            self._mask()

    def enable(self) -> None:
        """Let the interrupt fire again. NDIS: MiniportEnableInterrupt."""
        require_irql(maximum=Irql.DISPATCH, what="Interrupt.enable")
        self._require_registered("enabled")
        self._unmask()

    def deregister(self) -> None:
        """
        End it: nothing fires any more, what was queued is forgotten, and a running handle_interrupt has ended. PASSIVE only.

        NDIS: NdisMDeregisterInterrupt.
        """
        require_irql(maximum=Irql.PASSIVE, what="Interrupt.deregister")
        if get_ident() in self._handling:
            raise refused(rules.IRQL_TOO_HIGH, CALLER, "Interrupt.deregister inside handle_interrupt, which it waits for")
        with self._locked():
            self._require_registered("deregistered")
            self.phase = Phase.DEREGISTERED
            self._queued = False
        with self._changed:
            self._changed.wait_for(lambda: not self._handling)

    def _ask(self) -> tuple[bool, bool]:
        """Whose interrupt it is, and whether there is work: the ISR says so, if it has to be asked."""
        if self._asks_isr or self.phase is not Phase.RUNNING:
            with _in_miniport():
                recognized, queue_handler = self._isr()
                if recognized and self.low_power:
                    owner = getattr(self._isr, "__self__", None)
                    flag(rules.ISR_IN_LOW_POWER, "the ISR claims an interrupt", {} if owner is None else {"where": where(owner, "isr")})
                    return False, False
            return recognized, queue_handler
        if self.low_power:
            return False, False
        if self._disable is not None:
            self._mask()
        return True, True

    def _mask(self) -> None:
        self.masked = True
        if self._disable is not None:
            self._disable()

    def _unmask(self) -> None:
        self.masked = False  # first, or what fires as soon as the card can would be lost
        with at_irql(Irql.DISPATCH):
            if self._enable is not None:
                self._enable()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The interrupt lock, at DIRQL."""
        self._require_unlocked()
        with self._changed:
            self._owner = get_ident()
            try:
                with at_irql(Irql.DIRQL):
                    yield
            finally:
                self._owner = None

    def _require_unlocked(self) -> None:
        if self._owner == get_ident():
            raise refused(rules.LOCK_RECURSION, CALLER, "the interrupt lock is taken by the thread that holds it")

    def _require_registered(self, done: str) -> None:
        if self.phase is Phase.DEREGISTERED:
            raise refused(rules.DEAD_DRIVER, CALLER, f"an interrupt is {done} after deregister")


@contextmanager
def _in_miniport() -> Iterator[None]:
    """A handler of the miniport runs on this thread: what it breaks is the miniport's fault."""
    context = here()
    before = context.enter(None, "interrupt", context.irql)
    try:
        yield
    finally:
        context.leave(before)
