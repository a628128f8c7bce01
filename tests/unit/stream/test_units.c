/* SPDX-License-Identifier: MIT */
/* map, filter, inspect, take, pace, coalesce, lines, batch, progress, hash: each by itself, on a fake clock. */
#include <weir/combinators.h>
#include <weir/sources.h>

#include "fiber_test.h"

/* ---- map, filter, inspect ---- */

static int upper(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    struct weir_view view = weir_chunk_view(chunk);
    int r;

    if (view.data[0] == '-') {
        return 0; /* dropped */
    }
    if (view.data[0] == '!') {
        return *(int *)arg;
    }
    if (view.data[0] == '=') {
        *ret = weir_chunk_ref(chunk);
        return 1;
    }
    r = weir_chunk_copy(view, ret);
    for (size_t i = 0; r == 0 && i < view.len; i++) {
        weir_chunk_data(*ret)[i] ^= 0x20;
    }
    return r < 0 ? r : 1;
}

FIBER_TEST(map_replaces_drops_and_fails)
{
    static const int codes[] = {WEIR_EIO, WEIR_ETIMEDOUT, WEIR_ECANCELED};
    static const int finals[] = {WEIR_EIO, WEIR_ERESET, WEIR_ECANCELED};
    struct weir_source *source;
    struct weir_error error;

    for (size_t i = 0; i < 3; i++) {
        struct text_source text = {0};
        int code = codes[i];

        assert_int_equal(
            weir_map_create_take(text_source(&text, "ab|-x|=c|!|d"), upper, &code, &source), 0);
        expect_text(source, "AB|=c|", finals[i]);
        assert_true(text.cancelled);
        weir_source_error(source, &error);
        assert_int_equal(error.side, WEIR_SIDE_SELF);
        assert_int_equal(error.reason, WEIR_REASON_HANDLER);
        assert_string_equal(error.where, "map: callback");
        weir_source_destroy(source);
    }
}

static int grow(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    int r = weir_chunk_create((size_t)1 << 20, ret);

    (void)arg;
    (void)chunk;
    pattern_fill(weir_chunk_data(*ret), (size_t)1 << 20, 0);
    return r < 0 ? r : 1;
}

FIBER_TEST(map_delivers_large_results_in_pieces)
{
    struct text_source text = {0};
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t got = 0;

    assert_int_equal(weir_map_create_take(text_source(&text, "x"), grow, NULL, &source), 0);
    while (weir_next(source, -1, &chunk) == 1) {
        got += pattern_check(chunk, got);
    }
    assert_int_equal(got, 1 << 20);
    weir_source_destroy(source);
}

static struct weir_source *self_source;

static int ask_again(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    struct weir_chunk *other;

    (void)arg;
    assert_int_equal(weir_next(self_source, -1, &other), WEIR_EBUSY);
    *ret = weir_chunk_ref(chunk);
    return 1;
}

/* P24 */
FIBER_TEST(a_callback_that_reads_its_own_source_is_told)
{
    struct text_source text = {0};

    assert_int_equal(weir_map_create_take(text_source(&text, "a|b"), ask_again, NULL, &self_source),
                     0);
    expect_text(self_source, "a|b|", 0);
    weir_source_destroy(self_source);
}

static bool no_minus(void *arg, struct weir_view bytes)
{
    (*(unsigned *)arg)++;
    return bytes.data[0] != '-';
}

static int always_minus(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    (void)max_bytes;
    (void)deadline;
    return ++*(unsigned *)state > 1000 ? 0 : weir_chunk_copy(weir_str("-"), ret) < 0 ? -1 : 1;
}

static int count_turns(void *arg)
{
    for (;;) {
        if (weir_yield() < 0) {
            return 0;
        }
        (*(unsigned *)arg)++;
    }
}

