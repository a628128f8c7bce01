/* SPDX-License-Identifier: MIT */
/* At most so many bytes. Invariant: `left` is what may still be delivered; one byte more is looked for, never taken. */
#include <weir/combinators.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "stream/stream.h"
#include "stream/wait.h"

struct limit {
    struct weir_source *inner;
    uint64_t left;
};

static int limit_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct limit *limit = state;
    struct weir_chunk *chunk;
    size_t ask = max_bytes;
    int r;

    if (limit->left < ask) {
        ask = limit->left > 0 ? (size_t)limit->left : 1;
    }
    r = weir__next(limit->inner, ask, deadline, &chunk);
    if (r <= 0) {
        return r;
    }
    if (limit->left == 0) {
        weir_cancel(limit->inner, WEIR_REASON_LIMIT);
        weir_chunk_unref(chunk);
        return WEIR_ELIMIT;
    }
    limit->left -= weir_chunk_len(chunk);
    *ret = chunk;
    return 1;
}

static void limit_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(((struct limit *)state)->inner, reason);
}

static void limit_destroy(void *state)
{
    struct limit *limit = state;

    weir_source_destroy(limit->inner);
    weir_free(limit);
}

static void limit_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(((struct limit *)state)->inner, ret);
}

static int limit_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct limit *limit = state;
    int r;

    if (limit->left == 0) {
        return WEIR_EUNSUPPORTED; /* only next() can tell the end from one byte too many */
    }
    r = weir__source_lend(limit->inner, deadline, ret);
    if (r == 0 && ret->max_bytes > limit->left) {
        ret->max_bytes = limit->left;
    }
    return r;
}

static int limit_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct limit *limit = state;

    limit->left -= taken;
    return weir__source_repay(limit->inner, taken, native, at_eof);
}

static int64_t limit_arm(void *state, struct weir_waker *waker)
{
    return weir_source_arm(((struct limit *)state)->inner, waker);
}

static const struct weir_source_ops limit_ops = {
    .name = "limit",
    .next = limit_next,
    .cancel = limit_cancel,
    .destroy = limit_destroy,
    .explain = limit_explain,
    .arm = limit_arm,
    .lend_fd = limit_lend_fd,
    .repay_fd = limit_repay_fd,
};

int weir_limit_create_take(struct weir_source *given, uint64_t max_bytes, struct weir_source **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *inner = given;
    struct limit *limit;

    if (inner == NULL || max_bytes == 0) {
        return WEIR_EINVAL;
    }
    limit = weir_alloc0(sizeof(*limit));
    if (limit == NULL) {
        return WEIR_ENOMEM;
    }
    limit->inner = weir_take(inner);
    limit->left = max_bytes;
    return weir_source_create_take(&limit_ops, limit, ret);
}
