/* SPDX-License-Identifier: MIT */
/* Compression as middleware: what a reply's head says, and that the body keeps the promise. */
#include "../http/http_test.h"

#include "reference.h"

#include <weir/sse.h>

#define TEXT_BYTES 3000u

/* A request and what its handler answers; names and values in turn, up to a NULL. */
struct play {
    const char *method;
    const char *asks[7];
    int status;
    uint64_t length;
    const char *says[9];
    struct weir_compress_opts opts;
    bool drop_head;
    /* afterwards */
    uint8_t *body;
    size_t body_len;
    int result;
};

static void add_lines(struct weir_fields *fields, const char *const *lines)
{
    for (size_t i = 0; lines[i] != NULL; i += 2) {
        assert_int_equal(weir_fields_add(fields, weir_str(lines[i]), weir_str(lines[i + 1])), 0);
    }
}

/* The request's head. Made inside of the scene, which counts what is left over from before. */
static struct weir_fields *head_of(struct weir_req *req)
{
    if (req->fields == NULL) {
        assert_int_equal(weir_fields_create(&req->fields), 0);
    }
    return req->fields;
}

static int answer(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    struct play *playing = arg;
    struct weir_sink *sink;
    uint64_t len = playing->length == WEIR_LENGTH_UNKNOWN ? TEXT_BYTES : playing->length;
    int r;

    if (playing->drop_head) {
        weir_req_drop_head(req);
    }
    assert_int_equal(weir_fields_create(&fields), 0);
    add_lines(fields, playing->says);
    r = weir_stream_begin(req, playing->status, fields, playing->length, &sink);
    if (r < 0) {
        return r;
    }
    if (len > 0) {
        r = emit_pattern(sink, 0, len, -1);
    }
    r = r < 0 ? r : weir_end(sink, NULL);
    weir_sink_destroy(sink);
    return r;
}

static uint8_t kept[1 << 16];
static size_t kept_len;

static int inside(struct weir_req *req, void *arg)
{
    struct play *playing = arg;
    const struct weir_middleware items[] = {{weir_compress, &playing->opts}};
    const struct weir_chain chain = {items, 1, answer, playing};
    struct weir__memory_result result;

    add_lines(head_of(req), playing->asks);
    playing->result = weir_chain_run(&chain, req);
    weir__memory_result(scene_memory, &result);
    kept_len = result.kept.len;
    if (kept_len > 0) {
        memcpy(kept, result.kept.data, kept_len);
    }
    return playing->result;
}

static void run(struct play *playing, struct scene *scene)
{
    *scene = (struct scene){.handler = inside,
                            .arg = playing,
                            .opts = {.method = playing->method, .keep = sizeof(kept)}};
    if (playing->status == 0) {
        playing->status = 200;
    }
    play(scene);
}

/* The head as the peer saw it, after the status. */
static void expect_head(const struct play *playing, const char *head)
{
    static char text[1024];
    size_t len;

    (void)playing;
    len = strcspn(scene_trace, "\n") + 1;
    while (strncmp(scene_trace + len, "  ", 2) == 0) {
        len += strcspn(scene_trace + len, "\n") + 1;
    }
    snprintf(text, sizeof(text), "%.*s", (int)len, scene_trace);
    assert_string_equal(text, head);
}

static void expect_body(enum weir_coding coding, size_t len)
{
    struct reference reference;

    if (coding == WEIR_CODING_IDENTITY) {
        assert_int_equal(kept_len, len);
        for (size_t i = 0; i < len; i++) {
            assert_int_equal(kept[i], weir__memory_byte(i));
        }
        return;
    }
    reference_init(&reference, coding);
    reference_feed(&reference, kept, kept_len);
    assert_false(reference.wrong);
    assert_true(reference.over);
    assert_int_equal(reference.len, len);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(reference.out[i], weir__memory_byte(i));
    }
    reference_finish(&reference);
}

/* ---- what is compressed, and what not ---- */

