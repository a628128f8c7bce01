/* SPDX-License-Identifier: MIT */
/* Channels: bounds, order, ends, and waiters that give up. */
#include "rt_test.h"

#include <weir/channel.h>

static struct weir_channel *channel;
static int dropped;

static void count_dropped(void *item)
{
    (void)item;
    dropped++;
}

static void *item(intptr_t number)
{
    return (void *)number;
}

static void open_channel(size_t max_items, size_t max_bytes)
{
    dropped = 0;
    story[0] = 0;
    assert_int_equal(weir_channel_create(&(struct weir_channel_opts){.max_items = max_items,
                                                                     .max_bytes = max_bytes,
                                                                     .drop = count_dropped},
                                         &channel),
                     0);
}

/* ---- without waiting: also from the loop's own stack ---- */

static void bounds_in_items_and_bytes(void **state)
{
    void *got = NULL;

    (void)state;
    open_channel(3, 100);
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_EAGAIN);
    assert_int_equal(weir_channel_send(channel, item(1), 5000, 0), 0); /* too big, but alone */
    assert_int_equal(weir_channel_send(channel, item(2), 0, 0), WEIR_EFLOW);
    assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
    assert_ptr_equal(got, item(1));
    assert_int_equal(weir_channel_send(channel, item(2), 60, 0), 0);
    assert_int_equal(weir_channel_send(channel, item(3), 41, 0), WEIR_EFLOW);
    assert_int_equal(weir_channel_send(channel, item(3), SIZE_MAX, 0), WEIR_EFLOW);
    assert_int_equal(weir_channel_send(channel, item(3), 40, 0), 0);
    assert_int_equal(weir_channel_send(channel, item(4), 0, 0), 0);
    assert_int_equal(weir_channel_send(channel, item(5), 0, 0), WEIR_EFLOW);
    for (intptr_t i = 2; i <= 4; i++) {
        assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
        assert_ptr_equal(got, item(i));
    }
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_EAGAIN);
    assert_int_equal(dropped, 0);
    weir_channel_unref(channel);
}

static void a_closed_channel_is_drained_first(void **state)
{
    void *got = NULL;

    (void)state;
    open_channel(0, 0);
    assert_int_equal(weir_channel_send(channel, item(1), 1, 0), 0);
    weir_channel_close(channel, 0);
    weir_channel_close(channel, WEIR_EIO); /* the first one counts */
    assert_int_equal(weir_channel_send(channel, item(2), 1, 0), WEIR_ESTATE);
    assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
    assert_int_equal(weir_channel_recv(channel, 0, &got), 0);
    assert_int_equal(weir_channel_recv(channel, -1, &got), 0);
    weir_channel_unref(channel);

    open_channel(0, 0);
    assert_int_equal(weir_channel_send(channel, item(1), 1, 0), 0);
    weir_channel_close(channel, WEIR_ETRUNCATED);
    assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_ETRUNCATED);
    assert_int_equal(weir_channel_recv(channel, -1, &got), WEIR_ETRUNCATED);
    weir_channel_unref(channel);
}

static void an_abort_drops_what_is_queued(void **state)
{
    void *got = NULL;

    (void)state;
    open_channel(0, 0);
    for (intptr_t i = 0; i < 10; i++) {
        assert_int_equal(weir_channel_send(channel, item(i), 1, 0), 0);
    }
    weir_channel_abort(channel);
    weir_channel_abort(channel);
    assert_int_equal(dropped, 10);
    assert_int_equal(weir_channel_send(channel, item(1), 1, 0), WEIR_ECLOSED);
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_ESTATE);
    weir_channel_close(channel, 0);
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_ESTATE);
    weir_channel_unref(channel);

    open_channel(0, 0);
    assert_int_equal(weir_channel_send(channel, NULL, 1, 0), 0);
    weir_channel_ref(channel);
    weir_channel_unref(channel);
    assert_int_equal(dropped, 0);
    assert_null(weir_channel_unref(channel)); /* the last reference too */
    assert_int_equal(dropped, 1);
    assert_null(weir_channel_unref(NULL));
}

