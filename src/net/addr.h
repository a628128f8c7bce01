/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NET_ADDR_H
#define WEIR_NET_ADDR_H

#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <weir/err.h>
#include <weir/view.h>

/* A TCP address of either family, by value. */
struct weir__addr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } of;
};

/* Parses a literal IPv4 address in four decimal parts, or an IPv6 one, bare or in brackets.
 * Returns 0, or WEIR_EINVAL (no literal address). Context: any thread. */
WEIR_NODISCARD int weir__addr_parse(struct weir_view host, uint16_t port, struct weir__addr *ret);

void weir__addr_set_port(struct weir__addr *addr, uint16_t port);
uint16_t weir__addr_port(const struct weir__addr *addr);

/* The code for an errno of socket(), bind() or connect(). */
int weir__net_code(int native);

#endif
