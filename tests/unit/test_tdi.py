"""
A transport and its clients: who is called with what, who owes what, and what a bad client can do.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from unit.wire import Bench, Driver, Miniport, frame, violation

from vnic import Packet, PacketFilter, ProtocolDriver, Status
from vnic.tdi import Client, Endpoint, Upcalls, return_chained_receives


class Transport(ProtocolDriver):
    """Show every frame to every client, from its 15th byte on."""

    packet_filter = PacketFilter.PROMISCUOUS
    early_returns = True

    def __init__(self, *clients: Client, backlog: int = 4) -> None:
        self.endpoints = [Endpoint(client, number) for number, client in enumerate(clients)]
        self.backlog = backlog
        self.answers: list[int] = []

    def bind_adapter(self) -> None:
        self.upcalls = Upcalls(self.binding, self.backlog)

    def unbind_adapter(self) -> None:
        self.upcalls.close(self.endpoints)

    def receive_packet(self, packet: Packet) -> int:
        self.answers.append(self.upcalls.chained(self.endpoints, packet, 14, packet.length - 14, "peer"))
        return self.answers[-1]

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> Status | None:
        self.upcalls.later(self.endpoints, bytes(lookahead), "peer")
        return Status.SUCCESS

    def receive_complete(self) -> None:
        self.upcalls.deliver()


class Scripted(Client):
    """Answer what is asked for; remember everything."""

    def __init__(self, answer: Any = Status.SUCCESS) -> None:
        self.answer = answer
        self.shown: list[tuple[Packet, int, int, Any]] = []
        self.copies: list[tuple[bytes, Any]] = []
        self.buffers: list[tuple[bytes, int, Any]] = []
        self.kept: list[Packet] = []
        self.returns_at_end = True
        self.closed = 0

    def say(self, *given: Any) -> Any:
        return self.answer(*given) if callable(self.answer) else self.answer

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Any) -> Status:
        self.shown.append((tsdu, offset, length, source))
        answer = self.say(tsdu)
        if answer is Status.PENDING:
            self.kept.append(tsdu)
        return answer

    def receive(self, data: bytes, source: Any) -> Status:
        self.copies.append((data, source))
        answer = self.say(data)
        return Status.SUCCESS if answer is Status.PENDING else answer

    def received(self, buffer: memoryview, length: int, source: Any) -> None:
        self.buffers.append((bytes(buffer), length, source))

    def closing(self) -> None:
        self.closed += 1
        if self.returns_at_end:
            self.give_back()

    def give_back(self) -> None:
        kept, self.kept = self.kept, []
        self.return_chained(kept)


def raises(*given: Any) -> Status:
    raise RuntimeError("a client's own")


KEEP, TAKE, REFUSE = Status.PENDING, Status.SUCCESS, Status.NOT_ACCEPTED


@pytest.mark.parametrize("answers", [(), (TAKE,), (REFUSE,), (KEEP,), (KEEP, KEEP, KEEP), (TAKE, KEEP, REFUSE, KEEP)], ids=str)
def test_the_transport_answers_how_many_clients_keep_the_packet(answers: tuple[Status, ...]) -> None:
    clients = [Scripted(answer) for answer in answers]
    transport = Transport(*clients)
    with Bench() as bench:
        binding = bench.bind(transport)
        bench.give(frame(1))
        pending = answers.count(KEEP)
        assert (transport.answers, binding.held, transport.upcalls.held) == ([pending], pending, pending)
        taken = any(answer is not REFUSE for answer in answers)
        assert (transport.upcalls.delivered, transport.upcalls.refused) == (int(taken), int(not taken))
        assert [endpoint.held for endpoint in transport.endpoints] == [int(answer is KEEP) for answer in answers]
        for client in clients:
            client.give_back()
        assert (binding.held, transport.upcalls.held, bench.pool.usage) == (0, 0, 0)


def test_the_client_sees_the_payload_where_it_lies_and_who_sent_it() -> None:
    client = Scripted(KEEP)
    with Bench() as bench:
        bench.bind(Transport(client))
        bench.give(frame(7))
        ((tsdu, offset, length, source),) = client.shown
        assert (offset, length, source) == (14, 46, "peer")
        assert bytes(tsdu.data[offset : offset + length]) == frame(7)[14:]
        client.give_back()


def test_a_client_without_a_chained_handler_gets_a_copy() -> None:
    class Plain(Client):
        def __init__(self) -> None:
            self.copies: list[bytes] = []

        def receive(self, data: bytes, source: Any) -> Status:
            self.copies.append(data)
            return Status.SUCCESS

    plain, deaf = Plain(), Client()
    with Bench() as bench:
        transport = Transport(plain, deaf)
        bench.bind(transport)
        bench.give(frame(1))
        assert (plain.copies, transport.answers) == ([frame(1)[14:]], [0])


def test_while_packets_are_low_clients_get_copies_in_order_when_the_batch_is_over() -> None:
    client = Scripted(KEEP)
    transport = Transport(client)
    with Bench(low_water=8) as bench:
        bench.bind(transport)
        bench.give(frame(1), frame(2), frame(3))
        assert client.shown == []
        assert client.copies == [(frame(mark)[14:], "peer") for mark in (1, 2, 3)]
        assert (transport.upcalls.delivered, transport.upcalls.held, transport.upcalls.waiting) == (3, 0, 0)


def test_copies_beyond_the_backlog_are_dropped_and_counted() -> None:
    client = Scripted()
    transport = Transport(client, backlog=2)
    with Bench(low_water=8) as bench:
        bench.bind(transport)
        bench.give(*map(frame, range(5)))
        assert [data for data, _ in client.copies] == [frame(0)[14:], frame(1)[14:]]
        assert (transport.upcalls.delivered, transport.upcalls.lost) == (2, 3)


def test_a_packet_with_status_resources_is_not_shown_to_clients() -> None:
    class Hasty(Transport):
        receive = ProtocolDriver.receive

    client = Scripted(KEEP)
    with Bench(low_water=8) as bench:
        bench.bind(Hasty(client))
        bench.give(frame(1))
        assert client.shown == []
        bench.expect(("10", "a"), ("receive_packet", "a"))


# posted buffers


def test_a_posted_buffer_takes_the_next_datagram_instead_of_the_handlers() -> None:
    client = Scripted(KEEP)
    transport = Transport(client)
    with Bench() as bench:
        bench.bind(transport)
        transport.endpoints[0].post(bytearray(100))
        transport.endpoints[0].post(bytearray(10))
        bench.give(frame(1), frame(2), frame(3))
        assert client.buffers == [(frame(1)[14:] + bytes(54), 46, "peer"), (frame(2)[14:24], 46, "peer")]
        assert (len(client.shown), client.copies, transport.answers) == (1, [], [0, 0, 1])


def test_a_posted_buffer_takes_a_copied_datagram_too() -> None:
    client = Scripted()
    transport = Transport(client)
    with Bench(low_water=8) as bench:
        bench.bind(transport)
        transport.endpoints[0].post(bytearray(46))
        bench.give(frame(1), frame(2))
        assert client.buffers == [(frame(1)[14:], 46, "peer")]
        assert client.copies == [(frame(2)[14:], "peer")]


def test_a_posted_buffer_must_be_writable() -> None:
    with pytest.raises(ValueError, match="writable"):
        Endpoint(Client(), 0).post(memoryview(b"read-only"))


# giving packets back


def test_returns_charge_the_binding_of_the_transport_and_no_other() -> None:
    client, other = Scripted(KEEP), Driver(1)
    with Bench() as bench:
        held = bench.bind(other, "first")
        binding = bench.bind(Transport(client), "transport")
        bench.give(frame(1))
        return_chained_receives(client.kept)
        client.kept.clear()
        assert (binding.held, held.held) == (0, 1)
        other.give_back()


def test_each_client_is_charged_to_its_own_transport() -> None:
    one, two = Scripted(KEEP), Scripted(KEEP)
    with Bench() as bench:
        bindings = [bench.bind(Transport(one), "one"), bench.bind(Transport(two), "two")]
        bench.give(frame(1))
        two.give_back()
        assert [binding.held for binding in bindings] == [1, 0]
        one.give_back()
        bench.give(frame(2))
        return_chained_receives(two.kept)
        assert [binding.held for binding in bindings] == [0, 1], "without a client, the transport that was bound first is charged"
        return_chained_receives(two.kept)
        one.kept.clear()
        two.kept.clear()


def test_a_second_return_is_refused_and_changes_nothing() -> None:
    one, two = Scripted(KEEP), Scripted(KEEP)
    with Bench() as bench:
        binding = bench.bind(Transport(one, two))
        bench.give(frame(1))
        (packet,) = one.kept
        one.give_back()
        assert violation(one.return_chained, [packet]) == "01"
        assert binding.held == 1
        two.give_back()
        assert violation(two.return_chained, [packet]) == "05"
        assert violation(return_chained_receives, [packet]) == "05"
        bench.expect(("01", "a"), ("05", "a"), ("05", "a"))


def test_a_client_that_kept_nothing_can_return_nothing() -> None:
    taker, holder = Scripted(TAKE), Driver(1)
    with Bench() as bench:
        bench.bind(Transport(taker))
        bench.bind(holder, "holder")
        bench.give(frame(1))
        assert violation(taker.return_chained, holder.kept) == "04"
        bench.expect(("04", "a"))
        holder.give_back()


def test_every_legal_return_is_made_even_if_another_one_is_refused() -> None:
    client, miniport = Scripted(KEEP), Miniport()
    with Bench(miniport=miniport) as bench:
        bench.bind(Transport(client))
        bench.give(frame(1), frame(2))
        first, second = client.kept
        assert violation(return_chained_receives, [first, first, second]) == "05"
        assert miniport.returned == [first, second]
        bench.expect(("05", "a"))
        client.kept.clear()


def test_a_return_when_no_transport_is_there_is_refused() -> None:
    with Bench() as bench:
        packet = bench.owned()
        assert violation(return_chained_receives, [packet]) == "05"
        bench.pool.free(packet)


def test_a_client_that_is_there_twice_owes_twice() -> None:
    client = Scripted(KEEP)
    with Bench() as bench:
        binding = bench.bind(Transport(client, client))
        bench.give(frame(1))
        assert (binding.held, len(client.kept)) == (2, 2)
        client.give_back()
        assert binding.held == 0


def test_clients_return_from_threads_of_their_own() -> None:
    clients = [Scripted(KEEP) for _ in range(4)]
    with Bench(packets=32) as bench:
        binding = bench.bind(Transport(*clients))
        for _ in range(20):
            bench.give(*map(frame, range(16)))
            threads = [threading.Thread(target=client.give_back) for client in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert (binding.held, bench.pool.usage) == (0, 0)
        assert binding.promised == binding.returned == 20 * 16 * 4


# bad clients


def test_a_client_that_raises_has_not_accepted_and_the_others_do_not_notice() -> None:
    bad, good = Scripted(raises), Scripted(KEEP)
    transport = Transport(bad, good)
    with Bench() as bench:
        binding = bench.bind(transport)
        bench.give(frame(1))
        assert (transport.answers, binding.errors, bench.adapter.counters()["driver_errors"]) == ([1], 1, 1)
        bench.expect(("chained_receive of client Scripted", "a"))
        good.give_back()


def test_a_client_that_raises_over_a_copy_is_counted_too() -> None:
    bad, good = Scripted(raises), Scripted()
    with Bench(low_water=8) as bench:
        bench.bind(Transport(bad, good))
        bench.give(frame(1))
        assert len(good.copies) == 1
        bench.expect(("receive of client Scripted", "a"))


def test_a_client_that_raises_over_its_buffer_or_when_it_closes_is_counted_too() -> None:
    class Bad(Client):
        def received(self, buffer: memoryview, length: int, source: Any) -> None:
            raise RuntimeError

        def closing(self) -> None:
            raise RuntimeError

    transport = Transport(Bad())
    with Bench() as bench:
        binding = bench.bind(transport)
        transport.endpoints[0].post(bytearray(4))
        bench.give(frame(1))
        assert bench.adapter.close(binding) is Status.SUCCESS
        bench.expect(("received of client Bad", "a"), ("closing of client Bad", "a"))


@pytest.mark.parametrize("answer", [None, 0, 1, True, "PENDING", Status.FAILURE, Status.RESOURCES, object()], ids=repr)
def test_an_answer_that_is_none_is_refused(answer: object) -> None:
    client = Scripted(answer)
    transport = Transport(client)
    with Bench() as bench:
        bench.bind(transport)
        bench.give(frame(1))
        assert (transport.answers, transport.upcalls.refused) == ([0], 1)
        bench.expect(("11", "a"))


def test_a_copy_cannot_be_kept() -> None:
    class Keeper(Client):
        def receive(self, data: bytes, source: Any) -> Status:
            return Status.PENDING

    for low_water in (0, 8):
        with Bench(low_water=low_water) as bench:
            transport = Transport(Keeper())
            bench.bind(transport)
            bench.give(frame(1))
            assert (transport.upcalls.refused, transport.upcalls.held) == (1, 0)
            bench.expect(("11", "a"))


def test_a_client_that_leaks_is_reclaimed_when_the_transport_closes_and_returns_too_late() -> None:
    client = Scripted(KEEP)
    client.returns_at_end = False
    with Bench() as bench:
        binding = bench.bind(Transport(client))
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is Status.PENDING
        assert client.closed == 1
        client.return_chained(client.kept[:1])
        assert bench.adapter.close(binding) is Status.PENDING
        assert bench.adapter.reclaim(binding) == 1
        bench.expect(("60", "a"))
        assert violation(client.return_chained, client.kept[1:]) == "98"
        assert violation(client.return_chained, client.kept[1:]) == "05"
        bench.expect(("98", "a"))
        assert (bench.pool.release_withheld(), bench.pool.usage) == (0, 1), "the client still refers to what was taken back"
        client.kept.clear()
        client.shown.clear()
        gc.collect()  # the exceptions' frames refer to it
        assert (bench.pool.release_withheld(), bench.pool.usage) == (1, 0)


def test_a_late_return_does_not_take_what_another_transport_shows_now() -> None:
    leaker, client = Scripted(KEEP), Scripted(KEEP)
    leaker.returns_at_end = False
    with Bench(packets=1) as bench:
        gone = bench.bind(Transport(leaker), "gone")
        bench.give(frame(1))
        bench.adapter.close(gone)
        bench.adapter.reclaim(gone)
        bench.expect(("60", "gone"))
        stays = bench.bind(Transport(client), "stays")
        bench.give(frame(1))
        assert (client.kept, bench.adapter.counters()["rx_dropped_no_packet"]) == ([], 1), "whoever leaks refers to it: nobody else gets it"
        leaker.kept.clear()
        leaker.shown.clear()
        bench.give(frame(2))
        leaker.kept += bench.pool.packets()
        assert leaker.kept == client.kept, "the packet is the same one again"
        assert violation(leaker.return_chained, leaker.kept) == "01"
        bench.expect(("01", "stays"))
        assert stays.held == 1
        client.give_back()
        leaker.kept.clear()


def test_clients_that_return_when_told_let_the_transport_close() -> None:
    clients = [Scripted(KEEP), Scripted(KEEP)]
    with Bench() as bench:
        binding = bench.bind(Transport(*clients, clients[0]))
        bench.give(frame(1), frame(2))
        assert bench.adapter.close(binding) is Status.SUCCESS
        assert [client.closed for client in clients] == [1, 1]
        assert bench.pool.usage == 0


def test_copies_that_wait_when_the_transport_closes_are_counted() -> None:
    class Slow(Transport):
        receive_complete = ProtocolDriver.receive_complete

    client = Scripted()
    transport = Slow(client)
    with Bench(low_water=8) as bench:
        binding = bench.bind(transport)
        bench.give(frame(1))
        bench.adapter.close(binding)
        transport.upcalls.deliver()
        assert (client.copies, transport.upcalls.lost) == ([], 1)


def test_a_closed_endpoint_is_shown_nothing() -> None:
    client = Scripted()
    transport = Transport(client)
    transport.endpoints[0].closed = True
    for low_water in (0, 8):
        with Bench(low_water=low_water) as bench:
            bench.bind(transport)
            bench.give(frame(1))
            assert (client.shown, client.copies, transport.upcalls.refused) == ([], [], 1)


# a return before the answer


def early(act: Callable[[Scripted, Packet], object], says: Status) -> Scripted:
    client = Scripted()

    def answer(tsdu: Packet) -> Status:
        act(client, tsdu)
        return says

    client.answer = answer
    return client


@pytest.mark.parametrize("says", [KEEP, TAKE])
def test_a_packet_may_be_returned_from_inside_the_handler(says: Status) -> None:
    client = early(lambda client, tsdu: client.return_chained([tsdu]), says)
    with Bench() as bench:
        binding = bench.bind(Transport(client))
        bench.give(frame(1))
        client.kept.clear()
        assert (binding.promised, binding.returned, bench.pool.usage) == (1, 1, 0)


def test_a_packet_may_be_returned_by_another_thread_before_the_handler_has_answered() -> None:
    def on_another_thread(client: Scripted, tsdu: Packet) -> None:
        thread = threading.Thread(target=client.return_chained, args=([tsdu],))
        thread.start()
        thread.join(10)

    client = early(on_another_thread, KEEP)
    with Bench() as bench:
        binding = bench.bind(Transport(client))
        bench.give(frame(1))
        client.kept.clear()
        assert (binding.promised, binding.returned, bench.pool.usage) == (1, 1, 0)
