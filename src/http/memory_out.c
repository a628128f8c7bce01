/* SPDX-License-Identifier: MIT */
/*
 * The memory transport's outgoing half: what was accepted waits in a queue until the peer's three windows have room for
 * it, and is compared with the pattern as it is taken. Nothing is taken behind an abort.
 */
#include "http/memory_peer.h"

#include "base/alloc.h"
#include "bytes/chunk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static struct weir__memory *memory_of(struct weir__stream *stream)
{
    return (struct weir__memory *)stream;
}

/* ---- the record ---- */

static void append(struct weir__memory *memory, const char *format, va_list args)
{
    struct weir__memory_record *record = memory->record;
    size_t room;
    int len;

    if (record == NULL) {
        return;
    }
    room = sizeof(record->trace) - record->len;
    len = vsnprintf(record->trace + record->len, room, format, args);
    if (len > 0) {
        record->len += (size_t)len < room ? (size_t)len : room - 1;
    }
}

static void append_line(struct weir__memory *memory, const char *format, ...) WEIR_PRINTF(2, 3);
static void append_line(struct weir__memory *memory, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    append(memory, format, args);
    va_end(args);
}

static void append_time(struct weir__memory *memory, int64_t at_us)
{
    int64_t us = at_us - memory->begun_us;

    if (us % 1000 == 0) {
        append_line(memory, "%lld ", (long long)(us / 1000));
    } else {
        append_line(memory, "%lld.%03lld ", (long long)(us / 1000), (long long)(us % 1000));
    }
}

static void settle_body_line(struct weir__memory *memory)
{
    if (memory->body_line > 0) {
        append_time(memory, memory->body_line_us);
        append_line(memory, "body %llu\n", (unsigned long long)memory->body_line);
        memory->body_line = 0;
    }
}

void weir__memory_note(struct weir__memory *memory, const char *format, ...)
{
    va_list args;

    settle_body_line(memory);
    append_time(memory, weir__loop_clock_us(memory->stream.loop));
    va_start(args, format);
    append(memory, format, args);
    va_end(args);
}

const char *weir__memory_trace(struct weir__memory *memory)
{
    settle_body_line(memory);
    return memory->record != NULL ? memory->record->trace : "";
}

static void print_fields(char *text, size_t size, struct weir_fields *fields)
{
    size_t at = 0;

    text[0] = 0;
    for (size_t i = 0; i < weir_fields_count(fields) && at < size; i++) {
        struct weir_field field = weir_fields_at(fields, i);
        int len = snprintf(text + at, size - at, "  %.*s: %.*s\n", (int)field.name.len,
                           (const char *)field.name.data, (int)field.value.len,
                           (const char *)field.value.data);

        at += len > 0 ? (size_t)len : 0;
    }
}

static void note_fields(struct weir__memory *memory, struct weir_fields *fields)
{
    char text[1024];

    print_fields(text, sizeof(text), fields);
    append_line(memory, "%s", text);
}

/* ---- taking ---- */

/* How much the peer takes now; 0 with the cause. */
static uint64_t open_now(struct weir__memory *memory, enum weir__stall_state *ret_cause)
{
    static const enum weir__stall_state causes[WINDOWS] = {
        WEIR__STALL_STREAM_WINDOW, WEIR__STALL_CONN_WINDOW, WEIR__STALL_SOCKET};
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < WINDOWS; i++) {
        if (memory->windows[i] < least) {
            least = memory->windows[i];
            *ret_cause = causes[i];
        }
    }
    if (memory->opts.max_take > 0 && least > 0 &&
        memory->opts.max_take - memory->taken_now < least) {
        least = memory->opts.max_take - memory->taken_now;
        *ret_cause = WEIR__STALL_SOCKET;
    }
    if (memory->opts.leave_exactly && memory->opts.leave_at - memory->result.taken < least) {
        least = memory->opts.leave_at - memory->result.taken;
        *ret_cause = WEIR__STALL_SOCKET;
    }
    return least;
}

