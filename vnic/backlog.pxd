# C types of vnic/backlog.py
cimport cython

from vnic.binding cimport Binding
from vnic.completion cimport Completion
from vnic.context cimport Context, _here
from vnic.guard cimport keep
from vnic.lane cimport Lane
from vnic.packet cimport Packet
from vnic.steps cimport _step
from vnic.wire cimport put

cdef object SUCCESS, PENDING
cdef unsigned int PENDS, UNSET
cdef int SENDING, TX_QUEUED, THE_MINIPORT, IN_CANCEL_SENDS


cdef class Backlog(Completion):
    cdef public object on_blocked
    cdef int _limit
    cdef Lane _first
    cdef readonly list lanes
    # sends that are over and pending all the same, on purpose, and their statuses; None before the first
    cdef dict _pended
    cdef object _cancel_below

    @cython.final
    cdef Lane _lane(self)
    @cython.final
    cdef int _write(self, Packet packet, Lane lane)
    @cython.final
    cdef object _wait(self, Packet packet, Lane lane)
    @cython.final
    cdef object _tell_of_waiting(self)
    @cython.final
    cdef object _flush(self, Lane lane)
    @cython.final
    cdef bint _waits(self, Packet packet) except -1
    @cython.final
    cdef bint _pend(self, Packet packet, object status) except -1
    @cython.final
    cdef object _complete_all_pended(self, Binding binding)
    @cython.final
    cdef bint _ends(self, Packet packet) except -1
