/* SPDX-License-Identifier: MIT */
/*
 * The server's end of an HTTP/1.1 connection: reads heads on the loop's stack, starts a handler for each, and decides
 * what becomes of the connection afterwards. An idle connection has no fiber and no buffer. Pipelined requests are
 * answered one after the other.
 */
#include "h1/server.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/chunk.h"
#include "h1/compose.h"
#include "h1/wire_out.h"
#include "http/request.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum state {
    IDLE,    /* waits for a request's first byte */
    HEAD,    /* has a part of a head */
    RUNNING, /* a handler's fiber is on it */
    LINGER,  /* the last answer is sent; reads on so that the client can read it */
};

struct server_conn {
    struct weir__h1_wire wire; /* first: its stream is the connection's */
    struct weir__connection connection;
    struct weir__timer timer; /* IDLE, HEAD, LINGER */
    uint64_t lingered;
    uint8_t state;
    uint8_t peer_len;
    char peer[24];   /* its address, filled in when somebody asks; ... */
    char *peer_long; /* ... one of IPv6 */
};

static void process(struct server_conn *conn);

static struct server_conn *of_connection(struct weir__connection *connection)
{
    return weir_list_entry(connection, struct server_conn, connection);
}

static struct weir__serve *serve_of(struct server_conn *conn)
{
    return conn->connection.serve_loop->serve;
}

static void destroy(struct server_conn *conn, bool reset)
{
    weir__timer_remove(&conn->wire.tcp.loop->timers, &conn->timer);
    weir__h1_wire_settle(&conn->wire);
    weir__h1_wire_finish(&conn->wire, reset);
    weir__connection_remove(&conn->connection);
    weir_free(conn->peer_long);
    weir__h1_wire_drop(&conn->wire);
}

/* False: there was no memory for a clock, and without one the connection could last for ever: it has gone. */
static bool set_timer(struct server_conn *conn, int64_t ms)
{
    struct weir__loop *loop = conn->wire.tcp.loop;

    if (weir__timer_start(&loop->timers, &conn->timer, loop->now_us + ms * 1000) < 0) {
        destroy(conn, false);
        return false;
    }
    return true;
}

/* ---- the end of a connection ---- */

/* Reads and drops what the client still sends. */
static void linger_read(struct server_conn *conn)
{
    uint8_t waste[1024];

    for (;;) {
        size_t len;
        int r = weir__tcp_read(&conn->wire.tcp, waste, sizeof(waste), &len);

        if (r == WEIR_EAGAIN) {
            return;
        }
        conn->lingered += r == 1 ? len : 0;
        if (r != 1 || conn->lingered > serve_of(conn)->opts.drain_bytes) {
            destroy(conn, false);
            return;
        }
    }
}

/* Closes so that the client can still read the answer (RFC 9112 9.6). */
static void linger(struct server_conn *conn)
{
    if (!weir__h1_wire_is_open(&conn->wire)) {
        destroy(conn, false);
        return;
    }
    conn->state = LINGER;
    conn->wire.in = weir_chunk_unref(conn->wire.in);
    shutdown(conn->wire.tcp.watch.fd, SHUT_WR);
    if (set_timer(conn, serve_of(conn)->opts.drain_ms) &&
        (conn->wire.tcp.watch.ready & WEIR__CAN_READ)) {
        linger_read(conn);
    }
}

static const char *reject_text(int status)
{
    return weir__h1_reason(status);
}

/* Answers without a handler, and ends the connection. */
static void reject(struct server_conn *conn, int status, const struct weir_error *error)
{
    char text[512];
    struct iovec iov;
    size_t sent;
    int len;

    len = snprintf(text, sizeof(text),
                   "HTTP/1.1 %d %s\r\nDate: %.*s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                   "Content-Length: %zu\r\n%sConnection: close\r\n\r\n%s\n",
                   status, reject_text(status), (int)weir__http_date().len,
                   (const char *)weir__http_date().data, strlen(reject_text(status)) + 1,
                   status == 503 ? "Retry-After: 1\r\n" : "", reject_text(status));
    weir__serve_reject(serve_of(conn), conn->wire.tcp.watch.fd, status, error);
    if (len > 0 && (size_t)len < sizeof(text)) {
        iov = (struct iovec){text, (size_t)len};
        WEIR_IGNORE(weir__tcp_writev(&conn->wire.tcp, &iov, 1, &sent));
    }
    linger(conn);
}

