/* SPDX-License-Identifier: MIT */
/*
 * The carrier over TCP, and the idle connections of one loop. A connection that says anything while idle, a FIN
 * included, is closed: nothing was asked of it. Invariant: a connection in the pool has no unread bytes and nothing
 * queued.
 */
#include "client/client.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/chunk.h"
#include "net/dial.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct pool {
    struct weir__loop_ext ext; /* key: the client */
    struct weir__loop *loop;
    struct weir_list idle; /* weir__client_conn.link, the last used first */
    size_t count;
};

static void conn_free(struct weir__client_conn *conn)
{
    weir__timer_remove(&conn->wire.tcp.loop->timers, &conn->timer);
    /* A request that was cut short: its end must overtake what the peer has not read of it. */
    weir__h1_wire_finish(&conn->wire, !conn->wire.out_ended);
    weir__origin_leave(conn->origin);
    weir__h1_wire_drop(&conn->wire);
}

static void pool_destroy(struct weir__loop_ext *ext)
{
    struct pool *pool = weir_list_entry(ext, struct pool, ext);
    struct weir_list *link;

    while ((link = weir_list_pop_front(&pool->idle)) != NULL) {
        conn_free(weir_list_entry(link, struct weir__client_conn, link));
    }
    weir_free(pool);
}

static struct pool *pool_here(struct weir_client *client)
{
    struct weir__loop *loop = weir__loop_current();
    struct weir__loop_ext *ext = weir__loop_ext_find(loop, client);
    struct pool *pool;

    if (ext != NULL) {
        return weir_list_entry(ext, struct pool, ext);
    }
    pool = weir_alloc0(sizeof(*pool));
    if (pool != NULL) {
        pool->ext.key = client;
        pool->ext.destroy = pool_destroy;
        pool->loop = loop;
        weir_list_init(&pool->idle);
        weir__loop_ext_add(loop, &pool->ext);
    }
    return pool;
}

static void leave_pool(struct weir__client_conn *conn)
{
    struct pool *pool = pool_here(conn->client);

    weir_list_remove(&conn->link);
    conn->idle = false;
    pool->count--;
    weir__timer_stop(&conn->timer);
}

static void on_event(struct weir__watch *watch, uint8_t bits)
{
    struct weir__client_conn *conn =
        weir_list_entry(watch, struct weir__client_conn, wire.tcp.watch);

    if (!conn->idle) {
        weir__h1_wire_event(&conn->wire, bits);
    } else if (bits & WEIR__CAN_READ) {
        leave_pool(conn);
        conn_free(conn);
    }
}

static void idle_too_long(struct weir__timer *timer)
{
    struct weir__client_conn *conn = weir_list_entry(timer, struct weir__client_conn, timer);

    if (conn->idle) {
        leave_pool(conn);
        conn_free(conn);
    }
}

