/* SPDX-License-Identifier: MIT */
/* A delay between chunks. Invariant: nothing is pulled before it may be delivered. */
#include "stream/combinators/combinator.h"

struct pace {
    struct weir__wrap wrap;
    int64_t delay_us, due_us;
    bool cancelled;
    struct weir__fiber *waiter;
    struct weir__held held;
};

static int pace_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct pace *pace = state;
    struct weir_chunk *chunk;
    int r;

    if (pace->held.chunk != NULL) {
        return weir__held_deliver(&pace->held, max_bytes, ret); /* of a chunk that was due */
    }
    r = weir__combinator_sleep(&pace->waiter, &pace->cancelled, pace->due_us, deadline);
    if (r < 0) {
        return r;
    }
    r = weir__next(pace->wrap.inner, WEIR_CHUNK_BYTES, deadline, &chunk);
    if (r <= 0) {
        return r;
    }
    pace->due_us = weir__loop_current()->now_us + pace->delay_us;
    return weir__held_take(&pace->held, chunk, max_bytes, ret);
}

static void pace_cancel(void *state, enum weir_reason reason)
{
    struct pace *pace = state;

    pace->cancelled = true;
    weir__held_drop(&pace->held);
    weir_cancel(pace->wrap.inner, reason);
    weir__stream_wake(pace->waiter);
}

static void pace_destroy(void *state)
{
    weir__held_drop(&((struct pace *)state)->held);
    weir__wrap_destroy(state);
}

static int64_t pace_arm(void *state, struct weir_waker *waker)
{
    struct pace *pace = state;

    if (waker != NULL && weir__loop_current()->now_us < pace->due_us) {
        return (pace->due_us + 999) / 1000; /* nothing is pulled before */
    }
    return weir__wrap_arm(pace, waker);
}

static const struct weir_source_ops pace_ops = {
    .name = "pace",
    .next = pace_next,
    .cancel = pace_cancel,
    .destroy = pace_destroy,
    .explain = weir__wrap_explain,
    .arm = pace_arm,
};

int weir_pace_create_take(struct weir_source *given, int64_t delay_ms, struct weir_source **ret)
{
    int r;

    if (delay_ms <= 0 || delay_ms > INT64_MAX / 4000) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&pace_ops, sizeof(struct pace), given, ret);
    if (r == 0) {
        ((struct pace *)(*ret)->state)->delay_us = delay_ms * 1000;
    }
    return r;
}
