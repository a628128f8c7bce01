/* SPDX-License-Identifier: MIT */
/* Streams end to end: bodies piped into replies, memory bounds, whose failure it was, kernel pipes, the client's role. */
#include "http_test.h"

#include "rt/scope.h"

/* ---- a body piped into its own reply ---- */

struct piping {
    struct weir_pipe_opts opts;
    uint64_t length; /* of the reply, as declared */
    int r;
    struct weir_pipe_result result;
    struct weir_error source, sink;
    struct weir_source *from;
    struct weir__stream *upstream;
};

static int pipes(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct piping *piping = arg;
    struct weir_source *body = weir_req_body(req);

    if (weir_stream_begin(req, 200, NULL, piping->length, &sink) < 0) {
        return WEIR_EIO;
    }
    piping->r = weir_pipe(body, sink, &piping->opts, &piping->result);
    weir_source_error(body, &piping->source);
    weir_sink_error(sink, &piping->sink);
    if (piping->r == 0 && piping->opts.keep_sink_open) {
        assert_int_equal(emit_pattern(sink, piping->result.bytes, 10, -1), 0);
        return weir_end(sink, NULL);
    }
    return piping->r;
}

/* As much as W is sent, in pieces of any size, to a client that takes it as it likes: never more is held than what the
 * window and one chunk on its way allow. */
static void memory_is_bounded(void **state)
{
    static const uint64_t windows[] = {1000, 16384, 65536};
    static const uint64_t total = (uint64_t)8 << 20;

    (void)state;
    for (size_t i = 0; i < COUNT(windows); i++) {
        uint64_t w = windows[i];
        const uint64_t sizes[] = {1, w - 1, w, w + 1, 16384, total};

        for (size_t j = 0; j < COUNT(sizes); j++) {
            static struct weir__memory_step steps[1100];
            size_t sends = sizes[j] * 1000 < total ? 1000 : (size_t)(total / sizes[j]);
            uint64_t all = sends * sizes[j];
            size_t count = 0;
            struct piping piping = {.length = WEIR_LENGTH_UNKNOWN};
            struct scene scene = {.handler = pipes,
                                  .arg = &piping,
                                  .steps = steps,
                                  .opts = {.body_length = WEIR_LENGTH_UNKNOWN,
                                           .receive_window = w,
                                           .socket = WEIR__MEMORY_NONE,
                                           .max_room = (size_t)w,
                                           .max_read = j % 2 ? 3000 : 0}};

            while (count < sends) {
                steps[count++] =
                    (struct weir__memory_step){.act = WEIR__MEMORY_SEND, .bytes = sizes[j]};
            }
            steps[count++] = (struct weir__memory_step){.act = WEIR__MEMORY_SEND_END};
            for (int k = 1; k <= 50; k++) {
                steps[count++] = (struct weir__memory_step){
                    .at_ms = k * 100, .act = WEIR__MEMORY_SOCKET, .bytes = all / 50 + 1};
            }
            scene.count = count;
            play(&scene);
            assert_int_equal(piping.r, 0);
            assert_int_equal(piping.result.bytes, all);
            assert_int_equal(scene.result.taken, all);
            assert_true(scene.result.ended && scene.result.pattern);
            assert_true(scene.result.parked_peak <= w);
            assert_int_equal(scene.result.queued_peak, 0); /* nothing is taken that cannot go */
            /* One chunk of at most 64 KiB, whatever the sizes on the wire. */
            assert_true(scene.budget_peak <= 65536);
        }
    }
}

/* A chunk of 8 MiB of the handler's own is not copied, and goes in pieces. */
static int emits_huge(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, (uint64_t)8 << 20, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, (size_t)8 << 20, -1), 0);
    return weir_end(sink, NULL);
}

static void a_huge_chunk_goes_in_pieces(void **state)
{
    struct scene scene = {.handler = emits_huge, .opts = {.max_take = 60000}};

    (void)state;
    play(&scene);
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.budget_peak, 0);
    assert_true(scene.result.queued_peak <= 65536);
}

