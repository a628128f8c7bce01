/* SPDX-License-Identifier: MIT */
/* The end of a head, found in one pass over bytes that come in any pieces. Fields are not looked into. */
#include "h1/scan.h"

#include <weir/err.h>

#include <string.h>

/* Longer than any method we know; what is longer still is refused before its end is seen. */
enum { METHOD_BYTES = 32 };

/* Bits of enum weir__h1_class by byte. */
const uint8_t weir__h1_classes[256] = {
    0,   0,   0,   0,   0,   0,   0,   0,   0,   66,  0,   0,   0,   0,   0,   0,   /* 0x%02x */
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   /* 0x%02x */
    66,  79,  6,   67,  79,  71,  79,  79,  78,  78,  79,  79,  70,  79,  79,  70,  /* 0x%02x */
    127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 70,  78,  70,  78,  70,  70,  /* 0x%02x */
    70,  223, 223, 223, 223, 223, 223, 207, 207, 207, 207, 207, 207, 207, 207, 207, /* 0x%02x */
    207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 70,  6,   70,  71,  79,  /* 0x%02x */
    71,  223, 223, 223, 223, 223, 223, 207, 207, 207, 207, 207, 207, 207, 207, 207, /* 0x%02x */
    207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 70,  71,  70,  79,  0,   /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
    66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  66,  /* 0x%02x */
};

#define VERSION_BYTES 9 /* "HTTP/1.1" and the CR */

static int refuse(int code, int status, int *ret_status)
{
    *ret_status = status;
    return code;
}

/* The new bytes [scan->at, end) belong to the first line of a request: where is its target, and how long? */
static int watch_target(struct weir__h1_scan *scan, size_t target_bytes, const uint8_t *data,
                        size_t end, int *ret_status)
{
    size_t at = scan->at;

    if (scan->target == 0) {
        const uint8_t *blank = memchr(data + at, ' ', end - at);
        size_t method_end = blank != NULL ? (size_t)(blank - data) : end;

        if (method_end - scan->line > METHOD_BYTES) {
            /* judged by its first bytes alone, so that it does not matter in what pieces they come */
            for (size_t i = scan->line; i <= scan->line + METHOD_BYTES; i++) {
                if (!weir__h1_is(data[i], WEIR__H1_TOKEN)) {
                    return refuse(WEIR_EPROTO, 400, ret_status);
                }
            }
            return refuse(WEIR_EUNSUPPORTED, 501, ret_status);
        }
        if (blank == NULL) {
            return 0;
        }
        scan->target = (size_t)(blank - data) + 1;
        scan->in_target = true;
        at = scan->target;
    }
    if (scan->in_target) {
        const uint8_t *blank = memchr(data + at, ' ', end - at);
        size_t target_end = blank != NULL ? (size_t)(blank - data) : end;

        if (target_end - scan->target > target_bytes) {
            return refuse(WEIR_ELIMIT, 414, ret_status);
        }
        scan->in_target = blank == NULL;
        if (scan->in_target) {
            return 0;
        }
        scan->target = target_end + 1; /* from here on: where the version begins */
    }
    if (end > scan->target + VERSION_BYTES) {
        return refuse(WEIR_EPROTO, 400, ret_status);
    }
    return 0;
}

/* What no message begins with is refused at once: a TLS hello or HTTP/0.9 might never send an LF. */
static int check_start(const struct weir__h1_scan *scan, bool is_request, struct weir_view all,
                       int *ret_status)
{
    static const char version[] = "HTTP/";
    size_t len = all.len < sizeof(version) - 1 ? all.len : sizeof(version) - 1;

    if (is_request) {
        if (scan->at == 0 && all.len > 0 && all.data[0] != '\r' &&
            !weir__h1_is(all.data[0], WEIR__H1_TOKEN)) {
            return refuse(WEIR_EPROTO, 400, ret_status);
        }
    } else if (scan->at < sizeof(version) - 1 && len > 0 && memcmp(all.data, version, len) != 0) {
        return refuse(WEIR_EPROTO, 502, ret_status);
    }
    return 0;
}

int weir__h1_scan_head(struct weir__h1_scan *scan, const struct weir__h1_limits *limits,
                       bool is_request, struct weir_view all, size_t *ret_len, int *ret_status)
{
    size_t bound = all.len < limits->head_bytes ? all.len : limits->head_bytes;
    int r = check_start(scan, is_request, all, ret_status);

    if (r < 0) {
        return r;
    }
    while (scan->at < bound) {
        const uint8_t *feed = memchr(all.data + scan->at, '\n', bound - scan->at);
        size_t end = feed != NULL ? (size_t)(feed - all.data) : bound;

        if (is_request && scan->lines == 0) {
            r = watch_target(scan, limits->target_bytes, all.data, end, ret_status);
            if (r < 0) {
                return r;
            }
        }
        if (feed == NULL) {
            scan->at = bound;
            break;
        }
        if (end == scan->line || all.data[end - 1] != '\r') {
            return refuse(WEIR_EPROTO, is_request ? 400 : 502, ret_status);
        }
        scan->at = end + 1;
        if (end - 1 != scan->line) {
            if (++scan->lines > limits->fields + 1) {
                return refuse(WEIR_ELIMIT, is_request ? 431 : 502, ret_status);
            }
        } else if (scan->lines > 0) {
            *ret_len = scan->at;
            return 1;
        } else if (!is_request || scan->was_blank) {
            return refuse(WEIR_EPROTO, is_request ? 400 : 502, ret_status);
        } else {
            scan->was_blank = true;
        }
        scan->line = scan->at;
    }
    if (all.len >= limits->head_bytes) {
        return refuse(WEIR_ELIMIT, !is_request ? 502 : scan->in_target ? 414 : 431, ret_status);
    }
    return 0;
}
