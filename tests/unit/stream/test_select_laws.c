/* SPDX-License-Identifier: MIT */
/*
 * P12: what a select did not choose is as it was. Random fibers select among sources behind every kind of combinator, a
 * channel and the time; what is read after what was chosen is complete and in order, of all of them.
 */
#include "properties.h"

#include <weir/combinators.h>
#include <weir/select.h>

#define SOURCES 3
#define STEPS 10

struct program {
    struct world world;
    uint64_t dice;
    struct step steps[SOURCES][STEPS + 1];
    struct script scripts[SOURCES];
    uint64_t totals[SOURCES], got[SOURCES];
    struct weir_source *sources[SOURCES];
    struct weir_channel *channel;
    unsigned sent, received;
};

static int same(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    (void)arg;
    *ret = weir_chunk_ref(chunk);
    return 1;
}

static bool keep_all(void *arg, struct weir_view bytes)
{
    (void)arg;
    return bytes.len > 0;
}

static void look(void *arg, struct weir_view bytes)
{
    (void)arg;
    (void)bytes;
}

/* Some that need no script: what a select wakes. */
static int64_t script_arm(void *state, struct weir_waker *waker)
{
    struct script *script = state;

    script->waiter = weir__waker_fiber(waker);
    return (script->ready_us + 999) / 1000;
}

static const struct weir_source_ops ops = {
    .name = "script",
    .next = script_next,
    .cancel = script_cancel,
    .destroy = script_destroy,
    .arm = script_arm,
};

static int wrap(uint32_t kind, struct weir_source *inner, struct weir_source **ret)
{
    struct weir_source *other;
    int r;

    switch (kind) {
    case 0:
        return weir_map_create_take(inner, same, NULL, ret);
    case 1:
        return weir_filter_create_take(inner, keep_all, NULL, ret);
    case 2:
        return weir_inspect_create_take(inner, look, NULL, ret);
    case 3:
        return weir_take_create_take(inner, UINT64_MAX, ret);
    case 4:
        return weir_pace_create_take(inner, 7, ret);
    case 5:
        return weir_coalesce_create_take(inner, 5000, 13, ret);
    case 6:
        return weir_lines_create_take(inner, 0, ret);
    case 7:
        return weir_prefetch_create_take(inner, 0, ret);
    case 8:
        return weir_chain_create_take(&inner, 1, ret);
    case 9:
        return weir_merge_create_take(&inner, 1, NULL, ret);
    case 10:
        r = weir_tee_create_take(inner, 0, ret, &other);
        if (r == 0) {
            weir_source_destroy(other);
        }
        return r;
    case 11:
        return weir_map_par_create_take(inner, same, NULL, NULL, ret);
    case 12:
        return weir_rechunk_create_take(inner, 1000, 0, ret);
    case 13:
        return weir_rate_create_take(inner, 1000000, 10000, ret);
    default:
        return weir_timeout_create_take(inner, 10000, 0, ret);
    }
}
#define KINDS 15

static int send_some(void *arg)
{
    struct program *program = arg;
    int r = 0;

    while (r == 0 && program->sent < 20) {
        r = weir_sleep(weir_after_ms(roll(&program->dice, 20)));
        r = r == 0 ? weir_channel_send(program->channel, &program->sent, 1, -1) : r;
        program->sent += r == 0;
    }
    weir_channel_close(program->channel, 0);
    return 0;
}

static void run_select(void *arg)
{
    struct program *program = arg;
    struct weir_scope *scope;
    struct weir_case cases[SOURCES + 2];
    unsigned live = SOURCES + 1;

    memset(cases, 0, sizeof(cases));
    for (unsigned i = 0; i < SOURCES; i++) {
        unsigned count = roll(&program->dice, STEPS), depth = 1 + roll(&program->dice, 3);

        for (unsigned k = 0; k < count; k++) {
            program->steps[i][k] =
                (struct step){.delay_ms = roll(&program->dice, 2) ? roll(&program->dice, 30) : 0,
                              .len = 1 + roll(&program->dice, 3000)};
            program->totals[i] += program->steps[i][k].len;
        }
        program->scripts[i] = (struct script){.steps = program->steps[i]};
        assert_int_equal(weir_source_create_take(&ops, &program->scripts[i], &program->sources[i]),
                         0);
        while (depth-- > 0) {
            assert_int_equal(
                wrap(roll(&program->dice, KINDS), program->sources[i], &program->sources[i]), 0);
        }
        cases[i] = (struct weir_case){.kind = WEIR_CASE_SOURCE, .source = program->sources[i]};
    }
    assert_int_equal(
        weir_channel_create(&(struct weir_channel_opts){.max_items = 2}, &program->channel), 0);
    cases[SOURCES] = (struct weir_case){.kind = WEIR_CASE_RECV, .channel = program->channel};
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, send_some, program), 0);
    while (live > 0) {
        struct weir_chunk *chunk;
        size_t which = 99;
        void *item;
        int r;

        cases[SOURCES + 1] = (struct weir_case){.kind = WEIR_CASE_TIME,
                                                .at = weir_after_ms(roll(&program->dice, 50))};
        r = weir_select(cases, SOURCES + 2, roll(&program->dice, 2) ? -1 : weir_after_ms(5),
                        &which);
        if (r == WEIR_ETIMEDOUT) {
            continue;
        }
        assert_int_equal(r, 1);
        if (which == SOURCES) {
            r = weir_channel_recv(program->channel, 0, &item); /* has come: without waiting */
            assert_true(r >= 0);
            program->received += r == 1;
        } else if (which < SOURCES) {
            r = weir_next(program->sources[which], 0, &chunk);
            assert_true(r == 0 || r == 1);
            if (r == 1) {
                program->got[which] += pattern_check(chunk, program->got[which]);
            }
        } else {
            continue;
        }
        if (r == 0) {
            cases[which].kind = WEIR_CASE_NONE;
            live--;
        }
    }
    weir_scope_close(scope);
    assert_int_equal(program->received, program->sent);
    weir_channel_unref(program->channel);
    for (unsigned i = 0; i < SOURCES; i++) {
        assert_true(program->got[i] ==
                    program->totals[i]); /* P12, P11: nothing lost, nothing twice */
        weir_source_destroy(program->sources[i]);
    }
}

static void one_program(uint64_t seed)
{
    struct program program = {.dice = seed * 86028121};

    assert_true(world_run(&program.world, run_select, &program));
    for (unsigned i = 0; i < SOURCES; i++) {
        assert_int_equal(program.scripts[i].destroys, 1);
        assert_int_equal(program.scripts[i].cancels, 0);
    }
}

static void p12_selects(void **state)
{
    (void)state;
    run_programs(one_program, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p12_selects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
