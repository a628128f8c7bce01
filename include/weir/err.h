/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ERR_H
#define WEIR_ERR_H

#include <weir/export.h>

WEIR_BEGIN_DECLS

/*
 * Every call that can fail returns an int: 0 done, > 0 a documented outcome, < 0 one of these codes. They live in
 * a range of their own (-20000 ... -20999), so that a foreign library's code that leaks is recognised at once.
 * Codes are chosen by what the caller can do; the native cause is in struct weir_error, kept on the stream.
 */
#define WEIR_ERR_MAP(X)                                          \
    X(-20001, ENOMEM, "out of memory")                           \
    X(-20002, EINVAL, "invalid argument")                        \
    X(-20003, ESTATE, "not allowed in this state")               \
    X(-20004, EBUSY, "in use by another call")                   \
    X(-20005, ECANCELED, "canceled")                             \
    X(-20006, ETIMEDOUT, "deadline passed")                      \
    X(-20007, ESTALLED, "peer made no progress for too long")    \
    X(-20008, ECLOSED, "closed by the other side")               \
    X(-20009, ETRUNCATED, "body ended before its framing did")   \
    X(-20010, ERESET, "reset by the peer")                       \
    X(-20011, EIO, "input/output error")                         \
    X(-20012, ETLS, "TLS failure")                               \
    X(-20013, EPROTO, "protocol violation")                      \
    X(-20014, ELIMIT, "over a configured limit")                 \
    X(-20015, EBUDGET, "over the memory budget")                 \
    X(-20016, ELAGGED, "too slow a subscriber")                  \
    X(-20017, EREFUSED, "refused")                               \
    X(-20018, ENOTFOUND, "not found")                            \
    X(-20019, EUNSUPPORTED, "not supported")                     \
    X(-20020, EAGAIN, "nothing yet (a read that must not wait)") \
    X(-20021, EFLOW, "no room yet (an emit that must not wait); nothing was taken")

enum weir_err {
#define WEIR_ERR_ENUM(number, name, text) WEIR_##name = (number),
    WEIR_ERR_MAP(WEIR_ERR_ENUM)
#undef WEIR_ERR_ENUM
};

/* Which side a failure began on. */
enum weir_side {
    WEIR_SIDE_NONE = 0,
    WEIR_SIDE_SELF,   /* this program: a handler, a limit, a shutdown */
    WEIR_SIDE_SOURCE, /* where the bytes come from */
    WEIR_SIDE_SINK,   /* where the bytes go to */
};

/* Why a peer or a stream went away. */
enum weir_reason {
    WEIR_REASON_NONE = 0,
    WEIR_REASON_FIN,       /* the peer closed its sending side */
    WEIR_REASON_RESET,     /* the peer reset the connection or the stream */
    WEIR_REASON_STALL,     /* a stall clock ran out */
    WEIR_REASON_TIMEOUT,   /* a phase took too long: dial, head, first byte, idle */
    WEIR_REASON_SHUTDOWN,  /* this server is going down */
    WEIR_REASON_LIMIT,     /* a limit or a budget was reached */
    WEIR_REASON_PROTOCOL,  /* the peer broke the protocol */
    WEIR_REASON_TRUNCATED, /* the peer ended before its framing did */
    WEIR_REASON_ABANDONED, /* the handle was destroyed before its end */
    WEIR_REASON_CANCELED,  /* the other side of a pipe, or the caller, gave up */
    WEIR_REASON_HANDLER,   /* a handler returned an error, or broke its declared length */
};

/* The whole story of one failure. */
struct weir_error {
    int code;                /* enum weir_err, or 0: no failure */
    enum weir_side side;     /* where it began */
    enum weir_reason reason; /* why */
    int native;        /* errno, an HTTP/2 or HTTP/3 code, or a foreign library's code; 0: none */
    const char *where; /* static text naming the operation, never NULL after a failure */
};

/**
 * The text of a code, in English, static. A number that is no code of this library is named as such.
 * Context: any thread.  Since: 0.1.
 */
WEIR_API const char *weir_strerror(int code);

/**
 * The name of a code ("WEIR_ECLOSED"), static; "?" for a number that is none.
 * Context: any thread.  Since: 0.1.
 */
WEIR_API const char *weir_err_name(int code);

/**
 * The stable lower-case name of a reason ("fin", "reset", ...) for logs, static.
 * Context: any thread.  Since: 0.1.
 */
WEIR_API const char *weir_reason_name(enum weir_reason reason);

WEIR_END_DECLS

#endif
