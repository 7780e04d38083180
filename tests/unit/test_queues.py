"""
Several queues of one adapter: what comes through which, who is told that a batch is over, where sends go out, and where the packets are.

That frames keep their order while two threads read is in `tests/property/test_queues.py`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from unit.wire import Batched, Bench, Driver, Sender, frame, violation

from vnic import Adapter, MiniportDriver, Packet, PacketPool, Status, VnicError
from vnic.counters import broken_sums
from vnic.uring import Uring, race
from vnic.verifier import rules
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS


class Queued(Bench):
    """
    A bench with two queues or more, each with a cable of its own.

    Attributes:
        fars: the other ends of the cables, by queue.
    """

    def __init__(self, queues: int = 2, **more: Any) -> None:
        super().__init__(**more)
        self.fars = [self.far]
        self.nears: list[socket.socket] = [self.near]
        for number in range(1, queues):
            far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            far.setblocking(False)
            near.setblocking(False)
            self.fars.append(far)
            self.nears.append(near)
            assert self.adapter.attach_queue(near.fileno()) == number

    def __exit__(self, *how: object) -> None:
        try:
            super().__exit__(*how)
        finally:
            for end in self.fars[1:] + self.nears[1:]:
                end.close()

    def give_to(self, queue: int, *frames: bytes) -> int:
        """Put frames on a cable, and let the adapter take them as one batch."""
        for data in frames:
            self.fars[queue].send(data)
        return self.adapter.receive_batch(queue=queue)

    def taken_from(self, queue: int) -> list[bytes]:
        """Take everything off a cable that the adapter has sent."""
        frames: list[bytes] = []
        with suppress(BlockingIOError):
            while True:
                frames.append(self.fars[queue].recv(70_000))
        return frames

    def figures(self) -> list[tuple[int, int, int]]:
        """Number, frames and batches of each queue."""
        return [(queue.number, queue.frames, queue.batches) for queue in self.adapter.queues]


def on_a_thread(work: Callable[[], object]) -> None:
    """Run something on another thread, and wait for it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


# reading


def test_each_queue_is_read_by_its_number_and_counted() -> None:
    with Queued(3) as bench:
        driver = Driver()
        bench.bind(driver)
        assert bench.give_to(1, frame(1), frame(2)) == 2
        assert bench.give_to(0, frame(3)) == 1
        assert bench.give_to(2) == 0
        assert driver.frames == [frame(1), frame(2), frame(3)]
        assert bench.figures() == [(0, 1, 1), (1, 2, 1), (2, 0, 0)]
        counters = bench.adapter.counters()
        assert (counters["rx_frames"], counters["rx_batches"]) == (3, 2)


def test_an_adapter_with_one_queue_counts_too() -> None:
    with Bench() as bench:
        bench.bind(Driver())
        bench.give(frame(1), frame(2))
        (queue,) = bench.adapter.queues
        assert (queue.number, queue.frames, queue.batches, queue.reader) == (0, 2, 1, "read")


def test_a_queue_that_there_is_not_is_named() -> None:
    with Queued() as bench:
        for number in (2, -1, 1 << 20):
            with pytest.raises(ValueError, match=f"queue {number} of bench0: there are 2"):
                bench.adapter.receive_batch(queue=number)


def test_queues_are_attached_from_outside_and_behind_the_first() -> None:
    adapter = Adapter(PacketPool(4, name="p"), MiniportDriver(), name="x")
    with pytest.raises(VnicError, match="attach the first queue before others"):
        adapter.attach_queue(0)
    adapter.halt()
    with Queued() as bench:
        driver = Driver(look=lambda _: violation_of(bench.adapter.attach_queue, 0))
        bench.bind(driver)
        bench.give_to(1, frame())
        assert driver.seen == ["the adapter is reading: attach from outside a handler"]
        assert len(bench.adapter.queues) == 2


