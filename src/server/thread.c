/* SPDX-License-Identifier: MIT */
/*
 * One serving thread: accepts, balances, serves, stops. A long stream stays where it was accepted, so a loop that has
 * more than its share of live connections hands new ones to the least loaded, before a fiber exists.
 */
#include "server/server.h"

#include "h1/server.h"
#include "rt/overflow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_US 100000 /* after accept() found no descriptor or memory */

static void serve_fd(struct weir__server_thread *thread, int fd)
{
    WEIR_IGNORE(weir__h1_serve_take(&thread->serve_loop, fd));
}

static void each_connection(struct weir__server_thread *thread, bool kill);

/* ---- balancing ---- */

static uint64_t live_of(struct weir__server_thread *thread)
{
    return atomic_load_explicit(&thread->serve_loop.live, memory_order_relaxed);
}

/* Who should serve a new connection: this thread, unless it has 1.25 times the mean. */
static struct weir__server_thread *least_loaded(struct weir__server_thread *thread)
{
    struct weir_server *server = thread->server;
    unsigned count = server->serve.opts.threads;
    struct weir__server_thread *best = thread;
    uint64_t total = 0;

    for (unsigned i = 0; i < count; i++) {
        total += live_of(&server->threads[i]);
        if (live_of(&server->threads[i]) < live_of(best)) {
            best = &server->threads[i];
        }
    }
    return live_of(thread) * 4 * count > total * 5 + 4 * count ? best : thread;
}

static void take_handed(struct weir__task *task)
{
    struct weir__server_thread *thread =
        weir_list_entry(task, struct weir__server_thread, take_handed);
    int fds[WEIR__HANDED_MAX];
    unsigned count;

    pthread_mutex_lock(&thread->handed.mutex);
    count = thread->handed.count;
    for (unsigned i = 0; i < count; i++) {
        fds[i] = thread->handed.fds[i];
    }
    thread->handed.count = 0;
    thread->handed.posted = false;
    pthread_mutex_unlock(&thread->handed.mutex);
    for (unsigned i = 0; i < count; i++) {
        serve_fd(thread, fds[i]);
    }
    if (thread->stopping) {
        each_connection(thread, false);
    }
}

static bool hand_over(struct weir__server_thread *to, int fd)
{
    bool taken = false;
    bool post = false;

    pthread_mutex_lock(&to->handed.mutex);
    if (!to->handed.closed && to->handed.count < WEIR__HANDED_MAX) {
        to->handed.fds[to->handed.count++] = fd;
        taken = true;
        post = !to->handed.posted;
        to->handed.posted = true;
        if (post) {
            weir__loop_post(to->serve_loop.loop, &to->take_handed);
        }
    }
    pthread_mutex_unlock(&to->handed.mutex);
    return taken;
}

/* ---- accepting ---- */

static void refuse(int fd)
{
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
        "Connection: close\r\n\r\n";
    ssize_t sent = send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)sent;
    close(fd);
}

static void accepted(struct weir__server_thread *thread, int fd)
{
    struct weir__serve *serve = &thread->server->serve;

    atomic_fetch_add_explicit(&serve->accepted, 1, memory_order_relaxed);
    if (atomic_load_explicit(&serve->connections, memory_order_relaxed) >=
        serve->opts.max_connections) {
        struct weir_error error = {.code = WEIR_ELIMIT,
                                   .side = WEIR_SIDE_SELF,
                                   .reason = WEIR_REASON_LIMIT,
                                   .where = "max_connections"};

        atomic_fetch_add_explicit(&serve->refused, 1, memory_order_relaxed);
        weir__serve_reject(serve, fd, 503, &error);
        refuse(fd);
        return;
    }
    /* Once one of them stops, each answers itself whom it has accepted. */
    if (serve->opts.threads > 1 && !atomic_load_explicit(&serve->draining, memory_order_relaxed)) {
        struct weir__server_thread *to = least_loaded(thread);

        if (to != thread && hand_over(to, fd)) {
            return;
        }
    }
    serve_fd(thread, fd);
}

static void accept_all(struct weir__watch *watch, uint8_t bits)
{
    struct weir__acceptor *acceptor = weir_list_entry(watch, struct weir__acceptor, watch);
    struct weir__loop *loop = acceptor->thread->serve_loop.loop;

    (void)bits;
    for (;;) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accepted(acceptor->thread, fd);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR) {
            continue;
        }
        watch->ready = 0;
        if (errno != EAGAIN) {
            /* No descriptor, or no memory: the queue waits, and no edge will tell when there is one again. */
            WEIR_IGNORE(
                weir__timer_start(&loop->timers, &acceptor->retry, loop->now_us + RETRY_US));
        }
        return;
    }
}

static void accept_again(struct weir__timer *timer)
{
    struct weir__acceptor *acceptor = weir_list_entry(timer, struct weir__acceptor, retry);

    if (acceptor->watch.fd >= 0) {
        accept_all(&acceptor->watch, 0);
    }
}

/* ---- stopping ---- */

static void emptied(struct weir__serve_loop *serve_loop)
{
    struct weir__server_thread *thread =
        weir_list_entry(serve_loop, struct weir__server_thread, serve_loop);

    if (thread->stopping) {
        weir__loop_stop(serve_loop->loop);
    }
}

