/* SPDX-License-Identifier: MIT */
/* Counting connections and streams in and out, and telling of those that were turned away. */
#include "http/serve.h"

#include "bytes/budget.h"
#include "http/request.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

void weir__connection_add(struct weir__serve_loop *serve_loop, struct weir__connection *connection)
{
    connection->serve_loop = serve_loop;
    weir_list_push_back(&serve_loop->connections, &connection->link);
    atomic_fetch_add_explicit(&serve_loop->live, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&serve_loop->serve->connections, 1, memory_order_relaxed);
}

void weir__connection_remove(struct weir__connection *connection)
{
    struct weir__serve_loop *serve_loop = connection->serve_loop;

    weir_list_remove(&connection->link);
    atomic_fetch_sub_explicit(&serve_loop->live, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&serve_loop->serve->connections, 1, memory_order_relaxed);
    if (weir_list_is_empty(&serve_loop->connections) && serve_loop->emptied != NULL) {
        serve_loop->emptied(serve_loop);
    }
}

int weir__serve_admit(struct weir__serve *serve)
{
    if (weir__budget_is_over(weir__budget_process(), 95)) {
        atomic_fetch_add_explicit(&serve->refused, 1, memory_order_relaxed);
        return WEIR_EBUDGET;
    }
    if (atomic_fetch_add_explicit(&serve->streams, 1, memory_order_relaxed) >=
        serve->opts.max_streams) {
        atomic_fetch_sub_explicit(&serve->streams, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&serve->refused, 1, memory_order_relaxed);
        return WEIR_ELIMIT;
    }
    atomic_fetch_add_explicit(&serve->requests, 1, memory_order_relaxed);
    return 0;
}

void weir__serve_leave(struct weir__serve *serve)
{
    atomic_fetch_sub_explicit(&serve->streams, 1, memory_order_relaxed);
}

size_t weir__peer_text(int fd, char *text, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "";
    int n;

    if (getpeername(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        n = snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (address.ss_family == AF_INET) {
        struct sockaddr_in *in4 = (struct sockaddr_in *)&address;

        inet_ntop(AF_INET, &in4->sin_addr, host, sizeof(host));
        n = snprintf(text, size, "%s:%u", host, ntohs(in4->sin_port));
    } else {
        n = snprintf(text, size, "unix");
    }
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

void weir__serve_reject(struct weir__serve *serve, int fd, int status,
                        const struct weir_error *error)
{
    char peer[WEIR__PEER_TEXT];
    struct weir_reject reject = {.status = status, .error = *error};

    if (serve->on_reject != NULL) {
        reject.peer = weir_bytes(peer, weir__peer_text(fd, peer, sizeof(peer)));
        serve->on_reject(&reject, serve->on_reject_arg);
    }
}
