/* SPDX-License-Identifier: MIT */
/*
 * Random programs on a fake clock: a scripted origin, a chain of combinators, channels and generators, a reader with
 * random deadlines, and cancels at random times. Whatever happens: what is delivered is a prefix, an end means that all
 * was, every result stays, every bound holds, nothing is left. WEIR_SEED=n replays the program n alone.
 */
#include <weir/combinators.h>
#include <weir/sources.h>

#include "stream_test.h"

#define PROGRAMS 1500
#define STEPS 40
#define DEPTH 5

struct program {
    struct world world;
    uint64_t dice;
    struct step steps[STEPS + 1];
    struct script script;
    uint64_t total; /* of the script */
    int script_end;
    uint64_t limit; /* the tightest */
    struct {
        uint64_t per_s, burst;
        int64_t since_us;
    } rates[DEPTH];
    unsigned rate_count;
    bool has_timeout, by_channel, cancel, scope_cancel;
    bool cancelled;
    int64_t cancel_at_ms;
    struct weir_source *source;
    struct weir_scope *scope;
    uint64_t got;
    int result;
};

static uint32_t dice(struct program *program, uint32_t below)
{
    return roll(&program->dice, below);
}

static void write_script(struct program *program)
{
    static const int ends[] = {0, 0, 0, WEIR_EIO, WEIR_ERESET, WEIR_ETRUNCATED};
    static const uint32_t sizes[] = {1, 3, 100, 5000, 70000};
    unsigned count = dice(program, STEPS);

    for (unsigned i = 0; i < count; i++) {
        program->steps[i] = (struct step){
            .delay_ms = dice(program, 3) == 0 ? dice(program, 50) : 0,
            .len = 1 + dice(program, sizes[dice(program, 5)]),
        };
        program->total += program->steps[i].len;
    }
    program->script_end = ends[dice(program, 6)];
    program->steps[count] =
        (struct step){.delay_ms = dice(program, 30), .result = program->script_end};
}

/* A generator that relays another source: a combinator with a fiber and a window. */
static int relay(struct weir_sink *out, void *arg)
{
    return weir_pipe(arg, out, NULL, NULL);
}

static void relay_release(void *arg)
{
    weir_source_destroy(arg);
}

static void wrap(struct program *program)
{
    struct weir_source *inner = program->source;
    uint64_t amount;

    switch (dice(program, 6)) {
    case 0:
        amount = 1 + dice(program, dice(program, 2) ? 1000 : 2000000);
        program->limit = amount < program->limit ? amount : program->limit;
        assert_int_equal(weir_limit_create_take(inner, amount, &program->source), 0);
        break;
    case 1: {
        size_t most = 1 + dice(program, WEIR_CHUNK_BYTES);

        assert_int_equal(
            weir_rechunk_create_take(inner, dice(program, (uint32_t)most), most, &program->source),
            0);
        break;
    }
    case 2:
        program->has_timeout = true;
        assert_int_equal(weir_timeout_create_take(inner, 1 + dice(program, 200),
                                                  dice(program, 2000), &program->source),
                         0);
        break;
    case 3:
    case 4:
        program->rates[program->rate_count].per_s = 1000 + dice(program, 10000000);
        program->rates[program->rate_count].burst = 1 + dice(program, 100000);
        program->rates[program->rate_count].since_us = program->world.loop->now_us;
        assert_int_equal(weir_rate_create_take(inner, program->rates[program->rate_count].per_s,
                                               program->rates[program->rate_count].burst,
                                               &program->source),
                         0);
        program->rate_count++;
        break;
    default:
        program->by_channel = true;
        assert_int_equal(weir_source_from_fiber(relay, inner,
                                                &(struct weir_generator_opts){
                                                    .window_bytes = 1 + dice(program, 100000),
                                                    .release = relay_release},
                                                &program->source),
                         0);
        break;
    }
}

static int read_randomly(void *arg)
{
    struct program *program = arg;
    int64_t until = weir_after_ms(dice(program, 4) == 0 ? dice(program, 500) : 1000000000);
    int r = WEIR_EAGAIN;

    while (weir_now() < until) {
        struct weir_chunk *chunk = NULL;
        size_t most = dice(program, 2) ? WEIR_CHUNK_BYTES : 1 + dice(program, 5000);
        int64_t before = weir_now();
        uint32_t kind = dice(program, 3);
        int64_t deadline = kind == 0 ? 0 : kind == 1 ? weir_after_ms(dice(program, 60)) : -1;

        r = weir__next(program->source, most, deadline, &chunk);
        if (deadline == 0) {
            assert_int_equal(weir_now(), before); /* never waits */
            assert_int_not_equal(r, WEIR_ETIMEDOUT);
        } else if (deadline > 0) {
            assert_true(weir_now() <= (deadline > before ? deadline : before));
            assert_int_not_equal(r, WEIR_EAGAIN);
        } else {
            assert_true(r != WEIR_EAGAIN && r != WEIR_ETIMEDOUT);
        }
        if (r == 1) {
            assert_false(program->cancelled); /* nothing after a cancel */
            assert_true(weir_chunk_len(chunk) <= most);
            program->got += pattern_check(chunk, program->got);
            for (unsigned i = 0; i < program->rate_count; i++) {
                int64_t spent_us = program->world.loop->now_us - program->rates[i].since_us;

                assert_true(program->got <= program->rates[i].burst + program->rates[i].per_s *
                                                                          (uint64_t)spent_us /
                                                                          1000000);
            }
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
        }
    }
    program->result = r;
    return 0;
}

