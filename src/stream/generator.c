/* SPDX-License-Identifier: MIT */
/*
 * A source fed by a fiber of its own, through a channel. Two halves share the middle by a count: the source, and the fiber
 * once it has started. The source never waits for the fiber: it cancels the fiber's scope and leaves.
 */
#include <weir/sources.h>

#include "base/alloc.h"
#include "rt/loop.h"
#include "rt/scope.h"
#include "stream/channel.h"
#include "stream/stream.h"
#include "stream/wait.h"

struct generator {
    unsigned refs;
    bool started, running;
    struct weir_source *inner;
    struct weir_sink *out;
    weir_generator_fn *fn;
    void *arg;
    void (*release)(void *arg);
    struct weir_scope scope;        /* the fiber's own, while it runs */
    struct weir__cancel_hook hook;  /* in the scope of the fiber that asked first */
    struct weir__attached attached; /* to the request of that fiber */
};

static void unref(struct generator *generator)
{
    if (--generator->refs > 0) {
        return;
    }
    weir_sink_destroy(generator->out);
    if (generator->release != NULL) {
        generator->release(generator->arg);
    }
    weir_free(generator);
}

static void fiber_main(void *state)
{
    struct generator *generator = state;
    int r = generator->fn(generator->out, generator->arg);

    if (r < 0) {
        weir__channel_fail(generator->out, weir__is_final(r) ? r : WEIR_ERESET,
                           WEIR_REASON_HANDLER);
    } else {
        weir_abort(generator->out, WEIR_REASON_ABANDONED); /* nothing after a clean end */
    }
    weir_list_remove(&weir__fiber_current()->sibling);
    weir__scope_finish(&generator->scope);
    generator->running = false;
    weir__scope_detach(&generator->attached);
    unref(generator);
}

static void cancel_fiber(struct generator *generator)
{
    if (generator->running) {
        weir_scope_cancel(&generator->scope);
    }
}

static void asker_cancelled(struct weir__cancel_hook *hook)
{
    cancel_fiber(weir_list_entry(hook, struct generator, hook));
}

/* The request ends: what the callback works on may be its. */
static void stop(struct weir__attached *attached)
{
    cancel_fiber(weir_list_entry(attached, struct generator, attached));
}

static int start(struct generator *generator)
{
    struct weir__fiber *fiber;
    int r = weir__fiber_start(weir__loop_current(), fiber_main, generator, &fiber);

    if (r < 0) {
        return r;
    }
    generator->started = true;
    generator->running = true;
    generator->refs++;
    weir__scope_init(&generator->scope, NULL);
    fiber->scope = &generator->scope;
    weir_list_push_back(&generator->scope.children, &fiber->sibling);
    weir__cancel_hook_add(&generator->hook, asker_cancelled);
    weir__scope_attach(&generator->attached, stop);
    return 0;
}

static int generator_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct generator *generator = state;

    if (!generator->started) {
        int r = start(generator);

        if (r < 0) {
            return r;
        }
    }
    return weir__next(generator->inner, max_bytes, deadline, ret);
}

static void generator_cancel(void *state, enum weir_reason reason)
{
    struct generator *generator = state;

    weir_cancel(generator->inner, reason);
    cancel_fiber(generator);
}

static void generator_destroy(void *state)
{
    struct generator *generator = state;

    weir__cancel_hook_remove(&generator->hook);
    weir_source_destroy(generator->inner);
    generator->inner = NULL;
    unref(generator);
}

static void generator_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(((struct generator *)state)->inner, ret);
}

static int64_t generator_arm(void *state, struct weir_waker *waker)
{
    return weir_source_arm(((struct generator *)state)->inner, waker);
}

static const struct weir_source_ops generator_ops = {
    .name = "generator",
    .next = generator_next,
    .cancel = generator_cancel,
    .destroy = generator_destroy,
    .explain = generator_explain,
    .arm = generator_arm,
};

int weir_source_from_fiber(weir_generator_fn *fn, void *arg, const struct weir_generator_opts *opts,
                           struct weir_source **ret)
{
    static const struct weir_generator_opts defaults;
    struct generator *generator;
    int r;

    opts = opts != NULL ? opts : &defaults;
    if (fn == NULL) {
        return WEIR_EINVAL;
    }
    generator = weir_alloc0(sizeof(*generator));
    if (generator == NULL) {
        return WEIR_ENOMEM;
    }
    *generator = (struct generator){.refs = 1, .fn = fn, .arg = arg};
    weir_list_init(&generator->hook.link);
    r = weir_channel_pair(opts->window_bytes, &generator->out, &generator->inner);
    if (r < 0) {
        weir_free(generator);
        return r;
    }
    r = weir_source_create_take(&generator_ops, generator, ret);
    if (r == 0) {
        generator->release = opts->release; /* only now: a failed call leaves arg to the caller */
    }
    return r;
}
