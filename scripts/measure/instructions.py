"""
Instructions per frame outside the kernel, by valgrind's callgrind: the same on a busy machine and on an idle one.

Frames come through a socket pair, so neither a TAP nor root is needed, and only what happens inside `receive_batch` is counted. The
figures are compared with those in docs/bench/instructions.json. The exit status is 0 if none has grown, 1 if one has, 69 without valgrind.

    scripts/bench instructions                  compare
    scripts/bench instructions --lines KIND     which lines of vnic they are, and how many each
    scripts/bench instructions --store          keep these as the ones to compare with

Next: `docs/speed.md`, why each is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STORED = HERE.parents[1] / "docs/bench/instructions.json"
BATCH, WARM_UP, BATCHES = 64, 10, 50
KINDS = {
    "none": "no driver",
    "compiled": "compiled counter",
    "two": "two Python drivers, nothing kept",
    "keep": "two Python drivers, one keeps and returns",
}
PARTS = ("vnic", "driver", "python", "libc")
SAME, OTHER = 0.01, 0.10
"""How much a figure may grow, with the same Python and compiler as the stored ones, and with others."""


@dataclass(frozen=True)
class Cost:
    """Instructions of one line of source, not of what it calls."""

    library: str
    function: str
    file: str
    line: int
    count: int


def parse(text: str) -> Iterator[Cost]:
    """
    Read what callgrind writes.

    A file, a function and a library are named once and numbered from then on; the line after `calls=` is the cost of what is called.
    What is inlined from a header counts for the line before it.
    """
    names: dict[tuple[str, str], str] = {}
    now = {"ob": "", "fl": "", "fn": ""}
    line, own, inlined, skip = 0, 0, False, False
    for text_line in text.splitlines():
        named = re.match(r"(c?)(ob|fl|fi|fe|fn)=\((\d+)\)(?: (.*))?", text_line)
        if named:
            called, what, number, name = named.groups()
            kind = "fl" if what in ("fi", "fe") else what
            if name is not None:
                names[kind, number] = name
            if not called and what in now:
                now[what] = names[kind, number]
                inlined = False
            elif not called:
                inlined = names[kind, number] != now["fl"]
        elif text_line.startswith("calls="):
            skip = True
        elif found := re.match(r"([+-]?\d+|\*) (\d+)$", text_line):
            place, count = found.groups()
            line = line if place == "*" else line + int(place) if place[0] in "+-" else int(place)
            if not inlined:
                own = line
            if not skip:
                yield Cost(now["ob"], now["fn"], now["fl"], own, int(count))
            skip = False


def part_of(library: str) -> str:
    """Whose code it is."""
    name = Path(library).name
    if Path(library).parent.name == "vnic":
        return "vnic"
    if name.startswith("counter."):
        return "driver"
    return "python" if "python" in name else "libc"


@cache
def python_lines(c_file: str) -> tuple[list[int], list[str]]:
    """For each line of a C file that Cython wrote, the line of Python that it is for; and the Python."""
    source = HERE.parents[1] / "vnic" / f"{Path(c_file).stem}.py"
    if Path(c_file).suffix != ".c" or not Path(c_file).exists() or not source.exists():
        return [], []
    found, current = [0], 0
    for text in Path(c_file).read_text().splitlines():
        if marked := re.match(r' */\* "vnic/\w+\.py":(\d+)$', text):
            current = int(marked.group(1))
        found.append(current)
    return found, source.read_text().splitlines()


def work(kind: str) -> None:
    """What runs below valgrind: a warm-up, a call that sets the counts to zero, and then so many batches."""
    from readers import Counter as Counting
    from readers import Keeper, Reader, compiled_counter

    drivers: dict[str, Callable[[], list[Any]]] = {
        "none": list,
        "compiled": lambda: [compiled_counter()()],
        "two": lambda: [Counting(), Counting()],
        "keep": lambda: [Counting(), Keeper()],
    }
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    reader = Reader(near.fileno(), drivers[kind]())
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x88\xb5" + bytes(50)

    def batches(count: int) -> None:
        for _ in range(count):
            for _ in range(BATCH):
                far.send(frame)
            reader.drain(BATCH)

    batches(WARM_UP)
    os.getppid()
    batches(BATCHES)


def count(kind: str) -> list[Cost]:
    """Run one kind below valgrind."""
    with tempfile.TemporaryDirectory(prefix="vnic-bench-") as folder:
        out = Path(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--zero-before=getppid"]
        command += ["--toggle-collect=*Adapter*receive_batch*", sys.executable, __file__, "--work", kind]
        done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {kind} failed below valgrind: {done.stderr.strip().splitlines()[-1]}")
        return list(parse(out.read_text()))


def per_frame(costs: list[Cost]) -> dict[str, float]:
    """The sum, and whose code it is."""
    parts = Counter[str]()
    for cost in costs:
        parts[part_of(cost.library)] += cost.count
    frames = BATCH * BATCHES
    return {"all": round(sum(parts.values()) / frames, 1)} | {part: round(parts[part] / frames, 1) for part in PARTS}


def toolchain() -> dict[str, str]:
    """What the figures depend on."""
    compiler = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    return {"python": platform.python_version(), "compiler": compiler, "machine": platform.machine()}


def lines_of(costs: list[Cost], least: float) -> str:
    """Lines of vnic's source with their instructions per frame; what is less than `least` is summed up."""
    frames, by_line, helpers = BATCH * BATCHES, Counter[tuple[str, int]](), Counter[str]()
    for cost in costs:
        if part_of(cost.library) != "vnic":
            continue
        places, _ = python_lines(cost.file)
        own = cost.function.startswith("__pyx_f_") or cost.function.startswith("__pyx_p")
        if own and cost.line < len(places) and places[cost.line]:
            by_line[cost.file, places[cost.line]] += cost.count
        else:
            helpers[f"{Path(cost.file).stem}: {cost.function}"] += cost.count
    lines, small = [], 0.0
    for (file, line), instructions in sorted(by_line.items()):
        if instructions / frames < least:
            small += instructions / frames
            continue
        _, source = python_lines(file)
        lines.append(f"{instructions / frames:7.1f}  {Path(file).stem}.py:{line:<4} {source[line - 1].strip()}")
    lines.append(f"{small:7.1f}  lines with less than {least:g} each")
    lines.append("what Cython adds around them:")
    lines += [f"{instructions / frames:7.1f}  {name}" for name, instructions in helpers.most_common() if instructions / frames >= least]
    return "\n".join(lines)


