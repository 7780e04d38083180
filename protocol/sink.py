"""
Sink: count every frame by its EtherType and keep none. The shortest driver that is of use.

Next: `protocol/arp.py`, which also answers.
"""

from __future__ import annotations

from threading import Lock

from vnic import Packet, PacketFilter, ProtocolDriver

MOST_ETHERTYPES = 64
"""The wire decides what EtherTypes there are, so their number is bounded here."""


class Sink(ProtocolDriver):
    """
    Count frames, keep none.

    Attributes:
        frames: frames seen.
        counts: frames by EtherType; those of further EtherTypes are together under "other".
    """

    def __init__(self, *, promiscuous: bool = False) -> None:
        """
        Prepare the counts.

        Args:
            promiscuous: also count frames for other stations.
        """
        if promiscuous:
            self.packet_filter |= PacketFilter.PROMISCUOUS
        self.lock = Lock()  # each queue has a thread, and looped-back frames come on the thread that sent them
        self.frames = 0
        self.counts: dict[int | str, int] = {}

    def receive_packet(self, packet: Packet) -> int:
        """Count the frame; the packet is not kept."""
        self.count(packet.ethertype)
        return 0

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Count the frame while packets are low."""
        self.count(header[12] << 8 | header[13])

    def count(self, ethertype: int) -> None:
        """Add one frame of an EtherType."""
        with self.lock:
            known = ethertype in self.counts or len(self.counts) < MOST_ETHERTYPES
            key = ethertype if known else "other"
            self.frames += 1
            self.counts[key] = self.counts.get(key, 0) + 1
