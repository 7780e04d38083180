"""
Frames come in, are shown to the bindings that want them, and every packet goes home exactly once.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from unit.wire import BROADCAST, OTHER, PEER, US, Batched, Bench, Copier, Driver, Miniport, frame, violation

from vnic import ContractViolation, OwnershipError, Packet, PacketFilter, PacketState, Status, VnicError
from vnic.verifier import rules

GROUP, OTHER_GROUP = bytes.fromhex("01005e000001"), bytes.fromhex("01005e000002")
F = PacketFilter


def elsewhere(action: Callable[[], object]) -> None:
    """Do it on another thread; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("answer", [0, 1, 3, 65_535])
def test_a_packet_goes_home_after_exactly_as_many_returns_as_were_promised(answer: int) -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(answer, look=lambda packet: packet)
        binding = bench.bind(driver)
        bench.give(frame(1))
        packet = driver.seen[0]
        for returned in range(answer):
            assert (packet.references, binding.held, binding.owed(packet)) == (answer - returned,) * 3
            assert packet.state is PacketState.INDICATED
            assert miniport.returned == []
            binding.return_packets([packet])
        assert miniport.returned == [packet]
        assert (packet.references, binding.held, binding.owed(packet), packet.state) == (0, 0, 0, PacketState.FREE)
        assert (binding.promised, binding.returned) == (answer, answer)


def test_a_packet_that_nobody_wants_still_comes_back_through_return_packet() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver())
        bench.give(frame(1), frame(2)[:13], frame(3))
        assert len(miniport.returned) == 3
        assert bench.adapter.counters()["returned"] == 3


def test_a_packet_that_is_kept_stays_as_it_was() -> None:
    with Bench(packets=2) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(1))
        kept = driver.kept[0]
        driver.answer = 0
        for mark in range(2, 20):
            bench.give(frame(mark))
        assert bytes(kept.data) == frame(1)
        driver.give_back()


def test_a_packet_goes_home_when_its_last_holder_returns_it() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        drivers = [Driver(answer) for answer in (1, 0, 2)]
        bindings = [bench.bind(driver, f"d{index}") for index, driver in enumerate(drivers)]
        bench.give(frame())
        packet = drivers[0].kept[0]
        assert packet.references == 3
        bindings[2].return_packets([packet])
        bindings[0].return_packets([packet])
        assert (packet.references, miniport.returned) == (1, [])
        bindings[2].return_packets([packet])
        assert miniport.returned == [packet]


def test_the_same_packet_may_stand_in_one_array_several_times() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(2)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        first, second = driver.kept[0], driver.kept[2]
        binding.return_packets(iter([first, second, first, second]))
        assert miniport.returned == [first, second]


def test_an_array_with_a_bad_packet_returns_the_others() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(1)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        first, second = driver.kept
        free = bench.pool.packets()[-1]
        assert violation(binding.return_packets, [first, free, first, second]) == "05"
        assert miniport.returned == [first, second]
        assert binding.violations == 2
        bench.expect(("05", "a"), ("05", "a"))


def test_packets_of_two_adapters_each_go_home_to_their_own() -> None:
    with Bench() as one, Bench() as two:
        first, second = Driver(1), Driver(1)
        one.bind(first), two.bind(second)
        one.give(frame(1))
        two.give(frame(2))
        assert violation(first.binding.return_packets, [second.kept[0], first.kept[0]]) == "04"
        one.expect(("04", "a"))
        assert (one.pool.usage, two.pool.usage) == (0, 1)
        second.give_back()


def test_one_return_too_many_while_others_hold_the_packet_is_rule_01() -> None:
    with Bench() as bench:
        greedy, holder = Driver(1), Driver(1)
        binding = bench.bind(greedy, "greedy")
        bench.bind(holder, "holder")
        bench.give(frame())
        packet = greedy.kept[0]
        greedy.give_back()
        before = bench.pool.audit(), packet.references
        assert violation(binding.return_packets, [packet]) == "01"
        assert (bench.pool.audit(), packet.references) == before
        bench.expect(("01", "greedy"))
        holder.give_back()