def violation_of(action: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(VnicError) as caught:
        action(*arguments)
    return str(caught.value)


def test_there_are_256_queues_at_most() -> None:
    with Bench() as bench:
        for number in range(1, 256):
            assert bench.adapter.attach_queue(bench.near.fileno()) == number
        with pytest.raises(VnicError, match="bench0 has 256 queues, no more fit"):
            bench.adapter.attach_queue(bench.near.fileno())


@pytest.mark.parametrize("inner", [0, 1])
@pytest.mark.parametrize("outer", [0, 1])
def test_no_queue_is_read_from_inside_a_handler(outer: int, inner: int) -> None:
    with Queued() as bench:
        driver = Driver(look=lambda _: violation(bench.adapter.receive_batch, 64, inner))
        bench.bind(driver)
        bench.give_to(outer, frame())
        assert driver.seen == [rules.REENTERED.id]
        bench.expect((rules.REENTERED.id, "a"))


def test_a_queue_is_read_by_one_thread_at_a_time_and_two_by_two() -> None:
    with Queued() as bench:
        inside, go = threading.Event(), threading.Event()

        def wait(packet: Packet) -> int:
            if not inside.is_set():
                inside.set()
                assert go.wait(20)
            return 0

        driver = Driver(wait)
        bench.bind(driver)
        bench.fars[1].send(frame(1))
        reader = threading.Thread(target=bench.adapter.receive_batch, args=(64, 1))
        reader.start()
        assert inside.wait(20)
        assert violation(bench.adapter.receive_batch, 64, 1) == rules.REENTERED.id
        assert bench.give_to(0, frame(2)) == 1
        assert driver.frames == [frame(1), frame(2)]
        go.set()
        reader.join(20)
        assert len(bench.reports) == 1
        bench.reports.clear()


def test_a_broken_queue_says_so_and_the_others_go_on() -> None:
    with Queued() as bench:
        driver = Driver()
        bench.bind(driver)
        bench.nears[1].close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            bench.adapter.receive_batch(queue=1)
        assert bench.give_to(0, frame()) == 1
        assert bench.pool.available == 8


def has_io_uring() -> bool:
    try:
        race()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_io_uring(), reason="no io_uring here")
def test_a_queue_has_a_ring_of_its_own() -> None:
    with Queued(1, packets=64) as bench:
        far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        ring = Uring(near.fileno(), bench.pool)
        with pytest.raises(ValueError, match="a ring for descriptor"):
            bench.adapter.attach_queue(bench.near.fileno(), ring)
        assert bench.adapter.attach_queue(near.fileno(), ring) == 1
        driver = Driver()
        bench.bind(driver)
        for number in range(20):
            far.send(frame(number))
        assert bench.adapter.receive_batch(queue=1) == 20
        assert driver.frames == [frame(number) for number in range(20)]
        assert [queue.reader for queue in bench.adapter.queues] == ["read", "io_uring"]
        assert ring.calls > 0
        ring.close()
        far.close()
        near.close()


# receive_complete


def test_a_batch_is_over_for_those_who_saw_a_frame_of_it_on_its_thread() -> None:
    """Two batches at the same time, one of which is over while the other goes on: each ends once, on its own thread."""
    with Queued() as bench:
        inside, go = threading.Event(), threading.Event()
        ended: list[int] = []

        def wait(packet: Packet) -> int:
            if packet.data[-1] == 1:
                inside.set()
                assert go.wait(20)
            return 0

        driver = Batched(wait, at_end=lambda: ended.append(threading.get_ident()))
        bench.bind(driver)
        bench.fars[1].send(frame(1))
        reader = threading.Thread(target=bench.adapter.receive_batch, args=(64, 1))
        reader.start()
        assert inside.wait(20)
        bench.give_to(0, frame(2))
        bench.give_to(0, frame(3))
        assert driver.batches == 2
        go.set()
        reader.join(20)
        assert ended == [threading.get_ident()] * 2 + [reader.ident]


def test_a_send_of_another_thread_ends_no_batch_of_a_queue() -> None:
    with Queued() as bench:
        ended: list[int] = []
        watcher = Batched(at_end=lambda: ended.append(threading.get_ident()))
        bench.bind(watcher, "watcher")
        binding = bench.bind(Sender(), "sender")
        senders: list[int] = []

        def send() -> None:
            senders.append(threading.get_ident())
            packet = bench.owned(frame(7), bench.own)
            assert binding.send(packet) is Status.SUCCESS
            bench.own.free(packet)

        class Asks(Driver):
            """Have somebody else send while it is being shown a frame."""

            def receive_packet(self, packet: Packet) -> int:
                if packet.status == Status.SUCCESS:
                    on_a_thread(send)
                return super().receive_packet(packet)

        bench.bind(Asks(), "asks")
        bench.give_to(1, frame(1))
        # the sender's own batch, which was one looped frame, and then the queue's
        assert ended == [*senders, threading.get_ident()]
        assert watcher.frames == [frame(1), frame(7)]


