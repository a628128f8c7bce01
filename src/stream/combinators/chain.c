/* SPDX-License-Identifier: MIT */
/* Sources one after the other. A source that has ended is destroyed at once; the next is not asked before. */
#include "stream/combinators/combinator.h"

struct chain {
    unsigned count, at;
    bool again; /* the last EAGAIN was its own */
    struct weir_source *sources[];
};

/* Steps over the present one, which has ended. Returns whether another follows. */
static bool step(struct chain *chain)
{
    if (chain->at + 1 == chain->count) {
        return false;
    }
    weir_source_destroy(chain->sources[chain->at]);
    chain->sources[chain->at++] = NULL;
    return true;
}

static int chain_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct chain *chain = state;
    unsigned rounds = 0;

    chain->again = false;
    for (;;) {
        int r = weir__next(chain->sources[chain->at], max_bytes, deadline, ret);

        if (r != 0 || !step(chain)) {
            return r;
        }
        r = weir__combinator_turn(&rounds, deadline, &chain->again);
        if (r < 0) {
            return r;
        }
    }
}

static int chain_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct chain *chain = state;

    return weir__source_lend(chain->sources[chain->at], deadline, ret);
}

static int chain_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct chain *chain = state;

    return weir__source_lend_file(chain->sources[chain->at], deadline, ret);
}

static int chain_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct chain *chain = state;
    int r = weir__source_repay(chain->sources[chain->at], taken, native, at_eof);

    return r == 0 && step(chain) ? 1 : r;
}

static void chain_cancel(void *state, enum weir_reason reason)
{
    struct chain *chain = state;

    for (unsigned i = chain->at; i < chain->count; i++) {
        weir_cancel(chain->sources[i], reason);
    }
}

static void chain_destroy(void *state)
{
    struct chain *chain = state;

    for (unsigned i = chain->at; i < chain->count; i++) {
        weir_source_destroy(chain->sources[i]);
    }
    weir_free(chain);
}

static void chain_explain(void *state, struct weir_error *ret)
{
    struct chain *chain = state;

    weir__explain_inner(chain->sources[chain->at], ret);
}

static int64_t chain_arm(void *state, struct weir_waker *waker)
{
    struct chain *chain = state;

    if (waker != NULL && chain->again) {
        return 0;
    }
    return weir_source_arm(chain->sources[chain->at], waker);
}

static const struct weir_source_ops chain_ops = {
    .name = "chain",
    .next = chain_next,
    .cancel = chain_cancel,
    .destroy = chain_destroy,
    .explain = chain_explain,
    .arm = chain_arm,
    .lend_fd = chain_lend_fd,
    .lend_file = chain_lend_file,
    .repay_fd = chain_repay_fd,
};

int weir_chain_create_take(struct weir_source *const *given, unsigned count,
                           struct weir_source **ret)
{
    struct chain *chain = NULL;
    unsigned depth = 0;
    bool valid = given != NULL && count > 0;

    for (unsigned i = 0; valid && i < count; i++) {
        valid = given[i] != NULL;
        depth = valid && given[i]->depth > depth ? given[i]->depth : depth;
    }
    if (valid) {
        chain = weir_alloc0(sizeof(*chain) + (size_t)count * sizeof(chain->sources[0]));
    }
    if (chain == NULL) {
        for (unsigned i = 0; given != NULL && i < count; i++) {
            weir_source_destroy(given[i]);
        }
        return valid ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    chain->count = count;
    for (unsigned i = 0; i < count; i++) {
        chain->sources[i] = given[i];
    }
    return weir__combinator_create_take(&chain_ops, chain, depth, ret);
}
