/* SPDX-License-Identifier: MIT */
/* The test kit: what its client does, and what it records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weir/blocking.h>
#include <weir/mailbox.h>
#include <weir/sse.h>
#include <weir/test.h>
#include <weir/topic.h>

#include "base/alloc.h"
#include "bytes/budget.h"
#include "rt/relay.h"

#include <pthread.h>

static struct weir_test *test;
static struct weir_test_result result;
static int64_t live_before;
static size_t used_before;

static int open_test(void **state)
{
    (void)state;
    live_before = weir__alloc_live();
    used_before = weir__budget_used(weir__budget_process());
    return 0;
}

/* Nothing may be left, and the times must add up. */
static int close_test(void **state)
{
    const struct weir_test_times *times = &result.times;
    int64_t sum =
        times->moving_us + times->source_us + times->client_us + times->shaped_us + times->held_us;

    (void)state;
    weir_test_destroyp(&test);
    weir__relay_stop(); /* the pool of blocking handlers */
    return sum == times->wall_us && weir__alloc_live() == live_before &&
                   weir__budget_used(weir__budget_process()) == used_before
               ? 0
               : -1;
}

static void run(weir_handler_fn *handler, void *arg, struct weir_test_opts opts)
{
    weir_test_destroyp(&test);
    assert_int_equal(weir_test_run(handler, arg, &opts, &test), 0);
    weir_test_result(test, &result);
}

static bool body_is(const char *text)
{
    return weir_view_equal(weir_test_body(test), weir_str(text));
}

/* ---- handlers ---- */

static int hello(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "%.*s from %.*s at %.*s\n", (int)weir_req_method(req).len,
                           (const char *)weir_req_method(req).data, (int)weir_req_peer(req).len,
                           (const char *)weir_req_peer(req).data, (int)weir_req_authority(req).len,
                           (const char *)weir_req_authority(req).data);
}

/* Sends the body back, with trailers. */
static int echo(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    struct weir_fields *trailers = NULL;
    struct weir_chunk *chunk;
    int r = weir_stream_begin(req, 201, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    while (r >= 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        r = weir_emit_take(out, chunk, -1);
    }
    if (r == 0) {
        r = weir_fields_create(&trailers);
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("X-Sum"), weir_str("7"));
    }
    if (r == 0) {
        r = weir_end(out, trailers);
    }
    weir_fields_destroy(trailers);
    weir_sink_destroy(out);
    return r;
}

/* Ticks once a second for ever. */
static int ticks(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    int r = weir_sse_begin(req, 200, NULL, &out);

    (void)arg;
    while (r == 0) {
        r = weir_sleep(weir_after_ms(1000));
        if (r == 0) {
            r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("tick")});
        }
    }
    weir_sink_destroy(out);
    return r;
}

