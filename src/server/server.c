/* SPDX-License-Identifier: MIT */
/*
 * Servers: threads with a loop each, listeners that the kernel spreads connections over, admission, and the polite
 * stop. What a connection speaks is the wire's business.
 */
#include <weir/server.h>

#include "server/server.h"

#include <weir/experimental/observe.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/budget.h"
#include "net/listen.h"
#include "rt/overflow.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_MAGIC 0x73727672u
#define MAX_THREADS 256

static struct weir_server *signalled; /* by weir_server_stop_on_signals() */

static void fill(int64_t *field, int64_t otherwise)
{
    if (*field == 0) {
        *field = otherwise;
    }
}

static void fill_size(size_t *field, size_t otherwise)
{
    if (*field == 0) {
        *field = otherwise;
    }
}

static unsigned processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static void fill_defaults(struct weir_server_opts *opts)
{
    fill(&opts->head_timeout_ms, 10000);
    fill(&opts->keepalive_timeout_ms, 75000);
    fill(&opts->body_gap_ms, 30000);
    fill(&opts->client_stall_ms, 60000);
    fill(&opts->drain_ms, 5000);
    fill(&opts->grace_ms, 10000);
    if (opts->min_rate == 0) {
        opts->min_rate = 256;
    }
    if (opts->drain_bytes == 0) {
        opts->drain_bytes = 1 << 20;
    }
    fill_size(&opts->head_bytes, 32768);
    fill_size(&opts->target_bytes, 8192);
    fill_size(&opts->max_fields, 100);
    fill_size(&opts->stream_bytes, (size_t)1 << 20);
    fill_size(&opts->max_connections, 50000);
    fill_size(&opts->max_streams, 50000);
    if (opts->threads == 0) {
        opts->threads = processors();
    }
}

static struct weir__pace pace_of(const struct weir_server_opts *opts)
{
    return weir__pace_with(&(struct weir__pace){
        .slow_bytes = opts->pace_slow_bytes,
        .fast_bytes = opts->pace_fast_bytes,
        .fast_chunk = opts->pace_fast_chunk,
        .fast_after = opts->pace_fast_after,
        .stall_reset_us = opts->pace_stall_reset_ms * 1000,
        .stall_slow_us = opts->pace_stall_slow_ms * 1000,
    });
}

static bool is_possible(const struct weir_server_opts *opts)
{
    return opts->handler != NULL && opts->threads <= MAX_THREADS && opts->max_fields <= 1000 &&
           opts->head_bytes <= ((size_t)1 << 19) && opts->pace_fast_chunk <= ((uint32_t)1 << 20) &&
           opts->pace_fast_bytes <= ((uint32_t)1 << 30) &&
           opts->pace_slow_bytes <= ((uint32_t)1 << 20);
}

int weir_server_create(const struct weir_server_opts *given, struct weir_server **ret)
{
    struct weir_server *server;
    struct weir_server_opts opts;

    if (given == NULL) {
        return WEIR_EINVAL;
    }
    opts = *given;
    fill_defaults(&opts);
    if (!is_possible(&opts)) {
        return WEIR_EINVAL;
    }
    server = weir_alloc0(sizeof(*server));
    if (server == NULL) {
        return WEIR_ENOMEM;
    }
    server->magic = SERVER_MAGIC;
    server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->stop_fd < 0) {
        weir_free(server);
        return WEIR_EIO;
    }
    server->serve.opts = opts;
    server->serve.pace = pace_of(&opts);
    server->serve.limits = (struct weir__limits){
        .read_gap_ms = opts.body_gap_ms < 0 ? 0 : opts.body_gap_ms,
        .held_bytes = opts.stream_bytes,
        .write_stall_ms = opts.client_stall_ms < 0 ? 0 : opts.client_stall_ms,
        .min_rate = opts.min_rate == UINT64_MAX ? 0 : opts.min_rate,
    };
    if (opts.memory_bytes != 0) {
        weir__budget_set_limit(weir__budget_process(), opts.memory_bytes);
    }
    *ret = server;
    return 0;
}

void weir_server_destroy(struct weir_server *server)
{
    if (server == NULL) {
        return;
    }
    weir_check(server, SERVER_MAGIC);
    weir_assert(!server->running);
    for (size_t i = 0; i < server->listener_count; i++) {
        for (unsigned k = 0; k < server->serve.opts.threads; k++) {
            if (server->listeners[i].fds[k] >= 0) {
                close(server->listeners[i].fds[k]);
            }
        }
        weir_free(server->listeners[i].fds);
    }
    if (signalled == server) {
        signalled = NULL;
    }
    close(server->stop_fd);
    server->magic = 0;
    weir_free(server);
}

int weir_server_listen(struct weir_server *server, const char *host, uint16_t port,
                       struct weir_error *error)
{
    struct weir__listeners *listeners;
    unsigned threads;
    int r = 0;

