/* SPDX-License-Identifier: MIT */
/* Watched descriptors over socket pairs: edges, waiting, closing in the middle of a batch. */
#include "rt_test.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static int fds[2]; /* fds[0] is watched */
static struct weir__watch watch;

static void open_pair(void)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    watch = (struct weir__watch){.fd = -1};
    assert_int_equal(weir__watch_open(loop, &watch, fds[0]), 0);
}

/* Reads all there is, as a reader has to: to EAGAIN, then the bit is cleared. */
static size_t drain(void)
{
    char buffer[64];
    size_t total = 0;

    for (;;) {
        ssize_t got = read(watch.fd, buffer, sizeof(buffer));

        if (got > 0) {
            total += (size_t)got;
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            watch.ready &= (uint8_t)~WEIR__CAN_READ;
        }
        return total;
    }
}

/* ---- edges ---- */

static void read_edges(void *arg)
{
    assert_int_equal(weir__watch_wait_writable(&watch, WEIR__NEVER), 0);
    assert_int_equal(weir__watch_wait_readable(&watch, loop->now_us + 1000), WEIR_ETIMEDOUT);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    assert_int_equal(weir__watch_wait_readable(&watch, loop->now_us + 1000000), 0);
    /* The bit stays until somebody clears it. */
    assert_int_equal(weir__watch_wait_readable(&watch, 0), 0);
    assert_int_equal(drain(), 3);
    assert_int_equal(weir__watch_wait_readable(&watch, 0), WEIR_ETIMEDOUT);
    assert_null(watch.reader);
    assert_int_equal(write(fds[1], "d", 1), 1);
    assert_int_equal(weir__watch_wait_readable(&watch, WEIR__NEVER), 0);
    assert_int_equal(drain(), 1);
    assert_false(watch.ready & WEIR__PEER_FIN);
    shutdown(fds[1], SHUT_WR);
    assert_int_equal(weir__watch_wait_readable(&watch, WEIR__NEVER), 0);
    assert_true(watch.ready & WEIR__PEER_FIN);
    assert_false(watch.ready & WEIR__PEER_GONE);
    close(fds[1]);
    watch.ready = 0;
    assert_int_equal(weir__watch_wait_writable(&watch, WEIR__NEVER), 0);
    assert_true(watch.ready & WEIR__PEER_GONE);
    watch.ready &= (uint8_t)~WEIR__CAN_READ;
    assert_int_equal(weir__watch_wait_readable(&watch, WEIR__NEVER),
                     0); /* it will never wait again */
    *(bool *)arg = true;
}

