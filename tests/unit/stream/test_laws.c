/* SPDX-License-Identifier: MIT */
/*
 * Laws of pipes, merges, tees and parallel maps by random programs, and of every combinator when each of its allocations
 * fails. See test_properties.c for the numbers.
 */
#include "properties.h"

#include <weir/channel.h>
#include <weir/combinators.h>
#include <weir/sources.h>

#include "bytes/chunk.h"

/* ---- P19, P20: the pipe, bare and behind an identity chain ---- */

#define STEPS 20

struct pipe_program {
    struct world world;
    uint64_t dice, total;
    struct step steps[STEPS + 1];
    struct script script;
    struct taker taker;
    struct weir_source *source;
    struct weir_sink *sink;
    struct weir_pipe_opts opts;
    struct weir_pipe_result result;
    int end, r;
    bool scope_cancel;
};

static int same(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    (void)arg;
    *ret = weir_chunk_ref(chunk);
    return 1;
}

static int pipe_all(void *arg)
{
    struct pipe_program *program = arg;

    program->r = weir_pipe(program->source, program->sink, &program->opts, &program->result);
    return 0;
}

static void check_pipe(struct pipe_program *program)
{
    struct weir_error *cause = &program->result.cause;
    struct taker *taker = &program->taker;
    int r = program->r;

    assert_true(program->result.bytes == taker->got);
    assert_int_equal(cause->code, r);
    assert_true(taker->ends + taker->aborts <= 1); /* one terminal */
    if (r == 0) {
        assert_int_equal(program->end, 0);
        assert_true(taker->got == program->total);
        assert_int_equal(taker->ends, !program->opts.keep_sink_open); /* an end goes forward */
        assert_int_equal(taker->aborts, 0);
        assert_int_equal(program->script.cancels, 0);
        return;
    }
    assert_int_equal(taker->aborts, 1);
    if (r == WEIR_ECLOSED || r == WEIR_ELIMIT) {
        /* The sink's failure goes back, unless that is not wanted. */
        assert_int_equal(r, taker->fail_code);
        assert_int_equal(cause->side, r == WEIR_ECLOSED ? WEIR_SIDE_SINK : WEIR_SIDE_SELF);
        assert_int_equal(program->script.cancels, !program->opts.no_cancel);
    } else if (r == WEIR_ECANCELED) {
        assert_true(program->scope_cancel);
        assert_int_equal(program->script.cancels, 1);
    } else if (r == WEIR_ETIMEDOUT) {
        assert_true(program->opts.deadline > 0 && weir_now() >= program->opts.deadline);
        assert_int_equal(program->script.cancels, !program->opts.no_cancel);
    } else {
        /* The source's error goes forward, behind what it gave, with its story. */
        assert_int_equal(r, program->end);
        assert_true(taker->got == program->total);
        assert_int_equal(cause->side, WEIR_SIDE_SOURCE);
        assert_string_equal(cause->where, "script");
        assert_int_equal(taker->reason, WEIR_REASON_RESET);
    }
}

static void run_pipe(void *arg)
{
    struct pipe_program *program = arg;
    uint64_t *dice = &program->dice;
    unsigned count = roll(dice, STEPS), depth = roll(dice, 6);
    struct weir_scope *scope;

    for (unsigned i = 0; i < count; i++) {
        program->steps[i] = (struct step){.delay_ms = roll(dice, 2) ? roll(dice, 20) : 0,
                                          .len = 1 + roll(dice, roll(dice, 2) ? 100 : 100000)};
        program->total += program->steps[i].len;
    }
    program->end = roll(dice, 3) ? 0 : WEIR_EIO;
    program->steps[count] = (struct step){.delay_ms = 1, .result = program->end};
    program->taker = (struct taker){
        .dice = dice,
        .fail_at = roll(dice, 3) ? UINT64_MAX : roll(dice, 1 + (uint32_t)program->total),
        .fail_code = roll(dice, 2) ? WEIR_ECLOSED : WEIR_ELIMIT,
        .slow_ms = roll(dice, 2) ? roll(dice, 10) : 0,
        .room = 1 + roll(dice, roll(dice, 2) ? 1000 : 65535)};
    program->opts =
        (struct weir_pipe_opts){.keep_sink_open = roll(dice, 2),
                                .no_cancel = roll(dice, 2),
                                .deadline = roll(dice, 4) ? 0 : weir_after_ms(roll(dice, 300))};
    program->scope_cancel = roll(dice, 4) == 0;
    assert_int_equal(script_source(&program->script, program->steps, &program->source), 0);
    while (depth-- > 0) {
        assert_int_equal(roll(dice, 2)
                             ? weir_map_create_take(program->source, same, NULL, &program->source)
                             : weir_take_create_take(program->source, UINT64_MAX, &program->source),
                         0);
    }
    assert_int_equal(weir_sink_create_take(&taker_ops, &program->taker, &program->sink), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, pipe_all, program), 0);
    if (program->scope_cancel) {
        WEIR_IGNORE(weir_scope_join(scope, weir_after_ms(roll(dice, 200))));
        weir_scope_cancel(scope);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    check_pipe(program);
    weir_source_destroy(program->source);
    weir_sink_destroy(program->sink);
    assert_int_equal(program->taker.ends + program->taker.aborts, 1); /* never both, never none */
    assert_int_equal(program->taker.destroys, 1);
}