def compare(found: dict[str, dict[str, float]], stored: dict[str, Any]) -> list[str]:
    """What has grown by more than it may, against the stored figures."""
    limit = SAME if stored["toolchain"] == toolchain() else OTHER
    return [
        f"{KINDS[kind]}: {part} {parts[part]:.0f} instructions per frame, {stored['per_frame'][kind][part]:.0f} are stored"
        for kind, parts in found.items()
        for part in ("all", "vnic")
        if kind in stored["per_frame"] and parts[part] > (1 + limit) * stored["per_frame"][kind][part] + 1
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench instructions", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--only", action="append", choices=KINDS, help="this kind of drivers only; may be repeated")
    parser.add_argument("--lines", action="store_true", help="which lines of vnic they are")
    parser.add_argument("--least", type=float, default=2.0, help="with --lines: sum up what is less per frame (2)")
    parser.add_argument("--store", action="store_true", help="keep the figures, to compare with")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return 0
    from vnic import COMPILED

    if shutil.which("valgrind") is None:
        print("bench: no valgrind: apt install valgrind", file=sys.stderr)
        return 69
    if not COMPILED:
        raise SystemExit("bench: the uncompiled core is for reading; instructions are counted of the compiled one")
    costs = {kind: count(kind) for kind in options.only or KINDS}
    found = {kind: per_frame(each) for kind, each in costs.items()}
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"toolchain": {}, "per_frame": {}}
    grown = compare(found, stored)
    if options.json:
        print(json.dumps({"toolchain": toolchain(), "per_frame": found, "grown": grown}))
    else:
        print(f"instructions per frame outside the kernel, {', '.join(f'{name} {value}' for name, value in toolchain().items())}")
        print(f"{'':42}{'all':>7}{'stored':>8}" + "".join(f"{part:>8}" for part in PARTS))
        for kind, parts in found.items():
            before = stored["per_frame"].get(kind)
            kept = f"{before['all']:8.0f}" if before else f"{'none':>8}"
            print(f"{KINDS[kind]:42}{parts['all']:7.0f}{kept}" + "".join(f"{parts[part]:8.0f}" for part in PARTS))
            if options.lines:
                print(lines_of(costs[kind], options.least))
        print("\n".join(f"GROWN: {line}" for line in grown) or "nothing has grown")
        if stored["toolchain"] != toolchain():
            print(f"the stored figures are of {stored['toolchain'] or 'nobody'}: up to {OTHER:.0%} more are taken for that")
    if options.store:
        STORED.parent.mkdir(parents=True, exist_ok=True)
        kept_figures = {"toolchain": toolchain(), "per_frame": stored["per_frame"] | found}
        STORED.write_text(json.dumps(kept_figures, indent=1) + "\n")
        return 0
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
