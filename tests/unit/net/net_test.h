/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_NET_TEST_H
#define WEIR_TESTS_NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/dial.h"
#include "net/listen.h"
#include "rt/loop.h"
#include "rt/scope.h"

/* What the tests of this folder share: a fiber on a fresh loop, and a count of descriptors and
 * blocks around it. */

static inline int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Runs entry(arg) in a fiber; nothing may be left behind. */
static inline void run_in_fiber(void (*entry)(void *arg), void *arg)
{
    struct weir__loop *loop;
    int fds = open_fds();
    int64_t live = weir__alloc_live();

    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, entry, arg, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
    assert_int_equal(open_fds(), fds);
    assert_true(weir__alloc_live() == live);
}

static inline int64_t now_us(void)
{
    return weir__loop_clock_us(weir__loop_current());
}

static inline int dial_for(const char *host, uint16_t port, int64_t patience_ms, int *ret_fd,
                           struct weir_error *ret_error)
{
    struct weir__dial_opts opts = {
        .host = weir_str(host),
        .port = port,
        .deadline_us = weir__loop_current()->now_us + patience_ms * 1000,
    };

    return weir__dial(&opts, ret_fd, ret_error);
}

/* A port of that address that nobody listens on: bound, so that nobody else gets it meanwhile. */
static inline int refused_port(uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

/* A listener whose queue is full: the next one to connect hears nothing. */
struct deaf {
    int fd, fillers[4];
    uint16_t port;
};

static inline void deaf_start(struct deaf *deaf, const char *host, uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);

    assert_int_equal(
        weir__listen(weir_str(host), port, 1, false, NULL, &deaf->fd, &deaf->port, NULL), 0);
    assert_int_equal(listen(deaf->fd, 0), 0);
    assert_int_equal(getsockname(deaf->fd, (struct sockaddr *)&addr, &len), 0);
    for (int i = 0; i < 4; i++) {
        deaf->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        WEIR_IGNORE(connect(deaf->fillers[i], (struct sockaddr *)&addr, sizeof(addr)));
    }
}

static inline void deaf_stop(struct deaf *deaf)
{
    for (int i = 0; i < 4; i++) {
        close(deaf->fillers[i]);
    }
    close(deaf->fd);
}

#endif
