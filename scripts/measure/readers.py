"""
The readers that are vnic: an adapter on a TAP, with drivers of each kind.

Next: `figures.py`, the table of everything that is measured.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vnic import COMPILED, Adapter, MiniportDriver, Packet, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.offload import Offload

HERE = Path(__file__).resolve().parent


class Counter(ProtocolDriver):
    """Count, and keep nothing."""

    seen = 0

    def receive_packet(self, packet: Packet) -> int:
        self.seen += 1
        return 0


class Keeper(ProtocolDriver):
    """Keep each packet until its batch is over, and return it then."""

    def __init__(self) -> None:
        self.kept: list[Packet] = []

    def receive_packet(self, packet: Packet) -> int:
        self.kept.append(packet)
        return 1

    def receive_complete(self) -> None:
        self.binding.return_packets(self.kept)
        self.kept.clear()


def compiled_counter() -> Any:
    """
    Compile counter.pyx into a temporary folder.

    Returns:
        Its driver; None if vnic itself is not compiled, because then there are no C types.
    """
    if not COMPILED:
        return None
    with tempfile.TemporaryDirectory(prefix="vnic-bench-") as folder:
        shutil.copy(HERE / "counter.pyx", folder)
        command = [sys.executable, "-P", "-m", "Cython.Build.Cythonize", "-q", "-i", "-3", "counter.pyx"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (library,) = Path(folder).glob("counter*.so")
        spec = importlib.util.spec_from_file_location("counter", library)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Counter


def has_batches() -> bool:
    """Whether drivers can be shown whole indications, and numpy is there to classify them."""
    return hasattr(ProtocolDriver, "receive_packets") and importlib.util.find_spec("numpy") is not None


def batch_drivers() -> list[ProtocolDriver]:
    """One that counts, and one that classifies with numpy."""
    from batches import Classifier, Totals

    return [Totals(), Classifier()]


class Reader:
    """
    An adapter that reads a descriptor, and its drivers.

    Args:
        fd: what it reads.
        drivers: whom it shows the frames to.
        packets: of its pool.
        low_water: as the adapter's; with 0 a frame is shown with RESOURCES only if no packet is free.
        clock: what it is timed by.
        offload: what the descriptor does of it.
    """

    def __init__(
        self,
        fd: int,
        drivers: Sequence[ProtocolDriver],
        *,
        packets: int = 1024,
        low_water: int | None = None,
        clock: int = time.CLOCK_MONOTONIC,
        offload: Offload = Offload.NONE,
    ) -> None:
        pool = PacketPool(packets, slot_size_for(1500))
        self.adapter = Adapter(pool, MiniportDriver(), name="bench0", low_water=low_water, offload=offload)
        self.adapter.attach(fd)
        self.bindings = [self.adapter.open(driver, f"{type(driver).__name__.lower()}{number}") for number, driver in enumerate(drivers)]
        self.clock = clock

    def drain(self, count: int) -> int:
        """Take so many frames that are queued; answers the nanoseconds taken."""
        receive, left = self.adapter.receive_batch, count
        start = time.clock_gettime_ns(self.clock)
        while left > 0 and (taken := receive()):
            left -= taken
        taken_ns = time.clock_gettime_ns(self.clock) - start
        if left:
            raise SystemExit(f"bench: the adapter left {left} of {count} frames")
        return taken_ns

    def drain_for(self, ns: int) -> int:
        """Take whatever comes for so many nanoseconds, asking again when nothing is there; answers the frames."""
        receive, count = self.adapter.receive_batch, 0
        end = time.monotonic_ns() + ns
        while time.monotonic_ns() < end:
            count += receive()
        return count

    def close(self) -> None:
        """Unbind the drivers; the descriptor is the caller's."""
        for binding in self.bindings:
            status = self.adapter.close(binding)
            assert status is Status.SUCCESS
