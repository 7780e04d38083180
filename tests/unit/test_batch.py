"""
Batches: what a driver with `receive_packets` is shown, what it may answer, and that each packet is promised and returned as if shown alone.
"""

from __future__ import annotations

import array
import struct
import time
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

import pytest
from unit.wire import BROADCAST, OTHER, Batched, Bench, Driver, Miniport, Sender, counts_views, frame, violation

from vnic import LOOPBACK, Batch, ContractViolation, MiniportDriver, Packet, PacketFilter, PacketState, ProtocolDriver, Status
from vnic.context import here
from vnic.core import HEADER
from vnic.counters import broken_sums
from vnic.verifier.records import RECORDS


class Whole(ProtocolDriver):
    """
    Answer what is asked for, remember what was in each batch.

    Attributes:
        answer: to every batch, or a function of the batch that gives it.
        batches: the frames of each batch.
        statuses: of each batch.
        kept: packets kept, once for each reference.
    """

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, answer: Any = 0) -> None:
        self.answer = answer
        self.batches: list[list[bytes]] = []
        self.statuses: list[Status] = []
        self.kept: list[Packet] = []

    def receive_packets(self, batch: Batch) -> Any:
        """Remember, and answer."""
        self.batches.append([bytes(packet.data) for packet in batch])
        self.statuses.append(batch.status)
        answer = self.answer(batch) if callable(self.answer) else self.answer
        if type(answer) is int and 0 < answer < 10 and batch.status is Status.SUCCESS:
            self.kept += list(batch) * answer
        return answer

    def give_back(self) -> None:
        """Return everything that is kept."""
        kept, self.kept = self.kept, []
        self.binding.return_packets(kept)

    @property
    def frames(self) -> list[bytes]:
        """All frames, in the order in which they were shown."""
        return [one for batch in self.batches for one in batch]


class Watcher(Whole):
    """Watch everything, sends of other bindings too."""

    packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL


class WholeOrCopied(Whole):
    """Take what cannot be kept one by one."""

    def __init__(self, answer: Any = 0) -> None:
        super().__init__(answer)
        self.copied: list[bytes] = []

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Copy."""
        self.copied.append(bytes(header) + bytes(lookahead))


class Replier(Sender):
    """Answer each frame with one to everybody."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench

    def receive_packet(self, packet: Packet) -> int:
        """Send."""
        if not packet.flags & LOOPBACK:
            reply = self.bench.owned(frame(1000 + packet.data[-1], to=BROADCAST), self.bench.own)
            if self.binding.send(reply) is not Status.PENDING:
                self.bench.own.free(reply)
        return super().receive_packet(packet)


def noting(note: Callable[[Any], object], answer: Any = 0) -> Callable[[Any], Any]:
    """Make a function that notes something of a batch, and answers."""

    def answering(shown: Any) -> Any:
        note(shown)
        return answer

    return answering


# what is shown


def test_all_frames_of_an_indication_are_shown_at_once_and_in_order() -> None:
    with Bench(packets=8) as bench:
        driver = Whole()
        binding = bench.bind(driver)
        frames = [frame(mark) for mark in range(5)]
        bench.give(*frames)
        bench.give(frame(9))
        assert driver.batches == [frames, [frame(9)]]
        assert (binding.delivered, binding.resources, bench.adapter.counters()["rx_delivered"]) == (6, 0, 6)


def test_a_batch_has_only_what_the_filter_of_the_binding_accepts() -> None:
    with Bench(packets=8) as bench:
        some, all_ = Whole(), Whole()
        some.packet_filter = PacketFilter.DIRECTED | PacketFilter.MULTICAST
        bench.bind(some).multicast_list = (bytes.fromhex("01005e000001"),)
        bench.bind(all_, "b")
        groups = [frame(mark, to=bytes.fromhex(f"01005e00000{mark}")) for mark in (1, 2)]
        given = [frame(3), groups[0], frame(4, to=OTHER), groups[1], frame(5, to=BROADCAST), frame(6)]
        bench.give(*given)
        assert some.batches == [[given[0], given[1], given[5]]]
        assert all_.batches == [given]


@pytest.mark.parametrize("to", [OTHER, BROADCAST, bytes.fromhex("01005e000001")], ids=["another", "all", "a group"])
def test_one_frame_that_is_not_accepted_is_not_in_the_batch(to: bytes) -> None:
    with Bench(packets=8) as bench:
        driver = Whole()
        driver.packet_filter = PacketFilter.DIRECTED
        bench.bind(driver)
        bench.give(frame(1), frame(2, to=to))
        bench.give(frame(3, to=to))
        assert driver.batches == [[frame(1)]]
        assert bench.adapter.counters()["rx_filtered"] == 2


