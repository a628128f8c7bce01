/* SPDX-License-Identifier: MIT */
/*
 * Fibers: start, switch, suspend, wake. The loop's stack resumes a fiber and gets control back when it suspends, ends,
 * or asks for a call on the loop's stack. Nothing here knows of sockets or scopes.
 */
#include "rt/fiber.h"

#include <weir/err.h>

#include "base/assert.h"
#include "rt/loop.h"
#include "rt/switch.h"

#include <string.h>

#if defined(WEIR_HAVE_VALGRIND)
#include <valgrind/valgrind.h>
#endif

#define FIBER_MAGIC 0x66696265u

/* Handed to the loop's stack by weir__fiber_call_on_loop(). */
struct loop_call {
    void (*fn)(void *arg);
    void *arg;
};

static uint8_t ended_mark; /* its address says: this fiber has returned */

static uint8_t *top_of(struct weir__fiber *fiber)
{
    uintptr_t at = (uintptr_t)fiber;

    return (uint8_t *)((at | (WEIR__PAGE_BYTES - 1)) + 1);
}

/* ---- what sanitizers and valgrind must be told; inlined, for a return after the switch would be counted on the wrong
 * side ---- */
#define ALWAYS_INLINE inline __attribute__((always_inline))

static void hook_created(struct weir__fiber *fiber)
{
#if WEIR__TSAN
    fiber->tsan_fiber = __tsan_create_fiber(0);
#endif
#if defined(WEIR_HAVE_VALGRIND)
    fiber->valgrind_id = VALGRIND_STACK_REGISTER(top_of(fiber) - WEIR__STACK_BYTES, top_of(fiber));
#endif
    (void)fiber;
}

static void hook_ended(struct weir__fiber *fiber)
{
#if WEIR__TSAN
    __tsan_destroy_fiber(fiber->tsan_fiber);
#endif
#if WEIR__ASAN
    __asan_unpoison_memory_region(top_of(fiber) - WEIR__STACK_BYTES + WEIR__PAGE_BYTES,
                                  WEIR__STACK_BYTES - WEIR__PAGE_BYTES);
#endif
#if defined(WEIR_HAVE_VALGRIND)
    VALGRIND_STACK_DEREGISTER(fiber->valgrind_id);
#endif
    (void)fiber;
}

/* Before a switch into `fiber` from the loop, and after control is back. */
static ALWAYS_INLINE void hook_enter(struct weir__fiber *fiber, void **fake)
{
#if WEIR__ASAN
    __sanitizer_start_switch_fiber(fake, top_of(fiber) - WEIR__STACK_BYTES, WEIR__STACK_BYTES);
#endif
#if WEIR__TSAN
    fiber->loop->tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->tsan_fiber, 0);
#endif
    (void)fiber;
    (void)fake;
}

static ALWAYS_INLINE void hook_entered_back(void *fake)
{
#if WEIR__ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    (void)fake;
}

/* The same from inside: `last` when the fiber will not come back. */
static ALWAYS_INLINE void hook_leave(struct weir__fiber *fiber, bool last)
{
#if WEIR__ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &fiber->asan_fake, fiber->loop->stack_bottom,
                                   fiber->loop->stack_size);
#endif
#if WEIR__TSAN
    __tsan_switch_to_fiber(fiber->loop->tsan_fiber, 0);
#endif
    (void)fiber;
    (void)last;
}

static ALWAYS_INLINE void hook_left_back(struct weir__fiber *fiber, bool first)
{
#if WEIR__ASAN
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(first ? NULL : fiber->asan_fake, &bottom, &size);
    fiber->loop->stack_bottom = bottom;
    fiber->loop->stack_size = size;
#endif
    (void)fiber;
    (void)first;
}

/* ---- the switch ---- */

static void fiber_main(struct weir__transfer from)
{
    struct weir__fiber *fiber = from.data;

    hook_left_back(fiber, true);
    fiber->loop->context = from.context;
    fiber->entry(fiber->arg);
    hook_leave(fiber, true);
    jump_fcontext(fiber->loop->context, &ended_mark);
    __builtin_unreachable();
}

static void *leave(struct weir__fiber *fiber, void *message)
{
    struct weir__transfer back;

    hook_leave(fiber, false);
    back = jump_fcontext(fiber->loop->context, message);
    hook_left_back(fiber, false);
    fiber->loop->context = back.context;
    return back.data;
}

static void retire(struct weir__fiber *fiber)
{
    struct weir__loop *loop = fiber->loop;
    uint8_t *top = top_of(fiber);

    if (fiber->worker != NULL) {
        fiber->worker_destroy(fiber->worker);
    }
    weir__timer_remove(&loop->timers, &fiber->timer);
    weir_list_remove(&fiber->link);
    hook_ended(fiber);
    fiber->magic = 0;
    loop->live_fibers--;
    weir__stacks_put(&loop->stacks, top);
}

