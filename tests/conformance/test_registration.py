"""
A driver's life in C: it registers, its devices and bindings come and go, frames pass between, and each name does what its C form does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conformance.c_drivers import FRAMES, Card, OpenContext, SampleMiniport, SampleProtocol
from conformance.world import FIRST, SECOND, World, empty_world
from unit.wire import Bench, Driver, violation

from vnic import Status, ndis
from vnic.interrupt import Phase
from vnic.locks import Irql, at_irql
from vnic.oids import Oid
from vnic.pnp import DeviceEvent, PnpEvent
from vnic.request import Request, RequestKind
from vnic.reset import Attributes
from vnic.timers import work_items

US = bytes.fromhex("020000000002")


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with empty_world() as world:
        yield world


def frame(to: bytes, source: bytes, mark: int = 0, size: int = 60) -> bytes:
    return to + source + b"\x88\xb5" + bytes(size - 15) + bytes([mark])


# registration


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, Status.SUCCESS),
        ({"MajorNdisVersion": 4}, Status.SUCCESS),
        ({"MajorNdisVersion": 3}, Status.BAD_VERSION),
        ({"MajorNdisVersion": 6}, Status.BAD_VERSION),
        ({"MinorNdisVersion": 1}, Status.SUCCESS),
        ({"MinorNdisVersion": 2}, Status.BAD_VERSION),
        ({"SendCompleteHandler": None, "TransferDataCompleteHandler": None, "ReceivePacketHandler": None}, Status.SUCCESS),
        ({"PnPEventHandler": None}, Status.SUCCESS),
        ({"OpenAdapterCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"CloseAdapterCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"ResetCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"RequestCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"ReceiveHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"ReceiveCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"StatusHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"StatusCompleteHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"BindAdapterHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"UnbindAdapterHandler": None}, Status.BAD_CHARACTERISTICS),
    ],
)
def test_lc_23_a_protocol_registers_with_the_handlers_of_its_version(world: World, changed: dict[str, Any], status: Status) -> None:
    table = replace(SampleProtocol().Characteristics, **changed)
    answer, handle = ndis.NdisRegisterProtocol(table, len(table))
    assert (answer, handle is None) == (status, status is not Status.SUCCESS)
    if handle is not None:
        assert handle.name == "SAMPLE"
        assert ndis.NdisDeregisterProtocol(handle) is Status.SUCCESS


NEW = {"CancelSendPacketsHandler": None, "PnPEventNotifyHandler": None, "AdapterShutdownHandler": None}


@pytest.mark.parametrize(
    ("changed", "short", "status"),
    [
        ({}, 0, Status.SUCCESS),
        ({}, 1, Status.BAD_CHARACTERISTICS),
        ({"MajorNdisVersion": 0}, 0, Status.BAD_VERSION),
        ({"MajorNdisVersion": 6}, 0, Status.BAD_VERSION),
        ({"MinorNdisVersion": 0}, 0, Status.BAD_CHARACTERISTICS),
        ({"MinorNdisVersion": 0, **NEW}, 0, Status.SUCCESS),
        ({"MinorNdisVersion": 0, **NEW}, 3, Status.SUCCESS),
        ({"MajorNdisVersion": 4, "MinorNdisVersion": 0, **NEW}, 3, Status.SUCCESS),
        ({"MajorNdisVersion": 3, "MinorNdisVersion": 0, **NEW}, 6, Status.BAD_CHARACTERISTICS),
        ({"MajorNdisVersion": 3, "MinorNdisVersion": 0, **NEW, "ReturnPacketHandler": None}, 6, Status.SUCCESS),
        ({"MajorNdisVersion": 3, "MinorNdisVersion": 0, **NEW, "ReturnPacketHandler": None}, 7, Status.BAD_CHARACTERISTICS),
        ({"InitializeHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"HaltHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"ResetHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"QueryInformationHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"SetInformationHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"SendHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"SendHandler": None, "SendPacketsHandler": print}, 0, Status.SUCCESS),
        ({"TransferDataHandler": None}, 0, Status.SUCCESS),
        ({"TransferDataHandler": None, "ReturnPacketHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"PnPEventNotifyHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"AdapterShutdownHandler": None}, 0, Status.BAD_CHARACTERISTICS),
        ({"CancelSendPacketsHandler": None, "CheckForHangHandler": None}, 0, Status.SUCCESS),
    ],
)
def test_lc_01_lc_02_lc_03_a_miniport_registers_with_the_handlers_of_its_version(
    changed: dict[str, Any], short: int, status: Status
) -> None:
    table = replace(SampleMiniport().Characteristics, **changed)
    wrapper = ndis.NdisMInitializeWrapper("driver", "its place in the registry", None)
    assert ndis.NdisMRegisterMiniport(wrapper, table, len(table) - short) is status


def test_lc_02_the_table_is_copied_when_it_is_registered(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    assert miniport.DriverEntry() is Status.SUCCESS
    protocol.Characteristics.BindAdapterHandler = None
    miniport.Characteristics.InitializeHandler = None
    assert world.plug(miniport)[0] is Status.SUCCESS
    assert list(protocol.Contexts) == ["card0"]
    world.end(miniport, protocol)


def test_a_miniport_driver_registers_once_and_not_with_a_terminated_wrapper() -> None:
    miniport = SampleMiniport()
    assert miniport.DriverEntry() is Status.SUCCESS
    assert ndis.NdisMRegisterMiniport(miniport.NdisWrapperHandle, miniport.Characteristics, 99) is Status.FAILURE
    wrapper = ndis.NdisMInitializeWrapper(None, None, None)
    ndis.NdisTerminateWrapper(wrapper, None)
    assert violation(ndis.NdisMRegisterMiniport, wrapper, miniport.Characteristics, 99) == "66"


# a device's life


def test_lc_05_lc_06_lc_07_a_device_is_initialised_asked_and_then_bound(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    assert miniport.DriverEntry() is Status.SUCCESS
    status, adapter = world.plug(miniport)
    assert status is Status.SUCCESS
    assert adapter is not None
    card = miniport.Cards[FIRST]
    assert card.MiniportAdapterHandle is adapter
    assert (adapter.name, adapter.address) == ("card0", FIRST)
    assert [binding.name for binding in adapter.bindings] == ["SAMPLE"]
    assert ndis.NdisQueryAdapterInstanceName(protocol.Contexts["card0"].NdisBindingHandle) == (Status.SUCCESS, "card0")
    world.end(miniport, protocol)
    assert card.Log == ["halt"]
    assert miniport.Unloaded == ["sample driver"]
    assert protocol.Contexts["card0"].Closed


def test_lc_10_lc_12_the_attributes_have_their_real_numbers(world: World) -> None:
    assert {f"NDIS_ATTRIBUTE_{flag.name}": getattr(ndis, f"NDIS_ATTRIBUTE_{flag.name}") for flag in Attributes if flag} == {
        "NDIS_ATTRIBUTE_IGNORE_PACKET_TIMEOUT": 0x01,
        "NDIS_ATTRIBUTE_IGNORE_REQUEST_TIMEOUT": 0x02,
        "NDIS_ATTRIBUTE_BUS_MASTER": 0x08,
        "NDIS_ATTRIBUTE_INTERMEDIATE_DRIVER": 0x10,
        "NDIS_ATTRIBUTE_DESERIALIZE": 0x20,
        "NDIS_ATTRIBUTE_NO_HALT_ON_SUSPEND": 0x40,
        "NDIS_ATTRIBUTE_SURPRISE_REMOVE_OK": 0x80,
        "NDIS_ATTRIBUTE_NOT_CO_NDIS": 0x100,
        "NDIS_ATTRIBUTE_USES_SAFE_BUFFER_APIS": 0x200,
        "NDIS_ATTRIBUTE_MINIPORT_PADS_SHORT_PACKETS": 0x800,
    }


@pytest.mark.parametrize(
    ("wrong", "status", "reports"),
    [
        ("no attributes", Status.FAILURE, ["65"]),
        ("timer first", Status.FAILURE, ["InitializeHandler"]),
        ("leaves all", Status.FAILURE, ["64"]),
        ("answers nothing", Status.FAILURE, []),
    ],
)
def test_lc_05_lc_06_a_device_that_is_not_initialised_leaves_nothing(world: World, wrong: str, status: Status, reports: list[str]) -> None:
    miniport = SampleMiniport(Wrong=wrong)
    assert miniport.DriverEntry() is Status.SUCCESS
    assert world.plug(miniport) == (status, None)
    world.expect(*reports)
    assert world.registry.devices == {}


def test_lc_11_a_miniport_is_asked_every_four_seconds_if_it_said_three(world: World) -> None:
    miniport = SampleMiniport()
    left, _ = world.cable(miniport)
    card = miniport.Cards[FIRST]
    world.clock.advance(3_999, left.timers)
    assert card.Log == []
    world.clock.advance(4_001, left.timers)
    assert card.Log == ["hangs?", "hangs?"]
    world.end(miniport)


def test_the_timers_of_a_miniport_and_a_status_from_one(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    left, _ = world.cable(miniport)
    context, timer = protocol.Contexts["card0"], miniport.Cards[FIRST].Timer
    timers = world.registry.device(left).timers
    assert isinstance(timer, ndis.NDIS_MINIPORT_TIMER)
    told = [(Status.MEDIA_CONNECT, b"1 Gbit/s"), "complete"]
    ndis.NdisMSetTimer(timer, 10)
    world.clock.advance(20, timers)
    assert context.Statuses == told
    ndis.NdisMSetPeriodicTimer(timer, 10)
    world.clock.advance(20, timers)
    assert context.Statuses == told * 3
    assert ndis.NdisMCancelTimer(timer)
    assert not ndis.NdisMCancelTimer(timer)
    world.end(miniport, protocol)


def test_syn_16_what_halt_leaves_behind_is_taken_away_and_reported(world: World) -> None:
    miniport = SampleMiniport(Wrong="halt forgets")
    assert miniport.DriverEntry() is Status.SUCCESS
    assert world.plug(miniport)[0] is Status.SUCCESS
    timer = miniport.Cards[FIRST].Timer
    assert timer is not None
    ndis.NdisMSetTimer(timer, 10)
    world.end(miniport)
    world.expect("63")
    assert not ndis.NdisMCancelTimer(timer)


def test_the_attributes_are_set_once_and_of_a_device(world: World) -> None:
    miniport = SampleMiniport()
    left, _ = world.cable(miniport)
    assert violation(ndis.NdisMSetAttributes, left, None, False, ndis.NdisInterfaceInternal) == "65"
    world.end(miniport)
    assert violation(ndis.NdisMSetAttributes, left, None, False, ndis.NdisInterfaceInternal) == "66"


def test_the_short_form_sets_attributes_too(world: World) -> None:
    class Short(SampleMiniport):
        def Initialize(self, MediumArray: Any, MediumArraySize: int, MiniportAdapterHandle: Any, WrapperConfigurationContext: Any) -> Any:
            self.card = Card(MiniportAdapterHandle, WrapperConfigurationContext)
            ndis.NdisMSetAttributes(MiniportAdapterHandle, self.card, True, ndis.NdisInterfaceInternal)
            return Status.SUCCESS, Status.SUCCESS, 0

        def Halt(self, MiniportAdapterContext: Card) -> None:
            assert MiniportAdapterContext is self.card

    miniport = Short()
    assert miniport.DriverEntry() is Status.SUCCESS
    assert world.plug(miniport)[0] is Status.SUCCESS
    world.end(miniport)


class Interrupting(SampleMiniport):
    """A miniport of cards that interrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.Characteristics.ISRHandler = self.ISR
        self.Characteristics.HandleInterruptHandler = self.HandleInterrupt

    def Initialize(self, *given: Any) -> Any:
        answer = super().Initialize(*given)
        handle = given[2]
        status, self.Interrupt = ndis.NdisMRegisterInterrupt(handle, 5, 5, True, False, ndis.NdisInterruptLatched)
        again = ndis.NdisMRegisterInterrupt(handle, 5, 5, True, False, ndis.NdisInterruptLevelSensitive)
        assert (status, again) == (Status.SUCCESS, (Status.RESOURCE_CONFLICT, None))
        assert self.Interrupt is not None
        assert self.Interrupt.fire()
        assert not self.Interrupt.run_deferred()
        return answer

    def Halt(self, MiniportAdapterContext: Card) -> None:
        assert self.Interrupt is not None
        assert self.Interrupt.phase is Phase.HALTING
        ndis.NdisMDeregisterInterrupt(self.Interrupt)
        super().Halt(MiniportAdapterContext)

    def ISR(self, MiniportAdapterContext: Card) -> tuple[bool, bool]:
        self.calls.append("isr")
        return True, True

    def HandleInterrupt(self, MiniportAdapterContext: Card) -> None:
        self.calls.append("handle")


