/* SPDX-License-Identifier: MIT */
/* Replies: what a handler does, and what the client gets to see of it. */
#include "http_test.h"

/* ---- whole replies ---- */

static int hello(struct weir_req *req, void *arg)
{
    (void)arg;
    assert_false(weir_req_is_begun(req));
    assert_int_equal(weir_reply_text(req, 200, "%s %d\n", "hello", 5), 0);
    assert_true(weir_req_is_begun(req));
    return 0;
}

static void a_text(void **state)
{
    struct scene scene = {.handler = hello, .opts = {.keep = 100}};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=8\n"
                         "  Content-Type: text/plain; charset=utf-8\n"
                         "0 body 8\n"
                         "0 end\n"
                         "0 finished\n");
}

static int too_long_text(struct weir_req *req, void *arg)
{
    int r = weir_reply_text(req, 200, "%1024d", 1);

    (void)arg;
    assert_int_equal(r, WEIR_ELIMIT);
    assert_false(weir_req_is_begun(req));
    return weir_reply_text(req, 200, "%1023d", 1);
}

static void a_text_that_is_too_long(void **state)
{
    struct scene scene = {.handler = too_long_text};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.taken, 1023);
    assert_true(scene.result.ended);
}

static int bytes_with_fields(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;

    (void)arg;
    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("X-A"), weir_str("1")), 0);
    assert_int_equal(weir_reply_bytes(req, 201, fields, "a/b", weir_str("xyz")), 0);
    assert_int_equal(weir_reply_empty(req, 200, NULL), WEIR_ESTATE);
    return 0;
}

static void bytes_and_no_second_reply(void **state)
{
    struct scene scene = {.handler = bytes_with_fields, .opts = {.keep = 3}};

    (void)state;
    expect_trace(
        &scene,
        "0 begin 201 length=3\n  X-A: 1\n  Content-Type: a/b\n0 body 3\n0 end\n0 finished\n");
}

static int empty(struct weir_req *req, void *arg)
{
    return weir_reply_empty(req, *(int *)arg, NULL);
}

static void empty_ones(void **state)
{
    int status = 404;
    struct scene scene = {.handler = empty, .arg = &status};

    (void)state;
    expect_trace(&scene, "0 begin 404 length=0\n0 end\n0 finished\n");
    status = 204;
    expect_trace(&scene, "0 begin 204 none\n0 end\n0 finished\n");
}

static int bad_status(struct weir_req *req, void *arg)
{
    struct weir_sink *sink = NULL;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 199, NULL, 0, &sink), WEIR_EINVAL);
    assert_int_equal(weir_stream_begin(req, 600, NULL, 0, &sink), WEIR_EINVAL);
    assert_int_equal(weir_reply_source_take(req, 200, NULL, 0, NULL), WEIR_EINVAL);
    assert_null(sink);
    return weir_reply_empty(req, 599, NULL);
}

static void a_status_out_of_range(void **state)
{
    struct scene scene = {.handler = bad_status};

    (void)state;
    expect_trace(&scene, "0 begin 599 length=0\n0 end\n0 finished\n");
}

/* ---- streams: length, end, abort ---- */

struct plan {
    int status;
    uint64_t length;
    size_t emits[4]; /* 0 ends */
    bool end, destroy;
    int emit_result, end_result, handler_result; /* expected, expected, returned */
};

static int follow(struct weir_req *req, void *arg)
{
    struct plan *plan = arg;
    struct weir_sink *sink;
    uint64_t position = 0;
    int r = 0;

    assert_int_equal(weir_stream_begin(req, plan->status, NULL, plan->length, &sink), 0);
    for (size_t i = 0; i < COUNT(plan->emits) && plan->emits[i] > 0 && r == 0; i++) {
        r = emit_pattern(sink, position, plan->emits[i], -1);
        position += plan->emits[i];
    }
    assert_int_equal(r, plan->emit_result);
    if (r < 0) {
        struct weir_error error;

        assert_int_equal(emit_pattern(sink, 0, 1, -1), r);
        weir_sink_error(sink, &error);
        assert_int_equal(error.code, r);
        assert_string_equal(error.where, "memory");
    }
    if (plan->end) {
        assert_int_equal(weir_end(sink, NULL), plan->end_result);
        assert_int_equal(weir_end(sink, NULL),
                         plan->end_result == 0 ? WEIR_ESTATE : plan->end_result);
    }
    if (plan->destroy) {
        weir_sink_destroy(sink);
    }
    return plan->handler_result;
}

