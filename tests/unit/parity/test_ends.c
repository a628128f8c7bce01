/* SPDX-License-Identifier: MIT */
/* Parity: what a handler learns of a client that leaves, stalls or reads slowly, and when that client sees what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <weir/blocking.h>
#include <weir/rt.h>
#include <weir/sse.h>

#include "base/cleanup.h"
#include "parity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void note_gone(struct weir_req *req)
{
    enum weir_reason reason = WEIR_REASON_NONE;
    bool gone = weir_req_gone(req, &reason);

    parity_note(req, "%s: %s", gone ? "gone" : "there", weir_reason_name(reason));
}

static void left(void *arg)
{
    parity_note(arg, "called back");
}

/* ---- a handler that waits for something else ---- */

static int waits(struct weir_req *req, void *arg)
{
    int r;

    (void)arg;
    parity_note(req, "registered: %s", parity_name(weir_on_disconnect(req, left, req)));
    parity_note(req, "waiting");
    r = weir_sleep(weir_after_ms(20000));
    parity_note(req, "sleep: %s", parity_name(r));
    parity_note(req, "fired: %d", weir_off_disconnect(req));
    note_gone(req);
    parity_note(req, "slept again: %s", parity_name(weir_sleep(weir_after_ms(1))));
    return r;
}

/* The leave has been answered when it registers. */
static int registers_late(struct weir_req *req, void *arg)
{
    (void)arg;
    parity_note(req, "waiting");
    parity_note(req, "sleep: %s", parity_name(weir_sleep(weir_after_ms(20000))));
    parity_note(req, "registered: %s", parity_name(weir_on_disconnect(req, left, req)));
    parity_note(req, "fired: %d", weir_off_disconnect(req));
    parity_note(req, "none left: %s", parity_name(weir_off_disconnect(req)));
    return weir_reply_text(req, 200, "nobody reads this\n");
}

static int completes(struct weir_req *req, void *arg)
{
    int r = weir_on_disconnect(req, left, req);

    (void)arg;
    if (r == 0) {
        r = weir_reply_text(req, 200, "done\n");
    }
    note_gone(req);
    parity_note(req, "fired: %d", weir_off_disconnect(req));
    return r;
}

/* On a thread of the pool, in a library that knows nothing of any of this. */
static int in_a_library(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r;

    (void)arg;
    parity_note(req, "registered: %s", parity_name(weir_on_disconnect(req, left, req)));
    parity_note(req, "waiting");
    parity_block("called back");
    note_gone(req);
    r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);
    parity_note(req, "begin: %s", parity_name(r));
    parity_note(req, "fired: %d", weir_off_disconnect(req));
    return r;
}

static int blocks(struct weir_req *req, void *arg)
{
    static const struct weir_blocking pool = {.handler = in_a_library};

    (void)arg;
    return weir_blocking(req, &pool);
}

static int sums(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct weir_chunk *chunk;
    size_t bytes = 0;
    int r;

    (void)arg;
    while ((r = weir_next(weir_req_body(req), -1, &chunk)) == 1) {
        bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);
    }
    for (int i = 0; r == 0 && i < 3; i++) {
        r = weir_emit_bytes(out, weir_str("blocking "), -1);
    }
    parity_note(req, "read %zu", bytes);
    return r < 0 ? r : weir_end(out, NULL);
}

static int blocks_and_replies(struct weir_req *req, void *arg)
{
    static const struct weir_blocking pool = {.handler = sums};

    (void)arg;
    return weir_blocking(req, &pool);
}

/* ---- in the middle of a stream ---- */

static int feeds(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct weir_error error;
    int r = weir_sse_begin(req, 200, NULL, &out);

    (void)arg;
    if (r == 0) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("one")});
    }
    if (r == 0) {
        r = weir_sleep(weir_after_ms(20000));
    }
    parity_note(req, "sleep: %s", parity_name(r));
    note_gone(req);
    r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("two")});
    parity_note(req, "emit: %s", parity_name(r));
    parity_note(req, "end: %s", parity_name(weir_end(out, NULL)));
    weir_sink_error(out, &error);
    parity_note(req, "why: %s", weir_reason_name(error.reason));
    return r;
}

/* Bytes that were emitted before a wait are there during the wait. */
static int says_and_waits(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("first "), -1);
    }
    if (r == 0) {
        r = parity_await("has the first");
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("second"), -1);
    }
    return r < 0 ? r : weir_end(out, NULL);
}

/* So is a head without a body yet. */
static int begins_and_waits(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = parity_await("has the head");
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static int aborts(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("half"), -1);
    }
    if (r == 0) {
        r = parity_await("has the half");
    }
    if (r == 0) {
        weir_abort(out, WEIR_REASON_LIMIT);
        parity_note(req, "emit: %s", parity_name(weir_emit_bytes(out, weir_str("more"), -1)));
        parity_note(req, "end: %s", parity_name(weir_end(out, NULL)));
    }
    return r;
}

/* ---- a client that takes nothing ---- */

