/* SPDX-License-Identifier: MIT */
/* Bytes, file, channel, generator, and the custom source of the examples. */
#include <weir/combinators.h>
#include <weir/sources.h>

#include "../../../examples/slow_source.h"
#include "bytes/chunk.h"
#include "stream_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void fiber_test(void (*fn)(void *arg))
{
    struct world world;

    assert_true(world_run(&world, fn, &world));
}
#define FIBER_TEST(name)                \
    static void name##_body(void *arg); \
    static void name(void **state)      \
    {                                   \
        (void)state;                    \
        fiber_test(name##_body);        \
    }                                   \
    static void name##_body(void *arg)

static int drain(struct weir_source *source, uint64_t *ret_bytes)
{
    struct weir_chunk *chunk;
    int r;

    *ret_bytes = 0;
    while ((r = weir_next(source, -1, &chunk)) > 0) {
        *ret_bytes += pattern_check(chunk, *ret_bytes);
    }
    return r;
}

static int emit_pattern(struct weir_sink *sink, size_t len, uint64_t *position, int64_t deadline)
{
    uint8_t *bytes = malloc(len);
    int r;

    pattern_fill(bytes, len, *position);
    r = weir_emit_bytes(sink, weir_bytes(bytes, len), deadline);
    free(bytes);
    *position += r == 0 ? len : 0;
    return r;
}

/* ---- bytes ---- */

FIBER_TEST(bytes_of_any_size)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 3u << 20};
    uint8_t *bytes = malloc(3u << 20);

    (void)arg;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct weir_source *source;
        uint64_t got;

        pattern_fill(bytes, sizes[i], 0);
        assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, sizes[i]), &source), 0);
        memset(bytes, 0, sizes[i]); /* copied: the caller's own may change */
        assert_int_equal(drain(source, &got), 0);
        assert_int_equal(got, sizes[i]);
        weir_source_destroy(source);
    }
    free(bytes);
}

FIBER_TEST(bytes_outlive_their_source)
{
    uint8_t bytes[10];
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    pattern_fill(bytes, sizeof(bytes), 0);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, sizeof(bytes)), &source), 0);
    assert_int_equal(weir__next(source, 4, -1, &chunk), 1);
    weir_source_destroy(source);
    assert_int_equal(pattern_check(chunk, 0), 4);
}

FIBER_TEST(bytes_are_charged)
{
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    size_t before = weir__budget_used(budget);
    struct weir_source *source;
    uint8_t bytes[1000] = {0};

    (void)arg;
    weir__budget_set_limit(budget, before + 999);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, 1000), &source), WEIR_EBUDGET);
    weir__budget_set_limit(budget, limit);
    assert_int_equal(weir_bytes_source_create(weir_bytes(bytes, 1000), &source), 0);
    assert_int_equal(weir__budget_used(budget), before + 1000);
    weir_source_destroy(source);
    assert_int_equal(weir__budget_used(budget), before);
}

/* ---- file ---- */

static int pattern_file(size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *bytes = malloc(len + 1);

    assert_true(fd >= 0);
    pattern_fill(bytes, len, 0);
    assert_int_equal(write(fd, bytes, len), len);
    free(bytes);
    return fd;
}

FIBER_TEST(a_file_is_read_whole)
{
    static const size_t sizes[] = {0, 1, 65536, 200000};

    (void)arg;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct weir_source *source;
        uint64_t got;
        int fd = pattern_file(sizes[i]);

        assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
        assert_int_equal(drain(source, &got), 0);
        assert_int_equal(got, sizes[i]);
        weir_source_destroy(source);
        assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
    }
}

FIBER_TEST(a_part_of_a_file)
{
    struct weir_source *source;
    struct weir_chunk *chunk;
    int fd;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(pattern_file(100), 30, 50, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), 1);
    assert_int_equal(pattern_check(chunk, 30), 50);
    assert_int_equal(weir_next(source, 0, &chunk), 0);
    weir_source_destroy(source);

    fd = pattern_file(100);
    assert_int_equal(weir_file_source_create_take(fd, 101, WEIR_FILE_REST, &source), WEIR_EINVAL);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(weir_file_source_create_take(pattern_file(100), 50, 51, &source), WEIR_EINVAL);
    assert_int_equal(weir_file_source_create_take(pattern_file(100), UINT64_MAX, 1, &source),
                     WEIR_EINVAL);
    assert_int_equal(weir_file_source_create_take(-1, 0, 1, &source), WEIR_EINVAL);
    assert_int_equal(weir_file_source_create_take(9999, 0, 1, &source), WEIR_EIO);
    assert_int_equal(
        weir_file_source_create_take(open("/dev/null", O_RDONLY), 0, WEIR_FILE_REST, &source),
        WEIR_EUNSUPPORTED);
}

