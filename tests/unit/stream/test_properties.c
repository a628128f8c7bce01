/* SPDX-License-Identifier: MIT */
/*
 * The laws of a chain, by random programs: a scripted origin, combinators of every kind, a reader with random deadlines;
 * cancels from other fibers, scopes that are cancelled, allocations that fail. A model walks along with the construction and
 * knows how many bytes come out and how they end, so what is seen is all of that, or a beginning of it with a cause. The
 * numbers P1 to P24 name the laws where they are claimed.
 */
#include "properties.h"

#include <weir/combinators.h>
#include <weir/sources.h>

#define STEPS 30
#define DEPTH 6

struct program {
    struct world world;
    uint64_t dice;
    struct step steps[STEPS + 1];
    struct script script;
    /* The model: so many bytes come out, and then this. */
    uint64_t len;
    int end;
    /* What may be on its way between the origin and the reader, in bytes and in memory. */
    uint64_t ahead;
    size_t memory;
    bool has_timeout, callback_sleeps, loses_story, faults;
    bool reads_ahead; /* some link may ask more than once for one read */
    unsigned reads;
    bool cancel, scope_cancel, cancelled;
    int64_t cancel_at_ms;
    int64_t cancelled_at_ms;
    struct weir_source *source, *others[DEPTH]; /* other branches of tees */
    unsigned other_count;
    struct weir_scope *scope;
    struct weir__fiber *reader;
    uint64_t got;
    int result;
    size_t budget_before;
    char names[128];
};

static struct program *playing; /* for callbacks */

static uint32_t dice(struct program *program, uint32_t below)
{
    return roll(&program->dice, below);
}

static void write_script(struct program *program)
{
    static const int ends[] = {0, 0, 0, 0, WEIR_EIO, WEIR_ERESET, WEIR_ETRUNCATED};
    /* P14: the sizes at the edges. */
    static const uint32_t sizes[] = {1, 2, 100, 5000, 16384, 65535, 65536, 65537};
    unsigned count = dice(program, STEPS);
    bool small = dice(program, 2) == 0;

    for (unsigned i = 0; i < count; i++) {
        uint32_t size = sizes[dice(program, small ? 4 : 8)];

        program->steps[i] = (struct step){
            .delay_ms = dice(program, 3) == 0 ? dice(program, 50) : 0,
            .len = dice(program, 2) ? size : 1 + dice(program, size),
        };
        program->len += program->steps[i].len;
    }
    program->end = ends[dice(program, 7)];
    program->steps[count] = (struct step){
        .delay_ms = dice(program, 30) == 0 ? 100000000 : dice(program, 30), .result = program->end};
}

/* ---- what the callbacks do ---- */

static int pass_on(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    struct program *program = playing;
    int r = 0;

    (void)arg;
    if (program->reader == weir__fiber_current()) {
        struct weir_chunk *again;

        assert_int_equal(weir_next(program->source, -1, &again), WEIR_EBUSY); /* P24 */
    }
    if (program->callback_sleeps && dice(program, 8) == 0) {
        r = weir_sleep(weir_after_ms(dice(program, 10)));
    }
    if (r < 0) {
        return r;
    }
    if (dice(program, 2)) {
        *ret = weir_chunk_ref(chunk);
        return 1;
    }
    r = weir_chunk_copy(weir_chunk_view(chunk), ret);
    return r < 0 ? r : 1;
}

static bool keep_all(void *arg, struct weir_view bytes)
{
    (void)arg;
    return bytes.len > 0; /* P5 */
}

static void look(void *arg, struct weir_view bytes)
{
    (void)arg;
    assert_in_range(bytes.len, 1, WEIR_CHUNK_BYTES); /* P5 */
}

static void hear(void *arg, const struct weir_progress *progress)
{
    (void)arg;
    assert_true(progress->elapsed_ms >= 0);
}

static void hear_digest(void *arg, const uint8_t digest[WEIR_SHA256_BYTES])
{
    (void)arg;
    (void)digest;
}

