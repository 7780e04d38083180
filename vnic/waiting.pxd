# C types of vnic/waiting.py
cimport cython

from vnic.adapter cimport Adapter
from vnic.steps cimport _now


cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents

    int c_poll "poll" (pollfd *descriptors, unsigned long count, int timeout)



@cython.final
cdef class Waiter:
    cdef readonly int wake
    cdef public bint leave
    cdef readonly unsigned long long busy_polls

    cdef int _wait(self, int fd, int wanted, long long busy_us) except -1
