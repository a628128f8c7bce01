/* SPDX-License-Identifier: MIT */
/*
 * What leaves an HTTP/1.1 connection: the queue, bodies, and sending. Heads are composed in wire_head.c. Invariant: while
 * `large` or `tail` is there, nothing is appended to `pending`; whoever finds room() at 0 may write one chunk.
 */
#include "h1/wire_out.h"

#include <weir/http.h>

#include "base/assert.h"
#include "bytes/chunk.h"

#define SMALL_BYTES 4096   /* up to so much a write is copied and gathered */
#define GATHER_BYTES 16384 /* so much gathered leaves without waiting for more */

static struct weir__h1_wire *wire_of(struct weir__stream *stream)
{
    return (struct weir__h1_wire *)stream;
}

static void flush_soon(struct weir__flush *flush)
{
    struct weir__h1_wire *wire = weir_list_entry(flush, struct weir__h1_wire, flush);
    enum weir__stall_state cause;

    if (weir__h1_wire_is_open(wire)) {
        WEIR_IGNORE(weir__h1_out_flush(&wire->stream, &cause));
    }
}

void weir__h1_out_init(struct weir__h1_wire *wire)
{
    weir_list_init(&wire->flush.link);
    wire->flush.flush = flush_soon;
}

void weir__h1_out_drop(struct weir__h1_wire *wire)
{
    weir_list_remove(&wire->flush.link);
    wire->pending = weir_chunk_unref(wire->pending);
    wire->large = weir_chunk_unref(wire->large);
    wire->tail = weir_chunk_unref(wire->tail);
    wire->crlf_due = false;
}

/* ---- gathering ---- */

/* `pending` keeps its room in pending_room; its length is what is filled. */
int weir__h1_out_reserve(struct weir__h1_wire *wire, size_t bytes, struct weir__h1_out *ret)
{
    size_t have = wire->pending != NULL ? weir_chunk_len(wire->pending) : 0;

    weir_assert(wire->large == NULL && wire->tail == NULL);
    if (wire->pending == NULL || wire->pending_room < bytes) {
        struct weir_chunk *chunk;
        int r = weir__chunk_alloc(have + bytes, &chunk);

        if (r < 0) {
            return r;
        }
        if (have > 0) {
            memcpy(weir_chunk_data(chunk), weir_chunk_data(wire->pending), have);
        }
        wire->pending_room = (uint32_t)(weir_chunk_len(chunk) - have);
        chunk->len = have;
        weir_chunk_unref(wire->pending);
        wire->pending = chunk;
    }
    *ret = (struct weir__h1_out){.data = weir_chunk_data(wire->pending) + have,
                                 .cap = wire->pending_room};
    return 0;
}

void weir__h1_out_commit(struct weir__h1_wire *wire, const struct weir__h1_out *out)
{
    wire->pending->len += out->len;
    wire->pending_room -= (uint32_t)out->len;
    if (wire->pending->len == 0) {
        wire->pending = weir_chunk_unref(wire->pending);
    } else {
        weir__flush_soon(wire->tcp.loop, &wire->flush);
    }
}

/* The peer takes no more. What it said before that is still to be read, whether epoll has told of it yet or not. */
static int lost(struct weir__h1_wire *wire, int r)
{
    wire->tcp.watch.ready |= WEIR__CAN_READ;
    weir__stream_gone(&wire->stream, WEIR_REASON_RESET, wire->tcp.native);
    return r;
}

/* ---- bodies ---- */

int weir__h1_out_room(struct weir__stream *stream, size_t *ret_room,
                      enum weir__stall_state *ret_cause)
{
    struct weir__h1_wire *wire = wire_of(stream);

    *ret_cause = WEIR__STALL_SOCKET;
    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    if (wire->large != NULL || wire->tail != NULL ||
        (wire->pending != NULL && weir_chunk_len(wire->pending) >= GATHER_BYTES)) {
        int r = weir__h1_out_flush(stream, ret_cause);

        if (r < 0) {
            return r;
        }
    }
    if (weir__tcp_room(&wire->tcp, ret_room) < 0) {
        weir__tcp_arm_writable(&wire->tcp);
        return WEIR_EAGAIN;
    }
    return 0;
}

