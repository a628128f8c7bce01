/* SPDX-License-Identifier: MIT */
/*
 * Heartbeats. A timer of the loop sends them, not a fiber: without waiting, so that the handler never finds the sink busy,
 * and only while nobody is in a call on it, so that they never get inside an event. Invariants: the timer is queued at
 * most from weir__sse_arm() to the end, the abort or a failure; what the handler was refused stays refused to it,
 * whatever room a heartbeat finds.
 */
#include "http/sse_beat.h"

#include "base/alloc.h"
#include "bytes/chunk.h"
#include "http/request.h"
#include "http/sse_encode.h"

#define FRAME_BYTES 4096 /* of a heartbeat, at most */
#define TAIL_BYTES 3     /* enough to see a blank line of any kind */

struct weir__sse {
    struct weir_sink out; /* the handler's */
    struct weir_sink *inner;
    struct weir__stream *stream;
    struct weir__timer timer;
    int64_t retry_ms, period_us;
    int64_t refused_us;       /* since when a heartbeat has found no room; 0: it has not */
    uint8_t tail[TAIL_BYTES]; /* what the handler sent last */
    size_t frame_len;         /* 0: no heartbeat */
    uint8_t frame[];
};

/* Whether the handler's bytes end with a blank line: what comes next begins an event. */
static bool is_between_events(const struct weir__sse *sse)
{
    const uint8_t *tail = sse->tail;
    size_t len = TAIL_BYTES;

    if (tail[len - 1] == '\n' && tail[len - 2] == '\r') {
        len -= 2;
    } else if (tail[len - 1] == '\n' || tail[len - 1] == '\r') {
        len--;
    } else {
        return false;
    }
    return tail[len - 1] == '\n' || tail[len - 1] == '\r';
}

static void note_tail(struct weir__sse *sse, const uint8_t *last, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        memmove(sse->tail, sse->tail + 1, TAIL_BYTES - 1);
        sse->tail[TAIL_BYTES - 1] = last[i];
    }
}

static void set_timer(struct weir__sse *sse, int64_t in_us)
{
    struct weir__loop *loop = sse->stream->loop;

    /* There is room in the heap: it had this timer before. */
    WEIR_IGNORE(weir__timer_start(&loop->timers, &sse->timer, loop->now_us + in_us));
}

static int send_beat(struct weir__sse *sse)
{
    struct weir_chunk *chunk = NULL;
    int r = weir_chunk_copy(weir_bytes(sse->frame, sse->frame_len), &chunk);

    if (r < 0) {
        return 0; /* a heartbeat is not worth the stream */
    }
    r = weir_emit_take(sse->inner, chunk, 0);
    return r == 0 ? weir_flush(sse->inner) : r;
}

/* Sends one if there is room. Returns when to look again; 0: never. */
static int64_t beat_now(struct weir__sse *sse)
{
    int64_t now_us = sse->stream->loop->now_us;
    int64_t left_us = INT64_MAX;
    size_t room;
    int r = weir__wait_writable(sse->inner, 0, &room);

    if (r == WEIR_ETIMEDOUT) {
        if (sse->refused_us > 0) {
            left_us = weir__stream_try_patience(sse->stream, now_us - sse->refused_us);
        } else {
            left_us = weir__stream_try_patience(sse->stream, 0);
        }
        sse->refused_us = now_us;
    } else if (r == 0) {
        sse->refused_us = 0;
        r = send_beat(sse);
    }
    sse->inner->refused = sse->out.refused; /* what the handler was told, and nothing else */
    if (left_us == 0 || (r < 0 && r != WEIR_ETIMEDOUT && r != WEIR_EBUSY && r != WEIR_EFLOW)) {
        return 0;
    }
    return left_us < sse->period_us ? left_us : sse->period_us;
}

static void beat(struct weir__timer *timer)
{
    struct weir__sse *sse = weir_list_entry(timer, struct weir__sse, timer);
    int64_t next_us = sse->period_us;

    if (sse->out.final != WEIR__OPEN) {
        return;
    }
    if (!sse->out.busy && is_between_events(sse)) {
        next_us = beat_now(sse);
    }
    if (next_us > 0) {
        set_timer(sse, next_us);
    }
}

/* ---- the sink ---- */

static int out_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct weir__sse *sse = state;
    struct weir_view bytes = weir_chunk_view(chunk);
    size_t len = bytes.len < TAIL_BYTES ? bytes.len : TAIL_BYTES;
    uint8_t last[TAIL_BYTES];
    int r;

    if (len > 0) {
        memcpy(last, bytes.data + bytes.len - len, len); /* the chunk is gone after the emit */
    }
    sse->refused_us = 0;
    r = weir_emit_take(sse->inner, chunk, deadline);
    if (r == 0) {
        note_tail(sse, last, len);
        set_timer(sse, sse->period_us);
    }
    return r;
}

