"""
Sends in several pieces, and several sends in one loop: the bytes are those of the pieces, and what waits, ends or is shown is in order.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from unit.wire import OTHER, PEER, US, Bench, Driver, Sender, frame, violation

from vnic import DONT_LOOPBACK, LOOPBACK_ONLY, BufferPool, MiniportDriver, Packet, PacketFilter, PacketPool, PacketState, Status
from vnic.verifier.levels import set_level

MTU = 20_000
HEADER = US + PEER + b"\x88\xb5"

CHAINS: dict[str, list[bytes]] = {
    "a header and a payload": [HEADER, b"payload" * 8],
    "a header in three pieces": [HEADER[:3], HEADER[3:12], HEADER[12:], b"payload"],
    "pieces of nothing": [b"", HEADER, b"", b"", b"payload", b""],
    "as many pieces as go in one write": [HEADER, *(bytes([number]) for number in range(15))],
    "one piece more": [HEADER, *(bytes([number]) for number in range(16))],
    "a hundred pieces": [HEADER, *(bytes([number] * 7) for number in range(99))],
    "8 KiB": [HEADER, bytes(4000), bytes(8192 - 4014)],
    "8 KiB and a byte": [HEADER, b"\x01" * 4000, b"\x02" * (8193 - 4014)],
    "all that an MTU of 20,000 lets through": [HEADER, b"\x03" * 10_000, b"\x04" * 10_000],
}


@contextmanager
def long_bench(**shape: object) -> Iterator[Bench]:
    """A bench whose cable carries long frames."""
    with Bench(mtu=MTU, **shape) as bench:
        yield bench


class Chains:
    """Packets of a driver's own, made of pieces."""

    def __init__(self) -> None:
        self.pool = PacketPool(256, 0, name="chains")
        self.buffers = BufferPool(4096, "pieces")

    def make(self, pieces: Sequence[bytes]) -> Packet:
        """Chain pieces to a packet."""
        packet = self.pool.allocate()
        assert packet is not None
        for piece in pieces:
            buffer = self.buffers.allocate(bytearray(piece))
            assert buffer is not None
            packet.chain_back(buffer)
        return packet

    def free(self, packet: Packet) -> None:
        """Take a packet apart."""
        while (buffer := packet.unchain_front()) is not None:
            self.buffers.free(buffer)
        self.pool.free(packet)

    def close(self) -> None:
        """Everything must be back."""
        self.pool.close()
        self.buffers.close()


@pytest.fixture
def chains() -> Iterator[Chains]:
    found = Chains()
    yield found
    found.close()


class Chainer(Driver):
    """Remember completions, and take the packets apart."""

    def __init__(self, chains: Chains) -> None:
        super().__init__()
        self.chains = chains
        self.completed: list[tuple[bytes, Status]] = []

    def send_complete(self, packet: Packet, status: Status) -> None:
        """A packet comes back."""
        self.completed.append((bytes(packet.data), status))
        self.chains.free(packet)


class Watcher(Driver):
    """See what others send."""

    packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL


# pieces


@pytest.mark.parametrize("pieces", CHAINS.values(), ids=CHAINS)
def test_the_pieces_of_a_chain_are_one_frame_on_the_wire(chains: Chains, pieces: list[bytes]) -> None:
    with long_bench() as bench:
        driver = Chainer(chains)
        binding = bench.bind(driver)
        packet = chains.make(pieces)
        assert binding.send(packet) is Status.SUCCESS
        assert bytes(packet.data) == b"".join(pieces)
        binding.send_packets([packet])
        assert driver.completed == [(b"".join(pieces), Status.SUCCESS)]
        assert bench.taken() == [b"".join(pieces)] * 2
        values = bench.adapter.counters()
        assert values["tx_bytes"] == 2 * len(b"".join(pieces))


def test_a_chain_that_is_changed_between_two_sends_goes_out_as_it_is_then(chains: Chains) -> None:
    with long_bench() as bench:
        binding = bench.bind(Chainer(chains))
        packet = chains.make([HEADER, b"first"])
        looked = packet.data
        assert binding.send(packet) is Status.SUCCESS
        packet.buffers[1].memory[:] = b"other"
        assert bytes(looked) == HEADER + b"first", "a view shows what it showed"
        assert binding.send(packet) is Status.SUCCESS
        packet.buffers[1].adjust(2)
        assert binding.send(packet) is Status.SUCCESS
        looked.release()
        chains.free(packet)
        assert bench.taken() == [HEADER + b"first", HEADER + b"other", HEADER + b"other"[:2]]


