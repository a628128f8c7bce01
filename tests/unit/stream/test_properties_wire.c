/* SPDX-License-Identifier: MIT */
/*
 * The laws that need a wire, on the memory transport: a handler with a chain of combinators between the request's body and
 * its reply, against random peers, and one scripted case for each law. Numbers as in test_properties.c.
 */
#include "../http/http_test.h"

#include <weir/combinators.h>
#include <weir/compress.h>
#include <weir/sources.h>
#include <weir/sse.h>

#include <signal.h>
#include <unistd.h>

#if defined(WEIR_HAVE_VALGRIND)
#include <valgrind/valgrind.h>
#endif

#define WINDOW 20000

/* ---- chains that change no byte ---- */

static int same(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    (void)arg;
    *ret = weir_chunk_ref(chunk);
    return 1;
}

static void look(void *arg, struct weir_view bytes)
{
    *(uint64_t *)arg += bytes.len;
}

static uint64_t looked;

#define KINDS 12
#define HOLDS_LINES 5
#define CODES 10

/* Consumes `source` in any case. */
static int wrap_one(uint32_t kind, struct weir_source *source, struct weir_source **ret)
{
    switch (kind) {
    case 0:
        return weir_map_create_take(source, same, NULL, ret);
    case 1:
        return weir_inspect_create_take(source, look, &looked, ret);
    case 2:
        return weir_take_create_take(source, UINT64_MAX, ret);
    case 3:
        return weir_limit_create_take(source, UINT64_MAX, ret);
    case 4:
        return weir_coalesce_create_take(source, 10000, 0, ret);
    case 5:
        return weir_lines_create_take(source, 0, ret);
    case 6:
        return weir_prefetch_create_take(source, 0, ret);
    case 7:
        return weir_merge_create_take(&source, 1, NULL, ret);
    case 8:
        return weir_chain_create_take(&source, 1, ret);
    case 9:
        return weir_map_par_create_take(source, same, NULL, NULL, ret);
    case CODES: { /* there and back */
        int r = weir_gzip_take(source, NULL, ret);

        return r < 0
                   ? r
                   : weir_decode_take(*ret, WEIR_CODING_GZIP,
                                      &(struct weir_decode_opts){.max_ratio = WEIR_RATIO_ANY}, ret);
    }
    default: {
        struct weir_source *other;
        int r = weir_tee_create_take(source, 0, ret, &other);

        if (r == 0) {
            weir_source_destroy(other);
        }
        return r;
    }
    }
}

/* The body of the request is the request's: a chain owns one that borrows it. */
static int borrowed_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    return weir__next(state, max_bytes, deadline, ret);
}

static void borrowed_cancel(void *state, enum weir_reason reason)
{
    weir_cancel(state, reason);
}

static void borrowed_explain(void *state, struct weir_error *ret)
{
    weir_source_error(state, ret);
}

static const struct weir_source_ops borrowed_ops = {.name = "borrowed",
                                                    .next = borrowed_next,
                                                    .cancel = borrowed_cancel,
                                                    .explain = borrowed_explain};

static int body_chain(struct weir_req *req, uint64_t *dice, unsigned depth,
                      struct weir_source **ret)
{
    int r = weir_source_create_take(&borrowed_ops, weir_req_body(req), ret);

    while (r == 0 && depth-- > 0) {
        r = wrap_one(roll(dice, KINDS), *ret, ret);
        *ret = r < 0 ? NULL : *ret; /* was consumed */
    }
    return r;
}

/* ---- random peers ---- */

struct program {
    uint64_t dice;
    bool ended, is_limited;
    uint64_t moved, window;
    int r;
};

/* P15: at any time what was granted is what is there, read or not, and what is still to come. */
static void look_at_credit(void *arg)
{
    const struct program *program = arg;
    struct weir__memory_result now;

    weir__memory_result(scene_memory, &now);
    assert_true(now.released <= now.delivered && now.delivered <= now.sent);
    assert_true(now.delivered - now.released <= program->window);
}

static int echo(struct weir_req *req, void *arg)
{
    struct program *program = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_pipe_result result;

    program->r = body_chain(req, &program->dice, roll(&program->dice, 6), &source);
    if (program->r == 0 && roll(&program->dice, 8) == 0) {
        program->is_limited = true;
        program->r = weir_req_limit_body(req, roll(&program->dice, 60000));
    }
    if (program->r == 0) {
        program->r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);
    }
    if (program->r < 0) {
        return program->r;
    }
    assert_null(weir_req_trailers(req)); /* P6: not before the end */
    program->r = weir_pipe(source, sink, NULL, &result);
    program->moved = result.bytes;
    program->ended = program->r == 0;
    assert_int_equal(result.cause.code, program->r);
    if (program->ended) {
        assert_non_null(weir_req_trailers(req)); /* P6: and then they are there */
    }
    return program->r;
}

