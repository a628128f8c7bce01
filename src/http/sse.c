/* SPDX-License-Identifier: MIT */
/*
 * Event streams: an event is one chunk and one emit, so that it leaves whole. Keeps no state of its own: the sink is
 * the reply's, or the one of sse_beat.c around it.
 */
#include <weir/sse.h>

#include "base/cleanup.h"
#include "http/frame.h"
#include "http/produce.h"
#include "http/reply_fields.h"
#include "http/request.h"
#include "http/sse_beat.h"
#include "http/sse_encode.h"
#include "rt/relay.h"

#define LONGEST_MS INT64_C(31536000000) /* a year */
#define LAST_ID_BYTES 1024

WEIR__RELAY_2(int, relay_sse_config, weir_sse_config, struct weir_req *,
              const struct weir_sse_opts *)

int weir_sse_config(struct weir_req *req, const struct weir_sse_opts *opts)
{
    if (weir__relay_here != NULL) {
        return relay_sse_config(req, opts);
    }

    static const struct weir_sse_opts defaults;

    if (weir_req_is_begun(req)) {
        return WEIR_ESTATE;
    }
    if (opts == NULL) {
        opts = &defaults;
    }
    if (opts->heartbeat_ms < 0 || opts->heartbeat_ms > LONGEST_MS || opts->retry_ms < 0 ||
        opts->retry_ms > LONGEST_MS) {
        return WEIR_EINVAL;
    }
    return weir__sse_create(req, opts);
}

/* Readers must get each event as it comes: no cache keeps it, and no proxy on the way collects it. */
static int begin_plain(struct weir_req *req, int status, struct weir_fields *fields,
                       struct weir_sink **ret)
{
    const struct weir__reply_field own[] = {
        {"Content-Type", weir_str("text/event-stream"), true},
        {"Cache-Control", weir_str("no-cache"), false},
        {"X-Accel-Buffering", weir_str("no"), false},
    };
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *all = NULL;
    int r = weir__reply_fields(fields, own, sizeof(own) / sizeof(own[0]), &all);

    return r < 0 ? r : weir_stream_begin(req, status, all, WEIR_LENGTH_UNKNOWN, ret);
}

WEIR__RELAY_4(int, relay_sse_begin, weir_sse_begin, struct weir_req *, int, struct weir_fields *,
              struct weir_sink **)

int weir_sse_begin(struct weir_req *req, int status, struct weir_fields *fields,
                   struct weir_sink **ret)
{
    if (weir__relay_here != NULL) {
        return relay_sse_begin(req, status, fields, ret);
    }

    struct weir__sse *sse = weir_req_is_begun(req) ? NULL : req->sse;
    struct weir_sink *sink = NULL;
    int r;

    if (sse == NULL) {
        return begin_plain(req, status, fields, ret);
    }
    r = weir__sse_arm(sse);
    if (r < 0) {
        return r;
    }
    r = begin_plain(req, status, fields, &sink);
    if (r < 0) {
        weir__sse_disarm(sse);
        return r;
    }
    sink = weir__sse_wrap(sse, sink);
    if (weir__sse_retry_ms(sse) > 0) {
        r = weir_sse_emit(sink, &(struct weir_event){.retry_ms = weir__sse_retry_ms(sse)});
    }
    if (r < 0) {
        weir_sink_destroy(sink);
        return r;
    }
    *ret = sink;
    return 0;
}

WEIR__RELAY_2(int, relay_sse_emit, weir_sse_emit, struct weir_sink *, const struct weir_event *)

int weir_sse_emit(struct weir_sink *sink, const struct weir_event *event)
{
    if (weir__relay_here != NULL) {
        return relay_sse_emit(sink, event);
    }

    struct weir_chunk *frame = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r = weir__sse_size(event, &size);

    if (r == 0) {
        r = weir__frame_create(sink, size, &bytes, &frame);
    }
    if (r == 0) {
        r = weir__sse_encode(event, bytes, size, &size);
    }
    if (r < 0) {
        weir_chunk_unref(frame);
        return r;
    }
    return weir__frame_send_take(sink, frame);
}

WEIR__RELAY_2(int, relay_sse_comment, weir_sse_comment, struct weir_sink *, struct weir_view)

int weir_sse_comment(struct weir_sink *sink, struct weir_view text)
{
    if (weir__relay_here != NULL) {
        return relay_sse_comment(sink, text);
    }

    struct weir_chunk *frame = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r = weir__sse_comment_size(text, &size);

    if (r == 0) {
        r = weir__frame_create(sink, size, &bytes, &frame);
    }
    if (r == 0) {
        r = weir__sse_comment_encode(text, bytes, size, &size);
    }
    if (r < 0) {
        weir_chunk_unref(frame);
        return r;
    }
    return weir__frame_send_take(sink, frame);
}

/* How many bytes the UTF-8 sequence at `at` has (RFC 3629 4); 0: it is none, or a control. */
static size_t utf8_bytes(const uint8_t *at, size_t left)
{
    uint8_t low = 0x80, high = 0xbf; /* of the second byte */
    size_t len;

    if (at[0] < 0x80) {
        return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    }
    len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < len) {
        return 0;
    }
    low = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : low;
    high = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : high;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf) {
            return 0;
        }
    }
    return len;
}

struct weir_view weir_sse_last_event_id(struct weir_req *req)
{
    struct weir_view name = weir_str("Last-Event-ID"), none = {0}, id = {0};
    struct weir_fields *fields = weir_req_fields(req);
    size_t bytes;

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, name)) {
            if (!weir_view_is_absent(id)) {
                return none;
            }
            id = field.value;
        }
    }
    if (id.len == 0 || id.len > LAST_ID_BYTES) {
        return none;
    }
    for (size_t i = 0; i < id.len; i += bytes) {
        bytes = utf8_bytes(id.data + i, id.len - i);
        if (bytes == 0) {
            return none;
        }
    }
    return id;
}

int weir_reply_sse(struct weir_req *req, int status, weir_producer_fn *producer, void *arg)
{
    struct weir_sink *out = NULL;
    int r = producer != NULL ? weir_sse_begin(req, status, NULL, &out) : WEIR_EINVAL;

    return r < 0 ? r : weir__produce_take(req, out, producer, arg);
}
