/* SPDX-License-Identifier: MIT */
/* What passes through the gateway, and what it answers itself. */
#include "proxy_test.h"

#include <errno.h>

#define HEAD(at, status, length)                                                          \
    {                                                                                     \
        .at_ms = (at), .act = WEIR__MEMORY_SEND_HEAD, .code = (status), .bytes = (length) \
    }

static const struct weir__memory_step answer_of_100[] = {
    HEAD(10, 200, WEIR_LENGTH_UNKNOWN),
    {.at_ms = 500, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 900, .act = WEIR__MEMORY_SEND_END}};

static void a_head_goes_before_any_body(void **state)
{
    struct passage passage = {
        .upstreams = {{.take_ms = 3, .steps = answer_of_100, .count = COUNT(answer_of_100)}}};

    (void)state;
    pass(&passage);
    assert_string_equal(passage.trace, "10 begin 200 length=?\n"
                                       "  Via: 1.1 weir\n"
                                       "500 body 100\n"
                                       "900 end\n"
                                       "900 finished\n");
    assert_string_equal(passage.upstreams[0].trace, "3 begin GET / none\n"
                                                    "  Host: memory\n"
                                                    "  X-Forwarded-For: memory\n"
                                                    "  X-Forwarded-Proto: http\n"
                                                    "  X-Forwarded-Host: memory\n"
                                                    "  Via: 1.1 weir\n"
                                                    "3 end\n"
                                                    "900 finished\n");
    assert_true(passage.result.pattern);
    assert_int_equal(passage.upstreams[0].put, 1);
}

/* Everything in order and unchanged, but for what belongs to one connection or says who the client is. */
static void fields_pass_as_they_are(void **state)
{
    struct weir_fields *fields =
        FIELDS("server", "x/1", "Set-Cookie", "a=1", "set-cookie", "b=2", "Connection", "x-hop",
               "X-Hop", "1", "Keep-Alive", "5", "X-!~", "\xff \"", "Empty", "", "Content-Length",
               "5", "Via", "1.0 other");
    struct weir__memory_step steps[] = {HEAD(1, 299, 5),
                                        {.at_ms = 2, .act = WEIR__MEMORY_SEND, .bytes = 5}};
    struct passage passage = {.opts = {.method = "OPTIONS", .target = "/a%2fb//c?x=1&y#"},
                              .fields = {"X-B", "2", "x-a", "1", "Connection", "close, x-own",
                                         "X-Own", "1", "TE", "trailers", "X-Forwarded-For",
                                         "9.9.9.9", "x-a", ""},
                              .upstreams = {{.steps = steps, .count = COUNT(steps)}}};

    (void)state;
    steps[0].fields = fields;
    pass(&passage);
    assert_string_equal(passage.trace, "1 begin 299 length=5\n"
                                       "  server: x/1\n"
                                       "  Set-Cookie: a=1\n"
                                       "  set-cookie: b=2\n"
                                       "  X-!~: \xff \"\n"
                                       "  Empty: \n"
                                       "  Via: 1.0 other\n"
                                       "  Via: 1.1 weir\n"
                                       "2 body 5\n"
                                       "2 end\n"
                                       "2 finished\n");
    assert_string_equal(passage.upstreams[0].trace, "0 begin OPTIONS /a%2fb//c?x=1&y# none\n"
                                                    "  X-B: 2\n"
                                                    "  x-a: 1\n"
                                                    "  x-a: \n"
                                                    "  Host: memory\n"
                                                    "  X-Forwarded-For: memory\n"
                                                    "  X-Forwarded-Proto: http\n"
                                                    "  X-Forwarded-Host: memory\n"
                                                    "  Via: 1.1 weir\n"
                                                    "0 end\n"
                                                    "2 finished\n");
    weir_fields_destroy(fields);
}

