/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMBINATORS_H
#define WEIR_COMBINATORS_H

#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Combinators: each takes a source and gives a source. They pull only when they are pulled, hold nothing between two
 * calls, and own what they wrap: cancelling or destroying the outer one does it to the inner one. A failure of the inner
 * source comes through with its code, side, reason and native cause. All constructors consume `given`, also when they
 * fail; they return WEIR_EINVAL when it is NULL and WEIR_ENOMEM when there is no memory.
 */

/**
 * At most so many bytes in all. What is within the limit is delivered; the first byte beyond it cancels the inner source
 * (WEIR_REASON_LIMIT) and is a final WEIR_ELIMIT. A source of exactly `max_bytes` ends cleanly. Bytes may still move
 * inside the kernel.
 *
 * max_bytes  1 or more.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_limit_create_take(struct weir_source *given, uint64_t max_bytes,
                                                   struct weir_source **ret);

/**
 * Chunks of a size that pays: at least `min_bytes` each, by joining small ones, and at most `max_bytes`. It never waits
 * to fill one up: what is there when the inner source would block (asked with deadline 0), ends or fails is delivered at
 * once, and so it is when there is no memory to join into. Only chunks below the minimum are copied, and their credit
 * returns to the peer with the copy.
 *
 * min_bytes  0 to max_bytes; 0 = join nothing.
 * max_bytes  up to 65536; 0 = 65536.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_rechunk_create_take(struct weir_source *given, size_t min_bytes,
                                                     size_t max_bytes, struct weir_source **ret);

/**
 * Ends a wait for bytes that takes too long. Both cancel the inner source and are a final WEIR_ESTALLED (a wait that ends
 * at the caller's own deadline is WEIR_ETIMEDOUT, which is not final); weir_source_error() tells them apart.
 *
 * idle_ms   the time without a byte (WEIR_REASON_STALL). The clock runs only while a fiber waits in weir_next(): a slow
 *           reader is never taken for a slow source. Waits that end at the caller's deadline add up. 0 = none.
 * total_ms  from the first weir_next(), whoever is slow (WEIR_REASON_TIMEOUT); looked at in weir_next(). 0 = none.
 *
 * Returns 0, WEIR_EINVAL (negative, or both 0), WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_timeout_create_take(struct weir_source *given, int64_t idle_ms,
                                                     int64_t total_ms, struct weir_source **ret);

/**
 * No faster than so many bytes per second: in any span of t seconds at most burst_bytes + t * bytes_per_s are pulled. What
 * is over the rate stays with its sender. The pulling fiber sleeps until a hundredth of a second's worth may go (at least
 * a byte, at most 65536 or the burst), so an end or an error of the inner source is seen that much later. A cancel ends
 * the sleep; the time counts as shaped, not as a stall of either side. Bytes may still move inside the kernel.
 *
 * bytes_per_s  1 to 10^12.
 * burst_bytes  1 to 10^12: what may go at once after a rest, and at the start; 0 = a tenth of a second's worth, at least 1.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_rate_create_take(struct weir_source *given, uint64_t bytes_per_s,
                                                  uint64_t burst_bytes, struct weir_source **ret);

WEIR_END_DECLS

/*
 * Example: an upload of at most 1 GiB that may rest for 30 s, taken at 1 MB/s. `body` is consumed in any case.
 *
 *     int r = weir_limit_create_take(body, 1u << 30, &body);
 *
 *     if (r == 0) {
 *         r = weir_timeout_create_take(body, 30000, 0, &body);
 *     }
 *     if (r == 0) {
 *         r = weir_rate_create_take(body, 1000000, 0, &body);
 *     }
 *     if (r < 0) {
 *         return r;
 *     }
 */

#endif
