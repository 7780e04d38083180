# C types of vnic/receive.py
cimport cython

from vnic.batch cimport items_of, show_batches
from vnic.binding cimport Binding
from vnic.context cimport Context
from vnic.guard cimport keep
from vnic.ledger cimport Ledger
from vnic.lifecycle cimport Lifecycle
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool

cdef int SHORTEST, TIMED_FROM, OWNED, LENT, SHOWN, PROMISCUOUS, EVERYTHING, SEGMENTATION, AMONG, DO_INDICATE, DO_LEND, DO_RECLAIM, DO_FREE
cdef unsigned int KEPT
cdef int RX_FRAMES, RX_BYTES, RX_DELIVERED, RX_FILTERED, RX_RESOURCES, INDICATED, RETURNED
cdef int RX_DROPPED_RUNT, RX_DROPPED_NO_DRIVER


cdef class Receiving(Lifecycle):
    cdef public object name
    cdef readonly int low_water

    @cython.final
    cdef bint _timed(self) except -1
    @cython.final
    cdef bint _receive(self, Packet packet, Context here, bint plain) except? -1
    @cython.final
    cdef inline int _begin_frame(self, Packet packet) except? -1
    @cython.final
    cdef inline bint _end_frame(self, Packet packet, int outcome, bint lent) except? -1
    @cython.final
    cdef inline int _begin_together(self, Packet packet) except? -3
    @cython.final
    cdef inline int _end_plain(self, Packet packet, PacketPool pool) noexcept
    cdef object _end_together(self, list packets, set copied, bint read, bint plain)
    cdef object _receive_together(self, list packets, Context here, set copied, bint read, bint plain)
    cdef Py_ssize_t _end_all(self, list packets) except -1
    cdef object _show_to_each(self, Packet packet, list bound, Context here, bint plain)
    cdef object _end_copied(self, Packet packet)
    cdef void _end_batch(self, Context here)
    cdef object _end_indication(self)
