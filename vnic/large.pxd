# C types of vnic/large.py
cimport cython

from vnic.buffer cimport Buffer
from vnic.chain cimport Chain
from vnic.packet cimport Lender, Packet


@cython.final
cdef class LargeBuffers(Lender):
    cdef readonly int count
    cdef object _writable
    cdef list _buffers
    cdef list _chains
    cdef unsigned char *_bytes
    cdef int *_stack
    cdef int _top

    cdef object _attach(self, Packet packet, int number)
    cdef void _give_back(self, int number) noexcept
