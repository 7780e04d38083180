# C types of vnic/binding.py
cimport cython
from cpython.object cimport PyObject

from vnic.context cimport Context, _here, place_of
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.steps cimport Step, _cpu, _now, _step, answer_of
from vnic.typed cimport TypedDriver, typed, vnic_ask

cdef int INDICATED, OWNED, MULTICAST, ALL_MULTICAST, EVERYTHING, MAX_REFERENCES
cdef int AT_DISPATCH, IN_RECEIVE_PACKET, IN_RECEIVE, IN_RECEIVE_COMPLETE
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
cdef bint is_packet(object given) noexcept
cdef object forget(Context context, int slot)


@cython.final
cdef class Binding:
    cdef readonly object adapter
    cdef readonly object driver
    cdef readonly object name
    cdef readonly int slot
    cdef readonly unsigned long long delivered
    cdef readonly unsigned long long resources
    cdef readonly unsigned long long promised
    cdef readonly unsigned long long returned
    cdef public unsigned long long errors
    cdef public unsigned long long violations
    cdef readonly int sends_pending
    cdef readonly int transfers_pending
    cdef readonly bint opening
    cdef readonly bint closing
    cdef readonly bint dead
    cdef readonly bint closed
    cdef public bint no_loopback
    cdef public bint early_returns
    cdef Ledger _ledger
    cdef object _sends
    cdef int _filter
    cdef bint _filter_set
    cdef int _offload
    cdef bint _offload_set
    cdef frozenset _multicast
    # it was shown a frame without a packet, and is owed a receive_complete
    cdef bint _looked
    # its handlers that run now, on whatever thread, and must have ended before it is told of its end
    cdef int _inside
    # where a thread is in a handler of it, see `vnic/context.py`
    cdef long long _in_receive_packet
    cdef long long _in_receive_packets
    cdef list _looks
    cdef object _receive_packet
    cdef object _receive_packets
    cdef TypedDriver _typed
    cdef object _receive_code
    cdef object _receive
    cdef object _receive_complete
    cdef object _send_complete
    cdef public int verifier_level
    cdef public unsigned int quota
    cdef readonly unsigned long long over_quota
    cdef readonly unsigned long long busy_ns
    cdef bint _pended
    # what it held was taken back by force; it waits for what is below only
    cdef bint _forced
    cdef readonly dict _calls

    cdef bint _accepts(self, int kind, unsigned long long destination)
    cdef int _show(self, Packet packet, Context here) except -1
    cdef inline bint _keep_one(self, Packet packet) noexcept
    cdef object _raised(self, str handler)
    cdef int _show_otherwise(self, Packet packet, Context here) except -1
    cdef int _promise(self, Packet packet, int count, object answer, int views, str handler) except -1
    cdef void _show_over_quota(self, Packet packet, Context here)
    cdef void _timed(self, str handler, long long started, object packet)
    cdef void _left_unclean(self, str handler, Context here, long long before)
    cdef void _tell_of_views(self, Packet packet, int views)
    cdef void _tell_of_kept_views(self, Packet packet, int views)
    cdef void _show_and_copy(self, Packet packet, Context here)
    cdef object _look(self, object context, object packet, object header, object lookahead, object size)
    cdef void _look_ahead(self, object context, object header, object lookahead, object size)
    cdef object _looking_at(self, object context, str what)
    cdef void _end_batch(self, Context here)
    cdef object _require_sends(self)
    cdef object _before_send(self, str what)
    cdef object _take_back(self, Packet packet, Step step)

    # for each packet that is returned or replied to, and so without a call; the same as in vnic/binding.py

    cdef inline bint _owes_of(self, Packet packet) noexcept:
        return packet._owed[self.slot].promised > packet._owed[self.slot].returned + packet._owed[self.slot].replying

    cdef bint _owes(self)
    cdef void _enter(self) noexcept
    cdef bint _enter_open(self) noexcept
    cdef void _leave(self)
    cdef object _came_back(self)
    cdef object _broken_return(self, Packet packet)
    cdef bint _may_return_early(self, Packet packet)
