/* SPDX-License-Identifier: MIT */
/* Who leaves, and when: no end of one side that the other does not learn of in the same turn of the loop. */
#include "proxy_test.h"

#include <errno.h>

#define HEAD(at, status, length)                                                          \
    {                                                                                     \
        .at_ms = (at), .act = WEIR__MEMORY_SEND_HEAD, .code = (status), .bytes = (length) \
    }
#define RESET(at)                                                                                \
    {                                                                                            \
        .at_ms = (at), .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = ECONNRESET \
    }

/* ---- the client ---- */

/* Called right behind the client's leave, before any fiber has run. */
static void is_the_upstream_left(void *arg)
{
    struct passage *passage = arg;
    struct weir__memory_result result;

    weir__memory_result(passage->upstreams[0].memory, &result);
    assert_true(result.left || passage->upstreams[0].taken == 0);
}

static void the_client_leaves(void **state)
{
    static const struct {
        const char *phase;
        bool uploads;
        uint64_t window; /* of the client's socket */
        uint64_t socket; /* of the upstream's */
        int64_t take_ms;
        size_t steps; /* of the upstream */
        const char *upstream, *log;
    } cases[] = {
        {"dialling", false, 0, 0, 1000, 0, "", "\"status\":499,\"outcome\":\"client_gone\""},
        {"sending", true, 0, 30, 0, 0, "100 leave\n100 abort canceled\n",
         "\"status\":499,\"outcome\":\"client_gone\""},
        {"waiting for its own body", true, 0, 0, 0, 0, "100 leave\n100 abort canceled\n",
         "\"status\":499,\"outcome\":\"client_gone\""},
        {"waiting for the head", false, 0, 0, 0, 0, "100 leave\n",
         "\"status\":499,\"outcome\":\"client_gone\""},
        {"first byte", false, 0, 0, 0, 1, "100 leave\n100 cancel",
         "\"status\":200,\"outcome\":\"client_gone\""},
        {"streaming", false, 0, 0, 0, 2, "100 leave\n100 cancel",
         "\"status\":200,\"outcome\":\"client_gone\""},
        {"stalled", false, 50, 0, 0, 2, "100 leave\n100 cancel",
         "\"status\":200,\"outcome\":\"client_gone\""},
        {"upload and download", true, 0, 0, 0, 2, "100 leave\n",
         "\"status\":200,\"outcome\":\"client_gone\""},
    };
    static const struct weir__memory_step upstream[] = {
        HEAD(10, 200, WEIR_LENGTH_UNKNOWN),
        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 100000}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        static struct passage passage;
        struct weir__memory_step client[] = {
            {.at_ms = 5, .act = WEIR__MEMORY_SEND, .bytes = cases[i].uploads ? 100 : 0},
            RESET(100),
            {.at_ms = 100, .act = WEIR__MEMORY_CALL, .call = is_the_upstream_left, .arg = &passage},
            {.at_ms = 200,
             .act = WEIR__MEMORY_CALL,
             .call = is_the_upstream_left,
             .arg = &passage}};

        passage = (struct passage){.opts = {.method = "POST",
                                            .body_length = cases[i].uploads ? 1000 : 0,
                                            .socket = cases[i].window},
                                   .steps = client,
                                   .count = COUNT(client),
                                   .upstreams = {{.opts.socket = cases[i].socket,
                                                  .take_ms = cases[i].take_ms,
                                                  .steps = upstream,
                                                  .count = cases[i].steps}}};
        pass(&passage);
        assert_int_equal(passage.ended_ms, 100);
        if (cases[i].take_ms > 0) {
            assert_int_equal(passage.upstreams[0].given_up, 100);
            assert_int_equal(passage.upstreams[0].taken, 0);
        } else {
            assert_true(passage.upstreams[0].result.left);
            assert_false(passage.upstreams[0].result.ended && cases[i].uploads);
        }
        expect_part(passage.upstreams[0].trace, cases[i].upstream);
        expect_part(passage.log, cases[i].log);
        expect_part(passage.log, "\"end_by\":\"client\"");
        log_stall(passage.log, "down", "moving");
        log_stall(passage.log, "up", "moving");
    }
}

