"""
The faults of `scripts/mutants` fit the code as it is: whoever changes a line there changes it in `scripts/mutants.toml`, too.

Whether the tests find each of them is seen by `scripts/long mutants`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MUTANTS = Path(__file__).parents[2] / "scripts" / "mutants"


def test_every_fault_applies_to_exactly_one_place() -> None:
    done = subprocess.run([sys.executable, "-P", MUTANTS, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 45
