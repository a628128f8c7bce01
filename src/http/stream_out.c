/* SPDX-License-Identifier: MIT */
/*
 * The outgoing body of a stream as a sink. Invariants: the clock is `moving` only inside a call that transfers, and goes
 * back after each call to where it was; the wire is told once that the body is broken off, or that it has ended.
 */
#include "http/stream_halves.h"

#include <weir/http.h>

#include "bytes/chunk.h"
#include "stream/wait.h"

static void mark(struct weir__stream *stream, enum weir__stall_state state)
{
    if (stream->clock.state == state) {
        return; /* a look at the time is a good part of what a small reply costs */
    }
    weir__stall_enter(&stream->clock, state, weir__loop_clock_us(stream->loop));
}

/* The end of a call on the sink: its clock goes back to where it was before. */
static int back(struct weir__stream *stream, enum weir__stall_state before, int r)
{
    mark(stream, before);
    return r;
}

/* Tells the wire, once, that the outgoing body is broken off; the story goes with it. */
static void break_off(struct weir__stream *stream, enum weir_reason reason)
{
    if (stream->broken_off || stream->ended) {
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

int weir__stream_peer_state(struct weir__stream *stream)
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

    stream->ops->traffic(stream, &received, &sent);
    if (deadline == 0) {
        /* Selects may have used the patience up. */
        return weir__stream_is_too_slow(stream, &stream->out_patience, sent,
                                        stream->limits->write_stall_ms, &reason)
                   ? WEIR_ESTALLED
                   : WEIR_ETIMEDOUT;
    }
    mark(stream, cause);
    r = weir__stream_wait_for_peer(stream, &stream->writer, &stream->out_patience, sent, deadline,
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
        return weir__stream_peer_state(stream); /* an end needs no room */
    }
    for (;;) {
        enum weir__stall_state cause = WEIR__STALL_SOCKET;
        int r = weir__stream_peer_state(stream);

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
            return back(stream, before, give_up(stream, waited));
        }
    }
}

/* A select waits for the peer as an emit does. */
static int64_t out_arm(void *state, struct weir_waker *waker)
{
    struct weir__stream *stream = state;
    enum weir__stall_state cause = WEIR__STALL_SOCKET;
    uint64_t received, sent;
    size_t room;

    stream->writer = weir__waker_fiber(waker);
    if (stream->out_armed_us != 0) {
        weir__stream_waited(&stream->out_patience,
                            weir__loop_clock_us(stream->loop) - stream->out_armed_us);
        mark(stream, (enum weir__stall_state)stream->out_armed_state);
        stream->out_armed_us = 0;
    }
    if (waker == NULL) {
        return -1;
    }
    if (weir__stream_peer_state(stream) < 0 || stream->ops->room(stream, &room, &cause) == 0) {
        return 0;
    }
    stream->out_armed_us = weir__loop_clock_us(stream->loop);
    stream->out_armed_state = stream->clock.state;
    mark(stream, cause);
    stream->ops->traffic(stream, &received, &sent);
    return weir__stream_patience_ends(stream, &stream->out_patience, sent,
                                      stream->limits->write_stall_ms);
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
            r = stream->ops->write(stream, piece, left - room);
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

    weir__stream_be_fair(stream, len, deadline);
    r = weir__stream_peer_state(stream);
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
        int r = stream->ended ? 0 : weir__stream_peer_state(stream);

        if (r == 0 && !stream->ended) {
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
    int r = weir__stream_peer_state(stream);

    if (r == 0) {
        r = stream->ops->flush(stream, &cause);
    }
    return r == WEIR_EAGAIN ? 0 : r;
}

static int out_end(void *state, struct weir_fields *trailers)
{
    struct weir__stream *stream = state;
    int r;

    r = weir__stream_peer_state(stream);
    if (r == 0 && !stream->drop_body && stream->out_left != WEIR_LENGTH_UNKNOWN &&
        stream->out_left > 0) {
        stream->out_broken = WEIR_REASON_HANDLER;
        r = WEIR_ESTATE;
    }
    if (r == 0) {
        r = stream->ops->end(stream, stream->drop_body ? NULL : trailers);
    }
    if (r == 0) {
        stream->ending = true;
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

        r = weir__stream_peer_state(stream);
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

static bool out_can_take_file(void *state)
{
    struct weir__stream *stream = state;

    return !stream->drop_body && stream->ops->can_send_file != NULL &&
           stream->ops->can_send_file(stream);
}

static int out_take_file(void *state, int fd, uint64_t offset, size_t bytes, int64_t deadline,
                         size_t *ret_taken)
{
    struct weir__stream *stream = state;
    enum weir__stall_state before = (enum weir__stall_state)stream->clock.state;
    size_t moved = 0;
    int waited = 0;
    int r = 0;

    weir__stream_be_fair(stream, bytes, deadline);
    if (stream->out_left != WEIR_LENGTH_UNKNOWN && bytes > stream->out_left) {
        stream->out_broken = WEIR_REASON_HANDLER;
        r = WEIR_ELIMIT;
    }
    while (r == 0) {
        r = weir__stream_peer_state(stream);
        if (r == 0) {
            mark(stream, WEIR__STALL_MOVING);
            r = stream->ops->send_file(stream, fd, offset, bytes, &moved);
        }
        if (r != WEIR_EAGAIN) {
            break;
        }
        r = waited == 0 ? 0 : give_up(stream, waited);
        if (r == 0) {
            waited = wait_out(stream, deadline == 0 ? -1 : deadline, WEIR__STALL_SOCKET);
            r = waited == WEIR_ECANCELED ? waited : 0;
        }
    }
    if (r == 0) {
        stream->out_bytes += moved;
        if (stream->out_left != WEIR_LENGTH_UNKNOWN) {
            stream->out_left -= moved;
        }
        *ret_taken = moved;
    } else if (r != WEIR_EUNSUPPORTED) {
        break_off_for(stream, r);
    }
    return back(stream, before, r);
}

static void out_explain(void *state, struct weir_error *ret)
{
    struct weir__stream *stream = state;

    weir__stream_explain(stream, (enum weir_reason)stream->out_broken, ret);
}

const struct weir_sink_ops weir__stream_out_ops = {
    .name = "http body",
    .emit = out_emit,
    .wait_writable = out_wait,
    .flush = out_flush,
    .end = out_end,
    .abort = out_abort,
    .explain = out_explain,
    .can_take_fd = out_can_take_fd,
    .take_fd = out_take_fd,
    .can_take_file = out_can_take_file,
    .take_file = out_take_file,
    .arm = out_arm,
};
