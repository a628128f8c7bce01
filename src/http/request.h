/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_REQUEST_H
#define WEIR_HTTP_REQUEST_H

#include <weir/http.h>

#include "http/fields.h"
#include "http/stream.h"
#include "rt/scope.h"

/*
 * A request on the server's side: what the wire fills in, and the life of its handler. The wire owns the memory, starts
 * it with weir__req_start(), and gets it back through `finished`.
 */
#define WEIR__PEER_TEXT 54 /* "[", an IPv6 address, "]:65535", NUL */

struct weir_req {
    uint32_t magic;
    struct weir__stream *stream;
    weir_handler_fn *handler;
    void *arg;

    /* Filled in by the wire; views into `fields`' memory. */
    struct weir_fields *fields;
    struct weir_view method, target, authority;
    uint64_t body_length; /* 0: no body; WEIR_LENGTH_UNKNOWN */
    int64_t arrived_us;
    bool is_head, is_http10;
    bool close; /* the connection must not be used again: no more than a wish of the reply's head */
    void (*finished)(
        struct weir_req
            *req); /* the handler has returned, the reply is over; on the handler's fiber */
    struct weir_view (*peer)(
        struct weir_req *req); /* the client's address as text, the wire's for the request's life */

    struct weir_scope scope;
    struct weir__every *every;         /* weir_req_every(); NULL: nobody asked */
    struct weir__sse *sse;             /* weir_sse_config(); NULL: nobody asked */
    struct weir_reply_filter *filters; /* the last hooked one; NULL: none */
    struct weir_req_value *values;     /* weir_req_put(), the last one first */
    const struct weir__match *match;   /* while a router runs: what its path's segments are */
    const char *route;                 /* the pattern it took, the router's */
    struct weir__disconnect {
        struct weir__disconnect *outer;
        void (*fn)(void *arg);
        void *arg;
        bool fired;
    } disconnect_first, *disconnect; /* the newest; the others are on the heap */
    bool deserted;                   /* the client left before the reply was over */
    uint64_t id;
    int status;        /* sent; 0: none yet */
    int cancel_status; /* what a cancelled handler means, if a deadline did it; 0: what its code does */
    bool kept;         /* a filter keeps the head back: begun for the handler, not for the wire */
    uint8_t unread; /* enum weir__unread */
};

/* Which of the request's fields made its body one that cannot be read: what the handler's WEIR_EUNSUPPORTED then means. */
enum weir__unread {
    WEIR__UNREAD_NOT = 0,
    WEIR__UNREAD_TYPE,   /* Content-Type */
    WEIR__UNREAD_CODING, /* Content-Encoding */
};

/* Copies the request to the page of a new fiber and starts its handler there; `given` is of no more use, but for its
 * fields, which are given only on success. Returns 0, or WEIR_ENOMEM, WEIR_ELIMIT: then nothing happens. */
int weir__req_start(const struct weir_req *given);

/* What the client is owed when a handler has returned `r`: a status before the head, a broken body after it; nothing when
 * the reply is over. Idempotent. If not even that could be begun, only the `last` one gives up.
 * Context: fiber, suspends, shielded. */
void weir__req_conclude(struct weir_req *req, int r, bool last);

/* Begins the reply on the wire, behind all filters. As weir_stream_begin(). */
int weir__reply_begin(struct weir_req *req, int status, struct weir_fields *fields, uint64_t length,
                      struct weir_sink **ret);
/* The same through the filters that are hooked. */
int weir__reply_filter(struct weir_req *req, int status, struct weir_fields *fields,
                       uint64_t length, struct weir_sink **ret);
bool weir__reply_has_body(struct weir_req *req, int status);

/* Takes the client's leave to the handler: weir__stream.on_gone of a server's stream. */
void weir__req_gone(struct weir__stream *stream);

/* The Date field's value, made anew once a second. */
struct weir_view weir__http_date(void);

#endif
