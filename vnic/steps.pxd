# C types of vnic/steps.py
cimport cython


cdef extern from *:
    """
    /* The code of the innermost Python frame whose file is outside of a folder, and where in it; of the outermost, if none is. */
    static CYTHON_UNUSED PyObject *vnic_caller(const char *folder, Py_ssize_t size, int *at)
    {
        PyFrameObject *frame = PyEval_GetFrame();
        PyCodeObject *code;
        if (frame == NULL) {
            Py_RETURN_NONE;
        }
        Py_INCREF(frame);
        for (;;) {
            PyFrameObject *back;
            PyObject *name;
            code = PyFrame_GetCode(frame);
            *at = PyFrame_GetLasti(frame);
            name = code->co_filename;
            if (!PyUnicode_IS_ASCII(name) || PyUnicode_GET_LENGTH(name) < size || memcmp(PyUnicode_1BYTE_DATA(name), folder, size) != 0)
                break;
            back = PyFrame_GetBack(frame);
            if (back == NULL)
                break;
            Py_DECREF(frame);
            Py_DECREF(code);
            frame = back;
        }
        Py_DECREF(frame);
        return (PyObject *)code;
    }
    """
    object vnic_caller(const char *folder, Py_ssize_t size, int *at)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef bytes _LIBRARY_BYTES
cdef const char *_PREFIX
cdef Py_ssize_t _PREFIX_SIZE


@cython.final
@cython.no_gc
cdef class Step:
    cdef readonly str what
    cdef readonly object by
    cdef readonly int count
    cdef readonly long long ns
    cdef readonly unsigned long thread
    cdef object _code
    cdef int _at
    cdef list _deeper

    cdef object _begin(self, str what, object by, int count)


cdef int MONOTONIC, REALTIME, THREAD

cdef long long _clock(int which) noexcept nogil
cdef long long _now() noexcept nogil
cdef long long _wall() noexcept nogil
cdef long long _cpu() noexcept nogil
cdef Step answer_of(object by, object code, int count)
cdef Step _step(str what, object by, int level, int count)
