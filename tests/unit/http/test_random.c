/* SPDX-License-Identifier: MIT */
/*
 * Random handlers against random peers: whatever both do, the request comes to its end, bytes keep their order, what is
 * held is bounded, and nothing but a weir_end() that succeeded ends the reply cleanly.
 * The last seed is printed; WEIR_SEED replays it; WEIR_PROGRAMS says how many (2,000).
 */
#include "http_test.h"

#include <signal.h>
#include <unistd.h>

#define WINDOW 20000

struct program {
    uint64_t seed;
    bool begun, no_body, ended; /* ended: weir_end() answered 0 */
    uint64_t length, position, read;
    struct weir_sink *sink;
    struct weir_chunk *held[3];
};

static int64_t some_deadline(struct program *program)
{
    uint32_t chance = roll(&program->seed, 4);

    return chance == 0 ? 0 : chance == 1 ? weir_after_ms(roll(&program->seed, 50)) : -1;
}

static void drop_one(struct program *program)
{
    uint32_t i = roll(&program->seed, COUNT(program->held));

    program->held[i] = weir_chunk_unref(program->held[i]);
}

static int read_one(struct weir_req *req, struct program *program)
{
    struct weir_chunk *chunk;
    int r = weir_next(weir_req_body(req), some_deadline(program), &chunk);

    if (r == 1) {
        struct weir_view view = weir_chunk_view(chunk);
        uint32_t i = roll(&program->seed, COUNT(program->held));

        for (size_t at = 0; at < view.len; at++) {
            if (view.data[at] != weir__memory_byte(program->read + at)) {
                fail_msg("wrong byte at %llu", (unsigned long long)(program->read + at));
            }
        }
        program->read += view.len;
        weir_chunk_unref(program->held[i]);
        program->held[i] = chunk;
        if (roll(&program->seed, 2)) {
            drop_one(program);
        }
    }
    return r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT || r == 0 ? 1 : r;
}

static int begin(struct weir_req *req, struct program *program)
{
    static const int statuses[] = {200, 200, 404, 204, 304};
    int status = statuses[roll(&program->seed, COUNT(statuses))];
    uint64_t length =
        roll(&program->seed, 3) == 0 ? roll(&program->seed, 5000) : WEIR_LENGTH_UNKNOWN;
    int r = weir_stream_begin(req, status, NULL, length, &program->sink);

    if (r == 0) {
        assert_false(program->begun);
        program->begun = true;
        program->length = length;
        program->no_body = status == 204 || status == 304 ||
                           weir_view_equal(weir_req_method(req), weir_str("HEAD"));
    }
    return r;
}

static int emit_one(struct program *program)
{
    size_t len = 1 + roll(&program->seed, roll(&program->seed, 4) ? 3000 : 100000);
    int64_t deadline = some_deadline(program);
    int r;

    if (program->length != WEIR_LENGTH_UNKNOWN && program->length > program->position &&
        roll(&program->seed, 4)) {
        len = roll(&program->seed, 2) && len < program->length - program->position
                  ? len
                  : (size_t)(program->length - program->position);
    }
    r = emit_pattern(program->sink, program->position, len, deadline);
    if (r == 0) {
        program->position += len;
    } else if (r == WEIR_EFLOW) {
        assert_int_equal(deadline, 0);
        r = roll(&program->seed, 2) ? weir_wait_writable(program->sink, some_deadline(program)) : 0;
        r = r == WEIR_ETIMEDOUT ? 0 : r;
    }
    return r;
}

static int pipe_rest(struct weir_req *req, struct program *program)
{
    struct weir_pipe_opts opts = {
        .keep_sink_open = roll(&program->seed, 2),
        .no_cancel = roll(&program->seed, 2),
        .deadline = roll(&program->seed, 3) ? 0 : weir_after_ms(roll(&program->seed, 1000))};
    struct weir_pipe_result result;
    int r = weir_pipe(weir_req_body(req), program->sink, &opts, &result);

    program->read += result.bytes;
    program->position += result.bytes;
    assert_int_equal(result.cause.code, r);
    if (r == 0 && !opts.keep_sink_open) {
        program->ended = true;
    }
    return r;
}

