# C types of vnic/lifecycle.py
cimport cython

from vnic.binding cimport Binding
from vnic.context cimport Context
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.send cimport SendPath

cdef int ALL_LOCAL, SEGMENTATION


cdef class Lifecycle:
    cdef readonly PacketPool pool
    cdef list _pools
    cdef readonly object miniport
    cdef readonly object address
    cdef object _nic
    cdef object _requests
    cdef readonly object _serial
    cdef Ledger _ledger
    cdef SendPath _sends
    cdef list _opened
    cdef list _bindings
    # with offload: those that have not asked for superframes, and whether one has not even asked for checksums
    cdef list _plain
    # all of them, and those that are shown batches: who watches everything, and who does not
    cdef tuple _turns
    cdef bint _unchecked
    # how many bindings are shown frames
    cdef int _shown_to
    cdef int _offered
    cdef bint _low_power
    cdef bint _halt_called
    # lookaheads were shown, and their batch has not been ended
    cdef bint _batch_open
    # a binding has a handler for whole batches
    cdef bint _batched
    cdef bint _ready
    cdef bint _tells
    cdef object _clock
    cdef object _reset_part
    cdef readonly object _pnp

    @cython.final
    cdef list _bound(self, bint plain)
    cdef object _end_halt(self)
    cdef int _held(self) except -1
    cdef bint _release(self, Binding binding, bint forced) except -1
