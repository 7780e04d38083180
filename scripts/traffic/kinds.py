"""
The kinds of traffic: what each sends, described with scapy, and which answers it is owed.

Each packet is described once and built to bytes; only bytes are sent. What scapy would build anew for each echo request (sequence
number, checksum) is patched into the bytes.

Next: `malformed.py` for the hostile ones, `replies.py` for what is checked in an answer.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from malformed import malformed_frames
from replies import Hosts, Request
from scapy.error import Scapy_Exception
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, in6_getnsma, in6_getnsmac
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader

BROADCAST = "ff:ff:ff:ff:ff:ff"
STRANGER_MAC = "02:00:00:00:00:99"
LOCAL_EXPERIMENTAL = 0x88B5
ECHO_ID = 0x7663
ETHERNET = 1
REPLAY_MAX = 1_000_000


class Setup(NamedTuple):
    """What a kind is built from."""

    hosts: Hosts
    mtu: int
    seed: int
    file: str | None = None


class Batch(NamedTuple):
    """
    What a kind sends: first `frames`, over and over up to the count, then `requests`, each of which must be answered.

    Attributes:
        frames: may be empty; then the requests have no end and the count cuts them.
        usual: the count if nobody asks for another.
    """

    frames: Sequence[bytes]
    requests: Iterable[Request]
    usual: int


class Kind(NamedTuple):
    """One row of the table: what it is, how it is built, and how it is sent and judged."""

    help: str
    build: Callable[[Setup], Batch]
    bypass: bool = False
    judged: bool = True


class BadFile(Exception):
    """The capture file cannot be replayed; says why."""


def text_mac(mac: bytes) -> str:
    """Write a MAC the way scapy wants it."""
    return mac.hex(":")


def text_ip(address: bytes) -> str:
    """Write an IPv4 or IPv6 address the way scapy wants it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def ether(hosts: Hosts, destination: str | None = None) -> Packet:
    """Describe the Ethernet header from our host to the target, or to `destination`."""
    return Ether(dst=destination or text_mac(hosts.target_mac), src=text_mac(hosts.source_mac))


def who_has(hosts: Hosts) -> Request:
    """Ask for the target's MAC by ARP."""
    source = text_ip(hosts.source)
    frame = ether(hosts, BROADCAST) / ARP(op="who-has", hwsrc=text_mac(hosts.source_mac), psrc=source, pdst=text_ip(hosts.target))
    is_at = b"\0\1\x08\0\6\4\0\2" + hosts.target_mac + hosts.target + hosts.source_mac + hosts.source
    return Request(bytes(frame), hosts.target_mac + b"\x08\x06" + is_at)


def solicit(hosts: Hosts) -> Request:
    """Ask for the target's MAC by neighbour solicitation, at its solicited-node multicast address."""
    group = in6_getnsma(hosts.target6)
    header = IPv6(src=text_ip(hosts.source6), dst=text_ip(group), hlim=255)
    body = ICMPv6ND_NS(tgt=text_ip(hosts.target6)) / ICMPv6NDOptSrcLLAddr(lladdr=text_mac(hosts.source_mac))
    key = hosts.target_mac + hosts.target6 + hosts.source6 + hosts.target6 + b"\2\1" + hosts.target_mac
    return Request(bytes(ether(hosts, in6_getnsmac(group)) / header / body), key)


def numbered(frame: bytes, at: int, number: int) -> bytes:
    """
    Set the sequence number of an echo request and put its checksum right.

    Args:
        frame: an echo request with sequence number 0.
        at: where its ICMP header starts.
        number: the sequence number, 16 bits.

    Returns:
        A new frame; the checksum is updated as in RFC 1624, not computed again.
    """
    total = (~int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFFF) + number
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return b"".join((frame[: at + 2], struct.pack("!H", total), frame[at + 4 : at + 6], struct.pack("!H", number), frame[at + 8 :]))


def payloads(longest: int) -> Iterator[bytes]:
    """Make payloads to be echoed: usual, none, one byte, odd, and as long as a frame can carry."""
    for size in (56, 0, 1, 255, longest):
        yield bytes(itertools.islice(itertools.cycle(range(256)), min(size, longest)))


