/* SPDX-License-Identifier: MIT */
/* TCP reads and writes on edge-triggered readiness, and the pace that bounds what the kernel holds for a reader. */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define WEIR__RCVBUF_LOCK 2            /* SOCK_RCVBUF_LOCK of the kernel */
#define FIRST_RECEIVE_BYTES (40 << 10) /* the kernel doubles it */
#define SLOW_READ_BYTES ((size_t)32 << 10)

const struct weir__pace weir__pace_default = {
    .slow_bytes = 32 << 10,
    .fast_bytes = 1 << 20,
    .fast_chunk = 512 << 10,
    .fast_after = 1 << 20,
    .stall_reset_us = 10000,
    .stall_slow_us = 50000,
};

static uint32_t or_default(uint32_t given, uint32_t otherwise)
{
    return given != 0 ? given : otherwise;
}

struct weir__pace weir__pace_with(const struct weir__pace *given)
{
    const struct weir__pace *base = &weir__pace_default;

    return (struct weir__pace){
        .slow_bytes = or_default(given->slow_bytes, base->slow_bytes),
        .fast_bytes = or_default(given->fast_bytes, base->fast_bytes),
        .fast_chunk = or_default(given->fast_chunk, base->fast_chunk),
        .fast_after = or_default(given->fast_after, base->fast_after),
        .stall_reset_us = or_default(given->stall_reset_us, base->stall_reset_us),
        .stall_slow_us = or_default(given->stall_slow_us, base->stall_slow_us),
    };
}

/* What may be unsent. For a fast reader of a file twice as much, for it takes no memory but that of the page cache. */
static uint32_t bound_of(const struct weir__tcp *tcp)
{
    return tcp->fast ? tcp->pace->fast_bytes << tcp->of_file : tcp->pace->slow_bytes;
}

static void set_lowat(struct weir__tcp *tcp)
{
    uint32_t bytes = bound_of(tcp);

    setsockopt(tcp->watch.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

/*
 * The kernel tunes a receive buffer by how fast it is emptied. The first bytes of a stream are always fast: they fill the
 * buffers of a client, however slow it is, and the buffer towards the upstream has tripled before anybody can know. So it
 * is held at its first size until the sink has proved to be fast. Unlike SO_RCVBUF this neither shrinks a window that was
 * advertised nor lasts. Kernels before 5.14 do not know it.
 */
static void set_held(struct weir__tcp *tcp, bool held)
{
    int locks = held ? WEIR__RCVBUF_LOCK : 0;

    tcp->held =
        setsockopt(tcp->watch.fd, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof(locks)) == 0 && held;
}

/*
 * A size set before connect() would also cap the window for good, for its scale is chosen then: hence the lock that
 * SO_RCVBUF leaves behind is taken away again at once.
 */
void weir__tcp_begin_small(int fd)
{
    int bytes = FIRST_RECEIVE_BYTES;
    int locks = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, &(socklen_t){sizeof(locks)}) == 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
        locks = 0;
        setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof(locks));
    }
}

void weir__tcp_hold(struct weir__tcp *tcp)
{
    if (!tcp->held && !tcp->grown) {
        set_held(tcp, true);
    }
}

bool weir__tcp_hold_again(struct weir__tcp *tcp)
{
    int bytes = 0;

    if (tcp->grown) {
        getsockopt(tcp->watch.fd, SOL_SOCKET, SO_RCVBUF, &bytes, &(socklen_t){sizeof(bytes)});
        if (bytes > 2 * FIRST_RECEIVE_BYTES) {
            return false;
        }
        tcp->grown = false;
        set_held(tcp, true);
    }
    return true;
}

void weir__tcp_let_grow(struct weir__tcp *tcp)
{
    if (tcp->held) {
        set_held(tcp, false);
        tcp->grown = true;
    }
}

void weir__tcp_prepare_listener(int fd, const struct weir__pace *pace)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &pace->slow_bytes, sizeof(pace->slow_bytes));
}

