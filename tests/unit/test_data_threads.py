"""
The data threads, one for each queue: where they meet for a job, how they end, and what becomes of a job when one of them hangs.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from miniport.data_thread import DataThreads
from miniport.meeting import Meeting
from protocol.sink import Sink
from vnic import Packet, PacketFilter, ProtocolDriver
from vnic.counters import broken_sums
from vnic.waiting import BUSY_POLL_US_MAX

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

QUEUES = 3
BROADCAST = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + bytes(46)


class Cables:
    """A wire with more queues, and the threads that read them."""

    def __init__(self, wire: Wire, queues: int = QUEUES, **more: Any) -> None:
        self.wire = wire
        self.fars, self.nears = [wire.far], [wire.near]
        for _ in range(1, queues):
            far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            near.setblocking(False)
            self.fars.append(far)
            self.nears.append(near)
        self.gone: list[BaseException] = []
        self.threads = DataThreads(wire.adapter, 64, self.gone.append, queues=queues, **more)
        self.begun = False

    def start(self) -> DataThreads:
        """Begin to read."""
        self.threads.start([near.fileno() for near in self.nears])
        self.begun = True
        return self.threads

    def frames(self) -> list[int]:
        """How many frames came through each queue."""
        return [queue.frames for queue in self.wire.adapter.queues]

    def close(self) -> None:
        """End the threads and the cables."""
        if self.begun and not self.threads.ended:
            assert self.threads.end(10)
        for end in self.fars[1:] + self.nears[1:]:
            end.close()


@pytest.fixture
def cables(wire: Wire) -> Iterator[Cables]:
    found = Cables(wire)
    yield found
    found.close()


class Stuck(ProtocolDriver):
    """Stay in the handler for a frame with a mark, until it is let go."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

    def receive_packet(self, packet: Packet) -> int:
        """Stay."""
        if packet.data[-1] == 1:
            self.inside.set()
            assert self.go.wait(20)
        return 0


def test_every_queue_is_read_by_a_thread_of_its_own(cables: Cables) -> None:
    names: set[str] = set()

    class Names(Sink):
        """Note on which thread."""

        def receive_packet(self, packet: Packet) -> int:
            names.add(threading.current_thread().name)
            return super().receive_packet(packet)

    cables.wire.open(Names(promiscuous=True))
    cables.start()
    for number, far in enumerate(cables.fars):
        for _ in range(number + 1):
            far.send(BROADCAST)
    cables.wire.wait_for(lambda: cables.frames() == [1, 2, 3])
    assert names == {"vnic-data-0", "vnic-data-1", "vnic-data-2"}
    assert len(set(cables.threads.idents())) == QUEUES


@pytest.mark.parametrize("busy_poll_us", [0, BUSY_POLL_US_MAX])
def test_jobs_are_done_in_order_while_frames_come(wire: Wire, busy_poll_us: int) -> None:
    cables = Cables(wire, busy_poll_us=busy_poll_us)
    wire.open(Sink(promiscuous=True))
    threads = cables.start()
    done: list[int] = []
    for number in range(200):
        cables.fars[number % QUEUES].send(BROADCAST)
        futures = [threads.call(lambda job=job: done.append(job)) for job in (2 * number, 2 * number + 1)]  # type: ignore[misc]
        for future in futures:
            future.result(10)
    assert done == list(range(400))
    wire.wait_for(lambda: sum(cables.frames()) == 200)
    cables.close()


def test_no_batch_is_under_way_while_a_job_is_done(cables: Cables) -> None:
    inside: list[int] = []

    class Busy(Sink):
        """Be inside of the handler for a moment."""

        def receive_packet(self, packet: Packet) -> int:
            inside.append(1)
            # others run meanwhile
            Path("/").stat()
            inside.pop()
            return super().receive_packet(packet)

    cables.wire.open(Busy(promiscuous=True))
    threads = cables.start()
    over = threading.Event()

    def send(far: socket.socket) -> None:
        while not over.is_set():
            try:
                far.send(BROADCAST)
            except BlockingIOError:
                os.sched_yield()

    senders = [threading.Thread(target=send, args=(far,)) for far in cables.fars]
    for sender in senders:
        sender.start()

    def look() -> tuple[int, list[bool], list[str]]:
        found = (len(inside), [queue.reading for queue in cables.wire.adapter.queues], list(broken_sums(cables.wire.adapter.counters())))
        Path("/").stat()
        return found

    for _ in range(100):
        assert threads.call(look).result(10) == (0, [False] * QUEUES, [])
    over.set()
    for sender in senders:
        sender.join(10)
    cables.wire.wait_for(lambda: min(cables.frames()) > 0)
    threads.call(threads.stop_reading).result(10)


def test_a_thread_that_hangs_delays_jobs_and_stops_nobody_else(cables: Cables) -> None:
    stuck = Stuck()
    cables.wire.open(stuck)
    threads = cables.start()
    cables.fars[1].send(BROADCAST[:-1] + b"\x01")
    assert stuck.inside.wait(20)
    future = threads.call(lambda: 42)
    cables.wire.wait_for(lambda: threads.late() == [threads.each[1].ident])
    for _ in range(50):
        cables.fars[0].send(BROADCAST)
        cables.fars[2].send(BROADCAST)
    cables.wire.wait_for(lambda: cables.frames() == [50, 1, 50])
    later = threads.call(lambda: 43)
    assert not future.done()
    assert threads.late() == [threads.each[1].ident]
    where = [frame.f_code.co_name for frame in threads.stacks()]
    assert len(where) == QUEUES
    stuck.go.set()
    assert (future.result(10), later.result(10)) == (42, 43)
    assert threads.late() == []


