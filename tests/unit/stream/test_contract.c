/* SPDX-License-Identifier: MIT */
/* The contract of every source and sink, whatever it is made of: what the wrappers promise for any operations. */
#include "stream_test.h"

static void fiber_test(void **state, void (*fn)(void *arg))
{
    struct world world;

    (void)state;
    assert_true(world_run(&world, fn, &world));
}
#define FIBER_TEST(name)                \
    static void name##_body(void *arg); \
    static void name(void **state)      \
    {                                   \
        fiber_test(state, name##_body); \
    }                                   \
    static void name##_body(void *arg)

/* Operations that answer what they are told, in order; the last answer repeats. */
struct told {
    int answers[8];
    unsigned at, calls, ends, cancels, destroys;
    bool wait;       /* next/emit sleep 10 ms first */
    size_t give_len; /* of a chunk */
    enum weir_reason reason;
    struct weir_source *source; /* pulled again from inside */
    struct weir_sink *sink;
    int inner_result;
};

static int told_answer(struct told *told)
{
    unsigned at = told->at;

    told->calls++;
    if (at + 1 < sizeof(told->answers) / sizeof(told->answers[0])) {
        told->at++;
    }
    if (told->wait) {
        WEIR_IGNORE(weir_sleep(weir_after_ms(10)));
    }
    return told->answers[at];
}

static int told_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct told *told = state;
    int r = told_answer(told);

    (void)max_bytes;
    (void)deadline;
    if (told->source != NULL) {
        struct weir_chunk *chunk;

        told->inner_result = weir_next(told->source, 0, &chunk);
    }
    if (r == 1 && told->give_len > 0) {
        assert_int_equal(weir_chunk_create(told->give_len, ret), 0);
    }
    return r;
}

static void told_cancel(void *state, enum weir_reason reason)
{
    struct told *told = state;

    told->cancels++;
    told->reason = reason;
}

static void told_destroy(void *state)
{
    ((struct told *)state)->destroys++;
}

static const struct weir_source_ops told_source_ops = {
    .next = told_next, .cancel = told_cancel, .destroy = told_destroy};

static int told_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct told *told = state;
    int r = told_answer(told);

    (void)deadline;
    if (told->sink != NULL) {
        told->inner_result = weir_emit_bytes(told->sink, weir_str("x"), 0);
    }
    weir_chunk_unref(chunk);
    return r;
}

static int told_end(void *state, struct weir_fields *trailers)
{
    struct told *told = state;

    (void)trailers;
    told->ends++;
    return told_answer(told);
}

static const struct weir_sink_ops told_sink_ops = {.name = "told",
                                                   .emit = told_emit,
                                                   .end = told_end,
                                                   .abort = told_cancel,
                                                   .destroy = told_destroy};

static int told_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    struct told *told = state;

    (void)deadline;
    *ret_room = 0;
    return told_answer(told);
}

static const struct weir_sink_ops told_waiting_ops = {.name = "told",
                                                      .emit = told_emit,
                                                      .wait_writable = told_wait_writable,
                                                      .end = told_end,
                                                      .abort = told_cancel,
                                                      .destroy = told_destroy};

/* ---- sources ---- */

FIBER_TEST(an_end_stays)
{
    struct told told = {.answers = {1, 0, 1}, .give_len = 3};
    struct weir_source *source;
    struct weir_chunk *chunk = NULL;
    struct weir_error error;

    (void)arg;
    assert_int_equal(weir_source_create_take(&told_source_ops, &told, &source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    chunk = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weir_next(source, -1, &chunk), 0);
        assert_null(chunk);
    }
    assert_int_equal(told.calls, 2);
    weir_cancel(source, WEIR_REASON_STALL);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_error(source, &error);
    assert_int_equal(error.code, 0);
    weir_source_destroy(source);
    assert_int_equal(told.cancels, 0);
    assert_int_equal(told.destroys, 1);
}

