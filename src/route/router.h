/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTE_ROUTER_H
#define WEIR_ROUTE_ROUTER_H

#include <weir/blocking.h>
#include <weir/router.h>

#include "base/list.h"

/*
 * A trie with a node per segment. A mounted router leaves its routes and its scope behind and is gone, so there is one
 * trie to look through, and conflicts show when it is built.
 */
struct weir__node {
    struct weir_view label;           /* a literal segment, in the node's own memory */
    struct weir__node **static_nodes; /* sorted by label */
    size_t static_count;
    struct weir__node *param, *wildcard;
    struct weir__route *routes;      /* of the pattern that ends here, by method */
    uint32_t methods;                /* theirs, as bits of weir_router.methods */
    const struct weir__scope *scope; /* of a router that was mounted here; NULL: none */
};

/* What is around the answers of a router below some node. */
struct weir__scope {
    struct weir__scope *next; /* weir_router.scopes */
    char *prefix;
    struct weir_middleware *middleware;
    size_t middleware_count;
    weir_handler_fn *not_found;
    void *not_found_arg;
};

struct weir__route {
    struct weir__route *next;  /* weir__node.routes */
    struct weir__route *added; /* weir_router.routes */
    unsigned method;           /* in weir_router.methods */
    char *pattern;
    struct weir_view names[WEIR_ROUTE_PARAMS]; /* in the pattern */
    size_t name_count;
    struct weir_middleware *middleware; /* of all routers around it and its own */
    size_t middleware_count;
    bool blocks;
    struct weir_blocking run; /* the handler and its arg; only if it blocks the rest */
};

struct weir_router {
    uint32_t magic;
    struct weir__node root;
    struct weir__scope scope;                 /* its own, the outermost */
    struct weir__scope *scopes;               /* of those that were mounted */
    struct weir__route *routes, **last_route; /* in the order they were added */
    char *methods[WEIR_ROUTE_METHODS + 1];    /* [0] is "*" */
    unsigned method_count;
    char error[256];
};

#define WEIR__ROUTER_MAGIC 0x72746572u

/* What was found for a method and a path. Values are views into the path. */
struct weir__match {
    const struct weir__route *route; /* NULL: none for this method */
    uint32_t methods;                /* of the routes for this path */
    const struct weir__scope *scope; /* the deepest one on the way */
    bool dots;                       /* the path has a dot segment: nothing was looked for */
    struct weir_view values[WEIR_ROUTE_PARAMS];
};

void weir__router_match(struct weir_router *router, struct weir_view method, struct weir_view path,
                        struct weir__match *ret);

/* Compares a literal with a segment as it stands in a path: < 0, 0, > 0 for the order of the decoded bytes. */
int weir__segment_compare(struct weir_view raw, struct weir_view literal);

/* Decodes; the buffer needs raw.len bytes at most. Returns 0, WEIR_EINVAL, WEIR_ELIMIT. */
int weir__percent_decode(struct weir_view raw, void *buffer, size_t size, struct weir_view *ret);

#endif
