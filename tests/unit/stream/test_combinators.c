/* SPDX-License-Identifier: MIT */
/* limit, rechunk, timeout, rate: each by itself, on a fake clock. */
#include <weir/combinators.h>
#include <weir/sources.h>

#include "stream_test.h"

static void fiber_test(void (*fn)(void *arg))
{
    struct world world;

    assert_true(world_run(&world, fn, &world));
}
#define FIBER_TEST(name)                \
    static void name##_body(void *arg); \
    static void name(void **state)      \
    {                                   \
        (void)state;                    \
        fiber_test(name##_body);        \
    }                                   \
    static void name##_body(void *arg)

/* Reads to the end; returns its result. */
static int drain(struct weir_source *source, uint64_t *ret_bytes)
{
    struct weir_chunk *chunk;
    int r;

    *ret_bytes = 0;
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        *ret_bytes += pattern_check(chunk, *ret_bytes);
    }
    return r;
}

/* ---- limit ---- */

FIBER_TEST(limit_counts_exactly)
{
    static const struct step steps[] = {{0, 10, 0}, {1, 10, 0}, {1, 0, 0}};

    (void)arg;
    for (uint64_t max = 1; max <= 22; max++) {
        struct script script;
        struct weir_source *source;
        struct weir_error error;
        uint64_t got;
        int r;

        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_limit_create_take(source, max, &source), 0);
        r = drain(source, &got);
        assert_int_equal(r, max < 20 ? WEIR_ELIMIT : 0);
        assert_int_equal(got, max < 20 ? max : 20);
        assert_true(script.position <= max + 1);
        weir_source_error(source, &error);
        assert_int_equal(error.reason, max < 20 ? WEIR_REASON_LIMIT : WEIR_REASON_NONE);
        assert_int_equal(script.cancels, max < 20); /* at once, not at destroy */
        weir_source_destroy(source);
        assert_int_equal(script.reason, max < 20 ? WEIR_REASON_LIMIT : WEIR_REASON_NONE);
        assert_int_equal(script.destroys, 1);
        assert_int_equal(script.cancels, max < 20);
    }
}

FIBER_TEST(limit_passes_failures_on)
{
    static const struct step steps[] = {{0, 10, 0}, {0, 0, WEIR_EIO}};
    struct script script;
    struct weir_source *source;
    struct weir_error error;
    uint64_t got;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_limit_create_take(source, 10, &source), 0);
    assert_int_equal(drain(source, &got), WEIR_EIO);
    assert_int_equal(got, 10);
    weir_source_error(source, &error);
    assert_int_equal(error.native, 77);
    assert_string_equal(error.where, "script");
    assert_int_equal(error.side, WEIR_SIDE_SOURCE);
    weir_source_destroy(source);
}

FIBER_TEST(bad_arguments_consume_the_source)
{
    static const struct step steps[] = {{0, 0, 0}};
    struct weir_source *source, *out;
    struct script script;

    (void)arg;
#define REFUSED(call)                                            \
    assert_int_equal(script_source(&script, steps, &source), 0); \
    assert_int_equal(call, WEIR_EINVAL);                         \
    assert_int_equal(script.destroys, 1);                        \
    assert_int_equal(script.cancels, 1)
    REFUSED(weir_limit_create_take(source, 0, &out));
    REFUSED(weir_rechunk_create_take(source, 2, 1, &out));
    REFUSED(weir_rechunk_create_take(source, 0, WEIR_CHUNK_BYTES + 1, &out));
    REFUSED(weir_timeout_create_take(source, 0, 0, &out));
    REFUSED(weir_timeout_create_take(source, -1, 5, &out));
    REFUSED(weir_timeout_create_take(source, 5, -1, &out));
    REFUSED(weir_rate_create_take(source, 0, 1, &out));
    REFUSED(weir_rate_create_take(source, UINT64_MAX, 1, &out));
    REFUSED(weir_rate_create_take(source, 1, UINT64_MAX, &out));
    assert_int_equal(weir_limit_create_take(NULL, 1, &out), WEIR_EINVAL);
    assert_int_equal(weir_rechunk_create_take(NULL, 0, 0, &out), WEIR_EINVAL);
    assert_int_equal(weir_timeout_create_take(NULL, 1, 1, &out), WEIR_EINVAL);
    assert_int_equal(weir_rate_create_take(NULL, 1, 1, &out), WEIR_EINVAL);
}

