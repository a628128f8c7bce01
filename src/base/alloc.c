/* SPDX-License-Identifier: MIT */
/*
 * Heap access with two hooks for tests: a countdown after which every allocation fails, and a count of live blocks
 * (kept in debug builds only: the release build pays nothing for it).
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* The one place that may call them (base/banned.h). */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#ifdef WEIR_DEBUG
static _Atomic int64_t countdown = INT64_MAX;
static _Atomic int64_t live;
static _Atomic bool only_one;

static bool must_fail(void)
{
    int64_t left = atomic_load_explicit(&countdown, memory_order_relaxed);

    if (left == INT64_MAX) {
        return false;
    }
    left = atomic_fetch_sub_explicit(&countdown, 1, memory_order_relaxed);
    return left == 1 || (left < 1 && !atomic_load_explicit(&only_one, memory_order_relaxed));
}

static void count(int64_t step)
{
    atomic_fetch_add_explicit(&live, step, memory_order_relaxed);
}

void weir__alloc_fail_at(int64_t n)
{
    atomic_store(&only_one, false);
    atomic_store(&countdown, n == 0 ? INT64_MAX : n);
}

void weir__alloc_fail_only(int64_t n)
{
    atomic_store(&only_one, true);
    atomic_store(&countdown, n);
}

int64_t weir__alloc_live(void)
{
    return atomic_load(&live);
}
#else
static bool must_fail(void)
{
    return false;
}

static void count(int64_t step)
{
    (void)step;
}

void weir__alloc_fail_at(int64_t n)
{
    (void)n;
}

void weir__alloc_fail_only(int64_t n)
{
    (void)n;
}

int64_t weir__alloc_live(void)
{
    return 0;
}
#endif

void *weir_alloc(size_t size)
{
    void *block = must_fail() ? NULL : malloc(size);

    count(block != NULL);
    return block;
}

void *weir_alloc0(size_t size)
{
    void *block = must_fail() ? NULL : calloc(1, size);

    count(block != NULL);
    return block;
}

void *weir_realloc(void *old, size_t size)
{
    void *block = must_fail() ? NULL : realloc(old, size);

    count(block != NULL && old == NULL);
    return block;
}

void weir_free(void *block)
{
    count(block != NULL ? -1 : 0);
    free(block);
}

void weir_freep(void *block_pointer)
{
    void **block = block_pointer;

    weir_free(*block);
    *block = NULL;
}
