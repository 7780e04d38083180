"""
The daemon as a whole: real pings through it, and every frame and packet accounted for, from the first to the last.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, Sender, allow_ipv6, frame, ip, link, needs, ping
from tap.namespace import namespaced, until

ANSWERING = ("--address", "10.0.0.2/24", "--address", "fd00::2/64", "--driver", "arp", "--driver", "icmp_echo")
OFTEN = ("--stats-interval", "0.05")


@needs("ping", "iputils-ping")
@namespaced
def test_every_ping_of_the_kernel_is_answered(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *OFTEN) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        for size in (0, 1, 56, 1472):
            ping("10.0.0.2", 50, size)
        counters, bindings = daemon.quiet()
        assert bindings["icmp_echo"]["delivered"] >= 200
        assert bindings["sink"]["delivered"] == counters["rx_frames"] + counters["tx_frames"]
        last = daemon.stop()
        assert last["tx_frames"] >= 201
        assert last["violations"] == last["driver_errors"] == last["rx_dropped_no_packet"] == 0


@needs("ping", "iputils-ping")
@namespaced
def test_every_ping_over_ipv6_is_answered(tmp_path: Path) -> None:
    allow_ipv6()
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *OFTEN) as daemon:
        ip("addr", "add", "fd00::1/64", "dev", "vnic0", "nodad")
        for size in (8, 56, 1452):
            ping("fd00::2", 50, size)
        ping("fe80::ff:fe00:2%vnic0", 10)
        assert daemon.stop()["tx_frames"] >= 160


@needs("ping", "iputils-ping")
@namespaced
def test_a_ping_of_65000_bytes_is_answered_in_one_frame(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--mtu", "65520", "--packets", "64", *PROMISCUOUS_SINK, *ANSWERING, *OFTEN) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        ping("10.0.0.2", 20, 65492)
        ping("10.0.0.2", 20, 65000)
        last = daemon.stop()
        assert last["rx_bytes"] > 20 * (65492 + 65000)
        assert last["rx_frames"] < 60


@namespaced
def test_packets_that_are_held_come_home_and_low_packets_lose_no_frame(tmp_path: Path) -> None:
    drivers = (*PROMISCUOUS_SINK, "--driver", "hold hold_ms=20 count=1000", "--driver", "hold hold_ms=1 copies=3 random=yes")
    with Daemon(tmp_path, "--packets", "16", *drivers, *OFTEN) as daemon, Sender() as sender:
        sender.send(frame(number.to_bytes(46)) for number in range(5000))
        counters, bindings = daemon.quiet()
        assert counters["rx_resources"] > 0
        assert counters["rx_delivered"] == counters["rx_frames"] == 5000
        assert {name: binding["delivered"] for name, binding in bindings.items()} == {"sink": 5000, "hold": 5000, "hold-2": 5000}
        assert bindings["sink"]["resources"] == counters["rx_resources"]
        until(lambda: daemon.dump()[0]["held"] == 0)
        last = daemon.stop()
        assert last["indicated"] == last["returned"] > 0
        assert last["pool_low_water"] < 16
        assert {event["id"] for event in daemon.events("violation")} <= {"26"}, "to hold most of the packets is told, and nothing else"


@namespaced
def test_a_driver_that_drops_all_it_can_see_sees_every_frame_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", "sink", *OFTEN) as daemon, Sender() as sender:
        stranger = bytes.fromhex("020000000099")
        sender.send(frame(to=to) for to in (b"\xff" * 6, bytes.fromhex("020000000002"), b"\1\0\x5e\0\0\1", stranger) * 100)
        counters, bindings = daemon.quiet()
        assert (counters["rx_frames"], bindings["sink"]["delivered"], bindings["sink-2"]["delivered"]) == (400, 400, 300)
        daemon.stop()


@namespaced
def test_frames_that_nobody_wants_are_counted_as_filtered_or_without_a_driver(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--driver", "sink") as daemon, Sender() as sender:
        sender.send([frame(to=bytes.fromhex("020000000099"))] * 50)
        assert daemon.quiet()[0]["rx_filtered"] == 50
        daemon.stop()
    with Daemon(tmp_path) as daemon, Sender() as sender:
        sender.send([frame()] * 50)
        assert daemon.quiet()[0]["rx_dropped_no_driver"] == 50
        daemon.stop()


@namespaced
def test_an_interface_made_by_the_daemon_goes_with_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--driver", "sink", "--mtu", "9000") as daemon:
        shown = link("vnic0")
        assert shown is not None
        assert (shown["mtu"], "LOWER_UP" in shown["flags"], daemon.ready["ephemeral"]) == (9000, True, True)
        assert daemon.ready["mac"] == "02:00:00:00:00:02" != shown["address"]
        daemon.stop()
    assert link("vnic0") is None
    with Daemon(tmp_path, "--driver", "sink") as daemon:
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    assert link("vnic0") is None


@needs("iperf3", "iperf3")
@namespaced
def test_a_bulk_transfer_into_the_interface_is_counted_to_the_frame(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        # there is no server: the point is what the kernel's own stack sends until it gives up
        command = ["iperf3", "-u", "-c", "10.0.0.2", "-t", "1", "--connect-timeout", "500"]
        assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0
        assert daemon.quiet()[0]["rx_frames"] > 0
        daemon.stop()


@pytest.mark.parametrize("budget", [1, 7, 256])
@namespaced
def test_every_budget_gives_the_same_counts(tmp_path: Path, budget: int) -> None:
    config = tmp_path / "vnic.toml"
    drivers = '[[protocol]]\ndriver = "sink"\npromiscuous = true\n[[protocol]]\ndriver = "hold"\nhold_ms = 1\n'
    config.write_text(f"loop.budget = {budget}\n{drivers}")
    with Daemon(tmp_path, "--config", str(config), *OFTEN) as daemon, Sender() as sender:
        sender.send([frame()] * 2000)
        counters, bindings = daemon.quiet()
        assert counters["rx_frames"] == bindings["sink"]["delivered"] == bindings["hold"]["delivered"] == 2000
        assert counters["rx_batches"] >= 2000 / budget
        daemon.stop()
