"""
What drivers answer, raise and ask for at odd moments while they are bound, unbound, initialised, halted and told of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from unit.living import Alive
from unit.wire import US, Bench, violation

from vnic import Adapter, Status
from vnic.binder import BindContext, Protocol, UnbindContext
from vnic.characteristics import MiniportCharacteristics, ProtocolCharacteristics
from vnic.device import Wrapper
from vnic.interrupt import Interrupt, Phase
from vnic.ndis import (
    NDIS_ATTRIBUTE_DESERIALIZE,
    NdisCloseAdapter,
    NdisCompleteBindAdapter,
    NdisMInitializeTimer,
    NdisMSetAttributesEx,
    NdisMSetTimer,
)
from vnic.oids import Oid
from vnic.pnp import PnpEvent
from vnic.registration import registry
from vnic.timers import work_items

SUCCESS, PENDING, FAILURE = Status.SUCCESS, Status.PENDING, Status.FAILURE


def idle(*_: Any) -> Status:
    return SUCCESS


def query(context: Any, oid: int, buffer: memoryview, length: int) -> tuple[Status, int, int]:
    """Answer what NDIS asks first."""
    if oid != Oid.IEEE_802_3_CURRENT_ADDRESS:
        return Status.NOT_SUPPORTED, 0, 0
    buffer[:6] = US
    return SUCCESS, 6, 0


def initialize(media: Any, count: int, handle: Adapter, configuration: Any) -> tuple[Status, Status, int]:
    NdisMSetAttributesEx(handle, handle, 0, NDIS_ATTRIBUTE_DESERIALIZE, 0)
    return SUCCESS, SUCCESS, 0


def stop(*_: Any) -> Any:
    raise SystemExit(3)


def wrapper(**handlers: Any) -> Wrapper:
    """A registered miniport driver."""
    table = MiniportCharacteristics(MajorNdisVersion=5, MinorNdisVersion=0, InitializeHandler=initialize, QueryInformationHandler=query)
    table.HaltHandler = table.SendHandler = table.ReturnPacketHandler = table.SetInformationHandler = table.ResetHandler = idle
    for name, handler in handlers.items():
        setattr(table, name, handler)
    made = Wrapper("system")
    assert made.register(table, len(table)) is SUCCESS
    return made


class Upper:
    """
    A protocol that opens what it is offered.

    Attributes:
        bind, unbind: what the handlers do before they answer; what comes out, if it is a status, is answered.
        log: "unbind", "closed", in the order of the calls.
        bound: the context of the last bind.
        opened: the last binding.
    """

    def __init__(self, name: str, bind: Any = idle, unbind: Any = idle) -> None:
        self.bind, self.unbind = bind, unbind
        self.log: list[str] = []
        self.bound: BindContext
        self.opened: Any = None
        table = ProtocolCharacteristics(MajorNdisVersion=5, MinorNdisVersion=0, Name=name)
        for field in ("OpenAdapterComplete", "ResetComplete", "RequestComplete", "Receive", "ReceiveComplete", "Status", "StatusComplete"):
            setattr(table, f"{field}Handler", idle)
        table.SendCompleteHandler = table.TransferDataCompleteHandler = idle
        table.BindAdapterHandler, table.UnbindAdapterHandler = self.on_bind, self.on_unbind
        table.CloseAdapterCompleteHandler = lambda *_: self.log.append("closed")
        status, protocol = registry.register_protocol(table, len(table))
        assert status is SUCCESS
        assert protocol is not None
        self.protocol: Protocol = protocol

    def on_bind(self, context: BindContext, name: str, first: Any, second: Any) -> Any:
        self.bound = context
        _, self.opened = registry.open(context.NdisProtocolHandle, self, name, [0])
        return self.bind(context)

    def on_unbind(self, mine: Any, context: UnbindContext) -> Any:
        self.log.append("unbind")
        NdisCloseAdapter(self.opened)
        return self.unbind(context)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The handlers and rules that the devices of the test report; the registry is empty before it and after it."""
    seen: list[Any] = []

    def report(event: str, fields: dict[str, Any]) -> None:
        seen.append(fields["error"].rule.id if event == "violation" else fields["handler"])

    monkeypatch.setattr("vnic.registration.report_to_logging", report)
    yield seen
    work_items.drain(1000)
    left = list(registry.protocols), list(registry.adapters), list(registry.devices)
    for kept in (registry.protocols, registry.adapters, registry.devices):
        kept.clear()
    assert left == ([], [], [])


