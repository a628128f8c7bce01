/* SPDX-License-Identifier: MIT */
#include "fake_dns.h"

#include "net/resolve.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TYPE_A 1
#define TYPE_AAAA 28
#define HEADER_BYTES 12

struct message {
    uint8_t bytes[1024];
    size_t len;
};

static void put16(struct message *to, unsigned value)
{
    to->bytes[to->len++] = (uint8_t)(value >> 8);
    to->bytes[to->len++] = (uint8_t)value;
}

static void put_record(struct message *to, int type, const void *data, size_t len)
{
    put16(to, 0xc00c); /* the name: as in the question */
    put16(to, (unsigned)type);
    put16(to, 1);
    put16(to, 0);
    put16(to, 60);
    put16(to, (unsigned)len);
    memcpy(to->bytes + to->len, data, len);
    to->len += len;
    to->bytes[7]++; /* ANCOUNT */
}

static void put_v4(struct message *to, unsigned last)
{
    uint8_t data[4] = {127, 0, 0, (uint8_t)last};

    put_record(to, TYPE_A, data, sizeof(data));
}

static bool is(const uint8_t *name, const char *label)
{
    size_t len = strlen(label);

    return name[0] == len && memcmp(name + 1, label, len) == 0;
}

/* Writes the answer; false: stay silent. */
static bool answer(struct fake_dns *dns, const uint8_t *question, size_t len, bool tcp,
                   struct message *ret)
{
    const uint8_t *name = question + HEADER_BYTES;
    const uint8_t *end = memchr(name, 0, len - HEADER_BYTES);
    struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    int type = end[2];
    size_t head = (size_t)(end - question) + 5;

    atomic_fetch_add(tcp ? &dns->tcp_questions : &dns->questions, 1);
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->bytes, question, head);
    ret->len = head;
    ret->bytes[2] = 0x81;
    ret->bytes[3] = 0x80;
    memset(ret->bytes + 6, 0, 6); /* one question, no records; an OPT record is left out */
    if (is(name, "silent") || (is(name, "lost") && dns->lost++ < 2)) {
        return false;
    }
    if (is(name, "nx") || is(name, "fail")) {
        ret->bytes[3] |= is(name, "nx") ? 3 : 2;
        return true;
    }
    if (!tcp && (is(name, "tc") || is(name, "tcdead"))) {
        ret->bytes[2] |= 2;
        return true;
    }
    if (type == TYPE_AAAA) {
        if (is(name, "v6") || is(name, "both")) {
            put_record(ret, TYPE_AAAA, &loopback, sizeof(loopback));
        }
        return true;
    }
    if (is(name, "many")) {
        for (unsigned i = 1; i <= 25; i++) {
            put_v4(ret, i);
        }
    } else if (!is(name, "v6") && !is(name, "empty")) {
        put_v4(ret, 1);
        if (is(name, "two")) {
            put_v4(ret, 2);
        }
    }
    return true;
}

static void serve_udp(struct fake_dns *dns)
{
    uint8_t question[512];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t len =
        recvfrom(dns->udp_fd, question, sizeof(question), 0, (struct sockaddr *)&from, &from_len);
    struct message reply;

    if (len <= HEADER_BYTES || !answer(dns, question, (size_t)len, false, &reply)) {
        return;
    }
    if (is(question + HEADER_BYTES, "junk")) {
        sendto(dns->udp_fd, "\xff\xfe\xfd", 3, 0, (struct sockaddr *)&from, from_len);
        reply.bytes[7] = 9;
        reply.len = HEADER_BYTES;
    } else if (is(question + HEADER_BYTES, "forged") && reply.bytes[7] > 0) {
        reply.bytes[0] ^= 0x55;
        reply.bytes[reply.len - 1] = 9;
        sendto(dns->udp_fd, reply.bytes, reply.len, 0, (struct sockaddr *)&from, from_len);
        reply.bytes[0] ^= 0x55;
        reply.bytes[reply.len - 1] = 1;
    }
    sendto(dns->udp_fd, reply.bytes, reply.len, 0, (struct sockaddr *)&from, from_len);
}

/* One question per call; the answer goes out in two parts. */
static bool serve_tcp(struct fake_dns *dns, int fd)
{
    uint8_t question[512];
    uint8_t prefix[2];
    size_t len;
    struct message reply;

    if (recv(fd, prefix, 2, MSG_WAITALL) != 2) {
        return false;
    }
    len = (size_t)prefix[0] << 8 | prefix[1];
    if (len <= HEADER_BYTES || len > sizeof(question) ||
        recv(fd, question, len, MSG_WAITALL) != (ssize_t)len ||
        !answer(dns, question, len, true, &reply) || is(question + HEADER_BYTES, "tcdead")) {
        return false;
    }
    prefix[0] = (uint8_t)(reply.len >> 8);
    prefix[1] = (uint8_t)reply.len;
    send(fd, prefix, 2, MSG_NOSIGNAL);
    usleep(2000);
    return send(fd, reply.bytes, reply.len, MSG_NOSIGNAL) == (ssize_t)reply.len;
}

static void *run(void *arg)
{
    struct fake_dns *dns = arg;
    struct pollfd polls[8] = {
        {dns->stop_fd, POLLIN, 0}, {dns->udp_fd, POLLIN, 0}, {dns->tcp_fd, POLLIN, 0}};
    nfds_t count = 3;

    while (poll(polls, count, -1) > 0 && polls[0].revents == 0) {
        if (polls[1].revents != 0) {
            serve_udp(dns);
        }
        for (nfds_t i = 3; i < count; i++) {
            if (polls[i].revents != 0 && !serve_tcp(dns, polls[i].fd)) {
                close(polls[i].fd);
                polls[i--] = polls[--count];
            }
        }
        if (polls[2].revents != 0 && count < sizeof(polls) / sizeof(polls[0])) {
            polls[count++] = (struct pollfd){accept(dns->tcp_fd, NULL, NULL), POLLIN, 0};
        }
    }
    while (count > 3) {
        close(polls[--count].fd);
    }
    return NULL;
}

int fake_dns_start(struct fake_dns *dns)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    char servers[32];

    memset(dns, 0, sizeof(*dns));
    dns->stop_fd = eventfd(0, EFD_CLOEXEC);
    dns->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    dns->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(dns->tcp_fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(dns->tcp_fd, 8) != 0 ||
        getsockname(dns->tcp_fd, (struct sockaddr *)&addr, &len) != 0 ||
        bind(dns->udp_fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        return -1;
    }
    dns->port = ntohs(addr.sin_port);
    snprintf(servers, sizeof(servers), "127.0.0.1:%u", dns->port);
    weir__resolve_set_servers(servers);
    weir__resolve_set_patience(400, 2);
    return pthread_create(&dns->thread, NULL, run, dns) == 0 ? 0 : -1;
}

void fake_dns_stop(struct fake_dns *dns)
{
    uint64_t one = 1;

    if (write(dns->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one)) {
        pthread_join(dns->thread, NULL);
    }
    close(dns->stop_fd);
    close(dns->udp_fd);
    close(dns->tcp_fd);
    weir__resolve_set_servers(NULL);
    weir__resolve_set_patience(0, 0);
}
