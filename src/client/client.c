/* SPDX-License-Identifier: MIT */
/* Clients, origins, and the bound on an origin's connections. */
#include "client/client.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/scope.h"

#define CLIENT_MAGIC 0x636c6e74u

static int64_t ms_or(int64_t given, int64_t otherwise)
{
    return given == 0 ? otherwise : given < 0 ? 0 : given;
}

static void fill_defaults(struct weir_client_opts *opts)
{
    opts->dial_timeout_ms = ms_or(opts->dial_timeout_ms, 3000);
    opts->head_timeout_ms = ms_or(opts->head_timeout_ms, 60000);
    opts->first_byte_ms = ms_or(opts->first_byte_ms, 120000);
    opts->idle_timeout_ms = ms_or(opts->idle_timeout_ms, 300000);
    opts->keepalive_ms = ms_or(opts->keepalive_ms, 60000);
    if (opts->max_idle == 0) {
        opts->max_idle = 256;
    } else if (opts->max_idle == WEIR_NO_IDLE) {
        opts->max_idle = 0;
    }
    if (opts->stream_bytes == 0) {
        opts->stream_bytes = (size_t)4 << 20;
    }
    if (opts->head_bytes == 0) {
        opts->head_bytes = 65536;
    }
    if (opts->max_fields == 0) {
        opts->max_fields = 200;
    }
}

static struct weir__pace pace_of(const struct weir_client_opts *opts)
{
    return weir__pace_with(&(struct weir__pace){
        .slow_bytes = opts->pace_slow_bytes,
        .fast_bytes = opts->pace_fast_bytes,
        .fast_chunk = opts->pace_fast_chunk,
        .fast_after = opts->pace_fast_after,
        .stall_reset_us = opts->pace_stall_reset_ms * 1000,
        .stall_slow_us = opts->pace_stall_slow_ms * 1000,
    });
}

int weir_client_create(const struct weir_client_opts *opts, struct weir_client **ret)
{
    struct weir_client *client = weir_alloc0(sizeof(*client));

    if (client == NULL) {
        return WEIR_ENOMEM;
    }
    client->magic = CLIENT_MAGIC;
    if (opts != NULL) {
        client->opts = *opts;
    }
    fill_defaults(&client->opts);
    if (client->opts.max_fields > 1000 || client->opts.head_bytes > ((size_t)1 << 19)) {
        weir_free(client);
        return WEIR_EINVAL;
    }
    client->pace = pace_of(&client->opts);
    client->limits = (struct weir__limits){
        .first_byte_ms = client->opts.first_byte_ms,
        .read_gap_ms = client->opts.idle_timeout_ms,
        .write_stall_ms = client->opts.idle_timeout_ms,
        .head_bytes = client->opts.head_bytes,
        .held_bytes = client->opts.stream_bytes,
        .head_fields = client->opts.max_fields,
    };
    client->carrier = &weir__pool_carrier;
    client->carrier_arg = client;
    pthread_mutex_init(&client->mutex, NULL);
    *ret = client;
    return 0;
}

void weir_client_destroy(struct weir_client *client)
{
    if (client == NULL) {
        return;
    }
    weir_check(client, CLIENT_MAGIC);
    while (client->origins != NULL) {
        struct weir__origin *origin = client->origins;

        client->origins = origin->next;
        weir_assert(origin->count == 0);
        pthread_mutex_destroy(&origin->mutex);
        weir_free(origin);
    }
    pthread_mutex_destroy(&client->mutex);
    client->magic = 0;
    weir_free(client);
}

void weir__client_set_carrier(struct weir_client *client, const struct weir__carrier_ops *ops,
                              void *arg)
{
    weir_check(client, CLIENT_MAGIC);
    client->carrier = ops;
    client->carrier_arg = arg;
}

int weir__origin_find(struct weir_client *client, struct weir_view host, uint16_t port,
                      struct weir__origin **ret)
{
    struct weir__origin *origin;
    int r = 0;

    weir_check(client, CLIENT_MAGIC);
    if (host.len == 0 || host.len >= sizeof(origin->host) || port == 0) {
        return WEIR_EINVAL;
    }
    pthread_mutex_lock(&client->mutex);
    for (origin = client->origins; origin != NULL; origin = origin->next) {
        if (origin->port == port && weir_view_equal(weir_str(origin->host), host)) {
            break;
        }
    }
    if (origin == NULL) {
        origin = weir_alloc0(sizeof(*origin));
        if (origin == NULL) {
            r = WEIR_ENOMEM;
        } else {
            memcpy(origin->host, host.data, host.len);
            origin->port = port;
            pthread_mutex_init(&origin->mutex, NULL);
            weir_list_init(&origin->waiting);
            origin->next = client->origins;
            client->origins = origin;
        }
    }
    pthread_mutex_unlock(&client->mutex);
    if (r == 0) {
        *ret = origin;
    }
    return r;
}