@pytest.mark.parametrize("long", [False, True])
def test_whoever_watches_sees_a_chain_whole_and_the_wire_does_too(chains: Chains, long: bool) -> None:
    pieces = [HEADER, b"a" * 9000 * long + b"b", b"c"]
    with long_bench() as bench:
        watcher = Watcher(look=lambda packet: (packet.ethertype, packet.length, len(packet.buffers)))
        bench.bind(watcher, "watcher")
        binding = bench.bind(Chainer(chains), "sender")
        binding.send_packets([chains.make(pieces)])
        assert watcher.frames == bench.taken() == [b"".join(pieces)]
        assert watcher.seen == [(0x88B5, len(b"".join(pieces)), 3)]


def test_the_destination_of_a_chain_is_in_its_first_bytes_however_they_lie(chains: Chains) -> None:
    with long_bench() as bench:
        others = Driver()
        others.packet_filter = PacketFilter.DIRECTED
        bench.bind(others, "others")
        binding = bench.bind(Chainer(chains), "sender")
        binding.send_packets([chains.make([to[:4], to[4:] + PEER, b"\x88\xb5", b"x"]) for to in (US, OTHER)])
        assert others.frames == [HEADER + b"x"]
        assert bench.taken() == [HEADER + b"x", OTHER + PEER + b"\x88\xb5x"]


@pytest.mark.parametrize("long", [False, True])
def test_a_chain_that_waits_goes_out_in_its_pieces_later(chains: Chains, long: bool) -> None:
    pieces = [HEADER, b"a" * 9000 * long + b"b", b"c"]
    with long_bench() as bench:
        driver = Chainer(chains)
        binding = bench.bind(driver, "chainer")
        sender = Sender()
        bench.fill_cable(bench.bind(sender, "sender"))
        packets = [chains.make(pieces), chains.make([HEADER, b"second"])]
        assert binding.send(packets[0]) is Status.PENDING
        binding.send_packets(packets[1:])
        assert violation(packets[0].unchain_back) == "56"
        assert packets[1].data.readonly
        assert bytes(packets[1].data) == HEADER + b"second"
        bench.taken()
        assert bench.adapter.flush() == 0
        assert bench.taken()[-2:] == [b"".join(pieces), HEADER + b"second"]
        assert driver.completed == [(b"".join(pieces), Status.SUCCESS), (HEADER + b"second", Status.SUCCESS)]


def test_a_miniport_is_shown_a_chain_whole(chains: Chains) -> None:
    class Below(MiniportDriver):
        def send(self, packet: Packet) -> Status:
            seen.append((bytes(packet.data), [bytes(buffer.data) for buffer in packet.buffers]))
            return Status.SUCCESS

    seen: list[tuple[bytes, list[bytes]]] = []
    for serialized in (False, True):
        with Bench(mtu=MTU, miniport=Below(), serialized=serialized) as bench:
            binding = bench.bind(Chainer(chains))
            binding.send_packets([chains.make([HEADER, b"one"]), chains.make([HEADER, b"two"])])
    assert seen == [(HEADER + text, [HEADER, text]) for text in (b"one", b"two")] * 2


@pytest.mark.parametrize(("length", "status"), [(13, Status.INVALID_PACKET), (14, Status.SUCCESS), (MTU + 18, Status.SUCCESS)])
def test_the_length_of_a_chain_is_checked_like_any_other(chains: Chains, length: int, status: Status) -> None:
    with long_bench() as bench:
        binding = bench.bind(Chainer(chains))
        data = (HEADER + bytes(MTU + 18))[:length]
        packets = [chains.make([data[:7], data[7:]]) for _ in range(2)]
        assert binding.send(packets[0]) is status
        binding.send_packets(packets[1:])
        chains.free(packets[0])
        assert len(bench.taken()) == 2 * (status is Status.SUCCESS)
        bench.expect(*[("59", "a")] * (2 * (status is not Status.SUCCESS)))


def test_a_shared_chain_is_written_although_its_owner_takes_it_apart(chains: Chains) -> None:
    """Against the rules; the bytes may be any, but they must be there."""
    with long_bench() as bench:
        binding = bench.bind(Driver())
        sender = Sender()
        bench.fill_cable(bench.bind(sender, "sender"))
        own, below = chains.make([HEADER, b"a" * 9000]), chains.make([])
        below.share_chain(own)
        assert binding.send(below) is Status.PENDING
        chains.free(own)
        gc.collect()
        bench.taken()
        assert bench.adapter.flush() == 0
        assert bench.taken()[-1][:14] == HEADER
        assert below.state is PacketState.FREE


