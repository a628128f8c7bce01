/* SPDX-License-Identifier: MIT */
/* Bodies on sockets. V6: whoever bounds one, by whatever call, the client that sends too much of it can read its 413. And
 * one that is read at a rate slows its client down. */
#include "../net/net_test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/body.h>
#include <weir/form.h>
#include <weir/guards.h>
#include <weir/multipart.h>
#include <weir/server.h>

#include "base/cleanup.h"

#define LIMIT 100000
#define BODY 900000 /* less than a server drains after its answer */

static int read_parts(struct weir_req *req)
{
    WEIR_CLEANUP(weir_multipart_destroyp) struct weir_multipart *multipart = NULL;
    struct weir_part *part;
    int r = weir_req_multipart(req, &(struct weir_multipart_limits){.max_part_bytes = LIMIT},
                               &multipart);

    while (r >= 0 && (r = weir_multipart_next(multipart, -1, &part)) > 0) {
    }
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    struct weir_source *body = weir_req_body(req);
    int r;

    (void)arg;
    switch (weir_req_path(req).data[1]) {
    case 'a':
        r = weir_read_all(body, LIMIT, -1, &all);
        break;
    case 'd':
        r = weir_discard(body, LIMIT, -1);
        break;
    case 'l':
        r = weir_req_limit_body(req, LIMIT);
        r = r < 0 ? r : weir_discard(body, UINT64_MAX, -1);
        break;
    case 'f':
        r = weir_form_read(req, &(struct weir_form_limits){.max_bytes = LIMIT}, -1, &form);
        break;
    default:
        r = read_parts(req);
        break;
    }
    return r < 0 ? r : weir_reply_text(req, 200, "all of it\n");
}

static void *serve(void *arg)
{
    assert_int_equal(weir_server_run(arg), 0);
    return NULL;
}

static void send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return; /* what it can still read is what matters */
        }
        bytes += sent;
        len -= (size_t)sent;
    }
}

/* Sends all of a body before it reads a byte, as simple clients do. Returns the status. */
static int post(uint16_t port, char path, size_t len, bool chunked)
{
    static const char part[] = "--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n";
    static const char last[] = "\r\n--b0--\r\n";
    bool parts = path == 'm';
    char head[512], answer[1024] = "";
    char *body = malloc(len);
    size_t total = len + (parts ? sizeof(part) + sizeof(last) - 2 : 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t got = 0;
    ssize_t n;

    memset(body, 'x', len);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    n = snprintf(head, sizeof(head),
                 "POST /%c HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n%s: ", path,
                 parts ? "multipart/form-data; boundary=b0" : "application/x-www-form-urlencoded",
                 chunked ? "Transfer-Encoding" : "Content-Length");
    send_all(fd, head, (size_t)n);
    n = chunked ? snprintf(head, sizeof(head), "chunked\r\n\r\n%zx\r\n", total)
                : snprintf(head, sizeof(head), "%zu\r\n\r\n", total);
    send_all(fd, head, (size_t)n);
    send_all(fd, part, parts ? sizeof(part) - 1 : 0);
    send_all(fd, body, len);
    send_all(fd, last, parts ? sizeof(last) - 1 : 0);
    send_all(fd, "\r\n0\r\n\r\n", chunked ? 7 : 0);
    while (got < sizeof(answer) - 1 && strstr(answer, "\n\r\n") == NULL &&
           (n = recv(fd, answer + got, sizeof(answer) - 1 - got, 0)) > 0) {
        got += (size_t)n;
        answer[got] = '\0';
    }
    close(fd);
    free(body);
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

static void v6_the_413_is_readable(void **state)
{
    struct weir_server_opts opts = {.handler = handle, .threads = 1};
    struct weir_server *server;
    pthread_t thread;

    (void)state;
    assert_int_equal(weir_server_create(&opts, &server), 0);
    assert_int_equal(weir_server_listen(server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, server), 0);
    for (const char *path = "adlfm"; *path != '\0'; path++) {
        for (int chunked = 0; chunked < 2; chunked++) {
            for (int again = 0; again < 5; again++) {
                assert_int_equal(post(weir_server_port(server), *path, BODY, chunked), 413);
                assert_int_equal(post(weir_server_port(server), *path, LIMIT + 1, chunked), 413);
                assert_int_equal(post(weir_server_port(server), *path, LIMIT, chunked), 200);
            }
        }
    }
    weir_server_stop(server);
    pthread_join(thread, NULL);
    weir_server_destroy(server);
}

static int discards(struct weir_req *req, void *arg)
{
    int r = weir_discard(weir_req_body(req), UINT64_MAX, -1);

    (void)arg;
    return r < 0 ? r : weir_reply_text(req, 200, "all of it\n");
}

static int64_t real_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The server's patience with a silent client is shorter than the upload takes, and longer than a piece. */
static void an_upload_at_a_rate(void **state)
{
    struct weir_bandwidth *bandwidth;
    struct weir_middleware items[1];
    struct weir_chain chain = {items, 1, discards, NULL};
    struct weir_server_opts opts = {
        .handler = weir_chain_handle, .arg = &chain, .threads = 1, .body_gap_ms = 250};
    struct weir_server *server;
    pthread_t thread;

    (void)state;
    assert_int_equal(weir_bandwidth_create(
                         &(struct weir_bandwidth_opts){.stream_bytes_per_s = 1000000}, &bandwidth),
                     0);
    items[0] = (struct weir_middleware){weir_mw_upload_bandwidth, bandwidth};
    assert_int_equal(weir_server_create(&opts, &server), 0);
    assert_int_equal(weir_server_listen(server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, server), 0);
    for (int chunked = 0; chunked < 2; chunked++) {
        int64_t began_ms = real_ms();

        assert_int_equal(post(weir_server_port(server), 'd', BODY, chunked), 200);
        assert_in_range(real_ms() - began_ms, 780, 10000); /* the burst is a tenth of a second */
    }
    weir_server_stop(server);
    pthread_join(thread, NULL);
    weir_server_destroy(server);
    weir_bandwidth_destroy(bandwidth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v6_the_413_is_readable),
        cmocka_unit_test(an_upload_at_a_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
