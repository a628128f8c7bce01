/* SPDX-License-Identifier: MIT */
/*
 * Chunks through a callback in several fibers at once. Each piece in flight has a slot, from before it is pulled until its
 * result has been taken, so pieces and results together are never more than the slots. One fiber at a time is inside the
 * source. The reader never waits for a fiber that does not come home: they share the middle by a count.
 */
#include "stream/combinators/combinator.h"

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_DONE };

struct slot {
    enum slot_state state;
    int result;    /* of the callback */
    uint64_t turn; /* ordered: of the pull; else: of the completion; UINT64_MAX: none yet */
    struct weir_chunk *chunk;
};

struct map_par {
    unsigned refs; /* the source, and each fiber */
    unsigned parallel, workers, idle_count;
    bool ordered, pulling, closed, failed;
    int end; /* of the source: WEIR__OPEN, 0, or the error */
    uint64_t turns;
    struct weir_source *inner;
    weir_map_fn *fn;
    void *arg;
    void (*release)(void *arg);
    struct weir__fiber *reader;
    struct weir__held held;
    struct weir_scope scope;        /* of the fibers */
    struct weir__attached attached; /* to the request that reads, while there are fibers */
    struct weir__fiber **idle;      /* behind the slots */
    struct slot slots[];
};

static void unref(struct map_par *par)
{
    if (--par->refs > 0) {
        return;
    }
    weir_source_destroy(par->inner);
    weir__scope_finish(&par->scope);
    if (par->release != NULL) {
        par->release(par->arg);
    }
    weir_free(par);
}

static bool is_over(const struct map_par *par)
{
    return par->closed || par->failed || par->end != WEIR__OPEN;
}

static void wake_idle(struct map_par *par, unsigned count)
{
    while (count-- > 0 && par->idle_count > 0) {
        weir__fiber_wake(par->idle[--par->idle_count]);
    }
}

static struct slot *free_slot(struct map_par *par)
{
    for (unsigned i = 0; i < par->parallel; i++) {
        if (par->slots[i].state == SLOT_FREE) {
            return &par->slots[i];
        }
    }
    return NULL;
}

static int start_worker(struct map_par *par);

/* Another piece may be pulled now, if there is a fiber for it. */
static void let_another(struct map_par *par)
{
    if (is_over(par) || free_slot(par) == NULL) {
        return;
    }
    if (par->idle_count > 0) {
        wake_idle(par, 1);
    } else if (par->workers < par->parallel) {
        WEIR_IGNORE(start_worker(par)); /* fewer then, but one at least */
    }
}

static void end_of_source(struct map_par *par, int r)
{
    if (r < 0 && !weir__is_final(r)) {
        r = WEIR_ENOMEM; /* it could not even wait */
        weir_cancel(par->inner, WEIR_REASON_LIMIT);
    }
    par->end = r;
    wake_idle(par, par->idle_count);
}

static void finish_piece(struct map_par *par, struct slot *slot, int r, struct weir_chunk *mapped)
{
    if (r <= 0 || mapped == NULL) {
        mapped = weir_chunk_unref(mapped);
        r = r > 0 ? WEIR_EINVAL : r;
    }
    slot->state = SLOT_DONE;
    slot->result = r;
    slot->chunk = mapped;
    if (!par->ordered) {
        slot->turn = par->turns++;
    }
    if (r < 0) {
        par->failed = true; /* nothing more is pulled */
        wake_idle(par, par->idle_count);
    }
    weir__stream_wake(par->reader);
}

/* One piece. */
static void work(struct map_par *par, struct slot *slot)
{
    struct weir_chunk *chunk = NULL, *mapped = NULL;
    int r;

    par->pulling = true;
    slot->state = SLOT_TAKEN;
    slot->turn = UINT64_MAX;
    r = weir__next(par->inner, WEIR_CHUNK_BYTES, -1, &chunk);
    par->pulling = false;
    if (r != 1 || par->closed) {
        weir_chunk_unref(chunk);
        slot->state = SLOT_FREE;
        if (!par->closed) {
            end_of_source(par, r);
        }
        weir__stream_wake(par->reader);
        return;
    }
    if (par->ordered) {
        slot->turn = par->turns++;
    }
    let_another(par);
    weir__chunk_keep(&chunk);
    r = par->fn(par->arg, chunk, &mapped);
    weir_chunk_unref(chunk);
    if (par->closed) {
        weir_chunk_unref(mapped);
        slot->state = SLOT_FREE;
    } else {
        finish_piece(par, slot, r, mapped);
    }
}

static void worker_main(void *arg)
{
    struct map_par *par = arg;
    struct weir__fiber *self = weir__fiber_current();

    while (!is_over(par)) {
        struct slot *slot = par->pulling ? NULL : free_slot(par);

        if (slot != NULL) {
            work(par, slot);
        } else {
            par->idle[par->idle_count++] = self;
            weir__fiber_suspend(WEIR__NEVER);
            /* A cancel wakes too: then it is still in the list. */
            for (unsigned i = 0; i < par->idle_count; i++) {
                if (par->idle[i] == self) {
                    par->idle[i] = par->idle[--par->idle_count];
                }
            }
        }
    }
    weir_list_remove(&self->sibling);
    if (--par->workers == 0) {
        weir__scope_detach(&par->attached);
    }
    if (!par->closed) {
        weir__stream_wake(par->reader);
    }
    unref(par);
}

/* The request ends; what it owns must have no fiber inside. */
static void stop(struct weir__attached *attached)
{
    struct map_par *par = weir_list_entry(attached, struct map_par, attached);

    if (par->inner != NULL) {
        weir_cancel(par->inner, WEIR_REASON_ABANDONED);
    }
    if (par->end == WEIR__OPEN) {
        par->end = WEIR_ECANCELED;
    }
    weir_scope_cancel(&par->scope);
}

