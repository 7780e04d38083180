# C types of vnic/uring.py
cimport cython

from vnic.pool cimport PacketPool


cdef extern from *:
    """
    #include <errno.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    #if defined(__has_include) && defined(__NR_io_uring_setup)
    #if __has_include(<linux/io_uring.h>)
    #include <linux/io_uring.h>
    #define VNIC_HAS_URING 1
    #endif
    #endif
    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 8
    #endif

    #ifndef VNIC_URING
    #define VNIC_URING
    enum { VNIC_RING_READS = 32, VNIC_FIRST_READS = 4 };

    typedef struct {
        int fd;         /* -1: there is no ring, or none any more */
        int file;       /* what is read */
        int broken;     /* the errno for which it is not used any more */
        unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
        unsigned sq_mask, cq_mask;
        void *rings, *entries, *results;
        size_t rings_size, entries_size;
        unsigned long long calls, reads;
    } vnic_ring;

    #ifdef VNIC_HAS_URING
    /*
     * Make a ring for reads of one file into one block of memory, which is registered. 0 or -errno.
     *
     * The file is not: the ring of a process that was killed lives on for a moment, and with it would the interface.
     */
    static CYTHON_UNUSED int vnic_ring_open(vnic_ring *ring, int file, void *memory, size_t size)
    {
        struct io_uring_params set = {0};
        struct iovec block = {memory, size};
        size_t sq, cq;
        unsigned *array, i;
        int error;
        memset(ring, 0, sizeof *ring);
        if ((ring->fd = syscall(__NR_io_uring_setup, VNIC_RING_READS, &set)) < 0)
            return -errno;
        if (!(set.features & IORING_FEAT_SINGLE_MMAP)) {
            error = -ENOSYS;
            goto failed;
        }
        sq = set.sq_off.array + set.sq_entries * sizeof(unsigned);
        cq = set.cq_off.cqes + set.cq_entries * sizeof(struct io_uring_cqe);
        ring->rings_size = sq > cq ? sq : cq;
        ring->entries_size = set.sq_entries * sizeof(struct io_uring_sqe);
        ring->rings = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
        if (ring->rings == MAP_FAILED) {
            error = -errno;
            ring->rings = NULL;
            goto failed;
        }
        ring->entries = mmap(NULL, ring->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
        if (ring->entries == MAP_FAILED) {
            error = -errno;
            ring->entries = NULL;
            goto failed;
        }
        ring->sq_head = (unsigned *)((char *)ring->rings + set.sq_off.head);
        ring->sq_tail = (unsigned *)((char *)ring->rings + set.sq_off.tail);
        ring->sq_mask = *(unsigned *)((char *)ring->rings + set.sq_off.ring_mask);
        ring->cq_head = (unsigned *)((char *)ring->rings + set.cq_off.head);
        ring->cq_tail = (unsigned *)((char *)ring->rings + set.cq_off.tail);
        ring->cq_mask = *(unsigned *)((char *)ring->rings + set.cq_off.ring_mask);
        ring->results = (char *)ring->rings + set.cq_off.cqes;
        array = (unsigned *)((char *)ring->rings + set.sq_off.array);
        for (i = 0; i < set.sq_entries; i++)
            array[i] = i;
        ring->file = file;
        if (syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS, &block, 1) < 0) {
            error = -errno;
            goto failed;
        }
        return 0;
    failed:
        close(ring->fd);
        ring->fd = -1;
        return error;
    }

    /* Let the memory go at once, not when the kernel gets round to it; a forked child only closes what it shares. */
    static CYTHON_UNUSED void vnic_ring_close(vnic_ring *ring, int shared)
    {
        int fd = ring->fd;
        ring->fd = -1;
        if (fd < 0)
            return;
        if (!shared)
            syscall(__NR_io_uring_register, fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
        close(fd);
    }

    /*
     * Read `count` times, each into its own place, in one system call; results[i] is a length or -errno. 0 or -errno.
     *
     * RWF_NOWAIT: a read that finds nothing ends with -EAGAIN. So none is under way when this returns, whatever the descriptor's flags:
     * the memory may go as soon as the call is over.
     */
    static CYTHON_UNUSED int vnic_ring_read(vnic_ring *ring, unsigned char *memory, Py_ssize_t slot, size_t length, const int *indices,
                                            int *results, int count)
    {
        unsigned tail = *ring->sq_tail, head, end;
        int i, done, missing;
        for (i = 0; i < count; i++) {
            struct io_uring_sqe *entry = (struct io_uring_sqe *)ring->entries + ((tail + i) & ring->sq_mask);
            memset(entry, 0, sizeof *entry);
            entry->opcode = IORING_OP_READ_FIXED;
            entry->fd = ring->file;
            entry->off = (uint64_t)-1;
            entry->addr = (uint64_t)(uintptr_t)(memory + (indices == NULL ? 0 : indices[i]) * slot);
            entry->len = length;
            entry->rw_flags = RWF_NOWAIT;
            entry->user_data = i;
            results[i] = -EAGAIN;
        }
        __atomic_store_n(ring->sq_tail, tail + count, __ATOMIC_RELEASE);
        do
            done = syscall(__NR_io_uring_enter, ring->fd, count, 0, 0, NULL, 0);
        while (done < 0 && errno == EINTR);
        if (done != count)
            /* what was not taken must not be submitted by the next call */
            __atomic_store_n(ring->sq_tail, __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
        if (done < 0)
            return -errno;
        for (missing = done; missing > 0;) {
            head = *ring->cq_head;
            end = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
            if (head == end) {
                /* it does not come to this; if it did, nothing may be under way when this returns */
                if (syscall(__NR_io_uring_enter, ring->fd, 0, missing, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
                    return -errno;
                continue;
            }
            for (; head != end; head++, missing--) {
                struct io_uring_cqe *result = (struct io_uring_cqe *)ring->results + (head & ring->cq_mask);
                if (result->user_data < (uint64_t)count)
                    results[result->user_data] = result->res;
            }
            __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
        }
        ring->calls++;
        ring->reads += done;
        return 0;
    }
    #else
    static CYTHON_UNUSED int vnic_ring_open(vnic_ring *ring, int file, void *memory, size_t size)
    {
        (void)file, (void)memory, (void)size;
        memset(ring, 0, sizeof *ring);
        ring->fd = -1;
        return -ENOSYS;
    }

    static CYTHON_UNUSED void vnic_ring_close(vnic_ring *ring, int shared)
    {
        (void)ring, (void)shared;
    }

    static CYTHON_UNUSED int vnic_ring_read(vnic_ring *ring, unsigned char *memory, Py_ssize_t slot, size_t length, const int *indices,
                                            int *results, int count)
    {
        (void)ring, (void)memory, (void)slot, (void)length, (void)indices, (void)results, (void)count;
        return -ENOSYS;
    }
    #endif

    static CYTHON_UNUSED void vnic_ring_free(vnic_ring *ring)
    {
        vnic_ring_close(ring, 1);
        if (ring->entries != NULL)
            munmap(ring->entries, ring->entries_size);
        if (ring->rings != NULL)
            munmap(ring->rings, ring->rings_size);
        ring->entries = ring->rings = NULL;
    }

    /*
     * Read frames into slots, one each, in the order of their coming, until `wanted` are read or none is left. How many; *failure says
     * why there are no more. What was read into stands first in `indices` when this returns.
     *
     * By the system call itself: read() of the C library, in a process with threads, makes sure for each call that it could be cancelled,
     * with two locked instructions. The first few not through the ring, since most batches are small and a read that finds nothing costs as much as one that does; then through
     * the ring, if there is one: as many as there were already, at most 32.
     */
    static CYTHON_UNUSED int vnic_fill(vnic_ring *ring, int fd, unsigned char *memory, Py_ssize_t slot, int *indices, int *lengths,
                                       int wanted, int *failure)
    {
        int count = 0;
        while (count < wanted && *failure == 0) {
            if (ring == NULL || ring->fd < 0 || ring->broken || count < VNIC_FIRST_READS) {
                ssize_t length = syscall(SYS_read, fd, memory + indices[count] * slot, slot);
                if (length >= 0)
                    lengths[count++] = (int)length;
                else if (errno != EINTR)
                    *failure = errno;
                continue;
            }
            int results[VNIC_RING_READS];
            int size = wanted - count < count ? wanted - count : count;
            int i, first = count, error;
            size = size < VNIC_RING_READS ? size : VNIC_RING_READS;
            error = vnic_ring_read(ring, memory, slot, slot, indices + first, results, size);
            if (error < 0) {
                ring->broken = -error;
                continue;
            }
            for (i = 0; i < size; i++) {
                if (results[i] >= 0) {
                    /* a read that found nothing may stand before one that did: its slot goes behind */
                    int index = indices[first + i];
                    indices[first + i] = indices[count];
                    indices[count] = index;
                    lengths[count++] = results[i];
                } else if (results[i] == -EOPNOTSUPP || results[i] == -EINVAL) {
                    /* a file that cannot be read without waiting; nothing was taken from it */
                    ring->broken = -results[i];
                } else if (*failure == 0 || *failure == EAGAIN) {
                    *failure = results[i] == -EINTR ? EAGAIN : -results[i];
                }
            }
        }
        return count;
    }

    /* Read an eventfd `count` times by read(), and as often through a ring: nanoseconds for all of them. 0 or -errno. */
    static CYTHON_UNUSED int vnic_ring_race(vnic_ring *ring, int fd, unsigned char *memory, int count, long long *by_read, long long *by_ring)
    {
        struct timespec times[3];
        int results[VNIC_RING_READS], i, j, error;
        clock_gettime(CLOCK_MONOTONIC, times);
        for (i = 0; i < count * VNIC_RING_READS; i++)
            if (read(fd, memory, 8) != 8)
                return -errno;
        clock_gettime(CLOCK_MONOTONIC, times + 1);
        for (i = 0; i < count; i++) {
            if ((error = vnic_ring_read(ring, memory, 0, 8, NULL, results, VNIC_RING_READS)) < 0)
                return error;
            for (j = 0; j < VNIC_RING_READS; j++)
                if (results[j] != 8)
                    return results[j] < 0 ? results[j] : -EIO;
        }
        clock_gettime(CLOCK_MONOTONIC, times + 2);
        *by_read = (times[1].tv_sec - times[0].tv_sec) * 1000000000LL + times[1].tv_nsec - times[0].tv_nsec;
        *by_ring = (times[2].tv_sec - times[1].tv_sec) * 1000000000LL + times[2].tv_nsec - times[1].tv_nsec;
        return 0;
    }
    #endif
    """
    ctypedef struct vnic_ring:
        int fd
        int broken
        unsigned long long calls
        unsigned long long reads

    int vnic_ring_open(vnic_ring *ring, int file, void *memory, size_t size) nogil
    void vnic_ring_close(vnic_ring *ring, int shared) nogil
    void vnic_ring_free(vnic_ring *ring) nogil
    int vnic_ring_read(vnic_ring *ring, unsigned char *memory, Py_ssize_t slot, size_t length, const int *indices, int *results, int count) nogil
    int vnic_fill(vnic_ring *ring, int fd, unsigned char *memory, Py_ssize_t slot, int *indices, int *lengths, int wanted, int *failure) nogil
    int vnic_ring_race(vnic_ring *ring, int fd, unsigned char *memory, int count, long long *by_read, long long *by_ring) nogil
    enum: VNIC_RING_READS


@cython.final
cdef class Uring:
    cdef readonly PacketPool pool
    # the descriptor that it reads
    cdef readonly int fd
    cdef vnic_ring _ring
