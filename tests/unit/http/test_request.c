/* SPDX-License-Identifier: MIT */
/* Requests: what a handler may ask, its body, and what becomes of it when the client leaves. */
#include "http_test.h"

#include <weir/channel.h>

#include "rt/scope.h"

/* ---- what a handler may ask ---- */

static void expect_view(struct weir_view view, const char *text)
{
    if (text == NULL) {
        assert_true(weir_view_is_absent(view));
    } else {
        assert_true(weir_view_equal(view, weir_str(text)));
    }
}

static int asks(struct weir_req *req, void *arg)
{
    (void)arg;
    expect_view(weir_req_method(req), "PUT");
    expect_view(weir_req_target(req), "/a/b?n=5&m=x&n=7&long=18446744073709551615");
    expect_view(weir_req_path(req), "/a/b");
    expect_view(weir_req_query(req), "n=5&m=x&n=7&long=18446744073709551615");
    expect_view(weir_req_authority(req), "memory");
    expect_view(weir_req_field(req, "x-a"), "1");
    expect_view(weir_req_field(req, "x-b"), NULL);
    assert_int_equal(weir_req_query_u64(req, "n", 9), 5);
    assert_int_equal(weir_req_query_u64(req, "m", 9), 9);
    assert_int_equal(weir_req_query_u64(req, "q", 9), 9);
    assert_true(weir_req_query_u64(req, "long", 9) == UINT64_MAX);
    assert_string_equal(weir_req_protocol(req), "memory");
    assert_int_not_equal(weir_req_id(req), 0);
    assert_int_equal(weir_req_arrived_us(req), 1000000);
    assert_false(weir_req_has_body(req));
    assert_int_equal(weir_req_body_length(req), 0);
    assert_false(weir_req_gone(req, NULL));
    expect_view(weir_req_peer(req), "memory:1");
    weir_req_drop_head(req);
    weir_req_drop_head(req);
    assert_null(weir_req_fields(req));
    expect_view(weir_req_field(req, "x-a"), NULL);
    expect_view(weir_req_target(req), NULL);
    expect_view(weir_req_path(req), "/");
    expect_view(weir_req_query(req), NULL);
    expect_view(weir_req_peer(req), "memory:1");
    return weir_reply_empty(req, 204, NULL);
}

static void a_handler_asks(void **state)
{
    struct scene scene = {
        .handler = asks,
        .opts = {.method = "PUT", .target = "/a/b?n=5&m=x&n=7&long=18446744073709551615"}};

    (void)state;
    assert_int_equal(weir_fields_create(&scene.opts.fields), 0);
    assert_int_equal(weir_fields_add(scene.opts.fields, weir_str("X-A"), weir_str("1")), 0);
    /* The scene counts blocks from here on; the fields go with the request. */
    scene_us = 1000000;
    assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
    assert_int_equal(weir__memory_create(scene_loop, &scene.opts, &scene_memory), 0);
    assert_int_equal(weir__memory_request(scene_memory, scene.handler, NULL), 0);
    weir__loop_run_until_idle(scene_loop);
    assert_string_equal(weir__memory_trace(scene_memory), "0 begin 204 none\n0 end\n0 finished\n");
    weir__memory_destroy(scene_memory);
    weir__loop_destroy(scene_loop);
}

struct target {
    const char *target, *path, *query;
};

static int asks_for_path(struct weir_req *req, void *arg)
{
    struct target *target = arg;

    expect_view(weir_req_path(req), target->path);
    expect_view(weir_req_query(req), target->query);
    return weir_reply_empty(req, 204, NULL);
}

