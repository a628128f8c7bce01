/* SPDX-License-Identifier: MIT */
/*
 * Clocks on a source. Invariant: `idle_spent_us` is the time spent waiting inside since the last byte; it grows only between
 * begin() and finish(), so what the reader does with its own time never counts.
 */
#include "stream/combinators/combinator.h"

struct timeout {
    struct weir__wrap wrap;
    int64_t idle_us, total_us;           /* WEIR__NEVER: none */
    int64_t idle_spent_us, total_end_us; /* total_end_us 0: not begun */
    int64_t begun_us;                    /* of the present call */
    enum weir_reason expired;
};

static int expire(struct timeout *timeout, enum weir_reason reason)
{
    timeout->expired = reason;
    weir_cancel(timeout->wrap.inner, reason);
    return WEIR_ESTALLED;
}

/* Takes the time; returns 0 and the deadline for the inner source, or WEIR_ESTALLED. */
static int begin(struct timeout *timeout, int64_t *deadline)
{
    int64_t now_us = weir__loop_current()->now_us;
    int64_t until_us = WEIR__NEVER;

    if (timeout->total_end_us == 0) {
        timeout->total_end_us =
            timeout->total_us == WEIR__NEVER ? WEIR__NEVER : now_us + timeout->total_us;
    }
    if (now_us >= timeout->total_end_us) {
        return expire(timeout, WEIR_REASON_TIMEOUT);
    }
    timeout->begun_us = now_us;
    if (timeout->idle_us != WEIR__NEVER) {
        until_us = now_us + timeout->idle_us - timeout->idle_spent_us;
    }
    if (timeout->total_end_us < until_us) {
        until_us = timeout->total_end_us;
    }
    if (until_us != WEIR__NEVER && *deadline != 0) {
        int64_t until_ms = (until_us + 999) / 1000;

        if (*deadline < 0 || until_ms < *deadline) {
            *deadline = until_ms;
        }
    }
    return 0;
}

/* Whether the clocks leave a result of the inner source as it is. */
static int finish(struct timeout *timeout, int r)
{
    int64_t now_us = weir__loop_current()->now_us;

    if (r >= 0) {
        timeout->idle_spent_us = 0;
        return r;
    }
    timeout->idle_spent_us += now_us - timeout->begun_us;
    if (r == WEIR_ETIMEDOUT || r == WEIR_EAGAIN) {
        if (now_us >= timeout->total_end_us) {
            return expire(timeout, WEIR_REASON_TIMEOUT);
        }
        if (timeout->idle_spent_us >= timeout->idle_us) {
            return expire(timeout, WEIR_REASON_STALL);
        }
    }
    return r;
}

static int timeout_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct timeout *timeout = state;
    int r = begin(timeout, &deadline);

    return r < 0 ? r : finish(timeout, weir__next(timeout->wrap.inner, max_bytes, deadline, ret));
}

static void timeout_explain(void *state, struct weir_error *ret)
{
    struct timeout *timeout = state;

    if (timeout->expired != WEIR_REASON_NONE) {
        ret->reason = timeout->expired;
        ret->where = timeout->expired == WEIR_REASON_STALL ? "timeout: idle" : "timeout: total";
    } else {
        weir__explain_inner(timeout->wrap.inner, ret);
    }
}

static int timeout_lend(struct timeout *timeout, weir__lend_fn *lend, int64_t deadline,
                        struct weir_loan *ret)
{
    int r = begin(timeout, &deadline);

    if (r < 0) {
        return r;
    }
    r = lend(timeout->wrap.inner, deadline, ret);
    /* Readable is not yet a byte: the time counts until one has gone, see repay. */
    if (r == 0) {
        timeout->idle_spent_us += weir__loop_current()->now_us - timeout->begun_us;
        return 0;
    }
    return finish(timeout, r);
}

static int timeout_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct timeout *timeout = state;

    return timeout->wrap.inner->ops->lend_fd == NULL
               ? WEIR_EUNSUPPORTED
               : timeout_lend(timeout, weir__source_lend, deadline, ret);
}

static int timeout_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct timeout *timeout = state;

    return timeout->wrap.inner->ops->lend_file == NULL
               ? WEIR_EUNSUPPORTED
               : timeout_lend(timeout, weir__source_lend_file, deadline, ret);
}

static int timeout_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct timeout *timeout = state;

    if (taken > 0) {
        timeout->idle_spent_us = 0;
    }
    return weir__source_repay(timeout->wrap.inner, taken, native, at_eof);
}

static int64_t timeout_arm(void *state, struct weir_waker *waker)
{
    struct timeout *timeout = state;
    int64_t now_us = weir__loop_current()->now_us;
    int64_t until_us = timeout->total_end_us;
    int64_t until_ms, inner_ms;

    inner_ms = weir_source_arm(timeout->wrap.inner, waker);
    if (waker == NULL) {
        timeout->idle_spent_us += now_us - timeout->begun_us;
        return -1;
    }
    timeout->begun_us = now_us;
    if (timeout->idle_us != WEIR__NEVER &&
        now_us + timeout->idle_us - timeout->idle_spent_us < until_us) {
        until_us = now_us + timeout->idle_us - timeout->idle_spent_us;
    }
    until_ms = until_us == WEIR__NEVER ? -1 : (until_us + 999) / 1000;
    return inner_ms < -1 || (inner_ms >= 0 && (until_ms < 0 || inner_ms < until_ms)) ? inner_ms
                                                                                     : until_ms;
}

static const struct weir_source_ops timeout_ops = {
    .name = "timeout",
    .next = timeout_next,
    .cancel = weir__wrap_cancel,
    .destroy = weir__wrap_destroy,
    .explain = timeout_explain,
    .arm = timeout_arm,
    .lend_fd = timeout_lend_fd,
    .lend_file = timeout_lend_file,
    .repay_fd = timeout_repay_fd,
};

static int64_t in_us(int64_t ms)
{
    return ms == 0 || ms > INT64_MAX / 4000 ? WEIR__NEVER : ms * 1000;
}

int weir_timeout_create_take(struct weir_source *given, int64_t idle_ms, int64_t total_ms,
                             struct weir_source **ret)
{
    struct timeout *timeout;
    int r;

    if (idle_ms < 0 || total_ms < 0 || (idle_ms == 0 && total_ms == 0)) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&timeout_ops, sizeof(*timeout), given, ret);
    if (r == 0) {
        timeout = (*ret)->state;
        timeout->idle_us = in_us(idle_ms);
        timeout->total_us = in_us(total_ms);
    }
    return r;
}