FIBER_TEST(a_file_that_shrinks_is_truncated)
{
    int fd = pattern_file(100000);
    int other = dup(fd);
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_error error;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    assert_int_equal(pattern_check(chunk, 0), 65536);
    assert_int_equal(ftruncate(other, 70000), 0);
    assert_int_equal(weir_next(source, -1, &chunk), 1);
    assert_int_equal(pattern_check(chunk, 65536), 70000 - 65536);
    assert_int_equal(weir_next(source, -1, &chunk), WEIR_ETRUNCATED);
    weir_source_error(source, &error);
    assert_int_equal(error.reason, WEIR_REASON_TRUNCATED);
    weir_source_destroy(source);
    close(other);
}

FIBER_TEST(a_file_that_grows_is_not_followed)
{
    int fd = pattern_file(1000);
    int other = dup(fd);
    struct weir_source *source;
    uint64_t got;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
    assert_int_equal(ftruncate(other, 5000), 0);
    assert_int_equal(drain(source, &got), 0);
    assert_int_equal(got, 1000);
    weir_source_destroy(source);
    close(other);
}

/* A file on a disk, if the temporary folder is on one, and not in memory. */
static int cold_file(size_t len)
{
    FILE *file = tmpfile();
    uint8_t *bytes = malloc(len);
    int fd;

    assert_non_null(file);
    fd = dup(fileno(file));
    fclose(file);
    pattern_fill(bytes, len, 0);
    assert_int_equal(write(fd, bytes, len), len);
    free(bytes);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    return fd;
}

FIBER_TEST(a_cold_file_is_read_by_a_thread)
{
    struct weir_source *source;
    uint64_t got;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(cold_file(3000000), 0, WEIR_FILE_REST, &source),
                     0);
    assert_int_equal(drain(source, &got), 0);
    assert_int_equal(got, 3000000);
    weir_source_destroy(source);
}

FIBER_TEST(a_cold_file_is_asked_for_without_waiting)
{
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t got = 0;
    int r;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(cold_file(300000), 0, WEIR_FILE_REST, &source),
                     0);
    while ((r = weir_next(source, 0, &chunk)) != 0) {
        if (r == 1) {
            got += pattern_check(chunk, got);
        } else {
            assert_int_equal(r, WEIR_EAGAIN);
            weir_yield();
        }
    }
    assert_int_equal(got, 300000);
    weir_source_destroy(source);
}

/* Whoever waits for the disk may give up, and the source may go, while the thread reads. */
FIBER_TEST(a_cold_file_may_be_left)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct weir_source *source;
        struct weir_chunk *chunk;
        uint64_t got;
        int r;

        assert_int_equal(
            weir_file_source_create_take(cold_file(300000), 0, WEIR_FILE_REST, &source), 0);
        r = weir_next(source, weir_after_ms(-1), &chunk); /* passed already */
        if (r == 1) {
            weir_chunk_unref(chunk);
        } else {
            assert_int_equal(r, WEIR_ETIMEDOUT);
            if (i % 2 == 0) {
                assert_int_equal(drain(source, &got), 0); /* and nothing was lost */
                assert_int_equal(got, 300000);
            }
        }
        weir_source_destroy(source);
    }
}

/* A sink that takes a kernel pipe's content, at most `most` at a time. */
struct taker {
    uint64_t position, taken;
    unsigned emits, ends, aborts;
    size_t room;
    bool refuse_every_third;
    unsigned asked;
    bool takes_turns, declines;
    unsigned turns;
    uint64_t from_file;
};

static int taker_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct taker *taker = state;

    (void)deadline;
    taker->emits++;
    taker->position += pattern_check(chunk, taker->position);
    return 0;
}

static int taker_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    (void)deadline;
    *ret_room = ((struct taker *)state)->room;
    return 0;
}

static int taker_end(void *state, struct weir_fields *trailers)
{
    (void)trailers;
    ((struct taker *)state)->ends++;
    return 0;
}

static void taker_abort(void *state, enum weir_reason reason)
{
    (void)reason;
    ((struct taker *)state)->aborts++;
}

static bool taker_can_take_fd(void *state)
{
    struct taker *taker = state;

    return ++taker->asked % 3 != 0 || !taker->refuse_every_third;
}

static int taker_take_fd(void *state, int pipe_fd, size_t bytes, int64_t deadline)
{
    struct taker *taker = state;
    struct weir_chunk *chunk;

    (void)deadline;
    taker->taken += bytes;
    while (bytes > 0) {
        size_t len = bytes < WEIR_CHUNK_BYTES ? bytes : WEIR_CHUNK_BYTES;

        assert_int_equal(weir_chunk_create(len, &chunk), 0);
        assert_int_equal(read(pipe_fd, weir_chunk_data(chunk), len), len);
        taker->position += pattern_check(chunk, taker->position);
        bytes -= len;
    }
    return 0;
}

