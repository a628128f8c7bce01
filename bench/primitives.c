/* SPDX-License-Identifier: MIT */
/*
 * What the parts cost of which handlers are made, in ns each; bench/peers/primitives.go has Go's beside them. The test
 * kit gives the loop. Prints the best of ROUNDS as a line of JSON.
 *
 *     primitives
 */
#include <weir/test.h>
#include <weir/weir.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rt/fiber.h"
#include "rt/loop.h"

#define ROUNDS 7
#define TIMES 1000000
#define CHUNK_BYTES 1024

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void must(int r)
{
    if (r < 0) {
        fprintf(stderr, "primitives: %s\n", weir_strerror(r));
        exit(1);
    }
}

static int yields(void *arg)
{
    (void)arg;
    for (int i = 0; i < TIMES / 2; i++) {
        must(weir_yield());
    }
    return 0;
}

/* Two fibers that let each other run, and the loop look for events in between. */
static void turns(void)
{
    struct weir_scope *scope = NULL;

    must(weir_scope_open(&scope));
    must(weir_scope_spawn(scope, yields, NULL));
    must(weir_scope_spawn(scope, yields, NULL));
    must(weir_scope_join(scope, -1));
    weir_scope_close(scope);
}

struct pair {
    struct weir__fiber *fibers[2];
    unsigned begun;
};

/* Wakes the other one and waits to be woken. */
static int swings(void *arg)
{
    struct pair *pair = arg;
    unsigned mine = pair->begun++;

    pair->fibers[mine] = weir__fiber_current();
    must(weir_yield()); /* now both are there */
    for (int i = 0; i < TIMES / 2; i++) {
        weir__fiber_wake(pair->fibers[!mine]);
        must(weir__fiber_suspend(WEIR__NEVER));
    }
    pair->fibers[mine] = NULL;
    if (pair->fibers[!mine] != NULL) {
        weir__fiber_wake(pair->fibers[!mine]);
    }
    return 0;
}

static void switches(void)
{
    struct pair pair = {{NULL}, 0};
    struct weir_scope *scope = NULL;

    must(weir_scope_open(&scope));
    must(weir_scope_spawn(scope, swings, &pair));
    must(weir_scope_spawn(scope, swings, &pair));
    must(weir_scope_join(scope, -1));
    weir_scope_close(scope);
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* Children that end at once, a hundred at a time. */
static void spawns(void)
{
    struct weir_scope *scope = NULL;

    must(weir_scope_open(&scope));
    for (int i = 0; i < TIMES / 100; i++) {
        for (int k = 0; k < 100; k++) {
            must(weir_scope_spawn(scope, nothing, NULL));
        }
        must(weir_scope_join(scope, -1));
    }
    weir_scope_close(scope);
}

static int sends(void *arg)
{
    for (int i = 0; i < TIMES; i++) {
        must(weir_channel_send(arg, arg, 1, -1));
    }
    weir_channel_close(arg, 0);
    return 0;
}

/* From one fiber to another through a channel of that many items. */
static void pass(size_t items)
{
    const struct weir_channel_opts opts = {.max_items = items};
    struct weir_channel *channel = NULL;
    struct weir_scope *scope = NULL;
    void *item;
    int r, count = 0;

    must(weir_channel_create(&opts, &channel));
    must(weir_scope_open(&scope));
    must(weir_scope_spawn(scope, sends, channel));
    while ((r = weir_channel_recv(channel, -1, &item)) == 1) {
        count++;
    }
    must(r == 0 && count == TIMES ? 0 : WEIR_EIO);
    weir_scope_close(scope);
    weir_channel_unref(channel);
}

static void channel_of_16(void)
{
    pass(16);
}

static void channel_of_1(void)
{
    pass(1);
}

/* Sends to its own mailbox, 16 messages at a time, and receives them. */
static void mailbox(void)
{
    struct weir_sender *sender = weir_sender_create();
    struct weir_msg msg;

    must(sender == NULL ? WEIR_ENOMEM : 0);
    for (int i = 0; i < TIMES / 16; i++) {
        for (int k = 0; k < 16; k++) {
            must(weir_send(sender, &(struct weir_msg){.tag = 1}));
        }
        for (int k = 0; k < 16; k++) {
            must(weir_receive(0, &msg));
            weir_msg_drop(&msg);
        }
    }
    weir_sender_unref(sender);
}

struct repeat {
    struct weir_chunk *chunk;
    int left;
};

static int repeat_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct repeat *repeat = state;

    (void)max_bytes;
    (void)deadline;
    if (repeat->left == 0) {
        return 0;
    }
    repeat->left--;
    *ret = weir_chunk_ref(repeat->chunk);
    return 1;
}