/* ---- a request ---- */

static void send_continue(struct weir__stream *stream)
{
    enum weir__stall_state cause;

    if (!stream->begun && weir__h1_out_inform(stream, 100, NULL) == 0) {
        WEIR_IGNORE(weir__h1_out_flush(stream, &cause));
    }
}

/* Asked for once a connection, not once a request. */
static struct weir_view peer_text(struct weir_req *req)
{
    struct server_conn *conn = (struct server_conn *)req->stream;

    if (conn->peer_len == 0) {
        char text[WEIR__PEER_TEXT];
        size_t len = weir__peer_text(conn->wire.tcp.watch.fd, text, sizeof(text));

        if (len > sizeof(conn->peer)) {
            conn->peer_long = weir_alloc(len);
            if (conn->peer_long == NULL) {
                return weir_bytes(NULL, 0);
            }
        }
        memcpy(conn->peer_long != NULL ? conn->peer_long : conn->peer, text, len);
        conn->peer_len = (uint8_t)len;
    }
    return weir_bytes(conn->peer_long != NULL ? conn->peer_long : conn->peer, conn->peer_len);
}

/* Reads on after an early answer, within bounds. True when the body's end was reached. */
static bool drain_body(struct server_conn *conn)
{
    struct weir__stream *stream = &conn->wire.stream;
    struct weir__serve *serve = serve_of(conn);
    int64_t deadline = weir_after_ms(serve->opts.drain_ms);
    uint64_t left = serve->opts.drain_bytes;

    if (!conn->wire.keep && weir__h1_wire_is_open(&conn->wire)) {
        shutdown(conn->wire.tcp.watch.fd, SHUT_WR);
    }
    stream->in_limit = UINT64_MAX;
    while (!conn->wire.in_done && stream->gone == WEIR_REASON_NONE) {
        struct weir_chunk *chunk;
        int r = conn->wire.in_error < 0 ? conn->wire.in_error
                                        : stream->ops->read(stream, WEIR_CHUNK_BYTES, &chunk);

        if (r == WEIR_EAGAIN) {
            r = weir__stream_wait_read(stream, deadline, 0);
        } else if (r == 1) {
            size_t len = weir_chunk_len(chunk);

            weir_chunk_unref(chunk);
            r = len > left ? WEIR_ELIMIT : 0;
            left -= len > left ? left : len;
        }
        if (r < 0) {
            return false;
        }
    }
    return conn->wire.in_done;
}

static void next_message(void *arg)
{
    struct server_conn *conn = arg;

    conn->state = IDLE;
    if (set_timer(conn, serve_of(conn)->opts.keepalive_timeout_ms)) {
        process(conn);
    }
}

/* The handler has returned and its reply is over; runs on its fiber. */
static void finished(struct weir_req *req)
{
    struct server_conn *conn = (struct server_conn *)req->stream;
    struct weir__h1_wire *wire = &conn->wire;
    bool clean = wire->out_ended && wire->stream.ended && wire->stream.gone == WEIR_REASON_NONE;

    weir__serve_leave(serve_of(conn));
    if (!clean || !weir__h1_wire_is_open(wire)) {
        destroy(conn, !clean && !wire->stream.begun);
        return;
    }
    if (!wire->in_done) {
        bool asked = wire->stream.before_read != NULL;

        /* A client that waits for a 100 may send its body or not: what comes next cannot be told apart. */
        if (asked) {
            wire->keep = false;
        }
        if (!drain_body(conn)) {
            wire->keep = false;
        }
        if (wire->stream.gone != WEIR_REASON_NONE) {
            destroy(conn, false);
            return;
        }
    }
    if (!wire->keep) {
        linger(conn);
        return;
    }
    weir__h1_wire_settle(wire);
    weir__h1_wire_next(wire, &serve_of(conn)->limits);
    weir__fiber_call_on_loop(next_message, conn);
}

/* Starts the handler. Returns 0, or the status to turn the request away with. */
static int start(struct server_conn *conn, struct weir__h1_head *head, size_t head_len,
                 struct weir_error *error)
{
    struct weir__serve *serve = serve_of(conn);
    struct weir__h1_wire *wire = &conn->wire;
    uint64_t max = serve->opts.body_bytes;
    struct weir_req req;

