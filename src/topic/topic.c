/* SPDX-License-Identifier: MIT */
/* Topics: the ring and those who fill it. Ids are positions: the ring holds next_id - count to next_id - 1. */
#include "topic/topic.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdatomic.h>

#define DEFAULT_ITEMS 1024
#define DEFAULT_BYTES ((size_t)1 << 20)
#define MOST_ITEMS ((size_t)1 << 20)
#define FIRST_CAPACITY 16
#define AT_ONCE 16 /* evicted under one hold of the lock */

int weir_topic_create(const struct weir_topic_opts *opts, struct weir_topic **ret)
{
    static const struct weir_topic_opts defaults;
    struct weir_topic *topic;

    opts = opts != NULL ? opts : &defaults;
    if (opts->max_items > MOST_ITEMS || opts->first_id > (uint64_t)1 << 63) {
        return WEIR_EINVAL;
    }
    topic = weir_alloc0(sizeof(*topic));
    if (topic == NULL) {
        return WEIR_ENOMEM;
    }
    topic->magic = WEIR__TOPIC_MAGIC;
    atomic_init(&topic->handles, 1);
    atomic_init(&topic->refs, 1);
    topic->max_items = opts->max_items != 0 ? opts->max_items : DEFAULT_ITEMS;
    topic->max_bytes = opts->max_bytes != 0 ? opts->max_bytes : DEFAULT_BYTES;
    topic->first_id = opts->first_id != 0 ? opts->first_id : 1;
    pthread_mutex_init(&topic->shared.mutex, NULL);
    topic->shared.next_id = topic->first_id;
    weir_list_init(&topic->shared.stations);
    *ret = topic;
    return 0;
}

struct weir_topic *weir_topic_ref(struct weir_topic *topic)
{
    weir_check(topic, WEIR__TOPIC_MAGIC);
    atomic_fetch_add_explicit(&topic->handles, 1, memory_order_relaxed);
    return topic;
}

