"""
Drivers and miniports at awkward moments: what they do there is refused or done, and whatever comes after is as it would have been.
"""

from __future__ import annotations

import mmap
import sys
import threading
from typing import Any

import pytest
from unit.layers import Layers, Owner
from unit.supers import superframe
from unit.wire import Bench, Driver, Sender, frame, violation

from protocol.passthru import Passthru
from vnic import (
    Adapter,
    Binding,
    Buffer,
    BufferPool,
    ContractViolation,
    MiniportDriver,
    Packet,
    PacketFilter,
    PacketPool,
    PacketState,
    Status,
    VnicError,
)
from vnic.offload import Offload
from vnic.oids import Oid
from vnic.request import Request, RequestKind
from vnic.timers import Timer, TimerThread, WorkItem, WorkItemThread

WATCHED = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL
WHOLE = Offload.CHECKSUM | Offload.SEGMENTATION


# requests


class Releases(MiniportDriver):
    """Answer a query, and release the view that it was handed; pend the first, if asked to."""

    def __init__(self, pends: bool) -> None:
        self.pends = pends
        self.adapter: Any = None

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        if self.adapter is None or oid != Oid.GEN_LINK_SPEED:
            return Status.NOT_SUPPORTED, 0, 0
        buffer[:4] = b"\1\0\0\0"
        buffer.release()
        if self.pends:
            self.adapter.requests.query_complete(Status.SUCCESS, 4, 0)
            return Status.PENDING, 0, 0
        return Status.SUCCESS, 4, 0


@pytest.mark.parametrize("pends", [False, True])
def test_a_miniport_may_release_the_view_that_it_answers_in(pends: bool) -> None:
    miniport = Releases(pends)
    with Bench(miniport=miniport) as bench:
        miniport.adapter = bench.adapter
        binding = bench.bind(Driver())
        for _ in range(3):
            request = Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))
            assert binding.request(request) is (Status.PENDING if pends else Status.SUCCESS)
            assert (bytes(request.information_buffer), request.bytes_written) == (b"\1\0\0\0", 4)
            assert bench.adapter.requests.pending(binding) == 0


# what is given back


class Early(Driver):
    """Keep one; return another from inside the handler, as often as is said, although it must be copied if over the quota."""

    early_returns = True

    def __init__(self, times: int, quota: int = 0) -> None:
        super().__init__()
        self.times = times
        self.quota = quota
        self.refused: list[str] = []

    def receive_packet(self, packet: Packet) -> int:
        if self.quota and packet.status is Status.SUCCESS:
            self.kept.append(packet)
            return 1
        try:
            self.binding.return_packets([packet] * self.times)
        except ContractViolation as error:
            self.refused.append(error.rule.id)
        return 0


def test_what_is_over_the_quota_cannot_be_returned_early() -> None:
    with Bench() as bench:
        early, holder = Early(1, quota=1), Driver(1)
        binding = bench.bind(early, "early")
        bench.bind(holder, "holder")
        bench.give(frame(1))
        spare = bench.pool.allocate()
        bench.give(frame(2))
        assert early.refused == ["02"]
        bench.expect(("02", "early"))
        assert binding.owed(holder.kept[1]) == 0
        assert spare is not None
        bench.pool.free(spare)
        assert bench.adapter.close(binding) is Status.PENDING
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("60", "early"))
        early.kept.clear()
        holder.give_back()
        holder.kept.clear()


def test_early_returns_are_counted_up_to_the_most_that_can_be_promised() -> None:
    with Bench() as bench:
        early = Early(65536)
        bench.bind(early, "early")
        bench.give(frame(1))
        assert early.refused == ["02"]
        bench.expect(("02", "early"), ("01", "early"))


# bindings


def test_an_adapter_lets_other_adapters_bindings_alone() -> None:
    with Bench() as bench, Bench() as other:
        driver = Driver(1)
        binding = other.bind(driver, "victim")
        other.give(frame(1))
        for end in (bench.adapter.close, bench.adapter.reclaim):
            with pytest.raises(ValueError, match="no binding of"):
                end(binding)
            with pytest.raises((ValueError, AttributeError, TypeError)):
                end(Binding.__new__(Binding))
        assert not binding.closing
        driver.give_back()
        assert other.pool.usage == 0


