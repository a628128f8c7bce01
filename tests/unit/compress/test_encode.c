/* SPDX-License-Identifier: MIT */
/* Encoders as sources: what comes out is what the libraries' own decoders read, at any chunking, and at once. */
#include "../stream/stream_test.h"

#include "reference.h"

static struct world world;

static void in_fiber(void (*fn)(void *arg), void *arg)
{
    assert_true(world_run(&world, fn, arg));
}

static void expect_pattern(const struct reference *reference, uint64_t len)
{
    assert_false(reference->wrong);
    assert_int_equal(reference->len, len);
    for (size_t i = 0; i < len; i++) {
        if (reference->out[i] != pattern_at(i)) {
            fail_msg("wrong byte at %zu", i);
        }
    }
}

static void feed_chunk(struct reference *reference, struct weir_chunk *chunk)
{
    struct weir_view view = weir_chunk_view(chunk);

    reference_feed(reference, view.data, view.len);
    weir_chunk_unref(chunk);
}

/* ---- round trips ---- */

#define STEPS 12

static void random_steps(uint64_t *seed, struct step *steps, uint64_t *ret_total)
{
    size_t count = roll(seed, STEPS);

    *ret_total = 0;
    for (size_t i = 0; i < count; i++) {
        static const uint32_t scales[] = {2, 50, 2000, 200000};

        steps[i] = (struct step){.delay_ms = roll(seed, 2) * roll(seed, 20),
                                 .len = 1 + roll(seed, scales[roll(seed, 4)])};
        *ret_total += steps[i].len;
    }
    steps[count] = (struct step){.delay_ms = roll(seed, 3)};
}

static void one_round(uint64_t *seed, enum weir_coding coding)
{
    struct step steps[STEPS];
    struct weir_encode_opts opts = {.level = (int)roll(seed, 7), .for_events = roll(seed, 2) == 1};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct reference reference;
    uint64_t total;
    bool decoded = roll(seed, 2) == 1;
    int r;

    random_steps(seed, steps, &total);
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_encode_take(source, coding, &opts, &source), 0);
    if (decoded) {
        struct weir_decode_opts any = {.max_ratio = WEIR_RATIO_ANY};

        assert_int_equal(weir_decode_take(source, coding, &any, &source), 0);
    }
    reference_init(&reference, decoded ? WEIR_CODING_GZIP : coding);
    uint64_t got = 0;
    for (;;) {
        size_t most = roll(seed, 3) == 0 ? 1 + roll(seed, 40) : 1 + roll(seed, 65536);

        r = weir__next(source, most, roll(seed, 4) == 0 ? 0 : -1, &chunk);
        if (r == WEIR_EAGAIN) {
            continue;
        }
        if (r <= 0) {
            break;
        }
        assert_in_range(weir_chunk_len(chunk), 1, most);
        if (decoded) {
            got += pattern_check(chunk, got);
        } else {
            feed_chunk(&reference, chunk);
        }
        if (roll(seed, 8) == 0) {
            weir_yield();
        }
    }
    assert_int_equal(r, 0);
    if (decoded) {
        assert_int_equal(got, total);
    } else {
        assert_true(reference.over);
        expect_pattern(&reference, total);
    }
    reference_finish(&reference);
    weir_source_destroy(source);
    assert_int_equal(script.destroys, 1);
    assert_int_equal(script.cancels, 0);
}

static void many_rounds(void *arg)
{
    uint64_t seed = seed_now;

    (void)arg;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        one_round(&seed, all_codings[i]);
    }
}

static void round_trips_at_any_chunking(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        seed_now = seed_wanted() != 0 ? seed_wanted() : seed;
        in_fiber(many_rounds, NULL);
    }
    seed_now = 0;
}

static void nothing_is_a_body_too(void *arg)
{
    static const struct step steps[] = {{0}};

    (void)arg;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        struct script script;
        struct weir_source *source;
        struct weir_chunk *chunk;
        struct reference reference;
        int r;

        reference_init(&reference, all_codings[i]);
        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_encode_take(source, all_codings[i], NULL, &source), 0);
        while ((r = weir_next(source, -1, &chunk)) > 0) {
            feed_chunk(&reference, chunk);
        }
        assert_int_equal(r, 0);
        assert_true(reference.over);
        expect_pattern(&reference, 0);
        reference_finish(&reference);
        weir_source_destroy(source);
    }
}

static void an_empty_source(void **state)
{
    (void)state;
    in_fiber(nothing_is_a_body_too, NULL);
}

/* ---- events ---- */

