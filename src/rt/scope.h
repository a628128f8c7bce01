/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_SCOPE_H
#define WEIR_RT_SCOPE_H

#include <weir/rt.h>

#include "base/list.h"
#include "rt/fiber.h"

/*
 * Cancellation. A scope is a level: once cancelled it stays so. Cancelling it marks its fibers (a wait answers
 * WEIR_ECANCELED: once for the owner of a request's scope, always for children) and calls its hooks: child scopes and
 * upstream exchanges, which are cancelled for good.
 */
struct weir_scope {
    uint32_t magic;
    bool cancelled;
    bool embedded;              /* in a request; not freed by close */
    int result;                 /* the first child's error */
    struct weir_list children;  /* weir__fiber.sibling */
    uint32_t live;              /* children that have not ended */
    struct weir__fiber *owner;  /* sees the cancel once; NULL: nobody */
    struct weir__fiber *joiner; /* waits for live == 0 */
    struct weir_list hooks;     /* weir__cancel_hook.link */
    struct weir_scope *root;    /* the request's, in which it is nested; NULL: none */
    struct weir_list attached;  /* weir__attached.link; in a root */
    struct weir__deferred *deferred;
};

/* Something that is cancelled with a scope, embedded by its owner. cancel() may remove it, must not suspend, and is
 * called at most once. */
struct weir__cancel_hook {
    struct weir_list link; /* weir_scope.hooks */
    void (*cancel)(struct weir__cancel_hook *hook);
};

/*
 * A fiber that serves a stream and is no child of a scope: nobody joins it, and it ends after the stream was destroyed. It
 * may yet be inside what the request owns (its body), so the request waits for it before that goes. Embedded by its owner.
 */
struct weir__attached {
    struct weir_list link; /* weir_scope.attached */
    struct weir_scope *root;
    /* Makes the fiber run home; must not suspend; called at most once, when the request ends. */
    void (*stop)(struct weir__attached *attached);
};

/* Attaches what the running fiber starts to its root, if it has one. */
void weir__scope_attach(struct weir__attached *attached,
                        void (*stop)(struct weir__attached *attached));
/* The last step of such a fiber, but for freeing memory. */
void weir__scope_detach(struct weir__attached *attached);

/* A scope inside another object, owned by the calling fiber and a root; with no owner it is nested in the root of the calling
 * fiber. */
void weir__scope_init(struct weir_scope *scope, struct weir__fiber *owner);
/* Runs what was deferred; no child may be left. */
void weir__scope_finish(struct weir_scope *scope);
/* Cancels and waits for the children. Context: fiber, suspends. */
void weir__scope_stop(struct weir_scope *scope);

/* Hooks into the running fiber's scope; when that is cancelled already, cancel() is called at once. */
void weir__cancel_hook_add(struct weir__cancel_hook *hook,
                           void (*cancel)(struct weir__cancel_hook *hook));
void weir__cancel_hook_remove(struct weir__cancel_hook *hook);

/*
 * A wait that the handler made itself: like weir__fiber_suspend(), but a cancel answers it. Looks at a pending cancel
 * first, having let the loop turn. Returns 0 woken, WEIR_ETIMEDOUT, WEIR_ECANCELED. Context: fiber, suspends.
 */
int weir__wait(int64_t deadline_us);

/* Whether a cancel would answer the next wait; consumes nothing. */
bool weir__wait_is_cancelled(void);

/* Cleanup in between runs shielded: its waits see no cancel. */
void weir__shield_begin(void);
void weir__shield_end(void);

#endif
