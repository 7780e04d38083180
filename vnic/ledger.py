"""
Who holds which packet, since when, and which line of a driver's code is to be asked.

The ledger itself is in the packets (`vnic/core.py`); this is how a person reads it.
"""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import NamedTuple

from vnic.core import Adapter, Binding, Packet
from vnic.states import PacketState


class Holding(NamedTuple):
    """One packet that a binding holds: returns owed, and nanoseconds since its frame came in."""

    binding: Binding
    packet: Packet
    owed: int
    age_ns: int


def holdings(adapter: Adapter) -> list[Holding]:
    """
    List every (binding, packet) pair with returns owed, the oldest first. Nothing changes hands.
    """
    now = time.time_ns()
    bindings = adapter.bindings
    found = [
        Holding(binding, packet, owed, now - packet.time_received)
        for packet in adapter.pool.packets()
        if packet.state is PacketState.INDICATED
        for binding in bindings
        if (owed := binding.owed(packet))
    ]
    return sorted(found, key=lambda holding: -holding.age_ns)


def where(driver: object, handler: str = "receive_packet") -> str:
    """
    Find the line of a driver's own code that is running now, on the calling thread.

    Args:
        driver: the driver.
        handler: the handler that it was last called through.

    Returns:
        "file:line"; the line where the handler is defined, if nothing of the driver's file is on the stack.
    """
    code = getattr(getattr(type(driver), handler, None), "__code__", None)
    own = code.co_filename if code else getattr(sys.modules.get(type(driver).__module__), "__file__", "unknown")
    return f"{own}:{line_on_stack(sys._getframe(1), own) or (code.co_firstlineno if code else 0)}"


def line_on_stack(frame: FrameType | None, filename: str) -> int | None:
    """Find the innermost line of a file on a stack, given the stack's top frame."""
    while frame is not None:
        if frame.f_code.co_filename == filename:
            return frame.f_lineno
        frame = frame.f_back
    return None
