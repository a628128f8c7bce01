/* SPDX-License-Identifier: MIT */
/* Scopes: who is cancelled, who sees it and how often, in what order things end. */
#include "rt_test.h"

/* Runs fn in a fiber of its own and the loop until all is over. */
static bool finished;

struct body {
    void (*fn)(void);
};

static void run_body(void *arg)
{
    ((struct body *)arg)->fn();
    finished = true;
}

static void run(void (*fn)(void))
{
    struct body body = {fn};

    finished = false;
    story[0] = 0;
    start(run_body, &body);
    weir__loop_run_until_idle(loop);
    assert_true(finished);
}

/* ---- children ---- */

static int sleep_long(void *arg)
{
    int r = weir_sleep(weir_after_ms(3600000));

    tell(arg);
    tell(weir_err_name(r));
    return 0;
}

static int sleep_a_little(void *arg)
{
    int r = weir_sleep(weir_after_ms(10));

    tell(arg);
    return r;
}

static int break_off(void *arg)
{
    int r = weir_sleep(weir_after_ms(5));

    (void)arg;
    return r < 0 ? r : WEIR_EPROTO;
}

static char a[] = "a", b[] = "b", c[] = "c";

static void join_children(void)
{
    struct weir_scope *scope;
    int64_t from = weir_now();

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, sleep_a_little, a), 0);
    assert_int_equal(weir_scope_spawn(scope, sleep_a_little, b), 0);
    assert_int_equal(weir_scope_join(scope, weir_after_ms(3)), WEIR_ETIMEDOUT);
    assert_true(weir_now() == from + 3);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_true(weir_now() == from + 10);
    assert_int_equal(strlen(story), 3); /* timers of one time are in no order */
    assert_int_equal(weir_scope_join(scope, 0), 0);
    weir_scope_close(scope);
    weir_scope_close(NULL);
}

static void cancel_by_close(void)
{
    struct weir_scope *scope;
    int64_t from = weir_now();

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, sleep_long, a), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_int_equal(weir_scope_spawn(scope, sleep_long, b),
                     0); /* cancelled before its first wait */
    weir_scope_close(scope);
    assert_true(weir_now() == from + 1);
    assert_string_equal(story, "a WEIR_ECANCELED b WEIR_ECANCELED");
}

static void first_error_cancels_siblings(void)
{
    struct weir_scope *scope;
    int64_t from = weir_now();

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, sleep_long, a), 0);
    assert_int_equal(weir_scope_spawn(scope, break_off, NULL), 0);
    assert_int_equal(weir_scope_join(scope, -1), WEIR_EPROTO);
    assert_true(weir_now() == from + 5);
    assert_string_equal(story, "a WEIR_ECANCELED");
    assert_int_equal(weir_scope_spawn(scope, break_off, NULL), WEIR_ECANCELED);
    assert_int_equal(weir_scope_join(scope, -1), WEIR_EPROTO);
    weir_scope_close(scope);
}

static int insist(void *arg)
{
    int *count = arg;

    while (*count < 3 && weir_sleep(weir_after_ms(1000)) == WEIR_ECANCELED) {
        ++*count;
    }
    if (weir_yield() == WEIR_ECANCELED) {
        ++*count;
    }
    return 0;
}

static void children_are_told_always(void)
{
    struct weir_scope *scope;
    int count = 0;

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, insist, &count), 0);
    weir_scope_cancel(scope);
    weir_scope_cancel(scope);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_int_equal(count, 4);
    weir_scope_close(scope);
}

static struct weir_scope *shared_scope;

static int join_too(void *arg)
{
    *(int *)arg = weir_scope_join(shared_scope, -1);
    return 0;
}

static void two_joiners(void)
{
    struct weir_scope *other;
    int result = 0;

    assert_int_equal(weir_scope_open(&shared_scope), 0);
    assert_int_equal(weir_scope_open(&other), 0);
    assert_int_equal(weir_scope_spawn(shared_scope, sleep_a_little, a), 0);
    assert_int_equal(weir_scope_spawn(other, join_too, &result), 0);
    assert_int_equal(weir_scope_join(shared_scope, -1), 0);
    assert_int_equal(weir_scope_join(other, -1), 0);
    assert_int_equal(result, WEIR_EBUSY);
    weir_scope_close(other);
    weir_scope_close(shared_scope);
}

/* ---- nested ---- */

