/* SPDX-License-Identifier: MIT */
/*
 * The pipe: asks the sink how much is worth bringing, brings that, hands it over. Where the source lends its descriptor
 * and the sink takes one, the bytes stay in the kernel; it knows no protocol. Invariant: at most one chunk, or one
 * pipe's content, is in its hands.
 */
#include "rt/pipes.h"
#include "stream/stream.h"

#include <weir/rt.h>

#include "rt/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>

#define PIPE_BYTES ((size_t)512 << 10)

struct transfer {
    struct weir_source *source;
    struct weir_sink *sink;
    int64_t deadline;
    struct weir__pipe_fds fds;
    uint64_t bytes;
    bool sink_failed;
    struct weir__cancel_hook hook;
};

/* Whether the bytes may go through the kernel now. */
static bool can_splice(struct transfer *transfer)
{
    return transfer->source->ops->lend_fd != NULL && transfer->sink->ops->can_take_fd != NULL &&
           transfer->sink->ops->can_take_fd(transfer->sink->state);
}

static int settle_source(struct weir_source *source, int r)
{
    if (source->cancelled && r >= 0) {
        r = WEIR_ECANCELED;
    }
    if (r == 0 || weir__is_final(r)) {
        source->final = r;
        if (r < 0) {
            source->error = (struct weir_error){
                .code = r, .side = WEIR_SIDE_SOURCE, .where = source->ops->name};
            if (source->ops->explain != NULL) {
                source->ops->explain(source->state, &source->error);
            }
        }
    }
    return r;
}

/* One piece through a kernel pipe. Returns 1 go on, 0 end of the source, WEIR_EUNSUPPORTED, or an error. */
static int splice_piece(struct transfer *transfer, size_t room)
{
    struct weir_source *source = transfer->source;
    struct weir_sink *sink = transfer->sink;
    struct weir_loan loan;
    ssize_t got;
    int r, native;

    if (source->final != WEIR__OPEN) {
        return source->final;
    }
    source->busy = true;
    r = source->ops->lend_fd(source->state, transfer->deadline, &loan);
    source->busy = false;
    if (r < 0) {
        return r == WEIR_EUNSUPPORTED ? r : settle_source(source, r);
    }
    if (weir__pipes_get(weir__loop_current(), PIPE_BYTES, &transfer->fds) < 0) {
        r = source->ops->repay_fd(source->state, 0, 0, false);
        return r == 1 ? WEIR_EUNSUPPORTED : settle_source(source, r);
    }
    got = splice(loan.fd, NULL, transfer->fds.write_fd, NULL,
                 loan.max_bytes < room ? loan.max_bytes : room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    native = got < 0 ? errno : 0;
    r = source->ops->repay_fd(source->state, got > 0 ? (uint64_t)got : 0,
                              native == EINTR ? 0 : native, got == 0);
    if (got > 0) {
        int sunk;

        sink->busy = true;
        sunk =
            sink->ops->take_fd(sink->state, transfer->fds.read_fd, (size_t)got, transfer->deadline);
        sink->busy = false;
        if (sink->final != WEIR__OPEN) {
            sunk = sink->final;
        } else if (sunk < 0) {
            sink->final = sunk;
            sink->error =
                (struct weir_error){.code = sunk, .side = WEIR_SIDE_SINK, .where = sink->ops->name};
            if (sink->ops->explain != NULL) {
                sink->ops->explain(sink->state, &sink->error);
            }
        }
        if (sunk < 0) {
            transfer->sink_failed = true;
            weir__pipes_put(weir__loop_current(), &transfer->fds, false);
            return sunk;
        }
        transfer->bytes += (uint64_t)got;
    }
    weir__pipes_put(weir__loop_current(), &transfer->fds, true);
    return settle_source(source, r);
}

/* One chunk through user space; results as above. */
static int copy_piece(struct transfer *transfer, size_t room)
{
    struct weir_chunk *chunk;
    size_t len;
    int r = weir__next(transfer->source, room, transfer->deadline, &chunk);

    if (r <= 0) {
        return r;
    }
    len = weir_chunk_len(chunk);
    r = weir_emit_take(transfer->sink, chunk, transfer->deadline);
    if (r < 0) {
        transfer->sink_failed = true;
        return r;
    }
    transfer->bytes += len;
    return 1;
}

static void cancelled(struct weir__cancel_hook *hook)
{
    struct transfer *transfer = (struct transfer *)((char *)hook - offsetof(struct transfer, hook));

    weir_cancel(transfer->source, WEIR_REASON_CANCELED);
    weir_abort(transfer->sink, WEIR_REASON_CANCELED);
}

static int move_all(struct transfer *transfer)
{
    unsigned moved = 0;

    for (;;) {
        size_t room;
        int r;

        if (weir__wait_is_cancelled()) {
            return WEIR_ECANCELED;
        }
        r = weir__wait_writable(transfer->sink, transfer->deadline, &room);
        if (r < 0) {
            transfer->sink_failed = true;
            return r;
        }
        r = can_splice(transfer) ? splice_piece(transfer, room) : WEIR_EUNSUPPORTED;
        if (r == WEIR_EUNSUPPORTED) {
            r = copy_piece(transfer, room);
        }
        if (r <= 0) {
            return r;
        }
        if (++moved % 64 == 0) {
            weir__fiber_yield();
        }
    }
}

int weir_pipe(struct weir_source *source, struct weir_sink *sink, const struct weir_pipe_opts *opts,
              struct weir_pipe_result *ret)
{
    static const struct weir_pipe_opts defaults;
    struct transfer transfer = {.source = source, .sink = sink, .fds = {-1, -1}, .deadline = -1};
    struct weir_error cause = {0};
    int r;

    opts = opts != NULL ? opts : &defaults;
    if (opts->deadline > 0) {
        transfer.deadline = opts->deadline;
    }
    weir__cancel_hook_add(&transfer.hook, cancelled);
    r = move_all(&transfer);
    if (r == 0 && !opts->keep_sink_open) {
        r = weir_end(sink, NULL);
        transfer.sink_failed = r < 0;
    }
    weir__cancel_hook_remove(&transfer.hook);
    if (r < 0) {
        if (transfer.sink_failed) {
            weir_sink_error(sink, &cause);
        } else {
            weir_source_error(source, &cause);
        }
        if (cause.code == 0) {
            cause = (struct weir_error){
                .code = r, .side = WEIR_SIDE_SELF, .reason = WEIR_REASON_CANCELED, .where = "pipe"};
        }
        /* An error goes forward, a failure of the sink goes back. */
        weir_abort(sink, WEIR_REASON_CANCELED);
        if (!opts->no_cancel) {
            weir_cancel(source, WEIR_REASON_CANCELED);
        }
    }
    if (ret != NULL) {
        *ret = (struct weir_pipe_result){.bytes = transfer.bytes, .cause = cause};
    }
    return r;
}
