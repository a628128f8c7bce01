/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_H
#define WEIR_HTTP_H

#include <weir/fields.h>
#include <weir/rt.h>
#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Requests and replies. A handler gets a request, reads its body as a source, begins a reply, feeds its sink and ends
 * it, all in one fiber. Nothing is committed before the reply is begun; after that every failure is visible to the
 * client as an abort. When the client leaves, the request's scope is cancelled: the next wait of the handler answers
 * WEIR_ECANCELED, and what was started for it upstream stops at once.
 */
struct weir_req;

/**
 * Answers one request. `req` is valid until it returns.
 *
 * Returns 0, or a negative code: before the head was begun the client gets the status that belongs to the code
 * (weir_err_status(); a WEIR_EUNSUPPORTED of a call that was to read the request's body by its Content-Type or
 * Content-Encoding is 415, the latter with an Accept-Encoding that names what would do); after it the stream is aborted.
 */
typedef int(weir_handler_fn)(struct weir_req *req, void *arg);

/* ---- the request; views are borrowed until weir_req_drop_head() or the handler's return ---- */

/** The method, as sent: "GET". Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_method(struct weir_req *req);
/** The whole request target, as sent. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_target(struct weir_req *req);
/** Its path, not decoded, not normalised; "*" for OPTIONS *. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_path(struct weir_req *req);
/** Its query without the question mark; absent if there is none. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_query(struct weir_req *req);
/** The authority: of an absolute target, else the Host field; absent without either. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_authority(struct weir_req *req);
/** All fields, borrowed; NULL after weir_req_drop_head(). Context: fiber.  Since: 0.1. */
WEIR_API struct weir_fields *weir_req_fields(struct weir_req *req);
/** The value of the first field of that name; absent if there is none. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_field(struct weir_req *req, const char *name);
/** A number from the query ("n=5"), or `otherwise` when it is missing or no number. Context: fiber.  Since: 0.1. */
WEIR_API uint64_t weir_req_query_u64(struct weir_req *req, const char *name, uint64_t otherwise);
/** "HTTP/1.1" and the like, static. Context: fiber.  Since: 0.1. */
WEIR_API const char *weir_req_protocol(struct weir_req *req);
/** The client's address and port as text, until the handler's return. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_peer(struct weir_req *req);
/** A number that names the request in this process. Context: fiber.  Since: 0.1. */
WEIR_API uint64_t weir_req_id(struct weir_req *req);
/** Frees what the head takes in memory: for a stream that goes on for long after its head was looked at.
 * Context: fiber.  Since: 0.1. */
WEIR_API void weir_req_drop_head(struct weir_req *req);

/**
 * The body, borrowed: read it with weir_next(). What consumes a source, a combinator for one, is given that of
 * weir_req_decoded_body() instead, which is the handler's own. A request without a body gives a source that is at its end.
 * The first read answers an `Expect: 100-continue`, but not after the reply's head: a handler that replies while it reads
 * begins its reply after that read. What is left unread at the end is drained within bounds, so that the client can read an
 * early answer.
 * Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_source *weir_req_body(struct weir_req *req);

/** Whether the request has a body to read. Context: fiber.  Since: 0.1. */
WEIR_API bool weir_req_has_body(struct weir_req *req);

/** The body's declared length; UINT64_MAX when it is not known before its end. Context: fiber.  Since: 0.1. */
WEIR_API uint64_t weir_req_body_length(struct weir_req *req);

/** The body's trailers after its end, borrowed; NULL for none. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_fields *weir_req_trailers(struct weir_req *req);

/** Bounds the body: one byte more and it fails with WEIR_ELIMIT (413), at once when a larger length is declared.
 * Returns 0 or WEIR_ELIMIT. Context: fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_req_limit_body(struct weir_req *req, uint64_t max_bytes);

/** Whether the client has gone, and why (`ret` may be NULL). True for good once it is. Context: loop or fiber.
 * Since: 0.1. */
WEIR_API bool weir_req_gone(struct weir_req *req, enum weir_reason *ret);

/* ---- the reply ---- */

/* A length that is not known beforehand: chunked, or until close for HTTP/1.0. */
#define WEIR_LENGTH_UNKNOWN UINT64_MAX
/* Not known, and the end is the connection's: a relay keeps what its upstream did. Elsewhere as unknown. */
#define WEIR_LENGTH_UNTIL_CLOSE (UINT64_MAX - 1)

