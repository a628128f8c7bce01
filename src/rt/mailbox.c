/* SPDX-License-Identifier: MIT */
/*
 * Mailboxes. What threads share is behind the mutex; the fiber, its loop and the task belong to the
 * loop's thread. The loop is reached only while the mailbox is open, that is while its fiber lives,
 * and by at most one task at a time, which holds a reference; so a late task finds a mailbox
 * without a fiber, and none is posted to a loop that is gone. Locks are taken in the order mailbox,
 * loop. No payload is freed under a lock.
 */
#include <weir/mailbox.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/mailbox.h"
#include "rt/relay.h"
#include "rt/scope.h"
#include "rt/sender.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define MAILBOX_MAGIC 0x6d61696cu
#define DEFAULT_MESSAGES 256
#define DEFAULT_BYTES ((size_t)1 << 20)
#define FIRST_CAPACITY 4

struct weir_sender {
    uint32_t magic;
    _Atomic uint32_t refs; /* the fiber, each handle, the task on its way */
    struct {
        struct weir__fiber *fiber; /* NULL: has ended */
        struct weir__task task;
    } local;
    struct {
        pthread_mutex_t mutex;
        struct weir__loop *loop;
        uint32_t handles;
        bool had_handle, finished;
        bool waiting; /* the fiber wants to be woken */
        bool posted;  /* the task is on its way */
        size_t max_messages, max_bytes;
        struct weir_msg *ring;
        size_t capacity, head, count, bytes;
    } shared;
};

