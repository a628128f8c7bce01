/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_COMPRESS_REFERENCE_H
#define WEIR_TESTS_COMPRESS_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include <weir/compress.h>

/*
 * What the other side of the wire would do: each library's own decoder, fed with what has arrived so far, and whole buffers
 * encoded by its own one-call functions.
 */
struct reference {
    enum weir_coding coding;
    z_stream zlib;
    BrotliDecoderState *brotli;
    ZSTD_DCtx *zstd;
    uint8_t *out;
    size_t len, room;
    bool over, wrong; /* the format has ended; it was none */
};

static inline void reference_init(struct reference *reference, enum weir_coding coding)
{
    *reference = (struct reference){.coding = coding};
    switch (coding) {
    case WEIR_CODING_GZIP:
        reference->wrong = inflateInit2(&reference->zlib, 31) != Z_OK;
        break;
    case WEIR_CODING_DEFLATE:
        reference->wrong = inflateInit2(&reference->zlib, 15) != Z_OK;
        break;
    case WEIR_CODING_BROTLI:
        reference->brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
        break;
    case WEIR_CODING_ZSTD:
        reference->zstd = ZSTD_createDCtx();
        break;
    case WEIR_CODING_IDENTITY:
        break;
    }
}

static inline void reference_finish(struct reference *reference)
{
    if (reference->coding == WEIR_CODING_GZIP || reference->coding == WEIR_CODING_DEFLATE) {
        inflateEnd(&reference->zlib);
    }
    if (reference->brotli != NULL) {
        BrotliDecoderDestroyInstance(reference->brotli);
    }
    ZSTD_freeDCtx(reference->zstd);
    free(reference->out);
}

/* One step with room for output. Returns whether there may be more without further input. */
static inline bool reference_step(struct reference *reference, const uint8_t **in, size_t *in_len)
{
    uint8_t *out = reference->out + reference->len;
    size_t room = reference->room - reference->len;
    size_t left = room;

    if (reference->coding == WEIR_CODING_BROTLI) {
        BrotliDecoderResult r =
            BrotliDecoderDecompressStream(reference->brotli, in_len, in, &left, &out, NULL);

        reference->wrong = r == BROTLI_DECODER_RESULT_ERROR;
        reference->over = r == BROTLI_DECODER_RESULT_SUCCESS;
    } else if (reference->coding == WEIR_CODING_ZSTD) {
        ZSTD_inBuffer input = {*in, *in_len, 0};
        ZSTD_outBuffer output = {out, room, 0};
        size_t r = ZSTD_decompressStream(reference->zstd, &output, &input);

        reference->wrong = ZSTD_isError(r) != 0;
        reference->over = r == 0;
        *in += input.pos;
        *in_len -= input.pos;
        left = room - output.pos;
    } else {
        int r;

        reference->zlib.next_in = (Bytef *)(uintptr_t)*in;
        reference->zlib.avail_in = (uInt)*in_len;
        reference->zlib.next_out = out;
        reference->zlib.avail_out = (uInt)room;
        r = inflate(&reference->zlib, Z_NO_FLUSH);
        reference->over = r == Z_STREAM_END;
        reference->wrong = r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR;
        *in += *in_len - reference->zlib.avail_in;
        *in_len = reference->zlib.avail_in;
        left = reference->zlib.avail_out;
    }
    reference->len += room - left;
    return !reference->wrong && !reference->over && (*in_len > 0 || left == 0);
}

/* All that can be decoded of these bytes and those before. */
static inline void reference_feed(struct reference *reference, const uint8_t *in, size_t in_len)
{
    bool more = in_len > 0;

    if (reference->over && in_len > 0) {
        reference->wrong = true;
    }
    while (more && !reference->wrong) {
        if (reference->room - reference->len < 65536) {
            reference->room = reference->room * 2 + 65536;
            reference->out = realloc(reference->out, reference->room);
            if (reference->out == NULL) {
                abort();
            }
        }
        more = reference_step(reference, &in, &in_len);
    }
    if (in_len > 0) {
        reference->wrong = true;
    }
}

/* A buffer encoded whole; to be freed. */
static inline uint8_t *reference_encode(enum weir_coding coding, const void *in, size_t len,
                                        size_t *ret_len)
{
    size_t room = len + len / 8 + 4096;
    uint8_t *out = malloc(room);

    if (out == NULL) {
        abort();
    }
    *ret_len = room;
    if (coding == WEIR_CODING_BROTLI) {
        BrotliEncoderCompress(5, 22, BROTLI_MODE_GENERIC, len, in, ret_len, out);
    } else if (coding == WEIR_CODING_ZSTD) {
        *ret_len = ZSTD_compress(out, room, in, len, 3);
    } else {
        z_stream stream = {.next_in = (Bytef *)(uintptr_t)in,
                           .avail_in = (uInt)len,
                           .next_out = out,
                           .avail_out = (uInt)room};

        if (deflateInit2(&stream, 6, Z_DEFLATED, coding == WEIR_CODING_GZIP ? 31 : 15, 8, 0) !=
                Z_OK ||
            deflate(&stream, Z_FINISH) != Z_STREAM_END) {
            abort();
        }
        *ret_len = stream.total_out;
        deflateEnd(&stream);
    }
    return out;
}

static const enum weir_coding all_codings[] = {WEIR_CODING_GZIP, WEIR_CODING_DEFLATE,
                                               WEIR_CODING_BROTLI, WEIR_CODING_ZSTD};
#define ALL_CODINGS (sizeof(all_codings) / sizeof(all_codings[0]))

#endif
