# C types of vnic/send.py
cimport cython

from vnic.binding cimport Binding
from vnic.context cimport Context, _here
from vnic.guard cimport changed, keep
from vnic.lane cimport Lane
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.steps cimport Step, _now, _step
from vnic.virtio cimport NEEDS_CHECKSUM, NO_SUPERFRAME, Headers
from vnic.wire cimport FRAMES, Burst, put

cdef int TCP_IP_CHECKSUM, TCP_LARGE_SEND, CHECKSUM, SEGMENTATION, UDP_SEGMENTATION
cdef long long ASKED_TCP, ASKED_UDP, ASKED_IP, PARTIAL, LONGEST_IP
cdef int TX_SUPERFRAMES, TX_DROPPED_OFFLOAD
cdef int SHORTEST, SENDING, DO_SEND, DO_COMPLETE
cdef int TX_SUBMITTED, TX_FRAMES, TX_BYTES, TX_QUEUED, TX_LOOPED, TX_LOOPED_ONLY, TX_NOT_LOOPED, TX_DROPPED_ERROR
cdef int MAX_NESTED, AT_DISPATCH, THE_MINIPORT, IN_SEND, IN_SEND_PACKETS, IN_SEND_COMPLETE
cdef unsigned int UNSET, PENDS
cdef object SUCCESS, PENDING, RESOURCES
cdef int DIRECTED, ALL_MULTICAST, BROADCAST
cdef unsigned int NOT_LOOPED, ONLY_LOOPED
cdef unsigned long long BROADCAST_ADDRESS, GROUP_BIT


@cython.final
cdef class SendPath:
    cdef public bint link_up
    cdef public bint halted
    cdef public bint resetting
    cdef readonly long long pending
    cdef readonly long long completed_ns
    cdef public unsigned long long station
    cdef public list bindings
    cdef public object on_blocked
    cdef public object superframes
    cdef Headers _headers
    cdef Ledger _ledger
    cdef int _longest
    cdef int _limit
    cdef Lane _first
    cdef readonly list lanes
    # sends that are over and pending all the same, on purpose, and their statuses; None before the first
    cdef dict _pended
    cdef object _below
    cdef object _below_many
    cdef public object _serial
    # what a serialized miniport has been shown and not ended, in order
    cdef dict _shown
    cdef object _cancel_below

    cdef int _kind(self, unsigned long long destination) noexcept

    cdef Step _step_of(self, str what, Binding binding)
    cdef object _keep_pending(self, list packets)
    cdef object _look_for_change(self, Packet packet, Binding sender)
    cdef object _send_each(self, Binding binding, list packets)
    cdef object _send_burst(self, Binding binding, list packets, Step step)
    cdef object _write_burst(self, Binding binding, Burst burst, list lent, list statuses)
    cdef Lane _lane(self)
    cdef object _wait(self, Packet packet, Lane lane)
    cdef object _flush(self, Lane lane)
    cdef bint _waits(self, Packet packet) except -1
    cdef object _tell_of_waiting(self)
    cdef object _lend_down(self, Binding binding, Packet packet, Step step)
    cdef bint _ends(self, Packet packet) except -1
    cdef object _refusal(self, Packet packet)
    cdef bint _leaves(self, Packet packet, Binding sender) except -1
    cdef bint _ask_below(self, Packet packet, long long size, long long asked) except -1
    cdef int _end_offload(self, Packet packet, int column) except -1
    cdef object _put(self, Packet packet)
    cdef bint _pend(self, Packet packet, object status) except -1
    cdef object _complete_all_pended(self, Binding binding)
    cdef object _put_many(self, list packets)
    cdef object _submitted(self, Packet packet)
    cdef object _put_below(self, Packet packet)
    cdef int _write(self, Packet packet, Lane lane)
    cdef void _finish(self, Packet packet, object status)
    cdef void _give_back(self, Packet packet, object status)
    cdef void _hand_back(self, Packet packet, object status, bint at_once)
    cdef void _loop_back(self, Packet packet)
