"""
NdisReturnPackets, statement by statement, as far as there are drivers to return packets.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from conformance.facade import adapter_over, buffers_of, chain, packet_of, pool_of
from unit.wire import Batched, Bench, Copier, Driver, Miniport, frame, violation

from vnic import Packet, PacketState, Status
from vnic.context import OPEN
from vnic.locks import Irql, Profile, at_irql
from vnic.ndis import (
    NDIS_SET_PACKET_STATUS,
    NDIS_STATUS_RESOURCES,
    NdisAcquireSpinLock,
    NdisAllocateSpinLock,
    NdisGetPoolFromPacket,
    NdisMIndicateReceivePacket,
    NdisReleaseSpinLock,
    NdisReturnPackets,
)

pytestmark = pytest.mark.usefixtures("profile", "serialized")
"""In both profiles, with both models of miniport."""


def indicate(bench: Bench, *packets: Packet) -> None:
    NdisMIndicateReceivePacket(bench.adapter, packets, len(packets))


def test_s003_01_after_its_last_return_a_driver_has_no_part_in_the_packet() -> None:
    miniport, driver = Miniport(frees=False), Driver(1)
    with Bench(miniport=miniport) as bench:
        bench.bind(driver)
        packet = bench.owned()
        indicate(bench, packet)
        assert packet.state is PacketState.INDICATED
        NdisReturnPackets([packet], 1)
        assert (packet.state, miniport.returned) == (PacketState.OWNED, [packet])
        assert violation(driver.binding.reserved, packet) == "15"
        assert violation(NdisReturnPackets, [packet], 1) == "05"
        bench.expect(("15", "a"))
        bench.pool.free(packet)
        driver.kept.clear()


def test_s003_02_an_array_and_a_count_go_in_and_nothing_comes_out() -> None:
    assert list(inspect.signature(NdisReturnPackets).parameters) == ["PacketsToReturn", "NumberOfPackets"]
    call: Callable[..., object] = NdisReturnPackets
    assert call([], 0) is None


def test_s003_03_each_packet_goes_to_the_driver_that_allocated_it() -> None:
    miniports = Miniport(), Miniport()
    with Bench(miniport=miniports[0]) as one, Bench(miniport=miniports[1]) as two:
        packets = []
        for bench, name in ((one, "a"), (two, "b")):
            bench.bind(Driver(1), name)
            packets.append(bench.owned())
            indicate(bench, packets[-1])
        assert [NdisGetPoolFromPacket(packet) for packet in packets] == [one.pool, two.pool]
        NdisReturnPackets([packets[1], packets[0]], 2)
        assert [miniport.returned for miniport in miniports] == [[packets[0]], [packets[1]]]


def test_s003_04_the_count_says_how_many_of_the_array_are_returned() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver(1))
        packets = [bench.owned() for _ in range(3)]
        indicate(bench, *packets)
        for count, returned in ((0, []), (1, packets[:1])):
            NdisReturnPackets(packets, count)
            assert miniport.returned == returned
        for count in (-1, 4):
            with pytest.raises(ValueError, match="array"):
                NdisReturnPackets(packets, count)
        NdisReturnPackets(packets[1:], 2)
        assert miniport.returned == packets


def test_s003_07_s003_11_a_miniport_that_is_low_on_packets_indicates_with_resources_until_it_has_them_again() -> None:
    driver = Copier(1)
    with Bench(packets=2, low_water=1) as bench:
        bench.bind(driver)
        assert [bench.give(frame(mark)) for mark in range(3)] == [1, 1, 1]
        assert (driver.frames, driver.copied) == ([frame(0)], [frame(1), frame(2)])
        NdisReturnPackets(driver.kept, len(driver.kept))
        driver.kept.clear()
        bench.give(frame(9))
        assert driver.frames == [frame(0), frame(9)]
        driver.give_back()


def test_s003_09_with_resources_every_binding_is_called_through_protocol_receive() -> None:
    drivers = [Copier(1) for _ in range(3)]
    with Bench() as bench:
        for index, driver in enumerate(drivers):
            bench.bind(driver, f"d{index}")
        packet = bench.owned(frame(1))
        NDIS_SET_PACKET_STATUS(packet, NDIS_STATUS_RESOURCES)
        indicate(bench, packet)
        assert [(driver.copied, driver.frames) for driver in drivers] == [([frame(1)], [])] * 3
        bench.pool.free(packet)


def test_s003_10_with_a_single_packet_at_a_time() -> None:
    driver = Copier()
    with Bench() as bench:
        bench.bind(driver)
        packets = [bench.owned(frame(mark)) for mark in range(3)]
        for packet in packets:
            NDIS_SET_PACKET_STATUS(packet, NDIS_STATUS_RESOURCES)
        indicate(bench, *packets)
        assert driver.copied == [frame(0), frame(1), frame(2)]
        for packet in packets:
            bench.pool.free(packet)


def test_s003_14_a_driver_keeps_a_packet_for_as_long_as_it_likes() -> None:
    with Bench() as bench:
        driver = Driver(1)
        bench.bind(driver)
        bench.give(frame(0))
        (packet,) = driver.kept
        for mark in range(1, 50):
            bench.give(frame(mark))
            NdisReturnPackets(driver.kept[1:], 1)
            del driver.kept[1:]
        assert (packet.state, bytes(packet.data)) == (PacketState.INDICATED, frame(0))
        driver.give_back()


@pytest.mark.parametrize("answer", [0, 1, 3])
def test_s003_17_the_answer_of_receive_packet_is_a_count_of_references(serialized: bool, answer: int) -> None:
    with Bench() as bench:
        driver = Driver(answer)
        binding = bench.bind(driver)
        packet = bench.owned()
        indicate(bench, packet)
        assert binding.owed(packet) == answer
        driver.give_back()
        if serialized and answer == 0:
            # it was told by the status that the packet is its own again
            bench.pool.free(packet)


def test_s003_18_who_answers_more_than_0_and_never_returns_is_told_of_when_it_closes() -> None:
    with Bench() as bench:
        driver = Driver(2)
        binding = bench.bind(driver)
        indicate(bench, bench.owned())
        assert bench.adapter.close(binding) is Status.PENDING
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("60", "a"))
        assert (bench.pool.release_withheld(), bench.pool.usage) == (0, 1), "the driver still refers to it"
        driver.kept.clear()
        assert (bench.pool.release_withheld(), bench.pool.usage) == (1, 0)


def test_s003_19_after_as_many_calls_as_were_promised_the_miniport_has_it_once() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver(3))
        packet = bench.owned()
        indicate(bench, packet)
        counts = []
        for _ in range(3):
            NdisReturnPackets([packet], 1)
            counts.append(len(miniport.returned))
        assert (counts, miniport.returned) == ([0, 0, 1], [packet])
        assert violation(NdisReturnPackets, [packet], 1) == "05"


def test_s003_19_one_array_may_name_the_packet_as_often_as_it_was_promised() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver(3))
        packet = bench.owned()
        indicate(bench, packet)
        NdisReturnPackets([packet] * 3, 3)
        assert miniport.returned == [packet]


def test_s003_21_s003_22_the_library_counts_and_the_count_is_the_sum_of_the_answers() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bindings = [bench.bind(Driver(answer), f"d{answer}") for answer in (2, 0, 1)]
        packet = bench.owned()
        indicate(bench, packet)
        assert (packet.references, [binding.owed(packet) for binding in bindings]) == (3, [2, 0, 1])
        for left in (2, 1, 0):
            NdisReturnPackets([packet], 1)
            assert (packet.references, len(miniport.returned)) == (left, int(left == 0))
        assert [binding.held for binding in bindings] == [0, 0, 0]


def test_s003_23_with_the_last_reference_the_packet_is_the_miniports() -> None:
    miniport = Miniport(frees=False)
    pool, buffers = pool_of(1), buffers_of(1)
    with adapter_over(pool, miniport) as bench:
        driver = Driver(1)
        bench.bind(driver)
        packet = packet_of(pool)
        (buffer,) = chain(packet, buffers, frame(5))
        indicate(bench, packet)
        assert driver.frames == [frame(5)]
        NdisReturnPackets([packet], 1)
        assert (miniport.returned, packet.unchain_front()) == ([packet], buffer)
        pool.free(packet)


@pytest.mark.parametrize("holders_before", [0, 1])
def test_s003_24_it_cannot_be_called_from_within_receive_packet(holders_before: int) -> None:
    def returns_at_once(packet: Packet) -> int:
        refused.append(violation(NdisReturnPackets, [packet], 1))
        return 1

    refused: list[str] = []
    with Bench() as bench:
        for index in range(holders_before):
            bench.bind(Driver(1), f"d{index}")
        bench.bind(Driver(returns_at_once), "hasty")
        packet = bench.owned()
        indicate(bench, packet)
        assert (refused, packet.references) == (["02"], holders_before + 1)
        bench.expect(("02", "hasty"))
        NdisReturnPackets([packet] * (holders_before + 1), holders_before + 1)


def test_s003_24_receive_complete_is_the_place_for_it() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        driver = Batched(1)
        driver.at_end = lambda: NdisReturnPackets(driver.kept, len(driver.kept))
        bench.bind(driver)
        packet = bench.owned()
        indicate(bench, packet)
        assert miniport.returned == [packet]
        driver.kept.clear()


def test_s003_25_it_may_be_called_up_to_dispatch(strict: None, profile: Profile) -> None:
    with Bench() as bench:
        bench.bind(Driver(3))
        packet = bench.owned()
        indicate(bench, packet)
        for level in (Irql.PASSIVE, Irql.DISPATCH):
            with at_irql(level):
                NdisReturnPackets([packet], 1)
        if profile is Profile.NT:
            # Windows CE knows no levels
            with at_irql(Irql.DIRQL):
                assert violation(NdisReturnPackets, [packet], 1) == "70"
        assert packet.references == 1
        NdisReturnPackets([packet], 1)


@pytest.mark.parametrize("count", [1, 2, 32])
def test_s003_26_a_miniport_indicates_several_packets_at_a_time(count: int) -> None:
    with Bench(packets=40) as bench:
        driver = Driver(1)
        bench.bind(driver)
        packets = [bench.owned(frame(mark)) for mark in range(count)]
        NdisMIndicateReceivePacket(bench.adapter, packets, count)
        assert (driver.frames, driver.kept) == ([frame(mark) for mark in range(count)], packets)
        NdisReturnPackets(driver.kept, count)
        driver.kept.clear()


def test_syn_09_no_lock_is_held_across_an_indication(strict: None, serialized: bool) -> None:
    with Bench() as bench:
        bench.bind(Driver())
        lock, packet = NdisAllocateSpinLock(), bench.owned()
        NdisAcquireSpinLock(lock)
        assert violation(indicate, bench, packet) == "80"
        NdisReleaseSpinLock(lock)
        indicate(bench, packet)
        if serialized:
            bench.pool.free(packet)


# a return that names no binding


def test_rx_32_a_return_that_nobody_owes_is_refused_and_the_others_of_the_array_are_made() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Driver(1))
        packets = [bench.owned() for _ in range(2)]
        indicate(bench, *packets)
        idle = bench.owned()
        assert violation(NdisReturnPackets, [packets[0], idle, packets[1]], 3) == "05"
        assert (miniport.returned, idle.state) == (packets, PacketState.OWNED)
        bench.pool.free(idle)


def test_rx_33_which_of_several_holders_is_charged_is_the_first_that_owes() -> None:
    with Bench() as bench:
        first, second = bench.bind(Driver(1), "first"), bench.bind(Driver(2), "second")
        packet = bench.owned()
        indicate(bench, packet)
        charged = []
        for _ in range(3):
            NdisReturnPackets([packet], 1)
            charged.append((first.returned, second.returned))
        assert charged == [(1, 0), (1, 1), (1, 2)]
        assert (first.held, second.held) == (0, 0)


def test_rx_33_a_closed_binding_is_forgotten_and_never_charged() -> None:
    with Bench() as bench:
        gone = bench.bind(Driver(0), "gone")
        bench.adapter.close(gone)
        stays = bench.bind(Driver(1), "stays")
        packet = bench.owned()
        indicate(bench, packet)
        NdisReturnPackets([packet], 1)
        assert (gone.returned, stays.returned) == (0, 1)
        assert gone not in OPEN
