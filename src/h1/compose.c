/* SPDX-License-Identifier: MIT */
/* Heads and chunk headers as bytes. The last fence against a value that would become a line of its own. */
#include "h1/compose.h"

#include "h1/scan.h"

#include <weir/err.h>

#include <string.h>

static bool is_all(struct weir_view view, enum weir__h1_class wanted)
{
    for (size_t i = 0; i < view.len; i++) {
        if (!weir__h1_is(view.data[i], wanted)) {
            return false;
        }
    }
    return true;
}

static bool has_room(const struct weir__h1_out *out, size_t len)
{
    return len <= out->cap - out->len;
}

static void put(struct weir__h1_out *out, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(out->data + out->len, data, len);
        out->len += len;
    }
}

size_t weir__h1_compose_u64(uint8_t buf[20], uint64_t value)
{
    uint8_t reversed[20];
    size_t len = 0;

    do {
        reversed[len++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < len; i++) {
        buf[i] = reversed[len - 1 - i];
    }
    return len;
}

size_t weir__h1_compose_chunk_head(uint8_t buf[WEIR__H1_CHUNK_HEAD_BYTES], uint64_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = size > 0 ? (size_t)(67 - __builtin_clzll(size)) / 4 : 1;

    for (size_t i = 0; i < len; i++) {
        buf[i] = (uint8_t)digits[size >> 4 * (len - 1 - i) & 15];
    }
    buf[len] = '\r';
    buf[len + 1] = '\n';
    return len + 2;
}

int weir__h1_compose_status(struct weir__h1_out *out, int status, struct weir_view reason)
{
    uint8_t line[] = "HTTP/1.1 000 ";

    if (weir_view_is_absent(reason)) {
        reason = weir_str(weir__h1_reason(status));
    }
    if (status < 100 || status > 599 || !is_all(reason, WEIR__H1_TEXT)) {
        return WEIR_EINVAL;
    }
    if (!has_room(out, sizeof(line) - 1) || !has_room(out, sizeof(line) - 1 + reason.len + 2)) {
        return WEIR_ELIMIT;
    }
    line[9] = (uint8_t)('0' + status / 100);
    line[10] = (uint8_t)('0' + status / 10 % 10);
    line[11] = (uint8_t)('0' + status % 10);
    put(out, line, sizeof(line) - 1);
    put(out, reason.data, reason.len);
    put(out, "\r\n", 2);
    return 0;
}

int weir__h1_compose_request(struct weir__h1_out *out, struct weir_view method,
                             struct weir_view target)
{
    static const char tail[] = " HTTP/1.1\r\n";

    if (method.len == 0 || target.len == 0 || !is_all(method, WEIR__H1_TOKEN) ||
        !is_all(target, WEIR__H1_TARGET)) {
        return WEIR_EINVAL;
    }
    if (!has_room(out, method.len + 1 + target.len + sizeof(tail) - 1)) {
        return WEIR_ELIMIT;
    }
    put(out, method.data, method.len);
    put(out, " ", 1);
    put(out, target.data, target.len);
    put(out, tail, sizeof(tail) - 1);
    return 0;
}

int weir__h1_compose_field(struct weir__h1_out *out, struct weir_view name, struct weir_view value)
{
    if (name.len == 0 || !is_all(name, WEIR__H1_TOKEN) || !is_all(value, WEIR__H1_TEXT)) {
        return WEIR_EINVAL;
    }
    if (!has_room(out, name.len + 2 + value.len + 2)) {
        return WEIR_ELIMIT;
    }
    put(out, name.data, name.len);
    put(out, ": ", 2);
    put(out, value.data, value.len);
    put(out, "\r\n", 2);
    return 0;
}

int weir__h1_compose_field_u64(struct weir__h1_out *out, struct weir_view name, uint64_t value)
{
    uint8_t digits[20];

    return weir__h1_compose_field(out, name,
                                  weir_bytes(digits, weir__h1_compose_u64(digits, value)));
}

int weir__h1_compose_fields(struct weir__h1_out *out, const struct weir_field *fields, size_t count)
{
    size_t len = out->len;

    for (size_t i = 0; i < count; i++) {
        int r = weir__h1_compose_field(out, fields[i].name, fields[i].value);

        if (r < 0) {
            out->len = len;
            return r;
        }
    }
    return 0;
}

int weir__h1_compose_end(struct weir__h1_out *out)
{
    if (!has_room(out, 2)) {
        return WEIR_ELIMIT;
    }
    put(out, "\r\n", 2);
    return 0;
}

const char *weir__h1_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {102, "Processing"},
        {103, "Early Hints"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {207, "Multi-Status"},
        {208, "Already Reported"},
        {226, "IM Used"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {305, "Use Proxy"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {506, "Variant Also Negotiates"},
        {507, "Insufficient Storage"},
        {508, "Loop Detected"},
        {511, "Network Authentication Required"},
    };
    size_t low = 0;
    size_t high = sizeof(reasons) / sizeof(reasons[0]);

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (reasons[middle].status == status) {
            return reasons[middle].text;
        }
        if (reasons[middle].status < status) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return "";
}
