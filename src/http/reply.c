/* SPDX-License-Identifier: MIT */
/* Replies: the head a handler asks for, made legal, and the short forms built on it. */
#include "http/request.h"

#include "rt/relay.h"

#include <stdarg.h>
#include <stdio.h>

static bool has_no_body(struct weir_req *req, int status)
{
    return req->is_head || status == 204 || status == 304;
}

WEIR__RELAY_5(int, relay_stream_begin, weir_stream_begin, struct weir_req *, int,
              struct weir_fields *, uint64_t, struct weir_sink **)

int weir_stream_begin(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      struct weir_sink **ret)
{
    if (weir__relay_here != NULL) {
        return relay_stream_begin(req, status, fields, length, ret);
    }

    struct weir__head head = {
        .status = status,
        .fields = fields,
        .length = length,
        .no_body = has_no_body(req, status),
        .close = req->close,
    };
    int r;

    if (status < 200 || status > 599) {
        return WEIR_EINVAL;
    }
    r = weir__stream_begin(req->stream, &head);
    if (r == 0) {
        req->status = status;
        *ret = &req->stream->out;
    }
    return r;
}

WEIR__RELAY_3(int, relay_inform, weir_inform, struct weir_req *, int, struct weir_fields *)

int weir_inform(struct weir_req *req, int status, struct weir_fields *fields)
{
    if (weir__relay_here != NULL) {
        return relay_inform(req, status, fields);
    }

    struct weir__stream *stream = req->stream;

    if (status < 100 || status > 199 || status == 101) {
        return WEIR_EINVAL;
    }
    if (stream->begun) {
        return WEIR_ESTATE;
    }
    if (req->is_http10) {
        return WEIR_EUNSUPPORTED;
    }
    if (stream->gone != WEIR_REASON_NONE) {
        return weir__gone_code((enum weir_reason)stream->gone);
    }
    if (status == 100) {
        stream->before_read = NULL; /* this is the answer to Expect */
    }
    return stream->ops->inform(stream, status, fields);
}

WEIR__RELAY_5(int, relay_reply_bytes, weir_reply_bytes, struct weir_req *, int,
              struct weir_fields *, const char *, struct weir_view)

int weir_reply_bytes(struct weir_req *req, int status, struct weir_fields *fields, const char *type,
                     struct weir_view body)
{
    if (weir__relay_here != NULL) {
        return relay_reply_bytes(req, status, fields, type, body);
    }

    struct weir_fields *own = NULL;
    struct weir_chunk *first = NULL;
    struct weir_sink *sink;
    size_t first_len = body.len < WEIR_CHUNK_BYTES ? body.len : WEIR_CHUNK_BYTES;
    int r = 0;

    /* Before the head, so that a lack of memory is still a status. */
    if (first_len > 0 && !has_no_body(req, status)) {
        r = weir_chunk_copy(weir_bytes(body.data, first_len), &first);
    }

    if (r == 0 && type != NULL) {
        r = weir_fields_create(&own);
        for (size_t i = 0; r == 0 && i < weir_fields_count(fields); i++) {
            struct weir_field field = weir_fields_at(fields, i);

            r = weir_fields_add_borrowed(own, field.name, field.value);
        }
        if (r == 0) {
            r = weir_fields_add_borrowed(own, weir_str("Content-Type"), weir_str(type));
        }
    }
    if (r == 0) {
        r = weir_stream_begin(req, status, own != NULL ? own : fields, body.len, &sink);
    }
    weir_fields_destroy(own);
    if (r < 0) {
        weir_chunk_unref(first);
        return r;
    }
    if (first != NULL) {
        r = weir_emit_take(sink, first, -1);
        if (r == 0) {
            r = weir_emit_bytes(sink, weir_bytes(body.data + first_len, body.len - first_len), -1);
        }
    }
    if (r == 0) {
        r = weir_end(sink, NULL);
    }
    weir_sink_destroy(sink);
    return r;
}

int weir_reply_text(struct weir_req *req, int status, const char *format, ...)
{
    struct weir_chunk *text;
    va_list args;
    int r = weir_chunk_create(1024, &text);
    int len;

    if (r < 0) {
        return r;
    }
    va_start(args, format);
    len = vsnprintf((char *)weir_chunk_data(text), 1024, format, args);
    va_end(args);
    if (len < 0 || len > 1023) {
        r = WEIR_ELIMIT;
    } else {
        r = weir_reply_bytes(req, status, NULL, "text/plain; charset=utf-8",
                             weir_bytes(weir_chunk_data(text), (size_t)len));
    }
    weir_chunk_unref(text);
    return r;
}

int weir_reply_empty(struct weir_req *req, int status, struct weir_fields *fields)
{
    return weir_reply_bytes(req, status, fields, NULL, weir_bytes("", 0));
}

WEIR__RELAY_5(int, relay_reply_source_take, weir_reply_source_take, struct weir_req *, int,
              struct weir_fields *, uint64_t, struct weir_source *)

int weir_reply_source_take(struct weir_req *req, int status, struct weir_fields *fields,
                           uint64_t length, struct weir_source *source)
{
    if (weir__relay_here != NULL) {
        return relay_reply_source_take(req, status, fields, length, source);
    }

    struct weir_sink *sink;
    int r = source != NULL ? weir_stream_begin(req, status, fields, length, &sink) : WEIR_EINVAL;

    if (r == 0) {
        /* A body that nobody will see is not made either. */
        r = req->stream->drop_body ? weir_end(sink, NULL) : weir_pipe(source, sink, NULL, NULL);
        weir_sink_destroy(sink);
    }
    weir_source_destroy(source);
    return r;
}
