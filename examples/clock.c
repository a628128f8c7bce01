/* SPDX-License-Identifier: MIT */
/*
 * A clock as an event stream. The handler is a plain loop: it paces itself, and it stops when the client leaves.
 *
 *     curl -N http://127.0.0.1:8000/?count=5
 *
 * Query: count [10; 0: until the client leaves], interval_ms [1000].
 */
#include <weir/sse.h>

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "common.h"

#define TIME_BYTES ((size_t)40)

static struct weir_view now_text(char text[TIME_BYTES])
{
    struct timespec now;
    struct tm utc;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    len = strftime(text, TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(text + len, TIME_BYTES - len, ".%03ldZ", now.tv_nsec / 1000000);
    return weir_bytes(text, len);
}

static int clock_events(struct weir_req *req, void *arg)
{
    uint64_t count = weir_req_query_u64(req, "count", 10);
    uint64_t interval_ms = weir_req_query_u64(req, "interval_ms", 1000);
    struct weir_sink *out = NULL;
    char text[TIME_BYTES], id[24];
    int64_t next;
    int r;

    (void)arg;
    if (interval_ms < 1 || interval_ms > 3600000) {
        return weir_reply_text(req, 400, "interval_ms is 1 to 3600000\n");
    }
    r = weir_sse_begin(req, 200, NULL, &out);
    next = weir_now();
    for (uint64_t i = 1; r == 0 && (count == 0 || i <= count); i++) {
        /* From one deadline to the next, not from now: the clock does not drift. */
        next += (int64_t)interval_ms;
        r = weir_sleep(next); /* WEIR_ECANCELED when the client is gone */
        if (r == 0) {
            snprintf(id, sizeof(id), "%" PRIu64, i);
            r = weir_sse_emit(
                out, &(struct weir_event){.event = "tick", .id = id, .data = now_text(text)});
        }
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

int main(int argc, char **argv)
{
    return example_main(
        argc, argv,
        &(struct example){
            .name = "clock",
            .about = "sends the time as server-sent events; query: count, interval_ms",
            .handler = clock_events,
        });
}
