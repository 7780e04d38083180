"""
IcmpEcho: answer pings, over IPv4 (RFC 792) and IPv6 (RFC 4443), and the neighbour solicitations that come before them (RFC 4861).

A reply is a fresh header and the message that came, with its checksum adjusted, not computed anew. What is alike in all pings of one
station is looked at once. Fragments, IPv6 extension headers and VLAN tags are not for us; IPv4 options are skipped, and the reply has none.

Next: `protocol/capture.py`, which writes what it sees to a file.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from threading import Lock

from vnic import Packet, PacketFilter, PacketPool, ProtocolDriver, Status, slot_size_for

ICMP, ICMPV6 = 1, 58
IPV4 = struct.Struct("!BBHHHBBH4s4s")
VARYING = struct.Struct("!18xH4xH10xH")
"""Of a frame with an IPv4 header of 20 bytes: its identification, its checksum, and the checksum of the message."""
MOST_KNOWN = 256
SUCCESS, PENDING = Status.SUCCESS, Status.PENDING
"""An enumeration takes 250 instructions to find one of its members."""
ECHO_REQUEST, ECHO_REQUEST_V6, SOLICITATION = b"\x08\x00", b"\x80\x00", b"\x87\x00"
"""Type and code, the first two bytes of a message."""
TAGGED_HEADER = 18
"""Bytes that a frame may have beside the MTU."""
UNSPECIFIED, LOCALHOST = bytes(16), bytes(15) + b"\x01"
ALL_NODES = bytes.fromhex("ff02 0000 0000 0000 0000 0000 0000 0001")
SOLICITED_NODE = bytes.fromhex("ff02 0000 0000 0000 0000 0001 ff")
SOLICITED, OVERRIDE = 0x40, 0x20
SOURCE_LINK_LAYER, TARGET_LINK_LAYER = 1, 2


class IcmpEcho(ProtocolDriver):
    """
    Answer echo requests and neighbour solicitations.

    Attributes:
        ours: the addresses that are answered for, 4 or 16 bytes each.
        answered: replies sent, or queued to be sent.
        dropped: replies given up, because no packet was free, the send was refused, or they are longer than the MTU allows.
    """

    packet_filter = PacketFilter.DIRECTED | PacketFilter.MULTICAST

    def __init__(self, *, address: str | None = None) -> None:
        """
        Check the addresses.

        Args:
            address: what to answer for, "10.0.0.2/24" or "10.0.0.2/24,fd00::2/64"; without it, the addresses of the adapter.
                The link-local IPv6 address is always answered for.

        Raises:
            ValueError: one of them is no address of one station.
        """
        self.interfaces = [] if address is None else [parse(text) for text in address.split(",")]
        self.answered = 0
        self.dropped = 0

    def bind_adapter(self) -> None:
        """Make the pool that replies are sent from, and ask for the groups in which solicitations come."""
        interfaces = self.interfaces or [parse(text) for text in self.binding.network_addresses]
        us = self.binding.address
        self.link_local = b"\xfe\x80" + bytes(6) + bytes([us[0] ^ 2]) + us[1:3] + b"\xff\xfe" + us[3:]
        self.known: dict[bytes, tuple[int, int, bytes]] = {}
        self.ours = frozenset([self.link_local, *(interface.packed for interface in interfaces)])
        networks = [interface.network for interface in interfaces if interface.version == 4 and interface.network.prefixlen < 31]
        ends = (end.packed for network in networks for end in (network.network_address, network.broadcast_address))
        self.never_answered = self.ours.union(ends, [LOCALHOST])
        self.no_station = frozenset([us, bytes(6)])
        self.longest = self.binding.mtu + TAGGED_HEADER
        groups = {ALL_NODES, *(SOLICITED_NODE + address[13:] for address in self.ours if len(address) == 16)}
        self.binding.multicast_list = tuple(sorted(multicast_mac(group) for group in groups))
        self.lock, self.unbinding = Lock(), False
        self.pool = PacketPool(32, slot_size_for(self.binding.mtu), name="icmp_echo")

    def unbind_adapter(self) -> Status:
        """Close the pool; below a filter sends may be pending still, then it is closed with the last of them."""
        with self.lock:
            # whoever gives a packet back from here on looks at the pool himself, when the lock is his
            self.unbinding = True
            self.unbinding = waits = self.pool.usage > 0
        if waits:
            return Status.PENDING
        self.pool.close()
        return Status.SUCCESS

    def receive_packet(self, packet: Packet) -> int:
        """Answer a request; the packet is not kept."""
        ethertype, reply = packet.ethertype, b""
        if ethertype == 0x0800:
            reply = self.answer_ipv4(bytes(packet.data))
        elif ethertype == 0x86DD:
            reply = self.answer_ipv6(bytes(packet.data))
        if reply and len(reply) <= self.longest:
            self.send(reply)
        elif reply:
            # the interface may have a larger MTU than the adapter, and let in what cannot go out
            self.count(sent=False)
        return 0

    def answer_ipv4(self, frame: bytes) -> bytes:
        """Make the reply to an echo request over IPv4; nothing for any other frame."""
        if len(frame) < 42:
            return b""
        # all but what differs from ping to ping; with it, a request was answered before
        alike = frame[:18] + frame[20:24] + frame[26:36]
        known = self.known.get(alike)
        if known is None:
            return self.answer_first(frame, alike)
        rest, end, header = known
        identification, header_sum, message_sum = VARYING.unpack_from(frame)
        if len(frame) < end or (rest + identification + header_sum) % 0xFFFF or int.from_bytes(frame[34:end]) % 0xFFFF:
            return b""
        return self.reply_ipv4(frame, header, message_sum, frame[38:end])

    def answer_first(self, frame: bytes, alike: bytes) -> bytes:
        """Make the reply to a request as there was none before, and remember what will be alike in the next one."""
        version, service, total_size, _, fragment, _, protocol, _, source, target = IPV4.unpack_from(frame, 14)
        if version >> 4 != 4 or protocol != ICMP or (frame[0] | frame[6]) & 1 or frame[6:12] in self.no_station:
            return b""
        at, end = 14 + (version & 15) * 4, 14 + total_size
        if at < 34 or not at + 8 <= end <= len(frame) or fragment & 0x3FFF:
            return b""
        if target not in self.ours or source in self.never_answered or source[0] in (0, 127) or source[0] >= 224:
            return b""
        message = frame[at:end]
        if message[:2] != ECHO_REQUEST or int.from_bytes(frame[14:at]) % 0xFFFF or int.from_bytes(message) % 0xFFFF:
            return b""
        header = ipv4_header(service, 20 + len(message), target, source)
        if at == 34:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[alike] = int.from_bytes(frame[14:18] + frame[20:24] + frame[26:34]) % 0xFFFF, end, header
        return self.reply_ipv4(frame, header, int.from_bytes(message[2:4]), message[4:])

    def reply_ipv4(self, frame: bytes, header: bytes, message_sum: int, rest: bytes) -> bytes:
        """Put a reply together."""
        # the type goes from 8 to 0; a message of nothing but zeros has checksum 0xFFFF, and 0 would be wrong (RFC 1624)
        adjusted = (message_sum + 0x0800) % 0xFFFF or 0xFFFF
        return b"".join((frame[6:12], self.binding.address, header, adjusted.to_bytes(2), rest))

    def answer_ipv6(self, frame: bytes) -> bytes:
        """Make the reply to an echo request or a solicitation over IPv6; nothing for any other frame."""
        if len(frame) < 62 or frame[14] >> 4 != 6 or frame[20] != ICMPV6 or frame[6] & 1 or frame[6:12] in self.no_station:
            return b""
        source, target, message = frame[22:38], frame[38:54], frame[54 : 54 + int.from_bytes(frame[18:20])]
        if len(message) < 8 or len(message) != int.from_bytes(frame[18:20]) or source[0] == 0xFF or source in self.never_answered:
            return b""
        if (frame[0] & 1 and target[0] != 0xFF) or checksum(source + target + struct.pack("!II", len(message), ICMPV6) + message):
            return b""
        if message[:2] == ECHO_REQUEST_V6 and source != UNSPECIFIED:
            return self.echo_ipv6(frame[6:12], source, target, message)
        if message[:2] == SOLICITATION and frame[21] == 255:  # a lower hop limit has passed a router: no neighbour
            return self.advertise(frame[6:12], source, target, message)
        return b""

    def echo_ipv6(self, mac: bytes, source: bytes, target: bytes, message: bytes) -> bytes:
        """Answer an echo request to one of our addresses, or to all nodes."""
        us = self.link_local if target == ALL_NODES else target
        if us not in self.ours:
            return b""
        # the type goes from 128 to 129, and a group is no source
        adjusted = (int.from_bytes(message[2:4]) - 0x0100 + int.from_bytes(target) - int.from_bytes(us)) % 0xFFFF
        return self.ipv6(mac, us, source, 64, b"\x81\0" + adjusted.to_bytes(2) + message[4:])

    def advertise(self, mac: bytes, source: bytes, target: bytes, message: bytes) -> bytes:
        """Answer a solicitation of one of our addresses. One from :: asks whether the address is taken, and all nodes hear the answer."""
        wanted, options = message[8:24], option_types(message[24:])
        to_group = target == SOLICITED_NODE + wanted[13:]
        if len(wanted) < 16 or wanted not in self.ours or options is None or not (to_group or target in self.ours):
            return b""
        flags = SOLICITED | OVERRIDE
        if source == UNSPECIFIED:
            if not to_group or SOURCE_LINK_LAYER in options:
                return b""
            mac, source, flags = multicast_mac(ALL_NODES), ALL_NODES, OVERRIDE
        body = struct.pack("!I16sBB6s", flags << 24, wanted, TARGET_LINK_LAYER, 1, self.binding.address)
        check = checksum(wanted + source + struct.pack("!IIBBH", 4 + len(body), ICMPV6, 136, 0, 0) + body)
        return self.ipv6(mac, wanted, source, 255, struct.pack("!BBH", 136, 0, check) + body)

    def ipv6(self, mac: bytes, source: bytes, target: bytes, hop_limit: int, message: bytes) -> bytes:
        """Put a message into an IPv6 frame."""
        header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, hop_limit)
        return mac + self.binding.address + b"\x86\xdd" + header + source + target + message

    def send(self, frame: bytes) -> None:
        """Send a frame in a packet of our own; it is freed here, unless the send is pending."""
        packet = self.pool.allocate()
        if packet is None:
            self.count(sent=False)
            return
        packet.write(frame)
        status = self.binding.send(packet)
        if status is not PENDING:
            self.give_back(packet)
        if status is SUCCESS:
            # nearly always
            with self.lock:
                self.answered += 1
        else:
            self.count(sent=status is PENDING)

    def count(self, *, sent: bool) -> None:
        """Count a reply; with several queues they are sent by several threads."""
        with self.lock:
            self.answered += sent
            self.dropped += not sent

    def send_complete(self, packet: Packet, status: Status) -> None:
        """Free a packet whose send was pending."""
        self.give_back(packet)

    def give_back(self, packet: Packet) -> None:
        """Free a packet; if closing the pool waits for it, end that. Sends may come back on any thread."""
        self.pool.free(packet)
        if self.unbinding:
            self.end_unbind()

    def end_unbind(self) -> None:
        """End what `unbind_adapter` left pending, once, if no packet is out any more."""
        with self.lock:
            last = self.unbinding and self.pool.usage == 0
            self.unbinding = self.unbinding and not last
        if last:
            self.pool.close()
            self.binding.complete_unbind()


@lru_cache(256)
def ipv4_header(service: int, total_size: int, source: bytes, target: bytes) -> bytes:
    """Make what is alike in all replies of one size to one station, from the EtherType to the type of the message."""
    header = IPV4.pack(0x45, service, total_size, 0, 0x4000, 64, ICMP, 0, source, target)
    return b"\x08\x00" + header[:10] + checksum(header).to_bytes(2) + header[12:] + b"\0\0"


def checksum(data: bytes) -> int:
    """
    Compute the internet checksum (RFC 1071) of bytes whose checksum field is zero; of good bytes with their checksum, it is 0.

    Adding 16-bit words with end-around carry is arithmetic modulo 0xFFFF, and so is one big number modulo 0xFFFF. Good bytes may have
    an odd length, because a byte more or less only multiplies or divides the 0 by 256.
    """
    return -int.from_bytes(data) % 0xFFFF


def option_types(options: bytes) -> set[int] | None:
    """List the types of neighbour discovery options; None if one of them has no length, or is cut."""
    types, at = set(), 0
    while at < len(options):
        size = int.from_bytes(options[at + 1 : at + 2]) * 8
        if size == 0 or at + size > len(options):
            return None
        types.add(options[at])
        at += size
    return types


def multicast_mac(group: bytes) -> bytes:
    """Map an IPv6 group to its MAC address (RFC 2464)."""
    return b"\x33\x33" + group[12:]


def parse(text: str) -> IPv4Interface | IPv6Interface:
    """
    Read an address, with or without a prefix length.

    Raises:
        ValueError: it is no address of one station.
    """
    try:
        interface = ip_interface(text.strip())
    except ValueError:
        raise ValueError(f"address {text!r} is no IP address: write 10.0.0.2, 10.0.0.2/24 or fd00::2/64") from None
    address = interface.ip
    if address.is_multicast or address.is_unspecified or (address.version == 4 and not 0 < address.packed[0] < 224):
        raise ValueError(f"address {text!r} belongs to no single station: give one that does")
    return interface
