/* SPDX-License-Identifier: MIT */
/*
 * One record as one line of JSON. Every text is bounded by its escaped length and every number by its type, so that the
 * longest line there can be fits GW_LINE_BYTES; a test builds that line.
 */
#include "access_log.h"

#include <stdio.h>

/* The most bytes of any text but the path, escaped. The path, cut raw, may grow to six times its length. */
#define TEXT_BYTES 128

/* The line so far. Once something did not fit, nothing more is added. */
struct out {
    char *data;
    size_t len;
    size_t size;
    bool is_full;
};

static void put(struct out *out, const char *text, size_t len)
{
    if (out->is_full || len > out->size - out->len) {
        out->is_full = true;
        return;
    }
    memcpy(out->data + out->len, text, len);
    out->len += len;
}

static void put_literal(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_u64(struct out *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(out, digits + at, sizeof(digits) - at);
}

/* With leading zeros. */
static void put_padded(struct out *out, uint64_t number, size_t width)
{
    char digits[20];

    for (size_t i = width; i > 0; i--) {
        digits[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    put(out, digits, width);
}

/* The length of the UTF-8 sequence (RFC 3629 4) at the front, or 0 if there is no valid one. */
static size_t utf8_length(struct weir_view text)
{
    uint8_t lead = text.data[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t len;

    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (text.len < len) {
        return 0;
    }
    /* No overlong forms, no surrogates, nothing over U+10FFFF. */
    if (lead == 0xe0) {
        low = 0xa0;
    } else if (lead == 0xed) {
        high = 0x9f;
    } else if (lead == 0xf0) {
        low = 0x90;
    } else if (lead == 0xf4) {
        high = 0x8f;
    }
    if (text.data[1] < low || text.data[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

/* Writes the escaped form of the character at the front, of `len` bytes (0: invalid). Returns its length, at most 6. */
static size_t escape(struct weir_view text, size_t len, char escaped[8])
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    uint8_t byte = text.data[0];
    bool is_c1 = len == 2 && byte == 0xc2 && text.data[1] < 0xa0;

    if (len == 0) {
        memcpy(escaped, "\xef\xbf\xbd", 3); /* U+FFFD */
        return 3;
    }
    for (size_t i = 0; len == 1 && i + 1 < sizeof(shorts); i += 2) {
        if (byte == (uint8_t)shorts[i]) {
            escaped[0] = '\\';
            escaped[1] = shorts[i + 1];
            return 2;
        }
    }
    /* Those from 0x7f on are legal in JSON, but a terminal may act on them. */
    if (byte < 0x20 || byte == 0x7f || is_c1) {
        uint8_t code = is_c1 ? text.data[1] : byte;

        memcpy(escaped, "\\u00", 4);
        escaped[4] = hex[code >> 4];
        escaped[5] = hex[code & 15];
        return 6;
    }
    memcpy(escaped, text.data, len);
    return len;
}

/* A string, cut after `max_raw` bytes of the text or `max_escaped` of the result; null for an absent one. */
static void put_string(struct out *out, struct weir_view text, size_t max_raw, size_t max_escaped)
{
    size_t raw = 0;
    size_t done = 0;

    if (weir_view_is_absent(text)) {
        put_literal(out, "null");
        return;
    }
    put(out, "\"", 1);
    while (text.len > 0) {
        char escaped[8];
        size_t len = utf8_length(text);
        size_t step = len > 0 ? len : 1;
        size_t escaped_len = escape(text, len, escaped);

        if (raw + step > max_raw || done + escaped_len > max_escaped) {
            break;
        }
        put(out, escaped, escaped_len);
        raw += step;
        done += escaped_len;
        text = weir_bytes(text.data + step, text.len - step);
    }
    put(out, "\"", 1);
}

static void put_name(struct out *out, const char *name, struct weir_view value)
{
    put_literal(out, ",\"");
    put_literal(out, name);
    put_literal(out, "\":");
    put_string(out, value, SIZE_MAX, TEXT_BYTES);
}

/* Days since 1970 to a date of the proleptic Gregorian calendar; the year is counted from March, so that the leap day
 * comes last. */
static void put_date(struct out *out, int64_t days)
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

    put_padded(out, (uint64_t)year, 4);
    put(out, "-", 1);
    put_padded(out, (uint64_t)(month >= 10 ? month - 9 : month + 3), 2);
    put(out, "-", 1);
    put_padded(out, (uint64_t)day, 2);
}

/* RFC 3339, UTC, milliseconds. */
static void put_time(struct out *out, int64_t time_us)
{
    const int64_t last_ms = INT64_C(253402300799999); /* of the year 9999 */
    int64_t ms = time_us > 0 ? time_us / 1000 : 0;
    int64_t of_day;

    ms = ms < last_ms ? ms : last_ms;
    of_day = ms % 86400000;
    put_date(out, ms / 86400000);
    put(out, "T", 1);
    put_padded(out, (uint64_t)(of_day / 3600000), 2);
    put(out, ":", 1);
    put_padded(out, (uint64_t)(of_day / 60000 % 60), 2);
    put(out, ":", 1);
    put_padded(out, (uint64_t)(of_day / 1000 % 60), 2);
    put(out, ".", 1);
    put_padded(out, (uint64_t)(of_day % 1000), 3);
    put(out, "Z", 1);
}

/* `name` comes with all that precedes the value. Milliseconds with three decimals; null for a negative time. */
static void put_ms(struct out *out, const char *name, int64_t us)
{
    put_literal(out, name);
    if (us < 0) {
        put_literal(out, "null");
        return;
    }
    put_u64(out, (uint64_t)us / 1000);
    put(out, ".", 1);
    put_padded(out, (uint64_t)us % 1000, 3);
}

static void put_number(struct out *out, const char *name, uint64_t number)
{
    put_literal(out, name);
    put_u64(out, number);
}

static void put_stall(struct out *out, const char *name, const struct gw_stall *stall)
{
    put_literal(out, name);
    put_ms(out, "{\"moving\":", stall->moving_us);
    put_ms(out, ",\"wait_upstream\":", stall->wait_upstream_us);
    put_ms(out, ",\"stream_window\":", stall->stream_window_us);
    put_ms(out, ",\"conn_window\":", stall->conn_window_us);
    put_ms(out, ",\"socket\":", stall->socket_us);
    put_ms(out, ",\"shaped\":", stall->shaped_us);
    put_ms(out, ",\"gateway\":", stall->gateway_us);
    put_ms(out, ",\"idle\":", stall->idle_us);
    put(out, "}", 1);
}

const char *gw_outcome_name(enum gw_outcome outcome)
{
    switch (outcome) {
    case GW_OUTCOME_NONE:
        return NULL;
    case GW_OUTCOME_COMPLETE:
        return "complete";
    case GW_OUTCOME_UPSTREAM_ABORT:
        return "upstream_abort";
    case GW_OUTCOME_UPSTREAM_TIMEOUT:
        return "upstream_timeout";
    case GW_OUTCOME_CLIENT_GONE:
        return "client_gone";
    case GW_OUTCOME_CLIENT_STALLED:
        return "client_stalled";
    case GW_OUTCOME_LIMIT:
        return "limit";
    case GW_OUTCOME_PROTOCOL_ERROR:
        return "protocol_error";
    case GW_OUTCOME_DENIED:
        return "denied";
    case GW_OUTCOME_REFUSED:
        return "refused";
    case GW_OUTCOME_SHUTDOWN:
        return "shutdown";
    case GW_OUTCOME_INTERNAL_ERROR:
        return "internal_error";
    }
    return "?";
}

const char *gw_end_by_name(enum gw_end_by end_by)
{
    switch (end_by) {
    case GW_END_BY_NONE:
        return NULL;
    case GW_END_BY_CLIENT:
        return "client";
    case GW_END_BY_UPSTREAM:
        return "upstream";
    case GW_END_BY_WEIR:
        return "weir";
    }
    return "?";
}

size_t gw_record_format(const struct gw_record *record, char *buffer, size_t size)
{
    struct out out = {buffer, 0, size, false};

    put_literal(&out, "{\"time\":\"");
    put_time(&out, record->time_us);
    put_literal(&out,
                record->kind == GW_RECORD_END ? "\",\"kind\":\"end\"" : "\",\"kind\":\"progress\"");
    put_name(&out, "id", record->id);
    put_name(&out, "route", record->route);
    put_name(&out, "method", record->method);
    put_literal(&out, ",\"path\":");
    put_string(&out, record->path, GW_LOG_PATH_BYTES, SIZE_MAX);
    put_name(&out, "peer", record->peer);
    put_name(&out, "key", record->key);
    put_name(&out, "upstream", record->upstream);
    if (record->status > 0) {
        put_number(&out, ",\"status\":", (uint64_t)record->status);
    } else {
        put_literal(&out, ",\"status\":null");
    }
    put_name(&out, "outcome", weir_str(gw_outcome_name(record->outcome)));
    put_name(&out, "end_by", weir_str(gw_end_by_name(record->end_by)));
    put_name(&out, "cause", weir_str(record->cause != 0 ? weir_err_name(record->cause) : NULL));
    put_name(
        &out, "reason",
        weir_str(record->reason != WEIR_REASON_NONE ? weir_reason_name(record->reason) : NULL));
    put_name(&out, "proxy_error", weir_str(record->proxy_error));
    put_number(&out, ",\"bytes\":{\"client_rx\":", record->bytes.client_rx);
    put_number(&out, ",\"client_tx\":", record->bytes.client_tx);
    put_number(&out, ",\"upstream_rx\":", record->bytes.upstream_rx);
    put_number(&out, ",\"upstream_tx\":", record->bytes.upstream_tx);
    put_ms(&out, "},\"phase_ms\":{\"auth\":", record->phase.auth_us);
    put_ms(&out, ",\"dial\":", record->phase.dial_us);
    put_ms(&out, ",\"response_head\":", record->phase.response_head_us);
    put_ms(&out, ",\"first_byte\":", record->phase.first_byte_us);
    put_ms(&out, ",\"body\":", record->phase.body_us);
    put_ms(&out, ",\"total\":", record->phase.total_us);
    put_stall(&out, "},\"stall_ms\":{\"down\":", &record->down);
    put_stall(&out, ",\"up\":", &record->up);
    put_literal(&out, "}}\n");
    return out.is_full ? 0 : out.len;
}