static void read_events(void *arg)
{
    enum weir_coding coding = *(const enum weir_coding *)arg;
    struct step steps[41];
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct reference reference;
    uint64_t sent = 0;
    int r;

    for (size_t i = 0; i < 40; i++) {
        steps[i] = (struct step){.delay_ms = 10, .len = i == 20 ? 50000 : 30 + i};
    }
    steps[40] = (struct step){.delay_ms = 10};
    reference_init(&reference, coding);
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(
        weir_encode_take(source, coding, &(struct weir_encode_opts){.for_events = true}, &source),
        0);
    for (size_t i = 0; i < 40; i++) {
        /* When an event is there, all of it has come as soon as the source would block again. */
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        do {
            feed_chunk(&reference, chunk);
        } while ((r = weir_next(source, 0, &chunk)) > 0);
        assert_int_equal(r, WEIR_EAGAIN);
        assert_int_equal((world.clock_us - 1000000) / 1000, 10 * (int64_t)(i + 1));
        sent += steps[i].len;
        expect_pattern(&reference, sent);
        assert_false(reference.over);
    }
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        feed_chunk(&reference, chunk);
    }
    assert_int_equal(r, 0);
    assert_true(reference.over);
    expect_pattern(&reference, sent);
    reference_finish(&reference);
    weir_source_destroy(source);
}

static void each_event_leaves_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        in_fiber(read_events, (void *)(uintptr_t)&all_codings[i]);
    }
}

/* ---- failures ---- */

static void read_failing(void *arg)
{
    static const struct step steps[] = {{0, 100, 0}, {5, 70000, 0}, {0, 0, WEIR_EIO}};
    enum weir_coding coding = *(const enum weir_coding *)arg;
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct reference reference;
    struct weir_error error;
    int r;

    reference_init(&reference, coding);
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_encode_take(source, coding, NULL, &source), 0);
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        feed_chunk(&reference, chunk);
    }
    assert_int_equal(r, WEIR_EIO);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_EIO);
    weir_source_error(source, &error);
    assert_int_equal(error.native, 77);
    assert_string_equal(error.where, "script");
    expect_pattern(&reference, 70100); /* what came before it */
    assert_false(reference.over);      /* and no end */
    reference_finish(&reference);
    weir_source_destroy(source);
    assert_int_equal(script.destroys, 1);
}

static void a_failure_is_no_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        in_fiber(read_failing, (void *)(uintptr_t)&all_codings[i]);
    }
}

static void cancel_it(void *arg)
{
    static const struct step steps[] = {{0, 100, 0}, {5000, 100, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_zstd_take(source, NULL, &source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_next(source, weir_after_ms(10), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    weir_cancel(source, WEIR_REASON_SHUTDOWN);
    assert_int_equal(script.cancels, 1);
    assert_int_equal(script.reason, WEIR_REASON_SHUTDOWN);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ECANCELED);
    weir_source_destroy(source);
    assert_int_equal(script.destroys, 1);
}

static void a_cancel_goes_through(void **state)
{
    (void)state;
    in_fiber(cancel_it, NULL);
}

static void bad_options(void *arg)
{
    static const struct step steps[] = {{0}};
    const struct {
        enum weir_coding coding;
        struct weir_encode_opts opts;
    } bad[] = {
        {WEIR_CODING_IDENTITY, {0}},
        {(enum weir_coding)99, {0}},
        {WEIR_CODING_GZIP, {.level = 10}},
        {WEIR_CODING_GZIP, {.level = -1}},
        {WEIR_CODING_GZIP, {.window_bits = 8}},
        {WEIR_CODING_GZIP, {.window_bits = 16}},
        {WEIR_CODING_BROTLI, {.window_bits = 9}},
        {WEIR_CODING_BROTLI, {.window_bits = 25}},
        {WEIR_CODING_ZSTD, {.window_bits = 9}},
        {WEIR_CODING_ZSTD, {.window_bits = 24}},
    };
    struct weir_source *source = NULL;

    (void)arg;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct script script;

        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_encode_take(source, bad[i].coding, &bad[i].opts, &source),
                         WEIR_EINVAL);
        assert_int_equal(script.destroys, 1);
    }
    assert_int_equal(weir_gzip_take(NULL, NULL, &source), WEIR_EINVAL);
    assert_int_equal(weir_brotli_take(NULL, NULL, &source), WEIR_EINVAL);
}

static void options_out_of_range(void **state)
{
    (void)state;
    in_fiber(bad_options, NULL);
}

/* ---- memory ---- */

struct weighed {
    enum weir_coding coding;
    bool for_events;
    size_t most; /* bytes of the budget, with the chunks in hand */
};

static void weigh(void *arg)
{
    static const struct step steps[] = {{0, 20000000, 0}, {0, 0, 0}};
    const struct weighed *weighed = arg;
    struct weir_encode_opts opts = {.for_events = weighed->for_events};
    struct weir__budget *budget = weir__budget_process();
    size_t before = weir__budget_used(budget);
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    int r;

    assert_int_equal(script_source(&script, steps, &source), 0);
    budget->peak = before;
    assert_int_equal(weir_encode_take(source, weighed->coding, &opts, &source), 0);
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        weir_chunk_unref(chunk);
    }
    assert_int_equal(r, 0);
    assert_in_range(budget->peak - before, 20000, weighed->most);
    if (getenv("WEIR_SHOW") != NULL) {
        printf("%s%s: %zu\n", weir_coding_name(weighed->coding),
               weighed->for_events ? " events" : "", (size_t)(budget->peak - before));
    }
    weir_source_destroy(source);
    assert_int_equal(weir__budget_used(budget), before);
}

