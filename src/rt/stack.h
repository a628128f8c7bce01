/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_STACK_H
#define WEIR_RT_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The stacks of one loop: equal slots of large reservations, each with a guard page at its low end. A slot that was
 * used lately stays resident and is handed out again first; beyond a few, a freed slot gives its pages back.
 */
#define WEIR__STACK_BYTES ((size_t)64 * 1024)
#define WEIR__PAGE_BYTES ((size_t)4096)

struct weir__stacks {
    struct weir__stack_segment {
        uint8_t *base;
        uint32_t used; /* slots ever handed out; the rest was never touched */
    } * segments;
    size_t segment_count;
    uint8_t **
        free; /* tops of freed slots, last in first out; the last `resident` ones have their pages */
    size_t free_count, free_capacity, resident;
    size_t live;
    bool cheap_guards; /* MADV_GUARD_INSTALL works: a guard costs no mapping */
};

void weir__stacks_init(struct weir__stacks *stacks);
void weir__stacks_finish(struct weir__stacks *stacks);

/* The top (high end, 4096-aligned) of a free slot. Returns 0, WEIR_ENOMEM, or WEIR_ELIMIT: with costly guards only so
 * many stacks fit into the kernel's count of mappings. */
int weir__stacks_get(struct weir__stacks *stacks, uint8_t **ret_top);
void weir__stacks_put(struct weir__stacks *stacks, uint8_t *top);

/* Gives back the pages of a slot that lie wholly below `lowest_used`. */
void weir__stack_trim(uint8_t *top, const void *lowest_used);

/* Whether `address` lies in a guard page; for the signal handler that names an overflow. */
bool weir__stacks_is_guard(const struct weir__stacks *stacks, const void *address);

/* Test hook: pretend that the kernel has no cheap guards. */
void weir__stacks_force_mprotect(bool force);

#endif
