/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_COMBINATORS_COMBINATOR_H
#define WEIR_STREAM_COMBINATORS_COMBINATOR_H

#include <weir/combinators.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "stream/stream.h"
#include "stream/wait.h"

/*
 * What combinators share: the state of one that wraps a single source, a chunk that is delivered in pieces, a ring of
 * chunks, and the waits that are not the inner source's.
 */

/* How deep they nest: each level is two calls on the fiber's stack. */
#define WEIR__NEST_MAX 32

/* The first member of a state with one inner source. */
struct weir__wrap {
    struct weir_source *inner;
    bool again; /* the last EAGAIN was its own: it let others run */
};

/* Operations of such a state. */
void weir__wrap_cancel(void *state, enum weir_reason reason);
void weir__wrap_destroy(void *state);
void weir__wrap_explain(void *state, struct weir_error *ret);
int64_t weir__wrap_arm(void *state, struct weir_waker *waker);

/*
 * A source with a zeroed state of `size` bytes that begins with a struct weir__wrap. Consumes `given`.
 * Returns 0 (the state is (*ret)->state), WEIR_EINVAL (given is NULL), WEIR_ELIMIT (nested too deep), WEIR_ENOMEM.
 */
int weir__wrap_create_take(const struct weir_source_ops *ops, size_t size,
                           struct weir_source *given, struct weir_source **ret);

/* The same for a state of its own making (given: ops->destroy frees it), over sources the deepest of which is `depth`. */
int weir__combinator_create_take(const struct weir_source_ops *ops, void *state, unsigned depth,
                                 struct weir_source **ret);

/* One of the two ways to borrow from a source: weir__source_lend(), weir__source_lend_file(). A combinator that counts or times
 * bytes and does not look at them passes both on. */
typedef int(weir__lend_fn)(struct weir_source *source, int64_t deadline, struct weir_loan *ret);

/* What a callback's failure is to the reader: final. */
static inline int weir__callback_error(int r)
{
    return weir__is_final(r) ? r : WEIR_ERESET;
}

/* The story of a callback that failed. */
static inline void weir__explain_callback(const char *where, struct weir_error *ret)
{
    ret->side = WEIR_SIDE_SELF;
    ret->reason = WEIR_REASON_HANDLER;
    ret->where = where;
}

/*
 * Waits as a shaper does, until `until_us`. Returns 0, WEIR_EAGAIN, WEIR_ETIMEDOUT (the caller's deadline comes first),
 * WEIR_ECANCELED, WEIR_ENOMEM (no timer).
 */
int weir__combinator_sleep(struct weir__fiber **slot, const bool *cancelled, int64_t until_us,
                           int64_t deadline);

/* Of a loop that pulls without delivering: every 64 rounds the others run. Returns 0, or WEIR_EAGAIN (and `*again`: there may be
 * more, whatever the inner source says) or WEIR_ETIMEDOUT when that is for the caller to decide. */
int weir__combinator_turn(unsigned *rounds, int64_t deadline, bool *again);

/*
 * For a chunk that is put aside: its credit goes back to the peer, for it now counts for whoever holds it, and a small one
 * in a large buffer is copied, so that bounds in bytes are bounds in memory: at most four times as much, or 1 KiB each.
 */
void weir__chunk_keep(struct weir_chunk **chunk);

/* ---- a chunk that is delivered in pieces ---- */

struct weir__held {
    struct weir_chunk *chunk; /* NULL: none */
    size_t offset;
};

/* As next(): the chunk itself, or a slice. Needs one. */
int weir__held_deliver(struct weir__held *held, size_t max_bytes, struct weir_chunk **ret);

static inline void weir__held_drop(struct weir__held *held)
{
    held->chunk = weir_chunk_unref(held->chunk);
    held->offset = 0;
}

/* Holds the chunk (given) and delivers what goes. */
static inline int weir__held_take(struct weir__held *held, struct weir_chunk *chunk,
                                  size_t max_bytes, struct weir_chunk **ret)
{
    held->chunk = chunk;
    held->offset = 0;
    return weir__held_deliver(held, max_bytes, ret);
}

/* ---- a ring of kept chunks ---- */

#define WEIR__RING_SLOTS 64

struct weir__ring {
    struct weir_chunk *chunks[WEIR__RING_SLOTS];
    unsigned first, count;
    size_t bytes;  /* still to be delivered */
    size_t offset; /* of the first so much has been */
};

/* Whether a chunk of any size may come and the sum stay within the limit. */
static inline bool weir__ring_has_room(const struct weir__ring *ring, size_t limit)
{
    return ring->count < WEIR__RING_SLOTS && ring->bytes + WEIR_CHUNK_BYTES <= limit;
}

void weir__ring_push(struct weir__ring *ring, struct weir_chunk *chunk);
int weir__ring_deliver(struct weir__ring *ring, size_t max_bytes, struct weir_chunk **ret);
void weir__ring_drop(struct weir__ring *ring);

#endif
