# C types of vnic/packet.py
cimport cython

from vnic.buffer cimport Buffer, Viewed
from vnic.chain cimport Chain
from vnic.context cimport Context, _here
from vnic.steps cimport Step
from vnic.virtio cimport CHECKED, NEEDS_CHECKSUM, NO_SUPERFRAME, vnic_virtio

cdef int SHORTEST, FREE, OWNED, INDICATED, SENDING, TRANSFERRING, QUARANTINED
cdef unsigned int UNSET
cdef bint COUNTS_VIEWS
cdef int TCP_IP_CHECKSUM, TCP_LARGE_SEND
cdef object RIGHT_TCP, RIGHT_UDP, PARTIAL_TCP, PARTIAL_UDP
cdef signed char NEXT_STATE[128]


cdef struct vnic_owed:
    unsigned short promised
    unsigned short returned
    unsigned short replying


cdef class Taker:
    cdef void _over(self, Packet packet, object status, bint at_once) noexcept


cdef class Lender:
    cdef Chain _chained(self, Packet packet)
    cdef void _take_back(self, Packet packet) noexcept


@cython.final
cdef class Packet(Viewed):
    # what each frame touches stands first, in as few cache lines as can be
    cdef readonly object pool
    cdef unsigned char *_shared
    cdef int _state
    cdef readonly int references
    cdef readonly int views
    cdef int _length
    cdef unsigned int _status
    # it has no chain, out-of-band data, information, reserved bytes, history, suspect, fault, virtio header or large buffer, and is not kept,
    # withheld, sent, stale or a segment: whoever gives it one of those says so first, and only PacketPool._clear takes that back
    cdef bint _ordinary
    cdef readonly int index
    cdef readonly unsigned int generation
    cdef int _slot_size
    cdef int _asked
    # while it is indicated together with others: what becomes of its frame, the filter bit for it, its views before a handler
    cdef int _outcome
    cdef int _kind
    cdef int _seen_views
    # up to which slot bindings have promised a return, or made one, of the frame at hand
    cdef int _promises
    cdef int _told
    cdef unsigned int _flags
    cdef readonly long long time_received
    cdef readonly Step made
    cdef readonly Step shown
    cdef readonly Step last
    # by the slot of a binding: how often it has promised to return the frame at hand, and has, and will when replies are over
    cdef vnic_owed _owed[128]
    # the last steps, from verifier level 3 on
    cdef object _history
    # vnic/guard.py remembers what it was when it was lent
    cdef bint _kept
    # it was taken back by force, or is to be kept from reuse: until nobody refers to it
    cdef bint _withheld
    # it has been sent since it was allocated
    cdef bint _sent
    cdef bint _stale
    cdef object _suspect
    cdef unsigned char *_bytes
    cdef Chain _chain
    cdef object _oob
    cdef list _info
    cdef bytearray _reserved
    cdef bint _completing
    cdef bint _submitted
    # of its sends, the last one's
    cdef unsigned int _number
    cdef object _sender
    cdef bint _unlocked
    # it was indicated by a serialized miniport, which may read its status
    cdef bint _serial
    # what vnic/guard.py remembers
    cdef bint _poisoned
    cdef bint _shadowed
    cdef unsigned char *_shadow
    cdef bytes _kept_chain
    cdef tuple _kept_beside
    # its frame is in several pieces, and only the first of them is at `_shared`
    cdef bint _scattered
    # whoever sends it has said where its frame is, for this once
    cdef bint _sealed
    cdef Taker _taker
    # what its virtio header said, or is to say
    cdef vnic_virtio _virtio
    # the large buffer that it has for a superframe: whose, and which; None and -1: none
    cdef Lender _lender
    cdef int _large
    # the counter of what is wrong with its frame, or 0
    cdef int _fault
    # its frame was cut out of a superframe, and is counted as such
    cdef bint _segment
    cdef Buffer _slot_buffer
    cdef object _frame_in
    cdef list _retired
    cdef unsigned char *_slot_shared

    # for each frame, and so without a call; the same as in vnic/packet.py

    cdef inline bint _change(self, int event) noexcept:
        cdef int after = NEXT_STATE[16 * self._state + event]
        if after < 0:
            return False
        self._state = after
        return True

    cdef inline unsigned long long _destination(self) noexcept:
        cdef unsigned char *p = self._shared
        cdef unsigned long long high = (p[0] << 8) | p[1]
        cdef unsigned long long low = (<unsigned long long>p[2] << 24) | (p[3] << 16) | (p[4] << 8) | p[5]
        return (high << 32) | low

    cdef inline bint _in_large(self) noexcept:
        return self._lender is not None and self._chain is None and self._shared != self._slot_shared

    cdef inline void _forget_promises(self) noexcept:
        cdef int slot
        for slot in range(self._promises):
            self._owed[slot].promised = self._owed[slot].returned = self._owed[slot].replying = 0
        self._promises = 0

    cdef object _mark(self, Step step)
    cdef object _remember(self, bint much)
    cdef object _read_too_late(self)
    cdef object _require_owned(self, str what)
    cdef object _require_out(self)
    cdef void _count_view(self) noexcept
    cdef object _require_bare(self, object rule, str what)
    cdef object _require_unchained(self)
    cdef Chain _open_chain(self)
    cdef Buffer _first_buffer(self)
    cdef object _seal(self)
    cdef object _seal_pieces(self)
    cdef object _gather(self)
    cdef Buffer _open_slot(self)
    cdef object _information(self, int number)
    cdef object _tell_of_offload(self)
    cdef object _retire(self)
    cdef object _unlink(self)