static void expect_plan(const char *method, struct plan plan, const char *trace)
{
    struct scene scene = {.handler = follow, .arg = &plan, .opts = {.method = method}};

    for (int destroy = 0; destroy < 2; destroy++) {
        plan.destroy = destroy;
        expect_trace(&scene, trace);
        assert_true(scene.result.pattern);
    }
}

static void declared_lengths(void **state)
{
    (void)state;
    expect_plan("GET", (struct plan){200, 5, {2, 3}, .end = true},
                "0 begin 200 length=5\n0 body 5\n0 end\n0 finished\n");
    expect_plan("GET", (struct plan){200, 0, {0}, .end = true},
                "0 begin 200 length=0\n0 end\n0 finished\n");
    expect_plan("GET", (struct plan){200, WEIR_LENGTH_UNKNOWN, {5}, .end = true},
                "0 begin 200 length=?\n0 body 5\n0 end\n0 finished\n");
    expect_plan("GET", (struct plan){200, WEIR_LENGTH_UNTIL_CLOSE, {5}, .end = true},
                "0 begin 200 length=?\n0 body 5\n0 end\n0 finished\n");
}

static void an_underrun_is_an_abort(void **state)
{
    (void)state;
    expect_plan("GET", (struct plan){200, 6, {2, 3}, .end = true, .end_result = WEIR_ESTATE},
                "0 begin 200 length=6\n0 body 5\n0 abort handler\n0 finished\n");
    expect_plan("GET", (struct plan){200, 1, {0}, .end = true, .end_result = WEIR_ESTATE},
                "0 begin 200 length=1\n0 abort handler\n0 finished\n");
}

static void an_overrun_is_an_abort(void **state)
{
    (void)state;
    expect_plan(
        "GET",
        (struct plan){
            200, 4, {2, 3}, .emit_result = WEIR_ELIMIT, .end = true, .end_result = WEIR_ELIMIT},
        "0 begin 200 length=4\n0 body 2\n0 abort handler\n0 finished\n");
    expect_plan(
        "GET",
        (struct plan){
            200, 0, {1}, .emit_result = WEIR_ELIMIT, .end = true, .end_result = WEIR_ELIMIT},
        "0 begin 200 length=0\n0 abort handler\n0 finished\n");
}

static void head_204_and_304_drop_the_body(void **state)
{
    (void)state;
    expect_plan("HEAD", (struct plan){200, 5, {2, 3}, .end = true},
                "0 begin 200 none\n0 end\n0 finished\n");
    expect_plan("HEAD", (struct plan){200, 5, {0}, .end = true},
                "0 begin 200 none\n0 end\n0 finished\n");
    expect_plan("HEAD", (struct plan){200, WEIR_LENGTH_UNKNOWN, {70000}, .end = true},
                "0 begin 200 none\n0 end\n0 finished\n");
    expect_plan("GET", (struct plan){204, 5, {9}, .end = true},
                "0 begin 204 none\n0 end\n0 finished\n");
    expect_plan("GET", (struct plan){304, 5, {9}, .end = true},
                "0 begin 304 none\n0 end\n0 finished\n");
}

static void only_an_end_ends(void **state)
{
    struct plan plan = {.status = 200, .length = 5, .emits = {2, 3}};
    struct scene scene = {.handler = follow, .arg = &plan};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=5\n0 body 5\n0 abort handler\n0 finished\n");
    plan.destroy = true;
    expect_trace(&scene, "0 begin 200 length=5\n0 body 5\n0 abort abandoned\n0 finished\n");
    plan = (struct plan){200, WEIR_LENGTH_UNKNOWN, {5}, .handler_result = WEIR_EIO};
    expect_trace(&scene, "0 begin 200 length=?\n0 body 5\n0 abort handler\n0 finished\n");
    /* What comes after a clean end changes nothing. */
    plan = (struct plan){200, 5, {5}, .end = true, .handler_result = WEIR_EIO};
    expect_trace(&scene, "0 begin 200 length=5\n0 body 5\n0 end\n0 finished\n");
}

static int with_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    (void)arg;
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("X-Sum"), weir_str("9")), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 10, -1), 0);
    return weir_end(sink, trailers);
}

static void trailers_come_behind_the_last_byte(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 3, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 5},
        {.at_ms = 7, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 5}};
    struct scene scene = {.handler = with_trailers,
                          .steps = steps,
                          .count = 2,
                          .opts = {.stream_window = WEIR__MEMORY_NONE}};

    (void)state;
    expect_trace(&scene,
                 "0 begin 200 length=?\n3 body 5\n7 body 5\n7 end\n  X-Sum: 9\n7 finished\n");
}

