/* SPDX-License-Identifier: MIT */
/*
 * Collects chunks into batches, for readers that pay per call and not per byte. Invariant: a batch is within its bounds, or
 * is one chunk; the chunk that did not fit waits for the next one.
 */
#include "stream/combinators/combinator.h"

#include "base/assert.h"
#include "rt/relay.h"

#define BATCH_MAGIC 0x62617463u

struct weir_batch {
    uint32_t magic;
    bool busy, delivered;
    struct weir_source *inner;
    size_t max_items, max_bytes;
    int64_t delay_us;
    int64_t due_us; /* of the batch in hand */
    size_t count, bytes;
    struct weir_chunk *next; /* did not fit */
    struct weir_chunk *items[];
};

static void drop_items(struct weir_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        weir_chunk_unref(batch->items[i]);
    }
    batch->count = 0;
    batch->bytes = 0;
    batch->delivered = false;
}

static void add(struct weir_batch *batch, struct weir_chunk *chunk)
{
    if (batch->count == 0) {
        batch->due_us = weir__loop_current()->now_us + batch->delay_us;
    }
    batch->items[batch->count++] = chunk;
    batch->bytes += weir_chunk_len(chunk);
}

/* Until when to wait for one more. */
static int64_t patience(const struct weir_batch *batch, int64_t deadline)
{
    int64_t due_ms = (batch->due_us + 999) / 1000;

    if (batch->count == 0 || deadline == 0 || batch->delay_us == WEIR__NEVER / 2) {
        return deadline;
    }
    return deadline < 0 || due_ms < deadline ? due_ms : deadline;
}

static bool is_due(const struct weir_batch *batch)
{
    return batch->count > 0 && weir__loop_current()->now_us >= batch->due_us;
}

/* Returns 1 when a batch is complete, or as next(). */
static int collect(struct weir_batch *batch, int64_t deadline)
{
    unsigned rounds = 0;

    while (batch->count < batch->max_items && batch->bytes < batch->max_bytes) {
        struct weir_chunk *chunk = NULL;
        int r;

        if (batch->next != NULL) {
            chunk = weir_take(batch->next);
        } else {
            if (is_due(batch)) {
                return 1;
            }
            r = weir__next(batch->inner, WEIR_CHUNK_BYTES, patience(batch, deadline), &chunk);
            if (r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT) {
                bool at_deadline =
                    weir__loop_current()->now_us >= weir__deadline_us(deadline) && !is_due(batch);

                if (batch->count == 0 || at_deadline) {
                    return deadline == 0 ? WEIR_EAGAIN : WEIR_ETIMEDOUT;
                }
                return 1;
            }
            if (r == WEIR_EBUSY || r == WEIR_ECANCELED) {
                return r;
            }
            if (r <= 0) {
                return batch->count > 0 ? 1 : r; /* it comes again */
            }
            weir__chunk_keep(&chunk);
        }
        if (batch->count > 0 && batch->bytes + weir_chunk_len(chunk) > batch->max_bytes) {
            batch->next = chunk;
            return 1;
        }
        add(batch, chunk);
        r = weir__combinator_turn(&rounds, deadline, &(bool){false});
        if (r < 0) {
            return r;
        }
    }
    return 1;
}

WEIR__RELAY_4(int, relay_batch_next, weir_batch_next, struct weir_batch *, int64_t,
              struct weir_chunk *const **, size_t *)

int weir_batch_next(struct weir_batch *batch, int64_t deadline, struct weir_chunk *const **ret,
                    size_t *ret_count)
{
    int r;

    if (weir__relay_here != NULL) {
        return relay_batch_next(batch, deadline, ret, ret_count);
    }
    weir_check(batch, BATCH_MAGIC);
    if (batch->busy) {
        return WEIR_EBUSY;
    }
    if (batch->delivered) {
        drop_items(batch);
    }
    batch->busy = true;
    r = collect(batch, deadline);
    batch->busy = false;
    if (r == 1) {
        batch->delivered = true;
        *ret = batch->items;
        *ret_count = batch->count;
    }
    return r;
}

void weir_batch_error(struct weir_batch *batch, struct weir_error *ret)
{
    weir_check(batch, BATCH_MAGIC);
    weir_source_error(batch->inner, ret);
}

void weir_batch_cancel(struct weir_batch *batch, enum weir_reason reason)
{
    weir_check(batch, BATCH_MAGIC);
    weir_cancel(batch->inner, reason);
}

void weir_batch_destroy(struct weir_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    weir_check(batch, BATCH_MAGIC);
    weir_assert(!batch->busy);
    drop_items(batch);
    weir_chunk_unref(batch->next);
    weir_source_destroy(batch->inner);
    batch->magic = 0;
    weir_free(batch);
}

void weir_batch_destroyp(struct weir_batch **batch)
{
    weir_batch_destroy(*batch);
    *batch = NULL;
}

int weir_batch_create_take(struct weir_source *given, const struct weir_batch_opts *opts,
                           struct weir_batch **ret)
{
    static const struct weir_batch_opts defaults;
    struct weir_batch *batch;
    size_t items, bytes;

    opts = opts != NULL ? opts : &defaults;
    items = opts->max_items != 0 ? opts->max_items : 64;
    bytes = opts->max_bytes != 0 ? opts->max_bytes : WEIR_CHUNK_BYTES;
    if (given == NULL || items > WEIR_BATCH_ITEMS_MAX || bytes > WEIR_AHEAD_MAX ||
        opts->max_delay_ms < 0) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    batch = weir_alloc0(sizeof(*batch) + items * sizeof(batch->items[0]));
    if (batch == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    batch->magic = BATCH_MAGIC;
    batch->inner = given;
    batch->max_items = items;
    batch->max_bytes = bytes;
    batch->delay_us = opts->max_delay_ms == 0 || opts->max_delay_ms > INT64_MAX / 4000
                          ? WEIR__NEVER / 2
                          : opts->max_delay_ms * 1000;
    *ret = batch;
    return 0;
}