def test_a_return_by_a_binding_that_promised_nothing_is_rule_04() -> None:
    with Bench() as bench:
        holder, stranger = Driver(1), Driver(0)
        bench.bind(holder, "holder")
        binding = bench.bind(stranger, "stranger")
        bench.give(frame())
        assert violation(binding.return_packets, holder.kept) == "04"
        bench.expect(("04", "stranger"))
        holder.give_back()


def test_a_promise_for_the_last_frame_in_a_packet_is_none_for_this_frame() -> None:
    with Bench(packets=1) as bench:
        holder, once = Driver(1), Driver(1)
        bench.bind(holder, "holder")
        binding = bench.bind(once, "once")
        bench.give(frame(1))
        holder.give_back()
        once.give_back()
        binding.packet_filter = F.NONE
        bench.give(frame(2))
        refused = violation(binding.return_packets, holder.kept)
        bench.reports.clear()
        holder.give_back()
        assert refused == "04"


def test_a_return_of_a_packet_that_is_home_is_rule_05() -> None:
    with Bench() as bench:
        driver = Driver(1)
        binding = bench.bind(driver)
        bench.give(frame())
        packet = driver.kept[0]
        driver.give_back()
        before = bench.pool.audit()
        assert violation(binding.return_packets, [packet]) == "05"
        assert bench.pool.audit() == before
        bench.expect(("05", "a"))


def test_a_return_from_inside_the_handler_is_rule_02() -> None:
    refused: list[str] = []

    def impatient(packet: Packet) -> int:
        refused.append(violation(driver.binding.return_packets, [packet]))
        return 1

    with Bench() as bench:
        driver = Driver(impatient)
        bench.bind(driver)
        bench.give(frame())
        assert (refused, bench.pool.usage) == (["02"], 1)
        bench.expect(("02", "a"))
        driver.give_back()


def test_a_return_from_another_thread_before_the_answer_is_rule_03() -> None:
    refused: list[str] = []

    def hasty(packet: Packet) -> int:
        elsewhere(lambda: refused.append(violation(driver.binding.return_packets, [packet])))
        return 1

    with Bench() as bench:
        driver = Driver(hasty)
        bench.bind(driver)
        bench.give(frame())
        assert (refused, bench.pool.usage) == (["03"], 1)
        bench.expect(("03", "a"))
        driver.give_back()


@pytest.mark.parametrize("thread", ["same", "other"])
def test_a_return_while_other_bindings_are_still_asked_is_safe(thread: str) -> None:
    miniport = Miniport()
    states: list[tuple[int, PacketState]] = []

    def later(packet: Packet) -> int:
        if thread == "same":
            first.give_back()
        else:
            elsewhere(first.give_back)
        states.append((packet.references, packet.state))
        assert miniport.returned == []
        return 0

    with Bench(miniport=miniport) as bench:
        first = Driver(2)
        bench.bind(first, "first")
        bench.bind(Driver(later), "later")
        bench.give(frame())
        assert states == [(1, PacketState.INDICATED)], "the library's own guard"
        assert len(miniport.returned) == 1


