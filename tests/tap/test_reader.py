"""
Both ways of reading a TAP: the same frames, the same counters, the same ends; and what happens where io_uring is refused.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from tap.daemon import DIE_WITH_PARENT, PROMISCUOUS_SINK, VNIC, Daemon, Sender, frame, ip, link, needs, ping
from tap.namespace import namespaced

from vnic import COMPILED
from vnic.uring import race

HERE = Path(__file__).parent
SETUP, ENTER = 425, 426
"""The numbers of io_uring_setup and io_uring_enter, on every machine."""


def has_io_uring() -> bool:
    """Whether the daemon could read by it here."""
    try:
        race()
    except OSError:
        return False
    return True


READERS = ["read", "io_uring"] if has_io_uring() else ["read"]


def stopped(daemon: Daemon) -> None:
    """Stop it; its interface is gone when the process is."""
    daemon.stop()
    assert link(daemon.name) is None


@pytest.mark.parametrize("reader", READERS)
@namespaced
def test_every_frame_is_read_and_every_packet_comes_home(tmp_path: Path, reader: str) -> None:
    words = (*PROMISCUOUS_SINK, "--driver", "hold hold_ms=5 count=200", "--packets", "300", "--reader", reader)
    with Daemon(tmp_path, *words, "--stats-interval", "0.05") as daemon, Sender() as sender:
        assert (daemon.ready["reader"], daemon.ready["reader_why"]) == (reader, "configured")
        sender.send([frame(bytes(number % 1400)) for number in range(20_000)])
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] >= 20_000
        assert bindings["sink"]["delivered"] == counters["rx_delivered"]
        stopped(daemon)


@needs("ping", "iputils-ping")
@pytest.mark.parametrize("reader", READERS)
@namespaced
def test_pings_are_answered_through_down_and_up(tmp_path: Path, reader: str) -> None:
    words = ("--driver", "arp", "--driver", "icmp_echo", "--address", "10.0.0.2/24", "--reader", reader)
    with Daemon(tmp_path, *words) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ping("10.0.0.2", 50)
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("link", state="up")
        ping("10.0.0.2", 50, 1400)
        assert daemon.ready["reader"] == reader
        daemon.quiet()
        stopped(daemon)


@pytest.mark.parametrize("reader", READERS)
@namespaced
def test_a_deleted_interface_ends_it_with_all_packets_home(tmp_path: Path, reader: str) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=60000 count=50", "--reader", reader) as daemon:
        with Sender() as sender:
            sender.send([frame()] * 3000)
        ip("link", "delete", "vnic0")
        assert daemon.wait(10) == 69
        last = daemon.check_log()
        assert (last["held"], last["pool_free"], last["violations"]) == (0, last["pool_capacity"], 0)


@pytest.mark.parametrize("reader", READERS)
@namespaced
def test_one_that_was_killed_can_be_started_again(tmp_path: Path, reader: str) -> None:
    for _ in range(3):
        with Daemon(tmp_path, *PROMISCUOUS_SINK, "--reader", reader) as daemon, Sender() as sender:
            sender.send([frame()] * 1000)
            daemon.signal(signal.SIGKILL)
            daemon.wait()
        assert link("vnic0") is None


@pytest.mark.parametrize("reader", READERS)
@namespaced
def test_a_driver_that_forks_leaves_the_interface_to_the_parent(tmp_path: Path, reader: str) -> None:
    driver = tmp_path / "forker.py"
    driver.write_text(
        "import os, signal\n"
        "from vnic import PacketFilter, ProtocolDriver\n"
        "class Forker(ProtocolDriver):\n"
        "    '''Forks with its first frame; the child stays as long as it.'''\n"
        "    packet_filter = PacketFilter.PROMISCUOUS\n"
        "    child = 0\n"
        "    def receive_packet(self, packet):\n"
        "        if not self.child:\n"
        "            self.child = os.fork()\n"
        "            if not self.child:\n"
        "                signal.pause()\n"
        "        return 0\n"
        "    def unbind_adapter(self):\n"
        "        os.kill(self.child, signal.SIGKILL)\n"
        "        os.waitpid(self.child, 0)\n"
        "        return 0\n"
    )
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", f"{driver}:Forker", "--reader", reader) as daemon, Sender() as sender:
        sender.send([frame()] * 3000)
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] >= 3000
        assert daemon.ready["reader"] == reader
        stopped(daemon)


@pytest.mark.parametrize(("refused", "wanted"), [(SETUP, "io_uring"), (SETUP, "auto"), (ENTER, "io_uring")])
@namespaced
def test_where_io_uring_is_refused_it_is_read(tmp_path: Path, refused: int, wanted: str) -> None:
    command = (*DIE_WITH_PARENT, sys.executable, "-P", str(HERE / "without_io_uring.py"), str(refused), *VNIC, "run")
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--reader", wanted, command=command) as daemon, Sender() as sender:
        assert daemon.ready["reader"] == "read"
        reason = "Operation not permitted" if COMPILED else "the core is not compiled"
        assert daemon.ready["reader_why"].endswith(reason)
        sender.send([frame()] * 3000)
        assert daemon.quiet()[0]["rx_frames"] >= 3000
        stopped(daemon)


@namespaced
def test_what_is_quicker_is_chosen_and_why_is_said(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK) as daemon:
        assert daemon.ready["reader"] in READERS
        assert daemon.ready["reader_why"].startswith("a read costs " if "io_uring" in READERS else "no io_uring")
        # nothing but itself has the interface open
        opened = [str(path.readlink()) for path in Path(f"/proc/{daemon.pid}/fd").iterdir()]
        assert (opened.count("/dev/net/tun"), opened.count("anon_inode:[io_uring]")) == (1, daemon.ready["reader"] == "io_uring")
        stopped(daemon)
