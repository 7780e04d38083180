"""
NdisDprFreePacketNonInterlocked, statement by statement.

Every test runs at DISPATCH, under the contract of the desktop and under that of Windows CE.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance.facade import buffer_of, buffers_of, chain, packet_of, pool_of, race, strip
from unit.wire import violation

from vnic import Packet, PacketPool, PacketState, Status, locks, ndis
from vnic.locks import Irql, Profile, at_irql, current_irql
from vnic.ndis import (
    NdisAcquireSpinLock,
    NdisAllocatePacket,
    NdisAllocateSpinLock,
    NdisDprAllocatePacket,
    NdisDprAllocatePacketNonInterlocked,
    NdisDprFreePacket,
    NdisDprFreePacketNonInterlocked,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisPacketPoolUsage,
    NdisReleaseSpinLock,
    NdisUnchainBufferAtBack,
    NdisUnchainBufferAtFront,
)

pytestmark = pytest.mark.usefixtures("profile", "dispatch")


def take(pool: PacketPool) -> Packet:
    status, packet = NdisDprAllocatePacketNonInterlocked(pool)
    assert status is Status.SUCCESS
    assert packet is not None
    return packet


def whole(pool: PacketPool) -> bool:
    """Free and used packets make up the pool, by two ways of counting."""
    found = pool.audit()
    return sum(found.values()) == pool.capacity and found[PacketState.OWNED] == NdisPacketPoolUsage(pool)


def test_s000_01_the_call_releases_a_packet() -> None:
    pool = pool_of(4)
    packet = take(pool)
    assert NdisPacketPoolUsage(pool) == 1
    NdisDprFreePacketNonInterlocked(packet)
    assert (NdisPacketPoolUsage(pool), packet.state) == (0, PacketState.FREE)


def test_s000_02_the_packet_is_back_on_the_free_list_of_its_pool() -> None:
    pool = pool_of(1)
    packet = take(pool)
    assert NdisDprAllocatePacketNonInterlocked(pool) == (Status.RESOURCES, None)
    NdisDprFreePacketNonInterlocked(packet)
    assert take(pool) is packet
    NdisDprFreePacketNonInterlocked(packet)


def test_s000_03_the_caller_provides_the_synchronisation() -> None:
    pool = pool_of(1)
    packet = take(pool)
    pool.lock = NdisAllocateSpinLock()
    assert violation(NdisDprFreePacketNonInterlocked, packet) == "37"
    NdisAcquireSpinLock(pool.lock)
    NdisDprFreePacketNonInterlocked(packet)
    NdisReleaseSpinLock(pool.lock)
    assert NdisPacketPoolUsage(pool) == 0


def test_s000_04_windows_ce_has_no_dpc_level(profile: Profile) -> None:
    levels = set()
    for level in Irql:
        with at_irql(level):
            levels.add(current_irql())
    assert levels == (set(Irql) if profile is Profile.NT else {Irql.PASSIVE})


def test_s000_05_under_ce_a_dpr_form_does_what_its_plain_form_does(profile: Profile, strict: None) -> None:
    with at_irql(Irql.PASSIVE):
        pools = pool_of(2), pool_of(2)
        if profile is Profile.NT:
            assert violation(NdisDprAllocatePacket, pools[0]) == "100"
            assert violation(NdisDprAllocatePacketNonInterlocked, pools[0]) == "100"
            return
        traces, forms = [], ((NdisAllocatePacket, NdisFreePacket), (NdisDprAllocatePacket, NdisDprFreePacket))
        for pool, (allocate, free) in zip(pools, forms, strict=True):
            answers = [allocate(pool) for _ in range(3)]
            packets = [packet for _, packet in answers if packet is not None]
            trace: list[object] = [status for status, _ in answers]
            for packet in packets:
                trace += [free(packet), NdisPacketPoolUsage(pool), violation(free, packet), current_irql()]
            traces.append(trace)
    assert traces[0] == traces[1]
    assert locks.counted == {}


def test_s000_06_there_is_no_answer() -> None:
    free: Callable[[Packet], object] = NdisDprFreePacketNonInterlocked
    assert free(take(pool_of(1))) is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_s000_07_every_chained_buffer_is_freed_before(count: int) -> None:
    pool, buffers = pool_of(1), buffers_of(count)
    packet = take(pool)
    chain(packet, buffers, *[b"part"] * count)
    for _ in range(count):
        buffer = NdisUnchainBufferAtFront(packet)
        assert buffer is not None
        NdisFreeBuffer(buffer)
    NdisDprFreePacketNonInterlocked(packet)
    assert (buffers.usage, NdisPacketPoolUsage(pool)) == (0, 0)


def test_s000_08_or_every_buffer_is_unchained_and_saved() -> None:
    pool, buffers = pool_of(1), buffers_of(4)
    packet = take(pool)
    first, second, third, fourth = chain(packet, buffers, b"1", b"2", b"3", b"4")
    front, back = NdisUnchainBufferAtFront, NdisUnchainBufferAtBack
    saved = [unchain(packet) for unchain in (front, back, back, front)]
    assert saved == [first, fourth, third, second]
    NdisDprFreePacketNonInterlocked(packet)
    assert [bytes(buffer.data) for buffer in saved if buffer is not None] == [b"1", b"4", b"3", b"2"]
    assert (buffers.usage, NdisPacketPoolUsage(pool)) == (4, 0)


def test_s000_09_one_of_the_two_is_a_must() -> None:
    pool, buffers = pool_of(1), buffers_of(2)
    packet = take(pool)
    chain(packet, buffers, b"left", b"chained")
    assert violation(NdisDprFreePacketNonInterlocked, packet) == "31"
    assert (NdisPacketPoolUsage(pool), packet.state) == (1, PacketState.OWNED)
    strip(packet)


def test_s000_10_a_buffer_that_would_be_lost_stays_usable_because_the_call_is_refused() -> None:
    pool, buffers = pool_of(1), buffers_of(2)
    packet = take(pool)
    chain(packet, buffers, b"left", b"chained")
    assert violation(NdisDprFreePacketNonInterlocked, packet) == "31"
    saved = strip(packet)
    assert [bytes(buffer.data) for buffer in saved] == [b"left", b"chained"]
    for buffer in saved:
        NdisFreeBuffer(buffer)
    NdisDprFreePacketNonInterlocked(packet)
    assert buffers.usage == 0
    assert bytes(buffer_of(buffers, b"anew").data) == b"anew"


def test_s000_11_whoever_uses_the_pair_synchronises_every_access_to_the_pool() -> None:
    pool = pool_of(3)
    pool.lock = lock = NdisAllocateSpinLock()
    assert violation(NdisDprAllocatePacketNonInterlocked, pool) == "37"

    def work() -> None:
        for _ in range(2_000):
            NdisAcquireSpinLock(lock)
            packet = take(pool)
            assert whole(pool)
            NdisReleaseSpinLock(lock)
            NdisAcquireSpinLock(lock)
            NdisDprFreePacketNonInterlocked(packet)
            NdisReleaseSpinLock(lock)

    race(3, work)
    assert (NdisPacketPoolUsage(pool), pool.allocations, pool.mixed) == (0, 6_000, 0)


def test_s000_12_the_pool_is_the_drivers_own() -> None:
    mine, other = pool_of(1), pool_of(1)
    packet = take(other)
    assert violation(mine.free_unlocked, packet) == "35"
    NdisDprFreePacketNonInterlocked(packet)
    assert (NdisPacketPoolUsage(mine), NdisPacketPoolUsage(other)) == (0, 0)


def test_s000_13_one_spin_lock_of_the_drivers_protects_the_pool() -> None:
    pool = pool_of(2)
    pool.lock = NdisAllocateSpinLock()
    for _ in range(10):
        NdisAcquireSpinLock(pool.lock)
        packets = [take(pool), take(pool)]
        for packet in packets:
            NdisDprFreePacketNonInterlocked(packet)
        NdisReleaseSpinLock(pool.lock)
    assert (NdisPacketPoolUsage(pool), pool.allocations) == (0, 20)


def test_s000_14_first_the_lock_is_acquired() -> None:
    pool = pool_of(1)
    packet = take(pool)
    pool.lock = NdisAllocateSpinLock()
    assert violation(NdisDprFreePacketNonInterlocked, packet) == "37"
    NdisAcquireSpinLock(pool.lock)
    NdisDprFreePacketNonInterlocked(packet)
    NdisReleaseSpinLock(pool.lock)


def test_s000_15_the_call_is_made_with_the_pool_locked_by_this_thread() -> None:
    pool = pool_of(1)
    packet = take(pool)
    pool.lock = NdisAllocateSpinLock()
    NdisAcquireSpinLock(pool.lock)
    found: list[str] = []
    race(1, lambda: found.append(violation(NdisDprFreePacketNonInterlocked, packet)))
    assert found == ["37"]
    assert pool.lock.held
    NdisDprFreePacketNonInterlocked(packet)
    NdisReleaseSpinLock(pool.lock)


def test_s000_16_the_lock_is_released_when_the_call_has_returned() -> None:
    pool = pool_of(1)
    packet = take(pool)
    pool.lock = NdisAllocateSpinLock()
    NdisAcquireSpinLock(pool.lock)
    NdisDprFreePacketNonInterlocked(packet)
    assert pool.lock.held
    NdisReleaseSpinLock(pool.lock)
    assert not pool.lock.held


def churn(pool: PacketPool, dpr: bool) -> None:
    allocate, free = (NdisDprAllocatePacket, NdisDprFreePacket) if dpr else (NdisAllocatePacket, NdisFreePacket)

    def work() -> None:
        for _ in range(3_000):
            _, packet = allocate(pool)
            if packet is not None:
                free(packet)

    race(4, work)
    assert (NdisPacketPoolUsage(pool), pool.available, whole(pool)) == (0, pool.capacity, True)
    assert pool.allocations + pool.exhausted == 12_000


def test_s000_17_without_a_lock_of_its_own_a_driver_uses_the_plain_pair() -> None:
    churn(pool_of(2), dpr=False)


def test_s000_18_or_the_dpr_pair() -> None:
    churn(pool_of(2), dpr=True)


def test_s000_19_the_name_is_there_under_both_contracts() -> None:
    assert callable(ndis.NdisDprFreePacketNonInterlocked)


def test_s000_20_a_packet_from_the_plain_allocator_is_a_mixture_of_forms() -> None:
    pool = pool_of(1)
    NdisDprFreePacketNonInterlocked(packet_of(pool))
    assert (pool.mixed, NdisPacketPoolUsage(pool)) == (1, 0)
