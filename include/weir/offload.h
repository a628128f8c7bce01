/* SPDX-License-Identifier: MIT */
#ifndef WEIR_OFFLOAD_H
#define WEIR_OFFLOAD_H

#include <stddef.h>
#include <stdint.h>

#include <weir/err.h>

WEIR_BEGIN_DECLS

/*
 * Blocking work, done by a thread of the process's own pool while the calling fiber waits and its
 * loop goes on. The pool is made on first use. A job cannot be stopped once it runs, but nobody has
 * to wait for it: so what it works on belongs to the job, never to a fiber's stack.
 */

/** What a job runs, on a thread of the pool: no call of this library that needs a loop or a fiber.
 * Its result is passed through. */
typedef int(weir_offload_fn)(void *arg);

/* All-zero is the default. */
struct weir_offload_opts {
    unsigned threads;  /* at most so many at once; 0: 4 */
    size_t max_queued; /* jobs that wait for a thread; 0: 256 */
};

/**
 * Sets the size of the pool, before its first job.
 *
 * opts  copied; NULL for the defaults.
 *
 * Returns 0, WEIR_ESTATE (it runs already), WEIR_EINVAL (more than 1024 threads). Context: any
 * thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_offload_config(const struct weir_offload_opts *opts);

/**
 * Runs fn(arg) on a thread of the pool and waits for it.
 *
 * arg       what fn reads and where it leaves its results; on the heap. Given to the job; when the
 *           call returns 0 it is the caller's again, on every error the job keeps it and destroys
 *           it as soon as fn cannot touch it any more.
 * destroy   frees `arg` after an error, at once or later, on any thread; must not block. NULL:
 *           nothing to free.
 * deadline  absolute, monotonic ms; 0 = don't wait, which can only time out; -1 = none.
 * ret       what fn returned; untouched on error. May be NULL.
 *
 * Returns 0 when fn has run, or
 *   WEIR_EBUSY      all threads work and the queue is full; fn was not called;
 *   WEIR_ETIMEDOUT, WEIR_ECANCELED   nobody waits any more; a job that runs is finished for
 *                   nothing, one that has not begun is not run;
 *   WEIR_ECLOSED    the pool is being stopped; fn was not called;
 *   WEIR_ENOMEM     also: no thread could be started; fn was not called.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_offload(weir_offload_fn *fn, void *arg, void (*destroy)(void *arg),
                                         int64_t deadline, int *ret);

WEIR_END_DECLS

#endif
