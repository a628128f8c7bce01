/* SPDX-License-Identifier: MIT */
/*
 * The decoders, the first byte saying which: fed whole and fed in pieces they end alike and give the same bytes, no bound is
 * passed, nothing is left, and no body is whole without its last byte.
 */
#include "fuzz.h"

#include "base/alloc.h"
#include "bytes/budget.h"

#include <weir/compress.h>
#include <weir/err.h>

#define MAX_BYTES 300000
#define GRACE_BYTES 1000
#define RATIO 50

struct input {
    const uint8_t *data;
    size_t size;
    uint32_t seed; /* 0: whole */
};

static int input_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct input *input = state;
    size_t len = input->size < max_bytes ? input->size : max_bytes;

    (void)deadline;
    if (len == 0) {
        return 0;
    }
    if (input->seed != 0) {
        len = fuzz_piece(&input->seed, len);
    }
    FUZZ_CLAIM(weir_chunk_copy(weir_bytes(input->data, len), ret) == 0);
    input->data += len;
    input->size -= len;
    return 1;
}

static const struct weir_source_ops input_ops = {.name = "input", .next = input_next};

struct decoded {
    int result;
    size_t len;
    uint32_t hash;
};

static struct decoded decode(const uint8_t *data, size_t size, enum weir_coding coding,
                             const struct weir_decode_opts *opts, uint32_t seed)
{
    struct input input = {data, size, seed};
    struct decoded decoded = {.hash = 2166136261u};
    struct weir_source *source;
    struct weir_chunk *chunk;
    int64_t live = weir__alloc_live();
    size_t used = weir__budget_used(weir__budget_process());

    FUZZ_CLAIM(weir_source_create_take(&input_ops, &input, &source) == 0);
    FUZZ_CLAIM(weir_decode_take(source, coding, opts, &source) == 0);
    do {
        decoded.result = weir_next(source, 0, &chunk);
        if (decoded.result == 1) {
            struct weir_view view = weir_chunk_view(chunk);

            FUZZ_CLAIM(view.len > 0);
            for (size_t i = 0; i < view.len; i++) {
                decoded.hash = (decoded.hash ^ view.data[i]) * 16777619u;
            }
            decoded.len += view.len;
            weir_chunk_unref(chunk);
        }
    } while (decoded.result == 1 || decoded.result == WEIR_EAGAIN);
    FUZZ_CLAIM(weir_next(source, 0, &chunk) == decoded.result);
    weir_source_destroy(source);
    FUZZ_CLAIM(weir__alloc_live() == live);
    FUZZ_CLAIM(weir__budget_used(weir__budget_process()) == used);
    return decoded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct weir_decode_opts wide = {.max_bytes = MAX_BYTES, .max_ratio = WEIR_RATIO_ANY},
                                  narrow = {.max_ratio = RATIO, .grace_bytes = GRACE_BYTES};
    struct decoded whole, pieces;
    enum weir_coding coding;
    uint32_t seed;

    if (size == 0) {
        return 0;
    }
    coding = (enum weir_coding)(WEIR_CODING_GZIP + data[0] % 4);
    seed = fuzz_seed(data, size) | 1;
    data++;
    size--;
    whole = decode(data, size, coding, &wide, 0);
    pieces = decode(data, size, coding, &wide, seed);
    FUZZ_CLAIM(whole.len <= MAX_BYTES && pieces.len <= MAX_BYTES);
    FUZZ_CLAIM((whole.result == 0) == (pieces.result == 0));
    FUZZ_CLAIM(whole.result == 0 || whole.result == WEIR_EPROTO ||
               whole.result == WEIR_ETRUNCATED || whole.result == WEIR_ELIMIT);
    if (whole.result == 0) {
        FUZZ_CLAIM(whole.len == pieces.len && whole.hash == pieces.hash);
        FUZZ_CLAIM(decode(data, size - 1, coding, &wide, seed).result < 0);
    }
    pieces = decode(data, size, coding, &narrow, seed);
    FUZZ_CLAIM(pieces.len <= GRACE_BYTES || pieces.len <= size * RATIO);
    return 0;
}
