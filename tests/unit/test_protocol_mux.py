"""
Mux sorts frames by VLAN: up without their tag, down with it; scapy says what a tag is.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Dot1Q, Ether
from unit.asking import Asker
from unit.layers import Layers, Owner
from unit.wire import PEER, US, Copier, Driver, Sender, frame

from protocol.mux import Mux, control_of, info_of
from protocol.passthru import Passthru
from vnic import Adapter, Info, MiniportDriver, Packet, PacketFilter, PacketPool, PacketState, ProtocolDriver, Status
from vnic.oids import Oid
from vnic.request import Request, RequestKind


def tagged(vlan: int, mark: int = 0, *, priority: int = 0, size: int = 60) -> bytes:
    plain = Ether(frame(mark, size=size))
    return bytes(Ether(dst=plain.dst, src=plain.src, type=0x8100) / Dot1Q(vlan=vlan, prio=priority, type=0x0800) / plain.payload)


def priority_of(packet: Packet) -> Any:
    return packet.info[Info.IEEE_8021Q]


@pytest.fixture(params=["alone", "over passthru"])
def make(request: pytest.FixtureRequest) -> Any:
    """A mux on an adapter, or on the virtual adapter of a passthru."""
    below = [Passthru()] if request.param == "over passthru" else []
    return lambda mux, **shape: Layers(*below, mux, **shape)


# options


@pytest.mark.parametrize("vlans", ["", "0", "4095", "-1", "7,", "7,x", "7,7", "1.5", "9" * 5000])
def test_what_is_no_list_of_vlans_is_refused(vlans: str) -> None:
    with pytest.raises(ValueError, match="vlan"):
        Mux(vlans=vlans)


@pytest.mark.parametrize("packets", [0, 0x10000])
def test_a_number_of_packets_that_no_pool_can_have_is_refused(packets: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.65535"):
        Mux(vlans="7", packets=packets)


def test_there_is_an_adapter_for_each_vlan(make: Any) -> None:
    with make(Mux(vlans="7, 9", untagged=True)) as bench:
        name = bench.drivers[-1].binding.adapter.name
        assert [adapter.name for adapter in bench.drivers[-1].adapters] == [f"{name}.7", f"{name}.9", f"{name}.untagged"]
        assert {(adapter.address, adapter.mtu) for adapter in bench.drivers[-1].adapters} == {(US, 1500)}


# up


def test_a_frame_goes_up_without_its_tag_through_the_adapter_of_its_vlan(make: Any) -> None:
    with make(mux := Mux(vlans="7,9,4094")) as bench:
        drivers = {adapter: Driver(look=priority_of) for adapter in mux.adapters}
        for adapter, driver in drivers.items():
            bench.above(driver, adapter.name, adapter)
        bench.give(tagged(7, 1, priority=5), tagged(4094, 2, size=1514), tagged(7, 3))
        seven, nine, last = drivers.values()
        assert (seven.frames, nine.frames, last.frames) == ([frame(1), frame(3)], [], [frame(2, size=1514)])
        assert (seven.seen, last.seen) == ([info_of(5 << 13 | 7), info_of(7)], [info_of(4094)])


def test_nothing_is_held_below_while_frames_are_kept_above(make: Any) -> None:
    with make(mux := Mux(vlans="7"), packets=4) as bench:
        driver = Driver(1)
        bench.above(driver)
        for mark in range(20):
            bench.give(tagged(7, mark))
        assert (bench.pool.usage, mux.vlans[7].received.usage) == (0, 20)
        assert [bytes(packet.data) for packet in driver.kept] == [frame(mark) for mark in range(20)]
        driver.give_back()


def test_frames_may_be_kept_above_while_packets_are_low_below(make: Any) -> None:
    with make(Mux(vlans="7"), packets=2, low_water=2) as bench:
        driver = Driver(1, look=lambda packet: packet.status)
        bench.above(driver)
        bench.give(tagged(7, 1))
        assert (driver.frames, driver.seen, bench.low.resources) == ([frame(1)], [Status.SUCCESS], 1)
        driver.give_back()


def test_frames_of_other_vlans_and_cut_tags_are_dropped_and_counted(make: Any) -> None:
    with make(mux := Mux(vlans="7")) as bench:
        driver = Driver()
        bench.above(driver)
        bench.give(tagged(8), tagged(0), tagged(7)[:17], tagged(7)[:16], tagged(7)[:14])
        assert (mux.dropped_unknown, mux.dropped_untagged, driver.frames) == (5, 0, [])


def test_untagged_frames_are_dropped_and_counted(make: Any) -> None:
    with make(mux := Mux(vlans="7")) as bench:
        bench.above(Driver())
        bench.give(frame(1), frame(2))
        assert (mux.dropped_untagged, mux.dropped_unknown) == (2, 0)


def test_frames_that_no_driver_wants_are_dropped_and_counted_and_break_no_rule(make: Any) -> None:
    with make(mux := Mux(vlans="7,9", untagged=True)) as bench:
        seven, nine = Driver(), Driver()
        bench.above(seven)
        bench.give(tagged(7, 1), tagged(9, 2), frame(3))
        binding = bench.above(nine, "b", mux.vlans[9].adapter)
        bench.give(tagged(9, 4))
        binding.packet_filter = PacketFilter.NONE
        bench.give(tagged(9, 5), tagged(7, 6))
        binding.packet_filter = PacketFilter.PROMISCUOUS
        bench.give(tagged(9, 7))
        assert (seven.frames, nine.frames) == ([frame(1), frame(6)], [frame(4), frame(7)])
        assert (mux.dropped_unwanted, mux.dropped_unknown, mux.dropped_untagged) == (3, 0, 0)
        names = ("rx_frames", "rx_delivered", "violations")
        counted = [tuple(adapter.counters()[name] for name in names) for adapter in mux.adapters]
        assert counted == [(2, 2, 0), (2, 2, 0), (0, 0, 0)]


def test_untagged_frames_go_up_uncopied_where_they_are_wanted(make: Any) -> None:
    with make(mux := Mux(vlans="7", untagged=True)) as bench:
        driver = Driver(1, look=lambda packet: packet.info[Info.ORIGINAL_PACKET].pool)
        bench.above(driver, "u", mux.vlans[0].adapter)
        bench.give(frame(1))
        assert (driver.frames, driver.seen, bench.pool.usage) == ([frame(1)], [bench.pool], 1)
        driver.give_back()
        assert (bench.pool.usage, mux.dropped_untagged) == (0, 0)


def test_a_tag_with_a_priority_and_no_vlan_counts_as_none(make: Any) -> None:
    with make(mux := Mux(vlans="7", untagged=True)) as bench:
        driver = Driver(look=priority_of)
        bench.above(driver, "u", mux.vlans[0].adapter)
        bench.give(tagged(0, 1, priority=6))
        assert (driver.frames, driver.seen) == ([frame(1)], [6])


def test_a_second_tag_stays(make: Any) -> None:
    with make(Mux(vlans="7")) as bench:
        driver = Driver()
        bench.above(driver)
        inner = bytes(Ether(dst=US.hex(":"), src=PEER.hex(":")) / Dot1Q(vlan=3) / IP() / ICMP())
        outer = bytes(Ether(dst=US.hex(":"), src=PEER.hex(":")) / Dot1Q(vlan=7) / Dot1Q(vlan=3) / IP() / ICMP())
        bench.give(outer)
        assert driver.frames == [inner]


def test_a_frame_for_which_no_packet_is_free_is_dropped_and_counted(make: Any) -> None:
    with make(mux := Mux(vlans="7", packets=2)) as bench:
        driver = Driver(1)
        bench.above(driver)
        bench.give(*[tagged(7, mark) for mark in range(5)])
        assert (driver.frames, mux.vlans[7].dropped, bench.pool.usage) == ([frame(0), frame(1)], 3, 0)
        driver.give_back()


def test_the_information_of_the_packet_below_comes_up_but_not_the_link_to_it() -> None:
    with Layers(Mux(vlans="7")) as bench:
        driver = Driver(look=lambda packet: (packet.info[Info.TCP_IP_CHECKSUM], packet.info[Info.ORIGINAL_PACKET]))
        bench.above(driver)
        packet = bench.owned(tagged(7))
        packet.info[Info.TCP_IP_CHECKSUM], packet.info[Info.ORIGINAL_PACKET] = 5, packet
        bench.adapter.indicate([packet])
        assert driver.seen == [(5, None)]


def test_a_driver_that_only_copies_is_served(make: Any) -> None:
    with make(Mux(vlans="7"), packets=2, low_water=2) as bench:
        copier = Copier()
        bench.above(copier)
        bench.give(tagged(7, 1))
        assert copier.frames + copier.copied == [frame(1)]


class Card(MiniportDriver):
    """A miniport that has the rest of one frame."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        return Status.SUCCESS, packet.fill(0, self.data[14 + offset :][:length])


