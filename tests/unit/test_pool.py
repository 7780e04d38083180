"""
A pool: limits, order, figures, and what it refuses.
"""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
from unit.wire import Bench, Driver, counts_views, violation

from vnic import Adapter, MiniportDriver, Packet, PacketPool, PacketState, slot_size_for


def mappings(name: str) -> int:
    """Count the mappings of a pool's memory in this process."""
    return Path("/proc/self/maps").read_text().count(f"memfd:vnic-{name} ")


def take(pool: PacketPool) -> Packet:
    packet = pool.allocate()
    assert packet is not None
    return packet


@pytest.mark.parametrize("capacity", [0, -1, 65_536, 1 << 40])
def test_a_pool_has_1_to_65535_packets(capacity: int) -> None:
    assert violation(PacketPool, capacity) == "46"


@pytest.mark.parametrize("capacity", [1, 65_535])
def test_a_pool_may_be_as_small_as_1_and_as_large_as_65535(capacity: int) -> None:
    pool = PacketPool(capacity, 64)
    out = [pool.allocate() for _ in range(capacity)]
    assert None not in out
    assert len({id(packet) for packet in out}) == capacity
    assert (pool.allocate(), pool.available, pool.usage) == (None, 0, capacity)
    for packet in out:
        assert packet is not None
        pool.free(packet)
    assert pool.available == capacity
    pool.close()


@pytest.mark.parametrize(("slot_size", "reserved_size"), [(14, 32), (-64, 32), (64, -1)])
def test_a_slot_that_holds_no_frame_is_refused(slot_size: int, reserved_size: int) -> None:
    with pytest.raises(ValueError, match="cannot hold a frame"):
        PacketPool(4, slot_size, reserved_size=reserved_size)


def test_an_empty_pool_answers_none_and_counts_it() -> None:
    pool = PacketPool(2, 64)
    out = [take(pool), take(pool)]
    assert [pool.allocate() for _ in range(3)] == [None] * 3
    assert (pool.allocations, pool.exhausted, pool.low_water) == (2, 3, 0)
    for packet in out:
        pool.free(packet)
    pool.close()


def test_low_water_is_the_fewest_free_packets_ever() -> None:
    pool = PacketPool(4, 64)
    assert pool.low_water == 4
    first, second = take(pool), take(pool)
    pool.free(second)
    pool.free(first)
    assert (pool.low_water, pool.available) == (2, 4)
    pool.free(take(pool))
    assert (pool.low_water, pool.allocations) == (2, 3)
    pool.close()


def test_the_packet_freed_last_is_allocated_first() -> None:
    pool = PacketPool(3, 64)
    first, second, third = take(pool), take(pool), take(pool)
    assert [first.index, second.index, third.index] == [0, 1, 2]
    for packet in (second, third, first):
        pool.free(packet)
    assert [take(pool).index for _ in range(3)] == [0, 2, 1]
    for packet in pool.packets():
        pool.free(packet)
    pool.close()


def test_an_allocated_packet_has_no_frame_no_flags_and_a_new_generation() -> None:
    pool = PacketPool(1, 64)
    packet = take(pool)
    packet.write(b"x" * 60)
    packet.flags = 7
    pool.free(packet)
    again = take(pool)
    assert again is packet
    assert (packet.length, packet.flags, packet.generation, packet.references) == (0, 0, 2, 0)
    pool.free(packet)
    pool.close()


@pytest.mark.parametrize("what", ["oob", "info", "protocol_reserved"])
def test_what_one_use_had_beside_the_frame_and_nothing_else_is_gone_in_the_next(what: str) -> None:
    pool = PacketPool(1, 64, reserved_size=8)
    packet = take(pool)
    beside = getattr(packet, what)
    if what == "protocol_reserved":
        beside[:] = b"\xff" * 8
    del beside
    pool.free(packet)
    again = take(pool)
    assert again is packet
    assert (packet.has_oob, packet.has_info, bytes(packet.protocol_reserved)) == (False, False, bytes(8))
    pool.free(packet)
    pool.close()


def test_a_packet_is_freed_once() -> None:
    pool = PacketPool(2, 64)
    packet = take(pool)
    pool.free(packet)
    assert violation(pool.free, packet) == "30"
    assert (pool.available, sum(pool.audit().values())) == (2, 2)
    pool.close()


