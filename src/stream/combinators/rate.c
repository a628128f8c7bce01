/* SPDX-License-Identifier: MIT */
/*
 * A token bucket in front of a source. Tokens are counted in millionths of a byte, so that microseconds times bytes per
 * second is exact and nothing is lost to rounding. Invariant: 0 <= tokens <= full, and what is pulled was paid before.
 */
#include "stream/combinators/combinator.h"

#include "rt/relay.h"

#define PER_BYTE INT64_C(1000000)
#define MOST UINT64_C(1000000000000) /* 10^12: times PER_BYTE it fits */

struct rate {
    struct weir__wrap wrap;
    int64_t per_us; /* millionths of a byte: the number of bytes per second */
    int64_t full, quantum, tokens;
    int64_t at_us; /* when tokens was true */
    bool cancelled;
    struct weir__fiber *waiter;
};

static void refill(struct rate *rate, int64_t now_us)
{
    int64_t elapsed_us = now_us - rate->at_us;

    rate->at_us = now_us;
    if (elapsed_us > (rate->full - rate->tokens) / rate->per_us) {
        rate->tokens = rate->full;
    } else {
        rate->tokens += elapsed_us * rate->per_us;
    }
}

/* Sleeps until a quantum may go. Returns 0 and how many bytes may go now, or a result of next(). */
static int await_tokens(struct rate *rate, int64_t deadline, size_t *ret_bytes)
{
    struct weir__loop *loop = weir__loop_current();
    int64_t deadline_us = weir__deadline_us(deadline);

    for (;;) {
        int64_t ready_us;
        int r;

        refill(rate, loop->now_us);
        if (rate->tokens >= rate->quantum) {
            *ret_bytes = (size_t)(rate->tokens / PER_BYTE);
            return 0;
        }
        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        if (loop->now_us >= deadline_us) {
            return WEIR_ETIMEDOUT;
        }
        ready_us = loop->now_us + (rate->quantum - rate->tokens + rate->per_us - 1) / rate->per_us;
        if (deadline_us < ready_us) {
            ready_us = deadline_us;
        }
        r = weir__stream_wait(&rate->waiter, ready_us, WEIR__STALL_SHAPED);
        if (r == WEIR_ECANCELED || rate->cancelled) {
            return WEIR_ECANCELED;
        }
        if (r == WEIR_ETIMEDOUT && loop->now_us < ready_us) {
            return WEIR_ENOMEM; /* no timer: to go on without one would spin */
        }
    }
}

static int rate_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct rate *rate = state;
    size_t allowed;
    int r = await_tokens(rate, deadline, &allowed);

    if (r < 0) {
        return r;
    }
    r = weir__next(rate->wrap.inner, allowed < max_bytes ? allowed : max_bytes, deadline, ret);
    if (r == 1) {
        rate->tokens -= (int64_t)weir_chunk_len(*ret) * PER_BYTE;
    }
    return r;
}

static void rate_cancel(void *state, enum weir_reason reason)
{
    struct rate *rate = state;

    rate->cancelled = true;
    weir_cancel(rate->wrap.inner, reason);
    weir__stream_wake(rate->waiter);
}

static int rate_lend(struct rate *rate, weir__lend_fn *lend, int64_t deadline,
                     struct weir_loan *ret)
{
    size_t allowed;
    int r = await_tokens(rate, deadline, &allowed);

    if (r == 0) {
        r = lend(rate->wrap.inner, deadline, ret);
    }
    if (r == 0 && ret->max_bytes > allowed) {
        ret->max_bytes = allowed;
    }
    return r;
}

static int rate_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct rate *rate = state;

    return rate->wrap.inner->ops->lend_fd == NULL
               ? WEIR_EUNSUPPORTED
               : rate_lend(rate, weir__source_lend, deadline, ret);
}

static int rate_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct rate *rate = state;

    return rate->wrap.inner->ops->lend_file == NULL
               ? WEIR_EUNSUPPORTED
               : rate_lend(rate, weir__source_lend_file, deadline, ret);
}

static int rate_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct rate *rate = state;

    rate->tokens -= (int64_t)taken * PER_BYTE;
    return weir__source_repay(rate->wrap.inner, taken, native, at_eof);
}

static int64_t rate_arm(void *state, struct weir_waker *waker)
{
    struct rate *rate = state;

    if (waker != NULL && rate->tokens < rate->quantum) {
        /* Only the time is waited for; what comes of the inner source is seen then. */
        return (rate->at_us + (rate->quantum - rate->tokens + rate->per_us - 1) / rate->per_us +
                999) /
               1000;
    }
    return weir_source_arm(rate->wrap.inner, waker);
}

static const struct weir_source_ops rate_ops = {
    .name = "rate",
    .next = rate_next,
    .cancel = rate_cancel,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
    .arm = rate_arm,
    .lend_fd = rate_lend_fd,
    .lend_file = rate_lend_file,
    .repay_fd = rate_repay_fd,
};

WEIR__RELAY_4(int, relay_rate_create_take, weir_rate_create_take, struct weir_source *, uint64_t,
              uint64_t, struct weir_source **)

int weir_rate_create_take(struct weir_source *given, uint64_t bytes_per_s, uint64_t burst_bytes,
                          struct weir_source **ret)
{
    if (weir__relay_here != NULL) {
        return relay_rate_create_take(given, bytes_per_s, burst_bytes, ret);
    }

    struct weir__loop *loop = weir__loop_current();
    struct rate *rate;
    uint64_t quantum = bytes_per_s / 100;
    int r;

    if (burst_bytes == 0) {
        burst_bytes = bytes_per_s >= 10 ? bytes_per_s / 10 : 1;
    }
    if (loop == NULL || bytes_per_s == 0 || bytes_per_s > MOST || burst_bytes > MOST) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&rate_ops, sizeof(*rate), given, ret);
    if (r < 0) {
        return r;
    }
    rate = (*ret)->state;
    quantum = quantum < 1 ? 1 : quantum > WEIR_CHUNK_BYTES ? WEIR_CHUNK_BYTES : quantum;
    quantum = quantum > burst_bytes ? burst_bytes : quantum;
    rate->per_us = (int64_t)bytes_per_s;
    rate->full = (int64_t)burst_bytes * PER_BYTE;
    rate->quantum = (int64_t)quantum * PER_BYTE;
    rate->tokens = rate->full;
    rate->at_us = loop->now_us;
    return 0;
}