/* The size line of an HTTP chunk, if one begins here: as large as the emit it belongs to. */
static size_t chunk_head(struct weir__h1_wire *wire, uint64_t size, uint8_t *head)
{
    if (wire->out_framing != WEIR__H1_CHUNKED || wire->chunk_left > 0) {
        return 0;
    }
    wire->chunk_left = size;
    return weir__h1_compose_chunk_head(head, size);
}

/* Whether the HTTP chunk ends with these payload bytes. */
static bool chunk_ends(struct weir__h1_wire *wire, size_t len)
{
    if (wire->out_framing != WEIR__H1_CHUNKED) {
        return false;
    }
    wire->chunk_left -= len;
    return wire->chunk_left == 0;
}

static int queue_small(struct weir__h1_wire *wire, struct weir_view bytes, size_t follows)
{
    uint8_t head[WEIR__H1_CHUNK_HEAD_BYTES];
    struct weir__h1_out out;
    int r = weir__h1_out_reserve(wire, bytes.len + sizeof(head) + 2, &out);

    if (r < 0) {
        return r;
    }
    weir__h1_out_put(&out, head, chunk_head(wire, (uint64_t)bytes.len + follows, head));
    weir__h1_out_put(&out, bytes.data, bytes.len);
    if (chunk_ends(wire, bytes.len)) {
        weir__h1_out_put(&out, "\r\n", 2);
    }
    weir__h1_out_commit(wire, &out);
    return 0;
}

static int queue_large(struct weir__h1_wire *wire, struct weir_chunk *chunk, size_t follows)
{
    uint8_t head[WEIR__H1_CHUNK_HEAD_BYTES];
    size_t len = chunk_head(wire, (uint64_t)weir_chunk_len(chunk) + follows, head);

    if (len > 0) {
        struct weir__h1_out out;
        int r = weir__h1_out_reserve(wire, len, &out);

        if (r < 0) {
            return r;
        }
        weir__h1_out_put(&out, head, len);
        weir__h1_out_commit(wire, &out);
    }
    wire->crlf_due = chunk_ends(wire, weir_chunk_len(chunk));
    wire->large = weir_chunk_ref(chunk);
    wire->large_at = 0;
    return 0;
}

int weir__h1_out_write(struct weir__stream *stream, struct weir_chunk *chunk, size_t follows)
{
    struct weir__h1_wire *wire = wire_of(stream);
    size_t len = weir_chunk_len(chunk);
    enum weir__stall_state cause;
    int r;

    if (!weir__h1_wire_is_open(wire)) {
        r = WEIR_ECANCELED;
    } else if (len <= SMALL_BYTES) {
        r = queue_small(wire, weir_chunk_view(chunk), follows);
    } else {
        r = queue_large(wire, chunk, follows);
    }
    weir_chunk_unref(chunk);
    if (r == 0 && len > SMALL_BYTES) {
        r = weir__h1_out_flush(stream, &cause);
        r = r == WEIR_EAGAIN ? 0 : r;
    }
    return r;
}

bool weir__h1_out_can_splice(struct weir__stream *stream)
{
    struct weir__h1_wire *wire = wire_of(stream);

    return wire->tcp.fast &&
           (wire->out_framing == WEIR__H1_LENGTH || wire->out_framing == WEIR__H1_UNTIL_CLOSE);
}

int weir__h1_out_splice(struct weir__stream *stream, int pipe_fd, size_t bytes, size_t *ret_moved)
{
    struct weir__h1_wire *wire = wire_of(stream);
    enum weir__stall_state cause;
    int r;

    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    r = weir__h1_out_flush(stream, &cause);
    if (r == 0) {
        r = weir__tcp_splice_out(&wire->tcp, pipe_fd, bytes, ret_moved);
        if (r == WEIR_EAGAIN) {
            weir__tcp_note_stall(&wire->tcp);
        } else if (r < 0) {
            r = lost(wire, r);
        }
    }
    return r;
}