/* ---- the pipe's four rules, and whose failure it was ---- */

static const struct weir__memory_step good_body[] = {
    {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 50},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND_END}};

static void an_end_travels_forward(void **state)
{
    struct piping piping = {.length = 150};
    struct scene scene = {.handler = pipes,
                          .arg = &piping,
                          .steps = good_body,
                          .count = 3,
                          .opts = {.body_length = 150}};

    (void)state;
    expect_trace(&scene, "0 begin 200 length=150\n10 body 100\n20 body 50\n30 end\n30 finished\n");
    assert_int_equal(piping.result.bytes, 150);
    assert_int_equal(piping.result.cause.code, 0);
    piping.length = 160;
    piping.opts.keep_sink_open = true;
    expect_trace(
        &scene,
        "0 begin 200 length=160\n10 body 100\n20 body 50\n30 body 10\n30 end\n30 finished\n");
    /* An end in the wrong place is the sink's failure. */
    piping.opts.keep_sink_open = false;
    expect_trace(
        &scene, "0 begin 200 length=160\n10 body 100\n20 body 50\n30 abort handler\n30 finished\n");
    assert_int_equal(piping.r, WEIR_ESTATE);
    assert_int_equal(piping.result.cause.code, WEIR_ESTATE);
    assert_int_equal(piping.result.cause.side, WEIR_SIDE_SINK);
}

