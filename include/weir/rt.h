/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_H
#define WEIR_RT_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/err.h>

WEIR_BEGIN_DECLS

/*
 * Fibers, seen from a handler: time, waiting, and scopes of child fibers. A handler runs in a fiber of its own and may
 * block in any call that says "fiber, suspends"; meanwhile its loop serves others. Deadlines are absolute monotonic
 * milliseconds (0 = don't wait, -1 = none of my own), so one deadline passes through many calls.
 */

/** The loop's present time in monotonic milliseconds. Context: loop or fiber.  Since: 0.1. */
WEIR_API int64_t weir_now(void);

/** A deadline that many milliseconds from now; a negative duration is 0, a huge one is never. Context: loop or fiber.  Since: 0.1. */
WEIR_API int64_t weir_after_ms(int64_t duration_ms);

/**
 * Waits until the deadline; backpressure is unaffected: windows stay as they are.
 *
 * Returns 0 once the deadline has passed, or WEIR_ECANCELED: the client is gone, or the scope was cancelled.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sleep(int64_t deadline);

/**
 * Lets the other fibers of this loop run; for a handler that computes for long.
 * Returns 0 or WEIR_ECANCELED. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_yield(void);

/*
 * A scope owns child fibers: they are cancelled and joined before it is gone, so no fiber outlives what it works on.
 */
struct weir_scope;

/** What a child runs. A negative result cancels its siblings; the first one is the scope's result. */
typedef int(weir_fiber_fn)(void *arg);

/**
 * Opens a scope under the calling fiber's own: it is cancelled with it.
 *
 * ret  given: weir_scope_close() it.
 *
 * Returns 0 or WEIR_ENOMEM. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_scope_open(struct weir_scope **ret);

/**
 * Starts a child fiber; it runs soon, not before this call returns.
 *
 * arg  borrowed until the child has ended.
 *
 * Returns 0, WEIR_ENOMEM, WEIR_ELIMIT (no stack left), WEIR_ECANCELED (the scope is cancelled).
 * Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_scope_spawn(struct weir_scope *scope, weir_fiber_fn *fn,
                                             void *arg);

/**
 * Waits until all children have ended by themselves.
 *
 * Returns 0, the first child's error, WEIR_ETIMEDOUT (they go on), WEIR_ECANCELED (they are cancelled too; what is
 * left is to close the scope), WEIR_EBUSY (another fiber is joining it).
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_scope_join(struct weir_scope *scope, int64_t deadline);

/** Cancels the children: every wait of theirs answers WEIR_ECANCELED from now on. Idempotent, never blocks.
 * Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_scope_cancel(struct weir_scope *scope);

/** Cancels and joins what still runs, then frees the scope; NULL is fine. The wait is shielded from the caller's own
 * cancellation. Context: fiber, suspends.  Since: 0.1. */
WEIR_API void weir_scope_close(struct weir_scope *scope);

/**
 * Runs fn(arg) when the calling fiber's request or scope ends, last registered first, shielded from cancellation.
 * Returns 0, WEIR_ENOMEM or WEIR_ESTATE (the fiber has no scope); fn was then not registered. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_scope_defer(void (*fn)(void *arg), void *arg);

WEIR_END_DECLS

#endif
