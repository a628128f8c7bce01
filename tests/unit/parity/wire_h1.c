/* SPDX-License-Identifier: MIT */
/*
 * Parity over HTTP/1.1: this library's server on a thread, and a client made of send() and recv(), which knows nothing
 * of the library's own reading and writing of HTTP/1.1 and takes only what it must.
 */
#include "parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/server.h>

#include "rt/fiber.h"
#include "rt/loop.h"

enum state {
    HEAD,      /* lines of a head; the first one is the status */
    SIZE,      /* of a chunk, on a line */
    CHUNK,     /* its bytes */
    CHUNK_END, /* its CRLF */
    TRAILERS,  /* lines */
    LENGTH,    /* a body of declared length */
    OVER,
};

struct parity_peer {
    struct parity_seen *seen;
    int fd;
    /* out */
    uint8_t *out;
    size_t out_len, out_at;
    uint64_t pattern_at;
    bool chunked_out;
    /* in */
    enum state state;
    int status;
    uint64_t left;
    bool is_head, chunked, has_length;
    unsigned dates;
    size_t have;
    char in[4096];
};

static struct weir_server *server;

/* ---- out ---- */

static void put(struct parity_peer *peer, const void *data, size_t len)
{
    uint8_t *all = realloc(peer->out, peer->out_len + len);

    assert_non_null(all);
    peer->out = all;
    for (size_t i = 0; i < len; i++) {
        peer->out[peer->out_len + i] =
            data != NULL ? ((const uint8_t *)data)[i] : parity_byte(peer->pattern_at++);
    }
    peer->out_len += len;
}

static void put_line(struct parity_peer *peer, const char *format, ...) WEIR_PRINTF(2, 3);
static void put_line(struct parity_peer *peer, const char *format, ...)
{
    char line[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof(line) - 2, format, args);
    va_end(args);
    assert_in_range(len, 0, sizeof(line) - 3);
    memcpy(line + len, "\r\n", 2);
    put(peer, line, (size_t)len + 2);
}

static bool is_sent(struct parity_peer *peer)
{
    while (peer->out_at < peer->out_len) {
        ssize_t sent = send(peer->fd, peer->out + peer->out_at, peer->out_len - peer->out_at,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0) {
            /* Whoever takes no more has said why, or the reading end shows it. */
            return errno != EAGAIN;
        }
        peer->out_at += (size_t)sent;
    }
    return true;
}

static void send_body(struct parity_peer *peer, const void *data, size_t bytes)
{
    if (peer->chunked_out) {
        put_line(peer, "%zx", bytes);
    }
    put(peer, data, bytes);
    if (peer->chunked_out) {
        put_line(peer, "%s", "");
    }
    is_sent(peer);
}

static void end_body(struct parity_peer *peer, struct weir_view name, struct weir_view value)
{
    if (peer->chunked_out) {
        put_line(peer, "0");
        if (!weir_view_is_absent(name)) {
            put_line(peer, "%.*s: %.*s", (int)name.len, (const char *)name.data, (int)value.len,
                     (const char *)value.data);
        }
        put_line(peer, "%s", "");
    }
    is_sent(peer);
}

static struct parity_peer *open_peer(const struct parity_request *request, struct parity_seen *seen)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(weir_server_port(server))};
    size_t body = request->body_bytes > 0 ? request->body_bytes
                  : request->body != NULL ? strlen(request->body)
                                          : 0;
    uint64_t length = request->body != NULL ? body : request->length;
    const char *method = request->method != NULL ? request->method : "GET";
    struct parity_peer *peer = calloc(1, sizeof(*peer));
    int on = 1, small = PARITY_BUFFER;

    peer->seen = seen;
    peer->is_head = strcmp(method, "HEAD") == 0;
    peer->chunked_out = length == PARITY_UNKNOWN;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    /* A client that reads nothing is soon noticed. */
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    put_line(peer, "%s %s HTTP/1.1", method, request->target != NULL ? request->target : "/");
    put_line(peer, "Host: parity");
    for (size_t i = 0; i < PARITY_FIELDS && request->fields[i].name != NULL; i++) {
        put_line(peer, "%s: %s", request->fields[i].name, request->fields[i].value);
    }
    if (peer->chunked_out) {
        put_line(peer, "Transfer-Encoding: chunked");
    } else if (length > 0) {
        put_line(peer, "Content-Length: %llu", (unsigned long long)length);
    }
    if (request->expect_continue) {
        put_line(peer, "Expect: 100-continue");
    }
    put_line(peer, "%s", "");
    is_sent(peer);
    return peer;
}

/* ---- in ---- */

static void wrong(struct parity_peer *peer, const char *what)
{
    peer->state = OVER;
    parity_saw_wrong(peer->seen, what);
}

static void over(struct parity_peer *peer)
{
    peer->state = OVER;
    parity_saw_end(peer->seen);
}

static void head_over(struct parity_peer *peer)
{
    parity_saw_head_end(peer->seen);
    if (peer->status < 200) {
        return; /* the next one */
    }
    if (peer->dates != 1) {
        wrong(peer, "not one Date");
    } else if (peer->chunked && peer->has_length) {
        wrong(peer, "two framings");
    } else if (peer->is_head || peer->status == 204 || peer->status == 304) {
        if (peer->chunked) {
            wrong(peer, "framing without a body");
        } else {
            over(peer);
        }
    } else if (peer->chunked) {
        peer->state = SIZE;
    } else if (peer->has_length) {
        peer->state = LENGTH;
        if (peer->left == 0) {
            over(peer);
        }
    } else {
        wrong(peer, "a body of no length");
    }
}