/* ---- the bound on connections ---- */

struct slot_waiter {
    struct weir_list link;  /* weir__origin.waiting; under its mutex */
    struct weir__task task; /* tells the fiber, on its loop, that the slot is its own */
    struct weir__loop *loop;
    struct weir__fiber *fiber;
    bool granted;
    bool cancelled;
    struct weir__client_conn *conn; /* an idle one with the slot; NULL: to be opened */
    struct weir__cancel_hook hook;
};

static void slot_granted(struct weir__task *task)
{
    struct slot_waiter *waiter = weir_list_entry(task, struct slot_waiter, task);

    waiter->granted = true;
    weir__fiber_wake(waiter->fiber);
}

static void wait_cancelled(struct weir__cancel_hook *hook)
{
    struct slot_waiter *waiter = weir_list_entry(hook, struct slot_waiter, hook);

    waiter->cancelled = true;
    weir__fiber_wake(waiter->fiber);
}

/* Leaves the queue, or, when the slot is on its way already, takes it and gives it back. */
static void give_up(struct weir__origin *origin, struct slot_waiter *waiter)
{
    bool queued;

    pthread_mutex_lock(&origin->mutex);
    queued = !weir_list_is_empty(&waiter->link);
    weir_list_remove(&waiter->link);
    pthread_mutex_unlock(&origin->mutex);
    if (queued) {
        return;
    }
    while (!waiter->granted) {
        weir__fiber_suspend(WEIR__NEVER);
    }
    if (waiter->conn != NULL) {
        weir__pool_close(waiter->conn);
    } else {
        weir__origin_leave(origin);
    }
}

int weir__origin_enter(struct weir__origin *origin, size_t max, int64_t deadline_us,
                       struct weir__client_conn **ret_conn)
{
    struct slot_waiter waiter = {.task.run = slot_granted};
    int r = 0;

    pthread_mutex_lock(&origin->mutex);
    if (max == 0 || origin->count < max) {
        origin->count++;
        pthread_mutex_unlock(&origin->mutex);
        return 0;
    }
    waiter.loop = weir__loop_current();
    waiter.fiber = weir__fiber_current();
    weir_list_push_back(&origin->waiting, &waiter.link);
    pthread_mutex_unlock(&origin->mutex);
    weir__cancel_hook_add(&waiter.hook, wait_cancelled);
    while (!waiter.granted && !waiter.cancelled && r == 0) {
        r = weir__fiber_suspend(deadline_us);
    }
    weir__cancel_hook_remove(&waiter.hook);
    if (waiter.granted) {
        *ret_conn = waiter.conn;
        return 0;
    }
    give_up(origin, &waiter);
    return waiter.cancelled ? WEIR_ECANCELED : WEIR_ELIMIT;
}

void weir__origin_leave(struct weir__origin *origin)
{
    struct weir_list *link;

    pthread_mutex_lock(&origin->mutex);
    link = weir_list_pop_front(&origin->waiting);
    if (link != NULL) {
        struct slot_waiter *waiter = weir_list_entry(link, struct slot_waiter, link);

        weir__loop_post(waiter->loop, &waiter->task);
    } else {
        origin->count--;
    }
    pthread_mutex_unlock(&origin->mutex);
}

bool weir__origin_hand_over(struct weir__origin *origin, struct weir__client_conn *conn,
                            bool *ret_wanted)
{
    struct weir__loop *loop = weir__loop_current();
    struct slot_waiter *taker = NULL;

    pthread_mutex_lock(&origin->mutex);
    *ret_wanted = !weir_list_is_empty(&origin->waiting);
    for (struct weir_list *link = origin->waiting.next; link != &origin->waiting;
         link = link->next) {
        struct slot_waiter *waiter = weir_list_entry(link, struct slot_waiter, link);

        if (waiter->loop == loop) {
            taker = waiter;
            weir_list_remove(link);
            break;
        }
    }
    pthread_mutex_unlock(&origin->mutex);
    if (taker == NULL) {
        return false;
    }
    taker->conn = conn;
    taker->granted = true;
    weir__fiber_wake(taker->fiber);
    return true;
}
