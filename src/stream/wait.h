/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_WAIT_H
#define WEIR_STREAM_WAIT_H

#include "base/stall.h"
#include "rt/loop.h"
#include "rt/scope.h"
#include "stream/stream.h"

/*
 * The running fiber waits in `slot`, where whoever has something for it finds and wakes it; meanwhile the clock of its
 * stream is in `state`. Results as of weir__wait(): look again after 0, and after WEIR_ETIMEDOUT too.
 */
static inline int weir__stream_wait(struct weir__fiber **slot, int64_t deadline_us,
                                    enum weir__stall_state state)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct weir__stall *stall = fiber->stall;
    enum weir__stall_state before = state;
    int r;

    if (stall != NULL) {
        before = weir__stall_enter(stall, state, weir__loop_clock_us(fiber->loop));
    }
    *slot = fiber;
    r = weir__wait(deadline_us);
    *slot = NULL;
    if (stall != NULL) {
        weir__stall_enter(stall, before, weir__loop_clock_us(fiber->loop));
    }
    return r;
}

static inline void weir__stream_wake(struct weir__fiber *fiber)
{
    if (fiber != NULL) {
        weir__fiber_wake(fiber);
    }
}

/* For arm(): who is to be woken, in the same kind of slot. */
static inline struct weir__fiber *weir__waker_fiber(struct weir_waker *waker)
{
    return waker != NULL ? waker->fiber : NULL;
}

/* For explain(): a failure that came through from the inner source keeps its story. */
static inline void weir__explain_inner(struct weir_source *inner, struct weir_error *ret)
{
    if (inner->final == ret->code) {
        *ret = weir__fault_error(&inner->fault, inner->final);
    }
}

#endif
