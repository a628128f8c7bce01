/* SPDX-License-Identifier: MIT */
/* The encoder as a sink, in front of a scripted peer: what has reached the peer is decoded there and then. */
#include "../http/http_test.h"

#include "reference.h"

#include <weir/sources.h>
#include <weir/sse.h>

static enum weir_coding coding_now;
static struct weir_encode_opts opts_now;

/* What a peer at that moment can make of what it has. */
static void decode_kept(struct reference *reference)
{
    struct weir__memory_result result;

    weir__memory_result(scene_memory, &result);
    reference_init(reference, coding_now);
    reference_feed(reference, result.kept.data, result.kept.len);
}

static void expect_decoded(struct reference *reference, uint64_t len, bool over)
{
    assert_false(reference->wrong);
    assert_int_equal(reference->over, over);
    assert_int_equal(reference->len, len);
    for (size_t i = 0; i < len; i++) {
        if (reference->out[i] != weir__memory_byte(i)) {
            fail_msg("wrong byte at %zu", i);
        }
    }
    reference_finish(reference);
}

static void expect_after(const struct scene *scene, uint64_t len, bool over)
{
    struct reference reference;

    reference_init(&reference, coding_now);
    reference_feed(&reference, scene->result.kept.data, scene->result.kept.len);
    expect_decoded(&reference, len, over);
}

static int begin(struct weir_req *req, struct weir_sink **ret)
{
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, ret);

    return r < 0 ? r : weir_compress_sink_take(*ret, coding_now, &opts_now, ret);
}

/* The record is freed with the memory transport: what a test compares later is copied at the end. */
static uint8_t kept_copy[1 << 20];

static void keep_result(void *arg)
{
    struct scene *scene = arg;
    struct weir__memory_result result;

    weir__memory_result(scene_memory, &result);
    memcpy(kept_copy, result.kept.data, result.kept.len);
    scene->result.kept = weir_bytes(kept_copy, result.kept.len);
}

/* Plays a scene for each coding, with each way to flush. */
static void for_all(void (*fn)(void))
{
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        for (int each = 0; each < 2; each++) {
            coding_now = all_codings[i];
            opts_now = (struct weir_encode_opts){.flush_each = each == 1, .for_events = each == 1};
            fn();
        }
    }
}

/* ---- events ---- */

#define EVENTS 30
#define EVENT_LEN(i) ((size_t)(20 + (i) % 7 + ((i) == 12 ? 90000 : 0)))

static unsigned looks;

static uint64_t events_total(size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++) {
        total += EVENT_LEN(i);
    }
    return total;
}

/* Between two events the peer has every one so far. */
static void look(void *arg)
{
    struct reference reference;

    decode_kept(&reference);
    expect_decoded(&reference, events_total((size_t)(uintptr_t)arg), false);
    looks++;
}

static int emit_events(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    uint64_t position = 0;
    int r = begin(req, &sink);

    for (size_t i = 0; r == 0 && i < EVENTS; i++) {
        size_t half = EVENT_LEN(i) / 2;

        /* An event in two emits: both leave with the wait that follows. */
        r = emit_pattern(sink, position, half, -1);
        if (r == 0) {
            r = emit_pattern(sink, position + half, EVENT_LEN(i) - half, -1);
        }
        position += EVENT_LEN(i);
        if (r == 0) {
            r = weir_sleep(weir_after_ms(10));
        }
    }
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    weir_sink_destroy(sink);
    keep_result(arg);
    return r;
}

static void play_events(void)
{
    struct weir__memory_step steps[EVENTS];
    struct scene scene = {.handler = emit_events,
                          .opts = {.keep = sizeof(kept_copy)},
                          .steps = steps,
                          .count = EVENTS};

    scene.arg = &scene;
    for (size_t i = 0; i < EVENTS; i++) {
        steps[i] = (struct weir__memory_step){.at_ms = 5 + 10 * (int64_t)i,
                                              .act = WEIR__MEMORY_CALL,
                                              .call = look,
                                              .arg = (void *)(uintptr_t)(i + 1)};
    }
    looks = 0;
    play(&scene);
    assert_int_equal(looks, EVENTS);
    assert_true(scene.result.ended);
    scene.result.kept = weir_bytes(kept_copy, scene.result.taken);
    expect_after(&scene, events_total(EVENTS), true);
}

