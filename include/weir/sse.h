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
    const char *id;        /* NULL: none; "" makes the reader forget its last one */
    struct weir_view data; /* split into data lines at CR, LF and CRLF; absent: no data line */
    int64_t retry_ms;      /* how long the reader waits before it comes back; 0: not said */
};

/*
 * How an event stream is kept. A heartbeat shows proxies and readers that a silent stream lives, and finds a client that
 * is not there any more: one that takes none of them for as long as a write may stall counts as gone. It is sent by the
 * loop, also while the handler waits for something else, and only between events: never inside an emit, and not behind
 * bytes of a weir_emit() that did not end with a blank line. Not for HEAD.
 */
struct weir_sse_opts {
    int64_t heartbeat_ms;            /* after so long without a byte of the handler's; 0: never */
    struct weir_view heartbeat_text; /* of the comment, each line a comment of its own; copied */
    bool heartbeat_line;             /* a bare comment line, without the blank line behind it */
    const struct weir_event *heartbeat_event; /* copied; instead of a comment; NULL: a comment */
    int64_t retry_ms;                         /* sent as soon as the stream is begun; 0: not said */
};

/**
 * Says how the event stream that this request's handler begins next is to be kept. Middleware may say it for a handler;
 * a later call takes the place of an earlier one.
 *
 * opts  copied; NULL: the defaults, which send nothing.
 *
 * Returns 0, WEIR_EINVAL (a negative time or one over a year, an event that weir_sse_emit() would refuse), WEIR_ELIMIT
 * (a heartbeat of more than 4096 bytes), WEIR_ESTATE (the reply has been begun), WEIR_ENOMEM. Context: fiber.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_config(struct weir_req *req, const struct weir_sse_opts *opts);

/**
 * Begins an event stream: text/event-stream; Cache-Control: no-cache and X-Accel-Buffering: no unless `fields` has them.
 *
 * fields  borrowed, added to those; NULL for none.
 * ret     given: weir_sink_destroy() it, after weir_end(). Untouched on failure.
 *
 * Returns as weir_stream_begin(). Context: fiber; with retry_ms in weir_sse_config() as weir_sse_emit(), suspends.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_begin(struct weir_req *req, int status,
                                           struct weir_fields *fields, struct weir_sink **ret);

/**
 * Sends one event, waiting while the client's window is full.
 *
 * Returns 0, WEIR_EINVAL (CR or LF in `event` or `id`, a negative retry_ms; nothing was sent, the stream goes on), or
 * as weir_emit(), and as there
 * WEIR_ENOMEM is final. A NUL cannot get into `event` and `id`: it ends them. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_emit(struct weir_sink *sink, const struct weir_event *event);

/** Sends a comment, which readers ignore: each line of the text as ": line", a blank line behind them.
 * Returns as weir_emit(). Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_sse_comment(struct weir_sink *sink, struct weir_view text);

/**
 * The id of the last event that a returning reader has seen: its Last-Event-ID, borrowed until weir_req_drop_head() or
 * the handler's return. Absent if there is none, or none to rely on: several of them, more than 1024 bytes, a control
 * byte, no UTF-8. It is the client's word: to look up, not to trust. Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_view weir_sse_last_event_id(struct weir_req *req);

/**
 * An event stream from a producer: begun, fed by producer(out, arg) through weir_sse_emit(), and ended or aborted as
 * weir_reply_stream() does.
 * Returns as weir_reply_stream(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_sse(struct weir_req *req, int status,
                                           weir_producer_fn *producer, void *arg);

WEIR_END_DECLS

#endif
