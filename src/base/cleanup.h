/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_CLEANUP_H
#define WEIR_BASE_CLEANUP_H

/*
 * Cleanup by attribute: a constructor builds into cleanup variables and ends in weir_take().
 */
#define WEIR_CLEANUP(function) __attribute__((cleanup(function)))

/* Moves a pointer out of its variable, leaving NULL. A macro, for it must keep the pointer's type. */
#define weir_take(pointer)                     \
    __extension__({                            \
        __typeof__(pointer) taken = (pointer); \
        (pointer) = NULL;                      \
        taken;                                 \
    })

#endif
