/* SPDX-License-Identifier: MIT */
/*
 * A bounded channel of bytes on one loop. The two ends share a refcounted middle. Invariants: held_bytes is the sum of what
 * the ring still has to deliver; it is within the limit, or is one chunk; at most one fiber waits on each side.
 */
#include "stream/channel.h"

#include "base/alloc.h"
#include "stream/stream.h"
#include "stream/wait.h"

#define SLOTS 64
#define MOST_BYTES ((size_t)16 << 20)

struct channel {
    unsigned refs;
    unsigned first, count;
    size_t limit, held_bytes;
    size_t first_offset; /* of the first chunk so much has been delivered */
    size_t wanted;       /* what the last refused emit would need */
    bool ended, aborted, read_gone;
    int abort_code;
    enum weir_reason abort_reason, gone_reason;
    struct weir__fiber *reader, *writer;
    struct weir_chunk *ring[SLOTS];
};

static bool fits(const struct channel *channel, size_t len)
{
    return channel->count == 0 || (channel->count < SLOTS && channel->held_bytes < channel->limit &&
                                   len <= channel->limit - channel->held_bytes);
}

static void pop_first(struct channel *channel)
{
    weir_chunk_unref(channel->ring[channel->first]);
    channel->ring[channel->first] = NULL;
    channel->first = (channel->first + 1) % SLOTS;
    channel->first_offset = 0;
    channel->count--;
}

static void drop_all(struct channel *channel)
{
    while (channel->count > 0) {
        pop_first(channel);
    }
    channel->held_bytes = 0;
}

static void unref(void *state)
{
    struct channel *channel = state;

    if (--channel->refs == 0) {
        drop_all(channel);
        weir_free(channel);
    }
}

/* ---- the source's side ---- */

static int deliver(struct channel *channel, size_t max_bytes, struct weir_chunk **ret)
{
    struct weir_chunk *chunk = channel->ring[channel->first];
    size_t left = weir_chunk_len(chunk) - channel->first_offset;
    size_t len = left < max_bytes ? left : max_bytes;

    if (channel->first_offset == 0 && len == left) {
        *ret = weir_chunk_ref(chunk);
    } else {
        int r = weir_chunk_slice(chunk, channel->first_offset, len, ret);

        if (r < 0) {
            return r;
        }
    }
    channel->held_bytes -= len;
    channel->first_offset += len;
    if (len == left) {
        pop_first(channel);
    }
    weir__stream_wake(channel->writer);
    return 1;
}

static int source_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct channel *channel = state;
    int r = 0;

    for (;;) {
        if (channel->read_gone || r == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        if (channel->count > 0) {
            return deliver(channel, max_bytes, ret);
        }
        if (channel->aborted || channel->ended) {
            return channel->aborted ? channel->abort_code : 0;
        }
        if (r < 0 || deadline == 0) {
            return r < 0 ? r : WEIR_EAGAIN;
        }
        r = weir__stream_wait(&channel->reader, weir__deadline_us(deadline),
                              WEIR__STALL_WAIT_SOURCE);
    }
}

static void source_cancel(void *state, enum weir_reason reason)
{
    struct channel *channel = state;

    channel->read_gone = true;
    channel->gone_reason = reason;
    drop_all(channel);
    weir__stream_wake(channel->reader);
    weir__stream_wake(channel->writer);
}

static void source_explain(void *state, struct weir_error *ret)
{
    struct channel *channel = state;

    if (channel->aborted && ret->code == channel->abort_code) {
        ret->reason = channel->abort_reason;
    }
}

static int64_t source_arm(void *state, struct weir_waker *waker)
{
    ((struct channel *)state)->reader = weir__waker_fiber(waker);
    return -1;
}

static const struct weir_source_ops source_ops = {
    .name = "channel",
    .next = source_next,
    .cancel = source_cancel,
    .destroy = unref,
    .explain = source_explain,
    .arm = source_arm,
};

/* ---- the sink's side ---- */

