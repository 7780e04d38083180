/*
 * The floor: what a bare read() loop on a TAP costs, and the sender that fills the TAP's queue for it.
 * Built by scripts/bench with the system's C compiler, called through ctypes.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Read frames until `want` are read or none is left. Answers the nanoseconds taken; the number read through *got. */
long long drain(int fd, int want, int *got)
{
    static unsigned char slot[131072];
    long long start = now_ns();
    int count = 0;
    while (count < want && read(fd, slot, sizeof slot) > 0)
        count++;
    *got = count;
    return now_ns() - start;
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

/* Read frames, exchange their two addresses, write them back, until `want` are done or none is left. As above. */
long long echo(int fd, int want, int *got)
{
    static unsigned char slot[131072];
    unsigned char address[6];
    long long start = now_ns();
    int count = 0;
    ssize_t length;
    while (count < want && (length = read(fd, slot, sizeof slot)) > 0) {
        memcpy(address, slot, 6);
        memcpy(slot, slot + 6, 6);
        memcpy(slot + 6, address, 6);
        if (write(fd, slot, length) != length)
            break;
        count++;
    }
    *got = count;
    return now_ns() - start;
}
