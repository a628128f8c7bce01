/* SPDX-License-Identifier: MIT */
/* At most so many bytes. Invariant: `left` is what may still be delivered; one byte more is looked for, never taken. */
#include "stream/combinators/combinator.h"

struct limit {
    struct weir__wrap wrap;
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
    r = weir__next(limit->wrap.inner, ask, deadline, &chunk);
    if (r <= 0) {
        return r;
    }
    if (limit->left == 0) {
        weir_cancel(limit->wrap.inner, WEIR_REASON_LIMIT);
        weir_chunk_unref(chunk);
        return WEIR_ELIMIT;
    }
    limit->left -= weir_chunk_len(chunk);
    *ret = chunk;
    return 1;
}

static int limit_lend(struct limit *limit, weir__lend_fn *lend, int64_t deadline,
                      struct weir_loan *ret)
{
    int r;

    if (limit->left == 0) {
        return WEIR_EUNSUPPORTED; /* only next() can tell the end from one byte too many */
    }
    r = lend(limit->wrap.inner, deadline, ret);
    if (r == 0 && ret->max_bytes > limit->left) {
        ret->max_bytes = limit->left;
    }
    return r;
}

static int limit_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    return limit_lend(state, weir__source_lend, deadline, ret);
}

static int limit_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    return limit_lend(state, weir__source_lend_file, deadline, ret);
}

static int limit_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct limit *limit = state;

    limit->left -= taken;
    return weir__source_repay(limit->wrap.inner, taken, native, at_eof);
}

static const struct weir_source_ops limit_ops = {
    .name = "limit",
    .next = limit_next,
    .cancel = weir__wrap_cancel,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
    .arm = weir__wrap_arm,
    .lend_fd = limit_lend_fd,
    .lend_file = limit_lend_file,
    .repay_fd = limit_repay_fd,
};

int weir_limit_create_take(struct weir_source *given, uint64_t max_bytes, struct weir_source **ret)
{
    int r;

    if (max_bytes == 0) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&limit_ops, sizeof(struct limit), given, ret);
    if (r == 0) {
        ((struct limit *)(*ret)->state)->left = max_bytes;
    }
    return r;
}
