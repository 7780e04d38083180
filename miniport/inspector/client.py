"""
The client: finds a daemon, asks it, and when it does not answer explains why, from the state file that it left.

Next: `miniport/inspector/command_line.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any, NamedTuple

from miniport.errors import Exit, Failure
from miniport.inspector.past import lives, read_state
from miniport.inspector.text import moment
from miniport.log import escape, shown
from miniport.runtime_dir import AUTO, folders_of_client, socket_path, state_path

PATIENCE_S = 3.0
"""Seconds to wait for an answer. A daemon whose driver keeps the interpreter to itself gives none."""
LARGEST = 64 << 20


class Answer(NamedTuple):
    """
    What came back.

    Attributes:
        result: what the view made.
        past: empty, or one line: the daemon does not answer, and what is shown is of that time.
    """

    result: dict[str, Any]
    past: str = ""


def ask(name: str | None, method: str, parameters: dict[str, Any], control: str = AUTO) -> Answer:
    """
    Ask a daemon, or the state file that it left.

    Args:
        name: the interface; None: the only daemon there is.
        method: what to ask.
        parameters: the details.
        control: where its socket is, if not where it is by itself.

    Raises:
        Failure: there is no such daemon, it refused, or what it left does not say.
    """
    path = find(name, control)
    try:
        reply = exchange(path, {"id": 1, "method": method, "params": parameters})
    except (ConnectionError, FileNotFoundError, TimeoutError) as error:
        return from_state(path, method, parameters, isinstance(error, TimeoutError))
    except PermissionError:
        what = f"no permission to ask the daemon at {escape(str(path))}"
        raise Failure(Exit.PERMISSION, what, "ask as its user, as root, or as a member of its group") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(Exit.UNAVAILABLE, f"the daemon at {escape(str(path))} did not answer", escape(str(error))) from None
    if "error" in reply:
        told = reply["error"]
        raise Failure(known_status(told.get("code")), str(told.get("message")), str(told.get("remedy")))
    return Answer(reply["result"])


def find(name: str | None, control: str = AUTO) -> Path:
    """
    Find the socket of a daemon; it need not be there any more, if it left a state file.

    Raises:
        Failure: there is none, or there are several to choose from.
    """
    if control != AUTO:
        path = socket_path("", control)
        if path is None:
            raise Failure(Exit.USAGE, "--control off", "give the path of a socket")
        return path
    there: dict[str, Path] = {}
    sockets: list[str] = []
    closed: list[Path] = []
    for folder in folders_of_client():
        if is_closed(folder):
            closed.append(folder)
        with contextlib.suppress(PermissionError):
            for file in sorted(folder.glob("*.sock")) + sorted(folder.glob("*.state")):
                there.setdefault(file.stem, file.with_suffix(".sock"))
                if file.suffix == ".sock":
                    sockets.append(file.stem)
    if name in there:
        return there[name]
    if closed and (name is not None or not there):
        raise Failure(Exit.PERMISSION, f"no permission to look into {escape(str(closed[0]))}", "ask as root, or as the daemon's user")
    living = [known for known in sockets if not left_over(there[known])]
    if name is None:
        return there[only(living or list(there), bool(living))]
    alike = difflib.get_close_matches(name, there, 3, 0.5)
    known = f"did you mean {', '.join(map(escape, alike))}?" if alike else f"running are {', '.join(map(escape, living))}" if living else ""
    raise Failure(Exit.UNAVAILABLE, f"no daemon runs for {shown(name)}", known or f"start one: vnic run {escape(name)}")


def is_closed(folder: Path) -> bool:
    """Whether there is, or may be, a folder that we cannot look into."""
    try:
        return stat.S_ISDIR(folder.stat().st_mode) and not os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:
        # so is the one that it is in
        return True
    except OSError:
        return False


def left_over(path: Path) -> bool:
    """Whether a socket is one that a daemon left which was killed: nobody listens at it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return path.is_socket()
        except OSError:
            # it is no socket of ours to judge, or somebody listens who has no time now
            pass
    return False


def only(names: list[str], running: bool = True) -> str:
    """
    Take the one name that there is.

    Args:
        names: of daemons.
        running: whether they run, or have left something.

    Raises:
        Failure: there is none, or more than one.
    """
    if not names:
        raise Failure(Exit.UNAVAILABLE, "no daemon runs", "start one: vnic run vnic0")
    if len(set(names)) > 1:
        remedy = f"name one of {', '.join(sorted(map(escape, set(names))))}"
        if not running:
            raise Failure(Exit.UNAVAILABLE, "no daemon runs", f"start one, or {remedy} to see what it left")
        raise Failure(Exit.USAGE, "several daemons run", remedy)
    return names[0]


def exchange(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """
    Send one request, and wait for its answer.

    Raises:
        OSError: there is nobody, or no answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(os.fspath(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # who is not let in is told so at once
            connection.sendall(json.dumps(request).encode("ascii") + b"\n")
        got = bytearray()
        while not got.endswith(b"\n"):
            part = connection.recv(1 << 20)
            if not part or len(got) > LARGEST:
                raise ConnectionResetError("the connection ended before the answer did")
            got += part
    reply = json.loads(got)
    if not isinstance(reply, dict) or not isinstance(reply.get("result", reply.get("error")), dict):
        raise ValueError("its answer is none")
    return reply


def from_state(path: Path, method: str, parameters: dict[str, Any], in_vain: bool) -> Answer:
    """
    Answer from the state file.

    Args:
        path: the socket.
        method: what was asked.
        parameters: the details; the state has the answer without any.
        in_vain: the daemon was asked, and did not answer in time.

    Raises:
        Failure: there is no state file, or the answer is not in it.
    """
    name = escape(path.stem)
    state = read_state(state_path(path))
    if state is None:
        if path.parent not in folders_of_client():
            what = f"no daemon answers at {escape(str(path))}"
            raise Failure(Exit.UNAVAILABLE, what, "is it the path that vnic run --control was given?")
        raise Failure(Exit.UNAVAILABLE, f"no daemon runs for {name}", f"start one: vnic run {name}")
    past = story(state, in_vain)
    result = state["views"].get(method)
    if not isinstance(result, dict) or "failed" in result:
        known = [kept for kept in state["views"] if "failed" not in state["views"][kept]]
        raise Failure(Exit.UNAVAILABLE, past, f"what it left answers {', '.join(known)}")
    details = f"; shown without {', '.join(parameters)}" if parameters else ""
    return Answer(result, past + details)


def story(state: dict[str, Any], in_vain: bool) -> str:
    """Tell in one line how a daemon ended, or why it does not answer, and as of when the rest is."""
    name, pid, as_of = escape(str(state["name"])), state["pid"], float(state["as_of"])
    ended = state.get("ended")
    if ended:
        how = f"ended with status {ended['status']} at {moment(ended['at'])}, because of {escape(str(ended['reason']))}"
        if ended.get("why"):
            how += f"; it is {ended['status']} because: {escape(str(ended['why']))}"
    elif lives(state):
        why = (
            f"did not answer within {PATIENCE_S:.0f} s: it is stopped, or a driver keeps the interpreter to itself"
            if in_vain
            else "has no socket any more"
        )
        how = f"lives, and {why}"
    else:
        how = "was killed, or ended at once: it is gone and has not written down why"
    return f"no answer from {name}: pid {pid} {how}; this is as of {moment(as_of)}"


def known_status(code: Any) -> Exit:
    """The exit status of an error."""
    return Exit(code) if code in list(Exit) else Exit.UNAVAILABLE