def test_many_threads_return_and_every_packet_comes_home_once() -> None:
    miniport = Miniport()
    with Bench(packets=64, miniport=miniport) as bench:
        drivers = [Driver(3), Driver(2)]
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        bench.give(*(frame(mark) for mark in range(60)))
        start = threading.Barrier(8)

        def give_back(driver: Driver, part: int) -> None:
            start.wait(20)
            for packet in driver.kept[part::4]:
                driver.binding.return_packets([packet])

        threads = [threading.Thread(target=give_back, args=(driver, part)) for driver in drivers for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(packet.index for packet in miniport.returned) == sorted({packet.index for packet in drivers[0].kept})
        assert len(miniport.returned) == 60


@pytest.mark.parametrize("answer", [None, True, False, -1, 65_536, 70_000, 1 << 70, "1", 1.0, [], Status.SUCCESS], ids=repr)
def test_an_answer_that_is_no_count_is_rule_11_and_taken_for_0(answer: Any) -> None:
    with Bench() as bench:
        last = Driver(1)
        binding = bench.bind(Driver(lambda _packet: answer), "liar")
        bench.bind(last, "last")
        bench.give(frame())
        bench.expect(("11", "liar"))
        assert (binding.promised, last.kept[0].references) == (0, 1)
        last.give_back()


def test_an_answer_that_cannot_even_be_printed_is_rule_11() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise ValueError("no")

    with Bench() as bench:
        bench.bind(Driver(lambda _packet: Unprintable()), "liar")
        with suppress(ValueError):
            bench.give(frame())
        assert bench.pool.usage == 0
        bench.expect(("11", "liar"))


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError], ids=lambda e: e.__name__)
def test_a_handler_that_raises_keeps_nothing_and_the_others_do_not_notice(error: type[BaseException]) -> None:
    def broken(packet: Packet) -> int:
        raise error

    with Bench() as bench:
        first, last = Driver(1), Driver(1)
        bench.bind(first, "first")
        binding = bench.bind(Driver(broken), "broken")
        bench.bind(last, "last")
        bench.give(frame(1), frame(2))
        bench.expect(("receive_packet", "broken"), ("receive_packet", "broken"))
        assert (binding.errors, binding.promised, binding.delivered) == (2, 0, 2)
        assert first.frames == last.frames == [frame(1), frame(2)]
        first.give_back()
        last.give_back()
        assert bench.adapter.counters()["driver_errors"] == 2


def test_a_violation_that_a_driver_lets_through_is_counted_once() -> None:
    with Bench() as bench:
        binding = bench.bind(Driver(lambda packet: packet.pool.free(packet)))
        bench.give(frame())
        bench.expect(("34", "a"), ("receive_packet", "a"))
        bench.adapter.open(Driver(lambda packet: binding.return_packets([packet])), "b")
        bench.give(frame())
        values = bench.adapter.counters()
        assert (values["violations"], values["driver_errors"]) == (3, 3)
        bench.reports.clear()


# the miniport's side


def test_a_miniport_may_indicate_a_packet_again_when_it_comes_back() -> None:
    class Again(Miniport):
        def return_packet(self, packet: Packet) -> None:
            super().return_packet(packet)
            if len(self.returned) < 3:
                bench.adapter.indicate([packet])
            else:
                packet.pool.free(packet)

    miniport = Again(frees=False)
    with Bench(miniport=miniport) as bench:
        driver = Driver(1)
        bench.bind(driver)
        packet = bench.owned(frame(9))
        bench.adapter.indicate([packet])
        for _ in range(3):
            assert len(driver.kept) == 1
            driver.give_back()
        assert miniport.returned == [packet] * 3
        assert driver.frames == [frame(9)] * 3


def test_a_return_packet_handler_that_raises_is_reported_and_owns_the_packet() -> None:
    class Broken(Miniport):
        def return_packet(self, packet: Packet) -> None:
            self.returned.append(packet)
            raise ValueError

    miniport = Broken()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver())
        bench.give(frame())
        bench.expect(("return_packet", "miniport"))
        assert miniport.returned[0].state is PacketState.OWNED
        bench.pool.free(miniport.returned[0])


def test_a_packet_that_drivers_hold_is_not_indicated_again_nor_are_those_beside_it() -> None:
    with Bench(miniport=Miniport()) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(1))
        fresh = bench.owned(frame(2))
        assert violation(bench.adapter.indicate, [fresh, driver.kept[0]]) == "17"
        bench.expect(("17", "miniport"))
        assert (driver.frames, fresh.state) == ([frame(1)], PacketState.OWNED)
        bench.pool.free(fresh)
        driver.give_back()


