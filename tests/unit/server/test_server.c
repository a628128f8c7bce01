/* SPDX-License-Identifier: MIT */
/* Server and client together over real sockets: bodies both ways, threads, disconnects, the stop. */
#include "../net/net_test.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <weir/chunk.h>
#include <weir/experimental/client.h>
#include <weir/experimental/observe.h>
#include <weir/rt.h>
#include <weir/server.h>

#include "base/cleanup.h"

#define BODY UINT64_C(5000000)

static _Atomic int entered, left;
static _Atomic int gone_reason;
static _Atomic uint64_t taken;

/* ---- handlers ---- */

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

/* Sends back what comes, and a trailer behind it. */
static int echo(struct weir_req *req)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct weir_fields *trailers = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = weir_pipe(weir_req_body(req), out, &(struct weir_pipe_opts){.keep_sink_open = true},
                      NULL);
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

/* A head, one byte, and then nothing until somebody ends it. */
static int hold(struct weir_req *req)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    enum weir_reason reason = WEIR_REASON_NONE;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("x"), -1);
    }
    atomic_fetch_add(&entered, 1);
    if (r == 0) {
        r = weir_sleep(weir_after_ms(30000));
    }
    weir_req_gone(req, &reason);
    atomic_store(&gone_reason, reason);
    atomic_fetch_add(&left, 1);
    return r;
}

/* Takes one piece of the body, and then its time. */
static int sip(struct weir_req *req)
{
    struct weir_chunk *chunk;
    int r = weir_next(weir_req_body(req), -1, &chunk);

    if (r == 1) {
        atomic_fetch_add(&taken, weir_chunk_len(chunk));
        weir_chunk_unref(chunk);
    }
    atomic_fetch_add(&entered, 1);
    r = weir_sleep(weir_after_ms(30000));
    atomic_fetch_add(&left, 1);
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    struct weir_view path = weir_req_path(req);

    (void)arg;
    return weir_view_equal(path, weir_str("/echo"))   ? echo(req)
           : weir_view_equal(path, weir_str("/hold")) ? hold(req)
           : weir_view_equal(path, weir_str("/sip"))  ? sip(req)
                                                      : weir_reply_text(req, 200, "hello\n");
}

/* ---- the scene ---- */

struct scene {
    struct weir_server *server;
    struct weir_client *client;
    pthread_t thread;
    int fds;
    int64_t live;
    void (*run)(struct scene *scene);
};

static void *serve(void *arg)
{
    struct scene *scene = arg;

    assert_int_equal(weir_server_run(scene->server), 0);
    return NULL;
}

static void run_fiber(void *arg)
{
    struct scene *scene = arg;

    scene->run(scene);
}

/* A server with so many threads, and run() in a fiber of another loop; then all is taken down, and nothing is left. */
static void play(unsigned threads, int64_t grace_ms, void (*run)(struct scene *scene))
{
    struct weir_server_opts opts = {.handler = handle, .threads = threads, .grace_ms = grace_ms};
    struct scene scene = {.fds = open_fds(), .live = weir__alloc_live(), .run = run};
    struct weir__loop *loop;

    atomic_store(&entered, 0);
    atomic_store(&left, 0);
    atomic_store(&gone_reason, 0);
    atomic_store(&taken, 0);
    assert_int_equal(weir_server_create(&opts, &scene.server), 0);
    assert_int_equal(weir_server_listen(scene.server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&scene.thread, NULL, serve, &scene), 0);
    assert_int_equal(weir_client_create(NULL, &scene.client), 0);
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, run_fiber, &scene, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
    weir_client_destroy(scene.client);
    weir_server_stop(scene.server);
    pthread_join(scene.thread, NULL);
    weir_server_destroy(scene.server);
    assert_int_equal(atomic_load(&entered), atomic_load(&left));
    assert_int_equal(open_fds(), scene.fds);
    assert_true(weir__alloc_live() == scene.live);
}

static int ask(struct scene *scene, const char *method, const char *target, bool has_body,
               struct weir_exchange **ret)
{
    struct weir_fields *fields;
    struct weir_exchange_opts opts = {
        .host = weir_str("127.0.0.1"),
        .port = weir_server_port(scene->server),
        .method = weir_str(method),
        .target = weir_str(target),
        .has_body = has_body,
        .body_length = WEIR_LENGTH_UNKNOWN,
    };
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("test")), 0);
    opts.fields = fields;
    r = weir_exchange_open(scene->client, &opts, ret, NULL);
    if (r == 0 && !has_body) {
        r = weir_exchange_head(*ret, NULL);
    }
    weir_fields_destroy(fields);
    return r;
}

