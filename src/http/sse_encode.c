/* SPDX-License-Identifier: MIT */
/*
 * Encodes server-sent events. Invariant: what a WHATWG decoder reads back is what was given, with each CR, LF and CRLF
 * of the data turned into one LF, a trailing one included; and no byte of a value can begin a line of its own. Does not
 * look at the encoding of the text: a decoder replaces what is no UTF-8.
 */
#include "http/sse_encode.h"

#include <stdio.h>

/* "retry: " and the most digits that an int64_t has. */
#define NUMBER_BYTES ((size_t)24)

struct writer {
    uint8_t *out;
    size_t cap, len;
    bool over;
};

static void put(struct writer *writer, const void *bytes, size_t len)
{
    if (writer->over || len > writer->cap - writer->len) {
        writer->over = true;
    } else if (len > 0) {
        memcpy(writer->out + writer->len, bytes, len);
        writer->len += len;
    }
}

/* Whether a value stays on its line. */
static bool is_one_line(struct weir_view text)
{
    return text.len == 0 ||
           (memchr(text.data, '\n', text.len) == NULL && memchr(text.data, '\r', text.len) == NULL);
}

/* Takes one line off the front of a view that is not absent. Returns whether a line end followed it: then there is another line, perhaps empty. */
static bool next_line(struct weir_view *rest, struct weir_view *ret)
{
    size_t i = 0;

    while (i < rest->len && rest->data[i] != '\n' && rest->data[i] != '\r') {
        i++;
    }
    *ret = weir_bytes(rest->data, i);
    if (i == rest->len) {
        *rest = weir_bytes(rest->data + i, 0);
        return false;
    }
    i += rest->data[i] == '\r' && i + 1 < rest->len && rest->data[i + 1] == '\n' ? 2 : 1;
    *rest = weir_bytes(rest->data + i, rest->len - i);
    return true;
}

static bool add(size_t *total, size_t more)
{
    return !__builtin_add_overflow(*total, more, total);
}

/* The size of "name: value\n"; the name comes with its colon and space. */
static bool add_line(size_t *total, size_t name_len, size_t value_len)
{
    return add(total, name_len + 1) && add(total, value_len);
}

static size_t number_text(int64_t number, char text[NUMBER_BYTES])
{
    int len = snprintf(text, NUMBER_BYTES, "%lld", (long long)number);

    return len > 0 ? (size_t)len : 0;
}

int weir__sse_size(const struct weir_event *event, size_t *ret)
{
    struct weir_view name = weir_str(event->event), id = weir_str(event->id);
    struct weir_view rest = event->data, line;
    char number[NUMBER_BYTES];
    size_t total = 1;
    bool fits = true, more = true;

    if (event->retry_ms < 0 || !is_one_line(name) || !is_one_line(id)) {
        return WEIR_EINVAL;
    }
    if (!weir_view_is_absent(name)) {
        fits = add_line(&total, sizeof("event: ") - 1, name.len);
    }
    if (!weir_view_is_absent(id)) {
        fits = fits && add_line(&total, sizeof("id: ") - 1, id.len);
    }
    if (event->retry_ms > 0) {
        fits =
            fits && add_line(&total, sizeof("retry: ") - 1, number_text(event->retry_ms, number));
    }
    while (fits && more && !weir_view_is_absent(rest)) {
        more = next_line(&rest, &line);
        fits = add_line(&total, sizeof("data: ") - 1, line.len);
    }
    if (!fits) {
        return WEIR_ELIMIT;
    }
    *ret = total;
    return 0;
}

static void put_line(struct writer *writer, const char *name, struct weir_view value)
{
    put(writer, name, strlen(name));
    put(writer, value.data, value.len);
    put(writer, "\n", 1);
}

int weir__sse_encode(const struct weir_event *event, uint8_t *out, size_t cap, size_t *ret_len)
{
    struct writer writer = {.out = out, .cap = cap};
    struct weir_view rest = event->data, line;
    char number[NUMBER_BYTES];
    bool more = !weir_view_is_absent(rest);

    if (event->event != NULL) {
        put_line(&writer, "event: ", weir_str(event->event));
    }
    if (event->id != NULL) {
        put_line(&writer, "id: ", weir_str(event->id));
    }
    if (event->retry_ms > 0) {
        put_line(&writer, "retry: ", weir_bytes(number, number_text(event->retry_ms, number)));
    }
    while (more && !writer.over) {
        more = next_line(&rest, &line);
        put_line(&writer, "data: ", line);
    }
    put(&writer, "\n", 1);
    if (writer.over) {
        return WEIR_ELIMIT;
    }
    *ret_len = writer.len;
    return 0;
}

int weir__sse_comment_size(struct weir_view text, size_t *ret)
{
    struct weir_view rest = weir_view_is_absent(text) ? weir_str("") : text, line;
    size_t total = 1;
    bool fits = true, more = true;

    while (fits && more) {
        more = next_line(&rest, &line);
        fits = add_line(&total, sizeof(": ") - 1, line.len);
    }
    if (!fits) {
        return WEIR_ELIMIT;
    }
    *ret = total;
    return 0;
}

int weir__sse_comment_encode(struct weir_view text, uint8_t *out, size_t cap, size_t *ret_len)
{
    struct weir_view rest = weir_view_is_absent(text) ? weir_str("") : text, line;
    struct writer writer = {.out = out, .cap = cap};
    bool more = true;

    while (more && !writer.over) {
        more = next_line(&rest, &line);
        put_line(&writer, ": ", line);
    }
    put(&writer, "\n", 1);
    if (writer.over) {
        return WEIR_ELIMIT;
    }
    *ret_len = writer.len;
    return 0;
}