void weir__topic_unref(struct weir_topic *topic)
{
    if (atomic_fetch_sub_explicit(&topic->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    topic->magic = 0;
    for (size_t i = 0; i < topic->shared.count; i++) {
        weir_chunk_unref(
            topic->shared.ring[(topic->shared.head + i) & (topic->shared.capacity - 1)].chunk);
    }
    pthread_mutex_destroy(&topic->shared.mutex);
    weir_free(topic->shared.ring);
    weir_free(topic);
}

struct weir_topic *weir_topic_unref(struct weir_topic *topic)
{
    if (topic == NULL) {
        return NULL;
    }
    weir_check(topic, WEIR__TOPIC_MAGIC);
    if (atomic_fetch_sub_explicit(&topic->handles, 1, memory_order_acq_rel) == 1) {
        weir_topic_close(topic, WEIR_ECLOSED);
        weir__topic_unref(topic);
    }
    return NULL;
}

void weir_topic_unrefp(struct weir_topic **topic)
{
    *topic = weir_topic_unref(*topic);
}

void weir__topic_wake(struct weir_topic *topic)
{
    struct weir_list *stations = &topic->shared.stations;

    for (struct weir_list *link = stations->next; link != stations; link = link->next) {
        struct weir__station *station = weir_list_entry(link, struct weir__station, link);

        if (!station->posted) {
            station->posted = true;
            weir__loop_post(station->loop, &station->local.task);
        }
    }
}

/* ---- publishing ---- */

/* Takes up to AT_ONCE of the oldest items out while they stand in the way of `bytes` more. Returns how many. */
static size_t evict(struct weir_topic *topic, size_t bytes, struct weir_chunk **ret)
{
    size_t evicted = 0;

    while (evicted < AT_ONCE && topic->shared.count > 0 &&
           (topic->shared.count >= topic->max_items ||
            topic->shared.bytes > topic->max_bytes - bytes)) {
        struct weir_chunk *oldest = topic->shared.ring[topic->shared.head].chunk;

        topic->shared.head = (topic->shared.head + 1) & (topic->shared.capacity - 1);
        topic->shared.count--;
        topic->shared.bytes -= weir_chunk_len(oldest);
        ret[evicted++] = oldest;
    }
    return evicted;
}

static int make_room(struct weir_topic *topic)
{
    size_t old = topic->shared.capacity;
    size_t capacity = old == 0 ? FIRST_CAPACITY : old * 2; /* a power of two */
    struct weir__topic_entry *ring;

    if (topic->shared.count < old) {
        return 0;
    }
    ring = weir_alloc(capacity * sizeof(*ring));
    if (ring == NULL) {
        return WEIR_ENOMEM;
    }
    for (size_t i = 0; i < topic->shared.count; i++) {
        ring[i] = topic->shared.ring[(topic->shared.head + i) & (old - 1)];
    }
    weir_free(topic->shared.ring);
    topic->shared.ring = ring;
    topic->shared.capacity = capacity;
    topic->shared.head = 0;
    return 0;
}

#define MORE 1 /* to evict */

/* One hold of the lock: makes room, and publishes if there is enough of it. */
static int put(struct weir_topic *topic, struct weir__topic_entry entry, size_t bytes,
               struct weir_chunk **gone, size_t *ret_gone, uint64_t *ret_id)
{
    int r;

    if (topic->shared.closed) {
        return WEIR_ESTATE;
    }
    *ret_gone = evict(topic, bytes, gone);
    if (topic->shared.count >= topic->max_items || topic->shared.bytes > topic->max_bytes - bytes) {
        return MORE;
    }
    r = make_room(topic);
    if (r < 0) {
        return r;
    }
    topic->shared.ring[(topic->shared.head + topic->shared.count) & (topic->shared.capacity - 1)] =
        entry;
    topic->shared.count++;
    topic->shared.bytes += bytes;
    *ret_id = topic->shared.next_id++;
    weir__topic_wake(topic);
    return 0;
}

int weir_topic_publish(struct weir_topic *topic, uint32_t tag, struct weir_chunk *chunk,
                       uint64_t *ret_id)
{
    uint64_t id = 0;
    size_t bytes;
    int r;

    weir_check(topic, WEIR__TOPIC_MAGIC);
    if (chunk == NULL) {
        return WEIR_EINVAL;
    }
    bytes = weir_chunk_len(chunk);
    if (bytes > topic->max_bytes) {
        return WEIR_ELIMIT;
    }
    weir_chunk_detach(chunk);
    weir_chunk_ref(chunk);
    do {
        struct weir_chunk *gone[AT_ONCE];
        size_t gone_count = 0;

        pthread_mutex_lock(&topic->shared.mutex);
        r = put(topic, (struct weir__topic_entry){chunk, tag}, bytes, gone, &gone_count, &id);
        pthread_mutex_unlock(&topic->shared.mutex);
        for (size_t i = 0; i < gone_count; i++) {
            weir_chunk_unref(gone[i]);
        }
    } while (r == MORE);
    if (r < 0) {
        weir_chunk_unref(chunk);
        return r;
    }
    if (ret_id != NULL) {
        *ret_id = id;
    }
    return 0;
}

int weir_topic_publish_bytes(struct weir_topic *topic, uint32_t tag, struct weir_view bytes,
                             uint64_t *ret_id)
{
    struct weir_chunk *chunk = NULL;
    int r = weir_chunk_copy(bytes, &chunk);

    if (r == 0) {
        r = weir_topic_publish(topic, tag, chunk, ret_id);
        weir_chunk_unref(chunk);
    }
    return r;
}

void weir_topic_close(struct weir_topic *topic, int error)
{
    weir_check(topic, WEIR__TOPIC_MAGIC);
    pthread_mutex_lock(&topic->shared.mutex);
    if (!topic->shared.closed) {
        topic->shared.closed = true;
        topic->shared.error = error < 0 ? error : 0;
        weir__topic_wake(topic);
    }
    pthread_mutex_unlock(&topic->shared.mutex);
}

void weir_topic_stats(struct weir_topic *topic, struct weir_topic_stats *ret)
{
    weir_check(topic, WEIR__TOPIC_MAGIC);
    pthread_mutex_lock(&topic->shared.mutex);
    *ret = (struct weir_topic_stats){.next_id = topic->shared.next_id,
                                     .items = topic->shared.count,
                                     .bytes = topic->shared.bytes,
                                     .subscribers = topic->shared.subscribers};
    pthread_mutex_unlock(&topic->shared.mutex);
}
