/* SPDX-License-Identifier: MIT */
/*
 * Blocking jobs. A job lives on its fiber's stack: the fiber stays until the thread has let go of it, so a job, once
 * begun, is always waited for. The thread posts to the loop only while the fiber waits for it: no task reaches a loop
 * that is gone. Invariant: of the thread and the fiber one waits for the other at any time.
 */
#include "rt/relay.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/fiber.h"
#include "rt/scope.h"

#include <pthread.h>
#include <signal.h>

#define POOL_MAGIC 0x706f6f6cu
#define DEFAULT_THREADS 16
#define DEFAULT_QUEUED 64
#define MAX_THREADS 1024

struct weir__relay_worker {
    struct weir_blocking_pool *pool;
    pthread_t id;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
};

struct weir_blocking_pool {
    uint32_t magic;
    pthread_mutex_t mutex;
    pthread_cond_t work; /* a job was queued, or the pool stops */
    struct weir_list queue;
    size_t queued, max_queued;
    unsigned max_threads, thread_count;
    unsigned
        idle; /* threads that have no job in hand: they wait, or are on their way to look for one */
    size_t stack_bytes;
    struct weir__relay_worker *workers;
    bool stopping;
};

__thread struct weir__relay *weir__relay_here __attribute__((tls_model("initial-exec")));

static struct {
    pthread_mutex_t mutex;
    struct weir_blocking_opts opts;
    struct weir_blocking_pool *pool; /* made for its first job */
} process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the thread's end ---- */

static void thread_has_something(struct weir__task *task)
{
    struct weir__relay *relay = weir_list_entry(task, struct weir__relay, task);

    relay->posted = true;
    weir__fiber_wake(relay->fiber);
}

void weir__relay_call(void (*fn)(void *arg), void *arg)
{
    struct weir__relay *relay = weir__relay_here;
    struct weir__relay_worker *worker = relay->worker;

    pthread_mutex_lock(&worker->mutex);
    relay->call = fn;
    relay->call_arg = arg;
    relay->answered = false;
    weir__loop_post(relay->loop, &relay->task);
    while (!relay->answered) {
        pthread_cond_wait(&worker->answered, &worker->mutex);
    }
    pthread_mutex_unlock(&worker->mutex);
}

static void carry_out(struct weir__relay_worker *worker, struct weir__relay *relay)
{
    int result;

    weir__relay_here = relay;
    result = relay->fn(relay->arg);
    weir__relay_here = NULL;
    /* First of all: who learns that this job is done may count on a free thread. */
    pthread_mutex_lock(&worker->pool->mutex);
    worker->pool->idle++;
    pthread_mutex_unlock(&worker->pool->mutex);
    pthread_mutex_lock(&worker->mutex);
    relay->result = result;
    relay->done = true;
    weir__loop_post(relay->loop, &relay->task);
    pthread_mutex_unlock(&worker->mutex); /* the fiber, and the job with it, may be gone */
}

static void *work(void *arg)
{
    struct weir__relay_worker *worker = arg;
    struct weir_blocking_pool *pool = worker->pool;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct weir_list *link = weir_list_pop_front(&pool->queue);
        struct weir__relay *relay;

        if (link == NULL) {
            if (pool->stopping) {
                break;
            }
            pthread_cond_wait(&pool->work, &pool->mutex);
            continue;
        }
        pool->idle--;
        pool->queued--;
        relay = weir_list_entry(link, struct weir__relay, link);
        relay->taken = true;
        relay->worker = worker;
        pthread_mutex_unlock(&pool->mutex);
        carry_out(worker, relay);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* ---- pools ---- */

int weir_blocking_pool_create(const struct weir_blocking_opts *opts,
                              struct weir_blocking_pool **ret)
{
    static const struct weir_blocking_opts defaults;
    struct weir_blocking_pool *pool;

    opts = opts != NULL ? opts : &defaults;
    if (opts->threads > MAX_THREADS) {
        return WEIR_EINVAL;
    }
    pool = weir_alloc0(sizeof(*pool));
    if (pool == NULL) {
        return WEIR_ENOMEM;
    }
    pool->magic = POOL_MAGIC;
    pool->max_threads = opts->threads != 0 ? opts->threads : DEFAULT_THREADS;
    pool->max_queued = opts->max_queued == WEIR_BLOCKING_NO_QUEUE ? 0
                       : opts->max_queued == 0                    ? DEFAULT_QUEUED
                                                                  : opts->max_queued;
    pool->stack_bytes = opts->stack_bytes;
    pool->workers = weir_alloc0(pool->max_threads * sizeof(*pool->workers));
    if (pool->workers == NULL) {
        weir_free(pool);
        return WEIR_ENOMEM;
    }
    weir_list_init(&pool->queue);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    *ret = pool;
    return 0;
}

void weir_blocking_pool_destroy(struct weir_blocking_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    weir_check(pool, POOL_MAGIC);
    pthread_mutex_lock(&pool->mutex);
    weir_assert(pool->queued == 0); /* a fiber would wait for a pool that is gone */
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        pthread_join(pool->workers[i].id, NULL);
        pthread_cond_destroy(&pool->workers[i].answered);
        pthread_mutex_destroy(&pool->workers[i].mutex);
    }
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    pool->magic = 0;
    weir_free(pool->workers);
    weir_free(pool);
}

