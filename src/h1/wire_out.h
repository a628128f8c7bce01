/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_WIRE_OUT_H
#define WEIR_H1_WIRE_OUT_H

#include <string.h>

#include "base/assert.h"
#include "h1/compose.h"
#include "h1/wire.h"

/* The outgoing half of a connection: the operations of struct weir__proto_ops, and their buffers. */
void weir__h1_out_init(struct weir__h1_wire *wire);
void weir__h1_out_drop(struct weir__h1_wire *wire);

int weir__h1_out_begin(struct weir__stream *stream, const struct weir__head *head);
int weir__h1_out_inform(struct weir__stream *stream, int status, struct weir_fields *fields);
int weir__h1_out_room(struct weir__stream *stream, size_t *ret_room,
                      enum weir__stall_state *ret_cause);
int weir__h1_out_write(struct weir__stream *stream, struct weir_chunk *chunk, size_t follows);
bool weir__h1_out_can_splice(struct weir__stream *stream);
bool weir__h1_out_can_send_file(struct weir__stream *stream);
int weir__h1_out_send_file(struct weir__stream *stream, int fd, uint64_t offset, size_t bytes,
                           size_t *ret_moved);
int weir__h1_out_splice(struct weir__stream *stream, int pipe_fd, size_t bytes, size_t *ret_moved);
int weir__h1_out_end(struct weir__stream *stream, struct weir_fields *trailers);
int weir__h1_out_flush(struct weir__stream *stream, enum weir__stall_state *ret_cause);
void weir__h1_out_abort(struct weir__stream *stream, enum weir_reason reason);

/* Room for `bytes` more at the end of what is queued first; NULL without memory. */
int weir__h1_out_reserve(struct weir__h1_wire *wire, size_t bytes, struct weir__h1_out *ret);
void weir__h1_out_commit(struct weir__h1_wire *wire, const struct weir__h1_out *out);

/* Bytes that there is room for. */
static inline void weir__h1_out_put(struct weir__h1_out *out, const void *bytes, size_t len)
{
    weir_debug_assert(out->cap - out->len >= len);
    memcpy(out->data + out->len, bytes, len);
    out->len += len;
}

/* The lines of fields but for those that are ours to write, and how many bytes they are at most. ret_has_date may be NULL;
 * set when there is a Date. As weir__h1_compose_field(); on failure some were written. */
int weir__h1_out_put_fields(struct weir__h1_out *out, struct weir_fields *fields,
                            bool *ret_has_date);
size_t weir__h1_out_fields_bytes(struct weir_fields *fields);

#endif
