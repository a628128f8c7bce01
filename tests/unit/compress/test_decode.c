/* SPDX-License-Identifier: MIT */
/* Decoders: what is whole, what is broken, what is too much. */
#include "../stream/stream_test.h"

#include "reference.h"

static struct world world;

static void in_fiber(void (*fn)(void *arg), void *arg)
{
    assert_true(world_run(&world, fn, arg));
}

/* ---- a source of bytes cut at chance, without waits ---- */

struct cut {
    const uint8_t *bytes;
    size_t len, piece; /* piece 0: by chance */
    uint64_t seed;
    unsigned cancels;
    enum weir_reason reason;
};

static int cut_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct cut *cut = state;
    size_t len =
        cut->piece > 0 ? cut->piece : 1 + roll(&cut->seed, roll(&cut->seed, 2) == 0 ? 9 : 5000);
    int r;

    (void)deadline;
    len = len < cut->len ? len : cut->len;
    len = len < max_bytes ? len : max_bytes;
    if (len == 0) {
        return 0;
    }
    r = weir_chunk_copy(weir_bytes(cut->bytes, len), ret);
    cut->bytes += len;
    cut->len -= len;
    return r < 0 ? r : 1;
}

static void cut_cancel(void *state, enum weir_reason reason)
{
    ((struct cut *)state)->cancels++;
    ((struct cut *)state)->reason = reason;
}

static const struct weir_source_ops cut_ops = {
    .name = "cut", .next = cut_next, .cancel = cut_cancel};

/* One decoding, from its bytes to how it ended. */
struct decoding {
    enum weir_coding coding;
    const uint8_t *bytes;
    size_t len, piece;
    struct weir_decode_opts opts;
    /* afterwards */
    int result;
    uint64_t got;
    uint8_t *out; /* the first out_room bytes; NULL: none wanted */
    size_t out_room;
    unsigned cancels;
    enum weir_reason reason;
    size_t peak; /* of the budget */
    struct weir_error error;
};

static void decode_in_fiber(void *arg)
{
    struct decoding *decoding = arg;
    struct cut cut = {
        decoding->bytes, decoding->len, decoding->piece, decoding->len * 31 + 7, 0, 0};
    struct weir__budget *budget = weir__budget_process();
    size_t before = weir__budget_used(budget);
    struct weir_source *source;
    struct weir_chunk *chunk;

    decoding->got = 0;
    budget->peak = before;
    assert_int_equal(weir_source_create_take(&cut_ops, &cut, &source), 0);
    assert_int_equal(weir_decode_take(source, decoding->coding, &decoding->opts, &source), 0);
    while ((decoding->result = weir_next(source, -1, &chunk)) > 0) {
        struct weir_view view = weir_chunk_view(chunk);

        if (decoding->got + view.len <= decoding->out_room) {
            memcpy(decoding->out + decoding->got, view.data, view.len);
        }
        decoding->got += view.len;
        weir_chunk_unref(chunk);
    }
    assert_int_equal(weir_next(source, -1, &chunk), decoding->result);
    weir_source_error(source, &decoding->error);
    decoding->cancels = cut.cancels;
    decoding->reason = cut.reason;
    weir_source_destroy(source);
    decoding->peak = budget->peak - before;
}

static int decode(struct decoding *decoding)
{
    in_fiber(decode_in_fiber, decoding);
    return decoding->result;
}

static uint8_t *text(size_t len)
{
    static const char *const words[] = {"the ",  "weir ",   "holds ",  "back ",
                                        "what ", "nobody ", "reads, ", "\n"};
    uint8_t *out = malloc(len);
    uint64_t seed = len;
    size_t at = 0;

    assert_non_null(out);
    while (at < len) {
        const char *word = words[roll(&seed, 8)];

        for (size_t i = 0; word[i] != '\0' && at < len; i++) {
            out[at++] = (uint8_t)word[i];
        }
    }
    return out;
}

/* ---- whole ones ---- */

