/* SPDX-License-Identifier: MIT */
/*
 * A fiber that pulls. Two share the middle by a count: the owner, and the fiber once it has started. Invariant: only one of
 * them is inside the source at a time; `chunk` is there if and only if `result` is 1.
 */
#include "stream/combinators/puller.h"

#define NOTHING 2 /* no result is there */

struct weir__puller {
    unsigned refs;
    bool wanted, pulling, closed;
    int result;
    struct weir_source *inner;
    struct weir_chunk *chunk;
    struct weir__fiber *fiber; /* NULL: not started, or over */
    void (*ready)(void *arg);
    void *arg;
    struct weir_scope scope;        /* of the fiber */
    struct weir__attached attached; /* to the request that reads */
};

static void unref(struct weir__puller *puller)
{
    if (--puller->refs == 0) {
        weir_chunk_unref(puller->chunk);
        weir_source_destroy(puller->inner);
        weir_free(puller);
    }
}

static void pull(struct weir__puller *puller)
{
    struct weir_chunk *chunk = NULL;
    int r;

    puller->wanted = false;
    puller->pulling = true;
    r = weir__next(puller->inner, WEIR_CHUNK_BYTES, -1, &chunk);
    puller->pulling = false;
    if (puller->closed) {
        weir_chunk_unref(chunk);
        return;
    }
    if (r < 0 && !weir__is_final(r)) {
        /* No deadline was given: it could not wait (no timer), and trying again would spin. */
        r = WEIR_ENOMEM;
        weir_cancel(puller->inner, WEIR_REASON_LIMIT);
    }
    puller->result = r;
    puller->chunk = chunk;
    puller->ready(puller->arg);
}

static void fiber_main(void *arg)
{
    struct weir__puller *puller = arg;

    while (!puller->closed && (puller->result == NOTHING || puller->result == 1)) {
        if (puller->wanted) {
            pull(puller);
        } else {
            weir__fiber_suspend(WEIR__NEVER);
        }
    }
    weir_list_remove(&puller->fiber->sibling);
    weir__scope_finish(&puller->scope);
    puller->fiber = NULL;
    weir__scope_detach(&puller->attached);
    unref(puller);
}

/* The request ends; what it owns must have no fiber inside. */
static void stop(struct weir__attached *attached)
{
    weir__puller_cancel(weir_list_entry(attached, struct weir__puller, attached),
                        WEIR_REASON_ABANDONED);
}

static int start(struct weir__puller *puller)
{
    int r = weir__fiber_start(weir__loop_current(), fiber_main, puller, &puller->fiber);

    if (r < 0) {
        puller->fiber = NULL;
        return r;
    }
    puller->refs++;
    weir__scope_init(&puller->scope, NULL);
    puller->fiber->scope = &puller->scope;
    weir_list_push_back(&puller->scope.children, &puller->fiber->sibling);
    weir__scope_attach(&puller->attached, stop);
    return 0;
}

int weir__puller_create_take(struct weir_source *given, void (*ready)(void *arg), void *arg,
                             struct weir__puller **ret)
{
    struct weir__puller *puller = weir_alloc0(sizeof(*puller));

    if (puller == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    puller->refs = 1;
    puller->result = NOTHING;
    puller->inner = given;
    puller->ready = ready;
    puller->arg = arg;
    *ret = puller;
    return 0;
}

int weir__puller_result(struct weir__puller *puller, struct weir_chunk **ret)
{
    int r = puller->result;

    if (r == NOTHING) {
        return WEIR_EAGAIN;
    }
    if (r == 1) {
        *ret = weir_take(puller->chunk);
        puller->result = NOTHING;
    }
    return r;
}

int weir__puller_try(struct weir__puller *puller, struct weir_chunk **ret)
{
    int r;

    if (puller->result != NOTHING || puller->pulling || puller->wanted) {
        return weir__puller_result(puller, ret);
    }
    puller->pulling = true;
    r = weir__next(puller->inner, WEIR_CHUNK_BYTES, 0, ret);
    puller->pulling = false;
    if (r == 0 || weir__is_final(r)) {
        puller->result = r;
        if (puller->fiber != NULL) {
            weir__fiber_wake(puller->fiber); /* it has nothing to do any more */
        }
        return r;
    }
    return r == 1 ? 1 : WEIR_EAGAIN;
}

int weir__puller_arm(struct weir__puller *puller)
{
    if (puller->result != NOTHING || puller->pulling || puller->wanted) {
        return 0;
    }
    if (puller->fiber == NULL) {
        int r = start(puller);

        if (r < 0) {
            return r;
        }
    } else {
        weir__fiber_wake(puller->fiber);
    }
    puller->wanted = true;
    return 0;
}

void weir__puller_arm_or_fail(struct weir__puller *puller)
{
    int r = weir__puller_arm(puller);

    if (r < 0) {
        puller->result = r;
        weir_cancel(puller->inner, WEIR_REASON_LIMIT);
        puller->ready(puller->arg);
    }
}

void weir__puller_cancel(struct weir__puller *puller, enum weir_reason reason)
{
    puller->wanted = false;
    if (puller->inner == NULL) {
        return; /* closed, and the fiber is on its way home */
    }
    if (puller->result == 1) {
        puller->chunk = weir_chunk_unref(puller->chunk);
        puller->result = NOTHING;
    }
    weir_cancel(puller->inner, reason);
    if (puller->result == NOTHING && !puller->pulling) {
        puller->result = WEIR_ECANCELED;
    }
    if (puller->fiber != NULL) {
        weir_scope_cancel(&puller->scope);
    }
}

void weir__puller_explain(struct weir__puller *puller, struct weir_error *ret)
{
    weir__explain_inner(puller->inner, ret);
}

void weir__puller_close(struct weir__puller *puller)
{
    if (puller == NULL) {
        return;
    }
    puller->closed = true;
    if (puller->pulling) {
        weir_cancel(puller->inner,
                    WEIR_REASON_ABANDONED); /* the fiber is inside, and takes it along */
    } else {
        weir_source_destroy(puller->inner);
        puller->inner = NULL;
    }
    if (puller->fiber != NULL) {
        weir_scope_cancel(&puller->scope);
    }
    unref(puller);
}
