/* SPDX-License-Identifier: MIT */
#ifndef WEIR_CHANNEL_H
#define WEIR_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include <weir/err.h>

WEIR_BEGIN_DECLS

/*
 * A bounded queue between fibers of one loop. Items are pointers with a cost in bytes; a sender
 * waits while the channel is full, so a slow receiver slows its senders. Waiting fibers are served
 * in the order in which they came. The sending side ends it with weir_channel_close(): what is
 * queued is still delivered. The receiving side gives up with weir_channel_abort(): what is queued
 * is dropped. Not for other threads: those have <weir/mailbox.h>.
 */
struct weir_channel;

/* All-zero is the default. */
struct weir_channel_opts {
    size_t max_items; /* 0: 16 */
    size_t max_bytes; /* 0: 65536; a single item over it is taken when the channel is empty */
    /* Called with items that nobody received; must not suspend. NULL: nothing to do. */
    void (*drop)(void *item);
};

/**
 * A new, empty channel on the calling loop.
 *
 * opts  copied; NULL for the defaults.
 * ret   given: weir_channel_unref() it.
 *
 * Returns 0 or WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_channel_create(const struct weir_channel_opts *opts,
                                                struct weir_channel **ret);

/** One more reference, for another holder on the same loop. Context: loop or fiber.  Since: 0.1. */
WEIR_API struct weir_channel *weir_channel_ref(struct weir_channel *channel);

/** Drops a reference, with the last one also what is queued. Always returns NULL; NULL is fine. It
 * neither closes nor aborts the channel for the other holders. Context: loop or fiber, never
 * suspends.  Since: 0.1. */
WEIR_API struct weir_channel *weir_channel_unref(struct weir_channel *channel);

/** For the cleanup attribute. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_channel_unrefp(struct weir_channel **channel);

/**
 * Queues an item, waiting while there is no room for it or others wait before it.
 *
 * item      given when the call returns 0; on every error it is still the caller's.
 * bytes     what it counts for; 0 is fine.
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = none.
 *
 * Returns 0, or, the item not taken,
 *   WEIR_EFLOW      (deadline 0) no room;
 *   WEIR_ETIMEDOUT  no room until the deadline;
 *   WEIR_ECANCELED  the fiber's scope was cancelled;
 *   WEIR_ECLOSED    the receiving side has aborted;
 *   WEIR_ESTATE     the channel has been closed;
 *   WEIR_ENOMEM.
 * Context: fiber, suspends; with deadline 0 also loop.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_channel_send(struct weir_channel *channel, void *item,
                                              size_t bytes, int64_t deadline);

/**
 * Takes the oldest item, waiting while there is none or others wait before this call. It makes room
 * for a sender.
 *
 * ret  given, with whatever the sender meant by it; untouched unless the call returns 1.
 *
 * Returns 1 with an item, 0 when the channel was closed and all has been received, or
 *   WEIR_EAGAIN     (deadline 0) nothing yet;
 *   WEIR_ETIMEDOUT  nothing until the deadline;
 *   WEIR_ECANCELED  the fiber's scope was cancelled; nothing was taken;
 *   WEIR_ESTATE     the receiving side has aborted;
 *   the error given to weir_channel_close(), after the last item.
 * Context: fiber, suspends; with deadline 0 also loop.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_channel_recv(struct weir_channel *channel, int64_t deadline,
                                              void **ret);

/**
 * Ends the sending side: what is queued is delivered, then every receive answers `error`. Senders
 * that wait get WEIR_ESTATE. The first close counts; after an abort it does nothing.
 *
 * error  0 for a complete end, or the WEIR_E code that stopped the sender, so that the end cannot
 *        look complete.
 *
 * Context: loop or fiber, never suspends.  Since: 0.1.
 */
WEIR_API void weir_channel_close(struct weir_channel *channel, int error);

/**
 * Ends the receiving side: what is queued is dropped, senders get WEIR_ECLOSED, now and later.
 * Idempotent.
 * Context: loop or fiber, never suspends.  Since: 0.1.
 */
WEIR_API void weir_channel_abort(struct weir_channel *channel);

WEIR_END_DECLS

#endif
