# C types of vnic/queue.py
cimport cython

from vnic.context cimport Context, _here
from vnic.lane cimport Lane
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.receive cimport Receiving
from vnic.steps cimport Step, _cpu, _step
from vnic.uring cimport Uring, vnic_fill, vnic_ring

cdef int DO_RECLAIM
cdef int RX_FRAMES, RX_BYTES, RX_BATCHES, RX_DROPPED_NO_PACKET, RX_DROPPED_FAULT


@cython.final
cdef class Queue:
    cdef readonly Receiving adapter
    cdef readonly Lane lane
    cdef readonly int number
    cdef readonly int fd
    cdef readonly bint reading
    cdef readonly bint several
    # packets were low when the last batch ended
    cdef bint _low
    # how it is read; NULL: by read()
    cdef Uring _uring
    cdef vnic_ring *_ring
    # a batch: the packets of its frames, and their lengths
    cdef int _indices[256]
    cdef int _lengths[256]

    cdef int receive_batch(self, int budget) except? -1
    cdef int _receive_batch(self, int budget) except? -1
    cdef int _read_and_indicate(self, int budget) except? -1
    cdef void _indicate_batch(self, int count)
    cdef void _give_up(self, Packet packet, int done, int count)
    cdef int _discard(self, int budget) except? -1
