"""
Section "Binding and lifecycle" of the contract, on the real core: what happens, in which order, and how often.
"""

from __future__ import annotations

import pytest
from unit.living import Alive, Nic
from unit.wire import US, Bench, Driver, Miniport, frame, violation

from vnic import MiniportDriver, Packet, PacketFilter, Status, VnicError
from vnic.oids import Oid
from vnic.pnp import DeviceEvent, PnpEvent, PowerState
from vnic.request import Request, RequestKind
from vnic.timers import VirtualClock

PENDING, SUCCESS = Status.PENDING, Status.SUCCESS
FILTER, LIST, LOOKAHEAD = Oid.GEN_CURRENT_PACKET_FILTER, Oid.IEEE_802_3_MULTICAST_LIST, Oid.GEN_CURRENT_LOOKAHEAD
BRACKET = ["RESET_START", "complete", "RESET_END", "complete"]


class Started(Bench):
    """A bench whose miniport has started."""

    def __init__(self, nic: Nic | None = None) -> None:
        self.nic = nic or Nic()
        self.clock = VirtualClock()
        super().__init__(miniport=self.nic, clock=self.clock)
        self.adapter.initialize()
        self.nic.log.clear()


@pytest.mark.parametrize("status", [Status.FAILURE, Status.UNSUPPORTED_MEDIA, Status.NOT_ACCEPTED, Status.RESOURCES])
def test_lc_05_initialize_may_fail_and_then_nothing_is_opened(status: Status) -> None:
    nic = Nic(starts=status)
    with Bench(miniport=nic) as bench:
        assert bench.adapter.initialize() is status
        with pytest.raises(VnicError, match="has not started"):
            bench.bind(Driver())


def test_lc_07_nothing_is_asked_before_initialize_answers_and_then_four_things() -> None:
    nic: Nic = Nic(starts=lambda: SUCCESS if nic.log == ["initialize"] else Status.FAILURE)
    with Bench(miniport=nic) as bench:
        assert bench.adapter.initialize() is SUCCESS
    four = [Oid.GEN_MAXIMUM_LOOKAHEAD, Oid.GEN_MAC_OPTIONS, Oid.IEEE_802_3_CURRENT_ADDRESS, Oid.IEEE_802_3_MAXIMUM_LIST_SIZE]
    assert nic.log == ["initialize", *four, "halt"]


def test_lc_07_the_address_is_the_miniports() -> None:
    class Named(MiniportDriver):
        def initialize(self) -> Status:
            return SUCCESS

        def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
            if oid != Oid.IEEE_802_3_CURRENT_ADDRESS:
                return Status.NOT_SUPPORTED, 0, 0
            buffer[:6] = b"\2\0\0\0\0\x77"
            return SUCCESS, 6, 0

    with Bench(miniport=Named()) as bench:
        assert bench.adapter.address == US
        bench.adapter.initialize()
        driver = Driver()
        bench.bind(driver).packet_filter = PacketFilter.DIRECTED
        bench.give(frame(1, to=US), frame(2, to=b"\2\0\0\0\0\x77"))
        assert (driver.binding.address, driver.frames) == (b"\2\0\0\0\0\x77", [frame(2, to=b"\2\0\0\0\0\x77")])


def test_lc_08_the_first_thing_the_miniport_is_told_is_the_filter_of_the_first_binding() -> None:
    with Started() as bench:
        assert bench.nic.told == []
        bench.bind(Driver())
        assert bench.nic.told == [(FILTER, b"\x20\0\0\0")]


@pytest.mark.parametrize(("seconds", "interval"), [(0, 2), (1, 2), (2, 2), (3, 4), (9, 10)])
def test_lc_11_the_interval_is_a_multiple_of_two_seconds(seconds: int, interval: int) -> None:
    nic: Nic = Nic(starts=lambda: bench.adapter.set_attributes(seconds) or SUCCESS)
    clock = VirtualClock()
    bench: Bench = Bench(miniport=nic, clock=clock)
    with bench:
        bench.adapter.initialize()
        nic.log.clear()
        clock.advance(interval * 1000 - 1, bench.adapter.timers)
        assert nic.log == []
        clock.advance(1, bench.adapter.timers)
        assert nic.log == ["hang?"]


