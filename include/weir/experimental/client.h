/* SPDX-License-Identifier: MIT */
#ifndef WEIR_EXPERIMENTAL_CLIENT_H
#define WEIR_EXPERIMENTAL_CLIENT_H

#include <weir/fields.h>
#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * The HTTP client. An exchange is one request and its response, both streamed: the request's body is a sink, the
 * response's a source, and nothing is read from the socket that nobody asked for. Connections are pooled per loop and
 * origin. An exchange belongs to the fiber's scope that opened it: when that is cancelled, the connection closes at
 * once. May change before 0.2.
 */
struct weir_client;
struct weir_exchange;

struct weir_client_opts {
    /* Durations in ms; 0: the default in brackets; WEIR_NO_TIMEOUT: none. */
    int64_t dial_timeout_ms; /* name look-up and connect [3,000] */
    int64_t head_timeout_ms; /* from the request's end to the response's head [60,000] */
    int64_t first_byte_ms;   /* from the head to the first byte of the body [120,000] */
    int64_t
        idle_timeout_ms; /* between bytes of the body, and for a request body that is not taken [300,000] */
    int64_t keepalive_ms;   /* how long an idle connection is kept [60,000] */
    size_t max_connections; /* per origin, of the process; 0: no limit */
    size_t max_idle;        /* idle ones per origin and loop [256] */
    size_t stream_bytes;    /* of one body read and not yet released [4 MiB]: further reads wait */
    size_t head_bytes;      /* of a response [64 KiB] */
    size_t max_fields;      /* of a response [200] */
    uint32_t pace_slow_bytes, pace_fast_bytes, pace_fast_chunk,
        pace_fast_after; /* as in weir_server_opts */
    uint32_t pace_stall_reset_ms, pace_stall_slow_ms;
};
#define WEIR_NO_TIMEOUT INT64_C(-1)
#define WEIR_NO_IDLE SIZE_MAX

/** opts: copied, NULL for the defaults. ret: given. Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: any thread. */
WEIR_API WEIR_NODISCARD int weir_client_create(const struct weir_client_opts *opts,
                                               struct weir_client **ret);

/** Frees it; no exchange may be open, and its loops must have ended. NULL is fine. Context: any thread. */
WEIR_API void weir_client_destroy(struct weir_client *client);

struct weir_exchange_opts {
    struct weir_view host;   /* where to connect to: a name or a literal address; required */
    uint16_t port;           /* required */
    struct weir_view method; /* required */
    struct weir_view target; /* origin-form; required */
    struct weir_fields *
        fields; /* borrowed until weir_exchange_head() has returned 0; Host is the caller's to give;
                                   framing lines are left out */
    bool has_body;        /* then weir_exchange_sink() must be fed and ended */
    uint64_t body_length; /* with has_body: declared, or UINT64_MAX: chunked */
    bool expect_continue; /* sends Expect: 100-continue; the 100 is seen by weir_exchange_head() */
};

/**
 * Connects, or takes an idle connection, and sends the request's head. A connection that proves stale before a byte of
 * the response has come is replaced once, if the method is idempotent and no body byte was sent.
 *
 * opts   borrowed, with all it points to, until weir_exchange_head() has returned 0 or an error: a second try needs it.
 * ret    given: weir_exchange_destroy() it.
 * error  what failed in detail; may be NULL.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOTFOUND (no such name), WEIR_EREFUSED, WEIR_ETIMEDOUT (dialling), WEIR_ERESET,
 * WEIR_ELIMIT (max_connections are in use until the dial time-out; or no descriptors), WEIR_ECANCELED, WEIR_ENOMEM,
 * WEIR_EBUDGET, WEIR_EIO. Context: fiber, suspends.
 */
WEIR_API WEIR_NODISCARD int weir_exchange_open(struct weir_client *client,
                                               const struct weir_exchange_opts *opts,
                                               struct weir_exchange **ret,
                                               struct weir_error *error);

/** The request's body, borrowed: emit and weir_end() it. NULL without one. Context: fiber. */
WEIR_API struct weir_sink *weir_exchange_sink(struct weir_exchange *exchange);

/**
 * Waits for the next head of the response.
 *
 * Returns 1 for an interim one (1xx; call again), 0 for the final one, or WEIR_ETIMEDOUT, WEIR_ERESET, WEIR_ECLOSED
 * (the connection ended before a head), WEIR_EPROTO, WEIR_ELIMIT (an oversize head), WEIR_ECANCELED, WEIR_ENOMEM,
 * WEIR_EBUDGET: final. Context: fiber, suspends.
 */
WEIR_API WEIR_NODISCARD int weir_exchange_head(struct weir_exchange *exchange,
                                               struct weir_error *error);

/** Of the head last seen; views and fields are borrowed until weir_exchange_drop_head() or the next head.
 * Context: fiber. */
WEIR_API int weir_exchange_status(struct weir_exchange *exchange);
WEIR_API struct weir_view weir_exchange_reason(struct weir_exchange *exchange);
WEIR_API struct weir_fields *weir_exchange_fields(struct weir_exchange *exchange);
WEIR_API void weir_exchange_drop_head(struct weir_exchange *exchange);

/** The declared length of the response's body; UINT64_MAX when not known. Context: fiber. */
WEIR_API uint64_t weir_exchange_length(struct weir_exchange *exchange);

/** The response's body, borrowed. A short length or a missing last chunk is WEIR_ETRUNCATED. Context: fiber. */
WEIR_API struct weir_source *weir_exchange_body(struct weir_exchange *exchange);

/** The response's trailers after the body's end, borrowed; NULL for none. Context: fiber. */
WEIR_API struct weir_fields *weir_exchange_trailers(struct weir_exchange *exchange);

/** Ends it: the connection goes back to the pool if both bodies have ended, else it closes at once. NULL is fine.
 * Context: loop or fiber, never suspends. */
WEIR_API void weir_exchange_destroy(struct weir_exchange *exchange);

/** For the cleanup attribute. */
WEIR_API void weir_exchange_destroyp(struct weir_exchange **exchange);

WEIR_END_DECLS

#endif