/* ---- rechunk ---- */

static size_t next_len(struct weir_source *source, uint64_t *position)
{
    struct weir_chunk *chunk;
    size_t len;

    assert_int_equal(weir_next(source, -1, &chunk), 1);
    len = pattern_check(chunk, *position);
    *position += len;
    return len;
}

FIBER_TEST(rechunk_joins_what_is_there)
{
    /* Five small ones at once, then a pause, a large one, a small one, the end. */
    static const struct step steps[] = {{0, 3, 0}, {0, 3, 0},  {0, 3, 0}, {0, 3, 0}, {0, 3, 0},
                                        {5, 1, 0}, {5, 40, 0}, {0, 2, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t position = 0;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_rechunk_create_take(source, 8, 16, &source), 0);
    assert_int_equal(next_len(source, &position), 8);
    assert_int_equal(next_len(source, &position), 7); /* the rest would block */
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(next_len(source, &position), 1);
    assert_int_equal(next_len(source, &position), 16);
    assert_int_equal(next_len(source, &position), 16);
    assert_int_equal(next_len(source, &position), 8);
    assert_int_equal(next_len(source, &position), 2);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_destroy(source);
    assert_int_equal(script.destroys, 1);
}

FIBER_TEST(rechunk_delivers_before_a_failure)
{
    static const struct step steps[] = {{0, 3, 0}, {0, 2, 0}, {0, 0, WEIR_EIO}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;
    uint64_t position = 0;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_rechunk_create_take(source, 8, 0, &source), 0);
    assert_int_equal(next_len(source, &position), 5);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_EIO);
    weir_source_error(source, &error);
    assert_int_equal(error.native, 77);
    weir_source_destroy(source);
}

FIBER_TEST(rechunk_does_not_copy_what_is_large)
{
    uint8_t bytes[64];
    struct weir_source *source;
    struct weir_chunk *first, *second;

    (void)arg;
    pattern_fill(bytes, sizeof(bytes), 0);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, sizeof(bytes)), &source), 0);
    assert_int_equal(weir_rechunk_create_take(source, 16, 32, &source), 0);
    assert_int_equal(weir_next(source, -1, &first), 1);
    assert_int_equal(weir_next(source, -1, &second), 1);
    assert_int_equal(weir_chunk_len(first), 32);
    assert_ptr_equal(weir_chunk_view(first).data + 32, weir_chunk_view(second).data);
    weir_chunk_unref(first);
    weir_chunk_unref(second);
    weir_source_destroy(source);
}

/* ---- timeout ---- */

FIBER_TEST(idle_runs_only_while_waiting)
{
    static const struct step steps[] = {{90, 1, 0}, {90, 1, 0}, {101, 1, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;
    uint64_t position = 0;
    int64_t before;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_timeout_create_take(source, 100, 0, &source), 0);
    next_len(source, &position);
    assert_int_equal(weir_sleep(weir_after_ms(5000)), 0); /* a slow reader is no stall */
    next_len(source, &position);
    before = weir_now();
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ESTALLED);
    assert_int_equal(weir_now() - before, 100);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ESTALLED);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_STALL);
    assert_int_equal(error.side, WEIR_SIDE_SOURCE);
    assert_int_equal(script.cancels, 1);
    assert_int_equal(script.reason, WEIR_REASON_STALL);
    weir_source_destroy(source);
    assert_int_equal(script.cancels, 1);
}