/* Waits until `len` bytes fit, or the reader is gone, or the sink is aborted: 0, or a result of emit(). */
static int await_room(struct channel *channel, size_t len, int64_t deadline)
{
    int r = 0;

    for (;;) {
        if (channel->aborted || r == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        if (channel->read_gone) {
            return WEIR_ECLOSED;
        }
        if (fits(channel, len)) {
            return 0;
        }
        if (r < 0 || deadline == 0) {
            return r < 0 ? r : WEIR_EFLOW;
        }
        r = weir__stream_wait(&channel->writer, weir__deadline_us(deadline),
                              WEIR__STALL_STREAM_WINDOW);
    }
}

static int sink_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct channel *channel = state;
    size_t len = weir_chunk_len(chunk);
    int r = await_room(channel, len, deadline);

    if (r < 0) {
        channel->wanted = len;
        weir_chunk_unref(chunk);
        return r;
    }
    channel->wanted = 1;
    channel->ring[(channel->first + channel->count) % SLOTS] = chunk;
    channel->count++;
    channel->held_bytes += len;
    weir__stream_wake(channel->reader);
    return 0;
}

static int sink_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    struct channel *channel = state;
    int r = await_room(channel, channel->wanted, deadline);

    if (r == 0) {
        *ret_room = channel->count == 0 ? channel->limit : channel->limit - channel->held_bytes;
    }
    return r;
}

static int sink_end(void *state, struct weir_fields *trailers)
{
    struct channel *channel = state;

    (void)trailers;
    if (channel->read_gone) {
        return WEIR_ECLOSED;
    }
    channel->ended = true;
    weir__stream_wake(channel->reader);
    return 0;
}

static int code_of(enum weir_reason reason)
{
    switch (reason) {
    case WEIR_REASON_LIMIT:
        return WEIR_ELIMIT;
    case WEIR_REASON_STALL:
    case WEIR_REASON_TIMEOUT:
        return WEIR_ESTALLED;
    case WEIR_REASON_PROTOCOL:
        return WEIR_EPROTO;
    case WEIR_REASON_TRUNCATED:
        return WEIR_ETRUNCATED;
    case WEIR_REASON_CANCELED:
        return WEIR_ECANCELED;
    default:
        return WEIR_ERESET;
    }
}

static void sink_abort(void *state, enum weir_reason reason)
{
    struct channel *channel = state;

    channel->aborted = true;
    channel->abort_reason = reason;
    if (channel->abort_code == 0) {
        channel->abort_code = code_of(reason);
    }
    weir__stream_wake(channel->reader);
    weir__stream_wake(channel->writer);
}

static void sink_explain(void *state, struct weir_error *ret)
{
    struct channel *channel = state;

    if (channel->read_gone && ret->code == WEIR_ECLOSED) {
        ret->reason = channel->gone_reason;
    }
}

static int64_t sink_arm(void *state, struct weir_waker *waker)
{
    ((struct channel *)state)->writer = weir__waker_fiber(waker);
    return -1;
}

static const struct weir_sink_ops sink_ops = {
    .name = "channel",
    .emit = sink_emit,
    .wait_writable = sink_wait_writable,
    .end = sink_end,
    .abort = sink_abort,
    .destroy = unref,
    .explain = sink_explain,
    .arm = sink_arm,
};

void weir__channel_fail(struct weir_sink *sink, int code, enum weir_reason reason)
{
    ((struct channel *)sink->state)->abort_code = code;
    weir_abort(sink, reason);
}

int weir_channel_pair(size_t limit_bytes, struct weir_sink **ret_sink,
                      struct weir_source **ret_source)
{
    struct channel *channel;
    struct weir_source *source;
    struct weir_sink *sink;
    int r;

    if (limit_bytes > MOST_BYTES) {
        return WEIR_EINVAL;
    }
    channel = weir_alloc0(sizeof(*channel));
    if (channel == NULL) {
        return WEIR_ENOMEM;
    }
    channel->refs = 2;
    channel->limit = limit_bytes == 0 ? WEIR_CHUNK_BYTES : limit_bytes;
    channel->wanted = 1;
    r = weir_source_create_take(&source_ops, channel, &source);
    if (r < 0) {
        unref(channel);
        return r;
    }
    r = weir_sink_create_take(&sink_ops, channel, &sink);
    if (r < 0) {
        weir_source_destroy(source);
        return r;
    }
    *ret_sink = sink;
    *ret_source = source;
    return 0;
}