FIBER_TEST(filter_lets_others_run)
{
    static const struct weir_source_ops ops = {.name = "minus", .next = always_minus};
    struct text_source text = {0};
    struct weir_source *source;
    struct weir_scope *scope;
    struct weir_chunk *chunk;
    unsigned seen = 0, made = 0, turns = 0;

    assert_int_equal(
        weir_filter_create_take(text_source(&text, "a|-b|-|c"), no_minus, &seen, &source), 0);
    expect_text(source, "a|c|", 0);
    assert_int_equal(seen, 4);
    weir_source_destroy(source);

    assert_int_equal(weir_source_create_take(&ops, &made, &source), 0);
    assert_int_equal(weir_filter_create_take(source, no_minus, &seen, &source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, count_turns, &turns), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(made, 64);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    assert_true(turns >= 10);
    weir_scope_close(scope);
    weir_source_destroy(source);
}

static void append_view(void *arg, struct weir_view bytes)
{
    char *text = arg;
    size_t len = strlen(text);

    memcpy(text + len, bytes.data, bytes.len);
    text[len + bytes.len] = '+';
    text[len + bytes.len + 1] = '\0';
}

FIBER_TEST(inspect_sees_whole_chunks)
{
    struct text_source text = {0};
    char seen[64] = "";
    struct weir_source *source;
    struct weir_chunk *chunk;

    assert_int_equal(
        weir_inspect_create_take(text_source(&text, "abc|de"), append_view, seen, &source), 0);
    assert_int_equal(weir__next(source, 1, -1, &chunk), 1);
    assert_int_equal(weir_chunk_len(chunk), 1);
    weir_chunk_unref(chunk);
    assert_string_equal(seen, "abc+");
    expect_text(source, "bc|de|", 0);
    assert_string_equal(seen, "abc+de+");
    weir_source_destroy(source);
}

/* ---- take, pace ---- */

FIBER_TEST(take_ends_cleanly)
{
    static const struct step steps[] = {{0, 10, 0}, {1, 10, 0}, {0, 0, 0}};

    for (uint64_t bytes = 0; bytes <= 22; bytes++) {
        struct script script;
        struct weir_source *source;
        struct weir_chunk *chunk;
        uint64_t got = 0;

        assert_int_equal(script_source(&script, steps, &source), 0);
        assert_int_equal(weir_take_create_take(source, bytes, &source), 0);
        while (weir_next(source, -1, &chunk) == 1) {
            got += pattern_check(chunk, got);
        }
        assert_int_equal(weir_next(source, -1, &chunk), 0);
        assert_int_equal(got, bytes < 20 ? bytes : 20);
        assert_true(script.position <= bytes + 1); /* P1: at most the one byte it looks for */
        assert_int_equal(script.cancels, bytes < 20);
        weir_source_destroy(source);
        assert_int_equal(script.cancels, bytes < 20);
        assert_int_equal(script.destroys, 1);
    }
}

FIBER_TEST(pace_spaces_chunks)
{
    struct text_source text = {0};
    struct weir_source *source;
    struct weir_chunk *chunk;
    int64_t before = weir_now();

    assert_int_equal(weir_pace_create_take(text_source(&text, "a|b|c"), 100, &source), 0);
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
            assert_int_equal(weir_next(source, weir_after_ms(10), &chunk), WEIR_ETIMEDOUT);
            assert_int_equal(text.calls, i); /* not asked before its time */
        }
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        weir_chunk_unref(chunk);
        assert_int_equal(weir_now() - before, i * 100);
    }
    weir_source_destroy(source);
}

static int cancel_soon(void *arg)
{
    WEIR_IGNORE(weir_sleep(weir_after_ms(30)));
    weir_cancel(arg, WEIR_REASON_FIN);
    return 0;
}