@pytest.mark.parametrize("answer", [0, 1])
def test_a_packet_that_stands_twice_in_one_indication_is_refused(answer: int) -> None:
    with Bench(packets=2) as bench:
        driver = Driver(answer)
        bench.bind(driver)
        packet = bench.owned()
        with suppress(OwnershipError):
            bench.adapter.indicate([packet, packet])
        refused, audit = list(bench.reports), bench.pool.audit()
        bench.reports.clear()
        driver.give_back()
        if packet.state is PacketState.OWNED:
            bench.pool.free(packet)
        assert refused == [("17", "miniport")]
        assert sum(audit.values()) == 2


def test_a_packet_of_another_pool_is_not_indicated() -> None:
    with Bench() as bench:
        bench.bind(Driver())
        packet = bench.owned(pool=bench.own)
        with pytest.raises(ValueError, match="not from the adapter's pool"):
            bench.adapter.indicate([packet])
        bench.own.free(packet)


def test_indicating_nothing_does_nothing() -> None:
    with Bench() as bench:
        driver = Batched()
        bench.bind(driver)
        bench.adapter.indicate([])
        assert driver.batches == 0


# RESOURCES


def test_a_resources_packet_is_the_miniports_again_at_once_and_never_comes_back() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(look=lambda packet: (packet.state, packet.status))
        binding = bench.bind(driver)
        packet = bench.owned(frame(1))
        packet.status = Status.RESOURCES
        bench.adapter.indicate([packet])
        assert driver.seen == [(PacketState.LENT, Status.RESOURCES)]
        assert (packet.state, miniport.returned, binding.resources) == (PacketState.OWNED, [], 1)
        bench.pool.free(packet)


@pytest.mark.parametrize("answer", [1, 3, -1, "1", None], ids=repr)
def test_an_answer_other_than_0_to_resources_is_rule_10_and_forced_to_0(answer: Any) -> None:
    with Bench(miniport=Miniport()) as bench:
        binding = bench.bind(Driver(lambda _packet: answer))
        packet = bench.owned()
        packet.status = Status.RESOURCES
        bench.adapter.indicate([packet])
        bench.expect(("10", "a"))
        assert (packet.state, packet.references, binding.promised) == (PacketState.OWNED, 0, 0)
        assert violation(binding.return_packets, [packet]) == "05"
        bench.expect(("05", "a"))
        bench.pool.free(packet)


def test_an_answer_to_resources_that_cannot_be_compared_is_rule_10() -> None:
    class Incomparable:
        def __ne__(self, other: object) -> bool:
            raise ValueError("no")

    with Bench() as bench:
        bench.bind(Driver(lambda _packet: Incomparable()))
        packet = bench.owned()
        packet.status = Status.RESOURCES
        with suppress(ValueError):
            bench.adapter.indicate([packet])
        assert packet.state is PacketState.OWNED
        bench.pool.free(packet)
        bench.expect(("10", "a"))


def test_a_success_packet_behind_a_resources_one_is_copied_and_comes_back_at_once() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Driver(look=lambda packet: packet.status)
        bench.bind(driver)
        packets = [bench.owned(frame(mark)) for mark in range(4)]
        packets[1].status = Status.RESOURCES
        bench.adapter.indicate(packets)
        assert driver.seen == [Status.SUCCESS, *[Status.RESOURCES] * 3]
        assert driver.frames == [frame(mark) for mark in range(4)]
        assert miniport.returned == [packets[0], packets[2], packets[3]]
        assert packets[1].state is PacketState.OWNED
        bench.pool.free(packets[1])


