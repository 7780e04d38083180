"""
Drivers that break the contract: the log names them, with the rule and the line; the drivers beside them see every frame; the
daemon lives until it is told to stop, and its exit status says how it was.
"""

from __future__ import annotations

import ast
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, Sender, frame, ip
from tap.namespace import namespaced, until

from vnic import COMPILED

FILE = Path(__file__).with_name("bad_drivers.py")
MARK = "# culprit"
FRAMES = 300
CANNOT_COUNT = "uncompiled core cannot export a buffer before Python 3.12"
COUNTS_VIEWS = pytest.mark.skipif(not COMPILED and sys.version_info < (3, 12), reason=CANNOT_COUNT)

RAISING = {
    "RaisesAlways": "ValueError",
    "RaisesSometimes": "KeyError",
    "RaisesBaseException": "Custom",
    "RaisesSystemExit": "SystemExit",
    "RaisesKeyboardInterrupt": "KeyboardInterrupt",
    "RaisesUnprintable": "Unprintable",
    "RaisesEverywhere": "ValueError",
}
BREAKING = {
    "KeepsEverything": "60",
    "ReturnsTwice": "05",
    "ReturnsTwiceAtOnce": "05",
    "ReturnsInside": "02",
    "ReturnsFromAThreadTooEarly": "03",
    "AnswersNone": "11",
    "AnswersMinusOne": "11",
    "AnswersText": "11",
    "AnswersTrue": "11",
    "AnswersMillion": "11",
    "FreesForeign": "34",
    "WritesForeign": "34",
    "SendsReceived": "58",
}


def driver(name: str) -> tuple[str, str]:
    return "--driver", f"{FILE}:{name}"


def marked_lines(name: str) -> set[str]:
    """Where the log may say that a class is wrong; a class without a mark has its parent's."""
    text = FILE.read_text()
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    node, lines = classes[name], text.splitlines()
    found = {f"{FILE}:{number}" for number in range(node.lineno, (node.end_lineno or 0) + 1) if lines[number - 1].endswith(MARK)}
    return found or marked_lines(ast.unparse(node.bases[0]))


def check_named(events: list[dict[str, Any]], name: str) -> None:
    """Some of these events must name one of the class's lines, each of them in its file."""
    assert events
    places = {event["where"] for event in events if "where" in event}
    assert places & marked_lines(name), places
    assert all(place.startswith(f"{FILE}:") for place in places), places


