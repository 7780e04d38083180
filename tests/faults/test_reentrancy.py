"""
Handlers that call the library back at the worst moment, and threads that meet there: nothing is lost, doubled, or told too late.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from unit.layers import Layers
from unit.living import Alive, Nic
from unit.wire import BROADCAST, US, Batched, Bench, Driver, Miniport, Sender, frame, violation

from protocol.passthru import Passthru
from vnic import Binding, MiniportDriver, Packet, PacketFilter, PacketPool, PacketState, ProtocolDriver, Status
from vnic.counters import broken_sums
from vnic.oids import Oid
from vnic.pnp import DeviceEvent
from vnic.request import Request, RequestKind
from vnic.status import VnicError

SUCCESS, PENDING, RESOURCES, FAILURE = Status.SUCCESS, Status.PENDING, Status.RESOURCES, Status.FAILURE
PATIENCE = 10


def together(action: Callable[[], object]) -> threading.Thread:
    """Do something on another thread."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    """Wait for a thread, which must not hang."""
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a thread hangs"


class Kept(Miniport):
    """Keep every send."""

    def __init__(self) -> None:
        super().__init__()
        self.sending: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        """Pend."""
        self.sending.append(packet)
        return PENDING


# packets


@pytest.mark.parametrize("offset", [1601, 5000, 1 << 40])
def test_bytes_behind_the_end_of_a_slot_fill_nothing(offset: int) -> None:
    pool = PacketPool(2, 1600)
    packet = pool.allocate()
    assert packet is not None
    packet.write(b"0123")
    assert (packet.fill(offset, b"x"), packet.length, bytes(packet.data)) == (0, 4, b"0123")
    pool.free(packet)


# who a completion is for


def test_a_completion_on_the_wrong_adapter_is_refused() -> None:
    with Bench(miniport=Kept()) as bench, Bench(miniport=Kept()) as other:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is PENDING
        assert violation(other.adapter.send_complete, packet, SUCCESS) == "50"
        other.expect(("50", "miniport"))
        assert list(broken_sums(other.adapter.counters())) == list(broken_sums(bench.adapter.counters())) == []
        assert driver.completed == []
        bench.adapter.send_complete(packet, SUCCESS)
        assert driver.completed == [(frame(1), SUCCESS)]


def test_a_send_that_waits_in_the_library_is_nobodys_to_complete() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        packet = next(packet for packet in bench.own.packets() if packet.state is PacketState.SENDING)
        assert violation(bench.adapter.send_complete, packet, SUCCESS) == "50"
        bench.expect(("50", "miniport"))
        assert driver.completed == []
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [status for _, status in driver.completed] == [SUCCESS]


@pytest.mark.parametrize("many", [False, True])
def test_a_miniport_that_fails_after_it_completed_does_not_complete_the_next_send_of_the_packet(many: bool) -> None:
    class Failing(Miniport):
        def __init__(self) -> None:
            super().__init__()
            self.sent: list[Packet] = []

        def take(self, packet: Packet) -> Status:
            self.sent.append(packet)
            if len(self.sent) > 1:
                return PENDING
            bench.adapter.send_complete(packet, SUCCESS)
            raise RuntimeError("after the completion")

    class One(Failing):
        def send(self, packet: Packet) -> Status:
            return self.take(packet)

    class Many(Failing):
        def send_packets(self, packets: list[Packet]) -> None:
            for packet in packets:
                self.take(packet)

    class Again(ProtocolDriver):
        def __init__(self) -> None:
            self.completed: list[Status] = []

        def send_complete(self, packet: Packet, status: Status) -> None:
            self.completed.append(status)
            if len(self.completed) == 1:
                self.binding.send(packet)
            else:
                packet.pool.free(packet)

    card = Many() if many else One()
    with Bench(miniport=card) as bench:
        driver = Again()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is PENDING
        bench.expect(*([("send_packets", "miniport")] if many else [("send", "miniport"), ("95", "miniport")]))
        assert (driver.completed, packet.state, binding.sends_pending) == ([SUCCESS], PacketState.SENDING, 1)
        bench.adapter.send_complete(packet, FAILURE)
        assert driver.completed == [SUCCESS, FAILURE]


def test_a_queue_that_nobody_watches_any_more_loses_no_send() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)

        def fails() -> None:
            raise RuntimeError("the poller is gone")

        bench.adapter.attach(bench.near.fileno(), fails)
        statuses = []
        for mark in range(400):
            packet = bench.owned(frame(mark), bench.own)
            statuses.append(binding.send(packet))
            if statuses[-1] is PENDING:
                break
            bench.own.free(packet)
        bench.expect(("on_blocked", "miniport"))
        assert statuses[-1] is PENDING
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [status for _, status in driver.completed] == [SUCCESS]


# the end of a binding


def test_close_complete_comes_after_every_send_complete_has_ended() -> None:
    class Slow(Alive):
        def send_complete(self, packet: Packet, status: Status) -> None:
            self.log.append("completing")
            inside.set()
            assert go.wait(PATIENCE)
            packet.pool.free(packet)
            self.log.append("completed")

    inside, go, card = threading.Event(), threading.Event(), Nic()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        driver = Slow(1)
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert binding.send(bench.owned(frame(2), bench.own)) is PENDING
        assert bench.adapter.close(binding) is PENDING
        bench.expect(("69", "a"))
        thread = together(lambda: bench.adapter.send_complete(card.sending[0], SUCCESS))
        assert inside.wait(PATIENCE)
        driver.give_back()
        go.set()
        ended(thread)
        assert driver.log == ["unbind", "completing", "completed", "closed"]


def test_a_packet_returned_in_the_last_send_complete_ends_the_binding_after_it() -> None:
    class Returning(Alive):
        def send_complete(self, packet: Packet, status: Status) -> None:
            packet.pool.free(packet)
            self.give_back()
            self.log.append("completed")

    card = Nic()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        driver = Returning(1)
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert binding.send(bench.owned(frame(2), bench.own)) is PENDING
        assert bench.adapter.close(binding) is PENDING
        bench.expect(("69", "a"))
        bench.adapter.send_complete(card.sending[0], SUCCESS)
        assert (driver.log, binding.closed) == (["unbind", "completed", "closed"], True)


def test_what_is_below_when_packets_are_reclaimed_is_completed_before_the_end() -> None:
    class Finishing(Alive):
        def send_complete(self, packet: Packet, status: Status) -> None:
            packet.pool.free(packet)
            self.log.append("completed")

    class Completing(Nic):
        def halt(self) -> None:
            super().halt()
            bench.adapter.send_complete(self.sending.pop(), FAILURE)

    card = Completing()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        driver = Finishing(1)
        binding = bench.bind(driver)
        bench.give(frame(1))
        assert binding.send(bench.owned(frame(2), bench.own)) is PENDING
        assert bench.adapter.close(binding) is PENDING
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("69", "a"), ("60", "a"))
        assert (driver.log, binding.closed) == (["unbind"], False)
        bench.adapter.halt()
        assert (driver.log, binding.closed, card.log.count("halt")) == (["unbind", "completed", "closed"], True, 1)
        driver.kept.clear()
        card.returned.clear()


@pytest.mark.parametrize("raises", [False, True])
def test_a_driver_that_declines_has_its_waiting_sends_and_requests_back_at_once(raises: bool) -> None:
    class Declining(Alive):
        def bind_adapter(self) -> Status:
            for packet in packets:
                assert self.binding.send(packet) is PENDING
            assert self.binding.request(Request(RequestKind.QUERY, 1, bytearray(4))) is PENDING
            assert self.binding.request(Request(RequestKind.QUERY, 2, bytearray(4))) is PENDING
            if raises:
                raise RuntimeError("declined")
            return FAILURE

    class Never(Nic):
        send = MiniportDriver.send if hasattr(MiniportDriver, "send") else None

    card = Never()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        filler = bench.bind(Sender(), "filler")
        bench.fill_cable(filler)
        packets = [bench.owned(frame(mark), bench.own) for mark in range(2)]
        driver = Declining()
        with pytest.raises(RuntimeError if raises else VnicError):
            bench.bind(driver)
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED] * 2
        assert driver.log == [("request", Status.REQUEST_ABORTED)] * 2
        bench.adapter.requests.query_complete(SUCCESS)


def test_a_driver_that_declines_late_has_back_what_is_below_before_nothing_is_left_of_it() -> None:
    card = Nic()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        driver = Alive(bind=PENDING)
        binding = bench.bind(driver)
        assert binding.send(bench.owned(frame(1), bench.own)) is PENDING
        binding.complete_bind(FAILURE)
        assert not binding.closed
        bench.adapter.send_complete(card.sending[0], SUCCESS)
        assert (driver.completed, driver.log, binding.closed) == ([(frame(1), SUCCESS)], [], True)


def test_a_driver_that_closes_itself_in_a_looped_frame_hears_nothing_more() -> None:
    class Leaving(Batched):
        def receive_packet(self, packet: Packet) -> int:
            super().receive_packet(packet)
            bench.adapter.close(self.binding)
            self.after = self.batches
            return 0

    with Bench() as bench:
        sender, driver = Sender(), Leaving()
        binding, gone = bench.bind(sender, "sender"), bench.bind(driver, "gone")
        packet = bench.owned(frame(1, to=BROADCAST), bench.own)
        assert binding.send(packet) is SUCCESS
        bench.own.free(packet)
        assert (gone.closed, driver.batches, len(driver.frames)) == (True, 0, 1)


def test_a_driver_that_is_closed_at_the_end_of_a_batch_hears_nothing_of_it() -> None:
    with Bench() as bench:
        first, second = Batched(), Batched()
        bench.bind(first, "first")
        gone = bench.bind(second, "second")
        first.at_end = lambda: bench.adapter.close(gone)
        bench.give(frame(1))
        assert (first.batches, second.batches, gone.closed) == (1, 0, True)


def test_a_looped_frame_on_another_thread_is_over_before_the_binding_is() -> None:
    class Watcher(Alive):
        def receive_packet(self, packet: Packet) -> int:
            self.log.append("looking")
            inside.set()
            assert go.wait(PATIENCE)
            self.log.append("looked")
            return 0

    inside, go = threading.Event(), threading.Event()
    with Bench() as bench:
        binding = bench.bind(Sender(), "sender")
        driver = Watcher()
        watching = bench.bind(driver, "watcher")
        packet = bench.owned(frame(1, to=BROADCAST), bench.own)
        thread = together(lambda: binding.send(packet))
        assert inside.wait(PATIENCE)
        assert bench.adapter.close(watching) is PENDING
        assert not watching.closed
        go.set()
        ended(thread)
        assert (driver.log, watching.closed) == (["looking", "unbind", "looked", "closed"], True)
        bench.own.free(packet)


def test_an_adapter_that_halts_inside_an_indication_halts_its_miniport_after_it() -> None:
    class Halting(Driver):
        def receive_packet(self, packet: Packet) -> int:
            bench.adapter.close(self.binding)
            bench.adapter.halt()
            return 0

    class Card(Miniport):
        def __init__(self) -> None:
            super().__init__()
            self.log: list[str] = []

        def halt(self) -> None:
            self.log.append("halt")

        def return_packet(self, packet: Packet) -> None:
            self.log.append("back")
            packet.pool.free(packet)

    card = Card()
    with Bench(miniport=card) as bench:
        bench.bind(Halting())
        bench.give(frame(1), frame(2))
        assert card.log == ["back", "back", "halt"]


# indications


def test_an_indication_inside_of_one_of_a_packet_of_it_harms_nobody_who_holds_it() -> None:
    class Nested(Driver):
        def receive_packet(self, packet: Packet) -> int:
            self.kept.append(packet)
            if packet is packets[0]:
                bench.adapter.indicate([packets[1]])
            return 1

    with Bench(miniport=Miniport()) as bench:
        driver = Nested()
        binding = bench.bind(driver)
        packets = [bench.owned(frame(1)), bench.owned(frame(2))]
        bench.adapter.indicate(packets)
        bench.expect(("17", "miniport"))
        assert (binding.held, len(driver.kept)) == (2, 2)
        driver.give_back()
        assert binding.held == 0


def test_a_packet_freed_before_its_turn_behind_a_lent_one_leaves_the_sums_right() -> None:
    class Freeing(Driver):
        def receive_packet(self, packet: Packet) -> int:
            if packet is packets[0]:
                bench.pool.free(packets[1])
            return 0

    with Bench() as bench:
        bench.bind(Freeing())
        packets = [bench.owned(frame(1)), bench.owned(frame(2))]
        packets[0].status = RESOURCES
        bench.adapter.indicate(packets)
        bench.pool.free(packets[0])
        bench.expect(("17", "miniport"))
        assert list(broken_sums(bench.adapter.counters())) == []


def test_two_threads_that_indicate_leave_no_trace_of_each_other() -> None:
    class Meeting(Batched):
        def receive_packet(self, packet: Packet) -> int:
            if packet is packets[0]:
                first_inside.set()
                assert second_inside.wait(PATIENCE)
            elif packet is packets[1]:
                second_inside.set()
                assert go.wait(PATIENCE)
            return 0

    first_inside, second_inside, go = threading.Event(), threading.Event(), threading.Event()
    with Bench(miniport=Miniport()) as bench:
        driver = Meeting()
        bench.bind(driver)
        sender = bench.bind(Sender(), "sender")
        packets = [bench.owned(frame(1)), bench.owned(frame(2))]

        def both() -> None:
            assert first_inside.wait(PATIENCE)
            bench.adapter.indicate([packets[1]])

        thread = together(both)
        bench.adapter.indicate([packets[0]])
        go.set()
        ended(thread)
        before = driver.batches
        packet = bench.owned(frame(3, to=BROADCAST), bench.own)
        assert sender.send(packet) is SUCCESS
        assert driver.batches == before + 1, "a looped frame outside of every batch is a batch of its own"
        bench.own.free(packet)


# serialized


class Card(MiniportDriver):
    """A serialized miniport that tells when two of its handlers run at once."""

    def __init__(self) -> None:
        self.sent: list[Packet] = []
        self.answer: Any = SUCCESS
        self.inside = 0
        self.overlaps = 0
        self.log: list[str] = []

    def within(self, what: str, action: Callable[[], Any]) -> Any:
        """Run a handler's inside."""
        self.inside += 1
        self.overlaps += self.inside > 1
        self.log.append(what)
        try:
            return action()
        finally:
            self.inside -= 1

    def send(self, packet: Packet) -> Status:
        """Answer by the script."""

        def inner() -> Status:
            self.sent.append(packet)
            answer: Status = self.answer(packet) if callable(self.answer) else self.answer
            return answer

        status: Status = self.within("send", inner)
        return status


