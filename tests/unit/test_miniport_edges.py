"""
Miniports that do what they must not: they alone are told of it, and nobody above them waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import getsourcelines
from threading import Event, Thread, current_thread
from time import sleep
from typing import Any

import pytest
from unit.asking import Asker
from unit.wire import Bench, Driver, Sender, frame, violation

from vnic import ContractViolation, MiniportDriver, Packet, Replies, Status
from vnic import locks as library
from vnic.locks import Irql, SpinLock, lower_irql
from vnic.oids import Oid
from vnic.pnp import DeviceEvent
from vnic.request import Request, RequestKind
from vnic.timers import Timer, VirtualClock, work_items
from vnic.verifier.records import RECORDS

SUCCESS, PENDING, RESOURCES = Status.SUCCESS, Status.PENDING, Status.RESOURCES


@pytest.fixture
def at_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process at verifier level 2."""
    monkeypatch.setattr(library, "checks", 2)
    return iter(())


def strict(bench: Bench) -> Bench:
    """The same, at verifier level 2."""
    bench.adapter.verifier_level = 2
    return bench


def link_speed(kind: RequestKind = RequestKind.QUERY) -> Request:
    return Request(kind, Oid.GEN_LINK_SPEED, bytearray(4))


class Holding(MiniportDriver):
    """Leave a lock held in the first call of a handler."""

    def __init__(self, handler: str) -> None:
        self.lock = SpinLock("the card's")
        self.handler = handler

    def leave_held(self, handler: str) -> None:
        if handler == self.handler:
            self.handler = ""
            self.lock.acquire()

    def let_go(self) -> None:
        self.lock.release()
        # the lock remembers the level of the handler in which it was acquired
        lower_irql(Irql.PASSIVE)

    def send(self, packet: Packet) -> Status:
        self.leave_held("send")
        return SUCCESS

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        self.leave_held("query_information")
        return SUCCESS, 4, 0