    if (weir_view_equal(head->method, weir_str("CONNECT"))) {
        error->code =
            WEIR_EUNSUPPORTED; /* no tunnel is offered, and no other answer would be understood */
        return 501;
    }
    if (max != 0 && head->framing == WEIR__H1_LENGTH && head->length > max) {
        error->code = WEIR_ELIMIT;
        return 413;
    }
    error->code = weir__serve_admit(serve);
    if (error->code < 0) {
        return 503;
    }
    req = (struct weir_req){
        .stream = &wire->stream,
        .handler = serve->opts.handler,
        .arg = serve->opts.arg,
        .arrived_us = weir__loop_clock_us(wire->tcp.loop),
        .body_length = head->framing == WEIR__H1_CHUNKED ? WEIR_LENGTH_UNKNOWN : head->length,
        .is_head = weir_view_equal(head->method, weir_str("HEAD")),
        .is_http10 = head->minor == 0,
        .finished = finished,
        .peer = peer_text,
    };
    error->code = weir__h1_wire_keep_head(wire, head, head_len, &req.fields);
    if (error->code < 0) {
        weir__serve_leave(serve);
        return 503;
    }
    req.method = head->method;
    req.target = head->target;
    req.authority = head->has_host ? head->host : weir_bytes(NULL, 0);
    weir__h1_wire_expect_body(wire, head->framing, head->length);
    wire->minor_0 = head->minor == 0;
    wire->keep = head->keep_alive && !atomic_load_explicit(&serve->draining, memory_order_relaxed);
    wire->stream.in_limit = max != 0 ? max : UINT64_MAX;
    wire->stream.before_read = head->expect_continue && !wire->in_done ? send_continue : NULL;
    conn->state = RUNNING;
    weir__timer_stop(&conn->timer);
    error->code = weir__req_start(&req);
    if (error->code < 0) {
        weir_fields_destroy(req.fields);
        weir__serve_leave(serve);
        return 503;
    }
    return 0;
}

static void head_failed(struct server_conn *conn, int status, int code)
{
    struct weir_error error = {.code = code,
                               .side = WEIR_SIDE_SOURCE,
                               .reason = code == WEIR_ELIMIT      ? WEIR_REASON_LIMIT
                                         : code == WEIR_ETIMEDOUT ? WEIR_REASON_TIMEOUT
                                                                  : WEIR_REASON_PROTOCOL,
                               .where = "request head"};

    reject(conn, status, &error);
}

/* Looks for a whole head in what was read. 1 a request was started or turned away, 0 more is needed. */
static int parse(struct server_conn *conn)
{
    static __thread struct weir_field fields[WEIR__FIELDS_MAX];
    struct weir__serve *serve = serve_of(conn);
    struct weir__h1_limits limits = {serve->opts.target_bytes, serve->opts.head_bytes,
                                     serve->opts.max_fields};
    struct weir__h1_head head = {.fields = fields, .field_cap = serve->opts.max_fields};
    struct weir_view all = weir_chunk_view(conn->wire.in);
    struct weir_error error = {
        .side = WEIR_SIDE_SELF, .reason = WEIR_REASON_LIMIT, .where = "admission"};
    size_t len = 0;
    int status = 400;
    int r = weir__h1_scan_head(&conn->wire.at.scan, &limits, true, all, &len, &status);

    if (r == 0) {
        return 0;
    }
    if (r > 0) {
        r = weir__h1_parse_request(weir_bytes(all.data, len), &limits, &head, &status);
    }
    if (r < 0) {
        head_failed(conn, status, r);
        return 1;
    }
    status = start(conn, &head, len, &error);
    if (status != 0) {
        reject(conn, status, &error);
    }
    return 1;
}

/* Takes what the socket has until a request runs, or nothing is left. */
static void process(struct server_conn *conn)
{
    for (;;) {
        int r;

        if (conn->wire.in != NULL && weir_chunk_len(conn->wire.in) > conn->wire.at.scan.at &&
            parse(conn) == 1) {
            return;
        }
        r = weir__h1_wire_fill(&conn->wire, serve_of(conn)->opts.head_bytes + 1);
        if (r == WEIR_EAGAIN) {
            if (conn->state == IDLE && conn->wire.in != NULL) {
                conn->state = HEAD;
                set_timer(conn, serve_of(conn)->opts.head_timeout_ms);
            }
            return;
        }
        if (r == WEIR_ELIMIT) {
            head_failed(conn, 431, r);
            return;
        }
        if (r == WEIR_EBUDGET || r == WEIR_ENOMEM) {
            struct weir_error error = {.code = r,
                                       .side = WEIR_SIDE_SELF,
                                       .reason = WEIR_REASON_LIMIT,
                                       .where = "admission"};

            reject(conn, 503, &error);
            return;
        }
        if (r != 1) {
            destroy(conn, false);
            return;
        }
    }
}

