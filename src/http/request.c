/* SPDX-License-Identifier: MIT */
/*
 * The life of a request: its handler's fiber, its scope, what happens when the handler returns without having ended
 * the reply, and what a handler may ask of it. Invariant: `finished` is called once, last, on the handler's fiber.
 */
#include "http/request.h"

#include <weir/blocking.h>
#include <weir/experimental/observe.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "http/sse_beat.h"
#include "rt/relay.h"

#include <stdatomic.h>
#include <stdio.h>

#define REQ_MAGIC 0x72657175u

typedef void(callback_fn)(void *arg);

static _Atomic uint64_t last_id;

/* A status with a line of text, and with a field if there is memory for one: else there may be enough for a status. */
static int reply_with(struct weir_req *req, int status, const char *name, const char *value,
                      const char *text)
{
    struct weir_fields *fields = NULL;
    char line[128];
    int len = snprintf(line, sizeof(line), "%s\n", text);
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str(name), weir_str(value));
    }
    r = weir_reply_bytes(req, status, r == 0 ? fields : NULL, "text/plain; charset=utf-8",
                         weir_bytes(line, (size_t)len));
    weir_fields_destroy(fields);
    return r;
}

/* What the client is told of a handler that failed, or that made no reply. */
static int reply_failure(struct weir_req *req, int r)
{
    int status = r < 0 ? weir_err_status(r) : 500;
    const char *text = r < 0 ? weir_strerror(r) : "no reply was made";

    if (r == WEIR_ECANCELED && req->cancel_status != 0) {
        status = req->cancel_status;
        text = weir_strerror(WEIR_ETIMEDOUT);
    }
    if (r == WEIR_EUNSUPPORTED && req->unread == WEIR__UNREAD_CODING) {
        /* RFC 9110 15.5.16, 12.5.3: with what would do */
        return reply_with(req, 415, "Accept-Encoding", "zstd, br, gzip, deflate",
                          "this Content-Encoding is not supported");
    }
    if (r == WEIR_EUNSUPPORTED && req->unread == WEIR__UNREAD_TYPE) {
        return weir_reply_text(req, 415, "this Content-Type is not supported\n");
    }
    if (status == 503) {
        /* For want of room: a client may well try again (RFC 9110 10.2.3). */
        return reply_with(req, 503, "Retry-After", "1", text);
    }
    return weir_reply_text(req, status, "%s\n", text);
}

void weir__req_conclude(struct weir_req *req, int r, bool last)
{
    struct weir__stream *stream = req->stream;

    req->kept = false;
    if (!stream->begun && stream->gone == WEIR_REASON_NONE) {
        WEIR_IGNORE(reply_failure(req, r));
    }
    /* Every reply is over by an end or an abort, also one for which there was no memory to begin it. */
    if ((last || stream->begun) && stream->out.final != 0 && !stream->out.aborted) {
        weir_abort(&stream->out, WEIR_REASON_HANDLER);
    }
}

struct weir__every {
    struct weir__timer timer;
    struct weir__loop *loop;
    void (*fn)(void *arg);
    void *arg;
    int64_t period_us;
};

static void every_fired(struct weir__timer *timer)
{
    struct weir__every *every = weir_list_entry(timer, struct weir__every, timer);

    WEIR_IGNORE(
        weir__timer_start(&every->loop->timers, timer, every->loop->now_us + every->period_us));
    every->fn(every->arg);
}

static void every_stop(struct weir_req *req)
{
    if (req->every != NULL) {
        weir__timer_remove(&req->every->loop->timers, &req->every->timer);
        weir_free(req->every);
        req->every = NULL;
    }
}

/* ---- when the client leaves ---- */

static void call_back(void *arg)
{
    struct weir__disconnect *disconnect = arg;

    disconnect->fn(disconnect->arg);
}

/* On the loop's own stack, which is large, as for every callback. */
static void fire(struct weir__disconnect *disconnect)
{
    if (!disconnect->fired) {
        disconnect->fired = true;
        weir__fiber_call_on_loop(call_back, disconnect);
    }
}

WEIR__RELAY_3(int, relay_on_disconnect, weir_on_disconnect, struct weir_req *, callback_fn *,
              void *)

