"""
What is compared from verifier level 3 on, and what a refusal tells of the packets that are out.
"""

from __future__ import annotations

import gc
import time

import pytest
from unit.wire import Bench, Driver, Miniport, frame

from vnic import BufferPool, ContractViolation, Packet, PacketPool
from vnic.verifier.blocking import watch_blocking_calls
from vnic.verifier.levels import set_level
from vnic.verifier.records import RECORDS


def keeping_a_way_in(bench: Bench) -> tuple[Packet, memoryview]:
    """A packet that the miniport still has a writable view of while a driver holds it."""
    packet = bench.owned(frame(1))
    way_in = packet.data
    bench.adapter.indicate([packet])
    return packet, way_in


@pytest.mark.parametrize("looked_at", [False, True], ids=["not looked at", "its buffers looked at"])
def test_a_change_of_a_packet_that_is_held_is_found_however_the_packet_was_looked_at(looked_at: bool) -> None:
    with Bench(miniport=Miniport()) as bench:
        bench.adapter.verifier_level = 3
        driver = Driver(1)
        binding = bench.bind(driver)
        packet, way_in = keeping_a_way_in(bench)
        if looked_at:
            assert len(packet.buffers) == 1
        way_in[20] ^= 0xFF
        way_in.release()
        binding.return_packets(driver.kept)
        bench.expect(("18", "miniport"))
        record = RECORDS.all()[-1]
        assert (record["id"], [change["off"] for change in record["diff"]]) == ("18", [20])


def test_a_pool_that_cannot_be_closed_says_which_lines_have_its_packets() -> None:
    pool = PacketPool(4, 64, name="mine")
    first = [pool.allocate() for _ in range(2)]
    last = pool.allocate()
    with pytest.raises(ContractViolation, match="rule 39"):
        pool.close()
    outstanding = RECORDS.all()[-1]["outstanding"]
    assert [found["count"] for found in outstanding] == [2, 1]
    assert all(found["site"].startswith(__file__) for found in outstanding)
    for packet in (*first, last):
        assert packet is not None
        pool.free(packet)
    pool.close()


def test_a_handler_that_sleeps_is_told_of_from_level_2_on_and_nobody_else() -> None:
    watch_blocking_calls()
    with Bench() as bench:
        bench.bind(Driver(0, lambda _packet: time.sleep(0)))
        bench.give(frame(1))
        bench.adapter.verifier_level = 2
        time.sleep(0)
        bench.give(frame(1))
        bench.expect(("72", "a"))


def test_a_pool_of_buffers_without_a_name_is_told_of_and_one_with_a_name_is_not() -> None:
    RECORDS.clear()
    BufferPool(4, "named")
    assert RECORDS.counts["45"] == 0
    BufferPool(4)
    assert RECORDS.counts["45"] == 1


def test_there_is_no_level_above_4() -> None:
    with pytest.raises(ValueError, match="verifier level 5: 0 to 4"):
        set_level(5)


def test_what_the_collector_of_garbage_takes_is_no_time_of_a_driver_and_a_driver_that_takes_as_long_is_slow() -> None:
    watch_blocking_calls()
    heap = [[number] for number in range(1_000_000)]

    def collects(_packet: Packet) -> None:
        gc.collect()

    def works(_packet: Packet) -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    for look, expected in ((collects, []), (works, [("81", "a")])):
        with Bench() as bench:
            bench.adapter.verifier_level = 2
            bench.bind(Driver(0, look))
            bench.give(frame(1))
            bench.expect(*expected)
    assert len(heap) == 1_000_000
