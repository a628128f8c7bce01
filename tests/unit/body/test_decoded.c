/* SPDX-License-Identifier: MIT */
/* Bodies of requests with a Content-Encoding: what they decode to, how much of that is taken, and what the client sees. */
#include "../http/http_test.h"

#include <weir/body.h>
#include <weir/form.h>
#include <weir/multipart.h>
#include <weir/sources.h>

#include "stream/stream.h"

struct coded {
    const char *encodings[3]; /* lines; NULL: no more */
    enum weir_coding coding, coding_after;
    struct weir_decode_opts opts;
    int result; /* of opening or reading */
    size_t len; /* expected */
    const char *type;
    bool form, multipart, cancel;
    struct weir_error error;
};

/* The bytes of a source that does not wait, in memory of the test's. */
static struct weir_view slurp(struct weir_source *source)
{
    static uint8_t kept[4][1 << 16];
    static unsigned turn;
    uint8_t *bytes = kept[turn++ % 4];
    struct weir_chunk *all;
    size_t len;

    assert_int_equal(weir_read_all(source, sizeof(kept[0]), -1, &all), 0);
    len = weir_chunk_len(all);
    memcpy(bytes, weir_chunk_view(all).data, len);
    weir_chunk_unref(all);
    weir_source_destroy(source);
    return weir_bytes(bytes, len);
}

struct encoding {
    struct weir_view bytes;
    enum weir_coding coding;
};

static void encode_fiber(void *arg)
{
    struct encoding *encoding = arg;
    struct weir_source *source;

    assert_int_equal(weir_bytes_source_create(encoding->bytes, &source), 0);
    assert_int_equal(weir_encode_take(source, encoding->coding, NULL, &source), 0);
    encoding->bytes = slurp(source);
}

static struct weir_view encoded(struct weir_view bytes, enum weir_coding coding)
{
    struct encoding encoding = {bytes, coding};
    struct weir__loop *loop;

    if (coding != WEIR_CODING_IDENTITY) {
        scene_us = 1000000;
        assert_int_equal(weir__loop_create(scene_clock, &scene_us, &loop), 0);
        assert_int_equal(weir__fiber_start(loop, encode_fiber, &encoding, NULL), 0);
        weir__loop_run_until_idle(loop);
        weir__loop_destroy(loop);
    }
    return encoding.bytes;
}

static int add_fields(struct weir_req *req, const struct coded *coded)
{
    int r = req->fields == NULL ? weir_fields_create(&req->fields) : 0;

    for (size_t i = 0; r == 0 && i < 3 && coded->encodings[i] != NULL; i++) {
        r = weir_fields_add(req->fields, weir_str("content-encoding"),
                            weir_str(coded->encodings[i]));
    }
    if (r == 0 && coded->type != NULL) {
        r = weir_fields_add(req->fields, weir_str("Content-Type"), weir_str(coded->type));
    }
    return r;
}

static int read_decoded(struct weir_req *req, struct coded *coded, uint64_t *ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    struct weir_chunk *chunk;
    int r = weir_req_decoded_body(req, &coded->opts, &source);

    if (r < 0) {
        return r;
    }
    if (coded->cancel) {
        weir_cancel(source, WEIR_REASON_CANCELED);
    }
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        *ret += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    weir_source_error(source, &coded->error);
    return r;
}

static int read_multipart(struct weir_req *req, uint64_t *ret)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *multipart = NULL;
    struct weir_part *part;
    int r = weir_req_multipart(req, NULL, &multipart);

    while (r >= 0 && (r = weir_multipart_next(multipart, -1, &part)) > 0) {
        WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;

        r = weir_read_all(weir_part_body(part), 1 << 20, -1, &all);
        *ret += r == 0 ? weir_chunk_len(all) : 0;
    }
    return r;
}

static int reads(struct weir_req *req, void *arg)
{
    struct coded *coded = arg;
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    uint64_t len = 0;
    int r;

    assert_int_equal(add_fields(req, coded), 0);
    if (coded->form) {
        r = weir_form_read(req, NULL, -1, &form);
        len = r == 0 ? weir_form_get(form, "a").len : 0;
    } else {
        r = coded->multipart ? read_multipart(req, &len) : read_decoded(req, coded, &len);
    }
    assert_int_equal(r, coded->result);
    assert_int_equal(len, coded->len);
    return r < 0 ? r : weir_reply_empty(req, 200, NULL);
}

