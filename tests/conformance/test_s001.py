"""
NdisDprAllocatePacketNonInterlocked, statement by statement.

Every test runs at DISPATCH, under the contract of the desktop and under that of Windows CE.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from conformance.facade import buffers_of, chain, packet_of, pool_of, race, strip
from unit.wire import Bench, Sender, frame, violation

from vnic import Info, Packet, PacketPool, PacketState, Status, locks, ndis
from vnic.locks import Irql, Profile, at_irql
from vnic.ndis import (
    NDIS_OOB_DATA_FROM_PACKET,
    NDIS_PER_PACKET_INFO_FROM_PACKET,
    NDIS_SET_PACKET_CANCEL_ID,
    NDIS_SET_PACKET_TIME_TO_SEND,
    NdisAcquireSpinLock,
    NdisAllocatePacket,
    NdisAllocateSpinLock,
    NdisDprAllocatePacket,
    NdisDprAllocatePacketNonInterlocked,
    NdisDprFreePacket,
    NdisDprFreePacketNonInterlocked,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisFreePacketPool,
    NdisGetPacketFlags,
    NdisGetPoolFromPacket,
    NdisPacketPoolUsage,
    NdisQueryPacket,
    NdisReleaseSpinLock,
    NdisSend,
    NdisSetPacketFlags,
)

pytestmark = pytest.mark.usefixtures("profile", "dispatch")


def take(pool: PacketPool) -> Packet:
    status, packet = NdisDprAllocatePacketNonInterlocked(pool)
    assert status is Status.SUCCESS
    assert packet is not None
    return packet


def test_s001_01_the_packet_is_allocated_and_clean_whatever_it_was_used_for_before() -> None:
    pool, buffers = pool_of(1, reserved=8), buffers_of(1)
    packet = take(pool)
    chain(packet, buffers, b"frame")
    NdisSetPacketFlags(packet, 0x40)
    NDIS_SET_PACKET_TIME_TO_SEND(packet, 5)
    NDIS_SET_PACKET_CANCEL_ID(packet, 6)
    packet.protocol_reserved[:] = b"scratch!"
    NdisFreeBuffer(strip(packet)[0])
    NdisDprFreePacketNonInterlocked(packet)
    again = take(pool)
    assert again is packet
    assert NdisQueryPacket(again) == (0, 0, None, 0)
    assert (NdisGetPacketFlags(again), NDIS_OOB_DATA_FROM_PACKET(again).time, bytes(again.protocol_reserved)) == (0, 0, bytes(8))
    assert [NDIS_PER_PACKET_INFO_FROM_PACKET(again, slot) for slot in Info] == [None] * len(Info)


def test_s001_02_under_ce_the_level_does_not_matter(profile: Profile, strict: None) -> None:
    pool = pool_of(1)
    with at_irql(Irql.PASSIVE):
        if profile is Profile.NT:
            assert violation(NdisDprAllocatePacketNonInterlocked, pool) == "100"
        else:
            NdisDprFreePacketNonInterlocked(take(pool))
    assert (NdisPacketPoolUsage(pool), locks.counted["100"]) == (0, int(profile is Profile.NT))


def test_s001_03_a_pool_goes_in_a_status_and_a_packet_come_out() -> None:
    assert list(inspect.signature(NdisDprAllocatePacketNonInterlocked).parameters) == ["PoolHandle"]
    pool = pool_of(1)
    status, packet = NdisDprAllocatePacketNonInterlocked(pool)
    assert (type(status), type(packet)) == (Status, Packet)


def test_s001_04_the_status_is_final() -> None:
    pool = pool_of(3)
    found = [NdisDprAllocatePacketNonInterlocked(pool)[0] for _ in range(9)]
    assert found == [Status.SUCCESS] * 3 + [Status.RESOURCES] * 6


def test_s001_05_the_packet_is_one_of_the_pool() -> None:
    pool, other = pool_of(2), pool_of(2)
    assert NdisGetPoolFromPacket(take(pool)) is pool
    assert NdisGetPoolFromPacket(take(other)) is other


def test_s001_06_the_pool_is_one_that_was_allocated_and_not_yet_freed() -> None:
    pool = pool_of(1)
    NdisFreePacketPool(pool)
    assert violation(NdisDprAllocatePacketNonInterlocked, pool) == "40"


def test_s001_07_success_means_that_the_packet_can_be_used() -> None:
    pool, buffers = pool_of(1), buffers_of(2)
    with Bench() as bench:
        binding = bench.bind(Sender())
        packet = take(pool)
        chain(packet, buffers, frame(1)[:14], frame(1)[14:])
        assert NdisSend(binding, packet) is Status.SUCCESS
        assert bench.taken() == [frame(1)]
        for buffer in strip(packet):
            NdisFreeBuffer(buffer)
        NdisDprFreePacketNonInterlocked(packet)


def test_s001_08_resources_means_that_the_free_list_is_empty() -> None:
    pool = pool_of(2)
    packets = [take(pool), take(pool)]
    assert NdisDprAllocatePacketNonInterlocked(pool)[0] is Status.RESOURCES
    assert (pool.available, len(set(map(id, packets)))) == (0, 2)


def test_s001_09_empty_now_is_not_empty_for_ever() -> None:
    pool = pool_of(1)
    packet = take(pool)
    assert NdisDprAllocatePacketNonInterlocked(pool)[0] is Status.RESOURCES
    NdisDprFreePacketNonInterlocked(packet)
    assert take(pool) is packet


@pytest.mark.parametrize("allocate", [NdisAllocatePacket, NdisDprAllocatePacket, NdisDprAllocatePacketNonInterlocked])
def test_s001_10_with_resources_there_is_no_packet(allocate: Callable[[PacketPool], tuple[Status, Packet | None]]) -> None:
    pool = pool_of(1)
    take(pool)
    assert allocate(pool) == (Status.RESOURCES, None)


def test_s001_11_whoever_uses_the_pair_synchronises_for_itself() -> None:
    pool = pool_of(1)
    pool.lock = NdisAllocateSpinLock()
    assert violation(NdisDprAllocatePacketNonInterlocked, pool) == "37"
    assert NdisPacketPoolUsage(pool) == 0


def test_s001_13_s001_14_s001_15_a_spin_lock_is_acquired_before_and_released_after() -> None:
    pool = pool_of(1)
    pool.lock = lock = NdisAllocateSpinLock()
    assert violation(NdisDprAllocatePacketNonInterlocked, pool) == "37"
    NdisAcquireSpinLock(lock)
    packet = take(pool)
    assert lock.held
    NdisReleaseSpinLock(lock)
    assert (packet.state, lock.held) == (PacketState.OWNED, False)


def test_s001_16_what_this_call_gave_is_freed_by_its_partner() -> None:
    pool = pool_of(1)
    NdisDprFreePacketNonInterlocked(take(pool))
    assert pool.mixed == 0


def test_s001_17_to_free_it_with_the_dpr_form_is_an_error() -> None:
    pool = pool_of(1)
    NdisDprFreePacket(take(pool))
    assert pool.mixed == 1


def test_s001_18_to_free_it_with_the_plain_form_is_an_error() -> None:
    pool = pool_of(1)
    NdisFreePacket(take(pool))
    assert pool.mixed == 1


def test_s001_19_mixed_forms_are_counted_and_corrupt_nothing() -> None:
    pool = pool_of(2)

    def work() -> None:
        for _ in range(2_000):
            _, packet = NdisDprAllocatePacketNonInterlocked(pool)
            if packet is not None:
                NdisFreePacket(packet)

    race(3, work)
    assert pool.mixed > 0
    packets = [take(pool), take(pool)]
    assert packets[0] is not packets[1]
    assert NdisDprAllocatePacketNonInterlocked(pool) == (Status.RESOURCES, None)


def test_s001_20_just_before_it_unloads_a_driver_may_mix_them() -> None:
    pool = pool_of(1)
    packet = take(pool)
    pool.unloading = True
    NdisFreePacket(packet)
    assert (pool.mixed, NdisPacketPoolUsage(pool)) == (0, 0)


@pytest.mark.parametrize(("allocate", "free"), [(NdisAllocatePacket, NdisFreePacket), (NdisDprAllocatePacket, NdisDprFreePacket)])
def test_s001_21_s001_22_a_driver_that_does_not_synchronise_uses_the_interlocked_forms(
    allocate: Callable[[PacketPool], tuple[Status, Packet | None]], free: Callable[[Packet], None]
) -> None:
    pool = pool_of(2)
    pool.lock = NdisAllocateSpinLock()

    def work() -> None:
        for _ in range(2_000):
            _, packet = allocate(pool)
            if packet is not None:
                free(packet)

    race(3, work)
    assert (NdisPacketPoolUsage(pool), pool.available, pool.mixed) == (0, 2, 0)


def test_s001_23_the_lock_is_held_around_the_free_too() -> None:
    pool = pool_of(1)
    pool.lock = lock = NdisAllocateSpinLock()
    NdisAcquireSpinLock(lock)
    packet = take(pool)
    NdisReleaseSpinLock(lock)
    assert violation(NdisDprFreePacketNonInterlocked, packet) == "37"
    NdisAcquireSpinLock(lock)
    NdisDprFreePacketNonInterlocked(packet)
    NdisReleaseSpinLock(lock)
    assert packet_of(pool) is packet


def test_s001_24_the_name_is_there_under_both_contracts() -> None:
    assert callable(ndis.NdisDprAllocatePacketNonInterlocked)
