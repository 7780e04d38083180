"""
A driver that answers pings on two VLANs, each a virtual connection. Loaded as `path/vlan_echo.py:VlanEcho`.
"""

from __future__ import annotations

import json
from pathlib import Path

from protocol.vlan import Vlan, VlanEdge
from vnic import Packet, PacketPool, Status
from vnic.condis import CoProtocolDriver
from vnic.vc import VirtualConnection

VLANS = ((7, 5), (8, 0))
ECHO_REQUEST = 8


class Echo(CoProtocolDriver):
    """Keep every packet until the batch is over, answer those that are pings, and return them."""

    def bind_adapter(self) -> None:
        self.pool = PacketPool(64, 1600, name="echo")
        self.kept: list[tuple[VirtualConnection, Packet]] = []
        self.answered = 0
        for vlan, priority in VLANS:
            _, vc = VirtualConnection.create(self.binding, vlan)
            assert vc is not None
            assert vc.activate(Vlan(vlan, priority)) is Status.SUCCESS

    def co_receive_packet(self, vc: VirtualConnection, packet: Packet) -> int:
        if packet.status is Status.RESOURCES:
            return 0
        self.kept.append((vc, packet))
        return 1

    def receive_complete(self) -> None:
        kept, self.kept = self.kept, []
        for vc, packet in kept:
            self.answer(vc, bytes(packet.data))
            vc.return_packets([packet])

    def answer(self, vc: VirtualConnection, frame: bytes) -> None:
        if frame[12:15] != b"\x08\x00\x45" or frame[23] != 1 or frame[34] != ECHO_REQUEST:
            return
        packet = self.pool.allocate()
        if packet is None:
            return
        total = int.from_bytes(frame[36:38]) + (ECHO_REQUEST << 8)
        checksum = (total & 0xFFFF) + (total >> 16)
        mac = frame[6:12] + self.binding.address
        packet.write(mac + frame[12:26] + frame[30:34] + frame[26:30] + b"\0\0" + checksum.to_bytes(2) + frame[38:])
        self.answered += 1
        vc.send_packets([packet])

    def co_send_complete(self, vc: VirtualConnection, packet: Packet, status: Status) -> None:
        packet.pool.free(packet)

    def unbind_adapter(self) -> None:
        super().unbind_adapter()
        self.pool.close()


class VlanEcho(VlanEdge):
    """The edge with its client above it; when it ends it writes down what it saw."""

    def __init__(self, *, file: str, packets: int = 64) -> None:
        super().__init__(packets=packets)
        self.file = file

    def bind_adapter(self) -> None:
        super().bind_adapter()
        self.echo = Echo()
        self.adapters[0].open(self.echo, "echo")

    def unbind_adapter(self) -> Status:
        counters = {str(vc.context): vc.adapter.counters() for vc in self.echo.vcs}
        said = {"counters": counters, "unknown": self.unknown, "untagged": self.untagged, "answered": self.echo.answered}
        status = super().unbind_adapter()
        said["left"] = len(self.echo.vcs)
        Path(self.file).write_text(json.dumps(said))
        return status
