"""
Intermediate drivers: what is copied between the packets of two levels.

Next: `vnic/virtual.py`, which does so.
"""

from __future__ import annotations

from vnic import oob
from vnic.ndis5.checks import up_to_dispatch
from vnic.ndis5.constants import NDIS_PACKET


@up_to_dispatch
def NdisIMGetCurrentPacketStack(Packet: NDIS_PACKET) -> tuple[None, bool]:
    """StacksRemaining is False, always: a packet goes through one adapter, and is wrapped for the next (IM-12)."""
    return None, False


@up_to_dispatch
def NdisIMCopySendPerPacketInfo(DstPacket: NDIS_PACKET, SrcPacket: NDIS_PACKET) -> None:
    oob.copy_send_info(DstPacket, SrcPacket)


@up_to_dispatch
def NdisIMCopySendCompletePerPacketInfo(DstPacket: NDIS_PACKET, SrcPacket: NDIS_PACKET) -> None:
    oob.copy_send_complete_info(DstPacket, SrcPacket)
