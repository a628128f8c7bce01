/* SPDX-License-Identifier: MIT */
/* A binary heap with lazy moves. Invariant: slots[t->position - 1].timer == t, and its key is <= t->at_us. */
#include "rt/timer.h"

#include <weir/err.h>

#include "base/alloc.h"
#include "base/assert.h"

static void place(struct weir__timers *timers, size_t at, struct weir__timer_slot slot)
{
    timers->slots[at] = slot;
    slot.timer->position = (uint32_t)at + 1;
}

static void sift_up(struct weir__timers *timers, size_t at)
{
    struct weir__timer_slot moving = timers->slots[at];

    while (at > 0) {
        size_t parent = (at - 1) / 2;

        if (timers->slots[parent].key_us <= moving.key_us) {
            break;
        }
        place(timers, at, timers->slots[parent]);
        at = parent;
    }
    place(timers, at, moving);
}

static void sift_down(struct weir__timers *timers, size_t at)
{
    struct weir__timer_slot moving = timers->slots[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= timers->count) {
            break;
        }
        if (child + 1 < timers->count &&
            timers->slots[child + 1].key_us < timers->slots[child].key_us) {
            child++;
        }
        if (timers->slots[child].key_us >= moving.key_us) {
            break;
        }
        place(timers, at, timers->slots[child]);
        at = child;
    }
    place(timers, at, moving);
}

int weir__timer_start(struct weir__timers *timers, struct weir__timer *timer, int64_t at_us)
{
    if (timer->position != 0) {
        size_t at = timer->position - 1;

        timer->at_us = at_us;
        if (at_us < timers->slots[at].key_us) {
            timers->slots[at].key_us = at_us;
            sift_up(timers, at);
        }
        return 0;
    }
    if (timers->count == timers->capacity) {
        size_t capacity = timers->capacity == 0 ? 64 : timers->capacity * 2;
        struct weir__timer_slot *slots = weir_realloc(timers->slots, capacity * sizeof(*slots));

        if (slots == NULL) {
            return WEIR_ENOMEM;
        }
        timers->slots = slots;
        timers->capacity = capacity;
    }
    timer->at_us = at_us;
    timers->count++;
    place(timers, timers->count - 1, (struct weir__timer_slot){at_us, timer});
    sift_up(timers, timers->count - 1);
    return 0;
}

void weir__timer_remove(struct weir__timers *timers, struct weir__timer *timer)
{
    size_t at;

    timer->at_us = WEIR__NEVER;
    if (timer->position == 0) {
        return;
    }
    at = timer->position - 1;
    weir_assert(at < timers->count && timers->slots[at].timer == timer);
    timer->position = 0;
    timers->count--;
    if (at < timers->count) {
        place(timers, at, timers->slots[timers->count]);
        sift_up(timers, at);
        sift_down(timers, timers->slots[at].timer->position - 1);
    }
}

/* Brings the top up to date with what its timer wants by now; false when the heap is empty. */
static bool settle_top(struct weir__timers *timers)
{
    while (timers->count > 0) {
        struct weir__timer_slot *top = &timers->slots[0];

        if (top->timer->at_us == top->key_us) {
            return true;
        }
        if (top->timer->at_us == WEIR__NEVER) {
            weir__timer_remove(timers, top->timer);
        } else {
            top->key_us = top->timer->at_us;
            sift_down(timers, 0);
        }
    }
    return false;
}

int64_t weir__timers_next(struct weir__timers *timers)
{
    return settle_top(timers) ? timers->slots[0].key_us : WEIR__NEVER;
}

size_t weir__timers_run(struct weir__timers *timers, int64_t now_us)
{
    size_t fired = 0;

    while (timers->count > 0 && timers->slots[0].key_us <= now_us && settle_top(timers) &&
           timers->slots[0].key_us <= now_us) {
        struct weir__timer *timer = timers->slots[0].timer;

        weir__timer_remove(timers, timer);
        timer->fire(timer);
        fired++;
    }
    return fired;
}

void weir__timers_finish(struct weir__timers *timers)
{
    weir_free(timers->slots);
    *timers = (struct weir__timers){0};
}
