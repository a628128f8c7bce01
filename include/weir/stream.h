/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/chunk.h>
#include <weir/err.h>

WEIR_BEGIN_DECLS

/*
 * Everything that flows is a source to pull from or a sink to push into. A source produces when it is asked, so a slow
 * reader slows its producer; a sink makes its caller wait while the peer's window is full. Both belong to one loop and
 * are used by one fiber at a time. An end is reported only when the framing proved it, and a sink ends cleanly only by
 * weir_end(): whatever else happens to it is visible to the peer as an abort.
 */
struct weir_source;
struct weir_sink;
struct weir_fields;
struct weir_waker; /* who waits in weir_select(); see the operation `arm` */

/* A chunk that is delivered at once has at most so many bytes; any size may be emitted. */
#define WEIR_CHUNK_BYTES ((size_t)65536)

/* ---- sources ---- */

/**
 * Reads the next chunk, suspending until one arrives. Reading is what opens the peer's window: what nobody reads
 * stays with its sender.
 *
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = only the source's own clocks.
 * ret       given: weir_chunk_unref() it. Untouched at the end and on errors.
 *
 * Returns 1 with a chunk of 1 to 65536 bytes, 0 at a verified end, or
 *   WEIR_EAGAIN (deadline 0), WEIR_ETIMEDOUT   nothing yet; the source is as it was;
 *   WEIR_EBUSY    another fiber is inside a call on this source; it is as it was;
 *   WEIR_ECANCELED, WEIR_ETRUNCATED, WEIR_ERESET, WEIR_ECLOSED, WEIR_ESTALLED, WEIR_EPROTO, WEIR_ELIMIT,
 *   WEIR_EBUDGET, WEIR_ENOMEM, WEIR_EIO   final: every later call returns the same.
 *
 * Of a message body only so many bytes may be read and not yet released (stream_bytes of a server and a client): then
 * the call waits until some are, and after the body's idle time-out ends with WEIR_EBUDGET. Who collects more detaches
 * his chunks.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_next(struct weir_source *source, int64_t deadline,
                                      struct weir_chunk **ret);

/**
 * Gives up on the rest: the peer is told at once (HTTP/1.1: the connection closes; HTTP/2 and 3: the stream is reset),
 * what is queued is dropped and its credit returned. Idempotent; after the end it does nothing.
 * Context: loop or fiber, never suspends.  Since: 0.1.
 */
WEIR_API void weir_cancel(struct weir_source *source, enum weir_reason reason);

/**
 * Why the source failed. Before a failure the code is 0.
 * Context: loop or fiber.  Since: 0.1.
 */
WEIR_API void weir_source_error(struct weir_source *source, struct weir_error *ret);

/** Frees it, cancelling first what has not ended; NULL is fine. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_source_destroy(struct weir_source *source);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_source_destroyp(struct weir_source **source);

/* A descriptor lent by a source, so that bytes can move inside the kernel. */
struct weir_loan {
    int fd;             /* borrowed until repaid */
    uint64_t max_bytes; /* as many raw body bytes may be taken from it */
    uint64_t offset;    /* of lend_file(): where the first of them is in the file */
};

/*
 * What a source is made of. `state` is the instance. NULL operations have the default named here.
 */
struct weir_source_ops {
    const char *name;
    /* As weir_next() with at most `max_bytes` in the chunk (more, or no chunk with 1, is a final WEIR_EINVAL);
     * required. Stickiness is the wrapper's business: it is not called again after 0 or a final error. */
    int (*next)(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret);
    /* Called at most once, never after a verified end; also after a failure, so that the peer learns of it. May be
     * called while another fiber waits in next(), which must then return soon; what it returns is dropped. */
    void (*cancel)(void *state, enum weir_reason reason);
    /* After cancel() or the end; frees `state`. Default: nothing. */
    void (*destroy)(void *state);
    /* Fills in the details of the last failure; `ret` holds the code already. Default: nothing to add. */
    void (*explain)(void *state, struct weir_error *ret);
    /* Waits until the descriptor is readable and lends it: 0, WEIR_EUNSUPPORTED (use next() this time), or an error as
     * of next(). Default: WEIR_EUNSUPPORTED. */
    int (*lend_fd)(void *state, int64_t deadline, struct weir_loan *ret);
    /* The same for a regular file, with a place in it: for sinks that send from a file without a pipe between. Should lend
     * only what is in memory, for whoever takes it does not wait. Default: WEIR_EUNSUPPORTED. */
    int (*lend_file)(void *state, int64_t deadline, struct weir_loan *ret);
    /* Ends a loan of either kind: `taken` bytes went; `native` is 0, EAGAIN (nothing is left there now), or the errno of a failed
     * read; `at_eof` says the descriptor ended. Returns 1 go on, 0 verified end, < 0 an error as of next(). */
    int (*repay_fd)(void *state, uint64_t taken, int native, bool at_eof);
    /* For weir_select(), after next() has answered WEIR_EAGAIN: until it is called again with NULL, weir_wake(waker) is to
     * be called whenever next() may answer something else. Returns when to ask again in any case, in absolute monotonic
     * ms (0: at once, if next() only let others run), or -1: not before that. A source made of another one passes on what
     * weir_source_arm() of that one returns. Default: WEIR_EUNSUPPORTED, the select fails with it. */
    int64_t (*arm)(void *state, struct weir_waker *waker);
};

