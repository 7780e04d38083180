"""
Frames that are in no packet: a miniport shows their beginning, and drivers ask for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.wire import BROADCAST, OTHER, Bench, Driver, frame, violation

from vnic import BufferPool, MiniportDriver, Packet, PacketFilter, PacketPool, PacketState, ProtocolDriver, Status, VnicError

FRAME = frame(1, size=200)
HEADER, BODY = FRAME[:14], FRAME[14:]


class Card(MiniportDriver):
    """A miniport with one frame: show its beginning, and answer what is asked of it at once, or later."""

    def __init__(self, answer: Status = Status.SUCCESS) -> None:
        self.answer = answer
        self.asked: list[tuple[Packet, object, int, int]] = []

    def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
        self.asked.append((packet, context, offset, length))
        if self.answer is not Status.SUCCESS:
            return self.answer, 0
        return Status.SUCCESS, packet.fill(0, BODY[offset : offset + length])


class Reader(ProtocolDriver):
    """Do something while a frame is shown; remember what was shown and what came of it."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, act: Callable[[Reader, Any, int], object] = lambda *_: None) -> None:
        self.act = act
        self.shown: list[tuple[bytes, bytes, int]] = []
        self.results: list[Any] = []
        self.completed: list[tuple[Packet, Status, int]] = []
        self.batches = 0

    def receive(self, context: Any, header: memoryview, lookahead: memoryview, packet_size: int) -> Status:
        self.shown.append((bytes(header), bytes(lookahead), packet_size))
        self.header, self.context = header, context
        self.results.append(self.act(self, context, len(lookahead)))
        return Status.NOT_ACCEPTED

    def receive_complete(self) -> None:
        self.batches += 1

    def transfer_data_complete(self, packet: Packet, status: Status, transferred: int) -> None:
        assert packet.state is PacketState.OWNED
        self.completed.append((packet, status, transferred))


def show(bench: Bench, lookahead: int = 50, context: object = "frame 1") -> None:
    """Show the beginning of the frame, as a batch of one."""
    bench.adapter.indicate_lookahead(context, HEADER, BODY[:lookahead], len(BODY))
    bench.adapter.indicate_lookahead_complete()


def rest(packet: Packet) -> Callable[[Reader, Any, int], object]:
    """Ask for everything that was not shown."""
    return lambda driver, context, seen: driver.binding.transfer_data(context, seen, len(BODY) - seen, packet)


@pytest.mark.parametrize("lookahead", [0, 1, 50, len(BODY)])
def test_the_beginning_is_shown_and_the_rest_is_transferred(lookahead: int) -> None:
    card = Card()
    with Bench(miniport=card) as bench:
        packet = bench.owned(b"", bench.own)
        driver = Reader(rest(packet))
        bench.bind(driver)
        show(bench, lookahead)
        assert driver.shown == [(HEADER, BODY[:lookahead], len(BODY))]
        assert driver.results == [(Status.SUCCESS, len(BODY) - lookahead)]
        assert card.asked == [(packet, "frame 1", lookahead, len(BODY) - lookahead)]
        assert bytes(packet.data) == BODY[lookahead:]
        assert (packet.state, driver.completed, driver.batches) == (PacketState.OWNED, [], 1)
        counters = bench.adapter.counters()
        assert (counters["rx_frames"], counters["rx_bytes"], counters["rx_delivered"]) == (1, len(FRAME), 1)
        bench.own.free(packet)


def test_each_driver_may_transfer_the_same_frame_once() -> None:
    with Bench(miniport=Card()) as bench:
        packets = [bench.owned(b"", bench.own) for _ in range(3)]
        drivers = [Reader(rest(packet)) for packet in packets]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        show(bench)
        assert [driver.results for driver in drivers] == [[(Status.SUCCESS, len(BODY) - 50)]] * 3
        for packet in packets:
            bench.own.free(packet)


def test_a_chain_of_buffers_is_filled_across_its_borders() -> None:
    buffers, pool = BufferPool(2), PacketPool(1, 0)
    pieces = bytearray(60), bytearray(200)
    packet = pool.allocate()
    assert packet is not None
    for piece in pieces:
        buffer = buffers.allocate(piece)
        assert buffer is not None
        packet.chain_back(buffer)
    with Bench(miniport=Card()) as bench:
        bench.bind(Reader(rest(packet)))
        show(bench)
    size = len(BODY) - 50
    assert bytes(pieces[0] + pieces[1])[:size] == BODY[50:]
    assert not any(pieces[1][size - 60 :])
    while (buffer := packet.unchain_front()) is not None:
        buffers.free(buffer)
    pool.free(packet)