FIBER_TEST(a_cancel_ends_the_pause)
{
    struct text_source text = {0};
    struct weir_source *source;
    struct weir_scope *scope;
    struct weir_chunk *chunk;
    int64_t before = weir_now();

    assert_int_equal(weir_pace_create_take(text_source(&text, "a|b|c"), 100, &source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, cancel_soon, source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ECANCELED);
    assert_int_equal(weir_now() - before, 30);
    weir_scope_close(scope);
    weir_source_destroy(source);
}

/* ---- coalesce ---- */

FIBER_TEST(coalesce_joins_within_the_delay)
{
    static const struct step steps[] = {{0, 3, 0},  {20, 3, 0}, {20, 3, 0},      {200, 4, 0},
                                        {0, 40, 0}, {0, 1, 0},  {0, 0, WEIR_EIO}};
    static const size_t sizes[] = {9, 32, 13};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;
    uint64_t position = 0;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_coalesce_create_take(source, 32, 100, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_next(source, weir_after_ms(30), &chunk), WEIR_ETIMEDOUT); /* kept */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        assert_int_equal(weir_chunk_len(chunk), sizes[i]);
        position += pattern_check(chunk, position);
        if (i == 0) {
            assert_int_equal(weir_now(), 1100); /* from the first byte on */
        }
    }
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_EIO);
    weir_source_error(source, &error);
    assert_int_equal(error.native, 77);
    weir_source_destroy(source);
}

FIBER_TEST(coalesce_without_a_delay_never_waits)
{
    struct text_source text = {.delay_ms = 0};
    struct weir_source *source;

    assert_int_equal(weir_coalesce_create_take(text_source(&text, "a|b|c|dd|e"), 4, 0, &source), 0);
    expect_text(source, "abcd|de|", 0);
    weir_source_destroy(source);
    text = (struct text_source){.delay_ms = 5};
    assert_int_equal(weir_coalesce_create_take(text_source(&text, "a|b|c"), 4, 0, &source), 0);
    expect_text(source, "a|b|c|", 0);
    weir_source_destroy(source);
}

/* ---- lines ---- */

static void expect_lines(const char *in, size_t max, const char *out, int result)
{
    /* Whole, and with every way to cut it in two: the lines are the same. */
    for (size_t cut = 0; cut <= strlen(in); cut++) {
        struct text_source text = {0};
        struct weir_source *source;
        char pieces[256];

        snprintf(pieces, sizeof(pieces), "%.*s%s%s", (int)cut, in, cut > 0 ? "|" : "", in + cut);
        assert_int_equal(weir_lines_create_take(text_source(&text, pieces), max, &source), 0);
        expect_text(source, out, result);
        weir_source_destroy(source);
    }
}

FIBER_TEST(lines_end_with_lf_or_crlf)
{
    expect_lines("", 0, "", 0);
    expect_lines("a", 0, "a|", 0);
    expect_lines("a\n", 0, "a\n|", 0);
    expect_lines("a\r\nb\n\n\r\nc\rd", 0, "a\r\n|b\n|\n|\r\n|c\rd|", 0);
    expect_lines("abc\n", 3, "abc\n|", 0);
    expect_lines("abc\r\n", 3, "abc\r\n|", 0);
    expect_lines("abc", 3, "abc|", 0);
    expect_lines("abc\r", 3, "", WEIR_ELIMIT); /* a CR that ends nothing */
    expect_lines("abcd\n", 3, "", WEIR_ELIMIT);
    expect_lines("abc\rd\n", 3, "", WEIR_ELIMIT);
    expect_lines("ab\nabcd", 3, "ab\n|", WEIR_ELIMIT);
}

FIBER_TEST(lines_one_byte_at_a_time)
{
    struct text_source text = {0};
    struct weir_source *source;
    struct weir_error error;

    assert_int_equal(weir_lines_create_take(text_source(&text, "a|b|\r|\n|\n|c"), 0, &source), 0);
    expect_text(source, "ab\r\n|\n|c|", 0);
    weir_source_destroy(source);

    text = (struct text_source){.result = WEIR_EIO};
    assert_int_equal(weir_lines_create_take(text_source(&text, "a\nb"), 0, &source), 0);
    expect_text(source, "a\n|", WEIR_EIO); /* half a line is none */
    weir_source_destroy(source);

    text = (struct text_source){0};
    assert_int_equal(weir_lines_create_take(text_source(&text, "a\nbcd\n"), 2, &source), 0);
    expect_text(source, "a\n|", WEIR_ELIMIT);
    assert_true(text.cancelled);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_LIMIT);
    assert_string_equal(error.where, "lines: too long");
    weir_source_destroy(source);
}

