/* SPDX-License-Identifier: MIT */
/*
 * Records, one a line. Invariant: the only line ends on the wire are those behind the records. Does not look at the JSON:
 * inside one, RFC 8259 has every control character escaped, so a raw line end is never a part of it.
 */
#include <weir/ndjson.h>

#include "base/cleanup.h"
#include "http/frame.h"
#include "http/produce.h"
#include "http/reply_fields.h"
#include "rt/relay.h"

int weir_ndjson_begin(struct weir_req *req, int status, struct weir_fields *fields,
                      struct weir_sink **ret)
{
    const struct weir__reply_field own[] = {
        {"Content-Type", weir_str("application/x-ndjson"), true},
        {"X-Accel-Buffering", weir_str("no"), false},
    };
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *all = NULL;
    int r = weir__reply_fields(fields, own, sizeof(own) / sizeof(own[0]), &all);

    return r < 0 ? r : weir_stream_begin(req, status, all, WEIR_LENGTH_UNKNOWN, ret);
}

WEIR__RELAY_2(int, relay_ndjson_emit, weir_ndjson_emit, struct weir_sink *, struct weir_view)

int weir_ndjson_emit(struct weir_sink *sink, struct weir_view record)
{
    if (weir__relay_here != NULL) {
        return relay_ndjson_emit(sink, record);
    }

    struct weir_chunk *frame;
    uint8_t *bytes;
    int r;

    if (record.len == 0 || memchr(record.data, '\n', record.len) != NULL ||
        memchr(record.data, '\r', record.len) != NULL) {
        return WEIR_EINVAL;
    }
    if (record.len == SIZE_MAX) {
        return WEIR_ELIMIT;
    }
    r = weir__frame_create(sink, record.len + 1, &bytes, &frame);
    if (r < 0) {
        return r;
    }
    memcpy(bytes, record.data, record.len);
    bytes[record.len] = '\n';
    return weir__frame_send_take(sink, frame);
}

int weir_reply_ndjson(struct weir_req *req, int status, weir_producer_fn *producer, void *arg)
{
    struct weir_sink *out = NULL;
    int r = producer != NULL ? weir_ndjson_begin(req, status, NULL, &out) : WEIR_EINVAL;

    return r < 0 ? r : weir__produce_take(req, out, producer, arg);
}
