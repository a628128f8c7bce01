/* SPDX-License-Identifier: MIT */
/*
 * The memory transport: the script, what the peer sends, and the life of the one request. Steps are carried out by a
 * timer, so they call up from the loop's own stack, as a socket's events do. Invariant: released <= delivered <= sent.
 */
#include "http/memory_peer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/chunk.h"
#include "rt/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LEND_BYTES 32768 /* a pipe holds that much without waiting */
#define HEAD_BYTES 100   /* what a response's head counts as traffic */

uint8_t weir__memory_byte(uint64_t position)
{
    return (uint8_t)((position * 197 + (position >> 9) * 11 + 5) & 0xff);
}

/* ---- the script ---- */

static void arm(struct weir__memory *memory)
{
    if (memory->step_at < memory->step_count && !memory->over) {
        WEIR_IGNORE(
            weir__timer_start(&memory->stream.loop->timers, &memory->timer,
                              memory->begun_us + memory->steps[memory->step_at].at_ms * 1000));
    }
}

static uint64_t arrived(struct weir__memory *memory)
{
    struct weir__memory_result *result = &memory->result;
    uint64_t allowed = memory->opts.receive_window + result->released;

    return memory->opts.receive_window == 0 || allowed > result->sent ? result->sent : allowed;
}

static void note_parked(struct weir__memory *memory)
{
    uint64_t parked = arrived(memory) - memory->result.released;

    if (parked > memory->result.parked_peak) {
        memory->result.parked_peak = parked;
    }
}

static void gone(struct weir__memory *memory, enum weir_reason reason, int native)
{
    weir__memory_note(memory, "gone %s\n", weir_reason_name(reason));
    weir__stream_gone(&memory->stream, reason, native);
}

void weir__memory_gone(struct weir__memory *memory, enum weir_reason reason)
{
    if (!memory->over) {
        gone(memory, reason, 0);
    }
}

static void apply(struct weir__memory *memory, const struct weir__memory_step *step)
{
    switch (step->act) {
    case WEIR__MEMORY_SEND:
        memory->result.sent += step->bytes;
        note_parked(memory);
        break;
    case WEIR__MEMORY_SEND_END:
        memory->in_end = true;
        memory->in_trailers = step->fields;
        break;
    case WEIR__MEMORY_SEND_ERROR:
        memory->in_error = step->code;
        break;
    case WEIR__MEMORY_SEND_HEAD:
        break; /* taken from the script by read_head() */
    case WEIR__MEMORY_STREAM_WINDOW:
    case WEIR__MEMORY_CONN_WINDOW:
    case WEIR__MEMORY_SOCKET:
        weir__memory_out_open(memory, step->act - WEIR__MEMORY_STREAM_WINDOW + WINDOW_STREAM,
                              step->bytes);
        return;
    case WEIR__MEMORY_FIN:
        memory->in_fin |= memory->is_client || !memory->in_end;
        if (!memory->is_client && !memory->opts.half_close) {
            gone(memory, WEIR_REASON_FIN, 0);
        }
        break;
    case WEIR__MEMORY_GONE:
        gone(memory, step->reason, step->code);
        return;
    case WEIR__MEMORY_CALL:
        step->call(step->arg);
        return;
    }
    weir__stream_readable(&memory->stream);
}

static void steps_due(struct weir__timer *timer)
{
    struct weir__memory *memory = weir_list_entry(timer, struct weir__memory, timer);
    int64_t now_us = memory->stream.loop->now_us - memory->begun_us;

    while (!memory->over && memory->step_at < memory->step_count &&
           memory->steps[memory->step_at].at_ms * 1000 <= now_us) {
        struct weir__memory_step step = memory->steps[memory->step_at++];

        apply(memory, &step);
    }
    arm(memory);
}

int weir__memory_script(struct weir__memory *memory, const struct weir__memory_step *steps,
                        size_t count)
{
    struct weir__memory_step *all =
        weir_realloc(memory->steps, (memory->step_count + count) * sizeof(*memory->steps));

    if (all == NULL) {
        return WEIR_ENOMEM;
    }
    memory->steps = all;
    for (size_t i = 0; i < count; i++) {
        size_t at = memory->step_count++;

        /* Equal times keep their order. */
        for (; at > memory->step_at && all[at - 1].at_ms > steps[i].at_ms; at--) {
            all[at] = all[at - 1];
        }
        all[at] = steps[i];
    }
    arm(memory);
    return 0;
}

/* ---- the incoming body ---- */

