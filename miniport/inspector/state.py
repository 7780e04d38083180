"""
The state file: what a daemon last knew of itself, for whoever asks when it is dead.

It is written beside the socket, once a second and at the end, under another name first: whoever reads it finds a whole one.

Next: `miniport/inspector/past.py`, which reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from miniport.control import view_of
from miniport.inspector.commands import BY_METHOD
from miniport.inspector.past import VERSION, started_ticks
from miniport.log import exception_fields, shown

if TYPE_CHECKING:
    from pathlib import Path

    from miniport.inspector.subject import Inspector, Subject

EVERY_S = 1.0
KEPT = ("show", "stats", "pools", "bindings", "pending", "leaks", "violations", "doctor")
"""The views that are kept."""
AT_THE_END = ("stats", "violations", "doctor")
"""Those of them that the end is in, too."""


class StateFile:
    """
    Writes what a daemon knows of itself.

    Args:
        path: where to.
        inspector: makes what the views look at.
    """

    def __init__(self, path: Path, inspector: Inspector) -> None:
        self.path = path
        self._inspector = inspector
        self._views = {method: view_of(BY_METHOD[method]) for method in KEPT}
        self._state: dict[str, Any] = {"v": VERSION, "pid": os.getpid(), "started_ticks": started_ticks(os.getpid())}

    def write(self) -> None:
        """Look at everything, and write it down."""
        subject = self._inspector.tick()
        self._state |= {"name": subject.name, "as_of": time.time(), "ended": None, "views": self._answers(subject)}
        self._save()

    def end(self, reason: str, status: int, why: str = "") -> None:
        """
        Write down that it ended, and how; and what was counted and found until then. Who held what stays as it was before the drivers went.

        Args:
            reason: what ended it.
            status: its exit status.
            why: in words, why that is not 0.
        """
        subject = self._inspector.tick()
        views = self._state.get("views", {})
        views |= {method: self._answer(method, subject) for method in AT_THE_END}
        # what was taken back by force is no leak any more, but it was; what is withheld now may not have been then
        leaks = self._answer("leaks", subject)
        if leaks.get("total", 0) > views.get("leaks", {}).get("total", 0):
            views["leaks"] = leaks
        self._state |= {"views": views, "ended": {"reason": reason, "status": status, "why": why, "at": time.time()}}
        self._save()

    def _answers(self, subject: Subject) -> dict[str, Any]:
        return {method: self._answer(method, subject) for method in self._views}

    def _answer(self, method: str, subject: Subject) -> dict[str, Any]:
        try:
            return self._views[method](subject)
        except Exception as error:
            # a driver's objects can raise anything when they are looked at
            return {"failed": exception_fields(error)}

    def _save(self) -> None:
        """Write it under another name, and put it in place; a folder that is full or gone loses it, nothing else."""
        fresh = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(OSError, ValueError):
            content = json.dumps(self._state, default=shown, separators=(",", ":"))
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640), "w") as file:
                file.write(content)
            fresh.replace(self.path)
