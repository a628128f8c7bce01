/* SPDX-License-Identifier: MIT */
/*
 * One source, two readers. Each chunk is given to the one who asks and kept, shared, for the other. Invariant: the source is
 * asked only when the other one's ring has room for any chunk, so the slower reader governs; a branch that is gone keeps
 * nothing and waits for nobody.
 */
#include "stream/combinators/puller.h"

struct tee;

struct branch {
    struct tee *tee;
    bool gone;
    struct weir__fiber *waiter;
    struct weir__ring ring; /* what the other one has had already */
};

struct tee {
    unsigned refs; /* branches */
    size_t lag_bytes;
    int final; /* of the source: WEIR__OPEN, 0, or the error */
    struct weir__puller *puller;
    struct branch branches[2];
};

static struct branch *other_of(struct branch *branch)
{
    return &branch->tee->branches[branch == &branch->tee->branches[0]];
}

static void ready(void *arg)
{
    struct tee *tee = arg;

    weir__stream_wake(tee->branches[0].waiter);
    weir__stream_wake(tee->branches[1].waiter);
}

/* Asks the source for both. Returns 1 (a chunk is in the branch's ring, or the source is over) or WEIR_EAGAIN. */
static int pull(struct branch *branch)
{
    struct branch *other = other_of(branch);
    struct weir_chunk *chunk;
    int r = weir__puller_try(branch->tee->puller, &chunk);

    if (r == WEIR_EAGAIN) {
        return r;
    }
    if (r == 1) {
        if (!other->gone) {
            weir__chunk_keep(&chunk);
            weir__ring_push(&other->ring, weir_chunk_ref(chunk));
        }
        weir__ring_push(&branch->ring, chunk);
    } else {
        branch->tee->final = r;
    }
    weir__stream_wake(other->waiter);
    return 1;
}

static int branch_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct branch *branch = state;
    struct branch *other = other_of(branch);
    struct tee *tee = branch->tee;
    int waited = 0;

    for (;;) {
        enum weir__stall_state why = WEIR__STALL_WAIT_SOURCE;

        if (branch->gone || waited == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        if (branch->ring.count > 0) {
            int r = weir__ring_deliver(&branch->ring, max_bytes, ret);

            weir__stream_wake(other->waiter); /* it may have waited for this one */
            return r;
        }
        if (tee->final != WEIR__OPEN) {
            return tee->final;
        }
        if (!other->gone && !weir__ring_has_room(&other->ring, tee->lag_bytes)) {
            why = WEIR__STALL_HELD; /* the slower one governs */
        } else if (pull(branch) == 1) {
            continue;
        } else if (deadline != 0 && waited == 0) {
            int r = weir__puller_arm(tee->puller);

            if (r < 0) {
                return r;
            }
        }
        if (waited < 0 || deadline == 0) {
            return waited < 0 ? waited : WEIR_EAGAIN;
        }
        waited = weir__stream_wait(&branch->waiter, weir__deadline_us(deadline), why);
    }
}

static void branch_cancel(void *state, enum weir_reason reason)
{
    struct branch *branch = state;
    struct branch *other = other_of(branch);

    branch->gone = true;
    weir__ring_drop(&branch->ring);
    weir__stream_wake(branch->waiter);
    if (other->gone) {
        weir__puller_cancel(branch->tee->puller, reason);
    } else {
        weir__stream_wake(other->waiter);
    }
}

static void branch_destroy(void *state)
{
    struct branch *branch = state;
    struct tee *tee = branch->tee;

    branch->gone = true; /* also after its end */
    weir__ring_drop(&branch->ring);
    weir__stream_wake(other_of(branch)->waiter);
    if (--tee->refs == 0) {
        weir__puller_close(tee->puller);
        weir_free(tee);
    }
}

static void branch_explain(void *state, struct weir_error *ret)
{
    weir__puller_explain(((struct branch *)state)->tee->puller, ret);
}

static int64_t branch_arm(void *state, struct weir_waker *waker)
{
    struct branch *branch = state;
    struct branch *other = other_of(branch);
    struct tee *tee = branch->tee;

    branch->waiter = weir__waker_fiber(waker);
    if (waker != NULL && (other->gone || weir__ring_has_room(&other->ring, tee->lag_bytes))) {
        weir__puller_arm_or_fail(tee->puller);
    }
    return -1;
}

static const struct weir_source_ops branch_ops = {
    .name = "tee",
    .next = branch_next,
    .cancel = branch_cancel,
    .destroy = branch_destroy,
    .explain = branch_explain,
    .arm = branch_arm,
};

int weir_tee_create_take(struct weir_source *given, size_t lag_bytes, struct weir_source **ret_a,
                         struct weir_source **ret_b)
{
    struct weir_source *a;
    struct tee *tee;
    unsigned depth;
    int r;

    if (lag_bytes == 0) {
        lag_bytes = 2 * WEIR_CHUNK_BYTES;
    }
    if (given == NULL || lag_bytes < WEIR_CHUNK_BYTES || lag_bytes > WEIR_AHEAD_MAX) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    depth = given->depth;
    tee = weir_alloc0(sizeof(*tee));
    if (tee == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    tee->refs = 2;
    tee->lag_bytes = lag_bytes;
    tee->final = WEIR__OPEN;
    tee->branches[0].tee = tee;
    tee->branches[1].tee = tee;
    r = weir__puller_create_take(given, ready, tee, &tee->puller);
    if (r < 0) {
        weir_free(tee);
        return r;
    }
    /* A branch that could not be made has been destroyed: the other one goes after it. */
    r = weir__combinator_create_take(&branch_ops, &tee->branches[0], depth, &a);
    if (r < 0) {
        branch_destroy(&tee->branches[1]);
        return r;
    }
    r = weir__combinator_create_take(&branch_ops, &tee->branches[1], depth, ret_b);
    if (r < 0) {
        weir_source_destroy(a);
        return r;
    }
    *ret_a = a;
    return 0;
}
