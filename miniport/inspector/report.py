"""
Everything in one answer: what `vnic report` shows, and its page.

Next: `miniport/inspector/page.py`, the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miniport.inspector.doctor import doctor
from miniport.inspector.held import leaks, pending
from miniport.inspector.overview import bindings, pools, show, stats
from miniport.inspector.packets import log
from miniport.inspector.running import locks, threads
from miniport.inspector.verifying import verify_show, violations
from miniport.log import exception_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from miniport.inspector.subject import Subject

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "doctor": doctor,
    "show": show,
    "stats": stats,
    "pools": pools,
    "bindings": bindings,
    "pending": pending,
    "leaks": leaks,
    "violations": violations,
    "threads": threads,
    "locks": locks,
    "log": log,
    "verify_show": verify_show,
}
"""The views that a report has, in its order; bytes of frames are in none of them."""


MOST_HELD = 500


def report(subject: Subject) -> dict[str, Any]:
    """Every view, as it is without options; one that fails says so in its place."""
    parts: dict[str, Any] = {}
    for name, view in PARTS.items():
        try:
            parts[name] = view(subject, top=MOST_HELD) if view is pending else view(subject)
        except Exception as error:
            # a driver's objects can raise anything when they are looked at
            parts[name] = {"failed": exception_fields(error)}
    return {"name": subject.name, **subject.about, "parts": parts}