def test_frames_that_nobody_is_shown_are_in_no_batch_and_accounted_for() -> None:
    with Bench(packets=8) as bench:
        driver = Whole()
        driver.packet_filter = PacketFilter.DIRECTED
        bench.bind(driver)
        bench.give(b"short", frame(1, to=OTHER), frame(2), bytes(bench.pool.slot_size))
        assert driver.batches == [[frame(2)]]
        counters = bench.adapter.counters()
        names = ("rx_dropped_runt", "rx_filtered", "rx_delivered", "rx_dropped_truncated")
        assert [counters[name] for name in names] == [1, 1, 1, 1]


def test_an_indication_of_which_nothing_is_accepted_calls_nobody() -> None:
    with Bench() as bench:
        driver = Whole()
        driver.packet_filter = PacketFilter.BROADCAST
        bench.bind(driver)
        bench.give(frame())
        assert driver.batches == []


def test_lengths_and_headers_are_those_of_the_frames_and_end_with_zeros() -> None:
    found: list[Any] = []

    def look(batch: Batch) -> int:
        found.append(([*batch.lengths], [bytes(batch.headers)[row * HEADER : (row + 1) * HEADER] for row in range(len(batch))]))
        assert batch.headers.shape == (len(batch), HEADER)
        assert (batch.headers.readonly, batch.lengths.readonly, batch.lengths.format) == (True, True, "i")
        return 0

    with Bench(packets=3) as bench:
        bench.bind(Whole(look))
        long = [frame(mark, size=1000) for mark in range(3)]
        short = [frame(7, size=size) for size in (18, 63, 64)]
        bench.give(*long)
        bench.give(*short)
        bench.give(*reversed(short))
    expected = [([len(one) for one in given], [one[:HEADER].ljust(HEADER, b"\0") for one in given]) for given in (long, short, short[::-1])]
    assert found == expected


@pytest.mark.parametrize(("first", "size"), [(0, 64), (12, 2), (0, 1), (63, 1), (10, 7), (60, 4), (0, 63)])
def test_bytes_are_gathered_into_rows_of_the_drivers_own_array(first: int, size: int) -> None:
    frames = [frame(mark, size=length) for mark, length in enumerate((60, 1000, 18, 14, first + size, 61))]
    rows = [one[first : first + size].ljust(size, b"\0") for one in frames]
    middle, end = (bytearray(b"x" * (size * 9)) for _ in range(2))

    def look(batch: Batch) -> int:
        batch.gather(middle, 2, first, size)
        batch.gather(end, row=3, first=first, size=size)
        return 0

    with Bench() as bench:
        bench.bind(Whole(look))
        bench.give(*frames)
    assert middle == b"x" * (2 * size) + b"".join(rows) + b"x" * size
    assert end == b"x" * (3 * size) + b"".join(rows)


@pytest.mark.parametrize(
    ("into", "place", "error"),
    [
        (bytearray(128), (1,), ValueError),
        (bytearray(127), (0,), ValueError),
        (bytearray(128), (-1,), ValueError),
        (bytearray(128), (1 << 60,), ValueError),
        (bytearray(3), (0, 12, 2), ValueError),
        (bytearray(9999), (0, 63, 2), ValueError),
        (bytearray(9999), (0, 0, 65), ValueError),
        (bytearray(9999), (0, -1, 2), ValueError),
        (bytearray(9999), (0, 0, 0), ValueError),
        (bytearray(9999), (0, 0, -1), ValueError),
        (bytearray(9999), (0, 63, (1 << 63) - 1), ValueError),
        (bytearray(9999), (0, 64, 1), ValueError),
        (bytearray(9999), (1 << 70,), ValueError),
        (bytearray(9999), (0, 1 << 63, 2), ValueError),
        (bytearray(9999), (0, 0, 1 << 63), ValueError),
        (bytes(9999), (0,), BufferError),
        (memoryview(bytearray(9999))[::2], (0,), BufferError),
        ("x" * 9999, (0,), TypeError),
        (None, (0,), TypeError),
    ],
)
def test_what_cannot_be_gathered_is_an_error_and_leaves_the_array(into: Any, place: tuple[int, ...], error: type[Exception]) -> None:
    raised: list[BaseException] = []

    def look(batch: Batch) -> int:
        try:
            batch.gather(into, *place)
        except Exception as caught:
            raised.append(caught)
        return 0

    with Bench() as bench:
        bench.bind(Whole(look))
        bench.give(frame(1), frame(2))
    assert len(raised) == 1
    assert isinstance(raised[0], error)
    if error is ValueError:
        assert str(raised[0]).endswith((" are gathered", " do not fit into the array"))
    if type(into) is bytearray:
        assert not any(into)
        # nobody is looking at it any more
        into.append(0)