/* Emits *arg bytes, 1000 at a time. */
static int bulk(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    uint8_t bytes[1000] = {0};
    uint64_t left = *(uint64_t *)arg;
    int r = weir_stream_begin(req, 200, NULL, left, &out);

    for (; r == 0 && left > 0; left -= left < 1000 ? left : 1000) {
        r = weir_emit_bytes(out, weir_bytes(bytes, left < 1000 ? (size_t)left : 1000), -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

/* ---- tests ---- */

static void test_a_plain_reply(void **state)
{
    struct weir_test_write write;

    (void)state;
    assert_int_equal(weir_test_run(hello, NULL, NULL, &test), 0);
    weir_test_result(test, &result);
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.status, 200);
    assert_int_equal(result.returned, 0);
    assert_true(body_is("GET from 192.0.2.1:1 at test\n"));
    assert_true(result.length == weir_test_body(test).len);
    assert_true(weir_view_equal(weir_test_field(test, "content-type"),
                                weir_str("text/plain; charset=utf-8")) ||
                !weir_view_is_absent(weir_test_field(test, "content-type")));
    assert_null(weir_test_trailers(test));
    assert_int_equal(weir_test_write(test, 0, &write), 0);
    assert_int_equal(write.at_us, 0);
    assert_int_equal(weir_test_write(test, 1, &write), WEIR_ENOTFOUND);
    run(hello, NULL,
        (struct weir_test_opts){.method = "HEAD", .peer = "[::1]:7", .authority = "example.org"});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.body_bytes, 0);
    assert_true(body_is(""));
}

static void test_body_pieces_and_trailers(void **state)
{
    struct weir_test_write write;

    (void)state;
    run(echo, NULL,
        (struct weir_test_opts){
            .method = "POST",
            WEIR_TEST_SCRIPT({.at_ms = 5, .act = WEIR_TEST_BODY, .text = "one "},
                             {.at_ms = 30, .act = WEIR_TEST_BODY, .text = "three"},
                             {.at_ms = 20, .act = WEIR_TEST_BODY, .data = "two ", .bytes = 4})});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.status, 201);
    assert_true(result.length == WEIR_LENGTH_UNKNOWN);
    assert_true(body_is("one two three"));
    assert_int_equal(result.writes, 3);
    assert_int_equal(weir_test_write(test, 1, &write), 0);
    assert_int_equal(write.at_us, 20000);
    assert_int_equal(write.offset, 4);
    assert_true(weir_view_equal(write.view, weir_str("two ")));
    assert_int_equal(result.request_bytes, 13);
    assert_int_equal(result.over_ms, 30);
    assert_true(weir_view_equal(weir_fields_get(weir_test_trailers(test), weir_str("x-sum")),
                                weir_str("7")));
    assert_non_null(strstr(weir_test_trace(test), "20 body 4\n30 body 5\n30 end\n  X-Sum: 7\n"));
    /* The pattern, declared; the end comes later, with trailers. */
    run(echo, NULL,
        (struct weir_test_opts){
            .method = "POST",
            .declared_length = 100000,
            .keep_bytes = 10,
            WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .bytes = 100000},
                             {.at_ms = 9,
                              .act = WEIR_TEST_BODY_END,
                              .trailers = (const char *const[]){"A: b", NULL}})});
    assert_int_equal(result.body_bytes, 100000);
    assert_int_equal(weir_test_body(test).len, 10);
    assert_int_equal(weir_test_body(test).data[9], weir_test_byte(9));
    assert_int_equal(result.over_ms, 9);
}

static void test_disconnects(void **state)
{
    struct weir_test_step reset = {.at_ms = 2500, .act = WEIR_TEST_RESET};
    uint64_t bytes = 100000;

    (void)state;
    /* At a time. */
    run(ticks, NULL, (struct weir_test_opts){.steps = &reset, .step_count = 1});
    assert_int_equal(result.outcome, WEIR_TEST_LEFT);
    assert_int_equal(result.reason, WEIR_REASON_RESET);
    assert_int_equal(result.returned, WEIR_ECANCELED);
    assert_int_equal(result.returned_ms, 2500);
    assert_int_equal(result.writes, 2);
    reset.act = WEIR_TEST_FIN;
    run(ticks, NULL, (struct weir_test_opts){.steps = &reset, .step_count = 1});
    assert_int_equal(result.outcome, WEIR_TEST_LEFT);
    assert_int_equal(result.reason, WEIR_REASON_FIN);
    assert_int_equal(result.returned_ms, 2500);
    /* At a byte, and not one more. */
    run(bulk, &bytes, (struct weir_test_opts){.leave_after_bytes = 12345});
    assert_int_equal(result.outcome, WEIR_TEST_LEFT);
    assert_int_equal(result.reason, WEIR_REASON_RESET);
    assert_int_equal(result.body_bytes, 12345);
    assert_true(result.returned < 0);
    run(bulk, &bytes, (struct weir_test_opts){.leave_after_bytes = 1, .leave_with_fin = true});
    assert_int_equal(result.reason, WEIR_REASON_FIN);
    assert_int_equal(result.body_bytes, 1);
    /* In the middle of its own body. */
    run(echo, NULL,
        (struct weir_test_opts){.method = "POST",
                                WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .text = "half"},
                                                 {.act = WEIR_TEST_BODY_OPEN},
                                                 {.at_ms = 7, .act = WEIR_TEST_FIN})});
    assert_true(result.returned == WEIR_ETRUNCATED || result.returned == WEIR_ECLOSED);
    assert_int_equal(result.outcome, WEIR_TEST_LEFT);
    assert_int_equal(result.reason, WEIR_REASON_FIN);
    assert_true(body_is("half"));
}