/* Whether nothing has come from an idle connection, not even its end. */
static bool is_quiet(struct weir__client_conn *conn)
{
    struct weir__tcp *tcp = &conn->wire.tcp;
    uint8_t byte;

    if (recv(tcp->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN ||
        weir__tcp_gone(tcp) != WEIR_REASON_NONE) {
        return false;
    }
    tcp->watch.ready &= (uint8_t)~WEIR__CAN_READ;
    return true;
}

/* An idle connection of that origin on this loop; NULL without one. `check`: looks whether it is still open. */
static struct weir__client_conn *find_idle(struct weir_client *client, struct weir__origin *origin,
                                           bool check)
{
    struct pool *pool = pool_here(client);
    struct weir_list *link;

    if (pool == NULL) {
        return NULL;
    }
    link = pool->idle.next;
    while (link != &pool->idle) {
        struct weir__client_conn *conn = weir_list_entry(link, struct weir__client_conn, link);

        link = link->next;
        if (conn->origin != origin) {
            continue;
        }
        leave_pool(conn);
        if (!check || is_quiet(conn)) {
            return conn;
        }
        conn_free(conn);
    }
    return NULL;
}

/* A new one on a connected descriptor (given). The count of the origin is the caller's to give back on failure. */
static int open_take(struct weir_client *client, struct weir__origin *origin, int fd,
                     struct weir__client_conn **ret)
{
    struct weir__client_conn *conn = weir_alloc0(sizeof(*conn));
    int r;

    if (conn == NULL) {
        close(fd);
        return WEIR_ENOMEM;
    }
    weir__h1_wire_init(&conn->wire);
    r = weir__tcp_init_take(&conn->wire.tcp, weir__loop_current(), fd, &client->pace);
    if (r < 0) {
        weir__h1_wire_drop(&conn->wire);
        return r;
    }
    conn->wire.tcp.watch.on_event = on_event;
    conn->wire.tcp.watch.ready |= WEIR__CAN_WRITE; /* it is connected: do not wait to be told */
    conn->wire.is_client = true;
    conn->client = client;
    conn->origin = origin;
    weir_list_init(&conn->link);
    weir__timer_init(&conn->timer, idle_too_long);
    *ret = conn;
    return 0;
}

static int fail(struct weir_error *error, int code, enum weir_reason reason, const char *where)
{
    *error = (struct weir_error){
        .code = code, .side = WEIR_SIDE_SOURCE, .reason = reason, .where = where};
    return code;
}

/* Waits for its turn, and connects, unless an idle connection comes along. */
static int dial(struct weir_client *client, struct weir__origin *origin,
                struct weir__client_conn **ret, bool *ret_reused, struct weir_error *error)
{
    int64_t timeout_ms = client->opts.dial_timeout_ms;
    int64_t deadline_us =
        timeout_ms == 0 ? WEIR__NEVER : weir__loop_current()->now_us + timeout_ms * 1000;
    struct weir__dial_opts opts = {
        .host = weir_str(origin->host), .port = origin->port, .deadline_us = deadline_us};
    int fd = -1;
    int r = weir__origin_enter(origin, client->opts.max_connections, deadline_us, ret);

    if (r < 0) {
        return fail(error, r, r == WEIR_ECANCELED ? WEIR_REASON_CANCELED : WEIR_REASON_LIMIT,
                    "connection limit");
    }
    *ret_reused = *ret != NULL;
    if (*ret != NULL) {
        return 0;
    }
    r = weir__dial(&opts, &fd, error);
    if (r < 0) {
        weir__origin_leave(origin);
        error->code = r;
        if (r == WEIR_ETIMEDOUT) {
            error->reason = WEIR_REASON_TIMEOUT;
        }
        return r;
    }
    r = open_take(client, origin, fd, ret);
    if (r < 0) {
        weir__origin_leave(origin);
        return fail(error, r, WEIR_REASON_NONE, "connect");
    }
    return 0;
}

static int pool_take(void *arg, const struct weir__carrier_want *want, struct weir__stream **ret,
                     bool *ret_reused, struct weir_error *error)
{
    struct weir_client *client = arg;
    struct weir__client_conn *conn = NULL;
    struct weir__origin *origin;
    int r = weir__origin_find(client, want->host, want->port, &origin);

    if (r < 0) {
        return fail(error, r, WEIR_REASON_NONE, "origin");
    }
    if (!want->fresh) {
        conn = find_idle(client, origin, want->sure);
    }
    *ret_reused = conn != NULL;
    r = conn != NULL ? 0 : dial(client, origin, &conn, ret_reused, error);
    if (r == 0) {
        weir__h1_wire_next(&conn->wire, &client->limits);
        weir__stall_begin(&conn->wire.stream.clock, WEIR__STALL_WAIT_SOURCE,
                          weir__loop_clock_us(conn->wire.tcp.loop));
        *ret = &conn->wire.stream;
    }
    return r;
}

static bool is_reusable(struct weir__client_conn *conn)
{
    struct weir__h1_wire *wire = &conn->wire;

    /* One that has grown for a fast reader would let its next body run megabytes ahead of a slow one. */
    return wire->keep && wire->in_done && wire->out_ended && wire->in == NULL &&
           wire->pending == NULL && wire->large == NULL && wire->tail == NULL &&
           weir__h1_wire_is_open(wire) &&
           !(wire->tcp.watch.ready & (WEIR__PEER_FIN | WEIR__PEER_GONE)) &&
           /* A body's last read takes no byte more, so that epoll may have told already of what lies behind it. */
           (!(wire->tcp.watch.ready & WEIR__CAN_READ) || is_quiet(conn)) &&
           weir__tcp_hold_again(&wire->tcp);
}

static void pool_put(void *arg, struct weir__stream *stream)
{
    struct weir__client_conn *conn = (struct weir__client_conn *)stream;
    struct pool *pool = pool_here(conn->client);
    struct weir__loop *loop = conn->wire.tcp.loop;
    int64_t until_us = loop->now_us + conn->client->opts.keepalive_ms * 1000;
    bool wanted = false;

    (void)arg;
    if (pool == NULL || !is_reusable(conn)) {
        weir__pool_close(conn);
        return;
    }
    weir__h1_wire_settle(&conn->wire);
    if (conn->client->opts.max_connections != 0 &&
        weir__origin_hand_over(conn->origin, conn, &wanted)) {
        return;
    }
    /* Another loop waits for what this one would keep. */
    if (wanted || pool->count >= conn->client->opts.max_idle ||
        weir__timer_start(&loop->timers, &conn->timer, until_us) < 0) {
        conn_free(conn);
        return;
    }
    conn->idle = true;
    weir_list_push_front(&pool->idle, &conn->link);
    pool->count++;
}

void weir__pool_close(struct weir__client_conn *conn)
{
    weir__h1_wire_settle(&conn->wire);
    conn_free(conn);
}

static void pool_close(void *arg, struct weir__stream *stream)
{
    (void)arg;
    weir__pool_close((struct weir__client_conn *)stream);
}

const struct weir__carrier_ops weir__pool_carrier = {
    .take = pool_take, .put = pool_put, .close = pool_close};
