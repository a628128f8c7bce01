/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SERVER_H
#define WEIR_SERVER_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * A server: listeners, threads with a loop each, one handler. All-zero options are the defaults.
 */
struct weir_server;

struct weir_server_opts {
    weir_handler_fn *handler; /* required; runs in a fiber per request, on any of the threads */
    void *arg;                /* for the handler; borrowed for the server's life */
    unsigned threads;         /* 0: one per processor this process may use */

    /* Durations in ms; 0: the default in brackets. */
    int64_t head_timeout_ms;      /* for a request's head, from its first byte [10,000]: 408 */
    int64_t keepalive_timeout_ms; /* between requests [75,000] */
    int64_t body_gap_ms;          /* a client that owes body bytes and sends none [30,000]: 408 */
    int64_t client_stall_ms;      /* a client that takes nothing of what waits for it [60,000] */
    uint64_t min_rate;    /* bytes/s a client must make over 30 s while it is the cause [256] */
    int64_t drain_ms;     /* reading on after an early final answer [5,000] */
    uint64_t drain_bytes; /* at most so many [1 MiB] */
    int64_t grace_ms;     /* what weir_server_stop() leaves running streams [10,000] */

    /* Bounds; 0: the default. */
    size_t head_bytes;      /* [32 KiB]: 431 */
    size_t target_bytes;    /* [8 KiB]: 414 */
    size_t max_fields;      /* [100]: 431 */
    uint64_t body_bytes;    /* [none]: 413 */
    size_t max_connections; /* of the process [50,000]: 503 */
    size_t max_streams;     /* of the process [50,000]: 503 */
    size_t stream_bytes;   /* of one request's body read and not yet released [1 MiB]: reads wait */
    size_t memory_bytes;   /* body bytes held by the process [a quarter of its memory] */
    bool allow_half_close; /* a client's FIN after its request does not mean that it has gone */

    /* How far ahead of a reader its socket is filled; 0: the default. What is sent from a file may be twice as far ahead of
     * a fast one. */
    uint32_t pace_slow_bytes, pace_fast_bytes, pace_fast_chunk,
        pace_fast_after;                              /* [32 KiB, 1 MiB, 512 KiB, 1 MiB] */
    uint32_t pace_stall_reset_ms, pace_stall_slow_ms; /* [10, 50] */
};

/**
 * Makes a server; nothing listens yet.
 *
 * opts  copied.
 * ret   given: weir_server_destroy() it.
 *
 * Returns 0, WEIR_EINVAL (no handler; an impossible bound), WEIR_ENOMEM, WEIR_EIO. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_server_create(const struct weir_server_opts *opts,
                                               struct weir_server **ret);

/**
 * Adds a listener.
 *
 * host  a literal address, or "" for all.
 * port  0: any free one, see weir_server_port().
 * error what failed in detail; may be NULL.
 *
 * Returns 0, WEIR_EINVAL (no literal address), WEIR_EBUSY (the address is in use), WEIR_ELIMIT (eight listeners are there,
 * or no descriptor is left), WEIR_ENOMEM, WEIR_EIO, WEIR_ESTATE (it runs already).
 * Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_server_listen(struct weir_server *server, const char *host,
                                               uint16_t port, struct weir_error *error);

/** The port of the first listener; 0 without one. Context: any thread.  Since: 0.1. */
WEIR_API uint16_t weir_server_port(struct weir_server *server);

/** Runs until weir_server_stop() has been carried out. Returns 0, WEIR_ENOMEM, WEIR_EIO. Context: a thread that is no
 * loop's; it becomes one of the server's.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_server_run(struct weir_server *server);

/** Stops politely: no new connections; idle ones close; running streams have grace_ms, then they are aborted with the
 * reason SHUTDOWN. A second call aborts at once. Context: any thread, also a signal handler.  Since: 0.1. */
WEIR_API void weir_server_stop(struct weir_server *server);

/** Has SIGTERM and SIGINT call weir_server_stop(), and ignores SIGPIPE. Process-wide; the last server wins.
 * Context: any thread, before weir_server_run().  Since: 0.1. */
WEIR_API void weir_server_stop_on_signals(struct weir_server *server);

/** Frees it; it must not be running. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_server_destroy(struct weir_server *server);

struct weir_server_stats {
    uint64_t connections, streams; /* open now */
    uint64_t accepted, requests;   /* since the start */
    uint64_t refused;              /* for want of room, since the start */
    uint64_t body_bytes_held;      /* by the process, now */
};

/** The counts of this moment. Context: any thread.  Since: 0.1. */
WEIR_API void weir_server_stats(struct weir_server *server, struct weir_server_stats *ret);

WEIR_END_DECLS

#endif
