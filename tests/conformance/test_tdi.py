"""
Clients above a transport: what NdisReturnPackets says of forwarding to them, and the contract of TDI chained receives.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from conformance.facade import adapter_over, buffers_of, chain, packet_of, pool_of
from unit.wire import Bench, Driver, Miniport, frame, violation

from vnic import Packet, PacketFilter, PacketState, ProtocolDriver, Status
from vnic.locks import Irql, at_irql
from vnic.ndis import (
    NDIS_SET_PACKET_STATUS,
    NDIS_STATUS_RESOURCES,
    TDI_NOT_ACCEPTED,
    TDI_PENDING,
    TDI_SUCCESS,
    NdisMIndicateReceivePacket,
    TdiReturnChainedReceives,
)
from vnic.tdi import Client, Endpoint, Upcalls

HEADER = 14
KEEP, TAKE, REFUSE = TDI_PENDING, TDI_SUCCESS, TDI_NOT_ACCEPTED


class Transport(ProtocolDriver):
    """Forward every packet to every client, and note in the trace what it is called with."""

    packet_filter = PacketFilter.PROMISCUOUS
    early_returns = True

    def __init__(self, trace: list[str], *clients: Client) -> None:
        self.trace = trace
        self.endpoints = [Endpoint(client, None) for client in clients]
        self.answers: list[int] = []

    def bind_adapter(self) -> None:
        self.upcalls = Upcalls(self.binding)

    def unbind_adapter(self) -> None:
        self.upcalls.close(self.endpoints)

    def receive_packet(self, packet: Packet) -> int:
        self.trace.append("ProtocolReceivePacket")
        self.answers.append(self.upcalls.chained(self.endpoints, packet, HEADER, packet.length - HEADER, None))
        self.trace.append(f"answers {self.answers[-1]}")
        return self.answers[-1]

    def receive(self, context: object, header: memoryview, lookahead: memoryview, packet_size: int) -> Status:
        self.trace.append("ProtocolReceive")
        self.upcalls.later(self.endpoints, bytes(lookahead), None)
        return Status.SUCCESS

    def receive_complete(self) -> None:
        self.trace.append("ProtocolReceiveComplete")
        self.upcalls.deliver()


class Program(Client):
    """Answer what is asked for, and note it."""

    def __init__(self, trace: list[str], answer: Status = KEEP) -> None:
        self.trace = trace
        self.answer = answer
        self.shown: list[tuple[Packet, int, int]] = []
        self.copies: list[bytes] = []

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Any) -> Status:
        self.trace.append("chained")
        self.shown.append((tsdu, offset, length))
        return self.answer

    def receive(self, data: bytes, source: Any) -> Status:
        self.trace.append("copied")
        self.copies.append(data)
        return TAKE

    def received(self, buffer: memoryview, length: int, source: Any) -> None:
        self.trace.append("filled")


def indicate(bench: Bench, *packets: Packet) -> None:
    NdisMIndicateReceivePacket(bench.adapter, packets, len(packets))


def low(bench: Bench, mark: int) -> Packet:
    packet = bench.owned(frame(mark))
    NDIS_SET_PACKET_STATUS(packet, NDIS_STATUS_RESOURCES)
    return packet


def test_s003_12_what_came_through_protocol_receive_reaches_clients_from_protocol_receive_complete_on() -> None:
    trace: list[str] = []
    client = Program(trace)
    with Bench() as bench:
        bench.bind(Transport(trace, client))
        packets = [low(bench, mark) for mark in (1, 2)]
        indicate(bench, *packets)
        assert trace == ["ProtocolReceive", "ProtocolReceive", "ProtocolReceiveComplete", "copied", "copied"]
        assert client.copies == [frame(1)[HEADER:], frame(2)[HEADER:]]
        for packet in packets:
            bench.pool.free(packet)


def test_s003_12_tdi_05_a_transport_that_forwards_a_packet_with_resources_is_refused() -> None:
    class Direct(Transport):
        receive = ProtocolDriver.receive  # type: ignore[assignment]

    trace: list[str] = []
    client = Program(trace)
    with Bench() as bench:
        bench.bind(Direct(trace, client))
        packet = low(bench, 1)
        indicate(bench, packet)
        assert (client.shown, client.copies) == ([], [])
        bench.expect(("10", "a"), ("receive_packet", "a"))
        bench.pool.free(packet)


def test_s003_13_what_came_through_protocol_receive_packet_reaches_clients_at_once() -> None:
    trace: list[str] = []
    client = Program(trace, TAKE)
    with Bench() as bench:
        bench.bind(Transport(trace, client))
        indicate(bench, bench.owned())
        assert trace == ["ProtocolReceivePacket", "chained", "answers 0", "ProtocolReceiveComplete"]


def test_s003_15_tdi_01_the_client_is_told_where_its_data_lie_and_no_byte_is_moved() -> None:
    client = Program([])
    pool, buffers = pool_of(1), buffers_of(3)
    with adapter_over(pool, Miniport(frees=False)) as bench:
        bench.bind(Transport([], client))
        packet = packet_of(pool)
        memory = bytearray(frame(1)[:HEADER]), bytearray(frame(1)[HEADER:40]), bytearray(frame(1)[40:])
        chained = chain(packet, buffers, *memory)
        indicate(bench, packet)
        ((tsdu, offset, length),) = client.shown
        assert (offset, length) == (HEADER, 60 - HEADER)
        assert tsdu.buffers == tuple(chained)
        assert all(bytes(buffer.data) == bytes(part) for buffer, part in zip(tsdu.buffers, memory, strict=True))
        TdiReturnChainedReceives([tsdu], 1)
        for _ in chained:
            packet.unchain_front()
        pool.free(packet)


def test_s003_16_every_client_is_given_the_packet_that_was_indicated() -> None:
    trace: list[str] = []
    clients = [Program(trace) for _ in range(3)]
    with Bench() as bench:
        bench.bind(Transport(trace, *clients))
        packet = bench.owned()
        indicate(bench, packet)
        assert all(client.shown[0][0] is packet for client in clients)
        TdiReturnChainedReceives([packet] * 3, 3)


@pytest.mark.parametrize("keepers", [1, 2, 5])
def test_s003_20_tdi_04_the_packet_is_the_miniports_with_the_last_clients_return_and_the_transport_returns_nothing(keepers: int) -> None:
    trace: list[str] = []
    miniport, clients = Miniport(), [Program(trace) for _ in range(keepers)]
    with Bench(miniport=miniport) as bench:
        binding = bench.bind(Transport(trace, *clients))
        packet = bench.owned()
        indicate(bench, packet)
        before = list(trace)
        counts = []
        for _ in clients:
            TdiReturnChainedReceives([packet], 1)
            counts.append((packet.references, len(miniport.returned)))
        assert counts == [(left, int(left == 0)) for left in range(keepers - 1, -1, -1)]
        assert (miniport.returned, binding.promised, binding.returned) == ([packet], keepers, keepers)
        assert trace == before, "the transport is passed by"
        assert violation(TdiReturnChainedReceives, [packet], 1) == "05"
        bench.expect(("05", "a"))


def test_tdi_02_tdi_03_the_answer_of_the_transport_is_how_many_clients_answered_pending() -> None:
    for answers in ([], [TAKE], [REFUSE], [KEEP], [KEEP, TAKE, REFUSE, KEEP]):
        transport = Transport([], *(Program([], answer) for answer in answers))
        with Bench() as bench:
            binding = bench.bind(transport)
            packet = bench.owned()
            indicate(bench, packet)
            keepers = answers.count(KEEP)
            assert (transport.answers, binding.owed(packet)) == ([keepers], keepers)
            assert (packet.state is PacketState.INDICATED) == (keepers > 0)
            TdiReturnChainedReceives([packet] * keepers, keepers)


def test_tdi_02_every_client_sees_every_packet_whole() -> None:
    clients = [Program([], answer) for answer in (REFUSE, TAKE, TAKE)]
    with Bench() as bench:
        bench.bind(Transport([], *clients))
        bench.give(frame(1), frame(2, size=1514))
        assert [[length for _, _, length in client.shown] for client in clients] == [[46, 1500]] * 3


def test_tdi_04_an_array_and_a_count_go_in_and_nothing_comes_out() -> None:
    assert list(inspect.signature(TdiReturnChainedReceives).parameters) == ["TsduDescriptors", "NumberOfTsdus"]
    client = Program([])
    with Bench() as bench:
        binding = bench.bind(Transport([], client))
        bench.give(frame(1), frame(2))
        packets = [tsdu for tsdu, _, _ in client.shown]
        call: Any = TdiReturnChainedReceives
        assert call(packets, 0) is None
        assert binding.held == 2
        for count in (-1, 3):
            with pytest.raises(ValueError, match="array"):
                TdiReturnChainedReceives(packets, count)
        TdiReturnChainedReceives(packets, 2)
        assert binding.held == 0


def test_tdi_04_it_may_be_called_up_to_dispatch(strict: None) -> None:
    clients = [Program([]), Program([])]
    with Bench() as bench:
        bench.bind(Transport([], *clients))
        packet = bench.owned()
        indicate(bench, packet)
        with at_irql(Irql.DISPATCH):
            TdiReturnChainedReceives([packet], 1)
        with at_irql(Irql.DIRQL):
            assert violation(TdiReturnChainedReceives, [packet], 1) == "70"
        TdiReturnChainedReceives([packet], 1)


def test_tdi_04_the_transports_binding_is_charged_and_no_other_holder() -> None:
    client, others = Program([]), [Driver(1), Driver(1)]
    with Bench() as bench:
        first = bench.bind(others[0], "first")
        transport = bench.bind(Transport([], client), "transport")
        last = bench.bind(others[1], "last")
        packet = bench.owned()
        indicate(bench, packet)
        TdiReturnChainedReceives([packet], 1)
        assert (first.held, transport.held, last.held) == (1, 0, 1)
        assert violation(TdiReturnChainedReceives, [packet], 1) == "04"
        bench.expect(("04", "transport"))
        for other in others:
            other.give_back()


def test_tdi_06_a_client_with_a_buffer_posted_is_called_by_no_other_handler_and_never_by_two() -> None:
    trace: list[str] = []
    client = Program(trace, TAKE)
    transport = Transport(trace, client)
    with Bench() as bench:
        bench.bind(transport)
        transport.endpoints[0].post(bytearray(1500))
        bench.give(frame(1))
        bench.give(frame(2))
        packet = low(bench, 3)
        indicate(bench, packet)
        bench.pool.free(packet)
        assert [step for step in trace if step in ("chained", "copied", "filled")] == ["filled", "chained", "copied"]
