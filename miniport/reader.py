"""
How the TAP is read: by `read`, or many frames in one call by io_uring; as asked for, or by what is quicker here.

Next: `miniport/data_thread.py`, which reads.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from vnic.uring import Uring, can_wait_for_none, race

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vnic import PacketPool

GAIN = 0.95
"""What a read through io_uring may cost of a read by itself: with less to gain the simpler way is taken."""


class Choice(NamedTuple):
    """A ring to read through, or None for `read`, and why."""

    ring: Uring | None
    why: str


def choose_readers(wanted: str, fds: Sequence[int], pool: PacketPool) -> tuple[list[Uring | None], str]:
    """
    Choose how all queues of a TAP are read, in the same way, as `choose_reader` does.

    Returns:
        A ring or None for each, and why.
    """
    first, why = choose_reader(wanted, fds[0], pool)
    rings = [first]
    try:
        for fd in fds[1:]:
            rings.append(None if first is None else Uring(fd, pool))  # noqa: PERF401 - what is there must be closed
    except OSError as error:
        for ring in rings:
            if ring is not None:
                ring.close()
        return [None] * len(fds), f"no io_uring for {len(fds)} queues: {error.strerror}"
    return rings, why


def choose_reader(wanted: str, fd: int, pool: PacketPool) -> Choice:
    """
    Choose how a TAP is read; no frame is taken from it.

    Args:
        wanted: "read", "io_uring" or "auto".
        fd: the TAP.
        pool: what is read into.

    Returns:
        The choice; without io_uring it is `read`, whatever was wanted. A ring is the caller's to close, before the descriptor.
    """
    if wanted == "read":
        return Choice(None, "configured")
    try:
        why = "configured"
        if wanted == "auto":
            alone, together = race()
            why = f"a read costs {alone:.0f} ns, through io_uring {together:.0f} ns"
            if together > GAIN * alone:
                return Choice(None, why)
        ring = Uring(fd, pool)
    except OSError as error:
        return Choice(None, f"no io_uring: {error.strerror}")
    if number := can_wait_for_none(ring):
        ring.close()
        return Choice(None, f"no io_uring for this interface: {os.strerror(number)}")
    return Choice(ring, why)