int weir_on_disconnect(struct weir_req *req, void (*fn)(void *arg), void *arg)
{
    if (weir__relay_here != NULL) {
        return relay_on_disconnect(req, fn, arg);
    }

    struct weir__disconnect *disconnect = &req->disconnect_first;

    weir_check(req, REQ_MAGIC);
    if (fn == NULL) {
        return WEIR_EINVAL;
    }
    if (req->disconnect != NULL) {
        disconnect = weir_alloc(sizeof(*disconnect));
        if (disconnect == NULL) {
            return WEIR_ENOMEM;
        }
    }
    *disconnect = (struct weir__disconnect){req->disconnect, fn, arg, false};
    req->disconnect = disconnect;
    if (req->deserted) {
        fire(disconnect);
    }
    return 0;
}

WEIR__RELAY_1(int, relay_off_disconnect, weir_off_disconnect, struct weir_req *)

int weir_off_disconnect(struct weir_req *req)
{
    if (weir__relay_here != NULL) {
        return relay_off_disconnect(req);
    }

    struct weir__disconnect *disconnect = req->disconnect;
    bool fired;

    weir_check(req, REQ_MAGIC);
    if (disconnect == NULL) {
        return WEIR_ESTATE;
    }
    fired = disconnect->fired;
    req->disconnect = disconnect->outer;
    if (disconnect != &req->disconnect_first) {
        weir_free(disconnect);
    }
    return fired;
}

static void req_main(void *arg)
{
    struct weir_req *req = arg;
    struct weir__fiber *fiber = weir__fiber_current();
    int r;

    req->magic = REQ_MAGIC;
    req->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
    req->stream->owner = req;
    req->stream->on_gone = weir__req_gone;
    req->stream->in_declared = req->body_length;
    fiber->scope = &req->scope;
    fiber->stall = &req->stream->clock;
    weir__scope_init(&req->scope, fiber);
    if (req->stream->gone != WEIR_REASON_NONE) {
        weir__req_gone(req->stream);
    }
    r = req->handler(req, req->arg);
    while (req->disconnect != NULL) {
        WEIR_IGNORE(weir_off_disconnect(req));
    }
    weir__shield_begin();
    weir__source_drop_ahead(&req->stream->body);
    req->filters = NULL; /* they lay on frames that are gone */
    weir__req_conclude(req, r, true);
    every_stop(req);
    weir__scope_stop(&req->scope);
    req->scope.owner = NULL;
    weir__scope_finish(&req->scope);
    weir__sse_destroy(req->sse); /* whatever was deferred may still have held its sink */
    req->sse = NULL;
    fiber->scope = NULL;
    fiber->stall = NULL;
    req->magic = 0;
    req->stream->owner = NULL;
    weir_fields_destroy(req->fields);
    req->fields = NULL;
    if (req->stream->clock.running) {
        weir__stall_end(&req->stream->clock, weir__loop_clock_us(req->stream->loop));
    }
    req->finished(req);
}

int weir__req_start(const struct weir_req *given)
{
    /* The stream may be older than its request: a connection that waited for one has no part in these times. */
    weir__stall_begin(&given->stream->clock, WEIR__STALL_WAIT_SOURCE, given->arrived_us);
    return weir__fiber_start_with(given->stream->loop, req_main, given, sizeof(*given));
}

void weir__req_gone(struct weir__stream *stream)
{
    struct weir_req *req = stream->owner;

    if (req != NULL && req->magic == REQ_MAGIC && req->scope.magic != 0) {
        req->deserted = !stream->ended && !stream->broken_off;
        weir_scope_cancel(&req->scope);
        for (struct weir__disconnect *at = req->disconnect; req->deserted && at != NULL;
             at = at->outer) {
            fire(at);
        }
    }
}

/* ---- what a handler may ask ---- */

struct weir_view weir_req_method(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->method;
}

struct weir_view weir_req_target(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->target;
}

/* The target without scheme and authority (RFC 9112 3.2.2). */
static struct weir_view origin_form(struct weir_view target)
{
    static const char mark[] = "://";