def test_sends_that_wait_for_a_handler_that_raises_are_not_forgotten() -> None:
    class Raising(Card):
        def pnp_event_notify(self, event: object) -> None:
            packet = bench.owned(frame(1), bench.own)
            assert binding.send(packet) is PENDING
            raise RuntimeError("no event")

    card = Raising()
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.adapter.pnp_event(DeviceEvent.STOPPED)
        bench.expect(("pnp_event_notify", "miniport"))
        assert driver.completed == [(frame(1), SUCCESS)]


def test_lookahead_and_cancel_wait_their_turn() -> None:
    class Looking(Card):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            moved: int = self.within("transfer", lambda: packet.fill(0, bytes(length)))
            return SUCCESS, moved

        def cancel_sends(self, cancel_id: object) -> None:
            self.within("cancel", lambda: None)

    class Taking(Sender):
        def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            packet = bench.owned(frame(0), bench.own)
            assert self.binding.send(bench.owned(frame(1), bench.own)) is PENDING
            self.transferred = self.binding.transfer_data(context, 0, 10, packet)
            bench.own.free(packet)

    card = Looking()
    inside, go = threading.Event(), threading.Event()

    def slow(_packet: Packet) -> Status:
        inside.set()
        assert go.wait(PATIENCE)
        return SUCCESS

    with Bench(miniport=card, serialized=True) as bench:
        driver = Taking()
        binding = bench.bind(driver)
        bench.adapter.indicate_lookahead("c", US + US + b"\x08\0", b"0123456789", 10)
        assert (driver.transferred, card.log, card.overlaps) == ((SUCCESS, 10), ["transfer", "send"], 0)
        card.answer = slow
        other = Sender()
        second = bench.bind(other, "other")
        packet = bench.owned(frame(2), bench.own)
        sending = together(lambda: second.send(packet))
        assert inside.wait(PATIENCE)
        binding.cancel_sends(5)
        looking = together(lambda: bench.adapter.indicate_lookahead("d", US + US + b"\x08\0", b"0123456789", 10))
        go.set()
        ended(sending)
        ended(looking)
        bench.own.free(packet)
        assert (card.overlaps, card.log.count("cancel"), card.log.count("transfer")) == (0, 1, 2)


