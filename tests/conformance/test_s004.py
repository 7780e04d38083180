"""
Packet reuse in a protocol driver, statement by statement.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conformance.facade import buffer_of, buffers_of, chain, packet_of, pool_of, strip
from unit.wire import Bench, Driver, frame, violation

from vnic import Binding, Buffer, MiniportDriver, Packet, PacketState, Status
from vnic.ndis import (
    NDIS_GET_PACKET_HEADER_SIZE,
    NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO,
    NDIS_OOB_DATA_FROM_PACKET,
    NDIS_PACKET_FIRST_NDIS_BUFFER,
    NDIS_PACKET_OOB_DATA,
    NDIS_SET_PACKET_HEADER_SIZE,
    NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO,
    NdisChainBufferAtBack,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisGetPacketFlags,
    NdisMSendComplete,
    NdisPacketPoolUsage,
    NdisReinitializePacket,
    NdisSend,
    NdisSendPackets,
    NdisSetPacketFlags,
    NdisUnchainBufferAtBack,
    NdisUnchainBufferAtFront,
)

pytestmark = pytest.mark.usefixtures("profile", "serialized")
"""In both profiles, with both models of miniport."""


class Below(MiniportDriver):
    """Answer sends as told, by the last byte of the frame; keep what is pending."""

    def __init__(self, *answers: Status) -> None:
        self.answers = answers
        self.pending: list[Packet] = []

    def send(self, packet: Packet) -> Status:
        answer = self.answers[packet.data[-1] % len(self.answers)]
        if answer is Status.PENDING:
            self.pending.append(packet)
        return answer


class Reuser(Driver):
    """Remember completions, in what state the packet was then; keep the packet, or do something with it."""

    def __init__(self, then: Callable[[Packet], object] | None = None) -> None:
        super().__init__()
        self.then = then
        self.completed: list[tuple[Packet, Status, PacketState]] = []

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.completed.append((packet, status, packet.state))
        if self.then is not None:
            self.then(packet)


@pytest.mark.parametrize("answer", [Status.SUCCESS, Status.FAILURE, Status.NO_CABLE])
def test_s004_02_s004_03_a_send_that_is_not_pending_is_complete_and_no_callback_follows(answer: Status) -> None:
    driver = Reuser()
    with Bench(miniport=Below(answer)) as bench:
        binding = bench.bind(driver)
        packet = bench.owned(frame(), bench.own)
        assert NdisSend(binding, packet) is answer
        assert (packet.state, driver.completed, binding.sends_pending) == (PacketState.OWNED, [], 0)
        NdisFreePacket(packet)


def test_s004_02_s004_04_a_pending_send_is_complete_with_its_one_callback() -> None:
    driver, below = Reuser(), Below(Status.PENDING)
    with Bench(miniport=below) as bench:
        packet = bench.owned(frame(), bench.own)
        assert NdisSend(bench.bind(driver), packet) is Status.PENDING
        assert (packet.state, driver.completed) == (PacketState.SENDING, [])
        assert violation(NdisFreePacket, packet) == "56"
        NdisMSendComplete(bench.adapter, packet, Status.SUCCESS)
        assert driver.completed == [(packet, Status.SUCCESS, PacketState.OWNED)]
        assert violation(NdisMSendComplete, bench.adapter, packet, Status.SUCCESS) == "50"
        bench.expect(("50", "miniport"))
        NdisFreePacket(packet)


def test_s004_05_the_packet_can_be_sent_again_from_within_the_callback() -> None:
    below = Below(Status.PENDING)
    with Bench(miniport=below) as bench:
        statuses: list[Status] = []
        driver = Reuser(lambda packet: statuses.append(NdisSend(binding, packet)) if len(statuses) < 3 else NdisFreePacket(packet))
        binding: Binding = bench.bind(driver)
        assert NdisSend(binding, bench.owned(frame(), bench.own)) is Status.PENDING
        for _ in range(4):
            NdisMSendComplete(bench.adapter, below.pending.pop(), Status.SUCCESS)
        assert (statuses, len(driver.completed), bench.own.usage) == ([Status.PENDING] * 3, 4, 0)


def test_s004_06_or_take_a_copy_of_received_data() -> None:
    with Bench() as bench:
        own = bench.owned(frame(1), bench.own)
        binding = bench.bind(Driver(look=lambda received: own.write(received.data)))
        assert NdisSend(binding, own) is Status.SUCCESS
        bench.taken()
        bench.give(frame(2))
        assert (bytes(own.data), own.state) == (frame(2), PacketState.OWNED)
        NdisFreePacket(own)


def test_s004_07_s004_09_in_an_array_each_packet_completes_by_its_own_callback_whatever_became_of_it() -> None:
    answers = Status.SUCCESS, Status.FAILURE, Status.PENDING
    driver, below = Reuser(), Below(*answers)
    with Bench(miniport=below) as bench:
        packets = [bench.owned(frame(mark), bench.own) for mark in range(9)]
        NdisSendPackets(bench.bind(driver), packets, len(packets))
        assert [packet for packet, _, _ in driver.completed] == [packet for packet in packets if packet not in below.pending]
        for packet in reversed(below.pending):
            NdisMSendComplete(bench.adapter, packet, Status.NO_CABLE)
        ended = {packets.index(packet): status for packet, status, _ in driver.completed}
        assert ended == {mark: (Status.SUCCESS, Status.FAILURE, Status.NO_CABLE)[mark % 3] for mark in range(9)}
        assert (len(driver.completed), {state for _, _, state in driver.completed}) == (9, {PacketState.OWNED})
        for packet in packets:
            NdisFreePacket(packet)


def test_s004_14_only_the_driver_that_allocated_a_packet_reinitialises_it() -> None:
    refused: list[str] = []
    with Bench() as bench:
        bench.bind(Driver(look=lambda packet: refused.append(violation(NdisReinitializePacket, packet))))
        bench.give(frame())
        own = bench.owned(frame(), bench.own)
        NdisReinitializePacket(own)
        assert (refused, own.length, own.state) == (["34"], 0, PacketState.OWNED)
        bench.expect(("34", "a"))
        NdisFreePacket(own)


@pytest.mark.parametrize("unchain", [NdisUnchainBufferAtFront, NdisUnchainBufferAtBack])
def test_s004_15_s004_16_first_every_buffer_is_unchained_and_can_be_used_again(unchain: Callable[[Packet], Buffer | None]) -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(3)
    chained = chain(packet, buffers, b"one", b"two", b"three")
    saved = [unchain(packet) for _ in range(3)]
    assert unchain(packet) is None
    NdisReinitializePacket(packet)
    assert saved == (chained if unchain is NdisUnchainBufferAtFront else chained[::-1])
    for buffer in saved:
        assert buffer is not None
        NdisChainBufferAtBack(packet, buffer)
    assert sorted(bytes(packet.data)) == sorted(b"onetwothree")
    strip(packet)


def test_s004_17_reinitialising_sets_the_first_buffer_to_none() -> None:
    packet = packet_of(pool_of(1))
    NdisReinitializePacket(packet)
    assert NDIS_PACKET_FIRST_NDIS_BUFFER(packet) is None
    assert packet.length == 0


def test_s004_18_without_unchaining_it_is_refused_and_names_the_packet_so_nothing_leaks() -> None:
    packet, buffers = packet_of(pool_of(1)), buffers_of(1)
    chain(packet, buffers, b"lost?")
    with pytest.raises(Exception, match=r"rule 32 .*<Packet packets\[0\]\.1 OWNED"):
        NdisReinitializePacket(packet)
    NdisFreeBuffer(strip(packet)[0])
    assert buffers.usage == 0


def test_s004_19_what_the_out_of_band_block_refers_to_is_reclaimed_before() -> None:
    packet = packet_of(pool_of(1))
    NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(packet, b"priority 5", 8)
    NDIS_SET_PACKET_HEADER_SIZE(packet, 18)
    NdisSetPacketFlags(packet, 0x40)
    assert violation(NdisReinitializePacket, packet) == "33"
    assert violation(NdisFreePacket, packet) == "33"
    info, size = NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet)
    assert (bytes(info), size) == (b"priority", 8)
    NDIS_OOB_DATA_FROM_PACKET(packet).media_specific = None
    NdisReinitializePacket(packet)
    assert (NDIS_GET_PACKET_HEADER_SIZE(packet), NdisGetPacketFlags(packet)) == (18, 0x40)
    assert NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(packet) == (None, 0)
    NdisFreePacket(packet)


def test_s004_20_every_packet_has_a_block_of_its_own() -> None:
    pool = pool_of(3)
    blocks = [NDIS_OOB_DATA_FROM_PACKET(packet_of(pool)) for _ in range(3)]
    assert [type(block) for block in blocks] == [NDIS_PACKET_OOB_DATA] * 3
    assert (len({id(block) for block in blocks}), NdisPacketPoolUsage(pool)) == (3, 3)


def test_s004_16_the_memory_of_a_saved_buffer_is_the_drivers_own() -> None:
    buffers, memory = buffers_of(1), bytearray(b"before")
    packet = packet_of(pool_of(1))
    NdisChainBufferAtBack(packet, buffer_of(buffers, memory))
    saved = strip(packet)
    memory[:] = b"after!"
    assert [bytes(buffer.data) for buffer in saved] == [b"after!"]
