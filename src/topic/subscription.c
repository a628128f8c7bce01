/* SPDX-License-Identifier: MIT */
/*
 * Subscribers. A station knows the topic's next id as of its last look: a subscriber that wants that one waits without
 * taking the lock, for a publisher that came later has found `posted` unset and posted the station's task. An item is
 * taken under the lock, one at a time, so a subscriber holds nothing but what it was given.
 */
#include "topic/topic.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/relay.h"
#include "rt/scope.h"

#include <stdatomic.h>

#define SUBSCRIPTION_MAGIC 0x73756273u

/* ---- the station ---- */

static void station_free(struct weir__station *station)
{
    weir__topic_unref(station->topic);
    weir_free(station);
}

/* Under the topic's mutex. */
static void look_up(struct weir__station *station)
{
    station->local.next_id = station->topic->shared.next_id;
    station->local.closed = station->topic->shared.closed;
}

static void wake_all(struct weir__task *task)
{
    struct weir__station *station = weir_list_entry(task, struct weir__station, local.task);
    struct weir_list *waiters = &station->local.waiters;

    bool abandoned;

    pthread_mutex_lock(&station->topic->shared.mutex);
    station->posted = false;
    abandoned = station->subscribers == 0;
    look_up(station);
    pthread_mutex_unlock(&station->topic->shared.mutex);
    for (struct weir_list *link = waiters->next; link != waiters; link = link->next) {
        weir__fiber_wake(weir_list_entry(link, struct weir_subscription, link)->fiber);
    }
    if (abandoned) {
        station_free(station);
    }
}

/* The loop's station, or NULL. Under the topic's mutex. */
static struct weir__station *find(struct weir_topic *topic, struct weir__loop *loop)
{
    struct weir_list *stations = &topic->shared.stations;

    for (struct weir_list *link = stations->next; link != stations; link = link->next) {
        struct weir__station *station = weir_list_entry(link, struct weir__station, link);

        if (station->loop == loop) {
            return station;
        }
    }
    return NULL;
}

/* ---- the subscription ---- */

/* Where it begins. Returns 1 when something is missing. Under the topic's mutex. */
static int place(struct weir_subscription *subscription, struct weir_topic *topic,
                 const struct weir_subscribe_opts *opts)
{
    uint64_t next = topic->shared.next_id;
    uint64_t oldest = next - topic->shared.count;

    subscription->next_id = opts->from == WEIR_TOPIC_FROM_NOW ? next : oldest;
    if (opts->from != WEIR_TOPIC_FROM_AFTER) {
        return 0;
    }
    if (opts->after_id >= next || opts->after_id + 1 < topic->first_id) {
        return 1;
    }
    if (opts->after_id + 1 < oldest) {
        subscription->gap = oldest - opts->after_id - 1;
        return 1;
    }
    subscription->next_id = opts->after_id + 1;
    return 0;
}

WEIR__RELAY_3(int, relay_subscribe, weir_topic_subscribe, struct weir_topic *,
              const struct weir_subscribe_opts *, struct weir_subscription **)

int weir_topic_subscribe(struct weir_topic *topic, const struct weir_subscribe_opts *opts,
                         struct weir_subscription **ret)
{
    if (weir__relay_here != NULL) {
        return relay_subscribe(topic, opts, ret);
    }

    static const struct weir_subscribe_opts defaults;
    struct weir__loop *loop = weir__loop_current();
    struct weir_subscription *subscription;
    struct weir__station *spare, *station;
    int r;

    weir_check(topic, WEIR__TOPIC_MAGIC);
    weir_assert(loop != NULL);
    opts = opts != NULL ? opts : &defaults;
    if (opts->from > WEIR_TOPIC_FROM_AFTER || opts->slow > WEIR_TOPIC_DISCONNECT) {
        return WEIR_EINVAL;
    }
    subscription = weir_alloc0(sizeof(*subscription));
    spare = weir_alloc0(sizeof(*spare));
    if (subscription == NULL || spare == NULL) {
        weir_free(subscription);
        weir_free(spare);
        return WEIR_ENOMEM;
    }
    subscription->magic = SUBSCRIPTION_MAGIC;
    subscription->slow = opts->slow;
    weir_list_init(&subscription->link);
    pthread_mutex_lock(&topic->shared.mutex);
    station = find(topic, loop);
    if (station == NULL) {
        station = spare;
        spare = NULL;
        station->topic = topic;
        station->loop = loop;
        station->local.task.run = wake_all;
        weir_list_init(&station->local.waiters);
        weir_list_push_back(&topic->shared.stations, &station->link);
        atomic_fetch_add_explicit(&topic->refs, 1, memory_order_relaxed);
    }
    look_up(station);
    station->subscribers++;
    topic->shared.subscribers++;
    r = place(subscription, topic, opts);
    pthread_mutex_unlock(&topic->shared.mutex);
    weir_free(spare);
    subscription->station = station;
    *ret = subscription;
    return r;
}

WEIR__RELAY_VOID_1(relay_destroy, weir_subscription_destroy, struct weir_subscription *)

void weir_subscription_destroy(struct weir_subscription *subscription)
{
    if (weir__relay_here != NULL) {
        relay_destroy(subscription);
        return;
    }

    struct weir__station *station;
    struct weir_topic *topic;
    bool unused;

    if (subscription == NULL) {
        return;
    }
    weir_check(subscription, SUBSCRIPTION_MAGIC);
    weir_assert(subscription->fiber == NULL);
    station = subscription->station;
    topic = station->topic;
    pthread_mutex_lock(&topic->shared.mutex);
    topic->shared.subscribers--;
    if (--station->subscribers == 0) {
        weir_list_remove(&station->link);
    }
    unused = station->subscribers == 0 &&
             !station->posted; /* else its task frees it, later on this loop */
    pthread_mutex_unlock(&topic->shared.mutex);
    subscription->magic = 0;
    weir_free(subscription);
    if (unused) {
        station_free(station);
    }
}

