# C types of vnic/ledger.py
cimport cython

from vnic.packet cimport Packet
from vnic.pool cimport PacketPool

cdef int INDICATED, DO_RECLAIM, RETURNED, DRIVER_ERRORS, VIOLATIONS, REFUSED, ENTRIES


@cython.final
cdef class Ledger:
    cdef object _report
    cdef object _reclaim
    # how many indications are under way on each thread that makes one
    cdef dict _threads
    cdef int _level
    cdef unsigned long long _counts[64]

    cdef object _begin(self)
    cdef object _end(self)
    cdef bint _indicating(self) except -1
    cdef object _copy(self, object into)
    cdef void _tell_of_views(self, Packet packet, object binding)
    cdef object _violation(self, object rule, object binding, object packet, str detail)
    cdef void _failed(self, object binding, str handler, object error)
    cdef void _home(self, Packet packet, object binding)
    cdef bint _reclaimed(self, Packet packet, object binding) except? -1
    cdef void _record(self, object error, object binding, object packet)
    cdef void _tell(self, str event, dict fields)