FIBER_TEST(every_final_error_stays)
{
    static const int codes[] = {WEIR_ECANCELED, WEIR_ETRUNCATED, WEIR_ERESET, WEIR_ECLOSED,
                                WEIR_ESTALLED,  WEIR_EPROTO,     WEIR_ELIMIT, WEIR_EBUDGET,
                                WEIR_ENOMEM,    WEIR_EIO,        WEIR_EFLOW,  -501};

    (void)arg;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct told told = {.answers = {codes[i], 1}, .give_len = 3};
        struct weir_source *source;
        struct weir_chunk *chunk = NULL;
        struct weir_error error;

        assert_int_equal(weir_source_create_take(&told_source_ops, &told, &source), 0);
        for (int n = 0; n < 3; n++) {
            assert_int_equal(weir_next(source, n - 1, &chunk), codes[i]);
        }
        assert_null(chunk);
        assert_int_equal(told.calls, 1);
        weir_source_error(source, &error);
        assert_int_equal(error.code, codes[i]);
        assert_non_null(error.where);
        weir_source_destroy(source);
        assert_int_equal(told.cancels, 1); /* the peer learns of a failure on our side */
        assert_int_equal(told.reason, WEIR_REASON_ABANDONED);
        assert_int_equal(told.destroys, 1);
    }
}

FIBER_TEST(waits_that_end_are_not_final)
{
    struct told told = {.answers = {WEIR_EAGAIN, WEIR_ETIMEDOUT, WEIR_EBUSY, WEIR_ETIMEDOUT, 1, 0},
                        .give_len = 1};
    struct weir_source *source;
    struct weir_chunk *chunk = NULL;

    (void)arg;
    assert_int_equal(weir_source_create_take(&told_source_ops, &told, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_next(source, 5, &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(weir_next(source, 5, &chunk), WEIR_EBUSY);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN); /* whatever the source calls it */
    assert_null(chunk);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_destroy(source);
}

FIBER_TEST(a_source_that_breaks_its_promise_fails)
{
    struct told too_long = {.answers = {1}, .give_len = WEIR_CHUNK_BYTES + 1};
    struct told none = {.answers = {1}};
    struct told odd = {.answers = {2}};
    struct told *broken[] = {&too_long, &none, &odd};

    (void)arg;
    for (int i = 0; i < 3; i++) {
        struct weir_source *source;
        struct weir_chunk *chunk = NULL;
        struct weir_error error;

        assert_int_equal(weir_source_create_take(&told_source_ops, broken[i], &source), 0);
        assert_int_equal(weir_next(source, -1, &chunk), WEIR_EINVAL);
        assert_int_equal(weir_next(source, -1, &chunk), WEIR_EINVAL);
        assert_null(chunk);
        weir_source_error(source, &error);
        assert_int_equal(error.side, WEIR_SIDE_SELF);
        weir_source_destroy(source);
    }
}

FIBER_TEST(pulling_from_inside_is_busy)
{
    struct told told = {.answers = {1, 0}, .give_len = 1};
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_source_create_take(&told_source_ops, &told, &source), 0);
    told.source = source;
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    assert_int_equal(told.inner_result, WEIR_EBUSY);
    weir_chunk_unref(chunk);
    told.source = NULL;
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_destroy(source);
}

FIBER_TEST(cancel_is_idempotent_and_first_wins)
{
    struct told told = {.answers = {1}, .give_len = 1};
    struct weir_source *source;
    struct weir_chunk *chunk = NULL;
    struct weir_error error;

    (void)arg;
    assert_int_equal(weir_source_create_take(&told_source_ops, &told, &source), 0);
    weir_cancel(source, WEIR_REASON_STALL);
    weir_cancel(source, WEIR_REASON_LIMIT);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ECANCELED);
    assert_null(chunk);
    assert_int_equal(told.calls, 0);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_STALL);
    assert_int_equal(error.side, WEIR_SIDE_SELF);
    weir_source_destroy(source);
    assert_int_equal(told.cancels, 1);
    assert_int_equal(told.reason, WEIR_REASON_STALL);
    assert_int_equal(told.destroys, 1);
}

struct puller {
    struct weir_source *source;
    struct weir_sink *sink;
    int result, again;
};

