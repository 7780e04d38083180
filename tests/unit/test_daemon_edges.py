"""
The edges of the daemon and of its command line: odd places for the socket, sockets of the dead, output that nobody takes, names of others.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from unit.inspecting import stack_on

from miniport.control_socket import bind_socket
from miniport.errors import Exit, Failure
from miniport.inspection import Inspection
from miniport.inspector.client import find
from miniport.inspector.subject import Inspector
from miniport.log import EventLog
from miniport.reports import Output, Reports
from miniport.runtime_dir import make_folder
from miniport.strays import catch_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Any

    from miniport.log import Form
    from tests.unit.conftest import Wire

BASH, ZSH = (Path(__file__).parents[2] / "packaging" / "completions" / name for name in ("vnic.bash", "_vnic"))
COMPLETE = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vnic; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    """Where a log is written."""
    with open(tmp_path / "the.log", "w+b") as file:
        yield file


def at_once(job: Callable[[], None]) -> None:
    """Post to a loop that runs what it is given."""
    job()


def events(log: IO[bytes]) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in Path(log.name).read_text().splitlines()]


def completed(place: Path, *words: str) -> list[str]:
    """What bash offers for the last word, with sockets in a folder, which is also where it runs."""
    command = ["bash", "-c", COMPLETE, "bash", str(BASH), *words]
    environment = os.environ | {"RUNTIME_DIRECTORY": str(place)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=place, env=environment)
    assert done.stderr == ""
    return done.stdout.splitlines()


def vnic(*words: str, stdout: IO[Any] | int) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    command = [sys.executable, "-P", "-m", "miniport", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30)


def dead_socket(path: Path) -> None:
    """Leave a socket as a daemon does that is killed."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


# where the socket is


def test_the_usual_folder_may_be_behind_a_link_of_root_or_ones_own_if_it_is_safe_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, link = tmp_path / "private" / "vnic", tmp_path / "vnic"
    hidden.mkdir(parents=True)
    link.symlink_to("private/vnic")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(link))
    make_folder(link)
    hidden.chmod(0o777)
    with pytest.raises(Failure, match="not a folder that only you or root can write to"):
        make_folder(link)
    hidden.rmdir()
    hidden.touch()
    with pytest.raises(Failure, match="not a folder that only you or root can write to"):
        make_folder(link)