static void every_framing_passes(void **state)
{
    static const struct {
        const char *method;
        int status;
        uint64_t length, bytes;
        const char *declared;
        bool fin;
        const char *begin;
    } cases[] = {
        {"GET", 200, 100, 100, "100", false, "1 begin 200 length=100\n"},
        {"GET", 200, 0, 0, "0", false, "1 begin 200 length=0\n"},
        {"GET", 200, WEIR_LENGTH_UNKNOWN, 100, NULL, false, "1 begin 200 length=?\n"},
        {"GET", 200, WEIR_LENGTH_UNKNOWN, 0, NULL, false, "1 begin 200 length=?\n"},
        {"GET", 200, WEIR_LENGTH_UNTIL_CLOSE, 100, NULL, true, "1 begin 200 length=?\n"},
        {"GET", 200, WEIR_LENGTH_UNTIL_CLOSE, 0, NULL, true, "1 begin 200 length=?\n"},
        {"GET", 204, 0, 0, NULL, false, "1 begin 204 none\n"},
        {"GET", 304, 0, 0, "100", false, "1 begin 304 none\n"},
        {"HEAD", 200, 0, 0, "100", false, "1 begin 200 none\n"},
        {"GET", 404, 100, 100, "100", false, "1 begin 404 length=100\n"},
        {"GET", 599, 100, 100, "100", false, "1 begin 599 length=100\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int fds = 0; fds < 2; fds++) {
            struct weir_fields *fields = cases[i].declared != NULL
                                             ? FIELDS("Content-Length", cases[i].declared)
                                             : FIELDS("A", "b");
            struct weir__memory_step steps[] = {
                HEAD(1, cases[i].status, cases[i].length),
                {.at_ms = 2, .act = WEIR__MEMORY_SEND, .bytes = cases[i].bytes},
                {.at_ms = 3, .act = cases[i].fin ? WEIR__MEMORY_FIN : WEIR__MEMORY_SEND_END}};
            struct passage passage = {
                .opts = {.method = cases[i].method, .use_fds = fds},
                .upstreams = {{.opts.use_fds = fds, .steps = steps, .count = COUNT(steps)}}};

            steps[0].fields = fields;
            pass(&passage);
            expect_part(passage.trace, cases[i].begin);
            assert_true(passage.result.ended);
            assert_int_equal(passage.result.taken, cases[i].bytes);
            assert_true(passage.result.pattern);
            expect_part(passage.log, "\"outcome\":\"complete\"");
            weir_fields_destroy(fields);
        }
    }
}

static void interim_heads_pass(void **state)
{
    struct weir_fields *hint = FIELDS("Link", "</x>", "Connection", "y", "Y", "1");
    struct weir__memory_step steps[] = {HEAD(1, 100, 0), HEAD(2, 103, 0), HEAD(3, 103, 0),
                                        HEAD(5, 200, 0)};
    struct passage passage = {.upstreams = {{.steps = steps, .count = COUNT(steps)}}};

    (void)state;
    steps[1].fields = hint;
    pass(&passage);
    assert_string_equal(passage.trace, "2 inform 103\n"
                                       "  Link: </x>\n"
                                       "  Via: 1.1 weir\n"
                                       "3 inform 103\n"
                                       "  Via: 1.1 weir\n"
                                       "5 begin 200 length=0\n"
                                       "  Via: 1.1 weir\n"
                                       "5 end\n"
                                       "5 finished\n");
    passage.opts.http10 = true; /* it would not know them */
    pass(&passage);
    expect_none(passage.trace, "inform");
    assert_int_equal(passage.result.status, 200);
    weir_fields_destroy(hint);
}

