/* SPDX-License-Identifier: MIT */
/* A TCP socket as a source and as a sink, without any protocol on it. */
#include "net/tcp.h"

#include <weir/rt.h>

#include "bytes/chunk.h"
#include "stream/stream.h"
#include "stream/wait.h"

#include <errno.h>
#include <sys/socket.h>

/* What a caller that must not wait gets instead of a time-out. */
static int no_wait(int64_t deadline, int r)
{
    return r == WEIR_ETIMEDOUT && deadline == 0 ? WEIR_EAGAIN : r;
}

static int source_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct weir__tcp *tcp = state;

    for (;;) {
        struct weir_chunk *chunk;
        size_t len;
        int r;

        if (tcp->watch.fd < 0) {
            return WEIR_ECANCELED;
        }
        r = weir__watch_wait_readable(&tcp->watch, weir__deadline_us(deadline));
        if (r < 0) {
            return no_wait(deadline, r);
        }
        r = weir__chunk_alloc(max_bytes, &chunk);
        if (r < 0) {
            return r;
        }
        r = weir__tcp_read(tcp, weir_chunk_data(chunk), max_bytes, &len);
        if (r == 1) {
            weir__chunk_set_len(chunk, len);
            *ret = chunk;
            return 1;
        }
        weir_chunk_unref(chunk);
        if (r != WEIR_EAGAIN) {
            return r;
        }
    }
}

static void source_cancel(void *state, enum weir_reason reason)
{
    struct weir__tcp *tcp = state;

    (void)reason;
    if (tcp->watch.fd >= 0) {
        shutdown(tcp->watch.fd, SHUT_RD);
    }
}

static void explain(void *state, struct weir_error *ret)
{
    struct weir__tcp *tcp = state;

    ret->native = tcp->native;
    ret->reason = ret->code == WEIR_ERESET ? WEIR_REASON_RESET : ret->reason;
}

static int source_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct weir__tcp *tcp = state;
    int r = weir__watch_wait_readable(&tcp->watch, weir__deadline_us(deadline));

    if (r < 0) {
        return no_wait(deadline, r);
    }
    weir__tcp_let_grow(tcp); /* who borrows moves more than the slow amount */
    *ret = (struct weir_loan){.fd = tcp->watch.fd, .max_bytes = UINT64_MAX};
    return 0;
}

static int source_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct weir__tcp *tcp = state;

    tcp->received += taken;
    if (at_eof) {
        return 0;
    }
    if (native == EAGAIN) {
        tcp->watch.ready &= (uint8_t)~WEIR__CAN_READ;
    } else if (native != 0) {
        tcp->native = native;
        return native == ECONNRESET ? WEIR_ERESET : WEIR_EIO;
    }
    return 1;
}

static int64_t source_arm(void *state, struct weir_waker *waker)
{
    ((struct weir__tcp *)state)->watch.reader = weir__waker_fiber(waker);
    return -1;
}

static const struct weir_source_ops source_ops = {
    .name = "tcp",
    .next = source_next,
    .cancel = source_cancel,
    .explain = explain,
    .lend_fd = source_lend_fd,
    .repay_fd = source_repay_fd,
    .arm = source_arm,
};

static int sink_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct weir__tcp *tcp = state;
    size_t offset = 0;
    size_t len = weir_chunk_len(chunk);
    int r = 0;

    while (offset < len && r == 0) {
        struct iovec iov = {weir_chunk_data(chunk) + offset, len - offset};
        size_t sent = 0;

        r = weir__tcp_writev(tcp, &iov, 1, &sent);
        offset += sent;
        if (r == WEIR_EAGAIN) {
            if (offset == 0 && deadline == 0) {
                r = WEIR_EFLOW;
                break;
            }
            weir__tcp_note_stall(tcp);
            r = weir__watch_wait_writable(&tcp->watch,
                                          weir__deadline_us(deadline == 0 ? -1 : deadline));
        }
    }
    weir_chunk_unref(chunk);
    return r;
}

static int sink_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    return weir__tcp_wait_room(state, weir__deadline_us(deadline), ret_room);
}

static int sink_end(void *state, struct weir_fields *trailers)
{
    struct weir__tcp *tcp = state;

    (void)trailers;
    shutdown(tcp->watch.fd, SHUT_WR);
    return 0;
}

static void sink_abort(void *state, enum weir_reason reason)
{
    (void)reason;
    weir__tcp_reset(state);
}

static bool sink_can_take_fd(void *state)
{
    return ((struct weir__tcp *)state)->fast;
}

static int sink_take_fd(void *state, int pipe_fd, size_t bytes, int64_t deadline)
{
    struct weir__tcp *tcp = state;

    while (bytes > 0) {
        size_t moved = 0;
        int r = weir__tcp_splice_out(tcp, pipe_fd, bytes, &moved);

        bytes -= moved;
        if (r == WEIR_EAGAIN) {
            weir__tcp_note_stall(tcp);
            r = weir__watch_wait_writable(&tcp->watch, weir__deadline_us(deadline));
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int64_t sink_arm(void *state, struct weir_waker *waker)
{
    struct weir__tcp *tcp = state;

    tcp->watch.writer = weir__waker_fiber(waker);
    if (waker != NULL) {
        weir__tcp_arm_writable(tcp);
    }
    return -1;
}

static const struct weir_sink_ops sink_ops = {
    .name = "tcp",
    .emit = sink_emit,
    .wait_writable = sink_wait_writable,
    .end = sink_end,
    .abort = sink_abort,
    .explain = explain,
    .can_take_fd = sink_can_take_fd,
    .take_fd = sink_take_fd,
    .arm = sink_arm,
};

void weir__tcp_source_init(struct weir_source *source, struct weir__tcp *tcp)
{
    weir__source_init(source, &source_ops, tcp);
}

void weir__tcp_sink_init(struct weir_sink *sink, struct weir__tcp *tcp)
{
    weir__sink_init(sink, &sink_ops, tcp);
}
