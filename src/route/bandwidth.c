/* SPDX-License-Identifier: MIT */
/*
 * So many bytes in a time. For a reply: a sink in front of its own that pays for a small piece, waits until the payment's
 * time has come, and passes the piece on. For an upload: a pace of the request's body, which does the same before it reads.
 * Two virtual clocks are paid, the stream's own and its key's; streams of one key that wait have paid one after the other,
 * and so take turns.
 */
#include <weir/guards.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "http/request.h"
#include "route/limit_table.h"
#include "stream/wait.h"

#define SECOND INT64_C(1000000000)
#define MOST UINT64_C(1000000000000)

/* One of the two rates. */
struct pace {
    uint64_t bytes_per_s; /* 0: no limit */
    int64_t burst;        /* ns */
    size_t piece;         /* a hundredth of a second's worth: what is paid at once */
};

struct weir_bandwidth {
    struct weir_bandwidth_opts opts;
    struct pace stream, key;
    struct weir__limit_table *table; /* NULL: no limit per key */
};

/* One direction of a stream that pays. */
struct payer {
    struct weir_bandwidth *bandwidth;
    uint64_t id; /* of the key; 0: nobody's */
    int64_t clock;
    size_t piece;
};

struct shaped {
    struct payer payer;
    struct weir_sink *inner;
    bool aborted;
    struct weir__fiber *waiter;
};

static int64_t cost_of(const struct pace *pace, size_t bytes)
{
    __extension__ typedef unsigned __int128 wide;

    return (int64_t)(((wide)bytes * (uint64_t)SECOND + pace->bytes_per_s - 1) / pace->bytes_per_s);
}

static void pace_init(struct pace *pace, uint64_t bytes_per_s, uint64_t burst_bytes)
{
    size_t piece = (size_t)(bytes_per_s / 100);

    pace->bytes_per_s = bytes_per_s;
    if (bytes_per_s == 0) {
        pace->piece = WEIR_CHUNK_BYTES;
        return;
    }
    pace->burst = burst_bytes > 0 ? cost_of(pace, (size_t)burst_bytes) : SECOND / 10;
    pace->piece = piece < 1 ? 1 : piece > WEIR_CHUNK_BYTES ? WEIR_CHUNK_BYTES : piece;
    if (burst_bytes > 0 && burst_bytes < pace->piece) {
        pace->piece = (size_t)burst_bytes;
    }
}

static struct payer payer_of(struct weir_bandwidth *bandwidth, uint64_t id)
{
    struct payer payer = {bandwidth, id, WEIR__LIMIT_FRESH, bandwidth->stream.piece};

    if (id != 0 && bandwidth->key.piece < payer.piece) {
        payer.piece = bandwidth->key.piece;
    }
    return payer;
}

/* Pays for so many bytes of both clocks. Returns how long it takes until they may move; ns. */
static int64_t pay(struct payer *payer, size_t bytes)
{
    struct weir_bandwidth *bandwidth = payer->bandwidth;
    int64_t now = weir__loop_clock_us(weir__loop_current()) * 1000;
    int64_t wait = 0;
    int64_t more = 0;

    if (bandwidth->stream.bytes_per_s > 0) {
        wait = weir__clock_take(&payer->clock, now, bandwidth->stream.burst,
                                bytes > 0 ? cost_of(&bandwidth->stream, bytes) : 0, true);
    }
    if (payer->id != 0) {
        more = weir__limit_take(bandwidth->table, payer->id, now, bandwidth->key.burst,
                                bytes > 0 ? cost_of(&bandwidth->key, bytes) : 0, true);
    }
    return wait > more ? wait : more;
}

/* Sleeps so long. Returns 0, or WEIR_ETIMEDOUT, WEIR_ECANCELED, WEIR_ENOMEM. */
static int pause_for(struct shaped *shaped, int64_t wait, int64_t deadline)
{
    struct weir__loop *loop = weir__loop_current();
    int64_t until_us = weir__loop_clock_us(loop) + (wait + 999) / 1000;
    int64_t deadline_us = weir__deadline_us(deadline);
    int64_t wake_us = until_us < deadline_us ? until_us : deadline_us;

    while (wait > 0 && loop->now_us < until_us) {
        int r;

        if (loop->now_us >= deadline_us) {
            return WEIR_ETIMEDOUT;
        }
        r = weir__stream_wait(&shaped->waiter, wake_us, WEIR__STALL_SHAPED);
        if (r == WEIR_ECANCELED || shaped->aborted) {
            return WEIR_ECANCELED;
        }
        if (r == WEIR_ETIMEDOUT && loop->now_us < wake_us) {
            return WEIR_ENOMEM; /* no timer: to go on without one would spin */
        }
    }
    return 0;
}

