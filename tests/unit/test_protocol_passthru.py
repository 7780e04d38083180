"""
Passthru: a driver above it sees what it would see below, over the same bytes; what it sends goes out as it is; nothing is lost uncounted.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from unit.asking import PENDING, Asker, Scripted
from unit.layers import Layers, Owner
from unit.wire import OTHER, PEER, Batched, Copier, Driver, Miniport, Sender, counts_views, frame

from protocol.passthru import Passthru
from vnic import LOOPBACK, BufferPool, Info, MiniportDriver, Packet, PacketFilter, PacketState, ProtocolDriver, Status
from vnic.oids import Oid
from vnic.pnp import PnpEvent, PowerState
from vnic.request import Request, RequestKind


def original(packet: Packet) -> Packet:
    return packet.info[Info.ORIGINAL_PACKET]


@pytest.fixture(params=[1, 2, 3], ids=["one", "two", "three"])
def layers(request: pytest.FixtureRequest) -> Any:
    """One to three of them on top of each other."""
    return lambda **shape: Layers(*(Passthru() for _ in range(request.param)), **shape)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# up


def test_every_frame_goes_up_in_order_and_every_packet_is_home_when_nobody_keeps_it(layers: Any) -> None:
    with layers() as bench:
        driver = Driver()
        bench.above(driver)
        frames = [frame(mark, size=60 + mark) for mark in range(6)]
        assert bench.give(*frames) == 6
        assert (driver.frames, bench.pool.usage, bench.low.held) == (frames, 0, 0)
        assert (bench.low.promised, bench.low.returned) == (6, 6)


def test_what_is_shown_above_is_another_packet_over_the_same_buffer() -> None:
    with Layers(Passthru()) as bench:
        driver = Driver(look=lambda packet: (packet, original(packet), packet.buffers[0] is original(packet).buffers[0]))
        bench.above(driver)
        bench.give(frame(1))
        ((shown, below, same),) = driver.seen
        assert (shown.pool is bench.pool, below.pool is bench.pool, same) == (False, True, True)


def test_the_original_of_a_packet_is_that_of_the_adapter_at_the_bottom() -> None:
    with Layers(Passthru(), Passthru()) as bench:
        driver = Driver(look=lambda packet: original(packet).pool)
        bench.above(driver)
        bench.give(frame())
        assert driver.seen == [bench.pool]


def test_a_packet_is_held_below_for_as_long_as_somebody_above_keeps_it(layers: Any) -> None:
    with layers() as bench:
        driver = Driver(3)
        bench.above(driver)
        bench.give(frame(1), frame(2))
        for left in (6, 5, 4, 3, 2, 1):
            assert bench.pool.usage == bench.low.held == (left + 2) // 3
            bench.up.bindings[0].return_packets([driver.kept.pop()])
        assert (bench.pool.usage, bench.low.held) == (0, 0)


def test_a_kept_packet_still_shows_its_frame_when_others_have_come() -> None:
    with Layers(Passthru(), packets=4) as bench:
        driver = Driver(lambda packet: int(bytes(packet.data)[-1] == 1))
        bench.above(driver)
        bench.give(frame(1))
        for mark in range(2, 20):
            bench.give(frame(mark))
        assert bytes(driver.kept[0].data) == frame(1)
        driver.give_back()


def test_each_driver_above_is_shown_what_its_filter_accepts() -> None:
    with Layers(Passthru()) as bench:
        drivers = Driver(), Driver()
        for name, driver, wants in zip("ab", drivers, (PacketFilter.DIRECTED, PacketFilter.PROMISCUOUS), strict=True):
            bench.above(driver, name).packet_filter = wants
        bench.give(frame(1), frame(2, to=OTHER))
        assert [driver.frames for driver in drivers] == [[frame(1)], [frame(1), frame(2, to=OTHER)]]


def test_the_filter_below_is_the_sum_of_those_above_and_follows_them(layers: Any) -> None:
    groups = bytes.fromhex("01005e000001"), bytes.fromhex("01005e000002")
    with layers() as bench:
        assert int(bench.low.packet_filter) == 0
        bindings = [bench.above(Driver(), name) for name in "ab"]
        assert bench.low.packet_filter is PacketFilter.PROMISCUOUS
        for binding, wants, group in zip(bindings, (PacketFilter.DIRECTED, PacketFilter.MULTICAST), groups, strict=True):
            binding.packet_filter, binding.multicast_list = wants, [group]
        assert (bench.low.packet_filter, bench.low.multicast_list) == (PacketFilter.DIRECTED | PacketFilter.MULTICAST, groups)
        bench.give(frame(to=OTHER), frame(to=groups[0]), frame(to=bytes.fromhex("01005e000003")))
        assert (bench.low.delivered, bench.adapter.counters()["rx_filtered"]) == (1, 2)
        bench.up.close(bindings[0])
        assert (bench.low.packet_filter, bench.low.multicast_list) == (PacketFilter.MULTICAST, groups[1:])


def test_packets_low_below_are_low_above_and_nothing_is_kept(layers: Any) -> None:
    with layers(packets=2, low_water=2) as bench:
        copier, driver = Copier(1), Driver(look=lambda packet: packet.status)
        bench.above(copier)
        bench.above(driver, "b")
        bench.give(frame(1))
        bench.give(frame(2))
        assert (copier.copied, copier.frames, driver.seen) == ([frame(1), frame(2)], [], [Status.RESOURCES] * 2)
        assert (bench.low.promised, bench.low.resources) == (0, 2)


def test_who_keeps_a_packet_that_is_low_is_named_and_the_packet_is_not_lost() -> None:
    with Layers(Passthru(), packets=2, low_water=2) as bench:
        bench.above(Driver(1))
        bench.give(frame())
        bench.expect(("10", "a"))


def test_a_frame_for_which_no_packet_is_free_is_dropped_and_counted() -> None:
    with Layers(passthru := Passthru()) as bench:
        driver = Driver()
        bench.above(driver)
        taken = [passthru.virtual.received.allocate() for _ in range(8)]
        bench.give(frame(1), frame(2))
        assert (passthru.virtual.dropped, driver.frames, bench.pool.usage) == (2, [], 0)
        for packet in taken:
            assert packet is not None
            passthru.virtual.received.free(packet)
        bench.give(frame(3))
        assert (passthru.virtual.dropped, driver.frames) == (2, [frame(3)])


def test_a_driver_that_raises_costs_nobody_else_a_frame() -> None:
    def fail(packet: Packet) -> int:
        raise RuntimeError

    with Layers(Passthru()) as bench:
        other = Driver(1)
        bench.above(Driver(fail))
        bench.above(other, "b")
        bench.give(frame(1))
        bench.expect(("receive_packet", "a"))
        assert other.frames == [frame(1)]
        other.give_back()


def test_the_end_of_a_batch_is_told_above() -> None:
    with Layers(Passthru()) as bench:
        driver = Batched(1)
        driver.at_end = driver.give_back
        bench.above(driver)
        bench.give(frame(1), frame(2))
        assert driver.batches == 2
        assert bench.pool.usage == 0


def test_a_sibling_sending_below_is_seen_above_as_looped_back() -> None:
    with Layers(Passthru()) as bench:
        driver, sender = Driver(look=lambda packet: (packet.flags & LOOPBACK, packet.status)), Sender()
        bench.above(driver)
        bench.bind(sender, "below").send_packets([bench.owned(frame(1), bench.own)])
        assert (driver.frames, driver.seen) == ([frame(1)], [(LOOPBACK, Status.RESOURCES)])
        assert sender.completed == [(frame(1), Status.SUCCESS)]


def test_out_of_band_data_comes_up() -> None:
    with Layers(Passthru()) as bench:
        driver = Driver(look=lambda packet: (packet.info[Info.TCP_IP_CHECKSUM], packet.oob.header_size, packet.flags & 0xF0000))
        bench.above(driver)
        packet = bench.owned(frame())
        packet.info[Info.TCP_IP_CHECKSUM], packet.oob.header_size, packet.flags = 5, 18, 0x30000
        bench.adapter.indicate([packet])
        assert driver.seen == [(5, 18, 0x30000)]


def test_a_chain_of_buffers_comes_up_whole(layers: Any) -> None:
    with layers(miniport=(miniport := Miniport(frees=False))) as bench:
        driver = Driver(1)
        bench.above(driver)
        packet, parts = bench.pool.allocate(), [frame(1)[:14], frame(1)[14:]]
        buffers = BufferPool(2)
        for part in parts:
            packet.chain_back(buffers.allocate(part))
        bench.adapter.indicate([packet])
        assert driver.frames == [frame(1)]
        driver.give_back()
        assert miniport.returned == [packet]
        while (one := packet.unchain_front()) is not None:
            buffers.free(one)
        bench.pool.free(packet)


@counts_views
def test_a_view_forgotten_above_never_shows_a_later_frame(layers: Any) -> None:
    with layers(packets=2) as bench:
        views: list[memoryview] = []
        driver = Driver(1, look=lambda packet: views.append(packet.data[14:]))
        bench.above(driver)
        bench.give(frame(1))
        driver.look = None
        driver.give_back()
        for mark in range(2, 12):
            bench.give(frame(mark))
            driver.give_back()
        assert [bytes(view) for view in views] == [frame(1)[14:]]
        assert bench.pool.audit()[PacketState.QUARANTINED] == 1
        views.clear()
        bench.give(frame(12))
        driver.give_back()
        assert bench.pool.audit()[PacketState.QUARANTINED] == 0
        assert bench.reports[0] == ("08", "a")
        bench.reports.clear()


@pytest.mark.parametrize("levels", [1, 2])
def test_packets_come_home_from_another_thread_in_any_order(levels: int, eager_switches: None) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    queue: SimpleQueue[Packet | None] = SimpleQueue()
    with Layers(*(Passthru() for _ in range(levels)), packets=64) as bench:
        driver = Batched(1)

        def hand_over() -> None:
            for packet in driver.kept:
                queue.put(packet)
            driver.kept.clear()

        def work() -> None:
            held: list[Packet] = []
            while (packet := queue.get()) is not None:
                held.append(packet)
                if rng.random() < 0.7:
                    binding.return_packets([held.pop(rng.randrange(len(held)))])
                if len(held) > 20:
                    binding.return_packets(held)
                    held.clear()
            binding.return_packets(held)

        driver.at_end = hand_over
        binding = bench.above(driver)
        thread = threading.Thread(target=work)
        thread.start()
        sent = [frame(mark) for mark in range(3000)]
        end = time.monotonic() + 60
        for start in range(0, 3000, 10):
            while bench.pool.available < 10 and time.monotonic() < end:
                time.sleep(0)
            bench.give(*sent[start : start + 10])
        queue.put(None)
        thread.join(30)
        assert driver.frames == sent
        assert bench.pool.usage == 0
        assert bench.low.promised == bench.low.returned == 3000


# frames that are in no packet


class Card(MiniportDriver):
    """Show the beginning of a frame; have the rest when asked, at once or later."""

    def __init__(self, later: bool) -> None:
        self.later = later
        self.asked: list[tuple[Packet, object, int, int]] = []

    def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        self.asked.append((packet, context, offset, length))
        return (Status.PENDING, 0) if self.later else (Status.SUCCESS, packet.fill(0, frame(1, size=200)[14 + offset :][:length]))


class Reader(ProtocolDriver):
    """Have everything transferred that is not shown, into one packet."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.told: list[Any] = []

    def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        self.told.append((bytes(header) + bytes(lookahead), packet_size, self.binding.received_packet(context)))
        seen = len(lookahead)
        self.told.append(self.binding.transfer_data(context, seen, packet_size - seen, self.packet))

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        self.told.append((packet, status, transferred))

    def receive_complete(self) -> None:
        self.told.append("complete")


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("shown", [0, 50, 186])
def test_the_beginning_of_a_frame_comes_up_and_the_rest_when_it_is_asked_for(layers: Any, later: bool, shown: int) -> None:
    data, card = frame(1, size=200), Card(later)
    with layers(miniport=card) as bench:
        packet = bench.own.allocate()
        assert packet is not None
        reader = Reader(packet)
        bench.above(reader)
        bench.adapter.indicate_lookahead("x", data[:14], data[14 : 14 + shown], 186)
        ((target, *asked),) = card.asked
        assert asked == ["x", shown, 186 - shown]
        first = (data[: 14 + shown], 186, None)
        if later:
            assert reader.told == [first, (Status.PENDING, 0)]
            bench.adapter.transfer_data_complete(target, Status.SUCCESS, target.fill(0, data[14 + shown :]))
            assert reader.told[2:] == [(packet, Status.SUCCESS, 186 - shown)]
        else:
            assert reader.told == [first, (Status.SUCCESS, 186 - shown)]
        bench.adapter.indicate_lookahead_complete()
        assert reader.told[-1] == "complete"
        assert bytes(packet.data) == data[14 + shown :]
        bench.own.free(packet)


