/* SPDX-License-Identifier: MIT */
/* CORS (WHATWG Fetch 3.2). It is the browser that refuses; here is said what it may allow, and nothing else. */
#include <weir/web.h>

#include "base/cleanup.h"
#include "http/request.h"
#include "route/text.h"

#define METHODS "GET, HEAD, POST, PUT, PATCH, DELETE"

struct cors {
    struct weir_reply_filter filter;
    const struct weir_cors_opts *opts;
    struct weir_view origin; /* allowed, in the request's head or `copy`; absent: not */
    bool varies;
    uint8_t copy[256];
};

static bool is_open(const struct weir_cors_opts *opts)
{
    return opts->origins == NULL && opts->allow == NULL;
}

static bool is_allowed(const struct weir_cors_opts *opts, struct weir_view origin)
{
    if (is_open(opts)) {
        return true;
    }
    for (size_t i = 0; opts->origins != NULL && i < opts->origin_count; i++) {
        if (weir_view_equal(origin, weir_str(opts->origins[i]))) {
            return true;
        }
    }
    return opts->allow != NULL && opts->allow(origin, opts->arg);
}

/* Whether Vary names it already. */
static bool varies_by(struct weir_fields *fields, const char *name)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        struct weir_view item;

        if (!weir_view_equal_nocase(field.name, weir_str("Vary"))) {
            continue;
        }
        while (weir_view_next_item(&field.value, &item) == 1) {
            if (weir_view_equal_nocase(item, weir_str(name)) ||
                weir_view_equal(item, weir_str("*"))) {
                return true;
            }
        }
    }
    return false;
}

static int add(struct weir_fields *fields, const char *name, struct weir_view value)
{
    weir_fields_remove(fields, weir_str(name));
    return weir_fields_add(fields, weir_str(name), value);
}

/* What both kinds of replies say. */
static int add_common(const struct cors *cors, struct weir_fields *fields)
{
    int r = 0;

    if (cors->varies && !varies_by(fields, "Origin")) {
        r = weir_fields_add(fields, weir_str("Vary"), weir_str("Origin"));
    }
    if (r == 0 && !weir_view_is_absent(cors->origin)) {
        r = add(fields, "Access-Control-Allow-Origin",
                is_open(cors->opts) ? weir_str("*") : cors->origin);
        if (r == 0 && cors->opts->credentials && !is_open(cors->opts)) {
            r = add(fields, "Access-Control-Allow-Credentials", weir_str("true"));
        }
    }
    return r;
}

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct cors *cors = (struct cors *)(void *)filter;
    struct weir_fields *fields;
    int r = 0;

    if (cors->varies || !weir_view_is_absent(cors->origin)) {
        r = weir_reply_edit(reply, &fields);
        if (r == 0) {
            r = add_common(cors, fields);
        }
        if (r == 0 && !weir_view_is_absent(cors->origin) && cors->opts->expose != NULL) {
            r = add(fields, "Access-Control-Expose-Headers", weir_str(cors->opts->expose));
        }
    }
    return r < 0 ? r : weir_reply_next(reply, ret);
}

static int preflight(struct weir_req *req, struct cors *cors)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    const struct weir_cors_opts *opts = cors->opts;
    struct weir_view headers = opts->headers != NULL
                                   ? weir_str(opts->headers)
                                   : weir_req_field(req, "Access-Control-Request-Headers");
    char digits[20];
    struct weir__text age = {.data = digits, .size = sizeof(digits)};
    int r = weir_fields_create(&fields);

    weir__text_u64(&age, opts->max_age_s > 0 ? opts->max_age_s : 600);
    if (r == 0) {
        r = add_common(cors, fields);
    }
    if (r == 0) {
        r = weir_fields_add(
            fields, weir_str("Vary"),
            weir_str("Access-Control-Request-Method, Access-Control-Request-Headers"));
    }
    if (r < 0 || weir_view_is_absent(cors->origin)) {
        return r < 0 ? r : weir_reply_empty(req, 204, fields);
    }
    r = add(fields, "Access-Control-Allow-Methods",
            weir_str(opts->methods != NULL ? opts->methods : METHODS));
    if (r == 0 && headers.len > 0) {
        r = add(fields, "Access-Control-Allow-Headers", headers);
    }
    if (r == 0) {
        r = add(fields, "Access-Control-Max-Age", weir_bytes(digits, age.len));
    }
    return r < 0 ? r : weir_reply_empty(req, 204, fields);
}

int weir_mw_cors(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_cors_opts none = {0};
    struct cors cors = {.filter = {.begin = begin}, .opts = arg != NULL ? arg : &none};
    struct weir_view origin = weir_req_field(req, "Origin");

    cors.varies = !is_open(cors.opts);
    /* The head may be dropped before the reply is begun; no origin that is one is longer than the copy. */
    if (origin.len > 0 && origin.len <= sizeof(cors.copy) && is_allowed(cors.opts, origin)) {
        memcpy(cors.copy, origin.data, origin.len);
        cors.origin = weir_bytes(cors.copy, origin.len);
    }
    if (!weir_view_is_absent(origin) &&
        weir_view_equal(weir_req_method(req), weir_str("OPTIONS")) &&
        !weir_view_is_absent(weir_req_field(req, "Access-Control-Request-Method"))) {
        return preflight(req, &cors);
    }
    weir_req_filter_reply(req, &cors.filter);
    return weir_chain_run(next, req);
}
