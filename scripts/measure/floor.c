/*
 * The floor: what a bare loop on a TAP costs in C, and the sender that fills the TAP's queue for it.
 * Built by the programs beside it with the system's C compiler, called through ctypes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <pthread.h>
#include <sched.h>
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

enum { MAX_APART = 16, CORES_KNOWN = 1024 };

struct apart {
    int fd, core;
    pthread_barrier_t *together;
    long long start, end, spent;
    int got;
};

static void *drain_alone(void *arg)
{
    struct apart *mine = arg;
    unsigned char own_slot[2048];
    cpu_set_t cores;
    if (mine->core >= 0 && mine->core < CORES_KNOWN) {
        CPU_ZERO(&cores);
        CPU_SET(mine->core, &cores);
        pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);
    }
    pthread_barrier_wait(mine->together);
    long long spent = now_ns(CLOCK_THREAD_CPUTIME_ID);
    mine->start = now_ns(CLOCK_MONOTONIC);
    while (read(mine->fd, own_slot, sizeof own_slot) > 0)
        mine->got++;
    mine->end = now_ns(CLOCK_MONOTONIC);
    mine->spent = now_ns(CLOCK_THREAD_CPUTIME_ID) - spent;
    return NULL;
}

/*
 * Drain several descriptors until nothing is left, each by a thread of its own on its own core, all from the same moment on. Answers the
 * nanoseconds that passed until the last was done; the frames through *got, and through *spent the processor time of all threads.
 */
long long drain_apart(const int *fds, const int *cores, int count, int *got, long long *spent)
{
    struct apart each[MAX_APART] = {0};
    pthread_t threads[MAX_APART];
    pthread_barrier_t together;
    long long start = 0, end = 0;
    *got = 0;
    *spent = 0;
    if (count > MAX_APART || pthread_barrier_init(&together, NULL, count))
        return 0;
    for (int i = 0; i < count; i++) {
        each[i] = (struct apart){.fd = fds[i], .core = cores[i], .together = &together};
        if (pthread_create(&threads[i], NULL, drain_alone, &each[i]))
            return 0;
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        start = i == 0 || each[i].start < start ? each[i].start : start;
        end = each[i].end > end ? each[i].end : end;
        *got += each[i].got;
        *spent += each[i].spent;
    }
    pthread_barrier_destroy(&together);
    return end - start;
}

/* Send a frame of IPv4 and UDP `count` times, from each of some ports in turn. Answers how many the kernel took. */
int fill_flows(int socket, int ifindex, unsigned char *frame, int length, const unsigned short *ports, int flows, int count)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = ifindex, .sll_halen = 6};
    int sent;
    memcpy(to.sll_addr, frame, 6);
    for (sent = 0; sent < count; sent++) {
        frame[34] = ports[sent % flows] >> 8;
        frame[35] = ports[sent % flows] & 255;
        if (sendto(socket, frame, length, 0, (struct sockaddr *)&to, sizeof to) != length)
            break;
    }
    return sent;
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
