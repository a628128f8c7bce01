/* SPDX-License-Identifier: MIT */
/* Handlers on pool threads against a scripted peer: every call works there, with the bounds and clocks of a fiber's; and who
 * is told when the client leaves. The time of the fake clock stands while a thread is between two calls. */
#include "http_test.h"

#include <weir/blocking.h>
#include <weir/combinators.h>
#include <weir/middleware.h>
#include <weir/ndjson.h>
#include <weir/offload.h>
#include <weir/select.h>
#include <weir/sources.h>
#include <weir/sse.h>

#include <pthread.h>

#include "rt/offload.h"
#include "rt/relay.h"

static pthread_t loop_thread;

/* Runs the handler of a struct weir_blocking on a thread of the pool. */
static void play_blocking(struct scene *scene, weir_handler_fn *handler, void *arg)
{
    struct weir_blocking_pool *pool;
    struct weir_blocking blocking = {.handler = handler, .arg = arg};

    loop_thread = pthread_self();
    assert_int_equal(weir_blocking_pool_create(&(struct weir_blocking_opts){.threads = 1}, &pool),
                     0);
    blocking.pool = pool;
    scene->handler = weir_blocking_handler;
    scene->arg = &blocking;
    play(scene);
    weir_blocking_pool_destroy(pool);
}

/* A claim on a thread that is no test's: it may not jump. */
#define must(claim)                                                             \
    do {                                                                        \
        if (!(claim)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                            \
        }                                                                       \
    } while (0)

static bool on_own_thread(void)
{
    return !pthread_equal(pthread_self(), loop_thread) && weir__loop_current() == NULL;
}

/* ---- bodies ---- */

static int echoes(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_sink *sink;
    struct weir_chunk *chunk;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    must(on_own_thread());
    while (r == 0 && (r = weir_next(body, -1, &chunk)) == 1) {
        if (weir_chunk_len(chunk) % 2 == 0) {
            r = weir_emit_take(sink, chunk, -1);
        } else {
            r = weir_emit_bytes(sink, weir_chunk_view(chunk), -1);
            weir_chunk_unref(chunk);
        }
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void bodies_pass_with_the_bounds_of_a_fiber(void **state)
{
    struct weir__memory_step steps[42];
    struct scene scene = {.steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN,
                                   .receive_window = 10000,
                                   .socket = WEIR__MEMORY_NONE,
                                   .max_read = 3001,
                                   .max_room = 4000}};

    (void)state;
    steps[0] = (struct weir__memory_step){.act = WEIR__MEMORY_SEND, .bytes = 400000};
    steps[1] = (struct weir__memory_step){.act = WEIR__MEMORY_SEND_END};
    for (int i = 0; i < 40; i++) {
        steps[2 + i] =
            (struct weir__memory_step){.at_ms = i * 10, .act = WEIR__MEMORY_SOCKET, .bytes = 10000};
    }
    play_blocking(&scene, echoes, NULL);
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.result.taken, 400000);
    assert_true(scene.result.parked_peak <= 10000);
    assert_true(scene.result.queued_peak <= 4000 + 3001);
    assert_true(scene.budget_peak <= 65536);
    assert_true(scene.ended_ms >= 390);
    assert_true(scene.result.stall.socket_us > 0);
}

/* ---- every call ---- */

static int child(void *arg)
{
    must(weir__loop_current() != NULL); /* children are fibers */
    *(int *)arg += 1;
    return 0;
}

static int on_loop(void *arg)
{
    must(weir__loop_current() != NULL && weir__fiber_current() != NULL);
    *(int *)arg += 1;
    return 7;
}

static int offloaded(void *arg)
{
    *(int *)arg += 1;
    return 3;
}

static void deferred(void *arg)
{
    must(weir__loop_current() != NULL);
    *(int *)arg += 1;
}

static void is_told(void *arg)
{
    *(int *)arg += 1;
}

static int generates(struct weir_sink *out, void *arg)
{
    int r = weir_emit_bytes(out, weir_str("from a fiber"), -1);

    (void)arg;
    must(weir__loop_current() != NULL);
    return r < 0 ? r : weir_end(out, NULL);
}

struct calls {
    int children, loops, offloads, deferred, told;
};