static int start_worker(struct map_par *par)
{
    struct weir__fiber *fiber;
    int r = weir__fiber_start(weir__loop_current(), worker_main, par, &fiber);

    if (r < 0) {
        return r;
    }
    par->refs++;
    if (par->workers++ == 0) {
        weir__scope_attach(&par->attached, stop);
    }
    fiber->scope = &par->scope;
    weir_list_push_back(&par->scope.children, &fiber->sibling);
    return 0;
}

/* The slot whose result is the next to be delivered, or NULL. */
static struct slot *next_done(struct map_par *par)
{
    struct slot *first = NULL;

    for (unsigned i = 0; i < par->parallel; i++) {
        struct slot *slot = &par->slots[i];

        if (slot->state != SLOT_FREE && slot->turn != UINT64_MAX &&
            (first == NULL || slot->turn < first->turn)) {
            first = slot;
        }
    }
    return first != NULL && first->state == SLOT_DONE ? first : NULL;
}

static bool is_idle(const struct map_par *par)
{
    for (unsigned i = 0; i < par->parallel; i++) {
        if (par->slots[i].state != SLOT_FREE) {
            return false;
        }
    }
    return true;
}

/* What can be said without waiting: 1 with a chunk held, 0 the end, an error, or WEIR_EAGAIN. */
static int take_result(struct map_par *par)
{
    struct slot *slot;

    while ((slot = next_done(par)) != NULL) {
        int r = slot->result;

        par->held.chunk = weir_take(slot->chunk);
        if (r < 0) {
            weir_cancel(par->inner, WEIR_REASON_HANDLER);
            weir_scope_cancel(&par->scope);
            return weir__callback_error(r);
        }
        slot->state = SLOT_FREE;
        let_another(par);
        if (r > 0) {
            return 1;
        }
    }
    /* The end is the end when the fibers are home, too. */
    return par->end != WEIR__OPEN && is_idle(par) && par->workers == 0 ? par->end : WEIR_EAGAIN;
}

static int map_par_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct map_par *par = state;
    int waited = 0;

    if (par->held.chunk != NULL) {
        return weir__held_deliver(&par->held, max_bytes, ret);
    }
    if (par->workers == 0 && !is_over(par)) {
        int r = start_worker(par);

        if (r < 0) {
            return r;
        }
    }
    for (;;) {
        int r;

        if (par->closed || waited == WEIR_ECANCELED) {
            return WEIR_ECANCELED;
        }
        r = take_result(par);
        if (r == 1) {
            return weir__held_deliver(&par->held, max_bytes, ret);
        }
        if (r != WEIR_EAGAIN) {
            return r;
        }
        if (waited < 0 || deadline == 0) {
            return waited < 0 ? waited : WEIR_EAGAIN;
        }
        waited =
            weir__stream_wait(&par->reader, weir__deadline_us(deadline), WEIR__STALL_WAIT_SOURCE);
    }
}

static void map_par_cancel(void *state, enum weir_reason reason)
{
    struct map_par *par = state;

    par->closed = true;
    weir__held_drop(&par->held);
    for (unsigned i = 0; i < par->parallel; i++) {
        par->slots[i].chunk = weir_chunk_unref(par->slots[i].chunk);
    }
    weir_cancel(par->inner, reason);
    weir_scope_cancel(&par->scope);
    weir__stream_wake(par->reader);
}

static void map_par_destroy(void *state)
{
    struct map_par *par = state;

    par->closed = true;
    weir__held_drop(&par->held);
    if (!par->pulling) {
        weir_source_destroy(par->inner);
        par->inner = NULL;
    }
    unref(par);
}

static void map_par_explain(void *state, struct weir_error *ret)
{
    struct map_par *par = state;

    if (par->failed && ret->code != par->end) {
        weir__explain_callback("map_par: callback", ret);
    } else {
        weir__explain_inner(par->inner, ret);
    }
}

static int64_t map_par_arm(void *state, struct weir_waker *waker)
{
    struct map_par *par = state;

    par->reader = weir__waker_fiber(waker); /* the fibers are under way since next() */
    return -1;
}

static const struct weir_source_ops map_par_ops = {
    .name = "map_par",
    .next = map_par_next,
    .cancel = map_par_cancel,
    .destroy = map_par_destroy,
    .explain = map_par_explain,
    .arm = map_par_arm,
};

int weir_map_par_create_take(struct weir_source *given, weir_map_fn *fn, void *arg,
                             const struct weir_map_par_opts *opts, struct weir_source **ret)
{
    static const struct weir_map_par_opts defaults;
    unsigned parallel;
    struct map_par *par;
    int r;

    opts = opts != NULL ? opts : &defaults;
    parallel = opts->parallel != 0 ? opts->parallel : 4;
    if (given == NULL || fn == NULL || parallel > WEIR_PARALLEL_MAX) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    par = weir_alloc0(sizeof(*par) + parallel * (sizeof(par->slots[0]) + sizeof(par->idle[0])));
    if (par == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    par->refs = 1;
    par->parallel = parallel;
    par->ordered = !opts->unordered;
    par->end = WEIR__OPEN;
    par->inner = given;
    par->fn = fn;
    par->arg = arg;
    par->idle = (struct weir__fiber **)(void *)&par->slots[parallel];
    weir__scope_init(&par->scope, NULL);
    r = weir__combinator_create_take(&map_par_ops, par, given->depth, ret);
    if (r == 0) {
        par->release = opts->release; /* only now: a failed call leaves arg to the caller */
    }
    return r;
}
