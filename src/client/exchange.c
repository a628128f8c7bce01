/* SPDX-License-Identifier: MIT */
/*
 * One request and its response. An exchange holds a connection from open to destroy; a cancel of the fiber's scope
 * closes that connection at once, whatever is going on. Invariant: `conn` is NULL only after a failed open or retry.
 */
#include <weir/experimental/observe.h>
#include <weir/http.h>
#include <weir/rt.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "client/client.h"
#include "net/dial.h"
#include "rt/scope.h"

#include <unistd.h>

#define EXCHANGE_MAGIC 0x78636867u
#define MAX_INTERIM 32 /* 1xx heads before a final one */

struct weir_exchange {
    uint32_t magic;
    struct weir_client *client;
    struct weir__client_conn *conn;
    const struct weir_exchange_opts *opts; /* the caller's, until the response's head has come */
    struct weir_fields *fields;
    struct weir_view reason;
    uint64_t length;
    int status;
    uint8_t interim, method_kind;
    bool cancelled, reused, has_body, got_head;
    struct weir__cancel_hook hook;
    struct weir_error error;
};

enum { METHOD_OTHER, METHOD_HEAD, METHOD_CONNECT };

static int fail(struct weir_exchange *exchange, int code, enum weir_reason reason, int native,
                const char *where)
{
    exchange->error = (struct weir_error){
        .code = code, .side = WEIR_SIDE_SOURCE, .reason = reason, .native = native, .where = where};
    return code;
}

/* ---- connecting and sending ---- */

static int dial(struct weir_exchange *exchange, struct weir__origin *origin, int64_t deadline_us)
{
    struct weir__dial_opts opts = {
        .host = weir_str(origin->host), .port = origin->port, .deadline_us = deadline_us};
    struct weir_error error = {0};
    int fd = -1;
    int r = weir__origin_enter(origin, exchange->client->opts.max_connections, deadline_us,
                               &exchange->conn);

    if (r < 0) {
        return fail(exchange, r, r == WEIR_ECANCELED ? WEIR_REASON_CANCELED : WEIR_REASON_LIMIT, 0,
                    "connection limit");
    }
    if (exchange->conn != NULL) {
        exchange->reused = true;
        return 0;
    }
    r = weir__dial(&opts, &fd, &error);
    if (r < 0) {
        weir__origin_leave(origin);
        exchange->error = error;
        exchange->error.code = r;
        if (r == WEIR_ETIMEDOUT) {
            exchange->error.reason = WEIR_REASON_TIMEOUT;
        }
        return r;
    }
    r = weir__pool_open_take(exchange->client, origin, fd, &exchange->conn);
    if (r < 0) {
        weir__origin_leave(origin);
        return fail(exchange, r, WEIR_REASON_NONE, 0, "connect");
    }
    return 0;
}

static int connect_to(struct weir_exchange *exchange, const struct weir_exchange_opts *opts,
                      bool fresh)
{
    struct weir__loop *loop = weir__loop_current();
    int64_t timeout_ms = exchange->client->opts.dial_timeout_ms;
    int64_t deadline_us = timeout_ms == 0 ? WEIR__NEVER : loop->now_us + timeout_ms * 1000;
    struct weir__origin *origin;
    int r = weir__origin_find(exchange->client, opts->host, opts->port, &origin);

    if (r < 0) {
        return fail(exchange, r, WEIR_REASON_NONE, 0, "origin");
    }
    exchange->conn = fresh ? NULL : weir__pool_take(exchange->client, origin, exchange->has_body);
    exchange->reused = exchange->conn != NULL;
    r = exchange->conn != NULL ? 0 : dial(exchange, origin, deadline_us);
    if (r == 0) {
        exchange->conn->exchanges++;
        weir__h1_wire_next(&exchange->conn->wire, &exchange->client->limits);
    }
    return r;
}

static int send_head(struct weir_exchange *exchange, const struct weir_exchange_opts *opts)
{
    struct weir__stream *stream = &exchange->conn->wire.stream;
    struct weir__head head = {
        .method = opts->method,
        .target = opts->target,
        .fields = opts->fields,
        .length = opts->body_length,
        .no_body = !opts->has_body,
    };
    int r = weir__stream_begin(stream, &head);

    if (r == 0 && !opts->has_body) {
        r = weir_end(&stream->out, NULL);
    }
    return r;
}

static void cancelled(struct weir__cancel_hook *hook)
{
    struct weir_exchange *exchange = weir_list_entry(hook, struct weir_exchange, hook);

    exchange->cancelled = true;
    if (exchange->conn != NULL) {
        struct weir__h1_wire *wire = &exchange->conn->wire;

        wire->keep = false;
        weir__tcp_close(&wire->tcp);
        weir__stream_gone(&wire->stream, WEIR_REASON_CANCELED, 0);
    }
}

