# C types of vnic/packet.py
cimport cython

cdef int FREE, OWNED, SENDING, QUARANTINED, EVENTS, ILLEGAL
cdef bint COUNTS_VIEWS
cdef unsigned char NEXT_STATE[64]


@cython.final
cdef class Packet:
    cdef readonly object pool
    cdef readonly int index
    cdef readonly unsigned int generation
    cdef readonly int references
    cdef readonly int views
    cdef readonly long long time_received
    cdef int _state
    cdef unsigned int _flags
    cdef unsigned int _status
    cdef int _length
    cdef int _slot_size
    cdef int _asked
    cdef bint _promises
    cdef int _told
    cdef object _suspect
    cdef object _sender
    cdef unsigned char *_bytes
    cdef unsigned char *_shared
    cdef unsigned short _promised[128]
    cdef unsigned short _returned[128]

    cdef bint _change(self, int event) noexcept
    cdef object _require_owned(self, str what)
    cdef object _refuse_look(self)
    cdef void _forget_promises(self) noexcept