static void edges(void **state)
{
    bool done = false;

    (void)state;
    open_pair();
    start(read_edges, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    weir__watch_close(loop, &watch);
    weir__watch_close(loop, &watch);
    assert_int_equal(watch.fd, -1);
}

/* ---- a full socket ---- */

static void fill_and_wait(void *arg)
{
    static const char block[4096];

    assert_int_equal(weir__watch_wait_writable(&watch, WEIR__NEVER), 0);
    while (write(watch.fd, block, sizeof(block)) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
    watch.ready &= (uint8_t)~WEIR__CAN_WRITE;
    assert_int_equal(weir__watch_wait_writable(&watch, loop->now_us + 1000), WEIR_ETIMEDOUT);
    *(bool *)arg = true;
    assert_int_equal(weir__watch_wait_writable(&watch, WEIR__NEVER), 0);
    *(bool *)arg = false;
}

static void empty_the_other_end(void *arg)
{
    char buffer[4096];

    while (!*(bool *)arg) {
        weir__fiber_suspend(loop->now_us + 1000);
    }
    while (read(fds[1], buffer, sizeof(buffer)) > 0) {
    }
}

static void a_full_socket_wakes_its_writer(void **state)
{
    bool waiting = false;

    (void)state;
    open_pair();
    start(fill_and_wait, &waiting);
    start(empty_the_other_end, &waiting);
    weir__loop_run_until_idle(loop);
    assert_false(waiting);
    weir__watch_close(loop, &watch);
    close(fds[1]);
}

/* ---- rearm ---- */

static void rearm_after_clearing(void *arg)
{
    assert_int_equal(write(fds[1], "abc", 3), 3);
    assert_int_equal(weir__watch_wait_readable(&watch, WEIR__NEVER), 0);
    watch.ready = 0; /* without having read to EAGAIN: no edge will come */
    assert_int_equal(weir__watch_wait_readable(&watch, loop->now_us + 1000), WEIR_ETIMEDOUT);
    weir__watch_rearm(loop, &watch);
    assert_int_equal(weir__watch_wait_readable(&watch, WEIR__NEVER), 0);
    *(bool *)arg = true;
}

static void rearm_asks_again(void **state)
{
    bool done = false;
    int fd;

    (void)state;
    open_pair();
    start(rearm_after_clearing, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    fd = weir__watch_release(loop, &watch);
    assert_int_equal(fd, fds[0]);
    assert_int_equal(weir__watch_release(loop, &watch), -1);
    assert_int_equal(write(fd, "x", 1), 1); /* still open */
    close(fd);
    close(fds[1]);
}

/* ---- events on the loop's stack ---- */

struct noted {
    struct weir__watch watch;
    int peer;
    int events;
    uint8_t bits;
};

#define PAIRS 8
static struct noted noted[PAIRS];

/* Whoever comes first closes all the others. */
static void close_the_others(struct weir__watch *mine, uint8_t bits)
{
    struct noted *self = (struct noted *)(void *)mine;

    assert_null(weir__fiber_current());
    self->events++;
    self->bits |= bits;
    if (!(bits & WEIR__CAN_READ)) {
        return;
    }
    for (int i = 0; i < PAIRS; i++) {
        if (&noted[i] != self) {
            weir__watch_close(loop, &noted[i].watch);
        }
    }
}

static void write_to_all(void *arg)
{
    (void)arg;
    weir__fiber_suspend(loop->now_us + 1000); /* the first edges are over */
    for (int i = 0; i < PAIRS; i++) {
        assert_int_equal(write(noted[i].peer, "x", 1), 1);
        noted[i].events = 0;
    }
    weir__fiber_suspend(loop->now_us + 1000);
}

static void closing_inside_a_batch(void **state)
{
    int told = 0;

    (void)state;
    for (int i = 0; i < PAIRS; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        noted[i] = (struct noted){.watch = {.on_event = close_the_others}, .peer = pair[1]};
        assert_int_equal(weir__watch_open(loop, &noted[i].watch, pair[0]), 0);
    }
    start(write_to_all, NULL);
    weir__loop_run_until_idle(loop);
    for (int i = 0; i < PAIRS; i++) {
        told += noted[i].events;
        weir__watch_close(loop, &noted[i].watch);
        close(noted[i].peer);
    }
    assert_int_equal(told, 1);
}

static void close_self(struct weir__watch *mine, uint8_t bits)
{
    if (bits & WEIR__PEER_FIN) {
        tell("fin");
        weir__watch_close(loop, mine);
    }
}

static void leave_the_peer(void *arg)
{
    (void)arg;
    weir__fiber_suspend(loop->now_us + 1000);
    assert_int_equal(write(fds[1], "bytes before", 12), 12);
    weir__fiber_suspend(loop->now_us + 1000);
    assert_string_equal(story, "");
    close(fds[1]);
    weir__fiber_suspend(loop->now_us + 1000);
    assert_string_equal(story, "fin");
    assert_int_equal(watch.fd, -1);
}

static void a_peer_that_leaves_is_noticed_behind_unread_bytes(void **state)
{
    (void)state;
    story[0] = 0;
    open_pair();
    watch.on_event = close_self;
    start(leave_the_peer, NULL);
    weir__loop_run_until_idle(loop);
}

static void bad_descriptors_are_refused(void **state)
{
    struct weir__watch bad = {.fd = -1};

    (void)state;
    assert_int_equal(weir__watch_open(loop, &bad, -1), WEIR_EIO);
    assert_int_equal(bad.fd, -1);
    weir__watch_close(loop, &bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_fake(edges),
        on_real(edges),
        on_fake(a_full_socket_wakes_its_writer),
        on_fake(rearm_asks_again),
        on_fake(closing_inside_a_batch),
        on_fake(a_peer_that_leaves_is_noticed_behind_unread_bytes),
        on_fake(bad_descriptors_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
