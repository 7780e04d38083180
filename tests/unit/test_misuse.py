"""
What a driver hands in that it should not: it is refused before anything changes hands, or all the rest is done; nothing stays behind.
"""

from __future__ import annotations

import mmap
import threading
from typing import Any

import pytest
from unit.test_replies import Replier, reply
from unit.wire import COUNTS_VIEWS, Bench, Driver, Sender, counts_views, frame, violation

from vnic import Batch, BufferPool, Info, MiniportDriver, OwnershipError, Packet, PacketFilter, PacketState, Replies, Status, core
from vnic.offload import Offload

WATCHED = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL
NO_PACKETS = (None, 7, "x", Packet.__new__(Packet))
no_packet = pytest.mark.parametrize("nothing", NO_PACKETS, ids=["None", "a number", "a string", "a packet of no pool"])


@no_packet
def test_a_send_of_what_is_no_packet_changes_nothing(nothing: Any) -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        first, last = bench.owned(frame(1), bench.own), bench.owned(frame(2), bench.own)
        with pytest.raises(TypeError):
            binding.send_packets([first, nothing, last])
        with pytest.raises(TypeError):
            binding.send(nothing)
        assert (first.state, last.state, binding.sends_pending, bench.taken()) == (PacketState.OWNED, PacketState.OWNED, 0, [])
        binding.send_packets([first, last])
        assert bench.taken() == [frame(1), frame(2)]
        assert len(driver.completed) == 2


@no_packet
@pytest.mark.parametrize("by_binding", [True, False])
def test_what_is_no_packet_keeps_no_other_from_being_returned(nothing: Any, by_binding: bool) -> None:
    with Bench() as bench:
        driver = Driver(1)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        give_back = binding.return_packets if by_binding else core.return_packets
        with pytest.raises(TypeError, match="and not a packet"):
            give_back([driver.kept[0], nothing, driver.kept[1]])
        assert binding.held == 0
        driver.kept.clear()


@pytest.mark.parametrize("together", [False, True])
def test_a_chain_that_is_too_long_is_a_send_that_is_over(together: bool) -> None:
    memory = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    over: list[tuple[Packet, Status]] = []

    class Ends(Driver):
        def send_complete(self, packet: Packet, status: Status) -> None:
            over.append((packet, status))

    with Bench() as bench:
        binding = bench.bind(Ends())
        pool = BufferPool(3, "long")
        packet, other = bench.own.allocate(), bench.owned(frame(1), bench.own)
        assert packet is not None
        for _ in range(3):
            buffer = pool.allocate(memory)
            assert buffer is not None
            packet.chain_back(buffer)
            del buffer
        if together:
            binding.send_packets([packet, other])
            assert over == [(packet, Status.INVALID_PACKET), (other, Status.SUCCESS)]
            assert bench.taken() == [frame(1)]
        else:
            assert binding.send(packet) is Status.INVALID_PACKET
        bench.expect(("59", "a"))
        assert (packet.state, binding.sends_pending) == (PacketState.OWNED, 0)
        while (buffer := packet.unchain_back()) is not None:
            pool.free(buffer)
        pool.close()
        bench.own.free(packet)
        bench.own.free(other)
        over.clear()


