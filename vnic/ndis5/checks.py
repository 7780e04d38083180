"""
What many of the names share: a check of the level, an answer as C would give it, a counted array.

Next: `constants.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from vnic.locks import Irql, require_irql
from vnic.status import Status

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
UINT_MAX, INT_MAX = 0xFFFFFFFF, 0x7FFFFFFF


def at_passive(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a call above PASSIVE."""

    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        require_irql(maximum=Irql.PASSIVE, what=function.__name__)
        return function(*arguments, **named)

    return checked


def up_to_dispatch(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a call above DISPATCH."""

    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        require_irql(maximum=Irql.DISPATCH, what=function.__name__)
        return function(*arguments, **named)

    return checked


def at_dispatch(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a call at another level than DISPATCH."""

    @wraps(function)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        require_irql(exactly=Irql.DISPATCH, what=function.__name__)
        return function(*arguments, **named)

    return checked


def answer(found: T | None, otherwise: Status) -> tuple[Status, T | None]:
    """SUCCESS and what was found, or another status and nothing."""
    return (otherwise if found is None else Status.SUCCESS), found


def array(items: Sequence[T], count: int) -> Sequence[T]:
    """The first so many of an array."""
    if not 0 <= count <= len(items):
        raise ValueError(f"a count of {count} for an array of {len(items)}")
    return items[:count]


def details(buffer: bytes | bytearray | memoryview | None, size: int) -> bytes:
    """A copy of the first so many bytes of a status buffer, which may be NULL."""
    return b"" if buffer is None else bytes(buffer[:size])
