/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_DATE_H
#define WEIR_HTTP_DATE_H

#include <stddef.h>
#include <stdint.h>

#include <weir/view.h>

/* HTTP dates (RFC 9110 5.6.7), in seconds since 1970. */
#define WEIR__DATE_BYTES 40

/* Writes the preferred form, e.g. "Sun, 06 Nov 1994 08:49:37 GMT". Returns its length; 0 for a year beyond 9999. */
size_t weir__http_date_format(int64_t seconds, char text[WEIR__DATE_BYTES]);

/* Reads any of the three forms a recipient has to know; `now` decides the century of the oldest. Returns 0 or
 * WEIR_EINVAL. */
int weir__http_date_parse(struct weir_view text, int64_t now, int64_t *ret);

/* The wall clock in seconds. */
int64_t weir__http_now(void);

#endif
