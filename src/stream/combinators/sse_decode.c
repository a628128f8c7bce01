/* SPDX-License-Identifier: MIT */
/*
 * Event streams (WHATWG HTML 9.2.6). Lines that are whole in the input are parsed where they are; only the beginning of one
 * that goes on is copied, and of a comment nothing. Invariant: line, data and type together are at most max_event bytes.
 */
#include "stream/combinators/sse_decode.h"

#include "base/alloc.h"
#include "bytes/budget.h"

#define KEEP 4096 /* a buffer no larger than that is kept between events */

static void text_free(struct weir__sse_text *text)
{
    weir__budget_release(weir__budget_process(), text->capacity);
    weir_free(text->bytes);
    *text = (struct weir__sse_text){0};
}

/* Adds bytes; together with `others` elsewhere they may be `limit`. */
static int text_add(struct weir__sse_text *text, struct weir_view bytes, size_t others,
                    size_t limit)
{
    size_t need = text->len + bytes.len;

    if (others > limit || need > limit - others) {
        return WEIR_ELIMIT;
    }
    if (need > text->capacity) {
        size_t capacity = need < 64 ? 64 : need * 2;
        uint8_t *larger;
        int r;

        capacity = capacity > limit && limit >= need ? limit : capacity;
        r = weir__budget_charge(weir__budget_process(), capacity - text->capacity);
        if (r < 0) {
            return r;
        }
        larger = weir_realloc(text->bytes, capacity);
        if (larger == NULL) {
            weir__budget_release(weir__budget_process(), capacity - text->capacity);
            return WEIR_ENOMEM;
        }
        text->bytes = larger;
        text->capacity = capacity;
    }
    if (bytes.len > 0) {
        memcpy(text->bytes + text->len, bytes.data, bytes.len);
    }
    text->len = need;
    return 0;
}

static void text_clear(struct weir__sse_text *text)
{
    text->len = 0;
    if (text->capacity > KEEP) {
        text_free(text);
    }
}

static int text_set(struct weir__sse_text *text, struct weir_view bytes, size_t others,
                    size_t limit)
{
    text_clear(text);
    return text_add(text, bytes, others, limit);
}

static struct weir_view text_view(const struct weir__sse_text *text)
{
    static const uint8_t none;

    return weir_bytes(text->bytes != NULL ? text->bytes : &none, text->len);
}

void weir__sse_decoder_init(struct weir__sse_decoder *decoder, size_t max_event, size_t max_id)
{
    *decoder = (struct weir__sse_decoder){.max_event = max_event, .max_id = max_id, .retry_ms = -1};
}

void weir__sse_decoder_finish(struct weir__sse_decoder *decoder)
{
    text_free(&decoder->line);
    text_free(&decoder->data);
    text_free(&decoder->type);
    text_free(&decoder->id);
    text_free(&decoder->last_id);
}

static void set_retry(struct weir__sse_decoder *decoder, struct weir_view value)
{
    uint64_t ms;

    /* Digits only; what does not fit is ignored like what is no number. */
    if (weir_view_to_u64(value, &ms) == 0 && ms <= INT64_MAX) {
        decoder->retry_ms = (int64_t)ms;
    }
}

static int field(struct weir__sse_decoder *decoder, struct weir_view name, struct weir_view value)
{
    int r = 0;

    if (weir_view_equal(name, weir_str("data"))) {
        r = text_add(&decoder->data, value, decoder->type.len, decoder->max_event);
        if (r == 0) {
            r = text_add(&decoder->data, weir_str("\n"), decoder->type.len, decoder->max_event);
        }
    } else if (weir_view_equal(name, weir_str("event"))) {
        r = text_set(&decoder->type, value, decoder->data.len, decoder->max_event);
    } else if (weir_view_equal(name, weir_str("id"))) {
        if (memchr(value.data, 0, value.len) == NULL) {
            r = text_set(&decoder->id, value, 0, decoder->max_id);
        }
    } else if (weir_view_equal(name, weir_str("retry"))) {
        set_retry(decoder, value);
    }
    return r;
}

