/* SPDX-License-Identifier: MIT */
/* Replies from a producer. Invariant: only a producer that returned 0, and whose every byte went out, ends cleanly. */
#include "http/produce.h"

#include <weir/blocking.h>

#include "http/request.h"

struct ending {
    struct weir_sink *out;
    int r;
};

/* In the fiber, also for a producer on a pool's thread: whether the sink has ended is the loop's to know. */
static int end_take(void *arg)
{
    struct ending *ending = arg;
    int r = ending->r;

    if (r < 0) {
        weir_abort(ending->out, WEIR_REASON_HANDLER);
    } else if (ending->out->final != 0) { /* else it has ended by itself, with trailers perhaps */
        r = weir_end(ending->out, NULL);
    }
    weir_sink_destroy(ending->out);
    return r;
}

int weir__produce_take(struct weir_req *req, struct weir_sink *out, weir_producer_fn *producer,
                       void *arg)
{
    /* A body that nobody will see is not made either. */
    int r = req->stream->drop_body ? 0 : producer(out, arg);

    return weir_blocking_on_loop(end_take, &(struct ending){out, r > 0 ? WEIR_EINVAL : r});
}

int weir_reply_stream(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      weir_producer_fn *producer, void *arg)
{
    struct weir_sink *out = NULL;
    int r = producer != NULL ? weir_stream_begin(req, status, fields, length, &out) : WEIR_EINVAL;

    return r < 0 ? r : weir__produce_take(req, out, producer, arg);
}
