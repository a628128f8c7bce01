/* SPDX-License-Identifier: MIT */
/*
 * The way of one request: may it pass, to the upstream, its body behind it, the answer's head at once, then one pipe.
 * A failure before the head becomes an answer of ours; after it the client sees a broken body, never a clean end.
 * Whoever leaves ends the rest: the client's leave cancels the request's scope, which closes the upstream connection.
 */
#include "gateway.h"

#include <weir/channel.h>
#include <weir/experimental/observe.h>

#include "errors.h"
#include "forward.h"
#include "journal.h"

#define CONTINUE_AFTER_MS \
    1000 /* an upstream that says nothing to Expect gets the body all the same */

/* The request's body on its way up, in a fiber of its own. */
struct uplink {
    struct weir_req *req;
    struct weir_exchange *exchange;
    struct weir_scope *scope;
    struct weir_channel *go; /* closed when the upstream has said 100; NULL: no need to wait */
    struct weir_pipe_result result;
    bool started;
};

/* ---- answers of our own ---- */

__attribute__((noinline)) static int answer(struct gw_journal *journal)
{
    struct gw_error *verdict = &journal->verdict;
    struct weir_fields *fields = NULL;
    char text[GW_ERROR_TEXT_BYTES];
    char proxy_status[128];
    size_t len;
    int r;

    if (verdict->status == 499 || weir_req_gone(journal->req, NULL)) {
        journal->status = 499; /* nobody is there to read it */
        return 0;
    }
    len = gw_error_body(verdict, text, sizeof(text));
    r = weir_fields_create(&fields);
    if (r == 0 && gw_error_proxy_status(verdict, proxy_status, sizeof(proxy_status)) > 0) {
        r = weir_fields_add(fields, weir_str("Proxy-Status"), weir_str(proxy_status));
    }
    if (r == 0 && verdict->www_authenticate != NULL) {
        r = weir_fields_add_borrowed(fields, weir_str("WWW-Authenticate"),
                                     weir_str(verdict->www_authenticate));
    }
    if (r == 0 && verdict->retry_after_s > 0) {
        r = weir_fields_add_borrowed(fields, weir_str("Retry-After"), weir_str("1"));
    }
    if (r == 0) {
        journal->status = verdict->status;
        r = weir_reply_bytes(journal->req, verdict->status, fields, GW_PROBLEM_TYPE,
                             weir_bytes(text, len));
    }
    weir_fields_destroy(fields);
    return r;
}

static int refuse(struct gw_journal *journal, enum gw_phase phase, const struct weir_error *error)
{
    journal->cause = *error;
    gw_error_map(phase, error, journal->gateway->options.settings.timeout_status,
                 &journal->verdict);
    return answer(journal);
}

static int refuse_code(struct gw_journal *journal, enum gw_phase phase, int code,
                       enum weir_reason reason)
{
    struct weir_error error = {
        .code = code, .side = WEIR_SIDE_SELF, .reason = reason, .where = "gateway"};

    return refuse(journal, phase, &error);
}

/* ---- may it pass ---- */

/* The one value of a field; of several lines one that no key can be. */
static struct weir_view only_value(struct weir_fields *fields, struct weir_view name)
{
    struct weir_view value = weir_bytes(NULL, 0);

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, name)) {
            if (!weir_view_is_absent(value)) {
                return weir_str(",");
            }
            value = field.value;
        }
    }
    return value;
}

static bool may_pass(struct gw_journal *journal)
{
    struct weir_req *req = journal->req;
    struct weir_fields *fields = weir_req_fields(req);
    enum gw_verdict verdict;

    if (journal->gateway->keys == NULL) {
        return true;
    }
    verdict = gw_keys_decide(journal->gateway->keys, only_value(fields, weir_str("x-api-key")),
                             only_value(fields, weir_str("authorization")), weir_req_method(req),
                             weir_req_path(req), &journal->label);
    if (verdict == GW_ALLOW) {
        return true;
    }
    gw_error_denied(verdict, &journal->verdict);
    journal->cause =
        (struct weir_error){.code = WEIR_EREFUSED, .side = WEIR_SIDE_SELF, .where = "keys"};
    return false;
}

/* ---- ends ---- */

/* A clean end with what may trail of the other side's trailers. */
static int end_with(struct weir_sink *sink, struct weir_fields *trailers)
{
    struct weir_fields *passed = NULL;
    int r = gw_forward_trailers(trailers, &passed);

    if (r < 0) {
        weir_abort(sink, WEIR_REASON_LIMIT);
        return r;
    }
    r = weir_end(sink, passed);
    weir_fields_destroy(passed);
    return r;
}

/* ---- the request's body ---- */