def test_a_send_refused_while_the_adapter_halts_comes_back() -> None:
    class Halting(Card):
        def send(self, packet: Packet) -> Status:
            bench.adapter.halt()
            return RESOURCES

    with Bench(miniport=Halting(), serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        assert binding.send(bench.owned(frame(1), bench.own)) is PENDING
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED]


def test_a_send_refused_while_its_binding_closes_comes_back() -> None:
    class Closing(Card):
        def send(self, packet: Packet) -> Status:
            bench.adapter.close(binding)
            return RESOURCES

    with Bench(miniport=Closing(), serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        assert binding.send(bench.owned(frame(1), bench.own)) is PENDING
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED]
        assert binding.closed
        bench.expect(("69", "a"))


@pytest.mark.parametrize("arrays", [False, True])
def test_what_a_serialized_miniport_leaves_pending_over_a_reset_is_failed(arrays: bool) -> None:
    class Resetting(Card):
        def reset(self) -> tuple[Status, bool]:
            if self.sent:
                bench.adapter.send_complete(self.sent[0], FAILURE)
            return SUCCESS, False

    class Arrays(Resetting):
        def send_packets(self, packets: list[Packet]) -> None:
            for packet in packets:
                packet.status = self.send(packet)

    card = Arrays() if arrays else Resetting()
    card.answer = PENDING
    with Bench(miniport=card, serialized=True) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(3)])
        assert bench.adapter.reset() is SUCCESS
        assert driver.completed == [(frame(0), FAILURE), (frame(1), Status.REQUEST_ABORTED), (frame(2), Status.REQUEST_ABORTED)]
        assert violation(bench.adapter.send_complete, card.sent[2], SUCCESS) == "50"
        bench.expect(("50", "miniport"))
        assert binding.sends_pending == 0