/* As compress.h says, and a chunk of input and one of output. */
#define CHUNKS (WEIR_CHUNK_BYTES + 16384)

static void memory_is_bounded_and_charged(void **state)
{
    static struct weighed weighed[] = {
        {WEIR_CODING_GZIP, false, 300000 + CHUNKS},    {WEIR_CODING_GZIP, true, 40000 + CHUNKS},
        {WEIR_CODING_ZSTD, false, 1100000 + CHUNKS},   {WEIR_CODING_ZSTD, true, 260000 + CHUNKS},
        {WEIR_CODING_BROTLI, false, 2000000 + CHUNKS}, {WEIR_CODING_BROTLI, true, 650000 + CHUNKS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(weighed) / sizeof(weighed[0]); i++) {
        in_fiber(weigh, &weighed[i]);
    }
}

static void over_budget(void *arg)
{
    static const struct step steps[] = {{0, 100, 0}, {0, 0, 0}};
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    struct script script;
    struct weir_source *source = NULL;

    (void)arg;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        struct weir_source *given;

        assert_int_equal(script_source(&script, steps, &given), 0);
        weir__budget_set_limit(budget, weir__budget_used(budget) + 3000);
        if (weir_encode_take(given, all_codings[i], NULL, &source) == 0) {
            /* Its library asks for memory only when there is something to do. */
            struct weir_chunk *chunk;

            assert_int_equal(weir_next(source, -1, &chunk), WEIR_EBUDGET);
            weir_source_destroy(source);
        }
        weir__budget_set_limit(budget, limit);
        assert_int_equal(script.destroys, 1);
    }
}

static void the_budget_is_kept(void **state)
{
    (void)state;
    in_fiber(over_budget, NULL);
}

/* ---- fairness ---- */

static unsigned others;

static int other(void *arg)
{
    const bool *stop = arg;

    while (!*stop) {
        others++;
        weir_yield();
    }
    return 0;
}

/* 16 MB of one byte in slices, always there: without a pause it would be one call. */
static int same_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    size_t *left = state;

    (void)deadline;
    if (*left == 0) {
        return 0;
    }
    if (weir_chunk_create(max_bytes, ret) < 0) {
        return WEIR_ENOMEM;
    }
    memset(weir_chunk_data(*ret), 'a', max_bytes);
    *left -= max_bytes < *left ? max_bytes : *left;
    return 1;
}

static const struct weir_source_ops same_ops = {.name = "same", .next = same_next};

static void long_run(void *arg)
{
    size_t left = 16000000;
    struct weir_source *source;
    struct weir_scope *scope;
    struct weir_chunk *chunk;
    bool stop = false, refused = false;
    int r;

    (void)arg;
    others = 0;
    assert_int_equal(weir_source_create_take(&same_ops, &left, &source), 0);
    assert_int_equal(weir_gzip_take(source, NULL, &source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, other, &stop), 0);
    r = weir_next(
        source, 0,
        &chunk); /* who does not want to wait is not made to, and does not work for ever */
    refused = r == WEIR_EAGAIN;
    assert_int_equal(others, 0);
    while (r > 0 || r == WEIR_EAGAIN) {
        if (r > 0) {
            weir_chunk_unref(chunk);
        }
        r = weir_next(source, -1, &chunk);
    }
    stop = true;
    assert_int_equal(r, 0);
    assert_true(refused);
    assert_in_range(others, 30, 100);
    weir_scope_close(scope);
    weir_source_destroy(source);
}

static void the_others_have_their_turn(void **state)
{
    (void)state;
    in_fiber(long_run, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_at_any_chunking),   cmocka_unit_test(an_empty_source),
        cmocka_unit_test(each_event_leaves_at_once),     cmocka_unit_test(a_failure_is_no_end),
        cmocka_unit_test(a_cancel_goes_through),         cmocka_unit_test(options_out_of_range),
        cmocka_unit_test(memory_is_bounded_and_charged), cmocka_unit_test(the_budget_is_kept),
        cmocka_unit_test(the_others_have_their_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
