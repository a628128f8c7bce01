/* SPDX-License-Identifier: MIT */
/*
 * The heads that leave an HTTP/1.1 connection, and the lines of trailers. Framing is decided here, once, and its fields are
 * written by nobody else. A head goes into the queue whole or not at all.
 */
#include "h1/wire_out.h"

#include <weir/http.h>

#include "h1/client.h"
#include "http/request.h"

static struct weir__h1_wire *wire_of(struct weir__stream *stream)
{
    return (struct weir__h1_wire *)stream;
}

static bool is(struct weir_view name, const char *text, size_t len)
{
    return name.len == len && weir_view_equal_nocase(name, weir_bytes(text, len));
}

/* Framing and the connection's own fields are written by us alone. */
static bool is_ours(struct weir_view name)
{
    switch (name.len) {
    case 7:
        return is(name, "upgrade", 7);
    case 10:
        return is(name, "connection", 10) || is(name, "keep-alive", 10);
    case 14:
        return is(name, "content-length", 14);
    case 16:
        return is(name, "proxy-connection", 16);
    case 17:
        return is(name, "transfer-encoding", 17);
    default:
        return false;
    }
}

size_t weir__h1_out_fields_bytes(struct weir_fields *fields)
{
    size_t bytes = 0;

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        bytes += field.name.len + field.value.len + 4;
    }
    return bytes;
}

int weir__h1_out_put_fields(struct weir__h1_out *out, struct weir_fields *fields,
                            bool *ret_has_date)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        int r;

        if (is_ours(field.name)) {
            continue;
        }
        if (ret_has_date != NULL && is(field.name, "date", 4)) {
            *ret_has_date = true;
        }
        r = weir__h1_compose_field(out, field.name, field.value);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* How the body will be framed; may decide that the connection ends with it. */
static enum weir__h1_framing choose_framing(struct weir__h1_wire *wire,
                                            const struct weir__head *head)
{
    if (head->no_body) {
        return WEIR__H1_NO_BODY;
    }
    if (head->length < WEIR_LENGTH_UNTIL_CLOSE) {
        return WEIR__H1_LENGTH;
    }
    if (head->status == 0 || (!wire->minor_0 && head->length == WEIR_LENGTH_UNKNOWN)) {
        return WEIR__H1_CHUNKED;
    }
    return WEIR__H1_UNTIL_CLOSE;
}

static int compose_framing(struct weir__h1_wire *wire, struct weir__h1_out *out,
                           const struct weir__head *head)
{
    static const char chunked[] = "Transfer-Encoding: chunked\r\n";
    static const char close_line[] = "Connection: close\r\n";
    static const char keep_line[] = "Connection: keep-alive\r\n";
    bool length_is_known = head->length < WEIR_LENGTH_UNTIL_CLOSE;
    int r = 0;

    if (wire->out_framing == WEIR__H1_CHUNKED) {
        weir__h1_out_put(out, chunked, sizeof(chunked) - 1);
    } else if (wire->out_framing == WEIR__H1_LENGTH ||
               (head->no_body && length_is_known && head->status != 0 && head->status != 204)) {
        r = weir__h1_compose_field_u64(out, weir_str("Content-Length"), head->length);
    }
    if (!wire->keep) {
        weir__h1_out_put(out, close_line, sizeof(close_line) - 1);
    } else if (wire->minor_0 && head->status != 0) {
        weir__h1_out_put(out, keep_line, sizeof(keep_line) - 1);
    }
    return r;
}

int weir__h1_out_begin(struct weir__stream *stream, const struct weir__head *head)
{
    struct weir__h1_wire *wire = wire_of(stream);
    struct weir__h1_out out;
    size_t bytes = 256 + head->reason.len + head->method.len + head->target.len +
                   weir__h1_out_fields_bytes(head->fields);
    bool has_date = head->status == 0;
    bool keep = wire->keep;
    int r;

    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    r = weir__h1_out_reserve(wire, bytes, &out);
    if (r < 0) {
        return r;
    }
    if (head->status == 0) {
        weir__h1_client_note_method(wire, head->method);
    }
    wire->out_framing = (uint8_t)choose_framing(wire, head);
    if (head->close || wire->out_framing == WEIR__H1_UNTIL_CLOSE) {
        wire->keep = false;
    }
    r = head->status != 0 ? weir__h1_compose_status(&out, head->status, head->reason)
                          : weir__h1_compose_request(&out, head->method, head->target);
    if (r == 0) {
        r = weir__h1_out_put_fields(&out, head->fields, &has_date);
    }
    if (r == 0 && !has_date) {
        r = weir__h1_compose_field(&out, weir_str("Date"), weir__http_date());
    }
    if (r == 0) {
        r = compose_framing(wire, &out, head);
    }
    if (r == 0) {
        r = weir__h1_compose_end(&out);
    }
    if (r < 0) {
        wire->keep = keep;
        out.len = 0;
    }
    weir__h1_out_commit(wire, &out);
    return r;
}

int weir__h1_out_inform(struct weir__stream *stream, int status, struct weir_fields *fields)
{
    struct weir__h1_wire *wire = wire_of(stream);
    struct weir__h1_out out;
    int r;

    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    r = weir__h1_out_reserve(wire, 128 + weir__h1_out_fields_bytes(fields), &out);
    if (r < 0) {
        return r;
    }
    r = weir__h1_compose_status(&out, status, weir_bytes(NULL, 0));
    if (r == 0) {
        r = weir__h1_out_put_fields(&out, fields, NULL);
    }
    if (r == 0) {
        r = weir__h1_compose_end(&out);
    }
    if (r < 0) {
        out.len = 0;
    }
    weir__h1_out_commit(wire, &out);
    return r;
}