int weir__tcp_init_accepted_take(struct weir__tcp *tcp, struct weir__loop *loop, int fd,
                                 const struct weir__pace *pace)
{
    int r;

    *tcp = (struct weir__tcp){.loop = loop, .pace = pace != NULL ? pace : &weir__pace_default};
    r = weir__watch_open(loop, &tcp->watch, fd);
    if (r < 0) {
        tcp->watch.fd = -1;
        close(fd);
        return r;
    }
    return 0;
}

int weir__tcp_init_take(struct weir__tcp *tcp, struct weir__loop *loop, int fd,
                        const struct weir__pace *pace)
{
    int r = weir__tcp_init_accepted_take(tcp, loop, fd, pace);

    if (r == 0) {
        weir__tcp_prepare_listener(fd, tcp->pace); /* what an accepted one inherits */
        weir__tcp_hold(tcp);
    }
    return r;
}

void weir__tcp_close(struct weir__tcp *tcp)
{
    weir__watch_close(tcp->loop, &tcp->watch);
}

void weir__tcp_reset(struct weir__tcp *tcp)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (tcp->watch.fd >= 0) {
        setsockopt(tcp->watch.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        weir__tcp_close(tcp);
    }
}

/* The error of a failed call as one of ours; EAGAIN clears the readiness bit that lied. */
static int failed(struct weir__tcp *tcp, uint8_t bit)
{
    switch (errno) {
    case EAGAIN:
        tcp->watch.ready &= (uint8_t)~bit;
        return WEIR_EAGAIN;
    case EINTR:
        return WEIR_EAGAIN; /* the bit stays: the caller comes again */
    case EPIPE:
    case ECONNRESET:
        tcp->native = errno;
        return WEIR_ERESET;
    default:
        tcp->native = errno;
        return WEIR_EIO;
    }
}

int weir__tcp_read(struct weir__tcp *tcp, uint8_t *data, size_t size, size_t *ret_len)
{
    ssize_t got;

    /* Heads are read by 16 KiB, whatever the pace. */
    if (size > tcp->pace->slow_bytes && size > SLOW_READ_BYTES) {
        weir__tcp_let_grow(tcp);
    }
    got = recv(tcp->watch.fd, data, size, 0);

    if (got < 0) {
        return failed(tcp, WEIR__CAN_READ);
    }
    if (got == 0) {
        return 0;
    }
    /* A short read has emptied the socket, unless a FIN or an error waits behind the bytes. */
    if ((size_t)got < size && !(tcp->watch.ready & (WEIR__PEER_FIN | WEIR__PEER_GONE))) {
        tcp->watch.ready &= (uint8_t)~WEIR__CAN_READ;
    }
    tcp->received += (uint64_t)got;
    *ret_len = (size_t)got;
    return 1;
}

static void expect(struct weir__tcp *tcp, bool of_file)
{
    if (tcp->of_file != of_file) {
        tcp->of_file = of_file;
        if (tcp->fast) {
            set_lowat(tcp);
        }
    }
}

static int went_out(struct weir__tcp *tcp, ssize_t done, size_t *ret_len)
{
    if (done < 0) {
        return failed(tcp, WEIR__CAN_WRITE);
    }
    tcp->sent += (uint64_t)done;
    tcp->smooth_bytes = (uint64_t)done < UINT32_MAX - tcp->smooth_bytes
                            ? tcp->smooth_bytes + (uint32_t)done
                            : UINT32_MAX;
    *ret_len = (size_t)done;
    return done == 0 ? WEIR_EAGAIN : 0;
}

int weir__tcp_writev(struct weir__tcp *tcp, const struct iovec *iov, int count, size_t *ret_len)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};

    expect(tcp, false);
    if (count == 1) {
        return went_out(tcp, send(tcp->watch.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL),
                        ret_len);
    }
    return went_out(tcp, sendmsg(tcp->watch.fd, &message, MSG_NOSIGNAL), ret_len);
}

int weir__tcp_splice_out(struct weir__tcp *tcp, int pipe_fd, size_t size, size_t *ret_len)
{
    expect(tcp, false);
    return went_out(
        tcp, splice(pipe_fd, NULL, tcp->watch.fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK),
        ret_len);
}

