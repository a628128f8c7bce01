/* SPDX-License-Identifier: MIT */
/* Heartbeats of event streams, on a fake clock: when they come, where they may not, and whom they find out. */
#include "http_test.h"

#include <weir/mailbox.h>
#include <weir/sse.h>

#define HEAD                                                                               \
    "0 begin 200 length=?\n  Content-Type: text/event-stream\n  Cache-Control: no-cache\n" \
    "  X-Accel-Buffering: no\n"

/* What a handler does: a pause before each step, then one event with that data, or a raw piece. */
struct act {
    int64_t pause_ms;
    const char *data, *raw;
};

struct program {
    struct weir_sse_opts opts;
    const struct act *acts;
    size_t count;
    const char *body; /* what must have arrived in the end; NULL: not looked at */
    bool aborts;
    int result;
    int64_t left_ms; /* when the handler was done */
};

static int act_one(struct weir_sink *out, const struct act *act)
{
    int r = act->pause_ms > 0 ? weir_sleep(weir_after_ms(act->pause_ms)) : 0;

    if (r == 0 && act->data != NULL) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str(act->data)});
    }
    return r < 0 || act->raw == NULL ? r : weir_emit_bytes(out, weir_str(act->raw), -1);
}

static void look_at_body(const char *body)
{
    struct weir__memory_result result;

    weir__memory_result(scene_memory, &result);
    assert_int_equal(result.taken, strlen(body));
    assert_memory_equal(result.kept.data, body, strlen(body));
}

static int run(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct program *program = arg;
    int r = weir_sse_config(req, &program->opts);

    assert_int_equal(r, 0);
    r = weir_sse_begin(req, 200, NULL, &out);
    for (size_t i = 0; r == 0 && i < program->count; i++) {
        r = act_one(out, &program->acts[i]);
    }
    program->result = r;
    program->left_ms = scene_ms();
    if (program->aborts) {
        weir_abort(out, WEIR_REASON_HANDLER);
        WEIR_IGNORE(weir_sleep(weir_after_ms(100)));
    } else if (r == 0) {
        r = weir_end(out, NULL);
        WEIR_IGNORE(weir_sleep(weir_after_ms(100))); /* nothing comes behind the end */
    }
    if (program->body != NULL) {
        look_at_body(program->body);
    }
    return r;
}

static void expect(struct program *program, struct weir__memory_opts opts, const char *trace)
{
    struct scene scene = {.handler = run, .arg = program, .opts = opts};

    scene.opts.keep = 1024;
    play(&scene);
    if (trace != NULL) {
        assert_string_equal(scene_trace, trace);
    }
}

/* The same for a scene in which allocations fail. */
static int runs_if_it_can(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct program *program = arg;
    int r = weir_sse_config(req, &program->opts);

    if (r == 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    for (size_t i = 0; r == 0 && i < program->count; i++) {
        r = act_one(out, &program->acts[i]);
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static const struct act idle[] = {{35, "x", NULL}};

/* ---- when, and in which form ---- */

static void v12_heartbeats_while_the_handler_waits(void **state)
{
    static const struct act acts[] = {
        {0, "a", NULL}, {25, "b", NULL}, {9, "c", NULL}, {10, "d", NULL}};
    struct program program = {.opts = {.heartbeat_ms = 10},
                              .acts = acts,
                              .count = COUNT(acts),
                              .body =
                                  "data: a\n\n: \n\n: \n\ndata: b\n\ndata: c\n\n: \n\ndata: d\n\n"};

    (void)state;
    expect(&program, (struct weir__memory_opts){0},
           HEAD "0 body 9\n10 body 4\n20 body 4\n25 body 9\n34 body 9\n44 body 13\n44 end\n"
                "144 finished\n");
}

static void each_form(void **state)
{
    static const struct weir_event ping = {.event = "ping", .data = {(const uint8_t *)"{}\n", 3}};
    struct program program = {.opts = {.heartbeat_ms = 20}, .acts = idle, .count = 1};

    (void)state;
    program.body = ": \n\ndata: x\n\n";
    expect(&program, (struct weir__memory_opts){0}, NULL);
    program.opts.heartbeat_line = true;
    program.body = ": \ndata: x\n\n";
    expect(&program, (struct weir__memory_opts){0}, NULL);
    program.opts.heartbeat_text = weir_str("still\r\nhere");
    program.body = ": still\n: here\ndata: x\n\n";
    expect(&program, (struct weir__memory_opts){0}, NULL);
    program.opts.heartbeat_event = &ping;
    program.body = "event: ping\ndata: {}\ndata: \n\ndata: x\n\n";
    expect(&program, (struct weir__memory_opts){0}, NULL);
}

static void none_is_asked_for(void **state)
{
    struct program program = {.acts = idle, .count = 1, .body = "data: x\n\n"};

    (void)state;
    expect(&program, (struct weir__memory_opts){0}, HEAD "35 body 9\n35 end\n135 finished\n");
    program.opts.heartbeat_ms = 10;
    program.body = "";
    expect(&program, (struct weir__memory_opts){.method = "HEAD"}, NULL);
}

static int bad_options(struct weir_req *req, void *arg)
{
    static char huge[5000];
    static const struct weir_event bad = {.event = "a\nb"};
    struct weir_sse_opts opts[] = {
        {.heartbeat_ms = -1},
        {.heartbeat_ms = INT64_MAX},
        {.retry_ms = -1},
        {.heartbeat_ms = 1, .heartbeat_event = &bad},
    };

    (void)arg;
    memset(huge, 'x', sizeof(huge) - 1);
    for (size_t i = 0; i < COUNT(opts); i++) {
        assert_int_equal(weir_sse_config(req, &opts[i]), WEIR_EINVAL);
    }
    assert_int_equal(
        weir_sse_config(
            req, &(struct weir_sse_opts){.heartbeat_ms = 1, .heartbeat_text = weir_str(huge)}),
        WEIR_ELIMIT);
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = 1}), 0);
    assert_int_equal(weir_sse_config(req, NULL), 0);
    return weir_reply_empty(req, 204, NULL);
}

