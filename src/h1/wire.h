/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_WIRE_H
#define WEIR_H1_WIRE_H

#include "bytes/account.h"
#include "h1/chunked.h"
#include "h1/parse.h"
#include "http/stream.h"
#include "net/tcp.h"

/*
 * One HTTP/1.1 connection as seen by either end: bodies in and out by their framing, and what waits to be sent. The
 * ends (server, client) embed it, read heads, and decide what a closed connection means. Nothing here waits.
 *
 * Outgoing order: pending, large, its CRLF, tail. Small writes gather in `pending` and leave when the fiber waits; a
 * large chunk is sent from where it lies, and nothing is taken behind it until it has gone.
 */
struct weir__h1_wire {
    struct weir__stream stream;
    struct weir__tcp tcp;
    struct weir__account account; /* what others hold of the bodies that came in */

    struct weir_chunk *in; /* read, not yet consumed; NULL: none */
    union {
        struct weir__h1_scan scan;       /* while a head is looked for */
        struct weir__h1_chunked decoder; /* then, of a chunked body */
    } at;
    uint64_t in_left; /* of a declared length */
    struct weir_chunk *trailer_bytes;
    int in_error;       /* behind payload that had to be delivered first */
    uint8_t in_framing; /* enum weir__h1_framing */
    bool in_done;

    uint8_t out_framing;
    uint8_t out_method; /* of a request: as weir__h1_client_note_method() numbers it */
    bool crlf_due, out_ended;
    bool is_client;
    bool minor_0; /* the peer speaks HTTP/1.0 */
    bool keep;    /* the connection may carry another message after this one */
    struct weir_chunk *pending, *large, *tail;
    uint32_t pending_room, large_at;
    uint64_t received_before, sent_before; /* by earlier messages of this connection */
    uint64_t chunk_left;                   /* of an HTTP chunk whose size line is queued already */
    struct weir__flush flush;
};

extern const struct weir__proto_ops weir__h1_ops;

/* The wire is the first member of a block of weir_alloc0() that its owner is; weir__h1_wire_drop() frees that block, or
 * leaves it to the last chunk that was read from it. */
void weir__h1_wire_init(struct weir__h1_wire *wire);
void weir__h1_wire_drop(struct weir__h1_wire *wire);
/* Makes it ready for the next message: the stream anew, the connection and unread bytes kept. */
void weir__h1_wire_next(struct weir__h1_wire *wire, const struct weir__limits *limits);
/* Ends the present message: frees what belongs to it. */
void weir__h1_wire_settle(struct weir__h1_wire *wire);
/* Closes and frees everything; with `reset` so that the peer cannot take what it got for complete. */
void weir__h1_wire_finish(struct weir__h1_wire *wire, bool reset);

/* Says how the incoming body is framed; `in` holds what has come of it. */
void weir__h1_wire_expect_body(struct weir__h1_wire *wire, enum weir__h1_framing framing,
                               uint64_t length);

/* Reads more of a head behind what `in` holds: 1 some came, 0 FIN, WEIR_EAGAIN, or an error (WEIR_ELIMIT: over `cap`). */
int weir__h1_wire_fill(struct weir__h1_wire *wire, size_t cap);

/* Takes a parsed head of `len` bytes off the front of `in`, into memory of its own: the head's views then point there.
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ELIMIT: then nothing was taken. */
int weir__h1_wire_keep_head(struct weir__h1_wire *wire, struct weir__h1_head *head, size_t len,
                            struct weir_fields **ret);

/* What the watch of either end does first: flushes, wakes. */
void weir__h1_wire_event(struct weir__h1_wire *wire, uint8_t bits);

/* Whether the connection is still open on our side. */
static inline bool weir__h1_wire_is_open(const struct weir__h1_wire *wire)
{
    return wire->tcp.watch.fd >= 0;
}

#endif
