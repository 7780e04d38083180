"""
Connections: data flow on virtual connections, made and activated by whoever uses them.

Next: `vnic/vc.py`, the connection itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vnic import condis
from vnic.core import Adapter, Binding
from vnic.locks import require_no_locks
from vnic.ndis5.checks import array, details, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET, NDIS_REQUEST, NDIS_STATUS
from vnic.status import Status
from vnic.vc import VirtualConnection


@up_to_dispatch
def NdisCoCreateVc(NdisBindingHandle: Binding, NdisAfHandle: None, ProtocolVcContext: object) -> tuple[Status, VirtualConnection | None]:
    """There are no address families: `NdisAfHandle` is None."""
    return VirtualConnection.create(NdisBindingHandle, ProtocolVcContext)


@up_to_dispatch
def NdisCmActivateVc(NdisVcHandle: VirtualConnection, CallParameters: Any) -> Status:
    return NdisVcHandle.activate(CallParameters)


@up_to_dispatch
def NdisCmDeactivateVc(NdisVcHandle: VirtualConnection) -> Status:
    return NdisVcHandle.deactivate()


@up_to_dispatch
def NdisCoDeleteVc(NdisVcHandle: VirtualConnection) -> Status:
    return NdisVcHandle.delete()


@up_to_dispatch
def NdisCoSendPackets(NdisVcHandle: VirtualConnection, PacketArray: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    require_no_locks("NdisCoSendPackets")
    NdisVcHandle.send_packets(array(PacketArray, NumberOfPackets))


@up_to_dispatch
def NdisMCoSendComplete(Status: Status, NdisVcHandle: VirtualConnection, Packet: NDIS_PACKET) -> None:
    require_no_locks("NdisMCoSendComplete")
    NdisVcHandle.send_complete(Packet, Status)


@up_to_dispatch
def NdisMCoIndicateReceivePacket(NdisVcHandle: VirtualConnection, PacketArray: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    require_no_locks("NdisMCoIndicateReceivePacket")
    NdisVcHandle.indicate(array(PacketArray, NumberOfPackets))


@up_to_dispatch
def NdisMCoReceiveComplete(MiniportAdapterHandle: Adapter) -> None:
    require_no_locks("NdisMCoReceiveComplete")
    condis.receive_complete(MiniportAdapterHandle)


@up_to_dispatch
def NdisMCoActivateVcComplete(Status: Status, NdisVcHandle: VirtualConnection, CallParameters: Any) -> None:
    """The parameters are those that it was activated with: a miniport cannot change them."""
    NdisVcHandle.activate_complete(Status)


@up_to_dispatch
def NdisMCoDeactivateVcComplete(Status: Status, NdisVcHandle: VirtualConnection) -> None:
    NdisVcHandle.deactivate_complete(Status)


@up_to_dispatch
def NdisMCoIndicateStatus(
    MiniportAdapterHandle: Adapter,
    NdisVcHandle: VirtualConnection | None,
    GeneralStatus: NDIS_STATUS,
    StatusBuffer: bytes | bytearray | memoryview | None,
    StatusBufferSize: int,
) -> None:
    """Without a connection it is a status of the adapter."""
    require_no_locks("NdisMCoIndicateStatus")
    (NdisVcHandle or MiniportAdapterHandle).indicate_status(GeneralStatus, details(StatusBuffer, StatusBufferSize))


@up_to_dispatch
def NdisCoRequest(
    NdisBindingHandle: Binding, NdisAfHandle: None, NdisVcHandle: VirtualConnection | None, NdisPartyHandle: None, NdisRequest: NDIS_REQUEST
) -> Status:
    """Without a connection it is a request to the adapter."""
    return (NdisVcHandle or NdisBindingHandle).request(NdisRequest)
