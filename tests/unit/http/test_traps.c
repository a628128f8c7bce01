/* SPDX-License-Identifier: MIT */
/*
 * Traps that streaming libraries have fallen into, shown absent on a scripted peer and a fake clock: what a full window
 * does to a chunk of any size, who has to ask for a refusal, what ends a wait for a peer that takes nothing, when its
 * window is opened, and what a silent stream costs. The numbers V2 to V11 name the traps.
 */
#include "http_test.h"

#include <fcntl.h>

#include <weir/ndjson.h>
#include <weir/sources.h>
#include <weir/sse.h>

#define LARGE ((size_t)1 << 20)

/* ---- V2: a chunk that is larger than any window there ever is ---- */

struct emitting {
    int64_t deadline;
    int r, again;
};

static int emits_large(struct weir_req *req, void *arg)
{
    struct emitting *emitting = arg;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, LARGE, &out);

    if (r == 0) {
        emitting->r = r = emit_pattern(out, 0, LARGE, emitting->deadline);
    }
    if (r == WEIR_EFLOW) {
        r = weir_wait_writable(out, -1);
        emitting->again = r = r == 0 ? emit_pattern(out, 0, LARGE, emitting->deadline) : r;
    }
    return r < 0 ? r : weir_end(out, NULL);
}

/* The window is topped up by 1000 bytes a ms, never by more: waiting or not, the chunk goes, whole and in order. */
static void v2_a_chunk_larger_than_the_window(void **state)
{
    static struct weir__memory_step steps[LARGE / 1000 + 1];

    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = (struct weir__memory_step){
            .at_ms = (int64_t)i + 1, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 1000};
    }
    for (int waits = 0; waits < 2; waits++) {
        struct emitting emitting = {.deadline = waits ? -1 : 0};
        struct scene scene = {.handler = emits_large,
                              .arg = &emitting,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.stream_window = WEIR__MEMORY_NONE}};

        play(&scene);
        assert_int_equal(emitting.r, waits ? 0 : WEIR_EFLOW);
        assert_int_equal(emitting.again, 0);
        assert_true(scene.result.ended && scene.result.pattern);
        assert_int_equal(scene.result.taken, LARGE);
        assert_int_equal(scene.ended_ms, COUNT(steps));
    }
}

/* ---- V3: nobody is refused who has not asked for it ---- */

static int says_all(struct weir_req *req, void *arg)
{
    static uint8_t bytes[50000];
    int *worst = arg;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    for (int i = 0; r == 0 && i < 20; i++) {
        r = weir_emit_bytes(out, weir_bytes(bytes, sizeof(bytes)),
                            i % 2 ? -1 : weir_after_ms(60000));
        *worst = r < *worst ? r : *worst;
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static void v3_a_full_window_is_no_error(void **state)
{
    static struct weir__memory_step steps[100];
    int worst = 0;
    struct scene scene = {.handler = says_all,
                          .arg = &worst,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.socket = 1, .limits = {.write_stall_ms = 30000}}};

    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = (struct weir__memory_step){
            .at_ms = 100 * (int64_t)i, .act = WEIR__MEMORY_SOCKET, .bytes = 10000};
    }
    play(&scene);
    assert_int_equal(worst, 0);
    assert_true(scene.result.ended);
    assert_int_equal(scene.result.taken, 1000000);
    assert_int_equal(scene.ended_ms, 9900); /* it has waited for each of them */
}

/* ---- V4: every way to write has an end when the peer takes nothing ---- */

static int by_emit(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    while (r == 0) {
        r = emit_pattern(out, 0, 1000, -1);
    }
    *(int *)arg = r;
    return r;
}

static int by_end(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = emit_pattern(out, 0, 1000, 0); /* taken without waiting: there was room for a byte */
        r = r == 0 ? weir_end(out, NULL) : r;
    }
    *(int *)arg = r;
    return r;
}

static int by_waiting(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = emit_pattern(out, 0, 1000, 0);
        r = r == 0 ? weir_wait_writable(out, -1) : r;
    }
    *(int *)arg = r;
    return r;
}

static int by_reply(struct weir_req *req, void *arg)
{
    static uint8_t bytes[5000];
    int r = weir_reply_bytes(req, 200, NULL, "text/plain", weir_bytes(bytes, sizeof(bytes)));

    *(int *)arg = r;
    return r;
}

static int by_event(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_sse_begin(req, 200, NULL, &out);

    while (r == 0) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("an event")});
    }
    *(int *)arg = r;
    return r;
}

static int by_record(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_ndjson_begin(req, 200, NULL, &out);

    while (r == 0) {
        r = weir_ndjson_emit(out, weir_str("{}"));
    }
    *(int *)arg = r;
    return r;
}

static int by_file(struct weir_req *req, void *arg)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a file of some size */
    struct weir_source *source;
    int r = weir_file_source_create_take(fd, 0, 100000, &source);

    r = r == 0 ? weir_reply_source_take(req, 200, NULL, 100000, source) : r;
    *(int *)arg = r;
    return r;
}

static const struct {
    const char *name;
    weir_handler_fn *handler;
} stalling_ones[] = {
    {"emit", by_emit},   {"end", by_end},       {"wait", by_waiting}, {"reply", by_reply},
    {"event", by_event}, {"record", by_record}, {"file", by_file},
};