static void one_pipe(uint64_t seed)
{
    struct pipe_program program = {.dice = seed * 1299709};

    assert_true(world_run(&program.world, run_pipe, &program));
    assert_int_equal(program.script.destroys, 1);
}

static void p19_p20_pipes(void **state)
{
    (void)state;
    run_programs(one_pipe, 50);
}

/* ---- sources of numbered chunks ---- */

struct numbers {
    uint64_t *dice;
    uint8_t tag;
    unsigned count, at;
    uint32_t slow_ms;
    int end;
    unsigned cancels, destroys;
    bool cancelled;
    struct weir__fiber *waiter;
};

static int numbers_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct numbers *numbers = state;
    struct weir__loop *loop = weir__loop_current();
    int64_t until_us =
        loop->now_us + (numbers->slow_ms ? roll(numbers->dice, numbers->slow_ms) : 0) * 1000;
    uint8_t bytes[4] = {numbers->tag, (uint8_t)(numbers->at >> 8), (uint8_t)numbers->at, 0};

    assert_true(max_bytes >= sizeof(bytes));
    while (loop->now_us < until_us) {
        int r;

        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        r = weir__stream_wait(&numbers->waiter, until_us, WEIR__STALL_WAIT_SOURCE);
        if (numbers->cancelled || r == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
    }
    if (numbers->at == numbers->count) {
        return numbers->end;
    }
    numbers->at++;
    return weir_chunk_copy(weir_bytes(bytes, sizeof(bytes)), ret) < 0 ? WEIR_ENOMEM : 1;
}

static void numbers_cancel(void *state, enum weir_reason reason)
{
    struct numbers *numbers = state;

    (void)reason;
    numbers->cancels++;
    numbers->cancelled = true;
    weir__stream_wake(numbers->waiter);
}

static void numbers_destroy(void *state)
{
    ((struct numbers *)state)->destroys++;
}

static const struct weir_source_ops numbers_ops = {
    .name = "numbers", .next = numbers_next, .cancel = numbers_cancel, .destroy = numbers_destroy};

static unsigned number_of(struct weir_chunk *chunk, uint8_t *ret_tag)
{
    struct weir_view view = weir_chunk_view(chunk);

    assert_int_equal(view.len, 4);
    *ret_tag = view.data[0];
    return (unsigned)view.data[1] << 8 | view.data[2];
}

/* ---- P17, P22: merge ---- */

#define LEGS 8

struct merge_program {
    struct world world;
    uint64_t dice;
    struct numbers legs[LEGS];
    unsigned count;
    bool collect, busy;
    int first_error;
};

