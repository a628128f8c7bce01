/* SPDX-License-Identifier: MIT */
/*
 * What very many idle event streams take: each a request with a handler in its own fiber that has sent a comment and waits
 * for its topic. On the memory transport, so without what sockets take.
 *
 *     idle STREAMS trimmed|untrimmed
 *
 * A loop on a fake clock trims no stacks: that is the second form.
 */
#include <weir/weir.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "http/memory.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#define SETTLE_MS 1000

static struct weir_topic *topic;
static struct weir__memory **streams;
static size_t stream_count, begun, ended;
static double bytes_before;

static int64_t fake_clock(void *arg)
{
    return *(int64_t *)arg;
}

/* Resident bytes of this process. */
static double resident(void)
{
    unsigned long total, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &total, &pages) != 2) {
            pages = 0;
        }
        fclose(file);
    }
    return (double)pages * 4096;
}

static int idle(struct weir_req *req, void *arg)
{
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item;
    struct weir_sink *out = NULL;
    int r = weir_topic_subscribe(topic, NULL, &subscription);

    (void)arg;
    if (r >= 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    if (r == 0) {
        weir_req_drop_head(req);
        r = weir_sse_comment(out, weir_str("k"));
    }
    begun += r == 0;
    while (r == 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_chunk_view(item.chunk)});
        weir_topic_item_drop(&item);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    ended += r == 0;
    weir_sink_destroy(out);
    weir_subscription_destroy(subscription);
    return r;
}

static void control(void *arg)
{
    struct weir__loop *loop = weir__loop_current();
    double bytes;

    (void)arg;
    for (size_t i = 0; i < stream_count; i++) {
        const struct weir__memory_opts opts = {.untraced = true};

        if (weir__memory_create(loop, &opts, &streams[i]) < 0 ||
            weir__memory_request(streams[i], idle, NULL) < 0) {
            fprintf(stderr, "idle: no memory for stream %zu\n", i);
            exit(1);
        }
        if (i % 1000 == 999) {
            weir__fiber_yield();
        }
    }
    WEIR_IGNORE(weir__fiber_suspend(weir__loop_clock_us(loop) + SETTLE_MS * 1000));
    bytes = resident();
    printf("{\"streams\": %zu, \"rss_mb\": %.1f, \"kb_per_stream\": %.2f}\n", begun, bytes / 1e6,
           (bytes - bytes_before) / 1e3 / (double)stream_count);
    weir_topic_close(topic, 0);
}

int main(int argc, char **argv)
{
    int64_t fake_us = 1000000;
    bool trimmed = argc == 3 && strcmp(argv[2], "trimmed") == 0;
    struct weir__loop *loop = NULL;

    stream_count = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    if (stream_count == 0 || (!trimmed && strcmp(argv[2], "untrimmed") != 0)) {
        fprintf(stderr, "usage: idle STREAMS trimmed|untrimmed\n");
        return 2;
    }
    bytes_before = resident();
    streams = calloc(stream_count, sizeof(struct weir__memory *));
    if (streams == NULL || weir_topic_create(NULL, &topic) < 0 ||
        weir__loop_create(trimmed ? NULL : fake_clock, &fake_us, &loop) < 0 ||
        weir__fiber_start(loop, control, NULL, &(struct weir__fiber *){NULL}) < 0) {
        fprintf(stderr, "idle: no memory\n");
        return 1;
    }
    weir__loop_run_until_idle(loop);
    for (size_t i = 0; i < stream_count; i++) {
        weir__memory_destroy(streams[i]);
    }
    weir__loop_destroy(loop);
    weir_topic_unref(topic);
    free(streams);
    return begun != stream_count || ended != stream_count;
}
