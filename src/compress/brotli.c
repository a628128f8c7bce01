/* SPDX-License-Identifier: MIT */
/* Brotli (RFC 7932) with Google's library. Large windows, which the RFC does not have, stay off. */
#include "compress/codec.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

/* ---- encoding ---- */

static int encoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    /* Quality 4 is the last one before the searches that cost many times more; the window keeps it at about 2 MiB. */
    uint32_t quality = params->level != 0 ? (uint32_t)params->level : params->small ? 2 : 4;
    uint32_t window = params->window_bits != 0 ? params->window_bits : params->small ? 14 : 16;
    BrotliEncoderState *state;

    if (window < BROTLI_MIN_WINDOW_BITS || window > BROTLI_MAX_WINDOW_BITS) {
        return WEIR_EINVAL;
    }
    state = BrotliEncoderCreateInstance(weir__codec_alloc, weir__codec_free, codec);
    if (state == NULL) {
        return WEIR_ENOMEM;
    }
    if (!BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, quality) ||
        !BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, window)) {
        BrotliEncoderDestroyInstance(state);
        return WEIR_EINVAL;
    }
    codec->state = state;
    return 0;
}

static int encoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    static const BrotliEncoderOperation operations[] = {
        BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    BrotliEncoderState *state = codec->state;

    if (!BrotliEncoderCompressStream(state, operations[op], &io->in_len, &io->in, &io->out_len,
                                     &io->out, NULL)) {
        return WEIR_EIO;
    }
    if (io->in_len > 0 || BrotliEncoderHasMoreOutput(state)) {
        return WEIR__CODEC_MORE;
    }
    return op == WEIR__CODEC_END && !BrotliEncoderIsFinished(state) ? WEIR__CODEC_MORE
                                                                    : WEIR__CODEC_DONE;
}

static void encoder_close(struct weir__codec *codec)
{
    BrotliEncoderDestroyInstance(codec->state);
}

const struct weir__codec_ops weir__brotli_encoder = {
    .name = "brotli", .open = encoder_open, .step = encoder_step, .close = encoder_close};

/* ---- decoding ---- */

static int decoder_open(struct weir__codec *codec, const struct weir__codec_params *params)
{
    BrotliDecoderState *state =
        BrotliDecoderCreateInstance(weir__codec_alloc, weir__codec_free, codec);

    (void)params;
    if (state == NULL) {
        return WEIR_ENOMEM;
    }
    codec->state = state;
    return 0;
}

static int decoder_step(struct weir__codec *codec, struct weir__codec_io *io,
                        enum weir__codec_op op)
{
    BrotliDecoderResult result = BrotliDecoderDecompressStream(codec->state, &io->in_len, &io->in,
                                                               &io->out_len, &io->out, NULL);

    (void)op;
    switch (result) {
    case BROTLI_DECODER_RESULT_SUCCESS:
        codec->whole = true;
        return WEIR__CODEC_OVER;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
        return WEIR__CODEC_DONE;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
        return WEIR__CODEC_MORE;
    case BROTLI_DECODER_RESULT_ERROR:
        break;
    }
    return WEIR_EPROTO;
}

static void decoder_close(struct weir__codec *codec)
{
    BrotliDecoderDestroyInstance(codec->state);
}

const struct weir__codec_ops weir__brotli_decoder = {
    .name = "unbrotli", .open = decoder_open, .step = decoder_step, .close = decoder_close};
