/* SPDX-License-Identifier: MIT */
/* Range fields and HTTP dates: tables, and every number near the bounds. */
#include "http_test.h"

#include "http/date.h"
#include "http/range.h"

struct row {
    const char *value;
    uint64_t size;
    enum weir__range_kind kind;
    uint64_t first, length;
};

static const struct row rows[] = {
    /* RFC 9110 14.1.2 */
    {"bytes=0-499", 10000, WEIR__RANGE_ONE, 0, 500},
    {"bytes=500-999", 10000, WEIR__RANGE_ONE, 500, 500},
    {"bytes=-500", 10000, WEIR__RANGE_ONE, 9500, 500},
    {"bytes=9500-", 10000, WEIR__RANGE_ONE, 9500, 500},
    {"bytes=0-0", 10000, WEIR__RANGE_ONE, 0, 1},
    {"bytes=-1", 10000, WEIR__RANGE_ONE, 9999, 1},
    {"bytes=0-", 10000, WEIR__RANGE_ONE, 0, 10000},
    {"BYTES=1-2", 10000, WEIR__RANGE_ONE, 1, 2},
    {"bytes=9999-", 10000, WEIR__RANGE_ONE, 9999, 1},
    {"bytes=9999-9999", 10000, WEIR__RANGE_ONE, 9999, 1},
    {"bytes=0-10000", 10000, WEIR__RANGE_ONE, 0, 10000},
    {"bytes=5-1000000", 10000, WEIR__RANGE_ONE, 5, 9995},
    {"bytes=007-0008", 10000, WEIR__RANGE_ONE, 7, 2},
    {"bytes=-20000", 10000, WEIR__RANGE_ONE, 0, 10000},
    /* beyond the end */
    {"bytes=10000-", 10000, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=10000-10001", 10000, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=-0", 10000, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=-000", 10000, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=0-", 0, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=0-0", 0, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=-0", 0, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=-5", 0, WEIR__RANGE_NONE, 0, 0},
    /* numbers that no machine has */
    {"bytes=0-18446744073709551615", 10, WEIR__RANGE_ONE, 0, 10},
    {"bytes=0-18446744073709551616", 10, WEIR__RANGE_ONE, 0, 10},
    {"bytes=1-99999999999999999999999999999999", 10, WEIR__RANGE_ONE, 1, 9},
    {"bytes=-99999999999999999999999999999999", 10, WEIR__RANGE_ONE, 0, 10},
    {"bytes=18446744073709551616-", 10, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=18446744073709551616-18446744073709551617", 10, WEIR__RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=18446744073709551614-", UINT64_MAX, WEIR__RANGE_ONE, UINT64_MAX - 1, 1},
    {"bytes=0-99999999999999999999999999x", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=99999999999999999999999999x-", 10, WEIR__RANGE_NONE, 0, 0},
    /* lists: empty elements are none, more than one range is the whole */
    {"bytes=0-1,", 10, WEIR__RANGE_ONE, 0, 2},
    {"bytes=,0-1", 10, WEIR__RANGE_ONE, 0, 2},
    {"bytes=0-1 , ,", 10, WEIR__RANGE_ONE, 0, 2},
    {"bytes=0-1,2-3", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=0-0,-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=90-,80-", 10, WEIR__RANGE_NONE, 0, 0},
    /* not understood */
    {"", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=,", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=-", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=--1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=a-b", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=1-b", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=2-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=20-11", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=0-1-2", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=+0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes= 0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=0 -1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=0- 1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes =0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes:0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"items=0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"0-1", 10, WEIR__RANGE_NONE, 0, 0},
    {"bytes=0x0-1", 10, WEIR__RANGE_NONE, 0, 0},
};

static void ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct weir__range range = {77, 77};
        enum weir__range_kind kind =
            weir__range_parse(weir_str(rows[i].value), rows[i].size, &range);

        if (kind != rows[i].kind) {
            fail_msg("%s of %llu: %d", rows[i].value, (unsigned long long)rows[i].size, (int)kind);
        }
        assert_int_equal(range.first, kind == WEIR__RANGE_ONE ? rows[i].first : 77);
        assert_int_equal(range.length, kind == WEIR__RANGE_ONE ? rows[i].length : 77);
    }
}

/* All small ranges against what they mean by the book. */
static void all_small_ranges(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 6; size++) {
        for (uint64_t first = 0; first < 8; first++) {
            for (uint64_t last = first; last < 8; last++) {
                struct weir__range range;
                char text[32];
                enum weir__range_kind kind;

                snprintf(text, sizeof(text), "bytes=%u-%u", (unsigned)first, (unsigned)last);
                kind = weir__range_parse(weir_str(text), size, &range);
                assert_int_equal(kind, first < size ? WEIR__RANGE_ONE : WEIR__RANGE_UNSATISFIABLE);
                if (first < size) {
                    assert_int_equal(range.first, first);
                    assert_int_equal(range.first + range.length, last + 1 < size ? last + 1 : size);
                }
            }
        }
    }
}

/* ---- dates ---- */

static void dates_in_three_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
        {"Wednesday, 01-Jan-70 00:00:01 GMT",
         3155760001}, /* 50 years ahead of 2020 is not "more" */
        {"Friday, 01-Jan-71 00:00:01 GMT", 31536001},
        {"Sat Nov 16 08:49:37 2024", 1731746977},
    };
    static const char *const bad[] = {
        "",
        "0",
        "-1",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Mon, 29 Feb 1999 08:49:37 GMT",
        "Mon, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  66 08:49:37 1994",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t seconds = 7;

        if (weir__http_date_parse(weir_str(good[i].text), 1577836800, &seconds) != 0 ||
            seconds != good[i].seconds) {
            fail_msg("%s: %lld", good[i].text, (long long)seconds);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t seconds = 7;

        if (weir__http_date_parse(weir_str(bad[i]), 1577836800, &seconds) != WEIR_EINVAL) {
            fail_msg("%s: %lld", bad[i], (long long)seconds);
        }
        assert_int_equal(seconds, 7);
    }
}

/* Each day of 8,000 years, at some second, there and back; and as the C library's calendar has it. */
static void dates_there_and_back(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 2932896; day++) {
        int64_t seconds = day * 86400 + day * 7919 % 86400;
        int64_t back = -1;
        char text[WEIR__DATE_BYTES];
        size_t len = weir__http_date_format(seconds, text);

        assert_int_equal(len, 29);
        assert_int_equal(weir__http_date_parse(weir_bytes(text, len), 0, &back), 0);
        assert_int_equal(back, seconds);
        if (day % 1000 == 0) {
            time_t time = (time_t)seconds;
            struct tm utc;
            char other[64];

            gmtime_r(&time, &utc);
            strftime(other, sizeof(other), "%a, %d %b %Y %H:%M:%S GMT", &utc);
            assert_string_equal(text, other);
        }
    }
    assert_int_equal(weir__http_date_format(-1, (char[WEIR__DATE_BYTES]){0}), 0);
    assert_int_equal(weir__http_date_format(253402300800, (char[WEIR__DATE_BYTES]){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(all_small_ranges),
        cmocka_unit_test(dates_in_three_forms),
        cmocka_unit_test(dates_there_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