# resets


def test_a_reset_asked_for_at_the_end_of_one_is_refused_and_both_askers_hear_their_own() -> None:
    class Again(Alive):
        asked: Status | None = None

        def status(self, status: Status, buffer: bytes) -> None:
            super().status(status, buffer)
            if status is Status.RESET_END and self.asked is None:
                self.asked = self.binding.reset()

    card = Nic(resets=(PENDING, False))
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        first, second = Alive(), Again()
        one = bench.bind(first, "first")
        bench.bind(second, "second")
        assert one.reset() is PENDING
        bench.adapter.reset_complete(SUCCESS, False)
        assert second.asked is Status.RESET_IN_PROGRESS
        assert [entry for entry in first.log if entry[0] == "reset"] == [("reset", SUCCESS)]
        assert [entry for entry in second.log if entry[0] == "reset"] == []
        assert one.reset() is PENDING
        bench.adapter.reset_complete(FAILURE, False)
        assert [entry for entry in first.log if entry[0] == "reset"] == [("reset", SUCCESS), ("reset", FAILURE)]


def test_no_data_are_transferred_during_a_reset() -> None:
    class Taking(Alive):
        def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            packet = bench.owned(frame(0), bench.own)
            self.transferred = self.binding.transfer_data(context, 0, 10, packet)
            bench.own.free(packet)

    card = Nic(resets=(PENDING, False))
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        driver = Taking()
        bench.bind(driver)
        assert bench.adapter.reset() is PENDING
        bench.adapter.indicate_lookahead("c", US + US + b"\x08\0", b"0123456789", 10)
        bench.adapter.reset_complete(SUCCESS, False)
        assert driver.transferred == (Status.RESET_IN_PROGRESS, 0)


