/* SPDX-License-Identifier: MIT */
/*
 * Traps that need a socket and a kernel to be shown absent: that a file goes by sendfile() (V7), that its slow reader
 * sees where it broke off (V8), that a stop lets running streams end (V13), and that who waits for memory to be let go
 * of hears of it from any thread (P21). The client here is recv() and send().
 */
#include "../net/net_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <weir/offload.h>
#include <weir/rt.h>
#include <weir/server.h>
#include <weir/sources.h>

#include "base/cleanup.h"

#define FILE_BYTES ((size_t)6 << 20)
#define LARGE_FILE_BYTES ((size_t)64 << 20)

static _Atomic uint64_t sent_by_kernel;
static _Atomic int streaming, ended, result, reason;
static _Atomic bool may_end;
static char file_name[64];

/* In the place of the C library's: counts, and does the same. */
ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
    ssize_t sent = syscall(SYS_sendfile, out, in, offset, count);

    atomic_fetch_add(&sent_by_kernel, sent > 0 ? (uint64_t)sent : 0);
    return sent;
}

/* ---- handlers ---- */

static int send_a_file(struct weir_req *req, uint64_t bytes)
{
    struct weir_source *source;
    enum weir_reason why = WEIR_REASON_NONE;
    int r = weir_file_source_create_take(open(file_name, O_RDONLY | O_CLOEXEC), 0, bytes, &source);

    r = r == 0 ? weir_reply_source_take(req, 200, NULL, bytes, source) : r;
    weir_req_gone(req, &why);
    atomic_store(&reason, why);
    atomic_store(&result, r);
    atomic_fetch_add(&ended, 1);
    return r;
}

/* Streams until it may end. */
static int stream(struct weir_req *req)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("begun "), -1);
    }
    while (r == 0 && !atomic_load(&may_end)) {
        atomic_store(&streaming, 1);
        r = weir_sleep(weir_after_ms(2));
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("and ended"), -1);
    }
    r = r == 0 ? weir_end(out, NULL) : r;
    atomic_store(&result, r);
    atomic_fetch_add(&ended, 1);
    return r;
}

static int let_go(void *arg)
{
    weir_chunk_unref(arg);
    return 0;
}

static int let_go_later(void *arg)
{
    usleep(30000); /* the reader waits by now */
    return let_go(arg);
}

static int on_a_thread(void *arg)
{
    return weir_offload(let_go_later, arg, NULL, -1, NULL);
}

/* Holds as much as it may, and reads on while another thread lets go of it. */
static int hold(struct weir_req *req)
{
    struct weir_scope *scope;
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int r = weir_scope_open(&scope);

    if (r < 0) {
        return r;
    }
    while ((r = weir_next(weir_req_body(req), weir_after_ms(15000), &chunk)) == 1) {
        bytes += weir_chunk_len(chunk);
        if (weir_scope_spawn(scope, on_a_thread, chunk) < 0) {
            weir_chunk_unref(chunk);
        }
    }
    /* All of them: a child that is cancelled before its work has begun would keep its chunk. */
    if (weir_scope_join(scope, -1) < 0) {
        r = WEIR_EIO;
    }
    weir_scope_close(scope);
    atomic_store(&result, r);
    return r < 0 ? r : weir_reply_text(req, 200, "%llu\n", (unsigned long long)bytes);
}

static int handle(struct weir_req *req, void *arg)
{
    (void)arg;
    switch (weir_req_path(req).data[1]) {
    case 'f':
        return send_a_file(req, FILE_BYTES);
    case 'l':
        return send_a_file(req, LARGE_FILE_BYTES);
    case 's':
        return stream(req);
    case 'h':
        return hold(req);
    default:
        return weir_reply_text(req, 200, "hello\n");
    }
}

/* ---- the other end ---- */

struct scene {
    struct weir_server *server;
    pthread_t thread;
};

static void *serve(void *arg)
{
    assert_int_equal(weir_server_run(arg), 0);
    return NULL;
}

static void begin(struct scene *scene, const struct weir_server_opts *more)
{
    struct weir_server_opts opts = *more;

    opts.handler = handle;
    opts.threads = 1;
    atomic_store(&ended, 0);
    atomic_store(&streaming, 0);
    atomic_store(&may_end, false);
    atomic_store(&sent_by_kernel, 0);
    assert_int_equal(weir_server_create(&opts, &scene->server), 0);
    assert_int_equal(weir_server_listen(scene->server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&scene->thread, NULL, serve, scene->server), 0);
}

static void finish(struct scene *scene)
{
    weir_server_stop(scene->server);
    pthread_join(scene->thread, NULL);
    weir_server_destroy(scene->server);
}