static void trailers_go_both_ways(void **state)
{
    struct weir_fields *up = FIELDS("X-Sum", "1", "Authorization", "no", "x-sum", "2");
    struct weir_fields *down = FIELDS("Server-Timing", "a", "Content-Length", "7", "TE", "x");
    struct weir__memory_step client[] = {{.at_ms = 1, .act = WEIR__MEMORY_SEND, .bytes = 40},
                                         {.at_ms = 2, .act = WEIR__MEMORY_SEND_END}};
    struct weir__memory_step steps[] = {HEAD(10, 200, WEIR_LENGTH_UNKNOWN),
                                        {.at_ms = 11, .act = WEIR__MEMORY_SEND, .bytes = 7},
                                        {.at_ms = 12, .act = WEIR__MEMORY_SEND_END}};
    struct passage passage = {.opts = {.method = "POST", .body_length = WEIR_LENGTH_UNKNOWN},
                              .steps = client,
                              .count = COUNT(client),
                              .upstreams = {{.steps = steps, .count = COUNT(steps)}}};

    (void)state;
    client[1].fields = up;
    steps[2].fields = down;
    pass(&passage);
    expect_part(passage.trace, "12 end\n  Server-Timing: a\n12 finished\n");
    expect_part(passage.upstreams[0].trace, "1 body 40\n2 end\n  X-Sum: 1\n  x-sum: 2\n");
    assert_true(passage.upstreams[0].result.pattern);
    assert_int_equal(passage.upstreams[0].put, 1);
    weir_fields_destroy(up);
    weir_fields_destroy(down);
}

/* ---- answers of its own ---- */

/* "secret" may do everything, "half" only GET below /half. */
static const char keys[] =
    "all 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n"
    "half a1caca8efc46762ef85b761a0cdfba8afbcce827393bbf13510d9626e247da3b prefix=/half methods=GET\n";

static void keys_decide_before_anything_is_opened(void **state)
{
    struct weir__memory_step steps[] = {HEAD(1, 200, 0)};
    struct passage passage = {.keys = keys,
                              .fields = {"X-Api-Key", "secret", "A", "b"},
                              .upstreams = {{.steps = steps, .count = COUNT(steps)}}};

    (void)state;
    pass(&passage);
    assert_int_equal(passage.result.status, 200);
    expect_none(passage.upstreams[0].trace, "secret");
    expect_part(passage.upstreams[0].trace, "  A: b\n");
    expect_part(passage.log, "\"key\":\"all\"");

    passage.fields[0] = NULL;
    pass(&passage);
    assert_int_equal(passage.takes, 0);
    expect_part(passage.trace, "0 begin 401 length=");
    expect_part(passage.trace, "  Proxy-Status: weir; error=http_request_denied\n"
                               "  WWW-Authenticate: Bearer realm=\"weir\"\n"
                               "  Content-Type: application/problem+json\n");
    expect_part(passage.log, "\"status\":401,\"outcome\":\"denied\",\"end_by\":\"weir\"");
    assert_true(passage.result.ended);

    passage.fields[0] = "Authorization";
    passage.fields[1] = "Bearer wrong";
    pass(&passage);
    assert_int_equal(passage.takes, 0);
    expect_part(passage.trace,
                "  WWW-Authenticate: Bearer realm=\"weir\", error=\"invalid_token\"\n");

    passage.fields[1] = "Bearer half-a-key";
    passage.opts.target = "/other";
    pass(&passage);
    assert_int_equal(passage.takes, 0);
    expect_part(passage.trace, "0 begin 403 length=");
    expect_part(passage.log, "\"key\":\"half\"");
}

