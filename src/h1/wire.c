/* SPDX-License-Identifier: MIT */
/* The incoming half of an HTTP/1.1 connection, and its life. The outgoing half is wire_out.c. */
#include "h1/client.h"
#include "h1/wire_out.h"

#include <weir/http.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/chunk.h"
#include "http/fields.h"

#include <errno.h>

#define HEAD_READ_BYTES 16384
#define MAX_TRAILERS 100
#define LEND_BYTES 65536 /* less than that is not worth a pipe */

static void bytes_released(struct weir__account *account)
{
    weir__stream_readable(&weir_list_entry(account, struct weir__h1_wire, account)->stream);
}

static void free_owner(struct weir__account *account)
{
    weir_free(weir_list_entry(account, struct weir__h1_wire, account));
}

static struct weir__loop *loop_of(struct weir__account *account)
{
    return weir_list_entry(account, struct weir__h1_wire, account)->tcp.loop;
}

static const struct weir__account_ops account_ops = {loop_of, bytes_released, free_owner};

void weir__h1_wire_init(struct weir__h1_wire *wire)
{
    weir__h1_out_init(wire);
    weir__account_init(&wire->account, &account_ops);
}

void weir__h1_wire_drop(struct weir__h1_wire *wire)
{
    weir__account_close(&wire->account);
}

void weir__h1_wire_next(struct weir__h1_wire *wire, const struct weir__limits *limits)
{
    weir__stream_init(&wire->stream, &weir__h1_ops, wire->tcp.loop, limits);
    wire->stream.account = &wire->account;
    wire->at.scan = (struct weir__h1_scan){0};
    wire->in_framing = WEIR__H1_NO_BODY;
    wire->in_done = true;
    wire->in_error = 0;
    wire->in_left = 0;
    wire->out_framing = WEIR__H1_NO_BODY;
    wire->out_ended = false;
    wire->chunk_left = 0;
    wire->keep = true;
    wire->received_before = wire->tcp.received;
    wire->sent_before = wire->tcp.sent;
}

void weir__h1_wire_settle(struct weir__h1_wire *wire)
{
    weir__stream_finish(&wire->stream);
    wire->trailer_bytes = weir_chunk_unref(wire->trailer_bytes);
}

void weir__h1_wire_finish(struct weir__h1_wire *wire, bool reset)
{
    weir__h1_out_drop(wire);
    wire->in = weir_chunk_unref(wire->in);
    wire->trailer_bytes = weir_chunk_unref(wire->trailer_bytes);
    if (reset) {
        weir__tcp_reset(&wire->tcp);
    } else {
        weir__tcp_close(&wire->tcp);
    }
}

void weir__h1_wire_expect_body(struct weir__h1_wire *wire, enum weir__h1_framing framing,
                               uint64_t length)
{
    wire->in_framing = (uint8_t)framing;
    wire->in_left = length;
    wire->in_done = framing == WEIR__H1_NO_BODY || (framing == WEIR__H1_LENGTH && length == 0);
    if (framing == WEIR__H1_CHUNKED) {
        weir__h1_chunked_init(&wire->at.decoder);
    }
    if (!wire->in_done) {
        weir__tcp_hold(&wire->tcp);
    }
}

/* A head's first bytes: read where there is room for many, kept where there is room for them. Most heads are small, and
 * ten thousand of them that wait for their second half must not hold 16 KiB each. */
static int fill_first(struct weir__h1_wire *wire)
{
    uint8_t *scratch = wire->tcp.loop->scratch;
    size_t len;
    int r = weir__tcp_read(&wire->tcp, scratch, WEIR__SCRATCH_BYTES, &len);

    if (r != 1) {
        return r;
    }
    r = weir_chunk_copy(weir_bytes(scratch, len), &wire->in);
    return r < 0 ? r : 1;
}

int weir__h1_wire_fill(struct weir__h1_wire *wire, size_t cap)
{
    size_t have = wire->in != NULL ? weir_chunk_len(wire->in) : 0;
    struct weir_chunk *chunk;
    size_t len;
    int r;

    if (have >= cap) {
        return WEIR_ELIMIT;
    }
    if (!(wire->tcp.watch.ready & (WEIR__CAN_READ | WEIR__PEER_GONE))) {
        return WEIR_EAGAIN;
    }
    if (have == 0) {
        return fill_first(wire);
    }
    r = weir__chunk_alloc(
        have + (have < HEAD_READ_BYTES ? HEAD_READ_BYTES - have : HEAD_READ_BYTES), &chunk);
    if (r < 0) {
        return r;
    }
    r = weir__tcp_read(&wire->tcp, weir_chunk_data(chunk) + have, weir_chunk_len(chunk) - have,
                       &len);
    if (r != 1) {
        weir_chunk_unref(chunk);
        return r;
    }
    memcpy(weir_chunk_data(chunk), weir_chunk_data(wire->in), have);
    weir__chunk_set_len(chunk, have + len);
    weir_chunk_unref(wire->in);
    wire->in = chunk;
    return 1;
}

