# C types of vnic/packet.py
cimport cython

from vnic.buffer cimport Buffer

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
    cdef object _sender
    cdef bint _unlocked
    cdef bint _chained
    cdef bint _valid
    cdef Buffer _head
    cdef Buffer _slot_buffer
    cdef object _gathered
    cdef list _retired
    cdef object _oob
    cdef list _info
    cdef bytearray _reserved
    cdef unsigned char *_slot_shared
    cdef unsigned char *_bytes
    cdef unsigned char *_shared
    cdef unsigned short _promised[128]
    cdef unsigned short _returned[128]

    cdef bint _change(self, int event) noexcept
    cdef object _require_owned(self, str what)
    cdef object _refuse_look(self)
    cdef Buffer _adopt(self, Buffer buffer)
    cdef Buffer _first_own(self)
    cdef Buffer _last(self)
    cdef Buffer _unchain(self, Buffer buffer)
    cdef object _chain_slot(self)
    cdef bint _owns_buffers(self)
    cdef object _require_bare(self, object rule, str what)
    cdef object _require_unchained(self)
    cdef object _recount(self)
    cdef object _seal(self)
    cdef object _retire(self)
    cdef object _unlink(self)
