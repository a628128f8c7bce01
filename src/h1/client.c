/* SPDX-License-Identifier: MIT */
/* The client's end of an HTTP/1.1 connection: response heads. Bodies are the wire's. */
#include "h1/client.h"

#include <weir/http.h>

#include "http/fields.h"

static const char *const methods[] = {"GET", "HEAD", "CONNECT"};

void weir__h1_client_note_method(struct weir__h1_wire *wire, struct weir_view method)
{
    wire->out_method = weir_view_equal(method, weir_str("HEAD"))      ? 1
                       : weir_view_equal(method, weir_str("CONNECT")) ? 2
                                                                      : 0;
}

/* Takes a whole head of `len` bytes off the wire. */
static int take_head(struct weir__h1_wire *wire, const struct weir__h1_limits *limits, size_t len,
                     struct weir__response *ret)
{
    static __thread struct weir_field fields[WEIR__FIELDS_MAX];
    struct weir__h1_head head = {.fields = fields, .field_cap = limits->fields};
    int r = weir__h1_parse_response(weir_bytes(weir_chunk_data(wire->in), len), limits,
                                    weir_str(methods[wire->out_method]), &head);

    if (r == 0) {
        r = weir__h1_wire_keep_head(wire, &head, len, &ret->fields);
    }
    if (r < 0) {
        return r;
    }
    ret->status = head.status;
    ret->reason = head.reason;
    ret->length = head.framing == WEIR__H1_UNTIL_CLOSE ? WEIR_LENGTH_UNTIL_CLOSE
                  : head.framing == WEIR__H1_CHUNKED   ? WEIR_LENGTH_UNKNOWN
                                                       : head.length;
    if (head.status >= 200) {
        wire->keep = wire->keep && head.keep_alive;
        weir__h1_wire_expect_body(wire, head.framing, head.length);
    }
    return 1;
}

int weir__h1_client_head(struct weir__stream *stream, struct weir__response *ret)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;
    struct weir__h1_limits limits = {0, stream->limits->head_bytes, stream->limits->head_fields};
    struct weir__h1_scan *scan = &wire->at.scan;
    int r;

    for (;;) {
        if (wire->in != NULL && weir_chunk_len(wire->in) > scan->at) {
            size_t len = 0;
            int status;

            r = weir__h1_scan_head(scan, &limits, false, weir_chunk_view(wire->in), &len, &status);
            if (r > 0) {
                *scan = (struct weir__h1_scan){0};
                return take_head(wire, &limits, len, ret);
            }
            if (r < 0) {
                return r;
            }
        }
        if (!weir__h1_wire_is_open(wire)) {
            return WEIR_ECANCELED;
        }
        r = weir__h1_wire_fill(wire, limits.head_bytes + 1);
        if (r != 1) {
            stream->native = r == WEIR_EAGAIN ? stream->native : wire->tcp.native;
            return r;
        }
    }
}

void weir__h1_client_leave(struct weir__stream *stream)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;

    wire->keep = false;
    if (wire->out_ended) {
        weir__tcp_close(&wire->tcp);
    } else {
        /* Behind a body that nobody reads a FIN would not be seen. */
        weir__tcp_reset(&wire->tcp);
    }
}
