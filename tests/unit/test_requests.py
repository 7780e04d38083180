"""
The queue of requests: one at a time for the miniport, in order, each answered exactly once, whatever happens on the way.
"""

from __future__ import annotations

import queue as queues
import random
import threading
import time
from typing import Any

import pytest
from unit.asking import PENDING, Asker, Desk, Scripted
from unit.wire import Driver, frame, violation

from vnic import MiniportDriver, Status
from vnic.oids import NicValues, Oid
from vnic.request import Request, RequestKind
from vnic.requests import RequestQueue

SPEED, SUCCESS = Oid.GEN_LINK_SPEED, Status.SUCCESS


class Inline(Scripted):
    """Complete every query inside the handler, save the first few, and then answer by the script."""

    def __init__(self, *script: Any, first: int = 0) -> None:
        super().__init__(*script)
        self.first = first
        self.queue: RequestQueue | None = None

    def next(self, oid: int) -> Any:
        if len(self.asked) > self.first:
            assert self.queue is not None
            self.queue.query_complete(SUCCESS, 1)
        return super().next(oid)


class InlineDesk(Desk):
    """A desk whose miniport completes inside its handler."""

    def __init__(self, *script: Any, first: int = 0) -> None:
        miniport = Inline(*script, first=first)
        super().__init__(miniport)
        miniport.queue = self.queue


def test_a_driver_without_the_handler_may_ask_and_is_not_called() -> None:
    with Desk(Scripted(PENDING)) as desk:
        request, status = desk.query(desk.bind(Driver()), SPEED)
        assert status is Status.PENDING
        desk.queue.query_complete(SUCCESS, 4)
        assert request.bytes_written == 4


def test_the_base_of_drivers_and_miniports_answers_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise AssertionError("the empty handler of the base was called")

    for name in ("query_information", "set_information"):
        monkeypatch.setattr(MiniportDriver, name, fails, raising=False)
    with Desk() as desk:
        assert desk.number(desk.bind(Asker()), SPEED) == 100_000_000


def test_a_waiting_request_is_asked_when_the_one_before_it_is_over() -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        requests = [desk.query(binding, oid)[0] for oid in (1, 2, 3)]
        for done in range(3):
            assert miniport.asked == [(oid, 4) for oid in range(1, done + 2)]
            miniport.buffer[:] = bytes([done] * 4)
            desk.queue.query_complete(SUCCESS, 4)
            assert asker.completed == [(request, SUCCESS) for request in requests[: done + 1]]
        assert [bytes(request.information_buffer) for request in requests] == [bytes([done] * 4) for done in range(3)]


def test_what_waits_is_answered_through_the_handler_even_if_the_miniport_answers_at_once() -> None:
    miniport = Scripted(PENDING, (SUCCESS, 2, 0), (Status.NOT_SUPPORTED, 0, 0))
    with Desk(miniport) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        first, second, third = (desk.set(binding, oid, b"ab")[0] for oid in (1, 2, 3))
        desk.queue.set_complete(Status.FAILURE)
        assert asker.completed == [(first, Status.FAILURE), (second, SUCCESS), (third, Status.NOT_SUPPORTED)]
        assert (first.bytes_read, second.bytes_read, third.bytes_read) == (0, 2, 0)
        assert miniport.asked == [(oid, b"ab") for oid in (1, 2, 3)]


def test_a_completion_from_inside_the_handler_is_the_only_one() -> None:
    with InlineDesk(PENDING) as desk:
        asker = Asker()
        request, status = desk.query(desk.bind(asker), SPEED)
        assert status is Status.PENDING
        assert asker.completed == [(request, SUCCESS)]


def test_a_thousand_requests_that_end_inside_the_handler_do_not_nest() -> None:
    with InlineDesk(PENDING, first=1) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        for _ in range(1000):
            desk.query(binding, SPEED)
        desk.queue.query_complete(SUCCESS)
        assert len(asker.completed) == 1000


def test_a_thousand_requests_made_one_in_the_completion_of_the_other_do_not_nest() -> None:
    with InlineDesk(PENDING) as desk:
        asker = Asker()
        asker.then = lambda *_: desk.query(asker.binding, SPEED) if len(asker.completed) < 1000 else None
        desk.query(desk.bind(asker), SPEED)
        assert len(asker.completed) == 1000