/* What begins a body leaves with its head in one packet, so that one is copied; the pages of a file are no memory of ours,
 * so the rest of it goes this way whatever the pace. */
bool weir__h1_out_can_send_file(struct weir__stream *stream)
{
    struct weir__h1_wire *wire = wire_of(stream);

    return wire->pending == NULL &&
           (wire->out_framing == WEIR__H1_LENGTH || wire->out_framing == WEIR__H1_UNTIL_CLOSE);
}

int weir__h1_out_send_file(struct weir__stream *stream, int fd, uint64_t offset, size_t bytes,
                           size_t *ret_moved)
{
    struct weir__h1_wire *wire = wire_of(stream);
    enum weir__stall_state cause;
    int r;

    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    r = weir__h1_out_flush(stream, &cause);
    if (r == 0) {
        r = weir__tcp_sendfile(&wire->tcp, fd, offset, bytes, ret_moved);
        if (r == WEIR_EAGAIN) {
            weir__tcp_note_stall(&wire->tcp);
        } else if (r < 0 && r != WEIR_EUNSUPPORTED) {
            r = lost(wire, r);
        }
    }
    return r;
}

/* The end of a chunked body, into `pending`, or behind a large chunk that has not gone yet. */
static int queue_tail(struct weir__h1_wire *wire, struct weir_fields *trailers)
{
    struct weir__h1_out out = {0};
    size_t bytes = 5 + weir__h1_out_fields_bytes(trailers);
    bool behind = wire->large != NULL;
    int r;

    if (behind) {
        r = weir__chunk_alloc(bytes, &wire->tail);
        if (r == 0) {
            out = (struct weir__h1_out){.data = weir_chunk_data(wire->tail), .cap = bytes};
        }
    } else {
        r = weir__h1_out_reserve(wire, bytes, &out);
    }
    if (r < 0) {
        return r;
    }
    weir__h1_out_put(&out, "0\r\n", 3);
    r = weir__h1_out_put_fields(&out, trailers, NULL);
    if (r < 0) {
        out.len = 3; /* an illegal trailer must not cost the body its end */
        r = 0;
    }
    weir__h1_out_put(&out, "\r\n", 2);
    if (behind) {
        weir__chunk_set_len(wire->tail, out.len);
    } else {
        weir__h1_out_commit(wire, &out);
    }
    return r;
}

int weir__h1_out_end(struct weir__stream *stream, struct weir_fields *trailers)
{
    struct weir__h1_wire *wire = wire_of(stream);
    int r = 0;

    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    if (wire->out_framing == WEIR__H1_CHUNKED) {
        r = queue_tail(wire, trailers);
    }
    wire->out_ended = r == 0;
    return r;
}

/* ---- sending ---- */

static size_t gather(struct weir__h1_wire *wire, struct iovec *iov)
{
    size_t count = 0;

    if (wire->pending != NULL) {
        iov[count++] =
            (struct iovec){weir_chunk_data(wire->pending), weir_chunk_len(wire->pending)};
    }
    if (wire->large != NULL) {
        iov[count++] = (struct iovec){weir_chunk_data(wire->large) + wire->large_at,
                                      weir_chunk_len(wire->large) - wire->large_at};
    }
    if (wire->crlf_due) {
        static char crlf[2] = {'\r', '\n'};

        iov[count++] = (struct iovec){crlf, 2};
    }
    if (wire->tail != NULL) {
        iov[count++] = (struct iovec){weir_chunk_data(wire->tail), weir_chunk_len(wire->tail)};
    }
    return count;
}

static size_t advance_chunk(struct weir_chunk **chunk, size_t sent)
{
    size_t len = *chunk != NULL ? weir_chunk_len(*chunk) : 0;

    if (sent < len) {
        weir__chunk_advance(*chunk, sent);
        return 0;
    }
    *chunk = weir_chunk_unref(*chunk);
    return sent - len;
}