def test_an_interrupt_fires_at_once_and_is_handled_when_the_device_is_initialised(world: World) -> None:
    miniport = Interrupting()
    assert miniport.DriverEntry() is Status.SUCCESS
    assert world.plug(miniport)[0] is Status.SUCCESS
    assert miniport.Interrupt is not None
    assert miniport.Interrupt.fire()
    assert miniport.Interrupt.run_deferred()
    assert miniport.calls == ["isr", "isr", "handle"]
    world.end(miniport)


def test_an_interrupt_needs_its_handlers(world: World) -> None:
    miniport = SampleMiniport()
    left, _ = world.cable(miniport)
    assert ndis.NdisMRegisterInterrupt(left, 5, 5, False, False, ndis.NdisInterruptLatched) == (Status.FAILURE, None)
    world.end(miniport)


def test_the_shutdown_handler_is_the_registered_one_or_that_of_the_table(world: World) -> None:
    miniport = SampleMiniport()
    left, _ = world.cable(miniport)
    other = list[str]()
    ndis.NdisMRegisterAdapterShutdownHandler(left, "context", other.append)
    world.registry.shut_down()
    assert (miniport.Cards[FIRST].Log, miniport.Cards[SECOND].Log, other) == ([], ["shutdown"], ["context"])
    ndis.NdisMDeregisterAdapterShutdownHandler(left)
    world.registry.shut_down()
    assert miniport.Cards[FIRST].Log == ["shutdown"]
    world.end(miniport)


