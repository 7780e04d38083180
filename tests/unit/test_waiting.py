"""
Waiting for a descriptor or a wake-up, and the data thread that does it: what ends a wait, and what busy polling costs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from miniport.data_thread import DataThreads
from protocol.sink import Sink
from vnic.waiting import BUSY_POLL_US_MAX, POLLIN, POLLOUT, WOKEN, Waiter

if TYPE_CHECKING:
    from tests.unit.conftest import Wire
    from vnic import Packet

BROADCAST = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5" + bytes(46)


class Bench:
    """A waiter, and a cable to wait at."""

    def __init__(self) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.waiter = Waiter(self.wake)
        self.far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.fd = self.near.fileno()

    def close(self) -> None:
        """Close all of it."""
        os.close(self.wake)
        self.far.close()
        self.near.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.close()


def given_up(error: BaseException) -> None:
    """For a data thread that is expected to go on."""
    raise AssertionError(error)


def wake_later(bench: Bench, seconds: float) -> threading.Timer:
    """Wake the waiter from another thread."""
    timer = threading.Timer(seconds, lambda: os.eventfd_write(bench.wake, 1))
    timer.start()
    return timer


@pytest.mark.parametrize("busy_us", [0, 10_000])
def test_a_wait_says_what_has_ended_it(bench: Bench, busy_us: int) -> None:
    assert bench.waiter.wait(bench.fd, POLLOUT, busy_us) == POLLOUT
    bench.far.send(b"frame")
    assert bench.waiter.wait(bench.fd, POLLIN, busy_us) == POLLIN
    assert bench.waiter.wait(bench.fd, POLLIN | POLLOUT, busy_us) == POLLIN | POLLOUT
    os.eventfd_write(bench.wake, 1)
    assert bench.waiter.wait(bench.fd, POLLIN, busy_us) == WOKEN | POLLIN
    assert bench.waiter.wait(-1, 0, busy_us) == WOKEN


@pytest.mark.parametrize("busy_us", [0, 1000])
def test_other_threads_run_during_a_wait(bench: Bench, busy_us: int) -> None:
    timer = wake_later(bench, 0)
    assert bench.waiter.wait(bench.fd, POLLIN, busy_us) == WOKEN
    timer.join()


def test_a_descriptor_that_was_closed_ends_a_wait_as_an_error(bench: Bench) -> None:
    fd = os.dup(bench.fd)
    os.close(fd)
    assert bench.waiter.wait(fd, POLLIN) == select.POLLNVAL


def test_a_signal_does_not_end_a_wait(bench: Bench) -> None:
    caught: list[int] = []
    old = signal.signal(signal.SIGUSR2, lambda number, _: caught.append(number))
    ident = threading.get_ident()

    def interrupt() -> None:
        signal.pthread_kill(ident, signal.SIGUSR2)
        os.eventfd_write(bench.wake, 1)

    timer = threading.Timer(0.01, interrupt)
    timer.start()
    try:
        assert bench.waiter.wait(bench.fd, POLLIN) == WOKEN
    finally:
        timer.join()
        signal.signal(signal.SIGUSR2, old)
    assert caught == [signal.SIGUSR2]


def test_what_is_there_already_is_found_at_the_first_look(bench: Bench) -> None:
    os.eventfd_write(bench.wake, 1)
    assert bench.waiter.wait(bench.fd, POLLIN, BUSY_POLL_US_MAX) == WOKEN
    assert bench.waiter.busy_polls == 1


@pytest.mark.parametrize("busy_us", [2000, -1])
def test_busy_polling_ends_after_its_time(bench: Bench, busy_us: int) -> None:
    timer = wake_later(bench, 0.3)
    before = time.thread_time()
    assert bench.waiter.wait(bench.fd, POLLIN, busy_us) == WOKEN
    assert time.thread_time() - before < 0.15
    assert (bench.waiter.busy_polls > 0) == (busy_us > 0)
    timer.join()


def test_busy_polling_has_a_longest_time(bench: Bench) -> None:
    timer = wake_later(bench, 0.3)
    before = time.thread_time()
    assert bench.waiter.wait(bench.fd, POLLIN, 3_600_000_000) == WOKEN
    assert time.thread_time() - before < 0.15
    timer.join()


def test_serving_reads_batch_by_batch_until_it_is_woken(wire: Wire, bench: Bench) -> None:
    driver = Sink(promiscuous=True)
    wire.open(driver)
    for _ in range(5):
        wire.far.send(BROADCAST)
    timer = wake_later(bench, 0.05)
    assert bench.waiter.serve(wire.adapter, wire.near.fileno(), 2) & WOKEN
    timer.join()
    assert driver.frames == 5
    assert wire.adapter.counters()["rx_batches"] == 3


def test_who_is_woken_while_frames_wait_takes_one_batch_of_them_first(wire: Wire, bench: Bench) -> None:
    wire.open(Sink(promiscuous=True))
    for _ in range(5):
        wire.far.send(BROADCAST)
    os.eventfd_write(bench.wake, 1)
    assert bench.waiter.serve(wire.adapter, wire.near.fileno(), 2) == WOKEN | POLLIN
    assert wire.adapter.counters()["rx_frames"] == 2


def test_who_is_told_to_leave_in_a_batch_leaves_after_it(wire: Wire, bench: Bench) -> None:
    class Leaver(Sink):
        """Has had enough with its first frame."""

        def receive_packet(self, packet: Packet) -> int:
            bench.waiter.leave = True
            return super().receive_packet(packet)

    wire.open(Leaver(promiscuous=True))
    for _ in range(5):
        wire.far.send(BROADCAST)
    assert bench.waiter.serve(wire.adapter, wire.near.fileno(), 2) == POLLIN
    assert wire.adapter.counters()["rx_frames"] == 2


def test_serving_a_broken_descriptor_raises(wire: Wire, bench: Bench) -> None:
    fd = os.dup(bench.fd)
    wire.adapter.attach(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        bench.waiter.serve(wire.adapter, fd, 64)


def test_the_data_thread_polls_busily_after_a_frame_and_not_when_it_is_idle(wire: Wire) -> None:
    wire.open(Sink(promiscuous=True))
    thread = DataThreads(wire.adapter, 64, given_up, busy_poll_us=BUSY_POLL_US_MAX)
    thread.start([wire.near.fileno()])

    def polls() -> int:
        return thread.call(lambda: thread.each[0].waiter.busy_polls).result(10)

    assert [polls(), polls()] == [0, 0]
    wire.far.send(BROADCAST)
    wire.wait_for(lambda: wire.adapter.counters()["rx_frames"] == 1)
    wire.wait_for(polls)
    assert [polls(), polls(), polls()] == [polls()] * 3
    assert thread.end(5)


def test_jobs_are_done_during_busy_polling_and_frames_are_still_taken(wire: Wire) -> None:
    wire.open(Sink(promiscuous=True))
    thread = DataThreads(wire.adapter, 64, given_up, busy_poll_us=BUSY_POLL_US_MAX)
    thread.start([wire.near.fileno()])
    for number in range(50):
        wire.far.send(BROADCAST)
        assert thread.call(lambda number=number: number).result(10) == number  # type: ignore[misc]
    wire.wait_for(lambda: wire.adapter.counters()["rx_frames"] == 50)
    thread.call(thread.stop_reading).result(10)
    assert thread.end(5)


def test_a_thread_that_was_told_to_busy_poll_no_more_does_not(wire: Wire) -> None:
    wire.open(Sink(promiscuous=True))
    thread = DataThreads(wire.adapter, 64, given_up, busy_poll_us=BUSY_POLL_US_MAX)
    thread.busy_poll_us = 0
    thread.start([wire.near.fileno()])
    wire.far.send(BROADCAST)
    wire.wait_for(lambda: wire.adapter.counters()["rx_frames"] == 1)
    assert thread.call(lambda: thread.each[0].waiter.busy_polls).result(10) == 0
    assert thread.end(5)
