/* SPDX-License-Identifier: MIT */
/* Middleware for what browsers look at. */
#include "route_test.h"

#include <weir/web.h>

/* ---- CORS ---- */

static int varies(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Vary"), weir_str(arg)), 0);
    weir_req_drop_head(req);
    return weir_reply_empty(req, 200, fields);
}

static int cors(struct weir_cors_opts *opts, const char *method, struct weir_fields *fields)
{
    struct weir_middleware items[] = {{weir_mw_cors, opts}};
    struct scene scene = {
        .handler = varies, .arg = (char[]){"Accept"}, .opts = {.method = method, .fields = fields}};

    play_with(&scene, items, 1);
    return scene.result.status;
}

static const char *const origins[] = {"https://a.example", "https://b.example"};

static void cors_for_everybody(void **state)
{
    struct weir_cors_opts opts = {.credentials =
                                      true}; /* without effect: everybody is nobody in particular */

    (void)state;
    assert_int_equal(cors(&opts, "GET", FIELDS("Origin: https://x.example")), 200);
    assert_true(has_line("Access-Control-Allow-Origin: *"));
    assert_false(has_line("Access-Control-Allow-Credentials: true"));
    assert_false(has_line("Vary: Origin"));
    assert_int_equal(cors(&opts, "GET", NULL), 200);
    assert_false(has_line("Access-Control-Allow-Origin: *"));
}

static void cors_for_some(void **state)
{
    struct weir_cors_opts opts = {
        .origins = origins, .origin_count = 2, .credentials = true, .expose = "X-A, X-B"};

    (void)state;
    cors(&opts, "GET", FIELDS("Origin: https://b.example"));
    assert_true(has_line("Access-Control-Allow-Origin: https://b.example"));
    assert_true(has_line("Access-Control-Allow-Credentials: true"));
    assert_true(has_line("Access-Control-Expose-Headers: X-A, X-B"));
    assert_true(has_line("Vary: Accept"));
    assert_true(has_line("Vary: Origin"));
    cors(&opts, "GET", FIELDS("Origin: https://b.example.evil"));
    assert_null(strstr(scene_trace, "Access-Control"));
    assert_true(has_line("Vary: Origin"));
    cors(&opts, "GET", NULL);
    assert_true(has_line("Vary: Origin")); /* a cache must know, whoever asked first */
}

static void preflights(void **state)
{
    struct weir_cors_opts opts = {.origins = origins, .origin_count = 2, .max_age_s = 99};

    (void)state;
    assert_int_equal(cors(&opts, "OPTIONS",
                          FIELDS("Origin: https://a.example", "Access-Control-Request-Method: PUT",
                                 "Access-Control-Request-Headers: x-a, x-b")),
                     204);
    assert_string_equal(
        scene_trace,
        "0 begin 204 none\n  Vary: Origin\n  Access-Control-Allow-Origin: https://a.example\n"
        "  Vary: Access-Control-Request-Method, Access-Control-Request-Headers\n"
        "  Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\n"
        "  Access-Control-Allow-Headers: x-a, x-b\n  Access-Control-Max-Age: 99\n0 end\n0 finished\n");
    assert_int_equal(
        cors(&opts, "OPTIONS",
             FIELDS("Origin: https://c.example", "Access-Control-Request-Method: PUT")),
        204);
    assert_null(strstr(scene_trace, "Access-Control-Allow"));
    /* No preflight, but a request like others. */
    assert_int_equal(cors(&opts, "OPTIONS", FIELDS("Origin: https://a.example")), 200);
    assert_true(has_line("Access-Control-Allow-Origin: https://a.example"));
}

static bool allow_tests(struct weir_view origin, void *arg)
{
    (void)arg;
    return weir_view_starts_with(origin, weir_str("https://test-"));
}

static void cors_by_a_function(void **state)
{
    struct weir_cors_opts opts = {.allow = allow_tests};

    (void)state;
    cors(&opts, "GET", FIELDS("Origin: https://test-5"));
    assert_true(has_line("Access-Control-Allow-Origin: https://test-5"));
    cors(&opts, "GET", FIELDS("Origin: https://tesd-5"));
    assert_null(strstr(scene_trace, "Access-Control-Allow"));
}

static int says_origin(struct weir_req *req, void *arg)
{
    return varies(req, arg);
}

static void vary_is_not_repeated(void **state)
{
    struct weir_cors_opts opts = {.origins = origins, .origin_count = 2};
    struct weir_middleware items[] = {{weir_mw_cors, &opts}};
    struct scene scene = {.handler = says_origin, .arg = (char[]){"accept, origin"}};

    (void)state;
    play_with(&scene, items, 1);
    assert_false(has_line("Vary: Origin"));
}

/* ---- security headers ---- */

static int with_frames(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;

    (void)arg;
    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("x-frame-options"), weir_str("SAMEORIGIN")),
                     0);
    return weir_reply_empty(req, 200, fields);
}

static void security_headers(void **state)
{
    struct weir_security_opts opts = {.referrer_policy = "",
                                      .content_security_policy = "default-src 'self'",
                                      .hsts_max_age_s = 31536000};
    struct weir_middleware items[] = {{weir_mw_security, NULL}};
    struct scene scene = {.handler = with_frames};

    (void)state;
    play_with(&scene, items, 1);
    assert_string_equal(scene_trace,
                        "0 begin 200 length=0\n  x-frame-options: SAMEORIGIN\n"
                        "  X-Content-Type-Options: nosniff\n  Referrer-Policy: no-referrer\n"
                        "0 end\n0 finished\n");
    items[0].arg = &opts;
    scene = (struct scene){.handler = hello};
    play_with(&scene, items, 1);
    assert_true(has_line("X-Frame-Options: DENY"));
    assert_true(has_line("Content-Security-Policy: default-src 'self'"));
    assert_true(has_line("Strict-Transport-Security: max-age=31536000"));
    assert_null(strstr(scene_trace, "Referrer"));
}