static void whole_bodies(void **state)
{
    static const size_t lengths[] = {0, 1, 5, 100, 16384, 16385, 300000};

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
            uint8_t *plain = text(lengths[k] + 1);
            size_t len;
            uint8_t *coded = reference_encode(all_codings[i], plain, lengths[k], &len);
            uint8_t *out = malloc(lengths[k] + 1);

            for (size_t piece = 0; piece < 3; piece++) {
                struct decoding decoding = {.coding = all_codings[i],
                                            .bytes = coded,
                                            .len = len,
                                            .piece = piece,
                                            .out = out,
                                            .out_room = lengths[k],
                                            .opts = {.max_bytes = lengths[k]}};

                assert_int_equal(decode(&decoding), 0);
                assert_int_equal(decoding.got, lengths[k]);
                assert_memory_equal(out, plain, lengths[k]);
                assert_int_equal(decoding.cancels, 0);
            }
            free(out);
            free(coded);
            free(plain);
        }
    }
}

static void members_and_frames_follow_one_another(void **state)
{
    static const struct {
        enum weir_coding coding;
        int result;
    } cases[] = {{WEIR_CODING_GZIP, 0},
                 {WEIR_CODING_ZSTD, 0},
                 {WEIR_CODING_DEFLATE, WEIR_EPROTO},
                 {WEIR_CODING_BROTLI, WEIR_EPROTO}};
    uint8_t *plain = text(20000);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t first, second;
        uint8_t *a = reference_encode(cases[i].coding, plain, 12000, &first);
        uint8_t *b = reference_encode(cases[i].coding, plain + 12000, 8000, &second);
        uint8_t *both = malloc(first + second);
        static uint8_t out[20000];

        memcpy(both, a, first);
        memcpy(both + first, b, second);
        for (size_t piece = 0; piece < 2; piece++) {
            struct decoding decoding = {.coding = cases[i].coding,
                                        .bytes = both,
                                        .len = first + second,
                                        .piece = piece,
                                        .out = out,
                                        .out_room = sizeof(out)};

            assert_int_equal(decode(&decoding), cases[i].result);
            assert_int_equal(decoding.got, cases[i].result == 0 ? 20000 : 12000);
            assert_memory_equal(out, plain, decoding.got);
            decoding.len = first + second - 1;
            decode(&decoding);
            assert_int_equal(decoding.result, cases[i].result == 0 ? WEIR_ETRUNCATED : WEIR_EPROTO);
        }
        free(a);
        free(b);
        free(both);
    }
    free(plain);
}

/* ---- broken ones ---- */

static void v16_truncated_at_every_byte(void **state)
{
    uint8_t *plain = text(700);

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        size_t len;
        uint8_t *coded = reference_encode(all_codings[i], plain, 700, &len);
        uint8_t out[700];

        for (size_t cut_at = 0; cut_at < len; cut_at++) {
            for (size_t piece = 0; piece < 2; piece++) {
                struct decoding decoding = {.coding = all_codings[i],
                                            .bytes = coded,
                                            .len = cut_at,
                                            .piece = piece,
                                            .out = out,
                                            .out_room = sizeof(out)};

                assert_int_equal(decode(&decoding), WEIR_ETRUNCATED);
                assert_int_equal(decoding.error.reason, WEIR_REASON_TRUNCATED);
                assert_memory_equal(out, plain, decoding.got);
            }
        }
        free(coded);
    }
    free(plain);
}

static void bytes_behind_the_end(void **state)
{
    uint8_t *plain = text(3000);

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        size_t len;
        uint8_t *coded = reference_encode(all_codings[i], plain, 3000, &len);

        coded = realloc(coded, len + 1);
        for (int last = 0; last < 256; last++) {
            struct decoding decoding = {.coding = all_codings[i],
                                        .bytes = coded,
                                        .len = len + 1,
                                        .piece = (size_t)last % 2};

            coded[len] = (uint8_t)last;
            decode(&decoding);
            /* What could begin another member or frame is cut off there. */
            assert_true(decoding.result == WEIR_EPROTO || decoding.result == WEIR_ETRUNCATED);
            assert_int_equal(decoding.got, 3000);
            if (all_codings[i] == WEIR_CODING_BROTLI || all_codings[i] == WEIR_CODING_DEFLATE ||
                last == 0) {
                assert_int_equal(decoding.result, WEIR_EPROTO);
                assert_int_equal(decoding.cancels, 1);
                assert_int_equal(decoding.reason, WEIR_REASON_PROTOCOL);
            }
        }
        free(coded);
    }
    free(plain);
}

