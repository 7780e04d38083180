# C types of vnic/binding.py
cimport cython

from vnic.asking cimport Asking
from vnic.context cimport Context, place_of
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.steps cimport Step, _step
from vnic.typed cimport typed

cdef int INDICATED, OWNED, MAX_REFERENCES, AT_DISPATCH, IN_RECEIVE_PACKET


cdef bint is_packet(object given) noexcept
cdef object forget(Context context, int slot)


@cython.final
cdef class Binding(Asking):
    cdef readonly object adapter
    cdef public unsigned long long errors
    cdef public unsigned long long violations
    cdef readonly int sends_pending
    cdef readonly int transfers_pending
    cdef readonly bint opening
    cdef readonly bint dead
    cdef public bint no_loopback
    cdef object _sends
    cdef bint _filter_set
    cdef int _offload
    cdef bint _offload_set
    # its handlers that run now, on whatever thread, and must have ended before it is told of its end
    cdef int _inside
    cdef long long _in_receive_packets
    cdef object _send_complete
    cdef bint _pended
    # what it held was taken back by force; it waits for what is below only
    cdef bint _forced
    cdef readonly dict _calls

    cdef object _require_sends(self)
    cdef object _before_send(self, str what)
    cdef object _take_back(self, Packet packet, Step step)

    # for each packet that is returned or replied to, and so without a call; the same as in vnic/binding.py

    cdef inline bint _owes_of(self, Packet packet) noexcept:
        return packet._owed[self.slot].promised > packet._owed[self.slot].returned + packet._owed[self.slot].replying

    cdef bint _owes(self)
    cdef void _enter(self) noexcept
    cdef bint _enter_open(self) noexcept
    cdef void _leave(self)
    cdef object _came_back(self)
    cdef object _broken_return(self, Packet packet)
    cdef bint _may_return_early(self, Packet packet)
