"""
Hold keeps packets for a while and returns each of them, from its own thread, when it is due.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from protocol.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Wire

FOREVER_MS = 1e9


def frame(number: int = 0) -> bytes:
    return bytes.fromhex("020000000002020000000001 88b5") + number.to_bytes(4) + bytes(42)


def test_a_packet_is_held_and_then_returned_by_another_thread(wire: Wire) -> None:
    hold = Hold(hold_ms=30)
    binding = wire.open(hold)
    wire.give(frame())
    assert (hold.held, hold.passed, binding.promised) == (1, 0, 1)
    wire.wait_for(lambda: hold.held == 0)
    assert (binding.returned, binding.held, wire.pool.usage) == (1, 0, 0)


def test_a_packet_is_not_returned_before_its_time(wire: Wire) -> None:
    hold = Hold(hold_ms=FOREVER_MS)
    binding = wire.open(hold)
    wire.give(*[frame()] * 5)
    assert (hold.held, binding.returned, wire.adapter.counters()["held"]) == (5, 0, 5)


def test_at_most_count_packets_are_held(wire: Wire) -> None:
    hold = Hold(hold_ms=FOREVER_MS, count=3)
    binding = wire.open(hold)
    wire.give(*[frame()] * 7)
    assert (hold.held, hold.passed, binding.held) == (3, 4, 3)


def test_packets_are_passed_while_they_are_low(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=4, low_water=2)
    hold = Hold(hold_ms=FOREVER_MS)
    binding = wire.open(hold)
    wire.give(*[frame()] * 6)
    assert hold.passed == binding.resources > 0
    assert hold.held + hold.passed == 6
    wire.reports.clear()  # it holds most of the pool, and that is reported


def test_every_copy_is_returned(wire: Wire) -> None:
    hold = Hold(hold_ms=1, copies=5)
    binding = wire.open(hold)
    wire.give(*[frame()] * 4)
    wire.wait_for(lambda: hold.held == 0)
    assert (binding.promised, binding.returned) == (20, 20)


def test_unbinding_returns_what_is_held_and_stops_the_worker(wire: Wire) -> None:
    hold = Hold(hold_ms=FOREVER_MS, copies=2)
    binding = wire.open(hold)
    wire.give(*[frame()] * 9)
    wire.adapter.close(binding)
    assert (binding.promised, binding.returned, hold.held, wire.pool.usage) == (18, 18, 0, 0)
    assert not hold.worker.is_alive()


def test_it_can_be_bound_again(wire: Wire) -> None:
    hold = Hold(hold_ms=0)
    wire.adapter.close(wire.open(hold))
    wire.open(hold)
    wire.give(frame())
    wire.wait_for(lambda: hold.held == 0)


class Recorder(Hold):
    """Also writes down which frames were due when, and in which order and on which thread they were returned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.due: dict[int, int] = {}
        self.order: list[int] = []
        self.threads: set[str] = set()

    def receive_complete(self) -> None:
        self.due |= {int.from_bytes(packet.data[14:18]): due for entries in self.collected.values() for due, _, packet in entries}
        super().receive_complete()

    def give_back(self, packet: Any) -> None:
        self.order.append(int.from_bytes(packet.data[14:18]))
        self.threads.add(threading.current_thread().name)
        super().give_back(packet)


def test_packets_held_for_one_time_return_in_their_order(wire: Wire) -> None:
    hold = Recorder(hold_ms=20)
    wire.open(hold)
    wire.give(*(frame(number) for number in range(40)))
    wire.wait_for(lambda: hold.held == 0)
    assert hold.order == list(range(40))
    assert hold.threads == {"hold-recorder"}


def test_random_times_lie_within_the_hold_time_and_come_from_the_seed(make_wire: Callable[..., Wire]) -> None:
    waits = []
    for seed in (1, 1, 2):
        hold = Recorder(hold_ms=FOREVER_MS, random=True, seed=seed)
        wire = make_wire()
        wire.open(hold)
        wire.give(*(frame(number) for number in range(20)))
        waits.append([round(due / 1e11) for due in hold.due.values()])
        assert max(hold.due.values()) - min(hold.due.values()) <= FOREVER_MS * 1e6
        wire.adapter.close(wire.adapter.bindings[0])
        assert hold.order == sorted(hold.due, key=hold.due.__getitem__)
    assert all(abs(one - two) <= 1 for one, two in zip(waits[0], waits[1], strict=True)), "the same seed"
    assert any(abs(one - two) > 1 for one, two in zip(waits[0], waits[2], strict=True)), "another seed"


@pytest.mark.parametrize(
    "options",
    [{"hold_ms": value} for value in (-1, float("nan"), float("inf"))]
    + [{name: value} for name in ("count", "copies") for value in (0, 65_536)],
    ids=str,
)
def test_a_bad_option_is_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))) as error:
        Hold(**options)
    assert "\n" not in str(error.value)


def test_ten_thousand_packets_all_come_home(make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(packets=512)
    hold = Hold(hold_ms=0.5, random=True, copies=2, count=100)
    binding = wire.open(hold)
    for _ in range(10_000):
        wire.give(frame())
    wire.wait_for(lambda: hold.held == 0)
    assert binding.promised == binding.returned == 2 * (10_000 - hold.passed)
    assert (hold.waiting, hold.collected) == ([], {})