def test_a_pended_transfer_ends_with_its_completion() -> None:
    card = Card(Status.PENDING)
    with Bench(miniport=card) as bench:
        packet = bench.owned(b"", bench.own)
        driver = Reader(rest(packet))
        binding = bench.bind(driver)
        show(bench)
        assert driver.results == [(Status.PENDING, 0)]
        assert (packet.state, binding.transfers_pending) == (PacketState.TRANSFERRING, 1)
        assert violation(bench.own.free, packet) == "56"
        with pytest.raises(VnicError, match="a transfer is pending"):
            show(bench)
        assert packet.fill(0, BODY[50:]) == len(BODY) - 50
        bench.adapter.transfer_data_complete(packet, Status.SUCCESS, len(BODY) - 50)
        assert driver.completed == [(packet, Status.SUCCESS, len(BODY) - 50)]
        assert (bytes(packet.data), binding.transfers_pending) == (BODY[50:], 0)
        assert violation(bench.adapter.transfer_data_complete, packet, Status.SUCCESS, 0) == "50"
        bench.expect(("50", "miniport"))
        bench.own.free(packet)


def test_a_transfer_may_be_complete_before_pending_is_answered() -> None:
    class Hasty(Card):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            moved = packet.fill(0, BODY[offset : offset + length])
            bench.adapter.transfer_data_complete(packet, Status.SUCCESS, moved)
            return self.answer, 0

    card = Hasty(Status.PENDING)
    with Bench(miniport=card) as bench:
        packet = bench.owned(b"", bench.own)
        driver = Reader(rest(packet))
        bench.bind(driver)
        show(bench)
        assert driver.results == [(Status.PENDING, 0)]
        assert driver.completed == [(packet, Status.SUCCESS, len(BODY) - 50)]
        card.answer = Status.SUCCESS
        show(bench)
        assert driver.results[1] == (Status.PENDING, 0), "it was completed already"
        bench.expect(("95", "miniport"))
        bench.own.free(packet)


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, -1), (len(BODY), 1), (0, len(BODY) + 1)])
def test_a_range_outside_the_frame_fails(offset: int, length: int) -> None:
    with Bench(miniport=Card()) as bench:
        packet = bench.owned(b"", bench.own)
        driver = Reader(lambda driver, context, _: driver.binding.transfer_data(context, offset, length, packet))
        bench.bind(driver)
        show(bench)
        assert driver.results == [(Status.FAILURE, 0)]
        bench.own.free(packet)


def test_no_bytes_may_be_asked_for() -> None:
    with Bench(miniport=Card()) as bench:
        packet = bench.owned(b"", bench.own)
        driver = Reader(lambda driver, context, _: driver.binding.transfer_data(context, len(BODY), 0, packet))
        bench.bind(driver)
        show(bench)
        assert driver.results == [(Status.SUCCESS, 0)]
        bench.own.free(packet)


def test_a_second_transfer_and_one_after_the_call_are_refused() -> None:
    with Bench(miniport=Card()) as bench:
        packet = bench.owned(b"", bench.own)

        def twice(driver: Reader, context: object, seen: int) -> str:
            driver.binding.transfer_data(context, seen, 1, packet)
            return violation(driver.binding.transfer_data, context, seen, 1, packet)

        driver = Reader(twice)
        binding = bench.bind(driver)
        show(bench)
        assert driver.results == ["101"]
        assert violation(binding.transfer_data, driver.context, 0, 1, packet) == "101"
        assert violation(binding.received_packet, driver.context) == "101"
        with pytest.raises(ValueError, match="released"):
            bytes(driver.header)
        bench.expect(*[("101", "a")] * 3)
        bench.own.free(packet)


def test_a_packet_that_is_not_the_drivers_is_not_filled() -> None:
    with Bench(miniport=Card()) as bench:
        packet, lent = bench.owned(b"", bench.own), bench.owned()
        bench.own.free(packet)
        keeper = Driver(1)
        bench.bind(keeper, "keeper")
        bench.adapter.indicate([lent])
        found: list[str] = []

        def wrong(driver: Reader, context: object, seen: int) -> None:
            found.extend(violation(driver.binding.transfer_data, context, seen, 1, one) for one in (packet, lent))

        bench.bind(Reader(wrong), "reader")
        show(bench)
        assert found == ["55", "58"]
        bench.expect(("55", "reader"), ("58", "reader"))
        keeper.give_back()