def test_an_answer_after_the_completion_is_refused_and_not_told() -> None:
    with InlineDesk((SUCCESS, 4, 0)) as desk:
        asker = Asker()
        request, status = desk.query(desk.bind(asker), SPEED)
        assert status is Status.PENDING
        assert asker.completed == [(request, SUCCESS)]
        assert request.bytes_written == 1
        desk.expect(("68a", "miniport"))


def test_a_completion_after_the_answer_is_refused() -> None:
    with Desk(Scripted(PENDING, (SUCCESS, 4, 0))) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        desk.query(binding, SPEED)
        desk.queue.query_complete(SUCCESS)
        assert desk.query(binding, SPEED)[1] is SUCCESS
        assert violation(desk.queue.query_complete, SUCCESS, 4) == "68b"
        assert len(asker.completed) == 1
        desk.expect(("68b", "miniport"))


def test_a_miniport_that_raises_fails_the_request_and_the_next_one_is_asked() -> None:
    def fails(_: int) -> Any:
        raise ValueError("broken")

    with Desk(Scripted(fails, (SUCCESS, 4, 0))) as desk:
        binding = desk.bind(Asker())
        assert desk.query(binding, SPEED)[1] is Status.FAILURE
        desk.expect(("query_information", "miniport"))
        assert desk.query(binding, SPEED)[1] is SUCCESS


def test_a_miniport_that_raises_after_its_completion_is_reported_for_that_alone() -> None:
    def fails(_: int) -> Any:
        raise ValueError("broken")

    with InlineDesk(fails) as desk:
        asker = Asker()
        request, status = desk.query(desk.bind(asker), SPEED)
        assert (status, asker.completed) == (Status.PENDING, [(request, SUCCESS)])
        desk.expect(("query_information", "miniport"))


@pytest.mark.parametrize("answer", [None, 0, (0,), ("x", 0, 0), (0, "many", 0), (1, 2, 3)], ids=str)
def test_an_answer_that_is_none_fails_the_request(answer: object) -> None:
    with Desk(Scripted(answer)) as desk:
        assert desk.query(desk.bind(Asker()), SPEED)[1] is Status.FAILURE
        desk.expect(("query_information", "miniport"))


def test_a_driver_that_raises_in_its_handler_is_counted_and_the_next_request_is_asked() -> None:
    def fails(*_: object) -> None:
        raise ValueError("broken")

    with Desk(Scripted(PENDING, (SUCCESS, 4, 0))) as desk:
        broken, sound = Asker(fails), Asker()
        desk.query(desk.bind(broken, "broken"), SPEED)
        request, _ = desk.query(desk.bind(sound, "sound"), SPEED)
        desk.queue.query_complete(SUCCESS, 4)
        assert sound.completed == [(request, SUCCESS)]
        assert broken.binding.errors == 1
        desk.expect(("request_complete", "broken"))


@pytest.mark.parametrize("moved", [5, -1])
def test_more_bytes_than_the_buffer_has_fail_the_request(moved: int) -> None:
    with Desk(Scripted((SUCCESS, moved, 0))) as desk:
        binding = desk.bind(Asker())
        request, status = desk.query(binding, SPEED)
        assert (status, request.bytes_written, bytes(request.information_buffer)) == (Status.FAILURE, 0, b"\xee" * 4)
        desk.expect(("68d", "miniport"))


def test_a_completion_with_pending_ends_the_request_as_failed() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        request, _ = desk.query(desk.bind(asker), SPEED)
        desk.queue.query_complete(Status.PENDING)
        assert asker.completed == [(request, Status.FAILURE)]


def test_what_the_miniport_writes_reaches_the_requester_only_with_success() -> None:
    def scribbles(_: int) -> Any:
        miniport.buffer[:] = b"abcd"
        return Status.NOT_ACCEPTED, 4, 9

    miniport = Scripted(scribbles)
    with Desk(miniport) as desk:
        request, status = desk.query(desk.bind(Asker()), SPEED)
        assert (status, request.bytes_written, request.bytes_needed) == (Status.NOT_ACCEPTED, 0, 9)
        assert request.information_buffer == b"\xee" * 4