def test_a_transfer_for_which_no_packet_is_free_is_refused() -> None:
    with Layers(passthru := Passthru(), miniport=Card(False), packets=1) as bench:
        packet, taken = bench.own.allocate(), passthru.virtual.sent.allocate()
        assert packet is not None
        assert taken is not None
        reader = Reader(packet)
        bench.above(reader)
        bench.adapter.indicate_lookahead("x", frame()[:14], b"", 46)
        bench.adapter.indicate_lookahead_complete()
        assert reader.told[1] == (Status.RESOURCES, 0)
        passthru.virtual.sent.free(taken)
        bench.own.free(packet)


# down


def test_what_is_sent_above_goes_out_as_it_is_and_in_order(layers: Any) -> None:
    with layers() as bench:
        sender = Sender()
        binding = bench.above(sender)
        frames = [frame(mark, size=60 + mark) for mark in range(20)]
        binding.send_packets([bench.owned(data, bench.own) for data in frames])
        assert bench.taken() == frames
        assert sender.completed == [(data, Status.SUCCESS) for data in frames]


def test_a_packet_can_be_written_again_after_it_was_sent(layers: Any) -> None:
    with layers() as bench:
        bench.above(owner := Owner())
        packet = bench.owned(frame(1), bench.own)
        assert owner.sent(packet) is Status.SUCCESS
        packet.write(frame(2, size=80))
        assert owner.sent(packet) is Status.SUCCESS
        assert bench.taken() == [frame(1), frame(2, size=80)]
        bench.own.free(packet)