static int uplink_main(void *arg)
{
    struct uplink *uplink = arg;
    void *nothing;

    if (uplink->go != NULL && weir_channel_recv(uplink->go, weir_after_ms(CONTINUE_AFTER_MS),
                                                &nothing) == WEIR_ECANCELED) {
        return WEIR_ECANCELED;
    }
    WEIR_IGNORE(weir_pipe(weir_req_body(uplink->req), weir_exchange_sink(uplink->exchange),
                          &(struct weir_pipe_opts){.keep_sink_open = true}, &uplink->result));
    if (uplink->result.cause.code == 0) {
        int r = end_with(weir_exchange_sink(uplink->exchange), weir_req_trailers(uplink->req));

        if (r < 0) {
            weir_sink_error(weir_exchange_sink(uplink->exchange), &uplink->result.cause);
            uplink->result.cause.side = WEIR_SIDE_SINK;
        }
    }
    return 0;
}

static int uplink_start(struct uplink *uplink, bool expects_continue)
{
    int r = weir_scope_open(&uplink->scope);

    if (r == 0 && expects_continue) {
        r = weir_channel_create(NULL, &uplink->go);
    }
    if (r == 0) {
        r = weir_scope_spawn(uplink->scope, uplink_main, uplink);
        uplink->started = r == 0;
    }
    return r;
}

static void uplink_stop(struct uplink *uplink)
{
    weir_scope_close(uplink->scope);
    weir_channel_unref(uplink->go);
    *uplink = (struct uplink){0};
}

/* ---- the answer ---- */

static bool is_ours_to_send(int status)
{
    return status != 100;
}

static int inform(struct weir_req *req, struct weir_exchange *exchange, struct uplink *uplink)
{
    int status = weir_exchange_status(exchange);
    struct weir_fields *fields;
    int r;

    if (!is_ours_to_send(status)) {
        if (uplink->go != NULL) {
            weir_channel_close(uplink->go, 0); /* reading the body now tells the client to go on */
        }
        return 0;
    }
    r = gw_forward_response(weir_exchange_fields(exchange), &fields);
    if (r < 0) {
        return r;
    }
    r = weir_inform(req, status, fields);
    weir_fields_destroy(fields);
    return r == WEIR_EUNSUPPORTED ? 0 : r;
}

/* The declared length: for HEAD and 304 that of the body there would have been. */
static uint64_t length_of(struct weir_req *req, struct weir_exchange *exchange)
{
    int status = weir_exchange_status(exchange);
    struct weir_view declared;
    uint64_t length;

    if (!weir_view_equal(weir_req_method(req), weir_str("HEAD")) && status != 304) {
        return weir_exchange_length(exchange);
    }
    declared = weir_fields_get(weir_exchange_fields(exchange), weir_str("content-length"));
    return weir_view_to_u64(declared, &length) == 0 ? length : WEIR_LENGTH_UNKNOWN;
}

static int begin(struct gw_journal *journal, struct weir_sink **ret)
{
    struct weir_exchange *exchange = journal->exchange;
    struct weir_fields *fields;
    int r = gw_forward_response(weir_exchange_fields(exchange), &fields);

    if (r < 0) {
        return r;
    }
    journal->status = weir_exchange_status(exchange);
    r = weir_stream_begin(journal->req, journal->status, fields, length_of(journal->req, exchange),
                          ret);
    weir_fields_destroy(fields);
    if (r == 0) {
        /* From here on a stream may live for long: it needs neither head any more. */
        weir_exchange_drop_head(exchange);
        weir_req_drop_head(journal->req);
    }
    return r;
}

/* Whether an upload broke on the client's side: what it sent, or how much. */
static bool is_the_clients(const struct weir_error *cause)
{
    return cause->code != 0 && cause->code != WEIR_ECANCELED && cause->side != WEIR_SIDE_SINK;
}

/* Notes why a stream that had begun did not end well. */
static void conclude(struct gw_journal *journal, const struct weir_pipe_result *result,
                     struct uplink *uplink)
{
    const struct weir_error *cause = &result->cause;
    enum gw_phase phase = cause->side == WEIR_SIDE_SINK ? GW_PHASE_CLIENT_WRITE
                          : result->bytes == 0          ? GW_PHASE_FIRST_BYTE
                                                        : GW_PHASE_RESPONSE_BODY;
    enum weir_reason gone;

    journal->cause = *cause;
    if (weir_req_gone(journal->req, &gone)) {
        /* Whatever broke first on our side of it: the client had left. */
        phase = GW_PHASE_CLIENT_WRITE;
        journal->cause.reason = gone;
        if (journal->cause.code == 0) {
            journal->cause.code = WEIR_ECLOSED;
        }
    } else if (uplink->started && is_the_clients(&uplink->result.cause)) {
        phase = GW_PHASE_CLIENT_BODY;
        journal->cause = uplink->result.cause;
    }
    gw_error_map(phase, &journal->cause, journal->gateway->options.settings.timeout_status,
                 &journal->verdict);
}

