/* SPDX-License-Identifier: MIT */
/*
 * What both halves of an HTTP stream share: where every wait on the peer happens and how patient it is, the peer's leave,
 * why something failed, the stream's life. Invariants: at most one fiber waits on each side; a peer that left ends every
 * wait.
 */
#include "http/stream_halves.h"

#include <weir/http.h>

#include "base/assert.h"
#include "bytes/chunk.h"
#include "rt/scope.h"

#define RATE_SPAN_US 30000000 /* min_rate looks at so much time of being the cause */
#define FAIR_ITEMS 64 /* a fiber that never has to wait yields after so many, or so many bytes */
#define FAIR_BYTES (256u << 10)

int weir__gone_code(enum weir_reason reason)
{
    switch (reason) {
    case WEIR_REASON_FIN:
        return WEIR_ECLOSED;
    case WEIR_REASON_RESET:
        return WEIR_ERESET;
    case WEIR_REASON_STALL:
        return WEIR_ESTALLED;
    case WEIR_REASON_TIMEOUT:
        return WEIR_ETIMEDOUT;
    case WEIR_REASON_PROTOCOL:
        return WEIR_EPROTO;
    case WEIR_REASON_LIMIT:
        return WEIR_ELIMIT;
    case WEIR_REASON_TRUNCATED:
        return WEIR_ETRUNCATED;
    default:
        return WEIR_ECANCELED;
    }
}

void weir__stream_readable(struct weir__stream *stream)
{
    if (stream->reader != NULL) {
        weir__fiber_wake(stream->reader);
    }
}

void weir__stream_writable(struct weir__stream *stream)
{
    if (stream->writer != NULL) {
        weir__fiber_wake(stream->writer);
    }
}

/* The outgoing body of a peer that has just left: cut off, unless its end went out before that and the fiber that waits
 * for it has only not run since. */
static void settle_out(struct weir__stream *stream)
{
    enum weir__stall_state cause;

    if (stream->ending && !stream->broken_off && stream->ops->flush(stream, &cause) == 0) {
        stream->ended = true;
        weir__sink_settle(&stream->out, 0);
    } else {
        weir__sink_settle(&stream->out, weir__gone_code((enum weir_reason)stream->gone));
    }
}

void weir__stream_gone(struct weir__stream *stream, enum weir_reason reason, int native)
{
    if (stream->gone != WEIR_REASON_NONE) {
        return;
    }
    stream->gone = (uint8_t)reason;
    stream->native = native;
    if (stream->begun) {
        settle_out(stream);
    }
    weir__stream_readable(stream);
    weir__stream_writable(stream);
    if (stream->on_gone != NULL) {
        stream->on_gone(stream);
    }
}

/* Lets the loop turn now and then although nothing made the fiber wait. */
void weir__stream_be_fair(struct weir__stream *stream, size_t bytes, int64_t deadline)
{
    stream->fair_items++;
    stream->fair_bytes += bytes < FAIR_BYTES ? (uint32_t)bytes : FAIR_BYTES;
    if (deadline != 0 && (stream->fair_items >= FAIR_ITEMS || stream->fair_bytes >= FAIR_BYTES)) {
        stream->fair_items = stream->fair_bytes = 0;
        weir__fiber_yield();
    }
}

/* Suspends the running fiber in `slot`. Returns 0 (look again), WEIR_ETIMEDOUT, or WEIR_ECANCELED for the child of a
 * cancelled scope: all its waits end. */
static int wait_in(struct weir__fiber **slot, int64_t until_us)
{
    struct weir__fiber *fiber = weir__fiber_current();
    int r;

    if (fiber->cancel_sticky && weir__wait_is_cancelled()) {
        return WEIR_ECANCELED;
    }
    *slot = fiber;
    r = weir__fiber_suspend(until_us);
    *slot = NULL;
    return fiber->cancel_sticky && weir__wait_is_cancelled() ? WEIR_ECANCELED : r;
}

/* Whether a peer that trickles is too slow: judged whenever it has been waited for long enough. */
static bool is_below_rate(const struct weir__limits *limits, struct weir__patience *patience,
                          uint64_t bytes)
{
    if (patience->span_us == 0) {
        patience->span_bytes = bytes;
    }
    if (limits->min_rate == 0 || patience->span_us < RATE_SPAN_US) {
        return false;
    }
    if (bytes - patience->span_bytes < limits->min_rate * (uint64_t)(patience->span_us / 1000000)) {
        return true;
    }
    patience->span_bytes = bytes;
    patience->span_us = 0;
    return false;
}

static void see(struct weir__patience *patience, uint64_t bytes)
{
    if (bytes != patience->seen) {
        patience->seen = bytes;
        patience->idle_us = 0;
    }
}

static int64_t patience_left(const struct weir__limits *limits,
                             const struct weir__patience *patience, int64_t gap_ms)
{
    int64_t left_us = gap_ms > 0 ? gap_ms * 1000 - patience->idle_us : INT64_MAX;

    if (limits->min_rate > 0 && RATE_SPAN_US - patience->span_us < left_us) {
        left_us = RATE_SPAN_US - patience->span_us;
    }
    return left_us;
}

void weir__stream_waited(struct weir__patience *patience, int64_t waited_us)
{
    patience->idle_us += waited_us;
    patience->span_us += waited_us;
}

bool weir__stream_is_too_slow(struct weir__stream *stream, struct weir__patience *patience,
                              uint64_t bytes, int64_t gap_ms, enum weir_reason *ret_reason)
{
    if (is_below_rate(stream->limits, patience, bytes)) {
        *ret_reason = WEIR_REASON_STALL;
        return true;
    }
    *ret_reason = WEIR_REASON_TIMEOUT;
    /* Looks only: whoever spends the patience still has to see that bytes have moved. */
    return gap_ms > 0 && bytes == patience->seen && patience->idle_us >= gap_ms * 1000;
}