def test_lc_11_lc_17_a_request_that_exceeds_two_intervals_resets() -> None:
    with Started() as bench:
        driver = Alive()
        binding = bench.bind(driver)
        assert binding.request(Request(RequestKind.QUERY, 0x55, bytearray(4))) is PENDING
        bench.clock.advance(6000, bench.adapter.timers)
        assert bench.nic.log.count("reset") == 1
        assert ("request", Status.RESET_IN_PROGRESS) in driver.log


@pytest.mark.parametrize("pends", [False, True])
def test_lc_13_every_binding_is_told_before_and_after_a_reset(pends: bool) -> None:
    with Started(Nic(resets=(PENDING if pends else SUCCESS, False))) as bench:
        drivers = [Alive(), Alive()]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        assert bench.adapter.reset() is (PENDING if pends else SUCCESS)
        if pends:
            assert [driver.log for driver in drivers] == [BRACKET[:2]] * 2
            bench.adapter.reset_complete(SUCCESS, False)
        assert [driver.log for driver in drivers] == [BRACKET] * 2


def test_lc_13_sends_and_requests_are_refused_during_a_reset() -> None:
    with Started(Nic(resets=(PENDING, False))) as bench:
        driver = Alive()
        binding = bench.bind(driver)
        request = Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))
        packet = bench.owned(frame(), bench.own)
        bench.adapter.reset()
        assert binding.send(packet) is Status.RESET_IN_PROGRESS
        assert binding.request(request) is Status.RESET_IN_PROGRESS
        binding.send_packets([packet])
        assert driver.completed == [(frame(), Status.RESET_IN_PROGRESS)]
        assert bench.adapter.reset() is Status.RESET_IN_PROGRESS
        bench.adapter.reset_complete(SUCCESS, False)
        assert binding.request(request) is SUCCESS
        assert binding.send(bench.owned(frame(), bench.own)) is PENDING
        bench.adapter.send_complete(bench.nic.sending.pop(), SUCCESS)


@pytest.mark.parametrize("pends", [False, True])
def test_lc_14_addressing_reset_makes_the_library_tell_everything_again(pends: bool) -> None:
    with Started(Nic(resets=(PENDING if pends else SUCCESS, not pends))) as bench:
        bench.bind(Driver()).multicast_list = [b"\1" * 6]
        bench.nic.told.clear()
        bench.adapter.reset()
        if pends:
            assert bench.nic.told == []
            bench.adapter.reset_complete(SUCCESS, True)
        assert bench.nic.told == [
            (FILTER, b"\x20\0\0\0"),
            (LIST, b"\1" * 6),
            (LOOKAHEAD, bench.pool.slot_size.to_bytes(4, "little")),
        ]


def test_lc_14_without_addressing_reset_the_miniport_restores_them() -> None:
    with Started() as bench:
        bench.bind(Driver())
        bench.nic.told.clear()
        assert bench.adapter.reset() is SUCCESS
        assert bench.nic.told == []


def test_lc_15_a_miniport_completes_its_sends_in_reset() -> None:
    def complete() -> tuple[Status, bool]:
        for packet in nic.sending:
            bench.adapter.send_complete(packet, Status.FAILURE)
        return SUCCESS, False

    nic = Nic(resets=complete)
    with Started(nic) as bench:
        driver = Alive()
        bench.bind(driver).send(bench.owned(frame(), bench.own))
        assert bench.adapter.reset() is SUCCESS
        assert driver.completed == [(frame(), Status.FAILURE)]


def test_lc_15_requests_that_wait_or_are_below_end_with_the_reset() -> None:
    with Started() as bench:
        driver = Alive()
        binding = bench.bind(driver)
        for _ in range(3):
            binding.request(Request(RequestKind.QUERY, 0x55, bytearray(4)))
        assert bench.adapter.reset() is SUCCESS
        ended = ("request", Status.RESET_IN_PROGRESS)
        assert driver.log == [ended, ended, *BRACKET[:2], ended, *BRACKET[2:]]
        assert violation(bench.adapter.requests.query_complete, SUCCESS) == "68a"
        bench.expect(("68a", "miniport"))


def test_lc_16_a_pending_reset_is_completed_exactly_once() -> None:
    with Started(Nic(resets=(PENDING, False))) as bench:
        assert violation(bench.adapter.reset_complete, SUCCESS, False) == "65"
        bench.adapter.reset()
        bench.adapter.reset_complete(SUCCESS, False)
        assert violation(bench.adapter.reset_complete, SUCCESS, False) == "65"
        bench.expect(("65", "miniport"), ("65", "miniport"))


