/* SPDX-License-Identifier: MIT */
/* Answering a request by its route, and what the router answers itself: 400, 404, 405, OPTIONS. */
#include "route/router.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "http/request.h"

struct own_answer {
    struct weir_router *router;
    const struct weir__match *match;
};

/* Allow (RFC 9110 10.2.1); HEAD comes with GET, OPTIONS always. */
static size_t allow_text(struct weir_router *router, uint32_t methods, char *text, size_t size)
{
    bool head = false;
    bool options = false;
    bool get = false;
    size_t len = 0;

    for (unsigned i = 1; i < router->method_count; i++) {
        const char *name = router->methods[i];

        if ((methods & (1u << i)) == 0) {
            continue;
        }
        get = get || strcmp(name, "GET") == 0;
        head = head || strcmp(name, "HEAD") == 0;
        options = options || strcmp(name, "OPTIONS") == 0;
        len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", name);
    }
    if (get && !head) {
        len += (size_t)snprintf(text + len, size - len, ", HEAD");
    }
    if (!options) {
        len += (size_t)snprintf(text + len, size - len, "%sOPTIONS", len > 0 ? ", " : "");
    }
    return len;
}

static uint32_t all_methods(struct weir_router *router)
{
    return ((uint32_t)1 << (router->method_count - 1)) * 2 - 1;
}

static int reply_allow(struct weir_req *req, struct weir_router *router, uint32_t methods)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    char text[(WEIR_ROUTE_METHODS + 2) * 26]; /* methods have at most 24 bytes */
    size_t len = allow_text(router, methods, text, sizeof(text));
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("Allow"), weir_bytes(text, len));
    }
    if (r < 0) {
        return r;
    }
    return weir_view_equal(req->method, weir_str("OPTIONS"))
               ? weir_reply_empty(req, 204, fields)
               : weir_reply_bytes(req, 405, fields, "text/plain; charset=utf-8",
                                  weir_str("method not allowed\n"));
}

static int answer_itself(struct weir_req *req, void *arg)
{
    const struct own_answer *answer = arg;
    const struct weir__match *match = answer->match;

    if (match->dots) {
        return weir_reply_text(req, 400, "dot segment in the path\n");
    }
    if (weir_view_equal(weir_req_path(req), weir_str("*"))) {
        return reply_allow(req, answer->router, all_methods(answer->router));
    }
    if (match->methods != 0) {
        return reply_allow(req, answer->router, match->methods);
    }
    if (match->scope->not_found != NULL) {
        return match->scope->not_found(req, match->scope->not_found_arg);
    }
    return weir_reply_text(req, 404, "not found\n");
}

int weir_router_handle(struct weir_req *req, void *arg)
{
    struct weir_router *router = arg;
    const struct weir__match *outer = req->match;
    struct weir__match match;
    struct own_answer answer = {router, &match};
    struct weir_chain chain;
    int r;

    weir_check(router, WEIR__ROUTER_MAGIC);
    weir__router_match(router, weir_req_method(req), weir_req_path(req), &match);
    if (match.route != NULL) {
        const struct weir_blocking *run = &match.route->run;

        chain = (struct weir_chain){match.route->middleware, match.route->middleware_count,
                                    match.route->blocks ? weir_blocking_handler : run->handler,
                                    match.route->blocks ? (void *)run : run->arg};
        req->route = match.route->pattern;
    } else {
        chain = (struct weir_chain){match.scope->middleware, match.scope->middleware_count,
                                    answer_itself, &answer};
        req->route = NULL;
    }
    req->match = &match;
    r = weir_chain_run(&chain, req);
    req->match = outer;
    return r;
}

struct weir_view weir_req_route(struct weir_req *req)
{
    weir_req_is_begun(req); /* looks at the magic */
    return weir_str(req->route);
}

struct weir_view weir_req_param(struct weir_req *req, const char *name)
{
    const struct weir__match *match = req->match;
    struct weir_view wanted = weir_str(name);

    if (!weir_view_is_absent(weir_req_target(req)) && match != NULL && match->route != NULL) {
        for (size_t i = 0; i < match->route->name_count; i++) {
            if (weir_view_equal(match->route->names[i], wanted)) {
                return match->values[i];
            }
        }
    }
    return weir_bytes(NULL, 0);
}

int weir_req_param_decode(struct weir_req *req, const char *name, void *buffer, size_t size,
                          struct weir_view *ret)
{
    struct weir_view raw = weir_req_param(req, name);

    return weir_view_is_absent(raw) ? WEIR_ENOTFOUND : weir__percent_decode(raw, buffer, size, ret);
}

int weir_req_param_u64(struct weir_req *req, const char *name, uint64_t *ret)
{
    struct weir_view raw = weir_req_param(req, name);

    return weir_view_is_absent(raw) ? WEIR_ENOTFOUND : weir_view_to_u64(raw, ret);
}
