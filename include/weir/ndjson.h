/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NDJSON_H
#define WEIR_NDJSON_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Newline-delimited JSON: one record a line. The records come from a JSON library of the caller's choice; each emit is
 * one of them, and leaves whole: as soon as the fiber waits, or at once when a millisecond has passed since the last
 * flush.
 */

/**
 * Begins a stream of records: application/x-ndjson, and X-Accel-Buffering: no unless `fields` has one.
 *
 * fields  borrowed, added to those; NULL for none.
 * ret     given: weir_sink_destroy() it, after weir_end(). Untouched on failure.
 *
 * Returns as weir_stream_begin(). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_ndjson_begin(struct weir_req *req, int status,
                                              struct weir_fields *fields, struct weir_sink **ret);

/**
 * Sends one record and the newline behind it, waiting while the client's window is full.
 *
 * record  borrowed: one JSON text, serialised without line breaks. It is not parsed.
 *
 * Returns 0, WEIR_EINVAL (empty, or a CR or LF in it: it would be two records; nothing was sent, the stream goes on),
 * or as weir_emit(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_ndjson_emit(struct weir_sink *sink, struct weir_view record);

/**
 * The same stream from a producer: begun, fed by producer(out, arg), and ended or aborted as weir_reply_stream() does.
 * Returns as weir_reply_stream(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_ndjson(struct weir_req *req, int status,
                                              weir_producer_fn *producer, void *arg);

WEIR_END_DECLS

#endif
