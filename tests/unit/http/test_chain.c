/* SPDX-License-Identifier: MIT */
/* Middleware around a handler, reply filters around its head and body, and what is known once both are over. */
#include "http_test.h"

#include <weir/middleware.h>

static char calls[512];

static void note(const char *text)
{
    size_t len = strlen(calls);

    snprintf(calls + len, sizeof(calls) - len, "%s ", text);
}

static struct weir_answer answer; /* as the outermost middleware saw it */
static int answer_code;

static int observe(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    answer_code = weir_chain_run(next, req);
    weir_req_answer(req, &answer);
    return answer_code;
}

static void play_chain(struct scene *scene, const struct weir_middleware *items, size_t count,
                       weir_handler_fn *handler, void *arg)
{
    struct weir_middleware all[8] = {{observe, NULL}};
    struct weir_chain chain = {all, count + 1, handler, arg};

    if (count > 0) {
        memcpy(all + 1, items, count * sizeof(*items));
    }
    calls[0] = '\0';
    scene->handler = weir_chain_handle;
    scene->arg = &chain;
    play(scene);
}

/* ---- handlers ---- */

static int hello(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "hello");
}

static int fails(struct weir_req *req, void *arg)
{
    (void)req;
    return *(int *)arg;
}

/* Streams `*arg` pieces of 1000 bytes, 100 ms apart. */
static int slow_stream(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    for (int i = 0; i < *(int *)arg && r == 0; i++) {
        r = emit_pattern(sink, (uint64_t)i * 1000, 1000, -1);
        if (r == 0) {
            r = weir_sleep(weir_after_ms(100));
        }
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static int breaks_off(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    if (r == 0) {
        r = emit_pattern(sink, 0, 10, -1);
    }
    return r < 0 ? r : WEIR_EIO;
}

/* ---- the chain ---- */

static int noting(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    char text[16];
    int r;

    note(arg);
    r = weir_chain_run(next, req);
    snprintf(text, sizeof(text), "-%s", (const char *)arg);
    note(text);
    return r;
}

static int refuse(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)next;
    (void)arg;
    return weir_reply_text(req, 403, "no\n");
}

static void the_first_is_outermost(void **state)
{
    struct weir_middleware items[] = {{noting, (char[]){"a"}}, {noting, (char[]){"b"}}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 2, hello, NULL);
    assert_string_equal(calls, "a b -b -a ");
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
    assert_int_equal(answer.body_sent, 5);
    assert_int_equal(answer.error.code, 0);
}

static void one_that_does_not_call_on(void **state)
{
    struct weir_middleware items[] = {{refuse, NULL}, {noting, (char[]){"b"}}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 2, hello, NULL);
    assert_string_equal(calls, "");
    assert_int_equal(answer.status, 403);
}

static int twice(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    assert_int_equal(weir_chain_run(next, req), 0);
    assert_int_equal(weir_chain_run(next, req), WEIR_ESTATE);
    return 0;
}

static void running_on_twice(void **state)
{
    struct weir_middleware items[] = {{twice, NULL}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 1, hello, NULL);
    assert_int_equal(scene.result.ends, 1);
}

/* The status that a failed handler is mapped to is sent inside of the chain, where it can be seen. */
static void a_failed_handler_has_a_status(void **state)
{
    static const struct {
        int code, status;
    } cases[] = {{WEIR_ELIMIT, 413}, {WEIR_EREFUSED, 403}, {WEIR_EIO, 500}, {0, 500}};
    struct scene scene;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int code = cases[i].code;

        scene = (struct scene){0};
        play_chain(&scene, NULL, 0, fails, &code);
        assert_int_equal(scene.result.status, cases[i].status);
        assert_int_equal(answer.status, cases[i].status);
        assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
        assert_int_equal(answer_code, code);
    }
}

/* V14: what is taken before the call is held until the stream has ended. */
static void v14_the_call_lasts_as_long_as_the_stream(void **state)
{
    int pieces = 5;
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, NULL, 0, slow_stream, &pieces);
    assert_int_equal(answer.duration_us, 500000);
    assert_int_equal(answer.body_sent, 5000);
    assert_int_equal(answer.stall.wait_source_us, 500000);
    assert_int_equal(answer.stall.wall_us, 500000);
}

