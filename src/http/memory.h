/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_MEMORY_H
#define WEIR_HTTP_MEMORY_H

#include <weir/experimental/observe.h>

#include "http/request.h"

/*
 * The memory transport: a wire whose peer is a script. The peer sends and takes what the script says, when it says so,
 * and everything that reaches it is written down with its time, so that a test on a loop with a fake clock needs no
 * socket and no sleep. Server role: weir__memory_request() runs a handler. Client role: weir__memory_open() gives the
 * bare stream, whose sink is what the peer takes, and which delivers the response's heads and body that it sends.
 *
 * The peer's bytes are given, or a pattern by their position in the body. They "arrive" as far as the receive window
 * allows, which the credit of released chunks opens again, and take no memory before they are read.
 */
enum weir__memory_act {
    WEIR__MEMORY_SEND,     /* `bytes` body bytes, `data` or the pattern */
    WEIR__MEMORY_SEND_END, /* the body's end, with `fields` as trailers (copied) */
    WEIR__MEMORY_SEND_ERROR, /* reading fails with `code` behind what was sent; before a head: the head does */
    WEIR__MEMORY_SEND_HEAD, /* client role: a head with status `code`, `fields`, the body's length in `bytes` and, in
                               `data`, the reason (a string) */
    WEIR__MEMORY_STREAM_WINDOW, /* the peer takes `bytes` more of this stream */
    WEIR__MEMORY_CONN_WINDOW,   /* ... of the connection */
    WEIR__MEMORY_SOCKET,        /* ... through the socket */
    WEIR__MEMORY_FIN, /* its sending side ends: in the middle of a body that is a truncation. A client is gone with it,
                         unless half_close */
    WEIR__MEMORY_GONE, /* it leaves for `reason`, `code` being the native cause */
    WEIR__MEMORY_CALL, /* call(arg) on the loop's stack: whatever else a test wants at that time */
};

struct weir__memory_step {
    int64_t at_ms; /* since weir__memory_create() */
    enum weir__memory_act act;
    uint64_t bytes;
    const void *data; /* borrowed; NULL: the pattern */
    int code;
    enum weir_reason reason;
    struct weir_fields *fields; /* borrowed */
    void (*call)(void *arg);
    void *arg;
};

#define WEIR__MEMORY_NONE UINT64_MAX /* a window that is closed until the script opens it */

/* Sees what reaches the peer, as it does. NULL: does not want it. */
struct weir__memory_tap {
    void (*head)(
        void *arg,
        const struct weir__head *head); /* the final one; an interim one has a status below 200 */
    void (*body)(void *arg, const uint8_t *bytes, size_t len);
    void (*end)(void *arg, struct weir_fields *trailers); /* queued; it comes behind the body */
};

/* All-zero: a GET without a body, from a peer that takes everything at once. */
struct weir__memory_opts {
    const char *method, *target;  /* "GET", "/" */
    const char *authority, *peer; /* "memory", "memory:1" */
    struct weir_fields *fields;   /* given */
    uint64_t body_length;         /* as declared; WEIR_LENGTH_UNKNOWN */
    bool http10, expect_continue;
    bool half_close;                             /* a FIN is no leave */
    bool use_fds;                                /* lends and takes descriptors */
    uint64_t stream_window, conn_window, socket; /* what the peer takes at first; 0: any amount */
    uint64_t receive_window; /* what it may send beyond what was released; 0: any amount */
    size_t max_read;         /* of one read; 0: no bound */
    size_t max_take;         /* of one turn of the loop; 0: no bound */
    size_t max_room;         /* what room() admits to; 0: 65536 */
    int64_t write_us;        /* how long a write takes: the fake clock moves by it */
    uint64_t
        leave_at; /* the peer leaves for leave_reason once it has so many body bytes; 0: never */
    enum weir_reason leave_reason;
    bool leave_exactly; /* and takes no byte beyond leave_at */
    uint64_t
        fail_write_at; /* write() fails with WEIR_ERESET when so many bytes have gone; 0: never */
    int fail_begin;    /* begin() fails with that */
    struct weir__limits limits;
    bool
        untraced; /* nothing is written down, for very many at once: weir__memory_trace() is empty */
    const struct weir__memory_tap *tap; /* NULL: nobody */
    void *tap_arg;
    size_t
        keep; /* so many body bytes of the output are kept for comparison; all are compared with the pattern */
};

struct weir__memory;

/* `opts` copied. Returns 0 or WEIR_ENOMEM (opts->fields are then destroyed). */
int weir__memory_create(struct weir__loop *loop, const struct weir__memory_opts *opts,
                        struct weir__memory **ret);
/* The request must be over, and every chunk it gave released. Context: loop. */
void weir__memory_destroy(struct weir__memory *memory);
/* The same for a request that is over, whatever chunks of its body are still in somebody's hands: with the last of them the
 * memory goes. */
void weir__memory_abandon(struct weir__memory *memory);

/* Adds steps (copied), in any order of time. Returns 0 or WEIR_ENOMEM. */
int weir__memory_script(struct weir__memory *memory, const struct weir__memory_step *steps,
                        size_t count);

/* Between two steps: the peer takes so many bytes through the socket from now on, UINT64_MAX: any amount; or it leaves.
 * Context: the loop's stack. */
void weir__memory_socket(struct weir__memory *memory, uint64_t bytes);
void weir__memory_gone(struct weir__memory *memory, enum weir_reason reason);

/* Server role: runs a handler for the scripted request, as a server would. As weir__req_start(). */
int weir__memory_request(struct weir__memory *memory, weir_handler_fn *handler, void *arg);
/* Client role: the stream, for the caller to begin; its clock starts. Over with weir__memory_close(). */
struct weir__stream *weir__memory_open(struct weir__memory *memory);
void weir__memory_close(struct weir__memory *memory);

/* ---- the record ---- */

/*
 * What reached the peer, and what it did, a line each: "TIME EVENT", the time in ms:
 *   begin 200 length=5 | begin 200 length=? | begin 200 none | begin GET /     (then " name: value" lines)
 *   inform 103          (the same)
 *   body N              the peer took N bytes at that time
 *   end                 clean, with the trailers as further lines
 *   abort REASON | cancel REASON | credit N | gone REASON | finished
 *   leave               client role: the request was given up
 */
const char *weir__memory_trace(struct weir__memory *memory);

struct weir__memory_result {
    bool finished, ended, aborted, cancelled, left;
    int status; /* 0: no head */
    unsigned informs, ends, aborts, cancels;
    enum weir_reason abort_reason;
    uint64_t taken;       /* body bytes that reached the peer */
    uint64_t queued_peak; /* most bytes accepted and not yet taken */
    bool pattern;         /* all of them follow the pattern */
    struct weir_view kept;
    uint64_t sent, delivered, released; /* body bytes: by the script, read, credit returned */
    unsigned heads;                     /* delivered */
    uint64_t parked_peak;    /* most bytes that were arrived, read or not, and not released */
    struct weir_stall stall; /* of the reply, when the request was over */
    enum weir_reason gone;
};
void weir__memory_result(struct weir__memory *memory, struct weir__memory_result *ret);

/* The byte at a position of the pattern. */
uint8_t weir__memory_byte(uint64_t position);

#endif
