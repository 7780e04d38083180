"""
The headers of a frame in words: Ethernet, VLAN tags, ARP, IPv4, IPv6, ICMP, UDP, TCP. Any bytes at all are survived.

Next: `miniport/inspector/capture_file.py`, the frame as a file for those who know more protocols.
"""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

MAX_TAGS = 4
TAGS = (0x8100, 0x88A8)
ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6"}
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
ICMP_TYPES = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
ICMPV6_TYPES = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "multicast listener report",
}
TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")

Layer = dict[str, Any]


class Part(NamedTuple):
    """Bytes that are not decoded yet, and what they are said to be."""

    kind: str
    data: bytes


def decode_frame(frame: bytes) -> list[Layer]:
    """
    Put the headers of a frame into words.

    Args:
        frame: any bytes.

    Returns:
        A layer for each header that is there, with its fields; where a header is cut short, a layer `cut` ends the list.
    """
    layers: list[Layer] = []
    part: Part | None = Part("Ethernet", frame)
    while part is not None:
        kind, data = part
        if len(data) < SHORTEST.get(kind, 0):
            layers.append({"layer": "cut", "of": kind, "bytes": len(data), "needs": SHORTEST[kind]})
            break
        decode = DECODERS.get(kind)
        if decode is None:
            layers.append({"layer": "data", "of": kind, "bytes": len(data)})
            break
        fields, part = decode(data)
        layers.append({"layer": kind, **fields})
    return layers


def _ethernet(data: bytes) -> tuple[Layer, Part | None]:
    fields: Layer = {"to": data[0:6].hex(":"), "from": data[6:12].hex(":")}
    kind, at = _number(data, 12), 14
    tags: list[Layer] = []
    while kind in TAGS and len(data) >= at + 4 and len(tags) < MAX_TAGS:
        tag = _number(data, at)
        tags.append({"vlan": tag & 0xFFF, "priority": tag >> 13})
        kind, at = _number(data, at + 2), at + 4
    if tags:
        fields["tags"] = tags
    return fields | {"ethertype": f"0x{kind:04x}"}, Part(ETHERTYPES.get(kind, f"EtherType 0x{kind:04x}"), data[at:])


def _arp(data: bytes) -> tuple[Layer, Part | None]:
    operation = {1: "request", 2: "reply"}.get(_number(data, 6), str(_number(data, 6)))
    if data[:6] != b"\0\1\x08\0\6\4":
        return {"operation": operation, "of": "other addresses"}, None
    return {
        "operation": operation,
        "sender": f"{_ip(data[14:18])} at {data[8:14].hex(':')}",
        "target": f"{_ip(data[24:28])} at {data[18:24].hex(':')}",
    }, None


def _ipv4(data: bytes) -> tuple[Layer, Part | None]:
    header, total, fragment = (data[0] & 15) * 4, _number(data, 2), _number(data, 6)
    fields: Layer = {"from": _ip(data[12:16]), "to": _ip(data[16:20]), "ttl": data[8], "length": total}
    if data[0] >> 4 != 4 or header < 20:
        return fields | {"broken": "version or header length"}, None
    if fragment & 0x1FFF or fragment & 0x2000:
        fields["fragment"] = f"{(fragment & 0x1FFF) * 8}{' and more' if fragment & 0x2000 else ''}"
    kind = PROTOCOLS.get(data[9], f"protocol {data[9]}")
    end = min(max(total, header), len(data))
    # only the first fragment has the header of what it carries
    return fields, Part(kind if not fragment & 0x1FFF else "fragment", data[header:end])


def _ipv6(data: bytes) -> tuple[Layer, Part | None]:
    length = _number(data, 4)
    fields = {"from": _ip(data[8:24]), "to": _ip(data[24:40]), "hops": data[7], "length": length}
    if data[0] >> 4 != 6:
        return fields | {"broken": "version"}, None
    return fields, Part(PROTOCOLS.get(data[6], f"next header {data[6]}"), data[40 : 40 + length])


def _icmp(data: bytes) -> tuple[Layer, Part | None]:
    return _icmp_fields(data, ICMP_TYPES, (0, 8)), Part("payload", data[8:])


def _icmpv6(data: bytes) -> tuple[Layer, Part | None]:
    return _icmp_fields(data, ICMPV6_TYPES, (128, 129)), Part("payload", data[8:])


def _icmp_fields(data: bytes, types: dict[int, str], echoes: tuple[int, int]) -> Layer:
    fields: Layer = {"type": types.get(data[0], str(data[0])), "code": data[1]}
    return fields | ({"id": _number(data, 4), "sequence": _number(data, 6)} if data[0] in echoes else {})


def _udp(data: bytes) -> tuple[Layer, Part | None]:
    return {"from_port": _number(data, 0), "to_port": _number(data, 2), "length": _number(data, 4)}, Part("payload", data[8:])


def _tcp(data: bytes) -> tuple[Layer, Part | None]:
    flags = [name for bit, name in enumerate(TCP_FLAGS) if data[13] >> bit & 1]
    ports = {"from_port": _number(data, 0), "to_port": _number(data, 2)}
    numbers = {"sequence": int.from_bytes(data[4:8]), "acknowledged": int.from_bytes(data[8:12]), "window": _number(data, 14)}
    return ports | numbers | {"flags": flags}, Part("payload", data[max(20, (data[12] >> 4) * 4) :])


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _ip(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


DECODERS = {
    "Ethernet": _ethernet,
    "ARP": _arp,
    "IPv4": _ipv4,
    "IPv6": _ipv6,
    "ICMP": _icmp,
    "ICMPv6": _icmpv6,
    "UDP": _udp,
    "TCP": _tcp,
}
SHORTEST = {"Ethernet": 14, "ARP": 28, "IPv4": 20, "IPv6": 40, "ICMP": 8, "ICMPv6": 8, "UDP": 8, "TCP": 20}
