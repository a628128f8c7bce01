/* SPDX-License-Identifier: MIT */
/*
 * How handlers are tested without a socket, with <weir/test.h> and no framework. Three handlers as a user writes them, and
 * a test for each: what a client that behaves gets; what a client that stalls costs; what happens when it leaves. None of
 * the tests waits: the clock is the test's own, and jumps.
 *
 * Outside this tree:  cc test_handlers.c $(pkg-config --cflags --libs weir)
 */
#include <weir/weir.h>

#include <weir/test.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(claim)                                                            \
    do {                                                                        \
        if (!(claim)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

/* ---- the handlers ---- */

/* Counts an upload, which must not be larger than 1000 bytes. */
static int count_upload(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk = NULL;
    uint64_t total = 0;
    int r = weir_req_limit_body(req, 1000);

    (void)arg;
    while (r >= 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        total += weir_chunk_len(chunk);
        chunk = weir_chunk_unref(chunk);
    }
    return r < 0 ? r : weir_reply_text(req, 200, "%" PRIu64 "\n", total);
}

/* A feed of a topic, as server-sent events; a client that comes back goes on after its Last-Event-ID. */
static int feed(struct weir_req *req, void *arg)
{
    struct weir_topic *topic = arg;
    struct weir_subscribe_opts opts = {0};
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item = {0};
    struct weir_sink *out = NULL;
    int r;

    if (weir_view_to_u64(weir_req_field(req, "Last-Event-ID"), &opts.after_id) == 0) {
        opts.from = WEIR_TOPIC_FROM_AFTER;
    }
    r = weir_topic_subscribe(topic, &opts, &subscription);
    if (r >= 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    while (r >= 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        char id[24];
        struct weir_event event = {.id = id};

        snprintf(id, sizeof(id), "%" PRIu64, item.id);
        if (item.missed > 0) {
            event.event = "lagged";
            event.data = weir_str("reload");
        } else {
            event.data = weir_chunk_view(item.chunk);
        }
        r = weir_sse_emit(out, &event);
        weir_topic_item_drop(&item);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    weir_subscription_destroy(subscription);
    return r;
}

/* A report that is made while it is sent. */
static int report(struct weir_req *req, void *arg)
{
    uint64_t *made = arg;
    struct weir_sink *out = NULL;
    uint8_t row[100] = {0};
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    for (*made = 0; r == 0 && *made < 1000000; *made += sizeof(row)) {
        r = weir_emit_bytes(out, weir_bytes(row, sizeof(row)), -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

/* ---- the tests ---- */

static struct weir_test *test;
static struct weir_test_result result;

static void run(weir_handler_fn *handler, void *arg, const struct weir_test_opts *opts)
{
    weir_test_destroyp(&test);
    CHECK(weir_test_run(handler, arg, opts, &test) == 0);
    weir_test_result(test, &result);
}

static void test_an_upload_in_pieces(void)
{
    run(count_upload, NULL,
        &(struct weir_test_opts){
            .method = "POST",
            WEIR_TEST_SCRIPT({.at_ms = 0, .act = WEIR_TEST_BODY, .text = "some "},
                             {.at_ms = 20000, .act = WEIR_TEST_BODY, .text = "bytes"})});
    CHECK(result.outcome == WEIR_TEST_COMPLETE);
    CHECK(weir_view_equal(weir_test_body(test), weir_str("10\n")));
    CHECK(result.returned_ms == 20000);
    CHECK(result.kept_bytes == 0); /* every chunk was released */

    /* One byte too many, in a body whose length nobody said. */
    run(count_upload, NULL,
        &(struct weir_test_opts){.method = "POST",
                                 WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .bytes = 1001})});
    CHECK(result.status == 413);

    /* The client stops in the middle: no success is reported to anybody. */
    run(count_upload, NULL,
        &(struct weir_test_opts){
            .method = "POST",
            .declared_length = 100,
            WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .bytes = 50}, {.act = WEIR_TEST_BODY_OPEN})});
    CHECK(result.status == 408);
    CHECK(result.returned_ms == 30000);
}

static struct weir_topic *topic;

static void publish(void *arg)
{
    CHECK(weir_topic_publish_bytes(topic, 0, weir_str(arg), NULL) == 0);
}

static void test_a_feed_that_resumes(void)
{
    static const char *const last_id[] = {"Last-Event-ID: 1", NULL};
    char two[] = "two", three[] = "three";

    CHECK(weir_topic_create(NULL, &topic) == 0);
    CHECK(weir_topic_publish_bytes(topic, 0, weir_str("one"), NULL) == 0);
    run(feed, topic,
        &(struct weir_test_opts){
            .fields = last_id,
            WEIR_TEST_SCRIPT({.at_ms = 1000, .act = WEIR_TEST_CALL, .call = publish, .arg = two},
                             {.at_ms = 2000, .act = WEIR_TEST_CALL, .call = publish, .arg = three},
                             {.at_ms = 2500, .act = WEIR_TEST_RESET})});
    CHECK(weir_view_equal(weir_test_body(test), weir_str("id: 2\ndata: two\n\n"
                                                         "id: 3\ndata: three\n\n")));
    CHECK(result.writes == 2); /* each as it came, not both at the end */
    CHECK(result.outcome == WEIR_TEST_LEFT && result.returned == WEIR_ECANCELED);
    CHECK(result.returned_ms == 2500);

    weir_topic_close(topic, 0);
    run(feed, topic, &(struct weir_test_opts){.fields = last_id});
    CHECK(result.outcome == WEIR_TEST_COMPLETE);
    topic = weir_topic_unref(topic);
}

static void test_a_slow_reader_slows_the_report_down(void)
{
    uint64_t made = 0;

    /* It reads 1 byte a ms, and leaves after a second. */
    run(report, &made,
        &(struct weir_test_opts){.bytes_per_ms = 1,
                                 .window_bytes = 5000,
                                 WEIR_TEST_SCRIPT({.at_ms = 1000, .act = WEIR_TEST_RESET})});
    CHECK(result.outcome == WEIR_TEST_LEFT);
    CHECK(made <= 6200); /* nothing was made that nobody wanted */
    CHECK(result.times.client_us > 990000);
    CHECK(result.queued_peak < 200);

    /* It stalls for good: the server's patience ends, and the handler learns of it. */
    run(report, &made,
        &(struct weir_test_opts){.window_bytes = 5000,
                                 .client_stall_ms = 10000,
                                 WEIR_TEST_SCRIPT({.act = WEIR_TEST_PACE, .bytes = 0})});
    CHECK(result.outcome == WEIR_TEST_ABORTED && result.reason == WEIR_REASON_STALL);
    CHECK(result.returned == WEIR_ESTALLED && result.returned_ms == 10000);
}

int main(void)
{
    test_an_upload_in_pieces();
    test_a_feed_that_resumes();
    test_a_slow_reader_slows_the_report_down();
    weir_test_destroyp(&test);
    puts("all as it should be");
    return 0;
}
