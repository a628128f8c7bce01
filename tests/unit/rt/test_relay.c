/* SPDX-License-Identifier: MIT */
/* Blocking jobs: bounds of the pool, waiting for a thread, cancels, many jobs and calls at once. */
#include "rt_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "rt/relay.h"

/* A claim on a thread that is no test's: it may not jump. */
#define must(claim)                                                             \
    do {                                                                        \
        if (!(claim)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                            \
        }                                                                       \
    } while (0)

static struct weir_blocking_pool *pool;

static void make_pool(unsigned threads, size_t max_queued)
{
    assert_int_equal(
        weir_blocking_pool_create(
            &(struct weir_blocking_opts){threads, max_queued, (size_t)256 << 10}, &pool),
        0);
}

/* Stands for a library that blocks. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open;
    int inside;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int passes_the_gate(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&gate.mutex);
    gate.inside++;
    while (!gate.open) {
        pthread_cond_wait(&gate.changed, &gate.mutex);
    }
    gate.inside--;
    pthread_mutex_unlock(&gate.mutex);
    return 42;
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate.mutex);
    gate.open = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

static int inside(void)
{
    int count;

    pthread_mutex_lock(&gate.mutex);
    count = gate.inside;
    pthread_mutex_unlock(&gate.mutex);
    return count;
}

static void wait_inside(int count)
{
    while (inside() != count) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
}

static int blocks(void *ret)
{
    int result = 0;
    int r = weir__relay_run(pool, 0, passes_the_gate, NULL, &result);

    *(int *)ret = r < 0 ? r : result;
    return 0;
}

static int never(void *arg)
{
    (void)arg;
    must(false);
    return 0;
}

/* ---- a full pool ---- */

static void fills_the_pool(void *done)
{
    struct weir_scope *scope;
    int first = 0;
    int second = 0;
    int ignored;

    set_gate(false);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, blocks, &first), 0);
    wait_inside(1);
    assert_int_equal(weir_scope_spawn(scope, blocks, &second), 0);
    assert_int_equal(weir_yield(), 0);
    assert_int_equal(weir__relay_run(pool, 0, never, NULL, &ignored), WEIR_EBUSY);
    set_gate(true);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    assert_int_equal(first, 42);
    assert_int_equal(second, 42);
    *(bool *)done = true;
}

static void run_in(void (*fn)(void *done))
{
    bool done = false;

    start(fn, &done);
    weir__loop_run_until_idle(loop);
    assert_true(done);
}

static void a_full_pool_is_busy(void **state)
{
    (void)state;
    make_pool(1, 1);
    run_in(fills_the_pool);
    weir_blocking_pool_destroy(pool);
}

static void refuses_without_a_queue(void *done)
{
    struct weir_scope *scope;
    int first = 0;
    int ignored;

    set_gate(false);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, blocks, &first), 0);
    wait_inside(1);
    assert_int_equal(weir__relay_run(pool, 0, never, NULL, &ignored), WEIR_EBUSY);
    set_gate(true);
    weir_scope_close(scope); /* cancels: what runs is waited for all the same */
    assert_int_equal(first, 42);
    *(bool *)done = true;
}

static void no_queue_is_none(void **state)
{
    (void)state;
    make_pool(1, WEIR_BLOCKING_NO_QUEUE);
    run_in(refuses_without_a_queue);
    weir_blocking_pool_destroy(pool);
}

static int answers_at_once(void *arg)
{
    (void)arg;
    return 42;
}

/* The thread whose job is seen to be done is free: one after the other needs no queue. */
static void takes_turns(void *done)
{
    for (int i = 0; i < 2000; i++) {
        int result = 0;

        assert_int_equal(weir__relay_run(pool, 0, answers_at_once, NULL, &result), 0);
        assert_int_equal(result, 42);
    }
    *(bool *)done = true;
}

static void one_after_the_other_needs_no_queue(void **state)
{
    (void)state;
    make_pool(1, WEIR_BLOCKING_NO_QUEUE);
    run_in(takes_turns);
    weir_blocking_pool_destroy(pool);
}