@pytest.mark.parametrize("pends", [False, True])
def test_lc_17_reset_complete_is_for_the_initiator_and_only_after_pending(pends: bool) -> None:
    with Started(Nic(resets=(PENDING if pends else Status.HARD_ERRORS, False))) as bench:
        initiator, other = Alive(), Alive()
        binding = bench.bind(initiator, "initiator")
        bench.bind(other, "other")
        assert binding.reset() is (PENDING if pends else Status.HARD_ERRORS)
        if pends:
            bench.adapter.reset_complete(Status.HARD_ERRORS, False)
        assert initiator.log == BRACKET + [("reset", Status.HARD_ERRORS)] * pends
        assert other.log == BRACKET


def test_lc_17_a_hanging_nic_is_reset() -> None:
    with Started(Nic(hangs=True)) as bench:
        assert bench.adapter.check_for_hang()
        assert bench.nic.log == ["hang?", "reset"]
        bench.nic.hangs = False
        assert not bench.adapter.check_for_hang()
        assert bench.nic.log == ["hang?", "reset", "hang?"]


def test_lc_13_a_miniport_without_reset_is_not_resettable_and_nobody_is_told() -> None:
    with Bench() as bench:
        driver = Alive()
        assert bench.bind(driver).reset() is Status.NOT_RESETTABLE
        assert driver.log == []


def test_lc_18_lc_20_halt_comes_once_when_every_binding_is_gone_and_every_packet_back() -> None:
    """Rule 97 cannot be broken: the library does not call halt before."""

    class Watching(Nic):
        def halt(self) -> None:
            super().halt()
            assert (self.adapter.bindings, self.adapter.wait_for_packets(0)) == ((), True)

    nic = Watching()
    with Started(nic) as bench:
        nic.adapter = bench.adapter
        driver = Alive(1)
        binding = bench.bind(driver)
        bench.give(frame())
        assert not bench.adapter.wait_for_packets(0)
        bench.adapter.close(binding)
        bench.adapter.halt()
        assert nic.log == []
        driver.give_back()
        assert nic.log == ["halt"]
    assert nic.log == ["halt"]


def test_lc_22_no_status_from_halt_or_after_it() -> None:
    caught: list[str] = []

    class Talkative(Miniport):
        def halt(self) -> None:
            caught.append(violation(bench.adapter.indicate_status, Status.MEDIA_DISCONNECT))
            caught.append(violation(bench.adapter.indicate_status_complete))

    with Bench(miniport=Talkative()) as bench:
        bench.adapter.halt()
        assert caught == ["21", "21"]
        bench.expect(("21", "miniport"), ("21", "miniport"))


def test_lc_24_a_bind_may_pend() -> None:
    with Bench() as bench:
        driver = Alive(bind=PENDING)
        binding = bench.bind(driver)
        bench.give(frame(1))
        binding.complete_bind(SUCCESS)
        bench.give(frame(2))
        assert driver.frames == [frame(2)]


def test_lc_25_a_driver_may_ask_while_its_bind_pends() -> None:
    with Bench() as bench:
        binding = bench.bind(Alive(bind=PENDING))
        assert binding.request(Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))) is SUCCESS
        binding.complete_bind(SUCCESS)


def test_lc_26_filter_and_multicast_list_are_empty_at_first() -> None:
    with Bench() as bench:
        binding = bench.bind(Alive(bind=PENDING))
        assert (binding.packet_filter, binding.multicast_list) == (PacketFilter.NONE, ())
        binding.complete_bind(SUCCESS)


def test_lc_27_close_complete_only_after_pending() -> None:
    with Bench() as bench:
        quick, slow = Alive(), Alive(1)
        first, second = bench.bind(quick, "quick"), bench.bind(slow, "slow")
        bench.give(frame())
        assert (bench.adapter.close(first), bench.adapter.close(second)) == (SUCCESS, PENDING)
        slow.give_back()
        assert (quick.log, slow.log) == (["unbind"], ["unbind", "closed"])


