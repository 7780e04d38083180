"""
Make docs/verifier.md by running every driver that breaks a rule: what it is, and the record that it gave.

    scripts/verifier-page            write the page
    scripts/verifier-page --check    say whether it is up to date; exit status 1 if not

What differs from run to run (times, numbers of processes and threads, sequence numbers) is left out of the records; a line of code is
counted from the top of the class that is shown. The same source gives the same page, whatever the mode of the core.

Next: `docs/verifier.md`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from verifier.bench import COUNTS_VIEWS, Case, Here, run
from verifier.cases.table import LIBRARYS_OWN, SUBJECTS

from vnic.verifier.actions import ACTIONS
from vnic.verifier.rules import ABSENT, RULES

TREE = Path(__file__).resolve().parents[2]
PAGE = TREE / "docs" / "verifier.md"
WIDTH = 120
UNSTABLE = {"seq", "t_wall", "t_mono_ns", "pid", "tid", "thread", "t", "since_ns", "age_ns", "held_ns", "took_ns", "v", "remedy"}
"""Keys of a record that are left out: they differ from run to run, or stand above the record."""


def driver_source(driver: type) -> str:
    """A driver as it stands in its file."""
    return textwrap.dedent(inspect.getsource(driver)).rstrip()


def stable(value: Any, here: Here, first: int) -> Any:
    """A record, or a part of one, without what differs from run to run."""
    if isinstance(value, dict):
        return {key: stable(item, here, first) for key, item in value.items() if key not in UNSTABLE and item not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        # the inside of Python's own modules is another one in each version
        return [stable(item, here, first) for item in value if not re.search(r"/lib/python[\d.]+/", str(item))]
    if isinstance(value, str):
        return shown_line(value, here, first)
    return value


def shown_line(text: str, here: Here, first: int) -> str:
    """Lines of the driver's file are counted from the top of what is shown, others told by their file only; no time is told."""

    def line(found: re.Match[str]) -> str:
        file, number = found[1], int(found[2])
        if file == here.file and number >= first:
            return f"driver.py:{number - first + 1}"
        return Path(file).name

    text = re.sub(r"\b\d+(\.\d+)?(%| ms\b| s\b)", r"...\2", text)
    return re.sub(r"(/[^\s:]+\.py):(\d+)", line, text)


def record_of(case: Case) -> dict[str, Any]:
    """Run the bad driver; its record."""
    records = [record for record in run(case, case.bad).records if record["id"] == case.rule.id]
    assert len(records) == 1, f"{case!r} gives {len(records)} records"
    _, first = inspect.getsourcelines(case.bad)
    made: dict[str, Any] = stable(records[0], Here.of(case.bad), first)
    return made


def fenced(language: str, text: str) -> list[str]:
    return [f"```{language}", text, "```"]


def bases_of(case: Case) -> list[type]:
    """The classes of the bench that a driver stands on, and those around it."""
    ours = [*case.bad.__mro__[1:], *case.good.__mro__[1:], *case.others, case.miniport]
    return [base for base in ours if base.__module__.startswith("verifier.")]


def pretty(record: dict[str, Any]) -> str:
    """A record in as few lines as it needs."""
    lines = ["{"]
    for key, value in record.items():
        item = f"{json.dumps(key)}: {json.dumps(value)}"
        if len(lines[-1]) + len(item) > WIDTH:
            lines.append(" ")
        lines[-1] += f"{item}, "
    return "\n".join(line.rstrip() for line in [*lines[:-1], lines[-1].rstrip(", ") + "}"])


def rule_part(case: Case) -> list[str]:
    """What the page says of one rule."""
    rule = case.rule
    happens = [(case.play.__doc__ or "").strip()]
    happens += [f"`{other.__name__}` is bound, too." for other in case.others]
    happens += [f"Below is `{case.miniport.__name__}`."] if case.miniport.__module__.startswith("verifier.") else []
    return [
        f"### {rule.id} {rule.name}",
        "",
        f"Class {rule.cls}: {rule.catches}.",
        "",
        f"Instead: {rule.remedy}.",
        "",
        *fenced("py", driver_source(case.bad)),
        "",
        " ".join(happens),
        "",
        *fenced("json", pretty(record_of(case))),
        "",
        "<details><summary>The nearest that is legal</summary>",
        "",
        *fenced("py", driver_source(case.good)),
        "",
        "</details>",
        "",
    ]


def stands_on() -> list[str]:
    """What the drivers inherit from, in one line each."""
    found = dict.fromkeys(base for cases in SUBJECTS.values() for case in cases for base in bases_of(case))
    return [f"- `{base.__name__}`: {' '.join((base.__doc__ or '').split())}" for base in sorted(found, key=lambda base: base.__name__)]


