"""
The client: which daemon is meant, what a dead one left, and the words of the command line.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from unit.inspecting import FRAME, Keeper, stack_on

from miniport.cli import main
from miniport.errors import Exit, Failure
from miniport.inspector import client
from miniport.inspector.client import Answer, ask, find, only
from miniport.inspector.command_line import sort_words, usage
from miniport.inspector.commands import BY_METHOD, COMMANDS
from miniport.inspector.past import lives, read_state, started_ticks
from miniport.inspector.state import KEPT, StateFile
from miniport.inspector.subject import Inspector
from vnic import OwnershipError
from vnic.verifier.records import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Wire


@pytest.fixture
def state(wire: Wire, folder: Path) -> StateFile:
    """The state file of a daemon that is this very process, over a wire where one packet is held."""
    keeper = Keeper()
    stack = stack_on(wire, keeper)
    wire.give(FRAME)
    file = StateFile(folder / "test0.state", Inspector(stack))
    file.write()
    return file


def serve(path: Path, answer: bytes | None) -> Callable[[], None]:
    """Listen, take one request, and answer it, or not at all; call the result at the end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(4)
    over = threading.Event()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if answer is None:
                over.wait(20)
            else:
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()
        listener.close()

    return end


# which daemon


def test_an_unknown_name_is_one_line_with_those_that_are_like_it(folder: Path) -> None:
    (folder / "vnic0.sock").touch()
    with pytest.raises(Failure) as failure:
        find("vnic9")
    assert str(failure.value) == "no daemon runs for 'vnic9': did you mean vnic0?"
    assert failure.value.status is Exit.UNAVAILABLE
    with pytest.raises(Failure, match=r"no daemon runs for 'x\\x1b': running are vnic0"):
        find("x\x1b")
    (folder / "vnic0.sock").unlink()
    with pytest.raises(Failure, match="no daemon runs for 'vnic9': start one: vnic run vnic9"):
        find("vnic9")


def test_without_a_name_the_only_daemon_is_meant(folder: Path) -> None:
    with pytest.raises(Failure, match="no daemon runs: start one"):
        find(None)
    (folder / "dead.state").touch()
    assert find(None) == folder / "dead.sock"
    (folder / "vnic0.sock").touch()
    assert find(None) == folder / "vnic0.sock"
    (folder / "vnic1.sock").touch()
    with pytest.raises(Failure, match="several daemons run: name one of vnic0, vnic1") as failure:
        find(None)
    assert failure.value.status is Exit.USAGE
    assert only(["a", "a"]) == "a"


def test_a_socket_elsewhere_is_named(folder: Path) -> None:
    assert find(None, "/x/y.sock") == Path("/x/y.sock")
    with pytest.raises(Failure, match="--control off"):
        find(None, "off")


# what comes back


def test_an_error_of_the_daemon_is_that_of_the_command(folder: Path) -> None:
    end = serve(folder / "vnic0.sock", b'{"error":{"code":77,"message":"no","remedy":"ask"}}\n')
    with pytest.raises(Failure, match="no: ask") as failure:
        ask("vnic0", "show", {})
    assert failure.value.status is Exit.PERMISSION
    end()


@pytest.mark.parametrize("answer", [b"", b"garbage\n", b"{}\n", b'{"error":{"code":"x"}}\n', b'{"error":[]}\n', b"[]\n", b'{"result"'])
def test_a_daemon_that_answers_nonsense_is_one_line(answer: bytes, folder: Path) -> None:
    end = serve(folder / "vnic0.sock", answer)
    with pytest.raises(Failure) as failure:
        ask("vnic0", "show", {})
    assert failure.value.status is Exit.UNAVAILABLE
    end()


