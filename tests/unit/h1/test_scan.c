/* SPDX-License-Identifier: MIT */
/* The end of a head, in pieces, and what is refused before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pieces.h"

#include <weir/err.h>

static const struct weir__h1_limits limits = {.target_bytes = 20, .head_bytes = 120, .fields = 3};

struct scan_case {
    const char *text;
    int outcome;
    size_t len; /* 0: all of it */
    int status;
};

static void check(const struct scan_case *c, bool is_request)
{
    struct weir_view all = weir_str(c->text);
    size_t expected = c->len > 0 ? c->len : all.len;

    for (uint32_t seed = 0; seed < 50; seed++) {
        size_t len = 0;
        int status = 0;
        size_t step = seed == 0 ? all.len : seed == 1 ? 1 : 0;
        int r = pieces_scan(&limits, is_request, all, step, seed, &len, &status);

        if (r != c->outcome || (r == 1 && len != expected) || (r < 0 && status != c->status)) {
            fail_msg("%s: %d, length %zu, status %d (seed %u)", c->text, r, len, status, seed);
        }
    }
}

static void requests_end_at_the_blank_line(void **state)
{
    static const struct scan_case cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, 0, 0},
        {"GET / HTTP/1.1\r\n\r\n", 1, 0, 0},
        {"\r\nGET / HTTP/1.1\r\n\r\n", 1, 0, 0},
        {"GET / HTTP/1.1\r\n\r\nbody\r\n\r\n", 1, 18, 0},
        {"GET / HTTP/1.1\r\n", 0, 0, 0},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r", 0, 0, 0},
        {"\r", 0, 0, 0},
        {"\r\n", 0, 0, 0},
        {"\r\n\r\nGET / HTTP/1.1\r\n\r\n", WEIR_EPROTO, 0, 400},
        {"\nGET / HTTP/1.1\r\n\r\n", WEIR_EPROTO, 0, 400},
        {"GET / HTTP/1.1\n", WEIR_EPROTO, 0, 400},
        {"GET / HTTP/1.1\r\nA: b\n", WEIR_EPROTO, 0, 400},
        {"GET / HTTP/1.1\r\n\n", WEIR_EPROTO, 0, 400},
        {"\x16\x03\x01", WEIR_EPROTO, 0, 400},
        {" GET", WEIR_EPROTO, 0, 400},
        {"GET /1234567890123456789 HTTP/1.1\r\n\r\n", 1, 0, 0},
        {"GET /12345678901234567890 HTTP/1.1\r\n\r\n", WEIR_ELIMIT, 0, 414},
        {"GET /123456789012345678901234567890", WEIR_ELIMIT, 0, 414},
        {"A2345678901234567890123456789012", 0, 0, 0},
        {"A23456789012345678901234567890123", WEIR_EUNSUPPORTED, 0, 501},
        {"A2345678901234567890(123456789012", WEIR_EPROTO, 0, 400},
        {"GET / HTTP/1.1\r\na:1\r\nb:1\r\nc:1\r\n\r\n", 1, 0, 0},
        {"GET / HTTP/1.1\r\na:1\r\nb:1\r\nc:1\r\nd:1\r\n", WEIR_ELIMIT, 0, 431},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(&cases[i], true);
    }
}

static void responses_begin_with_a_version(void **state)
{
    static const struct scan_case cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", 1, 0, 0},
        {"HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1", 1, 25, 0},
        {"HTT", 0, 0, 0},
        {"HTTX", WEIR_EPROTO, 0, 502},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", WEIR_EPROTO, 0, 502},
        {"<html>", WEIR_EPROTO, 0, 502},
        {"http/1.1 200 OK", WEIR_EPROTO, 0, 502},
        {"HTTP/1.1 200 OK\n", WEIR_EPROTO, 0, 502},
        {"HTTP/1.1 200 1234567890123456789012345678901234567890\r\n\r\n", 1, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(&cases[i], false);
    }
}

/* A head of exactly the limit passes, one byte more does not, and no end is waited for. */
static void the_bound_is_inclusive(void **state)
{
    char text[200];

    (void)state;
    for (size_t len = 100; len <= 140; len++) {
        int expected = len <= limits.head_bytes ? 1 : WEIR_ELIMIT;
        struct scan_case whole = {text, expected, 0, 431};
        struct scan_case cut = {text, len - 4 < limits.head_bytes ? 0 : WEIR_ELIMIT, 0, 431};

        memset(text, 'x', sizeof(text));
        memcpy(text, "GET / HTTP/1.1\r\na: ", 19);
        memcpy(text + len - 4, "\r\n\r\n", 5);
        check(&whole, true);
        text[len - 4] = '\0';
        check(&cut, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_end_at_the_blank_line),
        cmocka_unit_test(responses_begin_with_a_version),
        cmocka_unit_test(the_bound_is_inclusive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
