/* SPDX-License-Identifier: MIT */
/*
 * One request and its response, on any protocol's stream. An exchange holds the stream from open to destroy; a cancel of
 * the fiber's scope closes it at once, whatever is going on. Invariant: `stream` is NULL only after a failed open or
 * retry.
 */
#include <weir/experimental/observe.h>
#include <weir/http.h>
#include <weir/rt.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "client/client.h"
#include "rt/relay.h"
#include "rt/scope.h"

#define EXCHANGE_MAGIC 0x78636867u
#define MAX_INTERIM 32 /* 1xx heads before a final one */

struct weir_exchange {
    uint32_t magic;
    struct weir_client *client;
    struct weir__stream *stream;
    const struct weir_exchange_opts *opts; /* the caller's, until the response's head has come */
    struct weir_fields *fields;
    struct weir_view reason;
    uint64_t length;
    int status;
    uint8_t interim;
    bool cancelled, reused, has_body, got_head;
    struct weir__cancel_hook hook;
    struct weir_error error;
};

static int fail(struct weir_exchange *exchange, int code, enum weir_reason reason, int native,
                const char *where)
{
    exchange->error = (struct weir_error){
        .code = code, .side = WEIR_SIDE_SOURCE, .reason = reason, .native = native, .where = where};
    return code;
}

/* ---- connecting and sending ---- */

static int connect_to(struct weir_exchange *exchange, const struct weir_exchange_opts *opts,
                      bool fresh)
{
    struct weir_client *client = exchange->client;
    struct weir__carrier_want want = {
        .host = opts->host, .port = opts->port, .fresh = fresh, .sure = exchange->has_body};

    return client->carrier->take(client->carrier_arg, &want, &exchange->stream, &exchange->reused,
                                 &exchange->error);
}

static void close_stream(struct weir_exchange *exchange)
{
    exchange->client->carrier->close(exchange->client->carrier_arg, exchange->stream);
    exchange->stream = NULL;
}

static int send_head(struct weir_exchange *exchange, const struct weir_exchange_opts *opts)
{
    struct weir__stream *stream = exchange->stream;
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
    if (exchange->stream != NULL) {
        exchange->stream->ops->leave(exchange->stream);
        weir__stream_gone(exchange->stream, WEIR_REASON_CANCELED, 0);
    }
}

WEIR__RELAY_4(int, relay_exchange_open, weir_exchange_open, struct weir_client *,
              const struct weir_exchange_opts *, struct weir_exchange **, struct weir_error *)

int weir_exchange_open(struct weir_client *client, const struct weir_exchange_opts *opts,
                       struct weir_exchange **ret, struct weir_error *error)
{
    if (weir__relay_here != NULL) {
        return relay_exchange_open(client, opts, ret, error);
    }

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
            weir_sink_error(&exchange->stream->out, &exchange->error);
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
    return exchange->has_body ? &exchange->stream->out : NULL;
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
    uint64_t received, sent;

    if (!exchange->reused || exchange->cancelled || exchange->interim > 0 || exchange->has_body) {
        return false;
    }
    exchange->stream->ops->traffic(exchange->stream, &received, &sent);
    return (received == 0 || r == WEIR_EPROTO) && is_idempotent(exchange->opts->method);
}

static int retry(struct weir_exchange *exchange)
{
    int r;

    close_stream(exchange);
    r = connect_to(exchange, exchange->opts, true);
    return r == 0 ? send_head(exchange, exchange->opts) : r;
}

/* How long the response may still take; the clock stands while the request's body is on its way. */
static int wait_head(struct weir_exchange *exchange)
{
    struct weir__stream *stream = exchange->stream;
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
    int native = exchange->stream->native;

    if (exchange->cancelled) {
        return fail(exchange, WEIR_ECANCELED, WEIR_REASON_CANCELED, 0, "response head");
    }
    switch (r) {
    case 0:
        return fail(exchange, WEIR_ECLOSED, WEIR_REASON_FIN, 0, "response head");
    case WEIR_ETIMEDOUT:
        return fail(exchange, r, WEIR_REASON_TIMEOUT, 0, "response head");
    case WEIR_ERESET:
        return fail(exchange, r, WEIR_REASON_RESET, native, "response head");
    case WEIR_EPROTO:
        return fail(exchange, r, WEIR_REASON_PROTOCOL, 0, "response head");
    case WEIR_ELIMIT:
    case WEIR_EBUDGET:
        return fail(exchange, r, WEIR_REASON_LIMIT, 0, "response head");
    default:
        return fail(exchange, r, WEIR_REASON_NONE, native, "response head");
    }
}

