/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMBINATORS_H
#define WEIR_COMBINATORS_H

#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Combinators: each takes a source and gives a source. They pull only when they are pulled, hold no more than is said
 * here, and own what they wrap: cancelling or destroying the outer one does it to the inner one, once. A failure of the
 * inner source comes through with its code, side, reason and native cause, after the bytes before it. A deadline that passes
 * loses nothing. All constructors consume `given`, also when they fail; they return WEIR_EINVAL when it is NULL, WEIR_ENOMEM
 * when there is no memory, and WEIR_ELIMIT when combinators are nested more than 32 deep.
 *
 * Those that look at chunks as units (map, filter, inspect, pace, map_par, batch) take them from the inner source whole,
 * and hold the rest of one while its reader has room for a part only: put them right behind what makes the units (lines).
 * What they and others put aside (prefetch, tee, merge, map_par, batch) returns its credit to the peer and counts for the
 * process's budget, small pieces in buffers of their own.
 */

/* ---- bounds and time ---- */

/**
 * At most so many bytes in all. What is within the limit is delivered; the first byte beyond it cancels the inner source
 * (WEIR_REASON_LIMIT) and is a final WEIR_ELIMIT. A source of exactly `max_bytes` ends cleanly. Bytes may still move
 * inside the kernel.
 *
 * max_bytes  1 or more.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_limit_create_take(struct weir_source *given, uint64_t max_bytes,
                                                   struct weir_source **ret);

/**
 * Chunks of a size that pays: at least `min_bytes` each, by joining small ones, and at most `max_bytes`. It never waits
 * to fill one up: what is there when the inner source would block (asked with deadline 0), ends or fails is delivered at
 * once, and so it is when there is no memory to join into. Only chunks below the minimum are copied, and their credit
 * returns to the peer with the copy.
 *
 * min_bytes  0 to max_bytes; 0 = join nothing.
 * max_bytes  up to 65536; 0 = 65536.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_rechunk_create_take(struct weir_source *given, size_t min_bytes,
                                                     size_t max_bytes, struct weir_source **ret);

/**
 * Ends a wait for bytes that takes too long. Both cancel the inner source and are a final WEIR_ESTALLED (a wait that ends
 * at the caller's own deadline is WEIR_ETIMEDOUT, which is not final); weir_source_error() tells them apart.
 *
 * idle_ms   the time without a byte (WEIR_REASON_STALL). The clock runs only while a fiber waits in weir_next(): a slow
 *           reader is never taken for a slow source. Waits that end at the caller's deadline add up. 0 = none.
 * total_ms  from the first weir_next(), whoever is slow (WEIR_REASON_TIMEOUT); looked at in weir_next(). 0 = none.
 *
 * Returns 0, WEIR_EINVAL (negative, or both 0), WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_timeout_create_take(struct weir_source *given, int64_t idle_ms,
                                                     int64_t total_ms, struct weir_source **ret);

/**
 * No faster than so many bytes per second: in any span of t seconds at most burst_bytes + t * bytes_per_s are pulled. What
 * is over the rate stays with its sender. The pulling fiber sleeps until a hundredth of a second's worth may go (at least
 * a byte, at most 65536 or the burst), so an end or an error of the inner source is seen that much later. A cancel ends
 * the sleep; the time counts as shaped, not as a stall of either side. Bytes may still move inside the kernel.
 *
 * bytes_per_s  1 to 10^12.
 * burst_bytes  1 to 10^12: what may go at once after a rest, and at the start; 0 = a tenth of a second's worth, at least 1.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_rate_create_take(struct weir_source *given, uint64_t bytes_per_s,
                                                  uint64_t burst_bytes, struct weir_source **ret);

/**
 * The first so many bytes, then a clean end. An inner source that has not ended by then is cancelled
 * (WEIR_REASON_CANCELED) when the end is read; one that ends earlier ends this one. Bytes may still move inside the kernel.
 *
 * bytes  0 or more.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_take_create_take(struct weir_source *given, uint64_t bytes,
                                                  struct weir_source **ret);

/**
 * A delay between chunks: the next one is pulled no sooner than so long after the one before was delivered. The first comes
 * at once, and so does the end when it is due. The wait counts as shaped, not as a stall.
 *
 * delay_ms  1 or more.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_pace_create_take(struct weir_source *given, int64_t delay_ms,
                                                  struct weir_source **ret);

/* ---- sizes ---- */