def test_with_low_packets_frames_go_to_receive_and_its_views_are_closed_afterwards() -> None:
    with Bench(packets=4, low_water=4) as bench:
        driver = Copier(1)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2, size=14), frame(3, size=1514))
        assert driver.copied == [frame(1), frame(2, size=14), frame(3, size=1514)]
        assert driver.sizes == [(14, 46, 46), (14, 0, 0), (14, 1500, 1500)]
        assert driver.frames == []
        for view in driver.views:
            with pytest.raises(ValueError, match="released"):
                bytes(view)
        assert (binding.resources, binding.delivered, binding.promised) == (3, 3, 0)
        assert bench.adapter.counters()["rx_resources"] == 3


def test_receive_sees_read_only_views_and_may_raise() -> None:
    class Broken(Copier):
        def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            super().receive(context, header, lookahead, packet_size)
            assert header.readonly
            assert lookahead.readonly
            raise ValueError

    with Bench(packets=4, low_water=4) as bench:
        driver, last = Broken(), Driver()
        bench.bind(driver)
        bench.bind(last, "last")
        bench.give(frame(1))
        bench.expect(("receive", "a"))
        assert last.frames == [frame(1)]
        for view in driver.views:
            with pytest.raises(ValueError, match="released"):
                bytes(view)


def test_the_rest_of_a_batch_is_shown_like_the_frame_at_which_packets_ran_low() -> None:
    with Bench(packets=8, low_water=5) as bench:
        driver = Driver(lambda packet: int(packet.status == Status.SUCCESS), look=lambda packet: packet.status)
        binding = bench.bind(driver)
        bench.give(*(frame(mark) for mark in range(6)))
        assert driver.seen == [Status.SUCCESS] * 3 + [Status.RESOURCES] * 3
        assert driver.frames == [frame(mark) for mark in range(6)]
        assert (binding.held, bench.pool.available) == (3, 5)
        driver.give_back()
        bench.give(frame(9))
        assert driver.seen[-1] is Status.SUCCESS
        driver.give_back()


@pytest.mark.parametrize(("packets", "low_water"), [(8, 1), (64, 8), (1024, 64), (4, 0)])
def test_low_water_is_an_eighth_of_the_pool_and_at_most_64(packets: int, low_water: int) -> None:
    from vnic import Adapter, MiniportDriver, PacketPool, slot_size_for

    pool = PacketPool(packets, slot_size_for(68))
    assert Adapter(pool, MiniportDriver(), mtu=68).low_water == low_water
    pool.close()


def test_who_holds_most_of_a_low_pool_is_named_once() -> None:
    with Bench(packets=4, low_water=1) as bench:
        hoarder = Driver(lambda packet: int(packet.status == Status.SUCCESS))
        bench.bind(hoarder, "hoarder")
        bench.bind(Driver(), "modest")
        for mark in range(8):
            bench.give(frame(mark))
        bench.expect(("26", "hoarder"))
        assert len(hoarder.kept) == 3
        hoarder.give_back()


def test_with_no_packet_at_all_frames_are_read_and_counted() -> None:
    with Bench(packets=2) as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(1), frame(2))
        bench.reports.clear()
        assert bench.give(frame(3), frame(4), frame(5)) == 3
        assert bench.give() == 0
        values = bench.adapter.counters()
        assert (values["rx_frames"], values["rx_delivered"], values["rx_dropped_no_packet"], values["rx_bytes"]) == (5, 2, 3, 300)
        driver.give_back()
        bench.give(frame(6))
        assert driver.frames == [frame(1), frame(2), frame(6)]
        driver.give_back()
        bench.reports.clear()


# frames


@pytest.mark.parametrize("size", [1, 6, 12, 13])
def test_a_frame_shorter_than_its_header_is_a_runt(size: int) -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        bench.give(frame()[:size])
        assert (driver.frames, bench.adapter.counters()["rx_dropped_runt"]) == ([], 1)


def test_a_frame_that_fills_its_slot_is_cut_and_not_shown() -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        slot = bench.pool.slot_size
        bench.give(frame(1, size=slot - 1), frame(2, size=slot), frame(3, size=slot + 500))
        assert driver.frames == [frame(1, size=slot - 1)]
        assert bench.adapter.counters()["rx_dropped_truncated"] == 2


