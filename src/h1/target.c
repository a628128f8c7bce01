/* SPDX-License-Identifier: MIT */
/* The four forms of a request-target and the host they, or the Host field, name. Paths are not looked into. */
#include "h1/target.h"

#include "h1/scan.h"

#include <weir/err.h>

static bool port_is_valid(struct weir_view port)
{
    unsigned value = 0;

    if (port.len > 5) {
        return false;
    }
    for (size_t i = 0; i < port.len; i++) {
        if (!weir__h1_is(port.data[i], WEIR__H1_DIGIT)) {
            return false;
        }
        value = value * 10 + (unsigned)(port.data[i] - '0');
    }
    return value <= 65535;
}

/* What is between the brackets. Its exact meaning is the resolver's to judge; here no byte may escape. */
static bool literal_is_valid(const uint8_t *p, const uint8_t *end)
{
    if (p == end) {
        return false;
    }
    if (*p == 'v' || *p == 'V') {
        while (++p < end) {
            if (*p != ':' && !weir__h1_is(*p, WEIR__H1_HOST)) {
                return false;
            }
        }
        return true;
    }
    for (; p < end; p++) {
        if (*p != ':' && *p != '.' && !weir__h1_is(*p, WEIR__H1_HEX)) {
            return false;
        }
    }
    return true;
}

bool weir__h1_host_is_valid(struct weir_view host, bool needs_port)
{
    const uint8_t *p = host.data;
    const uint8_t *end = host.data + host.len;

    if (host.len == 0) {
        return !needs_port;
    }
    if (*p == '[') {
        const uint8_t *close = memchr(p, ']', host.len);

        if (close == NULL || !literal_is_valid(p + 1, close)) {
            return false;
        }
        p = close + 1;
    } else {
        for (; p < end && *p != ':'; p++) {
            if (*p == '%') {
                if (end - p < 3 || !weir__h1_is(p[1], WEIR__H1_HEX) ||
                    !weir__h1_is(p[2], WEIR__H1_HEX)) {
                    return false;
                }
                p += 2;
            } else if (!weir__h1_is(*p, WEIR__H1_HOST)) {
                return false;
            }
        }
        if (p == host.data) {
            return false; /* a port of no host */
        }
    }
    if (p == end) {
        return !needs_port;
    }
    if (*p != ':' || (needs_port && end - p == 1)) {
        return false;
    }
    return port_is_valid(weir_bytes(p + 1, (size_t)(end - p) - 1));
}

int weir__h1_check_target(struct weir_view method, struct weir_view target,
                          struct weir_view *ret_authority)
{
    const uint8_t *slash;
    struct weir_view rest = target;

    if (weir_view_equal(method, weir_str("CONNECT"))) {
        if (!weir__h1_host_is_valid(target, true)) {
            return WEIR_EPROTO;
        }
        *ret_authority = target;
        return 0;
    }
    if (target.data[0] == '/') {
        *ret_authority = weir_bytes(NULL, 0);
        return 0;
    }
    if (target.len == 1 && target.data[0] == '*') {
        if (!weir_view_equal(method, weir_str("OPTIONS"))) {
            return WEIR_EPROTO;
        }
        *ret_authority = weir_bytes(NULL, 0);
        return 0;
    }
    /* absolute-form; other schemes than these two are nothing we could serve */
    if (rest.len > 7 && weir_view_equal_nocase(weir_bytes(rest.data, 7), weir_str("http://"))) {
        rest.data += 7;
        rest.len -= 7;
    } else if (rest.len > 8 &&
               weir_view_equal_nocase(weir_bytes(rest.data, 8), weir_str("https://"))) {
        rest.data += 8;
        rest.len -= 8;
    } else {
        return WEIR_EPROTO;
    }
    for (slash = rest.data; slash < rest.data + rest.len; slash++) {
        if (*slash == '/' || *slash == '?') {
            break;
        }
    }
    rest.len = (size_t)(slash - rest.data);
    if (rest.len == 0 || !weir__h1_host_is_valid(rest, false)) {
        return WEIR_EPROTO;
    }
    *ret_authority = rest;
    return 0;
}
