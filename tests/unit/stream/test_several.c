/* SPDX-License-Identifier: MIT */
/* prefetch, chain, merge, tee, map_par: those with several sources, readers or fibers. */
#include <weir/combinators.h>
#include <weir/offload.h>
#include <weir/sources.h>

#include "fiber_test.h"

static uint64_t drain(struct weir_source *source, int wanted)
{
    struct weir_chunk *chunk;
    uint64_t got = 0;
    int r;

    while ((r = weir_next(source, -1, &chunk)) > 0) {
        got += pattern_check(chunk, got);
    }
    assert_int_equal(r, wanted);
    assert_int_equal(weir_next(source, 0, &chunk), wanted);
    return got;
}

/* Lets fibers that were told to go run home. */
static void settle(void)
{
    weir_yield();
    weir_yield();
}

/* ---- depth ---- */

FIBER_TEST(nesting_is_bounded)
{
    struct text_source text = {0};
    struct weir_source *source = text_source(&text, "a|b");
    struct weir_chunk *chunk;
    int r = 0;
    unsigned depth = 0;

    for (; depth < 32; depth++) {
        assert_int_equal(depth % 2 ? weir_limit_create_take(source, 100, &source)
                                   : weir_coalesce_create_take(source, 0, 10, &source),
                         0);
    }
    assert_int_equal(weir_next(source, -1, &chunk), 1); /* the stack bears that */
    weir_chunk_unref(chunk);
    r = weir_lines_create_take(source, 0, &source);
    assert_int_equal(r, WEIR_ELIMIT);
    assert_true(text.calls > 0);
}

/* P23 */
FIBER_TEST(a_chain_of_many_needs_no_stack)
{
    enum { MANY = 10000 };
    struct weir_source **sources = calloc(MANY, sizeof(struct weir_source *));
    struct weir_source *source;
    struct weir_chunk *chunk;
    unsigned got = 0;

    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(
            weir_bytes_source_create(i % 100 ? weir_bytes("", 0) : weir_str("x"), &sources[i]), 0);
    }
    assert_int_equal(weir_chain_create_take(sources, MANY, &source), 0);
    free(sources);
    while (weir_next(source, -1, &chunk) == 1) {
        got++;
        weir_chunk_unref(chunk);
    }
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    assert_int_equal(got, MANY / 100);
    weir_source_destroy(source);
}

/* ---- chain ---- */

FIBER_TEST(chain_one_after_the_other)
{
    struct text_source texts[3] = {{0}, {0}, {.result = WEIR_EIO}};
    struct weir_source *sources[3] = {text_source(&texts[0], "a|b"), text_source(&texts[1], ""),
                                      text_source(&texts[2], "c")};
    struct weir_source *source;

    assert_int_equal(weir_chain_create_take(sources, 3, &source), 0);
    assert_int_equal(texts[2].calls, 0);
    expect_text(source, "a|b|c|", WEIR_EIO);
    weir_source_destroy(source);
}

FIBER_TEST(chain_cancels_all_that_is_left)
{
    static const struct step steps[] = {{0, 5, 0}, {0, 0, 0}};
    struct script scripts[3];
    struct weir_source *sources[3], *source;
    struct weir_chunk *chunk;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(script_source(&scripts[i], steps, &sources[i]), 0);
    }
    assert_int_equal(weir_chain_create_take(sources, 3, &source), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(scripts[0].destroys, 1);
    weir_cancel(source, WEIR_REASON_FIN);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(scripts[i].cancels, i > 0);
    }
    weir_source_destroy(source);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(scripts[i].cancels, i > 0);
        assert_int_equal(scripts[i].destroys, 1);
    }
    sources[1] = NULL;
    assert_int_equal(script_source(&scripts[0], steps, &sources[0]), 0);
    sources[2] = NULL;
    assert_int_equal(weir_chain_create_take(sources, 3, &source), WEIR_EINVAL);
    assert_int_equal(scripts[0].destroys, 1);
    assert_int_equal(weir_chain_create_take(NULL, 3, &source), WEIR_EINVAL);
}

/* ---- prefetch ---- */

