"""
Intermediate drivers: wrapping up and down, what may come back when, and what happens when there is nothing to wrap with.
"""

from __future__ import annotations

import threading
import time

import pytest
from unit.asking import Asker
from unit.layers import Layers, Owner
from unit.wire import Bench, Copier, Driver, Miniport, Sender, frame, violation

from protocol.mux import Mux
from protocol.passthru import Passthru
from vnic import Info, Packet, PacketState, Status
from vnic.driver import MiniportDriver, ProtocolDriver, handler
from vnic.intermediate import IntermediateDriver
from vnic.ndis import (
    NDIS_GET_ORIGINAL_PACKET,
    NDIS_GET_PACKET_STATUS,
    NdisGetPoolFromPacket,
    NdisIMCopySendCompletePerPacketInfo,
    NdisIMCopySendPerPacketInfo,
    NdisIMGetCurrentPacketStack,
)
from vnic.oids import Oid
from vnic.pnp import PnpEvent, PowerState
from vnic.request import Request, RequestKind
from vnic.virtual import VirtualMiniport


class Fan(IntermediateDriver):
    """Show every frame on several virtual adapters."""

    def __init__(self, fans: int) -> None:
        self.fans = fans
        self.answers: list[int] = []

    def bind_adapter(self) -> None:
        self.start(*(VirtualMiniport(self, f"fan{number}", 8) for number in range(self.fans)))

    def receive_packet(self, packet: Packet) -> int:
        self.answers.append(sum(virtual.pass_up(packet) for virtual in self.virtuals))
        return self.answers[-1]


def test_im_02_both_edges_have_the_handlers_that_they_must_have() -> None:
    for driver in (Passthru(), Mux(vlans="7")):
        with Layers(driver) as bench:
            assert all(handler(driver, ProtocolDriver, name) for name in ("receive", "receive_packet", "receive_complete", "send_complete"))
            assert all(handler(bench.up.miniport, MiniportDriver, name) for name in ("send_packets", "return_packet", "cancel_sends"))


def test_im_03_its_adapters_are_halted_after_the_drivers_above_and_before_its_binding_closes() -> None:
    order: list[str] = []

    class Above(Driver):
        def unbind_adapter(self) -> None:
            order.append(f"above, halted {up.halted}")

    class Watched(Passthru):
        def unbind_adapter(self) -> None:
            super().unbind_adapter()
            order.append(f"unbound, halted {up.halted}, closed {self.binding.closed}")

    with Layers(watched := Watched()) as bench:
        up = bench.up
        bench.above(Above())
        bench.adapter.close(bench.low)
        assert order == ["above, halted False", "unbound, halted True, closed False"]
        assert watched.adapters == ()


def test_im_04_what_is_shown_and_what_is_sent_comes_from_two_pools() -> None:
    pools = []

    class Below(Miniport):
        def send(self, packet: Packet) -> Status:
            pools.append(NdisGetPoolFromPacket(packet))
            return Status.SUCCESS

    with Layers(Passthru(), miniport=Below()) as bench:
        driver = Driver(look=lambda packet: pools.append(NdisGetPoolFromPacket(packet)))
        bench.above(driver)
        bench.above(owner := Owner(), "o")
        bench.give(frame())
        packet = bench.owned(frame(), bench.own)
        owner.sent(packet)
        bench.own.free(packet)
        assert len({*pools, bench.pool, bench.own}) == 4


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RESOURCES])
def test_im_05_a_packet_is_shown_over_the_same_chain_with_link_flags_header_size_and_status(status: Status) -> None:
    def look(shown: Packet) -> None:
        assert NDIS_GET_ORIGINAL_PACKET(shown) is packet
        assert shown.buffers == packet.buffers
        assert (shown.flags, shown.oob.header_size, NDIS_GET_PACKET_STATUS(shown)) == (0x70000, 22, status)

    with Layers(Passthru(), miniport=Miniport(frees=False)) as bench:
        driver = Driver(look=look)
        bench.above(driver)
        packet = bench.owned(frame())
        packet.flags, packet.oob.header_size, packet.status = 0x70000, 22, status
        bench.adapter.indicate([packet])
        assert driver.frames == [frame()]
        assert bench.low.promised == (status is Status.SUCCESS)
        bench.pool.free(packet)


