/* SPDX-License-Identifier: MIT */
/*
 * The contract of a sink, whatever it is made of: one writer, all or nothing without waiting, sticky failures, and
 * nothing but weir_end() that ends it cleanly.
 */
#include "stream/stream.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/fiber.h"
#include "rt/relay.h"

#define SINK_MAGIC 0x73696e6bu

void weir__sink_init(struct weir_sink *sink, const struct weir_sink_ops *ops, void *state)
{
    *sink = (struct weir_sink){
        .magic = SINK_MAGIC, .final = WEIR__OPEN, .embedded = true, .ops = ops, .state = state};
}

int weir_sink_create_take(const struct weir_sink_ops *ops, void *state, struct weir_sink **ret)
{
    struct weir_sink *sink = NULL;
    bool valid = ops != NULL && ops->emit != NULL && ops->end != NULL;

    if (valid) {
        sink = weir_alloc(sizeof(*sink));
    }
    if (sink == NULL) {
        if (ops != NULL && ops->destroy != NULL) {
            ops->destroy(state); /* given means given */
        }
        return valid ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    weir__sink_init(sink, ops, state);
    sink->embedded = false;
    *ret = sink;
    return 0;
}

static int enter(struct weir_sink *sink)
{
    weir_check(sink, SINK_MAGIC);
    if (sink->final != WEIR__OPEN) {
        return sink->final < 0 ? sink->final : WEIR_ESTATE;
    }
    if (sink->busy) {
        return WEIR_EBUSY;
    }
    sink->busy = true;
    return 0;
}

/* What the result of an operation means: an abort during it wins, an end or a failure stays. EBUSY comes from a sink
 * made of another one, and nothing has happened then. */
static int settle(struct weir_sink *sink, int r)
{
    if (sink->final != WEIR__OPEN || r == WEIR_EBUSY) {
        return sink->final < 0 ? sink->final : r;
    }
    if (r > 0) {
        r = WEIR_EINVAL;
    }
    sink->final = r;
    if (r < 0) {
        struct weir_error error = weir__stream_error(r, WEIR_SIDE_SINK, sink->ops->name);

        if (sink->ops->explain != NULL) {
            sink->ops->explain(sink->state, &error);
        }
        sink->fault = weir__fault_of(&error);
    }
    return r;
}

/* Inside a call: one chunk (given) to the operation. */
static int hand_over(struct weir_sink *sink, struct weir_chunk *chunk, int64_t deadline)
{
    int r;

    if (deadline == 0 && sink->refused) {
        weir_chunk_unref(chunk);
        return WEIR_EFLOW;
    }
    r = sink->ops->emit(sink->state, chunk, deadline);
    if (sink->final == WEIR__OPEN && (r == 0 || r == WEIR_EFLOW)) {
        sink->refused = r != 0;
        return r;
    }
    return settle(sink, r);
}

WEIR__RELAY_3(int, relay_emit_take, weir_emit_take, struct weir_sink *, struct weir_chunk *,
              int64_t)

int weir_emit_take(struct weir_sink *sink, struct weir_chunk *chunk, int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_emit_take(sink, chunk, deadline);
    }

    int r = enter(sink);

    if (r < 0) {
        weir_chunk_unref(chunk);
        return r;
    }
    if (weir_chunk_len(chunk) > 0) {
        r = hand_over(sink, chunk, deadline);
    } else {
        weir_chunk_unref(chunk); /* an empty body, read whole */
    }
    sink->busy = false;
    return r;
}

int weir_emit(struct weir_sink *sink, struct weir_chunk *chunk, int64_t deadline)
{
    return weir_emit_take(sink, weir_chunk_ref(chunk), deadline);
}

int weir_try_emit(struct weir_sink *sink, struct weir_chunk *chunk)
{
    return weir_emit(sink, chunk, 0);
}

WEIR__RELAY_3(int, relay_emit_bytes, weir_emit_bytes, struct weir_sink *, struct weir_view, int64_t)

int weir_emit_bytes(struct weir_sink *sink, struct weir_view bytes, int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_emit_bytes(sink, bytes, deadline);
    }

    int r = enter(sink);

    if (r < 0) {
        return r;
    }
    /* One call from the first byte to the last: nobody else's bytes come in between. */
    while (r == 0 && bytes.len > 0) {
        struct weir_chunk *chunk;
        size_t len = bytes.len < WEIR_CHUNK_BYTES || deadline == 0 ? bytes.len : WEIR_CHUNK_BYTES;

        r = weir_chunk_copy(weir_bytes(bytes.data, len), &chunk);
        if (r < 0) {
            r = settle(sink, r); /* else a caller that ignores it could still end cleanly */
            break;
        }
        r = hand_over(sink, chunk, deadline);
        bytes.data += len;
        bytes.len -= len;
    }
    sink->busy = false;
    return r;
}

WEIR__RELAY_3(int, relay_wait_writable, weir__wait_writable, struct weir_sink *, int64_t, size_t *)

int weir__wait_writable(struct weir_sink *sink, int64_t deadline, size_t *ret_room)
{
    if (weir__relay_here != NULL) {
        return relay_wait_writable(sink, deadline, ret_room);
    }

    size_t room = WEIR_CHUNK_BYTES;
    int r = enter(sink);

    if (r < 0) {
        return r;
    }
    if (sink->ops->wait_writable != NULL) {
        r = sink->ops->wait_writable(sink->state, deadline, &room);
    } else if (sink->refused) {
        weir__fiber_yield(); /* a sink that cannot say when: at least the loop turns */
    }
    sink->busy = false;
    if (r == WEIR_EFLOW || r == WEIR_EAGAIN) {
        r = WEIR_ETIMEDOUT;
    }
    if (r != 0 && r != WEIR_ETIMEDOUT) {
        return settle(sink, r);
    }
    if (sink->final != WEIR__OPEN) {
        return sink->final;
    }
    if (r == 0) {
        sink->refused = false;
        *ret_room = room > 0 ? room : 1;
    }
    return r;
}