def test_numpy_has_columns_gathered() -> None:
    numpy = pytest.importorskip("numpy")
    column = numpy.zeros(8, ">u2")

    def look(batch: Batch) -> int:
        batch.gather(column, 5, 12, 2)
        with pytest.raises((ValueError, BufferError)):
            batch.gather(column[::2], 0, 12, 2)
        return 0

    with Bench() as bench:
        bench.bind(Whole(look))
        bench.give(frame(1), frame(2), frame(3))
    assert column.tolist() == [0] * 5 + [0x0800] * 3


def test_lengths_and_headers_that_are_kept_never_show_another_frame() -> None:
    with Bench(packets=2) as bench:
        kept: list[memoryview] = []
        driver = Whole(noting(lambda batch: kept.extend((batch.headers, batch.lengths)), 0))
        bench.bind(driver)
        bench.give(frame(1), frame(2, size=99))
        before = [bytes(view) for view in kept]
        bench.give(frame(3, size=50), frame(4, size=70))
        assert [bytes(view) for view in kept[:2]] == before
        assert list(kept[1]) == [60, 99]
        bench.expect()


def test_lengths_and_headers_cannot_be_asked_for_after_the_answer() -> None:
    with Bench() as bench:
        batches: list[Batch] = []
        bench.bind(Whole(noting(batches.append, 0)))
        bench.give(frame())
        assert violation(lambda: batches[0].headers) == "07"
        assert violation(lambda: batches[0].lengths) == "07"
        assert violation(lambda: batches[0].gather(bytearray(64))) == "07"
        assert violation(lambda: batches[0][0].data) == "07"


def test_a_batch_is_a_sequence_of_its_packets() -> None:
    def look(batch: Batch) -> int:
        assert len(batch) == 3
        assert batch.packets == tuple(batch) == (batch[0], batch[1], batch[2])
        assert batch[-1] is batch[2]
        assert repr(batch) == "<Batch of 3 packets, SUCCESS>"
        for position in (3, -4, 1 << 40):
            with pytest.raises(IndexError):
                batch[position]
        with pytest.raises(TypeError):
            batch.__init__()
        return 0

    with Bench() as bench:
        driver = Whole(look)
        bench.bind(driver)
        bench.give(frame(1), frame(2), frame(3))
        assert len(driver.batches) == 1


def test_a_driver_makes_no_batch() -> None:
    with pytest.raises(TypeError, match="batches are made by adapters"):
        Batch()
    made = Batch.__new__(Batch)
    for ask in (lambda: made.headers, lambda: made.lengths, lambda: made.packets, lambda: made[0], lambda: len(made)):
        with pytest.raises((TypeError, AttributeError, ContractViolation)):
            ask()
    with pytest.raises((TypeError, AttributeError, ContractViolation)):
        made.gather(bytearray(64))


def test_receive_packet_of_a_driver_that_is_shown_batches_is_not_called() -> None:
    class Both(Whole):
        def receive_packet(self, packet: Packet) -> int:
            raise AssertionError("called")

    with Bench(low_water=8) as bench:
        driver = Both()
        bench.bind(driver)
        bench.give(frame(1))
        assert driver.frames == [frame(1)]


def test_receive_complete_is_called_once_when_all_have_answered() -> None:
    class Ends(Whole):
        def receive_complete(self) -> None:
            ends.append(len(self.batches))
            self.give_back()

    ends: list[int] = []
    with Bench() as bench:
        driver = Ends(1)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert ends == [1]
        assert (binding.promised, binding.returned) == (2, 2)


def test_the_handler_is_named_while_it_runs() -> None:
    with Bench() as bench:
        seen: list[Any] = []
        binding = bench.bind(Whole(noting(lambda _batch: seen.append((here().handler, here().binding, here().irql)), 0)))
        bench.give(frame())
        assert seen == [("receive_packets", binding, 2)]
        assert here().handler is None


# what is answered


@pytest.mark.parametrize(
    "answer",
    [
        [1, 0, 2],
        (1, 0, 2),
        b"\1\0\2",
        bytearray(b"\1\0\2"),
        array.array("b", [1, 0, 2]),
        array.array("H", [1, 0, 2]),
        array.array("i", [1, 0, 2]),
        array.array("Q", [1, 0, 2]),
        memoryview(array.array("l", [1, 9, 0, 9, 2, 9]))[::2],
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_a_number_for_each_packet_is_promised_for_that_packet(answer: Any) -> None:
    with Bench() as bench:
        packets: list[Packet] = []
        driver = Whole(noting(packets.extend, answer))
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2), frame(3))
        assert [binding.owed(packet) for packet in packets] == [1, 0, 2]
        assert [packet.state for packet in packets] == [PacketState.INDICATED, PacketState.FREE, PacketState.INDICATED]
        assert binding.held == 3
        binding.return_packets([packets[0], packets[2], packets[2]])


