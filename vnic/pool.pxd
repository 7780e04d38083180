# C types of vnic/pool.py
cimport cython

from vnic.context cimport Context, _here
from vnic.guard cimport poison, spoiled
from vnic.lane cimport Lane
from vnic.packet cimport Packet
from vnic.steps cimport Step, _step

cdef int AT_HAND_BELOW, QUARANTINED, FREE, OWNED, DO_ALLOCATE, DO_FREE, DO_QUARANTINE, DO_RELEASE, STATES


@cython.final
cdef class PacketPool:
    cdef object __weakref__
    cdef readonly object name
    cdef readonly Step made
    # the binding in whose handler it was made, or None
    cdef readonly object owner
    cdef int _level
    # a copy of each slot that is lent, from verifier level 3 on
    cdef unsigned char *_shadow
    cdef bint _shadow_ready
    # packets that are to be kept from reuse, or are
    cdef int _withholding
    # references to a packet that nobody refers to
    cdef Py_ssize_t _alone
    # threads that made unlocked calls, and the locks that all of them held
    cdef object _users
    cdef object _locks
    cdef readonly int capacity
    cdef readonly int slot_size
    cdef readonly int reserved_size
    cdef readonly int low_water
    cdef readonly unsigned long long allocations
    cdef readonly unsigned long long exhausted
    cdef readonly unsigned long long put_behind
    cdef list _packets
    cdef int *_stack
    cdef int _top
    # free packets that are kept back: 0, unless packets are used late on purpose
    cdef int _reserve
    # taken from the stack by a reader, and not yet a packet with a frame
    cdef int _unread
    # the same for each queue, and free packets at hand; None, if it is read into through one queue at most
    cdef list _lanes
    # what is freed does not simply go on the stack: it is looked at, or at hand in lanes, or used late on purpose
    cdef bint _particular
    # an adapter reads into it
    cdef bint _claimed
    cdef bint _open
    cdef object _writable
    cdef object _readable
    cdef dict _reserved
    cdef public object lock
    cdef public bint unloading
    cdef readonly unsigned long long mixed
    cdef unsigned int _protocol_id
    cdef list _spare
    cdef dict _extra
    cdef unsigned char *_bytes
    cdef Py_buffer _write_view
    cdef Py_buffer _read_view

    # for each frame, and so without a call; the same as in vnic/pool.py

    cdef inline void _fresh(self, Packet packet) noexcept:
        packet._change(DO_ALLOCATE)
        packet.generation = packet.generation + 1
        packet.time_received = 0
        packet._flags = self._protocol_id
        packet._length = 0
        packet._status = 0
        if not packet._ordinary:
            self._clear(packet)
        self.allocations = self.allocations + 1

    cdef inline bint _free_plain(self, Packet packet) noexcept:
        if self._particular or packet.views or not packet._ordinary or packet.index >= self.capacity:
            return False
        if not packet._change(DO_FREE):
            return False
        self._stack[self._top] = packet.index
        self._top = self._top + 1
        return True

    cdef object _allocate(self, bint unlocked)
    cdef object _free(self, Packet packet, bint unlocked)
    cdef Packet _overflow(self)
    cdef object _discard(self, Packet packet)
    cdef object _census(self, object found)
    cdef object _require_open(self)
    cdef object _require_lock(self, str what)
    cdef object _no_packet(self)
    cdef object _whose(self, Context context)
    cdef bint _provoked(self, str what) except -1
    cdef object _require_no_locks(self, str what)
    cdef object _look_for_poison(self, Packet packet)
    cdef object _before_free(self, Packet packet)
    cdef object _look_behind_reserved(self, Packet packet)
    cdef object _tell_of_mixing(self, Packet packet)
    cdef object _look_at_locks(self, str what)
    cdef int _available(self) noexcept
    cdef int _reading(self) noexcept
    cdef void _note_low_water(self) noexcept
    cdef object _share(self, list lanes)
    cdef void _recall(self) noexcept
    cdef void _spill(self, Lane lane, int count) noexcept
    cdef bint _to_lane(self, int index) noexcept
    cdef int _take(self, Lane lane, int *into, int wanted) except -1
    cdef void _untake(self, Lane lane, int *indices, int first, int behind) noexcept
    cdef void _clear(self, Packet packet) noexcept
    cdef void _put_back(self, Packet packet) noexcept
    cdef bint _release_alone(self, object packets, object key) except -1
    cdef void _look_at_ways(self) noexcept
    cdef inline void _on_stack(self, Packet packet) noexcept
    cdef unsigned char *_shadow_of(self, Py_ssize_t index) noexcept
