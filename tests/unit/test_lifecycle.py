"""
Handlers that answer PENDING, and completions that come early, late, twice or never.
"""

from __future__ import annotations

import threading

import pytest
from unit.living import Alive, Nic
from unit.wire import Bench, Driver, Miniport, frame, violation

from vnic import MAX_BINDINGS, MiniportDriver, Packet, PacketFilter, PacketState, Status, VnicError

PENDING, SUCCESS = Status.PENDING, Status.SUCCESS


def test_a_pending_bind_is_open_and_shown_nothing_until_it_is_complete() -> None:
    with Bench() as bench:
        driver = Alive(bind=PENDING)
        binding = bench.bind(driver)
        assert (bench.adapter.bindings, binding.opening, binding.packet_filter) == ((binding,), True, PacketFilter.NONE)
        bench.give(frame(1))
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        binding.complete_bind(SUCCESS)
        assert (binding.opening, binding.packet_filter) == (False, PacketFilter.PROMISCUOUS)
        bench.give(frame(2))
        assert (driver.frames, driver.log) == ([frame(2)], [])


def test_a_bind_that_fails_after_all_leaves_nothing_behind() -> None:
    with Bench() as bench:
        driver = Alive(bind=PENDING)
        for _ in range(MAX_BINDINGS + 1):
            binding = bench.bind(driver)
            binding.complete_bind(Status.RESOURCES)
            assert (binding.closed, bench.adapter.bindings, driver.log) == (True, (), [])
        assert violation(driver.binding.complete_bind, SUCCESS) == "65"
        bench.expect(("65", "a"))


def test_a_completion_that_overtakes_the_answer_is_the_answer() -> None:
    with Bench() as bench:
        driver: Alive = Alive(bind=lambda: driver.binding.complete_bind(SUCCESS) or PENDING)
        assert not bench.bind(driver).opening
        refusing: Alive = Alive(bind=lambda: refusing.binding.complete_bind(Status.FAILURE) or PENDING)
        with pytest.raises(VnicError, match="b declined: FAILURE"):
            bench.bind(refusing, "b")
        leaving: Alive = Alive(unbind=lambda: leaving.binding.complete_unbind() or PENDING)
        assert bench.adapter.close(bench.bind(leaving, "c")) is SUCCESS
        assert leaving.log == ["unbind"]


def test_a_completion_and_another_answer_are_rule_65() -> None:
    with Bench() as bench:
        driver: Alive = Alive(bind=lambda: driver.binding.complete_bind(SUCCESS))
        bench.bind(driver)
        bench.expect(("65", "a"))
        assert violation(driver.binding.complete_bind, SUCCESS) == "65"
        assert violation(driver.binding.complete_unbind) == "65"
        bench.expect(("65", "a"), ("65", "a"))


def test_a_filter_that_cannot_be_set_undoes_a_pending_bind() -> None:
    with Bench() as bench:
        driver = Alive(bind=PENDING)
        binding = bench.bind(driver)
        vars(driver)["packet_filter"] = "all"
        with pytest.raises(ValueError, match="all"):
            binding.complete_bind(SUCCESS)
        assert (binding.closed, bench.adapter.bindings) == (True, ())


def test_a_binding_closed_while_it_opens_is_unbound_when_it_is_open() -> None:
    with Bench() as bench:
        driver = Alive(bind=PENDING)
        binding = bench.bind(driver)
        assert bench.adapter.close(binding) is PENDING
        assert driver.log == []
        binding.complete_bind(SUCCESS)
        assert (driver.log, binding.closed, bench.adapter.close(binding)) == (["unbind"], True, SUCCESS)


def test_a_binding_that_never_opens_can_be_taken_away() -> None:
    with Bench() as bench:
        binding = bench.bind(Alive(bind=PENDING))
        assert bench.adapter.close(binding) is PENDING
        assert bench.adapter.reclaim(binding) == 0
        assert (binding.closed, bench.adapter.bindings) == (True, ())


def test_a_binding_is_gone_by_itself_with_its_last_packet() -> None:
    with Bench() as bench:
        driver = Alive(2)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is PENDING
        first, *rest = driver.kept
        binding.return_packets([first])
        assert (binding.dead, binding.closed, driver.log) == (True, False, ["unbind"])
        binding.return_packets(rest)
        assert (binding.closed, bench.adapter.bindings, driver.log) == (True, (), ["unbind", "closed"])
        assert bench.adapter.close(binding) is SUCCESS
        assert driver.log == ["unbind", "closed"]


def test_a_binding_is_gone_by_itself_with_its_last_send_and_its_driver_has_the_packet_first() -> None:
    nic = Nic()
    with Bench(miniport=nic) as bench:
        bench.adapter.initialize()
        driver = Alive()
        binding = bench.bind(driver)
        binding.send(bench.owned(frame(), bench.own))
        assert bench.adapter.close(binding) is PENDING
        bench.expect(("69", "a"))
        bench.adapter.send_complete(nic.sending.pop(), SUCCESS)
        assert (driver.completed, driver.log, binding.closed) == ([(frame(), SUCCESS)], ["unbind", "closed"], True)


def test_the_last_return_from_another_thread_ends_it_once() -> None:
    for _ in range(20):
        with Bench(packets=16) as bench:
            driver = Alive(1)
            binding = bench.bind(driver)
            bench.give(*(frame(mark) for mark in range(16)))
            kept, driver.kept = driver.kept, []
            threads = [threading.Thread(target=binding.return_packets, args=[kept[part::4]]) for part in range(4)]
            for thread in threads:
                thread.start()
            status = bench.adapter.close(binding)
            for thread in threads:
                thread.join()
            assert driver.log == (["unbind"] if status is SUCCESS else ["unbind", "closed"])
            assert binding.closed


