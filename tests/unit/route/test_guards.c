/* SPDX-License-Identifier: MIT */
/* Middleware that says no, or not so much. */
#include "route_test.h"

#include <weir/body.h>
#include <weir/guards.h>
#include <weir/sources.h>

#include "route/limit_table.h"

/* ---- body limit ---- */

static int read_it(struct weir_req *req, void *arg)
{
    uint64_t bytes = 0;
    int r = read_pattern(weir_req_body(req), &bytes);

    (void)arg;
    return r < 0 ? r : weir_reply_text(req, 200, "%llu", (unsigned long long)bytes);
}

static void a_declared_body_over_the_limit(void **state)
{
    struct weir_body_limit_opts opts = {.max_bytes = 100};
    struct weir_middleware items[] = {{weir_mw_body_limit, &opts}};
    struct scene scene = {.handler = read_it, .opts = {.method = "POST", .body_length = 101}};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 413);
    assert_int_equal(scene.result.delivered, 0);

    scene = (struct scene){
        .handler = read_it,
        .opts = {.method = "POST", .body_length = 100},
        .steps = (struct weir__memory_step[]){{.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = 100},
                                              {.at_ms = 0, .act = WEIR__MEMORY_SEND_END}},
        .count = 2};
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 200);
}

/* V6: the limit holds for a body that is streamed, and the client can read the 413. */
static void v6_a_counted_body_over_the_limit(void **state)
{
    struct weir_body_limit_opts outer = {.max_bytes = 100};
    struct weir_body_limit_opts inner = {.max_bytes = 1000}; /* the smaller one stays */
    struct weir_middleware items[] = {{weir_mw_body_limit, &outer}, {weir_mw_body_limit, &inner}};
    struct scene scene = {
        .handler = read_it,
        .opts = {.method = "POST", .body_length = WEIR_LENGTH_UNKNOWN},
        .steps = (struct weir__memory_step[]){{.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = 101},
                                              {.at_ms = 0, .act = WEIR__MEMORY_SEND_END}},
        .count = 2};

    (void)state;
    play_with(&scene, items, 2);
    assert_int_equal(scene.result.status, 413);
    assert_int_equal(answer.status, 413);
    assert_true(scene.result.ended);
}

/* ---- deadlines ---- */

static int sleeps(struct weir_req *req, void *arg)
{
    int r = weir_sleep(weir_after_ms(*(int *)arg));

    return r < 0 ? r : weir_reply_text(req, 200, "late");
}

static int sleeps_and_answers(struct weir_req *req, void *arg)
{
    if (weir_sleep(weir_after_ms(*(int *)arg)) == WEIR_ECANCELED) {
        return weir_reply_text(req, 200, "from the cache");
    }
    return weir_reply_text(req, 200, "fresh");
}

static void a_deadline_for_the_head(void **state)
{
    struct weir_deadlines_opts opts = {.head_ms = 200};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    int ms = 5000;
    struct scene scene = {.handler = sleeps, .arg = &ms};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 504);
    assert_int_equal(scene.ended_ms, 200);
    assert_int_equal(answer.status, 504);
    assert_int_equal(answer_code, WEIR_ECANCELED);

    opts.status = 503;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 503);

    ms = 199;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 200);
    assert_int_equal(scene.ended_ms, 199);

    ms = 5000;
    scene = (struct scene){.handler = sleeps_and_answers, .arg = &ms};
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 200);
    assert_int_equal(scene.ended_ms, 200);
}

/* V15: the deadline of a head does not end a stream; one for the whole of it does, visibly. */
static void v15_deadlines_are_by_phase(void **state)
{
    struct weir_deadlines_opts opts = {.head_ms = 200};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    struct streaming plan = {10, 10, 100};
    struct scene scene = {.handler = stream, .arg = &plan};

    (void)state;
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);
    assert_int_equal(scene.ended_ms, 1000);

    opts.total_ms = 450;
    play_with(&scene, items, 1);
    assert_true(scene.result.aborted);
    assert_int_equal(scene.result.abort_reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(scene.ended_ms, 450);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_ABORTED);
    assert_int_equal(answer.error.reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(answer.status, 200);
}

