/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_COMPOSE_H
#define WEIR_H1_COMPOSE_H

#include <weir/fields.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/view.h>

/*
 * Writes heads into a bounded buffer of the caller's. What would let a value become a line of its own (CR, LF, NUL and
 * the other controls) is refused here, last, whoever it came from. Framing is the caller's: nothing is added.
 * Each call returns 0, WEIR_EINVAL (illegal bytes) or WEIR_ELIMIT (no room); on failure nothing was written.
 * Context: any thread.
 */
struct weir__h1_out {
    uint8_t *data;
    size_t len;
    size_t cap;
};

/* "HTTP/1.1 200 OK". An absent reason gives the usual phrase of the status, or none. */
WEIR_NODISCARD int weir__h1_compose_status(struct weir__h1_out *out, int status,
                                           struct weir_view reason);
/* "GET /path HTTP/1.1" */
WEIR_NODISCARD int weir__h1_compose_request(struct weir__h1_out *out, struct weir_view method,
                                            struct weir_view target);
/* "Name: value" */
WEIR_NODISCARD int weir__h1_compose_field(struct weir__h1_out *out, struct weir_view name,
                                          struct weir_view value);
WEIR_NODISCARD int weir__h1_compose_field_u64(struct weir__h1_out *out, struct weir_view name,
                                              uint64_t value);
WEIR_NODISCARD int weir__h1_compose_fields(struct weir__h1_out *out,
                                           const struct weir_field *fields, size_t count);
/* The blank line. */
WEIR_NODISCARD int weir__h1_compose_end(struct weir__h1_out *out);

enum { WEIR__H1_CHUNK_HEAD_BYTES = 18 };

/* A chunk's size line ("400\r\n") without the CRLF that ends the chunk before it. Returns its length. */
size_t weir__h1_compose_chunk_head(uint8_t buf[WEIR__H1_CHUNK_HEAD_BYTES], uint64_t size);

/* Decimal, no sign, no leading zeros, at most 20 bytes. Returns the length. */
size_t weir__h1_compose_u64(uint8_t buf[20], uint64_t value);

/* The usual phrase of a status ("Not Found"), static; "" for others. */
const char *weir__h1_reason(int status);

#endif
