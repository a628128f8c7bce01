/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_CLIENT_PEER_H
#define WEIR_TESTS_CLIENT_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <weir/chunk.h>
#include <weir/experimental/client.h>
#include <weir/experimental/observe.h>
#include <weir/http.h>
#include <weir/rt.h>

#include "../net/net_test.h"

#define PEER_CONNS 512

/*
 * The other side of the client: a listener whose connections are played by script(), each in a thread with blocking
 * sockets. `number` counts them from 0. When script() returns, the connection is closed.
 */
struct peer {
    void (*script)(struct peer *peer, int fd, int number);
    int listener;
    uint16_t port;
    pthread_t acceptor;
    pthread_t threads[PEER_CONNS];
    int fds[PEER_CONNS];
    _Atomic int accepted, live, most_live;
    _Atomic int64_t gone_us; /* when a script saw the client leave */
    _Atomic uint64_t sent;
};

struct peer_conn {
    struct peer *peer;
    int number;
};

static inline void *peer_conn_main(void *arg)
{
    struct peer_conn *conn = arg;
    struct peer *peer = conn->peer;
    int fd = peer->fds[conn->number];

    peer->script(peer, fd, conn->number);
    atomic_fetch_sub(&peer->live, 1);
    close(fd);
    return NULL;
}

static inline void *peer_accept(void *arg)
{
    static struct peer_conn conns[PEER_CONNS];
    struct peer *peer = arg;

    for (int i = 0; i < PEER_CONNS; i++) {
        struct timeval patience = {.tv_sec = 20};
        int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
        int live;

        if (fd < 0) {
            break;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        conns[i] = (struct peer_conn){peer, i};
        peer->fds[i] = fd;
        live = atomic_fetch_add(&peer->live, 1) + 1;
        if (live > atomic_load(&peer->most_live)) {
            atomic_store(&peer->most_live, live);
        }
        atomic_fetch_add(&peer->accepted, 1);
        if (pthread_create(&peer->threads[i], NULL, peer_conn_main, &conns[i]) != 0) {
            abort();
        }
    }
    return NULL;
}

static inline void peer_start(struct peer *peer,
                              void (*script)(struct peer *peer, int fd, int number))
{
    *peer = (struct peer){.script = script};
    assert_int_equal(
        weir__listen(weir_str("127.0.0.1"), 0, 64, false, NULL, &peer->listener, &peer->port, NULL),
        0);
    /* The acceptor blocks. */
    assert_int_equal(fcntl(peer->listener, F_SETFL, 0), 0);
    assert_int_equal(pthread_create(&peer->acceptor, NULL, peer_accept, peer), 0);
}

static inline void peer_stop(struct peer *peer)
{
    shutdown(peer->listener, SHUT_RDWR);
    pthread_join(peer->acceptor, NULL);
    for (int i = 0; i < atomic_load(&peer->accepted); i++) {
        pthread_join(peer->threads[i], NULL);
    }
    close(peer->listener);
}

/* ---- what scripts are made of ---- */

/* Reads one head. False: the client has left before it. */
static inline bool peer_head(int fd)
{
    char head[1024];
    size_t len = 0;

    while (len < sizeof(head)) {
        if (recv(fd, head + len, 1, 0) != 1) {
            return false;
        }
        len++;
        if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool peer_send(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return false;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static inline bool peer_say(int fd, const char *text)
{
    return peer_send(fd, text, strlen(text));
}

/* Waits until the client has left. */
static inline void peer_wait_gone(struct peer *peer, int fd)
{
    char waste[1024];

    while (recv(fd, waste, sizeof(waste), 0) > 0) {
    }
    atomic_store(&peer->gone_us, weir_clock_us());
}

static inline void peer_reset_on_close(int fd)
{
    struct linger linger = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

#endif
