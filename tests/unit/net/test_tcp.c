/* SPDX-License-Identifier: MIT */
/* The pace of a sending socket, and the size of a receiving one, on connections through the real kernel. */
#include "net_test.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <weir/rt.h>

#include "net/tcp.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define RECEIVE_LOCK 2
#define SLOW weir__pace_default.slow_bytes
#define FAST_AFTER weir__pace_default.fast_after

static int64_t clock_us;
static struct weir__loop *loop;
static struct weir__tcp tcp; /* accepted: the end that is tested */
static int peer_fd;          /* connected, non-blocking */
static uint8_t bytes[1 << 20];
static int fds_before;
static int64_t live_before;

static int64_t set_clock(void *arg)
{
    return *(int64_t *)arg;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static bool can_lock(void)
{
    int value;
    socklen_t len = sizeof(value);

    return getsockopt(peer_fd, SOL_SOCKET, SO_BUF_LOCK, &value, &len) == 0;
}

static size_t unsent(void)
{
    int now = -1;

    assert_int_equal(ioctl(tcp.watch.fd, SIOCOUTQNSD, &now), 0);
    return (size_t)now;
}

/*
 * A connection: *ret_here was accepted from a prepared listener, *ret_there connected. begin_small: what a dial does.
 * there_bytes: SO_RCVBUF of the peer, 0: the system's.
 */
static void connect_pair(bool begin_small, int there_bytes, int *ret_here, int *ret_there)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t port;
    int listener;
    int there = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(weir__listen(weir_str("127.0.0.1"), 0, 4, false, NULL, &listener, &port, NULL),
                     0);
    addr.sin_port = htons(port);
    if (begin_small) {
        weir__tcp_begin_small(there);
    }
    if (there_bytes != 0) {
        assert_int_equal(
            setsockopt(there, SOL_SOCKET, SO_RCVBUF, &there_bytes, sizeof(there_bytes)), 0);
    }
    assert_int_equal(connect(there, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(there, F_SETFL, O_NONBLOCK), 0);
    /* The handshake is over when connect() returns, but for the last step of this side. */
    for (int i = 0; i < 1000; i++) {
        *ret_here = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (*ret_here >= 0) {
            break;
        }
        usleep(1000);
    }
    assert_true(*ret_here >= 0);
    close(listener);
    *ret_there = there;
}

static int open_on(weir__clock_fn *clock, void *arg)
{
    int fd;

    fds_before = open_fds();
    live_before = weir__alloc_live();
    clock_us = 1000000;
    assert_int_equal(weir__loop_create(clock, arg, &loop), 0);
    connect_pair(false, 16384, &fd, &peer_fd);
    return weir__tcp_init_accepted_take(&tcp, loop, fd, NULL);
}

static int open_frozen(void **state)
{
    (void)state;
    return open_on(set_clock, &clock_us);
}

static int open_real(void **state)
{
    (void)state;
    return open_on(NULL, NULL);
}

static int close_all(void **state)
{
    (void)state;
    if (loop->live_fibers > 0) {
        return -1; /* a claim failed inside a fiber, which will not run home */
    }
    weir__tcp_close(&tcp);
    close(peer_fd);
    weir__loop_destroy(loop);
    return open_fds() == fds_before && weir__alloc_live() == live_before ? 0 : -1;
}

/* The peer reads what is there, at most so much. */
static size_t drain(int fd, size_t most)
{
    size_t total = 0;

    while (total < most) {
        size_t want = most - total < sizeof(bytes) ? most - total : sizeof(bytes);
        ssize_t got = recv(fd, bytes, want, 0);

        if (got <= 0) {
            break;
        }
        total += (size_t)got;
    }
    return total;
}

static void send_some(size_t len)
{
    struct iovec iov = {bytes, len};
    size_t done = 0;
    int r = weir__tcp_writev(&tcp, &iov, 1, &done);

    assert_true(r == 0 || r == WEIR_EAGAIN);
}

/* Sends as the room allows, and the peer takes all at once, until so much has gone. Claims the slow bound all the way. */
static void send_slowly(uint64_t len)
{
    uint64_t until = tcp.sent + len;

    for (int idle = 0; tcp.sent < until;) {
        size_t room;

        if (weir__tcp_room(&tcp, &room) == 0) {
            assert_false(tcp.fast);
            assert_true(unsent() + room <= SLOW);
            send_some(room < until - tcp.sent ? room : until - tcp.sent);
            idle = 0;
        } else {
            assert_true(idle++ < 5000);
            usleep(1000);
        }
        drain(peer_fd, SIZE_MAX);
    }
}

/* Sends until no room is left, to a peer that does not read. */
static void fill(void)
{
    size_t room;

    while (weir__tcp_room(&tcp, &room) == 0) {
        assert_in_range(room, 1, SLOW);
        assert_true(unsent() + room <= SLOW);
        send_some(room);
        assert_true(unsent() <= SLOW);
    }
    assert_true(unsent() >= SLOW / 2);
}

static bool is_fast(void)
{
    size_t room = 0;
    int r = weir__tcp_room(&tcp, &room);

    assert_int_equal(option(tcp.watch.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT),
                     tcp.fast ? weir__pace_default.fast_bytes : SLOW);
    if (tcp.fast) {
        assert_int_equal(r, 0);
        assert_int_equal(room, weir__pace_default.fast_chunk);
    } else if (r == 0) {
        assert_in_range(room, 1, SLOW);
    }
    return tcp.fast;
}

static void stall(int64_t us)
{
    weir__tcp_note_stall(&tcp);
    clock_us += us / 2;
    weir__tcp_note_stall(&tcp); /* the first one counts */
    clock_us += us - us / 2;
}

static void become_fast(void)
{
    send_slowly(FAST_AFTER + 1 - tcp.smooth_bytes);
    assert_true(is_fast());
}

/* ---- slow ---- */

static void no_more_than_the_slow_bound_is_unsent(void **state)
{
    (void)state;
    fill();
}

static void room_comes_back_below_the_half(void **state)
{
    int came_back = 0;
    int idle = 0;

    (void)state;
    fill();
    while (came_back < 3) {
        size_t before, room;
        int r;

        idle = drain(peer_fd, 1024) == 0 ? idle + 1 : 0;
        assert_true(idle < 5000);
        if (idle > 0) {
            usleep(1000);
        }
        /* It only shrinks meanwhile: what is claimed of before and after holds at the moment of the call. */
        before = unsent();
        r = weir__tcp_room(&tcp, &room);
        if (r == 0) {
            assert_true(unsent() < SLOW / 2);
            came_back++;
            fill();
        } else {
            assert_int_equal(r, WEIR_EAGAIN);
            assert_true(before >= SLOW / 2);
        }
    }
}

/* ---- fast and slow again ---- */

static void smooth_bytes_make_it_fast(void **state)
{
    size_t room;

    (void)state;
    assert_false(is_fast());
    send_slowly(FAST_AFTER);
    assert_false(is_fast());
    send_slowly(1);
    assert_true(is_fast());
    /* The bound is the fast one now. */
    for (int i = 0; weir__tcp_room(&tcp, &room) == 0; i++) {
        assert_true(i < 1000);
        assert_int_equal(room, weir__pace_default.fast_chunk);
        send_some(room);
        if (unsent() > SLOW) {
            return;
        }
    }
    fail();
}

static void a_stall_makes_it_slow(void **state)
{
    (void)state;
    become_fast();
    stall(weir__pace_default.stall_slow_us - 1);
    assert_true(is_fast());
    stall(weir__pace_default.stall_slow_us);
    assert_false(is_fast());
    assert_true(tcp.smooth_bytes == 0);
    send_slowly(FAST_AFTER); /* all of it anew */
    assert_false(is_fast());
    become_fast();
}

static void a_short_stall_only_restarts_the_count(void **state)
{
    (void)state;
    send_slowly(FAST_AFTER);
    stall(weir__pace_default.stall_reset_us - 1);
    assert_false(is_fast());
    assert_true(tcp.smooth_bytes == FAST_AFTER); /* shorter than that is none */
    stall(weir__pace_default.stall_reset_us);
    assert_false(is_fast());
    assert_true(tcp.smooth_bytes == 0);
    send_slowly(FAST_AFTER);
    assert_false(is_fast());
    become_fast();
    stall(weir__pace_default.stall_reset_us);
    assert_true(is_fast());
    assert_true(tcp.smooth_bytes == 0);
}

/* ---- waiting ---- */

static void read_late(void *arg)
{
    (void)arg;
    weir__fiber_suspend(loop->now_us + 80000);
    for (int i = 0; i < 2000 && tcp.stalled; i++) {
        drain(peer_fd, SIZE_MAX);
        weir__fiber_suspend(loop->now_us + 1000);
    }
}

static void wait_in_vain_and_for_room(void *arg)
{
    int64_t began_us = weir__loop_clock_us(loop);
    size_t room;

    fill();
    assert_int_equal(weir__tcp_wait_room(&tcp, began_us + 20000, &room), WEIR_ETIMEDOUT);
    assert_int_equal(weir__fiber_start(loop, read_late, NULL, NULL), 0);
    assert_int_equal(weir__tcp_wait_room(&tcp, began_us + 10000000, &room), 0);
    assert_in_range(room, SLOW / 2 + 1, SLOW);
    assert_in_range(weir__loop_clock_us(loop) - began_us, 80000, 5000000);
    assert_true(tcp.smooth_bytes == 0); /* the wait was a stall */
    *(bool *)arg = true;
}

static void room_is_waited_for(void **state)
{
    bool done = false;

    (void)state;
    assert_int_equal(weir__fiber_start(loop, wait_in_vain_and_for_room, &done, NULL), 0);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

static void reset_late(void *arg)
{
    struct linger linger = {.l_onoff = 1};

    (void)arg;
    weir__fiber_suspend(loop->now_us + 20000);
    setsockopt(peer_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(peer_fd);
    peer_fd = dup(0);
}

static void wait_for_who_leaves(void *arg)
{
    struct iovec iov = {bytes, 1};
    size_t room, done;

    fill();
    assert_int_equal(weir__fiber_start(loop, reset_late, NULL, NULL), 0);
    assert_int_equal(weir__tcp_wait_room(&tcp, loop->now_us + 10000000, &room), 0);
    assert_int_equal(weir__tcp_gone(&tcp), WEIR_REASON_RESET);
    assert_int_equal(weir__tcp_writev(&tcp, &iov, 1, &done), WEIR_ERESET);
    *(bool *)arg = true;
}

static void a_reset_ends_the_wait(void **state)
{
    bool done = false;

    (void)state;
    assert_int_equal(weir__fiber_start(loop, wait_for_who_leaves, &done, NULL), 0);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

/* ---- the receive buffer ---- */

struct sender {
    int fd;
    uint64_t left;
};

static void *send_much(void *arg)
{
    static const uint8_t piece[65536];
    struct sender *sender = arg;
    size_t len = sizeof(piece);

    while (sender->left > 0) {
        ssize_t sent =
            send(sender->fd, piece, sender->left < len ? sender->left : len, MSG_NOSIGNAL);

        if (sent > 0) {
            sender->left -= (uint64_t)sent;
        } else if (poll(&(struct pollfd){.fd = sender->fd, .events = POLLOUT}, 1, 10000) != 1) {
            break;
        }
    }
    return NULL;
}

/* Sends so much from `from`, read at once by `to`; the receive buffer of `to` afterwards. */
static int receive_much(int from, int to, uint64_t len)
{
    struct sender sender = {from, len};
    uint64_t total = 0;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, send_much, &sender), 0);
    while (total < len) {
        assert_int_equal(poll(&(struct pollfd){.fd = to, .events = POLLIN}, 1, 10000), 1);
        total += drain(to, SIZE_MAX);
    }
    pthread_join(thread, NULL);
    return option(to, SOL_SOCKET, SO_RCVBUF);
}

/* When it grows is the kernel's to say: it is given several chances. */
static bool grows_beyond(int from, int to, int size)
{
    for (int i = 0; i < 20; i++) {
        if (receive_much(from, to, 16 << 20) > size) {
            return true;
        }
    }
    return false;
}

/* Returns whether the kernel has grown the buffer once it was let. */
static bool hold_and_let_grow(void)
{
    int here, there, first;
    struct weir__tcp held;
    bool grew;

    connect_pair(true, 0, &here, &there);
    first = option(there, SOL_SOCKET, SO_RCVBUF);
    assert_int_equal(weir__tcp_init_take(&held, loop, there, NULL), 0);
    assert_true(held.held);
    assert_int_equal(option(there, SOL_SOCKET, SO_BUF_LOCK) & RECEIVE_LOCK, RECEIVE_LOCK);
    assert_int_equal(option(there, IPPROTO_TCP, TCP_NODELAY) != 0, 1);
    assert_int_equal(option(there, IPPROTO_TCP, TCP_NOTSENT_LOWAT), SLOW);
    assert_int_equal(receive_much(here, there, 1 << 20), first);
    weir__tcp_let_grow(&held);
    assert_true(held.grown);
    assert_false(held.held);
    assert_int_equal(option(there, SOL_SOCKET, SO_BUF_LOCK) & RECEIVE_LOCK, 0);
    grew = grows_beyond(here, there, first);
    weir__tcp_hold(&held); /* too late */
    assert_false(held.held);
    assert_int_equal(option(there, SOL_SOCKET, SO_BUF_LOCK) & RECEIVE_LOCK, 0);
    weir__tcp_close(&held);
    close(here);
    return grew;
}

static void a_held_buffer_keeps_its_size(void **state)
{
    bool grew = false;

    (void)state;
    if (!can_lock()) {
        skip();
    }
    /* Now and then a connection has settled on its size by then: another one has not. */
    for (int i = 0; i < 10 && !grew; i++) {
        grew = hold_and_let_grow();
    }
    assert_true(grew);
}

static void only_a_large_read_lets_it_grow(void **state)
{
    int here, there;
    struct weir__tcp held;
    size_t got;

    (void)state;
    if (!can_lock()) {
        skip();
    }
    connect_pair(true, 0, &here, &there);
    assert_int_equal(weir__tcp_init_take(&held, loop, there, NULL), 0);
    assert_int_equal(weir__tcp_read(&held, bytes, SLOW, &got), WEIR_EAGAIN);
    assert_true(held.held);
    assert_int_equal(weir__tcp_read(&held, bytes, SLOW + 1, &got), WEIR_EAGAIN);
    assert_false(held.held);
    assert_true(held.grown);
    weir__tcp_close(&held);
    close(here);
}

static int window_scale(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    memset(&info, 0, sizeof(info));
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_rcv_wscale;
}

static void a_small_beginning_caps_nothing(void **state)
{
    int here, there, plain_here, plain_there, first;

    (void)state;
    if (!can_lock()) {
        skip();
    }
    connect_pair(false, 0, &plain_here, &plain_there);
    connect_pair(true, 0, &here, &there);
    first = option(there, SOL_SOCKET, SO_RCVBUF);
    assert_int_equal(first, 2 * (40 << 10));
    assert_true(first < option(plain_there, SOL_SOCKET, SO_RCVBUF));
    assert_int_equal(option(there, SOL_SOCKET, SO_BUF_LOCK), 0);
    assert_int_equal(window_scale(there), window_scale(plain_there));
    assert_true(grows_beyond(here, there, 2 * first));
    close(here);
    close(there);
    close(plain_here);
    close(plain_there);
}

/* ---- accepted ---- */

static void accepted_ones_inherit(void **state)
{
    (void)state;
    assert_int_equal(option(tcp.watch.fd, IPPROTO_TCP, TCP_NODELAY) != 0, 1);
    assert_int_equal(option(tcp.watch.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), SLOW);
    assert_false(tcp.held);
}

int main(void)
{
#define FROZEN(test) cmocka_unit_test_setup_teardown(test, open_frozen, close_all)
#define REAL(test) cmocka_unit_test_setup_teardown(test, open_real, close_all)
    const struct CMUnitTest tests[] = {
        FROZEN(no_more_than_the_slow_bound_is_unsent),
        FROZEN(room_comes_back_below_the_half),
        FROZEN(smooth_bytes_make_it_fast),
        FROZEN(a_stall_makes_it_slow),
        FROZEN(a_short_stall_only_restarts_the_count),
        REAL(room_is_waited_for),
        REAL(a_reset_ends_the_wait),
        REAL(a_held_buffer_keeps_its_size),
        REAL(only_a_large_read_lets_it_grow),
        REAL(a_small_beginning_caps_nothing),
        REAL(accepted_ones_inherit),
    };

    return cmocka_run_group_tests_name("net tcp", tests, NULL, NULL);
}
