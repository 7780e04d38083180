"""
Two TAPs, each in a network namespace of its own, and a bridge between them: the kernel talks with itself through two adapters.

The bridge sends on what it is shown as it is, superframes included, over the bytes of the received packet.

Next: `tests/tap/test_superframes.py`.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from miniport.tap import open_tap
from vnic import Adapter, Info, MiniportDriver, Packet, PacketFilter, PacketPool, ProtocolDriver, Status, slot_size_for
from vnic.counters import broken_sums
from vnic.offload import Offload
from vnic.oob import copy_send_info


class Port(ProtocolDriver):
    """One side of the bridge. Frames that must be copied are; one for which there is no room is lost, and counted."""

    packet_filter = PacketFilter.PROMISCUOUS

    def __init__(self, *, offload: bool) -> None:
        self.offload = Offload.SEGMENTATION if offload else Offload.NONE
        self.other: Port = self
        self.descriptors = PacketPool(1024, 0, name="bridge")
        self.copies = PacketPool(64, 70_000, name="copies")
        self.under: dict[Packet, Packet | None] = {}
        self.statuses: dict[Any, int] = {}
        self.longest = 0

    def receive_packet(self, packet: Packet) -> int:
        """Send it out of the other side."""
        self.longest = max(self.longest, packet.length)
        if packet.status is Status.RESOURCES:
            return self._copy(packet)
        out = self.descriptors.allocate()
        if out is None:
            return self._count("no packet")
        out.share_chain(packet)
        if packet.info[Info.TCP_IP_CHECKSUM] is not None:
            copy_send_info(out, packet)
        self.under[out] = packet
        status = self.other.binding.send(out)
        self._count(status)
        if status is Status.PENDING:
            return 1
        self._end(out)
        return 0

    def _copy(self, packet: Packet) -> int:
        out = self.copies.allocate()
        if out is None:
            return self._count("no copy")
        out.write(packet.data)
        copy_send_info(out, packet)
        self.under[out] = None
        status = self.other.binding.send(out)
        self._count(status)
        if status is not Status.PENDING:
            self._end(out)
        return 0

    def _count(self, what: Any) -> int:
        self.statuses[what] = self.statuses.get(what, 0) + 1
        return 0

    def _end(self, out: Packet) -> Packet | None:
        received = self.under.pop(out)
        if received is not None:
            out.reinitialize()
        out.pool.free(out)
        return received

    def send_complete(self, packet: Packet, status: Status) -> None:
        """The other side is done with it: a packet that was received there and sent here goes home there."""
        raise AssertionError("each side's sends are completed to the other one")


class Half(Port):
    """A port whose sends come from the other one."""

    def send_complete(self, packet: Packet, status: Status) -> None:
        """It was the other one's packet."""
        received = self.other._end(packet)
        if received is not None:
            self.other.binding.return_packets([received])


class Side:
    """A TAP in a namespace of its own, with the adapter that reads it."""

    def __init__(self, name: str, address: str, address6: str, *, offload: bool, asks: bool, packets: int = 1024) -> None:
        self.tap = open_tap(name, offload=offload)
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        while Path(f"/proc/{self.holder.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            os.sched_yield()
        subprocess.run(["ip", "link", "set", name, "netns", str(self.holder.pid)], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", name, "up", "txqueuelen", "5000")
        self.run("ip", "address", "add", address, "dev", name)
        self.run("ip", "-6", "address", "add", address6, "dev", name, "nodad")
        pool = PacketPool(packets, slot_size_for(1500), name=name)
        self.reports: list[Any] = []
        self.adapter = Adapter(pool, MiniportDriver(), name=name, offload=self.tap.offload, report=self.report)
        self.adapter.attach(self.tap.fd)
        self.port = Half(offload=asks)
        self.name = name

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """Nothing should be."""
        self.reports.append((event, fields["error"]))

    def inside(self, *command: str) -> list[str]:
        """A command that runs in the namespace."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", *command]

    def run(self, *command: str) -> str:
        """Run one there; answers what it printed."""
        return subprocess.run(self.inside(*command), check=True, capture_output=True, text=True, timeout=50).stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python program there."""
        command = self.inside(sys.executable, "-c", *arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def counted(self, name: str) -> int:
        """One of the kernel's counters there."""
        (line,) = (line for line in self.run("nstat", "-az", name).splitlines() if line.startswith(name))
        return int(line.split()[1])

    def close(self) -> None:
        """Everything must be home."""
        self.adapter.halt()
        self.tap.close()
        self.holder.kill()
        self.holder.wait()


class Joined:
    """Two sides, and the thread that serves both."""

    def __init__(self, left: Side, right: Side) -> None:
        self.left, self.right = left, right
        self.sides = (left, right)
        left.port.other, right.port.other = right.port, left.port
        for side in self.sides:
            side.adapter.open(side.port, f"port-{side.name}")
        self.wake = os.eventfd(0)
        self.failure: BaseException | None = None
        self.counters: list[dict[str, int]] = []
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        try:
            while True:
                for side in self.sides:
                    poll.register(side.tap.fd, select.POLLIN | (select.POLLOUT if side.adapter.send_blocked else 0))
                ready = dict(poll.poll())
                if self.wake in ready:
                    return
                for side in self.sides:
                    if ready.get(side.tap.fd, 0) & select.POLLOUT:
                        side.adapter.flush()
                    if ready.get(side.tap.fd, 0) & select.POLLIN:
                        side.adapter.receive_batch()
        except BaseException as error:
            self.failure = error

    def stop(self) -> list[dict[str, int]]:
        """End; every packet is home and every sum comes out. Answers the counters of both sides."""
        os.eventfd_write(self.wake, 1)
        self.thread.join()
        if self.failure is not None:
            raise self.failure
        found = []
        for side in self.sides:
            for binding in side.adapter.bindings:
                assert side.adapter.close(binding) is Status.SUCCESS
        for side in self.sides:
            counters = side.adapter.counters()
            assert list(broken_sums(counters)) == []
            assert counters["pool_free"] == counters["pool_capacity"], counters
            assert counters["large_free"] == counters["large_capacity"], counters
            assert side.port.descriptors.usage == side.port.copies.usage == 0
            assert side.reports == []
            found.append(counters)
        return found


@contextlib.contextmanager
def joined(*, left: bool = True, right: bool = True, left_asks: bool = True, right_asks: bool = True) -> Iterator[Joined]:
    """Two sides; of each, whether its TAP has offload and whether its driver asks for it."""
    sides = (
        Side("left0", "10.1.0.1/24", "fd01::1/64", offload=left, asks=left_asks),
        Side("right0", "10.1.0.2/24", "fd01::2/64", offload=right, asks=right_asks),
    )
    both = Joined(*sides)
    try:
        both.thread.start()
        yield both
        both.counters = both.stop()
    finally:
        if both.thread.is_alive():
            os.eventfd_write(both.wake, 1)
            both.thread.join()
        os.close(both.wake)
        for side in sides:
            side.close()
