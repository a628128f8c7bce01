/* SPDX-License-Identifier: MIT */
/*
 * Generates the report. A row is a prefix that counts on (id and time, in place, digit by digit) and one of 4096 prepared
 * tails; both are copied with a fixed length, the next row overwrites what was too much. That makes several GB/s on one
 * core: the report must never be what a stream waits for.
 */
#include "report.h"

#include <stdio.h>
#include <string.h>

#define TAILS ((size_t)4096)
#define FIRST_DAY INT64_C(20089) /* 2025-01-01 */

static const char heading[] =
    "id,timestamp,customer,country,product,quantity,unit_price,amount,currency,status,note\n";

static struct {
    char text[REPORT_TAIL];
    uint8_t len;
} tails[TAILS];

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void report_prepare(void)
{
    static const char *const countries[][2] = {
        {"DE", "EUR"}, {"FR", "EUR"}, {"NL", "EUR"}, {"ES", "EUR"}, {"GB", "GBP"}, {"US", "USD"},
        {"CH", "CHF"}, {"SE", "SEK"}, {"PL", "PLN"}, {"JP", "JPY"}, {"CA", "CAD"}, {"IT", "EUR"},
    };
    static const char *const states[] = {"paid",    "paid", "paid",    "shipped",
                                         "shipped", "open", "refunded"};
    uint64_t random = UINT64_C(0x9E3779B97F4A7C15);

    for (size_t i = 0; i < TAILS; i++) {
        unsigned customer = (unsigned)(next_random(&random) % 1000000);
        unsigned product = (unsigned)(next_random(&random) % 10000);
        unsigned quantity = 1 + (unsigned)(next_random(&random) % 20);
        unsigned cents = 99 + (unsigned)(next_random(&random) % 99900);
        const char *const *country =
            countries[next_random(&random) % (sizeof(countries) / sizeof(countries[0]))];
        int len =
            snprintf(tails[i].text, REPORT_TAIL, "C-%06u,%s,SKU-%04u,%u,%u.%02u,%u.%02u,%s,%s,\n",
                     customer, country[0], product, quantity, cents / 100, cents % 100,
                     cents * quantity / 100, cents * quantity % 100, country[1],
                     states[next_random(&random) % (sizeof(states) / sizeof(states[0]))]);

        tails[i].len = (uint8_t)len;
    }
}

static void put_digits(char *out, size_t digits, uint64_t value)
{
    while (digits > 0) {
        out[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The date of a day since 1970, by eras of 400 years that begin in March. */
static void put_date(char *out, int64_t day)
{
    uint64_t shifted = (uint64_t)(day + 719468);
    uint64_t era = shifted / 146097, of_era = shifted % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153;

    put_digits(out + 8, 2, of_year - (153 * month + 2) / 5 + 1);
    month = month < 10 ? month + 3 : month - 9;
    put_digits(out + 5, 2, month);
    put_digits(out, 4, era * 400 + year + (month <= 2));
}

/* Adds 1 to two digits that run to `limit`. Returns whether they begin again at 00. */
static int carry_digits(char *out, char tens, char ones)
{
    if (out[0] == tens && out[1] == ones) {
        out[0] = out[1] = '0';
        return 1;
    }
    if (out[1] == '9') {
        out[0]++;
        out[1] = '0';
    } else {
        out[1]++;
    }
    return 0;
}

/* The next id, a second later: "0000000001,2025-01-01T00:00:00Z,". */
static void advance(struct report *report)
{
    char *p = report->prefix;
    size_t i = 9;

    while (p[i] == '9' && i > 0) {
        p[i--] = '0';
    }
    p[i]++;
    if (carry_digits(p + 28, '5', '9') && carry_digits(p + 25, '5', '9') &&
        carry_digits(p + 22, '2', '3')) {
        put_date(p + 11, ++report->day);
    }
}

void report_init(struct report *report, uint64_t bytes, uint64_t seed)
{
    memset(report, 0, sizeof(*report));
    /* The state of the generator must not be zero; neighbouring seeds must not begin alike. */
    report->random = (seed + 1) * UINT64_C(0xD1342543DE82EF95) | 1;
    next_random(&report->random);
    report->day = FIRST_DAY;
    memcpy(report->prefix, "0000000001,2025-01-01T00:00:00Z,", REPORT_PREFIX);
    report->left = bytes;
    report->carry_len = sizeof(heading) - 1;
    memcpy(report->carry, heading, report->carry_len);
    report->left -= report->carry_len;
}

/* One row of its usual length; `out` has room for REPORT_ROW bytes. */
static size_t put_row(struct report *report, char *out)
{
    size_t pick = (next_random(&report->random) >> 20) % TAILS;

    memcpy(out, report->prefix, REPORT_PREFIX);
    memcpy(out + REPORT_PREFIX, tails[pick].text, REPORT_TAIL);
    advance(report);
    return REPORT_PREFIX + tails[pick].len;
}

/* The last row, whose note is as long as it takes to end at the exact byte. */
static void carry_last_row(struct report *report)
{
    static const char note[] = "end of report";
    size_t len = put_row(report, report->carry) - 1, whole = (size_t)report->left;

    for (size_t i = 0; len < whole - 1; i++) {
        report->carry[len++] = i < sizeof(note) - 1 ? note[i] : '.';
    }
    report->carry[len] = '\n';
    report->carry_at = 0;
    report->carry_len = whole;
    report->left = 0;
}

static void carry_row(struct report *report)
{
    /* What remains after a usual row must hold another one. */
    if (report->left < 2 * REPORT_ROW) {
        carry_last_row(report);
        return;
    }
    report->carry_at = 0;
    report->carry_len = put_row(report, report->carry);
    report->left -= report->carry_len;
}

size_t report_read(struct report *report, uint8_t *out, size_t cap)
{
    size_t len = 0;

    while (len < cap) {
        size_t carried = report->carry_len - report->carry_at;

        if (carried > 0) {
            carried = carried < cap - len ? carried : cap - len;
            memcpy(out + len, report->carry + report->carry_at, carried);
            report->carry_at += carried;
            len += carried;
        } else if (report->left == 0) {
            break;
        } else if (cap - len >= REPORT_ROW && report->left >= 2 * REPORT_ROW) {
            size_t row = put_row(report, (char *)out + len);

            len += row;
            report->left -= row;
        } else {
            carry_row(report);
        }
    }
    return len;
}
