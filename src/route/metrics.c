/* SPDX-License-Identifier: MIT */
/* Counting. One lock, taken once when a stream has ended. */
#include "route/metrics.h"

#include <weir/router.h>

#include "base/alloc.h"
#include "http/request.h"

/* OpenTelemetry's advice up to 10 s, and on for streams. */
const uint64_t weir__duration_bounds_us[WEIR__DURATION_BUCKETS] = {
    5000,    10000,   25000,   50000,    75000,    100000,    250000,     500000,     750000,
    1000000, 2500000, 5000000, 10000000, 60000000, 600000000, 3600000000, 86400000000};
const uint64_t weir__size_bounds[WEIR__SIZE_BUCKETS] = {
    128, 1024, 8192, 65536, 524288, 4194304, 33554432, 268435456, 2147483648};
const char *const weir__method_names[WEIR__METHODS] = {
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "_OTHER"};

int weir_metrics_create(const struct weir_metrics_opts *opts, struct weir_metrics **ret)
{
    struct weir_metrics *metrics = weir_alloc0(sizeof(*metrics));
    size_t max = opts != NULL && opts->max_series > 0 ? opts->max_series : 1000;

    if (metrics == NULL || max > 1000000) {
        weir_free(metrics);
        return metrics == NULL ? WEIR_ENOMEM : WEIR_EINVAL;
    }
    metrics->max_series = max;
    metrics->shared.index_size = 2 * max + 3;
    pthread_mutex_init(&metrics->shared.lock, NULL);
    metrics->shared.routes = weir_alloc0((max + 2) * sizeof(void *));
    metrics->shared.methods = weir_alloc0((max + 1) * sizeof(void *));
    metrics->shared.statuses = weir_alloc0((max + 1) * sizeof(void *));
    metrics->shared.index = weir_alloc0(metrics->shared.index_size * sizeof(uint32_t));
    for (size_t i = 0; metrics->shared.routes != NULL && i < 2; i++) {
        metrics->shared.routes[i] = weir_alloc0(sizeof(struct weir__by_route));
        metrics->shared.route_count += metrics->shared.routes[i] != NULL;
    }
    if (metrics->shared.methods == NULL || metrics->shared.statuses == NULL ||
        metrics->shared.index == NULL || metrics->shared.route_count < 2) {
        weir_metrics_destroy(metrics);
        return WEIR_ENOMEM;
    }
    memcpy(metrics->shared.routes[1]->route, "_OTHER", 7);
    *ret = metrics;
    return 0;
}

void weir_metrics_destroy(struct weir_metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; metrics->shared.routes != NULL && i < metrics->max_series + 2; i++) {
        weir_free(metrics->shared.routes[i]);
    }
    for (size_t i = 0; i < metrics->shared.method_count; i++) {
        weir_free(metrics->shared.methods[i]);
    }
    for (size_t i = 0; i < metrics->shared.status_count; i++) {
        weir_free(metrics->shared.statuses[i]);
    }
    weir_free(metrics->shared.routes);
    weir_free(metrics->shared.methods);
    weir_free(metrics->shared.statuses);
    weir_free(metrics->shared.index);
    pthread_mutex_destroy(&metrics->shared.lock);
    weir_free(metrics);
}

static void observe(struct weir__histogram *histogram, const uint64_t *bounds, size_t buckets,
                    uint64_t value)
{
    size_t i = 0;

    while (i < buckets && value > bounds[i]) {
        i++;
    }
    histogram->counts[i]++;
    histogram->count++;
    histogram->sum += value;
}

/* ---- finding entries; under the lock ---- */

static uint32_t route_index(struct weir_metrics *metrics, struct weir_view route)
{
    struct weir__by_route *entry;

    if (weir_view_is_absent(route)) {
        return 0;
    }
    for (size_t i = 2; i < metrics->shared.route_count; i++) {
        if (weir_view_equal(route, weir_str(metrics->shared.routes[i]->route))) {
            return (uint32_t)i;
        }
    }
    if (metrics->shared.route_count >= metrics->max_series + 2 || route.len >= WEIR__ROUTE_TEXT) {
        return WEIR__ROUTE_OTHER;
    }
    entry = weir_alloc0(sizeof(*entry));
    if (entry == NULL) {
        return WEIR__ROUTE_OTHER;
    }
    memcpy(entry->route, route.data, route.len);
    metrics->shared.routes[metrics->shared.route_count] = entry;
    return (uint32_t)metrics->shared.route_count++;
}

/* NULL: there is no room. For what has none there is always an entry, but for want of memory. */
static struct weir__by_method *method_entry(struct weir_metrics *metrics, uint32_t route,
                                            uint8_t method)
{
    struct weir__by_method *entry;

    for (size_t i = 0; i < metrics->shared.method_count; i++) {
        entry = metrics->shared.methods[i];
        if (entry->route == route && entry->method == method) {
            return entry;
        }
    }
    if (metrics->shared.method_count >= metrics->max_series + (route == WEIR__ROUTE_OTHER)) {
        return NULL;
    }
    entry = weir_alloc0(sizeof(*entry));
    if (entry != NULL) {
        entry->route = route;
        entry->method = method;
        metrics->shared.methods[metrics->shared.method_count++] = entry;
    }
    return entry;
}

static bool same_labels(const struct weir__by_status *a, const struct weir__by_status *b)
{
    return a->route == b->route && a->status == b->status && a->method == b->method &&
           a->outcome == b->outcome && a->http10 == b->http10 && a->is_stream == b->is_stream;
}

