/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TOPIC_H
#define WEIR_TOPIC_H

#include <stddef.h>
#include <stdint.h>

#include <weir/chunk.h>
#include <weir/err.h>

WEIR_BEGIN_DECLS

/*
 * Publish and subscribe inside the process. Any thread publishes, and never waits for a reader: a topic keeps its last
 * items in a ring with bounds, and what leaves the ring is gone. Each item has an id, one more than the item before, so a
 * reader that comes back says which it had last (Last-Event-ID) and gets what followed, or is told what it has missed.
 * All subscribers share an item's bytes. A topic is counted: it lives until the last handle and the last subscription are
 * gone. A subscription belongs to the loop on which it was made.
 */
struct weir_topic;
struct weir_subscription;

/* All-zero is the default. */
struct weir_topic_opts {
    size_t max_items; /* kept for readers; 0: 1024, at most 2^20 */
    size_t
        max_bytes; /* of the items kept; 0: 1048576. A small copy takes 1 KiB of memory (see <weir/chunk.h>) */
    uint64_t
        first_id; /* of the first item; 0: 1. A service that starts anew goes on where it was, or far beyond */
};

/**
 * A new, empty topic.
 *
 * opts  copied; NULL for the defaults.
 * ret   given, a handle: weir_topic_unref() it.
 *
 * Returns 0, WEIR_EINVAL (max_items over 2^20; first_id over 2^63), WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_topic_create(const struct weir_topic_opts *opts,
                                              struct weir_topic **ret);

/** One more handle. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_topic *weir_topic_ref(struct weir_topic *topic);

/** Drops a handle. When the last one goes and nobody has closed the topic, its subscribers end with WEIR_ECLOSED: they
 * cannot know that it was complete. Always returns NULL; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_topic *weir_topic_unref(struct weir_topic *topic);

/** For the cleanup attribute. Context: any thread.  Since: 0.1. */
WEIR_API void weir_topic_unrefp(struct weir_topic **topic);

/**
 * Publishes an item: it enters the ring, the oldest ones leave for want of room, and each loop with subscribers is woken
 * once, however many they are. Never waits for a subscriber; slow ones miss items instead of slowing the publisher down.
 *
 * tag     what the two sides mean by it; 0 is fine.
 * chunk   borrowed: the ring takes its own reference. One that was received is detached, for its sender must not wait for
 *         the ring.
 * ret_id  the item's id; may be NULL.
 *
 * Returns 0, or, nothing published,
 *   WEIR_EINVAL  no chunk;
 *   WEIR_ELIMIT  the chunk alone is over max_bytes;
 *   WEIR_ESTATE  the topic has been closed;
 *   WEIR_ENOMEM.
 * Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_topic_publish(struct weir_topic *topic, uint32_t tag,
                                               struct weir_chunk *chunk, uint64_t *ret_id);

/** Publishes a copy of the bytes, 1 byte to 1 MiB of them (else WEIR_EINVAL); also WEIR_EBUDGET, else as
 * weir_topic_publish(). Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_topic_publish_bytes(struct weir_topic *topic, uint32_t tag,
                                                     struct weir_view bytes, uint64_t *ret_id);

/**
 * Ends the topic: subscribers get what the ring holds for them, then the end. Publishing answers WEIR_ESTATE from now on.
 * The first close counts.
 *
 * error  0 for a complete end, or the WEIR_E code that stopped the publisher, so that the end cannot look complete.
 *
 * Context: any thread.  Since: 0.1.
 */
WEIR_API void weir_topic_close(struct weir_topic *topic, int error);

struct weir_topic_stats {
    uint64_t next_id;    /* of the next item to be published */
    size_t items, bytes; /* in the ring */
    size_t subscribers;
};

/** The counts of this moment. Context: any thread.  Since: 0.1. */
WEIR_API void weir_topic_stats(struct weir_topic *topic, struct weir_topic_stats *ret);

/* ---- subscribers ---- */

enum weir_topic_from {
    WEIR_TOPIC_FROM_NOW = 0, /* what is published from here on */
    WEIR_TOPIC_FROM_OLDEST,  /* first all that the ring holds */
    WEIR_TOPIC_FROM_AFTER,   /* first what the ring holds after the item `after_id` */
};

/* What becomes of a subscriber whose next item has left the ring before it was read. */
enum weir_topic_slow {
    WEIR_TOPIC_SKIP =
        0, /* it is told how many it has missed, and goes on with the oldest there is */
    WEIR_TOPIC_DISCONNECT, /* it ends with WEIR_ELAGGED */
};

