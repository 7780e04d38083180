"""
Starts the daemon as a user would, reads its log, and checks every line of counters in it; and sends it frames.

A test that uses it runs in a network namespace of its own: see `namespaced` in `tests/tap/namespace.py`.

Next: `tests/tap/test_daemon.py`.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from tap.namespace import NOBODY, until

from vnic.counters import COUNTED, broken_sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

Event = dict[str, Any]

VNIC = (sys.executable, "-P", "-m", "miniport")
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
AS_NOBODY = (
    sys.executable,
    "-P",
    "-c",
    f"""
import os, sys
import miniport.cli, miniport.config, miniport.daemon, miniport.link, protocol.arp, protocol.hold, protocol.icmp_echo, protocol.sink
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(miniport.cli.main(["run", *sys.argv[1:]]))
""",
)
"""`vnic run` by a user without any right. The interpreter may be where only root can go, so everything is imported before."""
PROMISCUOUS_SINK = ("--driver", "sink promiscuous=yes")
OUR_MAC = bytes.fromhex("020000000002")
IN_FLIGHT = 400
"""Frames that may wait in the interface's queue of 500."""


class Daemon:
    """
    One daemon that is ready.

    Args:
        folder: where its log goes.
        words: the arguments of `vnic run`; an interface's name is not among them.
        name: the interface.
        command: what runs; for another user, or another parent.
        pass_fds: descriptors that it inherits.

    Attributes:
        asked: how many lines the log had when the last `dump` asked for more.
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        name: str = "vnic0",
        command: Sequence[str] = (*DIE_WITH_PARENT, *VNIC, "run"),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.asked = 0
        self.log = folder / f"{name}.log"
        self.folder = folder
        # its control socket is there: /run/vnic is one for all network namespaces
        self.env = os.environ | {"RUNTIME_DIRECTORY": str(folder)}
        self.begun = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, name, *words], stderr=log, stdin=subprocess.DEVNULL, pass_fds=pass_fds, env=self.env)
        self.pid = self.process.pid
        try:
            self.ready = self.wait_for("ready")
        except BaseException:
            self.kill()
            raise
        self.ready_at = time.monotonic()
        self.name = name
        self.filters: list[str] = self.ready["filters"]
        self.drivers: list[str] = self.ready["drivers"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            print("the end of the log:", *self.log.read_text().splitlines()[-30:], sep="\n")
        self.kill()

    def kill(self) -> None:
        """End the process if it still lives; no zombie is left."""
        self.process.kill()
        self.process.wait()

    def events(self, name: str | None = None, after: int = 0, **fields: Any) -> list[Event]:
        """
        Read the log, one JSON object a line; a line that is being written is left for later.

        Args:
            name: only these events.
            after: leave out so many lines of the log.
            fields: only events with these values.
        """
        *lines, _ = self.log.read_bytes().split(b"\n")
        found: list[Event] = [json.loads(line) for line in lines[after:]]
        named = [event for event in found if name in (None, event["event"])]
        return [event for event in named if all(event.get(key) == value for key, value in fields.items())]

    def ask(self, *words: str, status: int = 0) -> str:
        """
        Ask it something by the command line, as a user would.

        Args:
            words: the command and its arguments; `NAME` stands for the interface.
            status: the exit status that is expected.

        Returns:
            What was printed.
        """
        given = [self.name if word == "NAME" else word for word in words]
        done = subprocess.run([*VNIC, *given], capture_output=True, text=True, timeout=30, env=self.env)
        assert done.returncode == status, f"vnic {' '.join(given)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        self.complaint = done.stderr
        return done.stdout

    def answer(self, *words: str, status: int = 0) -> Any:
        """Ask it something, and read the JSON."""
        return json.loads(self.ask(*words, "--json", status=status))

    def mark(self) -> int:
        """How many lines the log has now, for `after`."""
        return self.log.read_bytes().count(b"\n")

    def wait_for(self, name: str, after: int = 0, seconds: float = 10.0, count: int = 1, **fields: Any) -> Event:
        """Wait for an event; fail if it does not come, or the process ends without it."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            found = self.events(name, after, **fields)
            if len(found) >= count:
                return found[count - 1]
            wanted = f"{count} x {name} {fields}"
            assert not ended, f"ended with {self.process.returncode} before {wanted}:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"no {wanted} in {seconds} s:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def dump(self) -> tuple[Event, dict[str, Event]]:
        """
        Ask for counters and bindings by SIGUSR1.

        Returns:
            The counters, and the bindings by their names.
        """
        after = self.asked = self.mark()
        self.signal(signal.SIGUSR1)
        bound = self.filters + self.drivers
        self.wait_for("binding" if bound else "counters", after, count=max(len(bound), 1))
        events = self.events(after=after)
        first = next((index for index, event in enumerate(events) if event["event"] == "binding"), len(events))
        bindings = events[first : first + len(bound)]
        assert [binding["driver"] for binding in bindings] == bound
        counters = next(event for event in reversed(events[:first]) if event["event"] == "counters")
        check_counters(counters)
        return counters, {binding["driver"]: binding for binding in bindings}

    def quiet(self) -> tuple[Event, dict[str, Event]]:
        """Like `dump`, when every frame that entered the interface has been taken; the interface must have counted the same."""
        until(lambda: taken(self.name) == self.dump()[0]["if_tx_packets"])
        counters, bindings = self.dump()
        assert counters["rx_frames"] == counters["if_tx_packets"]
        return counters, bindings

    def wait(self, seconds: float = 15.0) -> int:
        """Wait for the end of the process; its exit status."""
        return self.process.wait(seconds)

    def stop(self, status: int = 0) -> Event:
        """
        End it by SIGTERM; check every line of counters, and that all packets are home.

        Args:
            status: the exit status that is expected.

        Returns:
            The last counters.
        """
        self.signal(signal.SIGTERM)
        assert self.wait() == status, self.log.read_text()[-4000:]
        last = self.check_log()
        # what was taken back by force is kept from use for as long as its driver refers to it
        withheld = last["pool_quarantined"] if self.events("violation", id="60") else 0
        assert last["pool_free"] + withheld == last["pool_capacity"]
        assert last["rx_frames"] == last["if_tx_packets"]
        assert last["tx_frames"] == last["if_rx_packets"]
        return last

    def check_log(self) -> Event:
        """Check what must hold of each line of counters, and from one to the next; the last one."""
        lines = self.events("counters")
        for line in lines:
            check_counters(line)
        for before, after in itertools.pairwise(lines):
            assert [row.name for row in COUNTED if after[row.name] < before[row.name]] == []
        for line in self.events("virtual_counters"):
            check_counters(line)
        assert self.events("stopped", lost_log_lines=0)
        return lines[-1]

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        """Memory that it has resident, in KiB."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def check_counters(values: Event) -> None:
    """Check that every frame and packet of a snapshot is accounted for."""
    assert list(broken_sums(values)) == [], values


def interface_statistics(name: str) -> tuple[int, int, int] | None:
    """The kernel's own counts: frames taken by the reader, dropped by the queue, written by the reader; None if the interface is gone."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        label, _, columns = line.rpartition(":")
        if label.strip() == name:
            values = [int(column) for column in columns.split()]
            return values[9], values[11], values[1]
    return None


