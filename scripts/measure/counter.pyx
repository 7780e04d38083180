# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""
A protocol driver that is compiled: it counts frames and bytes, as C would.

`readers.py` compiles it in a temporary folder, with the C types that vnic ships.
"""

from vnic import ProtocolDriver
from vnic.packet cimport Packet
from vnic.typed cimport TypedDriver


cdef class Counting(TypedDriver):
    cdef readonly long long frames
    cdef readonly long long bytes

    cdef int answer(self, Packet packet) except? -2:
        self.frames += 1
        self.bytes += packet._length
        return 0


class Counter(Counting, ProtocolDriver):
    """Count, and keep nothing."""
