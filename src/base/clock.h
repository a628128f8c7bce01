/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

/* Where time comes from: the real monotonic clock, or a test's own. Logic reads time from its loop, not from here. */
typedef int64_t(weir__clock_fn)(void *arg);

/* The monotonic clock in microseconds. Context: any thread. */
int64_t weir__clock_us(void *arg);

/* Wall clock time in microseconds since 1970, for logs and Date. Context: any thread. */
int64_t weir__wall_us(void);

#endif
