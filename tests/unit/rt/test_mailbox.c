/* SPDX-License-Identifier: MIT */
/* Mailboxes: bounds, ends, selective receive, many threads. */
#include "rt_test.h"

#include <weir/chunk.h>
#include <weir/mailbox.h>

#include <pthread.h>
#include <stdatomic.h>

#include "rt/sender.h"

static _Atomic int destroyed;

static void count_destroyed(void *data)
{
    (void)data;
    atomic_fetch_add(&destroyed, 1);
}

static struct weir_msg numbered(uint32_t tag, size_t bytes)
{
    return (struct weir_msg){
        .tag = tag, .bytes = bytes, .data = &destroyed, .destroy = count_destroyed};
}

static void run(void (*fn)(void *done))
{
    bool done = false;

    atomic_store(&destroyed, 0);
    start(fn, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

/* ---- one thread ---- */

static void use_own_mailbox(void *done)
{
    struct weir_sender *sender;
    struct weir_msg msg;
    struct weir_msg big = numbered(1, 5000);
    struct weir_msg small = numbered(2, 60);

    assert_int_equal(weir_receive(-1, &msg), WEIR_ESTATE);
    assert_int_equal(weir_send(NULL, &big), WEIR_EINVAL);
    assert_int_equal(weir_mailbox_config(3, 100), 0);
    sender = weir_sender_create();
    assert_non_null(sender);
    assert_int_equal(weir_receive(0, &msg), WEIR_EAGAIN);
    assert_int_equal(weir_receive(weir_after_ms(5), &msg), WEIR_ETIMEDOUT);
    assert_int_equal(weir_send(sender, &big), 0); /* alone, any size is taken */
    assert_int_equal(weir_send(sender, &small), WEIR_EFLOW);
    assert_int_equal(weir_receive(-1, &msg), 1);
    assert_int_equal(msg.tag, 1);
    weir_msg_drop(&msg);
    weir_msg_drop(&msg);
    assert_int_equal(atomic_load(&destroyed), 1);
    assert_int_equal(weir_send(sender, &small), 0);
    small.bytes = 41;
    assert_int_equal(weir_send(sender, &small), WEIR_EFLOW);
    small.bytes = 0;
    assert_int_equal(weir_send(sender, &small), 0);
    assert_int_equal(weir_send_text(sender, weir_str("text")), 0);
    assert_int_equal(weir_send(sender, &small), WEIR_EFLOW);
    assert_int_equal(weir_send_text(sender, weir_str("more")), WEIR_EFLOW);

    /* By tag, out of order; the others stay. */
    assert_int_equal(weir_receive_tag(9, 0, &msg), WEIR_EAGAIN);
    assert_int_equal(weir_receive_tag(0, -1, &msg), 1);
    assert_true(weir_view_equal(weir_msg_text(&msg), weir_str("text")));
    weir_msg_drop(&msg);
    assert_true(weir_view_is_absent(weir_msg_text(&msg)));

    weir_sender_ref(sender);
    weir_sender_unref(sender);
    assert_int_equal(weir_receive(0, &msg), 1);
    assert_true(msg.bytes == 60);
    weir_msg_drop(&msg);
    assert_null(weir_sender_unref(sender));
    assert_null(weir_sender_unref(NULL));
    /* The last handle has gone: what is left, then the end. */
    assert_int_equal(weir_receive_tag(9, -1, &msg), 0);
    assert_int_equal(weir_receive(-1, &msg), 1);
    weir_msg_drop(&msg);
    assert_int_equal(weir_receive(-1, &msg), 0);
    assert_int_equal(weir_receive(0, &msg), 0);
    /* A new handle opens it again. */
    sender = weir_sender_create();
    assert_int_equal(weir_receive(0, &msg), WEIR_EAGAIN);
    assert_int_equal(weir_send(sender, &small), 0);
    assert_int_equal(weir_send_text(sender, weir_bytes("", 0)), 0);
    weir_sender_unref(sender);
    *(bool *)done = true; /* two messages nobody receives */
}

static void bounds_tags_and_ends(void **state)
{
    (void)state;
    run(use_own_mailbox);
    assert_int_equal(atomic_load(&destroyed), 4);
}

static struct weir_sender *kept;

static void leave_a_handle(void *done)
{
    struct weir_msg msg = numbered(1, 1);

    kept = weir_sender_create();
    assert_int_equal(weir_send(kept, &msg), 0);
    *(bool *)done = true;
}

static void serve_twice(void *done)
{
    struct weir_msg msg = numbered(1, 1);
    struct weir_sender *old = weir_sender_create();

    assert_int_equal(weir_send(old, &msg), 0);
    weir__mailbox_end();
    weir__mailbox_end();
    assert_int_equal(atomic_load(&destroyed), 1);
    assert_int_equal(weir_receive(-1, &msg), WEIR_ESTATE);
    assert_int_equal(weir_send(old, &msg), WEIR_ECLOSED);
    kept = weir_sender_create();
    assert_ptr_not_equal(kept, old);
    assert_int_equal(weir_send_text(kept, weir_str("new")), 0);
    weir_sender_unref(old);
    weir_sender_unref(kept);
    assert_int_equal(weir_receive(-1, &msg), 1);
    assert_true(weir_view_equal(weir_msg_text(&msg), weir_str("new")));
    weir_msg_drop(&msg);
    assert_int_equal(weir_receive(-1, &msg), 0);
    *(bool *)done = true;
}

static void a_fiber_may_begin_anew(void **state)
{
    (void)state;
    run(serve_twice);
}

static void a_finished_worker_is_closed(void **state)
{
    struct weir_msg msg = numbered(1, 1);

    (void)state;
    run(leave_a_handle);
    assert_int_equal(atomic_load(&destroyed), 1);
    assert_int_equal(weir_send(kept, &msg), WEIR_ECLOSED);
    assert_int_equal(weir_send_text(kept, weir_str("x")), WEIR_ECLOSED);
    weir_sender_unref(weir_sender_ref(kept));
    weir_sender_unrefp(&kept);
    assert_null(kept);
    assert_int_equal(atomic_load(&destroyed), 1); /* what was refused is the caller's */
}

static int send_chunk_later(void *arg)
{
    struct weir_chunk *chunk = NULL;
    struct weir_sender *sender = arg;

    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    assert_int_equal(weir_chunk_copy(weir_str("a chunk"), &chunk), 0);
    assert_int_equal(weir_send_chunk(sender, chunk), 0);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    weir_sender_unref(sender);
    return 0;
}

static int receive_cancelled(void *arg)
{
    struct weir_sender *sender = weir_sender_create();
    struct weir_msg msg = numbered(3, 0);

    (void)arg;
    assert_int_equal(weir_receive(-1, &msg), WEIR_ECANCELED);
    assert_int_equal(weir_send(sender, &msg), 0);
    assert_int_equal(weir_receive(-1, &msg), WEIR_ECANCELED); /* nothing was taken */
    weir__shield_begin();
    assert_int_equal(weir_receive(-1, &msg), 1);
    weir__shield_end();
    weir_sender_unref(sender);
    return 0;
}

static void two_fibers(void *done)
{
    struct weir_scope *scope;
    struct weir_msg msg;
    int64_t from = weir_now();

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, send_chunk_later, weir_sender_create()), 0);
    assert_int_equal(weir_receive(weir_after_ms(100), &msg), 1);
    assert_true(weir_now() == from + 5);
    assert_true(weir_view_equal(weir_msg_text(&msg), weir_str("a chunk")));
    weir_msg_drop(&msg);
    assert_int_equal(weir_receive(-1, &msg), 0);
    assert_true(weir_now() == from + 10);
    assert_int_equal(weir_scope_spawn(scope, receive_cancelled, NULL), 0);
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    weir_scope_close(scope);
    *(bool *)done = true;
}

