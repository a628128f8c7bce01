/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of a server's connection fails once, alone or with all that follow: over a real socket the client
 * gets whole and right answers, and where one is missing or broken off the connection has visibly ended.
 */
#include "../net/net_test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/chunk.h>
#include <weir/server.h>

#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "h1/server.h"
#include "server/server.h"

#define BODY ((size_t)80100)
#define REPLIES 3
#define MOST 4000

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

/* ---- the handler ---- */

/* Sends back what comes, and a trailer behind it. */
static int echo(struct weir_req *req)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct weir_fields *trailers = NULL;
    struct weir_chunk *chunk;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    weir__chunk_pool_trim(); /* else few blocks of all come from the heap */
    while (r == 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        r = weir_emit_take(out, chunk, -1);
        weir__chunk_pool_trim();
    }
    if (r == 0 &&
        (weir_req_trailers(req) == NULL || weir_fields_count(weir_req_trailers(req)) != 1)) {
        r = WEIR_EIO; /* a body that ended well has its trailer */
    }
    if (r == 0) {
        r = weir_fields_create(&trailers);
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("X-Trailer"), weir_str("done"));
    }
    if (r == 0) {
        r = weir_end(out, trailers);
    }
    weir_fields_destroy(trailers);
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    (void)arg;
    weir_req_peer(req);
    return weir_view_equal(weir_req_path(req), weir_str("/echo"))
               ? echo(req)
               : weir_reply_text(req, 200, "hello\n");
}

/* ---- the client, in a thread with a blocking socket ---- */

static char request[2 * BODY];
static size_t request_len;

/* Three requests behind each other: an echo of a chunked body with a trailer between two small ones. */
static void write_request(void)
{
    static const char first[] =
        "GET /a HTTP/1.1\r\nHost: t\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char last[] =
        "0\r\nX-T: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    size_t at = 0;

    memcpy(request, first, sizeof(first) - 1);
    request_len = sizeof(first) - 1;
    for (size_t size = 100; at < BODY; size = size < 20000 ? size * 3 : 20000) {
        size_t len = BODY - at < size ? BODY - at : size;

        request_len += (size_t)snprintf(request + request_len, 32, "%zx\r\n", len);
        for (size_t i = 0; i < len; i++) {
            request[request_len++] = (char)pattern(at++);
        }
        memcpy(request + request_len, "\r\n", 2);
        request_len += 2;
    }
    memcpy(request + request_len, last, sizeof(last) - 1);
    request_len += sizeof(last) - 1;
}

static struct {
    int fd;
    char bytes[2 * BODY];
    size_t len;
    bool hung; /* neither an answer nor an end */
    int good, bad;
} client;

static const char *find(const char *from, const char *until, const char *text)
{
    return memmem(from, (size_t)(until - from), text, strlen(text));
}

/* The end of a chunked body, NULL while it is not there; *ret_len of payload, which must follow the pattern. */
static const char *unchunk(const char *at, const char *end, size_t *ret_len)
{
    *ret_len = 0;
    for (;;) {
        const char *line = find(at, end, "\r\n");
        size_t size;

        if (line == NULL) {
            return NULL;
        }
        size = strtoul(at, NULL, 16);
        at = line + 2;
        if (size == 0) {
            const char *tail = find(line, end, "\r\n\r\n");

            if (tail == NULL) {
                return NULL;
            }
            assert_non_null(find(line, tail + 2, "\r\nX-Trailer: done\r\n"));
            return tail + 4;
        }
        if ((size_t)(end - at) < size + 2) {
            return NULL;
        }
        for (size_t i = 0; i < size; i++) {
            assert_true((uint8_t)at[i] == pattern(*ret_len + i));
        }
        *ret_len += size;
        assert_memory_equal(at + size, "\r\n", 2);
        at += size + 2;
    }
}

/* Counts the whole answers, and claims that they are right ones. */
static void judge(void)
{
    const char *at = client.bytes;
    const char *end = at + client.len;

    client.good = client.bad = 0;
    while (at < end) {
        const char *head = find(at, end, "\r\n\r\n");
        const char *length;
        size_t len = 0;
        bool good;

        assert_memory_equal(at, "HTTP/1.1 ", end - at < 9 ? (size_t)(end - at) : 9);
        if (head == NULL) {
            return;
        }
        head += 4;
        good = memcmp(at + 9, "200", 3) == 0;
        assert_true(good || memcmp(at + 9, "503", 3) == 0 || memcmp(at + 9, "500", 3) == 0);
        length = find(at, head, "Content-Length: ");
        if (length != NULL) {
            len = strtoul(length + 16, NULL, 10);
            if ((size_t)(end - head) < len) {
                return;
            }
            assert_true(!good || (len == 6 && memcmp(head, "hello\n", 6) == 0));
            assert_true(!good || client.good + client.bad != 1); /* the second one is the echo */
            at = head + len;
        } else {
            assert_true(good && client.good + client.bad == 1);
            at = unchunk(head, end, &len);
            if (at == NULL) {
                return;
            }
            assert_true(len == BODY);
        }
        client.good += good;
        client.bad += !good;
    }
}