def test_a_packet_is_freed_to_its_own_pool() -> None:
    pool, other = PacketPool(1, 64, name="mine"), PacketPool(1, 64, name="other")
    packet = take(pool)
    assert violation(other.free, packet) == "35"
    assert (packet.state, other.available) == (PacketState.OWNED, 1)
    pool.free(packet)
    pool.close()
    other.close()


def test_a_pool_with_packets_out_is_not_closed() -> None:
    pool = PacketPool(2, 64)
    packet = take(pool)
    assert violation(pool.close) == "39"
    packet.write(b"still usable")
    pool.free(packet)
    pool.close()


def test_a_closed_pool_is_closed_for_good() -> None:
    pool = PacketPool(1, 64)
    packet = take(pool)
    pool.free(packet)
    pool.close()
    pool.close()
    assert violation(pool.allocate) == "40"
    assert violation(pool.free, packet) == "40"


@counts_views
def test_a_quarantined_packet_keeps_its_pool_open() -> None:
    pool = PacketPool(1, 64)
    packet = take(pool)
    packet.write(b"seen")
    view = packet.data
    pool.free(packet)
    assert (pool.allocate(), pool.audit()[PacketState.QUARANTINED]) == (None, 1)
    assert violation(pool.close) == "39"
    view.release()
    assert pool.available == 1
    pool.close()


def test_closing_a_pool_gives_its_memory_back() -> None:
    pool = PacketPool(8, 64, name="closing")
    assert mappings("closing") == 2
    pool.close()
    assert mappings("closing") == 0


def test_a_forgotten_pool_is_collected_with_its_memory() -> None:
    pool = PacketPool(8, 64, name="forgotten")
    taken = take(pool)
    del pool
    gc.collect()
    assert mappings("forgotten") == 2, "a packet keeps its pool"
    taken.write(b"its memory is there")
    del taken
    gc.collect()
    assert mappings("forgotten") == 0


def test_a_forgotten_adapter_is_collected_with_its_drivers() -> None:
    pool = PacketPool(8, slot_size_for(1500), name="adapter")
    adapter = Adapter(pool, MiniportDriver())
    driver = Driver(1)
    adapter.close(adapter.open(driver, "gone"))
    gone = weakref.ref(driver)
    del pool, adapter, driver
    gc.collect()
    assert gone() is None
    assert mappings("adapter") == 0


@counts_views
def test_a_view_keeps_the_memory_that_it_shows() -> None:
    pool = PacketPool(1, 64, name="viewed")
    packet = take(pool)
    packet.write(b"to be seen")
    view = packet.data[6:]
    del pool, packet
    gc.collect()
    assert bytes(view) == b"seen"
    del view
    gc.collect()
    assert mappings("viewed") == 0


@counts_views
def test_a_forgotten_pool_is_collected_although_a_view_of_a_freed_packet_is_forgotten_with_it() -> None:
    pool = PacketPool(1, 64, name="cycle")
    packet = take(pool)
    packet.write(b"seen")
    cycle: list[object] = [packet.data]
    cycle += [cycle, packet, pool]
    pool.free(packet)
    assert packet.state is PacketState.QUARANTINED
    del pool, packet, cycle
    gc.collect()
    assert mappings("cycle") == 0


@pytest.mark.parametrize("mtu", [68, 576, 1500, 9000, 65_521])
def test_the_largest_frame_of_an_mtu_does_not_fill_a_slot(mtu: int) -> None:
    size = slot_size_for(mtu)
    assert size > mtu + 14 + 2 * 4
    assert (size % 64, size // 64 % 2) == (0, 1), "an odd number of cache lines"


def test_an_adapter_refuses_slots_that_are_too_small_for_its_mtu() -> None:
    with pytest.raises(ValueError, match="too small for MTU 1500"):
        Adapter(PacketPool(4, slot_size_for(1500) - 1), MiniportDriver())


def test_audit_counts_every_packet_once() -> None:
    with Bench(packets=5) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.adapter.indicate([bench.owned(), bench.owned()])
        mine = bench.owned()
        counts = {PacketState.FREE: 2, PacketState.OWNED: 1, PacketState.INDICATED: 2}
        assert bench.pool.audit() == {state: counts.get(state, 0) for state in PacketState}
        assert "2 of 5 free" in repr(bench.pool)
        driver.give_back()
        bench.pool.free(mine)
