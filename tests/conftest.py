"""
What holds for the whole test session: the core is the one asked for, a skip names its reason, and CI allows few of them.

`VNIC_CORE=compiled|pure` says which core this session must see; a session with another one does not start. A test that needs
/dev/net/tun and a network namespace carries `@pytest.mark.tap`. With `CI=true` a skip whose reason no line of
`allowed_skips.txt` allows is a failure: a test that never runs proves nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest

CI = os.environ.get("CI") == "true"
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_sessionstart() -> None:
    """Refuse to test the wrong core: from the root of the tree the source there wins easily over the installed wheel."""
    wanted = os.environ.get("VNIC_CORE")
    if wanted is None:
        return
    if wanted not in ("compiled", "pure"):
        pytest.exit(f"VNIC_CORE={wanted!r}: must be 'compiled' or 'pure'", returncode=4)

    from vnic import core

    found = "compiled" if core.COMPILED else "pure"
    if found != wanted:
        pytest.exit(f"VNIC_CORE={wanted}, but {core.__file__} is {found}: run scripts/test, or `python -P -m pytest`", returncode=4)


@pytest.fixture(autouse=True)
def no_records_of_other_tests() -> None:
    """The records of broken rules are the process's; a test finds none but its own."""
    from vnic.verifier.records import RECORDS

    RECORDS.clear()
    RECORDS.listener = None


@cache
def lacking_for_tap() -> str | None:
    """What this machine lacks for a TAP in a namespace of its own, and what to do about it; None if nothing."""
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun: run `modprobe tun`, or give the container --device /dev/net/tun"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no permission on /dev/net/tun: run as root, or `chmod 666 /dev/net/tun`"
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    try:
        made = subprocess.run([*unshare, "ip", "tuntap", "add", "probe0", "mode", "tap"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError as error:
        return f"no {error.filename}: install util-linux and iproute2"
    if made.returncode:
        return f"cannot make a TAP in a new network namespace ({made.stderr.strip()}): run as root, in a container with --privileged"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a TAP test where there can be no TAP."""
    if item.get_closest_marker("tap") and (lacking := lacking_for_tap()):
        pytest.skip(lacking)


@cache
def allowed_skips() -> tuple[re.Pattern[str], ...]:
    """The reasons that CI accepts."""
    lines = (line.strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return tuple(re.compile(line) for line in lines if line and not line.startswith("#"))


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip that CI does not allow into a failure."""
    if not CI or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(pattern.search(reason) for pattern in allowed_skips()):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped in CI, and {ALLOWED_SKIPS.name} does not allow it: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skipped file."""
    report = yield
    refuse_skip(report)
    return report
