/* SPDX-License-Identifier: MIT */
/*
 * The router. The input is lines: patterns, and after an empty line a path. What the trie finds must be what a plain look
 * at every pattern by itself finds: a pattern that is found takes the path, and one is found if any does.
 */
#include "fuzz.h"

#include "route/router.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PATTERNS 24

static int never(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return 0;
}

/* Whether a pattern by itself takes a path; both stand at a slash. */
static bool takes(const char *pattern, struct weir_view path)
{
    for (;;) {
        size_t want = strcspn(pattern + 1, "/");
        const uint8_t *slash;
        struct weir_view segment;

        if (path.len == 0) {
            return false;
        }
        path = weir_bytes(path.data + 1, path.len - 1);
        if (pattern[1] == '*') {
            return true;
        }
        slash = path.len > 0 ? memchr(path.data, '/', path.len) : NULL;
        segment = slash != NULL ? weir_bytes(path.data, (size_t)(slash - path.data)) : path;
        if (pattern[1] == ':'
                ? segment.len == 0
                : weir__segment_compare(segment, weir_bytes(pattern + 1, want)) != 0) {
            return false;
        }
        path = weir_bytes(path.data + segment.len, path.len - segment.len);
        pattern += 1 + want;
        if (*pattern == '\0') {
            return path.len == 0;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"GET", "PUT", "*"};
    char *patterns[MAX_PATTERNS];
    size_t count = 0;
    size_t at = 0;
    struct weir_router *router = NULL;
    struct weir__match match;
    struct weir_view path;
    bool any = false;

    if (weir_router_create(NULL, &router) < 0) {
        abort();
    }
    while (at < size && count < MAX_PATTERNS) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end != NULL ? (size_t)(end - data) - at : size - at;
        char *pattern = malloc(len + 1);

        memcpy(pattern, data + at, len);
        pattern[len] = '\0';
        at += len + (end != NULL);
        if (len == 0) {
            free(pattern);
            break;
        }
        if (weir_router_add(router, methods[count % 3], pattern, never, NULL, NULL) == 0) {
            patterns[count++] = pattern;
        } else {
            if (weir_router_error(router)[0] == '\0') {
                abort();
            }
            free(pattern);
        }
    }
    path = weir_bytes(data + at, size - at);
    weir__router_match(router, weir_str("GET"), path, &match);
    for (size_t i = 0; i < count; i++) {
        if (!match.dots && path.len > 0 && path.data[0] == '/' && takes(patterns[i], path)) {
            any = any || i % 3 != 1;
        }
        free(patterns[i]);
    }
    if (any != (match.route != NULL) || (any && !takes(match.route->pattern, path))) {
        abort();
    }
    for (size_t i = 0; match.route != NULL && i < match.route->name_count; i++) {
        struct weir_view value = match.values[i];

        if (value.data < path.data || value.data + value.len > path.data + path.len) {
            abort();
        }
    }
    weir_router_destroy(router);
    return 0;
}
