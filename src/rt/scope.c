/* SPDX-License-Identifier: MIT */
/* Scopes: structured fibers and the way a cancellation travels. Not thread-safe: a scope belongs to its loop. */
#include "rt/scope.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/loop.h"
#include "rt/relay.h"

#define SCOPE_MAGIC 0x73636f70u

struct weir__deferred {
    struct weir__deferred *next;
    void (*fn)(void *arg);
    void *arg;
};

/* A scope opened by a handler, with its place in the parent. */
struct opened_scope {
    struct weir_scope scope;
    struct weir__cancel_hook hook;
};

struct child {
    struct weir_scope *scope;
    weir_fiber_fn *fn;
    void *arg;
};

WEIR__RELAY_0(int64_t, relay_now, weir_now)

int64_t weir_now(void)
{
    if (weir__relay_here != NULL && weir__relay_here->loop->fake_clock) {
        return relay_now(); /* a real clock is the same on every thread */
    }

    struct weir__loop *loop = weir__loop_current();

    return (loop != NULL ? loop->now_us : weir__clock_us(NULL)) / 1000;
}

int64_t weir_after_ms(int64_t duration_ms)
{
    int64_t now = weir_now();

    if (duration_ms <= 0) {
        return now;
    }
    return duration_ms > INT64_MAX - now ? INT64_MAX : now + duration_ms;
}

/* ---- waiting ---- */

bool weir__wait_is_cancelled(void)
{
    struct weir__fiber *fiber = weir__fiber_current();

    return fiber != NULL && fiber->cancel_pending && fiber->shield == 0;
}

static int consume_cancel(struct weir__fiber *fiber)
{
    if (!fiber->cancel_sticky) {
        fiber->cancel_pending = false;
    }
    return WEIR_ECANCELED;
}

int weir__wait(int64_t deadline_us)
{
    struct weir__fiber *fiber = weir__fiber_current();
    int r;

    weir_assert(fiber != NULL);
    if (weir__wait_is_cancelled()) {
        weir__fiber_yield(); /* a handler that ignores the signal still lets the loop turn */
        return consume_cancel(fiber);
    }
    r = weir__fiber_suspend(deadline_us);
    return weir__wait_is_cancelled() ? consume_cancel(fiber) : r;
}

void weir__shield_begin(void)
{
    weir__fiber_current()->shield++;
}

void weir__shield_end(void)
{
    weir__fiber_current()->shield--;
}

WEIR__RELAY_1(int, relay_sleep, weir_sleep, int64_t)

int weir_sleep(int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_sleep(deadline);
    }

    int64_t until_us = weir__deadline_us(deadline);
    int r;

    do {
        r = weir__wait(until_us);
    } while (r == 0);
    return r == WEIR_ETIMEDOUT ? 0 : r;
}

WEIR__RELAY_0(int, relay_yield, weir_yield)

int weir_yield(void)
{
    if (weir__relay_here != NULL) {
        return relay_yield();
    }
    weir__fiber_yield();
    return weir__wait_is_cancelled() ? consume_cancel(weir__fiber_current()) : 0;
}

/* ---- scopes ---- */

static struct weir_scope *root_here(void)
{
    struct weir__fiber *fiber = weir__fiber_current();

    return fiber != NULL && fiber->scope != NULL ? fiber->scope->root : NULL;
}

void weir__scope_init(struct weir_scope *scope, struct weir__fiber *owner)
{
    *scope = (struct weir_scope){.magic = SCOPE_MAGIC,
                                 .embedded = true,
                                 .owner = owner,
                                 .root = owner != NULL ? scope : root_here()};
    weir_list_init(&scope->children);
    weir_list_init(&scope->hooks);
    weir_list_init(&scope->attached);
}

/* ---- fibers that are no children ---- */

void weir__scope_attach(struct weir__attached *attached,
                        void (*stop)(struct weir__attached *attached))
{
    struct weir_scope *root = root_here();

    weir_list_init(&attached->link);
    attached->root = root;
    attached->stop = stop;
    if (root != NULL) {
        weir_list_push_back(&root->attached, &attached->link);
    }
}

void weir__scope_detach(struct weir__attached *attached)
{
    struct weir_scope *root = attached->root;

    weir_list_remove(&attached->link);
    if (root != NULL && root->joiner != NULL) {
        weir__fiber_wake(root->joiner);
    }
}

