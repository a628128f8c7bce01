/* SPDX-License-Identifier: MIT */
/* Parity: files and what may be asked of them, conditions, and content codings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/compress.h>
#include <weir/files.h>
#include <weir/rt.h>
#include <weir/sse.h>
#include <weir/web.h>

#include "base/cleanup.h"
#include "parity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A string as an argument, which nobody writes to. */
#define NAME(text) ((void *)(text))
#define CHAIN(items, handler, arg)              \
    {                                           \
        (items), COUNT(items), (handler), (arg) \
    }

static int text(struct weir_req *req, void *arg)
{
    (void)arg;
    parity_note(req, "the handler");
    return weir_reply_text(req, 200, "hello\n");
}

/* ---- conditions ---- */

static const struct weir_middleware etag_items[] = {{weir_mw_etag, NULL}};
static struct weir_chain etag_chain = CHAIN(etag_items, text, NULL);

/* A representation with validators of its own. */
static int versioned(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int status = weir_req_is_fresh(req, weir_str("\"v2\""), 784111777);
    int r = weir_fields_create(&fields);

    (void)arg;
    parity_note(req, "fresh: %d", status);
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("ETag"), weir_str("\"v2\""));
    }
    if (r < 0) {
        return r;
    }
    return status != 0 ? weir_reply_empty(req, status, fields)
                       : weir_reply_bytes(req, 200, fields, "text/plain", weir_str("version 2\n"));
}

/* ---- files ---- */

#define THEN 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */

static char directory[64];
static struct weir_root *root;
static struct weir_static files = {.prefix = "/files/",
                                   .file = {.index = "index.html", .cache_control = "max-age=60"}};

static void make_file(const char *name, size_t bytes)
{
    char path[128];
    uint8_t *data = malloc(bytes);
    int fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = bytes < 100 ? (uint8_t)("0123456789"[i % 10]) : parity_byte(i);
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, data, bytes), bytes);
    assert_int_equal(futimens(fd, (struct timespec[2]){{.tv_sec = THEN}, {.tv_sec = THEN}}), 0);
    close(fd);
    free(data);
}

static int make_files(void **state)
{
    char path[128];

    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/weir-parity-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/sub", directory);
    assert_int_equal(mkdir(path, 0755), 0);
    make_file("ten.txt", 10);
    make_file("large.bin", 2500000);
    make_file("sub/index.html", 20);
    assert_int_equal(weir_root_open(directory, &root), 0);
    files.root = root;
    return 0;
}

static int drop_files(void **state)
{
    static const char *const names_of[] = {"ten.txt", "large.bin", "sub/index.html"};
    char path[128];

    (void)state;
    weir_root_destroy(root);
    for (size_t i = 0; i < COUNT(names_of); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names_of[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/sub", directory);
    rmdir(path);
    rmdir(directory);
    return 0;
}

/* An inode's number is in it. */
static void hide_etag(char *run)
{
    parity_hide(run, "etag");
}

/* The tag that the client has from before: the handler puts it where a client would have. */
static int revalidated(struct weir_req *req, void *arg)
{
    struct weir_fields *fields = weir_req_fields(req);
    struct stat status;
    char path[128], etag[96];

    snprintf(path, sizeof(path), "%s/ten.txt", directory);
    if (stat(path, &status) != 0) {
        return WEIR_EIO;
    }
    snprintf(etag, sizeof(etag), "\"%llx.%lx-%llx-%llx\"", (unsigned long long)THEN, 0ul,
             (unsigned long long)status.st_size, (unsigned long long)status.st_ino);
    if (weir_fields_add(fields, weir_str(arg), weir_str(etag)) < 0) {
        return WEIR_ENOMEM;
    }
    return weir_static(req, &files);
}

/* ---- codings ---- */

static int prose(struct weir_req *req, void *arg)
{
    static uint8_t words[4000]; /* that repeat themselves */

    (void)arg;
    for (size_t i = 0; i < sizeof(words); i++) {
        words[i] = parity_byte(i);
    }
    return weir_reply_bytes(req, 200, NULL, "text/plain", weir_bytes(words, sizeof(words)));
}

static int two_events(struct weir_sink *out, void *arg)
{
    struct weir_req *req = arg;
    int r = weir_sse_emit(out, &(struct weir_event){.data = weir_str("one")});

    if (r == 0) {
        r = parity_await("has the first");
    }
    parity_note(req, "the second");
    return r < 0 ? r : weir_sse_emit(out, &(struct weir_event){.data = weir_str("two")});
}

static int events(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_sse(req, 200, two_events, req);
}

static int with_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL, *trailers = NULL;
    int r = weir_fields_create(&fields);

    (void)arg;
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Type"), weir_str("text/plain"));
    }
    if (r == 0) {
        r = weir_fields_create(&trailers);
    }
    if (r == 0) {
        r = weir_fields_add(trailers, weir_str("X-Sum"), weir_str("3"));
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields, WEIR_LENGTH_UNKNOWN, &out);
    }
    for (int i = 0; r == 0 && i < 3; i++) {
        r = weir_emit_bytes(out, weir_str("sum\n"), -1);
    }
    return r < 0 ? r : weir_end(out, trailers);
}

