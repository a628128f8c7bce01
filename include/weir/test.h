/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TEST_H
#define WEIR_TEST_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Runs a handler without a socket, against a client that follows a script. The loop has a clock of its own which jumps to
 * whatever comes next, so an hour of silence takes no time and each run is the same. What reached the client is recorded
 * with its time: the head, each piece of the body, the trailers, how it ended, and who had to wait for whom. The client
 * does what the script says and nothing else: it leaves only if it is told to.
 *
 * The functions that are tested are those that a server runs: the same requests, bounds, clocks and cancellation. What is
 * left out is a protocol's syntax. Any test framework will do, or none. One run per thread at a time.
 */
struct weir_test;

/* What the client does at a time of the script. */
enum weir_test_act {
    WEIR_TEST_BODY, /* body bytes arrive: `text`, or `data` and `bytes`, or `bytes` bytes of the pattern */
    WEIR_TEST_BODY_END, /* the body ends, with `trailers`. Without this step it ends with the last of its bytes */
    WEIR_TEST_BODY_OPEN, /* the body does not end by itself; the time does not matter */
    WEIR_TEST_PACE, /* from now on it reads `bytes` bytes of the reply per ms, WEIR_TEST_ANY: as they come; 0: it stalls */
    WEIR_TEST_FIN, /* it ends its sending side, and so leaves; in the middle of its body that is a truncation */
    WEIR_TEST_RESET, /* it resets the connection */
    WEIR_TEST_CALL, /* call(arg) on the loop's stack, which must not suspend: whatever else happens at that time */
};

#define WEIR_TEST_ANY UINT64_MAX

/* A step; the script is an array of them, in any order. All it points to is borrowed for the run. */
struct weir_test_step {
    int64_t at_ms; /* since the request's head came */
    enum weir_test_act act;
    uint64_t bytes;
    const char *text;
    const void *data;
    const char *const *trailers; /* "Name: value" each, NULL at the end; NULL: none */
    void (*call)(void *arg);
    void *arg;
};

/* For the options, in C: the steps are written where they are used. A macro, for it counts them.
 *     &(struct weir_test_opts){.method = "POST", WEIR_TEST_SCRIPT({.act = WEIR_TEST_BODY, .text = "a"})} */
#ifndef __cplusplus
#define WEIR_TEST_SCRIPT(...)                              \
    .steps = (const struct weir_test_step[]){__VA_ARGS__}, \
    .step_count =                                          \
        sizeof((const struct weir_test_step[]){__VA_ARGS__}) / sizeof(struct weir_test_step)
#endif

/* The request and the rest of the script. All-zero: a GET of "/" by a client that takes everything at once. Borrowed for
 * the run. */
struct weir_test_opts {
    const char *method;        /* NULL: "GET" */
    const char *target;        /* NULL: "/" */
    const char *authority;     /* NULL: "test" */
    const char *peer;          /* the client's address; NULL: "192.0.2.1:1" */
    const char *const *fields; /* "Name: value" each, NULL at the end; NULL: none */
    uint64_t
        declared_length; /* of the body; 0: unknown if there are body steps, else there is none */
    bool http10;
    bool expect_continue;

    const struct weir_test_step *steps;
    size_t step_count;

    uint64_t bytes_per_ms; /* what the client reads at first; 0: as it comes. See WEIR_TEST_PACE */
    uint64_t
        window_bytes; /* of the reply that may be on its way to a client with a pace; 0: 65536 */
    uint64_t
        receive_window; /* of the body that may be sent beyond what the handler has released; 0: any amount */
    uint64_t
        leave_after_bytes; /* the client leaves once it has so many bytes of the reply's body; 0: never */
    bool leave_with_fin; /* by a FIN; else by a reset */

    /* The clocks of a server, in ms; 0: its defaults in brackets, negative: none. */
    int64_t body_gap_ms;     /* [30,000] */
    int64_t client_stall_ms; /* [60,000] */
    uint64_t min_rate;       /* bytes/s [256]; UINT64_MAX: none */

    size_t keep_bytes; /* so much of the reply's body is kept to be looked at; 0: 1048576 */
    int64_t
        limit_ms; /* when the run is given up: the client resets; 0: an hour, or 10 s of real time */
    bool real_time; /* for handlers that wait for other threads, which know no other time */
};

/**
 * Runs handler(req, arg) against the script until it and all fibers it has started have ended.
 *
 * opts  borrowed; NULL: a plain GET of "/".
 * ret   given, the record: weir_test_destroy() it.
 *
 * Returns 0 when it was run (see weir_test_result() for what came of it), WEIR_EINVAL (a step or a field that cannot be),
 * WEIR_ESTATE (this thread is a loop's), WEIR_ENOMEM. Context: a thread without a loop.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_test_run(weir_handler_fn *handler, void *arg,
                                          const struct weir_test_opts *opts,
                                          struct weir_test **ret);

/** Frees the record and all views into it; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_test_destroy(struct weir_test *test);

/** For the cleanup attribute. Context: any thread.  Since: 0.1. */
WEIR_API void weir_test_destroyp(struct weir_test **test);

