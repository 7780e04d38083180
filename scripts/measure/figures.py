"""
Everything that is measured, in one run, against a bare C loop on the same frames, and what was asked of it.

Two tables: `MEASURES` says which function measures what, `ASKED` what is asked. A function takes a `Setting` and answers figures; one whose
name `ASKED` knows is compared with what is asked, the others are only printed. The exit status is 0 if everything was judged, 1 if not.

Next: `chart.py`, which draws it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from contest import Found, Setting
from speed_page import renew
from taps import HERE, NOISE, enter_namespace

OUTPUT = HERE.parents[1] / "docs/bench"

MEASURES = {
    "drain": "drains:measure",
    "echo": "plugged:echo",
    "superframes": "superframes:measure",
    "queues": "queues:measure",
    "latency": "plugged:latency",
    "verifier": "verifier:measure",
    "bindings": "growth:bindings",
    "pools": "growth:pools",
    "memory": "growth:memory",
    "live": "live:measure",
}
"""What is measured by which function. One whose file is not there is not; what is asked of it is named in the end."""

IN_SEVERAL = ("drain", "superframes", "latency", "bindings", "peers")
"""Those that are measured in several processes: where a process happens to have its memory makes 1 or 2 % more or less."""

WITHOUT_CACHE = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""For the process that measures memory: what the C library keeps at hand for a thread, it counts as given out."""

AGAINST = {"peers": "peers:measure", "dpdk": "testpmd:measure"}
"""Further ones, with `--against`."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a figure: a ratio, at least; and what is aimed at."""

    at_least: float
    aim: float
    reference: str = "the C loop"


LOOP = {
    "compiled counter": Asked(0.90, 1.05),
    "two Python drivers, nothing kept": Asked(0.70, 0.85),
    "two Python drivers, one keeps and returns": Asked(0.60, 0.80),
    "two batch drivers": Asked(0.90, 1.00),
}
ASKED = {f"drain 64 B {heat}, {who}": asked for heat in ("warm", "cold") for who, asked in LOOP.items()}
ASKED |= {f"drain 1514 B {heat}, two Python drivers, nothing kept": Asked(0.80, 0.95) for heat in ("warm", "cold")}
ASKED |= {
    "echo 64 B": Asked(0.82, 0.95, "the C echo"),
    "TCP superframes": Asked(0.85, 0.95, "the bare vnet_hdr reader"),
    "two queues, no Python driver": Asked(0.85, 0.95, "two C loops"),
    "ping p50": Asked(1 / 1.2, 1 / 1.05, "a blocking C responder"),
    "ping p99": Asked(1 / 2, 1 / 1.3, "a blocking C responder"),
    "verifier level 1": Asked(0.95, 0.99, "level 0"),
    "bindings 1 to 64": Asked(0.90, 1.00, "a straight line"),
    "pool 64 to 65,535": Asked(0.90, 1.00, "a pool of 64"),
    "against python-pytun": Asked(1.2, 1.5, "python-pytun"),
    "against scapy TunTapInterface, raw": Asked(1.4, 1.7, "scapy"),
    "against DPDK net_tap, prefilled": Asked(0.9, 1.1, "DPDK"),
    "against DPDK net_tap, live": Asked(3.0, 4.0, "DPDK"),
}
MEMORY = "memory per million frames"
"""Of this nothing is asked but 0 bytes."""


