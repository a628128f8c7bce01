/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_PARSE_H
#define WEIR_H1_PARSE_H

#include "h1/scan.h"
#include <weir/fields.h>

#include <weir/export.h>
#include <weir/view.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whole heads. No allocation, no input or output: every view points into the caller's bytes and lives as long as
 * they do. Two parsers read each head, a strict line splitter of ours and llhttp; what they do not agree on, or what
 * either refuses, is refused. Bytes of a peer never reach an assertion.
 */

enum weir__h1_framing {
    WEIR__H1_NO_BODY,     /* the message ends with its head */
    WEIR__H1_LENGTH,      /* `length` bytes follow; 0 when the peer said so itself */
    WEIR__H1_CHUNKED,     /* feed struct weir__h1_chunked */
    WEIR__H1_UNTIL_CLOSE, /* responses only: the end is the connection's */
};

struct weir__h1_head {
    struct weir_view method; /* request */
    struct weir_view
        target; /* request: origin-, absolute-, authority- or asterisk-form, as received */
    struct weir_view reason;   /* response: may be empty */
    int status;                /* response: 100 ... 599 */
    int minor;                 /* HTTP/1.minor: 0 or 1 */
    struct weir_field *fields; /* set by the caller, filled by the call */
    size_t field_count;
    size_t field_cap; /* set by the caller */
    enum weir__h1_framing framing;
    uint64_t length;      /* with WEIR__H1_LENGTH, else 0 */
    bool keep_alive;      /* the connection may carry another message after this one */
    bool expect_continue; /* request, 1.1: Expect: 100-continue */
    bool
        upgrade; /* request: Connection: upgrade and an Upgrade field; response: 101, or 2xx to CONNECT */
    bool accepts_trailers; /* request: TE: trailers */
    bool has_host;         /* request: `host` is known (an empty Host field counts) */
    struct weir_view host; /* request: uri-host [":" port]; see below */
};

/**
 * Parses one request head as found by weir__h1_scan_head().
 *
 * ret         in: fields, field_cap; out: everything. On failure only the array's contents are undefined.
 * ret_status  set with an error: 400, 414, 431, 501 or 505. The connection must be closed after that answer.
 *
 * `host` is the authority of an absolute-form target, which wins over the Host field (RFC 9112 3.2.2: the field is
 * then ignored, but must still be there on 1.1 and be well-formed), that of CONNECT's target, else the Host field.
 * The target may hold any visible ASCII but '#': it is not normalised.
 *
 * Returns 0, or WEIR_EPROTO (400), WEIR_ELIMIT (414, 431; also more fields than field_cap), WEIR_EUNSUPPORTED (501:
 * a method or transfer coding we do not know; 505). Context: any thread.
 */
WEIR_NODISCARD int weir__h1_parse_request(struct weir_view head_bytes,
                                          const struct weir__h1_limits *limits,
                                          struct weir__h1_head *ret, int *ret_status);

/**
 * Parses one response head, interim ones too.
 *
 * request_method  of the request answered: HEAD and a 2xx to CONNECT have no body, nor have 1xx, 204 and 304,
 *                 whatever their fields say (which must be well-formed all the same).
 * ret             in: fields, field_cap; out: everything. On failure only the array's contents are undefined.
 *
 * Returns 0, or WEIR_EPROTO, WEIR_ELIMIT. Whether a 101 was asked for is the caller's to check. Context: any thread.
 */
WEIR_NODISCARD int weir__h1_parse_response(struct weir_view head_bytes,
                                           const struct weir__h1_limits *limits,
                                           struct weir_view request_method,
                                           struct weir__h1_head *ret);

/**
 * Splits a trailer section as struct weir__h1_chunked collected it (field lines, each with its CRLF, no blank line).
 * Fields that no trailer may carry, for they frame, route or belong to the connection (RFC 9110 6.5.1), are left out.
 *
 * Returns 0, or WEIR_EPROTO, WEIR_ELIMIT (more than `cap` fields). Context: any thread.
 */
WEIR_NODISCARD int weir__h1_parse_trailers(struct weir_view raw, struct weir_field *fields,
                                           size_t cap, size_t *ret_count);

#endif
