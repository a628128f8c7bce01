/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NET_LISTEN_H
#define WEIR_NET_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/err.h>
#include <weir/view.h>

struct weir__pace;

/*
 * Opens a listening TCP socket: non-blocking, close-on-exec, SO_REUSEADDR. It is prepared
 * (weir__tcp_prepare_listener) before it listens, so every connection has what it inherits.
 *
 * host       a literal address of either family (IPv6 bare or in brackets; it takes no IPv4);
 *            "*" or empty: every address of both families, of IPv4 only where the system has no
 *            IPv6.
 * port       0: the system chooses.
 * backlog    as listen(2) has it; <= 0: the system's maximum.
 * reuseport  several sockets share the port, and the kernel spreads connections over them.
 * pace       of what is accepted; NULL: the default.
 * ret_fd     given. ret_port  the port in use; may be NULL.
 * ret_error  set on failure, else untouched; may be NULL.
 *
 * Returns 0, WEIR_EINVAL (no literal address), WEIR_EBUSY (the port is taken), WEIR_ELIMIT (no
 * descriptor left), WEIR_ENOMEM, WEIR_EIO (native says why: EACCES, EADDRNOTAVAIL, ...).
 * Context: any thread.
 */
WEIR_NODISCARD int weir__listen(struct weir_view host, uint16_t port, int backlog, bool reuseport,
                                const struct weir__pace *pace, int *ret_fd, uint16_t *ret_port,
                                struct weir_error *ret_error);

/* Whether nobody listens there yet: sockets with `reuseport` share their port with any program of the same user. It takes no
 * connection. Returns 0 (also when something else is wrong: weir__listen() will say so), WEIR_EBUSY, WEIR_EINVAL.
 * Context: any thread. */
WEIR_NODISCARD int weir__listen_check(struct weir_view host, uint16_t port,
                                      struct weir_error *ret_error);

#endif