def test_a_pending_unbind_may_return_packets_and_ends_with_its_completion() -> None:
    with Bench() as bench:
        driver = Alive(1, unbind=PENDING)
        binding = bench.bind(driver)
        bench.give(frame())
        assert bench.adapter.close(binding) is PENDING
        driver.give_back()
        assert (binding.dead, binding.closed, bench.adapter.close(binding)) == (False, False, PENDING)
        binding.complete_unbind()
        assert (binding.closed, driver.log) == (True, ["unbind", "closed"])
        assert violation(binding.complete_unbind) == "65"
        bench.expect(("65", "a"))


def test_what_is_reclaimed_is_told_that_it_is_closed_once() -> None:
    with Bench() as bench:
        driver = Alive(1, unbind=PENDING)
        binding = bench.bind(driver)
        bench.give(frame())
        bench.adapter.close(binding)
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("60", "a"))
        binding.complete_unbind()
        assert driver.log == ["unbind", "closed"]
        assert (bench.pool.release_withheld(), bench.pool.usage) == (0, 1), "the driver still refers to what was taken back"
        driver.kept.clear()
        assert (bench.pool.release_withheld(), bench.pool.usage) == (1, 0)


def test_a_close_complete_that_raises_is_reported() -> None:
    class Broken(Driver):
        def close_complete(self) -> None:
            raise ValueError

    with Bench() as bench:
        driver = Broken(1)
        binding = bench.bind(driver)
        bench.give(frame())
        bench.adapter.close(binding)
        driver.give_back()
        bench.expect(("close_complete", "a"))
        assert binding.closed


def test_a_binding_that_closes_itself_while_it_looks_may_keep_what_others_left_it() -> None:
    def leave(packet: Packet) -> int:
        if len(driver.frames) == 2:
            bench.adapter.close(driver.binding)
        return 1

    with Bench() as bench:
        driver = Alive(leave)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2), frame(3))
        assert (len(driver.frames), binding.held, binding.closed) == (2, 2, False)
        driver.give_back()
        assert (driver.log, binding.closed) == (["unbind", "closed"], True)


def test_nothing_can_be_opened_before_the_start_or_after_the_halt() -> None:
    with Bench(miniport=Nic()) as bench:
        with pytest.raises(VnicError, match="has not started: call initialize first"):
            bench.bind(Driver())
        bench.adapter.initialize()
        bench.bind(Driver())
        bench.adapter.halt()
        with pytest.raises(VnicError, match="has halted"):
            bench.bind(Driver(), "late")
        assert violation(bench.adapter.initialize) == "65"
        bench.expect(("65", "miniport"))


def test_an_initialize_that_raises_can_be_tried_again() -> None:
    nic = Nic(starts=lambda: 1 / 0)
    with Bench(miniport=nic) as bench:
        with pytest.raises(ZeroDivisionError):
            bench.adapter.initialize()
        nic.starts = SUCCESS
        assert bench.adapter.initialize() is SUCCESS


def test_a_miniport_that_never_started_is_not_halted() -> None:
    nic = Nic(starts=Status.FAILURE)
    with Bench(miniport=nic) as bench:
        assert bench.adapter.initialize() is Status.FAILURE
    assert nic.log == ["initialize"]


def test_the_miniport_halts_when_the_last_binding_is_gone_and_once() -> None:
    nic = Nic()
    with Bench(miniport=nic) as bench:
        bench.adapter.initialize()
        nic.log.clear()
        driver = Alive(1)
        binding = bench.bind(driver)
        bench.give(frame())
        bench.adapter.halt()
        assert (nic.log, driver.kept[0].state) == ([], PacketState.INDICATED)
        assert bench.adapter.close(binding) is PENDING
        assert nic.log == []
        driver.give_back()
        assert (nic.log, nic.returned) == (["halt"], [bench.pool.packets()[0]])
        bench.adapter.halt()
        assert nic.log == ["halt"]


def test_a_halted_adapter_shows_nothing() -> None:
    with Bench() as bench:
        driver = Driver()
        bench.bind(driver)
        bench.adapter.halt()
        bench.give(frame())
        assert (driver.frames, bench.adapter.counters()["rx_dropped_no_driver"]) == ([], 1)


def test_a_halt_that_raises_is_reported() -> None:
    class Broken(MiniportDriver):
        def halt(self) -> None:
            raise ValueError

    with Bench(miniport=Broken()) as bench:
        bench.adapter.halt()
        bench.expect(("halt", "miniport"))


def test_a_send_that_is_not_completed_by_halt_is_rule_61() -> None:
    nic = Nic()
    with Bench(miniport=nic) as bench:
        bench.adapter.initialize()
        binding = bench.bind(Alive())
        binding.send(bench.owned(frame(), bench.own))
        bench.adapter.close(binding)
        bench.adapter.reclaim(binding)
        bench.adapter.halt()
        bench.expect(("69", "a"), ("61", "miniport"))
        bench.adapter.send_complete(nic.sending[0], Status.FAILURE)


def test_waiting_for_packets_ends_with_the_last_return_or_in_time() -> None:
    with Bench(miniport=Miniport()) as bench:
        driver = Driver(1)
        bench.bind(driver)
        assert bench.adapter.wait_for_packets(0)
        bench.give(frame())
        assert not bench.adapter.wait_for_packets(0.01)
        thread = threading.Timer(0.02, driver.give_back)
        thread.start()
        assert bench.adapter.wait_for_packets(10)
        thread.join()


def test_shutdown_calls_the_miniport_and_changes_nothing() -> None:
    nic = Nic()
    with Bench(miniport=nic) as bench:
        bench.adapter.shutdown()
        assert (nic.log, bench.adapter.halted) == (["shutdown"], False)
