/* SPDX-License-Identifier: MIT */
/*
 * The wait for the first of several. Each thing has two operations, to look whether it has come and to have the fiber
 * woken when it may have; looking again after a wake-up is all there is, so nothing is handed over and nothing can be
 * lost. Places in the lines of channels are kept over the whole call, streams are armed for each wait, so that their
 * clocks run in it. Invariant: nothing is armed while the fiber looks, nor when the call returns.
 */
#include <weir/select.h>

#include "base/assert.h"
#include "http/request.h"
#include "rt/channel.h"
#include "rt/mailbox.h"
#include "rt/relay.h"
#include "topic/topic.h"

struct selection {
    const struct weir_case *cases;
    size_t count;
    bool last; /* look: no wait follows */
    struct weir_waker waker;
    struct weir__channel_waiter lines[WEIR_SELECT_MAX];
};

static bool is_valid(const struct weir_case *one)
{
    switch (one->kind) {
    case WEIR_CASE_NONE:
    case WEIR_CASE_MESSAGE:
    case WEIR_CASE_TAG:
    case WEIR_CASE_TIME:
        return true;
    case WEIR_CASE_RECV:
    case WEIR_CASE_SEND:
        return one->channel != NULL;
    case WEIR_CASE_SOURCE:
        return one->source != NULL;
    case WEIR_CASE_SINK:
        return one->sink != NULL;
    case WEIR_CASE_GONE:
        return one->req != NULL;
    case WEIR_CASE_TOPIC:
        return one->subscription != NULL;
    }
    return false;
}

/* 1 if it has come, 0 if not, or an error of the whole call. */
static int look_at(struct selection *selection, size_t i)
{
    const struct weir_case *one = &selection->cases[i];

    switch (one->kind) {
    case WEIR_CASE_MESSAGE:
        return weir__mailbox_poll(NULL);
    case WEIR_CASE_TAG:
        return weir__mailbox_poll(&one->tag);
    case WEIR_CASE_RECV:
    case WEIR_CASE_SEND:
        return weir__channel_poll(one->channel, &selection->lines[i]);
    case WEIR_CASE_SOURCE:
        return weir__source_poll(one->source);
    case WEIR_CASE_SINK:
        return weir__sink_poll(one->sink);
    case WEIR_CASE_TIME:
        return weir_now() >= one->at;
    case WEIR_CASE_GONE:
        return weir_req_gone(one->req, NULL);
    case WEIR_CASE_TOPIC:
        return weir__subscription_poll(one->subscription, selection->last);
    case WEIR_CASE_NONE:
        break;
    }
    return 0;
}

/* Where to begin; xorshift, of the loop, so that a test's run is the same each time. */
static size_t begin_at(struct weir__loop *loop, size_t count)
{
    uint32_t chance = loop->chance != 0 ? loop->chance : 2463534242u;

    chance ^= chance << 13;
    chance ^= chance >> 17;
    chance ^= chance << 5;
    loop->chance = chance;
    return chance % count;
}

/* Returns 1 with the one that has come, 0, or an error. */
static int look(struct selection *selection, size_t *ret)
{
    size_t first = begin_at(selection->waker.fiber->loop, selection->count);

    for (size_t n = 0; n < selection->count; n++) {
        size_t i = (first + n) % selection->count;
        int r = look_at(selection, i);

        if (r != 0) {
            *ret = r > 0 ? i : *ret;
            return r;
        }
    }
    return 0;
}

/* A case's arm() with a waker, or NULL. */
static int64_t arm_one(const struct weir_case *one, struct weir_waker *waker)
{
    switch (one->kind) {
    case WEIR_CASE_SOURCE:
        return weir_source_arm(one->source, waker);
    case WEIR_CASE_SINK:
        return weir_sink_arm(one->sink, waker);
    case WEIR_CASE_TIME:
        return one->at > 0 ? one->at : 0;
    case WEIR_CASE_TOPIC:
        if (waker != NULL) {
            weir__subscription_arm(one->subscription, waker->fiber);
        } else {
            weir__subscription_disarm(one->subscription, weir__fiber_current());
        }
        return -1;
    default:
        return -1;
    }
}

