/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TELEMETRY_H
#define WEIR_TELEMETRY_H

#include <weir/middleware.h>

WEIR_BEGIN_DECLS

/*
 * Middleware and handlers that tell what goes on: request ids, trace context, access log, metrics, health. Outermost
 * first, the order that works is: request id, trace, access log, metrics, then the rest; each is around the whole stream.
 */

/* ---- request id ---- */

struct weir_request_id_opts {
    const char *field; /* [X-Request-ID] */
    bool
        trust_inbound; /* take the client's, if it is 1 to max_bytes of A-Z a-z 0-9 - _ . : / + = @ */
    size_t max_bytes; /* at most 128 [64] */
};

/** Gives the request an id, the client's or 32 random hex digits, and echoes it in the reply. `arg`: struct
 * weir_request_id_opts, borrowed while requests are served; NULL for the defaults. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_request_id(struct weir_req *req, const struct weir_chain *next, void *arg);

/** That id; absent outside of the middleware. Borrowed until it returns. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_request_id(struct weir_req *req);

/* ---- trace context (W3C Trace Context) ---- */

#define WEIR_TRACEPARENT_BYTES 55

struct weir_trace {
    uint8_t trace_id[16];
    uint8_t parent_id[8]; /* the caller's span; zero if there was none */
    uint8_t span_id[8];   /* this request's */
    uint8_t flags;        /* bit 0: sampled */
    bool is_continued;    /* by the client's traceparent */
};

struct weir_trace_opts {
    bool ignore_inbound;       /* begin a trace of one's own with every request */
    unsigned sample_per_mille; /* of the traces that begin here; 1001 stands for none [1000] */
};
#define WEIR_SAMPLE_NONE 1001

/** Continues the client's trace or begins one. What is not exactly a traceparent, or comes twice, is as if it were not
 * there. `arg`: struct weir_trace_opts, borrowed; NULL for the defaults. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_trace(struct weir_req *req, const struct weir_chain *next, void *arg);

/** The trace; NULL outside of the middleware. Borrowed until it returns. Context: fiber.  Since: 0.1. */
WEIR_API const struct weir_trace *weir_req_trace(struct weir_req *req);

/** The client's tracestate, to be passed on with the traceparent; absent without one, or without a valid traceparent. Of
 * several lines the first. Borrowed as the head is. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_tracestate(struct weir_req *req);

/** The traceparent to send on: this request's span is the parent there. `ret_text` takes WEIR_TRACEPARENT_BYTES.
 * Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_traceparent_format(const struct weir_trace *trace, char *ret_text);

/** Reads one; `ret` has trace_id, parent_id and flags then. Returns 0 or WEIR_EPROTO (`ret` untouched): a version ff, zero
 * ids, capitals, a wrong length (later versions may be longer). Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_traceparent_parse(struct weir_view text, struct weir_trace *ret);

/* ---- access log ---- */

struct weir_access_log_opts {
    /* Gets each line of JSON, newline included, borrowed; at most WEIR_LOG_LINE_BYTES. On any loop's thread, at the end of
     * the stream; must not block for long, nor suspend. Required. */
    void (*write)(struct weir_view line, void *arg);
    void *arg;
    bool no_peer; /* leave out the client's address */
};
#define WEIR_LOG_LINE_BYTES 4096

/**
 * Writes one line when the stream has ended:
 *
 *     {"time":"2026-01-02T03:04:05.678Z","id":"...","trace":"...","route":"/items/:id","method":"GET","path":"/items/5",
 *      "protocol":"HTTP/1.1","peer":"192.0.2.1:4711","status":200,"outcome":"complete","cause":null,"reason":null,
 *      "bytes":{"received":0,"sent":120},"head_ms":0.312,"duration_ms":5.020,"stall_ms":{"moving":...,
 *      "wait_source":...,"stream_window":...,"conn_window":...,"socket":...,"shaped":...,"held":...}}
 *
 * Null stands for what there is not; head_ms is the time to the reply's head. Of the path 256 bytes are written, and no
 * query. Bytes that are not UTF-8 become U+FFFD, control characters are escaped. A line for which there is no memory is
 * left out. `arg`: struct weir_access_log_opts, borrowed. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_mw_access_log(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- metrics ---- */

/*
 * Counts of the process, shared by all loops. Labels have few values: routes by their pattern, methods beyond those of
 * RFC 9110 and PATCH as "_OTHER"; what exceeds max_series is counted under the route "_OTHER".
 */
struct weir_metrics;

struct weir_metrics_opts {
    size_t max_series; /* combinations of labels [1000] */
};

/** ret: given: weir_metrics_destroy() it. Returns 0, WEIR_ENOMEM. Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_metrics_create(const struct weir_metrics_opts *opts,
                                                struct weir_metrics **ret);

/** Frees it; no request may use it. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_metrics_destroy(struct weir_metrics *metrics);

/** Counts a request, until its stream has ended. `arg`: struct weir_metrics. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_metrics(struct weir_req *req, const struct weir_chain *next, void *arg);

/**
 * Replies with the counts as Prometheus text (version 0.0.4), named after OpenTelemetry's semantic conventions:
 *
 *     http_server_request_duration_seconds       histogram; http_request_method, http_route,
 *         http_response_status_code, network_protocol_version, error_type (an outcome that is not "complete", else the
 *         code of a status from 500), weir_exchange ("unary", "stream": no declared length)
 *     http_server_active_requests                gauge; http_request_method
 *     http_server_request_body_size_bytes, http_server_response_body_size_bytes   histograms; http_request_method,
 *         http_route
 *     weir_time_to_first_byte_seconds            histogram, to the reply's head; http_route
 *     weir_streams_total                         counter; http_route, outcome
 *     weir_stream_stall_seconds_total            counter; http_route, direction ("down"), cause
 *     weir_bytes_total                           counter; http_route, io ("rx", "tx"): of bodies, booked at the end
 *
 * `arg`: struct weir_metrics. A weir_handler_fn. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_metrics_handle(struct weir_req *req, void *arg);

/* ---- health ---- */

struct weir_health_check {
    const char *name;        /* letters, digits, "-", "_": goes into the reply as it is */
    int (*check)(void *arg); /* 0: fine; in the request's fiber, may wait */
    void *arg;
};

struct weir_health {
    const struct weir_health_check *checks; /* borrowed */
    size_t count;
};

/** Says that the process lives: 200 {"status":"ok"}. A weir_handler_fn. `arg` is not used. Context: fiber, suspends.
 * Since: 0.1. */
WEIR_API int weir_health_live(struct weir_req *req, void *arg);

/** Runs all checks: 200 {"status":"ok"}, or 503 {"status":"unavailable","failed":["db"]}. A weir_handler_fn; `arg`: struct
 * weir_health, borrowed. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_health_ready(struct weir_req *req, void *arg);

WEIR_END_DECLS

#endif