void weir_subscription_destroyp(struct weir_subscription **subscription)
{
    weir_subscription_destroy(*subscription);
    *subscription = NULL;
}

/* ---- reading ---- */

static int missed(struct weir_subscription *subscription, uint64_t count,
                  struct weir_topic_item *ret)
{
    *ret = (struct weir_topic_item){.id = subscription->next_id - 1, .missed = count};
    return 1;
}

/* The item it wants is known to have been published. */
static int take(struct weir_subscription *subscription, struct weir_topic_item *ret)
{
    struct weir_topic *topic = subscription->station->topic;
    struct weir__topic_entry entry;
    uint64_t oldest, id = subscription->next_id;
    size_t place_of;

    pthread_mutex_lock(&topic->shared.mutex);
    oldest = topic->shared.next_id - topic->shared.count;
    if (id < oldest) {
        pthread_mutex_unlock(&topic->shared.mutex);
        if (subscription->slow == WEIR_TOPIC_DISCONNECT) {
            subscription->error = WEIR_ELAGGED;
            return WEIR_ELAGGED;
        }
        subscription->next_id = oldest;
        return missed(subscription, oldest - id, ret);
    }
    place_of = (topic->shared.head + (size_t)(id - oldest)) & (topic->shared.capacity - 1);
    entry = topic->shared.ring[place_of];
    weir_chunk_ref(entry.chunk);
    pthread_mutex_unlock(&topic->shared.mutex);
    subscription->next_id = id + 1;
    *ret = (struct weir_topic_item){.id = id, .tag = entry.tag, .chunk = entry.chunk};
    return 1;
}

/* All is read, and the topic closed. */
static int end(struct weir_subscription *subscription)
{
    struct weir_topic *topic = subscription->station->topic;

    pthread_mutex_lock(&topic->shared.mutex);
    subscription->error = topic->shared.error;
    pthread_mutex_unlock(&topic->shared.mutex);
    subscription->ended = true;
    return subscription->error;
}

/* Whether there is an answer without waiting. */
static bool has_come(struct weir_subscription *subscription, bool afresh)
{
    struct weir__station *station = subscription->station;

    if (subscription->error < 0 || subscription->ended || subscription->gap > 0) {
        return true;
    }
    if (afresh && subscription->next_id == station->local.next_id && !station->local.closed) {
        pthread_mutex_lock(&station->topic->shared.mutex);
        look_up(station);
        pthread_mutex_unlock(&station->topic->shared.mutex);
    }
    return subscription->next_id < station->local.next_id || station->local.closed;
}

static int look(struct weir_subscription *subscription, bool afresh, struct weir_topic_item *ret)
{
    if (!has_come(subscription, afresh)) {
        return WEIR_EAGAIN;
    }
    if (subscription->error < 0 || subscription->ended) {
        return subscription->error;
    }
    if (subscription->gap > 0) {
        uint64_t gap = subscription->gap;

        subscription->gap = 0;
        return missed(subscription, gap, ret);
    }
    return subscription->next_id < subscription->station->local.next_id ? take(subscription, ret)
                                                                        : end(subscription);
}

static void start_waiting(struct weir_subscription *subscription, struct weir__fiber *fiber)
{
    subscription->fiber = fiber;
    weir_list_push_back(&subscription->station->local.waiters, &subscription->link);
}

static void stop_waiting(struct weir_subscription *subscription)
{
    weir_list_remove(&subscription->link);
    subscription->fiber = NULL;
}

WEIR__RELAY_3(int, relay_next, weir_topic_next, struct weir_subscription *, int64_t,
              struct weir_topic_item *)

int weir_topic_next(struct weir_subscription *subscription, int64_t deadline,
                    struct weir_topic_item *ret)
{
    if (weir__relay_here != NULL) {
        return relay_next(subscription, deadline, ret);
    }

    int waited = 0;

    weir_check(subscription, SUBSCRIPTION_MAGIC);
    weir_debug_assert(subscription->station->loop == weir__loop_current());
    if (subscription->fiber != NULL) {
        return WEIR_EBUSY;
    }
    if (weir__wait_is_cancelled()) {
        return weir__wait(0);
    }
    for (;;) {
        /* Whoever will not wait for the task asks the topic itself. */
        int r = look(subscription, deadline == 0 || waited < 0, ret);

        if (r != WEIR_EAGAIN || deadline == 0) {
            return r;
        }
        if (waited < 0) {
            return waited;
        }
        start_waiting(subscription, weir__fiber_current());
        waited = weir__wait(weir__deadline_us(deadline));
        stop_waiting(subscription);
        if (waited == WEIR_ECANCELED) {
            return waited;
        }
    }
}

/* ---- for a select ---- */

int weir__subscription_poll(struct weir_subscription *subscription, bool afresh)
{
    weir_check(subscription, SUBSCRIPTION_MAGIC);
    weir_debug_assert(subscription->station->loop == weir__loop_current());
    return subscription->fiber != NULL ? WEIR_EBUSY : has_come(subscription, afresh);
}

void weir__subscription_arm(struct weir_subscription *subscription, struct weir__fiber *fiber)
{
    if (subscription->fiber == NULL) {
        start_waiting(subscription, fiber);
    }
}

void weir__subscription_disarm(struct weir_subscription *subscription, struct weir__fiber *fiber)
{
    if (subscription->fiber == fiber) {
        stop_waiting(subscription);
    }
}

void weir_topic_item_drop(struct weir_topic_item *item)
{
    weir_chunk_unref(item->chunk);
    *item = (struct weir_topic_item){0};
}
