"""
Signals and the descriptors of a supervisor: stop, stop at once, show, rotate, reload, ready.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, Sender, frame, link
from tap.namespace import namespaced, until

SINK = '[[protocol]]\ndriver = "sink"\npromiscuous = true\n'
HOLD = '[[protocol]]\ndriver = "hold"\nhold_ms = 50\n'
ARP = '[[protocol]]\ndriver = "arp"\n'


def readable(fd: int, seconds: float = 10.0) -> bytes:
    """Wait until a descriptor has something to read, and read it."""
    assert select.select([fd], [], [], seconds)[0], "nothing came"
    return os.read(fd, 4096)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@namespaced
def test_the_first_signal_stops_in_order_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=60000") as daemon, Sender() as sender:
        sender.send([frame()] * 100)
        assert daemon.quiet()[0]["held"] == 100
        daemon.signal(number)
        assert daemon.wait() == 0
        last = daemon.check_log()
        assert (last["held"], last["pool_free"]) == (0, last["pool_capacity"])
        order = [event["event"] for event in daemon.events()]
        assert order[order.index("stopping") :] == ["stopping", "binding", "binding", "counters", "stopped"]
        assert daemon.events("stopping")[0]["reason"] == number.name
    assert link("vnic0") is None


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@namespaced
def test_the_second_signal_ends_it_at_once(tmp_path: Path, number: signal.Signals, status: int) -> None:
    driver = f"{Path(__file__).parents[1]}/faults/bad_drivers.py:KeepsEverything"
    with Daemon(tmp_path, "--driver", driver, "--drain-timeout", "3600") as daemon, Sender() as sender:
        sender.send([frame()])
        daemon.quiet()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("stopping")
        begun = time.monotonic()
        daemon.signal(number)
        assert daemon.wait() == status
        assert time.monotonic() - begun < 2
    assert link("vnic0") is None


@namespaced
def test_usr1_shows_counters_bindings_and_who_holds_what_since_when(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=60000 copies=2") as daemon, Sender() as sender:
        begun = time.monotonic()
        sender.send([frame(bytes(86))] * 7)
        daemon.quiet()
        daemon.wait_for("holder", daemon.asked, count=7)
        after = daemon.mark()
        counters, bindings = daemon.dump()
        daemon.wait_for("holder", after, count=7)
        held = daemon.events("holder", after)
        assert (counters["held"], bindings["hold"]["held"], bindings["sink"]["held"]) == (7, 14, 0)
        assert {(one["driver"], one["owed"], one["bytes"], one["generation"]) for one in held} == {("hold", 2, 100, 1)}
        assert len({one["packet"] for one in held}) == 7
        ages = [one["age_ms"] for one in held]
        assert 0 < ages[-1] <= ages[0] <= (time.monotonic() - begun) * 1000
        sender.send([frame()] * 93)
        daemon.quiet()
        daemon.wait_for("holder", daemon.asked, more=80)
        after = daemon.mark()
        daemon.dump()
        assert daemon.wait_for("holder", after, more=80)
        assert len(daemon.events("holder", after)) == 21
        daemon.stop()


@namespaced
def test_usr1_in_a_storm_loses_no_frame(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=2") as daemon, Sender() as sender:
        for _ in range(30):
            daemon.signal(signal.SIGUSR1)
            daemon.signal(signal.SIGUSR2)
            sender.send([frame()] * 200)
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] == bindings["sink"]["delivered"] == 6000
        daemon.stop()


@namespaced
def test_hup_exchanges_the_drivers_that_changed_and_keeps_the_others(tmp_path: Path) -> None:
    config = tmp_path / "vnic.toml"
    config.write_text(SINK + HOLD)
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        sender.send([frame()] * 500)
        assert daemon.dump()[1]["hold"]["delivered"] == 500
        config.write_text(SINK + ARP)
        daemon.signal(signal.SIGHUP)
        assert daemon.wait_for("reload")["drivers"] == ["sink", "arp"]
        daemon.drivers = ["sink", "arp"]
        sender.send([frame(to=b"\xff" * 6)] * 500)
        counters, bindings = daemon.quiet()
        assert (bindings["sink"]["delivered"], bindings["arp"]["delivered"], counters["held"]) == (1000, 500, 0)
        config.write_text(SINK)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reload", count=2)
        daemon.drivers = ["sink"]
        assert daemon.dump()[1]["sink"]["delivered"] == 1000
        assert daemon.stop()["violations"] == 0


@namespaced
def test_hup_under_traffic_loses_no_frame(tmp_path: Path) -> None:
    config = tmp_path / "vnic.toml"
    config.write_text(SINK + HOLD)
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        for turn in range(1, 9):
            config.write_text(SINK + (ARP if turn % 2 else HOLD))
            daemon.signal(signal.SIGHUP)
            sender.send([frame()] * 300)
            daemon.wait_for("reload", count=turn)
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] == bindings["sink"]["delivered"] == 2400
        assert daemon.stop()["violations"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SINK + '[[protocol]]\ndriver = "snik"\n', "did you mean sink"),
        (SINK + "[pool]\npackets = 0\n", "$.pool.packets"),
        ("[[[", "not TOML"),
        (None, "cannot be read"),
    ],
)
@namespaced
def test_hup_with_an_invalid_file_keeps_everything_and_says_so(tmp_path: Path, text: str | None, said: str) -> None:
    config = tmp_path / "vnic.toml"
    config.write_text(SINK + HOLD)
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        if text is None:
            config.unlink()
        else:
            config.write_text(text)
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("reload", level="error", status=78)
        assert said in told["error"] + told["remedy"]
        sender.send([frame()] * 100)
        assert daemon.quiet()[1]["hold"]["delivered"] == 100
        daemon.stop()


@namespaced
def test_hup_says_what_needs_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "vnic.toml"
    config.write_text(SINK)
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        config.write_text(SINK + "[pool]\npackets = 77\n[adapter]\nmtu = 9000\n")
        daemon.signal(signal.SIGHUP)
        assert sorted(daemon.wait_for("reload")["needs_restart"]) == ["adapter", "pool"]
        assert daemon.stop()["pool_capacity"] == 1024


@namespaced
def test_the_ready_descriptor_gets_one_line_and_only_when_frames_flow(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--ready-fd", str(writer), pass_fds=[writer]) as daemon:
        os.close(writer)
        assert readable(reader) == b"READY=1\n"
        shown = link("vnic0")
        assert shown is not None
        assert "LOWER_UP" in shown["flags"]
        assert readable(reader) == b"", "it is closed after the line"
        print(f"from start to ready: {(daemon.ready_at - daemon.begun) * 1000:.0f} ms")
        daemon.stop()


@namespaced
def test_a_service_manager_hears_ready_and_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Daemon(tmp_path, "--driver", "sink") as daemon:
            assert readable(manager.fileno()).decode().splitlines() == ["READY=1", f"MAINPID={daemon.pid}"]
            daemon.stop()
        assert readable(manager.fileno()) == b"STOPPING=1"


@namespaced
def test_the_processor_is_left_alone_while_nothing_happens(tmp_path: Path) -> None:
    words = (*PROMISCUOUS_SINK, "--driver", "hold", "--driver", "arp", "--address", "10.0.0.2/24", "--stats-interval", "0.1")
    with Daemon(tmp_path, *words) as daemon:
        before = daemon.cpu_seconds()
        daemon.wait_for("counters", count=10)
        assert daemon.cpu_seconds() - before < 0.2
        until(lambda: daemon.dump()[0]["pool_free"] == 1024)
        daemon.stop()