void weir__fiber_resume(struct weir__fiber *fiber)
{
    struct weir__loop *loop = fiber->loop;
    void *fake = NULL;

    weir_check(fiber, FIBER_MAGIC);
    for (;;) {
        struct weir__transfer back;
        struct loop_call *call;

        loop->current = fiber;
        hook_enter(fiber, &fake);
        back = jump_fcontext(fiber->context, fiber);
        hook_entered_back(fake);
        loop->current = NULL;
        if (back.data == &ended_mark) {
            retire(fiber);
            return;
        }
        fiber->context = back.context;
        if (back.data == NULL) {
            return;
        }
        call = back.data;
        call->fn(call->arg);
    }
}

static void deadline_passed(struct weir__timer *timer)
{
    struct weir__fiber *fiber = weir_list_entry(timer, struct weir__fiber, timer);

    fiber->timed_out = true;
    weir__fiber_wake(fiber);
}

/* Makes a fiber with `below` bytes between it and its stack. */
static int create(struct weir__loop *loop, size_t below, struct weir__fiber **ret)
{
    uint8_t *top;
    struct weir__fiber *fiber;
    int r = weir__stacks_get(&loop->stacks, &top);

    if (r < 0) {
        return r;
    }
    fiber = (struct weir__fiber *)(void *)(top - ((sizeof(*fiber) + 63) & ~(size_t)63));
    *fiber = (struct weir__fiber){.magic = FIBER_MAGIC, .loop = loop};
    weir__timer_init(&fiber->timer, deadline_passed);
    weir_list_init(&fiber->link);
    weir_list_init(&fiber->sibling);
    fiber->context = make_fcontext((uint8_t *)fiber - below,
                                   WEIR__STACK_BYTES - WEIR__PAGE_BYTES - below - 512, fiber_main);
    hook_created(fiber);
    loop->live_fibers++;
    *ret = fiber;
    return 0;
}

int weir__fiber_start(struct weir__loop *loop, void (*entry)(void *arg), void *arg,
                      struct weir__fiber **ret)
{
    struct weir__fiber *fiber;
    int r = create(loop, 0, &fiber);

    if (r < 0) {
        return r;
    }
    fiber->entry = entry;
    fiber->arg = arg;
    weir__fiber_wake(fiber);
    if (ret != NULL) {
        *ret = fiber;
    }
    return 0;
}

int weir__fiber_start_with(struct weir__loop *loop, void (*entry)(void *arg), const void *block,
                           size_t size)
{
    size_t below = (size + 63) & ~(size_t)63;
    struct weir__fiber *fiber;
    int r;

    weir_assert(size <= 1024);
    r = create(loop, below, &fiber);
    if (r < 0) {
        return r;
    }
    fiber->entry = entry;
    fiber->arg = (uint8_t *)fiber - below;
    memcpy(fiber->arg, block, size);
    weir__fiber_wake(fiber);
    return 0;
}

struct weir__fiber *weir__fiber_current(void)
{
    struct weir__loop *loop = weir__loop_current();

    return loop != NULL ? loop->current : NULL;
}

void weir__fiber_wake(struct weir__fiber *fiber)
{
    weir_check(fiber, FIBER_MAGIC);
    if (fiber->queued || fiber->loop->current == fiber) {
        return;
    }
    fiber->queued = true;
    weir_list_remove(&fiber->link);
    weir_list_push_back(&fiber->loop->ready, &fiber->link);
}

int weir__fiber_suspend(int64_t deadline_us)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct weir__loop *loop;

    weir_assert(fiber != NULL);
    loop = fiber->loop;
    if (deadline_us != WEIR__NEVER) {
        int r = weir__timer_start(&loop->timers, &fiber->timer, deadline_us);

        if (r < 0) {
            return WEIR_ETIMEDOUT; /* no memory for a clock: better to end the wait than to lose it */
        }
    }
    fiber->trimmed = false;
    if (!fiber
             ->queued) { /* else it was woken during a call on the loop's stack, and is in `ready` */
        fiber->parked_at_us = loop->now_us;
        weir_list_push_back(&loop->parked, &fiber->link);
    }
    leave(fiber, NULL);
    weir__timer_stop(&fiber->timer);
    if (fiber->timed_out) {
        fiber->timed_out = false;
        return WEIR_ETIMEDOUT;
    }
    return 0;
}

void weir__fiber_yield(void)
{
    struct weir__fiber *fiber = weir__fiber_current();

    weir_assert(fiber != NULL);
    fiber->queued = true;
    weir_list_remove(&fiber->link);
    weir_list_push_back(&fiber->loop->yielded, &fiber->link);
    leave(fiber, NULL);
}

void weir__fiber_call_on_loop(void (*fn)(void *arg), void *arg)
{
    struct weir__fiber *fiber = weir__fiber_current();
    struct loop_call call = {fn, arg};

    if (fiber == NULL) {
        fn(arg);
        return;
    }
    leave(fiber, &call);
}

size_t weir__fiber_trim_parked(struct weir__loop *loop, int64_t before_us)
{
    size_t trimmed = 0;

    for (;;) {
        struct weir_list *link = loop->parked.next;
        struct weir__fiber *fiber = weir_list_entry(link, struct weir__fiber, link);

        if (link == &loop->parked || fiber->parked_at_us >= before_us) {
            return trimmed;
        }
        weir_list_remove(link);
        weir_list_push_back(&loop->idle, link);
        fiber->trimmed = true;
        trimmed++;
        weir__stack_trim(top_of(fiber), fiber->context);
    }
}