static int relay(struct weir_sink *out, void *arg)
{
    return weir_pipe(arg, out, NULL, NULL);
}

static void relay_release(void *arg)
{
    weir_source_destroy(arg);
}

/* ---- the construction, and the model ---- */

/* Lines of at most `max`: what comes out of what the model has so far. */
static void model_lines(struct program *program, uint64_t max)
{
    uint64_t begin = 0;

    for (uint64_t at = 0; at < program->len; at++) {
        if (pattern_at(at) == '\n') {
            uint64_t text = at - begin;

            text -= text > 0 && pattern_at(at - 1) == '\r';
            if (text > max) {
                program->len = begin;
                program->end = WEIR_ELIMIT;
                return;
            }
            begin = at + 1;
        }
    }
    if (program->len - begin > max + 1 ||
        (program->len - begin == max + 1 &&
         (program->end == 0 || pattern_at(program->len - 1) != '\r'))) {
        program->len = begin;
        program->end = WEIR_ELIMIT;
    } else if (program->end != 0) {
        program->len = begin;
    }
}

static void holds(struct program *program, uint64_t bytes)
{
    program->ahead += bytes;
    program->memory += 4 * bytes + 64 * 1024; /* weir__chunk_keep(): small ones count 1 KiB each */
}

static int wrap(struct program *program)
{
    struct weir_source *inner = program->source;
    struct weir_source **ret = &program->source;
    uint64_t amount;
    uint32_t kind = dice(program, 18);

    program->source = NULL;
    program->reads_ahead |= kind == 2 || (kind > 4 && kind != 11 && kind != 12);
    switch (kind) {
    case 0:
        amount = 1 + dice(program, dice(program, 2) ? 1000 : 2000000);
        if (program->len > amount) {
            program->len = amount;
            program->end = WEIR_ELIMIT;
        }
        program->ahead += 1;
        return weir_limit_create_take(inner, amount, ret);
    case 1:
        amount = dice(program, dice(program, 2) ? 1000 : 2000000);
        if (program->len >= amount) {
            program->len = amount;
            program->end = 0;
        }
        program->ahead += 1;
        return weir_take_create_take(inner, amount, ret);
    case 2:
        amount = 1 + dice(program, WEIR_CHUNK_BYTES);
        program->memory += 2 * WEIR_CHUNK_BYTES;
        return weir_rechunk_create_take(inner, dice(program, (uint32_t)amount), amount, ret);
    case 3:
        program->has_timeout = true;
        return weir_timeout_create_take(inner, 1 + dice(program, 200), dice(program, 2000), ret);
    case 4:
        return weir_rate_create_take(inner, 100000 + dice(program, 10000000),
                                     1 + dice(program, 100000), ret);
    case 5:
        holds(program, WEIR_CHUNK_BYTES);
        return weir_pace_create_take(inner, 1 + dice(program, 5), ret);
    case 6:
        holds(program, WEIR_CHUNK_BYTES);
        return weir_coalesce_create_take(inner, 1 + dice(program, WEIR_CHUNK_BYTES),
                                         dice(program, 2) ? dice(program, 50) : 0, ret);
    case 7:
        amount = dice(program, 3) ? WEIR_LINE_MAX : 300 + dice(program, 2000);
        model_lines(program, amount);
        holds(program, 2 * WEIR_CHUNK_BYTES);
        return weir_lines_create_take(inner, amount, ret);
    case 8:
        holds(program, WEIR_CHUNK_BYTES);
        program->callback_sleeps |= dice(program, 2);
        return weir_map_create_take(inner, pass_on, program, ret);
    case 9:
        holds(program, WEIR_CHUNK_BYTES);
        return weir_filter_create_take(inner, keep_all, program, ret);
    case 10:
        holds(program, WEIR_CHUNK_BYTES);
        return weir_inspect_create_take(inner, look, program, ret);
    case 11:
        return weir_progress_create_take(
            inner, &(struct weir_progress_opts){.fn = hear, .every_ms = dice(program, 100)}, ret);
    case 12:
        return weir_hash_create_take(inner, hear_digest, program, ret);
    case 13:
        amount = WEIR_CHUNK_BYTES + dice(program, 300000);
        holds(program, amount);
        return weir_prefetch_create_take(inner, amount, ret);
    case 14: {
        struct weir_source *parts[3] = {inner, NULL, NULL};
        unsigned count = 1;

        for (; count < 1 + dice(program, 3); count++) {
            int r = weir_bytes_source_create(weir_bytes(NULL, 0), &parts[count]);

            if (r < 0) {
                for (unsigned i = 0; i < count; i++) {
                    weir_source_destroy(parts[i]);
                }
                return r;
            }
        }
        if (dice(program, 2)) {
            return weir_chain_create_take(parts, count, ret);
        }
        holds(program, 2 * WEIR_CHUNK_BYTES);
        return weir_merge_create_take(
            parts, count, &(struct weir_merge_opts){.collect_errors = dice(program, 2)}, ret);
    }
    case 15:
        amount = WEIR_CHUNK_BYTES + dice(program, 300000);
        holds(program, amount + WEIR_CHUNK_BYTES);
        return weir_tee_create_take(inner, amount, ret, &program->others[program->other_count++]);
    case 16:
        amount = 1 + dice(program, 5);
        holds(program, (amount + 1) * WEIR_CHUNK_BYTES);
        program->callback_sleeps |= dice(program, 2);
        return weir_map_par_create_take(inner, pass_on, program,
                                        &(struct weir_map_par_opts){.parallel = (unsigned)amount},
                                        ret);
    default:
        amount = 1 + dice(program, 100000);
        holds(program, amount + 2 * WEIR_CHUNK_BYTES);
        program->loses_story = true;
        return weir_source_from_fiber(
            relay, inner,
            &(struct weir_generator_opts){.window_bytes = amount, .release = relay_release}, ret);
    }
}