static const struct weir_sink_ops taker_ops = {
    .name = "taker",
    .emit = taker_emit,
    .wait_writable = taker_wait_writable,
    .end = taker_end,
    .abort = taker_abort,
    .can_take_fd = taker_can_take_fd,
    .take_fd = taker_take_fd,
};

/* Chunks and loans take turns, and no byte is lost between them; through the combinators too. */
FIBER_TEST(a_file_is_lent_to_a_pipe)
{
    (void)arg;
    for (int chain = 0; chain < 4; chain++) {
        struct taker taker = {.room = 50000, .refuse_every_third = true};
        struct weir_source *source;
        struct weir_sink *sink;
        struct weir_pipe_result result;

        assert_int_equal(
            weir_file_source_create_take(pattern_file(400000), 0, WEIR_FILE_REST, &source), 0);
        if (chain == 1) {
            assert_int_equal(weir_limit_create_take(source, 400000, &source), 0);
        } else if (chain == 2) {
            assert_int_equal(weir_rate_create_take(source, 1000000, 100000, &source), 0);
        } else if (chain == 3) {
            assert_int_equal(weir_timeout_create_take(source, 10, 1000, &source), 0);
        }
        assert_int_equal(weir_sink_create_take(&taker_ops, &taker, &sink), 0);
        assert_int_equal(weir_pipe(source, sink, NULL, &result), 0);
        assert_int_equal(result.bytes, 400000);
        assert_int_equal(taker.position, 400000);
        assert_int_equal(taker.ends, 1);
        assert_true(taker.taken > 200000 && taker.emits > 0);
        weir_source_destroy(source);
        weir_sink_destroy(sink);
        assert_int_equal(taker.aborts, 0);
    }
}

FIBER_TEST(a_limit_holds_for_a_loan)
{
    struct taker taker = {.room = 50000};
    struct weir_source *source;
    struct weir_sink *sink;
    struct weir_pipe_result result;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(pattern_file(400000), 0, WEIR_FILE_REST, &source),
                     0);
    assert_int_equal(weir_limit_create_take(source, 123456, &source), 0);
    assert_int_equal(weir_sink_create_take(&taker_ops, &taker, &sink), 0);
    assert_int_equal(weir_pipe(source, sink, NULL, &result), WEIR_ELIMIT);
    assert_int_equal(result.bytes, 123456);
    assert_int_equal(result.cause.reason, WEIR_REASON_LIMIT);
    assert_int_equal(taker.position, 123456);
    assert_int_equal(taker.ends, 0);
    assert_int_equal(taker.aborts, 1);
    weir_source_destroy(source);
    weir_sink_destroy(sink);
}

FIBER_TEST(a_lent_file_that_shrinks_is_truncated)
{
    struct taker taker = {.room = 50000};
    int fd = pattern_file(100000);
    int other = dup(fd);
    struct weir_source *source;
    struct weir_sink *sink;
    struct weir_pipe_result result;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
    assert_int_equal(ftruncate(other, 70000), 0);
    assert_int_equal(weir_sink_create_take(&taker_ops, &taker, &sink), 0);
    assert_int_equal(weir_pipe(source, sink, NULL, &result), WEIR_ETRUNCATED);
    assert_int_equal(result.bytes, 70000);
    assert_int_equal(taker.ends, 0);
    weir_source_destroy(source);
    weir_sink_destroy(sink);
    close(other);
}

/* A sink that sends from files, in one of three ways per turn: the file, its pages through a pipe, bytes. */
static bool taker_can_take_file(void *state)
{
    struct taker *taker = state;

    return ++taker->turns % 3 == 0 || !taker->takes_turns;
}

static int taker_take_file(void *state, int fd, uint64_t offset, size_t bytes, int64_t deadline,
                           size_t *ret_taken)
{
    struct taker *taker = state;
    struct weir_chunk *chunk;
    ssize_t got;

    (void)deadline;
    assert_int_equal(offset, taker->position);
    if (taker->declines) {
        return WEIR_EUNSUPPORTED;
    }
    bytes = bytes < 30000 ? bytes : 30000; /* a socket takes what it likes */
    assert_int_equal(weir_chunk_create(bytes, &chunk), 0);
    got = pread(fd, weir_chunk_data(chunk), bytes, (off_t)offset);
    assert_true(got >= 0);
    if (got > 0) {
        weir__chunk_set_len(chunk, (size_t)got);
        taker->position += pattern_check(chunk, taker->position);
        taker->from_file += (size_t)got;
    } else {
        weir_chunk_unref(chunk);
    }
    *ret_taken = (size_t)got;
    return 0;
}