static void what_the_head_says(void **state)
{
    static struct {
        struct play play;
        const char *head;
        enum weir_coding coding;
    } cases[] = {
        /* negotiated */
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "gzip, br"},
          .length = WEIR_LENGTH_UNKNOWN,
          .says = {"Content-Type", "application/json"}},
         "0 begin 200 length=?\n  Content-Type: application/json\n  Vary: Accept-Encoding\n  Content-Encoding: br\n",
         WEIR_CODING_BROTLI},
        {{.asks = {"Accept-Encoding", "gzip", "Accept-Encoding", "zstd"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/css"}},
         "0 begin 200 length=?\n  Content-Type: text/css\n  Vary: Accept-Encoding\n  Content-Encoding: zstd\n",
         WEIR_CODING_ZSTD},
        {{.asks = {"Accept-Encoding", "gzip, deflate"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/css"},
          .opts = {.order = {WEIR_CODING_DEFLATE}, .level = 9}},
         "0 begin 200 length=?\n  Content-Type: text/css\n  Vary: Accept-Encoding\n  Content-Encoding: deflate\n",
         WEIR_CODING_DEFLATE},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"},
          .drop_head = true},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        /* errors have bodies, too */
        {{.asks = {"Accept-Encoding", "gzip"},
          .status = 404,
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 404 length=?\n  Content-Type: text/html\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        /* a client that does not want it still gets a reply that varies */
        {{.length = TEXT_BYTES, .says = {"Content-Type", "text/html", "ETag", "\"5\""}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  ETag: \"5\"\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip;q=0, lzma"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        /* the rest of the head */
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "ETag", "\"5\"", "Vary", "Origin", "Accept-Ranges",
                   "bytes"}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: Origin, Accept-Encoding\n  ETag: W/\"5\"\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "ETag", "W/\"5\"", "Vary", "a, accept-encoding",
                   "Repr-Digest", "x=:y:"}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  ETag: W/\"5\"\n  Vary: a, accept-encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "Vary", "A", "Vary", "B", "Content-Length",
                   "3000"}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: A\n  Vary: B\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "Vary", "*"}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: *\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        /* left alone */
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = 1023,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=1023\n  Content-Type: text/html\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = 1023,
          .says = {"Content-Type", "text/html"},
          .opts = {.min_bytes = 1}},
         "0 begin 200 length=?\n  Content-Type: text/html\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "image/png"}},
         "0 begin 200 length=3000\n  Content-Type: image/png\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"}, .length = TEXT_BYTES},
         "0 begin 200 length=3000\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "Content-Encoding", "br"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Content-Encoding: br\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "Cache-Control", "max-age=5, No-Transform"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Cache-Control: max-age=5, No-Transform\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip", "Cache-Control", "no-transform"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip", "Range", "bytes=0-5"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .status = 206,
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 206 length=3000\n  Content-Type: text/html\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .status = 416,
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "Content-Range", "bytes */5"}},
         "0 begin 416 length=3000\n  Content-Type: text/html\n  Content-Range: bytes */5\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip, identity;q=0"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "application/grpc+proto"}},
         "0 begin 200 length=3000\n  Content-Type: application/grpc+proto\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .length = 0,
          .says = {"Content-Type", "text/html"},
          .opts = {.min_bytes = 1}},
         "0 begin 200 length=0\n  Content-Type: text/html\n",
         WEIR_CODING_IDENTITY},
        /* who refuses identity gets anything coded */
        {{.asks = {"Accept-Encoding", "gzip, identity;q=0"},
          .length = 10,
          .says = {"Content-Type", "image/png"}},
         "0 begin 200 length=?\n  Content-Type: image/png\n  Vary: Accept-Encoding\n  Content-Encoding: gzip\n",
         WEIR_CODING_GZIP},
        {{.asks = {"Accept-Encoding", "*;q=0"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html"}},
         "0 begin 200 length=3000\n  Content-Type: text/html\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        /* no body, but the head of one */
        {{.method = "HEAD",
          .asks = {"Accept-Encoding", "gzip"},
          .length = TEXT_BYTES,
          .says = {"Content-Type", "text/html", "ETag", "\"5\""}},
         "0 begin 200 none\n  Content-Type: text/html\n  Vary: Accept-Encoding\n  ETag: W/\"5\"\n  Content-Encoding: gzip\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"},
          .status = 204,
          .says = {"Content-Type", "text/html"}},
         "0 begin 204 none\n  Content-Type: text/html\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"}, .status = 304, .says = {"ETag", "\"5\""}},
         "0 begin 304 none\n  Vary: Accept-Encoding\n  ETag: W/\"5\"\n",
         WEIR_CODING_IDENTITY},
        {{.status = 304, .says = {"ETag", "\"5\""}},
         "0 begin 304 none\n  ETag: \"5\"\n  Vary: Accept-Encoding\n",
         WEIR_CODING_IDENTITY},
        {{.asks = {"Accept-Encoding", "gzip"}, .status = 304},
         "0 begin 304 none\n",
         WEIR_CODING_IDENTITY},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct play *playing = &cases[i].play;
        struct scene scene;

        run(playing, &scene);
        assert_int_equal(playing->result, 0);
        assert_true(scene.result.ended);
        expect_head(playing, cases[i].head);
        if (playing->method == NULL && playing->status != 204 && playing->status != 304) {
            expect_body(cases[i].coding,
                        playing->length == WEIR_LENGTH_UNKNOWN ? TEXT_BYTES : playing->length);
        }
    }
}

/* ---- events ---- */

static void ask(struct weir_req *req, const char *accept)
{
    assert_int_equal(weir_fields_add(head_of(req), weir_str("Accept-Encoding"), weir_str(accept)),
                     0);
}

static unsigned looks;