static void v4_no_write_waits_for_ever(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(stalling_ones); i++) {
        int r = 0;
        struct scene scene = {.handler = stalling_ones[i].handler,
                              .arg = &r,
                              .opts = {.socket = 10, .limits = {.write_stall_ms = 700}}};

        play(&scene);
        if (r != WEIR_ESTALLED || scene.ended_ms != 700) {
            fail_msg("%s: %s at %lld", stalling_ones[i].name, weir_err_name(r),
                     (long long)scene.ended_ms);
        }
        assert_false(scene.result.ended);
        assert_true(scene.result.aborted);
        assert_int_equal(scene.result.gone, WEIR_REASON_STALL);
    }
}

/* ---- V5: a window is opened by what was let go of, and by nothing else ---- */

#define WINDOW 10000

static uint64_t seen_by_nobody;

/* Reads one chunk late, keeps it for a while, and reads no more. */
static int keeps_one(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk;
    struct weir__memory_result before, kept, after;

    (void)arg;
    assert_int_equal(weir_sleep(weir_after_ms(500)), 0);
    weir__memory_result(scene_memory, &before);
    assert_int_equal(before.released, 0);
    assert_int_equal(weir_next(weir_req_body(req), -1, &chunk), 1);
    assert_int_equal(weir_sleep(weir_after_ms(500)), 0);
    weir__memory_result(scene_memory, &kept);
    assert_int_equal(kept.released, 0); /* it was read, and is still ours */
    seen_by_nobody = weir_chunk_len(chunk);
    weir_chunk_unref(chunk);
    weir__memory_result(scene_memory, &after);
    assert_int_equal(after.released, seen_by_nobody);
    return weir_reply_empty(req, 204, NULL);
}

static void v5_only_what_is_let_go_of_is_credited(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = 50000000}, {.act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = keeps_one,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = 50000000, .receive_window = WINDOW}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.status, 204);
    assert_in_range(seen_by_nobody, 1, WINDOW);
    assert_int_equal(scene.result.delivered, seen_by_nobody);
    assert_int_equal(scene.result.released, seen_by_nobody);
    assert_true(scene.result.parked_peak <= WINDOW);
    assert_in_range(scene.budget_peak, 1, 2 * WEIR_CHUNK_BYTES); /* 50 MB were not put anywhere */
}

/* ---- V8: what breaks off behind the head is seen to break off, by whichever way the bytes went ---- */

static int breaks_off(struct weir_req *req, void *arg)
{
    uint64_t *length = arg;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, *length, &out);

    if (r == 0) {
        r = emit_pattern(out, 0, 200000, -1);
    }
    return r < 0 ? r : WEIR_EIO;
}

static void v8_a_slow_client_sees_the_abort(void **state)
{
    static const uint64_t lengths[] = {WEIR_LENGTH_UNKNOWN, 1000000, WEIR_LENGTH_UNTIL_CLOSE};
    static struct weir__memory_step steps[50];

    (void)state;
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = (struct weir__memory_step){
            .at_ms = 1000 * (int64_t)i, .act = WEIR__MEMORY_SOCKET, .bytes = 5000};
    }
    for (size_t i = 0; i < COUNT(lengths); i++) {
        uint64_t length = lengths[i];
        struct scene scene = {.handler = breaks_off,
                              .arg = &length,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.socket = 1, .limits = {.write_stall_ms = 30000}}};

        play(&scene);
        assert_true(scene.result.aborted && scene.result.pattern);
        assert_false(scene.result.ended);
        assert_int_equal(scene.result.status, 200); /* one head, and it said so */
        assert_in_range(scene.result.taken, 100000, 200000);
    }
}

/* ---- V11: a stream that is silent is put aside by itself ---- */

static void is_put_aside(void *arg)
{
    unsigned *aside = arg;

    /* What the sweep does, which a fake clock does not have; it runs five times a second. */
    weir__fiber_trim_parked(scene_loop, scene_loop->now_us - 100000);
    *aside += !weir_list_is_empty(&scene_loop->idle) && weir_list_is_empty(&scene_loop->parked);
    assert_int_equal(weir__budget_used(weir__budget_process()), 0);
}

static int is_silent(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r;

    (void)arg;
    weir_req_drop_head(req);
    r = weir_sse_begin(req, 200, NULL, &out);
    for (int i = 0; r == 0 && i < 3; i++) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("now and then")});
        r = r == 0 ? weir_sleep(weir_after_ms(3600000)) : r;
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static void v11_a_silent_stream_is_put_aside(void **state)
{
    static unsigned aside;
    static const struct weir__memory_step steps[] = {
        {.at_ms = 1800000, .act = WEIR__MEMORY_CALL, .call = is_put_aside, .arg = &aside},
        {.at_ms = 5400000, .act = WEIR__MEMORY_CALL, .call = is_put_aside, .arg = &aside}};
    struct scene scene = {.handler = is_silent, .steps = steps, .count = 2};

    (void)state;
    play(&scene);
    assert_int_equal(aside, 2); /* and between them it had woken, as if nothing had been */
    assert_true(scene.result.ended);
    assert_int_equal(scene.result.taken, 3 * strlen("data: now and then\n\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v2_a_chunk_larger_than_the_window),
        cmocka_unit_test(v3_a_full_window_is_no_error),
        cmocka_unit_test(v4_no_write_waits_for_ever),
        cmocka_unit_test(v5_only_what_is_let_go_of_is_credited),
        cmocka_unit_test(v8_a_slow_client_sees_the_abort),
        cmocka_unit_test(v11_a_silent_stream_is_put_aside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
