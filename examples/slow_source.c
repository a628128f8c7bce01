/* SPDX-License-Identifier: MIT */
/*
 * A source written by hand: lines that come one by one, with a pause before each. It shows what a struct
 * weir_source_ops has to do. Everything that takes a source takes this one: here it becomes the body of a reply, and
 * the pull of a client that reads is what makes it produce.
 *
 *     curl -N http://127.0.0.1:8000/?lines=5&interval_ms=300
 *
 * Query: lines [10], interval_ms [500], fail_at [0: never; n: the source fails at line n, and the client sees that].
 */
#include <weir/channel.h>
#include <weir/http.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common.h"

struct slow_source {
    uint64_t line, lines, fail_at;
    int64_t interval_ms;
    int64_t due; /* when the next line is there; 0: nobody has asked for it */
    /* Never carries anything: waiting for it is a sleep that cancel() can end, whoever sleeps. */
    struct weir_channel *bell;
};

static int slow_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct slow_source *source = state;
    int64_t until;
    void *nothing;
    char text[80];
    int len, r;

    if (source->line == source->lines) {
        return 0;
    }
    /* Produces on demand: the pause begins with the first call that asks. */
    if (source->due == 0) {
        source->due = weir_after_ms(source->interval_ms);
    }
    if (weir_now() < source->due) {
        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        until = deadline > 0 && deadline < source->due ? deadline : source->due;
        r = weir_channel_recv(source->bell, until, &nothing);
        if (r != WEIR_ETIMEDOUT) {
            return WEIR_ECANCELED; /* cancel() has rung, or the scope of this fiber was cancelled */
        }
        if (weir_now() < source->due) {
            return WEIR_ETIMEDOUT; /* the caller's deadline; the source is as it was */
        }
    }
    if (source->line + 1 == source->fail_at) {
        return WEIR_EIO;
    }
    len = snprintf(text, sizeof(text), "line %" PRIu64 " of %" PRIu64 "\n", source->line + 1,
                   source->lines);
    if (len < 0 || (size_t)len > max_bytes) {
        return WEIR_ELIMIT;
    }
    r = weir_chunk_copy(weir_bytes(text, (size_t)len), ret);
    if (r < 0) {
        return r;
    }
    source->line++;
    source->due = 0;
    return 1;
}

static void slow_cancel(void *state, enum weir_reason reason)
{
    struct slow_source *source = state;

    (void)reason;
    weir_channel_abort(source->bell);
}

static void slow_destroy(void *state)
{
    struct slow_source *source = state;

    weir_channel_unref(source->bell);
    free(source);
}

static const struct weir_source_ops slow_ops = {
    .name = "slow",
    .next = slow_next,
    .cancel = slow_cancel,
    .destroy = slow_destroy,
};

static int slow_source_create(uint64_t lines, uint64_t interval_ms, uint64_t fail_at,
                              struct weir_source **ret)
{
    struct slow_source *source = calloc(1, sizeof(*source));
    int r;

    if (source == NULL) {
        return WEIR_ENOMEM;
    }
    source->lines = lines;
    source->interval_ms = (int64_t)interval_ms;
    source->fail_at = fail_at;
    r = weir_channel_create(NULL, &source->bell);
    if (r < 0) {
        free(source);
        return r;
    }
    return weir_source_create_take(&slow_ops, source, ret); /* frees it also when it fails */
}

static int handle(struct weir_req *req, void *arg)
{
    struct weir_source *source = NULL;
    uint64_t interval_ms = weir_req_query_u64(req, "interval_ms", 500);
    int r;

    (void)arg;
    if (interval_ms > 3600000) {
        return weir_reply_text(req, 400, "interval_ms is at most 3600000\n");
    }
    r = slow_source_create(weir_req_query_u64(req, "lines", 10), interval_ms,
                           weir_req_query_u64(req, "fail_at", 0), &source);
    return r < 0 ? r : weir_reply_source_take(req, 200, NULL, WEIR_LENGTH_UNKNOWN, source);
}

int main(int argc, char **argv)
{
    return example_main(
        argc, argv,
        &(struct example){
            .name = "slow_source",
            .about = "a source of its own as a reply; query: lines, interval_ms, fail_at",
            .handler = handle,
        });
}
