/* SPDX-License-Identifier: MIT */
/*
 * Files lent through combinators: what counts or times bytes passes the loan on, and its law holds whichever way the bytes
 * go. Random programs, against a model: files in a row, some of which shrink, random combinators around them, a sink that
 * takes the file, its pages through a pipe, or bytes, as it likes. WEIR_SEED replays one.
 */
#include "properties.h"

#include <weir/combinators.h>
#include <weir/sources.h>

#include "bytes/chunk.h"

#include <sys/mman.h>

/* A file with the pattern from that position on. */
static int pattern_file(uint64_t position, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *bytes = malloc(len + 1);

    assert_true(fd >= 0);
    pattern_fill(bytes, len, position);
    assert_int_equal(write(fd, bytes, len), len);
    free(bytes);
    return fd;
}

/* ---- a sink that takes files ---- */

struct file_taker {
    struct taker taker;    /* its bytes, its failure, its slowness */
    uint32_t files, pipes; /* of 100 turns it would take such a loan */
    uint32_t declines;     /* of 100 files, when it comes to it */
    uint64_t from_file, from_pipe, emitted;
    void (*took)(void *arg, uint64_t bytes); /* NULL: nobody */
    void *arg;
};

static int note(struct file_taker *taker, uint64_t before, uint64_t *counter)
{
    uint64_t bytes = taker->taker.got - before;

    *counter += bytes;
    if (bytes > 0 && taker->took != NULL) {
        taker->took(taker->arg, taker->taker.got);
    }
    return 0;
}

static int take_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct file_taker *taker = state;
    uint64_t before = taker->taker.got;
    int r = taker_emit(&taker->taker, chunk, deadline);

    return r < 0 ? r : note(taker, before, &taker->emitted);
}

static int take_room(void *state, int64_t deadline, size_t *ret_room)
{
    return taker_wait_writable(&((struct file_taker *)state)->taker, deadline, ret_room);
}

static int take_end(void *state, struct weir_fields *trailers)
{
    return taker_end(&((struct file_taker *)state)->taker, trailers);
}

static void take_abort(void *state, enum weir_reason reason)
{
    taker_abort(&((struct file_taker *)state)->taker, reason);
}

static bool take_can_fd(void *state)
{
    struct file_taker *taker = state;

    return roll(taker->taker.dice, 100) < taker->pipes;
}

static bool take_can_file(void *state)
{
    struct file_taker *taker = state;

    return roll(taker->taker.dice, 100) < taker->files;
}

static int take_fd(void *state, int pipe_fd, size_t bytes, int64_t deadline)
{
    struct file_taker *taker = state;
    uint64_t before = taker->taker.got;

    while (bytes > 0) {
        size_t len = bytes < WEIR_CHUNK_BYTES ? bytes : WEIR_CHUNK_BYTES;
        struct weir_chunk *chunk;
        int r;

        assert_int_equal(weir_chunk_create(len, &chunk), 0);
        assert_int_equal(read(pipe_fd, weir_chunk_data(chunk), len), len);
        r = taker_emit(&taker->taker, chunk, deadline);
        if (r < 0) {
            return r;
        }
        bytes -= len;
    }
    return note(taker, before, &taker->from_pipe);
}

static int take_file(void *state, int fd, uint64_t offset, size_t bytes, int64_t deadline,
                     size_t *ret_taken)
{
    struct file_taker *taker = state;
    uint64_t before = taker->taker.got;
    struct weir_chunk *chunk;
    ssize_t got;
    int r;

    assert_true(bytes > 0);
    if (roll(taker->taker.dice, 100) < taker->declines) {
        return WEIR_EUNSUPPORTED;
    }
    bytes = bytes < WEIR_CHUNK_BYTES ? bytes : WEIR_CHUNK_BYTES;
    bytes = roll(taker->taker.dice, 3) == 0 ? 1 + roll(taker->taker.dice, (uint32_t)bytes) : bytes;
    assert_int_equal(weir_chunk_create(bytes, &chunk), 0);
    got = pread(fd, weir_chunk_data(chunk), bytes, (off_t)offset);
    assert_true(got >= 0);
    if (got == 0) {
        weir_chunk_unref(chunk);
        *ret_taken = 0;
        return 0;
    }
    weir__chunk_set_len(chunk, (size_t)got);
    r = taker_emit(&taker->taker, chunk, deadline);
    if (r < 0) {
        return r;
    }
    *ret_taken = (size_t)got;
    return note(taker, before, &taker->from_file);
}

static const struct weir_sink_ops file_taker_ops = {
    .name = "file taker",
    .emit = take_emit,
    .wait_writable = take_room,
    .end = take_end,
    .abort = take_abort,
    .can_take_fd = take_can_fd,
    .take_fd = take_fd,
    .can_take_file = take_can_file,
    .take_file = take_file,
};

