"""
Faults are provoked as they are asked for, only at verifier level 4, and the same way again with the same seed.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.shipped import level_4, until
from unit.wire import Bench, Driver, Miniport, Sender, frame, violation

from vnic import BufferPool, MiniportDriver, Packet, PacketPool, PacketState, ProtocolDriver, Status
from vnic.counters import broken_sums
from vnic.verifier.faults import FAULTS, MODES
from vnic.verifier.levels import set_level
from vnic.verifier.records import RECORDS

BUILT = [mode.name for mode in MODES if not mode.absent]
HARDEST: dict[str, dict[str, Any]] = {
    "low-resources": {"probability": 1.0},
    "systematic": {},
    "pend-sends": {"ratio": 1.0, "delay_ms": 1000.0},
    "resources": {"ratio": 1.0},
    "delays": {"ratio": 1.0, "max_us": 10},
    "late-reuse": {"length": 3},
    "reorder": {},
}


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    with level_4():
        yield


def struck(mode: str) -> int:
    """How often a mode has struck."""
    found: int = FAULTS.show()[mode]["struck"]
    return found


class Asker(ProtocolDriver):
    """Allocate a packet for each frame, and free it."""

    def __init__(self) -> None:
        self.got: list[bool] = []

    def bind_adapter(self) -> None:
        self.pool = PacketPool(16, 64, name="asker")

    def receive_packet(self, packet: Packet) -> int:
        own = self.pool.allocate()
        self.got.append(own is not None)
        if own is not None:
            self.pool.free(own)
        return 0


# the table


@pytest.mark.parametrize("mode", BUILT)
def test_every_mode_starts_with_its_defaults_and_is_shown(mode: str) -> None:
    FAULTS.start(mode)
    (found,) = [one for one in MODES if one.name == mode]
    shown = FAULTS.show()[mode]
    assert {knob.name: knob.default for knob in found.knobs}.items() <= shown.items()
    assert (shown["calls"], shown["struck"]) == (0, 0)
    FAULTS.stop(mode)
    assert FAULTS.show() == {}


@pytest.mark.parametrize(("mode", "knob"), [(mode.name, knob) for mode in MODES for knob in mode.knobs])
def test_a_knob_out_of_its_range_is_refused_in_one_line(mode: str, knob: Any) -> None:
    wrong: tuple[Any, ...] = (knob.least - 1, knob.most + 1, "much", None, float("nan"))
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^{mode}: {knob.name} .* is not a.* number from [^\n]*$"):
            FAULTS.start(mode, **{knob.name: value})
    FAULTS.start(mode, **{knob.name: knob.least})
    FAULTS.start(mode, **{knob.name: knob.most})


@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        ("loud", {}, "there is no mode loud: low-resources, systematic"),
        ("special-pool", {}, "mode special-pool is not built: the copy that level 3 keeps"),
        ("reorder", {"ratio": 1}, "mode reorder has no ratio: seed"),
        ("low-resources", {"chance": 1}, "mode low-resources has no chance: probability, after, driver, pool, seed"),
        ("reorder", {"pool": "arp"}, "mode reorder cannot be narrowed to a pool"),
        ("resources", {"driver": "arp"}, "mode resources cannot be narrowed to a driver"),
        ("delays", {"seed": 1.5}, "seed '1.5' is no whole number"),
    ],
)
def test_what_cannot_be_started_is_refused_in_one_line(mode: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message) as caught:
        FAULTS.start(mode, **arguments)
    assert "\n" not in str(caught.value)
    assert FAULTS.show() == {}
    if mode == "loud":
        with pytest.raises(ValueError, match="there is no mode loud"):
            FAULTS.stop(mode)


def test_a_record_has_the_seed_while_a_mode_is_on() -> None:
    assert RECORDS.seed is None
    FAULTS.start("delays", seed=5)
    FAULTS.start("reorder", seed=6)
    violation(PacketPool, 0)
    assert RECORDS.all()[-1]["seed"] == 6
    FAULTS.stop("reorder")
    assert RECORDS.seed == 5
    FAULTS.stop()
    violation(PacketPool, 0)
    assert "seed" not in RECORDS.all()[-1]


def test_a_seed_is_drawn_and_shown_if_none_is_given() -> None:
    FAULTS.start("low-resources")
    assert RECORDS.seed == FAULTS.show()["low-resources"]["seed"] is not None


def test_nothing_strikes_below_level_4() -> None:
    set_level(3)
    for mode, knobs in HARDEST.items():
        FAULTS.start(mode, **knobs)
    with Bench() as bench:
        asker, sender = Asker(), Sender()
        bench.bind(asker)
        binding = bench.bind(sender, "sender")
        bench.give(*[frame(mark) for mark in range(6)])
        assert asker.got == [True] * 6
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert BufferPool(1, "buffers").allocate(b"x") is not None
        assert bench.adapter.counters()["rx_resources"] == 0
    assert {mode: struck(mode) for mode in BUILT} == dict.fromkeys(BUILT, 0)


def test_one_driver_can_be_brought_to_level_4_with_its_pools() -> None:
    set_level(1)
    FAULTS.start("low-resources", probability=1.0)
    with Bench() as bench:
        one, other = Asker(), Asker()
        bench.bind(one, "one")
        set_level(4, driver="one")
        bench.bind(other, "other")
        assert (one.pool.verifier_level, other.pool.verifier_level, bench.own.verifier_level) == (4, 1, 1)
        bench.give(frame())
        assert (one.got, other.got) == ([False], [True])


def test_the_guide_has_every_mode_as_the_table_has_it() -> None:
    text = (Path(__file__).parents[2] / "docs" / "drivers.md").read_text()
    rows = [line.split(" | ") for line in text.split("<!-- modes:")[1].split("<!-- end -->")[0].splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == [mode.name for mode in MODES]
    for row, mode in zip(rows, MODES, strict=True):
        assert row[1] == mode.help
        for knob in mode.knobs:
            assert f"`{knob.name}={knob.default}`: {knob.help} ({knob.least} to {knob.most})" in row[2]
        assert row[-1].rstrip(" |") == (f"not built: {mode.absent}" if mode.absent else ", ".join([*mode.narrowed, "seed"]))


# allocations that fail


def asked(seed: int, **knobs: Any) -> list[bool]:
    """What becomes of two hundred allocations."""
    FAULTS.start("low-resources", seed=seed, **knobs)
    pool = PacketPool(4, 64, name="asked")
    found = []
    for _ in range(200):
        packet = pool.allocate()
        found.append(packet is not None)
        if packet is not None:
            pool.free(packet)
    assert found.count(False) == pool.exhausted == struck("low-resources")
    return found


def test_the_same_seed_and_calls_give_the_same_failures() -> None:
    first = asked(7, probability=0.3, after=1)
    assert 30 < first.count(False) < 90
    assert asked(7, probability=0.3, after=1) == first
    assert asked(8, probability=0.3, after=1) != first


def test_by_default_six_in_a_hundred_fail() -> None:
    FAULTS.start("low-resources", seed=1)
    pool = BufferPool(10_000, "buffers")
    failed = sum(pool.allocate(b"x") is None for _ in range(5000))
    assert 200 < failed < 400


def test_the_first_allocations_can_be_let_alone() -> None:
    found = asked(1, probability=1.0, after=50)
    assert found == [True] * 49 + [False] * 151, "the pool itself was the first"


def test_failures_can_be_narrowed_to_a_pool_or_a_driver() -> None:
    with Bench() as bench:
        one, other = Asker(), Asker()
        bench.bind(one, "one")
        bench.bind(other, "other")
        FAULTS.start("low-resources", probability=1.0, driver="one")
        bench.give(frame())
        assert (one.pool.allocate(), one.got, other.got) == (None, [False], [True]), "outside of handlers, whose pool it is counts"
        FAULTS.start("low-resources", probability=1.0, pool="other")
        bench.give(frame())
        assert (one.got, other.got) == ([False, True], [True, True])


def test_pools_and_buffers_fail_as_if_there_was_no_memory() -> None:
    buffers = BufferPool(4, "buffers")
    source = buffers.allocate(bytearray(10))
    FAULTS.start("low-resources", probability=1.0)
    assert source is not None
    assert (buffers.allocate(b"x"), buffers.copy(source, 0, 5), buffers.usage) == (None, None, 1)
    with pytest.raises(OSError, match=r"Cannot allocate memory.*'new'"):
        PacketPool(4, 64, name="new")
    with pytest.raises(OSError, match=r"Cannot allocate memory.*'new'"):
        BufferPool(4, "new")


def test_each_line_of_code_fails_exactly_once() -> None:
    with Bench() as bench:
        asker = Asker()
        bench.bind(asker)
        FAULTS.start("systematic")
        bench.give(*[frame(mark) for mark in range(8)])
        assert asker.got == [False] + [True] * 7
        (site,) = FAULTS.show()["systematic"]["sites"]
        assert site.startswith(f"{__file__}:")
        assert site.endswith(" packet")
        assert asker.pool.allocate() is None
        assert len(FAULTS.sites) == 2
        FAULTS.start("systematic", resume=1)
        bench.give(frame())
        assert asker.got[-1]
        FAULTS.start("systematic")
        bench.give(frame())
        assert not asker.got[-1]


def test_the_nth_allocation_fails_and_no_other() -> None:
    for nth in range(1, 6):
        FAULTS.start("systematic", nth=nth)
        buffers = None
        found = []
        for _ in range(5):
            try:
                buffers = buffers or BufferPool(10, "buffers")
                found.append(buffers.allocate(b"x") is not None)
            except OSError:
                found.append(False)
        assert found.count(False) == struck("systematic") == 1
        assert found.index(False) == max(0, nth - 2)


# pended sends


class Below(MiniportDriver):
    """Answer each send with SUCCESS; remember the packet."""

    def __init__(self) -> None:
        self.sent: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        self.sent.append(packet)
        return Status.SUCCESS


def pended(bench: Bench, count: int, **knobs: Any) -> Sender:
    """Bind a sender and let it send packets, each of which is pended."""
    sender = Sender()
    binding = bench.bind(sender)
    FAULTS.start("pend-sends", **{"ratio": 1.0, "delay_ms": 1000.0} | knobs)
    for mark in range(count):
        assert binding.send(bench.owned(frame(mark), bench.own)) is Status.PENDING
    return sender


def test_a_pended_send_is_on_the_wire_and_completes_once_from_another_thread() -> None:
    with Bench() as bench:
        threads: list[str] = []

        class Noting(Sender):
            def send_complete(self, packet: Packet, status: Status) -> None:
                threads.append(threading.current_thread().name)
                super().send_complete(packet, status)

        sender = Noting()
        binding = bench.bind(sender)
        FAULTS.start("pend-sends", ratio=1.0, delay_ms=5.0)
        assert binding.send(bench.owned(frame(1), bench.own)) is Status.PENDING
        assert bench.taken() == [frame(1)]
        until(lambda: sender.completed)
        assert sender.completed == [(frame(1), Status.SUCCESS)]
        assert threads == ["vnic-pended-sends"]
        until(lambda: not binding.sends_pending and not bench.own.usage)


def test_a_pended_send_is_pending_for_everybody() -> None:
    with Bench(miniport=(miniport := Below())) as bench:
        sender = pended(bench, 1)
        (packet,) = miniport.sent
        counters = bench.adapter.counters()
        assert (counters["tx_submitted"], counters["tx_pending"], counters["tx_frames"]) == (1, 1, 0)
        assert list(broken_sums(counters)) == []
        assert packet.state is PacketState.SENDING
        assert violation(sender.binding.send, packet) == "55"
        assert violation(bench.own.free, packet) == "56"
        # the miniport has answered it already
        assert violation(bench.adapter.send_complete, packet, Status.SUCCESS) == "50"
        bench.expect(("55", "a"), ("50", "miniport"))
        assert sender.completed == []


def test_closing_completes_what_is_pended_before_the_driver_is_told_of_its_end() -> None:
    order: list[str] = []

    class Ending(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            order.append(status.name)
            super().send_complete(packet, status)

        def unbind_adapter(self) -> None:
            order.append("unbind")

    with Bench() as bench:
        sender = Ending()
        binding = bench.bind(sender)
        FAULTS.start("pend-sends", ratio=1.0, delay_ms=1000.0)
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        assert order == []
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert order == ["SUCCESS"] * 3 + ["unbind"]


def test_halting_and_stopping_complete_what_is_pended() -> None:
    with Bench() as bench:
        sender = pended(bench, 3)
        FAULTS.stop("pend-sends")
        assert [status for _, status in sender.completed] == [Status.SUCCESS] * 3
        again = pended(bench, 3)
        bench.adapter.halt()
        assert [status for _, status in again.completed] == [Status.SUCCESS] * 3


def test_pended_sends_can_complete_in_another_order() -> None:
    with Bench() as bench:
        sender = pended(bench, 40, delay_ms=20.0, shuffle=1, seed=3)
        until(lambda: len(sender.completed) == 40)
        marks = [data for data, _ in sender.completed]
        assert marks != sorted(marks)
        assert sorted(marks) == [frame(mark) for mark in range(40)]
        assert bench.taken() == [frame(mark) for mark in range(40)], "the wire keeps its order"


def test_without_that_they_complete_in_order() -> None:
    with Bench() as bench:
        sender = pended(bench, 40, delay_ms=2.0)
        until(lambda: len(sender.completed) == 40)
        assert [data for data, _ in sender.completed] == [frame(mark) for mark in range(40)]


@pytest.mark.parametrize("serialized", [False, True])
def test_the_same_seed_pends_the_same_sends(serialized: bool) -> None:
    runs = []
    for _ in range(2):
        with Bench(miniport=Below(), serialized=serialized) as bench:
            sender = Sender()
            binding = bench.bind(sender)
            FAULTS.start("pend-sends", ratio=0.5, seed=11, delay_ms=0.0)
            statuses = []
            for mark in range(50):
                packet = bench.owned(frame(mark), bench.own)
                statuses.append(binding.send(packet))
                if statuses[-1] is not Status.PENDING:
                    bench.own.free(packet)
            runs.append(statuses)
            assert 10 < statuses.count(Status.PENDING) < 40
            FAULTS.stop()
            assert len(sender.completed) == statuses.count(Status.PENDING)
    assert runs[0] == runs[1]


def test_a_driver_that_writes_to_a_pended_packet_is_found_out() -> None:
    with Bench() as bench:
        sender = Sender()
        binding = bench.bind(sender)
        FAULTS.start("pend-sends", ratio=1.0, delay_ms=1000.0, seed=9)
        packet = bench.owned(frame(), bench.own)
        view = packet.data
        assert binding.send(packet) is Status.PENDING
        view[20] = 0xEE
        view.release()
        FAULTS.stop()
        bench.expect(("56", "a"))


# received packets


def test_received_packets_are_shown_with_status_resources() -> None:
    with Bench(low_water=0) as bench:
        driver = Driver(look=lambda packet: packet.status)
        bench.bind(driver)
        FAULTS.start("resources", ratio=1.0)
        bench.give(*[frame(mark) for mark in range(5)])
        assert driver.seen == [Status.RESOURCES] * 5
        counters = bench.adapter.counters()
        assert (counters["rx_resources"], counters["rx_delivered"], counters["indicated"]) == (5, 5, 0)
        FAULTS.start("resources", ratio=1.0, pool="another")
        bench.give(frame())
        assert driver.seen[-1] is Status.SUCCESS


def test_of_an_array_all_behind_the_first_are_copied_and_come_home_as_they_should() -> None:
    with Bench(miniport=(miniport := Miniport())) as bench:
        driver = Driver(look=lambda packet: packet.status)
        bench.bind(driver)
        FAULTS.start("resources", ratio=0.3, seed=1)
        for _ in range(20):
            packets = [bench.owned(frame(mark)) for mark in range(6)]
            bench.adapter.indicate(packets)
            assert sorted(map(id, miniport.returned)) == sorted(map(id, packets))
            miniport.returned.clear()
        arrays = [driver.seen[start : start + 6] for start in range(0, 120, 6)]
        assert all(array == sorted(array) for array in arrays), "once one is RESOURCES, all behind it are"
        assert len({array.count(Status.RESOURCES) for array in arrays}) > 3


# delays


def test_calls_are_delayed_the_same_way_again() -> None:
    found = []
    for _ in range(2):
        FAULTS.start("delays", ratio=0.5, max_us=5, seed=4)
        with Bench() as bench:
            asker = Asker()
            bench.bind(asker)
            bench.give(*[frame(mark) for mark in range(8)])
            found.append(FAULTS.show()["delays"])
    assert found[0] == found[1]
    assert 0 < found[0]["struck"] < found[0]["calls"] >= 16


def test_delays_are_no_sleep_of_the_driver() -> None:
    FAULTS.start("delays", ratio=1.0, max_us=5)
    with Bench() as bench:
        bench.bind(Asker())
        bench.give(frame())
        assert struck("delays") >= 2
        assert RECORDS.counts["72"] == 0


# reuse, and the way home


def test_free_packets_are_used_first_in_first_out_and_late() -> None:
    pool = PacketPool(8, 64, name="late")
    FAULTS.start("late-reuse", length=3)
    used: list[int] = []
    held: list[Packet] = []
    for turn in range(200):
        packet = pool.allocate()
        if packet is None:
            assert len(held) == 5, "three are kept back"
        else:
            assert packet.index not in used[-3:]
            used.append(packet.index)
            held.append(packet)
        if packet is None or turn % 3 == 0:
            pool.free(held.pop(0))
    assert used[8:16] == used[:8]
    while held:
        pool.free(held.pop())
    assert struck("late-reuse") == len(used)
    FAULTS.stop()
    everything = [pool.allocate() for _ in range(8)]
    assert None not in everything


def test_an_adapter_reads_into_packets_that_were_free_for_long() -> None:
    with Bench(packets=8) as bench:
        driver = Driver(look=lambda packet: packet.index)
        bench.bind(driver)
        FAULTS.start("late-reuse", length=4)
        for mark in range(16):
            bench.give(frame(mark))
        assert sorted(driver.seen[:8]) == list(range(8))
        assert driver.seen[8:] == driver.seen[:8]
        driver.answer = 1
        assert bench.give(*[frame(mark) for mark in range(6)]) == 4
        assert bench.adapter.receive_batch() == 2
        assert bench.adapter.counters()["rx_dropped_no_packet"] == 2
        driver.give_back()


def test_who_writes_to_a_packet_long_after_freeing_it_is_found_when_it_is_used_again() -> None:
    pool = PacketPool(8, 64, name="late")
    FAULTS.start("late-reuse", length=4)
    packet = pool.allocate()
    assert packet is not None
    packet.write(bytes(20))
    address = ctypes.addressof((ctypes.c_char * 20).from_buffer(packet.data))
    gc.collect()
    pool.free(packet)
    ctypes.memmove(address + 5, b"late", 4)
    others = 0
    while RECORDS.counts["07"] == 0:
        own = pool.allocate()
        assert own is not None
        pool.free(own)
        others += own is not packet
        assert others <= 8
    assert others >= 4
    (record,) = RECORDS.all()
    assert (record["id"], record["diff"][0]["off"], record["diff"][0]["new"]) == ("07", 5, b"late".hex())


def home(seed: int) -> list[int]:
    """In which order sixteen packets come home that nobody keeps, and eight that are returned together."""
    with Bench(packets=16, miniport=(miniport := Miniport())) as bench:
        driver = Driver(lambda packet: int(packet.data[-1] >= 8))
        bench.bind(driver)
        FAULTS.start("reorder", seed=seed)
        bench.adapter.indicate([bench.owned(frame(mark)) for mark in range(16)])
        assert len(miniport.returned) == 8, "all are home when the call is over"
        driver.give_back()
        assert sorted(packet.index for packet in miniport.returned) == list(range(16))
        return [packet.index for packet in miniport.returned]


def test_packets_come_home_in_another_order_and_the_same_one_again() -> None:
    orders = {tuple(home(seed)) for seed in (1, 1, 2, 2)}
    assert len(orders) == 2
    for order in orders:
        assert order[:8] != tuple(range(8)), "those that nobody keeps"
        assert order[8:] != tuple(range(8, 16)), "those that are returned together"


def test_free_packets_go_onto_the_stack_in_another_order() -> None:
    with Bench(packets=16) as bench:
        bench.bind(Driver())
        FAULTS.start("reorder", seed=2)
        bench.give(*[frame(mark) for mark in range(8)])
        assert bench.pool.usage == 0
        packets = [bench.pool.allocate() for _ in range(8)]
        indices = [packet.index for packet in packets if packet is not None]
        assert sorted(indices) == list(range(8))
        assert indices not in (list(range(8)), list(range(7, -1, -1)))
        for packet in packets:
            assert packet is not None
            bench.pool.free(packet)
