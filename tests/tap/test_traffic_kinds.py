"""
Every kind of traffic of `scripts/traffic`, through a daemon: nothing unexplained, and both sides have counted the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, run
from tap.namespace import namespaced

pytest.importorskip("scapy")

SCRIPT = Path(__file__).parents[2] / "scripts" / "traffic" / "run.py"
ANSWERING = ("--address", "10.0.0.2/24", "--address", "fd00::2/64", "--driver", "arp", "--driver", "icmp_echo")
HOLDING = ("--driver", "hold hold_ms=5 random=yes")
SEED = "20240607"


def fire(*words: str) -> list[dict[str, Any]]:
    """Run the script; it must explain every frame. One report for each kind."""
    # the target is named, so that no frame is sent before the counting begins
    said = run(sys.executable, str(SCRIPT), *words, "--iface", "vnic0", "--json", "--seed", SEED, "--target-mac", "02:00:00:00:00:02")
    reports: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    for report in reports:
        assert report["unexplained"] == report["others"] == report["wrong"] == 0, report
        assert report["replies"] == report["replies_due"], report
    return reports


def total(reports: list[dict[str, Any]], column: str) -> int:
    return sum(report[column] for report in reports)


@pytest.mark.parametrize("kind", ["arp", "ping", "ping6", "flood", "sizes", "vlan", "mix", "malformed"])
@namespaced
def test_nothing_of_this_kind_is_unexplained_and_both_sides_count_the_same(tmp_path: Path, kind: str) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *HOLDING, "--stats-interval", "0.1") as daemon:
        reports = fire(kind)
        counters, bindings = daemon.quiet()
        assert [report["kind"] for report in reports] == [kind]
        # the sink watches what the others send, too
        assert counters["rx_frames"] == bindings["sink"]["delivered"] - counters["tx_looped"] == total(reports, "taken") > 0
        assert counters["if_tx_dropped"] <= total(reports, "dropped")
        # what is malformed by chance only is answered too, and its answers go to the liar
        unasked = counters["tx_frames"] - total(reports, "replies")
        assert unasked == 0 or (kind == "malformed" and unasked > 0)
        last = daemon.stop()
        assert last["driver_errors"] == last["rx_dropped_no_packet"] == last["rx_dropped_runt"] == last["rx_dropped_truncated"] == 0
        assert {event["id"] for event in daemon.events("violation")} <= {"26"}


@namespaced
def test_all_kinds_in_turn_add_up(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *ANSWERING, *HOLDING, "--stats-interval", "0.1") as daemon:
        reports = fire("all", "--count", "2000")
        counters, _ = daemon.quiet()
        assert len(reports) == 8
        assert counters["rx_frames"] == total(reports, "taken")
        assert total(reports, "sent") == total(reports, "taken") + total(reports, "dropped")
        assert daemon.stop()["driver_errors"] == 0


@namespaced
def test_what_was_captured_can_be_replayed_to_the_frame(tmp_path: Path) -> None:
    file = tmp_path / "first.pcapng"
    with Daemon(tmp_path, "--driver", f"capture file={file}", *ANSWERING) as daemon:
        fire("vlan")
        fire("mix", "--count", "500")
        captured = daemon.quiet()[0]["rx_frames"]
        daemon.stop()
    with Daemon(tmp_path, *PROMISCUOUS_SINK) as daemon:
        reports = fire("replay", "--file", str(file))
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] == total(reports, "sent") == total(reports, "taken") == captured > 500
        daemon.stop()


@namespaced
def test_jumbo_frames_of_every_length_arrive_whole(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--mtu", "9000", *PROMISCUOUS_SINK, *ANSWERING) as daemon:
        reports = fire("sizes") + fire("ping", "--count", "50")
        counters, _ = daemon.quiet()
        assert counters["rx_frames"] == total(reports, "taken") == 9005 + 50
        assert counters["rx_bytes"] > sum(range(14, 9019))
        assert daemon.stop()["rx_dropped_truncated"] == 0
