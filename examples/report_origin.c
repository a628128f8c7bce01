/* SPDX-License-Identifier: MIT */
/*
 * An internal service as a gateway meets it: big reports, event feeds, uploads, and answers that fail half-way.
 *
 *     /report?mb=N[&chunked=1][&rate=BYTES_PER_S][&seed=S]   N MiB of CSV, generated row by row
 *     /report/sha256?mb=N[&seed=S]                           the hash of that report
 *     /mega?mb=N                                             N MiB in one emit, and so in one HTTP chunk
 *     /mega/sha256?mb=N
 *     /sse?interval_ms=N[&count=N]                           an event feed
 *     /upload[?rate=BYTES_PER_S]                             POST or PUT; answers with length and hash
 *     /fail?after=BYTES[&chunked=1]                          breaks off after so many bytes
 *     /stats                                                 counts, as JSON
 */
#include <weir/sse.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common.h"
#include "mega.h"
#include "report.h"

#define PIECE_BYTES ((size_t)65536)
#define SHA256_BYTES ((size_t)32)
#define MAX_MB ((uint64_t)1 << 19)

static struct {
    atomic_uint_fast64_t active, requests, canceled, bytes_out;
} counts;

/* ---- pace ---- */

/* At most so many bytes per second, from the beginning on. */
struct pace {
    uint64_t rate; /* 0: none */
    uint64_t bytes;
    int64_t begin;
};

static struct pace pace_begin(struct weir_req *req)
{
    return (struct pace){.rate = weir_req_query_u64(req, "rate", 0), .begin = weir_now()};
}

/* How many bytes at a time: a 50th of a second's worth. */
static size_t pace_piece(const struct pace *pace)
{
    uint64_t piece = pace->rate / 50;

    if (pace->rate == 0 || piece > PIECE_BYTES) {
        return PIECE_BYTES;
    }
    return piece > 0 ? (size_t)piece : 1;
}

/* Waits until what has gone so far is due. */
static int pace_wait(struct pace *pace)
{
    if (pace->rate == 0 || pace->bytes == 0) {
        return 0;
    }
    return weir_sleep(pace->begin + (int64_t)((double)pace->bytes * 1000.0 / (double)pace->rate));
}

/* ---- hashes ---- */

/* `text` has room for two digits a byte and a NUL. */
static void hash_text(gnutls_hash_hd_t hash, char *text)
{
    uint8_t digest[SHA256_BYTES];

    gnutls_hash_deinit(hash, digest);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

static int reply_hash(struct weir_req *req, uint64_t bytes, gnutls_hash_hd_t hash)
{
    char text[SHA256_BYTES * 2 + 1], json[160];
    int len;

    hash_text(hash, text);
    len = snprintf(json, sizeof(json), "{\"bytes\":%" PRIu64 ",\"sha256\":\"%s\"}\n", bytes, text);
    return weir_reply_bytes(req, 200, NULL, "application/json", weir_bytes(json, (size_t)len));
}

/* ---- reports ---- */

/* Between 1 MiB and 512 GiB; 0: something else was asked for. */
static uint64_t wanted_bytes(struct weir_req *req)
{
    uint64_t mb = weir_req_query_u64(req, "mb", 10);

    return mb <= MAX_MB ? mb << 20 : 0;
}

static int refuse_size(struct weir_req *req)
{
    return weir_reply_text(req, 400, "mb is 1 to %" PRIu64 "\n", MAX_MB);
}

/* X-Origin-Peer lets a test tell which connection of a gateway carries which of its streams. */
static int begin_csv(struct weir_req *req, uint64_t length, struct weir_sink **ret)
{
    struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Type"), weir_str("text/csv"));
    }
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("X-Origin-Peer"), weir_req_peer(req));
    }
    if (r == 0) {
        r = weir_stream_begin(req, 200, fields, length, ret);
    }
    weir_fields_destroy(fields);
    return r;
}

static uint64_t wanted_length(struct weir_req *req, uint64_t bytes)
{
    return weir_req_query_u64(req, "chunked", 0) != 0 ? WEIR_LENGTH_UNKNOWN : bytes;
}

/* Generates and sends the rows, piece by piece. */
static int send_rows(struct weir_req *req, struct report *report, uint64_t bytes,
                     struct weir_sink *out)
{
    struct pace pace = pace_begin(req);
    size_t piece = pace_piece(&pace);
    int r = 0;

    for (uint64_t left = bytes; r == 0 && left > 0;) {
        size_t len = left < piece ? (size_t)left : piece;
        struct weir_chunk *chunk = NULL;

        r = pace_wait(&pace);
        if (r == 0) {
            r = weir_chunk_create(len, &chunk);
        }
        if (r == 0) {
            report_read(report, weir_chunk_data(chunk), len);
            r = weir_emit_take(out, chunk, -1);
        }
        if (r == 0) {
            atomic_fetch_add_explicit(&counts.bytes_out, len, memory_order_relaxed);
            left -= len;
            pace.bytes += len;
        }
    }
    return r;
}

