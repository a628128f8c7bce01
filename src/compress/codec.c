/* SPDX-License-Identifier: MIT */
/*
 * Codecs: which there are, the stack they run on, and the memory they get. A library that would rather exit than go without
 * memory (Debian's brotli encoder) is left by a jump out of its allocator. It has nothing but memory, and that is ours.
 */
#include "compress/codec.h"

#include "base/alloc.h"
#include "bytes/budget.h"
#include "rt/fiber.h"

/* In front of each block, so that its size is known when it is freed; as wide as malloc's alignment. */
union block_head {
    struct {
        struct weir_list link; /* weir__codec.blocks */
        size_t size;
    };
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
        if (codec->escape != NULL) {
            longjmp(*codec->escape, 1);
        }
        return NULL;
    }
    head->size = sizeof(*head) + size;
    weir_list_push_back(&codec->blocks, &head->link);
    return head + 1;
}

void weir__codec_free(void *opaque, void *block)
{
    union block_head *head = block;

    (void)opaque;
    if (block != NULL) {
        head--;
        weir_list_remove(&head->link);
        weir__budget_release(weir__budget_process(), head->size);
        weir_free(head);
    }
}

struct call {
    struct weir__codec *codec;
    const struct weir__codec_params *params; /* to open it; else a step */
    struct weir__codec_io *io;
    enum weir__codec_op op;
    int result;
};

static void into_library(struct call *call)
{
    struct weir__codec *codec = call->codec;

    call->result = call->params != NULL ? codec->ops->open(codec, call->params)
                                        : codec->ops->step(codec, call->io, call->op);
}

static void run_call(void *arg)
{
    struct call *call = arg;
    jmp_buf escape;

    if (!call->codec->ops->exits) {
        into_library(call);
        return;
    }
    call->codec->escape = &escape;
    if (setjmp(escape) == 0) {
        into_library(call);
    } else {
        call->result = call->codec->failed;
    }
    call->codec->escape = NULL;
}

static void free_all(struct weir__codec *codec)
{
    while (!weir_list_is_empty(&codec->blocks)) {
        union block_head *head = (union block_head *)codec->blocks.next; /* its first member */

        weir__codec_free(codec, head + 1);
    }
}

int weir__codec_open(struct weir__codec *codec, const struct weir__codec_ops *ops,
                     const struct weir__codec_params *params)
{
    struct call call = {.codec = codec, .params = params};

    *codec = (struct weir__codec){.ops = ops};
    weir_list_init(&codec->blocks);
    weir__fiber_call_on_loop(run_call, &call);
    if (call.result < 0) {
        free_all(codec);
        codec->ops = NULL;
        return codec->failed < 0 ? codec->failed : call.result;
    }
    return 0;
}

int weir__codec_step(struct weir__codec *codec, struct weir__codec_io *io, enum weir__codec_op op)
{
    struct call call = {.codec = codec, .io = io, .op = op};

    if (codec->failed == 0) {
        weir__fiber_call_on_loop(run_call, &call);
    }
    /* Whatever the library makes of a refusal: bytes may be missing. */
    return codec->failed < 0 ? codec->failed : call.result;
}

static void call_close(void *arg)
{
    struct weir__codec *codec = arg;

    codec->ops->close(codec);
}

void weir__codec_close(struct weir__codec *codec)
{
    if (codec->ops != NULL) {
        if (codec->ops->close != NULL) {
            weir__fiber_call_on_loop(call_close, codec);
        }
        free_all(codec);
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
