/* SPDX-License-Identifier: MIT */
/* Bytes, channel, generator, and the custom source of the examples. */
#include <weir/combinators.h>

#include "../../../examples/slow_source.h"
#include "sources_test.h"

/* ---- bytes ---- */

FIBER_TEST(bytes_of_any_size)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 3u << 20};
    uint8_t *bytes = malloc(3u << 20);

    (void)arg;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct weir_source *source;
        uint64_t got;

        pattern_fill(bytes, sizes[i], 0);
        assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, sizes[i]), &source), 0);
        memset(bytes, 0, sizes[i]); /* copied: the caller's own may change */
        assert_int_equal(drain(source, &got), 0);
        assert_int_equal(got, sizes[i]);
        weir_source_destroy(source);
    }
    free(bytes);
}

FIBER_TEST(bytes_outlive_their_source)
{
    uint8_t bytes[10];
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    pattern_fill(bytes, sizeof(bytes), 0);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, sizeof(bytes)), &source), 0);
    assert_int_equal(weir__next(source, 4, -1, &chunk), 1);
    weir_source_destroy(source);
    assert_int_equal(pattern_check(chunk, 0), 4);
}

FIBER_TEST(bytes_are_charged)
{
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    size_t before = weir__budget_used(budget);
    struct weir_source *source;
    uint8_t bytes[1000] = {0};

    (void)arg;
    weir__budget_set_limit(budget, before + 999);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, 1000), &source), WEIR_EBUDGET);
    weir__budget_set_limit(budget, limit);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, 1000), &source), 0);
    assert_int_equal(weir__budget_used(budget), before + 1000);
    weir_source_destroy(source);
    assert_int_equal(weir__budget_used(budget), before);
}

/* ---- channel ---- */

FIBER_TEST(a_channel_is_bounded)
{
    struct weir_sink *sink;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t in = 0, out = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &sink, &source), 0);
    assert_int_equal(emit_pattern(sink, 60, &in, 0), 0);
    assert_int_equal(emit_pattern(sink, 41, &in, 0), WEIR_EFLOW);
    assert_int_equal(weir_wait_writable(sink, weir_after_ms(10)), WEIR_ETIMEDOUT);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir__next(source, 10, 0, &chunk), 1); /* the large one in slices */
    out += pattern_check(chunk, out);
    assert_int_equal(weir_wait_writable(sink, 0), 0);
    assert_int_equal(emit_pattern(sink, 50, &in, 0), 0);
    assert_int_equal(emit_pattern(sink, 1, &in, 0), WEIR_EFLOW);
    while (weir_next(source, 0, &chunk) == 1) {
        out += pattern_check(chunk, out);
    }
    assert_int_equal(out, 110);
    assert_int_equal(weir_wait_writable(sink, -1), 0);
    assert_int_equal(emit_pattern(sink, 5000, &in, 0), 0); /* any chunk fits when it is empty */
    assert_int_equal(emit_pattern(sink, 1, &in, 0), WEIR_EFLOW);
    assert_int_equal(weir_next(source, 0, &chunk), 1);
    out += pattern_check(chunk, out);
    assert_int_equal(weir_wait_writable(sink, -1), 0);
    assert_int_equal(weir_end(sink, NULL), 0);
    assert_int_equal(weir_next(source, 0, &chunk), 0);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

FIBER_TEST(a_channel_holds_few_chunks)
{
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in = 0, got;
    int count = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(0, &sink, &source), 0);
    while (emit_pattern(sink, 1, &in, 0) == 0) {
        count++;
    }
    assert_int_equal(count, 64);
    weir_sink_destroy(sink);
    assert_int_equal(drain(source, &got), WEIR_ERESET);
    assert_int_equal(got, 64);
    weir_source_destroy(source);
    assert_int_equal(weir_channel_pair((16u << 20) + 1, &sink, &source), WEIR_EINVAL);
}

