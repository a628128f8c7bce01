/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_ALLOC_H
#define WEIR_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/*
 * The only door to the heap. Out of memory is returned, never fatal. Tests make the n-th allocation fail and look
 * at the count of live blocks.
 */

/* NULL when out of memory. Context: any thread. */
void *weir_alloc(size_t size);
/* The same, zeroed. */
void *weir_alloc0(size_t size);
/* NULL when out of memory: `old` is then untouched. */
void *weir_realloc(void *old, size_t size);
void weir_free(void *block);
/* For WEIR_CLEANUP on a `char *` or `uint8_t *`. */
void weir_freep(void *block_pointer);

/* Test hooks: fail the n-th allocation from now on (1 = the next; 0 = never) and each after it; only the n-th; live
 * blocks. */
void weir__alloc_fail_at(int64_t n);
void weir__alloc_fail_only(int64_t n);
int64_t weir__alloc_live(void);

#endif
