/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NET_DIAL_H
#define WEIR_NET_DIAL_H

#include <stdint.h>

#include <weir/err.h>
#include <weir/view.h>

/*
 * Opens a TCP connection to a host by name or address: resolve, then Happy Eyeballs (RFC 8305):
 * the addresses in turns of both families, a new attempt 250 ms after the last one began or as
 * soon as one fails, the first to connect wins and the others are closed.
 */
#define WEIR__DIAL_DELAY_US 250000 /* RFC 8305 5 */

struct weir__dial_opts {
    /* Required, borrowed: a name, an IPv4 address, or an IPv6 address, bare or in brackets. */
    struct weir_view host;
    uint16_t port; /* required */
    /* Required: absolute, in the loop's time; WEIR__NEVER: only the system's own limits. */
    int64_t deadline_us;
};

/* The values of weir_error.where after a failure, to be compared as pointers: what was being
 * done. */
extern const char weir__dial_resolve[]; /* "resolve"; native is the resolver's status */
extern const char weir__dial_connect[]; /* "connect"; native is an errno */

/*
 * ret_fd     given: a connected socket, non-blocking, close-on-exec, TCP_NODELAY set, in no loop.
 * ret_error  set on failure, else untouched; may be NULL. Its side is SELF where this program is
 *            the cause, else NONE.
 *
 * Where attempts failed differently, the most telling one is reported: a family that this machine
 * cannot route counts least. Returns 0, or
 *   WEIR_EINVAL      no host name, or no port;
 *   WEIR_ENOTFOUND   there is no such name, or it has no address;
 *   WEIR_EREFUSED, WEIR_ERESET   by the peer;
 *   WEIR_ETIMEDOUT   the deadline passed, or the resolver or TCP gave up;
 *   WEIR_ECANCELED   the scope was cancelled, before or meanwhile (the cancel is not consumed);
 *   WEIR_ELIMIT      no descriptor left, or too many lookups at once;
 *   WEIR_ENOMEM, WEIR_EIO.
 * Context: fiber, suspends.
 */
WEIR_NODISCARD int weir__dial(const struct weir__dial_opts *opts, int *ret_fd,
                              struct weir_error *ret_error);

#endif
