"""
Microseconds of a ping's round trip: through `icmp_echo` in a daemon, against a C responder that blocks in read().

Both have a TAP in one network namespace, and are pinged in turn (C, vnic, C, vnic, ...) by the same C code. Each round gives a ratio
of medians, and all rounds together ratios of the 50th and of the 99th percentile. Who pings has a core of its own, or shares it.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import platform
import shlex
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drain import HERE, IFF_NO_PI, IFF_TAP, TUNSETIFF, enter_namespace

VNIC = f"{shlex.quote(sys.executable)} -P -m miniport run {{tap}} --driver arp --driver icmp_echo --log-format json"
PINGS, WARM = 110, 10
"""Pings of a round, and how many of them are not counted: whoever has just been pinged answers faster than who is asleep."""


@dataclass
class Responder:
    """One that is pinged: its name, its address, and what was measured."""

    name: str
    address: str
    times: list[int] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        """Nanoseconds within which so many of the round trips were done."""
        return float(sorted(self.times)[min(len(self.times) - 1, len(self.times) * percent // 100)])


def build() -> ctypes.CDLL:
    """Compile latency.c into a temporary folder and load it."""
    library = f"{tempfile.mkdtemp(prefix='vnic-latency-')}/latency.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, str(HERE / "latency.c")], check=True)
    return ctypes.CDLL(library)


def set_address(number: int) -> str:
    """Give a TAP a network of its own; what stands at its other end is answered for at the address returned."""
    subprocess.run(["ip", "addr", "add", f"10.0.{number}.1/24", "dev", f"lat{number}"], check=True)
    neighbour = ["lladdr", "02:00:00:00:00:02", "dev", f"lat{number}", "nud", "permanent"]
    subprocess.run(["ip", "neigh", "replace", f"10.0.{number}.2", *neighbour], check=True)
    return f"10.0.{number}.2"


def start_floor(code: ctypes.CDLL, core: int) -> Responder:
    """Open a blocking TAP and answer on it from a thread; the thread ends with the process."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", b"lat0", IFF_TAP | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", "lat0", "up"], check=True)

    def answer() -> None:
        os.sched_setaffinity(0, {core})
        code.respond(fd)

    threading.Thread(target=answer, daemon=True).start()
    return Responder("C, blocking read", set_address(0))


def start_daemon(number: int, name: str, command: str, core: int) -> tuple[Responder, subprocess.Popen[bytes]]:
    """Start a daemon on a TAP and wait until it is ready."""
    words = [*shlex.split(command.format(tap=f"lat{number}")), "--address", f"10.0.{number}.2/24"]
    env = os.environ | {"RUNTIME_DIRECTORY": tempfile.mkdtemp(prefix="vnic-latency-")}
    reader, writer = os.pipe()
    words = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), "env", *words, "--ready-fd", str(writer)]
    process = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, pass_fds=[writer])
    os.close(writer)
    if not os.read(reader, 100):
        raise SystemExit(f"latency: {name} did not start: {command}")
    os.close(reader)
    return Responder(name, set_address(number)), process


def measure(code: ctypes.CDLL, responders: list[Responder], rounds: int) -> None:
    """Ping all of them in turn."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as station:
        station.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 2, 0))
        times = (ctypes.c_longlong * PINGS)()
        for number in range(rounds + 1):
            for one in responders:
                got = code.ping(station.fileno(), socket.inet_aton(one.address), PINGS, times)
                if got != PINGS:
                    raise SystemExit(f"latency: {one.name} answered {got} of {PINGS}")
                if number:
                    one.times += times[WARM:]
                    one.medians.append(statistics.median(times[WARM:]))


def compare(floor: Responder, one: Responder) -> dict[str, Any]:
    """Microseconds, and ratios to the floor."""
    found: dict[str, Any] = {"name": one.name, "rounds": len(one.medians)}
    for percent in (50, 90, 99):
        found[f"p{percent}_us"] = round(one.percentile(percent) / 1000, 1)
        found[f"p{percent}_ratio"] = round(one.percentile(percent) / floor.percentile(percent), 2)
    ratios = sorted(mine / its for mine, its in zip(one.medians, floor.medians, strict=True))
    found["ratio"] = round(statistics.median(ratios), 3)
    found["quartiles"] = [round(ratios[len(ratios) // 4], 3), round(ratios[len(ratios) * 3 // 4], 3)]
    return found


def run(options: argparse.Namespace, core: int) -> list[dict[str, Any]]:
    """Measure with the responders on one core; who pings is on the first."""
    code = build()
    os.sched_setaffinity(0, {options.cores[0]})
    responders = [start_floor(code, core)]
    processes = []
    commands = [("vnic", VNIC)]
    if options.busy_poll_us:
        commands.append((f"vnic, busy-polls for {options.busy_poll_us} us", f"{VNIC} --busy-poll-us {options.busy_poll_us}"))
    commands += [tuple(text.partition(":")[::2]) for text in options.against]
    for number, (name, command) in enumerate(commands, 1):
        responder, process = start_daemon(number, name, command.strip(), core)
        responders.append(responder)
        processes.append(process)
    try:
        measure(code, responders, options.rounds)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    return [compare(responders[0], one) for one in responders]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help=f"rounds of {PINGS - WARM} pings for each (100)")
    parser.add_argument("--cores", metavar="N", type=int, nargs=2, default=[0, 1], help="who pings, who answers (0 1); may be the same")
    parser.add_argument("--busy-poll-us", metavar="US", type=int, default=50, help="of a second daemon, which does it (50); 0: none")
    parser.add_argument("--against", metavar='"NAME: COMMAND"', action="append", default=[], help="another daemon; {tap} is its interface")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    # it is run again, and finds its siblings by this
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    enter_namespace()
    import vnic

    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    found = run(options, options.cores[1])
    if options.json:
        print(json.dumps({"cores": options.cores, "compiled": vnic.COMPILED, "python": platform.python_version(), "responders": found}))
        return 0
    where = "on one core" if options.cores[0] == options.cores[1] else "each on its core"
    kind = "compiled" if vnic.COMPILED else "uncompiled"
    print(f"round trip of a ping, who pings and who answers {where}, {kind} core, Python {platform.python_version()}")
    print(f"  {'':34} p50 us  p99 us  p50 ratio  p99 ratio  ratio of medians, quartiles")
    for row in found:
        low, high = row["quartiles"]
        print(
            f"  {row['name']:34} {row['p50_us']:6}  {row['p99_us']:6}  {row['p50_ratio']:9}  {row['p99_ratio']:9}"
            f"  {row['ratio']:6} ({low} to {high})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
