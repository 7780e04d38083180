"""
How `pending`, `leaks`, `packet` and `log` look on a terminal.

Next: `miniport/inspector/running_text.py`.
"""

from __future__ import annotations

from typing import Any

from miniport.inspector.text import Paint, ago, clean, table

Answer = dict[str, Any]


def pending(answer: Answer, paint: Paint) -> list[str]:
    """The counts, who holds how many, then packet by packet."""
    out = paint("strong", clean(answer["pending"]))
    lines = [f"{answer['pools']} pools, {answer['free']:,} packets free, {out} pending of {answer['total']:,}"]
    if answer["by"]:
        lines += [
            "",
            *table(
                ["held by", "packets", "returns owed", "oldest"],
                [[row["by"], row["packets"], row["owed"], ago(row["oldest_s"])] for row in answer["by"]],
            ),
        ]
    rows = [
        [name_of(row), row["state"], row["by"], row["owed"], ago(row["age_s"]), row["bytes"], row["kept_at"]] for row in answer["packets"]
    ]
    if rows:
        lines += ["", *table(["packet", "state", "held by", "owed", "for", "bytes", "kept at"], rows)]
    if answer["more"]:
        lines.append(paint("dim", f"and {answer['more']:,} more: --top {answer['matching']}"))
    return lines


def leaks(answer: Answer, paint: Paint) -> list[str]:
    """Line of code by line of code."""
    if not answer["total"]:
        return [paint("good", f"no leaks: nothing is held for more than {ago(answer['older_than_s'])}, no view lives on")]
    lines = []
    for group in answer["groups"]:
        count = paint("error", f"{group['packets']:,}/{answer['total']:,}")
        lines.append(f"{count} packets at {clean(group['where'] or 'an unknown line')}  ({clean(group['driver'])}: {clean(group['why'])})")
        more = ", ..." if group["packets"] > len(group["examples"]) else ""
        lines.append(f"    oldest {ago(group['oldest_s'])}; {', '.join(map(clean, group['examples']))}{more}")
    if skipped := answer["skipped"]["groups"]:
        lines.append(paint("dim", f"and {answer['skipped']['packets']:,} packets at {skipped} more lines"))
    return lines


def packet(answer: Answer, paint: Paint) -> list[str]:
    """State, holders, steps, and what was asked for of its bytes."""
    lines = [
        paint("strong", f"{clean(answer['pool'])}[{answer['packet']}].{answer['generation']}")
        + f"  {answer['state']}, {answer['bytes']} bytes"
    ]
    if not answer["same"]:
        lines.append(paint("warning", "  it has been allocated again since: this is another frame"))
    flags = f", flags {', '.join(answer['flags'])}" if answer["flags"] else ""
    came = f", received {ago(answer['received_s_ago'])} ago" if answer["received_s_ago"] is not None else ""
    lines.append(f"  references {answer['references']}, views {answer['views']}, status {answer['status']}{flags}{came}")
    lines += [
        f"  {paint('warning', 'held by')} {clean(holder['driver'])}, returns owed {holder['owed']}, kept at {clean(holder['kept_at'])}"
        for holder in answer["holders"]
    ]
    lines += ["", *step_lines(answer["steps"], False)] if answer["steps"] else []
    lines += stack_lines(answer["steps"])
    for layer in answer.get("headers") or ():
        fields = ", ".join(f"{key.replace('_', ' ')} {clean(value)}" for key, value in layer.items() if key != "layer")
        lines.append(f"  {paint('strong', clean(layer['layer']))}: {fields}")
    lines += hex_lines(bytes.fromhex(answer.get("bytes_hex") or ""))
    return lines


def log(answer: Answer, paint: Paint) -> list[str]:
    """Each change of hands in a line."""
    lines = step_lines(answer["events"], True) or ["nothing is remembered"]
    if answer["left_out"]:
        lines.insert(0, paint("dim", f"{answer['left_out']:,} earlier ones are left out: --force shows more"))
    if answer["level"] < 3:
        hint = f"level {answer['level']} remembers the first and the last step only; for the last 16 of each packet: "
        hint += f"vnic verify set {clean(answer.get('asked_as', answer['name']))} 3"
        lines.append(paint("dim", hint))
    return lines


def step_lines(steps: list[Answer], of_packet: bool) -> list[str]:
    """Steps as a table."""
    head = ["ago", *(["packet"] if of_packet else []), "what", "by", "at"]
    rows = [[ago(step["age_s"]), *([name_of(step)] if of_packet else []), step["what"], step["by"], step["where"]] for step in steps]
    return table(head, rows, "" if of_packet else "  ")


def stack_lines(steps: list[Answer]) -> list[str]:
    """The stack of the last step that has one."""
    stacks = [step["stack"] for step in steps if step["stack"]]
    return [f"    {clean(line)}" for line in stacks[-1]] if stacks else []


def hex_lines(data: bytes) -> list[str]:
    """Bytes, sixteen in a line, with what is printable beside them."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {start:04x}  {part.hex(' '):<47}  {letters}")
    return lines


def name_of(row: Answer) -> str:
    """A packet by its pool, index and generation."""
    return f"{row['pool']}[{row['packet']}].{row['generation']}"
