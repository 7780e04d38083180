"""
What no other test looks at: each of these was written because a fault in one line, of `scripts/mutants.toml`, was found by none.
"""

from __future__ import annotations

import pytest
from unit.wire import Batched, Bench, Driver, Sender, frame, violation

from vnic import Packet, PacketFilter, PacketPool, PacketState, Status, copy_packet, slot_size_for


def test_the_status_of_the_last_use_is_gone_when_a_packet_is_allocated_again() -> None:
    with Bench(packets=1) as bench:
        packet = bench.owned()
        packet.status = Status.RESOURCES
        bench.pool.free(packet)
        again = bench.pool.allocate()
        assert again is packet
        assert again.status is Status.SUCCESS
        bench.pool.free(again)


def test_a_packet_whose_chain_was_opened_is_a_plain_one_when_it_is_allocated_again() -> None:
    with Bench(packets=1) as bench:
        packet = bench.owned()
        assert len(packet.buffers) == 1
        bench.pool.free(packet)
        assert bench.owned(frame(2)) is packet
        assert bytes(packet.data) == frame(2)
        bench.pool.free(packet)


def test_to_fill_the_beginning_of_a_frame_does_not_shorten_it() -> None:
    with Bench(packets=1) as bench:
        packet = bench.owned()
        assert packet.fill(0, b"ab") == 2
        assert bytes(packet.data) == b"ab" + frame()[2:]
        bench.pool.free(packet)


def test_a_copy_ends_where_the_frame_that_is_copied_to_ends() -> None:
    with Bench(packets=2) as bench:
        target, source = bench.owned(frame(1)), bench.owned(frame(2))
        assert copy_packet(target, 50, 60, source, 0) == 10
        assert bytes(target.data) == frame(1)[:50] + frame(2)[:10]
        bench.pool.free(target)
        bench.pool.free(source)


def test_overflow_packets_are_made_as_often_as_they_are_freed() -> None:
    pool = PacketPool(1, 0, name="descriptors", overflow=2)
    for _ in range(3):
        packets = [pool.allocate() for _ in range(3)]
        assert pool.allocate() is None
        for packet in packets:
            assert packet is not None
            pool.free(packet)
    pool.close()


def test_a_pool_of_which_only_an_overflow_packet_is_out_is_not_closed() -> None:
    pool = PacketPool(1, 0, name="descriptors", overflow=1)
    first, extra = pool.allocate(), pool.allocate()
    assert first is not None
    assert extra is not None
    pool.free(first)
    assert violation(pool.close) == "39"
    pool.free(extra)
    pool.close()


@pytest.mark.parametrize("mtu", range(1450, 1600))
def test_the_largest_frame_of_any_mtu_leaves_a_byte_of_its_slot_free(mtu: int) -> None:
    size = slot_size_for(mtu)
    assert mtu + 14 + 8 < size <= mtu + 14 + 8 + 128
    assert size % 128 == 64


def test_a_handler_that_has_indicated_another_packet_is_still_inside_of_its_own_indication() -> None:
    broken: list[str] = []
    with Bench(packets=2) as bench:
        inner = bench.owned(frame(2))

        def answer(packet: Packet) -> int:
            if packet is not inner:
                bench.adapter.indicate([inner])
                broken.append(violation(binding.return_packets, [packet]))
            return 0

        binding = bench.bind(Driver(answer))
        bench.adapter.indicate([bench.owned()])
        assert broken == ["02"]
        bench.expect(("02", "a"))


def test_a_broken_rule_that_is_only_told_of_does_not_count_as_refused() -> None:
    with Bench() as bench:
        bench.adapter.send_resources_available()
        bench.expect(("96", "miniport"))
        counters = bench.adapter.counters()
    assert (counters["violations"], counters["violations_refused"]) == (1, 0)


def test_of_several_returns_that_are_refused_the_first_is_named() -> None:
    with Bench(packets=2) as bench:
        driver = Driver(1)
        holder, other = bench.bind(driver, "a"), bench.bind(Driver(), "b")
        bench.adapter.indicate([bench.owned()])
        free = bench.pool.allocate()
        assert free is not None
        bench.pool.free(free)
        assert violation(other.return_packets, [driver.kept[0], free]) == "04"
        assert violation(other.return_packets, [free, driver.kept[0]]) == "05"
        bench.expect(("04", "b"), ("05", "b"), ("05", "b"), ("04", "b"))
        holder.return_packets(driver.kept)


def test_a_driver_that_saw_no_frame_of_a_batch_is_not_told_of_its_end() -> None:
    with Bench() as bench:
        driver = Batched()
        binding = bench.bind(driver)
        bench.give(frame())
        binding.packet_filter = PacketFilter.BROADCAST
        bench.give(frame())
    assert driver.batches == 1


def test_packets_that_a_batch_did_not_need_go_back_in_their_old_order() -> None:
    with Bench(packets=4) as bench:
        driver = Driver(look=lambda packet: packet.index)
        bench.bind(driver)
        bench.give(frame())
        bench.give(frame(), frame())
    assert driver.seen == [0, 0, 1]


def test_a_send_that_waits_for_room_is_not_completed_by_the_miniport_which_has_not_got_it() -> None:
    with Bench() as bench:
        driver = Sender()
        bench.fill_cable(bench.bind(driver))
        waiting = next(packet for packet in bench.own.packets() if packet.state is PacketState.SENDING)
        assert violation(bench.adapter.send_complete, waiting, Status.SUCCESS) == "50"
        bench.expect(("50", "miniport"))
        assert driver.completed == []
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [status for _, status in driver.completed] == [Status.SUCCESS]