def test_lc_28_the_order_of_unbinding() -> None:
    class Orderly(Alive):
        def unbind_adapter(self) -> None:
            binding = self.binding
            self.log += [binding.packet_filter, binding.multicast_list, binding.pending_io, binding.held]
            packet = bench.owned(frame(), bench.own)
            self.log.append(binding.send(packet))
            bench.own.free(packet)
            self.give_back()
            binding.packet_filter, binding.multicast_list = PacketFilter.NONE, ()

    with Bench() as bench:
        driver = Orderly(1)
        binding = bench.bind(driver)
        binding.multicast_list = [b"\1" * 6]
        bench.fill_cable(binding)
        bench.give(frame())
        assert bench.adapter.close(binding) is SUCCESS
        assert driver.log == [PacketFilter.NONE, (), 0, 1, Status.CLOSING]
        assert driver.completed[-1][1] is Status.REQUEST_ABORTED


def test_lc_28_an_unbind_may_pend() -> None:
    with Bench() as bench:
        driver = Alive(unbind=PENDING)
        binding = bench.bind(driver)
        assert bench.adapter.close(binding) is PENDING
        binding.complete_unbind()
        assert (binding.closed, driver.log) == (True, ["unbind", "closed"])


def test_lc_30_the_handle_is_dead_from_the_close_on_and_only_returns_are_taken() -> None:
    """Rule 98, and 57 for sends."""
    with Bench() as bench:
        driver = Alive(1)
        binding = bench.bind(driver)
        bench.give(frame())
        assert bench.adapter.close(binding) is PENDING
        packet = bench.owned(frame(), bench.own)
        assert violation(setattr, binding, "packet_filter", PacketFilter.DIRECTED) == "98"
        assert violation(setattr, binding, "multicast_list", ()) == "98"
        assert violation(binding.reset) == "98"
        assert violation(binding.cancel_sends, 1) == "98"
        assert violation(binding.request, Request(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4))) == "98"
        assert violation(binding.send, packet) == violation(binding.send_packets, [packet]) == "57"
        bench.own.free(packet)
        bench.expect(*[("98", "a")] * 5, *[("57", "a")] * 2)
        driver.give_back()
        assert binding.closed


def test_lc_30_requests_are_over_before_close_complete() -> None:
    with Started() as bench:
        driver = Alive(1)
        binding = bench.bind(driver)
        bench.give(frame())
        binding.request(Request(RequestKind.QUERY, 0x55, bytearray(4)))
        bench.adapter.close(binding)
        driver.give_back()
        assert driver.log == [("request", Status.REQUEST_ABORTED), "unbind", "closed"]


def test_lc_31_a_binding_that_holds_packets_closes_when_they_are_back() -> None:
    with Bench() as bench:
        driver = Alive(2)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is PENDING
        while driver.kept:
            assert not binding.closed
            binding.return_packets([driver.kept.pop()])
        assert binding.closed


def test_lc_32_a_status_and_its_buffer_reach_every_binding_and_several_share_a_complete() -> None:
    with Bench() as bench:
        drivers = [Alive(), Alive()]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        bench.bind(Driver(), "deaf")
        bench.adapter.indicate_status(Status.LINK_SPEED_CHANGE, b"\1\2\3\4")
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        bench.adapter.indicate_status_complete()
        told = [("LINK_SPEED_CHANGE", b"\1\2\3\4"), "MEDIA_CONNECT", "complete"]
        assert [driver.log for driver in drivers] == [told, told]


@pytest.mark.parametrize("event", [event for event in PnpEvent if event is not PnpEvent.QUERY_REMOVE_DEVICE], ids=lambda event: event.name)
def test_lc_35_events_succeed_whatever_a_driver_answers(event: PnpEvent) -> None:
    with Bench() as bench:
        drivers = [Alive(power=Status.FAILURE), Alive(), Driver()]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        assert bench.adapter.pnp_event(event) is SUCCESS
        assert len(bench.adapter.bindings) == 3


def test_lc_35_a_driver_may_refuse_that_the_device_is_removed() -> None:
    with Bench() as bench:
        bench.bind(Alive(power=Status.FAILURE), "no")
        bench.bind(Alive(), "yes")
        assert bench.adapter.pnp_event(PnpEvent.QUERY_REMOVE_DEVICE) is Status.FAILURE
        assert bench.adapter.pnp_event(PnpEvent.CANCEL_REMOVE_DEVICE) is SUCCESS


