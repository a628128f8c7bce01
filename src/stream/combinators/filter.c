/* SPDX-License-Identifier: MIT */
/* Drops the chunks a callback does not want. Holds at most what is left of one chunk. */
#include "stream/combinators/combinator.h"

struct filter {
    struct weir__wrap wrap;
    weir_filter_fn *fn;
    void *arg;
    struct weir__held held;
};

static int filter_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct filter *filter = state;
    unsigned rounds = 0;

    filter->wrap.again = false;
    if (filter->held.chunk != NULL) {
        return weir__held_deliver(&filter->held, max_bytes, ret);
    }
    for (;;) {
        struct weir_chunk *chunk;
        int r = weir__next(filter->wrap.inner, WEIR_CHUNK_BYTES, deadline, &chunk);

        if (r <= 0) {
            return r;
        }
        if (filter->fn(filter->arg, weir_chunk_view(chunk))) {
            return weir__held_take(&filter->held, chunk, max_bytes, ret);
        }
        weir_chunk_unref(chunk);
        /* A long run of unwanted chunks must not keep the loop. */
        r = weir__combinator_turn(&rounds, deadline, &filter->wrap.again);
        if (r < 0) {
            return r;
        }
    }
}

static void filter_cancel(void *state, enum weir_reason reason)
{
    struct filter *filter = state;

    weir__held_drop(&filter->held);
    weir_cancel(filter->wrap.inner, reason);
}

static void filter_destroy(void *state)
{
    weir__held_drop(&((struct filter *)state)->held);
    weir__wrap_destroy(state);
}

static const struct weir_source_ops filter_ops = {
    .name = "filter",
    .next = filter_next,
    .cancel = filter_cancel,
    .destroy = filter_destroy,
    .explain = weir__wrap_explain,
    .arm = weir__wrap_arm,
};

int weir_filter_create_take(struct weir_source *given, weir_filter_fn *fn, void *arg,
                            struct weir_source **ret)
{
    struct filter *filter;
    int r;

    if (fn == NULL) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&filter_ops, sizeof(*filter), given, ret);
    if (r == 0) {
        filter = (*ret)->state;
        filter->fn = fn;
        filter->arg = arg;
    }
    return r;
}
