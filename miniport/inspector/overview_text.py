"""
How `show`, `stats`, `pools` and `bindings` look on a terminal.

Next: `miniport/inspector/held_text.py`.
"""

from __future__ import annotations

from typing import Any

from miniport.inspector.text import Paint, ago, alert_lines, bar, clean, moment, table

Answer = dict[str, Any]
POOL_MARKS = (("free", "."), ("owned", "o"), ("indicated", "#"), ("sending", ">"), ("quarantined", "x"))


def show(answer: Answer, paint: Paint) -> list[str]:
    """The tree, from the interface up, and the alerts."""
    head = f"pid {answer['pid']}, up {ago(answer['uptime_s'])}, vnic {clean(answer['version'])}, core {answer['core']}"
    lines = [f"{paint('strong', clean(answer['name']))}  {paint('dim', head)}"]
    above = {adapter["name"]: adapter for adapter in answer["adapters"]}
    nested = {name for adapter in answer["adapters"] for binding in adapter["bindings"] for name in binding["adapters"]}
    for adapter in answer["adapters"]:
        if adapter["name"] not in nested:
            lines += adapter_lines(adapter, above, paint, "")
    if answer["alerts"]:
        lines += ["", *alert_lines(answer["alerts"], paint)]
    else:
        lines += ["", paint("good", "nothing is wrong")]
    return lines


def adapter_lines(adapter: Answer, above: dict[str, Answer], paint: Paint, indent: str) -> list[str]:
    """One adapter, and above each filter the adapters that it has."""
    link = paint("good" if adapter["link"] == "up" else "warning", adapter["link"])
    rates = adapter["rates"]
    speed = f", {rates['rx_frames']:,.0f} frames/s in, {rates['tx_frames']:,.0f} out" if rates else ""
    addresses = "".join(f"  {clean(address)}" for address in adapter["addresses"])
    about = f"mtu {adapter['mtu']}  {adapter['mac']}{addresses}  level {adapter['level']}"
    title = f"adapter {paint('strong', clean(adapter['name']))}  {link}  {about}"
    pool = adapter["pool"]
    states = ", ".join(f"{pool[name]:,} {name}" for name, _ in POOL_MARKS if pool[name])
    frames = f"{adapter['rx_delivered']:,} delivered, {adapter['rx_filtered']:,} filtered"
    lines = [
        indent + title,
        f"{indent}  in     {adapter['rx_frames']:,} frames: {frames}{speed}",
        f"{indent}         {drops(adapter, paint)}",
        f"{indent}  out    {adapter['tx_frames']:,} of {adapter['tx_submitted']:,} sends{sends(adapter, paint)}",
        f"{indent}  pool   {pool['capacity']:,} packets: {states or 'closed'}, fewest free {pool['low_water']:,}",
        f"{indent}         [{bar([(mark, pool[name]) for name, mark in POOL_MARKS])}]",
    ]
    if len(adapter["queues"]) > 1:
        lines[2:2] = [f"{indent}         {queue_line(queue)}" for queue in adapter["queues"]]
    for place, binding in enumerate(adapter["bindings"]):
        last = place == len(adapter["bindings"]) - 1
        lines.append(f"{indent}  {'`-' if last else '|-'} {binding_line(binding, paint)}")
        for name in binding["adapters"]:
            if name in above:
                lines += adapter_lines(above[name], above, paint, f"{indent}  {' ' if last else '|'}    ")
    return lines


def queue_line(queue: Answer) -> str:
    """One queue of several, in one line."""
    by = f", {clean(queue['thread'])}" if queue["thread"] else ""
    return f"queue {queue['number']}: {queue['frames']:,} in {queue['batches']:,} batches by {queue['reader']}{by}"


def binding_line(binding: Answer, paint: Paint) -> str:
    """One binding, in one line."""
    state = "" if binding["state"] == "open" else f" {paint('warning', binding['state'])}"
    held = f", holds {binding['held']:,}, oldest {ago(binding['oldest_s'])}" if binding["held"] else ""
    pending = f", {binding['sends_pending']:,} sends pending" if binding["sends_pending"] else ""
    bad = [f"{binding[key]:,} {key}" for key in ("violations", "errors") if binding[key]]
    wrong = f", {paint('error', ', '.join(bad))}" if bad else ""
    name = f"{paint('strong', clean(binding['name']))} ({clean(binding['driver'])}){state}"
    return f"{name}  shown {binding['delivered']:,}{held}{pending}{wrong}"


