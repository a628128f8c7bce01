/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_COMBINATORS_PULLER_H
#define WEIR_STREAM_COMBINATORS_PULLER_H

#include "stream/combinators/combinator.h"

/*
 * Pulls from a source in a fiber of its own, one chunk ahead at most, so that a reader may wait for several at once, or be
 * cancelled without the source. Whoever owns it never waits for the fiber: closed, it runs home on its own, and the source
 * goes with it at the latest.
 */
struct weir__puller;

/* `given` consumed. ready(arg) is called when a result is there, from the fiber; it wakes or takes, and never suspends.
 * Returns 0, WEIR_ENOMEM. */
int weir__puller_create_take(struct weir_source *given, void (*ready)(void *arg), void *arg,
                             struct weir__puller **ret);

/* What is there now: 1 with a chunk, 0 the end, WEIR_EAGAIN, or the source's error. Asks the source itself, without
 * waiting, when the fiber does not. */
int weir__puller_try(struct weir__puller *puller, struct weir_chunk **ret);

/* The same, but only what the fiber has brought. */
int weir__puller_result(struct weir__puller *puller, struct weir_chunk **ret);

/* Lets the fiber bring the next chunk, unless one is there or on its way, or the source is over.
 * Returns 0, WEIR_ENOMEM, WEIR_ELIMIT (no stack left). */
int weir__puller_arm(struct weir__puller *puller);

/* arm() for those who cannot return an error: its failure is the source's. */
void weir__puller_arm_or_fail(struct weir__puller *puller);

void weir__puller_cancel(struct weir__puller *puller, enum weir_reason reason);

void weir__puller_explain(struct weir__puller *puller, struct weir_error *ret);

/* Cancels what has not ended; NULL is fine. ready() is not called any more. */
void weir__puller_close(struct weir__puller *puller);

#endif
