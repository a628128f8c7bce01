/* SPDX-License-Identifier: MIT */
#ifndef GW_QUANTITY_H
#define GW_QUANTITY_H

#include <stdint.h>

#include <weir/view.h>

/*
 * Durations and sizes as people write them. Strict: a unit says what a number means, so a duration needs one.
 */

/* A quantity written out; also the shortest exact form ("1m30s", "32KiB"). */
struct gw_quantity_text {
    char text[48];
};

/**
 * Parses a duration: numbers with the units h, m, s, ms, each at most once and the larger first ("1m30s"); "0" alone.
 *
 * ret  milliseconds; untouched on failure.
 *
 * Returns 0, or WEIR_EINVAL (not of that form), WEIR_ELIMIT (over INT64_MAX). Context: any thread.
 */
WEIR_NODISCARD int gw_duration_parse(struct weir_view text, int64_t *ret);

/**
 * Parses a size: a number with the unit B, KiB, MiB or GiB, or plain bytes.
 *
 * ret  bytes; untouched on failure.
 *
 * Returns 0, or WEIR_EINVAL, WEIR_ELIMIT (over INT64_MAX, so that sums and off_t are safe). Context: any thread.
 */
WEIR_NODISCARD int gw_size_parse(struct weir_view text, uint64_t *ret);

struct gw_quantity_text gw_duration_text(int64_t ms);
struct gw_quantity_text gw_size_text(uint64_t bytes);

#endif
