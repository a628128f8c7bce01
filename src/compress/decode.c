/* SPDX-License-Identifier: MIT */
/*
 * Decoders as sources. Invariants: the end is reported only when the format has ended and then the inner source, too; no more
 * is decoded than is asked for, so what a bomb unpacks to is looked at chunk by chunk, and stays within the ratio.
 */
#include "compress/codec.h"
#include "compress/work.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "stream/stream.h"
#include "stream/wait.h"

#include <weir/combinators.h>

#define RATIO 100
#define GRACE_BYTES 65536
#define ROOM 16384 /* of an output chunk */
#define SMALL 1024 /* output up to here is moved to a small chunk */
#define CODINGS_MAX 2

struct decode {
    struct weir_source *inner;
    struct weir__codec codec;
    struct weir_chunk *in; /* taken, from in_at on not decoded */
    size_t in_at;
    uint64_t in_bytes, out_bytes;
    uint64_t max_bytes, grace_bytes;
    uint32_t max_ratio;
    struct weir__work work;
    bool more; /* the codec may have output without any input */
    bool over; /* the format has ended, and nothing may come behind it */
};

static int give_up(struct decode *decode, int r)
{
    weir_cancel(decode->inner, r == WEIR_ELIMIT || r == WEIR_ENOMEM || r == WEIR_EBUDGET
                                   ? WEIR_REASON_LIMIT
                                   : WEIR_REASON_PROTOCOL);
    return r;
}

/* Takes input if the codec needs some. 1: there is something to decode; 0 the verified end; or an error. */
static int look(struct decode *decode, int64_t deadline)
{
    int r;

    if (decode->in != NULL || decode->more) {
        return 1;
    }
    r = weir__next(decode->inner, WEIR_CHUNK_BYTES, deadline, &decode->in);
    if (r == 1) {
        decode->in_at = 0;
        return 1;
    }
    return r == 0 && !decode->codec.whole ? WEIR_ETRUNCATED : r;
}

static bool is_too_much(const struct decode *decode)
{
    return decode->out_bytes > decode->max_bytes ||
           (decode->max_ratio != WEIR_RATIO_ANY && decode->out_bytes > decode->grace_bytes &&
            (decode->out_bytes - 1) / decode->max_ratio >= decode->in_bytes);
}

/* One step into `room` bytes at `out`. Returns how many were filled in, or an error. */
static int step(struct decode *decode, uint8_t *out, size_t room)
{
    struct weir__codec_io io = {.in = (const uint8_t *)"", .out = out, .out_len = room};
    size_t had = 0;
    int r;

    if (decode->in != NULL) {
        had = weir_chunk_len(decode->in) - decode->in_at;
        io.in = weir_chunk_view(decode->in).data + decode->in_at;
        io.in_len = had;
    }
    if (decode->over && had > 0) {
        return WEIR_EPROTO;
    }
    r = weir__codec_step(&decode->codec, &io, WEIR__CODEC_RUN);
    if (r < 0) {
        return r;
    }
    if (r == WEIR__CODEC_MORE && io.out_len == room && io.in_len == had) {
        return WEIR_EPROTO; /* no library should: but this must never become a loop */
    }
    decode->more = r == WEIR__CODEC_MORE;
    decode->over = r == WEIR__CODEC_OVER;
    decode->in_at += had - io.in_len;
    decode->in_bytes += had - io.in_len;
    decode->out_bytes += room - io.out_len;
    decode->work.bytes += had - io.in_len;
    if (decode->in != NULL && io.in_len == 0) {
        decode->in = weir_chunk_unref(decode->in);
    }
    return is_too_much(decode) ? WEIR_ELIMIT : (int)(room - io.out_len);
}

/* Few bytes do not keep a large buffer, if there is memory for that. */
static struct weir_chunk *fit(struct weir_chunk *chunk, size_t len)
{
    struct weir_chunk *small;

    if (len <= SMALL && weir_chunk_copy(weir_bytes(weir_chunk_data(chunk), len), &small) == 0) {
        weir_chunk_unref(chunk);
        return small;
    }
    weir__chunk_set_len(chunk, len);
    return chunk;
}

