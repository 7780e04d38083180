"""
The report as a page that stands alone: no script, no font, no picture from anywhere else; light or dark as the reader has it.

Next: `miniport/inspector/page_style.py`, how it looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from miniport.inspector.page_figures import pool_bar, received, safe, sent
from miniport.inspector.page_style import STYLE
from miniport.inspector.text import ago, clean, moment
from miniport.inspector.verifying_text import one_line, step_table

Answer = dict[str, Any]
MAX_RECORDS = 50
OLDEST = 15


def page(answer: Answer) -> str:
    """
    Make the page.

    Args:
        answer: the view `report`.

    Returns:
        HTML, printable ASCII.
    """
    parts = {name: part if "failed" not in part else None for name, part in answer["parts"].items()}
    body = [header(answer, parts["doctor"]), alerts(parts["doctor"]), tiles(parts), flows(parts["stats"]), pools(parts["pools"])]
    body += [bindings(parts["bindings"]), holders(parts["pending"]), violations(parts["violations"]), rest(parts)]
    failed = [f"{name}: {part['failed']['message']}" for name, part in answer["parts"].items() if "failed" in part]
    if failed:
        body.append(section("Views that failed", "".join(f'<p class="error">{safe(line)}</p>' for line in failed)))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{safe(answer['name'])}: report of {moment(answer['as_of'])}</title><style>{STYLE}</style>"
    )
    again = f"<code>vnic report {safe(answer['name'])} --html FILE</code>"
    foot = f"<footer>vnic {safe(answer['version'])}; bytes of frames are not in this page. Again: {again}</footer>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{"".join(body)}{foot}</main></body></html>\n'


def section(title: str, content: str, about: str = "") -> str:
    """A card."""
    told = f' <span class="dim">{about}</span>' if about else ""
    return f"<section><h2>{safe(title)}{told}</h2>{content}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], wheres: Sequence[int] = ()) -> str:
    """A table: numbers to the right, lines of code in their own letters."""
    rows = [list(row) for row in rows]
    if not rows:
        return '<p class="dim">none</p>'
    right = [all(is_figure(row[column]) for row in rows) for column in range(len(head))]
    kinds = [' class="n"' if to_right else ' class="where"' if column in wheres else "" for column, to_right in enumerate(right)]
    top = "".join(f"<th{kind if 'n' in kind else ''}>{safe(cell)}</th>" for cell, kind in zip(head, kinds, strict=True))
    lines = ("".join(f"<td{kind}>{safe(clean(cell))}</td>" for cell, kind in zip(row, kinds, strict=True)) for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def is_figure(cell: Any) -> bool:
    """Whether a cell is a number, a length of time, or nothing."""
    return cell is None or isinstance(cell, int | float) or re.fullmatch(r"(?:[\d.]+ (?:ms|s|min|h|d))?", str(cell)) is not None


def header(answer: Answer, doctor: Answer | None) -> str:
    """The interface, whether all is well, and which process this is."""
    wrong = doctor["wrong"] if doctor else 1
    word, kind = (f"{wrong} to look at", "error") if wrong else ("nothing is wrong", "good")
    about = f"pid {answer['pid']}, up {ago(answer['uptime_s'])}, vnic {answer['version']}, core {answer['core']}"
    return (
        f'<header><h1>{safe(answer["name"])}</h1><span class="pill {kind}">{safe(word)}</span>'
        f"<p>{moment(answer['as_of'])}</p><p>{safe(about)}</p></header>"
    )


def alerts(doctor: Answer | None) -> str:
    """What is wrong, and what to type."""
    if not doctor or not doctor["alerts"]:
        return ""
    lines = (
        f'<div class="alert {alert["level"]}"><i></i><b>{safe(alert["what"])}</b><code>{safe(alert["next"])}</code></div>'
        for alert in doctor["alerts"]
    )
    return section("What to look at", "".join(lines))


def tiles(parts: dict[str, Answer | None]) -> str:
    """The figures that one looks for first."""
    show, pending = parts["show"], parts["pending"]
    if not show or not pending:
        return ""
    adapter = show["adapters"][0]
    rates = adapter["rates"] or {"rx_frames": 0, "tx_frames": 0}
    dropped = sum(sum(one["rx_dropped"].values()) + one["queue_dropped"] for one in show["adapters"])
    broken = sum(one["violations"] for one in show["adapters"])
    oldest = ago(pending["packets"][0]["age_s"]) if pending["packets"] else "-"
    figures = [
        (adapter["link"], f"link, mtu {adapter['mtu']}", "" if adapter["link"] == "up" else "warning"),
        (f"{rates['rx_frames']:,.0f}/s", f"frames in, {rates['tx_frames']:,.0f}/s out", ""),
        (f"{dropped:,}", "frames dropped", "warning" if dropped else ""),
        (f"{pending['pending']:,}", f"packets out, oldest {oldest}", ""),
        (f"{broken:,}", "times a rule was broken", "error" if broken else ""),
        (f"{adapter['level']}", "verifier level", ""),
    ]
    cards = (f'<div class="tile"><b class="{kind}">{safe(big)}</b><span>{safe(small)}</span></div>' for big, small, kind in figures)
    return f'<div class="tiles">{"".join(cards)}</div>'


def flows(stats: Answer | None) -> str:
    """Where the frames went, adapter by adapter."""
    if not stats:
        return ""
    drawn = []
    for name, values in stats["adapters"].items():
        title = f"<h3>adapter {safe(name)}</h3>" if len(stats["adapters"]) > 1 else ""
        quiet = '<p class="dim">no frame has come yet</p>'
        drawn.append(title + (received(values) if values["rx_frames"] else quiet) + (sent(values) if values["tx_submitted"] else ""))
    broken = "".join(f'<p class="error">{safe(line)}</p>' for line in stats["broken_sums"])
    return section(
        "Where the frames went", "".join(drawn) + (broken or '<p class="good">every frame and every packet is accounted for</p>')
    )


def pools(answer: Answer | None) -> str:
    """A bar for each pool."""
    if not answer:
        return ""
    busy = [
        pool for pool in answer["pools"] if sum(pool["states"].values()) > pool["states"]["free"] or pool["owner"].startswith("adapter ")
    ]
    idle = [f"{pool['name']} ({pool['capacity']:,})" for pool in answer["pools"] if pool not in busy]
    at_home = f"<h3>all at home: {safe(', '.join(idle))}</h3>" if idle else ""
    bars = (f"<h3>{safe(pool['name'])}, {pool['capacity']:,} packets of {safe(pool['owner'])}</h3>{pool_bar(pool)}" for pool in busy)
    return section("Where the packets are", "".join(bars) + at_home)


def bindings(answer: Answer | None) -> str:
    """The drivers in a table."""
    if not answer:
        return ""
    rows = [
        [
            row["name"],
            row["adapter"],
            row["state"],
            row["delivered"],
            row["held"],
            ago(row["oldest_s"]) if row["held"] else "",
            row["sends_pending"],
            row["errors"],
            row["violations"],
            row["where"],
        ]
        for row in answer["bindings"]
    ]
    head = ["driver", "adapter", "state", "shown", "holds", "oldest", "sends pending", "exceptions", "rules broken", "where"]
    return section("Drivers", table(head, rows, [9]))


def holders(pending: Answer | None) -> str:
    """Who holds packets, by line of code, and the oldest of them."""
    if not pending or not pending["packets"]:
        return section("Held packets", '<p class="dim">nobody holds a packet</p>')
    lines: dict[tuple[str, str], list[Answer]] = {}
    for row in pending["packets"]:
        lines.setdefault((row["by"], row["kept_at"]), []).append(row)
    groups = sorted(lines.items(), key=lambda item: -len(item[1]))
    by_line = table(
        ["held by", "packets", "oldest", "kept at"], [[by, len(rows), ago(rows[0]["age_s"]), where] for (by, where), rows in groups], [3]
    )
    oldest = table(
        ["packet", "held by", "owed", "for", "bytes", "kept at"],
        [
            [f"{row['pool']}[{row['packet']}].{row['generation']}", row["by"], row["owed"], ago(row["age_s"]), row["bytes"], row["kept_at"]]
            for row in pending["packets"][:OLDEST]
        ],
        [5],
    )
    more = f"{pending['free']:,} free, {pending['pending']:,} out of {pending['total']:,} in {pending['pools']} pools"
    return section("Held packets", f"{by_line}<h3>the oldest</h3>{oldest}", more)


def violations(answer: Answer | None) -> str:
    """Each broken rule, to be opened."""
    if not answer:
        return ""
    records = list(reversed(answer["records"]))[:MAX_RECORDS]
    if not records:
        return section("Broken rules", '<p class="good">no rule was broken</p>')
    cards = "".join(record_card(record, place == 0) for place, record in enumerate(records))
    more = f"{answer['counted']:,} counted, {len(records):,} shown, {answer['suppressed']:,} suppressed"
    return section("Broken rules", cards, more)


def record_card(record: Answer, is_open: bool) -> str:
    """One record: what, who and where in its line; the rest behind it."""
    now = int(record.get("t_mono_ns", 0))
    title = f"<b>{safe(record.get('id'))} {safe(record.get('rule'))}</b> by {safe(record.get('driver'))}"
    title += f" at <code>{safe(record.get('where'))}</code>"
    told = ("id", "rule", "driver", "where", "history", "stack", "remedy", "detail", "v", "t_mono_ns", "t_wall")
    when = moment(record["t_wall"]) if record.get("t_wall") else ""
    fields = "".join(
        f"<div><dt>{safe(key)}</dt><dd>{safe(one_line(value, now))}</dd></div>"
        for key, value in record.items()
        if key not in told and value
    )
    lists = ""
    if isinstance(history := record.get("history"), list) and history:
        lists += f"<h3>what was done to the packet before</h3><pre>{safe_lines(step_table(history, now))}</pre>"
    if isinstance(stack := record.get("stack"), list) and stack:
        lists += f"<h3>stack</h3><pre>{safe_lines(map(str, stack))}</pre>"
    says = f'<p>{safe(record.get("detail", ""))}</p><p class="note">{safe(record.get("remedy", ""))}</p>'
    summary = f'<summary>{title} <span class="dim">{safe(when)}</span></summary>'
    return f"<details{' open' if is_open else ''}>{summary}{says}<dl>{fields}</dl>{lists}</details>"


def safe_lines(lines: Iterable[str]) -> str:
    """Lines that stay lines."""
    return "\n".join(safe(line) for line in lines)


def rest(parts: dict[str, Answer | None]) -> str:
    """What is looked for less often, to be opened: threads, counters, levels."""
    found = []
    if threads := parts["threads"]:
        rows = [
            [row["thread"], row["irql"], row["driver"], row["handler"], ago(row["elapsed_s"]) if row["handler"] else "", row["where"]]
            for row in threads["threads"]
        ]
        stuck = "".join(f"<pre>{safe_lines(row['stack'])}</pre>" for row in threads["threads"] if row["stuck"])
        found.append(("Threads", table(["thread", "level", "driver", "handler", "for", "at"], rows, [5]) + stuck))
    if stats := parts["stats"]:
        names = list(stats["adapters"])
        found.append(
            (
                "Counters",
                table(
                    ["counter", *names],
                    [[key, *(stats["adapters"][name].get(key) for name in names)] for key in stats["adapters"][names[0]]],
                ),
            )
        )
    if verify := parts["verify_show"]:
        found.append(
            (
                "Rules",
                table(
                    ["rule", "name", "class", "action", "catches"],
                    [[r["id"], r["rule"], r["class"], r["action"], r["catches"]] for r in verify["rules"]],
                ),
            )
        )
    return section("More", "".join(f"<details><summary>{title}</summary>{content}</details>" for title, content in found))
