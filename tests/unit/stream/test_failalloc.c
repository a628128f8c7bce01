/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once, with all after it: the n-th, for n = 1, 2, ... until a run needs fewer. Whatever fails must
 * be an error, never a clean end or a lost byte, and leave nothing behind. Needs the hooks of a debug build; in a release
 * build each program simply runs.
 */
#include <weir/combinators.h>
#include <weir/sources.h>

#include "stream_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct attempt {
    struct world world;
    int result;   /* of the last call */
    uint64_t got; /* bytes that were right */
    bool ended;   /* a clean end was seen */
};

static void drain(struct attempt *attempt, struct weir_source *source)
{
    struct weir_chunk *chunk;
    int r;

    while ((r = weir_next(source, -1, &chunk)) > 0) {
        attempt->got += pattern_check(chunk, attempt->got);
    }
    attempt->result = r;
    attempt->ended = r == 0;
}

static const struct step steps[] = {
    {0, 100, 0}, {5, 100, 0}, {0, 100, 0}, {5, 100000, 0}, {0, 0, 0}};
#define TOTAL 100300u

static int chain_on(struct weir_source *source, struct weir_source **ret)
{
    int r = weir_limit_create_take(source, TOTAL, &source);

    if (r == 0) {
        r = weir_rechunk_create_take(source, 1000, 0, &source);
    }
    if (r == 0) {
        r = weir_timeout_create_take(source, 1000, 100000, &source);
    }
    if (r == 0) {
        r = weir_rate_create_take(source, 100000, 50000, &source);
    }
    if (r == 0) {
        *ret = source;
    }
    return r;
}

static void try_chain(void *arg)
{
    struct attempt *attempt = arg;
    struct script script;
    struct weir_source *source;

    attempt->result = script_source(&script, steps, &source);
    if (attempt->result < 0) {
        assert_int_equal(script.destroys, 1);
        return;
    }
    attempt->result = chain_on(source, &source);
    if (attempt->result == 0) {
        drain(attempt, source);
        weir_source_destroy(source);
    }
    assert_int_equal(script.destroys, 1); /* given means given, at every failure */
    assert_true(script.cancels <= 1);
}

static void try_bytes(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_source *source;
    uint8_t *bytes = malloc(TOTAL);

    pattern_fill(bytes, TOTAL, 0);
    attempt->result = weir_bytes_source_create(weir_bytes(bytes, TOTAL), &source);
    free(bytes);
    if (attempt->result == 0) {
        drain(attempt, source);
        weir_source_destroy(source);
    }
}

