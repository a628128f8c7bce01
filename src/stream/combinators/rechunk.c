/* SPDX-License-Identifier: MIT */
/*
 * Joins small chunks. Invariant: holds nothing between two calls, so it needs no place in any account. A chunk that is
 * large enough passes as it is; only smaller ones are copied together, as long as more is there without waiting.
 */
#include "bytes/chunk.h"
#include "stream/combinators/combinator.h"

struct rechunk {
    struct weir__wrap wrap;
    size_t min_bytes, max_bytes;
};

/* Joins what is there now to `first` (given), up to `want` bytes. What stops it comes again at the next call: the inner
 * source's end and failures stay. Without memory the first goes alone. */
static struct weir_chunk *join(struct weir_source *inner, struct weir_chunk *first, size_t want)
{
    struct weir_chunk *next, *joined;
    size_t have = weir_chunk_len(first);

    /* Memory first: a chunk that was taken would have nowhere to go. */
    if (weir_chunk_create(want, &joined) < 0) {
        return first;
    }
    while (have < want && weir__next(inner, want - have, 0, &next) == 1) {
        if (first != NULL) {
            memcpy(weir_chunk_data(joined), weir_chunk_view(first).data, have);
            first = weir_chunk_unref(first);
        }
        memcpy(weir_chunk_data(joined) + have, weir_chunk_view(next).data, weir_chunk_len(next));
        have += weir_chunk_len(next);
        weir_chunk_unref(next);
    }
    if (first != NULL) {
        weir_chunk_unref(joined);
        return first;
    }
    weir__chunk_set_len(joined, have);
    return joined;
}

static int rechunk_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct rechunk *rechunk = state;
    size_t most = max_bytes < rechunk->max_bytes ? max_bytes : rechunk->max_bytes;
    size_t least = most < rechunk->min_bytes ? most : rechunk->min_bytes;
    struct weir_chunk *chunk;
    int r = weir__next(rechunk->wrap.inner, most, deadline, &chunk);

    if (r == 1) {
        *ret = weir_chunk_len(chunk) < least ? join(rechunk->wrap.inner, chunk, least) : chunk;
    }
    return r;
}

static const struct weir_source_ops rechunk_ops = {
    .name = "rechunk",
    .next = rechunk_next,
    .cancel = weir__wrap_cancel,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
    .arm = weir__wrap_arm,
};

int weir_rechunk_create_take(struct weir_source *given, size_t min_bytes, size_t max_bytes,
                             struct weir_source **ret)
{
    struct rechunk *rechunk;
    int r;

    if (max_bytes == 0) {
        max_bytes = WEIR_CHUNK_BYTES;
    }
    if (max_bytes > WEIR_CHUNK_BYTES || min_bytes > max_bytes) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&rechunk_ops, sizeof(*rechunk), given, ret);
    if (r == 0) {
        rechunk = (*ret)->state;
        rechunk->min_bytes = min_bytes;
        rechunk->max_bytes = max_bytes;
    }
    return r;
}
