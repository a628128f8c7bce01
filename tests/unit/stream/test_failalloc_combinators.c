/* SPDX-License-Identifier: MIT */
/*
 * P10: every combinator with every one of its allocations failing, once that one alone, once with all after it. Whatever
 * fails is an error, never a clean end or a lost byte; the source is consumed and nothing is left.
 */
#include <weir/combinators.h>
#include <weir/sse_reader.h>

#include "fiber_test.h"

#define TOTAL 100300u
static const struct step steps[] = {
    {0, 100, 0}, {5, 100, 0}, {0, 100, 0}, {5, 100000, 0}, {0, 0, 0}};

typedef int(build_fn)(struct weir_source *given, struct weir_source **ret);

static int copy(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    int r = weir_chunk_copy(weir_chunk_view(chunk), ret);

    (void)arg;
    return r < 0 ? r : 1;
}

static bool keep(void *arg, struct weir_view bytes)
{
    (void)arg;
    (void)bytes;
    return true;
}

static void look(void *arg, struct weir_view bytes)
{
    (void)arg;
    (void)bytes;
}

static void hear(void *arg, const struct weir_progress *progress)
{
    (void)arg;
    (void)progress;
}

static void hear_digest(void *arg, const uint8_t digest[WEIR_SHA256_BYTES])
{
    (void)arg;
    (void)digest;
}

static int by_map(struct weir_source *given, struct weir_source **ret)
{
    return weir_map_create_take(given, copy, NULL, ret);
}

static int by_filter(struct weir_source *given, struct weir_source **ret)
{
    return weir_filter_create_take(given, keep, NULL, ret);
}

static int by_inspect(struct weir_source *given, struct weir_source **ret)
{
    return weir_inspect_create_take(given, look, NULL, ret);
}

static int by_take(struct weir_source *given, struct weir_source **ret)
{
    return weir_take_create_take(given, TOTAL, ret);
}

static int by_pace(struct weir_source *given, struct weir_source **ret)
{
    return weir_pace_create_take(given, 10, ret);
}

static int by_coalesce(struct weir_source *given, struct weir_source **ret)
{
    return weir_coalesce_create_take(given, 3000, 20, ret);
}

static int by_lines(struct weir_source *given, struct weir_source **ret)
{
    return weir_lines_create_take(given, 0, ret);
}

static int by_progress(struct weir_source *given, struct weir_source **ret)
{
    return weir_progress_create_take(given, &(struct weir_progress_opts){.fn = hear}, ret);
}

static int by_hash(struct weir_source *given, struct weir_source **ret)
{
    return weir_hash_create_take(given, hear_digest, NULL, ret);
}

static int by_prefetch(struct weir_source *given, struct weir_source **ret)
{
    return weir_prefetch_create_take(given, 0, ret);
}

static int by_chain(struct weir_source *given, struct weir_source **ret)
{
    return weir_chain_create_take(&given, 1, ret);
}

static int by_merge(struct weir_source *given, struct weir_source **ret)
{
    return weir_merge_create_take(&given, 1, NULL, ret);
}

static int by_tee(struct weir_source *given, struct weir_source **ret)
{
    struct weir_source *other;
    int r = weir_tee_create_take(given, 0, ret, &other);

    if (r == 0) {
        weir_source_destroy(other);
    }
    return r;
}

static int by_map_par(struct weir_source *given, struct weir_source **ret)
{
    return weir_map_par_create_take(given, copy, NULL, NULL, ret);
}

static build_fn *building;

struct attempt {
    struct world world;
    int64_t fail_at;
    bool alone;
    int result;
    uint64_t got;
};

static void begin_failing(struct attempt *attempt)
{
    (attempt->alone ? weir__alloc_fail_only : weir__alloc_fail_at)(attempt->fail_at);
}

