/* SPDX-License-Identifier: MIT */
/* The pool for blocking work: results, bounds, waiters that leave, a clean stop. */
#include "rt_test.h"

#include <weir/offload.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "rt/offload.h"

struct work {
    int input, output;
    pthread_t thread;
    int signals_blocked;
};

static _Atomic int destroyed, entered;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static struct work *new_work(int input)
{
    struct work *work = calloc(1, sizeof(*work));

    work->input = input;
    return work;
}

static void destroy_work(void *arg)
{
    free(arg);
    atomic_fetch_add(&destroyed, 1);
}

static int square(void *arg)
{
    struct work *work = arg;
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    work->signals_blocked = sigismember(&mask, SIGTERM);
    work->thread = pthread_self();
    work->output = work->input * work->input;
    return work->input < 0 ? WEIR_EIO : work->input;
}

/* Runs until the test opens the gate. */
static int pass_the_gate(void *arg)
{
    atomic_fetch_add(&entered, 1);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return square(arg);
}

static void run(void (*fn)(void *done))
{
    bool done = false;

    atomic_store(&destroyed, 0);
    atomic_store(&entered, 0);
    start(fn, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

static void wait_until_entered(int count)
{
    while (atomic_load(&entered) < count) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
}

/* ---- results ---- */

static void get_results(void *done)
{
    for (int i = -3; i <= 3; i++) {
        struct work *work = new_work(i);
        int result = 77;

        assert_int_equal(weir_offload(square, work, destroy_work, -1, &result), 0);
        assert_int_equal(work->output, i * i);
        assert_int_equal(result, i < 0 ? WEIR_EIO : i);
        assert_int_equal(work->signals_blocked, 1);
        assert_false(pthread_equal(work->thread, pthread_self()));
        free(work); /* the caller's again */
    }
    assert_int_equal(weir_offload_config(NULL), WEIR_ESTATE);
    assert_int_equal(atomic_load(&destroyed), 0);
    *(bool *)done = true;
}

static void results_come_back(void **state)
{
    (void)state;
    run(get_results);
}

static int one_of_many(void *arg)
{
    struct work *work = new_work((int)(intptr_t)arg);
    int result = 0;

    assert_int_equal(weir_offload(square, work, destroy_work, weir_after_ms(60000), &result), 0);
    assert_int_equal(work->output, work->input * work->input);
    free(work);
    return 0;
}

static void run_many(void *done)
{
    struct weir_scope *scope;
    int count = at_most(200);

    assert_int_equal(weir_scope_open(&scope), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < count; i++) {
            assert_int_equal(weir_scope_spawn(scope, one_of_many, (void *)(intptr_t)i), 0);
        }
        assert_int_equal(weir_scope_join(scope, -1), 0);
    }
    weir_scope_close(scope);
    *(bool *)done = true;
}

static void many_at_once(void **state)
{
    (void)state;
    run(run_many);
}

/* ---- bounds ---- */

static int occupy(void *arg)
{
    struct work *work = new_work(2);
    int r = weir_offload(pass_the_gate, work, destroy_work, -1, NULL);

    *(int *)arg = r;
    if (r == 0) {
        free(work);
    }
    return 0;
}

static void fill_the_pool(void *done)
{
    struct weir_scope *scope;
    int results[4] = {1, 1, 1, 1};

    assert_int_equal(weir_offload_config(&(struct weir_offload_opts){.threads = 5000}),
                     WEIR_EINVAL);
    assert_int_equal(
        weir_offload_config(&(struct weir_offload_opts){.threads = 2, .max_queued = 1}), 0);
    pthread_mutex_lock(&gate);
    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < 3; i++) { /* two that run and one that waits, at once */
        assert_int_equal(weir_scope_spawn(scope, occupy, &results[i]), 0);
    }
    wait_until_entered(2);
    assert_int_equal(weir_scope_spawn(scope, occupy, &results[3]), 0);
    assert_int_equal(weir_sleep(weir_after_ms(2)), 0);
    assert_int_equal(results[3], WEIR_EBUSY);
    assert_int_equal(results[2], 1);
    assert_int_equal(atomic_load(&entered), 2);
    assert_int_equal(atomic_load(&destroyed), 1);
    pthread_mutex_unlock(&gate);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    assert_int_equal(results[0] + results[1] + results[2], 0);
    *(bool *)done = true;
}

static void a_full_queue_is_refused(void **state)
{
    (void)state;
    run(fill_the_pool);
}

/* ---- waiters that leave ---- */