static const struct weir_sink_ops file_taker_ops = {
    .name = "file taker",
    .emit = taker_emit,
    .wait_writable = taker_wait_writable,
    .end = taker_end,
    .abort = taker_abort,
    .can_take_fd = taker_can_take_fd,
    .take_fd = taker_take_fd,
    .can_take_file = taker_can_take_file,
    .take_file = taker_take_file,
};

static int pipe_file(int fd, struct taker *taker, uint64_t *ret_bytes)
{
    struct weir_source *source;
    struct weir_sink *sink;
    struct weir_pipe_result result;
    int r;

    assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
    assert_int_equal(weir_sink_create_take(&file_taker_ops, taker, &sink), 0);
    r = weir_pipe(source, sink, NULL, &result);
    assert_int_equal(result.bytes, taker->position);
    *ret_bytes = result.bytes;
    weir_source_destroy(source);
    weir_sink_destroy(sink);
    return r;
}

FIBER_TEST(a_file_goes_to_a_sink_without_a_pipe)
{
    uint64_t bytes;

    (void)arg;
    for (int cold = 0; cold < 2; cold++) {
        for (int way = 0; way < 3; way++) {
            struct taker taker = {.room = 50000,
                                  .takes_turns = way == 1,
                                  .refuse_every_third = way == 1,
                                  .declines = way == 2};
            int fd = cold ? cold_file(3000000) : pattern_file(3000000);

            assert_int_equal(lseek(fd, 77, SEEK_SET), 77);
            assert_int_equal(pipe_file(fd, &taker, &bytes), 0);
            assert_int_equal(bytes, 3000000);
            assert_int_equal(taker.ends, 1);
            assert_int_equal(taker.aborts, 0);
            if (way == 0) {
                assert_int_equal(taker.from_file, 3000000);
            } else if (way == 1) {
                assert_true(taker.from_file > 0 && taker.taken > 0 && taker.emits > 0);
            } else {
                assert_int_equal(taker.from_file, 0);
            }
        }
    }
}

FIBER_TEST(a_file_that_shrinks_under_its_sender_is_truncated)
{
    struct taker taker = {.room = 50000};
    int fd = pattern_file(100000);
    int other = dup(fd);
    struct weir_source *source;
    struct weir_sink *sink;
    struct weir_pipe_result result;

    (void)arg;
    assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
    assert_int_equal(ftruncate(other, 70000), 0);
    assert_int_equal(weir_sink_create_take(&file_taker_ops, &taker, &sink), 0);
    assert_int_equal(weir_pipe(source, sink, NULL, &result), WEIR_ETRUNCATED);
    assert_int_equal(result.bytes, 70000);
    assert_int_equal(result.cause.side, WEIR_SIDE_SOURCE);
    assert_int_equal(taker.ends, 0);
    assert_int_equal(taker.aborts, 1);
    weir_source_destroy(source);
    weir_sink_destroy(sink);
    close(other);
}

/* How many pages of a part of a file are not in memory; unlike a read that must not wait, asking brings none of them. */
static size_t missing_pages(int fd, uint64_t offset, uint64_t len)
{
    static unsigned char there[1 << 16];
    uint64_t first = offset / 4096 * 4096;
    size_t span = (size_t)(offset + len - first), missing = 0;
    void *map = mmap(NULL, span, PROT_READ, MAP_SHARED, fd, (off_t)first);

    assert_true(map != MAP_FAILED && (span + 4095) / 4096 <= sizeof(there));
    assert_int_equal(mincore(map, span, there), 0);
    for (size_t i = 0; i < (span + 4095) / 4096; i++) {
        missing += !(there[i] & 1);
    }
    munmap(map, span);
    return missing;
}

