"""
The way up: packets are shown, and come back.

Next: `send.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vnic import core
from vnic.core import Adapter, Binding
from vnic.locks import require_no_locks
from vnic.ndis5.checks import array, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET, NDIS_STATUS
from vnic.status import Status


@up_to_dispatch
def NdisMIndicateReceivePacket(MiniportAdapterHandle: Adapter, ReceivePackets: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    require_no_locks("NdisMIndicateReceivePacket")
    MiniportAdapterHandle.indicate(array(ReceivePackets, NumberOfPackets))


@up_to_dispatch
def NdisReturnPackets(PacketsToReturn: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    """
    It names no binding: see `vnic.core.return_packets` for whose return it is.

    Where several bindings keep one packet, and each must answer for itself, `binding.return_packets` is exact.
    """
    core.return_packets(array(PacketsToReturn, NumberOfPackets))


@up_to_dispatch
def NdisMEthIndicateReceive(
    MiniportAdapterHandle: Adapter,
    MiniportReceiveContext: Any,
    HeaderBuffer: bytes | bytearray | memoryview,
    HeaderBufferSize: int,
    LookaheadBuffer: bytes | bytearray | memoryview,
    LookaheadBufferSize: int,
    PacketSize: int,
) -> None:
    require_no_locks("NdisMEthIndicateReceive")
    header, lookahead = memoryview(HeaderBuffer)[:HeaderBufferSize], memoryview(LookaheadBuffer)[:LookaheadBufferSize]
    MiniportAdapterHandle.indicate_lookahead(MiniportReceiveContext, header, lookahead, PacketSize)


@up_to_dispatch
def NdisMEthIndicateReceiveComplete(MiniportAdapterHandle: Adapter) -> None:
    require_no_locks("NdisMEthIndicateReceiveComplete")
    MiniportAdapterHandle.indicate_lookahead_complete()


@up_to_dispatch
def NdisTransferData(
    NdisBindingHandle: Binding, MacReceiveContext: Any, ByteOffset: int, BytesToTransfer: int, Packet: NDIS_PACKET
) -> tuple[Status, int]:
    return NdisBindingHandle.transfer_data(MacReceiveContext, ByteOffset, BytesToTransfer, Packet)


@up_to_dispatch
def NdisMTransferDataComplete(MiniportAdapterHandle: Adapter, Packet: NDIS_PACKET, Status: NDIS_STATUS, BytesTransferred: int) -> None:
    require_no_locks("NdisMTransferDataComplete")
    MiniportAdapterHandle.transfer_data_complete(Packet, Status, BytesTransferred)


@up_to_dispatch
def NdisGetReceivedPacket(NdisBindingHandle: Binding, MacContext: Any) -> NDIS_PACKET | None:
    return NdisBindingHandle.received_packet(MacContext)


def NdisCopyLookaheadData(
    Destination: bytearray | memoryview, Source: bytes | bytearray | memoryview, Length: int, ReceiveFlags: int
) -> None:
    """The lookahead is memory as any other, whatever the flags say of it."""
    memoryview(Destination)[:Length] = memoryview(Source)[:Length]
