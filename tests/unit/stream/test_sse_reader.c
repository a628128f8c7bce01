/* SPDX-License-Identifier: MIT */
/* The reader of event streams (WHATWG HTML 9.2.6): whole, and cut at every byte. */
#include <weir/sse_reader.h>

#include "fiber_test.h"

/* A source of given bytes in pieces of `piece`, then the result. */
struct pieces {
    const char *bytes;
    size_t len, at, piece;
    int result;
    bool cancelled;
};

static int pieces_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct pieces *pieces = state;
    size_t len = pieces->len - pieces->at;

    (void)deadline;
    len = len < pieces->piece ? len : pieces->piece;
    len = len < max_bytes ? len : max_bytes;
    if (len == 0) {
        return pieces->result;
    }
    pieces->at += len;
    return weir_chunk_copy(weir_bytes(pieces->bytes + pieces->at - len, len), ret) < 0 ? -1 : 1;
}

static void pieces_cancel(void *state, enum weir_reason reason)
{
    (void)reason;
    ((struct pieces *)state)->cancelled = true;
}

static const struct weir_source_ops pieces_ops = {
    .name = "pieces", .next = pieces_next, .cancel = pieces_cancel};

static size_t put(char *out, size_t at, struct weir_view view)
{
    for (size_t i = 0; i < view.len; i++) {
        out[at++] = view.data[i] == '\n' ? '~' : (char)view.data[i];
    }
    return at;
}

/* Events as "type/id/data/retry;". */
static int read_events(struct pieces *pieces, const struct weir_sse_limits *limits, char *out)
{
    struct weir_sse_reader *reader;
    struct weir_sse_event event;
    struct weir_source *source;
    size_t at = 0;
    int r;

    assert_int_equal(weir_source_create_take(&pieces_ops, pieces, &source), 0);
    assert_int_equal(weir_sse_reader_create_take(source, limits, &reader), 0);
    while ((r = weir_sse_reader_next(reader, -1, &event)) == 1) {
        at = put(out, at, event.type);
        out[at++] = '/';
        at = put(out, at, event.id);
        out[at++] = '/';
        at = put(out, at, event.data);
        at += (size_t)snprintf(out + at, 32, "/%lld;", (long long)event.retry_ms);
    }
    out[at] = '\0';
    assert_int_equal(weir_sse_reader_next(reader, -1, &event), r);
    if (r < 0) {
        struct weir_error error;

        weir_sse_reader_error(reader, &error);
        assert_int_equal(error.code, r);
    }
    weir_sse_reader_destroy(reader);
    return r;
}

static void expect_bytes(const char *in, size_t len, const struct weir_sse_limits *limits,
                         const char *wanted, int result)
{
    for (size_t piece = 1; piece <= len + 1; piece++) {
        struct pieces pieces = {.bytes = in, .len = len, .piece = piece};
        char out[1024];

        assert_int_equal(read_events(&pieces, limits, out), result);
        assert_string_equal(out, wanted);
        assert_int_equal(pieces.cancelled, result < 0);
    }
}

static void expect(const char *in, const char *wanted)
{
    expect_bytes(in, strlen(in), NULL, wanted, 0);
}

FIBER_TEST(the_examples_of_the_standard)
{
    expect("data: YHOO\ndata: +2\ndata: 10\n\n", "message//YHOO~+2~10/-1;");
    expect(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
           "message/1/first event/-1;message//second event/-1;message// third/-1;");
    expect("data\n\ndata\ndata\n\ndata:", "message///-1;message//~/-1;");
    expect("data:test\n\ndata: test\n\n", "message//test/-1;message//test/-1;");
    expect("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
           "add//73857293/-1;remove//2153/-1;");
}

FIBER_TEST(line_ends_and_the_mark)
{
    expect("data: a\r\rdata: b\r\n\r\ndata: c\n\n", "message//a/-1;message//b/-1;message//c/-1;");
    expect("data: a\r\ndata: b\r\rdata: c\n\r\n", "message//a~b/-1;message//c/-1;");
    expect("\xef\xbb\xbf"
           "data: a\n\n",
           "message//a/-1;");
    expect("\n\xef\xbb\xbf"
           "data: a\n\n",
           ""); /* only at the very start */
    expect("\xef\xbb\xbf\xef\xbb\xbf"
           "data: a\n\ndata: b\n\n",
           "message//b/-1;");
    expect("\xef\xbb\xbf: comment\ndata: a\n\n", "message//a/-1;");
    expect("\xef\xbb\xbf", "");
    expect(":\n\xef\xbb\xbf"
           "data: a\n\ndata: b\n\n",
           "message//b/-1;");
}

