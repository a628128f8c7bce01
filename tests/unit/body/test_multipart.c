/* SPDX-License-Identifier: MIT */
/* Multipart bodies in pieces of every size: the same bytes give the same parts, and fail alike. */
#include "pieces.h"

#include <weir/body.h>
#include <weir/multipart.h>

#include "body/multipart.h"

#define TYPE "multipart/form-data; boundary=b0"
#define DELIMITER "\r\n--b0"
#define PART(name, data) "--b0\r\nContent-Disposition: form-data; name=" name "\r\n\r\n" data "\r\n"
#define END "--b0--\r\n"

/* How a reader goes about it. */
struct way {
    size_t ask;   /* at most so many bytes at once; 0: any */
    size_t leave; /* so many bytes of each part are read; the rest is left; SIZE_MAX: all */
    bool cancel, destroy, all; /* each part's body is; or is read whole */
    int64_t deadline;
};

static const struct way whole = {.leave = SIZE_MAX};

struct outcome {
    int result;
    size_t parts;
    size_t len;
    char text[8192]; /* [name|filename|safe|type|data] for each part */
};

static void put(struct outcome *out, struct weir_view view)
{
    for (size_t i = 0; i < view.len; i++) {
        uint8_t byte = view.data[i];
        bool plain = byte >= 0x20 && byte < 0x7f;

        assert_true(out->len + 5 < sizeof(out->text));
        out->len += (size_t)snprintf(out->text + out->len, sizeof(out->text) - out->len,
                                     plain ? "%c" : "<%02x>", byte);
    }
}

static void put_view(struct outcome *out, struct weir_view view, const char *behind)
{
    put(out, weir_view_is_absent(view) ? weir_str("-") : view);
    put(out, weir_str(behind));
}

/* Reads a part's bytes: 0 at its end, WEIR_EFLOW when enough was read, or an error. */
static int read_part(struct weir_part *part, const struct way *way, struct outcome *out)
{
    struct weir_source *body = weir_part_body(part);
    struct weir_chunk *chunk = NULL;
    size_t got = 0;
    int r;

    if (way->all) {
        r = weir_read_all(body, 4096, -1, &chunk);
        if (r == 0) {
            put(out, weir_chunk_view(chunk));
            weir_chunk_unref(chunk);
        }
        return r;
    }
    while (got < way->leave) {
        size_t most = way->ask > 0 ? way->ask : WEIR_CHUNK_BYTES;

        r = weir__next(body, most < way->leave - got ? most : way->leave - got, way->deadline,
                       &chunk);
        if (r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT) {
            continue;
        }
        if (r <= 0) {
            assert_int_equal(weir_next(body, -1, &chunk), r);
            return r;
        }
        got += weir_chunk_len(chunk);
        put(out, weir_chunk_view(chunk));
        weir_chunk_unref(chunk);
    }
    return WEIR_EFLOW;
}

static void run_on(struct weir_source *source, const char *type,
                   const struct weir_multipart_limits *limits, const struct way *way,
                   struct outcome *out)
{
    struct weir_multipart *multipart = NULL;
    struct weir_part *part;
    struct weir_error error;
    int r = weir_multipart_open(source, weir_str(type), limits, &multipart);

    *out = (struct outcome){.result = r};
    if (r < 0) {
        assert_null(multipart);
        return;
    }
    for (;;) {
        do {
            r = weir_multipart_next(multipart, way->deadline, &part);
        } while (r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT);
        if (r <= 0) {
            break;
        }
        out->parts++;
        put(out, weir_str("["));
        put_view(out, weir_part_name(part), "|");
        put_view(out, weir_part_filename(part), "|");
        put_view(out, weir_part_safe_filename(part), "|");
        put_view(out, weir_part_content_type(part), "|");
        r = read_part(part, way, out);
        if (r == 0 || r == WEIR_EFLOW) {
            put(out, weir_str("]"));
        }
        if (way->cancel) {
            weir_cancel(weir_part_body(part), WEIR_REASON_CANCELED);
        }
        if (way->destroy) {
            weir_source_destroy(weir_part_body(part));
        }
    }
    out->result = r;
    assert_int_equal(weir_multipart_next(multipart, -1, &part), r);
    weir_multipart_error(multipart, &error);
    assert_int_equal(error.code, r);
    assert_true((error.where != NULL) == (r < 0));
    weir_multipart_destroy(multipart);
}

