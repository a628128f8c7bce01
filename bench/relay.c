/* SPDX-License-Identifier: MIT */
/*
 * A bare TCP relay on the library's byte path: one fiber a direction, no protocol. It shows what the gateway can reach
 * at best, and is measured beside it.
 *
 *   relay LISTEN_PORT UPSTREAM_PORT
 */
#include <weir/rt.h>
#include <weir/stream.h>

#include "base/alloc.h"
#include "net/tcp.h"
#include "rt/scope.h"
#include "stream/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static struct weir__loop *loop;
static struct sockaddr_in upstream_address;
static struct weir__watch listener;
static struct weir__pace pace;

struct relay {
    struct weir__tcp client, upstream;
    struct weir_source from_client, from_upstream;
    struct weir_sink to_client, to_upstream;
};

static int uplink(void *arg)
{
    struct relay *relay = arg;

    WEIR_IGNORE(weir_pipe(&relay->from_client, &relay->to_upstream,
                          &(struct weir_pipe_opts){.keep_sink_open = true}, NULL));
    return WEIR_ECLOSED; /* the client is gone: the other direction is cancelled */
}

static void relay_main(void *arg)
{
    struct relay *relay = arg;
    struct weir_scope scope;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    weir__scope_init(&scope, NULL);
    weir__fiber_current()->scope = &scope;
    if (fd >= 0 &&
        (connect(fd, (struct sockaddr *)&upstream_address, sizeof(upstream_address)) == 0 ||
         errno == EINPROGRESS) &&
        weir__tcp_init_take(&relay->upstream, loop, fd, &pace) == 0) {
        weir__tcp_source_init(&relay->from_client, &relay->client);
        weir__tcp_source_init(&relay->from_upstream, &relay->upstream);
        weir__tcp_sink_init(&relay->to_client, &relay->client);
        weir__tcp_sink_init(&relay->to_upstream, &relay->upstream);
        WEIR_IGNORE(weir__watch_wait_writable(&relay->upstream.watch, WEIR__NEVER));
        if (weir_scope_spawn(&scope, uplink, relay) == 0) {
            WEIR_IGNORE(weir_pipe(&relay->from_upstream, &relay->to_client, NULL, NULL));
        }
        weir__scope_stop(&scope);
        weir__tcp_close(&relay->upstream);
    }
    weir__scope_finish(&scope);
    weir__tcp_close(&relay->client);
    weir_free(relay);
}

static void accept_all(struct weir__watch *watch, uint8_t bits)
{
    int fd;

    (void)bits;
    while ((fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct relay *relay = weir_alloc0(sizeof(*relay));

        if (relay == NULL) {
            close(fd);
            continue;
        }
        if (weir__tcp_init_take(&relay->client, loop, fd, &pace) < 0 ||
            weir__fiber_start(loop, relay_main, relay, NULL) < 0) {
            weir__tcp_close(&relay->client);
            weir_free(relay);
        }
    }
    watch->ready = 0;
}

static uint16_t port_of(const char *text)
{
    uint64_t port = 0;

    return weir_view_to_u64(weir_str(text), &port) == 0 && port < 65536 ? (uint16_t)port : 0;
}

static void tune(const char *name, uint32_t *field)
{
    const char *text = getenv(name);
    uint64_t value;

    if (text != NULL && weir_view_to_u64(weir_str(text), &value) == 0) {
        *field = (uint32_t)value;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files;
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (argc < 3) {
        fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pace = weir__pace_default;
    tune("SLOW", &pace.slow_bytes);
    tune("FAST", &pace.fast_bytes);
    tune("FAST_CHUNK", &pace.fast_chunk);
    tune("FAST_AFTER", &pace.fast_after);
    upstream_address = address;
    upstream_address.sin_port = htons(port_of(argv[2]));
    address.sin_port = htons(port_of(argv[1]));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 8192) != 0 ||
        weir__loop_create(NULL, NULL, &loop) < 0 || weir__watch_open(loop, &listener, fd) < 0) {
        perror("relay");
        return 1;
    }
    listener.on_event = accept_all;
    weir__loop_run(loop);
    return 0;
}