static uint8_t kind_of(struct weir_view method)
{
    return weir_view_equal(method, weir_str("HEAD"))      ? METHOD_HEAD
           : weir_view_equal(method, weir_str("CONNECT")) ? METHOD_CONNECT
                                                          : METHOD_OTHER;
}

int weir_exchange_open(struct weir_client *client, const struct weir_exchange_opts *opts,
                       struct weir_exchange **ret, struct weir_error *error)
{
    struct weir_exchange *exchange;
    int r;

    if (client == NULL || opts->method.len == 0 || opts->target.len == 0) {
        return WEIR_EINVAL;
    }
    exchange = weir_alloc0(sizeof(*exchange));
    if (exchange == NULL) {
        return WEIR_ENOMEM;
    }
    exchange->magic = EXCHANGE_MAGIC;
    exchange->client = client;
    exchange->has_body = opts->has_body;
    exchange->method_kind = kind_of(opts->method);
    exchange->length = WEIR_LENGTH_UNKNOWN;
    weir__cancel_hook_add(&exchange->hook, cancelled);
    exchange->opts = opts;
    r = exchange->cancelled ? fail(exchange, WEIR_ECANCELED, WEIR_REASON_CANCELED, 0, "connect")
                            : connect_to(exchange, opts, false);
    if (r == 0) {
        r = send_head(exchange, opts);
        if (r == WEIR_ERESET || (r < 0 && exchange->reused)) {
            r = 0; /* the response, or a second try, tells */
        } else if (r < 0) {
            weir_sink_error(&exchange->conn->wire.stream.out, &exchange->error);
        }
    }
    if (r < 0) {
        if (error != NULL) {
            *error = exchange->error;
            error->code = r;
        }
        weir_exchange_destroy(exchange);
        return r;
    }
    *ret = exchange;
    return 0;
}

struct weir_sink *weir_exchange_sink(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->has_body ? &exchange->conn->wire.stream.out : NULL;
}

/* ---- the response's head ---- */

static bool is_idempotent(struct weir_view method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (weir_view_equal(method, weir_str(names[i]))) {
            return true;
        }
    }
    return false;
}

/*
 * A pooled connection that died before it said a word, or said what belongs to the answer before: once more, on a fresh
 * one (RFC 9110 9.2.2).
 */
static bool may_retry(struct weir_exchange *exchange, int r)
{
    struct weir__h1_wire *wire = &exchange->conn->wire;
    bool is_mute = wire->in == NULL && wire->tcp.received == wire->received_before;

    return exchange->reused && !exchange->cancelled && exchange->interim == 0 &&
           !exchange->has_body && (is_mute || r == WEIR_EPROTO) &&
           is_idempotent(exchange->opts->method);
}

static int retry(struct weir_exchange *exchange)
{
    int r;

    weir__pool_close(exchange->conn);
    exchange->conn = NULL;
    r = connect_to(exchange, exchange->opts, true);
    return r == 0 ? send_head(exchange, exchange->opts) : r;
}

/* How long the response may still take; the clock stands while the request's body is on its way. */
static int wait_head(struct weir_exchange *exchange)
{
    struct weir__stream *stream = &exchange->conn->wire.stream;
    int64_t timeout_ms = exchange->client->opts.head_timeout_ms;
    int64_t left_ms = timeout_ms;

    if (timeout_ms > 0 && !stream->clock.running) {
        left_ms = timeout_ms - (weir__loop_clock_us(stream->loop) - stream->clock.since_us) / 1000;
        if (left_ms <= 0) {
            return WEIR_ETIMEDOUT;
        }
    }
    return weir__stream_wait_read(stream, -1, left_ms);
}

static int head_failed(struct weir_exchange *exchange, int r)
{
    struct weir__h1_wire *wire = &exchange->conn->wire;

    if (exchange->cancelled) {
        return fail(exchange, WEIR_ECANCELED, WEIR_REASON_CANCELED, 0, "response head");
    }
    switch (r) {
    case 0:
        return fail(exchange, WEIR_ECLOSED, WEIR_REASON_FIN, 0, "response head");
    case WEIR_ETIMEDOUT:
        return fail(exchange, r, WEIR_REASON_TIMEOUT, 0, "response head");
    case WEIR_ERESET:
        return fail(exchange, r, WEIR_REASON_RESET, wire->tcp.native, "response head");
    case WEIR_EPROTO:
        return fail(exchange, r, WEIR_REASON_PROTOCOL, 0, "response head");
    case WEIR_ELIMIT:
    case WEIR_EBUDGET:
        return fail(exchange, r, WEIR_REASON_LIMIT, 0, "response head");
    default:
        return fail(exchange, r, WEIR_REASON_NONE, wire->tcp.native, "response head");
    }
}