/* All-zero is the default: from now on, skipping. */
struct weir_subscribe_opts {
    enum weir_topic_from from;
    uint64_t after_id; /* with WEIR_TOPIC_FROM_AFTER: the last item the reader has had */
    enum weir_topic_slow slow;
};

/**
 * Subscribes the calling fiber's loop; the bound on what waits for a subscriber is the ring.
 *
 * opts  copied; NULL for the defaults.
 * ret   given: weir_subscription_destroy() it on this loop.
 *
 * Returns 0, or
 *   1  subscribed, but what followed `after_id` is not all there. Either it has left the ring: the first item tells how
 *      many are missing. Or the topic never gave that id (it is of an earlier life, or of another topic): then all that
 *      the ring holds is delivered. A reader that can ask for a whole new state should do so now;
 *   WEIR_EINVAL (opts), WEIR_ENOMEM.
 * Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_topic_subscribe(struct weir_topic *topic,
                                                 const struct weir_subscribe_opts *opts,
                                                 struct weir_subscription **ret);

/* What weir_topic_next() delivers: an item, or the news that some have been missed (`missed` > 0, no chunk). */
struct weir_topic_item {
    uint64_t id; /* of the item; of the last one missed */
    uint64_t
        missed; /* so many items have left the ring unread, those up to `id`; 0: this is an item */
    uint32_t tag;
    struct weir_chunk *chunk;
};

/**
 * Takes the subscriber's next item, waiting while there is none (weir_select() waits for this and other things). Items come in the order of their ids, and no id is
 * left out but those that a `missed` item counts.
 *
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = none.
 * ret       its chunk is given: weir_topic_item_drop() it, or take the chunk over. Untouched unless the call returns 1.
 *
 * Returns 1 with an item, 0 when the topic was closed and all has been delivered, or
 *   WEIR_EAGAIN (deadline 0), WEIR_ETIMEDOUT   nothing yet; the subscription is as it was;
 *   WEIR_EBUSY      another fiber waits in this call, or in a select on it; it is as it was;
 *   WEIR_ECANCELED  the fiber's scope was cancelled; nothing was taken;
 *   WEIR_ELAGGED    WEIR_TOPIC_DISCONNECT, and the next item has left the ring: final;
 *   the error given to weir_topic_close(), WEIR_ECLOSED when the last handle was dropped without it: final.
 * Context: fiber, suspends; with deadline 0 also loop.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_topic_next(struct weir_subscription *subscription,
                                            int64_t deadline, struct weir_topic_item *ret);

/** Drops the item's chunk and zeroes it; a zeroed one is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_topic_item_drop(struct weir_topic_item *item);

/** Ends a subscription; nobody may be waiting in it. NULL is fine. Context: its loop, never suspends.  Since: 0.1. */
WEIR_API void weir_subscription_destroy(struct weir_subscription *subscription);

/** For the cleanup attribute. Context: its loop.  Since: 0.1. */
WEIR_API void weir_subscription_destroyp(struct weir_subscription **subscription);

WEIR_END_DECLS

/*
 * Example: a feed that resumes where its reader was, and that says so when it cannot.
 *
 *     static int feed(struct weir_req *req, void *arg)
 *     {
 *         struct weir_subscribe_opts opts = {0};
 *         struct weir_subscription *subscription = NULL;
 *         struct weir_topic_item item = {0};
 *         struct weir_sink *out = NULL;
 *         int r;
 *
 *         if (weir_view_to_u64(weir_sse_last_event_id(req), &opts.after_id) == 0) {
 *             opts.from = WEIR_TOPIC_FROM_AFTER;
 *         }
 *         r = weir_topic_subscribe(arg, &opts, &subscription);
 *         if (r >= 0) {
 *             r = weir_sse_begin(req, 200, NULL, &out);
 *         }
 *         while (r >= 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
 *             char id[24];
 *             struct weir_event event = {.id = id};
 *
 *             snprintf(id, sizeof(id), "%" PRIu64, item.id);
 *             if (item.missed > 0) {
 *                 event.event = "lagged";
 *                 event.data = weir_str("reload");
 *             } else {
 *                 event.data = weir_chunk_view(item.chunk);
 *             }
 *             r = weir_sse_emit(out, &event);
 *             weir_topic_item_drop(&item);
 *         }
 *         if (r == 0) {
 *             r = weir_end(out, NULL);
 *         }
 *         weir_sink_destroy(out);
 *         weir_subscription_destroy(subscription);
 *         return r;
 *     }
 */

#endif