static void try_source(void *arg)
{
    struct attempt *attempt = arg;
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;

    assert_int_equal(script_source(&script, steps, &source), 0);
    begin_failing(attempt);
    attempt->result = building(source, &source);
    if (attempt->result == 0) {
        do {
            /* Pieces of all sizes: with no room for the whole of a chunk, too. */
            attempt->result = weir__next(source, 1 + attempt->got % 7777, -1, &chunk);
            if (attempt->result == 1) {
                attempt->got += pattern_check(chunk, attempt->got);
            }
        } while (attempt->result == 1);
        weir_source_destroy(source);
    }
    weir__alloc_fail_at(0);
    weir_yield();
    weir_yield();
    assert_int_equal(script.destroys, 1); /* given means given */
    assert_true(script.cancels <= 1);
}

static void try_batch(void *arg)
{
    struct attempt *attempt = arg;
    struct script script;
    struct weir_source *source;
    struct weir_batch *batch;

    assert_int_equal(script_source(&script, steps, &source), 0);
    begin_failing(attempt);
    attempt->result = weir_batch_create_take(source, NULL, &batch);
    if (attempt->result == 0) {
        struct weir_chunk *const *items;
        size_t count;

        while ((attempt->result = weir_batch_next(batch, -1, &items, &count)) == 1) {
            for (size_t i = 0; i < count; i++) {
                attempt->got += pattern_check(weir_chunk_ref(items[i]), attempt->got);
            }
        }
        weir_batch_destroy(batch);
    }
    weir__alloc_fail_at(0);
    assert_int_equal(script.destroys, 1);
}

static void try_sse(void *arg)
{
    struct attempt *attempt = arg;
    struct text_source text = {0};
    struct weir_source *source = text_source(
        &text, "id: 1|23456\neve|nt: something\ndata: that is| longer than what is there\n|\n");
    struct weir_sse_reader *reader;

    begin_failing(attempt);
    attempt->result = weir_sse_reader_create_take(source, NULL, &reader);
    if (attempt->result == 0) {
        struct weir_sse_event event;

        while ((attempt->result = weir_sse_reader_next(reader, -1, &event)) == 1) {
            assert_true(weir_view_equal(event.data, weir_str("that is longer than what is there")));
            assert_true(weir_view_equal(event.id, weir_str("123456")));
            attempt->got = TOTAL;
        }
        weir_sse_reader_destroy(reader);
    }
    weir__alloc_fail_at(0);
}

#define CLEAN_PASSES 60

static void fail_each(void (*fn)(void *arg))
{
    for (int alone = 0; alone < 2; alone++) {
        unsigned clean = 0;

        for (int64_t n = 1; clean < CLEAN_PASSES; n++) {
            struct attempt attempt = {.fail_at = n, .alone = alone == 1, .result = 1};

            assert_true(n < 5000);
            seed_now = (uint64_t)n;
            assert_true(world_run(&attempt.world, fn, &attempt));
            if (attempt.result == 0) {
                assert_int_equal(attempt.got, TOTAL);
                clean++;
            } else {
                assert_true(attempt.result == WEIR_ENOMEM || attempt.result == WEIR_ETIMEDOUT);
                clean = 0;
            }
        }
    }
}

#define KIND(name)                         \
    static void name##_fails(void **state) \
    {                                      \
        (void)state;                       \
        building = by_##name;              \
        fail_each(try_source);             \
    }
KIND(map)
KIND(filter)
KIND(inspect)
KIND(take)
KIND(pace)
KIND(coalesce)
KIND(lines)
KIND(progress)
KIND(hash)
KIND(prefetch)
KIND(chain)
KIND(merge)
KIND(tee)
KIND(map_par)

static void batch_fails(void **state)
{
    (void)state;
    fail_each(try_batch);
}

static void sse_fails(void **state)
{
    (void)state;
    fail_each(try_sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_fails),     cmocka_unit_test(filter_fails),
        cmocka_unit_test(inspect_fails), cmocka_unit_test(take_fails),
        cmocka_unit_test(pace_fails),    cmocka_unit_test(coalesce_fails),
        cmocka_unit_test(lines_fails),   cmocka_unit_test(progress_fails),
        cmocka_unit_test(hash_fails),    cmocka_unit_test(prefetch_fails),
        cmocka_unit_test(chain_fails),   cmocka_unit_test(merge_fails),
        cmocka_unit_test(tee_fails),     cmocka_unit_test(map_par_fails),
        cmocka_unit_test(batch_fails),   cmocka_unit_test(sse_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