static void options_that_are_refused(void **state)
{
    struct scene scene = {.handler = bad_options};

    (void)state;
    expect_trace(&scene, "0 begin 204 none\n0 end\n0 finished\n");
}

/* A handler that relays tokens: heartbeats come while it is idle in its mailbox. */
static int receives(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    WEIR_CLEANUP(weir_sender_unrefp) struct weir_sender *sender = weir_sender_create();
    struct weir_msg msg;
    int r = weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = 15000});

    (void)arg;
    assert_non_null(sender);
    if (r == 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    assert_int_equal(weir_receive(weir_after_ms(31000), &msg), WEIR_ETIMEDOUT);
    return r < 0 ? r : weir_end(out, NULL);
}

static void in_a_mailbox(void **state)
{
    struct scene scene = {.handler = receives};

    (void)state;
    expect_trace(&scene, HEAD "15000 body 4\n30000 body 4\n31000 end\n31000 finished\n");
}

/* ---- where not ---- */

/* An event that the client takes a little of at a time: no heartbeat gets inside, however long it takes. */
static void v12_never_inside_an_event(void **state)
{
    static const struct act acts[] = {{0, "0123456789012345678901234567890123456789", NULL},
                                      {25, NULL, NULL}};
    static const struct weir__memory_step steps[] = {
        {.at_ms = 35, .act = WEIR__MEMORY_SOCKET, .bytes = 5},
        {.at_ms = 75, .act = WEIR__MEMORY_SOCKET, .bytes = 1000},
    };
    struct program program = {
        .opts = {.heartbeat_ms = 10},
        .acts = acts,
        .count = COUNT(acts),
        .body = "data: 0123456789012345678901234567890123456789\n\n: \n\n: \n\n",
    };
    struct scene scene = {.handler = run,
                          .arg = &program,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.keep = 1024, .socket = 5, .max_room = 5}};

    (void)state;
    play(&scene);
    assert_int_equal(program.result, 0);
    assert_true(scene.result.ended);
}

/* Bytes that were not made by weir_sse_emit(): the blank line at their end tells. */
static void not_behind_half_an_event(void **state)
{
    static const char *const half[] = {"data: a", "data: a\n", "data: a\r\n", "data: a\r",
                                       "\ndata: \r\n"};
    static const char *const whole[] = {"data: a\n\n", "data: a\r\n\r\n", "data: a\r\r",
                                        "data: a\n\r\n", "\n"};

    (void)state;
    for (size_t i = 0; i < COUNT(half); i++) {
        struct act acts[] = {{0, NULL, half[i]}, {25, NULL, NULL}};
        struct program program = {
            .opts = {.heartbeat_ms = 10}, .acts = acts, .count = 2, .body = half[i]};

        expect(&program, (struct weir__memory_opts){0}, NULL);
    }
    for (size_t i = 0; i < COUNT(whole); i++) {
        struct act acts[] = {{0, NULL, whole[i]}, {25, NULL, NULL}};
        char body[64];
        struct program program = {
            .opts = {.heartbeat_ms = 10}, .acts = acts, .count = 2, .body = body};

        snprintf(body, sizeof(body), "%s: \n\n: \n\n", whole[i]);
        expect(&program, (struct weir__memory_opts){0}, NULL);
    }
    {
        /* The end of an event in a piece of its own. */
        struct act acts[] = {
            {0, NULL, "data: a\r"}, {15, NULL, "\n"}, {15, NULL, "\r"}, {15, NULL, "\n"}};
        struct program program = {.opts = {.heartbeat_ms = 10},
                                  .acts = acts,
                                  .count = 4,
                                  .body = "data: a\r\n\r: \n\n\n"};

        expect(&program, (struct weir__memory_opts){0}, NULL);
    }
}

