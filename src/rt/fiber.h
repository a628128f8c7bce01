/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_FIBER_H
#define WEIR_RT_FIBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "rt/switch.h"
#include "rt/timer.h"

/*
 * A fiber: one stack, one loop, for life. It is stored at the top of its own stack slot, so an idle one costs a page.
 * A fiber waits by suspending; whoever changes what it waits for wakes it, and it looks again: a wake-up that finds
 * nothing changed is harmless. A suspended fiber is never thrown away: it is woken and runs home.
 */
struct weir__loop;
struct weir_scope;
struct weir__stall;

struct weir__fiber {
    uint32_t magic;
    bool queued;         /* in loop.ready */
    bool timed_out;      /* the present wait's deadline has passed */
    bool cancel_pending; /* a cancel that no wait has answered yet */
    bool cancel_sticky;  /* a child of a scope: once cancelled, every wait answers so */
    bool trimmed;        /* its idle stack has been given back */
    uint8_t shield;      /* > 0: cleanup runs, waits ignore the cancel */
    void *context;
    struct weir__loop *loop;
    struct weir_list link; /* loop.ready, or loop.parked in the order of parking */
    struct weir__timer timer;
    int64_t parked_at_us;
    struct weir_scope *scope;             /* whose cancellation it sees */
    struct weir_list sibling;             /* weir_scope.children */
    struct weir__stall *stall;            /* the clock of the stream it moves now, or NULL */
    void *worker;                         /* its mailbox, made on first use */
    void (*worker_destroy)(void *worker); /* called on the loop's stack when the fiber has ended */
    void (*entry)(void *arg);
    void *arg;
#if defined(WEIR__FIBER_HOOKS)
    void *tsan_fiber, *asan_fake;
    unsigned valgrind_id;
#endif
};

/* Starts a fiber on the current loop; it runs in this turn of the loop, not before the call returns.
 * Returns 0, WEIR_ENOMEM, WEIR_ELIMIT. Context: loop or fiber. */
int weir__fiber_start(struct weir__loop *loop, void (*entry)(void *arg), void *arg,
                      struct weir__fiber **ret);

/* The same with `size` bytes (at most 1024) copied to the fiber's own page, where they live as long as it does: that is
 * what entry gets. */
int weir__fiber_start_with(struct weir__loop *loop, void (*entry)(void *arg), const void *block,
                           size_t size);

/* The running fiber, or NULL on the loop's own stack. */
struct weir__fiber *weir__fiber_current(void);

/* Waits for weir__fiber_wake() or until `deadline_us` (WEIR__NEVER: none). Looks at no cancel.
 * Returns 0 woken (perhaps for nothing), WEIR_ETIMEDOUT. Context: fiber, suspends. */
int weir__fiber_suspend(int64_t deadline_us);

/* Lets it run in this turn of its loop. Harmless on one that runs or is queued. Context: its loop's thread. */
void weir__fiber_wake(struct weir__fiber *fiber);

/* Lets the others run, and the loop look for events. Context: fiber, suspends. */
void weir__fiber_yield(void);

/* Calls fn(arg) on the loop's own large stack; it must not suspend. On the loop's stack already: a plain call. */
void weir__fiber_call_on_loop(void (*fn)(void *arg), void *arg);

/* For the loop: runs it until it suspends or ends. */
void weir__fiber_resume(struct weir__fiber *fiber);

/* For the loop: gives back the idle stacks of fibers parked since before `before_us`. Returns how many. */
size_t weir__fiber_trim_parked(struct weir__loop *loop, int64_t before_us);

#endif