/* More happens in the next turn of the loop. */
static void turn_soon(struct weir__memory *memory)
{
    WEIR_IGNORE(weir__timer_start(&memory->stream.loop->timers, &memory->turn,
                                  memory->stream.loop->now_us));
}

static void record(struct weir__memory *memory, const uint8_t *bytes, size_t len)
{
    struct weir__memory_result *result = &memory->result;
    int64_t now_us = weir__loop_clock_us(memory->stream.loop);

    for (size_t i = 0; i < len; i++) {
        result->pattern &= bytes[i] == weir__memory_byte(result->taken + i);
        if (result->taken + i < memory->opts.keep) {
            memory->kept[result->taken + i] = bytes[i];
        }
    }
    result->taken += len;
    memory->taken_now += len;
    if (memory->opts.tap != NULL) {
        memory->opts.tap->body(memory->opts.tap_arg, bytes, len);
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        memory->windows[i] -= memory->windows[i] == UINT64_MAX ? 0 : len;
    }
    if (memory->body_line_us != now_us) {
        settle_body_line(memory);
    }
    memory->body_line_us = now_us;
    memory->body_line += len;
    if ((memory->opts.max_take > 0 && memory->taken_now >= memory->opts.max_take) ||
        (memory->opts.leave_at > 0 && result->taken >= memory->opts.leave_at)) {
        turn_soon(memory);
    }
}

static void take(struct weir__memory *memory)
{
    enum weir__stall_state cause;
    struct weir__memory_queued *queued;

    if (memory->stream.gone != WEIR_REASON_NONE) {
        return; /* whoever has left takes nothing */
    }
    while ((queued = memory->first) != NULL) {
        size_t len = weir_chunk_len(queued->chunk) - queued->offset;
        uint64_t open = open_now(memory, &cause);

        len = open < len ? (size_t)open : len;
        if (len == 0) {
            return;
        }
        record(memory, weir_chunk_data(queued->chunk) + queued->offset, len);
        memory->queued -= len;
        queued->offset += len;
        if (queued->offset == weir_chunk_len(queued->chunk)) {
            memory->first = queued->next;
            if (memory->first == NULL) {
                memory->last = &memory->first;
            }
            weir_chunk_unref(queued->chunk);
            weir_free(queued);
        }
    }
    if (memory->end_queued) {
        memory->end_queued = false;
        memory->result.ended = true;
        memory->result.ends++;
        weir__memory_note(memory, "end\n");
        if (memory->record != NULL) {
            append_line(memory, "%s", memory->record->end_lines);
        }
    }
}

static void turned(struct weir__timer *timer)
{
    struct weir__memory *memory = weir_list_entry(timer, struct weir__memory, turn);

    memory->taken_now = 0;
    if (memory->opts.leave_at > 0 && memory->result.taken >= memory->opts.leave_at) {
        memory->opts.leave_at = 0;
        memory->opts.leave_exactly = false;
        weir__memory_note(memory, "gone %s\n", weir_reason_name(memory->opts.leave_reason));
        weir__stream_gone(&memory->stream, memory->opts.leave_reason, ECONNRESET);
        return;
    }
    take(memory);
    weir__stream_writable(&memory->stream);
}

void weir__memory_out_open(struct weir__memory *memory, unsigned window, uint64_t bytes)
{
    memory->windows[window] += memory->windows[window] == UINT64_MAX ? 0 : bytes;
    take(memory);
    weir__stream_writable(&memory->stream);
}

void weir__memory_socket(struct weir__memory *memory, uint64_t bytes)
{
    memory->windows[WINDOW_SOCKET] = bytes;
    take(memory);
    weir__stream_writable(&memory->stream);
}

static uint64_t window_at_first(uint64_t opt)
{
    return opt == 0 ? UINT64_MAX : opt == WEIR__MEMORY_NONE ? 0 : opt;
}

