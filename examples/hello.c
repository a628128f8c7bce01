/* SPDX-License-Identifier: MIT */
/*
 * The smallest server with something to stream.
 *
 *     curl http://127.0.0.1:8000/                                  hello
 *     curl -T FILE http://127.0.0.1:8000/echo                      the body comes back while it is sent
 *     curl http://127.0.0.1:8000/big?n=1000000000 >/dev/null       that many bytes, with their length declared
 */
#include <weir/http.h>

#include "common.h"

#define PIECE_BYTES ((size_t)65536)

/* Shared by all replies to /big: wrapped, never copied. */
static uint8_t piece[PIECE_BYTES];

static int hello(struct weir_req *req)
{
    return weir_reply_bytes(req, 200, NULL, "text/plain", weir_str("hello\n"));
}

/* Mirrors the body's type and length. */
static int begin_echo(struct weir_req *req, struct weir_sink **ret)
{
    struct weir_view type = weir_req_field(req, "Content-Type");
    struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Type"),
                            weir_view_is_absent(type) ? weir_str("application/octet-stream")
                                                      : type);
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields,
                              weir_req_has_body(req) ? weir_req_body_length(req) : 0, ret);
    }
    weir_fields_destroy(fields);
    return r;
}

/* The pipe reads the request no faster than the client takes the reply: memory stays flat whatever the size. */
static int echo(struct weir_req *req)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *first = NULL;
    struct weir_sink *out = NULL;
    /* A first read, which does not wait: it tells a client that asked (Expect: 100-continue) to send its body, and that
     * has to come before the reply. */
    int r = weir_next(body, 0, &first);

    if (r < 0 && r != WEIR_EAGAIN) {
        return r;
    }
    r = begin_echo(req, &out);
    if (r == 0 && first != NULL) {
        r = weir_emit(out, first, -1);
    }
    weir_chunk_unref(first);
    if (r == 0) {
        r = weir_pipe(body, out, &(struct weir_pipe_opts){.keep_sink_open = true}, NULL);
    }
    if (r == 0) {
        r = weir_end(out, weir_req_trailers(req));
    }
    weir_sink_destroy(out);
    return r;
}

static int big(struct weir_req *req)
{
    uint64_t left = weir_req_query_u64(req, "n", 1000000);
    struct weir_chunk *whole = NULL;
    struct weir_sink *out = NULL;
    int r = weir_chunk_wrap(weir_bytes(piece, sizeof(piece)), NULL, NULL, &whole);

    if (r == 0) {
        r = weir_stream_begin(req, 200, NULL, left, &out);
    }
    for (; r == 0 && left >= PIECE_BYTES; left -= PIECE_BYTES) {
        r = weir_emit(out, whole, -1);
    }
    if (r == 0 && left > 0) {
        r = weir_emit_bytes(out, weir_bytes(piece, (size_t)left), -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    weir_chunk_unref(whole);
    return r;
}

static int handle(struct weir_req *req, void *arg)
{
    struct weir_view path = weir_req_path(req);

    (void)arg;
    if (weir_view_equal(path, weir_str("/"))) {
        return hello(req);
    }
    if (weir_view_equal(path, weir_str("/echo"))) {
        return echo(req);
    }
    if (weir_view_equal(path, weir_str("/big"))) {
        return big(req);
    }
    return weir_reply_text(req, 404, "no such page\n");
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(piece); i++) {
        piece[i] = i % 64 == 63 ? '\n' : (uint8_t)('0' + i % 64);
    }
    return example_main(argc, argv,
                        &(struct example){
                            .name = "hello",
                            .about = "answers /, streams /echo back, sends /big?n=BYTES",
                            .handler = handle,
                        });
}