int weir_wait_writable(struct weir_sink *sink, int64_t deadline)
{
    size_t room;

    return weir__wait_writable(sink, deadline, &room);
}

WEIR__RELAY_1(int, relay_flush, weir_flush, struct weir_sink *)

int weir_flush(struct weir_sink *sink)
{
    if (weir__relay_here != NULL) {
        return relay_flush(sink);
    }

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

bool weir__sink_can_take_fd(struct weir_sink *sink)
{
    weir_check(sink, SINK_MAGIC);
    return sink->final == WEIR__OPEN && !sink->busy && sink->ops->take_fd != NULL &&
           sink->ops->can_take_fd != NULL && sink->ops->can_take_fd(sink->state);
}

int weir__sink_take_fd(struct weir_sink *sink, int pipe_fd, size_t bytes, int64_t deadline)
{
    int r = enter(sink);

    if (r < 0) {
        return r;
    }
    r = sink->ops->take_fd(sink->state, pipe_fd, bytes, deadline);
    sink->busy = false;
    if (r == 0 && sink->final == WEIR__OPEN) {
        sink->refused = false;
        return 0;
    }
    return settle(sink, r);
}

bool weir__sink_can_take_file(struct weir_sink *sink)
{
    weir_check(sink, SINK_MAGIC);
    return sink->final == WEIR__OPEN && !sink->busy && sink->ops->take_file != NULL &&
           sink->ops->can_take_file != NULL && sink->ops->can_take_file(sink->state);
}

int weir__sink_take_file(struct weir_sink *sink, int fd, uint64_t offset, size_t bytes,
                         int64_t deadline, size_t *ret_taken)
{
    size_t taken = 0;
    int r = enter(sink);

    if (r < 0) {
        return r;
    }
    r = sink->ops->take_file(sink->state, fd, offset, bytes, deadline, &taken);
    sink->busy = false;
    if ((r == 0 || r == WEIR_EUNSUPPORTED) && sink->final == WEIR__OPEN) {
        if (r == 0) {
            sink->refused = false;
            *ret_taken = taken;
        }
        return r;
    }
    return settle(sink, r);
}
WEIR__RELAY_2(int, relay_end, weir_end, struct weir_sink *, struct weir_fields *)

int weir_end(struct weir_sink *sink, struct weir_fields *trailers)
{
    if (weir__relay_here != NULL) {
        return relay_end(sink, trailers);
    }

    int r = enter(sink);

    if (r < 0) {
        return r;
    }
    r = sink->refused ? WEIR_ESTATE : sink->ops->end(sink->state, trailers);
    sink->busy = false;
    return sink->refused ? r : settle(sink, r);
}

void weir__sink_settle(struct weir_sink *sink, int r)
{
    if (sink->final ==
        WEIR__OPEN) { /* an embedded one may have been destroyed, its stream goes on */
        weir_check(sink, SINK_MAGIC);
        WEIR_IGNORE(settle(sink, r));
    }
}

WEIR__RELAY_VOID_2(relay_abort, weir_abort, struct weir_sink *, enum weir_reason)

void weir_abort(struct weir_sink *sink, enum weir_reason reason)
{
    if (weir__relay_here != NULL) {
        relay_abort(sink, reason);
        return;
    }
    weir_check(sink, SINK_MAGIC);
    if (sink->aborted || sink->final == 0) {
        return;
    }
    sink->aborted = true;
    if (sink->final == WEIR__OPEN) {
        struct weir_error error =
            weir__stream_error(WEIR_ECANCELED, WEIR_SIDE_SELF, sink->ops->name);

        error.reason = reason;
        sink->final = WEIR_ECANCELED;
        sink->fault = weir__fault_of(&error);
    }
    if (sink->waker != NULL) {
        weir_wake(sink->waker);
    }
    if (sink->ops->abort != NULL) {
        sink->ops->abort(sink->state, reason);
    }
}

int weir__sink_poll(struct weir_sink *sink)
{
    size_t room;
    int r;

    weir_check(sink, SINK_MAGIC);
    if (sink->busy) {
        return WEIR_EBUSY;
    }
    r = weir__wait_writable(sink, 0, &room);
    return r == WEIR_ETIMEDOUT ? 0 : r == WEIR_EBUSY ? r : 1;
}

int64_t weir_sink_arm(struct weir_sink *sink, struct weir_waker *waker)
{
    weir_check(sink, SINK_MAGIC);
    if (waker != NULL && sink->final != WEIR__OPEN) {
        return 0;
    }
    if (sink->ops->arm == NULL) {
        return WEIR_EUNSUPPORTED;
    }
    if (waker == NULL && sink->waker == NULL) {
        return -1;
    }
    sink->waker = waker;
    sink->busy = waker != NULL;
    return sink->ops->arm(sink->state, waker);
}

WEIR__RELAY_VOID_2(relay_sink_error, weir_sink_error, struct weir_sink *, struct weir_error *)

void weir_sink_error(struct weir_sink *sink, struct weir_error *ret)
{
    if (weir__relay_here != NULL) {
        relay_sink_error(sink, ret);
        return;
    }
    weir_check(sink, SINK_MAGIC);
    *ret = weir__fault_error(&sink->fault, sink->final);
}

WEIR__RELAY_VOID_1(relay_sink_destroy, weir_sink_destroy, struct weir_sink *)

void weir_sink_destroy(struct weir_sink *sink)
{
    if (weir__relay_here != NULL) {
        relay_sink_destroy(sink);
        return;
    }

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