void weir__memory_out_init(struct weir__memory *memory)
{
    memory->last = &memory->first;
    memory->windows[WINDOW_STREAM] = window_at_first(memory->opts.stream_window);
    memory->windows[WINDOW_CONN] = window_at_first(memory->opts.conn_window);
    memory->windows[WINDOW_SOCKET] = window_at_first(memory->opts.socket);
    weir__timer_init(&memory->turn, turned);
}

void weir__memory_out_drop(struct weir__memory *memory)
{
    while (memory->first != NULL) {
        struct weir__memory_queued *queued = memory->first;

        memory->first = queued->next;
        weir_chunk_unref(queued->chunk);
        weir_free(queued);
    }
    memory->last = &memory->first;
    memory->queued = 0;
    memory->end_queued = false;
}

/* ---- the operations ---- */

int weir__memory_begin(struct weir__stream *stream, const struct weir__head *head)
{
    struct weir__memory *memory = memory_of(stream);

    if (memory->closed) {
        return WEIR_ECANCELED;
    }
    if (memory->opts.fail_begin < 0) {
        return memory->opts.fail_begin;
    }
    if (head->status == 0) {
        weir__memory_note(memory, "begin %.*s %.*s", (int)head->method.len,
                          (const char *)head->method.data, (int)head->target.len,
                          (const char *)head->target.data);
    } else {
        weir__memory_note(memory, "begin %d", head->status);
    }
    memory->result.status = head->status;
    if (memory->opts.tap != NULL) {
        memory->opts.tap->head(memory->opts.tap_arg, head);
    }
    if (head->no_body) {
        append_line(memory, " none");
    } else if (head->length >= WEIR_LENGTH_UNTIL_CLOSE) {
        append_line(memory, " length=?");
    } else {
        append_line(memory, " length=%llu", (unsigned long long)head->length);
    }
    append_line(memory, "%s\n", head->close ? " close" : "");
    note_fields(memory, head->fields);
    return 0;
}

int weir__memory_inform(struct weir__stream *stream, int status, struct weir_fields *fields)
{
    struct weir__memory *memory = memory_of(stream);

    memory->result.informs++;
    if (memory->opts.tap != NULL) {
        memory->opts.tap->head(memory->opts.tap_arg,
                               &(struct weir__head){.status = status, .fields = fields});
    }
    weir__memory_note(memory, "inform %d\n", status);
    note_fields(memory, fields);
    return 0;
}

int weir__memory_room(struct weir__stream *stream, size_t *ret_room,
                      enum weir__stall_state *ret_cause)
{
    struct weir__memory *memory = memory_of(stream);
    size_t most = memory->opts.max_room > 0 ? memory->opts.max_room : WEIR_CHUNK_BYTES;
    uint64_t open;

    if (memory->closed) {
        return WEIR_ECANCELED;
    }
    take(memory);
    open = open_now(memory, ret_cause);
    if (memory->queued > 0 || open == 0) {
        return WEIR_EAGAIN;
    }
    *ret_room = open < most ? (size_t)open : most;
    return 0;
}

int weir__memory_write(struct weir__stream *stream, struct weir_chunk *chunk, size_t follows)
{
    (void)follows; /* no frames */
    struct weir__memory *memory = memory_of(stream);
    size_t len = weir_chunk_len(chunk);
    struct weir__memory_queued *queued;

    if (memory->opts.write_us > 0) {
        *(int64_t *)stream->loop->clock_arg += memory->opts.write_us;
    }
    if (memory->opts.fail_write_at > 0 &&
        memory->result.taken + memory->queued + len > memory->opts.fail_write_at) {
        weir_chunk_unref(chunk);
        weir__memory_note(memory, "gone reset\n");
        weir__stream_gone(stream, WEIR_REASON_RESET, EPIPE);
        return WEIR_ERESET;
    }
    queued = weir_alloc(sizeof(*queued));
    if (queued == NULL) {
        weir_chunk_unref(chunk);
        return WEIR_ENOMEM;
    }
    *queued = (struct weir__memory_queued){.chunk = chunk};
    *memory->last = queued;
    memory->last = &queued->next;
    memory->queued += len;
    take(memory);
    if (memory->queued > memory->result.queued_peak) {
        memory->result.queued_peak = memory->queued;
    }
    return 0;
}

