"""
Reading through io_uring: the same frames in the same order, and nothing of it left when a batch is over.

Uncompiled, or where the kernel refuses it, there is no ring; the frames are read by `read` then, and must be the same.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from miniport.reader import choose_reader
from vnic import COMPILED, Packet, PacketFilter, PacketPool, ProtocolDriver
from vnic.counters import broken_sums
from vnic.uring import Uring, race

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

HEADER = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x88\xb5"


def has_io_uring() -> bool:
    """Whether there is any here."""
    try:
        race()
    except OSError:
        return False
    return True


READER = "io_uring" if has_io_uring() else "read"


class Reader(ProtocolDriver):
    """Writes down what it sees; keeps the first packets, and as many as it is told."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, keep: int = 0) -> None:
        self.frames: list[bytes] = []
        self.kept: list[Packet] = []
        self.keep = keep

    def receive_packet(self, packet: Packet) -> int:
        self.frames.append(bytes(packet.data))
        if len(self.kept) < self.keep and not packet.status:
            self.kept.append(packet)
            return 1
        return 0


class Orderly(ProtocolDriver):
    """Counts the frames that are not the next one."""

    packet_filter = PacketFilter.PROMISCUOUS
    expected = wrong = 0

    def receive_packet(self, packet: Packet) -> int:
        number = int.from_bytes(packet.data[14:18])
        self.wrong += number != self.expected
        self.expected = number + 1
        return 0


@pytest.fixture
def ringed(make_wire: Callable[..., Wire]) -> Iterator[Callable[..., Wire]]:
    """Make adapters that read through a ring, if there can be one."""
    rings: list[Uring] = []

    def make(packets: int = 512, low_water: int = 0) -> Wire:
        wire = make_wire(packets=packets, low_water=low_water)
        if READER == "io_uring":
            rings.append(Uring(wire.near.fileno(), wire.pool))
            wire.adapter.attach(wire.near.fileno(), ring=rings[-1])
        assert wire.adapter.reader == READER
        return wire

    yield make
    for ring in rings:
        ring.close()


def numbered(count: int, size: int = 46) -> list[bytes]:
    return [HEADER + number.to_bytes(4) + bytes(size - 4) for number in range(count)]


def test_there_is_a_ring_in_the_compiled_core_only(wire: Wire) -> None:
    if not COMPILED:
        with pytest.raises(OSError, match="not compiled"):
            Uring(wire.near.fileno(), wire.pool)
        assert READER == "read"


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 31, 32, 33, 63, 64, 65, 100, 255])
def test_every_number_of_frames_is_read_in_order(ringed: Callable[..., Wire], count: int) -> None:
    wire, driver = ringed(), Reader()
    wire.open(driver)
    frames = numbered(count)
    for frame in frames:
        wire.far.send(frame)
    assert wire.adapter.receive_batch(256) == count
    assert wire.adapter.receive_batch(256) == 0
    assert driver.frames == frames
    assert wire.pool.usage == 0


def test_frames_of_every_length_come_whole_and_in_the_order_of_sending(ringed: Callable[..., Wire]) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    wire, driver = ringed(), Reader()
    wire.open(driver)
    sent = []
    for _ in range(40):
        frames = [HEADER + dice.randbytes(dice.randrange(1500)) for _ in range(dice.randrange(120))]
        for frame in frames:
            wire.far.send(frame)
        sent += frames
        while wire.adapter.receive_batch(dice.randrange(1, 257)):
            pass
    assert driver.frames == sent


def test_order_is_kept_while_frames_come_during_a_batch(ringed: Callable[..., Wire]) -> None:
    # another process, so that a frame can come between a read that finds nothing and the next one of the same call
    wire, driver, count = ringed(), Orderly(), 60_000
    wire.open(driver)
    child = os.fork()
    if child == 0:
        wire.far.setblocking(True)
        for number in range(count):
            wire.far.send(HEADER + number.to_bytes(4) + bytes(42))
            if number % 8 == 0:
                # the reader comes to the end of the queue again and again
                sum(range(600))
        os._exit(0)
    end = time.monotonic() + 60
    while driver.expected < count and time.monotonic() < end:
        wire.adapter.receive_batch(64)
    assert os.waitpid(child, 0)[1] == 0
    assert (driver.expected, driver.wrong) == (count, 0)


@pytest.mark.parametrize("level", range(5))
def test_packets_run_out_as_with_read_at_every_level(ringed: Callable[..., Wire], level: int) -> None:
    wire, driver = ringed(packets=40, low_water=10), Reader(keep=40)
    wire.adapter.verifier_level = level
    binding = wire.open(driver)
    for frame in numbered(200):
        wire.far.send(frame)
    while wire.adapter.receive_batch(64):
        assert list(broken_sums(wire.adapter.counters())) == []
    values = wire.adapter.counters()
    assert values["rx_frames"] == 200
    assert values["rx_delivered"] == 200
    assert values["rx_resources"] == 200 - len(driver.kept)
    assert [bytes(packet.data) for packet in driver.kept] == driver.frames[: len(driver.kept)]
    binding.return_packets(driver.kept)
    driver.kept.clear()
    # that it holds nearly all of them is told of
    assert {fields["error"].rule.id for _, fields in wire.reports} <= {"26"}
    wire.reports.clear()


