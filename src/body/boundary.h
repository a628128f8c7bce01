/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_BOUNDARY_H
#define WEIR_BODY_BOUNDARY_H

#include <stdbool.h>

#include <weir/view.h>

/*
 * Finds a delimiter (CRLF "--" boundary, RFC 2046 5.1.1) in bytes that come in pieces of any size. No input or output, no
 * memory. What may be the delimiter's beginning at the end of a piece is held back as a number only, for its bytes are
 * known; a boundary has no CR, so that what is held begins in one place and, when it turns out to be data, is all data.
 */
#define WEIR__BOUNDARY_MAX 70 /* of the boundary itself */

struct weir__boundary {
    size_t len;     /* of the delimiter */
    size_t matched; /* bytes of it that were seen, its first `unsent` ones only in thought */
    size_t unsent;
    uint8_t text[4 + WEIR__BOUNDARY_MAX];
};

/* What a piece means, to be done in this order. */
struct weir__boundary_step {
    struct weir_view
        held;    /* of the delimiter's own text: this much of what was held back is data */
    size_t data; /* bytes at the piece's front that are data */
    size_t used; /* bytes done with; what is between data and used is no data */
    bool found;  /* the delimiter ends at `used` */
};

/* False if there can be no such boundary (RFC 2046 5.1.1: 1 to 70 characters of a certain kind, no space at the end). */
bool weir__boundary_init(struct weir__boundary *boundary, struct weir_view text);

/* At the front of a body, or behind a header: a CRLF has been there, but belongs to no data. */
void weir__boundary_begin(struct weir__boundary *boundary);

/* `bytes` not empty. When `held` is set nothing of the piece was used: give it again. */
struct weir__boundary_step weir__boundary_scan(struct weir__boundary *boundary,
                                               struct weir_view bytes);

#endif
