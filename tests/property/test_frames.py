"""
Frames of any bytes and any length never raise anything in an adapter with the bundled drivers, and each is accounted for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.wire import BROADCAST, OTHER, PEER, US, Bench

from protocol.arp import Arp
from protocol.icmp_echo import IcmpEcho
from protocol.sink import Sink
from protocol.udp import Udp
from vnic.counters import broken_sums

MTU = 1500
LONGEST = 1700
ADDRESS = "10.0.0.2/24"

targets = st.sampled_from([US, BROADCAST, OTHER, bytes.fromhex("01005e000001"), bytes(6)])
ethertypes = st.sampled_from([b"\x08\x00", b"\x08\x06", b"\x81\x00", b"\x86\xdd", b"\x00\x00"])


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One adapter for all frames: what one leaves behind must not harm the next."""
    with Bench(packets=8, mtu=MTU, low_water=0) as bench:
        bench.bind(Arp(address=ADDRESS), "arp")
        bench.bind(IcmpEcho(address=ADDRESS), "icmp_echo")
        bench.bind(Sink(), "sink")
        bench.bind(Udp(address=ADDRESS, echo=7, discard=9), "udp")
        yield bench


def survive(bench: Bench, data: bytes) -> None:
    """Give one frame; nothing is raised or reported, every sum comes out, every packet is home, every answer is a frame."""
    before = bench.adapter.counters()["rx_frames"]
    assert bench.give(data) == 1
    values = bench.adapter.counters()
    assert values["rx_frames"] == before + 1
    assert list(broken_sums(values)) == []
    assert bench.reports == []
    assert bench.pool.usage == 0
    for answer in bench.taken():
        assert 14 <= len(answer) <= MTU + 18
        assert answer[6:12] == US


@pytest.mark.parametrize("kind", ["random bytes", "to us", "IPv4", "ARP", "ICMP", "UDP"])
def test_random_frames_of_every_length_are_accounted_for(bench: Bench, kind: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    head = {
        "random bytes": b"",
        "to us": US,
        "IPv4": US + PEER + b"\x08\x00" + b"\x45",
        "ARP": BROADCAST + PEER + b"\x08\x06" + bytes.fromhex("0001 0800 06 04 0001"),
        "ICMP": US + PEER + bytes.fromhex("0800 4500003c 00000000 4001 0000 0a000001 0a000002 0800"),
        "UDP": US + PEER + bytes.fromhex("0800 4500003c 00000000 4011 0000 0a000001 0a000002 0fa00007"),
    }[kind]
    for length in range(1, LONGEST):
        survive(bench, (head + rng.randbytes(LONGEST))[:length])


@given(data=st.binary(min_size=1, max_size=LONGEST), target=targets, ethertype=ethertypes, headed=st.booleans())
@settings(max_examples=300, deadline=None, database=None, print_blob=True)
def test_any_frame_is_accounted_for(bench: Any, data: bytes, target: bytes, ethertype: bytes, headed: bool) -> None:
    survive(bench, (target + PEER + ethertype + data)[:LONGEST] if headed else data)


@given(data=st.binary(max_size=200), flip=st.integers(0, 97 * 8))
@settings(max_examples=300, deadline=None, database=None, print_blob=True)
def test_a_good_ping_with_one_bit_flipped_and_any_tail_is_accounted_for(bench: Any, data: bytes, flip: int) -> None:
    ping = bytearray(US + PEER + b"\x08\x00")
    ping += bytes.fromhex("45000054000040004001") + b"\x26\xa7" + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    ping += b"\x08\x00\xf7\xff" + bytes(60)
    if flip // 8 < len(ping):
        ping[flip // 8] ^= 1 << flip % 8
    survive(bench, bytes(ping) + data)
