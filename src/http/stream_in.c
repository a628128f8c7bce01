/* SPDX-License-Identifier: MIT */
/* The incoming body of a stream as a source: what has arrived is delivered before any failure, and counted. */
#include "http/stream_halves.h"

#include <weir/http.h>

#include "bytes/account.h"
#include "stream/wait.h"

static int64_t gap_of(const struct weir__stream *stream)
{
    const struct weir__limits *limits = stream->limits;

    return stream->in_bytes == 0 && limits->first_byte_ms > 0 ? limits->first_byte_ms
                                                              : limits->read_gap_ms;
}

/* Whether the fiber is cancelled and not because the peer has left: a deadline has passed. After a leave what has arrived is
 * still read, and the cancel stays for the next wait. */
static bool is_called_off(struct weir__stream *stream)
{
    return stream->gone == WEIR_REASON_NONE && weir__wait_is_cancelled();
}

/* One wait for the incoming body. */
static int wait_body(struct weir__stream *stream, int64_t deadline)
{
    int64_t gap_ms = gap_of(stream);
    enum weir_reason reason = WEIR_REASON_NONE;
    int r;

    if (deadline == 0) {
        /* Selects may have used the patience up. */
        if (!weir__stream_is_too_slow(stream, &stream->in_patience, stream->in_bytes, gap_ms,
                                      &reason)) {
            return WEIR_EAGAIN;
        }
        stream->in_broken = (uint8_t)reason;
        return WEIR_ESTALLED;
    }
    if (is_called_off(stream)) {
        return weir__wait(0);
    }
    r = weir__stream_wait_for_peer(stream, &stream->reader, &stream->in_patience, stream->in_bytes,
                                   deadline, gap_ms, &reason);
    if (is_called_off(stream)) {
        return weir__wait(0);
    }
    if (r == WEIR_ESTALLED) {
        stream->in_broken = (uint8_t)reason;
    }
    return r;
}

bool weir__stream_holds_too_much(struct weir__stream *stream)
{
    return stream->account != NULL && stream->limits->held_bytes > 0 &&
           stream->gone == WEIR_REASON_NONE &&
           weir__account_held(stream->account) >= stream->limits->held_bytes;
}

/* One wait for the reader's own side. The peer is not to blame, whatever it takes; nor may it take for ever. */
static int wait_released(struct weir__stream *stream, int64_t deadline)
{
    int r;

    if (deadline == 0) {
        return WEIR_EAGAIN;
    }
    if (is_called_off(stream)) {
        return weir__wait(0);
    }
    r = weir__stream_wait_read(stream, deadline, stream->limits->read_gap_ms);
    if (r == WEIR_ESTALLED) {
        stream->in_broken = WEIR_REASON_LIMIT;
        return WEIR_EBUDGET;
    }
    return r;
}

/* ---- the pace ---- */

/* How many bytes may be read, from *ret_due_us on (0: at once), as all paces together allow. What is not paid for yet is
 * paid now. */
static size_t paid_for(struct weir__stream *stream, int64_t now_us, int64_t *ret_due_us)
{
    size_t bytes = SIZE_MAX;

    *ret_due_us = 0;
    for (struct weir__body_pace *pace = stream->in_pace; pace != NULL; pace = pace->outer) {
        if (pace->paid == 0) {
            int64_t wait = pace->pay(pace, pace->piece);

            pace->due_us = wait > 0 ? now_us + (wait + 999) / 1000 : 0;
            pace->paid = pace->piece;
        }
        *ret_due_us = pace->due_us > *ret_due_us ? pace->due_us : *ret_due_us;
        bytes = pace->paid < bytes ? pace->paid : bytes;
    }
    return bytes;
}

static void spend(struct weir__stream *stream, uint64_t bytes)
{
    for (struct weir__body_pace *pace = stream->in_pace; pace != NULL; pace = pace->outer) {
        pace->paid -= bytes < pace->paid ? (size_t)bytes : pace->paid;
    }
}

/* Whether there is somebody to slow down, and something to come. */
static bool is_paced(struct weir__stream *stream)
{
    return stream->in_pace != NULL && stream->gone == WEIR_REASON_NONE && !stream->body.cancelled &&
           stream->in_bytes != stream->in_declared;
}

