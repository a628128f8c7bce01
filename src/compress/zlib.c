/* SPDX-License-Identifier: MIT */
/*
 * gzip and deflate (RFC 1952, 1950) with zlib. A gzip body may have several members (RFC 1952 2.2): what follows one must
 * be another.
 */
#include "compress/codec.h"

#include "base/alloc.h"

#include <zlib.h>

#define GZIP 16 /* added to the window bits: zlib's way to ask for that format */
#define GZIP_MAGIC 0x1f

static voidpf zlib_alloc(voidpf codec, uInt items, uInt size)
{
    return weir__codec_alloc(codec, (size_t)items * size);
}

static void zlib_free(voidpf codec, voidpf block)
{
    weir__codec_free(codec, block);
}

static z_stream *stream_create(struct weir__codec *codec)
{
    z_stream *stream = weir_alloc0(sizeof(*stream));

    if (stream != NULL) {
        stream->zalloc = zlib_alloc;
        stream->zfree = zlib_free;
        stream->opaque = codec;
    }
    return stream;
}

/* One step's worth of io to the library, and back. Lengths are cut to what its counters hold. */
static void lend(z_stream *stream, const struct weir__codec_io *io)
{
    stream->next_in = (z_const Bytef *)(uintptr_t)io->in;
    stream->avail_in = io->in_len < (1u << 30) ? (uInt)io->in_len : 1u << 30;
    stream->next_out = io->out;
    stream->avail_out = io->out_len < (1u << 30) ? (uInt)io->out_len : 1u << 30;
}

static void take_back(z_stream *stream, struct weir__codec_io *io)
{
    io->in_len -= (size_t)(stream->next_in - io->in);
    io->in = stream->next_in;
    io->out_len -= (size_t)(stream->next_out - io->out);
    io->out = stream->next_out;
    stream->next_in = NULL;
    stream->next_out = NULL;
}

/* ---- encoding ---- */

static int encoder_open(struct weir__codec *codec, const struct weir__codec_params *params,
                        int format)
{
    int level = params->level != 0 ? params->level : Z_DEFAULT_COMPRESSION;
    int window = params->window_bits != 0 ? (int)params->window_bits : params->small ? 12 : 15;
    z_stream *stream;
    int r;

    if (window < 9 || window > 15) {
        return WEIR_EINVAL;
    }
    stream = stream_create(codec);
    if (stream == NULL) {
        return WEIR_ENOMEM;
    }
    /* The hash and the symbols take as much as the window: 2^(window + 3) bytes in all. */
    r = deflateInit2(stream, level, Z_DEFLATED, window + format, window - 7, Z_DEFAULT_STRATEGY);
    if (r != Z_OK) {
        weir_free(stream);
        return r == Z_MEM_ERROR ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    codec->state = stream;
    return 0;
}

static int gzip_encoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    return encoder_open(codec, params, GZIP);
}

static int deflate_encoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    return encoder_open(codec, params, 0);
}

static int encoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    z_stream *stream = codec->state;
    int r;

    lend(stream, io);
    r = deflate(stream, flushes[op]);
    take_back(stream, io);
    if (r == Z_STREAM_END) {
        return WEIR__CODEC_DONE;
    }
    if (r == Z_BUF_ERROR && io->out_len > 0) {
        return op == WEIR__CODEC_END ? WEIR_EIO : WEIR__CODEC_DONE; /* nothing was left to do */
    }
    if (r != Z_OK && r != Z_BUF_ERROR) {
        return WEIR_EIO;
    }
    return io->out_len == 0 || io->in_len > 0 || op == WEIR__CODEC_END ? WEIR__CODEC_MORE
                                                                       : WEIR__CODEC_DONE;
}

static void encoder_close(struct weir__codec *codec)
{
    deflateEnd(codec->state);
    weir_free(codec->state);
}

const struct weir__codec_ops weir__gzip_encoder = {
    .name = "gzip", .open = gzip_encoder_open, .step = encoder_step, .close = encoder_close};
const struct weir__codec_ops weir__deflate_encoder = {
    .name = "deflate", .open = deflate_encoder_open, .step = encoder_step, .close = encoder_close};

/* ---- decoding ---- */

static int decoder_open(struct weir__codec *codec, int format)
{
    z_stream *stream = stream_create(codec);
    int r;

    if (stream == NULL) {
        return WEIR_ENOMEM;
    }
    r = inflateInit2(stream, 15 + format);
    if (r != Z_OK) {
        weir_free(stream);
        return r == Z_MEM_ERROR ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    codec->state = stream;
    return 0;
}

static int gzip_decoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    (void)params;
    return decoder_open(codec, GZIP);
}

static int deflate_decoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    (void)params;
    return decoder_open(codec, 0);
}

static int inflate_step(z_stream *stream, struct weir__codec_io *io)
{
    int r;

    lend(stream, io);
    r = inflate(stream, Z_NO_FLUSH);
    take_back(stream, io);
    switch (r) {
    case Z_STREAM_END:
        return WEIR__CODEC_OVER;
    case Z_OK:
    case Z_BUF_ERROR: /* it needs input or room */
        return io->out_len == 0 || io->in_len > 0 ? WEIR__CODEC_MORE : WEIR__CODEC_DONE;
    case Z_MEM_ERROR:
        return WEIR_ENOMEM;
    default:
        return WEIR_EPROTO;
    }
}

static int deflate_decoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                                enum weir__codec_op op)
{
    int r = inflate_step(codec->state, io);

    (void)op;
    codec->whole = r == WEIR__CODEC_OVER;
    return r;
}

static int gzip_decoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                             enum weir__codec_op op)
{
    int r;

    (void)op;
    if (codec->whole) { /* a member has ended here */
        if (io->in_len == 0) {
            return WEIR__CODEC_DONE;
        }
        if (io->in[0] != GZIP_MAGIC) {
            return WEIR_EPROTO;
        }
        codec->whole = false;
        if (inflateReset(codec->state) != Z_OK) {
            return WEIR_EIO;
        }
    }
    r = inflate_step(codec->state, io);
    if (r == WEIR__CODEC_OVER) {
        codec->whole = true;
        r = io->in_len > 0 ? WEIR__CODEC_MORE : WEIR__CODEC_DONE;
    }
    return r;
}

static void decoder_close(struct weir__codec *codec)
{
    inflateEnd(codec->state);
    weir_free(codec->state);
}

const struct weir__codec_ops weir__gzip_decoder = {
    .name = "gunzip", .open = gzip_decoder_open, .step = gzip_decoder_step, .close = decoder_close};
const struct weir__codec_ops weir__deflate_decoder = {.name = "inflate",
                                                      .open = deflate_decoder_open,
                                                      .step = deflate_decoder_step,
                                                      .close = decoder_close};
