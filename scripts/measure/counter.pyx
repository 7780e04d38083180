# cython: language_level=3, boundscheck=False, wraparound=False
"""
A protocol driver that is compiled: it counts frames and bytes, as C would.

`readers.py` compiles it in a temporary folder, with the C types that vnic ships.
"""

from vnic import ProtocolDriver
from vnic.packet cimport Packet


cdef class Counting:
    cdef readonly long long frames
    cdef readonly long long bytes

    def receive_packet(self, Packet packet):
        self.frames += 1
        self.bytes += packet._length
        return 0


class Counter(Counting, ProtocolDriver):
    """Count, and keep nothing."""
