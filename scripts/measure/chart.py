"""
Draw what `figures.py` found: how near each reader comes to a bare C loop, how it stands beside others, and what more drivers cost.

    scripts/bench chart        draw docs/bench/figures.json again
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

INK, FAINT, GRID = "#22313f", "#7b8794", "#e4e8ec"
COLOURS = {"aim": "#11806a", "kept": "#2f6db5", "MISSED": "#d9822b", "": "#a9b6c3", "not judged": "#ffffff"}
MEANING = {
    "aim": "reaches the aim",
    "kept": "at least what is asked",
    "MISSED": "less than what is asked",
    "": "nothing asked",
    "not judged": "not judged",
}
PYTHON = ("two Python drivers, nothing kept", "two Python drivers, one keeps and returns")
ORDER = ("no driver", "compiled counter", "two batch drivers", *PYTHON)
BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 1.2}
Row = dict[str, Any]


def grouped(rows: list[Row]) -> list[tuple[str, list[tuple[str, Row]]]]:
    """The figures that are ratios to a C loop or to vnic itself, in groups with short labels."""
    groups: dict[str, list[tuple[str, Row]]] = {}
    for row in rows:
        name = row["name"]
        if name.startswith("drain "):
            head, _, who = name.removeprefix("drain ").partition(", ")
            size, _, heat = head.rpartition(" ")
            groups.setdefault(f"drain, {size.replace('1514', '1,514').replace(' B', ' bytes')}, {heat}", []).append((who, row))
        elif name.startswith("live "):
            groups.setdefault("live, a C sender beside it", []).append((name.partition(", ")[2], row))
        elif name.startswith("verifier "):
            groups.setdefault("verifier, against level 0", []).append((name.removeprefix("verifier "), row))
        elif "asked" in row and not name.startswith("against "):
            groups.setdefault("against other references", []).append((f"{name}, to {row['reference']}", row))
    for rows_of in groups.values():
        rows_of.sort(key=lambda each: ORDER.index(each[0]) if each[0] in ORDER else len(ORDER))
    return list(groups.items())


def bar(axes: Axes, place: float, row: Row, label: str) -> None:
    """One figure: its bar, what is asked, and its numbers."""
    verdict = row.get("verdict", "" if row["judged"] else "not judged")
    ratio = row.get("ratio")
    axes.text(-0.015, place, label, ha="right", va="center", fontsize=8.5, color=INK, transform=axes.get_yaxis_transform())
    if ratio is None:
        axes.barh(place, 0.06, height=0.62, color="white", edgecolor=FAINT, linewidth=0.8, hatch="////")
        axes.text(0.08, place, "not judged: too noisy", va="center", fontsize=8, color=FAINT)
    else:
        axes.barh(place, ratio, height=0.62, color=COLOURS[verdict])
        axes.text(0.012, place, f"{ratio:.2f}", va="center", fontsize=8.5, color="white", fontweight="bold")
    if "asked" in row:
        axes.plot([row["asked"]] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=1.6, solid_capstyle="butt")
        axes.plot(row["aim"], place, marker="D", markersize=4.2, color="white", markeredgecolor=INK, markeredgewidth=1.0)
    if row.get("us") is not None:
        axes.text(1.01, place, f"{row['us']:.2f} µs", va="center", fontsize=8, color=FAINT, transform=axes.get_yaxis_transform())


def plain(axes: Axes, title: str) -> None:
    """No frame, a title on the left."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=10)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=8, colors=FAINT)


def draw_ratios(axes: Axes, rows: list[Row]) -> None:
    place = 0.0
    for title, members in grouped(rows):
        axes.text(
            -0.015, place, title, ha="right", va="center", fontsize=9, fontweight="bold", color=INK, transform=axes.get_yaxis_transform()
        )
        for label, row in members:
            place += 1
            bar(axes, place, row, label)
        place += 1.5
    widest = max([1.12, *(row["ratio"] + 0.05 for _, members in grouped(rows) for _, row in members if row.get("ratio"))])
    axes.set_xlim(0, widest)
    axes.set_ylim(place - 0.6, -0.8)
    axes.set_yticks([])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    plain(axes, "Frames per second, as a share of a bare C loop")