def test_the_next_binding_of_a_slot_is_not_told_of_the_last_ones_batch() -> None:
    with Queued() as bench:

        def close(_: Packet) -> int:
            bench.adapter.close(binding)
            return 0

        binding = bench.bind(Driver(close))
        slot = binding.slot
        bench.give_to(1, frame())
        second = Batched()
        assert bench.bind(second, "second").slot == slot
        other = Batched()
        bench.bind(other, "other")
        bench.adapter.bindings[0].packet_filter = 0
        bench.give_to(1, frame())
        assert (second.batches, other.batches) == (0, 1)


# sending


def send(bench: Bench, driver: Driver, mark: int) -> Status:
    packet = bench.owned(frame(mark), bench.own)
    status = driver.binding.send(packet)
    if status is not Status.PENDING:
        bench.own.free(packet)
    return status


@pytest.mark.parametrize("together", [False, True])
def test_what_is_sent_while_a_queue_is_read_goes_out_there(together: bool) -> None:
    class Answers(Sender):
        def receive_packet(self, packet: Packet) -> int:
            if together:
                self.binding.send_packets([bench.owned(bytes(packet.data), bench.own)])
            else:
                send(bench, self, packet.data[-1])
            return 0

    with Queued(3) as bench:
        driver = Answers()
        bench.bind(driver)
        for queue in (0, 1, 2):
            bench.give_to(queue, frame(queue))
        assert [bench.taken_from(queue) for queue in (0, 1, 2)] == [[frame(0)], [frame(1)], [frame(2)]]


def test_what_any_other_thread_sends_goes_out_where_the_first_queue_is() -> None:
    with Queued() as bench:
        driver = Sender()
        bench.bind(driver)
        bench.give_to(1, frame())
        send(bench, driver, 1)
        on_a_thread(lambda: send(bench, driver, 2))
        assert (bench.taken_from(0), bench.taken_from(1)) == ([frame(1), frame(2)], [])