int weir__tcp_sendfile(struct weir__tcp *tcp, int fd, uint64_t offset, size_t size, size_t *ret_len)
{
    off_t at = (off_t)offset;
    ssize_t done;

    expect(tcp, true);
    done = sendfile(tcp->watch.fd, fd, &at, size);

    if (done == 0) {
        *ret_len = 0;
        return 0;
    }
    if (done < 0) {
        switch (errno) {
        case EIO: /* of reading: whoever reads it will say so */
        case EINVAL:
        case ENOMEM:
        case ENOSYS:
        case EOVERFLOW:
            return WEIR_EUNSUPPORTED;
        default:
            break;
        }
    }
    return went_out(tcp, done, ret_len);
}

void weir__tcp_note_stall(struct weir__tcp *tcp)
{
    if (!tcp->stalled) {
        tcp->stalled = true;
        tcp->stalled_at_us = weir__loop_clock_us(tcp->loop);
    }
}

/* Draws the conclusion from a stall that has ended. */
static void judge(struct weir__tcp *tcp)
{
    const struct weir__pace *pace = tcp->pace;

    if (tcp->stalled) {
        int64_t waited_us = weir__loop_clock_us(tcp->loop) - tcp->stalled_at_us;

        tcp->stalled = false;
        if (waited_us >= pace->stall_reset_us) {
            tcp->smooth_bytes = 0;
        }
        if (waited_us >= pace->stall_slow_us && tcp->fast) {
            tcp->fast = false;
            set_lowat(tcp);
        }
    }
    if (!tcp->fast && tcp->smooth_bytes > pace->fast_after) {
        tcp->fast = true;
        set_lowat(tcp);
    }
}

int weir__tcp_room(struct weir__tcp *tcp, size_t *ret_room)
{
    uint32_t bound, enough;
    uint64_t unsent;

    judge(tcp);
    bound = bound_of(tcp);
    /* The kernel wakes a writer when less than half of the bound is unsent. */
    enough = tcp->fast ? bound : bound / 2;
    /* It is asked only when what was sent since could have filled that. */
    unsent = (uint64_t)tcp->unsent + ((uint32_t)tcp->sent - tcp->unsent_at);
    if (unsent >= enough) {
        int now = 0;

        ioctl(tcp->watch.fd, SIOCOUTQNSD, &now);
        tcp->unsent = (uint32_t)now;
        tcp->unsent_at = (uint32_t)tcp->sent;
        unsent = tcp->unsent;
        if (unsent >= enough) {
            return WEIR_EAGAIN;
        }
    }
    /* Beyond the bound the kernel would take a part of a write only, and the rest would lie in our memory. */
    *ret_room =
        tcp->fast ? (size_t)tcp->pace->fast_chunk << tcp->of_file : (size_t)(bound - unsent);
    return 0;
}

void weir__tcp_arm_writable(struct weir__tcp *tcp)
{
    weir__tcp_note_stall(tcp);
    tcp->watch.ready &= (uint8_t)~WEIR__CAN_WRITE;
    weir__watch_rearm(tcp->loop, &tcp->watch);
}

int weir__tcp_wait_room(struct weir__tcp *tcp, int64_t deadline_us, size_t *ret_room)
{
    int r = weir__tcp_room(tcp, ret_room);

    if (r == 0) {
        return 0;
    }
    do {
        weir__tcp_arm_writable(tcp);
        r = weir__watch_wait_writable(&tcp->watch, deadline_us);
    } while (r == 0 && !(tcp->watch.ready & WEIR__PEER_GONE) && weir__tcp_room(tcp, ret_room) < 0);
    if (r == 0 && (tcp->watch.ready & WEIR__PEER_GONE)) {
        *ret_room = tcp->pace->slow_bytes; /* the write will tell */
    }
    return r;
}

enum weir_reason weir__tcp_gone(struct weir__tcp *tcp)
{
    if (tcp->native != 0 || (tcp->watch.ready & WEIR__PEER_GONE)) {
        return WEIR_REASON_RESET;
    }
    return tcp->watch.ready & WEIR__PEER_FIN ? WEIR_REASON_FIN : WEIR_REASON_NONE;
}
