/* SPDX-License-Identifier: MIT */
/*
 * Event streams: an event is one chunk and one emit, so that it leaves whole. Keeps no state of its own: the sink is
 * the reply's.
 */
#include <weir/sse.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "bytes/chunk.h"
#include "http/sse_encode.h"
#include "rt/loop.h"
#include "rt/relay.h"

#define FLUSH_AFTER_US 1000 /* without a wait */

/* Readers must get each event as it comes: no cache keeps it, and no proxy on the way collects it. */
static const struct {
    const char *name, *value;
} stream_fields[] = {
    {"Content-Type", "text/event-stream"},
    {"Cache-Control", "no-cache"},
    {"X-Accel-Buffering", "no"},
};
#define STREAM_FIELDS (sizeof(stream_fields) / sizeof(stream_fields[0]))

static bool is_stream_field(struct weir_view name)
{
    for (size_t i = 0; i < STREAM_FIELDS; i++) {
        if (weir_view_equal_nocase(name, weir_str(stream_fields[i].name))) {
            return true;
        }
    }
    return false;
}

int weir_sse_begin(struct weir_req *req, int status, struct weir_fields *fields,
                   struct weir_sink **ret)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *all = NULL;
    int r = weir_fields_create(&all);

    for (size_t i = 0; r == 0 && i < STREAM_FIELDS; i++) {
        r = weir_fields_add_borrowed(all, weir_str(stream_fields[i].name),
                                     weir_str(stream_fields[i].value));
    }
    for (size_t i = 0; r == 0 && i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (!is_stream_field(field.name)) {
            r = weir_fields_add_borrowed(all, field.name, field.value);
        }
    }
    return r < 0 ? r : weir_stream_begin(req, status, all, WEIR_LENGTH_UNKNOWN, ret);
}

/* A chunk of any size; those that no pool has are wrapped heap blocks. */
static int chunk_of_size(size_t size, uint8_t **ret_bytes, struct weir_chunk **ret)
{
    uint8_t *block;
    int r;

    if (size <= WEIR__CHUNK_MAX) {
        r = weir_chunk_create(size, ret);
        if (r == 0) {
            *ret_bytes = weir_chunk_data(*ret);
        }
        return r;
    }
    block = weir_alloc(size);
    if (block == NULL) {
        return WEIR_ENOMEM;
    }
    r = weir_chunk_wrap(weir_bytes(block, size), weir_free, block, ret);
    if (r < 0) {
        weir_free(block);
        return r;
    }
    *ret_bytes = block;
    return 0;
}

/* Sends an event whole. A handler that waits flushes by waiting; one that computes for long must not hold it back. */
static int send_take(struct weir_sink *sink, struct weir_chunk *chunk)
{
    struct weir__loop *loop = weir__loop_current();
    int r = weir_emit_take(sink, chunk, -1);

    if (r == 0 && weir__loop_clock_us(loop) - loop->now_us >= FLUSH_AFTER_US) {
        r = weir_flush(sink);
    }
    return r;
}

WEIR__RELAY_2(int, relay_sse_emit, weir_sse_emit, struct weir_sink *, const struct weir_event *)

int weir_sse_emit(struct weir_sink *sink, const struct weir_event *event)
{
    if (weir__relay_here != NULL) {
        return relay_sse_emit(sink, event);
    }

    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r = weir__sse_size(event, &size);

    if (r == 0) {
        r = chunk_of_size(size, &bytes, &chunk);
    }
    if (r == 0) {
        r = weir__sse_encode(event, bytes, size, &size);
    }
    return r < 0 ? r : send_take(sink, weir_take(chunk));
}

WEIR__RELAY_2(int, relay_sse_comment, weir_sse_comment, struct weir_sink *, struct weir_view)

int weir_sse_comment(struct weir_sink *sink, struct weir_view text)
{
    if (weir__relay_here != NULL) {
        return relay_sse_comment(sink, text);
    }

    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *chunk = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r = weir__sse_comment_size(text, &size);

    if (r == 0) {
        r = chunk_of_size(size, &bytes, &chunk);
    }
    if (r == 0) {
        r = weir__sse_comment_encode(text, bytes, size, &size);
    }
    return r < 0 ? r : send_take(sink, weir_take(chunk));
}
