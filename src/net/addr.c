/* SPDX-License-Identifier: MIT */
/* Literal addresses, and what the errors of sockets mean. Looks nothing up. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>

/* Room for the longest literal, an IPv6 address with an IPv4 tail. */
#define LITERAL_MAX 46

int weir__addr_parse(struct weir_view host, uint16_t port, struct weir__addr *ret)
{
    char text[LITERAL_MAX];
    struct weir__addr addr = {0};

    if (host.len >= 2 && host.data[0] == '[') {
        if (host.data[host.len - 1] != ']') {
            return WEIR_EINVAL;
        }
        host = weir_bytes(host.data + 1, host.len - 2);
        if (memchr(host.data, ':', host.len) == NULL) {
            return WEIR_EINVAL; /* only IPv6 goes into brackets (RFC 3986 3.2.2) */
        }
    }
    if (host.len == 0 || host.len >= sizeof(text) || memchr(host.data, 0, host.len) != NULL) {
        return WEIR_EINVAL;
    }
    memcpy(text, host.data, host.len);
    text[host.len] = 0;
    if (inet_pton(AF_INET, text, &addr.of.v4.sin_addr) == 1) {
        addr.len = sizeof(addr.of.v4);
        addr.of.v4.sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, text, &addr.of.v6.sin6_addr) == 1) {
        addr.len = sizeof(addr.of.v6);
        addr.of.v6.sin6_family = AF_INET6;
    } else {
        return WEIR_EINVAL;
    }
    weir__addr_set_port(&addr, port);
    *ret = addr;
    return 0;
}

void weir__addr_set_port(struct weir__addr *addr, uint16_t port)
{
    if (addr->of.any.sa_family == AF_INET6) {
        addr->of.v6.sin6_port = htons(port);
    } else {
        addr->of.v4.sin_port = htons(port);
    }
}

uint16_t weir__addr_port(const struct weir__addr *addr)
{
    return ntohs(addr->of.any.sa_family == AF_INET6 ? addr->of.v6.sin6_port : addr->of.v4.sin_port);
}

int weir__net_code(int native)
{
    switch (native) {
    case 0:
        return 0;
    case ECONNREFUSED:
        return WEIR_EREFUSED;
    case ETIMEDOUT:
        return WEIR_ETIMEDOUT;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
        return WEIR_ERESET;
    case EMFILE:
    case ENFILE:
        return WEIR_ELIMIT;
    case ENOMEM:
    case ENOBUFS:
        return WEIR_ENOMEM;
    default:
        return WEIR_EIO;
    }
}