static uint64_t some_window(uint64_t *dice)
{
    return roll(dice, 2) ? 0 : 1 + roll(dice, 30000);
}

static void one_program(uint64_t seed)
{
    static const enum weir_reason reasons[] = {WEIR_REASON_FIN, WEIR_REASON_RESET,
                                               WEIR_REASON_SHUTDOWN};
    static struct weir__memory_step steps[84];
    struct program program = {.dice = seed * 48611 + 1};
    struct scene scene = {.handler = echo, .arg = &program, .steps = steps};
    struct weir_fields *trailers = NULL;
    uint64_t chance = seed, sent = 0;
    size_t count = roll(&chance, 40);
    bool whole = roll(&chance, 3) > 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t what = roll(&chance, 8);

        steps[i] = (struct weir__memory_step){.at_ms = roll(&chance, 3000),
                                              .act = what < 4    ? WEIR__MEMORY_SEND
                                                     : what == 4 ? WEIR__MEMORY_STREAM_WINDOW
                                                     : what == 5 ? WEIR__MEMORY_CONN_WINDOW
                                                                 : WEIR__MEMORY_SOCKET,
                                              .bytes = 1 + roll(&chance, 30000)};
        sent += what < 4 ? steps[i].bytes : 0;
    }
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("x-sum"), weir_str("1")), 0);
    steps[count] = (struct weir__memory_step){.at_ms = 3001, .act = WEIR__MEMORY_SEND_END};
    steps[count].fields = trailers;
    if (!whole) {
        /* P28: every way in which a body is not whole. */
        switch (roll(&chance, 3)) {
        case 0:
            steps[count].act = WEIR__MEMORY_FIN;
            break;
        case 1:
            steps[count].act = WEIR__MEMORY_SEND_ERROR;
            steps[count].code = WEIR_EPROTO;
            break;
        default:
            steps[count].act = WEIR__MEMORY_GONE;
            steps[count].reason = reasons[roll(&chance, 3)];
            break;
        }
    }
    count++;
    steps[count++] = (struct weir__memory_step){
        .at_ms = 3500, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = UINT32_MAX};
    steps[count++] = (struct weir__memory_step){
        .at_ms = 3500, .act = WEIR__MEMORY_CONN_WINDOW, .bytes = UINT32_MAX};
    steps[count++] =
        (struct weir__memory_step){.at_ms = 3500, .act = WEIR__MEMORY_SOCKET, .bytes = UINT32_MAX};
    for (int i = 0; i < 36; i++) {
        steps[count++] = (struct weir__memory_step){.at_ms = 100 * i + 7,
                                                    .act = WEIR__MEMORY_CALL,
                                                    .call = look_at_credit,
                                                    .arg = &program};
    }
    program.window = 1 + roll(&chance, WINDOW);
    scene.count = count;
    scene.opts = (struct weir__memory_opts){
        .method = "POST",
        .body_length = WEIR_LENGTH_UNKNOWN,
        .half_close = roll(&chance, 2),
        .stream_window = some_window(&chance),
        .conn_window = some_window(&chance),
        .socket = some_window(&chance),
        .receive_window = program.window,
        .max_read = roll(&chance, 2) ? 0 : 1 + roll(&chance, 3000),
        .max_take = roll(&chance, 2) ? 0 : 100 + roll(&chance, 3000),
        .leave_at = roll(&chance, 6) ? 0 : 1 + roll(&chance, 30000),
        .leave_reason = reasons[roll(&chance, 3)],
        .fail_write_at = roll(&chance, 8) ? 0 : 1 + roll(&chance, 30000),
        .limits = {.first_byte_ms = 5000, .read_gap_ms = 5000, .write_stall_ms = 5000}};
    if (roll(&chance, 4) == 0) {
        play_failing(&scene, 1 + roll(&chance, 300)); /* P10 */
    } else {
        play(&scene);
    }
    weir_fields_destroy(trailers);
    if (scene.started < 0) {
        return;
    }
    assert_true(scene.result.pattern);
    assert_true(scene.result.taken <= sent);
    if (scene.result.ended && program.ended) {
        /* P28, R4: the reply of a chain ends only when the body did, with every byte. */
        assert_true(whole);
        assert_int_equal(scene.result.taken, sent);
    } else if (program.moved > 0) {
        assert_false(scene.result.ended);
    }
    /* P15: what was granted came back, whichever way it ended. */
    assert_int_equal(scene.result.released, scene.result.delivered);
    /* P14: no more is parked than the window says, nor queued than one piece; a chain of five holds what its parts say. */
    assert_true(scene.result.parked_peak <= program.window);
    assert_true(scene.result.queued_peak <= WEIR_CHUNK_BYTES);
    assert_true(scene.budget_peak <= ((size_t)5 << 20));
}

