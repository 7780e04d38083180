"""
Packets and their pools.

Next: `buffers.py`.
"""

from __future__ import annotations

from typing import Any

from vnic import core
from vnic.core import PacketPool
from vnic.ndis5.checks import INT_MAX, UINT_MAX, answer, at_dispatch, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET, NDIS_STATUS
from vnic.oob import Info, OobData
from vnic.status import Status

# pools


def NdisAllocatePacketPool(NumberOfDescriptors: int, ProtocolReservedLength: int) -> tuple[Status, PacketPool | None]:
    return NdisAllocatePacketPoolEx(NumberOfDescriptors, 0, ProtocolReservedLength)


@up_to_dispatch
def NdisAllocatePacketPoolEx(
    NumberOfDescriptors: int, NumberOfOverflowDescriptors: int, ProtocolReservedLength: int
) -> tuple[Status, PacketPool | None]:
    """
    The packets have no slot: chain buffers to them. More than 65,535, or no memory (reserved areas of 2 GB among them): RESOURCES. More
    overflow: as much as fits.
    """
    most = min(NumberOfDescriptors + NumberOfOverflowDescriptors, core.MAX_PACKETS)
    if NumberOfDescriptors > core.MAX_PACKETS or most * ProtocolReservedLength > INT_MAX:
        return Status.RESOURCES, None
    try:
        return Status.SUCCESS, PacketPool(
            NumberOfDescriptors, 0, reserved_size=ProtocolReservedLength, overflow=NumberOfOverflowDescriptors, name="packets"
        )
    except (OSError, MemoryError):
        return Status.RESOURCES, None


@up_to_dispatch
def NdisFreePacketPool(PoolHandle: PacketPool) -> None:
    PoolHandle.close()


@up_to_dispatch
def NdisPacketPoolUsage(PoolHandle: PacketPool) -> int:
    return PoolHandle.usage


@up_to_dispatch
def NdisSetPacketPoolProtocolId(PacketPoolHandle: PacketPool, ProtocolId: int) -> None:
    PacketPoolHandle.protocol_id = ProtocolId


# packets