static void outcomes(void **state)
{
    int pieces = 50;
    struct scene scene = {.steps = (struct weir__memory_step[]){{250, WEIR__MEMORY_GONE,
                                                                 .reason = WEIR_REASON_RESET}},
                          .count = 1};

    (void)state;
    play_chain(&scene, NULL, 0, slow_stream, &pieces);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_CLIENT_GONE);
    assert_int_equal(answer.error.reason, WEIR_REASON_RESET);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.duration_us, 250000);

    scene = (struct scene){.opts = {.socket = 1500, .limits = {.write_stall_ms = 2000}}};
    play_chain(&scene, NULL, 0, slow_stream, &pieces);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_CLIENT_STALLED);
    assert_true(answer.stall.socket_us >= 2000000);

    scene = (struct scene){0};
    play_chain(&scene, NULL, 0, breaks_off, NULL);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_ABORTED);
    assert_int_equal(answer.status, 200);
    assert_true(scene.result.aborted);

    scene = (struct scene){.steps = (struct weir__memory_step[]){{250, WEIR__MEMORY_GONE,
                                                                  .reason = WEIR_REASON_SHUTDOWN}},
                           .count = 1};
    play_chain(&scene, NULL, 0, slow_stream, &pieces);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_SHUTDOWN);
    for (int i = 0; i <= WEIR_OUTCOME_SHUTDOWN; i++) {
        assert_string_not_equal(weir_outcome_name((enum weir_outcome)i), "?");
    }
}

static const char key_a, key_b;

static int put_value(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_req_value value = {.key = &key_a, .value = arg};
    int r;

    weir_req_put(req, &value);
    r = weir_chain_run(next, req);
    assert_ptr_equal(weir_req_get(req, &key_a), arg);
    return r;
}

static int get_value(struct weir_req *req, void *arg)
{
    assert_ptr_equal(weir_req_get(req, &key_a), arg);
    assert_null(weir_req_get(req, &key_b));
    return weir_reply_empty(req, 204, NULL);
}

static void values(void **state)
{
    int outer = 1;
    int inner = 2;
    struct weir_middleware items[] = {{put_value, &outer}, {put_value, &inner}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 2, get_value, &inner);
    assert_int_equal(scene.result.status, 204);
}

/* ---- filters ---- */

struct shout {
    struct weir_reply_filter filter;
    const char *name;
};

/* Adds a field with its name; the last hooked one comes first. */
static int shout_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                       struct weir_sink **ret)
{
    struct shout *shout = (struct shout *)(void *)filter;
    struct weir_fields *fields;
    int r = weir_reply_edit(reply, &fields);

    if (r == 0) {
        r = weir_fields_add(fields, weir_str("X-Shout"), weir_str(shout->name));
    }
    return r < 0 ? r : weir_reply_next(reply, ret);
}

static int shouting(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct shout shout = {{.begin = shout_begin}, arg};

    weir_req_filter_reply(req, &shout.filter);
    return weir_chain_run(next, req);
}

static int keeps_its_fields(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r;

    (void)arg;
    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("X-Own"), weir_str("1")), 0);
    assert_int_equal(weir_inform(req, 103, fields), 0); /* passes the filters by */
    r = weir_reply_empty(req, 200, fields);
    assert_int_equal(weir_fields_count(fields), 1);
    return r;
}

static void filters_alter_a_copy(void **state)
{
    struct weir_middleware items[] = {{shouting, (char[]){"outer"}}, {shouting, (char[]){"inner"}}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 2, keeps_its_fields, NULL);
    assert_string_equal(scene_trace,
                        "0 inform 103\n  X-Own: 1\n"
                        "0 begin 200 length=0\n  X-Own: 1\n  X-Shout: inner\n  X-Shout: outer\n"
                        "0 end\n0 finished\n");
}

static void a_mapped_status_is_filtered_too(void **state)
{
    struct weir_middleware items[] = {{shouting, (char[]){"x"}}};
    int code = WEIR_ENOTFOUND;
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 1, fails, &code);
    assert_non_null(strstr(scene_trace, "begin 404 length=10\n  Content-Type: text/plain; "
                                        "charset=utf-8\n  X-Shout: x\n"));
}

/* A sink that sends every byte twice, as a filter that alters the length. */
struct doubler {
    struct weir_sink *inner;
};

static int doubler_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct doubler *doubler = state;
    int r = weir_emit(doubler->inner, chunk, deadline);

    return r < 0 ? (weir_chunk_unref(chunk), r) : weir_emit_take(doubler->inner, chunk, -1);
}

