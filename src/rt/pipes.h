/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_PIPES_H
#define WEIR_RT_PIPES_H

#include "rt/loop.h"

/*
 * Kernel pipes for splice, lent per transfer: a stream holds one only while it has bytes in it. A non-empty pipe never
 * returns to the pool.
 */
struct weir__pipe_fds {
    int read_fd, write_fd;
};

/* Returns 0 or WEIR_ELIMIT (no descriptors: copy instead). */
int weir__pipes_get(struct weir__loop *loop, size_t capacity, struct weir__pipe_fds *ret);
void weir__pipes_put(struct weir__loop *loop, struct weir__pipe_fds *fds, bool empty);
void weir__pipes_finish(struct weir__loop *loop);

#endif
