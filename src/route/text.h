/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTE_TEXT_H
#define WEIR_ROUTE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/view.h>

/* Text that is put together in a buffer of fixed size. Once something did not fit, nothing more is added. */
struct weir__text {
    char *data;
    size_t len, size;
    bool is_full;
};

void weir__text_put(struct weir__text *text, struct weir_view bytes);
void weir__text_str(struct weir__text *text, const char *literal);
void weir__text_u64(struct weir__text *text, uint64_t number);
/* With leading zeros. */
void weir__text_padded(struct weir__text *text, uint64_t number, size_t width);
/* Microseconds as milliseconds with three decimals; "null" below 0. */
void weir__text_ms(struct weir__text *text, int64_t us);
/* Microseconds as seconds with six decimals. */
void weir__text_seconds(struct weir__text *text, uint64_t us);
/* RFC 3339, UTC, with milliseconds. */
void weir__text_time(struct weir__text *text, int64_t wall_us);
/* A JSON string (RFC 8259 7) of at most max_raw bytes of the text, "null" for an absent one. What is not UTF-8 becomes
 * U+FFFD, control characters are escaped, so it grows to at most six times its length. */
void weir__text_json(struct weir__text *text, struct weir_view value, size_t max_raw);

/* 2 * len hex digits, without a NUL. */
void weir__text_hex(char *ret, const uint8_t *bytes, size_t len);

#endif
