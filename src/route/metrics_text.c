/* SPDX-License-Identifier: MIT */
/* The counts as Prometheus text, streamed: entry by entry through one buffer, however many there are. */
#include "route/metrics.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "http/request.h"
#include "route/text.h"

#define BUFFER_BYTES 16384
#define SPARE_BYTES 8192 /* what one entry takes at most in one family */

struct out {
    struct weir_metrics *metrics;
    struct weir_sink *sink;
    struct weir__text text;
    int r;
};

/* Makes room for one more entry. */
static void make_room(struct out *out)
{
    if (out->r == 0 && out->text.size - out->text.len < SPARE_BYTES) {
        out->r = weir_emit_bytes(out->sink, weir_bytes(out->text.data, out->text.len), -1);
        out->text.len = 0;
    }
}

static void put(struct out *out, const char *text)
{
    weir__text_str(&out->text, text);
}

static void family(struct out *out, const char *name, const char *type, const char *help)
{
    make_room(out);
    put(out, "# HELP ");
    put(out, name);
    put(out, " ");
    put(out, help);
    put(out, "\n# TYPE ");
    put(out, name);
    put(out, " ");
    put(out, type);
    put(out, "\n");
}

/* A label's value with what would end it escaped; patterns have no control bytes. */
static void put_value(struct out *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\') {
            put(out, "\\");
        }
        weir__text_put(&out->text, weir_bytes(value, 1));
    }
}

static void label(struct out *out, const char *name, const char *value)
{
    if (out->text.data[out->text.len - 1] != '{') {
        put(out, ",");
    }
    put(out, name);
    put(out, "=\"");
    put_value(out, value);
    put(out, "\"");
}

/* "name_bucket{LABELS,le="0.005"} 1" and so on; `labels` were written to `out` before, from `from` on. */
static void histogram(struct out *out, const char *name, const char *labels,
                      const struct weir__histogram *values, bool is_duration)
{
    size_t buckets = is_duration ? WEIR__DURATION_BUCKETS : WEIR__SIZE_BUCKETS;
    uint64_t sum = 0;

    for (size_t i = 0; i <= buckets; i++) {
        sum += values->counts[i];
        put(out, name);
        put(out, "_bucket{");
        put(out, labels);
        put(out, labels[0] != '\0' ? ",le=\"" : "le=\"");
        if (i == buckets) {
            put(out, "+Inf");
        } else if (is_duration) {
            weir__text_seconds(&out->text, weir__duration_bounds_us[i]);
        } else {
            weir__text_u64(&out->text, weir__size_bounds[i]);
        }
        put(out, "\"} ");
        weir__text_u64(&out->text, sum);
        put(out, "\n");
    }
    put(out, name);
    put(out, "_sum{");
    put(out, labels);
    put(out, "} ");
    if (is_duration) {
        weir__text_seconds(&out->text, values->sum);
    } else {
        weir__text_u64(&out->text, values->sum);
    }
    put(out, "\n");
    put(out, name);
    put(out, "_count{");
    put(out, labels);
    put(out, "} ");
    weir__text_u64(&out->text, values->count);
    put(out, "\n");
}

/* Labels of an entry, put together once, for they are repeated in each of its lines. */
struct labels {
    char text[2 * WEIR__ROUTE_TEXT + 320];
    struct weir__text out;
};

static void add_label(struct labels *labels, const char *name, const char *value)
{
    struct weir__text *out = &labels->out;

    if (out->data == NULL) {
        *out = (struct weir__text){.data = labels->text, .size = sizeof(labels->text) - 1};
    }
    weir__text_str(out, out->len > 0 ? "," : "");
    weir__text_str(out, name);
    weir__text_str(out, "=\"");
    for (; *value != '\0'; value++) {
        weir__text_str(out, *value == '"' || *value == '\\' ? "\\" : "");
        weir__text_put(out, weir_bytes(value, 1));
    }
    weir__text_str(out, "\"");
    labels->text[out->len] = '\0';
}

