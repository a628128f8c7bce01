/* SPDX-License-Identifier: MIT */
/*
 * c-ares on a loop. Every call into it runs on the loop's stack: it parses files and goes deep. Its
 * callbacks end lookups and wake fibers, nothing else.
 */
#include "net/resolve.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/levels.h"
#include "rt/loop.h"

#include <ares.h>

#include <netdb.h>
#include <stdio.h>

#define NAME_MAX_BYTES 254 /* RFC 1035 3.1, with a final dot */
/*
 * The first question is repeated after 0.8 s and given up 1.6 s after that: a server that answers
 * only for one family costs 2.4 s and still leaves room in a dial of 3 s.
 */
#define DEFAULT_TIMEOUT_MS 800
#define DEFAULT_TRIES 2
#define CHANNEL_AGE_US \
    30000000 /* an idle channel older than that reads the system's configuration again */

struct channel {
    struct weir__loop_ext ext;
    struct weir__loop *loop;
    ares_channel ares;           /* NULL: none now */
    struct weir__levels sockets; /* of c-ares */
    struct weir__timer timer;    /* when c-ares wants to be called again */
    int64_t made_at_us;
    unsigned generation;      /* of the settings it was made with */
    struct weir_list lookups; /* lookup.link */
    size_t count;
};

/* One name in flight. */
struct lookup {
    struct weir_list link; /* channel.lookups */
    struct channel *channel;
    struct weir_list waiters; /* weir__resolve.link */
    char name[NAME_MAX_BYTES + 1];
};

/* An argument for the loop's stack. */
struct begin {
    struct weir__loop *loop;
    const char *name;
    struct weir__resolve *wait;
    int result;
};

static const char ext_key;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static struct {
    pthread_mutex_t mutex;
    unsigned generation;
    char servers[256];
    int timeout_ms, tries;
} settings = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void weir__resolve_set_servers(const char *csv)
{
    pthread_mutex_lock(&settings.mutex);
    snprintf(settings.servers, sizeof(settings.servers), "%s", csv != NULL ? csv : "");
    settings.generation++;
    pthread_mutex_unlock(&settings.mutex);
}

void weir__resolve_set_patience(int timeout_ms, int tries)
{
    pthread_mutex_lock(&settings.mutex);
    settings.timeout_ms = timeout_ms;
    settings.tries = tries;
    settings.generation++;
    pthread_mutex_unlock(&settings.mutex);
}

static int code_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return WEIR_ENOTFOUND;
    case ARES_ETIMEOUT:
        return WEIR_ETIMEDOUT;
    case ARES_ENOMEM:
        return WEIR_ENOMEM;
    case ARES_EDESTRUCTION:
        return WEIR_ECANCELED;
    default:
        return WEIR_EIO; /* SERVFAIL, no server reached, an answer that cannot be parsed */
    }
}

/* ---- c-ares' sockets and clock ---- */

static void on_timer(struct weir__timer *timer);

/* After anything that c-ares did. */
static void set_timer(struct channel *channel)
{
    struct timeval left;
    int64_t at_us;

    if (ares_timeout(channel->ares, NULL, &left) == NULL) {
        weir__timer_stop(&channel->timer);
        return;
    }
    at_us =
        weir__loop_clock_us(channel->loop) + (int64_t)left.tv_sec * 1000000 + left.tv_usec + 1000;
    if (weir__timer_start(&channel->loop->timers, &channel->timer, at_us) < 0) {
        ares_cancel(
            channel->ares); /* without a clock a lost datagram would mean waiting for ever */
    }
}

static void on_timer(struct weir__timer *timer)
{
    struct channel *channel = weir_list_entry(timer, struct channel, timer);

    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(channel);
}

static void on_ready(struct weir__levels *levels, int fd, bool readable, bool writable)
{
    struct channel *channel = weir_list_entry(levels, struct channel, sockets);

    ares_process_fd(channel->ares, readable ? fd : ARES_SOCKET_BAD,
                    writable ? fd : ARES_SOCKET_BAD);
}

static void on_batch_end(struct weir__levels *levels)
{
    set_timer(weir_list_entry(levels, struct channel, sockets));
}

static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct channel *channel = arg;

    /* No memory for it: the query's own timeout ends it. */
    WEIR_IGNORE(weir__levels_set(&channel->sockets, fd, readable != 0, writable != 0));
}

/* ---- the channel ---- */

static void library_init(void)
{
    WEIR_IGNORE(ares_library_init(ARES_LIB_INIT_ALL));
}

static void close_channel(struct channel *channel)
{
    if (channel->ares != NULL) {
        ares_destroy(channel->ares);
        channel->ares = NULL;
    }
    weir__timer_remove(&channel->loop->timers, &channel->timer);
    weir__levels_close(&channel->sockets);
}

