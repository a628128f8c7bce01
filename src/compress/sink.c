/* SPDX-License-Identifier: MIT */
/*
 * The encoder as a sink. Invariants: input is held only of an emit that did not want to wait, and output only if the inner
 * sink refused it; both go before anything else does. At most FLUSH_BYTES of input stay unflushed after an emit, and the inner
 * sink has room then if the emit could wait: so what the loop flushes once the fiber waits is one chunk, and is taken.
 */
#include "compress/sink.h"
#include "compress/work.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "rt/loop.h"
#include "stream/stream.h"

#define FLUSH_BYTES 16384

struct weir__compress_sink {
    struct weir_sink sink;
    struct weir_sink *inner;
    struct weir__codec codec;
    struct weir__flush flush;
    struct weir_chunk *in;  /* accepted, from in_at on not encoded */
    struct weir_chunk *out; /* its first out_len bytes are filled in; `ready` to be emitted */
    size_t in_at, out_len, unflushed;
    uint64_t left; /* of a declared length, or UINT64_MAX */
    struct weir__work work;
    enum weir__codec_op op; /* what follows the input */
    int failed;             /* of the encoder, sticky */
    bool each, ready, inside;
};

/* Emits what is ready. WEIR_EFLOW leaves it where it is. */
static int send(struct weir__compress_sink *compress, int64_t deadline)
{
    int r = weir_emit(compress->inner, compress->out, deadline);

    if (r == 0) {
        compress->out = weir_chunk_unref(compress->out);
        compress->ready = false;
    }
    return r;
}

/* One step of the encoder. */
static int step(struct weir__compress_sink *compress)
{
    struct weir__codec_io io = {.in = (const uint8_t *)""};
    enum weir__codec_op op = compress->in != NULL ? WEIR__CODEC_RUN : compress->op;
    size_t had = 0;
    int r;

    if (compress->out == NULL) {
        r = weir__chunk_alloc(weir__encoded_room(compress->unflushed), &compress->out);
        if (r < 0) {
            return r;
        }
        compress->out_len = 0;
    }
    if (compress->in != NULL) {
        had = weir_chunk_len(compress->in) - compress->in_at;
        io.in = weir_chunk_view(compress->in).data + compress->in_at;
        io.in_len = had;
    }
    io.out = weir_chunk_data(compress->out) + compress->out_len;
    io.out_len = weir_chunk_len(compress->out) - compress->out_len;
    r = weir__codec_step(&compress->codec, &io, op);
    if (r < 0) {
        return r;
    }
    compress->out_len = weir_chunk_len(compress->out) - io.out_len;
    compress->in_at += had - io.in_len;
    compress->work.bytes += had - io.in_len;
    if (compress->in != NULL && io.in_len == 0) {
        compress->in = weir_chunk_unref(compress->in);
    }
    compress->ready = io.out_len == 0;
    if (r == WEIR__CODEC_DONE && op != WEIR__CODEC_RUN) {
        compress->op = WEIR__CODEC_RUN;
        compress->unflushed = 0;
        compress->ready = compress->out_len > 0;
    }
    if (compress->ready) {
        weir__chunk_set_len(compress->out, compress->out_len);
    } else if (compress->out_len == 0) {
        compress->out = weir_chunk_unref(compress->out);
    }
    return 0;
}

static bool has_work(const struct weir__compress_sink *compress)
{
    return compress->ready || compress->in != NULL || compress->op != WEIR__CODEC_RUN;
}

/* Encodes and emits all there is to do. WEIR_EFLOW with deadline 0: the rest is for later. */
static int drain(struct weir__compress_sink *compress, int64_t deadline)
{
    int r = compress->failed;

    while (r == 0 && has_work(compress)) {
        if (compress->ready) {
            r = send(compress, deadline);
            continue;
        }
        r = step(compress);
        if (r < 0) {
            compress->failed = r;
        } else if (deadline != 0) {
            WEIR_IGNORE(weir__work_pause(&compress->work, deadline));
        }
    }
    return r;
}

/* A flush of what was taken, behind what is held of it already. */
static void want_flush(struct weir__compress_sink *compress)
{
    if (compress->unflushed > 0 && compress->op == WEIR__CODEC_RUN) {
        compress->op = WEIR__CODEC_FLUSH;
    }
}

/* The fiber waits or has ended. If it waits inside, it is the inner sink that it waits for, and will flush itself. A failure
 * is the inner sink's, or stays in `failed`. */
static void flush_now(struct weir__flush *flush)
{
    struct weir__compress_sink *compress =
        weir_list_entry(flush, struct weir__compress_sink, flush);

    if (!compress->inside && compress->sink.final == WEIR__OPEN) {
        want_flush(compress);
        WEIR_IGNORE(drain(compress, 0));
    }
}

/* After an emit: what is unflushed leaves with the fiber's next wait, for which there has to be room. */
static int settle_up(struct weir__compress_sink *compress, int64_t deadline)
{
    int r = 0;

    if (compress->unflushed == 0) {
        return 0;
    }
    if (deadline != 0) {
        r = weir_wait_writable(compress->inner, deadline);
    }
    weir__flush_soon(weir__loop_current(), &compress->flush);
    return r == WEIR_ETIMEDOUT ? 0 : r; /* the chunk is taken: it is the next emit that waits */
}

/* Whether an emit may begin: what is held from before goes first. */
static int make_way(struct weir__compress_sink *compress, int64_t deadline)
{
    int r = drain(compress, deadline);

    if (r == 0 && deadline == 0) {
        r = weir_wait_writable(compress->inner, 0);
        r = r == WEIR_ETIMEDOUT ? WEIR_EFLOW : r;
    }
    return r;
}