class Reader(ProtocolDriver):
    """Put a frame together from its beginning and the rest."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, pool: PacketPool) -> None:
        self.pool = pool
        self.frames: list[bytes] = []

    def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        packet, seen = self.pool.allocate(), len(lookahead)
        assert packet is not None
        status, _ = self.binding.transfer_data(context, seen, packet_size - seen, packet)
        assert status is Status.SUCCESS
        self.frames.append(bytes(header) + bytes(lookahead) + bytes(packet.data))
        self.pool.free(packet)


@pytest.mark.parametrize("shown", [4, 5, 40, 46])
@pytest.mark.parametrize("vlan", [7, 0, None])
def test_a_frame_of_which_the_beginning_is_shown_is_sorted_too(make: Any, vlan: int | None, shown: int) -> None:
    data = frame(1) if vlan is None else tagged(vlan, 1)
    with make(mux := Mux(vlans="7", untagged=True), miniport=Card(data)) as bench:
        reader = Reader(bench.own)
        bench.above(reader, "r", mux.vlans[vlan or 0].adapter)
        bench.adapter.indicate_lookahead("x", data[:14], data[14 : 14 + shown], len(data) - 14)
        bench.adapter.indicate_lookahead_complete()
        assert reader.frames == [frame(1)]


def test_a_beginning_of_no_vlan_of_ours_or_too_short_for_a_tag_is_dropped_and_counted(make: Any) -> None:
    with make(mux := Mux(vlans="7")) as bench:
        bench.above(Driver())
        for data, shown in ((tagged(7), 3), (tagged(7), 0), (tagged(8), 20), (frame(), 20)):
            bench.adapter.indicate_lookahead("x", data[:14], data[14 : 14 + shown], len(data) - 14)
        bench.adapter.indicate_lookahead_complete()
        assert (mux.dropped_unknown, mux.dropped_untagged) == (3, 1)


# down


@pytest.mark.parametrize("priority", [0, 7])
def test_what_is_sent_gets_the_tag_of_its_vlan(make: Any, priority: int) -> None:
    with make(mux := Mux(vlans="7,9")) as bench:
        sender = Sender()
        packet = bench.owned(frame(3, size=1514), bench.own)
        if priority:
            packet.info[Info.IEEE_8021Q] = priority
        bench.above(sender, "n", mux.vlans[9].adapter).send_packets([packet])
        (sent,) = bench.taken()
        assert sent == tagged(9, 3, priority=priority, size=1514)
        assert (Ether(sent)[Dot1Q].vlan, Ether(sent)[Dot1Q].prio) == (9, priority)
        assert sender.completed == [(frame(3, size=1514), Status.SUCCESS)]


def test_information_that_came_up_can_go_down_again(make: Any) -> None:
    with make(Mux(vlans="7")) as bench:

        def answer(packet: Packet) -> int:
            reply = bench.owned(bytes(packet.data), bench.own)
            reply.info[Info.IEEE_8021Q] = packet.info[Info.IEEE_8021Q]
            assert driver.sent(reply) is Status.SUCCESS
            bench.own.free(reply)
            return 0

        driver = Owner(answer)
        bench.above(driver)
        bench.give(tagged(7, 1, priority=3))
        assert bench.taken() == [tagged(7, 1, priority=3)]


def test_a_send_for_another_vlan_or_too_long_for_the_tag_is_refused(make: Any) -> None:
    with make(Mux(vlans="7")) as bench:
        bench.above(owner := Owner())
        packet = bench.owned(frame(), bench.own)
        packet.info[Info.IEEE_8021Q] = info_of(9)
        assert owner.sent(packet) is Status.INVALID_PACKET
        packet.write(frame(size=1515))
        packet.info[Info.IEEE_8021Q] = None
        bench.expect()
        assert owner.sent(packet) is Status.INVALID_PACKET
        bench.own.free(packet)
        bench.expect(("59", bench.drivers[-1].binding.name))
        assert bench.taken() == []


def test_untagged_sends_go_out_as_they_are_or_with_their_priority(make: Any) -> None:
    with make(mux := Mux(vlans="7", untagged=True)) as bench:
        bench.above(owner := Owner(), "u", mux.vlans[0].adapter)
        packet = bench.owned(frame(1), bench.own)
        assert owner.sent(packet) is Status.SUCCESS
        packet.info[Info.IEEE_8021Q] = 4
        assert owner.sent(packet) is Status.SUCCESS
        assert bench.taken() == [frame(1), tagged(0, 1, priority=4)]
        bench.own.free(packet)


def test_sends_wait_in_order_and_each_vlan_is_completed_for_itself(make: Any) -> None:
    with make(mux := Mux(vlans="7,9"), packets=64) as bench:
        senders = {vlan: Sender() for vlan in (7, 9)}
        bindings = {vlan: bench.above(senders[vlan], f"v{vlan}", mux.vlans[vlan].adapter) for vlan in (7, 9)}
        through = bench.fill_cable(bindings[7])
        for mark in range(6):
            assert bindings[7 + mark % 2 * 2].send(bench.owned(frame(mark), bench.own)) is Status.PENDING
        out = bench.taken()
        while bench.adapter.flush():
            out += bench.taken()
        out += bench.taken()
        assert out[through + 1 :] == [tagged(7 + mark % 2 * 2, mark) for mark in range(6)]
        assert [data[-1] for data, _ in senders[7].completed][through + 1 :] == [0, 2, 4]
        assert [data[-1] for data, _ in senders[9].completed] == [1, 3, 5]


def test_a_send_for_which_no_packet_is_free_ends_with_resources() -> None:
    with Layers(mux := Mux(vlans="7", packets=1)) as bench:
        bench.above(owner := Owner())
        taken, packet = mux.vlans[7].sent.allocate(), bench.owned(frame(), bench.own)
        assert taken is not None
        assert owner.sent(packet) is Status.RESOURCES
        mux.vlans[7].sent.free(taken)
        bench.own.free(packet)


# the rest


@pytest.mark.parametrize("control", range(0, 0x10000, 251))
def test_per_packet_information_and_the_tag_say_the_same(control: int) -> None:
    assert control_of(info_of(control)) == control
    assert info_of(control) & 7 == control >> 13


def test_each_vlan_says_its_number_and_counts_for_itself(make: Any) -> None:
    def ask(adapter: Adapter, oid: int) -> int:
        request = Request(RequestKind.QUERY, oid, bytearray(8))
        assert asker[adapter].binding.request(request) is Status.SUCCESS
        return int.from_bytes(bytes(request.information_buffer[: request.bytes_written]), "little")

    with make(mux := Mux(vlans="7,9")) as bench:
        asker = {adapter: Asker() for adapter in mux.adapters}
        for adapter, driver in asker.items():
            bench.above(driver, adapter.name, adapter)
        bench.give(tagged(7), tagged(9), tagged(9))
        assert [ask(adapter, Oid.GEN_VLAN_ID) for adapter in mux.adapters] == [7, 9]
        assert [ask(adapter, Oid.GEN_RCV_OK) for adapter in mux.adapters] == [1, 2]
        assert [ask(adapter, Oid.GEN_LINK_SPEED) for adapter in mux.adapters] == [100_000_000] * 2


def test_frames_of_any_bytes_are_sorted_or_counted(make: Any) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with make(mux := Mux(vlans="7,9", packets=8), packets=8, low_water=2) as bench:
        drivers = [Driver(lambda packet: int(packet.status is Status.SUCCESS and rng.random() < 0.2)) for _ in range(2)]
        for adapter, driver in zip(mux.adapters, drivers, strict=True):
            bench.above(driver, adapter.name, adapter)
        for _ in range(1000):
            data = rng.choice(
                [b"", US, US + PEER, US + PEER + b"\x81\x00", US + PEER + b"\x81\x00" + rng.choice([b"\x20\x07", b"\x00\x09"])]
            )
            bench.give((data + rng.randbytes(rng.randint(0, 1518)))[: rng.choice([14, 16, 17, 18, 19, 1518])] or b"\0")
            assert bench.reports == []
            if rng.random() < 0.3:
                for driver in drivers:
                    driver.give_back()
        shown = sum(adapter.counters()["rx_frames"] for adapter in mux.adapters)
        lost = mux.dropped_unknown + mux.dropped_untagged + sum(vlan.dropped for vlan in mux.vlans.values())
        assert shown + lost == bench.low.delivered
        assert shown > 50
        for driver in drivers:
            driver.give_back()
        assert all(vlan.received.audit()[PacketState.FREE] == 8 for vlan in mux.vlans.values())
