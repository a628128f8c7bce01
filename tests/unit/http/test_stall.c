/* SPDX-License-Identifier: MIT */
/* The clocks: whose fault it is, when that is too much, and where the time went. */
#include "http_test.h"

#include <weir/channel.h>

/* ---- handlers ---- */

static struct weir__memory_step drops[101]; /* a script of many equal steps */

struct told {
    int result;              /* of the call under test, filled in */
    int64_t at_ms;           /* when it came back */
    bool gone;               /* as the handler saw it then */
    enum weir_reason reason; /* ... */
    struct weir_error error; /* of the stream it was made on */
    uint64_t bytes;
    int64_t work_ms; /* the handler's own time between its calls */
    int64_t wait_ms; /* deadline of each wait; 0: none of its own */
    size_t len;
};

static int reads(struct weir_req *req, void *arg)
{
    struct told *told = arg;
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *chunk;

    for (;;) {
        int r = weir_next(body, told->wait_ms > 0 ? weir_after_ms(told->wait_ms) : -1, &chunk);

        if (r == WEIR_ETIMEDOUT) {
            continue;
        }
        if (r <= 0) {
            told->result = r;
            break;
        }
        told->bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
        assert_int_equal(weir_sleep(weir_after_ms(told->work_ms)), 0);
    }
    told->at_ms = scene_ms();
    told->gone = weir_req_gone(req, &told->reason);
    weir_source_error(body, &told->error);
    return told->result < 0 ? told->result : weir_reply_empty(req, 200, NULL);
}

static int writes(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct told *told = arg;
    int r;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    do {
        r = emit_pattern(sink, told->bytes, told->len, -1);
        told->bytes += r == 0 ? told->len : 0;
        if (told->work_ms > 0 && weir_sleep(weir_after_ms(told->work_ms)) < 0) {
            break;
        }
    } while (r == 0 && told->bytes < 1000000);
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    told->result = r;
    told->at_ms = scene_ms();
    told->gone = weir_req_gone(req, &told->reason);
    weir_sink_error(sink, &told->error);
    return r;
}

/* ---- reading ---- */

static const struct weir__memory_step a_gap[] = {
    {.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = 5},
    {.at_ms = 40000, .act = WEIR__MEMORY_SEND, .bytes = 5},
    {.at_ms = 40000, .act = WEIR__MEMORY_SEND_END}};

static void the_first_byte_is_late(void **state)
{
    struct told told = {0};
    struct scene scene = {
        .handler = reads,
        .arg = &told,
        .steps = a_gap + 1,
        .count = 2,
        .opts = {.body_length = 10, .limits = {.first_byte_ms = 8000, .read_gap_ms = 50000}}};

    (void)state;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 8000);
    assert_int_equal(told.error.side, WEIR_SIDE_SOURCE);
    assert_int_equal(told.error.reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(scene.result.status, 408);
    assert_true(scene.result.ended);
}

static void a_gap_is_too_long(void **state)
{
    struct told told = {0};
    struct scene scene = {
        .handler = reads,
        .arg = &told,
        .steps = a_gap,
        .count = 3,
        .opts = {.body_length = 10, .limits = {.first_byte_ms = 50000, .read_gap_ms = 9000}}};

    (void)state;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 9000);
    assert_int_equal(told.bytes, 5);
    /* A reader that looks up now and then does not set the clock back. */
    told = (struct told){.wait_ms = 1000};
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 9000);
    /* Bytes that come with the last tick are in time. */
    told = (struct told){0};
    scene.opts.limits.read_gap_ms = 40000;
    play(&scene);
    assert_int_equal(told.result, 0);
    assert_int_equal(told.bytes, 10);
}

