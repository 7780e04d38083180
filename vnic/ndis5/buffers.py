"""
Buffers, their pools, and the chain of a packet.

Next: `locks.py`.
"""

from __future__ import annotations

import mmap

from vnic import core
from vnic.core import BufferPool
from vnic.ndis5.checks import INT_MAX, answer, up_to_dispatch
from vnic.ndis5.constants import NDIS_BUFFER, NDIS_PACKET
from vnic.status import Status


@up_to_dispatch
def NdisAllocateBufferPool(NumberOfDescriptors: int) -> tuple[Status, BufferPool | None]:
    if NumberOfDescriptors > INT_MAX:
        return Status.RESOURCES, None
    try:
        return Status.SUCCESS, BufferPool(NumberOfDescriptors, "buffers")
    except (OSError, MemoryError):
        return Status.RESOURCES, None


@up_to_dispatch
def NdisFreeBufferPool(PoolHandle: BufferPool) -> None:
    PoolHandle.close()


@up_to_dispatch
def NdisAllocateBuffer(
    PoolHandle: BufferPool, VirtualAddress: bytes | bytearray | memoryview, Length: int
) -> tuple[Status, NDIS_BUFFER | None]:
    return answer(PoolHandle.allocate(VirtualAddress, Length), Status.FAILURE)


@up_to_dispatch
def NdisCopyBuffer(PoolHandle: BufferPool, MemoryDescriptor: NDIS_BUFFER, Offset: int, Length: int) -> tuple[Status, NDIS_BUFFER | None]:
    """A new descriptor, of the same bytes."""
    try:
        return answer(PoolHandle.copy(MemoryDescriptor, Offset, Length), Status.FAILURE)
    except ValueError:
        return Status.FAILURE, None


@up_to_dispatch
def NdisFreeBuffer(Buffer: NDIS_BUFFER) -> None:
    if Buffer.pool is None:
        raise ValueError("the buffer of a packet's own slot is freed with the packet")
    Buffer.pool.free(Buffer)


def NdisFlushBuffer(Buffer: NDIS_BUFFER, WriteToDevice: bool) -> None:
    """There is nothing to flush, as in C where caches are coherent: a device sees the memory that a driver sees."""


def NdisChainBufferAtFront(Packet: NDIS_PACKET, Buffer: NDIS_BUFFER) -> None:
    Packet.chain_front(Buffer)


def NdisChainBufferAtBack(Packet: NDIS_PACKET, Buffer: NDIS_BUFFER) -> None:
    Packet.chain_back(Buffer)


def NdisUnchainBufferAtFront(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return Packet.unchain_front()


def NdisUnchainBufferAtBack(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return Packet.unchain_back()


def NdisGetNextBuffer(CurrentBuffer: NDIS_BUFFER) -> NDIS_BUFFER | None:
    return CurrentBuffer.following


def NDIS_BUFFER_LINKAGE(Buffer: NDIS_BUFFER) -> NDIS_BUFFER | None:
    return Buffer.following


def NDIS_PACKET_FIRST_NDIS_BUFFER(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    """To show another packet's chain: `Packet.share_chain(other)`."""
    return next(iter(Packet.buffers), None)


def NDIS_PACKET_LAST_NDIS_BUFFER(Packet: NDIS_PACKET) -> NDIS_BUFFER | None:
    return next(reversed(Packet.buffers), None)


def NDIS_PACKET_VALID_COUNTS(Packet: NDIS_PACKET) -> bool:
    """To clear it: `NdisRecalculatePacketCounts(Packet)`."""
    return Packet.valid_counts


def NdisRecalculatePacketCounts(Packet: NDIS_PACKET) -> None:
    Packet.recalculate_counts()


def NDIS_BUFFER_TO_SPAN_PAGES(Buffer: NDIS_BUFFER) -> int:
    """Pages that hold so many bytes, if the first begins one: where it really begins is not seen here, and no device is told."""
    return max(1, -(-Buffer.length // mmap.PAGESIZE))


def NdisQueryPacket(Packet: NDIS_PACKET) -> tuple[int, int, NDIS_BUFFER | None, int]:
    """Pages, buffers, the first of them, and bytes in all."""
    buffers = Packet.buffers
    return sum(map(NDIS_BUFFER_TO_SPAN_PAGES, buffers)), len(buffers), next(iter(buffers), None), Packet.length


def NdisQueryPacketLength(Packet: NDIS_PACKET) -> int:
    return Packet.length


@up_to_dispatch
def NdisQueryBuffer(Buffer: NDIS_BUFFER) -> tuple[memoryview, int]:
    return Buffer.memory, Buffer.length


@up_to_dispatch
def NdisQueryBufferSafe(Buffer: NDIS_BUFFER, Priority: int) -> tuple[memoryview, int]:
    """What is described is mapped already, so there is always an address, whatever the priority."""
    return Buffer.memory, Buffer.length


@up_to_dispatch
def NdisGetFirstBufferFromPacket(Packet: NDIS_PACKET) -> tuple[NDIS_BUFFER | None, memoryview | None, int, int]:
    first = NDIS_PACKET_FIRST_NDIS_BUFFER(Packet)
    return (None, None, 0, 0) if first is None else (first, first.memory, first.length, Packet.length)


def NdisGetFirstBufferFromPacketSafe(Packet: NDIS_PACKET, Priority: int) -> tuple[NDIS_BUFFER | None, memoryview | None, int, int]:
    return NdisGetFirstBufferFromPacket(Packet)


@up_to_dispatch
def NdisBufferLength(Buffer: NDIS_BUFFER) -> int:
    return Buffer.length


@up_to_dispatch
def NdisBufferVirtualAddress(Buffer: NDIS_BUFFER) -> memoryview:
    return Buffer.memory


@up_to_dispatch
def NdisBufferVirtualAddressSafe(Buffer: NDIS_BUFFER, Priority: int) -> memoryview:
    return Buffer.memory


def NdisAdjustBufferLength(Buffer: NDIS_BUFFER, Length: int) -> None:
    Buffer.adjust(Length)


@up_to_dispatch
def NdisCopyFromPacketToPacket(
    Destination: NDIS_PACKET, DestinationOffset: int, BytesToCopy: int, Source: NDIS_PACKET, SourceOffset: int
) -> int:
    return core.copy_packet(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset)


def NdisCopyFromPacketToPacketSafe(
    Destination: NDIS_PACKET, DestinationOffset: int, BytesToCopy: int, Source: NDIS_PACKET, SourceOffset: int, Priority: int
) -> int:
    return NdisCopyFromPacketToPacket(Destination, DestinationOffset, BytesToCopy, Source, SourceOffset)
