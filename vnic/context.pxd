# C types of vnic/context.py
cimport cython
from cpython.object cimport PyObject

from vnic.lane cimport Lane


cdef extern from *:
    """
    /* The context of this thread, once it has one; what a thread has for itself is found in fewer steps than by its number. */
    static CYTHON_UNUSED __thread PyObject *vnic_own_context;

    static CYTHON_UNUSED PyObject *vnic_remembered(void)
    {
        return vnic_own_context;
    }

    static CYTHON_UNUSED void vnic_remember(PyObject *context)
    {
        vnic_own_context = context;
    }
    """
    PyObject *vnic_remembered()
    void vnic_remember(PyObject *context)


@cython.final
cdef class Context:
    cdef readonly unsigned long ident
    cdef readonly list held
    cdef readonly unsigned long long calls
    cdef readonly long long idle_ns
    cdef public long long pause_began_ns
    cdef readonly object pauses
    cdef public object unmet
    # where it is, see `place_of`
    cdef long long _place
    cdef public Lane lane
    cdef public int nested
    cdef readonly list indicating
    # the bindings, by slot, that were shown a frame on this thread and are owed a receive_complete
    cdef unsigned char _saw[128]

    cdef int _slot(self) noexcept
    cdef void _batch_begins(self, long long idle_ns) noexcept
    cdef long long _enter(self, int slot, int what, int level) noexcept

    # for each frame and driver, and so without a call; the same as in vnic/context.py

    cdef inline long long _enter_at(self, long long place) noexcept:
        cdef long long before = self._place
        self._place = place | (before & 0xFFFF)
        self.calls = self.calls + 1
        return before | ((place & 0xFF0000) << 32)

    cdef inline bint _leave(self, long long before) noexcept:
        cdef long long place = self._place
        self._place = (before & 0xFFFFFFFF0000LL) | (place & 0xFFFF)
        if self.unmet is not None:
            self.unmet = None
        return (place ^ before) & 0xFFFF != 0 or (place ^ (before >> 32)) & 0xFF0000 != 0


cdef Context _here()
cdef Context _begin_thread()
cdef long long place_of(int slot, int what, int level) noexcept