static int pull_child(void *arg)
{
    struct puller *puller = arg;
    struct weir_chunk *chunk = NULL;

    puller->result = weir_next(puller->source, weir_after_ms(5), &chunk);
    assert_null(chunk);
    puller->again = weir_next(puller->source, -1, &chunk);
    return 0;
}

/* Whatever the operation answers after it: a chunk, an end, a timeout, an error. */
FIBER_TEST(a_cancel_during_a_call_wins)
{
    static const int answers[] = {1, 0, WEIR_ETIMEDOUT, WEIR_EAGAIN, WEIR_ERESET, WEIR_ECANCELED};

    (void)arg;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct told told = {.answers = {answers[i], 0}, .give_len = 4, .wait = true};
        struct puller puller = {.again = 1};
        struct weir_scope *scope;
        struct weir_error error;

        assert_int_equal(weir_source_create_take(&told_source_ops, &told, &puller.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, pull_child, &puller), 0);
        assert_int_equal(weir_sleep(weir_after_ms(3)), 0);
        weir_cancel(puller.source, WEIR_REASON_SHUTDOWN);
        weir_source_error(puller.source, &error); /* known at once */
        assert_int_equal(error.code, WEIR_ECANCELED);
        assert_int_equal(weir_scope_join(scope, -1), 0);
        weir_scope_close(scope);
        assert_int_equal(puller.result, WEIR_ECANCELED);
        assert_int_equal(puller.again, WEIR_ECANCELED);
        weir_source_error(puller.source, &error);
        assert_int_equal(error.reason, WEIR_REASON_SHUTDOWN);
        assert_int_equal(told.calls, 1);
        weir_source_destroy(puller.source);
    }
}

FIBER_TEST(a_source_without_next_is_refused)
{
    static const struct weir_source_ops no_next = {.destroy = told_destroy};
    static const struct weir_sink_ops no_end = {.emit = told_emit, .destroy = told_destroy};
    struct told told = {0};
    struct weir_source *source;
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_source_create_take(&no_next, &told, &source), WEIR_EINVAL);
    assert_int_equal(told.destroys, 1);
    assert_int_equal(weir_sink_create_take(&no_end, &told, &sink), WEIR_EINVAL);
    assert_int_equal(told.destroys, 2);
    assert_int_equal(weir_source_create_take(NULL, &told, &source), WEIR_EINVAL);
}

/* ---- sinks ---- */

FIBER_TEST(an_abandoned_sink_is_aborted)
{
    struct told told = {0};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str("abc"), -1), 0);
    weir_sink_destroy(sink);
    assert_int_equal(told.ends, 0);
    assert_int_equal(told.cancels, 1);
    assert_int_equal(told.reason, WEIR_REASON_ABANDONED);
    assert_int_equal(told.destroys, 1);
}

FIBER_TEST(only_end_ends)
{
    struct told told = {0};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_end(sink, NULL), 0);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir_emit_bytes(sink, weir_str("late"), -1), WEIR_ESTATE);
    assert_int_equal(weir_wait_writable(sink, -1), WEIR_ESTATE);
    weir_abort(sink, WEIR_REASON_HANDLER);
    weir_sink_destroy(sink);
    assert_int_equal(told.ends, 1);
    assert_int_equal(told.cancels, 0);
}

FIBER_TEST(after_eflow_only_a_wait_goes_on)
{
    struct told told = {.answers = {WEIR_EFLOW, WEIR_ETIMEDOUT, 0, 0, 0}};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_waiting_ops, &told, &sink), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str("a"), 0), WEIR_EFLOW);
    assert_int_equal(weir_emit_bytes(sink, weir_str("b"), 0), WEIR_EFLOW);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(told.calls, 1); /* the sink was not asked again */
    assert_int_equal(weir_wait_writable(sink, 5), WEIR_ETIMEDOUT);
    assert_int_equal(weir_emit_bytes(sink, weir_str("c"), 0), WEIR_EFLOW);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir_wait_writable(sink, -1), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str("d"), 0), 0);
    assert_int_equal(weir_end(sink, NULL), 0);
    weir_sink_destroy(sink);
    assert_int_equal(told.cancels, 0);
}