/**
 * Begins the reply: from here on the handler feeds the sink and ends it. The head leaves with the first bytes, or as
 * soon as the fiber waits.
 *
 * status  200 to 599.
 * fields  borrowed, NULL for none. Framing (Content-Length, Transfer-Encoding, Connection) is the library's: such
 *         lines are left out. Date is added when missing. Trailers that a reader should know of beforehand are named in
 *         a Trailer field (RFC 9110 6.6.2); they go with weir_end().
 * length  of the body in bytes, or WEIR_LENGTH_UNKNOWN. A body that does not match it is aborted. For HEAD, 204 and
 *         304 the body is accepted and dropped.
 * ret     given: weir_sink_destroy() it (the request ends what is left, as an abort). Untouched on failure.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ESTATE (begun already), WEIR_ENOMEM, WEIR_EBUDGET, or why the client is gone
 * (WEIR_ECLOSED, WEIR_ERESET). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_stream_begin(struct weir_req *req, int status,
                                              struct weir_fields *fields, uint64_t length,
                                              struct weir_sink **ret);

/** A whole reply at once, ended. The body is copied. `type` takes the place of a given
 * Content-Type; NULL: none is added.
 * Returns as weir_stream_begin(), weir_emit() and weir_end() do. Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_bytes(struct weir_req *req, int status,
                                             struct weir_fields *fields, const char *type,
                                             struct weir_view body);

/** The same with a printf format, as text/plain; at most 1023 bytes (WEIR_ELIMIT). Context: fiber, suspends.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_text(struct weir_req *req, int status, const char *format,
                                            ...) WEIR_PRINTF(3, 4);

/** A whole text/html reply, in UTF-8; other fields come with weir_reply_bytes(). As that. Context: fiber, suspends.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_html(struct weir_req *req, int status,
                                            struct weir_view html);

/** A whole application/json reply; the bytes are not parsed. Otherwise as weir_reply_html(). Context: fiber, suspends.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_json(struct weir_req *req, int status,
                                            struct weir_view json);

/**
 * Sends the client elsewhere (RFC 9110 15.4), without a body.
 *
 * status    301, 302, 303, 307 or 308.
 * fields    borrowed, NULL for none; a Location among them gives way.
 * location  an absolute or relative URI reference (RFC 3986 4.1), percent-encoded by the caller.
 *
 * Returns WEIR_EINVAL, with nothing begun, for another status, and for a location that is empty or has a byte no URI
 * has: CR, LF, NUL and other controls, space, backslash, quotes, anything beyond ASCII. Otherwise as
 * weir_reply_bytes(). Where the client is sent is not judged: do not pass on what a client wrote.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_redirect(struct weir_req *req, int status,
                                                struct weir_fields *fields,
                                                struct weir_view location);

/** A reply without a body. Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_empty(struct weir_req *req, int status,
                                             struct weir_fields *fields);

/** A reply whose body is a source, piped to its end; the source is given. Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_source_take(struct weir_req *req, int status,
                                                   struct weir_fields *fields, uint64_t length,
                                                   struct weir_source *source);

/**
 * Feeds the body of a reply. `out` is borrowed: it must not be destroyed, and may be ended (with trailers). Returns 0
 * when all was said, or a negative code.
 */
typedef int(weir_producer_fn)(struct weir_sink *out, void *arg);

/**
 * A reply that a producer feeds, in the calling fiber: begun, then ended cleanly if the producer returns 0, aborted
 * visibly otherwise. The producer is not called where no body is sent (HEAD, 204, 304).
 *
 * fields, length  as of weir_stream_begin().
 * arg             the producer's.
 *
 * Returns as weir_stream_begin() (WEIR_EINVAL for a NULL producer), what the producer returned (a positive result is
 * WEIR_EINVAL), or as weir_end(): after a failed emit that the producer did not tell of, too. Context: fiber, suspends.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_stream(struct weir_req *req, int status,
                                              struct weir_fields *fields, uint64_t length,
                                              weir_producer_fn *producer, void *arg);

/**
 * Sends an interim response (RFC 9110 15.2) before the final one: 100 to 199, but 101.
 * Returns 0, WEIR_EINVAL, WEIR_ESTATE (the head has been begun), WEIR_EUNSUPPORTED (an HTTP/1.0 client), or why the
 * client is gone. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_inform(struct weir_req *req, int status,
                                        struct weir_fields *fields);

/** Whether the reply has been begun: no other status can be sent. Context: fiber.  Since: 0.1. */
WEIR_API bool weir_req_is_begun(struct weir_req *req);

/** The HTTP status that belongs to an error code. Context: any thread.  Since: 0.1. */
WEIR_API int weir_err_status(int code);

WEIR_END_DECLS

#endif