static void each_event_has_arrived_before_the_next(void **state)
{
    (void)state;
    for_all(play_events);
}

/* A handler that computes between emits says weir_flush(). */
static int emit_and_flush(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    struct reference reference;
    int r = begin(req, &sink);

    (void)arg;
    assert_int_equal(r, 0);
    assert_int_equal(emit_pattern(sink, 0, 500, -1), 0);
    assert_int_equal(weir_flush(sink), 0);
    decode_kept(&reference);
    expect_decoded(&reference, 500, false);
    assert_int_equal(emit_pattern(sink, 500, 10, -1), 0);
    assert_int_equal(weir_flush(sink), 0);
    assert_int_equal(weir_flush(sink), 0);
    decode_kept(&reference);
    expect_decoded(&reference, 510, false);
    assert_int_equal(weir_end(sink, NULL), 0);
    assert_int_equal(emit_pattern(sink, 510, 10, -1), WEIR_ESTATE);
    weir_sink_destroy(sink);
    return 0;
}

static void play_flush(void)
{
    struct scene scene = {.handler = emit_and_flush, .opts = {.keep = sizeof(kept_copy)}};

    play(&scene);
    assert_true(scene.result.ended);
}

static void a_flush_sends_what_there_is(void **state)
{
    (void)state;
    for_all(play_flush);
}

/* Emits without a wait in between make one block unless each is to be flushed. */
static int emit_many(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    int r = begin(req, &sink);

    (void)arg;
    for (uint64_t i = 0; r == 0 && i < 50; i++) {
        r = emit_pattern(sink, i * 20, 20, -1);
    }
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    weir_sink_destroy(sink);
    return r;
}

static void flushes_are_as_few_as_can_be(void **state)
{
    struct scene scene = {.handler = emit_many};
    uint64_t together, each;

    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        coding_now = all_codings[i];
        opts_now = (struct weir_encode_opts){0};
        play(&scene);
        together = scene.result.taken;
        opts_now.flush_each = true;
        play(&scene);
        each = scene.result.taken;
        assert_true(together + 100 < each);
    }
}

/* ---- backpressure ---- */

#define BIG 3000000u

static int emit_big(struct weir_req *req, void *arg)
{
    struct scene *scene = arg;
    struct weir_sink *sink;
    uint64_t position = 0, seed = 9;
    int r = begin(req, &sink);

    while (r == 0 && position < BIG) {
        static uint8_t noise[4096];
        struct weir_chunk *chunk;

        for (size_t i = 0; i < sizeof(noise); i++) {
            noise[i] = (uint8_t)roll(&seed, 256);
        }
        assert_int_equal(weir_chunk_copy(weir_bytes(noise, sizeof(noise)), &chunk), 0);
        r = weir_emit_take(sink, chunk, -1);
        position += sizeof(noise);
    }
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    weir_sink_destroy(sink);
    scene->ended_ms = scene_ms();
    return r;
}

static void play_slow(void)
{
    struct weir__memory_step steps[40];
    struct scene scene = {
        .handler = emit_big, .opts = {.socket = 1000}, .steps = steps, .count = 40};

    scene.arg = &scene;
    for (size_t i = 0; i < 40; i++) {
        steps[i] = (struct weir__memory_step){
            .at_ms = 100 * (int64_t)(i + 1), .act = WEIR__MEMORY_SOCKET, .bytes = 100000};
    }
    play(&scene);
    assert_true(scene.result.ended);
    assert_in_range(scene.result.taken, BIG, BIG + BIG / 20);
    assert_in_range(scene.result.queued_peak, 0, 3 * 65536);
    /* The encoder, a chunk of input, one of output, and what the wire holds. */
    assert_in_range(scene.budget_peak, 10000, (size_t)(2400000 + 4 * 65536));
    assert_in_range(scene.result.stall.socket_us, 2000000, 4000000);
}