FIBER_TEST(prefetch_reads_while_the_reader_works)
{
    static const struct step steps[] = {{10, 1000, 0}, {10, 1000, 0}, {10, 1000, 0}, {10, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t got = 0;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_prefetch_create_take(source, 0, &source), 0);
    settle();
    assert_int_equal(script.calls, 0); /* nobody has asked */
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    got += pattern_check(chunk, got);
    assert_int_equal(weir_sleep(weir_after_ms(100)), 0);
    assert_int_equal(script.position, 3000);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weir_next(source, 0, &chunk), 1); /* is there */
        got += pattern_check(chunk, got);
    }
    assert_int_equal(weir_next(source, 0, &chunk), 0);
    assert_int_equal(weir_now(), 1110);
    weir_source_destroy(source);
    settle();
    assert_int_equal(script.destroys, 1);
    assert_int_equal(script.cancels, 0);
}

static int unref_elsewhere(void *arg)
{
    weir_chunk_unref(arg);
    return 0;
}

/* P21, R7: the last reference goes on another thread, and nobody waits for ever. */
FIBER_TEST(chunks_released_on_other_threads)
{
    static struct step steps[101];
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    unsigned count = 0;
    int r;

    for (int i = 0; i < 100; i++) {
        steps[i] = (struct step){i % 3, 5000, 0};
    }
    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_prefetch_create_take(source, 0, &source), 0);
    assert_int_equal(weir_merge_create_take(&source, 1, NULL, &source), 0);
    while ((r = weir_next(source, -1, &chunk)) == 1) {
        count++;
        assert_int_equal(weir_offload(unref_elsewhere, chunk, NULL, -1, NULL), 0);
    }
    assert_int_equal(r, 0);
    assert_int_equal(count, 100);
    weir_source_destroy(source);
}

/* P14: never more than the window, whatever the pieces. */
FIBER_TEST(prefetch_stays_in_its_window)
{
    static const size_t sizes[] = {1, 100, 16384, 65535, 65536};

    for (size_t i = 0; i < 5; i++) {
        static struct step steps[301];
        struct script script;
        struct weir_source *source;
        struct weir_chunk *chunk;
        size_t before = weir__budget_used(weir__budget_process()), held;

        for (int k = 0; k < 300; k++) {
            steps[k] = (struct step){0, sizes[i], 0};
        }
        steps[300] = (struct step){0, 0, WEIR_EIO};
        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_prefetch_create_take(source, 200000, &source), 0);
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        weir_chunk_unref(chunk);
        assert_int_equal(weir_sleep(weir_after_ms(100)), 0);
        held = (size_t)script.position - sizes[i];
        assert_true(held <= 200000);
        assert_true(held == 64 * sizes[i] || held + WEIR_CHUNK_BYTES > 200000);
        assert_true(weir__budget_used(weir__budget_process()) - before <= 64 * 1024 + 4 * 200000);
        weir_source_destroy(source);
        settle();
        assert_int_equal(script.destroys, 1);
        assert_int_equal(script.cancels, 1);
    }
}

FIBER_TEST(prefetch_passes_the_story_on)
{
    static const struct step steps[] = {{10, 1000, 0}, {10, 0, WEIR_EIO}};
    struct script script;
    struct weir_source *source;
    struct weir_error error;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_prefetch_create_take(source, 0, &source), 0);
    assert_int_equal(drain(source, WEIR_EIO), 1000);
    weir_source_error(source, &error);
    assert_int_equal(error.native, 77);
    assert_string_equal(error.where, "script");
    weir_source_destroy(source);
}

