"""
Resets, hang checks, power events, and what the miniport is told of its bindings: the corners.
"""

from __future__ import annotations

from typing import Any

import pytest
from unit.living import Alive, Nic
from unit.wire import Bench, Driver, frame, violation

from vnic import Binding, PacketFilter, Status, VnicError
from vnic.oids import Oid
from vnic.pnp import PnpEvent, PowerState
from vnic.request import Request, RequestKind
from vnic.reset import Attributes
from vnic.timers import VirtualClock

PENDING, SUCCESS, RESETTING = Status.PENDING, Status.SUCCESS, Status.RESET_IN_PROGRESS
FILTER, LIST = Oid.GEN_CURRENT_PACKET_FILTER, Oid.IEEE_802_3_MULTICAST_LIST


class Started(Bench):
    """A bench whose miniport has started."""

    def __init__(self, nic: Nic | None = None, clock: VirtualClock | None = None) -> None:
        self.nic = nic or Nic()
        self.clock = clock or VirtualClock()
        super().__init__(miniport=self.nic, clock=self.clock)
        self.adapter.initialize()
        self.nic.log.clear()

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(int(seconds * 1000), self.adapter.timers)


def ask(binding: Binding, oid: int, kind: RequestKind = RequestKind.QUERY) -> tuple[Request, Status]:
    request = Request(kind, oid, bytearray(4))
    return request, binding.request(request)


def test_a_reset_that_raises_is_a_failure() -> None:
    nic = Nic(resets=lambda: 1 / 0)
    with Started(nic) as bench:
        driver = Alive()
        bench.bind(driver)
        assert bench.adapter.reset() is Status.FAILURE
        bench.expect(("reset", "miniport"))
        assert driver.log == ["RESET_START", "complete", "RESET_END", "complete"]


@pytest.mark.parametrize("answer", [None, Status.SUCCESS, ("yes", True)])
def test_a_reset_that_answers_nonsense_is_a_failure(answer: Any) -> None:
    with Started(Nic(resets=lambda: answer)) as bench:
        assert bench.adapter.reset() is Status.FAILURE
        bench.expect(("reset", "miniport"))


def test_a_completion_from_inside_reset_is_its_answer() -> None:
    nic: Nic = Nic(resets=lambda: bench.adapter.reset_complete(Status.SOFT_ERRORS, False) or (PENDING, False))
    bench: Started = Started(nic)
    with bench:
        driver = Alive()
        assert bench.bind(driver).reset() is Status.SOFT_ERRORS
        assert driver.log == ["RESET_START", "complete", "RESET_END", "complete"]


def test_a_driver_that_asks_for_a_reset_in_the_middle_of_one_is_refused() -> None:
    class Eager(Driver):
        def status(self, status: Status, buffer: bytes) -> None:
            if status is Status.RESET_START:
                self.asked = self.binding.reset()

    with Started() as bench:
        driver = Eager()
        bench.bind(driver)
        assert bench.adapter.reset() is SUCCESS
        assert driver.asked is RESETTING


def test_a_halted_adapter_is_not_reset() -> None:
    with Started() as bench:
        bench.adapter.halt()
        assert bench.adapter.reset() is Status.CLOSING
        assert not bench.adapter.check_for_hang()


def test_an_initiator_that_has_closed_meanwhile_is_told_nothing() -> None:
    with Started(Nic(resets=(PENDING, False))) as bench:
        driver = Alive()
        binding = bench.bind(driver)
        assert binding.reset() is PENDING
        bench.adapter.close(binding)
        bench.adapter.reset_complete(SUCCESS, False)
        assert driver.log == ["RESET_START", "complete", "unbind"]


def test_what_is_told_during_a_reset_is_told_after_it() -> None:
    with Started(Nic(resets=(PENDING, False))) as bench:
        binding = bench.bind(Driver())
        bench.adapter.reset()
        bench.nic.told.clear()
        binding.packet_filter = PacketFilter.DIRECTED
        assert bench.nic.told == []
        bench.adapter.reset_complete(SUCCESS, False)
        assert bench.nic.told == [(FILTER, b"\1\0\0\0")]


def test_what_the_reset_interrupted_is_told_again() -> None:
    nic = Nic(resets=(PENDING, False))
    with Started(nic) as bench:
        nic.set_answer = PENDING
        bench.bind(Driver())
        assert nic.told == [(FILTER, b"\x20\0\0\0")]
        bench.adapter.reset()
        nic.set_answer = SUCCESS
        bench.adapter.reset_complete(SUCCESS, False)
        assert nic.told == [(FILTER, b"\x20\0\0\0")] * 2


