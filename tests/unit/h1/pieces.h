/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TEST_H1_PIECES_H
#define WEIR_TEST_H1_PIECES_H

#include "h1/scan.h"

#include <stdlib.h>
#include <string.h>

/* A fixed sequence, the same in each run. */
static inline uint32_t pieces_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/*
 * Finds a head's end in `all` given in pieces: of `step` bytes, or of random ones when step is 0. Each piece is
 * presented in a block of exactly that size, so that a sanitizer sees any byte read too far.
 */
static inline int pieces_scan(const struct weir__h1_limits *limits, bool is_request,
                              struct weir_view all, size_t step, uint32_t seed, size_t *ret_len,
                              int *ret_status)
{
    struct weir__h1_scan scan = {0};
    size_t have = 0;
    int r = 0;

    while (r == 0 && have < all.len) {
        size_t more = step > 0 ? step : 1 + pieces_random(&seed) % 40;
        uint8_t *copy;

        have = all.len - have < more ? all.len : have + more;
        copy = malloc(have);
        memcpy(copy, all.data, have);
        r = weir__h1_scan_head(&scan, limits, is_request, weir_bytes(copy, have), ret_len,
                               ret_status);
        free(copy);
    }
    return r;
}

#endif
