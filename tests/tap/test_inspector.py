"""
The inspector and a real daemon: every command over its socket, while it works, hangs, is flooded, and after it is dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tap.curious import BREAK, KEEP, SLEEP, SPIN
from tap.daemon import PROMISCUOUS_SINK, VNIC, Daemon, Sender, frame, needs
from tap.namespace import NOBODY, as_nobody, namespaced, until

from miniport.errors import Exit, Failure
from miniport.inspector.client import find
from miniport.inspector.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Sequence

CURIOUS = Path(__file__).with_name("curious.py")
DRIVERS = ("--driver", "arp", "--driver", "icmp_echo", "--driver", f"{CURIOUS}:Curious", "--address", "10.0.0.2/24", "--packets", "64")
WORDS: dict[str, tuple[str, ...]] = {
    "bindings": ("Curious",),
    "packet": ("0", "--decode", "--hex"),
    "violation": ("1",),
    "verify set": ("2",),
    "verify rule": ("08", "record"),
}
"""What the commands of the table are given."""
FOUND = {"doctor", "leaks"}
"""The commands that find something in a daemon that keeps packets and has broken a rule."""


def raw(path: Path, *requests: dict[str, Any]) -> list[Any]:
    """Ask over the socket, without the command line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, connection.makefile("rb") as answers:
        connection.settimeout(10)
        connection.connect(str(path))
        found = []
        for request in requests:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(json.dumps(request).encode() + b"\n")
            found.append(json.loads(answers.readline()))
        return found


def keep(sender: Sender, count: int, ethertype: int = KEEP) -> None:
    """Send frames that are kept, or whatever else the type says."""
    sender.send([frame(ethertype=ethertype)] * count)


@pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
@namespaced
def test_every_command_answers(tmp_path: Path, json_wanted: bool) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        keep(sender, 5)
        keep(sender, 1, BREAK)
        until(lambda: daemon.dump()[0]["held"] == 5)
        for command in COMMANDS:
            if command.name in ("verify inject", "watch"):
                continue
            options = ("--older-than", "0s") if command.name == "leaks" else ()
            status = Exit.FOUND if command.name in FOUND else Exit.OK
            words = (*command.name.split(), "NAME", *WORDS.get(command.name, ()), *options)
            if json_wanted:
                assert isinstance(daemon.answer(*words, status=status), dict)
            else:
                text = daemon.ask(*words, status=status)
                assert text.isascii()
                assert text.replace("\n", "").isprintable()
            assert daemon.complaint == ""
        daemon.stop(Exit.VIOLATION)


