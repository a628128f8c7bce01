/* SPDX-License-Identifier: MIT */
/* The contract of a source, whatever it is made of: one reader, no empty chunk, a sticky end, one cancel. */
#include "stream/stream.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/fiber.h"
#include "rt/relay.h"

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

/* What a select has pulled comes first, before an end or a failure that was seen since. */
static int deliver_ahead(struct weir_source *source, size_t max_bytes, struct weir_chunk **ret)
{
    struct weir_chunk *ahead = source->ahead;
    struct weir_chunk *first;
    size_t len = weir_chunk_len(ahead);
    int r;

    if (len <= max_bytes) {
        source->ahead = NULL;
        *ret = ahead;
        return 1;
    }
    r = weir_chunk_slice(ahead, 0, max_bytes, &first);
    if (r == 0) {
        r = weir_chunk_slice(ahead, max_bytes, len - max_bytes, &source->ahead);
        if (r < 0) {
            weir_chunk_unref(first);
        }
    }
    if (r < 0) {
        return settle(source, r);
    }
    weir_chunk_unref(ahead);
    *ret = first;
    return 1;
}

void weir__source_drop_ahead(struct weir_source *source)
{
    source->ahead = weir_chunk_unref(source->ahead);
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

WEIR__RELAY_4(int, relay_next, weir__next, struct weir_source *, size_t, int64_t,
              struct weir_chunk **)

int weir__next(struct weir_source *source, size_t max_bytes, int64_t deadline,
               struct weir_chunk **ret)
{
    if (weir__relay_here != NULL) {
        return relay_next(source, max_bytes, deadline, ret);
    }

    struct weir_chunk *chunk = NULL;
    int r = enter(source);

    if (r <= 0) {
        return r;
    }
    if (source->ahead != NULL) {
        source->busy = false;
        return deliver_ahead(source, max_bytes, ret);
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
    if (source->ahead != NULL) {
        source->busy = false;
        return WEIR_EUNSUPPORTED; /* that one first */
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

WEIR__RELAY_VOID_2(relay_cancel, weir_cancel, struct weir_source *, enum weir_reason)

void weir_cancel(struct weir_source *source, enum weir_reason reason)
{
    if (weir__relay_here != NULL) {
        relay_cancel(source, reason);
        return;
    }
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
    weir__source_drop_ahead(source);
    if (source->waker != NULL) {
        weir_wake(source->waker);
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

/* ---- for a select ---- */

void weir_wake(struct weir_waker *waker)
{
    weir__fiber_wake(waker->fiber);
}

int weir__source_poll(struct weir_source *source)
{
    struct weir_chunk *chunk;
    int r;

    weir_check(source, SOURCE_MAGIC);
    if (source->busy) {
        return WEIR_EBUSY;
    }
    if (source->ahead != NULL) {
        return 1;
    }
    r = weir__next(source, WEIR_CHUNK_BYTES, 0, &chunk);
    if (r == 1) {
        source->ahead = chunk;
    }
    return r == WEIR_EAGAIN ? 0 : r == WEIR_EBUSY ? r : 1;
}

int64_t weir_source_arm(struct weir_source *source, struct weir_waker *waker)
{
    weir_check(source, SOURCE_MAGIC);
    if (waker != NULL && (source->ahead != NULL || source->final != WEIR__OPEN)) {
        return 0;
    }
    if (source->ops->arm == NULL) {
        return WEIR_EUNSUPPORTED;
    }
    if (waker == NULL && source->waker == NULL) {
        return -1;
    }
    source->waker = waker;
    source->busy = waker != NULL;
    return source->ops->arm(source->state, waker);
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

WEIR__RELAY_VOID_2(relay_source_error, weir_source_error, struct weir_source *, struct weir_error *)

void weir_source_error(struct weir_source *source, struct weir_error *ret)
{
    if (weir__relay_here != NULL) {
        relay_source_error(source, ret);
        return;
    }
    weir_check(source, SOURCE_MAGIC);
    *ret = weir__fault_error(&source->fault, source->final);
}

WEIR__RELAY_VOID_1(relay_source_destroy, weir_source_destroy, struct weir_source *)

void weir_source_destroy(struct weir_source *source)
{
    if (weir__relay_here != NULL) {
        relay_source_destroy(source);
        return;
    }

    bool embedded;

    if (source == NULL) {
        return;
    }
    weir_check(source, SOURCE_MAGIC);
    weir_assert(!source->busy);
    weir_cancel(source, WEIR_REASON_ABANDONED);
    weir__source_drop_ahead(source);
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
