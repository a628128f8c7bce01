/* SPDX-License-Identifier: MIT */
/* Every kind of reply, byte by byte: its head, its body, its end, and what it refuses to send. */
#include "http_test.h"

#include <weir/ndjson.h>
#include <weir/sse.h>

/* Plays a handler; the head and the events must be these lines, the body these bytes. */
static void expect_reply(struct scene *scene, const char *trace, const char *body)
{
    scene->opts.keep = 4096;
    play(scene);
    assert_string_equal(scene_trace, trace);
    assert_int_equal(scene->result.taken, strlen(body));
}

/* The kept bytes die with the scene; a handler's last act may look at them. */
static const char *expected_body;

static void body_is_as_expected(void)
{
    struct weir__memory_result result;

    weir__memory_result(scene_memory, &result);
    assert_int_equal(result.taken, strlen(expected_body));
    assert_memory_equal(result.kept.data, expected_body, strlen(expected_body));
}

static void expect(weir_handler_fn *handler, const char *trace, const char *body)
{
    struct scene scene = {.handler = handler};

    expected_body = body;
    expect_reply(&scene, trace, body);
}

static int finished(int r)
{
    if (r == 0) {
        body_is_as_expected();
    }
    return r;
}

static struct weir_fields *one_field(const char *name, const char *value)
{
    struct weir_fields *fields = NULL;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str(name), weir_str(value)), 0);
    return fields;
}

/* ---- whole replies ---- */

static int html(struct weir_req *req, void *arg)
{
    (void)arg;
    return finished(weir_reply_html(req, 200, weir_str("<p>h\n</p>")));
}

static int json(struct weir_req *req, void *arg)
{
    (void)arg;
    return finished(weir_reply_json(req, 201, weir_str("{\"a\":[1,2]}")));
}

static int own_type(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp)
    struct weir_fields *fields = one_field("content-type", "a/b");

    (void)arg;
    return finished(weir_reply_bytes(req, 200, fields, "c/d", weir_str("x")));
}

static void whole_ones(void **state)
{
    (void)state;
    expect(html,
           "0 begin 200 length=9\n  Content-Type: text/html; charset=utf-8\n"
           "0 body 9\n0 end\n0 finished\n",
           "<p>h\n</p>");
    expect(json,
           "0 begin 201 length=11\n  Content-Type: application/json\n"
           "0 body 11\n0 end\n0 finished\n",
           "{\"a\":[1,2]}");
    expect(own_type, "0 begin 200 length=1\n  Content-Type: c/d\n0 body 1\n0 end\n0 finished\n",
           "x");
}

/* ---- redirects ---- */

static int redirect(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = one_field("Set-Cookie", "a=b");

    assert_int_equal(weir_fields_add(fields, weir_str("location"), weir_str("/elsewhere")), 0);
    return weir_reply_redirect(req, *(int *)arg, fields, weir_str("/a?b=%20#c"));
}

static void redirects(void **state)
{
    static const int statuses[] = {301, 302, 303, 307, 308};

    (void)state;
    for (size_t i = 0; i < COUNT(statuses); i++) {
        int status = statuses[i];
        struct scene scene = {.handler = redirect, .arg = &status};
        char trace[200];

        snprintf(trace, sizeof(trace),
                 "0 begin %d length=0\n  Set-Cookie: a=b\n  Location: /a?b=%%20#c\n"
                 "0 end\n0 finished\n",
                 status);
        expect_reply(&scene, trace, "");
    }
}

