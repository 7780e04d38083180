"""
Offload: what a driver may leave to the adapter, how it asks for that, and what travels with each packet.

NDIS tells of tasks in structures of `OID_TCP_TASK_OFFLOAD`: what an adapter can do is queried, what a binding wants is set. Here both are
one state of the binding, `binding.offload`; the structures are only another way to read and to set it.

Next: `vnic/superframes.py`, which does the work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple


class Offload(IntFlag):
    """
    What is left to the adapter, on both ways.

    CHECKSUM: checksums of TCP and UDP. SEGMENTATION: frames of up to 64 KiB, superframes, stand for many of one size; it includes the
    other two. UDP_SEGMENTATION: so do those of UDP; an adapter whose kernel is older than 6.2 has not got that.

    NDIS: TcpIpChecksumNdisTask, TcpLargeSendNdisTask.
    """

    NONE = 0
    CHECKSUM = 1
    SEGMENTATION = 2
    UDP_SEGMENTATION = 4


def with_included(offload: int) -> int:
    """The same, with what it includes; what of that an adapter does not have is not had."""
    return int(offload) | (int(Offload.CHECKSUM | Offload.UDP_SEGMENTATION) if offload & Offload.SEGMENTATION else 0)


class ChecksumRequest(IntFlag):
    """
    What a driver asks of a send, in `packet.info[Info.TCP_IP_CHECKSUM]`: the checksum field has the sum of the pseudo-header.

    NDIS: NDIS_TCP_IP_CHECKSUM_PACKET_INFO, Transmit.
    """

    V4 = 0x01
    V6 = 0x02
    TCP = 0x04
    UDP = 0x08
    IP = 0x10


class ChecksumResult(IntFlag):
    """
    What is known of a received frame, in the same place.

    PARTIAL is not of NDIS: nobody has added the frame up, for it has not been on a wire; the field has the sum of the pseudo-header. A
    packet that is sent on with this in its information is a request to do that.

    NDIS: NDIS_TCP_IP_CHECKSUM_PACKET_INFO, Receive.
    """

    TCP_FAILED = 0x01
    UDP_FAILED = 0x02
    IP_FAILED = 0x04
    TCP_SUCCEEDED = 0x08
    UDP_SUCCEEDED = 0x10
    IP_SUCCEEDED = 0x20
    LOOPBACK = 0x40
    PARTIAL = 0x80000000


class Task(IntEnum):
    """NDIS: NDIS_TASK."""

    TCP_IP_CHECKSUM = 0
    IP_SEC = 1
    TCP_LARGE_SEND = 2


class Encapsulation(IntEnum):
    """NDIS: NDIS_ENCAPSULATION."""

    UNSPECIFIED = 0
    NULL = 1
    IEEE_802_3 = 2


class Checksums(IntFlag):
    """What of a checksum is done in one direction, for one version of IP. NDIS: the fields of NDIS_TASK_TCP_IP_CHECKSUM."""

    IP_OPTIONS = 0x01
    TCP_OPTIONS = 0x02
    TCP = 0x04
    UDP = 0x08
    IP = 0x10


class ChecksumTask(NamedTuple):
    """NDIS: NDIS_TASK_TCP_IP_CHECKSUM."""

    v4_transmit: Checksums
    v4_receive: Checksums
    v6_transmit: Checksums
    v6_receive: Checksums


class LargeSendTask(NamedTuple):
    """
    Attributes:
        version: 0.
        max_offload_size: bytes of the longest packet.
        min_segment_count: how many segments it must make at least.
        tcp_options: the headers may have options of TCP.
        ip_options: the headers may have options of IP.

    NDIS: NDIS_TASK_TCP_LARGE_SEND.
    """

    version: int
    max_offload_size: int
    min_segment_count: int
    tcp_options: bool
    ip_options: bool


VERSION = 1
ALL = Checksums.IP_OPTIONS | Checksums.TCP_OPTIONS | Checksums.TCP | Checksums.UDP
CHECKSUM_TASK = ChecksumTask(ALL, ALL, ALL, ALL)
LARGE_SEND_TASK = LargeSendTask(0, 65535, 2, True, True)
ETHERNET_HEADER = 14
FIXED_HEADER_SIZE = 1
_HEADER = struct.Struct("<IIIIIII")
_TASK = struct.Struct("<IIIII")
_CHECKSUM = struct.Struct("<IIII")
_LARGE_SEND = struct.Struct("<IIIBB2x")
TASK_SIZE = 24
"""What C counts for the structure of a task: 20 bytes, and its first byte of data, in fours."""


def pack_tasks(offload: Offload) -> bytes:
    """
    What `OID_TCP_TASK_OFFLOAD` answers: a header, and a structure for each task.

    NDIS: NDIS_TASK_OFFLOAD_HEADER, NDIS_TASK_OFFLOAD.
    """
    tasks: list[tuple[Task, bytes]] = []
    if offload:
        tasks.append((Task.TCP_IP_CHECKSUM, _CHECKSUM.pack(*CHECKSUM_TASK)))
    if offload & Offload.SEGMENTATION:
        tasks.append((Task.TCP_LARGE_SEND, _LARGE_SEND.pack(*LARGE_SEND_TASK)))
    first = _HEADER.size if tasks else 0
    packed = _HEADER.pack(VERSION, _HEADER.size, 0, first, Encapsulation.IEEE_802_3, FIXED_HEADER_SIZE, ETHERNET_HEADER)
    for nth, (task, data) in enumerate(tasks):
        following = _TASK.size + len(data) if nth + 1 < len(tasks) else 0
        packed += _TASK.pack(VERSION, TASK_SIZE, task, following, len(data)) + data
    return packed


def unpack_tasks(data: bytes) -> Iterator[ChecksumTask | LargeSendTask]:
    """
    Read the structures of `OID_TCP_TASK_OFFLOAD`.

    Raises:
        ValueError: they are not well made, or are about another task or another medium.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"{len(data)} bytes are no header of offload tasks")
    version, size, _, at, encapsulation, _, header_size = _HEADER.unpack_from(data)
    if version != VERSION or size < _HEADER.size or encapsulation != Encapsulation.IEEE_802_3 or header_size not in (0, ETHERNET_HEADER):
        raise ValueError(f"offload tasks of version {version}, {size} bytes, encapsulation {encapsulation} with {header_size} bytes")
    following = at
    while following:
        if at + _TASK.size > len(data):
            raise ValueError(f"an offload task at {at} of {len(data)} bytes")
        version, _, task, following, length = _TASK.unpack_from(data, at)
        start = at + _TASK.size
        wanted = {Task.TCP_IP_CHECKSUM: _CHECKSUM, Task.TCP_LARGE_SEND: _LARGE_SEND}.get(task)
        if version != VERSION or wanted is None or length < wanted.size - 2 or start + length > len(data) or 0 < following < _TASK.size:
            raise ValueError(f"offload task {task} of version {version}, {length} bytes at {start} of {len(data)}")
        found = wanted.unpack(data[start : start + wanted.size].ljust(wanted.size, b"\0"))
        if task == Task.TCP_IP_CHECKSUM:
            yield ChecksumTask(*(Checksums(word & 0x1F) for word in found))
        else:
            version, longest, least, tcp_options, ip_options = found
            yield LargeSendTask(version, longest, least, bool(tcp_options), bool(ip_options))
        at += following


def wanted_by(data: bytes) -> Offload:
    """
    What a set of `OID_TCP_TASK_OFFLOAD` asks for; no task at all: nothing any more.

    Raises:
        ValueError: as `unpack_tasks`.
    """
    wanted = Offload.NONE
    for task in unpack_tasks(data):
        wanted |= Offload.CHECKSUM if isinstance(task, ChecksumTask) else Offload.SEGMENTATION
    return wanted
