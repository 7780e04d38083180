"""
The table of counters, and the sums that come out in any snapshot.
"""

from __future__ import annotations

import threading

import pytest
from unit.wire import Bench, Driver, Sender, frame

from vnic import PacketFilter, Status
from vnic.counters import COUNTED, COUNTERS, GAUGES, INTERFACE, RX_DROPS, TX_DROPS, broken_sums


def test_a_snapshot_has_every_counter_and_gauge_of_the_table_and_no_other() -> None:
    with Bench() as bench:
        assert list(bench.adapter.counters()) == [row.name for row in COUNTED + GAUGES]


def test_the_tables_names_are_unique_and_its_rows_explained() -> None:
    assert COUNTERS == COUNTED + GAUGES + INTERFACE
    assert len({row.name for row in COUNTERS}) == len(COUNTERS)
    assert {row.kind for row in COUNTED} == {"counter"}
    assert {row.kind for row in GAUGES} == {"gauge"}
    assert all(row.help and row.unit for row in COUNTERS)


def test_each_broken_sum_is_told() -> None:
    with Bench() as bench:
        values = bench.adapter.counters()
    for name, total in (("rx_filtered", "rx_frames"), ("held", "indicated"), ("tx_frames", "tx_submitted"), ("pool_free", "pool_capacity")):
        wrong = {**values, name: values[name] + 1}
        assert [line.split()[0] for line in broken_sums(wrong)] == [total]
    for name in (*RX_DROPS, *TX_DROPS):
        assert len(list(broken_sums({**values, name: 1}))) == 1


def test_a_pool_that_was_closed_has_no_packets_and_its_adapters_sums_come_out() -> None:
    with Bench(packets=4) as bench:
        bench.adapter.halt()
        bench.adapter.pool.close()
        values = bench.adapter.counters()
        assert (values["pool_capacity"], values["pool_free"], bench.adapter.pool.capacity) == (0, 0, 4)
        assert list(broken_sums(values)) == []


def test_every_way_of_a_frame_is_counted_once() -> None:
    with Bench(packets=4, low_water=1) as bench:
        bench.give(frame(1))
        keeper = Driver(lambda packet: int(packet.status == Status.SUCCESS))
        binding = bench.bind(keeper)
        bench.give(frame(2), b"runt", frame(3, size=bench.pool.slot_size))
        bench.give(frame(4), frame(5), frame(6))
        mine = bench.pool.allocate()
        assert mine is not None
        bench.give(frame(7), frame(8))
        bench.pool.free(mine)
        binding.packet_filter = PacketFilter.NONE
        bench.give(frame(9))
        values = bench.adapter.counters()
        assert list(broken_sums(values)) == []
        expected = {
            "rx_frames": 10,
            "rx_delivered": 4,
            "rx_filtered": 1,
            "rx_dropped_runt": 1,
            "rx_dropped_truncated": 1,
            "rx_dropped_no_packet": 2,
            "rx_dropped_no_driver": 1,
            "rx_resources": 1,
            "held": 3,
        }
        assert {name: values[name] for name in expected} == expected
        assert values["rx_bytes"] == 8 * 60 + 4 + bench.pool.slot_size
        bench.reports.clear()
        keeper.give_back()


@pytest.mark.parametrize("low_water", [0, 8])
def test_sums_come_out_in_a_snapshot_taken_inside_a_handler(low_water: int) -> None:
    broken: list[str] = []

    def look(packet: object) -> int:
        values = bench.adapter.counters()
        values["rx_frames"] = values["rx_delivered"] = 0  # the frame being shown is not finished
        broken.extend(broken_sums(values))
        return 0

    with Bench(low_water=low_water) as bench:
        bench.bind(Driver(look))
        bench.give(frame(1), frame(2), frame(3))
    assert broken == []


def test_sums_come_out_in_a_snapshot_taken_by_another_thread_at_any_time() -> None:
    broken: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            broken.extend(broken_sums(bench.adapter.counters()))

    with Bench(packets=64) as bench:
        driver = Sender(lambda packet: packet.data[-1] & 1)
        binding = bench.bind(driver)
        observer = threading.Thread(target=look)
        observer.start()
        try:
            for mark in range(300):
                bench.give(frame(mark), frame(mark + 1))
                driver.give_back()
                binding.send_packets([bench.owned(frame(mark), bench.own)])
                bench.taken()
        finally:
            done.set()
            observer.join(20)
    assert broken[:3] == []


def test_counters_only_grow() -> None:
    with Bench(packets=4) as bench:
        driver = Driver(1)
        binding = bench.bind(driver)
        before = bench.adapter.counters()
        for mark in range(20):
            bench.give(frame(mark))
            if mark % 3:
                driver.give_back()
            packet = bench.owned(frame(mark)[: 13 + mark % 2], bench.own)
            binding.send(packet)
            bench.own.free(packet)
            after = bench.adapter.counters()
            assert all(after[row.name] >= before[row.name] for row in COUNTED)
            before = after
        driver.give_back()
        bench.taken()
        bench.reports.clear()


def test_a_bindings_own_figures_add_up_to_the_adapters() -> None:
    with Bench(packets=8, low_water=3) as bench:
        drivers = [Driver(lambda packet: int(packet.status == Status.SUCCESS)), Driver()]
        bindings = [bench.bind(driver, f"d{index}") for index, driver in enumerate(drivers)]
        bench.give(*(frame(mark) for mark in range(8)))
        values = bench.adapter.counters()
        assert [binding.delivered for binding in bindings] == [8, 8]
        assert [binding.resources for binding in bindings] == [values["rx_resources"]] * 2
        assert bindings[0].held == values["held"] == values["indicated"] - values["returned"]
        drivers[0].give_back()
        bench.reports.clear()