static void not_behind_an_abort(void **state)
{
    static const struct act acts[] = {{0, "a", NULL}};
    struct program program = {
        .opts = {.heartbeat_ms = 10}, .acts = acts, .count = 1, .aborts = true};

    (void)state;
    expect(&program, (struct weir__memory_opts){0},
           HEAD "0 body 9\n0 abort handler\n100 finished\n");
}

static int forgets_its_sink(struct weir_req *req, void *arg)
{
    struct weir_sink *out;

    (void)arg;
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = 10}), 0);
    assert_int_equal(weir_sse_begin(req, 200, NULL, &out), 0);
    return weir_sleep(weir_after_ms(15));
}

static void of_a_handler_that_forgets_its_sink(void **state)
{
    struct scene scene = {.handler = forgets_its_sink};

    (void)state;
    expect_trace(&scene, HEAD "10 body 4\n15 abort handler\n15 finished\n");
}

/* ---- what the handler is told stays true ---- */

static int is_refused(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;

    (void)arg;
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = 10}), 0);
    assert_int_equal(weir_sse_begin(req, 200, NULL, &out), 0);
    assert_int_equal(weir_emit_bytes(out, weir_str("data: a\n\n"), 0), 0);
    assert_int_equal(weir_emit_bytes(out, weir_str("data: b\n\n"), 0), WEIR_EFLOW);
    /* Meanwhile there is room, and a heartbeat takes it. */
    assert_int_equal(weir_sleep(weir_after_ms(45)), 0);
    assert_int_equal(weir_emit_bytes(out, weir_str("data: c\n\n"), 0), WEIR_EFLOW);
    assert_int_equal(weir_end(out, NULL), WEIR_ESTATE);
    assert_int_equal(weir_wait_writable(out, -1), 0);
    assert_int_equal(weir_emit_bytes(out, weir_str("data: b\n\n"), 0), 0);
    look_at_body("data: a\n\n: \n\n: \n\ndata: b\n\n");
    return weir_end(out, NULL);
}

static void v19_a_heartbeat_lifts_no_refusal(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 25, .act = WEIR__MEMORY_SOCKET, .bytes = 1000},
    };
    struct scene scene = {.handler = is_refused,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.keep = 1024, .socket = 9}};

    (void)state;
    play(&scene);
    assert_true(scene.result.ended);
}

static int is_never_busy(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = 0;

    (void)arg;
    assert_int_equal(weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = 1}), 0);
    assert_int_equal(weir_sse_begin(req, 200, NULL, &out), 0);
    for (int i = 0; r == 0 && i < 500; i++) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("0123456789")});
        if (r == 0 && i % 3 == 0) {
            r = weir_sleep(weir_after_ms(i % 7));
        }
    }
    assert_int_equal(r, 0);
    return weir_end(out, NULL);
}

static void a_heartbeat_makes_nobody_wait(void **state)
{
    struct scene scene = {.handler = is_never_busy, .opts = {.max_take = 7}};

    (void)state;
    play(&scene);
    assert_true(scene.result.ended);
    assert_true(scene.result.taken > 500 * 18);
}

static void take_the_memory_away(void *arg)
{
    (void)arg;
    weir__chunk_pool_trim();
    weir__alloc_fail_only(1);
}

/* A lack of memory costs a heartbeat, not the stream. */
static void a_heartbeat_without_memory(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 9, .act = WEIR__MEMORY_CALL, .call = take_the_memory_away},
    };
    struct program program = {
        .opts = {.heartbeat_ms = 10}, .acts = idle, .count = 1, .body = ": \n\n: \n\ndata: x\n\n"};
    struct scene scene = {.handler = run,
                          .arg = &program,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.keep = 1024}};

    (void)state;
#ifndef WEIR_DEBUG
    skip(); /* allocations fail on demand in debug builds only */
#endif
    expect_trace(&scene, HEAD "20 body 4\n30 body 4\n35 body 9\n35 end\n135 finished\n");
}