def all_frames_are_seen(daemon: Daemon, sender: Sender, count: int = FRAMES) -> None:
    """Send frames of each sort, in several batches; the sinks must see them all."""
    before = daemon.quiet()[0]["rx_frames"]
    for _ in range(3):
        sender.send(frame(to=to) for to in (b"\xff" * 6, b"\2\0\0\0\0\2", b"\2\0\0\0\0\x99") for _ in range(count // 9 + 1))
    counters, bindings = daemon.quiet()
    assert counters["rx_frames"] >= before + count
    assert {bindings[name]["delivered"] for name in ("sink", "sink-2")} == {counters["rx_frames"]}


@pytest.mark.parametrize("name", RAISING)
@namespaced
def test_a_driver_that_raises_is_named_and_disturbs_nobody(tmp_path: Path, name: str) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *driver(name), *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        all_frames_are_seen(daemon, sender)
        daemon.wait_for("driver_error", driver=name, type=RAISING[name])
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        daemon.signal(signal.SIGUSR2)
        last = daemon.stop()
        errors = daemon.events("driver_error", driver=name)
        check_named(errors, name)
        others = {"receive_complete", "status", "rotate", "unbind_adapter"} if name == "RaisesEverywhere" else set()
        assert {event["handler"] for event in errors if "handler" in event} == {"receive_packet"} | others
        assert last["driver_errors"] >= FRAMES / 3
        assert last["violations"] == 0


@pytest.mark.parametrize("name", BREAKING)
@namespaced
def test_a_driver_that_breaks_a_rule_is_named_with_it_and_the_status_says_so(tmp_path: Path, name: str) -> None:
    words = (*PROMISCUOUS_SINK, *driver(name), *PROMISCUOUS_SINK, "--drain-timeout", "0.2")
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        all_frames_are_seen(daemon, sender)
        assert daemon.process.poll() is None
        last = daemon.stop(70)
        broken = daemon.events("violation", id=BREAKING[name])
        assert {event["driver"] for event in daemon.events("violation")} == {name}
        assert all(event["remedy"] and event["detail"] for event in broken if "seq" in event)
        # a rule that is found broken after the call names the handler, and the exception the line
        check_named(broken + daemon.events("driver_error", driver=name), name)
        assert last["violations"] >= 1


@namespaced
def test_the_last_line_and_the_state_file_say_why_the_status_is_70(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("KeepsEverything"), "--drain-timeout", "0.2") as daemon, Sender() as sender:
        sender.send(frame() for _ in range(3))
        daemon.quiet()
        daemon.stop(70)
        (stopped,) = daemon.events("stopped")
        assert "not home and taken back by force, held by KeepsEverything (rule 60)" in stopped["why"]
        broken = daemon.answer("violations", "NAME", status=69)
        assert f"it is 70 because: {stopped['why']}" in daemon.complaint
        assert "60" in [record["id"] for record in broken["records"]]
        assert daemon.answer("leaks", "NAME", status=69)["groups"][0]["why"] == "its binding is going"
        assert any("60 PacketLeakedAtUnbind" in alert["what"] for alert in daemon.answer("doctor", "NAME", status=69)["alerts"])


@namespaced
def test_the_last_line_says_which_rule_refused_a_call_and_nothing_if_all_is_well(tmp_path: Path) -> None:
    for words, status in ((driver("ReturnsTwice"), 70), (PROMISCUOUS_SINK, 0)):
        with Daemon(tmp_path, *words) as daemon, Sender() as sender:
            sender.send([frame()])
            daemon.quiet()
            daemon.stop(status)
            (stopped,) = daemon.events("stopped")
            why = stopped.get("why", "")
            assert ("refused by a rule on vnic0, last 05 PacketOverReturn of ReturnsTwice at " in why) is (status == 70), why
            assert bool(why) is (status == 70)


@pytest.mark.parametrize("name", ["ReturnsTwice", "ReturnsAnothers"])
@namespaced
def test_what_others_hold_is_safe_from_a_wrong_return(tmp_path: Path, name: str) -> None:
    words = (*PROMISCUOUS_SINK, "--driver", "hold hold_ms=200 count=1000", *driver(name), *PROMISCUOUS_SINK)
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        sender.send([frame()] * 100)
        counters, bindings = daemon.dump()
        rule = "01" if name == "ReturnsTwice" else "04"
        told = daemon.wait_for("violation", driver=name, id=rule)
        assert "hold" in [holder["binding"] for holder in told["holders"]]
        check_named([told], name)
        assert (counters["held"], bindings["hold"]["held"], bindings[name]["held"]) == (100, 100, 0)
        until(lambda: daemon.dump()[0]["held"] == 0)
        all_frames_are_seen(daemon, sender)
        last = daemon.stop(70)
        assert last["indicated"] == last["returned"]
        assert {event["driver"] for event in daemon.events("violation")} == {name}


@COUNTS_VIEWS
@pytest.mark.parametrize("beside", [(), ("--driver", "hold hold_ms=20")])
@namespaced
def test_a_kept_view_is_told_and_its_packet_withheld(tmp_path: Path, beside: tuple[str, ...]) -> None:
    words = (*PROMISCUOUS_SINK, *beside, *driver("KeepsView"), *PROMISCUOUS_SINK)
    with Daemon(tmp_path, *words, "--drain-timeout", "0.2") as daemon, Sender() as sender:
        all_frames_are_seen(daemon, sender)
        until(lambda: daemon.dump()[0]["held"] == 0)
        counters, _ = daemon.dump()
        assert counters["pool_quarantined"] == 1
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 70
        last = daemon.check_log()
        assert last["pool_free"] == last["pool_capacity"] - 1
        told = daemon.events("violation", id="09")
        assert {event["driver"] for event in daemon.events("violation")} == {"KeepsView"}
        check_named(told, "KeepsView")


@COUNTS_VIEWS
@namespaced
def test_a_view_kept_for_a_while_is_told_and_the_packet_comes_home(tmp_path: Path) -> None:
    name = "KeepsViewForAWhile"
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *driver(name), *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        all_frames_are_seen(daemon, sender)
        daemon.stop()
        check_named(daemon.events("violation", id="09", driver=name), name)


@namespaced
def test_a_driver_that_keeps_all_packets_starves_nobody(tmp_path: Path) -> None:
    words = (*PROMISCUOUS_SINK, *driver("KeepsEverything"), *PROMISCUOUS_SINK, "--packets", "32", "--drain-timeout", "0.2")
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        all_frames_are_seen(daemon, sender)
        counters, bindings = daemon.dump()
        # its quota is three quarters of the pool: from then on it has to copy, and the others get every packet as before
        assert (counters["rx_resources"], counters["rx_dropped_no_packet"]) == (0, 0)
        assert bindings["KeepsEverything"]["held"] == counters["held"] == 24
        assert bindings["sink"]["resources"] == 0 < bindings["KeepsEverything"]["resources"]
        last = daemon.stop(70)
        assert (last["held"], last["pool_quarantined"]) == (0, 24), "what it still refers to is not used again"
        for rule in ("10", "60"):
            check_named(daemon.events("violation", id=rule, driver="KeepsEverything"), "KeepsEverything")


@namespaced
def test_an_exception_in_a_drivers_own_thread_is_named_by_thread_and_line(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *driver("RaisesInOwnThread"), *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        told = daemon.wait_for("driver_error", type="OSError")
        assert told["handler"] == "thread careless"
        check_named([told], "RaisesInOwnThread")
        all_frames_are_seen(daemon, sender)
        (alert,) = [alert for alert in daemon.answer("doctor", "NAME", status=1)["alerts"] if alert["about"] == "strays"]
        assert f"a driver raised 1 exception, last OSError at {told['where']}, in thread careless" in alert["what"]
        daemon.stop()


@namespaced
def test_the_doctor_counts_each_exception_of_a_driver_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("RaisesAlways")) as daemon, Sender() as sender:
        sender.send(frame() for _ in range(3))
        count = daemon.quiet()[0]["driver_errors"]
        (alert,) = [alert for alert in daemon.answer("doctor", "NAME", status=1)["alerts"] if alert["about"] == "errors"]
        assert f"binding RaisesAlways raised {count} exceptions" in alert["what"]
        daemon.stop()


@namespaced
def test_a_send_after_unbind_is_refused_and_named(tmp_path: Path) -> None:
    config = tmp_path / "vnic.toml"
    sinks = '[[protocol]]\ndriver = "sink"\npromiscuous = true\n' * 2
    config.write_text(f'{sinks}[[protocol]]\ndriver = "{FILE}:SendsAfterUnbind"\n')
    with Daemon(tmp_path, "--config", str(config)) as daemon, Sender() as sender:
        config.write_text(sinks)
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("violation", id="57")
        assert told["driver"] == "SendsAfterUnbind"
        check_named([told], "SendsAfterUnbind")
        daemon.drivers = ["sink", "sink-2"]
        all_frames_are_seen(daemon, sender)
        assert daemon.stop(70)["tx_frames"] == 0


@pytest.mark.parametrize("name", ["NeverStops", "SpinsForEver"])
@namespaced
def test_a_driver_that_hangs_leaves_the_control_plane_alive_and_is_named_at_the_end(tmp_path: Path, name: str) -> None:
    words = (*PROMISCUOUS_SINK, *driver(name), "--stats-interval", "0.05", "--drain-timeout", "0.2")
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        sender.send([frame()])
        after = daemon.mark()
        daemon.wait_for("counters", after, count=5)
        ip("link", "set", "vnic0", "down")
        daemon.wait_for("link", state="down")
        daemon.dump()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(8) == 70
        told = daemon.wait_for("driver_error", driver=name, type="Hang")
        check_named([told], name)
        daemon.check_log()


@namespaced
def test_a_driver_that_hangs_in_unbind_is_named_too(tmp_path: Path) -> None:
    words = (*PROMISCUOUS_SINK, *driver("NeverUnbinds"), "--drain-timeout", "0.2")
    with Daemon(tmp_path, *words) as daemon, Sender() as sender:
        sender.send([frame()] * 100)
        daemon.quiet()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(8) == 70
        check_named([daemon.wait_for("driver_error", driver="NeverUnbinds", type="Hang")], "NeverUnbinds")


@namespaced
def test_a_hanging_driver_cannot_stop_the_second_signal(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("NeverStops"), "--drain-timeout", "60") as daemon, Sender() as sender:
        sender.send([frame()])
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("stopping")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(5) == 143


@namespaced
def test_what_is_wrong_with_every_frame_does_not_fill_the_log(tmp_path: Path) -> None:
    with Daemon(tmp_path, *driver("RaisesAlways"), *driver("AnswersNone"), *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        sender.send([frame()] * 20_000)
        last_seen = daemon.quiet()[0]
        assert (last_seen["driver_errors"], last_seen["violations"]) == (20_000, 20_000)
        daemon.stop(70)
        for event, name in (("driver_error", "RaisesAlways"), ("violation", "AnswersNone")):
            told = daemon.events(event, driver=name)
            assert len(told) < 200
            assert len([one for one in told if "where" in one]) + sum(one.get("suppressed", 0) for one in told) == 20_000
        assert daemon.log.stat().st_size < 500_000