def test_a_daemon_that_is_stopped_is_explained_from_its_state(folder: Path, state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    end = serve(folder / "test0.sock", None)
    begun = time.monotonic()
    answer = ask("test0", "pending", {})
    assert time.monotonic() - begun < 5
    assert answer.result["pending"] == 1
    assert f"no answer from test0: pid {os.getpid()} lives, and did not answer within" in answer.past
    end()


# what a dead one left


def test_the_state_has_every_view_that_needs_no_words(state: StateFile) -> None:
    found = read_state(state.path)
    assert found is not None
    assert list(found["views"]) == list(KEPT)
    assert not any("failed" in view for view in found["views"].values())
    assert found["views"]["pending"]["by"][0]["by"] == "keeper"
    assert lives(found)
    assert state.path.stat().st_mode & 0o137 == 0
    assert list(state.path.parent.glob(".*")) == []


def test_a_daemon_that_ended_says_how_and_who_held_what_before(state: StateFile, wire: Wire) -> None:
    keeper: Any = state._inspector.stack.drivers[0].binding.driver
    keeper.give_back()
    state.end("SIGTERM", 70)
    answer = ask("test0", "show", {})
    assert "ended with status 70 at " in answer.past
    assert "because of SIGTERM" in answer.past
    assert answer.result["adapters"][0]["bindings"][0]["held"] == 1
    assert ask("test0", "stats", {}).result["adapters"]["test0"]["held"] == 0


def test_a_daemon_that_ended_says_why_its_status_is_not_0_and_which_rules_were_broken_until_then(state: StateFile, wire: Wire) -> None:
    RECORDS.clear()
    keeper: Any = state._inspector.stack.drivers[0].binding.driver
    (packet,) = keeper.kept
    keeper.give_back()
    with pytest.raises(OwnershipError):
        keeper.binding.return_packets([packet])
    state.end("SIGTERM", 70, "1 call was refused by a rule\x1b")
    answer = ask("test0", "violations", {})
    assert answer.past.split("; ")[1] == "it is 70 because: 1 call was refused by a rule\\x1b"
    assert [record["id"] for record in answer.result["records"]] == ["05"]
    assert [alert["about"] for alert in ask("test0", "doctor", {}).result["alerts"]] == ["violations"]
    wire.reports.clear()
    RECORDS.clear()


def test_a_daemon_that_was_killed_is_known_by_its_process_being_gone(state: StateFile) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    found = json.loads(state.path.read_text())
    state.path.write_text(json.dumps(found | {"pid": child.pid}))
    past = ask("test0", "doctor", {}).past
    assert f"pid {child.pid} was killed, or ended at once" in past
    assert "; this is as of 20" in past
    # the number was given to another process
    state.path.write_text(json.dumps(found | {"started_ticks": 1}))
    assert "was killed" in ask("test0", "doctor", {}).past


def test_what_a_dead_daemon_cannot_answer_is_said_with_what_it_can(state: StateFile) -> None:
    with pytest.raises(Failure, match="what it left answers show, stats, ") as failure:
        ask("test0", "threads", {})
    assert failure.value.status is Exit.UNAVAILABLE
    assert "shown without top" in ask("test0", "pending", {"top": "3"}).past


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"v":2,"views":{}}', '{"v":1,"views":[]}', "[" * 100_000])
def test_a_state_file_that_is_none_is_as_if_there_were_none(text: str, folder: Path) -> None:
    (folder / "vnic0.state").write_text(text)
    assert read_state(folder / "vnic0.state") is None
    with pytest.raises(Failure, match="no daemon runs for vnic0"):
        ask("vnic0", "show", {})


def test_a_socket_that_was_named_is_named(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "elsewhere" / "vnic7.sock"
    with pytest.raises(Failure) as failure:
        ask(None, "show", {}, str(path))
    assert str(failure.value) == f"no daemon answers at {path}: is it the path that vnic run --control was given?"


def test_a_state_file_is_whole_at_every_moment(state: StateFile) -> None:
    over = threading.Event()

    def write() -> None:
        for _ in range(50):
            state.write()
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not over.is_set():
        assert read_state(state.path) is not None
        reads += 1
    writer.join()
    assert reads > 1


def test_a_folder_that_is_gone_is_survived(state: StateFile, folder: Path) -> None:
    state.path = folder / "gone" / "x.state"
    state.write()


def test_a_process_that_is_no_more_has_no_start() -> None:
    assert started_ticks(os.getpid()) > 0
    for nobody in (0, -1, 1 << 40):
        assert started_ticks(nobody) == 0


# words


def complain(text: str) -> NoReturn:
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("method", "words", "name", "parameters"),
    [
        ("show", [], None, {}),
        ("show", ["vnic0"], "vnic0", {}),
        ("bindings", ["vnic0"], "vnic0", {}),
        ("bindings", ["vnic0", "arp"], "vnic0", {"binding": "arp"}),
        ("packet", ["17"], None, {"number": "17"}),
        ("packet", ["vnic0", "17"], "vnic0", {"number": "17"}),
        ("verify_set", ["3"], None, {"level": "3"}),
        ("verify_rule", ["vnic0", "08", "count"], "vnic0", {"rule": "08", "action": "count"}),
        ("verify_inject", ["low", "a=1", "b=2=3"], None, {"mode": "low", "settings": {"a": "1", "b": "2=3"}}),
        ("verify_inject", ["vnic0", "low", "a=1"], "vnic0", {"mode": "low", "settings": {"a": "1"}}),
    ],
)
def test_the_name_can_be_left_out(method: str, words: list[str], name: str | None, parameters: dict[str, Any]) -> None:
    assert sort_words(BY_METHOD[method], words, complain) == (name, parameters)