/* ---- one at a time: nothing is copied ---- */

struct heard {
    uint64_t bytes, largest_step;
    unsigned reports, lasts;
    int result;
};

static void hear(void *arg, const struct weir_progress *progress)
{
    struct heard *heard = arg;

    assert_true(progress->bytes >= heard->bytes);
    assert_int_equal(heard->lasts, 0);
    if (progress->bytes - heard->bytes > heard->largest_step) {
        heard->largest_step = progress->bytes - heard->bytes;
    }
    heard->bytes = progress->bytes;
    heard->reports++;
    heard->lasts += progress->is_last;
    heard->result = progress->result;
}

static struct weir_source *file_source(uint64_t position, size_t len)
{
    struct weir_source *source;

    assert_int_equal(
        weir_file_source_create_take(pattern_file(position, len), 0, WEIR_FILE_REST, &source), 0);
    return source;
}

FIBER_TEST(no_byte_of_a_lent_file_is_copied)
{
    static const struct {
        int r;
        uint64_t bytes;
    } wanted[] = {{0, 300000}, {0, 300000},           {WEIR_ELIMIT, 123456}, {0, 123456},
                  {0, 300000}, {0, 300000},           {0, 300000},           {0, 300000},
                  {0, 200000}, {WEIR_ESTALLED, 20000}};
    struct heard heard = {0};
    const struct weir_progress_opts opts = {.fn = hear, .arg = &heard, .every_bytes = 100000};

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        uint64_t seed = 7;
        struct file_taker taker = {.taker = {.dice = &seed, .room = 500000, .fail_at = UINT64_MAX},
                                   .files = 100};
        struct weir_source *source = i == 7 ? NULL : file_source(0, 300000);
        struct weir_source *three[] = {source, NULL, NULL};
        struct weir_pipe_result result;
        struct weir_sink *sink;

        switch (i) {
        case 1:
            assert_int_equal(weir_limit_create_take(source, 300000, &source), 0);
            break;
        case 2:
            assert_int_equal(weir_limit_create_take(source, 123456, &source), 0);
            break;
        case 3:
            assert_int_equal(weir_take_create_take(source, 123456, &source), 0);
            break;
        case 4:
            assert_int_equal(weir_timeout_create_take(source, 10, 1000, &source), 0);
            break;
        case 5:
            assert_int_equal(weir_rate_create_take(source, 1000000, 0, &source), 0);
            break;
        case 6:
            assert_int_equal(weir_progress_create_take(source, &opts, &source), 0);
            break;
        case 7:
            three[0] = file_source(0, 100000);
            three[1] = file_source(100000, 1);
            three[2] = file_source(100001, 199999);
            assert_int_equal(weir_chain_create_take(three, 3, &source), 0);
            break;
        case 8:
            /* All of them, one in the other. */
            assert_int_equal(weir_limit_create_take(source, 250000, &source), 0);
            assert_int_equal(weir_timeout_create_take(source, 1000, 0, &source), 0);
            assert_int_equal(weir_rate_create_take(source, 1000000, 0, &source), 0);
            assert_int_equal(weir_chain_create_take(&source, 1, &source), 0);
            assert_int_equal(weir_take_create_take(source, 200000, &source), 0);
            break;
        case 9:
            /* 10,000 at once and in a second: the time is over at the burst and a second's worth. */
            assert_int_equal(weir_rate_create_take(source, 10000, 10000, &source), 0);
            assert_int_equal(weir_timeout_create_take(source, 0, 1000, &source), 0);
            break;
        default:
            break;
        }
        assert_int_equal(weir_sink_create_take(&file_taker_ops, &taker, &sink), 0);
        assert_int_equal(weir_pipe(source, sink, NULL, &result), wanted[i].r);
        assert_in_range(result.bytes, wanted[i].bytes - (i == 9 ? 200 : 0), wanted[i].bytes);
        assert_int_equal(taker.from_file, result.bytes);
        assert_int_equal(taker.emitted + taker.from_pipe, 0);
        assert_int_equal(taker.taker.ends, wanted[i].r == 0);
        assert_int_equal(taker.taker.aborts, wanted[i].r != 0);
        weir_source_destroy(source);
        weir_sink_destroy(sink);
    }
    assert_int_equal(heard.bytes, 300000);
    assert_int_equal(heard.lasts, 1);
    assert_int_equal(heard.result, 0);
    assert_in_range(heard.reports, 3, 4);
    assert_in_range(heard.largest_step, 100000, 100000 + WEIR_CHUNK_BYTES);
}

/* ---- by chance ---- */

#define FILES 3
#define DEPTH 5