def test_a_buffer_may_be_any_writable_bytes() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        memory = bytearray(12)
        request = Request(RequestKind.STATISTICS, SPEED, memoryview(memory)[4:8])
        assert desk.queue.request(binding, request) is SUCCESS
        assert memory == bytes(4) + (100_000_000).to_bytes(4, "little") + bytes(4)
        with pytest.raises(TypeError, match="OID_GEN_LINK_SPEED is read-only"):
            desk.queue.request(binding, Request(RequestKind.QUERY, SPEED, memoryview(bytes(4))))
        with pytest.raises(ValueError, match="7 is not a valid RequestKind"):
            desk.queue.request(binding, Request(7, SPEED, memory))  # type: ignore[arg-type]
        filters = Request(RequestKind.SET, Oid.GEN_CURRENT_PACKET_FILTER, memoryview(b"\1\0\0\0"))
        assert desk.queue.request(binding, filters) is SUCCESS


def test_a_closed_binding_asks_nothing() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        desk.adapter.close(binding)
        assert violation(desk.query, binding, SPEED) == "98"
        assert binding.violations == 1
        desk.expect(("98", "a"))


def test_a_close_aborts_the_bindings_requests_and_no_others() -> None:
    miniport = Scripted(PENDING)
    with Desk(miniport) as desk:
        asker, other = Asker(), Asker()
        mine, theirs = desk.bind(asker), desk.bind(other, "b")
        below, _ = desk.query(mine, 1)
        kept, _ = desk.query(theirs, 2)
        waiting, _ = desk.query(mine, 3)
        desk.queue.close(mine)
        assert asker.completed == [(below, Status.REQUEST_ABORTED), (waiting, Status.REQUEST_ABORTED)]
        below.information_buffer += b"the buffer is the requester's again"
        assert (miniport.asked, other.completed) == ([(1, 4)], [])
        miniport.buffer[:] = b"late"
        desk.queue.query_complete(SUCCESS, 4)
        assert len(asker.completed) == 2
        assert (below.bytes_written, below.information_buffer[:4]) == (0, b"\xee" * 4)
        assert miniport.asked == [(1, 4), (2, 4)]
        desk.queue.query_complete(SUCCESS, 4)
        assert other.completed == [(kept, SUCCESS)]
        assert len(miniport.asked) == 2


def test_a_close_while_the_miniport_works_is_told_once() -> None:
    def works(_: int) -> Any:
        desk.queue.close(asker.binding)
        return SUCCESS, 4, 0

    asker = Asker()
    with Desk(Scripted(works)) as desk:
        request, status = desk.query(desk.bind(asker), SPEED)
        assert (status, asker.completed) == (Status.PENDING, [(request, Status.REQUEST_ABORTED)])


def test_a_close_forgets_what_the_binding_set() -> None:
    with Desk() as desk:
        small, large = desk.bind(Asker()), desk.bind(Asker(), "b")
        for binding, size in ((small, 100), (large, 200)):
            desk.set(binding, Oid.GEN_CURRENT_LOOKAHEAD, size.to_bytes(4, "little"))
            desk.set(binding, Oid.GEN_PROTOCOL_OPTIONS, b"\2\0\0\0")
        assert desk.queue.protocol_options(large) == 2
        desk.queue.close(large)
        assert desk.queue.protocol_options(large) == 0
        assert desk.number(small, Oid.GEN_CURRENT_LOOKAHEAD) == 100


def test_the_multicast_list_of_a_closing_binding_does_not_count() -> None:
    with Desk(values=NicValues(maximum_list_size=1)) as desk:
        keeper = Driver(1)
        closing, other = desk.bind(keeper), desk.bind(Asker(), "b")
        desk.set(closing, Oid.IEEE_802_3_MULTICAST_LIST, b"\1" * 6)
        assert desk.set(other, Oid.IEEE_802_3_MULTICAST_LIST, b"\3" * 6)[1] is Status.MULTICAST_FULL
        desk.give(frame())
        assert desk.adapter.close(closing) is Status.PENDING
        assert desk.set(other, Oid.IEEE_802_3_MULTICAST_LIST, b"\3" * 6)[1] is SUCCESS
        assert desk.value(other, Oid.IEEE_802_3_MULTICAST_LIST) == b"\3" * 6
        keeper.give_back()


def test_a_request_in_unbind_adapter_answers_closing() -> None:
    class Last(Asker):
        def unbind_adapter(self) -> None:
            self.last = [desk.query(self.binding, oid)[1] for oid in (SPEED, Oid.GEN_CURRENT_PACKET_FILTER)]

    with Desk() as desk:
        last = Last()
        desk.adapter.close(desk.bind(last))
        assert last.last == [Status.CLOSING] * 2


