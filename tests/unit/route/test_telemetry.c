/* SPDX-License-Identifier: MIT */
/* Middleware and handlers that tell what goes on. */
#include "route_test.h"

#include <weir/telemetry.h>

#include "route/text.h"

static char seen[131072]; /* what a handler or a sink saw */
static size_t seen_len;

static void remember(struct weir_view view)
{
    size_t len = view.len < sizeof(seen) - 1 - seen_len ? view.len : sizeof(seen) - 1 - seen_len;

    if (len > 0) {
        memcpy(seen + seen_len, view.data, len);
    }
    seen_len += len;
    seen[seen_len] = '\0';
}

static void forget(void)
{
    seen_len = 0;
    seen[0] = '\0';
}

/* ---- request id ---- */

static int tells_id(struct weir_req *req, void *arg)
{
    (void)arg;
    forget();
    remember(weir_req_request_id(req));
    return weir_reply_empty(req, 204, NULL);
}

static void expect_id(struct weir_request_id_opts *opts, struct weir_fields *fields, const char *id)
{
    struct weir_middleware items[] = {{weir_mw_request_id, opts}};
    struct scene scene = {.handler = tells_id, .opts = {.fields = fields}};
    char line[256];

    play_with(&scene, items, 1);
    if (id != NULL) {
        assert_string_equal(seen, id);
    } else {
        assert_int_equal(seen_len, 32);
        assert_int_equal(strspn(seen, "0123456789abcdef"), 32);
    }
    snprintf(line, sizeof(line), "%s: %.128s",
             opts != NULL && opts->field != NULL ? opts->field : "X-Request-ID", seen);
    assert_true(has_line(line));
}

static void request_ids(void **state)
{
    struct weir_request_id_opts opts = {.trust_inbound = true};
    char first[64];

    (void)state;
    expect_id(NULL, NULL, NULL);
    snprintf(first, sizeof(first), "%.63s", seen);
    expect_id(NULL, NULL, NULL);
    assert_string_not_equal(first, seen);
    expect_id(NULL, FIELDS("X-Request-ID: abc"), NULL); /* not asked for */
    expect_id(&opts, FIELDS("X-Request-ID: aZ0-_.:/+=@"), "aZ0-_.:/+=@");
    expect_id(&opts, FIELDS("X-Request-ID: a b"), NULL);
    expect_id(&opts, FIELDS("X-Request-ID: \""), NULL);
    expect_id(&opts, FIELDS("X-Request-ID: "), NULL);
    expect_id(
        &opts,
        FIELDS("X-Request-ID: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        NULL);
    opts = (struct weir_request_id_opts){"X-Trace", true, 3};
    expect_id(&opts, FIELDS("X-Trace: abc"), "abc");
    expect_id(&opts, FIELDS("X-Trace: abcd"), NULL);
}

/* ---- trace context ---- */

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void traceparents(void **state)
{
    static const char *const bad[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        PARENT "-extra",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
    };
    struct weir_trace trace = {.flags = 0x55};
    char text[WEIR_TRACEPARENT_BYTES];

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(weir_traceparent_parse(weir_str(bad[i]), &trace), WEIR_EPROTO);
        assert_int_equal(trace.flags, 0x55);
    }
    assert_int_equal(weir_traceparent_parse(weir_str(PARENT), &trace), 0);
    assert_true(trace.is_continued);
    assert_int_equal(trace.flags, 1);
    assert_int_equal(trace.trace_id[0], 0x0a);
    assert_int_equal(trace.parent_id[7], 0x31);
    memcpy(trace.span_id, "\1\2\3\4\5\6\7\x8", 8);
    assert_true(
        weir_view_equal(weir_traceparent_format(&trace, text),
                        weir_str("00-0af7651916cd43dd8448eb211c80319c-0102030405060708-01")));
    /* A later version may be longer; of its flags only the first is known. */
    assert_int_equal(
        weir_traceparent_parse(
            weir_str("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more"), &trace),
        0);
    assert_int_equal(trace.flags, 1);
}

static struct weir_trace seen_trace;

static int looks_at_trace(struct weir_req *req, void *arg)
{
    (void)arg;
    forget();
    assert_non_null(weir_req_trace(req));
    seen_trace = *weir_req_trace(req);
    remember(weir_req_tracestate(req));
    return weir_reply_empty(req, 204, NULL);
}

static void trace_with(struct weir_trace_opts *opts, struct weir_fields *fields)
{
    struct weir_middleware items[] = {{weir_mw_trace, opts}};
    struct scene scene = {.handler = looks_at_trace, .opts = {.fields = fields}};

    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 204);
}

