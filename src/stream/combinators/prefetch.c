/* SPDX-License-Identifier: MIT */
/*
 * Reads ahead in a fiber. Invariant: what the ring holds and what is on its way fit the window; it begins with the first
 * read, so a source that nobody reads is not asked.
 */
#include "stream/combinators/puller.h"

struct prefetch {
    size_t window;
    bool cancelled;
    struct weir__puller *puller;
    struct weir__fiber *waiter;
    struct weir__ring ring;
};

static int read_on(struct prefetch *prefetch)
{
    return weir__ring_has_room(&prefetch->ring, prefetch->window)
               ? weir__puller_arm(prefetch->puller)
               : 0;
}

/* In the fiber: puts the chunk aside and goes on while there is room. */
static void ready(void *arg)
{
    struct prefetch *prefetch = arg;
    struct weir_chunk *chunk;

    if (weir__puller_result(prefetch->puller, &chunk) == 1) {
        weir__chunk_keep(&chunk);
        weir__ring_push(&prefetch->ring, chunk);
        WEIR_IGNORE(read_on(prefetch)); /* the fiber runs: this cannot fail */
    }
    weir__stream_wake(prefetch->waiter);
}

static int prefetch_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct prefetch *prefetch = state;
    int waited = 0;

    for (;;) {
        struct weir_chunk *chunk;
        int r;

        if (prefetch->cancelled || waited == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        if (prefetch->ring.count == 0) {
            r = weir__puller_try(prefetch->puller, &chunk);
            if (r == 1) {
                weir__ring_push(&prefetch->ring, chunk);
            } else if (r != WEIR_EAGAIN) {
                return r;
            }
        }
        if (prefetch->ring.count > 0) {
            r = weir__ring_deliver(&prefetch->ring, max_bytes, ret);
            if (r == 1) {
                WEIR_IGNORE(read_on(prefetch)); /* without a fiber the reader does it himself */
            }
            return r;
        }
        if (waited < 0) {
            return waited;
        }
        r = read_on(prefetch);
        if (r < 0) {
            return r;
        }
        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        waited = weir__stream_wait(&prefetch->waiter, weir__deadline_us(deadline),
                                   WEIR__STALL_WAIT_SOURCE);
    }
}

static void prefetch_cancel(void *state, enum weir_reason reason)
{
    struct prefetch *prefetch = state;

    prefetch->cancelled = true;
    weir__ring_drop(&prefetch->ring);
    weir__puller_cancel(prefetch->puller, reason);
    weir__stream_wake(prefetch->waiter);
}

static void prefetch_destroy(void *state)
{
    struct prefetch *prefetch = state;

    weir__ring_drop(&prefetch->ring);
    weir__puller_close(prefetch->puller);
    weir_free(prefetch);
}

static void prefetch_explain(void *state, struct weir_error *ret)
{
    weir__puller_explain(((struct prefetch *)state)->puller, ret);
}

static int64_t prefetch_arm(void *state, struct weir_waker *waker)
{
    struct prefetch *prefetch = state;

    prefetch->waiter = weir__waker_fiber(waker); /* the fiber is under way since next() */
    return -1;
}

static const struct weir_source_ops prefetch_ops = {
    .name = "prefetch",
    .next = prefetch_next,
    .cancel = prefetch_cancel,
    .destroy = prefetch_destroy,
    .explain = prefetch_explain,
    .arm = prefetch_arm,
};

int weir_prefetch_create_take(struct weir_source *given, size_t window_bytes,
                              struct weir_source **ret)
{
    struct prefetch *prefetch;
    unsigned depth;
    int r;

    if (window_bytes == 0) {
        window_bytes = 2 * WEIR_CHUNK_BYTES;
    }
    if (given == NULL || window_bytes < WEIR_CHUNK_BYTES || window_bytes > WEIR_AHEAD_MAX) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    depth = given->depth;
    prefetch = weir_alloc0(sizeof(*prefetch));
    if (prefetch == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    prefetch->window = window_bytes;
    r = weir__puller_create_take(given, ready, prefetch, &prefetch->puller);
    if (r < 0) {
        weir_free(prefetch);
        return r;
    }
    return weir__combinator_create_take(&prefetch_ops, prefetch, depth, ret);
}