static void look(void *arg)
{
    struct weir__memory_result result;
    struct reference reference;
    char want[16];

    snprintf(want, sizeof(want), "data: %u\n\n", (unsigned)(uintptr_t)arg);
    weir__memory_result(scene_memory, &result);
    reference_init(&reference, WEIR_CODING_GZIP);
    reference_feed(&reference, result.kept.data, result.kept.len);
    assert_true(reference.len >= strlen(want));
    assert_memory_equal(reference.out + reference.len - strlen(want), want, strlen(want));
    reference_finish(&reference);
    looks++;
}

static int events(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    char text[8];
    int r = weir_sse_begin(req, 200, NULL, &sink);

    (void)arg;
    for (unsigned i = 0; r == 0 && i < 20; i++) {
        snprintf(text, sizeof(text), "%u", i);
        r = weir_sse_emit(sink, &(struct weir_event){.data = weir_str(text)});
        if (r == 0) {
            r = weir_sleep(weir_after_ms(100));
        }
    }
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    weir_sink_destroy(sink);
    return r;
}

static int events_inside(struct weir_req *req, void *arg)
{
    static const struct weir_middleware items[] = {{weir_compress, NULL}};
    const struct weir_chain chain = {items, 1, events, NULL};

    (void)arg;
    /* zstd is better at it, but brotli would take most memory: gzip goes before it. */
    ask(req, "br, gzip");
    return weir_chain_run(&chain, req);
}

static void events_arrive_one_by_one(void **state)
{
    static struct weir__memory_step steps[20];
    struct scene scene = {
        .handler = events_inside, .opts = {.keep = sizeof(kept)}, .steps = steps, .count = 20};

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        steps[i] = (struct weir__memory_step){.at_ms = 50 + 100 * (int64_t)i,
                                              .act = WEIR__MEMORY_CALL,
                                              .call = look,
                                              .arg = (void *)(uintptr_t)i};
    }
    looks = 0;
    play(&scene);
    assert_int_equal(looks, 20);
    assert_true(scene.result.ended);
    assert_non_null(
        strstr(scene_trace, "  Content-Type: text/event-stream\n  Cache-Control: no-cache\n"));
    assert_non_null(strstr(scene_trace, "  Content-Encoding: gzip\n"));
    assert_in_range(scene.budget_peak, 20000, 90000);
}

/* ---- declared lengths and failures ---- */

static int wrong_length(struct weir_req *req, void *arg)
{
    int64_t off = *(int *)arg;
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    struct weir_sink *sink;
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Content-Type"), weir_str("text/plain")), 0);
    assert_int_equal(weir_stream_begin(req, 200, fields, 5000, &sink), 0);
    r = emit_pattern(sink, 0, (size_t)(5000 + off), -1);
    if (off > 0) {
        assert_int_equal(r, WEIR_ELIMIT);
    } else {
        assert_int_equal(r, 0);
        assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    }
    weir_sink_destroy(sink);
    return 0;
}

static int wrong_length_inside(struct weir_req *req, void *arg)
{
    static const struct weir_middleware items[] = {{weir_compress, NULL}};
    const struct weir_chain chain = {items, 1, wrong_length, arg};

    ask(req, "gzip");
    return weir_chain_run(&chain, req);
}

static void a_declared_length_is_kept(void **state)
{
    (void)state;
    for (int off = -1; off <= 1; off += 2) {
        struct scene scene = {.handler = wrong_length_inside, .arg = &off};

        play(&scene);
        assert_int_equal(scene.result.aborts, 1);
        assert_false(scene.result.ended);
    }
}

static int fails(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return WEIR_ENOTFOUND;
}

static int fails_inside(struct weir_req *req, void *arg)
{
    const struct weir_middleware items[] = {{weir_compress, arg}};
    const struct weir_chain chain = {items, 1, fails, NULL};

    return weir_chain_run(&chain, req);
}

static void a_failed_handler_gets_its_status(void **state)
{
    struct weir_compress_opts bad = {.level = 10};
    struct scene scene = {.handler = fails_inside};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.status, 404);
    assert_true(scene.result.ended);
    scene.arg = &bad;
    play(&scene);
    assert_int_equal(scene.result.status, 500);
}

/* Where there is no room for an encoder the reply goes as it is. */
static void too_little_memory_for_an_encoder(void **state)
{
    struct play playing = {.asks = {"Accept-Encoding", "gzip"},
                           .length = TEXT_BYTES,
                           .says = {"Content-Type", "text/html", "ETag", "\"5\""}};
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    struct scene scene;

    (void)state;
    weir__budget_set_limit(budget, weir__budget_used(budget) + 60000);
    run(&playing, &scene);
    weir__budget_set_limit(budget, limit);
    assert_true(scene.result.ended);
    expect_head(
        &playing,
        "0 begin 200 length=3000\n  Content-Type: text/html\n  ETag: \"5\"\n  Vary: Accept-Encoding\n");
    expect_body(WEIR_CODING_IDENTITY, TEXT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_head_says),
        cmocka_unit_test(events_arrive_one_by_one),
        cmocka_unit_test(a_declared_length_is_kept),
        cmocka_unit_test(a_failed_handler_gets_its_status),
        cmocka_unit_test(too_little_memory_for_an_encoder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
