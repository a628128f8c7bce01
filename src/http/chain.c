/* SPDX-License-Identifier: MIT */
/*
 * Running middleware. Invariant: after each step the reply is over, if it could be begun at all, and the filters that the
 * step hooked are unhooked, for they lay on its frame.
 */
#include <weir/blocking.h>
#include <weir/middleware.h>

#include "http/request.h"
#include "rt/relay.h"

struct conclusion {
    struct weir_req *req;
    int r;
};

static int conclude(void *arg)
{
    struct conclusion *conclusion = arg;

    weir__shield_begin();
    weir__req_conclude(conclusion->req, conclusion->r, false);
    weir__shield_end();
    return 0;
}

int weir_chain_run(const struct weir_chain *next, struct weir_req *req)
{
    struct weir_reply_filter *filters = req->filters;
    struct weir_req_value *values = req->values;
    int r;

    if (weir_req_is_begun(req)) {
        return WEIR_ESTATE; /* run a second time, or after a reply of its own */
    }
    if (next->count > 0) {
        struct weir_chain rest = *next;

        rest.items++;
        rest.count--;
        r = next->items[0].fn(req, &rest, next->items[0].arg);
    } else {
        r = next->handler(req, next->arg);
    }
    req->filters = filters;
    req->values = values;
    weir_blocking_on_loop(conclude, &(struct conclusion){req, r}); /* also of a chain on a thread */
    return r;
}

int weir_chain_handle(struct weir_req *req, void *arg)
{
    return weir_chain_run(arg, req);
}

void weir_req_put(struct weir_req *req, struct weir_req_value *value)
{
    value->outer = req->values;
    req->values = value;
}

const void *weir_req_get(struct weir_req *req, const void *key)
{
    const struct weir_req_value *value = req->values;

    while (value != NULL && value->key != key) {
        value = value->outer;
    }
    return value != NULL ? value->value : NULL;
}

/* ---- what became of the reply ---- */

static enum weir_outcome outcome_of(struct weir__stream *stream)
{
    if (stream->begun && stream->out.final == 0) {
        return WEIR_OUTCOME_COMPLETE;
    }
    switch ((enum weir_reason)stream->gone) {
    case WEIR_REASON_NONE:
        return stream->out.final == WEIR__OPEN ? WEIR_OUTCOME_NONE : WEIR_OUTCOME_ABORTED;
    case WEIR_REASON_STALL:
        return WEIR_OUTCOME_CLIENT_STALLED;
    case WEIR_REASON_SHUTDOWN:
        return WEIR_OUTCOME_SHUTDOWN;
    default:
        return WEIR_OUTCOME_CLIENT_GONE;
    }
}

WEIR__RELAY_VOID_2(relay_req_answer, weir_req_answer, struct weir_req *, struct weir_answer *)

void weir_req_answer(struct weir_req *req, struct weir_answer *ret)
{
    if (weir__relay_here != NULL) {
        relay_req_answer(req, ret);
        return;
    }

    struct weir__stream *stream = req->stream;
    struct weir_stall stall;

    weir_req_stall(req, &stall); /* looks at the request's magic, too */
    *ret = (struct weir_answer){
        .outcome = outcome_of(stream),
        .status = req->status,
        .error = weir__fault_error(&stream->out.fault, stream->out.final),
        .body_received = stream->in_bytes,
        .body_sent = stream->out_bytes,
        .duration_us = weir_clock_us() - req->arrived_us,
        .stall = stall,
    };
    if (stream->gone != WEIR_REASON_NONE && ret->outcome != WEIR_OUTCOME_COMPLETE) {
        ret->error = (struct weir_error){
            .code = weir__gone_code((enum weir_reason)stream->gone),
            .side = WEIR_SIDE_SINK,
            .reason = (enum weir_reason)stream->gone,
            .native = stream->native,
            .where = "client",
        };
    }
}

const char *weir_outcome_name(enum weir_outcome outcome)
{
    switch (outcome) {
    case WEIR_OUTCOME_NONE:
        return "none";
    case WEIR_OUTCOME_COMPLETE:
        return "complete";
    case WEIR_OUTCOME_CLIENT_GONE:
        return "client_gone";
    case WEIR_OUTCOME_CLIENT_STALLED:
        return "client_stalled";
    case WEIR_OUTCOME_ABORTED:
        return "aborted";
    case WEIR_OUTCOME_SHUTDOWN:
        return "shutdown";
    }
    return "?";
}