FIBER_TEST(the_text_of_a_line)
{
    static const struct {
        const char *line, *text;
    } cases[] = {{"a\n", "a"}, {"a\r\n", "a"}, {"\n", ""},      {"\r\n", ""},
                 {"a", "a"},   {"a\r", "a\r"}, {"\r\r\n", "\r"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weir_chunk *chunk;

        assert_int_equal(weir_chunk_copy(weir_str(cases[i].line), &chunk), 0);
        assert_true(weir_view_equal(weir_line_text(chunk), weir_str(cases[i].text)));
        weir_chunk_unref(chunk);
    }
}

FIBER_TEST(long_lines_of_small_pieces)
{
    /* 65534 bytes and CRLF, in ones: the largest there is. */
    uint8_t *bytes = malloc(3 * 65536);
    struct weir_source *source;
    struct weir_chunk *chunk;
    size_t lens[3], count = 0;

    memset(bytes, 'x', 3 * 65536);
    memcpy(bytes + 65534, "\r\n", 2);
    bytes[65536 + 2000] = '\n';
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, 65536 + 2001 + 70), &source), 0);
    free(bytes);
    assert_int_equal(weir_rechunk_create_take(source, 0, 1, &source), 0);
    assert_int_equal(weir_lines_create_take(source, 0, &source), 0);
    while (weir_next(source, -1, &chunk) == 1) {
        assert_true(count < 3);
        lens[count++] = weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(count, 3);
    assert_int_equal(lens[0], 65536);
    assert_int_equal(lens[1], 2001);
    assert_int_equal(lens[2], 70);
    weir_source_destroy(source);
}

/* ---- batch ---- */

static void expect_batch(struct weir_batch *batch, const char *wanted)
{
    struct weir_chunk *const *items;
    char text[256];
    size_t count, len = 0;

    assert_int_equal(weir_batch_next(batch, -1, &items, &count), 1);
    for (size_t i = 0; i < count; i++) {
        struct weir_view view = weir_chunk_view(items[i]);

        memcpy(text + len, view.data, view.len);
        len += view.len;
        text[len++] = '|';
    }
    text[len] = '\0';
    assert_string_equal(text, wanted);
}

FIBER_TEST(batches_by_items_bytes_and_delay)
{
    struct text_source text = {.result = WEIR_EIO};
    struct weir_chunk *const *items;
    struct weir_batch *batch;
    struct weir_error error;
    size_t count;

    assert_int_equal(
        weir_batch_create_take(text_source(&text, "a|b|c|dddd|ee|ffffff|g|h"),
                               &(struct weir_batch_opts){.max_items = 3, .max_bytes = 5}, &batch),
        0);
    expect_batch(batch, "a|b|c|");
    expect_batch(batch, "dddd|");
    expect_batch(batch, "ee|");
    expect_batch(batch, "ffffff|"); /* one always fits */
    expect_batch(batch, "g|h|");    /* before the failure */
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), WEIR_EIO);
    weir_batch_error(batch, &error);
    assert_int_equal(error.code, WEIR_EIO);
    weir_batch_destroy(batch);

    text = (struct text_source){.delay_ms = 40};
    assert_int_equal(weir_batch_create_take(text_source(&text, "a|b|c|d|e"),
                                            &(struct weir_batch_opts){.max_delay_ms = 100}, &batch),
                     0);
    assert_int_equal(weir_batch_next(batch, 0, &items, &count), WEIR_EAGAIN);
    expect_batch(batch, "a|b|c|d|"); /* the source itself does not look at the deadline */
    expect_batch(batch, "e|");
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), 0);
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), 0);
    weir_batch_destroy(batch);
}