def test_information_that_a_driver_has_made_shorter_is_none() -> None:
    class Asks(Sender):
        offload = Offload.CHECKSUM | Offload.SEGMENTATION

    with Bench(offload=Asks.offload) as bench:
        binding = bench.bind(Asks())
        packet = bench.owned(frame(1), bench.own)
        packet.info.clear()
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        waiting = [bench.owned(frame(mark), bench.own) for mark in (1, 2)]
        for packet in waiting:
            packet.info[Info.CANCEL_ID] = 7
            assert binding.send(packet) is Status.PENDING
        waiting[0].info.clear()
        assert binding.cancel_sends(7) == 1
        assert [packet.state for packet in waiting] == [PacketState.SENDING, PacketState.FREE]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"headers": [b"h" * 14, memoryview(b"x" * 40)[::2]]}, TypeError),
        ({"headers": [b"h" * 14, "x" * 14]}, TypeError),
        ({"headers": [b"h" * 14, b"h" * 13]}, ValueError),
        ({"headers": [b"h" * 14]}, ValueError),
        ({"offset": 14.0}, TypeError),
        ({"offset": -1}, ValueError),
    ],
)
def test_what_is_wrong_with_replies_is_refused_before_one_is_made(how: dict[str, Any], error: type[Exception]) -> None:
    with Bench() as bench:
        driver = Replier()
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        with pytest.raises(error):
            driver.replies.send(driver.kept, **how)
        with pytest.raises(TypeError):
            driver.replies.send([driver.kept[0], None, driver.kept[1]])
        assert repr(driver.replies).endswith("8 of 8 idle>")
        assert binding.held == 2
        driver.send()
        assert bench.taken() == [reply(1), reply(2)]


def test_an_offset_behind_every_frame_leaves_nothing_to_reply_with() -> None:
    with Bench() as bench:
        driver = Replier()
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert driver.send(offset=1 << 40) == 0
        assert (driver.replies.dropped, binding.held) == (1, 0)


@pytest.mark.parametrize("size", [130, 100_000])
def test_headers_are_read_once(size: int) -> None:
    class Lies(list[bytes]):
        def __getitem__(self, position: Any) -> Any:
            return b"X" * size

    with Bench() as bench:
        driver = Replier()
        bench.bind(driver)
        bench.give(frame(1))
        assert driver.send(headers=Lies([b"h" * 14])) == 1
        assert bench.taken() == [b"h" * 14 + frame(1)[14:]]


def test_no_header_is_shorter_than_an_ethernet_header() -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        with pytest.raises(ValueError, match="has 14 at least"):
            Replies(binding, 4, header_size=13)


class Below(MiniportDriver):
    """Keep what is sent, until it is completed."""

    def __init__(self) -> None:
        self.pending: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        """Keep it."""
        self.pending.append(packet)
        return Status.PENDING

    def complete(self, bench: Bench) -> None:
        """Complete all of them."""
        pending, self.pending = self.pending, []
        for packet in pending:
            bench.adapter.send_complete(packet, Status.SUCCESS)


@pytest.mark.parametrize("pending", [False, True])
def test_a_reference_is_replied_to_once(pending: bool) -> None:
    below = Below()
    with Bench(miniport=below if pending else None) as bench:
        driver = Replier()
        binding = bench.bind(driver)
        bench.give(frame(1))
        packet = driver.kept.pop()
        with pytest.raises(OwnershipError) as caught:
            driver.replies.send([packet, packet, packet])
        assert caught.value.rule.id == "01"
        if pending:
            # the only return that is owed follows the reply
            assert violation(binding.return_packets, [packet]) == "01"
            assert len(below.pending) == 1
            below.complete(bench)
        else:
            assert bench.taken() == [reply(1)]
        assert (driver.replies.sent, driver.replies.dropped, binding.held) == (1, 0, 0)
        assert {rule for rule, _ in bench.reports} == {"01"}
        bench.reports.clear()


def test_two_references_are_replied_to_twice() -> None:
    class Twice(Replier):
        def receive_packet(self, packet: Packet) -> int:
            self.kept += [packet, packet]
            return 2

    with Bench() as bench:
        driver = Twice()
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert driver.send() == 2
        assert bench.taken() == [reply(1), reply(1)]
        assert binding.held == 0


class ViewKeeper(Driver):
    """Keep a view of each frame that is looped back: that is rule 10, and nobody else's fault."""

    packet_filter = WATCHED

    def __init__(self) -> None:
        super().__init__()
        self.views: list[memoryview] = []

    def receive_packet(self, packet: Packet) -> int:
        """Look at it for too long."""
        if packet.flags:
            self.views.append(packet.data)
        return 0


