"""
The demonstration: one daemon, five drivers, every kind of traffic, the kernel's own pings, and the sums.

Started by scripts/demo inside a private network namespace. It imports nothing of vnic: what it knows, it read in the daemon's log
and on the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
KINDS = ("arp", "ping", "ping6", "flood", "sizes", "vlan", "mix", "malformed")
# as fast as five Python drivers follow on a slow machine; without --rate the queue in front of them would drop, and count, the rest
FLOOD = ("--count", "50000", "--rate", "25000")
TARGET, TARGET6 = "10.0.0.2", "fd00::2"


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, timeout=100, check=False, **options)


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon, with its log in a file; it is ready when this yields, and gone when it is left."""
    ready, tell = os.pipe()
    command = [str(BIN / "vnic"), "run", "vnic0", "--address", f"{TARGET}/24", "--address", f"{TARGET6}/64"]
    for driver in ("sink", "arp", "icmp_echo", f"capture file={shlex.quote(str(folder))}/frames.pcapng", "hold hold_ms=5 random=yes"):
        command += ["--driver", driver]
    command += ["--stats-interval", "0.5", "--log-format", "json", "--ready-fd", str(tell)]
    with (folder / "log").open("w") as log:
        # its control socket is there, too: another demo may run beside this one
        private = os.environ | {"RUNTIME_DIRECTORY": str(folder)}
        process = subprocess.Popen(command, stderr=log, pass_fds=[tell], text=True, env=private)
    os.close(tell)
    try:
        with os.fdopen(ready) as announcement:
            if not announcement.read():
                raise SystemExit(f"demo: the daemon did not start: {(folder / 'log').read_text().strip()}")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ping(target: str) -> tuple[str, bool]:
    """Let the kernel ping; answer a line for people, and whether nothing was lost."""
    done = run("ping", "-q", "-c", "50", "-i", "0.01", target)
    found = re.search(r"(\d+) packets transmitted, (\d+) received.*?([\d.]+)% packet loss", done.stdout)
    times = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    if not found:
        return f"ping {target}: {(done.stderr or done.stdout).strip()}", False
    average = times[1] if times else "?"
    return f"ping {target}: {found[2]} of {found[1]} answered, {found[3]} % lost, {average} ms on average", found[3] == "0"


def traffic(kind: str, *options: str) -> dict[str, Any]:
    """Fire one kind of traffic; answer its own account of it."""
    command = [sys.executable, str(HERE / "traffic/run.py"), kind, "--iface", "vnic0", "--json", *options]
    done = run(*command)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"demo: traffic {kind} failed: {done.stderr.strip()}")
    account: dict[str, Any] = json.loads(lines[-1])
    return account | {"status": done.returncode}


def wait_for_quiet(process: subprocess.Popen[str]) -> None:
    """Wait, at most two seconds, until the daemon has read everything: the interface's count stands still."""
    before = -1
    for _ in range(20):
        now = next(int(line.split()[9]) for line in Path("/proc/net/dev").read_text().splitlines() if "vnic0:" in line)
        if now == before or process.poll() is not None:
            return
        before = now
        time.sleep(0.1)


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return [entry for line in (folder / "log").read_text().splitlines() if (entry := json.loads(line))["event"] == name]


def wrong_sums(counters: dict[str, Any]) -> list[str]:
    """Add up one line of counters; answer what does not come out."""
    drops = sum(value for key, value in counters.items() if key.startswith("rx_dropped_"))
    held_below = sum(value for key, value in counters.items() if key.startswith("tx_dropped_")) + counters["tx_pending"]
    checks = {
        "read = delivered + filtered + dropped": counters["rx_frames"] == counters["rx_delivered"] + counters["rx_filtered"] + drops,
        "indicated = returned + held": counters["indicated"] == counters["returned"] + counters["held"],
        "submitted = sent + dropped + pending": counters["tx_submitted"] == counters["tx_frames"] + held_below,
        "read = taken from the interface": counters["rx_frames"] == counters.get("if_tx_packets", counters["rx_frames"]),
    }
    return [name for name, holds in checks.items() if not holds]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Show the daemon at work, and add up.")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the log and the capture there")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vnic-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        return show(folder)


def show(folder: Path) -> int:
    faults: list[str] = []
    run("ip", "link", "set", "lo", "up")
    with daemon(folder) as process:
        ready = events(folder, "ready")[0]
        starting = events(folder, "starting")[0]
        print(f"vnic {starting['version']} ({starting['core']} core) on {ready['adapter']}: drivers {', '.join(ready['drivers'])}")
        run("ip", "address", "add", "10.0.0.1/24", "dev", "vnic0")
        run("ip", "address", "add", "fd00::1/64", "dev", "vnic0", "nodad")
        for target in (TARGET, TARGET6):
            line, whole = ping(target)
            print(f"  {line}")
            faults += [] if whole else [line]
        accounts = [traffic(kind, *FLOOD if kind == "flood" else ()) for kind in KINDS]
        process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 5
        while not (folder / "frames.pcapng.1").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        accounts.append(traffic("replay", "--file", str(folder / "frames.pcapng.1"), "--count", "10000"))
        wait_for_quiet(process)
    print_traffic(accounts)
    for account in accounts:
        if account["status"] or account["unexplained"]:
            faults.append(f"traffic {account['kind']}: {account['unexplained']} unexplained")
    lines = events(folder, "counters")
    for counters in lines:
        faults += [f"counters at {counters['ts']}: not so: {wrong}" for wrong in wrong_sums(counters)]
    faults += [] if process.returncode == 0 else [f"the daemon's exit status is {process.returncode}"]
    faults += [json.dumps(entry) for name in ("violation", "driver_error") for entry in events(folder, name)]
    return verdict(accounts, lines, faults)


def print_traffic(accounts: list[dict[str, Any]]) -> None:
    print(f"\n  {'traffic':<10} {'sent':>8} {'taken':>8} {'queue drops':>12} {'replies due':>12} {'replies':>8} {'unexplained':>12}")
    for one in accounts:
        row = (one["sent"], one["taken"], one["dropped"], one["replies_due"], one["replies"], one["unexplained"])
        print("  {:<10} {:>8} {:>8} {:>12} {:>12} {:>8} {:>12}".format(one["kind"], *row))


def verdict(accounts: list[dict[str, Any]], lines: list[dict[str, Any]], faults: list[str]) -> int:
    """Print the sums; 0 only if they come out."""
    last = lines[-1]
    drops = sum(value for key, value in last.items() if key.startswith("rx_dropped_"))
    unexplained = sum(account["unexplained"] for account in accounts)
    lost = last["rx_frames"] - last["rx_delivered"] - last["rx_filtered"] - drops
    print(f"\n  read {last['rx_frames']} = delivered {last['rx_delivered']} + filtered {last['rx_filtered']} + dropped {drops}")
    print(f"  interface: handed over {last['if_tx_packets']}, dropped by its queue before {last['if_tx_dropped']}")
    print(f"  indicated {last['indicated']} = returned {last['returned']} + held {last['held']}; replies sent {last['tx_frames']}")
    pool = f"pool {last['pool_free']} of {last['pool_capacity']} free, fewest {last['pool_low_water']}"
    print(f"  {pool}; {len(lines)} lines of counters added up")
    if last["pool_free"] != last["pool_capacity"]:
        faults.append("the pool is not full")
    for fault in faults[:20]:
        print(f"  FAULT {fault}")
    print(f"\n  lost {lost}, unexplained {unexplained}: {'every frame is accounted for' if not faults else f'{len(faults)} faults'}")
    return 1 if faults or lost or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
