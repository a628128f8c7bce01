/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMPRESS_CODEC_H
#define WEIR_COMPRESS_CODEC_H

#include <weir/compress.h>

#include <stddef.h>
#include <stdint.h>

/*
 * One coder, in either direction, of whatever library. It never waits and knows no stream: bytes in, bytes out. Its
 * memory comes through base/alloc and is charged to the process's budget, like the bytes that it holds back.
 */
struct weir__codec_io {
    const uint8_t *in; /* never NULL */
    size_t in_len;
    uint8_t *out;
    size_t out_len; /* room; 1 or more */
};

enum weir__codec_op {
    WEIR__CODEC_RUN,   /* take the input, give what comes of it */
    WEIR__CODEC_FLUSH, /* an encoder: give everything that was taken; repeat it until it is done */
    WEIR__CODEC_END,   /* an encoder: and finish the format */
};

/* What a step answers, if not an error. */
enum {
    WEIR__CODEC_DONE = 0, /* all input is taken, all output of the operation given */
    WEIR__CODEC_MORE =
        1, /* more room is needed; a decoder: or it has not looked at all input yet */
    WEIR__CODEC_OVER = 2, /* a decoder: the data has ended; input may be left */
};

struct weir__codec_params {
    int level;            /* 0: the coding's default */
    unsigned window_bits; /* 0: the coding's default */
    bool small;           /* an encoder: events; defaults with little memory */
};

struct weir__codec;

struct weir__codec_ops {
    const char *name;
    /* 0, or an error with everything freed. */
    int (*open)(struct weir__codec *codec, const struct weir__codec_params *params);
    /* Moves io's ends. WEIR__CODEC_*, WEIR_EPROTO (of a decoder), WEIR_EIO. */
    int (*step)(struct weir__codec *codec, struct weir__codec_io *io, enum weir__codec_op op);
    void (*close)(struct weir__codec *codec);
};

struct weir__codec {
    const struct weir__codec_ops *ops; /* NULL: not open */
    void *state;
    size_t used; /* bytes it has now */
    int failed;  /* WEIR_ENOMEM or WEIR_EBUDGET: it was refused memory */
    bool begun;  /* a decoder's own */
    bool whole;  /* a decoder: what was taken so far may end here */
};

extern const struct weir__codec_ops weir__gzip_encoder, weir__deflate_encoder, weir__brotli_encoder,
    weir__zstd_encoder;
extern const struct weir__codec_ops weir__gzip_decoder, weir__deflate_decoder, weir__brotli_decoder,
    weir__zstd_decoder;

/* NULL for a coding that there is none of. */
const struct weir__codec_ops *weir__encoder_of(enum weir_coding coding);
const struct weir__codec_ops *weir__decoder_of(enum weir_coding coding);

/* 0, or WEIR_EINVAL: nothing to encode with, or a level out of range. */
int weir__encode_params(enum weir_coding coding, const struct weir_encode_opts *opts,
                        struct weir__codec_params *ret);

/* Libraries run on the loop's own stack, for they run deep. open: 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_EBUDGET; then and
 * after close the codec is not open. */
int weir__codec_open(struct weir__codec *codec, const struct weir__codec_ops *ops,
                     const struct weir__codec_params *params);
int weir__codec_step(struct weir__codec *codec, struct weir__codec_io *io, enum weir__codec_op op);
void weir__codec_close(struct weir__codec *codec);

/* The libraries' allocators; `codec` is their opaque pointer. */
void *weir__codec_alloc(void *codec, size_t size);
void weir__codec_free(void *codec, void *block);

/* How large a chunk to encode `bytes` of input into: few bytes should not hold a large buffer. */
size_t weir__encoded_room(size_t bytes);

#endif
