/*
 * The floor: what a bare loop on a TAP costs in C, and the sender that fills the TAP's queue for it.
 * Built by the programs beside it with the system's C compiler, called through ctypes.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned char slot[131072];
static clockid_t chosen = CLOCK_MONOTONIC;

static long long now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Time by this clock from now on. */
void set_clock(int clock)
{
    chosen = clock;
}

/* Read frames until `want` are read or none is left. Answers the nanoseconds taken; the number read through *got. */
long long drain(int fd, int want, int *got)
{
    long long start = now_ns(chosen);
    int count = 0;
    while (count < want && read(fd, slot, sizeof slot) > 0)
        count++;
    *got = count;
    return now_ns(chosen) - start;
}

/* Read frames, swap the two addresses of each and write it back, until `want` are written or none is left. */
long long echo(int fd, int want, int *got)
{
    long long start = now_ns(chosen);
    unsigned char address[6];
    ssize_t length;
    int count = 0;
    while (count < want && (length = read(fd, slot, sizeof slot)) > 0) {
        memcpy(address, slot, 6);
        memcpy(slot, slot + 6, 6);
        memcpy(slot + 6, address, 6);
        if (write(fd, slot, length) != length)
            break;
        count++;
    }
    *got = count;
    return now_ns(chosen) - start;
}

/* Read whatever comes for so many nanoseconds, asking again when nothing is there. Answers the frames. */
long long drain_for(int fd, long long ns)
{
    long long end = now_ns(CLOCK_MONOTONIC) + ns, count = 0;
    do
        for (int i = 0; i < 64; i++)
            count += read(fd, slot, sizeof slot) > 0;
    while (now_ns(CLOCK_MONOTONIC) < end);
    return count;
}

/* Send one frame `count` times out of an interface. Answers how many the kernel took. */
int fill(int socket, int ifindex, const unsigned char *frame, int length, int count)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6};
    int sent = 0;
    memcpy(to.sll_addr, frame, 6);
    while (sent < count && sendto(socket, frame, length, 0, (struct sockaddr *)&to, sizeof to) == length)
        sent++;
    return sent;
}

/* The same through a socket with PACKET_VNET_HDR: a virtio header of ten bytes stands before the frame, and is not counted. */
int fill_superframes(int socket, int ifindex, const unsigned char *frame, int length, int count)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6};
    int sent = 0;
    memcpy(to.sll_addr, frame + 10, 6);
    while (sent < count && sendto(socket, frame, length, 0, (struct sockaddr *)&to, sizeof to) > 0)
        sent++;
    return sent;
}

/* Send one frame again and again for so many nanoseconds, whether there is room or not. Answers how many the kernel took. */
long long send_for(int socket, int ifindex, const unsigned char *frame, int length, long long ns)
{
    long long end = now_ns(CLOCK_MONOTONIC) + ns, sent = 0;
    do
        sent += fill(socket, ifindex, frame, length, 64);
    while (now_ns(CLOCK_MONOTONIC) < end);
    return sent;
}