static void traces(void **state)
{
    static const uint8_t none[16];
    struct weir_trace_opts opts = {.ignore_inbound = true};

    (void)state;
    trace_with(NULL, FIELDS("traceparent: " PARENT, "tracestate: a=b"));
    assert_true(seen_trace.is_continued);
    assert_int_equal(seen_trace.trace_id[15], 0x9c);
    assert_memory_not_equal(seen_trace.span_id, none, 8);
    assert_memory_not_equal(seen_trace.span_id, seen_trace.parent_id, 8);
    assert_string_equal(seen, "a=b");

    trace_with(NULL, FIELDS("tracestate: a=b"));
    assert_false(seen_trace.is_continued);
    assert_memory_not_equal(seen_trace.trace_id, none, 16);
    assert_memory_equal(seen_trace.parent_id, none, 8);
    assert_int_equal(seen_trace.flags & 1, 1);
    assert_string_equal(seen, "");

    trace_with(NULL, FIELDS("traceparent: " PARENT, "traceparent: " PARENT));
    assert_false(seen_trace.is_continued);
    trace_with(&opts, FIELDS("traceparent: " PARENT));
    assert_false(seen_trace.is_continued);
    opts.sample_per_mille = WEIR_SAMPLE_NONE;
    trace_with(&opts, NULL);
    assert_int_equal(seen_trace.flags & 1, 0);
}

/* ---- access log ---- */

static void write_line(struct weir_view line, void *arg)
{
    (void)arg;
    assert_true(line.len <= WEIR_LOG_LINE_BYTES);
    remember(line);
}

static int drops_its_head(struct weir_req *req, void *arg)
{
    weir_req_drop_head(req);
    return stream(req, arg);
}

static void a_line_at_the_end(void **state)
{
    struct weir_access_log_opts opts = {.write = write_line};
    struct weir_router *router = NULL;
    struct weir_request_id_opts id = {.trust_inbound = true};
    struct weir_middleware items[] = {
        {weir_mw_request_id, &id}, {weir_mw_trace, NULL}, {weir_mw_access_log, &opts}};
    struct streaming plan = {3, 100, 50};
    struct scene scene = {.handler = weir_router_handle,
                          .opts = {.target = "/items/a%22b?secret=1"}};

    (void)state;
    assert_int_equal(weir_router_create(NULL, &router), 0);
    assert_int_equal(weir_router_add(router, "GET", "/items/:id", drops_its_head, &plan, NULL), 0);
    scene.arg = router;
    forget();
    FIELDS("X-Request-ID: r1", "traceparent: " PARENT);
    play_with(&scene, items, 3);
    weir_router_destroy(router);
    assert_memory_equal(seen, "{\"time\":\"20", 11);
    assert_string_equal(
        strstr(seen, ",\"id\""),
        ",\"id\":\"r1\",\"trace\":\"0af7651916cd43dd8448eb211c80319c\",\"route\":\"/items/:id\",\"method\":"
        "\"GET\",\"path\":\"/items/a%22b\",\"protocol\":\"memory\",\"peer\":\"memory:1\",\"status\":200,"
        "\"outcome\":\"complete\",\"cause\":null,\"reason\":null,\"bytes\":{\"received\":0,\"sent\":300},"
        "\"head_ms\":0.000,\"duration_ms\":150.000,\"stall_ms\":{\"moving\":0.000,\"wait_source\":150.000,"
        "\"stream_window\":0.000,\"conn_window\":0.000,\"socket\":0.000,\"shaped\":0.000,\"held\":0.000}}\n");
}

