"""
Drivers that do what a driver must not do, one class for each way. Loaded as `path/bad_drivers.py:Class`.

A line that ends with the word in `tests/faults/test_bad_drivers.py`'s MARK is one that the log may name as the culprit's.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from vnic import Packet, PacketFilter, PacketPool, ProtocolDriver, Status, VnicError

PATIENCE_S = 10.0


class Bad(ProtocolDriver):
    """See every frame, so that whatever is wrong shows with each."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self) -> None:
        self.seen = 0
        self.kept: list[Any] = []


# exceptions


class RaisesAlways(Bad):
    """Raise at every frame."""

    def receive_packet(self, packet: Packet) -> int:
        raise ValueError(f"cannot read frame {packet.length}")  # culprit


class RaisesSometimes(Bad):
    """Raise at every third frame."""

    def receive_packet(self, packet: Packet) -> int:
        self.seen += 1
        if self.seen % 3 == 0:
            raise KeyError("third")  # culprit
        return 0


class Custom(BaseException):
    """Nobody catches this by `except Exception`."""


class RaisesBaseException(Bad):
    """Raise what is no Exception."""

    def receive_packet(self, packet: Packet) -> int:
        raise Custom("not an Exception")  # culprit


class RaisesSystemExit(Bad):
    """Try to end the process."""

    def receive_packet(self, packet: Packet) -> int:
        raise SystemExit(3)  # culprit


class RaisesKeyboardInterrupt(Bad):
    """Pretend that somebody pressed Ctrl-C."""

    def receive_packet(self, packet: Packet) -> int:
        raise KeyboardInterrupt  # culprit


class RaisesUnprintable(Bad):
    """Raise an exception that cannot be shown."""

    def receive_packet(self, packet: Packet) -> int:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        raise Unprintable  # culprit


class RaisesEverywhere(Bad):
    """Raise in every other handler too."""

    def receive_packet(self, packet: Packet) -> int:
        raise ValueError("receive_packet")  # culprit

    def receive_complete(self) -> None:
        raise ValueError("receive_complete")  # culprit

    def status(self, status: Status, buffer: bytes) -> None:
        raise ValueError("status")  # culprit

    def rotate(self) -> None:
        raise ValueError("rotate")  # culprit

    def unbind_adapter(self) -> None:
        raise ValueError("unbind_adapter")  # culprit


class RaisesInOwnThread(Bad):
    """Let a thread die of an exception."""

    def bind_adapter(self) -> None:
        threading.Thread(target=self.work, name="careless").start()

    def work(self) -> None:
        raise OSError("nobody catches this")  # culprit


# packets


class KeepsEverything(Bad):
    """Keep every packet for ever."""

    def receive_packet(self, packet: Packet) -> int:  # culprit
        self.kept.append(packet)
        return 1


class ReturnsTwice(Bad):
    """Return every packet once more than was promised, and look away."""

    def receive_packet(self, packet: Packet) -> int:
        if packet.status == Status.RESOURCES:
            return 0
        self.kept.append(packet)
        return 1

    def receive_complete(self) -> None:
        while self.kept:
            packet = self.kept.pop()
            self.binding.return_packets([packet])
            with suppress(VnicError):
                self.binding.return_packets([packet])  # culprit


class ReturnsTwiceAtOnce(ReturnsTwice):
    """Name the same packet twice in one call."""

    def receive_complete(self) -> None:
        while self.kept:
            packet = self.kept.pop()
            with suppress(VnicError):
                self.binding.return_packets([packet, packet])  # culprit


class ReturnsAnothers(Bad):
    """Return packets that were never promised, while somebody else holds them."""

    def receive_packet(self, packet: Packet) -> int:
        self.kept.append(packet)
        return 0

    def receive_complete(self) -> None:
        kept, self.kept = self.kept, []
        self.binding.return_packets(kept)  # culprit


class ReturnsInside(Bad):
    """Return a packet before saying that it is kept."""

    def receive_packet(self, packet: Packet) -> int:
        self.binding.return_packets([packet])  # culprit
        return 1