@pytest.mark.skipif(not COUNTS_VIEWS, reason=counts_views.kwargs["reason"])
def test_a_view_that_another_driver_keeps_does_not_keep_a_binding_from_its_end() -> None:
    below = Below()
    with Bench(miniport=below) as bench:
        watcher, driver = ViewKeeper(), Replier()
        bench.bind(watcher, "watcher")
        binding = bench.bind(driver, "replier")
        bench.give(frame(1), frame(2))
        driver.send()
        assert bench.adapter.close(binding) is Status.PENDING
        below.complete(bench)
        assert binding.closed
        assert ("10", "watcher") in bench.reports
        watcher.views.clear()
        bench.reports.clear()


def test_replies_are_closed_once() -> None:
    with Bench() as bench:
        driver = Replier()
        bench.bind(driver)
        assert driver.replies.close() is Status.SUCCESS
        assert driver.replies.close() is Status.SUCCESS


def test_the_headers_of_a_looped_back_batch_are_those_of_the_whole_frame() -> None:
    rows: list[tuple[bytes, bytes]] = []

    class Watcher(Driver):
        packet_filter = WATCHED

        def receive_packets(self, batch: Batch) -> int:
            """Compare."""
            for row, packet in zip(batch.headers.tolist(), batch, strict=True):
                rows.append((bytes(row)[: packet.length], bytes(packet.data)[:64]))
                column = bytearray(20)
                batch.gather(column, 0, 12, 20)
                assert bytes(column) == bytes(packet.data)[12:32]
            return 0

    with Bench() as bench:
        bench.bind(Watcher(), "watcher")
        bench.bind(Replier(at_end=True), "replier")
        bench.give(frame(1)[:14] + b"A" * 46)
    assert len(rows) == 2
    assert all(row == data for row, data in rows)


@pytest.mark.skipif(not COUNTS_VIEWS, reason=counts_views.kwargs["reason"])
@pytest.mark.parametrize("together", [False, True])
def test_a_driver_over_its_quota_answers_for_no_view_of_another_holder(together: bool) -> None:
    class Holder(Driver):
        packet_filter = WATCHED

        def __init__(self) -> None:
            super().__init__(1)
            self.views: list[memoryview] = []

        def look_again(self) -> None:
            """Look at what it holds."""
            self.views.append(memoryview(self.kept[-1]))

    class Few(Driver):
        quota = 1

        def __init__(self, holder: Holder) -> None:
            super().__init__(lambda packet: int(packet.status is Status.SUCCESS))
            self.holder = holder

        def receive_packet(self, packet: Packet) -> int:
            if packet.status is Status.RESOURCES:
                thread = threading.Thread(target=self.holder.look_again)
                thread.start()
                thread.join()
            return super().receive_packet(packet)

    class FewTogether(Few):
        def receive_packets(self, batch: Batch) -> list[int]:
            """The same."""
            return [self.receive_packet(packet) for packet in batch]

    with Bench() as bench:
        holder = Holder()
        bench.bind(holder, "holder")
        few = (FewTogether if together else Few)(holder)
        binding = bench.bind(few, "few")
        for mark in range(3):
            bench.give(frame(mark))
        assert len(holder.views) == 2
        assert (binding.violations, bench.reports) == (0, [])
        holder.views.clear()
        holder.give_back()
        few.give_back()


def test_views_on_several_threads_are_all_counted() -> None:
    """Without a GIL they are made and dropped at the same time."""

    def look(packet: Packet) -> None:
        for _ in range(5000):
            with packet.data as view:
                assert len(view) == 60

    with Bench() as bench:
        drivers = [Driver(1), Driver(1)]
        for number, driver in enumerate(drivers):
            bench.bind(driver, str(number))
        bench.give(frame(1))
        threads = [threading.Thread(target=look, args=(driver.kept[0],)) for driver in drivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert drivers[0].kept[0].views == 0
        for driver in drivers:
            driver.give_back()
