"""
Malformed frames: truncated and lying headers, wrong checksums, random bytes. The same seed gives the same frames.

They come from a host of their own, so that what they teach the target about it cannot spoil the answers that our host is owed.

Next: `kinds.py`, which sends an honest ARP and ping after them.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

from replies import Hosts
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, in6_getnsma, in6_getnsmac
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

TOTAL = 4096
LIAR_MAC = "02:00:00:00:00:6c"
ETHERTYPES = (0x0000, 0x0042, 0x05DC, 0x0600, 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8, 0xFFFF)


def liar(address: bytes) -> str:
    """Name the liar's address: beside ours, so that the target takes it for a neighbour."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address[:-1] + bytes((address[-1] ^ 0x9B,)))


def arp_lies(hosts: Hosts) -> Iterator[Packet]:
    """Describe ARP with wrong types, lengths and operations."""
    packet = Ether(dst="ff:ff:ff:ff:ff:ff", src=LIAR_MAC) / ARP(
        hwsrc=LIAR_MAC, psrc=liar(hosts.source), hwdst="00:00:00:00:00:00", pdst=socket.inet_ntoa(hosts.target)
    )
    yield packet
    lies = {"hwtype": (0, 6, 65535), "ptype": (0, 0x86DD), "hwlen": (0, 5, 255), "plen": (0, 3, 16, 255), "op": (0, 2, 9)}
    for name, values in lies.items():
        for value in values:
            lie = packet.copy()
            lie[ARP].setfieldval(name, value)
            # With scapy's own idea of the lengths the addresses would be cut to fit the lie.
            yield Ether(bytes(packet)[:14]) / Raw(bytes(lie[ARP])[:8] + bytes(packet[ARP])[8:])


def ip_lies(hosts: Hosts) -> Iterator[Packet]:
    """Describe echo requests with wrong versions, header lengths, total lengths, fragments, options and checksums."""
    ether = Ether(dst=hosts.target_mac.hex(":"), src=LIAR_MAC)
    source, target = liar(hosts.source), socket.inet_ntoa(hosts.target)
    body = ICMP(id=1, seq=1) / Raw(bytes(range(56)))
    yield ether / IP(src=source, dst=target) / body
    lies: dict[str, tuple[object, ...]] = {
        "version": (0, 3, 5, 6, 15),
        "ihl": (*range(5), *range(6, 16)),
        "len": (0, 1, 19, 20, 21, 27, 83, 85, 1500, 65535),
        "flags": ("MF", "evil", "MF+DF+evil"),
        "frag": (1, 185, 8191),
        "chksum": (0, 0xFFFF, 0xDEAD),
        "proto": (0, 2, 6, 17, 58, 255),
        "ttl": (0,),
        "src": ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", target),
        "dst": ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"),
    }
    for name, values in lies.items():
        for value in values:
            yield ether / IP(**{"src": source, "dst": target, name: value}) / body
    for checksum in (0, 0xFFFF, 0xDEAD):
        yield ether / IP(src=source, dst=target) / ICMP(id=1, seq=1, chksum=checksum) / Raw(bytes(56))
    for options in (b"\x44", b"\x07\x00\x04\x00", b"\x83\xff\x04\x00", b"\x94\x01\x00\x00", b"\xff" * 40):
        lie = bytes(IP(src=source, dst=target, ihl=5 + (len(options) + 3) // 4) / Raw(options.ljust((len(options) + 3) // 4 * 4, b"\0")))
        yield ether / Raw(lie + bytes(body))


def ip6_lies(hosts: Hosts) -> Iterator[Packet]:
    """Describe echo requests and solicitations with wrong lengths, hop limits, options, chains and checksums."""
    ether = Ether(dst=hosts.target_mac.hex(":"), src=LIAR_MAC)
    source, target = liar(hosts.source6), socket.inet_ntop(socket.AF_INET6, hosts.target6)
    echo = ICMPv6EchoRequest(id=1, seq=1, data=bytes(range(56)))
    yield ether / IPv6(src=source, dst=target) / echo
    lies: dict[str, tuple[object, ...]] = {
        "version": (0, 4, 15),
        "plen": (0, 1, 7, 8, 63, 65, 1500, 65535),
        "nh": (0, 6, 17, 43, 44, 51, 59, 60, 255),
        "hlim": (0,),
        "src": ("::", "::1", "ff02::1", target),
        "dst": ("::", "::1", "ff02::1"),
    }
    for name, values in lies.items():
        for value in values:
            yield ether / IPv6(**{"src": source, "dst": target, name: value}) / echo
    for checksum in (0, 0xFFFF, 0xDEAD):
        yield ether / IPv6(src=source, dst=target) / ICMPv6EchoRequest(id=1, seq=1, cksum=checksum, data=bytes(56))
    group = in6_getnsma(hosts.target6)
    ether = Ether(dst=in6_getnsmac(group), src=LIAR_MAC)
    group_text = socket.inet_ntop(socket.AF_INET6, group)
    for hop_limit, code, length in ((255, 0, 1), (64, 0, 1), (255, 1, 1), (255, 0, 0), (255, 0, 2), (255, 0, 255)):
        body = ICMPv6ND_NS(tgt=target, code=code) / ICMPv6NDOptSrcLLAddr(lladdr=LIAR_MAC, len=length)
        yield ether / IPv6(src=source, dst=group_text, hlim=hop_limit) / body
    for asked in ("::", "ff02::1", "::1"):
        yield ether / IPv6(src=source, dst=group_text, hlim=255) / ICMPv6ND_NS(tgt=asked)


def flipped(frame: bytes, rng: random.Random) -> bytes:
    """Overwrite one to eight bytes after the Ethernet header, and sometimes cut the rest or add to it."""
    lie = bytearray(frame)
    for _ in range(rng.randint(1, 8)):
        lie[rng.randrange(14, len(lie))] = rng.randrange(256)
    if rng.random() < 0.3:
        lie[rng.randrange(14, len(lie)) :] = rng.randbytes(rng.randrange(64))
    return bytes(lie)


def noise(hosts: Hosts, mtu: int, rng: random.Random) -> bytes:
    """Make a frame of random bytes behind an Ethernet header that gets it as far as possible."""
    to = rng.choice((hosts.target_mac, b"\xff" * 6, b"\x33\x33\xff" + hosts.target6[13:]))
    kind = rng.choice((*ETHERTYPES, rng.randrange(65536)))
    return to + bytes.fromhex(LIAR_MAC.replace(":", "")) + kind.to_bytes(2, "big") + rng.randbytes(rng.randrange(rng.choice((64, mtu + 1))))


def malformed_frames(hosts: Hosts, mtu: int, seed: int) -> list[bytes]:
    """
    Make TOTAL frames: every described lie, every truncation of an honest frame, and random damage for the rest, shuffled.

    Args:
        hosts: our host and the target.
        mtu: no frame is longer than this + 14.
        seed: the same seed gives the same frames.
    """
    rng = random.Random(seed)
    described = [[bytes(packet) for packet in lies(hosts)] for lies in (arp_lies, ip_lies, ip6_lies)]
    honest = [lies[0] for lies in described]
    frames = [frame for lies in described for frame in lies[1:]]
    frames += [frame[:length] for frame in honest for length in range(14, len(frame))]
    while len(frames) < TOTAL:
        frame = flipped(rng.choice(honest), rng) if rng.random() < 0.7 else noise(hosts, mtu, rng)
        # Damage can make the liar's address ours by chance; the target would then rightly send our answers to the liar, or his to us.
        if not any(address in frame for address in hosts[:3]):
            frames.append(frame)
    rng.shuffle(frames)
    return frames
