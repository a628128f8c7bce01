/* SPDX-License-Identifier: MIT */
/*
 * Dialling. One fiber drives everything: it sleeps until an attempt's socket reports, the next
 * attempt is due, the deadline passes or its scope is cancelled, and then looks at all of them. It
 * holds no descriptor when it returns but the one it hands out.
 */
#include "net/dial.h"

#include "base/alloc.h"
#include "net/resolve.h"
#include "net/tcp.h"
#include "rt/loop.h"
#include "rt/scope.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

const char weir__dial_resolve[] = "resolve";
const char weir__dial_connect[] = "connect";

struct dial {
    struct weir__cancel_hook hook;
    struct weir__fiber *fiber;
    struct weir__loop *loop;
    int64_t deadline_us;
    bool cancelled;
    const char *where;
    int native;                   /* of the most telling failure so far */
    struct weir__resolve resolve; /* also keeps the addresses: resolve.addrs, resolve.count */
    size_t started;               /* attempts begun: the first so many addresses */
    size_t open;                  /* of those, still under way */
    struct weir__watch attempts[WEIR__RESOLVE_MAX_ADDRS]; /* fd -1: over */
};

static void on_cancel(struct weir__cancel_hook *hook)
{
    struct dial *dial = weir_list_entry(hook, struct dial, hook);

    dial->cancelled = true;
    weir__fiber_wake(dial->fiber);
}

/* How much a failure says about the peer: a family without a route nothing, one address of several
 * a little. */
static int rank(int native)
{
    switch (native) {
    case 0:
        return 0;
    case EAFNOSUPPORT:
    case EADDRNOTAVAIL:
    case ENETUNREACH:
        return 1;
    case EHOSTUNREACH:
        return 2;
    case ECONNREFUSED:
        return 3;
    case ECONNRESET:
        return 4;
    case ETIMEDOUT:
        return 5;
    default:
        return 6;
    }
}

static void note_failure(struct dial *dial, int native)
{
    if (rank(native) > rank(dial->native)) {
        dial->native = native;
    }
}

static void close_attempt(struct dial *dial, struct weir__watch *watch)
{
    if (watch->fd >= 0) {
        weir__watch_close(dial->loop, watch);
        dial->open--;
    }
}

/* Begins to connect to the next address; false when it has failed already. */
static bool start_attempt(struct dial *dial)
{
    const struct weir__addr *addr = &dial->resolve.addrs[dial->started];
    struct weir__watch *watch = &dial->attempts[dial->started];
    int on = 1;
    int fd =
        socket(addr->of.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int native = 0;

    dial->started++;
    *watch = (struct weir__watch){.fd = -1, .writer = dial->fiber};
    if (fd < 0) {
        note_failure(dial, errno);
        return false;
    }
    weir__tcp_begin_small(fd);
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (connect(fd, &addr->of.any, addr->len) != 0 && errno != EINPROGRESS && errno != EINTR)) {
        native = errno;
    } else if (weir__watch_open(dial->loop, watch, fd) < 0) {
        native = ENOMEM;
    }
    if (native != 0) {
        note_failure(dial, native);
        close(fd);
        return false;
    }
    dial->open++;
    return true;
}

/* A port of the ephemeral range that nobody listens on can be given to the very socket that dials
 * it: then both ends of the connection are the same socket. */
static bool is_connected_to_itself(int fd, const struct weir__addr *peer)
{
    struct weir__addr self = {.len = sizeof(self.of)};

    if (getsockname(fd, &self.of.any, &self.len) != 0 ||
        self.of.any.sa_family != peer->of.any.sa_family ||
        weir__addr_port(&self) != weir__addr_port(peer)) {
        return false;
    }
    if (peer->of.any.sa_family == AF_INET6) {
        return memcmp(&self.of.v6.sin6_addr, &peer->of.v6.sin6_addr, sizeof(struct in6_addr)) == 0;
    }
    return self.of.v4.sin_addr.s_addr == peer->of.v4.sin_addr.s_addr;
}

/* Looks at an attempt that has reported. True when it is connected. */
static bool check_attempt(struct dial *dial, size_t at)
{
    struct weir__watch *watch = &dial->attempts[at];
    struct weir__addr peer = {.len = sizeof(peer.of)};
    int native = 0;
    socklen_t len = sizeof(native);

    if (watch->fd < 0 || !(watch->ready & (WEIR__CAN_WRITE | WEIR__PEER_GONE))) {
        return false;
    }
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &native, &len) != 0) {
        native = errno;
    } else if (native == 0 && getpeername(watch->fd, &peer.of.any, &peer.len) != 0) {
        if (!(watch->ready & WEIR__PEER_GONE)) {
            watch->ready = 0; /* not yet */
            return false;
        }
        native = ECONNRESET; /* it was connected, and is reset already */
    } else if (native == 0 && is_connected_to_itself(watch->fd, &dial->resolve.addrs[at])) {
        native = ECONNREFUSED;
    }
    if (native == 0) {
        return true;
    }
    note_failure(dial, native);
    close_attempt(dial, watch);
    return false;
}