def test_a_completion_of_pending_is_a_failure() -> None:
    class Undecided(Driver):
        def bind_adapter(self) -> Status:
            self.binding.complete_bind(Status.PENDING)
            return Status.PENDING

    with Bench() as bench:
        with pytest.raises(VnicError):
            bench.bind(Undecided(), "undecided")
        assert bench.adapter.bindings == ()


@pytest.mark.parametrize("value", [-1, 0x10, 1 << 31])
def test_a_packet_filter_has_no_unknown_bits(value: int) -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        with pytest.raises((ValueError, OverflowError)):
            binding.packet_filter = value
        assert binding.packet_filter is PacketFilter.PROMISCUOUS


# what runs later


def leaves(_: Any, context: Any = None) -> None:
    """Try to end the thread."""
    sys.exit(1)


def test_a_timer_function_cannot_end_the_timer_thread() -> None:
    with Bench() as bench:
        ran = threading.Event()
        timers = bench.adapter.timers
        Timer(leaves, timers=timers).set(1)
        Timer(lambda _: ran.set(), timers=timers).set(5)
        assert ran.wait(10)
        assert timers.errors == 1


def test_a_timer_may_be_set_to_the_end_of_all_days() -> None:
    timers = TimerThread()
    ran = threading.Event()
    Timer(lambda _: None, timers=timers).set(10**13)
    Timer(lambda _: ran.set(), timers=timers).set(1)
    assert ran.wait(10)
    assert len(timers.stop_all()) == 1


def test_a_work_item_cannot_end_the_thread_for_work_items() -> None:
    items = WorkItemThread()
    ran = threading.Event()
    items.put(WorkItem(leaves))
    items.put(WorkItem(lambda *_: ran.set()))
    assert ran.wait(10)
    assert items.drain(10_000)
    assert items.errors == 1


# intermediate drivers


class Clears(Driver):
    """Cut the list of a packet's information short."""

    packet_filter = WATCHED

    def receive_packet(self, packet: Packet) -> int:
        packet.info.clear()
        return 0


def test_a_filter_shows_frames_whose_information_somebody_has_cut_short() -> None:
    with Layers(Passthru(), packets=8) as layers:
        layers.bind(Clears(), "clears")
        driver = Driver()
        layers.up.open(driver, "up")
        layers.give(frame(1), frame(2))
        assert driver.frames == [frame(1), frame(2)]
        assert layers.drivers[0].virtuals[0].received.usage == 0


def test_a_filter_sends_what_has_its_information_cut_short() -> None:
    with Layers(Passthru(), packets=8) as layers:
        owner = Owner()
        layers.up.open(owner, "up")
        packet = layers.owned(frame(1), layers.own)
        packet.info.clear()
        assert owner.sent(packet) is Status.SUCCESS
        assert layers.taken() == [frame(1)]
        assert len(packet.info) > 0
        # while it is on its way
        Bench.fill_cable(layers, layers.bind(Sender(), "filler"))
        layers.own.free(packet)
        packet = layers.owned(frame(2), layers.own)
        assert packet.info[0] is None
        assert owner.sent(packet) is Status.PENDING
        packet.info.clear()
        layers.taken()
        layers.adapter.flush()
        assert [status for _, status in owner.ended] == [Status.SUCCESS]
        assert (packet.state, layers.drivers[0].virtuals[0].sent.usage) == (PacketState.OWNED, 0)
        layers.own.free(packet)



def test_a_transfer_into_memory_that_cannot_be_written_fails_and_costs_nothing() -> None:
    class Fills(MiniportDriver):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            packet.fill(0, b"z" * length)
            return Status.SUCCESS, length

    buffers, own = BufferPool(8, "read-only"), PacketPool(8, 0, name="own")

    class Transfers(Driver):
        ended: tuple[Status, int] | None = None

        def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            packet, buffer = own.allocate(), buffers.allocate(bytes(10))
            assert packet is not None
            assert buffer is not None
            packet.chain_back(buffer)
            self.ended = self.binding.transfer_data(context, 0, 10, packet)
            packet.unchain_front()
            buffers.free(buffer)
            own.free(packet)

    with Layers(Passthru(), miniport=Fills()) as layers:
        driver = Transfers()
        layers.up.open(driver, "up")
        for _ in range(3):
            layers.adapter.indicate_lookahead(1, frame(1)[:14], b"x" * 10, 46)
            layers.adapter.indicate_lookahead_complete()
            assert driver.ended == (Status.FAILURE, 0)
        assert layers.drivers[0].virtuals[0].rests.usage == 0


