"""
Replies: what counts as one, what must be right in it, and what our own made-up host owes to others.

Everything here works on the bytes of a frame, for speed, and takes any bytes.

Next: `wire.py`, which matches replies to requests.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

WRONG = b"wrong"


class Hosts(NamedTuple):
    """Who speaks to whom, in bytes as on the wire. The source is played here; the kernel must not own it."""

    source_mac: bytes
    source: bytes
    source6: bytes
    target_mac: bytes
    target: bytes
    target6: bytes


class Request(NamedTuple):
    """A frame that must be answered, and what `reply_key` makes of the right answer."""

    frame: bytes
    key: bytes


def checksum(data: bytes) -> int:
    """Compute the Internet checksum; 0 over data that contains its own."""
    return -int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def reply_key(frame: bytes, hosts: Hosts) -> bytes | None:
    """
    Boil a reply down to what must be right in it.

    Returns:
        The key of an ARP reply, echo reply or solicited advertisement to our MAC; WRONG if it is broken; None for other frames.
    """
    ethertype, network = frame[12:14], frame[14:]
    if frame[:6] != hosts.source_mac:
        return None
    if ethertype == b"\x08\x06" and network[6:8] == b"\0\2":
        return frame[6:42]
    if ethertype == b"\x08\x00" and len(network) >= 20:
        header, total = (network[0] & 15) * 4, int.from_bytes(network[2:4], "big")
        body = network[header:total]
        if network[9] != 1 or body[:2] != b"\0\0":
            return None
        broken = network[0] >> 4 != 4 or total > len(network) or checksum(network[:header]) or checksum(body)
        return WRONG if broken else frame[6:12] + network[12:20] + body[4:]
    if ethertype == b"\x86\xdd" and len(network) >= 44 and network[6] == 58:
        length = int.from_bytes(network[4:6], "big")
        body = network[40 : 40 + length]
        if body[:2] not in (b"\x81\0", b"\x88\0"):
            return None
        if network[0] >> 4 != 6 or length > len(body) or checksum(network[8:40] + struct.pack("!II", length, 58) + body):
            return WRONG
        if body[0] == 129:
            return frame[6:12] + network[8:40] + body[4:]
        return frame[6:12] + network[8:40] + body[8:32] if len(body) >= 24 and network[7] == 255 and body[4] & 0x40 else WRONG
    return None


def answer(frame: bytes, hosts: Hosts) -> bytes | None:
    """Build what our host owes to an ARP request or a neighbour solicitation for its address; None for any other frame."""
    mac, network = frame[6:12], frame[14:]
    if frame[12:14] == b"\x08\x06" and network[6:8] == b"\0\1" and network[24:28] == hosts.source:
        return mac + hosts.source_mac + frame[12:20] + b"\0\2" + hosts.source_mac + hosts.source + network[8:18]
    solicited = frame[12:14] == b"\x86\xdd" and network[6:8] == b"\x3a\xff" and network[40:42] == b"\x87\0"
    if not solicited or network[48:64] != hosts.source6 or network[8:24] == bytes(16):
        return None
    body = b"\x88\0\0\0\x60\0\0\0" + hosts.source6 + b"\2\1" + hosts.source_mac
    addresses = hosts.source6 + network[8:24]
    total = checksum(addresses + struct.pack("!II", len(body), 58) + body)
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    return mac + hosts.source_mac + frame[12:14] + header + addresses + body[:2] + total.to_bytes(2, "big") + body[4:]
