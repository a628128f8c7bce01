/* SPDX-License-Identifier: MIT */
/* Frames of event and record streams. Keeps no state: the sink is the reply's. */
#include "http/frame.h"

#include "base/alloc.h"
#include "bytes/chunk.h"
#include "rt/loop.h"
#include "stream/stream.h"

#define FLUSH_AFTER_US 1000 /* without a wait */

static int create(size_t size, uint8_t **ret_bytes, struct weir_chunk **ret)
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
    block = weir_alloc(size); /* no pool has such chunks */
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

int weir__frame_create(struct weir_sink *sink, size_t size, uint8_t **ret_bytes,
                       struct weir_chunk **ret)
{
    int r = create(size, ret_bytes, ret);

    if (r < 0 && sink->busy) {
        return WEIR_EBUSY; /* another fiber's sink is left as it is */
    }
    if (r < 0) {
        weir__sink_settle(sink, r);
    }
    return r;
}

/* A handler that waits flushes by waiting; one that computes for long must not hold a frame back. */
int weir__frame_send_take(struct weir_sink *sink, struct weir_chunk *frame)
{
    struct weir__loop *loop = weir__loop_current();
    int r = weir_emit_take(sink, frame, -1);

    if (r == 0 && weir__loop_clock_us(loop) - loop->now_us >= FLUSH_AFTER_US) {
        r = weir_flush(sink);
    }
    return r;
}