static int tries_to_end(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 10, 0), 0); /* taken whole */
    return *(int *)arg = weir_end(sink, NULL);
}

static int emits_to_end(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    return *(int *)arg = emit_pattern(sink, 0, 10, -1);
}

static void an_end_that_went_out_just_before_the_client_left(void **state)
{
    struct weir__memory_step steps[] = {
        {.at_ms = 3, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 10},
        {.at_ms = 3, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_FIN},
    };
    int result = 1;
    struct scene scene = {.handler = emits_to_end,
                          .arg = &result,
                          .steps = steps,
                          .count = 2,
                          .opts = {.stream_window = WEIR__MEMORY_NONE, .max_room = 5}};

    (void)state;
    /* The emit waits: nothing has ended yet. */
    expect_trace(&scene, "0 begin 200 length=?\n3 gone fin\n3 abort fin\n3 finished\n");
    assert_int_equal(result, WEIR_ECLOSED);
    /* The end waits. */
    scene.handler = tries_to_end;
    scene.opts.stream_window = 1;
    expect_trace(&scene,
                 "0 begin 200 length=?\n0 body 1\n3 body 9\n3 end\n3 gone fin\n3 finished\n");
    assert_int_equal(result, 0);
    steps[0].bytes = 8;
    expect_trace(&scene,
                 "0 begin 200 length=?\n0 body 1\n3 body 8\n3 gone fin\n3 abort fin\n3 finished\n");
    assert_int_equal(result, WEIR_ECLOSED);
}

/* ---- interim heads ---- */

static int informs(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;

    (void)arg;
    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Link"), weir_str("<a>")), 0);
    assert_int_equal(weir_inform(req, 103, fields), 0);
    assert_int_equal(weir_inform(req, 99, NULL), WEIR_EINVAL);
    assert_int_equal(weir_inform(req, 101, NULL), WEIR_EINVAL);
    assert_int_equal(weir_inform(req, 200, NULL), WEIR_EINVAL);
    assert_int_equal(weir_inform(req, 199, NULL), 0);
    assert_int_equal(weir_reply_empty(req, 200, NULL), 0);
    assert_int_equal(weir_inform(req, 103, NULL), WEIR_ESTATE);
    return 0;
}

static void interim_heads(void **state)
{
    struct scene scene = {.handler = informs};

    (void)state;
    expect_trace(
        &scene,
        "0 inform 103\n  Link: <a>\n0 inform 199\n0 begin 200 length=0\n0 end\n0 finished\n");
}

static int informs_old(struct weir_req *req, void *arg)
{
    (void)arg;
    assert_int_equal(weir_inform(req, 103, NULL), WEIR_EUNSUPPORTED);
    assert_string_equal(weir_req_protocol(req), "HTTP/1.0");
    return weir_reply_empty(req, 200, NULL);
}

static void no_interim_heads_for_http_1_0(void **state)
{
    struct scene scene = {.handler = informs_old, .opts = {.http10 = true}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.informs, 0);
}

/* ---- handlers that give up ---- */

static int gives_up(struct weir_req *req, void *arg)
{
    (void)req;
    return *(int *)arg;
}

static void an_error_before_the_head_is_a_status(void **state)
{
    static const struct {
        int code, status;
    } cases[] = {
        {0, 500},
        {1, 500},
        {WEIR_ENOMEM, 503},
        {WEIR_EBUDGET, 503},
        {WEIR_ELIMIT, 413},
        {WEIR_ETIMEDOUT, 408},
        {WEIR_ESTALLED, 408},
        {WEIR_EPROTO, 400},
        {WEIR_ETRUNCATED, 400},
        {WEIR_EINVAL, 400},
        {WEIR_ENOTFOUND, 404},
        {WEIR_EREFUSED, 403},
        {WEIR_EUNSUPPORTED, 501},
        {WEIR_EIO, 500},
        {WEIR_ECANCELED, 500},
        {-1, 500},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int code = cases[i].code;
        struct scene scene = {.handler = gives_up, .arg = &code};

        play(&scene);
        assert_int_equal(scene.result.status, cases[i].status);
        assert_true(scene.result.ended);
        assert_true(scene.result.taken > 3);
    }
}

static void an_error_with_no_head_to_be_had_is_an_abort(void **state)
{
    int code = WEIR_EIO;
    struct scene scene = {.handler = gives_up, .arg = &code, .opts = {.fail_begin = WEIR_EBUDGET}};

    (void)state;
    expect_trace(&scene, "0 abort handler\n0 finished\n");
}

