/* SPDX-License-Identifier: MIT */
#ifndef WEIR_MIDDLEWARE_H
#define WEIR_MIDDLEWARE_H

#include <weir/experimental/observe.h>
#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Middleware is a plain call around the handler's call. A reply is begun, fed and ended inside the handler, so what is
 * wrapped around it covers the whole stream: a slot taken before weir_chain_run() and given back after it is held until
 * the last byte has left, or the client has. What has to see or change the reply's head, or its bytes, hooks a reply
 * filter before it calls on.
 */
struct weir_chain;

/**
 * Wraps a handler: does what comes before, calls weir_chain_run(next, req), does what comes after. Or replies itself and
 * does not call on. It lives on the handler's fiber and may wait.
 *
 * next  what is left to run, borrowed until it returns; running it twice is WEIR_ESTATE.
 * arg   as it stands in struct weir_middleware.
 *
 * Returns what weir_chain_run() returned, 0 after a reply of its own, or a negative code: before the head was begun the
 * client gets the status that belongs to it, as of a handler.
 */
typedef int(weir_middleware_fn)(struct weir_req *req, const struct weir_chain *next, void *arg);

struct weir_middleware {
    weir_middleware_fn *fn;
    void *
        arg; /* borrowed, for as long as requests are served; often the options of a built-in one */
};

/* Middleware, the first one outermost, around a handler. Everything is borrowed. */
struct weir_chain {
    const struct weir_middleware *items;
    size_t count;
    weir_handler_fn *handler;
    void *arg; /* the handler's */
};

/**
 * Runs what is left of the chain. When it returns the reply is over in one way or another: ended, aborted, or answered
 * with the status of the code (weir_err_status(); 500 for a handler that made none); so weir_req_answer() has the facts.
 * Only a reply that could not even be begun, because the client had left or for want of memory, has no status.
 *
 * Returns what the next middleware or the handler returned. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_chain_run(const struct weir_chain *next, struct weir_req *req);

/** The same as a weir_handler_fn: `arg` is a struct weir_chain. For weir_server_opts. Context: fiber, suspends.
 * Since: 0.1. */
WEIR_API int weir_chain_handle(struct weir_req *req, void *arg);

/* ---- reply filters ---- */

/* A reply that is about to be begun: its head, which may still be altered. */
struct weir_reply;

/**
 * Called when the final head is begun (not for 1xx), the filter that was hooked last first. It may alter the head, must
 * call weir_reply_next() for what is hooked outside of it, and may put a sink of its own in front of the one it gets:
 *
 *     int r = weir_reply_next(reply, ret);
 *     return r < 0 ? r : count_sink_create_take(*ret, filter, ret);
 *
 * After weir_reply_next() the head is committed: a failure then is an abort that the client sees. So what can fail is
 * better done before. When it fails without that, the handler's weir_stream_begin() fails and nothing has happened; the
 * filter may be called again for the status that is sent then.
 *
 * ret  given to the handler; untouched on failure.
 *
 * Returns 0 or an error. Context: fiber; must not suspend.
 */
struct weir_reply_filter;
typedef int(weir_reply_filter_fn)(struct weir_reply_filter *filter, struct weir_reply *reply,
                                  struct weir_sink **ret);

/* Part of the middleware's stack frame (struct mine { struct weir_reply_filter filter; ... }). */
struct weir_reply_filter {
    weir_reply_filter_fn *begin;
    struct weir_reply_filter *outer; /* the library's */
};

/**
 * Hooks a filter until the calling middleware (or handler) returns; then it is unhooked by itself. After the head was
 * begun it has no effect.
 *
 * filter  borrowed until then.
 *
 * Context: fiber.  Since: 0.1.
 */
WEIR_API void weir_req_filter_reply(struct weir_req *req, struct weir_reply_filter *filter);

