"""
Intermediate drivers between the interface and the drivers: pings go through them, and everything is accounted for on every adapter.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tap.daemon import PROMISCUOUS_SINK, VNIC, Daemon, Sender, frame, ip, link, needs, ping
from tap.namespace import namespaced, until
from tap.vlan import vlan

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = Path(__file__).with_name("filters.py")
BAD = Path(__file__).parents[1] / "faults" / "bad_drivers.py"
ANSWERING = ("--address", "10.0.0.2/24", "--driver", "arp", "--driver", "icmp_echo")
OFTEN = ("--stats-interval", "0.05")


def own(name: str, options: str = "") -> tuple[str, str]:
    """A filter of ours, as words of the command line."""
    return "--filter", f"{FILE}:{name} {options}"


def last_counters(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """The last counters of each virtual adapter; all its packets must be home."""
    found = {line["adapter"]: line for line in daemon.events("virtual_counters")}
    for line in found.values():
        assert line["pool_free"] == line["pool_capacity"]
        assert line["violations"] == line["driver_errors"] == line["tx_pending"] == 0
    return found


def stopped(daemon: Daemon, adapters: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Stop the daemon, which must have nothing to complain of; the last counters of each virtual adapter."""
    last = daemon.stop()
    assert last["violations"] == last["driver_errors"] == last["rx_dropped_no_packet"] == 0
    found = last_counters(daemon)
    assert list(found) == list(adapters)
    return found


@pytest.mark.parametrize(
    ("filters", "adapters"),
    [
        (own("Copying"), ["vnic0+1"]),
        ((*own("Copying"), *own("Copying")), ["vnic0+1", "vnic0+1+1"]),
        (own("Copying", "count=2"), ["vnic0+1", "vnic0+2"]),
        (("--filter", "passthru"), ["vnic0.passthru"]),
        (("--filter", "passthru", "--filter", "passthru"), ["vnic0.passthru", "vnic0.passthru.passthru-2"]),
        ((*own("Copying"), "--filter", "passthru"), ["vnic0+1", "vnic0+1.passthru"]),
        (("--filter", "passthru", *own("Copying")), ["vnic0.passthru", "vnic0.passthru+1"]),
    ],
)
@needs("ping", "iputils-ping")
@namespaced
def test_every_ping_through_filters_is_answered(tmp_path: Path, filters: Sequence[str], adapters: Sequence[str]) -> None:
    with Daemon(tmp_path, *filters, *ANSWERING, *PROMISCUOUS_SINK, *OFTEN) as daemon:
        ip("addr", "add", "10.0.0.1/24", "dev", "vnic0")
        for size in (0, 56, 1472):
            ping("10.0.0.2", 50, size)
        counters, bindings = daemon.quiet()
        top = adapters[0] if "count=2" in filters[1] else adapters[-1]
        assert {bindings[name]["adapter"] for name in ("arp", "icmp_echo", "sink")} == {top}
        assert bindings["sink"]["delivered"] >= counters["rx_frames"]
        found = stopped(daemon, adapters)
        assert found[top]["rx_frames"] == found[top]["rx_delivered"] == counters["rx_frames"]
        assert found[top]["tx_frames"] == found[top]["tx_submitted"] >= 151