# superframes


class Asker(Driver):
    """Take superframes whole."""

    offload = WHOLE


class First(Asker):
    """Be shown batches before all others, and do something then."""

    packet_filter = WATCHED

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def receive_packets(self, batch: Any) -> int:
        self.act(self.binding.adapter)
        return 0


class Taking(Asker):
    """Be shown batches."""

    def receive_packets(self, batch: Any) -> int:
        self.frames += [bytes(packet.data) for packet in batch]
        return 0


def test_who_is_bound_in_the_middle_of_an_indication_waits_for_the_next() -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    plain = Driver()

    def bind(adapter: Adapter) -> None:
        if len(adapter.bindings) == 2:
            adapter.open(plain, "plain")

    with Bench(offload=WHOLE, packets=16) as bench:
        bench.bind(Asker(), "asker")
        bench.bind(First(bind), "first")
        bench.give(virtio + whole)
        assert plain.frames == []
        bench.give(virtio + whole)
        assert [len(each) for each in plain.frames] == [1054] * 3


@pytest.mark.parametrize("make", [Taking, Asker])
def test_who_has_just_given_superframes_up_is_shown_none(make: type[Driver]) -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    driver = make()

    def give_up(_: Adapter) -> None:
        driver.binding.offload = Offload.NONE

    with Bench(offload=WHOLE, packets=16) as bench:
        bench.bind(driver, "later")
        bench.bind(First(give_up), "first")
        bench.give(virtio + whole)
        assert driver.frames == []
        bench.give(bytes(10) + frame(1))
        assert driver.frames == [frame(1)]


def test_who_gives_superframes_up_between_two_drivers_of_a_frame_is_shown_its_segments() -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    driver = Asker()

    class Before(Asker):
        packet_filter = WATCHED

        def receive_packet(self, packet: Packet) -> int:
            driver.binding.offload = Offload.NONE
            return 0

    with Bench(offload=WHOLE, packets=16) as bench:
        bench.bind(driver, "later")
        bench.bind(Before(), "before")
        bench.give(virtio + whole)
        assert [len(each) for each in driver.frames] == [1054] * 3


def test_a_read_that_is_too_short_for_a_virtio_header_is_no_superframe() -> None:
    virtio, whole = superframe("tcp", 4, bytes(3000), 1000)
    with Bench(offload=WHOLE) as bench:
        driver = Asker()
        bench.bind(driver)
        bench.give(virtio + whole, b"\1" * 9, b"")
        bench.give(b"\1" * 9)
        counters = bench.adapter.counters()
        assert (counters["rx_superframes"], counters["rx_frames"], counters["rx_dropped_runt"]) == (1, 4, 3)


# what is handed in


@pytest.mark.parametrize("view", [memoryview(bytearray(64))[::-1], memoryview(bytearray(64))[::2]], ids=["backwards", "every other"])
def test_a_buffer_describes_memory_in_one_piece_only(view: memoryview) -> None:
    with pytest.raises(TypeError):
        Buffer(None, view)


@pytest.mark.parametrize("nothing", [None, 7, Packet.__new__(Packet)], ids=["None", "a number", "a packet of no pool"])
def test_an_indication_of_what_is_no_packet_shows_nothing(nothing: Any) -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        first = bench.owned(frame(1))
        with pytest.raises(TypeError, match="and not a packet"):
            bench.adapter.indicate([first, nothing])
        assert (driver.frames, first.state) == ([], PacketState.OWNED)
        bench.pool.free(first)


