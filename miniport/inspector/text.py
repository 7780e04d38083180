"""
Text for a terminal: aligned tables, numbers and times for people, colour. Everything is printable ASCII when it leaves here.

Next: `miniport/inspector/overview_text.py`, the first renderers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from miniport.log import escape

COLOURS = {"error": "31;1", "warning": "33", "note": "2", "good": "32", "strong": "1", "dim": "2"}
MARKS = {"error": "!!", "warning": "! ", "note": "- "}
LONGEST_CELL = 120


class Paint:
    """
    Colours text, or leaves it as it is.

    Args:
        on: whether there is a terminal that wants colours.
    """

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, kind: str, text: str) -> str:
        """Colour text by what it means."""
        return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if self.on and text else text


def clean(value: object) -> str:
    """One value as a person reads it: no None, no zero seconds, nothing that a terminal would obey, not too long."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    text = escape(str(value))
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def count(number: int, one: str, many: str) -> str:
    """So many of something: the word for one, or for several."""
    return f"{number} {one if number == 1 else many}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], indent: str = "") -> list[str]:
    """
    Align a table: numbers to the right, text to the left.

    Args:
        head: the names of the columns.
        rows: the cells.
        indent: before each line.

    Returns:
        The lines, without one for the head if there are no rows.
    """
    rows = [list(row) for row in rows]
    if not rows:
        return []
    right = [all(isinstance(row[column], int | float) or row[column] is None for row in rows) for column in range(len(head))]
    cells = [list(head), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return [
        indent
        + "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def ago(seconds: float | None) -> str:
    """A length of time for people: 80 us, 250 ms, 4.2 s, 3 min, 2 h, 5 d."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}" if unit == 1 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"


def moment(wall: float) -> str:
    """A time of the day with its date, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall))


def bar(parts: Sequence[tuple[str, int]], width: int = 40) -> str:
    """A bar of letters, one kind for each part; what is not nothing has one letter at least."""
    total = sum(count for _, count in parts)
    if not total:
        return ""
    sizes = [max(1, count * width // total) if count else 0 for _, count in parts]
    # the largest part makes up for what was rounded
    sizes[sizes.index(max(sizes))] += width - sum(sizes)
    return "".join(mark * size for (mark, _), size in zip(parts, sizes, strict=True))


def alert_lines(alerts: Iterable[dict[str, Any]], paint: Paint, indent: str = "") -> list[str]:
    """Alerts, each with the next command below it."""
    lines = []
    for alert in alerts:
        lines.append(indent + paint(alert["level"], f"{MARKS[alert['level']]} {escape(alert['what'])}"))
        lines.append(f"{indent}     {paint('dim', '->')} {escape(alert['next'])}")
    return lines
