/* SPDX-License-Identifier: MIT */
#ifndef WEIR_CLIENT_CARRIER_H
#define WEIR_CLIENT_CARRIER_H

#include <weir/experimental/client.h>

#include "http/stream.h"

/*
 * Where an exchange's stream comes from and goes to: the seam between the exchange, which knows no protocol, and the
 * connections. The client's own is a pool of HTTP/1.1 connections.
 */
struct weir__carrier_want {
    struct weir_view host;
    uint16_t port;
    bool fresh; /* nothing that was used before: it has just failed */
    bool sure;  /* one that was used before is looked at first: there will be no second try */
};

struct weir__carrier_ops {
    /*
     * A stream for one request, ready for weir__stream_begin(). *ret_reused: whether its connection had been used.
     * Returns 0 or an error, with `error` filled in. A cancel of the fiber's scope ends it with WEIR_ECANCELED.
     * Context: fiber, suspends.
     */
    int (*take)(void *arg, const struct weir__carrier_want *want, struct weir__stream **ret,
                bool *ret_reused, struct weir_error *error);
    /* The exchange is over: the connection is kept if it may be used again, else closed. Context: loop or fiber. */
    void (*put)(void *arg, struct weir__stream *stream);
    /* The exchange is given up: the connection, or its part of it, closes at once. Context: loop or fiber. */
    void (*close)(void *arg, struct weir__stream *stream);
};

/* Has the client use another carrier (borrowed), before its first exchange. Context: any thread. */
void weir__client_set_carrier(struct weir_client *client, const struct weir__carrier_ops *ops,
                              void *arg);

#endif
