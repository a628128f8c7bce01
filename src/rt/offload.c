/* SPDX-License-Identifier: MIT */
/*
 * The pool for blocking work: one queue, threads that are started as they are needed and stay. A
 * job has two holders, the fiber that waits and the pool; what they share is behind the pool's
 * mutex. The pool posts to the loop only while the job's fiber waits, which it cannot stop doing
 * without that mutex: so no task reaches a loop that is gone. Whoever is the last to use `arg`
 * frees it, never under the mutex.
 */
#include "rt/offload.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/list.h"
#include "rt/fiber.h"
#include "rt/loop.h"
#include "rt/relay.h"
#include "rt/scope.h"

#include <pthread.h>
#include <signal.h>

#define DEFAULT_THREADS 4
#define DEFAULT_QUEUED 256
#define MAX_THREADS 1024

enum job_state {
    QUEUED,
    RUNNING,
    DONE,    /* fn has returned, its fiber waits: the task is on its way */
    REFUSED, /* the pool was stopped before; the task is on its way */
};

struct job {
    struct weir_list link; /* pool.queue */
    weir_offload_fn *fn;
    void *arg;
    void (*destroy)(void *arg);
    int result;
    struct weir__loop *loop;
    struct weir__fiber *fiber; /* of the loop's thread; NULL: has left */
    struct weir__task task;
    /* Behind the mutex. */
    enum job_state state;
    bool abandoned; /* nobody waits: the pool frees it */
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* a job was queued, or the pool stops */
    struct weir_list queue;
    size_t queued, max_queued;
    unsigned max_threads, thread_count;
    unsigned idle; /* threads that wait, or have been started and not yet begun */
    pthread_t *threads;
    bool stopping;
} pool = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .queue = {&pool.queue, &pool.queue},
    .max_queued = DEFAULT_QUEUED,
    .max_threads = DEFAULT_THREADS,
};

static void destroy_arg(struct job *job)
{
    if (job->destroy != NULL) {
        job->destroy(job->arg);
    }
}

/* On the loop: the pool has let go of the job. */
static void job_returns(struct weir__task *task)
{
    struct job *job = weir_list_entry(task, struct job, task);

    if (job->fiber != NULL) {
        weir__fiber_wake(job->fiber);
        job->fiber = NULL; /* the fiber frees it */
    } else {
        weir_free(job);
    }
}

/* Under the mutex. */
static void hand_back(struct job *job, enum job_state state)
{
    job->state = state;
    weir__loop_post(job->loop, &job->task);
}

static void *work(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&pool.mutex);
    pool.idle--;
    for (;;) {
        struct job *job;
        struct weir_list *link = weir_list_pop_front(&pool.queue);

        if (link == NULL) {
            if (pool.stopping) {
                break;
            }
            pool.idle++;
            pthread_cond_wait(&pool.work, &pool.mutex);
            pool.idle--;
            continue;
        }
        pool.queued--;
        job = weir_list_entry(link, struct job, link);
        job->state = RUNNING;
        pthread_mutex_unlock(&pool.mutex);
        job->result = job->fn(job->arg);
        pthread_mutex_lock(&pool.mutex);
        if (!job->abandoned) {
            hand_back(job, DONE);
            continue;
        }
        pthread_mutex_unlock(&pool.mutex);
        destroy_arg(job);
        weir_free(job);
        pthread_mutex_lock(&pool.mutex);
    }
    pthread_mutex_unlock(&pool.mutex);
    return NULL;
}

/* Under the mutex. Signals are for the program's own threads. */
static int start_thread(void)
{
    sigset_t all, before;
    int failed;

    if (pool.threads == NULL) {
        pool.threads = weir_alloc(pool.max_threads * sizeof(*pool.threads));
        if (pool.threads == NULL) {
            return WEIR_ENOMEM;
        }
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&pool.threads[pool.thread_count], NULL, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        return WEIR_ENOMEM;
    }
    pool.thread_count++;
    pool.idle++;
    return 0;
}