FIBER_TEST(idle_adds_up_over_short_waits)
{
    static const struct step steps[] = {{1000, 1, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    int waits = 0;
    int r;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_timeout_create_take(source, 100, 0, &source), 0);
    while ((r = weir_next(source, weir_after_ms(30), &chunk)) == WEIR_ETIMEDOUT) {
        assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
        assert_int_equal(weir_sleep(weir_after_ms(50)), 0);
        waits++;
    }
    assert_int_equal(r, WEIR_ESTALLED);
    assert_int_equal(waits, 3);
    weir_source_destroy(source);
}

FIBER_TEST(total_runs_always)
{
    static const struct step steps[] = {{10, 1, 0}, {10, 1, 0}, {500, 1, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;
    uint64_t position = 0;

    (void)arg;
    assert_int_equal(weir_sleep(weir_after_ms(1000)), 0);
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_timeout_create_take(source, 0, 100, &source), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1000)), 0); /* not begun */
    next_len(source, &position);
    assert_int_equal(weir_sleep(weir_after_ms(85)), 0);
    assert_int_equal(weir_next(source, weir_after_ms(2), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_sleep(weir_after_ms(3)), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_ESTALLED);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_TIMEOUT);
    assert_int_equal(script.reason, WEIR_REASON_TIMEOUT);
    weir_source_destroy(source);
}