static char present[64];

static void too_long(int signal_number)
{
    if (write(2, present, strlen(present)) >= 0) {
        _exit(1);
    }
    signal(signal_number, SIG_DFL);
}

static void random_peers(void **state)
{
    const char *seed_text = getenv("WEIR_SEED");
    const char *count_text = getenv("WEIR_PROGRAMS");
    uint64_t first = seed_text != NULL ? strtoull(seed_text, NULL, 0) : 1;
    uint64_t count = count_text != NULL  ? strtoull(count_text, NULL, 0)
                     : seed_text != NULL ? 1
                                         : 2000;

    (void)state;
#if defined(WEIR_HAVE_VALGRIND)
    count = RUNNING_ON_VALGRIND && count > 100 ? 100 : count;
#endif
    signal(SIGALRM, too_long);
    signal(SIGABRT, too_long);
    for (uint64_t seed = first; seed < first + count; seed++) {
        snprintf(present, sizeof(present), "WEIR_SEED=%llu\n", (unsigned long long)seed);
        alarm(60);
        one_program(seed);
    }
    alarm(0);
    signal(SIGABRT, SIG_DFL);
}

/* ---- P26: a peer that never reads ---- */

static uint8_t filler[65536];

static int endless_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    uint64_t *position = state;
    size_t len = max_bytes < sizeof(filler) ? max_bytes : sizeof(filler);

    (void)deadline;
    for (size_t i = 0; i < len; i++) {
        filler[i] = weir__memory_byte(*position + i);
    }
    *position += len;
    return weir_chunk_copy(weir_bytes(filler, len), ret) < 0 ? WEIR_ENOMEM : 1;
}

static const struct weir_source_ops endless_ops = {.name = "endless", .next = endless_next};

struct one_kind {
    uint32_t kind;
    int r;
    int64_t at_ms;
    uint64_t position;
};

static int pours(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_source_create_take(&endless_ops, &one->position, &source), 0);
    assert_int_equal(wrap_one(one->kind, source, &source), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    one->r = weir_pipe(source, sink, NULL, NULL);
    one->at_ms = scene_ms();
    return one->r;
}

static void p26_a_peer_that_never_reads(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        struct one_kind one = {.kind = kind};
        struct scene scene = {.handler = pours,
                              .arg = &one,
                              .opts = {.stream_window = 5000, .limits = {.write_stall_ms = 700}}};

        play(&scene);
        assert_int_equal(one.r, WEIR_ESTALLED);
        assert_int_equal(one.at_ms, 700);
        assert_false(scene.result.ended);
        assert_true(scene.budget_peak <= ((size_t)1 << 20)); /* flat: nothing but its bound */
        /* What is coded is many bytes in few. */
        assert_true(kind == CODES || one.position <= 5000 + ((size_t)1 << 20));
    }
}

/* ---- P27: half-close, by who ends first, and whether that is allowed ---- */

static int ends_early(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;

    one->r = weir_reply_text(req, 200, "early\n");
    return one->r;
}

static int reads_then_sleeps(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    uint64_t dice = one->kind, got = 0;
    int r;

    assert_int_equal(body_chain(req, &dice, 2, &source), 0);
    r = read_pattern(source, &got);
    one->position = got;
    if (r == 0) {
        r = weir_sleep(weir_after_ms(500));
    }
    one->at_ms = scene_ms();
    one->r = r;
    return r < 0 ? r : weir_reply_text(req, 200, "late\n");
}