struct program {
    struct world world;
    uint64_t dice;
    struct file_taker taker;
    struct weir_source *source;
    struct heard heard;
    uint64_t size; /* of all files, as they were when they were opened */
    uint64_t
        there; /* up to here the bytes are: before the first file that shrinks, and what is left of that */
    uint64_t limit, take;
    struct {
        uint64_t per_s, burst;
        int64_t since_us;
    } rates[DEPTH];
    unsigned rate_count;
    uint64_t total_ms; /* the shortest of the timeouts' */
    bool has_timeout, has_progress, cancelled;
    uint64_t every_bytes;
    int64_t cancel_at_ms;
    struct weir_pipe_result result;
};

static uint32_t dice(struct program *program, uint32_t below)
{
    return roll(&program->dice, below);
}

static void open_files(struct program *program)
{
    struct weir_source *sources[FILES];
    unsigned count = 1 + dice(program, FILES);

    program->there = UINT64_MAX;
    for (unsigned i = 0; i < count; i++) {
        static const uint32_t sizes[] = {1, 1000, 70000, 400000};
        size_t len = dice(program, sizes[dice(program, 4)]);
        int fd = pattern_file(program->size, len);
        int other = dup(fd);

        assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &sources[i]), 0);
        if (len > 0 && dice(program, 6) == 0) {
            size_t left = dice(program, (uint32_t)len);

            assert_int_equal(ftruncate(other, (off_t)left), 0);
            if (program->there == UINT64_MAX) {
                program->there = program->size + left;
            }
        }
        close(other);
        program->size += len;
    }
    program->there = program->there < program->size ? program->there : program->size;
    if (count == 1 && dice(program, 2) == 0) {
        program->source = sources[0];
    } else {
        assert_int_equal(weir_chain_create_take(sources, count, &program->source), 0);
    }
}

static void wrap(struct program *program)
{
    struct weir_source *inner = program->source;
    uint64_t amount = 1 + dice(program, dice(program, 2) ? 1000 : 500000);

    if (dice(program, 4) == 0 && program->there > 1) {
        amount = program->there + dice(program, 3) -
                 1; /* as much as there is, a byte less, a byte more */
    }
    switch (dice(program, 5)) {
    case 0:
        /* What a take inside leaves is all that a limit sees. */
        if (program->take == UINT64_MAX) {
            program->limit = amount < program->limit ? amount : program->limit;
            assert_int_equal(weir_limit_create_take(inner, amount, &program->source), 0);
        }
        break;
    case 1:
        program->take = amount < program->take ? amount : program->take;
        assert_int_equal(weir_take_create_take(inner, amount, &program->source), 0);
        break;
    case 2:
        program->has_timeout = true;
        amount = dice(program, 2) ? 1 + dice(program, 2000) : 0;
        program->total_ms = amount > 0 && amount < program->total_ms ? amount : program->total_ms;
        assert_int_equal(weir_timeout_create_take(inner, 1 + dice(program, 500), (int64_t)amount,
                                                  &program->source),
                         0);
        break;
    case 3:
        program->rates[program->rate_count].per_s = 1000 + dice(program, 10000000);
        program->rates[program->rate_count].burst = 1 + dice(program, 100000);
        program->rates[program->rate_count].since_us = program->world.loop->now_us;
        assert_int_equal(weir_rate_create_take(inner, program->rates[program->rate_count].per_s,
                                               program->rates[program->rate_count].burst,
                                               &program->source),
                         0);
        program->rate_count++;
        break;
    default:
        assert_int_equal(weir_chain_create_take(&inner, 1, &program->source), 0);
        break;
    }
}

/* The rates hold at every moment, whichever way the bytes came. */
static void took(void *arg, uint64_t got)
{
    struct program *program = arg;

    for (unsigned i = 0; i < program->rate_count; i++) {
        int64_t spent_us = program->world.loop->now_us - program->rates[i].since_us;

        assert_true(got <= program->rates[i].burst +
                               program->rates[i].per_s * (uint64_t)spent_us / 1000000);
    }
    /* Nothing is lent after that; what is may take as long as the sink is slow. */
    assert_true(program->total_ms == UINT64_MAX ||
                program->world.loop->now_us <= 1000000 + (int64_t)(program->total_ms + 400) * 1000);
    assert_true(got <= program->limit && got <= program->take && got <= program->there);
}

static int cancel_later(void *arg)
{
    struct program *program = arg;

    if (weir_sleep(program->cancel_at_ms) == 0) {
        program->cancelled = true;
        weir_cancel(program->source, WEIR_REASON_FIN);
    }
    return 0;
}