static void drop_ref(struct weir_sender *mailbox)
{
    if (atomic_fetch_sub_explicit(&mailbox->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    mailbox->magic = 0;
    pthread_mutex_destroy(&mailbox->shared.mutex);
    weir_free(mailbox->shared.ring);
    weir_free(mailbox);
}

/* ---- the fiber's end ---- */

static void wake_up(struct weir__task *task)
{
    struct weir_sender *mailbox = weir_list_entry(task, struct weir_sender, local.task);

    pthread_mutex_lock(&mailbox->shared.mutex);
    mailbox->shared.posted = false;
    pthread_mutex_unlock(&mailbox->shared.mutex);
    if (mailbox->local.fiber != NULL) {
        weir__fiber_wake(mailbox->local.fiber);
    }
    drop_ref(mailbox);
}

/* Of the fiber that ends: what nobody received is dropped. */
static void worker_destroy(void *worker)
{
    struct weir_sender *mailbox = worker;
    struct weir_msg *ring;
    size_t head, count, capacity;

    mailbox->local.fiber = NULL;
    pthread_mutex_lock(&mailbox->shared.mutex);
    mailbox->shared.finished = true;
    ring = mailbox->shared.ring;
    head = mailbox->shared.head;
    count = mailbox->shared.count;
    capacity = mailbox->shared.capacity;
    mailbox->shared.ring = NULL;
    mailbox->shared.count = 0;
    pthread_mutex_unlock(&mailbox->shared.mutex);
    for (size_t i = 0; i < count; i++) {
        weir_msg_drop(&ring[(head + i) % capacity]);
    }
    weir_free(ring);
    drop_ref(mailbox);
}

void weir__mailbox_end(void)
{
    struct weir__fiber *fiber = weir__fiber_current();
    void *worker = fiber->worker;

    fiber->worker = NULL;
    if (worker != NULL) {
        worker_destroy(worker);
    }
}

static struct weir_sender *mailbox_of_fiber(void)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct weir_sender *mailbox;

    weir_assert(fiber != NULL);
    if (fiber->worker != NULL) {
        return fiber->worker;
    }
    mailbox = weir_alloc0(sizeof(*mailbox));
    if (mailbox == NULL) {
        return NULL;
    }
    mailbox->magic = MAILBOX_MAGIC;
    atomic_init(&mailbox->refs, 1);
    mailbox->local.fiber = fiber;
    mailbox->local.task.run = wake_up;
    pthread_mutex_init(&mailbox->shared.mutex, NULL);
    mailbox->shared.loop = fiber->loop;
    mailbox->shared.max_messages = DEFAULT_MESSAGES;
    mailbox->shared.max_bytes = DEFAULT_BYTES;
    fiber->worker = mailbox;
    fiber->worker_destroy = worker_destroy;
    return mailbox;
}

WEIR__RELAY_2(int, relay_config, weir_mailbox_config, size_t, size_t)

int weir_mailbox_config(size_t max_messages, size_t max_bytes)
{
    struct weir_sender *mailbox;

    if (weir__relay_here != NULL) {
        return relay_config(max_messages, max_bytes);
    }
    mailbox = mailbox_of_fiber();
    if (mailbox == NULL) {
        return WEIR_ENOMEM;
    }
    pthread_mutex_lock(&mailbox->shared.mutex);
    mailbox->shared.max_messages = max_messages != 0 ? max_messages : DEFAULT_MESSAGES;
    mailbox->shared.max_bytes = max_bytes != 0 ? max_bytes : DEFAULT_BYTES;
    pthread_mutex_unlock(&mailbox->shared.mutex);
    return 0;
}

/* Takes the first message that fits out of the queue; those before it move up into its place. */
static bool take(struct weir_sender *mailbox, const uint32_t *tag, struct weir_msg *ret)
{
    struct weir_msg *ring = mailbox->shared.ring;
    size_t capacity = mailbox->shared.capacity;
    size_t head = mailbox->shared.head;

    for (size_t i = 0; i < mailbox->shared.count; i++) {
        if (tag != NULL && ring[(head + i) % capacity].tag != *tag) {
            continue;
        }
        *ret = ring[(head + i) % capacity];
        for (; i > 0; i--) {
            ring[(head + i) % capacity] = ring[(head + i - 1) % capacity];
        }
        mailbox->shared.head = (head + 1) % capacity;
        mailbox->shared.count--;
        mailbox->shared.bytes -= ret->bytes;
        return true;
    }
    return false;
}

/* 1 with a message, 0 nothing can come, WEIR_EAGAIN: nothing yet, and the next change wakes the
 * fiber. */
static int look(struct weir_sender *mailbox, const uint32_t *tag, struct weir_msg *ret)
{
    int r = WEIR_EAGAIN;

    pthread_mutex_lock(&mailbox->shared.mutex);
    mailbox->shared.waiting = false;
    if (take(mailbox, tag, ret)) {
        r = 1;
    } else if (mailbox->shared.handles == 0) {
        r = mailbox->shared.had_handle ? 0 : WEIR_ESTATE;
    } else {
        mailbox->shared.waiting = true;
    }
    pthread_mutex_unlock(&mailbox->shared.mutex);
    return r;
}

bool weir__mailbox_poll(const uint32_t *tag)
{
    struct weir_sender *mailbox = weir__fiber_current()->worker;
    bool found = false;

    if (mailbox == NULL) {
        return true; /* the call says why */
    }
    pthread_mutex_lock(&mailbox->shared.mutex);
    for (size_t i = 0; i < mailbox->shared.count && !found; i++) {
        size_t at = (mailbox->shared.head + i) % mailbox->shared.capacity;

        found = tag == NULL || mailbox->shared.ring[at].tag == *tag;
    }
    found |= mailbox->shared.handles == 0;
    mailbox->shared.waiting |= !found;
    pthread_mutex_unlock(&mailbox->shared.mutex);
    return found;
}

WEIR__RELAY_3(int, relay_receive, weir__mailbox_receive, const uint32_t *, int64_t,
              struct weir_msg *)

int weir__mailbox_receive(const uint32_t *tag, int64_t deadline, struct weir_msg *ret)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct weir_sender *mailbox;
    int waited = 0;

    weir_assert(fiber != NULL);
    mailbox = fiber->worker;
    if (weir__wait_is_cancelled()) {
        return weir__wait(0);
    }
    if (mailbox == NULL) {
        return WEIR_ESTATE;
    }
    for (;;) {
        int r = look(mailbox, tag, ret);

        if (r != WEIR_EAGAIN) {
            return r;
        }
        if (deadline == 0 || waited < 0) {
            return deadline == 0 ? r : waited;
        }
        waited = weir__wait(weir__deadline_us(deadline));
        if (waited == WEIR_ECANCELED) {
            return waited;
        }
    }
}

int weir_receive(int64_t deadline, struct weir_msg *ret)
{
    return weir__relay_here != NULL ? relay_receive(NULL, deadline, ret)
                                    : weir__mailbox_receive(NULL, deadline, ret);
}

int weir_receive_tag(uint32_t tag, int64_t deadline, struct weir_msg *ret)
{
    return weir__relay_here != NULL ? relay_receive(&tag, deadline, ret)
                                    : weir__mailbox_receive(&tag, deadline, ret);
}

struct weir_view weir_msg_text(const struct weir_msg *msg)
{
    return msg->text;
}

void weir_msg_drop(struct weir_msg *msg)
{
    struct weir_msg gone = *msg;

    *msg = (struct weir_msg){0};
    if (gone.destroy != NULL) {
        gone.destroy(gone.data);
    }
}

