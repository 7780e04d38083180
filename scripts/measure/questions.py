"""
What it costs to be looked at: frames drained from a TAP while somebody asks the control socket ten times a second, against nobody.

Both drain the same queue of the same frames with the same adapter in the same process, in turn (nobody, asked, nobody, ...), and each
round gives one ratio against the runs on either side of it. When those two differ by more than 3 % the machine has changed its speed in
between, and the round is not judged. The questions come from a process of their own; the state file is written once a second in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from drain import NOISE, Bench, enter_namespace

VIEWS = ("show", "stats", "pools", "bindings", "pending", "leaks", "violations", "threads", "doctor", "report")


class Daemon:
    """The bench's adapter with a control socket in front of it, as in a daemon: asyncio on one thread, frames on another."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        from miniport.config import ProtocolConfig
        from miniport.control import Control
        from miniport.inspector.state import StateFile
        from miniport.inspector.subject import Inspector
        from miniport.log import EventLog
        from miniport.stack import Bound, Stack

        stack = Stack(bench.adapter)
        stack.drivers = [Bound(ProtocolConfig(driver="bench"), binding) for binding in bench.adapter.bindings]
        self.inspector = Inspector(stack)
        self.path = folder / "bench0.sock"
        self.control = Control(self.path, self.inspector, EventLog(2, "json"))
        self.state = StateFile(folder / "bench0.state", self.inspector)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, name="control", daemon=True)
        self.thread.start()

    def processor_time(self) -> float:
        """Seconds of processor time that the thread has used which answers."""
        return time.clock_gettime(time.pthread_getcpuclockid(self.thread.ident or 0))

    def run(self) -> None:
        """Serve, and write the state down once a second."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.control.start())
        self.loop.call_soon(self.tick)
        self.loop.run_forever()

    def tick(self) -> None:
        """Write the state down, and again in a second."""
        self.state.write()
        self.loop.call_later(1.0, self.tick)


class Asker:
    """A process that asks, when it is told to."""

    def __init__(self, path: Path, method: str, per_second: float) -> None:
        command = [sys.executable, __file__, "--ask", str(path), method, str(per_second)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, word: str) -> int:
        """Begin or end; how many answers there were by then."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def ask(path: str, method: str, per_second: float) -> None:
    """Ask from one `on` to the next `off`; in the other process."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    answers = connection.makefile("rb")
    wanted = threading.Event()
    count = 0

    def run() -> None:
        nonlocal count
        while True:
            wanted.wait()
            connection.sendall(json.dumps({"method": method}).encode() + b"\n")
            assert b'"result"' in answers.readline()
            count += 1
            time.sleep(1 / per_second)

    threading.Thread(target=run, daemon=True).start()
    for line in sys.stdin:
        (wanted.set if line.strip() == "on" else wanted.clear)()
        print(count, flush=True)


def measure(bench: Bench, daemon: Daemon, asker: Asker, rounds: int) -> dict[str, object]:
    """Interleave; answer the medians over the rounds in which the machine stood still."""
    bench.run_vnic()
    ratios: list[float] = []
    alone: list[float] = []
    shares: list[float] = []
    tried, answers = 0, 0
    before = bench.run_vnic()
    while len(ratios) < rounds and tried < 6 * rounds:
        tried += 1
        begun = asker.say("on")
        used, clock = daemon.processor_time(), time.perf_counter()
        asked = bench.run_vnic()
        shares.append((daemon.processor_time() - used) / (time.perf_counter() - clock))
        answers += asker.say("off") - begun
        after = bench.run_vnic()
        if abs(after - before) <= NOISE * min(after, before):
            alone.append((before + after) / 2)
            ratios.append((before + after) / 2 / asked)
        before = after
    if len(ratios) < max(3, rounds // 3):
        why = f"the frame rate moved by more than 3 % in {tried - len(ratios)} of {tried} rounds"
        return {"judged": False, "why": why, "share_of_the_answering_thread": round(statistics.median(shares), 4)}
    return {
        "judged": True,
        "rounds": len(ratios),
        "discarded": tried - len(ratios),
        "answers": answers,
        "us_per_frame": round(statistics.median(alone) / 1000, 3),
        "share_of_the_answering_thread": round(statistics.median(shares), 4),
        "rate_when_asked": round(statistics.median(ratios), 4),
        "quartiles": [round(value, 4) for value in statistics.quantiles(ratios, n=4)],
    }


def cost_of_views(daemon: Daemon) -> dict[str, float]:
    """Milliseconds of processor time for each answer, made and written; the least of ten."""
    from miniport.connection import encode
    from miniport.control import view_of
    from miniport.inspector.commands import BY_METHOD

    found = {}
    for method in VIEWS:
        view, times = view_of(BY_METHOD[method]), []
        for _ in range(10):
            begun = time.thread_time_ns()
            encode({"result": view(daemon.inspector.tick())})
            times.append((time.thread_time_ns() - begun) / 1e6)
        found[method] = round(min(times), 3)
    return found


def main() -> None:
    """Measure, and print one JSON object."""
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2], sys.argv[3], float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300_000, help="frames in one run, default 300000")
    parser.add_argument("--rounds", type=int, default=20, help="rounds to judge, default 20")
    parser.add_argument("--per-second", type=float, default=10.0, help="questions a second, default 10")
    parser.add_argument("--method", default="show", help="what is asked, default show")
    arguments = parser.parse_args()
    enter_namespace()
    from vnic import COMPILED

    bench = Bench(64, arguments.frames)
    with tempfile.TemporaryDirectory(prefix="vnic-bench-") as folder:
        daemon = Daemon(bench, Path(folder))
        asker = Asker(daemon.path, arguments.method, arguments.per_second)
        result: dict[str, Any] = {"core": "compiled" if COMPILED else "uncompiled", "cpus": os.cpu_count()}
        result |= {"asked": f"{arguments.method}, {arguments.per_second:g} a second"}
        result |= measure(bench, daemon, asker, arguments.rounds)
        result["ms_per_answer"] = cost_of_views(daemon)
        asker.process.kill()
        asker.process.wait()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
