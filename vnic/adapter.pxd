# C types of vnic/adapter.py
cimport cython

from vnic.batch cimport show_batches
from vnic.binding cimport Binding
from vnic.context cimport Context, _here
from vnic.guard cimport keep
from vnic.ledger cimport Ledger
from vnic.lifecycle cimport Lifecycle
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.send cimport SendPath
from vnic.steps cimport Step, _cpu, _step
from vnic.uring cimport Uring, vnic_fill, vnic_ring

cdef int SHORTEST, OWNED, LENT, ALL_LOCAL, PROMISCUOUS, TRANSFERRING, DO_INDICATE, DO_LEND, DO_RECLAIM, DO_TRANSFER, DO_TRANSFERRED
cdef unsigned int KEPT
cdef int RX_FRAMES, RX_BYTES, RX_DELIVERED, RX_FILTERED, RX_RESOURCES, RX_BATCHES, INDICATED, RETURNED
cdef int RX_DROPPED_RUNT, RX_DROPPED_TRUNCATED, RX_DROPPED_NO_PACKET, RX_DROPPED_NO_DRIVER, RX_DROPPED_NO_RECEIVE, RX_DROPPED_FAULT


@cython.final
cdef class Adapter(Lifecycle):
    cdef object __weakref__
    cdef public object name
    cdef readonly int mtu
    cdef readonly int low_water
    cdef readonly tuple network_addresses
    cdef bint _joins_pools
    cdef object _transfer_data
    cdef int _transfers
    cdef bint _reading
    cdef bint _low
    # how it is read; NULL: by read()
    cdef Uring _uring
    cdef vnic_ring *_ring
    cdef int _indices[256]
    cdef int _lengths[256]

    cdef int _read_and_indicate(self, int budget) except? -1
    cdef void _indicate_batch(self, int count)
    cdef void _give_up(self, Packet packet, int done, int count)
    cdef bint _receive(self, Packet packet, Context here) except? -1
    cdef int _begin_frame(self, Packet packet) except? -1
    cdef bint _end_frame(self, Packet packet, int outcome, bint lent) except? -1
    cdef bint _begin_together(self, Packet packet) except? -1
    cdef object _receive_together(self, list packets, Context here, set copied, bint read)
    cdef object _show_to_each(self, Packet packet, Context here)
    cdef object _end_copied(self, Packet packet)
    cdef object _look_at_header(self, Packet packet)
    cdef void _end_batch(self)
    cdef object _end_indication(self)
    cdef object _join(self, PacketPool pool)
    cdef int _discard(self, int budget) except? -1
    cdef void _receive_copied(self, Packet packet, Context here)
    cdef int _look_ahead(self, object context, bytes header, bytes lookahead, object packet_size) except? -1
    cdef bint _end_transfer(self, Packet packet)