static void a_slow_peer_slows_the_handler(void **state)
{
    (void)state;
    for_all(play_slow);
}

/* A peer that stands still, and a handler that will not wait. */
static int try_emits(struct weir_req *req, void *arg)
{
    struct scene *scene = arg;
    struct weir_sink *sink;
    uint64_t position = 0, waits = 0;
    int r = begin(req, &sink);

    assert_int_equal(r, 0);
    while (position < 2000000) {
        r = emit_pattern(sink, position, 30000, 0);
        if (r == WEIR_EFLOW) {
            assert_int_equal(emit_pattern(sink, position, 1, 0), WEIR_EFLOW);
            assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
            assert_int_equal(weir_wait_writable(sink, -1), 0);
            waits++;
            continue;
        }
        assert_int_equal(r, 0);
        position += 30000;
    }
    assert_int_equal(weir_end(sink, NULL), 0);
    weir_sink_destroy(sink);
    assert_true(waits > 0);
    keep_result(scene);
    return 0;
}

static void play_tries(void)
{
    struct weir__memory_step steps[400];
    struct scene scene = {.handler = try_emits,
                          .opts = {.socket = 1, .keep = sizeof(kept_copy), .max_room = 3000},
                          .steps = steps,
                          .count = 400};

    scene.arg = &scene;
    for (size_t i = 0; i < 400; i++) {
        steps[i] = (struct weir__memory_step){.at_ms = 10 * (int64_t)(i + 1),
                                              .act = WEIR__MEMORY_SOCKET,
                                              .bytes = i < 390 ? 300 : 1000000};
    }
    play(&scene);
    assert_true(scene.result.ended);
    assert_in_range(scene.result.taken, 1, sizeof(kept_copy));
    scene.result.kept = weir_bytes(kept_copy, scene.result.taken);
    expect_after(&scene, 2010000, true);
}

static void an_emit_that_does_not_wait(void **state)
{
    (void)state;
    for_all(play_tries);
}

/* ---- ends ---- */

static int end_with_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    struct weir_sink *sink;
    int r = begin(req, &sink);

    (void)arg;
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("X-Sum"), weir_str("5")), 0);
    r = r < 0 ? r : emit_pattern(sink, 0, 5, -1);
    r = r < 0 ? r : weir_end(sink, trailers);
    weir_sink_destroy(sink);
    return r;
}

static void trailers_pass(void **state)
{
    struct scene scene = {.handler = end_with_trailers};

    (void)state;
    coding_now = WEIR_CODING_GZIP;
    opts_now = (struct weir_encode_opts){0};
    play(&scene);
    assert_non_null(strstr(scene_trace, "end\n  X-Sum: 5\n"));
}

static int give_up(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    int r = begin(req, &sink);

    r = r < 0 ? r : emit_pattern(sink, 0, 5000, -1);
    if (r == 0 && *(int *)arg == 1) {
        weir_abort(sink, WEIR_REASON_LIMIT);
        assert_int_equal(emit_pattern(sink, 0, 5, -1), WEIR_ECANCELED);
        assert_int_equal(weir_end(sink, NULL), WEIR_ECANCELED);
    }
    weir_sink_destroy(sink);
    return r;
}

static void play_abort(void)
{
    for (int how = 0; how < 2; how++) {
        struct scene scene = {.handler = give_up, .arg = &how, .opts = {.keep = sizeof(kept_copy)}};

        play(&scene);
        assert_false(scene.result.ended);
        assert_int_equal(scene.result.aborts, 1);
        assert_int_equal(scene.result.abort_reason,
                         how == 1 ? WEIR_REASON_LIMIT : WEIR_REASON_ABANDONED);
    }
}

static void v8_an_abort_is_visible(void **state)
{
    (void)state;
    for_all(play_abort);
}

