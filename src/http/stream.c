/* SPDX-License-Identifier: MIT */
/*
 * Where every wait of an HTTP stream happens: reads and writes try the wire, and suspend with the stall clock set until
 * it calls up. Invariants: at most one fiber waits on each side; the outgoing clock is `moving` only inside a call
 * that transfers; a peer that left ends every wait.
 */
#include "http/stream.h"

#include <weir/http.h>

#include "base/assert.h"
#include "bytes/chunk.h"

#define RATE_SPAN_US 30000000 /* min_rate looks at so much time of being the cause */
#define FAIR_ITEMS 64         /* a fiber that never has to wait yields after so many, or so many bytes */
#define FAIR_BYTES (256u << 10)

static void mark(struct weir__stream *stream, enum weir__stall_state state)
{
    weir__stall_enter(&stream->clock, state, weir__loop_clock_us(stream->loop));
}

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

void weir__stream_gone(struct weir__stream *stream, enum weir_reason reason, int native)
{
    if (stream->gone != WEIR_REASON_NONE) {
        return;
    }
    stream->gone = (uint8_t)reason;
    stream->native = native;
    weir__stream_readable(stream);
    weir__stream_writable(stream);
    if (stream->on_gone != NULL) {
        stream->on_gone(stream);
    }
}

/* Lets the loop turn now and then although nothing made the fiber wait. */
static void be_fair(struct weir__stream *stream, size_t bytes, int64_t deadline)
{
    stream->fair_items++;
    stream->fair_bytes += bytes < FAIR_BYTES ? (uint32_t)bytes : FAIR_BYTES;
    if (deadline != 0 && (stream->fair_items >= FAIR_ITEMS || stream->fair_bytes >= FAIR_BYTES)) {
        stream->fair_items = stream->fair_bytes = 0;
        weir__fiber_yield();
    }
}

/* A slow peer that still trickles: counts the time it was the cause, and what it moved meanwhile. */
static int judge_rate(struct weir__stream *stream, int64_t waited_us, uint64_t bytes)
{
    if (stream->limits->min_rate == 0) {
        return 0;
    }
    stream->slow_us += waited_us;
    if (stream->slow_us < RATE_SPAN_US) {
        return 0;
    }
    if (bytes - (uint64_t)stream->slow_since_bytes <
        stream->limits->min_rate * (uint64_t)(stream->slow_us / 1000000)) {
        return WEIR_ESTALLED;
    }
    stream->slow_us = 0;
    stream->slow_since_bytes = (int64_t)bytes;
    return 0;
}

/* Suspends the running fiber in `slot` until the deadline or so long of nothing. */
static int wait_in(struct weir__fiber **slot, int64_t deadline, int64_t since_us, int64_t gap_ms)
{
    int64_t until_us = weir__deadline_us(deadline);
    bool gap_first = false;
    int r;

    if (gap_ms > 0 && since_us + gap_ms * 1000 < until_us) {
        until_us = since_us + gap_ms * 1000;
        gap_first = true;
    }
    *slot = weir__fiber_current();
    r = weir__fiber_suspend(until_us);
    *slot = NULL;
    return r == WEIR_ETIMEDOUT && gap_first ? WEIR_ESTALLED : r;
}

int weir__stream_wait_read(struct weir__stream *stream, int64_t deadline, int64_t gap_ms)
{
    return wait_in(&stream->reader, deadline, weir__loop_clock_us(stream->loop), gap_ms);
}

/* ---- the incoming body ---- */

/* One wait for the incoming body. */
static int wait_body(struct weir__stream *stream, int64_t deadline, int64_t since_us)
{
    int64_t gap_ms = stream->in_bytes == 0 && stream->limits->first_byte_ms > 0 ? stream->limits->first_byte_ms
                                                                               : stream->limits->read_gap_ms;
    int r;

    if (deadline == 0) {
        return WEIR_EAGAIN;
    }
    stream->fair_items = stream->fair_bytes = 0;
    r = wait_in(&stream->reader, deadline, since_us, gap_ms);
    if (r == WEIR_ESTALLED) {
        stream->broken = WEIR_REASON_TIMEOUT;
    }
    return r;
}

static int body_failed(struct weir__stream *stream, int r)
{
    if (stream->gone != WEIR_REASON_NONE && r == WEIR_EAGAIN) {
        r = weir__gone_code((enum weir_reason)stream->gone);
        stream->broken = stream->gone;
    }
    return r;
}

