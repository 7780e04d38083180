# C types of vnic/lane.py
cimport cython


@cython.final
cdef class Lane:
    cdef readonly object sends
    cdef readonly object pool
    cdef readonly int number
    cdef public int fd
    cdef readonly object waiting
    cdef readonly unsigned long long frames
    cdef readonly unsigned long long batches
    cdef readonly int at_hand
    cdef readonly int limit
    cdef readonly int unread
    cdef int _free[256]