static void rebase(struct weir_view *view, const uint8_t *from, const uint8_t *to)
{
    if (view->data != NULL) {
        view->data = to + (view->data - from);
    }
}

int weir__h1_wire_keep_head(struct weir__h1_wire *wire, struct weir__h1_head *head, size_t len,
                            struct weir_fields **ret)
{
    const uint8_t *from = weir_chunk_data(wire->in);
    const uint8_t *to;
    struct weir_fields *fields;
    int r = weir__fields_create_sized(head->field_count, len, &fields);

    if (r < 0) {
        return r;
    }
    to = weir__fields_keep(fields, weir_bytes(from, len));
    weir_assert(to != NULL);
    for (size_t i = 0; i < head->field_count; i++) {
        fields->items[i] = head->fields[i];
        rebase(&fields->items[i].name, from, to);
        rebase(&fields->items[i].value, from, to);
    }
    fields->count = (uint32_t)head->field_count;
    rebase(&head->method, from, to);
    rebase(&head->target, from, to);
    rebase(&head->host, from, to);
    rebase(&head->reason, from, to);
    if (weir_chunk_len(wire->in) == len) {
        wire->in = weir_chunk_unref(wire->in);
    } else {
        weir__chunk_advance(wire->in, len);
    }
    *ret = fields;
    return 0;
}

/* ---- the incoming body ---- */

/* Up to max bytes of what was read earlier, as a chunk of its own. */
static int take_kept(struct weir__h1_wire *wire, size_t max, struct weir_chunk **ret)
{
    size_t have = weir_chunk_len(wire->in);
    int r;

    if (have <= max) {
        *ret = wire->in;
        wire->in = NULL;
        return 0;
    }
    r = weir_chunk_copy(weir_bytes(weir_chunk_data(wire->in), max), ret);
    if (r == 0) {
        weir__chunk_advance(wire->in, max);
    }
    return r;
}

/* The kernel tells of a reset once: whoever asked before, a write or the look at the peer, has noted it, and what a read
 * sees then only looks like a FIN. After a real one a reset is an EPIPE. Returns 0 or WEIR_ERESET. */
static int check_fin(struct weir__h1_wire *wire)
{
    if (wire->stream.gone != WEIR_REASON_RESET || wire->stream.native != ECONNRESET) {
        return 0;
    }
    wire->tcp.native = ECONNRESET;
    return WEIR_ERESET;
}

/* Raw bytes, kept ones first: 1, 0 at the FIN, WEIR_EAGAIN, or an error. */
static int read_raw(struct weir__h1_wire *wire, size_t max, struct weir_chunk **ret)
{
    struct weir_chunk *chunk;
    size_t len;
    int r;

    if (wire->in != NULL) {
        r = take_kept(wire, max, ret);
        return r == 0 ? 1 : r;
    }
    if (!weir__h1_wire_is_open(wire)) {
        return WEIR_ECANCELED;
    }
    if (!(wire->tcp.watch.ready & (WEIR__CAN_READ | WEIR__PEER_GONE))) {
        return WEIR_EAGAIN;
    }
    r = weir__chunk_alloc(max, &chunk);
    if (r < 0) {
        return r;
    }
    r = weir__tcp_read(&wire->tcp, weir_chunk_data(chunk), max, &len);
    if (r != 1) {
        weir_chunk_unref(chunk);
        return r == 0 ? check_fin(wire) : r;
    }
    weir__chunk_set_len(chunk, len);
    *ret = chunk;
    return 1;
}

/* An error behind payload waits its turn. */
static int fail_later(struct weir__h1_wire *wire, int r, bool has_payload)
{
    wire->in_error = r;
    wire->keep = false;
    return has_payload ? 1 : r;
}

