/* SPDX-License-Identifier: MIT */
/*
 * Looking a path up. Each node of the trie is visited at most once, for its depth is that of the segment, so the work is
 * bounded by the routes there are, whatever the path; the recursion by WEIR_ROUTE_DEPTH.
 */
#include "route/router.h"

struct search {
    struct weir_router *router;
    struct weir__match *match;
    unsigned method;    /* in router->methods; 0: one that no route names */
    unsigned head_from; /* GET's, if the method is HEAD */
    size_t scope_depth;
};

static int hex(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The next decoded byte of a segment; a broken escape stands for itself. */
static uint8_t take(struct weir_view *raw)
{
    uint8_t byte = raw->data[0];
    size_t len = 1;

    if (byte == '%' && raw->len >= 3) {
        int high = hex(raw->data[1]);
        int low = hex(raw->data[2]);

        if (high >= 0 && low >= 0) {
            byte = (uint8_t)(high * 16 + low);
            len = 3;
        }
    }
    raw->data += len;
    raw->len -= len;
    return byte;
}

int weir__segment_compare(struct weir_view raw, struct weir_view literal)
{
    size_t i = 0;

    while (raw.len > 0 && i < literal.len) {
        uint8_t byte = take(&raw);

        if (byte != literal.data[i]) {
            return byte < literal.data[i] ? -1 : 1;
        }
        i++;
    }
    return raw.len > 0 ? 1 : i < literal.len ? -1 : 0;
}

int weir__percent_decode(struct weir_view raw, void *buffer, size_t size, struct weir_view *ret)
{
    uint8_t *out = buffer;
    size_t len = 0;

    while (raw.len > 0) {
        bool escaped = raw.data[0] == '%';
        size_t before = raw.len;
        uint8_t byte = take(&raw);

        if (byte == 0 || (escaped && before - raw.len != 3)) {
            return WEIR_EINVAL;
        }
        if (len == size) {
            return WEIR_ELIMIT;
        }
        out[len++] = byte;
    }
    *ret = weir_bytes(buffer, len);
    return 0;
}

static struct weir_view first_segment(struct weir_view rest)
{
    const uint8_t *slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;

    return slash != NULL ? weir_bytes(rest.data, (size_t)(slash - rest.data)) : rest;
}

static bool is_dots(struct weir_view segment)
{
    return weir__segment_compare(segment, weir_str(".")) == 0 ||
           weir__segment_compare(segment, weir_str("..")) == 0;
}

static bool has_dots(struct weir_view path)
{
    for (;;) {
        struct weir_view segment = first_segment(path);

        if (segment.len > 0 && segment.len <= 6 && is_dots(segment)) {
            return true;
        }
        if (segment.len == path.len) {
            return false;
        }
        path = weir_bytes(path.data + segment.len + 1, path.len - segment.len - 1);
    }
}

static const struct weir__route *route_of(const struct weir__node *node, unsigned method)
{
    const struct weir__route *route = node->routes;

    while (route != NULL && route->method != method) {
        route = route->next;
    }
    return route;
}

/* The path ends at this node. */
static bool arrive(struct search *search, const struct weir__node *node)
{
    const struct weir__route *route = NULL;

    if (search->method != 0) {
        route = route_of(node, search->method);
    }
    if (route == NULL && search->head_from != 0) {
        route = route_of(node, search->head_from);
    }
    if (route == NULL) {
        route = route_of(node, 0);
    }
    search->match->methods |= node->methods;
    search->match->route = route;
    return route != NULL;
}

static const struct weir__node *static_child(const struct weir__node *node,
                                             struct weir_view segment)
{
    size_t low = 0;
    size_t high = node->static_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = weir__segment_compare(segment, node->static_nodes[middle]->label);

        if (order == 0) {
            return node->static_nodes[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* `rest` begins behind a slash; absent: the path ended at `node`. */
static bool descend(struct search *search, const struct weir__node *node, struct weir_view rest,
                    size_t depth, size_t values)
{
    const struct weir__node *child;
    struct weir_view segment;
    struct weir_view behind = weir_bytes(NULL, 0);

    if (node->scope != NULL && depth >= search->scope_depth) {
        search->match->scope = node->scope;
        search->scope_depth = depth;
    }
    if (weir_view_is_absent(rest)) {
        return node->methods != 0 && arrive(search, node);
    }
    segment = first_segment(rest);
    if (segment.len < rest.len) {
        behind = weir_bytes(rest.data + segment.len + 1, rest.len - segment.len - 1);
    }
    child = static_child(node, segment);
    if (child != NULL && descend(search, child, behind, depth + 1, values)) {
        return true;
    }
    if (node->param != NULL && segment.len > 0) {
        search->match->values[values] = segment;
        if (descend(search, node->param, behind, depth + 1, values + 1)) {
            return true;
        }
    }
    if (node->wildcard != NULL) {
        search->match->values[values] = rest;
        return arrive(search, node->wildcard);
    }
    return false;
}

static unsigned method_index(struct weir_router *router, struct weir_view method)
{
    for (unsigned i = 1; i < router->method_count; i++) {
        if (weir_view_equal(method, weir_str(router->methods[i]))) {
            return i;
        }
    }
    return 0;
}

void weir__router_match(struct weir_router *router, struct weir_view method, struct weir_view path,
                        struct weir__match *ret)
{
    struct search search = {.router = router, .match = ret};

    ret->route = NULL;
    ret->methods = 0;
    ret->scope = &router->scope;
    ret->dots = false;
    if (path.len == 0 || path.data[0] != '/') {
        return;
    }
    if (has_dots(weir_bytes(path.data + 1, path.len - 1))) {
        ret->dots = true;
        return;
    }
    search.method = method_index(router, method);
    if (weir_view_equal(method, weir_str("HEAD"))) {
        search.head_from = method_index(router, weir_str("GET"));
    }
    descend(&search, &router->root, weir_bytes(path.data + 1, path.len - 1), 0, 0);
}
