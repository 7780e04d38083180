"""
Arp: answer ARP requests for our IPv4 addresses (RFC 826). A request that is not exactly right is ignored.

The replies show the life of a sent packet: allocated from the driver's own pool, written, sent, and freed by whoever has it last.

Next: `protocol/icmp_echo.py`, which answers pings.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface
from threading import Lock

from vnic import Packet, PacketFilter, PacketPool, ProtocolDriver, Status

ETHERTYPE = 0x0806
LENGTH = 42
REQUEST = bytes.fromhex("0001 0800 06 04 0001")
REPLY = bytes.fromhex("0001 0800 06 04 0002")
"""Ethernet, IPv4, their address lengths, and the operation."""
NOBODY, ANY = bytes(6), bytes(4)


class Arp(ProtocolDriver):
    """
    Answer ARP requests, learn nothing.

    Attributes:
        addresses: the IPv4 addresses that are answered for, 4 bytes each.
        answered: replies sent, or queued to be sent.
        dropped: replies given up, because no packet was free or the send was refused.
    """

    packet_filter = PacketFilter.DIRECTED | PacketFilter.BROADCAST

    def __init__(self, *, address: str | None = None) -> None:
        """
        Check the address.

        Args:
            address: the IPv4 address to answer for, "10.0.0.2" or "10.0.0.2/24"; without it, those of the adapter.

        Raises:
            ValueError: it is no IPv4 address of one station.
        """
        self.configured = address is not None
        self.answer_for(() if address is None else (parse(address),))
        self.answered = 0
        self.dropped = 0

    def bind_adapter(self) -> None:
        """Make the pool that replies are sent from."""
        if not self.configured:
            self.answer_for([parse(text) for text in self.binding.network_addresses if ":" not in text])
        self.lock, self.unbinding = Lock(), False
        self.pool = PacketPool(16, 64, name="arp")

    def answer_for(self, interfaces: Iterable[IPv4Interface]) -> None:
        """Remember our addresses, and those that no station of our networks has."""
        self.addresses = {interface.packed for interface in interfaces}
        networks = [interface.network for interface in interfaces if interface.network.prefixlen < 31]
        self.no_station = {end.packed for network in networks for end in (network.network_address, network.broadcast_address)}

    def is_station(self, mac: bytes, address: bytes) -> bool:
        """Whether these can be the addresses of one other station, or of one that asks whether an address is taken (RFC 5227)."""
        if mac[0] & 1 or mac in (NOBODY, self.binding.address) or address in self.addresses or address in self.no_station:
            return False
        return address == ANY or (0 < address[0] < 224 and address[0] != 127)

    def unbind_adapter(self) -> Status:
        """Close the pool; below a filter sends may be pending still, then it is closed with the last of them."""
        with self.lock:
            self.unbinding = waits = self.pool.usage > 0
        if waits:
            return Status.PENDING
        self.pool.close()
        return Status.SUCCESS

    def receive_packet(self, packet: Packet) -> int:
        """Answer a request; the packet is not kept."""
        if packet.ethertype != ETHERTYPE or packet.length < LENGTH:
            return 0
        frame = bytes(packet.data[:LENGTH])
        sender, sender_ip, target_ip = frame[22:28], frame[28:32], frame[38:42]
        if frame[14:22] != REQUEST or target_ip not in self.addresses:
            return 0
        us = self.binding.address
        if frame[6] & 1 or frame[6:12] in (NOBODY, us) or not self.is_station(sender, sender_ip):
            return 0  # there is nobody to answer
        self.send(sender + us + ETHERTYPE.to_bytes(2) + REPLY + us + target_ip + sender + sender_ip)
        return 0

    def send(self, frame: bytes) -> None:
        """Send a frame in a packet of our own; it is freed here, unless the send is pending."""
        packet = self.pool.allocate()
        if packet is None:
            self.count(sent=False)
            return
        packet.write(frame)
        status = self.binding.send(packet)
        if status != Status.PENDING:
            self.give_back(packet)
        self.count(sent=status in (Status.SUCCESS, Status.PENDING))

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
        with self.lock:
            self.pool.free(packet)
            last = self.unbinding and self.pool.usage == 0
            self.unbinding = self.unbinding and not last
        if last:
            self.pool.close()
            self.binding.complete_unbind()


def parse(text: str) -> IPv4Interface:
    """
    Read an IPv4 address, with or without a prefix length.

    Raises:
        ValueError: it is no IPv4 address of one station.
    """
    try:
        interface = IPv4Interface(text.strip())
    except ValueError:
        raise ValueError(f"address {text!r} is no IPv4 address: write 10.0.0.2 or 10.0.0.2/24") from None
    if not 0 < interface.packed[0] < 224:
        raise ValueError(f"address {text!r} belongs to no single station: give one that does")
    return interface