def draw_peers(axes: Axes, rows: list[Row]) -> None:
    peers = [row for row in rows if row["name"].startswith("against ")]
    for place, row in enumerate(peers):
        label = row["name"].removeprefix("against ").replace("TunTapInterface, ", "")
        verdict, ratio = row.get("verdict", ""), row.get("ratio")
        axes.text(0, place - 0.36, label, va="bottom", fontsize=8.5, color=INK, zorder=5, bbox=BLANK)
        if ratio is None:
            why = "not installed" if row.get("why", "").startswith("not installed") else "not judged: too noisy"
            axes.barh(place, 0.2, height=0.5, color="white", edgecolor=FAINT, linewidth=0.8, hatch="////")
            axes.text(0.26, place, why, va="center", fontsize=8, color=FAINT, zorder=5, bbox=BLANK)
        else:
            axes.barh(place, ratio, height=0.5, color=COLOURS[verdict])
            axes.text(0.05, place, f"{ratio:.2f}", va="center", fontsize=8.5, color="white", fontweight="bold")
        if "asked" in row:
            axes.plot([row["asked"]] * 2, [place - 0.33, place + 0.33], color=INK, linewidth=1.6, solid_capstyle="butt")
            axes.plot(row["aim"], place, marker="D", markersize=4.2, color="white", markeredgecolor=INK, markeredgewidth=1.0)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    axes.set_ylim(len(peers) - 0.4, -0.95)
    axes.set_yticks([])
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    plain(axes, "Times as fast as other readers of a TAP")


def draw_growth(axes: Axes, cost: dict[str, float]) -> None:
    counts, us = [int(count) for count in cost], list(cost.values())
    axes.plot(counts, us, color=COLOURS["kept"], linewidth=1.8, marker="o", markersize=4.5, markerfacecolor="white", markeredgewidth=1.4)
    slope = (us[-1] - us[0]) / (counts[-1] - counts[0])
    axes.text(counts[-1], us[-1], f"{us[-1]:.2f} µs  ", ha="right", va="center", fontsize=8.5, color=INK)
    axes.text(40, us[0] + slope * 26, f"{1000 * slope:.0f} ns for each", fontsize=8.5, color=FAINT)
    axes.set_xlim(0, 66)
    axes.set_ylim(0, None)
    axes.set_xticks([1, 8, 16, 32, 64])
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    plain(axes, "µs per frame, 1 to 64 Python drivers")


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw it as figures.png and figures.svg."""
    rows, machine = report["figures"], report["machine"]
    mpl.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "vnic", "svg.fonttype": "path"})
    lines = sum(len(members) + 1.5 for _, members in grouped(rows))
    height = max(6.5, 1.9 + 0.225 * lines)
    figure = Figure(figsize=(13, height), facecolor="white")
    cost = next((row["more"]["us"] for row in rows if row["name"].startswith("bindings") and row.get("more")), None)
    peers = any(row["name"].startswith("against ") for row in rows)
    beside = bool(cost or peers)
    top, bottom = 1 - 1.15 / height, 0.75 / height
    draw_ratios(figure.add_axes((0.235, bottom, 0.355 if beside else 0.68, top - bottom)), rows)
    if peers:
        low, high = (0.47, 0.53) if cost else (0.0, 1.0)
        draw_peers(figure.add_axes((0.69, bottom + low * (top - bottom), 0.28, high * (top - bottom))), rows)
    if cost:
        draw_growth(figure.add_axes((0.69, bottom, 0.28, (0.36 if peers else 1) * (top - bottom))), cost)
    figure.text(0.025, 1 - 0.38 / height, "vnic: what a frame costs", fontsize=16, fontweight="bold", color=INK, va="center")
    said = f"{machine['core']} core, Python {machine['python']}, Linux {machine['kernel'].partition('-')[0]}, {machine['processor']}"
    figure.text(0.975, 1 - 0.38 / height, said, fontsize=8.5, color=FAINT, ha="right", va="center")
    used = [verdict for verdict in MEANING if any(row.get("verdict", "") == verdict for row in rows)]
    keys: list[Any] = [Patch(facecolor=COLOURS[verdict], edgecolor=FAINT if verdict == "not judged" else "none") for verdict in used]
    keys += [Line2D([], [], color=INK, linewidth=1.6, marker="|", linestyle="none", markersize=10, markeredgewidth=1.6)]
    keys += [Line2D([], [], color="white", marker="D", markeredgecolor=INK, linestyle="none", markersize=4.2)]
    labels = [*(MEANING[verdict] for verdict in used), "asked", "aim"]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.018, 0.0), "ncols": len(labels)}
    figure.legend(keys, labels, frameon=False, fontsize=8.5, labelcolor=INK, **place)
    written = [folder / "figures.png", folder / "figures.svg"]
    figure.savefig(written[0], dpi=120)
    figure.savefig(written[1], metadata={"Date": None})
    return written


def main() -> int:
    folder = Path(__file__).resolve().parents[2] / "docs/bench"
    for path in draw(json.loads((folder / "figures.json").read_text()), folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