static int take_in(struct weir__stream *stream, uint64_t bytes, int64_t waited_us)
{
    if (stream->in_bytes == 0) {
        stream->first_byte_us = weir__loop_clock_us(stream->loop);
    }
    stream->in_bytes += bytes;
    if (stream->in_bytes > stream->in_limit) {
        stream->broken = WEIR_REASON_LIMIT;
        return WEIR_ELIMIT;
    }
    if (waited_us > 0 && judge_rate(stream, waited_us, stream->in_bytes) < 0) {
        stream->broken = WEIR_REASON_STALL;
        return WEIR_ESTALLED;
    }
    return 0;
}

static int body_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct weir__stream *stream = state;
    int64_t since_us = 0;

    if (stream->before_read != NULL) {
        stream->before_read(stream);
        stream->before_read = NULL;
    }
    be_fair(stream, 0, deadline);
    for (;;) {
        int r = stream->ops->read(stream, max_bytes, ret);

        if (r == 1) {
            r = take_in(stream, weir_chunk_len(*ret),
                        since_us == 0 ? 0 : weir__loop_clock_us(stream->loop) - since_us);
            if (r < 0) {
                *ret = weir_chunk_unref(*ret);
                return r;
            }
            stream->fair_bytes += (uint32_t)weir_chunk_len(*ret);
            return 1;
        }
        if (r != WEIR_EAGAIN || stream->gone != WEIR_REASON_NONE || stream->body.cancelled) {
            return stream->body.cancelled ? WEIR_ECANCELED : body_failed(stream, r);
        }
        if (since_us == 0) {
            since_us = weir__loop_clock_us(stream->loop);
        }
        r = wait_body(stream, deadline, since_us);
        if (r < 0) {
            return r;
        }
    }
}

static int body_lend(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct weir__stream *stream = state;
    int64_t since_us = 0;

    if (stream->ops->lend == NULL || stream->before_read != NULL) {
        return WEIR_EUNSUPPORTED;
    }
    for (;;) {
        int r = stream->ops->lend(stream, ret);

        if (r == 0 && stream->in_limit - stream->in_bytes < ret->max_bytes) {
            return WEIR_EUNSUPPORTED; /* near a limit: count what comes */
        }
        if (r != WEIR_EAGAIN || stream->gone != WEIR_REASON_NONE || stream->body.cancelled) {
            return stream->body.cancelled ? WEIR_ECANCELED : body_failed(stream, r);
        }
        if (since_us == 0) {
            since_us = weir__loop_clock_us(stream->loop);
        }
        r = wait_body(stream, deadline, since_us);
        if (r < 0) {
            return r;
        }
    }
}

