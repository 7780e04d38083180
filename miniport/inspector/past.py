"""
What a daemon left: its state file, read when it does not answer any more.

Next: `miniport/inspector/client.py`, which makes an answer of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERSION = 1
LARGEST = 16 << 20
LATEST = 1e11
"""Seconds of the wall clock that are a time of the day still."""


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a state file; None if there is none, or it is none."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(LARGEST))
        return found if whole(found) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def whole(state: Any) -> bool:
    """Whether something is a state file's content: all that is told of a daemon in any case is there. It may raise anything."""
    ended = state.get("ended") or {"status": 0, "at": state["as_of"], "reason": ""}
    times = state["as_of"], ended["at"]
    return (
        state["v"] == VERSION
        and all(isinstance(view, dict) for view in state["views"].values())
        and isinstance(state["name"], str)
        and {"status", "reason"} <= ended.keys()
        and {"pid", "started_ticks"} <= state.keys()
        and all(isinstance(time, int | float) and 0 <= time < LATEST for time in times)
    )


def lives(state: dict[str, Any]) -> bool:
    """Whether the process that wrote a state file still runs: a number is given again, but not with the same start."""
    ticks = started_ticks(state["pid"])
    return bool(ticks) and ticks == state["started_ticks"]


def started_ticks(pid: int) -> int:
    """When a process began, in the kernel's ticks since the machine did; 0 if there is no such process."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError, TypeError):
        return 0
    return 0 if fields[0] == b"Z" else int(fields[19])