    if (target.len == 0 || target.data[0] == '/' || target.data[0] == '*') {
        return target;
    }
    for (size_t i = 0; i + 3 <= target.len; i++) {
        if (memcmp(target.data + i, mark, 3) == 0) {
            struct weir_view rest = weir_bytes(target.data + i + 3, target.len - i - 3);

            while (rest.len > 0 && rest.data[0] != '/' && rest.data[0] != '?') {
                rest.data++;
                rest.len--;
            }
            return rest;
        }
    }
    return weir_bytes(target.data, 0);
}

struct weir_view weir_req_path(struct weir_req *req)
{
    struct weir_view path = origin_form(weir_req_target(req));
    const uint8_t *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;

    if (mark != NULL) {
        path.len = (size_t)(mark - path.data);
    }
    return path.len > 0 ? path : weir_str("/");
}

struct weir_view weir_req_query(struct weir_req *req)
{
    struct weir_view all = weir_req_target(req);
    const uint8_t *mark = all.len > 0 ? memchr(all.data, '?', all.len) : NULL;

    return mark != NULL ? weir_bytes(mark + 1, all.len - (size_t)(mark - all.data) - 1)
                        : weir_bytes(NULL, 0);
}

struct weir_view weir_req_authority(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->authority;
}

struct weir_fields *weir_req_fields(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->fields;
}

struct weir_view weir_req_field(struct weir_req *req, const char *name)
{
    return weir_fields_get(weir_req_fields(req), weir_str(name));
}

uint64_t weir_req_query_u64(struct weir_req *req, const char *name, uint64_t otherwise)
{
    struct weir_view query = weir_req_query(req);
    size_t name_len = strlen(name);

    while (query.len > 0) {
        const uint8_t *next = memchr(query.data, '&', query.len);
        size_t len = next != NULL ? (size_t)(next - query.data) : query.len;
        uint64_t value;

        if (len > name_len && query.data[name_len] == '=' &&
            memcmp(query.data, name, name_len) == 0 &&
            weir_view_to_u64(weir_bytes(query.data + name_len + 1, len - name_len - 1), &value) ==
                0) {
            return value;
        }
        len += next != NULL;
        query.data += len;
        query.len -= len;
    }
    return otherwise;
}

const char *weir_req_protocol(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->is_http10 ? "HTTP/1.0" : req->stream->ops->name;
}

WEIR__RELAY_1(struct weir_view, relay_req_peer, weir_req_peer, struct weir_req *)

struct weir_view weir_req_peer(struct weir_req *req)
{
    if (weir__relay_here != NULL) {
        return relay_req_peer(req);
    }
    weir_check(req, REQ_MAGIC);
    return req->peer(req);
}

uint64_t weir_req_id(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->id;
}

void weir_req_drop_head(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    weir_fields_destroy(req->fields);
    req->fields = NULL;
    req->method = req->target = req->authority = weir_bytes(NULL, 0);
}

struct weir_source *weir_req_body(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return &req->stream->body;
}

bool weir_req_has_body(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->body_length > 0;
}

uint64_t weir_req_body_length(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->body_length;
}

WEIR__RELAY_1(struct weir_fields *, relay_req_trailers, weir_req_trailers, struct weir_req *)

struct weir_fields *weir_req_trailers(struct weir_req *req)
{
    if (weir__relay_here != NULL) {
        return relay_req_trailers(req);
    }
    weir_check(req, REQ_MAGIC);
    return req->stream->trailers;
}

WEIR__RELAY_2(int, relay_req_limit_body, weir_req_limit_body, struct weir_req *, uint64_t)

int weir_req_limit_body(struct weir_req *req, uint64_t max_bytes)
{
    if (weir__relay_here != NULL) {
        return relay_req_limit_body(req, max_bytes);
    }
    weir_check(req, REQ_MAGIC);
    req->stream->in_limit = max_bytes;
    return req->body_length != WEIR_LENGTH_UNKNOWN && req->body_length > max_bytes ? WEIR_ELIMIT
                                                                                   : 0;
}

WEIR__RELAY_2(bool, relay_req_gone, weir_req_gone, struct weir_req *, enum weir_reason *)

bool weir_req_gone(struct weir_req *req, enum weir_reason *ret)
{
    if (weir__relay_here != NULL) {
        return relay_req_gone(req, ret);
    }
    weir_check(req, REQ_MAGIC);
    if (ret != NULL) {
        *ret = (enum weir_reason)req->stream->gone;
    }
    return req->stream->gone != WEIR_REASON_NONE;
}