def test_a_frame_without_a_driver_is_counted_as_such() -> None:
    with Bench() as bench:
        bench.give(frame())
        assert bench.adapter.counters()["rx_dropped_no_driver"] == 1


# filters

FILTERS = [
    (F.NONE, []),
    (F.DIRECTED, ["us"]),
    (F.BROADCAST, ["broadcast"]),
    (F.MULTICAST, ["group"]),
    (F.ALL_MULTICAST, ["group", "other group"]),
    (F.PROMISCUOUS, ["us", "other", "broadcast", "group", "other group"]),
    (F.ALL_LOCAL, ["us", "other", "broadcast", "group", "other group"]),
    (F.DIRECTED | F.BROADCAST | F.MULTICAST, ["us", "broadcast", "group"]),
    (F.DIRECTED | F.ALL_MULTICAST, ["us", "group", "other group"]),
]
TO = {"us": US, "other": OTHER, "broadcast": BROADCAST, "group": GROUP, "other group": OTHER_GROUP}


@pytest.mark.parametrize(("packet_filter", "accepted"), FILTERS, ids=lambda value: repr(value) if isinstance(value, F) else "")
def test_a_binding_sees_what_its_filter_accepts_and_nothing_else(packet_filter: PacketFilter, accepted: list[str]) -> None:
    with Bench() as bench:
        driver, all_seeing = Driver(), Driver()
        binding = bench.bind(driver)
        binding.packet_filter = packet_filter
        binding.multicast_list = [GROUP]
        assert (binding.packet_filter, binding.multicast_list) == (packet_filter, (GROUP,))
        for to in TO.values():
            bench.give(frame(to=to))
        assert driver.frames == [frame(to=TO[name]) for name in accepted]
        assert bench.adapter.counters()["rx_filtered"] == 5 - len(accepted)
        bench.bind(all_seeing, "b")
        bench.give(*(frame(1, to=to) for to in TO.values()))
        assert len(all_seeing.frames) == 5
        assert len(driver.frames) == 2 * len(accepted), "one binding's filter leaks into no other's"


def test_a_multicast_list_replaces_the_one_before() -> None:
    with Bench() as bench:
        driver = Driver()
        binding = bench.bind(driver)
        binding.packet_filter = F.MULTICAST
        bench.give(frame(1, to=GROUP))
        binding.multicast_list = [GROUP, OTHER_GROUP]
        bench.give(frame(2, to=GROUP))
        binding.multicast_list = [OTHER_GROUP]
        bench.give(frame(3, to=GROUP), frame(4, to=OTHER_GROUP))
        assert driver.frames == [frame(2, to=GROUP), frame(4, to=OTHER_GROUP)]


@pytest.mark.parametrize("address", [US, GROUP[:5], GROUP + b"\0", b""], ids=bytes.hex)
def test_only_group_addresses_stand_in_a_multicast_list(address: bytes) -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        binding.multicast_list = [GROUP]
        with pytest.raises(ValueError, match="no 6-byte group address"):
            binding.multicast_list = [OTHER_GROUP, address]
        assert binding.multicast_list == (GROUP,)


def test_a_filter_changed_inside_a_handler_holds_from_the_next_frame_on() -> None:
    def once(packet: Packet) -> int:
        first.binding.packet_filter = F.NONE
        return 0

    with Bench() as bench:
        first, last = Driver(once), Driver()
        bench.bind(first, "first")
        bench.bind(last, "last")
        bench.give(frame(1), frame(2), frame(3))
        assert (first.frames, len(last.frames)) == ([frame(1)], 3)


def test_a_binding_silenced_by_one_before_it_does_not_see_the_frame() -> None:
    def silence(packet: Packet) -> int:
        last.binding.packet_filter = F.NONE
        return 0

    with Bench() as bench:
        first, last = Driver(silence), Driver()
        bench.bind(first, "first")
        bench.bind(last, "last")
        bench.give(frame())
        assert last.frames == []


