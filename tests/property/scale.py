"""
How large the proofs are: what an ordinary run does in seconds, and what `scripts/long` does by name.

`VNIC_LONG=random,threads` makes those long that are named; `VNIC_SEED=n` repeats a run by the seed that it printed.
"""

from __future__ import annotations

import os
import secrets
from typing import TypeVar

from vnic import COMPILED

_T = TypeVar("_T")

LONG = set(os.environ.get("VNIC_LONG", "").split(","))


def scale(name: str, *, compiled: _T, uncompiled: _T, long: _T) -> _T:
    """Choose the size of a proof: by name if it was asked for, else by what the core can do in seconds."""
    if name in LONG:
        return long
    return compiled if COMPILED else uncompiled


def seed_of(name: str) -> int:
    """Choose a seed, or take the one that was asked for, and print it: pytest shows it with a failure."""
    seed = int(os.environ.get("VNIC_SEED") or secrets.randbits(32))
    print(f"{name}: VNIC_SEED={seed}")
    return seed
