"""
NdisAllocatePacketPool, statement by statement.
"""

from __future__ import annotations

import inspect
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conformance.facade import adapter_over, buffers_of, chain, discard, packet_of, pool_of, strip
from unit.wire import Bench, Driver, Miniport, Sender, frame, violation

from vnic import Packet, PacketPool, PacketState, Status, ndis
from vnic.locks import Irql, Profile, at_irql
from vnic.ndis import (
    NDIS_PACKET_FIRST_NDIS_BUFFER,
    PROTOCOL_RESERVED_SIZE_IN_PACKET,
    NdisAllocatePacket,
    NdisAllocatePacketPool,
    NdisAllocatePacketPoolEx,
    NdisChainBufferAtBack,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisFreePacketPool,
    NdisMIndicateReceivePacket,
    NdisPacketPoolUsage,
    NdisReinitializePacket,
    NdisSend,
    NdisUnchainBufferAtFront,
)

pytestmark = pytest.mark.usefixtures("profile", "serialized")
"""In both profiles, with both models of miniport."""


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """This process gets no file of more bytes, and so no pool that needs them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_s002_02_a_pool_is_allocated_and_its_packets_are_clean() -> None:
    pool = pool_of(3)
    assert (pool.capacity, NdisPacketPoolUsage(pool)) == (3, 0)
    packets = [packet_of(pool) for _ in range(3)]
    assert [(packet.flags, packet.length, packet.buffers) for packet in packets] == [(0, 0, ())] * 3


def test_s002_03_two_numbers_go_in_a_status_and_a_handle_come_out() -> None:
    assert list(inspect.signature(NdisAllocatePacketPool).parameters) == ["NumberOfDescriptors", "ProtocolReservedLength"]
    status, pool = NdisAllocatePacketPool(1, 0)
    assert (type(status), type(pool)) == (Status, PacketPool)


LIMITS = {1: Status.SUCCESS, 0xFFFF: Status.SUCCESS, 0x10000: Status.RESOURCES, 1 << 40: Status.RESOURCES}


@pytest.mark.parametrize(("count", "status"), LIMITS.items())
def test_s002_04_the_status_is_success_or_resources(count: int, status: Status) -> None:
    found, pool = NdisAllocatePacketPool(count, PROTOCOL_RESERVED_SIZE_IN_PACKET)
    assert (found, pool is None) == (status, status is Status.RESOURCES)


def test_s002_05_s002_18_after_success_packets_can_be_allocated_at_once() -> None:
    status, pool = NdisAllocatePacketPool(1, 0)
    assert (status, pool is None) == (Status.SUCCESS, False)
    assert pool is not None
    assert NdisAllocatePacket(pool)[0] is Status.SUCCESS


def test_s002_06_a_packet_of_it_is_indicated_up() -> None:
    pool, buffers, miniport = pool_of(1), buffers_of(2), Miniport(frees=False)
    with adapter_over(pool, miniport) as bench:
        driver = Driver(0)
        bench.bind(driver)
        packet = packet_of(pool)
        chain(packet, buffers, frame(1)[:14], frame(1)[14:])
        NdisMIndicateReceivePacket(bench.adapter, [packet], 1)
        assert (driver.frames, miniport.returned) == ([frame(1)], [packet])
        discard(packet)


def test_s002_07_a_packet_of_it_is_sent_down() -> None:
    pool, buffers = pool_of(1), buffers_of(2)
    with Bench() as bench:
        packet = packet_of(pool)
        chain(packet, buffers, frame(1)[:14], frame(1)[14:])
        assert NdisSend(bench.bind(Sender()), packet) is Status.SUCCESS
        assert bench.taken() == [frame(1)]
        discard(packet)


def test_s002_08_resources_means_that_there_was_no_memory_for_the_pool() -> None:
    with no_larger_than(500):
        assert NdisAllocatePacketPool(1_000, 0) == (Status.RESOURCES, None)


def test_s002_09_a_later_call_may_succeed() -> None:
    with no_larger_than(500):
        assert NdisAllocatePacketPool(1_000, 0)[0] is Status.RESOURCES
    assert NdisAllocatePacketPool(1_000, 0)[0] is Status.SUCCESS


def test_s002_10_a_smaller_request_may_succeed_at_once() -> None:
    with no_larger_than(500):
        assert NdisAllocatePacketPool(1_000, 0)[0] is Status.RESOURCES
        assert NdisAllocatePacketPool(400, 0)[0] is Status.SUCCESS


def test_s002_11_the_handle_is_what_the_other_calls_need() -> None:
    pool, other = pool_of(1), pool_of(1)
    packet = packet_of(pool)
    assert violation(other.free, packet) == "35"
    NdisFreePacket(packet)
    NdisFreePacketPool(pool)
    assert violation(NdisAllocatePacket, pool) == "40"


@pytest.mark.parametrize("count", [1, 2, 100])
def test_s002_12_s002_19_so_many_packets_can_be_out_at_a_time(count: int) -> None:
    pool = pool_of(count)
    packets = [packet_of(pool) for _ in range(count)]
    assert len({id(packet) for packet in packets}) == count
    assert NdisAllocatePacket(pool) == (Status.RESOURCES, None)
    NdisFreePacket(packets[0])
    assert packet_of(pool) is packets[0]
    assert NdisAllocatePacket(pool) == (Status.RESOURCES, None)


@pytest.mark.parametrize("length", [0, 1, 32, 100])
def test_s002_13_the_reserved_area_has_the_length_that_was_asked_for(length: int) -> None:
    packet = packet_of(pool_of(2, reserved=length))
    assert bytes(packet.protocol_reserved) == bytes(length)
    packet.protocol_reserved[:] = b"\xa5" * length
    assert bytes(packet.protocol_reserved) == b"\xa5" * length
    with pytest.raises(IndexError):
        packet.protocol_reserved[length] = 1


def test_s002_14_the_receive_pool_of_the_virtual_miniport_has_the_recommended_area() -> None:
    with Bench() as bench:
        assert bench.adapter.pool.reserved_size == PROTOCOL_RESERVED_SIZE_IN_PACKET


def test_s002_16_that_is_32_bytes_with_64_bit_pointers() -> None:
    assert PROTOCOL_RESERVED_SIZE_IN_PACKET == 4 * struct.calcsize("P") == 32


def test_s002_20_a_freed_packet_is_on_the_free_list_again() -> None:
    pool = pool_of(1)
    packet = packet_of(pool)
    NdisFreePacket(packet)
    assert NdisPacketPoolUsage(pool) == 0
    assert packet_of(pool) is packet


def test_s002_21_what_was_sent_or_indicated_comes_back_to_whoever_allocated_it() -> None:
    pool, buffers, miniport = pool_of(1), buffers_of(1), Miniport(frees=False)
    with adapter_over(pool, miniport) as bench:
        driver = Driver(1)
        bench.bind(driver)
        packet = packet_of(pool)
        chain(packet, buffers, frame(1))
        NdisMIndicateReceivePacket(bench.adapter, [packet], 1)
        assert (packet.state, miniport.returned) == (PacketState.INDICATED, [])
        driver.give_back()
        assert (packet.state, miniport.returned) == (PacketState.OWNED, [packet])
    with Bench() as bench:
        assert NdisSend(bench.bind(Sender()), packet) is Status.SUCCESS
        assert packet.state is PacketState.OWNED
    discard(packet)


def send_a_thousand(packet_for: Iterator[Packet], reuse: bool) -> None:
    buffers = buffers_of(1)
    with Bench() as bench:
        binding = bench.bind(Sender())
        for mark in range(1_000):
            packet = next(packet_for)
            chain(packet, buffers, frame(mark))
            assert NdisSend(binding, packet) is Status.SUCCESS
            assert bench.taken() == [frame(mark)]
            for buffer in strip(packet):
                NdisFreeBuffer(buffer)
            if reuse:
                NdisReinitializePacket(packet)
            else:
                NdisFreePacket(packet)


def test_s002_22_a_packet_that_came_back_is_reinitialised_chained_to_and_reused() -> None:
    pool = pool_of(1)
    packet = packet_of(pool)
    send_a_thousand(iter(lambda: packet, None), reuse=True)
    assert (NdisPacketPoolUsage(pool), pool.allocations) == (1, 1)


def test_s002_23_or_given_back() -> None:
    pool = pool_of(1)
    send_a_thousand(iter(lambda: packet_of(pool), None), reuse=False)
    assert (NdisPacketPoolUsage(pool), pool.allocations) == (0, 1_000)


def test_s002_25_buffers_that_were_saved_before_are_as_they_were() -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    (buffer,) = chain(packet, buffers, b"kept")
    assert [NdisUnchainBufferAtFront(packet)] == [buffer]
    NdisReinitializePacket(packet)
    assert bytes(buffer.data) == b"kept"
    NdisChainBufferAtBack(packet, buffer)
    assert bytes(packet.data) == b"kept"
    strip(packet)


def test_s002_26_reinitialising_empties_the_chain_and_is_refused_if_buffers_would_be_lost() -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    (buffer,) = chain(packet, buffers, b"unsaved")
    assert violation(NdisReinitializePacket, packet) == "32"
    assert NDIS_PACKET_FIRST_NDIS_BUFFER(packet) is buffer
    strip(packet)
    NdisReinitializePacket(packet)
    assert NDIS_PACKET_FIRST_NDIS_BUFFER(packet) is None


def test_s002_27_a_freed_pool_is_gone_and_its_handle_invalid() -> None:
    pool = pool_of(2)
    packet = packet_of(pool)
    assert violation(NdisFreePacketPool, pool) == "39"
    NdisFreePacket(packet)
    NdisFreePacketPool(pool)
    assert NdisPacketPoolUsage(pool) == 0
    assert violation(NdisAllocatePacket, pool) == "40"
    assert violation(NdisFreePacket, packet) == "40"


def test_s002_28_the_extended_form_without_overflow_is_this_one() -> None:
    pools = NdisAllocatePacketPool(2, 8), NdisAllocatePacketPoolEx(2, 0, 8)
    traces = []
    for status, pool in pools:
        assert pool is not None
        answers = [NdisAllocatePacket(pool)[0] for _ in range(3)]
        traces.append((status, pool.capacity, pool.reserved_size, answers, NdisPacketPoolUsage(pool)))
    assert traces[0] == traces[1]


def test_s002_29_it_may_be_called_up_to_dispatch(strict: None, profile: Profile) -> None:
    for level in (Irql.PASSIVE, Irql.DISPATCH):
        with at_irql(level):
            assert NdisAllocatePacketPool(1, 0)[0] is Status.SUCCESS
    if profile is Profile.NT:
        # Windows CE knows no levels
        with at_irql(Irql.DIRQL):
            assert violation(NdisAllocatePacketPool, 1, 0) == "70"


def test_s002_30_the_name_is_there() -> None:
    assert callable(ndis.NdisAllocatePacketPool)