static int doubler_end(void *state, struct weir_fields *trailers)
{
    return weir_end(((struct doubler *)state)->inner, trailers);
}

static void doubler_abort(void *state, enum weir_reason reason)
{
    weir_abort(((struct doubler *)state)->inner, reason);
}

static void doubler_destroy(void *state)
{
    weir_sink_destroy(((struct doubler *)state)->inner);
    weir_free(state);
}

static int double_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                        struct weir_sink **ret)
{
    static const struct weir_sink_ops ops = {.name = "doubler",
                                             .emit = doubler_emit,
                                             .end = doubler_end,
                                             .abort = doubler_abort,
                                             .destroy = doubler_destroy};
    struct doubler *doubler = weir_alloc(sizeof(*doubler));
    int r;

    (void)filter;
    assert_non_null(doubler);
    assert_true(weir_reply_has_body(reply));
    weir_reply_set_length(reply, weir_reply_length(reply) * 2);
    weir_reply_set_status(reply, 203);
    r = weir_reply_next(reply, &doubler->inner);
    if (r < 0) {
        weir_free(doubler);
        return r;
    }
    assert_int_equal(weir_reply_next(reply, ret), WEIR_ESTATE);
    return weir_sink_create_take(&ops, doubler, ret);
}

static int doubling(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_reply_filter filter = {.begin = double_begin};

    (void)arg;
    weir_req_filter_reply(req, &filter);
    return weir_chain_run(next, req);
}

static void filters_wrap_the_sink(void **state)
{
    struct weir_middleware items[] = {{doubling, NULL}, {doubling, NULL}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 2, hello, NULL);
    assert_non_null(strstr(scene_trace, "begin 203 length=20\n"));
    assert_int_equal(scene.result.taken, 20);
    assert_true(scene.result.ended);
    assert_int_equal(answer.body_sent, 20);
    assert_int_equal(answer.status, 203);
}

static void a_wrapped_sink_that_is_dropped_is_an_abort(void **state)
{
    struct weir_middleware items[] = {{doubling, NULL}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 1, breaks_off, NULL);
    assert_true(scene.result.aborted);
    assert_false(scene.result.ended);
}

/* Filters that do what they must not. */
static int lazy_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                      struct weir_sink **ret)
{
    (void)filter;
    (void)reply;
    (void)ret;
    return 0;
}

static int late_failure_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                              struct weir_sink **ret)
{
    struct weir_sink *sink = NULL;
    int r = weir_reply_next(reply, &sink);

    (void)filter;
    (void)ret;
    weir_sink_destroy(sink);
    return r < 0 ? r : WEIR_EIO;
}

static int early_failure_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                               struct weir_sink **ret)
{
    (void)filter;
    return weir_reply_status(reply) == 200 ? WEIR_EBUDGET : weir_reply_next(reply, ret);
}

static int bad_filter(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_reply_filter filter = {.begin = *(weir_reply_filter_fn **)arg};

    weir_req_filter_reply(req, &filter);
    return weir_chain_run(next, req);
}

static void filters_that_fail(void **state)
{
    weir_reply_filter_fn *lazy = lazy_begin;
    weir_reply_filter_fn *late = late_failure_begin;
    weir_reply_filter_fn *early = early_failure_begin;
    struct weir_middleware items[] = {{bad_filter, &early}};
    struct scene scene = {0};

    (void)state;
    play_chain(&scene, items, 1, hello, NULL);
    assert_int_equal(scene.result.status, 503);
    assert_true(scene.result.ended);

    items[0].arg = &late;
    scene = (struct scene){0};
    play_chain(&scene, items, 1, hello, NULL);
    assert_true(scene.result.aborted);
    assert_false(scene.result.ended);

    items[0].arg = &lazy; /* even then the client gets an answer: from outside of that filter */
    scene = (struct scene){0};
    play_chain(&scene, items, 1, hello, NULL);
    assert_int_equal(scene.result.status, 500);
}

/* ---- a head that is kept back ---- */

struct kept {
    struct weir_reply *reply;
    size_t bytes;
};

static int kept_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct kept *kept = state;

    (void)deadline;
    kept->bytes += weir_chunk_len(chunk);
    weir_chunk_unref(chunk);
    return 0;
}

