"""
Microseconds per frame drained from a TAP: two Python drivers, one of which keeps and returns every packet, against a bare C loop.

Both drain the same queue of the same frames in the same process, in turn (C, vnic, C, vnic, ...), and each round gives one
ratio against the C runs on either side of it. When those two differ by more than 3 % the machine has changed its speed in
between, and the round is not judged.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from typing import Any

from taps import HERE, IFF_NO_PI, IFF_TAP, NOISE, TUNSETIFF, Tap, enter_namespace

__all__ = ["HERE", "IFF_NO_PI", "IFF_TAP", "NOISE", "TUNSETIFF", "Bench", "enter_namespace"]


class Bench(Tap):
    """A TAP and the two readers."""

    def __init__(self, size: int, frames: int) -> None:
        super().__init__(size, frames)
        self.frames = frames
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
        return self.fill(self.frames)

    def run_c(self) -> float:
        """Fill, drain with the bare loop; nanoseconds per frame."""
        sent = self.refill()
        return self.drain(sent) / sent

    def run_vnic(self) -> float:
        """Fill, drain with the adapter; nanoseconds per frame."""
        sent = left = self.refill()
        receive = self.adapter.receive_batch
        start = time.perf_counter_ns()
        while left > 0 and (count := receive()):
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