/* A peer that leaves while the handler sleeps, and one that leaves under an emit. */
static int emit_until_gone(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    struct weir_error error;
    uint64_t position = 0;
    int r = begin(req, &sink);

    (void)arg;
    while (r == 0) {
        r = emit_pattern(sink, position, 700, -1);
        position += 700;
        if (r == 0) {
            int slept = weir_sleep(weir_after_ms(1));

            assert_true(slept == 0 || slept == WEIR_ECANCELED);
        }
    }
    assert_int_equal(r, WEIR_ERESET);
    weir_sink_error(sink, &error);
    assert_int_equal(error.reason, WEIR_REASON_RESET);
    assert_int_equal(error.native, 104);
    assert_int_equal(weir_end(sink, NULL), WEIR_ERESET);
    weir_sink_destroy(sink);
    return r;
}

static void play_gone(void)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 20, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104}};
    static const uint64_t sockets[] = {0, 50};

    for (size_t i = 0; i < 2; i++) {
        struct scene scene = {.handler = emit_until_gone,
                              .opts = {.socket = sockets[i], .max_room = 100},
                              .steps = steps,
                              .count = 1};

        play(&scene);
        assert_false(scene.result.ended);
        assert_int_equal(scene.result.gone, WEIR_REASON_RESET);
    }
}

static void a_peer_that_leaves(void **state)
{
    (void)state;
    for_all(play_gone);
}

/* ---- as the sink of a pipe ---- */

static int pipe_it(struct weir_req *req, void *arg)
{
    struct scene *scene = arg;
    struct weir_sink *sink;
    int r = begin(req, &sink);

    r = r < 0 ? r : weir_pipe(weir_req_body(req), sink, NULL, NULL);
    weir_sink_destroy(sink);
    keep_result(scene);
    return r;
}

static void look_halfway(void *arg)
{
    struct reference reference;

    (void)arg;
    decode_kept(&reference);
    expect_decoded(&reference, 70000, false);
}

static void play_pipe(void)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 1, .act = WEIR__MEMORY_SEND, .bytes = 70000},
        {.at_ms = 50, .act = WEIR__MEMORY_CALL, .call = look_halfway},
        {.at_ms = 60, .act = WEIR__MEMORY_SEND, .bytes = 10},
        {.at_ms = 60, .act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {.handler = pipe_it,
                          .opts = {.method = "POST",
                                   .body_length = WEIR_LENGTH_UNKNOWN,
                                   .keep = sizeof(kept_copy),
                                   .use_fds = true},
                          .steps = steps,
                          .count = COUNT(steps)};

    scene.arg = &scene;
    play(&scene);
    assert_true(scene.result.ended);
    scene.result.kept = weir_bytes(kept_copy, scene.result.taken);
    expect_after(&scene, 70010, true);
}

static void a_pipe_into_it(void **state)
{
    (void)state;
    for_all(play_pipe);
}

static int bad_ones(struct weir_req *req, void *arg)
{
    struct weir_sink *sink = NULL;

    (void)arg;
    assert_int_equal(weir_compress_sink_take(NULL, WEIR_CODING_GZIP, NULL, &sink), WEIR_EINVAL);
    assert_null(sink);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(weir_compress_sink_take(sink, WEIR_CODING_IDENTITY, NULL, &sink), WEIR_EINVAL);
    return 0;
}

static void bad_arguments(void **state)
{
    struct scene scene = {.handler = bad_ones};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.aborts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_has_arrived_before_the_next),
        cmocka_unit_test(a_flush_sends_what_there_is),
        cmocka_unit_test(flushes_are_as_few_as_can_be),
        cmocka_unit_test(a_slow_peer_slows_the_handler),
        cmocka_unit_test(an_emit_that_does_not_wait),
        cmocka_unit_test(trailers_pass),
        cmocka_unit_test(v8_an_abort_is_visible),
        cmocka_unit_test(a_peer_that_leaves),
        cmocka_unit_test(a_pipe_into_it),
        cmocka_unit_test(bad_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