    weir_check(server, SERVER_MAGIC);
    if (server->running) {
        return WEIR_ESTATE;
    }
    if (server->listener_count == WEIR__MAX_LISTENERS) {
        return WEIR_ELIMIT;
    }
    host = host != NULL ? host : "";
    threads = server->serve.opts.threads;
    if (threads > 1 && port != 0) {
        /* The sockets of several loops share their port, and would share it with any other program of this user. */
        r = weir__listen_check(weir_str(host), port, error);
        if (r < 0) {
            return r;
        }
    }
    listeners = &server->listeners[server->listener_count];
    listeners->port = port;
    listeners->fds = weir_alloc(threads * sizeof(int));
    if (listeners->fds == NULL) {
        return WEIR_ENOMEM;
    }
    for (unsigned i = 0; i < threads; i++) {
        listeners->fds[i] = -1;
    }
    /* One socket a loop; the first settles the port. */
    for (unsigned i = 0; i < threads && r == 0; i++) {
        r = weir__listen(weir_str(host), listeners->port, 0, threads > 1, &server->serve.pace,
                         &listeners->fds[i], &listeners->port, error);
    }
    if (r < 0) {
        for (unsigned i = 0; i < threads; i++) {
            if (listeners->fds[i] >= 0) {
                close(listeners->fds[i]);
            }
        }
        weir_free(listeners->fds);
        return r;
    }
    server->listener_count++;
    return 0;
}

uint16_t weir_server_port(struct weir_server *server)
{
    weir_check(server, SERVER_MAGIC);
    return server->listener_count > 0 ? server->listeners[0].port : 0;
}

void weir_server_stats(struct weir_server *server, struct weir_server_stats *ret)
{
    weir_check(server, SERVER_MAGIC);
    *ret = (struct weir_server_stats){
        .connections = atomic_load(&server->serve.connections),
        .streams = atomic_load(&server->serve.streams),
        .accepted = atomic_load(&server->serve.accepted),
        .requests = atomic_load(&server->serve.requests),
        .refused = atomic_load(&server->serve.refused),
        .body_bytes_held = weir__budget_used(weir__budget_process()),
    };
}

void weir_server_on_reject(struct weir_server *server,
                           void (*fn)(const struct weir_reject *reject, void *arg), void *arg)
{
    weir_check(server, SERVER_MAGIC);
    server->serve.on_reject = fn;
    server->serve.on_reject_arg = arg;
}

/* ---- stopping ---- */

void weir_server_stop(struct weir_server *server)
{
    uint64_t one = 1;
    ssize_t written = write(server->stop_fd, &one, sizeof(one));

    (void)written; /* a full counter says the same */
}

static void on_signal(int number)
{
    int saved = errno;

    (void)number;
    if (signalled != NULL) {
        weir_server_stop(signalled);
    }
    errno = saved;
}

void weir_server_stop_on_signals(struct weir_server *server)
{
    struct sigaction action = {.sa_handler = on_signal};

    signalled = server;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* ---- running ---- */

static void *thread_main(void *arg)
{
    struct weir__server_thread *thread = arg;

    thread->result = weir__server_thread_run(thread);
    return NULL;
}

bool weir__server_start_together(struct weir_server *server)
{
    bool go;

    pthread_mutex_lock(&server->start.mutex);
    server->start.ready++;
    pthread_cond_broadcast(&server->start.changed);
    while (server->start.ready < server->serve.opts.threads && !server->start.abandoned) {
        pthread_cond_wait(&server->start.changed, &server->start.mutex);
    }
    go = !server->start.abandoned;
    pthread_mutex_unlock(&server->start.mutex);
    return go;
}

static void abandon_start(struct weir_server *server)
{
    pthread_mutex_lock(&server->start.mutex);
    server->start.abandoned = true;
    pthread_cond_broadcast(&server->start.changed);
    pthread_mutex_unlock(&server->start.mutex);
}

int weir_server_run(struct weir_server *server)
{
    unsigned count;
    unsigned started;
    int r = 0;

    weir_check(server, SERVER_MAGIC);
    count = server->serve.opts.threads;
    server->threads = weir_alloc0(count * sizeof(*server->threads));
    if (server->threads == NULL) {
        return WEIR_ENOMEM;
    }
    server->running = true;
    for (unsigned i = 0; i < count; i++) {
        server->threads[i].server = server;
        server->threads[i].index = i;
        pthread_mutex_init(&server->threads[i].handed.mutex, NULL);
    }
    pthread_mutex_init(&server->start.mutex, NULL);
    pthread_cond_init(&server->start.changed, NULL);
    server->start.ready = 0;
    server->start.abandoned = false;
    for (started = 1; started < count; started++) {
        struct weir__server_thread *thread = &server->threads[started];

        if (pthread_create(&thread->id, NULL, thread_main, thread) != 0) {
            abandon_start(server);
            r = WEIR_ENOMEM;
            break;
        }
    }
    if (r == 0) {
        thread_main(&server->threads[0]);
    }
    for (unsigned i = 1; i < started; i++) {
        pthread_join(server->threads[i].id, NULL);
    }
    for (unsigned i = 0; i < count; i++) {
        r = r == 0 ? server->threads[i].result : r;
    }
    pthread_cond_destroy(&server->start.changed);
    pthread_mutex_destroy(&server->start.mutex);
    for (unsigned i = 0; i < count; i++) {
        pthread_mutex_destroy(&server->threads[i].handed.mutex);
    }
    weir_free(server->threads);
    server->threads = NULL;
    server->running = false;
    return r;
}