FIBER_TEST(after_eflow_a_waiting_emit_goes_on)
{
    struct told told = {.answers = {WEIR_EFLOW, WEIR_EBUSY, 0, 0}};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str("a"), 0), WEIR_EFLOW);
    assert_int_equal(weir_emit_bytes(sink, weir_str("a"), -1), WEIR_EBUSY); /* nothing changed */
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir_emit_bytes(sink, weir_str("a"), -1), 0);
    assert_int_equal(weir_end(sink, NULL), 0);
    weir_sink_destroy(sink);
}

/* A program that ignores what emit says can never produce a clean-looking body. */
FIBER_TEST(lost_bytes_never_end_cleanly)
{
    static const int answers[] = {WEIR_EFLOW,   WEIR_ETIMEDOUT, WEIR_ENOMEM,
                                  WEIR_EBUDGET, WEIR_ECLOSED,   WEIR_EAGAIN};

    (void)arg;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct told told = {.answers = {answers[i], 0, 0}};
        struct weir_sink *sink;

        assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
        WEIR_IGNORE(weir_emit_bytes(sink, weir_str("x"), answers[i] == WEIR_EFLOW ? 0 : -1));
        assert_int_not_equal(weir_end(sink, NULL), 0);
        weir_sink_destroy(sink);
        assert_int_equal(told.ends, 0);
        assert_int_equal(told.cancels, 1);
    }
}

FIBER_TEST(bytes_that_found_no_memory_never_end_cleanly)
{
    struct told told = {0};
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    struct weir_sink *sink;
    uint8_t *large = calloc(1, ((size_t)1 << 20) + 1);

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    weir__budget_set_limit(budget, 1);
    assert_int_equal(weir_emit_bytes(sink, weir_str("x"), -1), WEIR_EBUDGET);
    weir__budget_set_limit(budget, limit);
    assert_int_equal(weir_emit_bytes(sink, weir_str("x"), -1), WEIR_EBUDGET);
    assert_int_equal(weir_end(sink, NULL), WEIR_EBUDGET);
    weir_sink_destroy(sink);
    assert_int_equal(told.calls, 0);

    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_bytes(large, ((size_t)1 << 20) + 1), 0),
                     WEIR_EINVAL);
    assert_int_equal(weir_end(sink, NULL), WEIR_EINVAL);
    weir_sink_destroy(sink);
    free(large);
}

FIBER_TEST(a_sink_that_cannot_say_when_lets_the_loop_turn)
{
    struct told told = {.answers = {WEIR_EFLOW, WEIR_EFLOW, 0, 0}};
    struct weir_sink *sink;
    int tries = 0;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    while (weir_emit_bytes(sink, weir_str("x"), 0) == WEIR_EFLOW) {
        assert_int_equal(weir_wait_writable(sink, -1), 0);
        tries++;
    }
    assert_int_equal(tries, 2);
    assert_int_equal(weir_end(sink, NULL), 0);
    weir_sink_destroy(sink);
}

FIBER_TEST(a_wait_without_waiting_is_not_final)
{
    struct told told = {.answers = {WEIR_EFLOW, WEIR_EAGAIN, WEIR_EBUSY, 0, WEIR_ERESET}};
    struct weir_sink *sink;
    size_t room = 7;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_waiting_ops, &told, &sink), 0);
    assert_int_equal(weir__wait_writable(sink, 0, &room), WEIR_ETIMEDOUT);
    assert_int_equal(weir__wait_writable(sink, 0, &room), WEIR_ETIMEDOUT);
    assert_int_equal(weir__wait_writable(sink, 0, &room), WEIR_EBUSY);
    assert_int_equal(room, 7);
    assert_int_equal(weir__wait_writable(sink, 0, &room), 0);
    assert_int_equal(room, 1); /* a sink that is writable takes something */
    assert_int_equal(weir_wait_writable(sink, -1), WEIR_ERESET);
    assert_int_equal(weir_wait_writable(sink, -1), WEIR_ERESET);
    assert_int_equal(weir_end(sink, NULL), WEIR_ERESET);
    weir_sink_destroy(sink);
}