static void test_a_pace_is_kept(void **state)
{
    uint64_t bytes = 200000;
    struct weir_test_write write;

    (void)state;
    run(bulk, &bytes, (struct weir_test_opts){.bytes_per_ms = 1000, .window_bytes = 4000});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.body_bytes, 200000);
    /* The first 4000 go at once, then 1000 a ms. */
    assert_int_equal(result.returned_ms, 196);
    assert_int_equal(result.times.client_us, 196000);
    assert_int_equal(weir_test_write(test, 4, &write), 0);
    assert_int_equal(write.at_us, 1000);
    assert_int_equal(weir_test_write(test, 199, &write), 0);
    assert_int_equal(write.at_us, 196000);
    /* A slower one takes parts of what is emitted. */
    bytes = 3000;
    run(bulk, &bytes, (struct weir_test_opts){.bytes_per_ms = 300, .window_bytes = 500});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.returned_ms, 9);
}

static void test_stalls(void **state)
{
    uint64_t bytes = 50000;

    (void)state;
    /* It reads again before the server's patience ends. */
    run(bulk, &bytes,
        (struct weir_test_opts){
            .bytes_per_ms = 1000,
            .window_bytes = 2000,
            .client_stall_ms = 5000,
            .min_rate = UINT64_MAX,
            WEIR_TEST_SCRIPT({.at_ms = 10, .act = WEIR_TEST_PACE, .bytes = 0},
                             {.at_ms = 4000, .act = WEIR_TEST_PACE, .bytes = WEIR_TEST_ANY})});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.returned_ms, 4000);
    assert_true(result.times.client_us == 4000000);
    assert_true(result.queued_peak <= 2000);
    /* It does not. */
    run(bulk, &bytes,
        (struct weir_test_opts){.client_stall_ms = 5000,
                                .window_bytes = 2000,
                                WEIR_TEST_SCRIPT({.act = WEIR_TEST_PACE, .bytes = 0})});
    assert_int_equal(result.outcome, WEIR_TEST_ABORTED);
    assert_int_equal(result.reason, WEIR_REASON_STALL);
    assert_int_equal(result.returned, WEIR_ESTALLED);
    assert_int_equal(result.returned_ms, 5000);
    assert_false(result.gave_up);
}

static void test_from_any_pace_to_one_and_back(void **state)
{
    uint64_t bytes = 1000000;

    (void)state;
    run(ticks, NULL,
        (struct weir_test_opts){
            .window_bytes = 24,
            .client_stall_ms = -1,
            .min_rate = UINT64_MAX,
            WEIR_TEST_SCRIPT({.at_ms = 2500, .act = WEIR_TEST_PACE, .bytes = 0},
                             {.at_ms = 9500, .act = WEIR_TEST_PACE, .bytes = WEIR_TEST_ANY},
                             {.at_ms = 12000, .act = WEIR_TEST_RESET})});
    /* "data: tick\n\n" is 12 bytes: two fit into the window of one who stalls. */
    assert_non_null(strstr(weir_test_trace(test),
                           "\n2000 body 12\n3000 body 12\n4000 body 12\n9500 body 12\n"));
    assert_int_equal(result.times.client_us, 4500000);
    run(bulk, &bytes,
        (struct weir_test_opts){
            .bytes_per_ms = 1,
            WEIR_TEST_SCRIPT({.at_ms = 5, .act = WEIR_TEST_PACE, .bytes = 100000})});
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
}

/* ---- what a handler does wrong ---- */

static int gives_nothing(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return 0;
}

static int fails_late(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, 100, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("half"), -1);
    }
    weir_sink_destroy(out);
    return r < 0 ? r : WEIR_EIO;
}

static struct weir_chunk *kept;

static int keeps(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_next(weir_req_body(req), -1, &kept) == 1 ? weir_reply_empty(req, 204, NULL)
                                                         : WEIR_EIO;
}

static void test_errors_show(void **state)
{
    (void)state;
    run(gives_nothing, NULL, (struct weir_test_opts){0});
    assert_int_equal(result.status, 500);
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    run(fails_late, NULL, (struct weir_test_opts){0});
    assert_int_equal(result.status, 200);
    assert_int_equal(result.outcome, WEIR_TEST_ABORTED);
    assert_int_equal(result.returned, WEIR_EIO);
    assert_true(body_is("half"));
    run(fails_late, NULL, (struct weir_test_opts){.http10 = true});
    assert_int_equal(result.outcome, WEIR_TEST_ABORTED);
    run(keeps, NULL,
        (struct weir_test_opts){.receive_window = 5,
                                WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .text = "lost chunk"})});
    assert_int_equal(result.kept_bytes, 5);
    assert_int_equal(result.unread_bytes, 5);
    assert_int_equal(result.status, 204);
    weir_test_destroyp(&test);
    assert_int_equal(weir_chunk_len(kept),
                     5); /* what the lost chunk points to is there as long as it is */
    kept = weir_chunk_unref(kept);
}

