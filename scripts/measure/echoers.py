"""
Drivers that answer every frame, in several ways, for `echo.py` to time.
"""

from __future__ import annotations

from vnic import Batch, BufferPool, Packet, PacketFilter, PacketPool, ProtocolDriver, Replies, Status, slot_size_for

MOST = 128
HEADER = 14


class Echoer(ProtocolDriver):
    """What all of them have: which frames, and a pool to send from."""

    packet_filter = PacketFilter.DIRECTED
    slot_size = slot_size_for(1500)

    def bind_adapter(self) -> None:
        self.pool = PacketPool(MOST, self.slot_size, name=f"{self.binding.name} answers")
        self.us = self.binding.address
        self.prepare()

    def prepare(self) -> None:
        """Make what else there is."""

    def turned(self, packet: Packet) -> bytes:
        """The frame, with its addresses exchanged."""
        frame = bytes(packet.data)
        return frame[6:12] + self.us + frame[12:]


class Copy(Echoer):
    """Allocate, write, send, free, for each frame."""

    def receive_packet(self, packet: Packet) -> int:
        answer = self.pool.allocate()
        if answer is None:
            return 0
        answer.write(self.turned(packet))
        if self.binding.send(answer) != Status.PENDING:
            self.pool.free(answer)
        return 0

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.pool.free(packet)


class Reuse(Echoer):
    """Packets are allocated once, and used again and again: write, send."""

    def prepare(self) -> None:
        self.idle = [packet for _ in range(MOST) if (packet := self.pool.allocate())]

    def receive_packet(self, packet: Packet) -> int:
        if self.idle:
            answer = self.idle.pop()
            answer.write(self.turned(packet))
            if self.binding.send(answer) != Status.PENDING:
                self.idle.append(answer)
        return 0

    def send_complete(self, packet: Packet, status: Status) -> None:
        self.idle.append(packet)


class Together(Reuse):
    """The same, and the answers to a batch are sent when it is over."""

    def prepare(self) -> None:
        super().prepare()
        self.answers: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        if self.idle:
            answer = self.idle.pop()
            answer.write(self.turned(packet))
            self.answers.append(answer)
        return 0

    def receive_complete(self) -> None:
        answers, self.answers = self.answers, []
        self.binding.send_packets(answers)


class Chained(Echoer):
    """A header of its own, and behind it the rest of the frame where it lies; descriptors are allocated for each frame."""

    slot_size = 64

    def prepare(self) -> None:
        self.buffers = BufferPool(MOST, f"{self.binding.name} rests")
        self.kept: list[Packet] = []
        self.behind: dict[Packet, Packet] = {}

    def receive_packet(self, packet: Packet) -> int:
        self.kept.append(packet)
        return 1

    def receive_complete(self) -> None:
        kept, self.kept = self.kept, []
        answers = []
        for packet in kept:
            answer, rest = self.pool.allocate(), self.buffers.copy(packet.buffers[0], HEADER, packet.length - HEADER)
            assert answer is not None
            assert rest is not None
            answer.write(bytes(packet.data[6:12]) + self.us + bytes(packet.data[12:14]))
            answer.chain_back(rest)
            self.behind[answer] = packet
            answers.append(answer)
            del rest
        self.binding.send_packets(answers)

    def send_complete(self, packet: Packet, status: Status) -> None:
        # no name for it: a descriptor that is alive still is a view of the packet that is returned
        self.buffers.free(packet.unchain_back())  # type: ignore[arg-type]
        self.pool.free(packet)
        self.binding.return_packets((self.behind.pop(packet),))


class Behind(ProtocolDriver):
    """The same with descriptors that are made once, by `vnic.Replies`."""

    packet_filter = PacketFilter.DIRECTED

    def bind_adapter(self) -> None:
        self.replies = Replies(self.binding, MOST)
        self.kept: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        self.kept.append(packet)
        return 1

    def receive_complete(self) -> None:
        self.replies.send(self.kept)
        self.kept.clear()

    def unbind_adapter(self) -> Status:
        return self.replies.close()


class Whole(Behind):
    """The same, shown whole indications."""

    def receive_packets(self, batch: Batch) -> int:
        self.kept += batch.packets
        return 1


WAYS: dict[str, type[ProtocolDriver]] = {
    "copy": Copy,
    "reuse": Reuse,
    "batch": Together,
    "chained": Chained,
    "replies": Behind,
    "whole": Whole,
}
