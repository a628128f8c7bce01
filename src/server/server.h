/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SERVER_SERVER_H
#define WEIR_SERVER_SERVER_H

#include "http/serve.h"

#include <pthread.h>

/*
 * A server and its threads. Each thread owns a loop with its listeners and connections; what threads share are the
 * counts, the stop signal, and connections handed to a less loaded loop.
 */
#define WEIR__MAX_LISTENERS 8
#define WEIR__HANDED_MAX 64

struct weir__listeners {
    uint16_t port;
    int *fds; /* one per thread; -1 once the thread has it */
};

struct weir__server_thread {
    struct weir_server *server;
    unsigned index;
    pthread_t id;
    int result;
    struct weir__serve_loop serve_loop;
    struct weir__acceptor {
        struct weir__watch watch;
        struct weir__server_thread *thread;
        struct weir__timer retry; /* after running out of descriptors */
    } acceptors[WEIR__MAX_LISTENERS];
    struct weir__watch stop;
    struct weir__timer grace;
    bool stopping, killed;
    struct {
        pthread_mutex_t mutex;
        int fds[WEIR__HANDED_MAX]; /* accepted elsewhere, to be served here */
        unsigned count;
        bool closed, posted;
    } handed;
    struct weir__task take_handed;
};

struct weir_server {
    uint32_t magic;
    bool running;
    int stop_fd; /* counts the calls of weir_server_stop() */
    struct weir__serve serve;
    struct weir__listeners listeners[WEIR__MAX_LISTENERS];
    size_t listener_count;
    struct weir__server_thread *threads;
    struct {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        unsigned ready; /* threads whose loop is there, or could not be made */
        bool abandoned; /* not every thread could be started: the others end before they serve */
    } start;
};

/* Waits until every thread has got so far. False: the start was abandoned. */
bool weir__server_start_together(struct weir_server *server);

/* One thread's life, from its loop's creation to its end. */
int weir__server_thread_run(struct weir__server_thread *thread);

#endif