static int send_report(struct weir_req *req)
{
    uint64_t bytes = wanted_bytes(req);
    struct weir_sink *out = NULL;
    struct report report;
    int r;

    if (bytes == 0) {
        return refuse_size(req);
    }
    report_init(&report, bytes, weir_req_query_u64(req, "seed", 0));
    r = begin_csv(req, wanted_length(req, bytes), &out);
    if (r == 0) {
        r = send_rows(req, &report, bytes, out);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

/* As many bytes as asked for, and then neither an end nor more. */
static int fail_report(struct weir_req *req)
{
    uint64_t after = weir_req_query_u64(req, "after", 1000000);
    uint64_t whole = after + ((uint64_t)1 << 20);
    struct weir_sink *out = NULL;
    struct report report;
    int r;

    if (after > MAX_MB << 20) {
        return refuse_size(req);
    }
    report_init(&report, whole, weir_req_query_u64(req, "seed", 0));
    r = begin_csv(req, wanted_length(req, whole), &out);
    if (r == 0) {
        r = send_rows(req, &report, after, out);
    }
    if (r == 0) {
        weir_abort(out, WEIR_REASON_HANDLER);
    }
    weir_sink_destroy(out);
    return r;
}

static int report_hash(struct weir_req *req)
{
    uint64_t bytes = wanted_bytes(req);
    struct report report;
    gnutls_hash_hd_t hash;
    uint8_t *piece;
    int r = 0;

    if (bytes == 0) {
        return refuse_size(req);
    }
    piece = malloc(PIECE_BYTES);
    if (piece == NULL || gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) {
        free(piece);
        return WEIR_ENOMEM;
    }
    report_init(&report, bytes, weir_req_query_u64(req, "seed", 0));
    /* Computes for long: the other streams of this loop get their turn after each piece. */
    for (size_t len; r == 0 && (len = report_read(&report, piece, PIECE_BYTES)) > 0;) {
        gnutls_hash(hash, piece, len);
        r = weir_yield();
    }
    free(piece);
    if (r < 0) {
        gnutls_hash_deinit(hash, NULL);
        return r;
    }
    return reply_hash(req, bytes, hash);
}

/* ---- one giant piece ---- */

struct mapping {
    uint8_t *memory;
    size_t bytes;
};

static void unmap(void *arg)
{
    struct mapping *mapping = arg;

    munmap(mapping->memory, mapping->bytes);
    free(mapping);
}

static int map_chunk(uint64_t bytes, struct weir_chunk **ret)
{
    struct mapping *mapping = calloc(1, sizeof(*mapping));
    int r = WEIR_ENOMEM;

    if (mapping == NULL) {
        return r;
    }
    mapping->bytes = (size_t)bytes;
    mapping->memory = mega_map(bytes);
    if (mapping->memory == NULL) {
        free(mapping);
        return r;
    }
    r = weir_chunk_wrap(weir_bytes(mapping->memory, mapping->bytes), unmap, mapping, ret);
    if (r < 0) {
        unmap(mapping);
    }
    return r;
}

/* A single emit of any size: one chunk on the wire, sent as fast as the client takes it. */
static int send_mega(struct weir_req *req)
{
    uint64_t bytes = wanted_bytes(req);
    struct weir_chunk *chunk = NULL;
    struct weir_sink *out = NULL;
    int r;

    if (bytes == 0) {
        return refuse_size(req);
    }
    r = map_chunk(bytes, &chunk);
    if (r == 0) {
        r = begin_csv(req, WEIR_LENGTH_UNKNOWN, &out);
    }
    if (r == 0) {
        r = weir_emit(out, chunk, -1);
    }
    weir_chunk_unref(chunk);
    if (r == 0) {
        atomic_fetch_add_explicit(&counts.bytes_out, bytes, memory_order_relaxed);
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

static int mega_hash(struct weir_req *req)
{
    uint64_t bytes = wanted_bytes(req);
    gnutls_hash_hd_t hash;
    uint8_t *memory;
    int r = 0;

    if (bytes == 0) {
        return refuse_size(req);
    }
    memory = mega_map(bytes);
    if (memory == NULL || gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) {
        if (memory != NULL) {
            munmap(memory, (size_t)bytes);
        }
        return WEIR_ENOMEM;
    }
    for (uint64_t at = 0; r == 0 && at < bytes; at += PIECE_BYTES) {
        gnutls_hash(hash, memory + at, PIECE_BYTES);
        r = weir_yield();
    }
    munmap(memory, (size_t)bytes);
    if (r < 0) {
        gnutls_hash_deinit(hash, NULL);
        return r;
    }
    return reply_hash(req, bytes, hash);
}

/* ---- events, uploads, counts ---- */

static int send_events(struct weir_req *req)
{
    uint64_t interval_ms = weir_req_query_u64(req, "interval_ms", 1000);
    uint64_t count = weir_req_query_u64(req, "count", 0);
    struct weir_sink *out = NULL;
    char id[24], data[80];
    int r;

    if (interval_ms > 3600000) {
        return weir_reply_text(req, 400, "interval_ms is at most 3600000\n");
    }
    r = weir_sse_begin(req, 200, NULL, &out);
    for (uint64_t i = 1; r == 0 && (count == 0 || i <= count); i++) {
        struct weir_event event = {.event = "row", .id = id};
        int len;

        snprintf(id, sizeof(id), "%" PRIu64, i);
        len = snprintf(data, sizeof(data), "{\"n\":%" PRIu64 ",\"now_ms\":%" PRId64 "}", i,
                       weir_now());
        event.data = weir_bytes(data, (size_t)len);
        r = weir_sse_emit(out, &event);
        if (r == 0 && i != count) {
            r = weir_sleep(weir_after_ms((int64_t)interval_ms));
        }
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

/* Constant memory whatever the size; what is not read stays with the client. */
static int take_upload(struct weir_req *req)
{
    struct pace pace = pace_begin(req);
    struct weir_chunk *chunk = NULL;
    gnutls_hash_hd_t hash;
    int r;

    if (!weir_view_equal(weir_req_method(req), weir_str("POST")) &&
        !weir_view_equal(weir_req_method(req), weir_str("PUT"))) {
        return example_not_allowed(req, "POST, PUT");
    }
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) {
        return WEIR_ENOMEM;
    }
    while ((r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        gnutls_hash(hash, weir_chunk_view(chunk).data, weir_chunk_len(chunk));
        pace.bytes += weir_chunk_len(chunk);
        chunk = weir_chunk_unref(chunk);
        r = pace_wait(&pace);
        if (r < 0) {
            break;
        }
    }
    if (r < 0) {
        gnutls_hash_deinit(hash, NULL);
        return r;
    }
    return reply_hash(req, pace.bytes, hash);
}

static int reply_stats(struct weir_req *req)
{
    char text[200];
    int len =
        snprintf(text, sizeof(text),
                 "{\"active\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"canceled\":%" PRIu64
                 ",\"bytes_out\":%" PRIu64 "}\n",
                 (uint64_t)atomic_load(&counts.active), (uint64_t)atomic_load(&counts.requests),
                 (uint64_t)atomic_load(&counts.canceled), (uint64_t)atomic_load(&counts.bytes_out));

    return weir_reply_bytes(req, 200, NULL, "application/json", weir_bytes(text, (size_t)len));
}

static int reply_index(struct weir_req *req)
{
    return weir_reply_text(req, 200,
                           "/report?mb=N[&chunked=1][&rate=BYTES_PER_S][&seed=S]\n"
                           "/report/sha256?mb=N[&seed=S]\n"
                           "/mega?mb=N, /mega/sha256?mb=N\n"
                           "/sse?interval_ms=N[&count=N]\n"
                           "/upload[?rate=BYTES_PER_S]\n"
                           "/fail?after=BYTES[&chunked=1]\n"
                           "/stats\n");
}

static const struct {
    const char *path;
    int (*answer)(struct weir_req *req);
} pages[] = {
    {"/", reply_index},       {"/report", send_report},    {"/report/sha256", report_hash},
    {"/mega", send_mega},     {"/mega/sha256", mega_hash}, {"/sse", send_events},
    {"/upload", take_upload}, {"/fail", fail_report},
};

static int answer(struct weir_req *req)
{
    struct weir_view path = weir_req_path(req);

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (weir_view_equal(path, weir_str(pages[i].path))) {
            return pages[i].answer(req);
        }
    }
    return weir_reply_text(req, 404, "no such page\n");
}

/* Counts around the handler: what wraps the call wraps the whole stream. */
static int handle(struct weir_req *req, void *arg)
{
    int r;

    (void)arg;
    if (weir_view_equal(weir_req_path(req), weir_str("/stats"))) {
        return reply_stats(req); /* does not count itself */
    }
    atomic_fetch_add(&counts.active, 1);
    atomic_fetch_add(&counts.requests, 1);
    r = answer(req);
    if (r < 0 && weir_req_gone(req, NULL)) {
        atomic_fetch_add(&counts.canceled, 1);
    }
    atomic_fetch_sub(&counts.active, 1);
    return r;
}

/* ---- the program ---- */

int main(int argc, char **argv)
{
    report_prepare();
    return example_main(argc, argv,
                        &(struct example){
                            .name = "report_origin",
                            .about = "reports, event feeds and uploads; GET / lists the pages",
                            .handler = handle,
                        });
}
