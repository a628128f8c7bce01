/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_TIMER_H
#define WEIR_RT_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Timers of one loop, in a heap of absolute microseconds. Made for deadlines that are nearly always taken back:
 * starting a queued timer later, or stopping it, only writes a number; the heap learns of it when the old time comes.
 */
#define WEIR__NEVER INT64_MAX

struct weir__timer {
    int64_t at_us;     /* when it is wanted; WEIR__NEVER: not at all */
    uint32_t position; /* in the heap, from 1; 0 = not queued */
    void (*fire)(struct weir__timer *timer);
};

struct weir__timers {
    struct weir__timer_slot {
        int64_t key_us;
        struct weir__timer *timer;
    } * slots;
    size_t count, capacity;
};

static inline void weir__timer_init(struct weir__timer *timer, void (*fire)(struct weir__timer *))
{
    timer->at_us = WEIR__NEVER;
    timer->position = 0;
    timer->fire = fire;
}

/* Returns 0 or WEIR_ENOMEM (the timer is then not queued). */
int weir__timer_start(struct weir__timers *timers, struct weir__timer *timer, int64_t at_us);

static inline void weir__timer_stop(struct weir__timer *timer)
{
    timer->at_us = WEIR__NEVER;
}

/* Takes it out of the heap for good: before its memory goes. */
void weir__timer_remove(struct weir__timers *timers, struct weir__timer *timer);

/* The time of the next timer that is still wanted, or WEIR__NEVER. Drops stopped ones from the top. */
int64_t weir__timers_next(struct weir__timers *timers);

/* Fires what is due. Returns how many fired. */
size_t weir__timers_run(struct weir__timers *timers, int64_t now_us);

void weir__timers_finish(struct weir__timers *timers);

#endif
