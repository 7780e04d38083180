"""
A bench for the core: an adapter whose cable is a pair of sockets, drivers with scripted answers, a miniport that remembers.

    with Bench(packets=4) as bench:
        driver = Driver(1)
        binding = bench.bind(driver)

When the block ends, every packet must be home, every sum come out, and every report have been expected.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pytest

from vnic import (
    COMPILED,
    Adapter,
    Binding,
    ContractViolation,
    MiniportDriver,
    Packet,
    PacketFilter,
    PacketPool,
    ProtocolDriver,
    Status,
    slot_size_for,
)
from vnic.counters import broken_sums
from vnic.offload import Offload
from vnic.timers import Clock

US, PEER, OTHER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001"), bytes.fromhex("020000000003")
BROADCAST = b"\xff" * 6

COUNTS_VIEWS = COMPILED or sys.version_info >= (3, 12)
counts_views = pytest.mark.skipif(not COUNTS_VIEWS, reason="views are counted by the compiled core, or from Python 3.12 on")


def frame(mark: int = 0, *, to: bytes = US, size: int = 60) -> bytes:
    """Make a frame that is told from others by its last four bytes."""
    return (to + PEER + b"\x08\x00" + bytes(size))[: size - 4] + mark.to_bytes(4)


class Driver(ProtocolDriver):
    """
    Answer what is asked for, remember every frame and every packet kept. It has no optional handler.

    Attributes:
        answer: the answer to every packet, or a function of the packet that gives it.
        look: what to note of each packet, beside its frame.
        frames: what was shown.
        seen: what `look` found.
        kept: the packets kept, once for each reference.
    """

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, answer: Any = 0, look: Callable[[Packet], object] | None = None) -> None:
        self.answer = answer
        self.look = look
        self.frames: list[bytes] = []
        self.seen: list[Any] = []
        self.kept: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        """Remember, and answer."""
        self.frames.append(bytes(packet.data))
        if self.look is not None:
            self.seen.append(self.look(packet))
        answer = self.answer(packet) if callable(self.answer) else self.answer
        if type(answer) is int and 0 < answer < 10:
            self.kept += [packet] * answer
        return answer

    def give_back(self) -> None:
        """Return everything that is kept."""
        kept, self.kept = self.kept, []
        self.binding.return_packets(kept)


class Batched(Driver):
    """Count batches, and do something at the end of each."""

    def __init__(self, answer: Any = 0, look: Callable[[Packet], object] | None = None, at_end: Callable[[], object] | None = None) -> None:
        super().__init__(answer, look)
        self.at_end = at_end
        self.batches = 0

    def receive_complete(self) -> None:
        """A batch is over."""
        self.batches += 1
        if self.at_end is not None:
            self.at_end()


class Copier(Driver):
    """Take RESOURCES packets through `receive`; keep the views, to see what becomes of them."""

    def __init__(self, answer: Any = 0) -> None:
        super().__init__(answer)
        self.copied: list[bytes] = []
        self.sizes: list[tuple[int, int, int]] = []
        self.views: list[memoryview] = []

    def receive(self, context: Packet, header: memoryview, lookahead: memoryview, packet_size: int) -> None:
        """Copy."""
        self.copied.append(bytes(header) + bytes(lookahead))
        self.sizes.append((len(header), len(lookahead), packet_size))
        self.views += [header, lookahead]


class Sender(Driver):
    """Remember completions, and free the packets."""

    def __init__(self, answer: Any = 0) -> None:
        super().__init__(answer)
        self.completed: list[tuple[bytes, Status]] = []

    def send_complete(self, packet: Packet, status: Status) -> None:
        """A packet comes back."""
        self.completed.append((bytes(packet.data), status))
        packet.pool.free(packet)


class Miniport(MiniportDriver):
    """Remember every packet that comes back; free it, or keep it."""

    def __init__(self, *, frees: bool = True) -> None:
        self.frees = frees
        self.returned: list[Packet] = []

    def return_packet(self, packet: Packet) -> None:
        """A packet comes back."""
        self.returned.append(packet)
        if self.frees:
            packet.pool.free(packet)


class Bench:
    """
    An adapter on a cable; the test is the station at the other end.

    Attributes:
        pool: the adapter's receive pool.
        own: another pool, to send from.
        reports: (rule id or handler, culprit) of everything that the adapter reported.
    """

    def __init__(
        self,
        *,
        packets: int = 8,
        mtu: int = 1500,
        low_water: int = 0,
        send_queue: int = 1024,
        miniport: MiniportDriver | None = None,
        serialized: bool = False,
        clock: Clock | None = None,
        offload: Offload = Offload.NONE,
        large_buffers: int = 16,
    ) -> None:
        self.reports: list[tuple[str, str]] = []
        self.far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.far.setblocking(False)
        self.near.setblocking(False)
        self.pool = PacketPool(packets, slot_size_for(mtu), name="receive")
        self.own = PacketPool(512, slot_size_for(mtu), name="transmit")
        self.adapter = Adapter(
            self.pool,
            miniport or MiniportDriver(),
            name="bench0",
            address=US,
            mtu=mtu,
            low_water=low_water,
            send_queue=send_queue,
            serialized=serialized,
            clock=clock,
            offload=offload,
            large_buffers=large_buffers,
            report=self.report,
        )
        self.adapter.attach(self.near.fileno())

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """Remember what the adapter reports."""
        culprit = fields["binding"].name if fields["binding"] else "miniport"
        error = fields["error"]
        self.reports.append((error.rule.id if event == "violation" else fields["handler"], culprit))

    def expect(self, *reports: tuple[str, str]) -> None:
        """Check, and forget, what was reported up to here."""
        assert self.reports == list(reports), self.reports
        self.reports.clear()

    def bind(self, driver: ProtocolDriver, name: str = "a") -> Binding:
        """Bind a driver that accepts."""
        return self.adapter.open(driver, name)

    def give(self, *frames: bytes) -> int:
        """Put frames on the cable, and let the adapter take them as one batch."""
        for data in frames:
            self.far.send(data)
        return self.adapter.receive_batch()

    def taken(self) -> list[bytes]:
        """Take everything off the cable that the adapter has sent."""
        frames: list[bytes] = []
        with suppress(BlockingIOError):
            while len(frames) < 10_000:
                frames.append(self.far.recv(70_000))
        return frames

    def owned(self, data: bytes = frame(), pool: PacketPool | None = None) -> Packet:
        """Allocate a packet and write a frame into it."""
        packet = (pool or self.pool).allocate()
        assert packet is not None
        packet.write(data)
        return packet

    def fill_cable(self, binding: Binding) -> int:
        """Send until the cable takes no more and one send waits; answers how many went through."""
        for sent in range(400):
            packet = self.owned(frame(sent), self.own)
            if binding.send(packet) is Status.PENDING:
                return sent
            self.own.free(packet)
        raise AssertionError("the cable never fills")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pending = [binding.name for binding in self.adapter.bindings if self.adapter.close(binding) != Status.SUCCESS]
        for binding in self.adapter.bindings:
            self.adapter.reclaim(binding)  # a name is one of 128 in the process: the next test needs it, whatever this one did
        self.adapter.halt()
        self.far.close()
        self.near.close()
        if kind is None:
            assert pending == [], "these bindings still hold packets"
            assert self.reports == [], self.reports
            self.pool.release_withheld()
            self.own.release_withheld()
            assert (self.pool.usage, self.own.usage) == (0, 0), "packets are missing"
            for packet in (*self.pool.packets(), *self.own.packets()):
                assert is_what_it_says(packet), f"{packet!r} says that it is ordinary"
            assert list(broken_sums(self.adapter.counters())) == []


def is_what_it_says(packet: Packet) -> bool:
    """Whether a packet that says that nothing about it is out of the ordinary has none of what would be; compiled, nobody can tell."""
    if COMPILED or not packet._ordinary:  # type: ignore[attr-defined]
        return True
    found = [getattr(packet, f"_{name}") for name in ("chain", "oob", "info", "reserved", "suspect", "history", "lender", "fault")]
    found += [getattr(packet, f"_{name}") for name in ("kept", "withheld", "sent", "segment", "stale")]
    found += [packet._virtio.flags, packet._virtio.kind]  # type: ignore[attr-defined]
    return not any(found)


def violation(action: Callable[..., object], *arguments: object) -> str:
    """Do what is forbidden; answers the id of the rule that it broke."""
    with pytest.raises(ContractViolation) as caught:
        action(*arguments)
    return caught.value.rule.id
