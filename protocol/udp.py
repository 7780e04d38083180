"""
Udp: UDP over IPv4 (RFC 768) for programs in this process, with the ARP that it needs. A transport: its clients see packets where they lie.

Datagrams come whole or not at all: fragments are refused, and none is sent. What is for a group, or from one, is refused too, and
nothing here answers what it refuses: no ICMP, so no storm of it. Who sends to us is remembered; who does not is asked for by ARP,
if it is on our network: there is no gateway.

Next: `vnic/tdi.py`, what a client is called with.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from threading import Condition
from typing import NamedTuple

from vnic import Packet, PacketFilter, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.tdi import Client, Endpoint, Upcalls
from vnic.timers import Timer

IPV4, ARP, UDP = b"\x08\x00", b"\x08\x06", 17
REQUEST = bytes.fromhex("0001 0800 06 04 0001")
REPLY = bytes.fromhex("0001 0800 06 04 0002")
"""Ethernet, IPv4, their address lengths, and the operation."""
NOBODY, ANY = bytes(6), bytes(4)
HEADERS = 28
MOST_STATIONS, STATION_SECONDS = 256, 60
MOST_UNRESOLVED, MOST_WAITING = 16, 16
ARP_TRIES, ARP_MS = 3, 1000
PACKETS = 256
CLOSE_SECONDS = 5.0
WELL_KNOWN = 1024

REFUSALS = ("partial", "length", "group", "header_checksum", "not_ours", "source", "fragment", "checksum", "no_port")
"""Why a datagram is not shown to any client."""
UNSENT = ("no_packet", "refused_below", "queue_full", "unresolved", "closing")
"""Why a datagram that was accepted by `send_to` did not go out, or was not accepted for lack of room."""


class Source(NamedTuple):
    """Who sent a datagram: address, port, and which of our addresses it was sent to."""

    address: str
    port: int
    to: str


class Datagram(NamedTuple):
    """Where a good datagram lies in its frame, whose it is, and for whom."""

    endpoints: tuple[Endpoint, ...]
    offset: int
    length: int
    source: Source


class Wait:
    """Datagrams that wait for a station's MAC address."""

    def __init__(self) -> None:
        self.tries = 1
        self.datagrams: list[bytes] = []