/* Takes all that is lent, looking at each page of each loan before anybody reads it. Returns the pages that were lent cold. */
static size_t lent_cold(struct weir_source *source, uint64_t left, int64_t deadline)
{
    uint64_t size = left;
    unsigned tries = 0;
    size_t cold = 0;

    while (left > 0) {
        struct weir_loan loan;
        int r = weir__source_lend_file(source, deadline, &loan);

        if (r == WEIR_EAGAIN) {
            assert_true(deadline == 0 && ++tries < 10000000);
            weir_yield();
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(loan.offset, size - left);
        assert_true(loan.max_bytes > 0 && loan.max_bytes <= left);
        cold += missing_pages(loan.fd, loan.offset, loan.max_bytes);
        left -= loan.max_bytes;
        assert_int_equal(weir__source_repay(source, loan.max_bytes, 0, false), left > 0);
    }
    return cold;
}

/* Before a page that is not in memory is lent, a thread has brought it; who must not wait is told so. */
FIBER_TEST(what_is_lent_of_a_file_is_in_memory)
{
    uint64_t range[2] = {0, 1}, pages[5];
    int asked = cold_file(1);
    /* Linux 6.5. Without it the source goes by looks at some places, which may miss a hole. */
    bool exact = syscall(451, asked, range, pages, 0) == 0;

    (void)arg;
    close(asked);
    for (int i = 0; i < 20; i++) {
        int fd = cold_file(9000000);
        struct weir_source *source;
        size_t cold;

        if (i % 3 == 1) {
            static char some[40000];

            assert_int_equal(pread(fd, some, sizeof(some), 0),
                             sizeof(some)); /* warm at its begin */
        } else if (i % 3 == 2) {
            uint8_t byte;

            /* Pages here and there, as others leave them who have looked whether a file is in memory. */
            assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
            for (off_t at = 0; at < 9000000; at += 131072) {
                assert_int_equal(pread(fd, &byte, 1, at), 1);
            }
            assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL), 0);
        }
        assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
        cold = lent_cold(source, 9000000, i < 15 ? -1 : 0);
        if (exact) {
            assert_int_equal(cold, 0);
        } else if (cold > 0) {
            print_message("not claimed here, cachestat() does not answer: %zu cold pages\n", cold);
        }
        weir_source_destroy(source);
    }
}

/* ---- channel ---- */

FIBER_TEST(a_channel_is_bounded)
{
    struct weir_sink *sink;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t in = 0, out = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &sink, &source), 0);
    assert_int_equal(emit_pattern(sink, 60, &in, 0), 0);
    assert_int_equal(emit_pattern(sink, 41, &in, 0), WEIR_EFLOW);
    assert_int_equal(weir_wait_writable(sink, weir_after_ms(10)), WEIR_ETIMEDOUT);
    assert_int_equal(weir_end(sink, NULL), WEIR_ESTATE);
    assert_int_equal(weir__next(source, 10, 0, &chunk), 1); /* the large one in slices */
    out += pattern_check(chunk, out);
    assert_int_equal(weir_wait_writable(sink, 0), 0);
    assert_int_equal(emit_pattern(sink, 50, &in, 0), 0);
    assert_int_equal(emit_pattern(sink, 1, &in, 0), WEIR_EFLOW);
    while (weir_next(source, 0, &chunk) == 1) {
        out += pattern_check(chunk, out);
    }
    assert_int_equal(out, 110);
    assert_int_equal(weir_wait_writable(sink, -1), 0);
    assert_int_equal(emit_pattern(sink, 5000, &in, 0), 0); /* any chunk fits when it is empty */
    assert_int_equal(emit_pattern(sink, 1, &in, 0), WEIR_EFLOW);
    assert_int_equal(weir_next(source, 0, &chunk), 1);
    out += pattern_check(chunk, out);
    assert_int_equal(weir_wait_writable(sink, -1), 0);
    assert_int_equal(weir_end(sink, NULL), 0);
    assert_int_equal(weir_next(source, 0, &chunk), 0);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

FIBER_TEST(a_channel_holds_few_chunks)
{
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in = 0, got;
    int count = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(0, &sink, &source), 0);
    while (emit_pattern(sink, 1, &in, 0) == 0) {
        count++;
    }
    assert_int_equal(count, 64);
    weir_sink_destroy(sink);
    assert_int_equal(drain(source, &got), WEIR_ERESET);
    assert_int_equal(got, 64);
    weir_source_destroy(source);
    assert_int_equal(weir_channel_pair((16u << 20) + 1, &sink, &source), WEIR_EINVAL);
}

/* A producer that goes without an end never looks like one that ended. */
FIBER_TEST(an_abandoned_producer_is_an_error)
{
    static const struct {
        enum weir_reason reason;
        int code;
    } cases[] = {{WEIR_REASON_NONE, WEIR_ERESET},        {WEIR_REASON_LIMIT, WEIR_ELIMIT},
                 {WEIR_REASON_STALL, WEIR_ESTALLED},     {WEIR_REASON_TIMEOUT, WEIR_ESTALLED},
                 {WEIR_REASON_PROTOCOL, WEIR_EPROTO},    {WEIR_REASON_TRUNCATED, WEIR_ETRUNCATED},
                 {WEIR_REASON_CANCELED, WEIR_ECANCELED}, {WEIR_REASON_HANDLER, WEIR_ERESET}};

    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weir_sink *sink;
        struct weir_source *source;
        struct weir_error error;
        uint64_t in = 0, got;

        assert_int_equal(weir_channel_pair(100, &sink, &source), 0);
        assert_int_equal(emit_pattern(sink, 60, &in, -1), 0);
        if (cases[i].reason != WEIR_REASON_NONE) {
            weir_abort(sink, cases[i].reason);
        }
        weir_sink_destroy(sink);
        assert_int_equal(drain(source, &got), cases[i].code);
        assert_int_equal(got, 60); /* what came before the failure comes first */
        weir_source_error(source, &error);
        assert_int_equal(error.reason, cases[i].reason != WEIR_REASON_NONE ? cases[i].reason
                                                                           : WEIR_REASON_ABANDONED);
        weir_source_destroy(source);
    }
}

