# C types of vnic/facts.py
cimport cython

from vnic.packet cimport Packet