static int cancel_later(void *arg)
{
    struct program *program = arg;

    if (weir_sleep(program->cancel_at_ms) == 0) {
        program->cancelled = true;
        weir_cancel(program->source, WEIR_REASON_FIN);
        weir_cancel(program->source, WEIR_REASON_STALL);
    }
    return 0;
}

static void check_result(struct program *program)
{
    int r = program->result;
    uint64_t most = program->total < program->limit ? program->total : program->limit;
    struct weir_error error;
    struct weir_chunk *chunk;

    assert_true(program->got <= most);
    if (r == 0) {
        assert_int_equal(program->script_end, 0);
        assert_true(program->got == program->total);
    } else if (r == WEIR_ELIMIT) {
        assert_true(program->got == program->limit && program->total > program->limit);
    } else if (r == WEIR_ESTALLED) {
        assert_true(program->has_timeout);
    } else if (r == WEIR_ECANCELED) {
        assert_true(program->cancelled || program->scope_cancel);
    } else if (r == program->script_end) {
        assert_true(program->got == program->total);
    } else {
        assert_true(r == 1 || r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT); /* the reader left */
    }
    if (r == 0 || weir__is_final(r)) {
        for (int i = 0; i < 2; i++) {
            assert_int_equal(weir_next(program->source, i - 1, &chunk), r);
        }
        weir_source_error(program->source, &error);
        assert_int_equal(error.code, r);
        assert_true(r == 0 || error.where != NULL);
        if (r < 0 && r == program->script_end && !program->by_channel) {
            assert_int_equal(error.native, r == WEIR_EIO ? 77 : 0);
        }
    }
}

static void run_program(void *arg)
{
    struct program *program = arg;
    struct weir_scope *canceller;
    unsigned depth = dice(program, DEPTH + 1);

    write_script(program);
    assert_int_equal(script_source(&program->script, program->steps, &program->source), 0);
    for (unsigned i = 0; i < depth; i++) {
        wrap(program);
    }
    program->cancel = dice(program, 4) == 0;
    program->scope_cancel = !program->cancel && dice(program, 4) == 0;
    program->cancel_at_ms = weir_after_ms(dice(program, 300));
    assert_int_equal(weir_scope_open(&canceller), 0);
    assert_int_equal(weir_scope_open(&program->scope), 0);
    if (program->cancel) {
        assert_int_equal(weir_scope_spawn(canceller, cancel_later, program), 0);
    }
    assert_int_equal(weir_scope_spawn(program->scope, read_randomly, program), 0);
    if (program->scope_cancel) {
        WEIR_IGNORE(weir_scope_join(program->scope, program->cancel_at_ms));
        weir_scope_cancel(program->scope);
    }
    assert_int_equal(weir_scope_join(program->scope, -1), 0);
    weir_scope_close(program->scope);
    weir_scope_close(canceller);
    check_result(program);
    weir_source_destroy(program->source);
}

static void random_programs(void **state)
{
    uint64_t only = seed_wanted();
    unsigned ends = 0, errors = 0, left = 0;

    (void)state;
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : PROGRAMS); seed++) {
        struct program program = {.dice = seed * 7919, .limit = UINT64_MAX};

        seed_now = seed;
        assert_true(world_run(&program.world, run_program, &program));
        assert_int_equal(program.script.destroys, 1);
        assert_true(program.script.cancels <= 1);
        ends += program.result == 0;
        errors += weir__is_final(program.result);
        left += program.result == 1 || program.result == WEIR_EAGAIN ||
                program.result == WEIR_ETIMEDOUT;
    }
    if (only == 0) {
        assert_true(ends > PROGRAMS / 20 && errors > PROGRAMS / 20 && left > PROGRAMS / 50);
    }
}

/* ---- a channel between two random fibers ---- */

struct exchange {
    struct world world;
    uint64_t dice;
    size_t limit, largest;
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in, out;
    int written, read; /* the last results; written 1: ended */
    bool aborted;
};

