/* SPDX-License-Identifier: MIT */
/* What the tests of requests share: one handler against one scripted peer, on a loop with a fake clock. */
#ifndef WEIR_TEST_HTTP_H
#define WEIR_TEST_HTTP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/experimental/observe.h>
#include <weir/http.h>
#include <weir/rt.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/budget.h"
#include "bytes/chunk.h"
#include "http/memory.h"
#include "rt/loop.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One request, from its script to what became of it. */
struct scene {
    struct weir__memory_opts opts;
    const struct weir__memory_step *steps;
    size_t count;
    weir_handler_fn *handler;
    void *arg;
    void (*prepare)(struct scene *scene); /* makes opts.fields; NULL: there are none */
    char *kept; /* room for opts.keep bytes, which outlive the scene; NULL: they don't */
    const char *const (*lines)[2]; /* field lines of the request, up to a NULL; NULL: none */
    /* afterwards */
    struct weir__memory_result result;
    int64_t ended_ms;
    size_t budget_peak; /* of the process, over what was used before */
    int started;
};

static int64_t scene_us;
static struct weir__loop *scene_loop;
static struct weir__memory *scene_memory; /* of the running scene */
static int64_t scene_may_keep;  /* blocks that a scene may leave to something that outlives it */
static char scene_trace[32768]; /* of the last one */

static inline int64_t scene_clock(void *arg)
{
    return *(int64_t *)arg;
}

/* Milliseconds since the scene began. */
static inline int64_t scene_ms(void)
{
    return (scene_us - 1000000) / 1000;
}

static inline void scene_timer(struct weir__timer *timer)
{
    (void)timer;
}

static inline int64_t stall_sum(const struct weir_stall *stall)
{
    return stall->moving_us + stall->wait_source_us + stall->stream_window_us +
           stall->conn_window_us + stall->socket_us + stall->shaped_us + stall->held_us;
}

/* Plays it; whatever a test claims later, nothing may be left, and the clocks' sums must be exact. */
static inline void play_failing(struct scene *scene, int64_t fail_at)
{
    int64_t live = weir__alloc_live();
    struct weir__budget *budget = weir__budget_process();
    size_t used = weir__budget_used(budget);
    struct weir__timer timer;

    if (scene->lines != NULL) {
        assert_int_equal(weir_fields_create(&scene->opts.fields), 0);
        for (size_t i = 0; scene->lines[i][0] != NULL; i++) {
            assert_int_equal(weir_fields_add(scene->opts.fields, weir_str(scene->lines[i][0]),
                                             weir_str(scene->lines[i][1])),
                             0);
        }
    }
    scene_us = 1000000;
    assert_int_equal(weir__loop_create(scene_clock, &scene_us, &scene_loop), 0);
    weir__timer_init(&timer,
                     scene_timer); /* the heap of timers is there before allocations may fail */
    assert_int_equal(weir__timer_start(&scene_loop->timers, &timer, scene_us), 0);
    weir__timer_remove(&scene_loop->timers, &timer);
    if (scene->prepare != NULL) {
        scene->prepare(scene);
    }
    assert_int_equal(weir__memory_create(scene_loop, &scene->opts, &scene_memory), 0);
    assert_int_equal(weir__memory_script(scene_memory, scene->steps, scene->count), 0);
    budget->peak = used;
    weir__alloc_fail_at(fail_at);
    scene->started = weir__memory_request(scene_memory, scene->handler, scene->arg);
    weir__loop_run_until_idle(scene_loop);
    weir__alloc_fail_at(0);
    scene->ended_ms = scene_ms();
    scene->budget_peak = budget->peak - used;
    weir__memory_result(scene_memory, &scene->result);
    if (scene->kept != NULL) {
        memcpy(scene->kept, scene->result.kept.data, scene->result.kept.len);
        scene->result.kept.data = (const uint8_t *)scene->kept;
    }
    if (scene->started == 0) {
        assert_true(scene->result.finished);
        assert_int_equal(stall_sum(&scene->result.stall), scene->result.stall.wall_us);
    }
    assert_true(scene->result.ends <= 1);
    assert_true(scene->result.aborts <= 1);
    assert_true(scene->result.cancels <= 1);
    assert_false(scene->result.ended && scene->result.aborted);
    snprintf(scene_trace, sizeof(scene_trace), "%s", weir__memory_trace(scene_memory));
    weir__memory_destroy(scene_memory);
    weir__loop_destroy(scene_loop);
    assert_int_equal(weir__budget_used(budget), used);
    assert_in_range(weir__alloc_live(), live, live + scene_may_keep);
}

static inline void play(struct scene *scene)
{
    play_failing(scene, 0);
}

/* The trace of a handler against a script. */
static inline void expect_trace(struct scene *scene, const char *trace)
{
    play(scene);
    assert_string_equal(scene_trace, trace);
}

/* ---- small handlers' needs ---- */

/* Emits bytes of the pattern from a position on. */
static inline int emit_pattern(struct weir_sink *sink, uint64_t position, size_t len,
                               int64_t deadline)
{
    struct weir_chunk *chunk = NULL;
    uint8_t *bytes = malloc(len);
    int r;

    for (size_t i = 0; i < len; i++) {
        bytes[i] = weir__memory_byte(position + i);
    }
    if (len <= WEIR__CHUNK_MAX) {
        r = weir_chunk_copy(weir_bytes(bytes, len), &chunk);
        free(bytes);
    } else {
        r = weir_chunk_wrap(weir_bytes(bytes, len), free, bytes, &chunk);
        if (r < 0) {
            free(bytes);
        }
    }
    if (r == 0) {
        r = weir_emit_take(sink, chunk, deadline);
    }
    return r;
}

/* Reads to the end; the bytes must follow the pattern. Returns 0 at a verified end. */
static inline int read_pattern(struct weir_source *source, uint64_t *ret_bytes)
{
    struct weir_chunk *chunk;
    int r;

    while ((r = weir_next(source, -1, &chunk)) > 0) {
        struct weir_view view = weir_chunk_view(chunk);

        for (size_t i = 0; i < view.len; i++) {
            if (view.data[i] != weir__memory_byte(*ret_bytes + i)) {
                fail_msg("wrong byte at %llu", (unsigned long long)(*ret_bytes + i));
            }
        }
        *ret_bytes += view.len;
        weir_chunk_unref(chunk);
    }
    return r;
}

/* ---- chance, with a seed that can be replayed ---- */

static inline uint32_t roll(uint64_t *seed, uint32_t below)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

#endif