static void each_connection(struct weir__server_thread *thread, bool kill)
{
    struct weir_list *head = &thread->serve_loop.connections;
    struct weir_list *link = head->next;

    while (link != head) {
        struct weir__connection *connection = weir_list_entry(link, struct weir__connection, link);

        link = link->next; /* the connection may be gone after the call */
        if (kill) {
            connection->kill(connection);
        } else {
            connection->drain(connection);
        }
    }
}

static void kill_all(struct weir__server_thread *thread)
{
    thread->killed = true;
    each_connection(thread, true);
}

static void grace_over(struct weir__timer *timer)
{
    kill_all(weir_list_entry(timer, struct weir__server_thread, grace));
}

static void stop_accepting(struct weir__server_thread *thread)
{
    struct weir__loop *loop = thread->serve_loop.loop;

    for (size_t i = 0; i < thread->server->listener_count; i++) {
        struct weir__acceptor *acceptor = &thread->acceptors[i];

        if (acceptor->watch.fd >= 0) {
            accept_all(&acceptor->watch, 0); /* who is in the queue already gets an answer */
            weir__timer_remove(&loop->timers, &acceptor->retry);
            weir__watch_close(loop, &acceptor->watch);
        }
    }
}

static void stop_asked(struct weir__watch *watch, uint8_t bits)
{
    struct weir__server_thread *thread = weir_list_entry(watch, struct weir__server_thread, stop);
    struct weir__serve *serve = &thread->server->serve;
    struct weir__loop *loop = thread->serve_loop.loop;

    (void)bits;
    if (!(watch->ready & WEIR__CAN_READ)) {
        return;
    }
    watch->ready = 0;
    if (thread->stopping) {
        kill_all(thread); /* asked twice */
        return;
    }
    thread->stopping = true;
    atomic_store(&serve->draining, true);
    stop_accepting(thread);
    each_connection(thread, false);
    if (weir_list_is_empty(&thread->serve_loop.connections)) {
        weir__loop_stop(loop);
        return;
    }
    if (weir__timer_start(&loop->timers, &thread->grace,
                          loop->now_us + serve->opts.grace_ms * 1000) < 0) {
        kill_all(thread);
    }
}

/* ---- life ---- */

static int open_watches(struct weir__server_thread *thread)
{
    struct weir_server *server = thread->server;
    struct weir__loop *loop = thread->serve_loop.loop;
    int stop_fd = fcntl(server->stop_fd, F_DUPFD_CLOEXEC, 0);
    int r;

    if (stop_fd < 0) {
        return WEIR_EIO;
    }
    /* The counter is never read: each write is an edge for every thread. */
    thread->stop.on_event = stop_asked;
    r = weir__watch_open(loop, &thread->stop, stop_fd);
    if (r < 0) {
        close(stop_fd);
        return r;
    }
    for (size_t i = 0; i < server->listener_count; i++) {
        struct weir__acceptor *acceptor = &thread->acceptors[i];

        acceptor->thread = thread;
        acceptor->watch.on_event = accept_all;
        weir__timer_init(&acceptor->retry, accept_again);
        r = weir__watch_open(loop, &acceptor->watch, server->listeners[i].fds[thread->index]);
        if (r < 0) {
            acceptor->watch.fd = -1;
            return r;
        }
        server->listeners[i].fds[thread->index] = -1;
    }
    return 0;
}

static void drop_handed(struct weir__server_thread *thread)
{
    pthread_mutex_lock(&thread->handed.mutex);
    thread->handed.closed = true;
    for (unsigned i = 0; i < thread->handed.count; i++) {
        close(thread->handed.fds[i]);
    }
    thread->handed.count = 0;
    pthread_mutex_unlock(&thread->handed.mutex);
}

int weir__server_thread_run(struct weir__server_thread *thread)
{
    struct weir__loop *loop = NULL;
    int r = weir__loop_create(NULL, NULL, &loop);

    for (size_t i = 0; i < WEIR__MAX_LISTENERS; i++) {
        thread->acceptors[i].watch.fd = -1;
    }
    thread->stop.fd = -1;
    thread->take_handed.run = take_handed;
    thread->serve_loop = (struct weir__serve_loop){
        .serve = &thread->server->serve, .loop = loop, .emptied = emptied};
    weir_list_init(&thread->serve_loop.connections);
    weir__timer_init(&thread->grace, grace_over);
    if (r == 0) {
        WEIR_IGNORE(weir__overflow_handler_install());
        r = open_watches(thread);
    }
    thread->handed.closed = r < 0;
    /* Nobody hands a connection to a loop that is not there yet. */
    if (!weir__server_start_together(thread->server)) {
        r = r < 0 ? r : WEIR_ENOMEM;
    } else if (r == 0) {
        weir__loop_run(loop);
    } else {
        weir_server_stop(thread->server);
    }
    drop_handed(thread);
    if (loop != NULL) {
        kill_all(thread); /* who was handed over when the loop had stopped already */
        stop_accepting(thread);
        weir__watch_close(loop, &thread->stop);
        weir__timer_remove(&loop->timers, &thread->grace);
        weir__loop_run_until_idle(loop);
        weir__loop_destroy(loop);
    }
    return r;
}