static void try_file(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_source *source;
    uint8_t *bytes = malloc(TOTAL);
    int fd = memfd_create("test", MFD_CLOEXEC);

    pattern_fill(bytes, TOTAL, 0);
    assert_int_equal(write(fd, bytes, TOTAL), TOTAL);
    free(bytes);
    attempt->result = weir_file_source_create_take(fd, 0, WEIR_FILE_REST, &source);
    if (attempt->result == 0) {
        drain(attempt, source);
        weir_source_destroy(source);
    }
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* The same from a disk, as far as there is one: what is not in memory is read by a thread. */
static int cold_fd;

static void try_cold_file(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_source *source;

    assert_int_equal(posix_fadvise(cold_fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    attempt->result = weir_file_source_create_take(dup(cold_fd), 0, WEIR_FILE_REST, &source);
    if (attempt->result == 0) {
        drain(attempt, source);
        weir_source_destroy(source);
    }
}

static int generate(struct weir_sink *out, void *arg)
{
    uint64_t position = 0;
    int r = 0;

    (void)arg;
    while (r == 0 && position < TOTAL) {
        uint8_t bytes[300];

        pattern_fill(bytes, sizeof(bytes), position);
        r = weir_emit_bytes(out, weir_bytes(bytes, TOTAL - position < 300 ? TOTAL - position : 300),
                            -1);
        position += 300;
    }
    /* A careless one: the result of the emits is dropped, and still there is no clean end. */
    WEIR_IGNORE(weir_end(out, NULL));
    return 0;
}

static unsigned releases;

static void count_release(void *arg)
{
    (void)arg;
    releases++;
}

static void try_generator(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_source *source;

    releases = 0;
    attempt->result = weir_source_from_fiber(
        generate, NULL,
        &(struct weir_generator_opts){.window_bytes = 1000, .release = count_release}, &source);
    if (attempt->result < 0) {
        assert_int_equal(releases, 0);
        return;
    }
    drain(attempt, source);
    weir_source_destroy(source);
    weir_yield();
    assert_int_equal(releases, 1);
}

/* A pipe into a channel, read by another fiber. */
struct relay {
    struct weir_source *from;
    struct weir_sink *to;
};

static int relay_child(void *arg)
{
    struct relay *relay = arg;
    int r = weir_pipe(relay->from, relay->to, NULL, NULL);

    weir_source_destroy(relay->from);
    weir_sink_destroy(relay->to);
    return r;
}

static void try_pipe(void *arg)
{
    struct attempt *attempt = arg;
    struct script script;
    struct relay relay;
    struct weir_source *out;
    struct weir_scope *scope;

    attempt->result = script_source(&script, steps, &relay.from);
    if (attempt->result < 0) {
        return;
    }
    attempt->result = weir_channel_pair(1000, &relay.to, &out);
    if (attempt->result < 0) {
        weir_source_destroy(relay.from);
        return;
    }
    attempt->result = weir_scope_open(&scope);
    if (attempt->result == 0) {
        attempt->result = weir_scope_spawn(scope, relay_child, &relay);
        if (attempt->result < 0) {
            weir_scope_close(scope);
        }
    }
    if (attempt->result < 0) {
        weir_source_destroy(relay.from);
        weir_sink_destroy(relay.to);
        weir_source_destroy(out);
        return;
    }
    drain(attempt, out);
    weir_source_destroy(out);
    weir_scope_close(scope);
    assert_int_equal(script.destroys, 1);
}

/* A run may end although an allocation failed where it does not matter (a chunk that is not joined), so the walk stops
 * after many clean passes in a row. */
#define CLEAN_PASSES 60

static void fail_each(void (*fn)(void *arg))
{
    unsigned clean = 0;

    for (int64_t n = 1; clean < CLEAN_PASSES; n++) {
        struct attempt attempt = {.result = 1};
        bool started;

        assert_true(n < 5000);
        seed_now = (uint64_t)n;
        weir__alloc_fail_at(n);
        started = world_run(&attempt.world, fn, &attempt);
        weir__alloc_fail_at(0);
        if (attempt.ended) {
            assert_int_equal(attempt.got, TOTAL);
            clean++;
        } else {
            assert_true(!started || attempt.result < 0);
            clean = 0;
        }
    }
}

static void chain(void **state)
{
    (void)state;
    fail_each(try_chain);
}

static void bytes(void **state)
{
    (void)state;
    fail_each(try_bytes);
}

static void file(void **state)
{
    (void)state;
    fail_each(try_file);
}

static void cold_file(void **state)
{
    uint8_t *content = malloc(TOTAL);
    FILE *temporary = tmpfile();

    (void)state;
    pattern_fill(content, TOTAL, 0);
    assert_int_equal(fwrite(content, 1, TOTAL, temporary), TOTAL);
    free(content);
    assert_int_equal(fflush(temporary), 0);
    cold_fd = fileno(temporary);
    assert_int_equal(fsync(cold_fd), 0);
    fail_each(try_cold_file);
    fclose(temporary);
}

static void generator(void **state)
{
    (void)state;
    fail_each(try_generator);
}

static void piped(void **state)
{
    (void)state;
    fail_each(try_pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain),     cmocka_unit_test(bytes),     cmocka_unit_test(file),
        cmocka_unit_test(cold_file), cmocka_unit_test(generator), cmocka_unit_test(piped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