bool weir_req_is_begun(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->stream->begun || req->kept;
}

/* ---- what an observer may ask ---- */

static void copy_stall(const struct weir__stall *clock, int64_t now_us, struct weir_stall *ret)
{
    *ret = (struct weir_stall){
        .moving_us = weir__stall_spent(clock, WEIR__STALL_MOVING, now_us),
        .wait_source_us = weir__stall_spent(clock, WEIR__STALL_WAIT_SOURCE, now_us),
        .stream_window_us = weir__stall_spent(clock, WEIR__STALL_STREAM_WINDOW, now_us),
        .conn_window_us = weir__stall_spent(clock, WEIR__STALL_CONN_WINDOW, now_us),
        .socket_us = weir__stall_spent(clock, WEIR__STALL_SOCKET, now_us),
        .shaped_us = weir__stall_spent(clock, WEIR__STALL_SHAPED, now_us),
        .held_us = weir__stall_spent(clock, WEIR__STALL_HELD, now_us),
        .wall_us = (clock->running ? now_us : clock->since_us) - clock->begun_us,
    };
}

void weir__stream_stall(struct weir__stream *stream, struct weir_stall *ret)
{
    copy_stall(&stream->clock, weir__loop_clock_us(stream->loop), ret);
}

WEIR__RELAY_VOID_2(relay_req_stall, weir_req_stall, struct weir_req *, struct weir_stall *)

void weir_req_stall(struct weir_req *req, struct weir_stall *ret)
{
    if (weir__relay_here != NULL) {
        relay_req_stall(req, ret);
        return;
    }
    weir_check(req, REQ_MAGIC);
    weir__stream_stall(req->stream, ret);
}

WEIR__RELAY_VOID_2(relay_req_hold, weir_req_hold, struct weir_req *, bool)

void weir_req_hold(struct weir_req *req, bool held)
{
    if (weir__relay_here != NULL) {
        relay_req_hold(req, held);
        return;
    }
    weir_check(req, REQ_MAGIC);
    weir__stall_enter(&req->stream->clock, held ? WEIR__STALL_HELD : WEIR__STALL_WAIT_SOURCE,
                      weir__loop_clock_us(req->stream->loop));
}

WEIR__RELAY_VOID_2(relay_req_traffic, weir_req_traffic, struct weir_req *, struct weir_traffic *)

void weir_req_traffic(struct weir_req *req, struct weir_traffic *ret)
{
    if (weir__relay_here != NULL) {
        relay_req_traffic(req, ret);
        return;
    }
    weir_check(req, REQ_MAGIC);
    req->stream->ops->traffic(req->stream, &ret->received, &ret->sent);
}

int64_t weir_clock_us(void)
{
    struct weir__loop *loop = weir__loop_current();

    return loop != NULL ? weir__loop_clock_us(loop) : weir__clock_us(NULL);
}

int64_t weir_req_arrived_us(struct weir_req *req)
{
    weir_check(req, REQ_MAGIC);
    return req->arrived_us;
}

WEIR__RELAY_4(int, relay_req_every, weir_req_every, struct weir_req *, int64_t, callback_fn *,
              void *)

int weir_req_every(struct weir_req *req, int64_t period_ms, void (*fn)(void *arg), void *arg)
{
    if (weir__relay_here != NULL) {
        return relay_req_every(req, period_ms, fn, arg);
    }

    struct weir__every *every;
    struct weir__loop *loop;

    weir_check(req, REQ_MAGIC);
    if (period_ms < 1 || period_ms > INT64_MAX / 2000) {
        return WEIR_EINVAL;
    }
    every_stop(req);
    every = weir_alloc(sizeof(*every));
    if (every == NULL) {
        return WEIR_ENOMEM;
    }
    loop = req->stream->loop;
    *every =
        (struct weir__every){.loop = loop, .fn = fn, .arg = arg, .period_us = period_ms * 1000};
    weir__timer_init(&every->timer, every_fired);
    req->every = every;
    return weir__timer_start(&loop->timers, &every->timer, loop->now_us + every->period_us);
}