/**
 * Joins what comes within a delay, for fewer and larger chunks: delivers when `max_bytes` are there, when the delay is over
 * that began with the first of them, or when the inner source ends or fails; without a delay, when it would block. A caller's
 * deadline that comes first leaves what is collected where it is.
 *
 * max_bytes  up to 65536, so much is held; 0 = 65536.
 * delay_ms   0 = none.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_coalesce_create_take(struct weir_source *given, size_t max_bytes,
                                                      int64_t delay_ms, struct weir_source **ret);

/* The longest line, without its end. */
#define WEIR_LINE_MAX (WEIR_CHUNK_BYTES - 2)

/**
 * A line a chunk, with the LF or CRLF that ends it (weir_line_text() is the line without); the last one need not have one.
 * What is read are the same bytes as before, in other pieces. A line that is too long cancels the inner source
 * (WEIR_REASON_LIMIT) and is a final WEIR_ELIMIT; of an inner source that fails the line it broke off is not delivered.
 *
 * Holds one chunk, and the beginning of one line; the latter's credit is returned, so that a line may be longer than the
 * peer's window. A pipe into a sink with less room than a line cuts it.
 *
 * max_line_bytes  without its end, up to WEIR_LINE_MAX; 0 = that.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_lines_create_take(struct weir_source *given, size_t max_line_bytes,
                                                   struct weir_source **ret);

/** A line's text without the LF or CRLF at its end, borrowed from the chunk; it may be empty.
 * Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_line_text(struct weir_chunk *line);

/* ---- callbacks ---- */

/**
 * What becomes of a chunk. Called in the fiber that reads and may suspend, though no deadline of a read bounds that. A read
 * of the same source from in here is WEIR_EBUSY.
 *
 * chunk  borrowed: to pass it on unchanged `*ret = weir_chunk_ref(chunk)`.
 * ret    given with 1: any chunk; larger ones than a reader may have are delivered in pieces.
 *
 * Returns 1 with a chunk, 0 for none, or an error: it cancels the inner source and is final (one that cannot be final
 * becomes WEIR_ERESET), with WEIR_SIDE_SELF and WEIR_REASON_HANDLER.
 */
typedef int(weir_map_fn)(void *arg, struct weir_chunk *chunk, struct weir_chunk **ret);

/**
 * Each chunk through a callback, one at a time.
 *
 * arg  borrowed for the source's life.
 *
 * Returns 0, WEIR_EINVAL (no fn), WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_map_create_take(struct weir_source *given, weir_map_fn *fn,
                                                 void *arg, struct weir_source **ret);

#define WEIR_PARALLEL_MAX 256

struct weir_map_par_opts {
    unsigned parallel;          /* fibers, up to WEIR_PARALLEL_MAX; 0 = 4 */
    bool unordered;             /* results as they come, not in the order of the chunks */
    void (*release)(void *arg); /* called once no callback runs or will run; NULL: arg needs none */
};

/**
 * Each chunk through a callback, several at once, each in a fiber of its own: for callbacks that wait. It begins with the
 * first read; chunks in flight and results not yet read are together at most `parallel`, and so bounded in bytes, too. A
 * callback's error comes in its turn, after which the other callbacks' waits answer WEIR_ECANCELED, as they do after a
 * cancel. At the end all fibers have ended. weir_source_destroy() does not wait for callbacks that still run.
 *
 * arg   kept until opts->release is called.
 * opts  borrowed, NULL for the defaults.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT (release is not called when this call fails). The first read also fails
 * with WEIR_ENOMEM or WEIR_ELIMIT when there is no stack left. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_map_par_create_take(struct weir_source *given, weir_map_fn *fn,
                                                     void *arg,
                                                     const struct weir_map_par_opts *opts,
                                                     struct weir_source **ret);

/** Whether the chunk goes on; it must not suspend. */
typedef bool(weir_filter_fn)(void *arg, struct weir_view bytes);