static void wait_for(_Atomic int *number, int wanted)
{
    int64_t until = weir_after_ms(10000);

    while (atomic_load(number) < wanted && weir_now() < until) {
        assert_int_equal(weir_sleep(weir_after_ms(2)), 0);
    }
    assert_int_equal(atomic_load(number), wanted);
}

/* ---- bodies both ways at once ---- */

static int send_body(void *arg)
{
    struct weir_sink *sink = weir_exchange_sink(arg);
    static uint8_t piece[10000];
    uint64_t sent = 0;
    int r = 0;

    while (r == 0 && sent < BODY) {
        for (size_t i = 0; i < sizeof(piece); i++) {
            piece[i] = pattern(sent + i);
        }
        r = weir_emit_bytes(sink, weir_bytes(piece, sizeof(piece)), weir_after_ms(20000));
        sent += sizeof(piece);
    }
    return r == 0 ? weir_end(sink, NULL) : r;
}

static void send_and_compare(struct scene *scene)
{
    struct weir_exchange *exchange;
    struct weir_scope *scope;
    uint64_t total = 0;
    int r;

    assert_int_equal(ask(scene, "POST", "/echo", true, &exchange), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, send_body, exchange), 0);
    assert_int_equal(weir_exchange_head(exchange, NULL), 0);
    for (;;) {
        struct weir_chunk *chunk;

        r = weir_next(weir_exchange_body(exchange), weir_after_ms(20000), &chunk);
        if (r != 1) {
            break;
        }
        for (size_t i = 0; i < weir_chunk_len(chunk); i++) {
            assert_true(weir_chunk_data(chunk)[i] == pattern(total + i));
        }
        total += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(r, 0);
    assert_true(total == BODY);
    assert_true(
        weir_view_equal(weir_fields_get(weir_exchange_trailers(exchange), weir_str("x-trailer")),
                        weir_str("done")));
    assert_int_equal(weir_scope_join(scope, weir_after_ms(5000)), 0);
    weir_scope_close(scope);
    weir_exchange_destroy(exchange);
}

static void bodies_pass_both_ways_at_once(void **state)
{
    (void)state;
    play(1, 0, send_and_compare);
}

/* ---- a body that nobody reads ---- */

static void upload_to_who_sips(struct scene *scene)
{
    struct weir_exchange *exchange;
    struct weir_traffic traffic;
    static uint8_t piece[16384];
    int r = 0;

    assert_int_equal(ask(scene, "POST", "/sip", true, &exchange), 0);
    for (int i = 0; i < 4000 && r == 0; i++) {
        r = weir_emit_bytes(weir_exchange_sink(exchange), weir_bytes(piece, sizeof(piece)),
                            weir_after_ms(300));
    }
    assert_int_equal(r, WEIR_ETIMEDOUT); /* it does not take what its handler does not read */
    weir_exchange_traffic(exchange, &traffic);
    assert_in_range(traffic.sent, 1, 4 << 20);
    assert_in_range(atomic_load(&taken), 1, WEIR_CHUNK_BYTES);
    weir_exchange_destroy(exchange);
    wait_for(&left, 1); /* the disconnect has ended its sleep */
}

static void v5_an_upload_waits_for_its_handler(void **state)
{
    (void)state;
    play(1, 0, upload_to_who_sips);
}

/* ---- threads ---- */

#define CROWD 60

static void hold_many(struct scene *scene)
{
    struct weir_exchange *held[CROWD];
    struct weir_server_stats stats;
    int64_t began_us;

    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(ask(scene, "GET", "/hold", false, &held[i]), 0);
    }
    wait_for(&entered, CROWD);
    weir_server_stats(scene->server, &stats);
    assert_true(stats.streams == CROWD);
    assert_true(stats.connections == CROWD);
    began_us = weir_clock_us();
    for (int i = 0; i < CROWD; i++) {
        weir_exchange_destroy(held[i]);
    }
    wait_for(&left, CROWD);
    assert_true(weir_clock_us() - began_us < 3000000);
    assert_int_equal(atomic_load(&gone_reason), WEIR_REASON_FIN);
}

static void leaving_ends_handlers_on_every_thread(void **state)
{
    (void)state;
    play(1, 0, hold_many);
    play(4, 0, hold_many);
}

/* ---- the stop ---- */