/** Wakes who waits: what it waits for may have come. Needlessly is harmless. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_wake(struct weir_waker *waker);

/** The operation `arm` of a source, for one that is made of it. Context: fiber.  Since: 0.1. */
WEIR_API int64_t weir_source_arm(struct weir_source *source, struct weir_waker *waker);

/**
 * A source of the caller's own.
 *
 * ops    borrowed for the source's life (a static table).
 * state  given: ops->destroy frees it, also when this call fails.
 * ret    given: weir_source_destroy() it.
 *
 * Returns 0, WEIR_EINVAL (no next), WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_source_create_take(const struct weir_source_ops *ops, void *state,
                                                    struct weir_source **ret);

/* ---- sinks ---- */

/**
 * Sends a chunk, waiting while the peer's window or the socket is full. What it accepted leaves at once, or at the
 * latest when the fiber waits or ends; no timer holds it back.
 *
 * chunk     borrowed: the sink takes its own reference if it keeps the bytes. Any size; an empty one does nothing.
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = only the sink's own clocks.
 *
 * Returns 0, or
 *   WEIR_EFLOW   (deadline 0) nothing of the chunk was taken; until weir_wait_writable() has returned 0 or a waiting
 *                weir_emit() has succeeded every try answers so, and weir_end() answers WEIR_ESTATE;
 *   WEIR_EBUSY   another fiber is inside a call on this sink; it is as it was;
 *   WEIR_ETIMEDOUT   final: a part may have gone out;
 *   WEIR_ECANCELED, WEIR_ECLOSED, WEIR_ERESET, WEIR_ESTALLED, WEIR_ELIMIT (over a declared length), WEIR_EBUDGET,
 *   WEIR_ENOMEM, WEIR_EIO, WEIR_ESTATE (after the end)   final: every later call returns the same.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_emit(struct weir_sink *sink, struct weir_chunk *chunk,
                                      int64_t deadline);

/** The same, and the chunk is given: it is consumed on success and on failure (WEIR_EFLOW too).
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_emit_take(struct weir_sink *sink, struct weir_chunk *chunk,
                                           int64_t deadline);

/** weir_emit() with deadline 0. Context: fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_try_emit(struct weir_sink *sink, struct weir_chunk *chunk);

/**
 * Emits a copy of the bytes; empty ones are fine and do nothing. Otherwise as weir_emit(). With deadline 0 at most 1 MiB:
 * more is WEIR_EINVAL, and like a lack of memory final, so that a body never ends cleanly with these bytes missing.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_emit_bytes(struct weir_sink *sink, struct weir_view bytes,
                                            int64_t deadline);

/**
 * Waits until the sink has room, or has failed.
 * Returns 0, WEIR_ETIMEDOUT (it is as it was), or a final error as of weir_emit(). Context: fiber, suspends.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_wait_writable(struct weir_sink *sink, int64_t deadline);

/**
 * Sends what has been accepted and waits in user space, as far as it goes without waiting. Needed only by a handler
 * that computes for long between emits: waiting flushes by itself.
 * Returns 0, or a final error as of weir_emit(). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_flush(struct weir_sink *sink);

/**
 * Ends the stream cleanly and waits until the last byte has been handed to the kernel or the peer's window.
 *
 * trailers  borrowed, NULL for none; dropped where the wire has no place for them.
 *
 * Returns 0, WEIR_ESTATE (not after WEIR_EFLOW, not with bytes of a declared length missing: the stream is then
 * aborted; not twice), or a final error as of weir_emit(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_end(struct weir_sink *sink, struct weir_fields *trailers);

/** Ends it visibly broken, at once: no peer can take it for complete. Idempotent; after a clean end it does nothing.
 * Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_abort(struct weir_sink *sink, enum weir_reason reason);

/** Why the sink failed. Before a failure the code is 0. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_sink_error(struct weir_sink *sink, struct weir_error *ret);

/** Frees it, aborting first what has not ended: never a clean end; NULL is fine.
 * Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_sink_destroy(struct weir_sink *sink);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_sink_destroyp(struct weir_sink **sink);

/* What a sink is made of; see struct weir_source_ops. */
struct weir_sink_ops {
    const char *name;
    /* Takes the chunk (given) whole, waiting as needed; with deadline 0 all or nothing: WEIR_EFLOW. Required. */
    int (*emit)(void *state, struct weir_chunk *chunk, int64_t deadline);
    /* Waits for room and says how many bytes it is worth bringing now. Required of a sink whose emit() ever answers
     * WEIR_EFLOW: its next try must then have a chance. Default: 65536 at once. */
    int (*wait_writable)(void *state, int64_t deadline, size_t *ret_room);
    /* Sends what is queued without waiting: 0 or a final error. Default: nothing is ever queued. */
    int (*flush)(void *state);
    /* Required. */
    int (*end)(void *state, struct weir_fields *trailers);
    /* Called at most once, never after a clean end; also after a failure (a part may have gone out). May be called
     * while another fiber waits in emit(). Default: nothing. */
    void (*abort)(void *state, enum weir_reason reason);
    void (*destroy)(void *state);
    void (*explain)(void *state, struct weir_error *ret);
    /* Whether take_fd() would work now for `bytes` raw body bytes. Default: no. */
    bool (*can_take_fd)(void *state);
    /* Moves up to `bytes` from a pipe to the wire, waiting until all have gone. Returns 0 or an error as of emit(). */
    int (*take_fd)(void *state, int pipe_fd, size_t bytes, int64_t deadline);
    /* Whether take_file() would work now. Default: no. */
    bool (*can_take_file)(void *state);
    /* Sends up to `bytes` of a regular file from `offset` on, waiting until some have gone: 0 with their number, which is 0
     * where the file ends; WEIR_EUNSUPPORTED (this file cannot go that way, and nothing went: emit() it), or an error as
     * of emit(). */
    int (*take_file)(void *state, int fd, uint64_t offset, size_t bytes, int64_t deadline,
                     size_t *ret_taken);
    /* As of a source, after wait_writable() with deadline 0 has said WEIR_ETIMEDOUT. */
    int64_t (*arm)(void *state, struct weir_waker *waker);
};