static void a_total_deadline_of_a_stalled_client(void **state)
{
    struct weir_deadlines_opts opts = {.total_ms = 300};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    struct streaming plan = {100, 1000, 0};
    struct scene scene = {
        .handler = stream, .arg = &plan, .opts = {.socket = 1500, .max_room = 1000}};

    (void)state;
    play_with(&scene, items, 1);
    assert_true(scene.result.aborted);
    assert_int_equal(scene.ended_ms, 300);
}

static void a_deadline_for_the_bodys_gaps(void **state)
{
    struct weir_deadlines_opts opts = {.body_gap_ms = 500};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    struct scene scene = {
        .handler = read_it,
        .opts = {.method = "POST", .body_length = 20},
        .steps =
            (struct weir__memory_step[]){{.at_ms = 300, .act = WEIR__MEMORY_SEND, .bytes = 10},
                                         {.at_ms = 2000, .act = WEIR__MEMORY_SEND, .bytes = 10},
                                         {.at_ms = 2000, .act = WEIR__MEMORY_SEND_END}},
        .count = 3};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 408);
    assert_int_equal(answer_code, WEIR_ESTALLED);
}

static int discards(struct weir_req *req, void *arg)
{
    int *code = arg;

    *code = weir_discard(weir_req_body(req), UINT64_MAX, -1);
    return *code < 0 ? *code : weir_reply_empty(req, 204, NULL);
}

/* The client goes on sending, or is silent and has all the patience of its server's: the handler does not outlast it. */
static void a_deadline_for_the_head_while_the_body_is_read(void **state)
{
    struct weir_deadlines_opts all[] = {{.head_ms = 200}, {.total_ms = 200}};
    const struct weir__memory_step steps[] = {{.at_ms = 100, .act = WEIR__MEMORY_SEND, .bytes = 10},
                                              {.at_ms = 300, .act = WEIR__MEMORY_SEND, .bytes = 10},
                                              {.at_ms = 900, .act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct weir_middleware items[] = {{weir_mw_deadlines, &all[i]}};
        int code = 0;
        struct scene scene = {.handler = discards,
                              .arg = &code,
                              .opts = {.body_length = WEIR_LENGTH_UNKNOWN},
                              .steps = steps,
                              .count = COUNT(steps)};

        play_with(&scene, items, 1);
        assert_int_equal(code, WEIR_ECANCELED);
        assert_int_equal(scene.result.status, 504);
        assert_int_equal(scene.ended_ms, 200);
        assert_true(scene.result.ended); /* the client can read it */
    }
}

static void a_deadline_for_an_idle_reply(void **state)
{
    struct weir_deadlines_opts opts = {.reply_idle_ms = 400};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    struct streaming plan = {10, 10, 300};
    struct scene scene = {.handler = stream, .arg = &plan};

    (void)state;
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);

    plan = (struct streaming){2, 10, 5000};
    scene = (struct scene){.handler = stream, .arg = &plan};
    play_with(&scene, items, 1);
    assert_true(scene.result.aborted);
    assert_in_range(scene.ended_ms, 400, 600);

    /* Who waits for his client is not idle. */
    plan = (struct streaming){3, 1000, 0};
    scene = (struct scene){.handler = stream,
                           .arg = &plan,
                           .opts = {.socket = 1500, .max_room = 1000},
                           .steps =
                               (struct weir__memory_step[]){
                                   {.at_ms = 3000, .act = WEIR__MEMORY_SOCKET, .bytes = 5000}},
                           .count = 1};
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);
    assert_int_equal(scene.ended_ms, 3000);
}