static void read_merge(struct merge_program *program, struct weir_source *source)
{
    unsigned got[LEGS] = {0}, total = 0, last[LEGS] = {0};
    struct weir_chunk *chunk;
    size_t fibers = weir__loop_current()->live_fibers;
    int r;

    for (;;) {
        uint8_t tag;
        unsigned number;

        r = weir_next(source, roll(&program->dice, 3) ? -1 : weir_after_ms(5), &chunk);
        assert_true(weir__loop_current()->live_fibers <= fibers + program->count); /* P17 */
        if (r == WEIR_ETIMEDOUT) {
            continue;
        }
        if (r != 1) {
            break;
        }
        number = number_of(chunk, &tag);
        assert_int_equal(number, got[tag]); /* P11: each in its order, no gap */
        weir_chunk_unref(chunk);
        got[tag]++;
        total++;
        /* P22: with all of them ready nobody waits for more than a round. */
        for (unsigned i = 0; program->busy && i < program->count; i++) {
            if (got[i] < program->legs[i].count) {
                assert_true(total - last[i] <= program->count + 1);
            }
        }
        last[tag] = total;
        if (roll(&program->dice, 10) == 0) {
            WEIR_IGNORE(weir_sleep(weir_after_ms(roll(&program->dice, 10))));
        }
    }
    for (unsigned i = 0; i < program->count; i++) {
        bool failed = program->legs[i].end < 0;

        if (r == 0) {
            assert_false(failed);
        }
        if (r == 0 || program->collect) {
            assert_int_equal(got[i], program->legs[i].count);
            assert_int_equal(program->legs[i].cancels, 0);
        } else if (program->legs[i].at < program->legs[i].count) {
            assert_int_equal(program->legs[i].cancels, 1); /* the siblings, at once */
        }
    }
}

static void run_merge(void *arg)
{
    struct merge_program *program = arg;
    struct weir_source *sources[LEGS], *source;
    uint64_t *dice = &program->dice;

    program->count = 1 + roll(dice, LEGS);
    program->collect = roll(dice, 2);
    program->busy = roll(dice, 2);
    for (unsigned i = 0; i < program->count; i++) {
        program->legs[i] = (struct numbers){.dice = dice,
                                            .tag = (uint8_t)i,
                                            .count = roll(dice, 100),
                                            .slow_ms = program->busy ? 0 : roll(dice, 20),
                                            .end = roll(dice, 10) ? 0 : WEIR_EIO};
        assert_int_equal(weir_source_create_take(&numbers_ops, &program->legs[i], &sources[i]), 0);
    }
    assert_int_equal(weir_merge_create_take(
                         sources, program->count,
                         &(struct weir_merge_opts){.collect_errors = program->collect}, &source),
                     0);
    if (roll(dice, 10)) {
        read_merge(program, source);
    }
    weir_source_destroy(source);
    weir_yield();
    weir_yield();
    assert_int_equal(weir__loop_current()->live_fibers, 1); /* P17: all are home */
}

static void one_merge(uint64_t seed)
{
    struct merge_program program = {.dice = seed * 15485863};

    assert_true(world_run(&program.world, run_merge, &program));
    for (unsigned i = 0; i < program.count; i++) {
        assert_int_equal(program.legs[i].destroys, 1); /* P8 */
        assert_true(program.legs[i].cancels <= 1);
    }
}

static void p17_p22_merges(void **state)
{
    (void)state;
    run_programs(one_merge, 25);
}

/* ---- P16, P17: map_par ---- */

struct par_program {
    struct world world;
    uint64_t dice;
    struct numbers numbers;
    unsigned parallel, running, fail_at;
    bool unordered, released;
};

static int work(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    struct par_program *program = arg;
    uint8_t tag;
    unsigned number = number_of(chunk, &tag);
    int r = 0;

    assert_true(++program->running <= program->parallel); /* P17 */
    if (roll(&program->dice, 2)) {
        r = weir_sleep(weir_after_ms(roll(&program->dice, 30)));
    }
    program->running--;
    if (r < 0 || number == program->fail_at) {
        return r < 0 ? r : WEIR_EPROTO;
    }
    if (number % 7 == 6) {
        return 0;
    }
    *ret = weir_chunk_ref(chunk);
    return 1;
}

static void released(void *arg)
{
    struct par_program *program = arg;

    assert_false(program->released);
    assert_int_equal(program->running, 0);
    program->released = true;
}