int weir_blocking_config(const struct weir_blocking_opts *opts)
{
    int r = 0;

    if (opts != NULL && opts->threads > MAX_THREADS) {
        return WEIR_EINVAL;
    }
    pthread_mutex_lock(&process.mutex);
    if (process.pool != NULL) {
        r = WEIR_ESTATE;
    } else {
        process.opts = opts != NULL ? *opts : (struct weir_blocking_opts){0};
    }
    pthread_mutex_unlock(&process.mutex);
    return r;
}

static int pool_of_process(struct weir_blocking_pool **ret)
{
    int r = 0;

    pthread_mutex_lock(&process.mutex);
    if (process.pool == NULL) {
        r = weir_blocking_pool_create(&process.opts, &process.pool);
    }
    if (r == 0) {
        *ret = process.pool;
    }
    pthread_mutex_unlock(&process.mutex);
    return r;
}

void weir__relay_stop(void)
{
    struct weir_blocking_pool *pool;

    pthread_mutex_lock(&process.mutex);
    pool = process.pool;
    process.pool = NULL;
    pthread_mutex_unlock(&process.mutex);
    weir_blocking_pool_destroy(pool);
}

/* Under the pool's mutex. Signals are for the program's own threads. */
static int start_thread(struct weir_blocking_pool *pool)
{
    struct weir__relay_worker *worker = &pool->workers[pool->thread_count];
    pthread_attr_t attr;
    sigset_t all, before;
    int failed;

    worker->pool = pool;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->answered, NULL);
    pthread_attr_init(&attr);
    if (pool->stack_bytes != 0) {
        pthread_attr_setstacksize(&attr, pool->stack_bytes);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&worker->id, &attr, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (failed) {
        pthread_cond_destroy(&worker->answered);
        pthread_mutex_destroy(&worker->mutex);
        return WEIR_ENOMEM;
    }
    pool->thread_count++;
    pool->idle++;
    return 0;
}

/* Under the pool's mutex. */
static int enqueue(struct weir_blocking_pool *pool, struct weir__relay *relay)
{
    if (pool->queued >= pool->idle && pool->thread_count < pool->max_threads) {
        int r = start_thread(pool);

        if (r < 0 && pool->thread_count == 0) {
            return r;
        }
    }
    if (pool->queued >= pool->max_queued + pool->idle) {
        return WEIR_EBUSY; /* jobs on their way to an idle thread do not count */
    }
    weir_list_push_back(&pool->queue, &relay->link);
    pool->queued++;
    pthread_cond_signal(&pool->work);
    return 0;
}

/* ---- the fiber's end ---- */

/* Takes a job that no thread has out of the queue. */
static bool withdraw(struct weir_blocking_pool *pool, struct weir__relay *relay)
{
    bool mine;

    pthread_mutex_lock(&pool->mutex);
    mine = !relay->taken;
    if (mine) {
        weir_list_remove(&relay->link);
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->mutex);
    return mine;
}

/* Waits until the thread has something; as long as none has the job, a cancel and the time may end it: the result is then
 * negative. The cancel of a job that runs is for the calls it makes. */
static int await_thread(struct weir_blocking_pool *pool, struct weir__relay *relay, bool begun,
                        int64_t until_us)
{
    while (!relay->posted) {
        int r;

        relay->loop->computing++;
        r = weir__fiber_suspend(begun ? WEIR__NEVER : until_us);
        relay->loop->computing--;

        if (relay->posted || begun || (r == 0 && !weir__wait_is_cancelled())) {
            continue;
        }
        begun = !withdraw(pool, relay);
        if (!begun) {
            return weir__wait_is_cancelled() ? weir__wait(0) : WEIR_EBUSY;
        }
    }
    relay->posted = false;
    return 0;
}

/* Carries out what the thread asks for. Returns whether the job goes on. */
static bool serve(struct weir__relay *relay)
{
    struct weir__relay_worker *worker = relay->worker;
    void (*call)(void *arg);
    bool done;

    pthread_mutex_lock(&worker->mutex);
    call = relay->call;
    relay->call = NULL;
    done = relay->done;
    pthread_mutex_unlock(&worker->mutex);
    if (done) {
        return false;
    }
    call(relay->call_arg);
    pthread_mutex_lock(&worker->mutex);
    relay->answered = true;
    pthread_cond_signal(&worker->answered);
    pthread_mutex_unlock(&worker->mutex);
    return true;
}

int weir__relay_run(struct weir_blocking_pool *pool, int64_t wait_ms, int (*fn)(void *arg),
                    void *arg, int *ret)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct weir__relay relay = {
        .fn = fn, .arg = arg, .fiber = fiber, .task = {.run = thread_has_something}};
    int64_t until_us = WEIR__NEVER;
    int r = 0;

    weir_assert(fiber != NULL);
    if (weir__wait_is_cancelled()) {
        return weir__wait(0);
    }
    if (pool == NULL) {
        r = pool_of_process(&pool);
        if (r < 0) {
            return r;
        }
    }
    weir_check(pool, POOL_MAGIC);
    relay.loop = fiber->loop;
    if (wait_ms > 0 && wait_ms < INT64_MAX / 2000) {
        until_us = relay.loop->now_us + wait_ms * 1000;
    }
    weir_list_init(&relay.link);
    pthread_mutex_lock(&pool->mutex);
    r = enqueue(pool, &relay);
    pthread_mutex_unlock(&pool->mutex);
    if (r < 0) {
        return r;
    }
    r = await_thread(pool, &relay, false, until_us);
    while (r == 0 && serve(&relay)) {
        r = await_thread(pool, &relay, true, WEIR__NEVER);
    }
    if (r == 0) {
        *ret = relay.result;
    }
    return r;
}
