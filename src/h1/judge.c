/* SPDX-License-Identifier: MIT */
/*
 * llhttp, run over a whole head and stopped at its end. Its lenient flags are never set. Nothing of its body
 * handling, keep-alive or upgrade logic is used: the connection decides those from what both parsers agree on.
 */
#include "h1/judge.h"

#include <weir/err.h>

#include <llhttp.h>

struct witness {
    const struct weir__h1_head *head;
    size_t fields;     /* names seen */
    bool value_is_due; /* the last field's value is not empty and has not been seen */
    bool target_is_seen;
};

/* Anything but 0 and -1 from a span callback would be taken for an errno of llhttp's own. */
enum { SPAN_OK = 0, SPAN_BAD = -1 };

static bool is_same(struct weir_view ours, const char *at, size_t len)
{
    return ours.data == (const uint8_t *)at && ours.len == len;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct witness *witness = parser->data;

    witness->target_is_seen = is_same(witness->head->target, at, len);
    return witness->target_is_seen ? SPAN_OK : SPAN_BAD;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct witness *witness = parser->data;
    const struct weir_field *field = &witness->head->fields[witness->fields];

    if (witness->value_is_due || witness->fields == witness->head->field_count ||
        !is_same(field->name, at, len)) {
        return SPAN_BAD;
    }
    witness->fields++;
    witness->value_is_due = field->value.len > 0;
    return SPAN_OK;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct witness *witness = parser->data;
    struct weir_view value = weir_view_trim(weir_bytes(at, len));

    if (value.len == 0) {
        return SPAN_OK;
    }
    if (!witness->value_is_due || !is_same(witness->head->fields[witness->fields - 1].value,
                                           (const char *)value.data, value.len)) {
        return SPAN_BAD;
    }
    witness->value_is_due = false;
    return SPAN_OK;
}

static int on_headers_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t whole_settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
};

/* A head fed in pieces has its spans cut anywhere: only the framing is compared then. */
static const llhttp_settings_t split_settings = {
    .on_headers_complete = on_headers_complete,
};

static llhttp_errno_t run(llhttp_t *parser, const uint8_t *from, const uint8_t *to)
{
    return llhttp_execute(parser, (const char *)from, (size_t)(to - from));
}

/* Feeds each value without the white space around it. */
static llhttp_errno_t run_split(llhttp_t *parser, struct weir_view bytes,
                                const struct weir__h1_head *head)
{
    const uint8_t *at = bytes.data;
    llhttp_errno_t r = HPE_OK;

    for (size_t i = 0; i < head->field_count && r == HPE_OK; i++) {
        const struct weir_field *field = &head->fields[i];
        const uint8_t *value_end = field->value.data + field->value.len;

        r = run(parser, at, field->name.data + field->name.len + 1);
        if (r == HPE_OK) {
            r = run(parser, field->value.data, value_end);
        }
        at = value_end;
        while (*at != '\r') { /* ends: the line does, and only white space is left of it */
            at++;
        }
    }
    return r == HPE_OK ? run(parser, at, bytes.data + bytes.len) : r;
}

enum weir__h1_verdict weir__h1_judge(struct weir_view bytes, bool is_request,
                                     const struct weir__h1_head *head,
                                     const struct weir__h1_facts *facts)
{
    struct witness witness = {.head = head};
    const uint8_t *end = bytes.data + bytes.len;
    llhttp_t parser;
    llhttp_errno_t r;

    llhttp_init(&parser, is_request ? HTTP_REQUEST : HTTP_RESPONSE,
                facts->needs_split ? &split_settings : &whole_settings);
    parser.data = &witness;
    r = facts->needs_split ? run_split(&parser, bytes, head) : run(&parser, bytes.data, end);
    if (is_request && (r == HPE_INVALID_METHOD || r == HPE_INVALID_CONSTANT ||
                       llhttp_get_method(&parser) == HTTP_PRI)) {
        /* the second: a method of RTSP, for our splitter has seen a good version */
        return WEIR__H1_UNKNOWN_METHOD;
    }
    if (r != HPE_PAUSED || (const uint8_t *)llhttp_get_error_pos(&parser) != end) {
        return WEIR__H1_REFUSED;
    }
    if (!facts->needs_split && (witness.fields != head->field_count || witness.value_is_due ||
                                witness.target_is_seen != is_request)) {
        return WEIR__H1_REFUSED;
    }
    if (parser.http_major != 1 || parser.http_minor != head->minor ||
        (!is_request && parser.status_code != head->status) ||
        ((parser.flags & F_CHUNKED) != 0) != facts->is_chunked ||
        ((parser.flags & F_CONTENT_LENGTH) != 0) != facts->has_length ||
        (facts->has_length && parser.content_length != facts->length)) {
        return WEIR__H1_REFUSED;
    }
    return WEIR__H1_AGREED;
}
