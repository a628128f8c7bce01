/* SPDX-License-Identifier: MIT */
/* Request heads: what is taken, what is refused with which status. Each also through the scan, in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1/parse.h"
#include "pieces.h"

#include <weir/err.h>

#include <stdio.h>

static const struct weir__h1_limits limits = {8192, 32768, 100};
static struct weir_field fields[101];
static struct weir__h1_head head;

/* 0 and `head`, or the status. As the connection does it: scan, then parse; each split must give the same. */
static int parse_bytes(struct weir_view all)
{
    int first = -1;

    for (uint32_t seed = 0; seed < 6; seed++) {
        size_t step = seed == 0 ? all.len : seed == 1 ? 1 : 0;
        size_t len = 0;
        int status = 0;
        int r;

        if (seed == 1 && all.len > 2000) {
            continue;
        }
        r = pieces_scan(&limits, true, all, step, seed, &len, &status);
        if (r == 1) {
            head = (struct weir__h1_head){.fields = fields, .field_cap = 101};
            r = weir__h1_parse_request(weir_bytes(all.data, len), &limits, &head, &status);
            if (r == 0) {
                assert_int_equal(len, all.len);
            }
        } else {
            assert_true(r < 0);
        }
        assert_int_equal(r == 0, status == 0);
        switch (status) {
        case 0:
            assert_int_equal(r, 0);
            break;
        case 400:
            assert_int_equal(r, WEIR_EPROTO);
            break;
        case 414:
        case 431:
            assert_int_equal(r, WEIR_ELIMIT);
            break;
        default:
            assert_true(status == 501 || status == 505);
            assert_int_equal(r, WEIR_EUNSUPPORTED);
            break;
        }
        assert_true(first == -1 || first == status);
        first = status;
    }
    return first;
}

static int parse(const char *text)
{
    return parse_bytes(weir_str(text));
}

#define EXPECT(text, status)                                        \
    do {                                                            \
        int got = parse(text);                                      \
        if (got != (status)) {                                      \
            fail_msg("%d, not %d, for: %s", got, (status), (text)); \
        }                                                           \
    } while (0)
#define FIELDS(lines, status) EXPECT("POST /x HTTP/1.1\r\nHost: a\r\n" lines "\r\n", status)
#define HOST(value, status) EXPECT("GET / HTTP/1.1\r\nHost: " value "\r\n\r\n", status)
#define TARGET(target, status) EXPECT("GET " target " HTTP/1.1\r\nHost: a\r\n\r\n", status)

static bool is(struct weir_view view, const char *text)
{
    return weir_view_equal(view, weir_str(text));
}

static void a_plain_request(void **state)
{
    (void)state;
    assert_int_equal(parse("GET /a/b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nAccept:*/*\r\n"
                           "X-Empty:\r\nX-Blank: \t \r\nX-Pad:\t a\tb \t\r\n\r\n"),
                     0);
    assert_true(is(head.method, "GET") && is(head.target, "/a/b?c=d"));
    assert_true(is(head.host, "example.org:8080") && head.has_host);
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.field_count, 5);
    assert_true(is(head.fields[1].name, "Accept") && is(head.fields[1].value, "*/*"));
    assert_true(is(head.fields[2].name, "X-Empty") && is(head.fields[2].value, ""));
    assert_true(is(head.fields[3].value, "") && is(head.fields[4].value, "a\tb"));
    assert_false(weir_view_is_absent(head.fields[2].value));
    assert_int_equal(head.framing, WEIR__H1_NO_BODY);
    assert_true(head.keep_alive && !head.expect_continue && !head.upgrade &&
                !head.accepts_trailers);
}

