"""
Instructions per frame outside the kernel, by valgrind's callgrind: the same on a busy machine and on an idle one.

Frames come through a socket pair, so neither a TAP nor root is needed, and only what happens inside `receive_batch` is counted. The
figures are compared with those in docs/bench/instructions.json. The exit status is 0 if none has grown, 1 if one has, 69 without valgrind.

    scripts/bench instructions              compare
    scripts/bench instructions --lines      which lines of vnic they are, and how many each
    scripts/bench instructions --store      keep these as the ones to compare with, and their lines in docs/bench/lines.txt

Next: `docs/speed.md`, why each is there.
"""

from __future__ import annotations

import argparse
import ast
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

from speed_page import renew

HERE = Path(__file__).resolve().parent
STORED = HERE.parents[1] / "docs/bench/instructions.json"
BATCH, WARM_UP, BATCHES = 128, 10, 50
KINDS = {
    "none": "no driver",
    "compiled": "compiled counter",
    "two": "two Python drivers, nothing kept",
    "keep": "two Python drivers, one keeps and returns",
    "batch": "two batch drivers",
    "super": "superframes, a driver that has asked",
}
TOGETHER = 4
"""Superframes in a batch: as many as a socket has room for, and as a reader takes at once."""
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


@dataclass(frozen=True)
class Source:
    """A module of the core: its lines, which of them each line of C is for, and which function each is in."""

    lines: list[str]
    of_c: list[int]
    functions: dict[int, tuple[str, int]]


@cache
def source_of(c_file: str) -> Source | None:
    """The source of a C file that Cython wrote."""
    path = HERE.parents[1] / "vnic" / f"{Path(c_file).stem}.py"
    if Path(c_file).suffix != ".c" or not Path(c_file).exists() or not path.exists():
        return None
    of_c, current = [0], 0
    for text in Path(c_file).read_text().splitlines():
        if marked := re.match(r' */\* "vnic/\w+\.py":(\d+)$', text):
            current = int(marked.group(1))
        of_c.append(current)
    source, functions = path.read_text(), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            functions.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), (node.name, node.lineno)))
    return Source(source.splitlines(), of_c, functions)


def place_of(cost: Cost) -> tuple[str, str, int] | None:
    """
    Module, function and line of Python of an instruction; None if it is in what Cython adds for all functions.

    The beginning of a function in C may stand behind the end of another: then it is the function's first line.
    """
    source = source_of(cost.file)
    if source is None or not cost.function.startswith("__pyx_") or cost.line >= len(source.of_c):
        return None
    line = source.of_c[cost.line]
    name, first = source.functions.get(line, ("", 0))
    if line == first and not cost.function.endswith(name):
        own = [(len(known), known, start) for known, start in source.functions.values() if cost.function.endswith(known)]
        _, name, line = max(own, default=(0, "", 0))
    return (Path(cost.file).stem, name, line) if name else None


def work(kind: str) -> None:
    """What runs below valgrind: a warm-up, a call that sets the counts to zero, and then so many batches."""
    from readers import Counter as Counting
    from readers import Keeper, Reader, batch_drivers, compiled_counter
    from superframes import ALL, PAYLOADS, AskingCounter, superframe

    drivers: dict[str, Callable[[], list[Any]]] = {
        "none": list,
        "compiled": lambda: [compiled_counter()()],
        "two": lambda: [Counting(), Counting()],
        "keep": lambda: [Counting(), Keeper()],
        "batch": batch_drivers,
        "super": lambda: [AskingCounter()],
    }
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    size, frame = BATCH, b"\xff" * 6 + b"\x02\0\0\0\0\x64" + b"\x88\xb5" + bytes(50)
    if kind == "super":
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        size, frame = TOGETHER, superframe(PAYLOADS[0])
        reader = Reader(near.fileno(), drivers[kind](), offload=ALL)
    else:
        reader = Reader(near.fileno(), drivers[kind]())

    def frames(count: int) -> None:
        for _ in range(count // size):
            for _ in range(size):
                far.send(frame)
            reader.drain(size)

    frames(WARM_UP * BATCH)
    os.getppid()
    frames(BATCHES * BATCH)


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
    """Functions and lines of vnic's source with their instructions per frame; lines with less than `least` are summed up."""
    frames, by_line, added = BATCH * BATCHES, Counter[tuple[str, str, int]](), Counter[str]()
    sources: dict[str, Source] = {}
    for cost in costs:
        if part_of(cost.library) != "vnic":
            continue
        place, source = place_of(cost), source_of(cost.file)
        if place is None or source is None:
            added[f"{Path(cost.library).name.partition('.')[0]}: {cost.function}"] += cost.count
        else:
            by_line[place] += cost.count
            sources[place[0]] = source
    functions = Counter[tuple[str, str]]()
    for (module, name, _), count in by_line.items():
        functions[module, name] += count
    text = []
    for (module, name), whole in functions.most_common():
        if whole / frames < least:
            break
        text.append(f"{whole / frames:7.1f}  {module}.py: {name}")
        lines = {line: count / frames for (m, n, line), count in sorted(by_line.items()) if (m, n) == (module, name)}
        source_lines = sources[module].lines
        text += [f"{'':9}{count:7.1f}  {line:4}  {source_lines[line - 1].strip()}" for line, count in lines.items() if count >= least]
        rest = sum(count for count in lines.values() if count < least)
        if rest:
            text.append(f"{'':9}{rest:7.1f}        lines of less than {least:g} each")
    rest = sum(count for count in functions.values() if count / frames < least) / frames
    text += [f"{rest:7.1f}  functions of less than {least:g} each", f"{sum(added.values()) / frames:7.1f}  what Cython adds"]
    text += [f"{'':9}{count / frames:7.1f}  {name}" for name, count in added.most_common() if count / frames >= least]
    return "\n".join(text)


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
    from readers import has_batches

    kinds = options.only or [kind for kind in KINDS if kind != "batch" or has_batches()]
    costs = {kind: count(kind) for kind in kinds}
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
        if "keep" in costs:
            STORED.with_name("lines.txt").write_text(f"{KINDS['keep']}: instructions per frame\n\n{lines_of(costs['keep'], 2.0)}\n")
        renew()
        return 0
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
