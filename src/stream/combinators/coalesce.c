/* SPDX-License-Identifier: MIT */
/*
 * Joins what comes within a delay. Invariant: between two calls it holds at most one buffer of `want` bytes, and that only
 * while a caller's deadline came before the delay's end.
 */
#include "bytes/chunk.h"
#include "stream/combinators/combinator.h"

struct coalesce {
    struct weir__wrap wrap;
    size_t want;
    int64_t delay_us;
    struct weir_chunk *joined; /* NULL: nothing is collected */
    size_t have;
    int64_t due_us;
    struct weir__held held;
};

/* What has been collected, in a buffer that is not much too large for it. */
static int flush(struct coalesce *coalesce, size_t max_bytes, struct weir_chunk **ret)
{
    struct weir_chunk *joined = coalesce->joined;
    struct weir_chunk *copy;

    coalesce->joined = NULL;
    weir__chunk_set_len(joined, coalesce->have);
    if (coalesce->have <= coalesce->want / 4 &&
        weir_chunk_copy(weir_chunk_view(joined), &copy) == 0) {
        weir_chunk_unref(joined);
        joined = copy;
    }
    coalesce->have = 0;
    return weir__held_take(&coalesce->held, joined, max_bytes, ret);
}

/* Until when the next chunk is waited for. */
static int64_t patience(const struct coalesce *coalesce, int64_t deadline)
{
    int64_t due_ms = (coalesce->due_us + 999) / 1000;

    if (coalesce->joined == NULL || deadline == 0) {
        return deadline;
    }
    if (coalesce->delay_us == 0) {
        return 0;
    }
    return deadline < 0 || due_ms < deadline ? due_ms : deadline;
}

static void append(struct coalesce *coalesce, struct weir_chunk *chunk)
{
    struct weir_view view = weir_chunk_view(chunk);

    memcpy(weir_chunk_data(coalesce->joined) + coalesce->have, view.data, view.len);
    coalesce->have += view.len;
    weir_chunk_unref(chunk);
}

static int64_t now_us(void)
{
    struct weir__loop *loop = weir__loop_current();

    return loop != NULL ? loop->now_us : 0;
}

static bool is_due(const struct coalesce *coalesce)
{
    return coalesce->have == coalesce->want || now_us() >= coalesce->due_us;
}

static int coalesce_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct coalesce *coalesce = state;
    unsigned rounds = 0;

    coalesce->wrap.again = false;
    if (coalesce->held.chunk != NULL) {
        return weir__held_deliver(&coalesce->held, max_bytes, ret);
    }
    for (;;) {
        struct weir_chunk *chunk;
        int r;

        if (coalesce->joined != NULL && coalesce->delay_us > 0 && is_due(coalesce)) {
            return flush(coalesce, max_bytes, ret);
        }
        r = weir__next(coalesce->wrap.inner, coalesce->want - coalesce->have,
                       patience(coalesce, deadline), &chunk);
        if (r == 1) {
            if (coalesce->joined == NULL) {
                coalesce->due_us = now_us() + coalesce->delay_us;
                if (weir_chunk_len(chunk) == coalesce->want ||
                    weir_chunk_create(coalesce->want, &coalesce->joined) < 0) {
                    return weir__held_take(&coalesce->held, chunk, max_bytes, ret);
                }
            }
            append(coalesce, chunk);
            if (coalesce->have == coalesce->want) {
                return flush(coalesce, max_bytes, ret);
            }
            r = weir__combinator_turn(&rounds, deadline, &coalesce->wrap.again);
            if (r < 0 && coalesce->delay_us > 0) {
                return r;
            }
            if (r < 0) {
                return flush(coalesce, max_bytes, ret);
            }
            continue;
        }
        if (coalesce->joined == NULL || r == WEIR_ECANCELED || r == WEIR_EBUSY) {
            return r;
        }
        /* The caller's deadline came before the delay's end: it stays collected. */
        if ((r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT) && coalesce->delay_us > 0 &&
            !is_due(coalesce) && now_us() >= weir__deadline_us(deadline)) {
            return deadline == 0 ? WEIR_EAGAIN : WEIR_ETIMEDOUT;
        }
        return flush(coalesce, max_bytes, ret); /* an end or a failure comes again */
    }
}

static void drop(struct coalesce *coalesce)
{
    weir__held_drop(&coalesce->held);
    coalesce->joined = weir_chunk_unref(coalesce->joined);
    coalesce->have = 0;
}

static void coalesce_cancel(void *state, enum weir_reason reason)
{
    drop(state);
    weir_cancel(((struct coalesce *)state)->wrap.inner, reason);
}

static void coalesce_destroy(void *state)
{
    drop(state);
    weir__wrap_destroy(state);
}

static int64_t coalesce_arm(void *state, struct weir_waker *waker)
{
    struct coalesce *coalesce = state;
    int64_t inner_ms = weir__wrap_arm(coalesce, waker);
    int64_t due_ms = (coalesce->due_us + 999) / 1000;

    /* What is collected is due at its time, whatever comes. */
    return coalesce->joined != NULL && (inner_ms == -1 || inner_ms > due_ms) ? due_ms : inner_ms;
}

static const struct weir_source_ops coalesce_ops = {
    .name = "coalesce",
    .next = coalesce_next,
    .cancel = coalesce_cancel,
    .destroy = coalesce_destroy,
    .explain = weir__wrap_explain,
    .arm = coalesce_arm,
};

int weir_coalesce_create_take(struct weir_source *given, size_t max_bytes, int64_t delay_ms,
                              struct weir_source **ret)
{
    struct coalesce *coalesce;
    int r;

    if (max_bytes == 0) {
        max_bytes = WEIR_CHUNK_BYTES;
    }
    if (max_bytes > WEIR_CHUNK_BYTES || delay_ms < 0 || delay_ms > INT64_MAX / 4000) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&coalesce_ops, sizeof(*coalesce), given, ret);
    if (r == 0) {
        coalesce = (*ret)->state;
        coalesce->want = max_bytes;
        coalesce->delay_us = delay_ms * 1000;
    }
    return r;
}