static int aborts(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, 10, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 4, -1), 0);
    weir_abort(sink, WEIR_REASON_TIMEOUT);
    weir_abort(sink, WEIR_REASON_LIMIT);
    assert_int_equal(emit_pattern(sink, 0, 6, -1), WEIR_ECANCELED);
    assert_int_equal(weir_wait_writable(sink, -1), WEIR_ECANCELED);
    assert_int_equal(weir_end(sink, NULL), WEIR_ECANCELED);
    return 0;
}

static void an_abort_is_made_once(void **state)
{
    struct scene scene = {.handler = aborts};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=10\n0 body 4\n0 abort timeout\n0 finished\n");
}

/* ---- without waiting ---- */

static int tries(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 100, 0), 0); /* room for 10: all is taken */
    assert_int_equal(emit_pattern(sink, 100, 1, 0), WEIR_EFLOW);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir_wait_writable(sink, 0), WEIR_ETIMEDOUT);
    assert_int_equal(weir_wait_writable(sink, weir_after_ms(4)), WEIR_ETIMEDOUT);
    assert_int_equal(weir_sleep(weir_after_ms(20)), 0);
    assert_int_equal(emit_pattern(sink, 100, 1, 0),
                     WEIR_EFLOW); /* there is room: but the flag stays */
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    if (arg != NULL) {
        assert_int_equal(weir_wait_writable(sink, -1), 0);
        assert_int_equal(emit_pattern(sink, 100, 1, 0), 0);
    } else {
        assert_int_equal(emit_pattern(sink, 100, 1, -1), 0);
    }
    return weir_end(sink, NULL);
}

static void a_refused_try_blocks_the_end(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SOCKET, .bytes = 1000}};
    struct scene scene = {.handler = tries, .steps = steps, .count = 1, .opts = {.socket = 10}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        scene.arg = i == 0 ? NULL : state;
        expect_trace(
            &scene,
            "0 begin 200 length=?\n0 body 10\n10 body 90\n24 body 1\n24 end\n24 finished\n");
        assert_true(scene.result.pattern);
        assert_int_equal(scene.result.queued_peak, 90);
    }
}

static int ignores_eflow(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    for (int i = 0; i < 100; i++) {
        WEIR_IGNORE(emit_pattern(sink, (uint64_t)i * 5, 5, 0));
        WEIR_IGNORE(weir_sleep(weir_after_ms(1)));
    }
    WEIR_IGNORE(weir_end(sink, NULL));
    weir_sink_destroy(sink);
    return 0;
}

static void whoever_ignores_it_gets_no_clean_end(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SOCKET, .bytes = 100000}};
    struct scene scene = {
        .handler = ignores_eflow, .steps = steps, .count = 1, .opts = {.socket = 12}};

    (void)state;
    play(&scene);
    assert_false(scene.result.ended);
    assert_true(scene.result.aborted);
    assert_true(scene.result.pattern);
}

/* ---- an emit's deadline is final, and a chunk of any size goes through any window ---- */

static int emits_late(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 100, weir_after_ms(50)), WEIR_ETIMEDOUT);
    assert_int_equal(scene_ms(), 50);
    assert_int_equal(emit_pattern(sink, 0, 1, -1), WEIR_ETIMEDOUT);
    assert_int_equal(weir_end(sink, NULL), WEIR_ETIMEDOUT);
    return 0;
}

static void an_emit_that_times_out_is_final(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 60, .act = WEIR__MEMORY_SOCKET, .bytes = 1000}};
    struct scene scene = {
        .handler = emits_late, .steps = steps, .count = 1, .opts = {.socket = 10}};

    (void)state;
    play(&scene);
    assert_true(scene.result.aborted);
    assert_int_equal(scene.result.taken, 10);
}

static int emits_one(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    size_t len = *(size_t *)arg;

    assert_int_equal(weir_stream_begin(req, 200, NULL, len, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, len, -1), 0);
    return weir_end(sink, NULL);
}

static void any_chunk_through_any_window(void **state)
{
    static const size_t rooms[] = {1, 7, 1000, 65536};
    static const size_t takes[] = {0, 1, 6, 7, 8, 100};
    static const size_t lens[] = {1, 6, 7, 8, 999, 70000, (size_t)8 << 20};

    (void)state;
    for (size_t i = 0; i < COUNT(rooms); i++) {
        for (size_t j = 0; j < COUNT(takes); j++) {
            for (size_t k = 0; k < COUNT(lens); k++) {
                size_t len = lens[k];
                struct scene scene = {.handler = emits_one,
                                      .arg = &len,
                                      .opts = {.max_room = rooms[i], .max_take = takes[j]}};

                if (len / rooms[i] > 10000 || (takes[j] > 0 && len / takes[j] > 10000)) {
                    continue;
                }
                play(&scene);
                assert_true(scene.result.ended && scene.result.pattern);
                assert_int_equal(scene.result.taken, len);
            }
        }
    }
}