static void check_result(struct program *program, int r)
{
    const struct file_taker *taker = &program->taker;
    uint64_t bytes = program->result.bytes;
    uint64_t enough = program->there < program->limit ? program->there : program->limit;

    /* A piece that is lost with the sink was not accepted by it. */
    assert_true(bytes <= taker->taker.got);
    if (r == 0) {
        assert_true(bytes == taker->taker.got);
        assert_true(bytes == (program->take < program->size ? program->take : program->size));
        assert_true(bytes <= enough);
    } else if (r == WEIR_ELIMIT) {
        assert_true(bytes == program->limit && program->there > program->limit);
        assert_true(program->take > program->limit);
        assert_int_equal(program->result.cause.reason, WEIR_REASON_LIMIT);
    } else if (r == WEIR_ETRUNCATED) {
        /* Visible, and behind all that was there. */
        assert_true(bytes == program->there && program->there < program->size);
        assert_true(program->there <= program->limit && program->there < program->take);
        assert_int_equal(program->result.cause.side, WEIR_SIDE_SOURCE);
    } else if (r == WEIR_ESTALLED) {
        assert_true(program->has_timeout);
        assert_true(program->result.cause.reason == WEIR_REASON_STALL ||
                    program->result.cause.reason == WEIR_REASON_TIMEOUT);
    } else if (r == WEIR_ECANCELED) {
        assert_true(program->cancelled);
    } else {
        assert_int_equal(r, WEIR_ECLOSED);
        assert_true(taker->taker.fail_at != UINT64_MAX);
        assert_int_equal(program->result.cause.side, WEIR_SIDE_SINK);
    }
    assert_int_equal(taker->taker.ends, r == 0);
    assert_int_equal(taker->taker.aborts, r != 0);
    if (program->has_progress && (r == 0 || r == WEIR_ELIMIT || r == WEIR_ETRUNCATED)) {
        assert_int_equal(program->heard.lasts, 1);
        assert_int_equal(program->heard.result, r);
        assert_int_equal(program->heard.bytes, bytes);
        assert_true(program->every_bytes == 0 ||
                    program->heard.largest_step < program->every_bytes + WEIR_CHUNK_BYTES);
    }
}

static uint64_t passed_by_file; /* of all programs */

static void run_program(void *arg)
{
    struct program *program = arg;
    struct weir_scope *scope;
    struct weir_sink *sink;
    unsigned depth;
    int r;

    open_files(program);
    depth = dice(program, DEPTH + 1);
    for (unsigned i = 0; i < depth; i++) {
        wrap(program);
    }
    if (dice(program, 3) == 0) {
        program->has_progress = true;
        program->every_bytes = dice(program, 2) ? dice(program, 200000) : 0;
        assert_int_equal(weir_progress_create_take(
                             program->source,
                             &(struct weir_progress_opts){.fn = hear,
                                                          .arg = &program->heard,
                                                          .every_bytes = program->every_bytes},
                             &program->source),
                         0);
    }
    assert_int_equal(weir_sink_create_take(&file_taker_ops, &program->taker, &sink), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    if (dice(program, 5) == 0) {
        program->cancel_at_ms = weir_after_ms(dice(program, 300));
        assert_int_equal(weir_scope_spawn(scope, cancel_later, program), 0);
    }
    r = weir_pipe(program->source, sink, NULL, &program->result);
    weir_scope_close(scope); /* before the source goes */
    check_result(program, r);
    weir_source_destroy(program->source);
    weir_sink_destroy(sink);
    passed_by_file += program->taker.from_file;
}

static void one_program(uint64_t seed)
{
    struct program program = {
        .dice = seed * 7919, .limit = UINT64_MAX, .take = UINT64_MAX, .total_ms = UINT64_MAX};
    struct file_taker *taker = &program.taker;

    taker->taker.dice = &program.dice;
    taker->taker.fail_at = dice(&program, 5) == 0 ? dice(&program, 300000) : UINT64_MAX;
    taker->taker.fail_code = WEIR_ECLOSED;
    taker->taker.slow_ms = dice(&program, 3) == 0 ? 1 + dice(&program, 30) : 0;
    taker->taker.room = 1 + dice(&program, dice(&program, 3) == 0 ? 3000 : 600000);
    taker->files = dice(&program, 3) * 50;
    taker->pipes = dice(&program, 3) * 50;
    taker->declines = dice(&program, 3) == 0 ? 20 : 0;
    taker->took = took;
    taker->arg = &program;
    assert_true(world_run(&program.world, run_program, &program));
}

static void laws_hold_for_lent_files(void **state)
{
    (void)state;
    passed_by_file = 0;
    run_programs(one_program, 50);
    assert_true(seed_wanted() != 0 || passed_by_file > programs_wanted() * 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_of_a_lent_file_is_copied),
        cmocka_unit_test(laws_hold_for_lent_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