static int relay(struct gw_journal *journal, struct uplink *uplink)
{
    struct weir_pipe_result result;
    struct weir_sink *sink;
    int r = begin(journal, &sink);

    if (r < 0) {
        return refuse_code(journal, GW_PHASE_CLIENT_WRITE, r, WEIR_REASON_NONE);
    }
    r = weir_pipe(weir_exchange_body(journal->exchange), sink,
                  &(struct weir_pipe_opts){.keep_sink_open = true}, &result);
    if (r == 0) {
        r = end_with(sink, weir_exchange_trailers(journal->exchange));
        if (r < 0) {
            weir_sink_error(sink, &result.cause);
            result.cause.side = WEIR_SIDE_SINK;
        }
    }
    if (r < 0) {
        conclude(journal, &result, uplink);
    }
    weir_sink_destroy(sink);
    return 0;
}

/* The request could not be carried, or no head came back: says so to the client. */
static int head_failed(struct gw_journal *journal, struct uplink *uplink, struct weir_error *error)
{
    enum gw_phase phase = GW_PHASE_RESPONSE_HEAD;

    if (uplink->started && uplink->result.cause.code != 0) {
        if (is_the_clients(&uplink->result.cause)) {
            phase = GW_PHASE_CLIENT_BODY;
            *error = uplink->result.cause;
        } else if (error->code == WEIR_ECANCELED) {
            phase = GW_PHASE_SEND;
            *error = uplink->result.cause;
        }
    }
    return refuse(journal, phase, error);
}

/* The request's fields (given) go as soon as the answer's head is there: a stream may live for long after that. */
static int carry_take(struct gw_journal *journal, struct weir_fields *fields)
{
    struct weir_req *req = journal->req;
    struct gw_gateway *gateway = journal->gateway;
    bool expects = !weir_view_is_absent(weir_req_field(req, "expect"));
    struct weir_exchange_opts opts = {
        .host = weir_str(gateway->options.to.host),
        .port = gateway->options.to.port,
        .method = weir_req_method(req),
        .target = weir_req_path(req),
        .fields = fields,
        .has_body = weir_req_has_body(req),
        .body_length = weir_req_body_length(req),
    };
    struct uplink uplink = {.req = req};
    struct weir_error error = {0};
    int r;

    if (!weir_view_is_absent(weir_req_query(req))) {
        /* Path and query lie side by side. */
        struct weir_view query = weir_req_query(req);

        opts.target.len = (size_t)(query.data + query.len - opts.target.data);
    }
    if (gateway->keys != NULL) {
        weir_req_hold(req, false);
    }
    r = weir_exchange_open(gateway->client, &opts, &journal->exchange, &error);
    if (r < 0) {
        weir_fields_destroy(fields);
        error.code = r;
        return refuse(journal, GW_PHASE_DIAL, &error);
    }
    gw_journal_note(journal, &journal->connected_us);
    uplink.exchange = journal->exchange;
    if (opts.has_body) {
        r = uplink_start(&uplink, expects);
        if (r < 0) {
            weir_fields_destroy(fields);
            uplink_stop(&uplink);
            return refuse_code(journal, GW_PHASE_ADMIT, r, WEIR_REASON_LIMIT);
        }
    }
    do {
        r = weir_exchange_head(journal->exchange, &error);
        if (r == 1) {
            int informed = inform(req, journal->exchange, &uplink);

            r = informed < 0 ? informed : 1;
            error = (struct weir_error){.code = r, .where = "interim response"};
        }
    } while (r == 1);
    weir_fields_destroy(fields);
    if (r == 0) {
        gw_journal_note(journal, &journal->answered_us);
        r = relay(journal, &uplink);
    } else {
        r = head_failed(journal, &uplink, &error);
    }
    uplink_stop(&uplink);
    return r;
}

static void progress(void *arg)
{
    gw_journal_write(arg, GW_RECORD_PROGRESS);
}

int gw_proxy(struct weir_req *req, void *arg)
{
    struct gw_gateway *gateway = arg;
    const struct gw_settings *settings = &gateway->options.settings;
    struct weir_fields *fields = NULL;
    struct gw_journal journal;
    int r;

    if (gateway->keys != NULL) {
        weir_req_hold(req, true); /* until it is known whether it may pass */
    }
    gw_journal_begin(&journal, gateway, req);
    if (journal.texts != NULL && settings->access_log_every_ms > 0) {
        WEIR_IGNORE(weir_req_every(req, settings->access_log_every_ms, progress, &journal));
    }
    if (!may_pass(&journal)) {
        r = answer(&journal);
    } else if (weir_view_equal(weir_req_method(req), weir_str("CONNECT"))) {
        r = refuse_code(&journal, GW_PHASE_CLIENT_HEAD, WEIR_EUNSUPPORTED, WEIR_REASON_PROTOCOL);
    } else {
        gw_journal_note(&journal, &journal.admitted_us);
        r = gw_forward_request(req, gateway->keys != NULL, weir_str(gateway->upstream.text),
                               &fields);
        r = r < 0 ? refuse_code(&journal, GW_PHASE_CLIENT_HEAD, r,
                                r == WEIR_EPROTO ? WEIR_REASON_PROTOCOL : WEIR_REASON_LIMIT)
                  : carry_take(&journal, fields);
    }
    gw_journal_write(&journal, GW_RECORD_END);
    gw_journal_finish(&journal);
    weir_exchange_destroy(journal.exchange);
    return r;
}
