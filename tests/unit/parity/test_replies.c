/* SPDX-License-Identifier: MIT */
/* Parity: the kinds of reply, bodies both ways, and failures before and after the head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <weir/ndjson.h>
#include <weir/sse.h>

#include "base/cleanup.h"
#include "parity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int text(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "hello %d\n", 5);
}

static int json(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_json(req, 201, weir_str("{\"a\":1}"));
}

static int empty(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_empty(req, 204, NULL);
}

static int redirect(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_redirect(req, 308, NULL, weir_str("/there?a=b"));
}

static int echo(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    return r < 0 ? r : weir_pipe(weir_req_body(req), out, NULL, NULL);
}

static int streamed(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    for (int i = 0; r == 0 && i < 3; i++) {
        r = weir_emit_bytes(out, weir_str("chunk\n"), -1);
    }
    if (r == 0) {
        r = weir_fields_create(&trailers);
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("X-Sum"), weir_str("3"));
    }
    return r < 0 ? r : weir_end(out, trailers);
}

static int two_events(struct weir_sink *out, void *arg)
{
    int r = weir_sse_emit(
        out, &(struct weir_event){.event = "tick", .id = "1", .data = weir_str("one\ntwo")});

    (void)arg;
    return r < 0 ? r : weir_sse_emit(out, &(struct weir_event){.data = weir_str("three")});
}

static int events(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_sse(req, 200, two_events, NULL);
}

static int two_records(struct weir_sink *out, void *arg)
{
    int r = weir_ndjson_emit(out, weir_str("{\"n\":1}"));

    (void)arg;
    return r < 0 ? r : weir_ndjson_emit(out, weir_str("{\"n\":2}"));
}

static int records(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_ndjson(req, 200, two_records, NULL);
}

/* ---- failures ---- */

static int fails_before(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return WEIR_ENOTFOUND;
}

static int fails_after(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("half"), -1);
    }
    if (r == 0) {
        r = weir_sleep(weir_after_ms(1)); /* so that it has left */
    }
    return r < 0 ? r : WEIR_EIO;
}

static int forgets_to_end(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, 10, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("short"), -1);
    }
    return r == 0 ? weir_sleep(weir_after_ms(1)) : r;
}

static int decides_late(struct weir_req *req, void *arg)
{
    int r = weir_sleep(weir_after_ms(1));

    (void)arg;
    return r < 0 ? r : weir_reply_text(req, 429, "later\n");
}

static int limited(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk;
    int r = weir_req_limit_body(req, 4);

    (void)arg;
    while (r == 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) == 1) {
        weir_chunk_unref(chunk);
        r = 0;
    }
    return r;
}

static const struct parity_case cases[] = {
    {.name = "text",
     .handler = text,
     .expect = "200\ncontent-type: text/plain; charset=utf-8\n\nhello 5\n\nend\n"},
    {.name = "head",
     .handler = text,
     .method = "HEAD",
     .expect = "200\ncontent-type: text/plain; charset=utf-8\n\nend\n"},
    {.name = "json",
     .handler = json,
     .expect = "201\ncontent-type: application/json\n\n{\"a\":1}\nend\n"},
    {.name = "empty", .handler = empty, .expect = "204\n\nend\n"},
    {.name = "redirect", .handler = redirect, .expect = "308\nlocation: /there?a=b\n\nend\n"},
    {.name = "echo",
     .handler = echo,
     .method = "POST",
     .body = "the body",
     .expect = "200\n\nthe body\nend\n"},
    {.name = "streamed, with trailers",
     .handler = streamed,
     .expect = "200\n\nchunk\nchunk\nchunk\n\nx-sum: 3\nend\n"},
    {.name = "events",
     .handler = events,
     .expect = "200\ncontent-type: text/event-stream\ncache-control: no-cache\n"
               "x-accel-buffering: no\n\nevent: tick\nid: 1\ndata: one\ndata: two\n\n"
               "data: three\n\n\nend\n"},
    {.name = "records",
     .handler = records,
     .expect =
         "200\ncontent-type: application/x-ndjson\nx-accel-buffering: no\n\n{\"n\":1}\n{\"n\":2}\n\nend\n"},
    {.name = "crash before the head",
     .handler = fails_before,
     .expect = "404\ncontent-type: text/plain; charset=utf-8\n\nnot found\n\nend\n"},
    {.name = "crash after the head", .handler = fails_after, .expect = "200\n\nhalf\nabort\n"},
    {.name = "too short", .handler = forgets_to_end, .expect = "200\n\nshort\nabort\n"},
    {.name = "deferred status",
     .handler = decides_late,
     .expect = "429\ncontent-type: text/plain; charset=utf-8\n\nlater\n\nend\n"},
    {.name = "too large a body",
     .handler = limited,
     .method = "POST",
     .body = "12345678",
     .expect = "413\ncontent-type: text/plain; charset=utf-8\n\nover a configured limit\n\nend\n"},
};

static void replies(void **state)
{
    (void)state;
    parity_check(cases, COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(replies)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