static int read_length(struct weir__h1_wire *wire, size_t max, struct weir_chunk **ret)
{
    int r = read_raw(wire, wire->in_left < max ? (size_t)wire->in_left : max, ret);

    if (r == 0) {
        return WEIR_ETRUNCATED;
    }
    if (r == 1) {
        wire->in_left -= weir_chunk_len(*ret);
        wire->in_done = wire->in_left == 0;
    }
    return r;
}

/* The trailer section has been collected: makes fields of it. */
static int finish_trailers(struct weir__h1_wire *wire)
{
    struct weir_view raw = weir__h1_chunked_trailers(&wire->at.decoder);
    struct weir_fields *fields;
    size_t count = 0;
    size_t lines = 0;
    uint8_t *kept;
    int r;

    if (wire->trailer_bytes == NULL || raw.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < raw.len; i++) {
        lines += raw.data[i] == '\n';
    }
    if (lines > MAX_TRAILERS) {
        return WEIR_EPROTO;
    }
    r = weir__fields_create_sized(lines, raw.len, &fields);
    if (r < 0) {
        return r;
    }
    kept = weir__fields_keep(fields, raw);
    r = kept != NULL
            ? weir__h1_parse_trailers(weir_bytes(kept, raw.len), fields->items, lines, &count)
            : WEIR_ENOMEM;
    fields->count = (uint32_t)count;
    if (r < 0 || count == 0) {
        weir_fields_destroy(fields);
        return r;
    }
    wire->stream.trailers = fields;
    return 0;
}

/* Decodes a batch in place. Returns payload bytes, sets *ret_state as weir__h1_chunked_compact(). */
static size_t decode(struct weir__h1_wire *wire, uint8_t *data, size_t len, size_t *ret_used,
                     int *ret_state)
{
    size_t payload = weir__h1_chunked_compact(&wire->at.decoder, data, len, ret_used, ret_state);

    if (*ret_state == WEIR__H1_TRAILERS) {
        size_t more = 0;
        int r = weir__chunk_alloc(WEIR__H1_TRAILER_BYTES, &wire->trailer_bytes);

        if (r < 0) {
            *ret_state = r;
            return payload;
        }
        weir__h1_chunked_keep_trailers(&wire->at.decoder, weir_chunk_data(wire->trailer_bytes),
                                       WEIR__H1_TRAILER_BYTES);
        /* No payload can follow a trailer section. */
        weir__h1_chunked_compact(&wire->at.decoder, data + *ret_used, len - *ret_used, &more,
                                 ret_state);
        *ret_used += more;
    }
    if (*ret_state == WEIR_ELIMIT && wire->trailer_bytes != NULL) {
        *ret_state = WEIR_EPROTO; /* an oversize trailer section is no oversize body */
    }
    return payload;
}

static int read_chunked(struct weir__h1_wire *wire, size_t max, struct weir_chunk **ret)
{
    for (;;) {
        struct weir_chunk *chunk;
        size_t used = 0;
        size_t payload;
        int state = 0;
        int r = read_raw(wire, max, &chunk);

        if (r <= 0) {
            return r == 0 ? WEIR_ETRUNCATED : r;
        }
        payload = decode(wire, weir_chunk_data(chunk), weir_chunk_len(chunk), &used, &state);
        r = 0;
        if (state == WEIR__H1_DONE) {
            size_t rest = weir_chunk_len(chunk) - used;

            if (rest > 0) {
                struct weir_chunk *behind;

                r = weir_chunk_copy(weir_bytes(weir_chunk_data(chunk) + used, rest), &behind);
                if (r == 0 && wire->in != NULL) {
                    /* More was kept behind this batch: too much to be one request's beginning. */
                    weir_chunk_unref(behind);
                    wire->keep = false;
                } else if (r == 0) {
                    wire->in = behind;
                }
            }
            r = r < 0 ? r : finish_trailers(wire);
            wire->in_done = r == 0;
        } else if (state < 0) {
            r = state;
        }
        if (payload > 0) {
            weir__chunk_set_len(chunk, payload);
            *ret = chunk;
            return r < 0 ? fail_later(wire, r, true) : 1;
        }
        weir_chunk_unref(chunk);
        if (r < 0) {
            return fail_later(wire, r, false);
        }
        if (wire->in_done) {
            return 0;
        }
    }
}