def test_sends_that_wait_below_are_completed_above_in_order(layers: Any) -> None:
    with layers(packets=64) as bench:
        sender = Sender()
        binding = bench.above(sender)
        through = bench.fill_cable(binding)
        waiting = [frame(through + mark) for mark in range(1, 9)]
        for data in waiting:
            assert binding.send(bench.owned(data, bench.own)) is Status.PENDING
        assert (binding.sends_pending, bench.low.sends_pending) == (9, 9)
        out = bench.taken()
        while bench.adapter.flush():
            out += bench.taken()
        out += bench.taken()
        assert out == [frame(mark) for mark in range(through + 9)]
        assert sender.completed == [(data, Status.SUCCESS) for data in out]


def test_a_send_for_which_no_packet_is_free_ends_with_resources() -> None:
    with Layers(passthru := Passthru(), packets=2) as bench:
        sender = Sender()
        binding = bench.above(sender)
        taken = [passthru.virtual.sent.allocate() for _ in range(2)]
        binding.send(bench.owned(frame(1), bench.own))
        binding.send_packets([bench.owned(frame(2), bench.own)])
        assert sender.completed == [(frame(1), Status.RESOURCES), (frame(2), Status.RESOURCES)]
        assert bench.up.counters()["tx_dropped_queue_full"] == 2
        for one in taken:
            assert one is not None
            passthru.virtual.sent.free(one)


