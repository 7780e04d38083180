"""
Why the daemon could not start or go on: one line for a person, one exit status for a script.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """THE table of exit statuses."""

    OK = 0
    FOUND = 1
    """What was looked for is there: leaks, alerts, faults."""
    USAGE = 2
    UNAVAILABLE = 69
    """No /dev/net/tun, the interface was deleted under the daemon, or no daemon answers."""
    VIOLATION = 70
    """A rule of the packet contract was broken that ends the daemon or refuses a call, or packets were not home at the end."""
    BUSY = 75
    """Another process has the TAP, or the control socket."""
    PERMISSION = 77
    CONFIG = 78
    """The configuration, a driver or the interface does not fit, or a file or standard output cannot be written."""
    KILLED_INT = 130
    KILLED_TERM = 143


class Failure(Exception):
    """
    The daemon cannot start or go on.

    Args:
        status: what the process exits with.
        what: what is wrong, with the offending value.
        remedy: what to do about it.
    """

    def __init__(self, status: Exit, what: str, remedy: str) -> None:
        self.status = status
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}")
