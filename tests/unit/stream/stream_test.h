/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_STREAM_TEST_H
#define WEIR_TESTS_STREAM_TEST_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/rt.h>
#include <weir/stream.h>

#include "base/alloc.h"
#include "base/stall.h"
#include "bytes/budget.h"
#include "rt/loop.h"
#include "rt/offload.h"
#include "rt/scope.h"
#include "stream/stream.h"
#include "stream/wait.h"

/*
 * What the stream tests share: a loop on a fake clock, a source that follows a script, and byte patterns by which any
 * loss, repetition or reordering shows.
 */

struct world {
    struct weir__loop *loop;
    int64_t clock_us;
    int64_t live_before;
    size_t budget_before;
    struct weir_scope scope; /* of the fiber under test */
};

static inline int64_t world_clock(void *arg)
{
    return *(int64_t *)arg;
}

struct world_main {
    struct world *world;
    void (*fn)(void *arg);
    void *arg;
};

static inline void world_main(void *arg)
{
    struct world_main *job = arg;

    weir__scope_init(&job->world->scope, weir__fiber_current());
    weir__fiber_current()->scope = &job->world->scope;
    job->fn(job->arg);
    weir__scope_finish(&job->world->scope);
}

/* Runs fn in a fiber and everything it started to its end; then nothing may be left. Returns whether it could start. */
static inline bool world_run(struct world *world, void (*fn)(void *arg), void *arg)
{
    struct world_main job = {world, fn, arg};
    bool started = false;

    world->clock_us = 1000000;
    world->live_before = weir__alloc_live();
    world->budget_before = weir__budget_used(weir__budget_process());
    if (weir__loop_create(world_clock, &world->clock_us, &world->loop) == 0) {
        started = weir__fiber_start(world->loop, world_main, &job, NULL) == 0;
        weir__loop_run_until_idle(world->loop);
        weir__offload_stop();
        weir__loop_destroy(world->loop);
    }
    assert_int_equal(weir__alloc_live(), world->live_before);
    assert_int_equal(weir__budget_used(weir__budget_process()), world->budget_before);
    return started;
}

static inline uint8_t pattern_at(uint64_t position)
{
    return (uint8_t)((position * 131 + (position >> 8) * 7 + 3) & 0xff);
}

static inline void pattern_fill(uint8_t *bytes, size_t len, uint64_t position)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = pattern_at(position + i);
    }
}

/* Checks a chunk against the pattern, drops it, and returns its length. */
static inline size_t pattern_check(struct weir_chunk *chunk, uint64_t position)
{
    struct weir_view view = weir_chunk_view(chunk);

    assert_in_range(view.len, 1, WEIR_CHUNK_BYTES);
    for (size_t i = 0; i < view.len; i++) {
        if (view.data[i] != pattern_at(position + i)) {
            fail_msg("wrong byte at %llu", (unsigned long long)(position + i));
        }
    }
    weir_chunk_unref(chunk);
    return view.len;
}

/* ---- a source by script ---- */

/* After delay_ms (from when it is first asked for): len bytes, or with len 0 the result (0 = the end). */
struct step {
    int64_t delay_ms;
    size_t len;
    int result;
};

/* What became of it; outlives the source. */
struct script {
    const struct step *steps;
    size_t at, given; /* of the present step so much is delivered */
    int64_t ready_us; /* 0: the present step was not asked for yet */
    uint64_t position;
    unsigned calls, cancels, destroys;
    size_t last_max;
    bool cancelled;
    enum weir_reason reason;
    struct weir__fiber *waiter;
};

static inline int script_next(void *state, size_t max_bytes, int64_t deadline,
                              struct weir_chunk **ret)
{
    struct script *script = state;
    const struct step *step = &script->steps[script->at];
    struct weir__loop *loop = weir__loop_current();
    size_t len;
    int r;

    script->calls++;
    script->last_max = max_bytes;
    if (script->ready_us == 0) {
        script->ready_us = loop->now_us + step->delay_ms * 1000;
    }
    while (loop->now_us < script->ready_us) {
        int64_t until_us = weir__deadline_us(deadline);

        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        if (loop->now_us >= until_us) {
            return WEIR_ETIMEDOUT;
        }
        until_us = until_us < script->ready_us ? until_us : script->ready_us;
        r = weir__stream_wait(&script->waiter, until_us, WEIR__STALL_WAIT_SOURCE);
        if (script->cancelled || r == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        if (r < 0 && loop->now_us < until_us) {
            return WEIR_ENOMEM;
        }
    }
    if (step->len == 0) {
        return step->result;
    }
    len = step->len - script->given;
    len = len < max_bytes ? len : max_bytes;
    r = weir_chunk_create(len, ret);
    if (r < 0) {
        return r;
    }
    pattern_fill(weir_chunk_data(*ret), len, script->position);
    script->position += len;
    script->given += len;
    if (script->given == step->len) {
        script->at++;
        script->given = 0;
        script->ready_us = 0;
    }
    return 1;
}

static inline void script_cancel(void *state, enum weir_reason reason)
{
    struct script *script = state;

    script->cancels++;
    script->cancelled = true;
    script->reason = reason;
    weir__stream_wake(script->waiter);
}

static inline void script_destroy(void *state)
{
    ((struct script *)state)->destroys++;
}

static inline void script_explain(void *state, struct weir_error *ret)
{
    (void)state;
    if (ret->code == WEIR_EIO) {
        ret->native = 77;
        ret->where = "script";
    }
}

static const struct weir_source_ops script_ops = {
    .name = "script",
    .next = script_next,
    .cancel = script_cancel,
    .destroy = script_destroy,
    .explain = script_explain,
};

static inline int script_source(struct script *script, const struct step *steps,
                                struct weir_source **ret)
{
    *script = (struct script){.steps = steps};
    return weir_source_create_take(&script_ops, script, ret);
}

/* ---- chance, with a seed that can be replayed ---- */

static inline uint32_t roll(uint64_t *seed, uint32_t below)
{
    *seed += 0x9e3779b97f4a7c15u;
    uint64_t z = *seed;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

static uint64_t seed_now; /* of the running program; 0: none */

static void name_the_seed(int signal_number)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "WEIR_SEED=%llu\n", (unsigned long long)seed_now);

    if (seed_now != 0 && write(2, text, (size_t)len) < 0) {
        _exit(1);
    }
    signal(signal_number, SIG_DFL);
}

/* A failed claim ends the process where it stands: cmocka's usual way is a jump off a fiber's stack. */
__attribute__((constructor)) static void abort_on_failure(void)
{
    setenv("CMOCKA_TEST_ABORT", "1", 0);
    signal(SIGABRT, name_the_seed);
}

/* WEIR_SEED, or 0. */
static inline uint64_t seed_wanted(void)
{
    const char *text = getenv("WEIR_SEED");

    return text != NULL ? strtoull(text, NULL, 0) : 0;
}

#endif
