/* SPDX-License-Identifier: MIT */
/*
 * The bounded channel. Items stay in the queue until a receiver that runs takes them, and a sender
 * that runs puts its own item in: a wake-up hands nothing over, so a waiter that is cancelled or
 * too late loses nothing. Invariant, kept by settle(): the first waiter of a side that could go on
 * has been woken; when it leaves, the next one is looked at.
 */
#include "rt/channel.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/list.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/relay.h"
#include "rt/scope.h"

#define CHANNEL_MAGIC 0x6368616eu
#define DEFAULT_ITEMS 16
#define DEFAULT_BYTES 65536
#define FIRST_CAPACITY 4

struct entry {
    void *item;
    size_t bytes;
};

struct weir_channel {
    uint32_t magic;
    uint32_t refs;
    bool closed, aborted;
    int error; /* what receivers get after the last item of a closed channel */
    size_t max_items, max_bytes;
    void (*drop)(void *item);
    struct entry *ring;
    size_t capacity, head, count, bytes;
    struct weir_list senders, receivers; /* weir__channel_waiter.link */
    /* Whom a select has told last that it is his turn: not to be dereferenced, he may have gone. Void once anybody has
     * taken, or put in, an item. */
    const struct weir__fiber *next_sender, *next_receiver;
};

int weir_channel_create(const struct weir_channel_opts *opts, struct weir_channel **ret)
{
    struct weir_channel *channel = weir_alloc0(sizeof(*channel));

    if (channel == NULL) {
        return WEIR_ENOMEM;
    }
    channel->magic = CHANNEL_MAGIC;
    channel->refs = 1;
    channel->max_items = opts != NULL && opts->max_items != 0 ? opts->max_items : DEFAULT_ITEMS;
    channel->max_bytes = opts != NULL && opts->max_bytes != 0 ? opts->max_bytes : DEFAULT_BYTES;
    channel->drop = opts != NULL ? opts->drop : NULL;
    weir_list_init(&channel->senders);
    weir_list_init(&channel->receivers);
    *ret = channel;
    return 0;
}

WEIR__RELAY_1(struct weir_channel *, relay_channel_ref, weir_channel_ref, struct weir_channel *)

struct weir_channel *weir_channel_ref(struct weir_channel *channel)
{
    if (weir__relay_here != NULL) {
        return relay_channel_ref(channel);
    }
    weir_check(channel, CHANNEL_MAGIC);
    channel->refs++;
    return channel;
}

static struct entry take_first(struct weir_channel *channel)
{
    struct entry first = channel->ring[channel->head];

    channel->head = (channel->head + 1) % channel->capacity;
    channel->count--;
    channel->bytes -= first.bytes;
    channel->next_receiver = NULL;
    return first;
}

/* The drop callback may call back into the channel: each item is out of the queue before. */
static void drop_all(struct weir_channel *channel)
{
    while (channel->count > 0) {
        struct entry first = take_first(channel);

        if (channel->drop != NULL) {
            channel->drop(first.item);
        }
    }
}

WEIR__RELAY_1(struct weir_channel *, relay_channel_unref, weir_channel_unref, struct weir_channel *)

struct weir_channel *weir_channel_unref(struct weir_channel *channel)
{
    if (weir__relay_here != NULL) {
        return relay_channel_unref(channel);
    }
    if (channel == NULL) {
        return NULL;
    }
    weir_check(channel, CHANNEL_MAGIC);
    if (channel->refs > 1) {
        channel->refs--;
        return NULL;
    }
    drop_all(channel);
    channel->magic = 0;
    weir_free(channel->ring);
    weir_free(channel);
    return NULL;
}

void weir_channel_unrefp(struct weir_channel **channel)
{
    *channel = weir_channel_unref(*channel);
}

static bool has_room(const struct weir_channel *channel, size_t bytes)
{
    if (channel->count == 0) {
        return true;
    }
    return channel->count < channel->max_items && channel->bytes <= channel->max_bytes &&
           bytes <= channel->max_bytes - channel->bytes;
}

