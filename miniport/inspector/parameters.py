"""
From what a client sent, or a person typed, to the arguments of a view; what does not fit is one line.

Next: `miniport/inspector/subject.py`, what the views look at.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from miniport.errors import Exit, Failure
from miniport.inspector.commands import Command
from miniport.log import escape, shown

LOCAL = ("file", "here")
UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_TEXT = 200
MAX_SETTINGS = 16


def read_parameters(command: Command, given: Any) -> dict[str, Any]:
    """
    Convert what a client sent.

    Args:
        command: what is asked.
        given: names and values; text is converted.

    Returns:
        The arguments of the view.

    Raises:
        Failure: of status USAGE: something is missing, unknown, or not what it should be.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _usage(f"params is {shown(given)}", "give an object of names and values")
    options = {option.key: option for option in command.options if option.kind not in LOCAL}
    words = {word.rstrip("?*"): word for word in command.words}
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key in options:
            found[key] = _convert(options[key].flag, options[key].kind, value)
        elif key in words:
            found[key] = _settings(value) if words[key].endswith("*") else _convert(key, "text", value)
        else:
            raise _usage(f"{command.name} takes no {shown(key)}", f"known are {', '.join([*words, *options]) or 'none'}")
    for key, word in words.items():
        if not word.endswith(("?", "*")) and key not in found:
            raise _usage(f"{command.name}: {key} is missing", f"for example: {command.example}")
    return found


def near(what: str, wanted: object, known: Iterable[str], status: Exit = Exit.USAGE) -> Failure:
    """Say that there is nothing of a name, and which names are like it."""
    names = sorted({escape(name) for name in known})
    alike = difflib.get_close_matches(str(wanted), names, 3, 0.6)
    more = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return Failure(
        status, f"there is no {what} {shown(wanted)}", f"did you mean {', '.join(alike)}?" if alike else f"known are {more or 'none'}"
    )


def chosen(what: str, wanted: str, known: Mapping[str, Any]) -> Any:
    """
    Look something up by its name.

    Raises:
        Failure: there is nothing of that name.
    """
    if wanted not in known:
        raise near(what, wanted, known)
    return known[wanted]


def seconds(name: str, value: object) -> float:
    """
    Read a length of time: a number of seconds, or one with a unit.

    Raises:
        Failure: it is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", value) if isinstance(value, str) else None
    if parts is None:
        raise _usage(f"{name}: {shown(value)} is no length of time", "give 1s, 500ms, 2m or 1h")
    return float(parts[1]) * UNITS[parts[2]]


def whole(name: str, value: object) -> int:
    """
    Read a number.

    Raises:
        Failure: it is none from 0 to 2**63.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value
    raise _usage(f"{name}: {shown(value)} is no number", "give a whole number, 0 or more")


def _convert(name: str, kind: str, value: Any) -> Any:
    if kind == "flag":
        if not isinstance(value, bool):
            raise _usage(f"{name}: {shown(value)} is neither true nor false", "give true or false")
        return value
    if kind == "seconds":
        return seconds(name, value)
    if kind == "count":
        return whole(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT:
        raise _usage(f"{name}: {shown(value)} is not allowed", f"give text of 1 to {LONGEST_TEXT} characters")
    return value


def _settings(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_SETTINGS:
        raise _usage(f"settings: {shown(value)} is not allowed", f"give an object of at most {MAX_SETTINGS} names and values")
    found = {}
    for key, item in value.items():
        if not key.isidentifier():
            raise _usage(f"settings: {shown(key)} is no name", "write key=value")
        found[key] = item if isinstance(item, int | float) and not isinstance(item, bool) else _convert(key, "text", item)
    return found


def _usage(what: str, remedy: str) -> Failure:
    return Failure(Exit.USAGE, what, remedy)
