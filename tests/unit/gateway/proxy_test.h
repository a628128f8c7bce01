/* SPDX-License-Identifier: MIT */
/* What the tests of the gateway's handler share: gw_proxy between a scripted client and scripted upstreams, on a loop
 * with a fake clock; its access log goes through a pipe. */
#ifndef WEIR_TEST_PROXY_H
#define WEIR_TEST_PROXY_H

#include "../http/http_test.h"

#include <fcntl.h>
#include <unistd.h>

#include "client/carrier.h"
#include "gateway.h"
#include "rt/scope.h"

#define UPSTREAMS 2
#define NAMES 16

/* One stream that the client may be given, in the order in which it asks. */
struct upstream {
    struct weir__memory_opts opts;
    const struct weir__memory_step *steps;
    size_t count;
    int64_t take_ms;  /* dialling takes so long */
    int fail, native; /* and then fails */
    bool reused;
    /* afterwards */
    struct weir__memory *memory;
    struct weir__memory_result result;
    unsigned taken, put, closed;
    bool fresh;       /* was asked for */
    int64_t given_up; /* ms at which dialling was cancelled; -1: it was not */
    char trace[16384];
};

/* One request through the gateway, and what became of it. */
struct passage {
    struct weir__memory_opts opts; /* the client's */
    const struct weir__memory_step *steps;
    size_t count;
    const char *fields[NAMES]; /* of the request: name, value, name, ... */
    struct upstream upstreams[UPSTREAMS];
    struct weir_client_opts client;
    const char *set[4]; /* "key=value" */
    const char *keys;   /* the file's text */
    int64_t fail_at;    /* the allocation that fails, and all that follow; 0: none */
    /* afterwards */
    struct weir__memory_result result;
    int started;
    unsigned takes;
    int64_t ended_ms;
    char trace[16384];
    char log[8192];
    char body[600]; /* what the client got of it, as a string */
};

static int passage_take(void *arg, const struct weir__carrier_want *want, struct weir__stream **ret,
                        bool *ret_reused, struct weir_error *error)
{
    struct passage *passage = arg;
    struct upstream *upstream = &passage->upstreams[passage->takes];
    int r = WEIR_ETIMEDOUT;

    assert_true(passage->takes < UPSTREAMS);
    assert_true(weir_view_equal(want->host, weir_str("up.test")));
    assert_int_equal(want->port, 9000);
    passage->takes++;
    upstream->fresh = want->fresh;
    upstream->given_up = -1;
    if (upstream->take_ms > 0) {
        r = weir__wait(weir__loop_current()->now_us + upstream->take_ms * 1000);
    }
    if (r == WEIR_ECANCELED) {
        upstream->given_up = scene_ms();
        *error = (struct weir_error){.code = r, .reason = WEIR_REASON_CANCELED, .where = "take"};
        return r;
    }
    if (upstream->fail < 0) {
        *error = (struct weir_error){
            .code = upstream->fail, .native = upstream->native, .where = "take"};
        return upstream->fail;
    }
    upstream->taken++;
    *ret_reused = upstream->reused;
    *ret = weir__memory_open(upstream->memory);
    return 0;
}

static struct upstream *passage_upstream(struct passage *passage, struct weir__stream *stream)
{
    struct upstream *upstream = passage->upstreams;

    while ((struct weir__stream *)upstream->memory != stream) {
        upstream++;
    }
    return upstream;
}

static void passage_put(void *arg, struct weir__stream *stream)
{
    struct upstream *upstream = passage_upstream(arg, stream);

    upstream->put++;
    weir__memory_close(upstream->memory);
}

static void passage_close(void *arg, struct weir__stream *stream)
{
    struct upstream *upstream = passage_upstream(arg, stream);

    upstream->closed++;
    weir__memory_close(upstream->memory);
}

static const struct weir__carrier_ops passage_carrier = {
    .take = passage_take, .put = passage_put, .close = passage_close};

static inline void check_upstream(struct upstream *upstream)
{
    struct weir__memory_result *result = &upstream->result;

    weir__memory_result(upstream->memory, result);
    if (upstream->taken > 0) {
        assert_int_equal(upstream->taken, 1);
        assert_int_equal(upstream->put + upstream->closed, 1);
        assert_true(result->finished);
        assert_int_equal(stall_sum(&result->stall), result->stall.wall_us);
        assert_true(result->ends <= 1 && result->aborts <= 1 && result->cancels <= 1);
        assert_false(result->ended && result->aborted);
    }
    snprintf(upstream->trace, sizeof(upstream->trace), "%s", weir__memory_trace(upstream->memory));
    weir__memory_destroy(upstream->memory);
}

static inline void read_log(int fd, char *text, size_t size)
{
    ssize_t len;

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    len = read(fd, text, size - 1);
    text[len > 0 ? len : 0] = 0;
    close(fd);
}

static inline void prepare_gateway(struct passage *passage, struct gw_gateway *gateway, int log_fd)
{
    *gateway = (struct gw_gateway){.options.to = {.host = "up.test", .port = 9000}};
    gw_settings_init(&gateway->options.settings);
    for (size_t i = 0; i < COUNT(passage->set) && passage->set[i] != NULL; i++) {
        assert_int_equal(
            gw_settings_set(&gateway->options.settings, weir_str(passage->set[i]), NULL), 0);
    }
    if (passage->keys != NULL) {
        assert_int_equal(gw_keys_parse(weir_str(passage->keys), "keys", &gateway->keys, NULL), 0);
    }
    gateway->upstream = gw_address_print(&gateway->options.to);
    assert_int_equal(gw_access_log_init_fd(&gateway->log, log_fd, "log", NULL), 0);
    assert_int_equal(weir_client_create(&passage->client, &gateway->client), 0);
    weir__client_set_carrier(gateway->client, &passage_carrier, passage);
}

