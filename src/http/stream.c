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
#include "rt/scope.h"

#define RATE_SPAN_US 30000000 /* min_rate looks at so much time of being the cause */
#define FAIR_ITEMS 64 /* a fiber that never has to wait yields after so many, or so many bytes */
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
    if (stream->begun) {
        weir__sink_fail(&stream->out, weir__gone_code(reason));
    }
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
static bool is_too_slow(const struct weir__limits *limits, struct weir__patience *patience,
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

/*
 * One wait for the peer, which has moved so many bytes till now: bounded by the caller's deadline, by `gap_ms` without a
 * byte (0: none) and by the rate. Returns as wait_in(), and WEIR_ESTALLED with *ret_reason.
 */
static int wait_for_peer(struct weir__stream *stream, struct weir__fiber **slot,
                         struct weir__patience *patience, uint64_t bytes, int64_t deadline,
                         int64_t gap_ms, enum weir_reason *ret_reason)
{
    int64_t began_us = weir__loop_clock_us(stream->loop);
    int64_t until_us = weir__deadline_us(deadline);
    int64_t left_us = INT64_MAX;
    int64_t waited_us;
    int r;

    stream->fair_items = stream->fair_bytes = 0;
    if (bytes != patience->seen) {
        patience->seen = bytes;
        patience->idle_us = 0;
    }
    if (is_too_slow(stream->limits, patience, bytes)) {
        *ret_reason = WEIR_REASON_STALL;
        return WEIR_ESTALLED;
    }
    if (gap_ms > 0) {
        left_us = gap_ms * 1000 - patience->idle_us;
    }
    if (stream->limits->min_rate > 0 && RATE_SPAN_US - patience->span_us < left_us) {
        left_us = RATE_SPAN_US - patience->span_us;
    }
    if (left_us < until_us - began_us) {
        until_us = began_us + left_us;
    } else {
        left_us = INT64_MAX;
    }
    r = wait_in(slot, until_us);
    waited_us = weir__loop_clock_us(stream->loop) - began_us;
    patience->idle_us += waited_us;
    patience->span_us += waited_us;
    if (r == WEIR_ETIMEDOUT && left_us != INT64_MAX) {
        if (gap_ms > 0 && patience->idle_us >= gap_ms * 1000) {
            *ret_reason = WEIR_REASON_TIMEOUT;
            return WEIR_ESTALLED;
        }
        return 0; /* the rate is judged before the next wait */
    }
    return r;
}

int weir__stream_wait_read(struct weir__stream *stream, int64_t deadline, int64_t gap_ms)
{
    int64_t until_us = weir__deadline_us(deadline);
    int64_t now_us = weir__loop_clock_us(stream->loop);
    bool gap_first = gap_ms > 0 && now_us + gap_ms * 1000 < until_us;
    int r = wait_in(&stream->reader, gap_first ? now_us + gap_ms * 1000 : until_us);

    return r == WEIR_ETIMEDOUT && gap_first ? WEIR_ESTALLED : r;
}

/* ---- the incoming body ---- */

/* One wait for the incoming body. */
static int wait_body(struct weir__stream *stream, int64_t deadline)
{
    const struct weir__limits *limits = stream->limits;
    int64_t gap_ms = stream->in_bytes == 0 && limits->first_byte_ms > 0 ? limits->first_byte_ms
                                                                        : limits->read_gap_ms;
    enum weir_reason reason = WEIR_REASON_NONE;
    int r;

    if (deadline == 0) {
        return WEIR_EAGAIN;
    }
    r = wait_for_peer(stream, &stream->reader, &stream->in_patience, stream->in_bytes, deadline,
                      gap_ms, &reason);
    if (r == WEIR_ESTALLED) {
        stream->in_broken = (uint8_t)reason;
    }
    return r;
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
    be_fair(stream, 0, deadline);
    for (;;) {
        int r;

        if (stream->body.cancelled) {
            return WEIR_ECANCELED; /* the wire has been told: it is not asked again */
        }
        r = stream->ops->read(stream, max_bytes, ret);
        if (r == 1) {
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
        waited = wait_body(stream, deadline);
        if (waited == WEIR_EAGAIN || waited == WEIR_ECANCELED) {
            return waited;
        }
    }
}

static int body_lend(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct weir__stream *stream = state;
    int waited = 0;

    if (stream->ops->lend == NULL || stream->before_read != NULL) {
        return WEIR_EUNSUPPORTED;
    }
    for (;;) {
        int r;

        if (stream->body.cancelled) {
            return WEIR_ECANCELED;
        }
        r = stream->ops->lend(stream, ret);
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
        if (waited == WEIR_EAGAIN || waited == WEIR_ECANCELED) {
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

static void explain(struct weir__stream *stream, enum weir_reason broken, struct weir_error *ret)
{
    ret->native = stream->native;
    ret->where = stream->ops->name;
    if (broken != WEIR_REASON_NONE) {
        ret->reason = broken;
    } else if (stream->gone != WEIR_REASON_NONE) {
        ret->reason = (enum weir_reason)stream->gone;
    }
}

static void body_explain(void *state, struct weir_error *ret)
{
    struct weir__stream *stream = state;

    if (ret->code == WEIR_ECANCELED && stream->gone != WEIR_REASON_NONE) {
        ret->code = weir__gone_code((enum weir_reason)stream->gone);
        ret->side = WEIR_SIDE_SOURCE;
    }
    explain(stream, (enum weir_reason)stream->in_broken, ret);
}

static void out_explain(void *state, struct weir_error *ret)
{
    struct weir__stream *stream = state;

    explain(stream, (enum weir_reason)stream->out_broken, ret);
}

static const struct weir_source_ops body_ops = {
    .name = "http body",
    .next = body_next,
    .cancel = body_cancel,
    .explain = body_explain,
    .lend_fd = body_lend,
    .repay_fd = body_repay,
};

/* ---- the outgoing body ---- */

/* The end of a call on the sink: its clock goes back to where it was before. */
static int back(struct weir__stream *stream, enum weir__stall_state before, int r)
{
    mark(stream, before);
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
static int wait_out(struct weir__stream *stream, int64_t deadline, enum weir__stall_state cause)
{
    enum weir_reason reason = WEIR_REASON_NONE;
    uint64_t received, sent;
    int r;

    if (deadline == 0) {
        return WEIR_ETIMEDOUT;
    }
    mark(stream, cause);
    stream->ops->traffic(stream, &received, &sent);
    r = wait_for_peer(stream, &stream->writer, &stream->out_patience, sent, deadline,
                      stream->limits->write_stall_ms, &reason);
    mark(stream, WEIR__STALL_HELD);
    return r;
}

/* What a wait's result means once nothing has changed with its last tick: a peer that stalls is as good as gone. */
static int give_up(struct weir__stream *stream, int r)
{
    if (r == WEIR_ESTALLED) {
        weir__stream_gone(stream, WEIR_REASON_STALL, 0);
    }
    return r;
}

static int out_wait(void *state, int64_t deadline, size_t *ret_room)
{
    struct weir__stream *stream = state;
    enum weir__stall_state before = (enum weir__stall_state)stream->clock.state;
    int waited = 0;

    if (stream->drop_body || stream->out_left == 0) {
        return peer_state(stream); /* an end needs no room */
    }
    for (;;) {
        enum weir__stall_state cause = WEIR__STALL_SOCKET;
        int r = peer_state(stream);

        if (r == 0) {
            r = stream->ops->room(stream, ret_room, &cause);
        }
        if (r != WEIR_EAGAIN) {
            return back(stream, before, r);
        }
        if (waited < 0) {
            return back(stream, before, give_up(stream, waited));
        }
        waited = wait_out(stream, deadline, cause);
        if (waited == WEIR_ECANCELED || deadline == 0) {
            return back(stream, before, waited);
        }
    }
}

/* Hands one chunk (given) to the wire, in pieces that fit its room. */
static int send_chunk(struct weir__stream *stream, struct weir_chunk *chunk, int64_t deadline)
{
    enum weir__stall_state before = (enum weir__stall_state)stream->clock.state;
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
            mark(stream, before);
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
        stream->out_broken = WEIR_REASON_HANDLER;
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
    int waited = 0;

    for (;;) {
        enum weir__stall_state cause = WEIR__STALL_SOCKET;
        int r = peer_state(stream);

        if (r == 0) {
            mark(stream, WEIR__STALL_MOVING);
            r = stream->ops->flush(stream, &cause);
        }
        if (r != WEIR_EAGAIN) {
            return r;
        }
        if (waited < 0) {
            return give_up(stream, waited);
        }
        waited = wait_out(stream, -1, cause);
        if (waited == WEIR_ECANCELED) {
            return waited;
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
    if (r == 0 && !stream->drop_body && stream->out_left != WEIR_LENGTH_UNKNOWN &&
        stream->out_left > 0) {
        stream->out_broken = WEIR_REASON_HANDLER;
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
    enum weir__stall_state before = (enum weir__stall_state)stream->clock.state;
    int waited = 0;
    int r = 0;

    if (stream->out_left != WEIR_LENGTH_UNKNOWN && bytes > stream->out_left) {
        stream->out_broken = WEIR_REASON_HANDLER;
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
        if (r == WEIR_EAGAIN) {
            r = moved > 0 || waited == 0 ? 0 : give_up(stream, waited);
            if (r == 0) {
                waited = wait_out(stream, deadline == 0 ? -1 : deadline, WEIR__STALL_SOCKET);
                r = waited == WEIR_ECANCELED ? waited : 0;
            }
        }
    }
    if (r < 0) {
        break_off_for(stream, r);
    }
    return back(stream, before, r);
}

static const struct weir_sink_ops out_ops = {
    .name = "http body",
    .emit = out_emit,
    .wait_writable = out_wait,
    .flush = out_flush,
    .end = out_end,
    .abort = out_abort,
    .explain = out_explain,
    .can_take_fd = out_can_take_fd,
    .take_fd = out_take_fd,
};

/* ---- life ---- */

void weir__stream_init(struct weir__stream *stream, const struct weir__proto_ops *ops,
                       struct weir__loop *loop, const struct weir__limits *limits)
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
    stream->out_left = head->no_body || head->length == WEIR_LENGTH_UNTIL_CLOSE
                           ? WEIR_LENGTH_UNKNOWN
                           : head->length;
    return 0;
}