def test_a_miniport_that_fails_or_has_no_data_fails_the_transfer() -> None:
    class Broken(Card):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            raise ValueError("no")

    for card, reports in ((Broken(), [("transfer_data", "miniport")]), (MiniportDriver(), []), (Card(Status.FAILURE), [])):
        with Bench(miniport=card) as bench:
            packet = bench.owned(b"", bench.own)
            driver = Reader(rest(packet))
            bench.bind(driver)
            show(bench)
            assert driver.results == [(Status.FAILURE, 0)]
            bench.expect(*reports)
            bench.own.free(packet)


def test_a_frame_in_a_packet_is_found_and_copied_from_it() -> None:
    with Bench() as bench:
        packet = bench.owned(b"", bench.own)
        found: list[Packet | None] = []

        def look(driver: Reader, context: object, seen: int) -> object:
            found.append(driver.binding.received_packet(context))
            return driver.binding.transfer_data(context, 4, seen - 4, packet)

        driver = Reader(look)
        binding = bench.bind(driver)
        bench.give(FRAME)
        assert driver.shown == [(HEADER, BODY, len(BODY))]
        assert [one is not None and one.pool is bench.pool for one in found] == [True]
        assert (driver.results, bytes(packet.data)) == ([(Status.SUCCESS, len(BODY) - 4)], BODY[4:])
        assert (binding.delivered, binding.resources, driver.batches) == (1, 0, 1)
        bench.own.free(packet)


def test_a_frame_in_no_packet_has_none() -> None:
    with Bench(miniport=Card()) as bench:
        driver = Reader(lambda driver, context, _: driver.binding.received_packet(context))
        bench.bind(driver)
        show(bench)
        assert driver.results == [None]


def test_a_packet_with_too_little_room_fails_the_transfer() -> None:
    small = PacketPool(1, 64)
    packet = small.allocate()
    assert packet is not None
    with Bench() as bench:
        driver = Reader(rest(packet))
        driver.act = lambda driver, context, _: driver.binding.transfer_data(context, 0, 65, packet)
        bench.bind(driver)
        bench.give(FRAME)
        assert driver.results == [(Status.FAILURE, 64)]
    small.free(packet)


def test_a_driver_without_receive_is_shown_nothing_and_the_frame_is_counted() -> None:
    with Bench(miniport=Card()) as bench:
        driver = Driver()
        bench.bind(driver)
        show(bench)
        assert driver.frames == []
        assert bench.adapter.counters()["rx_dropped_no_receive"] == 1


def test_filters_and_short_headers_are_counted_as_for_packets() -> None:
    with Bench(miniport=Card()) as bench:
        adapter = bench.adapter
        adapter.indicate_lookahead(None, HEADER, BODY, len(BODY))
        bench.expect(("93", "miniport"))
        driver = Reader()
        driver.packet_filter = PacketFilter.BROADCAST
        bench.bind(driver)
        adapter.indicate_lookahead(None, OTHER + HEADER[6:], BODY, len(BODY))
        adapter.indicate_lookahead(None, HEADER[:13], BODY, len(BODY))
        adapter.indicate_lookahead(None, BROADCAST + HEADER[6:], b"", 0)
        adapter.indicate_lookahead_complete()
        assert [size for *_, size in driver.shown] == [0]
        counters = adapter.counters()
        names = "rx_frames", "rx_dropped_no_driver", "rx_filtered", "rx_dropped_runt", "rx_delivered"
        assert [counters[name] for name in names] == [4, 1, 1, 1, 1]
        with pytest.raises(ValueError, match="a lookahead of 3 bytes in a frame of 2"):
            adapter.indicate_lookahead(None, HEADER, b"abc", 2)


def test_a_receive_that_raises_is_reported_and_the_others_are_shown_the_frame() -> None:
    def fail(*_: object) -> None:
        raise VnicError("no")

    with Bench(miniport=Card()) as bench:
        bench.bind(Reader(fail), "broken")
        driver = Reader()
        bench.bind(driver, "whole")
        show(bench)
        bench.expect(("receive", "broken"))
        assert len(driver.shown) == 1
