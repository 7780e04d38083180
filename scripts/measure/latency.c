/*
 * Round trips: a responder that blocks in read(), which is the floor, and a station that pings and takes the time.
 * Built by latency.py with the system's C compiler, called through ctypes, each from a thread of its own.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TYPE = 12, PROTOCOL = 23, SOURCE = 26, TARGET = 30, ICMP = 34, BYTES = 64 };

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void swap(unsigned char *a, unsigned char *b, int length)
{
    unsigned char kept[6];
    memcpy(kept, a, length);
    memcpy(a, b, length);
    memcpy(b, kept, length);
}

static unsigned short checksum(const unsigned char *bytes, int length)
{
    unsigned sum = 0;
    for (int i = 0; i < length; i += 2)
        sum += bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* Answer echo requests on a blocking TAP until it is closed; only those of `ping` below: no options, even length. */
void respond(int fd)
{
    unsigned char frame[2048];
    int length;
    while ((length = read(fd, frame, sizeof frame)) > 0) {
        if (length < ICMP + 8 || frame[TYPE] != 8 || frame[TYPE + 1] || frame[PROTOCOL] != IPPROTO_ICMP || frame[ICMP] != 8)
            continue;
        swap(frame, frame + 6, 6);
        swap(frame + SOURCE, frame + TARGET, 4);
        frame[ICMP] = 0;
        frame[ICMP + 2] = frame[ICMP + 3] = 0;
        unsigned short sum = checksum(frame + ICMP, length - ICMP & ~1);
        frame[ICMP + 2] = sum >> 8;
        frame[ICMP + 3] = sum & 255;
        if (write(fd, frame, length) != length)
            return;
    }
}

/* Ping an address `count` times through a raw ICMP socket; the nanoseconds of each round trip. Answers how many came back. */
int ping(int socket, const unsigned char *address, int count, long long *ns)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    unsigned char request[BYTES] = {8}, answer[2048];
    memcpy(&to.sin_addr, address, 4);
    for (int i = 0; i < count; i++) {
        request[6] = i >> 8;
        request[7] = i;
        request[2] = request[3] = 0;
        unsigned short sum = checksum(request, BYTES);
        request[2] = sum >> 8;
        request[3] = sum & 255;
        long long start = now_ns();
        if (sendto(socket, request, BYTES, 0, (struct sockaddr *)&to, sizeof to) != BYTES)
            return i;
        int length;
        do {
            if ((length = recv(socket, answer, sizeof answer, 0)) < 0)
                return i;
        } while (length < 28 || memcmp(answer + 12, address, 4) || answer[20] || memcmp(answer + 26, request + 6, 2));
        ns[i] = now_ns() - start;
    }
    return count;
}
