/* SPDX-License-Identifier: MIT */
/* Waiting for news of a topic among other things. */
#include "select_test.h"

static void publish(void *arg)
{
    assert_int_equal(weir_topic_publish_bytes(arg, 0, weir_str("x"), NULL), 0);
}

/* What the subscription gives at once: an item's id, minus how many were missed up to it, or 0 and the code. */
static int64_t read_item(struct weir_subscription *subscription, int *ret)
{
    struct weir_topic_item item = {0};
    int64_t what = 0;

    *ret = weir_topic_next(subscription, 0, &item);
    if (*ret == 1) {
        what = item.missed > 0 ? -(int64_t)item.missed : (int64_t)item.id;
        weir_topic_item_drop(&item);
    }
    return what;
}

static int publishes(void *arg)
{
    struct weir_topic *topic = arg;
    int r = weir_sleep(weir_after_ms(10));

    publish(topic);
    r = r < 0 ? r : weir_sleep(weir_after_ms(10));
    for (int i = 0; i < 5; i++) {
        publish(topic);
    }
    r = r < 0 ? r : weir_sleep(weir_after_ms(10));
    weir_topic_close(topic, WEIR_EIO);
    return r;
}

static int waits_for_news(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_topic_unrefp) struct weir_topic *topic = NULL;
    WEIR_CLEANUP(weir_subscription_destroyp) struct weir_subscription *subscription = NULL;
    struct weir_case cases[] = {TIME(5), {.kind = WEIR_CASE_TOPIC}, {.kind = WEIR_CASE_TOPIC}};
    struct weir_scope *scope;
    int r;

    (void)arg;
    assert_int_equal(weir_topic_create(&(struct weir_topic_opts){.max_items = 2}, &topic), 0);
    assert_int_equal(weir_topic_subscribe(topic, NULL, &subscription), 0);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, publishes, topic), 0);
    assert_int_equal(weir_select(&cases[1], 1, -1, &which), WEIR_EINVAL);
    cases[1].subscription = cases[2].subscription = subscription;
    choose(cases, 2, -1);
    choose(cases + 1, 1, 1007);
    choose(cases + 1, 1, 0);
    choose(cases + 1, 1, -1);
    choose(cases + 1, 1, -1); /* it is still there */
    assert_int_equal(read_item(subscription, &r), 1);
    cases[0].kind = WEIR_CASE_NONE;
    choose(cases, 2, -1);
    assert_int_equal(read_item(subscription, &r), -3); /* two of the five are kept */
    choose(cases + 1, 1, 0);
    assert_int_equal(read_item(subscription, &r), 5);
    assert_int_equal(read_item(subscription, &r), 6);
    choose(cases + 1, 1, 0);
    choose(cases + 1, 2,
           -1); /* twice the same: either is right, and the list of those who wait is whole */
    assert_int_equal(read_item(subscription, &r), 0);
    assert_int_equal(r, WEIR_EIO);
    choose(cases + 1, 1, -1); /* the failure stays */
    assert_int_equal(read_item(subscription, &r), 0);
    assert_int_equal(r, WEIR_EIO);
    weir_scope_close(scope);
    return weir_reply_empty(req, 204, NULL);
}

static void news_of_a_topic_are_chosen_and_not_taken(void **state)
{
    struct scene scene = {.handler = waits_for_news};
    char *last;

    (void)state;
    story[0] = '\0';
    play(&scene);
    last = strstr(story, "@30");
    assert_non_null(last);
    last[-1] = '?';
    assert_string_equal(
        story, "0@5 WEIR_ETIMEDOUT@7 WEIR_EAGAIN@7 0@10 0@10 1@20 0@20 WEIR_EAGAIN@20 ?@30 0@30 ");
}

