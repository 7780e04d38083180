"""
Connection-oriented NDIS, in its names: the two statements of the page on packet reuse, and what else the contract says.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.facade import buffers_of, chain, packet_of, pool_of, strip
from unit.circuits import Circuit, Client
from unit.wire import frame, violation

from vnic import Packet, PacketPool, PacketState, Status
from vnic.ndis import (
    NDIS_SET_PACKET_STATUS,
    NdisAllocatePacket,
    NdisCmActivateVc,
    NdisCmDeactivateVc,
    NdisCoCreateVc,
    NdisCoDeleteVc,
    NdisCoRequest,
    NdisCoSendPackets,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisMCoActivateVcComplete,
    NdisMCoDeactivateVcComplete,
    NdisMCoIndicateReceivePacket,
    NdisMCoIndicateStatus,
    NdisMCoReceiveComplete,
    NdisMCoSendComplete,
    NdisReinitializePacket,
    NdisReturnPackets,
)
from vnic.oids import Oid
from vnic.request import Request, RequestKind
from vnic.states import VcState
from vnic.vc import VirtualConnection

PARAMETERS = object()


@pytest.fixture
def circuit() -> Iterator[Circuit]:
    """A client that keeps its packets when they come back, on an adapter with connections."""
    with Circuit(Client(frees=False)) as made:
        yield made


def connection(circuit: Circuit, context: object = "vc") -> VirtualConnection:
    """Make a connection and activate it, in the names of NDIS."""
    status, vc = NdisCoCreateVc(circuit.binding, None, context)
    assert status is Status.SUCCESS
    assert vc is not None
    circuit.made.append(vc)
    assert NdisCmActivateVc(vc, PARAMETERS) is Status.SUCCESS
    return vc


def received(vc: VirtualConnection, status: Status = Status.SUCCESS, mark: int = 0) -> Packet:
    """Allocate a packet to indicate, with a frame in it."""
    assert vc.pool is not None
    found, packet = NdisAllocatePacket(vc.pool)
    assert found is Status.SUCCESS
    assert packet is not None
    packet.write(frame(mark))
    NDIS_SET_PACKET_STATUS(packet, status)
    return packet


def test_s004_08_with_co_send_packets_the_packet_is_the_protocols_again_when_the_call_completes(circuit: Circuit) -> None:
    vc = connection(circuit)
    pool, buffers = pool_of(1), buffers_of(1)
    packet = packet_of(pool)
    chain(packet, buffers, frame(1))
    NdisCoSendPackets(vc, [packet], 1)
    assert (packet.state, circuit.client.completed) == (PacketState.SENDING, [])
    assert violation(NdisFreePacket, packet) == "56"
    NdisMCoSendComplete(Status.SUCCESS, vc, packet)
    assert (packet.state, circuit.client.completed) == (PacketState.OWNED, [("vc", packet, Status.SUCCESS)])
    # now it can be reused: its buffer saved, the packet made anew, and sent again
    (buffer,) = strip(packet)
    NdisReinitializePacket(packet)
    packet.chain_back(buffer)
    NdisCoSendPackets(vc, [packet], 1)
    assert bytes(packet.data) == frame(1)
    NdisMCoSendComplete(Status.SUCCESS, vc, packet)
    circuit.miniport.pending.clear()
    (buffer,) = strip(packet)
    NdisFreeBuffer(buffer)
    NdisFreePacket(packet)
    assert (pool.usage, buffers.usage) == (0, 0)


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE, Status.RESOURCES, Status.REQUEST_ABORTED])
def test_s004_10_co_send_packets_completes_by_one_co_send_complete_for_each_packet(circuit: Circuit, status: Status) -> None:
    """CO-03: always asynchronous, once for each, and RESOURCES is an error like any other: nothing is sent again."""
    vc = connection(circuit)
    packets = [circuit.to_send(mark) for mark in range(4)]
    assert NdisCoSendPackets(vc, packets, 3) is None
    assert (circuit.client.completed, packets[3].state) == ([], PacketState.OWNED)
    assert [packet for _, packet in circuit.miniport.pending] == packets[:3]
    for packet in packets[:3]:
        NdisMCoSendComplete(status, vc, packet)
    assert circuit.client.completed == [("vc", packet, status) for packet in packets[:3]]
    assert violation(NdisMCoSendComplete, status, vc, packets[0]) == "50"
    circuit.expect(("50", "miniport"))
    assert len(circuit.client.completed) == 3
    circuit.miniport.pending.clear()
    for packet in packets:
        NdisFreePacket(packet)


def test_co_01_a_connection_is_created_activated_used_deactivated_and_deleted(circuit: Circuit) -> None:
    circuit.miniport.answers["activate"] = Status.PENDING
    status, vc = NdisCoCreateVc(circuit.binding, None, "mine")
    assert status is Status.SUCCESS
    assert vc is not None
    circuit.made.append(vc)
    assert NdisCmActivateVc(vc, PARAMETERS) is Status.PENDING
    NdisMCoActivateVcComplete(Status.SUCCESS, vc, PARAMETERS)
    circuit.miniport.answers["deactivate"] = Status.PENDING
    assert NdisCmDeactivateVc(vc) is Status.PENDING
    NdisMCoDeactivateVcComplete(Status.SUCCESS, vc)
    assert circuit.client.told == [("activated", "mine", Status.SUCCESS), ("deactivated", "mine", Status.SUCCESS)]
    assert NdisCoDeleteVc(vc) is Status.SUCCESS
    assert [call for call, _ in circuit.miniport.calls] == ["create", "activate", "deactivate", "delete"]


def test_co_02_a_connection_that_is_not_active_neither_sends_nor_indicates(circuit: Circuit) -> None:
    vc = connection(circuit)
    assert NdisCmActivateVc(vc, PARAMETERS) is Status.SUCCESS, "more than once, with new parameters"
    assert NdisCmDeactivateVc(vc) is Status.SUCCESS
    assert NdisCmDeactivateVc(vc) is Status.VC_NOT_ACTIVATED, "once"
    packet = circuit.to_send()
    NdisCoSendPackets(vc, [packet], 1)
    assert circuit.client.completed == [("vc", packet, Status.VC_NOT_ACTIVATED)]
    NdisFreePacket(packet)
    NdisMCoIndicateReceivePacket(vc, [received(vc)], 1)
    assert (circuit.client.frames, len(circuit.miniport.returned)) == ([], 1)


def test_co_02_a_deactivation_ends_when_what_is_held_for_the_connection_is_returned(circuit: Circuit) -> None:
    circuit.client.answer = 1
    vc = connection(circuit)
    packet = received(vc)
    NdisMCoIndicateReceivePacket(vc, [packet], 1)
    assert NdisCmDeactivateVc(vc) is Status.PENDING
    assert circuit.client.told == []
    NdisReturnPackets([packet], 1)
    assert (vc.state, circuit.client.told) == (VcState.CREATED, [("deactivated", "vc", Status.SUCCESS)])


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_co_04_the_one_owner_answers_a_count_and_the_packet_comes_home_with_its_last_return(circuit: Circuit, kept: int) -> None:
    """RX-17, RX-19, RX-20: SUCCESS always comes back through MiniportReturnPacket, even if nobody kept it."""
    circuit.client.answer = kept
    vc = connection(circuit)
    packet = received(vc)
    NdisMCoIndicateReceivePacket(vc, [packet], 1)
    assert len(circuit.client.frames) == 1
    for _ in range(kept):
        assert circuit.miniport.returned == []
        NdisReturnPackets([packet], 1)
    assert circuit.miniport.returned == [packet]
    assert violation(NdisReturnPackets, [packet], 1) == "05"


def test_co_04_a_packet_with_status_resources_comes_to_the_same_handler_and_is_the_miniports_on_return(circuit: Circuit) -> None:
    """RX-18, RX-21: it never comes through MiniportReturnPacket, and an answer above 0 is a broken rule."""
    vc = connection(circuit)
    for answer in (0, 1):
        circuit.client.answer = answer
        packet = received(vc, Status.RESOURCES)
        NdisMCoIndicateReceivePacket(vc, [packet], 1)
        assert (packet.state, circuit.miniport.returned) == (PacketState.OWNED, [])
        NdisFreePacket(packet)
    circuit.expect(("10", "client"))
    assert [status for _, _, status in circuit.client.frames] == [Status.RESOURCES] * 2


def test_co_04_packets_without_slots_are_indicated_too() -> None:
    pool, buffers = PacketPool(2, 0), buffers_of(2)
    with Circuit(Client(1)) as circuit:

        def bring(vc: VirtualConnection) -> None:
            vc.pool = pool

        circuit.miniport.answers["create"] = bring
        vc = connection(circuit)
        packet = packet_of(pool)
        chain(packet, buffers, frame(3)[:14], frame(3)[14:])
        circuit.miniport.return_packet = circuit.miniport.returned.append
        NdisMCoIndicateReceivePacket(vc, [packet], 1)
        assert [seen for _, seen, _ in circuit.client.frames] == [frame(3)]
        NdisReturnPackets([packet], 1)
        assert (circuit.miniport.returned, packet.state) == ([packet], PacketState.OWNED)
        for buffer in strip(packet):
            NdisFreeBuffer(buffer)
        NdisFreePacket(packet)
        assert NdisCmDeactivateVc(vc) is Status.SUCCESS
        assert NdisCoDeleteVc(vc) is Status.SUCCESS
    assert (pool.usage, buffers.usage) == (0, 0)


def test_co_05_co_receive_complete_ends_a_batch_of_indications(circuit: Circuit) -> None:
    vc = connection(circuit)
    NdisMCoIndicateReceivePacket(vc, [received(vc), received(vc)], 2)
    NdisMCoIndicateReceivePacket(vc, [received(vc)], 1)
    assert circuit.client.batches == 0
    NdisMCoReceiveComplete(circuit.adapter)
    assert circuit.client.batches == 1


def test_co_06_a_status_is_of_one_connection_or_of_the_adapter(circuit: Circuit) -> None:
    class Listener(Client):
        def co_status(self, vc: VirtualConnection | None, status: Status, buffer: bytes) -> None:
            heard.append((vc, status, buffer))

    heard: list[tuple[VirtualConnection | None, Status, bytes]] = []
    with Circuit(Listener()) as other:
        first, second = connection(other, "first"), connection(other, "second")
        NdisMCoIndicateStatus(other.adapter, first, Status.LINK_SPEED_CHANGE, b"12345678", 4)
        NdisMCoIndicateStatus(other.adapter, None, Status.LINK_SPEED_CHANGE, b"", 0)
        assert heard == [(first, Status.LINK_SPEED_CHANGE, b"1234"), (None, Status.LINK_SPEED_CHANGE, b"")]
        NdisMCoIndicateStatus(other.adapter, second, Status.MEDIA_DISCONNECT, b"", 0)
        assert (first.adapter.link_up, second.adapter.link_up, other.adapter.link_up) == (True, False, True)


def test_co_06_a_request_goes_to_the_adapter_or_to_one_connection(circuit: Circuit) -> None:
    for vc in (None, connection(circuit)):
        request = Request(RequestKind.QUERY, Oid.GEN_MAXIMUM_FRAME_SIZE, bytearray(4))
        assert NdisCoRequest(circuit.binding, None, vc, None, request) is Status.SUCCESS
        assert int.from_bytes(request.information_buffer, "little") == 1500
