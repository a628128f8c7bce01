/* SPDX-License-Identifier: MIT */
/*
 * A server to measure the library by, on its public headers alone.
 *
 *     origin PORT [DIRECTORY]
 *
 *   /small            1 KiB with a length
 *   /bytes/N          N bytes with a length, 64 KiB an emit
 *   /emits/N          N bytes without a length, 1 KiB an emit, each of them sent off at once
 *   /upload           reads the body, drops it, says how long it was
 *   /sse              events of a topic that all streams subscribe to
 *   /ctl/broadcast    publishes one event: the time in ns
 *   /files/NAME       a file of DIRECTORY
 */
#include <weir/weir.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SMALL_BYTES 1024
#define PIECE_BYTES 65536

static const uint8_t zeros[PIECE_BYTES];
static struct weir_topic *topic;

static int small(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_bytes(req, 200, NULL, "application/octet-stream",
                            weir_bytes(zeros, SMALL_BYTES));
}

/* Sends as many bytes as the route says, `piece` at a time. */
static int give(struct weir_req *req, size_t piece, bool declared)
{
    struct weir_sink *out = NULL;
    struct weir_chunk *chunk = NULL;
    uint64_t left;
    int r = weir_req_param_u64(req, "n", &left);

    if (r == 0) {
        r = weir_chunk_copy(weir_bytes(zeros, piece), &chunk);
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, NULL, declared ? left : WEIR_LENGTH_UNKNOWN, &out);
    }
    while (r == 0 && left >= piece) {
        r = weir_emit(out, chunk, -1);
        left -= piece;
    }
    if (r == 0 && left > 0) {
        r = weir_emit_bytes(out, weir_bytes(zeros, (size_t)left), -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    weir_chunk_unref(chunk);
    return r;
}

static int give_bytes(struct weir_req *req, void *arg)
{
    (void)arg;
    return give(req, PIECE_BYTES, true);
}

static int give_emits(struct weir_req *req, void *arg)
{
    (void)arg;
    return give(req, SMALL_BYTES, false);
}

static int upload(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int r;

    (void)arg;
    while ((r = weir_next(body, -1, &chunk)) == 1) {
        bytes += weir_chunk_view(chunk).len;
        weir_chunk_unref(chunk);
    }
    return r < 0 ? r : weir_reply_text(req, 200, "%" PRIu64 "\n", bytes);
}

static int broadcast(struct weir_req *req, void *arg)
{
    struct timespec now;
    char text[32];
    int r;

    (void)arg;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(text, sizeof(text), "%" PRId64, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    r = weir_topic_publish_bytes(topic, 0, weir_str(text), NULL);
    return r < 0 ? r : weir_reply_json(req, 200, weir_str("{}"));
}

static int events(struct weir_req *req, void *arg)
{
    struct weir_subscription *subscription = NULL;
    struct weir_topic_item item;
    struct weir_sink *out = NULL;
    int r = weir_topic_subscribe(topic, NULL, &subscription);

    (void)arg;
    if (r >= 0) {
        r = weir_sse_begin(req, 200, NULL, &out);
    }
    if (r == 0) {
        weir_req_drop_head(req);
        r = weir_sse_comment(out, weir_str("k"));
    }
    while (r == 0 && (r = weir_topic_next(subscription, -1, &item)) == 1) {
        r = weir_sse_emit(out, &(struct weir_event){.data = weir_chunk_view(item.chunk)});
        weir_topic_item_drop(&item);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    weir_subscription_destroy(subscription);
    return r;
}

int main(int argc, char **argv)
{
    const struct {
        const char *method, *path;
        weir_handler_fn *handler;
    } routes[] = {
        {"GET", "/small", small},         {"GET", "/bytes/:n", give_bytes},
        {"GET", "/emits/:n", give_emits}, {"POST", "/upload", upload},
        {"GET", "/sse", events},          {"GET", "/ctl/broadcast", broadcast},
    };
    struct weir_server_opts opts = {.handler = weir_router_handle, .threads = 1};
    struct weir_static files = {.prefix = "/files/"};
    struct weir_router *router = NULL;
    struct weir_server *server = NULL;
    struct weir_error error = {0};
    int r;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: origin PORT [DIRECTORY]\n");
        return 2;
    }
    r = weir_topic_create(NULL, &topic);
    if (r == 0) {
        r = weir_router_create(NULL, &router);
    }
    for (size_t i = 0; r == 0 && i < sizeof(routes) / sizeof(routes[0]); i++) {
        r = weir_router_add(router, routes[i].method, routes[i].path, routes[i].handler, NULL,
                            NULL);
    }
    if (r == 0 && argc > 2) {
        r = weir_root_open(argv[2], &files.root);
        if (r == 0) {
            r = weir_router_add(router, "GET", "/files/*name", weir_static, &files, NULL);
        }
    }
    opts.arg = router;
    if (r == 0) {
        r = weir_server_create(&opts, &server);
    }
    if (r == 0) {
        r = weir_server_listen(server, "127.0.0.1", (uint16_t)atoi(argv[1]), &error);
    }
    if (r == 0) {
        weir_server_stop_on_signals(server);
        r = weir_server_run(server);
    }
    if (r < 0) {
        fprintf(stderr, "origin: %s\n", weir_strerror(r));
    }
    weir_server_destroy(server);
    weir_router_destroy(router);
    weir_root_destroy(files.root);
    weir_topic_unref(topic);
    return r < 0;
}
