/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTER_H
#define WEIR_ROUTER_H

#include <weir/middleware.h>

WEIR_BEGIN_DECLS

/*
 * A router finds the handler for a method and a path. It is built before the server runs and only read from then on, by
 * all threads. Finding a route allocates nothing.
 *
 * A pattern is a path whose segments are taken literally, or are ":name" (one segment, not empty) or, as the last one,
 * "*name" (all the rest, slashes included, also when it is empty). At each segment a literal wins over a parameter, and
 * that over a wildcard; where the winner leads nowhere for this method, the next one is tried. Literals are
 * written decoded and compared with the decoded segment; "/a" and "/a/" are two paths. A path with a dot segment ("..", also encoded) is
 * answered with 400, so no parameter can be one.
 *
 * HEAD is answered by GET's handler unless there is one for HEAD (the body is dropped). OPTIONS is answered with 204 and
 * Allow, a method that a known path does not have with 405 and Allow (RFC 9110 9.3.7, 15.5.6), an unknown path with 404.
 */
struct weir_router;

#define WEIR_ROUTE_DEPTH 32   /* segments of a pattern */
#define WEIR_ROUTE_PARAMS 16  /* parameters of a pattern, a wildcard included */
#define WEIR_ROUTE_METHODS 31 /* different ones in a router */

struct weir_router_opts {
    /* Around every route of this router and its answers of its own (404, 405, OPTIONS); first one outermost. */
    const struct weir_middleware *middleware; /* copied; what their `arg` point to is borrowed */
    size_t middleware_count;
    weir_handler_fn *not_found; /* NULL: 404 as text */
    void *not_found_arg;        /* borrowed for the router's life */
};

/**
 * An empty router.
 *
 * opts  borrowed; NULL for the defaults.
 * ret   given: weir_router_destroy() it.
 *
 * Returns 0 or WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_router_create(const struct weir_router_opts *opts,
                                               struct weir_router **ret);

/** Frees it; no request may be inside. NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_router_destroy(struct weir_router *router);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_router_destroyp(struct weir_router **router);

struct weir_blocking_pool;

struct weir_route_opts {
    /* Inside the router's own; first one outermost. Copied; what their `arg` point to is borrowed. */
    const struct weir_middleware *middleware;
    size_t middleware_count;
    /* The handler blocks: it runs on a thread of a bounded pool (weir/blocking.h). Its middleware stays in the request's
     * fiber, around it. Where the pool has no room the request gets a 503 with Retry-After. */
    bool blocking;
    /* Only with `blocking`. The pool: borrowed for the router's life; NULL: the process's own. And how long a request may
     * wait for a thread; 0: as long as the queue takes. */
    struct weir_blocking_pool *pool;
    int64_t pool_wait_ms;
};

/**
 * Adds a route.
 *
 * method   a token, "*" for every method that has no route of its own there. Copied.
 * pattern  see above. Copied.
 * arg      the handler's; borrowed for the router's life.
 * opts     borrowed; NULL for the defaults.
 *
 * Returns 0, WEIR_EINVAL (a pattern or method that is none; a pool, or a wait for one, of a handler that does not block),
 * WEIR_EBUSY (the router has a route for that method and the same paths), WEIR_ELIMIT (a bound above), WEIR_ENOMEM;
 * weir_router_error() says it in words.
 * Context: any thread, before requests come.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_router_add(struct weir_router *router, const char *method,
                                            const char *pattern, weir_handler_fn *handler,
                                            void *arg, const struct weir_route_opts *opts);

/**
 * Moves all routes of another router under a prefix; its middleware goes with them, inside this router's. Its "/" becomes
 * the prefix itself. Under the prefix its own not_found answers.
 *
 * prefix  a pattern without wildcard that does not end in a slash.
 * child   given.
 *
 * Returns as weir_router_add(). After an error some routes may have been added: the router is good for nothing but
 * weir_router_error() and weir_router_destroy(). Context: any thread, before requests come.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_router_mount_take(struct weir_router *router, const char *prefix,
                                                   struct weir_router *child);

/** What was wrong with the first route that could not be added, in words, or ""; so a program may add all its routes and
 * look once. Borrowed until weir_router_destroy(). Context: any thread.  Since: 0.1. */
WEIR_API const char *weir_router_error(struct weir_router *router);

/** Answers a request by its route. A weir_handler_fn; `arg` is the router. For weir_server_opts, or as the handler of a
 * chain. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_router_handle(struct weir_req *req, void *arg);

/* ---- what a handler and its middleware may ask ---- */

/** The pattern of the route that was taken ("/users/:id"): for logs and metrics, for it has few values. Also after the
 * router has returned; absent if there was none. Lives as long as the router. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_route(struct weir_req *req);

/** The value of a parameter as it stands in the path, not decoded; absent if the route has none of that name, and after
 * weir_req_drop_head(). Borrowed as the path is. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_req_param(struct weir_req *req, const char *name);

/**
 * The same, percent-decoded.
 *
 * buffer, size  where it is put; as many bytes as the parameter has always do.
 * ret           in the buffer, not NUL-terminated; untouched on failure.
 *
 * Returns 0, WEIR_ENOTFOUND (no such parameter), WEIR_ELIMIT (a buffer too small), WEIR_EINVAL (no legal encoding, or
 * an encoded NUL). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_req_param_decode(struct weir_req *req, const char *name,
                                                  void *buffer, size_t size, struct weir_view *ret);

/** The same as a number. Returns 0, WEIR_ENOTFOUND, or as weir_view_to_u64(). Context: fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_req_param_u64(struct weir_req *req, const char *name,
                                               uint64_t *ret);

WEIR_END_DECLS

/*
 * Example: three routes, one of them for those who have a key, one whose handler blocks, and a server that serves them.
 *
 *     struct weir_middleware all[] = {{weir_mw_access_log, &log}};
 *     struct weir_middleware keyed[] = {{weir_mw_api_key, &keys}};
 *     int r = weir_router_create(&(struct weir_router_opts){.middleware = all, .middleware_count = 1}, &router);
 *
 *     if (r == 0) {
 *         r = weir_router_add(router, "GET", "/items/:id", item, NULL, NULL);
 *     }
 *     if (r == 0) {
 *         r = weir_router_add(router, "PUT", "/items/:id", put_item, NULL,
 *                             &(struct weir_route_opts){.middleware = keyed, .middleware_count = 1});
 *     }
 *     if (r == 0) {
 *         r = weir_router_add(router, "GET", "/items.csv", export_items, NULL,
 *                             &(struct weir_route_opts){.blocking = true});
 *     }
 *     if (r < 0) {
 *         fprintf(stderr, "%s\n", weir_router_error(router));
 *         return 1;
 *     }
 *     r = weir_server_create(&(struct weir_server_opts){.handler = weir_router_handle, .arg = router}, &server);
 */

#endif