static void settle(struct weir_channel *channel)
{
    bool over = channel->closed || channel->aborted;

    if (!weir_list_is_empty(&channel->receivers) && (channel->count > 0 || over)) {
        weir__fiber_wake(
            weir_list_entry(channel->receivers.next, struct weir__channel_waiter, link)->fiber);
    }
    if (!weir_list_is_empty(&channel->senders)) {
        struct weir__channel_waiter *first =
            weir_list_entry(channel->senders.next, struct weir__channel_waiter, link);

        if (over || has_room(channel, first->bytes)) {
            weir__fiber_wake(first->fiber);
        }
    }
}

static int put_last(struct weir_channel *channel, void *item, size_t bytes)
{
    if (channel->count == channel->capacity) {
        size_t capacity = channel->capacity == 0 ? FIRST_CAPACITY : channel->capacity * 2;
        struct entry *ring = weir_alloc(capacity * sizeof(*ring));

        if (ring == NULL) {
            return WEIR_ENOMEM;
        }
        for (size_t i = 0; i < channel->count; i++) {
            ring[i] = channel->ring[(channel->head + i) % channel->capacity];
        }
        weir_free(channel->ring);
        channel->ring = ring;
        channel->capacity = capacity;
        channel->head = 0;
    }
    channel->ring[(channel->head + channel->count) % channel->capacity] =
        (struct entry){item, bytes};
    channel->next_sender = NULL;
    channel->count++;
    channel->bytes += bytes;
    return 0;
}

#define MUST_WAIT 2 /* no error, for those may come from outside */

/* What a call can say without waiting. `first`: nobody waits before it. */
static int try_send(struct weir_channel *channel, void *item, size_t bytes, bool first)
{
    if (channel->aborted) {
        return WEIR_ECLOSED;
    }
    if (channel->closed) {
        return WEIR_ESTATE;
    }
    return first && has_room(channel, bytes) ? put_last(channel, item, bytes) : MUST_WAIT;
}

static int try_recv(struct weir_channel *channel, void **ret, bool first)
{
    if (channel->aborted) {
        return WEIR_ESTATE;
    }
    if (channel->count > 0) {
        if (!first) {
            return MUST_WAIT;
        }
        *ret = take_first(channel).item;
        return 1;
    }
    return channel->closed ? channel->error : MUST_WAIT;
}

static bool is_running(const struct weir__fiber *fiber)
{
    return fiber != NULL && fiber == weir__fiber_current();
}

static int wait_to_send(struct weir_channel *channel, void *item, size_t bytes, int64_t deadline_us)
{
    struct weir__channel_waiter self = {.fiber = weir__fiber_current(), .bytes = bytes};
    int r;

    weir_list_push_back(&channel->senders, &self.link);
    for (;;) {
        int waited = weir__wait(deadline_us);

        if (waited == WEIR_ECANCELED) {
            r = waited;
            break;
        }
        r = try_send(channel, item, bytes, channel->senders.next == &self.link);
        if (r != MUST_WAIT) {
            break;
        }
        if (waited < 0) {
            r = waited;
            break;
        }
    }
    weir_list_remove(&self.link);
    return r;
}

WEIR__RELAY_4(int, relay_channel_send, weir_channel_send, struct weir_channel *, void *, size_t,
              int64_t)

int weir_channel_send(struct weir_channel *channel, void *item, size_t bytes, int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_channel_send(channel, item, bytes, deadline);
    }

    int r;

    weir_check(channel, CHANNEL_MAGIC);
    channel->refs++; /* while this call waits, others may drop theirs */
    if (weir__wait_is_cancelled()) {
        r = weir__wait(0);
    } else {
        r = try_send(channel, item, bytes,
                     weir_list_is_empty(&channel->senders) || is_running(channel->next_sender));
        if (r == MUST_WAIT) {
            r = deadline == 0 ? WEIR_EFLOW
                              : wait_to_send(channel, item, bytes, weir__deadline_us(deadline));
        }
    }
    settle(channel);
    weir_channel_unref(channel);
    return r;
}