FIBER_TEST(a_deadline_keeps_the_batch)
{
    static const struct step steps[] = {{0, 3, 0},   {50, 3, 0},  {50, 3, 0},
                                        {500, 3, 0}, {500, 3, 0}, {0, 0, 0}};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *const *items;
    struct weir_batch *batch;
    size_t count;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(
        weir_batch_create_take(source, &(struct weir_batch_opts){.max_delay_ms = 120}, &batch), 0);
    assert_int_equal(weir_batch_next(batch, 0, &items, &count), WEIR_EAGAIN);
    assert_int_equal(weir_batch_next(batch, weir_after_ms(70), &items, &count), WEIR_ETIMEDOUT);
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), 1);
    assert_int_equal(count, 3);
    assert_int_equal(weir_now(), 1120);
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), 1);
    assert_int_equal(count, 1);
    weir_batch_cancel(batch, WEIR_REASON_LIMIT);
    assert_int_equal(script.cancels, 1);
    assert_int_equal(weir_batch_next(batch, -1, &items, &count), WEIR_ECANCELED);
    weir_batch_destroy(batch);
    assert_int_equal(script.destroys, 1);
    weir_batch_destroy(NULL);
}

/* ---- progress, hash ---- */

struct reports {
    unsigned count;
    struct weir_progress last;
};

static void note(void *arg, const struct weir_progress *progress)
{
    struct reports *reports = arg;

    assert_false(reports->last.is_last);
    assert_true(progress->bytes >= reports->last.bytes);
    reports->count++;
    reports->last = *progress;
}

FIBER_TEST(progress_reports_now_and_then)
{
    static const struct step steps[] = {
        {100, 100, 0}, {100, 100, 0}, {100, 800, 0}, {1, 1, 0}, {99, 0, WEIR_EIO}};
    struct reports reports = {0};
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t position = 0;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_progress_create_take(
                         source,
                         &(struct weir_progress_opts){
                             .fn = note, .arg = &reports, .every_ms = 150, .every_bytes = 700},
                         &source),
                     0);
    while (weir_next(source, -1, &chunk) == 1) {
        position += pattern_check(chunk, position);
        if (position == 100) {
            assert_int_equal(reports.count, 0);
        } else if (position == 200) {
            assert_int_equal(reports.count, 1); /* by time */
            assert_int_equal(reports.last.bytes_per_s, 1000);
        } else if (position == 1000) {
            assert_int_equal(reports.count, 2); /* by bytes */
            assert_int_equal(reports.last.bytes_per_s, 8000);
            assert_int_equal(reports.last.mean_bytes_per_s, 3333);
        }
    }
    assert_int_equal(reports.count, 3);
    assert_int_equal(reports.last.bytes, 1001);
    assert_int_equal(reports.last.elapsed_ms, 400);
    assert_int_equal(reports.last.result, WEIR_EIO);
    assert_true(reports.last.is_last);
    weir_source_destroy(source);
    assert_int_equal(reports.count, 3);
}

struct digest {
    unsigned calls;
    uint8_t bytes[WEIR_SHA256_BYTES];
};

static void keep_digest(void *arg, const uint8_t bytes[WEIR_SHA256_BYTES])
{
    struct digest *digest = arg;

    digest->calls++;
    memcpy(digest->bytes, bytes, WEIR_SHA256_BYTES);
}

