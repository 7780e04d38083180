# C types of vnic/indicate.py
from vnic.binding cimport is_packet
from vnic.context cimport Context, _here
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.receive cimport Receiving
from vnic.steps cimport Step, _cpu, _now, _step

cdef int OWNED


cdef class Indicating(Receiving):
    cdef bint _joins_pools
    # packets of drivers that are being filled
    cdef int _transfers

    cdef object _look_at_header(self, Packet packet)
    cdef object _join(self, PacketPool pool)
    cdef void _receive_copied(self, Packet packet, Context here)
