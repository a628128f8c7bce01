/* SPDX-License-Identifier: MIT */
/*
 * Validators for small replies, and conditional requests. A reply without an ETag is held back as a whole, up to a bound,
 * so that its bytes can name it; the head leaves at its end. What has an ETag already is only compared.
 */
#include <weir/files.h>
#include <weir/web.h>

#include "base/alloc.h"
#include "base/random.h"
#include "http/conditional.h"
#include "http/date.h"
#include "http/request.h"
#include "route/text.h"

#define MOST_BYTES ((size_t)1 << 20)

struct etag {
    struct weir_reply_filter filter;
    struct weir_req *req;
    size_t max_bytes;
    bool weak;
};

struct held {
    struct weir_req *req;
    struct weir_reply *reply;
    struct weir_chunk *body; /* NULL: an empty one */
    size_t len, size;
    bool weak;
};

/* Two hashes with secrets that everybody knows: 128 bits, for it has to tell versions apart, and no more. */
static struct weir_view name_bytes(struct weir_view bytes, bool weak, char buffer[40])
{
    static const uint64_t secrets[2][2] = {{1, 2}, {3, 4}};
    uint8_t hash[16];
    size_t at = 0;

    for (size_t i = 0; i < 2; i++) {
        uint64_t half = weir__siphash(secrets[i], bytes);

        for (size_t j = 0; j < 8; j++) {
            hash[8 * i + j] = (uint8_t)(half >> (56 - 8 * j));
        }
    }
    if (weak) {
        buffer[at++] = 'W';
        buffer[at++] = '/';
    }
    buffer[at++] = '"';
    weir__text_hex(buffer + at, hash, sizeof(hash));
    at += 2 * sizeof(hash);
    buffer[at++] = '"';
    return weir_bytes(buffer, at);
}

/* 0: go on; 304. Preconditions that only a changing method has are the handler's. */
static int freshness(struct weir_req *req, struct weir_reply *reply, struct weir_view etag)
{
    struct weir_view text = weir_reply_field(reply, "Last-Modified");
    int64_t now = weir__http_now();
    int64_t modified = -1;
    int r;

    if (weir_req_fields(req) == NULL ||
        (text.len > 0 && weir__http_date_parse(text, now, &modified) < 0)) {
        modified = -1;
    }
    if (weir_req_fields(req) == NULL || (weir_view_is_absent(etag) && modified < 0)) {
        return 0;
    }
    r = weir_req_is_fresh(req, etag, modified);
    return r == 304 ? 304 : 0;
}

/* ---- the sink that holds the body ---- */

static int held_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct held *held = state;
    struct weir_view bytes = weir_chunk_view(chunk);
    int r = bytes.len > held->size - held->len ? WEIR_ELIMIT : 0;

    (void)deadline;
    if (r == 0 && !weir_req_gone(held->req, NULL)) {
        memcpy(weir_chunk_data(held->body) + held->len, bytes.data, bytes.len);
        held->len += bytes.len;
    }
    weir_chunk_unref(chunk);
    return r == 0 && weir_req_gone(held->req, NULL) ? WEIR_ECLOSED : r;
}

static int held_end(void *state, struct weir_fields *trailers)
{
    struct held *held = state;
    char buffer[40];
    struct weir_sink *sink = NULL;
    struct weir_view etag;
    bool fresh;
    int r = held->len == held->size ? 0 : WEIR_ESTATE;

    if (r < 0) {
        return r;
    }
    etag = name_bytes(held->body != NULL ? weir_chunk_view(held->body) : weir_bytes("", 0),
                      held->weak, buffer);
    fresh = freshness(held->req, held->reply, etag) == 304;
    r = weir_reply_set_field(held->reply, "ETag", etag);
    if (r == 0 && fresh) {
        weir_reply_set_status(held->reply, 304);
    }
    if (r == 0) {
        r = weir_reply_next(held->reply, &sink);
    }
    if (r == 0 && !fresh && held->body != NULL) {
        r = weir_emit_take(sink, weir_chunk_ref(held->body), -1);
    }
    if (r == 0) {
        r = weir_end(sink, fresh ? NULL : trailers);
    }
    weir_sink_destroy(sink);
    return r;
}

static void held_destroy(void *state)
{
    struct held *held = state;

    weir_reply_destroy(held->reply);
    weir_chunk_unref(held->body);
    weir_free(held);
}

static const struct weir_sink_ops held_ops = {
    .name = "etag",
    .emit = held_emit,
    .end = held_end,
    .destroy = held_destroy,
};

static int hold(struct etag *etag, struct weir_reply *reply, struct weir_sink **ret)
{
    struct held *held = weir_alloc0(sizeof(*held));
    int r = 0;

    if (held == NULL) {
        return WEIR_ENOMEM;
    }
    held->req = etag->req;
    held->weak = etag->weak;
    held->size = (size_t)weir_reply_length(reply);
    if (held->size > 0) {
        r = weir_chunk_create(held->size, &held->body);
    }
    if (r == 0) {
        r = weir_reply_keep(reply, &held->reply);
    }
    if (r < 0) {
        held_destroy(held);
        return r;
    }
    return weir_sink_create_take(&held_ops, held, ret);
}

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct etag *etag = (struct etag *)(void *)filter;
    struct weir_view own = weir_reply_field(reply, "ETag");

    if (weir_reply_status(reply) == 200) {
        if (weir_view_is_absent(own) && weir_reply_has_body(reply) &&
            weir_reply_length(reply) <= etag->max_bytes) {
            return hold(etag, reply, ret);
        }
        if (freshness(etag->req, reply, own) == 304) {
            weir_reply_set_status(reply, 304);
        }
    }
    return weir_reply_next(reply, ret);
}

int weir_mw_etag(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_etag_opts none = {0};
    const struct weir_etag_opts *opts = arg != NULL ? arg : &none;
    struct etag etag = {.filter = {.begin = begin}, .req = req, .weak = opts->weak};
    struct weir_view method = weir_req_method(req);

    etag.max_bytes = opts->max_bytes > 0 ? opts->max_bytes : WEIR_CHUNK_BYTES;
    if (etag.max_bytes > MOST_BYTES) {
        etag.max_bytes = MOST_BYTES;
    }
    if (weir_view_equal(method, weir_str("GET")) || weir_view_equal(method, weir_str("HEAD"))) {
        weir_req_filter_reply(req, &etag.filter);
    }
    return weir_chain_run(next, req);
}