static int step(struct weir_req *req, struct program *program)
{
    int r;

    switch (roll(&program->seed, 16)) {
    case 0:
    case 1:
    case 2:
        return read_one(req, program);
    case 3:
        drop_one(program);
        return 1;
    case 4:
        r = weir_sleep(weir_after_ms(roll(&program->seed, 200)));
        return r < 0 && roll(&program->seed, 2) ? r : 1;
    case 5:
        WEIR_IGNORE(weir_inform(req, 103, NULL));
        return 1;
    case 6:
        if (roll(&program->seed, 10) == 0) {
            weir_cancel(weir_req_body(req), WEIR_REASON_LIMIT);
        }
        return 1;
    case 7:
        return weir_req_limit_body(req, 1000 + roll(&program->seed, 100000));
    case 8:
        weir_yield();
        return 1;
    default:
        break;
    }
    if (program->sink == NULL) {
        return begin(req, program) == 0 ? 1 : WEIR_EIO;
    }
    switch (roll(&program->seed, 20)) {
    case 0:
        r = weir_end(program->sink, NULL);
        program->ended |= r == 0;
        if (r == 0 && roll(&program->seed, 2)) {
            weir_sink_destroy(program->sink);
            program->sink = NULL;
            return weir_sleep(
                weir_after_ms(roll(&program->seed, 3000))); /* and the client may leave */
        }
        return r == 0 ? 0 : 1;
    case 1:
        if (roll(&program->seed, 4) == 0) {
            weir_abort(program->sink, WEIR_REASON_LIMIT);
        }
        return 1;
    case 2:
        r = weir_wait_writable(program->sink, some_deadline(program));
        return r < 0 && r != WEIR_ETIMEDOUT ? r : 1;
    case 3:
        return program->read == program->position ? pipe_rest(req, program) : 1;
    default:
        r = emit_one(program);
        return r < 0 && roll(&program->seed, 3) ? r : 1; /* some ignore it */
    }
}

static int runs(struct weir_req *req, void *arg)
{
    struct program *program = arg;
    int r = 1;

    for (int steps = 0; steps < 60 && r > 0; steps++) {
        r = step(req, program);
    }
    if (program->sink != NULL && roll(&program->seed, 4)) {
        program->ended |= weir_end(program->sink, NULL) == 0;
    }
    for (size_t i = 0; i < COUNT(program->held); i++) {
        weir_chunk_unref(program->held[i]);
    }
    if (roll(&program->seed, 2)) {
        weir_sink_destroy(program->sink);
    }
    return r < 0 && roll(&program->seed, 2) ? r : 0;
}

static uint64_t some_window(uint64_t *seed)
{
    uint32_t chance = roll(seed, 3);

    return chance == 0 ? 0 : chance == 1 ? WEIR__MEMORY_NONE : 1 + roll(seed, 30000);
}