/* ---- the fibers ---- */

static void check_bounds(struct program *program, uint64_t got)
{
    size_t used = weir__budget_used(weir__budget_process()) - program->budget_before;

    /* P1: the origin is asked for no more than what readers and windows want; where nothing is held, once for a read. */
    assert_true(program->reads_ahead || program->script.calls <= program->reads);
    if (program->script.position > got + program->ahead + 2 * WEIR_CHUNK_BYTES) {
        fail_msg("%llu bytes asked for, %llu read, %llu may be on their way behind%s",
                 (unsigned long long)program->script.position, (unsigned long long)got,
                 (unsigned long long)program->ahead, program->names);
    }
    /* P14: and what is held is bounded. */
    if (used > program->memory + 8 * WEIR_CHUNK_BYTES) {
        fail_msg("%zu bytes held, %zu allowed", used, program->memory + 8 * WEIR_CHUNK_BYTES);
    }
}

static int read_randomly(void *arg)
{
    struct program *program = arg;
    int64_t until = weir_after_ms(dice(program, 4) == 0 ? dice(program, 500) : 100000000);
    int r = WEIR_EAGAIN;

    program->reader = weir__fiber_current();
    while (weir_now() < until) {
        struct weir_chunk *chunk = NULL;
        size_t most = dice(program, 2) ? WEIR_CHUNK_BYTES : 1 + dice(program, 5000);
        int64_t before = weir_now();
        uint32_t kind = dice(program, 3);
        int64_t deadline = kind == 0 ? 0 : kind == 1 ? weir_after_ms(dice(program, 60)) : until;
        bool cancelled = program->cancelled;

        program->reads++;
        r = weir__next(program->source, most, deadline, &chunk);
        if (!program->callback_sleeps && !program->faults) {
            if (deadline == 0) {
                assert_int_equal(weir_now(), before); /* never waits */
                assert_int_not_equal(r, WEIR_ETIMEDOUT);
            } else {
                assert_true(weir_now() <= (deadline > before ? deadline : before));
                assert_int_not_equal(r, WEIR_EAGAIN);
            }
        }
        assert_false(cancelled && r != program->result && r != WEIR_ECANCELED && r >= 0 && r != 0);
        if (program->cancelled && !cancelled && !program->callback_sleeps) {
            assert_int_equal(weir_now(), program->cancelled_at_ms); /* P9: woken at once */
        }
        if (r == 1) {
            assert_false(program->cancelled); /* P4: nothing after a cancel */
            assert_true(weir_chunk_len(chunk) <= most);
            program->got += pattern_check(chunk, program->got);
            check_bounds(program, program->got);
        } else {
            assert_null(chunk);
            if (r == 0 || weir__is_final(r)) {
                break;
            }
        }
        if (r == WEIR_EAGAIN || dice(program, 4) == 0) {
            if (weir_sleep(weir_after_ms(1 + dice(program, 40))) < 0) {
                break;
            }
        } else if (dice(program, 4) == 0 && weir_yield() < 0) { /* P21 */
            break;
        }
    }
    program->result = r;
    program->reader = NULL;
    return 0;
}