static void a_deadline_for_a_stalled_client(void **state)
{
    struct weir_deadlines_opts opts = {.client_stall_ms = 700};
    struct weir_middleware items[] = {{weir_mw_deadlines, &opts}};
    struct streaming plan = {3, 1000, 0};
    struct scene scene = {
        .handler = stream, .arg = &plan, .opts = {.socket = 1500, .max_room = 1000}};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_CLIENT_STALLED);
    assert_int_equal(scene.ended_ms, 700);
}

/* ---- concurrency ---- */

static struct weir_concurrency *slots;
static size_t used_inside;

static int stream_in_slot(struct weir_req *req, void *arg)
{
    used_inside = weir_concurrency_used(slots);
    return stream(req, arg);
}

static void v14_a_slot_until_the_stream_ends(void **state)
{
    struct weir_concurrency_opts opts = {.max = 1, .retry_after_s = 7};
    struct streaming plan = {10, 10, 100};
    struct weir_middleware items[1];
    struct weir_chain chain = {items, 1, stream_in_slot, &plan};
    struct weir__memory_opts memory_opts = {0};
    struct weir__memory *first, *second, *third;
    struct weir__memory_result result;
    struct weir__timer timer;
    int64_t us = 1000000;
    struct weir__loop *loop;

    (void)state;
    assert_int_equal(weir_concurrency_create(&(struct weir_concurrency_opts){0}, &slots),
                     WEIR_EINVAL);
    assert_int_equal(weir_concurrency_create(&opts, &slots), 0);
    items[0] = (struct weir_middleware){weir_mw_concurrency, slots};
    (void)timer;
    assert_int_equal(weir__loop_create(scene_clock, &us, &loop), 0);
    assert_int_equal(weir__memory_create(loop, &memory_opts, &first), 0);
    assert_int_equal(weir__memory_create(loop, &memory_opts, &second), 0);
    assert_int_equal(weir__memory_create(loop, &memory_opts, &third), 0);
    assert_int_equal(weir__memory_request(first, weir_chain_handle, &chain), 0);
    assert_int_equal(weir__memory_request(second, weir_chain_handle, &chain), 0);
    weir__loop_run_until_idle(loop);
    assert_int_equal(used_inside, 1);
    assert_int_equal(weir_concurrency_used(slots), 0);
    weir__memory_result(first, &result);
    assert_int_equal(result.status, 200);
    weir__memory_result(second, &result);
    assert_int_equal(result.status, 503);
    assert_non_null(strstr(weir__memory_trace(second), "  Retry-After: 7\n"));
    /* It is free again. */
    assert_int_equal(weir__memory_request(third, weir_chain_handle, &chain), 0);
    weir__loop_run_until_idle(loop);
    weir__memory_result(third, &result);
    assert_int_equal(result.status, 200);
    weir__memory_destroy(first);
    weir__memory_destroy(second);
    weir__memory_destroy(third);
    weir__loop_destroy(loop);
    weir_concurrency_destroy(slots);
}

static int leaves_it_open(struct weir_req *req, void *arg)
{
    struct weir_sink *sink = NULL;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    return WEIR_EIO;
}

static void expect_slot_back(struct scene *scene)
{
    struct weir_middleware items[] = {{weir_mw_concurrency, slots}};

    play_with(scene, items, 1);
    assert_int_not_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
    assert_int_not_equal(scene->result.status, 503);
    assert_int_equal(weir_concurrency_used(slots), 0);
}

static void a_slot_comes_back_however_it_ends(void **state)
{
    static struct streaming plan = {1000, 1000, 10};
    static struct weir__memory_step gone = {
        .at_ms = 55, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET};
    static struct scene scenes[] = {
        {.handler = stream, .arg = &plan, .steps = &gone, .count = 1},
        {.handler = stream,
         .arg = &plan,
         .opts = {.socket = 500, .limits = {.write_stall_ms = 50}}},
        {.handler = leaves_it_open},
        {.handler = stream, .arg = &plan, .opts = {.fail_begin = WEIR_ENOMEM}},
    };

    (void)state;
    assert_int_equal(weir_concurrency_create(&(struct weir_concurrency_opts){.max = 1}, &slots), 0);
    for (size_t i = 0; i < COUNT(scenes); i++) {
        expect_slot_back(&scenes[i]);
    }
    weir_concurrency_destroy(slots);
}