def test_im_05_the_status_is_the_one_that_the_packet_came_with() -> None:
    answers: list[tuple[Status, int]] = []

    class Watched(Passthru):
        def receive_packet(self, packet: Packet) -> int:
            kept = super().receive_packet(packet)
            answers.append((packet.status, kept))
            return kept

    with Layers(Watched(), packets=2, low_water=1) as bench:
        driver = Driver(lambda packet: int(packet.status is Status.SUCCESS))
        bench.above(driver)
        bench.give(frame(1))
        bench.give(frame(2))
        assert answers == [(Status.SUCCESS, 1), (Status.RESOURCES, 0)]
        driver.give_back()


def test_im_06_without_a_packet_to_wrap_with_the_frame_is_dropped_for_those_above_only() -> None:
    with Layers(fan := Fan(1)) as bench:
        above, beside = Driver(), Driver(1)
        bench.above(above)
        bench.bind(beside, "beside")
        virtual = fan.virtuals[0]
        taken = [virtual.received.allocate() for _ in range(8)]
        bench.give(frame(1))
        assert (fan.answers, above.frames, beside.frames, virtual.dropped) == ([0], [], [frame(1)], 1)
        for packet in taken:
            assert packet is not None
            virtual.received.free(packet)
        beside.give_back()


def test_im_07_amb_3_a_packet_may_come_back_before_the_intermediate_driver_has_answered() -> None:
    states: list[tuple[PacketState, int]] = []

    class Watched(VirtualMiniport):
        def return_packet(self, packet: Packet) -> None:
            below = NDIS_GET_ORIGINAL_PACKET(packet)
            super().return_packet(packet)
            states.append((below.state, len(fan.answers)))

    class WatchedFan(Fan):
        def bind_adapter(self) -> None:
            self.start(Watched(self, "watched", 8))

    with Layers(fan := WatchedFan(1)) as bench:
        bench.above(Driver(0))
        bench.give(frame())
        assert (states, fan.answers) == ([(PacketState.INDICATED, 0)], [1])
        assert (bench.low.promised, bench.low.returned, bench.pool.usage) == (1, 1, 0)


def test_amb_3_an_ordinary_driver_may_not_return_early() -> None:
    with Bench() as bench:

        def early(packet: Packet) -> int:
            assert violation(driver.binding.return_packets, [packet]) == "02"
            return 0

        driver = Driver(early)
        bench.bind(driver)
        bench.give(frame())
        bench.expect(("02", "a"))


def test_im_08_what_cannot_be_kept_below_comes_up_as_another_packet_that_cannot_be_kept_either() -> None:
    with Layers(fan := Fan(2), packets=4, low_water=4) as bench:
        copier, driver = Copier(), Driver(look=lambda packet: (packet.status, NDIS_GET_ORIGINAL_PACKET(packet) is packet))
        bench.above(copier, "c", fan.adapters[0])
        bench.above(driver, "d", fan.adapters[1])
        bench.give(frame(1), frame(2))
        assert copier.copied == driver.frames == [frame(1), frame(2)]
        assert (fan.answers, driver.seen) == ([0, 0], [(Status.RESOURCES, False)] * 2)
        assert [virtual.received.usage for virtual in fan.virtuals] == [0, 0]


@pytest.mark.parametrize("fans", [1, 2, 5])
def test_im_09_the_answer_is_the_number_of_indications_made_above_and_each_comes_back_for_itself(fans: int) -> None:
    with Layers(fan := Fan(fans)) as bench:
        drivers = [Driver(1) for _ in range(fans)]
        for number, driver in enumerate(drivers):
            bench.above(driver, f"d{number}", fan.adapters[number])
        bench.give(frame())
        assert (fan.answers, bench.low.held) == ([fans], fans)
        for left, driver in zip(range(fans - 1, -1, -1), drivers, strict=True):
            driver.give_back()
            assert (bench.low.held, bench.pool.usage) == (left, int(left > 0))


def test_im_09_those_that_come_back_at_once_and_those_that_are_dropped_are_counted_right() -> None:
    with Layers(fan := Fan(3)) as bench:
        keeper = Driver(1)
        bench.above(Driver(0), "a", fan.adapters[0])
        bench.above(keeper, "b", fan.adapters[1])
        taken = [fan.virtuals[2].received.allocate() for _ in range(8)]
        bench.give(frame())
        assert (fan.answers, bench.low.promised, bench.low.held) == ([2], 2, 1)
        keeper.give_back()
        for packet in taken:
            assert packet is not None
            fan.virtuals[2].received.free(packet)