/* V14: of a stream that is broken off the line says so, and when. */
static void v14_a_line_of_a_broken_stream(void **state)
{
    struct weir_access_log_opts opts = {.write = write_line, .no_peer = true};
    struct weir_middleware items[] = {{weir_mw_access_log, &opts}};
    struct streaming plan = {300, 100, 50};
    struct weir__memory_step gone = {
        .at_ms = 120, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET};
    struct scene scene = {.handler = stream, .arg = &plan, .steps = &gone, .count = 1};

    (void)state;
    forget();
    play_with(&scene, items, 1);
    assert_non_null(strstr(seen, "\"id\":null,\"trace\":null,\"route\":null,"));
    assert_non_null(strstr(seen, "\"peer\":null,\"status\":200,\"outcome\":\"client_gone\","
                                 "\"cause\":\"WEIR_ERESET\",\"reason\":\"reset\","
                                 "\"bytes\":{\"received\":0,\"sent\":300}"));
    assert_non_null(strstr(seen, "\"duration_ms\":120.000"));
}

static void the_longest_line(void **state)
{
    struct weir_access_log_opts opts = {.write = write_line};
    struct weir_request_id_opts id = {.trust_inbound = true, .max_bytes = 128};
    struct weir_middleware items[] = {
        {weir_mw_request_id, &id}, {weir_mw_trace, NULL}, {weir_mw_access_log, &opts}};
    static char target[400];
    struct scene scene = {.handler = hello,
                          .opts = {.target = target, .method = "\1\1\1\1\1\1\1\1\1\1\1\1"}};

    (void)state;
    memset(target, 1, sizeof(target) - 1);
    target[0] = '/';
    forget();
    play_with(&scene, items, 3);
    assert_non_null(strstr(seen, "\"path\":\"/\\u0001"));
    assert_int_equal(seen[seen_len - 1], '\n');
}

static void json_strings(void **state)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"plain", "\"plain\""},
        {"a\"b\\c\n\r\x7f", "\"a\\\"b\\\\c\\n\\u000d\\u007f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff\xc0\xaf\xed\xa0\x80",
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc2\x85", "\"\\u0085\""},
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    char buffer[128];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__text text = {.data = buffer, .size = sizeof(buffer)};

        weir__text_json(&text, weir_str(cases[i].text), 100);
        assert_true(weir_view_equal(weir_bytes(buffer, text.len), weir_str(cases[i].json)));
    }
    for (size_t size = 0; size < 12; size++) {
        struct weir__text text = {.data = buffer, .size = size};

        weir__text_time(&text, INT64_C(1700000000123456));
        assert_true(text.is_full);
        assert_true(text.len <= size);
    }
    struct weir__text text = {.data = buffer, .size = sizeof(buffer)};

    weir__text_time(&text, INT64_C(1709164799999999));
    assert_true(
        weir_view_equal(weir_bytes(buffer, text.len), weir_str("2024-02-28T23:59:59.999Z")));
}

/* ---- health ---- */

static int fine(void *arg)
{
    (void)arg;
    return 0;
}

static int broken(void *arg)
{
    (void)arg;
    return -1;
}

static void health(void **state)
{
    struct weir_health_check checks[] = {
        {"db", fine, NULL}, {"disk", broken, NULL}, {"queue", broken, NULL}};
    struct weir_health all = {checks, 3};
    struct scene scene = {.handler = weir_health_live, .opts = {.keep = 100}};

    (void)state;
    play_with(&scene, NULL, 0);
    assert_int_equal(scene.result.status, 200);
    assert_true(has_line("Cache-Control: no-store"));
    assert_true(has_line("Content-Type: application/json"));
    assert_int_equal(answer.body_sent, strlen("{\"status\":\"ok\"}\n"));

    scene = (struct scene){.handler = weir_health_ready, .arg = &all};
    play_with(&scene, NULL, 0);
    assert_int_equal(scene.result.status, 503);
    assert_int_equal(answer.body_sent,
                     strlen("{\"status\":\"unavailable\",\"failed\":[\"disk\",\"queue\"]}\n"));
    all.count = 1;
    play_with(&scene, NULL, 0);
    assert_int_equal(scene.result.status, 200);
}

/* ---- metrics ---- */

/* Keeps what a handler emits, in front of the wire. */
struct tap {
    struct weir_reply_filter filter;
};

struct tap_sink {
    struct weir_sink *inner;
};

static int tap_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    remember(weir_chunk_view(chunk));
    return weir_emit_take(((struct tap_sink *)state)->inner, chunk, deadline);
}

