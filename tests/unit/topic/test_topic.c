/* SPDX-License-Identifier: MIT */
/* Topics on one loop and a fake clock: bounds, replay, slow subscribers, ends. */
#include "../rt/rt_test.h"

#include <stdio.h>

#include <weir/topic.h>

#include "bytes/budget.h"

static struct weir_topic *topic;
static size_t budget_before;

static void run(void (*fn)(void *done))
{
    bool done = false;

    budget_before = weir__budget_used(weir__budget_process());
    start(fn, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
    assert_null(weir_topic_unref(topic));
    topic = NULL;
}

/* A publication's task may be the last that keeps the topic: it runs with the loop's end. */
static int close_and_look(void **state)
{
    int r = close_loop(state);

    return r == 0 && weir__budget_used(weir__budget_process()) == budget_before ? 0 : -1;
}

static void publish(const char *text)
{
    assert_int_equal(weir_topic_publish_bytes(topic, 7, weir_str(text), NULL), 0);
}

/* What comes without waiting: "3:abc", "missed 2 to 5", "." nothing yet, "end", or an error's name. */
static void expect(struct weir_subscription *subscription, const char *expected)
{
    struct weir_topic_item item = {0};
    char got[64] = "end";
    int r = weir_topic_next(subscription, 0, &item);

    if (r == 1 && item.missed > 0) {
        assert_null(item.chunk);
        snprintf(got, sizeof(got), "missed %d to %d", (int)item.missed, (int)item.id);
    } else if (r == 1) {
        struct weir_view view = weir_chunk_view(item.chunk);

        assert_int_equal(item.tag, 7);
        snprintf(got, sizeof(got), "%d:%.*s", (int)item.id, (int)view.len, (const char *)view.data);
    } else if (r < 0) {
        snprintf(got, sizeof(got), "%s", r == WEIR_EAGAIN ? "." : weir_err_name(r));
    }
    weir_topic_item_drop(&item);
    weir_topic_item_drop(&item);
    assert_string_equal(got, expected);
}

static struct weir_subscription *subscribe(struct weir_subscribe_opts opts, int expected)
{
    struct weir_subscription *subscription = NULL;

    assert_int_equal(weir_topic_subscribe(topic, &opts, &subscription), expected);
    return subscription;
}

static struct weir_subscription *after(uint64_t id, int expected)
{
    return subscribe((struct weir_subscribe_opts){.from = WEIR_TOPIC_FROM_AFTER, .after_id = id},
                     expected);
}

static void create(struct weir_topic_opts opts)
{
    assert_int_equal(weir_topic_create(&opts, &topic), 0);
}

/* ---- tests ---- */

static void order(void *done)
{
    struct weir_subscription *first, *oldest, *now;
    struct weir_topic_stats stats;
    uint64_t id = 0;

    create((struct weir_topic_opts){0});
    first = subscribe((struct weir_subscribe_opts){0}, 0);
    expect(first, ".");
    publish("a");
    publish("b");
    oldest = subscribe((struct weir_subscribe_opts){.from = WEIR_TOPIC_FROM_OLDEST}, 0);
    now = subscribe((struct weir_subscribe_opts){0}, 0);
    assert_int_equal(weir_topic_publish_bytes(topic, 7, weir_str("c"), &id), 0);
    assert_int_equal(id, 3);
    weir_topic_stats(topic, &stats);
    assert_int_equal(stats.items, 3);
    assert_int_equal(stats.bytes, 3);
    assert_int_equal(stats.subscribers, 3);
    assert_int_equal(stats.next_id, 4);
    expect(first, "1:a");
    expect(first, "2:b");
    expect(first, "3:c");
    expect(first, ".");
    expect(oldest, "1:a");
    expect(now, "3:c");
    weir_subscription_destroyp(&now);
    assert_null(now);
    weir_topic_close(topic, 0);
    weir_topic_close(topic, WEIR_EIO); /* the first close counts */
    assert_int_equal(weir_topic_publish_bytes(topic, 0, weir_str("d"), &id), WEIR_ESTATE);
    assert_int_equal(id, 3);
    expect(oldest, "2:b");
    expect(oldest, "3:c");
    expect(oldest, "end");
    expect(oldest, "end");
    expect(first, "end");
    weir_subscription_destroy(first);
    weir_subscription_destroy(oldest);
    weir_subscription_destroy(NULL);
    first = after(2, 0); /* a closed topic can still be read */
    expect(first, "3:c");
    expect(first, "end");
    weir_subscription_destroy(first);
    *(bool *)done = true;
}

static void test_order(void **state)
{
    (void)state;
    run(order);
}

static void resume(void *done)
{
    struct weir_subscription *subscription;

    create((struct weir_topic_opts){.max_items = 3, .first_id = 100});
    subscription = after(99, 0); /* before the first: nothing missed */
    expect(subscription, ".");
    weir_subscription_destroy(subscription);
    for (int i = 0; i < 5; i++) {
        publish("x");
    }
    subscription = after(104, 0);
    expect(subscription, ".");
    weir_subscription_destroy(subscription);
    subscription = after(101, 0); /* the last that misses nothing */
    expect(subscription, "102:x");
    weir_subscription_destroy(subscription);
    subscription = after(100, 1); /* 101 has left */
    expect(subscription, "missed 1 to 101");
    expect(subscription, "102:x");
    weir_subscription_destroy(subscription);
    subscription = after(99, 1);
    expect(subscription, "missed 2 to 101");
    weir_subscription_destroy(subscription);
    /* Ids that this topic never gave: of an earlier life, or of a later one. */
    subscription = after(98, 1);
    expect(subscription, "102:x");
    weir_subscription_destroy(subscription);
    subscription = after(105, 1);
    expect(subscription, "102:x");
    weir_subscription_destroy(subscription);
    subscription = after(UINT64_MAX, 1);
    expect(subscription, "102:x");
    weir_subscription_destroy(subscription);
    *(bool *)done = true;
}

static void test_resume(void **state)
{
    (void)state;
    run(resume);
}

static void slow(void *done)
{
    struct weir_subscription *skip, *cut;

    create((struct weir_topic_opts){.max_items = 4});
    skip = subscribe((struct weir_subscribe_opts){0}, 0);
    cut = subscribe((struct weir_subscribe_opts){.slow = WEIR_TOPIC_DISCONNECT}, 0);
    for (int i = 0; i < 4; i++) {
        publish("x");
    }
    expect(skip, "1:x");
    expect(cut, "1:x");
    publish("y"); /* 1 leaves, which both have had */
    expect(cut, "2:x");
    publish("y");
    publish("y"); /* 2 and 3 leave */
    expect(skip, "missed 2 to 3");
    expect(skip, "4:x");
    expect(cut, "WEIR_ELAGGED");
    publish("z");
    expect(cut, "WEIR_ELAGGED");
    expect(skip, "5:y");
    weir_topic_close(topic, WEIR_EIO);
    expect(skip, "6:y");
    expect(skip, "7:y");
    expect(skip, "8:z");
    expect(skip, "WEIR_EIO");
    expect(skip, "WEIR_EIO");
    expect(cut, "WEIR_ELAGGED");
    weir_subscription_destroy(skip);
    weir_subscription_destroy(cut);
    *(bool *)done = true;
}

static void test_slow_subscribers(void **state)
{
    (void)state;
    run(slow);
}

static void bounds(void *done)
{
    struct weir_subscription *subscription;
    struct weir_topic_stats stats;
    struct weir_chunk *chunk = NULL;
    uint8_t bytes[200] = {0};

    assert_int_equal(
        weir_topic_create(&(struct weir_topic_opts){.max_items = ((size_t)1 << 20) + 1}, &topic),
        WEIR_EINVAL);
    assert_int_equal(weir_topic_create(&(struct weir_topic_opts){.first_id = UINT64_MAX}, &topic),
                     WEIR_EINVAL);
    create((struct weir_topic_opts){.max_bytes = 100});
    assert_int_equal(weir_topic_publish(topic, 0, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_topic_publish_bytes(topic, 0, weir_bytes(bytes, 0), NULL), WEIR_EINVAL);
    assert_int_equal(weir_topic_publish_bytes(topic, 0, weir_bytes(bytes, 101), NULL), WEIR_ELIMIT);
    assert_int_equal(
        weir_topic_subscribe(topic, &(struct weir_subscribe_opts){.slow = (enum weir_topic_slow)9},
                             &subscription),
        WEIR_EINVAL);
    subscription = subscribe((struct weir_subscribe_opts){0}, 0);
    for (int i = 0; i < 90; i++) {
        publish("x");
    }
    /* One that fills the ring drives out all others, in several steps. */
    assert_int_equal(weir_chunk_copy(weir_bytes(bytes, 100), &chunk), 0);
    assert_int_equal(weir_topic_publish(topic, 7, chunk, NULL), 0);
    weir_topic_stats(topic, &stats);
    assert_int_equal(stats.items, 1);
    assert_int_equal(stats.bytes, 100);
    expect(subscription, "missed 90 to 90");
    chunk = weir_chunk_unref(chunk);
    publish("y");
    weir_topic_stats(topic, &stats);
    assert_int_equal(stats.items, 1);
    assert_int_equal(stats.bytes, 1);
    expect(subscription, "missed 1 to 91");
    expect(subscription, "92:y");
    weir_subscription_destroy(subscription);
    *(bool *)done = true;
}

static void test_bounds(void **state)
{
    (void)state;
    run(bounds);
}

static void give_back(void *arg)
{
    ++*(int *)arg;
}

static void shares(void *done)
{
    struct weir_subscription *a, *b;
    struct weir_topic_item first = {0}, second = {0};
    struct weir_chunk *chunk = NULL;
    int released = 0;

    create((struct weir_topic_opts){.max_items = 1});
    a = subscribe((struct weir_subscribe_opts){0}, 0);
    b = subscribe((struct weir_subscribe_opts){0}, 0);
    assert_int_equal(weir_chunk_wrap(weir_str("shared"), give_back, &released, &chunk), 0);
    assert_int_equal(weir_topic_publish(topic, 0, chunk, NULL), 0);
    assert_int_equal(weir_topic_next(a, -1, &first), 1);
    assert_int_equal(weir_topic_next(b, -1, &second), 1);
    assert_ptr_equal(first.chunk, chunk);
    assert_ptr_equal(second.chunk, chunk);
    weir_chunk_unref(chunk);
    publish("next"); /* the ring lets go */
    weir_topic_item_drop(&first);
    assert_int_equal(released, 0);
    weir_topic_item_drop(&second);
    assert_int_equal(released, 1);
    weir_subscription_destroy(a);
    weir_subscription_destroy(b);
    *(bool *)done = true;
}

static void test_subscribers_share_the_bytes(void **state)
{
    (void)state;
    run(shares);
}

/* ---- waiting ---- */

struct reader {
    struct weir_subscription *subscription;
    int64_t deadline;
    int result;
    int64_t at_ms;
    struct weir_topic_item item;
};

static int read_one(void *arg)
{
    struct reader *reader = arg;

    reader->result = weir_topic_next(reader->subscription, reader->deadline, &reader->item);
    reader->at_ms = weir_now();
    return 0;
}

static void waits(void *done)
{
    struct reader readers[3];
    struct weir_scope *scope = NULL;
    struct weir_topic_item item;
    int64_t begun = weir_now();

    create((struct weir_topic_opts){0});
    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reader){.subscription = subscribe((struct weir_subscribe_opts){0}, 0),
                                     .deadline = i == 0 ? weir_after_ms(10) : -1};
        assert_int_equal(weir_scope_spawn(scope, read_one, &readers[i]), 0);
    }
    assert_int_equal(weir_sleep(weir_after_ms(20)), 0);
    assert_int_equal(readers[0].result, WEIR_ETIMEDOUT);
    assert_int_equal(readers[0].at_ms, begun + 10);
    assert_int_equal(weir_topic_next(readers[1].subscription, 0, &item), WEIR_EBUSY);
    publish("x");
    expect(readers[0].subscription, "1:x"); /* nothing was lost by the time-out */
    assert_int_equal(weir_scope_join(scope, -1), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(readers[i].result, 1);
        assert_int_equal(readers[i].item.id, 1);
        assert_int_equal(readers[i].at_ms, begun + 20); /* in the same turn's time */
        weir_topic_item_drop(&readers[i].item);
        readers[i].result = 99;
    }
    /* A cancel takes nothing. */
    assert_int_equal(weir_scope_spawn(scope, read_one, &readers[1]), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    assert_int_equal(readers[1].result, WEIR_ECANCELED);
    publish("y");
    expect(readers[1].subscription, "2:y");
    /* A publication between the last look and a cancelled or timed out wait is seen at once. */
    assert_int_equal(weir_topic_next(readers[1].subscription, weir_now(), &item), WEIR_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        weir_subscription_destroy(readers[i].subscription);
    }
    *(bool *)done = true;
}

static void test_waiting(void **state)
{
    (void)state;
    run(waits);
}

static void last_handle(void *done)
{
    struct reader reader = {.deadline = -1};
    struct weir_scope *scope = NULL;
    struct weir_topic *handle;

    create((struct weir_topic_opts){0});
    assert_int_equal(weir_scope_open(&scope), 0);
    reader.subscription = subscribe((struct weir_subscribe_opts){0}, 0);
    handle = weir_topic_ref(topic);
    weir_topic_unrefp(&topic);
    assert_null(topic);
    assert_int_equal(weir_scope_spawn(scope, read_one, &reader), 0);
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    assert_int_equal(reader.result, 0);
    assert_null(weir_topic_unref(handle)); /* nobody can close it any more */
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_int_equal(reader.result, WEIR_ECLOSED);
    weir_scope_close(scope);
    weir_subscription_destroy(reader.subscription);
    *(bool *)done = true;
}

static void test_the_last_handle_is_no_clean_end(void **state)
{
    (void)state;
    run(last_handle);
}

/* The task of a publication finds nobody: the subscriber has gone meanwhile, and so has its station. */
static void leaves_early(void *done)
{
    struct weir_subscription *subscription;

    create((struct weir_topic_opts){0});
    for (int i = 0; i < 3; i++) {
        subscription = subscribe((struct weir_subscribe_opts){0}, 0);
        publish("x");
        weir_subscription_destroy(subscription);
    }
    subscription = subscribe((struct weir_subscribe_opts){0}, 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    publish("y");
    expect(subscription, "4:y");
    weir_subscription_destroy(subscription); /* its task runs when the loop goes */
    *(bool *)done = true;
}

static void test_leaving_before_the_wake_up(void **state)
{
    (void)state;
    run(leaves_early);
}

/* ---- crowds ---- */

#define CROWD 4000

static struct reader crowd[CROWD];

static void many(void *done)
{
    int count = at_most(CROWD);
    struct weir_scope *scope = NULL;

    create((struct weir_topic_opts){0});
    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < count; i++) {
        crowd[i] = (struct reader){.subscription = subscribe((struct weir_subscribe_opts){0}, 0),
                                   .deadline = -1};
        assert_int_equal(weir_scope_spawn(scope, read_one, &crowd[i]), 0);
    }
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    for (int i = 0; i < 5; i++) {
        publish("x");
        /* However many wait here: one task, and one write to the loop. */
        assert_non_null(loop->shared.first);
        assert_null(loop->shared.first->next);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    for (int i = 0; i < count; i++) {
        assert_int_equal(crowd[i].item.id, 1);
        weir_topic_item_drop(&crowd[i].item);
        weir_subscription_destroy(crowd[i].subscription);
    }
    *(bool *)done = true;
}

static void test_a_publication_posts_once_for_all_subscribers(void **state)
{
    (void)state;
    run(many);
}

#define on_loop(test) cmocka_unit_test_setup_teardown(test, open_fake_loop, close_and_look)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(test_order),
        on_loop(test_resume),
        on_loop(test_slow_subscribers),
        on_loop(test_bounds),
        on_loop(test_subscribers_share_the_bytes),
        on_loop(test_waiting),
        on_loop(test_the_last_handle_is_no_clean_end),
        on_loop(test_leaving_before_the_wake_up),
        on_loop(test_a_publication_posts_once_for_all_subscribers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