/* The upload ends before its framing does, or takes too long: the upstream must not take it for whole. */
static void an_upload_breaks(void **state)
{
    static const struct {
        struct weir__memory_step step;
        int status;
        int64_t ended_ms;
        const char *log;
    } cases[] = {
        {{.at_ms = 50, .act = WEIR__MEMORY_FIN}, 499, 50, "\"outcome\":\"client_gone\""},
        {{.at_ms = 50, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         400,
         50,
         "\"outcome\":\"protocol_error\""},
        {{.at_ms = 9000, .act = WEIR__MEMORY_SEND, .bytes = 1},
         408,
         1005,
         "\"outcome\":\"client_stalled\",\"end_by\":\"weir\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step client[] = {{.at_ms = 5, .act = WEIR__MEMORY_SEND, .bytes = 100},
                                             cases[i].step};
        struct passage passage = {
            .opts = {.method = "POST", .body_length = 1000, .limits.read_gap_ms = 1000},
            .steps = client,
            .count = COUNT(client)};
        char line[40];

        pass(&passage);
        assert_true(passage.upstreams[0].result.aborted);
        assert_false(passage.upstreams[0].result.ended);
        assert_int_equal(passage.upstreams[0].result.taken, 100);
        assert_int_equal(passage.upstreams[0].closed, 1);
        assert_int_equal(passage.ended_ms, cases[i].ended_ms);
        snprintf(line, sizeof(line), "\"status\":%d,", cases[i].status);
        expect_part(passage.log, line);
        expect_part(passage.log, cases[i].log);
    }
}

/* ---- the upstream ---- */

static void the_upstream_dies(void **state)
{
    static const struct {
        struct weir__memory_step death;
        const char *log;
    } deaths[] = {
        {RESET(100), "\"cause\":\"WEIR_ERESET\",\"reason\":\"reset\""},
        {{.at_ms = 100, .act = WEIR__MEMORY_FIN}, "\"cause\":\"WEIR_ETRUNCATED\""},
        {{.at_ms = 100, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         "\"outcome\":\"protocol_error\",\"end_by\":\"upstream\",\"cause\":\"WEIR_EPROTO\""},
    };
    static const uint64_t bodies[] = {0, 400}; /* first byte, streaming */
    static const uint64_t lengths[] = {1000, WEIR_LENGTH_UNKNOWN};

    (void)state;
    for (size_t i = 0; i < COUNT(deaths) * COUNT(bodies) * COUNT(lengths) * 2; i++) {
        uint64_t bytes = bodies[i / COUNT(deaths) % 2];
        bool uploads = i / COUNT(deaths) / 4 > 0;
        struct weir__memory_step client[] = {{.at_ms = 5, .act = WEIR__MEMORY_SEND, .bytes = 10}};
        struct weir__memory_step steps[] = {HEAD(10, 200, lengths[i / COUNT(deaths) / 2 % 2]),
                                            {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = bytes},
                                            deaths[i % COUNT(deaths)].death};
        struct passage passage = {.opts = {.method = "POST", .body_length = uploads ? 100 : 0},
                                  .steps = client,
                                  .count = uploads ? 1 : 0,
                                  .upstreams = {{.steps = steps, .count = COUNT(steps)}}};

        pass(&passage);
        assert_int_equal(passage.ended_ms, 100);
        assert_true(passage.result.aborted);
        assert_false(passage.result.ended);
        assert_int_equal(passage.result.taken, bytes);
        assert_int_equal(passage.result.status, 200);
        expect_part(passage.log, deaths[i % COUNT(deaths)].log);
        expect_part(passage.log, bytes > 0 ? "\"body\":80.000" : "\"body\":null");
    }
}

static void the_upstream_falls_silent(void **state)
{
    struct weir__memory_step steps[] = {HEAD(10, 200, 1000),
                                        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 400}};
    struct passage passage = {.client = {.first_byte_ms = 5000, .idle_timeout_ms = 7000},
                              .upstreams = {{.steps = steps, .count = 1}}};

    (void)state;
    pass(&passage);
    assert_int_equal(passage.ended_ms, 5010);
    assert_true(passage.result.aborted);
    expect_part(passage.log, "\"outcome\":\"upstream_timeout\",\"end_by\":\"weir\"");
    expect_part(passage.log, "\"proxy_error\":\"http_response_timeout\"");
    passage.upstreams[0].count = 2;
    pass(&passage);
    assert_int_equal(passage.ended_ms, 7020);
    assert_true(passage.result.aborted);
    expect_part(passage.log, "\"proxy_error\":\"connection_read_timeout\"");
    assert_true(passage.upstreams[0].result.cancelled);
}

/* The client takes nothing for too long: it counts as gone, and the upstream is let go. */
static void the_client_stalls(void **state)
{
    struct weir__memory_step steps[] = {HEAD(10, 200, 1000),
                                        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 400}};
    struct passage passage = {.opts = {.socket = 100, .limits.write_stall_ms = 4000},
                              .upstreams = {{.steps = steps, .count = 2}}};

    (void)state;
    pass(&passage);
    assert_int_equal(passage.ended_ms, 4020);
    assert_int_equal(passage.result.gone, WEIR_REASON_STALL);
    assert_true(passage.upstreams[0].result.left);
    expect_part(passage.log, "\"outcome\":\"client_stalled\",\"end_by\":\"weir\"");
    assert_int_equal(log_stall(passage.log, "down", "socket"), 4000000);
}