static void forms_of_a_target(void **state)
{
    static struct target targets[] = {
        {"/", "/", NULL},
        {"/?", "/", ""},
        {"/a?b?c", "/a", "b?c"},
        {"*", "*", NULL},
        {"http://h", "/", NULL},
        {"http://h/", "/", NULL},
        {"http://h:80/x/y?z", "/x/y", "z"},
        {"http://h?z", "/", "z"},
        {"/p://q", "/p://q", NULL},
        {"host:443", "/", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(targets); i++) {
        struct scene scene = {
            .handler = asks_for_path, .arg = &targets[i], .opts = {.target = targets[i].target}};

        play(&scene);
        assert_int_equal(scene.result.status, 204);
    }
}

/* ---- the body ---- */

struct reading {
    int result; /* expected */
    uint64_t bytes;
    uint64_t limit; /* 0: none set */
    int limit_result;
    bool keep; /* all chunks till the end */
    struct weir_error error;
};

static int reads(struct weir_req *req, void *arg)
{
    struct reading *reading = arg;
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int r;

    if (reading->limit > 0) {
        assert_int_equal(weir_req_limit_body(req, reading->limit), reading->limit_result);
    }
    assert_int_equal(weir_next(body, 0, &chunk), scene_memory == NULL ? 0 : WEIR_EAGAIN);
    assert_int_equal(weir_next(body, weir_after_ms(1), &chunk), WEIR_ETIMEDOUT);
    r = read_pattern(body, &bytes);
    assert_int_equal(r, reading->result);
    assert_int_equal(bytes, reading->bytes);
    assert_int_equal(weir_next(body, -1, &chunk), r);
    assert_int_equal(weir_next(body, 0, &chunk), r);
    weir_source_error(body, &reading->error);
    assert_int_equal(reading->error.code, r);
    return r < 0 ? r : weir_reply_empty(req, 200, NULL);
}

static const struct weir__memory_step three_parts[] = {
    {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 1},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND, .bytes = 99},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND_END},
    {.at_ms = 30, .act = WEIR__MEMORY_FIN},
};

static void a_body_in_pieces_of_any_size(void **state)
{
    (void)state;
    for (size_t max = 0; max <= 200; max++) {
        struct reading reading = {.bytes = 200};
        struct scene scene = {.handler = reads,
                              .arg = &reading,
                              .steps = three_parts,
                              .count = 4,
                              .opts = {.body_length = 200,
                                       .max_read = max,
                                       .receive_window = max % 3 == 2 ? max : 0}};

        play(&scene);
        assert_true(scene.result.ended);
        assert_int_equal(scene.result.released, 200);
        if (scene.opts.receive_window > 0) {
            assert_true(scene.result.parked_peak <= scene.opts.receive_window);
        }
    }
}

static void ends_that_are_none(void **state)
{
    static const struct {
        struct weir__memory_step step;
        int result;
        enum weir_reason reason;
        int native, status;
    } cases[] = {
        {{.act = WEIR__MEMORY_FIN}, WEIR_ETRUNCATED, WEIR_REASON_TRUNCATED, 0, 400},
        {{.act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         WEIR_EPROTO,
         WEIR_REASON_PROTOCOL,
         0,
         400},
        {{.act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_ERESET},
         WEIR_ERESET,
         WEIR_REASON_RESET,
         0,
         500},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_FIN},
         WEIR_ECLOSED,
         WEIR_REASON_FIN,
         0,
         0},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104},
         WEIR_ERESET,
         WEIR_REASON_RESET,
         104,
         0},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_STALL},
         WEIR_ESTALLED,
         WEIR_REASON_STALL,
         0,
         0},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_LIMIT},
         WEIR_ELIMIT,
         WEIR_REASON_LIMIT,
         0,
         0},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_SHUTDOWN},
         WEIR_ECANCELED,
         WEIR_REASON_SHUTDOWN,
         0,
         0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step steps[2] = {three_parts[0], cases[i].step};
        struct reading reading = {.bytes = 100, .result = cases[i].result};
        struct scene scene = {.handler = reads,
                              .arg = &reading,
                              .steps = steps,
                              .count = 2,
                              .opts = {.body_length = 200, .half_close = true}};

        for (int same_time = 0; same_time < 2; same_time++) {
            steps[1].at_ms = same_time ? 10 : 50;
            play(&scene); /* what came before is delivered first */
            assert_int_equal(reading.error.reason, cases[i].reason);
            assert_int_equal(reading.error.native, cases[i].native);
            assert_int_equal(scene.result.status, cases[i].status);
            assert_int_equal(scene.result.ended, cases[i].status != 0);
        }
    }
    /* Where a FIN means that the client has gone, it is that as well: there is nobody to answer. */
    for (int same_time = 0; same_time < 2; same_time++) {
        struct weir__memory_step steps[2] = {three_parts[0], cases[0].step};
        struct reading reading = {.bytes = 100, .result = WEIR_ETRUNCATED};
        struct scene scene = {.handler = reads,
                              .arg = &reading,
                              .steps = steps,
                              .count = 2,
                              .opts = {.body_length = 200}};

        steps[1].at_ms = same_time ? 10 : 50;
        play(&scene);
        assert_int_equal(reading.error.reason, WEIR_REASON_FIN);
        assert_int_equal(scene.result.status, 0);
        assert_int_equal(scene.result.gone, WEIR_REASON_FIN);
    }
}