/* Without waiting it is all or nothing: as long as nothing is owed the whole is taken, and owed. */
static int try_shaped(struct shaped *shaped, struct weir_chunk *chunk)
{
    size_t len = weir_chunk_len(chunk);
    int r;

    if (pay(&shaped->payer, 0) > 0) {
        weir_chunk_unref(chunk);
        return WEIR_EFLOW;
    }
    r = weir_emit_take(shaped->inner, chunk, 0);
    if (r == 0) {
        pay(&shaped->payer, len);
    }
    return r;
}

static int shaped_emit(void *state, struct weir_chunk *chunk, int64_t deadline)
{
    struct shaped *shaped = state;
    size_t left = weir_chunk_len(chunk);
    size_t offset = 0;
    int r = 0;

    if (deadline == 0) {
        return try_shaped(shaped, chunk);
    }
    while (left > 0 && r == 0) {
        size_t len = left < shaped->payer.piece ? left : shaped->payer.piece;
        struct weir_chunk *piece = NULL;

        r = pause_for(shaped, pay(&shaped->payer, len), deadline);
        if (r == 0) {
            r = weir_chunk_slice(chunk, offset, len, &piece);
        }
        if (r == 0) {
            r = weir_emit_take(shaped->inner, piece, deadline);
        }
        offset += len;
        left -= len;
    }
    weir_chunk_unref(chunk);
    return r;
}

static int shaped_wait_writable(void *state, int64_t deadline, size_t *ret_room)
{
    struct shaped *shaped = state;
    int64_t wait = pay(&shaped->payer, 0);
    int r = deadline == 0 && wait > 0 ? WEIR_ETIMEDOUT : pause_for(shaped, wait, deadline);

    if (r == 0) {
        r = weir__wait_writable(shaped->inner, deadline, ret_room);
    }
    if (r == 0 && *ret_room > shaped->payer.piece && *ret_room > 4096) {
        *ret_room = shaped->payer.piece > 4096 ? shaped->payer.piece : 4096;
    }
    return r;
}

static int shaped_flush(void *state)
{
    return weir_flush(((struct shaped *)state)->inner);
}

static int shaped_end(void *state, struct weir_fields *trailers)
{
    return weir_end(((struct shaped *)state)->inner, trailers);
}

static void shaped_abort(void *state, enum weir_reason reason)
{
    struct shaped *shaped = state;

    shaped->aborted = true;
    weir_abort(shaped->inner, reason);
    weir__stream_wake(shaped->waiter);
}

static void shaped_destroy(void *state)
{
    struct shaped *shaped = state;

    weir_sink_destroy(shaped->inner);
    weir_free(shaped);
}

static void shaped_explain(void *state, struct weir_error *ret)
{
    struct weir_error error;

    weir_sink_error(((struct shaped *)state)->inner, &error);
    if (error.code == ret->code) {
        *ret = error;
    }
}

static int64_t shaped_arm(void *state, struct weir_waker *waker)
{
    struct shaped *shaped = state;
    int64_t wait = waker != NULL ? pay(&shaped->payer, 0) : 0;

    if (wait > 0) {
        return (weir__loop_clock_us(weir__loop_current()) + (wait + 999) / 1000 + 999) / 1000;
    }
    return weir_sink_arm(shaped->inner, waker);
}

static const struct weir_sink_ops shaped_ops = {
    .name = "bandwidth",
    .emit = shaped_emit,
    .wait_writable = shaped_wait_writable,
    .flush = shaped_flush,
    .end = shaped_end,
    .abort = shaped_abort,
    .destroy = shaped_destroy,
    .explain = shaped_explain,
    .arm = shaped_arm,
};