/* ---- answers before the request's end ---- */

static void an_early_answer(void **state)
{
    static const struct weir__memory_step client[] = {
        {.at_ms = 5, .act = WEIR__MEMORY_SEND, .bytes = 100},
        {.at_ms = 500, .act = WEIR__MEMORY_SEND, .bytes = 900}};
    struct weir__memory_step steps[] = {
        HEAD(50, 413, 20), {.at_ms = 51, .act = WEIR__MEMORY_SEND, .bytes = 20}, RESET(51)};

    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        struct passage passage = {
            .opts = {.method = "POST", .body_length = 1000},
            .steps = client,
            .count = COUNT(client),
            /* 1: it takes no more than 30 bytes; 2: it resets behind its answer */
            .upstreams = {{.opts.socket = variant == 1 ? 30 : 0,
                           .steps = steps,
                           .count = variant == 2 ? 3 : 2}}};

        pass(&passage);
        assert_int_equal(passage.result.status, 413);
        assert_true(passage.result.ended);
        assert_int_equal(passage.result.taken, 20);
        assert_int_equal(passage.ended_ms, 51);
        assert_false(passage.upstreams[0].result.ended);
        expect_part(passage.log, "\"outcome\":\"complete\"");
    }
}

static void expect_continue(void **state)
{
    static const struct weir__memory_step client[] = {
        {.at_ms = 2000, .act = WEIR__MEMORY_SEND, .bytes = 100},
        {.at_ms = 2000, .act = WEIR__MEMORY_SEND_END}};
    struct weir__memory_step silent[] = {HEAD(3000, 200, 0)};
    struct weir__memory_step refuses[] = {HEAD(40, 417, 0)};
    struct weir__memory_step agrees[] = {HEAD(40, 100, 0), HEAD(3000, 200, 0)};
    struct passage passage = {
        .opts = {.method = "PUT", .body_length = 100, .expect_continue = true},
        .fields = {"Expect", "100-continue"},
        .steps = client,
        .count = COUNT(client)};
    struct upstream *upstream = &passage.upstreams[0];

    (void)state;
    upstream->steps = silent;
    upstream->count = COUNT(silent);
    pass(&passage);
    expect_part(passage.trace, "1000 continue\n3000 begin 200");
    expect_part(upstream->trace, "  Expect: 100-continue\n");
    expect_part(upstream->trace, "2000 body 100\n2000 end\n");

    upstream->steps = refuses;
    upstream->count = COUNT(refuses);
    pass(&passage);
    expect_none(passage.trace, "continue\n");
    expect_part(passage.trace, "40 begin 417");
    assert_int_equal(passage.ended_ms, 40);
    assert_false(upstream->result.ended);

    upstream->steps = agrees;
    upstream->count = COUNT(agrees);
    pass(&passage);
    expect_part(passage.trace, "40 continue\n3000 begin 200");
    assert_int_equal(passage.result.informs, 0);
    assert_true(upstream->result.ended);
}

/* ---- a second try ---- */

