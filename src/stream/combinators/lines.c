/* SPDX-License-Identifier: MIT */
/*
 * One line a chunk. Invariants: `input` is what is left of the last chunk, `partial` the copied beginning of a line that it
 * did not end; the peer's credit of that beginning has been returned, so a line longer than a window cannot wait for itself.
 */
#include "bytes/chunk.h"
#include "stream/combinators/combinator.h"

#define SMALL 1024 /* as the pool has them: cheaper to copy than to slice */

struct lines {
    struct weir__wrap wrap;
    size_t max_line;
    struct weir_chunk *input;
    size_t at;
    struct weir_chunk *partial;
    size_t partial_len;
    bool limited;
    struct weir__held held; /* the line being delivered */
};

static int too_long(struct lines *lines)
{
    lines->limited = true;
    weir_cancel(lines->wrap.inner, WEIR_REASON_LIMIT);
    return WEIR_ELIMIT;
}

/* Whether a line, or the beginning of one, of `len` bytes and these last ones may be. */
static bool fits(const struct lines *lines, size_t len, uint8_t last, uint8_t before)
{
    if (last == '\n') {
        len--;
        last = before;
    }
    return len <= lines->max_line || (len == lines->max_line + 1 && last == '\r');
}

static int append(struct lines *lines, struct weir_view piece)
{
    size_t need = lines->partial_len + piece.len;

    if (lines->partial == NULL || need > weir_chunk_len(lines->partial)) {
        struct weir_chunk *larger;
        size_t capacity = need <= SMALL / 2 ? SMALL : need * 2;
        int r;

        if (capacity > lines->max_line + 2) {
            capacity = lines->max_line + 2;
        }
        r = weir_chunk_create(capacity, &larger);
        if (r < 0) {
            return r;
        }
        if (lines->partial != NULL) {
            memcpy(weir_chunk_data(larger), weir_chunk_view(lines->partial).data,
                   lines->partial_len);
            weir_chunk_unref(lines->partial);
        }
        lines->partial = larger;
    }
    memcpy(weir_chunk_data(lines->partial) + lines->partial_len, piece.data, piece.len);
    lines->partial_len = need;
    return 0;
}

/* A chunk of `len` bytes of the input. */
static int cut(struct lines *lines, size_t len, struct weir_chunk **ret)
{
    struct weir_view whole = weir_chunk_view(lines->input);

    if (len == whole.len) {
        *ret = weir_chunk_ref(lines->input);
        return 0;
    }
    if (len <= SMALL) {
        return weir_chunk_copy(weir_bytes(whole.data + lines->at, len), ret);
    }
    return weir_chunk_slice(lines->input, lines->at, len, ret);
}

static struct weir_chunk *take_partial(struct lines *lines)
{
    struct weir_chunk *line = weir_take(lines->partial);

    weir__chunk_set_len(line, lines->partial_len);
    lines->partial_len = 0;
    return line;
}

/* Goes on in the input. Returns 1 with a line, 0 when more is needed, or an error. */
static int scan(struct lines *lines, struct weir_chunk **ret)
{
    struct weir_view whole = weir_chunk_view(lines->input);
    struct weir_view rest = weir_bytes(whole.data + lines->at, whole.len - lines->at);
    const uint8_t *end = memchr(rest.data, '\n', rest.len);
    size_t len = end != NULL ? (size_t)(end - rest.data) + 1 : rest.len;
    uint8_t before = 0;
    int r = 0;

    if (len > 1) {
        before = rest.data[len - 2];
    } else if (lines->partial_len > 0) {
        before = weir_chunk_view(lines->partial).data[lines->partial_len - 1];
    }
    if (!fits(lines, lines->partial_len + len, rest.data[len - 1], before)) {
        return too_long(lines);
    }
    if (end != NULL && lines->partial == NULL) {
        r = cut(lines, len, ret);
    } else {
        r = append(lines, weir_bytes(rest.data, len));
        if (r == 0 && end != NULL) {
            *ret = take_partial(lines);
        }
    }
    if (r < 0) {
        return r;
    }
    lines->at += len;
    if (lines->at == whole.len) {
        lines->input = weir_chunk_unref(lines->input);
        lines->at = 0;
    }
    return end != NULL;
}

static int lines_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct lines *lines = state;
    unsigned rounds = 0;

    lines->wrap.again = false;
    if (lines->held.chunk != NULL) {
        return weir__held_deliver(&lines->held, max_bytes, ret);
    }
    for (;;) {
        struct weir_chunk *line;
        int r;

        if (lines->input == NULL) {
            r = weir__next(lines->wrap.inner, WEIR_CHUNK_BYTES, deadline, &lines->input);
            if (r == 0 && lines->partial != NULL) {
                /* The last line need not be ended; a CR at its end is then its own. */
                if (lines->partial_len > lines->max_line) {
                    return too_long(lines);
                }
                return weir__held_take(&lines->held, take_partial(lines), max_bytes, ret);
            }
            if (r <= 0) {
                return r;
            }
        }
        r = scan(lines, &line);
        if (r == 1) {
            return weir__held_take(&lines->held, line, max_bytes, ret);
        }
        if (r == 0) {
            r = weir__combinator_turn(&rounds, deadline, &lines->wrap.again);
        }
        if (r < 0) {
            return r;
        }
    }
}

static void drop(struct lines *lines)
{
    weir__held_drop(&lines->held);
    lines->input = weir_chunk_unref(lines->input);
    lines->at = 0;
    lines->partial = weir_chunk_unref(lines->partial);
    lines->partial_len = 0;
}

static void lines_cancel(void *state, enum weir_reason reason)
{
    drop(state);
    weir_cancel(((struct lines *)state)->wrap.inner, reason);
}

static void lines_destroy(void *state)
{
    drop(state);
    weir__wrap_destroy(state);
}

static void lines_explain(void *state, struct weir_error *ret)
{
    struct lines *lines = state;

    if (lines->limited) {
        ret->where = "lines: too long";
    } else {
        weir__explain_inner(lines->wrap.inner, ret);
    }
}

static const struct weir_source_ops lines_ops = {
    .name = "lines",
    .next = lines_next,
    .cancel = lines_cancel,
    .destroy = lines_destroy,
    .explain = lines_explain,
    .arm = weir__wrap_arm,
};

int weir_lines_create_take(struct weir_source *given, size_t max_line_bytes,
                           struct weir_source **ret)
{
    int r;

    if (max_line_bytes == 0) {
        max_line_bytes = WEIR_LINE_MAX;
    }
    if (max_line_bytes > WEIR_LINE_MAX) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&lines_ops, sizeof(struct lines), given, ret);
    if (r == 0) {
        ((struct lines *)(*ret)->state)->max_line = max_line_bytes;
    }
    return r;
}

struct weir_view weir_line_text(struct weir_chunk *line)
{
    struct weir_view text = weir_chunk_view(line);

    if (text.data[text.len - 1] == '\n') {
        text.len--;
        if (text.len > 0 && text.data[text.len - 1] == '\r') {
            text.len--;
        }
    }
    return text;
}