static int tap_end(void *state, struct weir_fields *trailers)
{
    return weir_end(((struct tap_sink *)state)->inner, trailers);
}

static void tap_destroy(void *state)
{
    weir_sink_destroy(((struct tap_sink *)state)->inner);
    weir_free(state);
}

static int tap_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                     struct weir_sink **ret)
{
    static const struct weir_sink_ops ops = {
        .name = "tap", .emit = tap_emit, .end = tap_end, .destroy = tap_destroy};
    struct tap_sink *tap = weir_alloc0(sizeof(*tap));
    int r = weir_reply_next(reply, &tap->inner);

    (void)filter;
    if (r < 0) {
        weir_free(tap);
        return r;
    }
    return weir_sink_create_take(&ops, tap, ret);
}

static int tapping(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_reply_filter filter = {.begin = tap_begin};

    (void)arg;
    forget();
    weir_req_filter_reply(req, &filter);
    return weir_chain_run(next, req);
}

static const char *scrape(struct weir_metrics *metrics)
{
    struct weir_middleware items[] = {{tapping, NULL}};
    struct scene scene = {.handler = weir_metrics_handle, .arg = metrics};

    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 200);
    assert_true(scene.result.ended);
    assert_true(has_line("Content-Type: text/plain; version=0.0.4; charset=utf-8"));
    return seen;
}

static struct weir_metrics *active_metrics;

static int looks_at_active(struct weir_req *req, void *arg)
{
    (void)arg;
    forget();
    return weir_metrics_handle(req, active_metrics);
}

static void expect_sample(const char *text, const char *sample)
{
    char line[512];

    snprintf(line, sizeof(line), "\n%s\n", sample);
    if (strstr(text, line) == NULL) {
        fail_msg("no line %s in:\n%s", sample, text);
    }
}

/* V14 again: durations and bytes are those of the stream. */
static void v14_metrics_of_streams(void **state)
{
    struct weir_metrics *metrics = NULL;
    struct weir_router *router = NULL;
    struct streaming plan = {4, 500, 100};
    struct weir_middleware items[1];
    struct weir__memory_step gone = {
        .at_ms = 150, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET};
    struct scene scene = {.handler = weir_router_handle, .opts = {.target = "/s/1"}};
    const char *text;

    (void)state;
    scene_may_keep = 3; /* the first of its route, its method, its status */
    assert_int_equal(weir_metrics_create(NULL, &metrics), 0);
    items[0] = (struct weir_middleware){weir_mw_metrics, metrics};
    assert_int_equal(weir_router_create(&(struct weir_router_opts){items, 1, NULL, NULL}, &router),
                     0);
    assert_int_equal(weir_router_add(router, "GET", "/s/:id", stream, &plan, NULL), 0);
    assert_int_equal(weir_router_add(router, "BREW", "/t\"\\", hello, NULL, NULL), 0);
    scene.arg = router;
    play_with(&scene, NULL, 0);
    play_with(&scene, NULL, 0);
    scene.steps = &gone;
    scene.count = 1;
    play_with(&scene, NULL, 0);
    scene =
        (struct scene){.handler = weir_router_handle, .arg = router, .opts = {.target = "/none"}};
    play_with(&scene, NULL, 0);
    scene.opts.method = "BREW";
    scene.opts.target = "/t%22%5c";
    play_with(&scene, NULL, 0);

    text = scrape(metrics);
#define D "http_server_request_duration_seconds"
#define S \
    "{http_request_method=\"GET\",http_route=\"/s/:id\",http_response_status_code=\"200\",network_protocol_version=\"1.1\""
    expect_sample(text, "# TYPE " D " histogram");
    expect_sample(text, D "_bucket" S ",weir_exchange=\"stream\",le=\"0.250000\"} 0");
    expect_sample(text, D "_bucket" S ",weir_exchange=\"stream\",le=\"0.500000\"} 2");
    expect_sample(text, D "_bucket" S ",weir_exchange=\"stream\",le=\"+Inf\"} 2");
    expect_sample(text, D "_sum" S ",weir_exchange=\"stream\"} 0.800000");
    expect_sample(text, D "_count" S ",error_type=\"client_gone\",weir_exchange=\"stream\"} 1");
    expect_sample(
        text,
        D "_count{http_request_method=\"GET\",http_route=\"\",http_response_status_code=\"404\","
          "network_protocol_version=\"1.1\",weir_exchange=\"unary\"} 1");
    expect_sample(
        text,
        "http_server_response_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"/s/:id\"} 5000");
    expect_sample(
        text,
        "http_server_response_body_size_bytes_count{http_request_method=\"_OTHER\",http_route=\"/t\\\"\\\\\"} 1");
    expect_sample(text, "weir_streams_total{http_route=\"/s/:id\",outcome=\"complete\"} 2");
    expect_sample(text, "weir_streams_total{http_route=\"/s/:id\",outcome=\"client_gone\"} 1");
    expect_sample(
        text,
        "weir_stream_stall_seconds_total{http_route=\"/s/:id\",direction=\"down\",cause=\"wait_source\"} 0.950000");
    expect_sample(text, "weir_bytes_total{http_route=\"/s/:id\",io=\"tx\"} 5000");
    expect_sample(text, "weir_time_to_first_byte_seconds_count{http_route=\"/s/:id\"} 3");
    assert_null(strstr(text, "http_server_active_requests{"));

    active_metrics = metrics;
    scene = (struct scene){.handler = looks_at_active};
    struct weir_middleware both[] = {{weir_mw_metrics, metrics}, {tapping, NULL}};

    play_with(&scene, both, 2);
    expect_sample(seen, "http_server_active_requests{http_request_method=\"GET\"} 1");
    weir_router_destroy(router);
    weir_metrics_destroy(metrics);
    scene_may_keep = 0;
}