/* A producer that goes without an end never looks like one that ended. */
FIBER_TEST(an_abandoned_producer_is_an_error)
{
    static const struct {
        enum weir_reason reason;
        int code;
    } cases[] = {{WEIR_REASON_NONE, WEIR_ERESET},        {WEIR_REASON_LIMIT, WEIR_ELIMIT},
                 {WEIR_REASON_STALL, WEIR_ESTALLED},     {WEIR_REASON_TIMEOUT, WEIR_ESTALLED},
                 {WEIR_REASON_PROTOCOL, WEIR_EPROTO},    {WEIR_REASON_TRUNCATED, WEIR_ETRUNCATED},
                 {WEIR_REASON_CANCELED, WEIR_ECANCELED}, {WEIR_REASON_HANDLER, WEIR_ERESET}};

    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weir_sink *sink;
        struct weir_source *source;
        struct weir_error error;
        uint64_t in = 0, got;

        assert_int_equal(weir_channel_pair(100, &sink, &source), 0);
        assert_int_equal(emit_pattern(sink, 60, &in, -1), 0);
        if (cases[i].reason != WEIR_REASON_NONE) {
            weir_abort(sink, cases[i].reason);
        }
        weir_sink_destroy(sink);
        assert_int_equal(drain(source, &got), cases[i].code);
        assert_int_equal(got, 60); /* what came before the failure comes first */
        weir_source_error(source, &error);
        assert_int_equal(error.reason, cases[i].reason != WEIR_REASON_NONE ? cases[i].reason
                                                                           : WEIR_REASON_ABANDONED);
        weir_source_destroy(source);
    }
}

struct ends {
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in, out;
    int emit_result, next_result;
};

static int emit_until_it_fails(void *arg)
{
    struct ends *ends = arg;

    do {
        ends->emit_result = emit_pattern(ends->sink, 40, &ends->in, -1);
    } while (ends->emit_result == 0);
    return 0;
}

static int read_until_it_fails(void *arg)
{
    struct ends *ends = arg;
    struct weir_chunk *chunk;

    while ((ends->next_result = weir_next(ends->source, -1, &chunk)) > 0) {
        ends->out += pattern_check(chunk, ends->out);
    }
    return 0;
}

FIBER_TEST(a_cancel_wakes_the_producer)
{
    (void)arg;
    for (int destroy = 0; destroy < 2; destroy++) {
        struct ends ends = {0};
        struct weir_scope *scope;
        struct weir_error error;

        assert_int_equal(weir_channel_pair(100, &ends.sink, &ends.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, emit_until_it_fails, &ends), 0);
        assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
        assert_int_equal(ends.in, 80); /* it waits */
        if (destroy) {
            weir_source_destroy(ends.source);
        } else {
            weir_cancel(ends.source, WEIR_REASON_FIN);
        }
        assert_int_equal(weir_scope_join(scope, weir_after_ms(0)), 0);
        weir_scope_close(scope);
        assert_int_equal(ends.emit_result, WEIR_ECLOSED);
        weir_sink_error(ends.sink, &error);
        assert_int_equal(error.reason, destroy ? WEIR_REASON_ABANDONED : WEIR_REASON_FIN);
        assert_int_equal(weir_end(ends.sink, NULL), WEIR_ECLOSED);
        weir_sink_destroy(ends.sink);
        if (!destroy) {
            weir_source_destroy(ends.source);
        }
    }
}

FIBER_TEST(an_abort_wakes_the_reader)
{
    struct ends ends = {0};
    struct weir_scope *scope;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &ends.sink, &ends.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_until_it_fails, &ends), 0);
    assert_int_equal(emit_pattern(ends.sink, 10, &ends.in, -1), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(ends.out, 10);
    weir_sink_destroy(ends.sink);
    assert_int_equal(weir_scope_join(scope, weir_after_ms(0)), 0);
    weir_scope_close(scope);
    assert_int_equal(ends.next_result, WEIR_ERESET);
    weir_source_destroy(ends.source);
}

/* Whose scope is cancelled while it waits fails for good, and the other end learns of it when the handle goes. */
FIBER_TEST(a_cancelled_scope_ends_both_waits)
{
    struct ends writer = {0}, reader = {0};
    struct weir_scope *scope;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &writer.sink, &writer.source), 0);
    assert_int_equal(weir_channel_pair(100, &reader.sink, &reader.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, emit_until_it_fails, &writer), 0);
    assert_int_equal(weir_scope_spawn(scope, read_until_it_fails, &reader), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    weir_scope_close(scope);
    assert_int_equal(writer.emit_result, WEIR_ECANCELED);
    assert_int_equal(reader.next_result, WEIR_ECANCELED);
    assert_int_equal(weir_next(reader.source, -1, &chunk), WEIR_ECANCELED);
    assert_int_equal(weir_end(writer.sink, NULL), WEIR_ECANCELED);
    weir_source_destroy(reader.source);
    assert_int_equal(emit_pattern(reader.sink, 1, &reader.in, -1), WEIR_ECLOSED);
    weir_sink_destroy(reader.sink);
    weir_sink_destroy(writer.sink);
    assert_int_equal(drain(writer.source, &writer.out), WEIR_ERESET);
    assert_int_equal(writer.out, 80);
    weir_source_destroy(writer.source);
}

