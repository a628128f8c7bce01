/* SPDX-License-Identifier: MIT */
/* The passage of fields through the gateway. */
#include "forward.h"

#include <weir/err.h>

#include <string.h>

static bool is(struct weir_view name, const char *text)
{
    return name.len == strlen(text) && weir_view_equal_nocase(name, weir_str(text));
}

static bool is_any(struct weir_view name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* Of one connection only, whether Connection says so or not. */
static bool is_hop_by_hop(struct weir_view name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",
                                        "te",         "upgrade",    "transfer-encoding"};

    /* The first letter tells most of them apart. */
    switch (name.data[0] | 0x20) {
    case 'c':
    case 'k':
    case 'p':
    case 't':
    case 'u':
        return is_any(name, names, sizeof(names) / sizeof(names[0]));
    default:
        return false;
    }
}

/* What a request may not have removed by listing it in Connection: that would take it from those behind us. */
static bool must_stay(struct weir_view name)
{
    static const char *const names[] = {
        "host",  "authorization", "x-api-key",       "cookie",
        "via",   "content-type",  "content-length",  "content-encoding",
        "range", "expect",        "x-forwarded-for", "forwarded"};

    return is_any(name, names, sizeof(names) / sizeof(names[0]));
}

/* Who the client is: said by us alone. */
static bool is_forwarding(struct weir_view name)
{
    static const char *const names[] = {
        "forwarded",        "x-forwarded-for", "x-forwarded-proto",  "x-forwarded-host",
        "x-forwarded-port", "x-real-ip",       "x-forwarded-server", "x-forwarded"};

    return ((name.data[0] | 0x20) == 'x' || (name.data[0] | 0x20) == 'f') &&
           is_any(name, names, sizeof(names) / sizeof(names[0]));
}

/* All the lines of a list field are looked at, not only the first. */
static bool is_listed(struct weir_fields *fields, struct weir_view name)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        struct weir_view item;

        if (!is(field.name, "connection")) {
            continue;
        }
        while (weir_view_next_item(&field.value, &item) == 1) {
            if (weir_view_equal_nocase(item, name)) {
                return true;
            }
        }
    }
    return false;
}

static bool has_connection(struct weir_fields *fields)
{
    return !weir_view_is_absent(weir_fields_get(fields, weir_str("connection")));
}

static int check_connection(struct weir_fields *fields)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        struct weir_view item;

        if (!is(field.name, "connection")) {
            continue;
        }
        while (weir_view_next_item(&field.value, &item) == 1) {
            if (must_stay(item)) {
                return WEIR_EPROTO;
            }
        }
    }
    return 0;
}

/* The address without the port: "127.0.0.1", "::1". */
static struct weir_view address_of(struct weir_view peer)
{
    for (size_t i = peer.len; i > 0; i--) {
        if (peer.data[i - 1] == ':') {
            peer.len = i - 1;
            break;
        }
    }
    if (peer.len >= 2 && peer.data[0] == '[' && peer.data[peer.len - 1] == ']') {
        peer = weir_bytes(peer.data + 1, peer.len - 2);
    }
    return peer;
}

static int add_own(struct weir_req *req, struct weir_fields *fields, struct weir_view authority)
{
    struct weir_view host = weir_req_authority(req);
    bool named = !weir_view_is_absent(host);
    int r = weir_fields_add_borrowed(fields, weir_str("Host"), named ? host : authority);

    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("X-Forwarded-For"),
                                     address_of(weir_req_peer(req)));
    }
    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("X-Forwarded-Proto"), weir_str("http"));
    }
    if (r == 0 && named) {
        r = weir_fields_add_borrowed(fields, weir_str("X-Forwarded-Host"), host);
    }
    if (r == 0) {
        const char *via = strcmp(weir_req_protocol(req), "HTTP/1.0") == 0 ? "1.0 weir" : "1.1 weir";

        r = weir_fields_add_borrowed(fields, weir_str("Via"), weir_str(via));
    }
    return r;
}

int gw_forward_request(struct weir_req *req, bool hide_key, struct weir_view authority,
                       struct weir_fields **ret)
{
    struct weir_fields *from = weir_req_fields(req);
    bool listed = has_connection(from);
    bool has_api_key = !weir_view_is_absent(weir_fields_get(from, weir_str("x-api-key")));
    struct weir_fields *to;
    int r = listed ? check_connection(from) : 0;

    if (r == 0) {
        r = weir_fields_create(&to);
    }
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < weir_fields_count(from) && r == 0; i++) {
        struct weir_field field = weir_fields_at(from, i);
        bool is_key = hide_key && is(field.name, has_api_key ? "x-api-key" : "authorization");

        if (is(field.name, "host") || is(field.name, "content-length") ||
            is_hop_by_hop(field.name) || is_forwarding(field.name) || is_key ||
            (listed && is_listed(from, field.name))) {
            continue;
        }
        r = weir_fields_add_borrowed(to, field.name, field.value);
    }
    if (r == 0) {
        r = add_own(req, to, authority);
    }
    if (r < 0) {
        weir_fields_destroy(to);
        return r;
    }
    *ret = to;
    return 0;
}

int gw_forward_response(struct weir_fields *from, struct weir_fields **ret)
{
    bool listed = has_connection(from);
    struct weir_fields *to;
    int r = weir_fields_create(&to);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < weir_fields_count(from) && r == 0; i++) {
        struct weir_field field = weir_fields_at(from, i);

        if (is(field.name, "content-length") || is_hop_by_hop(field.name) ||
            (listed && is_listed(from, field.name))) {
            continue;
        }
        r = weir_fields_add_borrowed(to, field.name, field.value);
    }
    if (r == 0) {
        r = weir_fields_add_borrowed(to, weir_str("Via"), weir_str("1.1 weir"));
    }
    if (r < 0) {
        weir_fields_destroy(to);
        return r;
    }
    *ret = to;
    return 0;
}

static bool may_trail(struct weir_view name)
{
    static const char *const names[] = {"proxy-authorization",
                                        "set-cookie",
                                        "www-authenticate",
                                        "cache-control",
                                        "max-forwards",
                                        "pragma",
                                        "age",
                                        "date",
                                        "expires",
                                        "location",
                                        "retry-after",
                                        "vary"};

    return !is_hop_by_hop(name) && !must_stay(name) && !is_forwarding(name) &&
           !is_any(name, names, sizeof(names) / sizeof(names[0]));
}

int gw_forward_trailers(struct weir_fields *from, struct weir_fields **ret)
{
    struct weir_fields *to = NULL;
    int r = weir_fields_count(from) > 0 ? weir_fields_create(&to) : 0;

    for (size_t i = 0; i < weir_fields_count(from) && r == 0; i++) {
        struct weir_field field = weir_fields_at(from, i);

        if (may_trail(field.name)) {
            r = weir_fields_add_borrowed(to, field.name, field.value);
        }
    }
    if (r < 0) {
        weir_fields_destroy(to);
        return r;
    }
    *ret = to;
    return 0;
}