static void p27_half_close(void **state)
{
    static const struct weir__memory_step fin_after[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 1000},
        {.at_ms = 20, .act = WEIR__MEMORY_SEND_END},
        {.at_ms = 100, .act = WEIR__MEMORY_FIN}};
    static const struct weir__memory_step fin_inside[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 1000},
        {.at_ms = 100, .act = WEIR__MEMORY_FIN}};

    (void)state;
    for (uint32_t i = 0; i < 40; i++) {
        bool half = i % 2, inside = i / 2 % 2;
        struct one_kind one = {.kind = i};
        struct scene scene = {
            .handler = reads_then_sleeps,
            .arg = &one,
            .steps = inside ? fin_inside : fin_after,
            .count = inside ? 2 : 3,
            .opts = {.method = "POST", .body_length = WEIR_LENGTH_UNKNOWN, .half_close = half}};

        play(&scene);
        if (inside) {
            /* P28. Who waits for something else than the client is told of the leave. */
            assert_true(one.r == WEIR_ETRUNCATED || one.r == WEIR_ECLOSED ||
                        (!half && one.r == WEIR_ECANCELED));
            assert_int_equal(one.at_ms, 100);
        } else {
            assert_int_equal(one.position, 1000);
            assert_int_equal(one.r, half ? 0 : WEIR_ECANCELED);
            assert_int_equal(one.at_ms, half ? 520 : 100);
            assert_int_equal(scene.result.ended, half);
        }
    }
    /* The server may end before the body does: that is its right, and the reply is whole. */
    for (int half = 0; half < 2; half++) {
        struct one_kind one = {0};
        struct scene scene = {.handler = ends_early,
                              .arg = &one,
                              .steps = fin_after,
                              .count = 3,
                              .opts = {.method = "POST",
                                       .body_length = WEIR_LENGTH_UNKNOWN,
                                       .half_close = half == 1}};

        play(&scene);
        assert_int_equal(one.r, 0);
        assert_true(scene.result.ended);
    }
}

/* ---- P29, P30: whoever leaves is noticed where the handler waits, and so is a shutdown ---- */

static int events(struct weir_sink *out, void *arg)
{
    int r = 0;

    (void)arg;
    while (r == 0) {
        r = weir_sleep(weir_after_ms(1000));
        r = r == 0 ? weir_emit_bytes(out, weir_str("data: x\n\n"), -1) : r;
    }
    return r;
}

static int slow_work(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    int r = weir_sleep(weir_after_ms(100000));

    (void)arg;
    *ret = weir_chunk_ref(chunk);
    return r < 0 ? r : 1;
}

static int waits_somewhere(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_chunk *chunk;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    if (one->kind < KINDS) { /* in a chain over the body */
        assert_int_equal(weir_source_create_take(&borrowed_ops, weir_req_body(req), &source), 0);
        assert_int_equal(wrap_one(one->kind, source, &source), 0);
        one->r = weir_pipe(source, sink, NULL, NULL);
    } else if (one->kind == KINDS) { /* in a generator's stream */
        assert_int_equal(weir_source_from_fiber(events, NULL, NULL, &source), 0);
        one->r = weir_pipe(source, sink, NULL, NULL);
    } else if (one->kind == KINDS + 1) {
        one->r = weir_sleep(weir_after_ms(100000));
    } else if (one->kind == KINDS + 2) { /* in a callback that works in parallel */
        assert_int_equal(weir_bytes_source_create(weir_str("abc"), &source), 0);
        assert_int_equal(weir_map_par_create_take(source, slow_work, NULL, NULL, &source), 0);
        one->r = weir_next(source, -1, &chunk);
    } else { /* in a shaper's pause */
        assert_int_equal(weir_bytes_source_create(weir_str("abc"), &source), 0);
        assert_int_equal(weir_rechunk_create_take(source, 0, 1, &source), 0);
        assert_int_equal(weir_pace_create_take(source, 100000, &source), 0);
        one->r = weir_pipe(source, sink, NULL, NULL);
    }
    one->at_ms = scene_ms();
    return one->r;
}

static void p29_p30_leaves_and_shutdowns(void **state)
{
    static const enum weir_reason reasons[] = {WEIR_REASON_RESET, WEIR_REASON_SHUTDOWN};

    (void)state;
    for (uint32_t i = 0; i < 2 * (KINDS + 4); i++) {
        const struct weir__memory_step steps[] = {
            {.at_ms = 50, .act = WEIR__MEMORY_SEND, .bytes = 10},
            {.at_ms = 2500, .act = WEIR__MEMORY_GONE, .reason = reasons[i % 2], .code = 104}};
        struct one_kind one = {.kind = i / 2};
        struct scene scene = {.handler = waits_somewhere,
                              .arg = &one,
                              .steps = steps,
                              .count = 2,
                              .opts = {.method = "POST", .body_length = WEIR_LENGTH_UNKNOWN}};

        play(&scene);
        assert_true(one.r < 0);
        assert_int_equal(one.at_ms, 2500); /* in the same turn */
        assert_int_equal(scene.ended_ms, 2500);
        assert_false(scene.result.ended);
    }
}

