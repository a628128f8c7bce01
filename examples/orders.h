/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_ORDERS_H
#define EXAMPLES_ORDERS_H

#include <stdint.h>

/* Makes an SQLite database with a table "orders" of so many rows. It is filled under another name first, so that no half of
 * one is ever taken for the whole. Returns 0, WEIR_EINVAL (the path is too long) or WEIR_EIO, told of on stderr. */
int orders_make(const char *database, uint64_t rows);

#endif