/* P7: from another fiber, while the first one waits inside or not; twice. */
static int cancel_later(void *arg)
{
    struct program *program = arg;

    if (weir_sleep(program->cancel_at_ms) == 0 && program->result == 1) {
        program->cancelled = true;
        program->cancelled_at_ms = weir_now();
        weir_cancel(program->source, WEIR_REASON_FIN);
        weir_cancel(program->source, WEIR_REASON_STALL);
    }
    return 0;
}

/* The other branch of a tee is read, or left. */
static int read_other(void *arg)
{
    struct program *program = playing;
    struct weir_source **other = arg;
    unsigned count = dice(program, 4) == 0 ? dice(program, 20) : 100000;
    struct weir_chunk *chunk;
    uint64_t got = 0;

    while (count-- > 0) {
        int r = weir_next(*other, weir_after_ms(1 + dice(program, 100)), &chunk);

        if (r == 1) {
            got += pattern_check(chunk, got);
        } else if (r != WEIR_ETIMEDOUT) {
            break;
        }
        if (dice(program, 10) == 0 && weir_sleep(weir_after_ms(dice(program, 10))) < 0) {
            break;
        }
    }
    weir_source_destroy(*other);
    *other = NULL;
    return 0;
}

/* ---- what must be true afterwards ---- */

static void check_result(struct program *program)
{
    int r = program->result;
    struct weir_error error;
    struct weir_chunk *chunk;

    assert_true(program->got <= program->len);
    if (r == 0 || weir__is_final(r)) {
        /* P2, P3: it stays, and the first one counts. */
        weir_cancel(program->source, WEIR_REASON_LIMIT);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(weir_next(program->source, i - 1, &chunk), r);
        }
        weir_source_error(program->source, &error);
        assert_int_equal(error.code, r);
        assert_true(r == 0 || error.where != NULL);
    }
    if (r == 0) {
        assert_int_equal(program->end, 0); /* R4: an end is only ever the end */
        assert_true(program->got == program->len);
    } else if (r == program->end && program->got == program->len) {
        /* P10: what came before the failure was delivered, and its story came along. */
        if (r == WEIR_EIO && !program->loses_story) {
            assert_int_equal(error.native, 77);
            assert_string_equal(error.where, "script");
        }
    } else if (r == WEIR_ESTALLED) {
        assert_true(program->has_timeout);
    } else if (r == WEIR_ECANCELED) {
        assert_true(program->cancelled || program->scope_cancel);
    } else if (r < 0 && weir__is_final(r)) {
        assert_true(program->faults);
        assert_true(r == WEIR_ENOMEM || r == WEIR_EBUDGET || r == WEIR_ELIMIT ||
                    r == WEIR_ERESET); /* out of a generator */
    } else {
        assert_true(r == 1 || r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT); /* the reader left */
    }
}

