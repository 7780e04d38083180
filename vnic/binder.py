"""
A registered protocol, and its binds and unbinds that are not over.

Next: `vnic/registered.py`, one open binding of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vnic.pending import PendingCall
from vnic.registered import RegisteredProtocol
from vnic.status import Status
from vnic.verifier import rules

if TYPE_CHECKING:
    from vnic.characteristics import ProtocolCharacteristics
    from vnic.core import Adapter, Binding
    from vnic.registration import Registry


class BindContext:
    """
    One call of ProtocolBindAdapter, until it is over.

    Attributes:
        NdisProtocolHandle: the protocol; it may be called before NdisRegisterProtocol has answered with it.
        adapter: what it may bind to.
        call: whether it is over.
    """

    def __init__(self, protocol: Protocol, adapter: Adapter) -> None:
        self.NdisProtocolHandle = protocol
        self.adapter = adapter
        self.call = PendingCall(f"BindAdapterHandler of {protocol.name}", adapter.requests.ledger, None)

    def complete(self, status: Status) -> None:
        """
        End a bind that was left PENDING, or is about to be. Unless with SUCCESS, what was opened is closed; PENDING is no end, and taken
        for FAILURE.

        Raises:
            ContractViolation: it is over (rule 65).

        NDIS: NdisCompleteBindAdapter; LC-24.
        """
        status = Status.FAILURE if Status(status) is Status.PENDING else Status(status)
        if self.call.complete(status):
            self.NdisProtocolHandle.end_bind(self, status)
            self.NdisProtocolHandle.registry.advance_soon()


class UnbindContext:
    """
    One call of ProtocolUnbindAdapter, until it is over.

    Attributes:
        driver: the binding that ends.
        adapter: that of the binding.
        call: whether it is over.
    """

    def __init__(self, driver: RegisteredProtocol) -> None:
        self.driver = driver
        self.adapter = driver.binding.adapter
        self.call = PendingCall("UnbindAdapterHandler", self.adapter.requests.ledger, driver.binding)

    def complete(self) -> None:
        """
        End an unbind that was left PENDING, or is about to be. A binding that is open still is closed.

        Raises:
            ContractViolation: it is over (rule 65).

        NDIS: NdisCompleteUnbindAdapter; LC-28.
        """
        if self.call.complete(Status.SUCCESS):
            self.driver.protocol.end_unbind(self)
            self.driver.protocol.registry.advance_soon()


class Protocol:
    """
    A registered protocol. NDIS: a protocol handle.

    Attributes:
        name: in upper case.
        characteristics: a copy of its table.
        pending: its binds and unbinds that are not over.
        layered: it is the lower edge of an intermediate driver.
        leaving: it is being deregistered.
        dead: it is deregistered.
    """

    def __init__(self, registry: Registry, characteristics: ProtocolCharacteristics) -> None:
        self.registry = registry
        self.name = characteristics.Name.upper()
        self.characteristics = replace(characteristics, Name=self.name)
        self.pending: list[BindContext | UnbindContext] = []
        self.layered = self.leaving = self.dead = False

    def bindings(self, adapter: Adapter | None = None) -> list[Binding]:
        """Its open bindings, all or those of one adapter."""
        adapters = list(self.registry.adapters.values()) if adapter is None else [adapter]
        drivers = [(binding, binding.driver) for adapter in adapters for binding in adapter.bindings]
        return [binding for binding, driver in drivers if isinstance(driver, RegisteredProtocol) and driver.protocol is self]

    def offered(self, adapter: Adapter) -> bool:
        """Whether it is binding to an adapter now."""
        return any(isinstance(context, BindContext) and context.adapter is adapter for context in self.pending)

    def bind(self, adapter: Adapter) -> None:
        """
        Offer an adapter. What the protocol has opened and then declines is closed for it.

        NDIS: ProtocolBindAdapter; LC-24.
        """
        context = BindContext(self, adapter)
        self.pending.append(context)
        status = context.call.run(lambda: self._call("BindAdapterHandler", adapter, context, adapter.name, None, None))
        if status is not Status.PENDING:
            self.end_bind(context, status)

    def end_bind(self, context: BindContext, status: Status) -> None:
        """A bind is over: it declines, or what it has opened stays, unless its end was asked for meanwhile."""
        self.pending.remove(context)
        for binding in self.bindings(context.adapter):
            driver: Any = binding.driver
            if status is not Status.SUCCESS:
                end(binding)
            elif driver.unwanted:
                self.unbind(driver)
        if self.leaving or context.adapter in self.registry._leaving:
            self.registry.advance_soon()

    def unbind(self, driver: RegisteredProtocol) -> None:
        """
        Ask for the end of a binding, unless it was asked already; while its bind is pending, when that is over. If the protocol does not
        close it, that is done for it.

        NDIS: ProtocolUnbindAdapter; LC-28.
        """
        if driver.closing or any(isinstance(context, UnbindContext) and context.driver is driver for context in self.pending):
            return
        if self.offered(driver.binding.adapter):
            driver.unwanted = True
            return
        context = UnbindContext(driver)
        self.pending.append(context)
        status = context.call.run(lambda: self._call("UnbindAdapterHandler", context.adapter, driver.context, context))
        if status is not Status.PENDING:
            self.end_unbind(context)

    def end_unbind(self, context: UnbindContext) -> None:
        """An unbind is over."""
        self.pending.remove(context)
        end(context.driver.binding)

    def _call(self, member: str, adapter: Adapter, *arguments: Any) -> Status:
        """Call a handler that must not ask for binds itself; one that raises has failed."""
        try:
            with self.registry.inside(adapter):
                return Status(getattr(self.characteristics, member)(*arguments))
        except BaseException as error:
            adapter.requests.ledger.failed(None, f"{member} of {self.name}", error)
            return Status.FAILURE


def close(binding: Binding) -> Status:
    """
    Close a binding. Nothing may be done with it any more, but to return what it holds.

    Returns:
        SUCCESS; PENDING: ProtocolCloseAdapterComplete follows.

    Raises:
        ContractViolation: it is closed already (rule 98).

    NDIS: NdisCloseAdapter; LC-27, LC-29, LC-30.
    """
    driver = binding.driver
    if not isinstance(driver, RegisteredProtocol):
        return binding.adapter.close(binding)
    if driver.closing:
        raise binding.adapter.requests.ledger.violation(rules.CLOSED_BINDING, binding, "it is closed again")
    driver.closing = True
    if binding._calls["unbind_adapter"].pending:  # until the bind was over, and the unbind that was put off
        binding.complete_unbind()
        return Status.PENDING
    if binding.closing:  # by the adapter's owner, and this is inside ProtocolUnbindAdapter
        return Status.PENDING if binding.held or binding.sends_pending or binding.transfers_pending else Status.SUCCESS
    return binding.adapter.close(binding)


def end(binding: Binding) -> None:
    """Close a binding that its driver has left open."""
    driver = binding.driver
    if isinstance(driver, RegisteredProtocol) and not driver.closing:
        driver.forgotten = True
        close(binding)


def unbind(binding: Binding) -> None:
    """Ask the driver of a binding for its end."""
    driver = binding.driver
    if isinstance(driver, RegisteredProtocol):
        driver.protocol.unbind(driver)
    else:
        binding.adapter.close(binding)