static void a_slow_handler_trips_no_clock_of_the_client(void **state)
{
    struct told told = {.work_ms = 100000};
    struct scene scene = {.handler = reads,
                          .arg = &told,
                          .steps = a_gap,
                          .count = 3,
                          .opts = {.body_length = 10,
                                   .limits = {.first_byte_ms = 1000,
                                              .read_gap_ms = 1000,
                                              .write_stall_ms = 1000,
                                              .min_rate = 1000}}};

    (void)state;
    play(&scene);
    assert_int_equal(told.result, 0);
    assert_int_equal(told.bytes, 10);
    told = (struct told){.work_ms = 100000, .len = 300000};
    scene.handler = writes;
    play(&scene);
    assert_int_equal(told.result, 0);
}

static void a_body_that_trickles(void **state)
{
    struct told told = {0};
    struct scene scene = {
        .handler = reads,
        .arg = &told,
        .steps = drops,
        .count = 40,
        .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .limits = {.read_gap_ms = 30000}}};

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        drops[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i * 2000, .act = WEIR__MEMORY_SEND, .bytes = 100};
    }
    drops[39].act = WEIR__MEMORY_SEND_END;
    scene.opts.limits.min_rate = 50;
    play(&scene);
    assert_int_equal(told.result, 0);
    assert_int_equal(told.bytes, 3900);
    told = (struct told){0};
    scene.opts.limits.min_rate = 60;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
    assert_int_equal(told.error.reason, WEIR_REASON_STALL);
    /* The same when nothing comes at all and there is no other clock. */
    told = (struct told){0};
    scene.opts.limits.read_gap_ms = 0;
    scene.steps = drops + 39;
    scene.count = 1;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
}

/* ---- writing ---- */

static void a_client_that_takes_nothing(void **state)
{
    struct told told = {.len = 100};
    struct scene scene = {.handler = writes,
                          .arg = &told,
                          .opts = {.socket = 250, .limits = {.write_stall_ms = 7000}}};

    (void)state;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 7000);
    assert_int_equal(told.bytes, 200);
    assert_int_equal(told.error.side, WEIR_SIDE_SINK);
    assert_int_equal(told.error.reason, WEIR_REASON_STALL);
    assert_true(told.gone); /* it has as good as left */
    assert_int_equal(told.reason, WEIR_REASON_STALL);
    assert_true(scene.result.aborted);
    assert_int_equal(scene.result.abort_reason, WEIR_REASON_STALL);
    assert_int_equal(scene.result.stall.socket_us, 7000000);
    /* Nothing at all, and only the rate is watched. */
    told = (struct told){.len = 100};
    scene.opts.limits = (struct weir__limits){.min_rate = 1};
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
}

static void a_client_that_takes_a_little(void **state)
{
    struct told told = {.len = 9900}; /* one chunk: its progress must show */
    struct scene scene = {
        .handler = writes,
        .arg = &told,
        .steps = drops,
        .count = 100,
        .opts = {.socket = WEIR__MEMORY_NONE, .limits = {.write_stall_ms = 3000}}};

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        drops[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i * 2000, .act = WEIR__MEMORY_SOCKET, .bytes = 100};
    }
    told.bytes = 1000000 - 9900;
    play(&scene);
    assert_int_equal(told.result, 0);
    assert_int_equal(told.at_ms, 98 * 2000);
    told.bytes = 1000000 - 9900;
    scene.opts.limits.min_rate = 50;
    play(&scene);
    assert_int_equal(told.result, 0);
    told.bytes = 1000000 - 9900;
    scene.opts.limits.min_rate = 60;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
}

static int tries_and_ends(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct told *told = arg;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 9900, 0), 0); /* taken whole: the end waits for it */
    told->result = weir_end(sink, NULL);
    told->at_ms = scene_ms();
    return told->result;
}

