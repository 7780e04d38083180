"""
What travels with a packet beside its bytes: the out-of-band block, and the per-packet information.

Next: `vnic/pool.py`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vnic.core import Packet

EPOCH_1601 = 11_644_473_600
"""Seconds from the epoch of NDIS times, 1601, to that of Unix, 1970."""
HEADER_SIZE = 14


class Info(IntEnum):
    """
    The slots of per-packet information, each holding one value or None.

    NDIS: NDIS_PER_PACKET_INFO; PKT-44.
    """

    TCP_IP_CHECKSUM = 0
    IP_SEC = 1
    TCP_LARGE_SEND = 2
    CLASSIFICATION_HANDLE = 3
    SCATTER_GATHER_LIST = 5
    IEEE_8021Q = 6
    ORIGINAL_PACKET = 7
    CANCEL_ID = 8


INFO_SLOTS = len(Info) + 1
SEND_COMPLETE_INFO = (Info.TCP_IP_CHECKSUM, Info.IP_SEC, Info.TCP_LARGE_SEND)
SEND_INFO = (*SEND_COMPLETE_INFO, Info.CLASSIFICATION_HANDLE, Info.IEEE_8021Q, Info.CANCEL_ID)


class OobData:
    """
    The out-of-band block of one packet. It survives `reinitialize`, and is cleared when the packet is allocated anew.

    NDIS: NDIS_PACKET_OOB_DATA; PKT-29, PKT-40 to PKT-43.

    Attributes:
        time: when to send, or when it was sent: the two share their storage; 100 ns units since 1601.
        time_received: when it was received, in the same units.
        header_size: bytes of the media header in the first buffer; 14 for Ethernet.
        media_specific: what a driver attached, to be reclaimed before the packet is freed or reinitialised; None if nothing.
    """

    __slots__ = ("header_size", "media_specific", "time", "time_received")

    def __init__(self, time_received: int = 0) -> None:
        self.time = 0
        self.time_received = time_received
        self.header_size = HEADER_SIZE
        self.media_specific: Any = None

    def clear(self) -> None:
        """
        Zero the block, `header_size` included: set it again before the next indication.

        NDIS: zeroing through NDIS_OOB_DATA_FROM_PACKET; PKT-29, PKT-32.
        """
        self.time = self.time_received = self.header_size = 0
        self.media_specific = None


def ndis_time(unix_ns: int) -> int:
    """Convert nanoseconds since 1970 to 100 ns units since 1601. NDIS: NdisGetCurrentSystemTime."""
    return unix_ns // 100 + EPOCH_1601 * 10_000_000


def information(packet: Packet, slot: Info) -> Any:
    """What a packet says of something; None, too, if a driver has cut its list short."""
    info = packet.info
    return info[slot] if slot < len(info) else None


def _copy(target: Packet, source: Packet, slots: tuple[Info, ...]) -> None:
    into = target.info
    # a list that a driver has cut short is made whole
    into.extend([None] * (INFO_SLOTS - len(into)))
    for slot in slots:
        into[slot] = information(source, slot)


def copy_send_info(target: Packet, source: Packet) -> None:
    """
    Copy the per-packet information that a send goes down with, or a frame comes up with. The link to the original packet stays.

    NDIS: NdisIMCopySendPerPacketInfo; IM-11, IM-15.
    """
    _copy(target, source, SEND_INFO)


def copy_send_complete_info(target: Packet, source: Packet) -> None:
    """
    Copy back what a miniport says of a send when it is complete.

    NDIS: NdisIMCopySendCompletePerPacketInfo; IM-16, IM-17.
    """
    _copy(target, source, SEND_COMPLETE_INFO)


def copy_oob(target: Packet, source: Packet) -> None:
    """Copy the out-of-band block of a send; what is attached to it stays the source's (IM-15)."""
    into, of = target.oob, source.oob
    into.time, into.time_received, into.header_size, into.media_specific = of.time, of.time_received, of.header_size, of.media_specific