static void a_bounded_body(void **state)
{
    struct reading reading = {
        .bytes = 101, .limit = 150, .limit_result = WEIR_ELIMIT, .result = WEIR_ELIMIT};
    struct scene scene = {.handler = reads,
                          .arg = &reading,
                          .steps = three_parts,
                          .count = 4,
                          .opts = {.body_length = 200}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.status, 413);
    assert_int_equal(reading.error.reason, WEIR_REASON_LIMIT);
    reading = (struct reading){.bytes = 101, .limit = 199, .result = WEIR_ELIMIT};
    scene.opts.body_length = WEIR_LENGTH_UNKNOWN;
    play(&scene);
    assert_int_equal(scene.result.status, 413);
    reading = (struct reading){.bytes = 200, .limit = 200};
    scene.opts.body_length = 200;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

static int reads_trailers(struct weir_req *req, void *arg)
{
    uint64_t bytes = 0;

    (void)arg;
    assert_null(weir_req_trailers(req));
    assert_int_equal(read_pattern(weir_req_body(req), &bytes), 0);
    assert_int_equal(weir_fields_count(weir_req_trailers(req)), 1);
    expect_view(weir_fields_get(weir_req_trailers(req), weir_str("x-sum")), "3");
    return weir_reply_empty(req, 200, NULL);
}

static void trailers_after_the_end(void **state)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    struct weir__memory_step steps[2] = {three_parts[0],
                                         {.at_ms = 20, .act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = reads_trailers,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("X-Sum"), weir_str("3")), 0);
    steps[1].fields = trailers;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

static int reads_late(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int *how = arg;

    if (*how == 1) {
        assert_int_equal(weir_inform(req, 100, NULL), 0);
    } else if (*how == 2) {
        assert_int_equal(weir_reply_empty(req, 200, NULL), 0);
    }
    assert_int_equal(weir_next(weir_req_body(req), 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(read_pattern(weir_req_body(req), &bytes), 0);
    return *how == 2 ? 0 : weir_reply_empty(req, 200, NULL);
}

static void the_first_read_asks_for_the_body(void **state)
{
    int how = 0;
    struct scene scene = {.handler = reads_late,
                          .arg = &how,
                          .steps = three_parts,
                          .count = 4,
                          .opts = {.body_length = 200, .expect_continue = true}};

    (void)state;
    expect_trace(&scene, "0 continue\n30 begin 200 length=0\n30 end\n30 finished\n");
    how = 1;
    expect_trace(&scene, "0 inform 100\n30 begin 200 length=0\n30 end\n30 finished\n");
    how = 2; /* never after a final status */
    expect_trace(&scene, "0 begin 200 length=0\n0 end\n30 finished\n");
}

static int ignores_its_body(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk;

    if (arg != NULL) {
        assert_int_equal(weir_next(weir_req_body(req), -1, &chunk), 1);
        weir_cancel(weir_req_body(req), WEIR_REASON_LIMIT);
        weir_cancel(weir_req_body(req), WEIR_REASON_LIMIT);
        assert_int_equal(weir_next(weir_req_body(req), -1, &chunk), WEIR_ECANCELED);
        weir_chunk_unref(chunk);
    }
    return weir_reply_empty(req, 200, NULL);
}

static void a_body_nobody_wants(void **state)
{
    struct scene scene = {.handler = ignores_its_body,
                          .steps = three_parts,
                          .count = 4,
                          .opts = {.body_length = 200, .receive_window = 150}};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=0\n0 end\n0 finished\n");
    scene.arg = state;
    expect_trace(&scene,
                 "10 cancel limit\n10 credit 100\n10 begin 200 length=0\n10 end\n10 finished\n");
}

static int detaches(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunks[10];
    size_t count = 0;

    (void)arg;
    while (weir_next(weir_req_body(req), -1, &chunks[count]) == 1) {
        weir_chunk_detach(chunks[count]);
        weir_chunk_detach(chunks[count]);
        count++;
    }
    while (count > 0) {
        weir_chunk_unref(chunks[--count]);
    }
    return weir_reply_empty(req, 200, NULL);
}

static void a_window_opens_as_chunks_are_released(void **state)
{
    struct weir__memory_step steps[2] = {{.act = WEIR__MEMORY_SEND, .bytes = 150},
                                         {.act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = detaches,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = 150, .receive_window = 50}};

    (void)state;
    expect_trace(
        &scene, "0 credit 50\n0 credit 50\n0 credit 50\n0 begin 200 length=0\n0 end\n0 finished\n");
    assert_int_equal(scene.result.parked_peak, 50);
}

/* ---- the client leaves ---- */

enum where { SLEEP, READ, EMIT, WRITABLE, END, CHANNEL, CHILD, COMPUTE, PIPE_IN, WHERES };

struct leaving {
    enum where where;
    enum weir_reason reason;
    int second_sleep; /* what one more sleep answered */
    int first;        /* what the wait answered */
    int64_t at_ms;
    bool deferred_ran;
    int deferred_result;
    int64_t deferred_at_ms;
    unsigned child_cancels;
};

static int child_sleeps(void *arg)
{
    struct leaving *leaving = arg;

    for (int i = 0; i < 3; i++) {
        leaving->child_cancels += weir_sleep(weir_after_ms(100000)) == WEIR_ECANCELED;
    }
    return WEIR_ECANCELED;
}

static void cleans_up(void *arg)
{
    struct leaving *leaving = arg;

    leaving->deferred_result = weir_sleep(weir_after_ms(5));
    leaving->deferred_at_ms = scene_ms();
    leaving->deferred_ran = true;
}

static int waits_in_pipe(struct weir_req *req, struct weir_sink *sink)
{
    struct weir_pipe_result result;
    int r = weir_pipe(weir_req_body(req), sink, NULL, &result);

    assert_int_equal(result.cause.code, r);
    return r;
}

static int waits_somewhere(struct weir_req *req, void *arg)
{
    struct leaving *leaving = arg;
    struct weir_sink *sink = NULL;
    struct weir_chunk *chunk;
    struct weir_scope *scope = NULL;
    struct weir_channel *channel;
    enum weir_reason reason = WEIR_REASON_NONE;
    void *item;

    assert_int_equal(weir_scope_defer(cleans_up, leaving), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, child_sleeps, leaving), 0);
    assert_int_equal(weir_channel_create(NULL, &channel), 0);
    if (leaving->where == EMIT || leaving->where == WRITABLE || leaving->where == END ||
        leaving->where == PIPE_IN) {
        assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    }
    switch (leaving->where) {
    case SLEEP:
        leaving->first = weir_sleep(weir_after_ms(100000));
        break;
    case READ:
        leaving->first = weir_next(weir_req_body(req), -1, &chunk);
        break;
    case EMIT:
        leaving->first = emit_pattern(sink, 0, 100, -1);
        break;
    case WRITABLE:
        leaving->first = weir_wait_writable(sink, -1);
        break;
    case END:
        assert_int_equal(emit_pattern(sink, 0, 10, 0), WEIR_EFLOW);
        leaving->first = weir_wait_writable(sink, -1);
        break;
    case CHANNEL:
        leaving->first = weir_channel_recv(channel, -1, &item);
        break;
    case CHILD:
        leaving->first = weir_scope_join(scope, -1);
        break;
    case COMPUTE:
        scene_us += 80000; /* it leaves meanwhile */
        leaving->first = weir_sleep(weir_after_ms(0));
        break;
    case PIPE_IN:
        leaving->first = waits_in_pipe(req, sink);
        break;
    case WHERES:
        break;
    }
    leaving->at_ms = scene_ms();
    assert_true(weir_req_gone(req, &reason));
    assert_int_equal(reason, leaving->reason);
    /* A cancel that no wait of the handler's own has answered is still due; then no more. */
    leaving->second_sleep = weir_sleep(weir_after_ms(10));
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(weir_channel_recv(channel, weir_after_ms(1), &item), WEIR_ETIMEDOUT);
    /* What concerns the client fails for good. */
    assert_true(weir_next(weir_req_body(req), -1, &chunk) < 0);
    if (sink != NULL) {
        assert_true(emit_pattern(sink, 0, 1, -1) < 0);
        assert_true(weir_end(sink, NULL) < 0);
        weir_sink_destroy(sink);
    }
    assert_true(weir_stream_begin(req, 200, NULL, 0, &sink) < 0);
    assert_true(weir_inform(req, 103, NULL) < 0);
    assert_true(weir_req_gone(req, NULL));
    /* Child scopes are cancelled for good, also new ones. */
    weir_scope_close(scope);
    assert_int_equal(leaving->child_cancels, 3);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, child_sleeps, leaving), WEIR_ECANCELED);
    weir_scope_close(scope);
    weir_channel_unref(channel);
    return WEIR_ECANCELED;
}

