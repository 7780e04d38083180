"""
A report as text: every view below its name.

Next: `miniport/inspector/page.py`, the same as a page.
"""

from __future__ import annotations

import importlib
from typing import Any

from miniport.inspector.commands import BY_METHOD
from miniport.inspector.text import Paint, clean


def report(answer: dict[str, Any], paint: Paint) -> list[str]:
    """Each view by its own renderer."""
    lines: list[str] = []
    for method, part in answer["parts"].items():
        command = BY_METHOD[method]
        module, _, function = command.text.partition(".")
        renderer = getattr(importlib.import_module(f"miniport.inspector.{module}"), function)
        lines += ["", paint("strong", f"== {command.name}")]
        lines += [paint("error", clean(part["failed"]["message"]))] if "failed" in part else renderer(part, paint)
    return lines[1:]
