"""
The receive matrix, exhaustively: both models, each status, each answer of each of up to three bindings, returns early and late.

After every step it is written down who owns the packet, and how often the miniport has had it back.
"""

from __future__ import annotations

import threading
from itertools import product

import pytest
from unit.wire import Batched, Bench, Driver, Miniport, frame, violation

from vnic import Packet, PacketState, Status

CASES = [
    pytest.param(model, status, answers, early, id=f"{model}-{status.name}-{''.join(map(str, answers))}-{'early' if early else 'late'}")
    for bindings in (1, 2, 3)
    for model, status, answers, early in product(
        ("deserialized", "serialized"), (Status.SUCCESS, Status.RESOURCES), product(range(3), repeat=bindings), (True, False)
    )
]


class Row:
    """One row of the matrix: a bench, a driver for each answer, and the packet."""

    def __init__(self, bench: Bench, miniport: Miniport, answers: tuple[int, ...], early: bool) -> None:
        self.bench, self.miniport, self.early = bench, miniport, early
        self.serialized = bench.adapter.serialized
        self.shown: list[tuple[PacketState, int]] = []
        self.log: list[tuple[int, int]] = []
        self.drivers = [self.driver(index, answer) for index, answer in enumerate(answers)]
        for index, driver in enumerate(self.drivers):
            bench.bind(driver, f"d{index}")

    def driver(self, index: int, answer: int) -> Driver:
        def see(packet: Packet) -> int:
            self.shown.append((packet.state, packet.references))
            assert self.miniport.returned == []
            return answer

        if self.early:
            return Batched(see, at_end=lambda: self.give_back(index))
        return Driver(see)

    def give_back(self, index: int) -> None:
        """Return one by one what a driver keeps; note what is still owed, and how often the packet has come back."""
        driver = self.drivers[index]
        while driver.kept:
            packet = driver.kept.pop()
            driver.binding.return_packets([packet])
            self.log.append((packet.references, len(self.miniport.returned)))

    def give_back_elsewhere(self) -> None:
        """Return everything from other threads, the last binding first."""
        for index in reversed(range(len(self.drivers))):
            thread = threading.Thread(target=self.give_back, args=(index,))
            thread.start()
            thread.join(20)
            assert not thread.is_alive()


def check_success(row: Row, packet: Packet, answers: tuple[int, ...]) -> None:
    """SUCCESS: the holders own it until the last return, then the miniport does, told exactly once."""
    total = sum(answers)
    row.bench.adapter.indicate([packet])
    if row.serialized:
        # kept by a driver: PENDING until the last return; by nobody, or by nobody any more: the miniport's again
        assert packet.status is (Status.PENDING if total and not row.early else Status.SUCCESS)
    assert row.shown == [(PacketState.INDICATED, 1 + sum(answers[:index])) for index in range(len(answers))]
    if total and not row.early:
        assert (packet.state, packet.references, row.miniport.returned) == (PacketState.INDICATED, total, [])
        assert [driver.binding.owed(packet) for driver in row.drivers] == list(answers)
        assert violation(row.bench.pool.free, packet) == "34"
        assert violation(row.bench.adapter.indicate, [packet]) == "17"
        row.bench.expect(("17", "miniport"))
        row.give_back_elsewhere()
    # a serialized miniport is called only where it was told PENDING, and not while its own handler runs
    called = int(total > 0 or not row.serialized)
    told = 0 if row.serialized and row.early else 1
    assert row.log == [(left, told * int(left == 0)) for left in range(total - 1, -1, -1)]
    assert row.miniport.returned == [packet] * called
    assert packet.status is Status.SUCCESS


def check_resources(row: Row, packet: Packet, answers: tuple[int, ...]) -> None:
    """RESOURCES: the miniport's again when the call returns, whatever anybody answered; return_packet is never called."""
    for driver in row.drivers:
        driver.kept = []
    packet.status = Status.RESOURCES
    keeping = [f"d{index}" for index, answer in enumerate(answers) if answer]
    expected = [("10", name) for name in keeping]
    if row.early:
        # what it promised was forced to 0: its return at the end of the batch is refused
        expected += [entry for name in keeping for entry in (("05", name), ("receive_complete", name))]
    row.bench.adapter.indicate([packet])
    assert row.shown == [(PacketState.LENT, 1)] * len(answers)
    row.bench.expect(*expected)
    for driver, answer in zip(row.drivers, answers, strict=True):
        if answer and not row.early:
            assert violation(driver.binding.return_packets, [packet]) == "05"
        assert (driver.binding.promised, driver.binding.owed(packet)) == (0, 0)
    row.bench.reports.clear()
    assert row.miniport.returned == []
    assert packet.status is (Status.SUCCESS if row.serialized else Status.RESOURCES)


@pytest.mark.parametrize(("model", "status", "answers", "early"), CASES)
def test_who_owns_the_packet_when(model: str, status: Status, answers: tuple[int, ...], early: bool) -> None:
    miniport = Miniport(frees=False)
    with Bench(packets=1, miniport=miniport, serialized=model == "serialized") as bench:
        row = Row(bench, miniport, answers, early)
        packet = bench.owned(frame(7))
        if status is Status.SUCCESS:
            check_success(row, packet, answers)
        else:
            check_resources(row, packet, answers)
        assert (packet.state, packet.references) == (PacketState.OWNED, 0)
        assert [driver.frames for driver in row.drivers] == [[frame(7)]] * len(answers)
        for driver in row.drivers:
            assert violation(driver.binding.return_packets, [packet]) == "05"
        bench.reports.clear()
        bench.pool.free(packet)