static int bad_redirects(struct weir_req *req, void *arg)
{
    static const struct weir_view bad[] = {
        {(const uint8_t *)"/a\r\nX: y", 8},
        {(const uint8_t *)"/a\nb", 4},
        {(const uint8_t *)"/a\rb", 4},
        {(const uint8_t *)"/a\0b", 4},
        {(const uint8_t *)"/a b", 4},
        {(const uint8_t *)"/\\host", 6},
        {(const uint8_t *)"/\xc3\xa4", 3},
        {(const uint8_t *)"/\x7f", 2},
        {(const uint8_t *)"\"", 1},
        {(const uint8_t *)"", 0},
        {NULL, 0},
    };
    static const int statuses[] = {200, 300, 304, 305, 306, 309, 404};

    (void)arg;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(weir_reply_redirect(req, 302, NULL, bad[i]), WEIR_EINVAL);
    }
    for (size_t i = 0; i < COUNT(statuses); i++) {
        assert_int_equal(weir_reply_redirect(req, statuses[i], NULL, weir_str("/")), WEIR_EINVAL);
    }
    assert_false(weir_req_is_begun(req));
    return weir_reply_empty(req, 204, NULL);
}

static void a_location_cannot_begin_a_line(void **state)
{
    (void)state;
    expect(bad_redirects, "0 begin 204 none\n0 end\n0 finished\n", "");
}

/* ---- event streams ---- */

#define SSE_HEAD                                                                           \
    "0 begin 200 length=?\n  Content-Type: text/event-stream\n  Cache-Control: no-cache\n" \
    "  X-Accel-Buffering: no\n"

static int two_ticks(struct weir_sink *out, void *arg)
{
    int r = weir_sse_emit(
        out, &(struct weir_event){.event = "tick", .id = "1", .data = weir_str("a\r\nb\rc\nd")});

    (void)arg;
    if (r == 0) {
        r = weir_sse_comment(out, weir_str("not\ndata: seen"));
    }
    return r < 0 ? r : weir_sse_emit(out, &(struct weir_event){.data = weir_str("2")});
}

static int sse(struct weir_req *req, void *arg)
{
    return finished(weir_reply_sse(req, 200, two_ticks, arg));
}

static void events(void **state)
{
    (void)state;
    expect(sse, SSE_HEAD "0 body 80\n0 end\n0 finished\n",
           "event: tick\nid: 1\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
           ": not\n: data: seen\n\n"
           "data: 2\n\n");
}

static int sse_with_fields(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp)
    struct weir_fields *fields = one_field("cache-control", "no-store");
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r;

    (void)arg;
    assert_int_equal(weir_fields_add(fields, weir_str("content-type"), weir_str("a/b")), 0);
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.retry_ms = 9}), 0);
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.retry_ms = 1500}), 0);
    r = weir_sse_begin(req, 200, fields, &out);
    assert_int_equal(weir_sse_config(req, NULL), WEIR_ESTATE);
    return finished(r < 0 ? r : weir_end(out, NULL));
}

static void fields_of_an_event_stream(void **state)
{
    (void)state;
    expect(sse_with_fields,
           "0 begin 200 length=?\n  cache-control: no-store\n  Content-Type: text/event-stream\n"
           "  X-Accel-Buffering: no\n0 body 13\n0 end\n0 finished\n",
           "retry: 1500\n\n");
}

static int injects(struct weir_sink *out, void *arg)
{
    (void)arg;
    assert_int_equal(weir_sse_emit(out, &(struct weir_event){.event = "a\ndata: b"}), WEIR_EINVAL);
    assert_int_equal(weir_sse_emit(out, &(struct weir_event){.id = "1\r2"}), WEIR_EINVAL);
    assert_int_equal(weir_sse_emit(out, &(struct weir_event){.retry_ms = -1}), WEIR_EINVAL);
    return weir_sse_emit(out, &(struct weir_event){.data = weir_str("ok")});
}

static int injecting(struct weir_req *req, void *arg)
{
    return finished(weir_reply_sse(req, 200, injects, arg));
}

/* A refused event leaves no byte behind, and the stream goes on. */
static void v12_nothing_gets_into_an_event(void **state)
{
    (void)state;
    expect(injecting, SSE_HEAD "0 body 10\n0 end\n0 finished\n", "data: ok\n\n");
}

struct last_id {
    const char *sent[2]; /* NULL: not */
    const char *wanted;  /* NULL: none */
};