/** The request of a reply. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_req *weir_reply_req(struct weir_reply *reply);
/** The status that will be sent. Context: fiber.  Since: 0.1. */
WEIR_API int weir_reply_status(struct weir_reply *reply);
/** Alters it; one outside 200 to 599 fails when the head is begun. Context: fiber.  Since: 0.1. */
WEIR_API void weir_reply_set_status(struct weir_reply *reply, int status);
/** The body's length in bytes, WEIR_LENGTH_UNKNOWN, or WEIR_LENGTH_UNTIL_CLOSE. Context: fiber.  Since: 0.1. */
WEIR_API uint64_t weir_reply_length(struct weir_reply *reply);
/** Alters it: a filter whose sink changes the number of bytes must. Context: fiber.  Since: 0.1. */
WEIR_API void weir_reply_set_length(struct weir_reply *reply, uint64_t length);
/** Whether a body will be sent: not for HEAD, 204 and 304; what is emitted is then dropped. Context: fiber.  Since: 0.1. */
WEIR_API bool weir_reply_has_body(struct weir_reply *reply);
/** The field lines, to be read only; NULL for none. Borrowed until weir_reply_next(). Context: fiber.  Since: 0.1. */
WEIR_API struct weir_fields *weir_reply_fields(struct weir_reply *reply);
/** The value of the first field of that name; absent if there is none. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_reply_field(struct weir_reply *reply, const char *name);

/**
 * The field lines, to be altered: the handler's are copied first (their bytes stay borrowed), once for all filters.
 *
 * ret  borrowed until weir_reply_next().
 *
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ELIMIT. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_edit(struct weir_reply *reply, struct weir_fields **ret);

/** Sets one field in place of all of that name; the value is copied. Returns as weir_reply_edit(), or WEIR_EINVAL.
 * Context: fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_reply_set_field(struct weir_reply *reply, const char *name,
                                                 struct weir_view value);

/**
 * Calls on: the filters outside of this one, and last the wire. Once.
 *
 * ret  given: the sink that takes the body's bytes.
 *
 * Returns as weir_stream_begin(). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_next(struct weir_reply *reply, struct weir_sink **ret);

/**
 * Keeps the head back, copied whole, in place of weir_reply_next() in a filter's begin: for a filter that must have seen
 * the body, or its first bytes, to know the head. To the handler the reply counts as begun. The filter's sink calls
 * weir_reply_next(kept) later, at the latest in its end, and must bound what it collects until then.
 *
 * ret  given: weir_reply_destroy() it, in any case, before the handler returns. Untouched on failure.
 *
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ESTATE (called on already). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_keep(struct weir_reply *reply, struct weir_reply **ret);

/** Frees a kept head; one that was never called on is as if nothing had been begun, so a failed handler's status can still
 * be sent. NULL is fine. Context: loop or fiber.  Since: 0.1. */
WEIR_API void weir_reply_destroy(struct weir_reply *reply);

/* ---- what middleware has to tell those inside ---- */

/* Part of the middleware's stack frame. */
struct weir_req_value {
    const void *key; /* the address of something of its own: no two kinds of values have the same */
    const void *value;
    struct weir_req_value *outer; /* the library's */
};

/** Shows a value to what runs inside, until the calling middleware returns. `value` is borrowed until then.
 * Context: fiber.  Since: 0.1. */
WEIR_API void weir_req_put(struct weir_req *req, struct weir_req_value *value);

/** The innermost value of that key; NULL if there is none. Context: fiber.  Since: 0.1. */
WEIR_API const void *weir_req_get(struct weir_req *req, const void *key);

/* ---- what became of the reply ---- */

enum weir_outcome {
    WEIR_OUTCOME_NONE = 0,       /* not over yet, or nothing was begun */
    WEIR_OUTCOME_COMPLETE,       /* ended cleanly, whatever its status */
    WEIR_OUTCOME_CLIENT_GONE,    /* it left before the end */
    WEIR_OUTCOME_CLIENT_STALLED, /* it took nothing for too long, and was dropped */
    WEIR_OUTCOME_ABORTED,        /* this program broke it off: a failed handler, a limit */
    WEIR_OUTCOME_SHUTDOWN,       /* the server went down */
};

struct weir_answer {
    enum weir_outcome outcome;
    int status;                        /* of the final head; 0: none was begun */
    struct weir_error error;           /* why it is not complete; code 0: it is, or is not over */
    uint64_t body_received, body_sent; /* bytes of the bodies, as counted so far, without framing */
    int64_t duration_us;               /* since the request's head was complete */
    struct weir_stall stall;           /* the times of the reply by state */
};

/** The facts of this moment; those after weir_chain_run() are final. Context: fiber.  Since: 0.1. */
WEIR_API void weir_req_answer(struct weir_req *req, struct weir_answer *ret);

/** The stable lower-case name of an outcome ("complete", "client_gone", ...), static. Context: any thread.  Since: 0.1. */
WEIR_API const char *weir_outcome_name(enum weir_outcome outcome);

WEIR_END_DECLS

/*
 * Example: at most one request at a time gets past here, held until its stream has ended.
 *
 *     static int one_at_a_time(struct weir_req *req, const struct weir_chain *next, void *arg)
 *     {
 *         atomic_flag *taken = arg;
 *         int r;
 *
 *         if (atomic_flag_test_and_set(taken)) {
 *             return weir_reply_text(req, 503, "busy\n");
 *         }
 *         r = weir_chain_run(next, req);
 *         atomic_flag_clear(taken);
 *         return r;
 *     }
 */

#endif
