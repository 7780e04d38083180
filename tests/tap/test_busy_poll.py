"""
A daemon that polls busily: it answers as ever, is idle when nothing comes, and obeys at once.
"""

from __future__ import annotations

import signal
from pathlib import Path

from tap.daemon import Daemon, ip, ping
from tap.namespace import namespaced

ECHO = ("--driver", "arp", "--driver", "icmp_echo", "--address", "10.0.0.2/24")


@namespaced
def test_a_daemon_that_polls_busily_answers_and_is_idle_when_nothing_comes(tmp_path: Path) -> None:
    with Daemon(tmp_path, *ECHO, "--busy-poll-us", "10000", "--stats-interval", "0.1") as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ping("10.0.0.2", 50)
        daemon.quiet()
        before = daemon.cpu_seconds()
        daemon.wait_for("counters", daemon.mark(), count=15)
        # it wakes up to count, so it is not quite nothing
        assert daemon.cpu_seconds() - before < 0.7
        daemon.stop()


@namespaced
def test_a_reload_changes_for_how_long_it_polls_busily(tmp_path: Path) -> None:
    config = tmp_path / "vnic0.toml"
    config.write_text("loop.busy_poll_us = 10000")
    with Daemon(tmp_path, *ECHO, "--config", str(config)) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ping("10.0.0.2", 5)
        config.write_text("")
        daemon.signal(signal.SIGHUP)
        assert daemon.wait_for("reload")["needs_restart"] == []
        before = daemon.cpu_seconds()
        ping("10.0.0.2", 30)
        assert daemon.cpu_seconds() - before < 0.2
        daemon.stop()


@namespaced
def test_an_interface_that_is_deleted_under_a_busy_poll_ends_the_daemon(tmp_path: Path) -> None:
    with Daemon(tmp_path, *ECHO, "--busy-poll-us", "10000") as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ping("10.0.0.2", 5)
        ip("link", "del", "vnic0")
        assert daemon.wait() == 69
        daemon.check_log()