static void a_leave_is_noticed_wherever_the_handler_waits(void **state)
{
    static const struct {
        enum weir_reason reason;
        int code;
    } leaves[] = {
        {WEIR_REASON_FIN, WEIR_ECLOSED},        {WEIR_REASON_RESET, WEIR_ERESET},
        {WEIR_REASON_STALL, WEIR_ESTALLED},     {WEIR_REASON_LIMIT, WEIR_ELIMIT},
        {WEIR_REASON_SHUTDOWN, WEIR_ECANCELED},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(leaves); i++) {
        for (enum where where = 0; where < WHERES; where++) {
            struct leaving leaving = {.where = where, .reason = leaves[i].reason};
            struct weir__memory_step steps[] = {
                {.at_ms = 50, .act = WEIR__MEMORY_GONE, .reason = leaves[i].reason},
                {.at_ms = 51,
                 .act = WEIR__MEMORY_GONE,
                 .reason = WEIR_REASON_PROTOCOL}, /* too late to count */
            };
            struct scene scene = {.handler = waits_somewhere,
                                  .arg = &leaving,
                                  .steps = steps,
                                  .count = 2,
                                  .opts = {.body_length = 10, .socket = WEIR__MEMORY_NONE}};
            bool own_wait =
                where == SLEEP || where == CHANNEL || where == CHILD || where == COMPUTE;

            if (where == PIPE_IN) {
                scene.opts.socket = 0;
            }
            play(&scene);
            assert_int_equal(leaving.first, own_wait ? WEIR_ECANCELED : leaves[i].code);
            assert_int_equal(leaving.second_sleep, own_wait ? 0 : WEIR_ECANCELED);
            assert_int_equal(leaving.at_ms, where == COMPUTE ? 80 : 50);
            assert_true(leaving.deferred_ran);
            assert_int_equal(leaving.deferred_result, 0);
            assert_int_equal(scene.result.gone, leaves[i].reason);
            assert_false(scene.result.ended);
            assert_true(scene.result.aborted);
            assert_int_equal(scene.result.abort_reason, leaves[i].reason);
        }
    }
}