/* ---- events ---- */

static void timer_fired(struct weir__timer *timer)
{
    struct server_conn *conn = weir_list_entry(timer, struct server_conn, timer);

    if (conn->state == HEAD) {
        head_failed(conn, 408, WEIR_ETIMEDOUT);
    } else {
        destroy(conn, false);
    }
}

/* What the kernel says of the peer while a handler runs. */
static void look_at_peer(struct server_conn *conn)
{
    struct weir__h1_wire *wire = &conn->wire;
    uint8_t ready = wire->tcp.watch.ready;

    if (ready & WEIR__PEER_GONE) {
        int error = 0;
        socklen_t len = sizeof(error);

        getsockopt(wire->tcp.watch.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        weir__stream_gone(&wire->stream, WEIR_REASON_RESET, error);
    } else if ((ready & WEIR__PEER_FIN) && !serve_of(conn)->opts.allow_half_close) {
        weir__stream_gone(&wire->stream, WEIR_REASON_FIN, 0);
    }
}

static void on_event(struct weir__watch *watch, uint8_t bits)
{
    struct server_conn *conn = weir_list_entry(watch, struct server_conn, wire.tcp.watch);

    switch (conn->state) {
    case RUNNING:
        weir__h1_wire_event(&conn->wire, bits);
        if (bits & (WEIR__PEER_FIN | WEIR__PEER_GONE)) {
            look_at_peer(conn);
        }
        break;
    case LINGER:
        linger_read(conn);
        break;
    default:
        if (bits & WEIR__CAN_READ) {
            process(conn);
        }
        break;
    }
}

static void drain(struct weir__connection *connection)
{
    struct server_conn *conn = of_connection(connection);
    uint8_t byte;

    conn->wire.keep = false;
    if (conn->state != IDLE) {
        return;
    }
    if (recv(conn->wire.tcp.watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        /* A request is here already, though epoll may not have told yet: it is still answered. */
        conn->wire.tcp.watch.ready |= WEIR__CAN_READ;
        process(conn);
    } else {
        destroy(conn, false);
    }
}

static void kill_conn(struct weir__connection *connection)
{
    struct server_conn *conn = of_connection(connection);

    if (conn->state == RUNNING) {
        struct weir_sink *out = &conn->wire.stream.out;

        weir__stream_gone(&conn->wire.stream, WEIR_REASON_SHUTDOWN, 0);
        if (out->final != 0 && !out->aborted) {
            weir_abort(out,
                       WEIR_REASON_SHUTDOWN); /* now: the handler may be in a library for long */
        }
    } else {
        destroy(conn, false);
    }
}

int weir__h1_serve_take(struct weir__serve_loop *serve_loop, int fd)
{
    struct server_conn *conn = weir_alloc0(sizeof(*conn));
    int r;

    if (conn == NULL) {
        close(fd);
        return WEIR_ENOMEM;
    }
    weir__h1_wire_init(&conn->wire);
    r = weir__tcp_init_accepted_take(&conn->wire.tcp, serve_loop->loop, fd,
                                     &serve_loop->serve->pace);
    if (r < 0) {
        weir__h1_wire_drop(&conn->wire);
        return r;
    }
    weir__h1_wire_next(&conn->wire, &serve_loop->serve->limits);
    conn->wire.tcp.watch.on_event = on_event;
    conn->connection.drain = drain;
    conn->connection.kill = kill_conn;
    weir__timer_init(&conn->timer, timer_fired);
    conn->state = IDLE;
    weir__connection_add(serve_loop, &conn->connection);
    if (!set_timer(conn, serve_loop->serve->opts.head_timeout_ms)) {
        return WEIR_ENOMEM;
    }
    /* Most clients have sent their request by now: why wait to be told? */
    conn->wire.tcp.watch.ready |= WEIR__CAN_READ;
    process(conn);
    return 0;
}