@pytest.mark.usefixtures("at_two")
def test_a_send_that_leaves_a_lock_held_in_a_serialized_miniport_is_over_and_the_miniport_named() -> None:
    card = Holding("send")
    with strict(Bench(miniport=card, serialized=True)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is SUCCESS
        card.let_go()
        bench.own.free(packet)
        bench.expect(("75", "miniport"))
        card.handler = "send"
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        card.let_go()
        bench.expect(("75", "miniport"))
        assert [status for _, status in driver.completed] == [SUCCESS] * 3


@pytest.mark.usefixtures("at_two")
def test_a_query_that_leaves_a_lock_held_in_a_serialized_miniport_is_answered_and_so_is_the_next() -> None:
    card = Holding("")
    with strict(Bench(miniport=card, serialized=True)) as bench:
        binding = bench.bind(Driver())
        card.handler = "query_information"
        assert binding.request(link_speed()) is SUCCESS
        assert RECORDS.all()[-1]["where"] == f"{__file__}:{getsourcelines(Holding.leave_held)[1] + 3}"
        card.let_go()
        assert binding.request(link_speed()) is SUCCESS
        bench.expect(("75", "miniport"))


def test_a_lock_that_a_serialized_miniport_leaves_held_is_only_counted_below_level_two() -> None:
    card = Holding("send")
    before = library.counted["75"]
    with Bench(miniport=card, serialized=True) as bench:
        binding = bench.bind(Sender())
        binding.send_packets([bench.owned(frame(1), bench.own)])
        card.let_go()
        assert library.counted["75"] == before + 1


class Loud(Request):
    """Refuse to be told what it needs."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "bytes_needed" and value:
            raise RuntimeError("loud")
        super().__setattr__(name, value)


@pytest.mark.parametrize("serialized", [False, True])
def test_a_request_that_raises_when_it_is_answered_keeps_no_other_from_being_asked(serialized: bool) -> None:
    class Card(MiniportDriver):
        answer = (Status.INVALID_LENGTH, 0, 9)

        def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
            return self.answer

    card = Card()
    with Bench(miniport=card, serialized=serialized) as bench:
        binding = bench.bind(Asker())
        with pytest.raises(RuntimeError, match="loud"):
            binding.request(Loud(RequestKind.QUERY, Oid.GEN_LINK_SPEED, bytearray(4)))
        card.answer = (SUCCESS, 4, 0)
        assert binding.request(link_speed()) is SUCCESS
        assert binding.pending_io == 0


class Ending(MiniportDriver):
    """Remember every call; the first set of an OID of drivers stays pending."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.at_halt: Callable[[], object] = bool

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        self.log.append("set")
        return PENDING if oid == Oid.GEN_NETWORK_LAYER_ADDRESSES else SUCCESS, 0, 0

    def halt(self) -> None:
        self.log.append("halt")
        self.at_halt()

    def reset(self) -> tuple[Status, bool]:
        self.log.append("reset")
        return SUCCESS, False

    def shutdown(self) -> None:
        self.log.append("shutdown")

    def pnp_event_notify(self, event: DeviceEvent) -> None:
        self.log.append(event)


def pending_set() -> Request:
    return Request(RequestKind.SET, Oid.GEN_NETWORK_LAYER_ADDRESSES, bytearray(4))


@pytest.mark.parametrize("inside", [False, True])
def test_a_miniport_that_has_halted_is_told_no_filter_that_waited(inside: bool) -> None:
    nic = Ending()
    with Bench(miniport=nic) as bench:
        binding = bench.bind(Driver())
        assert binding.request(pending_set()) is PENDING
        nic.log.clear()
        if inside:
            nic.at_halt = lambda: bench.adapter.requests.set_complete(SUCCESS)
        bench.adapter.close(binding)
        bench.adapter.halt()
        if not inside:
            bench.adapter.requests.set_complete(SUCCESS)
        assert nic.log == ["halt"]


def test_requests_that_wait_when_the_adapter_halts_are_aborted() -> None:
    nic = Ending()
    with Bench(miniport=nic) as bench:
        driver = Asker()
        binding = bench.bind(driver)
        first, second = pending_set(), pending_set()
        assert (binding.request(first), binding.request(second)) == (PENDING, PENDING)
        bench.adapter.halt()
        assert driver.completed == [(second, Status.REQUEST_ABORTED)]
        bench.adapter.requests.set_complete(SUCCESS)
        assert driver.completed == [(second, Status.REQUEST_ABORTED), (first, SUCCESS)]


@pytest.mark.parametrize("closes", [False, True])
def test_a_miniport_is_not_reset_once_a_driver_has_halted_it_when_told_of_the_reset(closes: bool) -> None:
    class Hasty(Driver):
        log: list[Status]

        def status(self, status: Status, buffer: bytes) -> None:
            self.log.append(status)
            if status is Status.RESET_START:
                if closes:
                    bench.adapter.close(self.binding)
                bench.adapter.halt()

    nic = Ending()
    with Bench(miniport=nic) as bench:
        driver = Hasty()
        driver.log = []
        bench.bind(driver)
        nic.log.clear()
        assert bench.adapter.reset() is Status.CLOSING
        assert (nic.log, bench.adapter.reset()) == (["halt"] if closes else [], Status.CLOSING)
        assert driver.log == [Status.RESET_START] if closes else [Status.RESET_START, Status.RESET_END]


def test_a_miniport_that_has_halted_is_told_of_no_shutdown_and_no_event() -> None:
    nic = Ending()
    with Bench(miniport=nic) as bench:
        bench.adapter.halt()
        bench.adapter.shutdown()
        assert bench.adapter.pnp_event(DeviceEvent.SURPRISE_REMOVED) is SUCCESS
        assert nic.log == ["halt"]


def test_a_timer_of_an_adapter_that_has_halted_cannot_be_set() -> None:
    with Bench() as bench:
        timer = Timer(lambda _: None, timers=bench.adapter.timers)
        bench.adapter.halt()
        assert violation(timer.set, 5) == "66"
        assert violation(timer.set_periodic, 5) == "66"
        assert bench.adapter.timers.queued == ()


def test_an_adapter_that_never_had_a_timer_has_none_after_its_halt() -> None:
    with Bench() as bench:
        bench.adapter.halt()
        assert violation(Timer(lambda _: None, timers=bench.adapter.timers).set, 5) == "66"


def test_a_timer_function_that_sets_its_timer_again_while_the_adapter_halts_is_not_refused() -> None:
    began, goes_on = Event(), Event()
    clock = VirtualClock()

    def again(_: object) -> None:
        began.set()
        assert goes_on.wait(10)
        timer.set(1)

    with Bench(clock=clock) as bench:
        timers = bench.adapter.timers
        timer = Timer(again, timers=timers)
        timer.set(1)
        running = Thread(target=lambda: clock.advance(1, timers))
        running.start()
        assert began.wait(10)
        halting = Thread(target=bench.adapter.halt)
        halting.start()
        for _ in range(10_000):
            if timers._stopping and not timers.queued:
                break
            sleep(0.001)
        goes_on.set()
        running.join(10)
        halting.join(10)
        assert (timers.errors, timers.queued) == (0, ())


class Releasing(MiniportDriver):
    """Release, in one of its handlers, a lock that nobody holds."""

    def __init__(self, handler: str) -> None:
        self.lock = SpinLock("the card's")
        self.handler = handler

    def release_in(self, handler: str) -> None:
        if handler == self.handler:
            self.lock.release()

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        self.release_in("query_information")
        return SUCCESS, 4, 0

    def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
        self.release_in("set_information")
        return SUCCESS, len(data), 0

    def reset(self) -> tuple[Status, bool]:
        self.release_in("reset")
        return SUCCESS, False

    def cancel_sends(self, cancel_id: object) -> None:
        self.release_in("cancel_sends")

    def transfer_data(self, packet: Packet, context: Any, offset: int, length: int) -> tuple[Status, int]:
        self.release_in("transfer_data")
        return SUCCESS, length


class Calling(Driver):
    """Have one handler of the miniport called from within a handler of its own."""

    def __init__(self, handler: str, bench: Bench) -> None:
        super().__init__()
        self.handler, self.bench = handler, bench

    def receive_packet(self, packet: Packet) -> int:
        if self.handler == "query_information":
            self.binding.request(link_speed())
        elif self.handler == "set_information":
            self.binding.request(link_speed(RequestKind.SET))
        elif self.handler == "reset":
            self.binding.reset()
        elif self.handler == "cancel_sends":
            self.binding.cancel_sends(3)
        return 0

    def receive(self, context: Any, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        packet = self.bench.owned(frame(2), self.bench.own)
        self.binding.transfer_data(context, 16, 10, packet)
        packet.pool.free(packet)


@pytest.mark.parametrize("serialized", [False, True], ids=["deserialized", "serialized"])
@pytest.mark.parametrize("handler", ["query_information", "set_information", "reset", "cancel_sends", "transfer_data"])
def test_a_rule_that_a_miniport_breaks_is_not_charged_to_the_driver_that_had_it_called(handler: str, serialized: bool) -> None:
    card = Releasing("")
    with Bench(miniport=card, serialized=serialized) as bench:
        binding = bench.bind(Calling(handler, bench), "innocent")
        card.handler = handler
        if handler == "transfer_data":
            bench.adapter.indicate_lookahead("ctx", frame(1)[:14], frame(1)[14:30], 46)
            bench.adapter.indicate_lookahead_complete()
        else:
            bench.give(frame(1))
        card.handler = ""
        assert binding.violations == 0
        bench.expect((handler, "miniport"))


def test_a_rule_that_a_miniport_breaks_in_initialize_is_its_own() -> None:
    class Card(MiniportDriver):
        def initialize(self) -> Status:
            SpinLock("the card's").release()
            return SUCCESS

    with Bench(miniport=Card()) as bench, pytest.raises(ContractViolation, match="the miniport"):
        bench.adapter.initialize()


@pytest.mark.parametrize("set_behind", [SUCCESS, Status.FAILURE, PENDING], ids=lambda status: status.name)
def test_what_stands_behind_resources_in_an_array_is_sent_once_and_a_status_on_it_is_rule_94(set_behind: Status) -> None:
    class Card(MiniportDriver):
        full = True

        def send_packets(self, packets: list[Packet]) -> None:
            for packet in packets:
                packet.status = set_behind if self.full else SUCCESS
            packets[0].status = RESOURCES if self.full else SUCCESS
            self.full = False

    with Bench(miniport=Card(), serialized=True) as bench:
        driver, watcher = Sender(), Driver()
        bench.bind(watcher, "watcher")
        bench.bind(driver).send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        assert (driver.completed, watcher.frames) == ([], [])
        bench.expect(("94", "miniport"), ("94", "miniport"))
        bench.adapter.send_resources_available()
        assert driver.completed == [(frame(mark), SUCCESS) for mark in range(3)]
        assert watcher.frames == [frame(mark) for mark in range(3)]


def test_a_send_in_an_array_that_has_its_status_is_not_completed_as_well() -> None:
    class Card(MiniportDriver):
        found = ""

        def send_packets(self, packets: list[Packet]) -> None:
            packets[0].status = SUCCESS
            self.found = violation(bench.adapter.send_complete, packets[0], SUCCESS)
            packets[1].status = PENDING
            bench.adapter.send_complete(packets[1], SUCCESS)

    card = Card()
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        bench.bind(driver).send_packets([bench.owned(frame(mark), bench.own) for mark in range(2)])
        assert card.found == "95"
        bench.expect(("95", "miniport"))
        assert sorted(driver.completed) == [(frame(0), SUCCESS), (frame(1), SUCCESS)]


class Later(MiniportDriver):
    """Answer no query before it is told to."""

    def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
        return PENDING, 0, 0


def test_a_driver_that_breaks_a_rule_in_request_complete_is_the_one_that_is_named() -> None:
    lock = SpinLock("the driver's")
    with strict(Bench(miniport=Later())) as bench:
        driver = Asker(lambda *_: lock.acquire())
        binding = bench.bind(driver, "guilty")
        assert binding.request(link_speed()) is PENDING
        bench.adapter.requests.query_complete(SUCCESS, 4)
        bench.expect(("75", "guilty"))
        lock.release()
        lower_irql(Irql.PASSIVE)
        driver.then = lambda *_: lock.release()
        assert binding.request(link_speed()) is PENDING
        bench.adapter.requests.query_complete(SUCCESS, 4)
        bench.expect(("74", "guilty"), ("request_complete", "guilty"))


def test_a_reply_under_way_is_no_view_that_the_driver_has_kept_when_its_packets_are_reclaimed() -> None:
    class Replier(Driver):
        def bind_adapter(self) -> None:
            self.replies = Replies(self.binding, 4)

        def receive_complete(self) -> None:
            self.replies.send(self.kept)
            self.kept.clear()

        def unbind_adapter(self) -> Status:
            return self.replies.close()

    class Card(MiniportDriver):
        sent: Packet

        def send(self, packet: Packet) -> Status:
            self.sent = packet
            return PENDING

    card = Card()
    with Bench(miniport=card) as bench:
        driver = Replier(1)
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert bench.adapter.close(binding) is PENDING
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("60", "a"))
        bench.adapter.send_complete(card.sent, SUCCESS)
        assert binding.closed


@pytest.mark.parametrize("moved", [2.0, 2])
def test_a_request_ends_with_any_number_of_bytes(moved: Any) -> None:
    with Bench(miniport=Later()) as bench:
        driver = Asker()
        binding = bench.bind(driver)
        request = link_speed()
        assert binding.request(request) is PENDING
        bench.adapter.requests.query_complete(SUCCESS, moved, 0)
        assert (driver.completed, request.bytes_written, binding.pending_io) == ([(request, SUCCESS)], 2, 0)


def test_what_is_no_number_of_bytes_ends_no_request() -> None:
    with Bench(miniport=Later()) as bench:
        driver = Asker()
        binding = bench.bind(driver)
        assert binding.request(link_speed()) is PENDING
        with pytest.raises(ValueError, match="invalid literal"):
            bench.adapter.requests.query_complete(SUCCESS, 4, "four")
        assert violation(bench.adapter.requests.query_complete, Status.INVALID_LENGTH, 0, -1) == "68d"
        bench.expect(("68d", "miniport"))
        assert (driver.completed, binding.pending_io) == ([], 1)
        bench.adapter.requests.query_complete(SUCCESS, 4)


def test_an_answer_that_needs_fewer_than_no_bytes_fails_the_request() -> None:
    class Card(MiniportDriver):
        def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
            return Status.INVALID_LENGTH, 0, -1

    with Bench(miniport=Card()) as bench:
        request = link_speed()
        assert bench.bind(Asker()).request(request) is Status.FAILURE
        assert request.bytes_needed == 0
        bench.expect(("68d", "miniport"))


def test_a_driver_that_sends_in_each_send_complete_does_not_keep_the_thread_that_sent_first() -> None:
    class Again(Driver):
        sent = 0

        def send_complete(self, packet: Packet, status: Status) -> None:
            self.sent += 1
            if self.sent < 20_000:
                self.binding.send_packets([packet])
            else:
                packet.pool.free(packet)

    class Card(MiniportDriver):
        def send(self, packet: Packet) -> Status:
            # another thread than the one that sent first waits for its return
            assert current_thread() is first or returned.wait(10)
            return SUCCESS

    first, returned = current_thread(), Event()
    with Bench(miniport=Card(), serialized=True) as bench:
        driver = Again()
        bench.bind(driver).send_packets([bench.owned(frame(1), bench.own)])
        assert 0 < driver.sent < 1000
        returned.set()
        assert work_items.drain(20_000)
        assert (driver.sent, bench.adapter.pending_sends) == (20_000, 0)