static int last_id(struct weir_req *req, void *arg)
{
    struct last_id *last = arg;
    struct weir_view id;

    /* Their memory is the request's. */
    for (size_t i = 0; i < COUNT(last->sent) && last->sent[i] != NULL; i++) {
        assert_int_equal(weir_fields_add(weir_req_fields(req), weir_str("last-event-ID"),
                                         weir_str(last->sent[i])),
                         0);
    }
    id = weir_sse_last_event_id(req);
    if (last->wanted == NULL) {
        assert_true(weir_view_is_absent(id));
    } else {
        assert_true(weir_view_equal(id, weir_str(last->wanted)));
    }
    weir_req_drop_head(req);
    assert_true(weir_view_is_absent(weir_sse_last_event_id(req)));
    return weir_reply_empty(req, 204, NULL);
}

static void last_event_ids(void **state)
{
    static char longest[1025];
    static char over[1026];
    struct last_id cases[] = {
        {{NULL}, NULL},
        {{"42"}, "42"},
        {{"42", "43"}, NULL},
        {{"a b,c"}, "a b,c"},
        {{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"}, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {{longest}, longest},
        {{over}, NULL},
        {{""}, NULL},
        {{"a\tb"}, NULL},             /* a control */
        {{"\xc3"}, NULL},             /* cut short */
        {{"\xc0\xaf"}, NULL},         /* longer than needed */
        {{"\xe0\x80\xaf"}, NULL},     /* the same */
        {{"\xed\xa0\x80"}, NULL},     /* half of a pair */
        {{"\xf4\x90\x80\x80"}, NULL}, /* beyond the last one */
        {{"\xff"}, NULL},
        {{"\xe2\x28\xa1"}, NULL},
        {{"\xe2\x82\x28"}, NULL},
    };

    (void)state;
    memset(longest, 'x', 1024);
    memset(over, 'x', 1025);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_opts opts = {0};

        /* Not a scene, which counts blocks from its start: these fields are older. */
        assert_int_equal(weir_fields_create(&opts.fields), 0);
        scene_us = 1000000;
        assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
        assert_int_equal(weir__memory_create(scene_loop, &opts, &scene_memory), 0);
        assert_int_equal(weir__memory_request(scene_memory, last_id, &cases[i]), 0);
        weir__loop_run_until_idle(scene_loop);
        weir__memory_destroy(scene_memory);
        weir__loop_destroy(scene_loop);
    }
}

/* ---- records ---- */

#define NDJSON_HEAD \
    "0 begin 200 length=?\n  Content-Type: application/x-ndjson\n  X-Accel-Buffering: no\n"

static int three_records(struct weir_sink *out, void *arg)
{
    static const struct weir_view bad[] = {
        {(const uint8_t *)"{\n}", 3},
        {(const uint8_t *)"{}\r", 3},
        {(const uint8_t *)"{}\n", 3},
        {(const uint8_t *)"", 0},
        {NULL, 0},
    };
    int r = 0;

    (void)arg;
    for (int i = 1; r == 0 && i <= 3; i++) {
        char record[20];

        snprintf(record, sizeof(record), "{\"n\":%d}", i);
        for (size_t j = 0; j < COUNT(bad); j++) {
            assert_int_equal(weir_ndjson_emit(out, bad[j]), WEIR_EINVAL);
        }
        r = weir_ndjson_emit(out, weir_str(record));
    }
    return r;
}

static int ndjson(struct weir_req *req, void *arg)
{
    return finished(weir_reply_ndjson(req, 200, three_records, arg));
}

static void records(void **state)
{
    (void)state;
    expect(ndjson, NDJSON_HEAD "0 body 24\n0 end\n0 finished\n",
           "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
}

static int a_large_record(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    size_t len = (size_t)3 << 20;
    char *record = malloc(len);
    int r = weir_ndjson_begin(req, 200, NULL, &out);

    (void)arg;
    assert_non_null(record);
    memset(record, '7', len);
    if (r == 0) {
        r = weir_ndjson_emit(out, weir_bytes(record, len));
    }
    free(record);
    return r < 0 ? r : weir_end(out, NULL);
}

static void a_record_of_any_size(void **state)
{
    struct scene scene = {.handler = a_large_record, .opts = {.max_take = 50000}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.taken, (3 << 20) + 1);
    assert_true(scene.result.ended);
    assert_true(scene.result.queued_peak <= WEIR_CHUNK_BYTES);
}

/* Looks at no result; all frames or an abort is what comes of it. */
static int blind(struct weir_sink *out, void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weir__chunk_pool_trim();
        WEIR_IGNORE(weir_sse_emit(out, &(struct weir_event){.data = weir_str("x")}));
        WEIR_IGNORE(weir_sse_comment(out, weir_str("y")));
        WEIR_IGNORE(weir_ndjson_emit(out, weir_str("{}")));
        weir_yield();
    }
    return 0;
}

static int blind_stream(struct weir_req *req, void *arg)
{
    return *(bool *)arg ? weir_reply_sse(req, 200, blind, NULL)
                        : weir_reply_ndjson(req, 200, blind, NULL);
}

static int blind_redirect(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_redirect(req, 302, NULL, weir_str("/"));
}

static void fail_each(weir_handler_fn *handler, void *arg, int status, uint64_t bytes)
{
    bool whole = false;

    for (int64_t n = 1; n < 300 && !whole; n++) {
        struct scene scene = {.handler = handler, .arg = arg};

        play_failing(&scene, n);
        if (scene.started == 0 && scene.result.status == status && scene.result.ended) {
            assert_int_equal(scene.result.taken, bytes);
            whole = true;
        } else if (scene.started == 0) {
            assert_true(scene.result.aborted || scene.result.status == 503);
        }
    }
    assert_true(whole);
}

static void v19_a_frame_that_found_no_memory(void **state)
{
    bool is_sse = true;

    (void)state;
    fail_each(blind_stream, &is_sse, 200, 3 * (9 + 5 + 3));
    is_sse = false;
    fail_each(blind_stream, &is_sse, 200, 3 * (9 + 5 + 3));
    fail_each(blind_redirect, NULL, 302, 0);
}

/* ---- producers ---- */

struct production {
    int result;       /* the producer's */
    bool ends;        /* by itself, with a trailer */
    bool overflows;   /* tries without waiting, and does not look */
    uint64_t length;  /* declared */
    int reply_result; /* wanted */
    int calls;
};

static int produce(struct weir_sink *out, void *arg)
{
    struct production *production = arg;
    int r = weir_emit_bytes(out, weir_str("abc"), -1);

    production->calls++;
    if (production->overflows) {
        WEIR_IGNORE(weir_emit_bytes(out, weir_str("lost"), 0));
        WEIR_IGNORE(weir_emit_bytes(out, weir_str("lost"), 0));
    }
    if (r == 0 && production->ends) {
        WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = one_field("X-Sum", "6");

        r = weir_end(out, trailers);
    }
    return r < 0 ? r : production->result;
}

static int producing(struct weir_req *req, void *arg)
{
    struct production *production = arg;
    int r = weir_reply_stream(req, 200, NULL, production->length, produce, arg);

    assert_int_equal(r, production->reply_result);
    return r;
}

static void expect_production(struct production production, struct weir__memory_opts opts,
                              const char *trace)
{
    struct scene scene = {.handler = producing, .arg = &production, .opts = opts};

    play(&scene);
    assert_string_equal(scene_trace, trace);
}

static void producers(void **state)
{
    struct weir__memory_opts open = {0};

    (void)state;
    expect_production((struct production){.length = 3}, open,
                      "0 begin 200 length=3\n0 body 3\n0 end\n0 finished\n");
    expect_production((struct production){.length = WEIR_LENGTH_UNKNOWN, .ends = true}, open,
                      "0 begin 200 length=?\n0 body 3\n0 end\n  X-Sum: 6\n0 finished\n");
}

static void v9_a_failed_producer_is_no_second_reply(void **state)
{
    struct weir__memory_opts open = {0};

    (void)state;
    expect_production((struct production){.length = WEIR_LENGTH_UNKNOWN,
                                          .result = WEIR_EIO,
                                          .reply_result = WEIR_EIO},
                      open, "0 begin 200 length=?\n0 body 3\n0 abort handler\n0 finished\n");
    expect_production((struct production){.length = WEIR_LENGTH_UNKNOWN,
                                          .result = 1,
                                          .reply_result = WEIR_EINVAL},
                      open, "0 begin 200 length=?\n0 body 3\n0 abort handler\n0 finished\n");
    expect_production((struct production){.length = 4, .reply_result = WEIR_ESTATE}, open,
                      "0 begin 200 length=4\n0 body 3\n0 abort handler\n0 finished\n");
}

static void v19_a_producer_that_ignores_a_refusal(void **state)
{
    (void)state;
    expect_production((struct production){.length = WEIR_LENGTH_UNKNOWN,
                                          .overflows = true,
                                          .reply_result = WEIR_ESTATE},
                      (struct weir__memory_opts){.socket = 3},
                      "0 begin 200 length=?\n0 body 3\n0 abort abandoned\n0 finished\n");
}

static int no_producer(struct weir_req *req, void *arg)
{
    (void)arg;
    assert_int_equal(weir_reply_stream(req, 200, NULL, 0, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_reply_sse(req, 200, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_reply_ndjson(req, 200, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_reply_stream(req, 99, NULL, 0, produce, NULL), WEIR_EINVAL);
    assert_false(weir_req_is_begun(req));
    return weir_reply_empty(req, 200, NULL);
}

static void no_body_is_not_produced(void **state)
{
    struct production production = {.length = 3};
    struct weir__memory_opts head = {.method = "HEAD"};

    (void)state;
    expect_production(production, head, "0 begin 200 none\n0 end\n0 finished\n");
    assert_int_equal(production.calls, 0);
    expect(no_producer, "0 begin 200 length=0\n0 end\n0 finished\n", "");
}

static int early_error(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 429, "later\n");
}

/* The status is open until the reply is begun: a stream that cannot start is a plain answer. */
static void a_status_before_the_stream(void **state)
{
    (void)state;
    expect(early_error,
           "0 begin 429 length=6\n  Content-Type: text/plain; charset=utf-8\n"
           "0 body 6\n0 end\n0 finished\n",
           "later\n");
}

/* ---- trailers ---- */

static int with_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = one_field("X-Sum", "6");
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("abc"), -1);
    }
    return r < 0 ? r : weir_end(out, trailers);
}