/* Under the mutex. */
static int enqueue(struct job *job)
{
    if (pool.stopping) {
        return WEIR_ECLOSED;
    }
    if (pool.queued >= pool.idle && pool.thread_count < pool.max_threads) {
        int r = start_thread();

        if (r < 0 && pool.thread_count == 0) {
            return r;
        }
    }
    if (pool.queued >= pool.max_queued + pool.idle) {
        return WEIR_EBUSY; /* jobs on their way to an idle thread do not count */
    }
    weir_list_push_back(&pool.queue, &job->link);
    pool.queued++;
    pthread_cond_signal(&pool.work);
    return 0;
}

/* The fiber gives up on its job, which then frees itself; unless it has come back meanwhile, or
 * never ran. */
static void abandon(struct job *job)
{
    enum job_state state;

    job->fiber = NULL;
    pthread_mutex_lock(&pool.mutex);
    state = job->state;
    if (state == QUEUED) {
        weir_list_remove(&job->link);
        pool.queued--;
    }
    job->abandoned = true;
    pthread_mutex_unlock(&pool.mutex);
    if (state == RUNNING) {
        return;
    }
    destroy_arg(job);
    if (state == QUEUED) {
        weir_free(job);
    } /* else the task frees it */
}

int weir_offload_config(const struct weir_offload_opts *opts)
{
    unsigned threads = opts != NULL && opts->threads != 0 ? opts->threads : DEFAULT_THREADS;
    int r = 0;

    if (threads > MAX_THREADS) {
        return WEIR_EINVAL;
    }
    pthread_mutex_lock(&pool.mutex);
    if (pool.threads != NULL) {
        r = WEIR_ESTATE;
    } else {
        pool.max_threads = threads;
        pool.max_queued = opts != NULL && opts->max_queued != 0 ? opts->max_queued : DEFAULT_QUEUED;
    }
    pthread_mutex_unlock(&pool.mutex);
    return r;
}

static int refuse(void (*destroy)(void *arg), void *arg, int r)
{
    if (destroy != NULL) {
        destroy(arg);
    }
    return r;
}

typedef void(destroy_fn)(void *arg);

WEIR__RELAY_5(int, relay_offload, weir_offload, weir_offload_fn *, void *, destroy_fn *, int64_t,
              int *)

int weir_offload(weir_offload_fn *fn, void *arg, void (*destroy)(void *arg), int64_t deadline,
                 int *ret)
{
    if (weir__relay_here != NULL) {
        return relay_offload(fn, arg, destroy, deadline, ret);
    }

    struct job *job;
    int r = 0;

    weir_assert(weir__fiber_current() != NULL);
    if (weir__wait_is_cancelled()) {
        return refuse(destroy, arg, weir__wait(0));
    }
    job = weir_alloc(sizeof(*job));
    if (job == NULL) {
        return refuse(destroy, arg, WEIR_ENOMEM);
    }
    *job = (struct job){
        .fn = fn,
        .arg = arg,
        .destroy = destroy,
        .loop = weir__loop_current(),
        .fiber = weir__fiber_current(),
        .task = {.run = job_returns},
    };
    weir_list_init(&job->link);
    pthread_mutex_lock(&pool.mutex);
    r = enqueue(job);
    pthread_mutex_unlock(&pool.mutex);
    if (r < 0) {
        weir_free(job);
        return refuse(destroy, arg, r);
    }
    while (r == 0 && job->fiber != NULL) {
        r = weir__wait(weir__deadline_us(deadline));
    }
    if (job->fiber != NULL) {
        abandon(job);
        return r;
    }
    if (r != WEIR_ECANCELED) {
        r = job->state == REFUSED ? WEIR_ECLOSED : 0;
    }
    if (r < 0) {
        destroy_arg(job);
    } else if (ret != NULL) {
        *ret = job->result;
    }
    weir_free(job);
    return r;
}

void weir__offload_stop(void)
{
    struct weir_list *link;
    unsigned count;

    pthread_mutex_lock(&pool.mutex);
    pool.stopping = true;
    count = pool.thread_count;
    while ((link = weir_list_pop_front(&pool.queue)) != NULL) {
        hand_back(weir_list_entry(link, struct job, link), REFUSED);
    }
    pool.queued = 0;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(pool.threads[i], NULL);
    }
    pthread_mutex_lock(&pool.mutex);
    weir_free(pool.threads);
    pool.threads = NULL;
    pool.thread_count = 0;
    pool.stopping = false;
    pthread_mutex_unlock(&pool.mutex);
}
