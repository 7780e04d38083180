"""
A chain: the buffers of one packet, linked in order.

Next: `vnic/packet.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnic.buffer import Buffer, chain_of
from vnic.verifier import rules
from vnic.verifier.refusal import refused

if TYPE_CHECKING:
    import cython

    from vnic.packet import Packet
else:
    from vnic import _cython as cython


LONGEST = 0x7FFFFFFF


class Chain:
    """
    The linked buffers of a packet. Buffers that it shares with another packet name that one as theirs.

    Attributes:
        head: the first buffer, or None.
        valid: whether the packet's length is the sum over the buffers.
    """

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.head = None
        self.valid = True

    def front(self, buffer: Buffer) -> None:
        """Take a buffer over, with the chain behind it, and put it first."""
        last: Buffer = self._adopt(buffer)
        last.following = self.head
        self.head = buffer

    def back(self, buffer: Buffer) -> None:
        """Take a buffer over, with the chain behind it, and put it last."""
        before: Buffer = self.last()
        self._adopt(buffer)
        if before is None:
            self.head = buffer
        else:
            before.following = buffer

    def take(self, buffer: Buffer | None) -> Buffer | None:
        """Give a buffer of the chain up; its link is empty then."""
        one: Buffer
        if buffer is None:
            return None
        taken: Buffer = buffer
        if self.head is taken:
            self.head = taken.following
        for one in chain_of(self.head):
            if one.following is taken and one.packet is self.packet:
                one.following = None
        self.valid = False
        if taken.packet is self.packet:
            taken.following = None
            taken.packet = None
        return taken

    def last(self) -> Buffer | None:
        """The last buffer, or None."""
        linked = chain_of(self.head)
        return linked[len(linked) - 1] if linked else None

    def total(self) -> int:
        """Add up the bytes in use, and remember that the sum is valid."""
        one: Buffer
        length: cython.Py_ssize_t = 0
        for one in chain_of(self.head):
            length += one.length
        if length > LONGEST:
            raise ValueError(f"a chain of {length} bytes is too long for a packet")
        self.valid = True
        return length

    def used(self) -> list[Buffer]:
        """The buffers that have bytes in use."""
        one: Buffer
        return [one for one in chain_of(self.head) if one.length]

    def first_length(self) -> cython.Py_ssize_t:
        """Bytes in use of the first buffer that has any."""
        one: Buffer = self.head
        while one is not None:
            if one.length:
                return one.length
            one = one.following
        return 0

    def owns_some(self) -> bool:
        """Whether buffers would be lost with the chain: its own ones, but for those that the packet has of itself."""
        one: Buffer
        return len([one for one in chain_of(self.head) if one.packet is self.packet and one.pool is not None]) > 0

    def _adopt(self, buffer: Buffer) -> Buffer:
        """Check a chain that is to be taken over, and make it the packet's; answers its last buffer."""
        one: Buffer = buffer
        if self.head is not None and self.head.packet is not self.packet:
            detail = f"{self.packet!r} shows another packet's chain, and is chained to"
            raise refused(rules.BUFFER_CHAINED, self.packet.pool.name, detail, self.packet)
        for one in chain_of(buffer):
            if one.packet is not None or one._freed:
                what = "free" if one._freed else "chained already"
                detail = f"{one!r}, which is {what}, is chained to {self.packet!r}"
                raise refused(rules.BUFFER_CHAINED, self.packet.pool.name, detail, self.packet)
        for one in chain_of(buffer):
            one.packet = self.packet
        self.valid = False
        return one