static void request_lines(void **state)
{
    (void)state;
    EXPECT("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    EXPECT("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400);
    EXPECT(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET /\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET\r\n\r\n", 400);
    EXPECT("GET \r\n\r\n", 400);
    EXPECT("GET / \r\n\r\n", 400);
    EXPECT("GET HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1\r\rHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
    EXPECT("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("G\xc3\xa9T / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_int_equal(parse_bytes(weir_bytes("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28)), 400);
    assert_int_equal(parse_bytes(weir_bytes("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 27)), 400);
}

static void versions(void **state)
{
    (void)state;
    EXPECT("GET / HTTP/1.0\r\n\r\n", 0);
    assert_int_equal(head.minor, 0);
    EXPECT("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    EXPECT("PRI * HTTP/2.0\r\n\r\n", 505);
    EXPECT("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505);
    EXPECT("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505);
    EXPECT("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505);
    EXPECT("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / http/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP /1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / ICE/1.0\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/-1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400);
}

static void methods(void **state)
{
    static const char *const known[] = {"DELETE", "GET",    "HEAD",  "POST",
                                        "PUT",    "TRACE",  "PATCH", "PROPFIND",
                                        "REPORT", "SEARCH", "PURGE", "M-SEARCH"};
    static const char *const unknown[] = {"get",
                                          "GETT",
                                          "GE",
                                          "BREW",
                                          "PRI",
                                          "PLAY",
                                          "DESCRIBE",
                                          "!#$%&'*+-.^_`|~",
                                          "X-LONG-METHOD-NAME-BUT-NOT-TOO-LONG",
                                          "A123456789012345678901234567890123456789"};
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", known[i]);
        EXPECT(text, 0);
        assert_true(is(head.method, known[i]));
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", unknown[i]);
        EXPECT(text, 501);
    }
}

static void targets(void **state)
{
    (void)state;
    TARGET("/", 0);
    TARGET("//", 0);
    TARGET("/a%zz", 0);
    TARGET("/!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0);
    TARGET("/?a?b", 0);
    TARGET("/a#b", 400);
    TARGET("/a\x7f", 400);
    TARGET("/a\x01", 400);
    TARGET("/\xc3\xa9", 400);
    TARGET("/\r", 400);
    TARGET("a", 400);
    TARGET("?a", 400);
    TARGET("*", 400);
    TARGET("**", 400);
    TARGET("example.org:80", 400);
    TARGET("http://b", 0);
    assert_true(is(head.host, "b") && is(head.target, "http://b"));
    TARGET("http://b:81/c", 0);
    assert_true(is(head.host, "b:81"));
    TARGET("HTTPS://[::1]?x", 0);
    assert_true(is(head.host, "[::1]"));
    TARGET("http://u@b/", 400);
    TARGET("http://u:p@b/", 400);
    TARGET("http:///x", 400);
    TARGET("http://", 400);
    TARGET("http:/x", 400);
    TARGET("http://?x", 400);
    TARGET("http://:80/", 400);
    TARGET("ftp://b/", 400);
    TARGET("file:///etc", 400);
    TARGET("http://b,c/", 400);
    TARGET("http://b\\c/", 400);
    EXPECT("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    EXPECT("OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    EXPECT("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    EXPECT("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 0);
    assert_true(is(head.host, "b:443"));
    EXPECT("CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    EXPECT("CONNECT b HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT b: HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT :443 HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT / HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT http://b:443/ HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT * HTTP/1.1\r\nHost: b\r\n\r\n", 400);
    EXPECT("CONNECT u@b:443 HTTP/1.1\r\nHost: b\r\n\r\n", 400);
}

static void hosts(void **state)
{
    (void)state;
    EXPECT("GET / HTTP/1.1\r\n\r\n", 400);
    EXPECT("GET http://b/ HTTP/1.1\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.0\r\n\r\n", 0);
    assert_false(head.has_host);
    EXPECT("GET http://b/ HTTP/1.0\r\n\r\n", 0);
    assert_true(head.has_host && is(head.host, "b"));
    EXPECT("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 0);
    EXPECT("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400);
    EXPECT("GET http://b/ HTTP/1.1\r\nHost: a/\r\n\r\n", 400);
    HOST("", 0);
    assert_true(head.has_host && head.host.len == 0);
    HOST("a.b-c_d~e", 0);
    HOST("a:0", 0);
    HOST("a:65535", 0);
    HOST("a:", 0);
    HOST("127.0.0.1:80", 0);
    HOST("[2001:db8::1]:80", 0);
    HOST("[::ffff:1.2.3.4]", 0);
    HOST("[v1.a:b]", 0);
    HOST("a%20b", 0);
    HOST("a:65536", 400);
    HOST("a:000080", 400);
    HOST("a:8x", 400);
    HOST("a:80:80", 400);
    HOST(":80", 400);
    HOST("u@a", 400);
    HOST("a/b", 400);
    HOST("a b", 400);
    HOST("a\tb", 400);
    HOST("a,b", 400);
    HOST("a, a", 400);
    HOST("a?b", 400);
    HOST("a#b", 400);
    HOST("a\\b", 400);
    HOST("a<b", 400);
    HOST("\"a\"", 400);
    HOST("a%2", 400);
    HOST("a%zz", 400);
    HOST("http://a", 400);
    HOST("\xc3\xa9", 400);
    HOST("[::1", 400);
    HOST("[]", 400);
    HOST("[::1]x", 400);
    HOST("[g::1]", 400);
    HOST("[::1%25eth0]", 400);
    HOST("::1", 400);
}

static void field_lines(void **state)
{
    (void)state;
    FIELDS("!#$%&'*+-.^_`|~09azAZ: \x80\xff!\"~\r\n", 0);
    FIELDS("A: b\r\n c\r\n", 400);
    FIELDS("A: b\r\n\tc\r\n", 400);
    FIELDS("A: b\r\n \r\n", 400);
    FIELDS("A : b\r\n", 400);
    FIELDS("A\t: b\r\n", 400);
    FIELDS(" A: b\r\n", 400);
    FIELDS("A B: c\r\n", 400);
    FIELDS(": b\r\n", 400);
    FIELDS("A\r\n", 400);
    FIELDS("A(: b\r\n", 400);
    FIELDS("A\x80: b\r\n", 400);
    FIELDS("A: b\rc\r\n", 400);
    FIELDS("A: b\r\r\n", 400);
    FIELDS("A: b\nC: d\r\n", 400);
    FIELDS("A: b\n\r\n", 400);
    FIELDS("A: \rb\r\n", 400);
    FIELDS("A:\r b\r\n", 400);
    FIELDS("\rA: b\r\n", 400);
    FIELDS("A: b\x01\r\n", 400);
    FIELDS("A: b\x1f\r\n", 400);
    FIELDS("A: b\x7f\r\n", 400);
    FIELDS("A: b\x0b\r\n", 400);
    assert_int_equal(parse_bytes(weir_bytes("GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", 36)),
                     400);
    assert_int_equal(parse_bytes(weir_bytes("GET / HTTP/1.1\r\nHost: a\r\nA\0: bc\r\n\r\n", 36)),
                     400);
    EXPECT("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    EXPECT("GET / HTTP/1.1\r\n\tA: b\r\nHost: a\r\n\r\n", 400);
}

/* Each byte value in each of four places. */
static void every_byte_in_every_place(void **state)
{
    static const char form[] = "GET /?y HTTP/1.1\r\nHost: a\r\nN?n: v?v\r\n\r\n";
    char text[sizeof(form)];
    size_t in_target = 5, in_name = 28, in_value = 33;

    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        bool is_text = byte == '\t' || (byte >= ' ' && byte != 127);
        struct weir_view all = weir_bytes(text, sizeof(form) - 1);

        memcpy(text, form, sizeof(form));
        memcpy(text + in_name, "n", 1);
        memcpy(text + in_value, "v", 1);
        text[in_value] = (char)byte;
        assert_int_equal(parse_bytes(all), is_text ? 0 : 400);
        text[in_value] = 'v';
        text[in_name] = (char)byte;
        assert_int_equal(parse_bytes(all),
                         weir__h1_is((uint8_t)byte, WEIR__H1_TOKEN) || byte == ':' ? 0 : 400);
        text[in_name] = 'n';
        text[in_target] = (char)byte;
        assert_int_equal(parse_bytes(all), byte > ' ' && byte < 127 && byte != '#' ? 0 : 400);
    }
}

static void lengths(void **state)
{
    (void)state;
    FIELDS("Content-Length: 0\r\n", 0);
    assert_int_equal(head.framing, WEIR__H1_LENGTH);
    FIELDS("cOnTeNt-LeNgTh: 42\r\n", 0);
    assert_true(head.framing == WEIR__H1_LENGTH && head.length == 42);
    FIELDS("Content-Length:5\r\n", 0);
    FIELDS("Content-Length:\t5\t \r\n", 0);
    assert_int_equal(head.length, 5);
    FIELDS("Content-Length:   5  \r\n", 0);
    FIELDS("Content-Length: 0005\r\n", 0);
    FIELDS("Content-Length: 9223372036854775807\r\n", 0);
    FIELDS("Content-Length: 9223372036854775808\r\n", 400);
    FIELDS("Content-Length: 18446744073709551616\r\n", 400);
    FIELDS("Content-Length: 99999999999999999999999\r\n", 400);
    FIELDS("Content-Length:\r\n", 400);
    FIELDS("Content-Length: \t\r\n", 400);
    FIELDS("Content-Length: +5\r\n", 400);
    FIELDS("Content-Length: -5\r\n", 400);
    FIELDS("Content-Length: 5 5\r\n", 400);
    FIELDS("Content-Length: 5,5\r\n", 400);
    FIELDS("Content-Length: 5, 5\r\n", 400);
    FIELDS("Content-Length: 5,\r\n", 400);
    FIELDS("Content-Length: 0x5\r\n", 400);
    FIELDS("Content-Length: 5.0\r\n", 400);
    FIELDS("Content-Length: a\r\n", 400);
    FIELDS("Content-Length: \"5\"\r\n", 400);
    FIELDS("Content-Length: 5;a\r\n", 400);
    FIELDS("Content-Length : 5\r\n", 400);
    FIELDS("Content-Length: 5\r\nContent-Length: 5\r\n", 400);
    FIELDS("Content-Length: 5\r\nContent-Length: 6\r\n", 400);
    FIELDS("Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n", 400);
}

static void codings(void **state)
{
    (void)state;
    FIELDS("Transfer-Encoding: chunked\r\n", 0);
    assert_true(head.framing == WEIR__H1_CHUNKED && head.length == 0);
    FIELDS("transfer-encoding:ChunkeD\r\n", 0);
    FIELDS("Transfer-Encoding:\tchunked\t\r\n", 0);
    assert_int_equal(head.framing, WEIR__H1_CHUNKED);
    FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400);
    FIELDS("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400);
    FIELDS("Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", 400);
    FIELDS("Content-Length: 5\r\nTransfer-Encoding:\r\n", 400);
    FIELDS("Transfer-Encoding: chunked, chunked\r\n", 400);
    FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400);
    FIELDS("Transfer-Encoding: chunked, gzip\r\n", 400);
    FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400);
    FIELDS("Transfer-Encoding: gzip\r\n", 400);
    FIELDS("Transfer-Encoding: identity\r\n", 400);
    FIELDS("Transfer-Encoding: xchunked\r\n", 400);
    FIELDS("Transfer-Encoding: chunkedx\r\n", 400);
    FIELDS("Transfer-Encoding: chunked;a=b\r\n", 400);
    FIELDS("Transfer-Encoding: \"chunked\"\r\n", 400);
    FIELDS("Transfer-Encoding: chunked,\r\n", 400);
    FIELDS("Transfer-Encoding: ,chunked\r\n", 400);
    FIELDS("Transfer-Encoding: gzip, , chunked\r\n", 400);
    FIELDS("Transfer-Encoding:\r\n", 400);
    FIELDS("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", 400);
    FIELDS("Transfer-Encoding: gzip, chunked\r\n", 501);
    FIELDS("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501);
    FIELDS("Transfer-Encoding: identity, chunked\r\n", 501);
    FIELDS("Transfer-Encoding: x\tchunked\r\n", 400);
    FIELDS("Transfer_Encoding: chunked\r\n", 0);
    assert_int_equal(head.framing, WEIR__H1_NO_BODY);
    EXPECT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    EXPECT("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400);
}

static void connection_options(void **state)
{
    (void)state;
    FIELDS("Connection: close\r\n", 0);
    assert_false(head.keep_alive);
    FIELDS("Connection: a, CLOSE ,b\r\n", 0);
    assert_false(head.keep_alive);
    FIELDS("Connection: x\r\nConnection:\tclose\r\n", 0);
    assert_false(head.keep_alive);
    FIELDS("Connection: closed\r\n", 0);
    assert_true(head.keep_alive);
    FIELDS("Connection: keep-alive, close\r\n", 0);
    assert_false(head.keep_alive);
    EXPECT("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0);
    assert_true(head.keep_alive);
    EXPECT("GET / HTTP/1.0\r\n\r\n", 0);
    assert_false(head.keep_alive);
    FIELDS("Connection: Upgrade\r\nUpgrade: websocket\r\n", 0);
    assert_true(head.upgrade && head.keep_alive);
    FIELDS("Upgrade: websocket\r\n", 0);
    assert_false(head.upgrade);
    FIELDS("Connection: upgrade\r\n", 0);
    assert_false(head.upgrade);
    EXPECT("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 0);
    assert_false(head.upgrade);
    FIELDS("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", 0);
    assert_true(head.upgrade && head.length == 3);
    FIELDS("TE: gzip, Trailers\r\nExpect: 100-Continue\r\n", 0);
    assert_true(head.accepts_trailers && head.expect_continue);
    FIELDS("TE: trailersx\r\nExpect: 100-continued\r\n", 0);
    assert_false(head.accepts_trailers || head.expect_continue);
    EXPECT("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", 0);
    assert_false(head.expect_continue);
}

static void bounds(void **state)
{
    static char text[40000];
    struct weir_field few[2];
    struct weir__h1_head small = {.fields = few, .field_cap = 2};
    int status = 0;
    size_t at;

    (void)state;
    for (size_t len = 8191; len <= 8193; len++) {
        memset(text, '/', sizeof(text));
        memcpy(text, "GET ", 4);
        memcpy(text + 4 + len, " HTTP/1.1\r\nHost: a\r\n\r\n", 23);
        EXPECT(text, len <= 8192 ? 0 : 414);
    }
    for (int lines = 99; lines <= 101; lines++) {
        at = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 1; i < lines; i++) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "A%d: b\r\n", i);
        }
        snprintf(text + at, sizeof(text) - at, "\r\n");
        EXPECT(text, lines <= 100 ? 0 : 431);
    }
    for (size_t len = 32767; len <= 32769; len++) {
        memset(text, 'x', sizeof(text));
        memcpy(text, "GET / HTTP/1.1\r\nHost: a\r\nA: ", 28);
        memcpy(text + len - 4, "\r\n\r\n", 5);
        EXPECT(text, len <= 32768 ? 0 : 431);
    }
    assert_int_equal(
        weir__h1_parse_request(weir_str("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"),
                               &limits, &small, &status),
        WEIR_ELIMIT);
    assert_int_equal(status, 431);
    assert_int_equal(small.field_count, 0);
}

/* Cut anywhere, it is refused; handed more than a head, too. */
static void only_whole_heads(void **state)
{
    static const char text[] = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    int status;

    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        uint8_t *copy = malloc(len + 1);

        memcpy(copy, text, len);
        copy[len] = 'x';
        status = 0;
        assert_int_equal(weir__h1_parse_request(weir_bytes(copy, len), &limits, &head, &status),
                         WEIR_EPROTO);
        assert_int_equal(status, 400);
        free(copy);
    }
    assert_int_equal(weir__h1_parse_request(weir_str("GET / HTTP/1.1\r\nHost: a\r\n\r\nabc"),
                                            &limits, &head, &status),
                     WEIR_EPROTO);
    assert_int_equal(weir__h1_parse_request(weir_str("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n"),
                                            &limits, &head, &status),
                     WEIR_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request),
        cmocka_unit_test(request_lines),
        cmocka_unit_test(versions),
        cmocka_unit_test(methods),
        cmocka_unit_test(targets),
        cmocka_unit_test(hosts),
        cmocka_unit_test(field_lines),
        cmocka_unit_test(every_byte_in_every_place),
        cmocka_unit_test(lengths),
        cmocka_unit_test(codings),
        cmocka_unit_test(connection_options),
        cmocka_unit_test(bounds),
        cmocka_unit_test(only_whole_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
