/* SPDX-License-Identifier: MIT */
#ifndef WEIR_CLIENT_CLIENT_H
#define WEIR_CLIENT_CLIENT_H

#include <weir/experimental/client.h>

#include "client/carrier.h"
#include "h1/wire.h"

#include <pthread.h>

/*
 * Connections to origins. Idle ones wait in the pool of their loop; what loops share is an origin's count of
 * connections, and the queue of those who wait for one to become free.
 */
struct weir__origin {
    struct weir__origin *next; /* weir_client.origins */
    char host[256];
    uint16_t port;
    pthread_mutex_t mutex;
    size_t count;             /* open or being opened, all loops */
    struct weir_list waiting; /* struct weir__slot_waiter.link, first come first served */
};

struct weir_client {
    uint32_t magic;
    struct weir_client_opts opts; /* defaults filled in */
    struct weir__limits limits;
    struct weir__pace pace;
    const struct weir__carrier_ops *carrier;
    void *carrier_arg;
    pthread_mutex_t mutex;
    struct weir__origin *origins;
};

/* The origin's record, made when it is new. Returns 0, WEIR_EINVAL (too long a name), WEIR_ENOMEM. Any thread. */
int weir__origin_find(struct weir_client *client, struct weir_view host, uint16_t port,
                      struct weir__origin **ret);

/* Counts a connection in, waiting for its turn. Returns 0, perhaps with an idle connection that comes along (then it is
 * counted already), WEIR_ELIMIT (none became free), WEIR_ECANCELED. Context: fiber, suspends. */
struct weir__client_conn;
int weir__origin_enter(struct weir__origin *origin, size_t max, int64_t deadline_us,
                       struct weir__client_conn **ret_conn);
/* Counts one out, for the next who waits. Context: any thread. */
void weir__origin_leave(struct weir__origin *origin);
/* Gives a connection that has become idle to somebody of this loop who waits; false if there is nobody. *ret_wanted:
 * whether anybody waits at all. */
bool weir__origin_hand_over(struct weir__origin *origin, struct weir__client_conn *conn,
                            bool *ret_wanted);

/* One connection, idle in its loop's pool or carrying an exchange. */
struct weir__client_conn {
    struct weir__h1_wire wire; /* first */
    struct weir_client *client;
    struct weir__origin *origin;
    struct weir_list link; /* weir__pool.idle, by origin and time */
    struct weir__timer timer;
    bool idle;
};

/* The carrier over TCP: idle connections of this loop, or new ones. arg: the client. */
extern const struct weir__carrier_ops weir__pool_carrier;
/* Closes a connection. */
void weir__pool_close(struct weir__client_conn *conn);

#endif