static int construct(struct program *program)
{
    unsigned depth = dice(program, DEPTH + 1);
    int r = script_source(&program->script, program->steps, &program->source);

    for (unsigned i = 0; r == 0 && i < depth; i++) {
        struct weir_source *inner = program->source;

        r = wrap(program);
        snprintf(program->names + strlen(program->names),
                 sizeof(program->names) - strlen(program->names), " %s",
                 r == 0 ? program->source->ops->name : "-");
        if (r == WEIR_ENOMEM && program->loses_story && program->source == NULL &&
            program->script.destroys == 0) {
            weir_source_destroy(inner); /* a generator leaves its argument when it fails */
        }
    }
    return r;
}

static void run_reader(struct program *program)
{
    struct weir_scope *helpers;

    assert_int_equal(weir_scope_open(&helpers), 0);
    assert_int_equal(weir_scope_open(&program->scope), 0);
    for (unsigned i = 0; i < program->other_count; i++) {
        assert_int_equal(weir_scope_spawn(helpers, read_other, &program->others[i]), 0);
    }
    if (program->cancel) {
        assert_int_equal(weir_scope_spawn(helpers, cancel_later, program), 0);
    }
    assert_int_equal(weir_scope_spawn(program->scope, read_randomly, program), 0);
    if (program->faults) {
        /* P10: any one allocation, or all from one on. */
        (dice(program, 2) ? weir__alloc_fail_only : weir__alloc_fail_at)(1 + dice(program, 150));
    }
    if (program->scope_cancel) {
        WEIR_IGNORE(weir_scope_join(program->scope, program->cancel_at_ms));
        weir_scope_cancel(program->scope);
    }
    assert_int_equal(weir_scope_join(program->scope, -1), 0);
    weir__alloc_fail_at(0);
    weir_scope_close(program->scope);
    check_result(program);
    weir_source_destroy(program->source);
    weir_scope_close(helpers);
    for (unsigned i = 0; i < program->other_count; i++) {
        weir_source_destroy(program->others[i]); /* its fiber never ran */
    }
}

static void run_chain(void *arg)
{
    struct program *program = arg;
    struct weir_chunk *chunk;
    int r;

    program->budget_before = weir__budget_used(weir__budget_process());
    write_script(program);
    program->faults = dice(program, 4) == 0;
    program->cancel = dice(program, 4) == 0;
    program->scope_cancel = !program->cancel && dice(program, 4) == 0;
    program->cancel_at_ms = weir_after_ms(dice(program, 300));
    program->result = 1;
    r = construct(program);
    assert_int_equal(r, 0);
    weir_yield();
    assert_int_equal(program->script.calls, 0); /* P1: nothing is asked before the first read */
    if (dice(program, 20) == 0) {
        /* P7: before the first read. */
        weir_cancel(program->source, WEIR_REASON_FIN);
        assert_int_equal(weir_next(program->source, -1, &chunk), WEIR_ECANCELED);
        assert_int_equal(program->script.calls, 0);
        weir_source_destroy(program->source);
        for (unsigned i = 0; i < program->other_count; i++) {
            weir_source_destroy(program->others[i]);
        }
        return;
    }
    run_reader(program);
}

static unsigned ends, failures, leaves;

static void one_chain(uint64_t seed)
{
    struct program program = {.dice = seed * 7919};

    playing = &program;
    assert_true(world_run(&program.world, run_chain, &program));
    /* P8: once, and nothing is left (world_run() counts blocks, bytes and fibers). */
    assert_int_equal(program.script.destroys, 1);
    assert_true(program.script.cancels <= 1);
    ends += program.result == 0;
    failures += weir__is_final(program.result);
    leaves +=
        program.result == 1 || program.result == WEIR_EAGAIN || program.result == WEIR_ETIMEDOUT;
}

static void chains(void **state)
{
    (void)state;
    run_programs(one_chain, 100);
    if (seed_wanted() == 0 && programs_wanted() >= 1000) {
        /* The programs are worth something: all kinds of outcome are among them. */
        assert_true(ends > programs_wanted() / 10 && failures > programs_wanted() / 10);
        assert_true(leaves > programs_wanted() / 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
