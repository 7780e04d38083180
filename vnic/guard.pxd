# C types of vnic/guard.py
cimport cython

from vnic.buffer cimport Buffer
from vnic.packet cimport Packet

cdef int POISON, RED, RED_ZONE

cpdef object poison(Packet packet)
cpdef object spoiled(Packet packet)
cpdef object keep(Packet packet)
cpdef object changed(Packet packet)
