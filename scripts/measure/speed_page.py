"""
The tables of docs/speed.md: made of docs/bench/figures.json and docs/bench/instructions.json, never written by hand.

    .venv/bin/python scripts/measure/speed_page.py        make them anew of what is stored
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
PAGE, FIGURES, COUNTED = TREE / "docs/speed.md", TREE / "docs/bench/figures.json", TREE / "docs/bench/instructions.json"
STEPS = {
    "the library itself: packets, states, counters": ("", "no driver"),
    "a compiled driver, and asking it": ("no driver", "compiled counter"),
    "two Python drivers, and asking them": ("no driver", "two Python drivers, nothing kept"),
    "a promise, and a return of it": ("two Python drivers, nothing kept", "two Python drivers, one keeps and returns"),
}
"""What is done for a frame beside `read`, as the difference between two readers of one run."""


def shown(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return "" if value is None else format(value, form)


def table_of_figures(report: dict[str, Any]) -> str:
    """What is asked, and what was found."""
    machine = report["machine"]
    software = f"{machine['core'].title()} core, Python {machine['python']}, Linux {machine['kernel'].partition('-')[0]}"
    lines = [
        f"{software}; {machine['processor']}, {machine['cores']} cores, load {machine['load']}.",
        "",
        "| work | reference | asked | aim | found | | us | reference, us | rounds | noise |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report["figures"]:
        if "asked" in row:
            tried = f"{row['rounds']} of {row['rounds'] + row['discarded']}"
            found = f"{shown(row.get('ratio'), '.2f')} | {row['verdict']} | {shown(row.get('us'), '.2f')}"
            beside = f"{shown(row.get('reference_us'), '.2f')} | {tried} | {shown(row.get('noise'), '.1%')}"
            lines.append(f"| {row['name']} | {row['reference']} | {row['asked']:.2f} | {row['aim']:.2f} | {found} | {beside} |")
        elif row["name"].startswith("memory"):
            lines.append(f"| {row['name']} | | 0 bytes | | {row['more']['bytes']} bytes | | | | | |")
    lines += [f"| {name} | | | | not there yet | | | | | |" for name in report["absent"]]
    return "\n".join(lines)


def table_of_steps(report: dict[str, Any]) -> str:
    """What a frame costs beside `read`, in shares of it."""
    ratios = {row["name"]: row.get("ratio") for row in report["figures"]}
    columns = [(size, heat) for size in (64, 1514) for heat in ("warm", "cold")]
    lines = [
        "| what, beside `read` | " + " | ".join(f"{size:,} bytes, {heat}" for size, heat in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for step, (less, more) in STEPS.items():
        cells = []
        for size, heat in columns:
            with_it = ratios.get(f"drain {size} B {heat}, {more}")
            without = ratios.get(f"drain {size} B {heat}, {less}") if less else 1.0
            cells.append(f"{1 / with_it - 1 / without:.2f}" if with_it and without else "")
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table_of_instructions(counted: dict[str, Any], names: dict[str, str]) -> str:
    """Whose the instructions of a frame are."""
    made = ", ".join(f"{name} {value}" for name, value in counted["toolchain"].items())
    lines = [
        f"{made[0].upper()}{made[1:]}.",
        "",
        "| drivers | all | vnic | compiled driver | Python | C library |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, parts in counted["per_frame"].items():
        cells = " | ".join(f"{parts[part]:,.0f}" for part in ("all", "vnic", "driver", "python", "libc"))
        lines.append(f"| {names[kind]} | {cells} |")
    return "\n".join(lines)


def put(text: str, name: str, table: str) -> str:
    """Replace what stands between two marks."""
    before, mark, rest = text.partition(f"<!-- {name}: ")
    comment, _, after = rest.partition("-->\n")
    if not mark:
        raise SystemExit(f"bench: {PAGE} has no place for {name}")
    return f"{before}{mark}{comment}-->\n\n{table}\n\n<!-- end -->{after.partition('<!-- end -->')[2]}"


def renewed(text: str) -> str:
    """The page with the tables as they should be."""
    from instructions import KINDS

    report, counted = json.loads(FIGURES.read_text()), json.loads(COUNTED.read_text())
    text = put(text, "figures", table_of_figures(report))
    text = put(text, "steps", table_of_steps(report))
    return put(text, "instructions", table_of_instructions(counted, KINDS))


def renew() -> None:
    """Write the page, if there is something for all its tables."""
    if FIGURES.exists() and COUNTED.exists():
        PAGE.write_text(renewed(PAGE.read_text()))


if __name__ == "__main__":
    renew()
    sys.exit(0)
