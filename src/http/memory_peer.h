/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_MEMORY_PEER_H
#define WEIR_HTTP_MEMORY_PEER_H

#include "http/memory.h"

/* Inside the memory transport: memory.c has the script, the incoming half and the life, memory_out.c the outgoing half
 * and the record. */
#define WEIR__MEMORY_TRACE 32768
#define WEIR__MEMORY_LINES 2048 /* of one list of fields */

enum { WINDOW_STREAM, WINDOW_CONN, WINDOW_SOCKET, WINDOWS };

struct weir__memory_queued {
    struct weir__memory_queued *next;
    struct weir_chunk *chunk;
    size_t offset;
};

/* What is written down of it. */
struct weir__memory_record {
    size_t len;
    char trace[WEIR__MEMORY_TRACE];
    char end_lines[WEIR__MEMORY_LINES]; /* the trailers, until the end has reached the peer */
};

struct weir__memory {
    struct weir__stream stream; /* first: the operations get this */
    struct weir__memory_opts opts;
    int64_t begun_us;
    bool over, abandoned;
    struct weir__memory_result result;
    uint8_t *kept;

    struct weir__timer timer; /* the next step */
    struct weir__memory_step *steps;
    size_t step_count, step_at;

    size_t in_step; /* where reading is: the step and the bytes of it that are gone */
    uint64_t in_offset;
    bool in_end, in_fin;
    int in_error;
    bool is_client, closed; /* closed: by our side, as an abort or a leave does */
    size_t head_step;       /* the first step that is not known to be no head */
    uint64_t in_length;     /* as the response's head declares it */
    struct weir_fields *in_trailers;
    int lent[2]; /* a pipe for loans; -1: none */
    uint64_t lent_bytes;

    struct weir__timer turn; /* the next turn of the loop: takes more, leaves */
    struct weir__memory_queued *first, **last;
    uint64_t queued, windows[WINDOWS];
    size_t taken_now; /* in this turn */
    bool end_queued;

    uint64_t body_line; /* taken at body_line_us, not yet in the trace */
    int64_t body_line_us;
    struct weir__memory_record *record; /* NULL with opts.untraced */
};

/* memory_out.c */
void weir__memory_out_init(struct weir__memory *memory);
void weir__memory_out_drop(struct weir__memory *memory);
void weir__memory_out_open(struct weir__memory *memory, unsigned window, uint64_t bytes);
void weir__memory_note(struct weir__memory *memory, const char *format, ...) WEIR_PRINTF(2, 3);
int weir__memory_begin(struct weir__stream *stream, const struct weir__head *head);
int weir__memory_inform(struct weir__stream *stream, int status, struct weir_fields *fields);
int weir__memory_room(struct weir__stream *stream, size_t *ret_room,
                      enum weir__stall_state *ret_cause);
int weir__memory_write(struct weir__stream *stream, struct weir_chunk *chunk, size_t follows);
bool weir__memory_can_splice(struct weir__stream *stream);
int weir__memory_send_file(struct weir__stream *stream, int fd, uint64_t offset, size_t bytes,
                           size_t *ret_moved);
int weir__memory_splice(struct weir__stream *stream, int pipe_fd, size_t bytes, size_t *ret_moved);
int weir__memory_end(struct weir__stream *stream, struct weir_fields *trailers);
int weir__memory_flush(struct weir__stream *stream, enum weir__stall_state *ret_cause);
void weir__memory_abort(struct weir__stream *stream, enum weir_reason reason);

#endif