def test_frames_are_counted_as_dropped_when_there_is_no_packet(ringed: Callable[..., Wire]) -> None:
    wire, driver = ringed(packets=8), Reader(keep=8)
    binding = wire.open(driver)
    binding.quota = 0
    for frame in numbered(50):
        wire.far.send(frame)
    while wire.adapter.receive_batch(64):
        pass
    values = wire.adapter.counters()
    assert (values["rx_frames"], values["rx_dropped_no_packet"]) == (50, 50 - values["rx_delivered"])
    assert list(broken_sums(values)) == []
    binding.return_packets(driver.kept)
    driver.kept.clear()
    # that it holds nearly all of them is told of
    assert {fields["error"].rule.id for _, fields in wire.reports} <= {"26"}
    wire.reports.clear()


def test_a_closed_ring_leaves_reading_to_read(ringed: Callable[..., Wire]) -> None:
    wire, driver = ringed(), Reader()
    wire.open(driver)
    if READER == "io_uring":
        ring = Uring(wire.near.fileno(), wire.pool)
        wire.adapter.attach(wire.near.fileno(), ring=ring)
        assert (wire.adapter.reader, ring.broken) == ("io_uring", 0)
        ring.close()
        ring.close()
        assert ring.broken == errno.EBADF
    else:
        wire.adapter.attach(wire.near.fileno())
    assert wire.adapter.reader == "read"
    for frame in numbered(100):
        wire.far.send(frame)
    assert wire.adapter.receive_batch(100) == 100
    assert driver.frames == numbered(100)


def test_a_ring_reads_many_frames_in_a_call(wire: Wire) -> None:
    if READER == "read":
        return
    ring = Uring(wire.near.fileno(), wire.pool)
    wire.adapter.attach(wire.near.fileno(), ring=ring)
    wire.open(Reader())
    for frame in numbered(60):
        wire.far.send(frame)
    assert wire.adapter.receive_batch(60) == 60
    # 4 by read, then 4, 8, 16 and the last 28
    assert (ring.calls, ring.reads) == (4, 56)
    # a quiet cable is not asked through the ring
    for frame in numbered(3):
        wire.give(frame)
    assert ring.calls == 4
    ring.close()


def test_the_memory_of_a_pool_may_go_before_its_ring(wire: Wire) -> None:
    if READER == "read":
        return
    pool = PacketPool(64, 1600, name="short-lived")
    ring = Uring(wire.near.fileno(), pool)
    pool.close()
    del pool
    ring.close()
    with pytest.raises(ValueError, match="no memory"):
        Uring(wire.near.fileno(), ring.pool)


def test_a_forked_child_closes_its_ring_and_the_parents_goes_on(ringed: Callable[..., Wire]) -> None:
    if READER == "read":
        return
    wire, driver = ringed(), Reader()
    wire.open(driver)
    ring = Uring(wire.near.fileno(), wire.pool)
    wire.adapter.attach(wire.near.fileno(), ring=ring)
    child = os.fork()
    if child == 0:
        ring.close(shared=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for frame in numbered(100):
        wire.far.send(frame)
    assert wire.adapter.receive_batch(100) == 100
    assert driver.frames == numbered(100)
    assert (ring.broken, ring.reads) == (0, 96)
    ring.close()


def test_a_ring_of_something_else_is_refused(wire: Wire, make_wire: Callable[..., Wire]) -> None:
    if READER == "read":
        return
    other = make_wire()
    ring = Uring(other.near.fileno(), wire.pool)
    with pytest.raises(ValueError, match="is attached to test0"):
        wire.adapter.attach(wire.near.fileno(), ring=ring)
    ring.close()
    ring = Uring(wire.near.fileno(), other.pool)
    with pytest.raises(ValueError, match="is attached to test0"):
        wire.adapter.attach(wire.near.fileno(), ring=ring)
    ring.close()
    assert wire.adapter.reader == "read"


def test_a_closed_descriptor_shows_as_with_read(wire: Wire) -> None:
    fd = os.dup(wire.near.fileno())
    ring = Uring(fd, wire.pool) if READER == "io_uring" else None
    wire.adapter.attach(fd, ring=ring)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        wire.adapter.receive_batch()
    if ring is not None:
        ring.close()


def test_what_is_measured_is_positive() -> None:
    if READER == "io_uring":
        assert min(race()) > 0


def test_read_is_chosen_if_asked_for_and_where_there_is_nothing_else(wire: Wire) -> None:
    assert choose_reader("read", wire.near.fileno(), wire.pool) == (None, "configured")
    ring, why = choose_reader("auto", wire.near.fileno(), wire.pool)
    if READER == "read":
        assert ring is None
        assert why.startswith("no io_uring: ")
    else:
        assert why.startswith("a read costs ")
    if ring is not None:
        ring.close()
