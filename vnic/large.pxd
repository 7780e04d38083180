# C types of vnic/large.py
cimport cython

from vnic.buffer cimport Buffer
from vnic.chain cimport Chain
from vnic.packet cimport Lender, Packet

cdef Py_ssize_t FIRST, DISTANCE, VIRTIO_SIZE


@cython.final
cdef class LargeBuffers(Lender):
    cdef readonly int count
    cdef object _writable
    cdef object _readable
    cdef list _heads
    cdef list _rests
    cdef list _chains
    cdef unsigned char *_bytes
    cdef unsigned char *_shared
    cdef int *_stack
    cdef int _top

    cdef void _attach(self, Packet packet, int number) noexcept
    cdef void _unchain(self, Packet packet) noexcept
    cdef void _give_back(self, int number) noexcept