@namespaced
def test_the_answers_name_the_driver_its_packets_and_its_line(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        keep(sender, 5)
        keep(sender, 1, BREAK)
        until(lambda: daemon.dump()[0]["held"] == 5)
        assert "Curious" in daemon.ask("show", "NAME")
        assert re.search(r"^Curious +5 +5 ", daemon.ask("pending", "NAME"), re.MULTILINE)
        assert re.search(r"5/5 packets at \S+/curious.py:\d+ ", daemon.ask("leaks", "NAME", "--older-than", "0s", status=1))
        assert "02    ReturnInsideReceiveHandler" in daemon.ask("violations", "NAME")
        daemon.ask("verify", "set", "NAME", "2")
        assert daemon.answer("verify", "show", "NAME")["levels"]["process"] == 2
        daemon.ask("verify", "inject", "NAME", "reorder", "seed=3")
        assert daemon.answer("verify", "show", "NAME")["faults"]["reorder"]["seed"] == 3
        daemon.ask("verify", "inject", "NAME", "reorder", "--off")
        daemon.stop(Exit.VIOLATION)


@namespaced
def test_the_socket_is_there_before_ready_and_gone_at_the_end_and_the_state_stays(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        control = tmp_path / "vnic0.sock"
        assert stat.S_IMODE(control.stat().st_mode) == 0o660
        (version,) = raw(control, {"id": 1, "method": "version"})
        assert version["result"]["protocol"] == 1
        daemon.stop()
        assert not control.exists()
        assert daemon.ask("show", "NAME", status=Exit.UNAVAILABLE)
        assert f"pid {daemon.pid} ended with status 0 at " in daemon.complaint
        assert "because of SIGTERM" in daemon.complaint


@namespaced
def test_the_answer_comes_within_200_ms_while_a_driver_sleeps_and_names_its_line(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS, "--stats-interval", "0.1") as daemon, Sender() as sender:
        assert hanging(daemon, sender, SLEEP) < 0.2


@namespaced
def test_the_answer_comes_within_200_ms_while_a_driver_spins(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        assert hanging(daemon, sender, SPIN) < 0.2


def hanging(daemon: Daemon, sender: Sender, ethertype: int) -> float:
    """Let a driver hang; the middle of the times of several answers."""
    control = daemon.folder / "vnic0.sock"
    sender.socket.send(frame(ethertype=ethertype))
    until(lambda: not raw(control, {"method": "stats"})[0]["result"]["answers"])
    times = []
    for method in ("show", "pending", "doctor", "threads", "stats"):
        begun = time.monotonic()
        (answer,) = raw(control, {"method": method})
        times.append(time.monotonic() - begun)
        assert "result" in answer
    (alert, *_) = raw(control, {"method": "doctor"})[0]["result"]["alerts"]
    assert re.search(r"the data thread does not answer: it is in a driver, at \S+curious\.py:\d+", alert["what"])
    assert alert["next"] == "vnic threads vnic0"
    (thread, *_) = raw(control, {"method": "threads"})[0]["result"]["threads"]
    assert (thread["driver"], thread["handler"], thread["stuck"]) == ("Curious", "receive_packet", True)
    assert "curious.py" in thread["stack"][0]
    return statistics.median(times)


@namespaced
def test_a_daemon_that_was_killed_is_explained_with_who_held_what(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        keep(sender, 7)
        until(lambda: json.loads((tmp_path / "vnic0.state").read_text())["views"]["pending"]["pending"] == 7)
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        answer = daemon.answer("pending", "NAME", status=Exit.UNAVAILABLE)
        assert answer["by"][0] | {"oldest_s": 0} == {"by": "Curious", "packets": 7, "owed": 7, "oldest_s": 0}
        assert f"pid {daemon.pid} was killed, or ended at once" in daemon.complaint
        assert "as of 20" in daemon.complaint
        daemon.ask("doctor", "NAME", status=Exit.UNAVAILABLE)
        daemon.ask("threads", "NAME", status=Exit.UNAVAILABLE)
        assert (tmp_path / "vnic0.sock").exists()
    with Daemon(tmp_path, *DRIVERS) as daemon:
        assert daemon.answer("show", "NAME")["pid"] == daemon.pid
        daemon.stop()


@namespaced
def test_a_living_daemon_keeps_its_socket_and_the_second_one_ends_with_75(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS, "--control", str(tmp_path / "mine.sock")) as daemon:
        command = [*VNIC, "run", "vnic1", "--control", str(tmp_path / "mine.sock")]
        again = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert again.returncode == Exit.BUSY
        assert "another daemon answers there" in json.loads(again.stderr.splitlines()[-1])["error"]
        assert daemon.ask("show", "--control", str(tmp_path / "mine.sock"))
        daemon.stop()


@namespaced
def test_a_path_that_is_too_long_ends_the_start_with_one_line(tmp_path: Path) -> None:
    done = subprocess.run([*VNIC, "run", "vnic0", "--control", "/tmp/" + "x" * 103], capture_output=True, text=True, timeout=30)
    assert done.returncode == Exit.CONFIG
    (line,) = done.stderr.splitlines()
    assert "the path has 108 bytes, a socket's can have 107" in line


@namespaced
def test_switched_off_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS, "--control", "off") as daemon:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["vnic0.log"]
        daemon.ask("show", "NAME", status=Exit.UNAVAILABLE)
        daemon.stop()


@namespaced
def test_another_user_is_not_let_in(tmp_path: Path) -> None:
    control = tmp_path / "vnic0.sock"
    with Daemon(tmp_path, *DRIVERS) as daemon:
        for folder in (tmp_path, *tmp_path.parents):
            if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
                folder.chmod(0o755)
        assert as_nobody(refusal, control) == "PermissionError"
        # somebody has opened the file to all: the daemon looks at who it is
        control.chmod(0o666)
        assert as_nobody(refusal, control) == f"user {NOBODY} may not ask this daemon"
        # a member of its group may look, and neither change something nor see bytes
        control.chmod(0o660)
        os.chown(control, -1, NOBODY)
        heard = as_nobody(refusal, control)
        assert heard == f"vnic0 / verify set is not for user {NOBODY} / the bytes of frames are not shown to you"
        daemon.stop()


@namespaced
def test_who_cannot_look_for_a_daemon_is_told_so_and_not_that_there_is_none(tmp_path: Path) -> None:
    for folder in tmp_path.parents:
        if folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o700)
    what, status = as_nobody(found, tmp_path)
    assert (what, status) == (f"no permission to look into {tmp_path}: ask as root, or as the daemon's user", int(Exit.PERMISSION))


def found(folder: Path) -> tuple[str, int]:
    """What a client says that looks for a daemon in a folder."""
    os.environ["RUNTIME_DIRECTORY"] = str(folder)
    try:
        return str(find("vnic0")), 0
    except Failure as failure:
        return str(failure), int(failure.status)


def refusal(control: Path) -> str:
    """What somebody hears who asks; in a process of his own."""
    packet = {"method": "packet", "params": {"number": "0", "hex": True}}
    try:
        shown, changed, hidden = raw(control, {"method": "show"}, {"method": "verify_set", "params": {"level": 0}}, packet)
    except PermissionError as error:
        return type(error).__name__
    except (json.JSONDecodeError, ConnectionResetError):
        return str(raw(control, {"method": "show"})[0]["error"]["message"])
    return " / ".join([shown["result"]["name"], *(refused["error"]["message"] for refused in (changed, hidden))])


@namespaced
def test_a_change_is_logged_with_who_made_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        assert "level 3 for driver Curious" in daemon.ask("verify", "set", "NAME", "3", "--driver", "Curious")
        event = daemon.wait_for("control")
        assert (event["verb"], event["uid"], event["with"]) == ("verify set", 0, {"level": "3", "driver": "Curious"})
        assert event["pid"] != daemon.pid
        daemon.ask("show", "NAME")
        assert len(daemon.events("control")) == 1
        daemon.stop()


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("show", "vnic9"), Exit.UNAVAILABLE, "no daemon runs for 'vnic9': did you mean vnic0?"),
        (("bindings", "vnic0", "Curius"), Exit.USAGE, "there is no driver 'Curius': did you mean Curious?"),
        (("pending", "vnic0", "--driver", "apr"), Exit.USAGE, "there is no driver 'apr': did you mean arp?"),
        (("packet", "vnic0", "64"), Exit.USAGE, "pool vnic0 has no packet 64: it has 64, from 0 on"),
        (("packet", "vnic0", "0", "--hex"), Exit.USAGE, "packet 0 is free: it has no frame"),
        (("violation", "vnic0", "1"), Exit.USAGE, "there is no violation '1': known are none"),
        (("verify", "rule", "vnic0", "RetainedView", "count"), Exit.USAGE, "there is no rule 'RetainedView'"),
        (("pending", "vnic0", "--older-than", "soon"), Exit.USAGE, "--older-than: 'soon' is no length of time"),
    ],
)
@namespaced
def test_what_is_not_there_is_one_line_and_a_status(tmp_path: Path, words: Sequence[str], status: int, complaint: str) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        assert daemon.ask(*words, status=status) == ""
        assert complaint in daemon.complaint
        assert len(daemon.complaint.splitlines()) == 1
        daemon.stop()