static void an_end_that_makes_progress(void **state)
{
    struct told told = {0};
    struct scene scene = {
        .handler = tries_and_ends,
        .arg = &told,
        .steps = drops,
        .count = 100,
        .opts = {.socket = 1, .limits = {.write_stall_ms = 3000, .min_rate = 50}}};

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        drops[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i * 2000, .act = WEIR__MEMORY_SOCKET, .bytes = 100};
    }
    play(&scene);
    assert_int_equal(told.result, 0);
    assert_true(scene.result.ended);
    told = (struct told){0};
    scene.count = 3;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 4000 + 3000);
    assert_true(scene.result.aborted);
}

/* Both directions have clocks of their own. */
static int reads_and_writes(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct told *told = arg;
    struct weir_chunk *chunk;
    int r;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    while ((r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        told->bytes += weir_chunk_len(chunk);
        r = weir_emit_take(sink, chunk, -1);
        if (r < 0) {
            break;
        }
    }
    told->result = r;
    told->at_ms = scene_ms();
    return r < 0 ? r : weir_end(sink, NULL);
}

static void the_rates_of_both_directions_are_apart(void **state)
{
    struct told told = {0};
    struct scene scene = {.handler = reads_and_writes,
                          .arg = &told,
                          .steps = drops,
                          .count = 101,
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN,
                                   .socket = WEIR__MEMORY_NONE,
                                   .limits = {.min_rate = 60}}};

    (void)state;
    /* Comes at once, 12 KB; goes at 50 bytes a second. */
    drops[0] = (struct weir__memory_step){.act = WEIR__MEMORY_SEND, .bytes = 12000};
    for (size_t i = 1; i < 101; i++) {
        drops[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i * 2000, .act = WEIR__MEMORY_SOCKET, .bytes = 100};
    }
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
    /* The other way round: comes at 50 bytes a second, goes at once. */
    for (size_t i = 0; i < 101; i++) {
        drops[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i * 2000, .act = WEIR__MEMORY_SEND, .bytes = 100};
    }
    told = (struct told){0};
    scene.opts.socket = 0;
    play(&scene);
    assert_int_equal(told.result, WEIR_ESTALLED);
    assert_int_equal(told.at_ms, 30000);
}

/* ---- where the time went ---- */

struct stations {
    size_t len;
    int64_t sleep_ms, compute_us;
    bool hold;
};

static int visits(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct stations *stations = arg;
    struct weir_stall stall;

    if (stations->hold) {
        weir_req_hold(req, true);
        assert_int_equal(weir_sleep(weir_after_ms(70)), 0);
        weir_req_hold(req, false);
    }
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(weir_sleep(weir_after_ms(stations->sleep_ms)), 0);
    scene_us += stations->compute_us;
    assert_int_equal(emit_pattern(sink, 0, stations->len, -1), 0);
    weir_req_stall(req, &stall);
    assert_int_equal(stall_sum(&stall), stall.wall_us);
    return weir_end(sink, NULL);
}

static void expect_stall(struct scene *scene, struct weir_stall wanted)
{
    struct weir_stall *got = &scene->result.stall;

    play(scene);
    assert_true(scene->result.ended);
    assert_int_equal(got->moving_us, wanted.moving_us);
    assert_int_equal(got->wait_source_us, wanted.wait_source_us);
    assert_int_equal(got->stream_window_us, wanted.stream_window_us);
    assert_int_equal(got->conn_window_us, wanted.conn_window_us);
    assert_int_equal(got->socket_us, wanted.socket_us);
    assert_int_equal(got->held_us, wanted.held_us);
    assert_int_equal(got->shaped_us, 0);
    assert_int_equal(got->wall_us, stall_sum(&wanted));
}