static void run_par(void *arg)
{
    struct par_program *program = arg;
    uint64_t *dice = &program->dice;
    unsigned leave_after = 100000, got = 0, expected = 0;
    static bool seen[100];
    struct weir_source *source;
    struct weir_chunk *chunk;
    int r = 1;

    memset(seen, 0, sizeof(seen));
    program->parallel = 1 + roll(dice, 8);
    program->unordered = roll(dice, 2);
    program->numbers = (struct numbers){.dice = dice,
                                        .count = roll(dice, 100),
                                        .slow_ms = roll(dice, 3),
                                        .end = roll(dice, 3) ? 0 : WEIR_EIO};
    program->fail_at = roll(dice, 3) ? UINT32_MAX : roll(dice, 1 + program->numbers.count);
    if (roll(dice, 4) == 0) {
        leave_after = roll(dice, 20);
    }
    assert_int_equal(weir_source_create_take(&numbers_ops, &program->numbers, &source), 0);
    assert_int_equal(
        weir_map_par_create_take(source, work, program,
                                 &(struct weir_map_par_opts){.parallel = program->parallel,
                                                             .unordered = program->unordered,
                                                             .release = released},
                                 &source),
        0);
    while (got < leave_after) {
        uint8_t tag;
        unsigned number;

        r = weir_next(source, roll(dice, 3) ? -1 : weir_after_ms(roll(dice, 5)), &chunk);
        if (r == WEIR_ETIMEDOUT || r == WEIR_EAGAIN) {
            weir_yield();
            continue;
        }
        if (r != 1) {
            break;
        }
        number = number_of(chunk, &tag);
        weir_chunk_unref(chunk);
        got++;
        assert_false(seen[number]);
        seen[number] = true;
        if (!program->unordered) {
            expected += expected % 7 == 6;
            assert_int_equal(number, expected++); /* P16 */
            assert_true(number < program->fail_at);
        }
        /* Never more ahead of the reader than its slots. */
        assert_true(program->numbers.at <= got + got / 6 + 1 + program->parallel + 1);
    }
    if (r == 0 || r == WEIR_EIO) {
        assert_int_equal(r, program->numbers.end);
        assert_true(program->fail_at >= program->numbers.count);
        assert_int_equal(got, program->numbers.count - program->numbers.count / 7);
        assert_int_equal(weir__loop_current()->live_fibers, 1); /* P17: joined at the end */
    } else if (r < 0) {
        assert_int_equal(r, WEIR_EPROTO);
        assert_true(program->numbers.at > program->fail_at);
    }
    weir_source_destroy(source);
    for (int i = 0; i < 3; i++) {
        weir_yield();
    }
    assert_int_equal(weir__loop_current()->live_fibers, 1);
    assert_true(program->released);
}

static void one_par(uint64_t seed)
{
    struct par_program program = {.dice = seed * 32452843};

    assert_true(world_run(&program.world, run_par, &program));
    assert_int_equal(program.numbers.destroys, 1);
    assert_true(program.numbers.cancels <= 1);
}

static void p16_p17_parallel_maps(void **state)
{
    (void)state;
    run_programs(one_par, 25);
}

/* ---- P18: tee ---- */

struct tee_program {
    struct world world;
    uint64_t dice, total, lag;
    size_t budget_before;
    struct step steps[STEPS + 1];
    struct script script;
    int end;
    struct tee_branch {
        struct tee_program *program;
        struct weir_source *source;
        uint64_t got, leave_at;
        uint32_t slow_ms;
        bool gone;
    } branches[2];
};

static int read_branch(void *arg)
{
    struct tee_branch *branch = arg;
    struct tee_program *program = branch->program;
    struct weir_chunk *chunk;
    int r = 1;

    while (branch->got < branch->leave_at) {
        uint64_t least = UINT64_MAX;

        r = weir_next(branch->source, roll(&program->dice, 3) ? -1 : weir_after_ms(3), &chunk);
        if (r == 1) {
            branch->got += pattern_check(chunk, branch->got);
        } else if (r != WEIR_ETIMEDOUT) {
            break;
        }
        for (int i = 0; i < 2; i++) {
            if (!program->branches[i].gone && program->branches[i].got < least) {
                least = program->branches[i].got;
            }
        }
        /* P18: the slower one governs; one chunk is in the hands of the other. */
        assert_true(program->script.position <= least + program->lag + WEIR_CHUNK_BYTES);
        if (program->branches[0].gone || program->branches[1].gone) {
            /* Whoever has left leaves nothing behind: what is held is what this one has not read yet. */
            size_t used = weir__budget_used(weir__budget_process()) - program->budget_before;
            uint64_t unread = program->script.position - branch->got;

            assert_true(used <=
                        unread + unread / 4 + 2 * WEIR_CHUNK_BYTES); /* buffers are rounded up */
        }
        if (branch->slow_ms > 0) {
            WEIR_IGNORE(weir_sleep(weir_after_ms(roll(&program->dice, branch->slow_ms))));
        }
    }
    if (branch->got < branch->leave_at) {
        assert_int_equal(r, program->end);
        assert_true(branch->got == program->total);
    }
    branch->gone = true;
    weir_source_destroy(branch->source);
    return 0;
}

