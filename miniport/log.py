"""
The log: one event, one line, one write. Text on a terminal, JSON lines otherwise, printable ASCII always.

What is logged may come from a frame, a driver or a file's name, so nothing but printable ASCII leaves here. The log never
raises and never waits long: a line that cannot be written is counted in `lost`.

Next: `miniport/cli.py`, whose failures end here.
"""

from __future__ import annotations

import json
import os
import re
import select
import threading
import time
from collections import deque
from typing import Any, Literal

from vnic.text import escape as escape  # noqa: PLC0414 - for those who ask here
from vnic.text import shown as shown  # noqa: PLC0414

Form = Literal["auto", "text", "json"]

PRIORITY = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3}
"""The levels, with the journal's number for each."""

WAIT_MS = 100
_COLOUR = {"debug": "\x1b[2m", "notice": "\x1b[1m", "warning": "\x1b[33m", "error": "\x1b[31m"}


class EventLog:
    """
    Writes events to a descriptor, from any thread.

    Args:
        stream_fd: where to; it is not closed here.
        form: `text`, `json`, or `auto`: text on a terminal, JSON otherwise.

    Attributes:
        form: `text` or `json`, as decided.
        lost: lines that could not be written, or not whole.
    """

    def __init__(self, stream_fd: int, form: Form = "auto") -> None:
        terminal = _is_terminal(stream_fd)
        self.form = form if form != "auto" else ("text" if terminal else "json")
        self.lost = 0
        self._fd = stream_fd
        self._colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._journal = _is_journal(stream_fd)
        self._torn = False
        self._wait_ms = WAIT_MS
        # A finaliser may log while this thread is inside the lock.
        self._lock = threading.RLock()

    def event(self, name: str, /, level: str = "info", **fields: Any) -> None:
        """
        Write one line.

        Args:
            name: what happened, in snake_case.
            level: a key of `PRIORITY`.
            fields: the rest, in this order; `ts` and `event` get an underscore behind them.
        """
        fields = {f"{key}_" if key in ("ts", "event") else key: value for key, value in fields.items()}
        seconds, ns = divmod(time.time_ns(), 1_000_000_000)
        ts = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns // 1000:06d}Z"
        if self.form == "json":
            line = _as_json({"ts": ts, "event": name, "level": level, **fields})
        else:
            line = _as_text(ts, name, level, fields)
            if self._colour and level in _COLOUR:
                line = f"{_COLOUR[level]}{line}\x1b[0m"
        prefix = f"<{PRIORITY.get(level, 6)}>" if self._journal else ""
        self._write(f"{prefix}{line}\n".encode("ascii"))

    def _write(self, line: bytes) -> None:
        with self._lock:
            if self._torn:
                line = b"\n" + line
            rest = memoryview(line)
            poll = select.poll()
            try:
                poll.register(self._fd, select.POLLOUT)
                while rest:
                    # Whoever reads the log may have stopped reading, and the data thread logs too: wait once, not for each line.
                    if not poll.poll(self._wait_ms):
                        raise BlockingIOError
                    rest = rest[os.write(self._fd, rest) :]
            except (OSError, ValueError, OverflowError):
                self.lost += 1
                self._wait_ms = 0
            else:
                self._wait_ms = WAIT_MS
            if len(rest) < len(line):
                self._torn = bool(rest)


def exception_fields(error: BaseException, driver_file: str | None = None) -> dict[str, Any]:
    """
    Describe an exception in one line's worth of fields.

    Args:
        error: the exception, as caught.
        driver_file: the file of the driver it came out of; the deepest frame there is the most useful one.

    Returns:
        `type`, `message` (at most 200 characters), `where` ("file:line") and `stack` (the 8 deepest, "file:line function").
    """
    try:
        message = str(error)[:200]
    except BaseException:
        message = "<message not readable>"
    where = own = ""
    stack: deque[str] = deque(maxlen=8)
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{escape(code.co_filename)}:{trace.tb_lineno}"
        own = where if code.co_filename == driver_file else own
        stack.append(f"{where} {escape(code.co_name)}")
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno and not error.filename.startswith("<"):
        own = f"{escape(error.filename)}:{error.lineno}"
        message = str(error.msg)[:200]
    kind = escape(type(error).__name__)
    return {"type": kind, "message": escape(message)[:200], "where": own or where or "unknown", "stack": list(stack)}


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except (OSError, OverflowError):
        return False


def _is_journal(fd: int) -> bool:
    """Say whether this very descriptor leads to the journal: the variable is inherited by children with other descriptors."""
    try:
        found = os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _as_json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, default=shown, allow_nan=False, separators=(",", ":"))
    except Exception:
        # NaN, a key that is no text, a circle, a broken __repr__: the line is worth more than its types.
        return json.dumps({key: value if isinstance(value, str) else shown(value, 1000) for key, value in record.items()})


def _as_text(ts: str, name: str, level: str, fields: dict[str, Any]) -> str:
    if name in ("counters", "virtual_counters"):
        fields = {key: value for key, value in fields.items() if value}
    words = " ".join(f"{escape(key)}={_word(value)}" for key, value in fields.items())
    return f"{ts[11:23]}Z {escape(level):<7} {escape(name):<16} {words}".rstrip()


def _word(value: Any) -> str:
    """Show a value so that the eye finds its end: a mapping without its zeros, text quoted if it has a space in it."""
    if isinstance(value, dict):
        return f"[{' '.join(f'{_word(key)}={shown(item, 1000)}' for key, item in list(value.items()) if item)}]"
    if isinstance(value, str):
        text = escape(value)
        return text if re.fullmatch(r"[^\s\"=]+", text) else '"' + text.replace('"', '\\"') + '"'
    return shown(value, 1000)
