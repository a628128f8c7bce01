/* SPDX-License-Identifier: MIT */
/*
 * The pipe: asks the sink how much is worth bringing, brings that, hands it over. Where the source lends its descriptor
 * and the sink takes one, the bytes stay in the kernel: from a file at once, from anything else through a kernel pipe. It
 * knows no protocol. Invariant: at most one chunk, or one
 * pipe's content, is in its hands.
 */
#include "rt/pipes.h"
#include "stream/stream.h"

#include <weir/rt.h>

#include "rt/relay.h"
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
    struct weir_error cause; /* of the cancel that ended it; code 0: none */
};

/* One piece through a kernel pipe. Returns 1 go on, 0 end of the source, WEIR_EUNSUPPORTED, or an error. */
static int splice_piece(struct transfer *transfer, size_t room)
{
    struct weir_loan loan;
    ssize_t got;
    int r = weir__source_lend(transfer->source, transfer->deadline, &loan);
    int native;

    if (r < 0) {
        return r;
    }
    if (weir__pipes_get(weir__loop_current(), PIPE_BYTES, &transfer->fds) < 0) {
        r = weir__source_repay(transfer->source, 0, 0, false);
        return r == 1 ? WEIR_EUNSUPPORTED : r;
    }
    got = splice(loan.fd, NULL, transfer->fds.write_fd, NULL,
                 loan.max_bytes < room ? loan.max_bytes : room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    native = got < 0 ? errno : 0;
    r = weir__source_repay(transfer->source, got > 0 ? (uint64_t)got : 0,
                           native == EINTR ? 0 : native, got == 0);
    if (got > 0) {
        int sunk = weir__sink_take_fd(transfer->sink, transfer->fds.read_fd, (size_t)got,
                                      transfer->deadline);

        if (sunk < 0) {
            transfer->sink_failed = true;
            weir__pipes_put(weir__loop_current(), &transfer->fds, false);
            return sunk;
        }
        transfer->bytes += (uint64_t)got;
    }
    weir__pipes_put(weir__loop_current(), &transfer->fds, true);
    return r;
}

/* One piece of a file, without a pipe between; results as above. */
static int file_piece(struct transfer *transfer, size_t room)
{
    struct weir_loan loan;
    size_t bytes, taken = 0;
    int r = weir__source_lend_file(transfer->source, transfer->deadline, &loan);
    int sunk;

    if (r < 0) {
        return r;
    }
    bytes = loan.max_bytes < room ? (size_t)loan.max_bytes : room;
    sunk = weir__sink_take_file(transfer->sink, loan.fd, loan.offset, bytes, transfer->deadline,
                                &taken);
    r = weir__source_repay(transfer->source, taken, 0, sunk == 0 && taken == 0);
    if (sunk == WEIR_EUNSUPPORTED) {
        return r == 1 ? sunk : r;
    }
    if (sunk < 0) {
        transfer->sink_failed = true;
        return sunk;
    }
    transfer->bytes += taken;
    return r;
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

static bool is_mere_cancel(const struct weir_error *error)
{
    return error->code == WEIR_ECANCELED && error->reason == WEIR_REASON_CANCELED;
}

/* The fiber is cancelled: perhaps because one side's peer has left, which is then the cause. */
static void cancelled(struct weir__cancel_hook *hook)
{
    struct transfer *transfer = (struct transfer *)((char *)hook - offsetof(struct transfer, hook));

    weir_sink_error(transfer->sink, &transfer->cause);
    if (transfer->cause.code == 0 || is_mere_cancel(&transfer->cause)) {
        weir__source_probe(transfer->source, &transfer->cause);
    }
    if (transfer->cause.code == 0 || is_mere_cancel(&transfer->cause)) {
        transfer->cause = weir__stream_error(WEIR_ECANCELED, WEIR_SIDE_SELF, "pipe");
    }
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
        r = weir__sink_can_take_file(transfer->sink) ? file_piece(transfer, room)
                                                     : WEIR_EUNSUPPORTED;
        if (r == WEIR_EUNSUPPORTED && weir__sink_can_take_fd(transfer->sink)) {
            r = splice_piece(transfer, room);
        }
        if (r == WEIR_EUNSUPPORTED) {
            r = copy_piece(transfer, room);
        }
        if (r <= 0) {
            return r;
        }
        if (++moved % 64 == 0) {
            weir__fiber_yield();
            if (transfer->deadline >= 0 && weir_now() >= transfer->deadline) {
                return WEIR_ETIMEDOUT; /* also when neither side ever makes it wait */
            }
        }
    }
}

WEIR__RELAY_4(int, relay_pipe, weir_pipe, struct weir_source *, struct weir_sink *,
              const struct weir_pipe_opts *, struct weir_pipe_result *)

int weir_pipe(struct weir_source *source, struct weir_sink *sink, const struct weir_pipe_opts *opts,
              struct weir_pipe_result *ret)
{
    if (weir__relay_here != NULL) {
        return relay_pipe(source, sink, opts, ret);
    }

    static const struct weir_pipe_opts defaults;
    struct transfer transfer = {.source = source, .sink = sink, .fds = {-1, -1}, .deadline = -1};
    struct weir_error cause = {0};
    enum weir_reason reason;
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
        if (transfer.cause.code != 0) {
            cause = transfer.cause;
            r = cause.code;
        } else if (transfer.sink_failed) {
            weir_sink_error(sink, &cause);
        } else {
            weir_source_error(source, &cause);
        }
        if (cause.code == 0) {
            cause = (struct weir_error){.code = r,
                                        .side = WEIR_SIDE_SELF,
                                        .reason = r == WEIR_ETIMEDOUT ? WEIR_REASON_TIMEOUT
                                                                      : WEIR_REASON_CANCELED,
                                        .where = "pipe"};
        }
        reason = cause.reason != WEIR_REASON_NONE ? cause.reason : WEIR_REASON_CANCELED;
        /* An error goes forward, a failure of the sink goes back. */
        weir_abort(sink, reason);
        if (!opts->no_cancel) {
            weir_cancel(source, reason);
        }
    }
    if (ret != NULL) {
        *ret = (struct weir_pipe_result){.bytes = transfer.bytes, .cause = cause};
    }
    return r;
}
