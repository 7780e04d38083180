"""
A driver that sends on its own, from a thread of its own, whatever the link is like. Loaded as `path/beacon.py`.
"""

from __future__ import annotations

from threading import Event, Thread

from vnic import PacketFilter, PacketPool, ProtocolDriver

FRAME = b"\xff" * 6 + b"\2\0\0\0\0\2" + b"\x88\xb5" + bytes(46)


class Beacon(ProtocolDriver):
    """Send a frame every millisecond; the packet is freed when it comes back."""

    packet_filter = PacketFilter.NONE

    def bind_adapter(self) -> None:
        self.pool = PacketPool(64, 64, name="beacon")
        self.ending = Event()
        self.thread = Thread(target=self.work, name="beacon", daemon=True)
        self.thread.start()

    def unbind_adapter(self) -> None:
        self.ending.set()
        self.thread.join()
        self.pool.close()

    def work(self) -> None:
        # the pause is the rate
        while not self.ending.wait(0.001):
            packet = self.pool.allocate()
            if packet is not None:
                packet.write(FRAME)
                # a driver without send_complete gets its packets freed
                self.binding.send_packets([packet])