@needs("ping", "iputils-ping")
@namespaced
def test_every_ping_in_a_vlan_is_answered(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--filter", "mux vlans=7", *ANSWERING, "--driver", "sink promiscuous=yes adapter=vnic0") as daemon:
        with vlan(7, "10.0.0.1/24"):
            for size in (0, 56, 1472):
                ping("10.0.0.2", 50, size)
        counters, bindings = daemon.quiet()
        assert (bindings["sink"]["adapter"], bindings["arp"]["adapter"]) == ("vnic0", "vnic0.7")
        found = stopped(daemon, ["vnic0.7"])["vnic0.7"]
        assert found["rx_frames"] >= 151
        assert found["tx_frames"] == counters["tx_frames"] >= 151


@needs("ping", "iputils-ping")
@namespaced
def test_two_vlans_at_once_keep_apart(tmp_path: Path) -> None:
    answering = [word for number in (7, 9) for name in ("arp", "icmp_echo") for word in ("--driver", f"{name} adapter=vnic0.{number}")]
    addresses = ("--address", "10.0.7.2/24", "--address", "10.0.9.2/24")
    with Daemon(tmp_path, "--filter", "mux vlans=7,9", *addresses, *answering, *OFTEN) as daemon:
        command = ["ping", "-n", "-q", "-c", "100", "-i", "0.01", "-W", "5"]
        with vlan(7, "10.0.7.1/24"), vlan(9, "10.0.9.1/24"):
            both = [subprocess.Popen([*command, f"10.0.{number}.2"], stdout=subprocess.PIPE, text=True) for number in (7, 9)]
            for process in both:
                assert "100 packets transmitted, 100 received, 0% packet loss" in process.communicate(timeout=30)[0]
        _, bindings = daemon.quiet()
        assert bindings["icmp_echo"]["delivered"] >= 100 <= bindings["icmp_echo-2"]["delivered"]
        found = stopped(daemon, ["vnic0.7", "vnic0.9"])
        assert found["vnic0.7"]["tx_frames"] >= 101 <= found["vnic0.9"]["tx_frames"]


@pytest.mark.parametrize("filters", [own("Copying"), ("--filter", "passthru"), ("--filter", "passthru", "--filter", "passthru")])
@namespaced
def test_packets_held_above_filters_come_home_at_every_level(tmp_path: Path, filters: Sequence[str]) -> None:
    with Daemon(tmp_path, *filters, *PROMISCUOUS_SINK, "--driver", "hold hold_ms=5 copies=2", "--packets", "64", *OFTEN) as daemon:
        with Sender() as sender:
            sender.send([frame(number.to_bytes(46)) for number in range(3000)])
            assert daemon.quiet()[0]["rx_frames"] == 3000
        daemon.stop()
        last_counters(daemon)


@namespaced
def test_usr1_shows_every_adapter_and_who_holds_what_on_it(tmp_path: Path) -> None:
    filters = (*own("Copying"), *own("Copying"))
    with Daemon(tmp_path, *filters, "--driver", "hold hold_ms=60000", "--driver", "hold hold_ms=60000 adapter=vnic0") as daemon:
        with Sender() as sender:
            sender.send([frame(bytes(86))] * 3)
            daemon.quiet()
        after = daemon.mark()
        counters, bindings = daemon.dump()
        daemon.wait_for("holder", after, count=6)
        lines = daemon.events("virtual_counters", after)
        assert [(line["adapter"], line["held"]) for line in lines] == [("vnic0+1", 0), ("vnic0+1+1", 3)]
        assert [key for key in lines[0] if key not in ("adapter", *counters)] == []
        held = [(one["driver"], one["adapter"]) for one in daemon.events("holder", after)]
        assert sorted(held) == [("hold", "vnic0+1+1")] * 3 + [("hold-2", "vnic0")] * 3
        assert list(bindings) == ["Copying", "Copying-2", "hold", "hold-2"]
        assert [binding["adapter"] for binding in bindings.values()] == ["vnic0", "vnic0+1", "vnic0+1+1", "vnic0"]
        stopped(daemon, ["vnic0+1", "vnic0+1+1"])


@pytest.mark.parametrize("filters", [own("Copying"), (*own("Copying"), *own("Copying")), ("--filter", "passthru")])
@namespaced
def test_what_is_kept_above_past_the_drain_timeout_is_taken_back_at_every_level(tmp_path: Path, filters: Sequence[str]) -> None:
    keeping = ("--driver", f"{BAD}:KeepsEverything", "--drain-timeout", "0.2")
    with Daemon(tmp_path, *filters, *keeping) as daemon, Sender() as sender:
        sender.send([frame()] * 10)
        daemon.quiet()
        assert daemon.stop(70)["held"] == 0
        assert {event["driver"] for event in daemon.events("violation", id="60")} == {"KeepsEverything"}
        for line in {line["adapter"]: line for line in daemon.events("virtual_counters")}.values():
            assert (line["held"], line["pool_free"] + line["pool_quarantined"]) == (0, line["pool_capacity"])


@namespaced
def test_what_a_filter_keeps_of_the_adapter_below_is_taken_back_after_the_drivers_have_gone(tmp_path: Path) -> None:
    drivers = (*own("KeepsBelow"), *own("Copying"), "--driver", f"{BAD}:KeepsEverything", "--drain-timeout", "0.1")
    with Daemon(tmp_path, *drivers) as daemon, Sender() as sender:
        sender.send([frame()] * 10)
        daemon.quiet()
        daemon.stop(70)
        assert [event["driver"] for event in daemon.events("violation", id="60")] == ["KeepsEverything", "KeepsBelow"]


@namespaced
def test_a_packet_that_a_filter_loses_is_in_the_verdict(tmp_path: Path) -> None:
    with Daemon(tmp_path, *own("LosesAFrame"), "--driver", "sink") as daemon, Sender() as sender:
        sender.send([frame()])
        daemon.quiet()
        daemon.stop(70)
        last = daemon.events("virtual_counters")[-1]
        assert last["pool_capacity"] - last["pool_free"] == last["pool_owned"] == 1


@namespaced
def test_hup_exchanges_drivers_above_a_filter_and_leaves_filters_to_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "vnic.toml"
    below = f'[[filter]]\ndriver = "{FILE}:Copying"\n'
    sink = '[[protocol]]\ndriver = "sink"\npromiscuous = true\n'
    config.write_text(below + sink)
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        sender.send([frame()] * 10)
        assert daemon.quiet()[1]["sink"]["delivered"] == 10
        config.write_text(below + "count = 2\n" + sink + 'adapter = "vnic0"\n[[protocol]]\ndriver = "hold"\n')
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("reload", level="info")
        assert (told["drivers"], told["needs_restart"]) == (["sink", "hold"], ["filter"])
        daemon.drivers = ["sink", "hold"]
        sender.send([frame()] * 10)
        bindings = daemon.quiet()[1]
        assert [(bindings[name]["adapter"], bindings[name]["delivered"]) for name in bindings] == [
            ("vnic0", 20),
            ("vnic0", 10),
            ("vnic0+1", 10),
        ]
        config.write_text(below + sink + 'adapter = "vnic0+2"\n')
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("reload", level="error", status=78)
        assert (told["error"], told["remedy"]) == ("driver sink: there is no adapter 'vnic0+2'", "known are vnic0, vnic0+1")
        assert list(daemon.dump()[1]) == ["Copying", "sink", "hold"]
        until(lambda: daemon.dump()[1]["hold"]["held"] == 0)
        stopped(daemon, ["vnic0+1"])


@pytest.mark.parametrize("filters", [own("Copying"), ("--filter", "passthru"), ("--filter", "mux vlans=7 untagged=yes")])
@namespaced
def test_the_link_is_passed_up(tmp_path: Path, filters: Sequence[str]) -> None:
    driver = tmp_path / "listens.py"
    driver.write_text(
        "import sys\nfrom vnic import ProtocolDriver\n"
        "class Listens(ProtocolDriver):\n"
        "    def status(self, status, *_):\n"
        "        print(status.name, file=sys.stderr)\n"
    )
    with Daemon(tmp_path, *filters, "--driver", str(driver), "--log-format", "json") as daemon:
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("output", text="MEDIA_DISCONNECT")
        after = daemon.mark()
        ip("link", "set", "vnic0", "up")
        daemon.wait_for("output", after, text="MEDIA_CONNECT")
        daemon.stop()


@namespaced
def test_a_driver_that_hangs_above_a_filter_is_named_and_not_the_filter(tmp_path: Path) -> None:
    driver = tmp_path / "hangs.py"
    driver.write_text(
        "from vnic import ProtocolDriver\n"
        "class Hangs(ProtocolDriver):\n"
        "    def receive_packet(self, packet):\n"
        "        while True:\n"
        "            pass\n"
    )
    with Daemon(tmp_path, *own("Copying"), "--driver", str(driver), "--drain-timeout", "0.1") as daemon, Sender() as sender:
        sender.send([frame()])
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 70
        named = [(event["driver"], event["where"].rpartition(":")[0]) for event in daemon.events("driver_error", type="Hang")]
        assert named == [("Hangs", str(driver))]


@namespaced
def test_an_interface_that_is_deleted_under_filters_ends_in_order(tmp_path: Path) -> None:
    filters = (*own("Copying"), *own("Copying"))
    with Daemon(tmp_path, *filters, "--driver", "hold hold_ms=60000") as daemon, Sender() as sender:
        sender.send([frame()] * 5)
        daemon.quiet()
        ip("link", "del", "vnic0")
        assert daemon.wait() == 69
        daemon.check_log()
        last_counters(daemon)


REFUSED = {
    ("--filter", "arp"): "driver arp is no intermediate driver: give it as a driver: --driver, or [[protocol]]",
    ("--filter", "snik"): "driver 'snik' is unknown: known are mux, passthru, or give path/file.py:Class",
    ("--driver", f"{FILE}:Copying"): "driver Copying is an intermediate driver: give it as a filter: --filter, or [[filter]]",
    own("HasNone"): "filter HasNone has no adapter after it was bound: ",
    own("HasText"): "filter HasText has no adapter after it was bound: ",
    own("Raises"): "filter Raises does not say what its adapters are: ValueError: no\\x1b idea",
    own("HasTheSameName"): "filter HasTheSameName: there is an adapter 'vnic0' already: ",
    own("Declines"): "driver Declines could not be bound: driver Declines declined: NOT_ACCEPTED: ",
    own("Copying", "count=0"): "filter Copying has no adapter after it was bound: ",
    own("Copying", "count=-1"): "filter Copying has no adapter after it was bound: ",
    own("Copying", "packets=0"): "driver Copying could not be bound: ",
    own("Copying", "packets=9999999999"): "driver Copying could not be bound: ",
    own("Copying", "count=x"): "driver Copying: option count='x': ",
    own("Copying", "colour=red"): "driver Copying has no option 'colour': ",
    (*own("Copying", "count=2"), *own("Copying")): "filter Copying cannot be above Copying, which has 2 adapters (vnic0+1, vnic0+2): ",
    (*own("Copying"), "--driver", "sink 'adapter=\x1b[2J'"): "driver sink: there is no adapter '\\x1b[2J': known are vnic0, vnic0+1",
    ("--driver", "sink adapter=vnic0.7"): "driver sink: there is no adapter 'vnic0.7': known are vnic0",
    (*own("Copying"), "--driver", f"{BAD}:Nothing"): f"{BAD} has no driver class 'Nothing'",
    ("--filter", "mux"): "driver mux: option vlans is missing: ",
    ("--filter", "mux vlans="): "driver mux: ValueError: ",
    ("--filter", "mux vlans=4095"): "driver mux: ValueError: ",
    ("--filter", "mux vlans=7,7"): "driver mux: ValueError: ",
    ("--filter", "mux vlans=7,9", "--filter", "passthru"): "filter passthru cannot be above mux, which has 2 adapters (vnic0.7, vnic0.9): ",
    ("--filter", "passthru x=1"): "driver passthru has no option 'x': it has none",
}


@pytest.mark.parametrize("words", REFUSED)
@namespaced
def test_a_filter_that_does_not_fit_is_refused_in_one_line_and_leaves_nothing_behind(words: Sequence[str]) -> None:
    done = subprocess.run([*VNIC, "run", "vnic0", *words], capture_output=True, text=True, timeout=20)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (78, 1), lines
    told = json.loads(lines[0])
    assert f"{told['error']}: {told['remedy']}".startswith(REFUSED[tuple(words)])
    assert link("vnic0") is None


@pytest.mark.parametrize("text", ["", "x=1", "passthru x", "passthru 'x"])
@namespaced
def test_a_filter_that_is_no_words_is_wrong_usage(text: str) -> None:
    done = subprocess.run([*VNIC, "run", "vnic0", "--filter", text], capture_output=True, text=True, timeout=20)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--filter" in done.stderr