def echoes(templates: Sequence[bytes], at: int, prefix: bytes) -> Iterator[Request]:
    """Number the templates without end; `prefix` and the request's own bytes are what the answer must show."""
    for number in itertools.count():
        frame = numbered(templates[number % len(templates)], at, number % 0x10000)
        yield Request(frame, prefix + frame[at + 4 :])


def pings(hosts: Hosts, mtu: int) -> Iterator[Request]:
    """Ping the target by IPv4, without end."""
    header = ether(hosts) / IP(src=text_ip(hosts.source), dst=text_ip(hosts.target))
    templates = [bytes(header / ICMP(id=ECHO_ID, seq=0) / Raw(payload)) for payload in payloads(mtu - 28)]
    return echoes(templates, 34, hosts.target_mac + hosts.target + hosts.source)


def pings6(hosts: Hosts, mtu: int) -> Iterator[Request]:
    """Ping the target by IPv6, without end."""
    header = ether(hosts) / IPv6(src=text_ip(hosts.source6), dst=text_ip(hosts.target6))
    templates = [bytes(header / ICMPv6EchoRequest(id=ECHO_ID, seq=0, data=payload)) for payload in payloads(mtu - 48)]
    return echoes(templates, 54, hosts.target_mac + hosts.target6 + hosts.source6)


def arp(setup: Setup) -> Batch:
    """ARP requests."""
    return Batch((), itertools.repeat(who_has(setup.hosts)), 1000)


def ping(setup: Setup) -> Batch:
    """Echo requests of several sizes."""
    return Batch((), pings(setup.hosts, setup.mtu), 1000)


def ping6(setup: Setup) -> Batch:
    """One neighbour solicitation, then echo requests of several sizes."""
    return Batch((), itertools.chain((solicit(setup.hosts),), pings6(setup.hosts, setup.mtu)), 1000)


def flood(setup: Setup) -> Batch:
    """Small UDP datagrams to the discard port, as fast as it goes."""
    header = ether(setup.hosts) / IP(src=text_ip(setup.hosts.source), dst=text_ip(setup.hosts.target))
    frames = [bytes(header / UDP(sport=40000 + i, dport=9) / Raw(i.to_bytes(18, "big"))) for i in range(64)]
    return Batch(frames, (), 100_000)


