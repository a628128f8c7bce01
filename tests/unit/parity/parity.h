/* SPDX-License-Identifier: MIT */
/*
 * The same handler, asked the same thing over several wires, must see the same and give the client the same. A case is
 * one or more requests, each with what its client does, and the text that is to come of it on every wire: what the
 * client saw (heads, bodies, trailers, how it ended) and what the handler saw. No case knows a wire's syntax. What only
 * a wire's framing needs (Transfer-Encoding, Connection, Keep-Alive) is no part of the text, and neither is Date, whose
 * presence a wire that has one checks itself. Another wire is one more entry of parity_wires.
 */
#ifndef WEIR_TEST_PARITY_H
#define WEIR_TEST_PARITY_H

#include <stddef.h>

#include <weir/http.h>
#include <weir/middleware.h>

#define PARITY_FIELDS 8
#define PARITY_STEPS 10
#define PARITY_ASKS 4
#define PARITY_TEXT 65536
#define PARITY_UNKNOWN UINT64_MAX /* the body's length is not declared */
#define PARITY_BUFFER \
    32768 /* so much of a reply can wait for a client that reads nothing, at least */

/* What a client does, one thing after the other. Behind the last step it reads the response to its end. */
enum parity_act {
    PARITY_NOTHING = 0, /* no more steps */
    PARITY_SEND,     /* `text` of the request's body; without a text `bytes` bytes of the pattern */
    PARITY_END,      /* its end; `text`, "name: value", is a trailer */
    PARITY_CONTINUE, /* reads until a 100 has come, or the final head */
    PARITY_HEAD,     /* reads until the final head has come */
    PARITY_TAKE,     /* reads `bytes` bytes of the response's body */
    PARITY_AWAIT,    /* reads nothing until somebody has noted a line that begins with `text` */
    PARITY_MARK,     /* notes `text` for those who await it; it is not shown */
    PARITY_FIN,      /* ends its sending side; it goes on to read */
    PARITY_RESET,    /* breaks the request off; it sees no more */
};

struct parity_step {
    enum parity_act act;
    const char *text;
    uint64_t bytes;
};

/* A step, in an initializer. */
#define SEND(words)             \
    {                           \
        PARITY_SEND, (words), 0 \
    }
#define SEND_PATTERN(many)        \
    {                             \
        PARITY_SEND, NULL, (many) \
    }
#define END                 \
    {                       \
        PARITY_END, NULL, 0 \
    }
#define END_WITH(trailer)        \
    {                            \
        PARITY_END, (trailer), 0 \
    }
#define UNTIL_CONTINUE           \
    {                            \
        PARITY_CONTINUE, NULL, 0 \
    }
#define UNTIL_HEAD           \
    {                        \
        PARITY_HEAD, NULL, 0 \
    }
#define TAKE(many)                \
    {                             \
        PARITY_TAKE, NULL, (many) \
    }
#define AWAIT(line)             \
    {                           \
        PARITY_AWAIT, (line), 0 \
    }
#define MARK(line)             \
    {                          \
        PARITY_MARK, (line), 0 \
    }
#define FIN                 \
    {                       \
        PARITY_FIN, NULL, 0 \
    }
#define RESET                 \
    {                         \
        PARITY_RESET, NULL, 0 \
    }

struct parity_request {
    const char *method, *target; /* NULL: "GET", "/" */
    struct {
        const char *name, *value;
    } fields[PARITY_FIELDS];
    /* The body: sent as a whole, or by steps. */
    const void *body;
    size_t body_bytes; /* 0: that of the string */
    uint64_t length; /* as declared, with steps that send; PARITY_UNKNOWN. Else that of the body */
    bool expect_continue;
    struct parity_step steps[PARITY_STEPS];
    const char *beside; /* begins as soon as this was noted; NULL: when all before are over */
};

struct parity_case {
    const char *name;
    weir_handler_fn *handler;
    void *arg;
    struct parity_request ask[PARITY_ASKS];
    size_t asks; /* 0: one */
    bool
        varies; /* how far a body got that was broken off: it is shown as the pattern, without its length */
    bool encoded; /* the bodies have a Content-Encoding: equal on all wires, and shown decoded */
    int64_t body_gap_ms, client_stall_ms; /* of the server; 0: so long that nobody sees them */
    void (*set_up)(void);                 /* called before each wire */
    void (*tear_down)(void);
    void (*per_wire)(char *text); /* takes out what may differ between wires */
    void (*per_run)(char *text); /* takes out what may differ between runs, but not between wires */
    const char *expect;
};

/* ---- for handlers ---- */

/* A line of what the handler saw. Any thread. */
void parity_note(struct weir_req *req, const char *format, ...) WEIR_PRINTF(2, 3);
/* Waits until a line that begins with this was noted or marked. Returns 0, WEIR_ETIMEDOUT after a while, WEIR_ECANCELED. */
int parity_await(const char *text);
/* The same for a thread that is no loop's: it blocks. */
void parity_block(const char *text);
/* The name of a code, or "0" or "1". */
const char *parity_name(int r);
/* The pattern of bodies that nobody writes out. */
uint8_t parity_byte(uint64_t position);
/* Emits bytes of it. */
int parity_emit_pattern(struct weir_sink *out, uint64_t position, size_t bytes);

/* ---- for wires ---- */

struct parity_seen; /* what one client saw */

void parity_saw_status(struct parity_seen *seen,
                       int status); /* a head begins, also an interim one */
void parity_saw_field(struct parity_seen *seen, struct weir_view name, struct weir_view value);
void parity_saw_head_end(struct parity_seen *seen);
void parity_saw_body(struct parity_seen *seen, const uint8_t *bytes, size_t len);
void parity_saw_end(struct parity_seen *seen); /* behind the trailers' fields */
void parity_saw_abort(struct parity_seen *seen);
bool parity_saw_all(struct parity_seen *seen); /* it has ended in one way or the other */
/* What no client may ever see; the case fails with it. */
void parity_saw_wrong(struct parity_seen *seen, const char *what);

struct parity_stage {
    const struct parity_case *one;
    weir_handler_fn *handler; /* what is to be served */
    void *arg;
    void (*clients)(void *arg); /* runs in a fiber whose loop all peers belong to */
    void *clients_arg;
};

struct parity_peer;

struct parity_wire {
    const char *name;
    /* Serves the handler, runs clients(arg) in a fiber, returns when all fibers have ended and nobody is served. */
    void (*stage)(const struct parity_stage *stage);
    /* Sends a request's head. */
    struct parity_peer *(*open)(const struct parity_request *request, struct parity_seen *seen);
    /* Bytes of the body, borrowed until the stage is over; NULL: of the pattern. */
    void (*send)(struct parity_peer *peer, const void *data, size_t bytes);
    void (*end)(struct parity_peer *peer, struct weir_view name, struct weir_view value);
    /* Whether all of it has left; tries to send, does not wait. */
    bool (*is_sent)(struct parity_peer *peer);
    /* Looks what has come, without waiting, and takes at most `most` body bytes. Whether anything was there. */
    bool (*read)(struct parity_peer *peer, size_t most);
    void (*fin)(struct parity_peer *peer);
    void (*reset)(struct parity_peer *peer);
    void (*close)(struct parity_peer *peer); /* no more calls with it */
};

extern const struct parity_wire parity_memory, parity_h1;

/* ---- for tests ---- */

/* Plays every case over every wire; fails the running test where a wire differs from another or from what is expected. */
void parity_check(const struct parity_case *cases, size_t count);

/* Takes the values of a field out of a text: for per_wire and per_run. */
void parity_hide(char *text, const char *field);

#endif