/* Plays it; whatever a test claims later, nothing may be left, and the clocks' sums must be exact. */
static inline void pass(struct passage *passage)
{
    int64_t live = weir__alloc_live();
    size_t used = weir__budget_used(weir__budget_process());
    struct gw_gateway gateway;
    struct weir__timer timer;
    int fds[2];

    passage->takes = 0;
    scene_us = 1000000;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    prepare_gateway(passage, &gateway, fds[1]);
    assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
    weir__timer_init(&timer,
                     scene_timer); /* the heap of timers is there before allocations may fail */
    assert_int_equal(weir__timer_start(&scene_loop->timers, &timer, scene_us), 0);
    weir__timer_remove(&scene_loop->timers, &timer);
    assert_int_equal(weir_fields_create(&passage->opts.fields), 0);
    for (size_t i = 0; i + 1 < NAMES && passage->fields[i] != NULL; i += 2) {
        assert_int_equal(weir_fields_add(passage->opts.fields, weir_str(passage->fields[i]),
                                         weir_str(passage->fields[i + 1])),
                         0);
    }
    passage->opts.keep = sizeof(passage->body) - 1;
    assert_int_equal(weir__memory_create(scene_loop, &passage->opts, &scene_memory), 0);
    assert_int_equal(weir__memory_script(scene_memory, passage->steps, passage->count), 0);
    for (size_t i = 0; i < UPSTREAMS; i++) {
        struct upstream *upstream = &passage->upstreams[i];

        upstream->taken = upstream->put = upstream->closed = 0;
        upstream->opts.limits = (struct weir__limits){
            .first_byte_ms = passage->client.first_byte_ms,
            .read_gap_ms = passage->client.idle_timeout_ms,
            .write_stall_ms = passage->client.idle_timeout_ms,
        };
        assert_int_equal(weir__memory_create(scene_loop, &upstream->opts, &upstream->memory), 0);
        assert_int_equal(weir__memory_script(upstream->memory, upstream->steps, upstream->count),
                         0);
    }
    weir__alloc_fail_at(passage->fail_at);
    passage->started = weir__memory_request(scene_memory, gw_proxy, &gateway);
    weir__loop_run_until_idle(scene_loop);
    weir__alloc_fail_at(0);
    passage->ended_ms = scene_ms();
    weir__memory_result(scene_memory, &passage->result);
    memcpy(passage->body, passage->result.kept.data, passage->result.kept.len);
    passage->body[passage->result.kept.len] = 0;
    if (passage->started == 0) {
        assert_true(passage->result.finished);
        assert_int_equal(stall_sum(&passage->result.stall), passage->result.stall.wall_us);
    }
    assert_true(passage->result.ends <= 1 && passage->result.aborts <= 1 &&
                passage->result.cancels <= 1);
    assert_false(passage->result.ended && passage->result.aborted);
    snprintf(passage->trace, sizeof(passage->trace), "%s", weir__memory_trace(scene_memory));
    for (size_t i = 0; i < UPSTREAMS; i++) {
        check_upstream(&passage->upstreams[i]);
    }
    weir__memory_destroy(scene_memory);
    weir__loop_destroy(scene_loop);
    weir_client_destroy(gateway.client);
    gw_keys_destroy(gateway.keys);
    gw_access_log_finish(&gateway.log);
    close(fds[1]);
    read_log(fds[0], passage->log, sizeof(passage->log));
    assert_int_equal(weir__budget_used(weir__budget_process()), used);
    assert_int_equal(weir__alloc_live(), live);
}

/* ---- what a test asks of it ---- */

static inline void expect_part(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("no \"%s\" in:\n%s", part, text);
    }
}

static inline void expect_none(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) {
        fail_msg("\"%s\" in:\n%s", part, text);
    }
}

/* The fields of a scripted head: name, value, ..., NULL. */
static inline struct weir_fields *fields_of(const char *const *texts)
{
    struct weir_fields *fields;

    assert_int_equal(weir_fields_create(&fields), 0);
    for (; *texts != NULL; texts += 2) {
        assert_int_equal(weir_fields_add(fields, weir_str(texts[0]), weir_str(texts[1])), 0);
    }
    return fields;
}
#define FIELDS(...) fields_of((const char *const[]){__VA_ARGS__, NULL})

/* The last number behind `"name":` of a log record, in microseconds; the record writes ms with three digits. */
static inline int64_t log_us(const char *object, const char *name)
{
    char key[40];
    long long ms, us;
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":", name);
    at = strstr(object, key);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(key), "%lld.%03lld", &ms, &us), 2);
    return ms * 1000 + us;
}

/* One direction's clock as logged: "down" or "up". Its sum must be the total. */
static inline int64_t log_stall(const char *log, const char *direction, const char *name)
{
    static const char *const names[] = {"moving", "wait_upstream", "stream_window", "conn_window",
                                        "socket", "shaped",        "gateway",       "idle"};
    char key[40];
    const char *object;
    int64_t sum = 0;

    snprintf(key, sizeof(key), "\"%s\":{", direction);
    object = strstr(log, key);
    assert_non_null(object);
    for (size_t i = 0; i < COUNT(names); i++) {
        sum += log_us(object, names[i]);
    }
    assert_int_equal(sum, log_us(log, "total"));
    return log_us(object, name);
}

#endif