static int body_repay(void *state, uint64_t taken, int native, bool at_eof)
{
    struct weir__stream *stream = state;
    int r = stream->ops->repay(stream, taken, native, at_eof);

    if (taken > 0) {
        int counted = take_in(stream, taken, 0);

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

static void explain(void *state, struct weir_error *ret)
{
    struct weir__stream *stream = state;

    ret->native = stream->native;
    if (stream->gone != WEIR_REASON_NONE) {
        ret->reason = (enum weir_reason)stream->gone;
    } else if (stream->broken != WEIR_REASON_NONE) {
        ret->reason = (enum weir_reason)stream->broken;
    } else if (ret->code == WEIR_EPROTO) {
        ret->reason = WEIR_REASON_PROTOCOL;
    } else if (ret->code == WEIR_ETRUNCATED) {
        ret->reason = WEIR_REASON_TRUNCATED;
    } else if (ret->code == WEIR_ERESET) {
        ret->reason = WEIR_REASON_RESET;
    } else if (ret->code == WEIR_ELIMIT || ret->code == WEIR_EBUDGET) {
        ret->reason = WEIR_REASON_LIMIT;
    }
    ret->where = stream->ops->name;
}

static const struct weir_source_ops body_ops = {
    .name = "http body",
    .next = body_next,
    .cancel = body_cancel,
    .explain = explain,
    .lend_fd = body_lend,
    .repay_fd = body_repay,
};

/* ---- the outgoing body ---- */

/* The state the clock goes back to when a call on the sink is over. */
static int back(struct weir__stream *stream, int r)
{
    mark(stream, WEIR__STALL_WAIT_SOURCE);
    return r;
}

/* Tells the wire, once, that the outgoing body is broken off; the story goes with it. */
static void break_off(struct weir__stream *stream, enum weir_reason reason)
{
    if (stream->broken_off) {
        return;
    }
    stream->broken_off = true;
    if (stream->gone != WEIR_REASON_NONE) {
        reason = (enum weir_reason)stream->gone;
    }
    stream->ops->abort(stream, reason);
    weir__stall_end(&stream->clock, weir__loop_clock_us(stream->loop));
}

/* The same for the result of a call that failed. */
static void break_off_for(struct weir__stream *stream, int r)
{
    switch (r) {
    case WEIR_ESTALLED:
        break_off(stream, WEIR_REASON_STALL);
        break;
    case WEIR_ETIMEDOUT:
        break_off(stream, WEIR_REASON_TIMEOUT);
        break;
    case WEIR_ECANCELED:
        break_off(stream, WEIR_REASON_CANCELED);
        break;
    case WEIR_ENOMEM:
    case WEIR_EBUDGET:
        break_off(stream, WEIR_REASON_LIMIT);
        break;
    default:
        break_off(stream, WEIR_REASON_HANDLER);
        break;
    }
}

static int peer_state(struct weir__stream *stream)
{
    if (stream->gone != WEIR_REASON_NONE) {
        return weir__gone_code((enum weir_reason)stream->gone);
    }
    return stream->out.aborted ? WEIR_ECANCELED : 0;
}

/* One wait for the peer to take something, its clock on the cause. */
static int wait_out(struct weir__stream *stream, int64_t deadline, enum weir__stall_state cause, int64_t since_us)
{
    int64_t began_us;
    int r;

    if (deadline == 0) {
        return WEIR_EFLOW;
    }
    mark(stream, cause);
    began_us = stream->clock.since_us;
    stream->fair_items = stream->fair_bytes = 0;
    r = wait_in(&stream->writer, deadline, since_us, stream->limits->write_stall_ms);
    mark(stream, WEIR__STALL_HELD);
    if (r == 0 && judge_rate(stream, stream->clock.since_us - began_us, stream->out_bytes) < 0) {
        r = WEIR_ESTALLED;
    }
    if (r == WEIR_ESTALLED) {
        stream->broken = WEIR_REASON_STALL;
    }
    return r;
}

static int out_wait(void *state, int64_t deadline, size_t *ret_room)
{
    struct weir__stream *stream = state;
    int64_t since_us = 0;

    if (stream->drop_body) {
        return peer_state(stream);
    }
    for (;;) {
        enum weir__stall_state cause = WEIR__STALL_SOCKET;
        int r = peer_state(stream);

        if (r == 0) {
            r = stream->ops->room(stream, ret_room, &cause);
        }
        if (r != WEIR_EAGAIN) {
            return since_us == 0 ? r : back(stream, r);
        }
        if (since_us == 0) {
            since_us = weir__loop_clock_us(stream->loop);
        }
        r = wait_out(stream, deadline, cause, since_us);
        if (r < 0) {
            return back(stream, r == WEIR_EFLOW ? WEIR_ETIMEDOUT : r);
        }
    }
}

/* Hands one chunk (given) to the wire, in pieces that fit its room. */
static int send_chunk(struct weir__stream *stream, struct weir_chunk *chunk, int64_t deadline)
{
    size_t left = weir_chunk_len(chunk);
    size_t offset = 0;
    int r = 0;

    while (left > 0 && r == 0) {
        size_t room = 0;
        struct weir_chunk *piece = NULL;
        /* Without waiting it is all or nothing: room for anything takes the whole. */
        int64_t wait_until = offset > 0 && deadline == 0 ? -1 : deadline;

        r = out_wait(stream, wait_until, &room);
        if (r < 0) {
            r = r == WEIR_ETIMEDOUT && deadline == 0 ? WEIR_EFLOW : r;
            break;
        }
        if (left <= room || deadline == 0) {
            room = left;
        }
        if (offset == 0 && room == left) {
            piece = weir_chunk_ref(chunk);
        } else {
            r = weir_chunk_slice(chunk, offset, room, &piece);
        }
        if (r == 0) {
            mark(stream, WEIR__STALL_MOVING);
            r = stream->ops->write(stream, piece);
            mark(stream, WEIR__STALL_WAIT_SOURCE);
            offset += room;
            left -= room;
        }
    }
    weir_chunk_unref(chunk);
    return r;
}

static int out_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct weir__stream *stream = state;
    size_t len = weir_chunk_len(chunk);
    int r;

    be_fair(stream, len, deadline);
    r = peer_state(stream);
    if (r == 0 && stream->out_left != WEIR_LENGTH_UNKNOWN && len > stream->out_left) {
        stream->broken = WEIR_REASON_HANDLER;
        r = WEIR_ELIMIT;
    }
    if (r < 0 || stream->drop_body) {
        weir_chunk_unref(chunk);
    } else {
        r = send_chunk(stream, chunk, deadline);
    }
    if (r == 0) {
        stream->out_bytes += len;
        if (stream->out_left != WEIR_LENGTH_UNKNOWN) {
            stream->out_left -= len;
        }
    } else if (r != WEIR_EFLOW) {
        break_off_for(stream, r);
    }
    return r;
}

/* Waits until everything queued has left. */
static int flush_all(struct weir__stream *stream)
{
    int64_t since_us = 0;
    int r;

    for (;;) {
        enum weir__stall_state cause = WEIR__STALL_SOCKET;

        r = peer_state(stream);
        if (r == 0) {
            mark(stream, WEIR__STALL_MOVING);
            r = stream->ops->flush(stream, &cause);
        }
        if (r != WEIR_EAGAIN) {
            return r;
        }
        if (since_us == 0) {
            since_us = weir__loop_clock_us(stream->loop);
        }
        r = wait_out(stream, -1, cause, since_us);
        if (r < 0) {
            return r;
        }
    }
}

static int out_flush(void *state)
{
    struct weir__stream *stream = state;
    enum weir__stall_state cause;
    int r = peer_state(stream);

    if (r == 0) {
        r = stream->ops->flush(stream, &cause);
    }
    return r == WEIR_EAGAIN ? 0 : r;
}

static int out_end(void *state, struct weir_fields *trailers)
{
    struct weir__stream *stream = state;
    int r;

    r = peer_state(stream);
    if (r == 0 && !stream->drop_body && stream->out_left != WEIR_LENGTH_UNKNOWN && stream->out_left > 0) {
        stream->broken = WEIR_REASON_HANDLER;
        r = WEIR_ESTATE;
    }
    if (r == 0) {
        r = stream->ops->end(stream, trailers);
    }
    if (r == 0) {
        r = flush_all(stream);
    }
    if (r < 0) {
        break_off_for(stream, r);
    } else {
        stream->ended = true;
    }
    weir__stall_end(&stream->clock, weir__loop_clock_us(stream->loop));
    return r;
}

static void out_abort(void *state, enum weir_reason reason)
{
    struct weir__stream *stream = state;

    break_off(stream, reason);
    weir__stream_writable(stream);
}

static bool out_can_take_fd(void *state)
{
    struct weir__stream *stream = state;

    return !stream->drop_body && stream->ops->can_splice != NULL && stream->ops->can_splice(stream);
}

static int out_take_fd(void *state, int pipe_fd, size_t bytes, int64_t deadline)
{
    struct weir__stream *stream = state;
    int64_t since_us = 0;
    int r = 0;

    if (stream->out_left != WEIR_LENGTH_UNKNOWN && bytes > stream->out_left) {
        stream->broken = WEIR_REASON_HANDLER;
        r = WEIR_ELIMIT;
    }
    while (bytes > 0 && r == 0) {
        size_t moved = 0;

        r = peer_state(stream);
        if (r == 0) {
            mark(stream, WEIR__STALL_MOVING);
            r = stream->ops->splice(stream, pipe_fd, bytes, &moved);
        }
        bytes -= moved;
        stream->out_bytes += moved;
        if (stream->out_left != WEIR_LENGTH_UNKNOWN) {
            stream->out_left -= moved;
        }
        if (moved > 0) {
            since_us = 0;
        }
        if (r == WEIR_EAGAIN) {
            if (since_us == 0) {
                since_us = weir__loop_clock_us(stream->loop);
            }
            r = wait_out(stream, deadline == 0 ? -1 : deadline, WEIR__STALL_SOCKET, since_us);
        }
    }
    if (r < 0) {
        break_off_for(stream, r);
    }
    return back(stream, r);
}

static const struct weir_sink_ops out_ops = {
    .name = "http body",
    .emit = out_emit,
    .wait_writable = out_wait,
    .flush = out_flush,
    .end = out_end,
    .abort = out_abort,
    .explain = explain,
    .can_take_fd = out_can_take_fd,
    .take_fd = out_take_fd,
};

/* ---- life ---- */

void weir__stream_init(struct weir__stream *stream, const struct weir__proto_ops *ops, struct weir__loop *loop,
                       const struct weir__limits *limits)
{
    *stream = (struct weir__stream){
        .ops = ops,
        .loop = loop,
        .limits = limits,
        .in_limit = UINT64_MAX,
        .out_left = WEIR_LENGTH_UNKNOWN,
    };
    weir__source_init(&stream->body, &body_ops, stream);
    weir__sink_init(&stream->out, &out_ops, stream);
    weir__stall_begin(&stream->clock, WEIR__STALL_WAIT_SOURCE, weir__loop_clock_us(loop));
}

void weir__stream_finish(struct weir__stream *stream)
{
    weir_assert(stream->reader == NULL && stream->writer == NULL);
    weir__stall_end(&stream->clock, weir__loop_clock_us(stream->loop));
    weir_fields_destroy(stream->trailers);
    stream->trailers = NULL;
}

int weir__stream_begin(struct weir__stream *stream, const struct weir__head *head)
{
    int r = peer_state(stream);

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
    stream->out_left =
        head->no_body || head->length == WEIR_LENGTH_UNTIL_CLOSE ? WEIR_LENGTH_UNKNOWN : head->length;
    return 0;
}