class ReturnsFromAThreadTooEarly(Bad):
    """Have another thread return a packet before saying that it is kept."""

    def receive_packet(self, packet: Packet) -> int:
        if self.seen:
            return 0
        self.seen = 1
        thread = threading.Thread(target=self.give_back, args=(packet,), name="hasty")
        thread.start()
        thread.join()
        return 0

    def give_back(self, packet: Packet) -> None:
        self.binding.return_packets([packet])  # culprit


class Answers(Bad):
    """Answer what is no count."""

    answer: Any = None

    def receive_packet(self, packet: Packet) -> int:  # culprit
        answer: int = self.answer
        return answer


class AnswersNone(Answers):
    """Forget the answer."""


class AnswersMinusOne(Answers):
    """Promise less than nothing."""

    answer = -1


class AnswersText(Answers):
    """Answer with text."""

    answer = "x"


class AnswersTrue(Answers):
    """Answer yes."""

    answer = True


class AnswersMillion(Answers):
    """Promise more returns than can be."""

    answer = 10**6


class KeepsView(Bad):
    """Keep a view of the first packet, for ever, and say that nothing is kept."""

    def receive_packet(self, packet: Packet) -> int:  # culprit
        if not self.kept:
            self.kept.append(packet.data[14:20])
        return 0


class KeepsViewForAWhile(Bad):
    """Keep a view of each packet until the next one, and say that nothing is kept."""

    def receive_packet(self, packet: Packet) -> int:  # culprit
        self.kept[:] = [packet.data]
        return 0

    def unbind_adapter(self) -> None:
        self.kept.clear()


class FreesForeign(Bad):
    """Free what belongs to the miniport."""

    def receive_packet(self, packet: Packet) -> int:
        packet.pool.free(packet)  # culprit
        return 0


class WritesForeign(Bad):
    """Write into a packet that others read."""

    def receive_packet(self, packet: Packet) -> int:
        packet.write(b"overwritten")  # culprit
        return 0


class SendsReceived(Bad):
    """Send a received packet as it is."""

    def receive_packet(self, packet: Packet) -> int:
        self.binding.send(packet)  # culprit
        return 0


class SendsAfterUnbind(Bad):
    """Send when the binding is closed, from a thread that was not stopped."""

    def bind_adapter(self) -> None:
        self.pool = PacketPool(1, 64, name="late")
        self.thread = threading.Thread(target=self.work, name="late", daemon=True)

    def unbind_adapter(self) -> None:
        self.thread.start()

    def work(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.binding.closed and time.monotonic() < deadline:
            time.sleep(0.001)
        packet = self.pool.allocate()
        if packet is not None:
            packet.write(bytes(60))
            self.binding.send(packet)  # culprit


# those that never answer


class NeverStops(Bad):
    """Wait in a handler for what never comes."""

    def receive_packet(self, packet: Packet) -> int:
        threading.Event().wait()  # culprit
        return 0


class SpinsForEver(Bad):
    """Never come to an end in a handler, and never wait either."""

    def receive_packet(self, packet: Packet) -> int:
        while True:  # culprit
            self.seen += 1  # culprit


class NeverUnbinds(Bad):
    """Wait for ever while being unbound."""

    def receive_packet(self, packet: Packet) -> int:
        return 0

    def unbind_adapter(self) -> None:
        threading.Event().wait()  # culprit


# before there is a binding


class ConstructorRaises(ProtocolDriver):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no coffee\nsecond line")  # culprit


class ConstructorExits(ProtocolDriver):
    """End the process instead of being made."""

    def __init__(self) -> None:
        raise SystemExit(0)  # culprit


class BindRaises(ProtocolDriver):
    """Cannot be bound."""

    def bind_adapter(self) -> None:
        raise RuntimeError("no cable in the box\x1b[31m")  # culprit


class BindDeclines(ProtocolDriver):
    """Do not want to be bound."""

    def bind_adapter(self) -> Status:
        return Status.NOT_ACCEPTED


class BindAnswersNonsense(ProtocolDriver):
    """Answer what is no status."""

    def bind_adapter(self) -> Any:
        return "fine"