# batches


def test_receive_complete_comes_once_for_each_binding_and_batch() -> None:
    with Bench() as bench:
        seeing, blind, filtered = Batched(), Batched(), Batched()
        bench.bind(seeing, "seeing")
        bench.bind(blind, "blind").packet_filter = F.NONE
        bench.bind(filtered, "filtered").packet_filter = F.BROADCAST
        bench.give(frame(1), frame(2), frame(3))
        assert (seeing.batches, blind.batches, filtered.batches) == (1, 0, 0)
        bench.give(frame(4), frame(5, to=BROADCAST))
        assert (seeing.batches, blind.batches, filtered.batches) == (2, 0, 1)
        bench.give()
        assert (seeing.batches, bench.adapter.counters()["rx_batches"]) == (2, 2)


def test_receive_complete_comes_after_the_last_frame_also_with_low_packets() -> None:
    order: list[object] = []
    with Bench(packets=4, low_water=4) as bench:
        driver = Batched(look=lambda packet: order.append(bytes(packet.data)), at_end=lambda: order.append("end"))
        bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert order == [frame(1), frame(2), "end"]


def test_packets_are_returned_and_frames_sent_in_receive_complete() -> None:
    with Bench() as bench:
        driver = Batched(1)
        driver.at_end = driver.give_back
        bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert bench.pool.usage == 0


def test_a_receive_complete_that_raises_is_reported_and_the_others_get_theirs() -> None:
    def broken() -> None:
        raise ValueError

    with Bench() as bench:
        last = Batched()
        bench.bind(Batched(at_end=broken), "broken")
        bench.bind(last, "last")
        bench.give(frame())
        bench.expect(("receive_complete", "broken"))
        assert last.batches == 1


@pytest.mark.parametrize(("budget", "taken"), [(1, 1), (3, 3), (0, 1), (-5, 1), (1000, 5)])
def test_a_batch_takes_as_many_frames_as_its_budget_says(budget: int, taken: int) -> None:
    with Bench() as bench:
        bench.bind(Driver())
        for mark in range(5):
            bench.far.send(frame(mark))
        assert bench.adapter.receive_batch(budget) == taken
        bench.adapter.receive_batch()


def test_frames_are_shown_in_the_order_in_which_they_came() -> None:
    with Bench(packets=4) as bench:
        driver = Driver()
        bench.bind(driver)
        for mark in range(10):
            bench.far.send(frame(mark))
        for _ in range(4):
            bench.adapter.receive_batch(64)
        assert driver.frames == [frame(mark) for mark in range(10)]


def test_a_batch_inside_a_handler_is_refused() -> None:
    def nested(packet: Packet) -> int:
        with pytest.raises(VnicError, match="running already") as caught:
            bench.adapter.receive_batch()
        assert isinstance(caught.value, ContractViolation)
        assert caught.value.rule is rules.REENTERED
        return 0

    with Bench() as bench:
        bench.bind(Driver(nested))
        bench.give(frame(1))
        assert bench.give(frame(2)) == 1, "the refusal locks nobody out"
        bench.expect(("86", "a"), ("86", "a"))


def test_a_broken_descriptor_raises_and_every_packet_is_back() -> None:
    with Bench(packets=4) as bench:
        driver = Driver(1)
        bench.bind(driver)
        read, write = os.pipe()
        os.close(read)
        os.close(write)
        bench.adapter.attach(read)
        for _ in range(3):
            with pytest.raises(OSError, match="bench0") as caught:
                bench.adapter.receive_batch()
            assert caught.value.errno == errno.EBADF
        assert bench.pool.available == 4
        bench.adapter.attach(bench.near.fileno())
        bench.give(frame())
        driver.give_back()


# reserved areas