FIBER_TEST(a_stall_of_the_inner_one_keeps_its_story)
{
    static const struct step steps[] = {{500, 1, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_timeout_create_take(source, 10, 0, &source), 0);
    assert_int_equal(weir_timeout_create_take(source, 0, 300, &source), 0);
    assert_int_equal(weir_limit_create_take(source, 10, &source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ESTALLED);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_STALL);
    assert_string_equal(error.where, "timeout: idle");
    weir_source_destroy(source);
    assert_int_equal(script.cancels, 1);
}

/* ---- rate ---- */

FIBER_TEST(rate_holds_over_any_span)
{
    static const struct step steps[] = {{0, 100000, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct world *world = arg;
    struct weir__stall stall;
    int64_t begun = world->loop->now_us;
    int64_t took;
    uint64_t got = 0;
    int r;

    weir__stall_begin(&stall, WEIR__STALL_MOVING, begun);
    weir__fiber_current()->stall = &stall;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_rate_create_take(source, 10000, 2000, &source), 0);
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        int64_t now = world->loop->now_us;

        got += pattern_check(chunk, got);
        assert_true((int64_t)got <= 2000 + (now - begun) * 10000 / 1000000);
    }
    assert_int_equal(r, 0);
    assert_int_equal(got, 100000);
    took = world->loop->now_us - begun;
    assert_in_range(took, 9800000, 9900000); /* and not slower than it must be */
    weir__fiber_current()->stall = NULL;
    weir__stall_end(&stall, world->loop->now_us);
    assert_int_equal(stall.spent_us[WEIR__STALL_SHAPED], took);
    assert_int_equal(stall.spent_us[WEIR__STALL_MOVING], 0);
    weir_source_destroy(source);
}

FIBER_TEST(rate_keeps_the_callers_deadline)
{
    static const struct step steps[] = {{0, 1000, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t position = 0;
    int64_t before;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_rate_create_take(source, 1, 5, &source), 0);
    assert_int_equal(next_len(source, &position), 5);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    before = weir_now();
    assert_int_equal(weir_next(source, weir_after_ms(400), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(weir_now() - before, 400);
    assert_int_equal(next_len(source, &position), 1);
    assert_int_equal(weir_now() - before, 1000);
    assert_int_equal(weir_sleep(weir_after_ms(3600000)), 0);
    assert_int_equal(next_len(source, &position), 5); /* a rest earns the burst, no more */
    weir_source_destroy(source);
    assert_int_equal(script.reason, WEIR_REASON_ABANDONED);
}

FIBER_TEST(rate_at_its_ends)
{
    static const struct step steps[] = {{0, 65536, 0}, {0, 65536, 0}, {0, 0, 0}};
    static const struct {
        uint64_t per_s, burst;
    } cases[] = {{UINT64_C(1000000000000), UINT64_C(1000000000000)},
                 {UINT64_C(1000000000000), 1},
                 {1, UINT64_C(1000000000000)},
                 {100, 0},
                 {3, 0},
                 {999983, 1}};

    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script script;
        struct weir_source *source;
        uint64_t got;

        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_rate_create_take(source, cases[i].per_s, cases[i].burst, &source), 0);
        assert_int_equal(drain(source, &got), 0);
        assert_int_equal(got, 131072);
        weir_source_destroy(source);
    }
}

struct puller {
    struct weir_source *source;
    int result;
};

static int pull_child(void *arg)
{
    struct puller *puller = arg;
    struct weir_chunk *chunk;

    do {
        puller->result = weir_next(puller->source, -1, &chunk);
        if (puller->result == 1) {
            weir_chunk_unref(chunk);
        }
    } while (puller->result == 1);
    return puller->result;
}

/* Cancelled by the source's handle and by the scope: both end the sleep at once. */
FIBER_TEST(a_cancel_ends_the_sleep)
{
    static const struct step steps[] = {{0, 1000, 0}, {0, 0, 0}};

    (void)arg;
    for (int by_scope = 0; by_scope < 2; by_scope++) {
        struct script script;
        struct puller puller;
        struct weir_scope *scope;
        struct weir_error error;
        int64_t before = weir_now();

        assert_int_equal(script_source(&script, steps, &puller.source), 0);
        assert_int_equal(weir_rate_create_take(puller.source, 1, 1, &puller.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, pull_child, &puller), 0);
        assert_int_equal(weir_sleep(weir_after_ms(500)), 0);
        if (by_scope) {
            weir_scope_cancel(scope);
        } else {
            weir_cancel(puller.source, WEIR_REASON_FIN);
        }
        assert_int_equal(weir_scope_join(scope, -1), WEIR_ECANCELED);
        weir_scope_close(scope);
        assert_int_equal(weir_now() - before, 500);
        assert_int_equal(puller.result, WEIR_ECANCELED);
        weir_source_error(puller.source, &error);
        assert_int_equal(error.reason, by_scope ? WEIR_REASON_CANCELED : WEIR_REASON_FIN);
        weir_source_destroy(puller.source);
        assert_int_equal(script.cancels, 1);
        assert_int_equal(script.destroys, 1);
    }
}

/* A cancel goes through a whole chain to the origin, while a fiber waits in it. */
FIBER_TEST(a_cancel_reaches_the_origin)
{
    static const struct step steps[] = {{1000000, 1, 0}};
    struct script script;
    struct puller puller;
    struct weir_scope *scope;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &puller.source), 0);
    assert_int_equal(weir_limit_create_take(puller.source, 10, &puller.source), 0);
    assert_int_equal(weir_rate_create_take(puller.source, 10, 0, &puller.source), 0);
    assert_int_equal(weir_timeout_create_take(puller.source, 900000000, 0, &puller.source), 0);
    assert_int_equal(weir_rechunk_create_take(puller.source, 5, 0, &puller.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, pull_child, &puller), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_cancel(puller.source, WEIR_REASON_SHUTDOWN);
    assert_int_equal(script.cancels, 1);
    assert_int_equal(script.reason, WEIR_REASON_SHUTDOWN);
    assert_int_equal(weir_scope_join(scope, -1), WEIR_ECANCELED);
    weir_scope_close(scope);
    weir_source_destroy(puller.source);
    assert_int_equal(script.destroys, 1);
    assert_int_equal(script.cancels, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_counts_exactly),
        cmocka_unit_test(limit_passes_failures_on),
        cmocka_unit_test(bad_arguments_consume_the_source),
        cmocka_unit_test(rechunk_joins_what_is_there),
        cmocka_unit_test(rechunk_delivers_before_a_failure),
        cmocka_unit_test(rechunk_does_not_copy_what_is_large),
        cmocka_unit_test(idle_runs_only_while_waiting),
        cmocka_unit_test(idle_adds_up_over_short_waits),
        cmocka_unit_test(total_runs_always),
        cmocka_unit_test(a_stall_of_the_inner_one_keeps_its_story),
        cmocka_unit_test(rate_holds_over_any_span),
        cmocka_unit_test(rate_keeps_the_callers_deadline),
        cmocka_unit_test(rate_at_its_ends),
        cmocka_unit_test(a_cancel_ends_the_sleep),
        cmocka_unit_test(a_cancel_reaches_the_origin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