class Talker(Sender):
    """Send as many frames as it is told to, for each that is shown to it."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.count, self.number = bench, 0, 0

    def receive_packet(self, packet: Packet) -> int:
        """Send."""
        for _ in range(self.count):
            send(self.bench, self, self.number)
            self.number += 1
        return 0


@contextmanager
def blocked_second_queue() -> Iterator[tuple[Queued, Talker, int]]:
    """The cable of queue 1 takes no more, and some sends wait for it; the cable of queue 0 is free."""
    with Queued(send_queue=10) as bench:
        driver = Talker(bench)
        bench.bind(driver)
        driver.count = 1
        through = 0
        while not bench.adapter.sends_waiting(1):
            bench.give_to(1, frame())
            through += 1
        driver.count = 4
        bench.give_to(1, frame())
        yield bench, driver, through - 1


def test_a_queue_without_room_does_not_stop_the_other() -> None:
    with blocked_second_queue() as (bench, driver, through):
        assert (bench.adapter.sends_waiting(0), bench.adapter.sends_waiting(1), bench.adapter.send_blocked) == (0, 5, True)
        driver.count = 3
        bench.give_to(0, frame())
        assert len(bench.taken_from(0)) == 3
        assert bench.adapter.flush(0) == 0
        assert bench.adapter.sends_waiting(1) == 5
        counters = bench.adapter.counters()
        assert (counters["tx_pending"], counters["tx_queued"], counters["tx_frames"]) == (5, 5, through + 3)
        before = bench.taken_from(1)
        assert bench.adapter.flush(1) == 0
        # in order, and completed in that order
        assert before + bench.taken_from(1) == [frame(number) for number in range(through + 5)]
        assert driver.completed == [(frame(number), Status.SUCCESS) for number in range(through, through + 5)]
        assert not bench.adapter.send_blocked


def test_so_many_sends_may_wait_for_each_queue() -> None:
    with blocked_second_queue() as (bench, driver, _):
        driver.count = 10
        bench.give_to(1, frame())
        assert bench.adapter.sends_waiting(1) == 10
        assert bench.adapter.counters()["tx_dropped_queue_full"] == 5
        bench.taken_from(1)
        assert bench.adapter.flush() == 0


def test_what_is_sent_again_when_it_is_complete_goes_out_there_too() -> None:
    class Again(Talker):
        """Send one more when a send is complete that had to wait."""

        again = 0

        def send_complete(self, packet: Packet, status: Status) -> None:
            super().send_complete(packet, status)
            if self.again:
                self.again -= 1
                send(self.bench, self, 99)

    with Queued() as bench:
        driver = Again(bench)
        bench.bind(driver)
        driver.count = 1
        while not bench.adapter.sends_waiting(1):
            bench.give_to(1, frame())
        driver.again = 1
        bench.taken_from(1)
        assert bench.adapter.flush() == 0
        assert frame(99) in bench.taken_from(1)
        assert bench.taken_from(0) == []


def test_closing_aborts_what_waits_for_any_queue() -> None:
    with blocked_second_queue() as (bench, driver, _):
        assert bench.adapter.close(driver.binding) is Status.SUCCESS
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED] * 5
        assert not bench.adapter.send_blocked


def test_a_cancel_finds_what_waits_for_any_queue() -> None:
    with blocked_second_queue() as (bench, driver, _):
        assert driver.binding.cancel_sends(7) == 0
        assert bench.adapter.sends_waiting(1) == 5
        bench.taken_from(1)
        bench.adapter.flush()


# packets


def test_a_quarter_of_the_pool_at_most_is_at_hand_of_the_queues_and_all_of_it_is_free() -> None:
    with Queued(4, packets=64, low_water=0) as bench:
        bench.bind(Driver())
        for queue in (0, 1, 2, 3):
            bench.give_to(queue, frame())
        at_hand = [queue.lane.at_hand for queue in bench.adapter.queues]
        assert 0 < sum(at_hand) <= 16
        assert max(at_hand) <= 4
        assert bench.pool.available == 64
        assert bench.adapter.counters()["pool_free"] == 64
        assert repr(bench.pool) == "<PacketPool receive: 64 of 64 free>"


def test_who_finds_no_packet_on_the_stack_has_those_that_queues_have_at_hand() -> None:
    with Queued(packets=16) as bench:
        keeper = Driver(1)
        bench.bind(keeper)
        bench.give_to(1, frame())
        keeper.give_back()
        assert bench.adapter.queues[1].lane.at_hand > 0
        # another queue may have all of them
        for number in range(16):
            assert bench.give_to(0, frame(number)) == 1
        assert (len(keeper.kept), bench.pool.available) == (16, 0)
        assert bench.adapter.counters()["rx_dropped_no_packet"] == 0
        assert bench.give_to(1, frame()) == 1
        assert bench.adapter.counters()["rx_dropped_no_packet"] == 1
        assert bench.adapter.queues[1].frames == 2
        keeper.give_back()
        bench.reports.clear()


def test_whoever_allocates_has_them_too() -> None:
    with Queued(packets=16) as bench:
        bench.bind(Driver())
        for queue in (0, 1):
            bench.give_to(queue, frame())
        assert sum(queue.lane.at_hand for queue in bench.adapter.queues) > 0
        taken = [bench.pool.allocate() for _ in range(16)]
        assert None not in taken
        assert bench.pool.allocate() is None
        for packet in taken:
            assert packet is not None
            bench.pool.free(packet)


def test_with_few_packets_a_queue_leaves_the_others_their_share() -> None:
    """While one reads four frames at most, the other still finds a packet."""
    with Queued(packets=8) as bench:
        inside, go = threading.Event(), threading.Event()

        def wait(packet: Packet) -> int:
            if packet.data[-1] == 1:
                inside.set()
                assert go.wait(20)
            return 0

        bench.bind(Driver(wait))
        for _ in range(8):
            bench.fars[1].send(frame(1))
        reader = threading.Thread(target=bench.adapter.receive_batch, args=(64, 1))
        reader.start()
        assert inside.wait(20)
        assert bench.give_to(0, frame(2)) == 1
        counters = bench.adapter.counters()
        assert (counters["rx_dropped_no_packet"], counters["rx_delivered"]) == (0, 1)
        assert list(broken_sums(counters)) == []
        go.set()
        reader.join(20)


@pytest.mark.parametrize("queue", [0, 1])
def test_packets_are_low_when_few_are_free_anywhere(queue: int) -> None:
    with Queued(packets=16, low_water=4) as bench:
        keeper = Driver(lambda packet: int(packet.status == Status.SUCCESS))
        bench.bind(keeper)
        for other in (0, 1):
            bench.give_to(other, frame())
        keeper.give_back()
        for number in range(16):
            bench.give_to(queue, frame(number))
        assert (len(keeper.kept), bench.pool.low_water) == (12, 4)
        assert bench.adapter.counters()["rx_resources"] == 4
        keeper.give_back()
        bench.reports.clear()


def test_from_level_3_on_no_packet_is_at_hand_and_each_is_poisoned() -> None:
    with Queued(packets=16) as bench:
        bench.bind(Driver())
        bench.give_to(1, frame())
        assert bench.adapter.queues[1].lane.at_hand > 0
        bench.adapter.verifier_level = 3
        assert bench.adapter.queues[1].lane.at_hand == 0
        bench.give_to(1, frame())
        assert bench.adapter.queues[1].lane.at_hand == 0
        bench.adapter.verifier_level = 1
        bench.give_to(1, frame())
        assert bench.adapter.queues[1].lane.at_hand > 0


def test_packets_are_used_late_with_several_queues_too() -> None:
    level = LEVELS.process
    with Queued(packets=16) as bench:
        used: list[int] = []
        bench.bind(Driver(look=lambda packet: used.append(packet.index)))
        try:
            bench.adapter.verifier_level = 4
            FAULTS.start("late-reuse", length=8, seed=1)
            for number in range(12):
                bench.give_to(number % 2, frame(number))
        finally:
            FAULTS.stop()
            bench.adapter.verifier_level = level
        assert all(len(set(used[place : place + 8])) == 8 for place in range(len(used) - 8))


def test_a_pool_that_is_another_adapters_now_has_everything_on_its_stack() -> None:
    with Queued(packets=16) as bench:
        bench.bind(Driver())
        bench.give_to(1, frame())
        assert bench.adapter.queues[1].lane.at_hand > 0
    again = Adapter(bench.pool, MiniportDriver(), name="again")
    again.halt()
    bench.pool.close()


# the end


def test_a_miniport_is_halted_when_no_thread_reads_any_more() -> None:
    class Halts(MiniportDriver):
        halted = 0

        def halt(self) -> None:
            self.halted += 1

    miniport = Halts()
    with Queued(miniport=miniport) as bench:
        inside, go = threading.Event(), threading.Event()

        def wait(packet: Packet) -> int:
            inside.set()
            assert go.wait(20)
            return 0

        binding = bench.bind(Driver(wait))
        bench.fars[1].send(frame(1))
        reader = threading.Thread(target=bench.adapter.receive_batch, args=(64, 1))
        reader.start()
        assert inside.wait(20)
        bench.adapter.close(binding)
        bench.adapter.halt()
        assert miniport.halted == 0
        go.set()
        reader.join(20)
        assert miniport.halted == 1


def test_a_serialized_miniports_drivers_are_called_by_one_thread_at_a_time() -> None:
    with Queued(serialized=True, packets=64) as bench:
        inside: list[int] = []
        together: list[int] = []

        def count(packet: Packet) -> int:
            inside.append(1)
            together.append(len(inside))
            # others run meanwhile, if they can
            Path("/").stat()
            inside.pop()
            return 0

        bench.bind(Driver(count))
        for queue in (0, 1):
            for number in range(20):
                bench.fars[queue].send(frame(number))

        def read(queue: int) -> None:
            while bench.adapter.receive_batch(4, queue):
                pass

        threads = [threading.Thread(target=read, args=(queue,)) for queue in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert together == [1] * 40