def test_each_binding_has_its_own_area_of_each_packet() -> None:
    with Bench(packets=3) as bench:
        drivers = [Driver(1), Driver(1)]
        bindings = [bench.bind(driver, f"d{index}") for index, driver in enumerate(drivers)]
        bench.give(frame(1), frame(2), frame(3))
        areas = [(binding, packet) for binding in bindings for packet in drivers[0].kept]
        for mark, (binding, packet) in enumerate(areas, 1):
            area = binding.reserved(packet)
            assert (len(area), area.readonly) == (bench.pool.reserved_size, False)
            area[:] = bytes([mark]) * len(area)
        for mark, (binding, packet) in enumerate(areas, 1):
            assert bytes(binding.reserved(packet)) == bytes([mark]) * 32
        assert bytes(drivers[0].kept[0].data) == frame(1), "an area is no part of the frame"
        for driver in drivers:
            driver.give_back()


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.RESOURCES], ids=lambda status: status.name)
def test_an_area_may_be_used_while_the_packet_is_shown(status: Status) -> None:
    with Bench() as bench:
        driver = Driver()
        binding = bench.bind(driver)
        driver.look = lambda packet: len(binding.reserved(packet))
        packet = bench.owned()
        packet.status = status
        bench.adapter.indicate([packet])
        if status is Status.RESOURCES:
            bench.pool.free(packet)
    assert driver.seen == [32]


def test_the_area_of_a_packet_that_is_not_held_is_refused() -> None:
    with Bench() as bench:
        holder, other = Driver(1), Driver(0)
        bench.bind(holder, "holder")
        stranger = bench.bind(other, "stranger")
        bench.give(frame())
        packet = holder.kept[0]
        assert violation(stranger.reserved, packet) == "15"
        holder.give_back()
        assert violation(holder.binding.reserved, packet) == "15"
        bench.expect(("15", "stranger"), ("15", "holder"))


def test_time_received_is_the_batchs() -> None:
    with Bench() as bench:
        driver = Driver(look=lambda packet: packet.time_received)
        bench.bind(driver)
        before = time.time_ns()
        bench.give(frame(1), frame(2))
        after = time.time_ns()
    assert driver.seen[0] == driver.seen[1]
    assert before <= driver.seen[0] <= after


def test_a_frame_from_the_peer_is_shown_as_it_was_sent() -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        sent = US + PEER + bytes(range(256)) * 5
        bench.give(sent)
        assert driver.frames == [sent]


# returns before the answer


class Early(Driver):
    """Return a packet some times from inside the handler, and answer."""

    early_returns = True

    def __init__(self, returns: int, answer: int) -> None:
        super().__init__(answer)
        self.returns = returns

    def receive_packet(self, packet: Packet) -> int:
        answer = super().receive_packet(packet)
        for _ in range(self.returns):
            self.binding.return_packets([packet])
            self.kept.remove(packet)
        return answer


@pytest.mark.parametrize(("returns", "answer"), [(1, 1), (1, 2), (3, 3)])
def test_a_driver_that_said_so_may_return_a_packet_before_it_answers(returns: int, answer: int) -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver, other = Early(returns, answer), Driver(look=lambda packet: (packet.state, len(miniport.returned)))
        binding = bench.bind(driver, "early")
        bench.bind(other, "other")
        bench.give(frame(1))
        assert other.seen == [(PacketState.INDICATED, 0)]
        assert (binding.promised, binding.returned, len(miniport.returned)) == (answer, returns, returns == answer)
        driver.give_back()
        assert (binding.held, len(miniport.returned)) == (0, 1)


def test_more_early_returns_than_the_answer_are_named_and_cost_nothing() -> None:
    class Twice(Early):
        def receive_packet(self, packet: Packet) -> int:
            self.binding.return_packets([packet, packet])
            return 1

    with Bench() as bench:
        binding = bench.bind(Twice(0, 0))
        bench.give(frame(1))
        bench.expect(("01", "a"))
        assert (binding.promised, binding.returned) == (2, 2)
        bench.give(frame(2))
        bench.expect(("01", "a"))
