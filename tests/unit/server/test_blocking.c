/* SPDX-License-Identifier: MIT */
/* Blocking handlers over real sockets: a library call of ten seconds, the client's leave told at once, others served
 * meanwhile, a full pool, the stop. */
#include "../net/net_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/blocking.h>
#include <weir/chunk.h>
#include <weir/experimental/client.h>
#include <weir/experimental/observe.h>
#include <weir/rt.h>
#include <weir/server.h>

#include "base/clock.h"

/* ---- a library that blocks, and that any thread can tell to stop ---- */

struct job {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopped;
};

static _Atomic int inside, left, told, ended_early;
static _Atomic int64_t told_us;

static void job_stop(void *arg)
{
    struct job *job = arg;

    atomic_store(&told_us, weir__clock_us(NULL));
    atomic_fetch_add(&told, 1);
    pthread_mutex_lock(&job->mutex);
    job->stopped = true;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->mutex);
}

/* At most so long; returns whether it was stopped. */
static bool job_run(struct job *job, int64_t ms)
{
    struct timespec until;
    bool stopped;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    atomic_fetch_add(&inside, 1);
    pthread_mutex_lock(&job->mutex);
    while (!job->stopped && r != ETIMEDOUT) {
        r = pthread_cond_timedwait(&job->changed, &job->mutex, &until);
    }
    stopped = job->stopped;
    pthread_mutex_unlock(&job->mutex);
    atomic_fetch_sub(&inside, 1);
    return stopped;
}

static void job_init(struct job *job)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&job->mutex, NULL);
    pthread_cond_init(&job->changed, &attr);
    pthread_condattr_destroy(&attr);
    job->stopped = false;
}

static void job_finish(struct job *job)
{
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->mutex);
}

/* ---- handlers ---- */

/* On a thread: a head and a byte, then the library for as many milliseconds as asked. */
static int completes(struct weir_req *req, void *arg)
{
    int64_t ms = (int64_t)weir_req_query_u64(req, "ms", 10000);
    bool registers = weir_req_query_u64(req, "quiet", 0) == 0;
    struct weir_sink *sink;
    struct job job;
    int r;

    (void)arg;
    job_init(&job);
    if (registers && weir_on_disconnect(req, job_stop, &job) < 0) {
        abort();
    }
    r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);
    r = r == 0 ? weir_emit_bytes(sink, weir_str("x"), -1) : r;
    if (job_run(&job, ms)) {
        atomic_fetch_add(&ended_early, 1);
    }
    if (registers && weir_off_disconnect(req) != job.stopped) {
        abort();
    }
    for (int i = 0; r == 0 && i < 20; i++) {
        r = weir_emit_bytes(sink, weir_str("0123456789"), -1);
    }
    r = r == 0 ? weir_end(sink, NULL) : r;
    weir_sink_destroy(sink);
    job_finish(&job);
    atomic_fetch_add(&left, 1);
    return r;
}

static struct weir_blocking blocking = {.handler = completes};

static int handle(struct weir_req *req, void *arg)
{
    return weir_view_equal(weir_req_path(req), weir_str("/slow"))
               ? weir_blocking_handler(req, arg)
               : weir_reply_text(req, 200, "hello\n");
}

/* ---- the scene ---- */

struct scene {
    struct weir_server *server;
    struct weir_client *client;
    pthread_t thread;
    void (*run)(struct scene *scene);
};

static void *serve(void *arg)
{
    struct scene *scene = arg;

    if (weir_server_run(scene->server) != 0) {
        abort();
    }
    return NULL;
}

static void run_fiber(void *arg)
{
    struct scene *scene = arg;

    scene->run(scene);
}

static void play(unsigned threads, int64_t grace_ms, void (*run)(struct scene *scene))
{
    struct weir_server_opts opts = {
        .handler = handle, .arg = &blocking, .threads = threads, .grace_ms = grace_ms};
    const struct weir_blocking_opts pool = {.threads = 2, .max_queued = WEIR_BLOCKING_NO_QUEUE};
    struct scene scene = {.run = run};
    int fds = open_fds();
    int64_t live = weir__alloc_live();
    struct weir__loop *loop;

    atomic_store(&left, 0);
    atomic_store(&told, 0);
    atomic_store(&ended_early, 0);
    assert_int_equal(weir_blocking_pool_create(&pool, &blocking.pool), 0);
    assert_int_equal(weir_server_create(&opts, &scene.server), 0);
    assert_int_equal(weir_server_listen(scene.server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&scene.thread, NULL, serve, &scene), 0);
    assert_int_equal(weir_client_create(NULL, &scene.client), 0);
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, run_fiber, &scene, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
    weir_client_destroy(scene.client);
    weir_server_stop(scene.server);
    pthread_join(scene.thread, NULL);
    weir_server_destroy(scene.server);
    weir_blocking_pool_destroy(blocking.pool);
    assert_int_equal(atomic_load(&inside), 0);
    assert_int_equal(open_fds(), fds);
    assert_true(weir__alloc_live() == live);
}

static int ask(struct scene *scene, const char *target, struct weir_exchange **ret)
{
    struct weir_fields *fields;
    struct weir_exchange_opts opts = {
        .host = weir_str("127.0.0.1"),
        .port = weir_server_port(scene->server),
        .method = weir_str("GET"),
        .target = weir_str(target),
    };
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("test")), 0);
    opts.fields = fields;
    r = weir_exchange_open(scene->client, &opts, ret, NULL);
    assert_int_equal(r, 0);
    r = weir_exchange_head(*ret, NULL);
    weir_fields_destroy(fields);
    return r;
}