static void garbage(void **state)
{
    uint64_t seed = 4;
    uint8_t bytes[200];

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        static const uint8_t plain[] = "<html>this was never compressed, whatever the head said";
        struct decoding decoding = {.coding = all_codings[i], .bytes = plain, .len = sizeof(plain)};

        assert_int_equal(decode(&decoding), WEIR_EPROTO);
        for (int round = 0; round < 300; round++) {
            for (size_t k = 0; k < sizeof(bytes); k++) {
                bytes[k] = (uint8_t)roll(&seed, 256);
            }
            decoding =
                (struct decoding){.coding = all_codings[i], .bytes = bytes, .len = sizeof(bytes)};
            decode(
                &decoding); /* brotli takes a few as they are: it has neither magic nor checksum */
            assert_true(all_codings[i] == WEIR_CODING_BROTLI || decoding.result < 0);
        }
    }
}

/* A frame that lies whole before libzstd is read by other code than one in pieces, which judges an empty block otherwise. */
static void the_cut_changes_no_verdict(void **state)
{
    static const uint8_t empty_block[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 5, 0, 0};
    uint8_t *plain = text(60);
    size_t len;
    uint8_t *coded = reference_encode(WEIR_CODING_ZSTD, plain, 60, &len);

    (void)state;
    for (size_t at = 0; at <= len; at++) {
        const uint8_t *bytes = at < len ? coded : empty_block;
        struct decoding whole = {.coding = WEIR_CODING_ZSTD,
                                 .bytes = bytes,
                                 .len = at < len ? len : sizeof(empty_block)};

        for (unsigned bit = 0; bit < 8; bit++) {
            struct decoding pieces = whole;

            coded[at % len] ^= (uint8_t)(1u << bit);
            pieces.piece = 1;
            decode(&whole);
            decode(&pieces);
            assert_int_equal(whole.result, pieces.result);
            coded[at % len] ^= (uint8_t)(1u << bit);
        }
    }
    free(coded);
    free(plain);
}

/* A wrong byte is found, wherever there is a checksum. */
static void each_byte_damaged(void **state)
{
    static const enum weir_coding checked[] = {WEIR_CODING_GZIP, WEIR_CODING_DEFLATE};
    uint8_t *plain = text(500);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        uint8_t *coded = reference_encode(checked[i], plain, 500, &len);
        uint8_t out[600];

        for (size_t at = 0; at < len; at++) {
            struct decoding decoding = {.coding = checked[i],
                                        .bytes = coded,
                                        .len = len,
                                        .out = out,
                                        .out_room = sizeof(out)};

            coded[at] ^= 0x14;
            decode(&decoding);
            if (decoding.result == 0) { /* a byte of gzip's head that says nothing of the data */
                assert_in_range(at, 3, 9);
                assert_int_equal(decoding.got, 500);
                assert_memory_equal(out, plain, 500);
            }
            coded[at] ^= 0x14;
        }
        free(coded);
    }
    free(plain);
}

static void windows_and_formats_beyond_the_bounds(void **state)
{
    static const uint8_t legacy[] = {0x25, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0},
                         older[] = {0x1e, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0},
                         skipped[] = {0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3},
                         shorter[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x10, 1, 0, 0},
                         large_brotli[] = {0x11, 0x1e, 0, 0, 0, 0};
    size_t len = 20 << 20, room = 1 << 20;
    uint8_t *plain = calloc(1, len), *coded = malloc(room);
    struct decoding decoding = {.coding = WEIR_CODING_ZSTD, .opts = {.max_ratio = WEIR_RATIO_ANY}};

    (void)state;
    for (int bits = 22; bits <= 25; bits++) {
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_inBuffer in = {plain, len, 0};
        ZSTD_outBuffer out = {coded, room, 0};

        ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, bits);
        assert_int_equal(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end), 0);
        ZSTD_freeCCtx(context);
        decoding.bytes = coded;
        decoding.len = out.pos;
        assert_int_equal(decode(&decoding), bits <= 23 ? 0 : WEIR_EPROTO);
        assert_in_range(decoding.peak, 1, (8 << 20) + (1 << 20));
    }
    decoding.bytes = legacy;
    decoding.len = sizeof(legacy);
    assert_int_equal(decode(&decoding), WEIR_EPROTO);
    decoding.bytes = older;
    decoding.len = sizeof(older);
    assert_int_equal(decode(&decoding), WEIR_EPROTO);
    decoding.bytes = skipped;
    decoding.len = sizeof(skipped);
    assert_int_equal(decode(&decoding), 0);
    for (size_t piece = 0; piece < 2; piece++) { /* declares 16 bytes, has none */
        decoding.bytes = shorter;
        decoding.len = sizeof(shorter);
        decoding.piece = piece;
        assert_int_equal(decode(&decoding), WEIR_EPROTO);
    }
    decoding.coding = WEIR_CODING_BROTLI;
    decoding.bytes = large_brotli;
    decoding.len = sizeof(large_brotli);
    assert_int_equal(decode(&decoding), WEIR_EPROTO);
    free(plain);
    free(coded);
}