static size_t count_of(struct out *out, const size_t *count)
{
    size_t value;

    pthread_mutex_lock(&out->metrics->shared.lock);
    value = *count;
    pthread_mutex_unlock(&out->metrics->shared.lock);
    return value;
}

/* Entries never move and their labels never change; the numbers are copied under the lock. */
static struct weir__by_route *copy_route(struct out *out, size_t i, struct weir__by_route *copy)
{
    pthread_mutex_lock(&out->metrics->shared.lock);
    *copy = *out->metrics->shared.routes[i];
    pthread_mutex_unlock(&out->metrics->shared.lock);
    return copy;
}

static const char *route_name(struct out *out, uint32_t route)
{
    return out->metrics->shared.routes[route]->route;
}

static void put_durations(struct out *out)
{
    static const char name[] = "http_server_request_duration_seconds";
    size_t count = count_of(out, &out->metrics->shared.status_count);

    family(out, name, "histogram",
           "Duration of requests, from their head to the end of the stream.");
    for (size_t i = 0; i < count && out->r == 0; i++) {
        struct weir__by_status entry;
        struct labels labels = {.out = {0}};
        char digits[20];
        struct weir__text status = {.data = digits, .size = sizeof(digits) - 1};

        pthread_mutex_lock(&out->metrics->shared.lock);
        entry = *out->metrics->shared.statuses[i];
        pthread_mutex_unlock(&out->metrics->shared.lock);
        make_room(out);
        weir__text_u64(&status, entry.status);
        digits[status.len] = '\0';
        add_label(&labels, "http_request_method", weir__method_names[entry.method]);
        add_label(&labels, "http_route", route_name(out, entry.route));
        if (entry.status != 0) {
            add_label(&labels, "http_response_status_code", digits);
        }
        add_label(&labels, "network_protocol_version", entry.http10 ? "1.0" : "1.1");
        if (entry.outcome != WEIR_OUTCOME_COMPLETE) {
            add_label(&labels, "error_type", weir_outcome_name((enum weir_outcome)entry.outcome));
        } else if (entry.status >= 500) {
            add_label(&labels, "error_type", digits);
        }
        add_label(&labels, "weir_exchange", entry.is_stream ? "stream" : "unary");
        histogram(out, name, labels.text, &entry.duration, true);
    }
}

static void put_sizes(struct out *out, bool is_request)
{
    const char *name =
        is_request ? "http_server_request_body_size_bytes" : "http_server_response_body_size_bytes";
    size_t count = count_of(out, &out->metrics->shared.method_count);

    family(out, name, "histogram",
           is_request ? "Bytes of request bodies that were read."
                      : "Bytes of response bodies that were sent.");
    for (size_t i = 0; i < count && out->r == 0; i++) {
        struct weir__by_method entry;
        struct labels labels = {.out = {0}};

        pthread_mutex_lock(&out->metrics->shared.lock);
        entry = *out->metrics->shared.methods[i];
        pthread_mutex_unlock(&out->metrics->shared.lock);
        make_room(out);
        add_label(&labels, "http_request_method", weir__method_names[entry.method]);
        add_label(&labels, "http_route", route_name(out, entry.route));
        histogram(out, name, labels.text, is_request ? &entry.request_size : &entry.response_size,
                  false);
    }
}

static void sample(struct out *out, const char *name, const char *route, const char *more,
                   const char *value)
{
    put(out, name);
    put(out, "{");
    label(out, "http_route", route);
    if (more != NULL) {
        put(out, ",");
        put(out, more);
        put(out, "=\"");
        put_value(out, value);
        put(out, "\"");
    }
    put(out, "} ");
}

