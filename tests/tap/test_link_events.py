"""
What happens to an interface under a running daemon: down, up, renamed, deleted, somebody else's, handed over.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from tap.daemon import AS_NOBODY, PROMISCUOUS_SINK, Daemon, Sender, frame, ip, link, needs, run
from tap.namespace import NOBODY, namespaced, replace_device, until

from vnic.counters import broken_sums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

BEACON = f"{Path(__file__).with_name('beacon.py')}"
BAD = Path(__file__).parents[1] / "faults" / "bad_drivers.py"
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
TAP, NO_PI = 0x0002, 0x1000
ANSWERING = ("--address", "10.0.0.2/24", "--driver", "arp", "--driver", "icmp_echo")
SETTINGS = ("ifindex", "ifname", "mtu", "address", "flags", "txqlen")


class Load:
    """Frames without an end, from a thread of its own, whatever happens to the interface."""

    def __init__(self, frames: Sequence[bytes], name: str = "vnic0") -> None:
        self.frames = frames
        self.ending = threading.Event()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((name, 0))
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.ending.set()
        self.thread.join()
        self.socket.close()

    def run(self) -> None:
        # about 30,000 frames a second: the pause is the rate, nothing waits for it
        while not self.ending.wait(0.001):
            for one in self.frames:
                try:
                    self.socket.send(one)
                except OSError:
                    break


def settings(name: str) -> dict[str, object]:
    """What the owner of an interface has set; its carrier comes and goes with the reader."""
    shown = link(name)
    assert shown is not None
    return {key: shown[key] for key in SETTINGS} | {"flags": sorted(set(shown["flags"]) - {"LOWER_UP", "NO-CARRIER"})}


def raw_tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP | NO_PI))
    return fd


@needs("ping", "iputils-ping")
@namespaced
def test_down_and_up_under_traffic_is_told_and_traffic_flows_again(tmp_path: Path) -> None:
    words = (*PROMISCUOUS_SINK, *ANSWERING, "--driver", BEACON, "--driver", "hold hold_ms=2", "--stats-interval", "0.05")
    with Daemon(tmp_path, *words) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        with Load([frame()] * 20):
            for turn in range(1, 4):
                seen = daemon.dump()[0]["rx_frames"]
                until(lambda seen=seen: daemon.dump()[0]["rx_frames"] > seen)
                ip("link", "set", "vnic0", "down")
                daemon.wait_for("link", state="down", count=turn)
                refused = daemon.dump()[0]["tx_dropped_link_down"]
                until(lambda refused=refused: daemon.dump()[0]["tx_dropped_link_down"] > refused)
                ip("link", "set", "vnic0", "up")
                daemon.wait_for("link", state="up", count=turn)
        run("ping", "-q", "-c", "5", "-i", "0.01", "10.0.0.2")
        daemon.quiet()
        last = daemon.stop()
        # the beacon sends between two lines of the log: only the last ones can be compared
        assert daemon.events("binding", driver="sink")[-1]["delivered"] == last["rx_frames"] + last["tx_frames"]
        assert (last["driver_errors"], last["violations"]) == (0, 0)
        assert [event["state"] for event in daemon.events("link")] == ["down", "up"] * 3


@namespaced
def test_a_link_that_is_down_costs_no_processor_time(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--stats-interval", "0.1") as daemon:
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        before, after = daemon.cpu_seconds(), daemon.mark()
        daemon.wait_for("counters", after, count=8)
        assert daemon.cpu_seconds() - before < 0.15
        daemon.stop()


@namespaced
def test_a_deleted_interface_is_named_and_ends_the_daemon_with_all_packets_home(tmp_path: Path) -> None:
    words = (*PROMISCUOUS_SINK, "--driver", "hold hold_ms=60000 count=500", "--driver", BEACON, "--stats-interval", "0.05")
    with Daemon(tmp_path, *words) as daemon:
        with Load([frame()] * 50):
            until(lambda: daemon.dump()[0]["rx_frames"] > 2000)
            ip("link", "delete", "vnic0")
            assert daemon.wait(10) == 69
        last = daemon.check_log()
        told = daemon.events("link", state="deleted")
        assert [(event["level"], event["adapter"]) for event in told] == [("error", "vnic0")]
        assert daemon.events("stopping")[0]["reason"] == "interface deleted"
        assert (last["held"], last["pool_free"], last["violations"], last["driver_errors"]) == (0, last["pool_capacity"], 0, 0)


@namespaced
def test_a_link_that_is_up_again_while_a_driver_works_is_not_taken_for_down(tmp_path: Path) -> None:
    driver, done = tmp_path / "slow.py", tmp_path / "done"
    driver.write_text(
        "import pathlib, time\n"
        "from vnic import PacketFilter, ProtocolDriver\n"
        "class Slow(ProtocolDriver):\n"
        "    '''Does not answer until a file is there.'''\n"
        "    packet_filter = PacketFilter.PROMISCUOUS\n"
        "    def receive_packet(self, packet):\n"
        f"        while not pathlib.Path({str(done)!r}).exists():\n"
        "            time.sleep(0.01)\n"
        "        return 0\n"
    )
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", f"{driver}:Slow") as daemon:
        with Sender() as sender:
            sender.send([frame()])
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("link", state="up")
        done.touch()
        until(lambda: daemon.answer("show")["adapters"][0]["link"] == "up")
        daemon.stop()


@namespaced
def test_after_the_interface_is_gone_the_daemon_waits_without_spinning(tmp_path: Path) -> None:
    # a driver that gives nothing back makes it wait until the drain timeout
    words = ("--driver", f"{BAD}:KeepsEverything", "--drain-timeout", "1.5", "--stats-interval", "0.1")
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        sender.send([frame()] * 100)
        daemon.quiet()
        ip("link", "delete", "vnic0")
        daemon.wait_for("stopping")
        before = daemon.cpu_seconds()
        assert os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT) is not None
        # the zombie still knows what it used
        assert daemon.cpu_seconds() - before < 0.4
        assert daemon.wait() == 70
        assert daemon.events("violation", id="60", driver="KeepsEverything")


@namespaced
def test_a_renamed_interface_is_told_and_counted_on(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--stats-interval", "0.1") as daemon:
        with Sender() as sender:
            sender.send([frame()] * 100)
        daemon.quiet()
        for before, after in (("vnic0", "other0"), ("other0", "third0")):
            ip("link", "set", before, "down")
            ip("link", "set", before, "name", after)
            ip("link", "set", after, "up")
            assert daemon.wait_for("link", state="renamed", before=before)["adapter"] == after
            daemon.wait_for("link", state="up", adapter=after)
            daemon.name = after
            with Sender(after) as sender:
                sender.send([frame()] * 100)
            daemon.quiet()
        last = daemon.stop()
        assert (last["rx_frames"], last["if_tx_packets"]) == (300, 300)
        assert daemon.events("stopping")[0]["adapter"] == "third0"


@namespaced
def test_an_interface_that_moves_away_and_back_is_told_and_goes_on(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK) as daemon, subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as keeper:
        until(lambda: not Path(f"/proc/{keeper.pid}/ns/net").samefile("/proc/self/ns/net"))
        ip("link", "set", "vnic0", "netns", str(keeper.pid))
        assert daemon.wait_for("link", state="moved")["level"] == "warning"
        # its counters are out of sight, its descriptor works
        run("nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip", "link", "set", "vnic0", "up")
        assert "if_tx_packets" not in daemon.dump()[0]
        run("nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip", "link", "set", "vnic0", "netns", str(os.getpid()))
        daemon.wait_for("link", state="back")
        ip("link", "set", "vnic0", "up")
        with Sender() as sender:
            sender.send([frame()] * 100)
            assert daemon.quiet()[0]["rx_frames"] >= 100
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert list(broken_sums(daemon.events("counters")[-1])) == []
        assert keeper.stdin is not None
        keeper.stdin.close()


@namespaced
def test_a_larger_mtu_is_told_and_longer_frames_are_counted_as_cut(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK) as daemon:
        ip("link", "set", "vnic0", "mtu", "9000")
        told = daemon.wait_for("link", state="mtu", mtu=9000, configured=1500)
        assert told["level"] == "warning"
        with Sender() as sender:
            sender.send([frame(bytes(1500)), frame(bytes(8000)), frame(bytes(1504)), frame(bytes(3000))] * 50)
        counters, bindings = daemon.quiet()
        assert (counters["rx_frames"], counters["rx_dropped_truncated"], bindings["sink"]["delivered"]) == (200, 100, 100)
        daemon.stop()


@pytest.mark.parametrize("mtu", ["1500", "1400"])
@needs("ping", "iputils-ping")
@namespaced
def test_an_unprivileged_owner_needs_no_capability_and_changes_nothing(tmp_path: Path, mtu: str) -> None:
    replace_device(0o666)
    ip("tuntap", "add", "vnic0", "mode", "tap", "user", str(NOBODY))
    ip("link", "set", "vnic0", "mtu", mtu, "address", "02:00:00:00:00:33", "up")
    ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
    before = settings("vnic0")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, "--driver", "hold", command=AS_NOBODY) as daemon:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert re.search(rf"^Uid:(\t{NOBODY}){{4}}$", status, re.MULTILINE)
        for which in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert f"{which}:\t{0:016x}\n" in status
        assert daemon.ready["ephemeral"] is False
        assert settings("vnic0") == before
        run("ping", "-q", "-c", "20", "-i", "0.01", "10.0.0.2")
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        assert settings("vnic0")["flags"] != before["flags"]
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("link", state="up")
        run("ping", "-q", "-c", "20", "-i", "0.01", "10.0.0.2")
        daemon.quiet()
        assert settings("vnic0") == before
        assert daemon.stop()["tx_frames"] >= 41
    assert settings("vnic0") == before, "somebody else's interface stays as it was"


@pytest.mark.parametrize("persistent", [False, True])
@namespaced
def test_a_tap_descriptor_is_handed_over(tmp_path: Path, persistent: bool) -> None:
    fd = raw_tap("vnic0")
    fcntl.ioctl(fd, TUNSETPERSIST, int(persistent))
    ip("link", "set", "vnic0", "up")
    before = settings("vnic0")
    with Daemon(tmp_path, "--tap-fd", str(fd), *PROMISCUOUS_SINK, pass_fds=[fd]) as daemon:
        os.close(fd)
        assert daemon.ready["ephemeral"] is not persistent
        with Sender() as sender:
            sender.send([frame()] * 500)
        counters, bindings = daemon.quiet()
        # the kernel may have sent some of its own before
        assert bindings["sink"]["delivered"] == counters["rx_frames"] >= 500
        assert not persistent or settings("vnic0") == before
        daemon.stop()
    assert (link("vnic0") is not None) is persistent


@namespaced
def test_a_link_that_is_down_at_the_start_is_told_and_used_when_it_comes_up(tmp_path: Path) -> None:
    ip("tuntap", "add", "vnic0", "mode", "tap")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", BEACON) as daemon:
        assert daemon.ready["link"] == "down"
        until(lambda: daemon.dump()[0]["tx_dropped_link_down"] > 0)
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("link", state="up")
        with Sender() as sender:
            sender.send([frame()] * 100)
        until(lambda: daemon.dump()[0]["tx_frames"] > 0)
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] == 100
        daemon.stop()


@namespaced
def test_a_driver_that_sends_as_soon_as_it_is_bound_is_told_no_cable_at_worst(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--driver", BEACON) as daemon:
        until(lambda: daemon.dump()[0]["tx_frames"] > 0)
        last = daemon.stop()
        assert last["tx_submitted"] == last["tx_frames"] + last["tx_dropped_link_down"] + last["tx_dropped_halted"]