/* ---- ETag ---- */

static char etag[64];

static int conditional(struct weir_etag_opts *opts, weir_handler_fn *handler, void *arg,
                       const char *method, const char *line)
{
    struct weir_middleware items[] = {{weir_mw_etag, opts}};
    struct scene scene = {.handler = handler, .arg = arg, .opts = {.method = method}};
    const char *at;

    if (line != NULL) {
        FIELDS(line);
        play_with(&scene, items, 1);
    } else {
        play_with(&scene, items, 1);
    }
    assert_true(scene.result.ended || scene.result.aborted);
    at = strstr(scene_trace, "  ETag: ");
    etag[0] = '\0';
    if (at != NULL) {
        snprintf(etag, sizeof(etag), "%.*s", (int)strcspn(at + 8, "\n"), at + 8);
    }
    return scene.result.aborted ? -1 : scene.result.status;
}

static void etags(void **state)
{
    struct weir_etag_opts small = {.max_bytes = 4};
    struct weir_etag_opts weak = {.weak = true};
    char line[128];

    (void)state;
    assert_int_equal(conditional(NULL, hello, NULL, "GET", NULL), 200);
    assert_int_equal(strlen(etag), 34);
    assert_int_equal(answer.body_sent, 5);
    snprintf(line, sizeof(line), "If-None-Match: \"x\", W/%s", etag);
    assert_int_equal(conditional(NULL, hello, NULL, "GET", line), 304);
    assert_int_equal(answer.body_sent, 0);
    assert_string_equal(scene_trace + strlen(scene_trace) - strlen("0 end\n0 finished\n"),
                        "0 end\n0 finished\n");
    assert_int_equal(conditional(NULL, hello, NULL, "GET", "If-None-Match: *"), 304);
    assert_int_equal(conditional(NULL, hello, NULL, "GET", "If-None-Match: \"x\""), 200);
    assert_int_equal(conditional(NULL, hello, NULL, "POST", "If-None-Match: *"), 200);
    assert_string_equal(etag, "");
    assert_int_equal(conditional(&small, hello, NULL, "GET", NULL), 200);
    assert_string_equal(etag, "");
    assert_int_equal(conditional(&weak, hello, NULL, "GET", NULL), 200);
    assert_memory_equal(etag, "W/\"", 3);
}

static int tagged(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    const char *const *pair = arg;
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str(pair[0]), weir_str(pair[1])), 0);
    r = weir_stream_begin(req, 200, fields, WEIR_LENGTH_UNKNOWN, &sink);
    if (r == 0) {
        r = emit_pattern(sink, 0, 1000, -1);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void validators_of_the_handler(void **state)
{
    const char *tag[] = {"ETag", "\"v1\""};
    const char *date[] = {"Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"};
    const char *nonsense[] = {"ETag", "v1"};

    (void)state;
    assert_int_equal(conditional(NULL, tagged, tag, "GET", "If-None-Match: \"v1\""), 304);
    assert_int_equal(answer.body_sent, 1000); /* accepted and dropped */
    assert_null(strstr(scene_trace, " body "));
    assert_int_equal(conditional(NULL, tagged, tag, "HEAD", "If-None-Match: \"v1\""), 304);
    assert_int_equal(conditional(NULL, tagged, tag, "GET", "If-None-Match: \"v2\""), 200);
    assert_int_equal(
        conditional(NULL, tagged, date, "GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
        304);
    assert_int_equal(
        conditional(NULL, tagged, date, "GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT"),
        200);
    assert_int_equal(conditional(NULL, tagged, nonsense, "GET", "If-None-Match: \"v1\""), 200);
}

static int wrong_length(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, 10, &sink);

    if (r == 0) {
        r = emit_pattern(sink, 0, (size_t) * (int *)arg, -1);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void a_body_that_is_not_as_declared(void **state)
{
    int bytes = 9;

    (void)state;
    /* Nothing has left, so it can still be a status: of the two failures there is no clean 200. */
    assert_int_equal(conditional(NULL, wrong_length, &bytes, "GET", NULL), 500);
    bytes = 11;
    assert_int_equal(conditional(NULL, wrong_length, &bytes, "GET", NULL), 413);
}

static void a_client_that_leaves_meanwhile(void **state)
{
    struct weir_middleware items[] = {{weir_mw_etag, NULL}};
    struct weir__memory_step gone = {
        .at_ms = 0, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET};
    struct scene scene = {.handler = hello, .steps = &gone, .count = 1};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_not_equal(answer.outcome, WEIR_OUTCOME_NONE);
}

static void while_allocations_fail(void **state)
{
    struct weir_cors_opts opts = {.origins = origins, .origin_count = 2};
    struct weir_middleware items[] = {
        {weir_mw_security, NULL}, {weir_mw_cors, &opts}, {weir_mw_etag, NULL}};
    struct scene scene = {.handler = hello};

    (void)state;
    survive(&scene, items, 3, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cors_for_everybody),
        cmocka_unit_test(cors_for_some),
        cmocka_unit_test(preflights),
        cmocka_unit_test(cors_by_a_function),
        cmocka_unit_test(vary_is_not_repeated),
        cmocka_unit_test(security_headers),
        cmocka_unit_test(etags),
        cmocka_unit_test(validators_of_the_handler),
        cmocka_unit_test(a_body_that_is_not_as_declared),
        cmocka_unit_test(a_client_that_leaves_meanwhile),
        cmocka_unit_test(while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
