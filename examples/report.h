/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_REPORT_H
#define EXAMPLES_REPORT_H

#include <stddef.h>
#include <stdint.h>

/*
 * A CSV report of orders, generated row by row as it is read. Size and seed say all there is to say: the same pair gives
 * the same bytes, so that their hash can be told without keeping them.
 */
#define REPORT_PREFIX ((size_t)32) /* "0000000001,2025-01-01T00:00:00Z," */
#define REPORT_TAIL ((size_t)64)   /* the most that follows it */
#define REPORT_ROW (REPORT_PREFIX + REPORT_TAIL)

struct report {
    uint64_t left; /* bytes that are not generated yet */
    uint64_t random;
    int64_t day; /* of the prefix, since 1970 */
    char prefix[REPORT_PREFIX];
    char carry[2 * REPORT_ROW]; /* a row that did not fit the last buffer whole */
    size_t carry_at, carry_len;
};

/* Prepares what all reports share. Once, before the first one. */
void report_prepare(void);

/* bytes: of the whole report, at least 1024. */
void report_init(struct report *report, uint64_t bytes, uint64_t seed);

/* Fills a buffer. Returns the bytes filled in: `cap`, or fewer at the report's end. */
size_t report_read(struct report *report, uint8_t *out, size_t cap);

#endif