def test_im_10_what_is_copied_may_be_kept_for_longer_than_the_packet_below() -> None:
    tagged = frame(1)[:12] + b"\x81\x00\x00\x07" + frame(1)[12:]
    with Layers(Mux(vlans="7"), packets=1, low_water=1) as bench:
        driver = Driver(1)
        bench.above(driver)
        bench.give(tagged)
        bench.give(frame(2, size=200))
        assert (bytes(driver.kept[0].data), bench.pool.usage) == (frame(1), 0)
        driver.give_back()


def test_im_11_who_changes_a_frame_copies_what_is_said_of_it_and_sets_no_link() -> None:
    tagged = frame(1)[:12] + b"\x81\x00\x00\x07" + frame(1)[12:]
    with Layers(Mux(vlans="7")) as bench:
        driver = Driver(look=lambda packet: (packet.info[Info.ORIGINAL_PACKET], packet.info[Info.TCP_IP_CHECKSUM]))
        bench.above(driver)
        packet = bench.owned(tagged)
        packet.info[Info.TCP_IP_CHECKSUM] = 3
        bench.adapter.indicate([packet])
        assert driver.seen == [(None, 3)]


def test_im_12_no_slot_of_a_packet_stack_remains_and_the_wrapping_is_what_is_done_then() -> None:
    with Layers(Passthru()) as bench:
        driver = Driver(look=NdisIMGetCurrentPacketStack)
        bench.above(driver)
        bench.give(frame())
        assert driver.seen == [(None, False)]


def test_im_15_what_is_sent_below_is_another_packet_over_the_same_chain_with_all_that_is_said_of_it() -> None:
    class Below(Miniport):
        def send(self, packet: Packet) -> Status:
            assert packet is not sent
            assert packet.buffers == sent.buffers
            assert (packet.flags, packet.oob.time, packet.oob.media_specific, packet.info[Info.CANCEL_ID]) == (0x80, 5, "key", 9)
            return Status.SUCCESS

    with Layers(Passthru(), miniport=Below()) as bench:
        sent = bench.owned(frame(), bench.own)
        sent.flags, sent.oob.time, sent.oob.media_specific, sent.info[Info.CANCEL_ID] = 0x80, 5, "key", 9
        bench.above(owner := Owner())
        assert owner.sent(sent) is Status.SUCCESS
        sent.oob.media_specific = None
        bench.own.free(sent)


def test_im_15_im_16_what_is_copied_down_and_what_is_copied_back() -> None:
    with Bench() as bench:
        one, two = bench.owned(), bench.owned()
        one.info[:] = [f"slot {slot}" for slot in range(len(one.info))]
        NdisIMCopySendPerPacketInfo(two, one)
        down = (Info.TCP_IP_CHECKSUM, Info.IP_SEC, Info.TCP_LARGE_SEND, Info.CLASSIFICATION_HANDLE, Info.IEEE_8021Q, Info.CANCEL_ID)
        assert [slot for slot in Info if two.info[slot] is not None] == [*down]
        two.info[:] = list(range(len(two.info)))
        NdisIMCopySendCompletePerPacketInfo(one, two)
        assert [slot for slot in Info if one.info[slot] == slot] == [Info.TCP_IP_CHECKSUM, Info.IP_SEC, Info.TCP_LARGE_SEND]
        for packet in (one, two):
            bench.pool.free(packet)


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE, Status.PENDING])
def test_im_16_im_17_each_send_is_completed_once_with_what_the_miniport_says_of_it(status: Status) -> None:
    class Below(Miniport):
        def send(self, packet: Packet) -> Status:
            packet.info[Info.TCP_LARGE_SEND] = 99
            self.sent = packet
            return status

    with Layers(Passthru(), Passthru(), miniport=(below := Below())) as bench:
        sender = Sender()
        binding = bench.above(sender)
        packet = bench.owned(frame(), bench.own)
        packet.info[Info.TCP_LARGE_SEND] = 1
        binding.send_packets([packet])
        if status is Status.PENDING:
            assert (sender.completed, packet.state) == ([], PacketState.SENDING)
            bench.adapter.send_complete(below.sent, Status.SUCCESS)
        assert sender.completed == [(frame(), Status.SUCCESS if status is Status.PENDING else status)]
        assert [virtual.sent.usage for driver in bench.drivers for virtual in driver.virtuals] == [0, 0]