static int open_channel(struct channel *channel)
{
    struct ares_options options = {.sock_state_cb = on_socket, .sock_state_cb_data = channel};
    char servers[sizeof(settings.servers)];
    int status, r;

    pthread_once(&library_once, library_init);
    pthread_mutex_lock(&settings.mutex);
    snprintf(servers, sizeof(servers), "%s", settings.servers);
    options.timeout = settings.timeout_ms > 0 ? settings.timeout_ms : DEFAULT_TIMEOUT_MS;
    options.tries = settings.tries > 0 ? settings.tries : DEFAULT_TRIES;
    channel->generation = settings.generation;
    pthread_mutex_unlock(&settings.mutex);
    r = weir__levels_open(channel->loop, &channel->sockets);
    if (r < 0) {
        return r;
    }
    status = ares_init_options(&channel->ares, &options,
                               ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS) {
        channel->ares = NULL;
    } else if (servers[0] != 0) {
        status = ares_set_servers_ports_csv(channel->ares, servers);
    }
    if (status != ARES_SUCCESS) {
        close_channel(channel);
        return status == ARES_ENOMEM ? WEIR_ENOMEM : WEIR_EIO;
    }
    channel->made_at_us = channel->loop->now_us;
    return 0;
}

static bool is_outdated(const struct channel *channel)
{
    bool outdated;

    pthread_mutex_lock(&settings.mutex);
    outdated = channel->generation != settings.generation ||
               channel->loop->now_us - channel->made_at_us > CHANNEL_AGE_US;
    pthread_mutex_unlock(&settings.mutex);
    return outdated;
}

static void destroy_channel(struct weir__loop_ext *ext)
{
    struct channel *channel = weir_list_entry(ext, struct channel, ext);

    close_channel(channel); /* ends what nobody waits for any more */
    weir_assert(channel->count == 0);
    weir_free(channel);
}

/* The loop's channel, fit for a new lookup. Returns 0, WEIR_ENOMEM, WEIR_ELIMIT, WEIR_EIO. */
static int ready_channel(struct weir__loop *loop, struct channel **ret)
{
    struct weir__loop_ext *ext = weir__loop_ext_find(loop, &ext_key);
    struct channel *channel;

    if (ext == NULL) {
        channel = weir_alloc0(sizeof(*channel));
        if (channel == NULL) {
            return WEIR_ENOMEM;
        }
        channel->loop = loop;
        channel->sockets.on_ready = on_ready;
        channel->sockets.on_batch_end = on_batch_end;
        weir__timer_init(&channel->timer, on_timer);
        weir_list_init(&channel->lookups);
        channel->ext = (struct weir__loop_ext){.key = &ext_key, .destroy = destroy_channel};
        weir__loop_ext_add(loop, &channel->ext);
    } else {
        channel = weir_list_entry(ext, struct channel, ext);
    }
    if (channel->ares != NULL && channel->count == 0 && is_outdated(channel)) {
        close_channel(channel);
    }
    if (channel->ares == NULL) {
        int r = open_channel(channel);

        if (r < 0) {
            return r;
        }
    }
    *ret = channel;
    return 0;
}

/* ---- lookups ---- */

static bool take_node(const struct ares_addrinfo_node *node, struct weir__addr *ret)
{
    struct weir__addr addr = {0};

    if (node->ai_family == AF_INET && (size_t)node->ai_addrlen >= sizeof(addr.of.v4)) {
        addr.len = sizeof(addr.of.v4);
    } else if (node->ai_family == AF_INET6 && (size_t)node->ai_addrlen >= sizeof(addr.of.v6)) {
        addr.len = sizeof(addr.of.v6);
    } else {
        return false;
    }
    memcpy(&addr.of, node->ai_addr, addr.len);
    weir__addr_set_port(&addr, 0);
    *ret = addr;
    return true;
}

static const struct ares_addrinfo_node *next_of(const struct ares_addrinfo_node *node, bool same,
                                                int family)
{
    while (node != NULL && (node->ai_family == family) != same) {
        node = node->ai_next;
    }
    return node;
}

/* RFC 8305 4: the preferred address first, then the families by turns. Returns how many. */
static size_t interleave(const struct ares_addrinfo_node *nodes, struct weir__addr *ret)
{
    int family = nodes != NULL ? nodes->ai_family : AF_UNSPEC;
    const struct ares_addrinfo_node *at[2] = {next_of(nodes, true, family),
                                              next_of(nodes, false, family)};
    size_t count = 0;

    for (int turn = 0; (at[0] != NULL || at[1] != NULL) && count < WEIR__RESOLVE_MAX_ADDRS;
         turn ^= 1) {
        if (at[turn] != NULL) {
            count += take_node(at[turn], &ret[count]);
            at[turn] = next_of(at[turn]->ai_next, turn == 0, family);
        }
    }
    return count;
}

