/* SPDX-License-Identifier: MIT */
/* The kinds of replies as HTTP/1.1 writes them, byte by byte over a socket; only the Date is taken out. */
#include "../net/net_test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include <weir/ndjson.h>
#include <weir/rt.h>
#include <weir/server.h>
#include <weir/sse.h>

#include "base/cleanup.h"

/* ---- handlers ---- */

static int trailers_with(struct weir_req *req, uint64_t length)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL, *trailers = NULL;
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_create(&trailers);
    }
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Trailer"), weir_str("X-Sum"));
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("X-Sum"), weir_str("6"));
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("Content-Length"), weir_str("7"));
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields, length, &out);
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("abc"), -1);
    }
    return r < 0 ? r : weir_end(out, trailers);
}

static int two_events(struct weir_sink *out, void *arg)
{
    int r = weir_sse_emit(out, &(struct weir_event){.id = "1", .data = weir_str("a\nb")});

    (void)arg;
    if (r == 0) {
        r = weir_flush(out);
    }
    return r < 0 ? r : weir_sse_emit(out, &(struct weir_event){.data = weir_str("c")});
}

static int one_heartbeat(struct weir_sink *out, void *arg)
{
    (void)arg;
    (void)out;
    return weir_sleep(weir_after_ms(900));
}

static int two_records(struct weir_sink *out, void *arg)
{
    int r = weir_ndjson_emit(out, weir_str("{\"a\":1}"));

    (void)arg;
    if (r == 0) {
        r = weir_flush(out);
    }
    return r < 0 ? r : weir_ndjson_emit(out, weir_str("[]"));
}

static int fails(struct weir_sink *out, void *arg)
{
    int r = weir_emit_bytes(out, weir_str("abc"), -1);

    (void)arg;
    return r < 0 ? r : WEIR_EIO;
}

static int heartbeats(struct weir_req *req)
{
    int r = weir_sse_config(
        req, &(struct weir_sse_opts){.heartbeat_ms = 500, .heartbeat_text = weir_str("on")});

    return r < 0 ? r : weir_reply_sse(req, 200, one_heartbeat, NULL);
}

static int handle(struct weir_req *req, void *arg)
{
    struct weir_view path = weir_req_path(req);

    (void)arg;
    switch (path.len > 1 ? path.data[1] : 0) {
    case 't':
        return trailers_with(req, WEIR_LENGTH_UNKNOWN);
    case 'l':
        return trailers_with(req, 3);
    case 'h':
        return weir_reply_html(req, 200, weir_str("<p>"));
    case 'j':
        return weir_reply_json(req, 200, weir_str("[1]"));
    case 'r':
        return weir_reply_redirect(req, 303, NULL, weir_str("/next"));
    case 's':
        return weir_reply_sse(req, 200, two_events, NULL);
    case 'b':
        return heartbeats(req);
    case 'n':
        return weir_reply_ndjson(req, 200, two_records, NULL);
    case 'f':
        return weir_reply_stream(req, 200, NULL, WEIR_LENGTH_UNKNOWN, fails, NULL);
    default:
        return weir_reply_empty(req, 404, NULL);
    }
}

/* ---- the other end ---- */

static void *serve(void *arg)
{
    assert_int_equal(weir_server_run(arg), 0);
    return NULL;
}

static struct weir_server *server;
static pthread_t server_thread;

static int start_server(void **state)
{
    struct weir_server_opts opts = {.handler = handle, .threads = 1};

    (void)state;
    assert_int_equal(weir_server_create(&opts, &server), 0);
    assert_int_equal(weir_server_listen(server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&server_thread, NULL, serve, server), 0);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    weir_server_stop(server);
    pthread_join(server_thread, NULL);
    weir_server_destroy(server);
    return 0;
}

/* What comes back until the server closes; 20 s at most. */
static size_t ask(const char *request, char *answer, size_t size)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons(weir_server_port(server))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = 0;
    ssize_t got;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 20},
               sizeof(struct timeval));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
    do {
        got = recv(fd, answer + len, size - 1 - len, 0);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0 && len < size - 1);
    assert_int_equal(got, 0);
    close(fd);
    answer[len] = 0;
    return len;
}

static void expect(const char *method, const char *path, const char *version, const char *wanted)
{
    char request[200], answer[1000];
    char *date, *end;

    snprintf(request, sizeof(request), "%s %s %s\r\nHost: a\r\nConnection: close\r\n\r\n", method,
             path, version);
    ask(request, answer, sizeof(answer));
    date = strstr(answer, "Date: ");
    assert_non_null(date);
    end = strstr(date, "\r\n");
    assert_non_null(end);
    memmove(date, end + 2, strlen(end + 2) + 1);
    assert_string_equal(answer, wanted);
}

static void get(const char *path, const char *wanted)
{
    expect("GET", path, "HTTP/1.1", wanted);
}

#define OK "HTTP/1.1 200 OK\r\n"
#define CLOSE "Connection: close\r\n\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void whole_replies(void **state)
{
    (void)state;
    get("/h", OK "Content-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n" CLOSE "<p>");
    get("/j", OK "Content-Type: application/json\r\nContent-Length: 3\r\n" CLOSE "[1]");
    get("/r", "HTTP/1.1 303 See Other\r\nLocation: /next\r\nContent-Length: 0\r\n" CLOSE);
    expect("HEAD", "/h", "HTTP/1.1",
           OK "Content-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n" CLOSE);
}

#define SSE \
    OK "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"

static void event_streams(void **state)
{
    (void)state;
    get("/s",
        SSE CHUNKED CLOSE "17\r\nid: 1\ndata: a\ndata: b\n\n\r\n9\r\ndata: c\n\n\r\n0\r\n\r\n");
    expect("GET", "/s", "HTTP/1.0", SSE CLOSE "id: 1\ndata: a\ndata: b\n\ndata: c\n\n");
    expect("HEAD", "/s", "HTTP/1.1", SSE CLOSE);
}

static void v12_a_heartbeat_over_a_socket(void **state)
{
    (void)state;
    get("/b", SSE CHUNKED CLOSE "6\r\n: on\n\n\r\n0\r\n\r\n");
}

static void records(void **state)
{
    (void)state;
    get("/n", OK "Content-Type: application/x-ndjson\r\nX-Accel-Buffering: no\r\n" CHUNKED CLOSE
                 "8\r\n{\"a\":1}\n\r\n3\r\n[]\n\r\n0\r\n\r\n");
}

/* RFC 9112 7.1.2: only the chunked coding has a place for them; framing among them is left out. */
static void trailers(void **state)
{
    (void)state;
    get("/t", OK "Trailer: X-Sum\r\n" CHUNKED CLOSE "3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n");
    get("/l", OK "Trailer: X-Sum\r\nContent-Length: 3\r\n" CLOSE "abc");
    expect("GET", "/t", "HTTP/1.0", OK "Trailer: X-Sum\r\n" CLOSE "abc");
    expect("HEAD", "/t", "HTTP/1.1", OK "Trailer: X-Sum\r\n" CLOSE);
}

static void v9_a_failed_producer_has_no_end(void **state)
{
    (void)state;
    get("/f", OK CHUNKED CLOSE "3\r\nabc\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_replies),
        cmocka_unit_test(event_streams),
        cmocka_unit_test(v12_a_heartbeat_over_a_socket),
        cmocka_unit_test(records),
        cmocka_unit_test(trailers),
        cmocka_unit_test(v9_a_failed_producer_has_no_end),
    };

    return cmocka_run_group_tests_name("replies over HTTP/1.1", tests, start_server, stop_server);
}