@namespaced
def test_a_name_that_is_hostile_does_not_get_out(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--driver", f"{CURIOUS}:Hostile", "--packets", "16") as daemon, Sender() as sender:
        keep(sender, 3)
        until(lambda: daemon.answer("pending", "NAME")["pending"] == 3)
        for words in (("show",), ("bindings",), ("pending",), ("report",), ("log",)):
            text = daemon.ask(words[0], "NAME", *words[1:])
            assert text.isascii()
            assert text.replace("\n", "").isprintable()
        daemon.ask("report", "NAME", "--html", str(tmp_path / "page.html"))
        page = (tmp_path / "page.html").read_text()
        assert "<b>&" not in page
        assert "\x1b" not in page
        daemon.stop()


@needs("tshark", "tshark")
@namespaced
def test_a_held_packet_is_opened_by_others_with_who_holds_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        keep(sender, 1)
        until(lambda: daemon.answer("pending", "NAME")["pending"] == 1)
        number = str(daemon.answer("pending", "NAME")["packets"][0]["packet"])
        path = tmp_path / "held.pcapng"
        daemon.ask("packet", "NAME", number, "--pcap", str(path))
        fields = ("-T", "fields", "-e", "frame.len", "-e", "eth.type", "-e", "frame.comment")
        done = subprocess.run(["tshark", "-r", str(path), *fields], capture_output=True, text=True, timeout=60, check=True)
        size, kind, comment = done.stdout.rstrip("\n").split("\t")
        assert (size, kind) == ("60", hex(KEEP))
        assert "Curious owes 1 (kept at " in comment
        keep(sender, 4)
        until(lambda: daemon.answer("pending", "NAME")["pending"] == 5)
        daemon.ask("pending", "NAME", "--top", "4", "--pcap", str(path))
        done = subprocess.run(["tshark", "-r", str(path), *fields], capture_output=True, text=True, timeout=60, check=True)
        assert len(done.stdout.splitlines()) == done.stdout.count("Curious owes 1") == 4
        daemon.stop()


@namespaced
def test_hostile_clients_disturb_no_frame(tmp_path: Path) -> None:
    control = tmp_path / "vnic0.sock"
    with Daemon(tmp_path, *PROMISCUOUS_SINK) as daemon, Sender() as sender:
        crowd = []
        for number in range(1000):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.settimeout(10)
            with contextlib.suppress(OSError):
                one.connect(str(control))
                one.setblocking(False)
                one.send((b"\x00\xff" * 500, b"x" * 70_000, b'{"method":"show"}\n' * 100, b"")[number % 4])
                if number % 7 == 0:
                    one.shutdown(socket.SHUT_WR)
            crowd.append(one)
            if number % 100 == 0:
                sender.send([frame()] * 100)
        assert daemon.quiet()[0]["rx_frames"] == 1000
        for one in crowd:
            one.close()
        until(lambda: "result" in raw(control, {"method": "show"})[0])
        assert len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) < 40
        assert daemon.events("driver_error") == []
        last = daemon.stop()
        assert last["if_tx_dropped"] == 0