struct ends {
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in, out;
    int emit_result, next_result;
};

static int emit_until_it_fails(void *arg)
{
    struct ends *ends = arg;

    do {
        ends->emit_result = emit_pattern(ends->sink, 40, &ends->in, -1);
    } while (ends->emit_result == 0);
    return 0;
}

static int read_until_it_fails(void *arg)
{
    struct ends *ends = arg;
    struct weir_chunk *chunk;

    while ((ends->next_result = weir_next(ends->source, -1, &chunk)) > 0) {
        ends->out += pattern_check(chunk, ends->out);
    }
    return 0;
}

FIBER_TEST(a_cancel_wakes_the_producer)
{
    (void)arg;
    for (int destroy = 0; destroy < 2; destroy++) {
        struct ends ends = {0};
        struct weir_scope *scope;
        struct weir_error error;

        assert_int_equal(weir_channel_pair(100, &ends.sink, &ends.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, emit_until_it_fails, &ends), 0);
        assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
        assert_int_equal(ends.in, 80); /* it waits */
        if (destroy) {
            weir_source_destroy(ends.source);
        } else {
            weir_cancel(ends.source, WEIR_REASON_FIN);
        }
        assert_int_equal(weir_scope_join(scope, weir_after_ms(0)), 0);
        weir_scope_close(scope);
        assert_int_equal(ends.emit_result, WEIR_ECLOSED);
        weir_sink_error(ends.sink, &error);
        assert_int_equal(error.reason, destroy ? WEIR_REASON_ABANDONED : WEIR_REASON_FIN);
        assert_int_equal(weir_end(ends.sink, NULL), WEIR_ECLOSED);
        weir_sink_destroy(ends.sink);
        if (!destroy) {
            weir_source_destroy(ends.source);
        }
    }
}

FIBER_TEST(an_abort_wakes_the_reader)
{
    struct ends ends = {0};
    struct weir_scope *scope;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &ends.sink, &ends.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_until_it_fails, &ends), 0);
    assert_int_equal(emit_pattern(ends.sink, 10, &ends.in, -1), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(ends.out, 10);
    weir_sink_destroy(ends.sink);
    assert_int_equal(weir_scope_join(scope, weir_after_ms(0)), 0);
    weir_scope_close(scope);
    assert_int_equal(ends.next_result, WEIR_ERESET);
    weir_source_destroy(ends.source);
}

/* Whose scope is cancelled while it waits fails for good, and the other end learns of it when the handle goes. */
FIBER_TEST(a_cancelled_scope_ends_both_waits)
{
    struct ends writer = {0}, reader = {0};
    struct weir_scope *scope;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_channel_pair(100, &writer.sink, &writer.source), 0);
    assert_int_equal(weir_channel_pair(100, &reader.sink, &reader.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, emit_until_it_fails, &writer), 0);
    assert_int_equal(weir_scope_spawn(scope, read_until_it_fails, &reader), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    weir_scope_close(scope);
    assert_int_equal(writer.emit_result, WEIR_ECANCELED);
    assert_int_equal(reader.next_result, WEIR_ECANCELED);
    assert_int_equal(weir_next(reader.source, -1, &chunk), WEIR_ECANCELED);
    assert_int_equal(weir_end(writer.sink, NULL), WEIR_ECANCELED);
    weir_source_destroy(reader.source);
    assert_int_equal(emit_pattern(reader.sink, 1, &reader.in, -1), WEIR_ECLOSED);
    weir_sink_destroy(reader.sink);
    weir_sink_destroy(writer.sink);
    assert_int_equal(drain(writer.source, &writer.out), WEIR_ERESET);
    assert_int_equal(writer.out, 80);
    weir_source_destroy(writer.source);
}

FIBER_TEST(a_late_emit_is_final)
{
    struct weir_sink *sink;
    struct weir_source *source;
    uint64_t in = 0;

    (void)arg;
    assert_int_equal(weir_channel_pair(10, &sink, &source), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, -1), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, weir_after_ms(5)), WEIR_ETIMEDOUT);
    assert_int_equal(weir_end(sink, NULL), WEIR_ETIMEDOUT);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

