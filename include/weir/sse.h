/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SSE_H
#define WEIR_SSE_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Server-sent events (WHATWG HTML 9.2). Each emit leaves whole: as soon as the fiber waits, or at once when a
 * millisecond has passed since the last flush.
 */
struct weir_event {
    const char *event;     /* NULL: none ("message" to the reader) */
    const char *id;        /* NULL: none */
    struct weir_view data; /* split into data lines at CR, LF and CRLF; absent: no data line */
    int64_t retry_ms;      /* 0: none */
};

/**
 * Begins an event stream: text/event-stream, Cache-Control: no-cache, X-Accel-Buffering: no.
 *
 * fields  borrowed, added to those; NULL for none.
 * ret     given: weir_sink_destroy() it, after weir_end().
 *
 * Returns as weir_stream_begin(). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_begin(struct weir_req *req, int status,
                                           struct weir_fields *fields, struct weir_sink **ret);

/**
 * Sends one event, waiting while the client's window is full.
 *
 * Returns 0, WEIR_EINVAL (CR, LF or NUL in `event` or `id`; nothing was sent), or as weir_emit().
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_emit(struct weir_sink *sink, const struct weir_event *event);

/** Sends a comment line (": text"), which readers ignore; CR and LF in it are refused (WEIR_EINVAL).
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_sse_comment(struct weir_sink *sink, struct weir_view text);

WEIR_END_DECLS

#endif
