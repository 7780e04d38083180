"""
Resets: who asks for one, what is told before and after, and the timer that asks whether the NIC hangs.

Next: `vnic/requests.py`, what a reset stops.
"""

from __future__ import annotations

from enum import IntFlag
from threading import Lock
from typing import TYPE_CHECKING, Any

from vnic.context import here
from vnic.driver import MiniportDriver, handler
from vnic.pending import PendingCall
from vnic.status import Status
from vnic.timers import Clock, Timer, TimerThread

if TYPE_CHECKING:
    from vnic.core import Adapter, Binding
    from vnic.ledger import Ledger
    from vnic.request import Entry
    from vnic.send import SendPath

STEP_SECONDS = 2


class Attributes(IntFlag):
    """
    What a miniport says of itself.

    The library obeys the two that ignore a timeout; the others are for whoever reads them.

    NDIS: NDIS_ATTRIBUTE_*; LC-10.
    """

    NONE = 0x00
    IGNORE_PACKET_TIMEOUT = 0x01
    IGNORE_REQUEST_TIMEOUT = 0x02
    BUS_MASTER = 0x08
    INTERMEDIATE_DRIVER = 0x10
    DESERIALIZE = 0x20
    NO_HALT_ON_SUSPEND = 0x40
    SURPRISE_REMOVE_OK = 0x80
    NOT_CO_NDIS = 0x100
    USES_SAFE_BUFFER_APIS = 0x200
    MINIPORT_PADS_SHORT_PACKETS = 0x800


class Resetter:
    """
    The resets of one adapter, one at a time.

    Args:
        adapter: whose miniport is reset.
        ledger: where broken rules are reported.
        sends: what is refused meanwhile.
        clock: what the adapter's timers go by; None: the machine's.

    Attributes:
        timers: the adapter's own timers.
        attributes: what the miniport said of itself.
    """

    def __init__(self, adapter: Adapter, ledger: Ledger, sends: SendPath, clock: Clock | None) -> None:
        self.timers = TimerThread(clock)
        self.attributes = Attributes.NONE
        self._adapter = adapter
        self._ledger = ledger
        self._sends = sends
        self._reset = handler(adapter.miniport, MiniportDriver, "reset")
        self._hangs = handler(adapter.miniport, MiniportDriver, "check_for_hang")
        self._call = PendingCall("reset", ledger, None)
        self._lock = Lock()
        self._active = False
        self._initiator: Binding | None = None
        self._timer = Timer(self._on_timer, timers=self.timers)
        self._seconds = STEP_SECONDS
        self._below: Entry | None = None
        self._over = self._request_age = self._send_age = 0

    def reset(self, initiator: Binding | None) -> Status:
        """What `Adapter.reset` and `Binding.reset` do; there it is documented."""
        if self._reset is None:
            return Status.NOT_RESETTABLE
        with self._lock:
            if self._sends.halted:
                return Status.CLOSING
            if self._active:
                return Status.RESET_IN_PROGRESS
            self._active = self._sends.resetting = True
            self._initiator = initiator
        self._adapter.requests.begin_reset()
        self._sends.abort(None)
        self._tell(Status.RESET_START)
        if self._adapter.halted:
            # a driver that was told has ended the adapter: the miniport is not asked any more, and may have halted
            self._sends.resetting = False
            self._tell(Status.RESET_END)
            self._initiator = None
            self._active = False
            return Status.CLOSING
        try:
            ended = self._call.run(self._ask)
        except BaseException as error:
            self._ledger.failed(None, "reset", error)
            ended = Status.FAILURE, False
        if ended == Status.PENDING:
            return Status.PENDING
        return self._end(*ended)

    def reset_complete(self, status: Status, addressing_reset: bool) -> None:
        """What `Adapter.reset_complete` does; there it is documented."""
        status = Status.FAILURE if status == Status.PENDING else Status(status)
        if self._call.complete((status, addressing_reset)):
            initiator = self._initiator
            self._end(status, addressing_reset)
            if initiator is not None and not initiator.closed:
                self._adapter._ask(initiator, "reset_complete", status)

    def _ask(self) -> Any:
        context = here()
        before = context.enter(None, "reset", context.irql)
        try:
            status, addressing_reset = (Status.NOT_RESETTABLE, False) if self._reset is None else self._adapter._call_below(self._reset)
        finally:
            context.leave(before)
        return Status.PENDING if status == Status.PENDING else (Status(status), bool(addressing_reset))

    def _end(self, status: Status, addressing_reset: bool) -> Status:
        self._below = None
        self._sends.resetting = False
        if self._adapter._serial is not None:
            self._adapter._serial.end_reset()
        self._adapter.requests.end_reset()
        if addressing_reset:
            self._adapter.requests.addressing.sync(everything=True)
        self._tell(Status.RESET_END)
        self._initiator = None
        # only now, so that a driver that asks for the next one when it is told does not begin it inside of this one
        self._active = False
        return status

    def _tell(self, status: Status) -> None:
        self._adapter._tell("status", status, b"")
        self._adapter._tell("status_complete")

    # hanging

    def set_attributes(self, seconds: int, flags: Attributes) -> None:
        """What `Adapter.set_attributes` does; there it is documented."""
        self._seconds = max(STEP_SECONDS, -(-seconds // STEP_SECONDS) * STEP_SECONDS)
        self.attributes = Attributes(flags)

    def start(self) -> None:
        """Ask from now on, every interval, if the miniport can be asked."""
        if self._hangs is not None:
            self._timer.set_periodic(self._seconds * 1000)

    def stop(self) -> None:
        """Ask no more."""
        self._timer.cancel()

    def check_for_hang(self) -> bool:
        """What `Adapter.check_for_hang` does; there it is documented."""
        if self._active or self._sends.halted:
            return False
        hangs = bool(self._adapter._ask(None, "check_for_hang"))
        hangs |= self._request_is_late()
        hangs |= self._sends_are_late()
        if hangs:
            self._request_age = self._send_age = 0
            self.reset(None)
        return hangs

    def _on_timer(self, _context: object) -> None:
        self.check_for_hang()

    def _request_is_late(self) -> bool:
        """Whether the same request is below for the third time: two intervals have passed."""
        below = self._adapter.requests.below
        self._request_age = self._request_age + 1 if below is not None and below is self._below else 0
        self._below = below
        return self._request_age >= 2 and not self.attributes & Attributes.IGNORE_REQUEST_TIMEOUT

    def _sends_are_late(self) -> bool:
        """Whether sends to a serialized miniport were pending all the time, and none was completed in two intervals."""
        if not self._adapter.serialized:
            return False
        pending = self._sends.pending
        over = self._adapter.counters()["tx_submitted"] - pending
        self._send_age = self._send_age + 1 if pending and over == self._over else 0
        self._over = over
        return self._send_age >= 2 and not self.attributes & Attributes.IGNORE_PACKET_TIMEOUT