def test_a_miniport_removes_its_device_itself(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    left, _ = world.cable(miniport)
    assert ndis.NdisMRemoveMiniport(left) is Status.SUCCESS
    assert work_items.drain(10_000)
    assert list(world.registry.adapters) == ["card1"]
    assert protocol.Contexts["card0"].Closed
    world.end(miniport, protocol)


# frames


@pytest.mark.parametrize("deserialize", [True, False])
@pytest.mark.parametrize("by_packets", [True, False])
def test_frames_pass_between_two_c_protocols_over_a_c_miniport(world: World, by_packets: bool, deserialize: bool) -> None:
    """LC-10, LC-25, TX-01: a whole life of both drivers, in both models."""
    protocol, miniport = SampleProtocol(ByPackets=by_packets), SampleMiniport(Deserialize=deserialize)
    left, right = world.cable(miniport)
    assert left.serialized == right.serialized == (not deserialize)
    assert protocol.DriverEntry() is Status.SUCCESS
    for mark in range(3 * FRAMES):
        assert protocol.Send("card0", frame(SECOND, FIRST, mark)) is Status.SUCCESS
        world.poll()
    assert protocol.Contexts["card1"].Received == [frame(SECOND, FIRST, mark) for mark in range(3 * FRAMES)]
    assert protocol.Contexts["card0"].Completed == [Status.SUCCESS] * 3 * FRAMES
    protocol.Send("card1", frame(b"\xff" * 6, SECOND))
    protocol.Send("card1", frame(US, SECOND))
    world.poll()
    assert protocol.Contexts["card0"].Received == [frame(b"\xff" * 6, SECOND)]
    assert (left.counters()["held"], right.counters()["held"]) == (0, 0)
    world.end(miniport, protocol)


@pytest.mark.parametrize("lookahead", [20, 46])
def test_rx_48_the_rest_of_a_frame_is_transferred_in_c(world: World, lookahead: int) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    world.cable(miniport)
    miniport.Cards[SECOND].ByLookahead = lookahead
    for mark in range(3):
        protocol.Send("card0", frame(SECOND, FIRST, mark))
    assert protocol.Contexts["card1"].Received == [frame(SECOND, FIRST, mark) for mark in range(3)]
    world.end(miniport, protocol)


def test_tx_14_tx_25_a_serialized_c_miniport_has_sends_shown_again(world: World) -> None:
    class Short(SampleMiniport):
        room = 1

        def SendPackets(self, MiniportAdapterContext: Card, PacketArray: Any, NumberOfPackets: int) -> None:
            for packet in PacketArray[:NumberOfPackets]:
                status = self.Send(MiniportAdapterContext, packet, 0) if self.room > 0 else Status.RESOURCES
                ndis.NDIS_SET_PACKET_STATUS(packet, status)
                self.room -= 1

    protocol, miniport = SampleProtocol(), Short(Deserialize=False)
    miniport.Characteristics.SendPacketsHandler = miniport.SendPackets
    world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    for mark in range(3):
        protocol.Send("card0", frame(SECOND, FIRST, mark))
    context = protocol.Contexts["card1"]
    world.poll()
    assert context.Received == [frame(SECOND, FIRST)]
    miniport.room = 2
    ndis.NdisMSendResourcesAvailable(miniport.Cards[FIRST].MiniportAdapterHandle)
    world.poll()
    assert context.Received == [frame(SECOND, FIRST, mark) for mark in range(3)]
    world.end(miniport, protocol)


@pytest.mark.parametrize("early", [True, False])
def test_rx_51_a_transfer_that_is_pending_is_completed_in_c(world: World, early: bool) -> None:
    class Slow(SampleMiniport):
        def TransferData(self, Packet: Any, MiniportAdapterContext: Card, *given: Any) -> Any:
            status, copied = super().TransferData(Packet, MiniportAdapterContext, *given)

            def complete() -> None:
                ndis.NdisMTransferDataComplete(MiniportAdapterContext.MiniportAdapterHandle, Packet, status, copied)

            if early:
                complete()
            else:
                later.append(complete)
            return Status.PENDING, 0

    later: list[Any] = []
    protocol, miniport = SampleProtocol(), Slow()
    assert protocol.DriverEntry() is Status.SUCCESS
    world.cable(miniport)
    miniport.Cards[SECOND].ByLookahead = 20
    protocol.Send("card0", frame(SECOND, FIRST))
    if early:
        assert later == []
    else:
        later.pop()()
    assert protocol.Contexts["card1"].Received == [frame(SECOND, FIRST)]
    world.end(miniport, protocol)


def test_rx_55_the_packet_behind_a_frame_is_found_in_receive(world: World) -> None:
    class Curious(SampleProtocol):
        def Receive(self, ProtocolBindingContext: OpenContext, MacReceiveContext: Any, *given: Any) -> Any:
            self.found = ndis.NdisGetReceivedPacket(ProtocolBindingContext.NdisBindingHandle, MacReceiveContext)
            return super().Receive(ProtocolBindingContext, MacReceiveContext, *given)

    protocol, miniport = Curious(), SampleMiniport()
    assert protocol.DriverEntry() is Status.SUCCESS
    world.cable(miniport)
    miniport.Arrive(miniport.Cards[SECOND], frame(SECOND, FIRST), Status.RESOURCES)
    assert isinstance(protocol.found, ndis.NDIS_PACKET)
    miniport.Cards[SECOND].ByLookahead = 46
    miniport.Arrive(miniport.Cards[SECOND], frame(SECOND, FIRST, 1))
    assert protocol.found is None
    assert protocol.Contexts["card1"].Received == [frame(SECOND, FIRST), frame(SECOND, FIRST, 1)]
    world.end(miniport, protocol)


def test_rx_56_the_miniport_is_told_what_all_bindings_want(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    world.cable(miniport)
    assert miniport.Cards[FIRST].Filter == 0
    assert protocol.DriverEntry() is Status.SUCCESS
    assert miniport.Cards[FIRST].Filter == ndis.NDIS_PACKET_TYPE_DIRECTED | ndis.NDIS_PACKET_TYPE_BROADCAST
    assert protocol.Unload() is Status.SUCCESS
    assert miniport.Cards[FIRST].Filter == 0
    world.end(miniport)


def test_c_and_object_drivers_share_an_adapter(world: World) -> None:
    protocol, driver = SampleProtocol(), Driver()
    with Bench() as bench:
        bench.bind(driver, "object")
        world.registry.add_adapter(bench.adapter)
        assert protocol.DriverEntry() is Status.SUCCESS
        context = protocol.Contexts["bench0"]
        bench.give(frame(US, FIRST), frame(US, FIRST, 1))
        assert context.Received == driver.frames == [frame(US, FIRST), frame(US, FIRST, 1)]
        driver.frames.clear()
        assert protocol.Send("bench0", frame(FIRST, US)) is Status.SUCCESS
        assert bench.taken() == driver.frames == [frame(FIRST, US)]
        protocol.Hold = True
        bench.give(frame(US, FIRST))
        assert context.NdisBindingHandle.held == 1
        assert world.registry.remove_adapter(bench.adapter) is Status.SUCCESS
        assert bench.adapter.bindings == ()
        assert context.Closed
        world.end(None, protocol)


def test_the_owner_of_an_adapter_may_close_a_c_binding_himself(world: World) -> None:
    """LC-28: ProtocolUnbindAdapter is called all the same."""
    protocol = SampleProtocol()
    with Bench() as bench:
        world.registry.add_adapter(bench.adapter)
        assert protocol.DriverEntry() is Status.SUCCESS
        context = protocol.Contexts["bench0"]
        assert bench.adapter.close(context.NdisBindingHandle) is Status.SUCCESS
        assert context.Closed
        world.end(None, protocol)
        assert world.registry.remove_adapter(bench.adapter) is Status.SUCCESS


# bindings


def test_lc_26_an_open_answers_why_there_is_no_binding(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    handle = protocol.NdisProtocolHandle
    assert ndis.NdisOpenAdapter([0], 1, handle, None, "card7", 0, None)[:3] == (Status.ADAPTER_NOT_FOUND, Status.ADAPTER_NOT_FOUND, None)
    assert ndis.NdisOpenAdapter([1, 0], 1, handle, None, "card0", 0, None)[0] is Status.UNSUPPORTED_MEDIA
    context = OpenContext("card0")
    status, _, binding, medium = ndis.NdisOpenAdapter([1, 0], 2, handle, context, "card0", 0, None)
    context.NdisBindingHandle = binding
    assert (status, medium) == (Status.SUCCESS, 1)
    assert binding is not None
    assert (binding.packet_filter, binding.multicast_list) == (0, ())
    world.end(miniport, protocol)
    assert violation(ndis.NdisOpenAdapter, [0], 1, handle, None, "card0", 0, None) == "66"
    assert violation(ndis.NdisDeregisterProtocol, handle) == "66"


def test_lc_24_a_protocol_may_decline_and_be_asked_again(world: World) -> None:
    class Choosy(SampleProtocol):
        wants = False

        def BindAdapter(self, *given: Any) -> Any:
            status = super().BindAdapter(*given)
            return status if self.wants else Status.FAILURE

    protocol, miniport = Choosy(), SampleMiniport()
    left, right = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    assert (left.bindings, right.bindings) == ((), ())
    protocol.wants = True
    ndis.NdisReEnumerateProtocolBindings(protocol.NdisProtocolHandle)
    ndis.NdisReEnumerateProtocolBindings(protocol.NdisProtocolHandle)
    assert (len(left.bindings), len(right.bindings)) == (1, 1)
    world.end(miniport, protocol)


def test_lc_24_a_bind_that_is_pending_is_completed_later(world: World) -> None:
    class Slow(SampleProtocol):
        def BindAdapter(self, BindContext: Any, *given: Any) -> Any:
            self.BindContext, self.status = BindContext, super().BindAdapter(BindContext, *given)
            return ndis.NDIS_STATUS_PENDING

    protocol, miniport = Slow(), SampleMiniport()
    assert miniport.DriverEntry() is Status.SUCCESS
    assert protocol.DriverEntry() is Status.SUCCESS
    _, adapter = world.plug(miniport)
    assert adapter is not None
    ndis.NdisReEnumerateProtocolBindings(protocol.NdisProtocolHandle)
    assert len(adapter.bindings) == 1
    assert world.registry.remove_adapter(adapter) is Status.PENDING
    ndis.NdisCompleteBindAdapter(protocol.BindContext, protocol.status, Status.SUCCESS)
    assert violation(ndis.NdisCompleteBindAdapter, protocol.BindContext, Status.SUCCESS, Status.SUCCESS) == "65"
    world.expect("65")
    assert work_items.drain(10_000)
    assert world.registry.adapters == {}
    world.end(miniport, protocol)


def test_lc_28_an_unbind_that_is_pending_is_completed_later(world: World) -> None:
    class Slow(SampleProtocol):
        def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> Any:
            self.UnbindContext, self.Context = UnbindContext, ProtocolBindingContext
            return ndis.NDIS_STATUS_PENDING

    protocol, miniport = Slow(), SampleMiniport()
    assert miniport.DriverEntry() is Status.SUCCESS
    _, adapter = world.plug(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    assert adapter is not None
    assert world.registry.remove_adapter(adapter) is Status.PENDING
    assert world.registry.remove_adapter(adapter) is Status.PENDING
    assert miniport.Cards[FIRST].Log == []
    SampleProtocol.UnbindAdapter(protocol, protocol.Context, protocol.UnbindContext)
    ndis.NdisCompleteUnbindAdapter(protocol.UnbindContext, Status.SUCCESS)
    assert work_items.drain(10_000)
    assert world.registry.adapters == {}
    world.end(miniport, protocol)


def test_lc_27_lc_30_a_close_is_pending_while_packets_are_held_and_then_complete(world: World) -> None:
    class Holder(SampleProtocol):
        def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> Any:
            self.status = ndis.NdisCloseAdapter(ProtocolBindingContext.NdisBindingHandle)
            return Status.SUCCESS

    protocol, miniport = Holder(), SampleMiniport()
    protocol.Hold = True
    left, right = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    protocol.Send("card0", frame(SECOND, FIRST))
    context = protocol.Contexts["card1"]
    assert world.registry.remove_adapter(right) is Status.PENDING
    assert (protocol.status, context.Closed) == (Status.PENDING, False)
    assert violation(ndis.NdisCloseAdapter, context.NdisBindingHandle) == "98"
    assert violation(ndis.NdisRequest, context.NdisBindingHandle, Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))) == "98"
    world.expect("98", "98")
    protocol.GiveBack(context)
    assert context.Closed
    assert work_items.drain(10_000)
    assert list(world.registry.adapters) == ["card0"]
    assert protocol.Unload() is Status.SUCCESS
    assert protocol.status is Status.SUCCESS
    world.end(miniport)
    assert left.halted


def test_a_protocol_that_forgets_to_close_is_closed(world: World) -> None:
    class Forgetful(SampleProtocol):
        def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> Any:
            raise RuntimeError("it forgets")

    protocol, miniport = Forgetful(), SampleMiniport()
    left, _ = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    assert protocol.Unload() is Status.SUCCESS
    world.expect("UnbindAdapterHandler of SAMPLE", "UnbindAdapterHandler of SAMPLE")
    assert left.bindings == ()
    world.end(miniport)


@pytest.mark.parametrize("forbidden", [ndis.NdisReEnumerateProtocolBindings, ndis.NdisDeregisterProtocol])
def test_binds_are_not_asked_for_inside_a_bind_or_unbind(world: World, forbidden: Any) -> None:
    """Rule 67."""

    class Reentrant(SampleProtocol):
        def BindAdapter(self, BindContext: Any, *given: Any) -> Any:
            self.broken.append(violation(forbidden, BindContext.NdisProtocolHandle))
            return super().BindAdapter(BindContext, *given)

        def UnbindAdapter(self, *given: Any) -> Any:
            self.broken.append(violation(forbidden, self.NdisProtocolHandle))
            return super().UnbindAdapter(*given)

    protocol, miniport = Reentrant(), SampleMiniport()
    protocol.broken = []
    assert miniport.DriverEntry() is Status.SUCCESS
    assert world.plug(miniport)[0] is Status.SUCCESS
    assert protocol.DriverEntry() is Status.SUCCESS
    world.end(miniport, protocol)
    assert protocol.broken == ["67", "67"]


# requests, resets, events


def test_oid_08_a_pending_request_is_completed_with_its_counts(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    left, _ = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    context = protocol.Contexts["card0"]
    request = ndis.NDIS_REQUEST(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))
    assert ndis.NdisRequest(context.NdisBindingHandle, request) is Status.PENDING
    assert ndis.NdisQueryPendingIOCount(context.NdisBindingHandle) == (Status.SUCCESS, 1)
    buffer = miniport.Cards[FIRST].Log.pop()
    buffer[:] = (7).to_bytes(4, "little")
    ndis.NdisMQueryInformationComplete(left, Status.SUCCESS, 4, 0)
    assert context.Statuses == [("request", Oid.GEN_LINK_SPEED, Status.SUCCESS, 4)]
    assert request.information_buffer[0] == 7
    request = ndis.NDIS_REQUEST(RequestKind.SET, Oid.GEN_MACHINE_NAME, bytearray(6))
    assert ndis.NdisRequest(context.NdisBindingHandle, request) is Status.PENDING
    ndis.NdisMSetInformationComplete(left, Status.INVALID_LENGTH, 0, 8)
    assert (request.bytes_read, request.bytes_needed) == (0, 8)
    assert ndis.NdisQueryPendingIOCount(context.NdisBindingHandle) == (Status.SUCCESS, 0)
    world.end(miniport, protocol)


def test_lc_13_lc_17_a_reset_is_told_to_all_and_its_end_to_the_one_who_asked(world: World) -> None:
    protocol, other, miniport = SampleProtocol(), SampleProtocol(Name="other"), SampleMiniport()
    left, _ = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    assert other.DriverEntry() is Status.SUCCESS
    context = protocol.Contexts["card0"]
    assert ndis.NdisReset(context.NdisBindingHandle) is Status.PENDING
    assert protocol.Send("card0", frame(SECOND, FIRST)) is Status.RESET_IN_PROGRESS
    ndis.NdisMResetComplete(left, Status.SUCCESS, False)
    told = [(Status.RESET_START, b""), "complete", (Status.RESET_END, b""), "complete"]
    assert context.Statuses == [*told, ("reset", Status.SUCCESS)]
    assert other.Contexts["card0"].Statuses == told
    assert miniport.Cards[FIRST].Log == ["reset"]
    world.end(miniport, protocol, other)


def test_lc_35_events_reach_protocols_and_the_miniport(world: World) -> None:
    class Slow(SampleProtocol):
        def PnPEvent(self, ProtocolBindingContext: OpenContext, NetPnPEvent: Any) -> Any:
            super().PnPEvent(ProtocolBindingContext, NetPnPEvent)
            return Status.PENDING

    protocol, miniport = Slow(), SampleMiniport()
    left, _ = world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    assert left.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is Status.PENDING
    ndis.NdisCompletePnPEvent(Status.SUCCESS, protocol.Contexts["card0"].NdisBindingHandle, PnpEvent.QUERY_REMOVE_DEVICE)
    left.pnp_event(DeviceEvent.SURPRISE_REMOVED)
    assert (protocol.Pnp, miniport.Cards[FIRST].Log) == ([PnpEvent.QUERY_REMOVE_DEVICE], [DeviceEvent.SURPRISE_REMOVED])
    world.end(miniport, protocol)


def test_tx_28_a_cancel_reaches_the_miniport_and_ids_begin_with_the_drivers_own_byte(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS
    ids = [ndis.NdisGeneratePartialCancelId() for _ in range(256)]
    assert sorted(ids) == list(range(256))
    ndis.NdisCancelSendPackets(protocol.Contexts["card0"].NdisBindingHandle, ids[0] << 24 | 1)
    assert miniport.Cards[FIRST].Log == [("cancel", ids[0] << 24 | 1)]
    world.end(miniport, protocol)


PASSIVE_ONLY = [
    lambda: ndis.NdisRegisterProtocol(ndis.NDIS_PROTOCOL_CHARACTERISTICS(), 0),
    lambda: ndis.NdisMInitializeWrapper(None, None, None),
]


@pytest.mark.parametrize("call", PASSIVE_ONLY)
def test_a_life_is_led_at_passive(call: Any, strict: None) -> None:
    call()
    with at_irql(Irql.DISPATCH):
        assert violation(call) == "70"


def test_adapters_of_both_worlds_have_different_names(world: World) -> None:
    miniport = SampleMiniport()
    world.cable(miniport)
    with pytest.raises(ValueError, match="card0 already"):
        world.plug(miniport)
    world.end(miniport)


def test_frames_pass_while_another_thread_sends(world: World) -> None:
    protocol, miniport = SampleProtocol(), SampleMiniport()
    world.cable(miniport)
    assert protocol.DriverEntry() is Status.SUCCESS

    def send() -> None:
        for mark in range(100):
            protocol.Send("card0", frame(SECOND, FIRST, mark))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    for mark in range(100):
        protocol.Send("card1", frame(FIRST, SECOND, mark))
    thread.join(60)
    assert len(protocol.Contexts["card0"].Received) == len(protocol.Contexts["card1"].Received) == 100
    world.end(miniport, protocol)
