/* SPDX-License-Identifier: MIT */
/*
 * HTTP dates (RFC 9110 5.6.7): the Date field, formatted once a second per thread, and any other date, both ways. Without
 * the C library's calendar, which knows locales and time zones.
 */
#include "http/date.h"

#include <weir/err.h>

#include "base/clock.h"
#include "http/request.h"

#include <stdio.h>

#define DAY_SECONDS 86400

static const char days[7][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

int64_t weir__http_now(void)
{
    return weir__wall_us() / 1000000;
}

/* Days since 1970 of a date of the Gregorian calendar; years begin in March here, so that the leap day is their last. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t shifted = month <= 2 ? year - 1 : year;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719468;
}

static int month_days(int64_t year, int month)
{
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    if (month == 2) {
        return leap ? 29 : 28;
    }
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static int64_t year_of(int64_t day)
{
    int64_t year = 1970 + day / 366;

    while (days_of(year + 1, 1, 1) <= day) {
        year++;
    }
    return year;
}

size_t weir__http_date_format(int64_t seconds, char text[WEIR__DATE_BYTES])
{
    int64_t day = seconds / DAY_SECONDS;
    int64_t rest = seconds % DAY_SECONDS;
    int64_t year;
    int month = 1;
    int n;

    if (seconds < 0 || seconds >= 253402300800) { /* the year 10000 */
        return 0;
    }
    year = year_of(day);
    while (month < 12 && days_of(year, month + 1, 1) <= day) {
        month++;
    }
    n = snprintf(text, WEIR__DATE_BYTES, "%.3s, %02d %s %04d %02d:%02d:%02d GMT",
                 days[(day + 4) % 7], (int)(day - days_of(year, month, 1)) + 1, months[month - 1],
                 (int)year, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
    return n > 0 ? (size_t)n : 0;
}

struct weir_view weir__http_date(void)
{
    static __thread char text[WEIR__DATE_BYTES];
    static __thread int64_t made_for;
    static __thread size_t len;
    int64_t now = weir__http_now();

    if (now != made_for) {
        len = weir__http_date_format(now, text);
        made_for = now;
    }
    return weir_bytes(text, len);
}

/* ---- reading ---- */

struct parts {
    int64_t year;
    int month, day, hour, minute, second;
};

static bool take(struct weir_view *text, const char *expected)
{
    struct weir_view prefix = weir_str(expected);

    if (!weir_view_starts_with(*text, prefix)) {
        return false;
    }
    text->data += prefix.len;
    text->len -= prefix.len;
    return true;
}

static bool take_number(struct weir_view *text, size_t digits, int *ret)
{
    uint64_t value;

    if (text->len < digits || weir_view_to_u64(weir_bytes(text->data, digits), &value) < 0) {
        return false;
    }
    text->data += digits;
    text->len -= digits;
    *ret = (int)value;
    return true;
}

static bool take_month(struct weir_view *text, struct parts *parts)
{
    for (int i = 0; i < 12; i++) {
        if (take(text, months[i])) {
            parts->month = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_time(struct weir_view *text, struct parts *parts)
{
    return take_number(text, 2, &parts->hour) && take(text, ":") &&
           take_number(text, 2, &parts->minute) && take(text, ":") &&
           take_number(text, 2, &parts->second);
}

static bool take_year(struct weir_view *text, struct parts *parts)
{
    int year = 0;

    if (!take_number(text, 4, &year)) {
        return false;
    }
    parts->year = year;
    return true;
}

/* " 06 Nov 1994 08:49:37 GMT" */
static bool is_imf(struct weir_view text, struct parts *parts)
{
    return take(&text, " ") && take_number(&text, 2, &parts->day) && take(&text, " ") &&
           take_month(&text, parts) && take(&text, " ") && take_year(&text, parts) &&
           take(&text, " ") && take_time(&text, parts) && take(&text, " GMT") && text.len == 0;
}

/* " 06-Nov-94 08:49:37 GMT"; what seems to be more than 50 years ahead is of the century before. */
static bool is_rfc850(struct weir_view text, int64_t now, struct parts *parts)
{
    int64_t this_year = year_of(now / DAY_SECONDS);
    int year = 0;

    if (!(take(&text, " ") && take_number(&text, 2, &parts->day) && take(&text, "-") &&
          take_month(&text, parts) && take(&text, "-") && take_number(&text, 2, &year) &&
          take(&text, " ") && take_time(&text, parts) && take(&text, " GMT") && text.len == 0)) {
        return false;
    }
    parts->year = this_year - this_year % 100 + year;
    if (parts->year > this_year + 50) {
        parts->year -= 100;
    }
    return true;
}

/* " Nov  6 08:49:37 1994" */
static bool is_asctime(struct weir_view text, struct parts *parts)
{
    if (!(take(&text, " ") && take_month(&text, parts) && take(&text, " "))) {
        return false;
    }
    if (!(take(&text, " ") ? take_number(&text, 1, &parts->day)
                           : take_number(&text, 2, &parts->day))) {
        return false;
    }
    return take(&text, " ") && take_time(&text, parts) && take(&text, " ") &&
           take_year(&text, parts) && text.len == 0;
}

int weir__http_date_parse(struct weir_view text, int64_t now, int64_t *ret)
{
    struct parts parts = {0};
    bool good = false;

    for (size_t i = 0; i < 7 && !good; i++) {
        char brief[4] = {days[i][0], days[i][1], days[i][2], '\0'};
        struct weir_view rest = text;

        if (take(&rest, days[i]) && take(&rest, ",")) {
            good = is_rfc850(rest, now, &parts);
        } else {
            rest = text;
            if (take(&rest, brief)) {
                good = take(&rest, ",") ? is_imf(rest, &parts) : is_asctime(rest, &parts);
            }
        }
    }
    /* 60: a leap second, which the count since 1970 does not have. */
    if (!good || parts.day < 1 || parts.day > month_days(parts.year, parts.month) ||
        parts.hour > 23 || parts.minute > 59 || parts.second > 60 || parts.year < 1900) {
        return WEIR_EINVAL;
    }
    *ret = days_of(parts.year, parts.month, parts.day) * DAY_SECONDS + parts.hour * 3600 +
           parts.minute * 60 + parts.second;
    return 0;
}
