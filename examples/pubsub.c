/* SPDX-License-Identifier: MIT */
/*
 * A channel between clients: what one posts, all who listen get as events, in the same order. Who was away says which event
 * it had last, as EventSource does by itself, and gets what followed, or an event "lagged" with the number that is gone.
 *
 *     curl -N http://127.0.0.1:8000/events
 *     curl -d 'good morning' http://127.0.0.1:8000/events
 *     curl -N -H 'Last-Event-ID: 1' http://127.0.0.1:8000/events
 */
#include <weir/weir.h>

#include <inttypes.h>
#include <stdio.h>

#include "common.h"

#define MESSAGE_BYTES ((size_t)16384)
#define HEARTBEAT_MS 15000

struct pubsub {
    struct weir_topic *topic;
    struct weir_router *router;
};

static int publish(struct weir_req *req, void *arg)
{
    struct pubsub *pubsub = arg;
    struct weir_chunk *message = NULL;
    uint64_t id = 0;
    int r = weir_read_all(weir_req_body(req), MESSAGE_BYTES, weir_after_ms(10000), &message);

    if (r < 0) {
        return r; /* a larger one is a 413 */
    }
    r = weir_topic_publish(pubsub->topic, 0, message, &id);
    weir_chunk_unref(message);
    return r < 0 ? r : weir_reply_text(req, 201, "%" PRIu64 "\n", id);
}

/* One item of the topic as an event. */
static int emit(struct weir_sink *out, const struct weir_topic_item *item)
{
    struct weir_event event = {0};
    char id[24], missed[24];

    snprintf(id, sizeof(id), "%" PRIu64, item->id);
    event.id = id;
    if (item->missed > 0) {
        snprintf(missed, sizeof(missed), "%" PRIu64, item->missed);
        event.event = "lagged";
        event.data = weir_str(missed);
    } else {
        event.data = weir_chunk_view(item->chunk);
    }
    return weir_sse_emit(out, &event);
}

static int listen_to(struct weir_req *req, void *arg)
{
    struct pubsub *pubsub = arg;
    struct weir_subscribe_opts opts = {0};
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item = {0};
    struct weir_sink *out = NULL;
    int r;

    if (weir_view_to_u64(weir_sse_last_event_id(req), &opts.after_id) == 0) {
        opts.from = WEIR_TOPIC_FROM_AFTER;
    }
    r = weir_topic_subscribe(pubsub->topic, &opts, &subscription);
    if (r >= 0) {
        r = weir_sse_config(req, &(struct weir_sse_opts){.heartbeat_ms = HEARTBEAT_MS});
    }
    if (r == 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    while (r == 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        r = emit(out, &item); /* a slow client waits here and misses items: nothing piles up */
        weir_topic_item_drop(&item);
    }
    if (r == 0) {
        r = weir_end(out, NULL); /* the topic was closed */
    }
    weir_sink_destroy(out);
    weir_subscription_destroy(subscription);
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    return weir_router_handle(req, ((struct pubsub *)arg)->router);
}

int main(int argc, char **argv)
{
    struct pubsub pubsub = {0};
    int r = weir_topic_create(&(struct weir_topic_opts){.max_items = 1000}, &pubsub.topic);

    if (r == 0) {
        r = weir_router_create(NULL, &pubsub.router);
    }
    if (r == 0) {
        r = weir_router_add(pubsub.router, "GET", "/events", listen_to, &pubsub, NULL);
    }
    if (r == 0) {
        r = weir_router_add(pubsub.router, "POST", "/events", publish, &pubsub, NULL);
    }
    if (r < 0) {
        fprintf(stderr, "pubsub: %s\n", weir_strerror(r));
    } else {
        r = example_main(argc, argv,
                         &(struct example){
                             .name = "pubsub",
                             .about = "POST a message to /events, GET them all as events",
                             .handler = handle,
                             .arg = &pubsub,
                         });
    }
    weir_router_destroy(pubsub.router);
    weir_topic_unref(pubsub.topic);
    return r < 0 ? 1 : r;
}
