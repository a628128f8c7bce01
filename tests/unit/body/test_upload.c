/* SPDX-License-Identifier: MIT */
/* Multipart requests: what the client gets to see, how far it is let ahead, who may do what at the same time. */
#include "../http/http_test.h"

#include <weir/body.h>
#include <weir/multipart.h>

#include "rt/scope.h"
#include "stream/stream.h"

#define TYPE "multipart/form-data; boundary=b0"
#define HEAD(name) "--b0\r\nContent-Disposition: form-data; name=" name "\r\n\r\n"
#define END "\r\n--b0--\r\n"
#define BYTES(at, text)                                                                \
    {                                                                                  \
        .at_ms = at, .act = WEIR__MEMORY_SEND, .bytes = sizeof(text) - 1, .data = text \
    }

/* The memory transport sends no fields of its own. */
static int open_form(struct weir_req *req, const struct weir_multipart_limits *limits,
                     struct weir_multipart **ret)
{
    int r = weir_fields_create(&req->fields);

    if (r == 0) {
        r = weir_fields_add(req->fields, weir_str("Content-Type"), weir_str(TYPE));
    }
    return r < 0 ? r : weir_req_multipart(req, limits, ret);
}

/* ---- what the client sees ---- */

struct upload {
    struct weir_multipart_limits limits;
    bool read_all; /* each part; else it is skipped */
    struct weir_error error;
};

static int takes_all(struct weir_req *req, void *arg)
{
    struct upload *upload = arg;
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *form = NULL;
    struct weir_part *part;
    size_t parts = 0;
    int r = open_form(req, &upload->limits, &form);

    while (r >= 0 && (r = weir_multipart_next(form, -1, &part)) > 0) {
        parts++;
        if (upload->read_all) {
            WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;

            r = weir_read_all(weir_part_body(part), 1000, -1, &all);
            weir_source_error(weir_part_body(part), &upload->error);
        }
    }
    if (r == 0) {
        return weir_reply_text(req, 200, "%zu", parts);
    }
    if (form != NULL) {
        weir_multipart_error(form, &upload->error);
    }
    return r;
}

static const struct weir__memory_step two_parts[] = {
    BYTES(0, "--b0\r\nContent-Disposition: form-da"),
    BYTES(5, "ta; name=a\r\n\r\n12345\r\n-"),
    BYTES(9, "-b0\r\nContent-Disposition: form-data; name=b\r\n\r\n123" END),
    {.at_ms = 10, .act = WEIR__MEMORY_SEND_END},
};

static uint64_t bytes_of(const struct weir__memory_step *steps, size_t count)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += steps[i].bytes;
    }
    return bytes;
}

static void a_client_gets_its_status(void **state)
{
    static const struct {
        struct upload upload;
        int status;
    } cases[] = {
        {{.read_all = true}, 200},
        {{.limits.max_part_bytes = 5}, 200},
        {{.limits.max_part_bytes = 4}, 413},
        {{.limits.max_part_bytes = 4, .read_all = true}, 413},
        {{.limits.max_parts = 1}, 413},
        {{.limits.max_total_bytes = 100}, 413},
        {{.limits.max_header_bytes = 20}, 413},
        {{.limits.max_header_bytes = 1 << 20}, 400},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t max = 0; max < 60; max++) {
            struct upload upload = cases[i].upload;
            struct scene scene = {
                .handler = takes_all,
                .arg = &upload,
                .steps = two_parts,
                .count = COUNT(two_parts),
                .opts = {.body_length =
                             max % 2 ? bytes_of(two_parts, COUNT(two_parts)) : WEIR_LENGTH_UNKNOWN,
                         .max_read = max,
                         .receive_window = max % 3 == 2 ? max : 0}};

            play(&scene);
            assert_int_equal(scene.result.status, cases[i].status);
            assert_true(scene.result.ended); /* V6: it can read that */
            assert_int_equal(scene.result.cancels, 0);
            if (cases[i].status == 413) {
                assert_int_equal(upload.error.reason, WEIR_REASON_LIMIT);
            }
        }
    }
}

/* V16: however a body breaks off, no part of it looks whole, and the reason can be read. */
static void v16_an_upload_that_breaks_off(void **state)
{
    static const struct {
        struct weir__memory_step step;
        int result;
        enum weir_reason reason;
        int status;
    } cases[] = {
        {{.act = WEIR__MEMORY_FIN}, WEIR_ETRUNCATED, WEIR_REASON_TRUNCATED, 400},
        {{.act = WEIR__MEMORY_SEND_END}, WEIR_ETRUNCATED, WEIR_REASON_TRUNCATED, 400},
        {{.act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         WEIR_EPROTO,
         WEIR_REASON_PROTOCOL,
         400},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET},
         WEIR_ERESET,
         WEIR_REASON_RESET,
         0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t before = 0; before < 3; before++) {
            for (int read_all = 0; read_all < 2; read_all++) {
                struct weir__memory_step steps[4];
                struct upload upload = {.read_all = read_all};
                struct scene scene = {
                    .handler = takes_all,
                    .arg = &upload,
                    .steps = steps,
                    .count = before + 1,
                    .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .half_close = true}};

                memcpy(steps, two_parts, sizeof(steps));
                steps[before] = cases[i].step;
                steps[before].at_ms = 9;
                play(&scene);
                assert_int_equal(upload.error.code, cases[i].result);
                assert_int_equal(upload.error.reason, cases[i].reason);
                assert_int_equal(scene.result.status, cases[i].status);
            }
        }
    }
}

