"""
An intermediate driver's life in C: both edges are registered, virtual NICs come and go, and frames pass through to drivers above.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from conformance.c_drivers import FRAMES, Card, OpenContext, SampleMiniport, SampleProtocol
from conformance.c_passthru import Adapt, SamplePassthru
from conformance.world import FIRST, SECOND, World, empty_world
from unit.wire import violation

from vnic import Status, ndis
from vnic.pnp import PnpEvent, PowerState
from vnic.reset import Attributes
from vnic.timers import work_items

ALL = b"\xff" * 6


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with empty_world() as world:
        yield world


def frame(to: bytes, source: bytes, mark: int = 0, size: int = 60) -> bytes:
    return to + source + b"\x88\xb5" + bytes(size - 15) + bytes([mark])


class Above(SampleProtocol):
    """Binds to virtual NICs only."""

    def BindAdapter(self, BindContext: Any, DeviceName: str, *given: Any) -> Any:
        if not DeviceName.startswith("pt"):
            return Status.NOT_ACCEPTED
        return super().BindAdapter(BindContext, DeviceName, *given)


class Stack:
    """A cable, the driver over both of its cards, and a protocol above."""

    def __init__(self, world: World, protocol: SampleProtocol | None = None, miniport: SampleMiniport | None = None) -> None:
        self.world = world
        self.miniport = miniport or SampleMiniport()
        self.passthru = SamplePassthru()
        self.protocol = protocol or Above()
        self.left, self.right = world.cable(self.miniport)
        assert self.passthru.DriverEntry() is Status.SUCCESS
        assert self.protocol.DriverEntry() is Status.SUCCESS

    @property
    def high(self) -> OpenContext:
        """What the protocol knows of the receiving end."""
        return self.protocol.Contexts["pt-card1"]

    def send(self, *marks: int) -> list[bytes]:
        """Send frames from left to right; answers them."""
        frames = [frame(SECOND, FIRST, mark) for mark in marks]
        for one in frames:
            self.protocol.Send("pt-card0", one)
            self.world.poll()
        return frames

    def out(self) -> list[int]:
        """The packets that are not in their pools: of the receiving card, of the driver above it both ways, of the protocol."""
        adapt = self.passthru.Adapts["card1"]
        pools = [self.miniport.Cards[SECOND].PacketPool, adapt.RecvPool, adapt.SendPool, self.high.PacketPool]
        pools += [self.passthru.Adapts["card0"].SendPool, self.protocol.Contexts["pt-card0"].PacketPool]
        return [ndis.NdisPacketPoolUsage(pool) for pool in pools]

    def end(self) -> None:
        """Everything goes, and every packet is home."""
        assert self.out() == [0] * 6
        assert [adapt.Saved for adapt in self.passthru.Adapts.values()] == [{}, {}]
        contexts = list(self.protocol.Contexts.values())
        assert self.protocol.Unload() is Status.SUCCESS
        assert self.world.registry.unload(self.passthru.NdisWrapperHandle) is Status.SUCCESS
        assert all(context.Closed for context in contexts)
        assert self.passthru.Adapts == {}
        self.world.end(self.miniport)


# registration


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, Status.SUCCESS),
        ({"ISRHandler": print}, Status.BAD_CHARACTERISTICS),
        ({"HandleInterruptHandler": print}, Status.BAD_CHARACTERISTICS),
        ({"EnableInterruptHandler": print}, Status.BAD_CHARACTERISTICS),
        ({"DisableInterruptHandler": print}, Status.BAD_CHARACTERISTICS),
        ({"SendPacketsHandler": None, "SendHandler": print}, Status.BAD_CHARACTERISTICS),
        ({"SendHandler": print}, Status.SUCCESS),
        ({"ReturnPacketHandler": None}, Status.BAD_CHARACTERISTICS),
        ({"TransferDataHandler": None}, Status.SUCCESS),
        ({"MajorNdisVersion": 6}, Status.BAD_VERSION),
        ({"HaltHandler": None}, Status.BAD_CHARACTERISTICS),
    ],
)
def test_im_01_im_02_lc_04_the_upper_edge_has_no_interrupt_and_takes_and_gives_back_packets(
    changed: dict[str, Any], status: Status
) -> None:
    table = replace(SamplePassthru().MChars, **changed)
    wrapper = ndis.NdisMInitializeWrapper("im", None, None)
    answer, handle = ndis.NdisIMRegisterLayeredMiniport(wrapper, table, len(table))
    assert (answer, handle is None) == (status, status is not Status.SUCCESS)
    if handle is not None:
        assert ndis.NdisIMRegisterLayeredMiniport(wrapper, table, len(table)) == (Status.FAILURE, None)
        ndis.NdisIMDeregisterLayeredMiniport(handle)
        assert violation(ndis.NdisIMDeregisterLayeredMiniport, handle) == "66"
        assert violation(ndis.NdisIMInitializeDeviceInstanceEx, handle, "pt", None) == "66"


NEEDED = ("INTERMEDIATE_DRIVER", "DESERIALIZE", "NO_HALT_ON_SUSPEND", "IGNORE_PACKET_TIMEOUT", "IGNORE_REQUEST_TIMEOUT")


@pytest.mark.parametrize("missing", NEEDED)
def test_im_01_a_virtual_nic_without_one_of_its_attributes_is_not_initialised(world: World, missing: str) -> None:
    passthru, protocol, miniport = SamplePassthru(), Above(), SampleMiniport()
    passthru.Flags &= ~getattr(ndis, f"NDIS_ATTRIBUTE_{missing}")
    assert passthru.DriverEntry() is Status.SUCCESS
    assert protocol.DriverEntry() is Status.SUCCESS
    left, _ = world.cable(miniport)
    world.expect("InitializeHandler", "InitializeHandler")
    assert (passthru.Adapts, protocol.Contexts, left.bindings) == ({}, {}, ())
    assert sorted(world.registry.adapters) == ["card0", "card1"]
    world.end(miniport, protocol)
    assert world.registry.unload(passthru.NdisWrapperHandle) is Status.SUCCESS


def test_im_01_further_attributes_may_be_set(world: World) -> None:
    stack = Stack(world)
    passthru = SamplePassthru("pt2")
    passthru.Flags |= ndis.NDIS_ATTRIBUTE_SURPRISE_REMOVE_OK | Attributes.USES_SAFE_BUFFER_APIS
    assert passthru.DriverEntry() is Status.SUCCESS
    assert "pt2-card0" in world.registry.adapters
    assert world.registry.unload(passthru.NdisWrapperHandle) is Status.SUCCESS
    stack.end()


def test_im_02_what_is_associated_belongs_together_and_can_take_packets(world: World) -> None:
    stack, other = Stack(world), SamplePassthru("pt2")
    plain = ndis.NdisMInitializeWrapper("plain", None, None)
    assert violation(ndis.NdisIMAssociateMiniport, plain, stack.passthru.ProtHandle) == "65"
    assert violation(ndis.NdisIMInitializeDeviceInstanceEx, plain, "pt", None) == "65"
    assert violation(ndis.NdisIMAssociateMiniport, stack.passthru.DriverHandle, stack.protocol.NdisProtocolHandle) == "65"
    wrapper = ndis.NdisMInitializeWrapper("im", None, None)
    _, handle = ndis.NdisIMRegisterLayeredMiniport(wrapper, other.MChars, len(other.MChars))
    assert violation(ndis.NdisIMAssociateMiniport, handle, stack.passthru.ProtHandle) == "65"
    lookers = SampleProtocol(ByPackets=False)
    assert lookers.DriverEntry() is Status.SUCCESS
    assert violation(ndis.NdisIMAssociateMiniport, handle, lookers.NdisProtocolHandle) == "65"
    assert lookers.Unload() is Status.SUCCESS
    assert violation(ndis.NdisIMAssociateMiniport, handle, lookers.NdisProtocolHandle) == "66"
    stack.end()


# virtual NICs


@pytest.mark.parametrize("cards_first", [True, False])
def test_im_03_a_virtual_nic_is_there_for_each_adapter_and_ends_before_the_binding_below(world: World, cards_first: bool) -> None:
    order: list[str] = []

    class Watched(Above):
        def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> Any:
            status = super().UnbindAdapter(ProtocolBindingContext, UnbindContext)
            order.append(f"above, halted {'halted pt-card0' in passthru.Log}, closed {adapt.BindingHandle is None}")
            return status

    passthru, protocol, miniport = SamplePassthru(), Watched(), SampleMiniport()
    assert miniport.DriverEntry() is Status.SUCCESS
    plugged = world.plug(miniport)[1] if cards_first else None
    assert protocol.DriverEntry() is Status.SUCCESS
    assert passthru.DriverEntry() is Status.SUCCESS
    card = plugged or world.plug(miniport)[1]
    assert card is not None
    adapt = passthru.Adapts["card0"]
    virtual = world.registry.adapters["pt-card0"]
    assert (adapt.MiniportHandle, virtual.address, virtual.mtu) == (virtual, FIRST, card.mtu)
    assert ndis.NdisIMGetDeviceContext(virtual) is adapt
    assert ndis.NdisIMGetDeviceContext(card) is None
    assert ndis.NdisIMInitializeDeviceInstanceEx(passthru.DriverHandle, "pt-card0", adapt) is Status.FAILURE
    assert ndis.NdisIMCancelInitializeDeviceInstance(passthru.DriverHandle, "pt-card0") is Status.FAILURE
    assert [[binding.name for binding in adapter.bindings] for adapter in (card, virtual)] == [["PT"], ["SAMPLE"]]
    assert [binding.early_returns for binding in card.bindings] == [True]
    assert world.registry.remove_adapter(card) is Status.SUCCESS
    assert order == ["above, halted False, closed False"]
    assert passthru.Log == ["initialized pt-card0", "halted pt-card0", "deinitialized pt-card0: SUCCESS"]
    assert violation(ndis.NdisIMDeInitializeDeviceInstance, virtual) == "66"
    assert (world.registry.adapters, passthru.Adapts) == ({}, {})
    assert protocol.Unload() is Status.SUCCESS
    assert world.registry.unload(passthru.NdisWrapperHandle) is Status.SUCCESS
    world.end(miniport)


def test_im_03_a_virtual_nic_may_be_initialised_later(world: World) -> None:
    world.registry.layers.at_once = False
    stack = Stack(world)
    stack.miniport.Arrive(stack.miniport.Cards[SECOND], frame(SECOND, FIRST))
    world.expect("93")
    assert (sorted(world.registry.layers.waiting), stack.protocol.Contexts) == (["pt-card0", "pt-card1"], {})
    assert ndis.NdisIMInitializeDeviceInstanceEx(stack.passthru.DriverHandle, "pt-card0", None) is Status.FAILURE
    assert world.registry.layers.start("pt-card0") is Status.SUCCESS
    assert world.registry.layers.start("pt-card1") is Status.SUCCESS
    assert world.registry.layers.start("pt-card1") is Status.ADAPTER_NOT_FOUND
    assert sorted(stack.protocol.Contexts) == ["pt-card0", "pt-card1"]
    sent = stack.send(1)
    assert stack.high.Received == sent
    stack.end()


def test_im_03_a_virtual_nic_may_never_be_initialised(world: World) -> None:
    world.registry.layers.at_once = False
    stack = Stack(world)
    other = SamplePassthru("other")
    wrapper = ndis.NdisMInitializeWrapper("other", None, None)
    _, handle = ndis.NdisIMRegisterLayeredMiniport(wrapper, other.MChars, len(other.MChars))
    assert handle is not None
    assert ndis.NdisIMCancelInitializeDeviceInstance(handle, "pt-card0") is Status.FAILURE
    assert world.registry.remove_adapter(stack.left) is Status.SUCCESS
    assert stack.passthru.Log == ["cancelled pt-card0"]
    assert ndis.NdisDeregisterProtocol(stack.passthru.ProtHandle) is Status.SUCCESS
    assert stack.passthru.Log == ["cancelled pt-card0", "cancelled pt-card1"]
    assert ndis.NdisIMInitializeDeviceInstanceEx(stack.passthru.DriverHandle, "orphan", None) is Status.SUCCESS
    ndis.NdisIMDeregisterLayeredMiniport(stack.passthru.DriverHandle)
    assert world.registry.layers.waiting == {}
    world.end(stack.miniport, stack.protocol)


def test_im_03_a_driver_that_deregisters_has_no_virtual_nics(world: World) -> None:
    stack = Stack(world)
    ndis.NdisIMDeregisterLayeredMiniport(stack.passthru.DriverHandle)
    assert sorted(world.registry.adapters) == ["card0", "card1"]
    assert (stack.passthru.Adapts, stack.left.bindings, stack.right.bindings) == ({}, (), ())
    assert ndis.NdisDeregisterProtocol(stack.passthru.ProtHandle) is Status.SUCCESS
    world.end(stack.miniport, stack.protocol)


def test_im_03_a_virtual_nic_that_fails_leaves_nothing_below(world: World) -> None:
    class Failing(SamplePassthru):
        def QueryInformation(self, *given: Any) -> Any:
            return Status.NOT_SUPPORTED, 0, 0

    passthru, miniport = Failing(), SampleMiniport()
    assert passthru.DriverEntry() is Status.SUCCESS
    left, _ = world.cable(miniport)
    assert passthru.Log == ["initialized pt-card0", "halted pt-card0", "initialized pt-card1", "halted pt-card1"]
    assert (passthru.Adapts, left.bindings) == ({}, ())
    assert world.registry.unload(passthru.NdisWrapperHandle) is Status.SUCCESS
    world.end(miniport)


@pytest.mark.parametrize("late", ["packets", "sends"])
def test_im_03_a_virtual_nic_ends_when_those_above_have_their_packets_back_or_have_given_them_back(world: World, late: str) -> None:
    class Slow(SampleMiniport):
        def Send(self, MiniportAdapterContext: Card, Packet: Any, Flags: int) -> Any:
            if late == "sends":
                waiting.append(Packet)
                return Status.PENDING
            return super().Send(MiniportAdapterContext, Packet, Flags)

    class Rude(Above):
        def UnbindAdapter(self, ProtocolBindingContext: OpenContext, UnbindContext: Any) -> Any:
            return self.closed.append(ndis.NdisCloseAdapter(ProtocolBindingContext.NdisBindingHandle)) or Status.SUCCESS

    waiting: list[Any] = []
    rude = Rude()
    rude.closed = []
    rude.Hold = True
    stack = Stack(world, rude, Slow())
    stack.send(1)
    low = stack.right if late == "packets" else stack.left
    high = stack.protocol.Contexts[f"pt-{low.name}"]
    assert world.registry.remove_adapter(low) is Status.PENDING
    assert (rude.closed, stack.passthru.Log[-1]) == ([Status.PENDING], f"deinitialized pt-{low.name}: PENDING")
    assert (high.Closed, len(low.bindings)) == (False, 1)
    world.expect(*(["69"] if late == "sends" else []))
    if late == "packets":
        rude.GiveBack(high)
    else:
        ndis.NdisMSendComplete(low, waiting.pop(), Status.SUCCESS)
    assert high.Closed
    assert work_items.drain(10_000)
    assert (low.halted, stack.passthru.Log[-1]) == (True, f"halted pt-{low.name}")
    assert sorted(world.registry.adapters) == ["card0", "pt-card0"] if late == "packets" else ["card1", "pt-card1"]
    assert stack.protocol.Unload() is Status.SUCCESS
    assert world.registry.unload(stack.passthru.NdisWrapperHandle) is Status.SUCCESS
    world.end(stack.miniport)


def test_im_03_two_intermediate_drivers_stand_above_each_other_and_not_in_a_circle(world: World) -> None:
    stack, upper = Stack(world), SamplePassthru("pt2")
    assert upper.DriverEntry() is Status.SUCCESS
    chains = ["pt-card0", "pt2-card0", "pt2-pt-card0", "pt-pt2-card0"]
    assert sorted(world.registry.adapters) == sorted(["card0", "card1", *chains, *(name.replace("0", "1") for name in chains)])
    ndis.NdisReEnumerateProtocolBindings(stack.passthru.ProtHandle)
    ndis.NdisReEnumerateProtocolBindings(upper.ProtHandle)
    assert len(world.registry.adapters) == 10
    protocol = stack.protocol
    protocol.Hold = True
    sent = frame(SECOND, FIRST, 1)
    protocol.Send("pt2-pt-card0", sent)
    above = [name for name in protocol.Contexts if name.endswith("1")]
    assert [protocol.Contexts[name].Received for name in above] == [[sent]] * 4
    for name in above:
        protocol.GiveBack(protocol.Contexts[name])
    assert world.registry.unload(upper.NdisWrapperHandle) is Status.SUCCESS
    assert sorted(world.registry.adapters) == ["card0", "card1", "pt-card0", "pt-card1"]
    stack.end()


# frames


@pytest.mark.parametrize("deserialize", [True, False], ids=["deserialized", "serialized"])
@pytest.mark.parametrize("by_packets", [True, False], ids=["packets", "lookahead"])
def test_im_05_im_07_im_15_im_17_frames_pass_through_a_c_driver(world: World, by_packets: bool, deserialize: bool) -> None:
    stack = Stack(world, Above(ByPackets=by_packets), SampleMiniport(Deserialize=deserialize))
    sent = stack.send(*range(3 * FRAMES))
    assert stack.high.Received == sent
    assert stack.protocol.Contexts["pt-card0"].Completed == [Status.SUCCESS] * 3 * FRAMES
    stack.protocol.Send("pt-card1", frame(ALL, SECOND, 7))
    world.poll()
    assert stack.protocol.Contexts["pt-card0"].Received == [frame(ALL, SECOND, 7)]
    # looped by the virtual NIC, and not by the card too
    assert stack.high.Received == [*sent, frame(ALL, SECOND, 7)]
    stack.end()


@pytest.mark.parametrize("deserialize", [True, False], ids=["deserialized", "serialized"])
def test_im_05_im_07_packets_are_held_above_and_returned_late_in_any_order(world: World, deserialize: bool) -> None:
    stack = Stack(world, miniport=SampleMiniport(Deserialize=deserialize))
    stack.protocol.Hold = True
    sent = stack.send(1, 2, 3, 4)
    (low,) = stack.right.bindings
    assert (stack.high.Received, low.held, stack.high.NdisBindingHandle.held) == (sent, 4, 4)
    assert stack.out() == [4, 4, 0, 0, 0, 0]
    for left in (3, 2, 1, 0):
        ndis.NdisReturnPackets([stack.high.Held.pop(left // 2)], 1)
        assert (low.held, stack.out()) == (left, [left, left, 0, 0, 0, 0])
    stack.end()


def test_im_07_packets_come_back_on_another_thread(world: World) -> None:
    stack = Stack(world)
    stack.protocol.Hold = True
    errors: list[BaseException] = []
    done = threading.Event()

    def give_back() -> None:
        try:
            while not done.is_set() or stack.high.Held:
                if stack.high.Held:
                    ndis.NdisReturnPackets([stack.high.Held.pop()], 1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=give_back, daemon=True)
    thread.start()
    try:
        for mark in range(200):
            # the other thread has to keep up: the cards have only so many packets
            while len(stack.high.Held) >= FRAMES // 2 and thread.is_alive():
                pass
            while stack.out()[0] >= FRAMES - 1 and thread.is_alive():
                pass
            stack.send(mark)
    finally:
        done.set()
        thread.join(60)
    assert (errors, thread.is_alive(), len(stack.high.Received)) == ([], False, 200)
    stack.end()


def test_amb_3_the_driver_above_may_answer_0_and_the_packet_is_back_before_the_one_below_is_answered(world: World) -> None:
    class Glance(Above):
        def ReceivePacket(self, ProtocolBindingContext: OpenContext, Packet: Any) -> int:
            super().ReceivePacket(ProtocolBindingContext, Packet)
            ProtocolBindingContext.Held.clear()
            return 0

    stack = Stack(world, Glance())
    sent = stack.send(1, 2)
    (low,) = stack.right.bindings
    assert (stack.high.Received, low.promised, low.returned) == (sent, 2, 2)
    assert stack.left.counters()["violations"] == stack.right.counters()["violations"] == 0
    stack.end()


@pytest.mark.parametrize("by_packets", [True, False], ids=["packets", "lookahead"])
def test_im_08_what_cannot_be_kept_below_cannot_be_kept_above(world: World, by_packets: bool) -> None:
    class Curious(Above):
        def Receive(self, ProtocolBindingContext: OpenContext, MacReceiveContext: Any, *given: Any) -> Any:
            shown = ndis.NdisGetReceivedPacket(ProtocolBindingContext.NdisBindingHandle, MacReceiveContext)
            assert shown is not None
            self.shown.append((ndis.NDIS_GET_PACKET_STATUS(shown), ndis.NDIS_GET_ORIGINAL_PACKET(shown) is shown))
            return super().Receive(ProtocolBindingContext, MacReceiveContext, *given)

    curious = Curious(ByPackets=by_packets)
    curious.shown = []
    curious.Hold = True
    stack = Stack(world, curious)
    card = stack.miniport.Cards[SECOND]
    frames = [frame(SECOND, FIRST, mark) for mark in range(2 * FRAMES)]
    for one in frames:
        stack.miniport.Arrive(card, one, Status.RESOURCES)
    assert stack.high.Received == frames
    assert curious.shown == [(Status.RESOURCES, False)] * 2 * FRAMES
    stack.end()


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize("lookahead", [20, 46])
def test_im_08_a_frame_that_is_in_no_packet_goes_up_by_its_beginning(world: World, lookahead: int, pending: bool) -> None:
    class Slow(SampleMiniport):
        def TransferData(self, Packet: Any, MiniportAdapterContext: Card, *given: Any) -> Any:
            status, copied = super().TransferData(Packet, MiniportAdapterContext, *given)
            if not pending:
                return status, copied
            later.append((MiniportAdapterContext.MiniportAdapterHandle, Packet, status, copied))
            return Status.PENDING, 0

    later: list[Any] = []
    stack = Stack(world, miniport=Slow())
    stack.miniport.Cards[SECOND].ByLookahead = lookahead
    for mark in range(3):
        stack.send(mark)
        for one in later:
            ndis.NdisMTransferDataComplete(*one)
        assert len(later) == (lookahead == 20 and pending)
        later.clear()
    assert stack.high.Received == [frame(SECOND, FIRST, mark) for mark in range(3)]
    stack.end()


def test_im_06_im_16_without_packets_to_wrap_with_frames_are_dropped_and_sends_fail(world: World) -> None:
    stack = Stack(world)
    adapts = stack.passthru.Adapts
    packets: list[tuple[Any, Any]] = [ndis.NdisAllocatePacket(adapts["card1"].RecvPool) for _ in range(FRAMES)]
    packets += [ndis.NdisAllocatePacket(adapts["card0"].SendPool) for _ in range(FRAMES)]
    stack.send(1)
    assert stack.protocol.Contexts["pt-card0"].Completed == [Status.RESOURCES]
    stack.miniport.Arrive(stack.miniport.Cards[SECOND], frame(SECOND, FIRST, 2))
    assert stack.high.Received == []
    for _, packet in packets:
        ndis.NdisFreePacket(packet)
    assert stack.send(3) == stack.high.Received
    stack.end()


def test_im_15_im_17_what_is_said_of_a_send_goes_down_and_what_became_of_it_comes_back(world: World) -> None:
    class Slow(SampleMiniport):
        def Send(self, MiniportAdapterContext: Card, Packet: Any, Flags: int) -> Any:
            below.append(Packet)
            return Status.PENDING

    below: list[Any] = []
    stack = Stack(world, miniport=Slow())
    context = stack.protocol.Contexts["pt-card0"]
    packet = context.allocate(frame(SECOND, FIRST))
    ndis.NdisSetPacketFlags(packet, 0x70000)
    ndis.NDIS_SET_PACKET_TIME_TO_SEND(packet, 7)
    ndis.NDIS_SET_PACKET_CANCEL_ID(packet, 7)
    ndis.NDIS_PACKET_EXTENSION_FROM_PACKET(packet)[ndis.TcpLargeSendPacketInfo] = 1460
    assert ndis.NdisSend(context.NdisBindingHandle, packet) is Status.PENDING
    (sent,) = below
    assert sent is not packet
    assert ndis.NdisGetPacketFlags(sent) & 0x70000 == 0x70000
    assert ndis.NDIS_GET_PACKET_TIME_TO_SEND(sent) == 7
    assert ndis.NDIS_PER_PACKET_INFO_FROM_PACKET(sent, ndis.TcpLargeSendPacketInfo) == 1460
    ndis.NdisCancelSendPackets(context.NdisBindingHandle, 7)
    assert stack.miniport.Cards[FIRST].Log == [("cancel", 7)]
    ndis.NDIS_PACKET_EXTENSION_FROM_PACKET(sent)[ndis.TcpLargeSendPacketInfo] = 1400
    ndis.NdisMSendComplete(stack.left, sent, Status.HARD_ERRORS)
    assert context.Completed == [Status.HARD_ERRORS]
    stack.end()


# what happens


def test_im_19_requests_go_down_one_at_a_time_and_their_answers_up(world: World) -> None:
    stack = Stack(world)
    context = stack.protocol.Contexts["pt-card0"]
    card = stack.miniport.Cards[FIRST]
    assert card.Filter == ndis.NDIS_PACKET_TYPE_DIRECTED | ndis.NDIS_PACKET_TYPE_BROADCAST
    speed = ndis.NDIS_REQUEST(ndis.NdisRequestQueryInformation, ndis.OID_GEN_LINK_SPEED, bytearray(4))
    name = ndis.NDIS_REQUEST(ndis.NdisRequestSetInformation, ndis.OID_GEN_MACHINE_NAME, bytearray(b"m\0"))
    assert ndis.NdisRequest(context.NdisBindingHandle, speed) is Status.PENDING
    assert ndis.NdisRequest(context.NdisBindingHandle, name) is Status.PENDING
    (buffer,) = card.Log
    buffer[:] = (100).to_bytes(4, "little")
    ndis.NdisMQueryInformationComplete(stack.left, Status.SUCCESS, 4, 0)
    ndis.NdisMSetInformationComplete(stack.left, Status.SUCCESS, 2, 0)
    assert [entry[:3] for entry in context.Statuses] == [
        ("request", ndis.OID_GEN_LINK_SPEED, Status.SUCCESS),
        ("request", ndis.OID_GEN_MACHINE_NAME, Status.SUCCESS),
    ]
    assert (bytes(speed.information_buffer), name.bytes_read) == ((100).to_bytes(4, "little"), 2)
    stack.protocol.SetFilter(context, 0)
    assert card.Filter == 0
    stack.end()


def test_lc_33_a_status_from_below_is_told_above(world: World) -> None:
    stack = Stack(world)
    for status in (Status.MEDIA_DISCONNECT, Status.MEDIA_CONNECT):
        ndis.NdisMIndicateStatus(stack.right, status, b"details", 4)
        ndis.NdisMIndicateStatusComplete(stack.right)
        assert stack.high.Statuses == [(status, b"deta"), "complete"]
        assert world.registry.adapters["pt-card1"].link_up == (status is Status.MEDIA_CONNECT)
        stack.high.Statuses.clear()
    stack.end()


def test_lc_35_events_from_below_are_told_above(world: World) -> None:
    class Refusing(Above):
        def PnPEvent(self, ProtocolBindingContext: OpenContext, NetPnPEvent: Any) -> Any:
            super().PnPEvent(ProtocolBindingContext, NetPnPEvent)
            return Status.FAILURE if NetPnPEvent is PnpEvent.QUERY_REMOVE_DEVICE else Status.SUCCESS

    stack = Stack(world, Refusing())
    virtual = world.registry.adapters["pt-card1"]
    assert stack.right.pnp_event(PnpEvent.RECONFIGURE) is Status.SUCCESS
    assert stack.right.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is Status.FAILURE
    for power in (PowerState.D3, PowerState.D0):
        assert stack.right.pnp_event(PnpEvent.SET_POWER, power) is Status.SUCCESS
        assert (stack.right.power, virtual.power) == (power, power)
    assert stack.protocol.Pnp == [PnpEvent.RECONFIGURE, PnpEvent.QUERY_REMOVE_DEVICE, PnpEvent.SET_POWER, PnpEvent.SET_POWER]
    sent = stack.send(1)
    assert stack.high.Received == sent
    stack.end()


def test_what_is_lent_of_a_virtual_nic_is_freed_before_its_pools(world: World) -> None:
    """PKT-16: the driver frees its pools in Halt, which is refused while one of their packets is out."""
    adapt = Adapt("card0", "pt-card0")
    _, packet = ndis.NdisAllocatePacket(adapt.SendPool)
    assert violation(adapt.free) == "39"
    assert packet is not None
    ndis.NdisFreePacket(packet)
    ndis.NdisFreePacketPool(adapt.SendPool)