static void each_failure_has_its_answer(void **state)
{
    const struct {
        struct upstream upstream;
        const char *begin, *proxy_status, *log;
    } cases[] = {
        {{.fail = WEIR_EREFUSED, .native = ECONNREFUSED},
         "0 begin 502",
         "connection_refused",
         "\"outcome\":\"upstream_abort\",\"end_by\":\"upstream\""},
        {{.fail = WEIR_ENOTFOUND, .take_ms = 7},
         "7 begin 502",
         "dns_error",
         "\"dial\":null,\"response_head\":null"},
        {{.fail = WEIR_ETIMEDOUT, .take_ms = 3000},
         "3000 begin 504",
         "connection_timeout",
         "\"outcome\":\"upstream_timeout\",\"end_by\":\"weir\""},
        {{.fail = WEIR_EIO, .native = EHOSTUNREACH},
         "0 begin 502",
         "destination_ip_unroutable",
         "\"cause\":\"WEIR_EIO\""},
        {{.fail = WEIR_ELIMIT},
         "0 begin 503",
         "connection_limit_reached",
         "\"outcome\":\"refused\""},
        {{.fail = WEIR_ELIMIT, .native = EMFILE},
         "0 begin 503",
         "proxy_internal_response",
         "\"outcome\":\"refused\""},
        {{.fail = WEIR_ENOMEM},
         "0 begin 503",
         "proxy_internal_response",
         "\"outcome\":\"refused\""},
        {{.take_ms = 5}, "60005 begin 504", "http_response_timeout", "\"reason\":\"timeout\""},
        {{.steps = &(struct weir__memory_step){.at_ms = 9, .act = WEIR__MEMORY_FIN}, .count = 1},
         "9 begin 502",
         "connection_terminated",
         "\"cause\":\"WEIR_ECLOSED\",\"reason\":\"fin\""},
        {{.steps = &(struct weir__memory_step){.at_ms = 9,
                                               .act = WEIR__MEMORY_GONE,
                                               .reason = WEIR_REASON_RESET,
                                               .code = ECONNRESET},
          .count = 1},
         "9 begin 502",
         "connection_terminated",
         "\"cause\":\"WEIR_ERESET\",\"reason\":\"reset\""},
        {{.steps = &(struct weir__memory_step){.at_ms = 9,
                                               .act = WEIR__MEMORY_SEND_ERROR,
                                               .code = WEIR_EPROTO},
          .count = 1},
         "9 begin 502",
         "http_protocol_error",
         "\"outcome\":\"protocol_error\""},
        {{.steps = &(struct weir__memory_step){.at_ms = 9,
                                               .act = WEIR__MEMORY_SEND_ERROR,
                                               .code = WEIR_ELIMIT},
          .count = 1},
         "9 begin 502",
         "http_response_header_section_size",
         "\"outcome\":\"limit\""},
        {{.steps = &(struct weir__memory_step)HEAD(9, 101, 0), .count = 1},
         "9 begin 502",
         "http_protocol_error",
         "\"outcome\":\"protocol_error\""},
        {{.opts.fail_begin = WEIR_ENOMEM}, "0 begin 503", "proxy_internal_response", "WEIR_ENOMEM"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct passage passage = {.upstreams = {cases[i].upstream}};
        char line[200];

        pass(&passage);
        expect_part(passage.trace, cases[i].begin);
        snprintf(line, sizeof(line), "  Proxy-Status: weir; error=%s\n", cases[i].proxy_status);
        expect_part(passage.trace, line);
        if (passage.result.status == 503) {
            expect_part(passage.trace, "  Retry-After: 1\n");
        }
        expect_part(passage.trace, "  Content-Type: application/problem+json\n");
        expect_part(passage.log, cases[i].log);
        snprintf(line, sizeof(line), "\"proxy_error\":\"%s\"", cases[i].proxy_status);
        expect_part(passage.log, line);
        assert_true(passage.result.ended);
        assert_int_equal(passage.upstreams[0].put, 0);
        assert_int_equal(passage.upstreams[0].closed, passage.upstreams[0].taken);

        passage.set[0] = "timeout_status=408";
        pass(&passage);
        if (strstr(cases[i].begin, "504") != NULL) {
            assert_int_equal(passage.result.status, 408);
        }
    }
}

static void a_problem_is_json(void **state)
{
    struct passage passage = {.upstreams = {{.fail = WEIR_EREFUSED}}};
    static const char json[] = "{\"type\":\"about:blank\",\"title\":\"Bad Gateway\",\"status\":502,"
                               "\"detail\":\"The upstream refused the connection.\"}\n";

    (void)state;
    pass(&passage);
    assert_string_equal(passage.body, json);
}

static void what_cannot_be_forwarded_is_refused(void **state)
{
    struct passage connect = {.opts.method = "CONNECT"};
    struct passage listed = {.fields = {"Connection", "host"}};

    (void)state;
    pass(&connect);
    assert_int_equal(connect.result.status, 501);
    assert_int_equal(connect.takes, 0);
    pass(&listed);
    assert_int_equal(listed.result.status, 400);
    assert_int_equal(listed.takes, 0);
    expect_part(listed.log, "\"outcome\":\"protocol_error\",\"end_by\":\"client\"");
}

/* ---- the log ---- */

static void the_log_has_it_all(void **state)
{
    static const struct weir__memory_step client[] = {
        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 60},
        {.at_ms = 30, .act = WEIR__MEMORY_SEND_END}};
    static const struct weir__memory_step steps[] = {
        HEAD(50, 201, 1000),
        {.at_ms = 75, .act = WEIR__MEMORY_SEND, .bytes = 400},
        {.at_ms = 1500, .act = WEIR__MEMORY_SEND, .bytes = 600}};
    struct passage passage = {
        .opts = {.method = "PUT", .target = "/v1/x?secret=1", .body_length = 60},
        .steps = client,
        .count = COUNT(client),
        .set = {"access_log_every=1s"},
        .upstreams = {{.take_ms = 5, .steps = steps, .count = COUNT(steps)}}};
    char *end;

    (void)state;
    pass(&passage);
    end = strchr(passage.log, '\n');
    assert_non_null(end);
    *end = 0;
    expect_part(passage.log,
                "\"route\":\"default\",\"method\":\"PUT\",\"path\":\"/v1/x\",\"peer\":\"memory:1\","
                "\"key\":null,\"upstream\":\"up.test:9000\",\"status\":201,\"outcome\":null,"
                "\"end_by\":null,\"cause\":null,\"reason\":null,\"proxy_error\":null,");
    expect_part(passage.log, "\"kind\":\"progress\"");
    expect_part(passage.log, "\"client_tx\":400,");
    expect_part(passage.log, "\"total\":1000.000}");
    expect_part(end + 1, "\"kind\":\"end\"");
    expect_part(end + 1, "\"status\":201,\"outcome\":\"complete\",\"end_by\":\"upstream\","
                         "\"cause\":null,\"reason\":null,\"proxy_error\":null,"
                         "\"bytes\":{\"client_rx\":60,\"client_tx\":1000,\"upstream_rx\":1100,"
                         "\"upstream_tx\":60},"
                         "\"phase_ms\":{\"auth\":0.000,\"dial\":5.000,\"response_head\":45.000,"
                         "\"first_byte\":25.000,\"body\":1425.000,\"total\":1500.000},");
    assert_int_equal(log_stall(passage.log, "down", "wait_upstream"), 1000000);
    assert_int_equal(log_stall(end + 1, "down", "wait_upstream"), 1500000);
    assert_int_equal(log_stall(end + 1, "up", "wait_upstream"), 25000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_goes_before_any_body),
        cmocka_unit_test(fields_pass_as_they_are),
        cmocka_unit_test(every_framing_passes),
        cmocka_unit_test(interim_heads_pass),
        cmocka_unit_test(trailers_go_both_ways),
        cmocka_unit_test(keys_decide_before_anything_is_opened),
        cmocka_unit_test(each_failure_has_its_answer),
        cmocka_unit_test(a_problem_is_json),
        cmocka_unit_test(what_cannot_be_forwarded_is_refused),
        cmocka_unit_test(the_log_has_it_all),
    };

    return cmocka_run_group_tests_name("gateway proxy", tests, NULL, NULL);
}