FIBER_TEST(hash_of_a_verified_end)
{
    /* FIPS 180-4: "abc" */
    static const uint8_t abc[WEIR_SHA256_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                   0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                   0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                   0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct text_source text = {0};
    struct weir_source *source;
    struct digest digest = {0};

    assert_int_equal(
        weir_hash_create_take(text_source(&text, "a|bc"), keep_digest, &digest, &source), 0);
    expect_text(source, "a|bc|", 0);
    assert_int_equal(digest.calls, 1);
    assert_memory_equal(digest.bytes, abc, sizeof(abc));
    weir_source_destroy(source);
    assert_int_equal(digest.calls, 1);

    text = (struct text_source){.result = WEIR_ETRUNCATED};
    assert_int_equal(
        weir_hash_create_take(text_source(&text, "abc"), keep_digest, &digest, &source), 0);
    expect_text(source, "abc|", WEIR_ETRUNCATED);
    weir_source_destroy(source);
    assert_int_equal(digest.calls, 1);
}

/* ---- descriptors pass ---- */

static unsigned loans;

static int one_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    (void)state;
    (void)max_bytes;
    (void)deadline;
    (void)ret;
    return 0;
}

static int one_lend(void *state, int64_t deadline, struct weir_loan *ret)
{
    (void)state;
    (void)deadline;
    *ret = (struct weir_loan){.fd = 77, .max_bytes = 100};
    return 0;
}

static int one_repay(void *state, uint64_t taken, int native, bool at_eof)
{
    (void)state;
    (void)native;
    loans += (unsigned)taken;
    return at_eof ? 0 : 1;
}

FIBER_TEST(loans_pass_through_those_that_count)
{
    static const struct weir_source_ops ops = {
        .name = "one", .next = one_next, .lend_fd = one_lend, .repay_fd = one_repay};
    struct weir_source *source, *parts[2];
    struct reports reports = {0};
    struct weir_loan loan;
    struct weir_chunk *chunk;

    loans = 0;
    assert_int_equal(weir_source_create_take(&ops, NULL, &parts[0]), 0);
    assert_int_equal(weir_source_create_take(&ops, NULL, &parts[1]), 0);
    assert_int_equal(weir_chain_create_take(parts, 2, &source), 0);
    assert_int_equal(weir_take_create_take(source, 90, &source), 0);
    assert_int_equal(
        weir_progress_create_take(source, &(struct weir_progress_opts){.fn = note, .arg = &reports},
                                  &source),
        0);
    assert_int_equal(weir__source_lend(source, -1, &loan), 0);
    assert_int_equal(loan.fd, 77);
    assert_int_equal(loan.max_bytes, 90);
    assert_int_equal(weir__source_repay(source, 50, 0, true), 1); /* the next part follows */
    assert_int_equal(weir__source_lend(source, -1, &loan), 0);
    assert_int_equal(loan.max_bytes, 40);
    assert_int_equal(weir__source_repay(source, 40, 0, false), 1);
    assert_int_equal(weir__source_lend(source, -1, &loan), WEIR_EUNSUPPORTED);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    assert_int_equal(loans, 90);
    assert_int_equal(reports.last.bytes, 90);
    assert_true(reports.last.is_last);
    weir_source_destroy(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_replaces_drops_and_fails),
        cmocka_unit_test(map_delivers_large_results_in_pieces),
        cmocka_unit_test(a_callback_that_reads_its_own_source_is_told),
        cmocka_unit_test(filter_lets_others_run),
        cmocka_unit_test(inspect_sees_whole_chunks),
        cmocka_unit_test(take_ends_cleanly),
        cmocka_unit_test(pace_spaces_chunks),
        cmocka_unit_test(a_cancel_ends_the_pause),
        cmocka_unit_test(coalesce_joins_within_the_delay),
        cmocka_unit_test(coalesce_without_a_delay_never_waits),
        cmocka_unit_test(lines_end_with_lf_or_crlf),
        cmocka_unit_test(lines_one_byte_at_a_time),
        cmocka_unit_test(the_text_of_a_line),
        cmocka_unit_test(long_lines_of_small_pieces),
        cmocka_unit_test(batches_by_items_bytes_and_delay),
        cmocka_unit_test(a_deadline_keeps_the_batch),
        cmocka_unit_test(progress_reports_now_and_then),
        cmocka_unit_test(hash_of_a_verified_end),
        cmocka_unit_test(loans_pass_through_those_that_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
