"""
A binding's life: bound, declined, closing while it holds packets, closed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from unit.wire import US, Batched, Bench, Driver, Miniport, Sender, frame, violation

from vnic import MAX_BINDINGS, Packet, PacketFilter, PacketState, ProtocolDriver, Status, VnicError
from vnic.context import OPEN

F = PacketFilter


def test_binding_and_addresses_are_there_in_bind_adapter() -> None:
    seen: list[object] = []

    class Curious(Driver):
        def bind_adapter(self) -> None:
            binding = self.binding
            seen.extend([binding.name, binding.address, binding.mtu, binding.network_addresses, binding.packet_filter])

    with Bench() as bench:
        binding = bench.bind(Curious(), "curious")
        assert (binding.adapter, binding.name) == (bench.adapter, "curious")
        assert bench.adapter.bindings == (binding,)
    assert seen == ["curious", US, 1500, (), F.NONE]


def test_the_classs_filter_is_set_when_binding_is_done() -> None:
    with Bench() as bench:
        assert bench.bind(Driver()).packet_filter is F.PROMISCUOUS
        default = bench.bind(ProtocolDriver(), "default").packet_filter
        assert default == F.DIRECTED | F.BROADCAST | F.ALL_MULTICAST


@pytest.mark.parametrize("packet_filter", [F.NONE, F.DIRECTED])
def test_a_filter_set_in_bind_adapter_stays(packet_filter: PacketFilter) -> None:
    class Choosy(Driver):
        def bind_adapter(self) -> None:
            self.binding.packet_filter = packet_filter

    with Bench() as bench:
        assert bench.bind(Choosy()).packet_filter == packet_filter


def test_nothing_is_shown_before_the_filter_is_set() -> None:
    with Bench() as bench:

        class Early(Driver):
            def bind_adapter(self) -> None:
                bench.give(frame(1))

        driver = Early()
        bench.bind(driver)
        bench.give(frame(2))
        assert driver.frames == [frame(2)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_driver_that_raises_when_bound_leaves_nothing_behind(error: type[BaseException]) -> None:
    class Broken(Driver):
        def bind_adapter(self) -> None:
            raise error("cannot")

    with Bench() as bench:
        for _ in range(MAX_BINDINGS + 1):
            with pytest.raises(error, match="cannot"):
                bench.bind(Broken())
        assert bench.adapter.bindings == ()
        bench.give(frame())
        assert bench.adapter.counters()["rx_dropped_no_driver"] == 1


@pytest.mark.parametrize("status", [Status.FAILURE, Status.NOT_ACCEPTED], ids=lambda status: status.name)
def test_a_driver_declines_with_an_error(status: Status) -> None:
    class Declining(Driver):
        def bind_adapter(self) -> Status:
            return status

    with Bench() as bench:
        with pytest.raises(VnicError, match=f"a declined: {status.name}"):
            bench.bind(Declining())
        assert bench.adapter.bindings == ()


def test_128_bindings_are_open_at_most() -> None:
    with Bench(packets=2) as bench:
        # a binding whose send never completes never closes: other tests may have left some
        room = OPEN.count(None)
        assert 77 < room <= MAX_BINDINGS == len(OPEN)
        drivers = [Driver(1) for _ in range(room)]
        bindings = [bench.bind(driver, f"d{index}") for index, driver in enumerate(drivers)]
        with pytest.raises(VnicError, match="128 bindings are open"):
            bench.bind(Driver(), "one too many")
        bench.give(frame())
        assert bench.pool.packets()[0].references == room
        for driver in drivers:
            driver.give_back()
        assert bench.pool.usage == 0
        assert bench.adapter.close(bindings[77]) is Status.SUCCESS
        assert bench.bind(Driver(), "now it fits").slot == bindings[77].slot


def test_a_closed_binding_is_shown_nothing() -> None:
    with Bench() as bench:
        driver, other = Driver(), Driver()
        binding = bench.bind(driver)
        bench.bind(other, "other")
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert bench.adapter.close(binding) is Status.SUCCESS
        bench.give(frame())
        assert (driver.frames, other.frames) == ([], [frame()])


@pytest.mark.parametrize(
    "use",
    [
        lambda binding: setattr(binding, "packet_filter", F.DIRECTED),
        lambda binding: setattr(binding, "multicast_list", []),
        lambda binding: binding.return_packets([]),
    ],
    ids=["packet_filter", "multicast_list", "return_packets"],
)
def test_the_use_of_a_closed_binding_is_rule_98(use: Callable[[object], object]) -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        bench.adapter.close(binding)
        assert violation(use, binding) == "98"
        bench.expect(("98", "a"))


def test_a_binding_that_holds_packets_closes_when_they_are_back() -> None:
    with Bench() as bench:
        driver = Driver(1)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is Status.PENDING
        bench.give(frame(3))
        assert (len(driver.frames), binding.closing, binding.held) == (2, True, 2)
        assert bench.adapter.close(binding) is Status.PENDING
        driver.give_back()
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert bench.adapter.bindings == ()


def test_packets_returned_in_unbind_adapter_are_back_when_close_answers() -> None:
    class Polite(Driver):
        def unbind_adapter(self) -> None:
            self.give_back()

    with Bench() as bench:
        binding = bench.bind(Polite(2))
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert bench.pool.usage == 0


def test_an_unbind_adapter_that_raises_is_reported_and_the_binding_closes() -> None:
    class Broken(Driver):
        def unbind_adapter(self) -> None:
            raise ValueError

    with Bench() as bench:
        assert bench.adapter.close(bench.bind(Broken())) is Status.SUCCESS
        bench.expect(("unbind_adapter", "a"))


def test_reclaim_takes_packets_from_one_holder_and_leaves_the_others_theirs() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        thief, holder = Driver(2), Driver(1)
        binding = bench.bind(thief, "thief")
        bench.bind(holder, "holder").packet_filter = F.DIRECTED
        bench.give(frame(1), frame(2, to=b"\xff" * 6))
        assert bench.adapter.close(binding) is Status.PENDING
        assert bench.adapter.reclaim(binding) == 2
        bench.expect(("60", "thief"))
        assert (binding.closed, binding.held) == (True, 0)
        assert [bytes(packet.data) for packet in holder.kept] == [frame(1)]
        assert len(miniport.returned) == 1
        holder.give_back()
        assert len(miniport.returned) == 2
        miniport.returned.clear()
        assert bench.pool.audit()[PacketState.QUARANTINED] == 2, "the thief still refers to them"
        assert bench.pool.release_withheld() == 0
        thief.kept.clear()
        assert (bench.pool.release_withheld(), bench.pool.usage) == (2, 0)


def test_the_next_binding_inherits_nothing() -> None:
    with Bench() as bench:
        first = Driver(2)
        binding = bench.bind(first, "first")
        bench.give(frame(1))
        packet = first.kept[0]
        bench.adapter.close(binding)
        bench.adapter.reclaim(binding)
        bench.expect(("60", "first"))
        second = bench.bind(Driver(), "second")
        assert second.slot == binding.slot
        assert (second.owed(packet), second.held) == (0, 0)
        assert violation(second.return_packets, [packet]) == "05"
        bench.expect(("05", "second"))
        first.kept.clear()
        assert (bench.pool.release_withheld(), packet.state) == (0, PacketState.QUARANTINED), "the test itself refers to it"
        del packet
        gc.collect()  # the exceptions' frames refer to it
        assert (bench.pool.release_withheld(), bench.pool.usage) == (1, 0)


def test_reclaiming_a_closed_binding_takes_nothing() -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        bench.adapter.close(binding)
        assert bench.adapter.reclaim(binding) == 0


def test_a_binding_may_close_another_inside_a_handler() -> None:
    with Bench() as bench:
        first, last = Driver(), Driver(1)
        bench.bind(first, "first")
        victim = bench.bind(last, "last")
        first.look = lambda _packet: bench.adapter.close(victim)
        bench.give(frame(1), frame(2))
        assert (len(first.frames), last.frames) == (2, [])
        assert len(bench.adapter.bindings) == 1


def test_a_binding_may_close_itself_inside_a_handler_if_it_keeps_nothing() -> None:
    with Bench() as bench:
        driver, last = Batched(), Driver()
        leaving = bench.bind(driver, "leaving")
        driver.look = lambda _packet: bench.adapter.close(leaving)
        bench.bind(last, "last")
        bench.give(frame(1), frame(2))
        assert (driver.frames, driver.batches, last.frames) == ([frame(1)], 0, [frame(1), frame(2)])


def test_a_packet_kept_by_a_driver_that_closed_itself_inside_the_handler_is_not_lost() -> None:
    def leave(packet: Packet) -> int:
        bench.adapter.close(driver.binding)
        return 1

    with Bench() as bench:
        driver = Driver(leave)
        binding = bench.bind(driver, "leaving")
        bench.give(frame(1))
        if not binding.closed:
            driver.give_back()
            assert bench.adapter.close(binding) is Status.SUCCESS
        bench.reports.clear()
        assert bench.pool.audit()[PacketState.INDICATED] == 0


def test_a_binding_opened_inside_a_handler_sees_the_next_frame() -> None:
    late = Driver()

    def welcome(packet: Packet) -> int:
        if not late.frames and len(bench.adapter.bindings) == 1:
            bench.bind(late, "late")
        return 0

    with Bench() as bench:
        bench.bind(Driver(welcome), "host")
        bench.give(frame(1), frame(2))
        assert late.frames == [frame(2)]


def test_sends_in_unbind_adapter_are_refused_and_bound_drivers_count_their_own() -> None:
    with Bench() as bench:
        binding = bench.bind(Sender())
        bench.fill_cable(binding)
        assert (binding.sends_pending, repr(binding)) == (1, "<Binding a of bench0: holds 0>")
        bench.taken()
        bench.adapter.flush()
        assert binding.sends_pending == 0
