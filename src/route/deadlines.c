/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of a stream's phases. One timer looks at the next of them. When one has passed, the request's scope is
 * cancelled and, if the head has left, the reply broken off; which status a cancelled handler then means is noted for the
 * place that maps its error. Invariant: the timer and the stream's limits are this frame's only while the chain runs.
 */
#include <weir/guards.h>

#include "http/request.h"
#include "rt/loop.h"
#include "rt/scope.h"

struct deadlines {
    struct weir__timer timer;
    struct weir_req *req;
    int64_t head_us, total_us; /* when; WEIR__NEVER */
    int64_t idle_us;           /* how long; 0: none */
    uint64_t seen;             /* bytes of the reply when it last moved */
    int64_t waited_us;         /* for the handler, at that time */
    int status;
    struct weir__limits limits;
};

/* How long the reply has waited for this side, in all. */
static int64_t waited(struct weir__stream *stream, int64_t now_us)
{
    return weir__stall_spent(&stream->clock, WEIR__STALL_WAIT_SOURCE, now_us) +
           weir__stall_spent(&stream->clock, WEIR__STALL_HELD, now_us);
}

static bool is_idle(struct deadlines *deadlines, int64_t now_us)
{
    struct weir__stream *stream = deadlines->req->stream;
    int64_t so_far = waited(stream, now_us);

    if (!stream->begun || stream->out_bytes != deadlines->seen) {
        deadlines->seen = stream->out_bytes;
        deadlines->waited_us = so_far;
    }
    return so_far - deadlines->waited_us >= deadlines->idle_us;
}

static void give_up(struct deadlines *deadlines)
{
    struct weir_req *req = deadlines->req;
    struct weir__stream *stream = req->stream;

    req->cancel_status = deadlines->status;
    if (stream->begun && stream->out.final == WEIR__OPEN) {
        weir_abort(&stream->out, WEIR_REASON_TIMEOUT);
    }
    weir_scope_cancel(&req->scope);
}

static void arm(struct deadlines *deadlines)
{
    struct weir__stream *stream = deadlines->req->stream;
    struct weir__loop *loop = stream->loop;
    int64_t at_us = deadlines->total_us;

    if (!stream->begun && deadlines->head_us < at_us) {
        at_us = deadlines->head_us;
    }
    if (deadlines->idle_us > 0 && loop->now_us + deadlines->idle_us / 4 < at_us) {
        at_us = loop->now_us + deadlines->idle_us / 4;
    }
    if (at_us != WEIR__NEVER) {
        WEIR_IGNORE(weir__timer_start(&loop->timers, &deadlines->timer, at_us));
    }
}

static void fired(struct weir__timer *timer)
{
    struct deadlines *deadlines = weir_list_entry(timer, struct deadlines, timer);
    struct weir__stream *stream = deadlines->req->stream;
    int64_t now_us = stream->loop->now_us;

    if (stream->ended || stream->out.final == 0) {
        return;
    }
    if (now_us >= deadlines->total_us || (!stream->begun && now_us >= deadlines->head_us) ||
        (deadlines->idle_us > 0 && is_idle(deadlines, now_us))) {
        give_up(deadlines);
    } else {
        arm(deadlines);
    }
}

static int64_t later(int64_t now_us, int64_t ms)
{
    return ms > 0 && ms < (INT64_MAX - now_us) / 1000 ? now_us + ms * 1000 : WEIR__NEVER;
}

int weir_mw_deadlines(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    const struct weir_deadlines_opts *opts = arg;
    struct weir__stream *stream = req->stream;
    const struct weir__limits *limits = stream->limits;
    struct weir__loop *loop = stream->loop;
    struct deadlines deadlines = {.req = req, .limits = *limits};
    int before = req->cancel_status;
    int r;

    if (opts == NULL) {
        return WEIR_ESTATE;
    }
    deadlines.status = opts->status != 0 ? opts->status : 504;
    deadlines.head_us = later(loop->now_us, opts->head_ms);
    deadlines.total_us = later(loop->now_us, opts->total_ms);
    deadlines.idle_us = opts->reply_idle_ms > 0 && opts->reply_idle_ms < INT64_MAX / 1000
                            ? opts->reply_idle_ms * 1000
                            : 0;
    if (opts->body_gap_ms > 0) {
        deadlines.limits.first_byte_ms = deadlines.limits.read_gap_ms = opts->body_gap_ms;
    }
    if (opts->client_stall_ms > 0) {
        deadlines.limits.write_stall_ms = opts->client_stall_ms;
    }
    stream->limits = &deadlines.limits;
    weir__timer_init(&deadlines.timer, fired);
    arm(&deadlines);
    r = weir_chain_run(next, req);
    weir__timer_remove(&loop->timers, &deadlines.timer);
    stream->limits = limits;
    req->cancel_status = before;
    return r;
}
