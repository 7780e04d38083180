# C types of vnic/queue.py
cimport cython

from vnic.context cimport Context, _here
from vnic.lane cimport Lane
from vnic.large cimport LargeBuffers
from vnic.ledger cimport Ledger
from vnic.packet cimport Packet
from vnic.pool cimport PacketPool
from vnic.receive cimport Receiving
from vnic.steps cimport Step, _cpu, _now, _step, _wall
from vnic.superframes cimport Superframes
from vnic.uring cimport Uring, vnic_fill, vnic_ring
from vnic.virtio cimport Headers, vnic_virtio


cdef extern from *:
    """
    #include <errno.h>
    #include <sys/uio.h>
    #include <unistd.h>

    /* Read frames with virtio headers, each into the uppermost large buffer, and what is short enough on into its slot. With the last large
       buffer the batch ends, unless there was none. Answers the number of frames. `release`: without the GIL. */
    static CYTHON_UNUSED int vnic_fill_superframes(int fd, unsigned char *memory, Py_ssize_t slot, int *indices, int *lengths, int wanted,
                                                   int *failure, vnic_virtio *virtio, int *numbers, unsigned char *large, Py_ssize_t stride,
                                                   Py_ssize_t size, int *stack, int *ready, int release)
    {
        int count = 0, begun = *ready;
        PyThreadState *released = release ? PyEval_SaveThread() : NULL;
        while (count < wanted && (*ready || !begun)) {
            unsigned char *own = memory + indices[count] * slot, *into = *ready ? large + stack[*ready - 1] * stride : NULL;
            struct iovec pieces[2] = {{virtio + count, sizeof *virtio}, {own, (size_t)slot}};
            ssize_t length = into ? read(fd, into, (size_t)size) : readv(fd, pieces, 2);
            if (length < 0) {
                if (errno == EINTR)
                    continue;
                *failure = errno;
                break;
            }
            if (length < (ssize_t)sizeof *virtio)
                memset(virtio + count, 0, sizeof *virtio);
            else if (into)
                memcpy(virtio + count, into, sizeof *virtio);
            length = length < (ssize_t)sizeof *virtio ? 0 : length - (ssize_t)sizeof *virtio;
            if (into && length < slot)
                memcpy(own, into + sizeof *virtio, (size_t)length);
            lengths[count] = (int)length;
            numbers[count++] = into && length >= slot ? stack[--*ready] : -1;
        }
        if (released)
            PyEval_RestoreThread(released);
        return count;
    }
    """
    int vnic_fill_superframes(int fd, unsigned char *memory, Py_ssize_t slot, int *indices, int *lengths, int wanted, int *failure,
                              vnic_virtio *virtio, int *numbers, unsigned char *large, Py_ssize_t stride, Py_ssize_t size, int *stack,
                              int *ready, int release)

cdef int DO_RECLAIM, OWNED, MOST_LARGE, FEWEST, READY, NOTHING_LEFT
cdef Py_ssize_t LARGE_SIZE, LARGE_STRIDE
cdef int RX_FRAMES, RX_BYTES, RX_BATCHES, RX_DROPPED_NO_PACKET, RX_DROPPED_FAULT, RX_DROPPED_TRUNCATED


@cython.final
cdef class Queue:
    cdef readonly Receiving adapter
    cdef readonly Lane lane
    cdef readonly int number
    cdef readonly int fd
    cdef readonly bint reading
    cdef readonly bint several
    # packets were low when the last batch ended
    cdef bint _low
    # how it is read; NULL: by read()
    cdef Uring _uring
    cdef vnic_ring *_ring
    # a batch: the packets of its frames, and their lengths
    cdef int _indices[256]
    cdef int _lengths[256]
    # with offload: the virtio header of each, and the large buffer that it is in, or -1; and those that may be read into
    cdef Superframes _superframes
    cdef Headers _headers
    cdef vnic_virtio _virtio[256]
    cdef int _numbers[256]
    cdef int _large[64]
    # with offload: how many packets the next read takes
    cdef int _wanted
    # the last read: packets that were taken for it, and the errno that ended it, or 0
    cdef int _taken
    cdef int _failure

    cdef object _attach(self, int fd, Uring ring, Superframes superframes)
    cdef int receive_batch(self, int budget) except? -1
    cdef int _receive_batch(self, int budget) except? -1
    cdef int _read_and_indicate(self, int budget) except? -1
    cdef int _go_on(self, int budget, int free, long long now, Step step, Context here) except? -1
    cdef int _read(self, int budget, bint release) except? -1
    cdef void _indicate_batch(self, int count, long long now, Step step, Context here)
    cdef bint _runs_low(self, int rest) except -1
    cdef object _show_before(self, list together, int first, int end, Context here)
    cdef bint _prepare(self, Packet packet, int position) except? -1
    cdef int _read_superframes(self, int fd, int taken, bint release) except? -1
    cdef void _give_up(self, Packet packet, int done, int count)
    cdef int _discard(self, int budget) except? -1