def device(driver: Wrapper, name: str) -> Adapter:
    """The adapter of a new device, which must work."""
    status, adapter = registry.add_device(driver, name)
    assert status is SUCCESS
    assert adapter is not None
    return adapter


# events


def test_an_event_that_is_completed_with_pending_is_over_with_failure() -> None:
    def early() -> Status:
        driver.binding.complete_pnp_event(PnpEvent.QUERY_REMOVE_DEVICE, PENDING)
        return PENDING

    with Bench() as bench:
        driver = Alive(power=early)
        bench.bind(driver)
        assert bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is FAILURE
        driver.power = PENDING
        assert bench.adapter.pnp_event(PnpEvent.QUERY_POWER) is PENDING
        driver.binding.complete_pnp_event(PnpEvent.QUERY_POWER, PENDING)
        driver.power = SUCCESS
        assert bench.adapter.pnp_event(PnpEvent.RECONFIGURE) is SUCCESS


def test_another_event_than_the_one_that_is_pending_cannot_be_completed() -> None:
    with Bench() as bench:
        driver = Alive(power=PENDING)
        binding = bench.bind(driver)
        assert violation(binding.complete_pnp_event, PnpEvent.RECONFIGURE, SUCCESS) == "65"
        assert bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is PENDING
        assert violation(binding.complete_pnp_event, PnpEvent.RECONFIGURE, FAILURE) == "65"
        binding.complete_pnp_event(PnpEvent.QUERY_REMOVE_DEVICE, FAILURE)
        bench.expect(("65", "a"), ("65", "a"))


def test_the_answer_of_a_binding_that_is_gone_counts_for_no_later_event() -> None:
    with Bench() as bench:
        gone, other = Alive(power=PENDING), Alive(power=PENDING)
        bench.bind(gone, "gone")
        bench.bind(other, "other")
        bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE)
        other.binding.complete_pnp_event(PnpEvent.QUERY_REMOVE_DEVICE, SUCCESS)
        assert bench.adapter.close(gone.binding) is SUCCESS
        other.power = lambda: gone.binding.complete_pnp_event(PnpEvent.QUERY_REMOVE_DEVICE, FAILURE)
        assert bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is SUCCESS


def test_a_bind_that_is_completed_with_pending_has_failed(told: list[Any]) -> None:
    adapter = device(wrapper(), "never0")

    def early(context: BindContext) -> Status:
        NdisCompleteBindAdapter(context, PENDING, PENDING)
        return PENDING

    upper = Upper("early", bind=early)
    assert (upper.protocol.pending, adapter.bindings) == ([], ())
    assert registry.deregister_protocol(upper.protocol) is SUCCESS
    assert registry.remove_adapter(adapter) is SUCCESS


# devices that go


def test_a_device_that_is_lost_while_it_halts_is_halted_once(told: list[Any]) -> None:
    seen: list[Any] = []
    errors = work_items.errors

    def halt(adapter: Adapter) -> None:
        seen.append(registry.remove_adapter(adapter))
        registry.lose_device(adapter)
        work_items.drain(1000)
        seen.append(registry.device(adapter).adapter is adapter)

    adapter = device(wrapper(HaltHandler=halt), "lost0")
    assert registry.remove_adapter(adapter) is SUCCESS
    work_items.drain(1000)
    assert (seen, work_items.errors - errors, registry.remove_adapter(adapter)) == ([PENDING, True], 0, Status.ADAPTER_NOT_FOUND)


# handlers that end the program


def test_a_bind_handler_that_raises_system_exit_has_declined(told: list[Any]) -> None:
    upper = Upper("exits", bind=stop)
    adapter = device(wrapper(), "exit0")
    assert (upper.protocol.pending, adapter.bindings, told) == ([], (), ["BindAdapterHandler of EXITS"])
    assert registry.deregister_protocol(upper.protocol) is SUCCESS
    assert registry.remove_adapter(adapter) is SUCCESS


