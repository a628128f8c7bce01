/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_STALL_H
#define WEIR_BASE_STALL_H

#include <stddef.h>
#include <stdint.h>

/*
 * The clock of one direction of one stream: it is in exactly one state at any time, and the times spent in the states
 * add up to the wall time between begin and end. Timeouts, logs and live views read the same numbers.
 */
enum weir__stall_state {
    WEIR__STALL_HELD,          /* by us: authentication, a queue, a handler that computes */
    WEIR__STALL_WAIT_SOURCE,   /* for bytes from where they come */
    WEIR__STALL_MOVING,        /* inside a call that transfers */
    WEIR__STALL_STREAM_WINDOW, /* the receiver's window of this stream is full */
    WEIR__STALL_CONN_WINDOW,   /* the receiver's window of the whole connection is full */
    WEIR__STALL_SOCKET,        /* the receiver's socket is full */
    WEIR__STALL_SHAPED,        /* by a rate limit */
    WEIR__STALL_STATES,
};

struct weir__stall {
    int64_t begun_us, since_us;
    int64_t
        spent_us[WEIR__STALL_STATES]; /* of the states left; the present one runs since since_us */
    uint8_t state, running;
};

void weir__stall_begin(struct weir__stall *stall, enum weir__stall_state state, int64_t now_us);

/* Changes the state; returns the one before, to go back to. NULL: no clock, nothing happens. */
enum weir__stall_state weir__stall_enter(struct weir__stall *stall, enum weir__stall_state state,
                                         int64_t now_us);

/* Stops it; later calls do nothing. */
void weir__stall_end(struct weir__stall *stall, int64_t now_us);

/* The time spent in a state up to now, the running part included. */
int64_t weir__stall_spent(const struct weir__stall *stall, enum weir__stall_state state,
                          int64_t now_us);

/* The stable name of a state for logs and metrics ("wait_upstream", ...). */
const char *weir__stall_name(enum weir__stall_state state);

#endif