static void run_tee(void *arg)
{
    struct tee_program *program = arg;
    uint64_t *dice = &program->dice;
    unsigned count = roll(dice, STEPS);
    struct weir_source *source;
    struct weir_scope *scope;

    for (unsigned i = 0; i < count; i++) {
        program->steps[i] = (struct step){.delay_ms = roll(dice, 2) ? roll(dice, 10) : 0,
                                          .len = 1 + roll(dice, 100000)};
        program->total += program->steps[i].len;
    }
    program->end = roll(dice, 3) ? 0 : WEIR_EIO;
    program->steps[count] = (struct step){.result = program->end};
    program->lag = WEIR_CHUNK_BYTES + roll(dice, 900000);
    program->budget_before = weir__budget_used(weir__budget_process());
    assert_int_equal(script_source(&program->script, program->steps, &source), 0);
    assert_int_equal(weir_tee_create_take(source, program->lag, &program->branches[0].source,
                                          &program->branches[1].source),
                     0);
    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < 2; i++) {
        program->branches[i].program = program;
        program->branches[i].slow_ms = roll(dice, 2) ? 1 + roll(dice, 20) : 0;
        program->branches[i].leave_at =
            roll(dice, 4) ? UINT64_MAX : roll(dice, 1 + (uint32_t)program->total);
        assert_int_equal(weir_scope_spawn(scope, read_branch, &program->branches[i]), 0);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
}

static void one_tee(uint64_t seed)
{
    struct tee_program program = {.dice = seed * 49979687};

    assert_true(world_run(&program.world, run_tee, &program));
    assert_int_equal(program.script.destroys, 1);
    assert_true(program.script.cancels <= 1);
}

static void p18_tees(void **state)
{
    (void)state;
    run_programs(one_tee, 25);
}

/* ---- P13: an item whose send is cancelled stays the sender's ---- */

struct send_program {
    struct world world;
    uint64_t dice;
    struct weir_channel *channel;
    unsigned sent, received, failed;
};

static void item_drop(void *item)
{
    weir_chunk_unref(item);
}

static int send_items(void *arg)
{
    struct send_program *program = arg;
    uint8_t bytes[4] = {0};
    int r = 0;

    for (unsigned i = 0; i < 30 && r != WEIR_ECANCELED; i++) {
        struct weir_chunk *item;

        bytes[2] = (uint8_t)program->sent;
        assert_int_equal(weir_chunk_copy(weir_bytes(bytes, 4), &item), 0);
        r = weir_channel_send(program->channel, item, 4,
                              roll(&program->dice, 2) ? -1
                                                      : weir_after_ms(roll(&program->dice, 3)));
        if (r == 0) {
            program->sent++;
        } else {
            assert_int_equal(weir_chunk_view(item).data[2], (uint8_t)program->sent);
            assert_int_equal(item->refs, 1); /* exact */
            weir_chunk_unref(item);
            program->failed++;
        }
    }
    return 0;
}

static void run_send(void *arg)
{
    struct send_program *program = arg;
    struct weir_scope *scope;
    void *item;

    assert_int_equal(
        weir_channel_create(&(struct weir_channel_opts){.max_items = 2, .drop = item_drop},
                            &program->channel),
        0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, send_items, program), 0);
    for (unsigned i = 0; i < roll(&program->dice, 30); i++) {
        WEIR_IGNORE(weir_sleep(weir_after_ms(roll(&program->dice, 4))));
        if (weir_channel_recv(program->channel, 0, &item) == 1) {
            uint8_t tag;

            assert_int_equal(number_of(item, &tag), program->received++);
            weir_chunk_unref(item);
        }
    }
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    weir_channel_close(program->channel, 0);
    while (weir_channel_recv(program->channel, 0, &item) == 1) {
        program->received++;
        weir_chunk_unref(item);
    }
    assert_int_equal(program->received, program->sent); /* none lost, none twice */
    weir_channel_unref(program->channel);
}

static void one_send(uint64_t seed)
{
    struct send_program program = {.dice = seed * 67867967};

    assert_true(world_run(&program.world, run_send, &program));
}

static void p13_cancelled_sends(void **state)
{
    (void)state;
    run_programs(one_send, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p19_p20_pipes),         cmocka_unit_test(p17_p22_merges),
        cmocka_unit_test(p16_p17_parallel_maps), cmocka_unit_test(p18_tees),
        cmocka_unit_test(p13_cancelled_sends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