static int read_head(struct weir_exchange *exchange, struct weir__h1_response *ret)
{
    static const char *const methods[] = {"GET", "HEAD", "CONNECT"};
    struct weir__h1_limits limits = {0, exchange->client->opts.head_bytes,
                                     exchange->client->opts.max_fields};

    for (;;) {
        struct weir__h1_wire *wire = &exchange->conn->wire;
        int r = exchange->cancelled
                    ? WEIR_ECANCELED
                    : weir__h1_client_head(wire, &limits, weir_str(methods[exchange->method_kind]),
                                           ret);

        if (r == WEIR_EAGAIN && wire->stream.gone != WEIR_REASON_NONE) {
            r = weir__gone_code((enum weir_reason)wire->stream.gone);
        }
        if (r == 1) {
            return 1;
        }
        if (r == WEIR_EAGAIN) {
            r = wait_head(exchange);
            if (r == 0 || r == WEIR_ESTALLED) {
                continue; /* the clock is read anew */
            }
        } else if (r != WEIR_ECANCELED && may_retry(exchange, r)) {
            r = retry(exchange);
            if (r == 0) {
                continue;
            }
            return exchange->error.code != 0 ? r : fail(exchange, r, WEIR_REASON_NONE, 0, "retry");
        }
        return head_failed(exchange, r);
    }
}

int weir_exchange_head(struct weir_exchange *exchange, struct weir_error *error)
{
    struct weir__h1_response response;
    struct weir__h1_wire *wire;
    int r;

    weir_check(exchange, EXCHANGE_MAGIC);
    if (exchange->got_head || exchange->error.code != 0 || exchange->conn == NULL) {
        return exchange->error.code != 0 ? exchange->error.code : WEIR_ESTATE;
    }
    r = read_head(exchange, &response);
    if (r == 1 &&
        (response.status == 101 || (response.status < 200 && exchange->interim >= MAX_INTERIM))) {
        /* Nobody asked for an upgrade, and nobody waits for ever. */
        weir_fields_destroy(response.fields);
        r = fail(exchange, WEIR_EPROTO, WEIR_REASON_PROTOCOL, 0, "response head");
    }
    if (r < 0) {
        if (exchange->conn != NULL) {
            exchange->conn->wire.keep = false;
        }
        if (error != NULL) {
            *error = exchange->error;
        }
        return r;
    }
    weir_exchange_drop_head(exchange);
    exchange->status = response.status;
    exchange->fields = response.fields;
    exchange->reason = response.reason;
    if (response.status < 200) {
        exchange->interim++;
        return 1;
    }
    wire = &exchange->conn->wire;
    exchange->got_head = true;
    exchange->opts = NULL;
    wire->keep = wire->keep && response.keep;
    exchange->length = response.framing == WEIR__H1_UNTIL_CLOSE ? WEIR_LENGTH_UNTIL_CLOSE
                       : response.framing == WEIR__H1_CHUNKED   ? WEIR_LENGTH_UNKNOWN
                                                                : response.length;
    weir__h1_wire_expect_body(wire, response.framing, response.length);
    return 0;
}

int weir_exchange_status(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->status;
}

struct weir_view weir_exchange_reason(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->reason;
}

struct weir_fields *weir_exchange_fields(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->fields;
}

void weir_exchange_drop_head(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    weir_fields_destroy(exchange->fields);
    exchange->fields = NULL;
    exchange->reason = weir_bytes(NULL, 0);
}

uint64_t weir_exchange_length(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->length;
}

struct weir_source *weir_exchange_body(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return &exchange->conn->wire.stream.body;
}

struct weir_fields *weir_exchange_trailers(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->conn->wire.stream.trailers;
}

void weir_exchange_destroy(struct weir_exchange *exchange)
{
    if (exchange == NULL) {
        return;
    }
    weir_check(exchange, EXCHANGE_MAGIC);
    weir__cancel_hook_remove(&exchange->hook);
    weir_exchange_drop_head(exchange);
    if (exchange->conn != NULL) {
        if (exchange->got_head) {
            weir__pool_put(exchange->conn);
        } else {
            weir__pool_close(exchange->conn);
        }
    }
    exchange->magic = 0;
    weir_free(exchange);
}

void weir_exchange_destroyp(struct weir_exchange **exchange)
{
    weir_exchange_destroy(*exchange);
    *exchange = NULL;
}

/* ---- what an observer may ask ---- */

void weir_exchange_stall(struct weir_exchange *exchange, struct weir_stall *ret)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    *ret = (struct weir_stall){0};
    if (exchange->conn != NULL) {
        weir__stream_stall(&exchange->conn->wire.stream, ret);
    }
}

void weir_exchange_traffic(struct weir_exchange *exchange, struct weir_traffic *ret)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    *ret = (struct weir_traffic){0};
    if (exchange->conn != NULL) {
        struct weir__stream *stream = &exchange->conn->wire.stream;

        stream->ops->traffic(stream, &ret->received, &ret->sent);
    }
}

int64_t weir_exchange_first_byte_us(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->conn != NULL ? exchange->conn->wire.stream.first_byte_us : 0;
}

bool weir_exchange_is_reused(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->reused;
}