/* ---- rate limit ---- */

static int ask_as(struct weir_rate_limit *limit, const char *who, int ms)
{
    struct weir_middleware items[] = {{wait_first, &ms}, {weir_mw_rate_limit, limit}};
    struct scene scene = {.handler = hello};

    scene.opts.fields = who != NULL ? FIELDS(who) : NULL;
    play_with(&scene, items, 2);
    return scene.result.status;
}

static void a_rate_per_key(void **state)
{
    struct weir_rate_limit_opts opts = {.requests = 3,
                                        .period_ms = 3000,
                                        .key = weir_limit_key_field,
                                        .key_arg = (char[]){"X-Key"}};
    struct weir_rate_limit *limit;

    (void)state;
    assert_int_equal(weir_rate_limit_create(&(struct weir_rate_limit_opts){0}, &limit),
                     WEIR_EINVAL);
    assert_int_equal(weir_rate_limit_create(&opts, &limit), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask_as(limit, "X-Key: a", 0), 200);
    }
    assert_int_equal(ask_as(limit, "X-Key: a", 0), 429);
    assert_true(has_line("Retry-After: 1"));
    assert_int_equal(ask_as(limit, "X-Key: b", 0), 200);
    assert_int_equal(ask_as(limit, NULL, 0), 200); /* nobody is not limited */
    assert_int_equal(ask_as(limit, "X-Key: a", 999), 429);
    assert_int_equal(ask_as(limit, "X-Key: a", 1000), 200); /* one each second */
    assert_int_equal(ask_as(limit, "X-Key: a", 1000), 429);
    assert_int_equal(ask_as(limit, "X-Key: a", 60000), 200);
    weir_rate_limit_destroy(limit);
}

static void a_burst_of_one(void **state)
{
    struct weir_rate_limit_opts opts = {.requests = 1,
                                        .period_ms = 10000,
                                        .burst = 1,
                                        .key = weir_limit_key_field,
                                        .key_arg = (char[]){"X-Key"}};
    struct weir_rate_limit *limit;

    (void)state;
    assert_int_equal(weir_rate_limit_create(&opts, &limit), 0);
    assert_int_equal(ask_as(limit, "X-Key: a", 0), 200);
    assert_int_equal(ask_as(limit, "X-Key: a", 1), 429);
    assert_true(has_line("Retry-After: 10"));
    assert_int_equal(ask_as(limit, "X-Key: a", 10000), 200);
    weir_rate_limit_destroy(limit);
}

/* With far more keys than room, live clocks stay and dead ones go. */
static void the_table_forgets_the_least_limited(void **state)
{
    struct weir__limit_table *table;
    const int64_t cost = 1000;
    int64_t now = 1000000;
    size_t forgotten = 0;

    (void)state;
    assert_int_equal(weir__limit_table_create(64, &table), 0);
    /* Eight keys that owe a lot, then many that owe nothing. */
    for (uint64_t i = 1; i <= 8; i++) {
        assert_int_equal(
            weir__limit_take(table, i * 0x9e3779b97f4a7c15u, now, 10 * cost, 1000 * cost, true),
            990 * cost);
    }
    for (uint64_t i = 100; i < 100000; i++) {
        assert_int_equal(
            weir__limit_take(table, i * 0x9e3779b97f4a7c15u, now, 10 * cost, cost, false), 0);
    }
    for (uint64_t i = 1; i <= 8; i++) {
        forgotten +=
            weir__limit_take(table, i * 0x9e3779b97f4a7c15u, now, 10 * cost, cost, false) == 0;
    }
    assert_int_equal(forgotten, 0);
    weir__limit_table_destroy(table);
}

static struct weir_view fake_peer;

static struct weir_view peer_of(struct weir_req *req)
{
    (void)req;
    return fake_peer;
}