@pytest.mark.parametrize(("data", "status"), [(bytes(13), Status.INVALID_PACKET), (bytes(1519), Status.INVALID_PACKET)])
def test_a_send_that_is_refused_is_refused_above(data: bytes, status: Status) -> None:
    with Layers(Passthru()) as bench:
        packet = bench.owned(data, bench.own)
        assert bench.above(Sender()).send(packet) is status
        bench.own.free(packet)
        bench.expect(("59", "a"))


def test_what_travels_with_a_send_goes_down_and_what_is_said_of_it_comes_back() -> None:
    class Offload(Miniport):
        def send(self, packet: Packet) -> Status:
            self.seen = (packet.flags, packet.info[:], packet.oob.time, packet.oob.media_specific)
            packet.info[Info.TCP_LARGE_SEND] = 4096
            return Status.SUCCESS

    with Layers(Passthru(), Passthru(), miniport=(miniport := Offload())) as bench:
        packet = bench.owned(frame(), bench.own)
        packet.flags, packet.oob.time, packet.oob.media_specific = 0x30080, 99, b"key"
        packet.info[Info.TCP_LARGE_SEND], packet.info[Info.CANCEL_ID], packet.info[Info.IEEE_8021Q] = 1448, 7, 5
        packet.info[Info.ORIGINAL_PACKET] = packet
        bench.above(owner := Owner())
        assert owner.sent(packet) is Status.SUCCESS
        flags, info, time, attached = miniport.seen
        assert (flags, time, attached) == (0x30080, 99, b"key")
        assert (info[Info.TCP_LARGE_SEND], info[Info.CANCEL_ID], info[Info.IEEE_8021Q], info[Info.ORIGINAL_PACKET]) == (1448, 7, 5, None)
        assert (packet.info[Info.TCP_LARGE_SEND], packet.oob.media_specific) == (4096, b"key")
        packet.oob.media_specific = None
        bench.own.free(packet)


