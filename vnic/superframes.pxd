# C types of vnic/superframes.py
cimport cython

from vnic.binding cimport Binding
from vnic.context cimport Context
from vnic.guard cimport keep
from vnic.large cimport LargeBuffers
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.receive cimport Receiving
from vnic.segment cimport Cut
from vnic.steps cimport Step
from vnic.virtio cimport CHECKED, ECN, NEEDS_CHECKSUM, NO_SUPERFRAME, RIGHT, Headers, checked, complete, vnic_virtio

cdef int TOGETHER, EVERYTHING, SEGMENTATION, DO_LEND, DO_RECLAIM
cdef unsigned int AS_LOOPED
cdef int RX_DELIVERED, RX_FILTERED, RX_SUPERFRAMES, RX_SEGMENTS, RX_SEGMENTS_LOST, RX_CHECKSUMS
cdef int RX_DROPPED_TRUNCATED, RX_DROPPED_HEADER, RX_DROPPED_NO_LARGE, TX_LOOPED, TX_NOT_LOOPED


@cython.final
cdef class Superframes:
    cdef readonly Receiving adapter
    cdef readonly LargeBuffers large
    cdef public int reserve
    cdef PacketPool _spare

    cdef bint _prepare(self, Packet packet, int number, Headers headers) except? -1
    cdef bint _is_superframe(self, Packet packet, int kind, Headers headers) except -1
    cdef object _show(self, Packet packet, Context here, Step step)
    cdef object _show_segments(self, Packet packet, Context here, Step step)
    cdef bint _begin(self, Cut cut, Packet packet) except -1
    cdef Packet _take(self, Packet packet, Step step)
    cdef Packet _take_spare(self)
    cdef object _note(self, Packet segment, Step step)
    cpdef object _loop_plain(self, Packet packet, list bindings, Context here)
    cdef object _fill(self, Packet segment, Packet packet, Cut cut, Py_ssize_t nth)
    cdef object _follow(self, int level)
