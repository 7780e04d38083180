"""
The drivers that ship, each called by two threads at once, as with two queues: nothing is counted twice or not at all, nothing is handed on
before its time, and every frame is answered.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.wire import US, Bench, Driver, frame

from protocol.arp import Arp
from protocol.capture import Capture
from protocol.classify import Classify
from protocol.hold import Hold
from protocol.icmp_echo import IcmpEcho, checksum
from protocol.mux import Mux
from protocol.passthru import Passthru
from protocol.sink import Sink
from protocol.udp import Udp, make
from vnic import Packet, ProtocolDriver, Status
from vnic.tdi import Client

FRAMES = 2000
BURST = 50


class Two(Bench):
    """A bench with two queues, both read at once, and as much sent into each."""

    def __init__(self, low_water: int = 0) -> None:
        super().__init__(packets=256, low_water=low_water)
        self.other_far, self.other_near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.other_far, self.other_near):
            end.setblocking(False)
        self.adapter.attach_queue(self.other_near.fileno())
        self.answers: list[list[bytes]] = [[], []]

    def __exit__(self, *how: object) -> None:
        try:
            super().__exit__(*how)
        finally:
            self.other_far.close()
            self.other_near.close()

    def exchange(self, of_queue: Callable[[int, int], bytes]) -> None:
        """Give each queue its frames, and take what comes back, on a thread for each."""
        failed: list[BaseException] = []

        def run(queue: int, far: socket.socket) -> None:
            try:
                for start in range(0, FRAMES, BURST):
                    for number in range(start, start + BURST):
                        far.send(of_queue(queue, number))
                        if number % 5 == 4:
                            self.adapter.receive_batch(64, queue)
                    while self.adapter.receive_batch(64, queue):
                        pass
                    while self.adapter.sends_waiting(queue):
                        self.collect(queue, far)
                        self.adapter.flush(queue)
                    self.collect(queue, far)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=each) for each in enumerate((self.far, self.other_far))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert failed == []

    def collect(self, queue: int, far: socket.socket) -> None:
        """Take what has been sent into a queue."""
        try:
            while True:
                self.answers[queue].append(far.recv(70_000))
        except BlockingIOError:
            pass


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Let threads take turns far more often than they would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def plain(queue: int, number: int) -> bytes:
    return frame(2 * number + queue)


class Slow(dict[int | str, int]):
    """Counts that take long enough to look up for another thread to come between."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up."""
        found = super().get(key, default)
        Path("/").stat()
        return found


def test_sink_counts_every_frame() -> None:
    with Two() as bench:
        sink = Sink()
        sink.counts = Slow()
        bench.bind(sink)
        bench.exchange(plain)
        assert (sink.frames, sink.counts) == (2 * FRAMES, {0x0800: 2 * FRAMES})


def test_classify_counts_every_frame() -> None:
    with Two() as bench:
        classify = Classify(numpy=False, together=700)
        bench.bind(classify)
        bench.exchange(plain)
        assert (classify.counts().frames, classify.counts().ethertypes) == (2 * FRAMES, {0x0800: 2 * FRAMES})


def test_capture_writes_every_frame_and_each_queue_in_order(tmp_path: Path) -> None:
    with Two() as bench:
        capture = Capture(file=str(tmp_path / "x.pcapng"))
        binding = bench.bind(capture)
        bench.exchange(plain)
        assert (capture.frames, capture.lost) == (2 * FRAMES, 0)
        bench.adapter.close(binding)
        data = (tmp_path / "x.pcapng").read_bytes()
    at, marks = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 6:
            marks.append(int.from_bytes(data[at + 28 + 56 : at + 28 + 60]))
        at += size
    assert sorted(marks) == list(range(2 * FRAMES))
    for queue in (0, 1):
        own = [mark for mark in marks if mark % 2 == queue]
        assert own == sorted(own)


@pytest.mark.parametrize("hold_ms", [0, 1])
def test_hold_returns_no_packet_before_its_batch_is_over(hold_ms: float) -> None:
    with Two() as bench:
        hold = Hold(hold_ms=hold_ms, count=100, copies=2)
        bench.bind(hold)
        bench.exchange(plain)


def test_hold_hands_on_the_packets_of_the_batch_that_is_over_and_no_others() -> None:
    inside, go = threading.Event(), threading.Event()

    def wait(packet: Packet) -> int:
        if packet.data[-1] == 1:
            inside.set()
            assert go.wait(20)
        return 0

    with Two() as bench:
        hold = Hold(hold_ms=600_000)
        bench.bind(hold, "hold")
        bench.bind(Driver(wait), "wait")
        bench.other_far.send(frame(1))
        reader = threading.Thread(target=bench.adapter.receive_batch, args=(64, 1))
        reader.start()
        assert inside.wait(20)
        bench.give(frame(2))
        assert [packet.data[-1] for _, _, packet in hold.waiting] == [2]
        go.set()
        reader.join(20)
        assert sorted(packet.data[-1] for _, _, packet in hold.waiting) == [1, 2]