def test_a_request_on_a_halted_adapter_answers_closing() -> None:
    with Desk() as desk:
        binding = desk.bind(Asker())
        desk.adapter.halt()
        assert desk.query(binding, SPEED)[1] is Status.CLOSING


def test_a_driver_may_ask_while_it_binds() -> None:
    class Early(Asker):
        def bind_adapter(self) -> None:
            self.first = desk.number(self.binding, SPEED)
            desk.set(self.binding, Oid.GEN_CURRENT_PACKET_FILTER, b"\1\0\0\0")
            desk.set(self.binding, Oid.IEEE_802_3_MULTICAST_LIST, b"\1" * 6)
            self.listed = desk.value(self.binding, Oid.IEEE_802_3_MULTICAST_LIST)

    with Desk() as desk:
        early = Early()
        binding = desk.bind(early)
        assert (early.first, early.listed, binding.packet_filter) == (100_000_000, b"\1" * 6, 1)


def test_a_request_below_for_more_than_twelve_seconds_is_reported_once() -> None:
    with Desk(Scripted(PENDING)) as desk:
        asker = Asker()
        binding = desk.bind(asker)
        desk.queue.scan(time.monotonic_ns() + 10**12)
        desk.query(binding, SPEED)
        desk.query(binding, SPEED)
        began = time.monotonic_ns()
        desk.queue.scan(began + 11_000_000_000)
        assert desk.reports == []
        desk.queue.scan(began + 13_000_000_000)
        desk.queue.scan(began + 14_000_000_000)
        desk.expect(("68c", "miniport"))
        desk.queue.query_complete(SUCCESS)
        desk.queue.scan(time.monotonic_ns())
        desk.queue.query_complete(SUCCESS)
        assert [status for _, status in asker.completed] == [SUCCESS, SUCCESS]


class Busy(MiniportDriver):
    """Answer at once, or inside the handler, or from another thread; notice when it is asked twice at once."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.queue: RequestQueue | None = None
        self.inside = 0
        self.overlaps = 0
        self.asked: list[int] = []
        self.later: queues.Queue[bool] = queues.Queue()

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        self.inside += 1
        self.overlaps += self.inside != 1
        self.asked.append(oid)
        buffer[:4] = oid.to_bytes(4, "little")
        way = self.random.choice(("at once", "inside", "later"))
        if way == "later":
            self.later.put(True)
            return PENDING
        self.inside -= 1
        if way == "at once":
            return SUCCESS, 4, 0
        self.complete()
        return PENDING

    def complete(self) -> None:
        assert self.queue is not None
        self.queue.query_complete(SUCCESS, 4)

    def work(self) -> None:
        """Complete what is pending, until told to stop."""
        while self.later.get(timeout=30):
            self.inside -= 1
            self.complete()


def test_requests_from_many_threads_are_asked_one_at_a_time_and_answered_once_each() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    each, count = 200, 4
    miniport = Busy(seed)
    with Desk(miniport) as desk:
        miniport.queue = desk.queue
        askers = [Asker() for _ in range(count)]
        for index, asker in enumerate(askers):
            desk.bind(asker, f"a{index}")
        answers: list[list[tuple[Request, Status]]] = [[] for _ in askers]

        def run(index: int) -> None:
            for number in range(each):
                answers[index].append(desk.query(askers[index].binding, 0xFF000000 | index << 16 | number))

        worker = threading.Thread(target=miniport.work, daemon=True)
        threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
        for thread in (worker, *threads):
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        end = time.monotonic() + 20
        pending = sum(status is Status.PENDING for mine in answers for _, status in mine)
        while sum(len(asker.completed) for asker in askers) < pending:
            assert time.monotonic() < end, f"requests were never completed (seed {seed})"
            time.sleep(0.001)
        miniport.later.put(False)
        worker.join(30)
        assert not worker.is_alive()
        assert miniport.overlaps == 0
        assert len(miniport.asked) == each * count
        for index, (asker, mine) in enumerate(zip(askers, answers, strict=True)):
            pended = [request for request, status in mine if status is Status.PENDING]
            assert sorted(map(id, pended)) == sorted(id(request) for request, _ in asker.completed)
            assert all(status is SUCCESS for _, status in asker.completed)
            assert all(bytes(request.information_buffer) == request.oid.to_bytes(4, "little") for request, _ in mine)
            asked = [oid for oid in miniport.asked if oid >> 16 & 0xFF == index]
            assert asked == sorted(asked), "one driver's requests were asked out of order"
