"""
What unit tests share: an adapter whose cable is a pair of sockets.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vnic import Adapter, Binding, MiniportDriver, PacketPool, ProtocolDriver, slot_size_for
from vnic.counters import broken_sums

US, PEER = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")


class Wire:
    """
    A real adapter over a socket pair: the test is the station at the other end of the cable.

    Attributes:
        reports: what the adapter reported, errors of drivers and broken rules; a test that expects some clears it.
    """

    def __init__(self, mtu: int, packets: int, low_water: int) -> None:
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.far, self.near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.far, self.near):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.pool = PacketPool(packets, slot_size_for(mtu), name="receive")
        self.adapter = Adapter(
            self.pool,
            MiniportDriver(),
            name="test0",
            address=US,
            mtu=mtu,
            low_water=low_water,
            network_addresses=("10.0.0.2/24", "fd00::2/64"),
            report=lambda event, fields: self.reports.append((event, fields)),
        )
        self.adapter.attach(self.near.fileno())

    def open(self, driver: ProtocolDriver) -> Binding:
        """Bind a driver that is expected to accept."""
        binding = self.adapter.open(driver, type(driver).__name__.lower())
        assert binding is not None, self.reports
        return binding

    def give(self, *frames: bytes) -> None:
        """Put frames on the cable, one batch for each."""
        for frame in frames:
            self.far.send(frame)
            assert self.adapter.receive_batch() == 1

    def taken(self) -> list[bytes]:
        """Take everything off the cable that the adapter has sent."""
        frames: list[bytes] = []
        with suppress(BlockingIOError):
            while len(frames) < 10_000:
                frames.append(self.far.recv(70_000))
        return frames

    def ask(self, frame: bytes) -> list[bytes]:
        """Give one frame and take the answers."""
        self.give(frame)
        return self.taken()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; fail if it does not become so within ten seconds."""
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.0005)

    def close(self) -> None:
        """Close everything; every packet must be home, every sum come out, and nothing unexpected have been reported."""
        for binding in self.adapter.bindings:
            self.adapter.close(binding)
        self.adapter.halt()
        self.far.close()
        self.near.close()
        assert self.reports == []
        assert self.pool.usage == 0
        assert list(broken_sums(self.adapter.counters())) == []


@pytest.fixture
def make_wire() -> Iterator[Callable[..., Wire]]:
    """Make adapters of any shape; each is closed and checked at the end."""
    wires: list[Wire] = []

    def make(*, mtu: int = 1500, packets: int = 64, low_water: int = 0) -> Wire:
        wires.append(Wire(mtu, packets, low_water))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    """Make an ordinary adapter: MTU 1500, 64 packets."""
    return make_wire()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual place of sockets and state files."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("miniport.runtime_dir.SYSTEM", tmp_path / "none")
    return tmp_path