/* ---- P31: an echo with both directions full ---- */

static int echoes(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_source_create_take(&borrowed_ops, weir_req_body(req), &source), 0);
    assert_int_equal(wrap_one(one->kind, source, &source), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    one->r = weir_pipe(source, sink, NULL, NULL);
    return one->r;
}

static int only_writes(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    for (one->r = 0; one->r == 0; one->position += 1000) {
        one->r = emit_pattern(sink, one->position, 1000, -1);
    }
    one->at_ms = scene_ms();
    return one->r;
}

#define ECHO_STEPS 500

/* So many steps of `piece` bytes each way, through the one combinator. */
static void play_echo(uint32_t kind, uint64_t piece)
{
    static struct weir__memory_step steps[2 * ECHO_STEPS + 1];
    struct one_kind one = {.kind = kind};
    struct scene scene = {.handler = echoes,
                          .arg = &one,
                          .steps = steps,
                          .opts = {.method = "POST",
                                   .body_length = WEIR_LENGTH_UNKNOWN,
                                   .stream_window = 1,
                                   .receive_window = 16384,
                                   .limits = {.write_stall_ms = 5000, .read_gap_ms = 5000}}};

    for (size_t i = 0; i < ECHO_STEPS; i++) {
        steps[scene.count++] = (struct weir__memory_step){
            .at_ms = (int64_t)i, .act = WEIR__MEMORY_SEND, .bytes = piece};
        steps[scene.count++] = (struct weir__memory_step){
            .at_ms = 100 + 2 * (int64_t)i, .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = piece};
    }
    steps[scene.count++] = (struct weir__memory_step){.at_ms = 500, .act = WEIR__MEMORY_SEND_END};
    play(&scene);
    assert_int_equal(one.r, 0);
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.result.taken, piece * ECHO_STEPS);
    assert_true(scene.result.parked_peak <= 16384);
}

static void p31_an_echo_with_both_directions_full(void **state)
{
    const char *many = getenv("WEIR_PROGRAMS");

    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        play_echo(kind, 2003);
    }
    if (many != NULL && strtoull(many, NULL, 10) >= 50000) {
        play_echo(0, 2147484); /* a GiB each way */
    }
    {
        /* Who writes without reading against one who does the same: the stall has a name. */
        struct one_kind one = {0};
        struct scene scene = {
            .handler = only_writes,
            .arg = &one,
            .steps = (const struct weir__memory_step[]){{.act = WEIR__MEMORY_SEND, .bytes = 2003}},
            .count = 1,
            .opts = {.method = "POST",
                     .body_length = WEIR_LENGTH_UNKNOWN,
                     .stream_window = 5000,
                     .limits = {.write_stall_ms = 300}}};

        play(&scene);
        assert_int_equal(one.r, WEIR_ESTALLED);
        assert_int_equal(one.at_ms, 300);
        assert_true(scene.result.stall.stream_window_us >= 299000);
    }
}

/* ---- P32: what was given leaves in the same turn ---- */

static int ticks(struct weir_sink *out, void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        int r = weir_sleep(weir_after_ms(100));

        r = r == 0 ? weir_emit_bytes(out, weir_str("tick\n"), -1) : r;
        if (r < 0) {
            return r;
        }
    }
    return weir_end(out, NULL);
}

static int flows(struct weir_req *req, void *arg)
{
    struct one_kind *one = arg;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;

    assert_int_equal(weir_source_from_fiber(ticks, NULL, NULL, &source), 0);
    assert_int_equal(wrap_one(one->kind, source, &source), 0);
    assert_int_equal(wrap_one((one->kind + 5) % KINDS, source, &source), 0);
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    one->r = weir_pipe(source, sink, NULL, NULL);
    return one->r;
}

static void p32_what_is_given_leaves_at_once(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        struct one_kind one = {.kind = kind};
        struct scene scene = {.handler = flows, .arg = &one};

        expect_trace(&scene, "0 begin 200 length=?\n100 body 5\n200 body 5\n300 body 5\n300 end\n"
                             "300 finished\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_peers),
        cmocka_unit_test(p26_a_peer_that_never_reads),
        cmocka_unit_test(p27_half_close),
        cmocka_unit_test(p29_p30_leaves_and_shutdowns),
        cmocka_unit_test(p31_an_echo_with_both_directions_full),
        cmocka_unit_test(p32_what_is_given_leaves_at_once),
    };

    setenv("CMOCKA_TEST_ABORT", "1", 0); /* cmocka's own way is a jump off a fiber's stack */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
