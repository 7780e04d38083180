"""
A daemon with several queues against the real kernel: flows are spread over all of them, answers go back where they came from, and the
daemon ends as with one.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tap.daemon import AS_NOBODY, PROMISCUOUS_SINK, VNIC, Daemon, Sender, ip, link, needs, ping, run
from tap.namespace import NOBODY, namespaced, replace_device, until

if TYPE_CHECKING:
    from collections.abc import Sequence

ECHO = ("--driver", "arp", "--driver", "icmp_echo", "--address", "10.0.0.2/24")
TUNSETIFF = 0x400454CA
TAP, MULTI_QUEUE, NO_PI = 0x0002, 0x0100, 0x1000


def spread(daemon: Daemon) -> list[int]:
    """Frames that came through each queue, as `vnic show` tells."""
    (adapter,) = daemon.answer("show", "NAME")["adapters"]
    return [queue["frames"] for queue in adapter["queues"]]


def flows(count: int, frames: int, to: str = "10.0.0.2", port: int = 9) -> None:
    """Send UDP from so many ports."""
    for number in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.0.0.1", 20_000 + number))
            for _ in range(frames):
                sender.sendto(bytes(32), (to, port))


def with_address(name: str = "vnic0") -> None:
    ip("addr", "add", "10.0.0.1/24", "dev", name)


@needs("ping", "iputils-ping")
@namespaced
def test_flows_are_spread_over_all_queues_and_pings_are_answered(tmp_path: Path) -> None:
    with Daemon(tmp_path, *ECHO, *PROMISCUOUS_SINK, "--queues", "2") as daemon:
        assert daemon.ready["queues"] == 2
        details = run("ip", "-d", "link", "show", "vnic0")
        assert "multi_queue" in details
        assert re.search(r"numqueues 2\b", details)
        with_address()
        ping("10.0.0.2", 100)
        flows(64, 50)
        counters, bindings = daemon.quiet()
        frames = spread(daemon)
        assert len(frames) == 2
        assert min(frames) > 100
        assert sum(frames) == counters["rx_frames"] >= 3300
        # it is shown what the others send, too
        assert bindings["sink"]["delivered"] == counters["rx_delivered"] + counters["tx_looped"]
        last = daemon.stop()
        assert last["rx_dropped_no_packet"] == 0
        assert link("vnic0") is None


@pytest.mark.skipif(not Path("/usr/sbin/ethtool").exists(), reason="needs ethtool: apt install ethtool")
@namespaced
def test_ethtool_shows_as_many_queues(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--queues", "3") as daemon:
        shown = run("ethtool", "-l", "vnic0")
        assert re.findall(r"Combined:\s*(\d+)", shown) == ["256", "3"]
        daemon.stop()


@namespaced
def test_answers_make_a_flow_stay_on_the_queue_that_they_went_out_by(tmp_path: Path) -> None:
    """The kernel remembers from which queue the last frame of a flow came; UDP echoes come back in the same number on each."""
    with Daemon(tmp_path, "--driver", "arp", "--driver", "udp echo=7", "--address", "10.0.0.2/24", "--queues", "4") as daemon:
        with_address()
        answered = 0
        for number in range(64):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(10)
                sender.bind(("10.0.0.1", 30_000 + number))
                for turn in range(10):
                    sender.sendto(bytes([turn]) * 20, ("10.0.0.2", 7))
                    answered += sender.recv(100) == bytes([turn]) * 20
        assert answered == 640
        frames = spread(daemon)
        assert min(frames) > 0
        assert sum(frames) >= 640
        daemon.stop()


@namespaced
def test_every_frame_is_accounted_for_under_load_with_keepers_and_a_reload(tmp_path: Path) -> None:
    config = tmp_path / "vnic0.toml"
    hold = '[[protocol]]\ndriver = "hold"\nhold_ms = 1\ncount = 200\n'
    sink = '[[protocol]]\ndriver = "sink"\npromiscuous = true\n'
    config.write_text("[loop]\nqueues = 2\n" + sink + hold)
    with Daemon(tmp_path, "--config", str(config), "--packets", "300", "--stats-interval", "0.02") as daemon, Sender() as sender:
        with_address()
        ip("neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "vnic0")
        drivers = ["sink", "hold"]
        for turn in range(6):
            config.write_text("[loop]\nqueues = 2\n" + sink + (hold if turn % 2 else ""))
            after = daemon.mark()
            daemon.signal(signal.SIGHUP)
            flows(16, 100)
            assert daemon.wait_for("reload", after)["needs_restart"] == []
            drivers = ["sink", "hold"] if turn % 2 else ["sink"]
        daemon.drivers = drivers
        until(lambda: sender.waiting() <= 0)
        counters, bindings = daemon.quiet()
        assert bindings["sink"]["delivered"] == counters["rx_delivered"]
        assert min(spread(daemon)) > 0
        daemon.stop()


@namespaced
def test_another_number_of_queues_needs_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "vnic0.toml"
    config.write_text("loop.queues = 2")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--config", str(config)) as daemon:
        config.write_text("loop.queues = 3")
        daemon.signal(signal.SIGHUP)
        assert daemon.wait_for("reload")["needs_restart"] == ["loop.queues"]
        daemon.stop()


@namespaced
def test_a_deleted_interface_is_told_of_once_and_ends_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=60000 count=50", "--queues", "3") as daemon:
        with_address()
        flows(32, 10)
        ip("link", "delete", "vnic0")
        assert daemon.wait() == 69
        assert len(daemon.events("link", state="deleted")) == 1
        last = daemon.check_log()
        assert last["pool_free"] == last["pool_capacity"]


@namespaced
def test_a_user_has_several_queues_of_a_persistent_interface(tmp_path: Path) -> None:
    replace_device(0o666)
    ip("tuntap", "add", "vnic0", "mode", "tap", "multi_queue", "user", str(NOBODY))
    ip("link", "set", "vnic0", "up")
    with_address()
    with Daemon(tmp_path, *ECHO, "--queues", "2", command=AS_NOBODY) as daemon:
        assert (daemon.ready["ephemeral"], daemon.ready["queues"]) == (False, 2)
        assert re.search(r"numqueues 2\b", run("ip", "-d", "link", "show", "vnic0"))
        ping("10.0.0.2", 20)
        flows(32, 5)
        assert daemon.quiet()[0]["rx_frames"] >= 180
        daemon.stop()
    assert re.search(r"numqueues 0\b", run("ip", "-d", "link", "show", "vnic0"))


@namespaced
def test_a_queue_that_is_given_is_the_first(tmp_path: Path) -> None:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"vnic0", TAP | NO_PI | MULTI_QUEUE))
    with Daemon(tmp_path, *ECHO, "--queues", "2", "--tap-fd", str(fd), pass_fds=[fd]) as daemon:
        os.close(fd)
        assert daemon.ready["queues"] == 2
        ip("link", "set", "vnic0", "up")
        with_address()
        ping("10.0.0.2", 20)
        flows(32, 5)
        assert min(spread(daemon)) > 0
        daemon.stop()


def refused(*words: str, command: Sequence[str] = (*VNIC, "run")) -> tuple[int, str]:
    """Start a daemon that cannot; its exit status, and the one line that it printed."""
    done = subprocess.run([*command, *words, "--control", "off", "--log-format", "text"], capture_output=True, text=True, timeout=20)
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@namespaced
def test_what_does_not_fit_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    ip("tuntap", "add", "one0", "mode", "tap")
    ip("tuntap", "add", "many0", "mode", "tap", "multi_queue")
    status, line = refused("one0", "--queues", "2")
    assert status == 78
    assert "'one0' is a TAP with one queue, 2 are asked for: as root: ip tuntap del one0 mode tap && ip tuntap add one0 " in line
    status, line = refused("many0")
    assert status == 78
    assert "'many0' is a TAP with several queues, one is asked for: say --queues 2 or more" in line
    status, line = refused("new0", "--queues", "257")
    assert (status, line) == (78, "vnic: error: --queues: 257 is not allowed: give an integer from 1 to 256")
    status, line = refused("new0", "--queues", "9", "--packets", "8")
    assert status == 78
    assert "--queues: 9 queues are more than the 8 packets" in line
    assert link("new0") is None
    with Daemon(tmp_path, "--queues", "2", name="busy0") as daemon:
        status, line = refused("busy0", "--queues", "2")
        assert status == 75
        assert f"'busy0' is in use, 2 of its 4 queues are another's, perhaps by pid {daemon.pid} " in line
        assert re.search(r"numqueues 2\b", run("ip", "-d", "link", "show", "busy0"))
        daemon.stop()


HANG = """
import time
from vnic import Packet, PacketFilter, ProtocolDriver


