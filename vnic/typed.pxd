# C types of vnic/typed.py
from vnic.packet cimport Packet


cdef class TypedDriver:
    cdef int answer(self, Packet packet) except? -2


cdef extern from *:
    """
    /* Call `answer`; whether it has raised is left to the caller to find out, whose function Cython would leave at once. */
    #define vnic_ask(driver, packet) ((driver)->__pyx_vtab->answer((driver), (packet)))
    """
    int vnic_ask(TypedDriver driver, Packet packet) noexcept

cdef TypedDriver typed(object driver)