static int floods(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    struct weir_error error;
    uint64_t at = 0;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    parity_note(req, "registered: %s", parity_name(weir_on_disconnect(req, left, req)));
    while (r == 0 && at < (uint64_t)256 << 20) {
        r = parity_emit_pattern(out, at, 65536);
        at += 65536;
    }
    parity_note(req, "emit: %s", parity_name(r));
    parity_note(req, "again: %s", parity_name(parity_emit_pattern(out, at, 1)));
    parity_note(req, "end: %s", parity_name(weir_end(out, NULL)));
    weir_sink_error(out, &error);
    parity_note(req, "why: %s", weir_reason_name(error.reason));
    note_gone(req);
    parity_note(req, "fired: %d", weir_off_disconnect(req));
    return r;
}

static int try_pattern(struct weir_sink *out, uint64_t at)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = NULL;
    int r = weir_chunk_create(8192, &chunk);

    for (size_t i = 0; r == 0 && i < 8192; i++) {
        weir_chunk_data(chunk)[i] = parity_byte(at + i);
    }
    return r < 0 ? r : weir_try_emit(out, chunk);
}

/* Emits until nothing more goes, and has not been taken; *ret_at is how far it came. */
static int fill(struct weir_sink *out, uint64_t *ret_at)
{
    int r = 0;

    while (r == 0) {
        r = try_pattern(out, *ret_at);
        *ret_at += r == 0 ? 8192 : 0;
    }
    return r;
}

static int ignores_a_refusal(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    uint64_t at = 0;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        parity_note(req, "full: %s", parity_name(fill(out, &at)));
        r = parity_await("reads");
    }
    if (r == 0) {
        r = weir_sleep(weir_after_ms(50)); /* there is room again, and nobody has asked for it */
    }
    if (r == 0) {
        parity_note(req, "next: %s", parity_name(try_pattern(out, at)));
        r = weir_end(out, NULL);
        parity_note(req, "end: %s", parity_name(r));
    }
    return r;
}

