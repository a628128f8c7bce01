/* SPDX-License-Identifier: MIT */
#ifndef WEIR_FUZZ_FUZZ_H
#define WEIR_FUZZ_FUZZ_H

#include <weir/view.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken claim is a crash, which the fuzzer keeps. */
#define FUZZ_CLAIM(claim)                                                       \
    do {                                                                        \
        if (!(claim)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                            \
        }                                                                       \
    } while (0)

/* A copy of exactly that size: reading past it is seen. To be freed. */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    FUZZ_CLAIM(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

/* How to cut an input into pieces: depends on its bytes alone. */
static inline uint32_t fuzz_seed(const uint8_t *data, size_t size)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ data[i]) * 16777619u;
    }
    return hash;
}

static inline size_t fuzz_piece(uint32_t *seed, size_t left)
{
    size_t len;

    *seed = *seed * 1664525u + 1013904223u;
    len = 1 + (*seed >> 8) % ((*seed >> 5 & 1) != 0 ? 4 : 60);
    return len < left ? len : left;
}

#endif