FIBER_TEST(emitting_from_inside_is_busy)
{
    struct told told = {0};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    told.sink = sink;
    assert_int_equal(weir_emit_bytes(sink, weir_str("x"), -1), 0);
    assert_int_equal(told.inner_result, WEIR_EBUSY);
    told.sink = NULL;
    assert_int_equal(weir_end(sink, NULL), 0);
    weir_sink_destroy(sink);
}

static int emit_child(void *arg)
{
    struct puller *puller = arg;

    puller->result = weir_emit_bytes(puller->sink, weir_str("abc"), -1);
    puller->again = weir_end(puller->sink, NULL);
    return 0;
}

FIBER_TEST(an_abort_during_a_call_wins)
{
    static const int answers[] = {0, WEIR_EFLOW, WEIR_ETIMEDOUT, WEIR_ERESET};

    (void)arg;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct told told = {.answers = {answers[i], 0}, .wait = true};
        struct puller puller = {.again = 1};
        struct weir_scope *scope;
        struct weir_error error;

        assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &puller.sink), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, emit_child, &puller), 0);
        assert_int_equal(weir_sleep(weir_after_ms(3)), 0);
        assert_int_equal(weir_emit_bytes(puller.sink, weir_str("y"), -1), WEIR_EBUSY);
        weir_abort(puller.sink, WEIR_REASON_LIMIT);
        weir_abort(puller.sink, WEIR_REASON_STALL);
        assert_int_equal(weir_scope_join(scope, -1), 0);
        weir_scope_close(scope);
        assert_int_equal(puller.result, WEIR_ECANCELED);
        assert_int_equal(puller.again, WEIR_ECANCELED);
        weir_sink_error(puller.sink, &error);
        assert_int_equal(error.reason, WEIR_REASON_LIMIT);
        weir_sink_destroy(puller.sink);
        assert_int_equal(told.ends, 0);
        assert_int_equal(told.cancels, 1);
    }
}

FIBER_TEST(an_odd_answer_of_end_is_no_end)
{
    struct told told = {.answers = {1}};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_end(sink, NULL), WEIR_EINVAL);
    assert_int_equal(weir_end(sink, NULL), WEIR_EINVAL);
    weir_sink_destroy(sink);
    assert_int_equal(told.cancels, 1);
}

FIBER_TEST(empty_bytes_do_nothing)
{
    struct told told = {.answers = {WEIR_ERESET}};
    struct weir_sink *sink;

    (void)arg;
    assert_int_equal(weir_sink_create_take(&told_sink_ops, &told, &sink), 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str(""), -1), 0);
    assert_int_equal(told.calls, 0);
    assert_int_equal(weir_emit_bytes(sink, weir_str("x"), -1), WEIR_ERESET);
    assert_int_equal(weir_emit_bytes(sink, weir_str(""), -1), WEIR_ERESET);
    weir_sink_destroy(sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_stays),
        cmocka_unit_test(every_final_error_stays),
        cmocka_unit_test(waits_that_end_are_not_final),
        cmocka_unit_test(a_source_that_breaks_its_promise_fails),
        cmocka_unit_test(pulling_from_inside_is_busy),
        cmocka_unit_test(cancel_is_idempotent_and_first_wins),
        cmocka_unit_test(a_cancel_during_a_call_wins),
        cmocka_unit_test(a_source_without_next_is_refused),
        cmocka_unit_test(an_abandoned_sink_is_aborted),
        cmocka_unit_test(only_end_ends),
        cmocka_unit_test(after_eflow_only_a_wait_goes_on),
        cmocka_unit_test(after_eflow_a_waiting_emit_goes_on),
        cmocka_unit_test(lost_bytes_never_end_cleanly),
        cmocka_unit_test(bytes_that_found_no_memory_never_end_cleanly),
        cmocka_unit_test(a_sink_that_cannot_say_when_lets_the_loop_turn),
        cmocka_unit_test(a_wait_without_waiting_is_not_final),
        cmocka_unit_test(emitting_from_inside_is_busy),
        cmocka_unit_test(an_abort_during_a_call_wins),
        cmocka_unit_test(an_odd_answer_of_end_is_no_end),
        cmocka_unit_test(empty_bytes_do_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
