/* SPDX-License-Identifier: MIT */
/* Heads written, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1/compose.h"
#include "h1/parse.h"

#include <weir/err.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint8_t bytes[256];

static struct weir__h1_out out_of(size_t cap)
{
    return (struct weir__h1_out){.data = bytes, .cap = cap};
}

static void heads_are_written(void **state)
{
    static const char expected[] =
        "HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 0\r\nE: \r\n\r\n";
    struct weir_field fields[] = {{weir_str("A"), weir_str("b")}};
    size_t cap;

    (void)state;
    for (cap = 0; cap <= sizeof(expected) - 1; cap++) {
        struct weir__h1_out out = out_of(cap);
        int r = weir__h1_compose_status(&out, 404, weir_bytes(NULL, 0));

        r = r < 0 ? r : weir__h1_compose_fields(&out, fields, 1);
        r = r < 0 ? r : weir__h1_compose_field_u64(&out, weir_str("Content-Length"), 0);
        r = r < 0 ? r : weir__h1_compose_field(&out, weir_str("E"), weir_bytes(NULL, 0));
        r = r < 0 ? r : weir__h1_compose_end(&out);
        assert_int_equal(r, cap == sizeof(expected) - 1 ? 0 : WEIR_ELIMIT);
        assert_true(out.len <= cap);
        assert_memory_equal(bytes, expected, out.len);
    }
}

static void request_lines_are_written(void **state)
{
    struct weir__h1_out out = out_of(sizeof(bytes));

    (void)state;
    assert_int_equal(weir__h1_compose_request(&out, weir_str("GET"), weir_str("/a?b")), 0);
    assert_memory_equal(bytes, "GET /a?b HTTP/1.1\r\n", out.len);
    out.len = 0;
    assert_int_equal(weir__h1_compose_request(&out, weir_str("GET"), weir_str("/a b")),
                     WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_request(&out, weir_str("GET"), weir_str("/\r\nX: y")),
                     WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_request(&out, weir_str("GET "), weir_str("/")), WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_request(&out, weir_str(""), weir_str("/")), WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_request(&out, weir_str("GET"), weir_str("")), WEIR_EINVAL);
    assert_int_equal(out.len, 0);
}

static void controls_are_refused(void **state)
{
    struct weir__h1_out out = out_of(sizeof(bytes));

    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        uint8_t text[3] = {'a', (uint8_t)byte, 'b'};
        bool is_text = byte == '\t' || (byte >= ' ' && byte != 127);
        bool is_token = byte < 128 && byte > 0 &&
                        strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                               byte) != NULL;

        out.len = 0;
        assert_int_equal(weir__h1_compose_field(&out, weir_str("n"), weir_bytes(text, 3)),
                         is_text ? 0 : WEIR_EINVAL);
        assert_int_equal(weir__h1_compose_status(&out, 200, weir_bytes(text, 3)),
                         is_text ? 0 : WEIR_EINVAL);
        assert_int_equal(weir__h1_compose_field(&out, weir_bytes(text, 3), weir_str("v")),
                         is_token ? 0 : WEIR_EINVAL);
    }
    out.len = 0;
    assert_int_equal(weir__h1_compose_field(&out, weir_str(""), weir_str("v")), WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_status(&out, 99, weir_str("")), WEIR_EINVAL);
    assert_int_equal(weir__h1_compose_status(&out, 600, weir_str("")), WEIR_EINVAL);
    assert_int_equal(out.len, 0);
}

static void numbers_match_printf(void **state)
{
    (void)state;
    for (int shift = 0; shift < 64; shift++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t value = ((uint64_t)1 << shift) + (uint64_t)delta;
            char expected[40];
            uint8_t got[20];
            size_t len = (size_t)snprintf(expected, sizeof(expected), "%" PRIu64, value);

            assert_int_equal(weir__h1_compose_u64(got, value), len);
            assert_memory_equal(got, expected, len);
            len = (size_t)snprintf(expected, sizeof(expected), "%" PRIx64 "\r\n", value);
            assert_int_equal(weir__h1_compose_chunk_head(got, value), len);
            assert_memory_equal(got, expected, len);
        }
    }
}

static void every_status_reads_back(void **state)
{
    static const struct weir__h1_limits limits = {0, 1000, 10};

    (void)state;
    for (int status = 100; status < 600; status++) {
        struct weir__h1_out out = out_of(sizeof(bytes));
        struct weir__h1_head head = {0};

        assert_int_equal(weir__h1_compose_status(&out, status, weir_bytes(NULL, 0)), 0);
        assert_int_equal(weir__h1_compose_end(&out), 0);
        assert_int_equal(
            weir__h1_parse_response(weir_bytes(out.data, out.len), &limits, weir_str("GET"), &head),
            0);
        assert_int_equal(head.status, status);
        assert_true(weir_view_equal(head.reason, weir_str(weir__h1_reason(status))));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_written),       cmocka_unit_test(request_lines_are_written),
        cmocka_unit_test(controls_are_refused),    cmocka_unit_test(numbers_match_printf),
        cmocka_unit_test(every_status_reads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
