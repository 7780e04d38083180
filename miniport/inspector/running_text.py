"""
How `threads`, `locks` and `doctor` look on a terminal.

Next: `miniport/inspector/verifying_text.py`.
"""

from __future__ import annotations

from typing import Any

from miniport.inspector.text import Paint, ago, alert_lines, clean, table

Answer = dict[str, Any]


def threads(answer: Answer, paint: Paint) -> list[str]:
    """A table; below it the stack of each thread that is stuck."""
    head = ["thread", "level", "driver", "handler", "for", "calls", "locks", "at"]
    rows = [
        [
            row["thread"],
            row["irql"],
            row["driver"],
            row["handler"],
            ago(row["elapsed_s"]) if row["handler"] else "",
            row["calls"],
            " ".join(row["locks"]),
            row["where"],
        ]
        for row in answer["threads"]
    ]
    lines = table(head, rows)
    for row in answer["threads"]:
        if row["stuck"]:
            where = f"{clean(row['driver'])}.{clean(row['handler'])}" if row["handler"] else "unknown code"
            lines += ["", paint("error", f"{clean(row['thread'])} is stuck in {where} for {ago(row['elapsed_s'])}:")]
            lines += [f"    {clean(line)}" for line in row["stack"]]
    return lines


def locks(answer: Answer, paint: Paint) -> list[str]:
    """Who holds what, and in which order locks were acquired."""
    rows = [[row["lock"], row["kind"], row["thread"], row["driver"], row["irql"], ", ".join(row["after"])] for row in answer["locks"]]
    lines = table(["lock", "kind", "thread", "driver", "level", "acquired after"], rows) or ["no lock is held"]
    lines += [f"{clean(first)} was held when {clean(later)} was acquired" for first, later in answer["order"]]
    if answer["level"] < 2:
        lines.append(paint("dim", f"the order of locks is watched from level 2 on: vnic verify set {clean(answer['name'])} 2"))
    return lines


def doctor(answer: Answer, paint: Paint) -> list[str]:
    """The alerts."""
    lines = alert_lines(answer["alerts"], paint)
    return lines if answer["wrong"] else [paint("good", f"{clean(answer['name'])}: nothing is wrong"), *lines]