def test_nothing_is_shown_of_an_indication_with_a_chain_that_is_too_long() -> None:
    memory = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffers = BufferPool(3, "long")
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        packets = [bench.owned(frame(1)), bench.pool.allocate(), bench.owned(frame(2))]
        for _ in range(3):
            packets[1].chain_back(buffers.allocate(memory))
        with pytest.raises(ValueError, match="too long"):
            bench.adapter.indicate(packets)
        assert (driver.frames, {packet.state for packet in packets if packet}) == ([], {PacketState.OWNED})
        while (buffer := packets[1].unchain_front()) is not None:
            buffers.free(buffer)
        for packet in packets:
            bench.pool.free(packet)


def test_nothing_is_indicated_while_a_transfer_is_pending() -> None:
    class Pends(MiniportDriver):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            return Status.PENDING, 0

    class Asks(Driver):
        asked: Packet | None = None

        def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            self.asked = bench.own.allocate()
            assert self.asked is not None
            assert self.binding.transfer_data(context, 0, 10, self.asked) == (Status.PENDING, 0)

        def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
            bench.own.free(packet)

    with Bench(miniport=Pends()) as bench:
        driver = Asks()
        bench.bind(driver)
        bench.adapter.indicate_lookahead(1, frame(1)[:14], b"x" * 10, 46)
        packet = bench.owned(frame(2))
        with pytest.raises(VnicError, match="a transfer is pending"):
            bench.adapter.indicate([packet])
        assert (packet.state, driver.frames) == (PacketState.OWNED, [])
        assert driver.asked is not None
        bench.adapter.transfer_data_complete(driver.asked, Status.SUCCESS, 10)
        bench.adapter.indicate_lookahead_complete()
        bench.adapter.indicate([packet])
        assert driver.frames == [frame(2)]


@pytest.mark.parametrize("arguments", [(b"h" * 14, b"x" * 46, 1 << 70), (b"h" * 14, b"x" * 46, 60.0), (14, 46, 60), (b"h" * 14, b"", -1)])
def test_a_lookahead_of_what_is_none_is_refused_before_it_is_counted(arguments: tuple[Any, Any, Any]) -> None:
    with Bench() as bench:
        bench.bind(Driver())
        with pytest.raises((TypeError, ValueError)):
            bench.adapter.indicate_lookahead(1, *arguments)
        assert bench.adapter.counters()["rx_frames"] == 0


def test_a_frame_that_fills_a_miniports_own_packet_is_whole() -> None:
    own = PacketPool(2, 64, name="small")
    adapter = Adapter(PacketPool(2), MiniportDriver(), joins_pools=True)
    driver = Driver()
    binding = adapter.open(driver, "a")
    packet = own.allocate()
    assert packet is not None
    packet.write(frame(1, size=64))
    adapter.indicate([packet])
    assert (driver.frames, adapter.counters()["rx_dropped_truncated"]) == ([frame(1, size=64)], 0)
    assert adapter.close(binding) is Status.SUCCESS
    adapter.halt()


# adapters and pools


def test_a_pool_is_nobodys_when_its_adapter_could_not_be_made() -> None:
    pool = PacketPool(2)
    with pytest.raises(ValueError, match="large buffers"):
        Adapter(pool, MiniportDriver(), offload=WHOLE, large_buffers=0)
    Adapter(pool, MiniportDriver()).halt()


def test_a_closed_pool_is_no_adapters() -> None:
    pool = PacketPool(2)
    pool.close()
    assert violation(Adapter, pool, MiniportDriver()) == "40"


def test_a_pool_is_an_adapters_until_the_miniport_has_halted() -> None:
    class Halts(Driver):
        tried = ""

        def receive_packet(self, packet: Packet) -> int:
            adapter = self.binding.adapter
            adapter.halt()
            try:
                Adapter(adapter.pool, MiniportDriver())
            except ValueError as error:
                self.tried = str(error)
            return 0

    with Bench() as bench:
        driver = Halts()
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert "is another adapter's" in driver.tried
        assert bench.adapter.close(binding) is Status.SUCCESS
        Adapter(bench.pool, MiniportDriver()).halt()


@pytest.mark.parametrize("name", ["ä" * 190, "a\0b", "\udcff"])
def test_a_pool_may_have_any_name(name: str) -> None:
    assert PacketPool(1, 64, name=name).name == name


def test_a_queue_is_attached_by_its_adapter_only() -> None:
    with Bench() as bench:
        assert not hasattr(bench.adapter.queues[0], "attach")
