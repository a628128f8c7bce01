/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_LOOP_H
#define WEIR_RT_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "rt/fiber.h"
#include "rt/stack.h"
#include "rt/timer.h"

/*
 * One thread's event loop: edge-triggered epoll, timers, ready fibers, and tasks posted by other threads. A descriptor
 * is registered once for its life; what is ready is remembered in its watch, so no interest is ever changed. Time is
 * read from the loop; a test gives its own clock, which then jumps to the next timer when there is nothing to do.
 */
struct weir__pools;

/* Bits of struct weir__watch.ready. */
enum {
    WEIR__CAN_READ = 1,
    WEIR__CAN_WRITE = 2,
    WEIR__PEER_FIN = 4,  /* the peer has ended its sending side; bytes before that may still wait */
    WEIR__PEER_GONE = 8, /* an error or a hang-up in both directions */
};

/* One watched descriptor, embedded by its owner. */
struct weir__watch {
    int fd; /* -1: not watched */
    uint8_t ready;
    struct weir__fiber *reader, *writer; /* woken when their side may go on */
    /* Called on the loop's stack with the bits that are new, before the fibers run; may close the watch. NULL: nobody. */
    void (*on_event)(struct weir__watch *watch, uint8_t bits);
};

/* Work for the loop from another thread, embedded by its owner; given until it has run. */
struct weir__task {
    struct weir__task *next;
    void (*run)(struct weir__task *task);
};

/* Output that leaves when the fiber which queued it waits or ends, embedded by its owner. */
struct weir__flush {
    struct weir_list link; /* weir__loop.flushes */
    void (*flush)(struct weir__flush *flush);
};

/* What an upper layer keeps per loop (a resolver), embedded by its owner; destroyed with the loop,
 * last added first. */
struct weir__loop_ext {
    struct weir__loop_ext *next;
    const void *key; /* the address of something static of its owner */
    void (*destroy)(struct weir__loop_ext *ext);
};

#define WEIR__SCRATCH_BYTES 16384

struct weir__loop {
    int epoll_fd, wake_fd;
    int64_t now_us;
    weir__clock_fn *clock;
    void *clock_arg;
    bool fake_clock;
    bool stopping;
    struct weir__timers timers;
    struct weir_list ready;   /* weir__fiber.link */
    struct weir_list yielded; /* run after the next look for events */
    struct weir_list parked;  /* suspended, by time */
    struct weir_list idle;    /* suspended for long, their stacks trimmed */
    struct weir__fiber *current;
    void *context; /* of the loop's own stack, while a fiber runs */
    struct weir__stacks stacks;
    size_t live_fibers, expected_tasks;
    struct weir__timer sweep;
    struct weir__pools *pools; /* of the layer bytes; made on first use */
    void (*pools_destroy)(struct weir__pools *pools);
#define WEIR__SPARE_PIPES 8
    int pipe_fds[WEIR__SPARE_PIPES][2]; /* rt/pipes: empty ones */
    unsigned pipe_count;
    struct weir_list flushes; /* weir__flush.link: output queued in this turn */
    struct weir__loop_ext *exts;
    uint8_t *scratch; /* WEIR__SCRATCH_BYTES for whoever runs, until it waits or returns */
    struct epoll_event *events; /* the batch in hand: closing a watch clears it there */
    int event_count;
    const void *stack_bottom; /* for AddressSanitizer */
    size_t stack_size;
    void *tsan_fiber;
    unsigned
        computing;   /* blocking handlers that are about to call: with a fake clock time stands */
    uint32_t chance; /* where a select begins to look */
    struct {
        pthread_mutex_t mutex;
        struct weir__task *first, **last;
        bool signaled;
    } shared;
};

/* Makes a loop for the calling thread. `clock` NULL: the real one. Returns 0, WEIR_ENOMEM, WEIR_EIO. */
int weir__loop_create(weir__clock_fn *clock, void *clock_arg, struct weir__loop **ret);
/* All fibers must have ended. Tasks that were posted are run; none may be posted from now on. */
void weir__loop_destroy(struct weir__loop *loop);

/* The extension of that key, or NULL. */
struct weir__loop_ext *weir__loop_ext_find(struct weir__loop *loop, const void *key);
/* Given: destroyed with the loop, while watches and timers still work. */
void weir__loop_ext_add(struct weir__loop *loop, struct weir__loop_ext *ext);

/* The calling thread's loop, or NULL. */
struct weir__loop *weir__loop_current(void);

/* Runs until weir__loop_stop(). */
void weir__loop_run(struct weir__loop *loop);
void weir__loop_stop(struct weir__loop *loop);
/* Runs until no fiber is left; for tests. */
void weir__loop_run_until_idle(struct weir__loop *loop);

/* The time now, read afresh (stall clocks); loop->now_us is that of the present turn (deadlines). */
int64_t weir__loop_clock_us(struct weir__loop *loop);

/* So many more (or fewer) tasks are being posted: the loop does not go before they have run. Context: the loop. */
void weir__loop_expect(struct weir__loop *loop, int count);

/* Runs task->run on the loop, soon. Context: any thread. */
void weir__loop_post(struct weir__loop *loop, struct weir__task *task);

/* Has flush->flush called on the loop's stack as soon as the running fiber waits or ends; once for many calls. */
void weir__flush_soon(struct weir__loop *loop, struct weir__flush *flush);

/* Registers a descriptor for life. Returns 0 or WEIR_EIO / WEIR_ENOMEM. */
int weir__watch_open(struct weir__loop *loop, struct weir__watch *watch, int fd);
/* Forgets it, and closes the descriptor. Wakes nobody. */
void weir__watch_close(struct weir__loop *loop, struct weir__watch *watch);
/* Forgets it and returns the descriptor to the caller. */
int weir__watch_release(struct weir__loop *loop, struct weir__watch *watch);
/* Asks the kernel again and arms the next edge: before waiting for a state that no failed call has shown. */
void weir__watch_rearm(struct weir__loop *loop, struct weir__watch *watch);

/* Waits until the bit is set, or the peer is gone. Returns 0 or WEIR_ETIMEDOUT. Context: fiber, suspends. */
int weir__watch_wait_readable(struct weir__watch *watch, int64_t deadline_us);
int weir__watch_wait_writable(struct weir__watch *watch, int64_t deadline_us);

/* An absolute deadline of the public interface (ms; -1 = none) in the loop's terms. */
static inline int64_t weir__deadline_us(int64_t deadline_ms)
{
    return deadline_ms < 0 || deadline_ms > INT64_MAX / 1000 ? WEIR__NEVER : deadline_ms * 1000;
}

#endif