static void an_error_travels_forward(void **state)
{
    static const struct {
        struct weir__memory_step step;
        int code;
        enum weir_reason reason;
    } cases[] = {
        {{.at_ms = 15, .act = WEIR__MEMORY_FIN}, WEIR_ETRUNCATED, WEIR_REASON_TRUNCATED},
        {{.at_ms = 15, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         WEIR_EPROTO,
         WEIR_REASON_PROTOCOL},
        {{.at_ms = 15, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_ERESET},
         WEIR_ERESET,
         WEIR_REASON_RESET},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step steps[2] = {good_body[0], cases[i].step};
        struct piping piping = {.length = 150};
        struct scene scene = {.handler = pipes,
                              .arg = &piping,
                              .steps = steps,
                              .count = 2,
                              .opts = {.body_length = 150, .half_close = true}};

        play(&scene);
        assert_int_equal(piping.r, cases[i].code);
        assert_int_equal(piping.result.bytes, 100);
        assert_int_equal(piping.result.cause.code, cases[i].code);
        assert_int_equal(piping.result.cause.side, WEIR_SIDE_SOURCE);
        assert_int_equal(piping.result.cause.reason, cases[i].reason);
        assert_true(scene.result.aborted);
        assert_int_equal(scene.result.abort_reason, cases[i].reason);
        assert_int_equal(scene.result.taken, 100);
    }
}

static void a_failure_of_the_sink_travels_back(void **state)
{
    struct piping piping = {.length = 120};
    struct scene scene = {.handler = pipes,
                          .arg = &piping,
                          .steps = good_body,
                          .count = 3,
                          .opts = {.body_length = 150}};

    (void)state;
    for (int no_cancel = 0; no_cancel < 2; no_cancel++) {
        piping.opts.no_cancel = no_cancel;
        play(&scene);
        assert_int_equal(piping.r, WEIR_ELIMIT);
        assert_int_equal(piping.result.bytes, 100);
        assert_int_equal(piping.result.cause.code, WEIR_ELIMIT);
        assert_int_equal(piping.result.cause.reason, WEIR_REASON_HANDLER);
        assert_int_equal(scene.result.cancels, no_cancel ? 0 : 1);
        assert_true(scene.result.aborted);
    }
    /* The write fails for the client's sake. */
    piping = (struct piping){.length = 150};
    scene.opts.fail_write_at = 120;
    play(&scene);
    assert_int_equal(piping.r, WEIR_ERESET);
    assert_int_equal(piping.result.cause.side, WEIR_SIDE_SINK);
    assert_int_equal(piping.result.cause.reason, WEIR_REASON_RESET);
    assert_int_equal(scene.result.cancels, 1);
}

static void a_stalled_client_ends_the_pipe(void **state)
{
    struct piping piping = {.length = 150};
    struct scene scene = {
        .handler = pipes,
        .arg = &piping,
        .steps = good_body,
        .count = 3,
        .opts = {.body_length = 150, .socket = 120, .limits = {.write_stall_ms = 1000}}};

    (void)state;
    play(&scene);
    assert_int_equal(piping.r, WEIR_ESTALLED);
    assert_int_equal(piping.result.cause.side, WEIR_SIDE_SINK);
    assert_int_equal(piping.result.cause.reason, WEIR_REASON_STALL);
    assert_int_equal(scene.ended_ms, 1020);
    assert_int_equal(scene.result.cancels, 1);
    assert_int_equal(scene.result.abort_reason, WEIR_REASON_STALL);
}

static void a_deadline_ends_the_pipe(void **state)
{
    struct piping piping = {.length = 150};
    struct scene scene = {.handler = pipes,
                          .arg = &piping,
                          .steps = good_body,
                          .count = 3,
                          .opts = {.body_length = 150}};

    (void)state;
    piping.opts.deadline = 1000 + 15;
    play(&scene);
    assert_int_equal(piping.r, WEIR_ETIMEDOUT);
    assert_int_equal(scene.ended_ms, 15);
    assert_int_equal(piping.result.cause.side, WEIR_SIDE_SELF);
    assert_int_equal(piping.result.cause.reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(scene.result.abort_reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(scene.result.cancels, 1);
}

/* A source that is always ready, in a clock that goes on by itself. */
static int ready_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    (void)state;
    (void)max_bytes;
    (void)deadline;
    scene_us += 100;
    return weir_chunk_copy(weir_str("x"), ret) == 0 ? 1 : WEIR_ENOMEM;
}

static const struct weir_source_ops ready_ops = {.next = ready_next};

static int pipes_for_ever(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;

    (void)arg;
    assert_int_equal(weir_source_create_take(&ready_ops, NULL, &source), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    return weir_pipe(source, sink, &(struct weir_pipe_opts){.deadline = weir_after_ms(1000)}, NULL);
}

static void a_deadline_holds_for_a_pipe_that_never_waits(void **state)
{
    struct scene scene = {.handler = pipes_for_ever};

    (void)state;
    play(&scene);
    assert_in_range(scene.ended_ms, 1000, 1010);
    assert_int_equal(scene.result.abort_reason, WEIR_REASON_TIMEOUT);
}

/* ---- whoever leaves while two streams are joined ---- */

static int joins(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct piping *piping = arg;

    if (piping->from != NULL) {
        assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
        piping->r = weir_pipe(piping->from, sink, NULL, &piping->result);
    }
    return piping->r;
}

static void the_client_leaves_and_the_upstream_is_cancelled(void **state)
{
    static const struct weir__memory_step upstream_steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
        {.at_ms = 900, .act = WEIR__MEMORY_SEND_END}};
    static const struct weir__memory_step leave[] = {
        {.at_ms = 50, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104}};

    (void)state;
    /* blocked: in the sink's wait; else in the source's */
    for (int blocked = 0; blocked < 2; blocked++) {
        struct weir__memory *upstream;
        struct weir__memory_result result;
        struct piping piping = {0};

        scene_us = 1000000;
        assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
        assert_int_equal(weir__memory_create(scene_loop, &(struct weir__memory_opts){0}, &upstream),
                         0);
        assert_int_equal(weir__memory_script(upstream, upstream_steps, 2), 0);
        assert_int_equal(
            weir__memory_create(scene_loop, &(struct weir__memory_opts){.socket = blocked ? 60 : 0},
                                &scene_memory),
            0);
        assert_int_equal(weir__memory_script(scene_memory, leave, 1), 0);
        piping.from = &weir__memory_open(upstream)->body;
        assert_int_equal(weir__memory_request(scene_memory, joins, &piping), 0);
        weir__loop_run_until_idle(scene_loop);
        assert_int_equal(scene_ms(), 50);
        assert_int_equal(piping.r, WEIR_ERESET);
        assert_int_equal(piping.result.cause.code, WEIR_ERESET);
        assert_int_equal(piping.result.cause.side, WEIR_SIDE_SINK);
        assert_int_equal(piping.result.cause.reason, WEIR_REASON_RESET);
        assert_int_equal(piping.result.cause.native, 104);
        assert_string_equal(piping.result.cause.where, "memory");
        weir__memory_result(upstream, &result);
        assert_int_equal(result.cancels, 1);
        assert_string_equal(weir__memory_trace(upstream), "50 cancel canceled\n");
        weir__memory_close(upstream);
        weir__memory_destroy(upstream);
        weir__memory_destroy(scene_memory);
        weir__loop_destroy(scene_loop);
    }
}

/* The same the other way round. What was opened for the request is cancelled first, as an exchange is. */
struct opened {
    struct weir__cancel_hook hook;
    struct weir__stream *stream;
};

static void opened_cancelled(struct weir__cancel_hook *hook)
{
    weir__stream_gone(weir_list_entry(hook, struct opened, hook)->stream, WEIR_REASON_CANCELED, 0);
}

static int uploads(struct weir_req *req, void *arg)
{
    struct piping *piping = arg;
    struct opened opened = {.stream = piping->upstream};

    assert_int_equal(
        weir__stream_begin(opened.stream,
                           &(struct weir__head){.method = weir_str("PUT"), .length = 150}),
        0);
    weir__cancel_hook_add(&opened.hook, opened_cancelled);
    piping->r = weir_pipe(weir_req_body(req), &opened.stream->out, NULL, &piping->result);
    weir__cancel_hook_remove(&opened.hook);
    return piping->r;
}

static void the_client_leaves_in_the_middle_of_its_upload(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
        {.at_ms = 50, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104}};

    (void)state;
    for (int blocked = 0; blocked < 2; blocked++) {
        struct weir__memory *upstream;
        struct piping piping = {0};

        scene_us = 1000000;
        assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
        assert_int_equal(
            weir__memory_create(scene_loop, &(struct weir__memory_opts){.socket = blocked ? 60 : 0},
                                &upstream),
            0);
        assert_int_equal(weir__memory_create(scene_loop,
                                             &(struct weir__memory_opts){.body_length = 150},
                                             &scene_memory),
                         0);
        assert_int_equal(weir__memory_script(scene_memory, steps, 2), 0);
        piping.upstream = weir__memory_open(upstream);
        assert_int_equal(weir__memory_request(scene_memory, uploads, &piping), 0);
        weir__loop_run_until_idle(scene_loop);
        assert_int_equal(scene_ms(), 50);
        assert_int_equal(piping.r, WEIR_ERESET);
        assert_int_equal(piping.result.cause.code, WEIR_ERESET);
        assert_int_equal(piping.result.cause.side, WEIR_SIDE_SOURCE);
        assert_int_equal(piping.result.cause.reason, WEIR_REASON_RESET);
        assert_int_equal(piping.result.cause.native, 104);
        weir__memory_close(upstream);
        assert_string_equal(
            weir__memory_trace(upstream),
            blocked ? "0 begin PUT  length=150\n10 body 60\n50 abort canceled\n50 finished\n"
                    : "0 begin PUT  length=150\n10 body 100\n50 abort canceled\n50 finished\n");
        weir__memory_destroy(upstream);
        weir__memory_destroy(scene_memory);
        weir__loop_destroy(scene_loop);
    }
}

struct child_pipe {
    struct weir_req *req;
    struct weir_sink *sink;
    int r;
    struct weir_pipe_result result;
};

static int child_pipes(void *arg)
{
    struct child_pipe *child = arg;

    child->r = weir_pipe(weir_req_body(child->req), child->sink, NULL, &child->result);
    return child->r;
}

static int cancels_a_pipe(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct child_pipe *child = arg;
    struct weir_scope *scope;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    child->req = req;
    child->sink = sink;
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, child_pipes, child), 0);
    assert_int_equal(weir_sleep(weir_after_ms(15)), 0);
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    return 0;
}