/* ---- fairness: a loop of emits must not hold the others off ---- */

static unsigned other_turns;
static bool busy_is_over;

static int counts_turns(void *arg)
{
    (void)arg;
    while (!busy_is_over) {
        other_turns++;
        weir_yield();
    }
    return 0;
}

static int emits_for_long(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_scope *scope;
    size_t len = *(size_t *)arg;

    other_turns = 0;
    busy_is_over = false;
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, counts_turns, NULL), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    for (int i = 0; i < 1024; i++) {
        assert_int_equal(emit_pattern(sink, (uint64_t)i * len, len, -1), 0);
    }
    busy_is_over = true;
    weir_scope_close(scope);
    return weir_end(sink, NULL);
}

static void a_fast_client_leaves_others_their_turn(void **state)
{
    size_t len = 10;
    struct scene scene = {.handler = emits_for_long, .arg = &len};

    (void)state;
    play(&scene);
    assert_true(other_turns >= 1024 / 64 - 1);
    len = 16384;
    play(&scene);
    assert_true(other_turns >= 1024 * 16384 / (256 << 10) - 1);
    scene.opts.method = "HEAD";
    play(&scene);
    assert_true(other_turns >= 1024 / 64 - 1);
}

/* ---- a source as the reply ---- */

struct endless {
    uint64_t pulled;
    unsigned destroys;
};

static int endless_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct endless *endless = state;
    int r = ++endless->pulled > 1000 ? WEIR_EIO : weir_chunk_copy(weir_str("x"), ret);

    (void)max_bytes;
    (void)deadline;
    return r < 0 ? r : 1;
}

static void endless_destroy(void *state)
{
    ((struct endless *)state)->destroys++;
}

static const struct weir_source_ops endless_ops = {.next = endless_next,
                                                   .destroy = endless_destroy};

static int replies_endless(struct weir_req *req, void *arg)
{
    struct weir_source *source;

    assert_int_equal(weir_source_create_take(&endless_ops, arg, &source), 0);
    return weir_reply_source_take(req, 200, NULL, WEIR_LENGTH_UNKNOWN, source);
}

static void a_source_that_fails_aborts(void **state)
{
    struct endless endless = {0};
    struct scene scene = {.handler = replies_endless, .arg = &endless};

    (void)state;
    play(&scene);
    assert_int_equal(endless.destroys, 1);
    assert_int_equal(scene.result.taken, 1000);
    assert_true(scene.result.aborted);
}

static void nobody_pulls_a_source_for_head(void **state)
{
    struct endless endless = {0};
    struct scene scene = {.handler = replies_endless, .arg = &endless, .opts = {.method = "HEAD"}};

    (void)state;
    play(&scene);
    assert_int_equal(endless.destroys, 1);
    assert_int_equal(endless.pulled, 0);
    assert_true(scene.result.ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text),
        cmocka_unit_test(a_text_that_is_too_long),
        cmocka_unit_test(bytes_and_no_second_reply),
        cmocka_unit_test(empty_ones),
        cmocka_unit_test(a_status_out_of_range),
        cmocka_unit_test(declared_lengths),
        cmocka_unit_test(an_underrun_is_an_abort),
        cmocka_unit_test(an_overrun_is_an_abort),
        cmocka_unit_test(head_204_and_304_drop_the_body),
        cmocka_unit_test(only_an_end_ends),
        cmocka_unit_test(trailers_come_behind_the_last_byte),
        cmocka_unit_test(an_end_that_went_out_just_before_the_client_left),
        cmocka_unit_test(interim_heads),
        cmocka_unit_test(no_interim_heads_for_http_1_0),
        cmocka_unit_test(an_error_before_the_head_is_a_status),
        cmocka_unit_test(an_error_with_no_head_to_be_had_is_an_abort),
        cmocka_unit_test(an_abort_is_made_once),
        cmocka_unit_test(a_refused_try_blocks_the_end),
        cmocka_unit_test(whoever_ignores_it_gets_no_clean_end),
        cmocka_unit_test(an_emit_that_times_out_is_final),
        cmocka_unit_test(any_chunk_through_any_window),
        cmocka_unit_test(a_fast_client_leaves_others_their_turn),
        cmocka_unit_test(a_source_that_fails_aborts),
        cmocka_unit_test(nobody_pulls_a_source_for_head),
    };

    return cmocka_run_group_tests_name("http reply", tests, NULL, NULL);
}
