/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_H
#define WEIR_BODY_H

#include <weir/compress.h>
#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Whole bodies, for handlers that need all bytes at once, or none of them. Both calls take any source and a bound; there
 * is no way to read without one. Whatever either fails with, WEIR_EBUSY apart, the source fails with for good: the bytes
 * that were read so far are gone, and nobody may take the rest for the whole. The connection is left alone, so that the
 * client can still read the answer: a handler that returns the code replies with its status (WEIR_ELIMIT: 413).
 */

/**
 * Reads a source to its verified end into one run of memory. Chunks are released as they are copied, so the peer's window
 * stays open up to the bound; the memory grows with what has come (at most to twice of it, and by what is kept while it is
 * copied), never ahead of it, and is charged to the process's budget.
 *
 * max_bytes  the most that is accepted; exactly as many are fine. A request's body that declares more fails at once, before
 *            a byte is read and before a 100 (Continue) is sent.
 * deadline   for all of it, absolute, monotonic ms; 0 = only what is there already, -1 = only the source's own clocks.
 * ret        given: weir_chunk_unref() it. One chunk with all bytes; it has none if the body has none, and may be of any
 *            size up to max_bytes. It carries no credit. Untouched on failure.
 *
 * Returns 0, or
 *   WEIR_ELIMIT      more than max_bytes, declared or counted;
 *   WEIR_ETIMEDOUT   not all of it came in time;
 *   WEIR_EBUDGET, WEIR_ENOMEM   there is no memory for it now;
 *   WEIR_EBUSY       another fiber is inside a call on the source; it is as it was;
 *   any final error of weir_next(); weir_source_error() tells its reason.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_read_all(struct weir_source *source, size_t max_bytes,
                                          int64_t deadline, struct weir_chunk **ret);

/**
 * Reads a source to its verified end and drops what comes; it holds nothing. A handler that simply returns need not call it:
 * the server drains the rest of a body within bounds of its own.
 *
 * max_bytes  as of weir_read_all(); 0 is fine and asks whether the body is empty.
 * deadline   as of weir_read_all().
 *
 * Returns 0 at the verified end, or as weir_read_all(), without the memory errors of its own. Context: fiber, suspends.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_discard(struct weir_source *source, uint64_t max_bytes,
                                         int64_t deadline);

/**
 * A request's body with its Content-Encoding undone, as a source: what weir_req_body() is for a handler that wants to know
 * nothing of codings. A small body may unpack into a huge one, so output is bounded by its ratio to the input (100 unless
 * opts say otherwise) and, with opts->max_bytes, in bytes. Without a Content-Encoding it is the body itself, with max_bytes
 * as its limit. The body must not be read besides.
 *
 * opts  borrowed, NULL for the defaults.
 * ret   given: weir_source_destroy() it before the handler returns. Fails as weir_decode_take() says. When it does, or is
 *       destroyed before its end, the body is left alone, so that the client can still read the answer (WEIR_ELIMIT: 413);
 *       weir_cancel() cancels the body, too.
 *
 * Returns 0, WEIR_EUNSUPPORTED (a coding that is not known; a handler that returns the code replies with 415 and an
 * Accept-Encoding of what is known), WEIR_ELIMIT (more than two codings in a line, or than two lines), WEIR_ENOMEM,
 * WEIR_EBUDGET. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_req_decoded_body(struct weir_req *req,
                                                  const struct weir_decode_opts *opts,
                                                  struct weir_source **ret);

WEIR_END_DECLS

/*
 * Example: a small JSON body, at most 64 KiB of it within 5 s; a larger one is answered with 413.
 *
 *     struct weir_chunk *text = NULL;
 *     int r = weir_read_all(weir_req_body(req), 65536, weir_after_ms(5000), &text);
 *
 *     if (r == 0) {
 *         r = answer(req, weir_chunk_view(text));
 *     }
 *     weir_chunk_unref(text);
 *     return r;
 */

#endif