/* They keep their place in the list until they are home. */
static void stop_attached(struct weir_scope *scope)
{
    for (struct weir_list *link = scope->attached.next; link != &scope->attached;) {
        struct weir__attached *attached = weir_list_entry(link, struct weir__attached, link);

        link = link->next;
        attached->stop(attached);
    }
}

static void run_deferred(struct weir_scope *scope)
{
    while (scope->deferred != NULL) {
        struct weir__deferred *next = scope->deferred->next;
        struct weir__deferred *now = scope->deferred;

        scope->deferred = next;
        now->fn(now->arg);
        weir_free(now);
    }
}

void weir__scope_finish(struct weir_scope *scope)
{
    weir_check(scope, SCOPE_MAGIC);
    weir_assert(scope->live == 0);
    if (scope->deferred != NULL) {
        weir__shield_begin();
        run_deferred(scope);
        weir__shield_end();
    }
    while (!weir_list_is_empty(&scope->hooks)) {
        weir_list_pop_front(&scope->hooks);
    }
    for (struct weir_list *link; (link = weir_list_pop_front(&scope->attached)) != NULL;) {
        weir_list_entry(link, struct weir__attached, link)->root = NULL; /* nobody waited for it */
    }
    if (scope->cancelled && scope->owner != NULL && !scope->owner->cancel_sticky) {
        scope->owner->cancel_pending = false; /* a cancel nobody waited for ends with its scope */
    }
    scope->magic = 0;
}

static void mark(struct weir__fiber *fiber, bool sticky)
{
    fiber->cancel_pending = true;
    fiber->cancel_sticky |= sticky; /* a child may own a request's scope too */
    weir__fiber_wake(fiber);
}

WEIR__RELAY_VOID_1(relay_scope_cancel, weir_scope_cancel, struct weir_scope *)

void weir_scope_cancel(struct weir_scope *scope)
{
    if (weir__relay_here != NULL) {
        relay_scope_cancel(scope);
        return;
    }

    struct weir_list *link;

    weir_check(scope, SCOPE_MAGIC);
    if (scope->cancelled) {
        return;
    }
    scope->cancelled = true;
    if (scope->owner != NULL) {
        mark(scope->owner, false);
    }
    for (link = scope->children.next; link != &scope->children; link = link->next) {
        mark(weir_list_entry(link, struct weir__fiber, sibling), true);
    }
    while ((link = weir_list_pop_front(&scope->hooks)) != NULL) {
        struct weir__cancel_hook *hook = weir_list_entry(link, struct weir__cancel_hook, link);

        hook->cancel(hook);
    }
}

void weir__cancel_hook_add(struct weir__cancel_hook *hook,
                           void (*cancel)(struct weir__cancel_hook *hook))
{
    struct weir__fiber *fiber = weir__fiber_current();

    weir_list_init(&hook->link);
    hook->cancel = cancel;
    if (fiber == NULL || fiber->scope == NULL || fiber->shield > 0) {
        return;
    }
    if (fiber->scope->cancelled) {
        cancel(hook);
        return;
    }
    weir_list_push_back(&fiber->scope->hooks, &hook->link);
}

void weir__cancel_hook_remove(struct weir__cancel_hook *hook)
{
    weir_list_remove(&hook->link);
}

static void parent_cancelled(struct weir__cancel_hook *hook)
{
    weir_scope_cancel(&weir_list_entry(hook, struct opened_scope, hook)->scope);
}

WEIR__RELAY_1(int, relay_scope_open, weir_scope_open, struct weir_scope **)

int weir_scope_open(struct weir_scope **ret)
{
    if (weir__relay_here != NULL) {
        return relay_scope_open(ret);
    }

    struct opened_scope *opened = weir_alloc0(sizeof(*opened));

    if (opened == NULL) {
        return WEIR_ENOMEM;
    }
    weir__scope_init(&opened->scope, NULL);
    opened->scope.embedded = false;
    weir__cancel_hook_add(&opened->hook, parent_cancelled);
    *ret = &opened->scope;
    return 0;
}