static void run(struct pieces *pieces, const struct weir_multipart_limits *limits,
                const struct way *way, struct outcome *out)
{
    struct weir_source *source = pieces_source(pieces);
    int final;

    run_on(source, TYPE, limits, way, out);
    final = source->final;
    assert_int_equal(pieces->cancels, 0); /* the source is the caller's */
    if (out->result == 0) {
        assert_int_equal(final, 0); /* an end is the source's too */
    }
    weir_source_destroy(source);
}

/* ---- a table, in every split ---- */

static const struct {
    const char *body;
    int result;
    const char *parts; /* what was read before the result */
} cases[] = {
    {END, 0, ""},
    {"--b0--", 0, ""},
    {PART("a", "1") END, 0, "[a|-|-|text/plain|1]"},
    {PART("a", "1") PART("\"b\"", "22") END, 0, "[a|-|-|text/plain|1][b|-|-|text/plain|22]"},
    {PART("a", "") END, 0, "[a|-|-|text/plain|]"},
    {PART("\"\"", "") END, 0, "[|-|-|text/plain|]"},
    {PART("a", "1") "--b0--", 0, "[a|-|-|text/plain|1]"},
    {PART("a", "1") "--b0-- \t\r\nbye\r\n--b0\r\nbye", 0, "[a|-|-|text/plain|1]"},
    {PART("a", "1") "--b0--\r", 0, "[a|-|-|text/plain|1]"},
    {"preamble\r\n--b\r\n" PART("a", "1") END, 0, "[a|-|-|text/plain|1]"},
    {"\r\n" PART("a", "1") END, 0, "[a|-|-|text/plain|1]"},
    {"x--b0\r\n" PART("a", "1") END, 0, "[a|-|-|text/plain|1]"},
    /* a part whose header's last line is the delimiter's line end */
    {"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n--b0--", 0, "[a|-|-|text/plain|]"},
    /* delimiters that are none */
    {PART("a", "\r\n--b1\r\n--b\r\n-\r\n--\r\n\r\n--b") END, 0,
     "[a|-|-|text/plain|<0d><0a>--b1<0d><0a>--b<0d><0a>-<0d><0a>--<0d><0a><0d><0a>--b]"},
    {PART("a", "\r\r\n-\r\r\n--\r\n\r\r") END, 0,
     "[a|-|-|text/plain|<0d><0d><0a>-<0d><0d><0a>--<0d><0a><0d><0d>]"},
    {PART("a", "--b0") END, WEIR_EPROTO,
     "[a|-|-|text/plain|]"}, /* the part is empty, the next has no header */
    {PART("a", "x--b0") END, 0, "[a|-|-|text/plain|x--b0]"},
    {PART("a", "\n--b0") END, 0, "[a|-|-|text/plain|<0a>--b0]"},
    {PART("a", "\r--b0") END, 0, "[a|-|-|text/plain|<0d>--b0]"},
    {PART("a", "\r\n--B0") END, 0, "[a|-|-|text/plain|<0d><0a>--B0]"},
    {PART("a", "\r\n --b0") END, 0, "[a|-|-|text/plain|<0d><0a> --b0]"},
    {"--b0 \t \r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b0\t\r\n"
     "Content-Disposition: form-data; name=b\r\n\r\n2" DELIMITER "--",
     0, "[a|-|-|text/plain|1][b|-|-|text/plain|2]"},
    /* headers */
    {"--b0\r\ncontent-type:  image/png \r\nX-A: b\r\nCONTENT-DISPOSITION: Form-Data ; "
     "FileName=\"a.png\" ;name=\"x y\";;\r\n\r\n1\r\n" END,
     0, "[x y|a.png|a.png|image/png|1]"},
    {PART("\"a\\\"b\\\\c\\d%22\"", "1") END, 0, "[a\"b\\c\\d%22|-|-|text/plain|1]"},
    {PART("a; filename=\"\"", "") END, 0, "[a||-|text/plain|]"},
    {PART("a; filename=\"C:\\x\\y.txt\"", "") END, 0, "[a|C:\\x\\y.txt|y.txt|text/plain|]"},
    {PART("a; filename=\"../../etc/passwd\"", "") END, 0,
     "[a|../../etc/passwd|passwd|text/plain|]"},
    {PART("\"\xc3\xa9\"; x=\";\"; filename*=UTF-8''x", "") END, 0, "[<c3><a9>|-|-|text/plain|]"},
    /* not whole */
    {"", WEIR_ETRUNCATED, ""},
    {"preamble only", WEIR_ETRUNCATED, ""},
    {"-", WEIR_ETRUNCATED, ""},
    {"--b0", WEIR_ETRUNCATED, ""},
    {"--b0-", WEIR_ETRUNCATED, ""},
    {"--b0\r", WEIR_ETRUNCATED, ""},
    {"--b0\r\n", WEIR_ETRUNCATED, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a", WEIR_ETRUNCATED, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\r\n", WEIR_ETRUNCATED, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n", WEIR_ETRUNCATED,
     "[a|-|-|text/plain|"},
    {PART("a", "12"), WEIR_ETRUNCATED, "[a|-|-|text/plain|12"},
    {PART("a", "12") "--b0", WEIR_ETRUNCATED, "[a|-|-|text/plain|12]"},
    {PART("a", "12") "--b0\r\n", WEIR_ETRUNCATED, "[a|-|-|text/plain|12]"},
    {"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n12\r\n--b", WEIR_ETRUNCATED,
     "[a|-|-|text/plain|12"},
    /* garbage */
    {"--b00\r\n", WEIR_EPROTO, ""},
    {"--b0x", WEIR_EPROTO, ""},
    {"--b0-x", WEIR_EPROTO, ""},
    {"--b0\n", WEIR_EPROTO, ""},
    {"--b0\rx", WEIR_EPROTO, ""},
    {"--b0 x\r\n", WEIR_EPROTO, ""},
    {"--b0 --\r\n", WEIR_EPROTO, ""},
    {"--b0--x", WEIR_EPROTO, ""},
    {"--b0---", WEIR_EPROTO, ""},
    {"--b0--\n", WEIR_EPROTO, ""},
    {"--b0--\r\r", WEIR_EPROTO, ""},
    {PART("a", "\r\n--b0x") END, WEIR_EPROTO, "[a|-|-|text/plain|]"},
    {PART("a", "1") "--b0x", WEIR_EPROTO, "[a|-|-|text/plain|1]"},
    {"--b0\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\n--b0\r\n", WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\n\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\n: form-data; name=a\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition : form-data; name=a\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition form-data\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Type: text/plain\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data; filename=a\r\n\r\n1\r\n" END, WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; "
     "name=b\r\n\r\n1\r\n" END,
     WEIR_EPROTO, ""},
    {"--b0\r\nContent-Disposition: form-data; name=a\r\nContent-Type: a/b\r\nContent-type: "
     "a/c\r\n\r\n1\r\n" END,
     WEIR_EPROTO, ""},
    {PART("a; name=b", "") END, WEIR_EPROTO, ""},
    {PART("a; filename=a; filename=a", "") END, WEIR_EPROTO, ""},
    {PART("\"a", "") END, WEIR_EPROTO, ""},
    {PART("\"a\\\"", "") END, WEIR_EPROTO, ""},
    {PART("\"a\"b", "") END, WEIR_EPROTO, ""},
    {PART("a b", "") END, WEIR_EPROTO, ""},
    {PART("", "") END, WEIR_EPROTO, ""},
    {PART("a;b", "") END, WEIR_EPROTO, ""},
    {PART("a; =b", "") END, WEIR_EPROTO, ""},
    {PART("a; b =c", "") END, WEIR_EPROTO, ""},
    {PART("a\x01", "") END, WEIR_EPROTO, ""},
    {PART("\"a\rb\"", "") END, WEIR_EPROTO, ""},
};