/* What a slow reader left of a large chunk should not pin its whole buffer. */
static void shrink_large(struct weir__h1_wire *wire)
{
    size_t rest = weir_chunk_len(wire->large) - wire->large_at;
    struct weir_chunk *copy;

    if (!wire->tcp.fast && wire->large_at >= rest &&
        weir_chunk_copy(weir_bytes(weir_chunk_data(wire->large) + wire->large_at, rest), &copy) ==
            0) {
        weir_chunk_unref(wire->large);
        wire->large = copy;
        wire->large_at = 0;
    }
}

static void advance(struct weir__h1_wire *wire, size_t sent)
{
    if (wire->pending != NULL) {
        sent = advance_chunk(&wire->pending, sent);
    }
    if (wire->pending == NULL && wire->large != NULL) {
        size_t rest = weir_chunk_len(wire->large) - wire->large_at;

        if (sent < rest) {
            wire->large_at += sent;
            return;
        }
        sent -= rest;
        wire->large = weir_chunk_unref(wire->large);
    }
    if (wire->large == NULL && wire->crlf_due && sent > 0) {
        if (sent == 1) {
            /* Half a CRLF: the rest of it goes first. */
            wire->crlf_due = false;
            if (weir_chunk_copy(weir_bytes("\n", 1), &wire->pending) < 0) {
                wire->tcp.native = 0;
                weir__h1_out_abort(&wire->stream, WEIR_REASON_LIMIT);
            }
            wire->pending_room = 0;
            return;
        }
        wire->crlf_due = false;
        sent -= 2;
    }
    if (wire->tail != NULL && sent > 0) {
        advance_chunk(&wire->tail, sent);
    }
}

int weir__h1_out_flush(struct weir__stream *stream, enum weir__stall_state *ret_cause)
{
    struct weir__h1_wire *wire = wire_of(stream);

    *ret_cause = WEIR__STALL_SOCKET;
    for (;;) {
        struct iovec iov[4];
        size_t sent = 0;
        int count, r;

        if (!weir__h1_wire_is_open(wire)) {
            return WEIR_ECANCELED;
        }
        count = (int)gather(wire, iov);
        if (count == 0) {
            weir_list_remove(&wire->flush.link);
            return 0;
        }
        r = weir__tcp_writev(&wire->tcp, iov, count, &sent);
        if (r < 0) {
            if (r == WEIR_EAGAIN) {
                weir__tcp_note_stall(&wire->tcp);
                if (wire->large != NULL) {
                    shrink_large(wire);
                }
                return r;
            }
            return lost(wire, r);
        }
        advance(wire, sent);
    }
}

void weir__h1_out_abort(struct weir__stream *stream, enum weir_reason reason)
{
    struct weir__h1_wire *wire = wire_of(stream);
    enum weir__stall_state cause;

    (void)reason;
    wire->keep = false;
    if (!weir__h1_wire_is_open(wire)) {
        return;
    }
    if (stream->gone == WEIR_REASON_NONE) {
        /* Bytes that were accepted go first; the missing end makes the abort visible. */
        WEIR_IGNORE(weir__h1_out_flush(stream, &cause));
    }
    weir__h1_out_drop(wire);
    if (wire->is_client && stream->gone == WEIR_REASON_RESET) {
        /* The server takes no more of the request; it may have answered before (RFC 9112 9.5): read that. */
        weir__stream_writable(stream);
        return;
    }
    if (wire->is_client || wire->out_framing == WEIR__H1_UNTIL_CLOSE ||
        wire->out_framing == WEIR__H1_NO_BODY) {
        /* A FIN would be taken for the end, or, behind a request body that nobody reads, not be seen. */
        weir__tcp_reset(&wire->tcp);
    } else {
        weir__tcp_close(&wire->tcp);
    }
    weir__stream_readable(stream);
    weir__stream_writable(stream);
}
