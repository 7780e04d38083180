# C types of vnic/replies.py
cimport cython

from vnic.binding cimport Binding, is_packet
from vnic.buffer cimport Buffer
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet, Taker
from vnic.send cimport SendPath
from vnic.steps cimport Step, _step

cdef int HEADER, INDICATED, LONGEST
cdef object SUCCESS


@cython.final
cdef class Replies(Taker):
    cdef readonly Binding binding
    cdef readonly object pool
    cdef readonly object buffers
    cdef readonly unsigned long long sent
    cdef readonly unsigned long long dropped
    cdef bytes _us
    # those that are free stand first
    cdef list _idle
    cdef int _ready
    cdef int _made
    cdef bint _closing
    cdef Step _step

    cdef list _checked(self, list packets, object headers, object offset)
    cdef inline bint _holds(self, Packet received) except -1
    cdef inline object _reply(self, Packet received, object header, int offset)
    cdef inline object _write(self, Packet reply, Packet received, object header)
    cdef inline object _show_behind(self, Packet reply, Packet received, int offset)
    cdef inline Packet _let_go(self, Packet reply)
    cdef object _end(self)
