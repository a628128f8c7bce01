/* SPDX-License-Identifier: MIT */
/* Building a router. Invariant: a node with routes has exactly their methods as bits; patterns that match the same paths
 * end at the same node. */
#include "route/router.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "http/fields.h"

/* Notes the first thing that went wrong, in words. */
static int WEIR_PRINTF(3, 4) complain(struct weir_router *router, int code, const char *format, ...)
{
    va_list args;

    if (router->error[0] == '\0') {
        va_start(args, format);
        WEIR_IGNORE(vsnprintf(router->error, sizeof(router->error), format, args));
        va_end(args);
    }
    return code;
}

static int no_memory(struct weir_router *router)
{
    return complain(router, WEIR_ENOMEM, "%s", weir_strerror(WEIR_ENOMEM));
}

static char *copy_text(const char *text, size_t len)
{
    char *copy = weir_alloc(len + 1);

    if (copy != NULL) {
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

/* Two lists, one behind the other. NULL only for want of memory. */
static struct weir_middleware *join(const struct weir_middleware *outer, size_t outer_count,
                                    const struct weir_middleware *inner, size_t inner_count)
{
    struct weir_middleware *all =
        weir_alloc0((outer_count + inner_count + 1) * sizeof(struct weir_middleware));

    if (all != NULL && outer_count > 0) {
        memcpy(all, outer, outer_count * sizeof(*all));
    }
    if (all != NULL && inner_count > 0) {
        memcpy(all + outer_count, inner, inner_count * sizeof(*all));
    }
    return all;
}

static bool has_null(const struct weir_middleware *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].fn == NULL) {
            return true;
        }
    }
    return count > 0 && items == NULL;
}

int weir_router_create(const struct weir_router_opts *opts, struct weir_router **ret)
{
    WEIR_CLEANUP(weir_router_destroyp) struct weir_router *router = NULL;
    struct weir_router_opts none = {0};

    opts = opts != NULL ? opts : &none;
    if (opts->middleware_count > 0 && opts->middleware == NULL) {
        return WEIR_EINVAL;
    }
    if (has_null(opts->middleware, opts->middleware_count)) {
        return WEIR_EINVAL;
    }
    router = weir_alloc0(sizeof(*router));
    if (router == NULL) {
        return WEIR_ENOMEM;
    }
    router->magic = WEIR__ROUTER_MAGIC;
    router->last_route = &router->routes;
    router->methods[0] = copy_text("*", 1);
    router->method_count = 1;
    router->scope.middleware = join(NULL, 0, opts->middleware, opts->middleware_count);
    router->scope.middleware_count = opts->middleware_count;
    router->scope.not_found = opts->not_found;
    router->scope.not_found_arg = opts->not_found_arg;
    if (router->methods[0] == NULL || router->scope.middleware == NULL) {
        return WEIR_ENOMEM;
    }
    *ret = weir_take(router);
    return 0;
}

static void node_finish(struct weir__node *node);

static void node_destroy(struct weir__node *node)
{
    if (node != NULL) {
        node_finish(node);
        weir_free(node);
    }
}

static void node_finish(struct weir__node *node)
{
    for (size_t i = 0; i < node->static_count; i++) {
        node_destroy(node->static_nodes[i]);
    }
    weir_free(node->static_nodes);
    node_destroy(node->param);
    node_destroy(node->wildcard);
}

static void route_destroy(struct weir__route *route)
{
    weir_free(route->pattern);
    weir_free(route->middleware);
    weir_free(route);
}

static void scope_destroy(struct weir__scope *scope)
{
    weir_free(scope->prefix);
    weir_free(scope->middleware);
    weir_free(scope);
}

void weir_router_destroy(struct weir_router *router)
{
    if (router == NULL) {
        return;
    }
    weir_check(router, WEIR__ROUTER_MAGIC);
    router->magic = 0;
    while (router->routes != NULL) {
        struct weir__route *route = router->routes;

        router->routes = route->added;
        route_destroy(route);
    }
    while (router->scopes != NULL) {
        struct weir__scope *scope = router->scopes;

        router->scopes = scope->next;
        scope_destroy(scope);
    }
    node_finish(&router->root);
    for (unsigned i = 0; i < router->method_count; i++) {
        weir_free(router->methods[i]);
    }
    weir_free(router->scope.middleware);
    weir_free(router);
}

