/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_ASSERT_H
#define WEIR_BASE_ASSERT_H

/*
 * For our own mistakes only; stays on in release builds. No byte of a peer, no config value and no argument of a
 * caller may reach one, but for a dead or wrong handle.
 */
_Noreturn void weir__assert_failed(const char *claim, const char *file, int line);

#define weir_assert(claim)                                   \
    do {                                                     \
        if (__builtin_expect(!(claim), 0)) {                 \
            weir__assert_failed(#claim, __FILE__, __LINE__); \
        }                                                    \
    } while (0)

/* The costly ones: sanitizer and debug builds. */
#ifdef WEIR_DEBUG
#define weir_debug_assert(claim) weir_assert(claim)
#else
#define weir_debug_assert(claim) \
    do {                         \
    } while (0)
#endif

/* Compares an object's magic at a public entry: a use after free becomes an assert with a name. */
#define weir_check(object, expected) weir_assert((object) != NULL && (object)->magic == (expected))

#endif
