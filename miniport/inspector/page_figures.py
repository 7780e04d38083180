"""
The drawings of the page: where the frames went, and where the packets are. Inline SVG, in the colours of the sheet.

Next: `miniport/inspector/page.py`, which puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as quoted
from typing import Any, NamedTuple

from miniport.log import escape

POOL_COLOURS = {
    "free": "--free",
    "owned": "--note",
    "indicated": "--blue",
    "lent": "--teal",
    "sending": "--teal",
    "transferring": "--teal",
    "quarantined": "--bad",
}
WIDTH, LEFT, RIGHT, GAP, LEAST = 1040, 150, 600, 22, 3
"""Of a drawing: its width, where the stream begins and ends, the space between branches, the thinnest branch."""


class Branch(NamedTuple):
    """A part of the frames: what became of them, how many, and its colour."""

    name: str
    frames: int
    colour: str


def safe(value: object) -> str:
    """Text for a page: printable ASCII, and no markup."""
    return quoted(escape(str(value)))


def flow(title: str, total: int, branches: Sequence[Branch], tall: int = 150) -> str:
    """
    Draw a stream that divides: as wide as there are frames, and each branch as wide as its part of them.

    Args:
        title: what the stream is.
        total: frames in all.
        branches: where they went; those with none are left out.
        tall: how wide the stream is.
    """
    there = [branch for branch in branches if branch.frames]
    parts = sum(branch.frames for branch in there) or 1
    sizes = [max(LEAST, round(tall * branch.frames / parts)) for branch in there]
    height = max(sum(sizes) + GAP * (len(there) + 1), 60)
    top = (height - sum(sizes)) / 2
    shapes, at_left, at_right = [], top, float(GAP)
    for branch, size in zip(there, sizes, strict=True):
        middle = (LEFT + RIGHT) / 2
        path = (
            f"M{LEFT},{at_left:.1f} C{middle},{at_left:.1f} {middle},{at_right:.1f} {RIGHT},{at_right:.1f} "
            f"L{RIGHT},{at_right + size:.1f} C{middle},{at_right + size:.1f} {middle},{at_left + size:.1f} {LEFT},{at_left + size:.1f} Z"
        )
        share = f"{100 * branch.frames / parts:.1f} %"
        shapes.append(f'<path d="{path}" fill="var({branch.colour})" fill-opacity="0.55"/>')
        shapes.append(f'<rect x="{RIGHT}" y="{at_right:.1f}" width="7" height="{size}" rx="2" fill="var({branch.colour})"/>')
        text = f'<tspan class="strong">{branch.frames:,}</tspan> {safe(branch.name)} <tspan class="dim">{share}</tspan>'
        shapes.append(f'<text x="{RIGHT + 18}" y="{at_right + size / 2 + 5:.1f}">{text}</text>')
        at_left += size
        at_right += size + GAP
    stem = f'<rect x="{LEFT - 7}" y="{top:.1f}" width="7" height="{max(sum(sizes), 1)}" rx="2" fill="var(--dim)"/>'
    label = f'<text x="{LEFT - 20}" y="{height / 2 - 2:.1f}" text-anchor="end" class="strong">{total:,}</text>'
    label += f'<text x="{LEFT - 20}" y="{height / 2 + 17:.1f}" text-anchor="end" class="dim">{safe(title)}</text>'
    named = safe(f"{total} {title}: " + ", ".join(f"{branch.frames} {branch.name}" for branch in there))
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" role="img" aria-label="{named}">{stem}{label}{"".join(shapes)}</svg>'


def received(values: dict[str, int]) -> str:
    """Where the frames of an adapter went that were read."""
    lent = values["rx_resources"]
    branches = [
        Branch("delivered", values["rx_delivered"] - lent, "--blue"),
        Branch("delivered, to be copied: packets were low", lent, "--teal"),
    ]
    branches.append(Branch("filtered: nobody wanted them", values["rx_filtered"], "--grey"))
    for name, count in values.items():
        if name.startswith("rx_dropped_"):
            branches.append(Branch(f"dropped: {name.removeprefix('rx_dropped_').replace('_', ' ')}", count, "--bad"))
    queue = values.get("if_tx_dropped", 0)
    branches.append(Branch("dropped by the interface's queue, never read", queue, "--amber"))
    return flow("frames came", values["rx_frames"] + queue, branches)


def sent(values: dict[str, int]) -> str:
    """Where the sends of an adapter went."""
    branches = [Branch("on the wire", values["tx_frames"], "--blue"), Branch("only shown to others", values["tx_looped_only"], "--teal")]
    branches.append(Branch("pending", values["tx_pending"], "--amber"))
    for name, count in values.items():
        if name.startswith("tx_dropped_"):
            branches.append(Branch(f"dropped: {name.removeprefix('tx_dropped_').replace('_', ' ')}", count, "--bad"))
    return flow("sends", values["tx_submitted"], branches, 40)


def pool_bar(pool: dict[str, Any]) -> str:
    """A bar of the packets of a pool, by state, with its legend."""
    states = {name: count for name, count in pool["states"].items() if count}
    total = sum(states.values()) or 1
    parts, at = [], 0.0
    for name, count in states.items():
        width = max(4.0, WIDTH * count / total)
        parts.append(f'<rect x="{at:.1f}" width="{min(width, WIDTH - at):.1f}" height="20" fill="var({POOL_COLOURS.get(name, "--dim")})"/>')
        at += width
    legend = "".join(
        f'<span><i style="background: var({POOL_COLOURS.get(name, "--dim")})"></i>{count:,} {safe(name)}</span>'
        for name, count in states.items()
    )
    clip = '<defs><clipPath id="round"><rect width="1040" height="20" rx="6"/></clipPath></defs>'
    drawing = f'{clip}<g clip-path="url(#round)">{"".join(parts)}</g>'
    bar = f'<svg viewBox="0 0 {WIDTH} 20" width="{WIDTH}" role="img" aria-label="packets by state">{drawing}</svg>'
    return f'{bar}<div class="legend">{legend}<span>fewest free {pool["low_water"]:,}</span></div>'
