# C types of vnic/buffer.py
cimport cython

from vnic.steps cimport Step, _step

cdef bint EXPORTS


cdef class Viewed:
    cdef object _begin_view(self)
    cdef object _drop_view(self)


@cython.final
cdef class Buffer:
    cdef readonly object pool
    cdef object _memory
    # a packet that somebody else has lent, whose bytes it describes for a while, and from where on; see vnic/replies.py
    cdef object _source
    # what its views are counted on; stays while one is alive
    cdef Viewed _of
    cdef Py_ssize_t _at
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t length
    cdef readonly Buffer following
    cdef readonly object packet
    cdef bint _freed
    cdef unsigned char *_bytes
    cdef unsigned char *_shared
    cdef object _held

    cdef object _inner(self)
    cdef object _begin_view(self)


@cython.final
cdef class BufferPool:
    cdef object __weakref__
    cdef readonly object owner
    cdef readonly Step made
    cdef readonly int count
    cdef readonly object name
    cdef readonly int usage
    cdef public int verifier_level
    cdef bint _open

    cdef bint _provoked(self) except -1