void weir_router_destroyp(struct weir_router **router)
{
    weir_router_destroy(*router);
    *router = NULL;
}

const char *weir_router_error(struct weir_router *router)
{
    weir_check(router, WEIR__ROUTER_MAGIC);
    return router->error;
}

/* ---- patterns ---- */

/* Takes the next segment off a pattern that stands at its slash. */
static struct weir_view take_segment(const char **pattern)
{
    const char *begin = *pattern + 1;
    size_t len = strcspn(begin, "/");

    *pattern = begin + len;
    return weir_bytes(begin, len);
}

static bool is_name(struct weir_view name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t byte = name.data[i];
        uint8_t lower = byte | 0x20;

        if (!(lower >= 'a' && lower <= 'z') && !(byte >= '0' && byte <= '9') && byte != '_') {
            return false;
        }
    }
    return name.len > 0;
}

/* Whether a pattern is one; fills in the names of its parameters, which lie in its own memory. */
static int check_pattern(struct weir_router *router, const char *pattern, struct weir__route *route)
{
    const char *rest = pattern;
    size_t depth = 0;

    if (pattern[0] != '/') {
        return complain(router, WEIR_EINVAL, "pattern \"%s\" does not begin with a slash", pattern);
    }
    for (const char *c = pattern; *c != '\0'; c++) {
        if ((uint8_t)*c < ' ' || *c == '%' || *c == '?' || *c == '#' || (uint8_t)*c == 0x7f) {
            return complain(router, WEIR_EINVAL,
                            "pattern \"%s\" has a byte that no decoded path has, at offset %zu",
                            pattern, (size_t)(c - pattern));
        }
    }
    while (*rest != '\0') {
        struct weir_view segment = take_segment(&rest);
        struct weir_view name;
        bool is_wild = segment.len > 0 && segment.data[0] == '*';

        if (++depth > WEIR_ROUTE_DEPTH) {
            return complain(router, WEIR_ELIMIT, "pattern \"%s\" has more than %d segments",
                            pattern, WEIR_ROUTE_DEPTH);
        }
        if (weir_view_equal(segment, weir_str(".")) || weir_view_equal(segment, weir_str(".."))) {
            return complain(router, WEIR_EINVAL, "pattern \"%s\" has a dot segment", pattern);
        }
        if (segment.len == 0 || (segment.data[0] != ':' && !is_wild)) {
            continue;
        }
        name = weir_bytes(segment.data + 1, segment.len - 1);
        if (!is_name(name)) {
            return complain(router, WEIR_EINVAL,
                            "pattern \"%s\": \"%.*s\" is no name (letters, digits, underscores)",
                            pattern, (int)name.len, (const char *)name.data);
        }
        if (is_wild && *rest != '\0') {
            return complain(router, WEIR_EINVAL,
                            "pattern \"%s\": the wildcard \"*%.*s\" must be the last segment",
                            pattern, (int)name.len, (const char *)name.data);
        }
        if (route->name_count == WEIR_ROUTE_PARAMS) {
            return complain(router, WEIR_ELIMIT, "pattern \"%s\" has more than %d parameters",
                            pattern, WEIR_ROUTE_PARAMS);
        }
        for (size_t i = 0; i < route->name_count; i++) {
            if (weir_view_equal(route->names[i], name)) {
                return complain(router, WEIR_EINVAL, "pattern \"%s\" has \"%.*s\" twice", pattern,
                                (int)name.len, (const char *)name.data);
            }
        }
        route->names[route->name_count++] = name;
    }
    return 0;
}

static struct weir__node *node_create(struct weir_view label)
{
    struct weir__node *node = weir_alloc0(sizeof(*node) + label.len);

    if (node != NULL) {
        uint8_t *bytes = (uint8_t *)(node + 1);

        if (label.len > 0) {
            memcpy(bytes, label.data, label.len);
        }
        node->label = weir_bytes(bytes, label.len);
    }
    return node;
}

