"""
Short ways to say in NDIS names what many conformance tests begin with.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unit.wire import Bench, Miniport

from vnic import Adapter, Buffer, BufferPool, Packet, PacketPool, Status
from vnic.locks import Irql, at_irql
from vnic.ndis import (
    PROTOCOL_RESERVED_SIZE_IN_PACKET,
    NdisAllocateBuffer,
    NdisAllocateBufferPool,
    NdisAllocatePacket,
    NdisAllocatePacketPool,
    NdisChainBufferAtBack,
    NdisFreeBuffer,
    NdisFreePacket,
    NdisUnchainBufferAtFront,
)


def pool_of(count: int, reserved: int = PROTOCOL_RESERVED_SIZE_IN_PACKET) -> PacketPool:
    """A pool of packets without slots."""
    status, pool = NdisAllocatePacketPool(count, reserved)
    assert status is Status.SUCCESS
    assert pool is not None
    return pool


def buffers_of(count: int) -> BufferPool:
    """A pool of buffers."""
    status, pool = NdisAllocateBufferPool(count)
    assert status is Status.SUCCESS
    assert pool is not None
    return pool


def packet_of(pool: PacketPool) -> Packet:
    """A packet; there must be one."""
    status, packet = NdisAllocatePacket(pool)
    assert status is Status.SUCCESS
    assert packet is not None
    return packet


def buffer_of(pool: BufferPool, memory: bytes | bytearray) -> Buffer:
    """A buffer of some memory; there must be one."""
    status, buffer = NdisAllocateBuffer(pool, memory, len(memory))
    assert status is Status.SUCCESS
    assert buffer is not None
    return buffer


def chain(packet: Packet, pool: BufferPool, *parts: bytes) -> list[Buffer]:
    """Chain a buffer for each part; answers them."""
    chained = [buffer_of(pool, part) for part in parts]
    for buffer in chained:
        NdisChainBufferAtBack(packet, buffer)
    return chained


def strip(packet: Packet) -> list[Buffer]:
    """Unchain every buffer from the front; answers them, to be saved or freed."""
    saved = []
    while (buffer := NdisUnchainBufferAtFront(packet)) is not None:
        saved.append(buffer)
    return saved


def discard(packet: Packet) -> None:
    """Free every buffer of a packet, and then the packet."""
    for buffer in strip(packet):
        NdisFreeBuffer(buffer)
    NdisFreePacket(packet)


@contextmanager
def adapter_over(pool: PacketPool, miniport: Miniport) -> Iterator[Bench]:
    """A bench whose adapter indicates the packets of a pool of its own, to which the test chains buffers."""
    with Bench(packets=1) as bench:
        bench.adapter = Adapter(pool, miniport, name="facade0", report=bench.report)
        yield bench
        for binding in bench.adapter.bindings:
            assert bench.adapter.close(binding) is Status.SUCCESS


def race(count: int, work: Callable[[], object]) -> None:
    """Run the same work on several threads at DISPATCH, which overtake each other as often as they can; none may raise or hang."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with at_irql(Irql.DISPATCH):
                work()
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    assert errors == []
