/* SPDX-License-Identifier: MIT */
#ifndef GW_ACCESS_LOG_H
#define GW_ACCESS_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/err.h>
#include <weir/view.h>

#include "problem.h"

/*
 * The access log: JSON, one line per record, one system call per line. A line always fits GW_LINE_BYTES whatever the
 * peers sent, and so is atomic on a pipe. The log never holds a loop up: a line that cannot be taken at once is counted
 * as dropped.
 */

#define GW_LINE_BYTES 4096

/* A path is cut after this many bytes, at a character's edge. */
#define GW_LOG_PATH_BYTES 256

enum gw_record_kind {
    GW_RECORD_END,      /* the exchange is over */
    GW_RECORD_PROGRESS, /* it is still going on */
};

enum gw_outcome {
    GW_OUTCOME_NONE, /* not known yet */
    GW_OUTCOME_COMPLETE,
    GW_OUTCOME_UPSTREAM_ABORT,
    GW_OUTCOME_UPSTREAM_TIMEOUT,
    GW_OUTCOME_CLIENT_GONE,
    GW_OUTCOME_CLIENT_STALLED,
    GW_OUTCOME_LIMIT,
    GW_OUTCOME_PROTOCOL_ERROR,
    GW_OUTCOME_DENIED,  /* 401, 403 */
    GW_OUTCOME_REFUSED, /* overloaded: nothing was tried */
    GW_OUTCOME_SHUTDOWN,
    GW_OUTCOME_INTERNAL_ERROR,
};

enum gw_end_by {
    GW_END_BY_NONE,
    GW_END_BY_CLIENT,
    GW_END_BY_UPSTREAM,
    GW_END_BY_WEIR,
};

/* How long one direction was in each state; the sum is the request's wall time. Microseconds. */
struct gw_stall {
    int64_t moving_us;
    int64_t wait_upstream_us;
    int64_t stream_window_us;
    int64_t conn_window_us;
    int64_t socket_us;
    int64_t shaped_us;
    int64_t gateway_us;
    int64_t idle_us; /* not begun yet, or ended */
};

/* One record. All zero is a legal one; absent views, NULL and the ..._NONE values print as null. */
struct gw_record {
    int64_t time_us; /* wall clock, since 1970 */
    enum gw_record_kind kind;
    struct weir_view id;
    struct weir_view route;
    struct weir_view method;
    struct weir_view path;
    struct weir_view peer;
    struct weir_view key; /* the label */
    struct weir_view upstream;
    int status; /* 0: none was sent */
    enum gw_outcome outcome;
    enum gw_end_by end_by;
    int cause; /* enum weir_err; 0: none */
    enum weir_reason reason;
    const char *proxy_error; /* a token of RFC 9209; NULL: none */
    struct {
        uint64_t client_rx;
        uint64_t client_tx;
        uint64_t upstream_rx;
        uint64_t upstream_tx;
    } bytes;
    struct {
        int64_t auth_us; /* GW_NOT_REACHED: not reached */
        int64_t dial_us;
        int64_t response_head_us;
        int64_t first_byte_us;
        int64_t body_us;
        int64_t total_us;
    } phase;
    struct gw_stall down; /* upstream to client */
    struct gw_stall up;
};

#define GW_NOT_REACHED (-1)

/**
 * Writes the record as one line of JSON (RFC 8259), newline included, not NUL-terminated. Bytes that are not UTF-8
 * become U+FFFD; control characters are escaped. Allocates nothing.
 *
 * Returns its length, or 0 if `size` is too small; GW_LINE_BYTES never is. Context: any thread.
 */
size_t gw_record_format(const struct gw_record *record, char *buffer, size_t size);

/* The stable lower-case names; "?" for a number that is none, NULL for ..._NONE. */
const char *gw_outcome_name(enum gw_outcome outcome);
const char *gw_end_by_name(enum gw_end_by end_by);

enum gw_log_how {
    GW_LOG_OFF,
    GW_LOG_WRITE, /* a file, or a descriptor that does not block */
    GW_LOG_POLLED, /* a descriptor that we must not make non-blocking, for others share it: asked before each line */
    GW_LOG_SOCKET,
};

/* The open log, shared by all threads. All zero is one that is off. */
struct gw_access_log {
    int fd;
    enum gw_log_how how;
    atomic_bool torn; /* the last line was cut short: the next one begins on a line of its own */
    atomic_uint_fast64_t written;
    atomic_uint_fast64_t dropped;
};

/**
 * Opens the log. The process must ignore SIGPIPE.
 *
 * target  a path (created with mode 0640, appended to), "stdout", "stderr" or "off".
 *
 * Returns 0, or WEIR_EIO. Context: any thread.
 */
WEIR_NODISCARD int gw_access_log_init(struct gw_access_log *log, const char *target,
                                      struct gw_problem *problem);

/* The same on a descriptor that stays the caller's; a copy of it is used. */
WEIR_NODISCARD int gw_access_log_init_fd(struct gw_access_log *log, int fd, const char *name,
                                         struct gw_problem *problem);

void gw_access_log_finish(struct gw_access_log *log);

/* Whether lines go anywhere; if not, there is no need to build them. */
bool gw_access_log_is_on(const struct gw_access_log *log);

/**
 * Hands one line over, in one system call that does not wait. An empty line counts as dropped.
 *
 * Returns whether it was taken. Context: any thread.
 */
bool gw_access_log_write(struct gw_access_log *log, const char *line, size_t len);

#endif
