/* SPDX-License-Identifier: MIT */
/* The contract of a source, whatever it is made of: one reader, no empty chunk, a sticky end, one cancel. */
#include "stream/stream.h"

#include "base/alloc.h"
#include "base/assert.h"

#define SOURCE_MAGIC 0x73726365u

void weir__source_init(struct weir_source *source, const struct weir_source_ops *ops, void *state)
{
    *source = (struct weir_source){
        .magic = SOURCE_MAGIC, .final = WEIR__OPEN, .embedded = true, .ops = ops, .state = state};
}

int weir_source_create_take(const struct weir_source_ops *ops, void *state,
                            struct weir_source **ret)
{
    struct weir_source *source;

    if (ops == NULL || ops->next == NULL) {
        return WEIR_EINVAL;
    }
    source = weir_alloc(sizeof(*source));
    if (source == NULL) {
        if (ops->destroy != NULL) {
            ops->destroy(state);
        }
        return WEIR_ENOMEM;
    }
    weir__source_init(source, ops, state);
    source->embedded = false;
    *ret = source;
    return 0;
}

static void settle(struct weir_source *source, int r)
{
    source->final = r;
    if (r < 0) {
        source->error =
            (struct weir_error){.code = r, .side = WEIR_SIDE_SOURCE, .where = source->ops->name};
        if (source->ops->explain != NULL) {
            source->ops->explain(source->state, &source->error);
        }
    }
}

int weir__next(struct weir_source *source, size_t max_bytes, int64_t deadline,
               struct weir_chunk **ret)
{
    int r;

    weir_check(source, SOURCE_MAGIC);
    if (source->final != WEIR__OPEN) {
        return source->final;
    }
    if (source->busy) {
        return WEIR_EBUSY;
    }
    source->busy = true;
    r = source->ops->next(source->state, max_bytes, deadline, ret);
    source->busy = false;
    if (source->cancelled && r >= 0) {
        if (r == 1) {
            *ret = weir_chunk_unref(*ret);
        }
        r = WEIR_ECANCELED;
    }
    if (r == 0 || weir__is_final(r)) {
        settle(source, r);
    }
    return r;
}

int weir_next(struct weir_source *source, int64_t deadline, struct weir_chunk **ret)
{
    return weir__next(source, WEIR_CHUNK_BYTES, deadline, ret);
}

void weir_cancel(struct weir_source *source, enum weir_reason reason)
{
    weir_check(source, SOURCE_MAGIC);
    if (source->cancelled || source->final == 0) {
        return;
    }
    source->cancelled = true;
    if (source->ops->cancel != NULL) {
        source->ops->cancel(source->state, reason);
    }
    if (source->final == WEIR__OPEN && !source->busy) {
        source->final = WEIR_ECANCELED;
        source->error = (struct weir_error){.code = WEIR_ECANCELED,
                                            .side = WEIR_SIDE_SELF,
                                            .reason = reason,
                                            .where = source->ops->name};
    }
}

void weir_source_error(struct weir_source *source, struct weir_error *ret)
{
    weir_check(source, SOURCE_MAGIC);
    *ret = source->error;
}

void weir_source_destroy(struct weir_source *source)
{
    bool embedded;

    if (source == NULL) {
        return;
    }
    weir_check(source, SOURCE_MAGIC);
    weir_assert(!source->busy);
    weir_cancel(source, WEIR_REASON_ABANDONED);
    source->magic = 0;
    embedded = source->embedded; /* an embedded one goes with its state */
    if (source->ops->destroy != NULL) {
        source->ops->destroy(source->state);
    }
    if (!embedded) {
        weir_free(source);
    }
}

void weir_source_destroyp(struct weir_source **source)
{
    weir_source_destroy(*source);
    *source = NULL;
}