static int look_at_address(struct weir_req *req, void *arg)
{
    static const struct {
        const char *peer;
        size_t len;
        uint8_t key[8];
    } cases[] = {
        {"192.0.2.1:4711", 4, {192, 0, 2, 1}},
        {"[2001:db8:1:2:3:4:5:6]:80", 8, {0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2}},
        {"[::ffff:192.0.2.1]:80", 4, {192, 0, 2, 1}},
        {"unix", 0, {0}},
        {"", 0, {0}},
        {"[]:1", 0, {0}},
        {":1", 0, {0}},
    };
    uint8_t key[WEIR_LIMIT_KEY_BYTES];

    (void)arg;
    req->peer = peer_of;
    for (size_t i = 0; i < COUNT(cases); i++) {
        fake_peer = weir_str(cases[i].peer);
        assert_int_equal(weir_limit_key_address(req, NULL, key), cases[i].len);
        assert_memory_equal(key, cases[i].key, cases[i].len);
    }
    return weir_reply_empty(req, 204, NULL);
}

static void the_key_of_an_address(void **state)
{
    struct scene scene = {.handler = look_at_address};

    (void)state;
    play(&scene);
}

/* ---- bandwidth ---- */

static void a_bandwidth_per_stream(void **state)
{
    struct weir_bandwidth_opts opts = {.stream_bytes_per_s = 10000, .burst_bytes = 1000};
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[1];
    struct streaming plan = {11, 1000, 0};
    struct scene scene = {.handler = stream, .arg = &plan};

    (void)state;
    assert_int_equal(weir_bandwidth_create(&(struct weir_bandwidth_opts){0}, &bandwidth),
                     WEIR_EINVAL);
    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    items[0] = (struct weir_middleware){weir_mw_bandwidth, bandwidth};
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);
    assert_true(scene.result.pattern);
    assert_int_equal(scene.result.taken, 11000);
    assert_int_equal(scene.ended_ms, 1000); /* 1,000 at once, 10,000 in a second */
    assert_int_equal(answer.stall.shaped_us, 1000000);
    weir_bandwidth_destroy(bandwidth);
}

static int piped(struct weir_req *req, void *arg)
{
    struct weir_source *source = NULL;
    static uint8_t bytes[5000];
    int r;

    (void)arg;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = weir__memory_byte(i);
    }
    r = weir_bytes_source_create(weir_bytes(bytes, sizeof(bytes)), &source);
    return r < 0 ? r : weir_reply_source_take(req, 200, NULL, sizeof(bytes), source);
}

