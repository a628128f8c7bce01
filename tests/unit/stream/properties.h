/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_PROPERTIES_H
#define WEIR_TESTS_PROPERTIES_H

#include "fiber_test.h"

#if defined(WEIR_HAVE_VALGRIND)
#include <valgrind/valgrind.h>
#endif

/*
 * Random programs by seed: WEIR_SEED replays one, WEIR_PROGRAMS says how many (2,000). The seed is printed when a claim
 * fails, and when a program does not end.
 */
static void does_not_end(int signal_number)
{
    name_the_seed(signal_number);
    _exit(1);
}

static inline uint64_t programs_wanted(void)
{
    const char *text = getenv("WEIR_PROGRAMS");

#if defined(WEIR_HAVE_VALGRIND)
    if (RUNNING_ON_VALGRIND) {
        return 100;
    }
#endif
    return text != NULL ? strtoull(text, NULL, 0) : 2000;
}

/* Runs `share` percent of the programs. */
static inline void run_programs(void (*one)(uint64_t seed), unsigned share)
{
    uint64_t only = seed_wanted();
    uint64_t count = programs_wanted() * share / 100;

    signal(SIGALRM, does_not_end);
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : count); seed++) {
        seed_now = seed;
        alarm(60); /* P21: whoever waits for a wake-up that was lost waits for ever */
        one(seed);
    }
    alarm(0);
}

/* ---- a sink by chance ---- */

struct taker {
    uint64_t *dice;
    uint64_t fail_at; /* an emit past that fails with fail_code; UINT64_MAX: none */
    int fail_code;
    uint32_t slow_ms; /* an emit takes up to so long */
    size_t room;      /* at most what it asks for */
    uint64_t got;
    unsigned ends, aborts, destroys;
    bool aborted;
    enum weir_reason reason;
    struct weir__fiber *waiter;
};

static inline int taker_wait(struct taker *taker, int64_t deadline)
{
    struct weir__loop *loop = weir__loop_current();
    int64_t until_us;

    if (taker->slow_ms == 0 || deadline == 0) {
        return 0;
    }
    until_us = loop->now_us + roll(taker->dice, taker->slow_ms) * 1000;
    while (loop->now_us < until_us) {
        int64_t deadline_us = weir__deadline_us(deadline);
        int r = weir__stream_wait(&taker->waiter, until_us < deadline_us ? until_us : deadline_us,
                                  WEIR__STALL_SOCKET);

        if (r == WEIR_ECANCELED || taker->aborted) {
            return WEIR_ECANCELED;
        }
        if (r < 0 && loop->now_us < until_us) {
            return loop->now_us >= deadline_us ? WEIR_ETIMEDOUT : WEIR_ENOMEM;
        }
    }
    return 0;
}

static inline int taker_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct taker *taker = state;
    int r;

    assert_int_equal(taker->ends + taker->aborts, 0); /* P4 */
    r = taker_wait(taker, deadline);
    if (r == 0 && taker->got + weir_chunk_len(chunk) > taker->fail_at) {
        r = taker->fail_code;
    }
    if (r < 0) {
        weir_chunk_unref(chunk);
        return r;
    }
    taker->got += pattern_check(chunk, taker->got);
    return 0;
}

static inline int taker_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    struct taker *taker = state;

    *ret_room = 1 + roll(taker->dice, (uint32_t)taker->room);
    return taker_wait(taker, deadline);
}

static inline int taker_end(void *state, struct weir_fields *trailers)
{
    (void)trailers;
    ((struct taker *)state)->ends++;
    return 0;
}

static inline void taker_abort(void *state, enum weir_reason reason)
{
    struct taker *taker = state;

    taker->aborts++;
    taker->aborted = true;
    taker->reason = reason;
    weir__stream_wake(taker->waiter);
}

static inline void taker_destroy(void *state)
{
    ((struct taker *)state)->destroys++;
}

static const struct weir_sink_ops taker_ops = {
    .name = "taker",
    .emit = taker_emit,
    .wait_writable = taker_wait_writable,
    .end = taker_end,
    .abort = taker_abort,
    .destroy = taker_destroy,
};

#endif
