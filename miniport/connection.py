"""
One client of the control socket: lines in, one after the other; answers out, for as long as they are read.

Next: `miniport/control.py`, which answers.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from miniport.control_socket import Peer, peer_of
from miniport.errors import Exit, Failure
from miniport.log import escape, shown
from vnic import __version__

if TYPE_CHECKING:
    from miniport.control import Control

PROTOCOL = 1
MAX_LINE = 65536
IDLE_S = 60.0
UNREAD = 1 << 20
"""Bytes of answers that a client may leave unread."""


class Client(asyncio.Protocol):
    """One connection. A line is answered before the next is looked at; until then the rest stays with the kernel."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.peer = Peer(0, -1, ())
        self._buffer = bytearray()
        self._busy = self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See who it is, and let it in or not."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self.peer = peer_of(transport.get_extra_info("socket"))
        if (refusal := self.control.admit(self.peer)) is not None:
            self._end_with(refusal)
            return
        self.control.clients.add(self)
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._ended = True
        self.control.clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what came; a line is answered before the next is looked at."""
        if self._transport.is_closing():
            return
        self._buffer += data
        self._next()

    def eof_received(self) -> bool:
        """No more questions; what was asked is answered still."""
        self._ended = True
        if self._buffer and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"
        self._next()
        return not self._transport.is_closing()

    def reply(self, reply: dict[str, Any]) -> None:
        """Send an answer, unless too many lie unread."""
        self._busy = False
        if self._transport.is_closing():
            return
        self._transport.write(encode(reply))
        if self._transport.get_write_buffer_size() > UNREAD:
            self.drop()
            return
        self._wait()
        self._transport.resume_reading()
        self._next()

    def fileno(self) -> int:
        """The descriptor; -1 if it is closed."""
        found: int = self._transport.get_extra_info("socket").fileno()
        return found

    def drop(self) -> None:
        """Break the connection off."""
        self._transport.abort()

    def _next(self) -> None:
        if self._busy:
            return
        line, newline, rest = self._buffer.partition(b"\n")
        if len(line) > MAX_LINE:
            self._end_with(Failure(Exit.USAGE, f"the request is longer than {MAX_LINE} bytes", "ask for less at a time"))
        elif newline:
            self._buffer = rest
            self._busy = True
            # what else comes stays with the kernel until this is answered
            self._transport.pause_reading()
            self.control.take(self, bytes(line))
        elif self._ended:
            self._transport.close()

    def _wait(self) -> None:
        """Whoever says nothing for long goes."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self.drop)

    def _end_with(self, failure: Failure) -> None:
        self._transport.write(encode(reply_to(None, error=failure)))
        self._transport.close()


def parse(line: bytes) -> dict[str, Any]:
    """
    Read a request.

    Raises:
        Failure: it is no JSON object.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise Failure(Exit.USAGE, f"{shown(line)} is no JSON object", 'write {"id": 1, "method": "show"}')
    return request


def reply_to(number: object, *, result: dict[str, Any] | None = None, error: Failure | None = None) -> dict[str, Any]:
    """Make a reply; a number that is no number or text is not given back."""
    head = {"id": number if isinstance(number, int | str | float) else None, "v": PROTOCOL, "vnic": __version__}
    if error is not None:
        return head | {"error": {"code": int(error.status), "message": escape(error.what), "remedy": escape(error.remedy)}}
    return head | {"result": result}


def encode(reply: dict[str, Any]) -> bytes:
    """Make the line of a reply: printable ASCII."""
    try:
        text = json.dumps(reply, default=shown, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        text = json.dumps(reply_to(None, error=Failure(Exit.VIOLATION, "the answer cannot be written", "please report this")))
    return text.encode("ascii") + b"\n"
