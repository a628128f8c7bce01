/* SPDX-License-Identifier: MIT */
/*
 * The text of server-sent events, read back by a decoder written after WHATWG HTML 9.2.6. The decoder takes its input a
 * byte at a time, so each split of the stream is the same to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "http/sse_encode.h"

#define TEXT_BYTES ((size_t)1 << 16)

/* What a reader has seen. */
struct reader {
    char line[TEXT_BYTES], data[TEXT_BYTES], type[256], last_id[256];
    size_t line_len, data_len;
    bool after_cr;
    /* the latest event */
    int events;
    char event_data[TEXT_BYTES], event_type[256];
    size_t event_len;
    long long retry_ms;
};

static void field(struct reader *reader, const char *name, const char *value, size_t len)
{
    if (strcmp(name, "event") == 0) {
        memcpy(reader->type, value, len);
        reader->type[len] = '\0';
    } else if (strcmp(name, "data") == 0) {
        memcpy(reader->data + reader->data_len, value, len);
        reader->data_len += len;
        reader->data[reader->data_len++] = '\n';
    } else if (strcmp(name, "id") == 0) {
        memcpy(reader->last_id, value, len);
        reader->last_id[len] = '\0';
    } else if (strcmp(name, "retry") == 0) {
        reader->retry_ms = atoll(value);
    } else {
        fail_msg("unknown field '%s'", name);
    }
}

static void dispatch(struct reader *reader)
{
    if (reader->data_len > 0) {
        reader->event_len = reader->data_len - 1;
        memcpy(reader->event_data, reader->data, reader->event_len);
        memcpy(reader->event_type, reader->type, sizeof(reader->type));
        reader->events++;
    }
    reader->data_len = 0;
    reader->type[0] = '\0';
}

static void end_of_line(struct reader *reader)
{
    char *colon = memchr(reader->line, ':', reader->line_len);
    char *value;

    reader->line[reader->line_len] = '\0';
    if (reader->line_len == 0) {
        dispatch(reader);
    } else if (colon != reader->line) {
        assert_non_null(colon);
        *colon = '\0';
        value = colon + 1 + (colon[1] == ' ');
        field(reader, reader->line, value, (size_t)(reader->line + reader->line_len - value));
    }
    reader->line_len = 0;
}

static void decode(struct reader *reader, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' && reader->after_cr) {
            reader->after_cr = false;
        } else if (bytes[i] == '\n' || bytes[i] == '\r') {
            reader->after_cr = bytes[i] == '\r';
            end_of_line(reader);
        } else {
            reader->after_cr = false;
            reader->line[reader->line_len++] = (char)bytes[i];
        }
    }
}

/* Encodes with the size that was computed, and with every smaller room. */
static uint8_t *encoded(const struct weir_event *event, size_t *ret_len)
{
    size_t size = 0, len = 0;
    uint8_t *out;

    assert_int_equal(weir__sse_size(event, &size), 0);
    out = malloc(size);
    assert_non_null(out);
    for (size_t cap = size > 300 ? size - 1 : 0; cap < size; cap++) {
        assert_int_equal(weir__sse_encode(event, out, cap, &len), WEIR_ELIMIT);
    }
    assert_int_equal(weir__sse_encode(event, out, size, &len), 0);
    assert_int_equal(len, size);
    *ret_len = len;
    return out;
}

static void expect_text(const struct weir_event *event, const char *text)
{
    size_t len = 0;
    uint8_t *out = encoded(event, &len);

    assert_int_equal(len, strlen(text));
    assert_memory_equal(out, text, len);
    free(out);
}

static void fields_have_their_lines(void **state)
{
    (void)state;
    expect_text(&(struct weir_event){.data = weir_str("a")}, "data: a\n\n");
    expect_text(
        &(struct weir_event){.event = "tick", .id = "7", .data = weir_str("x"), .retry_ms = 2500},
        "event: tick\nid: 7\nretry: 2500\ndata: x\n\n");
    expect_text(&(struct weir_event){.retry_ms = INT64_MAX}, "retry: 9223372036854775807\n\n");
    /* An empty id is one of its own: it makes the reader forget the last one. */
    expect_text(&(struct weir_event){.id = "", .data = weir_str("x")}, "id: \ndata: x\n\n");
    expect_text(&(struct weir_event){.id = "9"}, "id: 9\n\n");
    expect_text(&(struct weir_event){0}, "\n");
}

static void data_is_split_at_each_line_end(void **state)
{
    static const char *const cases[][2] = {
        {"", "data: \n\n"},
        {"a\nb", "data: a\ndata: b\n\n"},
        {"a\rb", "data: a\ndata: b\n\n"},
        {"a\r\nb", "data: a\ndata: b\n\n"},
        {"a\n\rb", "data: a\ndata: \ndata: b\n\n"},
        {"a\n", "data: a\ndata: \n\n"},
        {"a\r\n", "data: a\ndata: \n\n"},
        {"a\r", "data: a\ndata: \n\n"},
        {"\n", "data: \ndata: \n\n"},
        {"\r\n\r\n", "data: \ndata: \ndata: \n\n"},
        {" a", "data:  a\n\n"},
        {"a\n\nid: 1\nevent: x", "data: a\ndata: \ndata: id: 1\ndata: event: x\n\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_text(&(struct weir_event){.data = weir_str(cases[i][0])}, cases[i][1]);
    }
}

static void a_value_cannot_begin_a_line(void **state)
{
    static const char *const bad[] = {"a\nb", "a\rb", "\n", "a\r\n"};
    size_t size = 77;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(weir__sse_size(&(struct weir_event){.event = bad[i]}, &size), WEIR_EINVAL);
        assert_int_equal(weir__sse_size(&(struct weir_event){.id = bad[i]}, &size), WEIR_EINVAL);
    }
    assert_int_equal(weir__sse_size(&(struct weir_event){.retry_ms = -1}, &size), WEIR_EINVAL);
}