# requests


def test_a_setting_that_cannot_be_changed_does_not_stop_the_telling_of_others() -> None:
    card = Nic()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        binding = bench.bind(Alive())
        change = bench.adapter.requests._settings.change
        bench.adapter.requests._settings.change = broken
        with pytest.raises(MemoryError):
            binding.request(Request(RequestKind.SET, Oid.GEN_CURRENT_PACKET_FILTER, bytearray(4)))
        bench.adapter.requests._settings.change = change
        card.told.clear()
        binding.packet_filter = PacketFilter.BROADCAST
        assert card.told == [(Oid.GEN_CURRENT_PACKET_FILTER, (8).to_bytes(4, "little"))]


def broken(*_: object) -> tuple[Status, int, int]:
    """Fail as only the library can."""
    raise MemoryError


def test_what_the_miniport_is_told_last_is_what_is_wanted() -> None:
    class Slow(Nic):
        def set_information(self, oid: int, data: bytes) -> tuple[Status, int, int]:
            time.sleep(0)
            return super().set_information(oid, data)

    card = Slow()
    with Bench(miniport=card) as bench:
        bench.adapter.initialize()
        bindings = [bench.bind(Alive(), name) for name in "ab"]

        def change(binding: Binding) -> None:
            for count in range(300):
                binding.packet_filter = PacketFilter(1 << count % 4)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in [together(partial(change, binding)) for binding in bindings]:
                ended(thread)
        finally:
            sys.setswitchinterval(interval)
        told = [data for oid, data in card.told if oid == Oid.GEN_CURRENT_PACKET_FILTER]
        assert told[-1] == int(bindings[0].packet_filter | bindings[1].packet_filter).to_bytes(4, "little")