static int reads_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *form = NULL;
    struct weir_part *part;

    (void)arg;
    assert_int_equal(open_form(req, NULL, &form), 0);
    assert_int_equal(weir_multipart_next(form, 0, &part), WEIR_EAGAIN);
    assert_int_equal(weir_multipart_next(form, weir_after_ms(2), &part), WEIR_ETIMEDOUT);
    while (weir_multipart_next(form, -1, &part) > 0) {
    }
    assert_int_equal(scene_ms(), 10);
    assert_true(
        weir_view_equal(weir_fields_get(weir_req_trailers(req), weir_str("x-sum")), weir_str("3")));
    return weir_reply_empty(req, 200, NULL);
}

static void trailers_after_the_last_part(void **state)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    struct weir__memory_step steps[COUNT(two_parts)];
    struct scene scene = {.handler = reads_trailers,
                          .steps = steps,
                          .count = COUNT(two_parts),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    memcpy(steps, two_parts, sizeof(steps));
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("X-Sum"), weir_str("3")), 0);
    steps[3].fields = trailers;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

static int opens_wrongly(struct weir_req *req, void *arg)
{
    struct weir_multipart *form = NULL;

    (void)arg;
    assert_int_equal(weir_req_multipart(req, NULL, &form), WEIR_EUNSUPPORTED);
    assert_int_equal(weir_fields_create(&req->fields), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weir_fields_add(req->fields, weir_str("content-type"), weir_str(TYPE)), 0);
    }
    assert_int_equal(weir_req_multipart(req, NULL, &form), WEIR_EPROTO);
    assert_int_equal(weir_multipart_open(NULL, weir_str(TYPE), NULL, &form), WEIR_EINVAL);
    assert_null(form);
    weir_multipart_destroy(NULL);
    return weir_reply_empty(req, 200, NULL);
}