@up_to_dispatch
def NdisAllocatePacket(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    return answer(PoolHandle.allocate(), Status.RESOURCES)


@at_dispatch
def NdisDprAllocatePacket(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    return answer(PoolHandle.allocate(), Status.RESOURCES)


@at_dispatch
def NdisDprAllocatePacketNonInterlocked(PoolHandle: PacketPool) -> tuple[Status, NDIS_PACKET | None]:
    """The driver holds its own lock around it, which it may name: `PoolHandle.lock = SpinLock`."""
    return answer(PoolHandle.allocate_unlocked(), Status.RESOURCES)


@up_to_dispatch
def NdisFreePacket(Packet: NDIS_PACKET) -> None:
    Packet.pool.free(Packet)


@at_dispatch
def NdisDprFreePacket(Packet: NDIS_PACKET) -> None:
    Packet.pool.free(Packet)


@at_dispatch
def NdisDprFreePacketNonInterlocked(Packet: NDIS_PACKET) -> None:
    Packet.pool.free_unlocked(Packet)


def NdisReinitializePacket(Packet: NDIS_PACKET) -> None:
    Packet.reinitialize()


@up_to_dispatch
def NdisGetPoolFromPacket(Packet: NDIS_PACKET) -> PacketPool:
    return Packet.pool


@up_to_dispatch
def NdisSetPacketFlags(Packet: NDIS_PACKET, Flags: int) -> None:
    """Adds to the flags that are there (AMB-18), which are 32 bits."""
    Packet.flags |= Flags & UINT_MAX


def NdisClearPacketFlags(Packet: NDIS_PACKET, Flags: int) -> None:
    Packet.flags &= ~Flags


def NdisGetPacketFlags(Packet: NDIS_PACKET) -> int:
    return Packet.flags


def NDIS_GET_PACKET_PROTOCOL_TYPE(Packet: NDIS_PACKET) -> int:
    return Packet.flags & 0xF


@up_to_dispatch
def NDIS_GET_PACKET_STATUS(Packet: NDIS_PACKET) -> Status:
    return Packet.status


@up_to_dispatch
def NDIS_SET_PACKET_STATUS(Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
    Packet.status = Status


def NDIS_OOB_DATA_FROM_PACKET(Packet: NDIS_PACKET) -> OobData:
    return Packet.oob


def NDIS_GET_PACKET_HEADER_SIZE(Packet: NDIS_PACKET) -> int:
    return Packet.oob.header_size


def NDIS_SET_PACKET_HEADER_SIZE(Packet: NDIS_PACKET, HdrSize: int) -> None:
    Packet.oob.header_size = HdrSize


def NDIS_GET_PACKET_TIME_TO_SEND(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time


def NDIS_SET_PACKET_TIME_TO_SEND(Packet: NDIS_PACKET, TimeToSend: int) -> None:
    Packet.oob.time = TimeToSend


def NDIS_GET_PACKET_TIME_SENT(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time


def NDIS_SET_PACKET_TIME_SENT(Packet: NDIS_PACKET, TimeSent: int) -> None:
    Packet.oob.time = TimeSent


def NDIS_GET_PACKET_TIME_RECEIVED(Packet: NDIS_PACKET) -> int:
    return Packet.oob.time_received


def NDIS_SET_PACKET_TIME_RECEIVED(Packet: NDIS_PACKET, TimeReceived: int) -> None:
    Packet.oob.time_received = TimeReceived


def NDIS_GET_PACKET_MEDIA_SPECIFIC_INFO(Packet: NDIS_PACKET) -> tuple[Any, int]:
    info = Packet.oob.media_specific
    return (None, 0) if info is None else (info, len(info))


def NDIS_SET_PACKET_MEDIA_SPECIFIC_INFO(Packet: NDIS_PACKET, MediaSpecificInfo: Any, SizeMediaSpecificInfo: int) -> None:
    """Reclaimed by `NDIS_OOB_DATA_FROM_PACKET(Packet).media_specific = None`."""
    Packet.oob.media_specific = memoryview(MediaSpecificInfo)[:SizeMediaSpecificInfo]


def NDIS_PACKET_EXTENSION_FROM_PACKET(Packet: NDIS_PACKET) -> list[Any]:
    """The whole array, to be read and written by index."""
    return Packet.info


def NDIS_PER_PACKET_INFO_FROM_PACKET(Packet: NDIS_PACKET, Id: int) -> Any:
    """To write one: `NDIS_PACKET_EXTENSION_FROM_PACKET(Packet)[Id] = ...`."""
    return Packet.info[Id]


def NDIS_GET_ORIGINAL_PACKET(Packet: NDIS_PACKET) -> NDIS_PACKET:
    """The packet itself, if nobody named another one (AMB-19)."""
    original: NDIS_PACKET | None = Packet.info[Info.ORIGINAL_PACKET]
    return original or Packet


def NDIS_SET_ORIGINAL_PACKET(Packet: NDIS_PACKET, OriginalPacket: NDIS_PACKET) -> None:
    Packet.info[Info.ORIGINAL_PACKET] = OriginalPacket


def NDIS_GET_PACKET_CANCEL_ID(Packet: NDIS_PACKET) -> Any:
    return Packet.info[Info.CANCEL_ID]


def NDIS_SET_PACKET_CANCEL_ID(Packet: NDIS_PACKET, CancelId: Any) -> None:
    Packet.info[Info.CANCEL_ID] = CancelId


def NdisGetPacketCancelId(Packet: NDIS_PACKET) -> Any:
    return NDIS_GET_PACKET_CANCEL_ID(Packet)


def NdisSetPacketCancelId(Packet: NDIS_PACKET, CancelId: Any) -> None:
    NDIS_SET_PACKET_CANCEL_ID(Packet, CancelId)