def test_the_first_filter_and_every_change_is_told_and_no_other() -> None:
    with Started() as bench:
        told = bench.nic.told
        first, second = Driver(), Driver()
        binding = bench.bind(first)
        assert told.pop() == (FILTER, b"\x20\0\0\0")
        other = bench.bind(second, "b")
        other.packet_filter = PacketFilter.BROADCAST
        assert told.pop() == (FILTER, b"\x28\0\0\0")
        binding.multicast_list = [b"\1" * 6]
        other.multicast_list = [b"\3" * 6, b"\1" * 6]
        assert told == [(LIST, b"\1" * 6), (LIST, b"\1" * 6 + b"\3" * 6)]
        told.clear()
        binding.multicast_list = []
        assert told == []
        bench.adapter.close(other)
        assert sorted(told) == [(FILTER, b"\x20\0\0\0"), (LIST, b"")]


def test_a_filter_set_by_request_is_told_after_the_answer() -> None:
    with Started() as bench:
        binding = bench.bind(Driver())
        bench.nic.told.clear()
        request = Request(RequestKind.SET, FILTER, bytearray(b"\1\0\0\0"))
        assert binding.request(request) is SUCCESS
        assert bench.nic.told == [(FILTER, b"\1\0\0\0")]


def test_settings_wait_for_the_request_that_is_below() -> None:
    with Started() as bench:
        binding = bench.bind(Driver())
        bench.nic.told.clear()
        _, status = ask(binding, 0x55)
        binding.packet_filter = PacketFilter.DIRECTED
        assert (status, bench.nic.told, binding.pending_io) == (PENDING, [], 1)
        bench.adapter.requests.query_complete(SUCCESS, 4)
        assert (bench.nic.told, binding.pending_io) == ([(FILTER, b"\1\0\0\0")], 0)


def test_a_request_below_for_two_intervals_resets() -> None:
    with Started() as bench:
        driver = Alive()
        binding = bench.bind(driver)
        ask(binding, 0x55)
        bench.advance(4)
        assert bench.nic.log == [0x55, "hang?", "hang?"]
        bench.advance(2)
        assert bench.nic.log[3:] == ["hang?", "reset"]
        assert driver.log == ["RESET_START", "complete", ("request", RESETTING), "RESET_END", "complete"]
        bench.advance(20)
        assert bench.nic.log.count("reset") == 1


def test_a_request_may_take_long_if_the_miniport_says_so() -> None:
    nic: Nic = Nic(starts=lambda: bench.adapter.set_attributes(3, Attributes.IGNORE_REQUEST_TIMEOUT) or SUCCESS)
    clock = VirtualClock()
    bench: Bench = Bench(miniport=nic, clock=clock)
    with bench:
        bench.adapter.initialize()
        nic.log.clear()
        ask(bench.bind(Driver()), 0x55)
        clock.advance(40_000, bench.adapter.timers)
        assert nic.log == [0x55] + ["hang?"] * 10
        bench.adapter.requests.query_complete(SUCCESS)


def test_the_timer_ends_with_the_adapter_and_waits_for_a_reset() -> None:
    with Started(Nic(hangs=True, resets=(PENDING, False))) as bench:
        bench.advance(10)
        assert bench.nic.log == ["hang?", "reset"]
        bench.adapter.reset_complete(SUCCESS, False)
        bench.advance(2)
        assert bench.nic.log == ["hang?", "reset"] * 2
        bench.adapter.halt()
        assert bench.adapter.timers.queued == ()


def test_the_events_of_power_end_with_the_last_answer() -> None:
    with Started() as bench:
        drivers = [Alive(power=PENDING), Alive(), Alive(power=PENDING)]
        bindings = [bench.bind(driver, f"d{index}") for index, driver in enumerate(drivers)]
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D3) is PENDING
        with pytest.raises(VnicError, match="SET_POWER is not over"):
            bench.adapter.pnp_event(PnpEvent.QUERY_POWER)
        bindings[0].complete_pnp_event(PnpEvent.SET_POWER, SUCCESS)
        powers = [bench.adapter.power]
        bench.adapter.close(bindings[2])
        assert [*powers, bench.adapter.power] == [PowerState.D0, PowerState.D3]
        bench.give(frame())
        assert bench.adapter.counters()["rx_dropped_no_driver"] == 1
        drivers[0].power = None
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D0) is SUCCESS
        bench.give(frame())
        assert [driver.frames for driver in drivers] == [[frame()], [frame()], []]
        assert violation(bindings[0].complete_pnp_event, PnpEvent.SET_POWER, SUCCESS) == "65"
        bench.expect(("65", "d0"))


def test_a_driver_that_fails_at_an_event_is_reported_and_stays() -> None:
    with Started() as bench:
        binding = bench.bind(Alive(power=lambda: 1 / 0))
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D2) is SUCCESS
        bench.expect(("pnp_event", "a"))
        assert not binding.closing