/* ---- the senders' end ---- */

/* Under the lock, of an open mailbox. */
static void notify(struct weir_sender *mailbox)
{
    if (!mailbox->shared.waiting || mailbox->shared.posted) {
        return;
    }
    mailbox->shared.waiting = false;
    if (mailbox->shared.loop == weir__loop_current()) {
        weir__fiber_wake(mailbox->local.fiber);
        return;
    }
    mailbox->shared.posted = true;
    atomic_fetch_add_explicit(&mailbox->refs, 1, memory_order_relaxed);
    weir__loop_post(mailbox->shared.loop, &mailbox->local.task);
}

WEIR__RELAY_0(struct weir_sender *, relay_create, weir_sender_create)

struct weir_sender *weir_sender_create(void)
{
    struct weir_sender *mailbox;

    if (weir__relay_here != NULL) {
        return relay_create();
    }
    mailbox = mailbox_of_fiber();
    return mailbox != NULL ? weir_sender_ref(mailbox) : NULL;
}

struct weir_sender *weir_sender_ref(struct weir_sender *sender)
{
    weir_check(sender, MAILBOX_MAGIC);
    atomic_fetch_add_explicit(&sender->refs, 1, memory_order_relaxed);
    pthread_mutex_lock(&sender->shared.mutex);
    sender->shared.handles++;
    sender->shared.had_handle = true;
    pthread_mutex_unlock(&sender->shared.mutex);
    return sender;
}

void weir__sender_drop(struct weir_sender *sender)
{
    weir_check(sender, MAILBOX_MAGIC);
    pthread_mutex_lock(&sender->shared.mutex);
    sender->shared.handles--;
    if (sender->shared.handles == 0 && !sender->shared.finished) {
        notify(sender);
    }
    pthread_mutex_unlock(&sender->shared.mutex);
    drop_ref(sender);
}

static int make_room(struct weir_sender *mailbox)
{
    size_t capacity = mailbox->shared.capacity == 0 ? FIRST_CAPACITY : mailbox->shared.capacity * 2;
    struct weir_msg *ring;

    if (mailbox->shared.count < mailbox->shared.capacity) {
        return 0;
    }
    ring = weir_alloc(capacity * sizeof(*ring));
    if (ring == NULL) {
        return WEIR_ENOMEM;
    }
    for (size_t i = 0; i < mailbox->shared.count; i++) {
        ring[i] = mailbox->shared.ring[(mailbox->shared.head + i) % mailbox->shared.capacity];
    }
    weir_free(mailbox->shared.ring);
    mailbox->shared.ring = ring;
    mailbox->shared.capacity = capacity;
    mailbox->shared.head = 0;
    return 0;
}

/* Under the lock. */
static int put(struct weir_sender *mailbox, const struct weir_msg *msg)
{
    size_t count = mailbox->shared.count;
    size_t used = mailbox->shared.bytes;
    int r;

    if (mailbox->shared.finished) {
        return WEIR_ECLOSED;
    }
    if (count > 0 && (count >= mailbox->shared.max_messages || used > mailbox->shared.max_bytes ||
                      msg->bytes > mailbox->shared.max_bytes - used)) {
        return WEIR_EFLOW;
    }
    r = make_room(mailbox);
    if (r < 0) {
        return r;
    }
    mailbox->shared.ring[(mailbox->shared.head + count) % mailbox->shared.capacity] = *msg;
    mailbox->shared.count++;
    mailbox->shared.bytes += msg->bytes;
    notify(mailbox);
    return 0;
}

int weir_send(struct weir_sender *sender, const struct weir_msg *msg)
{
    int r;

    if (sender == NULL) {
        return WEIR_EINVAL;
    }
    weir_check(sender, MAILBOX_MAGIC);
    pthread_mutex_lock(&sender->shared.mutex);
    r = put(sender, msg);
    pthread_mutex_unlock(&sender->shared.mutex);
    return r;
}

int weir_send_text(struct weir_sender *sender, struct weir_view text)
{
    /* One byte more: an empty text is present, and malloc(0) is not asked for. */
    uint8_t *copy = weir_alloc(text.len + 1);
    int r;

    if (copy == NULL) {
        return WEIR_ENOMEM;
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    r = weir_send(sender, &(struct weir_msg){.bytes = text.len,
                                             .data = copy,
                                             .destroy = weir_free,
                                             .text = weir_bytes(copy, text.len)});
    if (r < 0) {
        weir_free(copy);
    }
    return r;
}
