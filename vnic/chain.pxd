# C types of vnic/chain.py
cimport cython

from vnic.buffer cimport Buffer


@cython.final
cdef class Chain:
    cdef object packet
    cdef Buffer head
    cdef bint valid

    cdef object front(self, Buffer buffer)
    cdef object back(self, Buffer buffer)
    cdef Buffer take(self, Buffer buffer)
    cdef Buffer last(self)
    cdef Py_ssize_t total(self) except -1
    cdef list used(self)
    cdef Py_ssize_t first_length(self) except -1
    cdef bint owns_some(self) except -1
    cdef Buffer _adopt(self, Buffer buffer)