static void a_cancelled_pipe_ends_both_sides(void **state)
{
    struct child_pipe child = {0};
    struct scene scene = {.handler = cancels_a_pipe,
                          .arg = &child,
                          .steps = good_body,
                          .count = 3,
                          .opts = {.body_length = 150}};

    (void)state;
    for (int blocked = 0; blocked < 2; blocked++) {
        scene.opts.socket = blocked ? 60 : 0;
        play(&scene);
        assert_int_equal(scene.ended_ms, 15);
        assert_int_equal(child.r, WEIR_ECANCELED);
        assert_int_equal(child.result.cause.code, WEIR_ECANCELED);
        assert_int_equal(child.result.cause.side, WEIR_SIDE_SELF);
        assert_true(scene.result.aborted && scene.result.cancelled);
        assert_int_equal(scene.result.abort_reason, WEIR_REASON_CANCELED);
    }
}

/* ---- through the kernel ---- */

static void bytes_may_go_through_kernel_pipes(void **state)
{
    static struct weir__memory_step steps[40];
    size_t count = 0;
    struct piping piping = {.length = 300000};
    struct scene scene = {.handler = pipes,
                          .arg = &piping,
                          .steps = steps,
                          .opts = {.body_length = 300000,
                                   .use_fds = true,
                                   .receive_window = 70000,
                                   .socket = WEIR__MEMORY_NONE,
                                   .max_room = 50000}};

    (void)state;
    for (int i = 0; i < 10; i++) {
        steps[count++] =
            (struct weir__memory_step){.at_ms = i * 10, .act = WEIR__MEMORY_SEND, .bytes = 30000};
        steps[count++] =
            (struct weir__memory_step){.at_ms = i * 30, .act = WEIR__MEMORY_SOCKET, .bytes = 30000};
    }
    steps[count++] = (struct weir__memory_step){.at_ms = 200, .act = WEIR__MEMORY_SEND_END};
    scene.count = count;
    play(&scene);
    assert_int_equal(piping.r, 0);
    assert_int_equal(piping.result.bytes, 300000);
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.budget_peak, 0);
    assert_int_equal(scene.result.stall.socket_us, 270000);
    /* A declared length that is shorter. */
    piping = (struct piping){.length = 100000};
    play(&scene);
    assert_int_equal(piping.r, WEIR_ELIMIT);
    assert_true(scene.result.aborted);
}