static void comments_are_ignored(void **state)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    uint8_t out[64];
    size_t size = 0, len = 0;

    (void)state;
    assert_non_null(reader);
    assert_int_equal(weir__sse_comment_size(weir_str("data: still here"), &size), 0);
    assert_int_equal(weir__sse_comment_encode(weir_str("data: still here"), out, size - 1, &len),
                     WEIR_ELIMIT);
    assert_int_equal(weir__sse_comment_encode(weir_str("data: still here"), out, size, &len), 0);
    assert_int_equal(len, size);
    decode(reader, out, len);
    assert_int_equal(reader->events, 0);
    assert_int_equal(weir__sse_comment_size((struct weir_view){0}, &size), 0);
    assert_int_equal(weir__sse_comment_encode((struct weir_view){0}, out, size, &len), 0);
    assert_memory_equal(out, ": \n\n", 4);
    free(reader);
}

/* Every line of a comment is one: none of it can become a field, whatever ends the lines. */
static void v12_comments_of_many_lines_are_comments(void **state)
{
    static const char *const cases[][2] = {
        {"data: a\ndata: b", ": data: a\n: data: b\n\n"},
        {"a\r\n\rid: 7\n", ": a\n: \n: id: 7\n: \n\n"},
        {"\n", ": \n: \n\n"},
    };
    struct reader *reader = calloc(1, sizeof(*reader));

    (void)state;
    assert_non_null(reader);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t out[64];
        size_t size = 0, len = 0;

        assert_int_equal(weir__sse_comment_size(weir_str(cases[i][0]), &size), 0);
        assert_int_equal(weir__sse_comment_encode(weir_str(cases[i][0]), out, size - 1, &len),
                         WEIR_ELIMIT);
        assert_int_equal(weir__sse_comment_encode(weir_str(cases[i][0]), out, size, &len), 0);
        assert_int_equal(len, strlen(cases[i][1]));
        assert_memory_equal(out, cases[i][1], len);
        decode(reader, out, len);
    }
    assert_int_equal(reader->events, 0);
    assert_string_equal(reader->last_id, "");
    free(reader);
}

/* The data as a reader gives it back: each line end is one LF. */
static size_t normalised(const char *data, size_t len, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\r') {
            out[n++] = '\n';
            i += i + 1 < len && data[i + 1] == '\n';
        } else {
            out[n++] = data[i];
        }
    }
    return n;
}

static void readers_get_back_what_was_given(void **state)
{
    static const char alphabet[] = "\r\n\r\n :adet";
    struct reader *reader = calloc(1, sizeof(*reader));
    char data[64], want[64];
    uint32_t seed = 12345;

    (void)state;
    assert_non_null(reader);
    for (int round = 0; round < 20000; round++) {
        char id[8];
        size_t len, n, want_len;
        struct weir_event event = {.event = round % 3 == 0 ? "kind" : NULL, .id = id};
        uint8_t *out;

        seed = seed * 1664525u + 1013904223u;
        len = seed >> 26;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525u + 1013904223u;
            data[i] = round % 7 == 0 ? (char)(seed >> 24)
                                     : alphabet[(seed >> 24) % (sizeof(alphabet) - 1)];
        }
        snprintf(id, sizeof(id), "%d", round);
        event.data = weir_bytes(data, len);
        out = encoded(&event, &n);
        decode(reader, out, n);
        free(out);
        want_len = normalised(data, len, want);
        assert_int_equal(reader->events, round + 1);
        assert_int_equal(reader->event_len, want_len);
        assert_memory_equal(reader->event_data, want, want_len);
        assert_string_equal(reader->last_id, id);
        assert_string_equal(reader->event_type, round % 3 == 0 ? "kind" : "");
    }
    free(reader);
}

static void large_data_has_its_exact_size(void **state)
{
    size_t len = (size_t)8 << 20, size = 0, n = 0;
    char *data = malloc(len);
    uint8_t *out;

    (void)state;
    assert_non_null(data);
    memset(data, 'x', len);
    for (size_t i = 99; i < len; i += 100) {
        data[i] = '\n';
    }
    assert_int_equal(weir__sse_size(&(struct weir_event){.data = weir_bytes(data, len)}, &size), 0);
    /* Each line end stays one byte; "data: " comes before each line. */
    assert_int_equal(size, len + (len / 100 + 1) * 6 + 2);
    out = encoded(&(struct weir_event){.data = weir_bytes(data, len)}, &n);
    assert_memory_equal(out + n - 2, "\n\n", 2);
    free(out);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_have_their_lines),
        cmocka_unit_test(data_is_split_at_each_line_end),
        cmocka_unit_test(a_value_cannot_begin_a_line),
        cmocka_unit_test(comments_are_ignored),
        cmocka_unit_test(v12_comments_of_many_lines_are_comments),
        cmocka_unit_test(readers_get_back_what_was_given),
        cmocka_unit_test(large_data_has_its_exact_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