static void expect(size_t i, const struct pieces *pieces, const struct outcome *out,
                   const struct outcome *like)
{
    if (out->result != like->result || strcmp(out->text, like->text) != 0) {
        fail_msg("%zu cut at %zu, most %zu: %d %s\nnot %d %s", i, pieces->cut, pieces->most,
                 out->result, out->text, like->result, like->text);
    }
}

static void every_split(void **state)
{
    static struct outcome first, out;
    static const struct way ways[] = {
        {.leave = SIZE_MAX},
        {.leave = SIZE_MAX, .ask = 1},
        {.leave = SIZE_MAX, .ask = 3},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len = strlen(cases[i].body);
        struct pieces pieces = {.bytes = (const uint8_t *)cases[i].body, .len = len};

        run(&pieces, NULL, &whole, &first);
        if (first.result != cases[i].result || strcmp(first.text, cases[i].parts) != 0) {
            fail_msg("%zu: %d %s", i, first.result, first.text);
        }
        for (size_t way = 0; way < COUNT(ways); way++) {
            for (size_t most = 1; most < 12; most++) {
                for (int shared = 0; shared < 2; shared++) {
                    pieces = (struct pieces){
                        .bytes = pieces.bytes, .len = len, .most = most, .shared = shared};
                    run(&pieces, NULL, &ways[way], &out);
                    expect(i, &pieces, &out, &first);
                }
            }
            for (size_t cut = 1; cut < len; cut++) {
                pieces = (struct pieces){
                    .bytes = pieces.bytes, .len = len, .cut = cut, .shared = cut % 2};
                run(&pieces, NULL, &ways[way], &out);
                expect(i, &pieces, &out, &first);
            }
        }
    }
}