static int status_of_query(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_empty(req, (int)weir_req_query_u64(req, "s", 500), NULL);
}

static void series_are_bounded(void **state)
{
    struct weir_metrics_opts opts = {.max_series = 5};
    struct weir_metrics *metrics = NULL;
    struct weir_middleware items[1];
    size_t count = 0;

    (void)state;
    scene_may_keep = 3;
    assert_int_equal(weir_metrics_create(&opts, &metrics), 0);
    items[0] = (struct weir_middleware){weir_mw_metrics, metrics};
    for (int i = 0; i < 50; i++) {
        char target[32];
        struct scene scene = {.handler = status_of_query, .opts = {.target = target}};

        snprintf(target, sizeof(target), "/?s=%d", 400 + i);
        play_with(&scene, items, 1);
    }
    for (const char *at = scrape(metrics); (at = strstr(at, "duration_seconds_count{")) != NULL;
         at++) {
        count++;
    }
    assert_int_equal(count, 6); /* what found no room has one of its own */
    expect_sample(
        seen,
        "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_route="
        "\"_OTHER\",network_protocol_version=\"1.1\",weir_exchange=\"unary\"} 45");
    expect_sample(seen, "weir_streams_total{http_route=\"\",outcome=\"complete\"} 50");
    weir_metrics_destroy(metrics);
    scene_may_keep = 0;
}

static void while_allocations_fail(void **state)
{
    struct weir_access_log_opts opts = {.write = write_line};
    struct weir_middleware items[] = {
        {weir_mw_request_id, NULL}, {weir_mw_trace, NULL}, {weir_mw_access_log, &opts}};
    struct scene scene = {.handler = hello};
    struct weir_metrics *metrics = NULL;

    (void)state;
    survive(&scene, items, 3, 200);
    scene.handler = weir_health_live;
    survive(&scene, NULL, 0, 200);
    assert_int_equal(weir_metrics_create(NULL, &metrics), 0);
    scene.handler = weir_metrics_handle;
    scene.arg = metrics;
    survive(&scene, NULL, 0, 200);
    weir_metrics_destroy(metrics);
    scene_may_keep = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_ids),
        cmocka_unit_test(traceparents),
        cmocka_unit_test(traces),
        cmocka_unit_test(a_line_at_the_end),
        cmocka_unit_test(v14_a_line_of_a_broken_stream),
        cmocka_unit_test(the_longest_line),
        cmocka_unit_test(json_strings),
        cmocka_unit_test(health),
        cmocka_unit_test(v14_metrics_of_streams),
        cmocka_unit_test(series_are_bounded),
        cmocka_unit_test(while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