FIBER_TEST(fields)
{
    expect("id: 7\n\ndata: a\n\n", "message/7/a/-1;");   /* an id without data stays */
    expect("event: x\n\ndata: a\n\n", "message//a/-1;"); /* a type does not */
    expect("event: x\nevent: y\ndata: a\n\n", "y//a/-1;");
    expect("event: x\nevent\ndata: a\n\n", "message//a/-1;");
    expect("retry: 1000\ndata: a\n\nretry: x\nretry:\nretry: -1\nretry: 5s\ndata: b\n\n",
           "message//a/1000;message//b/1000;");
    expect("retry: 99999999999999999999\ndata: a\n\n", "message//a/-1;");
    expect("Data: a\ndata : b\nother: c\n:data: d\n\n", "");
    expect("data: a: b:c\n\n", "message//a: b:c/-1;");
    expect("id: 1\ndata: a\n\nid: 2\ndata: b\n", "message/1/a/-1;"); /* not ended: no event */
    expect_bytes("id: 1\nid: 2\0\ndata: a\n\n", 22, NULL, "message/1/a/-1;", 0);
}

FIBER_TEST(limits_hold_however_it_is_cut)
{
    const struct weir_sse_limits limits = {.max_event_bytes = 16, .max_id_bytes = 3};
    const char *comment = "data: a\n: a comment may be as long as it wants\n\n";

    expect_bytes("data: 0123456789\n", 17, &limits, "", 0);
    expect_bytes("data: 0123456789\n\n", 18, &limits, "message//0123456789/-1;", 0);
    expect_bytes("data: 0123456789x\n\n", 19, &limits, "", WEIR_ELIMIT);
    expect_bytes("data:0123\ndata:45678\n\n", 22, &limits, "message//0123~45678/-1;", 0);
    expect_bytes("data:0123\ndata:4567\ndata:89\n\n", 29, &limits, "", WEIR_ELIMIT);
    expect_bytes("data: a\n\nid: 123\ndata: b\n\nid: 1234\ndata: c\n\n", 44, &limits,
                 "message//a/-1;message/123/b/-1;", WEIR_ELIMIT);
    expect_bytes(comment, strlen(comment), &limits, "message//a/-1;", 0);
}

FIBER_TEST(failures_come_after_the_events)
{
    struct pieces pieces = {
        .bytes = "data: a\n\ndata: b", .len = 16, .piece = 100, .result = WEIR_EIO};
    char out[100];

    assert_int_equal(read_events(&pieces, NULL, out), WEIR_EIO);
    assert_string_equal(out, "message//a/-1;");
}

FIBER_TEST(what_a_client_needs_to_come_back)
{
    struct pieces pieces = {.bytes = "retry: 50\nid: 8\n\nid: 9\n", .len = 23, .piece = 100};
    struct weir_sse_reader *reader;
    struct weir_sse_event event;
    struct weir_source *source;

    assert_int_equal(weir_source_create_take(&pieces_ops, &pieces, &source), 0);
    assert_int_equal(weir_sse_reader_create_take(source, NULL, &reader), 0);
    assert_int_equal(weir_sse_reader_retry_ms(reader), -1);
    assert_int_equal(weir_sse_reader_last_id(reader).len, 0);
    assert_int_equal(weir_sse_reader_next(reader, -1, &event), 0);
    assert_int_equal(weir_sse_reader_retry_ms(reader), 50);
    assert_true(weir_view_equal(weir_sse_reader_last_id(reader), weir_str("8")));
    weir_sse_reader_cancel(reader, WEIR_REASON_FIN); /* after the end: nothing */
    assert_int_equal(weir_sse_reader_next(reader, -1, &event), 0);
    weir_sse_reader_destroy(reader);
    weir_sse_reader_destroy(NULL);
}

/* P14: a stream of huge events holds no more than its limit, and returns to little. */
FIBER_TEST(memory_is_bounded)
{
    size_t len = 2000000, before = weir__budget_used(weir__budget_process());
    char *bytes = malloc(len);
    struct pieces pieces = {.bytes = bytes, .len = len, .piece = 1000, .result = WEIR_EIO};
    const struct weir_sse_limits limits = {.max_event_bytes = 300000};
    struct weir_sse_reader *reader;
    struct weir_sse_event event;
    struct weir_source *source;
    unsigned events = 0;
    size_t peak = 0;
    int r;

    memset(bytes, 'x', len);
    for (size_t at = 0; at + 200000 <= len; at += 200000) {
        memcpy(bytes + at, "data:", 5);
        memcpy(bytes + at + 199998, "\n\n", 2);
    }
    assert_int_equal(weir_source_create_take(&pieces_ops, &pieces, &source), 0);
    assert_int_equal(weir_sse_reader_create_take(source, &limits, &reader), 0);
    while ((r = weir_sse_reader_next(reader, -1, &event)) == 1) {
        size_t used = weir__budget_used(weir__budget_process()) - before;

        events++;
        peak = used > peak ? used : peak;
        assert_int_equal(event.data.len, 199993);
    }
    assert_int_equal(r, WEIR_EIO);
    assert_int_equal(events, 10);
    assert_true(peak <= 3 * 300000 + 2048);
    assert_true(weir__budget_used(weir__budget_process()) - before <= 5 * 4096);
    weir_sse_reader_destroy(reader);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_standard),
        cmocka_unit_test(line_ends_and_the_mark),
        cmocka_unit_test(fields),
        cmocka_unit_test(limits_hold_however_it_is_cut),
        cmocka_unit_test(failures_come_after_the_events),
        cmocka_unit_test(what_a_client_needs_to_come_back),
        cmocka_unit_test(memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
