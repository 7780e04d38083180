# C types of vnic/completion.py
cimport cython

from vnic.binding cimport Binding
from vnic.context cimport Context, _here
from vnic.guard cimport changed
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.steps cimport Step, _now, _step
from vnic.virtio cimport NEEDS_CHECKSUM, NO_SUPERFRAME, Headers

cdef object SUCCESS
cdef int TCP_IP_CHECKSUM, TCP_LARGE_SEND, CHECKSUM, SEGMENTATION, UDP_SEGMENTATION
cdef int SHORTEST, AT_DISPATCH, IN_SEND_COMPLETE, DO_SEND, DO_COMPLETE
cdef int DIRECTED, ALL_MULTICAST, BROADCAST, MAX_NESTED
cdef int TX_SUBMITTED, TX_FRAMES, TX_SUPERFRAMES, TX_DROPPED_OFFLOAD, TX_BYTES, TX_LOOPED, TX_LOOPED_ONLY, TX_NOT_LOOPED, TX_DROPPED_ERROR
cdef long long ASKED_TCP, ASKED_UDP, ASKED_IP, PARTIAL, LONGEST_IP
cdef unsigned long long BROADCAST_ADDRESS, GROUP_BIT
cdef unsigned int NOT_LOOPED, ONLY_LOOPED, WORD


cdef class Completion:
    cdef public bint link_up
    cdef public bint halted
    cdef public bint resetting
    cdef readonly long long pending
    cdef readonly long long completed_ns
    cdef public unsigned long long station
    cdef public list bindings
    cdef public object superframes
    cdef Ledger _ledger
    cdef int _longest
    cdef public object _serial
    # what a serialized miniport has been shown and not ended, in order
    cdef dict _shown

    @cython.final
    cdef Step _step_of(self, str what, Binding binding)

    # for each frame, and so without a call; the same as in vnic/completion.py

    @cython.final
    cdef inline int _kind(self, unsigned long long destination) noexcept:
        if destination & GROUP_BIT:
            return BROADCAST if destination == BROADCAST_ADDRESS else ALL_MULTICAST
        return DIRECTED if destination == self.station else 0

    @cython.final
    cdef object _lend_down(self, Binding binding, Packet packet, Step step)
    @cython.final
    cdef object _refusal(self, Packet packet)
    @cython.final
    cdef object _wrong_length(self, Packet packet, Binding sender, str what)
    @cython.final
    cdef bint _leaves(self, Packet packet, Binding sender) except -1
    @cython.final
    cdef bint _ask_below(self, Packet packet, long long size, long long asked) except -1
    @cython.final
    cdef void _loop_back(self, Packet packet)
    @cython.final
    cdef void _give_back(self, Packet packet, object status)
    @cython.final
    cdef void _hand_back(self, Packet packet, object status)
    @cython.final
    cdef void _finish(self, Packet packet, object status)
    @cython.final
    cdef int _end_offload(self, Packet packet, int column) except -1
    @cython.final
    cdef object _look_for_change(self, Packet packet, Binding sender)
