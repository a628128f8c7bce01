/* SPDX-License-Identifier: MIT */
/* What combinators share; each of them is a file of its own. */
#include "stream/combinators/combinator.h"

#include "bytes/chunk.h"

void weir__wrap_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(((struct weir__wrap *)state)->inner, reason);
}

void weir__wrap_destroy(void *state)
{
    weir_source_destroy(((struct weir__wrap *)state)->inner);
    weir_free(state);
}

void weir__wrap_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(((struct weir__wrap *)state)->inner, ret);
}

int64_t weir__wrap_arm(void *state, struct weir_waker *waker)
{
    struct weir__wrap *wrap = state;

    if (waker != NULL && wrap->again) {
        return 0;
    }
    return weir_source_arm(wrap->inner, waker);
}

int weir__combinator_create_take(const struct weir_source_ops *ops, void *state, unsigned depth,
                                 struct weir_source **ret)
{
    struct weir_source *source;
    int r;

    if (depth >= WEIR__NEST_MAX) {
        ops->destroy(state);
        return WEIR_ELIMIT;
    }
    r = weir_source_create_take(ops, state, &source);
    if (r == 0) {
        source->depth = (uint8_t)(depth + 1);
        *ret = source;
    }
    return r;
}

int weir__wrap_create_take(const struct weir_source_ops *ops, size_t size,
                           struct weir_source *given, struct weir_source **ret)
{
    struct weir__wrap *wrap;

    if (given == NULL) {
        return WEIR_EINVAL;
    }
    wrap = weir_alloc0(size);
    if (wrap == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    wrap->inner = given;
    return weir__combinator_create_take(ops, wrap, given->depth, ret);
}

int weir__combinator_sleep(struct weir__fiber **slot, const bool *cancelled, int64_t until_us,
                           int64_t deadline)
{
    struct weir__loop *loop = weir__loop_current();
    int64_t deadline_us = weir__deadline_us(deadline);
    int64_t wake_us = until_us < deadline_us ? until_us : deadline_us;

    while (loop->now_us < until_us) {
        int r;

        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        if (loop->now_us >= deadline_us) {
            return WEIR_ETIMEDOUT;
        }
        r = weir__stream_wait(slot, wake_us, WEIR__STALL_SHAPED);
        if (r == WEIR_ECANCELED || *cancelled) {
            return WEIR_ECANCELED;
        }
        if (r == WEIR_ETIMEDOUT && loop->now_us < wake_us) {
            return WEIR_ENOMEM; /* no timer: to go on without one would spin */
        }
    }
    return 0;
}

int weir__combinator_turn(unsigned *rounds, int64_t deadline, bool *again)
{
    *again = false;
    if (++*rounds % 64 != 0 || weir__fiber_current() == NULL) {
        return 0;
    }
    if (deadline == 0) {
        *again = true;
        return WEIR_EAGAIN;
    }
    weir__fiber_yield();
    return weir__loop_current()->now_us >= weir__deadline_us(deadline) ? WEIR_ETIMEDOUT : 0;
}

void weir__chunk_keep(struct weir_chunk **chunk)
{
    struct weir_chunk *copy;
    size_t len = weir_chunk_len(*chunk);

    weir_chunk_detach(*chunk);
    /* Memory that is not ours may be any size behind it. */
    if (len >= WEIR_CHUNK_BYTES / 4 ||
        ((*chunk)->buffer != NULL && weir__chunk_footprint(*chunk) <= 4 * len)) {
        return;
    }
    if ((*chunk)->buffer != NULL && weir__chunk_footprint(*chunk) <= 1024) {
        return;
    }
    if (weir_chunk_copy(weir_chunk_view(*chunk), &copy) == 0) {
        weir_chunk_unref(*chunk);
        *chunk = copy;
    }
}

/* ---- pieces ---- */

/* Gives up to `max_bytes` of the chunk from the offset on; when the rest went, the reference went with it. */
static int give_piece(struct weir_chunk **chunk, size_t *offset, size_t max_bytes,
                      struct weir_chunk **ret)
{
    size_t left = weir_chunk_len(*chunk) - *offset;
    size_t len = left < max_bytes ? left : max_bytes;

    if (*offset > 0 || len < left) {
        int r = weir_chunk_slice(*chunk, *offset, len, ret);

        if (r < 0) {
            return r;
        }
    } else {
        *ret = weir_chunk_ref(*chunk);
    }
    *offset += len;
    if (len == left) {
        *chunk = weir_chunk_unref(*chunk);
        *offset = 0;
    }
    return 1;
}

int weir__held_deliver(struct weir__held *held, size_t max_bytes, struct weir_chunk **ret)
{
    return give_piece(&held->chunk, &held->offset, max_bytes, ret);
}

void weir__ring_push(struct weir__ring *ring, struct weir_chunk *chunk)
{
    ring->chunks[(ring->first + ring->count) % WEIR__RING_SLOTS] = chunk;
    ring->count++;
    ring->bytes += weir_chunk_len(chunk);
}

int weir__ring_deliver(struct weir__ring *ring, size_t max_bytes, struct weir_chunk **ret)
{
    int r = give_piece(&ring->chunks[ring->first], &ring->offset, max_bytes, ret);

    if (r == 1) {
        ring->bytes -= weir_chunk_len(*ret);
        if (ring->chunks[ring->first] == NULL) {
            ring->first = (ring->first + 1) % WEIR__RING_SLOTS;
            ring->count--;
        }
    }
    return r;
}

void weir__ring_drop(struct weir__ring *ring)
{
    while (ring->count > 0) {
        weir_chunk_unref(ring->chunks[ring->first]);
        ring->first = (ring->first + 1) % WEIR__RING_SLOTS;
        ring->count--;
    }
    ring->bytes = 0;
    ring->offset = 0;
}
