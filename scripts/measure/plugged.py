"""
Programs that measure by themselves, as figures of the one table: they are run with `--json`, and their answers translated.

Next: `figures.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from contest import Found, Setting
from taps import HERE

STEADY = 0.10
"""How far the ratios of half of all rounds of pings may be from their median; a wake-up is never as steady as a loop."""


def answer_of(program: str, *options: str) -> Any:
    """What a program beside this one answers; None if it is not there."""
    if not (HERE / program).exists():
        return None
    done = subprocess.run([sys.executable, str(HERE / program), *options, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def echo(setting: Setting) -> list[Found]:
    """Every way to echo 64 bytes, and the best of them for what is asked; against the C echo."""
    answer = answer_of("echo.py", "--rounds", str(setting.rounds))
    if answer is None:
        return []
    found = []
    for way, row in answer.get("ways", {}).items():
        kept = {"judged": row["judged"], "ratio": row.get("ratio"), "us": row.get("us"), "reference_us": row.get("c_us")}
        more = {"rounds": row.get("rounds", 0), "discarded": row.get("discarded", 0), "why": row.get("why", "")}
        found.append(Found(f"echo 64 B, {way}", **kept, **more))
    best = max((each for each in found if each.ratio is not None), key=lambda each: each.ratio or 0, default=None)
    if best is None:
        return [*found, Found("echo 64 B", why="no way was judged")]
    way = best.name.removeprefix("echo 64 B, ")
    whole = Found("echo 64 B", True, best.ratio, best.us, best.reference_us, best.rounds, best.discarded, more={"way": way})
    return [whole, *found]


def latency(setting: Setting) -> list[Found]:
    """A ping through the daemon; the ratio is that of the C responder's time to it, so that more is better here too."""
    answer = answer_of("latency.py", "--rounds", str(10 * setting.rounds))
    if answer is None:
        return []
    rows = answer.get("responders", [])
    if len(rows) < 2:
        return [Found(name, why="latency.py failed") for name in ("ping p50", "ping p99")]
    floor, ours = rows[0], rows[1]
    low, high = ours["quartiles"]
    noise = round((high - low) / 2 / ours["ratio"], 4)
    answers = []
    for percent in ("p50", "p99"):
        found = Found(f"ping {percent}", rounds=ours["rounds"], noise=noise, more={"times_as_long": ours[f"{percent}_ratio"]})
        found.us, found.reference_us = ours[f"{percent}_us"], floor[f"{percent}_us"]
        if noise <= STEADY:
            found.judged, found.ratio = True, round(1 / ours[f"{percent}_ratio"], 3)
        else:
            found.why = f"half of the rounds are further apart than {2 * STEADY:.0%}"
        answers.append(found)
    return answers
