# C types of vnic/batch.py
cimport cython
from libc.string cimport memcpy, memset

from vnic.asking cimport counted
from vnic.binding cimport Binding
from vnic.context cimport Context
from vnic.lifecycle cimport Lifecycle
from vnic.packet cimport Packet
from vnic.steps cimport _now

cdef extern from *:
    """
    #ifndef VNIC_ITEMS
    #define VNIC_ITEMS
    /* The items of a list, for a loop that takes no reference to each; the list may not change meanwhile. */
    #define items_of(packets) ((void **)((PyListObject *)(packets))->ob_item)
    #endif
    """
    void **items_of(list packets)


cdef int RX_DELIVERED, RX_FILTERED, EVERYTHING, SEGMENTATION, AMONG
cdef object SUCCESS, RESOURCES, MANY


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
    cdef inline void _begin_to_ask(self, Packet packet, int slot) noexcept
    cdef inline bint _has_changed(self, Packet packet) noexcept
    cdef object _require_shown(self, str what)


cdef Py_ssize_t number_of(object asked) except? -1
cdef Batch batch_of(list packets, object status)
cdef object show_batches(Lifecycle adapter, list bound, Binding binding, list packets, int kinds, Context here)
cpdef object show_one(Binding binding, Packet packet, Context here)
cdef object show_part(Binding binding, list part, bint over, bint lent, Context here)
cdef object ask(Binding binding, list part, object status, Context here)
cdef inline void copy_bytes(Packet packet, char *into, Py_ssize_t first, Py_ssize_t size) noexcept:
    cdef Py_ssize_t there = packet._length - first
    if there < size:
        # the slot has bytes of an older frame behind the end
        memset(into, 0, size)
        if there > 0:
            memcpy(into, packet._shared + first, there)
    elif size == 64:
        # by a constant the compiler copies it itself
        memcpy(into, packet._shared, 64)
    elif size == 2:
        memcpy(into, packet._shared + first, 2)
    else:
        memcpy(into, packet._shared + first, size)


cdef object gather_rows(list packets, char *into, Py_ssize_t first, Py_ssize_t size)
cdef object end_copy(Binding binding, Packet packet, int count, object answer)