static int tries(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int *refused = arg;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    for (uint64_t at = 0; at < 3000 && r == 0;) {
        r = emit_pattern(sink, at, 1000, 0);
        if (r == 0) {
            at += 1000;
        } else if (r == WEIR_EFLOW) {
            (*refused)++;
            r = weir_wait_writable(sink, -1);
        }
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void bandwidth_of_pipes_and_tries(void **state)
{
    struct weir_bandwidth_opts opts = {.stream_bytes_per_s = 1000, .burst_bytes = 1000};
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[1];
    struct scene scene = {.handler = piped};
    int refused = 0;

    (void)state;
    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    items[0] = (struct weir_middleware){weir_mw_bandwidth, bandwidth};
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);
    assert_true(scene.result.pattern);
    assert_in_range(scene.ended_ms, 3990, 4010);

    scene = (struct scene){.handler = tries, .arg = &refused};
    play_with(&scene, items, 1);
    assert_true(scene.result.ended);
    assert_true(scene.result.pattern);
    assert_int_equal(scene.result.taken, 3000);
    assert_true(refused >= 1);
    assert_in_range(scene.ended_ms, 1000, 2000); /* the last try leaves it in debt */
    weir_bandwidth_destroy(bandwidth);
}

static void a_bandwidth_shared_by_a_key(void **state)
{
    struct weir_bandwidth_opts opts = {.key_bytes_per_s = 10000,
                                       .burst_bytes = 100,
                                       .key = weir_limit_key_field,
                                       .key_arg = (char[]){"X-Key"}};
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[1];
    struct streaming plan = {10, 1000, 0};
    struct weir_chain chain = {items, 1, stream, &plan};
    static const char *const who[] = {"X-Key: a", "X-Key: a", "X-Key: b"};
    struct weir__memory *memories[3];
    struct weir__memory_result result;
    int64_t us = 1000000;
    struct weir__loop *loop;

    (void)state;
    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    items[0] = (struct weir_middleware){weir_mw_bandwidth, bandwidth};
    assert_int_equal(weir__loop_create(scene_clock, &us, &loop), 0);
    for (size_t i = 0; i < 3; i++) {
        struct weir__memory_opts memory_opts = {.fields = fields_of(&who[i], 1)};

        assert_int_equal(weir__memory_create(loop, &memory_opts, &memories[i]), 0);
        assert_int_equal(weir__memory_request(memories[i], weir_chain_handle, &chain), 0);
    }
    weir__loop_run_until_idle(loop);
    for (size_t i = 0; i < 3; i++) {
        weir__memory_result(memories[i], &result);
        assert_true(result.ended);
        /* Two share ten thousand a second; the third has them for itself. */
        assert_in_range(result.stall.wall_us, i < 2 ? 1900000 : 980000, i < 2 ? 2000000 : 1000000);
        weir__memory_destroy(memories[i]);
    }
    weir__loop_destroy(loop);
    weir_bandwidth_destroy(bandwidth);
}

static void a_client_that_leaves_a_shaped_stream(void **state)
{
    struct weir_bandwidth_opts opts = {.stream_bytes_per_s = 10, .burst_bytes = 10};
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[1];
    struct streaming plan = {11, 1000, 0};
    struct weir__memory_step gone = {3210, WEIR__MEMORY_GONE, .reason = WEIR_REASON_FIN};
    struct scene scene = {.handler = stream, .arg = &plan, .steps = &gone, .count = 1};

    (void)state;
    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    items[0] = (struct weir_middleware){weir_mw_bandwidth, bandwidth};
    play_with(&scene, items, 1);
    assert_int_equal(scene.ended_ms, 3210);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_CLIENT_GONE);
    weir_bandwidth_destroy(bandwidth);
}

/* ---- secrets ---- */

static int known = 5;

static int check(struct weir_req *req, struct weir_view secret, void *arg, const void **ret)
{
    (void)req;
    if (weir_secret_equal(secret, weir_str(arg))) {
        *ret = &known;
        return 0;
    }
    return weir_view_equal(secret, weir_str("weak"))   ? 403
           : weir_view_equal(secret, weir_str("down")) ? WEIR_EBUSY
                                                       : 401;
}

static int says_who(struct weir_req *req, void *arg)
{
    (void)arg;
    assert_ptr_equal(weir_req_identity(req), &known);
    return weir_reply_empty(req, 204, NULL);
}

static int present(weir_middleware_fn *fn, void *opts, struct weir_fields *fields)
{
    struct weir_middleware items[] = {{fn, opts}};
    struct scene scene = {.handler = says_who, .opts = {.fields = fields}};

    play_with(&scene, items, 1);
    return scene.result.status;
}

static void bearer_tokens(void **state)
{
    struct weir_bearer_opts opts = {.check = check, .arg = (char[]){"s3cret=="}};
    weir_middleware_fn *fn = weir_mw_bearer;

    (void)state;
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer s3cret==")), 204);
    assert_int_equal(present(fn, &opts, FIELDS("authorization: bearer  s3cret==")), 204);
    assert_int_equal(present(fn, &opts, NULL), 401);
    assert_true(has_line("WWW-Authenticate: Bearer realm=\"weir\""));
    opts.realm = "api";
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer s3cret")), 401);
    assert_true(has_line("WWW-Authenticate: Bearer realm=\"api\", error=\"invalid_token\""));
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer weak")), 403);
    assert_true(has_line("WWW-Authenticate: Bearer realm=\"api\", error=\"insufficient_scope\""));
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer down")), 503);
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer a=b")), 401);
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer =")), 401);
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer s3cret== x")), 401);
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Basic s3cret==")), 401);
    assert_int_equal(present(fn, &opts, FIELDS("Authorization: Bearer")), 401);
    assert_int_equal(
        present(fn, &opts,
                FIELDS("Authorization: Bearer s3cret==", "Authorization: Bearer s3cret==")),
        400);
}