static int nest(void *arg)
{
    struct weir_scope *inner;
    int r;

    assert_int_equal(weir_scope_open(&inner), 0);
    assert_int_equal(weir_scope_spawn(inner, sleep_long, a), 0);
    r = weir_scope_join(inner, -1);
    tell(arg);
    tell(weir_err_name(r));
    weir_scope_close(inner);
    return r;
}

static void nested_scopes_are_cancelled_too(void)
{
    struct weir_scope *outer, *late;

    assert_int_equal(weir_scope_open(&outer), 0);
    assert_int_equal(weir_scope_spawn(outer, nest, b), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_cancel(outer);
    /* Cancelled is not ended: join waits for them, and the canceller itself sees nothing. */
    assert_int_equal(weir_scope_join(outer, -1), WEIR_ECANCELED);
    assert_string_equal(story, "b WEIR_ECANCELED a WEIR_ECANCELED");
    weir_scope_close(outer);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_int_equal(weir_scope_open(&late), 0);
    weir_scope_close(late);
}

static int open_when_cancelled(void *arg)
{
    struct weir_scope *inner;

    (void)arg;
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    assert_int_equal(weir_scope_open(&inner), 0);
    assert_int_equal(weir_scope_spawn(inner, sleep_long, a), WEIR_ECANCELED);
    weir_scope_close(inner);
    weir__shield_begin();
    assert_int_equal(weir_scope_open(&inner), 0); /* cleanup may use scopes */
    assert_int_equal(weir_scope_spawn(inner, sleep_a_little, c), 0);
    assert_int_equal(weir_scope_join(inner, -1), 0);
    weir_scope_close(inner);
    weir__shield_end();
    return 0;
}

static void scopes_opened_after_the_cancel(void)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, open_when_cancelled, NULL), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_close(scope);
    assert_string_equal(story, "c");
}

/* ---- the owner of a request's scope ---- */

static struct weir_scope *request;

static int cancel_request(void *arg)
{
    int r = weir_sleep(*(int64_t *)arg);

    weir_scope_cancel(request);
    return r;
}

static void the_owner_is_told_once(void)
{
    struct weir__fiber *self = weir__fiber_current();
    struct weir_scope scope;
    struct weir_scope *helper;
    int64_t at = weir_after_ms(5);

    assert_int_equal(weir_scope_open(&helper), 0);
    weir__scope_init(&scope, self);
    self->scope = &scope;
    request = &scope;
    assert_int_equal(weir_scope_spawn(helper, cancel_request, &at), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    assert_true(weir_now() == at);
    assert_int_equal(weir_sleep(weir_after_ms(20)), 0);
    assert_true(weir_now() == at + 20);
    assert_true(scope.cancelled);
    self->scope = NULL;
    weir__scope_finish(&scope);
    weir_scope_close(helper);

    /* Cancelled while it runs: the next wait answers, even one that could not have waited. */
    weir__scope_init(&scope, self);
    self->scope = &scope;
    weir_scope_cancel(&scope);
    assert_true(weir__wait_is_cancelled());
    weir__shield_begin();
    assert_false(weir__wait_is_cancelled());
    assert_int_equal(weir_sleep(weir_after_ms(5)), 0);
    weir__shield_end();
    assert_int_equal(weir_sleep(0), WEIR_ECANCELED);
    assert_int_equal(weir_yield(), 0);
    self->scope = NULL;
    weir__scope_finish(&scope);

    /* One that nobody waited for does not reach the next request. */
    weir__scope_init(&scope, self);
    self->scope = &scope;
    weir_scope_cancel(&scope);
    self->scope = NULL;
    weir__scope_finish(&scope);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
}

static int own_a_request(void *arg)
{
    struct weir__fiber *self = weir__fiber_current();
    struct weir_scope *above = self->scope;
    struct weir_scope scope;

    (void)arg;
    weir__scope_init(&scope, self);
    self->scope = &scope;
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    weir_scope_cancel(&scope);
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    self->scope = above;
    weir__scope_finish(&scope);
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    tell("done");
    return 0;
}

static void a_child_that_owns_a_request_stays_cancelled(void)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, own_a_request, NULL), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_close(scope);
    assert_string_equal(story, "done");
}

/* ---- defer ---- */

static void tell_deferred(void *arg)
{
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0); /* shielded */
    tell(arg);
}