class Hang(ProtocolDriver):
    packet_filter = PacketFilter.PROMISCUOUS

    def receive_packet(self, packet: Packet) -> int:
        if packet.length == 101:
            time.sleep(3600)
        return 0
"""


@namespaced
def test_one_thread_that_hangs_is_named_and_the_other_queues_go_on(tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    words = ("--driver", f"{tmp_path}/hang.py:Hang", *PROMISCUOUS_SINK, "--queues", "2", "--drain-timeout", "0.1")
    with Daemon(tmp_path, *words, "--stats-interval", "0.2") as daemon:
        with_address()
        ip("neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "vnic0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(101 - 42), ("10.0.0.2", 9))
        until(lambda: sum(spread(daemon)) > 0)
        stuck = next(number for number, frames in enumerate(spread(daemon)) if frames)
        before = spread(daemon)[1 - stuck]
        flows(32, 5)
        until(lambda: spread(daemon)[1 - stuck] >= before + 20)
        until(lambda: f"the data thread of queue {stuck} does not answer: it is in a driver, at {tmp_path}/hang.py:11" in doctor(daemon))
        rows = daemon.answer("threads", "NAME")["threads"]
        assert [row["thread"] for row in rows if row["stuck"]] == [f"vnic-data-{stuck}"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 70
        (named,) = daemon.events("driver_error", type="Hang")
        assert named["where"] == f"{tmp_path}/hang.py:11"


def doctor(daemon: Daemon) -> str:
    """What the doctor says; something is wrong."""
    with suppress(AssertionError):
        return daemon.ask("doctor", "NAME", status=1)
    return ""