@pytest.mark.parametrize("kind", ["u1", "i2", "u4", "i8"])
def test_an_array_of_numpy_is_an_answer_and_sees_a_batch_without_a_copy(kind: str) -> None:
    numpy = pytest.importorskip("numpy", reason="needs numpy: pip install numpy")

    def look(batch: Batch) -> Any:
        headers, lengths = numpy.asarray(batch.headers), numpy.asarray(batch.lengths)
        assert numpy.shares_memory(headers, numpy.asarray(batch.headers))
        assert (headers.shape, lengths.dtype) == ((3, HEADER), numpy.int32)
        packets.extend(batch)
        return (lengths > 60).astype(kind)

    packets: list[Packet] = []
    with Bench() as bench:
        binding = bench.bind(Whole(look))
        bench.give(frame(1), frame(2, size=61), frame(3))
        assert [binding.owed(packet) for packet in packets] == [0, 1, 0]
        binding.return_packets(packets[1:2])


def test_one_number_is_promised_for_each_packet() -> None:
    with Bench() as bench:
        driver = Whole(2)
        binding = bench.bind(driver)
        bench.give(frame(1), frame(2))
        assert [binding.owed(packet) for packet in driver.kept[:2]] == [2, 2]
        assert bench.adapter.counters()["held"] == 2
        driver.give_back()


@pytest.mark.parametrize(
    "answer",
    [
        *(None, True, -1, 65536, 1 << 80, 1.0, "abc", {1, 2, 3}, {1: 1, 2: 2, 3: 3}, object()),
        *([1], [1, 1, 1, 1], b"", b"\1\1", memoryview(b"123456").cast("B", (3, 2))),
    ],
    ids=lambda answer: repr(answer)[:20],
)
def test_an_answer_that_is_no_count_and_no_list_of_counts_is_rule_11_once_and_keeps_nothing(answer: Any) -> None:
    with Bench() as bench:
        binding = bench.bind(Whole(answer))
        bench.give(frame(1), frame(2), frame(3))
        bench.expect(("11", "a"))
        assert (binding.held, bench.pool.usage) == (0, 0)


@pytest.mark.parametrize("wrong", [-1, 65536, True, None, 1.0, "1"], ids=repr)
def test_one_wrong_number_among_others_is_rule_11_for_its_packet_only(wrong: Any) -> None:
    with Bench() as bench:
        packets: list[Packet] = []
        binding = bench.bind(Whole(noting(packets.extend, [1, wrong, 1])))
        bench.give(frame(1), frame(2), frame(3))
        bench.expect(("11", "a"))
        assert [binding.owed(packet) for packet in packets] == [1, 0, 1]
        binding.return_packets([packets[0], packets[2]])


@pytest.mark.parametrize("code", "?fd")
def test_an_array_of_what_are_no_integers_is_rule_11_for_each_packet(code: Any) -> None:
    with Bench() as bench:
        binding = bench.bind(Whole(memoryview(bytes(3 * struct.calcsize(code))).cast(code)))
        bench.give(frame(1), frame(2), frame(3))
        bench.expect(*[("11", "a")] * 3)
        assert binding.held == 0


def test_the_record_of_a_wrong_answer_names_the_handlers_line() -> None:
    space: dict[str, Any] = {"ProtocolDriver": ProtocolDriver, "__name__": "wrong"}
    text = "class Wrong(ProtocolDriver):\n    x = 1\n    def receive_packets(self, batch):\n        return None\n"
    exec(compile(text, "wrong.py", "exec"), space)
    with Bench() as bench:
        bench.bind(space["Wrong"]())
        RECORDS.clear()
        bench.give(frame())
        bench.expect(("11", "a"))
        (record,) = RECORDS.all()
        assert record["where"] == "wrong.py:3"


def test_a_handler_that_raises_keeps_nothing_and_the_others_do_not_notice() -> None:
    def fail(batch: Batch) -> int:
        raise RuntimeError

    with Bench() as bench:
        binding = bench.bind(Whole(fail))
        other = Whole()
        bench.bind(other, "b")
        bench.give(frame(1), frame(2))
        bench.expect(("receive_packets", "a"))
        assert (binding.errors, binding.held) == (1, 0)
        assert other.batches == [[frame(1), frame(2)]]


# ownership


def test_no_packet_comes_back_before_the_last_handler_has_answered() -> None:
    miniport = Miniport()
    came_back: list[int] = []

    def note(_: object) -> int:
        came_back.append(len(miniport.returned))
        return 0

    with Bench(miniport=miniport) as bench:
        for number in range(3):
            bench.bind(Whole(note), f"w{number}")
            bench.bind(Driver(note), f"d{number}")
        bench.give(frame(1), frame(2))
        assert came_back == [0] * 9
        assert len(miniport.returned) == 2


