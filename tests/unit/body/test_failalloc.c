/* SPDX-License-Identifier: MIT */
/* Every allocation of a reader of bodies fails once, with all that follow: never a body or a form that only looks whole. */
#include "../http/http_test.h"

#include <weir/body.h>
#include <weir/form.h>
#include <weir/multipart.h>

#define BYTES(at, text)                                                                \
    {                                                                                  \
        .at_ms = at, .act = WEIR__MEMORY_SEND, .bytes = sizeof(text) - 1, .data = text \
    }

/* Sends back what it has read whole. */
static int answers(struct weir_req *req, struct weir_view bytes)
{
    return weir_reply_bytes(req, 200, NULL, NULL, bytes);
}

static int reads_all(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    struct weir_chunk *chunk;
    int r = weir_read_all(weir_req_body(req), 100000, -1, &all);

    (void)arg;
    if (r < 0) {
        assert_int_equal(weir_next(weir_req_body(req), -1, &chunk), r); /* nor is the rest a body */
        return r;
    }
    return answers(req, weir_chunk_view(all));
}

static int discards(struct weir_req *req, void *arg)
{
    int r = weir_discard(weir_req_body(req), 100000, -1);

    (void)arg;
    return r < 0 ? r : answers(req, weir_str("done"));
}

static int type_is(struct weir_req *req, const char *type)
{
    int r = req->fields == NULL ? weir_fields_create(&req->fields) : 0;

    return r < 0 ? r : weir_fields_add(req->fields, weir_str("Content-Type"), weir_str(type));
}

static int reads_form(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    int r = type_is(req, "application/x-www-form-urlencoded");

    (void)arg;
    if (r == 0) {
        r = weir_form_read(req, NULL, -1, &form);
    }
    return r < 0 ? r : answers(req, weir_form_get(form, "b"));
}

/* Some parts are read whole, some piece by piece, some not at all. */
static int reads_parts(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *multipart = NULL;
    struct weir_part *part;
    uint8_t text[64];
    size_t len = 0;
    int r = type_is(req, "multipart/form-data; boundary=b0");

    (void)arg;
    if (r == 0) {
        r = weir_req_multipart(req, NULL, &multipart);
    }
    while (r >= 0 && (r = weir_multipart_next(multipart, -1, &part)) > 0) {
        WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = NULL;
        uint8_t name = weir_part_name(part).data[0];

        if (name == 'a') {
            r = weir_read_all(weir_part_body(part), 100, -1, &chunk);
            if (r == 0) {
                memcpy(text + len, weir_chunk_view(chunk).data, weir_chunk_len(chunk));
                len += weir_chunk_len(chunk);
            }
        } else if (name == 'b') {
            while ((r = weir_next(weir_part_body(part), -1, &chunk)) > 0) {
                memcpy(text + len, weir_chunk_view(chunk).data, weir_chunk_len(chunk));
                len += weir_chunk_len(chunk);
                chunk = weir_chunk_unref(chunk);
            }
        }
    }
    return r < 0 ? r : answers(req, weir_bytes(text, len));
}

static void fail_each(struct scene *scene, const char *whole)
{
    unsigned same = 0;

    scene->opts.keep = 90000;
    scene->opts.body_length = WEIR_LENGTH_UNKNOWN;
    play(scene);
    assert_int_equal(scene->result.status, 200);
    for (int64_t at = 1; same < 8; at++) {
        assert_true(at < 10000);
        play_failing(scene, at);
        same = scene->started == 0 && scene->result.status == 200 ? same + 1 : 0;
        if (scene->started < 0) {
            continue;
        }
        assert_true(scene->result.ended != scene->result.aborted);
        if (scene->result.ended && scene->result.status == 200) {
            if (whole == NULL) {
                assert_true(scene->result.pattern);
                assert_int_equal(scene->result.taken, 80100);
            } else {
                assert_int_equal(scene->result.taken, strlen(whole));
            }
        } else if (scene->result.ended) {
            assert_true(scene->result.status == 503 || scene->result.status == 500);
        }
    }
}

static const struct weir__memory_step large[] = {
    {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 80000},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND_END}};

static void a_whole_body(void **state)
{
    struct scene scene = {.handler = reads_all, .steps = large, .count = COUNT(large)};

    (void)state;
    fail_each(&scene, NULL);
}

static void a_dropped_body(void **state)
{
    struct scene scene = {.handler = discards, .steps = large, .count = COUNT(large)};

    (void)state;
    fail_each(&scene, "done");
}

static void an_empty_body(void **state)
{
    struct scene scene = {.handler = reads_all, .steps = large + 2, .count = 1};

    (void)state;
    fail_each(&scene, "");
}

static void a_form(void **state)
{
    static const struct weir__memory_step steps[] = {BYTES(1, "a=1&"),
                                                     BYTES(2, "b=2%20"),
                                                     BYTES(3, "3&c"),
                                                     {.at_ms = 3, .act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = reads_form, .steps = steps, .count = COUNT(steps)};

    (void)state;
    fail_each(&scene, "2 3");
}

#define PART(name) "--b0\r\nContent-Disposition: form-data; filename=x; name=" name "\r\n\r\n"

static void parts(void **state)
{
    static const struct weir__memory_step steps[] = {
        BYTES(1, "preamble\r\n--b0\r\nX: 1\r\nContent-Disp"),
        BYTES(2, "osition: form-data; name=\"a\"\r\n\r\n123\r\n-"),
        BYTES(3, "4\r\n" PART("b") "56\r"),
        BYTES(4, "\n--7\r\n" PART("c") "89\r\n--"),
        BYTES(5, "b0\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b0--\r\n"),
        {.at_ms = 5, .act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (size_t max = 0; max < 20; max += 3) {
        struct scene scene = {.handler = reads_parts,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.max_read = max}};

        fail_each(&scene, "123\r\n-456\r\n--7");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_body),  cmocka_unit_test(a_dropped_body),
        cmocka_unit_test(an_empty_body), cmocka_unit_test(a_form),
        cmocka_unit_test(parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