def test_an_unbind_handler_that_raises_system_exit_is_over(told: list[Any]) -> None:
    upper = Upper("exits", unbind=stop)
    adapter = device(wrapper(), "exit0")
    assert registry.remove_adapter(adapter) is SUCCESS
    assert (upper.protocol.pending, told) == ([], ["UnbindAdapterHandler of EXITS"])
    assert registry.deregister_protocol(upper.protocol) is SUCCESS


@pytest.mark.parametrize("handler", ["InitializeHandler", "QueryInformationHandler"])
def test_a_device_whose_driver_raises_system_exit_at_its_start_is_none(handler: str, told: list[Any]) -> None:
    assert registry.add_device(wrapper(**{handler: stop}), "exit0") == (FAILURE, None)
    assert handler in told


def test_a_driver_whose_unload_handler_raises_system_exit_is_unloaded(told: list[Any]) -> None:
    driver = wrapper()
    driver.unload = stop
    assert registry.unload(driver) is SUCCESS
    assert (driver.dead, told) == (True, ["UnloadHandler"])


# devices that come


def test_a_terminated_or_unloaded_driver_gets_no_device(told: list[Any]) -> None:
    terminated, unloaded = wrapper(), wrapper()
    terminated.terminate()
    registry.unload(unloaded)
    for driver in (terminated, unloaded):
        assert violation(registry.add_device, driver, "late0") == "66"


def test_a_driver_that_is_not_registered_gets_no_device(told: list[Any]) -> None:
    assert registry.add_device(Wrapper("system"), "none0") == (FAILURE, None)
    assert told == []


@pytest.mark.parametrize("starts", [True, False])
def test_a_timer_of_a_device_that_has_ended_cannot_be_set(starts: bool, told: list[Any]) -> None:
    timers: list[Any] = []

    def with_timer(media: Any, count: int, handle: Adapter, configuration: Any) -> tuple[Status, Status, int]:
        answer = initialize(media, count, handle, configuration)
        timers.append(NdisMInitializeTimer(handle, idle, None))
        return answer if starts else (FAILURE, FAILURE, 0)

    driver = wrapper(InitializeHandler=with_timer)
    if starts:
        assert registry.remove_adapter(device(driver, "timed0")) is SUCCESS
    else:
        assert registry.add_device(driver, "timed0")[0] is FAILURE
    assert violation(NdisMSetTimer, timers[0], 5) == "66"
    assert timers[0].timers.queued == ()


def test_the_name_of_a_device_is_taken_while_it_is_initialised(told: list[Any]) -> None:
    second = wrapper()
    refusals: list[Any] = []

    def asking(media: Any, count: int, handle: Adapter, configuration: Any) -> Any:
        for ask in (registry.add_device, registry.layers.ask):
            try:
                refusals.append(ask(second, "twice0", {}))
            except ValueError:
                refusals.append(None)
        return initialize(media, count, handle, configuration)

    second.layered = True
    adapter = device(wrapper(InitializeHandler=asking), "twice0")
    assert (refusals, list(registry.devices)) == ([None, FAILURE], [adapter])
    assert registry.remove_adapter(adapter) is SUCCESS


def test_a_name_is_free_again_when_its_device_could_not_be_initialised(told: list[Any]) -> None:
    assert registry.add_device(wrapper(InitializeHandler=stop), "again0") == (FAILURE, None)
    adapter = device(wrapper(), "again0")
    assert registry.remove_adapter(adapter) is SUCCESS


# interrupts


class Card:
    """Run the deferred handler where it may not."""

    def __init__(self) -> None:
        self.interrupt: Interrupt
        self.calls: list[str] = []

    def isr(self) -> tuple[bool, bool]:
        self.calls.append(violation(self.interrupt.run_deferred))
        return True, True

    def handle_interrupt(self) -> None:
        self.calls.append("handle")


def test_the_deferred_handler_inside_the_isr_or_a_synchronized_function_is_refused_instead_of_deadlocking() -> None:
    card = Card()
    card.interrupt = Interrupt(card, request_isr=True)
    card.interrupt.phase = Phase.RUNNING
    assert card.interrupt.fire()
    assert card.interrupt.synchronize(lambda interrupt: violation(interrupt.run_deferred) == "73", card.interrupt)
    assert card.interrupt.run_deferred()
    assert card.calls == ["73", "handle"]


