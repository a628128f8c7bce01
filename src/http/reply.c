/* SPDX-License-Identifier: MIT */
/* Replies: the head a handler asks for, made legal, and the short forms built on it. */
#include "http/request.h"

#include "http/reply_fields.h"
#include "rt/relay.h"

#include <stdarg.h>
#include <stdio.h>

bool weir__reply_has_body(struct weir_req *req, int status)
{
    return !req->is_head && status != 204 && status != 304;
}

int weir__reply_begin(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      struct weir_sink **ret)
{
    struct weir__head head = {
        .status = status,
        .fields = fields,
        .length = length,
        .no_body = !weir__reply_has_body(req, status),
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

WEIR__RELAY_5(int, relay_stream_begin, weir_stream_begin, struct weir_req *, int,
              struct weir_fields *, uint64_t, struct weir_sink **)

int weir_stream_begin(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      struct weir_sink **ret)
{
    if (weir__relay_here != NULL) {
        return relay_stream_begin(req, status, fields, length, ret);
    }
    return req->filters == NULL ? weir__reply_begin(req, status, fields, length, ret)
                                : weir__reply_filter(req, status, fields, length, ret);
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
    if (weir_req_is_begun(req)) {
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
    /* A 304 has the length of the 200 that it stands for, or none (RFC 9110 8.6). */
    uint64_t length = status == 304 && body.len == 0 ? WEIR_LENGTH_UNKNOWN : body.len;
    int r = 0;

    /* Before the head, so that a lack of memory is still a status. */
    if (first_len > 0 && weir__reply_has_body(req, status)) {
        r = weir_chunk_copy(weir_bytes(body.data, first_len), &first);
    }

    if (r == 0 && type != NULL) {
        const struct weir__reply_field type_field = {"Content-Type", weir_str(type), true};

        r = weir__reply_fields(fields, &type_field, 1, &own);
    }
    if (r == 0) {
        r = weir_stream_begin(req, status, own != NULL ? own : fields, length, &sink);
    }
    weir_fields_destroy(own);
    if (r < 0) {
        weir_chunk_unref(first);
        return r;
    }
    if (first != NULL) {
        /* Until its end it is nobody else that the reply waits for. */
        weir__stall_enter(&req->stream->clock, WEIR__STALL_MOVING,
                          weir__loop_clock_us(req->stream->loop));
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

int weir_reply_html(struct weir_req *req, int status, struct weir_view html)
{
    return weir_reply_bytes(req, status, NULL, "text/html; charset=utf-8", html);
}

int weir_reply_json(struct weir_req *req, int status, struct weir_view json)
{
    return weir_reply_bytes(req, status, NULL, "application/json", json);
}

/* Whether every byte may stand in a URI reference (RFC 3986 2). What browsers would mend, each in its own way, is not
 * let through: with a backslash for a slash another host can be meant than the one that was looked at. */
static bool is_uri_text(struct weir_view text)
{
    static const char others[] = "-._~:/?#[]@!$&'()*+,;=%";

    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        bool is_alnum = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                        (byte >= 'a' && byte <= 'z');

        if (!is_alnum && memchr(others, byte, sizeof(others) - 1) == NULL) {
            return false;
        }
    }
    return text.len > 0;
}

int weir_reply_redirect(struct weir_req *req, int status, struct weir_fields *fields,
                        struct weir_view location)
{
    const struct weir__reply_field own = {"Location", location, true};
    struct weir_fields *all = NULL;
    bool redirects =
        status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    int r = redirects && is_uri_text(location) ? 0 : WEIR_EINVAL;

    if (r == 0) {
        r = weir__reply_fields(fields, &own, 1, &all);
    }
    if (r == 0) {
        r = weir_reply_empty(req, status, all);
    }
    weir_fields_destroy(all);
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