static void one_program(uint64_t seed)
{
    static struct weir__memory_step steps[40];
    static const enum weir_reason reasons[] = {WEIR_REASON_FIN, WEIR_REASON_RESET,
                                               WEIR_REASON_STALL, WEIR_REASON_LIMIT,
                                               WEIR_REASON_SHUTDOWN};
    struct program program = {.length = WEIR_LENGTH_UNKNOWN};
    struct scene scene = {.handler = runs, .arg = &program, .steps = steps};
    uint64_t chance = seed;
    size_t count = 1 + roll(&chance, COUNT(steps) - 1);
    bool has_body = roll(&chance, 3) > 0;

    program.seed = seed * 31 + 7;
    for (size_t i = 0; i < count; i++) {
        uint32_t what = roll(&chance, 24);

        steps[i] = (struct weir__memory_step){.at_ms = roll(&chance, 3000),
                                              .act = WEIR__MEMORY_SEND,
                                              .bytes = 1 + roll(&chance, 30000)};
        if (what < 4) {
            steps[i].act = WEIR__MEMORY_STREAM_WINDOW;
        } else if (what < 8) {
            steps[i].act = WEIR__MEMORY_CONN_WINDOW;
        } else if (what < 12) {
            steps[i].act = WEIR__MEMORY_SOCKET;
        } else if (what == 12 && has_body) {
            steps[i].act = WEIR__MEMORY_SEND_END;
            steps[i].at_ms = 3001;
        } else if (what == 13) {
            steps[i].act = WEIR__MEMORY_FIN;
            steps[i].at_ms = 3002;
        } else if (what == 14 && roll(&chance, 3) == 0) {
            steps[i].act = WEIR__MEMORY_GONE;
            steps[i].reason = reasons[roll(&chance, COUNT(reasons))];
        } else if (what == 15 && has_body) {
            steps[i] = (struct weir__memory_step){
                .at_ms = 3001, .act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO};
        } else if (!has_body) {
            steps[i].act = WEIR__MEMORY_SOCKET;
        }
    }
    scene.count = count;
    scene.opts = (struct weir__memory_opts){
        .method = roll(&chance, 8) ? "POST" : "HEAD",
        .body_length = has_body ? WEIR_LENGTH_UNKNOWN : 0,
        .http10 = roll(&chance, 8) == 0,
        .expect_continue = roll(&chance, 4) == 0,
        .half_close = roll(&chance, 2),
        .use_fds = roll(&chance, 3) == 0,
        .stream_window = some_window(&chance),
        .conn_window = some_window(&chance),
        .socket = some_window(&chance),
        .receive_window = 1 + roll(&chance, WINDOW),
        .max_read = roll(&chance, 2) ? 0 : 1 + roll(&chance, 3000),
        .max_take = roll(&chance, 2) ? 0 : 100 + roll(&chance, 3000),
        .max_room = roll(&chance, 2) ? 0 : 100 + roll(&chance, 3000),
        .write_us = roll(&chance, 3) ? 0 : roll(&chance, 200),
        .leave_at = roll(&chance, 6) ? 0 : 1 + roll(&chance, 30000),
        .leave_reason = reasons[roll(&chance, COUNT(reasons))],
        .fail_write_at = roll(&chance, 8) ? 0 : 1 + roll(&chance, 30000),
        .limits = {.first_byte_ms = 5000,
                   .read_gap_ms = 1 + roll(&chance, 10000),
                   .write_stall_ms = 1 + roll(&chance, 10000),
                   .min_rate = roll(&chance, 3) ? 0 : roll(&chance, 10000)}};
    play(&scene);
    /* One end of some kind, and clean only if the handler made it so. */
    assert_true(scene.result.ended != scene.result.aborted);
    if (program.begun) {
        assert_int_equal(scene.result.ended, program.ended);
        assert_true(scene.result.pattern);
        assert_true(scene.result.taken <= program.position + 200000);
        if (scene.result.ended && !program.no_body) {
            assert_int_equal(scene.result.taken, program.position);
            assert_true(program.length == WEIR_LENGTH_UNKNOWN ||
                        program.length == program.position);
        }
        if (program.no_body) {
            assert_int_equal(scene.result.taken, 0);
        }
    } else {
        assert_false(program.ended);
    }
    assert_true(scene.result.parked_peak <= scene.opts.receive_window);
    /* Three chunks held, one on its way in; one of the handler's queued by a try and another that waits, 100 KB each,
     * which count for the buffers they are in. */
    assert_true(scene.budget_peak <= ((size_t)3 << 19));
}

static char present[64];

/* A program that never ends is to be found again as well. */
static void too_long(int signal)
{
    (void)signal;
    if (write(2, present, strlen(present)) >= 0) {
        _exit(1);
    }
}

static int tell_seed(void **state)
{
    (void)state;
    print_message("last program: %s\n", present);
    return 0;
}

static void random_programs(void **state)
{
    const char *seed_text = getenv("WEIR_SEED");
    const char *count_text = getenv("WEIR_PROGRAMS");
    uint64_t first = seed_text != NULL ? strtoull(seed_text, NULL, 0) : 1;
    uint64_t count = count_text != NULL  ? strtoull(count_text, NULL, 0)
                     : seed_text != NULL ? 1
                                         : 2000;

    (void)state;
    signal(SIGALRM, too_long);
    for (uint64_t seed = first; seed < first + count; seed++) {
        snprintf(present, sizeof(present), "WEIR_SEED=%llu", (unsigned long long)seed);
        alarm(20);
        one_program(seed);
    }
    alarm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(random_programs, tell_seed)};

    return cmocka_run_group_tests_name("http random", tests, NULL, NULL);
}