static void a_stale_connection_is_replaced(void **state)
{
    static const struct weir__memory_step deaths[] = {
        {.at_ms = 0, .act = WEIR__MEMORY_FIN},
        {.at_ms = 7, .act = WEIR__MEMORY_FIN},
        RESET(7),
        {.at_ms = 7, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
    };
    static const struct weir__memory_step good[] = {HEAD(20, 200, 0)};

    (void)state;
    for (size_t i = 0; i < COUNT(deaths); i++) {
        struct passage passage = {
            .upstreams = {{.reused = true, .steps = &deaths[i], .count = 1},
                          {.steps = good, .count = COUNT(good), .take_ms = 2}}};
        int64_t tried_ms = deaths[i].at_ms + 2;
        char line[60];

        pass(&passage);
        assert_int_equal(passage.takes, 2);
        assert_true(passage.upstreams[1].fresh);
        assert_int_equal(passage.upstreams[0].closed, 1);
        assert_int_equal(passage.upstreams[1].put, 1);
        assert_int_equal(passage.result.status, 200);
        snprintf(line, sizeof(line), "%lld begin GET / none\n", (long long)tried_ms);
        expect_part(passage.upstreams[1].trace, line);
        expect_part(passage.log, "\"outcome\":\"complete\"");
    }
}

static void only_once_and_only_what_may_be_repeated(void **state)
{
    static const struct weir__memory_step fin[] = {{.at_ms = 7, .act = WEIR__MEMORY_FIN}};
    static const struct weir__memory_step said[] = {HEAD(3, 103, 0),
                                                    {.at_ms = 7, .act = WEIR__MEMORY_FIN}};
    static const struct weir__memory_step body[] = {
        {.at_ms = 1, .act = WEIR__MEMORY_SEND, .bytes = 10}};
    static const struct {
        const char *method;
        bool reused, uploads, spoke;
        int second; /* what the second take fails with */
        unsigned takes;
    } cases[] = {
        {"GET", true, false, false, WEIR_EREFUSED, 2}, /* the second try's failure is told */
        {"GET", true, false, false, 0, 2},             /* and it is not tried a third time */
        {"GET", false, false, false, 0, 1},            /* it was a fresh one */
        {"GET", true, false, true, 0, 1},              /* it had begun to answer */
        {"POST", true, false, false, 0, 1},            /* not idempotent */
        {"PUT", true, true, false, 0, 1},              /* the body is gone */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct passage passage = {
            .opts = {.method = cases[i].method, .body_length = cases[i].uploads ? 10 : 0},
            .steps = body,
            .count = cases[i].uploads ? 1 : 0,
            .upstreams = {{.reused = cases[i].reused,
                           .steps = cases[i].spoke ? said : fin,
                           .count = cases[i].spoke ? COUNT(said) : COUNT(fin)},
                          {.fail = cases[i].second, .steps = fin, .count = COUNT(fin)}}};

        pass(&passage);
        assert_int_equal(passage.takes, cases[i].takes);
        assert_int_equal(passage.result.status, 502);
        assert_int_equal(passage.ended_ms, 7);
    }
}

/* The client leaves while the second connection is dialled. */
static void a_second_try_is_cancelled(void **state)
{
    static const struct weir__memory_step fin[] = {{.at_ms = 7, .act = WEIR__MEMORY_FIN}};
    static const struct weir__memory_step leave[] = {RESET(50)};
    struct passage passage = {
        .steps = leave,
        .count = COUNT(leave),
        .upstreams = {{.reused = true, .steps = fin, .count = COUNT(fin)}, {.take_ms = 1000}}};

    (void)state;
    pass(&passage);
    assert_int_equal(passage.upstreams[1].given_up, 50);
    assert_int_equal(passage.ended_ms, 50);
    expect_part(passage.log, "\"status\":499,\"outcome\":\"client_gone\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_leaves),
        cmocka_unit_test(an_upload_breaks),
        cmocka_unit_test(the_upstream_dies),
        cmocka_unit_test(the_upstream_falls_silent),
        cmocka_unit_test(the_client_stalls),
        cmocka_unit_test(an_early_answer),
        cmocka_unit_test(expect_continue),
        cmocka_unit_test(a_stale_connection_is_replaced),
        cmocka_unit_test(only_once_and_only_what_may_be_repeated),
        cmocka_unit_test(a_second_try_is_cancelled),
    };

    return cmocka_run_group_tests_name("gateway proxy ends", tests, NULL, NULL);
}