struct shaping {
    struct weir_reply_filter filter;
    struct weir_bandwidth *bandwidth;
    uint64_t id;
};

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct shaping *shaping = (struct shaping *)(void *)filter;
    struct weir_bandwidth *bandwidth = shaping->bandwidth;
    struct shaped *shaped;
    int r;

    if (!weir_reply_has_body(reply) || (shaping->id == 0 && bandwidth->stream.bytes_per_s == 0)) {
        return weir_reply_next(reply, ret);
    }
    shaped = weir_alloc0(sizeof(*shaped));
    if (shaped == NULL) {
        return WEIR_ENOMEM;
    }
    shaped->payer = payer_of(bandwidth, shaping->id);
    r = weir_reply_next(reply, &shaped->inner);
    if (r < 0) {
        weir_free(shaped);
        return r;
    }
    return weir_sink_create_take(&shaped_ops, shaped, ret);
}

static uint64_t key_of(struct weir_bandwidth *bandwidth, struct weir_req *req)
{
    uint64_t id = 0;

    return bandwidth->table != NULL && weir__limit_key(bandwidth->table, req, bandwidth->opts.key,
                                                       bandwidth->opts.key_arg, &id)
               ? id
               : 0;
}

int weir_mw_bandwidth(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_bandwidth *bandwidth = arg;
    struct shaping shaping = {{.begin = begin}, bandwidth, key_of(bandwidth, req)};

    weir_req_filter_reply(req, &shaping.filter);
    return weir_chain_run(next, req);
}

/* ---- uploads ---- */

struct upload {
    struct weir__body_pace pace;
    struct payer payer;
};

static int64_t upload_pay(struct weir__body_pace *pace, size_t bytes)
{
    return pay(&((struct upload *)(void *)pace)->payer, bytes);
}

int weir_mw_upload_bandwidth(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_bandwidth *bandwidth = arg;
    struct weir__stream *stream = req->stream;
    uint64_t id = weir_req_has_body(req) ? key_of(bandwidth, req) : 0;
    struct upload upload = {.payer = payer_of(bandwidth, id)};
    int r;

    if (!weir_req_has_body(req) || (id == 0 && bandwidth->stream.bytes_per_s == 0)) {
        return weir_chain_run(next, req);
    }
    upload.pace = (struct weir__body_pace){
        .outer = stream->in_pace, .pay = upload_pay, .piece = upload.payer.piece};
    stream->in_pace = &upload.pace;
    r = weir_chain_run(next, req);
    stream->in_pace = upload.pace.outer;
    return r;
}

int weir_bandwidth_create(const struct weir_bandwidth_opts *opts, struct weir_bandwidth **ret)
{
    struct weir_bandwidth *bandwidth;
    int r = 0;

    if (opts == NULL || (opts->stream_bytes_per_s == 0 && opts->key_bytes_per_s == 0) ||
        opts->stream_bytes_per_s > MOST || opts->key_bytes_per_s > MOST ||
        opts->burst_bytes > MOST) {
        return WEIR_EINVAL;
    }
    bandwidth = weir_alloc0(sizeof(*bandwidth));
    if (bandwidth == NULL) {
        return WEIR_ENOMEM;
    }
    bandwidth->opts = *opts;
    pace_init(&bandwidth->stream, opts->stream_bytes_per_s, opts->burst_bytes);
    pace_init(&bandwidth->key, opts->key_bytes_per_s, opts->burst_bytes);
    /* What is one burst of a slow pace must stay within the clocks. */
    if (bandwidth->stream.burst > INT64_MAX / 4 || bandwidth->key.burst > INT64_MAX / 4 ||
        bandwidth->stream.burst < 0 || bandwidth->key.burst < 0) {
        r = WEIR_EINVAL;
    }
    if (r == 0 && opts->key_bytes_per_s > 0) {
        r = weir__limit_table_create(opts->max_keys, &bandwidth->table);
    }
    if (r < 0) {
        weir_free(bandwidth);
        return r;
    }
    *ret = bandwidth;
    return 0;
}

void weir_bandwidth_destroy(struct weir_bandwidth *bandwidth)
{
    if (bandwidth != NULL) {
        weir__limit_table_destroy(bandwidth->table);
        weir_free(bandwidth);
    }
}