FIBER_TEST(a_late_emit_is_final)
{
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(10, &sink, &source), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, -1), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, weir_after_ms(5)), WEIR_ETIMEDOUT);
    assert_int_equal(weir_end(sink, NULL), WEIR_ETIMEDOUT);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

FIBER_TEST(stall_clocks_name_the_side)
{
    struct world *world = arg;
    struct weir__stall stall;
    struct weir_sink *sink;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t in = 0;

    weir__stall_begin(&stall, WEIR__STALL_MOVING, world->loop->now_us);
    weir__fiber_current()->stall = &stall;
    assert_int_equal(weir_channel_pair(10, &sink, &source), 0);
    assert_int_equal(weir_next(source, weir_after_ms(7), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(emit_pattern(sink, 10, &in, -1), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, weir_after_ms(5)), WEIR_ETIMEDOUT);
    weir__fiber_current()->stall = NULL;
    weir__stall_end(&stall, world->loop->now_us);
    assert_int_equal(stall.spent_us[WEIR__STALL_WAIT_SOURCE], 7000);
    assert_int_equal(stall.spent_us[WEIR__STALL_STREAM_WINDOW], 5000);
    assert_int_equal(stall.spent_us[WEIR__STALL_MOVING], 0);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

/* ---- generator ---- */

struct generated {
    size_t piece, pieces;
    uint64_t in;
    int result;  /* returned after the pieces; 1: weir_end() */
    int last;    /* what the last emit said */
    bool sleeps; /* before each piece */
    unsigned runs, releases, deferred;
};

static void count_deferred(void *arg)
{
    ((struct generated *)arg)->deferred++;
}

static int generate(struct weir_sink *out, void *arg)
{
    struct generated *generated = arg;

    generated->runs++;
    assert_int_equal(weir_scope_defer(count_deferred, generated), 0);
    for (size_t i = 0; i < generated->pieces; i++) {
        if (generated->sleeps) {
            generated->last = weir_sleep(weir_after_ms(10));
            if (generated->last < 0) {
                return generated->last;
            }
        }
        generated->last = emit_pattern(out, generated->piece, &generated->in, -1);
        if (generated->last < 0) {
            return generated->last;
        }
    }
    return generated->result == 1 ? weir_end(out, NULL) : generated->result;
}

static void release(void *arg)
{
    ((struct generated *)arg)->releases++;
}

static const struct weir_generator_opts generator_opts = {.window_bytes = 1000, .release = release};

FIBER_TEST(a_generator_generates)
{
    struct generated generated = {.piece = 300, .pieces = 50, .result = 1};
    struct weir_source *source;
    uint64_t got;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.runs, 0); /* not before it is asked */
    assert_int_equal(drain(source, &got), 0);
    assert_int_equal(got, 15000);
    weir_source_destroy(source);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.releases, 1);
    assert_int_equal(generated.deferred, 1);
}

FIBER_TEST(a_generator_stays_within_its_window)
{
    struct generated generated = {.piece = 300, .pieces = 50, .result = 1};
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.in, 900);
    weir_source_destroy(source); /* does not wait */
    assert_int_equal(generated.releases, 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_int_equal(generated.last, WEIR_ECANCELED); /* it waited for room */
    assert_int_equal(generated.releases, 1);
    assert_int_equal(generated.deferred, 1);
}

