/* SPDX-License-Identifier: MIT */
/* Files: whole and in part, cold and warm, lent to pipes and sinks, shrinking and growing meanwhile. */
#include <weir/combinators.h>

#include "sources_test.h"
#include "stream/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

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

/* Brings pages and nothing around them: all but each n-th, or, n being negative, only those. */
static void read_each_page(int fd, off_t len, int n)
{
    int64_t page = 0;
    uint8_t byte;

    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
    for (off_t at = 0; at < len; at += 4096, page++) {
        if (n < 0 ? page % -n == 0 : page % n != n - 1) {
            assert_int_equal(pread(fd, &byte, 1, at), 1);
        }
    }
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL), 0);
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
static void expect_what_is_lent_in_memory(int files)
{
    for (int i = 0; i < files; i++) {
        int fd = cold_file(9000000);
        struct weir_source *source;
        size_t cold;

        if (i % 10 == 0) {
            /* All but a page here and there, which some looks are not likely to hit. */
            read_each_page(fd, 9000000, 181);
            assert_in_range(missing_pages(fd, 0, 9000000), 1, 40);
        } else if (i % 3 == 1) {
            static char some[40000];

            assert_int_equal(pread(fd, some, sizeof(some), 0),
                             sizeof(some)); /* warm at its begin */
        } else if (i % 3 == 2) {
            /* Pages here and there, as others leave them who have looked whether a file is in memory. */
            read_each_page(fd, 9000000, -32);
        }
        assert_int_equal(weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source), 0);
        cold = lent_cold(source, 9000000, i < files * 3 / 4 ? -1 : 0);
        assert_int_equal(cold, 0);
        weir_source_destroy(source);
    }
}

FIBER_TEST(what_is_lent_of_a_file_is_in_memory)
{
    (void)arg;
    expect_what_is_lent_in_memory(20);
}

/* Linux before 6.5, and files that one may not ask about. */
FIBER_TEST(what_is_lent_is_in_memory_without_cachestat_too)
{
    (void)arg;
    weir__file_without_cachestat(true);
    expect_what_is_lent_in_memory(60);
    weir__file_without_cachestat(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(what_is_lent_is_in_memory_without_cachestat_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