static int out_wait(void *state, int64_t deadline, size_t *ret_room)
{
    struct weir__sse *sse = state;

    sse->refused_us = 0; /* this wait spends the patience itself */
    return weir__wait_writable(sse->inner, deadline, ret_room);
}

static int out_flush(void *state)
{
    return weir_flush(((struct weir__sse *)state)->inner);
}

static int out_end(void *state, struct weir_fields *trailers)
{
    struct weir__sse *sse = state;

    weir__sse_disarm(sse);
    return weir_end(sse->inner, trailers);
}

static void out_abort(void *state, enum weir_reason reason)
{
    struct weir__sse *sse = state;

    weir__sse_disarm(sse);
    weir_abort(sse->inner, reason);
}

static void out_destroy(void *state)
{
    struct weir__sse *sse = state;

    weir__sse_disarm(sse);
    weir_sink_destroy(sse->inner);
    sse->inner = NULL;
}

static void out_explain(void *state, struct weir_error *ret)
{
    struct weir__sse *sse = state;

    if (sse->inner->final == ret->code) {
        *ret = weir__fault_error(&sse->inner->fault, ret->code);
    }
}

static int64_t out_arm(void *state, struct weir_waker *waker)
{
    struct weir__sse *sse = state;

    sse->refused_us = 0; /* this wait spends the patience itself */
    return weir_sink_arm(sse->inner, waker);
}

static const struct weir_sink_ops out_ops = {
    .name = "event stream",
    .emit = out_emit,
    .wait_writable = out_wait,
    .flush = out_flush,
    .end = out_end,
    .abort = out_abort,
    .destroy = out_destroy,
    .explain = out_explain,
    .arm = out_arm,
};

/* ---- life ---- */

static int frame_size(const struct weir_sse_opts *opts, size_t *ret)
{
    int r;

    *ret = 0;
    if (opts->heartbeat_ms == 0) {
        return 0;
    }
    if (opts->heartbeat_event != NULL) {
        r = weir__sse_size(opts->heartbeat_event, ret);
    } else {
        r = weir__sse_comment_size(opts->heartbeat_text, ret);
    }
    return r == 0 && *ret > FRAME_BYTES ? WEIR_ELIMIT : r;
}

static int encode_frame(struct weir__sse *sse, const struct weir_sse_opts *opts, size_t size)
{
    int r;

    if (size == 0) {
        return 0;
    }
    if (opts->heartbeat_event != NULL) {
        return weir__sse_encode(opts->heartbeat_event, sse->frame, size, &sse->frame_len);
    }
    r = weir__sse_comment_encode(opts->heartbeat_text, sse->frame, size, &sse->frame_len);
    if (r == 0 && opts->heartbeat_line) {
        sse->frame_len--;
    }
    return r;
}

int weir__sse_create(struct weir_req *req, const struct weir_sse_opts *opts)
{
    struct weir__sse *sse;
    size_t size;
    int r = frame_size(opts, &size);

    if (r < 0) {
        return r;
    }
    sse = weir_alloc0(sizeof(*sse) + size);
    if (sse == NULL) {
        return WEIR_ENOMEM;
    }
    r = encode_frame(sse, opts, size);
    if (r < 0) {
        weir_free(sse);
        return r;
    }
    sse->stream = req->stream;
    sse->retry_ms = opts->retry_ms;
    sse->period_us = opts->heartbeat_ms * 1000;
    memset(sse->tail, '\n', TAIL_BYTES);
    weir__timer_init(&sse->timer, beat);
    weir__sse_destroy(req->sse);
    req->sse = sse;
    return 0;
}

int weir__sse_arm(struct weir__sse *sse)
{
    struct weir__loop *loop = sse->stream->loop;

    if (sse->frame_len == 0) {
        return 0;
    }
    return weir__timer_start(&loop->timers, &sse->timer, loop->now_us + sse->period_us);
}

void weir__sse_disarm(struct weir__sse *sse)
{
    weir__timer_remove(&sse->stream->loop->timers, &sse->timer);
}

struct weir_sink *weir__sse_wrap(struct weir__sse *sse, struct weir_sink *inner)
{
    if (sse->frame_len == 0 || sse->stream->drop_body) {
        weir__sse_disarm(sse);
        return inner;
    }
    sse->inner = inner;
    weir__sink_init(&sse->out, &out_ops, sse);
    return &sse->out;
}

int64_t weir__sse_retry_ms(struct weir__sse *sse)
{
    return sse->retry_ms;
}

void weir__sse_destroy(struct weir__sse *sse)
{
    if (sse != NULL) {
        weir__sse_disarm(sse);
        weir_free(sse);
    }
}
