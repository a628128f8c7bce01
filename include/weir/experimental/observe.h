/* SPDX-License-Identifier: MIT */
#ifndef WEIR_EXPERIMENTAL_OBSERVE_H
#define WEIR_EXPERIMENTAL_OBSERVE_H

#include <weir/experimental/client.h>
#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * What the gateway looks at: who holds a stream up, and how much went over each leg. May change before 0.2.
 */

/* The states of one direction of one stream: it is in exactly one at any time. Microseconds; they add up to wall_us. */
struct weir_stall {
    int64_t moving_us;        /* inside a call that transfers */
    int64_t wait_source_us;   /* for bytes from where they come */
    int64_t stream_window_us; /* the receiver's stream window is full */
    int64_t conn_window_us;   /* the receiver's connection window is full */
    int64_t socket_us;        /* the receiver's socket is full */
    int64_t shaped_us;        /* a rate limit */
    int64_t held_us;          /* this program */
    int64_t wall_us;          /* from the direction's begin to its end, or to now */
};

/** The clock of the reply. Context: its loop. */
WEIR_API void weir_req_stall(struct weir_req *req, struct weir_stall *ret);
/** The clock of an exchange's request body. Context: its loop. */
WEIR_API void weir_exchange_stall(struct weir_exchange *exchange, struct weir_stall *ret);

/** Says that from now on the reply waits for this program (true), or for its source (false). Context: fiber. */
WEIR_API void weir_req_hold(struct weir_req *req, bool held);

/* Bytes on the wire, heads and framing included, counted as they go. */
struct weir_traffic {
    uint64_t received, sent;
};
/** Of the request; of the exchange. Context: its loop. */
WEIR_API void weir_req_traffic(struct weir_req *req, struct weir_traffic *ret);
WEIR_API void weir_exchange_traffic(struct weir_exchange *exchange, struct weir_traffic *ret);

/** The monotonic clock of the loop's kind, in microseconds, read now. Context: loop or fiber. */
WEIR_API int64_t weir_clock_us(void);

/** Microseconds at which: the request's head was complete; the exchange's connection was there; its first body byte
 * came (0: not yet). Context: fiber. */
WEIR_API int64_t weir_req_arrived_us(struct weir_req *req);
WEIR_API int64_t weir_exchange_first_byte_us(struct weir_exchange *exchange);

/** Whether the exchange runs on a connection that had been used before. Context: fiber. */
WEIR_API bool weir_exchange_is_reused(struct weir_exchange *exchange);

/** Calls fn(arg) every `period_ms` on the loop while the request lives, between the handler's own steps; one per
 * request; fn must not suspend. Returns 0, WEIR_EINVAL (a period below 1), WEIR_ENOMEM. Context: fiber. */
WEIR_API WEIR_NODISCARD int weir_req_every(struct weir_req *req, int64_t period_ms,
                                           void (*fn)(void *arg), void *arg);

/* What went wrong before a handler saw a request: a malformed head, a limit, an overload. */
struct weir_reject {
    struct weir_view peer;
    int status; /* that was answered; 0: none */
    struct weir_error error;
};

/** Has fn called, on a loop, for each of those; fn must not suspend. One per server, before it runs. */
struct weir_server;
WEIR_API void weir_server_on_reject(struct weir_server *server,
                                    void (*fn)(const struct weir_reject *reject, void *arg),
                                    void *arg);

WEIR_END_DECLS

#endif
