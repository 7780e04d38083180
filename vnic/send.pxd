# C types of vnic/send.py
cimport cython

from vnic.backlog cimport UNSET, Backlog
from vnic.binding cimport Binding
from vnic.context cimport Context, _here
from vnic.guard cimport keep
from vnic.lane cimport Lane
from vnic.packet cimport Packet
from vnic.steps cimport Step, _now
from vnic.wire cimport FRAMES, Burst, put

cdef object SUCCESS, PENDING, RESOURCES
cdef int AT_DISPATCH, THE_MINIPORT, IN_SEND, IN_SEND_PACKETS


@cython.final
cdef class SendPath(Backlog):
    cdef object _below
    cdef object _below_many

    cdef object _send_each(self, Binding binding, list packets)
    cdef object _send_burst(self, Binding binding, list packets, Step step)
    cdef object _write_burst(self, Binding binding, Burst burst, list packets, list statuses)
    cdef object _put(self, Packet packet)
    cdef object _put_many(self, list packets)
    cdef object _keep_pending(self, list packets)
    cdef object _submitted(self, Packet packet, bint behind)
    cdef object _put_below(self, Packet packet)
