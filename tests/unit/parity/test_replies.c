/* SPDX-License-Identifier: MIT */
/* Parity: the kinds of reply, bodies both ways, and failures before and after the head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <weir/ndjson.h>
#include <weir/rt.h>
#include <weir/sources.h>
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

/* ---- producers and sources ---- */

static int html(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_html(req, 200, weir_str("<!doctype html>\n<p>\xc3\xa9</p>\n"));
}

static int three(struct weir_sink *out, void *arg)
{
    int r = 0;

    (void)arg;
    for (int i = 1; r == 0 && i <= 5; i++) {
        char digit = (char)('0' + i);

        r = weir_emit_bytes(out, weir_bytes(&digit, 1), -1);
        if (r == 0) {
            r = weir_yield();
        }
    }
    return r;
}

static int produced(struct weir_req *req, void *arg)
{
    return weir_reply_stream(req, 200, NULL, *(uint64_t *)arg, three, NULL);
}

static int from_source(struct weir_req *req, void *arg)
{
    struct weir_source *source;
    int r = weir_bytes_source_create(weir_str("from a source"), &source);

    (void)arg;
    return r < 0 ? r : weir_reply_source_take(req, 200, NULL, 13, source);
}

static int large(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, *(uint64_t *)arg, &out);

    for (uint64_t at = 0; r == 0 && at < 3000000; at += 100000) {
        r = parity_emit_pattern(out, at, 100000);
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static int own_fields(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    static const char *const lines[][2] = {{"X-B", "2"},
                                           {"Set-Cookie", "a=1"},
                                           {"X-A", ""},
                                           {"Set-Cookie", "b=2"},
                                           {"Content-Length", "99"},
                                           {"Transfer-Encoding", "gzip"},
                                           {"Connection", "upgrade"},
                                           {"X-Text", "caf\xc3\xa9; \t\"q\""}};
    int r = weir_fields_create(&fields);

    (void)arg;
    for (size_t i = 0; r == 0 && i < COUNT(lines); i++) {
        r = weir_fields_add(fields, weir_str(lines[i][0]), weir_str(lines[i][1]));
    }
    return r < 0 ? r : weir_reply_bytes(req, 299, fields, "text/x-mine", weir_str("b"));
}

static int too_long(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, 4, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("abc"), -1);
    }
    if (r == 0) {
        r = weir_sleep(weir_after_ms(1));
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("de"), -1);
        parity_note(req, "emit: %s", parity_name(r));
        parity_note(req, "again: %s", parity_name(weir_emit_bytes(out, weir_str("d"), -1)));
        parity_note(req, "end: %s", parity_name(weir_end(out, NULL)));
    }
    return r;
}

static int twice(struct weir_req *req, void *arg)
{
    int r = weir_reply_text(req, 200, "first\n");

    (void)arg;
    if (r == 0) {
        parity_note(req, "second: %s", parity_name(weir_reply_text(req, 500, "second\n")));
    }
    return r;
}

static int no_reply(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return 0;
}

static int hints(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    (void)arg;
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Link"), weir_str("</a.css>; rel=preload"));
    }
    if (r == 0) {
        r = weir_inform(req, 103, fields);
    }
    if (r == 0) {
        r = weir_inform(req, 102, NULL);
    }
    if (r == 0) {
        parity_note(req, "101: %s", parity_name(weir_inform(req, 101, NULL)));
        parity_note(req, "200: %s", parity_name(weir_inform(req, 200, NULL)));
        r = weir_reply_text(req, 200, "after hints\n");
    }
    if (r == 0) {
        parity_note(req, "late: %s", parity_name(weir_inform(req, 103, fields)));
    }
    return r;
}

static uint64_t unknown = WEIR_LENGTH_UNKNOWN, five = 5, six = 6, large_bytes = 3000000;

