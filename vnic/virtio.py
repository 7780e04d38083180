"""
What stands before each frame of a TAP with offload, the virtio header; where the headers of a frame end; and checksums.

A header from below is input like any other: it is checked before anything is done by it. Nothing here takes memory or a packet.

Next: `vnic/segment.py`, which cuts a superframe, and `vnic/offload.py`, what drivers see of all this.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

HEADER = 10
"""Bytes of a virtio header, in the order of this machine."""
NEEDS_CHECKSUM = 1
"""The checksum of the frame holds the sum of its pseudo-header only; the rest was left to the NIC."""
CHECKED = 2
"""Whoever brought the frame has looked at its checksum."""
NO_SUPERFRAME, TCP4, TCP6, UDP, ECN = 0, 1, 4, 5, 0x80
LONGEST = 65535 + 14 + 8
"""The longest superframe: what an IP header can say, behind an Ethernet header with two VLAN tags; IPv6 counts without its 40 bytes."""

RIGHT, WRONG = 0, 1
IPV4, IPV6 = 0x0800, 0x86DD
VLAN, SERVICE_VLAN = 0x8100, 0x88A8
OVER_TCP, OVER_UDP = 6, 17
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
ETHERNET = 14
_LAYOUT = struct.Struct("=BBHHHH")


class Virtio:
    """
    A virtio header, uncompiled; compiled it is a C struct with these names.

    Attributes:
        flags: NEEDS_CHECKSUM, CHECKED.
        kind: NO_SUPERFRAME, or what kind of superframe it is: TCP4, TCP6, UDP; with ECN added if the first segment has CWR.
        headers: bytes of all headers of a superframe, at least; a hint.
        size: bytes of payload of a segment.
        start: where the checksum begins to count.
        offset: how far behind that it is stored.
    """

    __slots__ = ("flags", "headers", "kind", "offset", "size", "start")

    def __init__(self, data: bytes = bytes(HEADER)) -> None:
        self.flags, self.kind, self.headers, self.size, self.start, self.offset = _LAYOUT.unpack(data)

    def __bytes__(self) -> bytes:
        return _LAYOUT.pack(self.flags, self.kind, self.headers, self.size, self.start, self.offset)


def checked(virtio: cython.pointer[vnic_virtio], length: cython.Py_ssize_t) -> cython.int:
    """Whether what a virtio header says can be so of a frame of this length: RIGHT or WRONG. How its headers are is looked at later."""
    kind: cython.int = virtio.kind & ~ECN
    if virtio.flags & NEEDS_CHECKSUM and (virtio.start < ETHERNET or virtio.start + virtio.offset + 2 > length):
        return WRONG
    if virtio.kind == NO_SUPERFRAME:
        return RIGHT
    if kind != TCP4 and kind != TCP6 and kind != UDP:
        return WRONG
    return RIGHT if virtio.flags & NEEDS_CHECKSUM and virtio.size and virtio.headers <= length else WRONG


def number(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.uint:
    """Two bytes of a frame, as a number."""
    return (p[at] << 8) | p[at + 1]


def put_number(p: cython.p_uchar, at: cython.Py_ssize_t, value: cython.uint) -> None:
    """Store a number in two bytes."""
    p[at] = (value >> 8) & 0xFF
    p[at + 1] = value & 0xFF


def folded(total: cython.ulonglong) -> cython.uint:
    """A sum in 16 bits, the carries added in again."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def added(p: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.uint:
    """The sum of 16-bit numbers over a range of bytes, in one's complement. RFC 1071."""
    if cython.compiled:
        return vnic_sum(p + start, end - start)
    else:
        data = bytes(p[start:end])
        words = array("H", data + b"\0" * (len(data) % 2))
        if sys.byteorder == "little":
            words.byteswap()
        return folded(sum(words))


