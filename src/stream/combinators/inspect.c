/* SPDX-License-Identifier: MIT */
/* Shows each chunk to a callback as it passes. Holds at most what is left of one chunk. */
#include "stream/combinators/combinator.h"

struct inspect {
    struct weir__wrap wrap;
    weir_inspect_fn *fn;
    void *arg;
    struct weir__held held;
};

static int inspect_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct inspect *inspect = state;
    struct weir_chunk *chunk;
    int r;

    if (inspect->held.chunk != NULL) {
        return weir__held_deliver(&inspect->held, max_bytes, ret);
    }
    r = weir__next(inspect->wrap.inner, WEIR_CHUNK_BYTES, deadline, &chunk);
    if (r <= 0) {
        return r;
    }
    inspect->fn(inspect->arg, weir_chunk_view(chunk));
    return weir__held_take(&inspect->held, chunk, max_bytes, ret);
}

static void inspect_cancel(void *state, enum weir_reason reason)
{
    struct inspect *inspect = state;

    weir__held_drop(&inspect->held);
    weir_cancel(inspect->wrap.inner, reason);
}

static void inspect_destroy(void *state)
{
    weir__held_drop(&((struct inspect *)state)->held);
    weir__wrap_destroy(state);
}

static const struct weir_source_ops inspect_ops = {
    .name = "inspect",
    .next = inspect_next,
    .cancel = inspect_cancel,
    .destroy = inspect_destroy,
    .explain = weir__wrap_explain,
    .arm = weir__wrap_arm,
};

int weir_inspect_create_take(struct weir_source *given, weir_inspect_fn *fn, void *arg,
                             struct weir_source **ret)
{
    struct inspect *inspect;
    int r;

    if (fn == NULL) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&inspect_ops, sizeof(*inspect), given, ret);
    if (r == 0) {
        inspect = (*ret)->state;
        inspect->fn = fn;
        inspect->arg = arg;
    }
    return r;
}