int64_t weir__stream_patience_ends(struct weir__stream *stream, struct weir__patience *patience,
                                   uint64_t bytes, int64_t gap_ms)
{
    int64_t left_us;

    see(patience, bytes);
    left_us = patience_left(stream->limits, patience, gap_ms);
    return left_us == INT64_MAX ? -1 : (weir__loop_clock_us(stream->loop) + left_us + 999) / 1000;
}

/*
 * One wait for the peer, which has moved so many bytes till now: bounded by the caller's deadline, by `gap_ms` without a
 * byte (0: none) and by the rate. Returns as wait_in(), and WEIR_ESTALLED with *ret_reason.
 */
int weir__stream_wait_for_peer(struct weir__stream *stream, struct weir__fiber **slot,
                               struct weir__patience *patience, uint64_t bytes, int64_t deadline,
                               int64_t gap_ms, enum weir_reason *ret_reason)
{
    int64_t began_us = weir__loop_clock_us(stream->loop);
    int64_t until_us = weir__deadline_us(deadline);
    int64_t left_us;
    int64_t waited_us;
    int r;

    stream->fair_items = stream->fair_bytes = 0;
    see(patience, bytes);
    if (is_below_rate(stream->limits, patience, bytes)) {
        *ret_reason = WEIR_REASON_STALL;
        return WEIR_ESTALLED;
    }
    left_us = patience_left(stream->limits, patience, gap_ms);
    if (left_us < until_us - began_us) {
        until_us = began_us + left_us;
    } else {
        left_us = INT64_MAX;
    }
    r = wait_in(slot, until_us);
    waited_us = weir__loop_clock_us(stream->loop) - began_us;
    weir__stream_waited(patience, waited_us);
    if (r == WEIR_ETIMEDOUT && left_us != INT64_MAX) {
        if (gap_ms > 0 && patience->idle_us >= gap_ms * 1000) {
            *ret_reason = WEIR_REASON_TIMEOUT;
            return WEIR_ESTALLED;
        }
        return 0; /* the rate is judged before the next wait */
    }
    return r;
}

int64_t weir__stream_try_patience(struct weir__stream *stream, int64_t waited_us)
{
    struct weir__patience *patience = &stream->out_patience;
    int64_t gap_us = stream->limits->write_stall_ms * 1000;
    uint64_t received, sent;

    stream->ops->traffic(stream, &received, &sent);
    if (sent != patience->seen) {
        patience->seen = sent;
        patience->idle_us = 0;
    } else {
        patience->idle_us += waited_us;
    }
    if (gap_us == 0) {
        return INT64_MAX;
    }
    if (patience->idle_us >= gap_us) {
        weir__stream_gone(stream, WEIR_REASON_STALL, 0);
        return 0;
    }
    return gap_us - patience->idle_us;
}

int weir__stream_wait_read(struct weir__stream *stream, int64_t deadline, int64_t gap_ms)
{
    int64_t until_us = weir__deadline_us(deadline);
    int64_t now_us = weir__loop_clock_us(stream->loop);
    bool gap_first = gap_ms > 0 && now_us + gap_ms * 1000 < until_us;
    int r = wait_in(&stream->reader, gap_first ? now_us + gap_ms * 1000 : until_us);

    return r == WEIR_ETIMEDOUT && gap_first ? WEIR_ESTALLED : r;
}

/* ---- failures ---- */

void weir__stream_explain(struct weir__stream *stream, enum weir_reason broken,
                          struct weir_error *ret)
{
    ret->native = stream->native;
    ret->where = stream->ops->name;
    if (broken != WEIR_REASON_NONE) {
        ret->reason = broken;
    } else if (stream->gone != WEIR_REASON_NONE) {
        ret->reason = (enum weir_reason)stream->gone;
    }
}

/* ---- life ---- */

void weir__stream_init(struct weir__stream *stream, const struct weir__proto_ops *ops,
                       struct weir__loop *loop, const struct weir__limits *limits)
{
    *stream = (struct weir__stream){
        .ops = ops,
        .loop = loop,
        .limits = limits,
        .in_limit = UINT64_MAX,
        .in_declared = UINT64_MAX,
        .out_left = WEIR_LENGTH_UNKNOWN,
    };
    weir__source_init(&stream->body, &weir__stream_body_ops, stream);
    weir__sink_init(&stream->out, &weir__stream_out_ops, stream);
}

void weir__stream_finish(struct weir__stream *stream)
{
    weir_assert(stream->reader == NULL && stream->writer == NULL);
    weir__source_drop_ahead(&stream->body);
    if (stream->clock.running) {
        weir__stall_end(&stream->clock, weir__loop_clock_us(stream->loop));
    }
    weir_fields_destroy(stream->trailers);
    stream->trailers = NULL;
}

int weir__stream_begin(struct weir__stream *stream, const struct weir__head *head)
{
    int r = weir__stream_peer_state(stream);

    if (r < 0) {
        return r;
    }
    if (stream->begun) {
        return WEIR_ESTATE;
    }
    r = stream->ops->begin(stream, head);
    if (r < 0) {
        return r;
    }
    stream->begun = true;
    stream->drop_body = head->no_body;
    stream->out_left = head->no_body || head->length == WEIR_LENGTH_UNTIL_CLOSE
                           ? WEIR_LENGTH_UNKNOWN
                           : head->length;
    return 0;
}