static int same(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret)
{
    (void)arg;
    *ret = weir_chunk_ref(chunk);
    return 1;
}

static bool keep(void *arg, struct weir_view chunk)
{
    (void)arg;
    return chunk.len > 0;
}

static void look(void *arg, struct weir_view chunk)
{
    *(uint64_t *)arg += chunk.len;
}

/* A source that repeats one chunk of 1 KiB, read through that many combinators. */
static void read_through(int combinators)
{
    static const struct weir_source_ops ops = {.name = "repeat", .next = repeat_next};
    static const uint8_t zeros[CHUNK_BYTES];
    struct repeat repeat = {NULL, TIMES};
    struct weir_source *source = NULL;
    struct weir_chunk *chunk;
    uint64_t seen = 0;
    int r, count = 0;

    must(weir_chunk_copy(weir_bytes(zeros, sizeof(zeros)), &repeat.chunk));
    must(weir_source_create_take(&ops, &repeat, &source));
    if (combinators > 0) {
        must(weir_limit_create_take(source, UINT64_MAX / 2, &source));
        must(weir_map_create_take(source, same, NULL, &source));
        must(weir_filter_create_take(source, keep, NULL, &source));
        must(weir_inspect_create_take(source, look, &seen, &source));
        must(weir_timeout_create_take(source, 60000, 0, &source));
    }
    while ((r = weir_next(source, -1, &chunk)) == 1) {
        count++;
        weir_chunk_unref(chunk);
    }
    must(r == 0 && count == TIMES ? 0 : WEIR_EIO);
    weir_source_destroy(source);
    weir_chunk_unref(repeat.chunk);
}

static void bare_next(void)
{
    read_through(0);
}

static void next_through_five(void)
{
    read_through(5);
}

static int measure(struct weir_req *req, void *arg)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"fiber switch", switches},
        {"yield, with its share of a look for events", turns},
        {"fiber spawn, run, end", spawns},
        {"channel of 16, send and receive", channel_of_16},
        {"channel of 1, send and receive", channel_of_1},
        {"mailbox, send and receive", mailbox},
        {"weir_next of a source", bare_next},
        {"weir_next through five combinators", next_through_five},
    };

    (void)arg;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int64_t best = INT64_MAX;

        for (int round = 0; round < ROUNDS; round++) {
            int64_t begin = now_ns();

            parts[i].run();
            best = now_ns() - begin < best ? now_ns() - begin : best;
        }
        printf("%s\"%s\": %.1f", i == 0 ? "{" : ", ", parts[i].name, (double)best / TIMES);
    }
    printf("}\n");
    return weir_reply_empty(req, 204, NULL);
}

int main(void)
{
    const struct weir_test_opts opts = {.real_time = true, .limit_ms = 600000};
    struct weir_test *test = NULL;
    struct weir_test_result result;
    int r = weir_test_run(measure, NULL, &opts, &test);

    if (r == 0) {
        weir_test_result(test, &result);
        r = result.returned;
    }
    if (r < 0) {
        fprintf(stderr, "primitives: %s\n", weir_strerror(r));
    }
    weir_test_destroy(test);
    return r < 0;
}