/* ---- waiting for a thread ---- */

static void waits_for_a_thread(void *done)
{
    struct weir_scope *scope, *other;
    int first = 0;
    int second = 0;
    int ignored;
    int64_t began;

    set_gate(false);
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_open(&other), 0);
    assert_int_equal(weir_scope_spawn(scope, blocks, &first), 0);
    wait_inside(1);
    assert_int_equal(weir_scope_spawn(other, blocks, &second), 0);
    assert_int_equal(weir_yield(), 0);
    began = weir_now();
    assert_int_equal(weir__relay_run(pool, 30, never, NULL, &ignored), WEIR_EBUSY);
    assert_true(weir_now() - began >= 29);
    weir_scope_close(other); /* it never begins */
    assert_int_equal(second, WEIR_ECANCELED);
    assert_int_equal(inside(), 1);
    set_gate(true);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    assert_int_equal(first, 42);
    *(bool *)done = true;
}

static void waiting_ends_by_time_or_by_a_cancel(void **state)
{
    (void)state;
    make_pool(1, 5);
    run_in(waits_for_a_thread);
    weir_blocking_pool_destroy(pool);
}

/* ---- many ---- */

#define JOBS 40
#define CALLS 200

static int adds(void *number)
{
    int before = *(int *)number; /* of the loop's thread only */

    must(weir__loop_current() != NULL);
    if (before % 7 == 0) {
        weir_yield();
    }
    *(int *)number = before + 1;
    return 0;
}

static int calls_much(void *number)
{
    for (int i = 0; i < CALLS; i++) {
        must(weir_blocking_on_loop(adds, number) == 0);
        if (i % 50 == 0) {
            must(weir_sleep(weir_after_ms(1)) == 0);
        }
    }
    return 1;
}

static int starts_a_job(void *number)
{
    int result = 0;
    int r = weir__relay_run(NULL, 0, calls_much, number, &result);

    return r < 0 ? r : result == 1 ? 0 : WEIR_EIO;
}

static void starts_many(void *done)
{
    static int numbers[JOBS];
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < JOBS; i++) {
        numbers[i] = 0;
        assert_int_equal(weir_scope_spawn(scope, starts_a_job, &numbers[i]), 0);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(numbers[i], CALLS);
    }
    *(bool *)done = true;
}

static void many_jobs_make_many_calls(void **state)
{
    (void)state;
    assert_int_equal(weir_blocking_config(&(struct weir_blocking_opts){.threads = 2000}),
                     WEIR_EINVAL);
    assert_int_equal(weir_blocking_config(&(struct weir_blocking_opts){.threads = 6}), 0);
    run_in(starts_many);
    assert_int_equal(weir_blocking_config(NULL), WEIR_ESTATE);
    weir__relay_stop();
    assert_int_equal(weir_blocking_config(NULL), 0);
}

/* ---- memory ---- */

static int offhand(void *arg)
{
    (void)arg;
    return 0;
}

static void tries(void *done)
{
    int result = 0;
    int r = weir__relay_run(NULL, 0, offhand, NULL, &result);

    assert_true(r == 0 || r == WEIR_ENOMEM);
    *(bool *)done = r == 0;
}

static void a_lack_of_memory_is_told(void **state)
{
    bool done = false;

    (void)state;
    run_in(tries); /* the loop has what it needs */
    weir__relay_stop();
    for (int n = 1; !done; n++) {
        int64_t live = weir__alloc_live();

        start(tries, &done);
        weir__alloc_fail_at(n);
        weir__loop_run_until_idle(loop);
        weir__alloc_fail_at(0);
        weir__relay_stop();
        assert_true(weir__alloc_live() == live);
        assert_true(n < 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_real(a_full_pool_is_busy),
        on_real(no_queue_is_none),
        on_real(one_after_the_other_needs_no_queue),
        on_real(waiting_ends_by_time_or_by_a_cancel),
        on_real(many_jobs_make_many_calls),
        on_real(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