static int defer_twice(void *arg)
{
    assert_int_equal(weir_scope_defer(tell_deferred, a), 0);
    assert_int_equal(weir_scope_defer(tell_deferred, b), 0);
    tell("registered");
    return weir_sleep(weir_after_ms(*(int *)arg));
}

static void what_was_deferred_runs_last_first(void)
{
    struct weir_scope *scope;
    int ms = 100000;

    assert_int_equal(weir_scope_defer(tell_deferred, a), WEIR_ESTATE);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, defer_twice, &ms), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_close(scope);
    assert_string_equal(story, "registered b a");
}

/* ---- hooks ---- */

struct counting_hook {
    struct weir__cancel_hook hook;
    int calls;
};

static struct counting_hook hooks[4];

static void count_hook(struct weir__cancel_hook *hook)
{
    struct counting_hook *self = (struct counting_hook *)(void *)hook;

    self->calls++;
    if (self == &hooks[1]) {
        weir__cancel_hook_remove(&hooks[2].hook); /* others may be taken away meanwhile */
        weir__cancel_hook_remove(hook);
    }
}

static int hook_on(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        weir__cancel_hook_add(&hooks[i].hook, count_hook);
    }
    assert_int_equal(weir_sleep(weir_after_ms(1000)), WEIR_ECANCELED);
    weir__cancel_hook_add(&hooks[3].hook, count_hook);
    return 0;
}

static void hooks_are_called_at_most_once(void)
{
    struct weir_scope *scope;

    memset(hooks, 0, sizeof(hooks));
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, hook_on, NULL), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    weir_scope_cancel(scope);
    weir_scope_cancel(scope);
    weir_scope_close(scope);
    assert_int_equal(hooks[0].calls, 1);
    assert_int_equal(hooks[1].calls, 1);
    assert_int_equal(hooks[2].calls, 0);
    assert_int_equal(hooks[3].calls, 1);
    for (int i = 0; i < 4; i++) {
        weir__cancel_hook_remove(&hooks[i].hook);
    }
}

/* ---- no memory, no stacks ---- */

static void spawning_without_memory(void)
{
#ifdef WEIR_DEBUG
    struct weir_scope *scope;

    weir__alloc_fail_at(1);
    assert_int_equal(weir_scope_open(&scope), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    assert_int_equal(weir_scope_open(&scope), 0);
    weir__alloc_fail_at(1);
    assert_int_equal(weir_scope_spawn(scope, sleep_a_little, a), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
#endif
}

static void many_children(void)
{
    struct weir_scope *scope;
    int count = at_most(1000);

    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(weir_scope_spawn(scope, i % 2 ? sleep_a_little : sleep_long, a), 0);
    }
    assert_int_equal(weir_scope_join(scope, weir_after_ms(100)), WEIR_ETIMEDOUT);
    assert_int_equal(scope->live, (count + 1) / 2);
    weir_scope_close(scope);
}

#define SCOPE_TEST(name)                  \
    static void test_##name(void **state) \
    {                                     \
        (void)state;                      \
        run(name);                        \
    }
SCOPE_TEST(join_children)
SCOPE_TEST(cancel_by_close)
SCOPE_TEST(first_error_cancels_siblings)
SCOPE_TEST(children_are_told_always)
SCOPE_TEST(two_joiners)
SCOPE_TEST(nested_scopes_are_cancelled_too)
SCOPE_TEST(scopes_opened_after_the_cancel)
SCOPE_TEST(the_owner_is_told_once)
SCOPE_TEST(a_child_that_owns_a_request_stays_cancelled)
SCOPE_TEST(what_was_deferred_runs_last_first)
SCOPE_TEST(hooks_are_called_at_most_once)
SCOPE_TEST(spawning_without_memory)
SCOPE_TEST(many_children)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_fake(test_join_children),
        on_fake(test_cancel_by_close),
        on_fake(test_first_error_cancels_siblings),
        on_fake(test_children_are_told_always),
        on_fake(test_two_joiners),
        on_fake(test_nested_scopes_are_cancelled_too),
        on_fake(test_scopes_opened_after_the_cancel),
        on_fake(test_the_owner_is_told_once),
        on_fake(test_a_child_that_owns_a_request_stays_cancelled),
        on_fake(test_what_was_deferred_runs_last_first),
        on_fake(test_hooks_are_called_at_most_once),
        on_fake(test_spawning_without_memory),
        on_fake(test_many_children),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