def test_at_level_3_a_piece_that_changes_while_it_waits_is_rule_56(chains: Chains) -> None:
    with long_bench() as bench:
        bench.adapter.verifier_level = 3
        chains.pool.verifier_level = 3
        driver = Chainer(chains)
        binding = bench.bind(driver)
        sender = bench.bind(Sender(), "sender")
        sender.packet_filter = PacketFilter.NONE
        bench.fill_cable(sender)
        memory = bytearray(b"payload")
        packet = chains.make([HEADER])
        rest = chains.buffers.allocate(memory)
        assert rest is not None
        packet.chain_back(rest)
        binding.send_packets([packet])
        memory[0] ^= 1
        bench.taken()
        bench.adapter.flush()
        bench.expect(("56", "a"))


# many in one loop


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("pieces", [1, 2, 16, 17])
def test_the_packets_of_an_array_go_out_in_order_however_many_there_are(chains: Chains, count: int, pieces: int) -> None:
    with long_bench() as bench:
        driver = Chainer(chains)
        binding = bench.bind(driver)
        sent = []
        received: list[bytes] = []
        done = threading.Event()

        def read() -> None:
            # the cable has room for a few only
            while not done.is_set() or bench.adapter.send_blocked:
                received.extend(bench.taken())
                bench.adapter.flush()

        reader = threading.Thread(target=read)
        reader.start()
        packets = []
        for number in range(count):
            parts = [HEADER, *(bytes([number % 256, part]) for part in range(pieces - 1))]
            sent.append(b"".join(parts))
            packets.append(chains.make(parts))
        binding.send_packets(packets)
        done.set()
        reader.join(60)
        received += bench.taken()
        assert received == sent
        assert driver.completed == [(data, Status.SUCCESS) for data in sent]
        assert (binding.sends_pending, bench.adapter.counters()["tx_pending"]) == (0, 0)


def room(bench: Bench, frames: int) -> None:
    """Fill the cable so that it has room for so many more frames."""
    filler = bench.bind(Sender(), "filler")
    bench.fill_cable(filler)
    for _ in range(frames + 1):
        bench.far.recv(70_000)
    assert bench.adapter.flush() == 0


def test_what_finds_no_room_in_mid_array_waits_in_order_and_whoever_polls_is_told_once() -> None:
    with Bench() as bench:
        told: list[int] = []
        bench.adapter.attach(bench.near.fileno(), lambda: told.append(1))
        driver = Sender()
        binding = bench.bind(driver)
        room(bench, 3)
        told.clear()
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(8)])
        assert [data for data, _ in driver.completed] == [frame(mark) for mark in range(3)]
        assert (binding.sends_pending, told) == (5, [1])
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [data for data, _ in driver.completed] == [frame(mark) for mark in range(8)]
        assert bench.taken() == [frame(mark) for mark in range(3, 8)]


def test_a_short_frame_does_not_overtake_a_long_one_that_found_no_room(chains: Chains) -> None:
    frames = [HEADER + bytes([mark]) * (3000 if mark < 17 else 50) for mark in range(20)]
    with long_bench() as bench:
        # a pipe has 16 pages: the last long frame finds none, a short one fits behind the one before
        read, write = os.pipe2(os.O_NONBLOCK)
        bench.adapter.attach(write)
        driver = Chainer(chains)
        binding = bench.bind(driver)
        binding.send_packets([chains.make([data[:14], data[14:]]) for data in frames])
        assert binding.sends_pending == 4
        received = os.read(read, 100_000)
        assert bench.adapter.flush() == 0
        assert received + os.read(read, 100_000) == b"".join(frames)
        assert driver.completed == [(data, Status.SUCCESS) for data in frames]
        bench.adapter.attach(-1)
        os.close(read)
        os.close(write)


def test_behind_a_full_queue_the_rest_of_an_array_ends_with_resources() -> None:
    with Bench(send_queue=4) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        room(bench, 2)
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(8)])
        assert driver.completed == [(frame(mark), Status.SUCCESS if mark < 2 else Status.RESOURCES) for mark in (0, 1, 6, 7)]
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [data for data, _ in driver.completed[4:]] == [frame(mark) for mark in range(2, 6)]


def test_an_array_behind_a_waiting_send_waits_although_there_is_room() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        sent = bench.fill_cable(binding)
        first = bench.taken()
        binding.send_packets([bench.owned(frame(sent + 1), bench.own), bench.owned(frame(sent + 2), bench.own)])
        assert binding.sends_pending == 3
        bench.adapter.flush()
        assert first + bench.taken() == [frame(mark) for mark in range(sent + 3)]