def test_a_miniport_below_may_complete_later_and_from_anywhere() -> None:
    class Slow(Miniport):
        def __init__(self) -> None:
            super().__init__()
            self.waiting: list[Packet] = []

        def send(self, packet: Packet) -> Status:
            self.waiting.append(packet)
            return Status.PENDING

    with Layers(Passthru(), miniport=(miniport := Slow())) as bench:
        sender = Sender()
        binding = bench.above(sender)
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        for position, status in ((1, Status.FAILURE), (0, Status.SUCCESS), (0, Status.REQUEST_ABORTED)):
            thread = threading.Thread(target=bench.adapter.send_complete, args=(miniport.waiting.pop(position), status))
            thread.start()
            thread.join(10)
        assert sender.completed == [(frame(1), Status.FAILURE), (frame(0), Status.SUCCESS), (frame(2), Status.REQUEST_ABORTED)]


def test_sends_are_cancelled_by_their_id(layers: Any) -> None:
    with layers(packets=64) as bench:
        sender = Sender()
        binding = bench.above(sender)
        bench.fill_cable(binding)
        for mark in (7, 8, 7):
            packet = bench.owned(frame(mark), bench.own)
            packet.info[Info.CANCEL_ID] = mark
            assert binding.send(packet) is Status.PENDING
        binding.cancel_sends(7)
        assert sender.completed[-2:] == [(frame(7), Status.REQUEST_ABORTED)] * 2
        while bench.adapter.flush():
            bench.taken()


# state