@pytest.mark.parametrize("kind", ["open to all", "a file"])
def test_without_a_safe_usual_place_the_daemon_runs_on_blind(
    kind: str, wire: Wire, folder: Path, log: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "place"
    if kind == "a file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    inspection = Inspection("test0", "auto", Inspector(stack_on(wire)), EventLog(log.fileno(), "json"))
    inspection.keep()
    inspection.end("SIGTERM", 0)
    (event,) = events(log)
    assert (event["event"], event["state"], event["level"]) == ("control", "off", "warning")
    assert "is not a folder that only you or root can write to" in event["error"]
    with pytest.raises(Failure, match="not a folder that only you or root can write to") as failure:
        Inspection("test0", str(place / "x.sock"), Inspector(stack_on(wire)), EventLog(log.fileno(), "json"))
    assert failure.value.status is Exit.PERMISSION


def test_a_living_daemon_at_the_usual_place_is_not_overlooked(wire: Wire, folder: Path, log: IO[bytes]) -> None:
    with bind_socket(folder / "test0.sock") as living:
        living.listen(1)
        with pytest.raises(Failure, match="another daemon answers there"):
            Inspection("test0", "auto", Inspector(stack_on(wire)), EventLog(log.fileno(), "json"))


# which daemon is meant


def test_the_socket_of_a_killed_daemon_does_not_count_when_the_name_is_left_out(folder: Path) -> None:
    dead_socket(folder / "dead.sock")
    (folder / "dead.state").touch()
    assert find(None) == folder / "dead.sock"
    with bind_socket(folder / "vnic0.sock") as living:
        living.listen(1)
        assert find(None) == folder / "vnic0.sock"
        with pytest.raises(Failure, match="no daemon runs for 'qqq': running are vnic0"):
            find("qqq")


def test_of_several_dead_daemons_none_runs(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.state").touch()
    dead_socket(folder / "b.sock")
    dead_socket(folder / "c.sock")
    with pytest.raises(Failure) as failure:
        find(None)
    assert str(failure.value) == "no daemon runs: start one, or name one of a, b, c to see what it left"
    assert failure.value.status is Exit.UNAVAILABLE


# what drivers print


def catch(log: IO[bytes], form: Form, monkeypatch: pytest.MonkeyPatch) -> Output:
    """Catch what is printed from now on; not in a fixture, for pytest exchanges the streams behind those."""
    for module, name in ((sys, "stderr"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    loop = asyncio.new_event_loop()
    written = EventLog(log.fileno(), form)
    caught = catch_strays(loop, written, Reports(written, at_once), at_once)
    loop.close()
    return caught


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_drivers_print_is_escaped_in_both_forms_of_the_log(form: Form, log: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    catch(log, form, monkeypatch)
    print("\x1b[2J", file=sys.stderr)
    assert "x1b[2J" in Path(log.name).read_text()
    assert "\x1b" not in Path(log.name).read_text()


def test_at_the_end_all_that_was_printed_is_told_or_counted(log: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    output = catch(log, "json", monkeypatch)
    print("begun", end="", file=sys.stderr)
    output.drain()
    assert [event["text"] for event in events(log)] == ["begun"]
    for number in range(120):
        print(number, file=sys.stderr)
    print("the last words", end="", file=sys.stderr)
    output.drain()
    told = events(log)
    assert sum("text" in event for event in told) + sum(event.get("suppressed", 0) for event in told) == 122
    output.drain()
    assert len(events(log)) == len(told)


def test_a_daemon_that_cannot_start_says_so_in_plain_text_if_text_is_asked_for() -> None:
    done = vnic("run", "vnic0", "--log-format", "text", "--driver", "snik", stdout=subprocess.DEVNULL)
    assert done.stderr.startswith("vnic: error: driver 'snik' is unknown: ")
    assert done.stderr.count("\n") == 1


# output that cannot be written


@pytest.fixture
def asked(folder: Path) -> dict[str, tuple[str, ...]]:
    """Commands that print something, by their names."""
    (folder / "x.toml").write_text("[[protocol]]\ndriver = 'sink'\n")
    left = {"v": 1, "pid": 1, "started_ticks": 1, "name": "vnic0", "as_of": 0, "ended": None}
    left["views"] = {"doctor": {"name": "vnic0", "wrong": 0, "alerts": []}}
    (folder / "vnic0.state").write_text(json.dumps(left))
    return {
        "version": ("--version",),
        "help": ("--help",),
        "help of run": ("run", "--help"),
        "help of show": ("show", "--help"),
        "check": ("check", str(folder / "x.toml")),
        "doctor": ("doctor", "vnic0"),
    }


@pytest.mark.parametrize("which", ["version", "help", "help of run", "help of show", "check", "doctor"])
def test_a_full_disk_under_the_output_is_one_line_and_a_status(which: str, asked: dict[str, tuple[str, ...]]) -> None:
    with open("/dev/full", "w") as full:
        done = vnic(*asked[which], stdout=full)
    assert done.returncode == Exit.CONFIG
    (line,) = [line for line in done.stderr.splitlines() if "no answer from vnic0" not in line]
    assert "standard output: cannot be written" in line
    assert "No space left on device" in line


@pytest.mark.parametrize("which", ["version", "help", "help of run", "help of show", "check"])
def test_who_takes_no_output_at_all_is_no_error(which: str, asked: dict[str, tuple[str, ...]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = vnic(*asked[which], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# completions


def test_a_name_that_the_shell_would_expand_is_neither_expanded_nor_offered(tmp_path: Path) -> None:
    for name in ("$(id >pwned)", "`id >pwned`", "a b", "vnic0", "vnic0.7", "br-1"):
        (tmp_path / f"{name}.sock").touch()
    assert sorted(completed(tmp_path, "vnic", "show", "")) == ["br-1", "vnic0", "vnic0.7"]
    assert completed(tmp_path, "vnic", "show", "b") == ["br-1"]
    assert not (tmp_path / "pwned").exists()


def test_where_there_is_no_socket_no_name_is_offered(tmp_path: Path) -> None:
    assert completed(tmp_path, "vnic", "show", "") == [""]


def test_interfaces_are_completed(tmp_path: Path) -> None:
    assert completed(tmp_path, "vnic", "run", "l") == sorted(path.name for path in Path("/sys/class/net").glob("l*"))


def test_every_level_of_the_verifier_is_offered(tmp_path: Path) -> None:
    assert completed(tmp_path, "vnic", "run", "v0", "--verifier", "") == list("01234")
    assert ":level:(0 1 2 3 4)'" in ZSH.read_text()
