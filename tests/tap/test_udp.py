"""
The kernel's own UDP sockets talk to programs above the driver `udp`: every datagram comes back as it went, and all packets are home.
"""

from __future__ import annotations

import json
import random
import secrets
import socket
import subprocess
import time
from pathlib import Path
from zlib import crc32

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, frame, ip, needs
from tap.namespace import namespaced, until

PROGRAMS = Path(__file__).with_name("udp_programs.py")
ADDRESS = ("--address", "10.0.0.2/24")
OFTEN = ("--stats-interval", "0.5")
WINDOW = 128
"""Datagrams on their way: the interface's queue has room for 500."""


def connected(port: int) -> socket.socket:
    """A socket that talks to a port of the daemon's."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("10.0.0.2", port))
    made.settimeout(10)
    return made


def exchange(made: socket.socket, count: int, rng: random.Random, longest: int, reply: object = None) -> None:
    """Send datagrams, a window of them at a time; each must be answered in order, by itself or by what `reply` makes of it."""
    noise = rng.randbytes(longest)
    waiting: list[bytes] = []
    for number in range(count):
        data = (number.to_bytes(4) + noise[rng.randrange(longest) :])[:longest]
        made.send(data)
        waiting.append(data if reply is None else crc32(data).to_bytes(4) + data[:4])
        # the first one goes alone: while the kernel asks for our MAC address, it keeps only so many
        if len(waiting) == WINDOW or number in (0, count - 1):
            for expected in waiting:
                assert made.recv(2000) == expected
            waiting.clear()


@namespaced
def test_echo_sends_a_hundred_thousand_datagrams_of_the_kernel_back_unharmed(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ADDRESS, "--driver", "udp echo=7 discard=9", *OFTEN) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        begun = time.monotonic()
        with connected(7) as made:
            exchange(made, 100_000, random.Random(seed), 1472)
        print(f"{time.monotonic() - begun:.1f} s")
        with connected(9) as made:
            for _ in range(100):
                made.send(b"to be forgotten")
        _, bindings = daemon.quiet()
        assert bindings["udp"]["delivered"] >= 100_100
        assert bindings["udp"]["held"] == bindings["udp"]["errors"] == 0
        last = daemon.stop()
        assert last["tx_frames"] >= 100_000
        assert last["violations"] == last["driver_errors"] == last["rx_dropped_no_packet"] == last["if_tx_dropped"] == 0


@pytest.mark.parametrize("behind", [0, 40])
@namespaced
def test_a_client_keeps_packets_and_returns_them_from_another_thread(tmp_path: Path, behind: int) -> None:
    seed, report = secrets.randbits(32), tmp_path / "report.json"
    print(f"seed {seed}")
    with Daemon(tmp_path, *ADDRESS, "--driver", f"{PROGRAMS}:Programs report={report} behind={behind}", *OFTEN) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with connected(4242) as made:
            exchange(made, 20_000, random.Random(seed), 1472, reply=crc32)
        _, bindings = daemon.quiet()
        until(lambda: daemon.dump()[1]["Programs"]["held"] == behind)
        assert bindings["Programs"]["promised"] == 20_000
        last = daemon.stop()
        assert last["violations"] == last["driver_errors"] == 0
    counted = json.loads(report.read_text())
    assert counted["in_delivered"] == counted["sent"] == counted["datagrams"] == 20_000
    assert counted["most_kept"] > 1


@namespaced
def test_with_few_packets_some_come_as_copies_and_none_is_lost(tmp_path: Path) -> None:
    seed, report = secrets.randbits(32), tmp_path / "report.json"
    print(f"seed {seed}")
    words = ("--packets", "64", *ADDRESS, "--driver", f"{PROGRAMS}:Programs report={report}", *OFTEN)
    with Daemon(tmp_path, *words) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with connected(4242) as made:
            answers = set()
            for start in range(0, 2000, 50):
                numbers = range(start, start + 50)
                for number in numbers:
                    made.send(number.to_bytes(4))
                answers |= {made.recv(100)[4:] for _ in numbers}
        assert answers == {number.to_bytes(4) for number in range(2000)}
        _, bindings = daemon.quiet()
        assert bindings["Programs"]["resources"] > 0
        last = daemon.stop()
        assert last["driver_errors"] == last["violations_refused"] == 0
        assert {event["id"] for event in daemon.events("violation")} <= {"26"}
    counted = json.loads(report.read_text())
    assert counted["in_delivered"] == counted["datagrams"] == 2000


@namespaced
def test_what_a_client_never_returns_is_taken_back_at_the_end_and_told_of(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = (*ADDRESS, "--drain-timeout", "0.2", "--driver", f"{PROGRAMS}:Programs report={report} leak=yes")
    with Daemon(tmp_path, *words) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with connected(4243) as made:
            for _ in range(10):
                made.send(b"kept")
        _, bindings = daemon.quiet()
        assert bindings["Programs"]["held"] == 10
        last = daemon.stop(status=70)
        assert {event["id"] for event in daemon.events("violation")} == {"60"}
        assert last["indicated"] == last["returned"]


@namespaced
def test_a_client_that_raises_is_logged_with_its_line_and_the_others_do_not_notice(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with Daemon(tmp_path, *ADDRESS, "--driver", f"{PROGRAMS}:Programs report={report}") as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with connected(4243) as bad, connected(7) as good:
            bad.send(b"x")
            exchange(good, 100, random.Random(1), 100)
        told = daemon.wait_for("driver_error", driver="Programs")
        line = next(n for n, text in enumerate(PROGRAMS.read_text().splitlines(), start=1) if "no more today" in text)
        assert (told["handler"], told["message"]) == ("chained_receive of client Bad", "no more today")
        assert told["where"] == f"{PROGRAMS}:{line}"
        assert daemon.stop()["driver_errors"] == 1
    assert json.loads(report.read_text())["in_refused"] == 1


@namespaced
def test_a_program_that_sends_first_asks_the_kernel_by_arp(tmp_path: Path) -> None:
    file = tmp_path / "first.py"
    file.write_text(
        "from protocol.udp import Udp\n"
        "from vnic import PacketFilter, Packet\n\n\n"
        "class First(Udp):\n"
        "    packet_filter = Udp.packet_filter | PacketFilter.PROMISCUOUS\n\n"
        "    def receive_packet(self, packet: Packet) -> int:\n"
        "        if packet.ethertype == 0x88B5:\n"
        "            self.send_to('10.0.0.1', 5555, b'first', 6666)\n"
        "        return super().receive_packet(packet)\n"
    )
    with Daemon(tmp_path, *ADDRESS, "--driver", f"{file}:First") as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            made.bind(("10.0.0.1", 5555))
            made.settimeout(10)
            raw.bind(("vnic0", 0))
            raw.send(frame())
            assert made.recvfrom(100) == (b"first", ("10.0.0.2", 6666))
        daemon.quiet()
        assert daemon.stop()["driver_errors"] == 0


@needs("nc", "netcat-openbsd")
@pytest.mark.parametrize("data", [b"hello\n", bytes(1400)], ids=len)
@namespaced
def test_nc_hears_its_echo(tmp_path: Path, data: bytes) -> None:
    with Daemon(tmp_path, *ADDRESS, "--driver", "udp echo=7") as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        said = subprocess.run(["nc", "-u", "-w", "1", "10.0.0.2", "7"], input=data, capture_output=True, timeout=20)
        assert said.stdout == data
        daemon.stop()