static int waits_for_ever(struct weir_req *req, void *arg)
{
    (void)arg;
    (void)req;
    return weir_sleep(-1);
}

static void test_a_run_ends(void **state)
{
    (void)state;
    run(waits_for_ever, NULL, (struct weir_test_opts){0});
    assert_true(result.gave_up);
    assert_int_equal(result.over_ms, 3600000);
    run(waits_for_ever, NULL, (struct weir_test_opts){.limit_ms = 500});
    assert_true(result.gave_up);
    assert_int_equal(result.returned_ms, 500);
    assert_int_equal(result.returned, WEIR_ECANCELED);
}

/* ---- others ---- */

static struct weir_sender *sender;

static void send_one(void *arg)
{
    assert_int_equal(weir_send_text(sender, weir_str(arg)), 0);
}

static void send_no_more(void *arg)
{
    (void)arg;
    sender = weir_sender_unref(sender);
}

static int relay(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    struct weir_msg msg = {0};
    int r;

    sender = weir_sender_create();
    if (arg != NULL) {
        pthread_t thread;
        void *(*start)(void *) = *(void *(**)(void *))arg;

        if (pthread_create(&thread, NULL, start, NULL) != 0) {
            return WEIR_EIO;
        }
        pthread_detach(thread);
    }
    r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);
    while (r >= 0 && (r = weir_receive(-1, &msg)) == 1) {
        r = weir_emit_bytes(out, weir_msg_text(&msg), -1);
        weir_msg_drop(&msg);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

static void test_calls_at_times(void **state)
{
    char a[] = "a", b[] = "b";

    (void)state;
    run(relay, NULL,
        (struct weir_test_opts){
            WEIR_TEST_SCRIPT({.at_ms = 10, .act = WEIR_TEST_CALL, .call = send_one, .arg = a},
                             {.at_ms = 20, .act = WEIR_TEST_CALL, .call = send_one, .arg = b},
                             {.at_ms = 30, .act = WEIR_TEST_CALL, .call = send_no_more})});
    assert_true(body_is("ab"));
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_int_equal(result.over_ms, 30);
    assert_int_equal(result.times.source_us, 30000);
}

static void *sending_thread(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        struct timespec time = {0, 5000000};

        nanosleep(&time, NULL);
        WEIR_IGNORE(weir_send_text(sender, weir_str("x")));
    }
    weir_sender_unref(sender);
    return NULL;
}

static void test_real_time_for_other_threads(void **state)
{
    void *(*start)(void *) = sending_thread;

    (void)state;
    run(relay, &start, (struct weir_test_opts){.real_time = true});
    assert_true(body_is("xxx"));
    assert_int_equal(result.outcome, WEIR_TEST_COMPLETE);
    assert_true(result.over_ms >= 15);
}

/* ---- callbacks on a leave, and blocking handlers ---- */

static int called;
static int64_t called_ms, begun_ms;

static void on_leave(void *arg)
{
    (void)arg;
    called++;
    called_ms = weir_now() - begun_ms;
}

static int registers(struct weir_req *req, void *arg)
{
    int r, fired;

    (void)arg;
    begun_ms = weir_now();
    if (weir_on_disconnect(req, on_leave, NULL) != 0) {
        return WEIR_EIO;
    }
    r = weir_sleep(weir_after_ms(1000));
    fired = weir_off_disconnect(req);
    return r < 0 ? r : weir_reply_text(req, 200, "%d", fired);
}

static int registers_blocking(struct weir_req *req, void *arg)
{
    static const struct weir_blocking blocking = {.handler = registers};

    (void)arg;
    return weir_blocking(req, &blocking);
}