/* Returns 1 when something may have happened, WEIR_ETIMEDOUT, WEIR_ECANCELED, WEIR_ENOMEM. */
static int wait_until(struct dial *dial, int64_t at_us)
{
    int r;

    if (dial->cancelled) {
        return WEIR_ECANCELED;
    }
    if (dial->loop->now_us >= dial->deadline_us) {
        return WEIR_ETIMEDOUT;
    }
    at_us = at_us < dial->deadline_us ? at_us : dial->deadline_us;
    r = weir__fiber_suspend(at_us);
    if (dial->cancelled) {
        return WEIR_ECANCELED;
    }
    /* Which clock rang the caller sees from the time, after a look at the sockets: a wake-up may
     * have come with it. */
    return r == WEIR_ETIMEDOUT && dial->loop->now_us < at_us ? WEIR_ENOMEM : 1;
}

static int find_addrs(struct dial *dial, const struct weir__dial_opts *opts)
{
    int r = weir__addr_parse(opts->host, opts->port, &dial->resolve.addrs[0]);

    if (r == 0) {
        dial->resolve.count = 1;
        return 0;
    }
    dial->where = weir__dial_resolve;
    r = weir__resolve_begin(opts->host, &dial->resolve);
    if (r < 0) {
        return r;
    }
    r = 1;
    while (!dial->resolve.done && r > 0) {
        r = wait_until(dial, WEIR__NEVER);
    }
    weir__resolve_finish(&dial->resolve);
    if (r < 0) {
        return r;
    }
    dial->native = dial->resolve.native;
    if (dial->resolve.code < 0) {
        return dial->resolve.code;
    }
    for (size_t i = 0; i < dial->resolve.count; i++) {
        weir__addr_set_port(&dial->resolve.addrs[i], opts->port);
    }
    dial->where = weir__dial_connect;
    return 0;
}

static int race(struct dial *dial, int *ret_fd)
{
    int64_t next_us = 0; /* when the next attempt is due */

    for (;;) {
        size_t open;
        int r;

        if (dial->started < dial->resolve.count &&
            (dial->open == 0 || dial->loop->now_us >= next_us)) {
            next_us = start_attempt(dial) ? dial->loop->now_us + WEIR__DIAL_DELAY_US : 0;
        } else if (dial->open == 0) {
            return weir__net_code(dial->native);
        } else {
            r = wait_until(dial, dial->started < dial->resolve.count ? next_us : WEIR__NEVER);
            if (r < 0) {
                return r;
            }
        }
        open = dial->open;
        for (size_t i = 0; i < dial->started; i++) {
            if (check_attempt(dial, i)) {
                *ret_fd = weir__watch_release(dial->loop, &dial->attempts[i]);
                dial->open--;
                return 0;
            }
        }
        if (dial->open < open) {
            next_us = 0; /* RFC 8305 5: one that fails makes room for the next at once */
        }
    }
}

static enum weir_reason reason_of(int code)
{
    switch (code) {
    case WEIR_ECANCELED:
        return WEIR_REASON_CANCELED;
    case WEIR_ETIMEDOUT:
        return WEIR_REASON_TIMEOUT;
    case WEIR_ERESET:
        return WEIR_REASON_RESET;
    case WEIR_ELIMIT:
        return WEIR_REASON_LIMIT;
    default:
        return WEIR_REASON_NONE;
    }
}

static int fail(int code, const char *where, int native, struct weir_error *ret_error)
{
    bool own =
        code == WEIR_ECANCELED || code == WEIR_ELIMIT || code == WEIR_ENOMEM || code == WEIR_EINVAL;

    if (ret_error != NULL) {
        *ret_error = (struct weir_error){
            .code = code,
            .side = own ? WEIR_SIDE_SELF : WEIR_SIDE_NONE,
            .reason = reason_of(code),
            .native = native,
            .where = where,
        };
    }
    return code;
}

int weir__dial(const struct weir__dial_opts *opts, int *ret_fd, struct weir_error *ret_error)
{
    struct dial *dial;
    const char *where;
    int native, r;

    if (opts->port == 0) {
        return fail(WEIR_EINVAL, weir__dial_connect, 0, ret_error);
    }
    dial = weir_alloc0(sizeof(*dial));
    if (dial == NULL) {
        return fail(WEIR_ENOMEM, weir__dial_connect, 0, ret_error);
    }
    dial->fiber = weir__fiber_current();
    dial->loop = weir__loop_current();
    dial->deadline_us = opts->deadline_us;
    dial->where = weir__dial_connect;
    weir__cancel_hook_add(&dial->hook, on_cancel);
    if (dial->cancelled) {
        r = WEIR_ECANCELED;
    } else if (dial->loop->now_us >= dial->deadline_us) {
        r = WEIR_ETIMEDOUT;
    } else {
        r = find_addrs(dial, opts);
    }
    if (r == 0) {
        r = race(dial, ret_fd);
    }
    weir__cancel_hook_remove(&dial->hook);
    for (size_t i = 0; i < dial->started; i++) {
        close_attempt(dial, &dial->attempts[i]);
    }
    where = dial->where;
    native = dial->native;
    weir_free(dial);
    return r < 0 ? fail(r, where, native, ret_error) : 0;
}
