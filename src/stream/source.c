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
    struct weir_source *source = NULL;
    bool valid = ops != NULL && ops->next != NULL;

    if (valid) {
        source = weir_alloc(sizeof(*source));
    }
    if (source == NULL) {
        if (ops != NULL && ops->destroy != NULL) {
            ops->destroy(state); /* given means given */
        }
        return valid ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    weir__source_init(source, ops, state);
    source->embedded = false;
    *ret = source;
    return 0;
}

struct weir_error weir__stream_error(int code, enum weir_side side, const char *name)
{
    struct weir_error error = {.code = code, .side = side, .where = name != NULL ? name : "stream"};

    switch (code) {
    case WEIR_ECANCELED:
        error.side = WEIR_SIDE_SELF;
        error.reason = WEIR_REASON_CANCELED;
        break;
    case WEIR_ELIMIT:
    case WEIR_EBUDGET:
        error.side = WEIR_SIDE_SELF;
        error.reason = WEIR_REASON_LIMIT;
        break;
    case WEIR_ENOMEM:
        error.side = WEIR_SIDE_SELF;
        error.reason = WEIR_REASON_LIMIT;
        break;
    case WEIR_ECLOSED:
        error.reason = WEIR_REASON_FIN;
        break;
    case WEIR_EINVAL:
        error.side = WEIR_SIDE_SELF;
        error.reason = WEIR_REASON_HANDLER;
        break;
    case WEIR_ERESET:
    case WEIR_EIO:
        error.reason = WEIR_REASON_RESET;
        break;
    case WEIR_ESTALLED:
        error.reason = WEIR_REASON_STALL;
        break;
    case WEIR_ETRUNCATED:
        error.reason = WEIR_REASON_TRUNCATED;
        break;
    case WEIR_EPROTO:
        error.reason = WEIR_REASON_PROTOCOL;
        break;
    default:
        break;
    }
    return error;
}

struct weir__fault weir__fault_of(const struct weir_error *error)
{
    return (struct weir__fault){
        .native = error->native,
        .side = (uint8_t)error->side,
        .reason = (uint8_t)error->reason,
        .where = error->where,
    };
}

struct weir_error weir__fault_error(const struct weir__fault *fault, int final)
{
    if (final >= 0) {
        return (struct weir_error){0};
    }
    return (struct weir_error){
        .code = final,
        .side = (enum weir_side)fault->side,
        .reason = (enum weir_reason)fault->reason,
        .native = fault->native,
        .where = fault->where,
    };
}

/* What the result of an operation means: a cancel during it wins, an end or a failure stays. */
static int settle(struct weir_source *source, int r)
{
    if (source->final != WEIR__OPEN) {
        return source->final;
    }
    if (r == 0 || weir__is_final(r)) {
        source->final = r;
        if (r < 0) {
            struct weir_error error = weir__stream_error(r, WEIR_SIDE_SOURCE, source->ops->name);

            if (source->ops->explain != NULL) {
                source->ops->explain(source->state, &error);
            }
            source->fault = weir__fault_of(&error);
        }
    }
    return r;
}

static int enter(struct weir_source *source)
{
    weir_check(source, SOURCE_MAGIC);
    if (source->final != WEIR__OPEN) {
        return source->final;
    }
    if (source->busy) {
        return WEIR_EBUSY;
    }
    source->busy = true;
    return 1;
}

int weir__next(struct weir_source *source, size_t max_bytes, int64_t deadline,
               struct weir_chunk **ret)
{
    struct weir_chunk *chunk = NULL;
    int r = enter(source);

    if (r <= 0) {
        return r;
    }
    r = source->ops->next(source->state, max_bytes, deadline, &chunk);
    source->busy = false;
    if (r > 0) {
        size_t len = chunk != NULL ? weir_chunk_len(chunk) : 0;
        bool valid = r == 1 && len > 0 && len <= max_bytes;

        if (valid && source->final == WEIR__OPEN) {
            *ret = chunk;
            return 1;
        }
        weir_chunk_unref(chunk);
        r = valid ? WEIR_ECANCELED : WEIR_EINVAL;
    } else if (r == WEIR_ETIMEDOUT && deadline == 0) {
        r = WEIR_EAGAIN;
    }
    return settle(source, r);
}

static int lend(struct weir_source *source,
                int (*op)(void *state, int64_t deadline, struct weir_loan *ret), int64_t deadline,
                struct weir_loan *ret)
{
    struct weir_loan loan = {.fd = -1};
    int r = enter(source);

    if (r == 0) {
        return WEIR_EUNSUPPORTED; /* ended: next() says so */
    }
    if (r < 0) {
        return r;
    }
    r = op != NULL ? op(source->state, deadline, &loan) : WEIR_EUNSUPPORTED;
    source->busy = false;
    if (r == 0 && source->final != WEIR__OPEN) {
        r = source->ops->repay_fd(source->state, 0, 0, false);
    }
    if (r == WEIR_EUNSUPPORTED && source->final == WEIR__OPEN) {
        return r;
    }
    if (r == 0 && source->final == WEIR__OPEN) {
        *ret = loan;
        return 0;
    }
    if (r == WEIR_ETIMEDOUT && deadline == 0) {
        r = WEIR_EAGAIN;
    }
    return settle(source, r);
}

int weir__source_lend(struct weir_source *source, int64_t deadline, struct weir_loan *ret)
{
    return lend(source, source->ops->lend_fd, deadline, ret);
}

int weir__source_lend_file(struct weir_source *source, int64_t deadline, struct weir_loan *ret)
{
    return lend(source, source->ops->lend_file, deadline, ret);
}

int weir__source_repay(struct weir_source *source, uint64_t taken, int native, bool at_eof)
{
    int r;

    weir_check(source, SOURCE_MAGIC);
    r = source->ops->repay_fd(source->state, taken, native, at_eof);
    return settle(source, r);
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
    if (source->final == WEIR__OPEN) {
        /* At once, also while a fiber waits inside: nothing is delivered after this call. */
        struct weir_error error =
            weir__stream_error(WEIR_ECANCELED, WEIR_SIDE_SELF, source->ops->name);

        error.reason = reason;
        source->final = WEIR_ECANCELED;
        source->fault = weir__fault_of(&error);
    }
    if (source->ops->cancel != NULL) {
        source->ops->cancel(source->state, reason);
    }
}

void weir__source_fail(struct weir_source *source, int code, enum weir_reason reason)
{
    struct weir_error error = weir__stream_error(code, WEIR_SIDE_SELF, source->ops->name);

    weir_check(source, SOURCE_MAGIC);
    if (source->final >= 0 && !source->busy) {
        source->cancelled |= source->final == 0; /* its peer is done, and is told nothing more */
        error.reason = reason;
        source->final = code;
        source->fault = weir__fault_of(&error);
    }
}

void weir__source_probe(struct weir_source *source, struct weir_error *ret)
{
    weir_check(source, SOURCE_MAGIC);
    *ret = weir__fault_error(&source->fault, source->final);
    if (source->final == WEIR__OPEN) {
        *ret = weir__stream_error(WEIR_ECANCELED, WEIR_SIDE_SOURCE, source->ops->name);
        if (source->ops->explain != NULL) {
            source->ops->explain(source->state, ret);
        }
    }
}

void weir_source_error(struct weir_source *source, struct weir_error *ret)
{
    weir_check(source, SOURCE_MAGIC);
    *ret = weir__fault_error(&source->fault, source->final);
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
