# C types of vnic/batch.py
cimport cython

from vnic.binding cimport Binding, counted
from vnic.context cimport Context
from vnic.lifecycle cimport Lifecycle
from vnic.packet cimport Packet
from vnic.steps cimport _now

cdef int RX_DELIVERED, RX_FILTERED, EVERYTHING
cdef object RESOURCES


@cython.final
cdef class Batch:
    # may be the list of all that are indicated: it never changes
    cdef list _packets
    cdef tuple _tuple
    cdef readonly object status
    cdef object _lengths
    cdef object _headers
    # the handler runs that it is shown to
    cdef bint _shown

    cdef bytes _gather_lengths(self)
    cdef bytes _gather_headers(self)
    cdef object _require_shown(self, str what)


cdef object show_batches(Lifecycle adapter, Binding binding, list packets, int kinds, Context here)
cpdef object show_one(Binding binding, Packet packet, Context here)
cdef object show_part(Binding binding, list part, bint over, bint lent, Context here)
cdef object ask(Binding binding, list part, object status, Context here)
cdef object end_copy(Binding binding, Packet packet, int count, object answer)
