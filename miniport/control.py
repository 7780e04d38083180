"""
The control socket: one JSON object a line asks, one answers. Nothing that comes in here can disturb the data thread.

    {"id": 1, "method": "pending", "params": {"top": 5}}
    {"id": 1, "v": 1, "vnic": "0.1.0", "result": {...}}   or   {"id": 1, "v": 1, "vnic": "0.1.0", "error": {"code", "message", "remedy"}}

The owner of the daemon, root, and the group of the socket may look; only the owner and root may change something, and that is logged.
Requests are at most 64 KiB, clients at most 8. Whoever does not read is dropped, and whoever asks without end waits: answers take
at most a fifth of this thread's time, one after the other.

Next: `miniport/inspector/commands.py`, everything that can be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import time
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

from miniport.connection import PROTOCOL, Client, parse, reply_to
from miniport.control_socket import Peer, bind_socket
from miniport.errors import Exit, Failure
from miniport.inspector.commands import BY_METHOD, COMMANDS
from miniport.inspector.parameters import near, read_parameters
from miniport.log import exception_fields, shown
from vnic import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from miniport.inspector.commands import Command
    from miniport.inspector.subject import Inspector
    from miniport.log import EventLog

MAX_CLIENTS = 8
MAX_OF_GROUP = 4
"""Clients that are neither the owner nor root: they cannot keep those out."""
REST = 4.0
"""After an answer nothing is answered for so many times the processor time that it took."""
LONGEST_REST_S = 0.5
"""Who asks next must not wait for longer, even after an answer that took more than an eighth of a second."""


class Control:
    """
    Answers questions about one daemon.

    Args:
        path: where the socket is to be.
        inspector: makes what the views look at.
        log: where changes are told.

    Raises:
        Failure: another daemon answers there, or something else is there.
        OSError: the socket cannot be made.
    """

    def __init__(self, path: Path, inspector: Inspector, log: EventLog) -> None:
        self.path = path
        self.inspector = inspector
        self.clients: set[Client] = set()
        self.owner = os.geteuid()
        self._log = log
        self._views = {command.method: view_of(command) for command in COMMANDS}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rest_until = 0.0
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._socket = bind_socket(path)
        self._inode = path.lstat().st_ino

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Client(self), sock=self._socket, backlog=16)

    def close(self) -> None:
        """Stop listening, drop everybody, and take the socket away if it is still ours."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for client in list(self.clients):
            client.drop()
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()

    def abandon(self) -> None:
        """In a forked child: close the descriptors, and tell nobody."""
        for fd in (self._socket.fileno(), *(client.fileno() for client in self.clients)):
            with contextlib.suppress(OSError):
                os.close(fd)

    def admit(self, peer: Peer) -> Failure | None:
        """Say why a client may not come in; None: it may."""
        trusted = peer.uid in (0, self.owner)
        if not trusted and self._group() not in peer.gids:
            return Failure(
                Exit.PERMISSION, f"user {peer.uid} may not ask this daemon", f"ask as user {self.owner}, as root, or as its group"
            )
        others = sum(client.peer.uid not in (0, self.owner) for client in self.clients)
        if len(self.clients) >= MAX_CLIENTS or (not trusted and others >= MAX_OF_GROUP):
            return Failure(Exit.BUSY, f"{len(self.clients)} clients are connected, no more are let in", "try again, or end one of them")
        return None

    def _group(self) -> int:
        """The group of the socket, which its owner may change at any time; nobody's, if the socket is gone."""
        try:
            return self.path.lstat().st_gid
        except OSError:
            return -1

    def take(self, client: Client, line: bytes) -> None:
        """Answer a request soon."""
        task = asyncio.get_running_loop().create_task(self._serve(client, line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: Client, line: bytes) -> None:
        # one after the other, or all who wait for the same rest would be answered after it
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
            begun = time.thread_time()
            client.reply(await self.answer(line, client.peer))
            self._rest_until = time.monotonic() + min(REST * (time.thread_time() - begun), LONGEST_REST_S)

    async def answer(self, line: bytes, peer: Peer) -> dict[str, Any]:
        """
        Answer one request, whatever it is.

        Args:
            line: the request.
            peer: who asks.

        Returns:
            The reply, to be written as it is.
        """
        number: object = None
        try:
            request = parse(line)
            number = request.get("id")
            if isinstance(number, float) and not isfinite(number):
                number = None  # JSON has no such number
            return reply_to(number, result=await self._ask(request, peer))
        except Failure as failure:
            return reply_to(number, error=failure)
        except Exception as error:
            # a driver's objects can raise anything when they are looked at
            told = exception_fields(error)
            what = f"the view failed: {told['type']}: {told['message']} ({told['where']})"
            return reply_to(number, error=Failure(Exit.VIOLATION, what, "please report this"))

    async def _ask(self, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        method = request.get("method")
        if method == "version":
            return {"vnic": __version__, "protocol": PROTOCOL, "methods": list(BY_METHOD)}
        if not isinstance(method, str) or method not in BY_METHOD:
            raise near("method", method, ["version", *BY_METHOD])
        command = BY_METHOD[method]
        arguments = read_parameters(command, request.get("params"))
        trusted = peer.uid in (0, self.owner)
        if command.changes and not trusted:
            raise Failure(Exit.PERMISSION, f"{command.name} is not for user {peer.uid}", f"ask as user {self.owner}, or as root")
        subject = (await self.inspector.look())._replace(bytes_allowed=trusted)
        view = partial(self._views[method], subject, **arguments)
        result = (await self.inspector.between_batches(view))[0] if command.between else view()
        if command.changes:
            told = {key: value if isinstance(value, str | int | float) else shown(value) for key, value in arguments.items()}
            self._log.event("control", "notice", verb=command.name, uid=peer.uid, pid=peer.pid, **{"with": told})
        return result


def view_of(command: Command) -> Callable[..., dict[str, Any]]:
    """Import the view of a command."""
    module, _, function = command.view.partition(".")
    view: Callable[..., dict[str, Any]] = getattr(importlib.import_module(f"miniport.inspector.{module}"), function)
    return view