FIBER_TEST(stall_clocks_name_the_side)
{
    struct world *world = arg;
    struct weir__stall stall;
    struct weir_sink *sink;
    struct weir_source *source;
    struct weir_chunk *chunk;
    uint64_t in = 0;

    weir__stall_begin(&stall, WEIR__STALL_MOVING, world->loop->now_us);
    weir__fiber_current()->stall = &stall;
    assert_int_equal(weir_channel_pair(10, &sink, &source), 0);
    assert_int_equal(weir_next(source, weir_after_ms(7), &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(emit_pattern(sink, 10, &in, -1), 0);
    assert_int_equal(emit_pattern(sink, 10, &in, weir_after_ms(5)), WEIR_ETIMEDOUT);
    weir__fiber_current()->stall = NULL;
    weir__stall_end(&stall, world->loop->now_us);
    assert_int_equal(stall.spent_us[WEIR__STALL_WAIT_SOURCE], 7000);
    assert_int_equal(stall.spent_us[WEIR__STALL_STREAM_WINDOW], 5000);
    assert_int_equal(stall.spent_us[WEIR__STALL_MOVING], 0);
    weir_sink_destroy(sink);
    weir_source_destroy(source);
}

/* ---- generator ---- */

struct generated {
    size_t piece, pieces;
    uint64_t in;
    int result;  /* returned after the pieces; 1: weir_end() */
    int last;    /* what the last emit said */
    bool sleeps; /* before each piece */
    unsigned runs, releases, deferred;
};

static void count_deferred(void *arg)
{
    ((struct generated *)arg)->deferred++;
}

static int generate(struct weir_sink *out, void *arg)
{
    struct generated *generated = arg;

    generated->runs++;
    assert_int_equal(weir_scope_defer(count_deferred, generated), 0);
    for (size_t i = 0; i < generated->pieces; i++) {
        if (generated->sleeps) {
            generated->last = weir_sleep(weir_after_ms(10));
            if (generated->last < 0) {
                return generated->last;
            }
        }
        generated->last = emit_pattern(out, generated->piece, &generated->in, -1);
        if (generated->last < 0) {
            return generated->last;
        }
    }
    return generated->result == 1 ? weir_end(out, NULL) : generated->result;
}

static void release(void *arg)
{
    ((struct generated *)arg)->releases++;
}

static const struct weir_generator_opts generator_opts = {.window_bytes = 1000, .release = release};

FIBER_TEST(a_generator_generates)
{
    struct generated generated = {.piece = 300, .pieces = 50, .result = 1};
    struct weir_source *source;
    uint64_t got;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.runs, 0); /* not before it is asked */
    assert_int_equal(drain(source, &got), 0);
    assert_int_equal(got, 15000);
    weir_source_destroy(source);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.releases, 1);
    assert_int_equal(generated.deferred, 1);
}

FIBER_TEST(a_generator_stays_within_its_window)
{
    struct generated generated = {.piece = 300, .pieces = 50, .result = 1};
    struct weir_source *source;
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    assert_int_equal(generated.in, 900);
    weir_source_destroy(source); /* does not wait */
    assert_int_equal(generated.releases, 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_int_equal(generated.last, WEIR_ECANCELED); /* it waited for room */
    assert_int_equal(generated.releases, 1);
    assert_int_equal(generated.deferred, 1);
}

FIBER_TEST(a_generator_that_fails)
{
    static const struct {
        int result, code;
        enum weir_reason reason;
    } cases[] = {{WEIR_EPROTO, WEIR_EPROTO, WEIR_REASON_HANDLER},
                 {-5, -5, WEIR_REASON_HANDLER},
                 {WEIR_ETIMEDOUT, WEIR_ERESET, WEIR_REASON_HANDLER},
                 {0, WEIR_ERESET, WEIR_REASON_ABANDONED}};

    (void)arg;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct generated generated = {.piece = 300, .pieces = 5, .result = cases[i].result};
        struct weir_source *source;
        struct weir_error error;
        uint64_t got;

        assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
        assert_int_equal(drain(source, &got), cases[i].code);
        assert_int_equal(got, 1500);
        weir_source_error(source, &error);
        assert_int_equal(error.reason, cases[i].reason);
        weir_source_destroy(source);
    }
}

FIBER_TEST(a_generator_nobody_asked_is_released)
{
    struct generated generated = {0};
    struct weir_source *source;

    (void)arg;
    assert_int_equal(weir_source_from_fiber(generate, &generated, &generator_opts, &source), 0);
    weir_source_destroy(source);
    assert_int_equal(generated.runs, 0);
    assert_int_equal(generated.releases, 1);
    assert_int_equal(weir_source_from_fiber(NULL, &generated, NULL, &source), WEIR_EINVAL);
    assert_int_equal(weir_source_from_fiber(generate, &generated,
                                            &(struct weir_generator_opts){.window_bytes = SIZE_MAX},
                                            &source),
                     WEIR_EINVAL);
}