/* Copies the next bytes of what was sent. */
static void fill(struct weir__memory *memory, uint8_t *bytes, size_t len)
{
    struct weir__memory_result *result = &memory->result;

    while (len > 0) {
        struct weir__memory_step *step = &memory->steps[memory->in_step];
        uint64_t rest = step->bytes - memory->in_offset;
        size_t part = rest < len ? (size_t)rest : len;

        if (step->act != WEIR__MEMORY_SEND || rest == 0) {
            memory->in_step++;
            memory->in_offset = 0;
            continue;
        }
        for (size_t i = 0; i < part; i++) {
            bytes[i] = step->data != NULL ? ((const uint8_t *)step->data)[memory->in_offset + i]
                                          : weir__memory_byte(result->delivered + i);
        }
        memory->in_offset += part;
        result->delivered += part;
        bytes += part;
        len -= part;
    }
}

static void credit(void *owner, size_t bytes);

WEIR__RELAY_VOID_2(relay_credit, credit, void *, size_t)

static void credit(void *owner, size_t bytes)
{
    if (weir__relay_here != NULL) {
        relay_credit(owner, bytes); /* a blocking handler dropped the chunk */
        return;
    }

    struct weir__memory *memory = owner;
    uint64_t before = arrived(memory);

    memory->result.released += bytes;
    if (memory->opts.receive_window > 0 && !memory->over) {
        weir__memory_note(memory, "credit %zu\n", bytes);
        note_parked(memory);
    }
    if (arrived(memory) > before && !memory->over) {
        weir__stream_readable(&memory->stream);
    }
    if (memory->abandoned && memory->result.released == memory->result.delivered) {
        weir__memory_destroy(memory);
    }
}

/* What comes when no byte is there. */
static int read_nothing(struct weir__memory *memory)
{
    struct weir_fields *trailers = memory->in_trailers;

    if (memory->closed) {
        return WEIR_ECANCELED;
    }
    memory->in_end |= memory->result.delivered == memory->in_length;
    if (memory->in_fin && !memory->in_end) {
        return memory->in_length == WEIR_LENGTH_UNTIL_CLOSE ? 0 : WEIR_ETRUNCATED;
    }
    if (memory->result.delivered < memory->result.sent) {
        return WEIR_EAGAIN;
    }
    if (memory->in_error < 0) {
        return memory->in_error;
    }
    if (!memory->in_end) {
        return WEIR_EAGAIN;
    }
    memory->in_trailers = NULL;
    if (trailers != NULL && memory->stream.trailers == NULL) {
        int r = weir_fields_create(&memory->stream.trailers);

        for (size_t i = 0; r == 0 && i < weir_fields_count(trailers); i++) {
            struct weir_field field = weir_fields_at(trailers, i);

            r = weir_fields_add(memory->stream.trailers, field.name, field.value);
        }
        return r;
    }
    return 0;
}

static int read_body(struct weir__stream *stream, size_t max, struct weir_chunk **ret)
{
    struct weir__memory *memory = (struct weir__memory *)stream;
    uint64_t there = arrived(memory) - memory->result.delivered;
    size_t len = there < max ? (size_t)there : max;
    int r;

    weir_assert(!memory->result.cancelled && !memory->over);
    if (len == 0 || memory->closed) {
        return read_nothing(memory);
    }
    if (memory->opts.max_read > 0 && len > memory->opts.max_read) {
        len = memory->opts.max_read;
    }
    r = weir_chunk_create(len, ret);
    if (r < 0) {
        return r;
    }
    if (memory->lent_bytes > 0) {
        /* What an earlier loan left in the pipe comes first. */
        ssize_t got = read(memory->lent[0], weir_chunk_data(*ret),
                           len < memory->lent_bytes ? len : (size_t)memory->lent_bytes);

        weir_assert(got > 0);
        memory->lent_bytes -= (uint64_t)got;
        memory->result.delivered += (uint64_t)got;
        weir__chunk_set_len(*ret, (size_t)got);
    } else {
        fill(memory, weir_chunk_data(*ret), len);
    }
    (*ret)->credit = credit;
    (*ret)->credit_owner = memory;
    (*ret)->credit_bytes = weir_chunk_len(*ret);
    return 1;
}

