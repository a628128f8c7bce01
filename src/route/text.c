/* SPDX-License-Identifier: MIT */
/* Bounded text: numbers, times, JSON strings. */
#include "route/text.h"

void weir__text_put(struct weir__text *text, struct weir_view bytes)
{
    if (text->is_full || bytes.len > text->size - text->len) {
        text->is_full = true;
        return;
    }
    if (bytes.len > 0) {
        memcpy(text->data + text->len, bytes.data, bytes.len);
        text->len += bytes.len;
    }
}

void weir__text_str(struct weir__text *text, const char *literal)
{
    weir__text_put(text, weir_str(literal));
}

void weir__text_u64(struct weir__text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    weir__text_put(text, weir_bytes(digits + at, sizeof(digits) - at));
}

void weir__text_padded(struct weir__text *text, uint64_t number, size_t width)
{
    char digits[20];

    for (size_t i = width; i > 0; i--) {
        digits[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    weir__text_put(text, weir_bytes(digits, width));
}

void weir__text_ms(struct weir__text *text, int64_t us)
{
    if (us < 0) {
        weir__text_str(text, "null");
        return;
    }
    weir__text_u64(text, (uint64_t)us / 1000);
    weir__text_str(text, ".");
    weir__text_padded(text, (uint64_t)us % 1000, 3);
}

void weir__text_seconds(struct weir__text *text, uint64_t us)
{
    weir__text_u64(text, us / 1000000);
    weir__text_str(text, ".");
    weir__text_padded(text, us % 1000000, 6);
}

/* Days since 1970 as a date of the proleptic Gregorian calendar; the year is counted from March, so that the leap day
 * comes last. */
static void put_date(struct weir__text *text, int64_t days)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = shifted / 146097;
    int64_t day_of_era = shifted % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0: March */
    int64_t day = day_of_year - (153 * month + 2) / 5 + 1;
    int64_t year = era * 400 + year_of_era + (month >= 10);

    weir__text_padded(text, (uint64_t)year, 4);
    weir__text_str(text, "-");
    weir__text_padded(text, (uint64_t)(month >= 10 ? month - 9 : month + 3), 2);
    weir__text_str(text, "-");
    weir__text_padded(text, (uint64_t)day, 2);
}

void weir__text_time(struct weir__text *text, int64_t wall_us)
{
    const int64_t last_ms = INT64_C(253402300799999); /* of the year 9999 */
    int64_t ms = wall_us > 0 ? wall_us / 1000 : 0;
    int64_t of_day;

    ms = ms < last_ms ? ms : last_ms;
    of_day = ms % 86400000;
    put_date(text, ms / 86400000);
    weir__text_str(text, "T");
    weir__text_padded(text, (uint64_t)(of_day / 3600000), 2);
    weir__text_str(text, ":");
    weir__text_padded(text, (uint64_t)(of_day / 60000 % 60), 2);
    weir__text_str(text, ":");
    weir__text_padded(text, (uint64_t)(of_day / 1000 % 60), 2);
    weir__text_str(text, ".");
    weir__text_padded(text, (uint64_t)(of_day % 1000), 3);
    weir__text_str(text, "Z");
}

/* The length of the UTF-8 sequence (RFC 3629 4) at the front, or 0 if there is no valid one. */
static size_t utf8_length(struct weir_view text)
{
    uint8_t lead = text.data[0];
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80; /* no overlong forms */
    uint8_t high = lead == 0xed   ? 0x9f
                   : lead == 0xf4 ? 0x8f
                                  : 0xbf; /* no surrogates, no more than U+10FFFF */
    size_t len;

    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (text.len < len || text.data[1] < low || text.data[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

/* One character, of `len` bytes (0: not valid). */
static void put_character(struct weir__text *text, const uint8_t *bytes, size_t len)
{
    bool is_c1 = len == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;

    if (len == 0) {
        weir__text_str(text, "\xef\xbf\xbd"); /* U+FFFD */
    } else if (len == 1 && (bytes[0] == '"' || bytes[0] == '\\')) {
        weir__text_str(text, "\\");
        weir__text_put(text, weir_bytes(bytes, 1));
    } else if (len == 1 && bytes[0] == '\n') {
        weir__text_str(text, "\\n");
    } else if (bytes[0] < 0x20 || bytes[0] == 0x7f || is_c1) {
        /* Those from 0x7f on are legal in JSON, but a terminal may act on them. */
        char digits[2];

        weir__text_hex(digits, bytes + is_c1, 1);
        weir__text_str(text, "\\u00");
        weir__text_put(text, weir_bytes(digits, 2));
    } else {
        weir__text_put(text, weir_bytes(bytes, len));
    }
}

void weir__text_json(struct weir__text *text, struct weir_view value, size_t max_raw)
{
    size_t raw = 0;

    if (weir_view_is_absent(value)) {
        weir__text_str(text, "null");
        return;
    }
    weir__text_str(text, "\"");
    while (value.len > 0) {
        size_t len = utf8_length(value);
        size_t step = len > 0 ? len : 1;

        if (raw + step > max_raw) {
            break;
        }
        put_character(text, value.data, len);
        raw += step;
        value = weir_bytes(value.data + step, value.len - step);
    }
    weir__text_str(text, "\"");
}

void weir__text_hex(char *ret, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
}
