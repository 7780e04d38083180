"""
The way down: packets are lent, and completed.

Next: `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnic.core import Adapter, Binding
from vnic.locks import require_no_locks
from vnic.ndis5.checks import array, up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET, NDIS_STATUS
from vnic.registration import registry
from vnic.status import Status


@up_to_dispatch
def NdisSend(NdisBindingHandle: Binding, Packet: NDIS_PACKET) -> Status:
    return NdisBindingHandle.send(Packet)


@up_to_dispatch
def NdisSendPackets(NdisBindingHandle: Binding, PacketArray: Sequence[NDIS_PACKET], NumberOfPackets: int) -> None:
    NdisBindingHandle.send_packets(array(PacketArray, NumberOfPackets))


@up_to_dispatch
def NdisCancelSendPackets(NdisBindingHandle: Binding, CancelId: int) -> None:
    NdisBindingHandle.cancel_sends(CancelId)


@up_to_dispatch
def NdisMSendComplete(MiniportAdapterHandle: Adapter, Packet: NDIS_PACKET, Status: NDIS_STATUS) -> None:
    require_no_locks("NdisMSendComplete")
    MiniportAdapterHandle.send_complete(Packet, Status)


@up_to_dispatch
def NdisMSendResourcesAvailable(MiniportAdapterHandle: Adapter) -> None:
    require_no_locks("NdisMSendResourcesAvailable")
    MiniportAdapterHandle.send_resources_available()


def NdisGeneratePartialCancelId() -> int:
    return registry.partial_cancel_id()