/* ---- too much ---- */

#define BOMB 10000000u

static void bombs(void **state)
{
    uint8_t *zeros = calloc(1, BOMB);

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        size_t len;
        uint8_t *coded = reference_encode(all_codings[i], zeros, BOMB, &len);
        struct decoding decoding = {.coding = all_codings[i], .bytes = coded, .len = len};

        /* By the ratio, as soon as the grace is over. */
        assert_in_range(len, 1, BOMB / 900);
        assert_int_equal(decode(&decoding), WEIR_ELIMIT);
        assert_int_equal(decoding.error.reason, WEIR_REASON_LIMIT);
        assert_in_range(decoding.got, 65536 - 16384, len * 100 > 65536 ? len * 100 : 65536);
        assert_int_equal(decoding.cancels, 1);
        /* By the length: what is within it is delivered. */
        decoding.opts = (struct weir_decode_opts){.max_ratio = WEIR_RATIO_ANY, .max_bytes = 123456};
        assert_int_equal(decode(&decoding), WEIR_ELIMIT);
        assert_int_equal(decoding.got, 123456);
        decoding.opts.max_bytes = BOMB - 1;
        assert_int_equal(decode(&decoding), WEIR_ELIMIT);
        assert_int_equal(decoding.got, BOMB - 1);
        decoding.opts.max_bytes = BOMB;
        assert_int_equal(decode(&decoding), 0);
        /* Neither: constant memory still. */
        decoding.opts.max_bytes = 0;
        assert_int_equal(decode(&decoding), 0);
        assert_int_equal(decoding.got, BOMB);
        assert_in_range(decoding.peak, 10000, (17u << 20) + (1u << 20));
        if (all_codings[i] == WEIR_CODING_GZIP || all_codings[i] == WEIR_CODING_DEFLATE) {
            assert_in_range(decoding.peak, 10000, 200000);
        }
        /* A later one: many times a little. */
        decoding.opts = (struct weir_decode_opts){.max_ratio = 20, .grace_bytes = 1000000};
        assert_int_equal(decode(&decoding), WEIR_ELIMIT);
        assert_in_range(decoding.got, 1000000 - 16384, 1000000);
        free(coded);
    }
    free(zeros);
}

static void a_bomb_in_a_bomb(void *arg)
{
    uint8_t *zeros = calloc(1, BOMB);
    size_t once, twice;
    uint8_t *inner = reference_encode(WEIR_CODING_GZIP, zeros, BOMB, &once);
    uint8_t *outer = reference_encode(WEIR_CODING_BROTLI, inner, once, &twice);
    struct cut cut = {.bytes = outer, .len = twice};
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t got = 0;
    int r;

    (void)arg;
    assert_int_equal(weir_source_create_take(&cut_ops, &cut, &source), 0);
    assert_int_equal(weir_decode_all_take(source, weir_str("gzip , br"), NULL, &source), 0);
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        got += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(r, WEIR_ELIMIT);
    assert_in_range(got, 1, once * 100);
    weir_source_destroy(source);
    assert_int_equal(cut.cancels, 1);
    free(zeros);
    free(inner);
    free(outer);
}

static void bombs_in_bombs(void **state)
{
    (void)state;
    in_fiber(a_bomb_in_a_bomb, NULL);
}

/* ---- the field's value ---- */

static int chain(const char *value, const struct weir_decode_opts *opts, uint8_t *bytes, size_t len,
                 uint64_t *ret_got)
{
    struct cut cut = {.bytes = bytes, .len = len};
    struct weir_source *source;
    struct weir_chunk *chunk;
    int r;

    *ret_got = 0;
    assert_int_equal(weir_source_create_take(&cut_ops, &cut, &source), 0);
    r = weir_decode_all_take(source, value != NULL ? weir_str(value) : weir_bytes(NULL, 0), opts,
                             &source);
    if (r < 0) {
        assert_int_equal(cut.cancels, 1);
        return r;
    }
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        *ret_got += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    weir_source_destroy(source);
    return r;
}

