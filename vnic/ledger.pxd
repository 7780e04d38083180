# C types of vnic/ledger.py
cimport cython

from vnic.context cimport Context, _here
from vnic.guard cimport changed
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.steps cimport Step, _step

cdef int INDICATED, SENDING, DO_RECLAIM, RETURNED, DRIVER_ERRORS, VIOLATIONS, REFUSED, ENTRIES, MINIPORT, IN_RETURN_PACKET


@cython.final
cdef class Ledger:
    cdef public object name
    cdef object _report
    cdef object _reclaim
    cdef object _miniport
    # indications that are under way, on all threads
    cdef int _under_way
    # packets that have come home in an indication and are handed over when it ends; None but at verifier level 4
    cdef list _homeward
    cdef int _level
    cdef unsigned long long _counts[64]

    # for each frame, and so without a call; the same as in vnic/ledger.py

    cdef inline bint _home_plain(self, Packet packet) noexcept:
        cdef PacketPool pool
        cdef bint home
        if packet.views or (not packet._ordinary and packet._kept) or self._level >= 4 or self._reclaim is not None:
            return False
        pool = <PacketPool>packet.pool
        with cython.critical_section(pool, self):
            home = packet._change(DO_RECLAIM)
            if home:
                self._counts[RETURNED] = self._counts[RETURNED] + 1
                if not pool._free_plain(packet):
                    pool._put_back(packet)
        return home

    cdef object _begin(self)
    cdef object _end(self)
    cdef bint _indicating(self) except -1
    cdef object _copy(self, object into)
    cdef void _tell_of_views(self, Packet packet, object binding)
    cdef object _violation(self, object rule, object binding, object packet, str detail, dict more=*)
    cdef void _failed(self, object binding, str handler, object error)
    cdef void _home(self, Packet packet, object binding)
    cdef object _bring_home(self)
    cdef void _hand_home(self, Packet packet)
    cdef bint _reclaimed(self, Packet packet, object binding) except? -1
    cdef void _look_for_change(self, Packet packet, object binding)
    cdef void _record_error(self, object binding, str handler, object error)
    cdef object _require_no_locks(self, object binding, str what)
    cdef int _level_of(self, object binding) except -1
    cdef void _record(self, object error, object binding, object packet, dict more)
    cdef void _tell(self, str event, dict fields)