class Udp(ProtocolDriver):
    """
    UDP for programs: `open` a port for a client, `send_to` a station.

    Attributes:
        datagrams: UDP datagrams seen: delivered, refused by every client, waiting as copies, or dropped.
        dropped: those that no client saw, by reason.
        sent: datagrams handed down.
        unsent: datagrams lost on the way out, by reason.
        upcalls: the calls to clients: `delivered`, `refused` and `lost` are counted there.
    """

    packet_filter = PacketFilter.DIRECTED | PacketFilter.BROADCAST
    early_returns = True

    def __init__(self, *, address: str | None = None, echo: int | None = None, discard: int | None = None) -> None:
        """
        Check the options.

        Args:
            address: our IPv4 address, "10.0.0.2/24"; without it, those of the adapter. Without a prefix length, every station is on
                our network.
            echo: a port on which every datagram is sent back.
            discard: a port on which every datagram is taken and forgotten.

        Raises:
            ValueError: an option is no address of one station, or no port.
        """
        self.configured = [] if address is None else [parse(address)]
        self.interfaces: list[IPv4Interface] = []
        self.ours: dict[bytes, str] = {}
        self.ports: dict[int, tuple[Endpoint, ...]] = {}
        self.sending = 0
        self.stations: dict[bytes, tuple[bytes, int]] = {}
        self.waiting: dict[bytes, Wait] = {}
        self.bound = self.unbinding = False
        self.changed = Condition()
        self.timer = Timer(self.ask_again)
        if echo is not None:
            self.open(echo, Echo(self, echo))
        if discard is not None:
            self.open(discard, Discard())

    def bind_adapter(self) -> None:
        """Make the pool that is sent from, and begin to count."""
        self.interfaces = self.configured or [parse(text) for text in self.binding.network_addresses if ":" not in text]
        self.ours = {interface.packed: str(interface.ip) for interface in self.interfaces}
        networks = [interface.network for interface in self.interfaces if interface.network.prefixlen < 31]
        self.no_station = frozenset(address.packed for network in networks for address in ends(network))
        self.datagrams = self.sent = 0
        self.dropped, self.unsent = dict.fromkeys(REFUSALS, 0), dict.fromkeys(UNSENT, 0)
        self.upcalls = Upcalls(self.binding)
        self.pool = PacketPool(PACKETS, slot_size_for(self.binding.mtu), name="udp")
        self.bound = True

    def unbind_adapter(self) -> Status:
        """Ask clients for what they keep, and close the pool; with the last send, if below a filter some are pending still."""
        with self.changed:
            self.bound = False
            self.unsent["closing"] += sum(len(wait.datagrams) for wait in self.waiting.values())
            self.waiting.clear()
            self.stations.clear()
            self.timer.cancel()
            self.changed.wait_for(lambda: self.sending == 0, CLOSE_SECONDS)
        self.upcalls.close(endpoint for endpoints in self.ports.values() for endpoint in endpoints)
        with self.changed:
            self.unbinding = waits = self.pool.usage > 0
        if waits:
            return Status.PENDING
        self.pool.close()
        return Status.SUCCESS

    # for programs

    def open(self, port: int, client: Client) -> Endpoint:
        """
        Show every datagram to a port to a client from now on; several clients on one port all see it.

        Raises:
            ValueError: that is no port.
        """
        if not 0 < port < 0x10000:
            raise ValueError(f"port {port} is outside 1..65535")
        endpoint = Endpoint(client, port)
        with self.changed:
            self.ports[port] = (*self.ports.get(port, ()), endpoint)
        return endpoint

    def close(self, endpoint: Endpoint) -> None:
        """Show nothing more to a client; packets that it keeps it still returns."""
        endpoint.closed = True
        with self.changed:
            left = tuple(other for other in self.ports.get(endpoint.address, ()) if other is not endpoint)
            if left:
                self.ports[endpoint.address] = left
            else:
                self.ports.pop(endpoint.address, None)

    def send_to(self, address: str, port: int, data: bytes | memoryview, source_port: int, source: str | None = None) -> Status:
        """
        Send a datagram, from any thread; the data are copied.

        Args:
            address: the station.
            port: its port.
            data: what it is to receive.
            source_port: the port that it can answer to.
            source: which of our addresses it comes from; without it, the one on the station's network.

        Returns:
            SUCCESS: handed down. PENDING: it waits for an answer to an ARP request. INVALID_LENGTH: longer than the MTU allows.
            INVALID_ADDRESS: no station that can be reached, or no address of ours. RESOURCES: no packet, or too many wait.
            CLOSING: not bound. Or what `binding.send` answers.

        Raises:
            ValueError: that is no IPv4 address, or no port.
        """
        target, us = packed(address), self.from_which(address) if source is None else source
        if not 0 < port < 0x10000 or not 0 < source_port < 0x10000:
            raise ValueError(f"port {port} or {source_port} is outside 1..65535")
        if not self.bound:
            return Status.CLOSING
        if us is None or packed(us) not in self.ours or not self.is_station(target):
            return Status.INVALID_ADDRESS
        if len(data) > self.binding.mtu - HEADERS:
            return Status.INVALID_LENGTH
        made = make(packed(us), target, source_port, port, data)
        mac = self.station(target)
        if mac is not None:
            return self.send_datagram(mac, made)
        return Status.INVALID_ADDRESS if self.from_which(address) is None else self.wait_for(target, made)

    def counters(self) -> dict[str, int]:
        """Count what became of every datagram: `datagrams` is the sum of those that begin with "in_", if no one is in mid-flight."""
        with self.changed:
            inward = {
                "in_delivered": self.upcalls.delivered,
                "in_refused": self.upcalls.refused,
                "in_waiting": self.upcalls.waiting,
                "in_backlog": self.upcalls.lost,
            }
            refusals = {f"in_{reason}": count for reason, count in self.dropped.items()}
            outward = {f"out_{reason}": count for reason, count in self.unsent.items()}
            return {"datagrams": self.datagrams} | inward | refusals | {"sent": self.sent} | outward

    # the way in

    def receive_packet(self, packet: Packet) -> int:
        """Show a datagram to its clients, in the packet that it came in; they return it themselves."""
        found = self.look(bytes(packet.data))
        if found is None:
            return 0
        return self.upcalls.chained(found.endpoints, packet, found.offset, found.length, found.source)

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> Status:
        """Copy a datagram while packets are low; its clients hear of it when the batch is over."""
        frame = bytes(header) + bytes(lookahead)
        found = self.look(frame, whole=len(lookahead) == packet_size)
        if found is None:
            return Status.NOT_ACCEPTED
        self.upcalls.later(found.endpoints, frame[found.offset : found.offset + found.length], found.source)
        return Status.SUCCESS

    def receive_complete(self) -> None:
        """Deliver copies."""
        self.upcalls.deliver()

    def look(self, frame: bytes, *, whole: bool = True) -> Datagram | None:
        """Find the datagram in a frame and learn who sent it; None if there is none, or it is refused, which is counted."""
        if frame[12:14] == ARP:
            self.hear(frame)
            return None
        if frame[12:14] != IPV4 or len(frame) < 34 or frame[14] >> 4 != 4 or frame[23] != UDP:
            return None
        # a miniport that shows only the beginning of its frames is none for this driver: it does not ask for the rest
        found = self.read(frame) if whole else "partial"
        with self.changed:
            self.datagrams += 1
            if isinstance(found, str):
                self.dropped[found] += 1
                return None
        self.learn(frame[26:30], frame[6:12])
        return found

    def read(self, frame: bytes) -> Datagram | str:
        """Check a UDP datagram from its first byte to its last; answers the reason if it is refused."""
        header_size, total_size = (frame[14] & 15) * 4, int.from_bytes(frame[16:18])
        if header_size < 20 or not header_size <= total_size <= len(frame) - 14:
            return "length"
        if (frame[0] | frame[6]) & 1:
            return "group"
        if checksum(frame[14 : 14 + header_size]):
            return "header_checksum"
        source, to = frame[26:30], self.ours.get(frame[30:34])
        if to is None:
            return "not_ours"
        if not self.is_station(source) or self.is_nobody(frame[6:12]):
            return "source"
        if int.from_bytes(frame[20:22]) & 0x3FFF:
            return "fragment"
        start, end = 14 + header_size, 14 + total_size
        size = int.from_bytes(frame[start + 4 : start + 6])
        if not 8 <= size <= end - start:
            return "length"
        message = frame[start : start + size]
        if message[6:8] != b"\0\0" and checksum(frame[26:34] + struct.pack("!HH", UDP, size) + message):
            return "checksum"
        endpoints = self.ports.get(int.from_bytes(message[2:4]))
        if endpoints is None:
            return "no_port"
        return Datagram(endpoints, start + 8, size - 8, Source(text_of(source), int.from_bytes(message[:2]), to))

    # stations

    def is_station(self, address: bytes) -> bool:
        """Whether an address can be that of one other station."""
        return 0 < address[0] < 224 and address[0] != 127 and address not in self.ours and address not in self.no_station

    def is_nobody(self, mac: bytes) -> bool:
        """Whether a MAC address cannot be that of one other station."""
        return bool(mac[0] & 1) or mac in (NOBODY, self.binding.address)

    def from_which(self, address: str) -> str | None:
        """Which of our addresses is on the network of a station, or else is what it is known to write to; None if there is none."""
        target = IPv4Address(packed(address))
        near = [interface for interface in self.interfaces if target in interface.network or interface.network.prefixlen == 32]
        if not near and self.station(packed(address)) is not None:
            near = self.interfaces
        return str(near[0].ip) if near else None

    def station(self, address: bytes) -> bytes | None:
        """The MAC address of a station that was heard of lately."""
        with self.changed:
            # while it is heard of again, on another thread, it is not there for a moment
            found = self.stations.get(address)
        return None if found is None or found[1] < time.monotonic_ns() else found[0]

    def learn(self, address: bytes, mac: bytes) -> None:
        """Remember a station, the last that were heard of and for a time; send what waits for it."""
        with self.changed:
            self.stations.pop(address, None)
            self.stations[address] = mac, time.monotonic_ns() + STATION_SECONDS * 1_000_000_000
            if len(self.stations) > MOST_STATIONS:
                del self.stations[next(iter(self.stations))]
            wait = self.waiting.pop(address, None)
        for made in wait.datagrams if wait else ():
            self.send_datagram(mac, made)

    def wait_for(self, address: bytes, made: bytes) -> Status:
        """Keep a datagram until its station has answered; ask, if nobody has."""
        with self.changed:
            wait = self.waiting.get(address)
            if (wait is None and len(self.waiting) >= MOST_UNRESOLVED) or (wait is not None and len(wait.datagrams) >= MOST_WAITING):
                self.unsent["queue_full"] += 1
                return Status.RESOURCES
            if not self.bound:
                return Status.CLOSING
            if wait is None:
                self.waiting[address] = Wait()
                self.timer.set(ARP_MS)
            self.waiting[address].datagrams.append(made)
        if wait is None:
            self.ask(address)
        return Status.PENDING

    def ask(self, address: bytes) -> None:
        """Ask all stations who has an address."""
        us = packed(self.from_which(text_of(address)) or next(iter(self.ours.values())))
        self.send(b"\xff" * 6 + self.binding.address + ARP + REQUEST + self.binding.address + us + bytes(6) + address)

    def ask_again(self, _: object = None) -> None:
        """Ask for every station that has not answered; give up what waits for one that never does."""
        with self.changed:
            for address, wait in list(self.waiting.items()):
                wait.tries += 1
                if wait.tries > ARP_TRIES:
                    del self.waiting[address]
                    self.unsent["unresolved"] += len(wait.datagrams)
            unanswered = list(self.waiting)
            if unanswered and self.bound:
                self.timer.set(ARP_MS)
        for address in unanswered:
            self.ask(address)

    def hear(self, frame: bytes) -> None:
        """Answer an ARP request for one of our addresses, and learn from it; from a reply learn what was asked for."""
        if len(frame) < 42 or frame[14:22] not in (REQUEST, REPLY) or frame[38:42] not in self.ours:
            return
        mac, address = frame[22:28], frame[28:32]
        if self.is_nobody(frame[6:12]) or self.is_nobody(mac):
            return
        if frame[14:22] == REPLY:
            if address in self.waiting or address in self.stations:
                self.learn(address, mac)
            return
        if address != ANY and not self.is_station(address):
            return
        us = self.binding.address
        self.send(mac + us + ARP + REPLY + us + frame[38:42] + mac + address)
        if address != ANY:
            self.learn(address, mac)

    # the way out

    def send_datagram(self, mac: bytes, made: bytes) -> Status:
        """Send a datagram to a station, and count what became of it."""
        status = self.send(mac + self.binding.address + IPV4 + made)
        with self.changed:
            if status in (Status.SUCCESS, Status.PENDING):
                self.sent += 1
                return Status.SUCCESS
            reasons = {Status.RESOURCES: "no_packet", Status.CLOSING: "closing"}
            self.unsent[reasons.get(status, "refused_below")] += 1
            return status

    def send(self, frame: bytes) -> Status:
        """Send a frame in a packet of our own; it is freed here, unless the send is pending. Closing waits for it."""
        with self.changed:
            if not self.bound:
                return Status.CLOSING
            packet = self.pool.allocate()
            if packet is None:
                return Status.RESOURCES
            self.sending += 1
        try:
            packet.write(frame)
            status = self.binding.send(packet)
            if status != Status.PENDING:
                self.pool.free(packet)
        finally:
            with self.changed:
                self.sending -= 1
                self.changed.notify_all()
        return status

    def send_complete(self, packet: Packet, status: Status) -> None:
        """Free a packet whose send was pending; if closing the pool waits for it, end that."""
        with self.changed:
            self.pool.free(packet)
            last = self.unbinding and self.pool.usage == 0
            self.unbinding = self.unbinding and not last
        if last:
            self.pool.close()
            self.binding.complete_unbind()