/**
 * Only the chunks that the callback wants. While it drops many in a row others run; with deadline 0 the call then answers
 * WEIR_EAGAIN.
 *
 * arg  borrowed for the source's life.
 *
 * Returns 0, WEIR_EINVAL (no fn), WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_filter_create_take(struct weir_source *given, weir_filter_fn *fn,
                                                    void *arg, struct weir_source **ret);

/** Sees a chunk; it must not suspend. The bytes are borrowed for the call. */
typedef void(weir_inspect_fn)(void *arg, struct weir_view bytes);

/** Shows each chunk to a callback when it is pulled; otherwise as weir_filter_create_take(). Who only counts uses
 * weir_progress_create_take(). Context: loop or fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_inspect_create_take(struct weir_source *given, weir_inspect_fn *fn,
                                                     void *arg, struct weir_source **ret);

struct weir_progress {
    uint64_t bytes;            /* in all */
    int64_t elapsed_ms;        /* since the first read */
    uint64_t bytes_per_s;      /* since the last report */
    uint64_t mean_bytes_per_s; /* since the first read */
    bool is_last;
    int result; /* of the last report: 0 the verified end, or the error */
};

struct weir_progress_opts {
    void (*fn)(void *arg, const struct weir_progress *progress); /* must not suspend */
    void *arg;            /* borrowed for the source's life */
    int64_t every_ms;     /* at most as often, when bytes pass; 0 = not by time */
    uint64_t every_bytes; /* 0 = not by bytes */
};

/**
 * Reports how far it is, and once more at the end or a failure (not when it is cancelled or destroyed before). It has no
 * timer: a source that stalls makes no report. Bytes may still move inside the kernel.
 *
 * opts  borrowed.
 *
 * Returns 0, WEIR_EINVAL (no fn, a negative time), WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_progress_create_take(struct weir_source *given,
                                                      const struct weir_progress_opts *opts,
                                                      struct weir_source **ret);

#define WEIR_SHA256_BYTES 32

/** Is told the digest; it must not suspend. */
typedef void(weir_hash_fn)(void *arg, const uint8_t digest[WEIR_SHA256_BYTES]);

/**
 * The SHA-256 of what passes, told to a callback at the verified end: a truncated body has no digest.
 *
 * arg  borrowed for the source's life.
 *
 * Returns 0, WEIR_EINVAL (no fn), WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_hash_create_take(struct weir_source *given, weir_hash_fn *fn,
                                                  void *arg, struct weir_source **ret);

/* ---- several ---- */

/* The most that any combinator reads ahead, in bytes. */
#define WEIR_AHEAD_MAX ((size_t)16 << 20)

/**
 * Reads ahead in a fiber of its own while the reader is busy: from the first read on, up to the window, in at most 64
 * chunks. With deadline 0 a read gets what has been read ahead. weir_source_destroy() does not wait for the fiber; it ends
 * in the same turn of the loop, or when the inner source's next() returns.
 *
 * window_bytes  65536 to WEIR_AHEAD_MAX; 0 = 131072.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. The first read also fails with WEIR_ENOMEM or WEIR_ELIMIT when there is
 * no stack left. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_prefetch_create_take(struct weir_source *given,
                                                      size_t window_bytes,
                                                      struct weir_source **ret);

/**
 * Sources one after the other; each is asked when the one before has ended, and destroyed at its end. The first failure is
 * that of the whole. Bytes may still move inside the kernel.
 *
 * given  the array is borrowed for the call; the sources are given.
 * count  1 or more.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_chain_create_take(struct weir_source *const *given, unsigned count,
                                                   struct weir_source **ret);

#define WEIR_MERGE_MAX 1024

struct weir_merge_opts {
    bool
        collect_errors; /* a failure lets the others go on; the first one comes in place of the end */
};