bool weir__memory_can_splice(struct weir__stream *stream)
{
    return memory_of(stream)->opts.use_fds;
}

int weir__memory_splice(struct weir__stream *stream, int pipe_fd, size_t bytes, size_t *ret_moved)
{
    struct weir__memory *memory = memory_of(stream);
    enum weir__stall_state cause;
    uint8_t buffer[1024];
    uint64_t open;
    ssize_t got;

    take(memory);
    open = open_now(memory, &cause);
    if (memory->queued > 0 || open == 0) {
        return WEIR_EAGAIN;
    }
    bytes = bytes < sizeof(buffer) ? bytes : sizeof(buffer);
    got = read(pipe_fd, buffer, open < bytes ? (size_t)open : bytes);
    if (got <= 0) {
        return WEIR_EIO;
    }
    record(memory, buffer, (size_t)got);
    *ret_moved = (size_t)got;
    return 0;
}

int weir__memory_send_file(struct weir__stream *stream, int fd, uint64_t offset, size_t bytes,
                           size_t *ret_moved)
{
    struct weir__memory *memory = memory_of(stream);
    enum weir__stall_state cause;
    uint8_t buffer[1024];
    uint64_t open;
    ssize_t got;

    take(memory);
    open = open_now(memory, &cause);
    if (memory->queued > 0 || open == 0) {
        return WEIR_EAGAIN;
    }
    bytes = bytes < sizeof(buffer) ? bytes : sizeof(buffer);
    got = pread(fd, buffer, open < bytes ? (size_t)open : bytes, (off_t)offset);
    if (got < 0) {
        return WEIR_EUNSUPPORTED;
    }
    if (got > 0) {
        record(memory, buffer, (size_t)got);
    }
    *ret_moved = (size_t)got;
    return 0;
}

int weir__memory_end(struct weir__stream *stream, struct weir_fields *trailers)
{
    struct weir__memory *memory = memory_of(stream);

    memory->end_queued = true;
    if (memory->opts.http10) {
        trailers = NULL; /* as on the wire it stands for: only HTTP/1.0 has no place for them */
    }
    if (memory->opts.tap != NULL) {
        memory->opts.tap->end(memory->opts.tap_arg, trailers);
    }
    if (memory->record != NULL) {
        print_fields(memory->record->end_lines, sizeof(memory->record->end_lines), trailers);
    }
    return 0;
}

int weir__memory_flush(struct weir__stream *stream, enum weir__stall_state *ret_cause)
{
    struct weir__memory *memory = memory_of(stream);

    if (memory->closed) {
        return WEIR_ECANCELED;
    }
    take(memory);
    if (memory->queued == 0) {
        return 0;
    }
    open_now(memory, ret_cause);
    return WEIR_EAGAIN;
}

void weir__memory_abort(struct weir__stream *stream, enum weir_reason reason)
{
    struct weir__memory *memory = memory_of(stream);

    memory->result.aborted = true;
    memory->result.aborts++;
    memory->result.abort_reason = reason;
    weir__memory_out_drop(memory);
    weir__memory_note(memory, "abort %s\n", weir_reason_name(reason));
    if (memory->is_client) {
        /* A server that takes no more may have answered before; else nobody waits for it any longer. */
        memory->closed = memory->closed || stream->gone != WEIR_REASON_RESET;
        weir__stream_readable(stream);
        weir__stream_writable(stream);
    }
}