static int breaks(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    (void)arg;
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Type"), weir_str("text/plain"));
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields, WEIR_LENGTH_UNKNOWN, &out);
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("half of it\n"), -1);
    }
    if (r == 0) {
        r = weir_sleep(weir_after_ms(20));
    }
    return r < 0 ? r : WEIR_EIO;
}

static const struct weir_middleware coding_items[] = {{weir_compress, NULL}};
static struct weir_chain prose_chain = CHAIN(coding_items, prose, NULL),
                         short_chain = CHAIN(coding_items, text, NULL),
                         events_chain = CHAIN(coding_items, events, NULL),
                         trailers_chain = CHAIN(coding_items, with_trailers, NULL),
                         breaks_chain = CHAIN(coding_items, breaks, NULL);

static const struct parity_case conditions[] = {
    {.name = "an ETag",
     .handler = weir_chain_handle,
     .arg = &etag_chain,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "etag: \"68850639491163703d66f45a029180aa\"\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "an ETag that is known",
     .handler = weir_chain_handle,
     .arg = &etag_chain,
     .asks = 2,
     .ask = {{.target = "/"},
             {.fields = {{"If-None-Match", "\"68850639491163703d66f45a029180aa\""}}}},
     .expect = "# 1\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "etag: \"68850639491163703d66f45a029180aa\"\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"
               "# 2\n"
               "304\n"
               "content-type: text/plain; charset=utf-8\n"
               "etag: \"68850639491163703d66f45a029180aa\"\n"
               "content-length: 6\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 304 complete, received 0, sent 0\n"},
    {.name = "a validator of the handler's",
     .handler = versioned,
     .expect = "200\n"
               "etag: \"v2\"\n"
               "content-type: text/plain\n"
               "content-length: 10\n"
               "\n"
               "version 2\n"
               "\n"
               "end\n"
               "- fresh: 0\n"
               "- returned 0: 200 complete, received 0, sent 10\n"},
    {.name = "one that is known",
     .handler = versioned,
     .ask = {{.fields = {{"If-None-Match", "\"v1\", W/\"v2\""}}}},
     .expect = "304\n"
               "etag: \"v2\"\n"
               "\n"
               "end\n"
               "- fresh: 304\n"
               "- returned 0: 304 complete, received 0, sent 0\n"},
    {.name = "a date that is known",
     .handler = versioned,
     .ask = {{.fields = {{"If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}}}},
     .expect = "304\n"
               "etag: \"v2\"\n"
               "\n"
               "end\n"
               "- fresh: 304\n"
               "- returned 0: 304 complete, received 0, sent 0\n"},
    {.name = "a write of an old version",
     .handler = versioned,
     .ask = {{.method = "PUT", .fields = {{"If-Match", "\"v1\""}}}},
     .expect = "412\n"
               "etag: \"v2\"\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- fresh: 412\n"
               "- returned 0: 412 complete, received 0, sent 0\n"},
};

#define FILES .handler = weir_static, .arg = &files, .per_run = hide_etag
static const struct parity_case of_files[] = {
    {.name = "a file",
     FILES,
     .ask = {{.target = "/files/ten.txt"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 10\n"
               "\n"
               "0123456789\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 10\n"},
    {.name = "HEAD of a file",
     FILES,
     .ask = {{.method = "HEAD", .target = "/files/ten.txt"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 10\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "a large file",
     FILES,
     .ask = {{.target = "/files/large.bin"}},
     .expect = "200\n"
               "content-type: application/octet-stream\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 2500000\n"
               "\n"
               "(2500000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 2500000\n"},
    {.name = "a range",
     FILES,
     .ask = {{.target = "/files/ten.txt", .fields = {{"Range", "bytes=2-4"}}}},
     .expect = "206\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "content-range: bytes 2-4/10\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 3\n"
               "\n"
               "234\n"
               "end\n"
               "- returned 0: 206 complete, received 0, sent 3\n"},
    {.name = "a range of a large file",
     FILES,
     .ask = {{.target = "/files/large.bin", .fields = {{"Range", "bytes=0-1999999"}}}},
     .expect = "206\n"
               "content-type: application/octet-stream\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "content-range: bytes 0-1999999/2500000\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 2000000\n"
               "\n"
               "(2000000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 206 complete, received 0, sent 2000000\n"},
    {.name = "a suffix",
     FILES,
     .ask = {{.target = "/files/ten.txt", .fields = {{"Range", "bytes=-3"}}}},
     .expect = "206\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "content-range: bytes 7-9/10\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 3\n"
               "\n"
               "789\n"
               "end\n"
               "- returned 0: 206 complete, received 0, sent 3\n"},
    {.name = "a range that is none",
     FILES,
     .ask = {{.target = "/files/ten.txt", .fields = {{"Range", "bytes=10-"}}}},
     .expect = "416\n"
               "content-range: bytes */10\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- returned 0: 416 complete, received 0, sent 0\n"},
    {.name = "two ranges",
     FILES,
     .ask = {{.target = "/files/ten.txt", .fields = {{"Range", "bytes=0-1,4-5"}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 10\n"
               "\n"
               "0123456789\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 10\n"},
    {.name = "a file that is known",
     .handler = revalidated,
     .arg = NAME("If-None-Match"),
     .per_run = hide_etag,
     .ask = {{.target = "/files/ten.txt"}},
     .expect = "304\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "\n"
               "end\n"
               "- returned 0: 304 complete, received 0, sent 0\n"},
    {.name = "a file known by its date",
     FILES,
     .ask = {{.target = "/files/ten.txt",
              .fields = {{"If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"}}}},
     .expect = "304\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "\n"
               "end\n"
               "- returned 0: 304 complete, received 0, sent 0\n"},
    {.name = "a range of the version that is known",
     .handler = revalidated,
     .arg = NAME("If-Range"),
     .per_run = hide_etag,
     .ask = {{.target = "/files/ten.txt", .fields = {{"Range", "bytes=5-"}}}},
     .expect = "206\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "content-range: bytes 5-9/10\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 5\n"
               "\n"
               "56789\n"
               "end\n"
               "- returned 0: 206 complete, received 0, sent 5\n"},
    {.name = "a range of another version",
     FILES,
     .ask = {{.target = "/files/ten.txt",
              .fields = {{"Range", "bytes=5-"}, {"If-Range", "\"other\""}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 10\n"
               "\n"
               "0123456789\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 10\n"},
    {.name = "a precondition that fails",
     FILES,
     .ask = {{.target = "/files/ten.txt", .fields = {{"If-Match", "\"other\""}}}},
     .expect = "412\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- returned 0: 412 complete, received 0, sent 0\n"},
    {.name = "a directory's index",
     FILES,
     .ask = {{.target = "/files/sub/"}},
     .expect = "200\n"
               "content-type: text/html; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "accept-ranges: bytes\n"
               "etag: ...\n"
               "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\n"
               "cache-control: max-age=60\n"
               "content-length: 20\n"
               "\n"
               "01234567890123456789\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 20\n"},
    {.name = "a directory without its slash",
     FILES,
     .ask = {{.target = "/files/sub?a=1"}},
     .expect = "301\n"
               "location: /files/sub/?a=1\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- returned 0: 301 complete, received 0, sent 0\n"},
    {.name = "no such file",
     FILES,
     .ask = {{.target = "/files/nothing"}},
     .expect = "404\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 10\n"
               "\n"
               "not found\n"
               "\n"
               "end\n"
               "- returned WEIR_ENOTFOUND: 404 complete, received 0, sent 10\n"},
    {.name = "out of the directory",
     FILES,
     .ask = {{.target = "/files/%2e%2e/etc/passwd"}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 17\n"
               "\n"
               "invalid argument\n"
               "\n"
               "end\n"
               "- returned WEIR_EINVAL: 400 complete, received 0, sent 17\n"},
    {.name = "POST to a file",
     FILES,
     .ask = {{.method = "POST", .target = "/files/ten.txt", .body = "x"}},
     .expect = "405\n"
               "allow: GET, HEAD\n"
               "content-length: 0\n"
               "\n"
               "end\n"
               "- returned 0: 405 complete, received 0, sent 0\n"},
};

#define CODED .handler = weir_chain_handle, .encoded = true
#define ACCEPT(codings) .ask = {{.fields = {{"Accept-Encoding", (codings)}}}}
static const struct parity_case codings[] = {
    {.name = "gzip",
     CODED,
     .arg = &prose_chain,
     ACCEPT("gzip"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "(4000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "br",
     CODED,
     .arg = &prose_chain,
     ACCEPT("br"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: br\n"
               "\n"
               "(4000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "zstd",
     CODED,
     .arg = &prose_chain,
     ACCEPT("zstd"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: zstd\n"
               "\n"
               "(4000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "the best of three",
     CODED,
     .arg = &prose_chain,
     ACCEPT("gzip, br;q=0.9, zstd;q=0.8"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "(4000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "no coding",
     CODED,
     .arg = &prose_chain,
     ACCEPT("identity"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-length: 4000\n"
               "\n"
               "(4000 bytes of the pattern)\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "too short to code",
     CODED,
     .arg = &short_chain,
     ACCEPT("gzip"),
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "HEAD of what would be coded",
     CODED,
     .arg = &prose_chain,
     .ask = {{.method = "HEAD", .fields = {{"Accept-Encoding", "gzip"}}}},
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "events, coded, one by one",
     CODED,
     .arg = &events_chain,
     .ask = {{.fields = {{"Accept-Encoding", "gzip"}}, .steps = {TAKE(20), MARK("has the first")}}},
     .expect = "200\n"
               "content-type: text/event-stream\n"
               "cache-control: no-cache\n"
               "x-accel-buffering: no\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "data: one\n"
               "\n"
               "data: two\n"
               "\n"
               "\n"
               "end\n"
               "- the second\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "trailers behind a coding",
     CODED,
     .arg = &trailers_chain,
     ACCEPT("gzip"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "sum\n"
               "sum\n"
               "sum\n"
               "\n"
               "x-sum: 3\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "a coded stream that breaks off",
     CODED,
     .arg = &breaks_chain,
     ACCEPT("gzip"),
     .expect = "200\n"
               "content-type: text/plain\n"
               "vary: Accept-Encoding\n"
               "content-encoding: gzip\n"
               "\n"
               "half of it\n"
               "\n"
               "(WEIR_ETRUNCATED)\n"
               "abort\n"
               "- returned WEIR_EIO: 200 aborted, received 0, sent 0\n"
               "- because WEIR_ECANCELED of the handler, abandoned\n"},
};

static void conditional_requests(void **state)
{
    (void)state;
    parity_check(conditions, COUNT(conditions));
}

static void v7_files(void **state)
{
    (void)state;
    parity_check(of_files, COUNT(of_files));
}

static void content_codings(void **state)
{
    (void)state;
    parity_check(codings, COUNT(codings));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditional_requests),
        cmocka_unit_test(v7_files),
        cmocka_unit_test(content_codings),
    };

    return cmocka_run_group_tests(tests, make_files, drop_files);
}
