"""
Plug and play: power comes and goes, devices are to be removed, and every driver is asked or told.

Next: `vnic/lifecycle.py`, `Lifecycle.pnp_event`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from vnic.driver import ProtocolDriver, handler
from vnic.status import Status, VnicError

if TYPE_CHECKING:
    from vnic.core import Adapter, Binding
    from vnic.ledger import Ledger


class PnpEvent(IntEnum):
    """What protocol drivers are told, or asked. NDIS: NET_PNP_EVENT_CODE; LC-35."""

    SET_POWER = 0
    QUERY_POWER = 1
    QUERY_REMOVE_DEVICE = 2
    CANCEL_REMOVE_DEVICE = 3
    RECONFIGURE = 4
    BIND_LIST = 5
    BINDS_COMPLETE = 6
    PNP_CAPABILITIES = 7


class DeviceEvent(IntEnum):
    """What the miniport is told. NDIS: NDIS_DEVICE_PNP_EVENT."""

    QUERY_REMOVED = 0
    REMOVED = 1
    SURPRISE_REMOVED = 2
    QUERY_STOPPED = 3
    STOPPED = 4
    POWER_PROFILE_CHANGED = 5


class PowerState(IntEnum):
    """From D0, which is full power, to D3, which is off. NDIS: NDIS_DEVICE_POWER_STATE."""

    D0 = 1
    D1 = 2
    D2 = 3
    D3 = 4


def pass_up(event: PnpEvent, adapter: Adapter) -> Status:
    """
    Tell those above an intermediate driver of an event below. Power goes where it is, and comes where it is not.

    Returns:
        As `Adapter.pnp_event`.

    NDIS: NdisIMNotifyPnPEvent.
    """
    power = PowerState.D3 if adapter.power is PowerState.D0 else PowerState.D0
    return adapter.pnp_event(event, power)


class PnpEvents:
    """
    The events of one adapter, one at a time.

    Attributes:
        power: how much power the NIC has.
    """

    def __init__(self, adapter: Adapter, ledger: Ledger) -> None:
        self.power = PowerState.D0
        self._adapter = adapter
        self._ledger = ledger
        self._lock = Lock()
        self._event: PnpEvent | None = None
        self._next = PowerState.D0
        self._status = Status.SUCCESS
        self._asking = False
        self._waiting: list[Binding] = []

    def tell(self, event: PnpEvent | DeviceEvent, power: PowerState) -> Status:
        """What `Adapter.pnp_event` does; there it is documented."""
        if isinstance(event, DeviceEvent):
            self._adapter._ask(None, "pnp_event_notify", event)
            return Status.SUCCESS
        with self._lock:
            if self._event is not None:
                raise VnicError(f"{self._event.name} is not over: a driver has to call complete_pnp_event first")
            self._event, self._next, self._status, self._asking = event, power, Status.SUCCESS, True
        if event is PnpEvent.SET_POWER and power is PowerState.D0:
            self._set_power()
        for binding in self._adapter.bindings:
            if not (binding.closing or binding.opening):
                self._ask(binding, event)
        with self._lock:
            self._asking = False
        ended = self._end()
        return Status.PENDING if ended is None else ended

    def answered(self, binding: Binding, event: PnpEvent, status: Status) -> None:
        """A driver has answered, now or by a completion."""
        if event is PnpEvent.SET_POWER and status is Status.NOT_SUPPORTED:
            self._adapter.close(binding)
        elif event is PnpEvent.QUERY_REMOVE_DEVICE and status is not Status.SUCCESS:
            self._status = status
        self.forget(binding)

    def forget(self, binding: Binding) -> None:
        """Wait for this binding no longer."""
        with self._lock:
            if binding in self._waiting:
                self._waiting.remove(binding)
        self._end()

    def _ask(self, binding: Binding, event: PnpEvent) -> None:
        call = handler(binding.driver, ProtocolDriver, "pnp_event")
        if call is None:
            return
        with self._lock:
            self._waiting.append(binding)
        try:
            answer = self._adapter._run(binding, "pnp_event", partial(call, event))
            status = Status.SUCCESS if answer is None else Status(answer)
        except BaseException as error:
            self._ledger.failed(binding, "pnp_event", error)
            status = Status.FAILURE
        if status is not Status.PENDING:
            self.answered(binding, event, status)

    def _end(self) -> Status | None:
        """The event is over, if no answer is missing: how it went; None if one is, or if it was over before."""
        with self._lock:
            if self._asking or self._waiting or self._event is None:
                return None
            event, self._event = self._event, None
        if event is PnpEvent.SET_POWER and self._next is not PowerState.D0:
            self._set_power()
        return self._status

    def _set_power(self) -> None:
        self.power = self._next
        self._adapter._set_low_power(self._next is not PowerState.D0)