static int read_all(struct weir_exchange *exchange, size_t *ret_bytes)
{
    struct weir_chunk *chunk;
    int r;

    *ret_bytes = 0;
    while ((r = weir_next(weir_exchange_body(exchange), weir_after_ms(20000), &chunk)) == 1) {
        *ret_bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    return r;
}

static void wait_for(_Atomic int *number, int wanted)
{
    int64_t until = weir_after_ms(10000);

    while (atomic_load(number) != wanted && weir_now() < until) {
        assert_int_equal(weir_sleep(weir_after_ms(2)), 0);
    }
    assert_int_equal(atomic_load(number), wanted);
}

/* Asks for something that needs no pool; returns how long that took. */
static int64_t greet(struct scene *scene)
{
    int64_t began_us = weir_clock_us();
    struct weir_exchange *exchange;
    size_t bytes;

    assert_int_equal(ask(scene, "/", &exchange), 0);
    assert_int_equal(weir_exchange_status(exchange), 200);
    assert_int_equal(read_all(exchange, &bytes), 0);
    weir_exchange_destroy(exchange);
    return weir_clock_us() - began_us;
}

/* ---- ten seconds in a library ---- */

static void leaves_a_library_call(struct scene *scene)
{
    struct weir_exchange *slow[2], *third;
    int64_t left_us;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(scene, "/slow", &slow[i]), 0);
    }
    wait_for(&inside, 2);
    /* Others are served, also now that the pool is full; who needs it is told to come again. */
    for (int i = 0; i < 20; i++) {
        assert_true(greet(scene) < 2000000);
    }
    assert_int_equal(ask(scene, "/slow", &third), 0);
    assert_int_equal(weir_exchange_status(third), 503);
    assert_true(weir_view_equal(
        weir_fields_get(weir_exchange_fields(third), weir_str("retry-after")), weir_str("1")));
    weir_exchange_destroy(third);
    assert_int_equal(atomic_load(&told), 0);
    for (int i = 0; i < 2; i++) {
        left_us = weir_clock_us();
        weir_exchange_destroy(slow[i]);
        wait_for(&told, i + 1);
        print_message("told after %lld us\n", (long long)(atomic_load(&told_us) - left_us));
        assert_true(atomic_load(&told_us) - left_us < 50000);
    }
    wait_for(&left, 2);
    assert_int_equal(atomic_load(&ended_early), 2);
}

static void v10_a_leave_is_told_within_50_ms_of_a_library_call(void **state)
{
    (void)state;
    play(1, 0, leaves_a_library_call);
    play(3, 0, leaves_a_library_call);
}

/* ---- the usual end ---- */

static void waits_for_the_end(struct scene *scene)
{
    for (int i = 0; i < 20; i++) {
        struct weir_exchange *exchange;
        size_t bytes;

        assert_int_equal(ask(scene, "/slow?ms=5", &exchange), 0);
        assert_int_equal(weir_exchange_status(exchange), 200);
        assert_int_equal(read_all(exchange, &bytes), 0);
        assert_int_equal(bytes, 201);
        weir_exchange_destroy(exchange);
    }
    wait_for(&left, 20);
    assert_int_equal(atomic_load(&told), 0);
}

static void an_end_is_no_leave(void **state)
{
    (void)state;
    play(1, 0, waits_for_the_end);
    play(2, 0, waits_for_the_end);
}

/* ---- the stop ---- */

static void stops_in_grace(struct scene *scene)
{
    struct weir_exchange *exchange;
    size_t bytes;

    assert_int_equal(ask(scene, "/slow?ms=300", &exchange), 0);
    wait_for(&inside, 1);
    weir_server_stop(scene->server);
    assert_int_equal(read_all(exchange, &bytes), 0);
    assert_int_equal(bytes, 201);
    weir_exchange_destroy(exchange);
    assert_int_equal(atomic_load(&told), 0); /* a shutdown is no leave */
}

/* It does not hear: the stop has to wait for it. */
static void stops_beyond_grace(struct scene *scene)
{
    struct weir_exchange *exchange;
    size_t bytes;
    int r;

    assert_int_equal(ask(scene, "/slow?ms=1500&quiet=1", &exchange), 0);
    wait_for(&inside, 1);
    weir_server_stop(scene->server);
    r = read_all(exchange, &bytes);
    assert_true(r == WEIR_ETRUNCATED || r == WEIR_ERESET);
    assert_int_equal(atomic_load(&left), 0);
    weir_exchange_destroy(exchange);
}

static void cut_by_a_stop(struct scene *scene)
{
    struct weir_exchange *exchange;
    size_t bytes;
    int r;

    assert_int_equal(ask(scene, "/slow", &exchange), 0);
    wait_for(&inside, 1);
    weir_server_stop(scene->server);
    r = read_all(exchange, &bytes);
    assert_true(r == WEIR_ETRUNCATED || r == WEIR_ERESET);
    wait_for(&told, 1);
    weir_exchange_destroy(exchange);
}

static void a_stop_waits_for_a_library(void **state)
{
    (void)state;
    play(1, 5000, stops_in_grace);
    play(1, 50, stops_beyond_grace);
    play(2, 50, stops_beyond_grace);
    play(1, 50, cut_by_a_stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v10_a_leave_is_told_within_50_ms_of_a_library_call),
        cmocka_unit_test(an_end_is_no_leave),
        cmocka_unit_test(a_stop_waits_for_a_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
