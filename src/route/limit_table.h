/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTE_LIMIT_TABLE_H
#define WEIR_ROUTE_LIMIT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/guards.h>

/*
 * The virtual clocks of keys, for GCRA: a clock stands at the time up to which what was taken has been paid for. One that
 * lies behind by more than the burst is as good as none, so forgetting it costs nothing; those are replaced first. The
 * size is fixed, nothing is allocated later, and a key is kept as a hash with a secret.
 *
 * All times in nanoseconds of the monotonic clock.
 */
struct weir__limit_table;

#define WEIR__LIMIT_FRESH INT64_MIN /* a clock that nothing was taken from */

int weir__limit_table_create(size_t max_keys, struct weir__limit_table **ret);
void weir__limit_table_destroy(struct weir__limit_table *table);

/* What identifies a key in it. */
uint64_t weir__limit_id(struct weir__limit_table *table, struct weir_view key);

/* The key of a request, by `fn` or the client's address; false: nobody's. */
bool weir__limit_key(struct weir__limit_table *table, struct weir_req *req, weir_limit_key_fn *fn,
                     void *arg, uint64_t *ret);

/* Moves one clock on by `cost` if that leaves it at or before now; 0. Else how long that lies off; `force` moves it
 * nevertheless. A cost of 0 only looks. */
int64_t weir__clock_take(int64_t *clock, int64_t now, int64_t burst, int64_t cost, bool force);

/* The same for a key's. Context: any thread. */
int64_t weir__limit_take(struct weir__limit_table *table, uint64_t id, int64_t now, int64_t burst,
                         int64_t cost, bool force);

#endif
