# C types of vnic/asking.py
cimport cython
from cpython.object cimport PyObject

from vnic.context cimport Context, _here
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.steps cimport _cpu, _now, answer_of
from vnic.typed cimport TypedDriver, vnic_ask

cdef int INDICATED, MULTICAST, ALL_MULTICAST, EVERYTHING, MAX_REFERENCES
cdef int AT_DISPATCH, IN_RECEIVE, IN_RECEIVE_COMPLETE
cdef long long SLOW_NS, TOO_SLOW_NS
cdef object NONE_KEPT, ONE_KEPT

cdef extern from *:
    """
    #ifndef VNIC_CALL
    #define VNIC_CALL
    /* Call a handler with one argument: a method's function with its object, as the method would do it, but on this stack frame. */
    static CYTHON_INLINE PyObject *vnic_call(PyObject *handler, PyObject *argument)
    {
        PyObject *arguments[3] = {NULL, NULL, argument};
        PyObject **first = arguments + 2;
        vectorcallfunc call;
        size_t count = 1;
        if (PyMethod_Check(handler)) {
            *--first = PyMethod_GET_SELF(handler);
            handler = PyMethod_GET_FUNCTION(handler);
            count = 2;
        }
        call = PyVectorcall_Function(handler);
        if (call == NULL)
            return PyObject_Vectorcall(handler, first, count, NULL);
        return call(handler, first, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    /* The result of such a call, for Cython: NULL is what the handler has raised. */
    static CYTHON_INLINE PyObject *vnic_own(PyObject *result)
    {
        return result;
    }
    #endif
    """
    PyObject *vnic_call(object handler, object argument)
    object vnic_own(PyObject *result)


cdef int counted(object answer) except? -2


cdef class Asking:
    cdef readonly object driver
    cdef readonly object name
    cdef readonly int slot
    cdef readonly unsigned long long delivered
    cdef readonly unsigned long long resources
    cdef readonly unsigned long long promised
    cdef readonly unsigned long long returned
    cdef readonly bint closing
    cdef readonly bint closed
    cdef public bint early_returns
    cdef Ledger _ledger
    cdef int _filter
    cdef frozenset _multicast
    # it was shown a frame without a packet, and is owed a receive_complete
    cdef bint _looked
    # where a thread is in a handler of it, see `vnic/context.py`
    cdef long long _in_receive_packet
    cdef list _looks
    cdef object _receive_packet
    cdef object _receive_packets
    cdef TypedDriver _typed
    cdef object _receive_code
    cdef object _receive
    cdef object _receive_complete
    cdef public int verifier_level
    cdef public unsigned int quota
    cdef readonly unsigned long long over_quota
    cdef readonly unsigned long long busy_ns

    @cython.final
    cdef bint _accepts(self, int kind, unsigned long long destination)
    @cython.final
    cdef int _show(self, Packet packet, Context here) except -1
    @cython.final
    cdef inline bint _keep_one(self, Packet packet) noexcept
    @cython.final
    cdef object _raised(self, str handler)
    @cython.final
    cdef int _show_otherwise(self, Packet packet, Context here) except -1
    @cython.final
    cdef int _promise(self, Packet packet, int count, object answer, int views, str handler) except -1
    @cython.final
    cdef void _show_over_quota(self, Packet packet, Context here)
    @cython.final
    cdef void _timed(self, str handler, long long started, object packet)
    @cython.final
    cdef void _left_unclean(self, str handler, Context here, long long before)
    @cython.final
    cdef void _tell_of_views(self, Packet packet, int views)
    @cython.final
    cdef void _tell_of_kept_views(self, Packet packet, int views)
    @cython.final
    cdef void _show_and_copy(self, Packet packet, Context here)
    @cython.final
    cdef object _look(self, object context, object packet, object header, object lookahead, object size)
    @cython.final
    cdef void _look_ahead(self, object context, object header, object lookahead, object size)
    @cython.final
    cdef object _looking_at(self, object context, str what)
    @cython.final
    cdef void _end_batch(self, Context here)
