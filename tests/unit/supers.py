"""
Superframes as the kernel hands them over, made by scapy; and frames taken apart by it, every sum computed anew.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import checksum as scapy_sum

from vnic.virtio import Virtio

FIN, PSH, ACK, ECE, CWR = 0x01, 0x08, 0x10, 0x40, 0x80
KIND = {("tcp", 4): 1, ("tcp", 6): 4, ("udp", 4): 5, ("udp", 6): 5}


def below_of(version: int, tags: int, options: int) -> Any:
    """The headers below TCP and UDP."""
    below: Any = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:64")
    if tags == 2:
        below /= Dot1AD(vlan=5, prio=3)
    if tags:
        below /= Dot1Q(vlan=7)
    if version == 4:
        return below / IP(src="10.0.0.1", dst="10.9.0.2", id=0xFFFE, flags="DF", options=[IPOption_NOP()] * (4 * options))
    below /= IPv6(src="fd00::1", dst="fd00::9:2", tc=2, fl=0x12345)
    for header in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=["fd00::7"], segleft=0))[:options]:
        below /= header
    return below


def superframe(
    protocol: str, version: int, payload: bytes, mss: int, *, tags: int = 0, options: int = 0, flags: int = 0x18
) -> tuple[bytes, bytes]:
    """What the kernel hands over: a virtio header, and a frame of which only the pseudo-header is summed up."""
    below = below_of(version, tags, options)
    above: Any = TCP(sport=1234, dport=80, seq=0xFFFFFF00, ack=9, flags=flags, options=[("NOP", None)] * 4 * options, chksum=0)
    if protocol == "udp":
        above = UDP(sport=1234, dport=53, chksum=0)
    frame = bytearray(bytes(below / above / Raw(payload)))
    start = len(bytes(below))
    place, number = (16, 6) if protocol == "tcp" else (6, 17)
    frame[start + place : start + place + 2] = pseudo_sum(bytes(frame), version, tags, number, len(frame) - start).to_bytes(2, "big")
    kind = KIND[protocol, version] | (0x80 if flags & CWR else 0)
    virtio = Virtio()
    virtio.flags, virtio.kind, virtio.headers, virtio.size = 1, kind, len(frame) - len(payload), mss
    virtio.start, virtio.offset = start, place
    return bytes(virtio), bytes(frame)


def pseudo_sum(frame: bytes, version: int, tags: int, number: int, length: int) -> int:
    """By scapy's sum, over the addresses where they are."""
    network = 14 + 4 * tags
    addresses = frame[network + 12 : network + 20] if version == 4 else frame[network + 8 : network + 40]
    return 0xFFFF ^ int(scapy_sum(addresses + bytes([0, number]) + length.to_bytes(4, "big")))


def right_sums(frame: bytes) -> Any:
    """Dissect a frame, build it anew with all sums computed, and compare; answers the dissected frame."""
    seen: Any = Ether(frame)
    anew: Any = Ether(frame)
    for layer in (IP, TCP, UDP):
        if layer in anew:
            del anew[layer].chksum
    if IP in anew:
        del anew[IP].len
    if IPv6 in anew:
        del anew[IPv6].plen
    if UDP in anew:
        del anew[UDP].len
    assert bytes(anew) == frame
    return seen
