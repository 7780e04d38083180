# C types of vnic/segment.py
cimport cython

from vnic.virtio cimport ECN, Headers, added, checked, complete, folded, number, put_number, vnic_virtio

cdef int FIN, PSH, CWR


@cython.final
cdef class Cut:
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t longest
    cdef Headers _headers
    cdef Py_ssize_t _length
    cdef unsigned char *_p

    cdef bint begin(self, vnic_virtio *virtio, unsigned char *p, Py_ssize_t first, Py_ssize_t length) noexcept
    cdef Py_ssize_t write(self, Py_ssize_t nth, unsigned char *into) noexcept
    cdef void _mend(self, Py_ssize_t nth, unsigned char *into, Py_ssize_t length) noexcept
    cdef void _mend_tcp(self, Py_ssize_t nth, unsigned char *into, Py_ssize_t at) noexcept


cdef list _segments(bytes virtio, bytes frame, Py_ssize_t first)