static void no_memory_takes_nothing(void **state)
{
#ifdef WEIR_DEBUG
    void *got = NULL;

    weir__alloc_fail_at(1);
    assert_int_equal(weir_channel_create(NULL, &channel), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    open_channel(0, 0);
    weir__alloc_fail_at(1);
    assert_int_equal(weir_channel_send(channel, item(1), 1, 0), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    for (intptr_t i = 0; i < 4; i++) {
        assert_int_equal(weir_channel_send(channel, item(i), 1, 0), 0);
    }
    weir__alloc_fail_at(1);
    assert_int_equal(weir_channel_send(channel, item(9), 1, 0), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    for (intptr_t i = 0; i < 4; i++) {
        assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
        assert_ptr_equal(got, item(i));
    }
    weir_channel_unref(channel);
#endif
    (void)state;
}

/* ---- waiting ---- */

static void send_three(void *arg)
{
    (void)arg;
    for (intptr_t i = 1; i <= 3; i++) {
        assert_int_equal(weir_channel_send(channel, item(i), 1, -1), 0);
        tell("s");
    }
    weir_channel_close(channel, 0);
}

static void receive_all(void *arg)
{
    void *got = NULL;
    intptr_t next = 1;
    int r;

    (void)arg;
    while ((r = weir_channel_recv(channel, -1, &got)) == 1) {
        assert_ptr_equal(got, item(next++));
        tell("r");
        assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    }
    assert_int_equal(r, 0);
    tell("end");
}

static void a_slow_receiver_slows_its_sender(void **state)
{
    (void)state;
    open_channel(1, 0);
    start(send_three, NULL);
    start(receive_all, NULL);
    weir__loop_run_until_idle(loop);
    assert_string_equal(story, "s r s r s r end");
    weir_channel_unref(channel);
}

/* Waiters in the order of their coming, whatever becomes of those before them. */
struct waiting {
    struct weir_scope *scope;
    intptr_t number;
    int64_t deadline;
    int result;
    void *got;
};

static char letters[][2] = {"0", "1", "2", "3", "4", "5", "6", "7"};

static int send_one(void *arg)
{
    struct waiting *waiting = arg;

    waiting->result = weir_channel_send(channel, item(waiting->number), 1, waiting->deadline);
    tell(waiting->result == 0 ? letters[waiting->number] : weir_err_name(waiting->result));
    return 0;
}

static int recv_one(void *arg)
{
    struct waiting *waiting = arg;

    waiting->result = weir_channel_recv(channel, waiting->deadline, &waiting->got);
    tell(waiting->result == 1   ? letters[waiting->number]
         : waiting->result == 0 ? "end"
                                : weir_err_name(waiting->result));
    return 0;
}

static struct waiting waiters[6];

static void spawn_waiters(weir_fiber_fn *fn, int count)
{
    for (int i = 0; i < count; i++) {
        waiters[i] = (struct waiting){.number = i, .deadline = -1};
        assert_int_equal(weir_scope_open(&waiters[i].scope), 0);
        assert_int_equal(weir_scope_spawn(waiters[i].scope, fn, &waiters[i]), 0);
    }
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
}

static void join_waiters(int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(weir_scope_join(waiters[i].scope, -1), 0);
        weir_scope_close(waiters[i].scope);
    }
}

static void receive_from_waiting_senders(void *arg)
{
    void *got = NULL;

    assert_int_equal(weir_channel_send(channel, item(7), 1, 0), 0); /* full */
    spawn_waiters(send_one, 5);
    assert_string_equal(story, "");
    assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
    assert_ptr_equal(got, item(7));
    /* Nobody passes those who wait, though there is room. */
    assert_int_equal(weir_channel_send(channel, item(6), 1, 0), WEIR_EFLOW);
    /* The first one has been woken and is cancelled before it runs: the next one takes its place.
     * */
    weir_scope_cancel(waiters[0].scope);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_string_equal(story, "WEIR_ECANCELED 1");
    /* One in the middle leaves. */
    weir_scope_cancel(waiters[3].scope);
    for (int i = 0; i < 3; i++) {
        static const int order[] = {1, 2, 4};

        assert_int_equal(weir_channel_recv(channel, -1, &got), 1);
        assert_ptr_equal(got, item(order[i]));
    }
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_EAGAIN);
    join_waiters(5);
    assert_string_equal(story, "WEIR_ECANCELED 1 WEIR_ECANCELED 2 4");
    *(bool *)arg = true;
}

static void senders_are_served_in_order(void **state)
{
    bool done = false;

    (void)state;
    open_channel(1, 0);
    start(receive_from_waiting_senders, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    assert_int_equal(dropped, 0);
    weir_channel_unref(channel);
}

static void send_to_waiting_receivers(void *arg)
{
    void *got = NULL;

    spawn_waiters(recv_one, 5);
    assert_int_equal(weir_channel_send(channel, item(1), 1, -1), 0);
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_EAGAIN); /* it is promised */
    weir_scope_cancel(waiters[0].scope);
    assert_int_equal(weir_channel_send(channel, item(2), 1, -1), 0);
    assert_int_equal(weir_channel_send(channel, item(3), 1, -1), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_string_equal(story, "WEIR_ECANCELED 1 2 3");
    assert_ptr_equal(waiters[1].got, item(1));
    assert_ptr_equal(waiters[2].got, item(2));
    assert_ptr_equal(waiters[3].got, item(3));
    weir_channel_close(channel, 0);
    join_waiters(5);
    assert_string_equal(story, "WEIR_ECANCELED 1 2 3 end");
    *(bool *)arg = true;
}

static void receivers_are_served_in_order(void **state)
{
    bool done = false;

    (void)state;
    open_channel(8, 0);
    start(send_to_waiting_receivers, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    weir_channel_unref(channel);
}

static void end_with_waiters(void *arg)
{
    assert_int_equal(weir_channel_send(channel, item(7), 1, 0), 0);
    spawn_waiters(send_one, 3);
    weir_channel_abort(channel);
    assert_int_equal(dropped, 1);
    join_waiters(3);
    assert_string_equal(story, "WEIR_ECLOSED WEIR_ECLOSED WEIR_ECLOSED");
    weir_channel_unref(channel);

    open_channel(1, 0);
    assert_int_equal(weir_channel_send(channel, item(7), 1, 0), 0);
    spawn_waiters(send_one, 2);
    weir_channel_close(channel, 0);
    join_waiters(2);
    assert_string_equal(story, "WEIR_ESTATE WEIR_ESTATE");
    weir_channel_unref(channel);

    open_channel(1, 0);
    spawn_waiters(recv_one, 3);
    weir_channel_close(channel, WEIR_ERESET);
    join_waiters(3);
    assert_string_equal(story, "WEIR_ERESET WEIR_ERESET WEIR_ERESET");
    weir_channel_unref(channel);

    open_channel(1, 0);
    spawn_waiters(recv_one, 2);
    channel = weir_channel_ref(channel);
    weir_channel_abort(channel);
    weir_channel_unref(channel);
    weir_channel_unref(channel); /* those that wait still hold it */
    join_waiters(2);
    assert_string_equal(story, "WEIR_ESTATE WEIR_ESTATE");
    *(bool *)arg = true;
}

static void both_ends_wake_all(void **state)
{
    bool done = false;

    (void)state;
    open_channel(1, 0);
    start(end_with_waiters, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

static int cancel_myself(void *arg)
{
    void *got = NULL;

    weir_scope_cancel(arg); /* this fiber's own scope */
    /* Cancelled while it ran: the next call answers, and takes nothing, though it would not have
     * had to wait. */
    assert_int_equal(weir_channel_recv(channel, 0, &got), WEIR_ECANCELED);
    assert_int_equal(weir_channel_send(channel, item(2), 1, 0), WEIR_ECANCELED);
    return 0;
}

static void time_out_and_cancel(void *arg)
{
    void *got = NULL;
    int64_t from = weir_now();
    struct weir_scope *scope;

    assert_int_equal(weir_channel_recv(channel, weir_after_ms(5), &got), WEIR_ETIMEDOUT);
    assert_true(weir_now() == from + 5);
    assert_int_equal(weir_channel_send(channel, item(1), 1, weir_after_ms(5)), 0);
    assert_int_equal(weir_channel_send(channel, item(2), 1, weir_after_ms(5)), WEIR_ETIMEDOUT);
    assert_true(weir_now() == from + 10);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, cancel_myself, scope), 0);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    assert_int_equal(weir_channel_recv(channel, 0, &got), 1);
    assert_ptr_equal(got, item(1));
    *(bool *)arg = true;
}

static void deadlines_and_cancels_lose_nothing(void **state)
{
    bool done = false;

    (void)state;
    open_channel(1, 0);
    start(time_out_and_cancel, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    weir_channel_unref(channel);
}

/* ---- at random ---- */

enum { WORKERS = 8, ROUNDS = 2000 };
static int64_t sent, received;
static int senders_left, receivers_left;

static int send_at_random(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t deadline = weir_after_ms(next_random(&seed) % 4);
        size_t bytes = next_random(&seed) % 50;
        int r = weir_channel_send(channel, item(i), bytes, next_random(&seed) % 8 ? deadline : -1);

        sent += r == 0;
        assert_true(r == 0 || r == WEIR_ETIMEDOUT);
        if (next_random(&seed) % 16 == 0) {
            assert_int_equal(weir_sleep(weir_after_ms(next_random(&seed) % 3)), 0);
        }
    }
    if (--senders_left == 0) {
        weir_channel_close(channel, 0);
    }
    return 0;
}

static int receive_at_random(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *got = NULL;

    for (;;) {
        int r = weir_channel_recv(channel, weir_after_ms(next_random(&seed) % 4), &got);

        received += r == 1;
        if (r == 0) {
            receivers_left--;
            return 0;
        }
        assert_true(r == 1 || r == WEIR_ETIMEDOUT);
        if (next_random(&seed) % 8 == 0) {
            assert_int_equal(weir_sleep(weir_after_ms(next_random(&seed) % 3)), 0);
        }
    }
}

static void run_at_random(void *arg)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    senders_left = WORKERS;
    receivers_left = WORKERS / 2;
    for (uintptr_t i = 1; i <= WORKERS; i++) {
        assert_int_equal(weir_scope_spawn(scope, send_at_random, (void *)(i * 7919)), 0);
    }
    for (uintptr_t i = 1; i <= WORKERS / 2; i++) {
        assert_int_equal(weir_scope_spawn(scope, receive_at_random, (void *)(i * 104729)), 0);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    *(bool *)arg = true;
}

static void nothing_is_lost_at_random(void **state)
{
    bool done = false;

    (void)state;
    sent = received = 0;
    open_channel(5, 100);
    start(run_at_random, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    assert_true(sent > ROUNDS && sent == received);
    assert_int_equal(receivers_left, 0);
    assert_int_equal(dropped, 0);
    weir_channel_unref(channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_fake(bounds_in_items_and_bytes),          on_fake(a_closed_channel_is_drained_first),
        on_fake(an_abort_drops_what_is_queued),      on_fake(no_memory_takes_nothing),
        on_fake(a_slow_receiver_slows_its_sender),   on_fake(senders_are_served_in_order),
        on_fake(receivers_are_served_in_order),      on_fake(both_ends_wake_all),
        on_fake(deadlines_and_cancels_lose_nothing), on_fake(nothing_is_lost_at_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