static int read_head(struct weir_exchange *exchange, struct weir__response *ret)
{
    for (;;) {
        struct weir__stream *stream = exchange->stream;
        int r = exchange->cancelled ? WEIR_ECANCELED : stream->ops->head(stream, ret);

        if (r == WEIR_EAGAIN && stream->gone != WEIR_REASON_NONE) {
            r = weir__gone_code((enum weir_reason)stream->gone);
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

WEIR__RELAY_2(int, relay_exchange_head, weir_exchange_head, struct weir_exchange *,
              struct weir_error *)

int weir_exchange_head(struct weir_exchange *exchange, struct weir_error *error)
{
    if (weir__relay_here != NULL) {
        return relay_exchange_head(exchange, error);
    }

    struct weir__response response;
    int r;

    weir_check(exchange, EXCHANGE_MAGIC);
    if (exchange->got_head || exchange->error.code != 0 || exchange->stream == NULL) {
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
    exchange->got_head = true;
    exchange->opts = NULL;
    exchange->length = response.length;
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
    return &exchange->stream->body;
}

struct weir_fields *weir_exchange_trailers(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->stream->trailers;
}

WEIR__RELAY_VOID_1(relay_exchange_destroy, weir_exchange_destroy, struct weir_exchange *)

void weir_exchange_destroy(struct weir_exchange *exchange)
{
    if (weir__relay_here != NULL) {
        relay_exchange_destroy(exchange);
        return;
    }
    if (exchange == NULL) {
        return;
    }
    weir_check(exchange, EXCHANGE_MAGIC);
    weir__cancel_hook_remove(&exchange->hook);
    weir_exchange_drop_head(exchange);
    if (exchange->stream != NULL) {
        weir__source_drop_ahead(&exchange->stream->body);
    }
    if (exchange->stream != NULL && exchange->got_head) {
        exchange->client->carrier->put(exchange->client->carrier_arg, exchange->stream);
    } else if (exchange->stream != NULL) {
        close_stream(exchange);
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

WEIR__RELAY_VOID_2(relay_exchange_stall, weir_exchange_stall, struct weir_exchange *,
                   struct weir_stall *)

void weir_exchange_stall(struct weir_exchange *exchange, struct weir_stall *ret)
{
    if (weir__relay_here != NULL) {
        relay_exchange_stall(exchange, ret);
        return;
    }
    weir_check(exchange, EXCHANGE_MAGIC);
    *ret = (struct weir_stall){0};
    if (exchange->stream != NULL) {
        weir__stream_stall(exchange->stream, ret);
    }
}

WEIR__RELAY_VOID_2(relay_exchange_traffic, weir_exchange_traffic, struct weir_exchange *,
                   struct weir_traffic *)

void weir_exchange_traffic(struct weir_exchange *exchange, struct weir_traffic *ret)
{
    if (weir__relay_here != NULL) {
        relay_exchange_traffic(exchange, ret);
        return;
    }
    weir_check(exchange, EXCHANGE_MAGIC);
    *ret = (struct weir_traffic){0};
    if (exchange->stream != NULL) {
        exchange->stream->ops->traffic(exchange->stream, &ret->received, &ret->sent);
    }
}

int64_t weir_exchange_first_byte_us(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->stream != NULL ? exchange->stream->first_byte_us : 0;
}

bool weir_exchange_is_reused(struct weir_exchange *exchange)
{
    weir_check(exchange, EXCHANGE_MAGIC);
    return exchange->reused;
}