static struct weir__by_status *status_entry(struct weir_metrics *metrics,
                                            const struct weir__by_status *labels)
{
    uint64_t hash = labels->route;
    struct weir__by_status *entry;
    size_t at;

    hash = hash * 1021 + labels->status;
    hash = hash * 31 + labels->method;
    hash = hash * 31 + labels->outcome;
    hash = hash * 4 + labels->http10 * 2u + labels->is_stream;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    at = (size_t)(hash >> 20) % metrics->shared.index_size;
    while (metrics->shared.index[at] != 0) {
        entry = metrics->shared.statuses[metrics->shared.index[at] - 1];
        if (same_labels(entry, labels)) {
            return entry;
        }
        at = (at + 1) % metrics->shared.index_size;
    }
    if (metrics->shared.status_count >=
        metrics->max_series + (labels->route == WEIR__ROUTE_OTHER && labels->status == 0)) {
        return NULL;
    }
    entry = weir_alloc0(sizeof(*entry));
    if (entry != NULL) {
        *entry = *labels;
        metrics->shared.statuses[metrics->shared.status_count++] = entry;
        metrics->shared.index[at] = (uint32_t)metrics->shared.status_count;
    }
    return entry;
}

/* ---- the middleware ---- */

struct counted {
    struct weir_reply_filter filter;
    int64_t head_us; /* 0: no head yet */
    bool is_stream;
};

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct counted *counted = (struct counted *)(void *)filter;
    bool is_stream =
        weir_reply_has_body(reply) && weir_reply_length(reply) >= WEIR_LENGTH_UNTIL_CLOSE;
    int r = weir_reply_next(reply, ret);

    if (r == 0 && counted->head_us == 0) {
        counted->head_us = weir_clock_us();
        counted->is_stream = is_stream;
    }
    return r;
}

static uint8_t method_index(struct weir_view method)
{
    uint8_t i = 0;

    while (i < WEIR__METHODS - 1 && !weir_view_equal(method, weir_str(weir__method_names[i]))) {
        i++;
    }
    return i;
}

static void count_route(struct weir__by_route *entry, const struct weir_answer *answer,
                        int64_t first_byte_us)
{
    const struct weir_stall *stall = &answer->stall;
    const int64_t times[WEIR__CAUSES] = {
        stall->moving_us, stall->wait_source_us, stall->stream_window_us, stall->conn_window_us,
        stall->socket_us, stall->shaped_us,      stall->held_us,
    };

    for (size_t i = 0; i < WEIR__CAUSES; i++) {
        entry->stall_us[i] += times[i];
    }
    entry->outcomes[answer->outcome]++;
    entry->received += answer->body_received;
    entry->sent += answer->body_sent;
    if (first_byte_us >= 0) {
        observe(&entry->first_byte, weir__duration_bounds_us, WEIR__DURATION_BUCKETS,
                (uint64_t)first_byte_us);
    }
}

static void count(struct weir_metrics *metrics, struct weir_req *req, uint8_t method,
                  const struct counted *counted)
{
    struct weir__by_status labels = {.method = method, .is_stream = counted->is_stream};
    struct weir__by_status *by_status;
    struct weir__by_method *by_method;
    struct weir_answer answer;

    weir_req_answer(req, &answer);
    labels.status = (uint16_t)answer.status;
    labels.outcome = (uint8_t)answer.outcome;
    labels.http10 = req->is_http10;
    pthread_mutex_lock(&metrics->shared.lock);
    labels.route = route_index(metrics, weir_req_route(req));
    count_route(metrics->shared.routes[labels.route], &answer,
                counted->head_us != 0 ? counted->head_us - weir_req_arrived_us(req) : -1);
    by_method = method_entry(metrics, labels.route, method);
    if (by_method == NULL) {
        by_method = method_entry(metrics, WEIR__ROUTE_OTHER, WEIR__METHODS - 1);
    }
    by_status = status_entry(metrics, &labels);
    if (by_status == NULL) {
        labels = (struct weir__by_status){.route = WEIR__ROUTE_OTHER,
                                          .method = WEIR__METHODS - 1,
                                          .outcome = WEIR_OUTCOME_COMPLETE};
        by_status = status_entry(metrics, &labels);
    }
    if (by_status != NULL) {
        observe(&by_status->duration, weir__duration_bounds_us, WEIR__DURATION_BUCKETS,
                (uint64_t)answer.duration_us);
    }
    if (by_method != NULL) {
        observe(&by_method->request_size, weir__size_bounds, WEIR__SIZE_BUCKETS,
                answer.body_received);
        observe(&by_method->response_size, weir__size_bounds, WEIR__SIZE_BUCKETS, answer.body_sent);
    }
    pthread_mutex_unlock(&metrics->shared.lock);
}

int weir_mw_metrics(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_metrics *metrics = arg;
    struct counted counted = {.filter = {.begin = begin}};
    uint8_t method = method_index(weir_req_method(req));
    int r;

    atomic_fetch_add_explicit(&metrics->shared.active[method], 1, memory_order_relaxed);
    weir_req_filter_reply(req, &counted.filter);
    r = weir_chain_run(next, req);
    count(metrics, req, method, &counted);
    atomic_fetch_sub_explicit(&metrics->shared.active[method], 1, memory_order_relaxed);
    return r;
}