static void test_callbacks_run_only_if_the_script_leaves(void **state)
{
    weir_handler_fn *const handlers[] = {registers, registers_blocking};

    (void)state;
    for (int i = 0; i < 2; i++) {
        called = 0;
        run(handlers[i], NULL, (struct weir_test_opts){0});
        assert_int_equal(called, 0);
        assert_true(body_is("0"));
        run(handlers[i], NULL,
            (struct weir_test_opts){WEIR_TEST_SCRIPT({.at_ms = 400, .act = WEIR_TEST_RESET})});
        assert_int_equal(called, 1);
        assert_int_equal(called_ms, 400);
        assert_int_equal(result.returned, WEIR_ECANCELED);
        assert_int_equal(result.outcome, WEIR_TEST_LEFT);
    }
}

/* A topic read on a pool's thread. */
static int subscribes(struct weir_req *req, void *arg)
{
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item = {0};
    int r = weir_topic_subscribe(arg, &(struct weir_subscribe_opts){.from = WEIR_TOPIC_FROM_OLDEST},
                                 &subscription);
    uint64_t sum = 0;

    while (r >= 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        sum += item.id;
        weir_topic_item_drop(&item);
    }
    weir_subscription_destroy(subscription);
    return r < 0 ? r : weir_reply_text(req, 200, "%d", (int)sum);
}

static void publish_last(void *arg)
{
    assert_int_equal(weir_topic_publish_bytes(arg, 0, weir_str("last"), NULL), 0);
    weir_topic_close(arg, 0);
}

static int subscribes_blocking(struct weir_req *req, void *arg)
{
    return weir_blocking(req, &(struct weir_blocking){.handler = subscribes, .arg = arg});
}

static void test_a_topic_read_by_a_blocking_handler(void **state)
{
    struct weir_topic *topic = NULL;

    (void)state;
    assert_int_equal(weir_topic_create(NULL, &topic), 0);
    assert_int_equal(weir_topic_publish_bytes(topic, 0, weir_str("first"), NULL), 0);
    run(subscribes_blocking, topic,
        (struct weir_test_opts){WEIR_TEST_SCRIPT(
            {.at_ms = 50, .act = WEIR_TEST_CALL, .call = publish_last, .arg = topic})});
    assert_true(body_is("3"));
    weir_topic_unref(topic);
}

static int nested(struct weir_req *req, void *arg)
{
    struct weir_test *inner = NULL;

    (void)arg;
    return weir_test_run(hello, NULL, NULL, &inner) == WEIR_ESTATE
               ? weir_reply_empty(req, 204, NULL)
               : WEIR_EIO;
}

static void expect_invalid(struct weir_test_opts opts)
{
    struct weir_test *none = NULL;

    assert_int_equal(weir_test_run(hello, NULL, &opts, &none), WEIR_EINVAL);
    assert_null(none);
}

static void test_scripts_that_cannot_be(void **state)
{
    struct weir_test *none = NULL;

    (void)state;
    assert_int_equal(weir_test_run(NULL, NULL, NULL, &none), WEIR_EINVAL);
    expect_invalid((struct weir_test_opts){.step_count = 1});
    expect_invalid(
        (struct weir_test_opts){WEIR_TEST_SCRIPT({.at_ms = -1, .act = WEIR_TEST_RESET})});
    expect_invalid((struct weir_test_opts){WEIR_TEST_SCRIPT({.act = WEIR_TEST_CALL})});
    expect_invalid((struct weir_test_opts){WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY})});
    expect_invalid((struct weir_test_opts){WEIR_TEST_SCRIPT({.act = (enum weir_test_act)99})});
    expect_invalid((struct weir_test_opts){.fields = (const char *const[]){"no colon", NULL}});
    expect_invalid((struct weir_test_opts){.fields = (const char *const[]){"a b: c", NULL}});
    run(nested, NULL, (struct weir_test_opts){0});
    assert_int_equal(result.status, 204);
}

#define one(name) cmocka_unit_test_setup_teardown(name, open_test, close_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        one(test_a_plain_reply),
        one(test_body_pieces_and_trailers),
        one(test_disconnects),
        one(test_a_pace_is_kept),
        one(test_stalls),
        one(test_from_any_pace_to_one_and_back),
        one(test_errors_show),
        one(test_a_run_ends),
        one(test_calls_at_times),
        one(test_real_time_for_other_threads),
        one(test_scripts_that_cannot_be),
        one(test_callbacks_run_only_if_the_script_leaves),
        one(test_a_topic_read_by_a_blocking_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
