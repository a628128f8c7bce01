/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_LEVELS_H
#define WEIR_RT_LEVELS_H

#include <stdbool.h>

#include <weir/err.h>

#include "rt/loop.h"

/*
 * Level-triggered descriptors for a foreign library that opens, closes and re-registers its sockets
 * at will: a small epoll set that the loop watches as one descriptor. Embedded by its owner.
 */
struct weir__levels {
    struct weir__watch watch; /* of the set itself; fd -1: not open */
    struct weir__loop *loop;
    /* Called on the loop's stack for each descriptor that is ready; may change the set, not close
     * it. A descriptor closed and opened anew during a batch may be reported without being ready.
     * */
    void (*on_ready)(struct weir__levels *levels, int fd, bool readable, bool writable);
    /* Called once after a batch. */
    void (*on_batch_end)(struct weir__levels *levels);
};

/* The callbacks are set by the caller. Returns 0, WEIR_ENOMEM, WEIR_ELIMIT (no descriptor),
 * WEIR_EIO. */
WEIR_NODISCARD int weir__levels_open(struct weir__loop *loop, struct weir__levels *levels);
/* Harmless when it is not open. */
void weir__levels_close(struct weir__levels *levels);

/* What to look for; neither: forgotten, before its owner closes it. Returns 0, WEIR_ENOMEM,
 * WEIR_EIO. */
int weir__levels_set(struct weir__levels *levels, int fd, bool readable, bool writable);

#endif