static void *send_all(void *arg)
{
    size_t sent = 0;

    (void)arg;
    while (sent < request_len) {
        ssize_t r = send(client.fd, request + sent, request_len - sent, MSG_NOSIGNAL);

        if (r <= 0) {
            break;
        }
        sent += (size_t)r;
    }
    return NULL;
}

/* Reads until the connection has ended: after the last answer at the latest. */
static void *take_all(void *arg)
{
    struct timeval patience = {.tv_sec = 20};

    (void)arg;
    setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    for (;;) {
        ssize_t got =
            recv(client.fd, client.bytes + client.len, sizeof(client.bytes) - client.len, 0);

        if (got <= 0) {
            client.hung = got < 0 && errno == EAGAIN;
            break;
        }
        client.len += (size_t)got;
    }
    shutdown(client.fd, SHUT_RDWR);
    return NULL;
}

/* ---- one connection ---- */

static void emptied(struct weir__serve_loop *serve_loop)
{
    weir__loop_stop(serve_loop->loop);
}

static void no_time(struct weir__timer *timer)
{
    (void)timer;
}

/* A connection on a loop whose heap of timers is full, or not. */
static void serve_one(void (*fail_at)(int64_t n), int64_t n, bool crowded)
{
    static struct weir__timer crowd[64];
    struct weir_server_opts opts = {.handler = handle, .threads = 1};
    struct weir__serve_loop serve_loop = {.emptied = emptied};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct weir_server *server;
    int64_t live = weir__alloc_live();
    int fds = open_fds();
    pthread_t sender, taker;
    uint16_t port;
    int listener, fd;

    assert_int_equal(weir_server_create(&opts, &server), 0);
    assert_int_equal(weir__loop_create(NULL, NULL, &serve_loop.loop), 0);
    serve_loop.serve = &server->serve;
    weir_list_init(&serve_loop.connections);
    assert_int_equal(weir__listen(weir_str("127.0.0.1"), 0, 4, false, NULL, &listener, &port, NULL),
                     0);
    assert_int_equal(fcntl(listener, F_SETFL, 0), 0);
    addr.sin_port = htons(port);
    memset(&client, 0, sizeof(client));
    client.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < (crowded ? 64 : 1); i++) {
        weir__timer_init(&crowd[i], no_time);
        assert_int_equal(weir__timer_start(&serve_loop.loop->timers, &crowd[i],
                                           serve_loop.loop->now_us + INT64_C(1000000000)),
                         0);
    }
    assert_true(!crowded || serve_loop.loop->timers.count == serve_loop.loop->timers.capacity);
    assert_int_equal(pthread_create(&sender, NULL, send_all, NULL), 0);
    assert_int_equal(pthread_create(&taker, NULL, take_all, NULL), 0);

    fail_at(n);
    if (weir__h1_serve_take(&serve_loop, fd) == 0 && serve_loop.live > 0) {
        /* Or it would wait for its request without end. */
        assert_true(serve_loop.loop->timers.count > (crowded ? 64 : 1));
        weir__loop_run(serve_loop.loop);
    }
    pthread_join(taker, NULL);
    pthread_join(sender, NULL);
    weir__loop_run_until_idle(serve_loop.loop);
    weir__alloc_fail_at(0);

    for (size_t i = 0; i < (crowded ? 64 : 1); i++) {
        weir__timer_remove(&serve_loop.loop->timers, &crowd[i]);
    }
    close(client.fd);
    close(listener);
    assert_int_equal(server->serve.streams, 0);
    assert_int_equal(serve_loop.live, 0);
    weir__loop_destroy(serve_loop.loop);
    weir_server_destroy(server);
    assert_int_equal(open_fds(), fds);
    assert_int_equal(weir__alloc_live(), live);
}

static void fail_each(void (*fail_at)(int64_t n), bool crowded)
{
    unsigned whole = 0;

    serve_one(weir__alloc_fail_at, 0, crowded);
    judge();
    assert_int_equal(client.good, REPLIES);
    for (int64_t at = 1; whole < 8; at++) {
        assert_true(at < MOST);
        serve_one(fail_at, at, crowded);
        assert_false(client.hung);
        judge();
        assert_in_range(client.good + client.bad, 0, REPLIES);
        assert_true(client.bad <= 1);
        whole = client.good == REPLIES ? whole + 1 : 0;
    }
}

static void no_memory_from_there_on(void **state)
{
    (void)state;
    fail_each(weir__alloc_fail_at, false);
    fail_each(weir__alloc_fail_at, true);
}

static void no_memory_once(void **state)
{
    (void)state;
    fail_each(weir__alloc_fail_only, false);
    fail_each(weir__alloc_fail_only, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_from_there_on),
        cmocka_unit_test(no_memory_once),
    };

    write_request();
    return cmocka_run_group_tests_name("h1 failalloc", tests, NULL, NULL);
}