/* A request with that body, in coding and coding_after; returns the status. */
static int ask(struct coded *coded, struct weir_view plain, size_t cut)
{
    struct weir_view body = encoded(encoded(plain, coded->coding), coded->coding_after);
    struct weir__memory_step steps[] = {
        {.act = WEIR__MEMORY_SEND, .bytes = body.len - cut, .data = body.data},
        {.at_ms = 1, .act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {.handler = reads,
                          .arg = coded,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .max_read = 1000}};

    play(&scene);
    assert_int_equal(scene.result.cancelled, coded->cancel);
    assert_true(scene.result.ended);
    return scene.result.status;
}

#define PLAIN 60000

static struct weir_view plain_bytes(bool noisy)
{
    static uint8_t bytes[PLAIN];
    uint64_t seed = 1;

    for (size_t i = 0; i < PLAIN; i++) {
        bytes[i] = noisy ? (uint8_t)('a' + roll(&seed, 16)) : 'x';
    }
    return weir_bytes(bytes, PLAIN);
}

static void codings_are_undone(void **state)
{
    static const struct coded cases[] = {
        {.len = PLAIN},
        {.encodings = {""}, .len = PLAIN},
        {.encodings = {"identity"}, .len = PLAIN},
        {.encodings = {"gzip"}, .coding = WEIR_CODING_GZIP, .len = PLAIN},
        {.encodings = {"X-Gzip"}, .coding = WEIR_CODING_GZIP, .len = PLAIN},
        {.encodings = {"br"}, .coding = WEIR_CODING_BROTLI, .len = PLAIN},
        {.encodings = {"zstd"}, .coding = WEIR_CODING_ZSTD, .len = PLAIN},
        {.encodings = {"gzip, br"},
         .coding = WEIR_CODING_GZIP,
         .coding_after = WEIR_CODING_BROTLI,
         .len = PLAIN},
        {.encodings = {"gzip", "br"},
         .coding = WEIR_CODING_GZIP,
         .coding_after = WEIR_CODING_BROTLI,
         .len = PLAIN},
        {.encodings = {"gzip", "identity"}, .coding = WEIR_CODING_GZIP, .len = PLAIN},
        {.opts.max_bytes = PLAIN, .len = PLAIN},
        {.encodings = {"gzip"}, .coding = WEIR_CODING_GZIP, .opts.max_bytes = PLAIN, .len = PLAIN},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct coded coded = cases[i];

        assert_int_equal(ask(&coded, plain_bytes(true), 0), 200);
    }
}

/* Whether the last reply named what is accepted, and all of it (RFC 9110 15.5.16). */
static void expect_accepted(bool named)
{
    const char *line = strstr(scene_trace, "Accept-Encoding: ");

    assert_int_equal(line != NULL, named);
    for (int i = WEIR_CODING_GZIP; named && i < WEIR_CODINGS; i++) {
        const char *name = strstr(line, weir_coding_name((enum weir_coding)i));

        assert_true(name != NULL && name < strchr(line, '\n'));
    }
}

/* Whatever the decoder gives up for, the client can read its answer: the body is not cancelled. */
static void what_is_refused(void **state)
{
    static const struct {
        struct coded coded;
        size_t cut;
        int status;
    } cases[] = {
        {{.encodings = {"compress"}, .result = WEIR_EUNSUPPORTED}, 0, 415},
        {{.encodings = {"gzip", "unknown"}, .result = WEIR_EUNSUPPORTED}, 0, 415},
        {{.encodings = {"gzip, gzip, gzip"}, .result = WEIR_ELIMIT}, 0, 413},
        {{.encodings = {"gzip", "gzip", "gzip"}, .result = WEIR_ELIMIT}, 0, 413},
        {{.encodings = {"gzip"}, .result = WEIR_EPROTO}, 0, 400},
        {{.encodings = {"gzip"},
          .coding = WEIR_CODING_GZIP,
          .result = WEIR_ETRUNCATED,
          .len = SIZE_MAX},
         5,
         400},
        {{.encodings = {"gzip"},
          .coding = WEIR_CODING_GZIP,
          .opts.max_bytes = PLAIN - 1,
          .result = WEIR_ELIMIT,
          .len = PLAIN - 1},
         0,
         413},
        {{.opts.max_bytes = PLAIN - 1, .result = WEIR_ELIMIT, .len = PLAIN - 1}, 0, 413},
        {{.coding = WEIR_CODING_IDENTITY, .cancel = true, .result = WEIR_ECANCELED}, 0, 500},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct coded coded = cases[i].coded;

        if (coded.len == SIZE_MAX) {
            coded.len = PLAIN; /* all is there but the checksum */
        }
        assert_int_equal(ask(&coded, plain_bytes(true), cases[i].cut), cases[i].status);
        expect_accepted(cases[i].status == 415);
    }
}

static void a_bomb_is_a_413(void **state)
{
    enum weir_coding codings[] = {WEIR_CODING_GZIP, WEIR_CODING_BROTLI, WEIR_CODING_ZSTD};

    (void)state;
    for (size_t i = 0; i < COUNT(codings); i++) {
        struct coded coded = {.encodings = {weir_coding_name(codings[i])},
                              .coding = codings[i],
                              .opts = {.max_ratio = 10, .grace_bytes = 1},
                              .result = WEIR_ELIMIT};

        assert_int_equal(ask(&coded, plain_bytes(false), 0), 413);
        assert_int_equal(coded.error.reason, WEIR_REASON_LIMIT);
    }
}

static void forms_and_uploads(void **state)
{
    static char form[1000] = "a=", upload[1000];
    struct coded coded = {.encodings = {"gzip"},
                          .coding = WEIR_CODING_GZIP,
                          .type = "application/x-www-form-urlencoded",
                          .form = true,
                          .len = 900};

    (void)state;
    memset(form + 2, 'x', 900);
    snprintf(upload, sizeof(upload),
             "--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n%s\r\n--b0--\r\n",
             form + 2 + 100);
    assert_int_equal(ask(&coded, weir_str(form), 0), 200);
    coded = (struct coded){.encodings = {"br"},
                           .coding = WEIR_CODING_BROTLI,
                           .type = "multipart/form-data; boundary=b0",
                           .multipart = true,
                           .len = 800};
    assert_int_equal(ask(&coded, weir_str(upload), 0), 200);
    coded.encodings[0] = "unknown";
    coded.len = 0;
    coded.result = WEIR_EUNSUPPORTED;
    assert_int_equal(ask(&coded, weir_str(upload), 0), 415);
    expect_accepted(true);
    coded.multipart = false;
    coded.form = true;
    coded.type = "application/x-www-form-urlencoded";
    assert_int_equal(ask(&coded, weir_str(form), 0), 415);
    expect_accepted(true);
    /* Of another type: the coding is not at fault, whether it is known or not. */
    coded.type = "text/plain";
    assert_int_equal(ask(&coded, weir_str(form), 0), 415);
    expect_accepted(false);
    coded.multipart = true;
    coded.form = false;
    coded.encodings[0] = NULL;
    assert_int_equal(ask(&coded, weir_str(form), 0), 415);
    expect_accepted(false);
    coded.type = NULL;
    assert_int_equal(ask(&coded, weir_str(form), 0), 415);
    expect_accepted(false);
}

/* A handler that could read the body after all, and one that never asked: 501 is what their code means. */
static int reads_then_lacks(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    bool *asks = arg;

    if (*asks) {
        assert_int_equal(weir_form_read(req, NULL, -1, &form), WEIR_EUNSUPPORTED);
        assert_int_equal(weir_req_decoded_body(req, NULL, &source), 0);
    }
    return WEIR_EUNSUPPORTED;
}

static void what_else_is_unsupported_is_501(void **state)
{
    struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (int asks = 0; asks < 2; asks++) {
        bool flag = asks == 1;
        struct scene scene = {.handler = reads_then_lacks,
                              .arg = &flag,
                              .steps = steps,
                              .count = 1,
                              .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

        play(&scene);
        assert_int_equal(scene.result.status, 501);
        expect_accepted(false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codings_are_undone),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_bomb_is_a_413),
        cmocka_unit_test(forms_and_uploads),
        cmocka_unit_test(what_else_is_unsupported_is_501),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
