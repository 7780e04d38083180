"""
Task offload as NDIS asks for it: the structures of OID_TCP_TASK_OFFLOAD, and what a binding then has.
"""

from __future__ import annotations

import struct

import pytest
from unit.wire import Bench, Driver

from vnic import Binding, Status
from vnic.ndis import (
    NDIS_TASK_OFFLOAD_VERSION,
    NDIS_TASK_TCP_IP_CHECKSUM,
    NDIS_TASK_TCP_LARGE_SEND,
    OID_GEN_SUPPORTED_LIST,
    OID_TCP_TASK_OFFLOAD,
    IEEE_802_3_Encapsulation,
    NdisRequest,
    NdisRequestQueryInformation,
    NdisRequestSetInformation,
    TcpIpChecksumNdisTask,
    TcpLargeSendNdisTask,
)
from vnic.offload import Offload, pack_tasks, unpack_tasks, wanted_by
from vnic.request import Request, RequestKind

ALL = Offload.CHECKSUM | Offload.SEGMENTATION | Offload.UDP_SEGMENTATION


def ask(binding: Binding, kind: RequestKind, data: bytes | int, oid: int = OID_TCP_TASK_OFFLOAD) -> tuple[Status, Request]:
    """One request by its name."""
    request = Request(kind, oid, bytearray(data))
    return NdisRequest(binding, request), request


def header(at: int, *, version: int = NDIS_TASK_OFFLOAD_VERSION, encapsulation: int = IEEE_802_3_Encapsulation, size: int = 14) -> bytes:
    """NDIS_TASK_OFFLOAD_HEADER, as C lays it out."""
    return struct.pack("<7I", version, 28, 0, at, encapsulation, 1, size)


def task(number: int, following: int, data: bytes) -> bytes:
    """NDIS_TASK_OFFLOAD, as C lays it out."""
    return struct.pack("<5I", NDIS_TASK_OFFLOAD_VERSION, 24, number, following, len(data)) + data


CHECKSUM = struct.pack("<4I", 0x06, 0x06, 0, 0)
LARGE_SEND = struct.pack("<IIIBB2x", 0, 65535, 2, 1, 0)


def test_a_query_tells_of_two_tasks_and_a_set_turns_them_on_and_off() -> None:
    with Bench(offload=ALL) as wire:
        binding = wire.bind(Driver())
        status, request = ask(binding, NdisRequestQueryInformation, 1024)
        assert status is Status.SUCCESS
        told = bytes(request.information_buffer)[: request.bytes_written]
        checksum, large = unpack_tasks(told)
        assert type(checksum) is NDIS_TASK_TCP_IP_CHECKSUM
        assert type(large) is NDIS_TASK_TCP_LARGE_SEND
        assert large[1] == 65535
        assert binding.offload == Offload.NONE
        assert ask(binding, NdisRequestSetInformation, told)[0] is Status.SUCCESS
        assert binding.offload == ALL
        only = header(28) + task(TcpIpChecksumNdisTask, 0, CHECKSUM)
        assert ask(binding, NdisRequestSetInformation, only)[0] is Status.SUCCESS
        assert binding.offload == Offload.CHECKSUM
        both = header(28) + task(TcpIpChecksumNdisTask, 36, CHECKSUM) + task(TcpLargeSendNdisTask, 0, LARGE_SEND)
        status, request = ask(binding, NdisRequestSetInformation, both)
        assert (status, request.bytes_read) == (Status.SUCCESS, len(both))
        assert binding.offload == ALL
        assert ask(binding, NdisRequestSetInformation, header(0))[0] is Status.SUCCESS
        assert binding.offload == Offload.NONE


def test_each_binding_has_its_own() -> None:
    with Bench(offload=ALL) as wire:
        first, second = wire.bind(Driver(), "a"), wire.bind(Driver(), "b")
        ask(first, NdisRequestSetInformation, pack_tasks(ALL))
        assert (first.offload, second.offload) == (ALL, Offload.NONE)


def test_without_offload_it_is_not_supported() -> None:
    with Bench() as wire:
        binding = wire.bind(Driver())
        assert ask(binding, NdisRequestQueryInformation, 1024)[0] is Status.NOT_SUPPORTED
        assert ask(binding, NdisRequestSetInformation, pack_tasks(ALL))[0] is Status.NOT_SUPPORTED
    with Bench(offload=Offload.CHECKSUM) as wire:
        binding = wire.bind(Driver())
        assert ask(binding, NdisRequestSetInformation, pack_tasks(ALL))[0] is Status.NOT_SUPPORTED
        assert ask(binding, NdisRequestSetInformation, pack_tasks(Offload.CHECKSUM))[0] is Status.SUCCESS


@pytest.mark.parametrize("offload", [Offload.NONE, ALL])
def test_the_supported_list_names_it_where_it_is(offload: Offload) -> None:
    with Bench(offload=offload) as wire:
        _, request = ask(wire.bind(Driver()), NdisRequestQueryInformation, 1024, OID_GEN_SUPPORTED_LIST)
        listed = struct.unpack(f"<{request.bytes_written // 4}I", request.information_buffer[: request.bytes_written])
        assert (OID_TCP_TASK_OFFLOAD in listed) == bool(offload)


def test_a_short_buffer_is_told_what_is_needed() -> None:
    with Bench(offload=ALL) as wire:
        status, request = ask(wire.bind(Driver()), NdisRequestQueryInformation, 20)
        assert (status, request.bytes_needed) == (Status.INVALID_LENGTH, len(pack_tasks(ALL)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(27),
        header(28, version=2),
        header(28, encapsulation=1),
        header(28, size=18),
        header(28),
        header(28) + task(1, 0, CHECKSUM),
        header(28) + task(TcpIpChecksumNdisTask, 0, CHECKSUM[:8]),
        header(28) + task(TcpIpChecksumNdisTask, 0, CHECKSUM)[:-1],
        header(28) + task(TcpIpChecksumNdisTask, 36, CHECKSUM),
        header(28) + task(TcpIpChecksumNdisTask, 4, CHECKSUM) * 2,
        header(1000) + task(TcpIpChecksumNdisTask, 0, CHECKSUM),
        header(0xFFFFFFFF) + task(TcpIpChecksumNdisTask, 0, CHECKSUM),
    ],
)
def test_structures_that_are_not_well_made_are_refused_and_change_nothing(data: bytes) -> None:
    with Bench(offload=ALL) as wire:
        binding = wire.bind(Driver())
        binding.offload = Offload.CHECKSUM
        assert ask(binding, NdisRequestSetInformation, data)[0] is Status.INVALID_DATA
        assert binding.offload == Offload.CHECKSUM


@pytest.mark.parametrize("offload", [Offload.NONE, Offload.CHECKSUM, Offload.CHECKSUM | Offload.SEGMENTATION])
def test_what_is_packed_is_unpacked(offload: Offload) -> None:
    assert wanted_by(pack_tasks(offload)) == offload
