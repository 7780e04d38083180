"""
Microseconds per frame drained from a TAP: two Python drivers, one of which keeps and returns every packet, against a bare C loop.

Both drain the same queue of the same frames in the same process, in turn (C, vnic, C, vnic, ...), and each round gives one
ratio against the C runs on either side of it. When those two differ by more than 3 % the machine has changed its speed in
between, and the round is not judged.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SOL_PACKET, PACKET_QDISC_BYPASS, SO_SNDBUFFORCE = 263, 20, 32
NOISE = 0.03


def enter_namespace() -> None:
    """Run this program again in a network namespace of its own, where its TAP disturbs nobody."""
    if os.environ.get("VNIC_BENCH_NAMESPACE") == "1":
        return
    os.environ["VNIC_BENCH_NAMESPACE"] = "1"
    private = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    os.execvp("unshare", ["unshare", *private, sys.executable, "-P", *sys.argv])


def build_floor() -> ctypes.CDLL:
    """Compile floor.c into a temporary folder and load it."""
    folder = tempfile.mkdtemp(prefix="vnic-bench-")
    library = f"{folder}/floor.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, str(HERE / "floor.c")], check=True)
    floor = ctypes.CDLL(library)
    floor.drain.restype = ctypes.c_longlong
    return floor


class Bench:
    """A TAP whose queue holds a whole run, a socket that fills it, and the two readers."""

    def __init__(self, size: int, frames: int) -> None:
        name = "bench0"
        self.frames = frames
        self.floor = build_floor()
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI))
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", name, "up", "txqueuelen", str(frames + 100)], check=True)
        self.index = socket.if_nametoindex(name)
        self.sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sender.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self.sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 30)
        self.frame = b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x88\xb5" + bytes(size - 14)
        self.adapter = self.make_adapter()

    def make_adapter(self) -> Any:
        """Two Python drivers: one counts broadcasts, one keeps each packet until its batch is over."""
        from vnic import Adapter, MiniportDriver, Packet, PacketPool, ProtocolDriver, slot_size_for

        class Counter(ProtocolDriver):
            seen = 0

            def receive_packet(self, packet: Packet) -> int:
                self.seen += 1
                return 0

        class Keeper(ProtocolDriver):
            def __init__(self) -> None:
                self.kept: list[Packet] = []

            def receive_packet(self, packet: Packet) -> int:
                self.kept.append(packet)
                return 1

            def receive_complete(self) -> None:
                self.binding.return_packets(self.kept)
                self.kept.clear()

        adapter = Adapter(PacketPool(1024, slot_size_for(1500)), MiniportDriver(), name="bench0")
        adapter.attach(self.fd)
        adapter.open(Counter(), "counter")
        adapter.open(Keeper(), "keeper")
        return adapter

    def refill(self) -> int:
        return int(self.floor.fill(self.sender.fileno(), self.index, self.frame, len(self.frame), self.frames))

    def run_c(self) -> float:
        """Fill, drain with the bare loop; nanoseconds per frame."""
        sent, got = self.refill(), ctypes.c_int()
        taken = self.floor.drain(self.fd, sent, ctypes.byref(got))
        if got.value != sent:
            raise SystemExit(f"bench: the C loop read {got.value} of {sent} frames")
        return float(taken / sent)

    def run_vnic(self) -> float:
        """Fill, drain with the adapter; nanoseconds per frame."""
        sent = left = self.refill()
        receive = self.adapter.receive_batch
        start = time.perf_counter_ns()
        while left > 0 and (count := receive(64)):
            left -= count
        taken = time.perf_counter_ns() - start
        if left:
            raise SystemExit(f"bench: the adapter left {left} of {sent} frames")
        return taken / sent


def measure(bench: Bench, rounds: int) -> dict[str, object]:
    """Interleave; answer the medians over the rounds in which the floor stood still."""
    bench.run_c(), bench.run_vnic()
    floors: list[float] = []
    costs: list[float] = []
    ratios: list[float] = []
    tried = 0
    before = bench.run_c()
    while len(ratios) < rounds and tried < 6 * rounds:
        tried += 1
        cost = bench.run_vnic()
        after = bench.run_c()
        if abs(after - before) <= NOISE * min(after, before):
            floors.append((before + after) / 2)
            costs.append(cost)
            ratios.append((before + after) / 2 / cost)
        before = after
    if len(ratios) < max(3, rounds // 3):
        return {"judged": False, "why": f"the floor moved by more than 3 % in {tried - len(ratios)} of {tried} rounds"}
    return {
        "judged": True,
        "rounds": len(ratios),
        "discarded": tried - len(ratios),
        "c_us": round(statistics.median(floors) / 1000, 3),
        "vnic_us": round(statistics.median(costs) / 1000, 3),
        "ratio": round(statistics.median(ratios), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="bytes of a frame (64)")
    parser.add_argument("--frames", type=int, default=20_000, help="frames queued for each run (20000)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to judge (15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    enter_namespace()
    import vnic

    result = measure(Bench(options.size, options.frames), options.rounds)
    result |= {"size": options.size, "frames": options.frames, "compiled": vnic.COMPILED, "python": platform.python_version()}
    if options.json:
        print(json.dumps(result))
        return 0
    kind = "compiled" if vnic.COMPILED else "uncompiled"
    print(f"drain, {options.size}-byte frames, {options.frames} queued, {kind} core, Python {platform.python_version()}")
    if not result["judged"]:
        print(f"not judged: {result['why']}")
        return 1
    print(f"  bare C read() loop                            {result['c_us']:.3f} us per frame")
    print(f"  vnic, two Python drivers, one keeps, returns  {result['vnic_us']:.3f} us per frame")
    print(f"  ratio {result['ratio']:.3f}  (medians of {result['rounds']} rounds, {result['discarded']} discarded for noise)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
