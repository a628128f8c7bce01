/* SPDX-License-Identifier: MIT */
/*
 * The contract of a sink, whatever it is made of: one writer, all or nothing without waiting, sticky failures, and
 * nothing but weir_end() that ends it cleanly.
 */
#include "stream/stream.h"

#include "base/alloc.h"
#include "base/assert.h"

#define SINK_MAGIC 0x73696e6bu

void weir__sink_init(struct weir_sink *sink, const struct weir_sink_ops *ops, void *state)
{
    *sink = (struct weir_sink){
        .magic = SINK_MAGIC, .final = WEIR__OPEN, .embedded = true, .ops = ops, .state = state};
}

int weir_sink_create_take(const struct weir_sink_ops *ops, void *state, struct weir_sink **ret)
{
    struct weir_sink *sink;

    if (ops == NULL || ops->emit == NULL || ops->end == NULL) {
        return WEIR_EINVAL;
    }
    sink = weir_alloc(sizeof(*sink));
    if (sink == NULL) {
        if (ops->destroy != NULL) {
            ops->destroy(state);
        }
        return WEIR_ENOMEM;
    }
    weir__sink_init(sink, ops, state);
    sink->embedded = false;
    *ret = sink;
    return 0;
}

static int settle(struct weir_sink *sink, int r)
{
    if (sink->final != WEIR__OPEN) {
        return sink->final; /* aborted meanwhile */
    }
    sink->final = r;
    if (r < 0) {
        sink->error =
            (struct weir_error){.code = r, .side = WEIR_SIDE_SINK, .where = sink->ops->name};
        if (sink->ops->explain != NULL) {
            sink->ops->explain(sink->state, &sink->error);
        }
    }
    return r;
}

int weir_emit_take(struct weir_sink *sink, struct weir_chunk *chunk, int64_t deadline)
{
    int r;

    weir_check(sink, SINK_MAGIC);
    if (sink->final != WEIR__OPEN || sink->busy || (deadline == 0 && sink->refused)) {
        weir_chunk_unref(chunk);
        return sink->final < 0    ? sink->final
               : sink->final == 0 ? WEIR_ESTATE
               : sink->busy       ? WEIR_EBUSY
                                  : WEIR_EFLOW;
    }
    sink->busy = true;
    r = sink->ops->emit(sink->state, chunk, deadline);
    sink->busy = false;
    if (sink->final != WEIR__OPEN) {
        return sink->final;
    }
    sink->refused = r == WEIR_EFLOW;
    return r < 0 && r != WEIR_EFLOW ? settle(sink, r) : r;
}

int weir_emit(struct weir_sink *sink, struct weir_chunk *chunk, int64_t deadline)
{
    return weir_emit_take(sink, weir_chunk_ref(chunk), deadline);
}

int weir_try_emit(struct weir_sink *sink, struct weir_chunk *chunk)
{
    return weir_emit(sink, chunk, 0);
}

int weir_emit_bytes(struct weir_sink *sink, struct weir_view bytes, int64_t deadline)
{
    while (bytes.len > 0) {
        struct weir_chunk *chunk;
        size_t len = bytes.len < WEIR_CHUNK_BYTES || deadline == 0 ? bytes.len : WEIR_CHUNK_BYTES;
        int r = weir_chunk_copy(weir_bytes(bytes.data, len), &chunk);

        if (r == 0) {
            r = weir_emit_take(sink, chunk, deadline);
        }
        if (r < 0) {
            return r;
        }
        bytes.data += len;
        bytes.len -= len;
    }
    return 0;
}

int weir__wait_writable(struct weir_sink *sink, int64_t deadline, size_t *ret_room)
{
    int r = 0;

    weir_check(sink, SINK_MAGIC);
    if (sink->final != WEIR__OPEN) {
        return sink->final < 0 ? sink->final : WEIR_ESTATE;
    }
    if (sink->busy) {
        return WEIR_EBUSY;
    }
    *ret_room = WEIR_CHUNK_BYTES;
    if (sink->ops->wait_writable != NULL) {
        sink->busy = true;
        r = sink->ops->wait_writable(sink->state, deadline, ret_room);
        sink->busy = false;
        if (sink->final != WEIR__OPEN) {
            return sink->final;
        }
    }
    if (r == 0) {
        sink->refused = false;
    }
    return r < 0 && r != WEIR_ETIMEDOUT ? settle(sink, r) : r;
}

int weir_wait_writable(struct weir_sink *sink, int64_t deadline)
{
    size_t room;

    return weir__wait_writable(sink, deadline, &room);
}

int weir_flush(struct weir_sink *sink)
{
    int r = 0;

    weir_check(sink, SINK_MAGIC);
    if (sink->final != WEIR__OPEN) {
        return sink->final < 0 ? sink->final : 0;
    }
    if (sink->ops->flush != NULL && !sink->busy) {
        r = sink->ops->flush(sink->state);
    }
    return r < 0 ? settle(sink, r) : 0;
}

int weir_end(struct weir_sink *sink, struct weir_fields *trailers)
{
    int r;

    weir_check(sink, SINK_MAGIC);
    if (sink->final != WEIR__OPEN) {
        return sink->final < 0 ? sink->final : WEIR_ESTATE;
    }
    if (sink->busy) {
        return WEIR_EBUSY;
    }
    if (sink->refused) {
        return WEIR_ESTATE;
    }
    sink->busy = true;
    r = sink->ops->end(sink->state, trailers);
    sink->busy = false;
    return settle(sink, r);
}

void weir_abort(struct weir_sink *sink, enum weir_reason reason)
{
    weir_check(sink, SINK_MAGIC);
    if (sink->aborted || sink->final == 0) {
        return;
    }
    sink->aborted = true;
    if (sink->ops->abort != NULL) {
        sink->ops->abort(sink->state, reason);
    }
    if (sink->final == WEIR__OPEN) {
        sink->final = WEIR_ECANCELED;
        sink->error = (struct weir_error){.code = WEIR_ECANCELED,
                                          .side = WEIR_SIDE_SELF,
                                          .reason = reason,
                                          .where = sink->ops->name};
    }
}

void weir_sink_error(struct weir_sink *sink, struct weir_error *ret)
{
    weir_check(sink, SINK_MAGIC);
    *ret = sink->error;
}

void weir_sink_destroy(struct weir_sink *sink)
{
    bool embedded;

    if (sink == NULL) {
        return;
    }
    weir_check(sink, SINK_MAGIC);
    weir_assert(!sink->busy);
    weir_abort(sink, WEIR_REASON_ABANDONED);
    sink->magic = 0;
    embedded = sink->embedded;
    if (sink->ops->destroy != NULL) {
        sink->ops->destroy(sink->state);
    }
    if (!embedded) {
        weir_free(sink);
    }
}

void weir_sink_destroyp(struct weir_sink **sink)
{
    weir_sink_destroy(*sink);
    *sink = NULL;
}