def test_im_16_a_send_is_never_left_unfinished_for_want_of_a_packet() -> None:
    with Layers(fan := Fan(1)) as bench:
        sender = Sender()
        binding = bench.above(sender)
        taken = [fan.virtuals[0].sent.allocate() for _ in range(8)]
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        assert sender.completed == [(frame(mark), Status.RESOURCES) for mark in range(3)]
        for packet in taken:
            assert packet is not None
            fan.virtuals[0].sent.free(packet)


def test_im_18_order_is_kept_and_sends_without_a_link_or_power_are_refused() -> None:
    with Layers(Passthru(), packets=64) as bench:
        sender = Sender()
        binding = bench.above(sender)
        frames = [frame(mark) for mark in range(30)]
        binding.send_packets([bench.owned(data, bench.own) for data in frames])
        assert bench.taken() == frames
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        packet = bench.owned(frame(), bench.own)
        assert binding.send(packet) is Status.NO_CABLE
        bench.own.free(packet)
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D3)
        binding.send(bench.owned(frame(1), bench.own))
        assert sender.completed[-1] == (frame(1), Status.FAILURE)


def test_im_19_requests_go_below_in_a_block_of_the_drivers_own() -> None:
    blocks: list[Request] = []

    class Watched(Passthru):
        def ask(self, virtual: VirtualMiniport, request: Request) -> tuple[Status, int, int]:
            blocks.append(request)
            return super().ask(virtual, request)

    with Layers(Watched()) as bench:
        binding = bench.above(Asker())
        request = Request(RequestKind.QUERY, Oid.GEN_MAXIMUM_FRAME_SIZE, bytearray(4))
        assert binding.request(request) is Status.SUCCESS
        assert int.from_bytes(request.information_buffer, "little") == 1500
        assert [(block is request, block.oid) for block in blocks] == [(False, Oid.GEN_MAXIMUM_FRAME_SIZE)]


def test_oid_05_a_driver_above_sets_the_lookahead_that_it_was_told_is_the_largest() -> None:
    with Layers(Passthru()) as bench:
        binding = bench.above(Asker())
        asked = Request(RequestKind.QUERY, Oid.GEN_MAXIMUM_LOOKAHEAD, bytearray(4))
        current = Request(RequestKind.QUERY, Oid.GEN_CURRENT_LOOKAHEAD, bytearray(4))
        assert (binding.request(asked), binding.request(current)) == (Status.SUCCESS, Status.SUCCESS)
        assert asked.information_buffer == current.information_buffer
        assert binding.request(Request(RequestKind.SET, Oid.GEN_CURRENT_LOOKAHEAD, asked.information_buffer)) is Status.SUCCESS
        more = int.from_bytes(asked.information_buffer, "little") + 1
        refused = Request(RequestKind.SET, Oid.GEN_CURRENT_LOOKAHEAD, bytearray(more.to_bytes(4, "little")))
        assert binding.request(refused) is Status.INVALID_DATA
        fewer = Request(RequestKind.SET, Oid.GEN_CURRENT_LOOKAHEAD, bytearray((100).to_bytes(4, "little")))
        assert (binding.request(fewer), binding.request(current)) == (Status.SUCCESS, Status.SUCCESS)
        assert int.from_bytes(current.information_buffer, "little") == 100


def test_s003_05_s003_18_an_intermediate_driver_that_answers_more_than_0_returns_the_packet_as_soon_as_it_is_free() -> None:
    """S003-05: between the last return above and the return below there is nothing; it is the same call, on whatever thread."""
    with Layers(Passthru(), Passthru()) as bench:
        driver = Driver(1)
        bench.above(driver)
        bench.give(frame(1), frame(2))
        assert (bench.low.held, bench.pool.usage) == (2, 2)
        thread = threading.Thread(target=driver.give_back)
        started = time.monotonic()
        thread.start()
        thread.join(10)
        assert (bench.low.held, bench.pool.usage, bench.low.returned) == (0, 0, 2)
        assert time.monotonic() - started < 5
