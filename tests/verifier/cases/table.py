"""
THE table of cases: every rule, with the driver that breaks it and the one that just does not.

Next: `tests/verifier/test_matrix.py`, which runs them.
"""

from __future__ import annotations

from verifier.bench import Case
from verifier.cases import context, lifecycle, pools, receive, sends

SUBJECTS: dict[str, tuple[Case, ...]] = {
    "Received packets": receive.CASES,
    "Pools, packets and buffers": pools.CASES,
    "Sends and requests": sends.CASES,
    "Bindings, miniports, beginning and end": lifecycle.CASES,
    "Levels, locks and time": context.CASES,
}
LIBRARYS_OWN = ("48",)
"""Rules that no driver can break, only the library itself."""
CASES: tuple[Case, ...] = tuple(case for cases in SUBJECTS.values() for case in cases)