def test_a_reset_while_the_miniport_answers_a_request_is_not_its_fault() -> None:
    class Slow(Nic):
        def query_information(self, oid: int, buffer: memoryview) -> tuple[Status, int, int]:
            if oid == 5:
                assert bench.adapter.reset() is SUCCESS
            return SUCCESS, 0, 0

    with Bench(miniport=Slow()) as bench:
        bench.adapter.initialize()
        driver = Alive()
        binding = bench.bind(driver)
        assert binding.request(Request(RequestKind.QUERY, 5, bytearray(4))) is PENDING
        assert [entry for entry in driver.log if entry[0] == "request"] == [("request", Status.RESET_IN_PROGRESS)]


# intermediate drivers


def test_frames_for_a_virtual_adapter_that_has_halted_leave_nothing_behind() -> None:
    with Layers(Passthru()) as bench:
        driver = Driver()
        bench.above(driver)
        bench.up.halt()
        bench.give(*[frame(mark) for mark in range(4)])
        assert (driver.frames, bench.drivers[0].virtuals[0].received.usage) == ([], 0)


def test_a_transfer_that_is_refused_below_leaves_nothing_behind() -> None:
    class Low(Miniport):
        def transfer_data(self, packet: Packet, context: object, offset: int, length: int) -> tuple[Status, int]:
            return SUCCESS, packet.fill(0, bytes(length))

    class Taking(Driver):
        def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
            packet = bench.owned(b"", bench.own)
            self.seen.append(self.binding.transfer_data(context, 0, 10, packet))
            bench.own.free(packet)

    with Layers(Passthru(), miniport=Low()) as bench:
        drivers = [Taking(), Taking()]
        for name, driver in zip("ab", drivers, strict=True):
            bench.above(driver, name)
        bench.adapter.indicate_lookahead("c", US + US + b"\x08\0", b"0123456789", 10)
        bench.adapter.indicate_lookahead_complete()
        assert [driver.seen for driver in drivers] == [[(SUCCESS, 10)], [(FAILURE, 0)]]
        assert bench.drivers[0].virtuals[0].sent.usage == 0
        bench.expect(("101", "im0"), ("transfer_data", "miniport"))


def test_what_is_below_when_a_virtual_adapter_halts_is_completed_before_its_sender_ends() -> None:
    class Finishing(Alive):
        def send_complete(self, packet: Packet, status: Status) -> None:
            packet.pool.free(packet)
            self.log.append("completed")

    card = Kept()
    with Layers(Passthru(), miniport=card) as bench:
        driver = Finishing()
        binding = bench.above(driver)
        virtual = bench.drivers[0].virtuals[0]
        assert binding.send(bench.owned(frame(1), bench.own)) is PENDING
        assert bench.adapter.close(bench.low) is PENDING
        bench.expect(("69", "a"), ("61", "miniport"), ("69", "im0"))
        bench.adapter.send_complete(card.sending[0], SUCCESS)
        assert (driver.log, binding.closed, bench.low.closed) == (["unbind", "completed", "closed"], True, True)
        assert (virtual.sent.usage, virtual._sends, list(broken_sums(virtual.adapter.counters()))) == (0, {}, [])