static void fibers_of_one_loop(void **state)
{
    (void)state;
    run(two_fibers);
}

static void no_memory(void *done)
{
    struct weir_sender *sender;
    struct weir_msg msg = numbered(1, 1);

    weir__alloc_fail_at(1);
    sender = weir_sender_create();
    weir__alloc_fail_at(0);
#ifdef WEIR_DEBUG
    assert_null(sender);
    sender = weir_sender_create();
    assert_non_null(sender);
    weir__alloc_fail_at(1);
    assert_int_equal(weir_send(sender, &msg), WEIR_ENOMEM);
    assert_int_equal(weir_send_text(sender, weir_str("x")), WEIR_ENOMEM);
    assert_int_equal(weir_sender_bind(sender), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
#endif
    assert_int_equal(weir_send(sender, &msg), 0);
    weir_sender_unref(sender);
    *(bool *)done = true;
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    run(no_memory);
}

/* ---- many threads ---- */

enum { THREADS = 6, PER_THREAD = 3000 };
static _Atomic int refused_full, refused_closed, accepted;

/* Sends its numbers in order, trying again while the mailbox is full; the thread's own number is
 * the tag. */
static void *send_numbers(void *arg)
{
    struct weir_sender *sender = arg;
    static _Atomic uint32_t names;
    uint32_t name = atomic_fetch_add(&names, 1) % THREADS;

    for (uintptr_t i = 0; i < PER_THREAD; i++) {
        struct weir_msg msg = {.tag = name, .bytes = 10, .data = (void *)i};
        int r;

        while ((r = weir_send(sender, &msg)) == WEIR_EFLOW) {
            atomic_fetch_add(&refused_full, 1);
            sleep_real_ms(1);
        }
        if (r == 0) {
            atomic_fetch_add(&accepted, 1);
        }
    }
    weir_sender_unref(sender);
    return NULL;
}

static void receive_from_threads(void *done)
{
    pthread_t threads[THREADS];
    uintptr_t next[THREADS] = {0};
    struct weir_sender *sender = weir_sender_create();
    struct weir_msg msg;
    int total = 0;
    int r;

    assert_int_equal(weir_mailbox_config(64, 0), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, send_numbers, weir_sender_ref(sender)),
                         0);
    }
    weir_sender_unref(sender);
    while ((r = weir_receive(weir_after_ms(60000), &msg)) == 1) {
        assert_true((uintptr_t)msg.data == next[msg.tag]);
        next[msg.tag]++;
        total++;
        weir_msg_drop(&msg);
    }
    assert_int_equal(r, 0);
    assert_int_equal(total, THREADS * PER_THREAD);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    *(bool *)done = true;
}

