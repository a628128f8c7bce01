/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_SCAN_H
#define WEIR_H1_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/view.h>

/*
 * Finds the end of a head in a buffer that grows, and refuses early what can never become one: a bare LF, a head, a
 * target or a number of fields over its limit, a first byte no message begins with. It does not judge fields:
 * weir__h1_parse_request() and weir__h1_parse_response() do, over the whole head.
 */

/* All inclusive bounds. A request's usual ones: 8 KiB, 32 KiB, 100; a response's: (unused), 64 KiB, 200. */
struct weir__h1_limits {
    size_t target_bytes; /* request-target */
    size_t head_bytes;   /* first line, fields and the blank line */
    size_t fields;       /* field lines */
};

/* All-zero at the start of each head. */
struct weir__h1_scan {
    size_t at;     /* bytes looked at */
    size_t line;   /* where the current line begins */
    size_t lines;  /* lines ended, a tolerated empty one not counted */
    size_t target; /* where the target begins, and when it has ended the version; 0: not seen yet */
    bool in_target; /* no blank after the target yet */
    bool was_blank; /* the one empty line before a request line was there */
};

/**
 * Looks at the bytes of `all` that the last call has not seen. `all` begins at the head each time and only grows
 * (it may have moved). Never looks at a byte twice but the one before a line's end: O(n) over all calls.
 *
 * is_request  a request: one empty line before it is tolerated (RFC 9112 2.2) and counted in the length.
 * ret_len     set with 1: the head's length, the blank line included.
 * ret_status  set with an error: what to answer a client (400, 414, 431, 501); 502 for a response.
 *
 * Returns 0 when more bytes are needed, 1 with a whole head, or WEIR_EPROTO, WEIR_ELIMIT, WEIR_EUNSUPPORTED.
 * Context: any thread.
 */
WEIR_NODISCARD int weir__h1_scan_head(struct weir__h1_scan *scan,
                                      const struct weir__h1_limits *limits, bool is_request,
                                      struct weir_view all, size_t *ret_len, int *ret_status);

/* Character classes, one table for all of h1. */
enum weir__h1_class {
    WEIR__H1_TOKEN = 1,  /* tchar, RFC 9110 5.6.2 */
    WEIR__H1_TEXT = 2,   /* HTAB, SP, VCHAR, obs-text: field values, reason phrases */
    WEIR__H1_TARGET = 4, /* VCHAR but '#': a fragment never belongs into a request-target */
    WEIR__H1_HOST = 8, /* reg-name without the comma, and without '%', which needs its two digits */
    WEIR__H1_HEX = 16,
    WEIR__H1_DIGIT = 32,
    WEIR__H1_QDTEXT = 64, /* inside a quoted string, unescaped */
    WEIR__H1_ALPHA = 128,
};

extern const uint8_t weir__h1_classes[256];

static inline bool weir__h1_is(uint8_t byte, enum weir__h1_class wanted)
{
    return (weir__h1_classes[byte] & wanted) != 0;
}

#endif