/* ---- what came of it ---- */

enum weir_test_outcome {
    WEIR_TEST_COMPLETE = 1, /* the client has got the whole reply, and knows it */
    WEIR_TEST_ABORTED, /* the reply was broken off, which the client sees; or its patience with the client ended */
    WEIR_TEST_LEFT, /* the client left before the end, as its script said */
};

/* The states of the reply, in microseconds: it was in exactly one at any time, so they add up to wall_us. */
struct weir_test_times {
    int64_t moving_us; /* inside a call that transfers */
    int64_t source_us; /* waiting for the handler, or for what it pipes from */
    int64_t client_us; /* waiting for the client to take something */
    int64_t shaped_us; /* held back by a rate */
    int64_t held_us;   /* held by the program (weir_req_hold()) */
    int64_t wall_us;
};

struct weir_test_result {
    int returned;        /* by the handler */
    int64_t returned_ms; /* when */
    int64_t over_ms;     /* when the reply and all fibers were over */
    enum weir_test_outcome outcome;
    enum weir_reason reason; /* why it was aborted, or the client left */
    int status;              /* of the reply; 0: none was begun */
    uint64_t length;         /* as the reply declared it, or WEIR_LENGTH_UNKNOWN */
    unsigned informs;        /* interim responses */
    uint64_t body_bytes;     /* of the reply, that reached the client */
    size_t writes;           /* in so many pieces: weir_test_write() */
    uint64_t queued_peak;    /* most bytes accepted and not yet on their way to the client */
    uint64_t request_bytes;  /* of the request's body that the handler has read */
    uint64_t unread_bytes;   /* that had come and were not read */
    uint64_t kept_bytes;     /* read, and their chunks never released: a leak of the handler's */
    bool body_canceled;      /* the handler gave up on the request's body */
    bool gave_up; /* limit_ms has passed: nothing more was going to happen, or it took too long */
    struct weir_test_times times;
};

/** What came of the run. Context: any thread.  Since: 0.1. */
WEIR_API void weir_test_result(struct weir_test *test, struct weir_test_result *ret);

/** The reply's fields, borrowed; NULL when none was begun. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_fields *weir_test_fields(struct weir_test *test);

/** The value of the reply's first field of that name, borrowed; absent if there is none. Context: any thread.
 * Since: 0.1. */
WEIR_API struct weir_view weir_test_field(struct weir_test *test, const char *name);

/** The reply's body as far as it reached the client and was kept, borrowed. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_test_body(struct weir_test *test);

/** The reply's trailers, borrowed; NULL for none. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_fields *weir_test_trailers(struct weir_test *test);

/* A piece of the reply's body that reached the client at one time. What did not fit into its window comes as several. */
struct weir_test_write {
    int64_t at_us; /* since the request's head came */
    uint64_t offset, bytes;
    struct weir_view view; /* as far as it was kept, borrowed from the record */
};

/** The i-th piece. Returns 0, or WEIR_ENOTFOUND when there are fewer. Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_test_write(struct weir_test *test, size_t i,
                                            struct weir_test_write *ret);

/**
 * All that reached the client and what it did, in order, a line each, "TIME EVENT" with the time in ms; borrowed. Fields and
 * trailers follow as lines "  name: value". What is over 32 KiB is left out.
 *
 *   begin 200 length=5    the head; length=? when it is not known, none for a reply that cannot have a body
 *   inform 103            an interim head
 *   continue              100 (Continue), when the body is first read
 *   body N                N bytes of the body, at that time
 *   end                   a clean end
 *   abort REASON          the reply was broken off; cancel REASON: the handler gave up on the request's body
 *   gone REASON           the client left, or counts as gone
 *   credit N              N bytes of the body were released (with receive_window)
 *   finished              the request is over
 *
 * Context: any thread.  Since: 0.1.
 */
WEIR_API const char *weir_test_trace(struct weir_test *test);

/** The byte at a position of the pattern, of which bodies without data are made. Context: any thread.  Since: 0.1. */
WEIR_API uint8_t weir_test_byte(uint64_t position);

WEIR_END_DECLS

/*
 * Example: an endless feed stops when its client leaves, here at 2500 ms.
 *
 *     static const struct weir_test_step script[] = {{.at_ms = 2500, .act = WEIR_TEST_RESET}};
 *     struct weir_test *test = NULL;
 *     struct weir_test_result result;
 *
 *     if (weir_test_run(feed, NULL, &(struct weir_test_opts){.steps = script, .step_count = 1}, &test) == 0) {
 *         weir_test_result(test, &result);
 *         assert(result.outcome == WEIR_TEST_LEFT && result.returned == WEIR_ECANCELED);
 *         assert(result.returned_ms == 2500 && result.writes == 2);
 *     }
 *     weir_test_destroy(test);
 */

#endif