static bool is(struct weir_view view, const char *text)
{
    return weir_view_equal_nocase(view, weir_str(text));
}

static void field(struct parity_peer *peer, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    struct weir_view name, value;

    if (colon == NULL || colon + 1 == line + len || colon[1] != ' ') {
        wrong(peer, "no field line");
        return;
    }
    name = weir_bytes(line, (size_t)(colon - line));
    value = weir_bytes(colon + 2, len - name.len - 2);
    if (peer->state == HEAD && is(name, "content-length")) {
        peer->has_length = true;
        peer->left = strtoull((const char *)value.data, NULL, 10);
    } else if (peer->state == HEAD && is(name, "transfer-encoding")) {
        peer->chunked = true;
        if (!is(value, "chunked")) {
            wrong(peer, "another transfer coding");
        }
    } else if (is(name, "date")) {
        peer->dates++;
    }
    parity_saw_field(peer->seen, name, value);
}

/* A line without its CRLF. */
static void line_in(struct parity_peer *peer, const char *line, size_t len)
{
    static const char version[] = "HTTP/1.1 ";

    switch (peer->state) {
    case HEAD:
        if (peer->status < 200 && strncmp(line, version, sizeof(version) - 1) == 0) {
            peer->status = (int)strtol(line + sizeof(version) - 1, NULL, 10);
            peer->dates = 0;
            parity_saw_status(peer->seen, peer->status);
        } else if (len == 0) {
            head_over(peer);
        } else {
            field(peer, line, len);
        }
        break;
    case SIZE:
        peer->left = strtoull(line, NULL, 16);
        peer->state = peer->left > 0 ? CHUNK : TRAILERS;
        break;
    case CHUNK_END:
        peer->state = SIZE;
        if (len != 0) {
            wrong(peer, "a chunk without its end");
        }
        break;
    default:
        if (len == 0) {
            over(peer);
        } else {
            field(peer, line, len);
        }
        break;
    }
}

static void consume(struct parity_peer *peer, size_t len)
{
    peer->have -= len;
    memmove(peer->in, peer->in + len, peer->have);
}

/* Goes through what is there. Whether it got on. */
static bool parse(struct parity_peer *peer, size_t *most)
{
    bool any = false;

    while (peer->have > 0 && peer->state != OVER) {
        if (peer->state == CHUNK || peer->state == LENGTH) {
            size_t len = peer->left < peer->have ? (size_t)peer->left : peer->have;

            len = len < *most ? len : *most;
            if (len == 0) {
                return any;
            }
            parity_saw_body(peer->seen, (const uint8_t *)peer->in, len);
            consume(peer, len);
            *most -= *most == SIZE_MAX ? 0 : len;
            peer->left -= len;
            if (peer->left == 0 && peer->state == CHUNK) {
                peer->state = CHUNK_END;
            } else if (peer->left == 0) {
                over(peer);
            }
        } else {
            const char *end = memchr(peer->in, '\n', peer->have);
            size_t len;

            if (end == NULL) {
                return any;
            }
            len = (size_t)(end - peer->in);
            if (len == 0 || peer->in[len - 1] != '\r') {
                wrong(peer, "a line without CR");
                return true;
            }
            line_in(peer, peer->in, len - 1);
            consume(peer, len + 1);
        }
        any = true;
    }
    if (peer->state == OVER && peer->have > 0) {
        parity_saw_wrong(peer->seen, "bytes behind the end");
    }
    return any;
}

static bool read_peer(struct parity_peer *peer, size_t most)
{
    bool any = parse(peer, &most);
    ssize_t got;

    if (peer->state == OVER || peer->have == sizeof(peer->in)) {
        return any;
    }
    got = recv(peer->fd, peer->in + peer->have, sizeof(peer->in) - peer->have, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return any;
    }
    if (got <= 0) {
        peer->state = OVER;
        parity_saw_abort(peer->seen);
        return true;
    }
    peer->have += (size_t)got;
    parse(peer, &most);
    return true;
}

static void fin(struct parity_peer *peer)
{
    shutdown(peer->fd, SHUT_WR);
}

static void reset(struct parity_peer *peer)
{
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
               sizeof(struct linger));
    close(peer->fd);
    peer->fd = -1;
}

static void close_peer(struct parity_peer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
    }
    free(peer->out);
    free(peer);
}

/* ---- the stage ---- */

static void *serve(void *arg)
{
    assert_int_equal(weir_server_run(arg), 0);
    return NULL;
}

static void play_h1(const struct parity_stage *stage)
{
    struct weir_server_opts opts = {
        .handler = stage->handler,
        .arg = stage->arg,
        .threads = 1,
        .body_gap_ms = stage->one->body_gap_ms,
        .client_stall_ms = stage->one->client_stall_ms,
        .grace_ms = 20000,
    };
    struct weir__loop *loop;
    pthread_t thread;

    assert_int_equal(weir_server_create(&opts, &server), 0);
    assert_int_equal(weir_server_listen(server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, server), 0);
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, stage->clients, stage->clients_arg, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
    weir_server_stop(server);
    pthread_join(thread, NULL);
    weir_server_destroy(server);
}

const struct parity_wire parity_h1 = {
    .name = "HTTP/1.1",
    .stage = play_h1,
    .open = open_peer,
    .send = send_body,
    .end = end_body,
    .is_sent = is_sent,
    .read = read_peer,
    .fin = fin,
    .reset = reset,
    .close = close_peer,
};