static int emit(struct weir__compress_sink *compress, struct weir_chunk *given, int64_t deadline)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = given;
    size_t len = weir_chunk_len(chunk);
    int r;

    if (compress->left != UINT64_MAX && len > compress->left) {
        return WEIR_ELIMIT;
    }
    r = make_way(compress, deadline);
    if (r < 0) {
        return r;
    }
    if (compress->left != UINT64_MAX) {
        compress->left -= len;
    }
    compress->in = weir_take(chunk);
    compress->in_at = 0;
    compress->unflushed += len;
    if (compress->each || deadline == 0 || compress->unflushed >= FLUSH_BYTES) {
        want_flush(compress);
    }
    r = drain(compress, deadline);
    if (r == WEIR_EFLOW) {
        return 0; /* it is taken */
    }
    return r < 0 ? r : settle_up(compress, deadline);
}

static int sink_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct weir__compress_sink *compress = state;
    int r;

    compress->inside = true;
    r = emit(compress, chunk, deadline);
    compress->inside = false;
    return r;
}

static int wait_writable(struct weir__compress_sink *compress, int64_t deadline, size_t *ret_room)
{
    for (;;) {
        int r = weir__wait_writable(compress->inner, deadline, ret_room);

        if (r < 0 || !has_work(compress)) {
            return r;
        }
        r = drain(compress, 0);
        if (r < 0 && r != WEIR_EFLOW) {
            return r;
        }
    }
}

static int sink_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    struct weir__compress_sink *compress = state;
    int r;

    compress->inside = true;
    r = wait_writable(compress, deadline, ret_room);
    compress->inside = false;
    if (compress->unflushed > 0) {
        weir__flush_soon(weir__loop_current(), &compress->flush);
    }
    return r;
}

static int sink_flush(void *state)
{
    struct weir__compress_sink *compress = state;
    int r;

    want_flush(compress);
    r = drain(compress, 0);
    return r == 0 || r == WEIR_EFLOW ? weir_flush(compress->inner) : r;
}

static int sink_end(void *state, struct weir_fields *trailers)
{
    struct weir__compress_sink *compress = state;
    int r;

    if (compress->left != UINT64_MAX && compress->left > 0) {
        weir_abort(compress->inner, WEIR_REASON_HANDLER);
        return WEIR_ESTATE;
    }
    compress->inside = true;
    r = drain(compress, -1);
    if (r == 0) {
        compress->op = WEIR__CODEC_END;
        r = drain(compress, -1);
    }
    weir_list_remove(&compress->flush.link);
    if (r == 0) {
        r = weir_end(compress->inner, trailers);
    }
    compress->inside = false;
    return r;
}

static void sink_abort(void *state, enum weir_reason reason)
{
    struct weir__compress_sink *compress = state;

    weir_list_remove(&compress->flush.link);
    weir_abort(compress->inner, reason);
}

static void sink_destroy(void *state)
{
    struct weir__compress_sink *compress = state;

    weir_sink_destroy(compress->inner);
    weir__compress_sink_discard(compress);
}

static void sink_explain(void *state, struct weir_error *ret)
{
    struct weir__compress_sink *compress = state;

    if (compress->inner->final == ret->code) {
        *ret = weir__fault_error(&compress->inner->fault, compress->inner->final);
    }
}

static int64_t sink_arm(void *state, struct weir_waker *waker)
{
    return weir_sink_arm(((struct weir__compress_sink *)state)->inner, waker);
}

static const struct weir_sink_ops sink_ops = {
    .name = "compress",
    .emit = sink_emit,
    .wait_writable = sink_wait_writable,
    .flush = sink_flush,
    .end = sink_end,
    .abort = sink_abort,
    .destroy = sink_destroy,
    .explain = sink_explain,
    .arm = sink_arm,
};

int weir__compress_sink_prepare(enum weir_coding coding, const struct weir_encode_opts *opts,
                                struct weir__compress_sink **ret)
{
    struct weir__compress_sink *compress;
    struct weir__codec_params params;
    int r = weir__encode_params(coding, opts, &params);

    if (r < 0) {
        return r;
    }
    compress = weir_alloc0(sizeof(*compress));
    if (compress == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir__codec_open(&compress->codec, weir__encoder_of(coding), &params);
    if (r < 0) {
        weir_free(compress);
        return r;
    }
    weir_list_init(&compress->flush.link);
    compress->flush.flush = flush_now;
    compress->each = opts != NULL && opts->flush_each;
    *ret = compress;
    return 0;
}

struct weir_sink *weir__compress_sink_attach(struct weir__compress_sink *compress,
                                             struct weir_sink *inner, uint64_t length)
{
    compress->inner = inner;
    compress->left = length;
    weir__sink_init(&compress->sink, &sink_ops, compress);
    return &compress->sink;
}

void weir__compress_sink_discard(struct weir__compress_sink *compress)
{
    if (compress != NULL) {
        weir_list_remove(&compress->flush.link);
        weir_chunk_unref(compress->in);
        weir_chunk_unref(compress->out);
        weir__codec_close(&compress->codec);
        weir_free(compress);
    }
}

int weir_compress_sink_take(struct weir_sink *given, enum weir_coding coding,
                            const struct weir_encode_opts *opts, struct weir_sink **ret)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *inner = given;
    struct weir__compress_sink *compress;
    int r = inner != NULL ? weir__compress_sink_prepare(coding, opts, &compress) : WEIR_EINVAL;

    if (r == 0) {
        *ret = weir__compress_sink_attach(compress, weir_take(inner), UINT64_MAX);
    }
    return r;
}