static int try_connect(struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(weir_server_port(scene->server))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 20},
               sizeof(struct timeval));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int ask(struct scene *scene, const char *path)
{
    char head[128];
    int len = snprintf(head, sizeof(head), "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    int fd = try_connect(scene);

    assert_true(fd >= 0);
    assert_int_equal(send(fd, head, (size_t)len, MSG_NOSIGNAL), len);
    return fd;
}

static void wait_for(_Atomic int *number)
{
    for (int i = 0; i < 10000 && atomic_load(number) == 0; i++) {
        usleep(1000);
    }
    assert_int_equal(atomic_load(number), 1);
}

/* The bytes behind the head, until the server closes or all have come; *ret_clean: it has not been reset. */
static uint64_t read_body(int fd, uint64_t wanted, bool *ret_clean)
{
    static char bytes[65536];
    uint64_t body = 0;
    bool in_body = false;
    ssize_t got = 1;

    while (body < wanted && (got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        const char *at = in_body ? bytes : memmem(bytes, (size_t)got, "\r\n\r\n", 4);

        assert_non_null(at);
        body += (uint64_t)(bytes + got - at) - (in_body ? 0 : 4);
        in_body = true;
    }
    *ret_clean = got >= 0;
    return body;
}

/* ---- V7, V8 ---- */

static void v7_a_file_goes_by_sendfile(void **state)
{
    struct scene scene;
    bool clean;
    int fd;

    (void)state;
    begin(&scene, &(struct weir_server_opts){0});
    fd = ask(&scene, "f");
    assert_int_equal(read_body(fd, FILE_BYTES, &clean), FILE_BYTES);
    close(fd);
    wait_for(&ended);
    assert_int_equal(atomic_load(&result), 0);
    /* The first bytes leave with the head, in one packet. */
    assert_in_range(atomic_load(&sent_by_kernel), FILE_BYTES - WEIR_CHUNK_BYTES, FILE_BYTES);
    finish(&scene);
}

static void v8_a_file_that_its_reader_does_not_take(void **state)
{
    struct scene scene;
    uint64_t body;
    bool clean;
    int fd;

    (void)state;
    begin(&scene, &(struct weir_server_opts){.client_stall_ms = 200});
    fd = ask(&scene, "l");
    wait_for(&ended); /* without a byte read here */
    assert_int_equal(atomic_load(&result), WEIR_ESTALLED);
    assert_int_equal(atomic_load(&reason), WEIR_REASON_STALL);
    body = read_body(fd, LARGE_FILE_BYTES, &clean);
    assert_true(body < LARGE_FILE_BYTES); /* of what the head has promised */
    close(fd);
    finish(&scene);
}

/* ---- V13 ---- */

static size_t read_all(int fd, char *text, size_t size)
{
    size_t len = 0;
    ssize_t got;

    while ((got = recv(fd, text + len, size - 1 - len, 0)) > 0) {
        len += (size_t)got;
    }
    assert_int_equal(got, 0);
    text[len] = '\0';
    return len;
}

static void v13_a_stop_lets_running_streams_end(void **state)
{
    char text[1024], head[256];
    struct weir_server_stats stats;
    struct scene scene;
    int running, idle, late;
    ssize_t got;

    (void)state;
    begin(&scene, &(struct weir_server_opts){.grace_ms = 20000});
    idle = ask(&scene, "hello");
    got = recv(idle, head, sizeof(head) - 1, 0);
    assert_true(got > 0);
    running = ask(&scene, "stream");
    wait_for(&streaming);
    weir_server_stats(scene.server, &stats);
    assert_int_equal(stats.streams, 1); /* of this server, and the idle one is none */
    assert_int_equal(stats.connections, 2);
    weir_server_stop(scene.server);
    assert_int_equal(read_all(idle, text, sizeof(text)), 0); /* it closes at once */
    late = try_connect(&scene);
    if (late >= 0) {
        assert_true(send(late, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 26, MSG_NOSIGNAL) <= 26);
        assert_true(recv(late, text, sizeof(text), 0) <= 0); /* nobody serves it */
        close(late);
    }
    usleep(100000);
    assert_int_equal(atomic_load(&ended), 0); /* the running one goes on */
    atomic_store(&may_end, true);
    read_all(running, text, sizeof(text));
    assert_non_null(strstr(text, "begun "));
    assert_non_null(strstr(text, "and ended\r\n0\r\n\r\n")); /* whole; and then it is closed */
    assert_int_equal(atomic_load(&result), 0);
    pthread_join(scene.thread, NULL);
    weir_server_stats(scene.server, &stats);
    assert_int_equal(stats.streams, 0);
    assert_int_equal(stats.connections, 0);
    weir_server_destroy(scene.server);
    close(running);
    close(idle);
}

/* ---- P21 ---- */

static void p21_who_waits_for_memory_hears_of_it_from_any_thread(void **state)
{
    static char piece[10000];
    char head[128], text[512];
    struct scene scene;
    int fd, len;

    (void)state;
    begin(&scene, &(struct weir_server_opts){.stream_bytes = 65536});
    fd = try_connect(&scene);
    len =
        snprintf(head, sizeof(head),
                 "POST /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 300 * sizeof(piece));
    assert_int_equal(send(fd, head, (size_t)len, MSG_NOSIGNAL), len);
    for (int i = 0; i < 300; i++) {
        for (size_t at = 0; at < sizeof(piece);) {
            ssize_t sent = send(fd, piece + at, sizeof(piece) - at, MSG_NOSIGNAL);

            assert_true(sent > 0);
            at += (size_t)sent;
        }
    }
    read_all(fd, text, sizeof(text));
    assert_non_null(strstr(text, "\r\n\r\n3000000\n"));
    assert_int_equal(atomic_load(&result), 0);
    close(fd);
    finish(&scene);
}

static int make_file(void **state)
{
    static char bytes[65536];
    int fd;

    (void)state;
    snprintf(file_name, sizeof(file_name), "/tmp/weir-traps-XXXXXX");
    fd = mkstemp(file_name);
    assert_true(fd >= 0);
    for (size_t at = 0; at < FILE_BYTES; at += sizeof(bytes)) {
        assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    }
    assert_int_equal(ftruncate(fd, (off_t)LARGE_FILE_BYTES), 0);
    close(fd);
    return 0;
}

static int drop_file(void **state)
{
    (void)state;
    return unlink(file_name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v7_a_file_goes_by_sendfile),
        cmocka_unit_test(v8_a_file_that_its_reader_does_not_take),
        cmocka_unit_test(v13_a_stop_lets_running_streams_end),
        cmocka_unit_test(p21_who_waits_for_memory_hears_of_it_from_any_thread),
    };

    return cmocka_run_group_tests(tests, make_file, drop_file);
}
