"""
Drivers for the tests of the inspector: one that keeps, one that breaks a rule, one that hangs; and one with a hostile name.
"""

from __future__ import annotations

import time

from vnic import Packet, PacketFilter, ProtocolDriver, Status

KEEP, BREAK, SLEEP, SPIN = 0x9001, 0x9002, 0x9003, 0x9004
"""The EtherTypes that they obey."""


class Curious(ProtocolDriver):
    """Do what a frame says."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.kept: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        """Keep, break a rule, sleep, or spin."""
        if packet.ethertype == KEEP and packet.status == Status.SUCCESS:
            self.kept.append(packet)
            return 1
        if packet.ethertype == BREAK:
            self.binding.return_packets([packet])
        if packet.ethertype == SLEEP:
            time.sleep(3)
        if packet.ethertype == SPIN:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                pass
        return 0

    def unbind_adapter(self) -> None:
        """Return everything."""
        self.binding.return_packets(self.kept)


Hostile = type("Hostile\x1b[2J<b>", (Curious,), {"__module__": __name__, "__qualname__": "Hostile\x1b]0;owned\x07<b>&"})
