/* SPDX-License-Identifier: MIT */
/* The chunked decoder: whole, a byte at a time, at random splits, fed and compacted, all with one result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1/chunked.h"
#include "h1/compose.h"
#include "pieces.h"

#include <weir/err.h>

#include <stdio.h>

enum { TRAILER_CAP = 9000 };

struct outcome {
    int state; /* enum weir__h1_step or an error */
    size_t used;
    size_t len;
    uint8_t *payload;
    size_t trailers_len;
    uint8_t trailers[TRAILER_CAP];
};

enum how { FEED, COMPACT, SKIP };

static void decode(struct weir_view all, enum how how, size_t step, uint32_t seed,
                   struct outcome *ret)
{
    struct weir__h1_chunked decoder;
    size_t at = 0;
    int r = 0;

    weir__h1_chunked_init(&decoder);
    ret->len = 0;
    ret->used = 0;
    while (r == 0 && at < all.len) {
        size_t len = step > 0 ? step : 1 + pieces_random(&seed) % 40;
        uint8_t *piece;
        size_t done = 0;

        len = len > all.len - at ? all.len - at : len;
        piece = malloc(len);
        memcpy(piece, all.data + at, len);
        do {
            size_t used = 0;
            uint64_t left = weir__h1_chunked_left(&decoder);

            if (how == SKIP && left > 0) {
                used = left < len - done ? (size_t)left : len - done;
                memcpy(ret->payload + ret->len, piece + done, used);
                ret->len += used;
                weir__h1_chunked_skip(&decoder, used);
                r = 0;
            } else if (how == COMPACT) {
                size_t n = weir__h1_chunked_compact(&decoder, piece + done, len - done, &used, &r);

                assert_true(n <= used);
                assert_memory_equal(piece + done + used, all.data + at + done + used,
                                    len - done - used);
                memcpy(ret->payload + ret->len, piece + done, n);
                ret->len += n;
            } else {
                struct weir_view run = {0};

                r = weir__h1_chunked_feed(&decoder, weir_bytes(piece + done, len - done), &used,
                                          &run);
                if (r == WEIR__H1_PAYLOAD) {
                    assert_true(run.len > 0 && run.data + run.len == piece + done + used);
                    memcpy(ret->payload + ret->len, run.data, run.len);
                    ret->len += run.len;
                    r = 0;
                }
            }
            if (r == WEIR__H1_TRAILERS) {
                weir__h1_chunked_keep_trailers(&decoder, ret->trailers, TRAILER_CAP);
                r = 0;
            }
            assert_true(used <= len - done);
            done += r < 0 ? 0 : used;
        } while (r == 0 && done < len);
        free(piece);
        at += done;
    }
    assert_int_equal(weir__h1_chunked_is_done(&decoder), r == WEIR__H1_DONE);
    if (r < 0) {
        size_t used;
        struct weir_view run;

        assert_int_equal(weir__h1_chunked_feed(&decoder, weir_str("0\r\n\r\n"), &used, &run), r);
        assert_int_equal(weir__h1_chunked_left(&decoder), 0);
    }
    ret->state = r;
    ret->used = at;
    ret->trailers_len = weir__h1_chunked_trailers(&decoder).len;
}

/* Every way must agree; `first` is the whole fed at once. */
static void check(struct weir_view all, struct outcome *first)
{
    static struct outcome other;

    other.payload = malloc(all.len + 1);
    decode(all, FEED, all.len, 0, first);
    for (uint32_t seed = 0; seed < 30; seed++) {
        size_t step = seed < 3 ? all.len : seed < 6 ? 1 : 0;

        if (step == 1 && all.len > 50000) {
            continue;
        }
        decode(all, (enum how)(seed % 3), step, seed, &other);
        if (other.state != first->state || other.len != first->len ||
            memcmp(other.payload, first->payload, other.len) != 0 ||
            (first->state >= 0 && other.used != first->used) ||
            other.trailers_len != first->trailers_len ||
            memcmp(other.trailers, first->trailers, other.trailers_len) != 0) {
            fail_msg("%.*s: %d after %zu of %zu bytes, not %d after %zu of %zu (seed %u)",
                     (int)(all.len < 100 ? all.len : 100), (const char *)all.data, other.state,
                     other.used, other.len, first->state, first->used, first->len, seed);
        }
    }
    free(other.payload);
}

static void expect_bytes(struct weir_view all, int state, const char *payload, size_t left_over)
{
    static struct outcome first;

    first.payload = malloc(all.len + 1);
    check(all, &first);
    if (first.state != state || first.len != strlen(payload) ||
        memcmp(first.payload, payload, first.len) != 0 ||
        (state == WEIR__H1_DONE && all.len - first.used != left_over)) {
        fail_msg("%.*s: %d, %zu bytes", (int)all.len, (const char *)all.data, first.state,
                 first.len);
    }
    free(first.payload);
}

