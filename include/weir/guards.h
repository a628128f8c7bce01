/* SPDX-License-Identifier: MIT */
#ifndef WEIR_GUARDS_H
#define WEIR_GUARDS_H

#include <weir/middleware.h>

WEIR_BEGIN_DECLS

/*
 * Middleware that says no, or not so much: sizes, times, counts, rates, keys. Options are borrowed while requests are
 * served; objects are shared by all loops.
 */

/* ---- size of the request's body ---- */

struct weir_body_limit_opts {
    uint64_t max_bytes; /* required */
};

/** A larger body is answered with 413 before the handler, if its length is declared; else its reading fails with
 * WEIR_ELIMIT, which is 413 too. The smallest limit around a handler counts. `arg`: struct weir_body_limit_opts.
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_body_limit(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- deadlines, by phase ---- */

/* Milliseconds; 0: none. A deadline cancels the request's scope, so that the handler's waits answer WEIR_ECANCELED; one
 * that ignores this is left alone. */
struct weir_deadlines_opts {
    int64_t head_ms; /* from here to the reply's head: `status` */
    int64_t
        total_ms; /* from here to the end of the stream: `status`, or an abort once the head has left */
    int64_t
        body_gap_ms; /* between bytes of the request's body, while it is waited for: WEIR_ESTALLED, 408 */
    int64_t
        reply_idle_ms; /* the reply is begun, and the handler gives nothing for so long, the client's own slowness not
                              counted: an abort. Looked at every quarter of it. */
    int64_t
        client_stall_ms; /* a client that takes nothing of what waits for it: it counts as gone */
    int status;          /* [504] */
};

/** Returns as the chain does. `arg`: struct weir_deadlines_opts. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_deadlines(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- how many at once ---- */

struct weir_concurrency;

struct weir_concurrency_opts {
    size_t max;             /* required: streams at once, of the process */
    unsigned retry_after_s; /* for the 503 beyond it [1] */
};

/** ret: given: weir_concurrency_destroy() it. Returns 0, WEIR_EINVAL (no max), WEIR_ENOMEM. Context: any thread.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_concurrency_create(const struct weir_concurrency_opts *opts,
                                                    struct weir_concurrency **ret);
/** Frees it; no request may use it. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_concurrency_destroy(struct weir_concurrency *concurrency);
/** How many slots are taken now. Context: any thread.  Since: 0.1. */
WEIR_API size_t weir_concurrency_used(struct weir_concurrency *concurrency);

/** Holds a slot until the stream has ended, however it ends; without one 503 with Retry-After. `arg`: struct
 * weir_concurrency. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_concurrency(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- keys that limits go by ---- */

#define WEIR_LIMIT_KEY_BYTES 256

/**
 * Whom a request counts for. Writes at most WEIR_LIMIT_KEY_BYTES to `buffer` and returns how many; 0: nobody, the request
 * is not limited. Must not suspend. Only a hash of the key, with a secret of the process, is kept.
 */
typedef size_t(weir_limit_key_fn)(struct weir_req *req, void *arg, uint8_t *buffer);

/** The client's address without its port; of an IPv6 address the first 64 bits. A weir_limit_key_fn. Context: fiber.  Since: 0.1. */
WEIR_API size_t weir_limit_key_address(struct weir_req *req, void *arg, uint8_t *buffer);
/** The request field whose name is `arg` (a string). A weir_limit_key_fn. Context: fiber.  Since: 0.1. */
WEIR_API size_t weir_limit_key_field(struct weir_req *req, void *arg, uint8_t *buffer);

/* ---- how many in a time ---- */

struct weir_rate_limit;

struct weir_rate_limit_opts {
    uint64_t requests;      /* required: so many ... */
    int64_t period_ms;      /* ... in this time, evenly [1,000] */
    uint64_t burst;         /* of them at once after a rest [requests] */
    weir_limit_key_fn *key; /* [weir_limit_key_address] */
    void *key_arg;
    size_t
        max_keys; /* the memory's bound, 16 bytes each; beyond it those are forgotten that are least limited [65,536] */
};

/** ret: given: weir_rate_limit_destroy() it. Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_EIO. Context: any thread.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_rate_limit_create(const struct weir_rate_limit_opts *opts,
                                                   struct weir_rate_limit **ret);
/** Frees it; no request may use it. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_rate_limit_destroy(struct weir_rate_limit *limit);

/** One request more than the rate (GCRA) is answered with 429 and Retry-After. `arg`: struct weir_rate_limit.
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_rate_limit(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- how many bytes in a time ---- */

