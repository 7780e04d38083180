"""
Packet filters: which frames a binding wants to see.
"""

from __future__ import annotations

from enum import IntFlag


class PacketFilter(IntFlag):
    """
    One bit for each class of frame; a binding sees a frame if any of its bits accepts it.

    Broadcast is no multicast here: each bit stands for itself. ALL_LOCAL also shows what other bindings send.

    NDIS: OID_GEN_CURRENT_PACKET_FILTER; RX-56, RX-57, RX-62.
    """

    NONE = 0x0000
    DIRECTED = 0x0001
    MULTICAST = 0x0002
    ALL_MULTICAST = 0x0004
    BROADCAST = 0x0008
    PROMISCUOUS = 0x0020
    ALL_LOCAL = 0x0080


SUPERFRAME_AMONG = 1 << 30
"""Beside the bits of some frames: one of them is whole only to those who have asked."""