static void good(const char *text, const char *payload, size_t left_over)
{
    expect_bytes(weir_str(text), WEIR__H1_DONE, payload, left_over);
}

static void bad(const char *text, const char *payload)
{
    expect_bytes(weir_str(text), WEIR_EPROTO, payload, 0);
}

static void more(const char *text, const char *payload)
{
    expect_bytes(weir_str(text), WEIR__H1_MORE, payload, 0);
}

static void whole_bodies(void **state)
{
    (void)state;
    assert_true(sizeof(struct weir__h1_chunked) <= 48);
    good("0\r\n\r\n", "", 0);
    good("000\r\n\r\n", "", 0);
    good("5\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET / HTTP/1.1", "hello!", 14);
    good("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0);
    good("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello", 0);
    good("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0);
    good("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", "abcdefghijklmnopqrstuvwxyz", 0);
    more("", "");
    more("5", "");
    more("5\r\n", "");
    more("5\r\nhel", "hel");
    more("5\r\nhello", "hello");
    more("5\r\nhello\r\n", "hello");
    more("5\r\nhello\r\n0\r\n", "hello");
    more("5\r\nhello\r\n0\r\n\r", "hello");
    more("7fffffffffffffff\r\nhello", "hello");
    more("7FFFFFFFFFFFFFFF\r\nhello", "hello");
}

static void bad_sizes(void **state)
{
    (void)state;
    bad("\r\n", "");
    bad("\n", "");
    bad("g\r\n", "");
    bad("5g\r\n", "");
    bad(" 5\r\nhello\r\n", "");
    bad("\t5\r\nhello\r\n", "");
    bad("5 \r\nhello\r\n", "");
    bad("5\t\r\nhello\r\n", "");
    bad("+5\r\nhello\r\n", "");
    bad("-5\r\nhello\r\n", "");
    bad("0x5\r\nhello\r\n", "");
    bad("5h\r\nhello\r\n", "");
    bad("5,\r\nhello\r\n", "");
    bad("5 5\r\nhello\r\n", "");
    bad("5_0\r\nhello\r\n", "");
    bad("00000000000000005\r\nhello\r\n", "");
    bad("10000000000000000\r\n", "");
    bad("10000000000000005\r\nhello\r\n", "");
    bad("8000000000000000\r\n", "");
    bad("ffffffffffffffff\r\n", "");
    bad("fffffffffffffffff\r\n", "");
    expect_bytes(weir_bytes("5\0\r\nhello", 9), WEIR_EPROTO, "", 0);
    bad("5\x80\r\n", "");
}

static void bad_line_ends(void **state)
{
    (void)state;
    bad("5\nhello\r\n", "");
    bad("5\rhello\r\n", "");
    bad("5\r\rhello\r\n", "");
    bad("5\r\nhello\n0\r\n", "hello");
    bad("5\r\nhello\r0\r\n", "hello");
    bad("5\r\nhello0\r\n", "hello");
    bad("5\r\nhellox\r\n", "hello");
    bad("5\r\nhello\r\n\r\n", "hello");
    bad("5\r\nhello\r\n0\n\r\n", "hello");
    bad("5\r\nhello\r\n0\r\n\n", "hello");
    bad("5\r\nhello\r\n0\r\n\rx", "hello");
    bad("5\r\nhello\r\n0\r\r\n", "hello");
    bad("5\r\n\r\nhello\r\n0\r\nx", "\r\nhel");
}

static void extensions(void **state)
{
    (void)state;
    good("5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello", 0);
    good("5;a=b;c=d\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("5;a=\"b \\\" \\\\ ; \t\x80\";c\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("5 ; a = b ; c\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("5\t;\ta\t=\t\"b\"\t;c=d\r\nhello\r\n0\r\n\r\n", "hello", 0);
    bad("5;\r\nhello\r\n", "");
    bad("5;;a\r\nhello\r\n", "");
    bad("5;a;\r\nhello\r\n", "");
    bad("5;a=\r\nhello\r\n", "");
    bad("5;=b\r\nhello\r\n", "");
    bad("5;a b\r\nhello\r\n", "");
    bad("5;a=b c\r\nhello\r\n", "");
    bad("5;a=b=c\r\nhello\r\n", "");
    bad("5;a \r\nhello\r\n", "");
    bad("5;a=b \r\nhello\r\n", "");
    bad("5;a=\"b\r\nhello\r\n", "");
    bad("5;a=\"b\"c\r\nhello\r\n", "");
    bad("5;a=\"b\\\r\nhello\r\n", "");
    bad("5;a=\"b\x01\"\r\nhello\r\n", "");
    bad("5;a=\"b\x7f\"\r\nhello\r\n", "");
    bad("5;a\nhello\r\n", "");
    bad("5;a\rhello\r\n", "");
    bad("5;a=\"\n\"\r\nhello\r\n", "");
    bad("5;a\x80\r\nhello\r\n", "");
    bad("5;\xc3\xa9\r\nhello\r\n", "");
    expect_bytes(weir_bytes("5;a\0\r\nhello", 11), WEIR_EPROTO, "", 0);
    expect_bytes(weir_bytes("5;a=\"\0\"\r\nhello", 14), WEIR_EPROTO, "", 0);
}

static void extensions_are_bounded(void **state)
{
    static char text[2049 * 8 + 6];
    static char payload[2049];

    (void)state;
    for (size_t len = WEIR__H1_EXTENSION_BYTES - 1; len <= WEIR__H1_EXTENSION_BYTES + 1; len++) {
        bool is_good = len <= WEIR__H1_EXTENSION_BYTES;

        memset(text, 'x', sizeof(text));
        memcpy(text, "1;", 2);
        memcpy(text + 1 + len, "\r\na\r\n0\r\n\r\n", 11);
        expect_bytes(weir_str(text), is_good ? WEIR__H1_DONE : WEIR_ELIMIT, is_good ? "a" : "", 0);
    }
    /* many small ones count together: 2 bytes each */
    memset(payload, 'p', 2048);
    for (size_t chunks = 2048; chunks <= 2049; chunks++) {
        size_t at = 0;

        for (size_t i = 0; i < chunks; i++, at += 8) {
            memcpy(text + at, "1;e\r\np\r\n", 8);
        }
        memcpy(text + at, "0\r\n\r\n", 6);
        expect_bytes(weir_str(text), chunks == 2048 ? WEIR__H1_DONE : WEIR_ELIMIT, payload, 0);
    }
}

static void trailer_sections(void **state)
{
    static struct outcome first;
    struct weir_view all = weir_str("1\r\na\r\n0\r\nA: b\r\nC:\t d \x80\r\n\r\nrest");

    (void)state;
    first.payload = malloc(all.len);
    check(all, &first);
    assert_int_equal(first.state, WEIR__H1_DONE);
    assert_int_equal(all.len - first.used, 4);
    assert_true(weir_view_equal(weir_bytes(first.trailers, first.trailers_len),
                                weir_str("A: b\r\nC:\t d \x80\r\n")));
    free(first.payload);
    more("0\r\nA: b\r\n", "");
    bad("0\r\nA\r\n\r\n", "");
    bad("0\r\n: b\r\n\r\n", "");
    bad("0\r\n A: b\r\n\r\n", "");
    bad("0\r\nA : b\r\n\r\n", "");
    bad("0\r\nA: b\r\n c\r\n\r\n", "");
    bad("0\r\nA: b\n\r\n", "");
    bad("0\r\nA: b\rC: d\r\n\r\n", "");
    bad("0\r\nA: b\r\n\n", "");
    bad("0\r\nA: b\x01\r\n\r\n", "");
    bad("0\r\nA\x80: b\r\n\r\n", "");
    bad("0\r\nA: b\x7f\r\n\r\n", "");
    bad("0\r\nGET / HTTP/1.1\r\n\r\n", "");
    expect_bytes(weir_bytes("0\r\nA: \0\r\n\r\n", 11), WEIR_EPROTO, "", 0);
}

static void trailers_are_bounded(void **state)
{
    static char text[9000];
    uint8_t small[8];
    struct weir__h1_chunked decoder;
    struct weir_view run;
    size_t used;

    (void)state;
    for (size_t len = WEIR__H1_TRAILER_BYTES - 1; len <= WEIR__H1_TRAILER_BYTES + 1; len++) {
        memset(text, 'x', sizeof(text));
        memcpy(text, "0\r\nA:", 5);
        memcpy(text + 3 + len - 2, "\r\n\r\n", 5);
        expect_bytes(weir_str(text), len <= WEIR__H1_TRAILER_BYTES ? WEIR__H1_DONE : WEIR_ELIMIT,
                     "", 0);
        /* and when they are not kept */
        weir__h1_chunked_init(&decoder);
        weir__h1_chunked_keep_trailers(&decoder, NULL, 0);
        assert_int_equal(weir__h1_chunked_feed(&decoder, weir_str(text), &used, &run),
                         len <= WEIR__H1_TRAILER_BYTES ? WEIR__H1_DONE : WEIR_ELIMIT);
        assert_true(weir_view_is_absent(weir__h1_chunked_trailers(&decoder)));
    }
    weir__h1_chunked_init(&decoder);
    weir__h1_chunked_keep_trailers(&decoder, small, sizeof(small));
    assert_int_equal(weir__h1_chunked_feed(&decoder, weir_str("0\r\nAB: cd\r\n\r\n"), &used, &run),
                     WEIR__H1_DONE);
    weir__h1_chunked_init(&decoder);
    weir__h1_chunked_keep_trailers(&decoder, small, sizeof(small));
    assert_int_equal(weir__h1_chunked_feed(&decoder, weir_str("0\r\nAB: cde\r\n\r\n"), &used, &run),
                     WEIR_ELIMIT);
}

/* Bodies of random chunks, with random single bytes changed: every way of decoding says the same. */
static void random_bodies(void **state)
{
    static uint8_t body[20000];
    static struct outcome first;
    uint32_t seed = 1;

    (void)state;
    first.payload = malloc(sizeof(body));
    for (int round = 0; round < 300; round++) {
        size_t at = 0;
        size_t payload = 0;
        int chunks = (int)(pieces_random(&seed) % 12);

        for (int i = 0; i < chunks; i++) {
            size_t size = 1 + pieces_random(&seed) % (i % 3 == 0 ? 1500 : 20);

            at += weir__h1_compose_chunk_head(body + at, size);
            memset(body + at, 'a' + i, size);
            at += size;
            payload += size;
            memcpy(body + at, "\r\n", 2);
            at += 2;
        }
        memcpy(body + at, "0\r\n\r\n", 5);
        at += 5;
        check(weir_bytes(body, at), &first);
        assert_int_equal(first.state, WEIR__H1_DONE);
        assert_int_equal(first.len, payload);
        body[pieces_random(&seed) % at] = (uint8_t) "\r\n;=\"0f Z:"[pieces_random(&seed) % 10];
        check(weir_bytes(body, at), &first);
    }
    free(first.payload);
}

/*
 * One chunk a little longer than 32 bits can count, all of it fed, never held: were any count of it one of 32 bits, the
 * chunk would end after its first 5 bytes, and what follows would be no line end.
 */
static void a_chunk_over_4_gib(void **state)
{
    static uint8_t piece[65536];
    const uint64_t total = (UINT64_C(1) << 32) + 5;

    (void)state;
    for (int how = FEED; how <= SKIP; how++) {
        struct weir__h1_chunked decoder;
        struct weir_view run = {0};
        uint64_t count = 0;
        size_t used = 0;
        int r;

        weir__h1_chunked_init(&decoder);
        assert_int_equal(
            weir__h1_chunked_feed(&decoder, weir_str("100000005;a=b\r\n"), &used, &run), 0);
        assert_int_equal(used, 15);
        while (count < total) {
            size_t len = total - count < sizeof(piece) ? (size_t)(total - count) : sizeof(piece);
            size_t n;

            assert_true(weir__h1_chunked_left(&decoder) == total - count);
            memset(piece, '\n', 64); /* nothing of it may be taken for framing */
            if (how == SKIP) {
                weir__h1_chunked_skip(&decoder, len);
                n = len;
            } else if (how == COMPACT) {
                n = weir__h1_chunked_compact(&decoder, piece, len, &used, &r);
                assert_true(r == WEIR__H1_MORE && used == len);
            } else {
                r = weir__h1_chunked_feed(&decoder, weir_bytes(piece, len), &used, &run);
                assert_true(r == WEIR__H1_PAYLOAD && run.data == piece && used == len);
                n = run.len;
            }
            assert_true(n == len);
            count += n;
        }
        assert_true(weir__h1_chunked_left(&decoder) == 0);
        assert_false(weir__h1_chunked_is_done(&decoder));
        weir__h1_chunked_keep_trailers(&decoder, NULL, 0);
        assert_int_equal(weir__h1_chunked_feed(&decoder, weir_str("\r\n1\r\nz"), &used, &run),
                         WEIR__H1_PAYLOAD);
        assert_true(run.len == 1 && run.data[0] == 'z');
        assert_int_equal(
            weir__h1_chunked_feed(&decoder, weir_str("\r\n0\r\n\r\nrest"), &used, &run),
            WEIR__H1_DONE);
        assert_int_equal(used, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_bodies),           cmocka_unit_test(bad_sizes),
        cmocka_unit_test(bad_line_ends),          cmocka_unit_test(extensions),
        cmocka_unit_test(extensions_are_bounded), cmocka_unit_test(trailer_sections),
        cmocka_unit_test(trailers_are_bounded),   cmocka_unit_test(random_bodies),
        cmocka_unit_test(a_chunk_over_4_gib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