struct weir_bandwidth;

struct weir_bandwidth_opts {
    uint64_t stream_bytes_per_s; /* of each body; 0: no limit */
    uint64_t
        key_bytes_per_s; /* of all bodies of one key together; 0: no limit. One of the two is required. */
    uint64_t burst_bytes;   /* may go at once after a rest, of both [a tenth of a second's worth] */
    weir_limit_key_fn *key; /* [weir_limit_key_address] */
    void *key_arg;
    size_t max_keys; /* [65,536] */
};

/** ret: given: weir_bandwidth_destroy() it. Returns 0, WEIR_EINVAL (no rate, or one over 10^12), WEIR_ENOMEM, WEIR_EIO.
 * Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_bandwidth_create(const struct weir_bandwidth_opts *opts,
                                                  struct weir_bandwidth **ret);
/** Frees it; no request may use it. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_bandwidth_destroy(struct weir_bandwidth *bandwidth);

/**
 * Slows the reply's body down to the rate: emits wait, and the time counts as shaped. In any span of t seconds at most
 * burst + t times the rate leave. The streams of a key take turns, a hundredth of a second's worth each. `arg`: struct
 * weir_bandwidth. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_mw_bandwidth(struct weir_req *req, const struct weir_chain *next, void *arg);

/**
 * Slows the request's body down to the rate: who reads it waits, and so does the client once the buffers between are full,
 * for nothing is read ahead. In any span of t seconds the handler gets at most burst + t times the rate, and for each stream
 * a hundredth of a second's worth besides; streams of a key take turns by that much. The waiting counts as shaped, and
 * not for the clocks of the client's silence (the body's idle times, weir_deadlines_opts.body_gap_ms); deadlines of the
 * handler's and head_ms, total_ms do run. What the server drains of a body after the handler is not slowed down. The object
 * may be that of weir_mw_bandwidth(): then a key's rate is one of both directions together. `arg`: struct weir_bandwidth.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_mw_upload_bandwidth(struct weir_req *req, const struct weir_chain *next,
                                      void *arg);

/* ---- who ---- */

/**
 * Looks at a bearer token or an API key.
 *
 * secret   what the client sent, borrowed.
 * ret      who that is, for weir_req_identity(); has to live until the request is over. May be left alone.
 *
 * Returns 0 to let the request in, 401 (not known, or no more), 403 (known, but not for this), or a negative code, whose
 * status is sent. May wait.
 */
typedef int(weir_secret_check_fn)(struct weir_req *req, struct weir_view secret, void *arg,
                                  const void **ret);

struct weir_bearer_opts {
    weir_secret_check_fn *check; /* required */
    void *arg;
    const char *realm; /* without quotes and backslashes [weir] */
};

/** Wants `Authorization: Bearer TOKEN` (RFC 6750); else 401 with WWW-Authenticate. Two such fields are 400. `arg`: struct
 * weir_bearer_opts. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_bearer(struct weir_req *req, const struct weir_chain *next, void *arg);

struct weir_api_key_opts {
    weir_secret_check_fn *check; /* required */
    void *arg;
    const char *field; /* [X-API-Key] */
    const char *realm; /* [weir] */
};

/** Wants a key in a field of its own; else 401 with `WWW-Authenticate: ApiKey`. Two such fields are 400. `arg`: struct
 * weir_api_key_opts. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_api_key(struct weir_req *req, const struct weir_chain *next, void *arg);

/** What the innermost check said the client is; NULL if nothing. Context: fiber.  Since: 0.1. */
WEIR_API const void *weir_req_identity(struct weir_req *req);

/** Whether two secrets are the same, in a time that depends on the length of `given` only. An empty one
 * is like no other. Context: any thread.
 * Since: 0.1. */
WEIR_API bool weir_secret_equal(struct weir_view given, struct weir_view known);

WEIR_END_DECLS

/*
 * Example: 100 streams at once, ten requests per second and client, and a token for all of it.
 *
 *     static int check(struct weir_req *req, struct weir_view token, void *arg, const void **ret)
 *     {
 *         return weir_secret_equal(token, weir_str(arg)) ? 0 : 401;
 *     }
 *
 *     struct weir_bearer_opts bearer = {.check = check, .arg = token};
 *     struct weir_middleware all[] = {{weir_mw_rate_limit, limit}, {weir_mw_bearer, &bearer}, {weir_mw_concurrency, slots}};
 */

#endif