static void on_result(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct lookup *lookup = arg;
    struct weir_list *link;
    struct weir__addr addrs[WEIR__RESOLVE_MAX_ADDRS];
    size_t count = status == ARES_SUCCESS && info != NULL ? interleave(info->nodes, addrs) : 0;

    (void)timeouts;
    if (info != NULL) {
        ares_freeaddrinfo(info);
    }
    if (status == ARES_SUCCESS && count == 0) {
        status = ARES_ENODATA;
    }
    while ((link = weir_list_pop_front(&lookup->waiters)) != NULL) {
        struct weir__resolve *wait = weir_list_entry(link, struct weir__resolve, link);

        wait->done = true;
        wait->code =
            status == ARES_ECANCELLED ? WEIR_ENOMEM : code_of(status); /* set_timer() cancels */
        wait->native = status;
        wait->count = count;
        memcpy(wait->addrs, addrs, count * sizeof(addrs[0]));
        if (wait->fiber != NULL) {
            weir__fiber_wake(wait->fiber);
        }
    }
    weir_list_remove(&lookup->link);
    lookup->channel->count--;
    weir_free(lookup);
}

static int begin(struct weir__loop *loop, const char *name, struct weir__resolve *wait)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct weir_list *link;
    struct lookup *lookup;
    struct channel *channel;
    int r = ready_channel(loop, &channel);

    if (r < 0) {
        return r;
    }
    for (link = channel->lookups.next; link != &channel->lookups; link = link->next) {
        lookup = weir_list_entry(link, struct lookup, link);
        if (strcmp(lookup->name, name) == 0) {
            weir_list_push_back(&lookup->waiters, &wait->link);
            return 0;
        }
    }
    if (channel->count >= WEIR__RESOLVE_MAX_LOOKUPS) {
        return WEIR_ELIMIT;
    }
    lookup = weir_alloc0(sizeof(*lookup));
    if (lookup == NULL) {
        return WEIR_ENOMEM;
    }
    lookup->channel = channel;
    weir_list_init(&lookup->waiters);
    weir_list_push_back(&lookup->waiters, &wait->link);
    weir_list_push_back(&channel->lookups, &lookup->link);
    channel->count++;
    memcpy(lookup->name, name, strlen(name) + 1);
    ares_getaddrinfo(channel->ares, lookup->name, NULL, &hints, on_result,
                     lookup); /* may free it already */
    set_timer(channel);
    return 0;
}

static void begin_on_loop(void *arg)
{
    struct begin *call = arg;

    call->result = begin(call->loop, call->name, call->wait);
}

/* Whether a label is a number to inet_aton(): such a host is an attempt at an address, never a
 * name. */
static bool is_number(const char *label, size_t len)
{
    bool hex = len >= 2 && label[0] == '0' && label[1] == 'x';

    for (size_t i = hex ? 2 : 0; i < len; i++) {
        if ((label[i] < '0' || label[i] > '9') && !(hex && label[i] >= 'a' && label[i] <= 'f')) {
            return false;
        }
    }
    return true;
}

/* Checks the name and writes it in lower case. */
static int copy_name(struct weir_view host, char *ret)
{
    size_t len = host.len > 0 && host.data[host.len - 1] == '.' ? host.len - 1 : host.len;
    size_t label = 0; /* where the present one begins */

    if (len == 0 || host.len > NAME_MAX_BYTES) {
        return WEIR_EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = host.data[i];

        if (byte == '.') {
            if (i == label) {
                return WEIR_EINVAL;
            }
            label = i + 1;
        } else if (byte >= 'A' && byte <= 'Z') {
            byte = (uint8_t)(byte + ('a' - 'A'));
        } else if ((byte < 'a' || byte > 'z') && (byte < '0' || byte > '9') && byte != '-' &&
                   byte != '_') {
            return WEIR_EINVAL;
        }
        if (i - label >= 63 && byte != '.') {
            return WEIR_EINVAL;
        }
        ret[i] = (char)byte;
    }
    if (is_number(ret + label, len - label)) {
        return WEIR_EINVAL; /* or an empty last label */
    }
    if (len < host.len) {
        ret[len++] = '.';
    }
    ret[len] = 0;
    return 0;
}

int weir__resolve_begin(struct weir_view host, struct weir__resolve *wait)
{
    char name[NAME_MAX_BYTES + 1];
    struct begin call = {.loop = weir__loop_current(), .name = name, .wait = wait};
    int r = copy_name(host, name);

    if (r < 0) {
        return r;
    }
    wait->fiber = NULL; /* it runs, so it must not be woken: the answer may come within the call */
    wait->done = false;
    wait->count = 0;
    weir_list_init(&wait->link);
    weir__fiber_call_on_loop(begin_on_loop, &call);
    if (call.result == 0) {
        wait->fiber = weir__fiber_current();
    }
    return call.result;
}

void weir__resolve_finish(struct weir__resolve *wait)
{
    weir_list_remove(&wait->link);
}
