/* SPDX-License-Identifier: MIT */
/* Response heads and trailer sections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1/parse.h"
#include "pieces.h"

#include <weir/err.h>

#include <stdio.h>

static const struct weir__h1_limits limits = {0, 65536, 200};
static struct weir_field fields[200];
static struct weir__h1_head head;

static int parse_for(const char *method, const char *text)
{
    struct weir_view all = weir_str(text);
    int first = 1;

    for (uint32_t seed = 0; seed < 6; seed++) {
        size_t step = seed == 0 ? all.len : seed == 1 ? 1 : 0;
        size_t len = 0;
        int status = 0;
        int r;

        if (seed == 1 && all.len > 2000) {
            continue;
        }
        r = pieces_scan(&limits, false, all, step, seed, &len, &status);
        if (r == 1) {
            head = (struct weir__h1_head){.fields = fields, .field_cap = 200};
            r = weir__h1_parse_response(weir_bytes(all.data, len), &limits, weir_str(method),
                                        &head);
        } else {
            assert_true(r < 0 && status == 502);
        }
        assert_true(first == 1 || first == r);
        first = r;
    }
    return first;
}

#define EXPECT_FOR(method, text, code)                            \
    do {                                                          \
        int got = parse_for(method, text);                        \
        if (got != (code)) {                                      \
            fail_msg("%d, not %d, for: %s", got, (code), (text)); \
        }                                                         \
    } while (0)
#define EXPECT(text, code) EXPECT_FOR("GET", text, code)
#define LINE(line, code) EXPECT(line "\r\nContent-Length: 0\r\n\r\n", code)
#define FIELDS(lines, code) EXPECT("HTTP/1.1 200 OK\r\n" lines "\r\n", code)

static bool is(struct weir_view view, const char *text)
{
    return weir_view_equal(view, weir_str(text));
}

static void status_lines(void **state)
{
    char text[80];

    (void)state;
    for (int status = 0; status < 1000; status++) {
        snprintf(text, sizeof(text), "HTTP/1.1 %03d OK\r\nContent-Length: 0\r\n\r\n", status);
        EXPECT(text, status >= 100 && status < 600 ? 0 : WEIR_EPROTO);
    }
    LINE("HTTP/1.1 200 Very \t good \x80", 0);
    assert_true(is(head.reason, "Very \t good \x80") && head.status == 200 && head.minor == 1);
    LINE("HTTP/1.1 200 ", 0);
    assert_int_equal(head.reason.len, 0);
    LINE("HTTP/1.1 200", 0);
    assert_int_equal(head.reason.len, 0);
    LINE("HTTP/1.0 200 OK", 0);
    assert_int_equal(head.minor, 0);
    LINE("HTTP/1.1 99 OK", WEIR_EPROTO);
    LINE("HTTP/1.1 1000 OK", WEIR_EPROTO);
    LINE("HTTP/1.1 2000", WEIR_EPROTO);
    LINE("HTTP/1.1 20", WEIR_EPROTO);
    LINE("HTTP/1.1 20x OK", WEIR_EPROTO);
    LINE("HTTP/1.1 +20 OK", WEIR_EPROTO);
    LINE("HTTP/1.1 -20 OK", WEIR_EPROTO);
    LINE("HTTP/1.1  200 OK", WEIR_EPROTO);
    LINE("HTTP/1.1\t200 OK", WEIR_EPROTO);
    LINE("HTTP/1.1 200\tOK", WEIR_EPROTO);
    LINE("HTTP/1.1 200OK", WEIR_EPROTO);
    LINE("HTTP/1.1", WEIR_EPROTO);
    LINE("HTTP/1.1 ", WEIR_EPROTO);
    LINE("HTTP/1.2 200 OK", WEIR_EPROTO);
    LINE("HTTP/2.0 200 OK", WEIR_EPROTO);
    LINE("HTTP/2 200 OK", WEIR_EPROTO);
    LINE("HTTP/0.9 200 OK", WEIR_EPROTO);
    LINE("HTTP/1.10 200 OK", WEIR_EPROTO);
    LINE("HTTP/1.1 200 O\x01K", WEIR_EPROTO);
    LINE("HTTP/1.1 200 O\rK", WEIR_EPROTO);
    LINE("HTTP/1.1 200 O\nK", WEIR_EPROTO);
    LINE("http/1.1 200 OK", WEIR_EPROTO);
    LINE(" HTTP/1.1 200 OK", WEIR_EPROTO);
    LINE("ICY 200 OK", WEIR_EPROTO);
    LINE("RTSP/1.0 200 OK", WEIR_EPROTO);
    LINE("GET / HTTP/1.1", WEIR_EPROTO);
    EXPECT("<html>hello</html>\r\n\r\n", WEIR_EPROTO);
    EXPECT("\r\nHTTP/1.1 200 OK\r\n\r\n", WEIR_EPROTO);
}

static void framing(void **state)
{
    (void)state;
    FIELDS("", 0);
    assert_true(head.framing == WEIR__H1_UNTIL_CLOSE && !head.keep_alive);
    FIELDS("Content-Length: 7\r\n", 0);
    assert_true(head.framing == WEIR__H1_LENGTH && head.length == 7 && head.keep_alive);
    FIELDS("Content-Length:\t7\r\n", 0);
    assert_int_equal(head.length, 7);
    FIELDS("Transfer-Encoding: chunked\r\n", 0);
    assert_true(head.framing == WEIR__H1_CHUNKED && head.keep_alive);
    FIELDS("Transfer-Encoding: chunked\r\nConnection: close\r\n", 0);
    assert_true(head.framing == WEIR__H1_CHUNKED && !head.keep_alive);
    EXPECT("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 0);
    assert_false(head.keep_alive);
    EXPECT("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", 0);
    assert_true(head.keep_alive);
    EXPECT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", WEIR_EPROTO);
    FIELDS("Content-Length: 7\r\nContent-Length: 7\r\n", WEIR_EPROTO);
    FIELDS("Content-Length: 7, 7\r\n", WEIR_EPROTO);
    FIELDS("Content-Length: \r\n", WEIR_EPROTO);
    FIELDS("Content-Length: -1\r\n", WEIR_EPROTO);
    FIELDS("Content-Length: 99999999999999999999\r\n", WEIR_EPROTO);
    FIELDS("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: chunked, gzip\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: gzip\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: gzip, chunked\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: chunked, chunked\r\n", WEIR_EPROTO);
    FIELDS("Transfer-Encoding: \r\n", WEIR_EPROTO);
    FIELDS("A: b\r\n c\r\n", WEIR_EPROTO);
    FIELDS("A : b\r\n", WEIR_EPROTO);
    FIELDS("A\r\n", WEIR_EPROTO);
    FIELDS("A: b\rc\r\n", WEIR_EPROTO);
    FIELDS("A: b\x7f\r\n", WEIR_EPROTO);
}

static void messages_without_a_body(void **state)
{
    static const char *const endings[] = {"\r\n", "Content-Length: 9\r\n\r\n",
                                          "Transfer-Encoding: chunked\r\n\r\n"};
    static const char *const lines[] = {"100 Continue",    "101 Switching Protocols",
                                        "103 Early Hints", "199 x",
                                        "204 No Content",  "304 Not Modified"};
    char text[120];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (size_t k = 0; k < 3; k++) {
            snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%s", lines[i], endings[k]);
            EXPECT(text, 0);
            assert_true(head.framing == WEIR__H1_NO_BODY && head.length == 0 && head.keep_alive);
            assert_int_equal(head.upgrade, head.status == 101);
        }
    }
    for (size_t k = 0; k < 3; k++) {
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s", endings[k]);
        EXPECT_FOR("HEAD", text, 0);
        assert_true(head.framing == WEIR__H1_NO_BODY && head.keep_alive && !head.upgrade);
        EXPECT_FOR("CONNECT", text, 0);
        assert_true(head.framing == WEIR__H1_NO_BODY && head.upgrade);
        EXPECT_FOR("head", text, 0);
        assert_true(head.framing != WEIR__H1_NO_BODY);
    }
    EXPECT_FOR("CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\n", 0);
    assert_true(head.framing == WEIR__H1_LENGTH && !head.upgrade);
    EXPECT_FOR("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", WEIR_EPROTO);
    EXPECT_FOR("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
               WEIR_EPROTO);
    EXPECT("HTTP/1.1 204 No\r\nContent-Length: +1\r\n\r\n", WEIR_EPROTO);
    EXPECT("HTTP/1.1 304 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
           WEIR_EPROTO);
}

static void bounds(void **state)
{
    static char text[70000];

    (void)state;
    for (size_t len = 65535; len <= 65537; len++) {
        memset(text, 'x', sizeof(text));
        memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
        memcpy(text + len - 4, "\r\n\r\n", 5);
        EXPECT(text, len <= 65536 ? 0 : WEIR_ELIMIT);
    }
    for (int lines = 199; lines <= 201; lines++) {
        size_t at = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n");

        for (int i = 0; i < lines; i++) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "A%d: b\r\n", i);
        }
        snprintf(text + at, sizeof(text) - at, "\r\n");
        EXPECT(text, lines <= 200 ? 0 : WEIR_ELIMIT);
    }
}

static void trailers(void **state)
{
    struct weir_field got[2];
    size_t count = 9;

    (void)state;
    assert_int_equal(weir__h1_parse_trailers(weir_str("A: b\r\nContent-Length: 5\r\nHOST: x\r\n"
                                                      "transfer-encoding: chunked\r\nC:\r\n"),
                                             got, 2, &count),
                     0);
    assert_int_equal(count, 2);
    assert_true(is(got[0].name, "A") && is(got[0].value, "b") && is(got[1].name, "C"));
    assert_int_equal(weir__h1_parse_trailers(weir_str("A: b\r\nB: b\r\nC: b\r\n"), got, 2, &count),
                     WEIR_ELIMIT);
    assert_int_equal(weir__h1_parse_trailers(weir_str("A: b\r\n c\r\n"), got, 2, &count),
                     WEIR_EPROTO);
    assert_int_equal(weir__h1_parse_trailers(weir_str("A: b\n"), got, 2, &count), WEIR_EPROTO);
    assert_int_equal(weir__h1_parse_trailers(weir_str("A: b"), got, 2, &count), WEIR_EPROTO);
    assert_int_equal(weir__h1_parse_trailers(weir_str("\r\n"), got, 2, &count), WEIR_EPROTO);
    assert_int_equal(count, 2);
    assert_int_equal(weir__h1_parse_trailers(weir_bytes(NULL, 0), NULL, 0, &count), 0);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_lines),
        cmocka_unit_test(framing),
        cmocka_unit_test(messages_without_a_body),
        cmocka_unit_test(bounds),
        cmocka_unit_test(trailers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