class Echo(Client):
    """
    Send every datagram back. What comes from a well-known port is not answered: the two would answer each other for ever.
    """

    def __init__(self, udp: Udp, port: int) -> None:
        self.udp = udp
        self.port = port

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        """Answer from where the datagram lies."""
        return self.answer(tsdu.data[offset : offset + length], source)

    def receive(self, data: bytes, source: Source) -> Status:
        """Answer from a copy."""
        return self.answer(data, source)

    def answer(self, data: bytes | memoryview, source: Source) -> Status:
        """Send it back."""
        if source.port < WELL_KNOWN or source.port == self.port:
            return Status.NOT_ACCEPTED
        self.udp.send_to(source.address, source.port, data, self.port, source.to)
        return Status.SUCCESS


class Discard(Client):
    """Take every datagram and forget it."""

    def chained_receive(self, tsdu: Packet, offset: int, length: int, source: Source) -> Status:
        """Take it."""
        return Status.SUCCESS

    def receive(self, data: bytes, source: Source) -> Status:
        """Take it."""
        return Status.SUCCESS


def make(source: bytes, target: bytes, source_port: int, port: int, data: bytes | memoryview) -> bytes:
    """Put data into a UDP datagram over IPv4, with both checksums."""
    size = 8 + len(data)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 0, 0x4000, 64, UDP, 0, source, target)
    header = header[:10] + checksum(header).to_bytes(2) + header[12:]
    message = b"".join((struct.pack("!HHHH", source_port, port, size, 0), data))
    # a checksum of 0 says that there is none, and 0xFFFF is the same number
    check = checksum(source + target + struct.pack("!HH", UDP, size) + message) or 0xFFFF
    return b"".join((header, message[:6], check.to_bytes(2), data))