/* Order of the literals in a node; as weir__segment_compare(), but for bytes that are no escapes. */
static int compare(struct weir_view a, struct weir_view b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static struct weir__node *static_child(struct weir__node *node, struct weir_view label)
{
    struct weir__node **grown;
    struct weir__node *child;
    size_t at = 0;

    while (at < node->static_count && compare(node->static_nodes[at]->label, label) < 0) {
        at++;
    }
    if (at < node->static_count && weir_view_equal(node->static_nodes[at]->label, label)) {
        return node->static_nodes[at];
    }
    child = node_create(label);
    grown = child != NULL
                ? weir_realloc(node->static_nodes, (node->static_count + 1) * sizeof(*grown))
                : NULL;
    if (grown == NULL) {
        node_destroy(child);
        return NULL;
    }
    memmove(grown + at + 1, grown + at, (node->static_count - at) * sizeof(*grown));
    grown[at] = child;
    node->static_nodes = grown;
    node->static_count++;
    return child;
}

/* The node that a pattern ends at, made if there is none; NULL only for want of memory. */
static struct weir__node *node_of(struct weir_router *router, const char *pattern)
{
    struct weir__node *node = &router->root;

    while (node != NULL && *pattern != '\0') {
        struct weir_view segment = take_segment(&pattern);
        struct weir__node **slot = NULL;

        if (segment.len > 0 && segment.data[0] == ':') {
            slot = &node->param;
        } else if (segment.len > 0 && segment.data[0] == '*') {
            slot = &node->wildcard;
        }
        if (slot == NULL) {
            node = static_child(node, segment);
        } else {
            if (*slot == NULL) {
                *slot = node_create(weir_bytes(NULL, 0));
            }
            node = *slot;
        }
    }
    return node;
}

/* The method's index, made if there is none. */
static int method_of(struct weir_router *router, const char *method, unsigned *ret)
{
    for (unsigned i = 0; i < router->method_count; i++) {
        if (strcmp(router->methods[i], method) == 0) {
            *ret = i;
            return 0;
        }
    }
    if (!weir__field_is_token(weir_str(method)) || strlen(method) > 24) {
        return complain(router, WEIR_EINVAL, "\"%s\" is no method", method);
    }
    if (router->method_count > WEIR_ROUTE_METHODS) {
        return complain(router, WEIR_ELIMIT, "\"%s\" is one method more than the %d there may be",
                        method, WEIR_ROUTE_METHODS);
    }
    router->methods[router->method_count] = copy_text(method, strlen(method));
    if (router->methods[router->method_count] == NULL) {
        return no_memory(router);
    }
    *ret = router->method_count++;
    return 0;
}

/* Adds a route whose middleware is complete. `pattern` and `middleware` are given. */
static int insert_take(struct weir_router *router, const char *method, char *pattern,
                       struct weir_middleware *middleware, size_t middleware_count, bool blocks,
                       const struct weir_blocking *run)
{
    WEIR_CLEANUP(weir_freep) char *own_pattern = pattern;
    WEIR_CLEANUP(weir_freep) char *own_route = NULL;
    struct weir__route *route = weir_alloc0(sizeof(*route));
    struct weir__node *node;
    int r;

    own_route = (char *)route;
    if (route == NULL || pattern == NULL || middleware == NULL) {
        weir_free(middleware);
        return no_memory(router);
    }
    r = check_pattern(router, pattern, route);
    if (r == 0) {
        r = method_of(router, method, &route->method);
    }
    node = r == 0 ? node_of(router, pattern) : NULL;
    if (r == 0 && node == NULL) {
        r = no_memory(router);
    }
    for (struct weir__route *other = r == 0 ? node->routes : NULL; other != NULL && r == 0;
         other = other->next) {
        if (other->method == route->method) {
            r = complain(router, WEIR_EBUSY,
                         "%s \"%s\" conflicts with \"%s\", which is there already", method, pattern,
                         other->pattern);
        }
    }
    if (r < 0) {
        weir_free(middleware);
        return r;
    }
    route->pattern = weir_take(own_pattern);
    route->middleware = middleware;
    route->middleware_count = middleware_count;
    route->blocks = blocks;
    route->run = *run;
    route->next = node->routes;
    node->routes = route;
    node->methods |= 1u << route->method;
    *router->last_route = route;
    router->last_route = &route->added;
    own_route = NULL;
    return 0;
}

int weir_router_add(struct weir_router *router, const char *method, const char *pattern,
                    weir_handler_fn *handler, void *arg, const struct weir_route_opts *opts)
{
    struct weir_route_opts none = {0};

    weir_check(router, WEIR__ROUTER_MAGIC);
    opts = opts != NULL ? opts : &none;
    if (method == NULL || pattern == NULL || handler == NULL) {
        return complain(router, WEIR_EINVAL, "a route needs a method, a pattern and a handler");
    }
    if (has_null(opts->middleware, opts->middleware_count)) {
        return complain(router, WEIR_EINVAL, "%s \"%s\" has middleware without a function", method,
                        pattern);
    }
    if (!opts->blocking && (opts->pool != NULL || opts->pool_wait_ms != 0)) {
        return complain(router, WEIR_EINVAL, "%s \"%s\" has a pool but is not blocking", method,
                        pattern);
    }
    return insert_take(router, method, copy_text(pattern, strlen(pattern)),
                       join(router->scope.middleware, router->scope.middleware_count,
                            opts->middleware, opts->middleware_count),
                       router->scope.middleware_count + opts->middleware_count, opts->blocking,
                       &(struct weir_blocking){handler, arg, opts->pool, opts->pool_wait_ms});
}

/* ---- mounting ---- */

/* "/" below a prefix is the prefix. */
static char *prefixed(const char *prefix, const char *pattern)
{
    size_t len = strlen(prefix);
    size_t more = strcmp(pattern, "/") == 0 ? 0 : strlen(pattern);
    char *all = weir_alloc(len + more + 1);

    if (all != NULL) {
        memcpy(all, prefix, len);
        memcpy(all + len, pattern, more);
        all[len + more] = '\0';
    }
    return all;
}

/* Hangs a scope of the child's into the trie; `pattern` is given. */
static int add_scope_take(struct weir_router *router, char *pattern, const struct weir__scope *from)
{
    struct weir__scope *scope = weir_alloc0(sizeof(*scope));
    struct weir__node *node = scope != NULL && pattern != NULL ? node_of(router, pattern) : NULL;

    if (node == NULL) {
        weir_free(scope);
        weir_free(pattern);
        return no_memory(router);
    }
    *scope = *from;
    scope->prefix = pattern;
    scope->middleware_count = router->scope.middleware_count + from->middleware_count;
    scope->middleware = join(router->scope.middleware, router->scope.middleware_count,
                             from->middleware, from->middleware_count);
    scope->next = router->scopes;
    router->scopes = scope;
    if (scope->middleware == NULL) {
        return no_memory(router);
    }
    if (node->scope != NULL) {
        return complain(router, WEIR_EBUSY, "two routers are mounted at \"%s\"", pattern);
    }
    node->scope = scope;
    return 0;
}

int weir_router_mount_take(struct weir_router *router, const char *prefix,
                           struct weir_router *child)
{
    WEIR_CLEANUP(weir_router_destroyp) struct weir_router *given = child;
    struct weir__route checked = {0};
    size_t len = prefix != NULL ? strlen(prefix) : 0;
    int r;

    weir_check(router, WEIR__ROUTER_MAGIC);
    if (given == NULL || given == router || len == 0 || prefix[len - 1] == '/' ||
        strchr(prefix, '*') != NULL) {
        if (given == router) {
            given = NULL;
        }
        return complain(router, WEIR_EINVAL, "a router cannot be mounted at \"%s\"",
                        prefix != NULL ? prefix : "");
    }
    r = check_pattern(router, prefix, &checked);
    if (r == 0 && given->error[0] != '\0') {
        r = complain(router, WEIR_EINVAL, "below \"%s\": %s", prefix, given->error);
    }
    if (r == 0) {
        r = add_scope_take(router, copy_text(prefix, len), &given->scope);
    }
    for (struct weir__scope *scope = given->scopes; scope != NULL && r == 0; scope = scope->next) {
        r = add_scope_take(router, prefixed(prefix, scope->prefix), scope);
    }
    for (struct weir__route *route = given->routes; route != NULL && r == 0; route = route->added) {
        r = insert_take(router, given->methods[route->method], prefixed(prefix, route->pattern),
                        join(router->scope.middleware, router->scope.middleware_count,
                             route->middleware, route->middleware_count),
                        router->scope.middleware_count + route->middleware_count, route->blocks,
                        &route->run);
    }
    return r;
}
