"""
Segments of superframes, with scapy as the oracle: every one is dissected, its checksums computed anew, and the payload put together.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import checksum as scapy_sum
from unit.supers import ACK, CWR, ECE, FIN, PSH, right_sums, superframe

from vnic.segment import segments
from vnic.virtio import complete_checksum

IN_ORDER = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

shapes = st.fixed_dictionaries(
    {
        "protocol": st.sampled_from(["tcp", "udp"]),
        "version": st.sampled_from([4, 6]),
        "tags": st.integers(0, 2),
        "options": st.integers(0, 3),
        "flags": st.sampled_from([ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR | ECE, ACK | CWR | ECE | PSH | FIN]),
    }
)


@given(
    shape=shapes,
    length=st.one_of(st.integers(1, 300), st.integers(1, 65000)),
    mss=st.one_of(st.integers(1, 40), st.integers(500, 9000)),
    where=st.integers(0, 2000),
    seed=st.integers(0, 1 << 30),
)
@IN_ORDER
def test_every_segment_is_a_frame_that_scapy_would_have_made(shape: Any, length: int, mss: int, where: int, seed: int) -> None:
    length = min(length, 40 * mss)
    payload = random.Random(seed).randbytes(length)
    virtio, frame = superframe(payload=payload, mss=mss, **shape)
    headers = len(frame) - length
    made = segments(virtio, frame, min(len(frame), headers + where))
    assert len(made) == -(-length // mss)
    assert b"".join(segment[headers:] for segment in made) == payload
    assert {len(segment) - headers for segment in made[:-1]} <= {mss}
    whole: Any = Ether(frame)
    for nth, segment in enumerate(made):
        seen = right_sums(segment)
        assert segment[:14] == frame[:14]
        if shape["version"] == 4:
            assert seen[IP].id == (whole[IP].id + nth) & 0xFFFF
            assert seen[IP].flags == whole[IP].flags
        if shape["protocol"] == "tcp":
            last, first = nth == len(made) - 1, nth == 0
            assert seen[TCP].seq == (0xFFFFFF00 + nth * mss) & 0xFFFFFFFF
            assert int(seen[TCP].flags) == shape["flags"] & ~(0 if last else FIN | PSH) & ~(0 if first else CWR)
            assert seen[TCP].ack == whole[TCP].ack


def test_a_cut_in_the_middle_of_a_piece_changes_nothing() -> None:
    payload = random.Random(1).randbytes(5000)
    virtio, frame = superframe("tcp", 4, payload, 700)
    whole = segments(virtio, frame)
    assert all(segments(virtio, frame, first) == whole for first in range(54, 5054, 7))


@pytest.mark.parametrize("first", range(54))
def test_headers_that_are_not_in_the_first_piece_are_refused(first: int) -> None:
    virtio, frame = superframe("tcp", 4, bytes(5000), 700)
    with pytest.raises(ValueError):
        segments(virtio, frame, first)


def test_every_single_field_that_lies_is_refused_or_harmless() -> None:
    virtio, frame = superframe("tcp", 6, bytes(3000), 700, tags=1)
    for position in range(10):
        for value in range(256):
            changed = bytearray(virtio)
            changed[position] = value
            try:
                made = segments(bytes(changed), frame)
            except ValueError:
                continue
            assert b"".join(segment[-len(segment) + 78 :] for segment in made) == bytes(3000)
    for position in range(12, 78):
        for value in range(256):
            changed = bytearray(frame)
            changed[position] = value
            try:
                made = segments(virtio, bytes(changed))
            except ValueError:
                continue
            assert sum(map(len, made)) >= 3000


@given(st.binary(min_size=10, max_size=10), st.binary(max_size=300), st.integers(0, 300))
@IN_ORDER
def test_nothing_hostile_is_read_or_written_outside(virtio: bytes, frame: bytes, first: int) -> None:
    """Arbitrary bytes: refused, or cut; in the uncompiled core an index outside raises another exception than this one."""
    try:
        made = segments(virtio, frame, min(first, len(frame)))
    except ValueError:
        return
    assert sum(map(len, made)) >= len(frame)


@given(st.binary(min_size=16, max_size=3000), st.integers(14, 3000), st.integers(0, 40))
@IN_ORDER
def test_a_completed_checksum_adds_up(frame: bytes, start: int, offset: int) -> None:
    changed = bytearray(frame)
    if start + offset + 2 > len(frame):
        with pytest.raises(ValueError):
            complete_checksum(changed, start, offset)
        assert changed == frame
        return
    complete_checksum(changed, start, offset)
    held = int.from_bytes(frame[start + offset : start + offset + 2], "big")
    even = frame[start:] if offset % 2 == 0 else b""
    if even:
        assert int.from_bytes(changed[start + offset : start + offset + 2], "big") == (scapy_sum(even) or 0xFFFF), held
    assert changed[: start + offset] == frame[: start + offset]
    assert changed[start + offset + 2 :] == frame[start + offset + 2 :]