static void a_stalled_client_of_a_kernel_pipe(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.act = WEIR__MEMORY_SEND, .bytes = 50000},
        {.at_ms = 500, .act = WEIR__MEMORY_SOCKET, .bytes = 10}};
    struct piping piping = {.length = 50000};
    struct scene scene = {.handler = pipes,
                          .arg = &piping,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = 50000,
                                   .use_fds = true,
                                   .socket = 20,
                                   .limits = {.write_stall_ms = 1000}}};

    (void)state;
    play(&scene);
    assert_int_equal(piping.r, WEIR_ESTALLED);
    assert_int_equal(scene.ended_ms, 1500);
    assert_int_equal(scene.result.taken, 30);
    assert_int_equal(piping.result.cause.side, WEIR_SIDE_SINK);
}

static int limits_and_pipes(struct weir_req *req, void *arg)
{
    assert_int_equal(weir_req_limit_body(req, 40000), 0);
    return pipes(req, arg);
}

static void a_limit_holds_for_lent_bytes(void **state)
{
    static const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = 50000},
                                                     {.act = WEIR__MEMORY_SEND_END}};
    struct piping piping = {.length = WEIR_LENGTH_UNKNOWN};
    struct scene scene = {.handler = limits_and_pipes,
                          .arg = &piping,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .use_fds = true}};

    (void)state;
    play(&scene);
    assert_int_equal(piping.r, WEIR_ELIMIT);
    assert_int_equal(piping.result.cause.reason, WEIR_REASON_LIMIT);
    assert_true(scene.result.taken <= 40000);
    assert_true(scene.result.aborted);
}

