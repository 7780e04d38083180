# C types of vnic/wire.py
cimport cython

from vnic.buffer cimport Buffer
from vnic.packet cimport Packet


cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <unistd.h>

    enum { VNIC_FRAMES = 128, VNIC_MOST_PIECES = 16, VNIC_ROOM = 512, VNIC_SMALL = 8192 };

    typedef struct {
        int frames, used, failed;
        int counts[VNIC_FRAMES];
        int failures[VNIC_FRAMES];
        struct iovec pieces[VNIC_ROOM];
    } vnic_burst;

    static CYTHON_UNUSED void vnic_piece(struct iovec *piece, void *at, size_t size)
    {
        piece->iov_base = at;
        piece->iov_len = size;
    }

    /* Write one frame that is in one piece; 0, or the errno. */
    static CYTHON_UNUSED int vnic_write(int fd, const void *frame, size_t size)
    {
        /* not by `write`, which makes sure each time that the thread could be cancelled */
        while (syscall(SYS_write, fd, frame, size) < 0)
            if (errno != EINTR)
                return errno;
        return 0;
    }

    /* The same in several pieces. Up to 8 KiB it is cheaper to copy them together than to let the kernel pick them up. */
    static CYTHON_UNUSED int vnic_write_pieces(int fd, const struct iovec *pieces, int count)
    {
        char whole[VNIC_SMALL];
        size_t size = 0;
        int i;
        for (i = 0; i < count; size += pieces[i++].iov_len) {
            if (pieces[i].iov_len > sizeof whole - size) {
                while (writev(fd, pieces, count) < 0)
                    if (errno != EINTR)
                        return errno;
                return 0;
            }
            memcpy(whole + size, pieces[i].iov_base, pieces[i].iov_len);
        }
        return vnic_write(fd, whole, size);
    }

    /* Write frames in order until there is no room below; those that were not tried have failed in the same way. */
    static CYTHON_UNUSED void vnic_write_burst(int fd, vnic_burst *burst)
    {
        const struct iovec *pieces = burst->pieces;
        int i, failure = 0;
        for (i = 0; i < burst->frames; i++) {
            int count = burst->counts[i];
            if (failure != EAGAIN)
                failure = count == 1 ? vnic_write(fd, pieces->iov_base, pieces->iov_len) : vnic_write_pieces(fd, pieces, count);
            burst->failures[i] = failure;
            burst->failed |= failure;
            pieces += count;
        }
    }
    """
    struct iovec:
        pass
    ctypedef struct vnic_burst:
        int frames
        int used
        int failed
        int *counts
        int *failures
        iovec *pieces
    int EIO
    void vnic_piece(iovec *piece, void *at, size_t size) nogil
    int vnic_write(int fd, const void *frame, size_t size) nogil
    int vnic_write_pieces(int fd, const iovec *pieces, int count) nogil
    void vnic_write_burst(int fd, vnic_burst *burst) nogil

cdef int FRAMES, MOST_PIECES, ROOM, VIRTIO_SIZE


@cython.final
cdef class Burst:
    # not in the object itself, where it would be filled with zeroes each time
    cdef vnic_burst *_burst
    cdef object _kept
    cdef bint _written
    cdef bint _headed

    cdef object add(self, Packet packet)
    cdef object write(self, int fd)
    cdef bint complete(self) noexcept

    # for each frame, and so without a call; the same as in vnic/wire.py

    cdef inline int failure(self, int position) noexcept:
        return self._burst.failures[position] if self._written else EIO


cdef int put(int fd, Packet packet, bint headed) except -1
cdef inline int spread(Packet packet, iovec *pieces, bint headed) except -1