/* A blank line. Returns 1 with an event, or 0: there was no data. */
static int dispatch(struct weir__sse_decoder *decoder, struct weir_sse_event *ret)
{
    int r = text_set(&decoder->last_id, text_view(&decoder->id), 0, decoder->max_id);

    if (r < 0) {
        return r;
    }
    if (decoder->data.len == 0) {
        text_clear(&decoder->type);
        return 0;
    }
    decoder->dispatched = true;
    *ret = (struct weir_sse_event){
        .type = decoder->type.len > 0 ? text_view(&decoder->type) : weir_str("message"),
        .id = text_view(&decoder->last_id),
        .data = text_view(&decoder->data),
        .retry_ms = decoder->retry_ms,
    };
    ret->data.len--; /* the last line's LF */
    return 1;
}

static int line_over(struct weir__sse_decoder *decoder, struct weir_view line,
                     struct weir_sse_event *ret)
{
    static const char mark[] = "\xef\xbb\xbf";
    const uint8_t *colon;
    struct weir_view name, value = {line.data, 0};

    if (line.len > 0 && line.data[0] != ':' &&
        line.len > decoder->max_event - decoder->data.len - decoder->type.len) {
        return WEIR_ELIMIT; /* whether it came in one piece or not */
    }
    if (!decoder->has_begun) {
        decoder->has_begun = true;
        if (weir_view_starts_with(line, weir_str(mark))) {
            line = weir_bytes(line.data + 3, line.len - 3);
        }
    }
    if (line.len == 0) {
        return dispatch(decoder, ret);
    }
    colon = memchr(line.data, ':', line.len);
    name = colon != NULL ? weir_bytes(line.data, (size_t)(colon - line.data)) : line;
    if (colon != NULL) {
        value = weir_bytes(colon + 1, line.len - name.len - 1);
        if (value.len > 0 && value.data[0] == ' ') {
            value = weir_bytes(value.data + 1, value.len - 1);
        }
    }
    return name.len > 0 ? field(decoder, name, value) : 0; /* a comment has no name */
}

/* The rest of the input does not end the line. */
static int keep(struct weir__sse_decoder *decoder, struct weir_view rest)
{
    if (rest.len > 0 && decoder->line.len == 0 && rest.data[0] == ':') {
        decoder->in_comment = true;
    }
    return decoder->in_comment
               ? 0
               : text_add(&decoder->line, rest, decoder->data.len + decoder->type.len,
                          decoder->max_event);
}

int weir__sse_decode(struct weir__sse_decoder *decoder, struct weir_view input, size_t *ret_used,
                     struct weir_sse_event *ret)
{
    size_t at = 0;
    int r = 0;

    if (decoder->dispatched) {
        decoder->dispatched = false;
        text_clear(&decoder->data);
        text_clear(&decoder->type);
    }
    while (r == 0 && at < input.len) {
        size_t begin = at;
        struct weir_view piece;

        if (decoder->skips_lf) {
            decoder->skips_lf = false;
            if (input.data[at] == '\n') {
                at++;
                continue;
            }
        }
        while (at < input.len && input.data[at] != '\n' && input.data[at] != '\r') {
            at++;
        }
        piece = weir_bytes(input.data + begin, at - begin);
        if (at == input.len) {
            r = keep(decoder, piece);
            break;
        }
        decoder->skips_lf = input.data[at] == '\r';
        at++;
        if (decoder->in_comment) {
            decoder->in_comment = false;
            decoder->has_begun = true;
        } else if (decoder->line.len == 0) {
            r = line_over(decoder, piece, ret);
        } else {
            r = keep(decoder, piece);
            if (r == 0) {
                r = line_over(decoder, text_view(&decoder->line), ret);
            }
        }
        text_clear(&decoder->line);
    }
    *ret_used = at;
    return r;
}
