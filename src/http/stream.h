/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_STREAM_H
#define WEIR_HTTP_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/fields.h>
#include <weir/stream.h>

#include "base/stall.h"
#include "rt/loop.h"
#include "stream/stream.h"

/*
 * One request and its response on some wire, seen from one end. The protocol-free half is here: the incoming body as a
 * source, the outgoing one as a sink, who waits, what the stall clock says, declared lengths and limits. The wire's
 * half is struct weir__proto_ops: it never waits. It answers WEIR_EAGAIN, and calls up when that may have changed.
 */
struct weir__account;
struct weir__stream;

/* What a wire is asked to send first. */
struct weir__head {
    int status;              /* of a response; 0: this is a request */
    struct weir_view reason; /* absent: the usual one */
    struct weir_view method, target;
    struct weir_fields *fields; /* NULL: none */
    uint64_t
        length;   /* of the body; WEIR_LENGTH_UNKNOWN; with no_body: what a HEAD would have had */
    bool no_body; /* ends with the head, whatever length says */
    bool close;   /* the connection is not to be used again */
};

/* The head of a response, as a client's wire delivers it. */
struct weir__response {
    int status;
    struct weir_view reason;    /* in fields' memory */
    struct weir_fields *fields; /* given */
    uint64_t length; /* of the body, as declared; WEIR_LENGTH_UNKNOWN, WEIR_LENGTH_UNTIL_CLOSE */
};

struct weir__proto_ops {
    const char *name; /* "HTTP/1.1" */

    /* -- outgoing -- */
    /* Queues the head. 0 or an error. */
    int (*begin)(struct weir__stream *stream, const struct weir__head *head);
    /* Queues an interim response. */
    int (*inform)(struct weir__stream *stream, int status, struct weir_fields *fields);
    /* How many body bytes are worth bringing now: 0 with *ret_room > 0, or WEIR_EAGAIN with the cause, having made sure
     * that weir__stream_writable() comes. */
    int (*room)(struct weir__stream *stream, size_t *ret_room, enum weir__stall_state *ret_cause);
    /* Takes the chunk (given) whole; only after room() has said 0. What the peer can't take now is kept. `follows`: so many
     * bytes of the same emit come behind it, so that a wire with frames may make one of them. */
    int (*write)(struct weir__stream *stream, struct weir_chunk *chunk, size_t follows);
    /* Whether body bytes may come through a kernel pipe now, and moving them: 0 with *ret_moved >= 1, or EAGAIN. */
    bool (*can_splice)(struct weir__stream *stream);
    int (*splice)(struct weir__stream *stream, int pipe_fd, size_t bytes, size_t *ret_moved);
    /* The same for bytes of a regular file: 0 with *ret_moved (0: the file ends before `offset`), EAGAIN, or
     * WEIR_EUNSUPPORTED: not of this file, and nothing went. */
    bool (*can_send_file)(struct weir__stream *stream);
    int (*send_file)(struct weir__stream *stream, int fd, uint64_t offset, size_t bytes,
                     size_t *ret_moved);
    /* Queues the end, once. */
    int (*end)(struct weir__stream *stream, struct weir_fields *trailers);
    /* Sends what is queued: 0 when nothing is left, WEIR_EAGAIN as of room(). */
    int (*flush)(struct weir__stream *stream, enum weir__stall_state *ret_cause);
    /* Makes the end visibly broken. Called at most once, never after a clean end; also before begin() when not even a
     * head can be had, and also of a peer that is gone. */
    void (*abort)(struct weir__stream *stream, enum weir_reason reason);

    /* -- incoming -- */
    /* 1 with a chunk of at most max_bytes, 0 at a verified end, WEIR_EAGAIN (weir__stream_readable() will come), or an
     * error. Credit goes back when the chunk is released. */
    int (*read)(struct weir__stream *stream, size_t max_bytes, struct weir_chunk **ret);
    /* The descriptor for body bytes: 0, WEIR_EAGAIN, WEIR_EUNSUPPORTED (use read now), or an error. */
    int (*lend)(struct weir__stream *stream, struct weir_loan *ret);
    int (*repay)(struct weir__stream *stream, uint64_t taken, int native, bool at_eof);
    /* Nothing more is wanted. */
    void (*cancel)(struct weir__stream *stream, enum weir_reason reason);

    /* -- a client's -- */
    /* The next head of the response: 1 with *ret, 0 at a FIN before it, WEIR_EAGAIN (weir__stream_readable() will
     * come), or an error with stream->native. From a final one on read() and lend() speak of its body. */
    int (*head)(struct weir__stream *stream, struct weir__response *ret);
    /* The request is given up: nothing more goes out or comes in from this moment on, and the peer learns of it. */
    void (*leave)(struct weir__stream *stream);

    /* Bytes on the wire so far. `sent` must move when the peer takes something: the stall clocks look at it. */
    void (*traffic)(struct weir__stream *stream, uint64_t *ret_received, uint64_t *ret_sent);
};

/* The limits of one side, shared by all its streams. Clocks in ms; 0 = none. They run only while that side is the cause, and any
 * byte that moves sets a gap back; who looks up in between, with deadlines of his own, does not. */
struct weir__limits {
    int64_t first_byte_ms;  /* the first read of the body */
    int64_t read_gap_ms;    /* the later ones */
    int64_t write_stall_ms; /* then the peer counts as gone */
    uint64_t min_rate;      /* bytes/s over 30 s of being the cause; each direction by itself */
    size_t head_bytes, head_fields; /* a client's: of a response */
    size_t held_bytes; /* of one incoming body that may be read and not released; 0: no bound */
};