static int lend(struct weir__stream *stream, struct weir_loan *ret)
{
    struct weir__memory *memory = (struct weir__memory *)stream;
    uint64_t there = arrived(memory) - memory->result.delivered;

    weir_assert(!memory->result.cancelled && !memory->over);
    if (!memory->opts.use_fds || memory->closed) {
        return WEIR_EUNSUPPORTED;
    }
    if (there == 0) {
        return read_nothing(memory) == WEIR_EAGAIN ? WEIR_EAGAIN : WEIR_EUNSUPPORTED;
    }
    if (memory->lent[0] < 0 && pipe2(memory->lent, O_NONBLOCK | O_CLOEXEC) != 0) {
        return WEIR_EUNSUPPORTED;
    }
    if (memory->lent_bytes == 0) {
        uint64_t before = memory->result.delivered;
        size_t left = there < LEND_BYTES ? (size_t)there : LEND_BYTES;

        while (left > 0) {
            uint8_t bytes[1024];
            size_t part = left < sizeof(bytes) ? left : sizeof(bytes);

            fill(memory, bytes, part);
            weir_assert(write(memory->lent[1], bytes, part) == (ssize_t)part);
            memory->lent_bytes += part;
            left -= part;
        }
        memory->result.delivered = before; /* they count when they are taken */
    }
    *ret = (struct weir_loan){.fd = memory->lent[0], .max_bytes = memory->lent_bytes};
    return 0;
}

static int repay(struct weir__stream *stream, uint64_t taken, int native, bool at_eof)
{
    struct weir__memory *memory = (struct weir__memory *)stream;

    weir_assert(taken <= memory->lent_bytes && !at_eof);
    memory->lent_bytes -= taken;
    memory->result.delivered += taken;
    memory->result.released += taken;
    note_parked(memory);
    return native == 0 || native == EAGAIN ? 1 : WEIR_EIO;
}

static void cancel(struct weir__stream *stream, enum weir_reason reason)
{
    struct weir__memory *memory = (struct weir__memory *)stream;

    memory->result.cancelled = true;
    memory->result.cancels++;
    weir__memory_note(memory, "cancel %s\n", weir_reason_name(reason));
}

/* ---- the client role ---- */

static int copy_fields(struct weir_fields *from, struct weir_fields **ret)
{
    int r = weir_fields_create(ret);

    for (size_t i = 0; r == 0 && i < weir_fields_count(from); i++) {
        struct weir_field field = weir_fields_at(from, i);

        r = weir_fields_add(*ret, field.name, field.value);
        if (r < 0) {
            weir_fields_destroy(*ret);
        }
    }
    return r;
}

static int read_head(struct weir__stream *stream, struct weir__response *ret)
{
    struct weir__memory *memory = (struct weir__memory *)stream;
    struct weir__memory_step *step;
    int r;

    if (memory->closed) {
        return WEIR_ECANCELED;
    }
    while (memory->head_step < memory->step_at &&
           memory->steps[memory->head_step].act != WEIR__MEMORY_SEND_HEAD) {
        memory->head_step++;
    }
    if (memory->head_step == memory->step_at) {
        return memory->in_error < 0 ? memory->in_error : memory->in_fin ? 0 : WEIR_EAGAIN;
    }
    step = &memory->steps[memory->head_step];
    r = copy_fields(step->fields, &ret->fields);
    if (r < 0) {
        return r;
    }
    memory->head_step++;
    memory->result.heads++;
    ret->status = step->code;
    ret->reason = weir_str(step->data != NULL ? step->data : "");
    ret->length = step->bytes;
    if (step->code >= 200) {
        memory->in_length = step->bytes;
    }
    return 1;
}

static void leave(struct weir__stream *stream)
{
    struct weir__memory *memory = (struct weir__memory *)stream;

    memory->result.left = true;
    memory->closed = true;
    weir__memory_out_drop(memory);
    weir__memory_note(memory, "leave\n");
}

static void traffic(struct weir__stream *stream, uint64_t *ret_received, uint64_t *ret_sent)
{
    struct weir__memory *memory = (struct weir__memory *)stream;

    *ret_received = memory->result.delivered + memory->result.heads * HEAD_BYTES;
    *ret_sent = memory->result.taken;
}

static const struct weir__proto_ops memory_ops = {
    .name = "memory",
    .begin = weir__memory_begin,
    .inform = weir__memory_inform,
    .room = weir__memory_room,
    .write = weir__memory_write,
    .can_splice = weir__memory_can_splice,
    .can_send_file = weir__memory_can_splice,
    .send_file = weir__memory_send_file,
    .splice = weir__memory_splice,
    .end = weir__memory_end,
    .flush = weir__memory_flush,
    .abort = weir__memory_abort,
    .read = read_body,
    .lend = lend,
    .repay = repay,
    .cancel = cancel,
    .head = read_head,
    .leave = leave,
    .traffic = traffic,
};

/* ---- life ---- */