def taken(name: str) -> int:
    """Frames that the reader of an interface has taken."""
    found = interface_statistics(name)
    assert found is not None, f"interface {name} is gone"
    return found[0]


class Sender:
    """
    Sends raw frames into an interface, as the kernel's own stack would.

    Attributes:
        sent: frames handed over.
    """

    def __init__(self, name: str = "vnic0") -> None:
        self.name = name
        self.sent = 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((name, 0))
        self.before = self.gone_through()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def gone_through(self) -> int:
        """Frames that were taken, or dropped by the queue."""
        found = interface_statistics(self.name)
        assert found is not None, f"interface {self.name} is gone"
        return found[0] + found[1]

    def waiting(self) -> int:
        """Frames that are in the queue still, at most: frames of others make it look shorter."""
        return self.sent - (self.gone_through() - self.before)

    def send(self, frames: Iterable[bytes], *, paced: bool = True) -> None:
        """Send frames; `paced`: so that the queue does not overflow. Ends when all of them have gone through."""
        send = self.socket.send
        for number, frame in enumerate(frames):
            if paced and number % 128 == 127 and self.waiting() > IN_FLIGHT - 128:
                until(lambda: self.waiting() <= IN_FLIGHT - 128, 20)
            try:
                send(frame)
            except OSError as error:
                # the queue is full: the kernel has counted the frame as dropped
                if error.errno != errno.ENOBUFS:
                    raise
            self.sent += 1
        until(lambda: self.waiting() <= 0, 20)


def frame(payload: bytes = bytes(46), to: bytes = OUR_MAC, ethertype: int = 0x88B5) -> bytes:
    """Make a frame from a station that does not exist."""
    return to + bytes.fromhex("020000000064") + ethertype.to_bytes(2) + payload


def run(*words: str) -> str:
    """Run a program that must succeed; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def ping(target: str, count: int, size: int = 56) -> None:
    """Ping, and require every answer, unharmed."""
    said = run("ping", "-n", "-q", "-c", str(count), "-i", "0.01", "-W", "5", "-s", str(size), "-M", "do", target)
    assert re.search(rf"{count} packets transmitted, {count} received, 0% packet loss", said), said


def ip(*words: str) -> str:
    """Run `ip`."""
    return run("ip", *words)


def link(name: str) -> Event | None:
    """What `ip` says about an interface; None if there is none."""
    links: list[Event] = json.loads(run("ip", "-j", "link"))
    return next((found for found in links if found["ifname"] == name), None)


def allow_ipv6() -> None:
    """Let the kernel speak IPv6 on interfaces that are made from now on."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("0")


def needs(program: str, package: str) -> Callable[[Any], Any]:
    """The mark of a test that needs a program."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}: apt install {package}")