/** The operation `arm` of a sink, for one that is made of it. Context: fiber.  Since: 0.1. */
WEIR_API int64_t weir_sink_arm(struct weir_sink *sink, struct weir_waker *waker);

/** A sink of the caller's own; ownership as of weir_source_create_take(). Context: loop or fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_sink_create_take(const struct weir_sink_ops *ops, void *state,
                                                  struct weir_sink **ret);

/* ---- the pipe ---- */

struct weir_pipe_opts {
    bool keep_sink_open; /* at the source's end leave the sink open, for more to come */
    bool no_cancel;      /* when the sink fails leave the source alone */
    int64_t deadline;    /* for the whole transfer, absolute ms; 0 = none */
};

struct weir_pipe_result {
    uint64_t bytes;          /* accepted by the sink */
    struct weir_error cause; /* the first failure, with the side it came from; code 0: none */
};

/**
 * Moves everything from a source into a sink, by the cheapest way there is (inside the kernel where both sides offer a
 * descriptor), never faster than the sink takes it, and with no more held than one chunk. A verified end of the source
 * ends the sink; an error of the source aborts the sink; a failure of the sink cancels the source; whoever cancels the
 * calling fiber cancels and aborts both.
 *
 * Source and sink stay the caller's to destroy.
 *
 * opts  borrowed, NULL for the defaults.
 * ret   may be NULL; always set.
 *
 * Returns 0, or the first error, of either side; WEIR_ETIMEDOUT for the deadline in opts. Context: fiber, suspends.
 * Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_pipe(struct weir_source *source, struct weir_sink *sink,
                                      const struct weir_pipe_opts *opts,
                                      struct weir_pipe_result *ret);

WEIR_END_DECLS

#endif