static int waits_for_room(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    uint64_t at = 0;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        /* What is still on its way to a socket makes room when it has arrived there. */
        do {
            r = fill(out, &at);
        } while (r == WEIR_EFLOW && weir_wait_writable(out, weir_after_ms(100)) == 0);
        parity_note(req, "full: %s", parity_name(r));
        parity_note(req, "not yet: %s", parity_name(weir_wait_writable(out, weir_after_ms(20))));
        parity_note(req, "may read");
        r = weir_wait_writable(out, -1);
        parity_note(req, "room: %s", parity_name(r));
    }
    while (r == 0 && at < (uint64_t)8 << 20) {
        r = try_pattern(out, at);
        at += r == 0 ? 8192 : 0;
        r = r == WEIR_EFLOW ? weir_wait_writable(out, -1) : r;
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static const struct parity_case leaves[] = {
    {.name = "a reset while the handler waits",
     .handler = waits,
     .ask = {{.steps = {AWAIT("waiting"), RESET}}},
     .expect = "left\n"
               "- registered: 0\n"
               "- waiting\n"
               "- called back\n"
               "- sleep: WEIR_ECANCELED\n"
               "- fired: 1\n"
               "- gone: reset\n"
               "- slept again: 0\n"
               "- returned WEIR_ECANCELED: 0 client_gone, received 0, sent 0\n"
               "- because WEIR_ERESET of the sink, reset\n"},
    {.name = "a FIN while the handler waits",
     .handler = waits,
     .ask = {{.steps = {AWAIT("waiting"), FIN}}},
     .expect = "abort\n"
               "- registered: 0\n"
               "- waiting\n"
               "- called back\n"
               "- sleep: WEIR_ECANCELED\n"
               "- fired: 1\n"
               "- gone: fin\n"
               "- slept again: 0\n"
               "- returned WEIR_ECANCELED: 0 client_gone, received 0, sent 0\n"
               "- because WEIR_ECLOSED of the sink, fin\n"},
    {.name = "a registration after the leave",
     .handler = registers_late,
     .ask = {{.steps = {AWAIT("waiting"), RESET}}},
     .expect = "left\n"
               "- waiting\n"
               "- sleep: WEIR_ECANCELED\n"
               "- called back\n"
               "- registered: 0\n"
               "- fired: 1\n"
               "- none left: WEIR_ESTATE\n"
               "- returned WEIR_ERESET: 0 client_gone, received 0, sent 0\n"
               "- because WEIR_ERESET of the sink, reset\n"},
    {.name = "no leave",
     .handler = completes,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 5\n"
               "\n"
               "done\n"
               "\n"
               "end\n"
               "- there: none\n"
               "- fired: 0\n"
               "- returned 0: 200 complete, received 0, sent 5\n"},
    {.name = "a reset while the handler is in a library",
     .handler = blocks,
     .ask = {{.steps = {AWAIT("waiting"), RESET}}},
     .expect = "left\n"
               "- registered: 0\n"
               "- waiting\n"
               "- called back\n"
               "- gone: reset\n"
               "- begin: WEIR_ERESET\n"
               "- fired: 1\n"
               "- returned WEIR_ERESET: 0 client_gone, received 0, sent 0\n"
               "- because WEIR_ERESET of the sink, reset\n"},
    {.name = "a blocking handler",
     .handler = blocks_and_replies,
     .ask = {{.method = "POST", .body = "12345"}},
     .expect = "200\n"
               "\n"
               "blocking blocking blocking \n"
               "end\n"
               "- read 5\n"
               "- returned 0: 200 complete, received 5, sent 27\n"},
};

static const struct parity_case middles[] = {
    {.name = "a reset in the middle of a stream",
     .handler = feeds,
     .ask = {{.steps = {TAKE(11), RESET}}},
     .expect = "200\n"
               "content-type: text/event-stream\n"
               "cache-control: no-cache\n"
               "x-accel-buffering: no\n"
               "\n"
               "data: one\n"
               "\n"
               "\n"
               "left\n"
               "- sleep: WEIR_ECANCELED\n"
               "- gone: reset\n"
               "- emit: WEIR_ERESET\n"
               "- end: WEIR_ERESET\n"
               "- why: reset\n"
               "- returned WEIR_ERESET: 200 client_gone, received 0, sent 11\n"
               "- because WEIR_ERESET of the sink, reset\n"},
    {.name = "a FIN in the middle of a stream",
     .handler = feeds,
     .ask = {{.steps = {TAKE(11), FIN}}},
     .expect = "200\n"
               "content-type: text/event-stream\n"
               "cache-control: no-cache\n"
               "x-accel-buffering: no\n"
               "\n"
               "data: one\n"
               "\n"
               "\n"
               "abort\n"
               "- sleep: WEIR_ECANCELED\n"
               "- gone: fin\n"
               "- emit: WEIR_ECLOSED\n"
               "- end: WEIR_ECLOSED\n"
               "- why: fin\n"
               "- returned WEIR_ECLOSED: 200 client_gone, received 0, sent 11\n"
               "- because WEIR_ECLOSED of the sink, fin\n"},
    {.name = "what was emitted before a wait",
     .handler = says_and_waits,
     .ask = {{.steps = {TAKE(6), MARK("has the first")}}},
     .expect = "200\n"
               "\n"
               "first second\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 12\n"},
    {.name = "a head before a wait",
     .handler = begins_and_waits,
     .ask = {{.steps = {UNTIL_HEAD, MARK("has the head")}}},
     .expect = "200\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "an abort",
     .handler = aborts,
     .ask = {{.steps = {TAKE(4), MARK("has the half")}}},
     .expect = "200\n"
               "\n"
               "half\n"
               "abort\n"
               "- emit: WEIR_ECANCELED\n"
               "- end: WEIR_ECANCELED\n"
               "- returned 0: 200 aborted, received 0, sent 4\n"
               "- because WEIR_ECANCELED of the handler, limit\n"},
};

static const struct parity_case stalls[] = {
    {.name = "a client that takes nothing",
     .handler = floods,
     .varies = true,
     .client_stall_ms = 200,
     .ask = {{.steps = {AWAIT("emit:")}}},
     .expect = "200\n"
               "\n"
               "(the pattern)\n"
               "abort\n"
               "- registered: 0\n"
               "- called back\n"
               "- emit: WEIR_ESTALLED\n"
               "- again: WEIR_ESTALLED\n"
               "- end: WEIR_ESTALLED\n"
               "- why: stall\n"
               "- gone: stall\n"
               "- fired: 1\n"
               "- returned WEIR_ESTALLED: 200 client_stalled, received 0, sent 0\n"
               "- because WEIR_ESTALLED of the sink, stall\n"},
    {.name = "a refused emit that is ignored",
     .handler = ignores_a_refusal,
     .varies = true,
     .ask = {{.steps = {AWAIT("full"), TAKE(16384), MARK("reads")}}},
     .expect = "200\n"
               "\n"
               "(the pattern)\n"
               "abort\n"
               "- full: WEIR_EFLOW\n"
               "- next: WEIR_EFLOW\n"
               "- end: WEIR_ESTATE\n"
               "- returned WEIR_ESTATE: 200 aborted, received 0, sent 0\n"
               "- because WEIR_ECANCELED of the handler, abandoned\n"},
    {.name = "a refused emit that is waited for",
     .handler = waits_for_room,
     .ask = {{.steps = {AWAIT("may read")}}},
     .expect = "200\n"
               "\n"
               "(8388608 bytes of the pattern)\n"
               "end\n"
               "- full: WEIR_EFLOW\n"
               "- not yet: WEIR_ETIMEDOUT\n"
               "- may read\n"
               "- room: 0\n"
               "- returned 0: 200 complete, received 0, sent 8388608\n"},
};

static void v10_a_leave_is_told_alike(void **state)
{
    (void)state;
    parity_check(leaves, COUNT(leaves));
}

static void in_the_middle_of_a_stream(void **state)
{
    (void)state;
    parity_check(middles, COUNT(middles));
}

/* Also V2 and V4: a refusal and a stall are the same everywhere. */
static void v1_one_kind_of_flow(void **state)
{
    (void)state;
    parity_check(stalls, COUNT(stalls));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v10_a_leave_is_told_alike),
        cmocka_unit_test(in_the_middle_of_a_stream),
        cmocka_unit_test(v1_one_kind_of_flow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
