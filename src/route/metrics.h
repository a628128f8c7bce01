/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTE_METRICS_H
#define WEIR_ROUTE_METRICS_H

#include <weir/telemetry.h>

#include <pthread.h>
#include <stdatomic.h>

/*
 * Counts by route, by route and method, and by everything. The tables only grow, up to a bound, and their entries never
 * move, so a reader may go through them by index while requests are counted; one lock is held for each single entry.
 */
#define WEIR__DURATION_BUCKETS 17
#define WEIR__SIZE_BUCKETS 9
#define WEIR__METHODS 10
#define WEIR__OUTCOMES 6
#define WEIR__ROUTE_TEXT 128
#define WEIR__CAUSES 7
#define WEIR__ROUTE_OTHER 1 /* in weir_metrics.shared.routes */

extern const uint64_t weir__duration_bounds_us[WEIR__DURATION_BUCKETS];
extern const uint64_t weir__size_bounds[WEIR__SIZE_BUCKETS];
extern const char *const weir__method_names[WEIR__METHODS]; /* the last: what is none of them */

struct weir__histogram {
    uint64_t
        counts[WEIR__DURATION_BUCKETS + 1]; /* not yet summed up; the last: beyond all bounds */
    uint64_t count, sum;
};

struct weir__by_route {
    char route[WEIR__ROUTE_TEXT];
    struct weir__histogram first_byte;
    uint64_t outcomes[WEIR__OUTCOMES], received, sent;
    int64_t stall_us[WEIR__CAUSES];
};

struct weir__by_method {
    uint32_t route;
    uint8_t method;
    struct weir__histogram request_size, response_size;
};

struct weir__by_status {
    uint32_t route;
    uint16_t status;
    uint8_t method, outcome;
    bool http10, is_stream;
    struct weir__histogram duration;
};

struct weir_metrics {
    size_t max_series;
    struct {
        pthread_mutex_t lock;
        struct weir__by_route **routes; /* [0]: what has no route, [1]: what found no room */
        struct weir__by_method **methods;
        struct weir__by_status **statuses;
        size_t route_count, method_count, status_count;
        uint32_t *index; /* of statuses, by the hash of their labels; + 1, 0: free */
        size_t index_size;
        _Atomic int64_t active[WEIR__METHODS];
    } shared;
};

#endif