FIBER_TEST(a_source_that_hangs_is_left_behind_at_once)
{
    static const struct step steps[] = {{1000000, 1, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;

    for (int way = 0; way < 2; way++) {
        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(
            way == 0 ? weir_prefetch_create_take(source, 0, &source)
                     : weir_merge_create_take((struct weir_source *[]){source}, 1, NULL, &source),
            0);
        assert_int_equal(weir_next(source, weir_after_ms(10), &chunk), WEIR_ETIMEDOUT);
        assert_int_equal(script.cancels, 0);
        weir_source_destroy(source);
        assert_int_equal(script.cancels, 1);
        settle();
        assert_int_equal(script.destroys, 1);
    }
}

/* ---- merge ---- */

FIBER_TEST(merge_takes_turns)
{
    struct text_source texts[3] = {{0}, {0}, {0}};
    struct weir_source *sources[3] = {text_source(&texts[0], "a1|a2|a3"),
                                      text_source(&texts[1], "b1|b2"),
                                      text_source(&texts[2], "c1")};
    struct weir_source *source;

    assert_int_equal(weir_merge_create_take(sources, 3, NULL, &source), 0);
    expect_text(source, "a1|b1|c1|a2|b2|a3|", 0);
    weir_source_destroy(source);
}

FIBER_TEST(merge_as_they_come)
{
    struct text_source texts[3] = {{.delay_ms = 30}, {.delay_ms = 20}, {.delay_ms = 100}};
    struct weir_source *sources[3] = {text_source(&texts[0], "a1|a2|a3"),
                                      text_source(&texts[1], "b1|b2|b3"),
                                      text_source(&texts[2], "c1")};
    struct weir_source *source;

    assert_int_equal(weir_merge_create_take(sources, 3, NULL, &source), 0);
    expect_text(source, "b1|a1|b2|a2|b3|a3|c1|", 0);
    assert_int_equal(weir_now(), 1200); /* the end of the third, too, takes its delay */
    weir_source_destroy(source);
}

FIBER_TEST(merge_and_errors)
{
    for (int collect = 0; collect < 2; collect++) {
        static const struct step good[] = {{50, 10, 0}, {50, 10, 0}, {0, 0, 0}};
        static const struct step bad[] = {{60, 0, WEIR_EIO}};
        static const struct step worse[] = {{70, 0, WEIR_ERESET}};
        struct script scripts[3];
        struct weir_source *sources[3], *source;
        struct weir_error error;
        struct weir_chunk *chunk;
        unsigned chunks = 0;
        int r;

        assert_int_equal(script_source(&scripts[0], good, &sources[0]), 0);
        assert_int_equal(script_source(&scripts[1], bad, &sources[1]), 0);
        assert_int_equal(script_source(&scripts[2], worse, &sources[2]), 0);
        assert_int_equal(
            weir_merge_create_take(
                sources, 3, &(struct weir_merge_opts){.collect_errors = collect == 1}, &source),
            0);
        while ((r = weir_next(source, -1, &chunk)) == 1) {
            chunks++;
            weir_chunk_unref(chunk);
        }
        assert_int_equal(r, WEIR_EIO);
        assert_int_equal(chunks, collect ? 2 : 1);
        assert_int_equal(scripts[0].cancels, !collect); /* at once */
        weir_source_error(source, &error);
        assert_int_equal(error.native, 77);
        weir_source_destroy(source);
        settle();
        for (int i = 0; i < 3; i++) {
            assert_int_equal(scripts[i].destroys, 1);
        }
    }
}

/* ---- tee ---- */

struct tee_reader {
    struct weir_source *source;
    uint64_t got;
    int64_t pause_ms;
    uint64_t leave_at; /* 0: reads to the end */
    int result;
};

static int read_branch(void *arg)
{
    struct tee_reader *reader = arg;
    struct weir_chunk *chunk;

    while ((reader->result = weir_next(reader->source, -1, &chunk)) == 1) {
        reader->got += pattern_check(chunk, reader->got);
        if (reader->leave_at > 0 && reader->got >= reader->leave_at) {
            break;
        }
        if (reader->pause_ms > 0 && weir_sleep(weir_after_ms(reader->pause_ms)) < 0) {
            break;
        }
    }
    weir_source_destroy(reader->source);
    return 0;
}

static struct step many_steps[201];

static void fill_steps(size_t len, int result)
{
    for (int i = 0; i < 200; i++) {
        many_steps[i] = (struct step){0, len, 0};
    }
    many_steps[200] = (struct step){0, 0, result};
}

/* P18 */
FIBER_TEST(tee_the_slower_governs)
{
    struct script script;
    struct weir_source *source;
    struct tee_reader fast = {0}, slow = {.pause_ms = 10};
    struct weir_scope *scope;

    fill_steps(10000, 0);
    assert_int_equal(script_source(&script, many_steps, &source), 0);
    assert_int_equal(weir_tee_create_take(source, 100000, &fast.source, &slow.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_branch, &fast), 0);
    assert_int_equal(weir_scope_spawn(scope, read_branch, &slow), 0);
    while (weir_scope_join(scope, weir_after_ms(7)) == WEIR_ETIMEDOUT) {
        assert_true(script.position <= slow.got + 100000);
    }
    assert_int_equal(fast.got, 2000000);
    assert_int_equal(slow.got, 2000000);
    assert_int_equal(weir_now(), 3000);
    assert_int_equal(fast.result, 0);
    assert_int_equal(slow.result, 0);
    weir_scope_close(scope);
    settle();
    assert_int_equal(script.destroys, 1);
    assert_int_equal(script.cancels, 0);
}

FIBER_TEST(tee_who_leaves_frees_the_other)
{
    struct script script;
    struct weir_source *source;
    struct tee_reader fast = {0}, slow = {.pause_ms = 10, .leave_at = 30000};
    struct weir_scope *scope;
    size_t before = weir__budget_used(weir__budget_process());

    fill_steps(10000, WEIR_EIO);
    assert_int_equal(script_source(&script, many_steps, &source), 0);
    assert_int_equal(weir_tee_create_take(source, 100000, &fast.source, &slow.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_branch, &fast), 0);
    assert_int_equal(weir_scope_spawn(scope, read_branch, &slow), 0);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_int_equal(fast.got, 2000000);
    assert_int_equal(fast.result, WEIR_EIO);
    assert_int_equal(slow.got, 30000);
    assert_int_equal(weir_now(), 1020);
    weir_scope_close(scope);
    settle();
    assert_int_equal(weir__budget_used(weir__budget_process()), before);
}

FIBER_TEST(tee_is_cancelled_with_the_second)
{
    struct script script;
    struct weir_source *source, *a, *b;
    struct weir_chunk *chunk;

    fill_steps(10, 0);
    assert_int_equal(script_source(&script, many_steps, &source), 0);
    assert_int_equal(weir_tee_create_take(source, 0, &a, &b), 0);
    weir_cancel(a, WEIR_REASON_FIN);
    assert_int_equal(weir_next(a, -1, &chunk), WEIR_ECANCELED);
    assert_int_equal(script.cancels, 0);
    assert_int_equal(weir_next(b, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    weir_source_destroy(b);
    assert_int_equal(script.cancels, 1);
    assert_int_equal(script.reason, WEIR_REASON_ABANDONED);
    weir_source_destroy(a);
    assert_int_equal(script.destroys, 1);
}

static int read_once(void *arg)
{
    struct tee_reader *reader = arg;
    struct weir_chunk *chunk;

    reader->result = weir_next(reader->source, -1, &chunk);
    return 0;
}

/* A fiber that is cancelled while it waits loses its own branch only. */
FIBER_TEST(tee_a_cancelled_reader_is_alone)
{
    static const struct step steps[] = {{100, 10, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct tee_reader a = {0}, b = {0};
    struct weir_scope *scope;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_tee_create_take(source, 0, &a.source, &b.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_once, &a), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    assert_int_equal(a.result, WEIR_ECANCELED);
    assert_int_equal(drain(b.source, 0), 10);
    weir_source_destroy(a.source);
    weir_source_destroy(b.source);
}

/* ---- map_par ---- */

struct workshop {
    unsigned running, peak, calls, releases, canceled;
    bool fails;
};

/* "5x" takes 5 ms and gives "x"; "!" fails; "-" gives nothing. */
static int slowly(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    struct workshop *workshop = arg;
    struct weir_view view = weir_chunk_view(chunk);
    uint8_t last = view.data[view.len - 1];
    uint64_t ms = 0;
    int r;

    workshop->calls++;
    workshop->running++;
    workshop->peak = workshop->running > workshop->peak ? workshop->running : workshop->peak;
    WEIR_IGNORE(weir_view_to_u64(weir_bytes(view.data, view.len - 1), &ms));
    r = weir_sleep(weir_after_ms((int64_t)ms));
    workshop->running--;
    if (r < 0) {
        workshop->canceled++;
        return r;
    }
    if (last == '!' || last == '-') {
        return last == '!' ? WEIR_EPROTO : 0;
    }
    r = weir_chunk_copy(weir_bytes(&last, 1), ret);
    return r < 0 ? r : 1;
}

static void workshop_release(void *arg)
{
    ((struct workshop *)arg)->releases++;
}

static struct weir_source *parallel(struct text_source *text, const char *content, unsigned count,
                                    bool unordered, struct workshop *workshop)
{
    struct weir_source *source = NULL;

    *workshop = (struct workshop){0};
    assert_int_equal(
        weir_map_par_create_take(text_source(text, content), slowly, workshop,
                                 &(struct weir_map_par_opts){.parallel = count,
                                                             .unordered = unordered,
                                                             .release = workshop_release},
                                 &source),
        0);
    return source;
}

/* P16, P17 */
FIBER_TEST(map_par_in_order_or_not)
{
    struct text_source text = {0};
    struct workshop workshop;
    struct weir_source *source = parallel(&text, "50a|10b|20-|30d|5e|5f", 3, false, &workshop);

    settle();
    assert_int_equal(workshop.calls, 0); /* nobody has asked */
    expect_text(source, "a|b|d|e|f|", 0);
    assert_int_equal(workshop.peak, 3);
    assert_int_equal(workshop.running, 0);
    assert_int_equal(weir__loop_current()->live_fibers, 1); /* all are home at the end */
    weir_source_destroy(source);
    assert_int_equal(workshop.releases, 1);

    text = (struct text_source){0};
    source = parallel(&text, "50a|10b|20-|30d|5e|5f", 3, true, &workshop);
    expect_text(source, "b|e|f|d|a|", 0);
    assert_int_equal(workshop.peak, 3);
    assert_int_equal(weir__loop_current()->live_fibers, 1);
    weir_source_destroy(source);
    assert_int_equal(workshop.releases, 1);
}

FIBER_TEST(map_par_does_not_run_away)
{
    struct text_source text = {0};
    struct workshop workshop;
    struct weir_source *source = parallel(&text, "1a|1b|1c|1d|1e|1f|1g|1h", 3, true, &workshop);
    struct weir_chunk *chunk;

    assert_int_equal(weir_next(source, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_sleep(weir_after_ms(100)), 0);
    assert_true(workshop.calls <= 4); /* one was delivered, three wait for the reader */
    weir_source_destroy(source);
    assert_int_equal(workshop.running, 0);
    settle();
    assert_int_equal(workshop.releases, 1);
}

FIBER_TEST(map_par_failures_come_in_turn)
{
    struct text_source text = {0};
    struct workshop workshop;
    struct weir_source *source = parallel(&text, "20a|5!|500c|1d", 3, false, &workshop);
    struct weir_error error;

    expect_text(source, "a|", WEIR_EPROTO);
    weir_source_error(source, &error);
    assert_int_equal(error.side, WEIR_SIDE_SELF);
    assert_string_equal(error.where, "map_par: callback");
    settle();
    assert_int_equal(workshop.canceled, 1); /* the one that still slept */
    assert_int_equal(workshop.running, 0);
    assert_int_equal(workshop.calls, 3);
    weir_source_destroy(source);
    settle();
    assert_int_equal(workshop.releases, 1);

    text = (struct text_source){.result = WEIR_EIO};
    source = parallel(&text, "20a|5b", 3, false, &workshop);
    expect_text(source, "a|b|", WEIR_EIO); /* of the source: behind what it gave */
    weir_source_destroy(source);
    assert_int_equal(workshop.releases, 1);
}

FIBER_TEST(map_par_left_behind)
{
    struct text_source text = {0};
    struct workshop workshop;
    struct weir_source *source = parallel(&text, "5000a|5000b|5000c|5000d", 3, false, &workshop);
    struct weir_chunk *chunk;

    assert_int_equal(weir_next(source, weir_after_ms(10), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(workshop.running, 3);
    weir_source_destroy(source); /* does not wait */
    settle();
    assert_int_equal(workshop.canceled, 3);
    assert_int_equal(workshop.releases, 1);
    assert_int_equal(weir__loop_current()->live_fibers, 1);
}

FIBER_TEST(bad_arguments_consume_the_source)
{
    static const struct step steps[] = {{0, 0, 0}};
    struct weir_source *source, *out, *other;
    struct weir_batch *batch;
    struct script script;

#define REFUSED(call)                                            \
    assert_int_equal(script_source(&script, steps, &source), 0); \
    assert_int_equal(call, WEIR_EINVAL);                         \
    assert_int_equal(script.destroys, 1);                        \
    assert_int_equal(script.cancels, 1)
    REFUSED(weir_map_create_take(source, NULL, NULL, &out));
    REFUSED(weir_filter_create_take(source, NULL, NULL, &out));
    REFUSED(weir_inspect_create_take(source, NULL, NULL, &out));
    REFUSED(weir_map_par_create_take(source, NULL, NULL, NULL, &out));
    REFUSED(weir_map_par_create_take(source, slowly, NULL,
                                     &(struct weir_map_par_opts){.parallel = 257}, &out));
    REFUSED(weir_progress_create_take(source, NULL, &out));
    REFUSED(weir_pace_create_take(source, 0, &out));
    REFUSED(weir_coalesce_create_take(source, WEIR_CHUNK_BYTES + 1, 0, &out));
    REFUSED(weir_coalesce_create_take(source, 1, -1, &out));
    REFUSED(weir_lines_create_take(source, WEIR_LINE_MAX + 1, &out));
    REFUSED(weir_prefetch_create_take(source, 1, &out));
    REFUSED(weir_prefetch_create_take(source, WEIR_AHEAD_MAX + 1, &out));
    REFUSED(weir_tee_create_take(source, 1, &out, &other));
    REFUSED(weir_batch_create_take(source, &(struct weir_batch_opts){.max_items = 5000}, &batch));
    REFUSED(weir_batch_create_take(source, &(struct weir_batch_opts){.max_delay_ms = -1}, &batch));
    assert_int_equal(weir_take_create_take(NULL, 1, &out), WEIR_EINVAL);
    assert_int_equal(weir_hash_create_take(NULL, NULL, NULL, &out), WEIR_EINVAL);
    assert_int_equal(weir_tee_create_take(NULL, 0, &out, &other), WEIR_EINVAL);
    assert_int_equal(weir_merge_create_take(NULL, 1, NULL, &out), WEIR_EINVAL);
    assert_int_equal(weir_prefetch_create_take(NULL, 0, &out), WEIR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_chain_of_many_needs_no_stack),
        cmocka_unit_test(chain_one_after_the_other),
        cmocka_unit_test(chain_cancels_all_that_is_left),
        cmocka_unit_test(prefetch_reads_while_the_reader_works),
        cmocka_unit_test(chunks_released_on_other_threads),
        cmocka_unit_test(prefetch_stays_in_its_window),
        cmocka_unit_test(prefetch_passes_the_story_on),
        cmocka_unit_test(a_source_that_hangs_is_left_behind_at_once),
        cmocka_unit_test(merge_takes_turns),
        cmocka_unit_test(merge_as_they_come),
        cmocka_unit_test(merge_and_errors),
        cmocka_unit_test(tee_the_slower_governs),
        cmocka_unit_test(tee_who_leaves_frees_the_other),
        cmocka_unit_test(tee_is_cancelled_with_the_second),
        cmocka_unit_test(tee_a_cancelled_reader_is_alone),
        cmocka_unit_test(map_par_in_order_or_not),
        cmocka_unit_test(map_par_does_not_run_away),
        cmocka_unit_test(map_par_failures_come_in_turn),
        cmocka_unit_test(map_par_left_behind),
        cmocka_unit_test(bad_arguments_consume_the_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
