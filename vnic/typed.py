"""
A protocol driver that is compiled itself: it is asked about each packet by a call of a C function.

    from vnic import ProtocolDriver
    from vnic.packet cimport Packet
    from vnic.typed cimport TypedDriver

    cdef class Counting(TypedDriver):
        cdef readonly long long frames

        cdef int answer(self, Packet packet) except? -2:
            self.frames += 1
            return 0

    class Counter(Counting, ProtocolDriver):
        pass

Nothing else is different: the other handlers are those of `ProtocolDriver`, and so are all rules.

Next: `vnic/asking.py`, which asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from vnic.packet import Packet
else:
    from vnic import _cython as cython


class TypedDriver:
    """
    A base, beside `ProtocolDriver`, of drivers whose `answer` is a C function.

    In an uncompiled core `answer` is a method like any other, and the same driver can be written in Python. A class derived from one
    that brings a `receive_packet` of its own is asked by that.
    """

    def answer(self, packet: Packet) -> cython.int:
        """Answer how many references to a packet it keeps, as `receive_packet` does; what it raises is caught and counted there, too."""
        return 0

    def receive_packet(self, packet: Packet) -> int:
        """
        Ask `answer`, for those who call it from Python.

        NDIS: ProtocolReceivePacket; RX-20.
        """
        return self.answer(packet)


def typed(driver: object) -> TypedDriver | None:
    """The driver itself, if it is asked by its C function."""
    if isinstance(driver, TypedDriver) and type(driver).receive_packet is TypedDriver.receive_packet:
        return driver
    return None