def test_a_packet_that_an_earlier_driver_returns_meanwhile_stays_until_the_batch_is_answered() -> None:
    miniport = Miniport()
    with Bench(miniport=miniport) as bench:
        early = Driver(1)

        def return_it(batch: Batch) -> int:
            early.give_back()
            assert [packet.state for packet in batch] == [PacketState.INDICATED] * 2
            assert miniport.returned == []
            return 0

        bench.bind(early, "early")
        bench.bind(Whole(return_it), "late")
        bench.give(frame(1), frame(2))
        assert len(miniport.returned) == 2


def test_a_return_from_inside_the_handler_is_rule_02_and_from_another_thread_rule_03() -> None:
    with Bench() as bench:
        broken: list[str] = []
        driver = Whole()
        binding = bench.bind(driver)

        def give_back(batch: Batch) -> int:
            broken.append(violation(binding.return_packets, [batch[1]]))
            thread = Thread(target=lambda: broken.append(violation(binding.return_packets, [batch[0]])))
            thread.start()
            thread.join()
            return 0

        driver.answer = give_back
        bench.give(frame(1), frame(2))
        assert broken == ["02", "03"]
        bench.expect(("02", "a"), ("03", "a"))


def test_a_driver_that_may_return_early_may_do_so_in_a_batch() -> None:
    class Early(Whole):
        early_returns = True

    with Bench() as bench:
        driver = Early()
        binding = bench.bind(driver)
        driver.answer = noting(lambda batch: binding.return_packets([batch[1]]), [0, 1, 0])
        bench.give(frame(1), frame(2), frame(3))
        assert (binding.promised, binding.returned, bench.pool.usage) == (1, 1, 0)


def test_the_reserved_area_of_a_packet_may_be_used_while_its_batch_is_shown() -> None:
    with Bench() as bench:
        driver = Whole()
        binding = bench.bind(driver)
        driver.answer = lambda batch: len([binding.reserved(packet) for packet in batch]) * 0
        bench.give(frame(1), frame(2))
        assert violation(binding.reserved, bench.pool.packets()[0]) == "15"
        bench.expect(("15", "a"))


@counts_views
def test_a_view_of_a_packet_that_outlives_an_answer_of_0_is_rule_09_and_keeps_the_packet_from_reuse() -> None:
    with Bench(packets=2) as bench:
        views: list[memoryview] = []
        bench.bind(Whole(noting(lambda batch: views.append(batch[1].data), 0)))
        bench.give(frame(1), frame(2))
        bench.expect(("09", "a"))
        assert bench.pool.audit()[PacketState.QUARANTINED] == 1
        bench.give(frame(3))
        assert bytes(views[0]) == frame(2)
        bench.reports.clear()
        views.clear()


@counts_views
def test_a_view_that_is_alive_at_the_last_return_is_rule_08() -> None:
    with Bench() as bench:
        driver = Whole(1)
        bench.bind(driver)
        bench.give(frame(1))
        view = driver.kept[0].data
        driver.give_back()
        bench.expect(("08", "a"))
        assert bytes(view) == frame(1)
        del view


def test_steps_of_a_packet_name_the_batch_handlers_answer() -> None:
    with Bench() as bench:
        driver = Whole(1)
        bench.bind(driver)
        bench.adapter.verifier_level = 3
        bench.give(frame(1), frame(2))
        for packet in driver.kept:
            assert [step.what for step in packet.history] == ["receive", "answer"]
            assert packet.history[-1].where.endswith(f"test_batch.py:{Whole.receive_packets.__code__.co_firstlineno}")
        driver.give_back()


