/* SPDX-License-Identifier: MIT */
/* The client's end of an HTTP/1.1 connection: response heads. Bodies are the wire's. */
#include "h1/client.h"

#include "http/fields.h"

int weir__h1_client_head(struct weir__h1_wire *wire, const struct weir__h1_limits *limits,
                         struct weir_view method, struct weir__h1_response *ret)
{
    struct weir__h1_scan *scan = &wire->at.scan;
    static __thread struct weir_field fields[WEIR__FIELDS_MAX];

    for (;;) {
        int r;

        if (wire->in != NULL && weir_chunk_len(wire->in) > scan->at) {
            struct weir__h1_head head = {.fields = fields, .field_cap = limits->fields};
            struct weir_view all = weir_chunk_view(wire->in);
            size_t len = 0;
            int status;

            r = weir__h1_scan_head(scan, limits, false, all, &len, &status);
            if (r > 0) {
                *scan = (struct weir__h1_scan){0};
                r = weir__h1_parse_response(weir_bytes(all.data, len), limits, method, &head);
                if (r == 0) {
                    r = weir__h1_wire_keep_head(wire, &head, len, &ret->fields);
                }
                if (r < 0) {
                    return r;
                }
                ret->status = head.status;
                ret->reason = head.reason;
                ret->framing = head.framing;
                ret->length = head.length;
                ret->keep = head.keep_alive;
                return 1;
            }
            if (r < 0) {
                return r;
            }
        }
        if (!weir__h1_wire_is_open(wire)) {
            return WEIR_ECANCELED;
        }
        r = weir__h1_wire_fill(wire, limits->head_bytes + 1);
        if (r != 1) {
            return r;
        }
    }
}