def drops(adapter: Answer, paint: Paint) -> str:
    """What was dropped on the way in, by reason."""
    lost = dict(adapter["rx_dropped"])
    if adapter["queue_dropped"]:
        lost["queue of the interface"] = adapter["queue_dropped"]
    if not lost:
        return "none dropped"
    return paint("warning", "dropped: " + ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in lost.items()))


def sends(adapter: Answer, paint: Paint) -> str:
    """What became of the sends that are not on the wire."""
    pending = f", {adapter['tx_pending']:,} pending" if adapter["tx_pending"] else ""
    lost = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in adapter["tx_dropped"].items())
    return pending + (paint("warning", f", dropped: {lost}") if lost else "")


def stats(answer: Answer, paint: Paint) -> list[str]:
    """Every counter in a line, a column for each adapter; only those that are not 0 in all of them."""
    names = list(answer["adapters"])
    keys = [key for key in answer["adapters"][names[0]] if any(values.get(key) for values in answer["adapters"].values())]
    lines = table(["counter", *names], [[key, *(answer["adapters"][name].get(key) for name in names)] for key in keys])
    if answer["bindings"]:
        columns = list(next(iter(answer["bindings"].values())))
        lines += ["", *table(["driver", *columns], [[name, *values.values()] for name, values in answer["bindings"].items()])]
    lines += [paint("error", clean(line)) for line in answer["broken_sums"]]
    if not answer["answers"]:
        lines.append(paint("warning", "the data thread does not answer: the interface's own counters may be ahead"))
    return [*lines, paint("dim", f"as of {moment(answer['as_of'])}; counters that are 0 are left out")]


def pools(answer: Answer, paint: Paint) -> list[str]:
    """Each pool with a bar."""
    lines = []
    for pool in answer["pools"]:
        states = ", ".join(f"{count:,} {state}" for state, count in pool["states"].items() if count)
        marks = [(mark, count) for (state, count), mark in zip(pool["states"].items(), ".o#=>xt", strict=False)]
        fewest = f"fewest free {pool['low_water']:,}"
        level = f", level {pool['level']}"
        lines += [
            f"{paint('strong', clean(pool['name']))}  of {clean(pool['owner'])}{level}",
            f"  {pool['capacity']:,} packets of {pool['slot_bytes']:,} bytes, {pool['bytes'] / 1048576:.1f} MiB: {states or 'closed'}",
            f"  [{bar(marks)}]  allocated {pool['allocations']:,} times, found empty {pool['exhausted']:,} times, {fewest}",
        ]
        if not pool["sum_is_right"]:
            lines.append(paint("error", "  the packets of all states together are not the pool"))
    return lines


def bindings(answer: Answer, paint: Paint) -> list[str]:
    """A table, or one binding in full."""
    if not answer["detail"]:
        head = [
            "driver",
            "adapter",
            "state",
            "filter",
            "shown",
            "copied",
            "kept",
            "returned",
            "held",
            "oldest",
            "sends",
            "errors",
            "rules",
            "class",
        ]
        keys = ["name", "adapter", "state", "filter", "delivered", "resources", "promised", "returned", "held"]
        more = ["sends_pending", "errors", "violations", "driver"]
        rows = [
            [*(row[key] for key in keys), ago(row["oldest_s"]) if row["held"] else "", *(row[key] for key in more)]
            for row in answer["bindings"]
        ]
        return table(head, rows) or ["no driver is bound"]
    (row,) = answer["bindings"]
    lines = [f"{paint('strong', clean(row['name']))}  {clean(row['driver'])}  {row['state']}  on {clean(row['adapter'])}"]
    plain = {key: value for key, value in row.items() if key not in ("name", "driver", "state", "adapter", "handlers")}
    lines += table(
        ["", ""],
        [
            [key.replace("_", " "), ", ".join(map(clean, value)) if isinstance(value, list) else clean(value)]
            for key, value in plain.items()
        ],
        "  ",
    )[1:]
    lines += ["  handlers", *table(["", ""], [[name, place or "[none]"] for name, place in row["handlers"].items()], "    ")[1:]]
    return lines
