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

    io->in = in.pos > 0 ? io->in + in.pos : io->in; /* it may be no pointer */
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

/* The library itself does not compare a frame's length with the one it declares when the last block is empty. */
struct decoder {
    ZSTD_DCtx *context;
    uint8_t head[ZSTD_FRAMEHEADERSIZE_MAX]; /* of the present frame, as far as it was taken */
    size_t head_len;
    bool head_known;
    uint64_t declared, given; /* bytes of the present frame; ZSTD_CONTENTSIZE_UNKNOWN */
};

static int decoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    struct decoder *decoder = weir__codec_alloc(codec, sizeof(*decoder));

    (void)params;
    if (decoder == NULL) {
        return WEIR_ENOMEM;
    }
    *decoder = (struct decoder){.context = ZSTD_createDCtx_advanced(memory_of(codec))};
    if (decoder->context == NULL) {
        return WEIR_ENOMEM;
    }
    if (ZSTD_isError(
            ZSTD_DCtx_setParameter(decoder->context, ZSTD_d_windowLogMax, WINDOW_BITS_MAX))) {
        return WEIR_EINVAL;
    }
    codec->state = decoder;
    return 0;
}

/* Whether a frame may begin with that byte (RFC 8878 3.1). The library would also read what came before the RFC. */
static bool begins_frame(struct decoder *decoder, uint8_t byte)
{
    decoder->head_len = 0;
    decoder->head_known = false;
    decoder->declared = ZSTD_CONTENTSIZE_UNKNOWN;
    decoder->given = 0;
    return byte == FRAME_FIRST_BYTE || (byte & 0xf0) == SKIPPABLE_FIRST_BYTE;
}

/* Reads the declared length out of the bytes that were taken, as soon as it is there. */
static void read_head(struct decoder *decoder, const uint8_t *taken, size_t len)
{
    ZSTD_frameHeader header;

    if (decoder->head_known) {
        return;
    }
    len = len < sizeof(decoder->head) - decoder->head_len
              ? len
              : sizeof(decoder->head) - decoder->head_len;
    memcpy(decoder->head + decoder->head_len, taken, len);
    decoder->head_len += len;
    if (ZSTD_getFrameHeader(&header, decoder->head, decoder->head_len) == 0) {
        decoder->head_known = true;
        if (header.frameType == ZSTD_frame) {
            decoder->declared = header.frameContentSize;
        }
    }
}

/*
 * Whether what comes is, so far, the magic number of a frame (RFC 8878 3.1.1, 3.1.2). The library looks for those of its
 * older formats at the begin of each piece, and reads them with a decoder and memory of their own.
 */
static bool is_magic(struct decoder *decoder, const uint8_t *next, size_t len)
{
    static const uint8_t frame[] = {FRAME_FIRST_BYTE, 0xb5, 0x2f, 0xfd};
    static const uint8_t skippable[] = {SKIPPABLE_FIRST_BYTE, 0x2a, 0x4d, 0x18};
    uint8_t first = decoder->head_len > 0 ? decoder->head[0] : len > 0 ? next[0] : frame[0];
    const uint8_t *magic = first == FRAME_FIRST_BYTE ? frame : skippable;

    for (size_t i = 0, at = decoder->head_len; i < len && at < sizeof(frame); i++, at++) {
        if (at > 0 && next[i] != magic[at]) {
            return false;
        }
    }
    return true;
}

static int decoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    struct decoder *decoder = codec->state;
    ZSTD_inBuffer in = {io->in, io->in_len, 0};
    ZSTD_outBuffer out = {io->out, io->out_len, 0};
    size_t hint;

    (void)op;
    if (codec->whole || !codec->begun) {
        if (io->in_len == 0) {
            return WEIR__CODEC_DONE; /* asked here, it would begin to wait for another frame */
        }
        if (!begins_frame(decoder, io->in[0])) {
            return WEIR_EPROTO;
        }
        codec->begun = true;
    }
    if (!is_magic(decoder, io->in, io->in_len)) {
        return WEIR_EPROTO;
    }
    if (!decoder->head_known && in.size > 1) {
        in.size =
            1; /* a frame that lies whole before the library is read by other, stricter code than one in pieces */
    }
    hint = ZSTD_decompressStream(decoder->context, &out, &in);
    if (ZSTD_isError(hint)) {
        return ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation ? WEIR_ENOMEM : WEIR_EPROTO;
    }
    read_head(decoder, io->in, in.pos);
    decoder->given += out.pos;
    io->in = in.pos > 0 ? io->in + in.pos : io->in; /* it may be no pointer */
    io->in_len -= in.pos;
    io->out += out.pos;
    io->out_len -= out.pos;
    codec->whole = hint == 0; /* a frame has ended, and all of it was given */
    if (codec->whole && decoder->declared != ZSTD_CONTENTSIZE_UNKNOWN &&
        decoder->declared != decoder->given) {
        return WEIR_EPROTO;
    }
    return io->in_len > 0 || (io->out_len == 0 && !codec->whole) ? WEIR__CODEC_MORE
                                                                 : WEIR__CODEC_DONE;
}

static void decoder_close(struct weir__codec *codec)
{
    struct decoder *decoder = codec->state;

    if (decoder != NULL) {
        ZSTD_freeDCtx(decoder->context);
    }
}

const struct weir__codec_ops weir__zstd_decoder = {
    .name = "unzstd", .open = decoder_open, .step = decoder_step, .close = decoder_close};