def checksum(data: bytes) -> int:
    """Compute the internet checksum (RFC 1071) of bytes, of any length; of good bytes with their checksum, it is 0."""
    return -int.from_bytes(data if len(data) % 2 == 0 else data + b"\0") % 0xFFFF


@lru_cache(MOST_STATIONS)
def packed(address: str) -> bytes:
    """
    Read the address of a station.

    Raises:
        ValueError: it is no IPv4 address.
    """
    try:
        return IPv4Address(address).packed
    except AddressValueError:
        raise ValueError(f"address {address!r} is no IPv4 address: write 10.0.0.2") from None


@lru_cache(MOST_STATIONS)
def text_of(address: bytes) -> str:
    """Write an address."""
    return str(IPv4Address(address))


def ends(network: IPv4Network) -> Iterable[IPv4Address]:
    """The first and the last address of a network, which are no stations."""
    return network.network_address, network.broadcast_address


def parse(text: str) -> IPv4Interface:
    """
    Read an IPv4 address of ours, with or without a prefix length.

    Raises:
        ValueError: it is no IPv4 address of one station.
    """
    try:
        interface = IPv4Interface(text.strip())
    except ValueError:
        raise ValueError(f"address {text!r} is no IPv4 address: write 10.0.0.2 or 10.0.0.2/24") from None
    if not 0 < interface.packed[0] < 224 or interface.packed[0] == 127:
        raise ValueError(f"address {text!r} belongs to no single station: give one that does")
    return interface