static void child_main(void *arg)
{
    struct child *child = arg;
    struct weir_scope *scope = child->scope;
    struct weir__fiber *fiber = weir__fiber_current();
    int r = child->fn(child->arg);

    weir_free(child);
    weir_list_remove(&fiber->sibling);
    scope->live--;
    if (r < 0) {
        if (scope->result == 0) {
            scope->result = r;
        }
        weir_scope_cancel(scope);
    }
    if (scope->live == 0 && scope->joiner != NULL) {
        weir__fiber_wake(scope->joiner);
    }
}

WEIR__RELAY_3(int, relay_scope_spawn, weir_scope_spawn, struct weir_scope *, weir_fiber_fn *,
              void *)

int weir_scope_spawn(struct weir_scope *scope, weir_fiber_fn *fn, void *arg)
{
    if (weir__relay_here != NULL) {
        return relay_scope_spawn(scope, fn, arg);
    }

    struct weir__fiber *fiber;
    struct child *child;
    int r;

    weir_check(scope, SCOPE_MAGIC);
    if (scope->cancelled) {
        return WEIR_ECANCELED;
    }
    child = weir_alloc(sizeof(*child));
    if (child == NULL) {
        return WEIR_ENOMEM;
    }
    *child = (struct child){scope, fn, arg};
    r = weir__fiber_start(weir__loop_current(), child_main, child, &fiber);
    if (r < 0) {
        weir_free(child);
        return r;
    }
    fiber->scope = scope;
    fiber->stall = weir__fiber_current()->stall;
    weir_list_push_back(&scope->children, &fiber->sibling);
    scope->live++;
    return 0;
}

WEIR__RELAY_2(int, relay_scope_join, weir_scope_join, struct weir_scope *, int64_t)

int weir_scope_join(struct weir_scope *scope, int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_scope_join(scope, deadline);
    }

    int r = 0;

    weir_check(scope, SCOPE_MAGIC);
    if (scope->joiner != NULL) {
        return WEIR_EBUSY;
    }
    while (scope->live > 0 && r == 0) {
        scope->joiner = weir__fiber_current();
        r = weir__wait(weir__deadline_us(deadline));
        scope->joiner = NULL;
    }
    if (r == WEIR_ECANCELED) {
        weir_scope_cancel(scope);
    }
    return scope->live == 0 && r != WEIR_ECANCELED ? scope->result : r;
}

void weir__scope_stop(struct weir_scope *scope)
{
    weir_assert(scope->joiner == NULL); /* a fiber that waits in what is about to go */
    weir_scope_cancel(scope);
    stop_attached(scope);
    while (scope->live > 0 || !weir_list_is_empty(&scope->attached)) {
        scope->joiner = weir__fiber_current();
        weir__fiber_suspend(WEIR__NEVER);
        scope->joiner = NULL;
    }
}

WEIR__RELAY_VOID_1(relay_scope_close, weir_scope_close, struct weir_scope *)

void weir_scope_close(struct weir_scope *scope)
{
    if (weir__relay_here != NULL) {
        relay_scope_close(scope);
        return;
    }

    struct opened_scope *opened;

    if (scope == NULL) {
        return;
    }
    weir_check(scope, SCOPE_MAGIC);
    weir_assert(!scope->embedded);
    weir__scope_stop(scope);
    weir__scope_finish(scope);
    opened = weir_list_entry(scope, struct opened_scope, scope);
    weir__cancel_hook_remove(&opened->hook);
    weir_free(opened);
}

typedef void(deferred_fn)(void *arg);

WEIR__RELAY_2(int, relay_scope_defer, weir_scope_defer, deferred_fn *, void *)

int weir_scope_defer(void (*fn)(void *arg), void *arg)
{
    if (weir__relay_here != NULL) {
        return relay_scope_defer(fn, arg);
    }

    struct weir__fiber *fiber = weir__fiber_current();
    struct weir__deferred *deferred;

    weir_assert(fiber != NULL);
    if (fiber->scope == NULL) {
        return WEIR_ESTATE;
    }
    deferred = weir_alloc(sizeof(*deferred));
    if (deferred == NULL) {
        return WEIR_ENOMEM;
    }
    *deferred = (struct weir__deferred){fiber->scope->deferred, fn, arg};
    fiber->scope->deferred = deferred;
    return 0;
}
