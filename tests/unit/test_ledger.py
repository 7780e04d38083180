"""
Who holds what, since when, and which line of whose code is to be asked.
"""

from __future__ import annotations

from unit.wire import Bench, Driver, frame

from vnic.ledger import holdings, where


def test_holdings_lists_each_holder_of_each_packet_the_oldest_first() -> None:
    with Bench() as bench:
        first, second = Driver(2), Driver(1)
        one, two = bench.bind(first, "first"), bench.bind(second, "second")
        bench.give(frame(1))
        first.answer = 0
        bench.give(frame(2))
        old, new = second.kept
        found = [(holding.binding, holding.packet, holding.owed) for holding in holdings(bench.adapter)]
        assert found == [(one, old, 2), (two, old, 1), (two, new, 1)]
        ages = [holding.age_ns for holding in holdings(bench.adapter)]
        assert ages[0] == ages[1] > ages[2] > 0
        one.return_packets([old])
        assert [(holding.owed, holding.binding.name) for holding in holdings(bench.adapter)] == [(1, "first"), (1, "second"), (1, "second")]
        one.return_packets([old])
        second.give_back()
        assert holdings(bench.adapter) == []


def test_holdings_change_nothing() -> None:
    with Bench() as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame())
        before = bench.adapter.counters(), driver.kept[0].references
        holdings(bench.adapter)
        assert (bench.adapter.counters(), driver.kept[0].references) == before
        driver.give_back()


def test_what_is_owed_is_told_packet_by_packet() -> None:
    with Bench() as bench:
        driver = Driver(3)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        first, second = driver.kept[0], driver.kept[3]
        binding.return_packets([first, first])
        assert (binding.owed(first), binding.owed(second), binding.held) == (1, 3, 4)
        assert binding.owed(bench.pool.packets()[-1]) == 0
        binding.return_packets([first, second, second, second])
        assert (binding.owed(first), binding.owed(second)) == (0, 0)


def test_where_names_the_drivers_own_line() -> None:
    lines: list[str] = []

    class Here(Driver):
        def receive_packet(self, packet: object) -> int:
            lines.append(where(self))
            return 0

    with Bench() as bench:
        driver = Here()
        bench.bind(driver)
        bench.give(frame())
    running = Here.receive_packet.__code__.co_firstlineno + 1
    assert lines == [f"{__file__}:{running}"]


def test_where_names_the_handler_of_a_driver_that_is_not_running() -> None:
    code = Driver.receive_packet.__code__
    assert where(Driver()) == f"{code.co_filename}:{code.co_firstlineno}"
    assert where(Driver(), "no_such_handler").startswith(code.co_filename)
