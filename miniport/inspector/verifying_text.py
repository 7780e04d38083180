"""
How broken rules and the verifier's settings look on a terminal.

Next: `miniport/inspector/page.py`, the page.
"""

from __future__ import annotations

from typing import Any

from miniport.inspector.text import Paint, ago, clean, moment, table

Answer = dict[str, Any]


def violations(answer: Answer, paint: Paint) -> list[str]:
    """A line for each record."""
    now = answer["as_of"]
    rows = [
        [
            record.get("seq"),
            f"{ago(now - record.get('t_wall', now))} ago",
            record.get("id"),
            record.get("rule"),
            record.get("action"),
            record.get("driver"),
            record.get("where"),
        ]
        for record in answer["records"]
    ]
    name = clean(answer["name"])
    lines = table(["seq", "when", "rule", "", "action", "driver", "at"], rows) or [paint("good", "no rule was broken")]
    more = f"; {answer['suppressed']:,} alike were not written down" if answer["suppressed"] else ""
    if answer["counted"] or rows:
        lines.append(
            paint("dim", f"{answer['counted']:,} counted, {answer['kept']:,} kept{more}; one of them whole: vnic violation {name} SEQ")
        )
    if answer["level"] == 0:
        lines.append(paint("warning", f"level 0 writes nothing down: vnic verify set {name} 1"))
    return lines


def violation(answer: Answer, paint: Paint) -> list[str]:
    """Everything that a record has, in the order of the record."""
    record = dict(answer["record"])
    title = f"rule {clean(record.get('id'))} {clean(record.get('rule'))}"
    lines = [f"{paint('error', title)}  broken by {clean(record.get('driver'))} at {clean(record.get('where'))}"]
    lines += [f"  {clean(record[key])}" for key in ("detail",) if record.get(key)]
    if record.get("remedy"):
        lines.append(f"  {paint('dim', '->')} {clean(record['remedy'])}")
    if record.get("t_wall"):
        lines.append(f"  {moment(record['t_wall'])}")
    now = record.get("t_mono_ns", 0)
    told = ("id", "rule", "driver", "where", "detail", "remedy", "t_wall", "t_mono_ns", "v")
    for key, value in record.items():
        if key not in told and value not in (None, [], {}, ""):
            lines += field_lines(key, value, now)
    return lines


def field_lines(key: str, value: Any, now: int) -> list[str]:
    """One field of a record: a list is a line for each."""
    if key == "history" and isinstance(value, list):
        return [f"  {clean(key)}, the newest last", *step_table(value, now)]
    if isinstance(value, list):
        return [f"  {clean(key)}", *(f"    {one_line(item, now)}" for item in value)]
    stack = value.get("stack") if isinstance(value, dict) else None
    deeper = [f"    {clean(line)}" for line in stack] if isinstance(stack, list) else []
    return [f"  {clean(key)}: {one_line(value, now)}", *deeper]


def step_table(steps: list[Any], now: int) -> list[str]:
    """The steps of a packet before the rule was broken."""
    told = [step for step in steps if isinstance(step, dict)]
    rows = [[ago((now - step["t"]) / 1e9) if "t" in step else None, step.get("op"), step.get("by"), step.get("site")] for step in told]
    return table(["before", "what", "by", "at"], rows, "    ")


def one_line(value: Any, now: int = 0) -> str:
    """A value, or what is in it, in a line; a time as so long before the record's."""
    if isinstance(value, dict):
        fields = []
        for key, item in value.items():
            if key in ("t", "since_ns") and isinstance(item, int) and now:
                fields.append(f"{'' if key == 't' else 'for '}{ago((now - item) / 1e9)}{' before' if key == 't' else ''}")
            elif key != "stack" and item not in (None, "", []):
                fields.append(f"{clean(key)} {one_line(item, now)}")
        return ", ".join(fields)
    if isinstance(value, list):
        return " ".join(one_line(item, now) for item in value)
    # a number here is a name as often as a quantity
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else clean(value)


def verify_show(answer: Answer, paint: Paint) -> list[str]:
    """The levels, what was chosen for rules, and the faults."""
    process = answer["levels"]["process"]
    lines = [f"level {paint('strong', str(process))}  {clean(answer['meaning'][process])}"]
    for kind in ("adapters", "bindings", "pools"):
        others = [(name, level) for name, level in answer[kind].items() if level != process]
        lines += [f"  {kind.removesuffix('s')} {clean(name)}: level {level}" for name, level in others]
    lines += [
        "",
        *table(["rule", "", "class", "action"], [[rule["id"], rule["rule"], rule["class"], rule["action"]] for rule in answer["rules"]]),
    ]
    running = [f"  {clean(mode)}: {one_line(fault)}" for mode, fault in answer["faults"].items()]
    lines += ["", *([paint("warning", "faults are provoked:"), *running] if running else ["no faults are provoked; there could be:"])]
    modes = [[mode["mode"], " ".join(mode["settings"]), "not built" if mode["absent"] else mode["does"]] for mode in answer["modes"]]
    return lines + table(["mode", "settings", "does"], modes, "  ")


def verify_audit(answer: Answer, paint: Paint) -> list[str]:
    """What does not fit."""
    if not answer["wrong"]:
        return [paint("good", f"{answer['packets']:,} packets looked at, everything fits")]
    lines = [paint("error", clean(line)) for line in answer["wrong"]]
    if not answer["answers"]:
        lines.append(paint("dim", "the data thread does not answer: a packet that a driver is being shown looks wrong, and is not"))
    return lines


def changed(answer: Answer, paint: Paint) -> list[str]:
    """What was changed."""
    return [paint("good", clean(answer["changed"]))]