static void content_types_of_a_request(void **state)
{
    struct scene scene = {.handler = opens_wrongly};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

/* ---- how far the client is let ahead ---- */

#define LARGE ((uint64_t)40 << 20)
#define WINDOW 100000

struct slow {
    bool skip, pipe;
    uint64_t got;
};

/* Reads slowly: the window opens only as far as it has read. */
static int reads_slowly(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *form = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct slow *slow = arg;
    struct weir_part *part;
    struct weir_chunk *chunk;
    int r = open_form(req, NULL, &form);

    assert_int_equal(r, 0);
    assert_int_equal(weir_multipart_next(form, -1, &part), 1);
    if (slow->pipe) {
        assert_int_equal(weir_stream_begin(req, 200, NULL, LARGE, &sink), 0);
        return weir_pipe(weir_part_body(part), sink, NULL, NULL);
    }
    while (!slow->skip && (r = weir_next(weir_part_body(part), -1, &chunk)) > 0) {
        struct weir_view view = weir_chunk_view(chunk);

        for (size_t i = 0; i < view.len; i += 997) {
            assert_int_equal(view.data[i], 'x');
        }
        slow->got += view.len;
        weir_chunk_unref(chunk);
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    assert_int_equal(r, 0);
    assert_int_equal(weir_multipart_next(form, -1, &part), 0);
    return weir_reply_empty(req, 200, NULL);
}

static void an_upload_takes_the_memory_of_a_chunk(void **state)
{
    static char data[1 << 20];
    static struct weir__memory_step steps[43] = {BYTES(0, HEAD("a"))};

    (void)state;
    memset(data, 'x', sizeof(data));
    for (size_t i = 1; i <= 40; i++) {
        steps[i] = (struct weir__memory_step){
            .act = WEIR__MEMORY_SEND, .bytes = sizeof(data), .data = data};
    }
    steps[41] = (struct weir__memory_step)BYTES(0, END);
    steps[42].act = WEIR__MEMORY_SEND_END;
    for (int how = 0; how < 3; how++) {
        struct slow slow = {.skip = how == 1, .pipe = how == 2};
        struct scene scene = {
            .handler = reads_slowly,
            .arg = &slow,
            .steps = steps,
            .count = COUNT(steps),
            .opts = {.body_length = bytes_of(steps, COUNT(steps)), .receive_window = WINDOW}};

        play(&scene);
        assert_int_equal(scene.result.status, 200);
        assert_true(scene.result.ended);
        assert_int_equal(slow.got, how == 0 ? LARGE : 0);
        assert_int_equal(scene.result.taken, how == 2 ? LARGE : 0);
        assert_true(scene.result.parked_peak <= WINDOW);
        assert_true(scene.budget_peak <= 4 * 65536); /* of 40 MiB */
    }
}

/* ---- two fibers ---- */

struct pair {
    struct weir_multipart *form;
    struct weir_part *part;
    struct weir_source *body; /* of the first part */
    int body_result, next_result;
    bool cancels, nexts;
};

static int waits_in_body(void *arg)
{
    struct pair *pair = arg;
    struct weir_chunk *chunk;

    pair->body_result = weir_next(weir_part_body(pair->part), -1, &chunk);
    if (pair->body_result == 1) {
        weir_chunk_unref(chunk);
    }
    return 0;
}

static int waits_in_next(void *arg)
{
    struct pair *pair = arg;

    pair->next_result = weir_multipart_next(pair->form, -1, &pair->part);
    return 0;
}

static int two_at_once(struct weir_req *req, void *arg)
{
    struct pair *pair = arg;
    struct weir_part *part;
    struct weir_chunk *chunk;
    struct weir_scope *scope;
    int r = open_form(req, NULL, &pair->form);

    assert_int_equal(r, 0);
    assert_int_equal(weir_multipart_next(pair->form, -1, &pair->part), 1);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, pair->nexts ? waits_in_next : waits_in_body, pair), 0);
    part = pair->part;
    pair->body = weir_part_body(part);
    weir_yield();
    assert_int_equal(weir_multipart_next(pair->form, -1, &part), WEIR_EBUSY);
    assert_int_equal(weir_next(pair->body, -1, &chunk), pair->nexts ? WEIR_ECANCELED : WEIR_EBUSY);
    if (pair->cancels) {
        weir_cancel(pair->body, WEIR_REASON_CANCELED);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    if (pair->cancels) {
        assert_int_equal(weir_multipart_next(pair->form, -1, &part), WEIR_ECANCELED);
    }
    weir_multipart_destroy(pair->form);
    return weir_reply_empty(req, 200, NULL);
}

static void two_fibers_at_one_upload(void **state)
{
    static const struct weir__memory_step steps[] = {BYTES(0, HEAD("a")),
                                                     BYTES(50, "1\r\n" HEAD("b") "2" END),
                                                     {.at_ms = 50, .act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (int how = 0; how < 3; how++) {
        struct pair pair = {.cancels = how == 1, .nexts = how == 2};
        struct scene scene = {.handler = two_at_once,
                              .arg = &pair,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

        play(&scene);
        assert_int_equal(scene.result.status, 200);
        assert_int_equal(how == 2 ? pair.next_result : pair.body_result,
                         how == 1 ? WEIR_ECANCELED : 1);
        assert_int_equal(scene.result.cancelled, how == 1);
        assert_int_equal(scene.ended_ms >= 50, how != 1);
    }
}

/* The client leaves while a part is read: its handler's wait ends. */
static int waits_for_ever(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *form = NULL;
    struct weir_part *part;
    struct weir_chunk *chunk;
    struct weir_error error;
    int r = open_form(req, NULL, &form);

    assert_int_equal(r, 0);
    assert_int_equal(weir_multipart_next(form, -1, &part), 1);
    r = *(int *)arg ? weir_next(weir_part_body(part), -1, &chunk)
                    : weir_multipart_next(form, -1, &part);
    assert_int_equal(r, WEIR_ERESET);
    assert_int_equal(scene_ms(), 70);
    weir_multipart_error(form, &error);
    assert_int_equal(error.reason, WEIR_REASON_RESET);
    assert_int_equal(error.native, 104);
    assert_int_equal(error.side, WEIR_SIDE_SOURCE);
    assert_int_equal(weir_multipart_next(form, -1, &part), WEIR_ERESET);
    return r;
}

static void a_client_that_leaves(void **state)
{
    static const struct weir__memory_step steps[] = {
        BYTES(0, HEAD("a")),
        {.at_ms = 70, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104}};

    (void)state;
    for (int in_body = 0; in_body < 2; in_body++) {
        struct scene scene = {.handler = waits_for_ever,
                              .arg = &in_body,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.body_length = 1000}};

        play(&scene);
        assert_int_equal(scene.result.status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_gets_its_status),
        cmocka_unit_test(v16_an_upload_that_breaks_off),
        cmocka_unit_test(trailers_after_the_last_part),
        cmocka_unit_test(content_types_of_a_request),
        cmocka_unit_test(an_upload_takes_the_memory_of_a_chunk),
        cmocka_unit_test(two_fibers_at_one_upload),
        cmocka_unit_test(a_client_that_leaves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
