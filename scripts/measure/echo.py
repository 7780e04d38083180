"""
What an echo costs: frames read from a TAP, their addresses exchanged, written back; Python drivers in several ways, against a C loop.

Every way answers the same frames of the same queue in the same process, in turn with the C loop, and each round gives one ratio against
the C runs directly before and after it. When those two differ by more than 3 % the round is not judged. What is timed is the processor
time of the thread, so that other programs count little. `--instructions` counts what is executed for a frame outside the kernel, under
valgrind: the figure for regressions.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from typing import Any

from drain import HERE, NOISE, Bench, enter_namespace
from echoers import WAYS

US, PEER = bytes.fromhex("020000000002"), bytes.fromhex("020000000064")


class EchoBench(Bench):
    """The same TAP, its queue full of frames to us; one adapter for each way, of which one at a time reads."""

    def __init__(self, size: int, frames: int) -> None:
        super().__init__(size, frames)
        self.frame = US + PEER + b"\x88\xb5" + bytes(size - 14)
        self.floor.echo.restype = ctypes.c_longlong

    def make_adapter(self) -> Any:
        from vnic import Adapter, MiniportDriver, PacketPool, slot_size_for

        self.adapters: dict[str, Any] = {}
        for way, driver in WAYS.items():
            adapter = Adapter(PacketPool(1024, slot_size_for(1500), name=way), MiniportDriver(), name=way, address=US)
            adapter.attach(self.fd)
            adapter.open(driver(), way)
            self.adapters[way] = adapter
        return None

    def run_c(self) -> float:
        """Fill, answer with the bare loop; nanoseconds per frame."""
        sent, got, start = self.refill(), ctypes.c_int(), time.thread_time_ns()
        self.floor.echo(self.fd, sent, ctypes.byref(got))
        taken = time.thread_time_ns() - start
        if got.value != sent:
            raise SystemExit(f"echo: the C loop answered {got.value} of {sent} frames")
        return taken / sent

    def run_way(self, way: str) -> float:
        """Fill, answer with one adapter; nanoseconds per frame."""
        adapter = self.adapters[way]
        before = adapter.counters()["tx_frames"]
        sent = left = self.refill()
        receive, start = adapter.receive_batch, time.thread_time_ns()
        while left > 0 and (count := receive()):
            left -= count
        taken = time.thread_time_ns() - start
        answered = adapter.counters()["tx_frames"] - before
        if left or answered != sent:
            raise SystemExit(f"echo: {way} answered {answered} of {sent} frames")
        return taken / sent


def measure(bench: EchoBench, ways: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Interleave; answer of each way the medians over the rounds in which the floor stood still."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for way in ways:
        bench.run_way(way)
    bench.run_c()
    tried, before = 0, bench.run_c()
    while min(map(len, found.values())) < rounds and tried < 6 * rounds:
        tried += 1
        for way in ways:
            cost, after = bench.run_way(way), bench.run_c()
            if abs(after - before) <= NOISE * min(after, before):
                found[way].append(((before + after) / 2, cost))
            before = after
    return {way: judge(pairs, tried) for way, pairs in found.items()}


def judge(pairs: list[tuple[float, float]], tried: int) -> dict[str, Any]:
    if len(pairs) < 3:
        return {"judged": False, "why": f"the floor moved by more than 3 % in {tried - len(pairs)} of {tried} rounds"}
    return {
        "judged": True,
        "rounds": len(pairs),
        "discarded": tried - len(pairs),
        "c_us": round(statistics.median(floor for floor, _ in pairs) / 1000, 3),
        "us": round(statistics.median(cost for _, cost in pairs) / 1000, 3),
        "ratio": round(statistics.median(floor / cost for floor, cost in pairs), 3),
    }


def instructions(size: int, way: str) -> int:
    """Run a way under valgrind, with few frames and with more; answer the instructions of a frame."""
    found = []
    for runs in (1, 4):
        program = [sys.executable, "-P", *sys.argv[:1], "--size", str(size), "--frames", "3000", "--only", way, "--runs", str(runs)]
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        told = subprocess.run([*tool, *program], check=True, capture_output=True, text=True).stderr
        collected = re.search(r"Collected : (\d+)", told)
        assert collected is not None, told
        found.append(int(collected[1]))
    return (found[1] - found[0]) // 9000


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench echo", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="bytes of a frame (64)")
    parser.add_argument("--frames", type=int, default=10_000, help="frames queued for each run (10000)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to judge (15)")
    parser.add_argument("--only", choices=[*WAYS], help="measure one way")
    parser.add_argument("--level", type=int, default=1, help="verifier level (1)")
    parser.add_argument("--instructions", action="store_true", help="count instructions, under valgrind")
    parser.add_argument("--runs", type=int, help="answer so often, and measure nothing: for a profiler")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    # what is run in the namespace, or under valgrind, finds the modules beside this one
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    enter_namespace()
    import vnic
    from vnic.verifier.levels import set_level

    set_level(options.level)
    ways = [options.only] if options.only else list(WAYS)
    if options.runs:
        bench = EchoBench(options.size, options.frames)
        for _ in range(options.runs):
            bench.run_way(ways[0])
        return 0
    facts = {"size": options.size, "level": options.level, "compiled": vnic.COMPILED, "python": platform.python_version()}
    if options.instructions:
        result: dict[str, Any] = {way: {"instructions": instructions(options.size, way)} for way in ways}
    else:
        result = measure(EchoBench(options.size, options.frames), ways, options.rounds)
    if options.json:
        print(json.dumps(facts | {"ways": result}))
        return 0
    kind = "compiled" if vnic.COMPILED else "uncompiled"
    print(f"echo, {options.size}-byte frames, {kind} core, verifier level {options.level}, Python {facts['python']}, against the C echo")
    for way, row in result.items():
        if "instructions" in row:
            print(f"  {way:12}{row['instructions']:8} instructions per frame")
        elif row["judged"]:
            rounds = f"{row['rounds']} rounds, {row['discarded']} discarded"
            print(f"  {way:12}{row['us']:8.3f} us, C {row['c_us']:.3f}, ratio {row['ratio']:.3f}  ({rounds})")
        else:
            print(f"  {way:12} not judged: {row['why']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
