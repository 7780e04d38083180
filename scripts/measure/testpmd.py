"""
DPDK's net_tap, as Debian packages it, on the same drain and live: its testpmd, which counts frames and drops them.

It is a process of its own that never sleeps. It is stopped while others are measured, and while its queue is filled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from contest import Found, Setting, contest
from live import Sender, take_turns, with_sender
from peers import against
from readers import Counter, Keeper, Reader
from taps import Tap

NAME = "tapdpdk"
LONGEST = 20.0
MOMENT = 0.004
MISSING = "not installed: apt install dpdk-dev librte-net-tap23 librte-mempool-ring23"


class Testpmd:
    """DPDK on a TAP of its own; stopped, unless it is to read."""

    def __init__(self, cores: list[int]) -> None:
        command = ["dpdk-testpmd", "-l", f"{cores[0]},{cores[1]}", "--main-lcore", str(cores[1]), "--no-huge", "-m", "256", "--no-pci"]
        command += ["--no-telemetry", f"--file-prefix=bench{os.getpid()}", f"--vdev=net_tap0,iface={NAME}", "--"]
        command += ["-i", "--forward-mode=rxonly", "--auto-start", "--total-num-mbufs=16384"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        said = b""
        while b"testpmd> " not in said:
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                raise OSError(said.decode(errors="replace").strip().splitlines()[-1])
            said += chunk
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        self.reader = next(task for task in tasks if (task / "comm").read_text().startswith("rte-worker"))
        self.pause()

    def go(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def read(self) -> int:
        """Frames that it has read so far, as the interface counts them."""
        line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith(f"{NAME}:"))
        return int(line.partition(":")[2].split()[9])

    def used(self) -> int:
        """Processor time of the thread that reads, in nanoseconds; exact while it is stopped."""
        return int(Path(f"{self.reader}/schedstat").read_text().split()[0])

    def drain(self, count: int) -> int:
        """
        So many that are queued.

        It is let go for a moment at a time, and looked at while it is stopped. Two kinds of moments do not count: those in which it is busy
        with the signals that came with the frames while it was stopped, one for each, and the last, when no frames are left.

        Returns:
            The nanoseconds of its thread.
        """
        wanted, end = self.read() + count, time.monotonic() + LONGEST
        frames = taken = 0
        while True:
            read, used = self.read(), self.used()
            self.go()
            time.sleep(MOMENT)
            self.pause()
            read, used = self.read() - read, self.used() - used
            if self.read() >= wanted:
                return used if frames == 0 else taken * count // frames
            if read:
                frames, taken = frames + read, taken + used
            if time.monotonic() > end:
                raise SystemExit(f"bench: DPDK left {wanted - self.read()} of {count} frames")

    def drain_for(self, ns: int) -> int:
        """Whatever comes for so many nanoseconds; answers the frames."""
        before = self.read()
        self.go()
        time.sleep(ns / 1e9)
        frames = self.read() - before
        self.pause()
        return frames

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def measure(setting: Setting) -> list[Found]:
    """
    Prefilled and live, 64 bytes.

    Returns:
        How many times as fast as it vnic is, with two Python drivers, one of which keeps and returns every packet.
    """
    cores = sorted(os.sched_getaffinity(0))
    names = ["against DPDK net_tap, prefilled", "against DPDK net_tap, live"]
    if shutil.which("dpdk-testpmd") is None:
        return [Found(name, why=MISSING) for name in names]
    if len(cores) < 2:
        return [Found(name, why="one core: DPDK never sleeps") for name in names]
    try:
        peer = Testpmd(cores)
    except OSError as error:
        return [Found(name, why=f"DPDK does not start: {error}") for name in names]
    tap = Tap(64, setting.cold, clock=setting.clock)
    reader = Reader(tap.fd, [Counter(), Keeper()], clock=setting.clock)
    theirs = Tap(64, setting.cold, name=NAME, fd=-1, floor=tap.floor, clock=setting.clock)
    try:
        return [prefilled(setting, tap, reader, peer, theirs), live(setting, tap, reader, peer, theirs, cores)]
    finally:
        peer.close()
        reader.close()
        theirs.close()
        tap.close()


def prefilled(setting: Setting, tap: Tap, reader: Reader, peer: Testpmd, theirs: Tap) -> Found:
    """Frames are queued for both; each reads those of its own TAP."""

    def its(count: int) -> int:
        # the contest has filled our queue, and its own is wanted
        tap.drain(count)
        theirs.fill(count)
        return peer.drain(count)

    found = contest(
        tap,
        tap.drain,
        {"vnic": reader.drain, "peer": its},
        rounds=setting.rounds,
        frames=setting.cold,
        burst=setting.cold,
        tolerance=setting.tolerance,
    )
    return against("against DPDK net_tap, prefilled", found["vnic"], found["peer"])


def live(setting: Setting, tap: Tap, reader: Reader, peer: Testpmd, theirs: Tap, cores: list[int]) -> Found:
    """The reader on one core, a C sender on the other."""
    to_us, to_them = Sender(tap, cores[1]), Sender(theirs, cores[1])
    os.sched_setaffinity(0, {cores[0]})

    def its(ns: int) -> int:
        # it has the first core, where this program sleeps meanwhile
        return with_sender(to_them, peer.drain_for)(ns)

    try:
        found = take_turns(
            with_sender(to_us, lambda ns: int(tap.floor.drain_for(tap.fd, ns))),
            {"vnic": with_sender(to_us, reader.drain_for), "peer": its},
            2 * setting.rounds,
            setting.tolerance,
        )
    finally:
        for sender in (to_us, to_them):
            sender.close()
        os.sched_setaffinity(0, set(cores))
    return against("against DPDK net_tap, live", found["vnic"], found["peer"])
