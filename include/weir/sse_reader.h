/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SSE_READER_H
#define WEIR_SSE_READER_H

#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Reads server-sent events from any source of bytes, by the rules of a browser (WHATWG HTML 9.2.6): a byte order mark is
 * skipped, lines end with LF, CR or CRLF, comments and unknown fields are ignored, an `id` with a NUL and a `retry` that is
 * no number too, an event without data is none, and neither is one that no blank line ends. Bytes that are no UTF-8 come
 * through as they are. An event is delivered as soon as its blank line is there.
 */
struct weir_sse_reader;

/* Borrowed until the next call on the reader. */
struct weir_sse_event {
    struct weir_view type; /* "message" when it has none */
    struct weir_view id;   /* the last one seen, of this or an earlier event; empty: none */
    struct weir_view data; /* data lines joined by LF */
    int64_t retry_ms;      /* the last one seen; -1: none */
};

struct weir_sse_limits {
    size_t max_event_bytes; /* a line and what of its event came before; up to 16 MiB; 0 = 1 MiB */
    size_t max_id_bytes;    /* up to 65536; 0 = 1024 */
};

/**
 * A reader of events. It pulls only when it is asked, and holds one chunk, one event and two ids: at most three times
 * their limits, charged to the process's budget.
 *
 * given   consumed, also when this call fails.
 * limits  borrowed, NULL for the defaults.
 * ret     given: weir_sse_reader_destroy() it.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_reader_create_take(struct weir_source *given,
                                                        const struct weir_sse_limits *limits,
                                                        struct weir_sse_reader **ret);

/**
 * The next event.
 *
 * Returns 1 with an event, 0 at the verified end, or as weir_next(); over a limit WEIR_ELIMIT, final, which cancels the
 * source. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sse_reader_next(struct weir_sse_reader *reader, int64_t deadline,
                                                 struct weir_sse_event *ret);

/** What to send as Last-Event-ID when connecting again: that of the last event, or block without data; empty: none.
 * Borrowed until the next call. Context: loop or fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_sse_reader_last_id(struct weir_sse_reader *reader);

/** How long to wait before that; -1: the stream did not say. Context: loop or fiber.  Since: 0.1. */
WEIR_API int64_t weir_sse_reader_retry_ms(struct weir_sse_reader *reader);

/** Why it failed; before a failure the code is 0. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_sse_reader_error(struct weir_sse_reader *reader, struct weir_error *ret);

/** As weir_cancel() of the source. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_sse_reader_cancel(struct weir_sse_reader *reader, enum weir_reason reason);

/** Frees it and destroys the source; NULL is fine. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_sse_reader_destroy(struct weir_sse_reader *reader);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_sse_reader_destroyp(struct weir_sse_reader **reader);

WEIR_END_DECLS

#endif