static const struct parity_case cases[] = {
    {.name = "text",
     .handler = text,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "hello 5\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 8\n"},
    {.name = "head",
     .handler = text,
     .ask = {{.method = "HEAD"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "html",
     .handler = html,
     .expect = "200\n"
               "content-type: text/html; charset=utf-8\n"
               "content-length: 26\n"
               "\n"
               "<!doctype html>\n"
               "<p>\\xc3\\xa9</p>\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 26\n"},
    {.name = "json",
     .handler = json,
     .expect = "201\n"
               "content-type: application/json\n"
               "content-length: 7\n"
               "\n"
               "{\"a\":1}\n"
               "end\n"
               "- returned 0: 201 complete, received 0, sent 7\n"},
    {.name = "empty",
     .handler = empty,
     .expect = "204\n"
               "\n"
               "end\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "redirect",
     .handler = redirect,
     .expect = "308\n"
               "location: /there?a=b\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- returned 0: 308 complete, received 0, sent 0\n"},
    {.name = "fields in order",
     .handler = own_fields,
     .expect = "299\n"
               "x-b: 2\n"
               "set-cookie: a=1\n"
               "x-a: \n"
               "set-cookie: b=2\n"
               "x-text: caf\\xc3\\xa9; \\x09\"q\"\n"
               "content-type: text/x-mine\n"
               "content-length: 1\n"
               "\n"
               "b\n"
               "end\n"
               "- returned 0: 299 complete, received 0, sent 1\n"},
    {.name = "echo",
     .handler = echo,
     .ask = {{.method = "POST", .body = "the body"}},
     .expect = "200\n"
               "\n"
               "the body\n"
               "end\n"
               "- returned 0: 200 complete, received 8, sent 8\n"},
    {.name = "streamed, with trailers",
     .handler = streamed,
     .expect = "200\n"
               "\n"
               "chunk\n"
               "chunk\n"
               "chunk\n"
               "\n"
               "x-sum: 3\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 18\n"},
    {.name = "produced",
     .handler = produced,
     .arg = &unknown,
     .expect = "200\n"
               "\n"
               "12345\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 5\n"},
    {.name = "produced, of declared length",
     .handler = produced,
     .arg = &five,
     .expect = "200\n"
               "content-length: 5\n"
               "\n"
               "12345\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 5\n"},
    {.name = "produced, one byte missing",
     .handler = produced,
     .arg = &six,
     .expect = "200\n"
               "content-length: 6\n"
               "\n"
               "12345\n"
               "abort\n"
               "- returned WEIR_ESTATE: 200 aborted, received 0, sent 5\n"
               "- because WEIR_ESTATE of the sink, handler\n"},
    {.name = "produced, for HEAD",
     .handler = produced,
     .arg = &five,
     .ask = {{.method = "HEAD"}},
     .expect = "200\n"
               "content-length: 5\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "from a source",
     .handler = from_source,
     .expect = "200\n"
               "content-length: 13\n"
               "\n"
               "from a source\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 13\n"},
    {.name = "large",
     .handler = large,
     .arg = &large_bytes,
     .expect = "200\n"
               "content-length: 3000000\n"
               "\n"
               "(3000000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 3000000\n"},
    {.name = "large, of unknown length",
     .handler = large,
     .arg = &unknown,
     .expect = "200\n"
               "\n"
               "(3000000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 3000000\n"},
    {.name = "events",
     .handler = events,
     .expect = "200\n"
               "content-type: text/event-stream\n"
               "cache-control: no-cache\n"
               "x-accel-buffering: no\n"
               "\n"
               "event: tick\n"
               "id: 1\n"
               "data: one\n"
               "data: two\n"
               "\n"
               "data: three\n"
               "\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 52\n"},
    {.name = "records",
     .handler = records,
     .expect = "200\n"
               "content-type: application/x-ndjson\n"
               "x-accel-buffering: no\n"
               "\n"
               "{\"n\":1}\n"
               "{\"n\":2}\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 16\n"},
    {.name = "hints",
     .handler = hints,
     .expect = "103\n"
               "link: </a.css>; rel=preload\n"
               "\n"
               "102\n"
               "\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 12\n"
               "\n"
               "after hints\n"
               "\n"
               "end\n"
               "- 101: WEIR_EINVAL\n"
               "- 200: WEIR_EINVAL\n"
               "- late: WEIR_ESTATE\n"
               "- returned 0: 200 complete, received 0, sent 12\n"},
    {.name = "crash before the head",
     .handler = fails_before,
     .expect = "404\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 10\n"
               "\n"
               "not found\n"
               "\n"
               "end\n"
               "- returned WEIR_ENOTFOUND: 404 complete, received 0, sent 10\n"},
    {.name = "crash after the head",
     .handler = fails_after,
     .expect = "200\n"
               "\n"
               "half\n"
               "abort\n"
               "- returned WEIR_EIO: 200 aborted, received 0, sent 4\n"
               "- because WEIR_ECANCELED of the handler, abandoned\n"},
    {.name = "too short",
     .handler = forgets_to_end,
     .expect = "200\n"
               "content-length: 10\n"
               "\n"
               "short\n"
               "abort\n"
               "- returned 0: 200 aborted, received 0, sent 5\n"
               "- because WEIR_ECANCELED of the handler, abandoned\n"},
    {.name = "too long",
     .handler = too_long,
     .expect = "200\n"
               "content-length: 4\n"
               "\n"
               "abc\n"
               "abort\n"
               "- emit: WEIR_ELIMIT\n"
               "- again: WEIR_ELIMIT\n"
               "- end: WEIR_ELIMIT\n"
               "- returned WEIR_ELIMIT: 200 aborted, received 0, sent 3\n"
               "- because WEIR_ELIMIT of the handler, handler\n"},
    {.name = "two replies",
     .handler = twice,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "first\n"
               "\n"
               "end\n"
               "- second: WEIR_ESTATE\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "no reply",
     .handler = no_reply,
     .expect = "500\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 18\n"
               "\n"
               "no reply was made\n"
               "\n"
               "end\n"
               "- returned 0: 500 complete, received 0, sent 18\n"},
    {.name = "deferred status",
     .handler = decides_late,
     .expect = "429\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "later\n"
               "\n"
               "end\n"
               "- returned 0: 429 complete, received 0, sent 6\n"},
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