static void call_workers(struct calls *calls)
{
    struct weir_scope *scope;
    struct weir_sender *sender;
    struct weir_channel *channel;
    struct weir_msg msg;
    void *item;
    size_t which;
    int result = 0;

    must(weir_sleep(weir_after_ms(5)) == 0);
    must(weir_yield() == 0);
    must(weir_scope_open(&scope) == 0);
    must(weir_scope_spawn(scope, child, &calls->children) == 0);
    must(weir_scope_spawn(scope, child, &calls->children) == 0);
    must(weir_scope_join(scope, -1) == 0);
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    must(weir_scope_defer(deferred, &calls->deferred) == 0);
    must(weir_blocking_on_loop(on_loop, &calls->loops) == 7);
    must(weir_offload(offloaded, &calls->offloads, NULL, -1, &result) == 0 && result == 3);
    weir__offload_stop(); /* or its threads would count as left behind */
    must(weir_mailbox_config(2, 0) == 0);
    sender = weir_sender_create();
    must(weir_send_text(sender, weir_str("one")) == 0);
    must(weir_send(sender, &(struct weir_msg){.tag = 5}) == 0);
    must(weir_send(sender, &(struct weir_msg){.tag = 6}) == WEIR_EFLOW);
    must(weir_select(&(struct weir_case){.kind = WEIR_CASE_TAG, .tag = 5}, 1, -1, &which) == 1);
    must(weir_receive_tag(5, -1, &msg) == 1);
    must(weir_receive(-1, &msg) == 1);
    weir_msg_drop(&msg);
    must(weir_receive(weir_after_ms(5), &msg) == WEIR_ETIMEDOUT);
    weir_sender_unref(sender);
    must(weir_receive(-1, &msg) == 0);
    must(weir_channel_create(NULL, &channel) == 0);
    weir_channel_unref(weir_channel_ref(channel));
    must(weir_channel_send(channel, calls, 1, -1) == 0);
    must(weir_channel_recv(channel, -1, &item) == 1 && item == calls);
    weir_channel_close(channel, 0);
    weir_channel_abort(channel);
    weir_channel_unref(channel);
}

static void call_streams(void)
{
    struct weir_source *source, *limited;
    struct weir_chunk *chunk;
    struct weir_error error;
    struct weir_pipe_result result;
    struct weir_sink *sink;

    must(weir_source_from_fiber(generates, NULL, NULL, &source) == 0);
    must(weir_limit_create_take(source, 1000, &limited) == 0);
    must(weir_timeout_create_take(limited, 1000, 0, &limited) == 0);
    must(weir_rate_create_take(limited, 100000, 0, &limited) == 0);
    must(weir_next(limited, -1, &chunk) == 1);
    weir_chunk_detach(chunk);
    weir_chunk_unref(chunk);
    must(weir_next(limited, -1, &chunk) == 0);
    weir_source_destroy(limited);
    must(weir_bytes_source_create(weir_str("12345"), &source) == 0);
    must(weir_channel_pair(0, &sink, &limited) == 0);
    must(weir_wait_writable(sink, -1) == 0);
    must(weir_flush(sink) == 0);
    must(weir_pipe(source, sink, NULL, &result) == 0 && result.bytes == 5);
    weir_cancel(limited, WEIR_REASON_CANCELED);
    weir_source_error(limited, &error);
    must(error.code == WEIR_ECANCELED);
    weir_abort(sink, WEIR_REASON_CANCELED);
    weir_sink_error(sink, &error);
    weir_source_destroy(source);
    weir_source_destroy(limited);
    weir_sink_destroy(sink);
}

