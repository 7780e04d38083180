"""
Whatever a frame is made of, it is the same frame on the wire: whole, in pieces, alone, in an array, at once, after waiting, as a reply.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.wire import PEER, US, Bench, Driver

from vnic import BufferPool, Packet, PacketFilter, PacketPool, Replies, Status

MTU = 20_000
SHORTEST, LONGEST = 14, MTU + 18

lengths = st.one_of(st.integers(SHORTEST, 100), st.integers(8180, 8200), st.integers(SHORTEST, LONGEST))


def cut(length: int, cuts: int, seed: int) -> list[bytes]:
    """Make a frame, cut into pieces anywhere, some of them empty."""
    rng = random.Random(seed)
    data = rng.randbytes(length)
    return [data[start:end] for start, end in pairwise([0, *sorted(rng.randint(0, length) for _ in range(cuts)), length])]


chains = st.builds(cut, lengths, st.one_of(st.integers(0, 3), st.integers(0, 40)), st.integers(0, 1 << 32))


class Chainer(Driver):
    """Send chains, and take them apart when they come back."""

    packet_filter = PacketFilter.NONE

    def __init__(self) -> None:
        super().__init__()
        self.pool = PacketPool(256, 0, name="chains")
        self.buffers = BufferPool(4096, "pieces")
        self.statuses: list[Status] = []

    def make(self, pieces: list[bytes]) -> Packet:
        """Chain pieces to a packet."""
        packet: Any = self.pool.allocate()
        for piece in pieces:
            packet.chain_back(self.buffers.allocate(piece))
        return packet

    def send_complete(self, packet: Packet, status: Status) -> None:
        """A packet comes back."""
        self.statuses.append(status)
        while (buffer := packet.unchain_front()) is not None:
            self.buffers.free(buffer)
        self.pool.free(packet)


class Watcher(Driver):
    """See what others send."""

    packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL


def sent(bench: Bench, driver: Chainer, packets: list[Packet], together: bool) -> list[bytes]:
    """Send, and take what comes off the cable, which has room for a few frames only."""
    if together:
        driver.binding.send_packets(packets)
    else:
        for packet in packets:
            status = driver.binding.send(packet)
            if status is not Status.PENDING:
                driver.send_complete(packet, status)
    found = bench.taken()
    while bench.adapter.send_blocked:
        bench.adapter.flush()
        found += bench.taken()
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(frames=st.lists(chains, min_size=1, max_size=70), together=st.booleans(), watched=st.booleans())
def test_a_frame_in_pieces_is_the_frame(frames: list[list[bytes]], together: bool, watched: bool) -> None:
    with Bench(mtu=MTU) as bench:
        driver, watcher = Chainer(), Watcher()
        bench.bind(driver, "chainer")
        if watched:
            # somebody looks, so that every frame is gathered
            bench.bind(watcher, "watcher")
        wanted = [b"".join(pieces) for pieces in frames]
        assert sent(bench, driver, [driver.make(pieces) for pieces in frames], together) == wanted
        assert watcher.frames == wanted * watched
        assert driver.statuses == [Status.SUCCESS] * len(frames)
        assert (driver.pool.usage, driver.buffers.usage) == (0, 0)


class Replier(Driver):
    """Reply to every frame of a batch at its end."""

    packet_filter = PacketFilter.DIRECTED

    def __init__(self, headers: list[bytes], offset: int) -> None:
        super().__init__(1)
        self.headers = headers
        self.offset = offset

    def bind_adapter(self) -> None:
        """Make the replies."""
        self.replies = Replies(self.binding, 8, header_size=100)

    def receive_complete(self) -> None:
        """A batch is over."""
        kept = list(self.kept)
        self.kept.clear()
        self.replies.send(kept, self.headers[: len(kept)] or None, self.offset)

    def unbind_adapter(self) -> Status:
        """Give everything back."""
        return self.replies.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(
    payloads=st.lists(st.one_of(st.binary(max_size=80), st.binary(min_size=8100, max_size=8300)), min_size=1, max_size=6),
    headers=st.one_of(st.none(), st.lists(st.binary(min_size=14, max_size=100), min_size=6, max_size=6)),
    offset=st.integers(0, 120),
)
def test_a_reply_is_its_header_and_the_rest_of_the_frame(payloads: list[bytes], headers: list[bytes] | None, offset: int) -> None:
    with Bench(mtu=MTU) as bench:
        offset = offset if headers else 14
        driver = Replier(headers or [], offset)
        bench.bind(driver)
        for payload in payloads:
            given_frame = US + PEER + b"\x88\xb5" + payload
            bench.give(given_frame)
            begin = headers[0] if headers else PEER + US + b"\x88\xb5"
            assert bench.taken() == ([begin + given_frame[offset:]] if len(given_frame) >= offset else [])
        assert bench.pool.usage == 0