/* ---- the client's role ---- */

static void asks_upstream(void *arg)
{
    struct weir__stream *stream = arg;
    uint64_t bytes = 0;
    struct weir__head head = {.method = weir_str("POST"), .target = weir_str("/x"), .length = 20};

    assert_int_equal(weir__stream_begin(stream, &head), 0);
    assert_int_equal(weir__stream_begin(stream, &head), WEIR_ESTATE);
    assert_int_equal(emit_pattern(&stream->out, 0, 20, -1), 0);
    assert_int_equal(weir_end(&stream->out, NULL), 0);
    assert_int_equal(weir__stream_wait_read(stream, weir_after_ms(1), 0), WEIR_ETIMEDOUT);
    assert_int_equal(weir__stream_wait_read(stream, -1, 2), WEIR_ESTALLED);
    assert_int_equal(weir__stream_wait_read(stream, -1, 100), 0);
    assert_int_equal(scene_ms(), 10);
    assert_int_equal(read_pattern(&stream->body, &bytes), 0);
    assert_int_equal(bytes, 40);
}

static void an_exchange_with_a_scripted_upstream(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND_HEAD, .code = 200},
        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 40},
        {.at_ms = 30, .act = WEIR__MEMORY_SEND_END}};

    (void)state;
    scene_us = 1000000;
    assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
    assert_int_equal(weir__memory_create(scene_loop, &(struct weir__memory_opts){0}, &scene_memory),
                     0);
    assert_int_equal(weir__memory_script(scene_memory, steps, COUNT(steps)), 0);
    assert_int_equal(
        weir__fiber_start(scene_loop, asks_upstream, weir__memory_open(scene_memory), NULL), 0);
    weir__loop_run_until_idle(scene_loop);
    weir__memory_close(scene_memory);
    assert_string_equal(weir__memory_trace(scene_memory),
                        "0 begin POST /x length=20\n0 body 20\n0 end\n30 finished\n");
    weir__memory_destroy(scene_memory);
    weir__loop_destroy(scene_loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_huge_chunk_goes_in_pieces),
        cmocka_unit_test(an_end_travels_forward),
        cmocka_unit_test(an_error_travels_forward),
        cmocka_unit_test(a_failure_of_the_sink_travels_back),
        cmocka_unit_test(a_stalled_client_ends_the_pipe),
        cmocka_unit_test(a_deadline_ends_the_pipe),
        cmocka_unit_test(a_deadline_holds_for_a_pipe_that_never_waits),
        cmocka_unit_test(the_client_leaves_and_the_upstream_is_cancelled),
        cmocka_unit_test(the_client_leaves_in_the_middle_of_its_upload),
        cmocka_unit_test(a_cancelled_pipe_ends_both_sides),
        cmocka_unit_test(bytes_may_go_through_kernel_pipes),
        cmocka_unit_test(a_stalled_client_of_a_kernel_pipe),
        cmocka_unit_test(a_limit_holds_for_lent_bytes),
        cmocka_unit_test(an_exchange_with_a_scripted_upstream),
    };

    return cmocka_run_group_tests_name("http stream", tests, NULL, NULL);
}