static int read_body(struct weir__stream *stream, size_t max, struct weir_chunk **ret)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;
    int r;

    if (wire->in_error < 0) {
        return wire->in_error;
    }
    if (wire->in_done) {
        return 0;
    }
    if (weir__stream_holds_too_much(stream)) {
        return WEIR_EAGAIN;
    }
    switch (wire->in_framing) {
    case WEIR__H1_LENGTH:
        r = read_length(wire, max, ret);
        break;
    case WEIR__H1_CHUNKED:
        r = read_chunked(wire, max, ret);
        break;
    default:
        r = read_raw(wire, max, ret);
        wire->in_done = r == 0;
        break;
    }
    if (r < 0 && r != WEIR_EAGAIN) {
        wire->keep = false;
        stream->native = wire->tcp.native;
    }
    return r;
}

static int lend(struct weir__stream *stream, struct weir_loan *ret)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;
    bool until_close = wire->in_framing == WEIR__H1_UNTIL_CLOSE;

    if (wire->in != NULL || wire->in_done || wire->in_error < 0 || !weir__h1_wire_is_open(wire) ||
        !(until_close || (wire->in_framing == WEIR__H1_LENGTH && wire->in_left >= LEND_BYTES))) {
        return WEIR_EUNSUPPORTED;
    }
    if (!(wire->tcp.watch.ready & (WEIR__CAN_READ | WEIR__PEER_GONE))) {
        return WEIR_EAGAIN;
    }
    weir__tcp_let_grow(&wire->tcp); /* who borrows moves more than the slow amount */
    *ret = (struct weir_loan){.fd = wire->tcp.watch.fd,
                              .max_bytes = until_close ? UINT64_MAX : wire->in_left};
    return 0;
}

static int repay(struct weir__stream *stream, uint64_t taken, int native, bool at_eof)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;

    wire->tcp.received += taken;
    if (wire->in_framing == WEIR__H1_LENGTH) {
        wire->in_left -= taken;
        wire->in_done = wire->in_left == 0;
    }
    if (native == EAGAIN) {
        wire->tcp.watch.ready &= (uint8_t)~WEIR__CAN_READ;
    } else if (native != 0) {
        wire->keep = false;
        stream->native = native;
        return native == ECONNRESET ? WEIR_ERESET : WEIR_EIO;
    }
    if (at_eof) {
        wire->keep = false;
        if (check_fin(wire) < 0) {
            return WEIR_ERESET;
        }
        if (wire->in_framing == WEIR__H1_LENGTH) {
            return WEIR_ETRUNCATED;
        }
        wire->in_done = true;
        return 0;
    }
    return 1;
}

static void cancel(struct weir__stream *stream, enum weir_reason reason)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;

    (void)reason;
    /* What is left of it would be taken for the next message. A server whose answer has begun reads the rest away
     * afterwards; before that it can still tell the client to send no more. */
    if (!wire->in_done && (wire->is_client || !stream->begun)) {
        wire->keep = false;
    }
}

static void traffic(struct weir__stream *stream, uint64_t *ret_received, uint64_t *ret_sent)
{
    struct weir__h1_wire *wire = (struct weir__h1_wire *)stream;

    *ret_received = wire->tcp.received - wire->received_before;
    *ret_sent = wire->tcp.sent - wire->sent_before;
}

void weir__h1_wire_event(struct weir__h1_wire *wire, uint8_t bits)
{
    enum weir__stall_state cause;

    if (wire->tcp.watch.ready & WEIR__CAN_WRITE) {
        if (wire->pending != NULL || wire->large != NULL || wire->tail != NULL) {
            WEIR_IGNORE(weir__h1_out_flush(&wire->stream, &cause));
        }
        weir__stream_writable(&wire->stream);
    }
    if (bits & WEIR__CAN_READ) {
        weir__stream_readable(&wire->stream);
    }
}

const struct weir__proto_ops weir__h1_ops = {
    .name = "HTTP/1.1",
    .begin = weir__h1_out_begin,
    .inform = weir__h1_out_inform,
    .room = weir__h1_out_room,
    .write = weir__h1_out_write,
    .can_splice = weir__h1_out_can_splice,
    .can_send_file = weir__h1_out_can_send_file,
    .send_file = weir__h1_out_send_file,
    .splice = weir__h1_out_splice,
    .end = weir__h1_out_end,
    .flush = weir__h1_out_flush,
    .abort = weir__h1_out_abort,
    .read = read_body,
    .lend = lend,
    .repay = repay,
    .cancel = cancel,
    .head = weir__h1_client_head,
    .leave = weir__h1_client_leave,
    .traffic = traffic,
};
