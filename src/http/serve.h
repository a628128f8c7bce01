/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_SERVE_H
#define WEIR_HTTP_SERVE_H

#include <weir/experimental/observe.h>
#include <weir/server.h>

#include "http/stream.h"
#include "net/tcp.h"

/*
 * What every wire of a server shares, whatever it speaks: the handler, limits, clocks, counts. Read-only once the
 * server runs, but for the counts.
 */
struct weir__serve {
    struct weir_server_opts opts; /* with the defaults filled in */
    struct weir__limits limits;
    struct weir__pace pace;
    void (*on_reject)(const struct weir_reject *reject, void *arg);
    void *on_reject_arg;
    _Atomic bool draining;
    _Atomic uint64_t connections, streams, accepted, requests, refused;
};

/* The part of one loop. */
struct weir__serve_loop {
    struct weir__serve *serve;
    struct weir__loop *loop;
    struct weir_list connections; /* struct weir__connection.link */
    _Atomic uint64_t live;        /* their number; other loops look at it to balance */
    void (*emptied)(
        struct weir__serve_loop *serve_loop); /* draining and the last connection is gone */
};

/* A connection of any wire, embedded by it. */
struct weir__connection {
    struct weir_list link;
    struct weir__serve_loop *serve_loop;
    /* Asked to end: at once when idle, else after the present message. */
    void (*drain)(struct weir__connection *connection);
    /* Has to end now. */
    void (*kill)(struct weir__connection *connection);
};

void weir__connection_add(struct weir__serve_loop *serve_loop, struct weir__connection *connection);
void weir__connection_remove(struct weir__connection *connection);

/* Counts a stream in: 0, or WEIR_ELIMIT / WEIR_EBUDGET when there is no room for one more. */
int weir__serve_admit(struct weir__serve *serve);
void weir__serve_leave(struct weir__serve *serve);

/* Tells the observer of a message that no handler saw. */
void weir__serve_reject(struct weir__serve *serve, int fd, int status,
                        const struct weir_error *error);

/* The peer of a connected socket as text: "127.0.0.1:4711", "[::1]:4711". Returns the length. */
size_t weir__peer_text(int fd, char *text, size_t size);

#endif