@dataclass
class Report:
    """What a whole run found."""

    figures: list[Found]
    absent: list[str]
    facts: dict[str, Any]

    def unjudged(self) -> list[Found]:
        """What was measured and could not be judged."""
        return [figure for figure in self.figures if not figure.judged]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures with what is asked of them."""
        rows = []
        for figure in self.figures:
            asked = ASKED.get(figure.name)
            more = {"asked": asked.at_least, "aim": asked.aim, "reference": asked.reference, "verdict": verdict(figure)} if asked else {}
            rows.append(figure.as_dict() | more)
        return {"machine": self.facts, "figures": rows, "absent": self.absent}


def verdict(figure: Found) -> str:
    """One word: aim, kept, MISSED; nothing if nothing is asked."""
    asked = ASKED.get(figure.name)
    if not figure.judged:
        return "not judged"
    if figure.name == MEMORY:
        return "kept" if figure.more["bytes"] <= 0 else "MISSED"
    if asked is None or figure.ratio is None:
        return ""
    return "aim" if figure.ratio >= asked.aim else "kept" if figure.ratio >= asked.at_least else "MISSED"


def facts() -> dict[str, Any]:
    """The machine, as far as it matters."""
    from vnic import COMPILED

    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {
        "core": "compiled" if COMPILED else "uncompiled",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def run(names: Sequence[str], setting: Setting, tell: Callable[[str], None], processes: int = 1) -> Report:
    """Measure what is named, one after the other."""
    figures: list[Found] = []
    known = MEASURES | AGAINST
    for name in names:
        module, _, function = known[name].partition(":")
        if importlib.util.find_spec(module) is None:
            continue
        start = time.monotonic()
        if processes > 1 and name in IN_SEVERAL:
            figures += median_of([measure_apart(name, setting) for _ in range(processes)])
        elif processes > 1 and name == "memory":
            figures += measure_apart(name, setting, WITHOUT_CACHE)
        else:
            measure: Callable[[Setting], list[Found]] = getattr(importlib.import_module(module), function)
            figures += measure(setting)
        tell(f"{name}: {time.monotonic() - start:.0f} s")
    there = {figure.name for figure in figures}
    absent = [name for name in ASKED if name not in there] if set(names) >= set(MEASURES) else []
    if not set(names) >= set(AGAINST):
        absent = [name for name in absent if not name.startswith("against ")]
    return Report(figures, absent, facts())


def measure_apart(name: str, setting: Setting, environment: dict[str, str] | None = None) -> list[Found]:
    """Measure in a process of its own, with these variables beside the others."""
    command = [sys.executable, __file__, "--only", name, "--json", "--processes", "1"]
    for option in ("rounds", "frames", "warm", "cold", "tolerance"):
        command += [f"--{option}", str(getattr(setting, option))]
    there = os.environ | (environment or {})
    done = subprocess.run(command, env=there, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"bench: {name} failed with status {done.returncode}: scripts/bench --only {name} --processes 1 says why")
    names = {field.name for field in fields(Found)}
    return [Found(**{key: value for key, value in row.items() if key in names}) for row in json.loads(done.stdout)["figures"]]


def median_of(runs: Sequence[Sequence[Found]]) -> list[Found]:
    """
    Make one figure of those of several processes: the one in the middle, with the ratios of all.

    Of an even number it is the lower one. Where not all could judge, those that could count, if they are more than half.
    """
    answers: list[Found] = []
    for same in zip(*runs, strict=True):
        judged = sorted((one for one in same if one.judged and one.ratio is not None), key=lambda one: one.ratio or 0)
        if 2 * len(judged) <= len(same):
            answers.append(next((one for one in same if not one.judged), same[0]))
            continue
        middle = replace(judged[(len(judged) - 1) // 2])
        middle.rounds, middle.discarded = sum(one.rounds for one in same), sum(one.discarded for one in same)
        middle.more = {"ratios": [one.ratio for one in judged]} | middle.more
        answers.append(middle)
    return answers


def table(report: Report) -> str:
    """The table for people."""
    machine = report.facts
    lines = [
        f"{machine['core']} core, Python {machine['python']}, Linux {machine['kernel']}, {machine['processor']}, load {machine['load']}",
        "",
        f"{'work':<60} {'asked':>6} {'aim':>5} {'found':>6}  {'':<10} {'us':>7} {'beside':>7} {'rounds':>7} {'noise':>6}",
    ]
    for figure in report.figures:
        asked = ASKED.get(figure.name)
        wanted = f"{asked.at_least:6.2f} {asked.aim:5.2f}" if asked else " " * 12
        ratio = f"{figure.ratio:6.3f}" if figure.ratio is not None else " " * 6
        spent = "".join(f" {value:7.3f}" if value is not None else " " * 8 for value in (figure.us, figure.reference_us))
        noise = f"{figure.noise:6.1%}" if figure.noise is not None else " " * 6
        tried = f"{figure.rounds}/{figure.rounds + figure.discarded}"
        lines.append(f"{figure.name:<60} {wanted} {ratio}  {verdict(figure):<10}{spent} {tried:>7} {noise}")
        if figure.why:
            lines.append(f"    {figure.why}")
        if figure.more:
            lines.append(f"    {json.dumps(figure.more)}")
    lines += ["", "found: how many times as fast as what stands beside it, both in us per frame; rounds: judged / tried"]
    if report.absent:
        lines += ["asked, and not measured, because it is not there:", *(f"    {name}" for name in report.absent)]
    if report.unjudged():
        lines.append(f"not judged: {len(report.unjudged())} of {len(report.figures)}")
    return "\n".join(lines)


def write(report: Report, folder: Path) -> list[Path]:
    """JSON and, if matplotlib is there, the plot; in docs/bench the tables of docs/speed.md too."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "figures.json"]
    written[0].write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    if folder.resolve() == OUTPUT:
        renew()
    if importlib.util.find_spec("matplotlib") is None:
        print("no plot: pip install --group bench", file=sys.stderr)
        return written
    from chart import draw

    return written + draw(report.as_dict(), folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--only", action="append", choices=[*MEASURES, *AGAINST], help="measure this only, and write no files; repeatable")
    parser.add_argument("--against", action="store_true", help="other TAP libraries too, those that are installed")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to judge (9)")
    parser.add_argument("--processes", type=int, default=3, help="so many processes measure what depends on where memory lies (3)")
    parser.add_argument("--frames", type=int, default=20_000, help="frames of one round, at least (20000)")
    parser.add_argument("--warm", type=int, default=400, help="frames in flight when they are to be in the cache (400)")
    parser.add_argument("--cold", type=int, default=50_000, help="and when they are not to be (50000)")
    parser.add_argument("--tolerance", type=float, default=NOISE, help="how far the reference may move in a round (0.03)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--output", type=Path, help="write figures.json and the plot here (docs/bench)")
    options = parser.parse_args()
    enter_namespace()
    names = options.only or [*MEASURES, *(AGAINST if options.against else ())]
    setting = Setting(options.rounds, options.frames, options.warm, options.cold, tolerance=options.tolerance)
    report = run(names, setting, lambda line: print(line, file=sys.stderr, flush=True), options.processes)
    print(json.dumps(report.as_dict(), indent=1) if options.json else table(report))
    folder = options.output or (None if options.only else OUTPUT)
    if folder:
        for path in write(report, folder):
            print(f"written: {path}", file=sys.stderr)
    return 1 if report.unjudged() else 0


if __name__ == "__main__":
    sys.exit(main())