static void disarm(struct selection *selection, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        arm_one(&selection->cases[i], NULL);
    }
}

/* One wait: 0 to look again, WEIR_ETIMEDOUT (the caller's deadline), or an error of the whole call. */
static int wait_once(struct selection *selection, int64_t deadline)
{
    int64_t until_ms = deadline;
    int64_t until_us;
    int r;

    for (size_t i = 0; i < selection->count; i++) {
        int64_t at_ms = arm_one(&selection->cases[i], &selection->waker);

        if (at_ms < -1) {
            disarm(selection, i + 1); /* one made of another may have armed itself */
            return (int)at_ms;
        }
        if (at_ms >= 0 && (until_ms < 0 || at_ms < until_ms)) {
            until_ms = at_ms;
        }
    }
    until_us = weir__deadline_us(until_ms);
    r = weir__wait(until_us);
    disarm(selection, selection->count);
    if (r == WEIR_ETIMEDOUT) {
        int64_t now_us = selection->waker.fiber->loop->now_us;

        if (now_us < until_us) {
            return WEIR_ENOMEM; /* no timer: to go on without one would spin */
        }
        r = deadline >= 0 && now_us >= weir__deadline_us(deadline) ? r : 0;
    }
    return r;
}

static void join_lines(struct selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct weir_case *one = &selection->cases[i];

        if (one->kind == WEIR_CASE_RECV || one->kind == WEIR_CASE_SEND) {
            weir__channel_arm(one->channel, &selection->lines[i]);
        }
    }
}

/* `won`: the index of what has come, or count. */
static void leave_lines(struct selection *selection, size_t won)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct weir_case *one = &selection->cases[i];

        if (one->kind == WEIR_CASE_RECV || one->kind == WEIR_CASE_SEND) {
            weir__channel_disarm(one->channel, &selection->lines[i], i == won);
        }
    }
}

/* A leave that is waited for is what has come, and no cancel: so is one that comes while it is being looked for. */
static int answer_cancel(struct selection *selection, size_t *ret)
{
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->cases[i].kind == WEIR_CASE_GONE && look_at(selection, i) == 1) {
            *ret = i;
            return 1;
        }
    }
    return WEIR_ECANCELED;
}

static int select_among(struct selection *selection, int64_t deadline, size_t *ret)
{
    bool in_lines = false;
    int waited = 0;

    if (weir__wait_is_cancelled()) {
        waited = weir__wait(0);
        return waited == WEIR_ECANCELED ? answer_cancel(selection, ret) : waited;
    }
    for (;;) {
        int r;

        selection->last = deadline == 0 || waited < 0;
        r = look(selection, ret);
        if (r != 0 || selection->last) {
            return r != 0 ? r : waited < 0 ? waited : WEIR_EAGAIN;
        }
        if (!in_lines) {
            join_lines(selection);
            in_lines = true;
        }
        waited = wait_once(selection, deadline);
        if (waited == WEIR_ECANCELED) {
            return answer_cancel(selection, ret);
        }
        if (waited < 0 && waited != WEIR_ETIMEDOUT) {
            return waited;
        }
    }
}

WEIR__RELAY_4(int, relay_select, weir_select, const struct weir_case *, size_t, int64_t, size_t *)

int weir_select(const struct weir_case *cases, size_t count, int64_t deadline, size_t *ret)
{
    if (weir__relay_here != NULL) {
        return relay_select(cases, count, deadline, ret);
    }

    struct selection selection = {.cases = cases, .count = count};
    size_t which = 0;
    int r;

    selection.waker.fiber = weir__fiber_current();
    weir_assert(selection.waker.fiber != NULL);
    if (count == 0 || count > WEIR_SELECT_MAX) {
        return WEIR_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_valid(&cases[i])) {
            return WEIR_EINVAL;
        }
        selection.lines[i].sends = cases[i].kind == WEIR_CASE_SEND;
        selection.lines[i].bytes = cases[i].bytes;
        weir_list_init(&selection.lines[i].link);
    }
    r = select_among(&selection, deadline, &which);
    leave_lines(&selection, r == 1 ? which : count);
    if (r == 1) {
        *ret = which;
    }
    return r;
}