static int sleeps_before(struct weir_req *req, void *arg)
{
    (void)req;
    *(int *)arg = weir_sleep(weir_after_ms(10));
    return 0;
}

static void a_client_that_has_left_before_the_handler_ran(void **state)
{
    int result = 1;
    struct weir__memory_step steps[] = {
        {.at_ms = 0, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET}};
    struct scene scene = {.handler = sleeps_before, .arg = &result, .steps = steps, .count = 1};

    (void)state;
    play(&scene);
    assert_int_equal(result, WEIR_ECANCELED);
    assert_int_equal(scene.ended_ms, 0);
}

static int half_closed(struct weir_req *req, void *arg)
{
    int r = weir_sleep(weir_after_ms(100));

    assert_int_equal(r, *(int *)arg);
    return weir_reply_empty(req, 200, NULL);
}

static void a_fin_means_gone_unless_it_may_not(void **state)
{
    int wanted = WEIR_ECANCELED;
    struct weir__memory_step steps[] = {{.at_ms = 20, .act = WEIR__MEMORY_FIN}};
    struct scene scene = {.handler = half_closed, .arg = &wanted, .steps = steps, .count = 1};

    (void)state;
    expect_trace(&scene, "20 gone fin\n20 abort fin\n20 finished\n");
    wanted = 0;
    scene.opts.half_close = true;
    expect_trace(&scene, "100 begin 200 length=0\n100 end\n100 finished\n");
}

static int lingers(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;

    assert_int_equal(weir_stream_begin(req, 200, NULL, 0, &sink), 0);
    if (arg != NULL) {
        assert_int_equal(weir_end(sink, NULL), 0);
    }
    weir_sink_destroy(sink);
    return weir_sleep(weir_after_ms(100));
}

static void a_leave_after_the_reply_is_over(void **state)
{
    struct weir__memory_step steps[] = {
        {.at_ms = 20, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET}};
    struct scene scene = {.handler = lingers, .arg = steps, .steps = steps, .count = 1};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=0\n0 end\n20 gone reset\n20 finished\n");
    scene.arg = NULL;
    expect_trace(&scene, "0 begin 200 length=0\n0 abort abandoned\n20 gone reset\n20 finished\n");
}

