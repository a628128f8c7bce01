/* SPDX-License-Identifier: MIT */
/*
 * Zstandard (RFC 8878). Windows of at most 8 MiB: what RFC 9659 allows in HTTP. A body may have several frames. Contexts
 * with an allocator of one's own are in the part of the interface that the library calls static.
 */
#include "compress/codec.h"

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#define WINDOW_BITS_MAX 23 /* RFC 9659 3 */
#define FRAME_FIRST_BYTE 0x28
#define SKIPPABLE_FIRST_BYTE 0x50

static ZSTD_customMem memory_of(struct weir__codec *codec)
{
    return (ZSTD_customMem){weir__codec_alloc, weir__codec_free, codec};
}

/* ---- encoding ---- */

static bool set(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value));
}

static int encoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    int level = params->level != 0 ? params->level : params->small ? 1 : 3;
    int window = params->window_bits != 0 ? (int)params->window_bits : params->small ? 14 : 16;
    int table = window < 18 ? window - 1 : 17;
    ZSTD_CCtx *context;

    if (window < ZSTD_WINDOWLOG_MIN || window > WINDOW_BITS_MAX) {
        return WEIR_EINVAL;
    }
    context = ZSTD_createCCtx_advanced(memory_of(codec));
    if (context == NULL) {
        return WEIR_ENOMEM;
    }
    /* Tables of half as many entries as the window has bytes: a level's own are made for files. */
    if (!set(context, ZSTD_c_compressionLevel, level) || !set(context, ZSTD_c_windowLog, window) ||
        !set(context, ZSTD_c_hashLog, table) || !set(context, ZSTD_c_chainLog, table) ||
        !set(context, ZSTD_c_checksumFlag, 1)) {
        ZSTD_freeCCtx(context);
        return WEIR_EINVAL;
    }
    codec->state = context;
    return 0;
}

static int encoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    static const ZSTD_EndDirective directives[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
    ZSTD_inBuffer in = {io->in, io->in_len, 0};
    ZSTD_outBuffer out = {io->out, io->out_len, 0};
    size_t left = ZSTD_compressStream2(codec->state, &out, &in, directives[op]);

    io->in += in.pos;
    io->in_len -= in.pos;
    io->out += out.pos;
    io->out_len -= out.pos;
    if (ZSTD_isError(left)) {
        return WEIR_EIO;
    }
    if (op == WEIR__CODEC_RUN) {
        return io->in_len > 0 || io->out_len == 0 ? WEIR__CODEC_MORE : WEIR__CODEC_DONE;
    }
    return left > 0 || io->in_len > 0 ? WEIR__CODEC_MORE : WEIR__CODEC_DONE;
}

static void encoder_close(struct weir__codec *codec)
{
    ZSTD_freeCCtx(codec->state);
}

const struct weir__codec_ops weir__zstd_encoder = {
    .name = "zstd", .open = encoder_open, .step = encoder_step, .close = encoder_close};

/* ---- decoding ---- */

static int decoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    ZSTD_DCtx *context = ZSTD_createDCtx_advanced(memory_of(codec));

    (void)params;
    if (context == NULL) {
        return WEIR_ENOMEM;
    }
    if (ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_BITS_MAX))) {
        ZSTD_freeDCtx(context);
        return WEIR_EINVAL;
    }
    codec->state = context;
    return 0;
}

static int decoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    ZSTD_inBuffer in = {io->in, io->in_len, 0};
    ZSTD_outBuffer out = {io->out, io->out_len, 0};
    size_t hint;

    (void)op;
    if (codec->whole || !codec->begun) {
        if (io->in_len == 0) {
            return WEIR__CODEC_DONE; /* asked here, it would begin to wait for another frame */
        }
        /* A frame, or one to be skipped (RFC 8878 3.1); the library would also read what came before the RFC. */
        if (io->in[0] != FRAME_FIRST_BYTE && (io->in[0] & 0xf0) != SKIPPABLE_FIRST_BYTE) {
            return WEIR_EPROTO;
        }
        codec->begun = true;
    }
    hint = ZSTD_decompressStream(codec->state, &out, &in);
    io->in += in.pos;
    io->in_len -= in.pos;
    io->out += out.pos;
    io->out_len -= out.pos;
    if (ZSTD_isError(hint)) {
        return ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation ? WEIR_ENOMEM : WEIR_EPROTO;
    }
    codec->whole = hint == 0; /* a frame has ended, and all of it was given */
    return io->in_len > 0 || (io->out_len == 0 && !codec->whole) ? WEIR__CODEC_MORE
                                                                 : WEIR__CODEC_DONE;
}

static void decoder_close(struct weir__codec *codec)
{
    ZSTD_freeDCtx(codec->state);
}

const struct weir__codec_ops weir__zstd_decoder = {
    .name = "unzstd", .open = decoder_open, .step = decoder_step, .close = decoder_close};
