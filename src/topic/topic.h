/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TOPIC_TOPIC_H
#define WEIR_TOPIC_TOPIC_H

#include <weir/topic.h>

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"
#include "rt/loop.h"

/*
 * Inside a topic. What threads share is behind its mutex: the ring, and the list of stations. A station is a topic's
 * presence on one loop: it exists while there are subscribers there, and is what a publisher wakes, by one task. The task
 * is posted only under the mutex while the station is in the list, that is while a subscription lives on its loop: so none
 * goes to a loop that has ended, and one that finds no subscriber any more frees the station. Locks are taken in the order topic, loop, and no
 * chunk is dropped under either, for that may call into the application.
 */
#define WEIR__TOPIC_MAGIC 0x746f7069u

struct weir__topic_entry {
    struct weir_chunk *chunk;
    uint32_t tag;
};

struct weir_topic {
    uint32_t magic;
    _Atomic uint32_t handles; /* the application's */
    _Atomic uint32_t refs;    /* one for all handles, one for each station */
    size_t max_items, max_bytes;
    uint64_t first_id;
    struct {
        pthread_mutex_t mutex;
        struct weir__topic_entry *ring;
        size_t capacity, head, count, bytes;
        uint64_t next_id; /* the oldest is next_id - count */
        bool closed;
        int error;
        size_t subscribers;
        struct weir_list stations; /* weir__station.link */
    } shared;
};

struct weir__station {
    struct weir_topic *topic;
    struct weir__loop *loop;
    struct weir_list link; /* under the topic's mutex */
    bool posted;           /* the same */
    uint32_t subscribers;  /* the same */
    struct {
        struct weir__task task;
        uint64_t next_id;         /* as last looked up */
        bool closed;              /* the same */
        struct weir_list waiters; /* weir_subscription.link */
    } local;
};

struct weir_subscription {
    uint32_t magic;
    enum weir_topic_slow slow;
    int error;        /* final; 0: none */
    bool ended;       /* the end has been delivered */
    uint64_t next_id; /* the one it wants */
    uint64_t gap;     /* missed before it began: delivered first */
    struct weir__station *station;
    struct weir__fiber *fiber; /* waits in weir_topic_next(), or in a select */
    struct weir_list link;     /* weir__station.local.waiters */
};

void weir__topic_unref(struct weir_topic *topic);

/* Has each loop with subscribers look again. Under the topic's mutex. */
void weir__topic_wake(struct weir_topic *topic);

/* For a select. Whether weir_topic_next() would answer without waiting: 1, 0, or WEIR_EBUSY. Takes nothing. `afresh`: for
 * somebody who will not wait, so that he need not be told by the station's task. Context: fiber. */
int weir__subscription_poll(struct weir_subscription *subscription, bool afresh);

/* Has the fiber woken when the poll may answer something else / lets it be; one that is not armed may be disarmed, one that
 * is armed for it armed again. */
void weir__subscription_arm(struct weir_subscription *subscription, struct weir__fiber *fiber);
void weir__subscription_disarm(struct weir_subscription *subscription, struct weir__fiber *fiber);

#endif
