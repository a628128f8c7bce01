/* SPDX-License-Identifier: MIT */
/* What the tests of the runtime share: a loop on a fake clock, and sizes that sanitizers and
 * valgrind can bear. */
#ifndef WEIR_TEST_RT_H
#define WEIR_TEST_RT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <weir/err.h>
#include <weir/rt.h>

#include "base/alloc.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/scope.h"
#include "rt/switch.h"

#if defined(WEIR_HAVE_VALGRIND)
#include <valgrind/valgrind.h>
#endif

static int64_t fake_us;
static struct weir__loop *loop;
static int64_t live_before;

static inline int64_t fake_clock(void *arg)
{
    return *(int64_t *)arg;
}

static inline int open_fake_loop(void **state)
{
    (void)state;
    fake_us = 1000000;
    live_before = weir__alloc_live();
    return weir__loop_create(fake_clock, &fake_us, &loop);
}

static inline int open_real_loop(void **state)
{
    (void)state;
    live_before = weir__alloc_live();
    return weir__loop_create(NULL, NULL, &loop);
}

static inline int close_loop(void **state)
{
    (void)state;
    if (loop->live_fibers > 0) {
        return -1; /* a claim failed inside a fiber, which will not run home */
    }
    weir__loop_destroy(loop);
    loop = NULL;
    return weir__alloc_live() == live_before ? 0 : -1;
}

static inline bool on_valgrind(void)
{
#if defined(WEIR_HAVE_VALGRIND)
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

/* As many as asked for, or as this build can bear. */
static inline int at_most(int count)
{
    int bound = on_valgrind() ? 64 : WEIR__TSAN ? 300 : count;

    return count < bound ? count : bound;
}

static inline uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static inline void sleep_real_ms(int ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

static inline struct weir__fiber *start(void (*entry)(void *arg), void *arg)
{
    struct weir__fiber *fiber = NULL;

    assert_int_equal(weir__fiber_start(loop, entry, arg, &fiber), 0);
    return fiber;
}

/* Keeps order in one line of text: tests compare the whole story. */
static char story[512];

static inline void tell(const char *what)
{
    size_t len = strlen(story);

    if (len + strlen(what) + 2 < sizeof(story)) {
        if (len > 0) {
            story[len++] = ' ';
        }
        memcpy(story + len, what, strlen(what) + 1);
    }
}

#define on_fake(test) cmocka_unit_test_setup_teardown(test, open_fake_loop, close_loop)
#define on_real(test) cmocka_unit_test_setup_teardown(test, open_real_loop, close_loop)

#endif