static void stop_while_held(struct scene *scene)
{
    struct weir_exchange *held[CROWD];

    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(ask(scene, "GET", "/hold", false, &held[i]), 0);
    }
    wait_for(&entered, CROWD);
    weir_server_stop(scene->server);
    for (int i = 0; i < CROWD; i++) {
        struct weir_chunk *chunk;
        int r;

        while ((r = weir_next(weir_exchange_body(held[i]), weir_after_ms(10000), &chunk)) == 1) {
            weir_chunk_unref(chunk);
        }
        assert_true(r == WEIR_ETRUNCATED || r == WEIR_ERESET);
        weir_exchange_destroy(held[i]);
    }
    wait_for(&left, CROWD); /* the cut does not wait for them */
    assert_int_equal(atomic_load(&gone_reason), WEIR_REASON_SHUTDOWN);
}

static void a_stop_ends_what_outlives_the_grace(void **state)
{
    (void)state;
    play(1, 100, stop_while_held);
    play(4, 100, stop_while_held);
}

static void nothing(struct scene *scene)
{
    (void)scene;
}

static void it_starts_and_stops_at_any_moment(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        play(1 + (unsigned)i % 4, 0, nothing);
    }
}

/* Also where each loop has a socket of its own, which share the port among them. */
static void a_port_is_one_servers(void **state)
{
    const struct weir_server_opts opts[] = {{.handler = handle, .threads = 1},
                                            {.handler = handle, .threads = 3}};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct weir_server *first = NULL, *second = NULL;
        struct weir_error error = {0};
        uint16_t port;

        assert_int_equal(weir_server_create(&opts[i % 2], &first), 0);
        assert_int_equal(weir_server_create(&opts[i / 2], &second), 0);
        assert_int_equal(weir_server_listen(first, "127.0.0.1", 0, NULL), 0);
        port = weir_server_port(first);
        assert_int_equal(weir_server_listen(second, "127.0.0.1", port, &error), WEIR_EBUSY);
        assert_int_equal(error.native, EADDRINUSE);
        assert_int_equal(weir_server_port(second), 0);
        weir_server_destroy(first);
        assert_int_equal(weir_server_listen(second, "127.0.0.1", port, NULL), 0);
        weir_server_destroy(second);
    }
}

/* ---- the first connections ---- */

/* The descriptor at the server's end of a connection: the one whose peer is `there`. */
static int other_end(int there)
{
    struct sockaddr_in mine, peer;

    assert_int_equal(getsockname(there, (struct sockaddr *)&mine, &(socklen_t){sizeof(mine)}), 0);
    for (int fd = 0; fd < 1024; fd++) {
        if (getpeername(fd, (struct sockaddr *)&peer, &(socklen_t){sizeof(peer)}) == 0 &&
            peer.sin_port == mine.sin_port) {
            return fd;
        }
    }
    return -1;
}

/*
 * Clients may be there before the server runs. Without the pace's bound the kernel calls their sockets writable while we
 * do not: a loop that spins for as long as such a client reads nothing.
 */
static void who_connects_before_the_start_gets_the_pace(void **state)
{
    struct weir_server_opts opts = {.handler = handle, .threads = 2, .pace_slow_bytes = 20000};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct weir_view ask = weir_str("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    struct scene scene = {0};
    int there = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int here, bound = 0, no_delay = 0;
    uint8_t byte;

    (void)state;
    assert_int_equal(weir_server_create(&opts, &scene.server), 0);
    assert_int_equal(weir_server_listen(scene.server, "127.0.0.1", 0, NULL), 0);
    addr.sin_port = htons(weir_server_port(scene.server));
    assert_int_equal(connect(there, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(pthread_create(&scene.thread, NULL, serve, &scene), 0);
    assert_int_equal(send(there, ask.data, ask.len, 0), ask.len);
    assert_int_equal(recv(there, &byte, 1, 0), 1);
    here = other_end(there);
    assert_true(here >= 0);
    assert_int_equal(
        getsockopt(here, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, &(socklen_t){sizeof(bound)}), 0);
    assert_int_equal(bound, 20000);
    assert_int_equal(
        getsockopt(here, IPPROTO_TCP, TCP_NODELAY, &no_delay, &(socklen_t){sizeof(no_delay)}), 0);
    assert_true(no_delay != 0);
    close(there);
    weir_server_stop(scene.server);
    assert_int_equal(pthread_join(scene.thread, NULL), 0);
    weir_server_destroy(scene.server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_pass_both_ways_at_once),
        cmocka_unit_test(v5_an_upload_waits_for_its_handler),
        cmocka_unit_test(leaving_ends_handlers_on_every_thread),
        cmocka_unit_test(a_stop_ends_what_outlives_the_grace),
        cmocka_unit_test(it_starts_and_stops_at_any_moment),
        cmocka_unit_test(a_port_is_one_servers),
        cmocka_unit_test(who_connects_before_the_start_gets_the_pace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
