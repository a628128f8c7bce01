/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BLOCKING_H
#define WEIR_BLOCKING_H

#include <stddef.h>

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Handlers that block: around a C library that cannot loop. Such a handler runs on a thread of a bounded pool, while the
 * request's fiber stays on its loop and carries out the calls that the thread makes of this library, one at a time. So
 * the thread may make any call a fiber may, for its request: each waits as it would in a fiber, its emits and reads have
 * the same bounds and the same clocks, and the loop serves others meanwhile. Such a call costs some 20 microseconds, the
 * way to the loop and back; a handler that emits much should gather.
 *
 * When the client leaves, the next wait answers WEIR_ECANCELED, as in a fiber. The thread is never killed: what it does
 * in its library goes on until it returns, and the request's memory stays until then. What ends the library's work
 * early is weir_on_disconnect().
 */
struct weir_blocking_pool;

/* No job waits for a thread. */
#define WEIR_BLOCKING_NO_QUEUE SIZE_MAX

/* Of a pool. All-zero is the default. */
struct weir_blocking_opts {
    unsigned threads;   /* at most so many at once, started as they are needed; 0: 16 */
    size_t max_queued;  /* requests that wait for a thread; 0: 64 */
    size_t stack_bytes; /* of each thread; 0: the system's default */
};

/**
 * Sets the size of the process's own pool, before its first job.
 *
 * opts  copied; NULL for the defaults.
 *
 * Returns 0, WEIR_ESTATE (it runs already), WEIR_EINVAL (more than 1024 threads). Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_blocking_config(const struct weir_blocking_opts *opts);

/**
 * A pool of its own, so that one slow library does not take the threads of another.
 *
 * opts  copied; NULL for the defaults.
 * ret   given: weir_blocking_pool_destroy() it.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_blocking_pool_create(const struct weir_blocking_opts *opts,
                                                      struct weir_blocking_pool **ret);

/** Ends its threads and frees it; no request may be in it: after weir_server_run() has returned none is. NULL is fine.
 * Context: any thread that is no loop's and none of the pool's; blocks.  Since: 0.1. */
WEIR_API void weir_blocking_pool_destroy(struct weir_blocking_pool *pool);

/* A blocking handler and where it runs, where no route's options say it. */
struct weir_blocking {
    weir_handler_fn *handler;        /* required; runs on a thread of the pool */
    void *arg;                       /* for the handler */
    struct weir_blocking_pool *pool; /* borrowed; NULL: the process's own */
    int64_t wait_ms; /* how long a request may wait for a thread; 0: as long as the queue takes */
};

/**
 * Runs a handler on a thread of the pool and waits for it. What it begins, emits and ends is the request's reply.
 * Other fibers of the request must not use what the handler uses.
 *
 * Once the handler has begun, the call returns when it has returned, whoever leaves and whatever is cancelled meanwhile;
 * so does weir_server_run(), which waits beyond its grace for handlers that are still in a library.
 *
 * Returns what the handler returned; or, the handler not called,
 *   WEIR_EBUSY      all threads work and the queue is full, or no thread was free within wait_ms: as the result of a
 *                   handler it is a 503 with Retry-After;
 *   WEIR_ECANCELED  the client left before a thread was free;
 *   WEIR_ESTATE     made by a blocking handler: it has its thread already;
 *   WEIR_EINVAL     no handler;
 *   WEIR_ENOMEM     also: no thread could be started.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_blocking(struct weir_req *req,
                                          const struct weir_blocking *blocking);

/** The same as a handler, for a server without a router, or the end of a chain: `arg` is a struct weir_blocking, which must
 * outlive it. A route says `blocking` instead (struct weir_route_opts).
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_blocking_handler(struct weir_req *req, void *arg);

/**
 * Has the request's fiber run fn(arg) and waits for it: for several calls at the price of one, and for calls of other
 * libraries that need the loop. In a fiber it is a plain call.
 *
 * Returns what fn returned. Context: fiber, or the thread of a blocking handler; suspends.  Since: 0.1.
 */
WEIR_API int weir_blocking_on_loop(weir_fiber_fn *fn, void *arg);

/* ---- when the client leaves ---- */

/**
 * Has fn(arg) called as soon as the client is seen to have left, on the request's loop, also while the handler is in a
 * library call on a pool thread or waits somewhere else. It is called at most once, and only for a real leave: not when
 * the reply has ended or the handler has broken it off, nor when the handler has returned; for a shutdown of the server
 * only if that cuts the connection. When the client has left already it is called before this call returns.
 *
 * Registrations nest: middleware and the handler it calls may each have one, and the newest is called first.
 *
 * fn   must neither block nor suspend: it tells a library to stop, sets a flag, sends a message.
 * arg  borrowed until weir_off_disconnect(), or the handler's return.
 *
 * Returns 0, WEIR_EINVAL (no fn), WEIR_ENOMEM (only of nested ones; fn will not be called). Context: fiber.  Since: 0.1.
 */
WEIR_API int weir_on_disconnect(struct weir_req *req, void (*fn)(void *arg), void *arg);

/**
 * Takes back the newest registration. When the call returns the callback is not running and will not be called.
 *
 * Returns 1 if it was called, 0 if it was not, WEIR_ESTATE (there is no registration). Context: fiber.  Since: 0.1.
 */
WEIR_API int weir_off_disconnect(struct weir_req *req);

WEIR_END_DECLS

/*
 * Example: a completion by a library that blocks for seconds and can be told to stop by any thread.
 *
 *     static int complete(struct weir_req *req, void *arg)
 *     {
 *         struct infer *job = infer_new();
 *         int r;
 *
 *         weir_on_disconnect(req, infer_stop, job);
 *         r = weir_reply_text(req, 200, "%s\n", infer_blocking(job, arg));
 *         weir_off_disconnect(req);
 *         infer_free(job);
 *         return r;
 *     }
 *
 *     r = weir_router_add(router, "POST", "/complete", complete, model, &(struct weir_route_opts){.blocking = true});
 */

#endif
