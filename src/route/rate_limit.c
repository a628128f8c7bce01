/* SPDX-License-Identifier: MIT */
/* So many requests in a time, evenly: GCRA, a virtual clock per key. */
#include <weir/guards.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "route/limit_table.h"
#include "route/mw.h"

#include <weir/experimental/observe.h>

#define SECOND INT64_C(1000000000)

struct weir_rate_limit {
    struct weir_rate_limit_opts opts;
    int64_t cost, burst; /* of one request; of all that may come at once. ns */
    struct weir__limit_table *table;
};

int weir_rate_limit_create(const struct weir_rate_limit_opts *opts, struct weir_rate_limit **ret)
{
    struct weir_rate_limit *limit;
    int64_t period_ms;
    uint64_t burst;
    int r;

    if (opts == NULL || opts->requests == 0 || opts->period_ms < 0 || opts->period_ms > 86400000) {
        return WEIR_EINVAL;
    }
    period_ms = opts->period_ms > 0 ? opts->period_ms : 1000;
    burst = opts->burst > 0 ? opts->burst : opts->requests;
    if (opts->requests > (uint64_t)period_ms * 1000000) {
        return WEIR_EINVAL; /* more than one each nanosecond */
    }
    limit = weir_alloc0(sizeof(*limit));
    if (limit == NULL) {
        return WEIR_ENOMEM;
    }
    limit->opts = *opts;
    limit->cost = period_ms * 1000000 / (int64_t)opts->requests;
    r = burst > (uint64_t)(INT64_MAX / 4 / limit->cost) ? WEIR_EINVAL : 0;
    if (r == 0) {
        limit->burst = limit->cost * (int64_t)burst;
        r = weir__limit_table_create(opts->max_keys, &limit->table);
    }
    if (r < 0) {
        weir_free(limit);
        return r;
    }
    *ret = limit;
    return 0;
}

void weir_rate_limit_destroy(struct weir_rate_limit *limit)
{
    if (limit != NULL) {
        weir__limit_table_destroy(limit->table);
        weir_free(limit);
    }
}

int weir_mw_rate_limit(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_rate_limit *limit = arg;
    uint64_t id;
    int64_t wait = 0;

    if (weir__limit_key(limit->table, req, limit->opts.key, limit->opts.key_arg, &id)) {
        wait = weir__limit_take(limit->table, id, weir_clock_us() * 1000, limit->burst, limit->cost,
                                false);
    }
    if (wait > 0) {
        return weir__reply_retry(req, 429, (uint64_t)((wait + SECOND - 1) / SECOND),
                                 "too many requests\n");
    }
    return weir_chain_run(next, req);
}