def sizes(setup: Setup) -> Batch:
    """One frame of every length; those longer than MTU + 14 carry the VLAN tag without which the kernel refuses them."""
    plain = bytes(ether(setup.hosts) / Raw())[:12] + LOCAL_EXPERIMENTAL.to_bytes(2, "big")
    tagged = bytes(ether(setup.hosts) / Dot1Q(vlan=1, type=LOCAL_EXPERIMENTAL))
    padding = bytes(range(256)) * (setup.mtu // 256 + 1)
    frames = [(plain if length <= setup.mtu + 14 else tagged) + padding for length in range(14, setup.mtu + 19)]
    frames = [frame[:length] for length, frame in enumerate(frames, 14)]
    return Batch(frames, (), len(frames))


def vlan(setup: Setup) -> Batch:
    """ARP and echo requests in single and stacked tags; an untagged host must answer none of them."""
    hosts = setup.hosts
    request = ARP(op="who-has", hwsrc=text_mac(hosts.source_mac), psrc=text_ip(hosts.source), pdst=text_ip(hosts.target))
    echo = IP(src=text_ip(hosts.source), dst=text_ip(hosts.target)) / ICMP(id=ECHO_ID) / Raw(bytes(32))
    tags: list[Packet] = [Dot1Q(vlan=vid, prio=prio) for vid in (1, 2, 100, 4094) for prio in (0, 7)]
    tags += [outer(vlan=10) / Dot1Q(vlan=vid) for outer in (Dot1AD, Dot1Q) for vid in (1, 4094)]
    tags.append(Dot1AD(vlan=10) / Dot1AD(vlan=20) / Dot1Q(vlan=30))
    frames = [bytes(ether(hosts, to) / tag / inner) for tag in tags for to, inner in ((BROADCAST, request), (None, echo))]
    return Batch(frames, (), len(frames))


def mix(setup: Setup) -> Batch:
    """Broadcast, multicast and unicast, to the target and to others; nothing that the target must answer."""
    hosts = setup.hosts
    source, source6 = text_ip(hosts.source), text_ip(hosts.source6)
    other, other6 = text_ip(hosts.target[:3] + b"\xfa"), text_ip(hosts.target6[:15] + b"\xfa")
    hello = UDP(sport=40000, dport=9) / Raw(b"hello" * 20)
    described = (
        ether(hosts, BROADCAST) / ARP(op="who-has", hwsrc=text_mac(hosts.source_mac), psrc=source, pdst=other),
        ether(hosts, BROADCAST) / IP(src=source, dst="255.255.255.255") / hello,
        ether(hosts, "01:00:5e:00:00:fb") / IP(src=source, dst="224.0.0.251", ttl=1) / hello,
        ether(hosts, "33:33:00:00:00:01") / IPv6(src=source6, dst="ff02::1", hlim=1) / hello,
        ether(hosts, "33:33:ff:00:00:fa") / IPv6(src=source6, dst="ff02::1:ff00:fa", hlim=255) / ICMPv6ND_NS(tgt=other6),
        Dot3(dst="01:80:c2:00:00:00", src=text_mac(hosts.source_mac)) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(),
        Ether(dst="01:80:c2:00:00:0e", src=text_mac(hosts.source_mac), type=0x88CC) / Raw(b"\0\0"),
        ether(hosts, STRANGER_MAC) / IP(src=source, dst=other) / ICMP(id=ECHO_ID) / Raw(bytes(56)),
        ether(hosts, STRANGER_MAC) / IPv6(src=source6, dst=other6) / ICMPv6EchoRequest(id=ECHO_ID, data=bytes(56)),
        ether(hosts) / IP(src=source, dst=text_ip(hosts.target)) / hello,
        Ether(dst=text_mac(hosts.target_mac), src=text_mac(hosts.source_mac), type=LOCAL_EXPERIMENTAL) / Raw(bytes(46)),
    )
    return Batch([bytes(packet) for packet in described], (), 1000)


def malformed(setup: Setup) -> Batch:
    """Frames that lie about themselves; after them one ARP and one echo request that must still be answered."""
    hosts = setup.hosts
    alive = (who_has(hosts), next(pings(hosts, setup.mtu)))
    return Batch(malformed_frames(hosts, setup.mtu, setup.seed), alive, 4096)


def replay(setup: Setup) -> Batch:
    """The frames of a capture file, without its timing."""
    frames: list[bytes] = []
    try:
        # Opened here: scapy's reader leaves a file open that it does not understand.
        with open(setup.file or "", "rb") as file, RawPcapReader(file) as capture:
            for data, meta in itertools.islice(capture, REPLAY_MAX):
                # pcapng names the link type with each packet, pcap once.
                if getattr(meta, "linktype", getattr(capture, "linktype", None)) != ETHERNET:
                    raise BadFile("it holds other frames than Ethernet")
                frames.append(data)
    except (OSError, EOFError, struct.error, Scapy_Exception) as error:
        raise BadFile(f"it is no readable pcap or pcapng file: {error}") from None
    if not frames:
        raise BadFile("it holds no frame")
    return Batch(frames, (), len(frames))


KINDS: dict[str, Kind] = {
    "arp": Kind("ARP requests, each to be answered", arp),
    "ping": Kind("IPv4 echo requests, each to be answered", ping),
    "ping6": Kind("neighbour solicitation and IPv6 echo requests, each to be answered", ping6),
    "flood": Kind("small UDP datagrams past the queueing discipline, as fast as it goes", flood, bypass=True),
    "sizes": Kind("one frame of every length from 14 to MTU + 18", sizes),
    "vlan": Kind("single and stacked VLAN tags", vlan),
    "mix": Kind("broadcast, multicast, unicast to the target and to others", mix),
    "malformed": Kind("truncated and lying headers, random bytes; then one ARP and one ping to be answered", malformed),
    "replay": Kind("the frames of a capture file (--file)", replay, judged=False),
}
"""THE table of kinds, in the order in which `all` sends them; `all` leaves replay out."""