static void put_route_counts(struct out *out, size_t which)
{
    static const char *const names[] = {"weir_time_to_first_byte_seconds", "weir_streams_total",
                                        "weir_stream_stall_seconds_total", "weir_bytes_total"};
    static const char *const causes[WEIR__CAUSES] = {
        "moving", "wait_source", "stream_window", "conn_window", "socket", "shaped", "held"};
    size_t count = count_of(out, &out->metrics->shared.route_count);
    struct weir__by_route entry;

    for (size_t i = 0; i < count && out->r == 0; i++) {
        struct labels labels = {.out = {0}};

        make_room(out);
        copy_route(out, i, &entry);
        if (which == 0 && entry.first_byte.count > 0) {
            add_label(&labels, "http_route", entry.route);
            histogram(out, names[0], labels.text, &entry.first_byte, true);
        }
        for (size_t j = 0; which == 1 && j < WEIR__OUTCOMES; j++) {
            if (entry.outcomes[j] > 0) {
                sample(out, names[1], entry.route, "outcome",
                       weir_outcome_name((enum weir_outcome)j));
                weir__text_u64(&out->text, entry.outcomes[j]);
                put(out, "\n");
            }
        }
        for (size_t j = 0; which == 2 && j < WEIR__CAUSES; j++) {
            if (entry.stall_us[j] > 0) {
                sample(out, names[2], entry.route, "direction=\"down\",cause", causes[j]);
                weir__text_seconds(&out->text, (uint64_t)entry.stall_us[j]);
                put(out, "\n");
            }
        }
        for (size_t j = 0; which == 3 && j < 2; j++) {
            uint64_t bytes = j == 0 ? entry.received : entry.sent;

            if (bytes > 0) {
                sample(out, names[3], entry.route, "io", j == 0 ? "rx" : "tx");
                weir__text_u64(&out->text, bytes);
                put(out, "\n");
            }
        }
    }
}

static void put_active(struct out *out)
{
    family(out, "http_server_active_requests", "gauge", "Requests whose stream has not ended.");
    for (size_t i = 0; i < WEIR__METHODS; i++) {
        int64_t active =
            atomic_load_explicit(&out->metrics->shared.active[i], memory_order_relaxed);

        if (active > 0) {
            put(out, "http_server_active_requests{");
            label(out, "http_request_method", weir__method_names[i]);
            put(out, "} ");
            weir__text_u64(&out->text, (uint64_t)active);
            put(out, "\n");
        }
    }
}

static int put_all(struct out *out)
{
    put_durations(out);
    put_active(out);
    put_sizes(out, true);
    put_sizes(out, false);
    family(out, "weir_time_to_first_byte_seconds", "histogram",
           "From a request's head to its reply's.");
    put_route_counts(out, 0);
    family(out, "weir_streams_total", "counter", "Streams by how they ended.");
    put_route_counts(out, 1);
    family(out, "weir_stream_stall_seconds_total", "counter",
           "Time of replies by what they waited for.");
    put_route_counts(out, 2);
    family(out, "weir_bytes_total", "counter",
           "Bytes of bodies, booked when the stream has ended.");
    put_route_counts(out, 3);
    if (out->r == 0) {
        out->r = weir_emit_bytes(out->sink, weir_bytes(out->text.data, out->text.len), -1);
    }
    return out->r == 0 && out->text.is_full ? WEIR_ELIMIT : out->r;
}

int weir_metrics_handle(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    WEIR_CLEANUP(weir_freep) char *buffer = weir_alloc(BUFFER_BYTES);
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct out out = {.metrics = arg, .text = {.data = buffer, .size = BUFFER_BYTES}};
    int r = weir_fields_create(&fields);

    if (r == 0 && buffer == NULL) {
        r = WEIR_ENOMEM;
    }
    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("Content-Type"),
                                     weir_str("text/plain; version=0.0.4; charset=utf-8"));
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields, WEIR_LENGTH_UNKNOWN, &sink);
    }
    if (r == 0) {
        out.sink = sink;
        r = put_all(&out);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}