/* What one direction's peer was given in patience: only waiting for it counts. */
struct weir__patience {
    uint64_t seen;       /* bytes when it last moved any */
    int64_t idle_us;     /* waited for it since then */
    uint64_t span_bytes; /* min_rate: bytes when the present span of waiting began */
    int64_t span_us;     /* min_rate: waited in it */
};

/*
 * A bound on how fast the incoming body is read. A piece is paid for, and when the payment's time has come so many bytes may
 * be read. Nobody keeps a pointer to one over a wait, so it may go at any time.
 */
struct weir__body_pace {
    struct weir__body_pace *outer;
    int64_t (*pay)(struct weir__body_pace *pace,
                   size_t bytes); /* returns ns until they may be read */
    size_t piece;                 /* what is paid for at once */
    size_t paid;                  /* and not read yet */
    int64_t due_us;               /* from when on that may be */
};

struct weir__stream {
    const struct weir__proto_ops *ops;
    struct weir__loop *loop;
    const struct weir__limits *limits;
    struct weir__body_pace *in_pace; /* the innermost; NULL: none */
    struct weir__account *account;   /* of the incoming body's chunks; NULL: the wire has its own */
    struct weir__fiber *reader, *writer; /* waiting in body / out */
    struct weir_source body;
    struct weir_sink out;
    struct weir__stall clock; /* of the outgoing direction */
    uint64_t in_bytes, in_limit;
    uint64_t in_declared; /* the incoming body's length, or WEIR_LENGTH_UNKNOWN; a server's */
    uint64_t out_bytes,
        out_left; /* body bytes; out_left: of a declared length, or WEIR_LENGTH_UNKNOWN */
    int64_t in_armed_us, out_armed_us; /* a select waits for it since then; 0: none */
    int64_t first_byte_us;             /* when the incoming body began; 0: not yet */
    struct weir__patience in_patience, out_patience;
    uint32_t fair_items, fair_bytes; /* moved since the fiber last let the others run */
    struct weir_fields *trailers;    /* of the incoming body, after its end */
    uint8_t gone;                    /* enum weir_reason: why the peer has left; 0: it is there */
    uint8_t out_armed_state;         /* enum weir__stall_state: of the clock before the select */
    uint8_t in_broken, out_broken;   /* enum weir_reason: why a direction failed, for explain() */
    bool begun;                      /* the final head is queued */
    bool drop_body;                  /* HEAD, 204, 304: the outgoing body is accepted and dropped */
    bool ending, ended;              /* the end is queued; it has left */
    bool broken_off;                 /* the wire was told to abort */
    int native;  /* the kernel's or the peer's own code behind `gone` or `broken` */
    void *owner; /* struct weir_req or struct weir_exchange */
    void (*on_gone)(struct weir__stream *stream); /* NULL: nobody */
    void (*before_read)(
        struct weir__stream *stream); /* 100-continue, if no head has been begun; NULL: nothing */
};

/* Its clock does not run yet: it begins with a request's arrival, or when an exchange is opened. */
void weir__stream_init(struct weir__stream *stream, const struct weir__proto_ops *ops,
                       struct weir__loop *loop, const struct weir__limits *limits);
/* Frees what it holds; nobody may wait in it. */
void weir__stream_finish(struct weir__stream *stream);

/* Queues the head and opens the outgoing body. Returns 0 or an error. */
int weir__stream_begin(struct weir__stream *stream, const struct weir__head *head);

/* Whether whoever reads the body must let go of something before read() may hand out more than its end; the account's
 * release has to be followed by weir__stream_readable(). */
bool weir__stream_holds_too_much(struct weir__stream *stream);

/* How many bytes are still to come of a source that is a server's incoming body, as its head declares them;
 * WEIR_LENGTH_UNKNOWN for any other. */
uint64_t weir__source_declared(struct weir_source *source);

/* ---- what a wire calls up ---- */
void weir__stream_readable(struct weir__stream *stream);
void weir__stream_writable(struct weir__stream *stream);
/* The peer has left: every wait on it fails from now on, but what has arrived can still be read. Only the first reason
 * counts. May call abort() and cancel() before it returns. A write that stalls for too long comes here too. */
void weir__stream_gone(struct weir__stream *stream, enum weir_reason reason, int native);

/*
 * For one who has bytes for a peer that has no room for them, and does not wait in a call: `waited_us` more of its
 * patience are spent, unless it has moved something since. A peer that stalls for too long counts as gone. Returns how
 * much is left, 0 when it is gone, INT64_MAX if patience has no end. Context: loop or fiber.
 */
int64_t weir__stream_try_patience(struct weir__stream *stream, int64_t waited_us);

/* The outgoing clock as the observers see it. */
struct weir_stall;
void weir__stream_stall(struct weir__stream *stream, struct weir_stall *ret);

/* The error a wait on a peer that left that way ends with. */
int weir__gone_code(enum weir_reason reason);

/* Waits until `stream->reader` is woken, bounded by the caller's deadline and by `gap_ms` of silence (0: none).
 * Returns 0, WEIR_ETIMEDOUT (the caller's), WEIR_ESTALLED (the gap's). */
int weir__stream_wait_read(struct weir__stream *stream, int64_t deadline, int64_t gap_ms);

#endif