/*
 * Waits until some bytes may be read, and says how many. This wait is ours: it costs the peer no patience. It ends with the
 * peer's leave, for what has arrived can be read then, and with a cancel for any other reason. Returns 0, WEIR_EAGAIN,
 * WEIR_ETIMEDOUT, WEIR_ECANCELED, WEIR_ENOMEM.
 */
static int wait_paced(struct weir__stream *stream, int64_t deadline, size_t *ret_bytes)
{
    struct weir__fiber *fiber = weir__fiber_current();
    int64_t deadline_us = weir__deadline_us(deadline);

    *ret_bytes = SIZE_MAX;
    while (is_paced(stream)) {
        int64_t due_us, until_us;
        size_t bytes = paid_for(stream, weir__loop_clock_us(stream->loop), &due_us);
        enum weir__stall_state before;
        int r;

        if (stream->loop->now_us >= due_us) {
            *ret_bytes = bytes;
            return 0;
        }
        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        if (is_called_off(stream)) {
            return weir__wait(0);
        }
        if (stream->loop->now_us >= deadline_us) {
            return WEIR_ETIMEDOUT;
        }
        until_us = due_us < deadline_us ? due_us : deadline_us;
        stream->fair_items = stream->fair_bytes = 0;
        before =
            weir__stall_enter(fiber->stall, WEIR__STALL_SHAPED, weir__loop_clock_us(stream->loop));
        stream->reader = fiber;
        r = weir__fiber_suspend(until_us);
        stream->reader = NULL;
        weir__stall_enter(fiber->stall, before, weir__loop_clock_us(stream->loop));
        if (r == WEIR_ETIMEDOUT && stream->loop->now_us < until_us) {
            return WEIR_ENOMEM; /* no timer: to go on without one would spin */
        }
    }
    return 0;
}

static int body_failed(struct weir__stream *stream, int r)
{
    if (stream->gone != WEIR_REASON_NONE && r == WEIR_EAGAIN) {
        r = weir__gone_code((enum weir_reason)stream->gone);
    }
    return r;
}

static int take_in(struct weir__stream *stream, uint64_t bytes)
{
    if (stream->in_bytes == 0) {
        stream->first_byte_us = weir__loop_clock_us(stream->loop);
    }
    stream->in_bytes += bytes;
    if (stream->in_bytes > stream->in_limit) {
        stream->in_broken = WEIR_REASON_LIMIT;
        return WEIR_ELIMIT;
    }
    return 0;
}

static int body_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct weir__stream *stream = state;
    int waited = 0;

    if (stream->before_read != NULL) {
        void (*before_read)(struct weir__stream *) = stream->before_read;

        stream->before_read = NULL;
        if (!stream->begun) {
            before_read(stream);
        }
    }
    weir__stream_be_fair(stream, 0, deadline);
    for (;;) {
        size_t paced;
        int r = wait_paced(stream, deadline, &paced);

        if (stream->body.cancelled) {
            return WEIR_ECANCELED; /* the wire has been told: it is not asked again */
        }
        if (r < 0) {
            return r;
        }
        r = stream->ops->read(stream, max_bytes < paced ? max_bytes : paced, ret);
        if (r == 1) {
            if (stream->account != NULL) {
                weir__account_charge(stream->account, *ret);
            }
            spend(stream, weir_chunk_len(*ret));
            r = take_in(stream, weir_chunk_len(*ret));
            if (r < 0) {
                *ret = weir_chunk_unref(*ret);
                return r;
            }
            stream->fair_bytes += (uint32_t)weir_chunk_len(*ret);
            return 1;
        }
        if (r != WEIR_EAGAIN || stream->gone != WEIR_REASON_NONE) {
            return body_failed(stream, r);
        }
        if (waited < 0) {
            return waited; /* nothing came with the last tick either */
        }
        if (weir__stream_holds_too_much(stream)) {
            r = wait_released(stream, deadline);
            if (r < 0) {
                return r;
            }
            continue;
        }
        waited = wait_body(stream, deadline);
        if (waited == WEIR_EAGAIN || waited == WEIR_ECANCELED || deadline == 0) {
            return waited;
        }
    }
}

