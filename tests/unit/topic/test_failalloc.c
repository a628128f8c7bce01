/* SPDX-License-Identifier: MIT */
/* A topic while the n-th allocation and all after it fail, for each n: errors are returned, nothing is left. */
#include "../rt/rt_test.h"

#include <weir/topic.h>

static int passage(void)
{
    struct weir_topic *topic = NULL;
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item = {0};
    int r = weir_topic_create(&(struct weir_topic_opts){.max_items = 20}, &topic);

    if (r < 0) {
        return r;
    }
    r = weir_topic_subscribe(topic, NULL, &subscription);
    for (int i = 0; r == 0 && i < 40; i++) {
        uint64_t id = 0;

        r = weir_topic_publish_bytes(topic, 0, weir_str("item"), &id);
        assert_int_equal(id, r == 0 ? i + 1 : 0);
    }
    if (r == 0) {
        assert_int_equal(weir_topic_next(subscription, 0, &item), 1);
        assert_int_equal(item.missed, 20);
        weir_topic_item_drop(&item);
        weir_topic_close(topic, 0);
    }
    weir_subscription_destroy(subscription);
    weir_topic_unref(topic);
    return r;
}

static void test_every_allocation_fails_once(void **state)
{
    int r = WEIR_ENOMEM;

    (void)state;
    for (int64_t n = 1; r != 0; n++) {
        int64_t live;

        assert_int_equal(open_fake_loop(NULL), 0);
        live = live_before;
        weir__alloc_fail_at(n);
        r = passage();
        weir__alloc_fail_at(0);
        assert_true(r == 0 || r == WEIR_ENOMEM);
        assert_true(n < 500);
        assert_int_equal(close_loop(NULL), 0);
        assert_int_equal(weir__alloc_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
