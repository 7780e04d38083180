"""
The verifier in a real daemon: levels that change under load, a hanging driver named at once, rules that unbind, a flood of records.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tap.daemon import PROMISCUOUS_SINK, Daemon, Sender, frame
from tap.namespace import namespaced, until

BAD = Path(__file__).parent.parent / "faults" / "bad_drivers.py"
SECOND = 1_000_000_000
HOLDING = ("--driver", "hold hold_ms=3 count=300", "--driver", "arp", "--driver", "icmp_echo", "--address", "10.0.0.2/24")
FRAMES = 200_000


def configured(folder: Path, text: str) -> tuple[str, str]:
    """Options that have the daemon read a file with this section in it."""
    file = folder / "vnic.toml"
    file.write_text(text)
    return ("--config", str(file))


@contextmanager
def levels_changing(daemon: Daemon) -> Iterator[list[str]]:
    """Set one level after the other by command, of the process, of a driver, of the pool, until the block ends; the changes made."""
    changes: list[str] = []
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            for words in (("3",), ("0",), ("2",), ("4", "--driver", "hold"), ("1",), ("3", "--pool", "vnic0"), ("1", "--pool", "vnic0")):
                daemon.ask("verify", "set", *words)
                changes.append(" ".join(words))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield changes
    finally:
        over.set()
        thread.join(30)


@namespaced
def test_changing_levels_under_load_loses_no_frame_and_blames_nobody(tmp_path: Path) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, *HOLDING) as daemon, Sender() as sender:
        with levels_changing(daemon) as changes:
            while sender.sent < FRAMES or len(changes) < 14:
                sender.send(frame(number.to_bytes(46)) for number in range(2000))
        counters, bindings = daemon.quiet()
        assert len(changes) >= 14, "twice around"
        assert (counters["rx_frames"], counters["if_tx_dropped"]) == (sender.sent, 0)
        assert bindings["sink"]["delivered"] == sender.sent
        last = daemon.stop()
        assert (last["violations"], last["driver_errors"]) == (0, 0)


@pytest.mark.parametrize("name", ["NeverStops", "SpinsForEver"])
@namespaced
def test_a_handler_that_does_not_return_is_named_with_its_line_within_a_second(tmp_path: Path, name: str) -> None:
    with Daemon(tmp_path, *PROMISCUOUS_SINK, "--driver", f"{BAD}:{name}", "--drain-timeout", "0.1") as daemon, Sender() as sender:
        sender.send([frame()])
        told = daemon.wait_for("violation", id="85")
        assert (told["driver"], told["rule"], told["handler"]) == (name, "HandlerNeverReturned", "receive_packet")
        assert told["where"].startswith(f"{BAD}:")
        assert [line for line in told["stack"] if line.startswith(told["where"])], told["stack"]
        assert SECOND // 2 <= told["age_ns"] < SECOND
        # it is told of once, for as long as it lasts, and whoever asks is told, too
        assert name in daemon.ask("doctor", status=1)
        assert len(daemon.events("violation")) == 1
        daemon.kill()


@namespaced
def test_a_driver_that_breaks_a_rule_is_unbound_if_that_is_the_rules_action(tmp_path: Path) -> None:
    words = configured(tmp_path, '[verifier.actions]\n"11" = "unbind"\n')
    with Daemon(tmp_path, *words, *PROMISCUOUS_SINK, "--driver", f"{BAD}:AnswersNone", *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        sender.send([frame()] * 100)
        assert daemon.wait_for("unbound")["driver"] == "AnswersNone"
        daemon.drivers = ["sink", "sink-2"]
        sender.send([frame()] * 100)
        _, bindings = daemon.quiet()
        assert set(bindings) == {"sink", "sink-2"}
        assert {bindings[sink]["delivered"] for sink in bindings} == {daemon.dump()[0]["rx_frames"]}
        daemon.stop(70)


@namespaced
def test_what_an_unbound_driver_kept_is_not_used_again_while_it_refers_to_it(tmp_path: Path) -> None:
    words = configured(tmp_path, '[pool]\npackets = 64\n[verifier.actions]\n"10" = "unbind"\n')
    with Daemon(tmp_path, *words, *PROMISCUOUS_SINK, "--driver", f"{BAD}:KeepsEverything") as daemon, Sender() as sender:
        # three quarters of the pool are its quota; then it has to copy, keeps all the same, and breaks rule 10
        sender.send([frame(number.to_bytes(46)) for number in range(100)])
        daemon.wait_for("unbound")
        daemon.drivers = ["sink"]
        # nobody refers to the driver any more, so nobody refers to what it kept
        until(lambda: daemon.dump()[0]["pool_free"] == 64)
        sender.send([frame()] * 1000)
        counters, bindings = daemon.quiet()
        assert bindings["sink"]["delivered"] == counters["rx_frames"]
        assert daemon.stop(70)["pool_quarantined"] == 0


@namespaced
def test_a_rule_whose_action_is_stop_ends_the_daemon(tmp_path: Path) -> None:
    words = configured(tmp_path, '[verifier.actions]\n"11" = "stop"\n')
    with Daemon(tmp_path, *words, "--driver", f"{BAD}:AnswersNone", *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        # nobody waits for it to be taken: the interface goes with the daemon
        sender.socket.send(frame())
        assert daemon.wait() == 70
        assert daemon.events("violation", id="11")
        daemon.check_log()


@namespaced
def test_a_thousand_broken_rules_a_second_are_ten_lines_a_second_and_use_up_no_memory(tmp_path: Path) -> None:
    drivers = ["--driver", f"{BAD}:AnswersNone"] * 32
    with Daemon(tmp_path, *drivers, *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        # ten records of each fill the ring, and push all of them out again
        while len(daemon.events("violation")) < 700:
            sender.send([frame()] * 500)
        # as much at once as later, and not in the middle of the last one's records
        sender.send([frame()] * 1000)
        daemon.quiet()
        begun = sender.sent
        before = daemon.resident_kib()
        for _ in range(20):
            sender.send([frame()] * 1000)
        counters, _ = daemon.quiet()
        assert counters["violations"] == 32 * sender.sent
        assert sender.sent - begun == 20_000
        # 640,000 broken rules later: what the C library keeps of freed blocks is less than a byte for each
        assert daemon.resident_kib() - before <= 512
        daemon.stop(70)
        everything = daemon.events("violation", driver="AnswersNone")
        told = [event for event in everything if "seq" in event]
        seconds = (told[-1]["t_mono_ns"] - told[0]["t_mono_ns"]) / SECOND
        assert len(told) <= 10 * (seconds + 1)
        assert len(told) + sum(event.get("suppressed", 0) for event in everything) == sender.sent