def test_the_link_is_above_what_it_is_below(layers: Any) -> None:
    class Watcher(Owner):
        def status(self, *told: Any) -> None:
            self.seen.append(told[0])

    with layers() as bench:
        watcher = Watcher()
        bench.above(watcher)
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        packet = bench.owned(frame(), bench.own)
        assert (bench.up.link_up, watcher.sent(packet)) == (False, Status.NO_CABLE)
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        assert (bench.up.link_up, watcher.sent(packet)) == (True, Status.SUCCESS)
        assert watcher.seen == [Status.MEDIA_DISCONNECT, Status.MEDIA_CONNECT]
        bench.own.free(packet)


def test_a_link_that_is_down_when_it_is_bound_is_down_above() -> None:
    with Layers(Passthru()) as bench:
        bench.adapter.close(bench.low)
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        bench.bind(bench.drivers[0], "again")
        assert not bench.up.link_up


def test_the_virtual_adapter_is_the_one_below_under_another_name(layers: Any) -> None:
    with layers(mtu=9000) as bench:
        up, below = bench.up, bench.adapter
        assert (up.address, up.mtu, up.network_addresses) == (below.address, below.mtu, below.network_addresses)
        assert up.name.startswith("bench0.im0")
        assert up.pool.capacity == below.pool.capacity


def query(oid: int, size: int) -> Request:
    return Request(RequestKind.QUERY, oid, bytearray(size))


def test_questions_are_answered_from_below(layers: Any) -> None:
    with layers() as bench:
        binding = bench.above(Asker())
        speed = query(Oid.GEN_LINK_SPEED, 4)
        assert (binding.request(speed), speed.bytes_written) == (Status.SUCCESS, 4)
        assert int.from_bytes(speed.information_buffer, "little") == 100_000_000
        short = query(Oid.GEN_LINK_SPEED, 2)
        assert (binding.request(short), short.bytes_needed) == (Status.INVALID_LENGTH, 4)
        assert binding.request(query(0xFF010203, 4)) is Status.NOT_SUPPORTED


def test_a_question_that_waits_below_is_answered_later_and_one_at_a_time(layers: Any) -> None:
    with layers(miniport=(desk := Scripted(PENDING))) as bench:
        asker = Asker()
        binding = bench.above(asker)
        first, second = query(Oid.GEN_LINK_SPEED, 4), Request(RequestKind.SET, Oid.GEN_VLAN_ID, bytearray(b"abcd"))
        assert [binding.request(first), binding.request(second)] == [Status.PENDING] * 2
        assert desk.asked == [(Oid.GEN_LINK_SPEED, 4)]
        desk.buffer[:] = b"wxyz"
        bench.adapter.requests.query_complete(Status.SUCCESS, 4)
        assert desk.asked[1:] == [(Oid.GEN_VLAN_ID, b"abcd")]
        bench.adapter.requests.set_complete(Status.SUCCESS, 4)
        assert asker.completed == [(first, Status.SUCCESS), (second, Status.SUCCESS)]
        assert (bytes(first.information_buffer), first.bytes_written, second.bytes_read) == (b"wxyz", 4, 4)


def test_a_question_that_waits_when_its_driver_goes_is_aborted(layers: Any) -> None:
    with layers(miniport=Scripted(PENDING)) as bench:
        asker = Asker()
        binding = bench.above(asker)
        asked = query(Oid.GEN_LINK_SPEED, 4)
        assert binding.request(asked) is Status.PENDING
        bench.up.close(binding)
        assert asker.completed == [(asked, Status.REQUEST_ABORTED)]
        bench.adapter.requests.query_complete(Status.SUCCESS, 4)


# the end


def test_unbinding_returns_what_is_held_and_completes_what_waits() -> None:
    class Keeper(Sender):
        def unbind_adapter(self) -> None:
            self.give_back()

    with Layers(passthru := Passthru(), packets=16) as bench:
        keeper = Keeper(1)
        binding = bench.above(keeper)
        bench.give(frame(1), frame(2))
        bench.fill_cable(binding)
        up, virtual = bench.up, passthru.virtual
        assert bench.adapter.close(bench.low) is Status.SUCCESS
        assert (binding.closed, up.halted, passthru.adapters) == (True, True, ())
        assert keeper.completed[-1][1] is Status.REQUEST_ABORTED
        assert (bench.pool.usage, virtual.received.usage, virtual.sent.usage) == (0, 0, 0)


