/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMPRESS_WORK_H
#define WEIR_COMPRESS_WORK_H

#include <weir/err.h>

#include <stddef.h>
#include <stdint.h>

#include "rt/fiber.h"

/*
 * Coders may take much before they give a byte (or little, and give much): so that the others on the loop have their turn,
 * whoever runs one counts what it moves.
 */
struct weir__work {
    size_t bytes;
};
#define WEIR__WORK_BYTES ((size_t)262144) /* without a pause */

/* Lets the others run when it is time. Returns 0, or WEIR_EAGAIN: the caller does not want to wait. */
static inline int weir__work_pause(struct weir__work *work, int64_t deadline)
{
    if (work->bytes < WEIR__WORK_BYTES) {
        return 0;
    }
    work->bytes = 0;
    if (deadline == 0) {
        return WEIR_EAGAIN;
    }
    weir__fiber_yield();
    return 0;
}

#endif