static int streams_on(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    uint64_t position = 0;
    int r;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    do {
        r = emit_pattern(sink, position, 1000, -1);
        position += 1000;
    } while (r == 0);
    *(int *)arg = r;
    return r;
}

static void a_leave_at_any_byte_of_the_output(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 5000; at += 333) {
        int result = 0;
        struct scene scene = {
            .handler = streams_on,
            .arg = &result,
            .opts = {.leave_at = at, .leave_reason = WEIR_REASON_RESET, .max_take = 100}};

        play(&scene);
        assert_int_equal(result, WEIR_ERESET);
        assert_true(scene.result.aborted && scene.result.pattern);
        assert_true(scene.result.taken >= at && scene.result.taken <= at + 100);
        scene.opts = (struct weir__memory_opts){.fail_write_at = at};
        play(&scene);
        assert_int_equal(result, WEIR_ERESET);
        assert_true(scene.result.aborted);
        assert_true(scene.result.taken <= at);
        assert_int_equal(scene.result.gone, WEIR_REASON_RESET);
    }
}

/* ---- children of a scope that is cancelled ---- */

struct sharing {
    struct weir_req *req;
    struct weir_sink *sink;
    int read, emitted;
};

static int child_reads(void *arg)
{
    struct sharing *sharing = arg;
    struct weir_chunk *chunk;

    sharing->read = weir_next(weir_req_body(sharing->req), -1, &chunk);
    return 0;
}

static int child_emits(void *arg)
{
    struct sharing *sharing = arg;

    sharing->emitted = emit_pattern(sharing->sink, 0, 100, -1);
    return 0;
}

static int shares(struct weir_req *req, void *arg)
{
    struct sharing *sharing = arg;
    struct weir_scope *scope;

    sharing->req = req;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sharing->sink), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, child_reads, sharing), 0);
    assert_int_equal(weir_scope_spawn(scope, child_emits, sharing), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    weir_scope_close(scope); /* must not wait for the client */
    assert_int_equal(scene_ms(), 10);
    return 0;
}

static void a_cancelled_childs_waits_end(void **state)
{
    struct sharing sharing = {0};
    struct scene scene = {.handler = shares,
                          .arg = &sharing,
                          .opts = {.body_length = 10, .socket = WEIR__MEMORY_NONE}};

    (void)state;
    play(&scene);
    assert_int_equal(sharing.read, WEIR_ECANCELED);
    assert_int_equal(sharing.emitted, WEIR_ECANCELED);
    assert_true(scene.result.aborted);
    assert_int_equal(scene.ended_ms, 10);
}

/* ---- every ---- */

static void count_up(void *arg)
{
    ++*(int *)arg;
}

static int ticks(struct weir_req *req, void *arg)
{
    assert_int_equal(weir_req_every(req, 0, count_up, arg), WEIR_EINVAL);
    assert_int_equal(weir_req_every(req, -1, count_up, arg), WEIR_EINVAL);
    assert_int_equal(weir_req_every(req, 10, count_up, arg), 0);
    assert_int_equal(weir_sleep(weir_after_ms(55)), 0);
    return weir_reply_empty(req, 200, NULL);
}

static void a_regular_call_while_the_request_lives(void **state)
{
    int count = 0;
    struct scene scene = {.handler = ticks, .arg = &count};

    (void)state;
    play(&scene);
    assert_int_equal(count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_asks),
        cmocka_unit_test(forms_of_a_target),
        cmocka_unit_test(a_body_in_pieces_of_any_size),
        cmocka_unit_test(ends_that_are_none),
        cmocka_unit_test(a_bounded_body),
        cmocka_unit_test(trailers_after_the_end),
        cmocka_unit_test(the_first_read_asks_for_the_body),
        cmocka_unit_test(a_body_nobody_wants),
        cmocka_unit_test(a_window_opens_as_chunks_are_released),
        cmocka_unit_test(a_leave_is_noticed_wherever_the_handler_waits),
        cmocka_unit_test(a_client_that_has_left_before_the_handler_ran),
        cmocka_unit_test(a_fin_means_gone_unless_it_may_not),
        cmocka_unit_test(a_leave_after_the_reply_is_over),
        cmocka_unit_test(a_leave_at_any_byte_of_the_output),
        cmocka_unit_test(a_cancelled_childs_waits_end),
        cmocka_unit_test(a_regular_call_while_the_request_lives),
    };

    return cmocka_run_group_tests_name("http request", tests, NULL, NULL);
}
