"""
A lane: what one queue of an adapter with several has for itself, so that two threads seldom want the same thing at the same time.

The packets at hand here are FREE, and the pool's: whoever finds nothing on its stack has them back from all lanes.

Next: `vnic/queue.py`, the way in, and `vnic/send.py`, the way out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from vnic import _cython as cython

MOST_AT_HAND = 256


class Lane:
    """
    One descriptor that is written to, the packets that wait for room there, and free packets to read into.

    Args:
        sends: the send path that it is a part of.
        pool: whose packets are at hand; None, if it has none.
        number: of the queue.

    Attributes:
        fd: the descriptor; -1 before there is one.
        waiting: packets whose sends wait for room below, in order.
        frames: frames read, all of them counted elsewhere too.
        batches: in how many batches.
        at_hand: free packets.
        limit: how many there may be.
        unread: packets that were taken to be read into, and are not yet a packet with a frame.
    """

    def __init__(self, sends: object, pool: object, number: cython.int) -> None:
        if getattr(self, "sends", None) is not None:
            raise TypeError("lanes are made by adapters, once")
        self.sends = sends
        self.pool = pool
        self.number = number
        self.fd = -1
        self.waiting: deque[object] = deque()
        self.frames = self.batches = 0
        self.at_hand = self.limit = self.unread = 0
        if not cython.compiled:
            self._free = [0] * MOST_AT_HAND