static void every_cause_has_its_name(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 100, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 100},
        {.at_ms = 250, .act = WEIR__MEMORY_CONN_WINDOW, .bytes = 100},
        {.at_ms = 450, .act = WEIR__MEMORY_SOCKET, .bytes = 100},
        {.at_ms = 700, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 1000},
        {.at_ms = 700, .act = WEIR__MEMORY_CONN_WINDOW, .bytes = 1000},
        {.at_ms = 800, .act = WEIR__MEMORY_SOCKET, .bytes = 1000},
    };
    struct stations stations = {.len = 300};
    struct scene scene = {.handler = visits,
                          .arg = &stations,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.stream_window = WEIR__MEMORY_NONE,
                                   .conn_window = WEIR__MEMORY_NONE,
                                   .socket = WEIR__MEMORY_NONE}};

    (void)state;
    expect_stall(&scene, (struct weir_stall){.stream_window_us = 350000,
                                             .conn_window_us = 150000,
                                             .socket_us = 300000});
    stations.sleep_ms = 50;
    expect_stall(&scene, (struct weir_stall){.wait_source_us = 50000,
                                             .stream_window_us = 300000,
                                             .conn_window_us = 150000,
                                             .socket_us = 300000});
    stations.hold = true;
    expect_stall(&scene, (struct weir_stall){.held_us = 70000,
                                             .wait_source_us = 50000,
                                             .stream_window_us = 250000,
                                             .conn_window_us = 130000,
                                             .socket_us = 300000});
}

static void moving_is_only_inside_a_call(void **state)
{
    struct stations stations = {.len = 300, .sleep_ms = 5, .compute_us = 700};
    struct scene scene = {
        .handler = visits, .arg = &stations, .opts = {.write_us = 30, .max_room = 100}};

    (void)state;
    expect_stall(&scene, (struct weir_stall){.moving_us = 90, .wait_source_us = 5700});
}

/* A pipe between two streams: whoever was waited for. */
static void a_pipe_blames_the_right_side(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 1000, .act = WEIR__MEMORY_SEND, .bytes = 1000},
        {.at_ms = 3000, .act = WEIR__MEMORY_SOCKET, .bytes = 600},
        {.at_ms = 4000, .act = WEIR__MEMORY_SOCKET, .bytes = 1000},
        {.at_ms = 9000, .act = WEIR__MEMORY_SEND, .bytes = 500},
        {.at_ms = 9500, .act = WEIR__MEMORY_SEND_END},
    };
    struct told told = {0};
    struct scene scene = {
        .handler = reads_and_writes,
        .arg = &told,
        .steps = steps,
        .count = COUNT(steps),
        .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .socket = WEIR__MEMORY_NONE}};

    (void)state;
    expect_stall(&scene,
                 (struct weir_stall){.wait_source_us = 1000000 + 5500000, .socket_us = 3000000});
}

/* A combinator between them keeps the books. */
static int replies_from_a_channel(struct weir_req *req, void *arg)
{
    struct weir_channel *channel;
    void *item;

    (void)arg;
    assert_int_equal(weir_channel_create(NULL, &channel), 0);
    assert_int_equal(weir_channel_recv(channel, weir_after_ms(25), &item), WEIR_ETIMEDOUT);
    weir_channel_unref(channel);
    return weir_reply_empty(req, 200, NULL);
}

static void other_waits_are_waits_for_the_source(void **state)
{
    struct scene scene = {.handler = replies_from_a_channel};

    (void)state;
    expect_stall(&scene, (struct weir_stall){.wait_source_us = 25000});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_byte_is_late),
        cmocka_unit_test(a_gap_is_too_long),
        cmocka_unit_test(a_slow_handler_trips_no_clock_of_the_client),
        cmocka_unit_test(a_body_that_trickles),
        cmocka_unit_test(a_client_that_takes_nothing),
        cmocka_unit_test(a_client_that_takes_a_little),
        cmocka_unit_test(an_end_that_makes_progress),
        cmocka_unit_test(the_rates_of_both_directions_are_apart),
        cmocka_unit_test(every_cause_has_its_name),
        cmocka_unit_test(moving_is_only_inside_a_call),
        cmocka_unit_test(a_pipe_blames_the_right_side),
        cmocka_unit_test(other_waits_are_waits_for_the_source),
    };

    return cmocka_run_group_tests_name("http stall", tests, NULL, NULL);
}
