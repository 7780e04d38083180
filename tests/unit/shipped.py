"""
Every shipped driver and filter on a cable, and traffic that makes each of them work: to see what becomes of it while faults are provoked.

When a `Stack` ends, every packet must be home, every sum come out, every frame be explained, and nobody be blamed for anything.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from unit.circuits import Client

from protocol.arp import Arp
from protocol.capture import Capture
from protocol.classify import Classify
from protocol.hold import Hold
from protocol.icmp_echo import IcmpEcho
from protocol.mux import Mux
from protocol.passthru import Passthru
from protocol.sink import Sink
from protocol.udp import Udp
from protocol.vlan import Vlan, VlanEdge
from vnic import Adapter, Binding, MiniportDriver, Packet, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.counters import broken_sums
from vnic.intermediate import IntermediateDriver
from vnic.vc import VirtualConnection
from vnic.verifier.actions import set_action
from vnic.verifier.faults import FAULTS
from vnic.verifier.levels import LEVELS, set_level
from vnic.verifier.records import RECORDS

US, PEER = "02:00:00:00:00:02", "02:00:00:00:00:01"
ADDRESSES = ("10.0.0.2/24", "fd00::2/64")
ECHO_PORT, VLAN = 7777, 7
TIMING = {"79", "81", "82", "85"}
"""Rules about how long something took: on a machine that is busy with other things they say nothing about a driver."""

ETHER = Ether(src=PEER, dst=US)
REQUEST = bytes(Ether(src=PEER, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=PEER, psrc="10.0.0.1", pdst="10.0.0.2"))
PING = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8, id=7, seq=9) / Raw(bytes(40)))
PING6 = bytes(ETHER / IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=7, seq=9) / Raw(bytes(40)))
DATAGRAM = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=4000, dport=ECHO_PORT) / Raw(b"hello" * 8))
STRANGE = bytes(ETHER / Raw(bytes(46)))
PLAIN = (REQUEST, PING, PING6, DATAGRAM, STRANGE)
TAGGED = tuple(frame[:12] + b"\x81\x00" + VLAN.to_bytes(2) + frame[12:] for frame in PLAIN)
FRAMES = PLAIN + TAGGED


@contextmanager
def level_4() -> Iterator[None]:
    """The whole process at verifier level 4, and nothing left behind: no level, no mode, no record."""
    RECORDS.clear()
    for rule in TIMING:
        set_action(rule, "count")
    set_level(4)
    try:
        yield
    finally:
        FAULTS.stop()
        LEVELS.drivers.clear()
        LEVELS.pools.clear()
        set_level(1)
        for rule in TIMING:
            set_action(rule, None)
        RECORDS.clear()


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; fail if it does not become so within ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.0005)


def all_closed(bindings: list[Binding]) -> bool:
    """Whether all of these have ended."""
    return all(binding.closed for binding in bindings)


def answer(vc: VirtualConnection, packet: Packet) -> int:
    """Send a frame back on its connection, and keep it when that is allowed."""
    data = bytes(packet.data)
    driver: Any = vc.driver
    own = driver.pool.allocate()
    if own is not None:
        own.write(data[6:12] + data[:6] + data[12:])
        vc.send_packets([own])
    return int(packet.status is Status.SUCCESS)


class Answering(Client):
    """A client of the VLAN edge: it answers every frame, and keeps every other one until the batch is over."""

    def __init__(self) -> None:
        super().__init__(answer)

    def bind_adapter(self) -> None:
        self.pool = PacketPool(16, slot_size_for(self.binding.mtu), name="answering")

    def receive_complete(self) -> None:
        super().receive_complete()
        self.give_back()

    def unbind_adapter(self) -> None:
        self.give_back()
        super().unbind_adapter()


class Stack:
    """
    An adapter on a cable, with some of the shipped drivers on it; the test is the station at the other end.

    Attributes:
        given: frames put on the cable.
        received: frames taken off it.
        reports: what any adapter has reported.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.given = self.received = 0
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.far, self.near):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.pool = PacketPool(64, slot_size_for(1500), name="receive")
        self.adapter = Adapter(
            self.pool,
            MiniportDriver(),
            name="test0",
            low_water=4,
            network_addresses=ADDRESSES,
            report=lambda event, fields: self.reports.append((event, fields)),
        )
        self.adapter.attach(self.near.fileno())
        self.drivers: list[ProtocolDriver] = []
        self.adapters = [self.adapter]

    def build(self) -> None:
        """
        Bind what the kind says.

        Raises:
            Exception: what a `bind_adapter` raised.
        """
        if self.kind == "all":
            for kind in ("sink", "classify", "capture", "arp", "icmp_echo", "udp", "hold"):
                self.open(self.adapter, self.leaf(kind))
        elif self.kind == "passthru":
            self.over(Passthru(), "arp", "icmp_echo", "udp", "hold")
        elif self.kind == "mux":
            self.over(Mux(vlans=str(VLAN), untagged=True, packets=32), "arp", "icmp_echo", "udp", "hold")
        elif self.kind == "vlan":
            self.connect(self.adapter)
        elif self.kind == "vlan over passthru":
            between = Passthru()
            self.over(between)
            self.connect(*between.adapters)
        else:
            self.open(self.adapter, self.leaf(self.kind))

    def leaf(self, kind: str) -> ProtocolDriver:
        """Make a driver."""
        makers: dict[str, Callable[[], ProtocolDriver]] = {
            "sink": lambda: Sink(promiscuous=True),
            "classify": lambda: Classify(promiscuous=True, together=8),
            "arp": Arp,
            "icmp_echo": IcmpEcho,
            "udp": lambda: Udp(echo=ECHO_PORT),
            "capture": lambda: Capture(file=str(self.folder / "all.pcapng")),
            "hold": lambda: Hold(hold_ms=0.5, count=4, copies=2, random=True),
        }
        return makers[kind]()

    def over(self, between: IntermediateDriver, *kinds: str) -> None:
        """Bind a filter, and drivers to each adapter above it."""
        self.open(self.adapter, between)
        for above in between.adapters:
            self.adapters.append(above)
            for kind in kinds:
                self.open(above, self.leaf(kind))

    def connect(self, below: Adapter) -> None:
        """Bind the VLAN edge, and a client with one connection."""
        edge = VlanEdge(packets=16)
        self.open(below, edge)
        self.adapters += edge.adapters
        binding = self.open(edge.adapters[0], Answering())
        try:
            status, vc = VirtualConnection.create(binding)
        except OSError as error:
            raise AssertionError("a connection that cannot be made is a status") from error
        if vc is None:
            raise OSError(status.name)
        self.adapters.append(vc.adapter)
        assert vc.activate(Vlan(VLAN)) is Status.SUCCESS

    def open(self, adapter: Adapter, driver: ProtocolDriver) -> Binding:
        """Bind a driver; its name says to what."""
        binding = adapter.open(driver, f"{type(driver).__name__.lower()} of {adapter.name}")
        self.drivers.append(driver)
        return binding

    def round(self, *frames: bytes) -> None:
        """Put frames on the cable and let the adapter take them as one batch; take what it answers off the cable."""
        for frame in frames:
            self.far.send(frame)
        self.given += len(frames)
        taken = 0
        while taken < len(frames):
            count = self.adapter.receive_batch()
            assert count, "frames are lost on the cable"
            taken += count
        self.taken()

    def taken(self) -> int:
        """Take everything off the cable that the adapter has sent; answers how many frames that was."""
        count = 0
        with suppress(BlockingIOError):
            while count < 10_000:
                self.far.recv(70_000)
                count += 1
        self.received += count
        return count

    def end(self) -> None:
        """Close everything, from above to below, and check what is left."""
        bindings = [driver.binding for driver in reversed(self.drivers)]
        for index, binding in enumerate(bindings):
            if index and binding.adapter is not bindings[index - 1].adapter:
                until(partial(all_closed, bindings[:index]))
            binding.adapter.close(binding)
        until(partial(all_closed, bindings))
        self.adapter.halt()
        self.taken()
        self.far.close()
        self.near.close()
        self.check()

    def check(self) -> None:
        """Everything is home, explained, and nobody is blamed."""
        assert self.reports == []
        assert RECORDS.counts == {}, RECORDS.all()
        for adapter in self.adapters:
            counters = adapter.counters()
            assert list(broken_sums(counters)) == [], adapter
            assert (counters["held"], counters["tx_pending"]) == (0, 0), adapter
        counters = self.adapter.counters()
        assert counters["rx_frames"] == self.given
        assert counters["tx_frames"] == self.received
        assert self.pool.usage == 0
        for driver in self.drivers:
            pool = getattr(driver, "pool", None)
            assert pool is None or pool.usage == 0, driver
            for virtual in getattr(driver, "virtuals", ()):
                assert (virtual.received.usage, virtual.sent.usage, virtual.rests.usage) == (0, 0, 0), driver


def mixture(seed: int, rounds: int) -> Iterator[tuple[bytes, ...]]:
    """Batches of frames of every kind."""
    chosen = random.Random(seed)
    for _ in range(rounds):
        yield tuple(chosen.choices(FRAMES, k=chosen.randint(1, 12)))


KINDS = ("sink", "classify", "arp", "icmp_echo", "udp", "capture", "hold", "all", "passthru", "mux", "vlan", "vlan over passthru")
