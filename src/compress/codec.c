/* SPDX-License-Identifier: MIT */
/* Codecs: which there are, the stack they run on, and the memory they get. */
#include "compress/codec.h"

#include "base/alloc.h"
#include "bytes/budget.h"
#include "rt/fiber.h"

/* In front of each block, so that its size is known when it is freed; as wide as malloc's alignment. */
union block_head {
    size_t size;
    max_align_t align;
};

const struct weir__codec_ops *weir__encoder_of(enum weir_coding coding)
{
    switch (coding) {
    case WEIR_CODING_GZIP:
        return &weir__gzip_encoder;
    case WEIR_CODING_DEFLATE:
        return &weir__deflate_encoder;
    case WEIR_CODING_BROTLI:
        return &weir__brotli_encoder;
    case WEIR_CODING_ZSTD:
        return &weir__zstd_encoder;
    case WEIR_CODING_IDENTITY:
        break;
    }
    return NULL;
}

const struct weir__codec_ops *weir__decoder_of(enum weir_coding coding)
{
    switch (coding) {
    case WEIR_CODING_GZIP:
        return &weir__gzip_decoder;
    case WEIR_CODING_DEFLATE:
        return &weir__deflate_decoder;
    case WEIR_CODING_BROTLI:
        return &weir__brotli_decoder;
    case WEIR_CODING_ZSTD:
        return &weir__zstd_decoder;
    case WEIR_CODING_IDENTITY:
        break;
    }
    return NULL;
}

int weir__encode_params(enum weir_coding coding, const struct weir_encode_opts *opts,
                        struct weir__codec_params *ret)
{
    struct weir_encode_opts wanted = opts != NULL ? *opts : (struct weir_encode_opts){0};

    if (weir__encoder_of(coding) == NULL || wanted.level < 0 || wanted.level > 9) {
        return WEIR_EINVAL;
    }
    *ret = (struct weir__codec_params){
        .level = wanted.level, .window_bits = wanted.window_bits, .small = wanted.for_events};
    return 0;
}

void *weir__codec_alloc(void *opaque, size_t size)
{
    struct weir__codec *codec = opaque;
    union block_head *head = NULL;
    int r = size <= SIZE_MAX - sizeof(*head)
                ? weir__budget_charge(weir__budget_process(), sizeof(*head) + size)
                : WEIR_ENOMEM;

    if (r == 0) {
        head = weir_alloc(sizeof(*head) + size);
        if (head == NULL) {
            weir__budget_release(weir__budget_process(), sizeof(*head) + size);
            r = WEIR_ENOMEM;
        }
    }
    if (r < 0) {
        codec->failed = r;
        return NULL;
    }
    head->size = sizeof(*head) + size;
    codec->used += head->size;
    return head + 1;
}

void weir__codec_free(void *opaque, void *block)
{
    struct weir__codec *codec = opaque;
    union block_head *head = block;

    if (block != NULL) {
        head--;
        codec->used -= head->size;
        weir__budget_release(weir__budget_process(), head->size);
        weir_free(head);
    }
}

struct call {
    struct weir__codec *codec;
    const struct weir__codec_params *params;
    struct weir__codec_io *io;
    enum weir__codec_op op;
    int result;
};

static void call_open(void *arg)
{
    struct call *call = arg;

    call->result = call->codec->ops->open(call->codec, call->params);
}

static void call_step(void *arg)
{
    struct call *call = arg;

    call->result = call->codec->ops->step(call->codec, call->io, call->op);
}

static void call_close(void *arg)
{
    struct call *call = arg;

    call->codec->ops->close(call->codec);
}

int weir__codec_open(struct weir__codec *codec, const struct weir__codec_ops *ops,
                     const struct weir__codec_params *params)
{
    struct call call = {.codec = codec, .params = params};

    *codec = (struct weir__codec){.ops = ops};
    weir__fiber_call_on_loop(call_open, &call);
    if (call.result < 0) {
        if (codec->failed < 0) {
            call.result = codec->failed;
        }
        codec->ops = NULL;
    }
    return call.result;
}

int weir__codec_step(struct weir__codec *codec, struct weir__codec_io *io, enum weir__codec_op op)
{
    struct call call = {.codec = codec, .io = io, .op = op};

    weir__fiber_call_on_loop(call_step, &call);
    if (codec->failed < 0) {
        return codec->failed; /* whatever the library makes of it: bytes may be missing */
    }
    return call.result;
}

void weir__codec_close(struct weir__codec *codec)
{
    struct call call = {.codec = codec};

    if (codec->ops != NULL) {
        weir__fiber_call_on_loop(call_close, &call);
        codec->ops = NULL;
    }
}

size_t weir__encoded_room(size_t bytes)
{
    if (bytes <= 512) {
        return 1024;
    }
    return bytes <= 3072 ? 4096 : 16384;
}
