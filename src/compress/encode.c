/* SPDX-License-Identifier: MIT */
/*
 * Encoders as sources. Invariants: `unflushed` counts what was taken from the inner source and may still be inside the
 * encoder; a wait for the inner source happens only while it is 0, so nothing is held back. At most one chunk of input and
 * one of output are held.
 */
#include "compress/codec.h"
#include "compress/work.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "stream/stream.h"
#include "stream/wait.h"

struct encode {
    struct weir_source *inner;
    struct weir__codec codec;
    struct weir_chunk *in;  /* taken, from in_at on not encoded */
    struct weir_chunk *out; /* its first out_len bytes are filled in */
    size_t in_at, out_len, unflushed;
    struct weir__work work;
    enum weir__codec_op op;
    bool over; /* the format's end is encoded */
    bool full; /* `out` is to be delivered */
};

/* Looks for what to do next. 1: there is something; 0: nothing any more; or an error. */
static int look(struct encode *encode, int64_t deadline)
{
    int r;

    if (encode->in != NULL || encode->op != WEIR__CODEC_RUN) {
        return 1;
    }
    r = weir__next(encode->inner, WEIR_CHUNK_BYTES, encode->unflushed > 0 ? 0 : deadline,
                   &encode->in);
    if (r == 1) {
        encode->in_at = 0;
        encode->unflushed += weir_chunk_len(encode->in);
        return 1;
    }
    if (r == 0) {
        encode->op = WEIR__CODEC_END;
        return 1;
    }
    if (encode->unflushed > 0 && r != WEIR_EBUSY) {
        encode->op = WEIR__CODEC_FLUSH; /* a failure is there at the next call, too */
        return 1;
    }
    return r;
}

/* One step of the encoder; `full` when something is to be delivered. */
static int step(struct encode *encode)
{
    struct weir__codec_io io = {.in = (const uint8_t *)""};
    size_t had = 0;
    int r;

    if (encode->out == NULL) {
        r = weir__chunk_alloc(weir__encoded_room(encode->unflushed), &encode->out);
        if (r < 0) {
            return r;
        }
        encode->out_len = 0;
    }
    if (encode->in != NULL) {
        had = weir_chunk_len(encode->in) - encode->in_at;
        io.in = weir_chunk_view(encode->in).data + encode->in_at;
        io.in_len = had;
    }
    io.out = weir_chunk_data(encode->out) + encode->out_len;
    io.out_len = weir_chunk_len(encode->out) - encode->out_len;
    r = weir__codec_step(&encode->codec, &io, encode->op);
    if (r < 0) {
        return r;
    }
    encode->out_len = weir_chunk_len(encode->out) - io.out_len;
    encode->full = io.out_len == 0;
    encode->in_at += had - io.in_len;
    encode->work.bytes += had - io.in_len;
    if (encode->in != NULL && io.in_len == 0) {
        encode->in = weir_chunk_unref(encode->in);
    }
    if (r == WEIR__CODEC_DONE && encode->op != WEIR__CODEC_RUN) {
        encode->over = encode->op == WEIR__CODEC_END;
        encode->op = WEIR__CODEC_RUN;
        encode->unflushed = 0;
        encode->full = encode->out_len > 0;
        if (!encode->full) {
            encode->out = weir_chunk_unref(encode->out);
        }
    }
    return 0;
}

/* Gives the output, or of a chunk that is larger than asked for a part. */
static int deliver(struct encode *encode, size_t max_bytes, struct weir_chunk **ret)
{
    int r;

    if (encode->out_len <= max_bytes) {
        weir__chunk_set_len(encode->out, encode->out_len);
        *ret = weir_take(encode->out);
        encode->full = false;
        return 1;
    }
    r = weir_chunk_copy(weir_bytes(weir_chunk_data(encode->out), max_bytes), ret);
    if (r < 0) {
        return r;
    }
    weir__chunk_advance(encode->out, max_bytes);
    encode->out_len -= max_bytes;
    return 1;
}

static int encode_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct encode *encode = state;
    int r = 1;

    while (!encode->full) {
        if (encode->over) {
            return 0;
        }
        r = weir__work_pause(&encode->work, deadline);
        if (r == 0) {
            r = look(encode, deadline);
        }
        if (r == 1) {
            r = step(encode);
        }
        if (r < 0) {
            return r;
        }
    }
    return deliver(encode, max_bytes, ret);
}

static void encode_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(((struct encode *)state)->inner, reason);
}

static void encode_destroy(void *state)
{
    struct encode *encode = state;

    weir_chunk_unref(encode->in);
    weir_chunk_unref(encode->out);
    weir__codec_close(&encode->codec);
    weir_source_destroy(encode->inner);
    weir_free(encode);
}

static void encode_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(((struct encode *)state)->inner, ret);
}

static int64_t encode_arm(void *state, struct weir_waker *waker)
{
    struct encode *encode = state;

    if (waker != NULL && (encode->in != NULL || encode->op != WEIR__CODEC_RUN)) {
        return 0; /* it only paused */
    }
    return weir_source_arm(encode->inner, waker);
}

static const struct weir_source_ops encode_ops = {
    .name = "encode",
    .next = encode_next,
    .cancel = encode_cancel,
    .destroy = encode_destroy,
    .explain = encode_explain,
    .arm = encode_arm,
};

int weir_encode_take(struct weir_source *given, enum weir_coding coding,
                     const struct weir_encode_opts *opts, struct weir_source **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *inner = given;
    struct weir__codec_params params;
    struct encode *encode;
    int r = weir__encode_params(coding, opts, &params);

    if (inner == NULL || r < 0) {
        return WEIR_EINVAL;
    }
    encode = weir_alloc0(sizeof(*encode));
    if (encode == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir__codec_open(&encode->codec, weir__encoder_of(coding), &params);
    if (r < 0) {
        weir_free(encode);
        return r;
    }
    encode->inner = weir_take(inner);
    return weir_source_create_take(&encode_ops, encode, ret);
}

int weir_gzip_take(struct weir_source *given, const struct weir_encode_opts *opts,
                   struct weir_source **ret)
{
    return weir_encode_take(given, WEIR_CODING_GZIP, opts, ret);
}

int weir_brotli_take(struct weir_source *given, const struct weir_encode_opts *opts,
                     struct weir_source **ret)
{
    return weir_encode_take(given, WEIR_CODING_BROTLI, opts, ret);
}

int weir_zstd_take(struct weir_source *given, const struct weir_encode_opts *opts,
                   struct weir_source **ret)
{
    return weir_encode_take(given, WEIR_CODING_ZSTD, opts, ret);
}