/* A call that found nothing in time is made again, and nothing is lost or repeated. */
static void waits_that_end_early(void **state)
{
    static struct outcome first, out;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int64_t deadline = 0; deadline < 2; deadline++) {
            struct pieces pieces = {.bytes = (const uint8_t *)cases[i].body,
                                    .len = strlen(cases[i].body)};
            struct way way = {.leave = SIZE_MAX, .deadline = deadline};

            run(&pieces, NULL, &whole, &first);
            pieces = (struct pieces){
                .bytes = pieces.bytes, .len = pieces.len, .most = 1, .dry = 1 + i % 3};
            run(&pieces, NULL, &way, &out);
            expect(i, &pieces, &out, &first);
        }
    }
}

/* What is left of a part is skipped, however little was read and however it was left. */
static void parts_left_unread(void **state)
{
    static struct outcome out;
    static const char body[] =
        PART("a", "0123\r\n--b5678") PART("b", "") PART("c", "xyz") "--b0--\r\nbye";
    static const struct {
        size_t leave;
        const char *parts;
    } expected[] = {
        {0, "[a|-|-|text/plain|][b|-|-|text/plain|][c|-|-|text/plain|]"},
        {1, "[a|-|-|text/plain|0][b|-|-|text/plain|][c|-|-|text/plain|x]"},
        {3, "[a|-|-|text/plain|012][b|-|-|text/plain|][c|-|-|text/plain|xyz]"},
        {6, "[a|-|-|text/plain|0123<0d><0a>][b|-|-|text/plain|][c|-|-|text/plain|xyz]"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(expected); i++) {
        for (size_t most = 0; most < sizeof(body); most++) {
            for (int how = 0; how < 3; how++) {
                struct pieces pieces = {
                    .bytes = (const uint8_t *)body, .len = sizeof(body) - 1, .most = most};
                struct way way = {
                    .leave = expected[i].leave, .cancel = how == 1, .destroy = how == 2};

                run(&pieces, NULL, &way, &out);
                assert_int_equal(out.result, 0);
                assert_string_equal(out.text, expected[i].parts);
            }
        }
    }
}

static void a_part_read_whole(void **state)
{
    static struct outcome out;
    static const char body[] = PART("a", "0123\r\n--b5678") PART("b", "") END;

    (void)state;
    for (size_t most = 0; most < sizeof(body); most++) {
        struct pieces pieces = {
            .bytes = (const uint8_t *)body, .len = sizeof(body) - 1, .most = most};
        struct way way = {.all = true};

        run(&pieces, NULL, &way, &out);
        assert_int_equal(out.result, 0);
        assert_string_equal(out.text, "[a|-|-|text/plain|0123<0d><0a>--b5678][b|-|-|text/plain|]");
    }
}

/* ---- by chance ---- */

#define RANDOM_BYTES 4096

static size_t random_data(uint64_t *seed, char *data, size_t most)
{
    static const char *const bits[] = {"\r",     "\n",      "\r\n",   "\r\n-",
                                       "\r\n--", "\r\n--b", "--b0--", "\r\n--b1",
                                       "-",      "b0",      "x",      "\r\r\n--b"};
    size_t count = roll(seed, 12), len = 0;

    for (size_t i = 0; i < count; i++) {
        const char *bit = bits[roll(seed, COUNT(bits))];
        size_t bit_len = strlen(bit);

        if (len + bit_len > most) {
            break;
        }
        memcpy(data + len, bit, bit_len);
        len += bit_len;
    }
    /* Not the delimiter itself, nor at the front where a line end stands before it. */
    for (size_t i = 0; i + 4 <= len; i++) {
        if (memcmp(data + i, "--b0", 4) == 0 &&
            (i == 0 || (i > 1 && data[i - 1] == '\n' && data[i - 2] == '\r'))) {
            data[i] = '+';
        }
    }
    return len;
}

static void random_bodies(void **state)
{
    const char *wanted = getenv("WEIR_SEED");
    uint64_t first = wanted != NULL ? strtoull(wanted, NULL, 0) : 1;
    uint64_t count = wanted != NULL ? 1 : 3000;
    static struct outcome out, like;
    static char body[RANDOM_BYTES];

    (void)state;
    for (uint64_t program = first; program < first + count; program++) {
        uint64_t seed = program;
        size_t parts = roll(&seed, 5), len = 0;
        struct pieces pieces;
        struct way way;

        like = (struct outcome){0};
        if (roll(&seed, 3) == 0) {
            len += random_data(&seed, body, 200);
            memcpy(body + len, "\r\n", 2);
            len += 2;
        }
        for (size_t i = 0; i < parts; i++) {
            size_t data;

            len += (size_t)snprintf(body + len, sizeof(body) - len,
                                    "--b0\r\nContent-Disposition: form-data; name=n%zu\r\n\r\n", i);
            data = random_data(&seed, body + len, 300);
            put(&like, weir_str("[n"));
            put(&like, weir_bytes(&"0123456789"[i], 1));
            put(&like, weir_str("|-|-|text/plain|"));
            put(&like, weir_bytes(body + len, data));
            put(&like, weir_str("]"));
            len += data;
            memcpy(body + len, "\r\n", 2);
            len += 2;
        }
        len += (size_t)snprintf(body + len, sizeof(body) - len, "--b0--\r\n");
        if (roll(&seed, 3) == 0) {
            len += random_data(&seed, body + len, 200);
        }
        if (roll(&seed, 4) == 0) {
            like.result = WEIR_ERESET;
        }
        pieces = (struct pieces){.bytes = (const uint8_t *)body,
                                 .len = len,
                                 .seed = seed | 1,
                                 .most = 1 + roll(&seed, 40),
                                 .shared = roll(&seed, 2),
                                 .dry = roll(&seed, 2),
                                 .result = like.result};
        way = (struct way){.leave = SIZE_MAX, .ask = roll(&seed, 20)};
        run(&pieces, NULL, &way, &out);
        if (out.result != like.result || strcmp(out.text, like.text) != 0) {
            fail_msg("WEIR_SEED=%llu: %d %s\nnot %d %s", (unsigned long long)program, out.result,
                     out.text, like.result, like.text);
        }
    }
}

/* ---- limits ---- */

static int with_limits(const char *body, size_t most, struct weir_multipart_limits limits,
                       struct outcome *out)
{
    struct pieces pieces = {.bytes = (const uint8_t *)body, .len = strlen(body), .most = most};

    run(&pieces, &limits, most % 3 == 2 ? &(struct way){.leave = 0} : &whole, out);
    return out->result;
}

static void limits_are_exact(void **state)
{
    static struct outcome out;
    static const char two[] = PART("a", "12345") PART("b", "123") END;
    static const char head[] = "Content-Disposition: form-data; name=a\r\nX: 1\r\n\r\n";
    char body[256];

    (void)state;
    snprintf(body, sizeof(body), "--b0\r\n%s%s", head, "1\r\n" END);
    for (size_t most = 0; most < 90; most++) {
        struct weir_multipart_limits limits = {.max_parts = 2};

        assert_int_equal(with_limits(two, most, limits, &out), 0);
        limits.max_parts = 1;
        assert_int_equal(with_limits(two, most, limits, &out), WEIR_ELIMIT);
        assert_int_equal(out.parts, 1);
        limits = (struct weir_multipart_limits){.max_part_bytes = 5};
        assert_int_equal(with_limits(two, most, limits, &out), 0);
        limits.max_part_bytes = 4;
        assert_int_equal(with_limits(two, most, limits, &out), WEIR_ELIMIT);
        if (most % 3 != 2) {
            assert_string_equal(out.text, "[a|-|-|text/plain|1234"); /* within it is delivered */
        }
        limits = (struct weir_multipart_limits){.max_total_bytes = sizeof(two) - 1};
        assert_int_equal(with_limits(two, most, limits, &out), 0);
        limits.max_total_bytes--;
        assert_int_equal(with_limits(two, most, limits, &out), WEIR_ELIMIT);
        limits = (struct weir_multipart_limits){.max_header_bytes = sizeof(head) - 1,
                                                .max_header_lines = 2};
        assert_int_equal(with_limits(body, most, limits, &out), 0);
        limits.max_header_lines = 1;
        assert_int_equal(with_limits(body, most, limits, &out), WEIR_ELIMIT);
        limits = (struct weir_multipart_limits){.max_header_bytes = sizeof(head) - 2};
        assert_int_equal(with_limits(body, most, limits, &out), WEIR_ELIMIT);
        limits = (struct weir_multipart_limits){.max_padding_bytes = 5};
        assert_int_equal(with_limits("12345\r\n" END "12345", most, limits, &out), 0);
        assert_int_equal(with_limits("\r\n--x\r\n" END, most, limits, &out), 0);
        assert_int_equal(with_limits("123456\r\n" END, most, limits, &out), WEIR_ELIMIT);
        assert_int_equal(with_limits(END "123456", most, limits, &out), WEIR_ELIMIT);
        assert_int_equal(with_limits("123456", most, limits, &out), WEIR_ELIMIT);
        limits = (struct weir_multipart_limits){.max_header_bytes = 5};
        assert_int_equal(with_limits("--b0--     \r\n", most, limits, &out), 0);
        assert_int_equal(with_limits("--b0--      \r\n", most, limits, &out), WEIR_ELIMIT);
        assert_int_equal(with_limits("--b0     x", most, limits, &out), WEIR_EPROTO);
    }
    assert_int_equal(
        with_limits(two, 0, (struct weir_multipart_limits){.max_header_bytes = (256 << 10) + 1},
                    &out),
        WEIR_EINVAL);
    assert_int_equal(
        with_limits(two, 0, (struct weir_multipart_limits){.max_header_lines = 1001}, &out),
        WEIR_EINVAL);
}

static void a_header_of_many_pieces(void **state)
{
    static struct outcome out;
    static char body[70000];
    size_t len;

    (void)state;
    len = (size_t)snprintf(body, sizeof(body), "--b0\r\nX-Long: %065000d\r\n%s", 1,
                           &PART("a", "1")[6]);
    snprintf(body + len, sizeof(body) - len, END);
    for (size_t most = 1; most < 30000; most = most * 5 + 1) {
        assert_int_equal(with_limits(body, most * 3,
                                     (struct weir_multipart_limits){.max_header_bytes = 66000},
                                     &out),
                         0);
        assert_string_equal(out.text, "[a|-|-|text/plain|1]");
        assert_int_equal(with_limits(body, most * 3,
                                     (struct weir_multipart_limits){.max_header_bytes = 60000},
                                     &out),
                         WEIR_ELIMIT);
    }
}

/* ---- boundaries ---- */

static void boundaries(void **state)
{
    static const char long_one[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    static const struct {
        const char *type;
        int result; /* of opening */
        const char *boundary;
    } types[] = {
        {"multipart/form-data; boundary=b0", 0, "b0"},
        {"Multipart/Form-Data;Boundary=\"b 0\";x=y", 0, "b 0"},
        {"multipart/form-data; charset=utf-8; boundary=----WebKitFormBoundaryX1", 0,
         "----WebKitFormBoundaryX1"},
        {"multipart/form-data; boundary=\"'()+_,-./:=? 0\"", 0, "'()+_,-./:=? 0"},
        {"multipart/form-data; boundary=--", 0, "--"},
        {"multipart/form-data", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=\"\"", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=\"a ", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=\"a \"", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=\"a\\b\"", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=a*", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=a; boundary=a", WEIR_EPROTO, NULL},
        {"multipart/form-data; boundary=a b", WEIR_EPROTO, NULL},
        {"multipart/form-data boundary=a", WEIR_EUNSUPPORTED, NULL},
        {"multipart/mixed; boundary=a", WEIR_EUNSUPPORTED, NULL},
        {"text/plain", WEIR_EUNSUPPORTED, NULL},
        {"", WEIR_EUNSUPPORTED, NULL},
    };
    static struct outcome out;
    char text[256], body[512];
    struct weir_source *source;

    (void)state;
    for (size_t i = 0; i < COUNT(types); i++) {
        struct pieces pieces = {.bytes = (const uint8_t *)body};
        const char *b = types[i].boundary != NULL ? types[i].boundary : "b0";

        pieces.len = (size_t)snprintf(
            body, sizeof(body),
            "--%s\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--%s--\r\n", b, b);
        source = pieces_source(&pieces);
        run_on(source, types[i].type, NULL, &whole, &out);
        assert_int_equal(out.result, types[i].result);
        assert_int_equal(out.parts, types[i].result == 0);
        weir_source_destroy(source);
    }
    for (int more = 0; more < 2; more++) {
        struct pieces pieces = {.bytes = (const uint8_t *)body, .most = 7};

        snprintf(text, sizeof(text), "multipart/form-data; boundary=%s%s", long_one,
                 more ? "x" : "");
        pieces.len = (size_t)snprintf(body, sizeof(body), "--%s--", long_one);
        source = pieces_source(&pieces);
        run_on(source, text, NULL, &whole, &out);
        assert_int_equal(out.result, more ? WEIR_EPROTO : 0);
        weir_source_destroy(source);
    }
}

/* ---- file names ---- */

static void file_names(void **state)
{
    static const struct {
        const char *name, *safe;
    } names[] = {
        {"a.txt", "a.txt"},
        {"a b", "a b"},
        {"/etc/passwd", "passwd"},
        {"..\\..\\x", "x"},
        {"a/", ""},
        {".", ""},
        {"..", ""},
        {"...", ""},
        {"a/..", ""},
        {".htaccess", "htaccess"},
        {" . .x. . ", "x"},
        {"-rf", "_rf"},
        {"a\tb\r\n\x7f", "a_b___"},
        {"<>:\"|?*", "_______"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc3", "_"},
        {"\xc3(", "_("},
        {"\xc0\xaf", "__"},
        {"\xe0\x80\xaf", "___"},
        {"\xed\xa0\x80", "___"},
        {"\xf4\x90\x80\x80", "____"},
        {"\xff\xfe", "__"},
        {"a\xe2\x80\xaetxt.exe", "a_txt.exe"},
        {"a\xc2\x85"
         "b",
         "a_b"},
        {"\xef\xbb\xbf"
         "a",
         "_a"},
        {"", ""},
    };
    uint8_t long_name[300], out[300];

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t len = weir__safe_filename(weir_str(names[i].name), out);

        if (!weir_view_equal(weir_bytes(out, len), weir_str(names[i].safe))) {
            fail_msg("%s: %.*s", names[i].name, (int)len, (const char *)out);
        }
        /* Over its own bytes, as the parser does it, and nothing changes a second time. */
        memcpy(out, names[i].name, strlen(names[i].name));
        len = weir__safe_filename(weir_bytes(out, strlen(names[i].name)), out);
        assert_true(weir_view_equal(weir_bytes(out, len), weir_str(names[i].safe)));
        assert_int_equal(weir__safe_filename(weir_bytes(out, len), long_name), len);
    }
    memset(long_name, 'a', sizeof(long_name));
    assert_int_equal(weir__safe_filename(weir_bytes(long_name, 300), out), 255);
    memcpy(long_name + 254, "\xc3\xa9", 2); /* a character is never cut */
    assert_int_equal(weir__safe_filename(weir_bytes(long_name, 300), out), 254);
    long_name[253] = '.';
    assert_int_equal(weir__safe_filename(weir_bytes(long_name, 300), out), 253);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split),
        cmocka_unit_test(waits_that_end_early),
        cmocka_unit_test(parts_left_unread),
        cmocka_unit_test(a_part_read_whole),
        cmocka_unit_test(random_bodies),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(a_header_of_many_pieces),
        cmocka_unit_test(boundaries),
        cmocka_unit_test(file_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
