/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NET_RESOLVE_H
#define WEIR_NET_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/view.h>

#include "base/list.h"
#include "net/addr.h"

/*
 * Names to addresses: the hosts file and DNS, asynchronously, one resolver per loop, made on first
 * use. Lookups of the same name that overlap share one; nothing is remembered afterwards. Whoever
 * stops waiting leaves the lookup to end by itself within the resolver's own patience.
 */
struct weir__fiber;

#define WEIR__RESOLVE_MAX_ADDRS 8      /* per name: more than a dial gets round to */
#define WEIR__RESOLVE_MAX_LOOKUPS 1024 /* names in flight per loop */

/* One wait for a name, embedded by the waiter, who must not move it. */
struct weir__resolve {
    struct weir_list link; /* of the lookup's waiters */
    struct weir__fiber *fiber;
    bool done;
    int code;   /* once done: 0, WEIR_ENOTFOUND, WEIR_ETIMEDOUT, WEIR_ENOMEM, WEIR_EIO */
    int native; /* the resolver's own status, 0 for success */
    size_t count;
    /* By preference (RFC 6724), then interleaved by family (RFC 8305 4); ports are 0. */
    struct weir__addr addrs[WEIR__RESOLVE_MAX_ADDRS];
};

/*
 * Begins a lookup. It may be done when this returns; else the calling fiber is woken when it is,
 * and meanwhile may be for other causes. On failure nothing was begun; otherwise
 * weir__resolve_finish() it.
 *
 * Returns 0, WEIR_EINVAL (never a host name: bytes that no name has, a last label that is a
 * number), WEIR_ENOMEM, WEIR_ELIMIT (too many names in flight, no descriptor), WEIR_EIO.
 * Context: fiber.
 */
WEIR_NODISCARD int weir__resolve_begin(struct weir_view host, struct weir__resolve *wait);

/* Stops waiting; harmless when done. */
void weir__resolve_finish(struct weir__resolve *wait);

/*
 * For tests: where to ask ("127.0.0.1:5353,[::1]:53"; NULL = as the system says) and for how long
 * (0 = the default). Holds for all loops from their next idle moment on. Context: any thread.
 */
void weir__resolve_set_servers(const char *csv);
void weir__resolve_set_patience(int timeout_ms, int tries);

#endif
