/* SPDX-License-Identifier: MIT */
/* The Date field (RFC 9110 5.6.7), formatted once a second per thread. */
#include "http/request.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

struct weir_view weir__http_date(void)
{
    static __thread char text[40];
    static __thread int64_t made_for;
    static __thread size_t len;
    int64_t now = weir__wall_us() / 1000000;

    if (now != made_for) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        time_t seconds = (time_t)now;
        struct tm utc;
        int n;

        gmtime_r(&seconds, &utc);
        n = snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                     days[utc.tm_wday % 7], utc.tm_mday % 100, months[utc.tm_mon % 12],
                     (utc.tm_year + 1900) % 10000, utc.tm_hour % 100, utc.tm_min % 100,
                     utc.tm_sec % 100);
        len = n > 0 ? (size_t)n : 0;
        made_for = now;
    }
    return weir_bytes(text, len);
}