def test_a_single_word_that_is_no_daemon_s_name_is_the_binding_if_one_daemon_runs(
    state: StateFile, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def answer(name: str | None, method: str, parameters: dict[str, Any], control: str) -> Answer:
        asked.append((name, parameters))
        return Answer({"name": "test0", "detail": False, "bindings": []})

    monkeypatch.setattr(client, "ask", answer)
    assert main(["bindings", "keeper"]) == main(["bindings", "test0"]) == main(["bindings", "test0", "keeper"]) == Exit.OK
    (folder / "other0.state").touch()
    assert main(["bindings", "keeper"]) == Exit.OK, "no one knows which daemon is meant: the word is a name"
    assert asked == [(None, {"binding": "keeper"}), ("test0", {}), ("test0", {"binding": "keeper"}), ("keeper", {})]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["packet"], "vnic packet: error: number must be given; see vnic packet --help"),
        (["verify", "rule", "8"], "vnic verify rule: error: rule and action must be given; see vnic verify rule --help"),
        (["show", "a", "b"], "vnic show: error: unrecognized arguments: b; see vnic show --help"),
        (["show", "a", "--frob"], "vnic show: error: unrecognized arguments: --frob; see vnic show --help"),
        (["verify"], "vnic verify: error: the following arguments are required: WHAT; see vnic verify --help"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == Exit.USAGE
    assert capsys.readouterr().err == f"{line}\n"


def test_words_behind_an_option_are_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def answer(*given: Any) -> Answer:
        asked.append(given)
        return Answer({"name": "x", "changed": "all"})

    monkeypatch.setattr(client, "ask", answer)
    assert main(["verify", "set", "vnic0", "--driver", "arp", "3"]) == 0
    assert asked == [("vnic0", "verify_set", {"level": "3", "driver": "arp"}, "auto")]
    assert capsys.readouterr().out == "all\n"


@pytest.mark.parametrize(("result", "status"), [({"total": 0}, 0), ({"total": 3}, 1)])
def test_leaks_are_an_exit_status(
    result: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "ask", lambda *_: Answer(result))
    assert main(["leaks", "vnic0", "--json"]) == status
    assert json.loads(capsys.readouterr().out) == result
    monkeypatch.setattr(client, "ask", lambda *_: Answer(result, "it is dead"))
    assert main(["leaks", "vnic0", "--json"]) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "vnic: it is dead\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.method))
def test_help_of_each_command_has_its_usage_and_ends_with_its_example(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.name.split(), "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {usage(command)}\n")
    assert text.endswith(f"\nexample:\n  {command.example}\n")


def test_who_stops_reading_is_no_error(folder: Path) -> None:
    alerts = [{"level": "note", "what": "x" * 5000, "next": ""}] * 100
    left = {"v": 1, "pid": 1, "started_ticks": 1, "name": "vnic0", "as_of": 0, "ended": None}
    left["views"] = {"doctor": {"name": "vnic0", "wrong": 0, "alerts": alerts}}
    (folder / "vnic0.state").write_text(json.dumps(left))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "miniport", "doctor", "vnic0"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writing)
    assert done.returncode == Exit.UNAVAILABLE
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