/* At any other place it is a status before the head, and an abort behind it. */
static void v9_without_memory(void **state)
{
    bool whole = false;

    (void)state;
    for (int64_t n = 1; n < 100 && !whole; n++) {
        struct program program = {.opts = {.heartbeat_ms = 10}, .acts = idle, .count = 1};
        struct scene scene = {.handler = runs_if_it_can, .arg = &program};

        play_failing(&scene, n);
        whole = scene.started == 0 && scene.result.ended && scene.result.status == 200;
        if (!whole && scene.started == 0) {
            assert_true(scene.result.aborted || scene.result.status == 503);
        }
    }
    assert_true(whole);
}

/* ---- whom they find out ---- */

/* The client takes nothing more, and the handler has nothing to say: only heartbeats can tell. */
static void v10_a_client_that_takes_nothing_is_found(void **state)
{
    static const struct act acts[] = {{0, "a", NULL}, {10000000, "b", NULL}};
    struct program program = {.opts = {.heartbeat_ms = 15000}, .acts = acts, .count = 2};

    (void)state;
    /* Room for one heartbeat: the next one finds none at 30 s, and 60 s later patience has an end. */
    expect(&program, (struct weir__memory_opts){.socket = 13, .limits = {.write_stall_ms = 60000}},
           HEAD "0 body 9\n15000 body 4\n90000 abort stall\n90000 finished\n");
    assert_int_equal(program.result, WEIR_ECANCELED);
    assert_int_equal(program.left_ms, 90000);
    /* A clock that is not a multiple of the interval. */
    expect(&program, (struct weir__memory_opts){.socket = 13, .limits = {.write_stall_ms = 20000}},
           HEAD "0 body 9\n15000 body 4\n50000 abort stall\n50000 finished\n");
}

/* One that takes a byte now and then is slow, but it is there. */
static void a_client_that_takes_something_stays(void **state)
{
    static const struct act acts[] = {{0, "a", NULL}, {200000, "b", NULL}};
    struct weir__memory_step steps[18];
    struct program program = {.opts = {.heartbeat_ms = 15000}, .acts = acts, .count = 2};
    struct scene scene = {.handler = run,
                          .arg = &program,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.socket = 10, .limits = {.write_stall_ms = 40000}}};

    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = (struct weir__memory_step){
            .at_ms = 1000 + (int64_t)i * 35000, .act = WEIR__MEMORY_SOCKET, .bytes = 2};
    }
    play(&scene);
    assert_int_equal(program.result, 0);
    assert_int_equal(program.left_ms >= 200000, 1);
    assert_true(scene.result.ended);
}

static void v10_a_write_that_fails_ends_the_wait(void **state)
{
    static const struct act acts[] = {{0, "a", NULL}, {10000000, "b", NULL}};
    struct program program = {.opts = {.heartbeat_ms = 15000}, .acts = acts, .count = 2};

    (void)state;
    expect(&program, (struct weir__memory_opts){.fail_write_at = 14},
           HEAD "0 body 9\n15000 body 4\n30000 gone reset\n30000 abort reset\n30000 finished\n");
    assert_int_equal(program.result, WEIR_ECANCELED);
}

static void they_stop_when_the_client_leaves(void **state)
{
    static const struct act acts[] = {{0, "a", NULL}, {10000000, "b", NULL}};
    static const struct weir__memory_step steps[] = {
        {.at_ms = 17, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET},
    };
    struct program program = {.opts = {.heartbeat_ms = 10}, .acts = acts, .count = 2};
    struct scene scene = {.handler = run, .arg = &program, .steps = steps, .count = COUNT(steps)};

    (void)state;
    play(&scene);
    assert_int_equal(program.result, WEIR_ECANCELED);
    assert_int_equal(program.left_ms, 17);
    assert_int_equal(scene.result.taken, 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v12_heartbeats_while_the_handler_waits),
        cmocka_unit_test(each_form),
        cmocka_unit_test(none_is_asked_for),
        cmocka_unit_test(options_that_are_refused),
        cmocka_unit_test(in_a_mailbox),
        cmocka_unit_test(v12_never_inside_an_event),
        cmocka_unit_test(not_behind_half_an_event),
        cmocka_unit_test(not_behind_an_abort),
        cmocka_unit_test(of_a_handler_that_forgets_its_sink),
        cmocka_unit_test(v19_a_heartbeat_lifts_no_refusal),
        cmocka_unit_test(a_heartbeat_makes_nobody_wait),
        cmocka_unit_test(a_heartbeat_without_memory),
        cmocka_unit_test(v9_without_memory),
        cmocka_unit_test(v10_a_client_that_takes_nothing_is_found),
        cmocka_unit_test(a_client_that_takes_something_stays),
        cmocka_unit_test(v10_a_write_that_fails_ends_the_wait),
        cmocka_unit_test(they_stop_when_the_client_leaves),
    };

    return cmocka_run_group_tests_name("http heartbeat", tests, NULL, NULL);
}
