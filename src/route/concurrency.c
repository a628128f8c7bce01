/* SPDX-License-Identifier: MIT */
/* How many streams at once. Invariant: whoever has added one to `used` takes it off after the stream has ended. */
#include <weir/guards.h>

#include <stdatomic.h>

#include "base/alloc.h"
#include "route/mw.h"

struct weir_concurrency {
    struct weir_concurrency_opts opts;
    struct {
        atomic_size_t used;
    } shared;
};

int weir_concurrency_create(const struct weir_concurrency_opts *opts, struct weir_concurrency **ret)
{
    struct weir_concurrency *concurrency;

    if (opts == NULL || opts->max == 0) {
        return WEIR_EINVAL;
    }
    concurrency = weir_alloc0(sizeof(*concurrency));
    if (concurrency == NULL) {
        return WEIR_ENOMEM;
    }
    concurrency->opts = *opts;
    *ret = concurrency;
    return 0;
}

void weir_concurrency_destroy(struct weir_concurrency *concurrency)
{
    weir_free(concurrency);
}

size_t weir_concurrency_used(struct weir_concurrency *concurrency)
{
    return atomic_load_explicit(&concurrency->shared.used, memory_order_relaxed);
}

int weir_mw_concurrency(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_concurrency *concurrency = arg;
    atomic_size_t *used = &concurrency->shared.used;
    int r;

    if (atomic_fetch_add_explicit(used, 1, memory_order_relaxed) >= concurrency->opts.max) {
        atomic_fetch_sub_explicit(used, 1, memory_order_relaxed);
        return weir__reply_retry(req, 503, concurrency->opts.retry_after_s,
                                 "too many requests at once\n");
    }
    r = weir_chain_run(next, req);
    atomic_fetch_sub_explicit(used, 1, memory_order_relaxed);
    return r;
}