static void leave_jobs(void *done)
{
    struct weir_scope *scope;
    int results[3] = {1, 1, 1};

    assert_int_equal(weir_offload_config(&(struct weir_offload_opts){.threads = 1}), 0);
    pthread_mutex_lock(&gate);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, occupy, &results[0]), 0);
    wait_until_entered(1);
    assert_int_equal(weir_scope_spawn(scope, occupy, &results[1]), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    /* One runs, one is queued. A third one gives up by its deadline, before it ran. */
    assert_int_equal(weir_offload(square, new_work(3), destroy_work, weir_after_ms(2), NULL),
                     WEIR_ETIMEDOUT);
    assert_int_equal(atomic_load(&destroyed), 1);
    weir_scope_close(scope);
    assert_int_equal(results[0], WEIR_ECANCELED);
    assert_int_equal(results[1], WEIR_ECANCELED);
    assert_int_equal(atomic_load(&destroyed), 2); /* the one that runs is still in use */
    pthread_mutex_unlock(&gate);
    *(bool *)done = true;
}

static void waiters_may_leave(void **state)
{
    (void)state;
    run(leave_jobs);
    weir__offload_stop();
    assert_int_equal(atomic_load(&destroyed), 3);
    assert_int_equal(atomic_load(&entered), 1);
}

static int cancelled_before(void *arg)
{
    weir_scope_cancel(arg);
    assert_int_equal(weir_offload(square, new_work(1), destroy_work, -1, NULL), WEIR_ECANCELED);
    return 0;
}

static int give_up_at_random(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < 50; i++) {
        struct work *work = new_work(1);
        int r =
            weir_offload(square, work, destroy_work, weir_after_ms(next_random(&seed) % 2), NULL);

        assert_true(r == 0 || r == WEIR_ETIMEDOUT);
        if (r == 0) {
            destroy_work(work);
        }
    }
    return 0;
}

static void race_deadlines(void *done)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, cancelled_before, scope), 0);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    assert_int_equal(atomic_load(&destroyed), 1);
    assert_int_equal(weir_scope_open(&scope), 0);
    for (uintptr_t i = 1; i <= 20; i++) {
        assert_int_equal(weir_scope_spawn(scope, give_up_at_random, (void *)(i * 7919)), 0);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    *(bool *)done = true;
}

static void every_argument_is_freed_once(void **state)
{
    (void)state;
    run(race_deadlines);
    weir__offload_stop();
    assert_int_equal(atomic_load(&destroyed), 1 + 20 * 50);
}

/* ---- stop ---- */

static void *stop_the_pool(void *arg)
{
    weir__offload_stop();
    return arg;
}

static void stop_under_way(void *done)
{
    struct weir_scope *scope;
    pthread_t stopper;
    int results[2] = {1, 1};

    assert_int_equal(weir_offload_config(&(struct weir_offload_opts){.threads = 1}), 0);
    pthread_mutex_lock(&gate);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, occupy, &results[0]), 0);
    wait_until_entered(1);
    assert_int_equal(weir_scope_spawn(scope, occupy, &results[1]), 0);
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    assert_int_equal(pthread_create(&stopper, NULL, stop_the_pool, NULL), 0);
    while (results[1] == 1) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    assert_int_equal(results[1], WEIR_ECLOSED);
    assert_int_equal(weir_offload(square, new_work(1), destroy_work, -1, NULL), WEIR_ECLOSED);
    pthread_mutex_unlock(&gate);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    assert_int_equal(results[0], 0);
    weir_scope_close(scope);
    pthread_join(stopper, NULL);
    /* It can begin again. */
    {
        struct work *work = new_work(6);

        assert_int_equal(weir_offload(square, work, destroy_work, -1, NULL), 0);
        assert_int_equal(work->output, 36);
        free(work);
    }
    *(bool *)done = true;
}

static void a_stop_answers_everybody(void **state)
{
    (void)state;
    run(stop_under_way);
}

static void no_memory(void *done)
{
    assert_int_equal(weir_offload_config(NULL), 0);
#ifdef WEIR_DEBUG
    for (int i = 1; i <= 2; i++) { /* the job, then the threads' table */
        weir__alloc_fail_at(i);
        assert_int_equal(weir_offload(square, new_work(1), destroy_work, -1, NULL), WEIR_ENOMEM);
        weir__alloc_fail_at(0);
        assert_int_equal(atomic_load(&destroyed), i);
    }
#endif
    *(bool *)done = true;
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    run(no_memory);
}

static int stop_and_close(void **state)
{
    weir__offload_stop();
    return close_loop(state);
}

#define pooled(test) cmocka_unit_test_setup_teardown(test, open_real_loop, stop_and_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pooled(results_come_back),
        pooled(many_at_once),
        pooled(a_full_queue_is_refused),
        pooled(waiters_may_leave),
        pooled(every_argument_is_freed_once),
        pooled(a_stop_answers_everybody),
        pooled(no_memory_is_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
