"""
Registered intermediate drivers: a miniport driver and a protocol that belong together, and the virtual NICs that they ask for.

    registry.layers.ask(driver, "upper0", context)    MiniportInitialize: at once, or when the program starts it, or never

A virtual NIC is a device as any other, but that the driver itself asks for it, and for its end. It stands above the adapter that
was being bound when it was asked for.

Next: `vnic/device.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vnic.device import Device, Wrapper
from vnic.ledger import report_to_logging
from vnic.status import ContractViolation, Status
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.binder import Protocol
    from vnic.core import Adapter
    from vnic.registration import Registry


class Instance(NamedTuple):
    """
    A virtual NIC that was asked for.

    Attributes:
        driver: who has asked.
        name: the adapter's name.
        context: what the driver calls it. NDIS: DeviceContext.
        over: the adapter that it stands above; None: no bind was under way.
    """

    driver: Wrapper
    name: str
    context: Any
    over: Adapter | None


class Layers:
    """
    The virtual NICs of the registered intermediate drivers, as far as they are not adapters yet.

    Attributes:
        at_once: they are initialised as soon as their driver asks and is associated; otherwise `start` does it.
        waiting: those that are not initialised, by name.
    """

    def __init__(self, registry: Registry) -> None:
        self.at_once = True
        self.waiting: dict[str, Instance] = {}
        self._registry = registry

    def associate(self, driver: Wrapper, protocol: Protocol) -> None:
        """
        Learn which protocol is a driver's lower edge, and start what the driver waits for.

        The protocol's bindings may return packets early, and are not shown their own sends: the virtual NIC shows those already.

        Raises:
            ContractViolation: the driver is not registered as an intermediate one, or associated already, or the protocol has no handler
                for packets (rule 65); one of them is deregistered (rule 66).

        NDIS: NdisIMAssociateMiniport; IM-02, AMB-3.
        """
        self._require(driver)
        if protocol.dead:
            raise ContractViolation(rules.DEAD_DRIVER, protocol.name, "it is associated after it was deregistered")
        if driver.protocol is not None or protocol.layered:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, protocol.name, "it or its miniport is associated already")
        if protocol.characteristics.ReceivePacketHandler is None:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, protocol.name, "it is associated, and has no ReceivePacketHandler")
        driver.protocol = protocol
        protocol.layered = True
        for binding in protocol.bindings():
            binding.early_returns = binding.no_loopback = True
        if self.at_once:
            for name in [instance.name for instance in self.waiting.values() if instance.driver is driver]:
                self.start(name)

    def ask(self, driver: Wrapper, name: str, context: Any) -> Status:
        """
        Ask for a virtual NIC.

        Returns:
            SUCCESS: it is initialised, or waits. FAILURE: there is one of that name. Otherwise what MiniportInitialize answered.

        Raises:
            ContractViolation: the driver is not registered as an intermediate one (rule 65), or no longer (rule 66).

        NDIS: NdisIMInitializeDeviceInstanceEx.
        """
        self._require(driver)
        if name in self.waiting or self._registry.knows(name):
            return Status.FAILURE
        self.waiting[name] = Instance(driver, name, context, self._registry.binding_to)
        return self.start(name) if self.at_once and driver.protocol is not None else Status.SUCCESS

    def start(self, name: str) -> Status:
        """
        Initialise a virtual NIC that waits, and offer it to every protocol but those that it stands above.

        Returns:
            ADAPTER_NOT_FOUND: none of that name waits. FAILURE: there is an adapter of that name by now. Otherwise what MiniportInitialize
            answered.

        NDIS: MiniportInitialize.
        """
        instance = self.waiting.pop(name, None)
        if instance is None:
            return Status.ADAPTER_NOT_FOUND
        if self._registry.knows(name):
            return Status.FAILURE
        over = instance.over
        mtu, report = (1500, report_to_logging) if over is None else (over.mtu, over.report)
        return self._registry.start(Device(instance.driver, name, {}, mtu, report, self._registry.clock, instance))[0]

    def cancel(self, driver: Wrapper, name: str) -> Status:
        """
        Ask no longer for a virtual NIC.

        Returns:
            SUCCESS: it will not be initialised. FAILURE: it is, or was never asked for.

        NDIS: NdisIMCancelInitializeDeviceInstance.
        """
        if name not in self.waiting or self.waiting[name].driver is not driver:
            return Status.FAILURE
        del self.waiting[name]
        return Status.SUCCESS

    def end(self, adapter: Adapter) -> Status:
        """
        Unbind whoever is bound to a virtual NIC, and halt it.

        Returns:
            PENDING: somebody above has not closed, as it waits for packets; MiniportHalt follows when that is over.

        Raises:
            ContractViolation: it is no device, or no longer (rule 66).

        NDIS: NdisIMDeInitializeDeviceInstance; IM-03.
        """
        return self._registry.remove_adapter(self._registry.device(adapter).adapter)

    def deregister(self, driver: Wrapper) -> None:
        """
        Forget an intermediate driver: what it waits for is cancelled, what it has is removed.

        Raises:
            ContractViolation: the driver is not registered as an intermediate one (rule 65), or no longer (rule 66).

        NDIS: NdisIMDeregisterLayeredMiniport.
        """
        self._require(driver)
        self.waiting = {name: instance for name, instance in self.waiting.items() if instance.driver is not driver}
        for device in list(self._registry.devices.values()):
            if device.driver is driver:
                self._registry.remove_adapter(device.adapter)
        driver.dead = True

    def context(self, adapter: Adapter) -> Any:
        """What the driver calls a virtual NIC; None if it is a NIC that nobody has asked for. NDIS: NdisIMGetDeviceContext."""
        instance = self._registry.device(adapter).instance
        return None if instance is None else instance.context

    def above(self, adapter: Adapter, protocol: Protocol) -> bool:
        """Whether an adapter stands above a protocol: then frames would go round in circles, were it bound."""
        found: Adapter | None = adapter
        while found is not None and found in self._registry.devices:
            instance = self._registry.devices[found].instance
            if instance is not None and instance.driver.protocol is protocol:
                return True
            found = None if instance is None else instance.over
        return False

    def _require(self, driver: Wrapper) -> None:
        if driver.dead:
            raise ContractViolation(rules.DEAD_DRIVER, str(driver.system), "it is used after it was deregistered")
        if not driver.layered:
            raise ContractViolation(rules.ILLEGAL_TRANSITION, str(driver.system), "it is not registered as an intermediate driver")