/**
 * Several sources at once, chunk by chunk as they come: those that have something take turns. It ends when all have; the
 * first failure cancels the others and is that of the whole. While a reader waits each source is asked by a fiber of its
 * own, so each may be one chunk ahead.
 *
 * given  the array is borrowed for the call; the sources are given.
 * count  1 to WEIR_MERGE_MAX.
 * opts   borrowed, NULL for the defaults.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. A read that has to wait also fails with WEIR_ENOMEM or WEIR_ELIMIT when
 * there is no stack left. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_merge_create_take(struct weir_source *const *given, unsigned count,
                                                   const struct weir_merge_opts *opts,
                                                   struct weir_source **ret);

/**
 * One source, two readers (two fibers; one that reads them in turns must not let the lag fill up): both get all bytes and
 * the same end. The slower one governs: the faster one waits when it is `lag_bytes` (or 64 chunks) ahead. Nothing is copied
 * but small pieces. Cancelling or destroying one branch drops what was kept for it and frees the other from waiting; the
 * source is cancelled with the second.
 *
 * lag_bytes  65536 to WEIR_AHEAD_MAX; 0 = 131072.
 * ret_a, ret_b  given, each to be destroyed by itself, in any order.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_ELIMIT. A read that has to wait also fails with WEIR_ENOMEM or WEIR_ELIMIT when
 * there is no stack left. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_tee_create_take(struct weir_source *given, size_t lag_bytes,
                                                 struct weir_source **ret_a,
                                                 struct weir_source **ret_b);

/* ---- batches ---- */

#define WEIR_BATCH_ITEMS_MAX 4096

struct weir_batch_opts {
    size_t max_items;     /* up to WEIR_BATCH_ITEMS_MAX; 0 = 64 */
    size_t max_bytes;     /* up to WEIR_AHEAD_MAX, but one chunk always fits; 0 = 65536 */
    int64_t max_delay_ms; /* from a batch's first chunk; 0 = no bound */
};

/* Chunks in groups, for a reader that pays per group: a transaction per 100 lines. */
struct weir_batch;

/**
 * Holds one batch and one chunk.
 *
 * opts  borrowed, NULL for the defaults.
 * ret   given: weir_batch_destroy() it.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_batch_create_take(struct weir_source *given,
                                                   const struct weir_batch_opts *opts,
                                                   struct weir_batch **ret);

/**
 * The next batch: as soon as it is full, its delay is over, or the source has ended or failed, which is told by the call
 * after it. A deadline that comes first leaves what is collected where it is.
 *
 * ret        borrowed until the next call; weir_chunk_ref() what is to stay.
 * ret_count  1 or more.
 *
 * Returns 1 with a batch, 0 at the verified end, or as weir_next(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_batch_next(struct weir_batch *batch, int64_t deadline,
                                            struct weir_chunk *const **ret, size_t *ret_count);

/** As weir_source_error() of the source. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_batch_error(struct weir_batch *batch, struct weir_error *ret);

/** As weir_cancel() of the source. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_batch_cancel(struct weir_batch *batch, enum weir_reason reason);

/** Frees it and destroys the source; NULL is fine. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_batch_destroy(struct weir_batch *batch);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_batch_destroyp(struct weir_batch **batch);

WEIR_END_DECLS

/*
 * Example: an upload of at most 1 GiB that may rest for 30 s, taken at 1 MB/s. Each of the calls consumes `body`, also when
 * it fails; what they are given here is the handler's own, as weir_req_body() is not.
 *
 *     int r = weir_req_decoded_body(req, NULL, &body);
 *
 *     if (r == 0) {
 *         r = weir_limit_create_take(body, 1u << 30, &body);
 *     }
 *     if (r == 0) {
 *         r = weir_timeout_create_take(body, 30000, 0, &body);
 *     }
 *     if (r == 0) {
 *         r = weir_rate_create_take(body, 1000000, 0, &body);
 *     }
 *     if (r < 0) {
 *         return r;
 *     }
 */

#endif