static int makes_every_call(struct weir_req *req, void *arg)
{
    struct calls *calls = arg;
    const struct weir_blocking again = {.handler = makes_every_call};
    struct weir_sink *sink;
    struct weir_stall stall;
    struct weir_traffic traffic;
    enum weir_reason reason;
    int r;

    must(on_own_thread());
    must(weir_view_equal(weir_req_method(req), weir_str("GET")));
    must(weir_view_equal(weir_req_path(req), weir_str("/a")));
    must(weir_req_query_u64(req, "n", 0) == 5);
    must(weir_req_peer(req).len > 0 && weir_req_id(req) > 0);
    must(!weir_req_gone(req, &reason) && reason == WEIR_REASON_NONE);
    must(weir_req_limit_body(req, 10) == 0);
    must(weir_req_trailers(req) == NULL && !weir_req_is_begun(req));
    weir_req_stall(req, &stall);
    weir_req_traffic(req, &traffic);
    weir_req_hold(req, true);
    weir_req_hold(req, false);
    must(weir_req_every(req, 1000, is_told, &calls->told) == 0);
    must(weir_blocking(req, &again) == WEIR_ESTATE);
    must(weir_on_disconnect(req, is_told, &calls->told) == 0);
    must(weir_inform(req, 103, NULL) == 0);
    call_workers(calls);
    call_streams();
    must(weir_sse_begin(req, 200, NULL, &sink) == 0);
    must(weir_req_is_begun(req));
    must(weir_sse_emit(sink, &(struct weir_event){.data = weir_str("x")}) == 0);
    must(weir_sse_comment(sink, weir_str("y")) == 0);
    r = weir_end(sink, NULL);
    weir_sink_destroy(sink);
    must(weir_off_disconnect(req) == 0);
    must(weir_off_disconnect(req) == WEIR_ESTATE);
    weir_req_drop_head(req);
    return r;
}

static void every_call_works_on_a_thread(void **state)
{
    struct calls calls = {0};
    struct scene scene = {.opts = {.target = "/a?n=5", .keep = 100}};

    (void)state;
    play_blocking(&scene, makes_every_call, &calls);
    assert_int_equal(calls.children, 2);
    assert_int_equal(calls.loops, 1);
    assert_int_equal(calls.offloads, 1);
    assert_int_equal(calls.deferred, 1);
    assert_true(scene.result.ended);
    assert_int_equal(scene.result.informs, 1);
    assert_int_equal(scene.result.taken, 14);
}

/* ---- producers ---- */

struct producing {
    int mode; /* 0 SSE, 1 NDJSON, 2 bytes */
    int result;
};

static int produces(struct weir_sink *out, void *arg)
{
    struct producing *producing = arg;
    int r;

    must(on_own_thread());
    if (producing->mode == 0) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("x")});
    } else if (producing->mode == 1) {
        r = weir_ndjson_emit(out, weir_str("{}"));
    } else {
        r = weir_emit_bytes(out, weir_str("bytes"), -1);
    }
    return r < 0 ? r : producing->result;
}

static int replies_by_producer(struct weir_req *req, void *arg)
{
    struct producing *producing = arg;
    struct weir_answer answer;
    int r;

    if (producing->mode == 0) {
        r = weir_reply_sse(req, 200, produces, arg);
    } else if (producing->mode == 1) {
        r = weir_reply_ndjson(req, 200, produces, arg);
    } else {
        r = weir_reply_stream(req, 200, NULL, WEIR_LENGTH_UNKNOWN, produces, arg);
    }
    weir_req_answer(req, &answer);
    must(answer.outcome == (r == 0 ? WEIR_OUTCOME_COMPLETE : WEIR_OUTCOME_ABORTED));
    return r;
}

static void producers_work_on_a_thread(void **state)
{
    static const uint64_t sizes[] = {9, 3, 5};

    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        struct producing producing = {.mode = mode};
        struct scene scene = {.started = 0};

        play_blocking(&scene, replies_by_producer, &producing);
        assert_true(scene.result.ended);
        assert_int_equal(scene.result.taken, sizes[mode]);
        producing.result = WEIR_EIO;
        play_blocking(&scene, replies_by_producer, &producing);
        assert_true(scene.result.aborted && !scene.result.ended);
    }
}

/* A fiber may use it too: a plain call. */
static int calls_on_the_loop(struct weir_req *req, void *arg)
{
    int count = 0;

    (void)arg;
    assert_int_equal(weir_blocking_on_loop(on_loop, &count), 7);
    assert_int_equal(weir_blocking(req, NULL), WEIR_EINVAL);
    assert_int_equal(weir_blocking(req, &(struct weir_blocking){0}), WEIR_EINVAL);
    return weir_reply_empty(req, 204, NULL);
}