int weir__memory_create(struct weir__loop *loop, const struct weir__memory_opts *opts,
                        struct weir__memory **ret)
{
    struct weir__memory *memory = weir_alloc0(sizeof(*memory));
    uint8_t *kept = opts->keep > 0 ? weir_alloc(opts->keep) : NULL;
    struct weir__memory_record *record = opts->untraced ? NULL : weir_alloc0(sizeof(*record));

    if (memory == NULL || (opts->keep > 0 && kept == NULL) || (!opts->untraced && record == NULL)) {
        weir_free(memory);
        weir_free(kept);
        weir_free(record);
        weir_fields_destroy(opts->fields);
        return WEIR_ENOMEM;
    }
    memory->opts = *opts;
    memory->kept = kept;
    memory->record = record;
    memory->lent[0] = memory->lent[1] = -1;
    memory->result.pattern = true;
    memory->in_length = WEIR_LENGTH_UNKNOWN;
    memory->begun_us = weir__loop_clock_us(loop);
    weir__timer_init(&memory->timer, steps_due);
    weir__memory_out_init(memory);
    weir__stream_init(&memory->stream, &memory_ops, loop, &memory->opts.limits);
    *ret = memory;
    return 0;
}

static void finish(struct weir__memory *memory)
{
    struct weir__loop *loop = memory->stream.loop;

    memory->over = true;
    weir__timer_remove(&loop->timers, &memory->timer);
    weir__timer_remove(&loop->timers, &memory->turn);
    weir__stream_stall(&memory->stream, &memory->result.stall);
    memory->result.gone = (enum weir_reason)memory->stream.gone;
    weir__memory_out_drop(memory);
    weir__stream_finish(&memory->stream);
    weir__memory_note(memory, "finished\n");
    memory->result.finished = true;
}

void weir__memory_destroy(struct weir__memory *memory)
{
    if (memory == NULL) {
        return;
    }
    if (!memory->over) {
        finish(memory);
    }
    weir_assert(memory->result.released ==
                memory->result.delivered); /* else a chunk would call us later */
    if (memory->lent[0] >= 0) {
        close(memory->lent[0]);
        close(memory->lent[1]);
    }
    weir_fields_destroy(memory->opts.fields);
    weir_free(memory->steps);
    weir_free(memory->kept);
    weir_free(memory->record);
    weir_free(memory);
}

void weir__memory_abandon(struct weir__memory *memory)
{
    if (memory == NULL || memory->result.released == memory->result.delivered) {
        weir__memory_destroy(memory);
        return;
    }
    weir_assert(memory->over);
    memory->abandoned = true;
}

static void req_finished(struct weir_req *req)
{
    finish((struct weir__memory *)req->stream);
}

static struct weir_view peer_text(struct weir_req *req)
{
    const char *peer = ((struct weir__memory *)req->stream)->opts.peer;

    return weir_str(peer != NULL ? peer : "memory:1");
}

static void send_continue(struct weir__stream *stream)
{
    weir__memory_note((struct weir__memory *)stream, "continue\n");
}

int weir__memory_request(struct weir__memory *memory, weir_handler_fn *handler, void *arg)
{
    struct weir__memory_opts *opts = &memory->opts;
    const char *method = opts->method != NULL ? opts->method : "GET";

    struct weir_req req = {
        .stream = &memory->stream,
        .handler = handler,
        .arg = arg,
        .fields = opts->fields,
        .method = weir_str(method),
        .target = weir_str(opts->target != NULL ? opts->target : "/"),
        .authority = weir_str(opts->authority != NULL ? opts->authority : "memory"),
        .body_length = opts->body_length,
        .arrived_us = weir__loop_clock_us(memory->stream.loop),
        .is_head = strcmp(method, "HEAD") == 0,
        .is_http10 = opts->http10,
        .finished = req_finished,
        .peer = peer_text,
    };
    int r;

    memory->in_end |= opts->body_length == 0;
    memory->stream.before_read = opts->expect_continue ? send_continue : NULL;
    r = weir__req_start(&req);
    if (r == 0) {
        opts->fields = NULL; /* the request's from now on */
    }
    return r;
}

struct weir__stream *weir__memory_open(struct weir__memory *memory)
{
    struct weir__stream *stream = &memory->stream;

    memory->is_client = true;
    weir__stall_begin(&stream->clock, WEIR__STALL_WAIT_SOURCE, weir__loop_clock_us(stream->loop));
    return stream;
}

void weir__memory_close(struct weir__memory *memory)
{
    finish(memory);
}

void weir__memory_result(struct weir__memory *memory, struct weir__memory_result *ret)
{
    *ret = memory->result;
    ret->kept = weir_bytes(memory->kept,
                           memory->opts.keep < ret->taken ? memory->opts.keep : (size_t)ret->taken);
}
