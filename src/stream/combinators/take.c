/* SPDX-License-Identifier: MIT */
/* The first so many bytes, and then a clean end. Invariant: `left` is what may still be delivered. */
#include "stream/combinators/combinator.h"

struct take {
    struct weir__wrap wrap;
    uint64_t left;
};

/* All is delivered. An inner source that has just ended keeps its clean end (and its connection); else it is told. */
static int satisfied(struct take *take)
{
    struct weir_chunk *chunk;

    if (weir__next(take->wrap.inner, 1, 0, &chunk) == 1) {
        weir_chunk_unref(chunk);
    }
    weir_cancel(take->wrap.inner, WEIR_REASON_CANCELED);
    return 0;
}

static int take_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct take *take = state;
    int r;

    if (take->left == 0) {
        return satisfied(take);
    }
    r = weir__next(take->wrap.inner, take->left < max_bytes ? (size_t)take->left : max_bytes,
                   deadline, ret);
    if (r == 1) {
        take->left -= weir_chunk_len(*ret);
    }
    return r;
}

static int take_lend(struct take *take, weir__lend_fn *lend, int64_t deadline,
                     struct weir_loan *ret)
{
    int r;

    if (take->left == 0) {
        return WEIR_EUNSUPPORTED; /* next() says that it is the end */
    }
    r = lend(take->wrap.inner, deadline, ret);
    if (r == 0 && ret->max_bytes > take->left) {
        ret->max_bytes = take->left;
    }
    return r;
}

static int take_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    return take_lend(state, weir__source_lend, deadline, ret);
}

static int take_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    return take_lend(state, weir__source_lend_file, deadline, ret);
}

static int take_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct take *take = state;

    take->left -= taken;
    return weir__source_repay(take->wrap.inner, taken, native, at_eof);
}

static const struct weir_source_ops take_ops = {
    .name = "take",
    .next = take_next,
    .cancel = weir__wrap_cancel,
    .arm = weir__wrap_arm,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
    .lend_fd = take_lend_fd,
    .lend_file = take_lend_file,
    .repay_fd = take_repay_fd,
};

int weir_take_create_take(struct weir_source *given, uint64_t bytes, struct weir_source **ret)
{
    int r = weir__wrap_create_take(&take_ops, sizeof(struct take), given, ret);

    if (r == 0) {
        ((struct take *)(*ret)->state)->left = bytes;
    }
    return r;
}