static void on_loop_is_a_plain_call_in_a_fiber(void **state)
{
    struct scene scene = {.handler = calls_on_the_loop};

    (void)state;
    play(&scene);
}

/* ---- results ---- */

static int replies(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 201, "%s\n", "made");
}

static int fails(struct weir_req *req, void *arg)
{
    (void)req;
    return *(int *)arg;
}

static int fails_late(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    return r < 0 ? r : WEIR_EIO;
}

static void its_result_is_the_handlers(void **state)
{
    struct scene scene = {.started = 0};
    int code = WEIR_ENOTFOUND;

    (void)state;
    play_blocking(&scene, replies, NULL);
    assert_int_equal(scene.result.status, 201);
    assert_true(scene.result.ended);
    play_blocking(&scene, fails, &code);
    assert_int_equal(scene.result.status, 404);
    code = WEIR_EBUSY;
    play_blocking(&scene, fails, &code);
    assert_int_equal(scene.result.status, 503);
    assert_non_null(strstr(scene_trace, "Retry-After: 1"));
    play_blocking(&scene, fails_late, NULL);
    assert_true(scene.result.aborted && !scene.result.ended);
}

/* ---- the client leaves ---- */

struct leave {
    int told;
    int64_t told_ms;
    int fired; /* what weir_off_disconnect() said */
    int r;
    bool late, aborts, ends, fails_first, stays;
};

static void note_leave(void *arg)
{
    struct leave *leave = arg;

    must(weir__fiber_current() == NULL); /* on the loop's own stack */
    leave->told++;
    leave->told_ms = scene_ms();
}

static int sleeps(struct weir_req *req, void *arg)
{
    struct leave *leave = arg;
    struct weir_sink *sink = NULL;

    leave->fired = -1;
    if (!leave->late) {
        must(weir_on_disconnect(req, note_leave, leave) == 0);
    }
    if (leave->aborts || leave->ends) {
        must(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink) == 0);
    }
    if (leave->ends) {
        must(weir_end(sink, NULL) == 0);
    }
    if (leave->aborts) {
        weir_abort(sink, WEIR_REASON_HANDLER);
    }
    if (leave->fails_first) {
        return WEIR_EIO;
    }
    leave->r = weir_sleep(1100);
    if (leave->late) {
        must(weir_on_disconnect(req, note_leave, leave) == 0);
    }
    if (!leave->stays) {
        leave->fired = weir_off_disconnect(req);
    }
    return leave->r;
}

static const struct weir__memory_step leaves[] = {
    {.at_ms = 50, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET}};

static void play_leave(struct leave *leave, enum weir_reason reason)
{
    struct weir__memory_step steps[] = {leaves[0]};
    struct scene scene = {.handler = sleeps, .arg = leave, .steps = steps, .count = 1};

    steps[0].reason = reason;
    play(&scene);
}

/* V10: a leave is told at once, once, whatever it is. */
static void v10_a_leave_is_told_at_once(void **state)
{
    static const enum weir_reason reasons[] = {WEIR_REASON_FIN, WEIR_REASON_RESET,
                                               WEIR_REASON_STALL, WEIR_REASON_SHUTDOWN};

    (void)state;
    for (size_t i = 0; i < COUNT(reasons); i++) {
        struct leave leave = {0};

        play_leave(&leave, reasons[i]);
        assert_int_equal(leave.told, 1);
        assert_int_equal(leave.told_ms, 50);
        assert_int_equal(leave.fired, 1);
        assert_int_equal(leave.r, WEIR_ECANCELED);
    }
}

static void who_registers_late_is_told_at_once(void **state)
{
    struct leave leave = {.late = true};

    (void)state;
    play_leave(&leave, WEIR_REASON_FIN);
    assert_int_equal(leave.told, 1);
    assert_int_equal(leave.told_ms, 50);
    assert_int_equal(leave.fired, 1);
}