@pytest.mark.parametrize("pends", [False, True])
def test_lc_35_a_driver_that_does_not_support_set_power_is_unbound(pends: bool) -> None:
    with Bench() as bench:
        driver = Alive(power=PENDING if pends else Status.NOT_SUPPORTED)
        binding = bench.bind(driver)
        assert bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D3) is (PENDING if pends else SUCCESS)
        if pends:
            binding.complete_pnp_event(PnpEvent.SET_POWER, Status.NOT_SUPPORTED)
        assert (driver.log, binding.closed) == ([PnpEvent.SET_POWER, "unbind"], True)
        assert bench.adapter.power is PowerState.D3


def test_lc_36_pending_io_counts_sends_and_requests() -> None:
    with Started() as bench:
        binding = bench.bind(Alive())
        assert (binding.pending_io, bench.adapter.pending_io) == (0, 0)
        binding.send(bench.owned(frame(), bench.own))
        for _ in range(2):
            binding.request(Request(RequestKind.QUERY, 0x55, bytearray(4)))
        assert (binding.pending_io, bench.adapter.pending_io) == (3, 3)
        bench.adapter.send_complete(bench.nic.sending.pop(), SUCCESS)
        bench.adapter.requests.query_complete(SUCCESS)
        bench.adapter.requests.query_complete(SUCCESS)
        assert binding.pending_io == 0


def test_lc_36_in_low_power_nothing_is_shown() -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D2)
        bench.give(frame(1))
        bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D0)
        bench.give(frame(2))
        assert driver.frames == [frame(2)]


def test_rx_07_whether_the_miniport_may_indicate() -> None:
    """Rule 93 before a filter and in low power, 21 after halt."""
    with Started() as bench:
        bench.adapter._may_indicate()
        binding = bench.bind(Driver())
        bench.adapter._may_indicate()
        bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D3)
        bench.adapter._may_indicate()
        bench.adapter.pnp_event(PnpEvent.SET_POWER, PowerState.D0)
        binding.packet_filter = PacketFilter.NONE
        bench.adapter._may_indicate()
        bench.expect(*[("93", "miniport")] * 3)
        bench.adapter.halt()
        assert violation(bench.adapter._may_indicate) == "21"
        bench.expect(("21", "miniport"))


def test_a_device_event_is_for_the_miniport_alone() -> None:
    """MiniportPnPEventNotify."""
    with Started() as bench:
        driver = Alive()
        bench.bind(driver)
        assert bench.adapter.pnp_event(DeviceEvent.SURPRISE_REMOVED) is SUCCESS
        assert (bench.nic.log, driver.log) == ([DeviceEvent.SURPRISE_REMOVED], [])


def test_oid_05_rx_56_the_miniport_is_told_the_or_of_all_filters_and_the_union_of_all_lists() -> None:
    with Started() as bench:
        first, second = bench.bind(Driver(), "first"), bench.bind(Driver(), "second")
        first.packet_filter, second.packet_filter = PacketFilter.DIRECTED, PacketFilter.BROADCAST
        first.multicast_list, second.multicast_list = [b"\3" * 6], [b"\1" * 6]
        told = dict(bench.nic.told)
        assert (told[FILTER], told[LIST]) == (b"\x09\0\0\0", b"\1" * 6 + b"\3" * 6)
        request = Request(RequestKind.QUERY, FILTER, bytearray(4))
        assert (first.request(request), bytes(request.information_buffer)) == (SUCCESS, b"\1\0\0\0")
        bench.adapter.close(first)
        assert dict(bench.nic.told) == {FILTER: b"\x08\0\0\0", LIST: b"\1" * 6}


def test_lc_34_a_driver_holds_its_sends_between_start_and_end() -> None:
    class Patient(Alive):
        resetting = False

        def status(self, status: Status, buffer: bytes) -> None:
            self.resetting = status is Status.RESET_START

        def status_complete(self) -> None:
            self.log.append(self.resetting)

    with Started() as bench:
        driver = Patient()
        bench.bind(driver)
        bench.adapter.reset()
        assert driver.log == [True, False]


def test_a_packet_kept_over_a_reset_stays_its_holders() -> None:
    """LC-15 is about sends: a received packet is not touched by a reset."""
    kept: list[Packet] = []
    with Started() as bench:
        driver = Alive(1)
        bench.bind(driver)
        bench.give(frame(7))
        bench.adapter.reset()
        kept += driver.kept
        assert [bytes(packet.data) for packet in kept] == [frame(7)]
        driver.give_back()