FIBER_TEST(a_generator_that_fails)
{
    static const struct {
        int result, code;
        enum weir_reason reason;
    } cases[] = {{WEIR_EPROTO, WEIR_EPROTO, WEIR_REASON_HANDLER},
                 {-5, -5, WEIR_REASON_HANDLER},
                 {WEIR_ETIMEDOUT, WEIR_ERESET, WEIR_REASON_HANDLER},
                 {0, WEIR_ERESET, WEIR_REASON_ABANDONED}};

    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct generated generated = {.piece = 300, .pieces = 5, .result = cases[i].result};
        struct weir_source *source;
        struct weir_error error;
        uint64_t got;

        assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
        assert_int_equal(drain(source, &got), cases[i].code);
        assert_int_equal(got, 1500);
        weir_source_error(source, &error);
        assert_int_equal(error.reason, cases[i].reason);
        weir_source_destroy(source);
    }
}

FIBER_TEST(a_generator_nobody_asked_is_released)
{
    struct generated generated = {0};
    struct weir_source *source;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    weir_source_destroy(source);
    assert_int_equal(generated.runs, 0);
    assert_int_equal(generated.releases, 1);
    assert_int_equal(weir_source_from_fiber(NULL, &generated, NULL, &source), WEIR_EINVAL);
    assert_int_equal(weir_source_from_fiber(generate, &generated,
                                            &(struct weir_generator_opts){.window_bytes = SIZE_MAX},
                                            &source),
                     WEIR_EINVAL);
}

static int pull_one(void *arg)
{
    struct ends *ends = arg;
    struct weir_chunk *chunk;

    ends->next_result = weir_next(ends->source, -1, &chunk);
    return 0;
}

/* By its handle, and by the scope of the fiber that asked first: its sleep ends too. */
FIBER_TEST(a_cancel_reaches_a_sleeping_generator)
{
    (void)arg;
    for (int by_scope = 0; by_scope < 2; by_scope++) {
        struct generated generated = {.piece = 1, .pieces = 1, .sleeps = true, .result = 1};
        struct ends ends = {0};
        struct weir_scope *scope;

        assert_int_equal(
            weir_source_from_fiber(generate, &generated, &generator_opts, &ends.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, pull_one, &ends), 0);
        assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
        if (by_scope) {
            weir_scope_cancel(scope);
        } else {
            weir_cancel(ends.source, WEIR_REASON_FIN);
        }
        weir_scope_close(scope);
        assert_int_equal(ends.next_result, WEIR_ECANCELED);
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
        assert_int_equal(generated.last, WEIR_ECANCELED);
        assert_int_equal(generated.releases, 0); /* the source still lives */
        weir_source_destroy(ends.source);
        assert_int_equal(generated.releases, 1);
    }
}

/* ---- the custom source of the examples ---- */

FIBER_TEST(a_source_of_ones_own)
{
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_scope *scope;
    struct ends ends = {0};
    int64_t begun = weir_now();

    (void)arg;
    assert_int_equal(slow_source_create(3, 100, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_next(source, weir_after_ms(30), &chunk), WEIR_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weir__next(source, 4, -1, &chunk), 1);
        assert_true(weir_view_equal(weir_chunk_view(chunk), weir_str("line")));
        weir_chunk_unref(chunk);
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        assert_int_equal(weir_chunk_len(chunk), 3);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(weir_now() - begun, 300);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_destroy(source);

    assert_int_equal(slow_source_create(3, 1000, &ends.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, pull_one, &ends), 0);
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    weir_scope_close(scope);
    assert_int_equal(ends.next_result, WEIR_ECANCELED);
    weir_source_destroy(ends.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_any_size),
        cmocka_unit_test(bytes_outlive_their_source),
        cmocka_unit_test(bytes_are_charged),
        cmocka_unit_test(a_channel_is_bounded),
        cmocka_unit_test(a_channel_holds_few_chunks),
        cmocka_unit_test(an_abandoned_producer_is_an_error),
        cmocka_unit_test(a_cancel_wakes_the_producer),
        cmocka_unit_test(an_abort_wakes_the_reader),
        cmocka_unit_test(a_cancelled_scope_ends_both_waits),
        cmocka_unit_test(a_late_emit_is_final),
        cmocka_unit_test(stall_clocks_name_the_side),
        cmocka_unit_test(a_generator_generates),
        cmocka_unit_test(a_generator_stays_within_its_window),
        cmocka_unit_test(a_generator_that_fails),
        cmocka_unit_test(a_generator_nobody_asked_is_released),
        cmocka_unit_test(a_cancel_reaches_a_sleeping_generator),
        cmocka_unit_test(a_source_of_ones_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