static void trailers_of_a_body(void **state)
{
    struct scene scene = {.handler = with_trailers};
    struct scene head = {.handler = with_trailers, .opts = {.method = "HEAD"}};
    struct scene old = {.handler = with_trailers, .opts = {.http10 = true}};

    (void)state;
    expect_reply(&scene, "0 begin 200 length=?\n0 body 3\n0 end\n  X-Sum: 6\n0 finished\n", "abc");
    expect_reply(&head, "0 begin 200 none\n0 end\n0 finished\n", "");
    expect_reply(&old, "0 begin 200 length=?\n0 body 3\n0 end\n0 finished\n", "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_ones),
        cmocka_unit_test(redirects),
        cmocka_unit_test(a_location_cannot_begin_a_line),
        cmocka_unit_test(events),
        cmocka_unit_test(fields_of_an_event_stream),
        cmocka_unit_test(v12_nothing_gets_into_an_event),
        cmocka_unit_test(last_event_ids),
        cmocka_unit_test(records),
        cmocka_unit_test(a_record_of_any_size),
        cmocka_unit_test(v19_a_frame_that_found_no_memory),
        cmocka_unit_test(producers),
        cmocka_unit_test(v9_a_failed_producer_is_no_second_reply),
        cmocka_unit_test(v19_a_producer_that_ignores_a_refusal),
        cmocka_unit_test(no_body_is_not_produced),
        cmocka_unit_test(a_status_before_the_stream),
        cmocka_unit_test(trailers_of_a_body),
    };

    return cmocka_run_group_tests_name("http replies", tests, NULL, NULL);
}
