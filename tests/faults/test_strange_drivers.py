"""
A driver that does strange things to the process: the daemon lives or ends in order, and its log stays one object per line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from tap.daemon import Daemon, Sender
from tap.namespace import namespaced, until

FILE = Path(__file__).with_name("strange_drivers.py")


def driver(name: str, *options: str) -> tuple[str, str]:
    return "--driver", " ".join((f"{FILE}:{name}", *options))


def frame() -> bytes:
    return b"\xff" * 6 + b"\x02\0\0\0\0\x64\x88\xb5" + bytes(46)


@namespaced
def test_the_child_of_a_driver_has_neither_the_signals_nor_the_interface(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with Daemon(tmp_path, *driver("Forks", f"file={pid_file}")) as daemon, Sender() as sender:
        sender.send([frame()])
        until(lambda: pid_file.exists() and pid_file.read_text() != "")
        child = int(pid_file.read_text())
        try:
            until(lambda: not any(os.path.realpath(link) == "/dev/net/tun" for link in Path(f"/proc/{child}/fd").iterdir()))
            os.kill(child, signal.SIGUSR1)
            sender.send([frame()] * 10)
            assert daemon.quiet()[0]["rx_frames"] >= 11
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert not Path("/proc/self/net/dev").read_text().count("vnic0"), "the interface went with the daemon"
        finally:
            os.kill(child, signal.SIGKILL)


@namespaced
def test_a_child_that_goes_on_as_the_daemon_reads_no_frame(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("ForksAndReturns")) as daemon, Sender() as sender:
        sender.send([frame()] * 200)
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] == counters["if_tx_packets"] >= 200
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


@namespaced
@pytest.mark.parametrize("name", ["LeavesThread", "HasChild"])
def test_what_a_driver_leaves_behind_is_named_and_does_not_keep_the_process(tmp_path: Path, name: str) -> None:
    with Daemon(tmp_path, *driver(name)) as daemon, Sender() as sender:
        sender.send([frame()])
        daemon.quiet()
        daemon.signal(signal.SIGTERM)
        begun = time.monotonic()
        assert daemon.wait() == 0
        assert time.monotonic() - begun < 5
        assert daemon.events("driver_error")[-1]["type"] == "LeftBehind"


@namespaced
def test_what_a_driver_prints_is_an_event_and_escaped(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("Prints")) as daemon, Sender() as sender:
        sender.send([frame()])
        until(lambda: len(daemon.events("output")) == 2)
        first, second = daemon.events("output")
        assert first["text"] == r"\x1b[31mred\x1b[0m two"
        assert second["text"].startswith("lines xxx")
        daemon.stop()


@namespaced
def test_a_data_thread_that_cannot_go_on_ends_the_daemon_and_names_the_line(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("Traces")) as daemon, Sender() as sender:
        with contextlib.suppress(AssertionError, OSError):
            sender.send([frame()])
        assert daemon.wait() == 70
        assert daemon.events("driver_error")[-1]["where"].startswith(f"{FILE}:")


@namespaced
def test_a_descriptor_that_is_closed_under_the_daemon_ends_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("ClosesTap")) as daemon, Sender() as sender:
        # the interface goes while this waits for the frames to be taken
        with contextlib.suppress(AssertionError, OSError):
            sender.send([frame()] * 3)
        assert daemon.wait() == 69
        assert daemon.events("link", state="deleted")


@namespaced
def test_blocked_signals_do_not_keep_the_daemon_from_stopping(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("BlocksSignals")) as daemon:
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
