# C types of vnic/virtio.py
cimport cython


cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <stdint.h>
    #include <string.h>

    typedef struct { uint8_t flags, kind; uint16_t headers, size, start, offset; } vnic_virtio;

    /* The one's complement sum of 16-bit numbers, the first byte of each being the upper one. */
    static CYTHON_UNUSED unsigned vnic_sum(const unsigned char *p, size_t size)
    {
        uint64_t a = 0, b = 0;
        uint32_t word[8];
        uint16_t half;
        while (size >= sizeof word) {
            memcpy(word, p, sizeof word);
            a += (uint64_t)word[0] + word[1] + word[2] + word[3];
            b += (uint64_t)word[4] + word[5] + word[6] + word[7];
            p += sizeof word;
            size -= sizeof word;
        }
        a += b;
        while (size >= 2) {
            memcpy(&half, p, 2);
            a += half;
            p += 2;
            size -= 2;
        }
        if (size) {
            half = 0;
            memcpy(&half, p, 1);
            a += half;
        }
        while (a >> 16)
            a = (a & 0xFFFF) + (a >> 16);
        return ntohs((uint16_t)a);
    }
    """
    ctypedef struct vnic_virtio:
        unsigned char flags
        unsigned char kind
        unsigned short headers
        unsigned short size
        unsigned short start
        unsigned short offset
    unsigned vnic_sum(const unsigned char *p, size_t size) nogil

# the others are Python's, too
cdef int NEEDS_CHECKSUM, CHECKED, NO_SUPERFRAME, TCP4, TCP6, UDP, ECN, RIGHT, WRONG
cdef unsigned int IPV4, IPV6, VLAN, SERVICE_VLAN, OVER_TCP, OVER_UDP, HOP_BY_HOP, ROUTING, DESTINATION
cdef int ETHERNET


cdef int checked(vnic_virtio *virtio, Py_ssize_t length) noexcept
cdef unsigned int number(unsigned char *p, Py_ssize_t at) noexcept
cdef void put_number(unsigned char *p, Py_ssize_t at, unsigned int value) noexcept
cdef unsigned int folded(unsigned long long total) noexcept
cdef unsigned int added(unsigned char *p, Py_ssize_t start, Py_ssize_t end) noexcept
cdef void complete(unsigned char *p, Py_ssize_t length, Py_ssize_t start, Py_ssize_t offset) noexcept


@cython.final
cdef class Headers:
    cdef Py_ssize_t network
    cdef Py_ssize_t transport
    cdef Py_ssize_t payload
    cdef Py_ssize_t end
    cdef int version
    cdef bint udp

    cdef bint find(self, unsigned char *p, Py_ssize_t size, Py_ssize_t length) noexcept
    cdef bint _find_payload(self, unsigned char *p, Py_ssize_t size, Py_ssize_t at, unsigned int protocol) noexcept
    cdef int kind(self) noexcept
    cdef int offset(self) noexcept