static int decode_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *out = NULL;
    struct decode *decode = state;
    size_t room = max_bytes < ROOM ? max_bytes : ROOM;
    int r;

    if (room > decode->max_bytes - decode->out_bytes) {
        /* What is within the limit is delivered; one byte more is looked for. */
        room = (size_t)(decode->max_bytes - decode->out_bytes);
        room = room > 0 ? room : 1;
    }
    do {
        r = weir__work_pause(&decode->work, deadline);
        if (r == 0) {
            r = look(decode, deadline);
        }
        if (r == 1 && out == NULL) {
            r = weir__chunk_alloc(room, &out);
            r = r == 0 ? 1 : r;
        }
        if (r <= 0) {
            return r;
        }
        r = step(decode, weir_chunk_data(out), room);
    } while (r == 0);
    if (r < 0) {
        return give_up(decode, r);
    }
    *ret = fit(weir_take(out), (size_t)r);
    return 1;
}

static void decode_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(((struct decode *)state)->inner, reason);
}

static void decode_destroy(void *state)
{
    struct decode *decode = state;

    weir_chunk_unref(decode->in);
    weir__codec_close(&decode->codec);
    weir_source_destroy(decode->inner);
    weir_free(decode);
}

static void decode_explain(void *state, struct weir_error *ret)
{
    struct decode *decode = state;

    ret->where = decode->codec.ops->name;
    weir__explain_inner(decode->inner, ret);
}

static int64_t decode_arm(void *state, struct weir_waker *waker)
{
    struct decode *decode = state;

    if (waker != NULL && (decode->in != NULL || decode->more)) {
        return 0; /* it only paused */
    }
    return weir_source_arm(decode->inner, waker);
}

static const struct weir_source_ops decode_ops = {
    .name = "decode",
    .next = decode_next,
    .cancel = decode_cancel,
    .destroy = decode_destroy,
    .explain = decode_explain,
    .arm = decode_arm,
};

int weir_decode_take(struct weir_source *given, enum weir_coding coding,
                     const struct weir_decode_opts *opts, struct weir_source **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *inner = given;
    const struct weir__codec_ops *ops = weir__decoder_of(coding);
    struct weir_decode_opts wanted = opts != NULL ? *opts : (struct weir_decode_opts){0};
    struct decode *decode;
    int r;

    if (inner == NULL || (ops == NULL && coding != WEIR_CODING_IDENTITY)) {
        return WEIR_EINVAL;
    }
    if (ops == NULL) {
        if (wanted.max_bytes > 0) {
            return weir_limit_create_take(weir_take(inner), wanted.max_bytes, ret);
        }
        *ret = weir_take(inner);
        return 0;
    }
    decode = weir_alloc0(sizeof(*decode));
    if (decode == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir__codec_open(&decode->codec, ops, &(struct weir__codec_params){0});
    if (r < 0) {
        weir_free(decode);
        return r;
    }
    decode->inner = weir_take(inner);
    decode->max_bytes = wanted.max_bytes > 0 ? wanted.max_bytes : UINT64_MAX;
    decode->max_ratio = wanted.max_ratio > 0 ? wanted.max_ratio : RATIO;
    decode->grace_bytes = wanted.grace_bytes > 0 ? wanted.grace_bytes : GRACE_BYTES;
    return weir_source_create_take(&decode_ops, decode, ret);
}

int weir_decode_all_take(struct weir_source *given, struct weir_view content_encoding,
                         const struct weir_decode_opts *opts, struct weir_source **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = given;
    enum weir_coding codings[CODINGS_MAX];
    struct weir_view item;
    size_t count = 0;
    int r = 0;

    if (given == NULL) {
        return WEIR_EINVAL;
    }
    while (weir_view_next_item(&content_encoding, &item) == 1) {
        enum weir_coding coding;

        r = weir_coding_parse(item, &coding);
        if (r == 0 && coding != WEIR_CODING_IDENTITY && count == CODINGS_MAX) {
            r = WEIR_ELIMIT;
        }
        if (r < 0) {
            return r;
        }
        if (coding != WEIR_CODING_IDENTITY) {
            codings[count++] = coding;
        }
    }
    if (count == 0) {
        return weir_decode_take(weir_take(source), WEIR_CODING_IDENTITY, opts, ret);
    }
    while (r == 0 && count > 0) {
        r = weir_decode_take(weir_take(source), codings[--count], opts, &source);
    }
    if (r == 0) {
        *ret = weir_take(source);
    }
    return r;
}
