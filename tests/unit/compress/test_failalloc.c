/* SPDX-License-Identifier: MIT */
/*
 * Every allocation fails once, alone or with all after it, those inside the libraries included: nothing leaks, no byte is
 * wrong, and nothing looks like a clean end that is none. Needs the hooks of a debug build.
 */
#include "../stream/stream_test.h"

#include "reference.h"

#include <weir/sources.h>

static const struct step steps[] = {{0, 100, 0}, {5, 300, 0}, {5, 70000, 0}, {0, 0, 0}};
#define TOTAL 70400u

struct attempt {
    struct world world;
    enum weir_coding coding;
    int result;
    uint64_t got;
    bool ended;
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

static void try_sources(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_encode_opts events = {.for_events = true};
    struct script script;
    struct weir_source *source;

    attempt->result = script_source(&script, steps, &source);
    if (attempt->result == 0) {
        attempt->result = weir_encode_take(source, attempt->coding, &events, &source);
    }
    if (attempt->result == 0) {
        attempt->result = weir_decode_take(source, attempt->coding, NULL, &source);
    }
    if (attempt->result == 0) {
        drain(attempt, source);
        weir_source_destroy(source);
    }
    assert_int_equal(script.destroys, 1);
}

/* A pipe through the sink and a channel to a decoder. */
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

static void drop(struct relay *relay, struct weir_source *out)
{
    weir_source_destroy(relay->from);
    weir_sink_destroy(relay->to);
    weir_source_destroy(out);
}

static void try_sink(void *arg)
{
    struct attempt *attempt = arg;
    struct weir_encode_opts events = {.for_events = true};
    struct script script;
    struct relay relay = {NULL, NULL};
    struct weir_source *out = NULL;
    struct weir_scope *scope;

    attempt->result = script_source(&script, steps, &relay.from);
    if (attempt->result < 0) {
        return;
    }
    attempt->result = weir_channel_pair(5000, &relay.to, &out);
    if (attempt->result == 0) {
        struct weir_sink *inner = relay.to;

        relay.to = NULL;
        attempt->result = weir_compress_sink_take(inner, attempt->coding, &events, &relay.to);
    }
    if (attempt->result == 0) {
        struct weir_source *inner = out;

        out = NULL;
        attempt->result = weir_decode_take(inner, attempt->coding, NULL, &out);
    }
    if (attempt->result == 0) {
        attempt->result = weir_scope_open(&scope);
    }
    if (attempt->result < 0) {
        drop(&relay, out);
        return;
    }
    attempt->result = weir_scope_spawn(scope, relay_child, &relay);
    if (attempt->result < 0) {
        weir_scope_close(scope);
        drop(&relay, out);
        return;
    }
    drain(attempt, out);
    weir_source_destroy(out);
    weir_scope_close(scope);
    assert_int_equal(script.destroys, 1);
}

#define CLEAN_PASSES 30

static void fail_each(void (*fn)(void *arg), enum weir_coding coding, void (*arm)(int64_t n))
{
    unsigned clean = 0;

    for (int64_t n = 1; clean < CLEAN_PASSES; n++) {
        struct attempt attempt = {.coding = coding, .result = 1};
        bool started;

        assert_true(n < 3000);
        seed_now = (uint64_t)n;
        arm(n);
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

static void sources(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        fail_each(try_sources, all_codings[i], weir__alloc_fail_at);
        fail_each(try_sources, all_codings[i], weir__alloc_fail_only);
    }
}

static void sinks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_CODINGS; i++) {
        fail_each(try_sink, all_codings[i], weir__alloc_fail_at);
        fail_each(try_sink, all_codings[i], weir__alloc_fail_only);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources),
        cmocka_unit_test(sinks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