def complete(p: cython.p_uchar, length: cython.Py_ssize_t, start: cython.Py_ssize_t, offset: cython.Py_ssize_t) -> None:
    """Do what the sender has left to the NIC: add the bytes up and store the sum. The caller has checked that both are in the frame."""
    total: cython.uint = added(p, start, length) ^ 0xFFFF
    # UDP says "none" by 0; for all others the two mean the same
    put_number(p, start + offset, total or 0xFFFF)


class Headers:
    """
    Where the headers of a TCP or UDP frame are.

    Attributes:
        network: where the IP header begins.
        transport: where the header of TCP or UDP begins.
        payload: where that ends.
        end: where the frame ends, as its IP header says; behind that there may be padding.
        version: 4 or 6.
        udp: it is UDP, not TCP.
    """

    def __init__(self) -> None:
        self.network = self.transport = self.payload = self.end = self.version = 0
        self.udp = False

    def find(self, p: cython.p_uchar, size: cython.Py_ssize_t, length: cython.Py_ssize_t) -> cython.bint:
        """
        Find the headers of a frame.

        Args:
            p: the beginning of the frame; nothing behind `size` bytes is looked at.
            size: how much of it is there; the headers must be in that.
            length: bytes of the whole frame; the lengths in its headers must not be longer.

        Returns:
            Whether it is TCP or UDP over IP, not a fragment, and consistent.
        """
        at: cython.Py_ssize_t = 12
        kind: cython.uint
        protocol: cython.uint
        tags: cython.int = 0
        if length < size:
            size = length
        if size < ETHERNET:
            return False
        kind = number(p, at)
        while kind in (VLAN, SERVICE_VLAN) and tags < 2:
            at += 4
            tags += 1
            if at + 2 > size:
                return False
            kind = number(p, at)
        at += 2
        self.network = at
        if kind == IPV4:
            if at + 20 > size or p[at] >> 4 != 4 or (p[at] & 15) < 5 or number(p, at + 6) & 0x3FFF:
                return False
            self.version = 4
            self.end = at + number(p, at + 2)
            protocol = p[at + 9]
            at += (p[at] & 15) * 4
        elif kind == IPV6:
            if at + 40 > size or p[at] >> 4 != 6:
                return False
            self.version = 6
            self.end = at + 40 + number(p, at + 4)
            protocol = p[at + 6]
            at += 40
            while protocol in (HOP_BY_HOP, ROUTING, DESTINATION):
                if at + 2 > size:
                    return False
                protocol = p[at]
                at += (p[at + 1] + 1) * 8
        else:
            return False
        return self.end <= length and self._find_payload(p, size, at, protocol)

    def _find_payload(self, p: cython.p_uchar, size: cython.Py_ssize_t, at: cython.Py_ssize_t, protocol: cython.uint) -> cython.bint:
        self.transport = at
        self.udp = protocol == OVER_UDP
        if protocol == OVER_UDP:
            self.payload = at + 8
        elif protocol == OVER_TCP and at + 20 <= size and p[at + 12] >> 4 >= 5:
            self.payload = at + (p[at + 12] >> 4) * 4
        else:
            return False
        return self.payload <= size and self.payload <= self.end

    def kind(self) -> cython.int:
        """What kind of superframe it would be."""
        return UDP if self.udp else TCP4 if self.version == 4 else TCP6

    def offset(self) -> cython.int:
        """Where in the header of TCP or UDP the checksum is."""
        return 6 if self.udp else 16


def complete_checksum(frame: bytearray, start: int, offset: int) -> None:
    """
    Complete the checksum of a frame, of which the sum of the pseudo-header is there.

    Args:
        frame: changed where it is.
        start: where the checksum begins to count: the header of TCP or UDP.
        offset: how far behind that it is stored.

    Raises:
        ValueError: the place is not in the frame.
    """
    if start < 0 or offset < 0 or start + offset + 2 > len(frame):
        raise ValueError(f"a checksum at {start} + {offset} of a frame of {len(frame)} bytes")
    if cython.compiled:
        whole: bytearray = frame
        complete(whole, len(whole), start, offset)
    else:
        complete(frame, len(frame), start, offset)
