/* SPDX-License-Identifier: MIT */
/* Topics between threads: several loops with subscribers that come and go, several publishers, and a close. */
#include "../rt/rt_test.h"

#include <weir/select.h>
#include <weir/topic.h>

#include <pthread.h>
#include <stdatomic.h>

#define LOOPS 3
#define PUBLISHERS 2
#define READERS 40 /* per loop */

static struct weir_topic *topic;
static uint64_t to_publish; /* by each */
static _Atomic uint64_t wrong, items_read, items_missed, ended;

static void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* The next item; every other reader waits for it, or for a time that never comes, by a select first. */
static int read_next(struct weir_subscription *subscription, bool selects,
                     struct weir_topic_item *ret)
{
    const struct weir_case cases[] = {{.kind = WEIR_CASE_TIME, .at = INT64_MAX},
                                      {.kind = WEIR_CASE_TOPIC, .subscription = subscription}};
    size_t which = 0;
    int r;

    if (!selects) {
        return weir_topic_next(subscription, -1, ret);
    }
    r = weir_select(cases, 2, -1, &which);
    r = r == 1 && which == 1 ? weir_topic_next(subscription, 0, ret) : WEIR_EINVAL;
    return r == WEIR_EAGAIN ? WEIR_EINVAL : r; /* what was chosen is there */
}

/* Reads to the end of the topic, now and then leaving and coming back. */
static int reader(void *arg)
{
    uint32_t chance = (uint32_t)(uintptr_t)arg * 2654435761u | 1;
    struct weir_subscribe_opts opts = {.from = WEIR_TOPIC_FROM_AFTER, .after_id = 0};
    int r;

    do {
        struct weir_subscription *subscription = NULL;
        struct weir_topic_item item = {0};

        r = weir_topic_subscribe(topic, &opts, &subscription);
        if (r < 0) {
            count(&wrong, 1);
            return r;
        }
        while ((r = read_next(subscription, (uintptr_t)arg % 2 == 0, &item)) == 1) {
            if (item.id != opts.after_id + (item.missed > 0 ? item.missed : 1)) {
                count(&wrong, 1);
            }
            if (item.missed > 0) {
                count(&items_missed, item.missed);
            } else {
                uint64_t text = 0;
                struct weir_view view = weir_chunk_view(item.chunk);

                memcpy(&text, view.data, view.len < sizeof(text) ? view.len : sizeof(text));
                count(&wrong, view.len != sizeof(text) || text / 16 >= to_publish);
                count(&items_read, 1);
            }
            opts.after_id = item.id;
            weir_topic_item_drop(&item);
            if (next_random(&chance) % 200 == 0) {
                break;
            }
            if (next_random(&chance) % 50 == 0) {
                WEIR_IGNORE(weir_sleep(weir_after_ms(1)));
            }
        }
        weir_subscription_destroy(subscription);
    } while (r == 1);
    count(r == 0 ? &ended : &wrong, 1);
    return 0;
}

static void crowd(void *arg)
{
    uintptr_t number = (uintptr_t)arg;
    struct weir_scope *scope = NULL;

    if (weir_scope_open(&scope) < 0) {
        count(&wrong, 1);
        return;
    }
    for (uintptr_t i = 0; i < READERS; i++) {
        count(&wrong, weir_scope_spawn(scope, reader, (void *)(number * READERS + i + 1)) != 0);
    }
    count(&wrong, weir_scope_join(scope, -1) != 0);
    weir_scope_close(scope);
}

static void *loop_thread(void *arg)
{
    struct weir__loop *mine = NULL;

    if (weir__loop_create(NULL, NULL, &mine) != 0 ||
        weir__fiber_start(mine, crowd, arg, NULL) != 0) {
        count(&wrong, 1);
        return NULL;
    }
    weir__loop_run_until_idle(mine);
    weir__loop_destroy(mine);
    return NULL;
}

static void *publisher(void *arg)
{
    struct weir_topic *handle = weir_topic_ref(topic);

    for (uint64_t i = 0; i < to_publish; i++) {
        uint64_t text = i * 16 + (uint64_t)(uintptr_t)arg;
        uint64_t id = 0;

        if (weir_topic_publish_bytes(handle, 0, weir_bytes(&text, sizeof(text)), &id) != 0 ||
            id == 0) {
            count(&wrong, 1);
        }
        if (i % 64 == 0) {
            sleep_real_ms(1);
        }
    }
    weir_topic_unref(handle);
    return NULL;
}

static void play(size_t max_items)
{
    int64_t live = weir__alloc_live();
    pthread_t loops[LOOPS], publishers[PUBLISHERS];

    atomic_store(&wrong, 0);
    atomic_store(&items_read, 0);
    atomic_store(&items_missed, 0);
    atomic_store(&ended, 0);
    to_publish = on_valgrind() ? 200 : WEIR__TSAN || WEIR__ASAN ? 1000 : 5000;
    assert_int_equal(weir_topic_create(&(struct weir_topic_opts){.max_items = max_items}, &topic),
                     0);
    for (uintptr_t i = 0; i < LOOPS; i++) {
        assert_int_equal(pthread_create(&loops[i], NULL, loop_thread, (void *)i), 0);
    }
    for (uintptr_t i = 0; i < PUBLISHERS; i++) {
        assert_int_equal(pthread_create(&publishers[i], NULL, publisher, (void *)i), 0);
    }
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_join(publishers[i], NULL);
    }
    weir_topic_close(topic, 0);
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(loops[i], NULL);
    }
    weir_topic_unref(topic);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_int_equal(atomic_load(&ended), LOOPS * READERS);
    assert_true(atomic_load(&items_read) + atomic_load(&items_missed) ==
                (uint64_t)LOOPS * READERS * PUBLISHERS * to_publish);
    assert_int_equal(weir__alloc_live(), live);
}

static void test_a_ring_that_is_large_enough(void **state)
{
    (void)state;
    play((size_t)1 << 20);
    assert_int_equal(atomic_load(&items_missed), 0);
}

static void test_a_ring_that_is_too_small(void **state)
{
    (void)state;
    play(3);
    assert_true(atomic_load(&items_read) > 0);
}

/* Handles and subscriptions may go in any order, on any thread. */
static void *drop_handle(void *arg)
{
    sleep_real_ms(2);
    weir_topic_unref(arg);
    return NULL;
}

static void wait_for_the_end(void *arg)
{
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item;

    *(int *)arg = weir_topic_subscribe(topic, NULL, &subscription);
    if (*(int *)arg == 0) {
        *(int *)arg = weir_topic_next(subscription, -1, &item);
        weir_subscription_destroy(subscription);
    }
}

static void test_the_last_handle_on_another_thread(void **state)
{
    pthread_t thread;
    int r = 0;

    (void)state;
    assert_int_equal(weir_topic_create(NULL, &topic), 0);
    start(wait_for_the_end, &r);
    assert_int_equal(pthread_create(&thread, NULL, drop_handle, weir_topic_ref(topic)), 0);
    weir_topic_unref(topic);
    weir__loop_run_until_idle(loop);
    assert_int_equal(r, WEIR_ECLOSED);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ring_that_is_large_enough),
        cmocka_unit_test(test_a_ring_that_is_too_small),
        on_real(test_the_last_handle_on_another_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