static void maybe_sleep(struct exchange *exchange)
{
    if (roll(&exchange->dice, 3) == 0) {
        WEIR_IGNORE(weir_sleep(weir_after_ms(roll(&exchange->dice, 20))));
    }
}

static int emit_one(struct exchange *exchange, size_t len, int64_t deadline)
{
    struct weir_chunk *chunk;
    int r;

    assert_int_equal(weir_chunk_create(len, &chunk), 0);
    pattern_fill(weir_chunk_data(chunk), len, exchange->in);
    r = weir_emit_take(exchange->sink, chunk, deadline);
    if (r == 0) {
        exchange->in += len;
        exchange->largest = len > exchange->largest ? len : exchange->largest;
    }
    assert_true(exchange->in - exchange->out <=
                (exchange->limit > exchange->largest ? exchange->limit : exchange->largest));
    return r;
}

static int write_randomly(void *arg)
{
    struct exchange *exchange = arg;
    unsigned count = roll(&exchange->dice, 100);
    int r = 0;

    while (r == 0 && count-- > 0) {
        size_t len = 1 + roll(&exchange->dice, roll(&exchange->dice, 2) ? 50 : 3000);

        maybe_sleep(exchange);
        switch (roll(&exchange->dice, 3)) {
        case 0:
            while ((r = emit_one(exchange, len, 0)) == WEIR_EFLOW) {
                assert_int_equal(weir_end(exchange->sink, NULL), WEIR_ESTATE);
                do {
                    r = weir_wait_writable(exchange->sink,
                                           weir_after_ms(roll(&exchange->dice, 10)));
                } while (r == WEIR_ETIMEDOUT);
                if (r < 0) {
                    break;
                }
            }
            break;
        case 1:
            r = emit_one(exchange, len, weir_after_ms(100 + roll(&exchange->dice, 1000)));
            break;
        default:
            r = emit_one(exchange, len, -1);
            break;
        }
    }
    maybe_sleep(exchange);
    if (r == 0 && roll(&exchange->dice, 4) != 0) {
        r = weir_end(exchange->sink, NULL);
        exchange->written = r == 0 ? 1 : r;
    } else {
        exchange->aborted = true;
        exchange->written = r;
    }
    weir_sink_destroy(exchange->sink);
    return 0;
}

static int read_channel(void *arg)
{
    struct exchange *exchange = arg;
    unsigned count = roll(&exchange->dice, 3) == 0 ? roll(&exchange->dice, 50) : 100000;
    int r = 1;

    while (r != 0 && !weir__is_final(r) && count-- > 0) {
        struct weir_chunk *chunk;
        size_t most = 1 + roll(&exchange->dice, 4000);
        uint32_t kind = roll(&exchange->dice, 3);

        maybe_sleep(exchange);
        r = weir__next(exchange->source, most,
                       kind == 0   ? 0
                       : kind == 1 ? weir_after_ms(roll(&exchange->dice, 30))
                                   : -1,
                       &chunk);
        if (r == 1) {
            assert_true(weir_chunk_len(chunk) <= most);
            exchange->out += pattern_check(chunk, exchange->out);
        } else if (r == WEIR_EAGAIN) {
            WEIR_IGNORE(weir_sleep(weir_after_ms(1)));
        }
    }
    exchange->read = r;
    if (r == 0 || weir__is_final(r)) {
        struct weir_chunk *chunk;

        assert_int_equal(weir_next(exchange->source, -1, &chunk), r);
    }
    weir_source_destroy(exchange->source);
    return 0;
}

static void run_exchange(void *arg)
{
    struct exchange *exchange = arg;
    struct weir_scope *scope;

    exchange->limit = 1 + roll(&exchange->dice, 5000);
    assert_int_equal(weir_channel_pair(exchange->limit, &exchange->sink, &exchange->source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, write_randomly, exchange), 0);
    assert_int_equal(weir_scope_spawn(scope, read_channel, exchange), 0);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
}

static void random_exchanges(void **state)
{
    uint64_t only = seed_wanted();

    (void)state;
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : PROGRAMS); seed++) {
        struct exchange exchange = {.dice = seed * 104729};

        seed_now = seed;
        assert_true(world_run(&exchange.world, run_exchange, &exchange));
        if (exchange.read == 0) {
            assert_int_equal(exchange.written, 1);
            assert_true(exchange.out == exchange.in);
        } else if (weir__is_final(exchange.read)) {
            assert_int_equal(exchange.read, WEIR_ERESET);
            assert_true(exchange.aborted && exchange.out == exchange.in);
        } else {
            /* The reader left: the writer had ended before, stopped by itself, or was told. */
            assert_true(exchange.written == 1 || exchange.written == 0 ||
                        exchange.written == WEIR_ECLOSED || exchange.written == WEIR_ETIMEDOUT);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs),
        cmocka_unit_test(random_exchanges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
