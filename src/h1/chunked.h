/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_CHUNKED_H
#define WEIR_H1_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/view.h>

/*
 * Decodes the chunked coding (RFC 9112 7.1), strictly: 1 to 16 hex digits, extensions parsed and bounded, CRLF and
 * nothing else at each line's end, a trailer section of well-formed field lines. Holds no payload. Sizes over
 * INT64_MAX are refused. Errors are sticky.
 */
enum {
    WEIR__H1_EXTENSION_BYTES = 4096, /* chunk extensions per body */
    WEIR__H1_TRAILER_BYTES = 8192,   /* trailer section per body */
};

/* What a step ended with; errors are < 0. */
enum weir__h1_step {
    WEIR__H1_MORE = 0,    /* all input used, the body goes on */
    WEIR__H1_PAYLOAD = 1, /* feed only: a run of payload */
    WEIR__H1_DONE = 2,    /* the body and its trailer section have ended */
    WEIR__H1_TRAILERS =
        3, /* a trailer section begins: weir__h1_chunked_keep_trailers(), then call again */
};

struct weir__h1_chunked {
    uint64_t left; /* payload of the current chunk still to come; while its size is read: so far */
    uint8_t *trailers; /* where trailer lines go; NULL: checked, not kept */
    uint32_t trailers_cap;
    uint32_t trailers_len; /* bytes seen of the section */
    uint32_t extension_bytes;
    int32_t error; /* sticky */
    uint8_t state;
    uint8_t digits;
    uint8_t knows_trailers; /* the caller has decided where trailers go */
};

void weir__h1_chunked_init(struct weir__h1_chunked *decoder);

/**
 * Decodes the front of `in`: framing is eaten, and at most one run of payload returned. Call again with the rest
 * while it returns WEIR__H1_PAYLOAD.
 *
 * ret_used     bytes of `in` consumed, the run included; set with each result >= 0. After WEIR__H1_DONE the rest
 *              belongs to the next message.
 * ret_payload  with WEIR__H1_PAYLOAD: a part of `in`, never empty; else untouched.
 *
 * Returns enum weir__h1_step, or WEIR_EPROTO, WEIR_ELIMIT (extensions or trailers). Context: any thread.
 */
WEIR_NODISCARD int weir__h1_chunked_feed(struct weir__h1_chunked *decoder, struct weir_view in,
                                         size_t *ret_used, struct weir_view *ret_payload);

/**
 * Decodes a whole read batch in place: all its payload is moved to the front of `buf`, adjacent chunks becoming one
 * run. The bytes from *ret_used on are untouched (what follows the body after WEIR__H1_DONE).
 *
 * ret_state  WEIR__H1_MORE, WEIR__H1_DONE, WEIR__H1_TRAILERS, or an error. Payload before an error is returned.
 *
 * Returns the payload's length, 0 for none. Context: any thread.
 */
size_t weir__h1_chunked_compact(struct weir__h1_chunked *decoder, uint8_t *buf, size_t len,
                                size_t *ret_used, int *ret_state);

/* Payload bytes of the current chunk still to come: as many may pass the decoder by, see skip. 0 between chunks. */
uint64_t weir__h1_chunked_left(const struct weir__h1_chunked *decoder);

/* Accounts for n payload bytes that went another way (splice). n <= weir__h1_chunked_left(). */
void weir__h1_chunked_skip(struct weir__h1_chunked *decoder, uint64_t n);

/* Whether the end of the body has been seen: at a connection's end anything else is a truncation. */
bool weir__h1_chunked_is_done(const struct weir__h1_chunked *decoder);

/**
 * Says where the trailer section goes: answer to WEIR__H1_TRAILERS, or any time before. `buf` is borrowed until
 * the body's end; a section over `cap` (at most WEIR__H1_TRAILER_BYTES counts) is WEIR_ELIMIT. NULL, 0: check and
 * drop it.
 */
void weir__h1_chunked_keep_trailers(struct weir__h1_chunked *decoder, uint8_t *buf, size_t cap);

/* The field lines kept so far, for weir__h1_parse_trailers(); absent when none were kept. */
struct weir_view weir__h1_chunked_trailers(const struct weir__h1_chunked *decoder);

#endif