/* The body becomes its length in words. */
static int kept_end(void *state, struct weir_fields *trailers)
{
    struct kept *kept = state;
    struct weir_sink *sink = NULL;
    char text[32];
    int len = snprintf(text, sizeof(text), "%zu bytes", kept->bytes);
    int r;

    weir_reply_set_length(kept->reply, (uint64_t)len);
    r = weir_reply_next(kept->reply, &sink);
    if (r == 0) {
        r = weir_emit_bytes(sink, weir_bytes(text, (size_t)len), -1);
    }
    if (r == 0) {
        r = weir_end(sink, trailers);
    }
    weir_sink_destroy(sink);
    return r;
}

static void kept_destroy(void *state)
{
    weir_reply_destroy(((struct kept *)state)->reply);
    weir_free(state);
}

static int keep_begin(struct weir_reply_filter *filter, struct weir_reply *reply,
                      struct weir_sink **ret)
{
    static const struct weir_sink_ops ops = {
        .name = "kept", .emit = kept_emit, .end = kept_end, .destroy = kept_destroy};
    struct kept *kept;
    int r;

    (void)filter;
    if (weir_reply_status(reply) != 200) {
        return weir_reply_next(reply, ret);
    }
    kept = weir_alloc0(sizeof(*kept));
    if (kept == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir_reply_keep(reply, &kept->reply);
    if (r < 0) {
        weir_free(kept);
        return r;
    }
    return weir_sink_create_take(&ops, kept, ret);
}

static int keeping(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_reply_filter filter = {.begin = keep_begin};

    (void)arg;
    weir_req_filter_reply(req, &filter);
    return weir_chain_run(next, req);
}

static int begins_and_fails(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_sink *other = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    if (r == 0) {
        assert_true(weir_req_is_begun(req));
        assert_int_equal(weir_stream_begin(req, 200, NULL, 0, &other), WEIR_ESTATE);
        assert_int_equal(weir_inform(req, 103, NULL), WEIR_ESTATE);
        r = *(int *)arg;
    }
    return r;
}

static void a_head_that_is_kept_back(void **state)
{
    struct weir_middleware items[] = {
        {shouting, (char[]){"out"}}, {keeping, NULL}, {keeping, NULL}, {shouting, (char[]){"in"}}};
    struct scene scene = {0};
    int code = WEIR_EREFUSED;

    (void)state;
    play_chain(&scene, items, 4, hello, NULL);
    /* "hello" -> "5 bytes" -> "7 bytes" */
    assert_string_equal(scene_trace, "0 begin 200 length=7\n"
                                     "  Content-Type: text/plain; charset=utf-8\n"
                                     "  X-Shout: in\n  X-Shout: out\n"
                                     "0 body 7\n0 end\n0 finished\n");
    assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);

    scene = (struct scene){0};
    play_chain(&scene, items, 4, begins_and_fails, &code);
    assert_int_equal(scene.result.status, 403); /* nothing had left */
    assert_true(scene.result.ended);
}

static void while_allocations_fail(void **state)
{
    struct weir_middleware all[] = {
        {observe, NULL}, {shouting, (char[]){"out"}}, {keeping, NULL}, {shouting, (char[]){"in"}}};
    struct weir_chain chain = {all, 4, hello, NULL};
    bool complete = false;

    (void)state;
    for (int64_t n = 1; !complete && n < 100; n++) {
        struct scene scene = {.handler = weir_chain_handle, .arg = &chain};

        play_failing(&scene, n);
        complete = scene.result.ended && scene.result.status == 200;
    }
    assert_true(complete);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_outermost),
        cmocka_unit_test(one_that_does_not_call_on),
        cmocka_unit_test(running_on_twice),
        cmocka_unit_test(a_failed_handler_has_a_status),
        cmocka_unit_test(v14_the_call_lasts_as_long_as_the_stream),
        cmocka_unit_test(outcomes),
        cmocka_unit_test(values),
        cmocka_unit_test(filters_alter_a_copy),
        cmocka_unit_test(a_mapped_status_is_filtered_too),
        cmocka_unit_test(filters_wrap_the_sink),
        cmocka_unit_test(a_wrapped_sink_that_is_dropped_is_an_abort),
        cmocka_unit_test(filters_that_fail),
        cmocka_unit_test(a_head_that_is_kept_back),
        cmocka_unit_test(while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
