/* SPDX-License-Identifier: MIT */
/*
 * The giant chunk: a listener of its own on plain blocking sockets, a thread per connection, just enough HTTP/1.1 to
 * send a body as one chunk. A test's peer, not an example of how to write a server.
 */
#include "mega.h"

#include <weir/view.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "report.h"

#define TILE_BYTES ((size_t)16 << 20)
#define HEAD_BYTES ((size_t)1536)

static struct {
    pthread_once_t once;
    int fd;
} tile = {PTHREAD_ONCE_INIT, -1};

static int listener = -1;
static pthread_t acceptor;

static void make_tile(void)
{
    struct report report;
    void *memory = MAP_FAILED;
    int fd = memfd_create("report", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)TILE_BYTES) == 0) {
        memory = mmap(NULL, TILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    report_init(&report, TILE_BYTES, 0);
    report_read(&report, memory, TILE_BYTES);
    munmap(memory, TILE_BYTES);
    tile.fd = fd;
}

uint8_t *mega_map(uint64_t bytes)
{
    uint8_t *memory;

    pthread_once(&tile.once, make_tile);
    if (tile.fd < 0 || bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    /* The same pages again and again, side by side. */
    memory =
        mmap(NULL, (size_t)bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    for (uint64_t at = 0; at < bytes; at += TILE_BYTES) {
        size_t part = bytes - at < TILE_BYTES ? (size_t)(bytes - at) : TILE_BYTES;

        if (mmap(memory + at, part, PROT_READ, MAP_SHARED | MAP_FIXED, tile.fd, 0) == MAP_FAILED) {
            munmap(memory, (size_t)bytes);
            return NULL;
        }
    }
    return memory;
}

static bool send_all(int fd, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        ssize_t n = send(fd, from, len < (size_t)1 << 30 ? len : (size_t)1 << 30, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        from += n;
        len -= (size_t)n;
    }
    return true;
}

/* Reads until the empty line. Returns the MiB asked for; 0: no request came. */
static uint64_t read_request(int fd)
{
    char head[HEAD_BYTES + 1];
    const char *number;
    size_t len = 0, digits = 0;
    uint64_t mb = 64;

    do {
        ssize_t n = recv(fd, head + len, HEAD_BYTES - len, 0);

        if (n <= 0) {
            return 0;
        }
        len += (size_t)n;
        head[len] = '\0';
    } while (strstr(head, "\r\n\r\n") == NULL);
    number = strstr(head, "mb=");
    if (number != NULL && number < strstr(head, "\r\n")) {
        number += 3;
        while (number[digits] >= '0' && number[digits] <= '9') {
            digits++;
        }
        if (weir_view_to_u64(weir_bytes(number, digits), &mb) < 0) {
            return 0;
        }
    }
    return mb > 0 && mb <= 1 << 19 ? mb : 0;
}

static void answer(int fd)
{
    char head[160];
    uint64_t bytes = read_request(fd) << 20;
    uint8_t *body = mega_map(bytes);
    int len;

    if (body == NULL) {
        static const char refusal[] =
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

        send_all(fd, refusal, sizeof(refusal) - 1);
        return;
    }
    len = snprintf(head, sizeof(head),
                   "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n"
                   "Connection: close\r\n\r\n%" PRIx64 "\r\n",
                   bytes);
    if (send_all(fd, head, (size_t)len) && send_all(fd, body, (size_t)bytes)) {
        send_all(fd, "\r\n0\r\n\r\n", 7);
    }
    munmap(body, (size_t)bytes);
}

static void *serve_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    struct timeval patience = {.tv_sec = 60};
    char rest[512];

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    answer(fd);
    /* What the peer has not read yet must not be lost to a reset: it closes first. */
    shutdown(fd, SHUT_WR);
    while (recv(fd, rest, sizeof(rest), 0) > 0) {
    }
    close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    pthread_attr_t detached;

    (void)arg;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0) {
            break; /* mega_stop(), or nothing that waiting would cure */
        }
        if (pthread_create(&thread, &detached, serve_one, (void *)(intptr_t)fd) != 0) {
            close(fd);
        }
    }
    pthread_attr_destroy(&detached);
    return NULL;
}

int mega_start(const char *host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(address);
    int one = 1, error;

    if (inet_pton(AF_INET, host[0] != '\0' ? host : "0.0.0.0", &address.sin_addr) != 1) {
        return EINVAL;
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) {
        return errno;
    }
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    error = bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
                    listen(listener, 64) < 0 ||
                    getsockname(listener, (struct sockaddr *)&address, &len) < 0
                ? errno
                : pthread_create(&acceptor, NULL, accept_all, NULL);
    if (error != 0) {
        close(listener);
        listener = -1;
        return error;
    }
    fprintf(stderr, "mega listening on %s:%u\n", host, (unsigned)ntohs(address.sin_port));
    return 0;
}

void mega_stop(void)
{
    if (listener >= 0) {
        shutdown(listener, SHUT_RDWR);
        pthread_join(acceptor, NULL);
        close(listener);
        listener = -1;
    }
    /* The tile stays: threads that still answer may be mapping it. */
}
