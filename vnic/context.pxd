# C types of vnic/context.py
cimport cython


cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


cdef Context _LAST


@cython.final
cdef class Context:
    cdef readonly unsigned long ident
    cdef readonly list held
    cdef readonly unsigned long long calls
    cdef public long long batch_cpu_ns
    cdef public long long pause_began_ns
    cdef readonly object pauses
    cdef public object unmet
    # where it is, see `place_of`; `vnic/binding.py` and `vnic/batch.py` set it themselves, where each frame comes by
    cdef long long _place

    cdef int _slot(self) noexcept
    cdef long long _enter(self, int slot, int what, int level) noexcept
    cdef bint _leave(self, long long before) noexcept


cdef Context _here()
cdef long long place_of(int slot, int what, int level) noexcept