def ask_arp(queue: int, number: int) -> bytes:
    sender = bytes([2, 0, 0, 1, queue, number & 255])
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, sender, bytes([10, 0, 1, 1]), bytes(6), bytes([10, 0, 0, 2]))
    return b"\xff" * 6 + sender + b"\x08\x06" + body


def test_arp_answers_each_queue_what_it_was_asked_there() -> None:
    with Two() as bench:
        arp = Arp(address="10.0.0.2")
        bench.bind(arp)
        bench.exchange(ask_arp)
        assert (arp.answered, arp.dropped) == (2 * FRAMES, 0)
        for queue in (0, 1):
            assert [answer[:6] for answer in bench.answers[queue]] == [ask_arp(queue, number)[6:12] for number in range(FRAMES)]


def ask_echo(queue: int, number: int) -> bytes:
    message = struct.pack("!BBHHH", 8, 0, 0, queue, number) + bytes(20)
    message = message[:2] + checksum(message).to_bytes(2) + message[4:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    header = header[:10] + checksum(header).to_bytes(2) + header[12:]
    return US + bytes.fromhex("020000000001") + b"\x08\x00" + header + message


def test_icmp_echo_answers_each_queue_in_order() -> None:
    with Two() as bench:
        echo = IcmpEcho(address="10.0.0.2/24")
        bench.bind(echo)
        bench.exchange(ask_echo)
        assert (echo.answered, echo.dropped) == (2 * FRAMES, 0)
        for queue in (0, 1):
            numbers = [struct.unpack_from("!HH", answer, 38) for answer in bench.answers[queue]]
            assert numbers == [(queue, number) for number in range(FRAMES)]


class Remember(Client):
    """Note every datagram, and on which thread."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes]] = []

    def receive(self, data: bytes, source: object) -> Status:
        """Note it."""
        self.seen.append((threading.get_ident(), bytes(data)))
        return Status.SUCCESS


@pytest.mark.parametrize("low", [False, True])
def test_udp_delivers_every_datagram_in_order_on_the_thread_that_read_it(low: bool) -> None:
    def datagram(queue: int, number: int) -> bytes:
        made = make(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 5000 + queue, 9, struct.pack("!HI", queue, number))
        return US + bytes.fromhex("020000000001") + b"\x08\x00" + made

    # with packets low, datagrams are copied, and delivered when the batch is over
    with Two(256 if low else 0) as bench:
        udp = Udp(address="10.0.0.2/24")
        client = Remember()
        udp.open(9, client)
        bench.bind(udp)
        bench.exchange(datagram)
        assert bench.adapter.counters()["rx_resources"] == (2 * FRAMES if low else 0)
        counters = udp.counters()
        assert counters["datagrams"] == counters["in_delivered"] == 2 * FRAMES
        for ident in {ident for ident, _ in client.seen}:
            own = [struct.unpack("!HI", data) for thread, data in client.seen if thread == ident]
            assert own == sorted(own)
            assert len({queue for queue, _ in own}) == 1


def test_drivers_above_a_filter_are_called_so_too() -> None:
    with Two() as bench:
        passthru, sink = Passthru(), Sink()
        bench.bind(passthru, "passthru")
        passthru.virtual.adapter.open(sink, "sink")
        bench.exchange(plain)
        assert sink.frames == 2 * FRAMES
        close_above(passthru)


def test_mux_sorts_the_frames_of_both_queues() -> None:
    def tagged(queue: int, number: int) -> bytes:
        data = plain(queue, number)
        vlan = (7, 9, 11)[number % 3]
        return data[:12] + b"\x81\x00" + vlan.to_bytes(2) + data[12:] if number % 4 else data

    with Two() as bench:
        mux = Mux(vlans="7,9")
        bench.bind(mux, "mux")
        sinks = {number: Sink() for number in mux.vlans}
        for number, sink in sinks.items():
            mux.vlans[number].adapter.open(sink, f"sink{number}")
        bench.exchange(tagged)
        expected = [tagged(0, number)[12:16] for number in range(FRAMES)]
        assert sinks[7].frames == 2 * expected.count(b"\x81\x00\x00\x07")
        assert sinks[9].frames == 2 * expected.count(b"\x81\x00\x00\x09")
        assert mux.dropped_unknown == 2 * expected.count(b"\x81\x00\x00\x0b")
        assert mux.dropped_untagged == 2 * sum(tag[:2] == b"\x08\x00" for tag in expected)


def close_above(passthru: Passthru) -> None:
    for binding in passthru.virtual.adapter.bindings:
        assert passthru.virtual.adapter.close(binding) is Status.SUCCESS


def test_every_driver_that_ships_is_here() -> None:
    from miniport.drivers import BUNDLED, FILTERS

    here: list[type[ProtocolDriver]] = [Arp, Capture, Classify, Hold, IcmpEcho, Mux, Passthru, Sink, Udp]
    assert len(here) == len(BUNDLED) + len(FILTERS)
