/* SPDX-License-Identifier: MIT */
/* What the tests of sources share: a test is one fiber on a fake clock; bytes follow the pattern. */
#ifndef WEIR_TEST_SOURCES_H
#define WEIR_TEST_SOURCES_H

#include <weir/sources.h>

#include "bytes/chunk.h"
#include "stream_test.h"

static inline void fiber_test(void (*fn)(void *arg))
{
    struct world world;

    assert_true(world_run(&world, fn, &world));
}
#define FIBER_TEST(name)                \
    static void name##_body(void *arg); \
    static void name(void **state)      \
    {                                   \
        (void)state;                    \
        fiber_test(name##_body);        \
    }                                   \
    static void name##_body(void *arg)

static inline int drain(struct weir_source *source, uint64_t *ret_bytes)
{
    struct weir_chunk *chunk;
    int r;

    *ret_bytes = 0;
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        *ret_bytes += pattern_check(chunk, *ret_bytes);
    }
    return r;
}

static inline int emit_pattern(struct weir_sink *sink, size_t len, uint64_t *position,
                               int64_t deadline)
{
    uint8_t *bytes = malloc(len);
    int r;

    pattern_fill(bytes, len, *position);
    r = weir_emit_bytes(sink, weir_bytes(bytes, len), deadline);
    free(bytes);
    *position += r == 0 ? len : 0;
    return r;
}

#endif
