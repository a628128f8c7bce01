/* SPDX-License-Identifier: MIT */
/*
 * Joins small chunks. Invariant: holds nothing between two calls, so it needs no place in any account. A chunk that is
 * large enough passes as it is; only smaller ones are copied together, as long as more is there without waiting.
 */
#include <weir/combinators.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "stream/stream.h"
#include "stream/wait.h"

struct rechunk {
    struct weir_source *inner;
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
    int r = weir__next(rechunk->inner, most, deadline, &chunk);

    if (r == 1) {
        *ret = weir_chunk_len(chunk) < least ? join(rechunk->inner, chunk, least) : chunk;
    }
    return r;
}

static void rechunk_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(((struct rechunk *)state)->inner, reason);
}

static void rechunk_destroy(void *state)
{
    struct rechunk *rechunk = state;

    weir_source_destroy(rechunk->inner);
    weir_free(rechunk);
}

static void rechunk_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(((struct rechunk *)state)->inner, ret);
}

static int64_t rechunk_arm(void *state, struct weir_waker *waker)
{
    return weir_source_arm(((struct rechunk *)state)->inner, waker);
}

static const struct weir_source_ops rechunk_ops = {
    .name = "rechunk",
    .next = rechunk_next,
    .cancel = rechunk_cancel,
    .destroy = rechunk_destroy,
    .explain = rechunk_explain,
    .arm = rechunk_arm,
};

int weir_rechunk_create_take(struct weir_source *given, size_t min_bytes, size_t max_bytes,
                             struct weir_source **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *inner = given;
    struct rechunk *rechunk;

    if (max_bytes == 0) {
        max_bytes = WEIR_CHUNK_BYTES;
    }
    if (inner == NULL || max_bytes > WEIR_CHUNK_BYTES || min_bytes > max_bytes) {
        return WEIR_EINVAL;
    }
    rechunk = weir_alloc0(sizeof(*rechunk));
    if (rechunk == NULL) {
        return WEIR_ENOMEM;
    }
    rechunk->inner = weir_take(inner);
    rechunk->min_bytes = min_bytes;
    rechunk->max_bytes = max_bytes;
    return weir_source_create_take(&rechunk_ops, rechunk, ret);
}
