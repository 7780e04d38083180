"""
Sends: every packet comes back exactly once, by the answer or by `send_complete`, and frames keep their order.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from unit.wire import BROADCAST, Batched, Bench, Copier, Driver, Sender, frame, violation

from vnic import (
    DONT_LOOPBACK,
    LOOPBACK,
    LOOPBACK_ONLY,
    Adapter,
    Info,
    MiniportDriver,
    OwnershipError,
    Packet,
    PacketFilter,
    PacketPool,
    PacketState,
    Status,
)
from vnic.verifier import rules

MTU = 1500


class Below(MiniportDriver):
    """A miniport with a `send` of its own: answers what it is told to, remembers the packets."""

    def __init__(self, answer: Callable[[Packet], object]) -> None:
        self.answer = answer
        self.sent: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        self.sent.append(packet)
        return self.answer(packet)  # type: ignore[return-value]


def test_a_sent_frame_is_on_the_wire_and_the_packet_is_the_senders_again() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        assert (packet.state, binding.sends_pending, driver.completed) == (PacketState.OWNED, 0, [])
        packet.write(frame(2))
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert bench.taken() == [frame(1), frame(2)]
        values = bench.adapter.counters()
        assert (values["tx_submitted"], values["tx_frames"], values["tx_bytes"]) == (2, 2, 120)


LENGTHS = [
    (0, Status.INVALID_PACKET),
    (13, Status.INVALID_PACKET),
    (14, Status.SUCCESS),
    (MTU + 14, Status.SUCCESS),
    (MTU + 18, Status.SUCCESS),
    (MTU + 19, Status.INVALID_PACKET),
]


@pytest.mark.parametrize(("length", "status"), LENGTHS)
def test_a_frame_has_14_bytes_to_mtu_and_18(length: int, status: Status) -> None:
    with Bench() as bench:
        binding = bench.bind(Sender())
        data = (frame() + bytes(MTU))[:length]
        packet = bench.owned(data, bench.own)
        assert binding.send(packet) is status
        bench.own.free(packet)
        bench.expect(*[("59", "a")] * (status is not Status.SUCCESS))
        assert bench.taken() == ([data] if status is Status.SUCCESS else [])
        assert bench.adapter.counters()["tx_dropped_length"] == int(status is not Status.SUCCESS)


def test_sends_wait_in_order_while_the_cable_is_full_and_complete_once_each() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        sent = bench.fill_cable(binding)
        for mark in range(sent + 1, sent + 6):
            assert binding.send(bench.owned(frame(mark), bench.own)) is Status.PENDING
        assert bench.adapter.send_blocked
        assert bench.adapter.flush() == 6, "there is no room yet"
        assert (binding.sends_pending, driver.completed) == (6, [])
        assert bench.adapter.counters()["tx_pending"] == 6
        first = bench.taken()
        assert bench.adapter.flush() == 0
        assert not bench.adapter.send_blocked
        waited = [frame(mark) for mark in range(sent, sent + 6)]
        assert driver.completed == [(data, Status.SUCCESS) for data in waited]
        assert first + bench.taken() == [frame(mark) for mark in range(sent + 6)]
        assert (binding.sends_pending, bench.adapter.counters()["tx_queued"]) == (0, 6)
        assert bench.adapter.flush() == 0
        assert len(driver.completed) == 6


def test_a_send_behind_a_waiting_one_waits_too_although_there_is_room() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        sent = bench.fill_cable(binding)
        first = bench.taken()
        assert binding.send(bench.owned(frame(sent + 1), bench.own)) is Status.PENDING
        bench.adapter.flush()
        assert first + bench.taken() == [frame(mark) for mark in range(sent + 2)]


def test_whoever_polls_is_told_once_when_sends_begin_to_wait() -> None:
    with Bench() as bench:
        told: list[bool] = []
        bench.adapter.attach(bench.near.fileno(), lambda: told.append(bench.adapter.send_blocked))
        binding = bench.bind(Sender())
        bench.fill_cable(binding)
        binding.send(bench.owned(frame(), bench.own))
        assert told == [True]
        bench.taken()
        bench.adapter.flush()
        bench.fill_cable(binding)
        assert told == [True, True]
        bench.taken()
        bench.adapter.flush()


def test_a_full_queue_answers_resources() -> None:
    with Bench(send_queue=3) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        answers = []
        for mark in range(4):
            packet = bench.owned(frame(mark), bench.own)
            answers.append(binding.send(packet))
            if answers[-1] is Status.RESOURCES:
                assert packet.state is PacketState.OWNED
                bench.own.free(packet)
        assert answers == [Status.PENDING] * 2 + [Status.RESOURCES] * 2
        assert bench.adapter.counters()["tx_dropped_queue_full"] == 2
        bench.taken()
        assert bench.adapter.flush() == 0
        assert len(driver.completed) == 3


def test_with_the_link_down_sends_answer_no_cable() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        packet = bench.owned(frame(), bench.own)
        assert binding.send(packet) is Status.NO_CABLE
        bench.adapter.indicate_status(Status.MEDIA_CONNECT)
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert bench.adapter.counters()["tx_dropped_link_down"] == 1
        assert len(bench.taken()) == 1


def test_a_descriptor_that_is_gone_ends_a_send_with_an_error() -> None:
    with Bench() as bench:
        binding = bench.bind(Sender())
        read, write = os.pipe()
        os.close(read)
        os.close(write)
        packet = bench.owned(frame(), bench.own)
        for fd, status in ((-1, Status.NO_CABLE), (read, Status.FAILURE)):
            bench.adapter.attach(fd)
            assert binding.send(packet) is status
        bench.own.free(packet)
        counters = bench.adapter.counters()
        assert (counters["tx_dropped_link_down"], counters["tx_dropped_error"]) == (1, 1)


def test_an_error_below_ends_waiting_sends_too() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        bench.adapter.attach(-1)
        assert bench.adapter.flush() == 0
        assert [status for _, status in driver.completed] == [Status.NO_CABLE]


def test_a_halted_adapter_answers_closing_and_aborts_what_waits() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        bench.adapter.halt()
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED]
        packet = bench.owned(frame(), bench.own)
        assert binding.send(packet) is Status.CLOSING
        bench.own.free(packet)
        assert bench.adapter.counters()["tx_dropped_halted"] == 2


def test_closing_a_binding_aborts_its_waiting_sends_and_no_others() -> None:
    with Bench() as bench:
        leaving, staying = Sender(), Sender()
        first, second = bench.bind(leaving, "leaving"), bench.bind(staying, "staying")
        sent = bench.fill_cable(first)
        for mark in range(4):
            (second if mark % 2 else first).send(bench.owned(frame(sent + 1 + mark), bench.own))
        assert bench.adapter.close(first) is Status.SUCCESS
        assert [status for _, status in leaving.completed] == [Status.REQUEST_ABORTED] * 3
        assert (staying.completed, bench.adapter.flush()) == ([], 2)
        bench.taken()
        assert bench.adapter.flush() == 0
        assert [data for data, _ in staying.completed] == [frame(sent + 2), frame(sent + 4)]


def test_a_send_while_the_binding_closes_answers_closing() -> None:
    answers: list[Status] = []

    class Late(Sender):
        def unbind_adapter(self) -> None:
            packet = bench.owned(frame(), bench.own)
            answers.append(self.binding.send(packet))
            bench.own.free(packet)

    with Bench() as bench:
        binding = bench.bind(Late())
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert (answers, bench.taken()) == ([Status.CLOSING], [])


def test_a_send_after_close_is_rule_57() -> None:
    with Bench() as bench:
        binding = bench.bind(Sender())
        bench.adapter.close(binding)
        packet = bench.owned(frame(), bench.own)
        assert violation(binding.send, packet) == "57"
        assert violation(binding.send_packets, [packet]) == "57"
        assert packet.state is PacketState.OWNED
        bench.own.free(packet)
        bench.expect(("57", "a"), ("57", "a"))


def test_send_packets_completes_each_packet_through_send_complete() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        frames = [frame(1), frame(2)[:13], frame(3)]
        binding.send_packets(bench.owned(data, bench.own) for data in frames)
        statuses = [Status.SUCCESS, Status.INVALID_PACKET, Status.SUCCESS]
        assert driver.completed == list(zip(frames, statuses, strict=True))
        assert bench.taken() == [frame(1), frame(3)]
        bench.expect(("59", "a"))


def test_send_packets_behind_a_full_cable_completes_later() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        binding.send_packets([bench.owned(frame(1), bench.own), bench.owned(frame(2)[:5], bench.own)])
        assert driver.completed == [(frame(2)[:5], Status.INVALID_PACKET)]
        bench.expect(("59", "a"))
        bench.taken()
        bench.adapter.flush()
        assert [data for data, _ in driver.completed[2:]] == [frame(1)]


def test_a_binding_that_is_closed_inside_of_the_first_send_of_an_array_is_there_until_the_last_is_over() -> None:
    def closes(packet: Packet) -> Status:
        assert bench.adapter.close(driver.binding) is Status.PENDING
        return Status.SUCCESS

    class Ending(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            assert not self.binding.closed
            super().send_complete(packet, status)

    with Bench(miniport=Below(closes)) as bench:
        driver = Ending()
        binding = bench.bind(driver)
        binding.send_packets([bench.owned(frame(1), bench.own), bench.owned(frame(2), bench.own)])
        assert driver.completed == [(frame(1), Status.SUCCESS), (frame(2), Status.CLOSING)]
        assert (binding.closed, binding.sends_pending) == (True, 0)
        bench.expect(("69", "a"))


def test_send_packets_sends_the_others_when_one_is_not_the_drivers() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        good, free = bench.owned(frame(1), bench.own), bench.own.packets()[-1]
        assert violation(binding.send_packets, [free, good]) == "55"
        assert driver.completed == [(frame(1), Status.SUCCESS)]
        bench.taken()
        bench.expect(("55", "a"))


def test_without_send_complete_packets_are_freed() -> None:
    with Bench() as bench:
        binding = bench.bind(Driver())
        bench.fill_cable(binding)
        binding.send_packets([bench.owned(frame(1), bench.own), bench.owned(frame(2)[:13], bench.own)])
        bench.expect(("59", "a"))
        assert bench.own.usage == 2
        bench.taken()
        bench.adapter.flush()
        assert bench.own.usage == 0


def test_a_packet_may_be_sent_again_inside_send_complete() -> None:
    class Again(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            self.completed.append((bytes(packet.data), status))
            if len(self.completed) < 3:
                packet.write(frame(100 + len(self.completed)))
                self.binding.send_packets([packet])
            else:
                packet.pool.free(packet)

    with Bench() as bench:
        driver = Again()
        bench.bind(driver).send_packets([bench.owned(frame(100), bench.own)])
        assert bench.taken() == [frame(100), frame(101), frame(102)]
        assert len(driver.completed) == 3


def test_a_send_complete_that_raises_is_reported_and_the_next_ones_come() -> None:
    class Broken(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            super().send_complete(packet, status)
            raise ValueError

    with Bench() as bench:
        driver = Broken()
        bench.bind(driver).send_packets([bench.owned(frame(mark), bench.own) for mark in range(2)])
        bench.expect(("send_complete", "a"), ("send_complete", "a"))
        assert len(driver.completed) == len(bench.taken()) == 2


def test_a_pending_packet_is_the_adapters() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        bench.fill_cable(binding)
        packet = bench.owned(frame(5), bench.own)
        assert binding.send(packet) is Status.PENDING
        assert packet.data.readonly
        assert violation(bench.own.free, packet) == "56"
        assert violation(packet.write, b"x") == "56"
        assert violation(binding.send, packet) == "55"
        bench.expect(("55", "a"))
        assert bench.own.audit()[PacketState.SENDING] == 2
        bench.taken()
        bench.adapter.flush()
        assert driver.completed[-1] == (frame(5), Status.SUCCESS)


def test_a_received_packet_is_not_sent() -> None:
    with Bench() as bench:
        driver = Sender(1)
        binding = bench.bind(driver)
        bench.give(frame())
        assert violation(binding.send, driver.kept[0]) == "58"
        bench.expect(("58", "a"))
        driver.give_back()
        assert bench.taken() == []


def test_several_threads_send_and_each_ones_frames_keep_their_order() -> None:
    threads, each = 4, 200
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        done = threading.Event()
        received: list[bytes] = []
        dropped: list[bytes] = []

        def send(number: int) -> None:
            for count in range(each):
                packet = bench.own.allocate()
                while packet is None:
                    packet = bench.own.allocate()
                packet.write(frame(number << 16 | count))
                status = binding.send(packet)
                if status is not Status.PENDING:
                    if status is not Status.SUCCESS:
                        dropped.append(bytes(packet.data))
                    bench.own.free(packet)

        def receive() -> None:
            while not done.is_set() or bench.adapter.send_blocked:
                received.extend(bench.taken())
                bench.adapter.flush()
            received.extend(bench.taken())

        reader = threading.Thread(target=receive)
        senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for thread in (reader, *senders):
            thread.start()
        for thread in senders:
            thread.join(60)
        done.set()
        reader.join(60)
        marks = [int.from_bytes(data[-4:]) for data in received]
        assert dropped == []
        assert len(marks) == threads * each
        for number in range(threads):
            assert [mark & 0xFFFF for mark in marks if mark >> 16 == number] == list(range(each))
        values = bench.adapter.counters()
        assert (values["tx_frames"], values["tx_queued"], values["tx_submitted"]) == (threads * each, len(driver.completed), threads * each)
        assert (binding.sends_pending, values["tx_pending"]) == (0, 0)


# a miniport with a send of its own


@pytest.mark.parametrize("answer", [Status.SUCCESS, Status.FAILURE, Status.RESOURCES, Status.NO_CABLE], ids=lambda status: status.name)
def test_what_the_miniport_answers_is_what_send_answers(answer: Status) -> None:
    with Bench(miniport=Below(lambda _packet: answer)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packet = bench.owned(frame(), bench.own)
        assert binding.send(packet) is answer
        assert (packet.state, driver.completed) == (PacketState.OWNED, [])
        bench.own.free(packet)
        # only a serialized miniport has its sends queued
        bench.expect(*[("96", "miniport")] * (answer is Status.RESOURCES))


def test_a_pending_send_is_completed_once_by_the_miniport() -> None:
    miniport = Below(lambda _packet: Status.PENDING)
    with Bench(miniport=miniport) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        packets = [bench.owned(frame(mark), bench.own) for mark in range(3)]
        assert [binding.send(packet) for packet in packets] == [Status.PENDING] * 3
        assert bench.adapter.counters()["tx_pending"] == 3
        bench.adapter.send_complete(packets[2], Status.SUCCESS)
        bench.adapter.send_complete(packets[0], Status.FAILURE)
        for wrong in (Status.PENDING, 77):
            assert violation(bench.adapter.send_complete, packets[1], wrong) == "54"
            assert (packets[1].state, binding.sends_pending) == (PacketState.SENDING, 1)
        bench.expect(("54", "miniport"), ("54", "miniport"))
        bench.adapter.send_complete(packets[1], Status.FAILURE)
        assert driver.completed == [(frame(2), Status.SUCCESS), (frame(0), Status.FAILURE), (frame(1), Status.FAILURE)]
        assert violation(bench.adapter.send_complete, packets[0], Status.SUCCESS) == "50"
        bench.expect(("50", "miniport"))
        assert len(driver.completed) == 3


def test_a_send_may_be_completed_before_the_miniport_answers_pending() -> None:
    def at_once(packet: Packet) -> Status:
        bench.adapter.send_complete(packet, Status.SUCCESS)
        return Status.PENDING

    with Bench(miniport=Below(at_once)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        assert binding.send(bench.owned(frame(1), bench.own)) is Status.PENDING
        binding.send_packets([bench.owned(frame(2), bench.own)])
        assert driver.completed == [(frame(1), Status.SUCCESS), (frame(2), Status.SUCCESS)]


@pytest.mark.parametrize("answer", [Status.SUCCESS, Status.FAILURE], ids=lambda status: status.name)
def test_a_send_that_is_completed_and_answered_too_is_rule_95_and_completes_once(answer: Status) -> None:
    def twice(packet: Packet) -> Status:
        bench.adapter.send_complete(packet, Status.SUCCESS)
        return answer

    with Bench(miniport=Below(twice)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        assert binding.send(bench.owned(frame(1), bench.own)) is Status.PENDING
        binding.send_packets([bench.owned(frame(2), bench.own)])
        bench.expect(("95", "miniport"), ("95", "miniport"))
        assert [status for _, status in driver.completed] == [Status.SUCCESS] * 2


@pytest.mark.parametrize("how", ["raises", "answers None"])
def test_a_miniport_that_fails_after_it_completed_a_send_does_not_end_it_again(how: str) -> None:
    def broken(packet: Packet) -> object:
        bench.adapter.send_complete(packet, Status.SUCCESS)
        if how == "raises":
            raise ValueError
        return None

    with Bench(miniport=Below(broken)) as bench:
        driver = Sender()
        binding = bench.bind(driver)
        answer = None
        with suppress(AttributeError):
            answer = binding.send(bench.owned(frame(1), bench.own))
        assert answer is Status.PENDING, "the completion was the one signal"
        assert driver.completed == [(frame(1), Status.SUCCESS)]
        assert binding.sends_pending == 0
        bench.expect(("send", "miniport"), ("95", "miniport"))


@pytest.mark.parametrize("how", ["raises", "answers None", "answers 77"])
def test_a_miniport_whose_send_fails_ends_the_send_with_failure(how: str) -> None:
    def broken(packet: Packet) -> object:
        if how == "raises":
            raise ValueError
        return None if how == "answers None" else 77

    with Bench(miniport=Below(broken)) as bench:
        binding = bench.bind(Sender())
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.FAILURE
        bench.own.free(packet)
        bench.expect(("send", "miniport"))


def test_completing_what_was_not_sent_since_it_was_allocated_is_rule_53_and_what_was_rule_50() -> None:
    with Bench() as bench:
        binding = bench.bind(Sender())
        packet = bench.owned()
        for rule in ("53", "50", "53"):
            if rule == "50":
                assert binding.send(packet) is Status.SUCCESS
            assert violation(bench.adapter.send_complete, packet, Status.SUCCESS) == rule
            bench.pool.free(packet)
            assert violation(bench.adapter.send_complete, packet, Status.SUCCESS) == rule
            bench.expect((rule, "miniport"), (rule, "miniport"))
            assert bench.owned() is packet, "the pool gives the last one first"
        bench.pool.free(packet)
        assert bench.taken() == [frame()]


# loopback

WATCHING = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL


class Watcher(Sender):
    """See what others send, and with what flags."""

    packet_filter = WATCHING

    def __init__(self, log: list[tuple[str, bytes]] | None = None) -> None:
        super().__init__()
        self.flags: list[int] = []
        self.statuses: list[Status] = []
        self.log = [] if log is None else log

    def receive_packet(self, packet: Packet) -> int:
        self.flags.append(packet.flags)
        self.statuses.append(packet.status)
        self.log.append(("watcher", bytes(packet.data)))
        return super().receive_packet(packet)


def test_a_sent_frame_is_shown_to_whoever_accepts_it_but_not_to_the_sender() -> None:
    with Bench() as bench:
        watcher, promiscuous, selective, sender = Watcher(), Driver(), Driver(), Sender()
        selective.packet_filter = PacketFilter.BROADCAST | PacketFilter.ALL_MULTICAST
        bench.bind(promiscuous, "promiscuous")
        bench.bind(watcher, "watcher")
        bench.bind(selective, "selective")
        binding = bench.bind(sender, "sender")
        packet = bench.owned(frame(1), bench.own)
        packet.flags = 3
        assert binding.send(packet) is Status.SUCCESS
        assert (watcher.frames, watcher.flags, watcher.statuses) == ([frame(1)], [LOOPBACK | 3], [Status.RESOURCES])
        assert (promiscuous.frames, selective.frames, sender.frames) == ([frame(1)], [], [])
        assert (packet.flags, packet.status, packet.state) == (3, Status.SUCCESS, PacketState.OWNED)
        packet.write(frame(3, to=BROADCAST))
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (selective.frames, watcher.flags.pop()) == ([frame(3, to=BROADCAST)], LOOPBACK | 3)
        assert bench.adapter.counters()["tx_looped"] == 5
        bench.give(frame(2))
        assert watcher.flags == [LOOPBACK | 3, 0]
        bench.taken()


def test_a_watcher_sees_a_frame_before_its_answer_even_if_it_came_last() -> None:
    log: list[tuple[str, bytes]] = []

    class Echo(Sender):
        def receive_packet(self, packet: Packet) -> int:
            log.append(("echo", bytes(packet.data)))
            self.binding.send_packets([bench.owned(frame(2), bench.own)])
            return 0

    with Bench() as bench:
        bench.bind(Echo(), "echo")
        bench.bind(Watcher(log), "watcher")
        bench.give(frame(1))
        assert log == [("watcher", frame(1)), ("echo", frame(1)), ("watcher", frame(2))]
        bench.taken()


def test_a_frame_is_looped_when_it_goes_on_the_wire_and_before_its_completion() -> None:
    log: list[tuple[str, bytes]] = []

    class Logging(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            log.append(("complete", bytes(packet.data)))
            super().send_complete(packet, status)

    with Bench() as bench:
        bench.bind(Watcher(log), "watcher")
        binding = bench.bind(Logging(), "sender")
        sent = bench.fill_cable(binding)
        assert log == [("watcher", frame(mark)) for mark in range(sent)]
        log.clear()
        bench.taken()
        bench.adapter.flush()
        assert log == [("watcher", frame(sent)), ("complete", frame(sent))]


def test_a_watcher_cannot_complete_the_send_that_it_is_shown() -> None:
    class Completer(Watcher):
        def receive_packet(self, packet: Packet) -> int:
            with pytest.raises(OwnershipError) as caught:
                self.binding.adapter.send_complete(packet, Status.SUCCESS)
            assert caught.value.rule is rules.COMPLETED_TWICE
            self.shown = bytes(packet.data)
            return 0

    with Bench() as bench:
        watcher = Completer()
        bench.bind(watcher, "watcher")
        binding = bench.bind(Sender(), "sender")
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        assert (packet.state, watcher.shown) == (PacketState.OWNED, frame(1))
        assert bench.adapter.counters()["tx_pending"] == 0
        bench.own.free(packet)
        bench.taken()
        bench.expect(("50", "miniport"))


def test_a_refused_send_is_not_looped() -> None:
    with Bench() as bench:
        watcher = Watcher()
        binding = bench.bind(watcher)
        packet = bench.owned(frame()[:13], bench.own)
        assert binding.send(packet) is Status.INVALID_PACKET
        bench.own.free(packet)
        bench.expect(("59", "a"))
        assert watcher.frames == []


def test_a_looped_frame_cannot_be_kept_and_is_taken_through_receive() -> None:
    class Copying(Copier):
        packet_filter = WATCHING

    class Keeping(Driver):
        packet_filter = WATCHING

    with Bench() as bench:
        copying, keeping = Copying(), Keeping(1)
        bench.bind(copying, "copying")
        bench.bind(keeping, "keeping")
        binding = bench.bind(Sender(), "sender")
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (copying.copied, copying.frames, keeping.frames) == ([frame(1)], [], [frame(1)])
        bench.expect(("10", "keeping"))
        bench.taken()


def test_a_looped_frame_reaches_watchers_also_through_the_miniports_own_send() -> None:
    with Bench(miniport=Below(lambda packet: Status.PENDING if packet.data[-1] else Status.SUCCESS)) as bench:
        watcher = Watcher()
        watcher.no_loopback = False
        binding = bench.bind(watcher)
        direct, pending, failed = (bench.owned(frame(mark), bench.own) for mark in (0, 1, 2))
        binding.send(direct)
        binding.send(pending)
        binding.send(failed)
        bench.adapter.send_complete(pending, Status.SUCCESS)
        bench.adapter.send_complete(failed, Status.FAILURE)
        bench.own.free(direct)
        assert watcher.frames == [frame(0), frame(1)]


def test_a_packet_flagged_so_is_not_looped() -> None:
    with Bench() as bench:
        watcher = Watcher()
        bench.bind(watcher, "watcher")
        binding = bench.bind(Sender(), "sender")
        packet = bench.owned(frame(1), bench.own)
        packet.flags = DONT_LOOPBACK
        assert binding.send(packet) is Status.SUCCESS
        assert (watcher.frames, packet.flags) == ([], DONT_LOOPBACK)
        bench.own.free(packet)
        assert bench.taken() == [frame(1)]


def test_a_packet_that_is_only_looped_does_not_reach_the_wire_even_without_a_cable() -> None:
    with Bench() as bench:
        watcher = Watcher()
        bench.bind(watcher, "watcher")
        binding = bench.bind(Sender(), "sender")
        bench.adapter.indicate_status(Status.MEDIA_DISCONNECT)
        packet = bench.owned(frame(1), bench.own)
        packet.flags = LOOPBACK_ONLY
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (watcher.frames, bench.taken()) == ([frame(1)], [])
        counters = bench.adapter.counters()
        assert (counters["tx_frames"], counters["tx_looped_only"]) == (0, 1)


def test_a_binding_sees_its_own_sends_only_if_it_asks_for_them() -> None:
    with Bench() as bench:
        one, other = Watcher(), Watcher()
        one.no_loopback = False
        binding = bench.bind(one, "one")
        bench.bind(other, "other")
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        assert (one.frames, other.frames, bench.taken()) == ([frame(1)], [frame(1)], [frame(1)])
        binding.no_loopback = True
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (one.frames, other.frames, bench.taken()) == ([frame(1)], [frame(1)] * 2, [frame(1)])


def test_drivers_that_answer_each_others_frames_end_after_sixteen() -> None:
    class Echo(Sender):
        def receive_packet(self, packet: Packet) -> int:
            super().receive_packet(packet)
            self.binding.send_packets([bench.owned(bytes(packet.data), bench.own)])
            return 0

    with Bench() as bench:
        one, other = Echo(), Echo()
        bench.bind(one, "one")
        bench.bind(other, "other")
        bench.give(frame(1))
        counters = bench.adapter.counters()
        assert (counters["tx_looped"], counters["tx_not_looped"]) == (32, 2)
        assert len(one.frames) + len(other.frames) == 34
        assert len(bench.taken()) == counters["tx_frames"] == 34


def test_a_looped_batch_ends_too() -> None:
    with Bench() as bench:
        watcher, binding = Batched(), bench.bind(Sender(), "sender")
        bench.bind(watcher, "watcher")
        packet = bench.owned(frame(1), bench.own)
        assert binding.send(packet) is Status.SUCCESS
        bench.own.free(packet)
        assert (len(watcher.frames), watcher.batches) == (1, 1)
        bench.taken()


# cancel


def test_cancelled_sends_complete_aborted_and_the_others_go_out_in_order() -> None:
    with Bench() as bench:
        driver = Sender()
        binding = bench.bind(driver)
        sent = bench.fill_cable(binding)
        for mark in range(4):
            packet = bench.owned(frame(1000 + mark), bench.own)
            packet.info[Info.CANCEL_ID] = mark % 2
            assert binding.send(packet) is Status.PENDING
        assert binding.cancel_sends(1) == 2
        assert [status for _, status in driver.completed] == [Status.REQUEST_ABORTED] * 2
        bench.taken()
        assert bench.adapter.flush() == 0
        assert bench.taken() == [frame(sent), frame(1000), frame(1002)]
        assert bench.adapter.counters()["tx_dropped_halted"] == 2


def test_a_binding_cancels_only_its_own_sends() -> None:
    with Bench() as bench:
        mine, theirs = bench.bind(Sender(), "mine"), bench.bind(Sender(), "theirs")
        bench.fill_cable(mine)
        packet = bench.owned(frame(), bench.own)
        packet.info[Info.CANCEL_ID] = 7
        assert theirs.send(packet) is Status.PENDING
        assert mine.cancel_sends(7) == 0
        assert theirs.cancel_sends(7) == 1


def test_a_miniport_is_told_to_cancel_and_may_fail() -> None:
    class Cancelling(MiniportDriver):
        told: object = None

        def cancel_sends(self, cancel_id: object) -> None:
            self.told = cancel_id
            raise ValueError("no")

    miniport = Cancelling()
    with Bench(miniport=miniport) as bench:
        assert bench.bind(Sender()).cancel_sends(9) == 0
        assert miniport.told == 9
        bench.expect(("cancel_sends", "miniport"))


def test_who_is_bound_in_the_middle_of_an_array_is_shown_the_rest_of_it() -> None:
    class Opens(Sender):
        def send_complete(self, packet: Packet, status: Status) -> None:
            super().send_complete(packet, status)
            if len(self.completed) == 2:
                bench.bind(watcher, "watcher")

    with Bench(packets=4) as bench:
        watcher = Batched()
        watcher.packet_filter = PacketFilter.PROMISCUOUS | PacketFilter.ALL_LOCAL
        binding = bench.bind(Opens())
        binding.send_packets([bench.owned(frame(mark), bench.own) for mark in range(4)])
        assert bench.taken() == [frame(mark) for mark in range(4)]
        assert bench.adapter.counters()["tx_looped"] == 2


@pytest.mark.parametrize("count", [127, 128, 129, 300])
def test_arrays_longer_than_what_is_written_at_once_go_out_in_order(count: int) -> None:
    sent: list[tuple[Packet, Status]] = []

    class Remembers(Driver):
        def send_complete(self, packet: Packet, status: Status) -> None:
            sent.append((packet, status))

    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with far, near:
        adapter = Adapter(PacketPool(8, 1600, name="receive"), MiniportDriver(), name="long0")
        adapter.attach(near.fileno())
        binding = adapter.open(Remembers(), "a")
        pool = PacketPool(count, 100, name="many")
        packets = [packet for _ in range(count) if (packet := pool.allocate()) is not None]
        for mark, packet in enumerate(packets):
            packet.write(frame(mark % 250))
        written: list[bytes] = []
        reader = threading.Thread(target=lambda: written.extend(far.recv(2000) for _ in range(count)))
        reader.start()
        binding.send_packets(packets)
        for _ in range(100_000):
            if not adapter.send_blocked:
                break
            adapter.flush()
        reader.join(20)
        assert written == [frame(mark % 250) for mark in range(count)]
        assert sent == [(packet, Status.SUCCESS) for packet in packets]
        counters = adapter.counters()
        assert (counters["tx_submitted"], counters["tx_frames"], counters["tx_pending"]) == (count, count, 0)
        sent.clear()
        for packet in packets:
            pool.free(packet)
        pool.close()
        assert adapter.close(binding) is Status.SUCCESS
