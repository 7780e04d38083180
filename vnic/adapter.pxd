# C types of vnic/adapter.py
cimport cython

from vnic.binding cimport Binding
from vnic.lane cimport Lane
from vnic.ledger cimport Ledger
from vnic.lookahead cimport LookingAhead
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.queue cimport Queue
from vnic.send cimport SendPath
from vnic.superframes cimport Superframes

cdef int MOST_AT_ONCE


@cython.final
cdef class Adapter(LookingAhead):
    cdef object __weakref__
    cdef readonly int mtu
    cdef readonly tuple network_addresses
    # the first one, and all of them
    cdef Queue _queue
    cdef list _queues
    cdef Superframes _superframes

    cdef int _receive_from(self, int queue, int budget) except? -1