static void chains_in_fiber(void *arg)
{
    struct weir_decode_opts limited = {.max_bytes = 100};
    uint8_t *plain = text(5000);
    size_t once, twice;
    uint8_t *inner = reference_encode(WEIR_CODING_ZSTD, plain, 5000, &once);
    uint8_t *outer = reference_encode(WEIR_CODING_GZIP, inner, once, &twice);
    struct weir_source *source = NULL;
    uint64_t got;

    (void)arg;
    assert_int_equal(chain("zstd, gzip", NULL, outer, twice, &got), 0);
    assert_int_equal(got, 5000);
    assert_int_equal(chain("zstd,identity,X-GZIP", NULL, outer, twice, &got), 0);
    assert_int_equal(got, 5000);
    assert_int_equal(chain("zstd", NULL, inner, once, &got), 0);
    assert_int_equal(got, 5000);
    assert_int_equal(chain("gzip, zstd", NULL, outer, twice, &got), WEIR_EPROTO);
    assert_int_equal(chain(NULL, NULL, plain, 5000, &got), 0);
    assert_int_equal(got, 5000);
    assert_int_equal(chain("identity", &limited, plain, 5000, &got), WEIR_ELIMIT);
    assert_int_equal(got, 100);
    assert_int_equal(chain("identity", &limited, plain, 100, &got), 0);
    assert_int_equal(chain("gzip, compress", NULL, outer, twice, &got), WEIR_EUNSUPPORTED);
    assert_int_equal(chain("aes128gcm", NULL, outer, twice, &got), WEIR_EUNSUPPORTED);
    assert_int_equal(chain("gzip,gzip,gzip", NULL, outer, twice, &got), WEIR_ELIMIT);
    assert_int_equal(weir_decode_all_take(NULL, weir_str("gzip"), NULL, &source), WEIR_EINVAL);
    assert_int_equal(weir_decode_take(NULL, WEIR_CODING_GZIP, NULL, &source), WEIR_EINVAL);
    assert_null(source);
    free(plain);
    free(inner);
    free(outer);
}

static void codings_by_their_names(void **state)
{
    (void)state;
    in_fiber(chains_in_fiber, NULL);
}

/* ---- waits and failures of the inner source ---- */

static void partial_in_fiber(void *arg)
{
    static const struct step steps[] = {
        {0, 4000, 0}, {50, 4000, 0}, {20, 4000, 0}, {0, 0, WEIR_EIO}};
    enum weir_coding coding = *(const enum weir_coding *)arg;
    struct script script;
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;
    uint64_t got = 0;
    int r;

    assert_int_equal(script_source(&script, steps, &source), 0);
    assert_int_equal(weir_encode_take(source, coding, NULL, &source), 0);
    assert_int_equal(weir_decode_take(source, coding, NULL, &source), 0);
    for (uint64_t want = 4000; want <= 12000; want += 4000) {
        while (got < want) {
            assert_int_equal(weir_next(source, weir_after_ms(100), &chunk), 1);
            got += pattern_check(chunk, got);
        }
        r = weir_next(source, 0, &chunk);
        if (want < 12000) {
            assert_int_equal(r, WEIR_EAGAIN);
            assert_int_equal(weir_next(source, weir_after_ms(1), &chunk), WEIR_ETIMEDOUT);
        }
    }
    assert_int_equal(r, WEIR_EIO);
    weir_source_error(source, &error);
    assert_string_equal(error.where, "script");
    assert_int_equal(error.native, 77);
    weir_source_destroy(source);
    assert_int_equal(script.destroys, 1);
}

static void what_has_arrived_is_delivered(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        in_fiber(partial_in_fiber, (void *)(uintptr_t)&all_codings[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_bodies),
        cmocka_unit_test(members_and_frames_follow_one_another),
        cmocka_unit_test(v16_truncated_at_every_byte),
        cmocka_unit_test(bytes_behind_the_end),
        cmocka_unit_test(garbage),
        cmocka_unit_test(the_cut_changes_no_verdict),
        cmocka_unit_test(each_byte_damaged),
        cmocka_unit_test(windows_and_formats_beyond_the_bounds),
        cmocka_unit_test(bombs),
        cmocka_unit_test(bombs_in_bombs),
        cmocka_unit_test(codings_by_their_names),
        cmocka_unit_test(what_has_arrived_is_delivered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
