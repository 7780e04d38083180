"""
What NDIS and the manager of devices know: registered protocols, registered miniport drivers, and the adapters of both.

    registry.add_device(wrapper, "card0", {})      MiniportInitialize, then ProtocolBindAdapter of every protocol
    registry.remove_device(adapter)                ProtocolUnbindAdapter of every binding, then MiniportHalt
    registry.add_adapter(adapter)                  the same for an adapter that the object API made, without Initialize and Halt

A program, or a test, plays the manager and says when a device comes and goes; all of it on the thread where it is called. What cannot
end yet answers PENDING and is finished by the completion that it waits for.

Next: `vnic/binder.py`, one protocol, `vnic/device.py`, one device, and `vnic/layered.py`, the drivers that are both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from vnic.binder import Protocol, unbind
from vnic.characteristics import ProtocolCharacteristics, check
from vnic.core import Adapter, Binding
from vnic.device import MEDIA, Device, Wrapper
from vnic.layered import Layers
from vnic.ledger import report_to_logging
from vnic.registered import RegisteredProtocol
from vnic.status import ContractViolation, Status, VnicError
from vnic.timers import Clock, WorkItem
from vnic.verifier import rules


class Registry:
    """
    The protocols, miniport drivers and adapters of a process.

    Attributes:
        clock: what the timers of new devices go by; None: that of the machine.
        layers: what intermediate drivers have asked for.
    """

    def __init__(self) -> None:
        self.clock: Clock | None = None
        self.protocols: list[Protocol] = []
        self.adapters: dict[str, Adapter] = {}
        self.devices: dict[Adapter, Device] = {}
        self.layers = Layers(self)
        self._starting: set[str] = set()
        self._leaving: list[Adapter] = []
        self._halting: list[Adapter] = []
        self._inside = threading.local()
        self._lock = threading.Lock()
        self._cancel_ids = count()

    # protocols

    def register_protocol(self, characteristics: ProtocolCharacteristics, length: int) -> tuple[Status, Protocol | None]:
        """
        Register a protocol, and offer it every adapter that there is.

        Returns:
            SUCCESS and the protocol; BAD_VERSION or BAD_CHARACTERISTICS and nothing.

        NDIS: NdisRegisterProtocol; LC-23.
        """
        status = check(characteristics, length)
        if status is not Status.SUCCESS:
            return status, None
        protocol = Protocol(self, characteristics)
        self.protocols.append(protocol)
        self.enumerate(protocol)
        return status, protocol

    def deregister_protocol(self, protocol: Protocol) -> Status:
        """
        Unbind a protocol everywhere, then forget it.

        Returns:
            PENDING: an unbind of it is; the rest follows when that is completed.

        Raises:
            ContractViolation: it is deregistered (rule 66), or this is inside a bind or unbind (rule 67).

        NDIS: NdisDeregisterProtocol.
        """
        self._require(protocol)
        protocol.leaving = True
        for binding in protocol.bindings():
            unbind(binding)
        self.advance()
        return Status.SUCCESS if protocol.dead else Status.PENDING

    def enumerate(self, protocol: Protocol) -> None:
        """
        Offer a protocol every adapter that it is not bound to, and that does not stand above itself.

        Raises:
            ContractViolation: it is deregistered (rule 66), or this is inside a bind or unbind (rule 67).

        NDIS: NdisReEnumerateProtocolBindings.
        """
        self._require(protocol)
        for adapter in list(self.adapters.values()):
            if not protocol.offered(adapter) and not protocol.bindings(adapter) and not self.layers.above(adapter, protocol):
                protocol.bind(adapter)

    def open(self, protocol: Protocol, context: Any, name: str, media: Sequence[int]) -> tuple[Status, Binding | None]:
        """
        Open a binding; its packet filter and multicast list are empty.

        Returns:
            SUCCESS and the binding; ADAPTER_NOT_FOUND, CLOSING, UNSUPPORTED_MEDIA or RESOURCES and nothing. Never PENDING.

        NDIS: NdisOpenAdapter; LC-26.
        """
        if protocol.dead:
            raise ContractViolation(rules.DEAD_DRIVER, protocol.name, f"it opens {name} after it was deregistered")
        adapter = self.adapters.get(name)
        if adapter is None:
            return Status.ADAPTER_NOT_FOUND, None
        if adapter in self._leaving or protocol.leaving:
            return Status.CLOSING, None
        if not set(MEDIA) & set(media):
            return Status.UNSUPPORTED_MEDIA, None
        try:
            return Status.SUCCESS, adapter.open(RegisteredProtocol(protocol, context), protocol.name)
        except VnicError:
            return Status.RESOURCES, None

    # adapters

    def add_device(
        self,
        driver: Wrapper,
        name: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        mtu: int = 1500,
        report: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> tuple[Status, Adapter | None]:
        """
        A device has come: let its driver initialise it, and offer it to every protocol.

        Args:
            driver: the registered miniport driver.
            name: the adapter's name.
            configuration: what the driver reads its settings from.
            mtu: largest payload of a frame; the driver must answer the same.
            report: as for an adapter.

        Returns:
            SUCCESS and the adapter; what MiniportInitialize answered and nothing; FAILURE if the driver is not registered.

        Raises:
            ContractViolation: the driver's wrapper is terminated, or it is unloaded (rule 66).
            ValueError: there is an adapter of that name already, or a device that is being initialised.
        """
        self._require_new(name)
        return self.start(Device(driver, name, configuration or {}, mtu, report or report_to_logging, self.clock))

    def start(self, device: Device) -> tuple[Status, Adapter | None]:
        """Let a device's driver initialise it, and offer it to every protocol that it does not stand above; answers as `add_device`."""
        if device.driver.dead:
            raise ContractViolation(rules.DEAD_DRIVER, str(device.driver.system), f"it is given {device.name} after its end")
        if not device.driver.registered:
            return Status.FAILURE, None
        with self._lock:
            self._require_new(device.name)
            self._starting.add(device.name)
        self.devices[device.adapter] = device
        try:
            status = device.initialize()
            if status is Status.SUCCESS:
                self.adapters[device.name] = device.adapter
        finally:
            self._starting.remove(device.name)
            if device.name not in self.adapters:
                del self.devices[device.adapter]
        if status is not Status.SUCCESS:
            return status, None
        self._offer(device.adapter)
        return status, device.adapter

    def add_adapter(self, adapter: Adapter) -> None:
        """Offer an adapter to every protocol that it does not stand above."""
        with self._lock:
            self._require_new(adapter.name)
            self.adapters[adapter.name] = adapter
        self._offer(adapter)

    def _offer(self, adapter: Adapter) -> None:
        for protocol in list(self.protocols):
            if not protocol.leaving and not self.layers.above(adapter, protocol):
                protocol.bind(adapter)

    def remove_adapter(self, adapter: Adapter) -> Status:
        """
        Unbind every protocol from an adapter; if it is a device, let its driver halt it.

        Returns:
            PENDING: an unbind is, or a binding still holds packets; the rest follows when that is over.
        """
        if self.adapters.get(adapter.name) is not adapter:
            return Status.ADAPTER_NOT_FOUND
        if adapter not in self._leaving:
            self._leaving.append(adapter)
        for binding in adapter.bindings:
            unbind(binding)
        self.advance()
        return Status.PENDING if adapter.name in self.adapters else Status.SUCCESS

    def knows(self, name: str) -> bool:
        """Whether there is an adapter of that name, or a device that is being initialised."""
        return name in self.adapters or name in self._starting

    def lose_device(self, adapter: Adapter) -> Status:
        """Remove a device soon, on the thread for work items: its driver says that it is broken. NDIS: NdisMRemoveMiniport."""

        def remove(*_: object) -> None:
            self.remove_adapter(adapter)

        return WorkItem(remove).schedule()

    def device(self, adapter: Adapter) -> Device:
        """
        What is known of a miniport's handle beside the adapter that it is.

        Raises:
            ContractViolation: it is no device's (rule 66).
        """
        if adapter not in self.devices:
            raise ContractViolation(rules.DEAD_DRIVER, "the miniport", "a handle is used that belongs to no device, or no longer")
        return self.devices[adapter]

    def unload(self, driver: Wrapper) -> Status:
        """Remove every device of a miniport driver, then call its unload handler. PENDING: not all devices are gone; call again."""
        ends = [self.remove_adapter(device.adapter) for device in list(self.devices.values()) if device.driver is driver]
        if Status.PENDING in ends:
            return Status.PENDING
        if driver.unload is not None:
            try:
                driver.unload(driver.system)
            except BaseException as error:
                report_to_logging("driver_error", {"binding": None, "handler": "UnloadHandler", "error": error})
        driver.dead = True
        return Status.SUCCESS

    def shut_down(self) -> None:
        """The system ends: call every device's shutdown handler, which may call nothing of NDIS. NDIS: MiniportShutdown."""
        for device in self.devices.values():
            device.adapter.shutdown()

    # what was pending

    def advance(self) -> None:
        """Finish what waited: adapters that no protocol uses any more go, and so do protocols without a binding."""
        with self._lock:
            for protocol in [protocol for protocol in self.protocols if protocol.leaving]:
                if not protocol.pending and not protocol.bindings():
                    protocol.dead = True
                    self.protocols.remove(protocol)
        while (adapter := self._unused()) is not None:
            try:
                if adapter in self.devices:
                    self.devices[adapter].halt()
            finally:
                with self._lock:
                    self.devices.pop(adapter, None)
                    self.adapters.pop(adapter.name, None)
                    self._leaving.remove(adapter)
                    self._halting.remove(adapter)

    def _unused(self) -> Adapter | None:
        """An adapter that goes now, for the caller to halt; it is answered once, and its device is known until it has halted."""
        with self._lock:
            used = {context.adapter for protocol in self.protocols for context in protocol.pending}
            for adapter in self._leaving:
                if adapter not in self._halting and adapter not in used and not adapter.bindings:
                    self._halting.append(adapter)
                    return adapter
        return None

    def advance_soon(self) -> None:
        """Do so on the thread for work items: a completion may come in the middle of anything."""
        WorkItem(lambda *_: self.advance()).schedule()

    def partial_cancel_id(self) -> int:
        """The highest byte of a driver's cancel ids. After 256 drivers they come again. NDIS: NdisGeneratePartialCancelId."""
        return next(self._cancel_ids) % 256

    @contextmanager
    def inside(self, adapter: Adapter) -> Iterator[None]:
        """Run a handler that binds or unbinds an adapter, and in which no others may be asked for (rule 67)."""
        before = self.binding_to
        self._inside.adapter = adapter
        try:
            yield
        finally:
            self._inside.adapter = before

    @property
    def binding_to(self) -> Adapter | None:
        """The adapter that is being bound or unbound on this thread."""
        adapter: Adapter | None = getattr(self._inside, "adapter", None)
        return adapter

    def _require(self, protocol: Protocol) -> None:
        if protocol.dead:
            raise ContractViolation(rules.DEAD_DRIVER, protocol.name, "it is used after it was deregistered")
        if self.binding_to is not None:
            raise ContractViolation(rules.REENTRANT_BIND, protocol.name, "it asks for binds or unbinds inside of one")

    def _require_new(self, name: str) -> None:
        if self.knows(name):
            raise ValueError(f"there is an adapter {name} already")


registry = Registry()
"""That of the process, which the names of NDIS use."""
