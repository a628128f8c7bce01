/* SPDX-License-Identifier: MIT */
/* Replies from a producer. Invariant: only a producer that returned 0, and whose every byte went out, ends cleanly. */
#include "http/produce.h"

#include "http/request.h"

int weir__produce_take(struct weir_req *req, struct weir_sink *out, weir_producer_fn *producer,
                       void *arg)
{
    /* A body that nobody will see is not made either. */
    int r = req->stream->drop_body ? 0 : producer(out, arg);

    if (r > 0) {
        r = WEIR_EINVAL;
    }
    if (r < 0) {
        weir_abort(out, WEIR_REASON_HANDLER);
    } else if (out->final != 0) { /* else it has ended by itself, with trailers perhaps */
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

int weir_reply_stream(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      weir_producer_fn *producer, void *arg)
{
    struct weir_sink *out = NULL;
    int r = producer != NULL ? weir_stream_begin(req, status, fields, length, &out) : WEIR_EINVAL;

    return r < 0 ? r : weir__produce_take(req, out, producer, arg);
}