static int wait_to_recv(struct weir_channel *channel, int64_t deadline_us, void **ret)
{
    struct weir__channel_waiter self = {.fiber = weir__fiber_current()};
    int r;

    weir_list_push_back(&channel->receivers, &self.link);
    for (;;) {
        int waited = weir__wait(deadline_us);

        if (waited == WEIR_ECANCELED) {
            r = waited;
            break;
        }
        r = try_recv(channel, ret, channel->receivers.next == &self.link);
        if (r != MUST_WAIT) {
            break;
        }
        if (waited < 0) {
            r = waited;
            break;
        }
    }
    weir_list_remove(&self.link);
    return r;
}

WEIR__RELAY_3(int, relay_channel_recv, weir_channel_recv, struct weir_channel *, int64_t, void **)

int weir_channel_recv(struct weir_channel *channel, int64_t deadline, void **ret)
{
    if (weir__relay_here != NULL) {
        return relay_channel_recv(channel, deadline, ret);
    }

    int r;

    weir_check(channel, CHANNEL_MAGIC);
    channel->refs++;
    if (weir__wait_is_cancelled()) {
        r = weir__wait(0);
    } else {
        r = try_recv(channel, ret,
                     weir_list_is_empty(&channel->receivers) || is_running(channel->next_receiver));
        if (r == MUST_WAIT) {
            r = deadline == 0 ? WEIR_EAGAIN
                              : wait_to_recv(channel, weir__deadline_us(deadline), ret);
        }
    }
    settle(channel);
    weir_channel_unref(channel);
    return r;
}

/* ---- for a select ---- */

bool weir__channel_poll(struct weir_channel *channel, struct weir__channel_waiter *waiter)
{
    struct weir_list *line = waiter->sends ? &channel->senders : &channel->receivers;
    bool is_first = line->next == (weir_list_is_empty(&waiter->link) ? line : &waiter->link);

    weir_check(channel, CHANNEL_MAGIC);
    if (channel->closed || channel->aborted) {
        return waiter->sends || channel->aborted || channel->count == 0 || is_first;
    }
    return is_first && (waiter->sends ? has_room(channel, waiter->bytes) : channel->count > 0);
}

void weir__channel_arm(struct weir_channel *channel, struct weir__channel_waiter *waiter)
{
    waiter->fiber = weir__fiber_current();
    channel->refs++;
    weir_list_push_back(waiter->sends ? &channel->senders : &channel->receivers, &waiter->link);
}

void weir__channel_disarm(struct weir_channel *channel, struct weir__channel_waiter *waiter,
                          bool his_turn)
{
    if (his_turn && waiter->sends) {
        channel->next_sender = weir__fiber_current();
    } else if (his_turn) {
        channel->next_receiver = weir__fiber_current();
    }
    if (!weir_list_is_empty(&waiter->link)) {
        weir_list_remove(&waiter->link);
        settle(channel);
        weir_channel_unref(channel);
    }
}

/* ---- the ends ---- */

WEIR__RELAY_VOID_2(relay_channel_close, weir_channel_close, struct weir_channel *, int)

void weir_channel_close(struct weir_channel *channel, int error)
{
    if (weir__relay_here != NULL) {
        relay_channel_close(channel, error);
        return;
    }
    weir_check(channel, CHANNEL_MAGIC);
    if (channel->closed || channel->aborted) {
        return;
    }
    channel->closed = true;
    channel->error = error < 0 ? error : 0;
    settle(channel);
}

WEIR__RELAY_VOID_1(relay_channel_abort, weir_channel_abort, struct weir_channel *)

void weir_channel_abort(struct weir_channel *channel)
{
    if (weir__relay_here != NULL) {
        relay_channel_abort(channel);
        return;
    }
    weir_check(channel, CHANNEL_MAGIC);
    if (channel->aborted) {
        return;
    }
    channel->aborted = true;
    channel->refs++; /* the drop callback may let go of the last reference */
    drop_all(channel);
    settle(channel);
    weir_channel_unref(channel);
}