uint64_t weir__source_declared(struct weir_source *source)
{
    struct weir__stream *stream = source->state;

    if (source->ops != &weir__stream_body_ops || stream->in_declared == WEIR_LENGTH_UNKNOWN ||
        stream->in_declared < stream->in_bytes) {
        return WEIR_LENGTH_UNKNOWN;
    }
    return stream->in_declared - stream->in_bytes;
}

/* A select waits for the peer as a read does; not, if it has to wait for us to let go of something. */
static int64_t body_arm(void *state, struct weir_waker *waker)
{
    struct weir__stream *stream = state;
    int64_t now_us = weir__loop_clock_us(stream->loop);

    stream->reader = weir__waker_fiber(waker);
    if (waker == NULL) {
        if (stream->in_armed_us != 0) {
            weir__stream_waited(&stream->in_patience, now_us - stream->in_armed_us);
        }
        stream->in_armed_us = 0;
        return -1;
    }
    if (is_paced(stream)) {
        int64_t due_us;

        paid_for(stream, now_us, &due_us);
        if (due_us > stream->loop->now_us) {
            return (due_us + 999) / 1000; /* no patience of the peer's is spent */
        }
    }
    if (weir__stream_holds_too_much(stream)) {
        return -1;
    }
    stream->in_armed_us = now_us;
    return weir__stream_patience_ends(stream, &stream->in_patience, stream->in_bytes,
                                      gap_of(stream));
}

static int body_lend(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct weir__stream *stream = state;
    int waited = 0;

    if (stream->ops->lend == NULL || stream->before_read != NULL) {
        return WEIR_EUNSUPPORTED;
    }
    for (;;) {
        size_t paced;
        int r = wait_paced(stream, deadline, &paced);

        if (stream->body.cancelled) {
            return WEIR_ECANCELED;
        }
        if (r < 0) {
            return r;
        }
        r = stream->ops->lend(stream, ret);
        if (r == 0 && ret->max_bytes > paced) {
            ret->max_bytes = paced;
        }
        if (r == 0 && stream->in_limit != UINT64_MAX &&
            stream->in_limit - stream->in_bytes < ret->max_bytes) {
            r = stream->ops->repay(stream, 0, 0, false);
            return r == 1 ? WEIR_EUNSUPPORTED : r; /* near a limit: count what comes */
        }
        if (r != WEIR_EAGAIN || stream->gone != WEIR_REASON_NONE) {
            return body_failed(stream, r);
        }
        if (waited < 0) {
            return waited;
        }
        waited = wait_body(stream, deadline);
        if (waited == WEIR_EAGAIN || waited == WEIR_ECANCELED || deadline == 0) {
            return waited;
        }
    }
}

static int body_repay(void *state, uint64_t taken, int native, bool at_eof)
{
    struct weir__stream *stream = state;
    int r = stream->ops->repay(stream, taken, native, at_eof);

    if (taken > 0) {
        int counted = take_in(stream, taken);

        spend(stream, taken);
        r = r == 1 && counted < 0 ? counted : r;
    }
    return r;
}

static void body_cancel(void *state, enum weir_reason reason)
{
    struct weir__stream *stream = state;

    stream->ops->cancel(stream, reason);
    weir__stream_readable(stream);
}

static void body_explain(void *state, struct weir_error *ret)
{
    struct weir__stream *stream = state;

    if (ret->code == WEIR_ECANCELED && stream->gone != WEIR_REASON_NONE) {
        ret->code = weir__gone_code((enum weir_reason)stream->gone);
        ret->side = WEIR_SIDE_SOURCE;
    }
    weir__stream_explain(stream, (enum weir_reason)stream->in_broken, ret);
}

const struct weir_source_ops weir__stream_body_ops = {
    .name = "http body",
    .next = body_next,
    .cancel = body_cancel,
    .explain = body_explain,
    .lend_fd = body_lend,
    .repay_fd = body_repay,
    .arm = body_arm,
};