def test_every_packet_of_an_array_is_looped_back_and_then_completed_in_order() -> None:
    log: list[tuple[str, int]] = []

    class Logs(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            log.append((status.name, packet.data[-1]))
            packet.pool.free(packet)

    class Sees(Watcher):
        def receive_packet(self, packet: Packet) -> int:
            log.append(("seen", packet.data[-1]))
            return 0

    with Bench() as bench:
        bench.bind(Sees(), "watcher")
        binding = bench.bind(Logs(), "sender")
        packets = [bench.owned(frame(mark), bench.own) for mark in range(4)]
        packets[1].flags = LOOPBACK_ONLY
        packets[2].flags = DONT_LOOPBACK
        packets.insert(2, bench.owned(frame(9)[:13], bench.own))
        binding.send_packets(packets)
        assert log == [
            ("seen", 0),
            ("SUCCESS", 0),
            ("seen", 1),
            ("SUCCESS", 1),
            ("INVALID_PACKET", frame(9)[12]),
            ("SUCCESS", 2),
            ("seen", 3),
            ("SUCCESS", 3),
        ]
        assert bench.taken() == [frame(0), frame(2), frame(3)]
        bench.expect(("59", "sender"))


def test_nobody_completes_a_packet_of_an_array_while_those_before_it_are_shown() -> None:
    class Completes(Watcher):
        def receive_packet(self, packet: Packet) -> int:
            if packet is packets[0]:
                assert violation(bench.adapter.send_complete, packets[1], Status.SUCCESS) == "50"
            return 0

    with Bench() as bench:
        bench.bind(Completes(), "watcher")
        driver = Sender()
        binding = bench.bind(driver, "sender")
        packets = [bench.owned(frame(mark), bench.own) for mark in range(2)]
        binding.send_packets(packets)
        assert driver.completed == [(frame(0), Status.SUCCESS), (frame(1), Status.SUCCESS)]
        bench.expect(("50", "miniport"))
        bench.taken()


def test_a_binding_that_is_closed_in_the_first_completion_is_there_until_the_last() -> None:
    class Ends(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            assert not self.binding.closed
            if not self.completed:
                assert bench.adapter.close(self.binding) is Status.PENDING
            super().send_complete(packet, status)

    with Bench() as bench:
        driver = Ends()
        binding = bench.bind(driver)
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        assert driver.completed == [(frame(mark), Status.SUCCESS) for mark in range(3)]
        assert (binding.closed, binding.sends_pending) == (True, 0)
        bench.expect(("69", "a"))
        bench.taken()


def test_a_packet_that_stands_twice_in_an_array_goes_out_once() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert violation(binding.send_packets, [packet, packet]) == "55"
        assert driver.completed == [(frame(1), Status.SUCCESS)]
        assert bench.taken() == [frame(1)]
        bench.expect(("55", "a"))


def test_a_descriptor_that_is_gone_ends_every_send_of_an_array() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        read, write = os.pipe()
        os.close(read)
        os.close(write)
        for fd in (-1, read):
            bench.adapter.attach(fd)
            binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(2)])
        assert [status for _, status in driver.completed] == [Status.NO_CABLE] * 2 + [Status.FAILURE] * 2


def test_an_array_is_written_while_other_threads_run_and_each_ones_frames_keep_their_order() -> None:
    threads, arrays, each = 3, 10, 20
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        done = threading.Event()
        received: list[bytes] = []

        def send(number: int) -> None:
            for array in range(arrays):
                packets: list[Packet] = []
                while len(packets) < each:
                    packet = bench.own.allocate()
                    if packet is not None:
                        packet.write(frame(number << 16 | array * each + len(packets)))
                        packets.append(packet)
                binding.send_packets(packets)

        def receive() -> None:
            while not done.is_set() or bench.adapter.send_blocked:
                received.extend(bench.taken())
                bench.adapter.flush()
            received.extend(bench.taken())

        reader = threading.Thread(target=receive)
        senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for thread in (reader, *senders):
            thread.start()
        for thread in senders:
            thread.join(60)
        done.set()
        reader.join(60)
        marks = [int.from_bytes(data[-4:]) for data in received]
        assert len(marks) == threads * arrays * each
        for number in range(threads):
            assert [mark & 0xFFFF for mark in marks if mark >> 16 == number] == list(range(arrays * each))
        assert {status for _, status in driver.completed} == {Status.SUCCESS}
        assert (binding.sends_pending, bench.adapter.counters()["tx_pending"]) == (0, 0)


@pytest.mark.parametrize("level", range(5))
def test_arrays_go_out_at_every_verifier_level(chains: Chains, level: int) -> None:
    set_level(level)
    try:
        with long_bench() as bench:
            driver = Chainer(chains)
            binding = bench.bind(driver)
            packets = [chains.make([HEADER, bytes([mark])]) for mark in range(70)]
            for start in range(0, 70, 5):
                binding.send_packets(packets[start : start + 5])
                assert bench.taken() == [HEADER + bytes([mark]) for mark in range(start, start + 5)]
            assert [status for _, status in driver.completed] == [Status.SUCCESS] * 70
            assert {packet.state for packet in packets} == {PacketState.FREE}
    finally:
        set_level(1)