@pytest.mark.parametrize("level", range(5))
def test_every_level_of_the_verifier_lets_a_good_driver_be(level: int) -> None:
    with Bench(packets=16) as bench:
        driver, other = Whole(lambda batch: [0, 1] * (len(batch) // 2)), Batched(0)
        binding = bench.bind(driver)
        bench.bind(other, "b")
        bench.adapter.verifier_level = level
        for mark in range(5):
            held: list[Packet] = []
            driver.answer = noting(lambda batch: held.extend(batch.packets[1::2]), [0, 1] * 4)  # noqa: B023 - it is called before the next
            bench.give(*[frame(mark)] * 8)
            binding.return_packets(held)
        assert binding.delivered == 40
        assert list(broken_sums(bench.adapter.counters())) == []


def test_a_slow_handler_is_told_of_by_its_name() -> None:
    def work(batch: Batch) -> int:
        end = time.thread_time_ns() + 40_000_000
        while time.thread_time_ns() < end:
            pass
        return 0

    with Bench() as bench:
        bench.adapter.verifier_level = 2
        binding = bench.bind(Whole(work))
        bench.give(frame(1), frame(2))
        bench.expect(("81", "a"))
        assert binding.busy_ns > 30_000_000


# what may not be kept


def test_packets_that_must_be_copied_are_a_batch_of_their_own() -> None:
    with Bench(packets=8, low_water=5) as bench:
        driver = Whole(lambda batch: int(batch.status is Status.SUCCESS))
        binding = bench.bind(driver)
        frames = [frame(mark) for mark in range(8)]
        bench.give(*frames)
        assert driver.batches == [frames[:3], frames[3:]]
        assert driver.statuses == [Status.SUCCESS, Status.RESOURCES]
        assert (binding.delivered, binding.resources, binding.held) == (8, 5, 3)
        counters = bench.adapter.counters()
        assert (counters["rx_delivered"], counters["rx_resources"]) == (8, 5)
        binding.return_packets([packet for packet in bench.pool.packets() if binding.owed(packet)])


@pytest.mark.parametrize(("answer", "broken"), [(1, 2), ([0, 2], 1), ([True, 0], 1), (b"\1\1", 2), (0, 0), ([0, 0], 0), (None, 0)])
def test_to_keep_of_what_must_be_copied_is_rule_10_for_each_packet(answer: Any, broken: int) -> None:
    with Bench(low_water=8) as bench:
        binding = bench.bind(Whole(answer))
        bench.give(frame(1), frame(2))
        bench.expect(*[("10", "a")] * broken or [("11", "a")] * (answer is None))
        assert (binding.held, bench.pool.usage) == (0, 0)


@counts_views
def test_a_view_of_what_must_be_copied_is_rule_10() -> None:
    with Bench(low_water=8) as bench:
        views: list[memoryview] = []
        bench.bind(Whole(noting(lambda batch: views.append(batch[0].data), 0)))
        bench.give(frame(1), frame(2))
        bench.expect(("10", "a"))
        views.clear()


def test_a_driver_with_receive_gets_there_what_must_be_copied_behind_what_may_be_kept() -> None:
    with Bench(packets=8, low_water=6) as bench:
        driver = WholeOrCopied()
        binding = bench.bind(driver)
        frames = [frame(mark) for mark in range(8)]
        bench.give(*frames)
        assert (driver.batches, driver.copied) == ([frames[:2]], frames[2:])
        assert (binding.delivered, binding.resources) == (8, 6)


def test_with_a_quota_a_batch_has_no_more_packets_than_may_be_held_and_the_rest_must_be_copied() -> None:
    with Bench(packets=16) as bench:
        driver = Whole(1)
        driver.answer = lambda batch: int(batch.status is Status.SUCCESS)
        driver.quota = 3
        binding = bench.bind(driver)
        other = Driver(0, lambda packet: packet.status)
        bench.bind(other, "b")
        frames = [frame(mark) for mark in range(8)]
        bench.give(*frames)
        assert driver.batches == [frames[:3], frames[3:]]
        assert driver.statuses == [Status.SUCCESS, Status.RESOURCES]
        assert (binding.held, binding.over_quota, binding.resources) == (3, 5, 5)
        assert other.seen == [Status.SUCCESS] * 8
        binding.return_packets([packet for packet in bench.pool.packets() if binding.owed(packet)])


def test_with_a_quota_a_driver_that_keeps_nothing_is_shown_everything_as_it_is() -> None:
    with Bench(packets=16) as bench:
        driver = Whole(0)
        driver.quota = 3
        binding = bench.bind(driver)
        frames = [frame(mark) for mark in range(8)]
        bench.give(*frames)
        assert driver.batches == [frames[:3], frames[3:6], frames[6:]]
        assert binding.over_quota == 0


def test_what_is_looped_back_is_a_batch_of_one_that_must_be_copied() -> None:
    with Bench() as bench:
        flags: list[int] = []
        driver = Watcher(noting(lambda batch: flags.append(batch[0].flags), 0))
        bench.bind(driver)
        sender = Sender()
        binding = bench.bind(sender, "b")
        packet = bench.owned(frame(5, to=OTHER), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (driver.batches, driver.statuses, flags) == ([[frame(5, to=OTHER)]], [Status.RESOURCES], [LOOPBACK])


# order


@pytest.mark.parametrize("order", ["watcher first", "watcher last"])
def test_who_watches_everything_in_batches_sees_each_frame_before_its_answer(order: str) -> None:
    with Bench() as bench:
        watcher = Watcher()
        drivers: list[tuple[ProtocolDriver, str]] = [(watcher, "watcher"), (Replier(bench), "replier")]
        for driver, name in drivers if order == "watcher first" else reversed(drivers):
            bench.bind(driver, name)
        bench.give(frame(1), frame(2))
        replies = [frame(1000 + mark, to=BROADCAST) for mark in (1, 2)]
        assert watcher.batches == [[frame(1), frame(2)], [replies[0]], [replies[1]]]


def test_who_watches_everything_frame_by_frame_sees_each_frame_before_a_batch_driver_answers_it() -> None:
    with Bench() as bench:

        def reply(batch: Batch) -> int:
            for packet in batch if not batch[0].flags & LOOPBACK else ():
                answer = bench.owned(frame(1000 + packet.data[-1], to=BROADCAST), bench.own)
                assert binding.send(answer) is Status.SUCCESS
                bench.own.free(answer)
            return 0

        binding = bench.bind(Whole(reply), "replier")
        watcher = Driver()
        watcher.packet_filter = Watcher.packet_filter
        bench.bind(watcher, "watcher")
        bench.give(frame(1), frame(2))
        assert watcher.frames == [frame(1), frame(2), *[frame(1000 + mark, to=BROADCAST) for mark in (1, 2)]]


def test_drivers_that_are_asked_frame_by_frame_are_asked_between_watchers_and_other_batches() -> None:
    asked: list[str] = []

    def note(name: str, _shown: object) -> int:
        asked.append(name)
        return 0

    with Bench() as bench:
        for driver, name in ((Whole(), "late"), (Driver(), "each"), (Watcher(), "early")):
            driver.answer = partial(note, name)
            bench.bind(driver, name)
        bench.give(frame(1), frame(2))
        assert asked == ["early", "each", "each", "late"]


# bindings that come and go in the middle


def close_other(bench: Bench, name: str) -> None:
    (binding,) = [one for one in bench.adapter.bindings if one.name == name]
    bench.adapter.close(binding)


@pytest.mark.parametrize("change", ["closed", "no filter", "low power", "halted"])
def test_a_batch_is_not_shown_to_who_may_not_see_it_any_more(change: str) -> None:
    with Bench() as bench:
        driver = Whole()

        def do(_packet: Packet) -> int:
            if len(first.frames) == 1:
                actions[change]()
            return 0

        first = Driver(do)
        bench.bind(first, "first")
        binding = bench.bind(driver, "late")
        actions: dict[str, Callable[[], object]] = {
            "closed": lambda: close_other(bench, "late"),
            "no filter": lambda: setattr(binding, "packet_filter", PacketFilter.NONE),
            "low power": lambda: bench.adapter._set_low_power(True),
            "halted": bench.adapter.halt,
        }
        bench.give(frame(1), frame(2))
        assert driver.batches == []
        counters = bench.adapter.counters()
        seen = 2 if change in ("closed", "no filter") else 1
        assert (counters["rx_delivered"], counters["rx_dropped_no_driver"]) == (seen, 2 - seen)


def test_a_batch_handler_that_closes_its_binding_keeps_nothing() -> None:
    with Bench() as bench:
        driver = Whole(lambda _batch: bench.adapter.close(bench.adapter.bindings[0]) * 0 + 1)
        bench.bind(driver)
        bench.give(frame(1), frame(2))
        bench.expect(("98", "a"), ("98", "a"))
        assert bench.pool.usage == 0


@pytest.mark.parametrize("batched", [False, True])
def test_who_is_bound_in_the_middle_of_an_indication_misses_it_or_sees_the_rest_frame_by_frame(batched: bool) -> None:
    with Bench() as bench:
        new = Whole()

        def bind_it(_packet: Packet) -> int:
            if len(first.frames) == 1:
                bench.bind(new, "new")
            return 0

        first = Driver(bind_it)
        bench.bind(first, "first")
        if batched:
            bench.bind(Whole(), "other")
        bench.give(frame(1), frame(2), frame(3))
        assert new.batches == ([] if batched else [[frame(2)], [frame(3)]])
        bench.give(frame(4), frame(5))
        assert new.batches[-1] == [frame(4), frame(5)]


# other miniports


def test_packets_that_a_miniport_indicates_are_a_batch_and_its_own_again_by_their_status() -> None:
    miniport = Miniport(frees=False)
    with Bench(miniport=miniport) as bench:
        driver = Whole(lambda batch: int(batch.status is Status.SUCCESS))
        binding = bench.bind(driver)
        packets = [bench.owned(frame(mark)) for mark in range(5)]
        packets[2].status = Status.RESOURCES
        bench.adapter.indicate(packets)
        assert driver.batches == [[frame(0), frame(1)], [frame(2), frame(3), frame(4)]]
        assert driver.statuses == [Status.SUCCESS, Status.RESOURCES]
        # those behind one that is lent are shown like it, and come home as their own status says
        assert miniport.returned == packets[3:]
        assert [packet.state for packet in packets] == [PacketState.INDICATED] * 2 + [PacketState.OWNED] * 3
        binding.return_packets(packets[:2])
        for packet in packets:
            bench.pool.free(packet)


def test_a_serialized_miniport_reads_from_each_packet_whether_it_is_its_own_again() -> None:
    miniport = Miniport(frees=False)
    with Bench(miniport=miniport, serialized=True) as bench:
        driver = Whole([0, 1, 0])
        binding = bench.bind(driver)
        packets = [bench.owned(frame(mark)) for mark in range(3)]
        bench.adapter.indicate(packets)
        assert [packet.status for packet in packets] == [Status.SUCCESS, Status.PENDING, Status.SUCCESS]
        assert miniport.returned == []
        binding.return_packets([packets[1]])
        assert miniport.returned == [packets[1]]
        for packet in packets:
            bench.pool.free(packet)


def test_more_packets_than_a_reader_takes_at_once_are_one_batch() -> None:
    with Bench(packets=600) as bench:
        driver = Whole()
        bench.bind(driver)
        bench.adapter.indicate([bench.owned(frame(mark)) for mark in range(600)])
        assert [len(batch) for batch in driver.batches] == [600]


def test_frames_in_chains_of_buffers_have_headers_too() -> None:
    from vnic import BufferPool

    with Bench(miniport=Miniport()) as bench:
        buffers = BufferPool(2, "parts")
        found: list[bytes] = []
        bench.bind(Whole(noting(lambda batch: found.append(bytes(batch.headers)), 0)))
        packet = bench.pool.allocate()
        assert packet is not None
        for part in (frame(7)[:20], frame(7)[20:]):
            buffer = buffers.allocate(bytearray(part))
            assert buffer is not None
            packet.chain_back(buffer)
        packet.status = Status.RESOURCES
        bench.adapter.indicate([packet])
        assert found == [frame(7).ljust(HEADER, b"\0")]
        for _ in range(2):
            taken = packet.unchain_front()
            assert taken is not None
            buffers.free(taken)
        bench.pool.free(packet)
        buffers.close()


def test_an_indication_from_inside_a_batch_handler_is_an_indication_of_its_own() -> None:
    with Bench(miniport=MiniportDriver()) as bench:
        driver = Whole()
        bench.bind(driver)

        def again(batch: Batch) -> int:
            if batch[0].data[-1] < 3:
                bench.adapter.indicate([bench.owned(frame(batch[0].data[-1] + 1))])
                assert bytes(batch.headers)[59] == batch[0].data[-1]
            return 0

        driver.answer = again
        bench.give(frame(1))
        assert driver.batches == [[frame(mark)] for mark in (1, 2, 3)]


def test_who_watches_in_batches_and_closes_takes_no_frame_from_a_driver_that_is_asked_for_each() -> None:
    with Bench() as bench:
        watcher, each = Whole(), Driver(0)
        watcher.packet_filter = PacketFilter.ALL_LOCAL
        bench.bind(watcher)
        bench.bind(each)
        watcher.answer = noting(lambda _: bench.adapter.close(watcher.binding), 0)
        bench.give(frame(1), frame(2))
        assert (watcher.batches, each.frames) == ([[frame(1), frame(2)]], [frame(1), frame(2)])


def test_nothing_is_indicated_in_no_batch() -> None:
    with Bench(miniport=MiniportDriver()) as bench:
        driver = Whole()
        bench.bind(driver)
        bench.adapter.indicate([])
        assert driver.batches == []


def test_a_chain_that_is_too_long_leaves_no_packet_before_it_out() -> None:
    from vnic import BufferPool
    from vnic.chain import LONGEST

    with Bench(miniport=Miniport()) as bench:
        # all of them are the same bytes
        block = bytearray(1 << 22)
        count = LONGEST // len(block) + 1
        buffers = BufferPool(count, "parts")
        driver = Whole()
        bench.bind(driver)
        good, long = bench.owned(frame(1)), bench.pool.allocate()
        assert long is not None
        for _ in range(count):
            buffer = buffers.allocate(block)
            assert buffer is not None
            long.chain_front(buffer)
        with pytest.raises(ValueError, match="too long"):
            bench.adapter.indicate([good, long])
        # nothing was shown, and all are the miniport's as before
        assert (driver.batches, long.state, good.state) == ([], PacketState.OWNED, PacketState.OWNED)
        bench.pool.free(good)
        for _ in range(count):
            taken = long.unchain_front()
            assert taken is not None
            buffers.free(taken)
        bench.pool.free(long)
        buffers.close()


def test_a_packet_that_is_withheld_while_it_is_free_is_not_used_again_after_its_next_frame() -> None:
    with Bench(packets=1) as bench:
        driver = Whole()
        bench.bind(driver)
        (packet,) = bench.pool.packets()
        bench.pool.withhold(packet)
        bench.give(frame(1))
        assert (packet.state, bench.pool.available) == (PacketState.QUARANTINED, 0)
        del packet
        assert bench.pool.release_withheld() == 1
        bench.give(frame(2))
        assert driver.frames == [frame(1), frame(2)]