static int pull_one(void *arg)
{
    struct ends *ends = arg;
    struct weir_chunk *chunk;

    ends->next_result = weir_next(ends->source, -1, &chunk);
    return 0;
}

/* By its handle, and by the scope of the fiber that asked first: its sleep ends too. */
FIBER_TEST(a_cancel_reaches_a_sleeping_generator)
{
    (void)arg;
    for (int by_scope = 0; by_scope < 2; by_scope++) {
        struct generated generated = {.piece = 1, .pieces = 1, .sleeps = true, .result = 1};
        struct ends ends = {0};
        struct weir_scope *scope;

        assert_int_equal(
            weir_source_from_fiber(generate, &generated, &generator_opts, &ends.source), 0);
        assert_int_equal(weir_scope_open(&scope), 0);
        assert_int_equal(weir_scope_spawn(scope, pull_one, &ends), 0);
        assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
        if (by_scope) {
            weir_scope_cancel(scope);
        } else {
            weir_cancel(ends.source, WEIR_REASON_FIN);
        }
        weir_scope_close(scope);
        assert_int_equal(ends.next_result, WEIR_ECANCELED);
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
        assert_int_equal(generated.last, WEIR_ECANCELED);
        assert_int_equal(generated.releases, 0); /* the source still lives */
        weir_source_destroy(ends.source);
        assert_int_equal(generated.releases, 1);
    }
}

/* ---- the custom source of the examples ---- */

FIBER_TEST(a_source_of_ones_own)
{
    struct weir_source *source;
    struct weir_chunk *chunk;
    struct weir_scope *scope;
    struct ends ends = {0};
    int64_t begun = weir_now();

    (void)arg;
    assert_int_equal(slow_source_create(3, 100, &source), 0);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_next(source, weir_after_ms(30), &chunk), WEIR_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weir__next(source, 4, -1, &chunk), 1);
        assert_true(weir_view_equal(weir_chunk_view(chunk), weir_str("line")));
        weir_chunk_unref(chunk);
        assert_int_equal(weir_next(source, -1, &chunk), 1);
        assert_int_equal(weir_chunk_len(chunk), 3);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(weir_now() - begun, 300);
    assert_int_equal(weir_next(source, -1, &chunk), 0);
    weir_source_destroy(source);

    assert_int_equal(slow_source_create(3, 1000, &ends.source), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, pull_one, &ends), 0);
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    weir_scope_close(scope);
    assert_int_equal(ends.next_result, WEIR_ECANCELED);
    weir_source_destroy(ends.source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_any_size),
        cmocka_unit_test(bytes_outlive_their_source),
        cmocka_unit_test(bytes_are_charged),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(a_part_of_a_file),
        cmocka_unit_test(a_file_that_shrinks_is_truncated),
        cmocka_unit_test(a_file_that_grows_is_not_followed),
        cmocka_unit_test(a_cold_file_is_read_by_a_thread),
        cmocka_unit_test(a_cold_file_is_asked_for_without_waiting),
        cmocka_unit_test(a_cold_file_may_be_left),
        cmocka_unit_test(a_file_is_lent_to_a_pipe),
        cmocka_unit_test(a_limit_holds_for_a_loan),
        cmocka_unit_test(a_lent_file_that_shrinks_is_truncated),
        cmocka_unit_test(a_file_goes_to_a_sink_without_a_pipe),
        cmocka_unit_test(a_file_that_shrinks_under_its_sender_is_truncated),
        cmocka_unit_test(what_is_lent_of_a_file_is_in_memory),
        cmocka_unit_test(a_channel_is_bounded),
        cmocka_unit_test(a_channel_holds_few_chunks),
        cmocka_unit_test(an_abandoned_producer_is_an_error),
        cmocka_unit_test(a_cancel_wakes_the_producer),
        cmocka_unit_test(an_abort_wakes_the_reader),
        cmocka_unit_test(a_cancelled_scope_ends_both_waits),
        cmocka_unit_test(a_late_emit_is_final),
        cmocka_unit_test(stall_clocks_name_the_side),
        cmocka_unit_test(a_generator_generates),
        cmocka_unit_test(a_generator_stays_within_its_window),
        cmocka_unit_test(a_generator_that_fails),
        cmocka_unit_test(a_generator_nobody_asked_is_released),
        cmocka_unit_test(a_cancel_reaches_a_sleeping_generator),
        cmocka_unit_test(a_source_of_ones_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
