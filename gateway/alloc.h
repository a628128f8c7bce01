/* SPDX-License-Identifier: MIT */
#ifndef GW_ALLOC_H
#define GW_ALLOC_H

#include <stdlib.h>

/* The gateway's door to the heap: one place to look at, and to fail on purpose. NULL when out of memory. */

static inline void *gw_alloc0(size_t size)
{
    return calloc(1, size);
}

/* `old` is untouched on failure. */
static inline void *gw_realloc(void *old, size_t size)
{
    return realloc(old, size);
}

static inline void gw_free(void *block)
{
    free(block);
}

#endif
