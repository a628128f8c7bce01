/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SELECT_H
#define WEIR_SELECT_H

#include <weir/channel.h>
#include <weir/http.h>
#include <weir/mailbox.h>
#include <weir/topic.h>

WEIR_BEGIN_DECLS

/*
 * Waiting for the first of several things: a message, an item, a chunk, room, a time, the client's leave, news of a
 * topic. A select only
 * waits: it takes nothing and sends nothing, so whatever it was that did not come first is as it was. The call that
 * follows takes what came.
 */
enum weir_case_kind {
    WEIR_CASE_NONE = 0, /* never comes; so a case can be switched off */
    WEIR_CASE_MESSAGE,  /* weir_receive() would answer: a message, or that nothing can come */
    WEIR_CASE_TAG,      /* the same of weir_receive_tag() */
    WEIR_CASE_RECV,     /* weir_channel_recv() would: an item, or the end */
    WEIR_CASE_SEND,     /* weir_channel_send() of that many bytes would: room, or the end */
    WEIR_CASE_SOURCE,   /* weir_next() would: a chunk, the end, or a failure */
    WEIR_CASE_SINK,     /* weir_wait_writable() would: room, or a failure */
    WEIR_CASE_TIME,     /* the time has come */
    WEIR_CASE_GONE,     /* the client has left */
    WEIR_CASE_TOPIC, /* weir_topic_next() would: an item, news of missed ones, the end, or a failure */
};

/* A thing to wait for; only the fields of its kind are looked at. What they point at is borrowed for the call. */
struct weir_case {
    enum weir_case_kind kind;
    uint32_t tag;                 /* TAG */
    size_t bytes;                 /* SEND */
    int64_t at;                   /* TIME: absolute, monotonic ms */
    struct weir_channel *channel; /* RECV, SEND */
    struct weir_source *source;   /* SOURCE */
    struct weir_sink *sink;       /* SINK */
    struct weir_req *req; /* GONE: the request of the calling fiber, or of a scope it is in */
    struct weir_subscription *subscription; /* TOPIC: one of the calling fiber's loop */
};

#define WEIR_SELECT_MAX 32 /* cases of one call */

/**
 * Waits until one of the cases has come. Of several that have come any may be the one: where the look begins is left to
 * chance, so none is starved.
 *
 * What has come holds for the calling fiber until it waits for something else: a receive or a send on a channel does not
 * queue behind others then, a message and a chunk are still there. To see whether a source has something a chunk of it is
 * pulled and kept, for the next weir_next() on it: so of each source that was selected on at most one chunk, 64 KiB, is
 * read and not yet delivered. While the call waits its sources, sinks and subscriptions are in use: other calls on
 * them answer WEIR_EBUSY, a cancel or an abort reaches a source or a sink. The clocks of the peers run as in a read or an emit: a peer that is
 * silent for too long fails its stream, which is then what has come.
 *
 * With a case WEIR_CASE_GONE the client's leave is that case and not WEIR_ECANCELED; it counts as the answer to the
 * cancel.
 *
 * cases     the array is only read.
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = none.
 * ret       which case has come; untouched unless the call returns 1.
 *
 * Returns 1, or
 *   WEIR_EAGAIN       (deadline 0) none has come;
 *   WEIR_ETIMEDOUT    none until the deadline;
 *   WEIR_ECANCELED    the client is gone, or the scope was cancelled;
 *   WEIR_EBUSY        a source, a sink or a subscription is in another call;
 *   WEIR_EUNSUPPORTED a source or a sink of the program's own has nothing yet and no operation `arm`;
 *   WEIR_EINVAL       no case, too many, or one without its object;
 *   WEIR_ENOMEM.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_select(const struct weir_case *cases, size_t count,
                                        int64_t deadline, size_t *ret);

WEIR_END_DECLS

/*
 * Example: tokens from another thread until the client sends something, or leaves, or a minute is over.
 *
 *     const struct weir_case cases[] = {
 *         {.kind = WEIR_CASE_MESSAGE},
 *         {.kind = WEIR_CASE_SOURCE, .source = weir_req_body(req)},
 *         {.kind = WEIR_CASE_TIME, .at = weir_after_ms(60000)},
 *         {.kind = WEIR_CASE_GONE, .req = req},
 *     };
 *     size_t which;
 *     int r;
 *
 *     while ((r = weir_select(cases, 4, -1, &which)) == 1 && which == 0) {
 *         r = weir_receive(0, &msg);
 *         ...
 *     }
 */

#endif
