/* SPDX-License-Identifier: MIT */
/*
 * The splitter of lines: whole, in pieces and through a reader with little room it gives the same bytes; each chunk is one
 * line by a splitter of a few lines, and a line that is too long ends it with the limit and nothing of it.
 */
#include "fuzz.h"

#include <weir/combinators.h>
#include <weir/err.h>

#include "stream/stream.h"

struct input {
    const uint8_t *data;
    size_t size, at;
    bool in_pieces;
    uint32_t seed;
};

static int input_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct input *input = state;
    size_t left = input->size - input->at;
    size_t len = left < max_bytes ? left : max_bytes;

    (void)deadline;
    if (left == 0) {
        return 0;
    }
    if (input->in_pieces) {
        len = fuzz_piece(&input->seed, len);
    }
    input->at += len;
    return weir_chunk_copy(weir_bytes(input->data + input->at - len, len), ret) < 0 ? WEIR_ENOMEM
                                                                                    : 1;
}

static const struct weir_source_ops input_ops = {.name = "input", .next = input_next};

/* The length of the next line with its end, and of its text; 0 at the end. */
static size_t next_line(const uint8_t *data, size_t size, size_t *ret_text)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) + 1 : size;

    *ret_text = len;
    if (end != NULL) {
        *ret_text = len > 1 && end[-1] == '\r' ? len - 2 : len - 1;
    }
    return len;
}

static void split(const uint8_t *data, size_t size, size_t max_line, bool in_pieces, size_t room)
{
    struct input input = {data, size, 0, in_pieces, fuzz_seed(data, size)};
    struct weir_source *source;
    struct weir_chunk *chunk;
    size_t at = 0, text, line = 0, within = 0;
    int r;

    FUZZ_CLAIM(weir_source_create_take(&input_ops, &input, &source) == 0);
    FUZZ_CLAIM(weir_lines_create_take(source, max_line, &source) == 0);
    while ((r = weir__next(source, room, -1, &chunk)) == 1) {
        struct weir_view view = weir_chunk_view(chunk);

        FUZZ_CLAIM(view.len > 0 && view.len <= room && view.len <= size - at);
        FUZZ_CLAIM(memcmp(view.data, data + at, view.len) == 0);
        if (within == 0) {
            line = next_line(data + at, size - at, &text);
            FUZZ_CLAIM(text <= max_line);
            FUZZ_CLAIM(view.len == (line < room ? line : room));
            if (view.len == line) {
                FUZZ_CLAIM(weir_line_text(chunk).len == text);
            }
        }
        at += view.len;
        within = within + view.len == line ? 0 : within + view.len;
        weir_chunk_unref(chunk);
    }
    FUZZ_CLAIM(within == 0);
    next_line(data + at, size - at, &text);
    if (r == 0) {
        FUZZ_CLAIM(at == size);
    } else {
        FUZZ_CLAIM(r == WEIR_ELIMIT && text > max_line);
    }
    weir_source_destroy(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t limits[] = {1, 7, 100, WEIR_LINE_MAX};

    if (size < 1) {
        return 0;
    }
    for (int way = 0; way < 4; way++) {
        split(data + 1, size - 1, limits[data[0] % 4], (way & 1) != 0,
              (way & 2) != 0 ? 1 + data[0] / 4 : WEIR_CHUNK_BYTES);
    }
    return 0;
}
