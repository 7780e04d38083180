# C types of vnic/lookahead.py
from vnic.binding cimport Binding
from vnic.context cimport Context, _here
from vnic.indicate cimport Indicating
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet

cdef int TRANSFERRING, THE_MINIPORT, IN_TRANSFER_DATA, DO_TRANSFER, DO_TRANSFERRED
cdef int RX_FRAMES, RX_BYTES, RX_DELIVERED, RX_FILTERED, RX_DROPPED_RUNT, RX_DROPPED_NO_DRIVER, RX_DROPPED_NO_RECEIVE


cdef class LookingAhead(Indicating):
    cdef object _transfer_data

    cdef int _look_ahead(self, object context, bytes header, bytes lookahead, object packet_size) except? -1
    cdef bint _end_transfer(self, Packet packet)