static void api_keys(void **state)
{
    struct weir_api_key_opts opts = {.check = check, .arg = (char[]){"k"}};
    weir_middleware_fn *fn = weir_mw_api_key;

    (void)state;
    assert_int_equal(present(fn, &opts, FIELDS("x-api-key: k")), 204);
    assert_int_equal(present(fn, &opts, FIELDS("X-API-Key: l")), 401);
    assert_true(has_line("WWW-Authenticate: ApiKey realm=\"weir\""));
    assert_int_equal(present(fn, &opts, NULL), 401);
    assert_int_equal(present(fn, &opts, FIELDS("X-API-Key: k", "X-API-Key: k")), 400);
    opts.field = "X-Other";
    assert_int_equal(present(fn, &opts, FIELDS("X-Other: k")), 204);
}

static void equal_secrets(void **state)
{
    (void)state;
    assert_true(weir_secret_equal(weir_str("abc"), weir_str("abc")));
    assert_false(weir_secret_equal(weir_str("abc"), weir_str("abd")));
    assert_false(weir_secret_equal(weir_str("abcabc"), weir_str("abc")));
    assert_false(weir_secret_equal(weir_str("ab"), weir_str("abc")));
    assert_false(weir_secret_equal(weir_str(""), weir_str("abc")));
    assert_false(weir_secret_equal(weir_str(""), weir_str("")));
    assert_false(weir_secret_equal(weir_str("a"), weir_str("")));
}

static void while_allocations_fail(void **state)
{
    struct weir_bandwidth_opts opts = {.stream_bytes_per_s = 100000};
    struct weir_deadlines_opts deadlines = {.head_ms = 1000, .total_ms = 10000};
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[2];
    struct streaming plan = {3, 1000, 0};
    struct scene scene = {.handler = stream, .arg = &plan};

    (void)state;
    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    items[0] = (struct weir_middleware){weir_mw_deadlines, &deadlines};
    items[1] = (struct weir_middleware){weir_mw_bandwidth, bandwidth};
    survive(&scene, items, 2, 200);
    weir_bandwidth_destroy(bandwidth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_declared_body_over_the_limit),
        cmocka_unit_test(v6_a_counted_body_over_the_limit),
        cmocka_unit_test(a_deadline_for_the_head),
        cmocka_unit_test(v15_deadlines_are_by_phase),
        cmocka_unit_test(a_total_deadline_of_a_stalled_client),
        cmocka_unit_test(a_deadline_for_the_bodys_gaps),
        cmocka_unit_test(a_deadline_for_the_head_while_the_body_is_read),
        cmocka_unit_test(a_deadline_for_an_idle_reply),
        cmocka_unit_test(a_deadline_for_a_stalled_client),
        cmocka_unit_test(v14_a_slot_until_the_stream_ends),
        cmocka_unit_test(a_slot_comes_back_however_it_ends),
        cmocka_unit_test(a_rate_per_key),
        cmocka_unit_test(a_burst_of_one),
        cmocka_unit_test(the_table_forgets_the_least_limited),
        cmocka_unit_test(the_key_of_an_address),
        cmocka_unit_test(a_bandwidth_per_stream),
        cmocka_unit_test(bandwidth_of_pipes_and_tries),
        cmocka_unit_test(a_bandwidth_shared_by_a_key),
        cmocka_unit_test(a_client_that_leaves_a_shaped_stream),
        cmocka_unit_test(bearer_tokens),
        cmocka_unit_test(api_keys),
        cmocka_unit_test(equal_secrets),
        cmocka_unit_test(while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
