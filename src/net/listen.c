/* SPDX-License-Identifier: MIT */
/* Listening sockets. Accepting is the server's business. */
#include "net/listen.h"

#include "net/addr.h"
#include "net/tcp.h"

#include <errno.h>
#include <unistd.h>

static int fail(int code, int native, const char *where, struct weir_error *ret_error)
{
    if (ret_error != NULL) {
        *ret_error = (struct weir_error){
            .code = code,
            .side = WEIR_SIDE_SELF,
            .reason = code == WEIR_ELIMIT ? WEIR_REASON_LIMIT : WEIR_REASON_NONE,
            .native = native,
            .where = where,
        };
    }
    return code;
}

/* Binds it. Returns 0 or an errno; *ret_where names the call that failed. */
static int claim(int fd, const struct weir__addr *addr, bool any, bool reuseport,
                 const char **ret_where)
{
    int on = 1;
    int v6only = !any;

    *ret_where = "setsockopt";
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        (addr->of.any.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) != 0)) {
        return errno;
    }
    *ret_where = "bind";
    return bind(fd, &addr->of.any, addr->len) != 0 ? errno : 0;
}

static int prepare(int fd, struct weir__addr *addr, bool any, int backlog, bool reuseport,
                   const struct weir__pace *pace, const char **ret_where)
{
    int native = claim(fd, addr, any, reuseport, ret_where);

    if (native != 0) {
        return native;
    }
    /* A connection made before would lack what it was to inherit: the first ones after a start. */
    weir__tcp_prepare_listener(fd, pace != NULL ? pace : &weir__pace_default);
    *ret_where = "listen";
    if (listen(fd, backlog > 0 ? backlog : SOMAXCONN) != 0) {
        return errno;
    }
    *ret_where = "getsockname";
    addr->len = sizeof(addr->of);
    return getsockname(fd, &addr->of.any, &addr->len) != 0 ? errno : 0;
}

static int try_listen(struct weir__addr *addr, bool any, int backlog, bool reuseport,
                      const struct weir__pace *pace, int *ret_fd, const char **ret_where)
{
    int fd =
        socket(addr->of.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int native;

    if (fd < 0) {
        *ret_where = "socket";
        return errno;
    }
    native = prepare(fd, addr, any, backlog, reuseport, pace, ret_where);
    if (native != 0) {
        close(fd);
        return native;
    }
    *ret_fd = fd;
    return 0;
}

int weir__listen(struct weir_view host, uint16_t port, int backlog, bool reuseport,
                 const struct weir__pace *pace, int *ret_fd, uint16_t *ret_port,
                 struct weir_error *ret_error)
{
    bool any = host.len == 0 || weir_view_equal(host, weir_str("*"));
    const char *where = "address";
    struct weir__addr addr;
    int native;
    int r = weir__addr_parse(any ? weir_str("::") : host, port, &addr);

    if (r < 0) {
        return fail(r, 0, where, ret_error);
    }
    native = try_listen(&addr, any, backlog, reuseport, pace, ret_fd, &where);
    if (any && (native == EAFNOSUPPORT || native == EADDRNOTAVAIL)) {
        r = weir__addr_parse(weir_str("0.0.0.0"), port, &addr);
        native = r < 0 ? EINVAL : try_listen(&addr, any, backlog, reuseport, pace, ret_fd, &where);
    }
    if (native != 0) {
        r = native == EADDRINUSE ? WEIR_EBUSY : weir__net_code(native);
        return fail(r, native, where, ret_error);
    }
    if (ret_port != NULL) {
        *ret_port = weir__addr_port(&addr);
    }
    return 0;
}

int weir__listen_check(struct weir_view host, uint16_t port, struct weir_error *ret_error)
{
    bool any = host.len == 0 || weir_view_equal(host, weir_str("*"));
    const char *where = "address";
    struct weir__addr addr;
    int native, fd;
    int r = weir__addr_parse(any ? weir_str("::") : host, port, &addr);

    if (r < 0) {
        return fail(r, 0, where, ret_error);
    }
    fd = socket(addr.of.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return 0; /* a family that the system has not: whoever listens will say so */
    }
    native = claim(fd, &addr, any, false, &where);
    close(fd);
    return native == EADDRINUSE ? fail(WEIR_EBUSY, native, where, ret_error) : 0;
}