def make_page() -> str:
    """The whole page."""
    count = sum(len(cases) for cases in SUBJECTS.values())
    actions = "\n".join(f"| `{name}` | {what} |" for name, what in ACTIONS.items())
    lines = [INTRODUCTION.format(count=count, bases="\n".join(stands_on()), actions=actions).rstrip(), ""]
    lines += ["## Rules that nothing here can break", "", ABSENT_HEAD, "", "| id | rule | why not |", "| --- | --- | --- |"]
    lines += [f"| {one.id} | {one.name} | {one.reason} |" for one in ABSENT] + [""]
    own = [rule for rule in RULES if rule.id in LIBRARYS_OWN]
    lines += ["Only the library itself could break these; then it says so:", ""]
    lines += [f"- {rule.id} {rule.name}, class {rule.cls}: {rule.catches}. Then {rule.remedy}." for rule in own] + [""]
    for subject, cases in SUBJECTS.items():
        lines += [f"## {subject}", ""]
        for case in cases:
            lines += rule_part(case)
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """\
# The verifier

Who broke which rule, with which packet, from which line: a driver is told at once, in words, and the daemon goes on. This page has every
rule, the shortest driver that breaks it, and the record that this driver gave. It is made by `scripts/verifier-page`, which runs all
{count} of them; do not edit it.

## Levels

One number says how much is looked for: of the process, of a driver, or of a pool. What a driver does goes by the driver's level, what
becomes of a packet by its pool's. It is changed while everything runs, and no frame is lost by that: `vnic verify set 3`, with
`--driver NAME` or `--pool NAME` for one of them; in a program, `vnic.verifier.levels.set_level(3)`.

| level | what is added |
| --- | --- |
| 0 | safety only: what would damage something is refused and counted, and not told |
| 1 | who did what to which packet, when and in which line; every broken rule gives a record. The default |
| 2 | what takes too long, locks, interrupt levels, calls that block |
| 3 | the last sixteen steps of each packet; poison in what is free, a copy of what is lent to compare it with |
| 4 | whole stacks; faults may be provoked |

## Classes

| class | what happens |
| --- | --- |
| A0 | always looked for. The call is refused with a `ContractViolation`, and everything is as it was before |
| A1 | always looked for. It is counted and recorded, and the work goes on |
| V2, V3, V4 | looked for from that level on |

What follows can be chosen for each rule, `vnic verify rule 60 quarantine`; what is refused is refused whatever is chosen.

| action | what it does |
| --- | --- |
{actions}

## How to read a record

Three keys are enough if you are in a hurry: `driver` and `where` say what to mend, `remedy` says how.

| key | what it says |
| --- | --- |
| `rule`, `id`, `class`, `severity`, `action` | which rule, and what followed |
| `adapter`, `driver`, `binding`, `handler` | where, whose fault it is, and in which of its handlers the thread was |
| `detail` | what happened, in words |
| `where` | the culprit's own line: file and number |
| `owed` | how many returns the binding owes, of all packets |
| `pool`, `packet` | which packet: its place in the pool, and how often it has been allocated (`generation`) |
| `holders` | which bindings owe how many returns of it, and since when |
| `alloc`, `indicate`, `last` | where it was allocated, where it was shown, and what was done to it last, by whom |
| `age_ns` | for how long it is held |
| `diff` | what has changed that must not: offset, bytes before, bytes now |
| `bytes_hex` | its first bytes, only if that is allowed |
| `locks`, `irql` | what the thread held, and at which level it was: 0 PASSIVE, 2 DISPATCH, 5 DIRQL |
| `history`, `stack` | the last things that were done to the packet (level 3), with whole stacks (level 4) |
| `remedy` | what to do instead |
| `t_wall`, `t_mono_ns`, `pid`, `tid`, `thread`, `seq`, `suppressed` | when, where, and how many like it were not told |

All text of drivers and frames is escaped, and at most ten records a second are written of one rule and one culprit. The last 256 are kept.

## What is no rule

None of this is ever reported: returning packets in another order than they came; returning several in one call; promising more than one
return; holding a packet for long, but within the limit; freeing by either form of call while a pool is being unloaded; one driver on
several adapters.

## How to read the drivers

Each is a whole driver, but for its imports and for what it inherits. The line marked `# here` is the one that the record names; the
file is called `driver.py`, and its lines are counted from the `class` on. What differs from run to run is left out of the records. A
miniport has `self.adapter` and `self.pool`; what it does by itself it does in `handle_interrupt`. `work` is what a protocol driver does
on a thread of its own. These are what drivers inherit, and what is bound beside them:

{bases}
"""
ABSENT_HEAD = "A kernel's verifiers have them. They keep their ids, so that these mean the same here and there."


def main() -> int:
    """Write the page, or compare it; answers the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/verifier-page", description="Make docs/verifier.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the page is old")
    options = parser.parse_args()
    if not COUNTS_VIEWS:
        print("views are counted by the compiled core, or from Python 3.12 on: the page needs one of them", file=sys.stderr)
        return 69
    page = make_page()
    if not options.check:
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        print(f"{PAGE.relative_to(TREE)} is old: run scripts/verifier-page", file=sys.stderr)
        return 1
    print(f"{sum(len(cases) for cases in SUBJECTS.values())} rules, {len(page.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