static void nothing_else_is_a_leave(void **state)
{
    struct leave ends = {.ends = true};
    struct leave aborts = {.aborts = true};
    struct leave fails_itself = {.fails_first = true, .stays = true};
    struct leave completes = {.stays = true};
    struct scene scene = {.handler = sleeps, .arg = &completes};

    (void)state;
    play_leave(&ends, WEIR_REASON_FIN);
    assert_int_equal(ends.told, 0);
    assert_int_equal(ends.fired, 0);
    play_leave(&aborts, WEIR_REASON_RESET);
    assert_int_equal(aborts.told, 0);
    assert_int_equal(aborts.fired, 0);
    play_leave(&fails_itself, WEIR_REASON_RESET);
    assert_int_equal(fails_itself.told, 0);
    play(&scene); /* nobody leaves */
    assert_int_equal(completes.told, 0);
    assert_int_equal(completes.r, 0);
}

static int order;

static void note_order(void *arg)
{
    order = order * 10 + (int)(uintptr_t)arg;
}

static int nests(struct weir_req *req, void *arg)
{
    (void)arg;
    order = 0;
    assert_int_equal(weir_on_disconnect(req, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_on_disconnect(req, note_order, (void *)1), 0);
    assert_int_equal(weir_on_disconnect(req, note_order, (void *)2), 0);
    assert_int_equal(weir_on_disconnect(req, note_order, (void *)3), 0);
    assert_int_equal(weir_off_disconnect(req), 0);
    assert_int_equal(weir_on_disconnect(req, note_order, (void *)4), 0);
    assert_int_equal(weir_sleep(-1), WEIR_ECANCELED);
    assert_int_equal(order, 421);
    assert_int_equal(weir_off_disconnect(req), 1);
    assert_int_equal(weir_off_disconnect(req), 1);
    return WEIR_ECANCELED; /* the first one stays */
}

static void registrations_nest(void **state)
{
    struct scene scene = {.handler = nests, .steps = leaves, .count = COUNT(leaves)};

    (void)state;
    play(&scene);
    assert_int_equal(order, 421);
    for (int n = 1; n < 4; n++) {
        /* Without memory for the nested ones. */
        scene.handler = sleeps;
        scene.arg = &(struct leave){0};
        play_failing(&scene, n);
    }
}

static int sleeps_on_a_thread(struct weir_req *req, void *arg)
{
    struct leave *leave = arg;
    struct weir_sink *sink;
    struct weir_chunk *chunk;
    enum weir_reason reason;

    must(weir_on_disconnect(req, note_leave, leave) == 0);
    must(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink) == 0);
    leave->r = weir_sleep(-1);
    must(weir_req_gone(req, &reason) && reason == WEIR_REASON_RESET);
    must(weir_sleep(0) == 0); /* once */
    must(weir_next(weir_req_body(req), -1, &chunk) == WEIR_ERESET);
    must(weir_emit_bytes(sink, weir_str("x"), -1) == WEIR_ERESET); /* for good */
    must(weir_end(sink, NULL) == WEIR_ERESET);
    weir_sink_destroy(sink);
    leave->fired = weir_off_disconnect(req);
    return leave->r;
}

static void a_leave_ends_what_a_thread_waits_for(void **state)
{
    struct leave leave = {0};
    struct scene scene = {
        .steps = leaves, .count = COUNT(leaves), .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    play_blocking(&scene, sleeps_on_a_thread, &leave);
    assert_int_equal(leave.r, WEIR_ECANCELED);
    assert_int_equal(leave.told, 1);
    assert_int_equal(leave.fired, 1);
    assert_true(scene.result.aborted && !scene.result.ended);
}

static int stop_pools(void **state)
{
    (void)state;
    weir__relay_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_pass_with_the_bounds_of_a_fiber),
        cmocka_unit_test(every_call_works_on_a_thread),
        cmocka_unit_test(producers_work_on_a_thread),
        cmocka_unit_test(on_loop_is_a_plain_call_in_a_fiber),
        cmocka_unit_test(its_result_is_the_handlers),
        cmocka_unit_test(v10_a_leave_is_told_at_once),
        cmocka_unit_test(who_registers_late_is_told_at_once),
        cmocka_unit_test(nothing_else_is_a_leave),
        cmocka_unit_test(registrations_nest),
        cmocka_unit_test(a_leave_ends_what_a_thread_waits_for),
    };

    return cmocka_run_group_tests(tests, NULL, stop_pools);
}