def test_threads_that_hang_are_not_ended_in_time_and_then_they_are(cables: Cables) -> None:
    stuck = Stuck()
    cables.wire.open(stuck)
    threads = cables.start()
    cables.fars[2].send(BROADCAST[:-1] + b"\x01")
    assert stuck.inside.wait(20)
    assert not threads.end(0.01)
    assert not threads.ended
    stuck.go.set()
    assert threads.end(10)
    assert threads.ended
    assert threads.call(lambda: 1).cancelled()
    assert threads.alive() == []


def test_jobs_that_nobody_does_any_more_are_cancelled(wire: Wire) -> None:
    cables = Cables(wire)
    stuck = Stuck()
    wire.open(stuck)
    threads = cables.start()
    cables.fars[0].send(BROADCAST[:-1] + b"\x01")
    assert stuck.inside.wait(20)
    future = threads.call(lambda: 1)
    wire.wait_for(threads.late)
    assert not threads.end(0.01)
    stuck.go.set()
    assert threads.end(10)
    # it was done by the last to come, or nobody came any more
    assert future.cancelled() or future.result(0) == 1
    cables.close()


def test_an_interface_that_is_gone_is_told_of_once(cables: Cables) -> None:
    threads = cables.start()
    folder = os.open("/", os.O_RDONLY)
    for near in cables.nears:
        # a folder cannot be read: every thread finds its descriptor broken
        os.dup2(folder, near.fileno())
    os.close(folder)
    for one in threads.each:
        one.nudge()
    cables.wire.wait_for(lambda: cables.gone)
    assert threads.call(lambda: 7).result(10) == 7
    assert len(cables.gone) == 1
    assert isinstance(cables.gone[0], OSError)


def test_what_a_job_raises_is_its_futures(cables: Cables) -> None:
    threads = cables.start()
    with pytest.raises(ZeroDivisionError):
        threads.call(lambda: 1 // 0).result(10)
    assert threads.call(lambda: 1).result(10) == 1


# the meeting by itself


class Rooms:
    """A meeting of threads that come when they are woken; the test is the one who sends them there."""

    def __init__(self, count: int) -> None:
        self.woken = [0] * count
        self.meeting = Meeting([lambda number=number: self.wake(number) for number in range(count)])  # type: ignore[misc]

    def wake(self, number: int) -> None:
        """Note it."""
        self.woken[number] += 1


def run(*works: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_who_is_alone_does_a_job_at_once() -> None:
    rooms = Rooms(1)
    futures = [rooms.meeting.call(threading.get_ident) for _ in range(3)]
    # it is woken for the first: behind it there is the second already
    assert rooms.woken == [1]
    assert rooms.meeting.missing() == [0]
    rooms.meeting.come(0)
    assert [future.result(0) for future in futures] == [threading.get_ident()] * 3
    assert rooms.meeting.missing() == []
    rooms.meeting.come(0)


def test_who_has_waited_long_enough_goes_and_is_called_back_by_who_comes_late() -> None:
    rooms = Rooms(2)
    future = rooms.meeting.call(lambda: 1)
    assert rooms.woken == [1, 1]
    rooms.meeting.come(0)
    assert (future.done(), rooms.meeting.missing()) == (False, [1])
    assert rooms.woken == [1, 2]
    run(lambda: rooms.meeting.come(1), lambda: rooms.meeting.come(0))
    assert rooms.woken[0] >= 1
    assert future.done() or rooms.meeting.missing() == []
    while not future.done():
        run(lambda: rooms.meeting.come(1), lambda: rooms.meeting.come(0))
    assert future.result(0) == 1


def test_who_is_left_does_the_job_when_the_others_have_ended() -> None:
    rooms = Rooms(3)
    future = rooms.meeting.call(lambda: 1)
    run(lambda: rooms.meeting.leave(1), lambda: rooms.meeting.leave(2))
    rooms.meeting.come(0)
    assert future.result(0) == 1
    last = rooms.meeting.call(lambda: 2)
    rooms.meeting.leave(0)
    assert last.cancelled()
    assert rooms.meeting.call(lambda: 3).cancelled()


def test_a_job_that_is_cancelled_is_not_done() -> None:
    rooms = Rooms(1)
    done: list[int] = []
    rooms.meeting.call(lambda: done.append(1)).cancel()
    rooms.meeting.call(lambda: done.append(2))
    rooms.meeting.come(0)
    assert done == [2]


def test_slow_threads_that_miss_each_other_meet_in_the_end() -> None:
    """Two threads that come every 60 ms, each a little after the other has gone again."""
    rooms = Rooms(2)
    future = rooms.meeting.call(lambda: 1)
    deadline = time.monotonic() + 20

    def slow(number: int) -> None:
        other = threading.Event()
        while not future.done():
            assert time.monotonic() < deadline
            other.wait(0.06)
            rooms.meeting.come(number)

    run(lambda: slow(0), lambda: slow(1))
    assert future.result(0) == 1
