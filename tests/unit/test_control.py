"""
The control socket: what it answers, whom it lets in, and that nothing that comes in there brings it down.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.inspecting import FRAME, OWNER, Keeper, connected, stack_on, with_control

from miniport import connection, control
from miniport.connection import MAX_LINE, encode, parse, reply_to
from miniport.control import MAX_CLIENTS, Control
from miniport.control_socket import Peer, bind_socket, peer_of
from miniport.data_thread import DataThreads
from miniport.errors import Exit, Failure
from miniport.inspection import Inspection
from miniport.inspector.commands import BY_METHOD, COMMANDS
from miniport.inspector.subject import Inspector
from miniport.log import EventLog
from miniport.runtime_dir import folder_of_daemon, folders_of_client, make_folder, socket_path, state_path
from miniport.stack import Stack
from protocol.sink import Sink

if TYPE_CHECKING:
    from tests.unit.conftest import Wire

STRANGER = Peer(2, 65534, (65534,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is to be."""
    return tmp_path / "test0.sock"


async def ask(path: Path, *lines: bytes, close: bool = False) -> list[Any]:
    """Send lines, and take as many answers."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
    writer.write(b"".join(lines))
    if close:
        writer.write_eof()
    answers = [json.loads(await asyncio.wait_for(reader.readline(), 10)) for _ in lines]
    writer.close()
    return answers


def request(method: str, ident: Any = 1, /, **params: Any) -> bytes:
    """Make the line of a request."""
    return json.dumps({"id": ident, "method": method, "params": params}).encode() + b"\n"


def log_to(path: Path) -> EventLog:
    """Log to a file."""
    return EventLog(os.open(path, os.O_WRONLY | os.O_CREAT), "json")


# answers


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.changes], ids=lambda command: str(command.method))
def test_every_question_is_answered_over_the_socket(command: Any, wire: Wire, path: Path) -> None:
    keeper = Keeper()
    stack = stack_on(wire, keeper, Sink())
    wire.give(FRAME)
    params = {"number": "0"} if "number" in command.words else {"seq": "1"} if "seq" in command.words else {}

    async def body(_: Control) -> None:
        (answer,) = await ask(path, request(command.method, 7, **params))
        assert (answer["id"], answer["v"]) == (7, 1)
        assert (
            answer["error"]["message"].startswith("there is no violation")
            if command.method == "violation"
            else answer["result"]["name"] == "test0"
        )

    with_control(path, stack, body)
    keeper.give_back()


def test_a_connection_can_ask_again_and_the_answers_come_in_order(wire: Wire, path: Path) -> None:
    async def body(_: Control) -> None:
        answers = await ask(path, *(request("version", number) for number in range(50)))
        assert [answer["id"] for answer in answers] == list(range(50))
        assert answers[0]["result"]["methods"] == list(BY_METHOD)

    with_control(path, stack_on(wire), body)


def test_who_closes_his_half_is_answered_still_also_without_a_last_newline(wire: Wire, path: Path) -> None:
    async def body(_: Control) -> None:
        (answer,) = await ask(path, b'{"method":"version"}', close=True)
        assert answer["result"]["protocol"] == 1
        assert (await ask(path, request("version"), request("pools", 2), close=True))[1]["id"] == 2

    with_control(path, stack_on(wire), body)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\n", "b'' is no JSON object"),
        (b"[1]\n", "b'[1]' is no JSON object"),
        (b"\xff\xfe\x00\n", r"b'\xff\xfe\x00' is no JSON object"),
        (b"[" * 60_000 + b"\n", "is no JSON object"),
        (b'{"id":' + b"9" * 5000 + b"}\n", "is no JSON object"),
        (b"{}\n", "there is no method None"),
        (b'{"method":["show"]}\n', "there is no method ['show']"),
        (b'{"method":"showw"}\n', "there is no method 'showw'"),
        (b'{"method":"show","params":[1]}\n', "params is [1]"),
        (b'{"method":"show","params":{"x":1}}\n', "show takes no 'x'"),
        (b'{"method":"packet"}\n', "packet: number is missing"),
        (b'{"method":"pending","params":{"top":-1}}\n', "--top: -1 is no number"),
        (b'{"method":"pending","params":{"top":true}}\n', "--top: True is no number"),
        (b'{"method":"pending","params":{"older_than":"1 parsec"}}\n', "--older-than: '1 parsec' is no length of time"),
        (b'{"method":"packet","params":{"number":{"a":1}}}\n', "number: {'a': 1} is not allowed"),
        (b'{"method":"log","params":{"force":"yes"}}\n', "--force: 'yes' is neither true nor false"),
        (b'{"method":"verify_inject","params":{"mode":"x","settings":{"a b":1}}}\n', "settings: 'a b' is no name"),
        (b'{"method":"verify_inject","params":{"mode":"x","settings":[]}}\n', "settings: [] is not allowed"),
        (b'{"method":"bindings","params":{"binding":"' + b"x" * 300 + b'"}}\n', "is not allowed"),
    ],
)
def test_a_bad_request_is_answered_with_one_line_and_the_connection_goes_on(line: bytes, message: str, wire: Wire, path: Path) -> None:
    async def body(_: Control) -> None:
        wrong, right = await ask(path, line, request("version"))
        assert message in wrong["error"]["message"]
        assert wrong["error"]["code"] == Exit.USAGE
        assert wrong["error"]["remedy"]
        assert "result" in right

    with_control(path, stack_on(wire), body)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_line_gets_an_answer_of_printable_ascii(line: bytes) -> None:
    try:
        reply = reply_to(None, result=parse(line))
    except Failure as failure:
        reply = reply_to(None, error=failure)
    text = encode(reply)
    assert text.endswith(b"\n")
    assert text[:-1].isascii()
    assert text[:-1].decode().isprintable()


def test_an_answer_that_is_no_json_is_an_error_and_not_the_end() -> None:
    for value in (float("nan"), {1: {2: object()}}, {"a": [float("inf")]}):
        assert json.loads(encode(reply_to(1, result={"a": value})))
    circle: dict[str, Any] = {}
    circle["a"] = circle
    assert json.loads(encode(reply_to(1, result=circle)))["error"]["code"] == Exit.VIOLATION


def test_a_view_that_fails_is_an_error_with_its_line(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        def broken(_: object) -> dict[str, Any]:
            raise RuntimeError("a driver's \x1b[2J")

        served._views["show"] = broken
        (answer,) = await ask(path, request("show"))
        assert answer["error"]["code"] == Exit.VIOLATION
        assert "RuntimeError: a driver's \\x1b[2J" in answer["error"]["message"]

    with_control(path, stack_on(wire), body)


# hostile clients


def test_a_request_that_is_too_long_ends_the_connection_with_one_line(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
        writer.write(b"x" * (MAX_LINE + 1))
        answer = json.loads(await reader.readline())
        assert "longer than 65536 bytes" in answer["error"]["message"]
        assert await reader.read() == b""
        writer.close()
        assert "result" in (await ask(path, request("version")))[0]

    with_control(path, stack_on(wire), body)


def test_a_thousand_connections_are_survived_and_eight_are_served(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        crowd: list[socket.socket] = []
        while len(crowd) < 1000:
            try:
                crowd.append(connected(path))
            except BlockingIOError:
                # the queue of those who wait is full: let the server take some
                await asyncio.sleep(0)
        end = time.monotonic() + 20
        while len(served.clients) < MAX_CLIENTS or sum(refused(one) for one in crowd) < 1000 - MAX_CLIENTS:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        assert len(served.clients) == MAX_CLIENTS
        for one in crowd:
            one.close()
        while served.clients:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        assert "result" in (await ask(path, request("show")))[0]

    with_control(path, stack_on(wire, Sink()), body)


def refused(one: socket.socket) -> bool:
    """Whether a connection was told that there are too many; it may have been told before."""
    try:
        return b"clients are connected" in one.recv(4096, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def test_who_does_not_read_is_dropped(wire: Wire, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD", 10_000)
    monkeypatch.setattr(control, "REST", 0.0)

    async def body(served: Control) -> None:
        slow = connected(path)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        end, dropped = time.monotonic() + 20, False
        while not dropped:
            try:
                slow.send(request("stats"))
            except BlockingIOError:
                pass
            except ConnectionError:
                dropped = True
            await asyncio.sleep(0)
            assert time.monotonic() < end, "it was never dropped"
        slow.close()
        while served.clients:
            await asyncio.sleep(0.001)
        assert "result" in (await ask(path, request("version")))[0]

    with_control(path, stack_on(wire, Sink()), body)


def test_who_says_nothing_is_dropped(wire: Wire, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.05)

    async def body(served: Control) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    with_control(path, stack_on(wire), body)


def test_who_asks_without_end_leaves_most_of_the_time_to_others(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        def busy(_: object) -> dict[str, Any]:
            end = time.thread_time() + 0.01
            while time.thread_time() < end:
                pass
            return {}

        served._views["show"] = busy
        begun = time.monotonic()
        await ask(path, *[request("show")] * 10)
        # nine rests of four times 10 ms, and ten answers
        assert time.monotonic() - begun > 0.4

    with_control(path, stack_on(wire, Sink()), body)


# who may


def test_the_socket_is_for_its_owner_and_group_only_and_the_umask_stays(wire: Wire, path: Path) -> None:
    before = os.umask(0o022)
    os.umask(before)

    async def body(_: Control) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        now = os.umask(0o022)
        os.umask(now)
        assert now == before

    with_control(path, stack_on(wire), body)


def test_a_folder_that_is_made_is_for_its_owner_only(tmp_path: Path, wire: Wire) -> None:
    deep = tmp_path / "a" / "b" / "test0.sock"

    async def body(_: Control) -> None:
        assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o700

    with_control(deep, stack_on(wire), body)


def test_a_folder_where_anybody_can_put_things_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for folder in (shared, link):
        with pytest.raises(Failure, match="not a folder that only you or root can write to"):
            make_folder(folder)
    shared.chmod(0o1777)
    make_folder(shared)


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        found = peer_of(one)
    assert (found.pid, found.uid) == (os.getpid(), os.geteuid())
    assert os.getegid() in found.gids


def test_only_the_owner_and_root_may_change_something_and_it_is_logged(wire: Wire, path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def body(served: Control) -> None:
        for number in (0, served.owner):
            assert "result" in await served.answer(request("verify_rule", rule="08", action="record"), Peer(77, number, (5,)))
        refusal = await served.answer(request("verify_set", level="0"), STRANGER)
        assert refusal["error"]["code"] == Exit.PERMISSION
        assert "result" in await served.answer(request("show"), STRANGER)
        hidden = await served.answer(request("packet", number="0", hex=True), STRANGER)
        assert hidden["error"]["code"] == Exit.PERMISSION

    with_control(path, stack_on(wire), body, log_to(log))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(event["event"], event["verb"], event["pid"]) for event in events] == [("control", "verify rule", 77)] * 2
    assert events[0]["with"] == {"rule": "08", "action": "record"}


def test_who_is_neither_the_owner_nor_root_nor_of_the_group_is_not_let_in(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        served.owner = 1234
        refusal = served.admit(STRANGER)
        assert refusal is not None
        assert refusal.status is Exit.PERMISSION
        for peer in (OWNER, Peer(1, 1234, ()), Peer(1, 99, (7, path.stat().st_gid))):
            assert served.admit(peer) is None

    with_control(path, stack_on(wire), body)


def test_the_group_cannot_keep_the_owner_out(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        member = Peer(3, 99, (path.stat().st_gid,))
        served.owner = 1234
        for _ in range(4):
            assert served.admit(member) is None
            client = connection.Client(served)
            client.peer = member
            served.clients.add(client)
        refusal = served.admit(member)
        assert refusal is not None
        assert refusal.status is Exit.BUSY
        assert served.admit(Peer(1, 1234, ())) is None
        served.clients.clear()

    with_control(path, stack_on(wire), body)


# places


def test_a_path_that_is_too_long_is_one_line_with_its_length(tmp_path: Path) -> None:
    socket_path("x", "/" + "a" * 106)
    with pytest.raises(Failure, match="the path has 108 bytes, a socket's can have 107: give a shorter one with --control") as failure:
        socket_path("x", "/" + "a" * 107)
    assert failure.value.status is Exit.CONFIG
    assert socket_path("x", "off") is None


def test_the_place_follows_the_service_manager_then_root_then_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert socket_path("vnic0") == Path("/run/vnic/vnic0.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert folders_of_client() == [Path("/run/user/7/vnic"), Path("/run/vnic")]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folder_of_daemon() == Path("/tmp/vnic-7")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert folder_of_daemon() == Path("/run/a")
    assert state_path(Path("/run/a/vnic0.sock")) == Path("/run/a/vnic0.state")
    assert state_path(Path("/run/a/other")) == Path("/run/a/other.state")


def test_the_socket_of_a_dead_daemon_is_replaced_and_that_of_a_living_one_is_not(path: Path) -> None:
    first = bind_socket(path)
    first.listen(1)
    with pytest.raises(Failure, match="another daemon answers there") as failure:
        bind_socket(path)
    assert failure.value.status is Exit.BUSY
    first.close()
    assert path.exists()
    bind_socket(path).close()


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(Failure, match="something else is there"):
        bind_socket(path)
    assert path.read_text() == "mine"


def test_a_socket_that_is_somebody_else_s_by_now_is_not_taken_away(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        path.unlink()
        path.write_text("another one")
        served.close()
        assert path.read_text() == "another one"
        path.unlink()

    with_control(path, stack_on(wire), body)


def test_without_a_place_for_the_socket_the_daemon_runs_on_blind_unless_it_was_asked_for(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, stack = tmp_path / "log", stack_on(wire)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/proc/nowhere")
    inspection = Inspection("test0", "auto", Inspector(stack), log_to(log))
    inspection.keep()
    inspection.end("SIGTERM", 0)
    event = json.loads(log.read_text())
    assert (event["event"], event["state"], event["level"]) == ("control", "off", "warning")
    with pytest.raises(Failure, match=r"/proc/nowhere/x\.sock cannot be made"):
        Inspection("test0", "/proc/nowhere/x.sock", Inspector(stack), log_to(log))


def test_switched_off_there_is_neither_socket_nor_state(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    inspection = Inspection("test0", "off", Inspector(Stack(wire.adapter)), log_to(tmp_path / "log"))
    inspection.keep()
    assert not list(tmp_path.glob("test0*"))
    inspection.close()


def test_a_forked_child_lets_go_of_the_sockets(wire: Wire, path: Path) -> None:
    async def body(served: Control) -> None:
        client = connected(path)
        while not served.clients:
            await asyncio.sleep(0.001)
        ours = {os.fstat(served._socket.fileno()).st_ino, *(os.fstat(one.fileno()).st_ino for one in served.clients)}
        assert len(ours & open_inodes()) == 2
        child = os.fork()
        if not child:
            served.abandon()
            os._exit(len(ours & open_inodes()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(ours & open_inodes()) == 2
        client.close()

    with_control(path, stack_on(wire), body)


def open_inodes() -> set[int]:
    """The inodes behind the descriptors of this process."""
    found = set()
    for fd in range(256):
        with suppress(OSError):
            found.add(os.fstat(fd).st_ino)
    return found


def test_what_must_be_looked_at_between_two_batches_is_done_by_the_data_thread(wire: Wire, path: Path) -> None:
    names: list[str] = []

    def note(subject: Any) -> dict[str, Any]:
        names.append(threading.current_thread().name)
        return {}

    def given_up(error: BaseException) -> None:
        raise AssertionError(error)

    async def body() -> None:
        thread = DataThreads(wire.adapter, 64, given_up)
        thread.start([wire.near.fileno()])
        served = Control(path, Inspector(stack_on(wire), thread), EventLog(2, "json"))
        served._views |= {"verify_audit": note, "show": note}
        for method in ("verify_audit", "show"):
            assert "result" in await served.answer(request(method), OWNER)
        assert thread.end(5)
        assert "result" in await served.answer(request("verify_audit"), OWNER)
        served.close()

    asyncio.run(body())
    assert names == ["vnic-data", "MainThread", "MainThread"]
