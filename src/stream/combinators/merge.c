/* SPDX-License-Identifier: MIT */
/*
 * Several sources at once, fair by turns. Invariant: each source is at most one chunk ahead, and is asked only while a
 * reader waits or has waited.
 */
#include "stream/combinators/puller.h"

struct merge {
    unsigned count, turn;
    unsigned live; /* not yet over */
    bool collect_errors, cancelled;
    int error;       /* of the first that failed; 0: none */
    unsigned failed; /* which one it was */
    struct weir__fiber *waiter;
    struct weir__held held;
    struct {
        struct weir__puller *puller;
        bool over;
    } legs[];
};

static void ready(void *arg)
{
    weir__stream_wake(((struct merge *)arg)->waiter);
}

static void cancel_all(struct merge *merge, enum weir_reason reason)
{
    for (unsigned i = 0; i < merge->count; i++) {
        if (merge->legs[i].puller != NULL && !merge->legs[i].over) {
            weir__puller_cancel(merge->legs[i].puller, reason);
        }
    }
}

/* A source is over. Returns 1 go on, or what that makes of the whole. */
static int leg_over(struct merge *merge, unsigned leg, int r)
{
    merge->legs[leg].over = true;
    merge->live--;
    if (r < 0 && merge->error == 0) {
        merge->error = r;
        merge->failed = leg;
    }
    if (r < 0 && !merge->collect_errors) {
        cancel_all(merge, WEIR_REASON_CANCELED);
        return r;
    }
    return merge->live > 0 ? 1 : merge->error;
}

/* One chunk of whoever's turn it is: 1, the end or an error, or WEIR_EAGAIN. */
static int take_one(struct merge *merge, struct weir_chunk **ret)
{
    for (unsigned i = 0; i < merge->count; i++) {
        unsigned leg = (merge->turn + i) % merge->count;
        int r;

        if (merge->legs[leg].over) {
            continue;
        }
        r = weir__puller_try(merge->legs[leg].puller, ret);
        if (r == 1) {
            merge->turn = leg + 1;
            return 1;
        }
        if (r != WEIR_EAGAIN) {
            r = leg_over(merge, leg, r);
            if (r <= 0) {
                return r;
            }
        }
    }
    return WEIR_EAGAIN;
}

static int arm_all(struct merge *merge)
{
    for (unsigned i = 0; i < merge->count; i++) {
        if (!merge->legs[i].over) {
            int r = weir__puller_arm(merge->legs[i].puller);

            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

static int merge_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct merge *merge = state;
    int waited = 0;

    if (merge->held.chunk != NULL) {
        return weir__held_deliver(&merge->held, max_bytes, ret);
    }
    for (;;) {
        struct weir_chunk *chunk;
        int r;

        if (merge->cancelled || waited == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        r = take_one(merge, &chunk);
        if (r == 1) {
            return weir__held_take(&merge->held, chunk, max_bytes, ret);
        }
        if (r != WEIR_EAGAIN) {
            return r;
        }
        if (waited < 0 || deadline == 0) {
            return waited < 0 ? waited : WEIR_EAGAIN;
        }
        r = arm_all(merge);
        if (r < 0) {
            return r;
        }
        waited =
            weir__stream_wait(&merge->waiter, weir__deadline_us(deadline), WEIR__STALL_WAIT_SOURCE);
    }
}

static void merge_cancel(void *state, enum weir_reason reason)
{
    struct merge *merge = state;

    merge->cancelled = true;
    weir__held_drop(&merge->held);
    cancel_all(merge, reason);
    weir__stream_wake(merge->waiter);
}

static void merge_destroy(void *state)
{
    struct merge *merge = state;

    weir__held_drop(&merge->held);
    for (unsigned i = 0; i < merge->count; i++) {
        weir__puller_close(merge->legs[i].puller);
    }
    weir_free(merge);
}

static void merge_explain(void *state, struct weir_error *ret)
{
    struct merge *merge = state;

    if (merge->error != 0 && merge->error == ret->code) {
        weir__puller_explain(merge->legs[merge->failed].puller, ret);
    }
}

static int64_t merge_arm(void *state, struct weir_waker *waker)
{
    struct merge *merge = state;

    merge->waiter = weir__waker_fiber(waker);
    for (unsigned i = 0; waker != NULL && i < merge->count; i++) {
        if (!merge->legs[i].over) {
            weir__puller_arm_or_fail(merge->legs[i].puller);
        }
    }
    return -1;
}

static const struct weir_source_ops merge_ops = {
    .name = "merge",
    .next = merge_next,
    .cancel = merge_cancel,
    .destroy = merge_destroy,
    .explain = merge_explain,
    .arm = merge_arm,
};

static void destroy_all(struct weir_source *const *given, unsigned count)
{
    for (unsigned i = 0; given != NULL && i < count; i++) {
        weir_source_destroy(given[i]);
    }
}

int weir_merge_create_take(struct weir_source *const *given, unsigned count,
                           const struct weir_merge_opts *opts, struct weir_source **ret)
{
    struct merge *merge;
    unsigned depth = 0;
    int r = 0;

    if (given == NULL || count == 0 || count > WEIR_MERGE_MAX) {
        destroy_all(given, count);
        return WEIR_EINVAL;
    }
    for (unsigned i = 0; i < count; i++) {
        if (given[i] == NULL) {
            destroy_all(given, count);
            return WEIR_EINVAL;
        }
        depth = given[i]->depth > depth ? given[i]->depth : depth;
    }
    merge = weir_alloc0(sizeof(*merge) + count * sizeof(merge->legs[0]));
    if (merge == NULL) {
        destroy_all(given, count);
        return WEIR_ENOMEM;
    }
    merge->count = count;
    merge->live = count;
    merge->collect_errors = opts != NULL && opts->collect_errors;
    for (unsigned i = 0; i < count; i++) {
        if (r == 0) {
            r = weir__puller_create_take(given[i], ready, merge, &merge->legs[i].puller);
        } else {
            weir_source_destroy(given[i]);
        }
    }
    if (r < 0) {
        merge_destroy(merge);
        return r;
    }
    return weir__combinator_create_take(&merge_ops, merge, depth, ret);
}