static void many_threads_in_order(void **state)
{
    (void)state;
    atomic_store(&accepted, 0);
    run(receive_from_threads);
    assert_int_equal(atomic_load(&accepted), THREADS * PER_THREAD);
}

/* The worker goes while they send: everything accepted is destroyed, nothing else. */
static void *send_until_closed(void *arg)
{
    struct weir_sender *sender = arg;
    int r = 0;

    while (r != WEIR_ECLOSED) {
        struct weir_msg msg = numbered(1, 1);

        r = weir_send(sender, &msg);
        atomic_fetch_add(r == 0 ? &accepted : r == WEIR_EFLOW ? &refused_full : &refused_closed, 1);
    }
    weir_sender_unref(sender);
    return NULL;
}

static pthread_t stragglers[THREADS];

static void leave_early(void *done)
{
    struct weir_sender *sender = weir_sender_create();

    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(
            pthread_create(&stragglers[i], NULL, send_until_closed, weir_sender_ref(sender)), 0);
    }
    weir_sender_unref(sender);
    for (int i = 0; i < 200; i++) {
        struct weir_msg msg;

        assert_int_equal(weir_receive(weir_after_ms(60000), &msg), 1);
        weir_msg_drop(&msg);
    }
    *(bool *)done = true;
}

static void a_worker_may_leave_first(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        atomic_store(&accepted, 0);
        atomic_store(&refused_closed, 0);
        run(leave_early);
        if (round % 2) {
            /* The loop goes too, while they still send. */
            weir__loop_destroy(loop);
            loop = NULL;
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(stragglers[i], NULL);
        }
        assert_int_equal(atomic_load(&accepted), atomic_load(&destroyed));
        assert_int_equal(atomic_load(&refused_closed), THREADS);
        if (loop == NULL) {
            assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
        }
    }
}

/* A thread that dies with its handles in hand. */
static void *die(void *arg)
{
    struct weir_sender *sender = arg;
    struct weir_sender *another = weir_sender_ref(sender);

    if (weir_sender_bind(sender) < 0 || weir_sender_bind(another) < 0 ||
        weir_send_text(sender, weir_str("last words")) < 0) {
        atomic_fetch_add(&refused_closed, 1);
    }
    weir_sender_unref(another); /* as usual; the other one stays bound */
    return NULL;
}

static void outlive_a_thread(void *done)
{
    struct weir_msg msg;
    pthread_t thread;

    atomic_store(&refused_closed, 0);
    assert_int_equal(pthread_create(&thread, NULL, die, weir_sender_create()), 0);
    assert_int_equal(weir_receive(weir_after_ms(60000), &msg), 1);
    assert_true(weir_view_equal(weir_msg_text(&msg), weir_str("last words")));
    weir_msg_drop(&msg);
    assert_int_equal(weir_receive(weir_after_ms(60000), &msg), 0);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&refused_closed), 0);
    *(bool *)done = true;
}

static void a_dead_threads_handles_are_dropped(void **state)
{
    (void)state;
    run(outlive_a_thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_fake(bounds_tags_and_ends),     on_fake(a_finished_worker_is_closed),
        on_fake(a_fiber_may_begin_anew),   on_fake(fibers_of_one_loop),
        on_fake(no_memory_is_an_answer),   on_real(many_threads_in_order),
        on_real(a_worker_may_leave_first), on_real(a_dead_threads_handles_are_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