def test_what_a_driver_above_does_not_give_back_is_taken_by_force() -> None:
    with Layers(Passthru()) as bench:
        driver = Driver(2)
        bench.above(driver)
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(bench.low) is Status.SUCCESS
        bench.expect(("60", "a"))
        assert bench.pool.usage == 0


def test_it_can_be_bound_again() -> None:
    with Layers(Passthru()) as bench:
        for name in ("x", "y"):
            bench.adapter.close(bench.adapter.bindings[0])
            bench.bind(bench.drivers[0], name)
        driver = Driver()
        bench.above(driver)
        bench.give(frame(1))
        assert (driver.frames, bench.up.name) == ([frame(1)], "bench0.y")


def test_frames_of_any_bytes_pass_and_are_accounted_for() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with Layers(Passthru(), Passthru(), packets=16, low_water=4) as bench:
        driver = Driver(lambda packet: int(packet.status == Status.SUCCESS and rng.random() < 0.3))
        bench.above(driver)
        given = [rng.randbytes(rng.randint(1, 1518)) for _ in range(500)]
        for data in given:
            bench.give(data)
            if rng.random() < 0.2:
                driver.give_back()
        assert driver.frames == [data for data in given if len(data) >= 14]
        driver.give_back()
        bench.reports.clear()  # it may hold most of the pool, and that is reported


def test_a_reply_from_inside_the_handler_goes_out_before_the_next_frame_is_seen(layers: Any) -> None:
    with layers() as bench:

        def answer(packet: Packet) -> int:
            reply = bench.owned(PEER + bytes(packet.data[6:]), bench.own)
            assert driver.sent(reply) is Status.SUCCESS
            bench.own.free(reply)
            return 0

        driver = Owner(answer)
        bench.above(driver)
        bench.give(*[frame(mark) for mark in range(5)])
        assert [data[-1] for data in bench.taken()] == [0, 1, 2, 3, 4]


def test_power_goes_and_comes_above_as_below_and_without_it_sends_fail(layers: Any) -> None:
    class Told(Owner):
        def pnp_event(self, event: PnpEvent) -> None:
            self.seen.append((event, self.binding.adapter.power))

    with layers() as bench:
        told = Told()
        bench.above(told)
        packet = bench.owned(frame(1), bench.own)
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D3) is Status.SUCCESS
        assert (bench.up.power, told.sent(packet)) == (PowerState.D3, Status.FAILURE)
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D0) is Status.SUCCESS
        assert (bench.up.power, told.sent(packet)) == (PowerState.D0, Status.SUCCESS)
        assert told.seen == [(PnpEvent.SET_POWER, PowerState.D0)] * 2
        bench.give(frame(2))
        assert told.frames == [frame(2)]
        bench.own.free(packet)


def test_a_removal_may_be_refused_above(layers: Any) -> None:
    class Stubborn(Driver):
        def pnp_event(self, event: PnpEvent) -> Status:
            return Status.FAILURE

    with layers() as bench:
        bench.above(Stubborn())
        assert bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is Status.FAILURE


def test_any_status_comes_up_with_its_details(layers: Any) -> None:
    class Told(Driver):
        def status(self, status: Status, buffer: bytes) -> None:
            self.seen.append((status, buffer))

        def status_complete(self) -> None:
            self.seen.append("complete")

    with layers() as bench:
        told = Told()
        bench.above(told)
        bench.adapter.indicate_status(Status.LINK_SPEED_CHANGE, b"fast")
        bench.adapter.indicate_status_complete()
        assert told.seen == [(Status.LINK_SPEED_CHANGE, b"fast"), "complete"]