/* What is missed before the first item, a lag that ends the subscription, and a complete end. */
static int waits_for_what_is_no_item(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_topic_unrefp) struct weir_topic *topic = NULL;
    struct weir_subscription *resumes, *strict, *ends;
    int r;

    (void)arg;
    assert_int_equal(weir_topic_create(&(struct weir_topic_opts){.max_items = 1}, &topic), 0);
    assert_int_equal(
        weir_topic_subscribe(topic, &(struct weir_subscribe_opts){.slow = WEIR_TOPIC_DISCONNECT},
                             &strict),
        0);
    for (int i = 0; i < 3; i++) {
        publish(topic);
    }
    assert_int_equal(
        weir_topic_subscribe(
            topic, &(struct weir_subscribe_opts){.from = WEIR_TOPIC_FROM_AFTER, .after_id = 1},
            &resumes),
        1);
    assert_int_equal(weir_topic_subscribe(topic, NULL, &ends), 0);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = resumes}, 1, 0);
    assert_int_equal(read_item(resumes, &r), -1);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = resumes}, 1, 0);
    assert_int_equal(read_item(resumes, &r), 3);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = resumes}, 1, 0);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = strict}, 1, 0);
    assert_int_equal(read_item(strict, &r), 0);
    assert_int_equal(r, WEIR_ELAGGED);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = strict}, 1, 0);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = ends}, 1, 0);
    weir_topic_close(topic, 0);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = ends}, 1, 0);
    assert_int_equal(read_item(ends, &r), 0);
    assert_int_equal(r, 0);
    choose(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = ends}, 1, 0);
    weir_subscription_destroy(resumes);
    weir_subscription_destroy(strict);
    weir_subscription_destroy(ends);
    return weir_reply_empty(req, 204, NULL);
}

static void news_that_are_no_item_are_chosen_too(void **state)
{
    struct scene scene = {.handler = waits_for_what_is_no_item};

    (void)state;
    expect_story(&scene, "0@0 0@0 WEIR_EAGAIN@0 0@0 0@0 WEIR_EAGAIN@0 0@0 0@0 ");
}

static int reads_beside(void *arg)
{
    struct weir_topic_item item;

    assert_int_equal(weir_topic_next(arg, weir_after_ms(10), &item), WEIR_EBUSY);
    assert_int_equal(weir_select(&(struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = arg},
                                 1, 0, &which),
                     WEIR_EBUSY);
    return 0;
}

static int waits_for_an_item(void *arg)
{
    struct weir_topic_item item;

    assert_int_equal(weir_topic_next(arg, weir_after_ms(10), &item), WEIR_ETIMEDOUT);
    return 0;
}

static int shares_a_subscription(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_topic_unrefp) struct weir_topic *topic = NULL;
    WEIR_CLEANUP(weir_subscription_destroyp) struct weir_subscription *subscription = NULL;
    struct weir_case one = {.kind = WEIR_CASE_TOPIC};
    struct weir_scope *scope;
    int r;

    (void)arg;
    assert_int_equal(weir_topic_create(NULL, &topic), 0);
    assert_int_equal(weir_topic_subscribe(topic, NULL, &subscription), 0);
    one.subscription = subscription;
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, reads_beside, subscription), 0);
    choose(&one, 1, 1005);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_int_equal(weir_scope_spawn(scope, waits_for_an_item, subscription), 0);
    assert_int_equal(weir_yield(), 0);
    choose(&one, 1, -1);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    publish(topic); /* and it is as it was */
    choose(&one, 1, -1);
    assert_int_equal(read_item(subscription, &r), 1);
    weir_scope_close(scope);
    return weir_reply_empty(req, 204, NULL);
}

static void a_subscription_in_a_select_is_busy(void **state)
{
    struct scene scene = {.handler = shares_a_subscription};

    (void)state;
    expect_story(&scene, "WEIR_ETIMEDOUT@5 WEIR_EBUSY@5 0@15 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(news_of_a_topic_are_chosen_and_not_taken),
        cmocka_unit_test(news_that_are_no_item_are_chosen_too),
        cmocka_unit_test(a_subscription_in_a_select_is_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