@namespaced
def test_a_report_is_one_page_of_the_living_and_of_the_dead(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon, Sender() as sender:
        keep(sender, 5)
        keep(sender, 1, BREAK)
        until(lambda: daemon.dump()[0]["held"] == 5)
        path = tmp_path / "report.html"
        daemon.ask("report", "NAME", "--html", str(path))
        page = path.read_text()
        assert page.startswith("<!doctype html>")
        assert "ReturnInsideReceiveHandler" in page
        assert "curious.py:" in page
        daemon.stop(Exit.VIOLATION)


@namespaced
def test_the_state_file_is_as_new_as_the_last_second(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        state = tmp_path / "vnic0.state"
        before = json.loads(state.read_text())["as_of"]
        until(lambda: json.loads(state.read_text())["as_of"] > before)
        assert time.time() - json.loads(state.read_text())["as_of"] < 5
        daemon.stop()


@needs("nc", "netcat-openbsd")
@namespaced
def test_nc_is_enough_to_ask(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        command = ["nc", "-N", "-U", f"{tmp_path}/vnic0.sock"]
        done = subprocess.run(command, input='{"id":1,"method":"show"}\n', capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(done.stdout)["result"]["name"] == "vnic0"
        daemon.stop()


@namespaced
def test_watch_shows_again_and_again_until_it_is_interrupted_or_the_daemon_is_dead(tmp_path: Path) -> None:
    with Daemon(tmp_path, *DRIVERS) as daemon:
        command = [*VNIC, "watch", "vnic0", "--every", "100ms"]
        for number, status in ((signal.SIGINT, Exit.OK), (None, Exit.UNAVAILABLE)):
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=daemon.env) as watcher:
                assert watcher.stdout is not None
                seen = 0
                while seen < 3:
                    seen += watcher.stdout.readline().startswith("vnic0  pid")
                if number is not None:
                    watcher.send_signal(number)
                else:
                    daemon.stop()
                watcher.stdout.read()
                assert watcher.wait(20) == status
