/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_FRAME_H
#define WEIR_HTTP_FRAME_H

#include <weir/stream.h>

/*
 * A frame is what a reader takes as one: an event, a record. It is one chunk and one emit, so nothing comes between its
 * bytes, and it leaves whole.
 */

/* A chunk of any size to be filled in for that sink. Returns 0; WEIR_ENOMEM or WEIR_EBUDGET, final for the sink: a stream
 * must not end cleanly without this frame; WEIR_EBUSY. */
WEIR_NODISCARD int weir__frame_create(struct weir_sink *sink, size_t size, uint8_t **ret_bytes,
                                      struct weir_chunk **ret);

/* Sends it (given), and flushes when the last flush is a millisecond ago. As weir_emit(). Context: fiber, suspends. */
WEIR_NODISCARD int weir__frame_send_take(struct weir_sink *sink, struct weir_chunk *frame);

#endif