@pytest.mark.parametrize("isr", [stop, lambda _: None], ids=["raises", "answers nothing"])
def test_an_isr_of_a_registered_driver_that_fails_has_recognised_nothing_and_is_reported(isr: Any, told: list[Any]) -> None:
    adapter = device(wrapper(ISRHandler=isr, HandleInterruptHandler=idle), "line0")
    _, interrupt = registry.device(adapter).register_interrupt(request_isr=True, shared=False)
    assert interrupt is not None
    interrupt.phase = Phase.RUNNING
    assert not interrupt.fire()
    assert (told, adapter.counters()["driver_errors"]) == (["isr"], 1)
    interrupt.deregister()
    assert registry.remove_adapter(adapter) is SUCCESS


def test_a_deferred_handler_of_a_registered_driver_that_raises_is_reported(told: list[Any]) -> None:
    adapter = device(wrapper(ISRHandler=lambda _: (True, True), HandleInterruptHandler=stop), "line0")
    _, interrupt = registry.device(adapter).register_interrupt(request_isr=True, shared=False)
    assert interrupt is not None
    interrupt.phase = Phase.RUNNING
    assert (interrupt.fire(), interrupt.run_deferred(), told) == (True, True, ["handle_interrupt"])
    interrupt.deregister()
    assert registry.remove_adapter(adapter) is SUCCESS


# a bind that takes its time


def pend(_: BindContext) -> Status:
    return PENDING


def test_a_protocol_is_unbound_when_its_bind_is_over(told: list[Any]) -> None:
    adapter = device(wrapper(), "slow0")
    upper = Upper("slow", bind=pend)
    assert (registry.remove_adapter(adapter), upper.log) == (PENDING, [])
    NdisCompleteBindAdapter(upper.bound, SUCCESS, SUCCESS)
    assert (upper.log, upper.opened.closed) == (["unbind"], True)
    work_items.drain(1000)
    assert (adapter.halted, upper.protocol.pending) == (True, [])
    assert registry.deregister_protocol(upper.protocol) is SUCCESS


def test_a_bind_that_declines_after_all_is_not_unbound(told: list[Any]) -> None:
    adapter = device(wrapper(), "slow0")
    upper = Upper("slow", bind=pend)
    assert registry.deregister_protocol(upper.protocol) is PENDING
    NdisCompleteBindAdapter(upper.bound, FAILURE, FAILURE)
    work_items.drain(1000)
    assert (upper.log, upper.opened.closed, upper.protocol.dead) == ([], True, True)
    assert registry.remove_adapter(adapter) is SUCCESS


@pytest.mark.parametrize("answer", [SUCCESS, FAILURE])
def test_an_adapter_that_is_removed_while_a_handler_binds_it_goes_when_the_handler_has_answered(answer: Status, told: list[Any]) -> None:
    def remove(context: BindContext) -> Status:
        answers.append(registry.remove_adapter(context.adapter))
        return answer

    answers: list[Status] = []
    upper = Upper("quick", bind=remove)
    adapter = device(wrapper(), "quick0")
    work_items.drain(1000)
    assert (answers, upper.log, adapter.halted) == ([PENDING], ["unbind"] if answer is SUCCESS else [], True)
    assert registry.deregister_protocol(upper.protocol) is SUCCESS


@pytest.mark.parametrize("closes", ["in its handler", "never"])
def test_a_binding_that_its_owner_closes_is_unbound_when_its_bind_is_over(closes: str, told: list[Any]) -> None:
    adapter = device(wrapper(), "slow0")
    upper = Upper("slow", bind=pend)

    def forget(*_: Any) -> Status:
        upper.log.append("unbind")
        return SUCCESS

    if closes == "never":
        upper.protocol.characteristics.UnbindAdapterHandler = forget
    assert (adapter.close(upper.opened), upper.log) == (PENDING, [])
    NdisCompleteBindAdapter(upper.bound, SUCCESS, SUCCESS)
    assert (upper.opened.closed, upper.log) == (True, ["unbind", "closed"] if closes == "in its handler" else ["unbind"])
    assert registry.deregister_protocol(upper.protocol) is SUCCESS
    assert registry.remove_adapter(adapter) is SUCCESS
